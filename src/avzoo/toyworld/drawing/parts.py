"""What all drawn things are made with: colours that tell nothing about the thing, eyes."""

from collections.abc import Callable

from .canvas import Canvas, Colour, Generator, random_colour

Paint = Callable[[Canvas], None]

DARK: Colour = (28, 26, 30)


def part_colours(generator: Generator, count: int) -> list[Colour]:
    """Colours of the parts of one thing: unlike each other, unrelated to what it is."""
    return [random_colour(generator, (0.05, 0.95), (0.3, 1.0)) for _ in range(count)]


def eye(canvas: Canvas, place: tuple[float, float], radius: float, iris: Colour = (250, 250, 245)) -> None:
    canvas.ellipse(place, radius, iris)
    canvas.ellipse(place, 0.6 * radius, DARK)
    canvas.ellipse((place[0] - 0.2 * radius, place[1] - 0.25 * radius), 0.22 * radius, (255, 255, 255))
