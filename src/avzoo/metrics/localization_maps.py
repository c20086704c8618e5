"""Maps of sound source localization: bringing them to the size of the truth, and the truth from boxes.

Published numbers depend on how a small map is enlarged. Two conventions are in use, and a random map differs between
them by more than its own standard deviation:

| name | who | first and last sample |
|---|---|---|
| "half-pixel" | OpenCV's linear resize; VGG-SS of kaistmm/SSLalignment, LVS | half a cell inside the border, clamped |
| "corners" | torch's `align_corners=True`; every other test set, EZ-VSL, SLAVC, FNAC | exactly on the border |

"bicubic-corners" (a = -0.75) is what SLAVC measures its confidence on. Maps are (samples, height, width), higher where
the sound is more likely to come from; truth is (samples, height, width) in [0, 1].
Source: kaistmm/SSLalignment@e7ae3c5 (`test.py`, `datasets_lvs.py`), stoneMo/SLAVC@05b429c (`test.py`).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_choice, check_number, check_whole_number

MAP_SIZE = 224  # side of the truth in every published protocol, pixels
UPSAMPLING = ("half-pixel", "corners", "bicubic-corners")
BOX_FORMATS = ("vggss", "flickr", "pixels")

_FLICKR_UNITS = 256  # side of the annotated pictures


def upsample_maps(maps: ArrayLike, size: int | tuple[int, int] = MAP_SIZE, method: str = "half-pixel") -> np.ndarray:
    """Maps of another size, (samples, *size); float32 stays float32, and whole numbers become float64.

    Args:
        maps: (samples, height, width).
        size: side, or (height, width), in pixels.
        method: "half-pixel", "corners" (both bilinear) or "bicubic-corners"; see the head of this file.

    Raises:
        TypeError, ValueError: another shape, no samples, NaN or infinite values, or a size below 1.
    """
    maps = check_maps(maps)
    check_choice("method", method, UPSAMPLING)
    height, width = (size, size) if np.ndim(size) == 0 else size
    check_whole_number("size", height, at_least=1)
    check_whole_number("size", width, at_least=1)
    rows, columns = _taps(maps.shape[1], height, method), _taps(maps.shape[2], width, method)
    wide = sum(maps[:, :, places] * weights.astype(maps.dtype) for places, weights in columns)
    return sum(wide[:, places] * weights.astype(maps.dtype)[:, None] for places, weights in rows)


def normalize_maps(maps: ArrayLike) -> np.ndarray:
    """Each map scaled to [0, 1] by its own minimum and maximum; a constant map becomes 1.

    Written as 1 - scale(-map), as the authors' code does: in float32 that decides a few ties.

    Args:
        maps: (samples, height, width).

    Raises:
        ValueError: as [`upsample_maps`].
    """
    maps = -check_maps(maps)
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return 1 - (maps - low) / np.where(high > low, high - low, 1)


def mix_objectness(maps: ArrayLike, objectness: ArrayLike, weight: float = 0.4) -> np.ndarray:
    """Object-guided localization: weight * map + (1 - weight) * objectness of normalized maps, normalized again.

    Args:
        maps, objectness: (samples, height, width), of one size and each in [0, 1]; see [`normalize_maps`].
        weight: of the map, in [0, 1]; the papers take 0.4.

    Raises:
        ValueError: shapes differ, NaN, or a weight out of its range.
    """
    maps, objectness = check_maps(maps), check_maps(objectness, "objectness")
    check_number("weight", weight, at_least=0, at_most=1)
    if maps.shape != objectness.shape:
        raise ValueError(f"`maps` {maps.shape} and `objectness` {objectness.shape} must have one shape.")
    mixed = maps * weight + objectness * (1 - weight)
    low, high = mixed.min(axis=(1, 2), keepdims=True), mixed.max(axis=(1, 2), keepdims=True)
    return (mixed - low) / np.where(high > low, high - low, 1)


def to_pixel_boxes(boxes: ArrayLike, box_format: str, size: int = MAP_SIZE) -> np.ndarray:
    """Boxes of an annotation file as pixels, (boxes, 4) int64: x1, y1, x2, y2, where x2 and y2 are excluded.

    Args:
        boxes: (boxes, 4), x1, y1, x2, y2.
        box_format: "vggss": fractions, clipped to [0, 1] (twelve boxes of the released file have -2.9e16), times
            `size`, cut off. "flickr": 256 units per side, cut off. "pixels": those of `size` already, whole numbers.
        size: side of the truth, pixels.

    Raises:
        ValueError: another shape, NaN, or a coordinate out of its range.
    """
    check_choice("box_format", box_format, BOX_FORMATS)
    check_whole_number("size", size, at_least=1)
    boxes = np.asarray(boxes, dtype=np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"`boxes` must be (boxes, 4), got {boxes.shape}.")
    if np.isnan(boxes).any():
        raise ValueError("`boxes` holds NaN.")
    if box_format == "vggss":
        return (boxes.clip(0, 1) * size).astype(np.int64)
    largest = _FLICKR_UNITS if box_format == "flickr" else size
    outside = (boxes < 0) | (boxes > largest) | (boxes != np.floor(boxes))
    if outside.any():
        box = boxes[outside.any(axis=1)][0].tolist()
        raise ValueError(f"`boxes` must be whole numbers from 0 to {largest} for {box_format!r}, got {box}.")
    return (size * boxes / largest).astype(np.int64) if box_format == "flickr" else boxes.astype(np.int64)


def draw_truth(boxes: Sequence[ArrayLike], size: int = MAP_SIZE, *, consensus: bool = False) -> np.ndarray:
    """Truth maps, (samples, size, size) float64: 1 inside of any box of the sample, else 0.

    A box that is empty or turned around (x2 <= x1) covers nothing, as in the authors' code.

    Args:
        boxes: per sample (boxes, 4) pixels; see [`to_pixel_boxes`]. No boxes: an empty truth.
        size: side, pixels.
        consensus: SoundNet-Flickr's, where three people drew a box each: half of the number of boxes over a pixel, at
            most 1. One person's pixels count half.

    Raises:
        ValueError: a box that is not (x1, y1, x2, y2) in [0, size].
    """
    check_whole_number("size", size, at_least=1)
    truth = np.zeros((len(boxes), size, size))
    for sample, own in enumerate(boxes):
        for x1, y1, x2, y2 in to_pixel_boxes(own, "pixels", size):
            truth[sample, y1:y2, x1:x2] += 1
    return np.minimum(truth / 2, 1) if consensus else np.minimum(truth, 1)


def center_prior(size: int | tuple[int, int] = MAP_SIZE) -> np.ndarray:
    """The map that knows no picture and no sound, (height, width): 1 in the middle, falling with the distance."""
    height, width = (size, size) if np.ndim(size) == 0 else size
    check_whole_number("size", height, at_least=1)
    check_whole_number("size", width, at_least=1)
    return _center_prior(int(height), int(width)).copy()


def oracle_maps(truth: ArrayLike) -> np.ndarray:
    """The truth as a map without ties, (samples, height, width): outside, values fall with the distance to the middle.

    It bounds maps whose values differ. One that is equal over half of the picture can score higher by the fixed
    threshold, which then keeps less than half: the plain truth has an IoU of 1 if it covers less than half.
    """
    truth = check_maps(truth, "truth")
    return truth + 0.25 * center_prior(truth.shape[1:])


def check_maps(maps: ArrayLike, name: str = "maps") -> np.ndarray:
    """An array (samples, height, width) of finite numbers, at least one of them; `name` is for messages."""
    maps = np.asarray(maps)
    if maps.ndim != 3 or not maps.size:
        raise ValueError(f"`{name}` must be (samples, height, width) and not empty, got {maps.shape}.")
    if maps.dtype not in (np.float32, np.float64):
        maps = maps.astype(np.float32 if maps.dtype == np.float16 else np.float64)
    if not np.isfinite(maps).all():
        broken = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
        raise ValueError(
            f"`{name}`: {len(broken)} of {len(maps)} hold values that are NaN or infinite, the first is {broken[0]}."
        )
    return maps


def check_truth(truth: ArrayLike, maps: np.ndarray) -> np.ndarray:
    """Truth of the shape of the maps, as float64.

    Raises:
        ValueError: shapes differ, or values out of [0, 1].
    """
    truth = np.asarray(truth, dtype=np.float64)
    if truth.shape != maps.shape:
        raise ValueError(f"`truth` must be {maps.shape}, as the maps, got {truth.shape}.")
    if not ((truth >= 0) & (truth <= 1)).all():
        raise ValueError("`truth` must lie in [0, 1].")
    return truth


@cache
def _center_prior(height: int, width: int) -> np.ndarray:
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    return 1 - np.hypot(rows[:, None], columns) / np.hypot(0.5, 0.5)


def _taps(old: int, new: int, method: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per tap: which old sample each new one reads, and with which weight; (new,) both."""
    if method == "half-pixel":
        places = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    else:
        places = np.arange(new) * ((old - 1) / max(1, new - 1))
    first = np.floor(places).astype(np.int64)
    beyond = places - first
    if method == "bicubic-corners":
        weights = [_cubic(beyond + 1), _cubic(beyond), _cubic(1 - beyond), _cubic(2 - beyond)]
        return [(np.clip(first + tap - 1, 0, old - 1), weight) for tap, weight in enumerate(weights)]
    return [(first, 1 - beyond), (np.minimum(first + 1, old - 1), beyond)]


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)


__all__ = [
    "BOX_FORMATS",
    "MAP_SIZE",
    "UPSAMPLING",
    "center_prior",
    "check_maps",
    "check_truth",
    "draw_truth",
    "mix_objectness",
    "normalize_maps",
    "oracle_maps",
    "to_pixel_boxes",
    "upsample_maps",
]
