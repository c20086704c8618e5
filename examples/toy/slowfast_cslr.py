"""The claim of SlowFastSign on shapes that swing too fast for one pathway; `train_slowfast_cslr.py --toy` runs it.

Two frame rates together beat the slow pathway alone, because what moves fast is lost in every fourth frame. A gloss of
`avzoo.toyworld.rapid_signs` is a shape and a swing of exactly four frames; sentences have one to three. A network of
one block per stage learns them from scratch in 300 steps, by all losses of the method, as

| row | network |
|---|---|
| both pathways | as it is |
| slow only | nothing is fused (the gates stay 0), and what the fast pathway gives is set to 0 |
| fast only | likewise, the slow pathway's is set to 0 |

Each seed has sentences and first weights of its own, which its rows share. Sentences are of one gloss for the first
30 % of the steps, of up to two until half of them, then of up to three: without that, the network may answer nothing
but blanks. Scored is the word error rate of 96 other sentences, read by the best class of each step.

Every second gloss is told apart from its twin by the slow pathway alone, and the other has to be guessed, so that a
quarter of the glosses stay wrong however long it learns. What the fast pathway alone gives is printed, too: shapes are
so easy here that it can do without the slow one, so this does not show that both are needed. Nor does it show the gain
by the auxiliary heads, which is tenths of a point in the paper; only that they cost nothing afterwards.

The network of the first seed with both pathways is saved. What ships as the toy checkpoint is another, which reads a
drawn person: `sign_reader.py`.
"""

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from toy.runs import note, open_output, run_jobs, save_card
from transformers.utils import logging

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.metrics.sign_glosses import word_error_rate
from avzoo.toyworld.rapid_signs import RAPID_GLOSSES, RapidSigns
from avzoo.toyworld.worlds import World
from avzoo.training import TrainingArguments, train

PATHWAYS = ("both pathways", "slow only", "fast only")
SIZE = 20  # pixels
STEPS = 300
NUM_TEST_CLIPS = 96
BATCH_SIZE = 8
LEARNING_RATE, WARMUP_STEPS = 3e-3, 30
LONGER_FROM = (0.3, 0.5)  # parts of the steps after which sentences of up to two, and of up to three, are seen
SHOWN_STEPS = (150, 225)  # at which the error is measured on the way
MOST, LEAST = 5.0, 20.0  # bounds of the claim: error of both pathways, and of the slow one alone
NETWORK = {
    "depths": (1, 1, 1, 1),
    "temporal_blocks": (1, 1, 1, 1),
    "width": 8,
    "beta_inverse": 2,
    "hidden_size": 96,
    "distillation_weight": 1.0,
}
TIMED_CLIPS, TIMED_ROUNDS = 8, 20


@dataclass(frozen=True)
class Job:
    """One training run."""

    pathways: str
    seed: int
    output: Path


@dataclass(frozen=True)
class Result:
    """What a network can do.

    Args:
        error: word error rate, percent.
        on_the_way: the same after each of `SHOWN_STEPS`.
        seconds: of processor time, in training.
    """

    error: float
    on_the_way: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Cost:
    """What inference takes.

    Args:
        stored: parameters of the network.
        used: those that the answer depends on.
        seconds: of a batch of clips, the median.
    """

    stored: int
    used: int
    seconds: float


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the network with both pathways of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        jobs = [Job(name, seed, scratch / f"{name}-{seed}") for seed in options.toy_seeds for name in PATHWAYS]
        results: dict[str, list[Result]] = {name: [] for name in PATHWAYS}
        for job, result in run_jobs(run, jobs):
            note(f"{job.pathways}, seed {job.seed}: word error rate {result.error:.1f} %", begin)
            results[job.pathways].append(result)
        costs = compare_costs(jobs[0].output)
        save_shipped(output, jobs[0].output, results)
    print(table(results, costs))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


# ---------------------------------------------------------------------------------------------------------- sentences


class Curriculum(torch.utils.data.Dataset):
    """Sentences in the order of training, the short ones first; each is seen once.

    Args:
        make_world: (number of clips, glosses of each) -> their world.
        num_clips: in all.
        longer_from: parts of them after which sentences may have one gloss more.
        seed: of the lengths.
    """

    def __init__(
        self, make_world: Callable[[int, int], World], num_clips: int, longer_from: Sequence[float], seed: int
    ):
        most = 1 + np.searchsorted(np.asarray(longer_from) * num_clips, np.arange(num_clips), side="right")
        self.lengths = np.random.default_rng([seed, 0x51]).integers(1, most + 1)
        counts = range(1, len(longer_from) + 2)
        self.worlds = {count: make_world(int((self.lengths == count).sum()), count) for count in counts}
        self.places = np.empty(num_clips, int)  # of each clip in its world
        for count in counts:
            self.places[self.lengths == count] = np.arange(len(self.worlds[count]))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.worlds[int(self.lengths[index])][int(self.places[index])]


class Collator:
    """Clips to what the network is given, by its processor."""

    def __init__(self, processor: SlowFastSignProcessor):
        self.processor = processor

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [" ".join(clip["glosses"]) for clip in clips]
        return dict(self.processor(videos=[clip["frames"] for clip in clips], text=texts))


# ----------------------------------------------------------------------------------------------------------- networks


def run(job: Job) -> Result:
    """Train one network and test it, in a worker process."""
    logging.disable_progress_bar()
    torch.manual_seed(job.seed)  # the rows of a seed begin with the same weights
    processor = SlowFastSignProcessor(RAPID_GLOSSES, resize_size=SIZE, crop_size=SIZE)
    network = SlowFastSignForCTC(SlowFastSignConfig(**NETWORK, vocab_size=processor.num_classes))
    restrict(network, job.pathways)

    def make_world(num_clips: int, num_glosses: int) -> RapidSigns:
        return RapidSigns(num_clips, job.seed, split=f"train-{num_glosses}", size=SIZE, num_glosses=num_glosses)

    clips = Curriculum(make_world, STEPS * BATCH_SIZE, LONGER_FROM, job.seed)
    test = list(RapidSigns(NUM_TEST_CLIPS, job.seed, split="test", size=SIZE))
    begin = time.process_time()

    def evaluate(network: SlowFastSignForCTC, accelerator) -> dict[str, float]:
        return {"word error rate": score(network, processor, test)}

    result = fit(network, clips, processor, job.seed, str(job.output), evaluate)
    errors = {entry["step"]: entry["word error rate"] for entry in result.evaluations}
    on_the_way = tuple(errors.get(step, np.nan) for step in SHOWN_STEPS)
    return Result(result.metrics["word error rate"], on_the_way, time.process_time() - begin)


def restrict(network: SlowFastSignForCTC, pathways: str) -> None:
    """Leave the network one pathway: the other neither sends nor is heard."""
    if pathways == PATHWAYS[0]:
        return
    for fusion in network.slowfast.pathways.fusions:
        fusion.slow_gate.requires_grad_(False)  # they begin at 0
        fusion.fast_gate.requires_grad_(False)
    config = network.config
    kept = torch.ones(config.slow_size + config.fast_size)
    kept[slice(config.slow_size, None) if pathways == "slow only" else slice(config.slow_size)] = 0
    network.slowfast.pathways.register_forward_hook(lambda module, inputs, features: features * kept)


def fit(
    network: SlowFastSignForCTC,
    clips: torch.utils.data.Dataset,
    processor: SlowFastSignProcessor,
    seed: int,
    output: str,
    evaluate: Callable,
):
    """Train on the clips in their order."""
    arguments = TrainingArguments(
        output_dir=output,
        num_epochs=1,
        batch_size=BATCH_SIZE,
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_STEPS,
        schedule="cosine",
        max_gradient_norm=5.0,
        shuffle=False,
        evaluate_every_steps=75,
        seed=seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
        print_metrics=False,
    )
    return train(network, clips, arguments, data_collator=Collator(processor), evaluate=evaluate, processor=processor)


@torch.inference_mode()
def score(network: SlowFastSignForCTC, processor: SlowFastSignProcessor, clips: Sequence[dict[str, Any]]) -> float:
    """Word error rate in percent, of the best class of each step."""
    read = []
    for first in range(0, len(clips), 16):
        frames = [clip["frames"] for clip in clips[first : first + 16]]
        output = network(**processor(videos=frames))
        answers = processor.batch_decode(output.logits, output.lengths, num_beams=1)
        read += [processor.spell(best.ids) for best, *_ in answers]
    return word_error_rate([clip["glosses"] for clip in clips], read).value


# -------------------------------------------------------------------------------------------------------------- costs


def compare_costs(folder: Path) -> dict[str, Cost]:
    """The same network with its auxiliary heads and without, on the same clips."""
    processor = SlowFastSignProcessor.from_pretrained(folder)
    whole = SlowFastSignForCTC.from_pretrained(folder)
    networks = {"with auxiliary heads": whole, "without": whole.without_auxiliary()}
    frames = [clip["frames"] for clip in RapidSigns(TIMED_CLIPS, split="timed", size=SIZE, num_glosses=3)]
    inputs = processor(videos=frames)
    used = {name: count_used(network, inputs) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for _ in range(TIMED_ROUNDS):  # in turns, so that whatever else the machine does is shared
            for name, network in networks.items():
                start = time.process_time()
                network(**inputs)
                seconds[name].append(time.process_time() - start)
    return {
        name: Cost(sum(map(torch.numel, network.parameters())), used[name], statistics.median(seconds[name]))
        for name, network in networks.items()
    }


def count_used(network: SlowFastSignForCTC, inputs: dict[str, torch.Tensor]) -> int:
    """Parameters that the answer depends on: those that get a gradient from it."""
    network.eval().zero_grad()
    network(**inputs).logits.sum().backward()
    return sum(value.numel() for value in network.parameters() if value.grad is not None)


# ------------------------------------------------------------------------------------------------------------ results


def table(results: dict[str, list[Result]], costs: dict[str, Cost]) -> str:
    """The claim seed by seed, its bounds, and what the auxiliary heads cost."""
    lines = [
        f"word error rate in percent of {NUM_TEST_CLIPS} synthetic sentences after {STEPS} steps, mean and by seed;",
        f"after {' and '.join(map(str, SHOWN_STEPS))} steps; seconds of a core, in training",
        "",
        f"{'network':<16}{'mean':>6}  {'seed by seed':<20}{'on the way':<32}{'core s':>6}",
    ]
    for name, rows in results.items():
        errors = " ".join(f"{row.error:.1f}" for row in rows)
        ways = " ".join("/".join(f"{error:.1f}" for error in row.on_the_way) for row in rows)
        mean, seconds = np.mean([row.error for row in rows]), np.mean([row.seconds for row in rows])
        lines.append(f"{name:<16}{mean:6.1f}  {errors:<20}{ways:<32}{seconds:6.0f}")
    lines += ["", *judge(results), "", f"{'inference':<24}{'parameters':>12}{'used':>12}{'ms per clip':>13}"]
    for name, cost in costs.items():
        lines.append(f"{name:<24}{cost.stored:>12,}{cost.used:>12,}{1000 * cost.seconds / TIMED_CLIPS:>13.2f}")
    return "\n".join(lines)


def judge(results: dict[str, list[Result]]) -> list[str]:
    """What the claim says, and whether it holds."""
    worst = max(row.error for row in results["both pathways"])
    best = min(row.error for row in results["slow only"])
    return [
        f"{say_verdict(worst - MOST)}: both pathways err in {worst:.1f} % or less, at most {MOST:g} % in each seed",
        f"{say_verdict(LEAST - best)}: the slow one alone in {best:.1f} % or more, at least {LEAST:g} % in each seed",
    ]


def say_verdict(missed: float) -> str:
    return "holds" if missed <= 0 else f"missed by {missed:.1f}"


def save_shipped(output: Path, trained: Path, results: dict[str, list[Result]]) -> None:
    """Model, processor and card of one run, as one folder for `from_pretrained`."""
    for file in trained.glob("*.*"):
        if file.is_file():
            shutil.copyfile(file, output / file.name)
    measured = {}
    for name, rows in results.items():
        errors = ", ".join(f"{row.error:.1f} %" for row in rows)
        measured[f"word error rate of {NUM_TEST_CLIPS} synthetic sentences, seed by seed, {name}"] = errors
    save_card("slowfast_cslr", output, measured)
