import importlib.util
import subprocess
import sys

import numpy as np
import pystoi
import pytest

from avzoo.metrics import estoi, log_spectral_distance, pesq_wb

RATE = 16000
SECONDS = 1


@pytest.fixture(scope="module")
def voice():
    """A buzz with moving formants, switched on and off in syllables: what the libraries take for speech."""
    time = np.arange(SECONDS * RATE) / RATE
    pitch = np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    formants = (500 + 250 * np.sin(2 * np.pi * 3 * time), 1500 + 500 * np.cos(2 * np.pi * 2 * time))
    harmonics = np.zeros_like(time)
    for number in range(1, 33):
        hz = 120 * number
        level = sum(np.exp(-(((hz - formant) / 200) ** 2)) for formant in formants) + 0.02
        harmonics += level * np.sin(2 * np.pi * number * pitch)
    return 0.1 * harmonics * np.clip(np.sin(2 * np.pi * 2 * time) + 0.6, 0, 1)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).standard_normal(SECONDS * RATE)


def estoi_16k(estimate, target):
    return estoi(estimate, target, RATE)


def pesq_16k(estimate, target):
    return pesq_wb(estimate, target, RATE)


needs_pesq = pytest.mark.skipif(
    importlib.util.find_spec("pesq") is None, reason="pesq is not installed; it needs a C compiler"
)


@pytest.fixture(
    params=[
        pytest.param(estoi_16k, id="estoi"),
        pytest.param(pesq_16k, id="pesq_wb", marks=needs_pesq),
        pytest.param(log_spectral_distance, id="log_spectral_distance"),
    ]
)
def score(request):
    return request.param


# All three.


def test_each_recording_of_a_batch_gets_its_own_score(score, voice, noise):
    target = np.stack([voice, voice[::-1], 0.5 * voice, voice]).reshape(2, 2, -1)
    estimate = target + 0.05 * np.stack([noise, 2 * noise, noise, 0 * noise]).reshape(2, 2, -1)
    scores = score(estimate, target)
    assert (scores.shape, scores.dtype) == ((2, 2), np.float64)
    for index in np.ndindex(2, 2):
        assert scores[index] == score(estimate[index], target[index])
    assert len(set(scores.ravel().tolist())) == 4


def test_more_noise_is_worse(score, voice, noise):
    scores = [float(score(voice + gain * noise, voice)) for gain in (0, 0.003, 0.01, 0.03, 0.1)]
    better_first = scores if score is log_spectral_distance else [-value for value in scores]
    assert better_first == sorted(better_first)
    assert len(set(scores)) == 5


@pytest.mark.parametrize("gain", [1e-4, 30.0])
def test_levels_do_not_matter(score, voice, noise, gain):
    noisy = voice + 0.02 * noise
    expected = float(score(noisy, voice))
    assert float(score(gain * noisy, voice)) == pytest.approx(expected, abs=1e-3)
    assert float(score(noisy, gain * voice)) == pytest.approx(expected, abs=1e-3)


def test_inputs_stay_as_they_were_and_float32_will_do(score, voice, noise):
    target, estimate = voice.astype(np.float32), (voice + 0.02 * noise).astype(np.float32)
    copies = target.copy(), estimate.copy()
    assert float(score(estimate, target)) == pytest.approx(float(score(voice + 0.02 * noise, voice)), abs=1e-3)
    np.testing.assert_array_equal((target, estimate), copies)


@pytest.mark.parametrize(
    ("estimate", "target", "error", "message"),
    [
        (np.ones(8000), np.zeros(8000), ValueError, r"`target` is silent in 1 of 1 signals"),
        (np.zeros((2, 8000)), np.ones((2, 8000)), ValueError, r"`estimate` is silent in 2 of 2 signals"),
        (np.ones(3), np.ones(4), ValueError, r"must both be \(..., samples\) and not empty, got \(3,\) and \(4,\)"),
        (np.ones((2, 0)), np.ones((2, 0)), ValueError, r"not empty, got \(2, 0\) and \(2, 0\)"),
        (np.float64(1), np.float64(1), ValueError, r"not empty, got \(\) and \(\)"),
        (np.array([1.0, np.nan]), np.ones(2), ValueError, r"`estimate` holds 1 samples that are NaN or infinite"),
        (np.ones(2), np.array([np.inf, np.inf]), ValueError, r"`target` holds 2 samples that are NaN or infinite"),
        (np.ones(2), np.ones(2, dtype=np.int16), TypeError, r"`target` must be floating point, got int16"),
    ],
)
def test_bad_estimates_or_targets_are_refused(score, estimate, target, error, message):
    with pytest.raises(error, match=message):
        score(estimate, target)


# ESTOI.


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize("rate", [10000, RATE])
def test_estoi_is_what_pystoi_computes(voice, noise, rate, extended):
    noisy = voice + 0.05 * noise
    expected = pystoi.stoi(voice, noisy, rate, extended=extended)
    assert estoi(noisy, voice, rate, extended=extended) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("extended", [True, False])
def test_the_target_itself_is_perfectly_intelligible(voice, extended):
    assert estoi(voice, voice, RATE, extended=extended) == pytest.approx(1.0, abs=1e-6)


def test_noise_alone_is_not_intelligible(voice, noise):
    assert abs(estoi(noise, voice, RATE)) < 0.15


def test_estoi_of_empty_bands_repeats_and_draws_nothing_from_numpy(voice):
    """pystoi gives such bands a random direction."""
    half_silent = voice * (np.arange(len(voice)) < len(voice) // 2)
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    first = estoi(half_silent, voice, RATE)
    assert np.random.random() == expected
    assert estoi(half_silent, voice, RATE) == first


def test_estoi_needs_a_stretch_of_speech(voice):
    with pytest.raises(ValueError, match=r"`target` of 0\.375 s is too short: without its pauses 0\.4 s must be left"):
        estoi(voice[:6000], voice[:6000], RATE)
    mostly_silent = voice * (np.arange(len(voice)) < 3000)
    with pytest.raises(ValueError, match=r"`target` of 1 s is too short"):
        estoi(voice, mostly_silent, RATE)


@pytest.mark.filterwarnings("error")
def test_no_warning_of_pystoi_gets_out(voice):
    with pytest.raises(ValueError, match="is too short"):
        estoi(voice, voice * (np.arange(len(voice)) < 3000), RATE)


@pytest.mark.parametrize(("rate", "error"), [(0, ValueError), (-RATE, ValueError), (16000.5, TypeError)])
def test_a_rate_that_is_none_is_refused(voice, rate, error):
    with pytest.raises(error, match=r"`sampling_rate` must be a (positive|whole) number of Hz"):
        estoi(voice, voice, rate)


# PESQ.


@needs_pesq
def test_pesq_is_what_the_library_computes(voice, noise):
    import pesq

    for gain in (0.001, 0.01, 0.1):
        noisy = voice + gain * noise
        assert pesq_wb(noisy, voice, RATE) == pesq.pesq(RATE, voice, noisy, "wb")


@needs_pesq
def test_the_target_itself_is_of_the_best_quality(voice):
    assert pesq_wb(voice, voice, RATE) == pytest.approx(4.6439, abs=1e-4)


@needs_pesq
def test_pesq_is_for_16_kilohertz_only(voice):
    with pytest.raises(ValueError, match=r"`sampling_rate` must be 16000, .* got 8000; bring both .*audio\.resample"):
        pesq_wb(voice, voice, 8000)


@needs_pesq
def test_pesq_refuses_signals_too_short_or_too_long(voice):
    with pytest.raises(ValueError, match=r"`target` must last from 0\.25 to 20 s for PESQ, got 0\.2 s"):
        pesq_wb(voice[:3200], voice[:3200], RATE)
    long = np.tile(voice, 22)
    with pytest.raises(ValueError, match=r"`target` must last from 0\.25 to 20 s for PESQ, got 22 s"):
        pesq_wb(long, long, RATE)


@needs_pesq
def test_twenty_seconds_of_the_shortest_utterances_are_scored(noise):
    """At more than 50 of them the library crashes; pauses of 0.2 s don't divide, so of a bit more."""
    time = np.arange(20 * RATE) / RATE
    bursts = np.tile(noise, 20) * (time % 0.41 < 0.2)
    assert 1 < pesq_wb(bursts + 0.01 * np.tile(noise[::-1], 20), bursts, RATE) < 4.7


@needs_pesq
def test_a_target_without_speech_has_no_pesq(voice, noise):
    burst = noise * (np.abs(np.arange(len(noise)) - 8200) < 200)  # 25 ms
    with pytest.raises(ValueError, match=r"PESQ detects no speech in `target`"):
        pesq_wb(voice, burst, RATE)


# The libraries are optional.


@pytest.mark.parametrize(
    ("function", "library", "message"),
    [(estoi, "pystoi", r"pip install pystoi"), (pesq_wb, "pesq", r"pip install pesq.*compiler")],
)
def test_a_missing_library_is_an_error_that_names_it(monkeypatch, voice, function, library, message):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=message):
        function(voice, voice, RATE)


def test_importing_the_metrics_loads_neither_library():
    code = "import sys, avzoo.metrics; print(sorted({'pystoi', 'pesq', 'scipy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# The log-spectral distance.


def test_a_known_difference_of_spectra():
    # A periodic Hann window of two samples is (0, 1): both bins of the frame (x, y) hold |y|. So the three frames are
    # 1, 1, 1 in the target and 1, 1, 10 in the estimate.
    target, estimate = np.ones(4), np.array([1.0, 1.0, 1.0, 10.0])
    gain = (1 + 1 + 10) / (1 + 1 + 100)
    expected = (2 * abs(20 * np.log10(gain)) + abs(20 * np.log10(10 * gain))) / 3
    assert log_spectral_distance(estimate, target, window_length=2, hop_length=1) == pytest.approx(expected)


def test_the_target_itself_and_its_mirror_image_are_at_no_distance(voice):
    assert log_spectral_distance(voice, voice) == 0
    assert log_spectral_distance(-3 * voice, voice) == pytest.approx(0, abs=1e-9)


def test_other_phases_are_no_distance():
    """A tone in the middle of a bin, a quarter period later."""
    time = np.arange(RATE)
    tone, later = (np.sin(2 * np.pi * 32 / 512 * time + phase) for phase in (0, np.pi / 2))
    assert abs(np.dot(tone, later)) < 1e-6 * np.dot(tone, tone)
    assert log_spectral_distance(later, tone) < 0.01


def test_what_lies_below_the_floor_does_not_count(voice, noise):
    hiss = 1e-6 * noise
    assert log_spectral_distance(voice + hiss, voice) < 0.01
    assert log_spectral_distance(voice + hiss, voice, floor_db=-160.0) > 1


def test_the_floor_is_the_largest_difference(voice, noise):
    assert 20 < log_spectral_distance(noise, voice, floor_db=-60.0) < 60
    assert log_spectral_distance(noise, voice, floor_db=-20.0) <= 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_length": 1}, r"`window_length` must be at least 2, got 1"),
        ({"hop_length": 0}, r"`hop_length` must be at least 1, got 0"),
        ({"floor_db": 0.0}, r"`floor_db` must be below 0, got 0\.0"),
        ({"floor_db": -np.inf}, r"`floor_db` must be below 0, got -inf"),
    ],
)
def test_options_out_of_range_are_refused(voice, options, message):
    with pytest.raises(ValueError, match=message):
        log_spectral_distance(voice, voice, **options)


def test_less_than_a_window_is_refused():
    with pytest.raises(ValueError, match=r"`target` has 511 samples, less than one window of 512"):
        log_spectral_distance(np.ones(511), np.ones(511))


def test_sound_behind_the_last_frame_is_no_sound():
    late = np.zeros(600)
    late[-1] = 1
    with pytest.raises(ValueError, match=r"`estimate` or `target` is silent in all of its frames"):
        log_spectral_distance(late, np.ones(600))
