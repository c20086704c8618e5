"""MTDVocaLiST, tiny."""

from collections.abc import Sequence

import torch

from .entry import Tiny


# Windows have one length, and nothing pads them; lengths only tell the windows apart.
def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    draws = [torch.Generator().manual_seed(n + i) for i, n in enumerate(lengths)]
    return {
        "pixel_values": 255 * torch.stack([torch.rand(5, 3, 8, 16, generator=draw) for draw in draws]),
        "input_features": 8 * torch.stack([torch.rand(1, 8, 16, generator=draw) for draw in draws]) - 4,
    }


def take_item(lengths: Sequence[int], index: int) -> dict[str, torch.Tensor]:
    return {name: values[index : index + 1] for name, values in make_inputs(lengths).items()}


TINY = Tiny(
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
)
