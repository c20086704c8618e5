"""TalkNet's layers for videos of a face, which several methods took over as they are.

A convolution over space and time, a residual trunk on each frame, then convolutions over time. Source: TalkNet (arXiv
2107.06592), TaoRuijie/TalkNet-ASD@6d68214, model/visualEncoder.py.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


class FaceResidualStage(GradientCheckpointingLayer):
    """Four convolutions of one frame: (frames, in_channels, rows, columns) to (frames, channels, rows', columns').

    Norms stand after the sums, and the second skip starts before the norm of the first sum.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, eps: float):
        super().__init__()

        def convolution(width: int, step: int = 1) -> nn.Conv2d:
            return nn.Conv2d(width, channels, 3, step, padding=1, bias=False)

        def norm() -> nn.BatchNorm2d:
            return nn.BatchNorm2d(channels, eps, momentum=0.01)

        self.conv1, self.norm1 = convolution(in_channels, stride), norm()
        self.conv2, self.norm2 = convolution(channels), norm()
        self.conv3, self.norm3 = convolution(channels), norm()
        self.conv4, self.norm4 = convolution(channels), norm()
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        branch = self.conv2(self.norm1(self.conv1(hidden_states)).relu())
        hidden_states = branch + self.shortcut(hidden_states)
        branch = self.norm2(hidden_states).relu()
        branch = self.conv4(self.norm3(self.conv3(branch)).relu())
        return self.norm4(branch + hidden_states).relu()


class FrameConv(nn.Conv3d):
    """A convolution over space and time; `padded=False` keeps only frames whose neighbours are all there."""

    def forward(self, values: torch.Tensor, padded: bool = True) -> torch.Tensor:
        padding = self.padding if padded else (0, *self.padding[1:])
        return nn.functional.conv3d(values, self.weight, self.bias, self.stride, padding)


class FaceTrunkMixin:
    """Stem and residual trunk of a face encoder, as modules `stem_conv`, `stem_norm` and `stages` of the encoder."""

    def add_trunk(self, widths: Sequence[int], eps: float) -> None:
        """Create the modules; `widths`: channels of the four stages."""
        self.stem_conv = FrameConv(1, widths[0], (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False)
        self.stem_norm = nn.BatchNorm3d(widths[0], eps, momentum=0.01)
        self.stem_pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        sizes = zip((widths[0], *widths), widths, (1, 2, 2, 2), strict=False)
        self.stages = nn.ModuleList(FaceResidualStage(width, channels, step, eps) for width, channels, step in sizes)

    def run_stem(self, values: torch.Tensor, padded: bool = True) -> torch.Tensor:
        """(tracks, frames, rows, columns) to (tracks, width, frames, rows / 4, columns / 4)."""
        return self.stem_pool(self.stem_norm(self.stem_conv(values[:, None], padded)).relu())

    def run_trunk(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(tracks, width, frames, rows, columns) to (tracks, frames, channels)."""
        tracks, _, frames = hidden_states.shape[:3]
        hidden_states = hidden_states.transpose(1, 2).flatten(0, 1)
        for stage in self.stages:
            hidden_states = stage(hidden_states)
        return hidden_states.mean((2, 3)).unflatten(0, (tracks, frames))


class ClipNorm(nn.Module):
    """Mean 0 and variance 1 over channels and frames of a clip together: (batch, channels, frames)."""

    def __init__(self, channels: int, eps: float = 1e-8):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`mask`: (batch, 1, frames), 1 for frames and 0 for padding, which is neither counted nor changed to 0."""
        values = hidden_states.float()  # sums of squares of thousands
        count = mask.sum((1, 2), keepdim=True) * values.shape[1]
        mean = (values * mask).sum((1, 2), keepdim=True) / count
        variance = ((values - mean) * mask).square().sum((1, 2), keepdim=True) / count
        values = (values - mean) * (variance + self.eps).rsqrt()
        return (values * self.weight[:, None] + self.bias[:, None]).to(hidden_states.dtype)


class FaceTemporalLayer(GradientCheckpointingLayer):
    """A residual convolution over three frames, each channel by itself, and a mix of channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.depthwise_conv = nn.Conv1d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.activation = nn.PReLU()
        self.clip_norm = ClipNorm(channels)
        self.pointwise_conv = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        branch = self.norm(hidden_states.relu()) * mask.to(hidden_states.dtype)
        branch = self.activation(self.depthwise_conv(branch))
        return hidden_states + self.pointwise_conv(self.clip_norm(branch, mask))


def init_as_torch(module: nn.Module) -> None:
    """torch's own draws for convolutions, neutral norms; for a model's `_init_weights`."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        if module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, BATCH_NORMS | ClipNorm | nn.LayerNorm):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        if isinstance(module, BATCH_NORMS):
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
    elif isinstance(module, nn.PReLU):
        init.constant_(module.weight, 0.25)
