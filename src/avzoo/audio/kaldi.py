"""Kaldi's log-mel filter bank in batched torch: same code on CPU and GPU, differentiable.

Conventions, as in Kaldi's `feature-fbank` with `--dither=0 --snip-edges=true --use-energy=false` (and in torchaudio's
`compliance.kaldi.fbank`): whole frames only; every frame centred on its own mean; pre-emphasis inside the frame, the
first sample being its own predecessor; symmetric window; zeros up to the FFT size; power spectrum without the Nyquist
bin; mel = 1127 ln(1 + f / 700), triangles linear in mel and unnormalised; natural logarithm above a floor.
Samples are taken as they come: no scaling to 16-bit range.
"""

from typing import Literal

import numpy as np
import torch

from avzoo.audio.framing import Features, Waveforms, cache_table, check_clips, map_frames, power_spectrum
from avzoo.audio.mel_banks import mel_linear_bank


def kaldi_num_frames(
    num_samples: int, *, sampling_rate: int = 16000, frame_length_ms: float = 25.0, frame_shift_ms: float = 10.0
) -> int:
    """Frames that [`kaldi_fbank`] makes of so many samples: 1 + (samples - window) // hop, 0 below one window."""
    window, hop = _frame_sizes(sampling_rate, frame_length_ms, frame_shift_ms)
    return 0 if num_samples < window else 1 + (num_samples - window) // hop


def kaldi_fbank(
    waveforms: Waveforms,
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
) -> Features:
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
    if not log_floor > 0:
        raise ValueError(f"`log_floor` must be positive, got {log_floor}.")
    clips, single = check_clips(waveforms, window_size)
    frames = [clip.unfold(-1, window_size, hop) for clip in clips]  # (..., frames, window): views, nothing is copied
    weighting = torch.from_numpy(_window(window, window_size)).to(frames[0])
    bank = mel_linear_bank(num_mel_bins, fft_size, sampling_rate, low_frequency, high_frequency)
    bank = torch.from_numpy(bank).to(frames[0])

    def log_mel(part: torch.Tensor) -> torch.Tensor:
        return _log_mel(part, weighting, bank, fft_size, preemphasis, log_floor)

    return map_frames(log_mel, frames, single)


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
    power = power_spectrum(frames, fft_size)[..., : fft_size // 2]
    return (power @ bank).clamp_min_(log_floor).log_()


def _frame_sizes(sampling_rate: int, frame_length_ms: float, frame_shift_ms: float) -> tuple[int, int]:
    window, hop = int(sampling_rate * 0.001 * frame_length_ms), int(sampling_rate * 0.001 * frame_shift_ms)
    if window < 2 or hop < 1:
        raise ValueError(
            f"`frame_length_ms` ({frame_length_ms}) and `frame_shift_ms` ({frame_shift_ms}) must make at least 2 and "
            f"1 samples at `sampling_rate` {sampling_rate}, got {window} and {hop}."
        )
    return window, hop


@cache_table
def _window(name: str, size: int) -> np.ndarray:
    """(size,), float64."""
    cosine = np.cos(2 * np.pi * np.arange(size) / (size - 1))
    if name == "hann":
        return 0.5 - 0.5 * cosine
    if name == "hamming":
        return 0.54 - 0.46 * cosine
    if name == "povey":
        return (0.5 - 0.5 * cosine) ** 0.85
    raise ValueError(f"`window` must be one of hann, hamming, povey, got {name!r}.")
