"""Audio-visual synchronization metrics: offsets, their accuracy, confidence.

All functions take a score matrix `scores` (windows, 2 * max_shift + 1) of one clip: column j compares video window i
with audio window i + j - max_shift, windows start one video frame apart, and higher means more in sync. A pair whose
audio window lies outside the clip is impossible and holds -inf:

              j = 0  1  2  3  4      audio window minus video window: -2 -1 0 +1 +2
    window 0:   .  .  s  s  s
    window 1:   .  s  s  s  .        max_shift 2, 3 windows, . = -inf
    window 2:   s  s  s  .  .

Offsets are in video frames: max_shift - (column of the highest score), the first of equals. Positive: the sound comes
early. To repair it, delay the sound by offset / fps seconds.

`protocol="official"` repeats the published evaluation with its mistakes (`calc_pdist` and `eval_model` of
xjchenGit/MTDVocaLiST@5795416, `test_stu.py`; even contexts as in vskadandale/vocalist@d7b3d6f, `test_acappella.py`). It
holds -1000 where a pair is impossible and includes it in averages. Use it only to compare numbers with papers.

Metrics: `offset_accuracy`, `mean_offset_accuracy`, `sync_confidence`, `sync_distance`. Their parts:
`mask_impossible_pairs`, `average_over_context`, `estimate_offsets`, `clip_offset`. All compute in float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_choice, check_number, check_whole_number

Protocol = Literal["exact", "official"]
PROTOCOLS = get_args(Protocol)

OFFICIAL_MARK = -1000.0
CONTEXTS = (5, 7, 9, 11, 13, 15)  # frames; the columns of the papers' tables for LRS2


@dataclass(frozen=True, eq=False)  # comparing arrays gives no single truth value
class ClipOffset:
    """One offset for a whole clip.

    Args:
        offset_frames: positive: the sound comes early; delaying it by offset_frames / fps seconds repairs it.
        confidence: how far the curve's highest point lies above its median, in units of the scores.
        curve: (2 * max_shift + 1,), the mean score of each column over the windows; NaN where no window has one.
    """

    offset_frames: int
    confidence: float
    curve: np.ndarray


def mask_impossible_pairs(scores: ArrayLike, *, protocol: Protocol = "exact") -> np.ndarray:
    """Mark the impossible pairs of a whole clip as `protocol` does.

    "exact" writes -inf where the audio window lies before the first or after the last. "official" writes -1000 there,
    with one mistake: the first max_shift windows keep their scores against audio after the end. That concerns clips of
    fewer than 2 * max_shift windows, and such pairs were computed with mel features that are all zero.

    Masking twice changes nothing, and "exact" also turns an official matrix into an exact one.

    Args:
        scores: (windows, 2 * max_shift + 1); under "official" finite wherever that protocol keeps a score.

    Raises:
        ValueError: `scores` is no score matrix, `protocol` is unknown, or a score that "official" keeps is missing.
    """
    scores = _validate_scores(scores)
    check_choice("protocol", protocol, PROTOCOLS)
    windows, columns = scores.shape
    max_shift = columns // 2
    video = np.arange(windows)[:, None]
    audio = video + np.arange(columns) - max_shift  # (windows, columns)
    before, after = audio < 0, audio >= windows
    if protocol == "exact":
        return np.where(before | after, -np.inf, scores)
    masked = np.where(before | (after & (video >= max_shift)), OFFICIAL_MARK, scores)
    missing = np.count_nonzero(np.isinf(masked))
    if missing:
        raise ValueError(
            f"`scores` lacks {missing} scores that the official protocol uses. Compute every pair of the clip, those "
            "with audio after its end too (mel features all zero), or take protocol='exact'."
        )
    return masked


def average_over_context(
    scores: ArrayLike, context: int, *, window_frames: int = 5, protocol: Protocol = "exact"
) -> np.ndarray:
    """Average scores over neighbouring windows, so that each row covers `context` video frames.

    Row i is the mean over context - window_frames + 1 windows around i, cut at the clip's ends; if their number is
    even, one more on the left: context 7 takes windows i-1..i+1, context 10 takes i-3..i+2.

    "exact": an entry that one of the windows can't reach is -inf, as a mean over fewer windows is noisier and would win
    too often. Windows without any score (skipped for silence, say) don't count.
    "official": `mask_impossible_pairs` first, then plain means, so that a single -1000 among the windows excludes the
    entry. A clip with fewer windows than context - window_frames yields that many rows instead of one per window:
    the first half (rounded up) counted from its start, the others from its end.

    Args:
        scores: (windows, 2 * max_shift + 1); under "official" of a whole clip.
        context: frames, at least window_frames.
        window_frames: frames of one window.

    Returns:
        (windows, 2 * max_shift + 1), float64; under "official" (max(windows, context - window_frames), ...).

    Raises:
        ValueError: as `mask_impossible_pairs`, `context` isn't a whole number of at least `window_frames`, or under
            "exact" no pair is possible or -1000 marks the impossible ones.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    check_whole_number("context", context, at_least=window_frames, unit="frames, one window")
    if protocol == "official":
        scores = mask_impossible_pairs(scores, protocol=protocol)
        possible = np.ones(scores.shape, dtype=bool)
    else:
        scores, possible = _validate_exact_scores(scores)
    windows = len(scores)
    right = (context - window_frames) // 2
    left = context - window_frames - right
    centres = np.arange(windows)
    if protocol == "official" and windows < left + right:
        centres = np.concatenate([np.arange(left), np.arange(windows - right, windows)])
    heard = possible.any(axis=1, keepdims=True)
    total, missing = np.zeros((2, len(centres), scores.shape[1]))
    count = np.zeros((len(centres), 1))
    for shift in range(-left, right + 1):
        rows = centres + shift
        inside = (rows >= 0) & (rows < windows)
        rows = rows[inside]
        total[inside] += np.where(possible[rows], scores[rows], 0)
        missing[inside] += heard[rows] & ~possible[rows]
        count[inside] += heard[rows]
    return np.where((missing == 0) & (count > 0), total / np.maximum(count, 1), -np.inf)


def estimate_offsets(scores: ArrayLike) -> np.ndarray:
    """Estimate the offset of each window in video frames, (windows,) int64: max_shift - argmax, first of equal scores.

    Positive: the sound comes early. Takes matrices of both protocols, averaged over a context or not.

    Raises:
        ValueError: `scores` is no score matrix, or no pair of some window is possible.
    """
    scores = _validate_scores(scores)
    empty = np.flatnonzero(np.isneginf(scores).all(axis=1))
    if empty.size:
        raise ValueError(
            f"`scores`: {empty.size} of {len(scores)} windows have no possible pair and so no offset (the first is "
            f"window {empty[0]}). Leave them out, or average over more context."
        )
    return (scores.shape[1] // 2 - scores.argmax(axis=1)).astype(np.int64)


def offset_accuracy(
    scores: ArrayLike,
    contexts: Sequence[int] = CONTEXTS,
    *,
    tolerance_frames: int = 1,
    window_frames: int = 5,
    protocol: Protocol = "exact",
) -> np.ndarray:
    """Share of a clip's windows whose offset is within +-`tolerance_frames` of 0, per context: (contexts,), in [0, 1].

    The clip is assumed to be in sync. Papers print per cent, averaged over clips: `mean_offset_accuracy`. LRS2: a
    tolerance of 1, contexts of 5, 7, ..., 15 frames. Acappella: tolerances of 1 and 5, contexts of 5, 10, ..., 25.

    Args:
        scores: (windows, 2 * max_shift + 1) of one clip.
        contexts: frames, see `average_over_context`.
        window_frames: frames of one window.

    Raises:
        ValueError: as `average_over_context` and `estimate_offsets`, no contexts, or a negative tolerance.
    """
    if len(contexts) == 0:
        raise ValueError("`contexts` is empty; name at least one number of frames.")
    check_number("tolerance_frames", tolerance_frames, at_least=0)
    shares = []
    for context in contexts:
        averaged = average_over_context(scores, context, window_frames=window_frames, protocol=protocol)
        shares.append(np.mean(np.abs(estimate_offsets(averaged)) <= tolerance_frames))
    return np.array(shares)


def mean_offset_accuracy(
    clips: Iterable[ArrayLike],
    contexts: Sequence[int] = CONTEXTS,
    *,
    tolerance_frames: int = 1,
    window_frames: int = 5,
    protocol: Protocol = "exact",
) -> np.ndarray:
    """`offset_accuracy` averaged over clips, (contexts,), in [0, 1]: a short clip counts as much as a long one.

    Args:
        clips: score matrices, one per clip; a generator is read once.

    Raises:
        ValueError: no clips, or one that `offset_accuracy` refuses; the message begins with its index.
    """
    accuracies = []
    for index, scores in enumerate(clips):
        try:
            accuracy = offset_accuracy(
                scores,
                contexts,
                tolerance_frames=tolerance_frames,
                window_frames=window_frames,
                protocol=protocol,
            )
        except ValueError as error:
            raise ValueError(f"clip {index}: {error}") from error
        accuracies.append(accuracy)
    if not accuracies:
        raise ValueError("`clips` is empty, there is nothing to average.")
    return np.mean(accuracies, axis=0)


def clip_offset(scores: ArrayLike) -> ClipOffset:
    """Estimate one offset for a clip with a constant offset: the peak of its mean curve.

    Impossible pairs take no part in the means, so an offset of d frames rests on |d| windows fewer than offset 0: in
    a clip hardly longer than max_shift, large offsets rest on few. A clip of one window always gives 0, with
    confidence 0.

    Args:
        scores: (windows, 2 * max_shift + 1), -inf where a pair is impossible.

    Raises:
        ValueError: `scores` is no score matrix, no pair is possible, or -1000 marks the impossible ones.
    """
    scores, possible = _validate_exact_scores(scores)
    curve = _mean_over_windows(scores, possible)
    confidence = np.nanmax(curve) - np.nanmedian(curve)
    return ClipOffset(len(curve) // 2 - int(np.nanargmax(curve)), float(confidence), curve)


def sync_confidence(scores: ArrayLike) -> float:
    """Height of the peak over the median of the clip's mean curve, in units of the scores; higher is better.

    The counterpart of SyncNet's LSE-C, with the score for minus the distance: there it is the median of the mean
    distance curve minus its minimum (`SyncNetInstance.py` of joonson/syncnet_python@1fbfc08). Impossible pairs are left
    out here and compared with zeros there. The scales differ: quote this one under its own name.

    Over a set of clips, take the mean. Arguments and errors as [`clip_offset`], whose `confidence` this is.
    """
    return clip_offset(scores).confidence


def sync_distance(scores: ArrayLike) -> float:
    """Lowest point of the clip's mean curve of distances softplus(-score), in nats; lower is better, 0 is the limit.

    For a logit softplus(-score) is the cross-entropy of calling the pair in sync: 0 when certain of it, ln 2 = 0.693
    when undecided. The counterpart of SyncNet's LSE-D, the minimum of the mean distance curve over all offsets.
    SyncNet's distances are Euclidean, between two embeddings; this network has none, so their numbers can't be compared
    with these.

    Over a set of clips, take the mean. Arguments and errors as [`clip_offset`].
    """
    scores, possible = _validate_exact_scores(scores)
    distances = np.logaddexp(0, -scores)  # softplus without overflow
    return float(np.nanmin(_mean_over_windows(distances, possible)))


def _mean_over_windows(values: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Means of the columns over possible pairs, NaN where there are none."""
    count = possible.sum(axis=0)
    total = np.where(possible, values, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _validate_scores(scores: ArrayLike) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] % 2 == 0:
        raise ValueError(
            "`scores` must be (windows, 2 * max_shift + 1), an odd number of columns with offset 0 in the middle, "
            f"got {scores.shape}."
        )
    if len(scores) == 0:
        raise ValueError("`scores` holds no windows. Was the clip shorter than one window?")
    broken = np.count_nonzero(np.isnan(scores) | np.isposinf(scores))
    if broken:
        raise ValueError(f"`scores` holds {broken} values that are NaN or +inf. Only impossible pairs may hold -inf.")
    return scores


def _validate_exact_scores(scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores as float64, and where pairs are possible."""
    scores = _validate_scores(scores)
    marks = np.count_nonzero(scores == OFFICIAL_MARK)
    if marks:
        raise ValueError(
            f"`scores` holds {marks} times -1000, the official protocol's mark of an impossible pair. They would count "
            "as scores here. `mask_impossible_pairs(scores)` writes -inf instead."
        )
    possible = np.isfinite(scores)
    if not possible.any():
        raise ValueError("`scores` is -inf throughout: no window could be compared with any sound.")
    return scores, possible
