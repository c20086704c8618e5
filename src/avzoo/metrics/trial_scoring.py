"""How trainers on VoxCeleb cut a recording into crops, and score a list of trials from the crops' embeddings.

| protocol | embeddings per recording | score of a trial |
|---|---|---|
| "crops-distance" | 10 crops of 4.015 s | minus the mean distance of all pairs of crops; clovaai/voxceleb_trainer's |
| "crops-cosine" | 10 crops of 4.015 s | mean cosine of all pairs of crops |
| "full" | the whole recording | cosine; speechbrain's and wespeaker's |

Embeddings are scaled to length 1 first. The first two rank trials differently: name the protocol beside the number.
Source: clovaai/voxceleb_trainer@f51bab8 (`DatasetLoader.py`, `SpeakerNet.py`).
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_choice, check_whole_number
from avzoo.metrics.score_normalization import check_pairs

CROP_SAMPLES = 160 * 400 + 240  # 4.015 s at 16 kHz
NUM_CROPS = 10
PROTOCOLS = ("crops-distance", "crops-cosine", "full")

_TRIALS_AT_ONCE = 64  # a few MB: larger blocks of vectors leave the cache
_NEAR = 0.05  # squared distance below which 2 - 2 cos has lost too many digits


def cut_crops(waveform: ArrayLike, crop_samples: int = CROP_SAMPLES, num_crops: int = NUM_CROPS) -> np.ndarray:
    """Evenly spaced crops, (num_crops, crop_samples), the first at the beginning, the last at the end.

    A recording that is no longer than a crop is first repeated from its beginning, to one sample more than a crop.

    Args:
        waveform: (samples,).

    Raises:
        TypeError, ValueError: another shape, no samples, or a number below 1.
    """
    check_whole_number("crop_samples", crop_samples, at_least=1)
    check_whole_number("num_crops", num_crops, at_least=1)
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not waveform.size:
        raise ValueError(f"`waveform` must be (samples,) and not empty, got {waveform.shape}.")
    if len(waveform) <= crop_samples:
        waveform = np.resize(waveform, crop_samples + 1)
    starts = np.linspace(0, len(waveform) - crop_samples, num_crops).astype(np.int64)  # cut off, not rounded
    return np.lib.stride_tricks.sliding_window_view(waveform, crop_samples)[starts]


def score_trials(
    embeddings: ArrayLike,
    pairs: ArrayLike,
    protocol: Literal["crops-distance", "crops-cosine", "full"] = "crops-distance",
) -> np.ndarray:
    """Scores of pairs of recordings, (trials,) float64; higher means more alike.

    A recording against itself has a distance of exactly 0 from crop to the same crop.

    Args:
        embeddings: (recordings, crops, size), of any length; for "full" (recordings, size) or one crop.
        pairs: (trials, 2), rows of `embeddings`.
        protocol: see above.

    Raises:
        ValueError: wrong shapes, an embedding that is zero, NaN or infinite, a pair that names no recording.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    embeddings = np.asarray(embeddings)
    if protocol == "full" and embeddings.ndim == 2:
        embeddings = embeddings[:, None]
    if embeddings.ndim != 3 or not embeddings.size or (protocol == "full" and embeddings.shape[1] != 1):
        wanted = "(recordings, size)" if protocol == "full" else "(recordings, crops, size)"
        raise ValueError(f"`embeddings` must be {wanted} for {protocol!r} and not empty, got {embeddings.shape}.")
    pairs = check_pairs(pairs, len(embeddings))
    unit = _normalize(embeddings, np.float32 if protocol == "crops-distance" else np.float64)
    if protocol == "crops-distance":
        return _score_by_distance(unit, pairs)
    means = unit.mean(axis=1)  # the mean cosine of all pairs is the product of the means
    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), 4096):
        rows = slice(start, start + 4096)
        scores[rows] = (means[pairs[rows, 0]] * means[pairs[rows, 1]]).sum(axis=1)
    return scores


def _normalize(embeddings: np.ndarray, dtype: type) -> np.ndarray:
    embeddings = embeddings.astype(dtype)
    norms = np.linalg.norm(embeddings, axis=2, keepdims=True)
    usable = (np.isfinite(norms) & (norms > 0))[..., 0]
    if not usable.all():
        recording, crop = np.argwhere(~usable)[0]
        raise ValueError(f"`embeddings[{recording}, {crop}]` has no direction: it is zero, NaN or infinite.")
    embeddings /= norms
    return embeddings


def _score_by_distance(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Minus the mean distance of (recordings, crops, size) unit vectors."""
    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), _TRIALS_AT_ONCE):
        first, second = pairs[start : start + _TRIALS_AT_ONCE].T
        squares = 2 - 2 * (unit[first] @ unit[second].transpose(0, 2, 1))  # (trials, crops, crops)
        trial, one, other = np.nonzero(squares < _NEAR)
        differences = unit[first[trial], one] - unit[second[trial], other]
        squares[trial, one, other] = (differences**2).sum(axis=1)
        scores[start : start + _TRIALS_AT_ONCE] = -np.sqrt(squares).mean(axis=(1, 2), dtype=np.float64)
    return scores
