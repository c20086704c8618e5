"""Your own clips of faces that talk, one face and one voice each: a folder of mp4 files for each speaker, or a table.

clips/anna/1.mp4         (and 1.wav beside it, if the sound is not the video's own)
clips/anna/talk/2.mp4
clips/ben/1.mp4

path,speaker,audio,split
monday.mp4,anna,,train
tuesday.mkv,ben,tuesday.wav,validation
"""

import os
from pathlib import Path

from avzoo.data.lists import PathLike, check_relative_path, keep_complete, malformed, read_records
from avzoo.data.own_recordings import parse_split
from avzoo.data.talking_face_clips import Row, list_names, make_row

_COLUMNS = ("path", "speaker", "audio", "split")


def read_speaker_folders(root: PathLike) -> list[Row]:
    """The clips, sorted by their id, "speaker/clip".

    Raises:
        FileNotFoundError: no such folder, or no mp4 file in a speaker's folder.
    """
    root = os.fspath(root)
    rows = []
    for name in sorted(list_names(root, "*/**/*.mp4")):
        stem = os.path.join(root, name)
        rows.append(make_row(name, stem + (".wav" if Path(stem + ".wav").is_file() else ".mp4"), stem + ".mp4"))
    return rows


def read_speaker_table(table: PathLike, root: PathLike | None = None, *, skip_missing: bool = False) -> list[Row]:
    """The clips of a comma-separated table with a header, in its order.

    Columns: `path` of a video, `speaker`, and perhaps `audio`, a recording if the sound is not the video's own, and
    `split`: train, validation (or val, dev) or test. Others are ignored.

    Args:
        root: folder that the paths start from and may not leave. None: the table's.
        skip_missing: leave out clips that are not there instead of refusing.

    Returns:
        Rows {"id": the path without its suffix, "speaker", "audio", "video": a path, and "split" if there is one}.

    Raises:
        ValueError: a missing column, or one that comes twice, a row of another length, an empty speaker, another split,
            a path that leaves `root`, or a clip that comes twice; with file and line.
        FileNotFoundError: files are missing: how many, and the first.
    """
    table = Path(table)
    root = table.parent if root is None else Path(root)
    records = read_records(table)
    line, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    if not {"path", "speaker"} <= set(header):
        expected = "a header with path and speaker, and perhaps audio and split, with commas between them"
        raise malformed(table, line, f"expected {expected}, got {','.join(header)!r}")
    for name in _COLUMNS:
        if header.count(name) > 1:
            raise malformed(table, line, f"the header names {name!r} {header.count(name)} times")
    rows: list[Row] = []
    lines: dict[str, int] = {}
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = {name: field.strip() for name, field in zip(header, fields, strict=True)}
        for name in filter(None, (named["path"] or "..", named.get("audio"))):
            check_relative_path(name, table, line)
        identifier = os.path.splitext(named["path"])[0]
        if lines.setdefault(identifier, line) != line:
            raise malformed(table, line, f"{identifier!r} is also in line {lines[identifier]}")
        if not named["speaker"]:
            raise malformed(table, line, "`speaker` is empty")
        video = os.path.join(root, named["path"])
        row = make_row(identifier, os.path.join(root, named["audio"]) if named.get("audio") else video, video)
        row["speaker"] = named["speaker"]
        if "split" in header:
            row["split"] = parse_split(named["split"], table, line)
        rows.append(row)
    if not rows:
        raise ValueError(f"{table} holds a header and no clip.")
    complaint = f"clips named by {table.name} lack a file"
    return list(keep_complete(rows, _find_missing_file, complaint, skip_missing))


def _find_missing_file(row: Row) -> str | None:
    return next((row[name] for name in ("video", "audio") if not os.path.isfile(row[name])), None)


__all__ = ["read_speaker_folders", "read_speaker_table"]
