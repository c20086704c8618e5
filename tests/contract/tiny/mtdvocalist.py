"""MTDVocaLiST, tiny."""

import dataclasses
from collections.abc import Sequence

import torch

from .entry import Tiny, distance_to_drawn


# The windows of a batch have one length, which the longest decides on; otherwise lengths only tell windows apart.
def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    frames, columns = max(lengths) // 6, max(lengths) // 2
    draws = [torch.Generator().manual_seed(n + i) for i, n in enumerate(lengths)]
    return {
        "pixel_values": 255 * torch.stack([torch.rand(frames, 3, 8, 16, generator=draw) for draw in draws]),
        "input_features": 8 * torch.stack([torch.rand(1, 8, columns, generator=draw) for draw in draws]) - 4,
    }


def take_item(lengths: Sequence[int], index: int) -> dict[str, torch.Tensor]:
    return {name: values[index : index + 1] for name, values in make_inputs(lengths).items()}


STUDENT = Tiny(
    config={
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_ratio": 2,
        "conv_channels": (4, 6, 8),
        "visual_stages": ((5, 2, 4, 2, 1), (3, 2, 2, 1, 0), (3, 2, 2, 1, 0)),
        "audio_stages": ((3, 3, 1, 1), (3, 1, 0, 0), (1, 1, 0, 0)),
        "image_size": (8, 16),
        "num_mel_bins": 8,
        "distillation": {},
    },
    inputs=make_inputs,
    single=take_item,
    labels=lambda count: torch.arange(count) % 2,
    bad_values={
        "hidden_size": 9,
        "num_hidden_layers": 0,
        "num_attention_heads": 3,
        "ffn_ratio": 0,
        "conv_channels": (4, 6, 7),
        "visual_stages": ((5, 2, 4, 2, 1), (3, 2, 2, 1, 0), (3, 1, 2, 1, 0)),
        "audio_stages": ((3, 3, 1), (3, 1, 0, 0), (1, 1, 0, 0)),
        "image_size": (9, 16),
        "num_mel_bins": 0,
        "context_frames": 0,
        "pooling": "median",
        "embedding_dropout": 1.0,
        "hidden_dropout": -0.1,
        "attention_dropout": 1.0,
        "layer_norm_eps": 0.0,
        "num_labels": 2,
        "distillation": {"tau": 2.0},
    },
    frozen=("mtd_loss.weights",),  # they get a gradient from a teacher only
    without={"padding": "temporal convolutions and pooling would read the padding"},
)
TEACHER = dataclasses.replace(
    STUDENT, bad_values={name: value for name, value in STUDENT.bad_values.items() if name != "distillation"}, frozen=()
)

TINY = {
    "MTDVocaLiSTForSequenceClassification": STUDENT,
    "VocaLiSTForSequenceClassification": TEACHER,
    "VocaLiSTModel": dataclasses.replace(
        TEACHER,
        output="pooler_output",
        loss=distance_to_drawn("pooler_output"),
        without={**TEACHER.without, "loss": "what its vectors are for is the business of the head on it"},
    ),
}
