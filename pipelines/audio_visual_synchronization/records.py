"""Score matrix of a face to its record: offset, confidence, and both in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avzoo.metrics.synchronization import average_over_context, clip_offset, estimate_offsets
from avzoo.pipelines.audio_visual_synchronization.segments import OffsetSegment, find_segments, measure_drift
from avzoo.rates import FRAMES_PER_SECOND

_MOST_TOLD = 4  # parts that a sentence names


def describe_offset(
    scores: np.ndarray, tolerance: int, min_confidence: float, first_frame: int = 0, stride: int = 1
) -> dict[str, Any]:
    """Offset, confidence, label, meaning, curve, segments and drift of a face track.

    Args:
        scores: (windows, 2 * max_shift + 1) of every `stride`-th window, as [`avzoo.metrics.synchronization`] takes
            them.
        tolerance: frames up to which the sound counts as in sync.
        min_confidence: below it, the offset is None and the label "unknown".
        first_frame: frame that the first window begins with, at 25 frames per second.
    """
    estimate = clip_offset(scores)
    offset, is_reliable = estimate.offset_frames, estimate.confidence >= min_confidence
    max_shift = len(estimate.curve) // 2
    segments, drift = find_segments(scores, min_confidence, stride), None
    changes = len(segments) > 1
    if changes:
        drift = measure_drift(segments, stride)
        is_reliable = False  # no offset holds for the whole
        label, meaning = "changing", _describe_change(segments, drift, first_frame, stride)
    elif not is_reliable:
        label = "unknown"
        meaning = f"offset not reliable: confidence {estimate.confidence:.2f}, needs {min_confidence:.2f}"
    elif offset == 0:
        label, meaning = "in sync", "the sound is in time"
    else:
        label = "in sync" if abs(offset) <= tolerance else "sound early" if offset > 0 else "sound late"
        repair = "delay" if offset > 0 else "advance"
        meaning = f"the sound comes {_name(offset)}; {repair} it by {abs(offset) / FRAMES_PER_SECOND:.2f} s to repair"
    if not changes and abs(offset) == max_shift:
        meaning += (
            f"; the best offset lies at the edge of the {max_shift} frames that were tried, so it may be a larger one: "
            "try a wider shift (`max_shift`)"
        )
    if is_reliable or changes:
        meaning += f" (confidence {estimate.confidence:.2f}, needed {min_confidence:.2f})" if not changes else ""
    return {
        "label": label,
        "score": estimate.confidence,
        "offset_frames": offset if is_reliable else None,
        "offset_seconds": offset / FRAMES_PER_SECOND if is_reliable else None,
        "meaning": meaning,
        "confidence": estimate.confidence,
        "in_sync": abs(offset) <= tolerance if is_reliable else False if changes else None,
        "segments": [_describe_segment(segment, first_frame, stride) for segment in segments] if changes else [],
        "drift": drift,
        "curve": {
            max_shift - column: None if np.isnan(value) else float(value)
            for column, value in reversed(list(enumerate(estimate.curve)))
        },
    }


def _name(offset: int) -> str:
    """3 -> "3 frames (0.12 s) early"."""
    if not offset:
        return "in time"
    frames = f"{abs(offset)} frame{'s' if abs(offset) > 1 else ''} ({abs(offset) / FRAMES_PER_SECOND:.2f} s)"
    return f"{frames} {'early' if offset > 0 else 'late'}"


def _describe_segment(segment: OffsetSegment, first_frame: int, stride: int) -> dict[str, Any]:
    return {
        "start": (first_frame + segment.first * stride) / FRAMES_PER_SECOND,
        "end": (first_frame + segment.stop * stride) / FRAMES_PER_SECOND,
        "offset_frames": segment.offset_frames,
        "offset_seconds": segment.offset_frames / FRAMES_PER_SECOND,
        "confidence": segment.confidence,
    }


def _describe_change(segments: list[OffsetSegment], drift: float | None, first_frame: int, stride: int) -> str:
    if drift is not None:
        return (
            f"the sound drifts: first it comes {_name(segments[0].offset_frames)}, in the end "
            f"{_name(segments[-1].offset_frames)}; it is {'too slow' if drift > 0 else 'too fast'} by "
            f"{100 * abs(drift):.1f} %, and no one offset repairs it"
        )
    told = [
        f"{_name(segment.offset_frames)} from {(first_frame + segment.first * stride) / FRAMES_PER_SECOND:.1f} s"
        for segment in segments[:_MOST_TOLD]
    ]
    more = f" and {len(segments) - _MOST_TOLD} more" if len(segments) > _MOST_TOLD else ""
    return f"the offset changes: {', '.join(told)}{more}; no one offset repairs it, see `segments`"


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
        "segments": [],
        "drift": None,
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
