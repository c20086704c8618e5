"""What a mouth looks like in each frame: a convolution over five frames, then a residual network frame by frame.

Facts: choijeongsoo/lip2speech-unit@0c96388 (the trunk of AV-HuBERT), YangKangJNU/LTBS@6c977e1.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from avzoo.models.layers.normed_convolution import NormedConvolution, can_fold, has_hooks

from .configuration_ltbs import LTBSConfig

STEM_FRAMES, STEM_KERNEL = 5, 7


class MouthConvolution(NormedConvolution):
    """A square convolution without bias; and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int):
        convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels))


class MouthStem(NormedConvolution):
    """A convolution over five frames of grey pictures; and a batch norm."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(clips, frames, rows, columns) to (clips, frames, channels, rows, columns)."""
        if not can_fold(self, pixels):
            return super().forward(pixels[:, None]).transpose(1, 2)
        # The five frames as channels of a picture: two dimensions are faster than three.
        folded, reach = self._fold(), STEM_FRAMES // 2
        seen = nn.functional.pad(pixels, (0, 0, 0, 0, reach, reach)).unfold(1, STEM_FRAMES, 1)
        seen = seen.permute(0, 1, 4, 2, 3).flatten(0, 1)  # (clips * frames, STEM_FRAMES, rows, columns)
        weight = folded.weight[:, 0].contiguous(memory_format=torch.channels_last)
        stride, padding = self.convolution.stride[1:], self.convolution.padding[1:]
        return nn.functional.conv2d(seen, weight, folded.bias, stride, padding).unflatten(0, pixels.shape[:2])


class MouthBlock(GradientCheckpointingLayer):
    """Two convolutions; the input is added, through a convolution of 1 x 1 where its shape differs."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = MouthConvolution(in_channels, channels, 3, stride)
        self.conv2 = MouthConvolution(channels, channels, 3, 1)
        has_same_shape = stride == 1 and in_channels == channels
        self.shortcut = None if has_same_shape else MouthConvolution(in_channels, channels, 1, stride)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        hidden_states = self.conv2(nn.functional.silu(self.conv1(hidden_states)))
        return nn.functional.silu(hidden_states + residual)


class VisualFrontEnd(nn.Module):
    """(clips, frames, rows, columns) to (clips, frames, trunk_channels[-1])."""

    def __init__(self, config: LTBSConfig):
        super().__init__()
        channels = config.trunk_channels
        kernel = (STEM_FRAMES, STEM_KERNEL, STEM_KERNEL)
        padding = tuple(size // 2 for size in kernel)
        stem = nn.Conv3d(1, channels[0], kernel, (1, 2, 2), padding=padding, bias=False)
        self.stem = MouthStem(stem, nn.BatchNorm3d(channels[0]))
        self.blocks, width = nn.ModuleList(), channels[0]
        for stage, size in enumerate(channels):
            for stride in (1 if stage == 0 else 2, 1):
                self.blocks.append(MouthBlock(width, size, stride))
                width = size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        clips, frames = pixels.shape[:2]
        # Channels come last in memory where the stem is folded: convolutions and pooling are faster so on a CPU.
        in_place = can_fold(self.stem, pixels) and not has_hooks(self.stem)  # the largest tensor of all
        hidden_states = nn.functional.silu(self.stem(pixels).flatten(0, 1), inplace=in_place)
        hidden_states = nn.functional.max_pool2d(hidden_states, 3, 2, padding=1)
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return hidden_states.mean((2, 3)).unflatten(0, (clips, frames))


__all__ = ["VisualFrontEnd"]
