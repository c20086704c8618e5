"""How the golden cases of LTBS are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import torch
from golden_case import GoldenCase

from avzoo.audio import hifigan_log_mel, normalize_peak, stft_energy, tacotron_log_mel

Outputs = dict[str, torch.Tensor]


def run_mel_vocoder(case: GoldenCase, folder) -> Iterator[Outputs]:
    results = {}
    for name in case.outputs:
        settings = case.config[name]
        log_mel = hifigan_log_mel(
            case.inputs["waveform"],
            sampling_rate=settings["sampling_rate"],
            num_mel_bins=settings["num_mels"],
            fft_size=settings["n_fft"],
            window_size=settings["win_size"],
            hop_size=settings["hop_size"],
            low_frequency=settings["fmin"],
            high_frequency=settings["fmax"],
        )
        results[name] = log_mel.mT
    yield results


def run_mel_energy(case: GoldenCase, folder) -> Iterator[Outputs]:
    settings = case.config
    sizes = {"fft_size": settings["n_fft"], "window_size": settings["win"], "hop_size": settings["hop"]}
    waveform, _ = normalize_peak(case.inputs["samples"], 1 / 1.1)
    log_mel = tacotron_log_mel(
        waveform,
        num_mel_bins=len(case.outputs["mel"]),
        low_frequency=settings["fmin"],
        high_frequency=settings["fmax"],
        **sizes,
    )
    yield {
        "mel": log_mel.mT,
        "energy": torch.linalg.vector_norm(log_mel, dim=-1)[::4],  # mel frames per video frame
        "energy_linear": stft_energy(waveform, **sizes),
    }


RUNNERS = {"mel_vocoder": run_mel_vocoder, "mel_energy": run_mel_energy}
