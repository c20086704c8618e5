"""LRS3 in its owners' layout: face videos of utterances, some with their sound beside them."""

import glob
import os
from collections.abc import Iterable
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike
from avzoo.data.talking_face_clips import Row, keep_rows_with_video, list_names, make_row


def lrs3(
    root: PathLike, split: Literal["pretrain", "trainval", "test"] = "test", *, skip_missing: bool = False
) -> list[Row]:
    """The utterances of LRS3, sorted by their id, "video/utterance".

        lrs3/test/0Fi83BHQsMA/00002.mp4      (and 00002.wav beside it, as the authors' code wants it)

    The sound is that of the `.wav` file where there is one, else the video's own. Nothing is known of speakers but the
    video they are in, which stands for them.

    Args:
        root: folder of `pretrain`, `trainval` and `test`.
        split: which of them.
        skip_missing: leave out `.wav` files without a video instead of refusing.

    Raises:
        ValueError: another split.
        FileNotFoundError: the folder is missing or has no videos; some are missing: how many, and the first.
    """
    check_choice("split", split, ("pretrain", "trainval", "test"))
    folder = os.path.join(root, split)
    with_video = list_names(folder, "*/*.mp4")
    with_sound = {name.removesuffix(".wav") for name in glob.glob("*/*.wav", root_dir=folder)}
    return keep_rows_with_video(make_lrs3_rows(root, split, sorted(with_video | with_sound)), with_video, skip_missing)


def make_lrs3_rows(root: PathLike, split: str, names: Iterable[str]) -> list[Row]:
    """Rows of the utterances called `names`, whether their files exist or not."""
    rows = []
    for name in names:
        stem = os.path.join(root, split, name)
        rows.append(make_row(name, stem + (".wav" if os.path.isfile(stem + ".wav") else ".mp4"), stem + ".mp4"))
    return rows


__all__ = ["lrs3", "make_lrs3_rows"]
