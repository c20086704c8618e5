"""Face tracks and boxes in files: JSON that keeps all of a track, and CSV tables of boxes.

The JSON holds one video's tracks:

    {"schema_version": 1, "source": "talk.mp4", "fps": 25.0, "width": 640, "height": 360, "num_frames": 250,
     "tracks": [{"track_id": 0, "start_frame": 10, "start": 0.4, "end": 2.0,
                 "boxes": [[x1, y1, x2, y2], ...], "scores": [0.98, null, ...]}]}

`boxes` and `scores` have one entry per frame from `start_frame` on; a score of null means that the box is interpolated
or has none. A track whose detector gives them has `landmarks`, too: [[[x, y], ...], ...], the five points of each frame
that [`avzoo.video.Detections`] names. `start` and `end` are seconds on the video's clock, for readers; frames are what
counts. A CSV table has one row per box and the columns `frame,x1,y1,x2,y2`, and may have `score` and `track_id`.
"""

import csv
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.files import write_atomically
from avzoo.video.detection import Detections
from avzoo.video.tracking import Track, interpolate_track, track_faces

SCHEMA_VERSION = 1
MOST_FILLED = 25  # frames without a box between two of one track; a second at 25 per second
_MOST_SQUEEZED = 0.02  # by which the shapes of two sizes of one video may differ; sides are whole and even
_COLUMNS = ("frame", "x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class FaceTracks:
    """The tracks of one video.

    Args:
        tracks: within the video's frames. Those of one number are one person who was away in between.
        fps: frames per second.
        width, height: of a frame, pixels.
        num_frames: frames in the video.
        source: name of the video.

    Raises:
        ValueError: numbers that are not positive, a track beyond the video, two tracks of one number at one time.
    """

    tracks: list[Track]
    fps: float
    width: int
    height: int
    num_frames: int
    source: str = ""

    def __post_init__(self):
        for name in ("fps", "width", "height"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be positive, got {value!r}.")
        ends: dict[int, int] = {}  # of each number's tracks so far
        for track in sorted(self.tracks, key=lambda track: track.start_frame):
            if track.stop_frame > self.num_frames:
                raise ValueError(
                    f"track {track.track_id} ends with frame {track.stop_frame - 1}, but the video has "
                    f"`num_frames` {self.num_frames}."
                )
            if track.start_frame < ends.get(track.track_id, 0):
                raise ValueError(f"`tracks`: two of them have the number {track.track_id} and lie over each other.")
            ends[track.track_id] = track.stop_frame

    def to_dict(self) -> dict[str, Any]:
        """Content of the JSON file."""
        header = {name: getattr(self, name) for name in ("source", "fps", "width", "height", "num_frames")}
        tracks = [
            {
                "track_id": track.track_id,
                "start_frame": track.start_frame,
                "start": track.start_frame / self.fps,
                "end": track.stop_frame / self.fps,
                "boxes": track.boxes.tolist(),
                "scores": [score if math.isfinite(score) else None for score in track.scores.tolist()],
                **({} if track.landmarks is None else {"landmarks": track.landmarks.tolist()}),
            }
            for track in self.tracks
        ]
        return {"schema_version": SCHEMA_VERSION, **header, "tracks": tracks}


def save_tracks(path: str | os.PathLike, tracks: FaceTracks) -> Path:
    """Write the tracks of a video as JSON, atomically; an existing file is replaced.

    Raises:
        OSError: the folder is missing or can't be written.
    """
    with write_atomically(path) as unfinished:
        unfinished.write_text(json.dumps(tracks.to_dict(), ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(path)


def load_tracks(path: str | os.PathLike) -> FaceTracks:
    """Read tracks in the JSON format of [`save_tracks`].

    Raises:
        OSError: the file can't be opened.
        ValueError: it is no such file; the message names the file, the track and what is wrong with it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no UTF-8, too
        raise ValueError(f"`{path}` is not valid JSON: {error}.") from error
    try:
        return _parse_tracks(content)
    except (ValueError, TypeError) as error:
        raise ValueError(f"`{path}`: {error}") from error


def _parse_tracks(content: Any) -> FaceTracks:
    header = ("schema_version", "fps", "width", "height", "num_frames", "tracks")
    _check_fields(content, header, "the file")
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"`schema_version` is {content['schema_version']!r}; this version of avzoo reads {SCHEMA_VERSION}."
        )
    for name in header[1:-1]:
        if isinstance(content[name], bool) or not isinstance(content[name], int | float):
            raise ValueError(f"`{name}` must be a number, got {content[name]!r}.")
    if not isinstance(content["tracks"], list):
        raise ValueError(f"`tracks` must be a list, got {type(content['tracks']).__name__}.")
    tracks = [_parse_track(index, entry) for index, entry in enumerate(content["tracks"])]
    sizes = {name: int(content[name]) for name in ("width", "height", "num_frames")}
    return FaceTracks(tracks, fps=float(content["fps"]), source=str(content.get("source") or ""), **sizes)


def _parse_track(index: int, entry: Any) -> Track:
    name = f"tracks[{index}]"
    _check_fields(entry, ("track_id", "start_frame", "boxes"), name)
    for field in ("track_id", "start_frame"):
        if isinstance(entry[field], bool) or not isinstance(entry[field], int):
            raise ValueError(f"{name}: `{field}` must be a whole number, got {entry[field]!r}.")
    try:
        boxes = np.array(entry["boxes"], dtype=np.float64)
        scores = entry.get("scores")
        scores = None if scores is None else np.array([math.nan if s is None else s for s in scores], np.float64)
        landmarks = entry.get("landmarks")
        landmarks = None if landmarks is None else np.array(landmarks, dtype=np.float64)
        return Track(entry["track_id"], entry["start_frame"] + np.arange(len(boxes)), boxes, scores, landmarks)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error


def _check_fields(entry: Any, names: Iterable[str], what: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{what} must be a JSON object, got {type(entry).__name__}.")
    missing = [name for name in names if name not in entry]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(f'`{name}`' for name in missing)}.")


@dataclass(frozen=True, eq=False)
class GivenBoxes:
    """Known face boxes, in place of a detector's.

    They know their frames, so no pixels are looked at. With track numbers they are tracks as they stand: gaps of up to
    [`MOST_FILLED`] frames are filled by interpolation, at longer ones a track ends and another of its number begins.
    Without, the tracker joins them like a detector's.

    Args:
        frames: (n,) frame number of each box, from 0.
        boxes: (n, 4), x1, y1, x2, y2 in pixels.
        scores: (n,). None: the boxes have none.
        track_ids: (n,), whole numbers. None: not known who is who.
        landmarks: (n, 5, 2), as [`Detections`] has them, NaN where a box has none. None: no box has any.
        fps: at which the frames count. None: at the rate that the video is looked at with.
        width, height: of the frames that the boxes lie in, pixels. None: the video's.

    Raises:
        ValueError: shapes that don't fit each other, frame or track numbers that are not whole or below 0, impossible
            boxes.
    """

    frames: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    track_ids: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self):
        detections = Detections(self.boxes, self.scores, self.landmarks)
        frames = _check_whole_numbers(self.frames, "frames", len(detections))
        track_ids = (
            None if self.track_ids is None else _check_whole_numbers(self.track_ids, "track_ids", len(detections))
        )
        checked = {"frames": frames, "boxes": detections.boxes, "scores": detections.scores, "track_ids": track_ids}
        checked["landmarks"] = detections.landmarks
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "GivenBoxes":
        """Boxes of a file: `.json` as [`save_tracks`] writes it, `.csv` with a header `frame,x1,y1,x2,y2` and, where
        known, `score` and `track_id` (an empty score is none).

        Raises:
            OSError: the file can't be opened.
            ValueError: another ending, or what is wrong in the file, with its line.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            return cls.from_tracks(load_tracks(path))
        if path.suffix.lower() == ".csv":
            return cls._read_csv(path)
        raise ValueError(f"`{path}`: boxes are read from .json or .csv files, not from {path.suffix or 'this'!r}.")

    @classmethod
    def from_tracks(cls, tracks: FaceTracks | Iterable[Track]) -> "GivenBoxes":
        """The boxes of tracks, with their numbers; of [`FaceTracks`] also with the clock and size they count in."""
        measured = {}
        if isinstance(tracks, FaceTracks):
            measured = {name: getattr(tracks, name) for name in ("fps", "width", "height")}
            tracks = tracks.tracks
        tracks = list(tracks)
        if not tracks:
            return cls(np.zeros(0), np.zeros((0, 4)), track_ids=np.zeros(0), **measured)
        return cls(
            np.concatenate([track.frames for track in tracks]),
            np.concatenate([track.boxes for track in tracks]),
            np.concatenate([track.scores for track in tracks]),
            np.concatenate([np.full(len(track), track.track_id) for track in tracks]),
            _join_landmarks(tracks),
            **measured,
        )

    def convert(self, fps: float, width: int, height: int, num_frames: int) -> "GivenBoxes":
        """The same boxes for a video of another size, looked at with another rate.

        Between two boxes of a track, in time, there is one between them; behind the last frame there is none.

        Raises:
            ValueError: the frames have another shape, so that they are no smaller or larger copy; or boxes of unknown
                people have another rate.
        """
        scale = np.ones(2)
        if self.width and self.height and (self.width, self.height) != (width, height):
            scale = np.array([width / self.width, height / self.height])
            if abs(scale[0] / scale[1] - 1) > _MOST_SQUEEZED:
                raise ValueError(
                    f"given boxes lie in frames of {self.width} x {self.height} pixels, the video's have {width} x "
                    f"{height}: it is no smaller or larger copy. Give boxes of this video."
                )
        landmarks = None if self.landmarks is None else self.landmarks * scale
        boxes = self.boxes * np.tile(scale, 2)
        scaled = GivenBoxes(self.frames, boxes, self.scores, self.track_ids, landmarks, fps, width, height)
        if self.fps is None or math.isclose(self.fps, fps, rel_tol=1e-6):
            return scaled
        if self.track_ids is None:
            raise ValueError(
                f"given boxes count frames at {self.fps:g} per second, the video is looked at with {fps:g}, and "
                "without `track_ids` nothing tells what lies between them."
            )
        moved = [
            _change_rate(track, self.fps, fps, num_frames)
            for track in scaled.tracks(1 + int(self.frames.max(initial=0)))
        ]
        tracks = [track for track in moved if track is not None]
        return GivenBoxes.from_tracks(FaceTracks(tracks, fps, width, height, num_frames))

    @classmethod
    def _read_csv(cls, path: Path) -> "GivenBoxes":
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            header = rows.fieldnames or []
            missing = [name for name in _COLUMNS if name not in header]
            if missing:
                raise ValueError(
                    f"`{path}`: the first line must name the columns {','.join(_COLUMNS)}[,score][,track_id]; "
                    f"{', '.join(missing)} missing in {','.join(header)!r}."
                )
            optional = [name for name in ("score", "track_id") if name in header]
            table = [_parse_numbers(row, [*_COLUMNS, *optional], f"`{path}`, line {rows.line_num}") for row in rows]
        columns = np.array(table).reshape(-1, len(_COLUMNS) + len(optional)).T
        named = dict(zip([*_COLUMNS, *optional], columns, strict=True))
        try:
            return cls(named["frame"], columns[1:5].T, named.get("score"), named.get("track_id"))
        except ValueError as error:
            raise ValueError(f"`{path}`: {error}") from error

    def detections(self, num_frames: int) -> list[Detections]:
        """The boxes frame by frame, as a detector would have found them.

        Raises:
            ValueError: a box beyond `num_frames`.
        """
        if len(self.frames) and self.frames.max() >= num_frames:
            raise ValueError(
                f"given boxes reach to frame {self.frames.max()}, but the video has {num_frames} frames. "
                "Frames count from 0, at the frame rate the video is read with."
            )
        order = np.argsort(self.frames, kind="stable")
        ends = np.searchsorted(self.frames[order], np.arange(num_frames + 1))
        of_frame = [order[begin:end] for begin, end in itertools.pairwise(ends)]
        return [Detections(self.boxes[rows], self.scores[rows], self._find_landmarks(rows)) for rows in of_frame]

    def _find_landmarks(self, rows: np.ndarray) -> np.ndarray | None:
        """Those of some boxes, if all of them have some."""
        found = None if self.landmarks is None else self.landmarks[rows]
        return found if found is not None and np.isfinite(found).all() else None

    def tracks(self, num_frames: int, shots: Iterable[tuple[int, int]] | None = None, **options: Any) -> list[Track]:
        """Tracks, by their numbers where these are known, else by [`track_faces`] with `shots` and `options`.

        Raises:
            ValueError: a box beyond `num_frames`; two boxes of one track in one frame.
        """
        if self.track_ids is None:
            return track_faces(self.detections(num_frames), shots, **options)
        self.detections(num_frames)  # checks the frames
        tracks = []
        for track_id in np.unique(self.track_ids).tolist():
            rows = np.flatnonzero(self.track_ids == track_id)
            rows = rows[np.argsort(self.frames[rows], kind="stable")]
            frames = self.frames[rows]
            if (np.diff(frames) == 0).any():
                twice = int(frames[np.argmin(np.diff(frames))])
                raise ValueError(f"given boxes: track {track_id} has two boxes in frame {twice}.")
            for piece in np.split(rows, np.flatnonzero(np.diff(frames) > MOST_FILLED + 1) + 1):
                landmarks = [self._find_landmarks(piece[index : index + 1]) for index in range(len(piece))]
                landmarks = [None if points is None else points[0] for points in landmarks]
                values = (self.frames[piece], self.boxes[piece], self.scores[piece], landmarks)
                tracks.append(interpolate_track(track_id, *values))
        return tracks


def _join_landmarks(tracks: list[Track]) -> np.ndarray | None:
    """The landmarks of all boxes, NaN where a track has none; None if no track has any."""
    if all(track.landmarks is None for track in tracks):
        return None
    return np.concatenate(
        [np.full((len(track), 5, 2), np.nan) if track.landmarks is None else track.landmarks for track in tracks]
    )


def _change_rate(track: Track, old: float, new: float, num_frames: int) -> Track | None:
    """A track at another rate, in a video of so many frames; None if it lies behind them."""
    times = track.frames / old
    frames = np.arange(math.ceil(times[0] * new - 1e-6), math.floor(track.stop_frame / old * new + 1e-6))
    if not len(frames):  # shorter than one of the new frames
        frames = np.array([round(times[0] * new)])
    frames = frames[frames < num_frames]
    if not len(frames):
        return None

    def interpolate(values: np.ndarray) -> np.ndarray:
        columns = values.reshape(len(values), -1).T
        between = np.stack([np.interp(frames / new, times, column) for column in columns], axis=1)
        return between.reshape(len(frames), *values.shape[1:])

    nearest = np.clip(np.rint(frames / new * old).astype(int) - track.start_frame, 0, len(times) - 1)
    landmarks = None if track.landmarks is None else interpolate(track.landmarks)
    return Track(track.track_id, frames, interpolate(track.boxes), track.scores[nearest], landmarks)


def _check_whole_numbers(values: Any, name: str, count: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (count,):
        raise ValueError(f"`{name}` must be ({count},), one for each box, got {values.shape}.")
    numbers = values.astype(np.float64)
    bad = ~np.isfinite(numbers) | (numbers != np.floor(numbers)) | (numbers < 0)
    if bad.any():
        raise ValueError(f"`{name}` must be whole numbers from 0 on, got {values[np.argmax(bad)]!s}.")
    return values.astype(np.int64)


def _parse_numbers(row: Mapping[str, Any], names: list[str], where: str) -> list[float]:
    numbers = []
    for name in names:
        text = (row[name] or "").strip()
        try:
            numbers.append(math.nan if name == "score" and not text else float(text))
        except ValueError:
            raise ValueError(f"{where}: `{name}` must be a number, got {text!r}.") from None
    return numbers


__all__ = ["MOST_FILLED", "FaceTracks", "GivenBoxes", "load_tracks", "save_tracks"]
