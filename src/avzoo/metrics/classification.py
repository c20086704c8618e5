"""Scores of classifiers: average precision, ROC area, d', accuracy.

Conventions of audio tagging (`stats.py` of YuanGongND/ast@31088be, shared by FlexiAST): one score per clip and class,
higher is more likely; targets are 0 or 1; everything in float64. Averages over classes are plain means.

Metrics: `average_precision`, `roc_auc`, `d_prime`, `accuracy`, and `tagging_scores`, which returns them together.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike


def average_precision(scores: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """Average precision per class, in [0, 1]: the step-wise sum of (R_n - R_{n-1}) P_n, without interpolation.

    Clips of equal score enter together, so their order does not matter.

    Args:
        scores: (clips, classes). targets: (clips, classes) of 0 and 1.

    Raises:
        ValueError: shapes differ, NaN scores, targets other than 0 and 1, or a class without a positive clip.
    """
    scores, targets = _check_arrays(scores, targets)
    _require(targets.any(axis=0), "no positive clip, average precision is undefined")
    return np.array([_average_precision(s, t) for s, t in zip(scores.T, targets.T, strict=True)])


def roc_auc(scores: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """Area under the ROC curve per class, in [0, 1]: the chance that a positive clip scores above a negative one.

    Equal scores count half. Arguments and errors as [`average_precision`]; every class also needs a negative clip.
    """
    scores, targets = _check_arrays(scores, targets)
    _require(targets.any(axis=0) & ~targets.all(axis=0), "only one kind of clip, the ROC area is undefined")
    return np.array([_roc_auc(s, t) for s, t in zip(scores.T, targets.T, strict=True)])


def d_prime(auc: float) -> float:
    """Sensitivity index d' = sqrt(2) * inverse normal CDF of a (mean) ROC area in (0, 1); 0 is chance."""
    if not 0 < auc < 1:
        raise ValueError(f"`auc` must lie between 0 and 1, exclusive, for d' to be finite; got {auc}.")
    return 2**0.5 * NormalDist().inv_cdf(auc)


def accuracy(scores: ArrayLike, targets: ArrayLike) -> float:
    """Part of clips whose highest score is at the class of the highest target, in [0, 1]; the first of equals wins.

    Args:
        scores: (clips, classes). targets: (clips, classes), or class indices (clips,).
    """
    scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    fits = targets.shape in (scores.shape[:1], scores.shape)
    if scores.ndim != 2 or not scores.size or not fits:
        raise ValueError(
            f"`scores` {scores.shape} and `targets` {targets.shape} must hold the same clips, at least one."
        )
    if np.isnan(scores).any():
        raise ValueError(f"`scores` holds {np.count_nonzero(np.isnan(scores))} NaN values.")
    classes = targets if targets.ndim == 1 else targets.argmax(axis=1)
    if classes.min() < 0 or classes.max() >= scores.shape[1]:
        raise ValueError(
            f"`targets` must be class indices in [0, {scores.shape[1]}), got {classes.min()} to {classes.max()}."
        )
    return float(np.mean(scores.argmax(axis=1) == classes))


def tagging_scores(scores: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """mAP, mean ROC area, d' of that mean, and accuracy of (clips, classes) scores."""
    auc = float(roc_auc(scores, targets).mean())
    return {
        "mAP": float(average_precision(scores, targets).mean()),
        "mAUC": auc,
        "d_prime": d_prime(auc) if 0 < auc < 1 else float("inf") if auc == 1 else float("-inf"),
        "accuracy": accuracy(scores, targets),
    }


def _average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(targets[order])
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    hits, retrieved = hits[last_of_equals], (np.arange(len(scores)) + 1)[last_of_equals]
    recall_steps = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(recall_steps * hits / retrieved))


def _roc_auc(scores: np.ndarray, targets: np.ndarray) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of equal scores, from 1
    positives = int(targets.sum())
    negatives = len(targets) - positives
    return float((ranks[targets].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _check_arrays(scores: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise ValueError(
            "`scores` and `targets` must both be (clips, classes) and not empty, "
            f"got {scores.shape} and {targets.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"`scores` holds {np.count_nonzero(~np.isfinite(scores))} values that are NaN or infinite.")
    if not np.isin(targets, (0, 1)).all():
        raise ValueError("`targets` must hold 0 and 1 only.")
    return scores, targets.astype(bool)


def _require(fulfilled: np.ndarray, problem: str) -> None:
    if not fulfilled.all():
        classes = np.flatnonzero(~fulfilled)
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        raise ValueError(f"`targets`: {len(classes)} classes have {problem} (class {shown}). Leave them out.")
