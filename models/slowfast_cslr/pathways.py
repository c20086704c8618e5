"""The two pathways that look at frames, a slow one with many channels and a fast one with many frames.

SlowFast (arXiv 1812.03982) with the bidirectional fusion of SlowFastSign (arXiv 2309.12304). Facts:
kaistmm/SlowFastSign@37d1b6c (`slowfast_modules/`).

Nothing here has a stride along time, so a frame keeps its number. All but one convolution look either at one frame or
along time, so each is two-dimensional: frames side by side in a batch, or a picture of frames x places. With channels
last in memory both are views of the same values, and nothing is copied in between.

Shapes: clips; frames; channels; rows; columns.
"""

import torch
from torch import nn
from torch.compiler import is_exporting
from transformers.modeling_layers import GradientCheckpointingLayer

from avzoo.models.layers.normed_convolution import NormedConvolution

from .configuration_slowfast_cslr import NUM_STAGES, SlowFastSignConfig

STEM_KERNEL = 7  # pixels
FAST_STEM_FRAMES = 5


class FrameConvolution(NormedConvolution):
    """A convolution within each frame, without bias; and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int = 1, stride: int = 1):
        padding = kernel_size // 2
        convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=padding, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(clips, frames, in_channels, rows, columns) to (clips, frames, channels, rows', columns')."""
        clips, frames = hidden_states.shape[:2]
        return super().forward(lay_plainly(hidden_states).flatten(0, 1)).unflatten(0, (clips, frames))


class TimeConvolution(NormedConvolution):
    """A convolution along time at each place, without bias, zeros before and behind; and a batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int = 1):
        padding = (kernel_size // 2, 0)
        convolution = nn.Conv2d(in_channels, channels, (kernel_size, 1), (stride, 1), padding=padding, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels))

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(clips, frames, in_channels, rows, columns) to (clips, frames', channels, rows, columns).

        `mask` (clips, frames, 1, 1, 1) is 0 behind the end of a clip, where there are zeros as behind a whole one.
        """
        if mask is not None:
            hidden_states = hidden_states * mask
        rows, columns = hidden_states.shape[-2:]
        places = lay_plainly(hidden_states).flatten(3).transpose(1, 2)  # (clips, in_channels, frames, rows * columns)
        return super().forward(places).transpose(1, 2).unflatten(3, (rows, columns))


def lay_plainly(hidden_states: torch.Tensor) -> torch.Tensor:
    """For graphs that are exported, in memory in the order of its dimensions: other programs lay results as they do."""
    return hidden_states.clone(memory_format=torch.contiguous_format) if is_exporting() else hidden_states


def repeat_frames(slow: torch.Tensor, alpha: int, frames: int) -> torch.Tensor:
    """(clips, slow frames, ...) to (clips, frames, ...): each is shown `alpha` times. Memory keeps its order."""
    return slow[:, torch.arange(frames, device=slow.device) // alpha]


class SlowStem(nn.Module):
    """Frames, one by one, to a quarter of their rows and columns."""

    def __init__(self, channels: int):
        super().__init__()
        self.projection = FrameConvolution(3, channels, STEM_KERNEL, stride=2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pool_stem(self.projection(pixels))


class FastStem(nn.Module):
    """Frames, five by five, to a quarter of their rows and columns."""

    def __init__(self, channels: int):
        super().__init__()
        kernel = (FAST_STEM_FRAMES, STEM_KERNEL, STEM_KERNEL)
        padding = tuple(size // 2 for size in kernel)
        convolution = nn.Conv3d(3, channels, kernel, (1, 2, 2), padding=padding, bias=False)
        self.projection = NormedConvolution(convolution, nn.BatchNorm3d(channels))

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if mask is not None:
            pixels = pixels * mask
        return pool_stem(self.projection(pixels.transpose(1, 2)).transpose(1, 2))


def pool_stem(hidden_states: torch.Tensor) -> torch.Tensor:
    """What each stem ends with; from here on channels come last in memory."""
    clips, frames = hidden_states.shape[:2]
    hidden_states = hidden_states.flatten(0, 1).contiguous(memory_format=torch.channels_last).relu_()
    return nn.functional.max_pool2d(hidden_states, 3, 2, padding=1).unflatten(0, (clips, frames))


class Bottleneck(GradientCheckpointingLayer):
    """Three convolutions, narrow in the middle; the input is added, through a convolution where its shape differs.

    The first looks along time if `time_kernel` is above 1, the second around each place, with the stride.
    """

    def __init__(self, in_channels: int, inner_channels: int, channels: int, time_kernel: int, stride: int):
        super().__init__()
        if time_kernel > 1:
            self.reduction = TimeConvolution(in_channels, inner_channels, time_kernel)
        else:
            self.reduction = FrameConvolution(in_channels, inner_channels)
        self.spatial = FrameConvolution(inner_channels, inner_channels, 3, stride)
        self.expansion = FrameConvolution(inner_channels, channels)
        has_same_shape = stride == 1 and in_channels == channels
        self.shortcut = None if has_same_shape else FrameConvolution(in_channels, channels, 1, stride)
        self.looks_along_time = time_kernel > 1

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        if self.looks_along_time:
            hidden_states = self.reduction(hidden_states, mask)
        else:
            hidden_states = self.reduction(hidden_states)
        hidden_states = self.expansion(self.spatial(hidden_states.relu_()).relu_())
        return hidden_states.add_(residual).relu_()


class Fusion(nn.Module):
    """What the pathways send each other; both directions start from what they were before. See `config.fusion`."""

    def __init__(self, config: SlowFastSignConfig, slow_channels: int, fast_channels: int):
        super().__init__()
        self.kind, self.alpha = config.fusion, config.alpha
        self.adds = self.kind in ("bidirectional_add", "bidirectional_mix")
        sent = slow_channels if self.adds else fast_channels * config.fusion_channel_ratio
        self.to_slow = TimeConvolution(fast_channels, sent, config.fusion_kernel, config.alpha)
        self.to_fast = None if self.kind == "fast_to_slow" else FrameConvolution(slow_channels, fast_channels)
        if self.adds:
            self.slow_gate, self.fast_gate = (nn.Parameter(self.first_gate()) for _ in range(2))

    def first_gate(self) -> torch.Tensor:
        """With which a new network fuses nothing."""
        return torch.zeros(1) if self.kind == "bidirectional_add" else torch.ones(1)

    def forward(
        self, slow: torch.Tensor, fast: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        to_slow = self.to_slow(fast, mask).relu_()
        if self.kind == "fast_to_slow":
            return torch.cat([slow, to_slow], dim=2), fast
        to_fast = repeat_frames(self.to_fast(slow).relu_(), self.alpha, fast.shape[1])
        if self.kind == "bidirectional_cat":
            return torch.cat([slow, to_slow], dim=2), torch.cat([fast, to_fast], dim=2)
        if self.kind == "bidirectional_mix":
            slow, to_slow = self.slow_gate * slow, (1 - self.slow_gate) * to_slow
            fast, to_fast = self.fast_gate * fast, (1 - self.fast_gate) * to_fast
            return slow + to_slow, fast + to_fast
        return slow + self.slow_gate * to_slow, fast + self.fast_gate * to_fast


class Stage(nn.Module):
    """Blocks of both pathways between two fusions."""

    def __init__(self, config: SlowFastSignConfig, index: int, slow_channels: int, fast_channels: int):
        super().__init__()
        widths = (config.width << index, (config.width << index) // config.beta_inverse)
        kernels = (config.slow_kernels[index], config.fast_kernels[index])
        self.slow, self.fast = (
            nn.ModuleList(
                Bottleneck(
                    in_channels if block == 0 else 4 * width,
                    width,
                    4 * width,
                    kernel if block < config.temporal_blocks[index] else 1,
                    2 if block == 0 and index > 0 else 1,
                )
                for block in range(config.depths[index])
            )
            for in_channels, width, kernel in zip((slow_channels, fast_channels), widths, kernels, strict=True)
        )

    def forward(
        self,
        slow: torch.Tensor,
        fast: torch.Tensor,
        slow_mask: torch.Tensor | None = None,
        fast_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for block in self.slow:
            slow = block(slow, slow_mask)
        for block in self.fast:
            fast = block(fast, fast_mask)
        return slow, fast


class Pathways(nn.Module):
    """Frames to features of both pathways."""

    def __init__(self, config: SlowFastSignConfig):
        super().__init__()
        self.alpha = config.alpha
        slow, fast = config.width, config.width // config.beta_inverse
        self.slow_stem, self.fast_stem = SlowStem(slow), FastStem(fast)
        self.fusions, self.stages = nn.ModuleList(), nn.ModuleList()
        for index in range(NUM_STAGES):
            self.fusions.append(Fusion(config, slow, fast))
            sent = fast * config.fusion_channel_ratio if config.fusion in ("bidirectional_cat", "fast_to_slow") else 0
            doubled = 2 if config.fusion == "bidirectional_cat" else 1
            self.stages.append(Stage(config, index, slow + sent, doubled * fast))
            slow, fast = 4 * config.width << index, (4 * config.width << index) // config.beta_inverse

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(clips, frames, 3, rows, columns) to (clips, frames, slow_size + fast_size), averages over all places.

        `mask` (clips, frames) is 0 behind the end of a clip that is to be looked at as if it were alone; None: what
        is there counts.
        """
        slow_mask = fast_mask = None
        if mask is not None:
            fast_mask = mask[:, :, None, None, None].to(pixels.dtype)
            slow_mask = fast_mask[:, :: self.alpha]
        slow, fast = self.slow_stem(pixels[:, :: self.alpha]), self.fast_stem(pixels, fast_mask)
        for fusion, stage in zip(self.fusions, self.stages, strict=True):
            slow, fast = fusion(slow, fast, fast_mask)
            slow, fast = stage(slow, fast, slow_mask, fast_mask)
        slow, fast = (hidden_states.mean((3, 4)) for hidden_states in (slow, fast))
        return torch.cat([repeat_frames(slow, self.alpha, fast.shape[1]), fast], dim=2)


__all__ = ["Bottleneck", "FrameConvolution", "Fusion", "Pathways", "TimeConvolution"]
