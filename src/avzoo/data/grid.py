"""GRID: people who read sentences of six words from a fixed list, 3 s and 75 frames each, with what they say.

    grid/s1/bbaf2n.mpg        (the Zenodo archives; also s1/video/mpg_6000/bbaf2n.mpg and video/s1/bbaf2n.mpg)

A file's name is its sentence, a letter or digit for each word: bbaf2n is "bin blue at f two now". The sound is the
video's own. The recordings of the folder `audio_25k` are cut to the speech, so they don't fit the frames, and are not
looked at.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from avzoo.data.lists import PathLike
from avzoo.data.talking_face_clips import Row

# Speakers of the protocol in which training and test have the same ones, as many papers have it (from memory).
FOUR_SPEAKERS = ("s1", "s2", "s4", "s29")

_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},  # there is no w
    {"z": "zero", **{str(number): word for number, word in enumerate(_DIGITS) if number}},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
_SUFFIXES = (".mpg", ".mp4", ".avi")


def grid(root: PathLike, speakers: Sequence[str] | None = None) -> list[Row]:
    """The sentences of GRID, sorted by speaker and name.

    Args:
        root: folder of the speakers' folders `s1` to `s34`, or of a folder `video` that holds them. Speaker 21 has no
            videos.
        speakers: take only these, e.g. [`FOUR_SPEAKERS`]. None: all that are there.

    Returns:
        Rows {"id": "s1/bbaf2n", "speaker": "s1", "audio", "video": a path, "text": "bin blue at f two now"}.

    Raises:
        FileNotFoundError: no such folder, no speaker's folder or one of `speakers` is missing, or has no video.
        ValueError: a video whose name is no sentence of GRID; two videos of one sentence of a speaker.
    """
    root = Path(root)
    folders = {path.name: path for base in (root / "video", root) if base.is_dir() for path in base.iterdir()}
    folders = {name: path for name, path in folders.items() if re.fullmatch(r"s\d+", name) and path.is_dir()}
    if not folders:
        there = "" if root.is_dir() else ", and no such folder"
        raise FileNotFoundError(f"`{root}` holds no speaker's folder (s1, s2, ...){there}; is it the dataset's folder?")
    wanted = sorted(folders, key=_number) if speakers is None else list(speakers)
    missing = [name for name in wanted if name not in folders]
    if missing:
        raise FileNotFoundError(
            f"`{root}` has no folder of {', '.join(missing)}; there are {', '.join(sorted(folders, key=_number))}."
        )
    rows = [row for name in wanted for row in _list_speaker(name, folders[name])]
    if not rows:
        raise FileNotFoundError(f"`{root}` has speakers' folders, but no video ({', '.join(_SUFFIXES)}) in them.")
    return rows


def read_grid_sentence(name: str) -> str:
    """What a file of GRID says: "bbaf2n" is "bin blue at f two now".

    Raises:
        ValueError: no such name.
    """
    words = [table.get(letter) for letter, table in zip(name, _WORDS, strict=False)]
    if len(name) != len(_WORDS) or None in words:
        raise ValueError(
            f"{name!r} is no sentence of GRID: expected six letters and digits, each for a word, such as bbaf2n, bin "
            "blue at f two now."
        )
    return " ".join(words)


def _list_speaker(speaker: str, folder: Path) -> list[Row]:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    rows: dict[str, Row] = {}
    for path in sorted(paths, key=lambda path: path.stem):
        identifier, video = f"{speaker}/{path.stem}", os.fspath(path)
        if identifier in rows:
            raise ValueError(f"two videos are called {identifier}: {rows[identifier]['video']} and {video}.")
        try:
            text = read_grid_sentence(path.stem)
        except ValueError as error:
            raise ValueError(f"`{video}`: {error}") from error
        rows[identifier] = {"id": identifier, "speaker": speaker, "audio": video, "video": video, "text": text}
    return list(rows.values())


def _number(speaker: str) -> int:
    return int(speaker[1:])


__all__ = ["FOUR_SPEAKERS", "grid", "read_grid_sentence"]
