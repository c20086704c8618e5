"""SlowFastSign, tiny."""

import dataclasses
from collections.abc import Sequence

import torch

from .entry import Tiny, distance_to_drawn


# Frames are drawn per clip; behind the end of the shorter clips stands what no clip has.
def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    longest, clips = max(lengths), []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        frames = torch.randint(256, (length, 3, 32, 32), dtype=torch.uint8, generator=draw)
        clips.append(torch.nn.functional.pad(frames, (0, 0, 0, 0, 0, 0, 0, longest - length), value=255))
    inputs = {"pixel_values": torch.stack(clips)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


CTC = Tiny(
    config={
        "depths": (1, 2, 1, 1),
        "temporal_blocks": (1, 1, 1, 1),
        "width": 4,
        "beta_inverse": 2,
        "hidden_size": 8,
        "vocab_size": 7,
        "dropout": 0.0,
        "lstm_dropout": 0.0,
    },
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]], first=index),
    labels=lambda count: torch.tensor([[1, 2], [3, -100], [2, 4]])[torch.arange(count) % 3],
    lengths=(37, 24, 20),
    bad_values={
        "depths": (1, 1, 1),
        "temporal_blocks": (1, -1, 1, 1),
        "slow_kernels": (1, 1, 2, 3),
        "fast_kernels": (3, 3, 3, 0),
        "width": 5,
        "beta_inverse": 0,
        "alpha": 0,
        "fusion": "none",
        "fusion_kernel": 4,
        "fusion_channel_ratio": 0,
        "temporal_layers": ("K5", "X2"),
        "hidden_size": 7,
        "num_lstm_layers": 0,
        "vocab_size": 1,
        "pad_token_id": 3,
        "pixel_std": 0.0,
        "dropout": 1.0,
        "lstm_dropout": -0.1,
        "sequence_loss_weight": -1.0,
        "conv_loss_weight": -1.0,
        "distillation_weight": -1.0,
        "distillation_temperature": 0.0,
        "slow_loss_weight": -1.0,
        "fast_loss_weight": -1.0,
    },
    frozen=(".to_slow.", ".to_fast."),  # at first the gates behind them are 0
    without={
        "attention": "convolutions and an LSTM see along time",
        "compilation": "torch.compile makes no graph of an LSTM",
        "linear": "convolutions, an LSTM, and products with vectors of unit length",
    },
    folds_norms=True,
)

TINY = {
    "SlowFastSignForCTC": CTC,
    "SlowFastSignModel": dataclasses.replace(
        CTC,
        output="last_hidden_state",
        labels=lambda count: torch.arange(count) % 3,
        loss=distance_to_drawn("last_hidden_state"),
        without={
            "attention": "convolutions see along time",
            "linear": "convolutions alone",
            "loss": "it gives features",
        },
    ),
}
