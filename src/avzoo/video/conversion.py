"""Conversion of decoded pictures to upright RGB frames of one size."""

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from avzoo.video.files import Orientation

LONGEST_SIDE = 16384
_SAME_SHAPE = 0.02  # by which shapes may differ that are one: sides are even

# Where the size stays, swscale has a path of its own: off by two levels at most, and 50 times faster.
_SAME_SIZE = Interpolation.BICUBIC
# Else each pixel is the average of what it covers where a picture shrinks, and cubic where it grows, as is usual with
# OpenCV. Without the last two, colours are off by up to 3 levels.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT  # whole chroma in the output
_SHRINKING = Interpolation.AREA | _EXACT
_GROWING = Interpolation.BICUBIC | _EXACT


class RgbConverter:
    """Writes pictures as uint8 RGB into the rows of an array: colours and size in one pass, then orientation.

    Colours follow the matrix and range the stream declares; undeclared means BT.601 and limited range, as in FFmpeg.
    More than 8 bits are dithered to 8. Alpha is dropped: the colour beneath shows. Grey has three equal channels.

    Args:
        height, width: of the frames, pixels.
        orientation: how pictures become upright.
        stored: (height, width) of the pictures that these frames are meant for. One of another shape, as where a
            phone is turned while it records, gets black bars. None: pictures fill the frame.
    """

    def __init__(self, height: int, width: int, orientation: Orientation | None, stored: tuple[int, int] | None = None):
        self._orientation = orientation or Orientation()
        self._stored = stored
        self._size = (width, height) if self._orientation.turns % 2 else (height, width)
        self._reformatter = VideoReformatter()

    def __call__(self, picture: "av.VideoFrame | np.ndarray", frame: np.ndarray) -> None:
        """Write `picture` into `frame`, (height, width, 3)."""
        if isinstance(picture, np.ndarray):
            self._resize(picture, frame)
        else:
            # Planes of colours hold the same numbers as packed ones, and swscale scales to them a third faster.
            same_size = (picture.height, picture.width) == self._size
            frame[...] = self._orientation.upright(self._scale(picture, "rgb24" if same_size else "gbrp"))

    def _resize(self, picture: np.ndarray, frame: np.ndarray) -> None:
        if picture.shape == frame.shape:
            frame[...] = picture
            return
        for channel in range(3):  # each by itself: swscale would take RGB to YUV and back
            plane = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[..., channel]), format="gray")
            frame[..., channel] = self._scale(plane, "gray")

    def _fit(self, picture: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of what a picture becomes in the frame."""
        height, width = self._size
        if self._stored is None or (picture.height, picture.width) == self._stored:
            return height, width
        squeezed = (picture.width / picture.height) / (self._stored[1] / self._stored[0])  # against those it fits
        if abs(squeezed - 1) <= _SAME_SHAPE:
            return height, width
        if squeezed > 1:
            return max(1, round(height / squeezed)), width
        return height, max(1, round(width * squeezed))

    def _scale(self, picture: av.VideoFrame, pixel_format: str) -> np.ndarray:
        height, width = self._fit(picture)
        if (picture.height, picture.width) == (height, width):
            interpolation = _SAME_SIZE
        else:
            interpolation = _SHRINKING if height <= picture.height and width <= picture.width else _GROWING
        scaled = self._reformatter.reformat(
            picture, width=width, height=height, format=pixel_format, interpolation=interpolation
        )
        pixels = scaled.to_ndarray()
        if (height, width) == self._size:
            return pixels
        framed = np.zeros((*self._size, 3), np.uint8)
        top, left = (self._size[0] - height) // 2, (self._size[1] - width) // 2
        framed[top : top + height, left : left + width] = pixels
        return framed
