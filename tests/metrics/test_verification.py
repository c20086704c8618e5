"""Error rates and costs of verification: by hand, against slow definitions and scikit-learn's ROC curve."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from avzoo.metrics import (
    calibrate,
    cohort_statistics,
    det_curve,
    equal_error_rate,
    error_rates_at,
    min_detection_cost,
    normalize_scores,
    speechbrain_eer,
    speechbrain_min_dcf,
    trainer_eer,
    trainer_min_dcf,
    verification_scores,
    wespeaker_eer,
    wespeaker_min_dcf,
)

EVERY_METRIC = [
    calibrate,
    det_curve,
    equal_error_rate,
    min_detection_cost,
    speechbrain_eer,
    speechbrain_min_dcf,
    trainer_eer,
    trainer_min_dcf,
    verification_scores,
    wespeaker_eer,
    wespeaker_min_dcf,
]

# Ranked: + + - + - - ; rejected so far 0 0 1/3.
SCORES, LABELS = (9, 8, 7, 6, 5, 4), (1, 1, 0, 1, 0, 0)


def random_trials(seed: int, trials: int = 400, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(trials) < 0.3).astype(int)
    labels[:2] = 0, 1
    scores = random.standard_normal(trials) + 1.5 * labels
    return (scores if levels is None else np.round(scores * levels) / levels), labels


def test_the_det_curve_by_hand():
    curve = det_curve((3, 2, 2, 1), (1, 0, 1, 0))
    assert curve.thresholds.tolist() == [np.nextafter(3.0, 4), 3, 2, 1]
    assert curve.false_accepts.tolist() == [0, 0, 50, 100]
    assert curve.false_rejects.tolist() == [100, 50, 0, 0]


def test_every_point_of_the_det_curve_is_what_its_threshold_gives():
    scores, labels = random_trials(0, levels=4)
    for threshold, *rates in zip(*det_curve(scores, labels), strict=True):
        assert error_rates_at(scores, labels, threshold) == pytest.approx(tuple(rates))


def test_equal_error_rates_by_hand():
    third = pytest.approx(100 / 3)
    assert equal_error_rate(SCORES, LABELS) == third
    assert trainer_eer(SCORES, LABELS) == (third, 7)
    assert speechbrain_eer(SCORES, LABELS) == (third, 6)  # a score equal to the threshold is rejected
    assert wespeaker_eer(SCORES, LABELS) == (third, 6)


def test_minimum_costs_by_hand():
    # Accepting the two best: no false accepts, a third missed.
    assert min_detection_cost(SCORES, LABELS, 0.1) == (pytest.approx(1 / 3), 8)
    assert trainer_min_dcf(SCORES, LABELS, 0.1) == (pytest.approx(1 / 3), 7)  # the highest rejected score
    assert wespeaker_min_dcf(SCORES, LABELS, 0.1) == (pytest.approx(1 / 3), 8)
    assert speechbrain_min_dcf(SCORES, LABELS, 0.1) == (pytest.approx(0.1 / 3), 7)  # not normalised
    # When false accepts are cheap, accepting the four best costs a third of them.
    assert min_detection_cost(SCORES, LABELS, 0.5, c_fa=0.1) == (pytest.approx(1 / 3), 6)


@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("seed", range(5))
def test_the_trainers_eer_is_that_of_scikit_learns_corners(seed, levels):
    scores, labels = random_trials(seed, levels=levels)
    false_accepts, accepts, thresholds = roc_curve(labels, scores)
    nearest = np.argmin(np.abs(1 - accepts - false_accepts))
    value, threshold = trainer_eer(scores, labels)
    assert value == pytest.approx(100 * max(false_accepts[nearest], 1 - accepts[nearest]), rel=1e-12)
    assert threshold == thresholds[nearest]
    assert value >= equal_error_rate(scores, labels)


@pytest.mark.parametrize("levels", [None, 5])
def test_speechbrains_numbers_are_those_of_every_threshold_tried(levels):
    scores, labels = random_trials(1, levels=levels)
    distinct = np.unique(scores.astype(np.float32))
    thresholds = np.sort(np.concatenate([distinct, (distinct[1:] + distinct[:-1]) / 2]))[:, None]
    misses = (scores[labels == 1].astype(np.float32) <= thresholds).mean(1)
    false_accepts = (scores[labels == 0].astype(np.float32) > thresholds).mean(1)
    nearest = np.argmin(np.abs(misses - false_accepts).astype(np.float32))
    value, threshold = speechbrain_eer(scores, labels)
    assert value == pytest.approx(50 * (misses + false_accepts)[nearest], rel=1e-6)
    assert threshold == pytest.approx(thresholds[nearest, 0])
    assert speechbrain_min_dcf(scores, labels, 0.05).value == pytest.approx(
        (0.05 * misses + 0.95 * false_accepts).min(), rel=1e-6
    )


def test_equal_scores_make_one_point_but_for_the_trainers_cost():
    scores = np.zeros(4)
    for labels in set(itertools.permutations((1, 1, 0, 0))):
        assert equal_error_rate(scores, labels) == 50
        assert trainer_eer(scores, labels).value == 100
        assert min_detection_cost(scores, labels, 0.5).value == 1
    assert trainer_min_dcf(scores, (0, 0, 1, 1), 0.5).value == 0  # it stops between the rows of the tie
    assert trainer_min_dcf(scores, (1, 1, 0, 0), 0.5).value == 1


def test_perfect_and_reversed_scores():
    labels = np.array([1, 1, 0, 0, 0])
    assert [equal_error_rate(labels, labels), equal_error_rate(-labels, labels)] == [0, 100]
    assert [trainer_eer(labels, labels).value, speechbrain_eer(labels, labels).value] == [0, 0]
    assert verification_scores(labels, labels) == {
        "EER (interpolated), %": 0,
        "minDCF (normalised, p 0.01)": 0,
        "minDCF (normalised, p 0.05)": 0,
    }
    assert min_detection_cost(-labels, labels, 0.01).value == 1  # rejecting everything


@pytest.mark.parametrize("metric", EVERY_METRIC, ids=lambda metric: metric.__name__)
def test_scores_without_a_number_are_refused(metric):
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        metric([0.5, float("nan")], [0, 1])
    with pytest.raises(ValueError, match="all 2 are 1; both 0 and 1"):
        metric([0.5, 0.4], [1, 1])
    with pytest.raises(ValueError, match="not empty"):
        metric([], [])
    with pytest.raises(ValueError, match="0 and 1 only"):
        metric([0.5, 0.4], [0, 2])


@pytest.mark.parametrize("cost", [min_detection_cost, speechbrain_min_dcf, trainer_min_dcf, wespeaker_min_dcf])
def test_costs_out_of_range_are_named(cost):
    with pytest.raises(ValueError, match="`p_target` must be above 0 and below 1, got 1"):
        cost(SCORES, LABELS, 1)
    with pytest.raises(ValueError, match="`c_fa` must be above 0"):
        cost(SCORES, LABELS, 0.1, c_fa=0)


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_a_threshold_for_each_aim_with_the_rates_before_and_after():
    third = pytest.approx(100 / 3)
    assert calibrate(SCORES, LABELS) == (7, third, third, None, None)
    assert calibrate(SCORES, LABELS, false_accept_rate=20) == (8, 0, third, None, None)
    found = calibrate(SCORES, LABELS, false_accept_rate=34, previous_threshold=4.5)
    assert found == pytest.approx((6, 100 / 3, 0, 200 / 3, 0))
    assert calibrate(SCORES, LABELS, p_target=0.5, c_fa=0.1)[:3] == (6, third, 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_false_accept_rate_is_kept_with_as_few_rejections_as_can_be(seed):
    scores, labels = random_trials(seed, levels=8)
    found = calibrate(scores, labels, false_accept_rate=2.5)
    rates = np.array([error_rates_at(scores, labels, threshold) for threshold in scores])
    assert found.false_accepts <= 2.5
    assert found.false_rejects == pytest.approx(rates[rates[:, 0] <= 2.5, 1].min())
    assert error_rates_at(scores, labels, found.threshold) == pytest.approx(found[1:3])


def test_a_rate_that_is_exactly_reached_is_kept():
    scores, labels = np.arange(200), np.repeat([0, 1], 100)
    labels[193:] = 0  # 7 of the 100 negatives lie above all positives
    labels[:7] = 1
    found = calibrate(scores, labels, false_accept_rate=7)
    assert (found.threshold, found.false_accepts) == (100, pytest.approx(7))


def test_a_threshold_beyond_the_scores_accepts_all_or_none():
    assert calibrate(SCORES, LABELS, previous_threshold=0.25)[3:] == (100, 0)
    assert error_rates_at(SCORES, LABELS, 10) == (0, 100)
    with pytest.raises(ValueError, match="`threshold` must be finite, got nan"):
        error_rates_at(SCORES, LABELS, float("nan"))


def test_an_aim_that_cannot_be_met_is_refused():
    with pytest.raises(ValueError, match=r"`false_accept_rate` of 10 % .*rejecting everything: at .* it is 50 %"):
        calibrate([4, 3, 2], [0, 1, 0], false_accept_rate=10)
    with pytest.raises(ValueError, match="not both"):
        calibrate(SCORES, LABELS, false_accept_rate=1, p_target=0.1)
    with pytest.raises(ValueError, match="at least 0 and below 100 per cent, got -1"):
        calibrate(SCORES, LABELS, false_accept_rate=-1)


# --- score normalisation ----------------------------------------------------------------------------------------------


def test_statistics_are_those_of_the_most_similar_of_the_cohort():
    cohort = np.array([[1, 0], [0, 2], [-3, 0], [0.6, 0.8]])
    means, stds = cohort_statistics([[5, 0]], cohort, 2)
    assert means == pytest.approx([0.8])  # cosines 1 and 0.6
    assert stds == pytest.approx([0.2])
    _, stds = cohort_statistics([[5, 0]], cohort, 2, "speechbrain")
    assert stds == pytest.approx([np.sqrt(0.08)])
    means, _ = cohort_statistics([[5, 0]], cohort)
    assert means == pytest.approx([0.15])


def test_normalised_scores_by_hand():
    means, stds = [0.1, 0.3], [0.2, 0.4]
    pairs = [[0, 1], [1, 0]]
    assert normalize_scores([0.5, 0.5], pairs, means, stds, "z-norm") == pytest.approx([2, 0.5])
    assert normalize_scores([0.5, 0.5], pairs, means, stds, "t-norm") == pytest.approx([0.5, 2])
    assert normalize_scores([0.5, 0.5], pairs, means, stds) == pytest.approx([1.25, 1.25])


def test_many_recordings_have_the_statistics_of_each_alone():
    random = np.random.default_rng(0)
    embeddings, cohort = random.standard_normal((600, 8)), random.standard_normal((50, 8))
    together = cohort_statistics(embeddings, cohort, 10)
    for row in (0, 300, 599):
        alone = cohort_statistics(embeddings[row : row + 1], cohort, 10)
        assert [values[row] for values in together] == pytest.approx([values[0] for values in alone])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 0]], [[1, 0], [0, 1]], 3), "`top_n` is 3, but `cohort` has only 2"),
        (([[1, 0]], [[1, 0], [0, 1]], 1), "`top_n` must be at least 2"),
        (([[1, 0]], [[1, 0], [0, 0]]), r"`cohort\[1\]` has no direction"),
        (([[1, 0], [np.nan, 1]], [[1, 0], [0, 1]]), r"`embeddings\[1\]` has no direction"),
        (([[1, 0]], [[1, 0, 0], [0, 1, 0]]), "of size 2, `cohort` of 3"),
        (([[1, 0]], [[1, 0], [1, 0]]), "largest cosines of a recording are all equal"),
        (([], [[1, 0]]), "not empty"),
    ],
)
def test_a_cohort_without_statistics_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cohort_statistics(*arguments)


@pytest.mark.parametrize(
    ("scores", "pairs", "message"),
    [
        ([np.nan], [[0, 1]], "must be .1,. finite numbers"),
        ([0.5, 0.5], [[0, 1]], "finite numbers, one per pair"),
        ([0.5], [[0, 2]], "recordings from 0 to 1, got 0 to 2"),
        ([0.5], [[0.0, 1.0]], "whole numbers"),
        ([], np.zeros((0, 2), int), "at least one row"),
    ],
)
def test_scores_that_do_not_fit_their_pairs_are_refused(scores, pairs, message):
    with pytest.raises(ValueError, match=message):
        normalize_scores(scores, pairs, [0.1, 0.3], [0.2, 0.4])
