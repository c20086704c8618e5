"""What the `--toy` runs share: processes side by side, lines that say how far it is, and faces as they are found."""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

from avzoo.processes import count_available_cores


def worker_pool(num_jobs: int) -> ProcessPoolExecutor:
    """As many processes as there are jobs or cores, which share the cores."""
    cores = count_available_cores()
    workers = max(1, min(cores, num_jobs))
    context = multiprocessing.get_context("spawn")  # a forked child of a process that runs torch may hang
    return ProcessPoolExecutor(workers, context, set_up_worker, (max(1, cores // workers),))


def set_up_worker(num_threads: int) -> None:
    torch.set_num_threads(num_threads)


def note(text: str, begin: float) -> None:
    """A line on stderr, with the seconds since `begin`."""
    print(f"[{time.perf_counter() - begin:5.0f} s] {text}", file=sys.stderr, flush=True)


def as_detected(boxes: np.ndarray, seed: int) -> np.ndarray:
    """The true boxes (frames, 4) as a detector might have them: a little off, and trembling."""
    generator = np.random.default_rng([0xB0, seed])
    side = (boxes[:, 2:] - boxes[:, :2]).mean()
    return boxes + side * (generator.normal(0, 0.03, (1, 4)) + generator.normal(0, 0.008, boxes.shape))
