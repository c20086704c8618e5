"""Scores of speech that was made from something else, lips or text, against the recording of what was really said.

Conventions, of papers on lip to speech and of FastSpeech 2 (arXiv 2006.04558) for pitch and energy:
- Word and character error rates are percent of a whole set, errors over reference words (characters), not a mean of
  clips. They belong to one recogniser, which the rate has to be printed with. Both texts are normalised by
  [`normalize_transcript`].
- Pitch is Hz per frame, 0 where nothing is voiced, as [`avzoo.audio.estimate_pitch`] gives it. Unvoiced frames don't
  count.
- Ratios are of the made speech over the real one: 1 is best, below 1 is too smooth, above 1 too rough.

A score that is undefined (silence, no voiced frame, a single frame) is a ValueError, never NaN.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from avzoo.audio.resampling import check_rate
from avzoo.checks import check_choice, check_number
from avzoo.metrics.intelligibility import estoi

TEXT_NORMALIZATION = (
    "NFKC, lower case, single digits as words (2 is two), apostrophes within words kept, all other punctuation a blank"
)
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_STEP_SECONDS = 0.01  # of the lags that are tried


@dataclass(frozen=True)
class TranscriptErrorRate:
    """Errors of the transcripts of a set of clips.

    Args:
        value: percent of the reference's words (characters); above 100 where much is inserted.
        errors: substitutions, deletions and insertions of all clips.
        total: words (characters) of all references.
        clips: {id: (errors, words or characters of its reference)}.
    """

    value: float
    errors: int
    total: int
    clips: dict[str, tuple[int, int]]

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class PitchMoments:
    """How the pitch of voiced frames is distributed.

    Args:
        mean, std: Hz; the deviation of all frames, not of a sample.
        skewness: third standardised moment, 0 if the distribution is symmetric.
        kurtosis: fourth standardised moment less 3, 0 for a normal distribution.
        frames: voiced ones.
    """

    mean: float
    std: float
    skewness: float
    kurtosis: float
    frames: int


# Words.


def normalize_transcript(text: str) -> str:
    """A transcript in the form in which transcripts are compared, see `TEXT_NORMALIZATION`.

    "Bin Blue at F-2, now!" becomes "bin blue at f two now". Numbers of several digits stay.

    Raises:
        TypeError: no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a text, got {type(text).__name__}.")
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    text = re.sub(r"(?<!\w)'|'(?!\w)", " ", text)
    text = re.sub(r"[^\w']|_", " ", text)
    return " ".join(_DIGITS[int(word)] if re.fullmatch("[0-9]", word) else word for word in text.split())


def transcript_error_rate(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    unit: Literal["word", "character"] = "word",
) -> TranscriptErrorRate:
    """Errors over words (characters) of a set of clips, percent; lower is better.

        transcript_error_rate({"a": "bin blue"}, {"a": "Bin, blew."}).value  # 50.0

    Args:
        references: {id: what is said}. hypotheses: {id: what was recognised}, of the same clips; may be empty texts.
        unit: "word", or "character", of which the blank between two words is one.

    Raises:
        TypeError: no mappings of texts.
        ValueError: no clips, a clip without its counterpart, a reference without a word.
    """
    check_choice("unit", unit, ("word", "character"))
    for name, texts in (("references", references), ("hypotheses", hypotheses)):
        if not isinstance(texts, Mapping):
            raise TypeError(f"`{name}` must be {{id: text}}, got {type(texts).__name__}.")
    if not references:
        raise ValueError("`references` hold no clip.")
    for name, texts, others in (("hypotheses", hypotheses, references), ("references", references, hypotheses)):
        missing = [clip for clip in others if clip not in texts]
        if missing:
            raise ValueError(f"`{name}` lack {len(missing)} clips that the others have, the first is {missing[0]!r}.")
    clips = {}
    for clip, text in references.items():
        said, heard = normalize_transcript(text), normalize_transcript(hypotheses[clip])
        if not said:
            raise ValueError(f"`references[{clip!r}]` ({text!r}) holds no word; leave the clip out.")
        said, heard = (said.split(), heard.split()) if unit == "word" else (said, heard)
        clips[clip] = (count_edits(said, heard), len(said))
    errors, total = (sum(counts) for counts in zip(*clips.values(), strict=True))
    return TranscriptErrorRate(100 * errors / total, errors, total, clips)


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Fewest substitutions, deletions and insertions that make one of the other (Levenshtein's distance)."""
    numbers: dict[str, int] = {}
    said, heard = (
        np.array([numbers.setdefault(part, len(numbers)) for part in parts], dtype=np.int64)
        for parts in (reference, hypothesis)
    )
    columns = np.arange(len(heard) + 1)
    distances = columns.copy()
    for row, part in enumerate(said, start=1):
        changed = np.concatenate([[row], np.minimum(distances[:-1] + (heard != part), distances[1:] + 1)])
        distances = np.minimum.accumulate(changed - columns) + columns  # insertions, from the left
    return int(distances[-1])


# Intelligibility.


def aligned_estoi(
    estimate: ArrayLike, target: ArrayLike, sampling_rate: int, *, max_lag_seconds: float = 0.2
) -> tuple[float, float]:
    """[`estoi`] at the lag at which it is highest, of lags in steps of 10 ms; and that lag.

    Sound and video of some sets (GRID's) don't start together, so that what is made from the video is right and too
    early. At each lag both are cut to what they share. As the best of several it is never below [`estoi`] without lag,
    also for unrelated signals: compare it with nothing else.

    Args:
        estimate, target: (samples,) of the same length.
        sampling_rate: Hz.
        max_lag_seconds: lags from minus to plus that.

    Returns:
        The score, and the lag in seconds, positive if the estimate comes late. Of equal scores the smallest lag's.

    Raises:
        ImportError, TypeError, ValueError: as [`estoi`]; a lag that is negative.
    """
    rate = check_rate(sampling_rate, "sampling_rate")
    check_number("max_lag_seconds", max_lag_seconds, at_least=0, unit="s")
    estimate, target = np.asarray(estimate), np.asarray(target)
    if estimate.ndim != 1 or estimate.shape != target.shape:
        raise ValueError(
            f"`estimate` and `target` must both be (samples,) of one length, got {estimate.shape} and {target.shape}."
        )
    best, best_lag = float(estoi(estimate, target, rate)), 0  # raises where even this can't be scored
    steps = int(max_lag_seconds / _STEP_SECONDS + 1e-9)
    for lag in sorted(range(-steps, steps + 1), key=abs):
        shift = round(abs(lag) * _STEP_SECONDS * rate)
        if lag == 0 or shift >= len(target):
            continue
        kept = len(target) - shift
        pair = (estimate[shift:], target[:kept]) if lag > 0 else (estimate[:kept], target[shift:])
        try:
            score = float(estoi(*pair, rate))
        except ValueError:  # what they share is silent or too short
            continue
        if score > best:
            best, best_lag = score, lag
    return best, best_lag * _STEP_SECONDS


# Pitch and energy.


def pitch_moments(pitch: ArrayLike) -> PitchMoments:
    """Deviation, skewness and kurtosis of the pitch of voiced frames, which FastSpeech 2 prints.

    Args:
        pitch: (frames,), Hz, 0 where nothing is voiced; of several clips one after the other.

    Raises:
        ValueError: another shape, values that are no pitch, or less than two voiced frames; all of one pitch.
    """
    voiced = _take_voiced(pitch, "pitch")
    deviations = voiced - voiced.mean() if len(voiced) else voiced
    variance = float(np.mean(deviations**2)) if len(voiced) else 0.0
    if len(voiced) < 2 or math.sqrt(variance) <= 1e-6 * voiced.mean():
        raise ValueError(f"`pitch` has {len(voiced)} voiced frames whose pitch does not vary; moments are undefined.")
    skewness = float(np.mean(deviations**3)) / variance**1.5
    kurtosis = float(np.mean(deviations**4)) / variance**2 - 3
    return PitchMoments(float(voiced.mean()), math.sqrt(variance), skewness, kurtosis, len(voiced))


def pitch_dtw_distance(estimate: ArrayLike, target: ArrayLike) -> float:
    """Mean difference of pitch in Hz along the best alignment of two melodies (dynamic time warping); 0 is best.

    Voiced frames of both are put side by side; steps go on in one of them or in both, and the differences of the
    cheapest way are divided by their number, that a long clip counts as a short one. (Papers print a DTW distance
    without its details; compare numbers of one program.)

    Args:
        estimate, target: (frames,), Hz, 0 where nothing is voiced; may differ in length.

    Raises:
        ValueError: another shape, values that are no pitch, or no voiced frame in one of them.
    """
    melodies = _take_voiced(estimate, "estimate"), _take_voiced(target, "target")
    for name, melody in zip(("estimate", "target"), melodies, strict=True):
        if not len(melody):
            raise ValueError(f"`{name}` has no voiced frame; there is no melody to compare.")
    cost = np.abs(melodies[0][:, None] - melodies[1])
    rows, columns = cost.shape
    # Along diagonals, whose entries don't depend on each other. The border is of no way.
    padded = np.full((rows + 1, columns + 1), np.inf)
    padded[1, 1] = cost[0, 0]
    for diagonal in range(1, rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        before = np.minimum(np.minimum(padded[row, column], padded[row, column + 1]), padded[row + 1, column])
        padded[row + 1, column + 1] = before + cost[row, column]
    row, column, length = rows, columns, 1
    while row > 1 or column > 1:
        ways = ((padded[row - 1, column - 1], 1, 1), (padded[row - 1, column], 1, 0), (padded[row, column - 1], 0, 1))
        _, up, left = min(ways, key=lambda way: way[0])
        row, column, length = row - up, column - left, length + 1
    return float(padded[rows, columns] / length)


def _take_voiced(pitch: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(pitch, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"`{name}` must be (frames,), got {values.shape}.")
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"`{name}` must be Hz with 0 for unvoiced frames; it holds NaN, infinite or negative values.")
    return values[values > 0]


def frame_distance(estimate: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute difference of two courses over time, of energy or of log-mel spectrograms; 0 is best.

    Args:
        estimate, target: (frames,) or (frames, bins), of one shape.

    Raises:
        ValueError: shapes differ, nothing in them, NaN or infinite values.
    """
    estimate, target = _check_frames(estimate, target)
    return float(np.abs(estimate - target).mean())


# Spectrograms.


def global_variance_ratio(estimate: ArrayLike, target: ArrayLike) -> float:
    """Variance over time of each bin, made over real, mean over bins: below 1, spectra are smoothed over time.

    Bins that don't vary in the target are left out.

    Args:
        estimate, target: (frames, bins), log-mel spectrograms, of one shape.

    Raises:
        ValueError: shapes differ, less than two frames, NaN or infinite values, a target that doesn't vary in any bin.
    """
    estimate, target = _check_frames(estimate, target, axes=2)
    made, real = estimate.var(axis=0), target.var(axis=0)
    varies = real > 1e-12
    if not varies.any():
        raise ValueError(f"`target` ({len(target)} frames) varies in no bin, so that there is no ratio.")
    return float((made[varies] / real[varies]).mean())


def bin_detail_ratio(estimate: ArrayLike, target: ArrayLike) -> float:
    """Variance of the second difference over bins, made over real: below 1, spectra lack the detail between bins.

    It shows averaged spectra where [`global_variance_ratio`] doesn't: between words and silence even those vary. Frames
    count whose mean in the target is at or above the median of all.

    Args:
        estimate, target: (frames, bins), log-mel spectrograms, of one shape, with three bins at least.

    Raises:
        ValueError: shapes differ, less than three bins, NaN or infinite values, a target without detail.
    """
    estimate, target = _check_frames(estimate, target, axes=2)
    if target.shape[1] < 3:
        raise ValueError(f"`target` must have three bins or more, got {target.shape[1]}.")
    level = target.mean(axis=1)
    loud = level >= np.median(level)
    made, real = (np.diff(mel[loud], n=2, axis=1).var() for mel in (estimate, target))
    if not real > 1e-12:
        raise ValueError(f"`target` ({len(target)} frames) has no detail between bins, so that there is no ratio.")
    return float(made / real)


def unit_accuracy(estimate: ArrayLike, target: ArrayLike, ignored: int = -100) -> float:
    """Percent of frames whose unit of speech is right; frames whose target is `ignored` don't count.

    Args:
        estimate, target: (frames,), whole numbers.

    Raises:
        TypeError: no whole numbers. ValueError: lengths differ, or no frame counts.
    """
    estimate, target = np.asarray(estimate), np.asarray(target)
    for name, units in (("estimate", estimate), ("target", target)):
        if not np.issubdtype(units.dtype, np.integer):
            raise TypeError(f"`{name}` must be whole numbers, got {units.dtype}.")
    if estimate.ndim != 1 or estimate.shape != target.shape:
        raise ValueError(
            f"`estimate` and `target` must both be (frames,) of one length, got {estimate.shape} and {target.shape}."
        )
    counts = target != ignored
    if not counts.any():
        raise ValueError(f"`target` has no frame with a unit, of {len(target)}.")
    return 100 * float((estimate == target)[counts].mean())


def _check_frames(estimate: ArrayLike, target: ArrayLike, axes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    values = {"estimate": np.asarray(estimate, dtype=np.float64), "target": np.asarray(target, dtype=np.float64)}
    estimate, target = values.values()
    if estimate.shape != target.shape or not target.size or target.ndim not in ((1, 2) if axes is None else (axes,)):
        wanted = "(frames, bins)" if axes == 2 else "(frames,) or (frames, bins)"
        raise ValueError(
            f"`estimate` and `target` must both be {wanted} of one shape and not empty, got {estimate.shape} and "
            f"{target.shape}."
        )
    for name, frames in values.items():
        if not np.isfinite(frames).all():
            raise ValueError(f"`{name}` holds NaN or infinite values.")
    return estimate, target


__all__ = [
    "TEXT_NORMALIZATION",
    "PitchMoments",
    "TranscriptErrorRate",
    "aligned_estoi",
    "bin_detail_ratio",
    "count_edits",
    "frame_distance",
    "global_variance_ratio",
    "normalize_transcript",
    "pitch_dtw_distance",
    "pitch_moments",
    "transcript_error_rate",
    "unit_accuracy",
]
