"""Log power density: against sums written out, a window by hand, what a tone and silence give, what is refused."""

import math

import numpy as np
import pytest
import torch

from avzoo.audio import log_power_density
from avzoo.audio.power_density import periodic_tukey


def noise(samples: int, seed: int = 0, loudness: float = 0.1) -> torch.Tensor:
    return loudness * torch.randn(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compute_plainly(samples: np.ndarray, rate: int, size: int, hop: int, floor: float) -> np.ndarray:
    """Each number by its own sum over a frame: mean removed, window, Fourier sum, density, doubled bins, logarithm."""
    # Half a cosine over the first eighth and the last one, of a window of size + 1 whose last point is left out.
    ramp = size // 8
    window = np.ones(size)
    for index in range(ramp):
        window[index] = 0.5 - 0.5 * math.cos(math.pi * index / ramp)
    for index in range(1, ramp):
        window[size - index] = window[index]
    rows = []
    for start in range(0, len(samples) - size + 1, hop):
        frame = samples[start : start + size]
        frame = (frame - frame.mean()) * window
        row = []
        for number in range(size // 2 + 1):
            turn = np.exp(-2j * np.pi * number * np.arange(size) / size)
            density = abs((frame * turn).sum()) ** 2 / (rate * (window**2).sum())
            row.append(math.log((density if number in (0, size // 2) else 2 * density) + floor))
        rows.append(row)
    return np.array(rows).T


@pytest.mark.parametrize(("size", "hop", "samples"), [(512, 159, 1200), (64, 64, 200), (16, 5, 16), (256, 300, 1000)])
def test_it_is_the_density_written_out(size, hop, samples):
    waveform = noise(samples)
    computed = log_power_density(waveform, sampling_rate=16000, fft_size=size, hop_size=hop)
    expected = compute_plainly(waveform.numpy(), 16000, size, hop, 1e-7)
    assert computed.dtype == torch.float64
    np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-9)


def test_the_window_of_16_by_hand():
    """A quarter of 16 is tapered, 2 points a side; as it is periodic, the end lacks the point that would be 0."""
    np.testing.assert_allclose(periodic_tukey(16), [0, 0.5, *[1] * 13, 0.5], atol=1e-15)


def test_the_window_repeats_without_a_seam():
    """It is symmetric about its first point, not about its middle."""
    window = periodic_tukey(512)
    np.testing.assert_allclose(window[1:], window[1:][::-1], atol=1e-15)
    assert (window[0], window[64], window[448]) == (0, 1, 1)
    assert window[449] < 1


def test_the_mean_of_a_frame_is_removed():
    waveform = noise(1000)
    np.testing.assert_allclose(log_power_density(waveform + 0.5), log_power_density(waveform), atol=1e-7)


def test_a_constant_and_silence_are_the_floor():
    for waveform in (torch.zeros(600), torch.full((600,), 0.25)):
        densities = log_power_density(waveform, log_floor=1e-7)
        torch.testing.assert_close(densities, torch.full_like(densities, math.log(1e-7)), rtol=0, atol=1e-6)


def test_densities_integrate_to_the_power_of_the_sound():
    """White noise of power 0.01: its density over 8 kHz, doubled bins counted once more than the two ends."""
    waveform = noise(160_000)
    densities = log_power_density(waveform, log_floor=1e-30).exp().mean(1)
    assert float(densities.sum() * 16000 / 512) == pytest.approx(0.01, rel=0.02)


def test_a_tone_is_in_its_bin():
    waveform = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000)
    assert set(log_power_density(waveform).argmax(0).tolist()) == {32}  # 1000 Hz / (16000 / 512)


def test_the_highest_bin_is_not_doubled():
    """Alternating samples are half the sampling rate: no negative frequency adds to it."""
    waveform = 0.5 * torch.tensor([1.0, -1.0]).repeat(8).double()
    window = torch.from_numpy(periodic_tukey(16))
    frame = (waveform - waveform.mean()) * window
    signs = torch.tensor([1.0, -1.0]).repeat(8)
    expected = (frame * signs).sum() ** 2 / (16000 * (window**2).sum())
    computed = log_power_density(waveform, fft_size=16, hop_size=16, log_floor=1e-30)[-1, 0].exp()
    torch.testing.assert_close(computed, expected)


def test_densities_are_per_hertz():
    waveform = noise(1000)
    slow, fast = (log_power_density(waveform, sampling_rate=rate, log_floor=1e-30) for rate in (8000, 16000))
    torch.testing.assert_close(slow - fast, torch.full_like(slow, math.log(2)))


def test_three_seconds_are_257_by_299():
    assert log_power_density(noise(48000)).shape == (257, 299)
    assert log_power_density(noise(48000), hop_size=238).shape == (257, 200)


def test_a_batch_is_its_clips():
    clips = [noise(1000, seed) for seed in range(3)]
    for together in (log_power_density(torch.stack(clips)), log_power_density(clips)):
        assert together.shape == (3, 257, 4)
        for clip, alone in zip(clips, together, strict=True):
            torch.testing.assert_close(log_power_density(clip), alone)


def test_cells_are_means_of_densities_before_the_logarithm():
    waveform = noise(2000)
    plain = log_power_density(waveform, fft_size=64, hop_size=64, log_floor=1e-12)  # (33, 31)
    cells = log_power_density(waveform, fft_size=64, hop_size=64, log_floor=1e-12, size=(3, 31))
    expected = (plain.exp() - 1e-12).reshape(3, 11, 31).mean(1)
    torch.testing.assert_close(cells, (expected + 1e-12).log())
    assert log_power_density(torch.stack([waveform] * 2), size=(5, 2)).shape == (2, 5, 2)


def test_float32_is_computed_in_float64():
    waveform = noise(1000).float()
    assert torch.equal(log_power_density(waveform), log_power_density(waveform.double()))


def test_quiet_bins_of_loud_frames_are_not_rounding():
    """A tone of full scale beside noise 100 dB below it; float32 would hide the noise."""
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(1024, dtype=torch.float64) / 16000)
    waveform = tone + noise(1024, loudness=1e-5)
    expected = compute_plainly(waveform.numpy(), 16000, 512, 159, 1e-20)
    np.testing.assert_allclose(log_power_density(waveform, log_floor=1e-20), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("waveform", "error", "message"),
    [
        (torch.zeros(511), ValueError, r"`waveforms` has 511 samples, one frame needs 512"),
        ([], ValueError, r"`waveforms` is an empty list"),
        ([torch.zeros(600), torch.zeros(700)], ValueError, r"`waveforms` must all have one length; cut or repeat"),
        (
            torch.zeros(600, dtype=torch.int16),
            TypeError,
            r"must be floating point, got torch\.int16; scale integer PCM",
        ),
        (torch.full((600,), 3000.0), ValueError, r"reaches 3000, full scale is 1"),
        (np.zeros(600), TypeError, r"must be a tensor"),
        (torch.zeros(1, 2, 600), ValueError, r"must be \(samples,\) or \(batch, samples\), got \(1, 2, 600\)"),
    ],
)
def test_what_is_no_clip_is_refused(waveform, error, message):
    with pytest.raises(error, match=message):
        log_power_density(waveform)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_size": 0}, r"`hop_size` must be at least 1, got 0"),
        ({"fft_size": 2}, r"`fft_size` must be at least 4, got 2"),
        ({"log_floor": 0.0}, r"`log_floor` must be above 0, got 0"),
        ({"sampling_rate": -1}, r"`sampling_rate` must be at least 1, got -1"),
        ({"size": (0, 4)}, r"`size` must be \(bins, frames\) from 1 on, got \(0, 4\)"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        log_power_density(torch.zeros(600), **settings)
