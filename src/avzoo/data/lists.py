"""The owners' lists of their clips: lines with their numbers, for messages, and names that lead nowhere else."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike
Row = Mapping[str, Any]


def read_lines(table: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of the lines that are not blank.

    Raises:
        ValueError: a line that is no UTF-8 text.
    """
    with open(table, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark in front
        line = 0
        try:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield line, text.strip()
        except UnicodeDecodeError as error:
            raise malformed(table, line + 1, f"not UTF-8 text ({error.reason})") from error


def check_name(name: str, table: Path, line: int) -> None:
    """Refuse whatever is more than the name of a file or folder."""
    if not name or name in (".", "..") or any(character in name for character in "/\\:\0"):
        raise malformed(table, line, f"{name!r} is not a plain file name; names that lead elsewhere are refused")


def check_relative_path(name: str, table: Path, line: int) -> None:
    """Refuse whatever is more than names of folders and a file, separated by slashes."""
    for part in name.split("/"):
        try:
            check_name(part, table, line)
        except ValueError:
            raise malformed(table, line, f"{name!r} leads out of the root or is no path; it is refused") from None


def malformed(table: Path, line: int, reason: str) -> ValueError:
    """The error for a line that does not look like the owners'."""
    return ValueError(f"{table}, line {line}: {reason}.")


def find_missing_audio(row: Row) -> str | None:
    """The path of a row's recording if it is not there."""
    return None if os.path.isfile(row["audio"]) else row["audio"]


def keep_complete(
    rows: Sequence[Row], find_missing: Callable[[Row], Any], complaint: str, skip_missing: bool
) -> Iterator[Row]:
    """The rows that have all of their files.

    Args:
        find_missing: row -> the first file it lacks; None: it has all.
        complaint: follows the number of incomplete rows in the message.
        skip_missing: leave incomplete rows out instead of refusing.

    Raises:
        FileNotFoundError: rows are incomplete: how many, and the first missing file.
    """
    missing = [find_missing(row) for row in rows]
    first = next((path for path in missing if path is not None), None)
    if first is not None and not skip_missing:
        raise FileNotFoundError(
            f"{len(rows) - missing.count(None)} of the {len(rows)} {complaint}, the first is {first}. "
            "Pass skip_missing=True to read the others."
        )
    for row, path in zip(rows, missing, strict=True):
        if path is None:
            yield row
