"""coarse-to-fine AST, tiny."""

import torch

from .entry import Tiny
from .flexiast import make_features, make_inputs

CLASSIFIER = Tiny(
    config={
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_mel_bins": 16,
        "patch_size": 4,
        "max_length": 48,
        "compression_factor": 2,
        "num_prefix_tokens": 2,
        "num_labels": 3,
        "initializer_range": 0.3,
    },
    inputs=make_inputs,
    single=lambda lengths, index: {"input_values": make_features(lengths[index])[None]},
    labels=lambda count: torch.arange(count) % 3,
    bad_values={
        "hidden_size": 17,
        "patch_size": 0,
        "position_grid": (4, 12),
        "temporal_compression": "slices",
        "pooling": "median",
        "compression_factor": 0.5,
        "max_length": 0,
    },
)

TINY = {"CoarseToFineASTForAudioClassification": CLASSIFIER}
