"""Spectrograms one above the other, on one axis of time."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avzoo.video.drawing import BACKGROUND, draw_heatmap, write_picture

TEXT = (225, 225, 230)
_LETTERS, _MARGIN, _ROW_HEIGHT = 16, 12, 160  # pixels
_LEAST_WIDTH, _MOST_WIDTH, _SECOND_WIDTH = 480, 1600, 240  # pixels of the axis of time
_RANGE = 9.0  # nats from the loudest value to black
_MOST_TICKS = 8


def draw_spectrograms(panels: Mapping[str, np.ndarray], frames_per_second: float, *, start: float = 0.0) -> np.ndarray:
    """Draw spectrograms above each other, in one scale of colours, with their titles and the time in seconds.

    Args:
        panels: {title: (frames, bins)}, natural logarithm, from the top down; high bins are drawn above.
        frames_per_second: of all of them.
        start: seconds at which they begin.

    Returns:
        (rows, columns, 3) uint8.

    Raises:
        ValueError: no panel, or one that is empty, of another shape, or not finite.
    """
    if not panels:
        raise ValueError("`panels` is empty; give at least one spectrogram.")
    mels = {title: np.asarray(mel, np.float32) for title, mel in panels.items()}
    for title, mel in mels.items():
        if mel.ndim != 2 or not mel.size or not np.isfinite(mel).all():
            raise ValueError(f"`panels`: {title!r} must be (frames, bins) of finite numbers, got {mel.shape}.")
    longest = max(len(mel) for mel in mels.values())
    seconds = longest / frames_per_second
    width = int(np.clip(seconds * _SECOND_WIDTH, _LEAST_WIDTH, _MOST_WIDTH))
    loudest = max(float(mel.max()) for mel in mels.values())
    pitch = _LETTERS + _ROW_HEIGHT + _MARGIN  # from one panel to the next
    height = _MARGIN + len(mels) * pitch + 2 * _LETTERS
    image = Image.new("RGB", (width + 2 * _MARGIN, height), BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_LETTERS - 3)
    for place, (title, mel) in enumerate(mels.items()):
        top = _MARGIN // 2 + place * pitch
        draw.text((_MARGIN, top), title, fill=TEXT, font=font)
        heat = np.clip(1 + (mel.T[::-1] - loudest) / _RANGE, 0, 1)
        columns = max(1, round(width * len(mel) / longest))
        picture = draw_heatmap(np.zeros((_ROW_HEIGHT, columns, 3), np.uint8), heat, opacity=1.0)
        image.paste(Image.fromarray(picture), (_MARGIN, top + _LETTERS + 2))
    bottom = _MARGIN // 2 + len(mels) * pitch - _MARGIN + 4
    for time in choose_ticks(start, start + seconds):
        x = _MARGIN + round((time - start) / seconds * (width - 1))
        draw.line([(x, bottom), (x, bottom + 5)], fill=TEXT)
        label = f"{time:g} s"
        left = min(max(x - draw.textlength(label, font=font) / 2, 0), image.width - draw.textlength(label, font=font))
        draw.text((left, bottom + 6), label, fill=TEXT, font=font)
    return np.asarray(image)


def choose_ticks(start: float, end: float) -> list[float]:
    """Round times from `start` to `end`, at most nine, apart by 1, 2 or 5 times a power of ten: seconds."""
    least = (end - start) / _MOST_TICKS
    power = 10.0 ** np.floor(np.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first, last = np.ceil(start / step - 1e-6), np.floor(end / step + 1e-6)
    return [round(float(number * step), 9) + 0.0 for number in np.arange(first, last + 1)]  # no -0


def render_spectrograms(
    records: Sequence[Mapping[str, Any]], path: str | os.PathLike, *, real: np.ndarray | None = None
) -> Path:
    """Draw each face's spectrogram, coarse and as refined by the flow.

    Args:
        records: of the pipeline. Faces are put above each other, each with the times at which it is seen.
        path: of the picture, .png or .jpg; written atomically.
        real: (frames, bins), the true spectrogram of the only face, to put above.

    Raises:
        ValueError: no records, or `real` beside several. What [`avzoo.video.write_picture`] raises.
    """
    if not records:
        raise ValueError("`records` is empty: nobody speaks.")
    if real is not None and len(records) > 1:
        raise ValueError(f"`real` is of one face, `records` of {len(records)}.")
    pictures = []
    for record in records:
        face = "" if len(records) == 1 else f"face {record['track_id']}: "
        panels = {} if real is None else {"real": real}
        panels |= {f"{face}coarse": record["mel_coarse"], f"{face}refined by the flow": record["mel"]}
        rate = len(record["mel"]) / (record["end"] - record["start"])
        pictures.append(draw_spectrograms(panels, rate, start=record["start"]))
    sheet = np.full((sum(map(len, pictures)), max(one.shape[1] for one in pictures), 3), BACKGROUND, np.uint8)
    top = 0
    for one in pictures:
        sheet[top : top + len(one), : one.shape[1]] = one
        top += len(one)
    return write_picture(path, sheet)


__all__ = ["choose_ticks", "draw_spectrograms", "render_spectrograms"]
