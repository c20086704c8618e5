"""Readers of public audio data sets in the layout their owners ship.

Each reader is a generator of dicts in file order:

    id      unique within the data set
    path    of the recording, to be decoded later: `avzoo.audio.read_audio(row["path"], sampling_rate)`
    labels  list of label names (one, except in AudioSet)
    split   "train", "validation" or "test", where the owners define splits
    fold    cross-validation fold from 1 on, where the owners define folds
    start, end   seconds in the original video, where the clip was cut from one; the file holds only that part

    for row in esc50("ESC-50-master", folds=[1, 2, 3, 4]): ...
    dataset = as_dataset(vggsound, "vggsound.csv", "clips", split="test")

A row that does not look like the owners' is a `ValueError` with file and line number. Names that lead out of the
folder (`..`, absolute paths) are refused in the same way. Recordings that a list names and that are not there are
counted first: `FileNotFoundError` with the number and the first name, or, with `skip_missing=True`, left out.
"""

import csv
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from avzoo.data.lists import PathLike, check_name, lines_of, malformed

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".mp4", ".mkv", ".webm")
BACKGROUND_NOISE = "_background_noise_"

_ESC50_HEADER = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
_SPLITS = ("train", "validation", "test")


# ---------------------------------------------------------------------------------------------- readers


def esc50(
    root: PathLike, *, folds: Collection[int] | None = None, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """ESC-50: `meta/esc50.csv` and the recordings in `audio/`.

        filename,fold,target,category,esc10,src_file,take
        1-100032-A-0.wav,1,0,dog,True,100032,A

    Args:
        root: folder that holds `meta` and `audio`.
        folds: only these of the five folds. None: all.
        skip_missing: leave out rows without a recording instead of refusing.

    Yields: `id`, `path`, `labels` (the category), `fold`.
    """
    audio, rows = Path(root, "audio"), []
    table = Path(root, "meta", "esc50.csv")
    for line, fields in _csv_rows(table, num_fields=len(_ESC50_HEADER)):
        if line == 1:
            if fields != _ESC50_HEADER:
                raise malformed(table, line, f"expected the header {','.join(_ESC50_HEADER)}, got {','.join(fields)}")
            continue
        filename, fold, _, category, *_ = fields
        fold = _whole_number(fold, "fold", table, line)
        if not 1 <= fold <= 5:
            raise malformed(table, line, f"`fold` must be from 1 to 5, got {fold}")
        check_name(filename, table, line)
        if not category:
            raise malformed(table, line, "`category` is empty")
        if folds is None or fold in folds:
            rows.append({"id": Path(filename).stem, "path": audio / filename, "labels": [category], "fold": fold})
    yield from _existing(rows, table, skip_missing)


def speech_commands(
    root: PathLike, *, split: str | None = None, background_noise: bool = False, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """Speech Commands v2: a folder per word; two lists name the recordings that are not for training.

        backward/0165e0e8_nohash_0.wav        (a line of validation_list.txt or testing_list.txt)

    Args:
        root: folder that holds the word folders and the lists.
        split: only this split. None: all.
        background_noise: also yield the long recordings of `_background_noise_`; they belong to no split and have
            that name as label.
        skip_missing: leave out listed recordings that are not there instead of refusing.

    Yields: `id` ("word/file"), `path`, `labels` (the word), `split`; sorted by word and file name.
    """
    _check_split(split)
    root = Path(root)
    listed: dict[str, str] = {}
    missing: list[dict[str, Any]] = []
    for name, listed_split in (("validation_list.txt", "validation"), ("testing_list.txt", "test")):
        table = root / name
        for line, text in lines_of(table):
            word, slash, filename = text.partition("/")
            if not slash or not filename.endswith(".wav"):
                raise malformed(table, line, f"expected word/file.wav, got {text!r}")
            check_name(word, table, line)
            check_name(filename, table, line)
            if listed.setdefault(text, listed_split) != listed_split:
                raise malformed(table, line, f"{text!r} is also in validation_list.txt")
            if split in (None, listed_split):
                missing.append({"id": text, "path": root / word / filename})
    list(_existing(missing, root, skip_missing))  # only to refuse

    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"):
        for path in sorted(folder.glob("*.wav")):
            name = f"{folder.name}/{path.name}"
            row_split = listed.get(name, "train")
            if split in (None, row_split):
                yield {"id": name[: -len(".wav")], "path": str(path), "labels": [folder.name], "split": row_split}
    if background_noise:
        for path in sorted((root / BACKGROUND_NOISE).glob("*.wav")):
            yield {"id": f"{BACKGROUND_NOISE}/{path.stem}", "path": str(path), "labels": [BACKGROUND_NOISE]}


def audioset(
    segments: PathLike,
    clips: PathLike,
    class_labels: PathLike,
    *,
    split: str | None = None,
    skip_missing: bool = False,
) -> Iterator[dict[str, Any]]:
    """AudioSet: the owners' segment list and class list, and a folder of clips named by YouTube id.

        # YTID, start_seconds, end_seconds, positive_labels
        --4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"        (segments)

        index,mid,display_name
        0,/m/09x0r,"Speech"                                                         (class_labels_indices.csv)

    A clip may be called `{id}`, `Y{id}`, or either with the start appended: `_30`, `_30.000`, `_000030`, `_30000`
    (milliseconds), and any of `AUDIO_SUFFIXES`. With the start wins over without.

    Args:
        segments: `balanced_train_segments.csv`, `unbalanced_train_segments.csv` or `eval_segments.csv`.
        clips: folder of the clips, without sub-folders.
        class_labels: `class_labels_indices.csv`, see [`audioset_class_names`].
        split: value of the column `split`; the lists do not say it. None: no such column.
        skip_missing: leave out rows without a clip (videos vanish) instead of refusing.

    Yields: `id` (the YouTube id), `path`, `labels` (display names, in the order of the row), `start`, `end`.
    """
    _check_split(split)
    names = audioset_class_names(class_labels)
    folder, segments, rows = _Folder(clips), Path(segments), []
    for line, fields in _csv_rows(segments, num_fields=4, comments=True):
        youtube_id, start, end, mids = fields
        check_name(youtube_id, segments, line)
        start, end = _seconds(start, "start_seconds", segments, line), _seconds(end, "end_seconds", segments, line)
        if end <= start:
            raise malformed(segments, line, f"`end_seconds` ({end}) must be after `start_seconds` ({start})")
        unknown = [mid for mid in mids.split(",") if mid not in names]
        if unknown:
            raise malformed(segments, line, f"label {unknown[0]!r} is not in {Path(class_labels).name}")
        row = {
            "id": youtube_id,
            "path": folder.find(_audioset_stems(youtube_id, start)),
            "labels": [names[mid] for mid in mids.split(",")],
            "start": start,
            "end": end,
        }
        rows.append(row if split is None else {**row, "split": split})
    yield from _existing(rows, segments, skip_missing)


def audioset_class_names(class_labels: PathLike) -> dict[str, str]:
    """{machine id ("/m/09x0r"): display name ("Speech")} of `class_labels_indices.csv`, in index order."""
    table, names = Path(class_labels), {}
    for line, (index, mid, display_name) in _csv_rows(table, num_fields=3):
        if line == 1 and index == "index":
            continue
        if _whole_number(index, "index", table, line) != len(names):
            raise malformed(table, line, f"expected index {len(names)}, got {index}")
        if not display_name:
            raise malformed(table, line, "`display_name` is empty")
        if mid in names:
            raise malformed(table, line, f"{mid!r} appears twice")
        names[mid] = display_name
    return names


def vggsound(
    table: PathLike, clips: PathLike, *, split: str | None = None, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """VGGSound: `vggsound.csv` and a folder of ten-second clips, `{id}_{start:06d}` with any of `AUDIO_SUFFIXES`.

        ---g-f_I2yQ,1,people marching,test        ->  ---g-f_I2yQ_000001.mp4

    Args:
        table: `vggsound.csv` (YouTube id, start in seconds, label, split; no header).
        clips: folder of the clips, without sub-folders.
        split: only "train" or "test". None: both.
        skip_missing: leave out rows without a clip (videos vanish) instead of refusing.

    Yields: `id` ("{id}_{start:06d}"), `path`, `labels` (one), `split`, `start`, `end`.
    """
    _check_split(split)
    folder, table, rows = _Folder(clips), Path(table), []
    for line, (youtube_id, start, label, row_split) in _csv_rows(table, num_fields=4):
        check_name(youtube_id, table, line)
        start = _whole_number(start, "start seconds", table, line)
        if row_split not in ("train", "test"):
            raise malformed(table, line, f"the split must be train or test, got {row_split!r}")
        if not label:
            raise malformed(table, line, "the label is empty")
        name = f"{youtube_id}_{start:06d}"
        if split in (None, row_split):
            rows.append(
                {
                    "id": name,
                    "path": folder.find([name]),
                    "labels": [label],
                    "split": row_split,
                    "start": float(start),
                    "end": float(start + 10),
                }
            )
    yield from _existing(rows, table, skip_missing)


# -------------------------------------------------------------------------------------------- data sets


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
        return IterableDataset.from_generator(_full_rows, features=features, gen_kwargs=settings)
    columns: dict[str, list] = {name: [] for name in features}
    for row in reader(*arguments, **options):
        for name, values in columns.items():
            values.append(row.get(name))
    return Dataset.from_dict(columns, features=features)


def _full_rows(reader: Callable, arguments: tuple, options: dict, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for row in reader(*arguments, **options):
        yield {name: row.get(name) for name in columns}


# ---------------------------------------------------------------------------------------------- helpers


class _Folder:
    """Looks clips up by name without extension. The folder is listed once: it may hold two million files."""

    def __init__(self, root: PathLike) -> None:
        self.root = Path(root)
        self._names: dict[str, str] = {}
        with os.scandir(self.root) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                rank = _suffix_rank(suffix)
                # The same clip as .wav and .mp4: the one that stands first in AUDIO_SUFFIXES, whatever the disk order.
                if rank is not None and (
                    stem not in self._names or rank < _suffix_rank(Path(self._names[stem]).suffix)
                ):
                    self._names[stem] = entry.name

    def find(self, stems: Iterable[str]) -> Path:
        """The clip with the first of these names that exists; else where the plainest name would be."""
        stems = list(stems)
        for stem in stems:
            if stem in self._names:
                return self.root / self._names[stem]
        return self.root / f"{min(stems, key=len)}{AUDIO_SUFFIXES[0]}"


def _suffix_rank(suffix: str) -> int | None:
    suffix = suffix.lower()
    return AUDIO_SUFFIXES.index(suffix) if suffix in AUDIO_SUFFIXES else None


def _audioset_stems(youtube_id: str, start: float) -> list[str]:
    starts = [f"{start:g}", f"{start:.3f}", f"{int(start):06d}", f"{round(start * 1000)}"]
    bases = [youtube_id, f"Y{youtube_id}"]
    return [f"{base}_{text}" for text in starts for base in bases] + bases


def _existing(rows: list[dict[str, Any]], source: Path, skip_missing: bool) -> Iterator[dict[str, Any]]:
    """The rows whose recording exists, `path` as a string."""
    present = [row["path"].is_file() for row in rows]
    if not skip_missing and not all(present):
        first = rows[present.index(False)]["path"]
        raise FileNotFoundError(
            f"{present.count(False)} of the {len(rows)} recordings named by {source.name} are missing, the first is "
            f"{first}. Pass skip_missing=True to read the others."
        )
    for row, is_present in zip(rows, present, strict=True):
        if is_present:
            yield {**row, "path": str(row["path"])}


def _csv_rows(table: Path, num_fields: int, comments: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields), blank lines and (with `comments`) lines that start with # left out."""
    for line, text in lines_of(table):
        if comments and text.startswith("#"):
            continue
        try:
            (fields,) = csv.reader([text], skipinitialspace=True, strict=True)
        except csv.Error as error:
            raise malformed(table, line, f"{error} in {text!r}") from error
        if len(fields) != num_fields:
            raise malformed(table, line, f"expected {num_fields} fields, got {len(fields)} in {text!r}")
        yield line, [field.strip() for field in fields]


def _whole_number(text: str, name: str, table: Path, line: int) -> int:
    if not text.isascii() or not text.isdigit():
        raise malformed(table, line, f"`{name}` must be a whole number, got {text!r}")
    return int(text)


def _seconds(text: str, name: str, table: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):  # NaN fails too
        raise malformed(table, line, f"`{name}` must be seconds from 0 on, got {text!r}")
    return value


def _check_split(split: str | None) -> None:
    if split is not None and split not in _SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(_SPLITS)} or None, got {split!r}.")
