import numpy as np
import pytest

from avzoo.metrics.sounding_detection import (
    detection_counts,
    slavc_confidence,
    sounding_average_precision,
    sounding_detection_scores,
    sounding_f1,
)


def count_slowly(confidences, ious, is_sounding, threshold):
    """Precision and recall at one threshold, pair by pair."""
    hits = false = missed = 0
    for confidence, iou, sounds in zip(confidences, ious, is_sounding, strict=True):
        if confidence >= threshold:
            hits, false = (hits + 1, false) if sounds and iou >= 0.5 else (hits, false + 1)
        elif sounds:
            missed += 1
    return hits / (hits + false) if hits + false else 1.0, hits / (hits + missed) if hits + missed else 1.0


def average_slowly(confidences, ious, is_sounding):
    """AP as the walk of its definition."""
    step = max(1, len(confidences) // 200)
    points = [count_slowly(confidences, ious, is_sounding, t) for t in sorted(confidences)[:-1][::-step]]
    total = 0.0
    for index in range(len(points) - 1):
        total += max(precision for precision, _ in points[index:]) * (points[index + 1][1] - points[index][1])
    return total


def draw(count: int, seed: int = 0):
    random = np.random.default_rng(seed)
    return random.integers(0, 40, count) / 40, random.random(count), random.random(count) < 0.6


@pytest.mark.parametrize("count", [7, 60, 450])
def test_precision_and_recall_are_those_of_a_plain_loop(count):
    pairs = draw(count)
    thresholds = [-1, 0, 0.3, 0.5, 1, 2]
    expected = [count_slowly(*pairs, threshold) for threshold in thresholds]
    np.testing.assert_allclose(np.transpose(detection_counts(*pairs, thresholds)), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 60, 450])
def test_average_precision_is_that_of_a_plain_walk(count):
    pairs = draw(count, seed=3)
    assert sounding_average_precision(*pairs) == pytest.approx(average_slowly(*pairs), rel=1e-12)


def test_a_wrong_place_is_a_false_positive_and_no_miss():
    precision, recall = detection_counts([0.9], [0.2], [True], [0.5])
    assert (precision[0], recall[0]) == (0.0, 1.0)


def test_f1_by_hand():
    # Above 0.5: one right, one silent; below: one missed.
    assert sounding_f1([0.9, 0.8, 0.1], [0.7, 0.0, 0.9], [1, 0, 1], [0.5]).tolist() == [0.5]


def test_scores_by_hand():
    scores = sounding_detection_scores([0.9, 0.7, 0.8, 0.1], [0.7, 0.5, 0.0, 0.9], [1, 1, 0, 1], 0.75)
    assert scores["precision"] == 0.75
    assert scores["precision_sounding"] == 1.0
    assert scores["loc_acc"] == pytest.approx(2 / 3)  # above 0.5, not at it
    assert scores["f1"] == pytest.approx(2 * 0.5 * (1 / 3) / (0.5 + 1 / 3))
    assert scores["max_f1"] == pytest.approx(2 * 0.75 / 1.75)


def test_scores_without_a_sounding_pair_are_refused():
    with pytest.raises(ValueError, match="none of the 2 pairs sounds; AP and recall are undefined"):
        sounding_detection_scores([0.1, 0.2], [0, 0], [0, 0])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (([], [], []), r"must be \(pairs,\), of one length and not empty"),
        (([0.1], [0.1, 0.2], [1]), "of one length"),
        (([np.nan], [0.1], [1]), "`confidences` holds 1 NaN values"),
        (([0.1], [np.nan], [1]), "`ious` holds 1 NaN values"),
        (([0.1], [0.1], [2]), "`is_sounding` must hold 0 and 1"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        sounding_detection_scores(*pairs)


def test_confidence_is_the_mean_of_the_largest_quarter():
    maps = np.zeros((1, 4, 4))
    maps[0, 0] = [0.4, 0.8, 0.4, 0.4]
    assert slavc_confidence(maps, temperature=1.0, size=4).tolist() == pytest.approx([(0.5 + 1) / 2])


def test_a_constant_map_has_the_confidence_of_its_value():
    assert slavc_confidence(np.full((1, 3, 3), 0.5), temperature=0.03).tolist() == pytest.approx([0.5 + 0.5 * 0.03 / 2])
