"""Scores of separated or enhanced sound.

Metrics: `si_sdr`, in dB, higher is better.
"""

import numpy as np
from numpy.typing import ArrayLike


def si_sdr(estimate: ArrayLike, target: ArrayLike, *, remove_mean: bool = False) -> np.ndarray:
    """Scale-invariant signal-to-distortion ratio in dB: 10 log10(|a s|^2 / |a s - e|^2), a = <e, s> / |s|^2.

    The level of neither signal matters. An exact multiple of the target scores infinity, an estimate without any of
    the target in it (silence among them) minus infinity. Over a set of recordings papers print the mean of the dB.
    Source: kaistmm/AVDiffuSS@86d8203 (`sgmse/util/other.py`), after Le Roux et al., "SDR - half-baked or well done?".

    Args:
        estimate, target: (..., samples) of the same shape.
        remove_mean: subtract each signal's mean first, as the definition does. The authors' scripts of AVDiffuSS and
            its relatives don't.

    Returns:
        (...), float64.

    Raises:
        TypeError: complex or integer signals.
        ValueError: shapes differ, no samples, NaN or infinite samples, or a silent target.
    """
    signals = {"estimate": np.asarray(estimate), "target": np.asarray(target)}
    for name, signal in signals.items():
        if not np.issubdtype(signal.dtype, np.floating):
            raise TypeError(f"`{name}` must be floating point, got {signal.dtype}.")
        broken = np.count_nonzero(~np.isfinite(signal))
        if broken:
            raise ValueError(f"`{name}` holds {broken} samples that are NaN or infinite.")
    e, s = (signal.astype(np.float64) for signal in signals.values())  # as in the formula
    if e.shape != s.shape or e.ndim == 0 or e.size == 0:
        raise ValueError(
            f"`estimate` and `target` must both be (..., samples) and not empty, got {e.shape} and {s.shape}."
        )
    if remove_mean:
        e, s = (signal - signal.mean(axis=-1, keepdims=True) for signal in (e, s))
    energy = np.sum(s * s, axis=-1, keepdims=True)
    silent = np.count_nonzero(energy == 0)
    if silent:
        raise ValueError(f"`target` is silent in {silent} of {energy.size} signals, which then have no score.")
    wanted = np.sum(e * s, axis=-1, keepdims=True) / energy * s
    distortion = np.sum((wanted - e) ** 2, axis=-1)
    power = np.sum(wanted * wanted, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power == 0, -np.inf, 10 * np.log10(power / distortion))
