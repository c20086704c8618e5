"""ASW (Look Who's Talking: Active Speaker Detection in the Wild): a JSON file for each video, 5 labels per second.

    {"track_000000": [{"time": 0.2, "bbox": [0.636941, 0.141702, 0.8319, 0.488296], "label": 0, "eval": 0}, ...], ...}

Only frames with "eval" 1 count; the first and last of a track, whose labels nobody knows to a frame, have 0. Where a
face reaches out of the picture, so does its box. The videos themselves are YouTube's.

    scores, labels = [], []
    for row in asw_tracks("json", "split/testset.list"):
        counted = row["evaluated"]
        scores.append(scores_of(row)[counted])
        labels.append(row["labels"][counted])
    asw_scores(np.concatenate(scores), np.concatenate(labels))

Source: clovaai/lookwhostalking@37fe9d6 (README, `json`, `split`, `run_visualize.py`).
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.data.ava_active_speaker import read_json_object
from avzoo.data.lists import PathLike, check_name, malformed, read_lines

FRAMES_PER_SECOND = 5  # of labels; the owners convert the videos to 25

_LARGEST = 1e9


def asw_tracks(
    root: PathLike, list_path: PathLike | None = None, *, skip_missing: bool = False
) -> Iterator[dict[str, Any]]:
    """The tracks of the videos of one list, in its order, and within a video in the file's.

        rdCwqWx4_bo.json        (a line of testset.list)

    Args:
        root: folder of the JSON files.
        list_path: `devset.list`, `valset.list` or `testset.list`. None: every `.json` of the folder, by name.
        skip_missing: leave out videos whose file is not there instead of refusing.

    Yields:
        id: "video/track". video_id, track_id: its parts.
        times: (frames,) float64, seconds in the video, rising.
        boxes: (frames, 4) float64, x1, y1, x2, y2 in parts of width and height, as in the file.
        labels: (frames,) int64, 1 for speaking.
        evaluated: (frames,) bool, whether the frame counts.

    Raises:
        ValueError: a line that is no name of a `.json` file, with file and line number; damaged JSON, frames without
            one of the four values, times that don't rise, boxes with x2 < x1 or y2 < y1, or labels other than 0 and
            1; with file, track and the frame's number from 1.
        FileNotFoundError: no files, or some are missing: how many, and the first. Before anything is yielded.
    """
    for path in _files(Path(root), list_path, skip_missing):
        for track_id, frames in read_json_object(path).items():
            where = f"{path}, track {track_id!r}"
            if not isinstance(frames, list) or not frames:
                raise ValueError(f"{where}: expected a list of frames, at least one, got {reprlib.repr(frames)}.")
            columns = zip(*(_frame(frame, f"{where}, frame {n}") for n, frame in enumerate(frames, 1)), strict=True)
            times, boxes, labels, evaluated = (np.array(column) for column in columns)
            falls = np.flatnonzero(np.diff(times) <= 0)
            if falls.size:
                place = falls[0] + 1
                raise ValueError(
                    f"{where}, frame {place + 1}: the time {times[place]} s is not after {times[place - 1]} s."
                )
            yield {
                "id": f"{path.stem}/{track_id}",
                "video_id": path.stem,
                "track_id": track_id,
                "times": times,
                "boxes": boxes,
                "labels": labels,
                "evaluated": evaluated.astype(bool),
            }


def _files(root: Path, list_path: PathLike | None, skip_missing: bool) -> list[Path]:
    if list_path is None:
        paths = sorted(root.glob("*.json"))
        if not paths:
            raise FileNotFoundError(f"There are no .json files in {root}; is `root` the folder `json`?")
        return paths
    table, paths = Path(list_path), []
    for line, name in read_lines(table):
        check_name(name, table, line)
        if not name.endswith(".json"):
            raise malformed(table, line, f"expected video.json, got {name!r}")
        paths.append(root / name)
    present = [path for path in paths if path.is_file()]
    if len(present) < len(paths) and not skip_missing:
        first = next(path for path in paths if not path.is_file())
        raise FileNotFoundError(
            f"{len(paths) - len(present)} of the {len(paths)} videos named by {table.name} are missing, the first is "
            f"{first}. Pass skip_missing=True to read the others."
        )
    return present


def _frame(frame: Any, where: str) -> tuple[float, list[float], int, int]:
    """Its time, box, label and whether it counts."""
    if not isinstance(frame, dict) or not frame.keys() >= {"time", "bbox", "label", "eval"}:
        raise ValueError(f"{where}: expected time, bbox, label and eval, got {reprlib.repr(frame)}.")
    time, box = frame["time"], frame["bbox"]
    if not _is_number(time) or time < 0:
        raise ValueError(f"{where}: `time` must be seconds from 0 on, got {time!r}.")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"{where}: `bbox` must be four numbers, got {reprlib.repr(box)}.")
    if box[2] < box[0] or box[3] < box[1]:
        raise ValueError(f"{where}: `bbox` must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, got {box}.")
    for name in ("label", "eval"):
        if type(frame[name]) is not int or frame[name] not in (0, 1):
            raise ValueError(f"{where}: `{name}` must be 0 or 1, got {frame[name]!r}.")
    return float(time), [float(value) for value in box], frame["label"], frame["eval"]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_LARGEST < value < _LARGEST  # NaN fails too
