import numpy as np
import pytest
import torch

from avzoo.audio import vggish_log_mel


def sound(samples: int) -> torch.Tensor:
    random = np.random.default_rng(samples)
    return torch.from_numpy(0.1 * random.standard_normal(samples) * np.sin(np.arange(samples) / 900) ** 2)


def by_hand(samples: np.ndarray, window_size: int, hop: int, fft: int) -> np.ndarray:
    """Rows one after the other; each triangle drawn over the mel axis between its own three corners."""
    mel = 1127 * np.log(1 + np.arange(fft // 2 + 1) * 16000 / fft / 700)
    corners = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    bank = np.stack([np.interp(mel, corners[i : i + 3], [0, 1, 0]) for i in range(64)], axis=1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_size) / window_size)
    starts = range(0, len(samples) - window_size + 1, hop)
    magnitudes = [np.abs(np.fft.rfft(window * 32768 * samples[at : at + window_size], fft)) for at in starts]
    return np.log(np.array(magnitudes) @ bank + 0.01)


@pytest.mark.parametrize(
    ("fps", "window_size", "hop", "fft"),
    [
        (25, 400, 160, 512),
        (30, 333, 133, 512),
        (23.976, 417, 167, 512),
        (32, 312, 125, 512),  # 312.5: to even
        (16, 625, 250, 1024),
        (19.53125, 512, 205, 512),
    ],
)
@pytest.mark.parametrize("samples", [700, 9999])
def test_each_row_is_the_one_worked_out_by_hand(fps, window_size, hop, fft, samples):
    waveform = sound(samples)
    expected = by_hand(waveform.numpy(), window_size, hop, fft)
    np.testing.assert_allclose(vggish_log_mel(waveform, fps=fps).numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(vggish_log_mel(waveform.float(), fps=fps).numpy(), expected, rtol=0, atol=1e-4)


def test_loud_rows_move_by_the_logarithm_of_the_scale():
    # The mistake that samples in [-1, 1] would be in a network that heard 16-bit numbers: 10.4 everywhere.
    waveform = sound(4000)
    heard, mistaken = vggish_log_mel(waveform), vggish_log_mel(waveform, sample_scale=1.0, log_offset=0.01 / 32768)
    torch.testing.assert_close(heard - mistaken, torch.full_like(heard, np.log(32768)))


def test_silence_is_the_logarithm_of_the_offset():
    torch.testing.assert_close(vggish_log_mel(torch.zeros(560)), torch.full((2, 64), float(np.log(0.01))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 0}, r"`fps` must be positive and finite, got 0"),
        ({"fps": float("nan")}, r"`fps` must be positive and finite, got nan"),
        ({"sampling_rate": -1}, r"`sampling_rate` must be positive and finite, got -1"),
        ({"fps": 10_000}, r"`fps` \(10000\) leaves a window of 1 and a hop of 0 samples at `sampling_rate` 16000"),
        ({"sampling_rate": 8000}, r"`high_frequency` \(7500.0: 7500.0 Hz\), both between 0 and half"),
        ({"log_offset": 0.0}, r"`log_offset` must be positive, got 0.0"),
        ({"sample_scale": 0.0}, r"`sample_scale` must be positive, got 0.0"),
    ],
)
def test_an_impossible_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        vggish_log_mel(torch.zeros(4000), **settings)
