"""One training step of AVDiffuSS: a first estimate of the voice, and the score of a state between it and the voice.

Source: kaistmm/AVDiffuSS@86d8203 (sgmse/model.py, _step and _loss), after StoRM (arXiv 2212.11851).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .modeling_avdiffuss import AVDiffuSSModel, score_input
from .modeling_visual_encoder import AVDiffuSSVisualEncoder
from .scheduling_ouve import OUVEScheduler


@dataclass
class AVDiffuSSStep:
    """What both networks make of a batch.

    Args:
        estimate: (batch, 1, bins, frames) complex, of the denoiser.
        score_error: score times the state's standard deviation, plus the noise: 0 where the score is right. None
            without a score network.
    """

    estimate: torch.Tensor
    score_error: torch.Tensor | None


class AVDiffuSSTrainer(nn.Module):
    """The networks that are trained, together.

    Args:
        denoiser, denoiser_visual_encoder, score_model, score_visual_encoder, scheduler, condition: those of
            [`AVDiffuSSPipeline`]; without a `score_model` the denoiser is trained alone.
        freeze_denoiser: train the second network alone.
    """

    def __init__(
        self,
        denoiser: AVDiffuSSModel,
        denoiser_visual_encoder: AVDiffuSSVisualEncoder,
        scheduler: OUVEScheduler,
        score_model: AVDiffuSSModel | None = None,
        score_visual_encoder: AVDiffuSSVisualEncoder | None = None,
        condition: str = "post_denoiser",
        freeze_denoiser: bool = False,
    ):
        super().__init__()
        self.denoiser = denoiser
        self.denoiser_visual_encoder = denoiser_visual_encoder
        self.score_model = score_model
        self.score_visual_encoder = score_visual_encoder
        self.scheduler = scheduler
        self.condition = condition
        self.freeze_denoiser = freeze_denoiser
        if freeze_denoiser:
            denoiser.requires_grad_(False)
            # What the second network sees through the first one's eyes it goes on to train.
            denoiser_visual_encoder.requires_grad_(score_visual_encoder is None)

    def train(self, mode: bool = True) -> "AVDiffuSSTrainer":
        super().train(mode)
        if self.freeze_denoiser and self.score_visual_encoder is not None:
            self.denoiser_visual_encoder.eval()  # its statistics stay as they are
        return self

    def forward(
        self,
        target: torch.Tensor,
        mixture: torch.Tensor,
        pixel_values: torch.Tensor,
        timestep: torch.Tensor,
        noise: torch.Tensor,
    ) -> AVDiffuSSStep:
        """
        Args:
            target, mixture: (batch, 1, bins, frames) complex, compressed.
            pixel_values: (batch, visual frames, rows, columns), grey, 0..255.
            timestep: (batch,), from the scheduler's `min_timestep` to 1.
            noise: as `target`, variance 1.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_denoiser):
            seen = self.denoiser_visual_encoder(pixel_values, return_dict=True).last_hidden_state
            estimate = self.denoiser(mixture, None, seen).sample
        if self.score_model is None:
            return AVDiffuSSStep(estimate, None)
        encoder = self.score_visual_encoder or self.denoiser_visual_encoder
        seen = encoder(pixel_values, return_dict=True).last_hidden_state
        # The estimate is where the state drifts to and stands beside it; both ways the score's loss reaches the
        # denoiser, as in the authors' training.
        state = self.scheduler.add_noise(target, estimate, noise, timestep)
        score = self.score_model(score_input(self.condition, state, mixture, estimate), timestep, seen).sample
        return AVDiffuSSStep(estimate, score * self.scheduler.std(timestep)[:, None, None, None] + noise)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations to save memory."""
        for network in (self.denoiser, self.score_model):
            if network is not None:
                network.enable_gradient_checkpointing()
        for encoder in (self.denoiser_visual_encoder, self.score_visual_encoder):
            if encoder is not None:
                encoder.gradient_checkpointing_enable()


def separation_losses(
    step: AVDiffuSSStep,
    target: torch.Tensor,
    *,
    loss_type: Literal["mse", "mae"] = "mse",
    denoiser_weight: float = 0.5,
    reduction: Literal["sum", "mean"] = "sum",
) -> dict[str, torch.Tensor]:
    """weight * L(estimate - target) + (1 - weight) * L(score_error), L half the sum of |.|^2, lower is better.

    Args:
        step: of [`AVDiffuSSTrainer`].
        target: (batch, 1, bins, frames) complex.
        loss_type: "mae": |.| instead of its square.
        denoiser_weight: of the first term; it is the whole loss where there is no score.
        reduction: over batch, bins and frames: "sum", as the authors do, makes steps depend on the batch's size;
            "mean" does not.

    Returns:
        "loss", "loss_denoiser", and "loss_score" where there is one.

    Raises:
        ValueError: an unknown `loss_type` or `reduction`.
    """
    if loss_type not in ("mse", "mae"):
        raise ValueError(f'`loss_type` must be "mse" or "mae", got {loss_type!r}.')
    if reduction not in ("sum", "mean"):
        raise ValueError(f'`reduction` must be "sum" or "mean", got {reduction!r}.')
    reduce: Callable = torch.sum if reduction == "sum" else torch.mean

    def half(error: torch.Tensor) -> torch.Tensor:
        parts = torch.view_as_real(error).square().sum(-1)  # |error|^2, without a root that has no slope at 0
        return 0.5 * reduce(parts if loss_type == "mse" else error.abs())

    losses = {"loss_denoiser": half(step.estimate - target)}
    if step.score_error is None:
        return {"loss": losses["loss_denoiser"], **losses}
    losses["loss_score"] = half(step.score_error)
    total = denoiser_weight * losses["loss_denoiser"] + (1 - denoiser_weight) * losses["loss_score"]
    return {"loss": total, **losses}


__all__ = ["AVDiffuSSStep", "AVDiffuSSTrainer", "separation_losses"]
