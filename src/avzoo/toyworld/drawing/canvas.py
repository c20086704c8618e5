"""Drawing ground of the worlds that are seen: antialiased shapes, backgrounds, light, and a camera's noise.

    canvas = Canvas(112, 112, (70, 90, 120))
    face = canvas.at(centre=(56, 60), scale=30, angle=5)      # what follows is drawn in units of a face
    face.ellipse((0, 0), (0.8, 1.0), (225, 180, 150))
    face.line([(-0.3, 0.5), (0, 0.6), (0.3, 0.5)], 0.08, (150, 60, 60), smooth=True)
    canvas.array()                                            # uint8 (112, 112, 3)

Places are (x, y), x to the right and y down, in pixels whose corners are whole numbers: the picture covers
[0, width] x [0, height], and the centre of its first pixel is (0.5, 0.5). Angles are in degrees, from the x axis
towards the y axis (clockwise on the screen). Colours are (red, green, blue) in 0 to 255; a fourth number, the
opacity, makes a shape translucent. The same calls give the same bytes.
"""

import colorsys
import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Generator = np.random.Generator
Point = tuple[float, float]
Points = Sequence[Point] | np.ndarray  # (points, 2)
Colour = tuple[int, int, int] | tuple[int, int, int, int]


class Canvas:
    """A picture to draw on: shapes fall on a grid `supersample` times finer, whose boxes are then averaged.

    Args:
        height, width: of the picture, in pixels.
        background: a colour, or a picture, uint8 (height, width, 3).
        supersample: grid lines per pixel; 3 gives edges of 10 levels and moves in steps of a third of a pixel.
    """

    def __init__(
        self, height: int, width: int, background: Colour | np.ndarray = (0, 0, 0), supersample: int = 3
    ) -> None:
        if height < 1 or width < 1 or supersample < 1:
            raise ValueError(
                f"`height`, `width` and `supersample` must be 1 or more, got {height}, {width} and {supersample}."
            )
        self.height, self.width, self.supersample = int(height), int(width), int(supersample)
        fine_size = (self.width * self.supersample, self.height * self.supersample)
        if isinstance(background, np.ndarray):
            if background.shape != (height, width, 3) or background.dtype != np.uint8:
                raise ValueError(
                    f"`background` must be uint8 ({height}, {width}, 3), got {background.dtype} {background.shape}."
                )
            image = Image.fromarray(background).resize(fine_size, Image.Resampling.NEAREST)
        else:
            image = Image.new("RGB", fine_size, tuple(background))
        self._attach(image, None)
        self._outline: tuple[Colour, int] | None = None
        self._axes = np.eye(2) * self.supersample
        self._origin = np.zeros(2) - 0.5  # a fine pixel's index is the place of its centre
        self._line_scale = float(self.supersample)

    def _attach(self, image: Image.Image, traces: Image.Image | None) -> None:
        self._image = image
        self._opaque = ImageDraw.Draw(image)
        self._translucent = ImageDraw.Draw(image, "RGBA")
        self._trace = traces
        self._tracing = None if traces is None else ImageDraw.Draw(traces)

    def _view(self) -> "Canvas":
        view = object.__new__(Canvas)
        view.__dict__.update(self.__dict__)
        return view

    def copy(self) -> "Canvas":
        """A canvas of its own that shows the same so far: draw a background once, copy it for every frame."""
        canvas = self._view()
        canvas._attach(self._image.copy(), None if self._trace is None else self._trace.copy())
        return canvas

    def at(
        self, centre: Point = (0, 0), scale: float | Point = 1.0, angle: float = 0.0, mirror: bool = False
    ) -> "Canvas":
        """The same canvas in other units: (0, 0) lies at `centre`, 1 is `scale` long, axes turned by `angle`.

        Args:
            scale: one for both axes, or (x, y). Line widths scale with the square root of the area.
            mirror: x to the left, before turning.
        """
        scale_x, scale_y = scale if isinstance(scale, (tuple, list)) else (scale, scale)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        if mirror:
            scale_x = -scale_x
        view = self._view()
        view._origin = np.asarray(centre, float) @ self._axes + self._origin
        # Rows are the pictures of the unit vectors, so that places are multiplied from the left.
        view._axes = np.array([[cosine * scale_x, sine * scale_x], [-sine * scale_y, cosine * scale_y]]) @ self._axes
        view._line_scale = self._line_scale * math.sqrt(abs(scale_x * scale_y))
        return view

    def with_trace(self) -> "Canvas":
        """The same canvas, which from here on also remembers where its shapes fall; see [`visible_masks`]."""
        view = self._view()
        view._attach(self._image, Image.new("L", self._image.size))
        return view

    def with_outline(self, colour: Colour, width: float) -> "Canvas":
        """The same canvas, which from here on draws a contour round every shape."""
        view = self._view()
        view._outline = (colour, max(round(width * self._line_scale), 1))
        return view

    def place(self, points: Points) -> np.ndarray:
        """Where `points` of this canvas' units lie in the picture, in pixels: (points, 2)."""
        return (np.asarray(points, float) @ self._axes + self._origin + 0.5) / self.supersample

    # ------------------------------------------------------------------------------------------------ shapes

    def polygon(self, points: Points, colour: Colour, smooth: bool = False) -> None:
        """Fill a polygon, or with `smooth` the closed curve through its corners."""
        if smooth:
            points = smooth_curve(points, closed=True)
        self._fill(np.asarray(points, float) @ self._axes + self._origin, colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill a rectangle (before turning)."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, centre: Point, radii: float | Point, colour: Colour, angle: float = 0.0) -> None:
        """Fill a disc, or an ellipse of radii (x, y) turned by `angle`."""
        radius_x, radius_y = radii if isinstance(radii, (tuple, list)) else (radii, radii)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        axes = np.array([[cosine * radius_x, sine * radius_x], [-sine * radius_y, cosine * radius_y]]) @ self._axes
        corners = 8 + int(4 * math.sqrt(np.abs(axes).max()))
        self._fill(
            _unit_circle(min(corners, 96)) @ axes + (np.asarray(centre, float) @ self._axes + self._origin), colour
        )

    def arc(self, centre: Point, radii: float | Point, start: float, stop: float, width: float, colour: Colour) -> None:
        """Stroke an arc of an ellipse from angle `start` to `stop`."""
        radii = radii if isinstance(radii, (tuple, list)) else (radii, radii)
        angles = np.radians(np.linspace(start, stop, max(int(abs(stop - start) / 12), 2) + 1))
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.line(np.asarray(centre, float) + around * np.asarray(radii, float), width, colour)

    def line(self, points: Points, width: float | Sequence[float], colour: Colour, smooth: bool = False) -> None:
        """Stroke a line with round ends and joints, or with `smooth` the curve through its points.

        Args:
            width: one for the whole line, or one per point (a limb, a tail). No line is thinner than a
                third of a pixel. A translucent line of several pieces is darker where they overlap.
        """
        if smooth:
            if np.ndim(width):
                width = smooth_curve(np.asarray(width, float))
            points = smooth_curve(points)
        places = np.asarray(points, float) @ self._axes + self._origin
        radii = np.asarray(width, float) * (self._line_scale / 2) + np.zeros(len(places))
        radii = np.maximum(radii, 0.35)
        if self._outline is not None:  # round the line as a whole, not round its pieces
            contour, contour_width = self._outline
            for corners in _capsules(places, radii + contour_width / 2):
                self._fill(corners, contour, plain=True)
        for corners in _capsules(places, radii):
            self._fill(corners, colour, plain=True)

    def _fill(self, corners: np.ndarray, colour: Colour, plain: bool = False) -> None:
        flat = np.rint(corners).ravel().tolist()  # PIL would cut the fraction off
        (self._opaque if len(colour) == 3 else self._translucent).polygon(flat, fill=colour)
        if self._tracing is not None:
            self._tracing.polygon(flat, fill=255)
        if self._outline is not None and not plain:
            contour, contour_width = self._outline
            self._opaque.line(flat + flat[:4], fill=contour, width=contour_width)
            if self._tracing is not None:
                self._tracing.line(flat + flat[:4], fill=255, width=contour_width)

    # ---------------------------------------------------------------------------------------------- results

    def array(self) -> np.ndarray:
        """The picture: uint8 (height, width, 3)."""
        image = self._image if self.supersample == 1 else self._image.reduce(self.supersample)
        return np.array(image)


def visible_masks(traces: Sequence[Canvas]) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of things that were drawn one after the other, the later over the earlier.

    Args:
        traces: one [`Canvas.with_trace`] per thing, in the order of drawing, all of one canvas.

    Returns:
        (masks, bool (things, height, width): the thing covers more than half of the pixel; fractions, float64
        (things,): area seen / area drawn within the picture, 0 for what lies outside altogether).
    """
    masks, fractions = [], []
    covered = np.zeros(traces[0]._trace.size[::-1], bool) if traces else None
    for trace in reversed(traces):
        drawn = np.asarray(trace._trace) > 0
        seen = drawn & ~covered
        covered |= drawn
        grid = seen.reshape(trace.height, trace.supersample, trace.width, trace.supersample)
        masks.append(2 * grid.sum(axis=(1, 3)) > trace.supersample**2)
        fractions.append(seen.sum() / max(drawn.sum(), 1))
    if not masks:
        raise ValueError("`traces` is empty; give one traced canvas per thing.")
    return np.stack(masks[::-1]), np.array(fractions[::-1])


# ------------------------------------------------------------------------------------------------- curves


@functools.cache
def _unit_circle(corners: int) -> np.ndarray:
    angles = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@functools.lru_cache(maxsize=256)
def _curve_weights(count: int, closed: bool, pieces: int) -> np.ndarray:
    """Catmull-Rom spline as a matrix: (samples, count)."""
    position = np.arange(pieces) / pieces
    cubes = np.stack([np.ones(pieces), position, position**2, position**3], axis=1)
    blend = cubes @ (np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2)
    spans = count if closed else count - 1
    weights = np.zeros((spans * pieces + (not closed), count))
    for span in range(spans):
        for neighbour in range(4):
            index = span + neighbour - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            weights[span * pieces : (span + 1) * pieces, index] += blend[:, neighbour]
    if not closed:
        weights[-1, -1] = 1
    return weights


def smooth_curve(points: Points, closed: bool = False, pieces: int = 6) -> np.ndarray:
    """A curve through all points (Catmull-Rom), with `pieces` straight pieces from one to the next: (samples, 2).

    One number per point, (points,), is smoothed likewise.
    """
    points = np.asarray(points, float)
    return _curve_weights(len(points), closed, pieces) @ points


def bezier(points: Points, pieces: int = 16) -> np.ndarray:
    """The Bézier curve of these control points, of any degree: (pieces + 1, 2)."""
    points = np.asarray(points, float)
    degree = len(points) - 1
    position = np.linspace(0, 1, pieces + 1)[:, None]
    order = np.arange(degree + 1)
    choose = np.array([math.comb(degree, index) for index in range(degree + 1)])
    return (choose * position**order * (1 - position) ** (degree - order)) @ points


@functools.cache
def _half_circle(corners: int) -> np.ndarray:
    """From the left of somebody who walks along x, round their back, to their right: complex (corners,)."""
    return np.exp(1j * np.pi * np.linspace(0.5, 1.5, corners))


def _capsules(places: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Outlines of the pieces of a line, each with half a disc at both ends: (pieces, corners, 2)."""
    if len(places) == 1:
        places, radii = np.repeat(places, 2, axis=0), np.repeat(radii, 2)
    places = places[:, 0] + 1j * places[:, 1]  # a complex factor turns and stretches at once
    along = places[1:] - places[:-1]
    length = np.abs(along)
    heading = np.where(length > 0, along, 1) / np.where(length > 0, length, 1)
    back = heading[:, None] * _half_circle(4 + int(2 * math.sqrt(radii.max())))
    first = places[:-1, None] + radii[:-1, None] * back
    second = places[1:, None] - radii[1:, None] * back
    outlines = np.concatenate([first, second], axis=1)
    return outlines.view(float).reshape(len(along), -1, 2)


# ------------------------------------------------------------------------------------------------ colours


def hsv_colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """(red, green, blue) of a hue in turns (0 red, 1/3 green, 2/3 blue), saturation and value in [0, 1]."""
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def mix_colours(one: Colour, other: Colour, amount: float) -> tuple[int, int, int]:
    """`one` for 0, `other` for 1, what lies between for the rest."""
    return tuple(round(a + (b - a) * amount) for a, b in zip(one[:3], other[:3], strict=True))


def shade(colour: Colour, amount: float) -> tuple[int, int, int]:
    """Darker down to black at -1, lighter up to white at 1."""
    return mix_colours(colour, (0, 0, 0) if amount < 0 else (255, 255, 255), abs(amount))


def random_colour(
    generator: Generator,
    saturation: tuple[float, float] = (0.1, 0.9),
    value: tuple[float, float] = (0.25, 0.95),
) -> tuple[int, int, int]:
    """Any hue, with saturation and value from these ranges."""
    return hsv_colour(generator.uniform(), generator.uniform(*saturation), generator.uniform(*value))


# --------------------------------------------------------------------------------------- light and camera


def smooth_noise(generator: Generator, height: int, width: int, cell: float) -> np.ndarray:
    """A random landscape of about unit variance with hills `cell` pixels apart: float32 (height, width)."""
    rows, columns = max(int(height / cell), 0) + 2, max(int(width / cell), 0) + 2
    coarse = Image.fromarray(generator.standard_normal((rows, columns)).astype(np.float32))
    # Only a window of the coarse grid is shown, at a random offset, so that hills do not sit on the picture's edge.
    window_x, window_y = min(width / cell, columns - 1), min(height / cell, rows - 1)
    left, top = generator.uniform(0, columns - window_x), generator.uniform(0, rows - window_y)
    box = (left, top, left + window_x, top + window_y)
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC, box=box)) * 1.3


def illumination(generator: Generator, height: int, width: int, strength: float = 1.0) -> np.ndarray:
    """Light that falls on a scene: brightness, a gradient, a soft patch, a colour temperature.

    Returns:
        Gain of every pixel and channel, float32 (height, width, 3), for [`expose`].
    """
    angle = generator.uniform(0, 2 * np.pi)
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(np.cos(angle))
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(np.sin(angle))
    stops = generator.uniform(0, 0.6) * (across[None, :] + down[:, None])
    stops = stops + generator.uniform(0, 0.12) * smooth_noise(generator, height, width, max(height, width) / 2)
    warmth = generator.normal(0, 0.06)
    channels = np.array([warmth, generator.normal(0, 0.015), -warmth]) + generator.normal(0, 0.12)
    return np.exp(strength * (stops[:, :, None] + channels)).astype(np.float32)


def expose(frames: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """`frames`, uint8 (..., height, width, 3), under a light of [`illumination`]; what is too bright is clipped."""
    eighths = np.clip(np.rint(gain * 128), 0, 255).astype(np.uint16)  # 255 x 255 still fits
    return np.minimum((frames * eighths + 64) >> 7, 255).astype(np.uint8)


def camera_noise(frames: np.ndarray, generator: Generator, sigma: float) -> np.ndarray:
    """`frames`, uint8 (frames, height, width, 3), with the noise of a sensor: Gaussian, `sigma` grey levels.

    One block of noise is drawn and read from another place for every frame.
    """
    size = frames[0].size
    block = np.rint(generator.standard_normal(3 * size, np.float32) * sigma).astype(np.int16)
    noisy = np.empty_like(frames)
    for index, start in enumerate(generator.integers(0, len(block) - size + 1, len(frames)).tolist()):
        sum_ = frames[index] + block[start : start + size].reshape(frames[index].shape)
        np.clip(sum_, 0, 255, out=sum_)
        noisy[index] = sum_
    return noisy
