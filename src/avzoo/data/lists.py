"""The owners' lists of their clips: lines with their numbers, for messages, and names that lead nowhere else."""

import csv
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from avzoo.audio.reading_options import read_with

logger = logging.getLogger(__name__)

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


def read_records(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, fields) of each record: a quoted field may span several lines.

    Raises:
        ValueError: broken quotes, or no UTF-8 text; with file and line.
    """
    with open(table, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark in front
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:  # not a blank line
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise malformed(table, line, str(error)) from error
        except UnicodeDecodeError as error:
            raise malformed(table, line, f"not UTF-8 text ({error.reason})") from error


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
        skip_missing: leave incomplete rows out, and log how many, instead of refusing.

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
    if first is not None:
        report_left_out(len(rows) - missing.count(None), len(rows), complaint, first)
    for row, path in zip(rows, missing, strict=True):
        if path is None:
            yield row


def report_left_out(count: int, total: int, complaint: str, first: Any) -> None:
    """Log how many rows are left out; without a handler the line goes to stderr."""
    logger.warning(f"{count} of the {total} {complaint} and left out, the first is {first}.")


def keep_readable(rows: Sequence[Row], read: Callable[[Row], Any], what: str) -> list[Row]:
    """The rows that can be read; the others are counted in the log. Reads all, several at a time.

    Args:
        read: row -> anything; ValueError or OSError where it can't be read.
        what: what rows are, for the message.
    """

    def find_damage(row: Row) -> str | None:
        try:
            with read_with(strict=True):  # here, since a thread does not take over what is said outside
                read(row)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        damage = list(pool.map(find_damage, rows))
    first = next((reason for reason in damage if reason is not None), None)
    if first is not None:
        report_left_out(len(rows) - damage.count(None), len(rows), f"{what} can't be read", first.rstrip("."))
    return [row for row, reason in zip(rows, damage, strict=True) if reason is None]


def refuse_empty_files(paths: Iterable[PathLike]) -> None:
    """Raise an OSError if files hold nothing, which costs less to see than any other damage."""
    paths = list(dict.fromkeys(map(os.fspath, paths)))
    empty = [path for path in paths if os.path.getsize(path) == 0]
    if empty:
        raise OSError(
            f"{len(empty)} of the {len(paths)} files are empty, the first is {empty[0]}; delete them, or pass "
            "--skip_damaged."
        )


def describe_rows(rows: Iterable[Row], keys: Sequence[str]) -> str:
    """Number of rows and a digest of what they hold under `keys`: "1600, digest 3fa2c1d0"."""
    content = [[row.get(key) for key in keys] for row in rows]
    digest = hashlib.sha256(json.dumps(content, default=lambda value: value.tolist()).encode()).hexdigest()
    return f"{len(content)}, digest {digest[:8]}"
