"""Official test pairs of audio-visual speech separation, two utterances of VoxCeleb2 or LRS3 each.

    pairs = read_pairs("lrs3_test.pckl", "lrs3", "lrs3")

Source: kaistmm/AVDiffuSS@86d8203 (`test.py`, `vox_test.pckl`, `lrs3_test.pckl`).
"""

import io
import os
import pickle
import pickletools
import re
import reprlib
from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike
from avzoo.data.lrs3 import make_lrs3_rows
from avzoo.data.talking_face_clips import Row
from avzoo.data.voxceleb2 import make_voxceleb2_rows

# Of letters, digits, _ and -, as YouTube has them: no such name leads out of its folder.
_VOXCELEB2_NAME = re.compile(r"([\w-]+/[\w-]+/[\w-]+)", re.ASCII)
_LRS3_NAME = re.compile(r"(?:/(?:.*/)?test/)?([\w-]+/[\w-]+)\.wav", re.ASCII)


def read_pairs(
    path: PathLike, root: PathLike, kind: Literal["voxceleb2", "lrs3"], *, skip_missing: bool = False
) -> list[tuple[Row, Row]]:
    """The official test pairs in their order: `vox_test.pckl` (9458) or `lrs3_test.pckl` (1321).

        [{"identifier1": "id06816/6pDTN5v_wfE/00013", "identifier2": "id04657/kWmtTr-pFR8/00317"}, ...]

    Each pair is separated twice, by one face and by the other. Some are of one and the same speaker (211 and 7).

    A pickle can make its reader run anything. Here it can't: lists, dicts and strings are all that gets through, and
    the names consist of letters, digits, `_` and `-`, so that none leads out of `root`. Those of LRS3 are absolute
    paths of the authors' disk; what stands before `test` is replaced by `root`.

    Args:
        path: the list.
        root: folder of `test`, as for [`avzoo.data.voxceleb2`] and [`avzoo.data.lrs3`].
        kind: which of the two the list is of.
        skip_missing: leave out pairs with a missing file instead of refusing.

    Raises:
        ValueError: another kind; the file is damaged, no pickle, or holds something else; a name is no
            speaker/video/utterance (VoxCeleb2) or video/utterance.wav (LRS3), with the number of its pair.
        FileNotFoundError: no such list, or no folder of sounds; files are missing: of how many pairs, and the first.
    """
    check_choice("kind", kind, ("voxceleb2", "lrs3"))
    pattern, expected, make_rows = {
        "voxceleb2": (_VOXCELEB2_NAME, "speaker/video/utterance", make_voxceleb2_rows),
        "lrs3": (_LRS3_NAME, "video/utterance.wav, after nothing or /.../test/", make_lrs3_rows),
    }[kind]
    names = []
    for number, pair in enumerate(_read_string_pairs(path), 1):
        for text in pair:
            match = pattern.fullmatch(text)
            if match is None:
                raise ValueError(f"{path}, pair {number}: expected {expected}, got {text!r}.")
            names.append(match[1])
    rows = make_rows(root, "test", names)
    pairs, missing, first = [], 0, ""
    for number, pair in enumerate(zip(rows[::2], rows[1::2], strict=True), 1):
        gone = [row[key] for row in pair for key in ("audio", "video") if not os.path.isfile(row[key])]
        if not gone:
            pairs.append(pair)
        else:
            missing += 1
            first = first or f"{gone[0]} (pair {number})"
    if missing and not skip_missing:
        raise FileNotFoundError(
            f"{missing} of the {missing + len(pairs)} pairs of {path} lack files, the first is {first}. "
            "Pass skip_missing=True to read the others."
        )
    return pairs


class _CodeFreeUnpickler(pickle.Unpickler):
    """Refuses classes and functions, by which a pickle could run code."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, but a list of pairs holds no code")


def _read_string_pairs(path: PathLike) -> list[list[str]]:
    stored = Path(path).read_bytes()
    try:
        # Registered classes and functions are remembered once they were looked up, past `find_class`.
        if any(operation.name.startswith("EXT") for operation, _, _ in pickletools.genops(stored)):
            raise pickle.UnpicklingError("it asks for registered code, but a list of pairs holds none")
        entries = _CodeFreeUnpickler(io.BytesIO(stored)).load()
    except Exception as error:  # damaged pickles raise anything, from IndexError to MemoryError
        raise ValueError(f"{path} is damaged, or no pickled list of pairs: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected a list of pairs, at least one, got {reprlib.repr(entries)}.")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or [type(name) for name in entry.values()] != [str, str]:
            raise ValueError(f"{path}, pair {number}: expected a dict of two strings, got {reprlib.repr(entry)}.")
    return [list(entry.values()) for entry in entries]


__all__ = ["read_pairs"]
