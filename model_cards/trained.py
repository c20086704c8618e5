"""The card of a model that was trained on a user's data, with what the run measured."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from avzoo.model_cards import render_card
from avzoo.training import TrainingResult


def write_trained_card(
    results: Mapping[str, str],
    *,
    method: str,
    output_dir: str | Path,
    data: str,
    started_from: str | None = None,
    repository: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write `output_dir/README.md`: the method's card with the numbers of a run, and the command that was called.

    Args:
        results: {quantity: value}, see [`list_results`].
        method: of the zoo.
        data: what it was trained and evaluated on, a sentence without its full stop.
        started_from: folder, file or Hub id of the model that training began from.
        repository: that the examples load. None: `output_dir`.
        facts: further values that the method's template takes.
    """
    source = {
        "variant": "trained",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "data": data,
        "started_from": started_from,
        "results": results,
        **(facts or {}),
    }
    folder = str(output_dir) if os.path.isabs(output_dir) else os.path.join(".", output_dir)
    render_card(method, source=source, model_folder=repository or folder).save(Path(output_dir) / "README.md")


def list_results(result: TrainingResult) -> dict[str, str]:
    """{quantity: value as text} of the last evaluation and, where another was better, of the best."""
    place = f"after {result.steps} steps, {result.epochs:.4g} epochs"
    results = {f"{name}, {place}": f"{value:.4g}" for name, value in result.metrics.items()}
    if result.best_metrics != result.metrics:
        results |= {f"{name}, of `best/`": f"{value:.4g}" for name, value in result.best_metrics.items()}
    if result.train_loss:
        results[f"loss in training, {place}"] = f"{result.train_loss[-1][1]:.4g}"
    return results


__all__ = ["list_results", "write_trained_card"]
