"""TalkNCE's claim on drawn people who speak; `train_talknce.py --toy` runs it.

Two or three people in the picture talk in turn, others move their lips for something that is not heard, and some of
what is heard comes from somebody off screen. From the same random weights a small detector is trained without TalkNCE,
with it on the frames where the face speaks, and with it on all frames. All are tested on clips, sentences and people
that no training has seen; the measure is AVA's average precision over all frames.

Runs don't depend on each other, so each is trained in a process of its own.
"""

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from toy.runs import as_detected, note, open_output, run_jobs, save_card
from transformers.utils import logging

from avzoo import (
    ActiveSpeakerProcessor,
    LoCoNetConfig,
    LoCoNetForActiveSpeakerDetection,
    TalkNetConfig,
    TalkNetForActiveSpeakerDetection,
)
from avzoo.metrics import ava_average_precision
from avzoo.toyworld.talkers import Talkers
from avzoo.training import TrainingArguments, train

FRAME_SIZE = 32
NUM_SPEAKERS = 2
LEARNING_RATE = 2e-3
CLIPS_PER_BATCH = 4
RUNS = {
    "without": {"talknce_weight": 0.0},
    "speaking frames": {"talknce_weight": 0.3, "nce_frames": "speaking"},
    "all frames": {"talknce_weight": 0.3, "nce_frames": "all"},
}
SIZES = {
    "embedding_size": 32,
    "trunk_channels": (8, 16, 24, 32),
    "num_temporal_layers": 2,
    "num_attention_heads": 4,
    "frame_size": FRAME_SIZE,
}


@dataclass(frozen=True)
class Job:
    """One training run."""

    name: str
    host: str
    seed: int
    steps: int
    weight: float
    output: Path
    data: Path


def processor_of(host: str) -> ActiveSpeakerProcessor:
    if host == "loconet":
        return ActiveSpeakerProcessor("log_mel", frame_size=FRAME_SIZE, num_bins=32, num_speakers=NUM_SPEAKERS)
    return ActiveSpeakerProcessor("mfcc", score="logit", frame_size=FRAME_SIZE, num_speakers=1)


def new_model(job: Job):
    torch.manual_seed(job.seed)
    fields = RUNS[job.name] | ({"talknce_weight": job.weight} if job.name != "without" else {})
    if job.host == "loconet":
        audio = {"audio_channels": (8, 16, 24, 32), "num_mel_bins": 32, "log_mel_mean": 9.0, "log_mel_std": 2.0}
        config = LoCoNetConfig(**SIZES, **audio, **fields, num_speakers=NUM_SPEAKERS, num_context_layers=1)
        return LoCoNetForActiveSpeakerDetection(config)
    audio = {"audio_channels": (8, 16, 24, 32), "audio_depths": (1, 1, 1, 1)}
    return TalkNetForActiveSpeakerDetection(TalkNetConfig(**SIZES, **audio, **fields))


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the network of the first seed that learned on speaking frames in `output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        data = prepare_data(scratch, options.host, options.toy_clips, options.toy_test_clips)
        note(f"{options.toy_clips} training clips rendered", begin)
        jobs = [
            Job(
                name,
                options.host,
                seed,
                options.toy_steps,
                options.talknce_weight,
                Path(scratch, f"{name}-{seed}"),
                data,
            )
            for seed in options.toy_seeds
            for name in RUNS
        ]
        results: dict[str, list[float]] = {name: [] for name in RUNS}
        for job, precision in run_jobs(run, jobs):
            note(f"{job.name}, seed {job.seed}: {precision:.1f}", begin)
            results[job.name].append(precision)
        chance = share_of_positives(data, options.host)
        save_shipped(output, Path(scratch, f"speaking frames-{options.toy_seeds[0]}"), options, results)
    print(table(results, chance))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


def prepare_data(folder: Path, host: str, num_clips: int, num_test_clips: int) -> Path:
    """Crops, features and labels of all clips in one file."""
    situation = ["conversation", "conversation", "single", "off_screen"]
    shared = {"seconds": 2.0, "size": [96, 192], "situation": situation, "mouthing": 0.8}
    parts = {
        "train": Talkers(num_clips, split="train", identities=[0, 72], **shared),
        "test": Talkers(num_test_clips, split="test", identities=[72, 96], **shared),
    }
    processor = processor_of(host)
    data = {name: [prepared(clip, processor) for clip in clips.iterate()] for name, clips in parts.items()}
    torch.save(data, folder / "clips.pt")
    return folder / "clips.pt"


def prepared(clip: dict, processor: ActiveSpeakerProcessor) -> dict[str, torch.Tensor]:
    """(faces, frames, size, size) crops as a detector's boxes would give them, (rows, bins) features, labels."""
    cut, faces = processor.convention, []
    for number, boxes in enumerate(clip["boxes"]):
        boxes = as_detected(boxes, clip["seed"] + number)
        faces.append([cut.cut(frame, box) for frame, box in zip(clip["frames"], cut.regions(boxes), strict=True)])
    return {
        "faces": torch.from_numpy(np.array(faces)),
        "features": processor.audio_rows(torch.from_numpy(clip["audio"]), len(clip["frames"])),
        "labels": torch.from_numpy(clip["speaking"].astype(np.int64)),
    }


class Targets(torch.utils.data.Dataset):
    """Every face of every clip once as the one that is scored, the others as its context."""

    def __init__(self, clips: list[dict], processor: ActiveSpeakerProcessor):
        self.clips, self.processor = clips, processor
        self.places = [(clip, face) for clip, content in enumerate(clips) for face in range(len(content["faces"]))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        number, target = self.places[index]
        clip = self.clips[number]
        faces = [target, *(face for face in range(len(clip["faces"])) if face != target)]
        order = [faces[place] for place in self.processor.fill_speakers(len(faces))]
        return {
            "pixel_values": clip["faces"][order],
            "input_features": clip["features"],
            "labels": clip["labels"][order],
        }


def share_of_positives(data: Path, host: str) -> float:
    """Average precision of scores that mean nothing, in percent."""
    targets = Targets(torch.load(data, weights_only=True)["test"], processor_of(host))
    return 100 * float(np.mean([float(target["labels"][0].double().mean()) for target in targets]))


def run(job: Job) -> float:
    """Train one network and test it, in a worker process: its average precision in percent."""
    logging.disable_progress_bar()
    data, processor = torch.load(job.data, weights_only=True), processor_of(job.host)
    model = new_model(job)
    arguments = TrainingArguments(
        output_dir=str(job.output),
        max_steps=job.steps,
        batch_size=CLIPS_PER_BATCH,
        drop_last=True,
        learning_rate=LEARNING_RATE,
        weight_decay=0.01,
        schedule="one_cycle",
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )
    train(model, Targets(data["train"], processor), arguments, batch_transform=augmented, processor=processor)
    scores, labels = tested(model, Targets(data["test"], processor))
    return ava_average_precision(scores, labels)


def augmented(batch: dict[str, torch.Tensor], step) -> dict[str, torch.Tensor]:
    """Clips mirrored, and faces of another brightness."""
    pixels, generator = batch["pixel_values"].float(), step.rank_generator
    mirror = torch.rand(len(pixels), generator=generator) < 0.5
    pixels = torch.where(mirror[:, None, None, None, None], pixels.flip(-1), pixels)
    gain = 0.8 + 0.4 * torch.rand(len(pixels), pixels.shape[1], 1, 1, 1, generator=generator)
    return {**batch, "pixel_values": (pixels * gain).clamp(0, 255)}


@torch.inference_mode()
def tested(model, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of every frame of every target, in one row each."""
    model.eval()
    scores, labels = [], []
    for batch in torch.utils.data.DataLoader(targets, batch_size=32):
        logits = model(batch["pixel_values"], batch["input_features"]).logits
        scores.append(logits[:, 0].softmax(-1)[..., 1].flatten())
        labels.append(batch["labels"][:, 0].flatten())
    return torch.cat(scores).double().numpy(), torch.cat(labels).numpy()


def table(results: dict[str, list[float]], chance: float) -> str:
    lines = [
        f"average precision of frames in percent; chance is {chance:.1f}",
        f"{'TalkNCE':<18}{'mean':>7}  seed by seed",
    ]
    for name, values in results.items():
        lines.append(f"{name:<18}{np.mean(values):7.1f}  " + " ".join(f"{value:.1f}" for value in values))
    without, speaking, everything = (np.array(results[name]) for name in RUNS)
    lines += [
        "",
        "speaking frames against without: " + " ".join(f"{gain:+.1f}" for gain in speaking - without),
        "speaking frames against all: " + " ".join(f"{gain:+.1f}" for gain in speaking - everything),
    ]
    return "\n".join(lines)


def save_shipped(output: Path, trained: Path, options: argparse.Namespace, results: dict[str, list[float]]) -> None:
    """Model, processor and card of one run, as one folder for `from_pretrained`."""
    for file in trained.glob("*.*"):
        if file.is_file():
            shutil.copyfile(file, output / file.name)
    measured = {
        f"average precision of frames, {options.toy_test_clips} synthetic test clips": (
            f"{results['speaking frames'][0]:.1f} %"
        ),
    }
    for name, values in results.items():
        kind = "without TalkNCE" if name == "without" else f"TalkNCE on {name}"
        measured[f"seed by seed, {kind}"] = ", ".join(f"{value:.1f} %" for value in values)
    save_card("talknce", output, measured)
