"""How the golden cases of LTBS's targets and vocoder are computed: one function per kind, for `runners_ltbs.py`."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from golden_case import Expected, GoldenCase, stored_keys
from golden_comparison import difference
from transformers import SpeechT5HifiGan

from avzoo.audio import (
    MelSettings,
    estimate_pitch,
    normalize_peak,
    normalize_pitch,
    stft_energy,
)
from avzoo.conversion import convert_checkpoint
from avzoo.models.layers.vocoding import vocode
from avzoo.models.ltbs.speech_units import align_units, find_units


def run_mel_vocoder(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    results = {}
    for name in case.outputs:
        settings = case.config[name]
        mel = MelSettings(
            sampling_rate=settings["sampling_rate"],
            num_mel_bins=settings["num_mels"],
            fft_size=settings["n_fft"],
            window_size=settings["win_size"],
            hop_size=settings["hop_size"],
            low_frequency=settings["fmin"],
            high_frequency=settings["fmax"],
        )
        results[name] = mel.compute(case.inputs["waveform"]).mT
    yield results


def run_mel_energy(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    settings = case.config
    sizes = {"fft_size": settings["n_fft"], "window_size": settings["win"], "hop_size": settings["hop"]}
    waveform, _ = normalize_peak(case.inputs["samples"], 1 / 1.1)
    bounds = {"low_frequency": settings["fmin"], "high_frequency": settings["fmax"]}
    bounds |= {"sampling_rate": settings.get("sampling_rate", 16000), "num_mel_bins": settings.get("n_mels", 80)}
    log_mel = MelSettings("centered", **sizes, **bounds).compute(waveform)
    yield {
        "mel": log_mel.mT,
        "energy": torch.linalg.vector_norm(log_mel, dim=-1)[::4],  # mel frames per video frame
        "energy_linear": stft_energy(waveform, **sizes),
    }


def run_pitch(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    settings = case.config
    pitch = estimate_pitch(
        case.inputs["waveform"],
        sampling_rate=settings.get("sampling_rate", 16000),
        low_frequency=settings["fmin"],
        high_frequency=settings["fmax"],
        frame_size=settings["frame_length"],
        hop_size=settings["hop"],
    )
    yield {
        "f0": pitch,
        "f0_normalised": normalize_pitch(pitch),
        "f0_video_normalised": normalize_pitch(case.inputs["f0_video_in"]),
    }


def compare_pitch(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> str:
    """At most 2 % of frames differ in voicing; where both are voiced, the relative error counts."""
    voiced = (actual != 0) & (expected != 0)
    differing = int(((actual != 0) != (expected != 0)).sum())
    if differing > 0.02 * len(expected):
        return f"{differing} of {len(expected)} frames differ in voicing"
    error = float((actual - expected)[voiced].norm() / expected[voiced].norm())
    return "" if error <= tolerance else f"relative error {error:.3g} above {tolerance:g} on voiced frames"


def compare_normalized(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> str:
    """They follow exactly from the pitch, whatever finds it."""
    return difference(actual, expected, 1e-6)


def run_units(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    units = find_units(case.inputs["features"], case.inputs["centres"])
    targets = align_units(units, case.config["video_frames"])
    like = case.outputs["targets"].dtype
    yield {
        "units": units.to(case.outputs["units"].dtype),
        "targets": torch.where(targets < 0, 0, targets + 1).to(like),  # theirs begin at 1
    }


@torch.no_grad()
def run_vocoder(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """With the case's rates and dilations, which shapes don't tell."""
    checkpoint = {"generator": case.checkpoint()}
    fields = {name: case.config[name] for name in ("upsample_rates", "resblock_dilation_sizes")}
    hop, num_bins = math.prod(fields["upsample_rates"]), case.inputs["mel"].shape[1]
    if hop not in (160, 256):  # of no known spectrogram
        fields["mel_settings"] = MelSettings(num_mel_bins=num_bins, hop_size=hop).to_dict()
    vocoder = convert_checkpoint("hifigan", checkpoint, config=fields)
    parameters = sum(weight.numel() for weight in checkpoint["generator"].values())
    vocoder.save_pretrained(folder)
    for model in (vocoder, SpeechT5HifiGan.from_pretrained(folder)):
        yield {"waveform": vocode(model, case.inputs["mel"].mT), "parameters": parameters}


def run_vocoder_keys(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """The shapes of a released file fit a network, whose parameters under weight norm are counted."""
    keys = stored_keys(case.folder)
    tensors = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in keys}
    vocoder = convert_checkpoint("hifigan", {"generator": tensors})
    rates = {name: list(case.config[name]) for name in ("upsample_rates", "upsample_kernel_sizes")}
    if {name: list(getattr(vocoder.config, name)) for name in rates} != rates:
        raise ValueError(f"inferred {vocoder.config.upsample_rates}, the case has {rates}")
    vocoder.to_empty(device="cpu").apply_weight_norm()
    yield {
        "keys": {key: [list(value.shape), str(value.dtype)[6:]] for key, value in tensors.items()},
        "parameters": sum(weight.numel() for weight in vocoder.parameters()),
    }


TARGET_RUNNERS = {
    "mel_vocoder": run_mel_vocoder,
    "mel_energy": run_mel_energy,
    "pitch": run_pitch,
    "units": run_units,
    "vocoder": run_vocoder,
    "vocoder_keys": run_vocoder_keys,
}
TARGET_RULES = {"pitch": {"f0": compare_pitch, "f0_*normalised": compare_normalized}}
