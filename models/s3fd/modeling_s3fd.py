"""S3FD: a VGG that detects faces at six scales.

Paper: "S3FD: Single Shot Scale-invariant Face Detector" (arXiv 1708.05237, ICCV 2017). Facts about the released weights
come from TaoRuijie/TalkNet-ASD@6d68214, model/faceDetector/s3fd.

Shapes: batch, height and width of the image; priors = all positions of the six levels, finest level first, row by row.
Boxes are (x1, y1, x2, y2) relative to the image; (0, 0, 1, 1) is the whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from avzoo.models.layers.outputs import with_output_options

from .configuration_s3fd import S3FDConfig
from .loss import face_detection_loss

SMALLEST_SIDE = 28  # pixels; smaller images vanish in the fifth stage


@dataclass
class S3FDOutput(ModelOutput):
    """Output of [`S3FDForFaceDetection`] for every prior.

    Args:
        loss: with `labels` only.
        logits: (batch, priors, 2), background and face, before the softmax.
        scores: (batch, priors), probability of a face.
        boxes: (batch, priors, 4) float32, relative to the image.
        box_offsets: (batch, priors, 4), regressed offsets from which boxes are decoded.
        priors: (priors, 4) float32, centre x and y, width and height, relative to the image.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    scores: torch.FloatTensor | None = None
    boxes: torch.FloatTensor | None = None
    box_offsets: torch.FloatTensor | None = None
    priors: torch.FloatTensor | None = None


class S3FDStage(GradientCheckpointingLayer):
    """Convolutions of one width, each with a ReLU."""

    def __init__(self, in_channels: int, channels: int, depth: int):
        super().__init__()
        widths = [in_channels] + [channels] * depth
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(width, channels, kernel_size=3, padding=1) for width in widths[:-1]]
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            features = nn.functional.relu(convolution(features))
        return features


class S3FDNorm(nn.Module):
    """L2 normalisation over channels, then a learned scale per channel."""

    def __init__(self, channels: int, scale: float, eps: float):
        super().__init__()
        self.scale, self.eps = scale, eps
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # In float32, as squares of half precision overflow.
        length = features.float().pow(2).sum(dim=1, keepdim=True).sqrt() + self.eps
        return (features.float() / length).to(features.dtype) * self.weight[:, None, None]


class S3FDForFaceDetection(PreTrainedModel):
    """Images to a face probability and a box for every prior. [`S3FDDetector`] selects detections from them."""

    config: S3FDConfig
    config_class = S3FDConfig
    base_model_prefix = "s3fd"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["S3FDStage"]
    _supports_sdpa = True  # there is no attention, so any implementation is supported
    _can_compile_fullgraph = True

    def __init__(self, config: S3FDConfig, *args, **kwargs):
        config.validate()  # overrides given to from_pretrained have not been checked yet
        super().__init__(config, *args, **kwargs)
        widths = [3, *config.stage_channels]
        self.stages = nn.ModuleList(
            [S3FDStage(*sizes) for sizes in zip(widths[:-1], config.stage_channels, config.stage_depths, strict=True)]
        )
        self.norms = nn.ModuleList(
            [
                S3FDNorm(width, scale, config.norm_eps)
                for width, scale in zip(config.stage_channels[2:], config.norm_scales, strict=True)
            ]
        )
        first, second, third, fourth = config.extra_channels
        self.conv_fc6 = nn.Conv2d(widths[-1], config.fc_channels, kernel_size=3, padding=6, dilation=6)
        self.conv_fc7 = nn.Conv2d(config.fc_channels, config.fc_channels, kernel_size=1)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(config.fc_channels, first, kernel_size=1),
                nn.Conv2d(first, second, kernel_size=3, stride=2, padding=1),
                nn.Conv2d(second, third, kernel_size=1),
                nn.Conv2d(third, fourth, kernel_size=3, stride=2, padding=1),
            ]
        )
        levels = [*config.stage_channels[2:], config.fc_channels, second, fourth]
        maps = [config.num_background_maps + 1] + [2] * 5
        self.box_heads = nn.ModuleList([nn.Conv2d(width, 4, kernel_size=3, padding=1) for width in levels])
        self.score_heads = nn.ModuleList(
            [nn.Conv2d(width, count, kernel_size=3, padding=1) for width, count in zip(levels, maps, strict=True)]
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Xavier's uniform weights, as for detectors of the SSD family; norms start at their scale."""
        if isinstance(module, nn.Conv2d):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, S3FDNorm):
            init.constant_(module.weight, module.scale)

    @with_output_options
    def forward(self, pixel_values: torch.Tensor, labels: Sequence[torch.Tensor] | None = None) -> S3FDOutput:
        """Compute scores and boxes of all priors.

        Args:
            pixel_values: (batch, 3, height, width), RGB, 0..255, at least 28 pixels on both sides. The mean is
                subtracted inside.
            labels: one (faces, 4) tensor per image, the boxes of its faces relative to the image; (0, 4) for none.
                Adds `loss`.

        Raises:
            ValueError: a shape that does not fit.
        """
        check_pixel_values(pixel_values)
        mean = torch.tensor(self.config.pixel_mean, dtype=torch.float32, device=pixel_values.device)
        features = (pixel_values.float() - mean[:, None, None]).to(self.conv_fc6.weight.dtype)
        if self.training and self.stages[0].gradient_checkpointing:
            features.requires_grad_()  # reentrant checkpoints give no gradient to a stage whose input has none
        levels = self.compute_levels(features)

        offsets = torch.cat(
            [_flatten_grid(head(level)) for head, level in zip(self.box_heads, levels, strict=True)], dim=1
        )
        maps = [_flatten_grid(head(level)) for head, level in zip(self.score_heads, levels, strict=True)]
        # Max-out: the finest level has several background scores, of which the maximum is used.
        background, face = maps[0].split([self.config.num_background_maps, 1], dim=-1)
        maps[0] = torch.cat([background.amax(dim=-1, keepdim=True), face], dim=-1)
        logits = torch.cat(maps, dim=1)  # (batch, priors, 2)

        priors = make_priors(self.config, pixel_values.shape[-2:], [level.shape[-2:] for level in levels]).to(
            logits.device
        )
        loss = None
        if labels is not None:
            loss = face_detection_loss(logits, offsets, priors, labels, self.config.box_variances)
        return S3FDOutput(
            loss=loss,
            logits=logits,
            scores=logits.softmax(dim=-1)[..., 1],
            boxes=decode_boxes(offsets, priors, self.config.box_variances),
            box_offsets=offsets,
            priors=priors,
        )

    def compute_levels(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Input features of the six pairs of heads, (batch, channels, rows, columns), finest first."""
        levels = []
        for number, stage in enumerate(self.stages):
            if number:
                # The pooling after the third stage keeps a last odd row or column, the others drop it.
                features = nn.functional.max_pool2d(features, kernel_size=2, stride=2, ceil_mode=number == 3)
            features = stage(features)
            if number >= 2:
                levels.append(self.norms[number - 2](features))
        features = nn.functional.max_pool2d(features, kernel_size=2, stride=2)
        features = nn.functional.relu(self.conv_fc6(features))
        features = nn.functional.relu(self.conv_fc7(features))
        levels.append(features)
        for number, convolution in enumerate(self.extras):
            features = nn.functional.relu(convolution(features))
            if number % 2:
                levels.append(features)
        return levels


def _flatten_grid(maps: torch.Tensor) -> torch.Tensor:
    """(batch, channels, rows, columns) to (batch, rows * columns, channels)."""
    return maps.flatten(2).transpose(1, 2)


def make_priors(config: S3FDConfig, size: Sequence[int], grids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Make the square prior of each position of each level.

    Args:
        size: height and width of the image, pixels.
        grids: rows and columns of each level.

    Returns:
        (priors, 4) float32: centre x and y, width and height, relative to the image. Those at the edges exceed it.
    """
    height, width = size
    levels = []
    for (rows, columns), side, stride in zip(grids, config.prior_sizes, config.prior_strides, strict=True):
        # In float64, rounded once at the end, as the authors compute them.
        y = (torch.arange(rows, dtype=torch.float64) + 0.5) * stride / height
        x = (torch.arange(columns, dtype=torch.float64) + 0.5) * stride / width
        centres = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1).reshape(-1, 2)
        sides = torch.tensor([side / width, side / height], dtype=torch.float64).expand_as(centres)
        levels.append(torch.cat([centres, sides], dim=1))
    return torch.cat(levels).float()


def decode_boxes(offsets: torch.Tensor, priors: torch.Tensor, variances: Sequence[float]) -> torch.Tensor:
    """Decode offsets (..., priors, 4) from priors (priors, 4) to boxes (..., priors, 4), float32."""
    offsets = offsets.float()
    centres = priors[:, :2] + offsets[..., :2] * variances[0] * priors[:, 2:]
    sides = priors[:, 2:] * torch.exp(offsets[..., 2:] * variances[1])
    corners = centres - sides / 2
    return torch.cat([corners, corners + sides], dim=-1)


def check_pixel_values(pixel_values: torch.Tensor) -> None:
    """Raise a ValueError unless these are (batch, 3, height, width) images of at least 28 pixels on both sides."""
    if pixel_values.ndim != 4 or pixel_values.shape[1] != 3 or not pixel_values.shape[0]:
        raise ValueError(
            f"`pixel_values` must be (batch, 3, height, width), RGB of 0..255, got {tuple(pixel_values.shape)}."
        )
    if min(pixel_values.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"`pixel_values` must be at least {SMALLEST_SIDE} pixels on both sides, got "
            f"{tuple(pixel_values.shape[-2:])}. Scale frames down less."
        )


__all__ = ["S3FDForFaceDetection", "S3FDOutput"]
