"""Coarse-to-fine training's claim on synthetic sound events; `train_coarse_to_fine_ast.py --toy` runs it.

From the same random weights, an AST is trained straight, at full resolution, and in phases by each of the three
compressions; and straight again, on the budget of those, as the control. FLOPs are counted, of all phases and of
the evaluation at full resolution; seconds are those of training, in processes of one thread. Test clips share no seed
with the training clips.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset
from toy.runs import note, open_output, run_jobs, save_card
from toy.sound_events import (
    LABELS,
    NUM_FRAMES,
    augment,
    batches,
    make_positions_stand_out,
    network_sizes,
    prepare_data,
)
from transformers.utils import logging

from avzoo import (
    CoarseToFineASTConfig,
    CoarseToFineASTFeatureExtractor,
    CoarseToFineASTForAudioClassification,
    Phase,
    PhaseSchedule,
    train_in_phases,
)
from avzoo.training import TrainingArguments
from avzoo.training.flops import flop_counter

LEARNING_RATE = 3e-3
BATCH_SIZE = 16
METHODS = ("frame_shift", "pooling", "patchify")
# (factor, epochs as a part of those of straight training)
PHASES = ((4, 0.65), (2, 0.325), (1, 0.285))
CONTROL = 0.65  # of the epochs of straight training: not less than any of the phased runs costs


@dataclass(frozen=True)
class Job:
    """One training run: its name, its phases as (factor, epochs), where it and the data lie."""

    name: str
    seed: int
    phases: tuple[tuple[float, float], ...]
    width: tuple[int, int]
    output: Path
    data: Path


def show_claim(options: argparse.Namespace) -> None:
    """Train, test, print and draw; save the AST of the first seed that pooling trained in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        data, extractor = prepare_data(scratch, options.toy_clips, options.toy_test_clips)
        note(f"{options.toy_clips} training clips rendered", begin)
        results: dict[str, list[dict]] = {}
        jobs = plan(options, scratch, data)
        for job, result in run_jobs(run, jobs):
            note(f"{job.name}, seed {job.seed}: {result['accuracy']:.3f}", begin)
            results.setdefault(job.name, []).append(result)
        save_shipped(output, scratch / f"pooling-{options.toy_seeds[0]}", extractor, results, options.toy_test_clips)
    (output / "curves.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    draw(results, output / "accuracy_against_flops.png")
    print(table(results))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model and picture saved in {output}")


def plan(options: argparse.Namespace, scratch: Path, data: Path) -> list[Job]:
    """The runs of all seeds, the longest first, so that the cores finish together."""
    straight = options.toy_epochs
    phases = tuple((factor, part * straight) for factor, part in PHASES)
    runs = {"straight": ((1, straight),)} | dict.fromkeys(METHODS, phases) | {"control": ((1, CONTROL * straight),)}
    return [
        Job(name, seed, phases, tuple(options.toy_width), scratch / f"{name}-{seed}", data)
        for name, phases in runs.items()
        for seed in options.toy_seeds
    ]


def new_model(job: Job) -> CoarseToFineASTForAudioClassification:
    """A small random AST, the same for all runs of a seed."""
    torch.manual_seed(job.seed)
    model = CoarseToFineASTForAudioClassification(
        CoarseToFineASTConfig(
            **network_sizes(*job.width),
            **LABELS,
            max_length=NUM_FRAMES,
            temporal_compression=job.name if job.name in METHODS else "pooling",
        )
    )
    make_positions_stand_out(model)
    return model


def run(job: Job) -> dict:
    """Train one network and test it; runs in a worker process.

    Returns:
        accuracy, flops and seconds of training, and the curve: (flops so far, accuracy at the phase's resolution).
    """
    logging.disable_progress_bar()
    data = torch.load(job.data, weights_only=True)
    model = new_model(job)
    arguments = TrainingArguments(
        output_dir=str(job.output),
        batch_size=BATCH_SIZE,
        drop_last=True,
        learning_rate=LEARNING_RATE,
        weight_decay=0.05,
        adam_beta2=0.98,
        seed=job.seed,
        evaluate_every_epochs=1,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
        print_metrics=False,
    )
    schedule = PhaseSchedule(
        [Phase(compression_factor=factor, num_epochs=epochs, schedule="one_cycle") for factor, epochs in job.phases]
    )

    def loss(model, batch, step):
        features, labels = batch
        return model(features, labels=labels, full_resolution=True).loss

    def augmented(batch, step, phase):
        features, labels = batch
        return augment(features, step.rank_generator), labels

    result = train_in_phases(
        model,
        TensorDataset(*data["train"]),
        arguments,
        schedule,
        compute_loss=loss,
        batch_transform=augmented,
        evaluate=lambda model, accelerator: {"accuracy": test(model, *data["test"])},
    )
    with flop_counter() as counter:
        accuracy = test(model, *data["test"])
    curve, done = [], 0.0
    for phase in result.phases:
        curve += [(done + phase.flops * at["step"] / phase.steps, at["accuracy"]) for at in phase.evaluations]
        done += phase.flops
    return {
        "accuracy": accuracy,
        "flops": result.flops + counter.get_total_flops(),
        "seconds": result.seconds,
        "curve": curve,
    }


@torch.no_grad()
def test(model, features: torch.Tensor, labels: torch.Tensor) -> float:
    """Accuracy at the resolution of the phase."""
    model.eval()
    predicted = [model(part, full_resolution=True).logits.argmax(-1) for part in batches(features, 50)]
    return float(torch.cat(predicted).eq(labels).double().mean())


def column(results: dict[str, list[dict]], name: str, what: str) -> np.ndarray:
    return np.array([result[what] for result in results[name]])


def table(results: dict[str, list[dict]]) -> str:
    """Means over seeds beside straight training, and accuracy seed by seed."""
    lines = [
        f"mean over seeds; chance is {1 / len(LABELS['id2label']):.2f}",
        f"{'':<12}{'GFLOPs':>8}{'less':>7}{'seconds':>9}{'less':>7}{'accuracy':>10}{'difference':>12}  seed by seed",
    ]
    straight = {what: column(results, "straight", what) for what in ("flops", "seconds", "accuracy")}
    for name in results:
        flops, seconds, accuracy = (column(results, name, what) for what in ("flops", "seconds", "accuracy"))
        lines.append(
            f"{name:<12}{flops.mean() / 1e9:8.0f}{1 - flops.mean() / straight['flops'].mean():7.1%}"
            f"{seconds.mean():9.0f}{1 - seconds.mean() / straight['seconds'].mean():7.1%}{accuracy.mean():10.3f}"
            f"{(accuracy - straight['accuracy']).mean():+12.3f}  " + " ".join(f"{value:.3f}" for value in accuracy)
        )
    return "\n".join(lines)


def draw(results: dict[str, list[dict]], picture: Path) -> None:
    """Accuracy at each phase's own resolution against FLOPs, a line per run and a dot at its end."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not installed (pip install matplotlib)", file=sys.stderr)
        return
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.5), sharey=True, layout="constrained")
    for axis, method in zip(axes, METHODS, strict=True):
        for name, color in (("straight", "tab:gray"), ("control", "tab:orange"), (method, "tab:blue")):
            for number, result in enumerate(results[name]):
                flops, accuracy = zip(*result["curve"], strict=True)
                label = name if number == 0 else None
                axis.plot(np.array(flops) / 1e9, accuracy, color=color, alpha=0.7, label=label)
                axis.plot(flops[-1] / 1e9, accuracy[-1], "o", color=color)
        axis.set(title=method, xlabel="GFLOPs of training")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_ylabel("accuracy at the phase's resolution")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def save_shipped(output: Path, trained: Path, features, results: dict[str, list[dict]], num_test_clips: int) -> None:
    """Model, extractor and card of one run, as one folder for `from_pretrained`."""
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(trained / file, output / file)
    CoarseToFineASTFeatureExtractor(
        max_length=features.max_length, mean=features.mean, std=features.std, channels=features.channels
    ).save_pretrained(output)
    measured = {
        f"accuracy, {num_test_clips} synthetic test clips": f"{results['pooling'][0]['accuracy']:.3f}",
        "the same by straight training": f"{results['straight'][0]['accuracy']:.3f}",
        "training FLOPs against straight training": (
            f"{results['pooling'][0]['flops'] / results['straight'][0]['flops']:.2f}"
        ),
    }
    save_card("coarse_to_fine_ast", output, measured)
