"""Residual networks over spectrograms: ResNetSE34L and V2 of voxceleb_trainer, and wespeaker's ResNet34.

Sources: clovaai/voxceleb_trainer@f51bab8 (`models/ResNetSE34{L,V2}.py`, `models/ResNetBlocks.py`),
wenet-e2e/wespeaker@dfa7419 (`models/resnet.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .ecapa_tdnn import SqueezeExcitation
from .masked_frames import make_mask, zero_padding


@dataclass(frozen=True)
class ResNetDialect:
    """What tells one of these networks from another.

    Args:
        norm_last: ReLU stands before the batch norm, in the blocks' first half; else behind it.
        stem_norm_last: the same of the first layer.
        stem_kernel_size, stem_stride: of the first layer; stride over bands, it keeps the frames.
        stem_bias: of its convolution.
        squeeze_ratio: of squeeze and excitation in each block; 0: none.
        strides: of the stages, over bands and frames.
        averages_bands: the result is the mean over the bands; else channels and bands are one axis.
    """

    norm_last: bool
    stem_norm_last: bool
    stem_kernel_size: int = 3
    stem_stride: int = 1
    stem_bias: bool = False
    squeeze_ratio: int = 0
    strides: tuple[int, ...] = (1, 2, 2, 2)
    averages_bands: bool = False


RESNET_DIALECTS = {
    "resnetse34l": ResNetDialect(
        norm_last=True,
        stem_norm_last=False,
        stem_kernel_size=7,
        stem_stride=2,
        squeeze_ratio=8,
        strides=(1, 2, 2, 1),
        averages_bands=True,
    ),
    "resnetse34v2": ResNetDialect(norm_last=True, stem_norm_last=True, stem_bias=True, squeeze_ratio=8),
    "resnet34": ResNetDialect(norm_last=False, stem_norm_last=False),
}


class ResidualBlock(GradientCheckpointingLayer):
    """Two convolutions of 3 x 3, and squeeze and excitation where the dialect has it; the input is added."""

    def __init__(self, in_channels: int, channels: int, stride: int, dialect: ResNetDialect):
        super().__init__()
        self.norm_last = dialect.norm_last
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        ratio = dialect.squeeze_ratio
        self.squeeze_excitation = SqueezeExcitation(channels, channels // ratio) if ratio else None
        self.shortcut_conv = self.shortcut_norm = None
        if stride != 1 or in_channels != channels:
            self.shortcut_conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(channels)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        residual = hidden_states
        hidden_states = self.conv1(hidden_states)
        if self.norm_last:
            hidden_states = self.norm1(torch.relu(hidden_states))
        else:
            hidden_states = torch.relu(self.norm1(hidden_states))
        hidden_states = self.norm2(self.conv2(zero_padding(hidden_states, mask)))
        if self.squeeze_excitation is not None:
            hidden_states = self.squeeze_excitation(hidden_states, mask)
        if self.shortcut_conv is not None:
            residual = self.shortcut_norm(self.shortcut_conv(residual))
        return zero_padding(torch.relu(hidden_states + residual), mask)


class SpeakerResNet(nn.Module):
    """(batch, bands, frames) to (batch, `num_channels`, frames of the last stage), and the clips' lengths there."""

    def __init__(self, num_bands: int, channels: Sequence[int], depths: Sequence[int], dialect: ResNetDialect):
        super().__init__()
        self.dialect = dialect
        kernel_size, stride = dialect.stem_kernel_size, dialect.stem_stride
        self.stem = nn.Conv2d(
            1, channels[0], kernel_size, (stride, 1), padding=kernel_size // 2, bias=dialect.stem_bias
        )
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.stages = nn.ModuleList()
        in_channels = channels[0]
        for stage_channels, depth, stride in zip(channels, depths, dialect.strides, strict=True):
            blocks = nn.ModuleList()
            for index in range(depth):
                blocks.append(ResidualBlock(in_channels, stage_channels, stride if index == 0 else 1, dialect))
                in_channels = stage_channels
            self.stages.append(blocks)
        bands = (num_bands - 1) // dialect.stem_stride + 1
        for stride in dialect.strides:
            bands = (bands - 1) // stride + 1
        self.num_channels = in_channels if dialect.averages_bands else in_channels * bands

    def forward(self, features: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden_states = self.stem(features[:, None])  # (batch, channels, bands, frames)
        if self.dialect.stem_norm_last:
            hidden_states = self.stem_norm(torch.relu(hidden_states))
        else:
            hidden_states = torch.relu(self.stem_norm(hidden_states))
        hidden_states = zero_padding(hidden_states, make_mask(lengths, hidden_states.shape[-1]))
        for blocks, stride in zip(self.stages, self.dialect.strides, strict=True):
            lengths = None if lengths is None else (lengths - 1) // stride + 1
            for block in blocks:
                frames = (
                    hidden_states.shape[-1] if block.conv1.stride == (1, 1) else -(-hidden_states.shape[-1] // stride)
                )
                hidden_states = block(hidden_states, make_mask(lengths, frames))
        hidden_states = hidden_states.mean(2) if self.dialect.averages_bands else hidden_states.flatten(1, 2)
        return hidden_states, lengths


__all__ = ["RESNET_DIALECTS", "SpeakerResNet"]
