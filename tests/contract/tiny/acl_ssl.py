"""ACL-SSL, tiny."""

from collections.abc import Sequence
from typing import Any

import torch

from .beats import CONFIG as BEATS
from .beats import make_inputs as make_sounds
from .entry import Tiny, distance_to_drawn


def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    """A picture and a sound for each item; behind the end of the shorter sounds stands what no sound has."""
    pixels = []
    for index in range(first, first + len(lengths)):
        draw = torch.Generator().manual_seed(index)
        pixels.append(torch.randn(3, 32, 16, generator=draw))
    sounds = make_sounds(lengths, first)
    inputs = {"pixel_values": torch.stack(pixels), "input_features": sounds.pop("input_values")}
    return {**inputs, **sounds}


def compute_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if a sound's vector, every cell of a map and the confidence were to be one of a few drawn values."""
    features = {
        "audio_embeds": output.audio_embeds,
        "cells": output.similarity_map.flatten(1),
        "confidence": output.confidence[:, None],
    }
    return sum(distance_to_drawn(name)(features, labels) for name in features)


_NETWORK = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}

TINY = {
    "ACLForSoundLocalization": Tiny(
        config={
            "audio_config": {name: value for name, value in BEATS.items() if name != "num_labels"},
            "grounder_config": {
                "text_config": {**_NETWORK, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 19},
                "vision_config": {**_NETWORK, "image_size": 32, "patch_size": 16},
                "projection_dim": 10,
                "extract_layers": [0, 1],
                "reduce_dim": 8,
                "decoder_num_attention_heads": 2,
                "decoder_intermediate_size": 12,
                "use_complex_transposed_convolution": True,
            },
            "audio_layers": (1, 2),
            "embedder_dropout": 0.0,
            "prompt_ids": (18, 3, 5, 19),
            "prompt_position": 3,
        },
        inputs=make_inputs,
        single=lambda lengths, index: make_inputs([lengths[index]], first=index),
        labels=lambda count: torch.arange(count) % 3,
        bad_values={
            "audio_layers": (1, 3),
            "prompt_ids": (18, 25),
            "prompt_position": 4,
            "embedder_dropout": 1.0,
            "mask_init_scale": 0.0,
            "feature_mask_threshold": 1.5,
            "feature_mask_temperature": 0.0,
            "contrast_scale": 0.0,
            "positive_area": 1.5,
            "negative_area": -0.1,
            "confidence_threshold": 2.0,
        },
        frozen=("audio_encoder.", "grounder."),
        output="similarity_map",
        loss=compute_loss,
        without={
            "loss": "pairs are learnt without labels, from whole batches",
            "offload": "transformers' CLIPSeg reads the weights of its position embedding past the module",
        },
    ),
}
