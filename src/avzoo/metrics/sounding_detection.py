"""Scores of the extended test sets, where some pairs show nothing that sounds: AP, F1 and LocAcc.

Each pair has a confidence that it is a sounding one, and an IoU of its map. Above a threshold of the confidence, a
sounding pair in the right place (IoU of 0.5 or more) is a true positive; one in the wrong place, and any pair that is
not sounding, is a false positive. A sounding pair below is a false negative. All scores are parts from 0 to 1.

Source: class `EvaluatorFull` of stoneMo/SLAVC@05b429c and kaistmm/SSLalignment@e7ae3c5 (`utils.py`); ACL-SSL's
`extend_eval_utils.py` is the same walk.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_number
from avzoo.metrics.localization import success_auc
from avzoo.metrics.localization_maps import check_maps, upsample_maps


def slavc_confidence(maps: ArrayLike, temperature: float = 0.03, size: int = 224) -> np.ndarray:
    """SLAVC's confidence that something sounds, (samples,): the mean of the largest quarter of the enlarged map.

    Values of -1 / temperature count 0, those of 1 / temperature count 1: made for cosines divided by `temperature`.

    Args:
        maps: (samples, height, width).
        temperature: above 0.
        size: side to which maps are enlarged, by bicubic interpolation with aligned corners.

    Raises:
        ValueError: NaN in a map, or a number out of its range.
    """
    check_number("temperature", temperature, above=0)
    large = upsample_maps(maps, size, "bicubic-corners").reshape(len(check_maps(maps)), -1)
    quarter = -(-large.shape[1] // 4)
    top = np.partition(large, -quarter, axis=1)[:, -quarter:]
    return (top.mean(axis=1, dtype=np.float64) + 1 / temperature) / (2 / temperature)


def detection_counts(
    confidences: ArrayLike, ious: ArrayLike, is_sounding: ArrayLike, thresholds: ArrayLike, demand: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at each threshold of the confidence, (thresholds,) both; 1 where nothing is to divide by.

    Args:
        confidences, ious, is_sounding: (pairs,). The IoU of a pair that isn't sounding is not looked at.
        thresholds: (thresholds,).
        demand: IoU of a right place.

    Raises:
        ValueError: unequal lengths, no pairs, or NaN.
    """
    confidences, ious, is_sounding = _check_pairs(confidences, ious, is_sounding)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    positives = _count_from(confidences, thresholds)
    hits = _count_from(confidences[is_sounding & (ious >= demand)], thresholds)
    missed = np.count_nonzero(is_sounding) - _count_from(confidences[is_sounding], thresholds)
    precision = np.divide(hits, positives, out=np.ones(len(thresholds)), where=positives > 0)
    recall = np.divide(hits, hits + missed, out=np.ones(len(thresholds)), where=hits + missed > 0)
    return precision, recall


def sounding_average_precision(
    confidences: ArrayLike, ious: ArrayLike, is_sounding: ArrayLike, demand: float = 0.5
) -> float:
    """SLAVC's AP: thresholds walk down the confidences, all but the largest, in steps of 1/200 of the pairs.

    A precision counts as the largest of those at lower thresholds, times the gain in recall to the next one.

    Args, Raises: as [`detection_counts`].
    """
    confidences, ious, is_sounding = _check_pairs(confidences, ious, is_sounding)
    thresholds = np.sort(confidences)[:-1][:: -max(1, len(confidences) // 200)]
    if not len(thresholds):
        return 0.0
    precision, recall = detection_counts(confidences, ious, is_sounding, thresholds, demand)
    best_below = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_below[:-1] * np.diff(recall)).sum())


def sounding_f1(
    confidences: ArrayLike, ious: ArrayLike, is_sounding: ArrayLike, thresholds: ArrayLike, demand: float = 0.5
) -> np.ndarray:
    """Harmonic mean of precision and recall at each threshold, (thresholds,); as [`detection_counts`]."""
    precision, recall = detection_counts(confidences, ious, is_sounding, thresholds, demand)
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros(len(both)), where=both > 0)


def sounding_detection_scores(
    confidences: ArrayLike, ious: ArrayLike, is_sounding: ArrayLike, default_threshold: float = 0.5
) -> dict[str, Any]:
    """The scores of an extended test set, parts from 0 to 1.

    Args:
        confidences, ious, is_sounding: (pairs,).
        default_threshold: of the confidence, for `f1`.

    Returns:
        ap, ap_sounding: of all pairs, and of the sounding ones alone.
        max_f1: over every confidence as a threshold. max_f1_of_ten: over about ten, as SLAVC and ACL-SSL report it.
        f1: at `default_threshold`. f1_curve: (about 10,), at every tenth part of the sorted confidences.
        precision, precision_sounding: if every pair is taken for sounding.
        loc_acc: part of the sounding pairs whose IoU is above 0.5. auc_sounding: [`success_auc`] of theirs.

    Raises:
        ValueError: unequal lengths, NaN, or no sounding pair.
    """
    confidences, ious, is_sounding = _check_pairs(confidences, ious, is_sounding)
    check_number("default_threshold", default_threshold)
    if not is_sounding.any():
        raise ValueError(f"`is_sounding`: none of the {len(is_sounding)} pairs sounds; AP and recall are undefined.")
    pairs = (confidences, ious, is_sounding)
    sounding = tuple(values[is_sounding] for values in pairs)
    ascending = np.sort(confidences)
    curve = sounding_f1(*pairs, ascending[:: max(1, len(ascending) // 10)])
    lowest = ascending[:1]
    return {
        "ap": sounding_average_precision(*pairs),
        "ap_sounding": sounding_average_precision(*sounding),
        "max_f1": float(sounding_f1(*pairs, ascending).max()),
        "max_f1_of_ten": float(curve.max()),
        "f1": float(sounding_f1(*pairs, [default_threshold])[0]),
        "f1_curve": curve,
        "precision": float(detection_counts(*pairs, lowest)[0][0]),
        "precision_sounding": float(detection_counts(*sounding, lowest)[0][0]),
        "loc_acc": float((sounding[1] > 0.5).mean()),
        "auc_sounding": success_auc(sounding[1]),
    }


def _count_from(confidences: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many confidences reach each threshold."""
    return len(confidences) - np.searchsorted(np.sort(confidences), thresholds, side="left")


def _check_pairs(
    confidences: ArrayLike, ious: ArrayLike, is_sounding: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidences, ious = np.asarray(confidences, dtype=np.float64), np.asarray(ious, dtype=np.float64)
    is_sounding = np.asarray(is_sounding)
    if confidences.ndim != 1 or not confidences.size or not confidences.shape == ious.shape == is_sounding.shape:
        raise ValueError(
            "`confidences`, `ious` and `is_sounding` must be (pairs,), of one length and not empty, "
            f"got {confidences.shape}, {ious.shape} and {is_sounding.shape}."
        )
    for name, values in (("confidences", confidences), ("ious", ious)):
        if np.isnan(values).any():
            raise ValueError(f"`{name}` holds {np.count_nonzero(np.isnan(values))} NaN values.")
    if not np.isin(is_sounding, (0, 1)).all():
        raise ValueError("`is_sounding` must hold 0 and 1, or False and True, only.")
    return confidences, ious, is_sounding.astype(bool)
