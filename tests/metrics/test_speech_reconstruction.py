import math

import numpy as np
import pystoi
import pytest

from avzoo.metrics import (
    aligned_estoi,
    bin_detail_ratio,
    estoi,
    frame_distance,
    global_variance_ratio,
    normalize_transcript,
    pitch_dtw_distance,
    pitch_moments,
    stoi,
    transcript_error_rate,
    unit_accuracy,
)
from avzoo.metrics.speech_reconstruction import count_edits

RATE = 16000


@pytest.fixture(scope="module")
def voice():
    """Noise in syllables of random loudness, 2 s."""
    generator = np.random.default_rng(0)
    levels = np.repeat(generator.uniform(0.02, 1, 40), RATE // 20)
    return 0.1 * levels * generator.standard_normal(2 * RATE)


# Words.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bin Blue at F-2, now!", "bin blue at f two now"),
        ("don't 'quote' me", "don't quote me"),
        ("Don\u2019t", "don't"),
        ("  12  dogs\n", "12 dogs"),
        ("a_b", "a b"),
        ("\uff21", "a"),
        ("...", ""),
    ],
)
def test_transcripts_are_compared_in_one_form(text, expected):
    assert normalize_transcript(text) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "edits"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("", "", 0), ("flaw", "lawn", 2), ("ab", "ba", 2)],
)
def test_edits_are_levenshteins(reference, hypothesis, edits):
    assert count_edits(reference, hypothesis) == edits


def test_edits_equal_a_table_filled_by_hand_in_random_cases():
    generator = np.random.default_rng(0)
    for _ in range(100):
        said, heard = ("".join(generator.choice(list("abc"), generator.integers(0, 9))) for _ in range(2))
        table = [[row + column if not row * column else 0 for column in range(len(heard) + 1)] for row in range(10)]
        for row, part in enumerate(said, start=1):
            for column, other in enumerate(heard, start=1):
                ways = (table[row - 1][column] + 1, table[row][column - 1] + 1)
                table[row][column] = min(*ways, table[row - 1][column - 1] + (part != other))
        assert count_edits(said, heard) == table[len(said)][len(heard)]


def test_word_error_rate_is_errors_over_words_of_the_whole_set():
    said = {"a": "one two three four", "b": "five"}
    rate = transcript_error_rate(said, {"a": "one two three four", "b": "six seven"})
    assert (rate.errors, rate.total, rate.value) == (2, 5, 40.0)  # the mean of clips would be 100
    assert rate.clips == {"a": (0, 4), "b": (2, 1)}


def test_a_character_error_rate_counts_blanks():
    rate = transcript_error_rate({"a": "ab cd"}, {"a": "abcd"}, "character")
    assert (rate.errors, rate.total, rate.value) == (1, 5, 20.0)


def test_an_empty_transcript_costs_every_word():
    assert transcript_error_rate({"a": "one two"}, {"a": ""}).value == 100.0


def test_a_clip_without_a_transcript_is_named():
    with pytest.raises(ValueError, match="`hypotheses` lack 1 clips that the others have, the first is 'b'"):
        transcript_error_rate({"a": "one", "b": "two"}, {"a": "one"})


def test_a_clip_without_a_reference_is_named():
    with pytest.raises(ValueError, match="`references` lack 1 clips that the others have, the first is 'b'"):
        transcript_error_rate({"a": "one"}, {"a": "one", "b": "two"})


def test_a_reference_without_a_word_is_refused():
    with pytest.raises(ValueError, match=r"`references\['a'\]` \('...'\) holds no word"):
        transcript_error_rate({"a": "..."}, {"a": "one"})


# Intelligibility.


def test_stoi_is_pystois(voice):
    noisy = voice + 0.02 * np.random.default_rng(1).standard_normal(len(voice))
    assert float(stoi(noisy, voice, RATE)) == pytest.approx(pystoi.stoi(voice, noisy, RATE), abs=1e-6)


def test_stoi_is_not_the_extended_form(voice):
    noisy = voice + 0.02 * np.random.default_rng(1).standard_normal(len(voice))
    assert abs(float(stoi(noisy, voice, RATE)) - float(estoi(noisy, voice, RATE))) > 0.01


@pytest.mark.parametrize("lag", [-0.12, 0.08])
def test_a_shifted_voice_scores_as_the_voice_itself_at_its_lag(voice, lag):
    shift = round(lag * RATE)
    padded = np.pad(voice, RATE // 2)
    estimate = padded[RATE // 2 - shift :][: len(voice)]
    assert float(estoi(estimate, voice, RATE)) < 0.7
    score, found = aligned_estoi(estimate, voice, RATE)
    assert found == pytest.approx(lag)
    assert score == pytest.approx(1, abs=1e-6)


def test_a_lag_beyond_the_range_is_not_found(voice):
    late = np.concatenate([np.zeros(round(0.3 * RATE)), voice])[: len(voice)]
    score, lag = aligned_estoi(late, voice, RATE, max_lag_seconds=0.1)
    assert abs(lag) <= 0.1
    assert score < 0.7


def test_without_lags_it_is_estoi(voice):
    noisy = voice + 0.02 * np.random.default_rng(1).standard_normal(len(voice))
    assert aligned_estoi(noisy, voice, RATE, max_lag_seconds=0) == (float(estoi(noisy, voice, RATE)), 0.0)


def test_silence_has_no_aligned_score(voice):
    with pytest.raises(ValueError, match="`estimate` is silent"):
        aligned_estoi(np.zeros(len(voice)), voice, RATE)


# Pitch and energy.


def test_moments_are_those_of_voiced_frames():
    found = pitch_moments([0, 100, 0, 100, 100, 200, 0])
    # Deviations of -25 three times, and 75.
    assert (found.mean, found.frames) == (125.0, 4)
    assert found.std == pytest.approx(math.sqrt(1875))
    assert found.skewness == pytest.approx((3 * -(25**3) + 75**3) / 4 / 1875**1.5)
    assert found.kurtosis == pytest.approx((3 * 25**4 + 75**4) / 4 / 1875**2 - 3)


def test_a_normal_distribution_has_neither_skewness_nor_excess_kurtosis():
    found = pitch_moments(np.random.default_rng(0).normal(200, 20, 200_000))
    assert found.std == pytest.approx(20, rel=0.01)
    assert abs(found.skewness) < 0.03
    assert abs(found.kurtosis) < 0.05


@pytest.mark.parametrize("pitch", [[], [0, 0], [0, 100], [100, 100, 100]], ids=["empty", "unvoiced", "one", "constant"])
def test_moments_of_no_melody_are_refused(pitch):
    with pytest.raises(ValueError, match="moments are undefined"):
        pitch_moments(pitch)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_values_that_are_no_pitch_are_refused(value):
    with pytest.raises(ValueError, match="`pitch` must be Hz"):
        pitch_moments([100, value])


def test_a_slower_melody_has_no_distance():
    assert pitch_dtw_distance([100, 0, 110, 120], [100, 100, 110, 110, 0, 120, 120]) == 0


def test_a_distance_is_the_mean_along_the_cheapest_way():
    # Differences 0, 10, 10 on the way (100, 100), (110, 100) and (130, 120).
    assert pitch_dtw_distance([100, 110, 130], [100, 120]) == pytest.approx(20 / 3)


def test_one_frame_against_several_is_the_mean_of_all_differences():
    assert pitch_dtw_distance([100], [110, 120, 130]) == 20


def test_the_cheapest_way_is_that_of_a_table_filled_by_hand():
    generator = np.random.default_rng(0)
    for _ in range(20):
        made, real = (generator.uniform(80, 300, generator.integers(1, 9)) for _ in range(2))
        table = np.full((len(made) + 1, len(real) + 1), np.inf)
        table[0, 0] = 0
        for row in range(1, len(made) + 1):
            for column in range(1, len(real) + 1):
                before = min(table[row - 1, column - 1], table[row - 1, column], table[row, column - 1])
                table[row, column] = abs(made[row - 1] - real[column - 1]) + before
        mean = pitch_dtw_distance(made, real)
        steps = table[-1, -1] / mean
        assert steps == pytest.approx(round(steps))
        assert max(len(made), len(real)) <= round(steps) < len(made) + len(real)


def test_a_whisper_has_no_melody():
    with pytest.raises(ValueError, match="`estimate` has no voiced frame"):
        pitch_dtw_distance([0, 0], [100])


def test_the_distance_of_frames_is_the_mean_absolute_difference():
    assert frame_distance([1.0, 2.0], [2.0, 4.0]) == 1.5
    assert frame_distance([[1.0, 2.0]], [[1.0, 0.0]]) == 1.0


@pytest.mark.parametrize("score", [frame_distance, global_variance_ratio, bin_detail_ratio])
def test_frames_of_other_shapes_are_refused(score):
    with pytest.raises(ValueError, match="of one shape and not empty, got"):
        score(np.zeros((3, 4)), np.zeros((2, 4)))


@pytest.mark.parametrize("score", [frame_distance, global_variance_ratio, bin_detail_ratio])
def test_frames_that_are_nan_are_refused(score):
    with pytest.raises(ValueError, match="`estimate` holds NaN"):
        score(np.full((3, 4), np.nan), np.zeros((3, 4)))


# Spectrograms.


def test_the_variance_ratio_is_the_mean_of_bins():
    target = np.array([[0.0, 0.0, 7.0], [2.0, 4.0, 7.0]])  # variances 1, 4 and none
    estimate = np.array([[0.0, 0.0, 1.0], [1.0, 4.0, 9.0]])  # 1/4 and 4
    assert global_variance_ratio(estimate, target) == (0.25 + 1) / 2


def test_a_constant_target_has_no_variance_ratio():
    with pytest.raises(ValueError, match=r"`target` \(3 frames\) varies in no bin"):
        global_variance_ratio(np.zeros((3, 4)), np.ones((3, 4)))


def test_smoothing_over_bins_lowers_the_detail_and_nothing_else_does():
    target = np.random.default_rng(0).standard_normal((50, 20))
    smooth = (target + np.roll(target, 1, axis=1) + np.roll(target, -1, axis=1)) / 3
    assert bin_detail_ratio(smooth, target) < 0.2
    assert bin_detail_ratio(target + 5, target) == pytest.approx(1)
    assert bin_detail_ratio(2 * target, target) == pytest.approx(4)


def test_detail_counts_in_loud_frames_only():
    target = np.random.default_rng(0).standard_normal((40, 20))
    target[:20] += 100
    estimate = target.copy()
    estimate[20:] = 0
    assert bin_detail_ratio(estimate, target) == pytest.approx(1)


def test_a_flat_target_has_no_detail_ratio():
    with pytest.raises(ValueError, match="has no detail between bins"):
        bin_detail_ratio(np.zeros((3, 4)), np.ones((3, 4)))


def test_two_bins_have_no_detail():
    with pytest.raises(ValueError, match="`target` must have three bins or more, got 2"):
        bin_detail_ratio(np.zeros((3, 2)), np.ones((3, 2)))


# Units.


def test_ignored_units_do_not_count():
    assert unit_accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 0, -100])) == pytest.approx(200 / 3)


def test_no_unit_that_counts_is_refused():
    with pytest.raises(ValueError, match="`target` has no frame with a unit, of 1"):
        unit_accuracy(np.array([1]), np.array([-100]))


def test_floating_point_units_are_refused():
    with pytest.raises(TypeError, match="`estimate` must be whole numbers, got float64"):
        unit_accuracy(np.array([1.0]), np.array([1]))
