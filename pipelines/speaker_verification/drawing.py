"""Pictures of speaker verification: the detection error trade-off, and where the scores of trials lie."""

import os
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from avzoo.files import write_atomically
from avzoo.metrics.verification import det_curve, equal_error_rate

_TICKS = (0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 95)  # per cent


def plot_det(curves: Mapping[str, ArrayLike], labels: ArrayLike, path: str | os.PathLike) -> Path:
    """Draw the detection error trade-off of scores, both axes by the normal distribution's quantiles.

    Args:
        curves: {name: (trials,) scores}.
        labels: (trials,) of 0 and 1, both there.
        path: picture to write, .png, .pdf or .svg; written atomically.

    Raises:
        ImportError: matplotlib is not installed. ValueError: as [`det_curve`].
    """
    figure = _make_figure((5.5, 5.5))
    axis = figure.subplots()
    for name, scores in curves.items():
        curve, rate = det_curve(scores, labels), equal_error_rate(scores, labels)
        axis.plot(
            _find_quantiles(curve.false_accepts),
            _find_quantiles(curve.false_rejects),
            label=f"{name}: EER {rate:.2f} %",
        )
    ticks = _find_quantiles(np.array(_TICKS))
    axis.plot(ticks[[0, -1]], ticks[[0, -1]], color="0.7", linestyle=":")
    for set_ticks, limit in ((axis.set_xticks, axis.set_xlim), (axis.set_yticks, axis.set_ylim)):
        set_ticks(ticks, [f"{tick:g}" for tick in _TICKS])
        limit(ticks[0], ticks[-1])
    axis.set(xlabel="false accepts (%)", ylabel="false rejects (%)")
    axis.grid(alpha=0.3)
    axis.legend()
    return _save(figure, path)


def plot_scores(
    panels: Mapping[str, Mapping[str, ArrayLike]],
    path: str | os.PathLike,
    thresholds: Mapping[str, float] | None = None,
) -> Path:
    """Draw histograms, one panel above the other.

    Args:
        panels: {title: {kind of trial: scores}}.
        path: as for [`plot_det`].
        thresholds: {title: drawn as a line}.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _make_figure((7, 2.6 * len(panels)))
    for axis, (title, kinds) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
        every = np.concatenate([np.asarray(scores) for scores in kinds.values()])
        edges = np.linspace(every.min(), every.max() + 1e-9, 31)
        for kind, scores in kinds.items():
            axis.hist(scores, edges, density=True, alpha=0.55, label=kind)
        if thresholds is not None and title in thresholds:
            axis.axvline(thresholds[title], color="0.3", linestyle=":", label="equal error rates")
        axis.set(title=title, ylabel="density")
        axis.legend()
    return _save(figure, path)


def _make_figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the picture is drawn with matplotlib: pip install matplotlib.") from error
    return Figure(figsize=size, layout="constrained")


def _save(figure: Any, path: str | os.PathLike) -> Path:
    with write_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    return Path(path)


def _find_quantiles(rates: np.ndarray) -> np.ndarray:
    """Quantiles of the normal distribution for rates in per cent; 0 and 100 lie just outside of the picture."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(share) for share in np.clip(rates / 100, 1e-4, 1 - 1e-4)])


__all__ = ["plot_det", "plot_scores"]
