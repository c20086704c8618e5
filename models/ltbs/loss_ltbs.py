"""The losses of LTBS."""

import math
from typing import NamedTuple

import torch
from torch import nn
from transformers.utils import ModelOutput

from .configuration_ltbs import LTBSConfig

IGNORED = -100  # behind the end of a clip


class LTBSTargets(NamedTuple):
    """Units (clips, frames), -100 behind the end; pitch and energy (clips, frames); mel (clips, mel frames, rows)."""

    units: torch.Tensor
    pitch: torch.Tensor
    energy: torch.Tensor
    mel: torch.Tensor


def acoustic_losses(output: ModelOutput, targets: LTBSTargets, config: LTBSConfig) -> dict[str, torch.Tensor]:
    """Distances of the coarse spectrogram, of pitch and of energy from their targets, and cross entropy of units."""
    mask, mel_mask = output.mask, None
    if mask is not None:
        mel_mask = mask.repeat_interleave(config.upsample_factor, dim=1)[..., None]

    def measure(values: torch.Tensor, target: torch.Tensor, where: torch.Tensor | None) -> torch.Tensor:
        distances = (values - target).abs()
        if where is None or config.mean_over_padding:
            return distances.mean()
        where = where.expand_as(distances)
        return (distances * where).sum() / where.sum()

    units = nn.functional.cross_entropy(
        output.unit_logits.flatten(0, 1),
        targets.units.flatten(),
        ignore_index=IGNORED,
        label_smoothing=config.label_smoothing,
        reduction="sum",
    ) / (targets.units != IGNORED).sum().clamp(min=1)  # 0, not NaN, where no frame has a unit
    return {
        "mel": measure(output.mel_coarse, targets.mel, mel_mask),
        "units": units,
        "pitch": measure(output.pitch, targets.pitch, mask),
        "energy": measure(output.energy, targets.energy, mask),
    }


def flow_loss(
    latent: torch.Tensor, log_determinant: torch.Tensor, mean: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Negative log likelihood of spectrograms per value, in nats.

    Args:
        latent, mean: (clips, rows, frames); the latent's prior is a normal one of deviation 1.
        log_determinant: (clips,).
        mask: (clips, 1, frames).
    """
    distance = 0.5 * ((latent - mean).square()).sum() - log_determinant.sum()
    return distance / (mask.sum() * latent.shape[1]) + 0.5 * math.log(2 * math.pi)


__all__ = ["LTBSTargets", "acoustic_losses", "flow_loss"]
