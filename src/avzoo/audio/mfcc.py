"""Cepstral coefficients of `python_speech_features`, as TalkNet (and SyncNet) feed them."""

import math

import numpy as np
import torch

from avzoo.audio.alignment import check_frame_sizes, scale_frame_sizes
from avzoo.audio.framing import (
    LOUDEST,
    Features,
    Waveforms,
    apply_preemphasis,
    cache_table,
    check_clips,
    map_frames,
    power_spectrum,
)

_LEAST = float(np.finfo(np.float64).eps)  # stands for an energy of exactly zero


def speech_features_mfcc(
    waveforms: Waveforms,
    *,
    fps: float = 25.0,
    sampling_rate: int = 16000,
    num_coefficients: int = 13,
    num_mel_bins: int = 26,
    fft_size: int = 512,
    preemphasis: float = 0.97,
    lifter: int = 22,
    sample_scale: float = 32768.0,
) -> Features:
    """`mfcc` of python_speech_features 0.6: 13 liftered coefficients, the first replaced by the log energy.

    Pre-emphasis over the whole clip, its first sample kept; rectangular window; the last frame filled up with zeros;
    power / fft_size; triangles between whole FFT bins, 0 Hz to half the sampling rate, on mel = 2595 log10(1 + f /
    700); natural logarithm, with 2.2e-16 in place of exact zeros; orthonormal DCT-II; lifter 1 + 11 sin(pi n / 22).
    Follow with [`align_to_video`] for exactly 4 rows per frame.
    Source: jameslyons/python_speech_features 0.6 (`base.py`, `sigproc.py`), TaoRuijie/TalkNet-ASD@6d68214.

    Args:
        waveforms: (samples,), (batch, samples), or a list of (samples,) of any lengths, at least one sample; floating
            point in [-1, 1].
        fps: video frames per second; window and hop are 25 ms and 10 ms times 25 / fps, rounded to whole samples
            (halves up): 400 and 160 at 25 fps, which is the library's default, 333 and 133 at 30.
        sampling_rate: Hz.
        num_coefficients: kept of `num_mel_bins`.
        fft_size: samples; a longer window is cut to it.
        lifter: 0 for none.
        sample_scale: what samples are multiplied with. The networks hear 16-bit numbers: 32768, exact.

    Returns:
        (rows, num_coefficients), (batch, rows, num_coefficients), or a list of (rows, num_coefficients);
        rows = 1 + ceil((samples - window) / hop), at least 1. float32; float64 for float64 waveforms. NaN stays NaN.

    Raises:
        TypeError: a waveform that is no floating-point tensor.
        ValueError: an empty waveform, one of another shape, one far beyond full scale (16-bit numbers as floats), or
            an impossible setting.
    """
    window_size, hop_size = (math.floor(size + 0.5) for size in scale_frame_sizes(sampling_rate, fps))
    check_frame_sizes(window_size, hop_size, sampling_rate, fps)
    if not 1 <= num_coefficients <= num_mel_bins:
        raise ValueError(f"`num_coefficients` ({num_coefficients}) must lie between 1 and {num_mel_bins}, the bands.")
    if fft_size < 2 or lifter < 0 or not sample_scale > 0:
        raise ValueError(
            f"`fft_size` ({fft_size}) must be at least 2, `lifter` ({lifter}) not negative, `sample_scale` "
            f"({sample_scale}) positive."
        )
    clips, single = check_clips(waveforms, 1, "there must be at least", loudest=LOUDEST)
    frames = []
    for clip in clips:
        missing = -(clip.shape[-1] - window_size) % hop_size if clip.shape[-1] > window_size else 0
        missing = max(missing, window_size - clip.shape[-1])  # zeros that fill the last frame
        frames.append(apply_preemphasis(clip, preemphasis, zeros_after=missing).unfold(-1, window_size, hop_size))
    bank = _whole_bin_bank(num_mel_bins, fft_size, sampling_rate) * (sample_scale**2 / fft_size)
    bank = torch.from_numpy(bank).to(frames[0])
    cosines = torch.from_numpy(_liftered_cosines(num_mel_bins, num_coefficients, lifter)).to(frames[0])

    def coefficients(part: torch.Tensor) -> torch.Tensor:
        energies = power_spectrum(part, fft_size) @ bank  # (..., 1 + num_mel_bins)
        return torch.where(energies == 0, _LEAST, energies).log_() @ cosines

    return map_frames(coefficients, frames, single)


@cache_table
def _whole_bin_bank(num_mel_bins: int, fft_size: int, sampling_rate: int) -> np.ndarray:
    """(fft_size // 2 + 1, 1 + num_mel_bins): everything, then triangles whose three corners are whole FFT bins.

    Corners may coincide: such a triangle has one slope, or none.
    """
    mels = np.linspace(0.0, 2595 * np.log10(1 + sampling_rate / 2 / 700.0), num_mel_bins + 2)
    corners = np.floor((fft_size + 1) * (700 * (10 ** (mels / 2595.0) - 1)) / sampling_rate)
    left, peak, right = corners[:-2], corners[1:-1], corners[2:]
    bins = np.arange(fft_size // 2 + 1)[:, None]
    rising = (bins - left) / np.maximum(peak - left, 1)
    falling = (right - bins) / np.maximum(right - peak, 1)
    rises, falls = (left <= bins) & (bins < peak), (peak <= bins) & (bins < right)
    triangles = np.where(rises, rising, np.where(falls, falling, 0.0))
    return np.concatenate([np.ones((len(bins), 1)), triangles], axis=1)


@cache_table
def _liftered_cosines(num_mel_bins: int, num_coefficients: int, lifter: int) -> np.ndarray:
    """(1 + num_mel_bins, num_coefficients): orthonormal DCT-II of the bands, each column times its lifter weight.

    The first row is the log energy of the frame, which takes the place of coefficient 0.
    """
    order = np.arange(1, num_coefficients)
    bands = np.arange(num_mel_bins)[:, None]
    cosines = np.sqrt(2 / num_mel_bins) * np.cos(np.pi * (bands + 0.5) * order / num_mel_bins)
    if lifter:
        cosines = cosines * (1 + lifter / 2 * np.sin(np.pi * order / lifter))
    table = np.zeros((1 + num_mel_bins, num_coefficients))
    table[0, 0] = 1.0
    table[1:, 1:] = cosines
    return table
