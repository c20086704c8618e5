"""Spectrograms to sound by a vocoder that is plugged in: how long the sound is, long ones in chunks, and what fits.

A vocoder's config tells the spectrograms it was trained on in `mel_settings`, see [`avzoo.audio.MelSettings`].
"""

import math

import torch
from transformers import PreTrainedConfig, SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio import MelSettings

from .griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

VOCODER_CHUNK_LENGTH = 1024  # frames, about 10 s


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


def read_mel_settings(config: PreTrainedConfig) -> MelSettings:
    """The settings of the spectrograms that a vocoder takes.

    Raises:
        ValueError: its config does not tell them, or contradicts itself.
    """
    told = getattr(config, "mel_settings", None)
    if told is None:
        raise ValueError(
            "the vocoder's config does not tell which spectrograms it takes. Convert its authors' file by `avzoo "
            "convert hifigan`, or, if you know them, set `vocoder.config.mel_settings`, a dict of "
            f"{', '.join(MelSettings().to_dict())}."
        )
    settings = MelSettings.from_dict(told, name="mel_settings")
    own = {"sampling_rate": config.sampling_rate, "num_mel_bins": config.model_in_dim, "hop_size": vocoder_hop(config)}
    for name, value in own.items():
        if getattr(settings, name) != value:
            raise ValueError(
                f"the vocoder's config contradicts itself: its network has `{name}` {value}, its `mel_settings` say "
                f"{getattr(settings, name)}."
            )
    return settings


def check_vocoder(config: PreTrainedConfig, mel: MelSettings, name: str = "vocoder") -> None:
    """Refuse a vocoder of other spectrograms than `mel`: what it made of them would be noise or metal.

    Raises:
        ValueError: its settings differ, each named with both values, or aren't known; `name` is the argument.
    """
    try:
        settings = read_mel_settings(config)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from error
    differences = settings.list_differences(mel)
    if differences:
        raise ValueError(
            f"`{name}` was trained on other spectrograms than the model makes ({'; '.join(differences)}; the vocoder's "
            "first). Take a vocoder of the model's settings, or train one."
        )


__all__ = [
    "check_vocoder",
    "read_mel_settings",
    "vocode",
    "vocoder_context",
    "vocoder_hop",
    "vocoder_samples",
]
