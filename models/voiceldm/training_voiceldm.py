"""One training step of VoiceLDM: noise is added to latents, and the networks are to tell it again.

Source: glory20h/VoiceLDM@16ebc7a (train.py). The description is CLAP's embedding of the clip's own sound, so that no
text is needed for it; text takes its place at inference.
"""

import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import nn

from .modeling_voiceldm import VoiceLDMContentEncoder


class VoiceLDMDenoiser(nn.Module):
    """The two networks that are trained, together. Descriptions, VAE and vocoder stay as they are."""

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
        """The predicted noise (or velocity), (batch, channels, latent frames, latent bands).

        Args:
            noisy_latents: of that shape.
            timesteps: (batch,).
            description_embeds: (batch, size).
            input_ids, attention_mask: (batch, tokens), the texts as one padded batch: the denoiser sees the padding,
                as the authors' does.
        """
        frames = self.content_encoder(input_ids, attention_mask).frames
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
    """Mean squared error of the predicted noise, or of the velocity where the scheduler predicts that; a scalar.

    Args:
        prediction, latents, noise: (batch, channels, latent frames, latent bands), latents scaled and without noise.
        timesteps: (batch,).
        snr_gamma: weigh each clip by min(SNR, gamma) / SNR (of velocities: / (SNR + 1)), arXiv 2303.09556, which
            spends less on nearly clean latents. None: all alike, as the authors do.

    Raises:
        ValueError: a scheduler that predicts something else.
    """
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise ValueError(f"`scheduler` must predict epsilon or v_prediction, got {kind!r}.")
    target = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    squares = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    if snr_gamma is None:
        return squares.mean()
    snr = compute_snr(scheduler, timesteps)
    weights = snr.clamp(max=snr_gamma) / (snr if kind == "epsilon" else snr + 1)
    return (weights * squares).mean()


__all__ = ["VoiceLDMDenoiser", "denoising_loss"]
