"""Sentences of signing: what the readers of PHOENIX14, PHOENIX14-T, CSL-Daily and your own tables give.

A row is
    id        name of the clip
    path      its folder of frames, or its video file
    signer    name, "unknown" where nothing tells
    text      the annotation as it is written, with double blanks and all
    glosses   its words, in order
    split     train, dev or test

[`format_stm`] and [`format_ctm`] write references and hypotheses as sclite and the PHOENIX scripts read them; blanks in
names become underscores there.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avzoo.data.lists import check_name, check_relative_path, keep_complete, malformed
from avzoo.video.frame_folders import has_frames

SPLITS = ("train", "dev", "test")
_END = "1.79769e+308"  # of a sentence in a reference file: it lasts for ever

Row = dict[str, Any]


def read_bar_table(table: Path, header: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, fields by name) of a table with a header and bars between the fields.

    A byte order mark, Windows' ends of lines and blank lines are passed over. Fields keep their blanks.

    Raises:
        ValueError: another header, a row with more or fewer fields, or no UTF-8 text; with file and line.
    """
    names, expected = None, "|".join(header)
    with open(table, "rb") as file:  # bytes: a decoder would read on, and not know the line of its error
        for line, content in enumerate(file, 1):
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise malformed(table, line, f"not UTF-8 text ({error.reason})") from error
            fields = text.rstrip("\r\n").split("|")
            if not text.strip():
                continue
            if names is None:
                names = [name.strip() for name in fields]
                if names != list(header):
                    raise malformed(table, line, f"expected the header {expected}, got {'|'.join(names)}")
                continue
            if len(fields) != len(header):
                reason = f"expected {len(header)} fields ({expected}), got {len(fields)} in {text.strip()!r}"
                raise malformed(table, line, reason)
            yield line, dict(zip(header, fields, strict=True))
    if names is None:
        raise ValueError(f"{table} is empty; expected the header {expected}.")


class Sentences:
    """Collects the rows of one table and refuses what can't be a sentence.

    Args:
        table: for messages.
    """

    def __init__(self, table: Path):
        self.table = table
        self.rows: list[Row] = []
        self._lines: dict[str, int] = {}

    def add(self, line: int, name: str, path: str | os.PathLike, signer: str, text: str, split: str) -> None:
        """Append a row.

        Raises:
            ValueError: an empty annotation, or an id that comes twice; with file and line.
        """
        glosses = text.split()
        if not glosses:
            raise malformed(self.table, line, f"the annotation of {name!r} is empty; a sentence needs a gloss")
        if self._lines.setdefault(name, line) != line:
            raise malformed(self.table, line, f"the id {name!r} is also in line {self._lines[name]}")
        row = {"id": name, "path": os.fspath(path), "signer": signer, "text": text, "glosses": glosses, "split": split}
        self.rows.append(row)

    def keep(self, skip_missing: bool, check_frames: bool = True) -> list[Row]:
        """The rows that have frames; all of them, unless `check_frames`.

        Raises:
            ValueError: there is no row at all.
            FileNotFoundError: clips have no frames, unless `skip_missing`.
        """
        if not self.rows:
            raise ValueError(f"{self.table} holds a header and no sentence.")
        if not check_frames:
            return self.rows
        complaint = f"clips of {self.table.name} have no frames"
        return list(keep_complete(self.rows, _find_missing, complaint, skip_missing))


def check_clip_name(name: str, table: Path, line: int) -> None:
    """Refuse an id that is no plain name, or that has blanks, which files of references can't hold."""
    check_name(name, table, line)
    if len(name.split()) != 1:
        raise malformed(table, line, f"the id {name!r} has a blank inside")


def resolve_folder(pattern: str, suffix: str, table: Path, line: int) -> str:
    """The folder of a pattern such as `03March_2010/1/*.png`.

    Raises:
        ValueError: it does not end in `*` and the suffix, or leads elsewhere; with file and line.
    """
    folder, _, last = pattern.strip().rpartition("/")
    if last != f"*{suffix}" or not folder:
        raise malformed(table, line, f"expected a folder and *{suffix}, such as NAME/1/*{suffix}, got {pattern!r}")
    check_relative_path(folder, table, line)
    return folder


def format_stm(rows: Iterable[Mapping[str, Any]]) -> str:
    """References as an STM file, a line for each clip; the glosses begin with the sixth field.

        03March_2010_heute_default-1 1 Signer04 0.0 1.79769e+308 __ON__ MORGEN REGEN

    Args:
        rows: with "id", "signer" and "text".
    """
    return "".join(
        f"{_fill_blanks(row['id'])} 1 {_fill_blanks(row['signer'])} 0.0 {_END} {row['text']}\n" for row in rows
    )


def format_ctm(hypotheses: Mapping[str, Sequence[Mapping[str, Any] | str]]) -> str:
    """Hypotheses as a CTM file, a line for each gloss: id, channel, start, duration (seconds), gloss.

        03March_2010_heute_default-1 1 0.28 0.16 MORGEN

    Args:
        hypotheses: by id, glosses or dicts with "label", "start" and "end" in seconds. Glosses without times get
            hundredths of a second by their place, as in the authors' files, whose times mean nothing.
    """
    lines = []
    for name, glosses in hypotheses.items():
        for index, gloss in enumerate(glosses):
            if isinstance(gloss, str):
                gloss = {"label": gloss, "start": index / 100, "end": (index + 1) / 100}
            lines.append(
                f"{_fill_blanks(name)} 1 {gloss['start']:.2f} {gloss['end'] - gloss['start']:.2f} {gloss['label']}\n"
            )
    return "".join(lines)


def _fill_blanks(name: str) -> str:
    """A name without blanks, which part the fields of both formats."""
    return "_".join(name.split())


def _find_missing(row: Mapping[str, Any]) -> str | None:
    path = row["path"]
    return None if os.path.isfile(path) or has_frames(path) else path


__all__ = [
    "SPLITS",
    "Sentences",
    "check_clip_name",
    "format_ctm",
    "format_stm",
    "read_bar_table",
    "resolve_folder",
]
