"""The residual trunk of both sides: ResNet-18's layout with a stride of our own for each stage."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from avzoo.models.layers.normed_convolution import NormedConvolution, can_fold


class TrunkConvolution(NormedConvolution):
    """A square convolution without bias that keeps the size of a picture, or halves it; and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int = 1):
        padding = kernel_size // 2
        convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=padding, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels))


class ResidualBlock(GradientCheckpointingLayer):
    """Two convolutions of 3 x 3; the input is added, through a convolution of 1 x 1 where its shape differs."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = TrunkConvolution(in_channels, channels, 3, stride)
        self.conv2 = TrunkConvolution(channels, channels, 3)
        has_same_shape = stride == 1 and in_channels == channels
        self.shortcut = None if has_same_shape else TrunkConvolution(in_channels, channels, 1, stride)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        hidden_states = self.conv2(self.conv1(hidden_states).relu_())
        return hidden_states.add_(residual).relu_()


class ResidualTrunk(nn.Module):
    """(batch, in_channels, rows, columns) to (batch, channels of the last stage, rows', columns').

    The last operation is the last block's ReLU: every value is 0 or more.
    """

    def __init__(self, in_channels: int, hidden_sizes: Sequence[int], depths: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.stem = TrunkConvolution(in_channels, hidden_sizes[0], 7, 2)
        self.stages = nn.ModuleList()
        width = hidden_sizes[0]
        for channels, depth, stride in zip(hidden_sizes, depths, strides, strict=True):
            blocks = nn.ModuleList()
            for index in range(depth):
                blocks.append(ResidualBlock(width, channels, stride if index == 0 else 1))
                width = channels
            self.stages.append(blocks)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.to(self.stem.convolution.weight.dtype)
        hidden_states = self.stem(inputs).relu_()  # rows / 2
        if can_fold(self.stem, inputs):  # pooling, too, is several times faster with channels last
            hidden_states = hidden_states.contiguous(memory_format=torch.channels_last)
        hidden_states = nn.functional.max_pool2d(hidden_states, 3, 2, padding=1)  # rows / 4
        for blocks in self.stages:
            for block in blocks:
                hidden_states = block(hidden_states)
        return hidden_states


__all__ = ["ResidualBlock", "ResidualTrunk", "TrunkConvolution"]
