"""Pitch over time: pYIN, the probabilistic form of YIN, and what networks that predict pitch are trained on.

pYIN gives each dip of YIN's difference function the share of thresholds under which it would be taken for the period,
and finds the likeliest path through the dips of all frames, voiced or not. Method: de Cheveigne and Kawahara,
"YIN, a fundamental frequency estimator for speech and music" (2002); Mauch and Dixon, "pYIN" (ICASSP 2014). Constants,
and what happens at the edges, are librosa's (0.11, `librosa.pyin`), in whose numbers papers report.
"""

import functools
import math

import numpy as np
import torch

from avzoo.audio.framing import LOUDEST, check_clips
from avzoo.checks import check_number, check_whole_number

_BLOCK_FRAMES = 512  # bounds memory: frames times dips times thresholds
_NUM_THRESHOLDS = 100
_BETA = (2, 18)  # shape of the distribution of thresholds, whole numbers
_DIP_DECAY = 2.0  # of several dips below a threshold, each next one counts exp(-2) as much
_NO_DIP_SHARE = 0.01  # of the thresholds below all dips, for the deepest
_BINS_PER_SEMITONE = 10
_OCTAVES_PER_SECOND = 35.92  # that pitch can move
_SWITCH = 0.01  # probability that voicing changes between two frames
_TINY = math.log(np.finfo(np.float64).tiny)  # log-probability of what is impossible


def estimate_pitch(
    waveform: torch.Tensor,
    *,
    sampling_rate: int = 16000,
    low_frequency: float = 65.0,
    high_frequency: float = 500.0,
    frame_size: int = 1024,
    hop_size: int = 160,
) -> torch.Tensor:
    """The fundamental frequency of a voice by pYIN.

    Frame i is centred at sample i * hop_size; beyond the ends there are zeros. It works in float64, on the CPU.

    Args:
        waveform: (samples,), floating point in [-1, 1]; the level does not matter.
        sampling_rate: Hz. Frequencies are wrong by the same factor as it.
        low_frequency, high_frequency: of what is looked for, Hz.
        frame_size: samples, at least a period of `low_frequency`; two of them or more find it surely.

    Returns:
        (frames,), float32, Hz; 0 where nothing is voiced, in silence everywhere. frames = 1 + samples // hop_size.

    Raises:
        TypeError: no floating-point tensor.
        ValueError: no samples, another shape, NaN or infinite samples, 16-bit numbers as floats, frequencies that don't
            ascend or exceed half of the rate, a frame shorter than a period of `low_frequency`.
    """
    for name, value in {"sampling_rate": sampling_rate, "frame_size": frame_size, "hop_size": hop_size}.items():
        check_whole_number(name, value, at_least=1)
    check_number("low_frequency", low_frequency, above=0, unit="Hz")
    check_number("high_frequency", high_frequency, above=low_frequency, at_most=sampling_rate / 2, unit="Hz")
    shortest, longest = int(sampling_rate // high_frequency), math.ceil(sampling_rate / low_frequency)
    if longest >= frame_size:
        raise ValueError(
            f"`frame_size` ({frame_size}) must exceed {longest} samples, a period of {low_frequency} Hz at "
            f"{sampling_rate} Hz."
        )
    (clip,), _ = check_clips(waveform, 1, "pitch needs", loudest=LOUDEST)
    if clip.ndim != 1:
        raise ValueError(f"`waveform` must be (samples,), got {tuple(clip.shape)}; call it for each.")
    samples = clip.detach().cpu().double().numpy().copy()
    if not np.isfinite(samples).all():
        raise ValueError("`waveform` holds NaN or infinite samples.")
    samples -= samples.mean()  # silence with an offset would count as voiced
    padded = np.pad(samples, frame_size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame_size)[::hop_size]
    frequencies = _make_frequencies(low_frequency, high_frequency)
    observed = np.zeros((len(frames), len(frequencies)))
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = observed[start : start + _BLOCK_FRAMES]
        difference = _normalized_difference(frames[start : start + _BLOCK_FRAMES], shortest, longest)
        row, lag, probability = _weigh_dips(difference)
        period = shortest + lag + _find_vertices(difference)[row, lag]
        bins = 12 * _BINS_PER_SEMITONE * np.log2(sampling_rate / period / low_frequency)
        bins = bins.round().clip(0, len(frequencies)).astype(np.int64)
        inside = bins < len(frequencies)  # librosa loses those that are too high, too
        block[row[inside], bins[inside]] = probability[inside]
    reach = round(_OCTAVES_PER_SECOND * 12 * hop_size / sampling_rate) * _BINS_PER_SEMITONE // 2
    states = _find_path(observed, reach)
    pitch = np.where(states < 0, 0.0, frequencies[states.clip(0)])
    return torch.from_numpy(pitch).float()


def decimate_pitch(values: torch.Tensor, num_frames: int, factor: int = 4) -> torch.Tensor:
    """Every `factor`-th of some values over time, cut to `num_frames` or filled with 0: (values,) to (num_frames,).

    Pitch at the rate of the spectrogram becomes pitch at the video's.
    """
    values = values[::factor][:num_frames]
    return torch.nn.functional.pad(values, (0, num_frames - len(values)))


def normalize_pitch(pitch: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """Pitch of an utterance with mean 0 and deviation 1 over its voiced frames; frames of 0 Hz stay 0.

    An utterance without a voiced frame stays as it is, zeros. Source: YangKangJNU/LTBS@6c977e1 (`src/utils.py`), where
    it becomes NaN.

    Args:
        pitch: (frames,), Hz, 0 where nothing is voiced.
        eps: added to the deviation.

    Raises:
        ValueError: another shape; NaN, infinite or negative values.
    """
    if pitch.ndim != 1:
        raise ValueError(f"`pitch` must be (frames,), got {tuple(pitch.shape)}.")
    if not bool((torch.isfinite(pitch) & (pitch >= 0)).all()):
        raise ValueError("`pitch` must be Hz with 0 for unvoiced frames; it holds NaN, infinite or negative values.")
    voiced = pitch > 0
    if not bool(voiced.any()):
        return torch.zeros_like(pitch)
    values = pitch[voiced].double()
    normalized = (values - values.mean()) / (values.std(correction=0) + eps)
    return torch.zeros_like(pitch).masked_scatter_(voiced, normalized.to(pitch.dtype))


def _normalized_difference(frames: np.ndarray, shortest: int, longest: int) -> np.ndarray:
    """YIN's difference function over its running mean, (frames, size) to (frames, lags from shortest to longest).

    d(k) = sum over m of (x[m] - x[m + k])^2 with zeros behind the frame.
    """
    size = frames.shape[1]
    fft_size = 1 << (size + longest - 1).bit_length()  # nothing wraps around
    spectra = np.fft.rfft(frames, fft_size)
    correlation = np.fft.irfft(spectra.real**2 + spectra.imag**2, fft_size)[:, : longest + 1]
    left_out = np.cumsum(frames[:, :longest] ** 2, axis=1)  # energy of the first k samples, which have no partner
    difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - left_out  # lags 1 to longest
    running_mean = np.cumsum(difference, axis=1) / np.arange(1, longest + 1)
    wanted = slice(shortest - 1, longest)
    # Rounding leaves a little of silence; without a floor that would look like a voice.
    floor = 1e-12 * correlation[:, :1] + np.finfo(np.float32).tiny
    return difference[:, wanted] / (running_mean[:, wanted] + floor)


def _find_vertices(difference: np.ndarray) -> np.ndarray:
    """How far from each lag the parabola through it and its neighbours has its vertex; 0 where beyond these."""
    before, here, after = difference[:, :-2], difference[:, 1:-1], difference[:, 2:]
    curvature, slope = before + after - 2 * here, (after - before) / 2
    inside = np.abs(slope) < np.abs(curvature)
    shifts = np.zeros_like(difference)
    shifts[:, 1:-1] = np.where(inside, -slope / np.where(inside, curvature, 1), 0)
    return shifts


def _weigh_dips(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame, lag and probability of each local minimum of a block."""
    before = np.concatenate([difference[:, :1], difference[:, :-1]], axis=1)
    after = np.concatenate([difference[:, 1:], difference[:, -1:]], axis=1)
    is_dip = (difference < before) & (difference <= after)
    is_dip[:, 0] = difference[:, 0] < difference[:, 1]
    row, lag = np.nonzero(is_dip)
    place = np.cumsum(is_dip, axis=1)[row, lag] - 1  # among the dips of its frame
    depths = np.full((len(difference), max(is_dip.sum(axis=1).max(initial=0), 1)), np.inf)
    depths[row, place] = difference[row, lag]
    thresholds, shares = _make_thresholds()
    below = depths[..., None] < thresholds  # (frames, dips, thresholds)
    rank, count = np.cumsum(below, axis=1) - 1, below.sum(axis=1, keepdims=True)
    decay = -_DIP_DECAY
    prior = below * np.exp(decay * rank) * (1 - math.exp(decay)) / -np.expm1(decay * np.maximum(count, 1))
    probability = prior @ shares
    deepest = depths.argmin(axis=1)
    every = np.arange(len(depths))
    probability[every, deepest] += _NO_DIP_SHARE * (~below[every, deepest] @ shares)
    return row, lag, probability[row, place]


@functools.cache
def _make_thresholds() -> tuple[np.ndarray, np.ndarray]:
    """Thresholds, and the share of each: how much of a beta distribution lies between it and the one before."""
    edges = np.linspace(0, 1, _NUM_THRESHOLDS + 1)
    first, second = _BETA
    draws = first + second - 1
    # For whole numbers the beta distribution's integral is the chance of `first` hits or more in so many draws.
    fewer = sum(math.comb(draws, hits) * edges**hits * (1 - edges) ** (draws - hits) for hits in range(first))
    return edges[1:], np.diff(1 - fewer)


def _make_frequencies(low_frequency: float, high_frequency: float) -> np.ndarray:
    """Centres of the bins of pitch, Hz."""
    bins = 12 * _BINS_PER_SEMITONE
    return low_frequency * 2 ** (np.arange(math.floor(bins * math.log2(high_frequency / low_frequency)) + 1) / bins)


def _find_path(observed: np.ndarray, reach: int) -> np.ndarray:
    """The likeliest bin of each frame, -1 where nothing is voiced, by Viterbi's algorithm.

    Args:
        observed: (frames, bins), probability that the frame is voiced and of that pitch.
        reach: bins that pitch can move between two frames; near moves are likelier.
    """
    num_frames, num_bins = observed.shape
    unvoiced = (1 - observed.sum(axis=1, keepdims=True).clip(0, 1)) / num_bins
    with np.errstate(divide="ignore"):
        emission = np.maximum(np.log(observed), _TINY)  # (frames, bins)
        silence = np.maximum(np.log(unvoiced), _TINY)  # (frames, 1), the same for each bin
    moves = 1 - np.abs(np.arange(-reach, reach + 1)) / (reach + 1)
    # Bins at the edges have fewer neighbours to share their probability with.
    leaving = np.log(np.convolve(np.ones(num_bins), moves, mode="full")[reach : reach + num_bins])
    log_moves, stay, switch = np.log(moves), math.log(1 - _SWITCH), math.log(_SWITCH)
    every = np.arange(num_bins)
    # Voiced and unvoiced, each bin as likely to begin with as any other.
    scores = np.stack([emission[0], np.broadcast_to(silence[0], num_bins)])
    came_from = np.empty((num_frames, 2, num_bins), np.int32)
    padded = np.full((2, num_bins + 2 * reach), -np.inf)
    for frame in range(1, num_frames):
        padded[:, reach : reach + num_bins] = scores - leaving
        reachable = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1) + log_moves
        chosen = reachable.argmax(axis=2)  # (2, bins)
        best = np.take_along_axis(reachable, chosen[..., None], axis=2)[..., 0]
        source = every + chosen - reach + np.array([[0], [num_bins]])
        kept, switched = best + stay, best[::-1] + switch
        scores = np.where(switched > kept, switched, kept)
        source = np.where(switched > kept, source[::-1], source)
        scores[0] += emission[frame]
        scores[1] += silence[frame]
        came_from[frame] = source
    path = np.empty(num_frames, np.int64)
    path[-1] = scores.argmax()
    for frame in range(num_frames - 1, 0, -1):
        path[frame - 1] = came_from[frame].reshape(-1)[path[frame]]
    return np.where(path < num_bins, path, -1)


__all__ = ["decimate_pitch", "estimate_pitch", "normalize_pitch"]
