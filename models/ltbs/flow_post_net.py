"""A flow that adds to a spectrogram what averaging has taken from it.

Glow's steps (arXiv 1807.03039) as Glow-TTS (2005.11129) lays them along time and PortaSpeech (2109.15166) puts them
behind a decoder. Facts: jaywalnut310/glow-tts@13e9976 (`modules.py`, `attentions.py`, `models.py`),
keonlee9420/PortaSpeech@51bd827, YangKangJNU/LTBS@6c977e1 (`src/models/flow.py`).

A spectrogram and a latent of its shape stand for each other, one to one, given a condition; how much one direction
stretches is known, so the likelihood of a spectrogram is. Two frames are one position here, with the rows of both.

Shapes: clips; rows (mel bins); frames. Masks are (clips, 1, frames), 1 where there is a frame.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.compiler import is_exporting

from avzoo.models.layers.linear_maps import map_channels

# A WaveNet as a function. A module among the arguments of another would be moved with them where weights are offloaded.
Look = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class WeightNormedConvolution(nn.Module):
    """A convolution along time whose filters are a direction times a length, and which keeps the number of frames."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int = 1, dilation: int = 1):
        super().__init__()
        self.direction = nn.Parameter(torch.empty(channels, in_channels, kernel_size))
        self.length = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.dilation = dilation
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.direction, a=5**0.5)
        self.length.copy_(self.direction.norm(dim=(1, 2), keepdim=True))
        bound = self.direction[0].numel() ** -0.5
        nn.init.uniform_(self.bias, -bound, bound)

    def compute_weight(self) -> torch.Tensor:
        return self.direction * (self.length / self.direction.norm(dim=(1, 2), keepdim=True))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        # Lengths are applied to what comes out: it is smaller than the weight.
        scale = (self.length / self.direction.norm(dim=(1, 2), keepdim=True))[..., 0]
        kernel_size = self.direction.shape[2]
        if kernel_size == 1:
            mapped = map_channels(inputs, self.direction[..., 0])
        else:
            padding = self.dilation * (kernel_size - 1) // 2
            mapped = nn.functional.conv1d(inputs, self.direction, padding=padding, dilation=self.dilation)
        return torch.addcmul(self.bias[:, None], mapped, scale)


class WaveNet(nn.Module):
    """Gated convolutions with a condition; the sum of what each layer passes on."""

    def __init__(self, size: int, kernel_size: int, dilation_rate: int, num_layers: int, dropout: float):
        super().__init__()
        self.size = size
        self.gates = nn.ModuleList(
            WeightNormedConvolution(size, 2 * size, kernel_size, dilation_rate**index) for index in range(num_layers)
        )
        self.outputs = nn.ModuleList(
            WeightNormedConvolution(size, size if index == num_layers - 1 else 2 * size) for index in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(clips, size, frames), and the condition of all layers, (clips, layers * 2 * size, frames)."""
        total = torch.zeros_like(hidden_states)
        conditions = condition.split(2 * self.size, dim=1)
        for gate, output, own in zip(self.gates, self.outputs, conditions, strict=True):
            signal, opening = (self.dropout(gate(hidden_states)) + own).split(self.size, dim=1)
            passed = output(signal.tanh() * opening.sigmoid())
            if passed.shape[1] == self.size:  # the last layer
                return (total + passed) * mask
            step, skipped = passed.split(self.size, dim=1)
            hidden_states = (hidden_states + step) * mask
            total = total + skipped
        raise AssertionError("a WaveNet has at least one layer")


class ActNorm(nn.Module):
    """A scale and a shift of each row. The first batch in training sets both so that rows come out normed."""

    def __init__(self, channels: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1))
        self.register_buffer("is_initialized", torch.tensor(False))

    def forward(self, x: torch.Tensor, mask: torch.Tensor, inverse: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and the logarithm of how much a clip is stretched, (clips,)."""
        stretch = self.log_scale.sum() * mask.sum((1, 2))
        if inverse:
            return (x - self.bias) * (-self.log_scale).exp() * mask, -stretch
        if self.training and not self.is_initialized:
            self.initialize(x, mask)
            stretch = self.log_scale.sum() * mask.sum((1, 2))
        return (self.bias + self.log_scale.exp() * x) * mask, stretch

    @torch.no_grad()
    def initialize(self, x: torch.Tensor, mask: torch.Tensor) -> None:
        """From a batch: mean and deviation over the frames that are there, the variance 1e-6 at least."""
        count = mask.sum()
        mean = (x * mask).sum((0, 2), keepdim=True) / count
        variance = (x.square() * mask).sum((0, 2), keepdim=True) / count - mean.square()
        deviation = variance.clamp(min=1e-6).sqrt()
        self.log_scale.copy_(-deviation.log())
        self.bias.copy_(-mean / deviation)
        self.is_initialized.fill_(True)


class ChannelMixing(nn.Module):
    """An invertible matrix that mixes groups of rows; half of a group is of the first half of the rows."""

    def __init__(self, channels: int, group_size: int):
        super().__init__()
        self.group_size, self.num_groups = group_size, channels // group_size
        weight = nn.init.orthogonal_(torch.empty(group_size, group_size))
        weight[0] *= torch.linalg.det(weight).sign()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, inverse: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`ActNorm.forward`]."""
        weight = widen(self.weight)
        if inverse and is_exporting():
            matrix, determinant = invert_by_minors(weight)
            stretch = -determinant.abs().log()
        elif inverse:
            matrix, stretch = torch.linalg.inv(weight), -torch.linalg.slogdet(weight).logabsdet
        else:
            matrix, stretch = weight, torch.linalg.slogdet(weight).logabsdet
        return self._mix(x, matrix.to(x.dtype)) * mask, stretch.to(x.dtype) * self.num_groups * mask.sum((1, 2))

    def _mix(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        half = self.group_size // 2
        groups = x.unflatten(1, (2, self.num_groups, half))  # (clips, half of the rows, group, place, frames)
        groups = groups.transpose(2, 3).flatten(1, 2)  # (clips, group_size, groups, frames)
        mixed = torch.einsum("oi,nigt->nogt", matrix, groups)
        return mixed.unflatten(1, (2, half)).transpose(2, 3).flatten(1, 3)


def widen(weight: torch.Tensor) -> torch.Tensor:
    """Half precision as float32, which inverses need."""
    return weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight


def invert_by_minors(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse and determinant of a small matrix by products alone, for graphs whose runtime knows no inverse."""

    def expand(rows: list[int], columns: list[int]) -> torch.Tensor:
        if not rows:
            return matrix.new_ones(())
        parts = [
            (-1) ** place * matrix[rows[0], column] * expand(rows[1:], columns[:place] + columns[place + 1 :])
            for place, column in enumerate(columns)
        ]
        return torch.stack(parts).sum()

    places = list(range(matrix.shape[0]))
    without = [places[:place] + places[place + 1 :] for place in places]
    minors = [[(-1) ** (row + column) * expand(without[row], without[column]) for row in places] for column in places]
    determinant = expand(places, places)
    return torch.stack([torch.stack(row) for row in minors]) / determinant, determinant


class Coupling(nn.Module):
    """Half of the rows tell how the other half is scaled and shifted.

    The WaveNet between both convolutions is given at each call, as several steps may share one.
    """

    def __init__(self, channels: int, hidden_size: int, sigmoid_scale: bool):
        super().__init__()
        self.start = WeightNormedConvolution(channels // 2, hidden_size)
        self.end = nn.Conv1d(hidden_size, channels, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)
        self.sigmoid_scale = sigmoid_scale

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor, wavenet: Look, inverse: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`ActNorm.forward`]."""
        kept, changed = x.chunk(2, dim=1)
        shift, log_scale = self.end(wavenet(self.start(kept) * mask, mask, condition)).chunk(2, dim=1)
        if self.sigmoid_scale:
            log_scale = (1e-6 + (log_scale + 2).sigmoid()).log()
        stretch = (log_scale * mask).sum((1, 2))
        if inverse:
            return torch.cat([kept, (changed - shift) * (-log_scale).exp() * mask], dim=1), -stretch
        return torch.cat([kept, (shift + log_scale.exp() * changed) * mask], dim=1), stretch


class FlowStep(nn.Module):
    """A norm, a mixing of rows, and a coupling."""

    def __init__(self, channels: int, hidden_size: int, group_size: int, sigmoid_scale: bool):
        super().__init__()
        self.norm = ActNorm(channels)
        self.mixing = ChannelMixing(channels, group_size)
        self.coupling = Coupling(channels, hidden_size, sigmoid_scale)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor, wavenet: Look, inverse: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and the logarithm of how much each part stretches, (clips, 3)."""
        if inverse:
            x, coupled = self.coupling(x, mask, condition, wavenet, inverse=True)
            x, mixed = self.mixing(x, mask, inverse=True)
            x, normed = self.norm(x, mask, inverse=True)
        else:
            x, normed = self.norm(x, mask)
            x, mixed = self.mixing(x, mask)
            x, coupled = self.coupling(x, mask, condition, wavenet)
        return x, torch.stack([normed, mixed, coupled], dim=1)


class FlowPostNet(nn.Module):
    """Spectrograms to latents, and back.

        flow = FlowPostNet(num_bins=80, condition_size=592)
        latent, log_determinant = flow(mel, mask, condition)
        mel = flow.invert(latent, mask, condition)

    Args:
        num_bins: rows of a spectrogram.
        condition_size: rows of the condition, which has as many frames.
        hidden_size, kernel_size, dilation_rate, num_layers, dropout: of each WaveNet.
        num_steps: steps of the flow.
        group_size: rows that are mixed with each other.
        squeeze: frames that are one position.
        sigmoid_scale: scales of couplings are below 1.
        steps_per_wavenet: so many steps share one WaveNet; each has its own condition.
        odd_length: frames that lack others of their position: "drop" them (their result is 0), or "pad" the clip by
            zeros, so that they are kept. (PortaSpeech pads, too, but masks that position, which is "drop".)
    """

    def __init__(
        self,
        num_bins: int,
        condition_size: int,
        *,
        hidden_size: int = 192,
        kernel_size: int = 3,
        dilation_rate: int = 1,
        num_steps: int = 12,
        num_layers: int = 3,
        dropout: float = 0.1,
        group_size: int = 4,
        squeeze: int = 2,
        sigmoid_scale: bool = False,
        steps_per_wavenet: int = 1,
        odd_length: Literal["drop", "pad"] = "drop",
    ):
        super().__init__()
        channels = squeeze * num_bins
        if channels % group_size or group_size % 2 or num_steps % steps_per_wavenet:
            raise ValueError(
                f"`group_size` ({group_size}) must be even and divide `squeeze` times `num_bins` ({channels}), and "
                f"`steps_per_wavenet` ({steps_per_wavenet}) must divide `num_steps` ({num_steps})."
            )
        self.squeeze_size, self.odd_length, self.steps_per_wavenet = squeeze, odd_length, steps_per_wavenet
        self.steps = nn.ModuleList(FlowStep(channels, hidden_size, group_size, sigmoid_scale) for _ in range(num_steps))
        self.wavenets = nn.ModuleList(
            WaveNet(hidden_size, kernel_size, dilation_rate, num_layers, dropout)
            for _ in range(num_steps // steps_per_wavenet)
        )
        # Of all steps in one: they read the same condition.
        widths = num_steps * num_layers * 2 * hidden_size
        self.condition_projection = WeightNormedConvolution(squeeze * condition_size, widths)

    def forward(
        self, mel: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor, inverse: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The latent of a spectrogram or, inverse, the spectrogram of a latent; and how much that stretches.

        Args:
            mel: (clips, num_bins, frames), a spectrogram or a latent.
            mask: (clips, 1, frames).
            condition: (clips, condition_size, frames).

        Returns:
            (clips, num_bins, frames), and the logarithm of the determinant of the Jacobian, (clips,).
        """
        result, parts = self.transform(mel, mask, condition, inverse)
        return result, parts.sum(1)

    def invert(self, latent: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """The spectrogram of a latent."""
        return self(latent, mask, condition, inverse=True)[0]

    def transform(
        self, mel: torch.Tensor, mask: torch.Tensor, condition: torch.Tensor, inverse: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, but the logarithm in parts: (clips, 3 * num_steps), of norm, mixing, coupling of each step."""
        if torch.is_autocast_enabled(mel.device.type):  # logarithms and exponentials of many steps: as the weights are
            kept = self.condition_projection.bias.dtype
            with torch.autocast(mel.device.type, enabled=False):
                return self.transform(mel.to(kept), mask.to(kept), condition.to(kept), inverse)
        size, dtype = self.squeeze_size, mel.dtype
        mask = mask.to(dtype)
        places = mask[:, :, size - 1 :: size]
        if self.odd_length == "pad":
            missing = -mel.shape[2] % size
            padded = [nn.functional.pad(part, (0, missing)) for part in (mel, mask, condition)]
            x, places, condition = padded[0], padded[1][:, :, ::size], padded[2]
        else:
            x = mel
        if not is_exporting() and places.shape[2] == 0:  # a frame without its others; torch convolves no positions
            return torch.zeros_like(mel), mel.new_zeros(mel.shape[0], 3 * len(self.steps))
        x = self.squeeze(x) * places
        conditions = self.condition_projection(self.squeeze(condition) * places).chunk(len(self.steps), dim=1)
        order, parts = range(len(self.steps)), {}
        for index in reversed(order) if inverse else order:
            wavenet = self.wavenets[index // self.steps_per_wavenet].__call__  # no module: see `Look`
            x, parts[index] = self.steps[index](x, places, conditions[index], wavenet, inverse)
        return self.unsqueeze(x, places, mel.shape[2]), torch.cat([parts[index] for index in order], dim=1)

    def squeeze(self, x: torch.Tensor) -> torch.Tensor:
        """(clips, rows, frames) to (clips, squeeze * rows, positions); frames that are left over are dropped."""
        size = self.squeeze_size
        x = x[:, :, : x.shape[2] // size * size]
        return x.unflatten(2, (-1, size)).permute(0, 3, 1, 2).flatten(1, 2)

    def unsqueeze(self, x: torch.Tensor, places: torch.Tensor, frames: int) -> torch.Tensor:
        """The way back, cut or filled with zeros to a number of frames."""
        size = self.squeeze_size
        x = (x * places).unflatten(1, (size, -1)).permute(0, 2, 3, 1).flatten(2)
        return nn.functional.pad(x[:, :, :frames], (0, max(0, frames - x.shape[2])))


__all__ = ["ActNorm", "ChannelMixing", "Coupling", "FlowPostNet", "FlowStep", "WaveNet", "WeightNormedConvolution"]
