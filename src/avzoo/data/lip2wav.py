"""Lip2Wav: lectures of one speaker each, as the authors' script downloads and cuts them.

    chem/train.txt, val.txt, test.txt         (a YouTube id per line)
    chem/intervals/QL6TFnaXvMg/cut-0.mp4      (30 s each, the sound in them)

Source: Rudrabha/Lip2Wav@03596a2 (README.md, download_speaker.sh). The frames are whole: some speakers fill a corner of
a screen, so find the faces. There are no transcripts.
"""

import os
import re
from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike, check_name, malformed, read_lines, report_left_out
from avzoo.data.talking_face_clips import Row


def lip2wav(
    root: PathLike, split: Literal["train", "val", "test"] = "test", *, skip_missing: bool = False
) -> list[Row]:
    """The cuts of one speaker, video by video in the order of the list, by their number within each.

    Args:
        root: a speaker's folder, such as `Dataset/chem`.
        split: which list.
        skip_missing: leave out videos that are not there (some left YouTube) instead of refusing.

    Returns:
        Rows {"id": "QL6TFnaXvMg/cut-0", "speaker": the folder's name, "audio", "video": a path}.

    Raises:
        ValueError: another split; a line that is no id, with file and line.
        FileNotFoundError: the list is missing, or videos: how many, and the first.
    """
    check_choice("split", split, ("train", "val", "test"))
    root = Path(os.path.abspath(root))
    table = root / f"{split}.txt"
    if not table.is_file():
        raise FileNotFoundError(f"`{table}` is missing; `root` should be a speaker's folder, such as Dataset/chem.")
    names = []
    for line, text in read_lines(table):
        check_name(text, table, line)
        if not re.fullmatch(r"[\w-]+", text):
            raise malformed(table, line, f"expected the id of a video, got {text!r}")
        names.append(text)
    names = list(dict.fromkeys(names))
    cuts = {name: _list_cuts(root / "intervals" / name) for name in names}
    missing = [name for name in names if not cuts[name]]
    if missing:
        first = root / "intervals" / missing[0]
        complaint = f"videos named by {table.name} are missing"
        if not skip_missing or len(missing) == len(names):
            raise FileNotFoundError(
                f"{len(missing)} of the {len(names)} {complaint}, for the first there should be {first}/cut-0.mp4. "
                "Pass skip_missing=True to read the others."
            )
        report_left_out(len(missing), len(names), complaint, first)
    return [
        {"id": f"{name}/{path.stem}", "speaker": root.name, "audio": os.fspath(path), "video": os.fspath(path)}
        for name in names
        for path in cuts[name]
    ]


def _list_cuts(folder: Path) -> list[Path]:
    """`cut-0.mp4`, `cut-1.mp4`, ... by number."""
    found = {path: re.fullmatch(r"cut-(\d+)\.mp4", path.name) for path in folder.glob("cut-*.mp4")}
    numbers = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(numbers, key=numbers.get)


__all__ = ["lip2wav"]
