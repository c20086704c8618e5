"""BEATs, tiny."""

from collections.abc import Sequence

import torch

from .entry import Tiny, distance_to_drawn


def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    """Features of noise; behind the end of the shorter clips stands what no clip has."""
    longest, features = max(lengths), []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        rows = torch.randn(length, 16, generator=draw)
        features.append(torch.nn.functional.pad(rows, (0, 0, 0, longest - length), value=7.0))
    inputs = {"input_values": torch.stack(features)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


CONFIG = {
    "num_mel_bins": 16,
    "patch_size": 4,
    "embedding_size": 8,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "conv_bias": True,
    "conv_pos_kernel_size": 4,
    "conv_pos_groups": 2,
    "num_buckets": 8,
    "max_distance": 16,
    "layerdrop": 0.0,
    "initializer_range": 0.2,
    "num_labels": 3,
}
CLASSIFIER = Tiny(
    config=CONFIG,
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]], first=index),
    labels=lambda count: torch.arange(count) % 3,
    bad_values={
        "num_mel_bins": 15,
        "patch_size": 0,
        "embedding_size": 0,
        "hidden_size": 13,
        "num_hidden_layers": 0,
        "num_attention_heads": 5,
        "intermediate_size": 0,
        "conv_pos_kernel_size": 0,
        "conv_pos_groups": 5,
        "num_buckets": 7,
        "max_distance": 2,
        "layer_norm_eps": 0.0,
        "hidden_dropout_prob": 1.0,
        "attention_probs_dropout_prob": -0.1,
        "activation_dropout": 1.0,
        "classifier_dropout": 1.0,
        "layerdrop": 1.0,
        "initializer_range": 0.0,
        "token_mask": "frames",
    },
)
TINY = {
    "BEATsForAudioClassification": CLASSIFIER,
    "BEATsModel": Tiny(
        config=CONFIG,
        inputs=make_inputs,
        single=CLASSIFIER.single,
        labels=CLASSIFIER.labels,
        bad_values=CLASSIFIER.bad_values,
        output="last_hidden_state",
        loss=distance_to_drawn("last_hidden_state"),
        without={"loss": "tokens without a head"},
    ),
}
