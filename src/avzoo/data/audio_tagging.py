"""Recordings to train an audio tagger on: public data sets in their owners' layout, or your own.

    parser = argparse.ArgumentParser()
    add_tagging_options(parser)
    data = read_tagging_data(parser.parse_args())

| `--dataset` | `--data_dir` | trained on | evaluated on |
|---|---|---|---|
| esc50 | `meta/esc50.csv`, `audio/` | folds 1 to 4 | fold 5 |
| speech_commands | a folder per word, `validation_list.txt`, `testing_list.txt` | the rest | testing_list.txt |
| audioset | `*_segments.csv`, `class_labels_indices.csv`, `clips/` | balanced_train | eval |
| vggsound | `vggsound.csv`, `clips/` | train | test |
| folder | a folder per class, see [`avzoo.data.own_recordings`] | `train/`, or the rest | `validation/`, or a share |
| csv | folder of the recordings that `--train_list` names | split train, or the rest | `--val_list`, or a share |
"""

import argparse
import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from avzoo.audio.reading import read_audio
from avzoo.data.audioset import audioset, audioset_class_names
from avzoo.data.esc50 import esc50
from avzoo.data.labelled_recordings import read_csv_rows
from avzoo.data.lists import describe_rows, keep_readable, refuse_empty_files
from avzoo.data.own_recordings import read_class_folders, read_labelled_table, split_recordings
from avzoo.data.speech_commands import speech_commands
from avzoo.data.vggsound import vggsound

logger = logging.getLogger(__name__)

Row = dict[str, Any]
FRAME_SECONDS = 0.025  # what the features of every tagger need at least


@dataclasses.dataclass(frozen=True)
class TaggingData:
    """What a tagger is trained and evaluated on.

    Args:
        train, validation: rows with "id", "path" and "labels".
        names: the classes, as the data set lists them; each label is one of them.
    """

    train: list[Row]
    validation: list[Row]
    names: list[str]

    def summarize(self, options: argparse.Namespace) -> str:
        """Number of recordings and classes, for a model card."""
        return (
            f"`{options.dataset}`: {len(self.train)} recordings for training, {len(self.validation)} for evaluation, "
            f"{len(self.names)} classes"
        )

    def describe(self) -> dict[str, Any]:
        """What a resumed run must agree on: the classes, and which recordings have which of them."""
        return {
            "labels": self.names,
            "train recordings": describe_rows(self.train, ("id", "labels")),
            "validation recordings": describe_rows(self.validation, ("id", "labels")),
        }


def add_tagging_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that [`read_tagging_data`] reads, and `--multi_label`."""
    parser.add_argument("--dataset", choices=TAGGING_DATASETS, help="layout of --data_dir; folder and csv: your own")
    parser.add_argument(
        "--data_dir",
        type=Path,
        help="folder of the dataset (csv: that of --train_list)",
    )
    parser.add_argument("--train_list", type=Path, help="csv: table with the columns path and label (or labels, a;b)")
    parser.add_argument("--val_list", type=Path, help="csv: table for validation (default: column split, or a share)")
    parser.add_argument(
        "--val_share", type=float, default=0.2, help="folder, csv: part of each class kept for validation (%(default)s)"
    )
    parser.add_argument(
        "--skip_missing",
        action="store_true",
        help="leave out missing recordings (always for audioset, vggsound)",
    )
    parser.add_argument(
        "--skip_damaged", action="store_true", help="read all recordings first, and leave out those that can't be read"
    )
    parser.add_argument("--multi_label", action="store_true", help="binary cross-entropy per class, mAP")


# Names of what `add_tagging_options` adds whose meaning for a run is in `TaggingData.describe`.
DATA_PLACES = ("data_dir", "train_list", "val_list", "val_share", "skip_missing", "skip_damaged")


def read_tagging_data(options: argparse.Namespace) -> TaggingData:
    """Read the lists that the options name, and check all that can be checked without decoding a recording.

    Says on stderr which classes have no recording for training, and what is left out.

    Raises:
        ValueError: an option is missing, or has no use for the dataset; a part is empty; recordings have several labels
            and `multi_label` is not set; there is one class only.
        OSError: folder, list or recordings are missing, or files are empty.
    """
    _check_options(options)
    train, validation, names = TAGGING_DATASETS[options.dataset](options)
    rows = {"training": train, "validation": validation}
    for part, of_part in rows.items():
        if not of_part:
            raise ValueError(
                f"`dataset` ({options.dataset}): no recording is there for {part}, of {sum(map(len, rows.values()))} "
                f"below `data_dir` ({options.data_dir or options.train_list}); {_ADVICE.get(options.dataset, _OWNERS)}."
            )
    everything = [*train, *validation]
    if options.skip_damaged:
        readable = {row["path"] for row in keep_readable(everything, _read_row, "recordings")}
        train, validation = ([row for row in part if row["path"] in readable] for part in (train, validation))
        if not train or not validation:
            raise ValueError(f"`data_dir` ({options.data_dir}): no recording that can be read is left.")
    else:
        refuse_empty_files(row["path"] for row in everything)
    several = [row for row in train + validation if len(row["labels"]) > 1]
    if several and not options.multi_label:
        raise ValueError(
            f"`multi_label` is not set, but {len(several)} of the {len(train + validation)} recordings have several "
            f"labels, such as {several[0]['path']} ({', '.join(several[0]['labels'])}); pass --multi_label."
        )
    if len(names) < 2 and not options.multi_label:
        raise ValueError(f"`dataset` ({options.dataset}) has one class only, {names[0]!r}; at least two are needed.")
    counts = Counter(label for row in train for label in row["labels"])
    silent = [name for name in names if not counts[name]]
    if silent:
        shown = ", ".join(silent[:10]) + (", ..." if len(silent) > 10 else "")
        logger.warning(f"{len(silent)} of the {len(names)} classes have no recording for training: {shown}.")
    return TaggingData(train, validation, names)


def _read_row(row: Row) -> None:
    samples, rate = read_audio(row["path"], name=row["path"])
    if samples.shape[-1] < FRAME_SECONDS * rate:
        raise ValueError(f"`{row['path']}` is too short: {samples.shape[-1]} samples at {rate} Hz")


def _check_options(options: argparse.Namespace) -> None:
    if options.dataset is None:
        raise ValueError(f"`dataset` must be given, one of {', '.join(TAGGING_DATASETS)}.")
    is_csv = options.dataset == "csv"
    for name in ("train_list", "val_list"):
        if getattr(options, name) is not None and not is_csv:
            raise ValueError(f"`{name}` ({getattr(options, name)}) is for --dataset csv, got {options.dataset}.")
    needed = "train_list" if is_csv else "data_dir"
    if getattr(options, needed) is None:
        raise ValueError(f"`{needed}` must be given with --dataset {options.dataset}.")
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise FileNotFoundError(f"`data_dir` ({options.data_dir}) is no folder.")


_OWNERS = "the lists of the dataset's owners say which is which"
_ADVICE = {
    "folder": "use DIR/train/CLASS and DIR/validation/CLASS, or put two recordings into a class's folder",
    "csv": "give the table a column split, pass --val_list, or list two recordings of a class",
}


def _read_audioset(options: argparse.Namespace):
    root = options.data_dir
    table = root / "class_labels_indices.csv"
    train, test = (
        list(audioset(root / f"{part}_segments.csv", root / "clips", table, skip_missing=True))
        for part in ("balanced_train", "eval")
    )
    return train, test, list(audioset_class_names(table).values())


def _read_esc50(options: argparse.Namespace):
    train, test = (
        list(esc50(options.data_dir, folds=folds, skip_missing=options.skip_missing)) for folds in ((1, 2, 3, 4), (5,))
    )
    table = options.data_dir / "meta" / "esc50.csv"
    return train, test, sorted({fields[3] for line, fields in read_csv_rows(table, num_fields=7) if line > 1})


def _read_vggsound(options: argparse.Namespace):
    table = options.data_dir / "vggsound.csv"
    train, test = (
        list(vggsound(table, options.data_dir / "clips", split=split, skip_missing=True)) for split in ("train", "test")
    )
    return train, test, sorted({label for _, (_, _, label, _) in read_csv_rows(table, num_fields=4)})


def _read_speech_commands(options: argparse.Namespace):
    root = options.data_dir
    train, test = (
        list(speech_commands(root, split=split, skip_missing=options.skip_missing)) for split in ("train", "test")
    )
    return train, test, sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")


def _read_folder(options: argparse.Namespace):
    rows, names = read_class_folders(options.data_dir)
    return *split_recordings(rows, options.val_share), names


def _read_csv(options: argparse.Namespace):
    tables = [table for table in (options.train_list, options.val_list) if table is not None]
    parts = [list(read_labelled_table(table, options.data_dir, skip_missing=options.skip_missing)) for table in tables]
    names = sorted({label for rows in parts for row in rows for label in row["labels"]})
    train, validation = parts if len(parts) == 2 else split_recordings(parts[0], options.val_share)
    return train, validation, names


# name -> reader of (rows for training, rows for evaluation, names of the classes)
TAGGING_DATASETS: Mapping[str, Callable[[argparse.Namespace], tuple[list[Row], list[Row], list[str]]]] = {
    "esc50": _read_esc50,
    "speech_commands": _read_speech_commands,
    "audioset": _read_audioset,
    "vggsound": _read_vggsound,
    "folder": _read_folder,
    "csv": _read_csv,
}

__all__ = [
    "DATA_PLACES",
    "TAGGING_DATASETS",
    "TaggingData",
    "add_tagging_options",
    "read_tagging_data",
]
