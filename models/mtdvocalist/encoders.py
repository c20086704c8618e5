"""Convolutional encoders of VocaLiST: one token per video frame, one token per mel column."""

from collections.abc import Iterable

import torch
from torch import nn

from .configuration_vocalist import VocaLiSTConfig


class VocaLiSTConvBlock(nn.Module):
    """Convolution, batch norm, residual connection if `residual`, ReLU. `kernel` has two axes or three."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        residual: bool = False,
    ):
        super().__init__()
        convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[len(kernel)]
        self.convolution = convolution(in_channels, channels, kernel, stride, padding)
        self.norm = norm(channels)
        self.residual = residual

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        update = self.norm(self.convolution(features))
        return nn.functional.relu(update + features if self.residual else update)


def make_blocks(
    in_channels: int,
    config: VocaLiSTConfig,
    stages: Iterable[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]],
) -> nn.ModuleList:
    """Blocks of all stages; a stage is a block that changes width and size, then residual blocks of the same width.

    Args:
        stages: (kernel, stride, padding, residual blocks) of each.
    """
    blocks, width = [], in_channels
    for stage, (kernel, stride, padding, depth) in enumerate(stages):
        channels, axes = config.stage_channels(stage), len(kernel)
        same_size = (3,) * axes, (1,) * axes, (1,) * axes
        blocks.append(VocaLiSTConvBlock(width, channels, kernel, stride, padding))
        blocks += [VocaLiSTConvBlock(channels, channels, *same_size, residual=True) for _ in range(depth)]
        width = channels
    return nn.ModuleList(blocks)


class VocaLiSTVisualEncoder(nn.Module):
    """Mouth images to one token per frame. A token depends on neighbouring frames; the window is padded with zeros."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__()
        self.blocks = make_blocks(
            3,
            config,
            (
                ((kernel,) * 3, (1, row_stride, column_stride), (kernel // 2, padding, padding), depth)
                for kernel, row_stride, column_stride, padding, depth in config.visual_stages
            ),
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, frames, 3, rows, columns) to (batch, frames, hidden_size)."""
        features = pixel_values.transpose(1, 2)  # (batch, 3, frames, rows, columns)
        for block in self.blocks:
            features = block(features)  # (batch, channels, frames, fewer rows, fewer columns)
        return features.flatten(2).transpose(1, 2)  # rows and columns are 1


class VocaLiSTAudioEncoder(nn.Module):
    """Log-mel to one token per column. A token depends on neighbouring columns; the window is padded with zeros."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__()
        self.blocks = make_blocks(
            1,
            config,
            (
                ((kernel, kernel), (mel_stride, 1), (mel_padding, kernel // 2), depth)
                for kernel, mel_stride, mel_padding, depth in config.audio_stages
            ),
        )

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        """(batch, 1, num_mel_bins, columns) to (batch, columns, hidden_size)."""
        features = input_features
        for block in self.blocks:
            features = block(features)  # (batch, channels, fewer mel bins, columns)
        return features.flatten(2).transpose(1, 2)  # the mel axis is 1
