"""AVDiffuSS's claim on drawn people who speak; `train_avdiffuss.py --toy` runs it.

Four people whose faces and voices belong together, at 8 kHz: for each seed a small denoiser is trained on mixtures of
two of them, drawn anew in every step. It is tested on sentences that no training has heard: with the right face, with
the other's, and with none. Then a score network of the first seed is trained on top, and its refinement is compared
with the first estimate. The networks are small and see half a second at a time; the rest is the method as it is.

The networks of different seeds do not depend on each other, so each is trained in a process of its own.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from toy.runs import note, open_output, run_jobs, save_card, worker_pool
from train_avdiffuss import SeparationStep, TrainedPipeline
from transformers.utils import logging

from avzoo import (
    AVDiffuSSModel,
    AVDiffuSSPipeline,
    AVDiffuSSProcessor,
    AVDiffuSSVisualEncoder,
    AVDiffuSSVisualEncoderConfig,
    OUVEScheduler,
)
from avzoo.audio import mix_at_equal_level, resample
from avzoo.metrics import estoi, log_spectral_distance, si_sdr
from avzoo.processes import count_available_cores
from avzoo.toyworld.talkers import Talkers
from avzoo.training import TrainingArguments, train
from avzoo.training.half_precision import save_in_half

PEOPLE = [0, 4]
SAMPLING_RATE, FRAMES_PER_SECOND = 8000, 25
TRAIN_SECONDS, TEST_SECONDS = 4.08, 2.04
SAMPLES = 31 * 128  # of a training clip: 32 frames of the spectrogram, half a second
PICTURES = 13  # of a training clip
BATCH_SIZE, LEARNING_RATE = 8, 2e-3
PRESETS = {
    "reference": {"num_inference_steps": 30, "corrector": "ald", "corrector_steps": 1, "snr": 0.5},
    "fast": {"num_inference_steps": 20, "corrector": "none", "corrector_steps": 1, "snr": 0.5},
}
STAGES = ("estimate", *PRESETS)
REFINED_MIXTURES = 16


@dataclass(frozen=True)
class Job:
    """One denoiser to train: where it and the data lie."""

    seed: int
    steps: tuple[int, int]  # of the denoiser, and of a score network on top; 0: none
    output: Path
    data: Path
    sampling_steps: int | None  # None: as many as the presets have


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the pipeline of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        data = prepare_data(scratch, options.toy_clips, options.toy_test_clips)
        note(f"{options.toy_clips} training clips rendered", begin)
        results = train_all(scratch, data, options, begin)
        save_shipped(output, scratch / f"seed-{options.toy_seeds[0]}", results[0])
    print(table(results))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; pipeline saved in {output}")


# -------------------------------------------------------------------------------------------------------- data


def new_processor() -> AVDiffuSSProcessor:
    # Tight crops, because what is behind the drawn people changes from clip to clip and tells nothing.
    return AVDiffuSSProcessor(
        sampling_rate=SAMPLING_RATE, frame_size=48, face_margin=0.0, n_fft=254, hop_length=128, frame_multiple=8
    )


def prepare_data(folder: Path, num_clips: int, num_test_clips: int) -> Path:
    """Faces and voices of all clips in one file."""
    parts = {"train": (num_clips, TRAIN_SECONDS), "test": (num_test_clips, TEST_SECONDS)}
    data = {}
    with worker_pool(count_available_cores()) as pool:
        for split, (count, seconds) in parts.items():
            jobs = [(split, index, seconds) for index in range(count)]
            faces, voices, people = zip(*pool.map(prepared, jobs, chunksize=4), strict=True)
            data[split] = {
                "faces": torch.from_numpy(np.concatenate(faces)),  # (2 * clips, frames, 48, 48) uint8
                "voices": torch.from_numpy(np.concatenate(voices)),  # (2 * clips, samples)
                "people": torch.from_numpy(np.concatenate(people)),
            }
    torch.save(data, folder / "clips.pt")
    return folder / "clips.pt"


def prepared(job: tuple[str, int, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The faces, voices and numbers of the two people of one clip."""
    split, index, seconds = job
    size = [96, 192]
    talkers = Talkers(index + 1, split=split, situation="mixture", seconds=seconds, size=size, identities=PEOPLE)
    clip, crop = talkers[index], new_processor().convention
    faces = []
    for boxes in clip["boxes"][:2]:
        regions = crop.regions(boxes)
        faces.append([crop.cut(*pair) for pair in zip(clip["frames"], regions, strict=True)])
    voices = [resample(voice, clip["sampling_rate"], SAMPLING_RATE) for voice in clip["voices"][:2]]
    return np.stack(faces), np.stack(voices), np.array([face["identity"] for face in clip["faces"][:2]])


class Mixtures(torch.utils.data.Dataset):
    """A stretch of each voice, mixed with a stretch of another person's, drawn anew each time."""

    def __init__(self, clips: dict[str, torch.Tensor]):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips["voices"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        # The loop seeds torch's generator for every sample, differently in each epoch.
        others = (self.clips["people"] != self.clips["people"][index]).nonzero()[:, 0]
        target, frame = self.stretch(index)
        interferer, _ = self.stretch(int(others[torch.randint(len(others), ())]))
        peak = float(torch.rand(()) * 0.49 + 0.5)
        mixture, parts = mix_at_equal_level([target, interferer], peak)
        return {
            "target": torch.from_numpy(parts[0]),
            "mixture": torch.from_numpy(mixture),
            "video": self.clips["faces"][index, frame : frame + PICTURES],
        }

    def stretch(self, index: int) -> tuple[np.ndarray, int]:
        """Half a second in which somebody speaks, and its first frame."""
        voice, per_frame = self.clips["voices"][index], SAMPLING_RATE // FRAMES_PER_SECOND
        loud = 0.3 * float(voice.std())
        for _ in range(100):
            frame = int(torch.randint(self.clips["faces"].shape[1] - PICTURES + 1, ()))
            part = voice[frame * per_frame : frame * per_frame + SAMPLES]
            if len(part) == SAMPLES and float(part.std()) > loud:
                return part.numpy(), frame
        return voice[:SAMPLES].numpy() + 1e-6 * np.random.default_rng(index).standard_normal(SAMPLES, np.float32), 0


# ---------------------------------------------------------------------------------------------------- training


def new_pipeline(seed: int) -> AVDiffuSSPipeline:
    """Small networks with random weights."""
    torch.manual_seed(seed)
    sizes = {
        "base_channels": 16,
        "channel_multipliers": (1, 2, 2),
        "cross_attention_sizes": (0, 32, 32),
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
    }
    config = AVDiffuSSVisualEncoderConfig(hidden_size=16, num_temporal_layers=2, frame_size=48)
    encoders = [AVDiffuSSVisualEncoder(config) for _ in range(2)]
    for encoder in encoders:
        # In so few steps a face is noticed only if its features stand out from the first step on.
        nn.init.constant_(encoder.output_norm.weight, 5.0)
    pipe = AVDiffuSSPipeline(
        denoiser=AVDiffuSSModel(**sizes),
        denoiser_visual_encoder=encoders[0],
        score_model=AVDiffuSSModel(num_spectrograms=2, time_conditioned=True, **sizes),
        score_visual_encoder=encoders[1],
        scheduler=OUVEScheduler(),
        processor=new_processor(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def train_all(scratch: Path, data: Path, options: argparse.Namespace, begin: float) -> list[dict[str, float]]:
    """Results of each seed; the first has a score network on top."""
    first_steps, second_steps = options.toy_steps
    jobs = [
        Job(
            seed,
            (first_steps, second_steps if number == 0 else 0),
            scratch / f"seed-{seed}",
            data,
            options.toy_sampling_steps,
        )
        for number, seed in enumerate(options.toy_seeds)
    ]
    results = []
    for job, result in run_jobs(run, jobs):
        note(f"seed {job.seed}: " + ", ".join(f"{name} {value:.2f}" for name, value in result.items()), begin)
        results.append(result)
    return results


def run(job: Job) -> dict[str, float]:
    """Train one pipeline and test it; runs in a worker process."""
    logging.disable_progress_bar()
    data = torch.load(job.data, weights_only=True)
    pipe = new_pipeline(job.seed)
    train_stage(pipe, data["train"], job, job.steps[0], denoiser_only=True)
    result = test_faces(pipe, data["test"])
    if job.steps[1]:
        train_stage(pipe, data["train"], job, job.steps[1], freeze_denoiser=True)
        result |= test_refinement(pipe, data["test"], job.sampling_steps)
    pipe.save_pretrained(job.output)
    return result


def train_stage(pipe: AVDiffuSSPipeline, clips: dict, job: Job, steps: int, **which: bool) -> None:
    """One of the networks, the denoiser first."""
    with tempfile.TemporaryDirectory(dir=job.data.parent) as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            batch_size=BATCH_SIZE,
            drop_last=True,
            schedule="linear",
            warmup_steps=30,
            max_gradient_norm=400.0,
            ema_decay=0.99 if "freeze_denoiser" in which else None,
            seed=job.seed,
            cpu=True,
            progress_bar=False,  # several at once would overwrite each other
        )
        model = TrainedPipeline(pipe, **which)
        rates = {"encoder": 0.3 * LEARNING_RATE, "other": LEARNING_RATE}  # a face that changes slowly is found sooner
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups["encoder" if "visual_encoder" in name else "other"].append(parameter)
        optimizer = torch.optim.Adam([{"params": groups[name], "lr": rate} for name, rate in rates.items()])
        train(model, Mixtures(clips), arguments, compute_loss=SeparationStep(pipe), optimizer=optimizer)
    for network in (pipe.denoiser, pipe.denoiser_visual_encoder, pipe.score_model, pipe.score_visual_encoder):
        network.eval()


# ----------------------------------------------------------------------------------------------------- testing


def test_mixtures(clips: dict[str, torch.Tensor]) -> list[tuple[np.ndarray, np.ndarray, torch.Tensor]]:
    """Mixture, its two voices, and their faces, of each clip."""
    mixtures = []
    for first in range(0, len(clips["voices"]), 2):
        mixture, voices = mix_at_equal_level(list(clips["voices"][first : first + 2].numpy()), 0.9)
        mixtures.append((mixture, voices, clips["faces"][first : first + 2]))
    return mixtures


def test_faces(pipe: AVDiffuSSPipeline, clips: dict[str, torch.Tensor]) -> dict[str, float]:
    """SI-SDR in dB of the denoiser's voices: of the target in the mixture, and by three faces."""
    scores: dict[str, list[float]] = {name: [] for name in ("mixture", "right", "other on other", "other", "blank")}
    grey = round(255 * pipe.denoiser_visual_encoder.config.pixel_mean)
    for mixture, voices, faces in test_mixtures(clips):
        blank = torch.full_like(faces[0], grey)
        heard = pipe([mixture], [*faces, blank], denoiser_only=True).audios
        for one, other in ((0, 1), (1, 0)):
            target, rest = voices[one], voices[other]
            values = {
                "mixture": (mixture, target),
                "right": (heard[one], target),
                "other on other": (heard[other], rest),
                "other": (heard[other], target),
                "blank": (heard[2], target),
            }
            for name, pair in values.items():
                scores[name].append(float(si_sdr(*pair)))
    other, on_other = (np.array(scores[name]) for name in ("other", "other on other"))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    return means | {
        "gain": means["right"] - means["mixture"],
        "follows the face": float(np.mean(on_other > other)),
    }


def test_refinement(
    pipe: AVDiffuSSPipeline, clips: dict[str, torch.Tensor], sampling_steps: int | None
) -> dict[str, float]:
    """The first estimate and what the diffusion makes of it by each preset: SI-SDR, ESTOI, log-spectral distance."""
    steps = {} if sampling_steps is None else {"num_inference_steps": sampling_steps}
    scores: dict[str, list[float]] = {}
    for number, (mixture, voices, faces) in enumerate(test_mixtures(clips)[:REFINED_MIXTURES]):
        heard = {}
        for preset, settings in PRESETS.items():
            settings = settings | steps
            output = pipe([mixture], list(faces), generator=torch.Generator().manual_seed(number), **settings)
            heard |= {"estimate": output.initial_estimates, preset: output.audios}
        for stage, sounds in heard.items():
            for sound, target in zip(sounds, voices, strict=True):
                values = {
                    "SI-SDR": float(si_sdr(sound, target)),
                    "ESTOI": float(estoi(sound, target, SAMPLING_RATE)),
                    "distance": float(log_spectral_distance(sound, target)),
                }
                for name, value in values.items():
                    scores.setdefault(f"{stage} {name}", []).append(value)
    return {name: float(np.mean(values)) for name, values in scores.items()}


# ------------------------------------------------------------------------------------------------------ results


def table(results: Sequence[dict[str, float]]) -> str:
    columns = {
        "in the mixture": "mixture",
        "right face": "right",
        "gain": "gain",
        "other's face": "other",
        "the other voice by it": "other on other",
        "no face": "blank",
    }
    lines = ["SI-SDR in dB of the wanted voice, on sentences never heard", ""]
    lines.append("".join(f"{name:>23}" for name in [*columns, "follows the face"]))
    names = [*columns.values(), "follows the face"]
    rows = [{name: float(np.mean([result[name] for result in results])) for name in names}] if results[1:] else []
    for row in [*rows, *results]:
        values = [f"{row[key]:.2f}" for key in columns.values()] + [f"{row['follows the face']:.3f}"]
        lines.append("".join(f"{value:>23}" for value in values))
    first = results[0]
    if "estimate SI-SDR" in first:
        lines += ["", f"{'first seed':<20}{'SI-SDR, dB':>14}{'ESTOI':>14}{'log-spectral distance, dB':>28}"]
        for stage in STAGES:
            values = (first[f"{stage} {name}"] for name in ("SI-SDR", "ESTOI", "distance"))
            lines.append(f"{stage:<20}" + "".join(f"{v:>{w}.3f}" for v, w in zip(values, (14, 14, 28), strict=True)))
    return "\n".join(lines)


def save_shipped(output: Path, trained: Path, result: dict[str, float]) -> None:
    """The pipeline and its card as one folder for `from_pretrained`."""
    pipe = AVDiffuSSPipeline.from_pretrained(trained)
    pipe.register_to_config(presets=PRESETS, avzoo_source={"method": "avdiffuss", "variant": "toy"})
    save_in_half(pipe, output)
    measured = {
        "SI-SDR of the wanted voice in the mixture, dB": f"{result['mixture']:.2f}",
        "of the first estimate, by the right face": f"{result['right']:.2f}",
        "by the other's face, of the wanted voice": f"{result['other']:.2f}",
        "by no face": f"{result['blank']:.2f}",
        "share of mixtures in which the other's face gives the other's voice": f"{result['follows the face']:.3f}",
    }
    if "estimate SI-SDR" in result:
        measured |= {
            "SI-SDR, ESTOI, log-spectral distance of the first estimate (dB, -, dB)": _listed(result, "estimate"),
            "the same after the diffusion, preset `reference`": _listed(result, "reference"),
            "preset `fast`": _listed(result, "fast"),
        }
    save_card("avdiffuss", output, measured, "python examples/train_avdiffuss.py --toy")


def _listed(result: dict[str, float], stage: str) -> str:
    return ", ".join(f"{result[f'{stage} {name}']:.3f}" for name in ("SI-SDR", "ESTOI", "distance"))
