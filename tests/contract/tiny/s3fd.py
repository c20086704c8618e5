"""S3FD, tiny."""

from collections.abc import Sequence

import torch

from .entry import Tiny


# The longest length decides on the pictures' width; otherwise lengths only tell pictures apart.
def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    width = 39 + max(lengths)
    pictures = [torch.rand(3, 64, width, generator=torch.Generator().manual_seed(n + i)) for i, n in enumerate(lengths)]
    return {"pixel_values": 100 + 50 * torch.stack(pictures)}


def take_item(lengths: Sequence[int], index: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": make_inputs(lengths)["pixel_values"][index : index + 1]}


def make_labels(count: int) -> list[torch.Tensor]:
    """A face of the size of each level's priors in every picture, so that every head has something to learn."""
    sides = torch.tensor([6.0, 10, 16, 24, 36, 56])[:, None]
    centres = torch.tensor([[6.0, 6], [60, 12], [12, 52], [48, 48], [32, 32], [64, 64]])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1) / torch.tensor([72, 64, 72, 64])
    return [boxes] * count


DETECTOR = Tiny(
    config={
        "stage_channels": (4, 6, 8, 8, 8),
        "stage_depths": (1, 1, 2, 1, 1),
        "fc_channels": 12,
        "extra_channels": (6, 8, 6, 8),
        "norm_scales": (2.0, 1.5, 1.0),
        "prior_sizes": (6, 10, 16, 24, 36, 56),
    },
    inputs=make_inputs,
    single=take_item,
    labels=make_labels,
    bad_values={
        "stage_channels": (4, 6, 8),
        "stage_depths": (1, 1, 0, 1, 1),
        "fc_channels": 0,
        "extra_channels": (6, 8, 6, -1),
        "norm_scales": (1.0, 2.0),
        "norm_eps": 0.0,
        "num_background_maps": 0,
        "prior_sizes": (6, 10, 16, 24, 36, 0),
        "prior_strides": (4, 8),
        "box_variances": (0.1, -0.2),
        "pixel_mean": (1.0,),
    },
    without={
        "attention": "convolutions only",
        "linear": "convolutions only",
        "padding": "the frames of a video are of one size",
    },
)

TINY = {"S3FDForFaceDetection": DETECTOR}
