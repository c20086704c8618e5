import numpy as np
import pytest

from avzoo.metrics.localization import (
    area_thresholds,
    consensus_iou,
    consensus_iou_curve,
    group_minima,
    group_of,
    localization_scores,
    success_auc,
    success_rate,
    truth_areas,
)


def compute_iou_slowly(values: np.ndarray, truth: np.ndarray, threshold: float, inclusive: bool) -> float:
    """One sample, pixel by pixel."""
    shared = outside = whole = 0.0
    for value, share in zip(values.ravel(), truth.ravel(), strict=True):
        chosen = value >= threshold if inclusive else value > threshold
        whole += share
        shared += share if chosen else 0
        outside += 1 if chosen and share == 0 else 0
    return shared / (whole + outside) if whole + outside else 0.0


def draw(samples: int, height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Maps with ties, and truth of 0, 0.5 and 1; the first truth is empty."""
    random = np.random.default_rng(seed)
    maps = random.integers(0, 30, (samples, height, width)) / 30
    truth = random.choice([0, 0, 0, 0.5, 1], (samples, height, width))
    truth[0] = 0
    return maps, truth


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("shape", [(6, 8, 8), (4, 5, 7)])
def test_iou_of_half_the_picture_is_that_of_a_plain_loop(shape, inclusive):
    maps, truth = draw(*shape)
    expected = [
        compute_iou_slowly(values, own, sorted(values.ravel())[values.size // 2], inclusive)
        for values, own in zip(maps, truth, strict=True)
    ]
    np.testing.assert_allclose(consensus_iou(maps, truth, inclusive=inclusive), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 8, 8), (4, 5, 7)])
def test_adaptive_iou_is_that_of_a_plain_loop(shape):
    maps, truth = draw(*shape)
    expected = []
    for values, own in zip(maps, truth, strict=True):
        area = sum(share != 0 for share in own.ravel()) or values.size // 2
        expected.append(compute_iou_slowly(values, own, sorted(values.ravel())[values.size - area], False))
    ious = consensus_iou(maps, truth, area_thresholds(maps, truth_areas(truth)))
    np.testing.assert_allclose(ious, expected, rtol=1e-12)


@pytest.mark.parametrize("inclusive", [False, True])
def test_the_curve_is_the_iou_at_each_threshold(inclusive):
    maps, truth = draw(5, 6, 9)
    thresholds = [0, 0.2, 7 / 30, 0.5, 29 / 30, 1]  # several are values of the map
    curve = consensus_iou_curve(maps, truth, thresholds, inclusive=inclusive)
    for threshold, ious in zip(thresholds, curve.T, strict=True):
        np.testing.assert_allclose(ious, consensus_iou(maps, truth, threshold, inclusive=inclusive), rtol=1e-12)


def test_iou_by_hand():
    maps = [[[0.9, 0.8, 0.1, 0.2]]]
    truth = [[[1.0, 0.0, 0.5, 0.0]]]
    assert consensus_iou(maps, truth, 0.5).tolist() == [1 / (1.5 + 1)]


def test_half_weighted_pixels_outside_the_truth_do_not_count_as_errors():
    assert consensus_iou([[[1.0, 1.0]]], [[[1.0, 0.5]]], 0.5).tolist() == [1.0]


def test_an_empty_truth_scores_0_whatever_the_map():
    assert consensus_iou(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), 0.5).tolist() == [0.0]
    assert consensus_iou(np.ones((1, 2, 2)), np.zeros((1, 2, 2)), 0.5).tolist() == [0.0]


def test_a_constant_map_chooses_nothing_by_a_strict_threshold():
    truth = np.zeros((1, 4, 4))
    truth[0, :2] = 1
    assert consensus_iou(np.full((1, 4, 4), 0.3), truth).tolist() == [0.0]
    assert consensus_iou(np.full((1, 4, 4), 0.3), truth, inclusive=True).tolist() == [0.5]


@pytest.mark.parametrize(
    ("truth", "thresholds", "message"),
    [
        (np.zeros((1, 2, 3)), None, r"`truth` must be \(1, 2, 2\), as the maps, got \(1, 2, 3\)"),
        (np.full((1, 2, 2), 2.0), None, r"`truth` must lie in \[0, 1\]"),
        (np.full((1, 2, 2), np.nan), None, r"`truth` must lie in \[0, 1\]"),
        (np.zeros((1, 2, 2)), [0.1, 0.2], r"`thresholds` must be a number or \(1,\)"),
        (np.zeros((1, 2, 2)), np.nan, "without NaN"),
    ],
)
def test_truth_and_thresholds_that_do_not_fit_are_refused(truth, thresholds, message):
    with pytest.raises(ValueError, match=message):
        consensus_iou(np.zeros((1, 2, 2)), truth, thresholds)


def test_a_map_with_infinite_values_is_refused():
    with pytest.raises(ValueError, match="`maps`: 1 of 1 hold values that are NaN or infinite"):
        consensus_iou(np.full((1, 2, 2), np.inf), np.zeros((1, 2, 2)))


def test_thresholds_of_the_curve_have_to_rise():
    with pytest.raises(ValueError, match=r"`thresholds` must be \(thresholds,\), rising"):
        consensus_iou_curve(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), [0.5, 0.5])


@pytest.mark.parametrize("areas", [[0], [5], [1, 1]])
def test_areas_out_of_the_picture_are_refused(areas):
    with pytest.raises(ValueError, match=r"`areas` must be \(1,\) whole numbers from 1 to 4"):
        area_thresholds(np.zeros((1, 2, 2)), areas)


def test_success_counts_ious_that_reach_the_demand():
    assert success_rate([0.5, 0.49, 1.0, 0.0]) == 0.5


def test_auc_by_hand():
    # Demands 0 to 0.5, of 21, are reached by one of two samples, and 0 by both.
    assert success_auc([0.5, 0.0]) == pytest.approx(0.05 * (0.75 + 9 * 0.5 + 0.25))
    assert success_auc([1.0]) == pytest.approx(1.0)


def test_a_group_counts_as_its_worst_sample():
    minima = group_minima([0.9, 0.2, 0.6, 0.7], ["a", "b", "a", "c"])
    assert minima.tolist() == [0.6, 0.2, 0.7]


@pytest.mark.parametrize(
    ("name", "group"),
    [("x/cat_dog_100_cat.jpg", "cat_dog_100"), ("lion_car_9_lion", "lion_car_9"), ("10000130166", "")],
)
def test_groups_are_named_as_in_the_authors_script(name, group):
    assert group_of(name) == group


def test_scores_of_a_test_set_by_hand():
    scores = localization_scores([0.6, 0.4, 0.5], [0.6, 0.6, 0.1], ["a", "a", "b"])
    assert scores["ciou"] == pytest.approx(2 / 3)
    assert scores["adaptive_ciou"] == pytest.approx(2 / 3)
    assert scores["iiou"] == 0.5
    assert scores["adaptive_iiou"] == 0.5
    assert scores["mean_iou"] == pytest.approx(0.5)
    assert scores["iauc"] == success_auc([0.4, 0.5])
    assert "iiou" not in localization_scores([0.6], [0.6])


@pytest.mark.parametrize(
    ("ious", "adaptive", "message"),
    [
        ([], [], r"`adaptive_ious` must be \(samples,\) and not empty"),
        ([np.nan], [0.1], "`ious` holds 1 NaN values"),
        ([0.1, 0.2], [0.1], "must be as many, got 2 and 1"),
    ],
)
def test_ious_that_mean_nothing_are_refused(ious, adaptive, message):
    with pytest.raises(ValueError, match=message):
        localization_scores(ious, adaptive)


def test_groups_have_to_be_as_many_as_samples():
    with pytest.raises(ValueError, match="a group for each of the 2 samples, got 1"):
        group_minima([0.1, 0.2], ["a"])
