"""Clips of a shape that trembles too fast for every fourth frame: for networks with two frame rates.

    clip = rapid_sentence(9)
    clip["frames"]                    # uint8 (frames, 20, 20, 3), 25 per second
    clip["glosses"], clip["spans"]    # ["SQUARE-UPRIGHT", "SQUARE-ACROSS"], [[1, 11], [15, 25]]

A gloss is a shape and a motion: a bright diamond or the outline of a square, 9 x 9 pixels, that swings by 4 pixels
across or upright about its place. A swing takes exactly four frames, so every fourth frame shows the shape where it
was: 4 pixels off its place in one half of the phases, at its place in the other. In a picture of 20 x 20 pixels a shape
off its place tells its motion, as no place lies there; at its place both motions look the same. Whoever sees only every
fourth frame therefore takes one gloss in four for its twin. Between glosses, and for a frame at both ends of a clip, a
shape does not swing.
"""

from typing import Any

import numpy as np

from .drawing.sign_glosses import free_sequence
from .signs import SignVideos
from .worlds import check_seed

FPS = 25
SWING = 4  # pixels to either side
PERIOD = 4  # frames
GLIDE = 4  # frames from the place of one gloss to that of the next
FRAMES_PER_GLOSS = (8, 11)  # both included
MOST_GLOSSES = 3  # of a sentence whose length is drawn

_RADIUS = 4  # of a shape, without its middle pixel
_DARK, _BRIGHT, _NOISE = 0.2, 0.9, 0.05  # the last is a standard deviation
_Y, _X = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
SHAPES: dict[str, np.ndarray] = {
    "DIAMOND": np.abs(_X) + np.abs(_Y) <= _RADIUS,
    "SQUARE": np.maximum(np.abs(_X), np.abs(_Y)) >= _RADIUS - 1,
}
MOTIONS: dict[str, tuple[int, int]] = {"ACROSS": (1, 0), "UPRIGHT": (0, 1)}  # direction, (x, y)
RAPID_GLOSSES: tuple[str, ...] = tuple(f"{shape}-{motion}" for shape in SHAPES for motion in MOTIONS)


def rapid_sentence(seed: int, *, size: int = 20, num_glosses: int | None = None) -> dict[str, Any]:
    """One sentence with its truth. The same arguments give the same bytes.

    Args:
        size: height and width of a frame in pixels, 20 or more.
        num_glosses: length of the sentence; none follows itself. None: 1 to 3, drawn.

    Returns:
        dict of
        - `frames`, uint8 (frames, size, size, 3), grey; `fps`, 25;
        - `glosses`, names in order; `labels`, their indices in `RAPID_GLOSSES`; `spans`, [first frame, frame after the
          last] of each, with a glide of 4 frames from place to place between two, and a frame without motion at both
          ends, which networks may repeat;
        - `centers`, int64 (frames, 2): (x, y) of the shape's middle pixel;
        - `phases`, quarters of a swing at the first frame of each gloss, 0 to 3: at 0 the shape is at its place;
        - `seed`.

    Raises:
        ValueError: an argument out of range.
    """
    check_seed(seed)
    if size < 20:
        raise ValueError(f"`size` must be 20 or more, got {size}.")
    if num_glosses is not None and num_glosses < 1:
        raise ValueError(f"`num_glosses` must be 1 or more, got {num_glosses}.")
    generator = np.random.default_rng(int(seed))
    drawn = int(generator.integers(1, MOST_GLOSSES + 1))
    names = free_sequence(generator, list(RAPID_GLOSSES), num_glosses or drawn)
    phases = generator.integers(0, PERIOD, len(names)).tolist()
    centers, shapes, spans = _move_shapes(names, phases, size, generator)
    return {
        "frames": _render_frames(centers, shapes, size, generator),
        "fps": FPS,
        "glosses": names,
        "labels": [RAPID_GLOSSES.index(name) for name in names],
        "spans": spans,
        "centers": centers,
        "phases": phases,
        "seed": int(seed),
    }


def _move_shapes(
    names: list[str], phases: list[int], size: int, generator: np.random.Generator
) -> tuple[np.ndarray, list[str], list[list[int]]]:
    """(centers (frames, 2), shape of each frame, first frame and frame after the last of each gloss)."""
    lengths = generator.integers(FRAMES_PER_GLOSS[0], FRAMES_PER_GLOSS[1] + 1, len(names))
    margin = _RADIUS + SWING
    places = generator.integers(margin, size - margin, (len(names), 2))
    swing = np.rint(SWING * np.sin(2 * np.pi * np.arange(PERIOD) / PERIOD)).astype(int)  # 0, 4, 0, -4
    centers, shapes, spans = [places[:1]], [names[0].split("-")[0]], []
    for index, (name, phase, length) in enumerate(zip(names, phases, lengths, strict=True)):
        shape, motion = name.split("-")
        if index:
            share = np.arange(1, GLIDE + 1)[:, None] / (GLIDE + 1)
            centers.append(np.rint(places[index - 1] + share * (places[index] - places[index - 1])).astype(int))
            shapes += [shapes[-1]] * (GLIDE // 2) + [shape] * (GLIDE - GLIDE // 2)
        spans.append([len(shapes), len(shapes) + int(length)])
        centers.append(places[index] + swing[(phase + np.arange(length)) % PERIOD, None] * np.array(MOTIONS[motion]))
        shapes += [shape] * int(length)
    centers.append(places[-1:])
    shapes.append(shapes[-1])
    return np.concatenate(centers), shapes, spans


def _render_frames(centers: np.ndarray, shapes: list[str], size: int, generator: np.random.Generator) -> np.ndarray:
    pictures = generator.normal(_DARK, _NOISE, (len(centers), size, size))
    for picture, (x, y), shape in zip(pictures, centers, shapes, strict=True):
        rows, columns = slice(y - _RADIUS, y + _RADIUS + 1), slice(x - _RADIUS, x + _RADIUS + 1)
        picture[rows, columns] += (_BRIGHT - _DARK) * SHAPES[shape]
    grey = np.rint(255 * np.clip(pictures, 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


class RapidSigns(SignVideos):
    """Data set of [`rapid_sentence`] clips.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        settings: keyword arguments of [`rapid_sentence`].
    """

    name = "rapid_signs"
    version = 1
    make = staticmethod(rapid_sentence)
