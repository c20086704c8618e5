"""Waveform to log-mel spectrogram to latents, and back; long ones in chunks.

Shapes: frames, 100 per second at 16 kHz; latents (batch, channels, frames / 4, mel bands / 4) in the released VAE.
"""

import math

import torch
from diffusers import AutoencoderKL
from torch import nn

from avzoo.audio import tacotron_log_mel
from avzoo.checks import check_whole_number

LOG_FLOOR = 1e-5


def log_mel_spectrogram(waveforms: torch.Tensor, num_frames: int | None = None, num_mel_bins: int = 64) -> torch.Tensor:
    """Compute the spectrogram that VoiceLDM's VAE and vocoder were trained on.

    The waveform is clipped to [-1, 1]. Short spectrograms are padded with silence; the authors pad with 0, which is
    loud.
    Source: glory20h/VoiceLDM@16ebc7a (voiceldm/audio/tools.py).

    Args:
        waveforms: (samples,) or (batch, samples) at 16 kHz.
        num_frames: cut or pad to this length. None: all frames, 1 + samples // 160.

    Returns:
        (frames, num_mel_bins) or (batch, frames, num_mel_bins), natural logarithm.
    """
    spectrogram = tacotron_log_mel(waveforms.clamp(-1, 1), num_mel_bins=num_mel_bins, log_floor=LOG_FLOOR)
    if num_frames is None:
        return spectrogram
    missing = max(num_frames - spectrogram.shape[-2], 0)
    return nn.functional.pad(spectrogram[..., :num_frames, :], (0, 0, 0, missing), value=math.log(LOG_FLOOR))


def decode_latents(
    vae: AutoencoderKL, latents: torch.Tensor, chunk_length: int | None = None, overlap: int = 16
) -> torch.Tensor:
    """Decode scaled latents to a log-mel spectrogram (batch, 1, frames, bands).

    Args:
        latents: (batch, channels, latent frames, latent bands).
        chunk_length: latent frames decoded at a time. Norms and attention of the decoder span their whole input, so
            chunks differ a little from the whole. None: the whole at once.
        overlap: latent frames over which neighbouring chunks are cross-faded, fewer than `chunk_length`.

    Raises:
        ValueError: an overlap that isn't from 0 to `chunk_length` - 1.
    """
    latents = latents.to(vae.dtype) / vae.config.scaling_factor
    num_latents = latents.shape[2]
    if chunk_length is None or num_latents <= chunk_length:
        return vae.decode(latents, return_dict=False)[0]
    check_whole_number("overlap", overlap, at_least=0, at_most=chunk_length - 1)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    ramp = (torch.arange(overlap * factor, device=latents.device) + 0.5) / (overlap * factor)
    ramp = ramp[:, None].to(latents.dtype)
    joined: torch.Tensor | None = None
    for start in range(0, num_latents - overlap, chunk_length - overlap):
        chunk = vae.decode(latents[:, :, start : start + chunk_length], return_dict=False)[0]
        if joined is None:
            joined = chunk
            continue
        before, shared = joined.shape[2] - len(ramp), len(ramp)
        faded = joined[:, :, before:] * (1 - ramp) + chunk[:, :, :shared] * ramp
        joined = torch.cat([joined[:, :, :before], faded, chunk[:, :, shared:]], dim=2)
    return joined


__all__ = ["decode_latents", "log_mel_spectrogram"]
