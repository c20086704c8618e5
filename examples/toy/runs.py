"""What the `--toy` runs share: processes side by side, lines that say how far it is, and faces as they are found."""

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from avzoo.files import give_umask_modes
from avzoo.model_cards import render_card
from avzoo.processes import count_available_cores

Job, Result = TypeVar("Job"), TypeVar("Result")


def worker_pool(num_jobs: int) -> ProcessPoolExecutor:
    """As many processes as there are jobs or cores, which share the cores."""
    cores = count_available_cores()
    workers = max(1, min(cores, num_jobs))
    context = multiprocessing.get_context("spawn")  # a forked child of a process that runs torch may hang
    return ProcessPoolExecutor(workers, context, set_up_worker, (max(1, cores // workers),))


def set_up_worker(num_threads: int) -> None:
    torch.set_num_threads(num_threads)


def run_jobs(run: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
    """Run the jobs side by side, and yield each with its result, in their order."""
    with worker_pool(len(jobs)) as pool:
        yield from zip(jobs, pool.map(run, jobs), strict=True)


@contextmanager
def open_output(output_dir: str) -> Iterator[tuple[Path, Path]]:
    """The output folder, created, and a folder in it for intermediate files, removed at the end."""
    logging.disable_progress_bar()
    output = Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".toy-") as scratch:
        yield output, Path(scratch)
    for weights in output.rglob("*.safetensors"):  # which the library makes for their owner alone
        give_umask_modes(weights)


def save_card(method: str, output: Path, measured: dict[str, str], command: str | None = None) -> None:
    """Write the card of a toy checkpoint with its measured numbers and the command that repeats them."""
    command = command or f"python examples/train_{method}.py {' '.join(sys.argv[1:])}"
    source = {"variant": "toy", "command": command, "results": measured}
    render_card(method, source=source).save(output / "README.md")


def save_in_half(model: PreTrainedModel, folder: Path) -> None:
    """Save in float16; loaded, the model is float32 again."""
    model.half().save_pretrained(folder)
    model.float()
    path = folder / "config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["dtype"] = "float32"
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def note(text: str, begin: float) -> None:
    """A line on stderr, with the seconds since `begin`."""
    print(f"[{time.perf_counter() - begin:5.0f} s] {text}", file=sys.stderr, flush=True)


def as_detected(boxes: np.ndarray, seed: int) -> np.ndarray:
    """The true boxes (frames, 4) as a detector might have them: a little off, and trembling."""
    generator = np.random.default_rng([0xB0, seed])
    side = (boxes[:, 2:] - boxes[:, :2]).mean()
    return boxes + side * (generator.normal(0, 0.03, (1, 4)) + generator.normal(0, 0.008, boxes.shape))
