"""Mel filter banks as tables: the weight of each FFT bin in each band. float64 numpy, cached.

Families that are alike in name only: triangles drawn over the mel axis (Kaldi, VGGish); triangles drawn over the
frequency axis between points of a mel scale, which is Slaney's (librosa, and so Wav2Lip, Tacotron, HiFi-GAN, AudioLDM)
or HTK's (torchaudio, and so voxceleb_trainer); and speechbrain's, whose triangles are symmetric in frequency.
"""

import numpy as np

from avzoo.audio.framing import cache_table


@cache_table
def mel_linear_bank(num_mel_bins: int, fft_size: int, sampling_rate: int, low: float, high: float) -> np.ndarray:
    """(fft_size // 2, num_mel_bins): bins below Nyquist; triangles linear in mel = 1127 ln(1 + f / 700), peak 1.

    `low` and `high` are in Hz; `high` of 0 or less counts from half the sampling rate.
    """
    top = high if high > 0 else sampling_rate / 2 + high
    _check_band(num_mel_bins, sampling_rate, low, high, top)

    def mel(frequency):
        return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)

    step = (mel(top) - mel(low)) / (num_mel_bins + 1)
    left = mel(low) + step * np.arange(num_mel_bins)  # where each triangle starts; it peaks a step later
    position = (mel(np.arange(fft_size // 2) * sampling_rate / fft_size)[:, None] - left) / step
    return np.maximum(0.0, np.minimum(position, 2.0 - position))


@cache_table
def slaney_bank(num_mel_bins: int, fft_size: int, sampling_rate: int, low: float, high: float) -> np.ndarray:
    """(fft_size // 2 + 1, num_mel_bins): triangles linear in Hz, each of area 1 (per Hz), as librosa's default.

    Slaney's mel scale is linear up to 1000 Hz (15 mel) and logarithmic above, 27 mel for a factor of 6.4.
    `low` and `high` are in Hz. The scale is that of transformers, its `mel_filter_bank` is not used: for an odd
    `fft_size` or `sampling_rate` that one puts the bins at other frequencies, and `torch.compile` can't trace it.
    """
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz  # here: importing it takes a second

    _check_band(num_mel_bins, sampling_rate, low, high, high)
    mels = np.linspace(hertz_to_mel(low, "slaney"), hertz_to_mel(high, "slaney"), num_mel_bins + 2)
    edges = mel_to_hertz(mels, "slaney")  # Hz
    return _draw_triangles(edges, fft_size, sampling_rate) * (2.0 / (edges[2:] - edges[:-2]))


@cache_table
def htk_bank(num_mel_bins: int, fft_size: int, sampling_rate: int, low: float, high: float) -> np.ndarray:
    """(fft_size // 2 + 1, num_mel_bins): triangles linear in Hz between points of HTK's mel scale, peak 1.

    `low` and `high` are in Hz. As torchaudio's `MelSpectrogram` has it by default.
    """
    _check_band(num_mel_bins, sampling_rate, low, high, high)
    return _draw_triangles(_space_htk(low, high, num_mel_bins + 2), fft_size, sampling_rate)


@cache_table
def speechbrain_bank(num_mel_bins: int, fft_size: int, sampling_rate: int, low: float, high: float) -> np.ndarray:
    """(fft_size // 2 + 1, num_mel_bins): the points of [`htk_bank`], each triangle as wide above as below, peak 1.

    Both halves are as wide as the distance to the lower neighbour. Source: speechbrain/speechbrain@9c826ef
    (`processing/features.py`, `Filterbank`).
    """
    _check_band(num_mel_bins, sampling_rate, low, high, high)
    edges = _space_htk(low, high, num_mel_bins + 2)
    frequency = np.linspace(0, sampling_rate // 2, fft_size // 2 + 1)[:, None]
    return np.maximum(0.0, 1.0 - np.abs(frequency - edges[1:-1]) / (edges[1:-1] - edges[:-2]))


def _space_htk(low: float, high: float, count: int) -> np.ndarray:
    """Frequencies in Hz that are equally far apart in mel = 2595 log10(1 + f / 700)."""
    mels = np.linspace(*(2595.0 * np.log10(1.0 + np.array([low, high]) / 700.0)), count)
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def _draw_triangles(edges: np.ndarray, fft_size: int, sampling_rate: int) -> np.ndarray:
    """(bins, len(edges) - 2): triangles over Hz, each from one edge over the next to the one after it."""
    left, peak, right = edges[:-2], edges[1:-1], edges[2:]
    frequency = (np.arange(fft_size // 2 + 1) * (sampling_rate / fft_size))[:, None]
    rising, falling = (frequency - left) / (peak - left), (right - frequency) / (right - peak)
    return np.maximum(0.0, np.minimum(rising, falling))


def _check_band(num_mel_bins: int, sampling_rate: int, low: float, high: float, top: float) -> None:
    if not 0 <= low < top <= sampling_rate / 2:
        raise ValueError(
            f"`low_frequency` ({low} Hz) must lie below `high_frequency` ({high}: {top} Hz), both between 0 and half "
            f"of `sampling_rate` ({sampling_rate / 2} Hz)."
        )
    if num_mel_bins < 1:
        raise ValueError(f"`num_mel_bins` must be at least 1, got {num_mel_bins}.")
