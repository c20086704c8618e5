"""Who signs: a drawn upper body whose arms follow the hands.

Everything is in the units of `sign_glosses.py`, drawn as seen by somebody opposite: x towards the signer's dominant
side, y down, z towards the viewer, from which only the size of the hands and the bend of the arms remain.
"""

import math
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Colour, Generator, hsv_colour, mix_colours, random_colour, shade
from .parts import DARK
from .sign_glosses import HAND_SHAPES, mirror_pose

_SHOULDER = (0.86, 0.12, 0.0)
_SKINS = ((255, 224, 196), (240, 200, 165), (224, 172, 130), (198, 134, 88), (150, 96, 62), (100, 62, 42))
_RESTS = ((0.95, 1.95, 0.2, 85), (0.35, 1.55, 0.5, -165), (0.75, 1.75, 0.4, 130))  # at the side, folded, on the hip


@dataclass(frozen=True)
class Signer:
    """A person: how they look and how they move.

    Attributes:
        left_handed: the dominant hand is the left one (on the right of the picture).
        tempo: speed of signing, 1 = average.
        amplitude: size of movements, 1 = average.
        shift: where this person's places lie, beside everybody's: (x, y, z).
        crispness: how far fingers are stretched, 0 to 1.
        bend: stray of transitions from the straight way, in units of the body.
    """

    skin: Colour
    hair: Colour
    hair_style: int
    beard: bool
    glasses: bool
    face_width: float
    shoulder_width: float
    arm_length: float
    hand_size: float
    left_handed: bool
    tempo: float
    amplitude: float
    shift: np.ndarray
    crispness: float
    bend: float
    rest: np.ndarray  # (2, POSE_SIZE): where the hands are when nothing is signed


def signer(identity: int) -> Signer:
    """The person of this number: always the same one."""
    generator = np.random.default_rng([identity, 0x516F])
    skin = mix_colours(*(_SKINS[index] for index in generator.integers(0, len(_SKINS), 2)), generator.uniform())
    hair = hsv_colour(generator.uniform(0.02, 0.13), generator.uniform(0.1, 0.7), generator.uniform(0.1, 0.75))
    x, y, z, pointing = _RESTS[generator.integers(len(_RESTS))]
    relaxed = np.array([x, y, z, pointing, *HAND_SHAPES["flat"]])
    relaxed[5:9] = generator.uniform(0.4, 0.9)
    return Signer(
        skin=skin,
        hair=hair,
        hair_style=int(generator.integers(4)),
        beard=bool(generator.random() < 0.25),
        glasses=bool(generator.random() < 0.3),
        face_width=float(generator.uniform(0.37, 0.46)),
        shoulder_width=float(generator.uniform(0.9, 1.12)),
        arm_length=float(generator.uniform(0.94, 1.08)),
        hand_size=float(generator.uniform(0.9, 1.12)),
        left_handed=bool(generator.random() < 0.2),
        tempo=float(np.exp(generator.uniform(-0.28, 0.28))),
        amplitude=float(generator.uniform(0.8, 1.25)),
        shift=generator.normal(0, 0.05, 3),
        crispness=float(generator.uniform(0.85, 1.0)),
        bend=float(generator.uniform(0.05, 0.25)),
        rest=np.stack([relaxed, mirror_pose(relaxed)]),
    )


@dataclass(frozen=True)
class Clothes:
    """What the signer wears in one clip."""

    colour: Colour
    trousers: Colour
    long_sleeves: bool
    stripes: int
    collar: bool


def draw_clothes(generator: Generator) -> Clothes:
    """Random clothes."""
    return Clothes(
        colour=random_colour(generator, (0.05, 0.8), (0.12, 0.9)),
        trousers=random_colour(generator, (0.1, 0.6), (0.1, 0.5)),
        long_sleeves=bool(generator.random() < 0.6),
        stripes=int(generator.choice([0, 0, 0, 3, 5])),
        collar=bool(generator.random() < 0.4),
    )


def elbow(shoulder: np.ndarray, wrist: np.ndarray, upper: float, lower: float, side: int) -> tuple:
    """Where the elbow of an arm goes, and the wrist, drawn in where it is too far away.

    Args:
        shoulder, wrist: places (3,). upper, lower: lengths of the arm's parts. side: 1 or -1, where "outwards" is.

    Returns:
        (elbow (3,), wrist (3,)): the elbow hangs down and outwards as far as the lengths allow.
    """
    reach = wrist - shoulder
    distance = float(np.sqrt(reach @ reach))
    along = reach / max(distance, 1e-6)
    distance = min(max(distance, abs(upper - lower) + 0.05), 0.995 * (upper + lower))
    middle = (distance**2 + upper**2 - lower**2) / (2 * distance)
    away = math.sqrt(max(upper**2 - middle**2, 0.0))
    outwards = np.array([0.75 * side, 1.0, -0.35])
    outwards = outwards - (outwards @ along) * along
    outwards /= max(float(np.sqrt(outwards @ outwards)), 1e-6)
    return shoulder + middle * along + away * outwards, shoulder + distance * along


def draw_signer(
    canvas: Canvas, person: Signer, clothes: Clothes, poses: np.ndarray, sway: float, blink: bool
) -> np.ndarray:
    """Draw one frame in units of the body, the origin between the shoulders.

    Args:
        poses: (2, `POSE_SIZE` of `sign_glosses.py`), the dominant hand and the other.
        sway: of the head, degrees.

    Returns:
        Places of the wrists as drawn, (2, 2).
    """
    cloth = clothes.colour
    wide = person.shoulder_width
    # 1. Hair that falls behind the shoulders, trunk, neck
    head = canvas.at((0, -0.72), angle=sway)
    if person.hair_style == 3:
        head.ellipse((0, 0.2), (person.face_width + 0.17, 0.78), person.hair)
    trunk = [(0.2, -0.1), (0.78, 0.0), (0.97, 0.3), (0.8, 1.0), (0.74, 2.0), (0.78, 3.4)]
    trunk = [(x * wide, y) for x, y in trunk]
    canvas.polygon([(-x, y) for x, y in trunk[::-1]] + trunk, cloth)
    for index in range(clothes.stripes):
        y = 0.45 + 1.6 * index / clothes.stripes
        canvas.line([(-0.72 * wide, y), (0.72 * wide, y)], 0.12, shade(cloth, 0.35))
    canvas.box(-0.77 * wide, 2.05, 0.77 * wide, 3.4, clothes.trousers)
    canvas.line([(0, -0.45), (0, 0.0)], 0.34, shade(person.skin, -0.15))
    if clothes.collar:
        canvas.polygon([(-0.3, -0.12), (0, 0.25), (0.3, -0.12), (0.4, 0.0), (0, 0.5), (-0.4, 0.0)], shade(cloth, -0.35))

    # 2. Head
    _draw_head(head, person, blink)

    # 3. Arms, the hand nearer to the viewer over the other
    wrists = np.empty((2, 2))
    for hand in np.argsort(poses[:, 2], kind="stable"):
        wrists[hand] = _draw_arm(canvas, person, clothes, poses[hand], 1 if hand == 0 else -1)
    return wrists


def _draw_head(head: Canvas, person: Signer, blink: bool) -> None:
    skin, hair, wide = person.skin, person.hair, person.face_width
    for side in (-1, 1):
        head.ellipse((side * wide, 0.03), (0.08, 0.12), shade(skin, -0.1))
    if person.hair_style:
        head.ellipse((0, -0.16), (wide + 0.08, 0.47), hair)
    head.ellipse((0, 0), (wide, 0.54), skin)
    if person.beard:
        head.polygon([(-wide, 0.1), (wide, 0.1), (0.3, 0.5), (0, 0.6), (-0.3, 0.5)], hair, smooth=True)
        head.ellipse((0, 0.12), (0.8 * wide, 0.22), skin)
    if person.hair_style:
        fringe = [(-wide - 0.03, -0.1), (-0.3, -0.5), (0, -0.58), (0.3, -0.5), (wide + 0.03, -0.1), (0.1, -0.33)]
        head.polygon(fringe, hair, smooth=True)
    for side in (-1, 1):
        place = (side * 0.17, -0.05)
        if blink:
            head.line([(side * 0.23, -0.04), (side * 0.11, -0.04)], 0.04, shade(skin, -0.5))
        else:
            head.ellipse(place, (0.085, 0.06), (250, 250, 250))
            head.ellipse(place, 0.05, DARK)
        head.line([(side * 0.09, -0.17), (side * 0.26, -0.18)], 0.045, shade(hair, -0.3))
        if person.glasses:
            head.arc(place, (0.13, 0.11), 0, 360, 0.03, DARK)
    if person.glasses:
        head.line([(-0.05, -0.06), (0.05, -0.06)], 0.03, DARK)
    head.line([(0, 0.0), (0.04, 0.13), (-0.02, 0.15)], 0.03, shade(skin, -0.3))
    head.line([(-0.13, 0.29), (0.0, 0.31), (0.13, 0.29)], 0.05, mix_colours(skin, (170, 50, 60), 0.6))


def _draw_arm(canvas: Canvas, person: Signer, clothes: Clothes, pose: np.ndarray, side: int) -> np.ndarray:
    shoulder = np.array([side * _SHOULDER[0] * person.shoulder_width, *_SHOULDER[1:]])
    upper, lower = 1.12 * person.arm_length, 1.0 * person.arm_length
    bend, wrist = elbow(shoulder, pose[:3], upper, lower, side)
    nearer = 1 + 0.16 * wrist[2]  # perspective
    sleeve = shade(clothes.colour, -0.12)
    bare = person.skin if not clothes.long_sleeves else sleeve
    edged = canvas.with_outline(shade(sleeve, -0.4), 0.03)
    edged.line([shoulder[:2], bend[:2]], [0.36, 0.3], sleeve)
    if not clothes.long_sleeves:
        edged = canvas.with_outline(shade(person.skin, -0.35), 0.025)
    edged.line([bend[:2], wrist[:2]], [0.27, 0.17 * nearer], bare)
    draw_hand(
        canvas.at(wrist[:2], person.hand_size * nearer, angle=pose[3]),
        pose[4:] * np.array([*[person.crispness] * 5, 1, 1]),
        person.skin,
        -side,
    )
    return wrist[:2]


def draw_hand(canvas: Canvas, shape: np.ndarray, skin: Colour, thumb_side: int) -> None:
    """A hand from its wrist at (0, 0), fingers along x.

    Args:
        shape: (7,), see `HAND_SHAPES`.
        thumb_side: 1 or -1, the sign of y where the thumb is.
    """
    edge = shade(skin, -0.4)
    canvas = canvas.with_outline(edge, 0.022)
    spread, bend = float(shape[5]), float(shape[6])
    for finger in (3, 2, 1, 0):  # little to index
        length = 0.07 + 0.36 * float(shape[1 + finger]) * (0.95, 1.05, 1.0, 0.8)[finger]
        angle = math.radians(thumb_side * spread * (15 - 10 * finger))
        root = (0.3, thumb_side * (0.135 - 0.09 * finger))
        places = [root]
        for part, turn in ((0.55, 0.0), (0.45, math.radians(thumb_side * 75) * bend)):
            angle += turn
            last = places[-1]
            places.append((last[0] + part * length * math.cos(angle), last[1] + part * length * math.sin(angle)))
        canvas.line(places if bend > 0.05 else [places[0], places[2]], 0.1, skin)
    canvas.ellipse((0.17, 0), (0.2, 0.185), skin)
    angle = math.radians(thumb_side * (28 + 32 * min(max(float(shape[0]), 0), 1)))
    length = 0.14 + 0.18 * float(shape[0])
    root = (0.12, thumb_side * 0.12)
    canvas.line([root, (root[0] + length * math.cos(angle), root[1] + length * math.sin(angle))], 0.11, skin)
