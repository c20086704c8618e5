"""Scores of sound source localization: consensus IoU, its area under the curve, and interactive localization.

Truth and maps are (samples, height, width), of one size; see [`avzoo.metrics.localization_maps`]. All scores are parts
from 0 to 1; papers print percent.

| score | what it is |
|---|---|
| consensus IoU | of a sample: sum(p g) / (sum g + sum p [g = 0]), p the pixels above a threshold, g the truth |
| cIoU | part of the samples with 0.5 or more |
| AUC | area under that part over 21 demands: 0, 0.05, ..., 1 |
| IIoU, IAUC | the same of groups, such as one picture with its two sounds, whose worst sample counts |

The usual threshold keeps half of the picture, so that a target under a quarter of it can't reach 0.5 by any map whose
values differ. The adaptive one keeps as many pixels as the truth has.

Source: kaistmm/SSLalignment@e7ae3c5 (`test.py`, `utils.py`).

Metrics: `consensus_iou`, `consensus_iou_curve`, `success_rate`, `success_auc`, `group_minima`, `localization_scores`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_number
from avzoo.metrics.localization_maps import check_maps, check_truth

DEMANDS = 0.05 * np.arange(21)  # IoUs that a sample must reach


def area_thresholds(maps: ArrayLike, areas: ArrayLike | None = None) -> np.ndarray:
    """Thresholds per map, (samples,), above which lie `areas` pixels less one, or fewer where values are equal.

    Args:
        maps: (samples, height, width).
        areas: (samples,), pixels, from 1 to all. None: half of each map, rounded up.

    Raises:
        ValueError: NaN in a map, or an area out of its range.
    """
    maps = check_maps(maps)
    flat = maps.reshape(len(maps), -1)
    pixels = flat.shape[1]
    if areas is None:
        return np.partition(flat, pixels // 2, axis=1)[:, pixels // 2]
    areas = np.asarray(areas)
    if areas.shape != (len(maps),) or (areas < 1).any() or (areas > pixels).any():
        raise ValueError(f"`areas` must be ({len(maps)},) whole numbers from 1 to {pixels}, got {areas}.")
    ascending = np.sort(flat, axis=1)
    return np.take_along_axis(ascending, pixels - areas.astype(np.int64)[:, None], axis=1)[:, 0]


def truth_areas(truth: ArrayLike) -> np.ndarray:
    """Pixels of each truth that are not 0, (samples,); half of the picture where there are none."""
    truth = check_maps(truth, "truth")
    counts = np.count_nonzero(truth, axis=(1, 2))
    return np.where(counts == 0, max(1, truth[0].size // 2), counts)


def consensus_iou(
    maps: ArrayLike,
    truth: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    inclusive: bool = False,
    epsilon: float = 0.0,
) -> np.ndarray:
    """Consensus IoU of each sample, (samples,) float64; 0 where the truth is empty.

    Args:
        maps, truth: (samples, height, width).
        thresholds: one, or (samples,). None: that of [`area_thresholds`], which keeps half of the picture.
        inclusive: pixels equal to the threshold count too; ACL-SSL and SLAVC do it, SSLalignment does not.
        epsilon: is added to the denominator; ACL-SSL's extended sets have 1e-12.

    Raises:
        ValueError: shapes differ, NaN, truth out of [0, 1], or another number of thresholds.
    """
    maps = check_maps(maps)
    truth = check_truth(truth, maps)
    thresholds = area_thresholds(maps) if thresholds is None else np.asarray(thresholds)
    if thresholds.shape not in ((), (len(maps),)) or np.isnan(thresholds).any():
        raise ValueError(f"`thresholds` must be a number or ({len(maps)},), without NaN, got {thresholds}.")
    bounds = np.broadcast_to(thresholds, len(maps))[:, None, None]
    chosen = maps >= bounds if inclusive else maps > bounds
    shared = np.einsum("shw,shw->s", truth, chosen.astype(np.float64))
    beside = np.array([np.count_nonzero(sample) for sample in chosen & (truth == 0)])  # faster than along axes
    return _divide(shared, truth.sum(axis=(1, 2)) + beside + epsilon)


def consensus_iou_curve(
    maps: ArrayLike, truth: ArrayLike, thresholds: ArrayLike, *, inclusive: bool = True, epsilon: float = 0.0
) -> np.ndarray:
    """Consensus IoU at fixed thresholds, (samples, thresholds) float64; each map is passed through once.

    ACL-SSL's evaluators print every one of 0.05, 0.10, ..., 0.95, and compare by >=.

    Args:
        thresholds: (thresholds,), rising.
        maps, truth, inclusive, epsilon: as for [`consensus_iou`].

    Raises:
        ValueError: as [`consensus_iou`], or thresholds that don't rise.
    """
    maps = check_maps(maps)
    truth = check_truth(truth, maps)
    shared = weigh_above(maps, truth, thresholds, inclusive)
    beside = weigh_above(maps, truth == 0, thresholds, inclusive)
    return _divide(shared, truth.sum(axis=(1, 2))[:, None] + beside + epsilon)


def weigh_above(maps: np.ndarray, weights: np.ndarray, thresholds: ArrayLike, inclusive: bool) -> np.ndarray:
    """Sum of the weights of the pixels above each threshold, (samples, thresholds)."""
    thresholds = np.asarray(thresholds)
    if thresholds.ndim != 1 or not thresholds.size or not (np.diff(thresholds) > 0).all():
        raise ValueError(f"`thresholds` must be (thresholds,), rising and at least one, got {thresholds}.")
    levels = np.searchsorted(thresholds, maps.reshape(len(maps), -1), side="right" if inclusive else "left")
    levels += np.arange(len(maps))[:, None] * (len(thresholds) + 1)  # level: how many thresholds a pixel exceeds
    sums = np.bincount(levels.ravel(), weights.ravel().astype(np.float64), len(maps) * (len(thresholds) + 1))
    from_top = np.cumsum(sums.reshape(len(maps), -1)[:, ::-1], axis=1)[:, ::-1]
    return from_top[:, 1:]


def success_rate(ious: ArrayLike, demand: float = 0.5) -> float:
    """Part of the samples whose IoU is `demand` or more, in [0, 1]; "cIoU" and "AP50" in the papers.

    Args:
        ious: (samples,).

    Raises:
        ValueError: no samples, or NaN.
    """
    check_number("demand", demand)
    return float(np.mean(_check_ious(ious) >= demand))


def success_auc(ious: ArrayLike) -> float:
    """Area under [`success_rate`] over the demands 0, 0.05, ..., 1, by the trapezoidal rule; in [0, 1]."""
    rates = (_check_ious(ious)[:, None] >= DEMANDS).mean(axis=0)
    return float(((rates[1:] + rates[:-1]) / 2 * np.diff(DEMANDS)).sum())


def group_minima(ious: ArrayLike, groups: Sequence[str]) -> np.ndarray:
    """The worst IoU of each group, (groups,), in order of their first sample.

    Args:
        ious: (samples,). groups: (samples,), the group of each.

    Raises:
        ValueError: unequal lengths, no samples, or NaN.
    """
    ious, groups = _check_ious(ious), list(groups)
    if len(groups) != len(ious):
        raise ValueError(f"`groups` must hold a group for each of the {len(ious)} samples, got {len(groups)}.")
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    minima = np.full(len(places), np.inf)
    np.minimum.at(minima, [places[group] for group in groups], ious)
    return minima


def group_of(name: str) -> str:
    """The group that the authors' script puts a sample in: its last path component to the last underscore.

    "cat_dog_100_cat.jpg" -> "cat_dog_100". A name without an underscore is in the group "", so that the 250 of
    SoundNet-Flickr are all in one.
    """
    return name.split("/")[-1].replace(".jpg", "").rpartition("_")[0]


def localization_scores(
    ious: ArrayLike, adaptive_ious: ArrayLike, groups: Sequence[str] | None = None
) -> dict[str, float]:
    """`ciou`, `auc` and `mean_iou` of a test set, with adaptive thresholds too, and `iiou`, `iauc` of its groups.

    Args:
        ious, adaptive_ious: (samples,), by both thresholds.
        groups: (samples,). None: without `iiou`, `iauc`, `adaptive_iiou` and `adaptive_iauc`.

    Returns: numbers from 0 to 1. `mean_iou` is the plain mean over the samples.

    Raises:
        ValueError: unequal lengths, no samples, or NaN.
    """
    adaptive_ious, ious = _check_ious(adaptive_ious, "adaptive_ious"), _check_ious(ious)
    if len(ious) != len(adaptive_ious):
        raise ValueError(f"`ious` and `adaptive_ious` must be as many, got {len(ious)} and {len(adaptive_ious)}.")
    scores = {}
    for prefix, values in (("", ious), ("adaptive_", adaptive_ious)):
        scores |= {
            f"{prefix}ciou": success_rate(values),
            f"{prefix}auc": success_auc(values),
            f"{prefix}mean_iou": float(values.mean()),
        }
        if groups is not None:
            minima = group_minima(values, groups)
            scores |= {f"{prefix}iiou": success_rate(minima), f"{prefix}iauc": success_auc(minima)}
    return scores


def _divide(shared: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(shared, whole, out=np.zeros_like(shared, dtype=np.float64), where=whole > 0)


def _check_ious(ious: ArrayLike, name: str = "ious") -> np.ndarray:
    ious = np.asarray(ious, dtype=np.float64)
    if ious.ndim != 1 or not ious.size:
        raise ValueError(f"`{name}` must be (samples,) and not empty, got {ious.shape}.")
    if np.isnan(ious).any():
        raise ValueError(f"`{name}` holds {np.count_nonzero(np.isnan(ious))} NaN values.")
    return ious
