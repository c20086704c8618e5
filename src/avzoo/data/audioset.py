"""AudioSet: ten-second clips of videos, 527 classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avzoo.data.labelled_recordings import (
    ClipFolder,
    check_split,
    keep_existing,
    parse_seconds,
    parse_whole_number,
    read_csv_rows,
)
from avzoo.data.lists import PathLike, check_name, malformed


def audioset(
    segments: PathLike,
    clips: PathLike,
    class_labels: PathLike,
    *,
    split: str | None = None,
    skip_missing: bool = False,
) -> Iterator[dict[str, Any]]:
    """AudioSet: the owners' segment list and class list, and a folder of clips named by YouTube id.

        # YTID, start_seconds, end_seconds, positive_labels
        --4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"        (segments)

        index,mid,display_name
        0,/m/09x0r,"Speech"                                                         (class_labels_indices.csv)

    A clip may be called `{id}`, `Y{id}`, or either with the start appended: `_30`, `_30.000`, `_000030`, `_30000`
    (milliseconds), and any of `AUDIO_SUFFIXES`. With the start wins over without.

    Args:
        segments: `balanced_train_segments.csv`, `unbalanced_train_segments.csv` or `eval_segments.csv`.
        clips: folder of the clips, without sub-folders.
        class_labels: `class_labels_indices.csv`, see [`audioset_class_names`].
        split: value of the column `split`; the lists do not say it. None: no such column.
        skip_missing: leave out rows without a clip (videos vanish) instead of refusing.

    Yields: `id` (the YouTube id), `path`, `labels` (display names, in the order of the row), `start`, `end`.
    """
    check_split(split)
    names = audioset_class_names(class_labels)
    folder, segments, rows = ClipFolder(clips), Path(segments), []
    for line, fields in read_csv_rows(segments, num_fields=4, comments=True):
        youtube_id, start, end, mids = fields
        check_name(youtube_id, segments, line)
        start, end = (
            parse_seconds(start, "start_seconds", segments, line),
            parse_seconds(end, "end_seconds", segments, line),
        )
        if end <= start:
            raise malformed(segments, line, f"`end_seconds` ({end}) must be after `start_seconds` ({start})")
        unknown = [mid for mid in mids.split(",") if mid not in names]
        if unknown:
            raise malformed(segments, line, f"label {unknown[0]!r} is not in {Path(class_labels).name}")
        row = {
            "id": youtube_id,
            "path": folder.find(_list_audioset_stems(youtube_id, start)),
            "labels": [names[mid] for mid in mids.split(",")],
            "start": start,
            "end": end,
        }
        rows.append(row if split is None else {**row, "split": split})
    yield from keep_existing(rows, segments, skip_missing)


def audioset_class_names(class_labels: PathLike) -> dict[str, str]:
    """{machine id ("/m/09x0r"): display name ("Speech")} of `class_labels_indices.csv`, in index order."""
    table, names = Path(class_labels), {}
    for line, (index, mid, display_name) in read_csv_rows(table, num_fields=3):
        if line == 1 and index == "index":
            continue
        if parse_whole_number(index, "index", table, line) != len(names):
            raise malformed(table, line, f"expected index {len(names)}, got {index}")
        if not display_name:
            raise malformed(table, line, "`display_name` is empty")
        if mid in names:
            raise malformed(table, line, f"{mid!r} appears twice")
        names[mid] = display_name
    return names


def _list_audioset_stems(youtube_id: str, start: float) -> list[str]:
    starts = [f"{start:g}", f"{start:.3f}", f"{int(start):06d}", f"{round(start * 1000)}"]
    bases = [youtube_id, f"Y{youtube_id}"]
    return [f"{base}_{text}" for text in starts for base in bases] + bases
