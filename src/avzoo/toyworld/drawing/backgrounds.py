"""What stands behind: walls, landscapes, patterns and noise, each picture a function of a generator."""

from collections.abc import Callable

import numpy as np

from .canvas import Canvas, Colour, Generator, random_colour, shade, smooth_noise

# Each draws a whole picture, uint8 (height, width, 3). Lengths are shares of the picture's size.
Painter = Callable[[Generator, int, int], np.ndarray]


def textured_background(generator: Generator, height: int, width: int, kind: str | None = None) -> np.ndarray:
    """A background of random kind, colours, scale and grain: uint8 (height, width, 3).

    Args:
        kind: one of `BACKGROUND_KINDS`. None: drawn.
    """
    drawn = BACKGROUND_KINDS[generator.integers(len(BACKGROUND_KINDS))]  # in any case: what follows is the same
    if kind is not None and kind not in BACKGROUND_KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(BACKGROUND_KINDS)}; got {kind!r}.")
    picture = _PAINTERS[kind or drawn](generator, height, width)
    size = max(height, width)
    grain = generator.uniform(0, 9) * smooth_noise(generator, height, width, 1 + generator.uniform(0, 0.015) * size)
    return np.clip(picture + np.rint(grain)[:, :, None], 0, 255).astype(np.uint8)


def _blend(amount: np.ndarray, colours: list[Colour]) -> np.ndarray:
    """Colours along a scale from 0 to 1, evenly spaced: uint8 (height, width, 3)."""
    scale = np.linspace(0, 1, len(colours))
    table = [np.interp(np.linspace(0, 1, 256), scale, channel) for channel in np.array(colours, float).T]
    return np.rint(np.stack(table, axis=1)).astype(np.uint8)[np.clip(amount * 255, 0, 255).astype(np.uint8)]


def _palette(generator: Generator, count: int) -> list[Colour]:
    """Colours that may, but need not, go together."""
    if generator.random() < 0.5:
        return [random_colour(generator, (0.05, 0.7), (0.2, 0.95)) for _ in range(count)]
    base = random_colour(generator, (0.05, 0.7), (0.3, 0.8))
    return [shade(base, generator.uniform(-0.5, 0.5)) for _ in range(count)]


def _grid(generator: Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels, turned by a random angle, 1 = the longer side: two arrays (height, width)."""
    angle = generator.uniform(0, np.pi)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    return (columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle))


def _gradient(generator: Generator, height: int, width: int) -> np.ndarray:
    along, across = _grid(generator, height, width)
    if generator.random() < 0.4:  # from a point outwards
        x, y = generator.uniform(0, 1, 2)
        along = np.hypot(along - along.mean() + 0.5 - x, across - across.mean() + 0.5 - y)
    amount = (along - along.min()) / np.ptp(along)
    return _blend(amount, _palette(generator, int(generator.integers(2, 4))))


def _stripes(generator: Generator, height: int, width: int) -> np.ndarray:
    along, across = _grid(generator, height, width)
    period = generator.uniform(0.04, 0.25)
    bend = generator.choice([0, 0, 0.02]) * np.sin(across * generator.uniform(6, 30))
    wave = np.sin(2 * np.pi * ((along + bend) / period + generator.uniform()))
    return _blend(0.5 + wave * generator.choice([0.5, 2, 20]), _palette(generator, 2))


def _checks(generator: Generator, height: int, width: int) -> np.ndarray:
    along, across = _grid(generator, height, width)
    period = generator.uniform(0.05, 0.25)
    product = np.sin(np.pi * along / period) * np.sin(np.pi * across / period * generator.choice([1, 1, 0.5]))
    return _blend(0.5 + product * 30, _palette(generator, 2))


def _clouds(generator: Generator, height: int, width: int) -> np.ndarray:
    """Noise of several scales: clouds, marble, foliage."""
    cell, roughness = generator.uniform(0.05, 0.5) * max(height, width), generator.uniform(0.3, 0.9)
    amount = sum(roughness**octave * smooth_noise(generator, height, width, cell / 2**octave) for octave in range(4))
    if generator.random() < 0.3:
        amount = 1.5 * np.sin(amount * generator.uniform(2, 5))
    return _blend(0.5 + 0.25 * amount, _palette(generator, int(generator.integers(2, 5))))


def _blobs(generator: Generator, height: int, width: int) -> np.ndarray:
    """Lights and leaves out of focus."""
    canvas = Canvas(height, width, _gradient(generator, height, width), supersample=2)
    size, opacity = max(height, width), int(generator.uniform(60, 256))
    largest, colours = generator.uniform(0.04, 0.16), _palette(generator, 4)
    for _ in range(generator.integers(10, 40)):
        radius = largest * size * generator.uniform(0.3, 1)
        centre = (generator.uniform(0, width), generator.uniform(0, height))
        radii = (radius, radius * generator.uniform(0.5, 1))
        canvas.ellipse(centre, radii, (*colours[generator.integers(4)], opacity), generator.uniform(0, 180))
    return canvas.array()


def _room(generator: Generator, height: int, width: int) -> np.ndarray:
    """A wall with pictures or a window, and often a floor."""
    wall = random_colour(generator, (0.02, 0.5), (0.45, 0.95))
    canvas = Canvas(height, width, wall, supersample=2)
    if generator.random() < 0.3:  # wallpaper
        step = width * generator.uniform(0.05, 0.15)
        for start in np.arange(-step * generator.uniform(), width, step):
            canvas.box(start, 0, start + step / 2, height, shade(wall, -0.08))
    for _ in range(generator.integers(0, 4)):
        left, top = generator.uniform(-0.05, 0.95) * width, generator.uniform(-0.05, 0.5) * height
        right, bottom = left + generator.uniform(0.12, 0.4) * width, top + generator.uniform(0.12, 0.4) * height
        border = generator.uniform(0.008, 0.03) * width
        canvas.box(left, top, right, bottom, random_colour(generator, (0, 0.6), (0.1, 0.9)))
        left, top, right, bottom = left + border, top + border, right - border, bottom - border
        canvas.box(left, top, right, bottom, random_colour(generator, (0.05, 0.7), (0.3, 1.0)))
        middle = top + (bottom - top) * generator.uniform(0.3, 0.8)
        band = random_colour(generator, (0.1, 0.8), (0.2, 0.9))
        canvas.box(left, middle, right, middle + 0.2 * (bottom - top), band)
    if generator.random() < 0.7:
        edge = generator.uniform(0.6, 0.9) * height
        floor = random_colour(generator, (0.1, 0.6), (0.2, 0.7))
        canvas.box(0, edge, width, height, floor)
        canvas.box(0, edge - 0.02 * height, width, edge, shade(wall, 0.5))
        if edge < 0.8 * height:  # boards that run away from the viewer
            for start in np.arange(generator.uniform(0, 0.1), 1, generator.uniform(0.06, 0.2)):
                board = [(start * width, edge), ((start * 2 - 0.5) * width, height)]
                canvas.line(board, 0.006 * width, shade(floor, -0.3))
    return canvas.array()


def _landscape(generator: Generator, height: int, width: int) -> np.ndarray:
    """Sky, hills one behind the other, meadow or street."""
    rows = np.linspace(0, 1, height)[:, None] * np.ones(width)
    sky = [random_colour(generator, (0.1, 0.6), (0.5, 1.0)) for _ in range(2)]
    canvas = Canvas(height, width, _blend(rows, sky), supersample=2)
    ground = random_colour(generator, (0.15, 0.7), (0.3, 0.8))
    ridge, count = generator.uniform(0.3, 0.6), int(generator.integers(1, 4))
    for layer in range(count):
        edge = np.linspace(-0.1, 1.1, 7)
        heights = ridge + 0.12 * layer + generator.normal(0, 0.05, 7) * (layer < count - 1 or count == 1)
        top = [(x * width, y * height) for x, y in zip(edge, heights, strict=True)]
        outline = [(-0.1 * width, 1.1 * height), *top, (1.1 * width, 1.1 * height)]
        canvas.polygon(outline, shade(ground, 0.4 - 0.3 * layer + generator.uniform(-0.1, 0.1)))
    return canvas.array()


def _bricks(generator: Generator, height: int, width: int) -> np.ndarray:
    """Bricks, tiles, or books on shelves: rows of boxes of like colours."""
    colours = _palette(generator, int(generator.choice([1, 1, 2, 5])))
    canvas = Canvas(height, width, shade(colours[0], generator.uniform(-0.6, 0.5)), supersample=2)
    row_height, length = generator.uniform(0.05, 0.25) * height, generator.uniform(0.05, 0.3) * width
    gap, unevenness = generator.uniform(0.03, 0.1) * row_height, generator.choice([0, 0.1, 0.5])
    for row in range(int(height / row_height) + 1):
        start = -length * (row % 2) / 2
        while start < width:
            wide = max(length * (1 + unevenness * generator.uniform(-1, 1)), 3)
            colour = shade(colours[generator.integers(len(colours))], generator.uniform(-0.15, 0.15))
            canvas.box(start, row * row_height, start + wide - gap, (row + 1) * row_height - gap, colour)
            start += wide
    return canvas.array()


_PAINTERS: dict[str, Painter] = {
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "clouds": _clouds,
    "blobs": _blobs,
    "room": _room,
    "landscape": _landscape,
    "bricks": _bricks,
}
BACKGROUND_KINDS: tuple[str, ...] = tuple(_PAINTERS)
