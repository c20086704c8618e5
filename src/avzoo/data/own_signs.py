"""Your own videos of signing: a table of paths and glosses.

    path,glosses                                    path,glosses,split,id,signer
    clips/morning.mp4,MORGEN REGEN                  frames/0001,MORGEN REGEN,train,clip1,anna
    clips/night.mp4,NACHT KLAR               or     frames/0002,NACHT KLAR,dev,clip2,ben

A path is a video file or a folder of frames. Rows are those of [`avzoo.data.sign_sentences`].
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from avzoo.checks import check_number
from avzoo.data.lists import PathLike, malformed, read_records
from avzoo.data.own_recordings import parse_split
from avzoo.data.sign_sentences import Row, Sentences


def read_sign_table(table: PathLike, root: PathLike | None = None, *, skip_missing: bool = False) -> list[Row]:
    """Read the clips of a comma-separated table with a header, in its order.

    Columns: path; glosses, with blanks between them; perhaps split (train, dev or validation, test), id (default: the
    path) and signer. Others are ignored.

    Args:
        root: folder that the paths start from and may not leave. None: the table's.
        skip_missing: leave out clips that are not there instead of refusing.

    Returns:
        Rows; "split" is "" where the table does not tell it, see [`split_signs`].

    Raises:
        ValueError: a missing column, or one that comes twice, a row of another length, no gloss, another split, a path
            that leaves `root`, or an id that comes twice; with file and line.
        FileNotFoundError: clips are missing: how many, and the first.
    """
    table = Path(table)
    root = os.path.abspath(table.parent if root is None else root)
    records = read_records(table)
    line, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    if not {"path", "glosses"} <= set(header) or len(set(header)) < len(header):
        expected = "a header with path and glosses, and perhaps split, id and signer, each once"
        raise malformed(table, line, f"expected {expected}, got {','.join(header)!r}")
    sentences = Sentences(table)
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = {name: field.strip() for name, field in zip(header, fields, strict=True)}
        path = os.path.normpath(os.path.join(root, named["path"]))
        if not named["path"] or os.path.commonpath([root, path]) != root:
            raise malformed(table, line, f"{named['path']!r} is no path below {root}, the folder that paths start from")
        split = parse_split(named["split"], table, line) if "split" in named else ""
        split = "dev" if split == "validation" else split
        name = named.get("id") or named["path"]
        sentences.add(line, name, path, named.get("signer") or "unknown", named["glosses"], split)
    return sentences.keep(skip_missing)


def split_signs(rows: Sequence[Row], dev_share: float = 0.1) -> tuple[list[Row], list[Row]]:
    """Divide rows into those for training and those for validation, in their order.

    By their "split", if they have it: dev, else test. Otherwise `dev_share` of the clips, one at least, chosen by a
    digest of "id": the same ones in every run. Clips of one signer, or of one sentence, can then be in both; a column
    split keeps them apart.

    Raises:
        ValueError: `dev_share` is not between 0 and 1, or either part is empty.
    """
    check_number("dev_share", dev_share, above=0, below=1)
    if any(row["split"] for row in rows):
        splits = {row["split"] for row in rows}
        held_out = "dev" if "dev" in splits else "test"
        if {"train", held_out} - splits:
            raise ValueError(f"the table needs clips of split train, and of dev or test; it has {sorted(splits)}.")
        parts = [[row for row in rows if row["split"] == split] for split in ("train", held_out)]
        return parts[0], parts[1]
    count = max(1, round(dev_share * len(rows)))
    if count >= len(rows):
        raise ValueError(f"`dev_share` ({dev_share}) leaves no clip of {len(rows)} to train on.")
    names = sorted((row["id"] for row in rows), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    chosen = set(names[:count])
    return [row for row in rows if row["id"] not in chosen], [row for row in rows if row["id"] in chosen]


__all__ = ["read_sign_table", "split_signs"]
