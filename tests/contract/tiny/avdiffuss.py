"""AVDiffuSS, tiny."""

from collections.abc import Sequence
from typing import Any

import torch

from avzoo import zoo

from .entry import Tiny, fill_weights


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


def compute_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """As if the first frames were to be a few given vectors; in use the losses of the other networks train it."""
    frames = output.last_hidden_state[:, :9]  # as many as the shortest clip has
    wanted = torch.rand(3, frames.shape[-1], generator=torch.Generator().manual_seed(0))
    return (frames - wanted[labels][:, None]).square().mean()


TINY = Tiny(
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
    loss=compute_loss,
)


def tiny_separation_parts() -> dict[str, Any]:
    """What a small AVDiffuSSPipeline is made of. All weights count, also those that begin at nearly nothing."""
    from avzoo.models.avdiffuss import AVDiffuSSProcessor
    from avzoo.models.avdiffuss.modeling_avdiffuss import AVDiffuSSModel
    from avzoo.models.avdiffuss.scheduling_ouve import OUVEScheduler

    row = zoo.find_row("avdiffuss")
    encoder_class, config_class = row.load(row.model_class), row.load(row.config_class)
    sizes = {
        "base_channels": 8,
        "channel_multipliers": (1, 4),
        "cross_attention_sizes": (0, 16),
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": TINY.config["hidden_size"],
    }
    torch.manual_seed(0)
    networks = {
        "denoiser": AVDiffuSSModel(**sizes),
        "denoiser_visual_encoder": encoder_class(config_class(**TINY.config)),
        "score_model": AVDiffuSSModel(num_spectrograms=2, time_conditioned=True, **sizes),
        "score_visual_encoder": encoder_class(config_class(**TINY.config)),
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
