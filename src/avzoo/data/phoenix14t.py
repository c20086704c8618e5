"""RWTH-PHOENIX-Weather 2014 T: the weather forecasts with translations, which are not read here."""

from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike
from avzoo.data.phoenix14 import find_frame_folder
from avzoo.data.sign_sentences import SPLITS, Row, Sentences, check_clip_name, read_bar_table

_HEADER = ("name", "video", "start", "end", "speaker", "orth", "translation")


def phoenix14t(
    root: PathLike,
    split: Literal["train", "dev", "test"],
    *,
    frames: PathLike | None = None,
    skip_missing: bool = False,
    check_frames: bool = True,
) -> list[Row]:
    """The sentences of one split, in the order of its table: 7096, 519 and 642 of them, with 1115 glosses in all.

        name|video|start|end|speaker|orth|translation              (annotations/manual/PHOENIX-2014-T.dev.corpus.csv)
        11August_2010_Wednesday_tagesschau-2|11August.../1/*.png|-1|-1|Signer08|DRUCK TIEF KOMMEN|tiefer luftdruck ...

    Frames lie in `features/fullFrame-256x256px/{split}/{name}/*.png`, or in the owners' `fullFrame-210x260px`; the
    column `video` names a folder `1` that the published files don't have, and is ignored.

    Args:
        root: `PHOENIX-2014-T`, the folder of `annotations` and `features`.
        frames: folder that has the splits' folders. None: the first of the two that is there.
        skip_missing: leave out clips without frames instead of refusing.
        check_frames: False: don't look for frames; of the sentences alone a vocabulary is made.

    Raises:
        ValueError: another split, a broken row, an empty annotation, or a name that comes twice or leads elsewhere;
            with file and line.
        FileNotFoundError: the table or frames are missing: of how many clips, and the first.
    """
    check_choice("split", split, SPLITS)
    table = Path(root, "annotations", "manual", f"PHOENIX-2014-T.{split}.corpus.csv")
    folder = find_frame_folder(root, frames) / split
    sentences = Sentences(table)
    for line, fields in read_bar_table(table, _HEADER):
        check_clip_name(fields["name"], table, line)
        sentences.add(line, fields["name"], folder / fields["name"], fields["speaker"], fields["orth"], split)
    return sentences.keep(skip_missing, check_frames)
