"""Your own labelled recordings: a folder for each class, or a table.

    recordings/dog/1.wav                             recordings/train/dog/1.wav
    recordings/dog/2.flac                            recordings/validation/dog/2.flac
    recordings/rain/any/name.mp3         or          recordings/validation/rain/name.mp3

    path,label                                       path,labels,split
    dog/1.wav,dog                                    1.wav,dog,train
    rain/name.mp3,rain                   or          2.wav,dog;rain,validation

Rows are those of [`avzoo.data.labelled_recordings`]. Where nothing says which recordings are for validation,
[`split_recordings`] chooses a part of each class by the recordings' names.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from avzoo.checks import check_number
from avzoo.data.labelled_recordings import AUDIO_SUFFIXES, keep_existing
from avzoo.data.lists import PathLike, malformed, read_records

VALIDATION_FOLDERS = ("validation", "valid", "val", "dev", "test")
SEPARATOR = ";"  # between the labels of one recording
_PATH_COLUMNS = ("path", "file_path", "file_name", "filename", "file")
SPLIT_NAMES = {"train": "train", **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"), "test": "test"}


def read_class_folders(root: PathLike) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the recordings of a folder that has a folder for each class, below `train` and `validation` or at once.

    Hidden files and folders, and files of other types than `AUDIO_SUFFIXES`, are passed over.

    Returns:
        The rows, sorted by path, with a "split" where the folders tell it; and the classes, sorted, with empty ones.

    Raises:
        FileNotFoundError: no such folder, or no recording in a class's folder.
        ValueError: a class's folder has a name that is no UTF-8 text.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"`{root}` is no folder; it should hold a folder for each class.")
    splits: dict[str | None, Path] = {None: root}
    validation = next((root / name for name in VALIDATION_FOLDERS if _holds_class_folders(root / name)), None)
    if validation is not None and _holds_class_folders(root / "train"):
        splits = {"train": root / "train", "validation": validation}
    rows, names = [], set()
    for split, folder in splits.items():
        for class_folder in _list_folders(folder):
            if not _is_text(class_folder.name):
                raise ValueError(
                    f"`{folder}` holds a folder of a class whose name is no UTF-8 text, "
                    f"{os.fsencode(class_folder.name)!r}; rename it."
                )
            names.add(class_folder.name)
            for path in _iter_recordings(class_folder):
                row = {"id": str(path.relative_to(root)), "path": str(path), "labels": [class_folder.name]}
                rows.append(row if split is None else {**row, "split": split})
    if not rows:
        raise FileNotFoundError(
            f"`{root}` holds no recording in a folder of a class, such as {root / 'dog' / '1.wav'}; "
            f"known types are {' '.join(AUDIO_SUFFIXES)}."
        )
    return rows, sorted(names)


def parse_split(text: str, table: Path, line: int) -> str:
    """ "train", "validation" or "test", from a line of a table; a ValueError names both where it is none."""
    if text.lower() not in SPLIT_NAMES:
        raise malformed(table, line, f"`split` must be one of {', '.join(SPLIT_NAMES)}, got {text!r}")
    return SPLIT_NAMES[text.lower()]


def read_labelled_table(table: PathLike, root: PathLike | None = None, *, skip_missing: bool = False):
    """Yield the recordings of a comma-separated table with a header.

    Columns: `path` (or one of `file_path`, `file_name`, `filename`, `file`); `label`, or `labels` with `;` between
    several; and perhaps `split`: train, validation (or val) or test. Others are ignored.

    Args:
        root: folder that the paths start from and may not leave. None: the table's.
        skip_missing: leave out rows without a recording instead of refusing.

    Raises:
        ValueError: a missing column, or one that comes twice, a row of another length, an empty label, another split,
            a path that leaves `root`, or one that comes twice; with file and line.
        FileNotFoundError: recordings are missing: how many, and the first.
    """
    table = Path(table)
    root = os.path.abspath(table.parent if root is None else root)
    records = read_records(table)
    line, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    path_column = next((name for name in _PATH_COLUMNS if name in header), None)
    label_column = next((name for name in ("labels", "label") if name in header), None)
    if path_column is None or label_column is None:
        expected = "a header with path and label (or labels), and perhaps split, with commas between them"
        raise malformed(table, line, f"expected {expected}, got {','.join(header)!r}")
    for name in (path_column, label_column, "split"):
        if header.count(name) > 1:
            raise malformed(table, line, f"the header names {name!r} {header.count(name)} times")
    rows, lines = [], {}
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = {name: field.strip() for name, field in zip(header, fields, strict=True)}
        name, text = named[path_column], named[label_column]
        path = os.path.normpath(os.path.join(root, name))
        if not name or os.path.commonpath([root, path]) != root:
            raise malformed(table, line, f"{name!r} leads out of {root}, the folder that paths must stay in")
        if lines.setdefault(path, line) != line:
            raise malformed(table, line, f"{name!r} is also in line {lines[path]}")
        labels = [label.strip() for label in text.split(SEPARATOR)] if label_column == "labels" else [text]
        if not all(labels):
            raise malformed(table, line, f"`{label_column}` is empty or has an empty part, {text!r}")
        row = {"id": name, "path": Path(path), "labels": list(dict.fromkeys(labels))}
        if "split" in header:
            row["split"] = parse_split(named["split"], table, line)
        rows.append(row)
    if not rows:
        raise ValueError(f"{table} holds a header and no recording.")
    yield from keep_existing(rows, table, skip_missing)


def split_recordings(
    rows: Sequence[dict[str, Any]], val_share: float = 0.2
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Divide rows into those for training and those for validation, in their order.

    By their "split", if they have it: validation, else test. Otherwise `val_share` of each class, one at least where it
    has two, chosen by a digest of "id": the same ones in every run, and most of them still when recordings are added.

    Raises:
        ValueError: `val_share` is not between 0 and 1.
    """
    check_number("val_share", val_share, above=0, below=1)
    if any("split" in row for row in rows):
        found = {row["split"] for row in rows}
        held_out = "validation" if "validation" in found else "test"
        parts = [[row for row in rows if row["split"] == split] for split in ("train", held_out)]
        return parts[0], parts[1]
    classes: dict[str, list[str]] = {}
    for row in rows:
        classes.setdefault(row["labels"][0], []).append(row["id"])
    chosen: set[str] = set()
    for names in classes.values():
        count = max(1, round(val_share * len(names))) if len(names) > 1 else 0
        chosen.update(sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())[:count])
    return [row for row in rows if row["id"] not in chosen], [row for row in rows if row["id"] in chosen]


def _list_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_text(name: str) -> bool:
    """Whether a file's name is text; bytes that are none of UTF-8 come as surrogates."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _holds_class_folders(folder: Path) -> bool:
    """Whether it is a split's: folders with recordings in it, and no recording beside them."""
    is_class = folder.is_dir() and any(path.suffix.lower() in AUDIO_SUFFIXES for path in folder.iterdir())
    return not is_class and any(any(_iter_recordings(path)) for path in _list_folders(folder))


def _iter_recordings(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in AUDIO_SUFFIXES and not hidden and path.is_file():
            yield path


__all__ = ["SEPARATOR", "VALIDATION_FOLDERS", "read_class_folders", "read_labelled_table", "split_recordings"]
