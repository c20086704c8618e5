"""Scores of speaker verification relative to how their recordings score against a cohort of strangers.

    means, stds = cohort_statistics(embeddings, cohort, top_n=300)                # once per recording
    scores = normalize_scores(cosines, pairs, means, stds)                        # AS-norm

| name | statistics |
|---|---|
| z-norm | of the enrolment recording |
| t-norm | of the test recording |
| s-norm | the mean of both |
| AS-norm | s-norm with the `top_n` most similar of the cohort |

wespeaker's cohort is one mean embedding per training speaker, its top 300, and all embeddings, the cohort's too, are
first centred by the mean of the training set; speechbrain's is utterances, its top 20,000, not centred.
Sources: wenet-e2e/wespeaker@dfa7419 (`bin/score_norm.py`), speechbrain/speechbrain@9c826ef
(`recipes/VoxCeleb/SpeakerRec/speaker_verification_cosine.py`).
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_choice, check_whole_number

_ROWS_AT_ONCE = 256


def cohort_statistics(
    embeddings: ArrayLike,
    cohort: ArrayLike,
    top_n: int | None = None,
    convention: Literal["wespeaker", "speechbrain"] = "wespeaker",
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each recording's largest cosines with the cohort: two of (recordings,) float64.

    Args:
        embeddings: (recordings, size), of any length.
        cohort: (cohort, size).
        top_n: number of largest cosines that count, at least 2. None: all.
        convention: "wespeaker" divides by n in the standard deviation, "speechbrain" by n - 1.

    Raises:
        TypeError, ValueError: wrong shapes, NaN or infinite values, an embedding of length 0, a cohort smaller than
            `top_n`, or one without spread.
    """
    check_choice("convention", convention, ("wespeaker", "speechbrain"))
    embeddings, cohort = make_unit_rows(embeddings, "embeddings"), make_unit_rows(cohort, "cohort")
    if embeddings.shape[1] != cohort.shape[1]:
        raise ValueError(f"`embeddings` are of size {embeddings.shape[1]}, `cohort` of {cohort.shape[1]}.")
    top_n = len(cohort) if top_n is None else top_n
    check_whole_number("top_n", top_n, at_least=2)
    if top_n > len(cohort):
        raise ValueError(f"`top_n` is {top_n}, but `cohort` has only {len(cohort)}; take fewer or a larger cohort.")
    means, stds = np.empty((2, len(embeddings)))
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        cosines = embeddings[rows] @ cohort.T
        largest = np.partition(cosines, len(cohort) - top_n, axis=1)[:, len(cohort) - top_n :]
        means[rows] = largest.mean(axis=1)
        stds[rows] = largest.std(axis=1, ddof=int(convention == "speechbrain"))
    if not stds.all():
        raise ValueError("`cohort`: the largest cosines of a recording are all equal; take other embeddings.")
    return means, stds


def normalize_scores(
    scores: ArrayLike,
    pairs: ArrayLike,
    means: ArrayLike,
    stds: ArrayLike,
    method: Literal["s-norm", "z-norm", "t-norm"] = "s-norm",
) -> np.ndarray:
    """(score - mean) / std with the statistics of one or both recordings of each trial: (trials,) float64.

    Args:
        scores: (trials,), cosines.
        pairs: (trials, 2), enrolment and test recording, rows of `means` and `stds`.
        means, stds: (recordings,), of [`cohort_statistics`].
        method: "s-norm", mean of both sides; "z-norm", the enrolment's; "t-norm", the test's.

    Raises:
        ValueError: wrong shapes, NaN or infinite scores, a pair that names no recording.
    """
    check_choice("method", method, ("s-norm", "z-norm", "t-norm"))
    scores, means, stds = (np.asarray(values, dtype=np.float64) for values in (scores, means, stds))
    if means.ndim != 1 or means.shape != stds.shape:
        raise ValueError(f"`means` and `stds` must both be (recordings,), got {means.shape} and {stds.shape}.")
    pairs = check_pairs(pairs, len(means))
    if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
        raise ValueError(f"`scores` must be ({len(pairs)},) finite numbers, one per pair, got {scores.shape}.")
    sides = {"s-norm": [0, 1], "z-norm": [0], "t-norm": [1]}[method]
    recordings = pairs[:, sides]  # (trials, sides)
    return ((scores[:, None] - means[recordings]) / stds[recordings]).mean(axis=1)


def make_unit_rows(embeddings: ArrayLike, name: str) -> np.ndarray:
    """Embeddings of length 1, (..., size) float64; a ValueError names what is wrong with them."""
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if embeddings.ndim < 2 or not embeddings.size:
        raise ValueError(f"`{name}` must be (rows, size) and not empty, got {embeddings.shape}.")
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        bad = int(np.argwhere(~(np.isfinite(norms) & (norms > 0)))[0][0])
        raise ValueError(f"`{name}[{bad}]` has no direction: it is zero, NaN or infinite.")
    return embeddings / norms


def check_pairs(pairs: ArrayLike, num_recordings: int) -> np.ndarray:
    """`pairs` as (trials, 2) whole numbers below `num_recordings`; a ValueError otherwise."""
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"`pairs` must be (trials, 2) whole numbers, at least one row, got {pairs.dtype} {pairs.shape}."
        )
    if pairs.min() < 0 or pairs.max() >= num_recordings:
        raise ValueError(
            f"`pairs` must name recordings from 0 to {num_recordings - 1}, got {pairs.min()} to {pairs.max()}."
        )
    return pairs
