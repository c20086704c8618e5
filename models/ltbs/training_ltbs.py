"""LTBS's stages of training: the coarse spectrogram and what it is made of, then the flow behind it; or both at once.

Batches hold what [`LTBSProcessor`] names: `pixel_values`, `attention_mask` where clips differ in length, and as targets
`unit_labels`, `pitch_labels`, `energy_labels` and `mel_labels`; and `speaker_ids` or `speaker_embeddings`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from .configuration_ltbs import LTBSConfig
from .loss_ltbs import IGNORED, LTBSTargets, acoustic_losses, flow_loss
from .modeling_ltbs import LTBSForLipToSpeech, LTBSOutput

INPUTS = ("pixel_values", "attention_mask", "speaker_ids", "speaker_embeddings")


class StageTraining(nn.Module):
    """A network in one of its stages, for the training loop; saved is the network."""

    def __init__(self, model: LTBSForLipToSpeech, *, acoustic: bool, postnet: bool):
        super().__init__()
        self.model = model
        model.ltbs.requires_grad_(acoustic)
        model.postnet.requires_grad_(postnet)

    @property
    def config(self) -> LTBSConfig:
        """The network's."""
        return self.model.config

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the network's activations to save memory."""
        self.model.gradient_checkpointing_enable()

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the network."""
        self.model.save_pretrained(*args, **kwargs)


class AcousticTraining(StageTraining):
    """The acoustic part of a network with its losses.

    Args:
        model: in training; its flow is frozen here.
        uses_conditions: units, pitch and energy are learned and embedded; else they are constants, and the
            spectrogram's loss stands alone.
    """

    def __init__(self, model: LTBSForLipToSpeech, uses_conditions: bool = True):
        super().__init__(model, acoustic=True, postnet=False)
        self.uses_conditions = uses_conditions

    def forward(self, batch: dict[str, torch.Tensor], num_given: int | None = None) -> dict[str, torch.Tensor]:
        """Losses of a batch, as means over its clips: mel, units, pitch, energy and their sum `loss`.

        Args:
            num_given: the first `num_given` clips have the true units, pitch and energy, the others those that are
                predicted. A network that has only seen true ones makes poor speech of its own. None: all.
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
                told = take_conditions(rows)
            output = self.model.ltbs(**take_inputs(rows), **told, return_dict=True)
            for name, loss in acoustic_losses(output, targets, config).items():
                total[name] = total.get(name, 0) + share * loss
        weight = config.variance_loss_weight if self.uses_conditions else 0
        return total | {"loss": total["mel"] + weight * (total["units"] + total["pitch"] + total["energy"])}


class PostNetTraining(StageTraining):
    """The flow behind a frozen acoustic part, whose own predictions are its condition.

    Args:
        model: its acoustic part is frozen here, `model.ltbs.requires_grad_(True)` undoes it.
        given: the spectrogram under the flow is made of the true units, pitch and energy. The public implementation
            has it so; then the flow meets wrong units in use alone.
    """

    def __init__(self, model: LTBSForLipToSpeech, given: bool = False):
        super().__init__(model, acoustic=False, postnet=True)
        self.given = given

    def train(self, mode: bool = True) -> "PostNetTraining":
        super().train(mode)
        self.model.ltbs.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Negative log likelihood of a batch's spectrograms per value, in nats; in float32 also under autocast."""
        with torch.no_grad():
            told = take_conditions(batch) if self.given else {}
            acoustic = self.model.ltbs(**take_inputs(batch), **told, return_dict=True)
        return compute_flow_loss(self.model, acoustic, batch["mel_labels"])


class JointTraining(StageTraining):
    """All of a network at once, with the true units, pitch and energy, as the public implementation trains it."""

    def __init__(self, model: LTBSForLipToSpeech):
        super().__init__(model, acoustic=True, postnet=True)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses of a batch: mel, units, pitch, energy, postnet, and as `loss` their weighted sum."""
        config, targets = self.model.config, take_targets(batch)
        acoustic = self.model.ltbs(**take_inputs(batch), **take_conditions(batch), return_dict=True)
        losses = acoustic_losses(acoustic, targets, config)
        losses["postnet"] = compute_flow_loss(self.model, acoustic, targets.mel)
        loss = losses["mel"] + config.postnet_loss_weight * losses["postnet"]
        return losses | {
            "loss": loss + config.variance_loss_weight * (losses["units"] + losses["pitch"] + losses["energy"])
        }


def compute_flow_loss(model: LTBSForLipToSpeech, acoustic: LTBSOutput, mel: torch.Tensor) -> torch.Tensor:
    """Negative log likelihood of spectrograms (clips, mel frames, rows) per value, in nats; in float32."""
    with torch.autocast(mel.device.type, enabled=False):
        mask, condition = (part.float() for part in model.describe_frames(acoustic))
        latent, log_determinant = model.postnet(mel.float().mT, mask, condition)
        return flow_loss(latent, log_determinant, model.place_prior(acoustic).float(), mask)


@torch.no_grad()
def initialize_flow(model: LTBSForLipToSpeech, batch: dict[str, torch.Tensor], given: bool = False) -> None:
    """Norm the rows of a new flow by a batch, which its first step would do otherwise.

    Several processes would then do it by a batch each, and train flows that differ. A flow that has been trained stays
    as it is, and so do the acoustic part and the mode of the network.

    Args:
        given: the batch's true units, pitch and energy are the condition, in place of those predicted.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    model.postnet.train()
    told = take_conditions(batch) if given else {}
    compute_flow_loss(model, model.ltbs(**take_inputs(batch), **told, return_dict=True), batch["mel_labels"])
    for module, mode in modes:
        module.training = mode


@torch.no_grad()
def set_mean_spectrogram(model: LTBSForLipToSpeech, mean: torch.Tensor) -> None:
    """Let a new network begin with the mean spectrogram, (rows,), which takes hundreds of steps to learn otherwise."""
    model.ltbs.mel_projection.bias.copy_(mean)


# ----------------------------------------------------------------------------------------------------------- measuring


class Total(NamedTuple):
    """A sum of values, and how many they are."""

    value: float
    count: float


@torch.no_grad()
def measure_batch(
    model: LTBSForLipToSpeech,
    batch: dict[str, torch.Tensor],
    noise: torch.Tensor | None = None,
    noise_scale: float = 0.667,
    measures_flow: bool = True,
) -> dict[str, Total]:
    """What validation reports of a batch, over frames that are there, as sums that may be added up.

    Distances are mean absolute ones. "given": of the coarse spectrogram that is made of the true units, pitch and
    energy; all others are of what the network predicts itself.

    Args:
        model: in evaluation mode.
        noise: (clips, mel frames, rows) standard normal, of the refined spectrogram.
        measures_flow: the refined spectrogram and the likelihood, too.

    Returns:
        "mel L1", "mel L1 given" in nats, "unit accuracy", "pitch L1", "energy L1" as normalised, "refined mel L1", and
        "NLL", the negative log likelihood per value in nats.
    """
    targets = take_targets(batch)
    inputs = take_inputs(batch)
    predicted = model.ltbs(**inputs, return_dict=True)
    given = model.ltbs(**inputs, **take_conditions(batch), return_dict=True)
    mask = torch.ones_like(targets.units, dtype=torch.bool) if predicted.mask is None else predicted.mask
    mel_mask = mask.repeat_interleave(model.config.upsample_factor, dim=1)[..., None].expand_as(targets.mel)
    known = mask & (targets.units != IGNORED)

    def total(values: torch.Tensor, where: torch.Tensor) -> Total:
        return Total(float(values[where].double().sum()), int(where.sum()))

    measured = {
        "mel L1": total((predicted.mel_coarse - targets.mel).abs(), mel_mask),
        "mel L1 given": total((given.mel_coarse - targets.mel).abs(), mel_mask),
        "unit accuracy": total(predicted.unit_logits.argmax(-1) == targets.units, known),
        "pitch L1": total((predicted.pitch - targets.pitch).abs(), mask),
        "energy L1": total((predicted.energy - targets.energy).abs(), mask),
    }
    if measures_flow:
        refined = model.refine(predicted, noise, noise_scale)
        loss, count = compute_flow_loss(model, predicted, targets.mel), int(mel_mask.sum())
        measured["refined mel L1"] = total((refined - targets.mel).abs(), mel_mask)
        measured["NLL"] = Total(float(loss) * count, count)
    return measured


def draw_noise(mel: torch.Tensor, places: Sequence[int], seed: int) -> torch.Tensor:
    """Standard normal values like spectrograms (clips, mel frames, rows), the same for a clip in every batch.

    Args:
        places: number of each clip, which with `seed` decides its noise.
    """
    noise = torch.empty(mel.shape)
    for row, place in zip(noise, places, strict=True):
        row.normal_(generator=torch.Generator().manual_seed(seed * 1_000_003 + place))
    return noise.to(mel.device)


def average(totals: Iterable[dict[str, Total]]) -> dict[str, float]:
    """Means over all values of several batches; NaN where there is none, such as of units where none is known."""
    sums: dict[str, list[float]] = {}
    for measured in totals:
        for name, (value, count) in measured.items():
            before = sums.setdefault(name, [0.0, 0.0])
            before[0], before[1] = before[0] + value, before[1] + count
    return {name: value / count if count else float("nan") for name, (value, count) in sums.items()}


# ------------------------------------------------------------------------------------------------------------- batches


def take_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the network is given of a batch."""
    return {name: batch[name] for name in INPUTS if name in batch}


def take_targets(batch: dict[str, torch.Tensor]) -> LTBSTargets:
    return LTBSTargets(*(batch[name] for name in ("unit_labels", "pitch_labels", "energy_labels", "mel_labels")))


def take_conditions(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The true units, pitch and energy of a batch."""
    return {"units": batch["unit_labels"], "pitch": batch["pitch_labels"], "energy": batch["energy_labels"]}


def make_constants(units: torch.Tensor) -> dict[str, torch.Tensor]:
    """Conditions that tell nothing, of the shape of `units` (clips, frames)."""
    nothing = torch.zeros(units.shape, device=units.device)
    return {"units": torch.zeros_like(units), "pitch": nothing, "energy": nothing}


__all__ = [
    "AcousticTraining",
    "JointTraining",
    "PostNetTraining",
    "average",
    "compute_flow_loss",
    "draw_noise",
    "initialize_flow",
    "make_constants",
    "measure_batch",
    "set_mean_spectrogram",
    "take_conditions",
    "take_inputs",
    "take_targets",
]
