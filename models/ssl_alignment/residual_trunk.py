"""The residual trunk of both sides: ResNet-18's layout with a stride of our own for each stage.

In evaluation on a CPU, without gradients, each batch norm is folded into the convolution before it, and channels come
last in memory. Weights and their names stay as they are; whatever changes them makes the folded copies anew.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


class NormedConvolution(nn.Module):
    """A convolution without bias, and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        padding = kernel_size // 2
        self.convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self._folded: tuple[tuple, torch.Tensor, torch.Tensor] | None = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if not can_fold(self, hidden_states):
            return self.norm(self.convolution(hidden_states))
        weight, bias = self._fold()
        return nn.functional.conv2d(hidden_states, weight, bias, self.convolution.stride, self.convolution.padding)

    def _fold(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the one convolution that does both, as long as what they are made of stays the same."""
        norm = self.norm
        parts = (self.convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        state = tuple((part.data_ptr(), part._version, part.dtype) for part in parts)
        if self._folded is None or self._folded[0] != state:
            weight, scale, shift, mean, variance = (part.detach().double() for part in parts)
            scale = scale * (variance + norm.eps).rsqrt()
            weight = (weight * scale[:, None, None, None]).to(parts[0].dtype)
            bias = (shift - mean * scale).to(parts[0].dtype)
            self._folded = (state, weight.contiguous(memory_format=torch.channels_last), bias)
        return self._folded[1:]

    def train(self, mode: bool = True) -> "NormedConvolution":
        self._folded = None
        return super().train(mode)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_folded": None}  # copies and pickles make their own


def can_fold(layer: NormedConvolution, hidden_states: torch.Tensor) -> bool:
    """Whether norms are constants here: evaluation without gradients, on a CPU, outside graphs that are recorded."""
    return (
        not layer.norm.training
        and not torch.is_grad_enabled()
        and hidden_states.device.type == "cpu"
        and layer.convolution.weight.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and not layer.convolution.weight.is_inference()  # such tensors count no changes
    )


class ResidualBlock(GradientCheckpointingLayer):
    """Two convolutions of 3 x 3; the input is added, through a convolution of 1 x 1 where its shape differs."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = NormedConvolution(in_channels, channels, 3, stride)
        self.conv2 = NormedConvolution(channels, channels, 3)
        has_same_shape = stride == 1 and in_channels == channels
        self.shortcut = None if has_same_shape else NormedConvolution(in_channels, channels, 1, stride)

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
        self.stem = NormedConvolution(in_channels, hidden_sizes[0], 7, 2)
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


__all__ = ["NormedConvolution", "ResidualBlock", "ResidualTrunk"]
