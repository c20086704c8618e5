"""What readers of labelled recordings share; each data set has a file of its own.

A reader is a generator of dicts in file order:

    id      unique within the data set
    path    of the recording, to be decoded later: `avzoo.audio.read_audio(row["path"], sampling_rate)`
    labels  list of label names (one, except in AudioSet)
    split   "train", "validation" or "test", where the owners define splits
    fold    cross-validation fold from 1 on, where the owners define folds
    start, end   seconds in the original video, where the clip was cut from one; the file holds only that part

A row that does not look like the owners' is a `ValueError` with file and line number. Names that lead out of the
folder (`..`, absolute paths) are refused in the same way. Recordings that a list names and that are not there are
counted first: `FileNotFoundError` with the number and the first name, or, with `skip_missing=True`, left out.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike, keep_complete, malformed, read_lines

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".mp4", ".mkv", ".webm")
SPLITS = ("train", "validation", "test")


def as_dataset(
    reader: Callable[..., Iterator[dict[str, Any]]], *arguments: Any, streaming: bool = False, **options: Any
):
    """Rows of a reader as a `datasets.Dataset`, or as an `IterableDataset` with `streaming=True`.

        as_dataset(esc50, "ESC-50-master", folds=[5])

    Columns: `id`, `path`, `labels`, `split`, `fold`, `start`, `end`; what the layout does not have is None. Audio
    stays a path, so that decoding can happen late, in workers, at the sampling rate of the model:

        dataset.map(lambda row: {"audio": avzoo.audio.read_audio(row["path"], 16000)[0]})

    The table is built in memory and not cached on disk: a cache would not notice that clips were added.
    """
    from datasets import Dataset, Features, IterableDataset, Sequence, Value

    features = Features(
        {
            "id": Value("string"),
            "path": Value("string"),
            "labels": Sequence(Value("string")),
            "split": Value("string"),
            "fold": Value("int32"),
            "start": Value("float64"),
            "end": Value("float64"),
        }
    )
    if streaming:
        # No list at the top level: `from_generator` would take its items for shards.
        settings = {"reader": reader, "arguments": arguments, "options": options, "columns": tuple(features)}
        return IterableDataset.from_generator(_iter_full_rows, features=features, gen_kwargs=settings)
    columns: dict[str, list] = {name: [] for name in features}
    for row in reader(*arguments, **options):
        for name, values in columns.items():
            values.append(row.get(name))
    return Dataset.from_dict(columns, features=features)


def _iter_full_rows(
    reader: Callable, arguments: tuple, options: dict, columns: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    for row in reader(*arguments, **options):
        yield {name: row.get(name) for name in columns}


class ClipFolder:
    """Looks clips up by name without extension. The folder is listed once: it may hold two million files."""

    def __init__(self, root: PathLike) -> None:
        self.root = Path(root)
        self._names: dict[str, str] = {}
        with os.scandir(self.root) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                rank = _rank_suffix(suffix)
                # The same clip as .wav and .mp4: the one that stands first in AUDIO_SUFFIXES, whatever the disk order.
                if rank is not None and (
                    stem not in self._names or rank < _rank_suffix(Path(self._names[stem]).suffix)
                ):
                    self._names[stem] = entry.name

    def find(self, stems: Iterable[str]) -> Path:
        """The clip with the first of these names that exists; else where the plainest name would be."""
        stems = list(stems)
        for stem in stems:
            if stem in self._names:
                return self.root / self._names[stem]
        return self.root / f"{min(stems, key=len)}{AUDIO_SUFFIXES[0]}"


def _rank_suffix(suffix: str) -> int | None:
    suffix = suffix.lower()
    return AUDIO_SUFFIXES.index(suffix) if suffix in AUDIO_SUFFIXES else None


def keep_existing(rows: list[dict[str, Any]], source: Path, skip_missing: bool) -> Iterator[dict[str, Any]]:
    """The rows whose recording exists, `path` as a string; FileNotFoundError for the others unless `skip_missing`."""

    def find_missing(row: dict[str, Any]) -> Path | None:
        return None if row["path"].is_file() else row["path"]

    complaint = f"recordings named by {source.name} are missing"
    for row in keep_complete(rows, find_missing, complaint, skip_missing):
        yield {**row, "path": str(row["path"])}


def read_csv_rows(table: Path, num_fields: int, comments: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields), blank lines and (with `comments`) lines that start with # left out."""
    for line, text in read_lines(table):
        if comments and text.startswith("#"):
            continue
        try:
            (fields,) = csv.reader([text], skipinitialspace=True, strict=True)
        except csv.Error as error:
            raise malformed(table, line, f"{error} in {text!r}") from error
        if len(fields) != num_fields:
            raise malformed(table, line, f"expected {num_fields} fields, got {len(fields)} in {text!r}")
        yield line, [field.strip() for field in fields]


def parse_whole_number(text: str, name: str, table: Path, line: int) -> int:
    if not text.isascii() or not text.isdigit():
        raise malformed(table, line, f"`{name}` must be a whole number, got {text!r}")
    return int(text)


def parse_seconds(text: str, name: str, table: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):  # NaN fails too
        raise malformed(table, line, f"`{name}` must be seconds from 0 on, got {text!r}")
    return value


def check_split(split: str | None) -> None:
    """Raise a ValueError unless `split` is None or one of `SPLITS`."""
    check_choice("split", split, (*SPLITS, None))
