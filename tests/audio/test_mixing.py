import subprocess
import sys

import numpy as np
import pytest

from avzoo.audio import mix_at_equal_level, mix_at_snr


def voices() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [level * random.standard_normal(1000 + 10 * i) + 0.01 for i, level in enumerate((0.5, 0.02, 0.1))]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_voices_are_equally_loud_and_the_loudest_sample_is_the_peak(count):
    mixture, parts = mix_at_equal_level(voices()[:count], 0.62)
    assert mixture.dtype == parts.dtype == np.float32
    assert mixture.shape == (1000,)
    assert parts.shape == (count, 1000)
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    np.testing.assert_allclose(parts.std(axis=1), parts[0].std(), rtol=1e-6)
    assert max(np.abs(mixture).max(), np.abs(parts).max()) == np.float32(0.62)


def test_voices_that_cancel_do_not_exceed_the_peak_either():
    voice = voices()[0]
    mixture, parts = mix_at_equal_level([voice, -3 * voice], 0.9)
    np.testing.assert_allclose(mixture, 0, atol=1e-6)
    assert np.abs(parts).max() == np.float32(0.9)


def test_an_equal_mix_by_hand():
    mixture, parts = mix_at_equal_level([[1.0, -1.0, 1.0, -1.0], [4.0, 4.0, 0.0, 0.0, 9.0]], 0.8)
    # Deviations 1 and 2, means stay: [1, -1, 1, -1] + [2, 2, 0, 0] reaches 3.
    np.testing.assert_allclose(mixture, np.array([3, 1, 1, -1]) * 0.8 / 3, rtol=1e-6)
    np.testing.assert_allclose(parts[1], np.array([2, 2, 0, 0]) * 0.8 / 3, rtol=1e-6)


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 3.0, 12.0])
def test_energies_have_the_wanted_ratio(snr_db):
    voice, noise = (signal[:1000] for signal in voices()[:2])
    mixture, parts = mix_at_snr(voice, noise, snr_db)
    assert mixture.dtype == parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    energy = (parts.astype(np.float64) ** 2).sum(axis=1)
    assert 10 * np.log10(energy[0] / energy[1]) == pytest.approx(snr_db, abs=1e-5)
    weights = parts[0, 0] / voice[0], parts[1, 0] / noise[0]
    assert np.hypot(*weights) == pytest.approx(1, abs=1e-6)


def test_a_mix_at_a_ratio_by_hand():
    # Energies 2 and 8; 0 dB makes g = 1/2: weights 1 / sqrt(1.25) and 0.5 / sqrt(1.25).
    mixture, _ = mix_at_snr([1.0, -1.0, 0.0], [2.0, 0.0, 2.0], 0.0)
    np.testing.assert_allclose(mixture, np.array([2, -1, 1]) / np.sqrt(1.25), rtol=1e-6)


def test_equally_loud_signals_keep_their_energy():
    voice = np.array([1.0, 0.0])
    mixture, _ = mix_at_snr(voice, voice[::-1], 7.0)
    assert mixture @ mixture == pytest.approx(1.0)


def test_mixing_needs_no_torch():
    program = "import sys, avzoo.audio; avzoo.audio.mix_at_snr; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], 0.9), ValueError, r"`voices` is empty"),
        (([np.ones(3)], 0.9), ValueError, r"`voices\[0\]` is silent in its first 3 samples"),
        (([np.arange(3.0), np.full(9, 0.1)], 0.9), ValueError, r"`voices\[1\]` is silent in its first 3 samples"),
        (([np.arange(3)], 0.9), TypeError, r"`voices\[0\]` must be floating point, got int64"),
        (([np.ones((2, 3))], 0.9), ValueError, r"`voices\[0\]` must be \(samples,\) .*, got \(2, 3\)"),
        (([np.array([1.0, np.nan])], 0.9), ValueError, r"`voices\[0\]` holds 1 samples that are NaN"),
        (([np.arange(3.0)], 0.0), ValueError, r"`peak` must be positive and finite, got 0.0"),
    ],
)
def test_bad_voices_or_peaks_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mix_at_equal_level(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones(3), np.ones(4), 0.0), ValueError, r"`voice` has 3 samples, `noise` 4; cut both"),
        ((np.zeros(3), np.ones(3), 5.0), ValueError, r"`voice` is silent: no gain gives 5.0 dB"),
        ((np.ones(3), np.zeros(3), 5.0), ValueError, r"`noise` is silent: no gain gives 5.0 dB"),
        ((np.ones(3), np.arange(3), 5.0), TypeError, r"`noise` must be floating point, got int64"),
        ((np.ones(0), np.ones(0), 5.0), ValueError, r"`voice` must be \(samples,\) with at least one sample"),
        ((np.ones(3), np.ones(3), np.inf), ValueError, r"`snr_db` must be finite, got inf"),
    ],
)
def test_bad_signals_or_ratios_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mix_at_snr(*arguments)
