"""Change of sampling rate through soxr: band-limited, linear phase, no delay."""

import numbers

import numpy as np
import soxr

QUALITY = "HQ"  # 20 bits: below the noise of 16-bit recordings


def check_rate(value: object, argument: str) -> int:
    """`value` as a sampling rate in Hz.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is not positive.
    """
    whole = isinstance(value, numbers.Integral) or (isinstance(value, numbers.Real) and float(value).is_integer())
    if isinstance(value, bool) or not whole:
        raise TypeError(f"`{argument}` must be a whole number of Hz, got {value!r}.")
    if value <= 0:
        raise ValueError(f"`{argument}` must be a positive number of Hz, got {value!r}.")
    return int(value)


def resample(samples: np.ndarray, source_rate: int, target_rate: int, quality: str = QUALITY) -> np.ndarray:
    """The same sound at another sampling rate.

    Args:
        samples: (..., samples), floating point.
        source_rate: rate of `samples`, Hz.
        target_rate: wanted rate, Hz. Equal rates: the values come back as they are.
        quality: soxr's name for it: "QQ", "LQ", "MQ", "HQ" or "VHQ".

    Returns:
        (..., round(samples * target_rate / source_rate)), float32.

    Raises:
        TypeError: `samples` is not floating point, or a rate no whole number.
        ValueError: `samples` has no axis, or a rate isn't positive.
    """
    source_rate = check_rate(source_rate, "source_rate")
    target_rate = check_rate(target_rate, "target_rate")
    samples = np.asarray(samples)
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(f"`samples` must be floating point, got {samples.dtype}; scale integer PCM to [-1, 1] first.")
    if samples.ndim == 0:
        raise ValueError("`samples` must be (..., samples), got a single number.")
    samples = samples.astype(np.float32, copy=False)
    if source_rate == target_rate or samples.size == 0:
        return samples
    leading = samples.shape[:-1]
    columns = np.ascontiguousarray(samples.reshape(-1, samples.shape[-1]).T)  # (samples, signals), soxr's order
    columns = soxr.resample(columns, source_rate, target_rate, quality)
    return np.ascontiguousarray(columns.T).reshape(*leading, -1)
