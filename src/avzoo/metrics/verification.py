"""Error rates of decisions between two classes, such as same or different speaker, from scores and labels.

A trial is accepted where its score reaches a threshold. Rates and equal error rates are in per cent. The toolkits of
speaker verification define the two usual numbers differently; each has its own name here:

| | equal error rate | minimum detection cost |
|---|---|---|
| `equal_error_rate`, `min_detection_cost` | straight lines between ROC points, equal scores one point | normalised |
| `wespeaker_eer`, `wespeaker_min_dcf` | the same by score, equal scores in any order | normalised, p 0.01 |
| `trainer_eer`, `trainer_min_dcf` | nearest ROC corner, the larger of both rates | normalised, p 0.05 |
| `speechbrain_eer`, `speechbrain_min_dcf` | nearest score or midpoint, mean of both rates | not normalised, p 0.01 |

A detection cost is c_miss * p_target * miss rate + c_fa * (1 - p_target) * false-accept rate, with rates from 0 to 1;
normalised, it is divided by the smaller of c_miss * p_target and c_fa * (1 - p_target), what a system costs that always
answers the same.

Sources: clovaai/voxceleb_trainer@f51bab8 (`tuneThreshold.py`), speechbrain/speechbrain@9c826ef
(`utils/metric_stats.py`), wenet-e2e/wespeaker@dfa7419 (`utils/score_metrics.py`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_number


class OperatingPoint(NamedTuple):
    """A value (an equal error rate in per cent, or a cost) and the threshold at which it is reached."""

    value: float
    threshold: float


class DETCurve(NamedTuple):
    """Both error rates at every threshold that decides differently.

    Args:
        thresholds: (points,), falling; the first lies just above all scores.
        false_accepts: (points,), per cent of the negatives that reach the threshold, from 0 to 100.
        false_rejects: (points,), per cent of the positives that don't, from 100 to 0.
    """

    thresholds: np.ndarray
    false_accepts: np.ndarray
    false_rejects: np.ndarray


class Calibration(NamedTuple):
    """A threshold, and the error rates in per cent at it and at the one used before.

    Args:
        threshold: accept scores that reach it.
        false_accepts, false_rejects: at `threshold`, on the trials it was set on.
        previous_false_accepts, previous_false_rejects: at the previous threshold; None if there was none.
    """

    threshold: float
    false_accepts: float
    false_rejects: float
    previous_false_accepts: float | None
    previous_false_rejects: float | None


def det_curve(scores: ArrayLike, labels: ArrayLike) -> DETCurve:
    """The detection error trade-off; equal scores make one point.

    Args:
        scores: (rows,), higher means more likely positive. labels: (rows,) of 0 and 1, both there.

    Raises:
        ValueError: shapes differ, no rows, NaN or infinite scores, other labels, or only one kind of label.
    """
    thresholds, false_accepts, true_accepts = _count_accepts(scores, labels)
    return DETCurve(thresholds, 100 * (false_accepts / false_accepts[-1]), 100 * (1 - true_accepts / true_accepts[-1]))


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate in per cent: where as many of the negatives are accepted as of the positives are rejected.

    On the straight lines between the points of the ROC curve, equal scores making one point. So it is 0 when perfect,
    50 when all scores are equal, and independent of the rows' order.

    Args, Raises: as [`det_curve`].
    """
    return _cross(det_curve(scores, labels)).value


def min_detection_cost(
    scores: ArrayLike, labels: ArrayLike, p_target: float = 0.01, *, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """Smallest normalised detection cost over all thresholds, and the highest threshold that reaches it.

    Args:
        scores, labels: as for [`det_curve`].
        p_target: expected share of positives in use, between 0 and 1.
        c_miss, c_fa: costs of a miss and of a false accept.

    Raises:
        ValueError: as [`det_curve`]; `p_target` or a cost out of range.
    """
    curve = det_curve(scores, labels)
    costs = _costs(curve.false_rejects / 100, curve.false_accepts / 100, p_target, c_miss, c_fa)
    best = int(np.argmin(costs))
    return OperatingPoint(float(costs[best] / _default_cost(p_target, c_miss, c_fa)), float(curve.thresholds[best]))


def verification_scores(scores: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """The three numbers of a speaker verification report, with their convention in the name.

    Args, Raises: as [`det_curve`].
    """
    return {
        "EER (interpolated), %": equal_error_rate(scores, labels),
        "minDCF (normalised, p 0.01)": min_detection_cost(scores, labels, 0.01).value,
        "minDCF (normalised, p 0.05)": min_detection_cost(scores, labels, 0.05).value,
    }


# The toolkits' own numbers.


def trainer_eer(scores: ArrayLike, labels: ArrayLike) -> OperatingPoint:
    """voxceleb_trainer's "VEER": the larger of the two rates at the ROC corner where they are nearest.

    Corners are the points where the curve bends (scikit-learn's `roc_curve` drops the others). Never below
    [`equal_error_rate`] by construction.

    Args, Raises: as [`det_curve`].
    """
    thresholds, *accepts = _count_accepts(scores, labels)
    corner = np.ones(len(thresholds), dtype=bool)
    corner[2:-1] = np.diff([counts[1:] for counts in accepts], 2).any(axis=0)
    false_accepts, true_accepts = (counts[corner] / counts[-1] for counts in accepts)
    false_rejects = 1 - true_accepts
    best = int(np.argmin(np.abs(false_rejects - false_accepts)))
    return OperatingPoint(float(100 * max(false_accepts[best], false_rejects[best])), float(thresholds[corner][best]))


def trainer_min_dcf(
    scores: ArrayLike, labels: ArrayLike, p_target: float = 0.05, *, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """voxceleb_trainer's minDCF, normalised: trials of equal score one by one in the rows' order.

    So it can stop inside a tie, and then depends on the order. Accepting everything is not among its points.

    Args, Raises: as [`min_detection_cost`].
    """
    scores, labels = check_two_classes(scores, labels)
    order = np.argsort(scores, kind="stable")
    labels = labels[order]
    misses = np.cumsum(labels) / np.count_nonzero(labels)
    false_accepts = 1 - np.cumsum(~labels) / np.count_nonzero(~labels)
    costs = _costs(misses, false_accepts, p_target, c_miss, c_fa)
    best = int(np.argmin(costs))
    return OperatingPoint(float(costs[best] / _default_cost(p_target, c_miss, c_fa)), float(scores[order[best]]))


def speechbrain_eer(scores: ArrayLike, labels: ArrayLike) -> OperatingPoint:
    """speechbrain's `EER`, in per cent: mean of the two rates where they are nearest, at a score or between two.

    In float32 as there. A score equal to the threshold is rejected.

    Args, Raises: as [`det_curve`].
    """
    thresholds, misses, false_accepts = _speechbrain_rates(scores, labels)
    best = int(np.argmin(np.abs(false_accepts - misses)))
    return OperatingPoint(float(100 * (float(false_accepts[best]) + float(misses[best])) / 2), float(thresholds[best]))


def speechbrain_min_dcf(
    scores: ArrayLike, labels: ArrayLike, p_target: float = 0.01, *, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """speechbrain's `minDCF`, NOT normalised; float32, thresholds as in [`speechbrain_eer`].

    Args, Raises: as [`min_detection_cost`].
    """
    thresholds, misses, false_accepts = _speechbrain_rates(scores, labels)
    costs = _costs(misses, false_accepts, p_target, c_miss, c_fa)
    best = int(np.argmin(costs))
    return OperatingPoint(float(costs[best]), float(thresholds[best]))


def wespeaker_eer(scores: ArrayLike, labels: ArrayLike) -> OperatingPoint:
    """wespeaker's EER: [`equal_error_rate`], and the lowest score whose rejection makes misses no rarer.

    There, the order of equal scores is left to an unstable sort; here they make one point.

    Args, Raises: as [`det_curve`].
    """
    return _cross(det_curve(scores, labels))


def wespeaker_min_dcf(
    scores: ArrayLike, labels: ArrayLike, p_target: float = 0.01, *, c_miss: float = 1.0, c_fa: float = 1.0
) -> OperatingPoint:
    """wespeaker's minDCF, normalised: that of [`min_detection_cost`], equal scores making one point.

    Args, Raises: as [`min_detection_cost`].
    """
    return min_detection_cost(scores, labels, p_target, c_miss=c_miss, c_fa=c_fa)


def _count_accepts(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Falling thresholds, negatives and positives that reach them, (points,); the first threshold is above all."""
    scores, labels = check_two_classes(scores, labels)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last_of_equals = np.append(np.diff(scores) != 0, True)
    thresholds = np.append(np.nextafter(scores[0], np.inf), scores[last_of_equals])
    false_accepts, true_accepts = (np.append(0, np.cumsum(kind)[last_of_equals]) for kind in (~labels, labels))
    return thresholds, false_accepts, true_accepts


def _cross(curve: DETCurve) -> OperatingPoint:
    """Where both rates are equal on the line between two points, and the threshold of the second."""
    surplus = curve.false_accepts - curve.false_rejects  # from -100 up to 100
    before = int(np.flatnonzero(surplus <= 0)[-1])
    after = before + 1
    part = surplus[before] / (surplus[before] - surplus[after])
    rise = curve.false_accepts[after] - curve.false_accepts[before]
    return OperatingPoint(float(curve.false_accepts[before] + part * rise), float(curve.thresholds[after]))


def _speechbrain_rates(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rising thresholds, shares of misses and of false accepts, (points,) float32."""
    scores, labels = check_two_classes(scores, labels)
    scores = scores.astype(np.float32)
    distinct = np.unique(scores)
    thresholds = np.sort(np.concatenate([distinct, (distinct[:-1] + distinct[1:]) / np.float32(2)]))
    rejected = [np.searchsorted(np.sort(scores[kind]), thresholds, side="right") for kind in (labels, ~labels)]
    positives, negatives = (np.float32(np.count_nonzero(kind)) for kind in (labels, ~labels))
    return (
        thresholds,
        rejected[0].astype(np.float32) / positives,
        (np.count_nonzero(~labels) - rejected[1]).astype(np.float32) / negatives,
    )


def _costs(misses: np.ndarray, false_accepts: np.ndarray, p_target: float, c_miss: float, c_fa: float) -> np.ndarray:
    check_number("p_target", p_target, above=0, below=1)
    check_number("c_miss", c_miss, above=0)
    check_number("c_fa", c_fa, above=0)
    return c_miss * misses * p_target + c_fa * false_accepts * (1 - p_target)


def _default_cost(p_target: float, c_miss: float, c_fa: float) -> float:
    return min(c_miss * p_target, c_fa * (1 - p_target))


# Thresholds.


def error_rates_at(scores: ArrayLike, labels: ArrayLike, threshold: float) -> tuple[float, float]:
    """False accepts and false rejects in per cent at a threshold.

    Outside of the range of scores that is (100, 0) or (0, 100).

    Raises:
        ValueError: as [`det_curve`]; NaN or infinite threshold.
    """
    scores, labels = check_two_classes(scores, labels)
    check_number("threshold", threshold)
    accepted = scores >= threshold
    return float(100 * accepted[~labels].mean()), float(100 * (~accepted[labels]).mean())


def calibrate(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    false_accept_rate: float | None = None,
    p_target: float | None = None,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    previous_threshold: float | None = None,
) -> Calibration:
    """Set a threshold on trials like those of the use to come.

        calibrate(scores, labels)                              # equal error rates
        calibrate(scores, labels, false_accept_rate=0.1)       # fewest rejections with at most 0.1 % false accepts
        calibrate(scores, labels, p_target=0.01, c_fa=10)      # smallest detection cost

    The threshold is one of the scores, or just above all if rejecting everything is cheapest. Set it on other trials
    than those whose error rates you report.

    Args:
        scores, labels: as for [`det_curve`].
        false_accept_rate: highest allowed, per cent.
        p_target, c_miss, c_fa: of the detection cost, see [`min_detection_cost`].
        previous_threshold: used until now, for comparison; outside of the range of scores it accepts all or none.

    Raises:
        ValueError: as [`det_curve`]; two aims; a rate that only a threshold above all scores keeps.
    """
    if false_accept_rate is not None and p_target is not None:
        raise ValueError("Give `false_accept_rate` or `p_target`, not both: each sets the threshold.")
    curve = det_curve(scores, labels)
    if false_accept_rate is not None:
        check_number("false_accept_rate", false_accept_rate, at_least=0, below=100, unit="per cent")
        chosen = np.flatnonzero(curve.false_accepts <= false_accept_rate * (1 + 1e-12))[-1]  # 7 of 100 is 7 %
        if chosen == 0:
            raise ValueError(
                f"`false_accept_rate` of {false_accept_rate} % is only kept by rejecting everything: at the highest "
                f"score it is {curve.false_accepts[1]:.3g} %. Allow more, or take more trials."
            )
    elif p_target is not None:
        chosen = np.argmin(_costs(curve.false_rejects, curve.false_accepts, p_target, c_miss, c_fa))
    else:
        chosen = np.argmin(np.abs(curve.false_accepts - curve.false_rejects))
    previous = (None, None) if previous_threshold is None else error_rates_at(scores, labels, previous_threshold)
    return Calibration(*(float(values[chosen]) for values in curve), *previous)


def check_two_classes(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """As [`check_scores`]; a ValueError if all labels are equal."""
    scores, labels = check_scores(scores, labels)
    if labels.all() or not labels.any():
        raise ValueError(f"`labels`: all {len(labels)} are {int(labels[0])}; both 0 and 1 are needed.")
    return scores, labels


def check_scores(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`scores` as float64 and `labels` as bool, both (rows,); a ValueError names what is wrong with them."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape or not scores.size:
        raise ValueError(
            f"`scores` and `labels` must both be (rows,) and not empty, got {scores.shape} and {labels.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"`scores` holds {np.count_nonzero(~np.isfinite(scores))} values that are NaN or infinite.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("`labels` must hold 0 and 1 only.")
    return scores, labels.astype(bool)
