"""FlexiAST's claim on synthetic sound events; `train_flexiast.py --toy` runs it.

A plain AST is trained at patch size 16, then trained on with random patch sizes (flexified). Two controls: the same
extra epochs at 16 only (for the first seed, to save time), and the plain AST with its kernel resized by plain
interpolation instead of PI. Every network is tested at all patch sizes on clips that share no seed with the training
clips.

The networks of different seeds do not depend on each other, so each is trained in a process of its own.
"""

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset
from toy.runs import note, open_output, save_card, worker_pool
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

from avzoo import FlexiASTConfig, FlexiASTFeatureExtractor, FlexiASTForAudioClassification
from avzoo.toyworld.sound_events import SOUND_EVENT_CLASSES
from avzoo.training import TrainingArguments, train

PATCH_SIZES = (8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48)
LEARNING_RATE = 5e-3


@dataclass(frozen=True)
class Job:
    """One training run: where it starts, at which sizes it trains, where it and the data lie."""

    name: str
    seed: int
    epochs: float
    flexible: bool
    start: Path  # folder of the model to start from
    output: Path
    data: Path


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the flexified model of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        data, extractor = prepare_data(scratch, options.toy_clips, options.toy_test_clips)
        note(f"{options.toy_clips} training clips rendered", begin)
        results = train_all(scratch, data, options, begin)
        report = summarise(results)
        trained = scratch / f"flexified-{options.toy_seeds[0]}"
        save_shipped(output, trained, extractor, results, options.toy_test_clips)
    print(table(results, report))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


def train_all(
    scratch: Path, data: Path, options: argparse.Namespace, begin: float
) -> dict[str, list[dict[str, float]]]:
    """{"plain", "flexified", ...: per seed {patch size: accuracy}}."""
    plain_epochs, flexible_epochs = options.toy_epochs
    first, second = [], []
    for seed in options.toy_seeds:
        start = new_model(scratch / f"new-{seed}", seed, *options.toy_width)
        plain = scratch / f"plain-{seed}"
        first.append(Job("plain", seed, plain_epochs, False, start, plain, data))
        if options.toy_controls and seed == options.toy_seeds[0]:
            second.append(Job("control", seed, flexible_epochs, False, plain, scratch / f"control-{seed}", data))
        second.append(Job("flexified", seed, flexible_epochs, True, plain, scratch / f"flexified-{seed}", data))

    results: dict[str, list[dict[str, float]]] = {}
    with worker_pool(len(second)) as pool:
        for jobs in (first, second):
            for job, accuracies in zip(jobs, pool.map(run, jobs), strict=True):
                note(f"{job.name}, seed {job.seed}: {accuracies['16']:.3f} at patch 16", begin)
                results.setdefault(job.name, []).append({k: v for k, v in accuracies.items() if k.isdigit()})
                if job.name == "plain":
                    interpolated = {k.removeprefix("bilinear "): v for k, v in accuracies.items() if " " in k}
                    results.setdefault("plain, bilinear", []).append(interpolated)
    return results


def new_model(folder: Path, seed: int, hidden_size: int, num_hidden_layers: int) -> Path:
    """A small random AST."""
    torch.manual_seed(seed)
    config = FlexiASTConfig(
        **network_sizes(hidden_size, num_hidden_layers),
        **LABELS,
        position_grid=(128 // 16, NUM_FRAMES // 16),
        patch_sizes=list(PATCH_SIZES),
    )
    model = FlexiASTForAudioClassification(config)
    make_positions_stand_out(model)
    model.save_pretrained(folder)
    return folder


def run(job: Job) -> dict[str, float]:
    """Train one network and test it at every patch size; runs in a worker process."""
    logging.disable_progress_bar()
    data = torch.load(job.data, weights_only=True)
    model = FlexiASTForAudioClassification.from_pretrained(job.start)

    def loss(model, batch, step):
        features, labels = batch
        return model(features, labels=labels, generator=step.generator if job.flexible else None).loss

    arguments = TrainingArguments(
        output_dir=str(job.output),
        num_epochs=job.epochs,
        batch_size=16,
        drop_last=True,
        optimizer="muon",
        learning_rate=LEARNING_RATE,
        weight_decay=0.05,
        adam_beta2=0.98,
        schedule="one_cycle",
        warmup_steps=60,
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )
    train(model, TensorDataset(*data["train"]), arguments, compute_loss=loss, batch_transform=augmented)
    accuracies = test(model, *data["test"])
    if job.name == "plain":
        model.flexiast.embeddings.patch_embeddings.resize_method = "bilinear"
        accuracies |= {f"bilinear {size}": value for size, value in test(model, *data["test"]).items()}
    return accuracies


def augmented(batch, step):
    features, labels = batch
    return augment(features, step.rank_generator), labels


@torch.inference_mode()
def test(model, features: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """{patch size: accuracy}."""
    model.eval()
    return {
        str(size): float(
            torch.cat([model(part, size).logits.argmax(-1) for part in batches(features, 50)])
            .eq(labels)
            .double()
            .mean()
        )
        for size in PATCH_SIZES
    }


def mean_of_others(accuracies: dict[str, float]) -> float:
    return float(np.mean([value for size, value in accuracies.items() if size != "16"]))


def summarise(results: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """What the claim is about, averaged over seeds, and its worst seed."""
    rises = [
        mean_of_others(after) - mean_of_others(before)
        for before, after in zip(results["plain"], results["flexified"], strict=True)
    ]
    changes = [after["16"] - before["16"] for before, after in zip(results["plain"], results["flexified"], strict=True)]
    return {
        "rise": float(np.mean(rises)),
        "worst rise": min(rises),
        "change at 16": float(np.mean(changes)),
        "worst change at 16": min(changes),
    }


def table(results: dict[str, list[dict[str, float]]], report: dict[str, float]) -> str:
    lines = [
        f"accuracy by patch size, mean over seeds; chance is {1 / len(SOUND_EVENT_CLASSES):.2f}",
        f"{'':<16}" + "".join(f"{size:>6}" for size in PATCH_SIZES) + "  all but 16, seed by seed",
    ]
    for name in ("plain", "plain, bilinear", "control", "flexified"):
        if name in results:
            means = [np.mean([seed[str(size)] for seed in results[name]]) for size in PATCH_SIZES]
            others = " ".join(f"{mean_of_others(seed):.3f}" for seed in results[name])
            lines.append(f"{name:<16}" + "".join(f"{value:6.3f}" for value in means) + f"  {others}")
    return "\n".join(
        [
            *lines,
            "",
            f"sizes other than 16 rise by {report['rise']:+.3f} (worst seed {report['worst rise']:+.3f}), "
            f"size 16 changes by {report['change at 16']:+.3f} (worst seed {report['worst change at 16']:+.3f})",
        ]
    )


def save_shipped(
    output: Path,
    trained: Path,
    extractor: FlexiASTFeatureExtractor,
    results: dict[str, list[dict[str, float]]],
    num_test_clips: int,
) -> None:
    """Model, extractor and card of the first seed, as one folder for `from_pretrained`."""
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(trained / file, output / file)
    extractor.save_pretrained(output)
    plain, flexified = results["plain"][0], results["flexified"][0]
    measured = {
        f"accuracy at patch 16, {num_test_clips} synthetic test clips": f"{flexified['16']:.3f}",
        "mean accuracy at the ten other sizes": f"{mean_of_others(flexified):.3f}",
        "the same for the plain AST it was made from": f"{mean_of_others(plain):.3f} ({plain['16']:.3f} at 16)",
    }
    save_card("flexiast", output, measured)
