"""Conversion of HiFi-GAN's generators to transformers' `SpeechT5HifiGan`.

A released file is {"generator": weights}, each convolution as a direction and a length (weight norm), which become one
weight. Beside it lies a config.json with what shapes don't tell: rates, dilations and the spectrogram. What it says of
the latter is kept in the vocoder's config as `mel_settings`, so that no other spectrogram is vocoded with it unseen.

Facts: jik876/hifi-gan@4769534 (models.py, meldataset.py, config_v1.json).
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio.mel_settings import MelSettings
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, load_weights, rename
from avzoo.models.layers.vocoding import read_mel_settings
from avzoo.models.layers.without_memory import build_without_memory

ENTRIES_READ = ("generator",)
SETTINGS_FILES = ("config.json",)
CONFIG_FIELDS = ("mel_settings", *(field.name for field in dataclasses.fields(SpeechT5HifiGanConfig)))

HIFIGAN_KEYMAP = KeyMap(
    rename("conv_{place}.{leaf}", "conv_{place}.{leaf}"),
    rename("ups.{n}.{leaf}", "upsampler.{n}.{leaf}"),
    rename("resblocks.{n}.convs{half}.{m}.{leaf}", "resblocks.{n}.convs{half}.{m}.{leaf}"),
)
# Spectrograms of files without a config.json, by the samples of a frame.
_KNOWN_MEL = {
    256: MelSettings(
        sampling_rate=22050, fft_size=1024, window_size=1024, hop_size=256, low_frequency=0.0, high_frequency=8000.0
    ),
    160: MelSettings(),
}
_VARIANTS = {_KNOWN_MEL[256]: "22khz", _KNOWN_MEL[160]: "16khz"}
_MEL_NAMES = {  # theirs, ours
    "sampling_rate": "sampling_rate",
    "num_mels": "num_mel_bins",
    "n_fft": "fft_size",
    "win_size": "window_size",
    "hop_size": "hop_size",
    "fmin": "low_frequency",
    "fmax": "high_frequency",
}
# Weight norm under its older and its newer names: what a direction's key ends in, and its length's.
_WEIGHT_NORMS = {"weight_v": "weight_g", "parametrizations.weight.original1": "parametrizations.weight.original0"}


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[SpeechT5HifiGan, str, dict[str, Any]]:
    """Convert a checkpoint; returns the vocoder, its variant, and no processor arguments.

    Args:
        variant: "22khz", "16khz" or "other"; told by the settings of the spectrogram.
        config: override fields of `SpeechT5HifiGanConfig`, and `mel_settings`, see [`MelSettings`]. They go before
            what config.json says.

    Raises:
        ValueError: residual blocks of type 2, which `SpeechT5HifiGan` hasn't; a file of discriminators; settings that
            are not known or don't fit the weights.
    """
    content = checkpoint.content.get("generator")
    if not isinstance(content, Mapping) and {"mpd", "msd"} & checkpoint.content.keys():
        raise ValueError(
            f"{checkpoint.name} holds the discriminators of a training (do_...); the generator is in the file g_... "
            "beside it."
        )
    state_dict = (replace(checkpoint, content=content) if isinstance(content, Mapping) else checkpoint).state_dict()
    if any(re.fullmatch(r"resblocks\.\d+\.convs\.\d+\..+", key) for key in state_dict):
        raise ValueError(
            f"{checkpoint.name} has residual blocks of type 2 (HiFi-GAN V3), which transformers' SpeechT5HifiGan does "
            "not have; take a generator V1 or V2."
        )
    weights = fold_weight_norm(state_dict)
    told = checkpoint.sidecar.get("config.json", {})
    fields = infer_fields(weights, told, checkpoint.name) | dict(config or {})
    mel = _find_mel_settings(fields, told, checkpoint.name)
    fields |= {"mel_settings": mel.to_dict(), "sampling_rate": mel.sampling_rate}
    vocoder_config = SpeechT5HifiGanConfig(**fields)
    read_mel_settings(vocoder_config)  # refuses what contradicts the network
    with build_without_memory(len(weights), checkpoint.name):  # no weight is drawn at random first
        model = SpeechT5HifiGan(vocoder_config)
    bands = vocoder_config.model_in_dim
    known = {"mean": torch.zeros(bands), "scale": torch.ones(bands)}  # theirs normalises no spectrogram
    model = load_weights(model, HIFIGAN_KEYMAP, weights, checkpoint.name, known=known)
    return model, variant or _VARIANTS.get(mel, "other"), {}


def fold_weight_norm(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Direction and length of each convolution to its weight, length * direction / |direction|; the rest as it is.

    The norm is over all axes but the first.
    """
    folded = {}
    for key, value in state_dict.items():
        for direction, length in _WEIGHT_NORMS.items():
            if key.endswith(f".{direction}") and key.removesuffix(direction) + length in state_dict:
                norm = torch.linalg.vector_norm(value.float(), dim=tuple(range(1, value.ndim)), keepdim=True)
                stem = key.removesuffix(direction)
                folded[f"{stem}weight"] = value.float() * (state_dict[stem + length].float() / norm)
                break
            if key.endswith(f".{length}") and key.removesuffix(length) + direction in state_dict:
                break
        else:
            folded[key] = value
    return folded


def infer_fields(weights: Mapping[str, torch.Tensor], told: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What shapes and a config.json tell of the network's config; without the latter, rates are half of the kernels."""

    def shape(key: str) -> torch.Size:
        if key not in weights or weights[key].ndim != 3:
            raise ValueError(f"{name} is no generator of HiFi-GAN: `{key}` must be the weight of a convolution.")
        return weights[key].shape

    def count(pattern: str) -> int:
        return len({found[1] for key in weights if (found := re.match(pattern, key))})

    num_upsamplers, num_blocks = count(r"ups\.(\d+)\."), count(r"resblocks\.(\d+)\.")
    channels, bands, _ = shape("conv_pre.weight")
    if not num_upsamplers or not num_blocks or num_blocks % num_upsamplers:
        raise ValueError(
            f"{name} is no generator of HiFi-GAN: it has {num_upsamplers} upsamplers and {num_blocks} residual blocks, "
            "which must be as many for each."
        )
    kernels = [shape(f"ups.{index}.weight")[2] for index in range(num_upsamplers)]
    sizes = [shape(f"resblocks.{index}.convs1.0.weight")[2] for index in range(num_blocks // num_upsamplers)]
    depth = count(r"resblocks\.0\.convs1\.(\d+)\.")
    fields = {
        "model_in_dim": bands,
        "upsample_initial_channel": channels,
        "upsample_rates": told.get("upsample_rates", [kernel // 2 for kernel in kernels]),
        "upsample_kernel_sizes": kernels,
        "resblock_kernel_sizes": sizes,
        "resblock_dilation_sizes": told.get(
            "resblock_dilation_sizes", [[2 * i + 1 for i in range(depth)]] * len(sizes)
        ),
        "leaky_relu_slope": 0.1,
        "normalize_before": False,
    }
    seen = {"num_mels": bands, "upsample_initial_channel": channels, "upsample_kernel_sizes": kernels}
    for field, value in (seen | {"resblock_kernel_sizes": sizes}).items():
        if field in told and told[field] != value:
            raise ValueError(
                f"{name}: the weights have `{field}` {value}, the config.json beside them says {told[field]}; they do "
                "not belong together."
            )
    return fields


def _find_mel_settings(fields: Mapping[str, Any], told: Mapping[str, Any], name: str) -> MelSettings:
    """As the caller says, or config.json, or the only known ones of as many samples a frame."""
    if fields.get("mel_settings") is not None:
        return MelSettings.from_dict(fields["mel_settings"], "mel_settings")
    if told:
        missing = [field for field in _MEL_NAMES if field not in told]
        if missing:
            raise ValueError(f"{name}: the config.json beside it lacks `{missing[0]}`, a setting of the spectrogram.")
        settings = {ours: told[theirs] for theirs, ours in _MEL_NAMES.items()}
        bounds = {name: float(settings[name]) for name in ("low_frequency", "high_frequency")}
        return MelSettings(**{**settings, **bounds})
    hop = math.prod(fields["upsample_rates"])
    if hop in _KNOWN_MEL and fields["model_in_dim"] == _KNOWN_MEL[hop].num_mel_bins:
        return _KNOWN_MEL[hop]
    raise ValueError(
        f"{name}: no config.json lies beside it, and its {hop} samples a frame of {fields['model_in_dim']} bands are "
        "none of the known settings; put the authors' config.json there, or give `mel_settings`, e.g. "
        f"{MelSettings().to_dict()}."
    )


__all__ = ["convert", "fold_weight_norm"]
