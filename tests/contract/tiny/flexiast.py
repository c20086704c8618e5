"""FlexiAST, tiny."""

import dataclasses
from collections.abc import Sequence

import torch

from .entry import Tiny, distance_to_drawn


def make_features(length: int) -> torch.Tensor:
    return torch.randn(length, 16, generator=torch.Generator().manual_seed(length))


def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    longest = max(lengths)
    inputs = {
        "input_values": torch.stack(
            [torch.nn.functional.pad(make_features(n), (0, 0, 0, longest - n), value=7.0) for n in lengths]
        )
    }
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


CLASSIFIER = Tiny(
    config={
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_mel_bins": 16,
        "patch_size": 4,
        "position_grid": (4, 6),
        "num_prefix_tokens": 2,
        "num_labels": 3,
        "initializer_range": 0.3,
    },
    inputs=make_inputs,
    single=lambda lengths, index: {"input_values": make_features(lengths[index])[None]},
    labels=lambda count: torch.arange(count) % 3,
    bad_values={
        "hidden_size": 17,
        "num_hidden_layers": 0,
        "patch_size": 0,
        "position_grid": (4, 6, 8),
        "num_prefix_tokens": 3,
        "resize_method": "nearest",
        "stride": (0, 2),
        "patch_sizes": [[99, 2]],
        "layer_norm_eps": 0.0,
        "hidden_dropout_prob": 1.0,
    },
)

TINY = {
    "FlexiASTForAudioClassification": CLASSIFIER,
    "FlexiASTModel": dataclasses.replace(
        CLASSIFIER,
        output="pooler_output",
        loss=distance_to_drawn("pooler_output"),
        without={"loss": "what its vectors are for is the business of the head on it"},
    ),
}
