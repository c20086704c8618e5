"""How the golden cases of MTDVocaLiST are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import torch
from golden_case import GoldenCase

from avzoo.audio import wav2lip_log_mel
from avzoo.audio.mel_banks import slaney_bank
from avzoo.video import MouthHalf

Outputs = dict[str, torch.Tensor]

FRAMES_PER_SECOND = 25


def run_mel(case: GoldenCase, folder) -> Iterator[Outputs]:
    settings = case.config
    rate, hop = settings["sampling_rate"], settings["hop_length"]
    # What the function has no argument for.
    fixed = {"center": True, "pad_mode": "reflect", "power": 1, "mel_scale": "slaney", "mel_norm": "slaney"}
    assert {name: settings[name] for name in fixed} == fixed
    bank = (settings["num_mel_bins"], settings["n_fft"], rate, settings["fmin"], settings["fmax"])

    def log_mel(waveforms: torch.Tensor) -> torch.Tensor:
        features = wav2lip_log_mel(
            waveforms,
            sampling_rate=rate,
            num_mel_bins=settings["num_mel_bins"],
            fft_size=settings["n_fft"],
            window_size=settings["win_length"],
            hop_size=hop,
            low_frequency=settings["fmin"],
            high_frequency=settings["fmax"],
            preemphasis=settings["preemphasis"] or 0.0,
            magnitude_floor=settings["min_level"],
            reference_db=settings["ref_level_db"],
            range_db=settings["top_db"],
            limit=settings["max_abs_value"],
        )
        return features.mT

    results = {"filterbank": torch.from_numpy(slaney_bank(*bank)).mT}
    for name, waveform in case.inputs.items():
        if name.startswith("wave."):
            results[f"mel.{name.removeprefix('wave.')}"] = log_mel(waveform)
    columns = case.outputs["train_chunks"].shape[-1]
    starts = case.inputs["chunk_start_frames"] * rate // FRAMES_PER_SECOND
    chunks = torch.stack([case.inputs["wave.0"][start : start + columns * hop] for start in starts.tolist()])
    results["train_chunks"] = log_mel(chunks)[:, None, :, :columns]
    yield results


def run_mouth(case: GoldenCase, folder) -> Iterator[Outputs]:
    height, width = case.config["image_size"]
    assert height == width
    conventions = {
        "student": MouthHalf(size=height),
        "student_antialias": MouthHalf(size=height, resize="torch-antialias"),
        "teacher": MouthHalf(size=height, resize="opencv"),
    }
    results = {}
    for name in case.outputs:
        family, _, index = name.rpartition(".")
        mouth = torch.from_numpy(conventions[family].of_face(case.inputs[f"face.{index}"].numpy()).copy())
        pixels = mouth.permute(2, 0, 1).float()
        results[name] = pixels.flip(0) / 255 if family == "teacher" else pixels
    yield results


RUNNERS = {"mel": run_mel, "mouth": run_mouth}
