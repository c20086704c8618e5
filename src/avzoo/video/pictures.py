"""Still pictures in: files of any kind that Pillow opens, upright, 8 bits a colour."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 178_000_000  # more is refused: 534 MB of colours, in a file of a few kB; Pillow refuses little more itself


def read_picture(source: Any, *, name: str = "image") -> np.ndarray:
    """One picture, upright (EXIF), in colour.

    Grey becomes three equal colours, 16 bits a colour and floating point in [0, 1] are scaled to 8 bits, transparency
    is dropped, and of an animated file the first picture is taken, with a warning.

    Args:
        source: a path, the `bytes` of a file, a binary file object, a PIL image, an array or a tensor of uint8
            (height, width), (height, width, 1, 3 or 4) or (3, height, width), or a row of `datasets` ({"path",
            "bytes"}).
        name: what error messages call the source.

    Returns:
        uint8, (height, width, 3), RGB; always a fresh array.

    Raises:
        OSError: the file isn't there or can't be opened.
        TypeError: the source is none of the above, or its values are not uint8.
        ValueError: no picture, damaged, cut short, PostScript, of more than 178 million pixels, or of another shape; a
            URL.
    """
    label = f"`{name}`"
    if isinstance(source, Mapping):
        content, path = source.get("bytes"), source.get("path")
        if content is None and path is None:
            raise ValueError(f'{label} is a dict without "bytes" and "path"; its keys are {sorted(map(str, source))}.')
        return read_picture(path if content is None else content, name=name)
    if isinstance(source, Image.Image):
        with _explain(label):
            return _to_array(source, label)
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        if path.lower().startswith(("http://", "https://")):
            raise ValueError(f"{label} is a URL ({path}); download it first and pass the file.")
        label = f"{label} ({os.path.basename(path)})"
        with open(path, "rb") as file, _explain(label):
            return _decode(file, label)
    if isinstance(source, bytes | bytearray | memoryview):
        with _explain(label):
            return _decode(io.BytesIO(source), label)
    if hasattr(source, "read"):
        with _explain(label):
            return _decode(source, label)
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a torch tensor, told without importing torch
        source = source.detach().cpu().numpy()
    if not isinstance(source, np.ndarray):
        raise TypeError(
            f"{label} must be a path, the bytes of a file, a binary file object, a PIL image, an array, a tensor or a "
            f"row of `datasets`, got {type(source).__name__}."
        )
    return _check_array(source, label)


@contextlib.contextmanager
def _explain(label: str) -> Iterator[None]:
    """Pillow's errors for damaged files are of many classes and name no file."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise ValueError(f"{label} is no picture that Pillow can read.") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{label} has more than {MAX_PIXELS} pixels; make it smaller first.") from error
    except ValueError as error:
        raise error if str(error).startswith(label) else ValueError(f"{label} is damaged: {error}") from error
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
        raise ValueError(f"{label} is damaged or cut short: {error}.") from error


def _decode(file: Any, label: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # below, by our own bound
        warnings.filterwarnings("ignore", module="PIL")  # of odd metadata
        picture = Image.open(file)
        if picture.format == "EPS":  # Pillow would start Ghostscript, which runs it
            raise ValueError(f"{label} is PostScript, a program; save it as PNG or JPEG first.")
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(
                f"{label} has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS}; make it smaller first."
            )
        picture.load()
    return _to_array(picture, label)


def _to_array(picture: Image.Image, label: str) -> np.ndarray:
    if getattr(picture, "n_frames", 1) > 1:
        warnings.warn(f"{label} holds {picture.n_frames} pictures; the first is taken.", stacklevel=3)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":  # `convert` would cut what is beyond 255
        values = np.asarray(picture).astype(np.float64)
        values[~np.isfinite(values)] = 0
        peak = values.max(initial=0)
        if picture.mode == "F":  # in [0, 1], in [0, 255] or of 16 bits; what resized it may overshoot
            values = 255 * values if peak <= 2 else values / 257 if peak > 511 else values
        elif picture.mode.startswith("I;16") or peak > 255:
            values = values / 257  # 16 bits: 65535 is white
        grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


def _check_array(values: np.ndarray, label: str) -> np.ndarray:
    if values.dtype != np.uint8:
        raise TypeError(
            f"{label} must be uint8 in [0, 255], got {values.dtype}; scale floats in [0, 1] first: "
            "`(image * 255).round().astype('uint8')`."
        )
    if values.ndim == 3 and values.shape[-1] not in (1, 3, 4) and values.shape[0] == 3:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4) or 0 in values.shape:
        raise ValueError(
            f"{label} must be (height, width, 3), (height, width) or (3, height, width), got {values.shape}."
        )
    values = values[..., :3]
    return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values.copy()


__all__ = ["read_picture"]
