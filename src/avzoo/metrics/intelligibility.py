"""Scores of separated or enhanced speech: intelligibility, perceived quality, and distance of spectra.

Metrics: `stoi` and `estoi` (intelligibility) and `pesq_wb` (quality), higher is better; `log_spectral_distance`, in dB,
lower is better. All but the last are computed by the libraries pystoi and pesq, as in papers. Both are optional:
`pip install pystoi`, and `pip install pesq`, which needs a C compiler.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from avzoo.audio.resampling import check_rate
from avzoo.checks import check_number, check_whole_number

_STOI_SECONDS = 0.4
_PESQ_RATE = 16000
# The library writes past its table of 50 utterances, and crashes or not. One takes at least 0.2 s of speech and 0.2 s
# of pause, so that 20 s never hold more.
_PESQ_SECONDS = (0.25, 20.0)


def estoi(estimate: ArrayLike, target: ArrayLike, sampling_rate: int, *, extended: bool = True) -> np.ndarray:
    """Extended short-time objective intelligibility: 1 for the target itself, about 0 for an unrelated signal.

    Both are resampled to 10 kHz; where the target pauses, both are cut; third octaves up to 4.3 kHz are correlated
    over 0.4 s at a time. Neither signal's level matters. pystoi adds noise of 1e-16, from numpy's global generator,
    which decides the score of empty bands; here the noise is the same each time, and that generator doesn't change.
    Source: Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise
    maskers" (2016), by pystoi.

    Args:
        estimate, target: (..., samples) of the same shape.
        sampling_rate: Hz.
        extended: False gives STOI (Taal et al., 2011), which papers print beside it.

    Returns:
        (...), float64.

    Raises:
        ImportError: pystoi is not installed.
        TypeError: complex or integer signals, or a rate that is no whole number.
        ValueError: shapes differ, no samples, NaN or infinite samples, silence, a target that has no 0.4 s without its
            pauses, or a rate that isn't positive.
    """
    try:
        import pystoi
    except ImportError as error:
        raise ImportError("ESTOI is computed by the library pystoi: pip install pystoi.") from error
    rate = check_rate(sampling_rate, "sampling_rate")

    def score(e: np.ndarray, s: np.ndarray) -> float:
        seconds = len(s) / rate
        if seconds >= _STOI_SECONDS:
            drawn = np.random.get_state()
            np.random.seed(0)
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    value = pystoi.stoi(s, e, rate, extended=extended)
            finally:
                np.random.set_state(drawn)
            if not any("Not enough STFT frames" in str(warning.message) for warning in caught):
                return value
        raise ValueError(
            f"`target` of {seconds:.3g} s is too short: without its pauses {_STOI_SECONDS} s must be left, which are "
            "compared at a time. Leave the recording out."
        )

    return _score_each(score, estimate, target)


def stoi(estimate: ArrayLike, target: ArrayLike, sampling_rate: int) -> np.ndarray:
    """Short-time objective intelligibility, the older form of [`estoi`], which papers print beside it.

    Source: Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech" (2011),
    by pystoi. Arguments, result and errors: as [`estoi`].
    """
    return estoi(estimate, target, sampling_rate, extended=False)


def pesq_wb(estimate: ArrayLike, target: ArrayLike, sampling_rate: int) -> np.ndarray:
    """Wide-band PESQ, a mean opinion score: 4.64 for the target itself, about 1 at worst.

    Neither signal's level matters. Source: ITU-T P.862.2 (2007), by the library pesq.

    Args:
        estimate, target: (..., samples) of the same shape, from 0.25 to 20 s: PESQ was made for a few sentences, and
            the library crashes where it finds more than 50 utterances. Cut longer recordings and average.
        sampling_rate: 16000 Hz, the rate of wide-band PESQ.

    Returns:
        (...), float64.

    Raises:
        ImportError: pesq is not installed.
        TypeError: complex or integer signals.
        ValueError: another rate, shapes differ, no samples, too short or too long, NaN or infinite samples, silence,
            or a target in which PESQ detects no speech.
    """
    try:
        import pesq
    except ImportError as error:
        raise ImportError(
            "PESQ is computed by the library pesq: pip install pesq, which needs a C compiler."
        ) from error
    if sampling_rate != _PESQ_RATE:
        raise ValueError(
            f"`sampling_rate` must be {_PESQ_RATE}, the rate of wide-band PESQ, got {sampling_rate!r}; bring both "
            "signals there with avzoo.audio.resample."
        )

    def score(e: np.ndarray, s: np.ndarray) -> float:
        seconds = len(s) / _PESQ_RATE
        shortest, longest = _PESQ_SECONDS
        if not shortest <= seconds <= longest:
            raise ValueError(
                f"`target` must last from {shortest} to {longest:g} s for PESQ, got {seconds:.3g} s; cut longer ones "
                "and average, leave shorter ones out."
            )
        try:
            return pesq.pesq(_PESQ_RATE, s, e, "wb")
        except pesq.NoUtterancesError as error:
            raise ValueError("PESQ detects no speech in `target`; leave the recording out.") from error

    return _score_each(score, estimate, target)


def log_spectral_distance(
    estimate: ArrayLike,
    target: ArrayLike,
    *,
    window_length: int = 512,
    hop_length: int = 128,
    floor_db: float = -60.0,
) -> np.ndarray:
    """Distance of two short-time spectra in dB, phases apart: 0 for the target itself, whatever its level.

    d_t = sqrt(mean over bins of (20 log10 |S| / |E|)^2), mean over frames t. S is the target's spectrum, E the
    estimate's times the gain sum(|S| |E|) / sum(|E|^2), which brings the magnitudes closest; both are raised to
    `floor_db` below the target's loudest bin, so that inaudible bins don't count. A generated voice whose
    phases differ from the target's scores by its spectrum alone, while [`si_sdr`] counts it as wrong.
    Source: Gray and Markel, "Distance measures for speech processing" (1976), the rms log spectral measure; gain and
    floor are ours, and so the numbers compare with each other, not with papers.

    Args:
        estimate, target: (..., samples) of the same shape.
        window_length: of the periodic Hann window, samples. Frames lie inside of the signal; what is left is ignored.
        hop_length: from one frame to the next, samples.
        floor_db: below 0.

    Returns:
        (...), float64.

    Raises:
        TypeError: complex or integer signals, or an argument of a wrong type.
        ValueError: shapes differ, less than a window, NaN or infinite samples, silence, or an argument out of range.
    """
    check_whole_number("window_length", window_length, at_least=2)
    check_whole_number("hop_length", hop_length, at_least=1)
    check_number("floor_db", floor_db, below=0)
    window = np.hanning(window_length + 1)[:-1]

    def magnitudes(signal: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(signal, window_length)[::hop_length]
        return np.abs(np.fft.rfft(window * frames))  # (frames, bins)

    def distance(e: np.ndarray, s: np.ndarray) -> float:
        if len(s) < window_length:
            raise ValueError(f"`target` has {len(s)} samples, less than one window of {window_length}.")
        e, s = magnitudes(e), magnitudes(s)
        energy, loudest = np.sum(e * e), s.max()
        if not energy or not loudest:  # all sound is after the last frame
            raise ValueError("`estimate` or `target` is silent in all of its frames.")
        e *= np.sum(s * e) / energy
        floor = loudest * 10 ** (floor_db / 20)
        difference = 20 * np.log10(np.maximum(s, floor) / np.maximum(e, floor))
        return np.sqrt(np.mean(difference**2, axis=1)).mean()

    return _score_each(distance, estimate, target)


def _score_each(score: Callable[[np.ndarray, np.ndarray], float], estimate: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Check signals (..., samples) and score each pair; (...)."""
    signals = {"estimate": np.asarray(estimate), "target": np.asarray(target)}
    for name, signal in signals.items():
        if not np.issubdtype(signal.dtype, np.floating):
            raise TypeError(f"`{name}` must be floating point, got {signal.dtype}.")
        broken = np.count_nonzero(~np.isfinite(signal))
        if broken:
            raise ValueError(f"`{name}` holds {broken} samples that are NaN or infinite.")
    e, s = (signal.astype(np.float64) for signal in signals.values())
    if e.shape != s.shape or e.ndim == 0 or e.size == 0:
        raise ValueError(
            f"`estimate` and `target` must both be (..., samples) and not empty, got {e.shape} and {s.shape}."
        )
    for name, signal in zip(signals, (e, s), strict=True):
        silent = np.count_nonzero(~signal.any(axis=-1))
        if silent:
            raise ValueError(
                f"`{name}` is silent in {silent} of {signal[..., 0].size} signals, which then have no score."
            )
    flat = [score(*pair) for pair in zip(e.reshape(-1, e.shape[-1]), s.reshape(-1, s.shape[-1]), strict=True)]
    return np.array(flat, dtype=np.float64).reshape(e.shape[:-1])
