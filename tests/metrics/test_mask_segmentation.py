import numpy as np
import pytest

from avzoo.metrics.mask_segmentation import f_measure_curves, mask_iou, max_f_measure, mean_of_batches


def test_mask_iou_by_hand():
    maps = [[[0.9, 0.9], [0.1, 0.5]]]
    assert mask_iou(maps, [[[1, 0], [1, 0]]], 0.5).tolist() == pytest.approx([1 / 3], abs=1e-7)


def test_with_an_empty_truth_what_stays_dark_counts():
    maps = [[[0.9, 0.9], [0.1, 0.5]]]
    assert mask_iou(maps, np.zeros((1, 2, 2)), 0.5).tolist() == pytest.approx([0.5], abs=1e-7)


def test_means_of_batches_weigh_a_small_batch_like_a_large_one():
    assert mean_of_batches([0, 0, 0, 1], 3) == 0.5
    assert mean_of_batches([0, 0, 0, 1]) == 0.25


def test_f_measure_is_that_of_a_plain_loop():
    random = np.random.default_rng(0)
    maps, truth = random.random((3, 6, 5)).astype(np.float32), random.random((3, 6, 5)) < 0.3
    curves = f_measure_curves(maps, truth)
    thresholds = np.linspace(0, 1 - 1e-10, 255).astype(np.float32)
    for values, own, curve in zip(maps, truth, curves, strict=True):
        for threshold, found in zip(thresholds, curve, strict=True):
            chosen = values >= threshold
            precision = (chosen & own).sum() / max(chosen.sum(), 1e-20)
            recall = (chosen & own).sum() / own.sum()
            below = 0.3 * precision + recall
            assert found == pytest.approx(1.3 * precision * recall / below if below else 0)


def test_a_perfect_map_has_an_f_measure_of_1():
    truth = np.zeros((2, 3, 3))
    truth[0, 0] = 1
    assert max_f_measure(f_measure_curves(truth, truth)) == pytest.approx(1)


def test_one_threshold_serves_the_whole_test_set():
    # 0.2 is best for the first mask and 0.8 for the second.
    maps = np.array([[[0.3, 0.1]], [[0.9, 0.3]]])
    truth = np.array([[[1, 0]], [[1, 0]]])
    curves = f_measure_curves(maps, truth)
    assert curves.max(axis=1).tolist() == pytest.approx([1, 1])
    assert max_f_measure(curves) == pytest.approx((1 + 1.3 * 0.5 / (0.3 * 0.5 + 1)) / 2)


def test_an_f_measure_of_empty_truths_alone_is_refused():
    with pytest.raises(ValueError, match="every truth is empty, the F-measure is undefined"):
        max_f_measure(f_measure_curves(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))))


def test_a_truth_that_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="`truth` must hold 0 and 1 only"):
        mask_iou(np.zeros((1, 2, 2)), np.full((1, 2, 2), 0.5), 0.5)
