"""Scores of binary masks as AVSBench counts them: mIoU and F-measure. Parts from 0 to 1; papers print percent.

Source: OpenNLPLab/AVSBench (`utils/utility.py`), with the correction of swimmiing/ACL-SSL@57f4a6c
(`AVSBench/eval_utils.py`): the best threshold of the F-measure is chosen once for the test set, not for each batch.
"""

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_whole_number
from avzoo.metrics.localization import weigh_above
from avzoo.metrics.localization_maps import check_maps, check_truth

F_THRESHOLDS = np.linspace(0, 1 - 1e-10, 255).astype(np.float32)
_BETA_SQUARED = 0.3


def mask_iou(maps: ArrayLike, truth: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """IoU of each mask, (samples,); where the truth is empty, the part of the pixels that stay below the threshold.

    Args:
        maps: (samples, height, width).
        truth: (samples, height, width) of 0 and 1.
        thresholds: one, or (samples,); pixels above it are of the mask.

    Raises:
        ValueError: shapes differ, NaN, or truth of other values.
    """
    maps, truth = _check(maps, truth)
    thresholds = np.asarray(thresholds)
    if thresholds.shape not in ((), (len(maps),)) or np.isnan(thresholds).any():
        raise ValueError(f"`thresholds` must be a number or ({len(maps)},), without NaN, got {thresholds}.")
    chosen = maps > np.broadcast_to(thresholds, len(maps))[:, None, None]
    shared = np.count_nonzero(chosen & truth, axis=(1, 2))
    united = np.count_nonzero(chosen | truth, axis=(1, 2))
    pixels = truth[0].size
    is_empty = ~truth.any(axis=(1, 2))
    background = pixels - np.count_nonzero(chosen, axis=(1, 2))
    return np.where(is_empty, background, shared) / (np.where(is_empty, pixels, united) + 1e-7)


def mean_of_batches(values: ArrayLike, batch_size: int | None = None) -> float:
    """Mean of the means of batches, not the plain mean if the last batch is smaller. None: the plain mean."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"`values` must be (samples,) and not empty, got {values.shape}.")
    if batch_size is None:
        return float(values.mean())
    check_whole_number("batch_size", batch_size, at_least=1)
    return float(np.mean([values[start : start + batch_size].mean() for start in range(0, len(values), batch_size)]))


def f_measure_curves(maps: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """F-measure (beta^2 = 0.3) of each mask at 255 thresholds, (samples, 255); rows of NaN where the truth is empty.

    Args:
        maps: (samples, height, width) in [0, 1]. truth: (samples, height, width) of 0 and 1.

    Raises:
        ValueError: as [`mask_iou`].
    """
    maps, truth = _check(maps, truth)
    hits = weigh_above(maps, truth, F_THRESHOLDS, True)
    chosen = weigh_above(maps, np.ones_like(truth), F_THRESHOLDS, True)
    area = truth.sum(axis=(1, 2))[:, None]
    precision = hits / np.maximum(chosen, 1)
    recall = hits / np.maximum(area, 1)
    below = _BETA_SQUARED * precision + recall
    curves = np.divide((1 + _BETA_SQUARED) * precision * recall, below, out=np.zeros_like(below), where=below > 0)
    return np.where(area > 0, curves, np.nan)


def max_f_measure(curves: ArrayLike) -> float:
    """The best threshold's mean over the samples that have truth, in [0, 1]; of [`f_measure_curves`].

    Raises:
        ValueError: no sample has truth.
    """
    curves = np.asarray(curves, dtype=np.float64)
    if curves.ndim != 2:
        raise ValueError(f"`curves` must be (samples, thresholds), got {curves.shape}.")
    curves = curves[~np.isnan(curves).any(axis=1)]
    if not len(curves):
        raise ValueError("`curves`: every truth is empty, the F-measure is undefined.")
    return float(curves.mean(axis=0).max())


def _check(maps: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    maps = check_maps(maps)
    truth = check_truth(truth, maps)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("`truth` must hold 0 and 1 only.")
    return maps, truth.astype(bool)
