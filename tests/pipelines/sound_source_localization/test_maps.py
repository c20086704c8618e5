"""Heat maps, masks, boxes and peaks of maps that are done by hand."""

import numpy as np
import pytest

from avzoo.pipelines.sound_source_localization.maps import find_peak, make_heatmap, mark_area
from avzoo.pipelines.sound_source_localization.regions import find_boxes


def one_hot(row: int, column: int, size: int = 4) -> np.ndarray:
    values = np.zeros((size, size), np.float32)
    values[row, column] = 0.8
    return values


def test_a_map_is_enlarged_with_half_pixel_centres():
    heat = make_heatmap(np.array([[0.2, 0.6]], np.float32), 1, 8)
    # Cells' centres lie at 2 and 6, those of the pixels at 0.5, 1.5, ...: linear between, constant outside.
    np.testing.assert_allclose(heat[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], atol=1e-6)


def test_a_map_is_scaled_by_its_own_range_whatever_its_level():
    low, high = one_hot(1, 2), 0.5 + 0.1 * one_hot(1, 2)
    np.testing.assert_allclose(make_heatmap(low, 32, 48), make_heatmap(high, 32, 48), atol=1e-5)


def test_a_constant_map_has_no_heat_no_area_and_no_peak():
    flat = np.full((4, 4), 0.7, np.float32)
    heat = make_heatmap(flat, 20, 30)
    assert not heat.any()
    for area in (None, 0.3):
        marked = mark_area(heat, area=area)
        assert not marked.mask.any()
        assert marked.boxes == []
    assert find_peak(flat, 20, 30) is None


def test_objectness_is_mixed_in_with_three_fifths():
    similarity, objectness = np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 9.0, 0.0]])
    # 0.4 where only the map is, 0.6 where only the objectness is; then scaled by 0.6.
    np.testing.assert_allclose(make_heatmap(similarity, 1, 4, objectness), [[0, 2 / 3, 1, 0]], atol=1e-6)


def test_half_of_the_range_ends_at_the_border_of_a_cell():
    marked = mark_area(make_heatmap(one_hot(1, 2), 64, 128))
    assert marked.boxes == [(64, 16, 96, 32)]
    assert marked.mask[16:32, 79:81].all()
    assert not marked.mask[:16].any()


def test_a_lower_threshold_marks_more():
    heat = make_heatmap(one_hot(1, 2), 64, 64)
    assert mark_area(heat, 0.25).mask.sum() > mark_area(heat, 0.5).mask.sum()


@pytest.mark.parametrize(("area", "count"), [(0.01, 1), (0.25, 25), (1.0, 100)])
def test_an_area_marks_that_share_of_the_hottest_pixels(area, count):
    heat = np.random.default_rng(0).permutation(100).reshape(10, 10) / 99
    mask = mark_area(heat, area=area).mask
    assert mask.sum() == count
    assert heat[mask].min() == pytest.approx((100 - count) / 99)


def test_the_peak_is_the_middle_of_the_most_similar_cell():
    assert find_peak(one_hot(0, 3), 40, 80) == (70, 5)


def test_with_objectness_the_peak_is_the_hottest_pixel():
    heat = np.zeros((40, 80))
    heat[30, 7] = 1
    assert find_peak(one_hot(0, 3), 40, 80, heat) == (7, 30)


def test_regions_that_touch_at_a_corner_are_two():
    mask = np.array([[1, 0], [0, 1]], bool)
    assert find_boxes(mask, np.array([[1.0, 0], [0, 2]])) == [(1, 1, 2, 2), (0, 0, 1, 1)]


def test_a_region_may_wind():
    mask = np.array(
        [
            [1, 1, 1, 1, 1],
            [1, 0, 0, 0, 1],
            [1, 0, 1, 0, 1],
            [1, 0, 1, 0, 1],
            [0, 0, 1, 1, 1],
        ],
        bool,
    )
    assert find_boxes(mask, mask.astype(float)) == [(0, 0, 5, 5)]


def test_of_equally_hot_regions_the_larger_comes_first():
    mask = np.array([[1, 0, 1, 1, 0]], bool)
    assert find_boxes(mask, np.ones((1, 5))) == [(2, 0, 4, 1), (0, 0, 1, 1)]


def test_a_region_at_the_end_of_a_row_does_not_go_on_in_the_next():
    mask = np.array([[0, 0, 1], [1, 0, 0]], bool)
    assert sorted(find_boxes(mask, np.ones((2, 3)))) == [(0, 1, 1, 2), (2, 0, 3, 1)]


def test_boxes_equal_those_of_a_flood_fill():
    draw = np.random.default_rng(1)
    for share in (0.3, 0.5, 0.6):
        mask = draw.random((23, 31)) < share
        heat = draw.random((23, 31))
        assert set(find_boxes(mask, heat)) == {box for _, box in flood(mask, heat)}
        assert [box for _, box in sorted(flood(mask, heat), reverse=True)] == find_boxes(mask, heat)


def flood(mask: np.ndarray, heat: np.ndarray) -> list[tuple[float, tuple[int, int, int, int]]]:
    """(hottest pixel, box) of each region, pixel by pixel."""
    left, found = {tuple(place) for place in np.argwhere(mask).tolist()}, []
    while left:
        waiting, region = [left.pop()], []
        while waiting:
            row, column = waiting.pop()
            region.append((row, column))
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        rows, columns = np.array(region).T
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        found.append((float(heat[rows, columns].max()), box))
    return found


def test_an_area_larger_than_what_has_heat_marks_only_that():
    heatmap = make_heatmap(np.array([[1.0, 0.0], [0.0, 0.5]]), 10, 40, middle_only=True)  # no heat beside 10 x 10
    warm = heatmap > 0
    np.testing.assert_array_equal(mark_area(heatmap, area=0.5).mask, warm)
    assert mark_area(heatmap, area=1.0).mask.all()
