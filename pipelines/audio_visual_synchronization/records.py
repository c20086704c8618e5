"""Score matrix of a face to its record: offset, confidence, and both in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avzoo.metrics.synchronization import average_over_context, clip_offset, estimate_offsets
from avzoo.rates import FRAMES_PER_SECOND


def describe_offset(scores: np.ndarray, tolerance: int, min_confidence: float) -> dict[str, Any]:
    """Offset, confidence, label, meaning and curve of a face track.

    Args:
        scores: (windows, 2 * max_shift + 1), as [`avzoo.metrics.synchronization`] takes them.
        tolerance: frames up to which the sound counts as in sync.
        min_confidence: below it, the offset is None and the label "unknown".
    """
    estimate = clip_offset(scores)
    offset, is_reliable = estimate.offset_frames, estimate.confidence >= min_confidence
    max_shift = len(estimate.curve) // 2
    seconds = offset / FRAMES_PER_SECOND
    if not is_reliable:
        label = "unknown"
        meaning = f"offset not reliable: confidence {estimate.confidence:.2f}, needs {min_confidence:.2f}"
    elif offset == 0:
        label, meaning = "in sync", "the sound is in time"
    else:
        label = "in sync" if abs(offset) <= tolerance else "sound early" if offset > 0 else "sound late"
        early, delay = ("early", "delay") if offset > 0 else ("late", "advance")
        frames = f"{abs(offset)} frame{'s' if abs(offset) > 1 else ''} ({abs(seconds):.2f} s)"
        meaning = f"the sound comes {frames} {early}; {delay} it by {abs(seconds):.2f} s to repair"
    return {
        "label": label,
        "score": estimate.confidence,
        "offset_frames": offset if is_reliable else None,
        "offset_seconds": seconds if is_reliable else None,
        "meaning": meaning,
        "confidence": estimate.confidence,
        "in_sync": abs(offset) <= tolerance if is_reliable else None,
        "curve": {
            max_shift - column: None if np.isnan(value) else float(value)
            for column, value in reversed(list(enumerate(estimate.curve)))
        },
    }


def describe_missing_offset(reason: str) -> dict[str, Any]:
    """The same fields for a face track that could not be compared with the sound."""
    return {
        "label": "unknown",
        "score": 0.0,
        "offset_frames": None,
        "offset_seconds": None,
        "meaning": f"no offset: {reason}",
        "confidence": 0.0,
        "in_sync": None,
        "curve": {},
        "windows": [],
    }


def describe_windows(
    scores: np.ndarray, first_frame: int, stride: int, context: int, window_frames: int
) -> list[dict[str, Any]]:
    """Offset and confidence of each window, from scores averaged over `context` frames, and its logit at offset 0.

    Args:
        scores: (windows, 2 * max_shift + 1) of every `stride`-th window.
        first_frame: frame that the first window begins with, at 25 frames per second.
        window_frames: frames of one window.
    """
    max_shift = scores.shape[1] // 2
    # With a stride, neighbouring rows are further apart, so fewer of them make up the context.
    row_context = window_frames + (max(context, window_frames) - window_frames) // stride
    averaged = average_over_context(scores, row_context, window_frames=window_frames)
    windows = []
    for index, (row, offset) in enumerate(zip(averaged, estimate_offsets(averaged), strict=True)):
        possible = row[np.isfinite(row)]
        start = first_frame + index * stride
        windows.append(
            {
                "start": start / FRAMES_PER_SECOND,
                "end": (start + window_frames) / FRAMES_PER_SECOND,
                "offset_frames": int(offset),
                "confidence": float(possible.max() - np.median(possible)),
                "logit": float(scores[index, max_shift]),
            }
        )
    return windows


def select_most_confident(records: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record with the highest confidence among those with an offset; None if there is none."""
    return max(
        (record for record in records if record["offset_frames"] is not None),
        key=lambda record: record["confidence"],
        default=None,
    )


__all__ = ["describe_missing_offset", "describe_offset", "describe_windows", "select_most_confident"]
