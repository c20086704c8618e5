"""LTBS, tiny."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from .entry import Tiny, distance_to_drawn


# Mouths are drawn per clip; behind the end of the shorter clips stands what no clip has.
def make_inputs(lengths: Sequence[int], first: int = 0) -> dict[str, torch.Tensor]:
    longest, clips, speakers = max(lengths), [], []
    for index, length in enumerate(lengths, start=first):
        draw = torch.Generator().manual_seed(100 * index + length)
        frames = torch.randint(256, (length, 32, 32), dtype=torch.uint8, generator=draw)
        clips.append(torch.nn.functional.pad(frames, (0, 0, 0, 0, 0, longest - length), value=255))
        speakers.append(index % 3)
    inputs = {"pixel_values": torch.stack(clips), "speaker_ids": torch.tensor(speakers)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


def compute_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if the spectrogram, and the units, which are only looked up in a table, were to be drawn ones."""
    name = "mel" if "mel" in output else "mel_coarse"
    return sum(distance_to_drawn(part)(output, labels) for part in (name, "unit_logits"))


FOR_SPEECH = Tiny(
    config={
        "trunk_channels": (4, 4, 6, 8),
        "encoder_layers": 1,
        "decoder_layers": 1,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "conv_kernel_size": 3,
        "hidden_dropout": 0.0,
        "num_units": 5,
        "unit_layers": 2,
        "prosody_layers": 1,
        "predictor_hidden": 6,
        "predictor_dropout": 0.0,
        "variance_embed_dim": 4,
        "num_mel_bins": 8,
        "num_speakers": 3,
        "speaker_embed_dim": 4,
        "postnet_hidden": 6,
        "postnet_steps": 2,
        "postnet_layers": 2,
        "postnet_dropout": 0.0,
    },
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]], first=index),
    labels=lambda count: torch.arange(count) % 3,
    lengths=(9, 6, 1),
    output="mel",
    loss=compute_loss,
    bad_values={
        "trunk_channels": (4, 4, 6),
        "encoder_layers": 0,
        "decoder_layers": 0,
        "hidden_size": 7,
        "num_attention_heads": 3,
        "intermediate_size": 0,
        "conv_kernel_size": 4,
        "hidden_dropout": 1.0,
        "layer_norm_eps": 0.0,
        "num_units": 0,
        "unit_layers": 0,
        "prosody_layers": 0,
        "predictor_hidden": 0,
        "predictor_kernel": 2,
        "predictor_dropout": 1.0,
        "variance_embed_dim": 0,
        "upsample_factor": 3,
        "num_mel_bins": 0,
        "speaker_conditioning": "voice",
        "num_speakers": 0,
        "speaker_embed_dim": 0,
        "speaker_encoder_dim": 4,  # there is a table
        "postnet_hidden": 0,
        "postnet_kernel": 2,
        "postnet_dilation_rate": 0,
        "postnet_steps": 0,
        "postnet_layers": 0,
        "postnet_dropout": 1.0,
        "postnet_group": 3,
        "postnet_squeeze": 0,
        "postnet_share_group": 3,
        "postnet_prior": "none",
        "variance_loss_weight": -1.0,
        "postnet_loss_weight": -1.0,
        "label_smoothing": 1.0,
        "pixel_std": 0.0,
        "sampling_rate": 8000,
        "hop_length": 0,
        "fps": 0,
    },
    without={"loss": "it has four targets"},
    folds_norms=True,
)

TINY = {
    "LTBSForLipToSpeech": FOR_SPEECH,
    "LTBSModel": dataclasses.replace(FOR_SPEECH, output="mel_coarse"),
}
