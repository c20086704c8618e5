"""Session embeddings, tiny."""

from collections.abc import Sequence

import torch

from .entry import Tiny, distance_to_drawn

SAMPLES = 160  # a unit of the lengths below: 10 ms


def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    """Noise of so many centiseconds; behind the end of the shorter recordings stands what no recording has."""
    longest, waveforms = max(lengths) * SAMPLES, []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        noise = 0.1 * torch.randn(length * SAMPLES, generator=draw)
        waveforms.append(torch.nn.functional.pad(noise, (0, longest - len(noise)), value=3.0))
    inputs = {"input_values": torch.stack(waveforms)}
    if min(lengths) < max(lengths):
        inputs["attention_mask"] = torch.tensor(
            [[1] * (length * SAMPLES) + [0] * (longest - length * SAMPLES) for length in lengths]
        )
    return inputs


ENCODER = {
    "num_mel_bins": 16,
    "hidden_size": 16,
    "aggregation_size": 24,
    "res2net_scale": 4,
    "squeeze_size": 4,
    "attention_size": 4,
    "embedding_size": 8,
    "dialect": "speechbrain",
    "classification_head": "aam_softmax",
    "num_labels": 3,
}

TINY = {
    "SpeakerEncoderForXVector": Tiny(
        config=ENCODER,
        inputs=make_inputs,
        single=lambda lengths, index: make_inputs([lengths[index]], first=index),
        labels=lambda count: torch.arange(count) % 3,
        bad_values={
            "num_mel_bins": 0,
            "hidden_size": 15,
            "res2net_scale": 1,
            "dialect": "voxceleb_trainer",
            "kernel_sizes": (5, 4, 3, 3),
            "dilations": (1, 2),
            "stage_depths": (1, 1),
            "num_sinc_filters": 3,
            "sinc_kernel_size": 250,
            "embedding_size": 0,
            "environment_size": -1,
            "scale": 0.0,
            "margin": -0.1,
        },
        lengths=(33, 20, 12),
        output="embeddings",
        without={"attention": "convolutions and pooling only"},
    ),
    "SessionEmbeddingForXVector": Tiny(
        config={
            "encoder_config": {"model_type": "speaker_encoder", **ENCODER, "classification_head": "none"},
            "session_hidden_size": 12,
            "session_embedding_size": 7,
            "session_dropout": 0.0,
        },
        inputs=make_inputs,
        single=lambda lengths, index: make_inputs([lengths[index]], first=index),
        labels=lambda count: torch.arange(count) % 3,
        bad_values={
            "session_hidden_size": 0,
            "session_num_layers": 0,
            "session_embedding_size": 0,
            "session_dropout": 1.0,
        },
        lengths=(33, 20, 12),
        frozen=("encoder.",),
        output="session_embeddings",
        loss=distance_to_drawn("session_embeddings"),
        without={"attention": "convolutions and linear layers only", "loss": "its loss takes two kinds of ids"},
    ),
}
