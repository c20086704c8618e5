"""Grey, HSV and resizing against OpenCV and torch themselves."""

import cv2
import numpy as np
import pytest
import torch

from avzoo.video import (
    resize_as_opencv,
    resize_as_torch,
    resize_lanczos_as_opencv,
    scale_as_opencv,
    to_grey,
    to_hsv,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noise(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def every_third_colour():
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)


def test_grey_is_opencvs(rng):
    for pictures in (every_third_colour(), noise(rng, 300, 400, 3)):
        assert np.array_equal(to_grey(pictures), cv2.cvtColor(pictures, cv2.COLOR_RGB2GRAY))
        assert np.array_equal(to_grey(pictures, "bgr"), cv2.cvtColor(pictures, cv2.COLOR_BGR2GRAY))


def test_hsv_is_opencvs(rng):
    for pictures in (every_third_colour(), noise(rng, 300, 400, 3)):
        assert np.array_equal(to_hsv(pictures), cv2.cvtColor(pictures, cv2.COLOR_RGB2HSV))


SIZES = {  # from random numbers h, w, a, b: height and width before, height and width after
    "any": lambda h, w, a, b: (h, w, a, b),
    "up": lambda h, w, a, b: (h // 4 + 1, w // 4 + 1, h + 8, w + 8),
    "down": lambda h, w, a, b: (h + 8, w + 8, h // 4 + 1, w // 4 + 1),
    "halved": lambda h, w, a, b: (2 * h, 2 * w, h, w),
    "halved in height": lambda h, w, a, b: (2 * h, w, h, b),
    "one row": lambda h, w, a, b: (1, w, a, b),
    "one column": lambda h, w, a, b: (h, 1, a, b),
    "to one pixel": lambda h, w, a, b: (h, w, 1, 1),
    "to one row": lambda h, w, a, b: (h, w, 1, b),
    "same": lambda h, w, a, b: (h, w, h, w),
    "face": lambda h, w, a, b: (h, w, 112, 112),
}


@pytest.mark.parametrize("channels", [(), (1,), (3,)], ids=["grey", "one channel", "colour"])
@pytest.mark.parametrize("kind", SIZES)
def test_resizing_is_opencvs(rng, kind, channels):
    for trial in range(25):
        height, width, new_height, new_width = SIZES[kind](*map(int, rng.integers(1, 230, 4)))
        picture = noise(rng, height, width, *channels)
        if trial == 0:
            picture[:] = 255
        resized = resize_as_opencv(picture, new_height, new_width)
        expected = cv2.resize(picture, (new_width, new_height)).reshape(new_height, new_width, *channels)
        assert np.array_equal(resized, expected), (picture.shape, expected.shape)


@pytest.mark.parametrize("channels", [(), (1,), (3,)], ids=["grey", "one channel", "colour"])
@pytest.mark.parametrize("kind", SIZES)
def test_lanczos_resizing_is_opencvs(rng, kind, channels):
    for trial in range(25):
        height, width, new_height, new_width = SIZES[kind](*map(int, rng.integers(1, 230, 4)))
        picture = noise(rng, height, width, *channels)
        if trial % 2:  # black and white overshoot most
            picture = np.where(picture > 127, np.uint8(255), np.uint8(0))
        resized = resize_lanczos_as_opencv(picture, new_height, new_width)
        expected = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_LANCZOS4)
        assert np.array_equal(resized, expected.reshape(resized.shape)), (picture.shape, expected.shape)


def test_lanczos_resizing_of_a_batch_is_that_of_its_pictures(rng):
    pictures = noise(rng, 3, 26, 21, 3)
    resized = resize_lanczos_as_opencv(pictures, 32, 32)
    assert resized.shape == (3, 32, 32, 3)
    assert np.array_equal(resized[2], resize_lanczos_as_opencv(pictures[2], 32, 32))


def test_lanczos_resizing_refuses_what_is_no_picture():
    with pytest.raises(TypeError, match=r"`pictures` must be a uint8 array with values 0..255, got float32"):
        resize_lanczos_as_opencv(np.zeros((5, 5, 3), np.float32), 4, 4)
    with pytest.raises(ValueError, match="`height` and `width` must be at least 1 pixel, got 0 x 4"):
        resize_lanczos_as_opencv(np.zeros((5, 5, 3), np.uint8), 0, 4)


@pytest.mark.parametrize("factor", [0.25, 0.3, 0.5, 0.77, 1, 1.5, 2])
def test_scaling_is_opencvs(rng, factor):
    for _ in range(25):
        height, width = map(int, rng.integers(5, 230, 2))
        if factor == 0.5:  # of odd sides OpenCV leaves the last pixel out of the mean
            height, width = 2 * height, 2 * width
        picture = noise(rng, height, width, 3)
        expected = cv2.resize(picture, (0, 0), fx=factor, fy=factor)
        assert np.array_equal(scale_as_opencv(picture, factor), expected), picture.shape


def test_a_result_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r"`pictures` of \(50, 1\) pixels have nothing left at `factor` 0.25"):
        scale_as_opencv(np.zeros((50, 1, 3), np.uint8), 0.25)
    with pytest.raises(ValueError, match="`factor` must be above 0, got 0"):
        scale_as_opencv(np.zeros((50, 50, 3), np.uint8), 0)


@pytest.mark.parametrize("shape", [(70, 90, 3), (64, 48, 3), (32, 24, 3)], ids=["any", "halved", "same"])
def test_a_part_is_cut_from_the_whole(rng, shape):
    picture = noise(rng, *shape)
    rows, columns = slice(5, 20), slice(8, None)
    part = resize_as_opencv(picture, 32, 24, rows=rows, columns=columns)
    assert np.array_equal(part, resize_as_opencv(picture, 32, 24)[rows, columns])


@pytest.mark.parametrize("resize", [resize_as_opencv, resize_as_torch])
def test_a_batch_is_resized_like_its_pictures(rng, resize):
    pictures = noise(rng, 4, 50, 37, 3)
    batch = resize(pictures, 24, 40)
    assert np.array_equal(batch, np.stack([resize(picture, 24, 40) for picture in pictures]))


@pytest.fixture
def _one_thread():
    """Torch's last bit depends on the number of threads."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("shape", [(109, 85, 3), (52, 60, 3), (150, 131, 3), (1, 7, 3), (200, 180, 3), (96, 96, 3)])
def test_float_resizing_is_torchs_rounded(rng, shape, antialias):
    picture = noise(rng, *shape)
    planes = torch.from_numpy(np.atleast_3d(picture).transpose(2, 0, 1).copy()).float()[None]
    expected = torch.nn.functional.interpolate(planes, (96, 96), mode="bilinear", antialias=antialias).round()[0]
    resized = np.atleast_3d(resize_as_torch(picture, 96, 96, antialias=antialias))
    assert np.array_equal(resized.transpose(2, 0, 1), expected.clamp(0, 255).numpy().astype(np.uint8))


def test_a_part_of_float_resizing_is_that_part_of_the_whole(rng):
    picture = noise(rng, 60, 45, 3)
    for antialias in (False, True):
        part = resize_as_torch(picture, 96, 96, antialias=antialias, rows=slice(48, None))
        assert np.array_equal(part, resize_as_torch(picture, 96, 96, antialias=antialias)[48:])


def test_the_ways_to_resize_differ(rng):
    picture = noise(rng, 150, 131, 3)
    plain, smooth = (resize_as_torch(picture, 96, 96, antialias=antialias).astype(int) for antialias in (False, True))
    fixed = resize_as_opencv(picture, 96, 96).astype(int)
    assert 0 < np.abs(plain - fixed).max() <= 1
    assert np.abs(plain - smooth).mean() > 5


@pytest.mark.parametrize("function", [to_grey, to_hsv])
def test_colours_that_are_none_are_refused(function):
    with pytest.raises(TypeError, match=r"must be a uint8 array with values 0\.\.255, got float32"):
        function(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match=r"must be \(..., 3\), got \(4, 4\)"):
        function(np.zeros((4, 4), np.uint8))


def test_an_unknown_order_of_colours_is_refused():
    with pytest.raises(ValueError, match='`order` must be "rgb" or "bgr", got \'BGR\''):
        to_grey(np.zeros((4, 4, 3), np.uint8), "BGR")


@pytest.mark.parametrize("resize", [resize_as_opencv, resize_as_torch])
def test_pictures_that_cannot_be_resized_are_refused(resize):
    with pytest.raises(TypeError, match="got list"):
        resize([[1, 2]], 4, 4)
    with pytest.raises(ValueError, match=r"got \(2, 2, 2, 2, 2\)"):
        resize(np.zeros((2, 2, 2, 2, 2), np.uint8), 4, 4)
    with pytest.raises(ValueError, match=r"side of 0 pixels: \(0, 7\)"):
        resize(np.zeros((0, 7), np.uint8), 4, 4)
    with pytest.raises(ValueError, match="at least 1 pixel, got 0 x 4"):
        resize(np.zeros((3, 7), np.uint8), 0, 4)
