"""Pictures of results: boxes, labels and heat maps over frames, timelines and waveforms beside them, contact sheets.

Every function returns a new uint8 array (height, width, 3), RGB; what it is given stays as it is. Lines and letters
grow with the picture.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avzoo.files import write_atomically

Colour = tuple[int, int, int]

BACKGROUND: Colour = (24, 24, 28)
CURSOR: Colour = (255, 255, 255)
WAVE: Colour = (120, 180, 255)
# Low, middle, high. Orange and blue, not red and green, which one person in twenty cannot tell apart.
_SCORE_COLOURS = np.array([(225, 87, 20), (200, 200, 200), (40, 140, 255)], float)
_HEAT_COLOURS = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)], float)
_TRACK_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178),
)  # fmt: skip


def score_colour(score: float, threshold: float = 0.0, span: float = 1.0) -> Colour:
    """Orange below the threshold, blue above, grey close to it; NaN is grey.

    Args:
        span: distance from the threshold at which the colour is full.
    """
    position = 1.0 if np.isnan(score) else 1.0 + float(np.clip((score - threshold) / span, -1, 1))
    return _interpolate_colour(_SCORE_COLOURS, position)


def track_colour(track_id: int) -> Colour:
    """A colour of its own for each of seven tracks, then again from the first."""
    return _TRACK_COLOURS[track_id % len(_TRACK_COLOURS)]


def draw_boxes(
    frame: np.ndarray,
    boxes: np.ndarray | Sequence[Sequence[float]],
    *,
    colours: Sequence[Colour] | None = None,
    labels: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw boxes on a frame.

    Args:
        frame: (height, width, 3) uint8.
        boxes: (n, 4), x1, y1, x2, y2 in pixels; what lies outside of the frame is cut off.
        colours: one for each box, see [`score_colour`] and [`track_colour`]. None: those of tracks 0, 1, ...
        labels: one text for each box, written above it, or inside where there is no room.

    Raises:
        ValueError: a frame or boxes of another shape, or lists of another length.
    """
    frame = _check_frame(frame)
    boxes = np.asarray(boxes, float).reshape(-1, 4) if np.size(boxes) == 0 else np.asarray(boxes, float)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"`boxes` must be (n, 4), x1 y1 x2 y2, got {boxes.shape}.")
    for name, values in (("colours", colours), ("labels", labels)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"`{name}` has {len(values)} entries for {len(boxes)} boxes.")
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    width = max(1, round(min(frame.shape[:2]) / 160))
    for index, box in enumerate(boxes):
        colour = track_colour(index) if colours is None else colours[index]
        if not np.isfinite(box).all() or box[2] < box[0] or box[3] < box[1]:
            continue  # a face that is not there
        draw.rectangle([round(value) for value in box.tolist()], outline=colour, width=width)
        if labels is not None and labels[index]:
            _draw_box_label(draw, frame.shape, box, labels[index], colour)
    return np.asarray(image)


def draw_label(
    frame: np.ndarray, text: str, position: tuple[float, float] = (0, 0), colour: Colour = (255, 255, 255)
) -> np.ndarray:
    """Draw a line of text on a dark background; `position` is (x, y) of its upper left corner, in pixels."""
    frame = _check_frame(frame)
    image = Image.fromarray(frame)
    _draw_text(ImageDraw.Draw(image), text, position, colour, _font(_letter_height(frame.shape)))
    return np.asarray(image)


def draw_heatmap(frame: np.ndarray, heatmap: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """A map of any size laid over a frame: where it is 0 the frame shows, where it is 1 the colour.

    Args:
        frame: (height, width, 3) uint8.
        heatmap: (rows, columns), in [0, 1]; stretched over the frame.
        opacity: of the places where the map is 1.

    Raises:
        ValueError: another shape, or values outside of [0, 1] or NaN.
    """
    frame = _check_frame(frame)
    return HeatOverlay(heatmap, *frame.shape[:2], opacity).draw(frame)


class HeatOverlay:
    """A heat map to be laid over many frames of one size; see [`draw_heatmap`] for arguments and errors."""

    def __init__(self, heatmap: np.ndarray, height: int, width: int, opacity: float = 0.6):
        heatmap = np.asarray(heatmap, np.float32)
        if heatmap.ndim != 2 or not heatmap.size:
            raise ValueError(f"`heatmap` must be (rows, columns), got {heatmap.shape}.")
        if not (heatmap.min() >= 0 and heatmap.max() <= 1):  # NaN fails both
            raise ValueError(
                f"`heatmap` must lie in [0, 1] without NaN, got {heatmap.min()} to {heatmap.max()}; "
                "scale it: (map - map.min()) / (map.max() - map.min())."
            )
        stretched = np.asarray(Image.fromarray(heatmap).resize((width, height), Image.Resampling.BILINEAR))
        weight = stretched[..., None] * np.float32(opacity)
        self._colours = _colour_table()[np.round(stretched * 255).astype(np.uint8)]
        self._colours *= weight
        self._colours += np.float32(0.5)  # what is cut to whole numbers below is rounded so
        self._rest = 1 - weight

    def draw(self, frame: np.ndarray) -> np.ndarray:
        """Draw the map over a frame, (height, width, 3) uint8; a ValueError if it is of another size."""
        frame = _check_frame(frame)
        if frame.shape[:2] != self._rest.shape[:2]:
            raise ValueError(f"`frame` is {frame.shape[:2]}, the map was stretched to {self._rest.shape[:2]}.")
        drawn = frame * self._rest
        drawn += self._colours
        return drawn.astype(np.uint8)


def waveform_strip(samples: np.ndarray, width: int, height: int = 40) -> np.ndarray:
    """The waveform of a whole recording as a strip; [`draw_cursor`] marks a moment in it."""
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1:
        raise ValueError(f"`samples` must be (samples,), got {samples.shape}.")
    strip = np.full((height, width, 3), BACKGROUND, np.uint8)
    if samples.size:
        edges = np.linspace(0, samples.size, width + 1).astype(int)[:-1]
        loudest = max(float(np.abs(samples).max()), 1e-9)
        starts = np.minimum(edges, samples.size - 1)
        high = np.maximum.reduceat(samples, starts) / loudest
        low = np.minimum.reduceat(samples, starts) / loudest
        rows = np.linspace(1, -1, height)[:, None]
        strip[(rows <= np.maximum(high, 1.5 / height)) & (rows >= np.minimum(low, -1.5 / height))] = WAVE
    return strip


def timeline(
    rows: Sequence[np.ndarray],
    width: int,
    row_height: int = 12,
    *,
    threshold: float = 0.0,
    span: float = 1.0,
) -> np.ndarray:
    """Scores over time, a row each (a track, a class), coloured as by [`score_colour`].

    Args:
        rows: each (frames,), all equally long; NaN where there is nothing to show.
        threshold, span: see [`score_colour`].
    """
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"`rows` must be equally long, got {[len(row) for row in rows]} frames.")
    strip = np.full((max(len(rows), 1) * row_height, width, 3), BACKGROUND, np.uint8)
    for index, row in enumerate(rows):
        row = np.asarray(row, float)
        if row.size:
            shown = row[np.minimum(np.arange(width) * row.size // width, row.size - 1)]
            place = np.clip((np.nan_to_num(shown) - threshold) / span, -1, 1) + 1
            colours = np.stack([np.interp(place, [0, 1, 2], _SCORE_COLOURS[:, channel]) for channel in range(3)], -1)
            there = ~np.isnan(shown)
            strip[index * row_height + 1 : (index + 1) * row_height - 1, there] = colours[there].astype(np.uint8)
    return strip


def draw_cursor(strip: np.ndarray, position: float) -> np.ndarray:
    """Draw a line across a timeline or waveform at the current position, 0 for its beginning to 1 for its end."""
    marked = _check_frame(strip).copy()
    marked[:, round(float(np.clip(position, 0, 1)) * (strip.shape[1] - 1))] = CURSOR
    return marked


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Stack pictures of one width vertically."""
    return np.concatenate([_check_frame(picture) for picture in pictures], axis=0)


def contact_sheet(frames: np.ndarray | Sequence[np.ndarray], columns: int, *, gap: int = 4) -> np.ndarray:
    """Many pictures of one size on one sheet, row by row.

    Raises:
        ValueError: no pictures, or pictures of different sizes.
    """
    frames = [_check_frame(frame) for frame in frames]
    if not frames or columns < 1:
        raise ValueError(f"a contact sheet needs at least one picture and one column, got {len(frames)} and {columns}.")
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"`frames` differ in size: {sorted({frame.shape[:2] for frame in frames})}.")
    height, width, _ = frames[0].shape
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), BACKGROUND, np.uint8)
    for index, frame in enumerate(frames):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> Path:
    """Write a picture, (height, width, 3) or (height, width) uint8, in the format of the suffix."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or not picture.size:
        raise ValueError(f"`picture` must be (height, width[, 3]) uint8, got {picture.shape} {picture.dtype}.")
    path = Path(path)
    with write_atomically(path) as unfinished:
        Image.fromarray(picture).save(unfinished)
    return path


def _check_frame(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"`frame` must be (height, width, 3) uint8, got {frame.shape} {frame.dtype}.")
    return frame


def _interpolate_colour(colours: np.ndarray, position: float) -> Colour:
    """Interpolate linearly between neighbouring colours of a table."""
    channels = [round(float(np.interp(position, np.arange(len(colours)), channel))) for channel in colours.T]
    return tuple(channels)


@functools.cache
def _colour_table() -> np.ndarray:
    """(256, 3): black over purple and orange to light yellow, brightness rising all the way."""
    return np.array(
        [_interpolate_colour(_HEAT_COLOURS, index / 255 * (len(_HEAT_COLOURS) - 1)) for index in range(256)], np.float32
    )


@functools.lru_cache(maxsize=16)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


def _letter_height(shape: tuple[int, ...]) -> int:
    return max(9, round(min(shape[:2]) / 22))


def _draw_text(draw: ImageDraw.ImageDraw, text: str, position: tuple[float, float], colour: Colour, font) -> None:
    left, top, right, bottom = draw.textbbox(position, text, font=font)
    draw.rectangle([left - 2, top - 1, right + 1, bottom + 1], fill=BACKGROUND)
    draw.text(position, text, fill=colour, font=font)


def _draw_box_label(
    draw: ImageDraw.ImageDraw, shape: tuple[int, ...], box: np.ndarray, text: str, colour: Colour
) -> None:
    font = _font(_letter_height(shape))
    left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    x = float(np.clip(box[0] + 2, 2, max(shape[1] - (right - left) - 2, 2)))
    above = box[1] - bottom - 3
    _draw_text(draw, text, (x, above if above >= 0 else max(box[1] + 2, 0)), colour, font)
