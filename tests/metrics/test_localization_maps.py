import numpy as np
import pytest
import torch

from avzoo.metrics.localization import consensus_iou
from avzoo.metrics.localization_maps import (
    center_prior,
    draw_truth,
    mix_objectness,
    normalize_maps,
    oracle_maps,
    to_pixel_boxes,
    upsample_maps,
)


def random_maps(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize(
    ("method", "mode", "align_corners"),
    [("half-pixel", "bilinear", False), ("corners", "bilinear", True), ("bicubic-corners", "bicubic", True)],
)
@pytest.mark.parametrize(
    ("old", "new"), [((14, 14), (224, 224)), ((5, 9), (31, 64)), ((1, 3), (7, 1)), ((7, 7), (3, 4))]
)
def test_upsampling_is_torchs_of_the_same_convention(method, mode, align_corners, old, new):
    maps = random_maps(3, *old)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], new, mode=mode, align_corners=align_corners
    )[:, 0]
    np.testing.assert_allclose(upsample_maps(maps, new, method), expected.numpy(), atol=1e-12)


def test_half_pixel_upsampling_clamps_at_the_border():
    np.testing.assert_allclose(upsample_maps([[[0.0, 1.0]]], (1, 4))[0, 0], [0, 0.25, 0.75, 1])


def test_upsampling_with_corners_reaches_them():
    np.testing.assert_allclose(upsample_maps([[[0.0, 1.0]]], (1, 4), "corners")[0, 0], [0, 1 / 3, 2 / 3, 1])


def test_upsampling_keeps_float32():
    assert upsample_maps(random_maps(1, 2, 2).astype(np.float32), 8).dtype == np.float32


def test_each_map_is_normalized_by_its_own_extremes():
    maps = normalize_maps([[[2.0, 4.0], [3.0, 2.0]], [[-1.0, 0.0], [0.0, 3.0]]])
    np.testing.assert_allclose(maps, [[[0, 1], [0.5, 0]], [[0, 0.25], [0.25, 1]]])


def test_a_constant_map_becomes_1():
    np.testing.assert_array_equal(normalize_maps(np.full((1, 2, 2), 7.0)), 1)


def test_objectness_is_mixed_and_normalized_again():
    mixed = mix_objectness([[[0.0, 1.0, 0.0]]], [[[0.0, 0.5, 1.0]]], weight=0.4)
    np.testing.assert_allclose(mixed, [[[0, 1, 0.6 / 0.7]]])


@pytest.mark.parametrize("name", ["upsample_maps", "normalize_maps"])
def test_a_map_with_nan_is_told_by_its_number(name):
    maps = np.zeros((3, 2, 2))
    maps[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="`maps`: 1 of 3 hold values that are NaN or infinite, the first is 1"):
        {"upsample_maps": upsample_maps, "normalize_maps": normalize_maps}[name](maps)


@pytest.mark.parametrize("maps", [np.zeros((0, 2, 2)), np.zeros((2, 2))])
def test_maps_of_another_form_are_refused(maps):
    with pytest.raises(ValueError, match=r"`maps` must be \(samples, height, width\) and not empty"):
        upsample_maps(maps)


def test_an_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="`method` must be one of half-pixel, corners, bicubic-corners"):
        upsample_maps(np.zeros((1, 2, 2)), 4, "nearest")


def test_vggss_boxes_are_parts_of_the_side_clipped_and_cut_off():
    boxes = to_pixel_boxes([[0.1, 0.0, 1.0, 0.999], [0.86, -0.2, 0.95, -2.88e16]], "vggss")
    assert boxes.tolist() == [[22, 0, 224, 223], [192, 0, 212, 0]]


def test_flickr_boxes_are_256ths_cut_off():
    assert to_pixel_boxes([[0, 1, 255, 256]], "flickr").tolist() == [[0, 0, 223, 224]]


def test_pixel_boxes_scale_with_nothing():
    assert to_pixel_boxes([[0, 1, 13, 14]], "pixels", 14).tolist() == [[0, 1, 13, 14]]


@pytest.mark.parametrize(
    ("box", "box_format", "message"),
    [
        ([0, 0, 225, 10], "pixels", r"whole numbers from 0 to 224 for 'pixels', got \[0.0, 0.0, 225.0, 10.0\]"),
        ([0, 0.5, 22, 10], "pixels", "whole numbers from 0 to 224"),
        ([-1, 0, 22, 10], "flickr", "whole numbers from 0 to 256 for 'flickr'"),
        ([np.nan, 0, 1, 1], "vggss", "`boxes` holds NaN"),
        ([0, 0, 1], "vggss", r"`boxes` must be \(boxes, 4\)"),
    ],
)
def test_boxes_out_of_range_are_refused(box, box_format, message):
    with pytest.raises(ValueError, match=message):
        to_pixel_boxes([box], box_format)


def test_truth_is_the_union_of_the_boxes_without_their_ends():
    truth = draw_truth([[[0, 0, 2, 1], [1, 0, 3, 2]]], 4)
    assert truth[0].tolist() == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_consensus_counts_half_for_each_box_and_at_most_1():
    truth = draw_truth([[[0, 0, 3, 1], [1, 0, 4, 1], [2, 0, 4, 1]]], 4, consensus=True)
    assert truth[0, 0].tolist() == [0.5, 1, 1, 1]


def test_no_boxes_and_boxes_turned_around_are_an_empty_truth():
    assert not draw_truth([[], [[2, 0, 1, 3]], [[0, 0, 0, 0]]], 4).any()


def test_the_prior_falls_with_the_distance_from_the_middle():
    prior = center_prior((3, 5))
    assert prior[1, 2] == 1
    assert prior.argmin() == 0
    np.testing.assert_allclose(prior, prior[::-1, ::-1])


def test_the_oracle_can_not_reach_half_for_less_than_a_quarter_of_the_picture():
    truth = draw_truth([[[0, 0, 3, 8]], [[0, 0, 2, 7]]], 8)  # 24 and 14 of 64 pixels
    assert (consensus_iou(oracle_maps(truth), truth) >= 0.5).tolist() == [True, False]
    assert consensus_iou(truth, truth).tolist() == [1, 1]


def test_the_oracle_ranks_every_pixel_of_the_truth_above_all_others():
    truth = draw_truth([[[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 1, 4, 4]]], 6, consensus=True)
    for values, own in zip(oracle_maps(truth), truth, strict=True):
        assert values[own > 0].min() > values[own == 0].max()
