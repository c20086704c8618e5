"""Waveform to log-mel spectrogram to latents, and back; long ones in chunks.

Shapes: frames, 100 per second at 16 kHz; latents (batch, channels, frames / 4, mel bands / 4) in the released VAE.
"""

import math

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio import tacotron_log_mel
from avzoo.checks import check_whole_number

from .griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

LOG_FLOOR = 1e-5
VOCODER_CHUNK_LENGTH = 1024  # frames, about 10 s


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


def vocoder_hop(config: SpeechT5HifiGanConfig | GriffinLimVocoderConfig) -> int:
    """Samples per frame of the vocoder."""
    return config.hop_length if isinstance(config, GriffinLimVocoderConfig) else math.prod(config.upsample_rates)


def vocoder_samples(config: SpeechT5HifiGanConfig | GriffinLimVocoderConfig, num_frames: int) -> int:
    """Samples of the vocoder's output for `num_frames` frames; HiFi-GAN's are a few more than frames times hop."""
    if isinstance(config, GriffinLimVocoderConfig):
        return num_frames * config.hop_length
    length = num_frames
    for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        length = (length - 1) * rate - 2 * ((kernel - rate) // 2) + kernel
    return length


def vocoder_context(config: SpeechT5HifiGanConfig) -> int:
    """Frames to each side that a sample of the vocoder's output depends on."""
    context, rate = 3.0, 1  # the first convolution, of 7 frames
    for stride, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        context += kernel / stride / rate
        rate *= stride
        blocks = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        # Each dilation is followed by an undilated convolution of the same kernel.
        context += max((size - 1) / 2 * sum(d + 1 for d in dilations) for size, dilations in blocks) / rate
    return math.ceil(context + 3 / rate)


def vocode(
    vocoder: SpeechT5HifiGan | GriffinLimVocoder, spectrogram: torch.Tensor, chunk_length: int = VOCODER_CHUNK_LENGTH
) -> torch.Tensor:
    """Vocode (batch, frames, bands) to (batch, samples); HiFi-GAN in chunks with exactly the context they need.

    Args:
        chunk_length: frames of a chunk without its context.
    """
    if isinstance(vocoder, GriffinLimVocoder):  # each sample depends on all others, and memory is small
        return vocoder(spectrogram)
    num_frames, hop, context = spectrogram.shape[1], vocoder_hop(vocoder.config), vocoder_context(vocoder.config)
    chunks = []
    for start in range(0, num_frames, chunk_length):
        first, stop = max(start - context, 0), start + chunk_length
        waveform = vocoder(spectrogram[:, first : stop + context])
        # The last chunk also has the few samples beyond its frames.
        chunks.append(waveform[:, (start - first) * hop : None if stop >= num_frames else (stop - first) * hop])
    return torch.cat(chunks, dim=1)


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


__all__ = [
    "decode_latents",
    "log_mel_spectrogram",
    "vocode",
    "vocoder_context",
    "vocoder_hop",
    "vocoder_samples",
]
