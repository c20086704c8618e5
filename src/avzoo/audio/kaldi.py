"""Kaldi's log-mel filter bank in batched torch: same code on CPU and GPU, differentiable.

Conventions, as in Kaldi's `feature-fbank` with `--dither=0 --snip-edges=true --use-energy=false` (and in torchaudio's
`compliance.kaldi.fbank`): whole frames only; every frame centred on its own mean; pre-emphasis inside the frame, the
first sample being its own predecessor; symmetric window; zeros up to the FFT size; power spectrum without the Nyquist
bin; mel = 1127 ln(1 + f / 700), triangles linear in mel and unnormalised; natural logarithm above a floor.
Samples are taken as they come: no scaling to 16-bit range.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch

# Frames worked on at once. On a CPU about two megabytes per thread, which stay in cache through all passes: twice as
# fast as one pass over everything. Smaller parts gain nothing and make threads that share a busy core wait for each
# other more often. Elsewhere a bound on memory, about half a gigabyte.
_FRAMES_PER_CPU_THREAD = 1024
_FRAMES_AT_ONCE = 65536


def kaldi_num_frames(
    num_samples: int, *, sampling_rate: int = 16000, frame_length_ms: float = 25.0, frame_shift_ms: float = 10.0
) -> int:
    """Frames that [`kaldi_fbank`] makes of so many samples: 1 + (samples - window) // hop, 0 below one window."""
    window, hop = _frame_sizes(sampling_rate, frame_length_ms, frame_shift_ms)
    return 0 if num_samples < window else 1 + (num_samples - window) // hop


def kaldi_fbank(
    waveforms: torch.Tensor | Sequence[torch.Tensor],
    *,
    sampling_rate: int = 16000,
    num_mel_bins: int = 128,
    frame_length_ms: float = 25.0,
    frame_shift_ms: float = 10.0,
    low_frequency: float = 20.0,
    high_frequency: float = 0.0,
    preemphasis: float = 0.97,
    window: Literal["hann", "hamming", "povey"] = "hann",
    round_to_power_of_two: bool = True,
    log_floor: float = 1.1920929e-07,
) -> torch.Tensor | list[torch.Tensor]:
    """Log-mel energies of one waveform, of a batch, or of a list of different lengths.

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of any lengths; floating point, in [-1, 1]
            where a model was trained so. A list costs what its samples cost: nothing is padded.
        sampling_rate: Hz.
        num_mel_bins: triangles between `low_frequency` and `high_frequency`. With many, low ones can be narrower than
            an FFT bin and stay empty, hence at ln(log_floor): bin 3 of 128 at 16 kHz.
        frame_length_ms, frame_shift_ms: milliseconds, cut down to whole samples.
        low_frequency, high_frequency: Hz. `high_frequency` of 0 or less counts from half the sampling rate.
        preemphasis: x[n] - preemphasis * x[n - 1] inside each frame.
        window: symmetric; "povey" is Hann to the power 0.85.
        round_to_power_of_two: FFT over the next power of two, else over the frame itself.
        log_floor: least energy before the logarithm.

    Returns:
        (frames, num_mel_bins), (batch, frames, num_mel_bins), or a list of (frames, num_mel_bins);
        frames = 1 + (samples - window) // hop. float32; float64 for float64 waveforms. On CUDA with TF32 matrix
        products switched on, the mel sums carry TF32's three digits.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: a waveform shorter than one frame, of another shape, or an impossible setting.
    """
    window_size, hop = _frame_sizes(sampling_rate, frame_length_ms, frame_shift_ms)
    fft_size = 1 << (window_size - 1).bit_length() if round_to_power_of_two else window_size
    weighting = _cached(_window)(window, window_size)
    bank = _cached(_mel_bank)(num_mel_bins, fft_size, sampling_rate, low_frequency, high_frequency)
    if not log_floor > 0:
        raise ValueError(f"`log_floor` must be positive, got {log_floor}.")
    single = isinstance(waveforms, torch.Tensor)
    clips = [waveforms] if single else list(waveforms)
    clips = [_checked(clip, i, single, window_size) for i, clip in enumerate(clips)]
    if not clips:
        raise ValueError("`waveforms` is an empty list.")

    frames = [clip.unfold(-1, window_size, hop) for clip in clips]  # (..., frames, window): views, nothing is copied
    weighting = torch.from_numpy(weighting).to(frames[0])
    bank = torch.from_numpy(bank).to(frames[0])

    def log_mel(part: torch.Tensor) -> torch.Tensor:
        return _log_mel(part, weighting, bank, fft_size, preemphasis, log_floor)

    # Autocast would run the mel sums in half precision.
    device = frames[0].device.type
    with torch.autocast(device if torch.amp.is_autocast_available(device) else "cpu", enabled=False):
        on_cpu = device == "cpu"
        if single and (torch.compiler.is_compiling() or not on_cpu):
            return log_mel(frames[0])
        leading = frames[0].shape[:-1]  # ([batch,] frames), for a single tensor
        rows = list(frames[0]) if single and frames[0].ndim == 3 else frames
        limit = _FRAMES_PER_CPU_THREAD * torch.get_num_threads() if on_cpu else _FRAMES_AT_ONCE
        energies = torch.cat([log_mel(part) for part in _parts(rows, limit)])  # (all frames, num_mel_bins)
    if single:
        return energies.view(*leading, num_mel_bins)
    return list(energies.split([len(row) for row in rows]))


def _log_mel(
    frames: torch.Tensor,
    window: torch.Tensor,
    bank: torch.Tensor,
    fft_size: int,
    preemphasis: float,
    log_floor: float,
) -> torch.Tensor:
    """(..., window) to (..., num_mel_bins). In place only where nothing else holds the tensor."""
    frames = frames - frames.mean(-1, keepdim=True)
    first = frames[..., :1] * (1 - preemphasis)
    frames = torch.cat([first, torch.sub(frames[..., 1:], frames[..., :-1], alpha=preemphasis)], -1).mul_(window)
    spectrum = torch.view_as_real(torch.fft.rfft(frames, n=fft_size))[..., : fft_size // 2, :]  # (..., bins, 2)
    # Multiply, then add the two parts: on a CPU twice as fast as `abs() ** 2` or a sum over the last axis.
    squares = spectrum * spectrum
    power = squares[..., 0] + squares[..., 1]  # (..., bins)
    return (power @ bank).clamp_min_(log_floor).log_()


def _parts(rows: list[torch.Tensor], limit: int) -> Iterator[torch.Tensor]:
    """The frames of all rows in order, at most `limit` at a time; short rows share a part."""
    waiting, count = [], 0
    for row in rows:
        for piece in row.split(limit):
            if waiting and count + len(piece) > limit:
                yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]
                waiting, count = [], 0
            waiting.append(piece)
            count += len(piece)
    yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]


def _checked(clip: object, index: int, single: bool, window_size: int) -> torch.Tensor:
    name = "`waveforms`" if single else f"`waveforms[{index}]`"
    if not isinstance(clip, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(clip).__name__}; wrap arrays with `torch.from_numpy`.")
    if not clip.is_floating_point():
        raise TypeError(
            f"{name} must be floating point, got {clip.dtype}; scale integer PCM to [-1, 1] first (int16 / 32768)."
        )
    if clip.ndim != 1 and not (single and clip.ndim == 2):
        expected = "(samples,) or (batch, samples)" if single else "(samples,)"
        raise ValueError(f"{name} must be {expected}, got {tuple(clip.shape)}.")
    if clip.ndim == 2 and clip.shape[0] == 0:
        raise ValueError(f"{name} is an empty batch, {tuple(clip.shape)}.")
    if clip.shape[-1] < window_size:
        raise ValueError(
            f"{name} has {clip.shape[-1]} samples, one frame needs {window_size}: the recording is too short; "
            "drop it or pad it with zeros."
        )
    return clip if clip.dtype == torch.float64 else clip.float()


def _frame_sizes(sampling_rate: int, frame_length_ms: float, frame_shift_ms: float) -> tuple[int, int]:
    window, hop = int(sampling_rate * 0.001 * frame_length_ms), int(sampling_rate * 0.001 * frame_shift_ms)
    if window < 2 or hop < 1:
        raise ValueError(
            f"`frame_length_ms` ({frame_length_ms}) and `frame_shift_ms` ({frame_shift_ms}) must make at least 2 and "
            f"1 samples at `sampling_rate` {sampling_rate}, got {window} and {hop}."
        )
    return window, hop


def _cached(table: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    # `torch.compile` traces the plain function; it would trace into a cached one too, with a warning.
    return table.__wrapped__ if torch.compiler.is_compiling() else table


# What is cached is numpy: a tensor made while a model is traced or on the meta device must not outlive that.
@functools.lru_cache(maxsize=32)
def _window(name: str, size: int) -> np.ndarray:
    """(size,), float32."""
    cosine = np.cos(2 * math.pi * np.arange(size) / (size - 1))
    if name == "hann":
        values = 0.5 - 0.5 * cosine
    elif name == "hamming":
        values = 0.54 - 0.46 * cosine
    elif name == "povey":
        values = (0.5 - 0.5 * cosine) ** 0.85
    else:
        raise ValueError(f"`window` must be one of hann, hamming, povey, got {name!r}.")
    return values.astype(np.float32)


@functools.lru_cache(maxsize=32)
def _mel_bank(num_mel_bins: int, fft_size: int, sampling_rate: int, low: float, high: float) -> np.ndarray:
    """(fft_size // 2, num_mel_bins), float32: the weight of each FFT bin below Nyquist in each triangle."""
    nyquist = sampling_rate / 2
    top = high if high > 0 else nyquist + high
    if not 0 <= low < top <= nyquist:
        raise ValueError(
            f"`low_frequency` ({low} Hz) must lie below `high_frequency` ({high}: {top} Hz), both between 0 and half "
            f"of `sampling_rate` ({nyquist} Hz)."
        )
    if num_mel_bins < 1:
        raise ValueError(f"`num_mel_bins` must be at least 1, got {num_mel_bins}.")

    def mel(frequency):
        return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)

    step = (mel(top) - mel(low)) / (num_mel_bins + 1)
    left = mel(low) + step * np.arange(num_mel_bins)  # where each triangle starts; it peaks a step later
    position = (mel(np.arange(fft_size // 2) * sampling_rate / fft_size)[:, None] - left) / step
    return np.maximum(0.0, np.minimum(position, 2.0 - position)).astype(np.float32)
