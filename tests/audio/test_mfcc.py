import math

import numpy as np
import pytest
import torch

from avzoo.audio import speech_features_mfcc
from avzoo.audio.mfcc import _whole_bin_bank


def sound(samples: int) -> torch.Tensor:
    random = np.random.default_rng(samples)
    values = 0.1 * random.standard_normal(samples) * np.sin(np.arange(samples) / 900) ** 2
    return torch.from_numpy(np.round(values * 32768) / 32768)


def by_hand(samples: np.ndarray, window_size: int, hop: int) -> np.ndarray:
    """13 coefficients of 26 bands, 512-point FFT, 16 kHz: one frame, one band, one coefficient after the other."""
    pcm = 32768 * samples
    emphasized = [pcm[0]] + [pcm[n] - 0.97 * pcm[n - 1] for n in range(1, len(pcm))]
    top = 2595 * math.log10(1 + 8000 / 700)
    corners = [int(513 * 700 * (10 ** (top * i / 27 / 2595) - 1) / 16000 + 1e-9) for i in range(28)]
    rows = []
    for number in range(1 if len(pcm) <= window_size else 1 + math.ceil((len(pcm) - window_size) / hop)):
        frame = np.array(emphasized[number * hop : number * hop + window_size][:512])
        power = np.abs(np.fft.rfft(frame, 512)) ** 2 / 512
        bands = []
        for left, peak, right in zip(corners, corners[1:], corners[2:], strict=False):
            band = sum(power[bin] * (bin - left) / (peak - left) for bin in range(left, peak))
            band += sum(power[bin] * (right - bin) / (right - peak) for bin in range(peak, right))
            bands.append(math.log(band or 2.220446049250313e-16))
        row = [math.log(power.sum() or 2.220446049250313e-16)]
        for n in range(1, 13):
            cosine = sum(band * math.cos(math.pi * n * (k + 0.5) / 26) for k, band in enumerate(bands))
            row.append((1 + 11 * math.sin(math.pi * n / 22)) * math.sqrt(2 / 26) * cosine)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(
    ("fps", "window_size", "hop"),
    [
        (25, 400, 160),
        (30, 333, 133),
        (23.976, 417, 167),
        (32, 313, 125),
        (12.5, 800, 320),
    ],  # 312.5: up; 800: cut to 512
)
@pytest.mark.parametrize("samples", [1, 2000, 2001])
def test_each_coefficient_is_the_one_worked_out_by_hand(fps, window_size, hop, samples):
    waveform = sound(samples)
    expected = by_hand(waveform.numpy(), window_size, hop)
    np.testing.assert_allclose(speech_features_mfcc(waveform, fps=fps).numpy(), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(speech_features_mfcc(waveform.float(), fps=fps).numpy(), expected, rtol=0, atol=1e-3)


def test_digital_silence_is_the_logarithm_of_the_least_double():
    rows = speech_features_mfcc(torch.zeros(560, dtype=torch.float64))
    assert rows.shape == (2, 13)
    torch.testing.assert_close(rows[:, 0], torch.full((2,), math.log(2.0**-52), dtype=torch.float64))
    torch.testing.assert_close(rows[:, 1:], torch.zeros(2, 12, dtype=torch.float64), rtol=0, atol=1e-10)


def test_bands_narrower_than_a_bin_stay_empty():
    bank = _whole_bin_bank(128, 512, 16000)
    assert np.isfinite(bank).all()
    assert 0 < (bank.sum(axis=0) == 0).sum() < 64


def test_no_lifter_and_fewer_coefficients():
    waveform = sound(2000)
    liftered, plain = speech_features_mfcc(waveform), speech_features_mfcc(waveform, lifter=0, num_coefficients=5)
    weights = 1 + 11 * torch.sin(torch.pi * torch.arange(5, dtype=torch.float64) / 22)
    torch.testing.assert_close(plain * weights, liftered[:, :5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": -25}, r"`fps` must be positive and finite, got -25"),
        ({"fps": 20_000}, r"`fps` \(20000\) leaves a window of 1 and a hop of 0 samples"),
        ({"num_coefficients": 27}, r"`num_coefficients` \(27\) must lie between 1 and 26"),
        ({"num_coefficients": 0}, r"`num_coefficients` \(0\) must lie between 1 and 26"),
        ({"fft_size": 1}, r"`fft_size` \(1\) must be at least 2"),
        ({"lifter": -1}, r"`lifter` \(-1\) not negative"),
        ({"sample_scale": 0.0}, r"`sample_scale` \(0.0\) positive"),
    ],
)
def test_an_impossible_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        speech_features_mfcc(torch.zeros(4000), **settings)
