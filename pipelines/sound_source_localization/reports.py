"""The report of an evaluation of sound source localization."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.data.lists import PathLike
from avzoo.files import write_atomically
from avzoo.pipelines.sound_source_localization.test_sets import PROTOCOLS

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class LocalizationReport:
    """What an evaluation found. Scores are parts from 0 to 1.

    Args:
        dataset: its name in `PROTOCOLS`.
        options: upsampling and weight of the map against objectness.
        num_listed, num_evaluated: samples of the list, and of those the ones whose files could be read.
        missing, damaged: names of the others. `damaged` maps to the reason.
        scores: {row: {score: number}}; the rows are the model, with objectness if it has that, "centre prior" and
            "oracle".
        ious: {row: (num_evaluated,)}, by the fixed and, under "<row>, adaptive", by the adaptive threshold.
        names: (num_evaluated,).
        notes: what the reader of the numbers should know.
        at_thresholds: {threshold: {score: number}} of the model's maps as they are, where that was asked for.
    """

    dataset: str
    options: dict[str, Any]
    num_listed: int
    num_evaluated: int
    missing: list[str]
    damaged: dict[str, str]
    scores: dict[str, dict[str, float]]
    names: list[str]
    ious: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)
    at_thresholds: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the IoUs of samples, as JSON can hold it."""
        left_out = ("names", "ious")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def save(self, path: PathLike) -> Path:
        """Write a JSON file atomically: [`to_dict`], and the IoUs of each sample under `samples`."""
        columns = {"name": self.names} | {
            row: [round(float(iou), 6) for iou in ious] for row, ious in self.ious.items()
        }
        samples = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        with write_atomically(path) as unfinished:
            unfinished.write_text(json.dumps(self.to_dict() | {"samples": samples}, indent=1), encoding="utf-8")
        return Path(path)

    def describe(self) -> str:
        """The report as a table in percent, to print."""
        title = PROTOCOLS[self.dataset].title
        lines = [f"{title}: {self.num_evaluated} of {self.num_listed} samples, {self.options['upsampling']} upsampling"]
        for what, names in (("missing", self.missing), ("damaged", list(self.damaged))):
            if names:
                more = ", ..." if len(names) > _NAMES_SHOWN else ""
                lines.append(f"{len(names)} {what}: {', '.join(names[:_NAMES_SHOWN])}{more}")
        lines += [f"note: {note}" for note in self.notes]
        rows = list(self.scores)
        width = max(len(row) for row in rows) + 2
        lines.append(f"{'%':<24}{''.join(f'{row:>{width}}' for row in rows)}")
        for score in dict.fromkeys(score for row in self.scores.values() for score in row):
            values = [row.get(score) for row in self.scores.values()]
            shown = ["-" if value is None else f"{100 * value:.2f}" for value in values]
            lines.append(f"{score:<24}{''.join(f'{value:>{width}}' for value in shown)}")
        if self.at_thresholds:
            lines.append(
                "maps as they are, cut at fixed thresholds; to report the best is to choose it on the test set"
            )
            names = list(next(iter(self.at_thresholds.values())))
            lines.append(f"{'threshold':<12}{''.join(f'{name:>15}' for name in names)}")
            for threshold, scores in self.at_thresholds.items():
                lines.append(f"{threshold:<12}{''.join(f'{100 * scores[name]:>15.2f}' for name in names)}")
        return "\n".join(lines)


__all__ = ["LocalizationReport"]
