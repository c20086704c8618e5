import numpy as np
import pytest
import torch

from avzoo.metrics import (
    average_over_context,
    clip_offset,
    estimate_offsets,
    mask_impossible_pairs,
    mean_offset_accuracy,
    offset_accuracy,
    sync_confidence,
    sync_distance,
)

NONE = -np.inf  # an impossible pair
THREE_WINDOWS = np.array([[NONE, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, NONE]])


def peaks_at(offsets, max_shift=2):
    """Scores of 1 at the given offset of each window and 0 elsewhere."""
    scores = np.zeros((len(offsets), 2 * max_shift + 1))
    scores[np.arange(len(offsets)), max_shift - np.array(offsets)] = 1
    return scores


def matches(video, audio, max_shift=3):
    """Scores of 1 where a video window and an audio window hold the same, 0 where not."""
    scores = np.full((len(video), 2 * max_shift + 1), NONE)
    for i, seen in enumerate(video):
        for j in range(2 * max_shift + 1):
            if 0 <= i + j - max_shift < len(audio):
                scores[i, j] = seen == audio[i + j - max_shift]
    return scores


def short_clip(windows, after_the_end, max_shift=15):
    """Raw scores of a clip in sync: 5 at offset 0, `after_the_end` against audio after the end, 0 elsewhere."""
    audio = np.arange(windows)[:, None] + np.arange(2 * max_shift + 1) - max_shift
    scores = np.where(audio >= windows, float(after_the_end), 0.0)
    scores[:, max_shift] = 5
    return scores


# Offsets


def test_early_sound_has_a_positive_offset_and_delaying_it_by_that_much_repairs_it():
    video = list(range(10))
    audio = [*video[2:], 90, 91]  # each sound comes 2 frames before its picture
    offset = clip_offset(matches(video, audio)).offset_frames
    assert offset == 2
    delayed = [80] * offset + audio[:-offset]
    assert clip_offset(matches(video, delayed)).offset_frames == 0


def test_each_window_has_its_own_offset():
    offsets = estimate_offsets(peaks_at([0, 2, -2, 1]))
    assert offsets.tolist() == [0, 2, -2, 1]
    assert offsets.dtype == np.int64


def test_of_equal_scores_the_first_column_wins():
    assert estimate_offsets([[0.0, 7.0, 1.0, 7.0, 7.0]]).tolist() == [1]


def test_a_window_without_a_possible_pair_has_no_offset():
    with pytest.raises(ValueError, match=r"1 of 3 windows have no possible pair .*the first is window 1"):
        estimate_offsets([[1.0, 0.0, 0.0], [NONE, NONE, NONE], [1.0, 0.0, 0.0]])


# Impossible pairs


def test_pairs_with_audio_outside_the_clip_are_impossible():
    masked = mask_impossible_pairs(np.ones((3, 5)))
    assert np.isneginf(masked).tolist() == [
        [True, True, False, False, False],
        [True, False, False, False, True],
        [False, False, False, True, True],
    ]
    assert (masked[np.isfinite(masked)] == 1).all()


def test_the_official_mask_forgets_audio_after_the_end_in_the_first_windows():
    masked = mask_impossible_pairs(np.ones((3, 5)), protocol="official")
    assert (masked == -1000).tolist() == [
        [True, True, False, False, False],
        [True, False, False, False, False],  # the last is audio window 3 of 0..2
        [False, False, False, True, True],
    ]


@pytest.mark.parametrize(("windows", "slips"), [(29, 1), (30, 0), (31, 0)])
def test_the_official_mask_slips_only_in_clips_of_fewer_than_thirty_windows(windows, slips):
    scores = np.ones((windows, 31))
    exact = np.isneginf(mask_impossible_pairs(scores))
    official = mask_impossible_pairs(scores, protocol="official") == -1000
    assert np.count_nonzero(exact != official) == slips


@pytest.mark.parametrize("protocol", ["exact", "official"])
def test_masking_twice_changes_nothing(protocol):
    once = mask_impossible_pairs(np.arange(15.0).reshape(3, 5), protocol=protocol)
    np.testing.assert_array_equal(mask_impossible_pairs(once, protocol=protocol), once)


def test_an_official_matrix_becomes_an_exact_one():
    scores = np.arange(15.0).reshape(3, 5)
    official = mask_impossible_pairs(scores, protocol="official")
    np.testing.assert_array_equal(mask_impossible_pairs(official), mask_impossible_pairs(scores))


def test_the_official_protocol_asks_for_the_scores_it_keeps_by_slip():
    exact = mask_impossible_pairs(np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"`scores` lacks 1 scores that the official protocol uses"):
        mask_impossible_pairs(exact, protocol="official")


# Averages over neighbours


def test_an_entry_that_one_window_cannot_reach_has_no_exact_average():
    averaged = average_over_context(THREE_WINDOWS, 7)  # windows i-1..i+1
    np.testing.assert_allclose(averaged, [[NONE, 2.5, 3.5], [NONE, 4.0, NONE], [4.5, 5.5, NONE]])


def test_one_impossible_pair_excludes_an_official_average():
    averaged = average_over_context(np.nan_to_num(THREE_WINDOWS, neginf=0), 7, protocol="official")
    expected = [
        [(3 - 1000) / 2, 2.5, 3.5],
        [(3 + 6 - 1000) / 3, 4.0, (2 + 5 - 1000) / 3],
        [4.5, 5.5, (5 - 1000) / 2],
    ]
    np.testing.assert_allclose(averaged, expected)


def test_an_average_of_impossible_pairs_only_is_impossible():
    averaged = average_over_context([[NONE, 1.0, 0.0], [NONE, 3.0, 2.0]], 7)
    np.testing.assert_array_equal(averaged, [[NONE, 2.0, 1.0], [NONE, 2.0, 1.0]])


def test_a_window_without_a_possible_pair_borrows_from_its_neighbours():
    scores = np.array([[0.0, 2.0, 0.0], [NONE] * 3, [0.0, 4.0, 1.0]])
    assert average_over_context(scores, 7)[1].tolist() == [0.0, 3.0, 0.5]


def test_the_context_of_one_window_averages_nothing():
    np.testing.assert_array_equal(average_over_context(THREE_WINDOWS, 5), THREE_WINDOWS)
    np.testing.assert_array_equal(average_over_context(THREE_WINDOWS, 25, window_frames=25), THREE_WINDOWS)


@pytest.mark.parametrize("protocol", ["exact", "official"])
@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (8, [1.5, 2.0, 2.5, 3.5, 4.5, 5.0]),  # 4 windows, i-2..i+1
        (10, [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]),  # 6 windows, i-3..i+2
    ],
)
def test_an_even_context_takes_one_more_window_on_the_left(context, expected, protocol):
    scores = np.arange(1.0, 7.0)[:, None]
    np.testing.assert_allclose(average_over_context(scores, context, protocol=protocol)[:, 0], expected)


@pytest.mark.parametrize(
    ("scores", "context", "expected"),
    [
        ([0, 0, 0, 0, 10], 11, [0, 2, 2, 2, 2, 2.5]),  # the first 4, 5, 5 windows, then the last 5, 5, 4
        ([0, 0, 0, 12], 10, [0, 3, 3, 3, 3]),  # the first 3, 4, 4, the last 4, 4
        ([4], 7, [4, 4]),
    ],
)
def test_official_averages_of_a_short_clip_have_a_row_too_many(scores, context, expected):
    scores = np.array(scores, dtype=float)[:, None]
    averaged = average_over_context(scores, context, protocol="official")[:, 0]
    np.testing.assert_allclose(averaged, expected)
    assert len(averaged) == context - 5
    assert len(average_over_context(scores, context)) == len(scores)


def test_equal_scores_stay_equal_when_averaged():
    scores = np.repeat(np.random.default_rng(0).standard_normal((50, 1)), 31, axis=1)
    averaged = average_over_context(scores, 15)
    assert (averaged == averaged[:, :1]).all()


# Accuracy


def test_a_clip_in_sync_is_right_everywhere():
    assert offset_accuracy(peaks_at([0] * 40, max_shift=15)).tolist() == [1.0] * 6


@pytest.mark.parametrize(("tolerance", "share"), [(0, 0.25), (1, 0.75), (2, 1.0)])
def test_offsets_up_to_the_tolerance_are_right(tolerance, share):
    scores = peaks_at([0, 1, -1, 2])
    assert offset_accuracy(scores, [5], tolerance_frames=tolerance).tolist() == [share]


def test_context_outvotes_a_stray_window():
    assert offset_accuracy(peaks_at([2, 0, 0, 0]), contexts=(5, 9)).tolist() == [0.75, 1.0]


def test_one_window_is_a_clip():
    assert offset_accuracy([[NONE, NONE, -3.0, NONE, NONE]]).tolist() == [1.0] * 6


def test_the_official_accuracy_of_a_short_clip_suffers_from_audio_after_its_end():
    raw = short_clip(windows=10, after_the_end=9)
    assert offset_accuracy(mask_impossible_pairs(raw), [5]).tolist() == [1.0]
    # Window i prefers the first audio window after the end, 10 - i frames late: only the last is within 1 frame.
    assert offset_accuracy(raw, [5], protocol="official").tolist() == [0.1]


def test_the_protocols_agree_on_single_windows_of_a_long_clip():
    raw = short_clip(windows=30, after_the_end=9)
    assert offset_accuracy(mask_impossible_pairs(raw), [5]).tolist() == [1.0]
    assert offset_accuracy(raw, [5], protocol="official").tolist() == [1.0]


def test_official_accuracy_takes_scores_masked_or_not():
    raw = np.random.default_rng(0).standard_normal((12, 31))
    masked = mask_impossible_pairs(raw, protocol="official")
    np.testing.assert_array_equal(
        offset_accuracy(raw, protocol="official"), offset_accuracy(masked, protocol="official")
    )


def test_a_short_clip_counts_as_much_as_a_long_one():
    clips = [peaks_at([0]), peaks_at([2, 2, 2, 2])]
    assert mean_offset_accuracy(clip for clip in clips).tolist() == [0.5] * 6


# One number per clip


def test_the_curve_is_the_mean_over_possible_pairs():
    result = clip_offset(THREE_WINDOWS)
    np.testing.assert_allclose(result.curve, [4.5, 4.0, 3.5])
    assert result.offset_frames == 1
    assert result.confidence == pytest.approx(0.5)


def test_offsets_that_no_window_reaches_are_left_out():
    result = clip_offset([[NONE, NONE, 1.0, 4.0, NONE], [NONE, 2.0, 3.0, NONE, NONE]])
    np.testing.assert_array_equal(result.curve, [np.nan, 2.0, 2.0, 4.0, np.nan])
    assert result.offset_frames == -1
    assert result.confidence == 2.0


def test_a_clip_of_one_window_answers_zero_without_confidence():
    result = clip_offset([[NONE, NONE, 8.0, NONE, NONE]])
    assert (result.offset_frames, result.confidence) == (0, 0.0)


def test_of_equal_points_of_the_curve_the_first_wins():
    assert clip_offset([[0.0, 3.0, 0.0, 3.0, 0.0]]).offset_frames == 1


def test_a_window_without_a_possible_pair_takes_no_part():
    with_gap = np.insert(THREE_WINDOWS, 1, NONE, axis=0)
    np.testing.assert_array_equal(clip_offset(with_gap).curve, clip_offset(THREE_WINDOWS).curve)


def test_confidence_is_that_of_the_mean_curve_and_not_the_mean_of_confidences():
    # Both windows peak 3 above their median, at different offsets; their mean peaks half as high.
    scores = [[0.0, 3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0, 0.0]]
    assert sync_confidence(scores) == 1.5
    assert sync_confidence(scores) == clip_offset(scores).confidence


def test_distance_is_the_cost_of_calling_the_pair_in_sync():
    assert sync_distance(np.zeros((4, 5))) == pytest.approx(np.log(2))  # undecided
    # At offset 0 odds of 3 : 1 and 1 : 1, so probabilities of 3/4 and 1/2.
    scores = [[NONE, np.log(3), -2.0], [-9.0, 0.0, NONE]]
    assert sync_distance(scores) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_distance_neither_overflows_nor_turns_negative():
    assert sync_distance([[-1e4]]) == 1e4
    assert sync_distance([[1e4]]) == 0.0


def test_tensors_and_single_precision_are_averaged_in_float64():
    scores = torch.full((100_000, 3), 0.1)
    scores[:, 1] += 2**-20
    assert sync_confidence(scores) == sync_confidence(scores.numpy()) == pytest.approx(2**-20, rel=0.1)


# What has no number

MEASURES = [offset_accuracy, clip_offset, sync_confidence, sync_distance]


@pytest.mark.parametrize("measure", [*MEASURES, estimate_offsets, mask_impossible_pairs])
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(5), r"`scores` must be \(windows, 2 \* max_shift \+ 1\), .* got \(5,\)"),
        (np.zeros((3, 4)), r"an odd number of columns with offset 0 in the middle, got \(3, 4\)"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        (np.zeros((0, 5)), r"`scores` holds no windows"),
        ([[0.0, np.nan, np.nan]], r"`scores` holds 2 values that are NaN or \+inf"),
        ([[0.0, np.inf, 1.0]], r"`scores` holds 1 values that are NaN or \+inf"),
    ],
)
def test_a_bad_score_matrix_is_refused(measure, scores, message):
    with pytest.raises(ValueError, match=message):
        measure(scores)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_clip_without_any_possible_pair_is_refused(measure):
    with pytest.raises(ValueError, match=r"`scores` is -inf throughout"):
        measure(np.full((2, 3), NONE))


@pytest.mark.parametrize("measure", MEASURES)
def test_official_marks_are_not_taken_for_scores(measure):
    official = mask_impossible_pairs(np.ones((3, 3)), protocol="official")
    with pytest.raises(ValueError, match=r"`scores` holds 2 times -1000, .*mask_impossible_pairs"):
        measure(official)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contexts": (5, 4)}, r"`context` must be at least 5 frames, one window, got 4"),
        ({"contexts": (5,), "window_frames": 25}, r"`context` must be at least 25 frames, one window, got 5"),
        ({"contexts": ()}, r"`contexts` is empty"),
        ({"tolerance_frames": -1}, r"`tolerance_frames` must be at least 0, got -1"),
        ({"protocol": "oficial"}, r"`protocol` must be one of exact, official, got 'oficial'"),
    ],
)
def test_an_invalid_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        offset_accuracy(np.zeros((3, 5)), **settings)


def test_a_fractional_context_is_refused():
    with pytest.raises(TypeError, match=r"`context` must be a whole number, got 7\.5"):
        offset_accuracy(np.zeros((3, 5)), (7.5,))


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match=r"`protocol` must be one of exact, official, got 'paper'"):
        mask_impossible_pairs(np.zeros((3, 5)), protocol="paper")


def test_the_message_names_the_refused_clip():
    with pytest.raises(ValueError, match=r"^clip 1: `scores` holds no windows"):
        mean_offset_accuracy([np.zeros((3, 5)), np.zeros((0, 5))])


def test_no_clips_have_no_accuracy():
    with pytest.raises(ValueError, match=r"`clips` is empty"):
        mean_offset_accuracy([])
