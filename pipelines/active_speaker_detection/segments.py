"""Segments in which a face speaks, from its scores per frame; the records that hold them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avzoo.rates import FRAMES_PER_SECOND
from avzoo.video.tracking import smooth_scores


def smooth_frame_scores(scores: np.ndarray, smoothing: int) -> np.ndarray:
    """Average (frames,) over `smoothing` frames, an odd number, as TalkNet's demo does; 1: as they are."""
    return smooth_scores(scores, smoothing // 2) if smoothing > 1 else np.asarray(scores, dtype=np.float64)


def speaking_frames(scores: np.ndarray, threshold: float, smoothing: int = 5) -> np.ndarray:
    """(frames,) bool: whether the smoothed score reaches the threshold."""
    return smooth_frame_scores(scores, smoothing) >= threshold


def find_segments(
    scores: np.ndarray,
    threshold: float,
    *,
    smoothing: int = 5,
    min_duration: float = 0.0,
    max_gap: float = 0.0,
    first_frame: int = 0,
    fps: float = FRAMES_PER_SECOND,
) -> list[dict[str, float]]:
    """Find when a face speaks.

    Args:
        scores: (frames,).
        threshold: smoothed scores from it on are speaking.
        smoothing: frames that are averaged, odd; 1: none.
        min_duration: seconds; shorter segments are left out, after gaps were bridged.
        max_gap: seconds; two segments that lie no further apart become one.
        first_frame: number of the first score's frame.

    Returns:
        [{start, end, score}] in order of time: seconds from frame 0, and the mean of the scores in between.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not len(scores):
        return []
    speaking = np.concatenate([[False], speaking_frames(scores, threshold, smoothing), [False]])
    begins, ends = (np.flatnonzero(np.diff(speaking.astype(np.int8)) == step).tolist() for step in (1, -1))
    longest_gap, shortest = max_gap * fps + 1e-6, min_duration * fps - 1e-6  # 0.28 * 25 is not 7
    runs: list[list[int]] = []
    for begin, end in zip(begins, ends, strict=True):
        if runs and begin - runs[-1][1] <= longest_gap:
            runs[-1][1] = end
        else:
            runs.append([begin, end])
    return [
        {
            "start": (first_frame + begin) / fps,
            "end": (first_frame + end) / fps,
            "score": float(scores[begin:end].mean()),
        }
        for begin, end in runs
        if end - begin >= shortest
    ]


def segment_records(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The segments of all faces in order of time, as records: what RTTM, SRT and WebVTT have a place for."""
    segments = [
        {**segment, "track_id": record["track_id"], "label": f"face {record['track_id']} speaks"}
        for record in records
        for segment in record["segments"]
    ]
    return sorted(segments, key=lambda segment: (segment["start"], segment["track_id"]))


def require_scores(records: Sequence[Mapping[str, Any]]) -> None:
    """Raise a ValueError if a record has no scores of frames."""
    for record in records:
        if "scores" not in record:
            raise ValueError(
                f"the record of face {record['track_id']} has no scores of frames; ask for them by return_scores=True."
            )


def frame_numbers(record: Mapping[str, Any]) -> np.ndarray:
    """Frame numbers of a record with scores."""
    return round(record["start"] * FRAMES_PER_SECOND) + np.arange(len(record["scores"]))
