"""AVDiffuSS, tiny."""

from collections.abc import Sequence
from typing import Any

import torch

from avzoo import zoo

from .entry import Tiny, distance_to_drawn, fill_weights


def make_inputs(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Faces of so many frames; the pictures behind the end of the shorter ones are white."""
    longest = max(lengths)
    clips = [
        torch.randint(256, (n, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(n)) for n in lengths
    ]
    padded = [torch.nn.functional.pad(clip, (0, 0, 0, 0, 0, longest - len(clip)), value=255) for clip in clips]
    inputs = {"pixel_values": torch.stack(padded)}
    if min(lengths) < longest:
        inputs["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


VISUAL_ENCODER = Tiny(
    config={"hidden_size": 8, "num_temporal_layers": 2, "frame_size": 32},
    inputs=make_inputs,
    single=lambda lengths, index: make_inputs([lengths[index]]),
    labels=lambda count: torch.arange(count) % 3,
    bad_values={
        "hidden_size": 0,
        "num_temporal_layers": 0,
        "frame_size": 0,
        "pixel_std": 0.0,
        "batch_norm_eps": 0.0,
    },
    output="last_hidden_state",
    loss=distance_to_drawn("last_hidden_state"),
    without={
        "attention": "convolutions only",
        "linear": "convolutions only",
        "loss": "the losses of the networks that read it train it",
    },
)

TINY = {"AVDiffuSSVisualEncoder": VISUAL_ENCODER}

# Of an AVDiffuSSModel; its other fields tell a denoiser from a score network.
NETWORK_SIZES = {
    "base_channels": 8,
    "channel_multipliers": (1, 4),
    "cross_attention_sizes": (0, 16),
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": VISUAL_ENCODER.config["hidden_size"],
}


def tiny_separation_parts() -> dict[str, Any]:
    """What a small AVDiffuSSPipeline is made of. All weights count, also those that begin at nearly nothing."""
    from avzoo.models.avdiffuss import AVDiffuSSProcessor
    from avzoo.models.avdiffuss.modeling_avdiffuss import AVDiffuSSModel
    from avzoo.models.avdiffuss.scheduling_ouve import OUVEScheduler

    row = zoo.find_row("avdiffuss")
    encoder_class, config_class = row.load(row.model_class), row.load(row.config_class)
    torch.manual_seed(0)
    networks = {
        "denoiser": AVDiffuSSModel(**NETWORK_SIZES),
        "denoiser_visual_encoder": encoder_class(config_class(**VISUAL_ENCODER.config)),
        "score_model": AVDiffuSSModel(num_spectrograms=2, time_conditioned=True, **NETWORK_SIZES),
        "score_visual_encoder": encoder_class(config_class(**VISUAL_ENCODER.config)),
    }
    for network in networks.values():
        network.eval()
        fill_weights(network)
    with torch.no_grad():
        networks["score_model"].final_projection.weight.mul_(0.1)  # a walk that does not run away
    return {
        **networks,
        "scheduler": OUVEScheduler(),
        "processor": AVDiffuSSProcessor(frame_size=32, n_fft=126, hop_length=64, frame_multiple=8),
    }
