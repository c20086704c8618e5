"""RWTH-PHOENIX-Weather 2014, multi-signer: weather forecasts in German sign language."""

import logging
from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike
from avzoo.data.sign_sentences import SPLITS, Row, Sentences, check_clip_name, read_bar_table, resolve_folder

logger = logging.getLogger(__name__)

FRAME_FOLDERS = ("fullFrame-256x256px", "fullFrame-210x260px")  # resized as the authors do, and the owners' own
BROKEN_ROW = 2390  # of the training table, counted from 0 without the header; the authors leave it out
_HEADER = ("id", "folder", "signer", "annotation")


def phoenix14(
    root: PathLike,
    split: Literal["train", "dev", "test"],
    *,
    frames: PathLike | None = None,
    drop_broken: bool = True,
    skip_missing: bool = False,
    check_frames: bool = True,
) -> list[Row]:
    """The sentences of one split, in the order of its table: 5671, 540 and 629 of them, with 1295 glosses in all.

        id|folder|signer|annotation                                              (annotations/manual/dev.corpus.csv)
        01April_2010_Thursday_heute_default-5|01April_2010_Thursday_heute_default-5/1/*.png|Signer04|ABER FREUEN ...

    Frames lie in `features/fullFrame-256x256px/{split}/{id}/1/*.png`, or in the owners' `fullFrame-210x260px`.

    Args:
        root: `phoenix-2014-multisigner`, the folder of `annotations` and `features`.
        frames: folder that has the splits' folders. None: the first of `FRAME_FOLDERS` that is there.
        drop_broken: leave out row 2390 of the training table (counted from 0; of 5672), which the authors found broken.
        skip_missing: leave out clips without frames instead of refusing.
        check_frames: False: don't look for frames; of the sentences alone a vocabulary is made.

    Raises:
        ValueError: another split, a broken row, an empty annotation, an id that comes twice, or a folder that leads
            elsewhere; with file and line.
        FileNotFoundError: the table or frames are missing: of how many clips, and the first.
    """
    check_choice("split", split, SPLITS)
    table = Path(root, "annotations", "manual", f"{split}.corpus.csv")
    folder = find_frame_folder(root, frames) / split
    sentences = Sentences(table)
    for index, (line, fields) in enumerate(read_bar_table(table, _HEADER)):
        if split == "train" and drop_broken and index == BROKEN_ROW:
            logger.warning(f"{table}, line {line}: row {BROKEN_ROW} ({fields['id']}) is left out as broken.")
            continue
        check_clip_name(fields["id"], table, line)
        path = folder / resolve_folder(fields["folder"], ".png", table, line)
        sentences.add(line, fields["id"], path, fields["signer"], fields["annotation"], split)
    return sentences.keep(skip_missing, check_frames)


def find_frame_folder(root: PathLike, frames: PathLike | None) -> Path:
    """`frames`, or the first of `FRAME_FOLDERS` that `root` has; else where the first would be."""
    if frames is not None:
        return Path(frames)
    folders = [Path(root, "features", name) for name in FRAME_FOLDERS]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


__all__ = ["BROKEN_ROW", "FRAME_FOLDERS", "find_frame_folder", "phoenix14"]
