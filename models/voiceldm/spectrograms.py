"""Sound to log-mel spectrogram to latents, and back; in pieces where it is long.

Shapes: frames, 100 per second at 16 kHz; latents (batch, channels, frames / 4, mel bands / 4) in the released VAE.
"""

import math

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio import tacotron_log_mel

from .griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

LOG_FLOOR = 1e-5
FRAMES_PER_PIECE = 1024  # of the vocoder, about 10 s


def log_mel_spectrogram(waveforms: torch.Tensor, num_frames: int | None = None, num_mel_bins: int = 64) -> torch.Tensor:
    """The spectrogram that VoiceLDM's VAE and vocoder were trained on.

    The waveform is clipped to [-1, 1]. The authors fill up short ones with 0, which is loud; here it is silence.
    Source: glory20h/VoiceLDM@16ebc7a (voiceldm/audio/tools.py).

    Args:
        waveforms: (samples,) or (batch, samples) at 16 kHz.
        num_frames: cut or fill to so many. None: all of them, 1 + samples // 160.

    Returns:
        (frames, num_mel_bins) or (batch, frames, num_mel_bins), natural logarithm.
    """
    spectrogram = tacotron_log_mel(waveforms.clamp(-1, 1), num_mel_bins=num_mel_bins, log_floor=LOG_FLOOR)
    if num_frames is None:
        return spectrogram
    missing = max(num_frames - spectrogram.shape[-2], 0)
    return nn.functional.pad(spectrogram[..., :num_frames, :], (0, 0, 0, missing), value=math.log(LOG_FLOOR))


def vocoder_hop(config: SpeechT5HifiGanConfig | GriffinLimVocoderConfig) -> int:
    """Samples of a frame."""
    return config.hop_length if isinstance(config, GriffinLimVocoderConfig) else math.prod(config.upsample_rates)


def vocoder_samples(config: SpeechT5HifiGanConfig | GriffinLimVocoderConfig, num_frames: int) -> int:
    """Samples that the vocoder makes of `num_frames` frames; HiFi-GAN makes a few more than frames times hop."""
    if isinstance(config, GriffinLimVocoderConfig):
        return num_frames * config.hop_length
    length = num_frames
    for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        length = (length - 1) * rate - 2 * ((kernel - rate) // 2) + kernel
    return length


def vocoder_context(config: SpeechT5HifiGanConfig) -> int:
    """Frames to each side that a sample of the vocoder can depend on."""
    context, rate = 3.0, 1  # the first convolution, of 7 frames
    for stride, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        context += kernel / stride / rate
        rate *= stride
        blocks = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        # Each dilation is followed by an undilated convolution of the same kernel.
        context += max((size - 1) / 2 * sum(d + 1 for d in dilations) for size, dilations in blocks) / rate
    return math.ceil(context + 3 / rate)


def vocode(
    vocoder: SpeechT5HifiGan | GriffinLimVocoder, spectrogram: torch.Tensor, frames_per_piece: int = FRAMES_PER_PIECE
) -> torch.Tensor:
    """(batch, frames, bands) to (batch, samples); HiFi-GAN in pieces, with the context that makes them exact."""
    if isinstance(vocoder, GriffinLimVocoder):  # each sample depends on all others, and it is cheap
        return vocoder(spectrogram)
    num_frames, hop, context = spectrogram.shape[1], vocoder_hop(vocoder.config), vocoder_context(vocoder.config)
    pieces = []
    for start in range(0, num_frames, frames_per_piece):
        first, stop = max(start - context, 0), start + frames_per_piece
        waveform = vocoder(spectrogram[:, first : stop + context])
        # The last piece also has the few samples beyond its frames.
        pieces.append(waveform[:, (start - first) * hop : None if stop >= num_frames else (stop - first) * hop])
    return torch.cat(pieces, dim=1)


def decode_latents(
    vae: AutoencoderKL, latents: torch.Tensor, latents_per_piece: int | None = None, overlap: int = 16
) -> torch.Tensor:
    """(batch, channels, latent frames, latent bands), scaled, to a log-mel spectrogram (batch, 1, frames, bands).

    Args:
        latents_per_piece: latent frames that are decoded at a time. Norms and attention of the decoder span all that
            it is given, so pieces differ a little from the whole. None: the whole.
        overlap: latent frames over which neighbouring pieces are cross-faded, fewer than a piece has.

    Raises:
        ValueError: an overlap that isn't from 0 to below `latents_per_piece`.
    """
    latents = latents.to(vae.dtype) / vae.config.scaling_factor
    num_latents = latents.shape[2]
    if latents_per_piece is None or num_latents <= latents_per_piece:
        return vae.decode(latents, return_dict=False)[0]
    if not 0 <= overlap < latents_per_piece:
        raise ValueError(f"`overlap` must be from 0 to below `latents_per_piece` ({latents_per_piece}), got {overlap}.")
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    ramp = (torch.arange(overlap * factor, device=latents.device) + 0.5) / (overlap * factor)
    ramp = ramp[:, None].to(latents.dtype)
    joined: torch.Tensor | None = None
    for start in range(0, num_latents - overlap, latents_per_piece - overlap):
        piece = vae.decode(latents[:, :, start : start + latents_per_piece], return_dict=False)[0]
        if joined is None:
            joined = piece
            continue
        before, shared = joined.shape[2] - len(ramp), len(ramp)
        faded = joined[:, :, before:] * (1 - ramp) + piece[:, :, :shared] * ramp
        joined = torch.cat([joined[:, :, :before], faded, piece[:, :, shared:]], dim=2)
    return joined


__all__ = [
    "decode_latents",
    "log_mel_spectrogram",
    "vocode",
    "vocoder_context",
    "vocoder_hop",
    "vocoder_samples",
]
