"""One training step of VoiceLDM: the networks that are trained, and the loss of the predicted noise.

Source: glory20h/VoiceLDM@16ebc7a (train.py). The description is CLAP's embedding of the clip's own audio, so training
needs no description in words; at inference CLAP's text embedding replaces it.
"""

import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import nn

from avzoo.checks import check_choice

from .modeling_voiceldm import VoiceLDMContentEncoder


class VoiceLDMDenoiser(nn.Module):
    """The two networks that are trained, in one module; CLAP, VAE and vocoder are frozen."""

    def __init__(self, unet: UNet2DConditionModel, content_encoder: VoiceLDMContentEncoder):
        super().__init__()
        self.unet = unet
        self.content_encoder = content_encoder

    def forward(
        self,
        noisy_latents: torch.Tensor,
        timesteps: torch.Tensor,
        description_embeds: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Predict the noise (or velocity), (batch, channels, latent frames, latent bands).

        Args:
            noisy_latents: (batch, channels, latent frames, latent bands).
            timesteps: (batch,).
            description_embeds: (batch, size).
            input_ids, attention_mask: (batch, tokens), the texts as one padded batch. The denoiser attends to the
                padding, as in the authors' code.
        """
        frames = self.content_encoder(input_ids, attention_mask, return_dict=True).frames
        return self.unet(noisy_latents, timesteps, frames, class_labels=description_embeds, return_dict=False)[0]

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations of both networks to save memory."""
        self.unet.enable_gradient_checkpointing()
        self.content_encoder.gradient_checkpointing_enable()


def denoising_loss(
    prediction: torch.Tensor,
    latents: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    scheduler: DDIMScheduler,
    snr_gamma: float | None = None,
) -> torch.Tensor:
    """Mean squared error of the predicted noise, or of the velocity if the scheduler predicts it; a scalar.

    Args:
        prediction, latents, noise: (batch, channels, latent frames, latent bands); `latents` scaled and clean.
        timesteps: (batch,).
        snr_gamma: weight each clip by min(SNR, gamma) / SNR (of velocities: / (SNR + 1)), arXiv 2303.09556, which
            lowers the weight of nearly clean latents. None: equal weights, as the authors do.

    Raises:
        ValueError: a scheduler with another `prediction_type`.
    """
    prediction_type = scheduler.config.prediction_type
    check_choice("prediction_type", prediction_type, ("epsilon", "v_prediction"))
    target = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    squares = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    if snr_gamma is None:
        return squares.mean()
    snr = compute_snr(scheduler, timesteps)
    weights = snr.clamp(max=snr_gamma) / (snr if prediction_type == "epsilon" else snr + 1)
    return (weights * squares).mean()


__all__ = ["VoiceLDMDenoiser", "denoising_loss"]
