"""Things that sound, drawn: sixteen categories, each with a look of its own every time.

    paint = OBJECTS["dog"](generator)     # all choices are made here
    paint(canvas.at((60, 50), scale=30))  # the same dog wherever it is put, within about [-1, 1] x [-1, 1]

What tells a category is its shape. Colours come from one pool for all, so do contours, tilt and mirror image. The
animals are in `animals.py`.
"""

from collections.abc import Callable

import numpy as np

from .animals import bird, cat, dog, frog
from .canvas import Canvas, Generator, bezier, mix_colours, shade
from .parts import DARK, Paint, part_colours

# ---------------------------------------------------------------------------------------------- instruments


def bell(generator: Generator) -> Paint:
    metal, band = part_colours(generator, 2)
    flare, height = generator.uniform(0.75, 0.98), generator.uniform(0.85, 1.05)
    bands, ring, swing = int(generator.integers(0, 3)), generator.random() < 0.6, generator.uniform(-0.2, 0.2)

    def paint(canvas: Canvas) -> None:
        top = -0.7 * height
        if ring:
            canvas.arc((0, top - 0.08), 0.15, 0, 360, 0.09, shade(metal, -0.3))
        else:
            canvas.line([(0, top), (0, top - 0.28)], [0.14, 0.22], band)
        canvas.ellipse((swing, 0.72), 0.17, shade(metal, -0.5))
        half = [(0.0, top), (0.25, top + 0.05), (0.42, -0.3), (0.5, 0.2), (0.64, 0.45), (flare, 0.66)]
        canvas.polygon([(-x, y) for x, y in half[::-1]] + half[1:], metal)
        canvas.line([(-flare, 0.66), (flare, 0.66)], 0.12, shade(metal, -0.2))
        for index in range(bands):
            x = 0.47 + 0.12 * index
            canvas.line([(-x, 0.12 + 0.25 * index), (x, 0.12 + 0.25 * index)], 0.07, band)
        canvas.line([(-0.22, -0.4), (-0.3, 0.1)], 0.07, shade(metal, 0.55))

    return paint


def guitar(generator: Generator) -> Paint:
    wood, neck, guard = part_colours(generator, 3)
    waist, lower = generator.uniform(0.28, 0.36), generator.uniform(0.44, 0.55)
    lean, strings = generator.uniform(-40, 40), int(generator.integers(3, 7))
    electric, with_guard = generator.random(2) < (0.3, 0.4)

    def paint(canvas: Canvas) -> None:
        canvas = canvas.at(angle=lean)
        canvas.line([(0, 0), (0, -0.78)], 0.17, neck)
        canvas.polygon([(-0.12, -0.74), (0.12, -0.74), (0.16, -1.05), (-0.16, -1.05)], shade(neck, -0.25))
        for side in (-1, 1):
            for y in (-0.82, -0.92, -1.0):
                canvas.ellipse((side * 0.18, y), 0.04, (215, 215, 205))
        half = [(0, 0.98), (lower * 0.8, 0.92), (lower, 0.6), (waist, 0.25), (0.38, -0.05), (0.24, -0.26), (0, -0.24)]
        if electric:
            half = [*half[:4], (0.42, -0.1), (0.36, -0.4), (0.13, -0.1)]
        canvas.polygon([(-x, y) for x, y in half[::-1]] + half[1:-1], wood, smooth=True)
        if with_guard:
            canvas.ellipse((0.2, 0.3), (0.13, 0.24), guard, angle=15)
        if electric:
            for y in (0.15, 0.4):
                canvas.box(-0.16, y, 0.16, y + 0.09, DARK)
        else:
            canvas.ellipse((0, 0.16), 0.17, shade(wood, -0.75))
            canvas.arc((0, 0.16), 0.19, 0, 360, 0.04, guard)
        canvas.box(-0.2, 0.62, 0.2, 0.7, shade(wood, -0.6))
        for index in range(6):
            y = -0.7 + 0.1 * index
            canvas.line([(-0.075, y), (0.075, y)], 0.02, shade(neck, 0.5))
        for x in np.linspace(-0.055, 0.055, strings):
            canvas.line([(x, -0.98), (x * 1.6, 0.66)], 0.012, (235, 235, 230))

    return paint


def drum(generator: Generator) -> Paint:
    shell, rim, cord = part_colours(generator, 3)
    wide, high, flat = generator.uniform(0.65, 0.85), generator.uniform(0.55, 0.95), generator.uniform(0.18, 0.28)
    zigzags, sticks = int(generator.integers(3, 7)), generator.uniform(-0.15, 0.15, 2)

    def paint(canvas: Canvas) -> None:
        top, bottom = -0.15, -0.15 + high
        canvas.ellipse((0, bottom), (wide, flat), shade(rim, -0.15))
        canvas.polygon([(-wide, top), (wide, top), (wide, bottom - 0.06), (-wide, bottom - 0.06)], shell)
        canvas.ellipse((0, bottom - 0.08), (wide, flat), shell)
        angles = np.linspace(np.pi, 0, 2 * zigzags + 1)
        x, dip = wide * np.cos(angles), flat * np.sin(angles)
        low = np.arange(2 * zigzags + 1) % 2
        canvas.line(np.stack([x, np.where(low, bottom - 0.05, top + 0.05) + dip], axis=1), 0.045, cord)
        canvas.ellipse((0, top), (wide + 0.04, flat + 0.03), rim)
        canvas.ellipse((0, top), (wide - 0.05, flat - 0.05), (240, 235, 220))
        for side, shift in zip((-1, 1), sticks, strict=True):
            end, tip = (side * 0.8, -0.75 + shift), (side * 0.12, top + 0.02)
            canvas.line([end, tip], 0.06, (200, 160, 105))
            canvas.ellipse(tip, (0.09, 0.07), (225, 190, 140))

    return paint


def piano(generator: Generator) -> Paint:
    """An upright, or a grand seen from the side; both with black and white keys."""
    wood, trim = part_colours(generator, 2)
    keys, wide = int(generator.integers(7, 13)), generator.uniform(0.8, 1.0)
    grand, stand = generator.random(2) < (0.4, 0.6)

    def keyboard(canvas: Canvas, left: float, right: float, top: float, bottom: float) -> None:
        canvas.box(left, top, right, bottom, (250, 248, 240))
        edges = np.linspace(left, right, keys + 1)
        for index, x in enumerate(edges[1:-1], 1):
            canvas.line([(x, top), (x, bottom)], 0.018, DARK)
            if index % 7 not in (3, 0):
                half = 0.28 * (right - left) / keys
                canvas.box(x - half, top, x + half, top + 0.6 * (bottom - top), DARK)

    def upright(canvas: Canvas) -> None:
        for side in (-1, 1):
            canvas.box(side * 0.88 * wide - 0.06, 0.2, side * 0.88 * wide + 0.06, 0.85, shade(wood, -0.4))
        canvas.box(-0.9 * wide, -0.8, 0.9 * wide, 0.75, wood)
        canvas.box(-0.97 * wide, -0.88, 0.97 * wide, -0.76, shade(wood, -0.25))
        canvas.box(-0.75 * wide, 0.4, 0.75 * wide, 0.66, shade(wood, 0.15))
        if stand:
            canvas.box(-0.3, -0.55, 0.3, -0.12, (245, 243, 232))
            for y in (-0.45, -0.35, -0.25):
                canvas.line([(-0.24, y), (0.24, y)], 0.02, DARK)
        canvas.box(-0.98 * wide, -0.04, 0.98 * wide, 0.34, shade(trim, -0.3))
        keyboard(canvas, -0.9 * wide, 0.9 * wide, 0.0, 0.26)

    def grand_piano(canvas: Canvas) -> None:
        for x in (-0.75, 0.0, 0.75):
            canvas.line([(x, 0.2), (x, 0.88)], [0.12, 0.07], shade(wood, -0.4))
        lid = [(-0.55, -0.15), (-0.75, -0.92), (0.2, -0.85), (0.95, -0.45), (0.95, -0.12)]
        canvas.polygon(lid, shade(wood, 0.25))
        canvas.line([(0.35, -0.1), (0.15, -0.72)], 0.04, DARK)
        canvas.box(-0.95, -0.16, 0.97, 0.12, wood)
        canvas.box(-0.97, 0.1, 0.97, 0.3, shade(wood, -0.25))
        keyboard(canvas, -0.93, 0.3, 0.02, 0.26)

    return grand_piano if grand else upright


# --------------------------------------------------------------------------------------- machines and weather


def clock(generator: Generator) -> Paint:
    rim, hands = part_colours(generator, 2)
    dial = mix_colours((250, 248, 240), rim, generator.uniform(0, 0.35))
    square, feet, roman = generator.random(3) < (0.3, 0.35, 0.5)
    minute, hour = generator.uniform(0, 360, 2)
    thick = generator.uniform(0.08, 0.18)

    def paint(canvas: Canvas) -> None:
        if feet:
            for side in (-1, 1):
                canvas.line([(side * 0.45, 0.6), (side * 0.62, 0.92)], 0.12, shade(rim, -0.4))
                canvas.ellipse((side * 0.48, -0.75), (0.27, 0.2), shade(rim, 0.3), angle=side * 30)
        if square:
            canvas.box(-0.82, -0.82, 0.82, 0.82, rim)
        else:
            canvas.ellipse((0, 0), 0.86, rim)
        canvas.ellipse((0, 0), 0.86 - thick, dial)
        for angle in np.arange(12) * np.pi / 6:
            inner = 0.52 if roman or angle % (np.pi / 2) < 0.01 else 0.6
            ends = [(radius * np.sin(angle), -radius * np.cos(angle)) for radius in (inner, 0.66)]
            canvas.line(ends, 0.05, DARK)
        hand = canvas.at(angle=hour)
        hand.line([(0, 0.08), (0, -0.36)], [0.11, 0.06], shade(hands, -0.45))
        hand = canvas.at(angle=minute)
        hand.line([(0, 0.1), (0, -0.58)], [0.08, 0.04], shade(hands, -0.45))
        canvas.ellipse((0, 0), 0.07, DARK)

    return paint


def siren(generator: Generator) -> Paint:
    """A beacon on its base, with rays when lit."""
    glass, base = part_colours(generator, 2)
    wide, high, rays = generator.uniform(0.4, 0.52), generator.uniform(0.75, 0.95), int(generator.choice([0, 5, 7]))
    stripes = generator.random() < 0.5

    def paint(canvas: Canvas) -> None:
        for angle in np.radians(np.linspace(-170, -10, rays)):
            ends = [(radius * np.cos(angle), 0.2 + radius * np.sin(angle)) for radius in (0.95, 1.2)]
            canvas.line(ends, 0.08, shade(glass, 0.45))
        angles = np.radians(np.linspace(180, 360, 13))
        dome = [(wide * np.cos(angle), -0.05 + 0.62 * high * np.sin(angle)) for angle in angles]
        canvas.polygon([(-wide, 0.48), *dome, (wide, 0.48)], glass)
        canvas.ellipse((0, 0.1), (0.2, 0.26), shade(glass, 0.65))
        canvas.line([(-0.66 * wide, 0.3), (-0.66 * wide, -0.1), (-0.4 * wide, -0.38 * high)], 0.07, shade(glass, 0.5))
        canvas.box(-0.15, 0.3, 0.15, 0.48, shade(base, -0.5))
        canvas.box(-wide - 0.12, 0.45, wide + 0.12, 0.64, shade(base, -0.1))
        canvas.polygon([(-wide - 0.2, 0.64), (wide + 0.2, 0.64), (wide + 0.3, 0.92), (-wide - 0.3, 0.92)], base)
        for x in (-0.35, 0, 0.35) if stripes else ():
            canvas.line([(x - 0.06, 0.88), (x + 0.06, 0.68)], 0.09, shade(base, 0.6))

    return paint


def rain_cloud(generator: Generator) -> Paint:
    vapour, water = part_colours(generator, 2)
    vapour = mix_colours(vapour, (200, 205, 215), 0.35)
    count, slant = int(generator.integers(4, 7)), generator.uniform(-0.2, 0.2)
    x = np.linspace(-0.62, 0.62, count) + generator.uniform(-0.06, 0.06, count)
    radius = generator.uniform(0.24, 0.4, count) * (1 - 0.35 * np.abs(x))
    drops = [(-0.6 + 0.3 * index, generator.uniform(0.2, 0.6)) for index in range(5)]

    def paint(canvas: Canvas) -> None:
        for left, top in drops:
            ends = [(left, top), (left + slant, top + 0.32)]
            canvas.line(ends, [0.03, 0.11], water)
        for place, size in zip(x, radius, strict=True):
            canvas.ellipse((place, -0.25 - 0.7 * size), size * 1.1, shade(vapour, 0.12))
        canvas.line([(-0.7, -0.18), (0.7, -0.18)], 0.5, vapour)
        canvas.line([(-0.65, -0.02), (0.65, -0.02)], 0.14, shade(vapour, -0.2))

    return paint


def car(generator: Generator) -> Paint:
    paintwork, rims, light = part_colours(generator, 3)
    roof, bonnet = generator.uniform(-0.62, -0.45), generator.uniform(-0.12, 0.0)
    front, back = generator.uniform(0.45, 0.6), generator.uniform(-0.9, -0.6)
    wheel, doors, rack = generator.uniform(0.19, 0.25), generator.random() < 0.6, generator.random() < 0.25

    def paint(canvas: Canvas) -> None:
        cabin = [(back + 0.05, bonnet), (back + 0.22, roof), (front - 0.35, roof), (front, bonnet)]
        canvas.polygon(cabin, shade(paintwork, -0.12))
        middle = (back + front) / 2 - 0.05
        glass = (195, 220, 235)
        canvas.polygon(
            [(back + 0.18, bonnet), (back + 0.3, roof + 0.1), (middle - 0.04, roof + 0.1), (middle - 0.04, bonnet)],
            glass,
        )
        canvas.polygon(
            [(middle + 0.04, bonnet), (middle + 0.04, roof + 0.1), (front - 0.38, roof + 0.1), (front - 0.1, bonnet)],
            glass,
        )
        if rack:
            canvas.line([(back + 0.3, roof - 0.07), (front - 0.45, roof - 0.07)], 0.06, DARK)
        hull = [
            (-1, bonnet + 0.1),
            (back, bonnet - 0.02),
            (front, bonnet - 0.02),
            (0.92, bonnet + 0.12),
            (1.0, 0.42),
            (-1.0, 0.42),
        ]
        canvas.polygon(hull, paintwork)
        canvas.line([(-1, 0.38), (1, 0.38)], 0.09, shade(paintwork, -0.5))
        if doors:
            canvas.line([(middle, bonnet), (middle, 0.34)], 0.025, shade(paintwork, -0.5))
            canvas.line([(middle + 0.08, 0.08), (middle + 0.2, 0.08)], 0.04, shade(paintwork, -0.6))
        canvas.ellipse((0.9, bonnet + 0.24), (0.09, 0.08), shade(light, 0.7))
        for x in (-0.55, 0.57):
            canvas.ellipse((x, 0.42), wheel, DARK)
            canvas.ellipse((x, 0.42), 0.55 * wheel, shade(rims, 0.4))
            canvas.ellipse((x, 0.42), 0.2 * wheel, DARK)

    return paint


def train(generator: Generator) -> Paint:
    """A steam engine from the side."""
    boiler, cabin, wheels = part_colours(generator, 3)
    count, puffs = int(generator.integers(3, 5)), int(generator.integers(0, 4))
    chimney, length = generator.uniform(0.25, 0.45), generator.uniform(0.9, 1.05)

    def paint(canvas: Canvas) -> None:
        for index in range(puffs):
            canvas.ellipse((0.5 - 0.27 * index, -0.72 - 0.06 * index), 0.13 + 0.04 * index, (225, 225, 230))
        canvas.polygon(
            [(0.42, -0.2), (0.6, -0.2), (0.66, -0.25 - chimney), (0.36, -0.25 - chimney)], shade(boiler, -0.5)
        )
        canvas.ellipse((0.08, -0.25), (0.13, 0.16), shade(boiler, 0.35))
        canvas.line([(-0.2, 0.02), (0.65 * length, 0.02)], 0.5, boiler)
        canvas.ellipse((0.72 * length, 0.02), (0.2, 0.26), shade(boiler, -0.25))
        for x in (-0.02, 0.3):
            canvas.line([(x, -0.22), (x, 0.26)], 0.05, shade(cabin, -0.1))
        canvas.box(-0.92, -0.55, -0.25, 0.3, cabin)
        canvas.box(-1.0, -0.68, -0.17, -0.53, shade(cabin, -0.4))
        canvas.box(-0.77, -0.4, -0.4, -0.05, (205, 225, 235))
        canvas.box(-0.95, 0.27, 0.8 * length, 0.42, shade(boiler, -0.55))
        canvas.polygon([(0.7 * length, 0.3), (1.02, 0.72), (0.68, 0.72)], shade(wheels, -0.3))
        places = np.linspace(-0.68, 0.48, count)
        for x in places:
            canvas.ellipse((x, 0.52), 0.2, DARK)
            canvas.ellipse((x, 0.52), 0.14, wheels)
        canvas.line([(places[0], 0.56), (places[-1], 0.56)], 0.06, (190, 190, 195))

    return paint


def fan(generator: Generator) -> Paint:
    blade, cage = part_colours(generator, 2)
    blades, spin, turn = int(generator.integers(3, 6)), generator.uniform(0, 360), generator.uniform(0.85, 1.0)
    spokes, short = int(generator.choice([0, 8, 12])), generator.uniform(0.8, 0.92)

    def paint(canvas: Canvas) -> None:
        canvas.line([(0, 0.2), (0, short)], 0.1, shade(cage, -0.3))
        canvas.ellipse((0, short), (0.42, 0.12), shade(cage, -0.4))
        head = canvas.at((0, -0.28), scale=(turn, 1.0))
        head.ellipse((0, 0), 0.68, mix_colours(cage, (235, 235, 240), 0.75))
        for index in range(blades):
            part = head.at(angle=spin + index * 360 / blades)
            part.polygon([(0, 0), (0.28, -0.2), (0.58, -0.16), (0.6, 0.1), (0.3, 0.1)], blade, smooth=True)
        for index in range(spokes):
            angle = 2 * np.pi * index / spokes
            head.line([(0, 0), (0.66 * np.cos(angle), 0.66 * np.sin(angle))], 0.018, shade(cage, -0.2))
        head.arc((0, 0), 0.4, 0, 360, 0.025, shade(cage, -0.2))
        head.arc((0, 0), 0.68, 0, 360, 0.08, cage)
        head.ellipse((0, 0), 0.15, shade(cage, -0.25))

    return paint


def telephone(generator: Generator) -> Paint:
    case, handset, dial = part_colours(generator, 3)
    handset = case if generator.random() < 0.5 else handset
    wide, buttons, cord = generator.uniform(0.85, 1.05), generator.random() < 0.4, generator.random() < 0.6

    def paint(canvas: Canvas) -> None:
        if cord:
            canvas.line(
                [(-0.7, 0.3), (-1.0, 0.55), (-0.85, 0.85), (-0.6, 0.8)], 0.06, shade(handset, -0.4), smooth=True
            )
        outline = [
            (-0.32, -0.42),
            (0.32, -0.42),
            (0.5, -0.05),
            (0.82 * wide, 0.78),
            (-0.82 * wide, 0.78),
            (-0.5, -0.05),
        ]
        canvas.polygon(outline, case)
        canvas.box(-0.86 * wide, 0.72, 0.86 * wide, 0.84, shade(case, -0.4))
        if buttons:
            for row in range(4):
                for column in range(3):
                    x, y = (column - 1) * 0.24, -0.02 + row * 0.19
                    canvas.box(x - 0.08, y - 0.06, x + 0.08, y + 0.06, shade(dial, 0.5))
        else:
            canvas.ellipse((0, 0.28), 0.38, shade(dial, 0.45))
            for angle in np.radians(np.arange(10) * 30 - 60):
                canvas.ellipse((0.27 * np.cos(angle), 0.28 + 0.27 * np.sin(angle)), 0.065, DARK)
            canvas.ellipse((0, 0.28), 0.13, dial)
        for side in (-1, 1):
            canvas.line([(side * 0.26, -0.3), (side * 0.26, -0.48)], 0.1, shade(case, -0.3))
        grip = bezier([(-0.72, -0.48), (-0.4, -0.85), (0.4, -0.85), (0.72, -0.48)])
        canvas.line(grip, 0.2, handset)
        for side in (-1, 1):
            canvas.ellipse((side * 0.74, -0.4), (0.24, 0.17), handset, angle=side * 35)

    return paint


def computer(generator: Generator) -> Paint:
    """A laptop: rows of keys below a screen."""
    case, keys, screen = part_colours(generator, 3)
    keys = shade(keys, generator.choice([-0.6, 0.6]))
    rows, columns = int(generator.integers(3, 5)), int(generator.integers(8, 12))
    lean, lines = generator.uniform(0.0, 0.12), generator.uniform(0.3, 1.0, 5)
    picture = generator.random() < 0.5

    def paint(canvas: Canvas) -> None:
        canvas.polygon([(-0.72 + lean, -0.85), (0.72 - lean, -0.85), (0.76, 0.12), (-0.76, 0.12)], shade(case, -0.15))
        canvas.polygon([(-0.63 + lean, -0.76), (0.63 - lean, -0.76), (0.66, 0.03), (-0.66, 0.03)], screen)
        if picture:
            canvas.ellipse((0.1, -0.35), (0.3, 0.22), shade(screen, 0.5))
        else:
            for index, share in enumerate(lines):
                y = -0.62 + 0.13 * index
                canvas.line([(-0.5, y), (-0.5 + share, y)], 0.045, shade(screen, 0.7 if sum(screen) < 400 else -0.7))
        canvas.polygon([(-0.78, 0.12), (0.78, 0.12), (1.0, 0.8), (-1.0, 0.8)], case)
        canvas.box(-1.0, 0.8, 1.0, 0.88, shade(case, -0.4))
        for row in range(rows):
            y, height = 0.2 + 0.4 * row / rows, 0.3 / rows
            half = 0.72 + 0.13 * (y - 0.2) / 0.4
            edges = np.linspace(-half, half, columns + 1)
            for left, right in zip(edges[:-1] + 0.02, edges[1:] - 0.02, strict=True):
                canvas.box(left, y, right, y + height, keys)
        canvas.polygon([(-0.2, 0.64), (0.2, 0.64), (0.22, 0.76), (-0.22, 0.76)], shade(case, -0.25))

    return paint


OBJECTS: dict[str, Callable[[Generator], Paint]] = {
    "bell": bell,
    "bird": bird,
    "car": car,
    "cat": cat,
    "clock": clock,
    "computer": computer,
    "dog": dog,
    "drum": drum,
    "fan": fan,
    "frog": frog,
    "guitar": guitar,
    "piano": piano,
    "rain_cloud": rain_cloud,
    "siren": siren,
    "telephone": telephone,
    "train": train,
}
