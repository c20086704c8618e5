"""RawNet3 (arXiv 2203.08488): learned band-pass filters on the waveform, Res2Net blocks over frames.

Source: clovaai/voxceleb_trainer@f51bab8 (`models/RawNet3.py`, `models/RawNetBasicBlock.py`), Jungjee/RawNet@ac87f9f;
the filters are those of asteroid-filterbanks 0.4.0 (`ParamSincFB`).
"""

import math

import numpy as np
import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .ecapa_tdnn import ConvUnit, Res2NetLayer
from .masked_frames import average_frames, make_mask, zero_padding

SAMPLING_RATE, LOWEST, NARROWEST = 16000, 50.0, 50.0  # Hz


class SincFilters(nn.Module):
    """Band-pass filters between learned frequencies: (batch, samples) to (batch, num_filters, frames).

    The filters are computed in float64 and rounded once: their float32 rounding, which the official code repeats in
    every pass, is amplified a thousandfold by the logarithm that follows. In evaluation they are computed once.

    Args:
        num_filters: even: a cosine and a sine between the same two frequencies.
        kernel_size: taps, odd.
    """

    def __init__(self, num_filters: int, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.low_hz = nn.Parameter(torch.zeros(num_filters // 2, 1))
        self.band_hz = nn.Parameter(torch.zeros(num_filters // 2, 1))
        self._cache: tuple[tuple, torch.Tensor] | None = None

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv1d(
            waveforms[:, None], self.compute_filters()[:, None].to(waveforms.dtype), stride=self.stride
        )

    def compute_filters(self) -> torch.Tensor:
        """(num_filters, kernel_size), computed again only when a frequency has changed."""
        tracks = torch.is_grad_enabled() and (self.low_hz.requires_grad or self.band_hz.requires_grad)
        if tracks or torch.compiler.is_compiling():
            return self._design()
        state = tuple(
            (edge.data_ptr(), None if edge.is_inference() else edge._version, edge.device, edge.dtype)
            for edge in (self.low_hz, self.band_hz)
        )
        if self._cache is None or self._cache[0] != state:
            self._cache = (state, self._design())
        return self._cache[1]

    @torch.no_grad()
    def init_frequencies(self) -> None:
        """Bands that are equally wide in mel between 30 Hz and 7900 Hz."""
        count = len(self.low_hz)
        mels = np.linspace(*(2595 * np.log10(1 + np.array([30.0, SAMPLING_RATE / 2 - 100.0]) / 700)), count + 1)
        edges = torch.from_numpy(700 * (10 ** (mels / 2595) - 1)).to(self.low_hz)
        init.copy_(self.low_hz, edges[:-1, None])
        init.copy_(self.band_hz, edges.diff()[:, None])

    def _design(self) -> torch.Tensor:
        half = self.kernel_size // 2
        place = {"device": self.low_hz.device, "dtype": torch.float64}
        low = LOWEST + self.low_hz.double().abs()
        high = (low + NARROWEST + self.band_hz.double().abs()).clamp(LOWEST, SAMPLING_RATE / 2)
        width = (high - low)[:, 0]
        position = torch.arange(-half, 0, **place) * (2 * math.pi / SAMPLING_RATE)
        window = torch.from_numpy(np.hamming(self.kernel_size)[:half]).to(**place)
        cosine = (torch.sin(high * position) - torch.sin(low * position)) / (position / 2) * window
        sine = (torch.cos(low * position) - torch.cos(high * position)) / (position / 2) * window
        cosines = torch.cat([cosine, 2 * width[:, None], cosine.flip(1)], dim=1)
        sines = torch.cat([sine, torch.zeros_like(width)[:, None], -sine.flip(1)], dim=1)
        return (torch.cat([cosines, sines]) / (2 * torch.cat([width, width])[:, None])).float()

    def _apply(self, fn, recurse: bool = True):
        """Frequencies stay in float32 or better: bfloat16 tells one at 4000 Hz only from those 16 Hz away."""

        def keep_precision(tensor: torch.Tensor) -> torch.Tensor:
            result = fn(tensor)
            return tensor.to(result.device) if result.dtype.itemsize < 4 else result

        return super()._apply(keep_precision, recurse)

    def __getstate__(self):
        return {**self.__dict__, "_cache": None}  # a copy may be of other weights


class RawNetBlock(GradientCheckpointingLayer):
    """A Res2Net block, max pooling along time, and a learned shift and scale of each channel.

    Args:
        pool_size: frames that become one; 1: none.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, dilation: int, scale: int, pool_size: int):
        super().__init__()
        self.pool_size = pool_size
        self.unit1 = ConvUnit(in_channels, channels)
        self.res2net = Res2NetLayer(channels, scale, kernel_size, dilation, "zeros", "last")
        self.unit2 = ConvUnit(channels, channels)
        self.shortcut = nn.Conv1d(in_channels, channels, 1, bias=False) if in_channels != channels else None
        self.shift = nn.Parameter(torch.ones(channels, 1))
        self.scale = nn.Linear(channels, channels)

    def forward(
        self, hidden_states: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        mask = make_mask(lengths, hidden_states.shape[-1])
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        hidden_states = self.res2net(self.unit1(hidden_states, mask), mask)
        hidden_states = zero_padding(self.unit2(hidden_states, mask) + residual, mask)
        if self.pool_size > 1:
            hidden_states, lengths = pool_frames(hidden_states, lengths, self.pool_size)
            mask = make_mask(lengths, hidden_states.shape[-1])
        scale = torch.sigmoid(self.scale(average_frames(hidden_states, mask)[..., 0]))
        return zero_padding((hidden_states + self.shift) * scale[..., None], mask), lengths


class RawNet3(nn.Module):
    """(batch, samples) of waveforms to (batch, aggregation_size, frames), and the clips' lengths there.

    Args:
        num_filters, kernel_size, stride: of [`SincFilters`].
    """

    def __init__(
        self, hidden_size: int, aggregation_size: int, num_filters: int, kernel_size: int, stride: int, scale: int
    ):
        super().__init__()
        self.waveform_scale = nn.Parameter(torch.ones(1))
        self.waveform_shift = nn.Parameter(torch.zeros(1))
        self.stem = SincFilters(num_filters, kernel_size, stride)
        self.blocks = nn.ModuleList(
            RawNetBlock(in_channels, hidden_size, 3, dilation, scale, pool_size)
            for in_channels, dilation, pool_size in ((num_filters, 2, 5), (hidden_size, 3, 3), (hidden_size, 4, 1))
        )
        self.aggregation_conv = nn.Conv1d(3 * hidden_size, aggregation_size, 1)

    def forward(
        self, waveforms: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        features, lengths = self.compute_features(waveforms, lengths)
        return self.encode(features, lengths)

    def compute_features(
        self, waveforms: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, num_filters, frames): log magnitudes of the filters, the mean over time of each taken away."""
        scale, shift = self.waveform_scale.float(), self.waveform_shift.float()
        waveforms = waveforms - 0.97 * torch.cat([waveforms[:, 1:2], waveforms[:, :-1]], dim=1)
        mask = make_mask(lengths, waveforms.shape[1])
        mean = average_frames(waveforms[:, None], mask)[:, 0]
        variance = average_frames((waveforms - mean).square()[:, None], mask)[:, 0]
        waveforms = (waveforms - mean) / (variance + 1e-4).sqrt() * scale + shift
        features = (self.stem(waveforms).abs() + 1e-6).log()
        if lengths is not None:
            lengths = (lengths - self.stem.kernel_size) // self.stem.stride + 1
        mask = make_mask(lengths, features.shape[-1])
        features = zero_padding(features - average_frames(features, mask), mask)
        return features.to(self.aggregation_conv.weight.dtype), lengths

    def encode(self, features: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        first, first_lengths = self.blocks[0](features, lengths)
        second, lengths = self.blocks[1](first, first_lengths)
        pooled, _ = pool_frames(first, first_lengths, 3)  # to the frames of the second block
        third, _ = self.blocks[2](pooled + second, lengths)
        hidden_states = torch.relu(self.aggregation_conv(torch.cat([pooled, second, third], dim=1)))
        return zero_padding(hidden_states, make_mask(lengths, hidden_states.shape[-1])), lengths


def pool_frames(
    hidden_states: torch.Tensor, lengths: torch.Tensor | None, size: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The largest of every `size` frames; frames that don't fill a group are dropped."""
    lengths = None if lengths is None else lengths // size
    hidden_states = nn.functional.max_pool1d(hidden_states, size)
    return zero_padding(hidden_states, make_mask(lengths, hidden_states.shape[-1])), lengths


__all__ = ["RawNet3", "SincFilters"]
