"""Cross-modal alignment, tiny."""

from collections.abc import Sequence
from typing import Any

import torch

from .entry import Tiny, distance_to_drawn


def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    """A picture and a sound for each item; both are of one size, whatever the length."""
    pixels, features = [], []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        pixels.append(torch.randn(3, 48, 64, generator=draw))
        features.append(torch.randn(1, 40, 56, generator=draw))
    return {"pixel_values": torch.stack(pixels), "input_features": torch.stack(features)}


def compute_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if every feature of both sides were to be one of a few drawn vectors."""
    cells = output.image_map.flatten(2).mT  # (batch, cells, channels)
    features = {"cells": cells, **{name: output[name] for name in ("image_embeds", "audio_embeds", "audio_vector")}}
    return sum(distance_to_drawn(name)(features, labels) for name in features)


MODEL = Tiny(
    config={
        "hidden_sizes": (4, 6, 8, 12),
        "depths": (1, 1, 1, 1),
        "projection_dim": 10,
        "localization_projection": "dual",
        "localization_dim": 8,
    },
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]], first=index),
    labels=lambda count: torch.arange(count) % 3,
    bad_values={
        "hidden_sizes": (4, 6, 0, 12),
        "depths": (1, 1, 1),
        "image_strides": (1, 2),
        "audio_strides": (1, 2, 2, 0),
        "objectness_strides": (),
        "projection_dim": 0,
        "localization_dim": 0,
        "mask_temperature": 0.0,
        "temperature": 0.0,
        "mask_threshold": 1.5,
        "negative_threshold": -1.5,
        "confidence_threshold": 2.0,
    },
    lengths=(3, 2, 1),
    output="image_embeds",
    loss=compute_loss,
    without={
        "attention": "convolutions only",
        "padding": "pictures and sounds are brought to one size; forward takes no mask",
        "loss": "pairs are learnt without labels, from whole batches",
    },
    folds_norms=True,
)

TINY = {
    "SSLAlignmentModel": MODEL,
    "SSLAlignmentForSoundLocalization": MODEL,
}
