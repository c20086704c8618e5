"""Face pictures that a data set keeps as JPEG files."""

import os

import numpy as np
from PIL import Image


def read_jpeg(path: str | os.PathLike, advice: str) -> np.ndarray:
    """A picture, (height, width, 3) uint8 RGB.

    Decoded by libjpeg, as in training scripts. FFmpeg, which decodes the videos, is off by tens of levels at coloured
    edges where a JPEG stores colour at half the resolution.

    Args:
        advice: what to do about a damaged file, for the message.

    Raises:
        OSError: the file is missing or can't be opened. ValueError: it is damaged.
    """
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # missing or unreadable: the error says so itself
        raise ValueError(f"{path} can't be decoded; {advice}.") from error


__all__ = ["read_jpeg"]
