"""Face tracking from frame to frame.

The tracker is the greedy one of TalkNet's demo (TaoRuijie/TalkNet-ASD@6d68214, demoTalkNet.py), which SyncNet's
preparation scripts share, so that models trained on such tracks see the same. It only stops where nothing can follow;
and shots that the original leaves out, since they have no more frames than a track needs, give their faces.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avzoo.video.detection import Detections, check_boxes


@dataclass(frozen=True, eq=False)
class Track:
    """One face in consecutive frames.

    Args:
        track_id: number of the track, from 0 in order of discovery.
        frames: (n,) int64, consecutive frame numbers of the video.
        boxes: (n, 4) float64, x1, y1, x2, y2 in pixels; may reach beyond the frame.
        scores: (n,) float64, the detector's; NaN where the box is interpolated or has no score. None: NaN throughout.
        landmarks: (n, 5, 2) float64, as [`Detections`] has them; interpolated where the box is. None: there are none.

    Raises:
        ValueError: no frame, frames that are not consecutive, lengths that differ, landmarks that are no numbers.
    """

    track_id: int
    frames: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    landmarks: np.ndarray | None = None

    def __post_init__(self):
        frames = np.asarray(self.frames, dtype=np.int64)
        if frames.ndim != 1 or not len(frames) or (np.diff(frames) != 1).any() or frames[0] < 0:
            raise ValueError(f"track {self.track_id}: `frames` must be consecutive numbers from 0 on, got {frames}.")
        boxes = check_boxes(self.boxes, f"track {self.track_id}: `boxes`")
        scores = np.full(len(frames), np.nan) if self.scores is None else np.asarray(self.scores, dtype=np.float64)
        if len(boxes) != len(frames) or scores.shape != frames.shape:
            raise ValueError(
                f"track {self.track_id}: {len(frames)} frames, but {len(boxes)} boxes and scores of {scores.shape}."
            )
        landmarks = None if self.landmarks is None else np.asarray(self.landmarks, dtype=np.float64)
        if landmarks is not None and (landmarks.shape != (len(frames), 5, 2) or not np.isfinite(landmarks).all()):
            raise ValueError(
                f"track {self.track_id}: `landmarks` must be ({len(frames)}, 5, 2) finite numbers, got an array of "
                f"{landmarks.shape}."
            )
        checked = {"frames": frames, "boxes": boxes, "scores": scores, "landmarks": landmarks}
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def start_frame(self) -> int:
        """Its first frame."""
        return int(self.frames[0])

    @property
    def stop_frame(self) -> int:
        """The frame after its last."""
        return int(self.frames[-1]) + 1

    @property
    def size(self) -> float:
        """Mean of the larger side of its boxes, pixels."""
        return float((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1).mean())


def track_faces(
    detections: Sequence[Detections],
    shots: Iterable[tuple[int, int]] | None = None,
    *,
    iou_threshold: float = 0.5,
    min_detections: int = 10,
    max_gap: int = 10,
    min_face_size: float = 1,
    max_faces: int | None = None,
    min_score: float | None = None,
) -> list[Track]:
    """Join the detections of single frames to tracks.

    A track starts at the first detection that no track has, and takes, frame by frame, the next that overlaps its last
    box enough. Gaps are filled by linear interpolation. Like the original, it looks at a frame's detections in
    order, passes over the one after each it takes, and can take two of one frame if they overlap (then the later one
    is the frame's box); a detector without such duplicates shows none of that.

    Args:
        detections: one per frame of the video, in order.
        shots: (first, stop) frames of each shot; a track never reaches over a cut. None: the whole video is one shot.
        iou_threshold: intersection over union above which two boxes are one face.
        min_detections: a track needs MORE detections than this (interpolated frames don't count), in a shot of no more
            frames more than half of the shot's. With detections in each n-th frame only, that is n times as many
            frames: lower it.
        max_gap: most frames from one detection to the next.
        min_face_size: tracks whose mean width and height both don't exceed it are dropped, pixels.
        max_faces: keep only as many tracks, those with the largest sum of face sizes over time (large and long).
        min_score: tracks whose mean score is lower are dropped. None: none is.

    Returns:
        Tracks in order of discovery, numbered from 0; empty if no face was found.

    Raises:
        ValueError: a number out of its range, or a shot beyond the video.
    """
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"`iou_threshold` must be in [0, 1), got {iou_threshold!r}.")
    for name, value, least in (
        ("min_detections", min_detections, 0),
        ("max_gap", max_gap, 1),
        ("min_face_size", min_face_size, 0),
        ("max_faces", 1 if max_faces is None else max_faces, 1),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
    tracks: list[Track] = []
    for first, stop in [(0, len(detections))] if shots is None else shots:
        if not 0 <= first <= stop <= len(detections):
            raise ValueError(f"`shots`: ({first}, {stop}) is no part of {len(detections)} frames.")
        # A shot in which no track could have so many detections still gives the faces that stay.
        least = min_detections if stop - first > min_detections else (stop - first) // 2
        for chain in _chain_detections(detections, first, stop, iou_threshold, max_gap):
            if len(chain) > least and not _is_doubtful(chain, min_score):
                frames, boxes, scores = (np.array(values) for values in zip(*(face[:3] for face in chain), strict=True))
                track = interpolate_track(len(tracks), frames, boxes, scores, [face[3] for face in chain])
                if (track.boxes[:, 2:] - track.boxes[:, :2]).mean(axis=0).max() > min_face_size:
                    tracks.append(track)
    if max_faces is not None and len(tracks) > max_faces:
        largest = sorted(tracks, key=lambda track: -track.size * len(track))[:max_faces]
        kept = sorted(largest, key=lambda track: track.track_id)
        tracks = [replace(track, track_id=number) for number, track in enumerate(kept)]
    return tracks


# Frame, box, score, landmarks.
_Face = tuple[int, tuple[float, float, float, float], float, np.ndarray | None]


def _is_doubtful(chain: list[_Face], min_score: float | None) -> bool:
    """Whether the mean score of a chain is too low; scores that aren't known are not."""
    return min_score is not None and sum(score for _, _, score, _ in chain) / len(chain) < min_score


def _chain_detections(
    detections: Sequence[Detections], first: int, stop: int, iou_threshold: float, max_gap: int
) -> Iterator[list[_Face]]:
    """Chain overlapping detections of successive frames, one chain at a time, until none is left.

    Plain numbers in lists: a frame has a few faces, for which calls of numpy would cost ten times as much.
    """
    remaining = {frame: _list_faces(frame, detections[frame]) for frame in range(first, stop)}
    for begin in range(first, stop):
        while remaining[begin]:
            chain: list[_Face] = []
            for frame in range(begin, stop):
                if chain and frame - chain[-1][0] > max_gap:
                    break
                faces = remaining[frame]
                position = 0
                while position < len(faces):
                    face = faces[position]
                    if not chain or _intersection_over_union(face[1], chain[-1][1]) > iou_threshold:
                        chain.append(face)
                        del faces[position]  # the one after it moves here, and is passed over by the next line
                    position += 1
            yield chain


def _list_faces(frame: int, found: Detections) -> list[_Face]:
    landmarks = [None] * len(found) if found.landmarks is None else list(found.landmarks)
    columns = zip(found.boxes.tolist(), found.scores.tolist(), landmarks, strict=True)
    return [(frame, tuple(box), score, points) for box, score, points in columns]


def _intersection_over_union(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes; 0 for boxes without area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return common / (areas - common)


def interpolate_track(
    track_id: int,
    frames: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    landmarks: Sequence[np.ndarray | None] | None = None,
) -> Track:
    """Build the track through boxes of ascending frames: gaps filled by linear interpolation, their scores NaN.

    Of several boxes of one frame the last counts. Landmarks are interpolated over frames without, too; if no frame has
    any, the track has none.
    """
    every = np.arange(frames[0], frames[-1] + 1)
    filled = np.stack([np.interp(every, frames, boxes[:, side]) for side in range(4)], axis=1)
    of_frame = np.full(len(every), np.nan)
    of_frame[frames - frames[0]] = scores
    return Track(track_id, every, filled, of_frame, _interpolate_landmarks(every, frames, landmarks))


def _interpolate_landmarks(
    every: np.ndarray, frames: np.ndarray, landmarks: Sequence[np.ndarray | None] | None
) -> np.ndarray | None:
    """(frames, 5, 2) at each frame of a track; before the first and behind the last ones known, those."""
    known = [index for index, points in enumerate(landmarks or ()) if points is not None]
    if not known:
        return None
    points = np.stack([landmarks[index] for index in known]).reshape(len(known), -1)
    columns = [np.interp(every, frames[known], column) for column in points.T]
    return np.stack(columns, axis=1).reshape(len(every), -1, 2)


def median_filter(values: np.ndarray, kernel_size: int) -> np.ndarray:
    """Running median of each column, with zeros beyond the ends, as `scipy.signal.medfilt` has it.

    The zeros pull the first and last `kernel_size // 2` values towards 0 (down, where values are positive). TalkNet's
    crops are made with it.

    Args:
        values: (n,) or (n, columns), floating point.
        kernel_size: odd number of values to take the median of.

    Returns:
        The same shape, float64.

    Raises:
        ValueError: an even or negative `kernel_size`, another number of axes.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"`kernel_size` must be an odd number of at least 1, got {kernel_size!r}.")
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"`values` must be (n,) or (n, columns), got {values.shape}.")
    half = kernel_size // 2
    padded = np.pad(values, [(half, half)] + [(0, 0)] * (values.ndim - 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel_size, axis=0)
    return np.partition(windows, half, axis=-1)[..., half]


def smooth_scores(scores: np.ndarray, radius: int = 2) -> np.ndarray:
    """Mean of each score and its `radius` neighbours on both sides, as TalkNet's demo shows it on the video.

    Its slice ends before the last score of the track, so that one is never used, except where it is the only one.

    Args:
        scores: (frames,).
        radius: neighbours on each side, at least 1.

    Returns:
        (frames,) float64.

    Raises:
        ValueError: `radius` below 1, or `scores` of another shape.
    """
    if radius < 1:
        raise ValueError(f"`radius` must be at least 1, got {radius!r}.")
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"`scores` must be (frames,), got {scores.shape}.")
    end = max(1, len(scores) - 1)
    means = [scores[max(frame - radius, 0) : min(frame + radius + 1, end)].mean() for frame in range(len(scores))]
    return np.array(means)


__all__ = ["Track", "median_filter", "smooth_scores", "track_faces"]
