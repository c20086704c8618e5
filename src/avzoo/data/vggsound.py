"""VGGSound: ten-second clips of videos in which one thing is seen and heard, 309 classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avzoo.data.labelled_recordings import ClipFolder, check_split, keep_existing, parse_whole_number, read_csv_rows
from avzoo.data.lists import PathLike, check_name, malformed


def vggsound(
    table: PathLike, clips: PathLike, *, split: str | None = None, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """VGGSound: `vggsound.csv` and a folder of ten-second clips, `{id}_{start:06d}` with any of `AUDIO_SUFFIXES`.

        ---g-f_I2yQ,1,people marching,test        ->  ---g-f_I2yQ_000001.mp4

    Args:
        table: `vggsound.csv` (YouTube id, start in seconds, label, split; no header).
        clips: folder of the clips, without sub-folders.
        split: only "train" or "test". None: both.
        skip_missing: leave out rows without a clip (videos vanish) instead of refusing.

    Yields: `id` ("{id}_{start:06d}"), `path`, `labels` (one), `split`, `start`, `end`.
    """
    check_split(split)
    folder, table, rows = ClipFolder(clips), Path(table), []
    for line, (youtube_id, start, label, row_split) in read_csv_rows(table, num_fields=4):
        check_name(youtube_id, table, line)
        start = parse_whole_number(start, "start seconds", table, line)
        if row_split not in ("train", "test"):
            raise malformed(table, line, f"the split must be train or test, got {row_split!r}")
        if not label:
            raise malformed(table, line, "the label is empty")
        name = f"{youtube_id}_{start:06d}"
        if split in (None, row_split):
            rows.append(
                {
                    "id": name,
                    "path": folder.find([name]),
                    "labels": [label],
                    "split": row_split,
                    "start": float(start),
                    "end": float(start + 10),
                }
            )
    yield from keep_existing(rows, table, skip_missing)
