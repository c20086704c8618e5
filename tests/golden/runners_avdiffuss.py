"""How the golden cases of AVDiffuSS are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import numpy as np
import torch
from golden_case import GoldenCase

from avzoo.audio import (
    compressed_stft,
    inverse_compressed_stft,
    mix_at_equal_level,
    mix_at_snr,
    normalize_peak,
)
from avzoo.metrics import si_sdr
from avzoo.video.crops import grey_face

Outputs = dict[str, torch.Tensor]


def run_frontend(case: GoldenCase, folder) -> Iterator[Outputs]:
    config = case.config
    assert config["center"]
    sizes = {"fft_size": config["n_fft"], "hop_size": config["hop_length"], "window": config["window"]}
    compression = {"exponent": config["spec_abs_exponent"], "factor": config["spec_factor"]}
    waveform = case.inputs["waveform"]
    normalized, factor = normalize_peak(waveform)
    compressed = compressed_stft(normalized, frame_multiple=64, **sizes, **compression)

    def inverse(spectrogram: torch.Tensor) -> torch.Tensor:
        return factor * inverse_compressed_stft(spectrogram, waveform.shape[-1], **sizes, **compression)

    yield {
        "stft": compressed_stft(normalized, exponent=1, factor=1, **sizes),
        "compressed_padded": compressed,
        "roundtrip": inverse(compressed),
        "altered": inverse(compressed * (0.8 + 0.1j)),
    }


def run_protocol(case: GoldenCase, folder) -> Iterator[Outputs]:
    voices = [case.inputs[name].numpy() for name in ("voice1", "voice2")]
    shortest = min(len(voice) for voice in voices)
    mixture, targets = mix_at_equal_level(voices, case.config["scale"])
    snr_mix, _ = mix_at_snr(*(voice[:shortest] for voice in voices), case.config["snr_db"])
    estimate = case.inputs["estimate1"].numpy()
    results = {
        "target1": targets[0],
        "target2": targets[1],
        "mixture": mixture,
        "snr_mix": snr_mix,
        "si_sdr_estimate": si_sdr(estimate, targets[0])[None],
        "si_sdr_mixture": si_sdr(mixture, targets[0])[None],
        "video_gray112": grey_face(case.inputs["frame_bgr"].numpy(), 112, order="bgr"),
    }
    yield {name: torch.from_numpy(np.asarray(value)) for name, value in results.items()}


RUNNERS = {"frontend": run_frontend, "protocol": run_protocol}
