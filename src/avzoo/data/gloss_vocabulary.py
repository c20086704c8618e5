"""Vocabularies of sign glosses: built from annotations, read from files, and the numbers of glosses in labels.

A vocabulary is a list of glosses. Number 0 is CTC's blank, so the first gloss has number 1.

    glosses = build_vocabulary(rows)                    # sorted by code point, as the authors' are
    glosses = read_glosses("gloss_dict.npy")            # or a text file of one gloss per line
    number_glosses("MORGEN REGEN".split(), assign_numbers(glosses))

Source: kaistmm/SlowFastSign@37d1b6c23a7aa4df63d27d7111391a43e7810d55 (`preprocess/`, `dataset/dataloader_video.py`).
"""

import difflib
import hashlib
import io
import pickle
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike, malformed, read_lines
from avzoo.files import check_readable

# SHA-256 of the glosses joined by newlines: the vocabularies of all three splits that the published models have.
PUBLISHED_VOCABULARIES = {
    "879693d1a5b355369dc03dcf64ba4fc08070c87b4e440a4429cbf6778f37953b": "PHOENIX14",
    "38f5c3142a31f662aa41b8923ba5b9858ba02d4ad3046410df19170cbd58172e": "PHOENIX14-T",
    "8046e0fa84d0b5b354b2d4663611281c5a29089cf99ef4010ffa733ea9e85b73": "CSL-Daily",
}
_LARGEST = 1 << 24  # bytes; the published dictionaries have some 50 kB
_NPY = b"\x93NUMPY"
_LONGEST_HEADER = 10_000


def build_vocabulary(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The glosses of some rows, each once, sorted by code point. Take all three splits, as the authors do."""
    return list(count_glosses(rows))


def count_glosses(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How often each gloss comes, {gloss: count}, sorted by code point.

    Args:
        rows: with "glosses", a list each.
    """
    counts = Counter(gloss for row in rows for gloss in row["glosses"])
    return {gloss: counts[gloss] for gloss in sorted(counts)}


def assign_numbers(glosses: Sequence[str]) -> dict[str, int]:
    """{gloss: number} of a vocabulary, counted from 1.

    Raises:
        ValueError: a gloss comes twice, is empty or has a blank inside.
    """
    numbers: dict[str, int] = {}
    for number, gloss in enumerate(glosses, start=1):
        if not _is_gloss(gloss):
            raise ValueError(f"`glosses` must be words without blanks, got {gloss!r} as number {number}.")
        if numbers.setdefault(gloss, number) != number:
            raise ValueError(f"`glosses` hold {gloss!r} twice, as number {numbers[gloss]} and {number}.")
    return numbers


def number_glosses(
    glosses: Sequence[str],
    numbers: Mapping[str, int],
    *,
    unknown: Literal["error", "drop"] = "error",
    name: str = "glosses",
) -> list[int]:
    """The numbers of one clip's glosses.

    Args:
        numbers: {gloss: number}, see [`assign_numbers`].
        unknown: what to do with a gloss that has no number: refuse, or "drop" it silently, as the authors' loader does.
        name: what error messages call the glosses.

    Raises:
        ValueError: an unknown gloss; the message names similar ones.
    """
    check_choice("unknown", unknown, ("error", "drop"))
    missing = next((gloss for gloss in glosses if gloss not in numbers), None)
    if missing is not None and unknown == "error":
        similar = find_similar(missing, numbers)
        hint = f"similar are {', '.join(similar)}" if similar else "none is similar"
        raise ValueError(
            f"`{name}` hold {missing!r}, which the vocabulary of {len(numbers)} glosses lacks; {hint}. Correct it, or "
            'pass unknown="drop" to leave such glosses out.'
        )
    return [numbers[gloss] for gloss in glosses if gloss in numbers]


def find_similar(gloss: str, vocabulary: Iterable[str]) -> list[str]:
    """Up to three glosses of the vocabulary that are spelled nearly so, the nearest first; case doesn't count."""
    spellings: dict[str, str] = {}
    for other in vocabulary:
        spellings.setdefault(other.casefold(), other)
    return [spellings[found] for found in difflib.get_close_matches(gloss.casefold(), spellings, n=3)]


def identify_vocabulary(glosses: Sequence[str]) -> str | None:
    """Name of the data set whose published vocabulary this is, in this order; None if it is of none."""
    return PUBLISHED_VOCABULARIES.get(hashlib.sha256("\n".join(glosses).encode()).hexdigest())


def read_glosses(path: PathLike) -> list[str]:
    """Read a vocabulary, in the order of its numbers: the authors' `gloss_dict.npy`, or text of one gloss per line.

        {"ABEND": [1, 113], "ABER": [2, 241], ...}      (what the .npy file holds: number and count of each gloss)

    No code of the file is run: everything that its pickle names is replaced by a class that does nothing, and a name
    that no such file needs is refused.

    Raises:
        OSError: the file is missing, damaged or cut short.
        ValueError: it is another kind of file, its pickle would run code, numbers are not 1, 2, 3 and so on, or a gloss
            is empty, has a blank inside or comes twice.
    """
    path = Path(path)
    check_readable(path, "vocabulary")
    if path.is_dir():
        raise IsADirectoryError(f"vocabulary `{path}` is a folder; pass gloss_dict.npy or a text file.")
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"vocabulary `{path}` has {size} bytes, expected at most {_LARGEST}.")
    content = path.read_bytes()
    if content.startswith(_NPY):
        return _order_glosses(_read_npy_dictionary(content, path), path)
    if content[:1] == b"\x80":
        raise ValueError(f"vocabulary `{path}` is a pickle; expected gloss_dict.npy or a text of one gloss per line.")
    return _read_lines(path)


def _read_lines(path: Path) -> list[str]:
    lines: dict[str, int] = {}
    for line, gloss in read_lines(path):
        if not _is_gloss(gloss):
            raise malformed(path, line, f"expected one gloss, without blanks, got {gloss!r}")
        if lines.setdefault(gloss, line) != line:
            raise malformed(path, line, f"{gloss!r} is also in line {lines[gloss]}")
    if not lines:
        raise ValueError(f"vocabulary `{path}` holds no gloss.")
    return list(lines)


def _read_npy_dictionary(content: bytes, path: Path) -> Any:
    """What an .npy file of one object holds."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file, max_header_size=_LONGEST_HEADER)
    except ValueError as error:
        raise OSError(f"vocabulary `{path}` cannot be read, its header is damaged: {error}") from error
    if dtype != np.dtype(object) or shape != ():
        raise ValueError(
            f"vocabulary `{path}` holds an array of {dtype} and shape {shape}, expected one dictionary, "
            "{gloss: [number, count]}."
        )
    try:
        loaded = _GlossUnpickler(file, path).load()
    except _RefusedPickleError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        reason = str(error) or "the file ends early"
        raise OSError(f"vocabulary `{path}` cannot be read, it is cut short or damaged: {reason}.") from error
    items = loaded.items if isinstance(loaded, _Array) else None
    return items[0] if isinstance(items, list) and len(items) == 1 else loaded


def _order_glosses(entries: Any, path: Path) -> list[str]:
    if not isinstance(entries, dict):
        raise ValueError(
            f"vocabulary `{path}` holds a {type(entries).__name__.lstrip('_').lower()}, expected a dictionary, "
            "{gloss: [number, count]}."
        )
    by_number: dict[int, str] = {}
    for gloss, entry in entries.items():
        if not _is_gloss(gloss):
            raise ValueError(f"vocabulary `{path}` holds {_shorten(gloss)}, expected glosses without blanks.")
        number = entry[0] if isinstance(entry, list | tuple) and entry else None
        if type(number) is not int:
            raise ValueError(f"vocabulary `{path}`: {gloss!r} holds {_shorten(entry)}, expected [number, count].")
        if by_number.setdefault(number, gloss) != gloss:
            raise ValueError(f"vocabulary `{path}` has number {number} twice: {by_number[number]!r} and {gloss!r}.")
    gap = next((number for number in range(1, len(by_number) + 1) if number not in by_number), None)
    if gap is not None or not by_number:
        what = f"number {gap} is missing" if by_number else "there is none"
        raise ValueError(f"vocabulary `{path}` must number its {len(by_number)} glosses from 1 on; {what}.")
    return [by_number[number] for number in range(1, len(by_number) + 1)]


def _is_gloss(gloss: Any) -> bool:
    return isinstance(gloss, str) and gloss.split() == [gloss]


def _shorten(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | bytes | None) else f"a {type(value).__name__}"


class _RefusedPickleError(ValueError):
    pass


class _Array:
    """Stands for numpy's array while it is unpickled: it keeps the objects of the array, and nothing else."""

    items: Any = None

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        # (version, shape, dtype, order, objects)
        self.items = state[-1] if isinstance(state, tuple) and len(state) == 5 else None


class _Inert:
    """Stands for numpy's types, and for the bytes that old protocols encode."""

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_STAND_INS = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,  # numpy 2
    "numpy.ndarray": _Inert,
    "numpy.dtype": _Inert,
    "_codecs.encode": _Inert,
}


class _GlossUnpickler(pickle._Unpickler):  # the one in C takes memory for every number of its memo that a file states
    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> type:
        full_name = f"{module}.{name}"
        if full_name not in _STAND_INS:
            raise _RefusedPickleError(
                f"vocabulary `{self._path}` needs `{full_name}` to be unpickled, which could run code; it is not "
                "opened. Write its glosses into a text file, one per line, in the order of their numbers."
            )
        return _STAND_INS[full_name]

    def persistent_load(self, identifier: Any) -> Any:
        raise _RefusedPickleError(f"vocabulary `{self._path}` refers to objects outside of the file; it is not opened.")


__all__ = [
    "PUBLISHED_VOCABULARIES",
    "assign_numbers",
    "build_vocabulary",
    "count_glosses",
    "find_similar",
    "identify_vocabulary",
    "number_glosses",
    "read_glosses",
]
