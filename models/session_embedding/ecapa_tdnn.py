"""ECAPA-TDNN (arXiv 2005.07143) in three dialects that share a name but not the arithmetic.

Sources: speechbrain/speechbrain@9c826ef (`lobes/models/ECAPA_TDNN.py`), wenet-e2e/wespeaker@dfa7419
(`models/ecapa_tdnn.py`), kaistmm/voxceleb-disentangler@2707e14 (`models/ECAPA_TDNN.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .masked_frames import average_frames, reflect_frames, zero_padding


@dataclass(frozen=True)
class ECAPADialect:
    """What tells one ECAPA-TDNN from another, beside its pooling.

    Args:
        padding: what a convolution sees beyond the ends of a clip.
        untouched: which of the parts of a Res2Net layer passes as it is.
        sums_inputs: a block gets the sum of all that came before; else the previous block's output alone.
        squeeze_norm: a batch norm stands inside the squeeze-and-excitation.
        aggregation_norm: a batch norm follows the layer that joins the blocks.
    """

    padding: Literal["reflect", "zeros"] = "zeros"
    untouched: Literal["first", "last"] = "last"
    sums_inputs: bool = False
    squeeze_norm: bool = False
    aggregation_norm: bool = False


ECAPA_DIALECTS = {
    "speechbrain": ECAPADialect(padding="reflect", untouched="first", aggregation_norm=True),
    "wespeaker": ECAPADialect(),
    "disentangler": ECAPADialect(sums_inputs=True, squeeze_norm=True),
}


class ConvUnit(nn.Module):
    """Convolution over time that keeps the number of frames, ReLU, batch norm - in this order."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, dilation: int = 1, padding: str = "zeros"
    ):
        super().__init__()
        self.reach = dilation * (kernel_size - 1) // 2
        self.reflects = padding == "reflect" and self.reach > 0
        self.conv = nn.Conv1d(
            in_channels, out_channels, kernel_size, dilation=dilation, padding=0 if self.reflects else self.reach
        )
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.reflects:
            hidden_states = reflect_frames(hidden_states, self.reach, mask)
        return zero_padding(self.norm(torch.relu(self.conv(hidden_states))), mask)


class Res2NetLayer(nn.Module):
    """Channels in parts: one passes, each other is convolved after the result of the one before was added to it."""

    def __init__(self, channels: int, scale: int, kernel_size: int, dilation: int, padding: str, untouched: str):
        super().__init__()
        self.scale, self.untouched = scale, untouched
        part = channels // scale
        self.units = nn.ModuleList(ConvUnit(part, part, kernel_size, dilation, padding) for _ in range(scale - 1))

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        parts = list(hidden_states.chunk(self.scale, dim=1))
        kept = parts.pop(0 if self.untouched == "first" else -1)
        results: list[torch.Tensor] = []
        for unit, part in zip(self.units, parts, strict=True):
            results.append(unit(part + results[-1] if results else part, mask))
        return torch.cat([kept, *results] if self.untouched == "first" else [*results, kept], dim=1)


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all say."""

    def __init__(self, channels: int, squeeze_size: int, with_norm: bool = False):
        super().__init__()
        self.squeeze = nn.Linear(channels, squeeze_size)
        self.norm = nn.BatchNorm1d(squeeze_size) if with_norm else None
        self.excite = nn.Linear(squeeze_size, channels)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        means = average_frames(hidden_states, mask)
        squeezed = torch.relu(self.squeeze(means.flatten(1)))
        if self.norm is not None:
            squeezed = self.norm(squeezed)
        return hidden_states * torch.sigmoid(self.excite(squeezed)).reshape(means.shape)


class SERes2Block(GradientCheckpointingLayer):
    """Pointwise unit, Res2Net layer, pointwise unit, squeeze and excitation; its input is added."""

    def __init__(
        self, channels: int, kernel_size: int, dilation: int, scale: int, squeeze_size: int, dialect: ECAPADialect
    ):
        super().__init__()
        self.unit1 = ConvUnit(channels, channels)
        self.res2net = Res2NetLayer(channels, scale, kernel_size, dilation, dialect.padding, dialect.untouched)
        self.unit2 = ConvUnit(channels, channels)
        self.squeeze_excitation = SqueezeExcitation(channels, squeeze_size, dialect.squeeze_norm)

    def forward(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, unit_mask: torch.Tensor | None
    ) -> torch.Tensor:
        residual = hidden_states
        hidden_states = self.res2net(self.unit1(hidden_states, unit_mask), unit_mask)
        return self.squeeze_excitation(self.unit2(hidden_states, unit_mask), mask) + residual


class ECAPATDNN(nn.Module):
    """(batch, bands, frames) to (batch, aggregation_size, frames).

    Args:
        kernel_sizes, dilations: of the first layer and of the blocks.
    """

    def __init__(
        self,
        num_bands: int,
        hidden_size: int,
        aggregation_size: int,
        squeeze_size: int,
        scale: int,
        kernel_sizes: Sequence[int],
        dilations: Sequence[int],
        dialect: ECAPADialect,
    ):
        super().__init__()
        self.dialect = dialect
        self.stem = ConvUnit(num_bands, hidden_size, kernel_sizes[0], dilations[0], dialect.padding)
        self.blocks = nn.ModuleList(
            SERes2Block(hidden_size, kernel_size, dilation, scale, squeeze_size, dialect)
            for kernel_size, dilation in zip(kernel_sizes[1:], dilations[1:], strict=True)
        )
        self.aggregation_conv = nn.Conv1d(len(self.blocks) * hidden_size, aggregation_size, 1)
        self.aggregation_norm = nn.BatchNorm1d(aggregation_size) if dialect.aggregation_norm else None

    def forward(
        self, features: torch.Tensor, mask: torch.Tensor | None, unit_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`unit_mask` is that of the convolutions: `mask`, or None where they shall see the padding."""
        hidden_states = self.stem(features, unit_mask)
        outputs: list[torch.Tensor] = []
        for block in self.blocks:
            outputs.append(block(hidden_states, mask, unit_mask))
            hidden_states = hidden_states + outputs[-1] if self.dialect.sums_inputs else outputs[-1]
        hidden_states = torch.relu(self.aggregation_conv(torch.cat(outputs, dim=1)))
        if self.aggregation_norm is not None:
            hidden_states = self.aggregation_norm(hidden_states)
        return zero_padding(hidden_states, unit_mask)


__all__ = ["ECAPATDNN", "ECAPA_DIALECTS", "ConvUnit", "Res2NetLayer", "SqueezeExcitation"]
