"""CSL-Daily: sentences of daily life in Chinese sign language."""

import logging
from pathlib import Path
from typing import Literal

from avzoo.checks import check_choice
from avzoo.data.lists import PathLike, malformed
from avzoo.data.sign_sentences import SPLITS, Row, Sentences, check_clip_name, read_bar_table

logger = logging.getLogger(__name__)

FRAME_FOLDERS = ("frames_256x256", "frames_512x512")  # resized as the authors do, and the owners' own
CUT_ROWS = 40  # of 256, at the top; the authors' loader cuts them off and stretches the rest again
_HEADER = ("index", "name", "length", "gloss", "char", "word", "postag")
_SPLIT_HEADER = ("name", "split")


def csl_daily(
    root: PathLike,
    split: Literal["train", "dev", "test"],
    *,
    frames: PathLike | None = None,
    video_map: PathLike | None = None,
    split_file: PathLike | None = None,
    skip_missing: bool = False,
    check_frames: bool = True,
) -> list[Row]:
    """The sentences of one split, in the order of the table: 18401, 1077 and 1176 of them, with 2000 glosses in all.

        index|name|length|gloss|char|word|postag                                                     (video_map.txt)
        1|S000007_P0003_T00|82|他 今天 4|他 今 天 四|他 今天 四|r t m

        name|split                                                                                   (split_1.txt)
        S000000_P0000_T00|train

    Clips that the split file does not name are for training, as in the authors' code; of the published files that is
    one, S000007_P0003_T00. The authors' loader never reads the last clip of a split; here it is read. Signers aren't
    told apart.

    Args:
        root: folder of `sentence`, and of the two tables, which may lie in `sentence_label`, too.
        frames: folder of the clips' folders. None: `sentence/frames_256x256`, else `sentence/frames_512x512`.
        video_map, split_file: the two tables, if they lie elsewhere.
        skip_missing: leave out clips without frames instead of refusing.
        check_frames: False: don't look for frames; of the sentences alone a vocabulary is made.

    Raises:
        ValueError: another split, a broken row, an empty annotation, or a name that comes twice or leads elsewhere;
            with file and line.
        FileNotFoundError: a table or frames are missing: of how many clips, and the first.
    """
    check_choice("split", split, SPLITS)
    splits = _read_splits(_find_table(root, split_file, "split_1.txt"))
    table = _find_table(root, video_map, "video_map.txt")
    if frames is None:
        folders = [Path(root, "sentence", name) for name in FRAME_FOLDERS]
        frames = next((folder for folder in folders if folder.is_dir()), folders[0])
    all_splits, unnamed = Sentences(table), []
    for line, fields in read_bar_table(table, _HEADER):
        name = fields["name"]
        check_clip_name(name, table, line)
        if name not in splits:
            unnamed.append(name)
        all_splits.add(line, name, Path(frames, name), "unknown", fields["gloss"], splits.get(name, "train"))
    if unnamed and split == "train":
        logger.warning(
            f"{len(unnamed)} of the {len(all_splits.rows)} clips of {table.name} have no split and are for training, "
            f"the first is {unnamed[0]}."
        )
    all_splits.rows = [row for row in all_splits.rows if row["split"] == split]
    return all_splits.keep(skip_missing, check_frames)


def _find_table(root: PathLike, given: PathLike | None, name: str) -> Path:
    if given is not None:
        return Path(given)
    places = [Path(root, name), Path(root, "sentence_label", name)]
    return next((place for place in places if place.is_file()), places[0])


def _read_splits(table: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for line, fields in read_bar_table(table, _SPLIT_HEADER):
        split = fields["split"].strip()
        if split not in SPLITS:
            raise malformed(table, line, f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        if splits.setdefault(fields["name"], split) != split:
            raise malformed(table, line, f"{fields['name']!r} is in {split} and in {splits[fields['name']]}")
    return splits


__all__ = ["CUT_ROWS", "FRAME_FOLDERS", "csl_daily"]
