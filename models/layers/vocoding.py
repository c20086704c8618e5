"""Spectrograms to sound by a vocoder that is plugged in: how long the sound is, long ones in chunks, and what fits.

A vocoder's config tells the spectrograms it was trained on in `mel_settings`, see [`avzoo.audio.MelSettings`].
"""

import math
import os
from typing import Literal

import torch
from transformers import PreTrainedConfig, SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio import MelSettings
from avzoo.checks import check_choice

from .griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

VOCODER_CHUNK_LENGTH = 1024  # frames, about 10 s
# Rates of HiFi-GAN's four upsamplers by the samples of a frame, and their kernels. 256: the authors'; 160: 10 ms at
# 16 kHz.
_UPSAMPLERS = {256: ((8, 8, 2, 2), (16, 16, 4, 4)), 160: ((5, 4, 4, 2), (11, 8, 8, 4))}
_INITIAL_CHANNELS = {"v1": 512, "v2": 128}


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


def make_hifigan_config(mel: MelSettings, size: Literal["v1", "v2"] = "v1") -> SpeechT5HifiGanConfig:
    """The config of a HiFi-GAN for some spectrograms, to train one.

        vocoder = SpeechT5HifiGan(make_hifigan_config(MelSettings()))

    Args:
        mel: of 160 or 256 samples a frame.
        size: "v1", or "v2", which has a quarter of the channels and a sixteenth of the work.

    Raises:
        ValueError: another hop or size.
    """
    check_choice("size", size, _INITIAL_CHANNELS)
    if mel.hop_size not in _UPSAMPLERS:
        raise ValueError(
            f"`mel` has {mel.hop_size} samples a frame, rates are known for {', '.join(map(str, _UPSAMPLERS))}; make a "
            "SpeechT5HifiGanConfig whose `upsample_rates` multiply to them."
        )
    rates, kernels = _UPSAMPLERS[mel.hop_size]
    return SpeechT5HifiGanConfig(
        model_in_dim=mel.num_mel_bins,
        sampling_rate=mel.sampling_rate,
        upsample_initial_channel=_INITIAL_CHANNELS[size],
        upsample_rates=list(rates),
        upsample_kernel_sizes=list(kernels),
        normalize_before=False,
        mel_settings=mel.to_dict(),
    )


def load_vocoder(
    source: str | os.PathLike, mel: MelSettings | None = None, *, subfolder: str = "", revision: str | None = None
) -> SpeechT5HifiGan | GriffinLimVocoder:
    """Load a vocoder from a folder or the Hub, in evaluation mode.

    Args:
        source: what `avzoo convert hifigan` or `save_pretrained` wrote, or a name on the Hub.
        mel: of the spectrograms that it will get. None: it isn't checked for any.
        subfolder: of the folder or repository, where the vocoder lies.
        revision: of a repository on the Hub.

    Raises:
        ValueError: no vocoder, weights are missing, or it takes other spectrograms.
        OSError: there is no such folder or name, or no config.json in it.
    """
    place = {"subfolder": subfolder, "revision": revision}
    config, _ = PreTrainedConfig.get_config_dict(source, **place)
    label = os.path.join(source, subfolder) if subfolder else os.fspath(source)
    classes = {cls.config_class.model_type: cls for cls in (SpeechT5HifiGan, GriffinLimVocoder)}
    if not config:
        raise OSError(f"`{label}` holds no vocoder: it has no config.json.")
    if config.get("model_type") not in classes:
        raise ValueError(
            f"`{label}` holds no vocoder: the `model_type` of its config.json is {config.get('model_type')!r}, "
            f"expected {' or '.join(classes)}."
        )
    if mel is not None:  # before weights are read
        check_vocoder(classes[config["model_type"]].config_class.from_dict(config), mel, label)
    vocoder, report = classes[config["model_type"]].from_pretrained(source, **place, output_loading_info=True)
    if report["missing_keys"]:
        first = sorted(report["missing_keys"])[0]
        raise ValueError(f"`{label}` lacks {len(report['missing_keys'])} weights of a vocoder, the first is {first}.")
    return vocoder.eval()


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


def check_vocoder(
    config: PreTrainedConfig, mel: MelSettings, name: str = "vocoder", model_name: str | None = None
) -> None:
    """Refuse a vocoder of other spectrograms than `mel`: what it made of them would be noise or metal.

    Args:
        config: of the vocoder.
        mel: of the spectrograms that it will get.
        name: of the vocoder, in messages.
        model_name: of what makes the spectrograms, in messages.

    Raises:
        ValueError: its settings differ, each named with both values, or aren't known.
    """
    try:
        settings = read_mel_settings(config)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from error
    differences = settings.list_differences(mel)
    model = "the model" if model_name is None else f"the model `{model_name}`"
    if differences:
        raise ValueError(
            f"`{name}` was trained on other spectrograms than {model} makes ({'; '.join(differences)}; the vocoder's "
            "first). Take a vocoder of the model's settings, or train one: examples/train_hifigan.py --processor MODEL."
        )


__all__ = [
    "check_vocoder",
    "load_vocoder",
    "make_hifigan_config",
    "read_mel_settings",
    "vocode",
    "vocoder_context",
    "vocoder_hop",
    "vocoder_samples",
]
