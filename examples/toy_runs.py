"""What the `--toy` runs share: processes side by side, and lines that say how far it is."""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from avzoo.processes import available_cores


def worker_pool(num_jobs: int) -> ProcessPoolExecutor:
    """As many processes as there are jobs or cores, which share the cores."""
    cores = available_cores()
    workers = max(1, min(cores, num_jobs))
    context = multiprocessing.get_context("spawn")  # a forked child of a process that runs torch may hang
    return ProcessPoolExecutor(workers, context, set_up_worker, (max(1, cores // workers),))


def set_up_worker(num_threads: int) -> None:
    torch.set_num_threads(num_threads)


def note(text: str, begin: float) -> None:
    """A line on stderr, with the seconds since `begin`."""
    print(f"[{time.perf_counter() - begin:5.0f} s] {text}", file=sys.stderr, flush=True)
