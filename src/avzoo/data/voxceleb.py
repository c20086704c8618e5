"""Utterances of VoxCeleb1 and VoxCeleb2 with their speakers and sessions, and lists of them.

A row is {"id", "speaker", "session", "audio": a path}. The speaker and the session are read from the end of the path,
.../speaker/video/file, so the root may lie at any depth:

    voxceleb1/dev/wav/id10001/1zcIwhmdeo4/00001.wav      speaker id10001, session id10001/1zcIwhmdeo4
    voxceleb2/dev/aac/id00012/21Uxsk56VDQ/00001.m4a

[`avzoo.data.voxceleb2`] reads the face videos of VoxCeleb2.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from avzoo.checks import check_whole_number
from avzoo.data.lists import PathLike, check_relative_path, find_missing_audio, keep_complete, malformed, read_lines

Row = dict[str, str]
SUFFIXES = (".wav", ".m4a", ".flac")


def parse_voxceleb_path(path: PathLike) -> tuple[str, str]:
    """(speaker, session) of .../speaker/video/file; the session is "speaker/video".

    Raises:
        ValueError: a path of fewer than three parts.
    """
    parts = Path(path).parts
    if len(parts) < 3:
        raise ValueError(f"`path` must end in speaker/video/file, got {os.fspath(path)!r}.")
    return parts[-3], f"{parts[-3]}/{parts[-2]}"


def voxceleb_utterances(root: PathLike) -> list[Row]:
    """All utterances below a folder (.wav, .m4a, .flac), sorted by their id "speaker/video/file".

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file that lies less than two folders below `root`, or one utterance in two files.
    """
    root = Path(root)
    rows: dict[str, Row] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.lower().endswith(SUFFIXES):
                continue
            path = Path(folder, name)
            if len(path.relative_to(root).parts) < 3:
                raise ValueError(f"{path} is not below a folder of a speaker and one of a video in `root` ({root}).")
            row = _make_row(path)
            if row["id"] in rows:
                raise ValueError(f"One utterance is there twice: {rows[row['id']]['audio']} and {path}.")
            rows[row["id"]] = row
    if not rows:
        there = "" if root.is_dir() else ", and no such folder"
        raise FileNotFoundError(f"There is no recording ({', '.join(SUFFIXES)}) below {root}{there}.")
    return [rows[name] for name in sorted(rows)]


def read_voxceleb_list(list_path: PathLike, root: PathLike, *, skip_missing: bool = False) -> list[Row]:
    """The utterances of a trainer's list, in its order.

        id00012 id00012/21Uxsk56VDQ/00001.wav

    Args:
        root: folder that the paths are relative to.
        skip_missing: leave out utterances whose file is missing instead of refusing.

    Raises:
        ValueError: with file and line number: other fields, a path that leads out of the root or isn't
            speaker/video/file, a speaker that isn't the path's, an utterance given twice. No utterances.
        FileNotFoundError: files are missing: how many, and the first.
    """
    table, rows = Path(list_path), {}
    for line, text in read_lines(table):
        fields = text.split()
        if len(fields) != 2:
            raise malformed(table, line, f"expected a speaker and a path, got {text!r}")
        speaker, name = fields
        check_relative_path(name, table, line)
        if name.count("/") < 2:
            raise malformed(table, line, f"the path must end in speaker/video/file, got {name!r}")
        row = _make_row(Path(root, name))
        if row["speaker"] != speaker:
            raise malformed(table, line, f"the speaker is {speaker!r}, but {row['speaker']!r} in the path {name!r}")
        if row["id"] in rows:
            raise malformed(table, line, f"{name!r} is there twice")
        rows[row["id"]] = row
    if not rows:
        raise ValueError(f"{table} holds no utterances.")
    complaint = f"utterances named by {table.name} are missing"
    return list(keep_complete(list(rows.values()), find_missing_audio, complaint, skip_missing))


def keep_speakers_with_sessions(
    rows: Iterable[Mapping[str, str]], sessions: int = 2, utterances: int = 1
) -> tuple[list[Mapping[str, str]], int]:
    """The rows that can serve where sessions of one speaker are compared, and the number of speakers left out.

    Args:
        rows: with "speaker" and "session".
        sessions: least number of a speaker's sessions.
        utterances: least number of a session's utterances; sessions with fewer don't count and are left out.

    Raises:
        ValueError: no speaker is left.
    """
    check_whole_number("sessions", sessions, at_least=1)
    check_whole_number("utterances", utterances, at_least=1)
    rows = list(rows)
    speakers = {row["speaker"] for row in rows}
    sizes = Counter((row["speaker"], row["session"]) for row in rows)
    large = {session for session, size in sizes.items() if size >= utterances}
    counts = Counter(speaker for speaker, _ in large)
    kept = {speaker for speaker, count in counts.items() if count >= sessions}
    if not kept:
        raise ValueError(
            f"`rows`: none of the {len(speakers)} speakers has {sessions} sessions of {utterances} or more utterances."
        )
    rows = [row for row in rows if row["speaker"] in kept and (row["speaker"], row["session"]) in large]
    return rows, len(speakers) - len(kept)


def _make_row(path: Path) -> Row:
    speaker, session = parse_voxceleb_path(path)
    return {"id": f"{session}/{path.stem}", "speaker": speaker, "session": session, "audio": os.fspath(path)}


__all__ = ["keep_speakers_with_sessions", "parse_voxceleb_path", "read_voxceleb_list", "voxceleb_utterances"]
