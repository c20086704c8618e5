"""LRS2, as people have it on disk for work on lip sync: the owners' lists, and one of two layouts of the clips.

    6330311066473698535/00011 NF        (a line of test.txt; of the other lists only the part before the space)

| layout | a clip | its pictures |
|---|---|---|
| the owners' | `{video}/{number}.mp4` | heads with room around them, 160 x 160: find and cut the faces yourself |
| Wav2Lip's | `{video}/{number}/`: `0.jpg`, `1.jpg`, ..., `audio.wav` | the face detector's boxes, nothing around them |

    for row in lrs2("lrs2_preprocessed", "filelists/val.txt"):
        faces, audio = read_lrs2_faces(row["path"])
        mouths = np.stack([MouthHalf().cut_face(face) for face in faces])

A network trained on one of these crops loses accuracy on the other, so a list is read in one layout: where one of its
clips is a folder, all have to be.

Wav2Lip's script leaves out frames in which it finds no face, and some of its versions number only the others. Then
every frame after such a one lies 40 ms too early and no file tells; such a clip has fewer frames than its sound lasts.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.audio.reading import read_audio
from avzoo.data.jpeg import read_jpeg
from avzoo.data.lists import PathLike, check_name, malformed, read_lines, report_left_out
from avzoo.rates import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, SAMPLING_RATE
from avzoo.video.reading import VideoReader
from avzoo.video.video import Video

_SOUND = "audio.wav"
_FIRST_FACE = "0.jpg"

_ADVICE = "cut the clip's faces again, or leave the clip out"


def lrs2(root: PathLike, list_path: PathLike, *, skip_missing: bool = False) -> Iterator[dict[str, Any]]:
    """The clips of one list, in its order.

    Args:
        root: folder of the video folders: `mvlrs_v1/main` or `mvlrs_v1/pretrain`, or what Wav2Lip's script made of one.
        list_path: `pretrain.txt`, `train.txt`, `val.txt` or `test.txt`. What follows a space, such as the noise tags
            of `test.txt`, is ignored.
        skip_missing: leave out clips that are not there instead of refusing.

    Yields: `id` ("video/number"), `path` (the mp4 file or the folder of faces) for [`read_lrs2_faces`].

    Raises:
        ValueError: a line is no "video/number", or leads out of `root`; with file and line number.
        FileNotFoundError: clips are not there: neither the mp4 file nor the folder, or a folder without `0.jpg` or
            `audio.wav`. Counted before anything is yielded.
    """
    root, table = Path(root), Path(list_path)
    names = [_clip_name(text, table, line) for line, text in read_lines(table)]
    find = _missing_of_faces if any((root / name).is_dir() for name in names) else _missing_of_video
    missing = [find(root, name) for name in names]  # the file each clip lacks, None where it lacks none
    if not skip_missing and any(missing):
        first, path = next((name, path) for name, path in zip(names, missing, strict=True) if path)
        advice = "Pass skip_missing=True to read the others."
        if find is _missing_of_video:
            advice = f"Nor is there a folder {first}. {advice}"
        elif _missing_of_video(root, first) is None:
            advice += " Its mp4 file is there, but other clips are folders of faces, and the two show different crops."
        raise FileNotFoundError(
            f"{len(names) - missing.count(None)} of the {len(names)} clips named by {table.name} are missing; for the "
            f"first there should be {path}. {advice}"
        )
    if any(missing):
        first = next(path for path in missing if path)
        complaint = f"clips named by {table.name} are missing"
        report_left_out(len(names) - missing.count(None), len(names), complaint, first)
    for name, path in zip(names, missing, strict=True):
        if path is None:
            yield {"id": name, "path": str(root / (name if find is _missing_of_faces else f"{name}.mp4"))}


def read_lrs2_faces(path: PathLike) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """One clip: its pictures at 25 frames per second, and the sound that belongs to them.

    Both are cut to the shorter of the two, so that picture i goes with the samples from 640 i to 640 (i + 1).

        faces, audio = read_lrs2_faces(row["path"])
        window = [MouthHalf().cut_face(face) for face in faces[10:15]]      # decodes five JPEGs

    Args:
        path: as [`lrs2`] gives it.

    Returns:
        The pictures, each (height, width, 3) uint8 RGB. Of a folder: the face boxes, whose size may change from one
        to the next; a JPEG is decoded when it is asked for, each time anew. Of an mp4 file: its frames, with the face
        somewhere inside, all of one size and in memory.
        And the sound: (samples,), float32, mono, 16 000 Hz, from a file of any rate.

    Raises:
        FileNotFoundError: nothing there, or no `audio.wav` in the folder.
        ValueError: a number between frames is missing (a gap moves all later frames against their sound), a `.jpg`
            has another name, sound or video is damaged or missing, or not one whole frame of 40 ms is left. A JPEG
            that can't be decoded says so when it is asked for.
    """
    path = Path(path)
    clip = "/".join((*path.parent.parts[-1:], path.stem))  # for messages: "audio.wav" alone could be any clip's
    if path.is_dir():
        pictures: Sequence[np.ndarray] = _JpegFaces(_numbered_jpegs(path))
        samples, _ = read_audio(path / _SOUND, SAMPLING_RATE, name=clip)
    else:
        reader = VideoReader(path, name=clip, strict=True)
        pictures = list(reader.read(FRAMES_PER_SECOND))
        samples, _ = reader.soundtrack(SAMPLING_RATE)
    count = min(len(pictures), len(samples) // SAMPLES_PER_FRAME)
    if not count:
        raise ValueError(
            f"`{clip}` is too short: {len(pictures)} frames and {len(samples)} samples at {SAMPLING_RATE} Hz; a frame "
            f"has {SAMPLES_PER_FRAME} samples."
        )
    pictures = pictures.first(count) if isinstance(pictures, _JpegFaces) else pictures[:count]
    return pictures, samples[: count * SAMPLES_PER_FRAME]


def read_lrs2_clip(path: PathLike, of_face: Callable[[np.ndarray], np.ndarray] | None = None) -> Video:
    """One clip as a [`Video`] of 25 frames per second with sound at 16 000 Hz.

        read_lrs2_clip(row["path"], MouthHalf().cut_face).frames      # (frames, 48, 96, 3)

    Args:
        path: as [`lrs2`] gives it.
        of_face: what to make of each picture, (height, width, 3) uint8 RGB; all results must have one shape. None: the
            pictures as they are, which only mp4 files have in one size for certain.

    Raises:
        ValueError: pictures of unequal shape; and what [`read_lrs2_faces`] raises.
    """
    faces, samples = read_lrs2_faces(path)
    frames = []
    for index, face in enumerate(faces):
        frames.append(face if of_face is None else of_face(face))
        if frames[index].shape != frames[0].shape:
            raise ValueError(
                f"{path}: picture {index} has the shape {frames[index].shape}, picture 0 {frames[0].shape}; a video "
                "needs one size. Pass an `of_face` that gives one, such as MouthHalf().cut_face, or take the pictures "
                "from read_lrs2_faces."
            )
    return Video(np.stack(frames), float(FRAMES_PER_SECOND), samples, SAMPLING_RATE)


class _JpegFaces(Sequence):
    """Pictures of a folder, decoded when they are asked for: a window of five needs no other of the clip's JPEGs."""

    def __init__(self, paths: list[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [read_jpeg(path, _ADVICE) for path in self._paths[index]]
        return read_jpeg(self._paths[index], _ADVICE)

    def first(self, count: int) -> "_JpegFaces":
        return _JpegFaces(self._paths[:count])


def _numbered_jpegs(folder: Path) -> list[Path]:
    """`0.jpg`, `1.jpg`, ... in this order; ValueError where one is missing."""
    numbers = []
    for name in os.listdir(folder):
        stem, suffix = os.path.splitext(name)
        if suffix != ".jpg" or stem.startswith("."):  # macOS leaves a ._0.jpg beside each 0.jpg in archives
            continue
        if not (stem.isascii() and stem.isdigit() and stem == str(int(stem))):
            raise ValueError(f"{folder}: expected faces called 0.jpg, 1.jpg, 2.jpg and so on, got {name}.")
        numbers.append(int(stem))
    numbers.sort()
    if not numbers:
        raise ValueError(f"{folder} holds no faces: {_FIRST_FACE} is missing.")
    for expected, number in enumerate(numbers):
        if number != expected:
            raise ValueError(
                f"{folder}: {expected}.jpg is missing, but {numbers[-1]}.jpg is there. Faces are numbered from 0 "
                "without gaps, so that each keeps its sound; cut them again, or leave the clip out."
            )
    return [folder / f"{number}.jpg" for number in numbers]


def _clip_name(text: str, table: Path, line: int) -> str:
    """ "video/number" of one line of a list."""
    name = text.split()[0]
    parts = name.split("/")
    if len(parts) != 2:
        raise malformed(table, line, f"expected video/number, got {name!r}; what stands before it belongs to `root`")
    for part in parts:
        check_name(part, table, line)
    return name


def _missing_of_faces(root: Path, name: str) -> Path | None:
    needed = (root / name / _FIRST_FACE, root / name / _SOUND)
    return next((path for path in needed if not path.is_file()), None)


def _missing_of_video(root: Path, name: str) -> Path | None:
    path = root / f"{name}.mp4"
    return None if path.is_file() else path
