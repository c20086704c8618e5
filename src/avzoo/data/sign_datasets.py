"""Which sentences of signing a script trains or evaluates on: options of the command line, and the rows they name.

| `--dataset` | `--data_dir` holds | reader |
|---|---|---|
| phoenix14 | `annotations`, `features` | [`avzoo.data.phoenix14`] |
| phoenix14t | the same | [`avzoo.data.phoenix14t`] |
| csl_daily | `sentence`, `video_map.txt`, `split_1.txt` | [`avzoo.data.csl_daily`] |
| folder | your own videos and a table of glosses, `glosses.csv` or `--list` | [`avzoo.data.own_signs`] |
"""

import argparse
from pathlib import Path
from typing import Any

from avzoo.data.csl_daily import CUT_ROWS, csl_daily
from avzoo.data.gloss_vocabulary import build_vocabulary
from avzoo.data.own_signs import read_sign_table, split_signs
from avzoo.data.phoenix14 import phoenix14
from avzoo.data.phoenix14t import phoenix14t
from avzoo.data.sign_sentences import SPLITS, Row

PUBLIC = {"phoenix14": phoenix14, "phoenix14t": phoenix14t, "csl_daily": csl_daily}
DATASETS = (*PUBLIC, "folder")
# Names of what `add_sign_options` adds whose meaning for a run is in the rows.
SIGN_PLACES = ("data_dir", "frames_dir", "list", "skip_missing")


def add_sign_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that [`read_sign_rows`] and [`read_training_rows`] read."""
    parser.add_argument("--dataset", choices=DATASETS, help="layout of --data_dir; folder: your own")
    parser.add_argument("--data_dir", type=Path, help="folder of the dataset (folder: default that of --list)")
    parser.add_argument("--list", type=Path, help="folder: table of paths and glosses (DATA_DIR/glosses.csv)")
    parser.add_argument("--frames_dir", type=Path, help="the public datasets: folder of frames, if it lies elsewhere")
    parser.add_argument("--skip_missing", action="store_true", help="leave out clips that have no frames")


def describe_framing(dataset: str, resize_size: int) -> dict[str, Any]:
    """How videos have to be cut to look like the frames of a data set: arguments of the processor; of your own none.

    Args:
        dataset: one of `DATASETS`.
        resize_size: side of the square that frames are resized to; CSL-Daily's 40 rows are those of 256.
    """
    if dataset == "folder":
        return {}
    if dataset == "csl_daily":
        return {"aspect_ratio": 1.0, "top_rows": round(CUT_ROWS * resize_size / 256)}
    return {"aspect_ratio": 210 / 260, "top_rows": 0}


def read_sign_rows(options: argparse.Namespace, split: str) -> list[Row]:
    """The rows of one split: train, dev or test.

    Raises:
        ValueError: an option is missing or has no use for the dataset, a table is malformed, a split without clips.
        OSError: folder, table or frames are missing.
    """
    _check_options(options)
    if options.dataset in PUBLIC:
        reader = PUBLIC[options.dataset]
        return reader(options.data_dir, split, frames=options.frames_dir, skip_missing=options.skip_missing)
    rows = [row for row in _read_own(options) if row["split"] == split]
    if not rows:
        raise ValueError(f"`split` {split!r}: the table has no clip of it; is there a column split?")
    return rows


def read_training_rows(options: argparse.Namespace, dev_share: float) -> tuple[list[Row], list[Row], list[str]]:
    """Rows to train on, rows to validate on, and the vocabulary of all that the data set has.

    Args:
        dev_share: of your own clips, where the table has no column split.

    Raises:
        ValueError, OSError: as [`read_sign_rows`].
    """
    _check_options(options)
    if options.dataset in PUBLIC:
        reader = PUBLIC[options.dataset]
        sentences = [row for split in SPLITS for row in reader(options.data_dir, split, check_frames=False)]
        return read_sign_rows(options, "train"), read_sign_rows(options, "dev"), build_vocabulary(sentences)
    rows = _read_own(options)
    train, dev = split_signs(rows, dev_share)
    return train, dev, build_vocabulary(rows)


def _read_own(options: argparse.Namespace) -> list[Row]:
    table = options.list or options.data_dir / "glosses.csv"
    return read_sign_table(table, options.data_dir, skip_missing=options.skip_missing)


def _check_options(options: argparse.Namespace) -> None:
    dataset, root = options.dataset, options.data_dir
    if dataset is None:
        raise ValueError(f"`dataset` must be given, one of {', '.join(DATASETS)}.")
    unused = "list" if dataset in PUBLIC else "frames_dir"
    if getattr(options, unused) is not None:
        raise ValueError(f"`{unused}` ({getattr(options, unused)}) has no use for --dataset {dataset}.")
    if root is None and (dataset in PUBLIC or options.list is None):
        raise ValueError(f"`data_dir` must be given with --dataset {dataset}.")
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"`data_dir` ({root}) is no folder.")


__all__ = [
    "DATASETS",
    "PUBLIC",
    "SIGN_PLACES",
    "add_sign_options",
    "describe_framing",
    "read_sign_rows",
    "read_training_rows",
]
