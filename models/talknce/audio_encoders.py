"""What is heard, one embedding per video frame: LoCoNet's and TalkNet's audio encoders. Four rows of features per
frame.

Padding: a clip that is padded gets what it gets alone. So what lies beyond its end is set to 0 wherever a convolution
would look at it.
"""

import torch
from torch import nn

from .configuration_talknce import LoCoNetConfig, TalkNetConfig

ROWS_PER_FRAME = 4


class ValidRows:
    """Which rows of a (batch, channels, rows, bins) tensor count, at the resolution the encoder has come to."""

    def __init__(self, counts: torch.Tensor | None):
        self.counts = counts  # (batch,), or None: all

    def keep(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Zeros in place of padding."""
        if self.counts is None:
            return hidden_states
        return hidden_states * self._mask(hidden_states)

    def mean(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Mean over rows and bins, (batch, channels), of the rows that count."""
        if self.counts is None:
            return hidden_states.mean((2, 3))
        total = (hidden_states * self._mask(hidden_states)).sum((2, 3))
        return total / (self.counts[:, None] * hidden_states.shape[3]).to(total.dtype)

    def halve(self) -> "ValidRows":
        """After a step of two rows."""
        return ValidRows(None if self.counts is None else (self.counts + 1) // 2)

    def _mask(self, hidden_states: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(hidden_states.shape[2], device=hidden_states.device)
        return (rows < self.counts[:, None])[:, None, :, None].to(hidden_states.dtype)


class LoCoNetAudioEncoder(nn.Module):
    """The convolutions of VGGish, read at two resolutions: kaistmm/TalkNCE@8666642, torchvggish/vggish.py."""

    def __init__(self, config: LoCoNetConfig):
        super().__init__()
        self.log_mel_mean, self.log_mel_std = config.log_mel_mean, config.log_mel_std
        first, second, third, fourth = config.audio_channels
        pairs = ((1, first), (first, second), (second, third), (third, third), (third, fourth), (fourth, fourth))
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width, channels in pairs)
        self.pool = nn.MaxPool2d(2)
        self.upsampling = nn.ConvTranspose2d(fourth, third, 2, 2)
        middle = 2 * config.embedding_size
        self.fusion = nn.Conv2d(2 * third, middle, 1)
        self.projection = nn.Conv2d(middle, config.embedding_size, 1)

    def forward(self, input_features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, 4 * frames, num_mel_bins) log-mel to (batch, frames, embedding_size).

        Rows of 0 are appended, 4, or 8 where the rows are a multiple of 8 already, as the authors' code does; the last
        frames hear them.
        """
        frames = input_features.shape[1] // ROWS_PER_FRAME
        padded_rows = pad_row_count(input_features.shape[1])
        input_features = (input_features - self.log_mel_mean) / self.log_mel_std
        rows = ValidRows(None)
        if lengths is not None:
            # What a shorter clip has appended differs from its padding: it counts, and is 0 at first.
            input_features = ValidRows(ROWS_PER_FRAME * lengths).keep(input_features[:, None])[:, 0]
            rows = ValidRows(pad_row_count(ROWS_PER_FRAME * lengths))
        hidden_states = nn.functional.pad(input_features, (0, 0, 0, padded_rows - input_features.shape[1]))[:, None]
        convs = iter(self.convs)

        def block(hidden_states: torch.Tensor, count: int) -> torch.Tensor:
            for _ in range(count):
                hidden_states = rows.keep(next(convs)(hidden_states).relu())
            return hidden_states

        hidden_states, rows = self.pool(block(hidden_states, 1)), rows.halve()
        hidden_states, rows = self.pool(block(hidden_states, 1)), rows.halve()
        fine = block(hidden_states, 2)  # (batch, third, frames, num_mel_bins / 4)
        hidden_states, rows = self.pool(fine), rows.halve()
        coarse = block(hidden_states, 2)
        hidden_states = torch.cat([fine, self.upsampling(coarse)], dim=1)
        hidden_states = self.projection(self.fusion(hidden_states)).mean(3)  # over frequency
        return hidden_states.mT[:, :frames]


def pad_row_count(rows):
    """Rows, a multiple of 4, after the authors' padding to a multiple of 8; numbers or tensors of them."""
    return 8 * (rows // 8 + 1)  # rows + 8 - rows % 8, in a form from which a graph knows that it can be halved


class SqueezeExcitation(nn.Module):
    """Weights of channels from their means over a clip."""

    def __init__(self, channels: int, ratio: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // ratio)
        self.excite = nn.Linear(channels // ratio, channels)

    def forward(self, hidden_states: torch.Tensor, rows: ValidRows) -> torch.Tensor:
        weights = self.excite(self.squeeze(rows.mean(hidden_states)).relu()).sigmoid()
        return hidden_states * weights[:, :, None, None]


class TalkNetAudioBlock(nn.Module):
    """Two convolutions and weighted channels on a skip; the first norm stands after its activation."""

    def __init__(self, in_channels: int, channels: int, stride: int, ratio: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.squeeze_excitation = SqueezeExcitation(channels, ratio)
        self.halves = stride == 2
        if self.halves or in_channels != channels:
            self.shortcut_conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(channels)
        else:
            self.shortcut_conv = None

    def forward(self, hidden_states: torch.Tensor, rows: ValidRows) -> tuple[torch.Tensor, ValidRows]:
        skip = hidden_states
        if self.shortcut_conv is not None:
            skip = self.shortcut_norm(self.shortcut_conv(hidden_states))
        rows = rows.halve() if self.halves else rows
        hidden_states = rows.keep(self.norm1(self.conv1(hidden_states).relu()))
        hidden_states = self.squeeze_excitation(self.norm2(self.conv2(hidden_states)), rows)
        return rows.keep((hidden_states + skip).relu()), rows


class TalkNetAudioEncoder(nn.Module):
    """A thin ResNet-34 with weighted channels: TaoRuijie/TalkNet-ASD@6d68214, model/audioEncoder.py."""

    def __init__(self, config: TalkNetConfig):
        super().__init__()
        widths = config.audio_channels
        self.stem_conv = nn.Conv2d(1, widths[0], 7, (1, 2), padding=3, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList()
        for stage, (channels, depth, stride) in enumerate(zip(widths, config.audio_depths, (1, 2, 2, 1), strict=True)):
            before = widths[max(0, stage - 1)]
            self.stages.append(
                nn.ModuleList(
                    TalkNetAudioBlock(
                        channels if block else before, channels, 1 if block else stride, config.squeeze_ratio
                    )
                    for block in range(depth)
                )
            )

    def forward(self, input_features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, 4 * frames, num_cepstral_coefficients) MFCC to (batch, frames, embedding_size)."""
        rows = ValidRows(None if lengths is None else ROWS_PER_FRAME * lengths)
        hidden_states = rows.keep(input_features[:, None])
        hidden_states = rows.keep(self.stem_norm(self.stem_conv(hidden_states)).relu())
        for stage in self.stages:
            for block in stage:
                hidden_states, rows = block(hidden_states, rows)
        return hidden_states.mean(3).mT  # over frequency
