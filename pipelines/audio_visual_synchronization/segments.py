"""Offsets that change: parts of constant offset, and a sound that drifts away from its pictures."""

import itertools
from dataclasses import dataclass

import numpy as np

from avzoo.metrics.synchronization import clip_offset
from avzoo.rates import FRAMES_PER_SECOND

_EVIDENCE = 25  # windows, of a stride of 1, in a second
_PRICE = 2.0  # of a change, in seconds of windows
_LEAST_DRIFT = 3  # frames that a drift must make up, and steps it must have
_STRAIGHT = 1.0  # frames by which the steps of a drift may lie off a line


@dataclass(frozen=True)
class OffsetSegment:
    """A part of a face track with one offset.

    Args:
        first, stop: windows, from and before which.
        offset_frames: positive: the sound is early. confidence: as of a whole track.
    """

    first: int
    stop: int
    offset_frames: int
    confidence: float


def find_segments(scores: np.ndarray, min_confidence: float, stride: int = 1) -> list[OffsetSegment]:
    """The parts of constant offset of a face track; one where the offset doesn't change, or can't be told.

    The offsets over time are those with the greatest sum of scores, less a price for each change: it must be worth as
    much as some seconds of windows whose scores are as far from their median as scores here are. Where a part is
    shorter than half a second, or its own confidence too low, nothing is told apart.

    Args:
        scores: (windows, 2 * max_shift + 1) of every `stride`-th window, as [`avzoo.metrics.synchronization`] takes
            them.
    """
    possible = np.isfinite(scores)
    evidence = np.where(possible, scores, np.nan)
    evidence = evidence - np.nanmedian(evidence, axis=1, keepdims=True)
    evidence = np.where(possible, evidence, 0.0)  # what can't be compared speaks for nothing
    least = max(1.0, _EVIDENCE / stride)
    price = _PRICE * max(min_confidence, float(evidence.std())) * least
    best, came_from = evidence[0], np.zeros(evidence.shape, int)
    for index in range(1, len(evidence)):
        highest = int(np.argmax(best))
        stays = best >= best[highest] - price
        came_from[index] = np.where(stays, np.arange(len(best)), highest)
        best = np.where(stays, best, best[highest] - price) + evidence[index]
    column = int(np.argmax(best))
    columns = np.empty(len(evidence), int)
    for index in range(len(evidence) - 1, -1, -1):
        columns[index] = column
        column = came_from[index, column]
    edges = [0, *(np.flatnonzero(np.diff(columns)) + 1).tolist(), len(columns)]
    max_shift, segments = scores.shape[1] // 2, []
    for first, stop in itertools.pairwise(edges):
        estimate = clip_offset(scores[first:stop])
        segments.append(OffsetSegment(first, stop, max_shift - int(columns[first]), estimate.confidence))
    is_clear = all(
        segment.confidence >= min_confidence and segment.stop - segment.first >= least / 2 for segment in segments
    )
    if len(segments) > 1 and not is_clear:
        whole = clip_offset(scores)
        return [OffsetSegment(0, len(scores), whole.offset_frames, whole.confidence)]
    return segments


def measure_drift(segments: list[OffsetSegment], stride: int = 1) -> float | None:
    """Seconds by which the sound gets later in each second, if the offset goes steadily one way; else None.

    Below 0 it gets earlier: the sound is played too fast.
    """
    changes = np.diff([segment.offset_frames for segment in segments])
    if len(segments) <= _LEAST_DRIFT or not ((changes > 0).all() or (changes < 0).all()):
        return None
    times = np.array([stride * (segment.first + segment.stop) / 2 for segment in segments]) / FRAMES_PER_SECOND
    offsets = np.array([segment.offset_frames for segment in segments], float)
    slope, height = np.polyfit(times, offsets, 1)
    if abs(offsets[-1] - offsets[0]) < _LEAST_DRIFT or np.abs(slope * times + height - offsets).max() > _STRAIGHT:
        return None
    return float(-slope / FRAMES_PER_SECOND)


__all__ = ["OffsetSegment", "find_segments", "measure_drift"]
