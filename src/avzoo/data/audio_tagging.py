"""Data sets for audio tagging, by name: readers of their training and test parts in the owners' folders."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from avzoo.data.audioset import audioset
from avzoo.data.esc50 import esc50
from avzoo.data.speech_commands import speech_commands
from avzoo.data.vggsound import vggsound


def _read_audioset(root: Path, part: str) -> Iterator[dict[str, Any]]:
    table = {"train": "balanced_train_segments.csv", "test": "eval_segments.csv"}[part]
    return audioset(root / table, root / "clips", root / "class_labels_indices.csv", skip_missing=True)


def _read_esc50(root: Path, part: str) -> Iterator[dict[str, Any]]:
    return esc50(root, folds=(1, 2, 3, 4) if part == "train" else (5,))


def _read_vggsound(root: Path, part: str) -> Iterator[dict[str, Any]]:
    return vggsound(root / "vggsound.csv", root / "clips", split=part, skip_missing=True)


def _read_speech_commands(root: Path, part: str) -> Iterator[dict[str, Any]]:
    return speech_commands(root, split=part)


# dataset -> reader of its "train" or "test" part, given the root folder; rows have "path" and "labels"
TAGGING_DATASETS: Mapping[str, Callable[[Path, str], Iterator[dict[str, Any]]]] = {
    "esc50": _read_esc50,
    "speech_commands": _read_speech_commands,
    "audioset": _read_audioset,
    "vggsound": _read_vggsound,
}
