"""LTBS's two stages of training: the coarse spectrogram and what it is made of, then the flow behind it.

Batches hold what [`LTBSProcessor`] names: `pixel_values`, `attention_mask` where clips differ in length, and as targets
`unit_labels`, `pitch_labels`, `energy_labels` and `mel_labels`; and `speaker_ids` or `speaker_embeddings`.
"""

import torch
from torch import nn

from .loss_ltbs import LTBSTargets, acoustic_losses, flow_loss
from .modeling_ltbs import LTBSForLipToSpeech

INPUTS = ("pixel_values", "attention_mask", "speaker_ids", "speaker_embeddings")


class AcousticTraining(nn.Module):
    """The acoustic part of a network with its losses.

    Args:
        model: in training.
        uses_conditions: units, pitch and energy are learned and embedded; else they are constants, and the
            spectrogram's loss stands alone.
    """

    def __init__(self, model: LTBSForLipToSpeech, uses_conditions: bool = True):
        super().__init__()
        self.model, self.uses_conditions = model, uses_conditions

    def forward(self, batch: dict[str, torch.Tensor], num_given: int | None = None) -> dict[str, torch.Tensor]:
        """Losses of a batch, as means over its clips: mel, units, pitch, energy and their sum `loss`.

        Args:
            num_given: so many clips, the first ones, have the true conditions, the rest those that are predicted. A
                network that has only seen true ones is lost with its own. None: all.
        """
        count, config = batch["mel_labels"].shape[0], self.model.config
        num_given = count if num_given is None else num_given
        total: dict[str, torch.Tensor] = {}
        for part, is_given in ((slice(0, num_given), True), (slice(num_given, count), False)):
            share = (part.stop - part.start) / count
            if share == 0:
                continue
            rows = {name: values[part] for name, values in batch.items()}
            targets = take_targets(rows)
            told = {}
            if not self.uses_conditions:
                told = make_constants(targets.units)
            elif is_given:
                told = {"units": targets.units, "pitch": targets.pitch, "energy": targets.energy}
            output = self.model.ltbs(**take_inputs(rows), **told, return_dict=True)
            for name, loss in acoustic_losses(output, targets, config).items():
                total[name] = total.get(name, 0) + share * loss
        weight = config.variance_loss_weight if self.uses_conditions else 0
        return total | {"loss": total["mel"] + weight * (total["units"] + total["pitch"] + total["energy"])}


class PostNetTraining(nn.Module):
    """The flow behind a frozen acoustic part, whose own predictions are its condition.

    Args:
        model: its acoustic part is frozen here, `model.ltbs.requires_grad_(True)` undoes it.
    """

    def __init__(self, model: LTBSForLipToSpeech):
        super().__init__()
        self.model = model
        model.ltbs.requires_grad_(False)

    def train(self, mode: bool = True) -> "PostNetTraining":
        super().train(mode)
        self.model.ltbs.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Negative log likelihood of a batch's spectrograms per value, in nats; in float32 also under autocast."""
        with torch.no_grad():
            acoustic = self.model.ltbs(**take_inputs(batch), return_dict=True)
        with torch.autocast(batch["mel_labels"].device.type, enabled=False):
            mask, condition = (part.float() for part in self.model.describe_frames(acoustic))
            latent, log_determinant = self.model.postnet(batch["mel_labels"].float().mT, mask, condition)
            return flow_loss(latent, log_determinant, self.model.place_prior(acoustic).float(), mask)


def take_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the network is given of a batch."""
    return {name: batch[name] for name in INPUTS if name in batch}


def take_targets(batch: dict[str, torch.Tensor]) -> LTBSTargets:
    return LTBSTargets(*(batch[name] for name in ("unit_labels", "pitch_labels", "energy_labels", "mel_labels")))


def make_constants(units: torch.Tensor) -> dict[str, torch.Tensor]:
    """Conditions that tell nothing, of the shape of `units` (clips, frames)."""
    nothing = torch.zeros(units.shape, device=units.device)
    return {"units": torch.zeros_like(units), "pitch": nothing, "energy": nothing}


__all__ = ["AcousticTraining", "PostNetTraining", "make_constants", "take_inputs", "take_targets"]
