"""Grey conversion, HSV, and bilinear and Lanczos resizing of 8-bit pictures, bit for bit as OpenCV's and torch's.

Face networks were trained on pixels that one of these made, and their differences (a grey level here and there without
antialiasing, whole blurred edges with it) change scores. So each is named after the library that it equals. OpenCV
itself is not needed.

Pictures are uint8, (height, width), (height, width, channels) or (pictures, height, width, channels).
"""

from typing import Literal

import numpy as np

ChannelOrder = Literal["rgb", "bgr"]

# 0.299 R + 0.587 G + 0.114 B in units of 2**-15, as OpenCV's 8-bit conversion has them.
_GREY_WEIGHTS = {"rgb": (9798, 19235, 3735), "bgr": (3735, 19235, 9798)}


def to_grey(pictures: np.ndarray, order: ChannelOrder = "rgb") -> np.ndarray:
    """Colour to grey as `cv2.cvtColor` does it: 0.299 R + 0.587 G + 0.114 B, rounded, in integers.

    Args:
        pictures: (..., 3) uint8, full range.
        order: which colour comes first.

    Returns:
        (...) uint8.

    Raises:
        TypeError: not uint8. ValueError: the last axis does not hold three colours, or `order` is unknown.
    """
    if order not in _GREY_WEIGHTS:
        raise ValueError(f'`order` must be "rgb" or "bgr", got {order!r}.')
    _check_pictures(pictures)
    if pictures.ndim < 1 or pictures.shape[-1] != 3:
        raise ValueError(f"`pictures` must be (..., 3), got {pictures.shape}.")
    first, second, third = _GREY_WEIGHTS[order]
    grey = pictures[..., 0] * np.uint32(first)
    grey += pictures[..., 1] * np.uint32(second)
    grey += pictures[..., 2] * np.uint32(third)
    grey += np.uint32(1 << 14)
    grey >>= np.uint32(15)
    return grey.astype(np.uint8)


def to_hsv(pictures: np.ndarray) -> np.ndarray:
    """RGB to hue (0..179, steps of 2 degrees), saturation and value (0..255), as `cv2.cvtColor` does it.

    Args:
        pictures: (..., 3) uint8 RGB.

    Returns:
        (..., 3) uint8.

    Raises:
        TypeError: not uint8. ValueError: the last axis does not hold three colours.
    """
    _check_pictures(pictures)
    if pictures.ndim < 1 or pictures.shape[-1] != 3:
        raise ValueError(f"`pictures` must be (..., 3), got {pictures.shape}.")
    red, green, blue = (pictures[..., channel].astype(np.int16) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    sector = np.where(
        value == red,
        green - blue,
        np.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = (np.take(_HUE_OVER_SPREAD, spread) * sector + (1 << 11)) >> 12
    hsv = np.empty(pictures.shape, np.uint8)
    hsv[..., 0] = hue + 180 * (hue < 0)
    hsv[..., 1] = (np.take(_SATURATION_OVER_VALUE, value) * spread + (1 << 11)) >> 12
    hsv[..., 2] = value
    return hsv


def _make_division_table(numerator: float) -> np.ndarray:
    """numerator / n for n = 0..255 in units of 2**-12, with 0 for n = 0."""
    table = np.zeros(256, np.int32)
    table[1:] = np.rint(numerator * 4096 / np.arange(1, 256))
    return table


_HUE_OVER_SPREAD = _make_division_table(180 / 6)
_SATURATION_OVER_VALUE = _make_division_table(255)


def resize_as_opencv(
    pictures: np.ndarray,
    height: int,
    width: int,
    *,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> np.ndarray:
    """Bilinear resizing as `cv2.resize` does it to 8-bit pictures: half-pixel centres, no antialiasing, fixed point.

    Weights have 11 bits, and the product of the horizontal pass is cut to 16 bits before the vertical one. The aspect
    ratio is not kept.

    Args:
        pictures: uint8, (height, width[, channels]) or (pictures, height, width, channels).
        height, width: of the result, pixels.
        rows, columns: the part of the result that is wanted; no other part is computed.

    Returns:
        uint8 of the same number of axes.

    Raises:
        TypeError: not uint8. ValueError: another number of axes, a side of 0 pixels.
    """
    num_axes, pictures = _as_batch(pictures, height, width)
    source = pictures.shape[1:3]
    if source == (height, width):
        return _as_given(pictures[:, rows, columns].copy(), num_axes)
    vertical = (values[rows] for values in _neighbours(height, 1 / (height / source[0])))  # the last bit counts
    horizontal = (values[columns] for values in _neighbours(width, 1 / (width / source[1])))
    return _as_given(_interpolate(pictures, *vertical, *horizontal), num_axes)


def scale_as_opencv(pictures: np.ndarray, factor: float) -> np.ndarray:
    """Both sides times `factor`, as `cv2.resize` does it when it is given factors in place of a size.

    The sides are rounded to whole pixels, but the places that are read stay exactly 1 / `factor` apart, so that the
    result differs from [`resize_as_opencv`] to that size where the rounding had something to round.

    Args:
        pictures: uint8, (height, width[, channels]) or (pictures, height, width, channels).
        factor: of both sides, above 0.

    Raises:
        TypeError: not uint8. ValueError: another number of axes, nothing left of a side.
    """
    if not factor > 0:
        raise ValueError(f"`factor` must be above 0, got {factor!r}.")
    num_axes, pictures = _as_batch(pictures, 1, 1)
    height, width = (round(side * factor) for side in pictures.shape[1:3])
    if not height or not width:
        raise ValueError(f"`pictures` of {pictures.shape[1:3]} pixels have nothing left at `factor` {factor}.")
    if factor == 1:
        return _as_given(pictures.copy(), num_axes)
    places = (_neighbours(length, 1 / factor) for length in (height, width))
    return _as_given(_interpolate(pictures, *(values for axis in places for values in axis)), num_axes)


def _neighbours(length: int, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each place of the new axis: the old place before it (maybe beyond the edge), and both weights of 11 bits."""
    position = ((np.arange(length) + 0.5) * step - 0.5).astype(np.float32)
    before = np.floor(position)
    fraction = position - before
    weights = (np.rint((np.float32(1) - fraction) * np.float32(2048)), np.rint(fraction * np.float32(2048)))
    return before.astype(np.int64), weights[0].astype(np.int32), weights[1].astype(np.int32)


def _interpolate(
    pictures: np.ndarray,
    above: np.ndarray,
    upper: np.ndarray,
    lower: np.ndarray,
    left: np.ndarray,
    near: np.ndarray,
    far: np.ndarray,
) -> np.ndarray:
    """Rows `above` and below weighed by `upper` and `lower`, columns `left` and right by `near` and `far`."""
    batch, source_height, source_width, channels = pictures.shape
    # At the left and right edge OpenCV takes the one pixel there is; at the top and bottom it weighs that row twice,
    # which can differ by the rounding.
    outside = (left < 0) | (left >= source_width - 1)
    near, far = (np.where(outside, edge, weights).repeat(channels) for edge, weights in ((2048, near), (0, far)))
    left = np.clip(left, 0, source_width - 1)
    right = np.minimum(left + 1, source_width - 1)
    above, below = (np.clip(rows, 0, source_height - 1) for rows in (above, above + 1))
    # Only the rows that are read pass the horizontal step, each once. Pixels and channels are one axis here: many short
    # inner loops would take most of the time.
    used = np.unique([above, below])
    source = pictures[:, used].reshape(batch, len(used), -1)
    places = (channels * columns[:, None] + np.arange(channels) for columns in (left, right))
    before, after = (np.take(source, place.ravel(), axis=2) for place in places)
    mixed = before * near
    mixed += after * far
    mixed >>= 4
    result = np.take(mixed, np.searchsorted(used, above), axis=1)
    result *= upper[:, None]
    result >>= 16
    lower_part = np.take(mixed, np.searchsorted(used, below), axis=1)
    lower_part *= lower[:, None]
    lower_part >>= 16
    result += lower_part
    result += 2
    result >>= 2
    return result.astype(np.uint8).reshape(batch, len(above), len(left), channels)


def resize_lanczos_as_opencv(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Lanczos resizing as `cv2.resize` with `INTER_LANCZOS4` does it to 8-bit pictures: 8 x 8 pixels, no antialiasing.

    Pixels beyond the border are those at it, weights have 11 bits, and the sum is rounded once. The aspect ratio is not
    kept. Pillow's Lanczos (6 x 6 pixels, with antialiasing) makes other pictures, off by 1 % of the grey values.

    Args:
        pictures: uint8, (height, width[, channels]) or (pictures, height, width, channels).
        height, width: of the result, pixels.

    Returns:
        uint8 of the same number of axes.

    Raises:
        TypeError: not uint8. ValueError: another number of axes, a side of 0 pixels.
    """
    num_axes, pictures = _as_batch(pictures, height, width)
    if pictures.shape[1:3] == (height, width):
        return _as_given(pictures.copy(), num_axes)
    rows, row_weights = _lanczos_neighbours(height, pictures.shape[1])
    columns, column_weights = _lanczos_neighbours(width, pictures.shape[2])
    result = np.empty((len(pictures), height, width, pictures.shape[3]), np.uint8)
    for picture, target in zip(pictures, result, strict=True):  # one at a time stays in the cache
        # Sums of whole numbers have no order, so the axis that has its pixels in one piece can go first.
        mixed = sum(picture[places] * weights[:, None, None] for places, weights in zip(rows, row_weights, strict=True))
        across = np.ascontiguousarray(mixed.transpose(1, 0, 2))  # (width before, height, channels)
        total = np.full((width, *across.shape[1:]), 1 << 21, np.int32)
        for places, weights in zip(columns, column_weights, strict=True):
            total += across[places] * weights[:, None, None]
        target[:] = np.clip(total >> 22, 0, 255).transpose(1, 0, 2)
    return _as_given(result, num_axes)


def _lanczos_neighbours(length: int, source: int) -> tuple[np.ndarray, np.ndarray]:
    """The 8 old places around each new one, cut to the border, and their weights of 11 bits: (8, length) each."""
    position = ((np.arange(length) + 0.5) * (1 / (length / source)) - 0.5).astype(np.float32)
    before = np.floor(position)
    fraction = (position - before).astype(np.float32)
    # float32 up to here, then float64: the last bit decides some weights.
    start = fraction + np.float32(3)
    distance = (start - np.arange(8, dtype=np.float32)[:, None]).astype(np.float64)
    angle = -start.astype(np.float64) * np.pi * 0.25
    # sin(pi x) sin(pi x / 4) / x^2 up to a factor: sines of angles an eighth of a circle apart, with signs.
    half = np.sqrt(0.5)
    turns = [(1, 0), (-half, -half), (0, 1), (half, -half), (-1, 0), (half, half), (0, -1), (-half, half)]
    waves = np.stack([sine * np.sin(angle) + cosine * np.cos(angle) for sine, cosine in turns])
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = (waves / (distance * np.pi * 0.25) ** 2).astype(np.float32)
    weights = np.where(np.abs(distance) < 1e-6, np.float32(1e30), weights)
    weights = weights * (np.float32(1) / weights.sum(0, dtype=np.float32))
    places = np.clip(before.astype(np.int64) + np.arange(-3, 5)[:, None], 0, source - 1)
    return places, np.rint(weights * np.float32(2048)).astype(np.int32)


def resize_as_torch(
    pictures: np.ndarray, height: int, width: int, *, antialias: bool = False, rows: slice = slice(None)
) -> np.ndarray:
    """Bilinear resizing as `torch.nn.functional.interpolate` does it in float32, rounded to whole numbers.

    This is what torchvision's resize made of 8-bit tensors: without antialiasing up to version 0.16, with it since.
    Without, values in the middle between two whole numbers depend on the last bit, and torch's last bit on how many
    threads it has; this is what it computes with one.

    Args:
        pictures: uint8, (height, width[, channels]) or (pictures, height, width, channels).
        height, width: of the result, pixels.
        antialias: average over all pixels that fall into one, where the picture shrinks.
        rows: the part of the result that is wanted.

    Returns:
        uint8 of the same number of axes.

    Raises:
        TypeError: not uint8. ValueError: another number of axes, a side of 0 pixels.
    """
    num_axes, pictures = _as_batch(pictures, height, width)
    if antialias:
        import torch  # only here: the rest of the package works without waiting for it

        planes = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float()
        resized = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
        resized = resized.round_().clamp_(0, 255).byte().numpy().transpose(0, 2, 3, 1)
        return _as_given(resized[:, rows], num_axes)
    above, below, upper, lower = (values[rows] for values in _float_neighbours(height, pictures.shape[1]))
    left, right, near, far = _float_neighbours(width, pictures.shape[2])
    # Four products, added by fused multiply-adds: in float64 they are exact, and each sum is rounded to float32 once.
    corners = [
        (above, upper, left, near),
        (above, upper, right, far),
        (below, lower, left, near),
        (below, lower, right, far),
    ]
    weights = [
        (vertical[:, None] * horizontal[None]).astype(np.float64)[..., None] for _, vertical, _, horizontal in corners
    ]
    first, second, third, fourth = (
        pictures[:, down[:, None], across[None]] * weight
        for (down, _, across, _), weight in zip(corners, weights, strict=True)
    )
    total = (first + second.astype(np.float32)).astype(np.float32)
    for product in (third, fourth):
        total = (product + total).astype(np.float32)
    return _as_given(np.rint(total).astype(np.uint8), num_axes)


def _float_neighbours(length: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each place of the new axis: the old places before and after it, and both float32 weights."""
    step = np.float64(np.float32(source) / np.float32(length))
    position = np.maximum((step * (np.arange(length) + 0.5) - 0.5).astype(np.float32), np.float32(0))
    before = np.minimum(position.astype(np.int64), source - 1)
    far = np.minimum(position - before.astype(np.float32), np.float32(1))
    return before, np.minimum(before + 1, source - 1), np.float32(1) - far, far


def _check_pictures(pictures: np.ndarray) -> None:
    if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
        what = pictures.dtype if isinstance(pictures, np.ndarray) else type(pictures).__name__
        raise TypeError(f"`pictures` must be a uint8 array with values 0..255, got {what}.")


def _as_batch(pictures: np.ndarray, height: int, width: int) -> tuple[int, np.ndarray]:
    """The number of axes that was given, and (pictures, height, width, channels)."""
    _check_pictures(pictures)
    if height < 1 or width < 1:
        raise ValueError(f"`height` and `width` must be at least 1 pixel, got {height} x {width}.")
    shaped = {2: lambda: pictures[None, :, :, None], 3: lambda: pictures[None], 4: lambda: pictures}
    if pictures.ndim not in shaped:
        raise ValueError(
            "`pictures` must be (height, width), (height, width, channels) or (pictures, height, width, channels), "
            f"got {pictures.shape}."
        )
    batch = shaped[pictures.ndim]()
    if not batch.shape[1] or not batch.shape[2]:
        raise ValueError(f"`pictures` have a side of 0 pixels: {pictures.shape}.")
    return pictures.ndim, batch


def _as_given(batch: np.ndarray, num_axes: int) -> np.ndarray:
    return batch if num_axes == 4 else batch[0] if num_axes == 3 else batch[0, :, :, 0]


__all__ = ["resize_as_opencv", "resize_as_torch", "resize_lanczos_as_opencv", "scale_as_opencv", "to_grey", "to_hsv"]
