"""`avzoo demo`: what the methods do, seen on small things, with the toy checkpoints that ship.

One module per task, each with a function `demo(files, output, seed)` that prints what happens and returns the pictures
it drew. A task that gets no files brings its own.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

DEMOS = {
    "audio-classification": "audio_classification",
    "audio-visual-synchronization": "audio_visual_synchronization",
    "active-speaker-detection": "active_speaker_detection",
    "text-to-audio": "text_to_audio",
    "audio-visual-separation": "audio_visual_separation",
}


def run_demos(
    task: str | None = None, files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None
) -> list[Path]:
    """Run the demo of one task, or all of them.

    Args:
        task: one of `DEMOS`; None: all, each with its own files.
        files: what to run on.
        output: folder for what is written; made if it is not there.
        seed: of what a demo draws at random. None: another one each time, printed.

    Returns:
        The pictures.

    Raises:
        ValueError: files without a task. ImportError: a package of the extra `demo` is missing.
    """
    if files and task is None:
        raise ValueError("name the task that the files are for: avzoo demo TASK FILE ...")
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the demos draw with matplotlib: pip install 'avzoo[demo]'.") from error
    matplotlib.use("Agg")  # no window is needed
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    output.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name in DEMOS if task is None else (task,):
        module = importlib.import_module(f"{__name__}.{DEMOS[name]}")
        print(f"== {name}")
        pictures += module.demo(files, output, seed)
        print()
    return pictures
