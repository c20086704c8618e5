import numpy as np
import pytest

from avzoo.metrics import si_sdr


def test_orthogonal_noise_of_a_tenth_of_the_amplitude_is_20_db():
    assert si_sdr([1.0, 0.1], [1.0, 0.0]) == pytest.approx(20.0)


def test_the_target_is_projected_onto_and_not_just_subtracted():
    # <e, s> / |s|^2 = 14 / 25: 0.56 (3, 4) = (1.68, 2.24), the rest (0.32, -0.24), ratio 7.84 / 0.16 = 49.
    assert si_sdr([2.0, 2.0], [3.0, 4.0]) == pytest.approx(10 * np.log10(49))


@pytest.mark.parametrize("gain", [1e-4, 1.0, -30.0])
def test_levels_do_not_matter(gain):
    random = np.random.default_rng(0)
    target, noise = random.standard_normal((2, 500))
    reference = si_sdr(target + 0.3 * noise, target)
    assert si_sdr(gain * (target + 0.3 * noise), target) == pytest.approx(reference)
    assert si_sdr(target + 0.3 * noise, gain * target) == pytest.approx(reference)


def test_each_recording_of_a_batch_gets_its_own_score():
    target = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    estimate = np.array([[[1.0, 0.1], [0.02, 2.0]]])
    np.testing.assert_allclose(si_sdr(estimate, target), [[20.0, 40.0]])


def test_a_perfect_estimate_is_infinitely_good_and_silence_infinitely_bad():
    target = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    estimate = np.array([[2.0, 4.0], [0.0, 0.0], [2.0, -1.0]])  # a multiple, silence, nothing of the target
    assert si_sdr(estimate, target).tolist() == [np.inf, -np.inf, -np.inf]


def test_an_offset_counts_unless_means_are_removed():
    target = np.array([1.0, -1.0, 1.0, -1.0])
    assert si_sdr(target + 1, target) == pytest.approx(0.0)
    assert si_sdr(target + 1, target, remove_mean=True) == np.inf


def test_float32_is_summed_in_float64():
    target = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
    assert si_sdr(target * np.float32(1 + 2**-20), target) > 130


@pytest.mark.parametrize(
    ("estimate", "target", "error", "message"),
    [
        (np.ones(3), np.zeros(3), ValueError, r"`target` is silent in 1 of 1 signals"),
        (np.ones((2, 2)), np.array([[1.0, 1.0], [0.0, 0.0]]), ValueError, r"`target` is silent in 1 of 2 signals"),
        (np.ones(3), np.ones(4), ValueError, r"must both be \(..., samples\) and not empty, got \(3,\) and \(4,\)"),
        (np.ones(0), np.ones(0), ValueError, r"not empty, got \(0,\) and \(0,\)"),
        (np.float64(1), np.float64(1), ValueError, r"not empty, got \(\) and \(\)"),
        (np.array([1.0, np.nan]), np.ones(2), ValueError, r"`estimate` holds 1 samples that are NaN or infinite"),
        (np.ones(2), np.array([np.inf, np.inf]), ValueError, r"`target` holds 2 samples that are NaN or infinite"),
        (np.ones(2), np.ones(2, dtype=np.int16), TypeError, r"`target` must be floating point, got int16"),
    ],
)
def test_bad_estimates_or_targets_are_refused(estimate, target, error, message):
    with pytest.raises(error, match=message):
        si_sdr(estimate, target)


def test_a_constant_target_is_silent_once_its_mean_is_gone():
    with pytest.raises(ValueError, match=r"`target` is silent"):
        si_sdr(np.arange(4.0), np.ones(4), remove_mean=True)
