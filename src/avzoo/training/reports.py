"""What a run leaves for its reader beside the model.

metrics.jsonl             a row per logged mean and per evaluation
training_arguments.json   {"arguments": of the loop, "options": of the script}

{"step": 20, "epoch": 1.0, "split": "train", "loss": 0.41, "learning_rate": 0.0001}
{"step": 20, "epoch": 1.0, "split": "evaluation", "accuracy": 0.75}
"""

import json
import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

ARGUMENTS_FILE = "training_arguments.json"
METRICS_FILE = "metrics.jsonl"


class MetricsFile:
    """`metrics.jsonl` of a run, to which rows are appended; a killed process loses none but the one it was writing.

    Args:
        folder: of the run.
        known: (split, step) of the rows that the run resumes with. All others are removed: what came after the
            checkpoint comes again.
    """

    def __init__(self, folder: Path, known: Collection[tuple[str, int]] = ()):
        self.path = folder / METRICS_FILE
        kept = [row for row in read_metrics(folder) if (row["split"], row["step"]) in known]
        replace_text(self.path, "".join(map(_format_row, kept)))

    def add(self, step: int, epoch: float, split: str, values: Mapping[str, float]) -> None:
        """Append a row; a value that is not finite is null."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_format_row({"step": step, "epoch": round(epoch, 6), "split": split, **finite}))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` in a folder, without a last one that was cut short; none if there is no such file."""
    path = folder / METRICS_FILE
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _format_row(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def print_evaluation(step: int, epoch: float, metrics: Mapping[str, float], is_best: bool) -> None:
    """Print one line on stderr, above the progress bar if there is one."""
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    tqdm.write(f"step {step} (epoch {epoch:.4g}): {numbers}{' (best so far)' if is_best else ''}", file=sys.stderr)


def print_resumption(folder: Path, step: int, total_steps: int) -> None:
    """Print on stderr which checkpoint a run goes on from."""
    tqdm.write(f"resuming from {folder}, step {step} of {total_steps}", file=sys.stderr)


def save_arguments(folder: Path, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Write `training_arguments.json`."""
    content = {"arguments": arguments, "options": options}
    replace_text(folder / ARGUMENTS_FILE, json.dumps(content, indent=2, default=str) + "\n")


def read_arguments(folder: Path) -> dict[str, dict[str, Any]]:
    """`training_arguments.json` of a folder: {"arguments", "options"}."""
    return json.loads((folder / ARGUMENTS_FILE).read_text(encoding="utf-8"))


def replace_text(path: Path, text: str) -> None:
    """Write a file that is either the old or the new one, whenever the process is killed."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
