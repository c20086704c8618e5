"""`avzoo demo`: what the methods do, seen on small things, with the toy checkpoints that ship.

Each task's folder has a module `demo` with a function `demo(files, output, seed)` that prints what happens and returns
the pictures it drew. A task that gets no files brings its own.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from avzoo import zoo
from avzoo.files import fill_folder


def list_demos() -> dict[str, str]:
    """Task -> module of its demo, in the order in which all of them run."""
    return {name: f"avzoo.{task.demo}" for name, task in zoo.list_tasks().items() if task.demo is not None}


def run_demos(
    task: str | None = None, files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None
) -> list[Path]:
    """Run the demo of one task, or all of them.

    Args:
        task: one of [`list_demos`]; None: all, each with its own files.
        files: what to run on.
        output: folder for what is written; made if it is not there.
        seed: of what a demo draws at random. None: another one each time, printed.

    Returns:
        The pictures.

    Raises:
        ValueError: files without a task. BlockingIOError: another process is filling `output`.
        ImportError: a package of the extra `demo` is missing.
    """
    if files and task is None:
        raise ValueError("name the task that the files are for: avzoo demo TASK FILE ...")
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the demos draw with matplotlib: pip install matplotlib.") from error
    matplotlib.use("Agg")  # no window is needed
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pictures = []
    demos = list_demos()
    with fill_folder(output):
        for name in demos if task is None else (task,):
            module = importlib.import_module(demos[name])
            print(f"== {name}")
            pictures += module.demo(files, output, seed)
            print()
    return pictures
