"""The owners' lists of their clips: lines with their numbers, for messages, and names that lead nowhere else."""

import os
from collections.abc import Iterator
from pathlib import Path

PathLike = str | os.PathLike


def lines_of(table: Path) -> Iterator[tuple[int, str]]:
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


def malformed(table: Path, line: int, reason: str) -> ValueError:
    """The error for a line that does not look like the owners'."""
    return ValueError(f"{table}, line {line}: {reason}.")
