"""Error rates of decisions between two classes, such as same or different speaker, from scores and labels."""

import numpy as np
from numpy.typing import ArrayLike


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate in per cent: where as many of the negatives are accepted as of the positives are rejected.

    On the straight lines between the points of the ROC curve, equal scores making one point. So it is 0 when perfect,
    50 when all scores are equal, and independent of the rows' order.

    Args:
        scores: (rows,), higher means more likely positive. labels: (rows,) of 0 and 1, both there.

    Raises:
        ValueError: shapes differ, no rows, NaN or infinite scores, other labels, or only one kind of label.
    """
    scores, labels = check_two_classes(scores, labels)
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    accepted = [np.append(0, np.cumsum(kind[order])[last_of_equals]) / kind.sum() for kind in (~labels, labels)]
    false_accepts, false_rejects = accepted[0], 1 - accepted[1]
    surplus = false_accepts - false_rejects  # from -1 up to 1
    after = int(np.argmax(surplus >= 0))
    before = after - 1
    part = surplus[before] / (surplus[before] - surplus[after])
    return float(100 * (false_accepts[before] + part * (false_accepts[after] - false_accepts[before])))


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
