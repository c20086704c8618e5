"""TalkNCE, tiny."""

import dataclasses
from collections.abc import Sequence

import torch

from .entry import Tiny


# Two faces and what is heard meanwhile; behind the end of the shorter clips stands what no clip has.
def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    longest, faces, features = max(lengths), [], []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        pixels = torch.randint(256, (2, length, 32, 32), dtype=torch.uint8, generator=draw)
        rows = torch.randn(4 * length, 16, generator=draw)
        faces.append(torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, longest - length), value=255))
        features.append(torch.nn.functional.pad(rows, (0, 0, 0, 4 * (longest - length)), value=7.0))
    inputs = {"pixel_values": torch.stack(faces), "input_features": torch.stack(features)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


def make_labels(count: int) -> torch.Tensor:
    """The first face speaks in two frames of three, the second in none."""
    heard = (torch.arange(33) % 3 > 0).long()
    return torch.stack([heard, torch.zeros_like(heard)]).expand(count, 2, 33)


LOCONET = Tiny(
    config={
        "embedding_size": 8,
        "trunk_channels": (4, 4, 6, 8),
        "num_temporal_layers": 1,
        "num_attention_heads": 2,
        "frame_size": 32,
        "dropout": 0.0,
        "audio_channels": (8, 8, 8, 8),
        "num_speakers": 2,
        "num_context_layers": 1,
        "num_mel_bins": 16,
        "audio_depths": (1, 1, 1, 1),
        "squeeze_ratio": 4,
    },
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]], first=index),
    labels=make_labels,
    bad_values={
        "embedding_size": 0,
        "trunk_channels": (4, 4, 6),
        "num_temporal_layers": 0,
        "feed_forward_ratio": 0,
        "num_attention_heads": 3,
        "cross_attention_query": "both",
        "frame_size": 0,
        "pixel_std": 0.0,
        "batch_norm_eps": 0.0,
        "dropout": 1.0,
        "auxiliary_weight": -0.1,
        "talknce_weight": -0.1,
        "talknce_temperature": 0.0,
        "nce_frames": "silent",
        "nce_direction": "neither",
        "num_speakers": 0,
        "num_context_layers": 0,
        "context_kernel_size": 6,
        "audio_channels": (8, 8, 0, 8),
        "num_mel_bins": 20,
        "log_mel_std": 0.0,
    },
)

_LOCONET_FIELDS = {"num_speakers", "num_context_layers", "context_kernel_size", "log_mel_std", "num_mel_bins"}

TINY = {
    "LoCoNetForActiveSpeakerDetection": LOCONET,
    "TalkNetForActiveSpeakerDetection": dataclasses.replace(
        LOCONET,
        config={
            **{name: value for name, value in LOCONET.config.items() if name not in _LOCONET_FIELDS},
            "num_cepstral_coefficients": 16,
        },
        bad_values={
            **{name: value for name, value in LOCONET.bad_values.items() if name not in _LOCONET_FIELDS},
            "num_cepstral_coefficients": 0,
            "audio_depths": (1, 1, 1),
            "squeeze_ratio": 0,
        },
    ),
}
