"""pYIN finds the pitch of what has one, at any rate, and says so where nothing has."""

import math

import pytest
import torch

from avzoo.audio import decimate_pitch, estimate_pitch, normalize_pitch
from avzoo.audio.pitch import _make_thresholds

RATE = 16000


def voice(hertz: float, seconds: float = 0.5, rate: int = RATE) -> torch.Tensor:
    """A tone with overtones."""
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return sum(0.2 / k * torch.sin(2 * math.pi * hertz * k * time) for k in range(1, 6)).float()


def noise(seconds: float = 0.5) -> torch.Tensor:
    return 0.1 * torch.randn(int(seconds * RATE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("hertz", [70.0, 110.0, 233.0, 480.0])
def test_the_pitch_of_a_tone_is_found_within_a_bin_and_a_half(hertz):
    inner = estimate_pitch(voice(hertz))[5:-5]
    assert (12 * torch.log2(inner / hertz)).abs().max() <= 0.15  # a bin has 0.1


def test_other_rates_give_the_same_frequency():
    pitch = estimate_pitch(voice(200.0, rate=22050), sampling_rate=22050, hop_size=256)
    assert (12 * torch.log2(pitch[5:-5] / 200)).abs().max() <= 0.15


def test_there_is_a_frame_for_each_hop_and_one_more():
    assert [len(estimate_pitch(torch.zeros(samples))) for samples in (1, 159, 160, 1600)] == [1, 1, 2, 11]


@pytest.mark.parametrize(
    "sound", [torch.zeros(8000), torch.full((8000,), 0.3), noise()], ids=["silence", "offset", "noise"]
)
def test_nothing_is_voiced_without_a_voice(sound):
    assert not estimate_pitch(sound).any()


def test_voiced_and_unvoiced_parts_are_told_apart():
    pitch = estimate_pitch(torch.cat([noise(), voice(150.0), noise()]))
    voiced = torch.nonzero(pitch)[:, 0]
    assert 45 <= voiced.min() <= 55
    assert 95 <= voiced.max() <= 105
    assert (pitch[55:95] > 0).all()


def test_the_level_does_not_matter():
    torch.testing.assert_close(estimate_pitch(1e-3 * voice(150.0)), estimate_pitch(voice(150.0)))


def test_long_recordings_are_worked_on_in_blocks_without_a_seam(monkeypatch):
    sound = torch.cat([voice(120.0, 0.3), noise(0.3), voice(90.0, 0.3)])
    whole = estimate_pitch(sound)
    monkeypatch.setattr("avzoo.audio.pitch._BLOCK_FRAMES", 7)
    torch.testing.assert_close(estimate_pitch(sound), whole, rtol=0, atol=0)


def test_thresholds_have_the_shares_of_their_beta_distribution():
    """Density of Beta(2, 18), 18 * 19 * x * (1 - x)^17, summed by the midpoint rule."""
    thresholds, shares = _make_thresholds()
    fine = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    density = 18 * 19 * fine * (1 - fine) ** 17 / 100_000
    torch.testing.assert_close(torch.from_numpy(shares), density.view(100, 1000).sum(1), rtol=0, atol=1e-8)
    assert (thresholds[0], thresholds[-1]) == (pytest.approx(0.01), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"waveform": torch.zeros(2, 100)}, r"`waveform` must be \(samples,\), got \(2, 100\)"),
        ({"waveform": torch.zeros(0)}, "pitch needs 1"),
        ({"waveform": torch.tensor([0.0, math.nan])}, "NaN or infinite samples"),
        ({"waveform": 300 * voice(100.0)}, "it seems to hold integer PCM"),
        ({"high_frequency": 8001}, "`high_frequency` must be .* at most 8000.0 Hz, got 8001"),
        ({"low_frequency": 500}, "`high_frequency` must be above 500"),
        ({"frame_size": 247}, r"`frame_size` \(247\) must exceed 247 samples, a period of 65.0 Hz at 16000 Hz"),
        ({"hop_size": 0}, "`hop_size` must be at least 1, got 0"),
    ],
)
def test_what_has_no_pitch_is_refused(arguments, message):
    arguments = {"waveform": voice(100.0)} | arguments
    with pytest.raises(ValueError, match=message):
        estimate_pitch(**arguments)


def test_every_fourth_frame_is_kept_and_the_end_filled():
    values = torch.arange(1.0, 10.0)
    assert decimate_pitch(values, 2).tolist() == [1, 5]
    assert decimate_pitch(values, 5).tolist() == [1, 5, 9, 0, 0]


def test_voiced_frames_get_mean_0_and_deviation_1():
    assert normalize_pitch(torch.tensor([0.0, 100.0, 0.0, 200.0])).tolist() == [0, -1, 0, 1]


@pytest.mark.parametrize("pitch", [[0.0, 0.0], [0.0, 120.0], []])
def test_utterances_with_no_voiced_frame_or_one_are_zeros(pitch):
    assert normalize_pitch(torch.tensor(pitch)).tolist() == [0.0] * len(pitch)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_pitch_that_is_no_frequency_is_refused(value):
    with pytest.raises(ValueError, match="`pitch` must be Hz with 0 for unvoiced frames"):
        normalize_pitch(torch.tensor([100.0, value]))
