"""From the similarity map of a picture and a sound to a heat map of the picture's size, a mask, boxes and a peak."""

from typing import NamedTuple

import numpy as np

from avzoo.metrics.localization_maps import mix_objectness, normalize_maps, upsample_maps
from avzoo.pipelines.sound_source_localization.regions import Box, find_boxes


class Area(NamedTuple):
    """What of a picture is marked.

    Args:
        mask: (height, width) bool.
        boxes: of the mask's connected regions, the hottest first: x1, y1, x2, y2 in pixels, x2 and y2 excluded.
    """

    mask: np.ndarray
    boxes: list[Box]


def make_heatmap(
    similarity: np.ndarray,
    height: int,
    width: int,
    objectness: np.ndarray | None = None,
    *,
    middle_only: bool = False,
    absolute: bool = False,
) -> np.ndarray:
    """Heat map of a picture, (height, width) float32 in [0, 1]: 0 at its least similar place, 1 at the most similar.

    The map is enlarged to the picture by bilinear interpolation with half-pixel centres and scaled by its minimum and
    maximum. A constant map, in which nothing stands out, becomes 0 everywhere.

    Args:
        similarity: (rows, columns).
        objectness: (rows, columns) of any size, treated in the same way and mixed in: 0.4 of the map + 0.6 of it,
            scaled once more ("OGL", EZ-VSL).
        middle_only: the maps are those of the largest square in the picture's middle; beside it there is no heat.
        absolute: values are from 0 to 1 by themselves and mean the same in every picture; they are enlarged only.
    """
    if absolute:
        return upsample_maps(np.asarray(similarity, np.float32)[None], (height, width), "half-pixel")[0]
    if middle_only:
        left, top, side = find_middle(height, width)
        heat = np.zeros((height, width), np.float32)
        heat[top : top + side, left : left + side] = make_heatmap(similarity, side, side, objectness)
        return heat
    heat = _stretch(similarity, height, width)
    if objectness is not None:
        heat = mix_objectness(heat[None], _stretch(objectness, height, width)[None])[0]
    return heat


def _stretch(values: np.ndarray, height: int, width: int) -> np.ndarray:
    values = np.asarray(values, np.float32)
    large = upsample_maps(values[None], (height, width), "half-pixel")
    if values.min() == values.max() or large.min() == large.max():  # sums of weights round
        return np.zeros((height, width), np.float32)
    return normalize_maps(large)[0]


def mark_area(heatmap: np.ndarray, mask_threshold: float = 0.5, area: float | None = None) -> Area:
    """Mask and boxes of a heat map; nothing of one that is 0 everywhere.

    Args:
        heatmap: (height, width) in [0, 1].
        mask_threshold: pixels from this heat on are marked: 0.5 is half of the map's range.
        area: share of the picture that is marked instead, in (0, 1]: its hottest pixels, at least one. Pixels as hot as
            the last of them are marked, too, but none without any heat, unless the share is the whole picture.
    """
    if area is not None:
        count = max(1, round(area * heatmap.size))
        mask_threshold = np.partition(heatmap, heatmap.size - count, axis=None)[heatmap.size - count]
        if mask_threshold <= 0 and count < heatmap.size:  # such as beside the square that the model sees
            mask_threshold = np.nextafter(heatmap.dtype.type(0), heatmap.dtype.type(1))
    mask = heatmap >= mask_threshold if heatmap.max() > 0 else np.zeros(heatmap.shape, bool)
    return Area(mask, find_boxes(mask, heatmap))


def find_peak(
    similarity: np.ndarray,
    height: int,
    width: int,
    heatmap: np.ndarray | None = None,
    *,
    middle_only: bool = False,
) -> tuple[int, int] | None:
    """The pixel (x, y) in the middle of the map's most similar cell; None in a constant map.

    Args:
        similarity: (rows, columns). height, width: of the picture.
        heatmap: (height, width), where objectness is mixed in: its hottest pixel instead.
        middle_only: as for [`make_heatmap`].
    """
    left, top, values = 0, 0, similarity
    if heatmap is not None:
        values = heatmap
    elif middle_only:
        left, top, side = find_middle(height, width)
        height = width = side
    if values.min() == values.max():
        return None
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return left + int((column + 0.5) * width / values.shape[1]), top + int((row + 0.5) * height / values.shape[0])


def find_middle(height: int, width: int) -> tuple[int, int, int]:
    """(left, top, side) of the largest square in the middle of a picture, pixels."""
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side


__all__ = ["Area", "find_middle", "find_peak", "make_heatmap", "mark_area"]
