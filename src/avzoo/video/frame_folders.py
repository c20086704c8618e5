"""Videos that lie on disk as folders of pictures, as many data sets ship them."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from avzoo.video.pictures import read_picture

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_MOST_NUMBERS = 10_000_000  # more are no numbers of frames, but times


def list_frames(folder: str | os.PathLike) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers by their value: 2.png comes before 10.png.

    Names of equally many digits, as data sets have them, come in the plain order of text. Hidden files and files of
    other types than `FRAME_SUFFIXES` are passed over.

    Raises:
        FileNotFoundError: no such folder. NotADirectoryError: it is a file. ValueError: it holds no picture.
    """
    folder = Path(folder)
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_frame(entry.name)]
    if not names:
        raise ValueError(f"`{folder}` holds no frames; known types are {' '.join(FRAME_SUFFIXES)}.")
    return [folder / name for name in sorted(names, key=_order)]


def find_missing_numbers(frames: Iterable[str | os.PathLike]) -> list[int]:
    """The numbers that frames of a video lack between their first and their last; empty if their names tell nothing.

        images0001.png, images0002.png, images0005.png      ->      [3, 4]

    Args:
        frames: names or paths; all but one number is the same in all of them.
    """
    split = [re.split(r"([0-9]+)", Path(frame).name) for frame in frames]
    parts = list(zip(*split, strict=False))
    different = [index for index, values in enumerate(parts) if len(set(values)) > 1]
    if len({len(one) for one in split}) != 1 or len(different) != 1 or different[0] % 2 == 0:
        return []
    numbers = {int(number) for number in parts[different[0]]}
    if max(numbers) - min(numbers) > _MOST_NUMBERS:
        return []
    return sorted(set(range(min(numbers), max(numbers))) - numbers)


def has_frames(folder: str | os.PathLike) -> bool:
    """Whether there is such a folder with at least one picture in it."""
    try:
        with os.scandir(folder) as entries:
            return any(_is_frame(entry.name) for entry in entries)
    except OSError:
        return False


class FrameFolder(Sequence):
    """The pictures of a folder as a list of frames, (height, width, 3) uint8 RGB, each read when it is asked for.

    Raises:
        OSError, ValueError: as [`list_frames`]; when asked for, a picture is damaged, or of another size than the
            first that was read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.paths = list_frames(folder)
        self._shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        path = self.paths[index]
        frame = read_picture(path, name=os.fspath(path))
        self._shape = self._shape or frame.shape
        if frame.shape != self._shape:
            height, width = self._shape[:2]
            raise ValueError(
                f"`{path}` has {frame.shape[1]} x {frame.shape[0]} pixels, the first frame of its folder "
                f"{width} x {height}; all frames of a video must have one size."
            )
        return frame


def read_frames(folder: str | os.PathLike) -> np.ndarray:
    """All pictures of a folder: (frames, height, width, 3) uint8 RGB.

    Raises:
        OSError, ValueError: as [`FrameFolder`].
    """
    return np.stack(list(FrameFolder(folder)))


def _is_frame(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in FRAME_SUFFIXES


def _order(name: str) -> tuple[list, str]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)], name


__all__ = ["FRAME_SUFFIXES", "FrameFolder", "find_missing_numbers", "has_frames", "list_frames", "read_frames"]
