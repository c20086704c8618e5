"""VoxCeleb2 in its owners' layout: sounds and face videos of utterances."""

import os
from collections.abc import Iterable
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike
from avzoo.data.talking_face_clips import Row, keep_rows_with_video, list_names, make_row


def voxceleb2(root: PathLike, split: Literal["dev", "test"] = "dev", *, skip_missing: bool = False) -> list[Row]:
    """The utterances of VoxCeleb2, sorted by their id.

        voxceleb2/dev/aac/id00012/21Uxsk56VDQ/00001.m4a      (or wav/id00012/21Uxsk56VDQ/00001.wav)
        voxceleb2/dev/mp4/id00012/21Uxsk56VDQ/00001.mp4

    Where there is a folder `wav`, as the authors' code wants it, `aac` is not looked at. Videos that have no sound
    there are passed over.

    Args:
        root: folder of `dev` and `test`.
        split: which of the two.
        skip_missing: leave out utterances without a video instead of refusing.

    Raises:
        ValueError: another split.
        FileNotFoundError: a folder is missing or has no such files; videos are missing: how many, and the first.
    """
    check_choice("split", split, ("dev", "test"))
    sounds, suffix = _find_sounds(root, split)
    names = list_names(sounds, f"*/*/*{suffix}")
    with_video = list_names(os.path.join(root, split, "mp4"), "*/*/*.mp4")
    return keep_rows_with_video(make_voxceleb2_rows(root, split, sorted(names)), with_video, skip_missing)


def _find_sounds(root: PathLike, split: str) -> tuple[str, str]:
    """Folder and suffix of the sounds."""
    for folder, suffix in (("wav", ".wav"), ("aac", ".m4a")):
        path = os.path.join(root, split, folder)
        if os.path.isdir(path):
            return path, suffix
    raise FileNotFoundError(f"{os.path.join(root, split)} has neither of the folders `wav` and `aac`.")


def make_voxceleb2_rows(root: PathLike, split: str, names: Iterable[str]) -> list[Row]:
    """Rows of the utterances called `names`, whether their files exist or not."""
    sounds, suffix = _find_sounds(root, split)
    videos = os.path.join(root, split, "mp4")
    return [make_row(name, os.path.join(sounds, name + suffix), os.path.join(videos, name + ".mp4")) for name in names]


__all__ = ["make_voxceleb2_rows", "voxceleb2"]
