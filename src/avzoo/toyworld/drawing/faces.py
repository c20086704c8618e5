"""Drawn faces: who somebody is, what they do at one moment, and the drawing of it.

A face is drawn in units of half a head: (0, 0) is the middle of the head, the chin lies at y = 1, the top of the skull
at y = -1. Left and right are those of the picture.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .canvas import Canvas, Colour, Generator, bezier, hsv_colour, mix_colours, shade
from .visemes import MouthShape

_SKINS = ((250, 219, 196), (238, 193, 160), (222, 170, 132), (196, 140, 102), (160, 108, 76), (122, 80, 56))
_HAIRS = ((28, 24, 24), (62, 42, 32), (104, 70, 44), (150, 104, 56), (206, 170, 104), (150, 66, 34), (176, 176, 180))
_IRISES = ((72, 48, 32), (100, 74, 40), (64, 100, 76), (70, 112, 160), (96, 104, 112))
_HAIR_STYLES = ("bald", "short", "side", "curly", "medium", "long", "bun")
_BEARDS = ("stubble", "full", "goatee", "moustache")
_LIP_STEPS = np.linspace(-1, 1, 15)
_LIP_ARCH = (1 - _LIP_STEPS**2) ** 0.7  # the lips' gap and fullness, from corner to corner
_CUPIDS_BOW = 1 - 0.3 * np.exp(-((_LIP_STEPS / 0.16) ** 2))
_AROUND = np.linspace(0, 2 * np.pi, 40, endpoint=False)


@dataclass(frozen=True)
class Face:
    """What stays the same about a face. Lengths are in half heads, colours (red, green, blue)."""

    skin: Colour
    hair: Colour
    hair_style: str
    iris: Colour
    clothes: Colour
    width: float  # of half the head at the cheeks
    jaw: float  # how much narrower the chin is, 0 to 1
    eye_distance: float  # from the middle of the face to an eye
    eye_size: float
    brow_weight: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    mouth_height: float  # y of the lips' line
    mouth_width: float  # of half the mouth at rest
    lip_weight: float
    lips: Colour
    beard: str | None
    glasses: str | None
    glasses_colour: Colour


class Pose(NamedTuple):
    """Where a head is at one moment and how it is turned."""

    x: float  # of its middle, in pixels of the picture
    y: float
    scale: float  # pixels of half a head
    roll: float  # degrees, clockwise
    yaw: float  # -1 looks to the picture's left, 1 to its right
    pitch: float  # -1 looks up, 1 looks down


class Expression(NamedTuple):
    """What a face does at one moment, beside speaking."""

    lids: float  # 0 open, 1 closed
    gaze_x: float  # -1 to 1
    gaze_y: float
    brows: float  # raised by
    smile: float  # -1 to 1


def random_face(generator: Generator, beard_likely: float = 0.3) -> Face:
    """A face; everything about it is drawn by itself, so that nothing tells another thing."""
    tone = generator.uniform(0, len(_SKINS) - 1)
    skin = mix_colours(_SKINS[int(tone)], _SKINS[min(int(tone) + 1, len(_SKINS) - 1)], tone % 1)
    hair = _HAIRS[generator.integers(len(_HAIRS))]
    lips = mix_colours(skin, (176, 48, 64), generator.uniform(0.35, 0.8))
    return Face(
        skin=skin,
        hair=shade(hair, generator.uniform(-0.15, 0.15)),
        hair_style=str(generator.choice(_HAIR_STYLES)),
        iris=_IRISES[generator.integers(len(_IRISES))],
        clothes=hsv_colour(generator.uniform(0.3, 0.85), generator.uniform(0.2, 0.8), generator.uniform(0.2, 0.8)),
        width=float(generator.uniform(0.66, 0.84)),
        jaw=float(generator.uniform(0.08, 0.4)),
        eye_distance=float(generator.uniform(0.29, 0.37)),
        eye_size=float(generator.uniform(0.11, 0.15)),
        brow_weight=float(generator.uniform(0.035, 0.085)),
        brow_tilt=float(generator.uniform(-0.05, 0.05)),
        nose_length=float(generator.uniform(0.22, 0.34)),
        nose_width=float(generator.uniform(0.07, 0.13)),
        mouth_height=float(generator.uniform(0.50, 0.60)),
        mouth_width=float(generator.uniform(0.23, 0.31)),
        lip_weight=float(generator.uniform(0.045, 0.085)),
        lips=lips,
        beard=str(generator.choice(_BEARDS)) if generator.random() < beard_likely else None,
        glasses=str(generator.choice(["round", "square"])) if generator.random() < 0.3 else None,
        glasses_colour=shade(hsv_colour(generator.uniform(), 0.5, 0.3), generator.uniform(-0.5, 0.2)),
    )


def draw_face(canvas: Canvas, face: Face, pose: Pose, expression: Expression, mouth: MouthShape) -> None:
    """Draw one person, head and shoulders, on a canvas of pixels."""
    _draw_shoulders(canvas, face, pose)
    head = canvas.at((pose.x, pose.y), pose.scale, pose.roll)
    outline = _outline(face, mouth.opening)
    _draw_hair_behind(head, face, pose)
    for side in (-1, 1):  # ears lie further back than the face, so they turn the other way
        head.ellipse((side * face.width * 0.98 - 0.05 * pose.yaw, 0.02), (0.09, 0.17), shade(face.skin, -0.12))
    head.polygon(outline, face.skin)
    _draw_beard(head, face, outline)
    _draw_nose(head, face, pose)
    _draw_mouth(head, face, pose, expression, mouth)
    _draw_eyes(head, face, pose, expression)
    _draw_hair_before(head, face, outline)
    _draw_glasses(head, face, pose)


def face_box(face: Face, pose: Pose, opening: float) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 in pixels, from the middle of the forehead to the chin, cheek to cheek."""
    outline = _outline(face, opening)
    return _bounds(outline[outline[:, 1] > -0.72], pose)


def mouth_box(face: Face, pose: Pose, expression: Expression, mouth: MouthShape) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 in pixels of the lips."""
    upper, _, _, lower = _lips(face, pose, expression, mouth)
    return _bounds(np.concatenate([upper, lower]), pose)


def _bounds(points: np.ndarray, pose: Pose) -> tuple[float, float, float, float]:
    angle = np.radians(pose.roll)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    x = pose.x + pose.scale * (points[:, 0] * cosine - points[:, 1] * sine)
    y = pose.y + pose.scale * (points[:, 0] * sine + points[:, 1] * cosine)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _outline(face: Face, opening: float) -> np.ndarray:
    """The head without hair: round above, narrower towards the chin, which drops when the mouth opens."""
    x, y = np.sin(_AROUND), -np.cos(_AROUND)
    below = np.maximum(y, 0)
    x = face.width * np.sign(x) * np.abs(x) ** 0.85 * (1 - face.jaw * below**2)
    return np.stack([x, y + 0.07 * float(opening) * below**2], axis=1)


def _shift_feature(pose: Pose, depth: float) -> tuple[float, float]:
    """How far a feature so far in front of the head's axis moves when the head turns and nods."""
    return 0.6 * depth * pose.yaw, 0.4 * depth * pose.pitch


def _draw_shoulders(canvas: Canvas, face: Face, pose: Pose) -> None:
    # The body follows the head, but does not roll with it.
    body = canvas.at((pose.x - 0.1 * pose.roll / 10 * pose.scale, pose.y), pose.scale)
    neck = 0.55 * face.width
    body.polygon([(-neck, 0.5), (neck, 0.5), (neck * 1.1, 1.6), (-neck * 1.1, 1.6)], shade(face.skin, -0.22))
    edge = np.concatenate([[(-1.75, 9.0)], bezier([(-1.75, 3.5), (-1.75, 1.45), (-0.9, 1.5), (-neck, 1.2)], 10)])
    collar = bezier([(-neck, 1.2), (0, 1.65), (neck, 1.2)], 8)
    body.polygon(np.concatenate([edge, collar, edge[::-1] * (-1, 1)]), face.clothes)


def _draw_hair_behind(head: Canvas, face: Face, pose: Pose) -> None:
    dark = shade(face.hair, -0.2)
    back = -0.08 * pose.yaw
    width = face.width * 1.14
    if face.hair_style == "long":
        corners = [(-width, -0.5), (0, -1.12), (width, -0.5), (width * 1.15, 1.4), (-width * 1.15, 1.4)]
        head.polygon([(x + back, y) for x, y in corners], dark, smooth=True)
    elif face.hair_style == "medium":
        head.ellipse((back, -0.1), (width * 1.05, 1.02), dark)
    elif face.hair_style == "curly":
        for angle in np.linspace(-2.2, 2.2, 11).tolist():
            head.ellipse(
                (width * 1.02 * np.sin(angle) + back, -0.25 - 0.85 * np.cos(angle)),
                0.27,
                shade(dark, 0.06 * (angle > 0)),
            )
    elif face.hair_style == "bun":
        head.ellipse((back, -1.18), (0.3, 0.26), dark)
    if face.hair_style in ("short", "side", "bun"):
        head.ellipse((back, -0.28), (face.width * 1.06, 0.79), dark)


def _draw_hair_before(head: Canvas, face: Face, outline: np.ndarray) -> None:
    if face.hair_style == "bald":
        return
    line = {"short": -0.62, "side": -0.6, "curly": -0.58, "medium": -0.5, "long": -0.55, "bun": -0.66}[face.hair_style]
    skull = outline[outline[:, 1] < line + 0.12]
    skull = skull[np.argsort(skull[:, 0])] * (1.05, 1.06)
    parting = {"side": 0.45, "long": -0.15}.get(face.hair_style, 0.0) * face.width
    right, left = skull[-1], skull[0]
    fringe = bezier([tuple(right), (face.width * 0.6, line - 0.1), (parting, line - 0.25)], 6)
    other = bezier([(parting, line - 0.25), (-face.width * 0.6, line - 0.1), tuple(left)], 6)
    head.polygon(np.concatenate([skull, fringe, other]), face.hair)


def _draw_beard(head: Canvas, face: Face, outline: np.ndarray) -> None:
    if face.beard is None:
        return
    mouth = face.mouth_height
    colour = mix_colours(face.skin, face.hair, 0.35 if face.beard == "stubble" else 0.9)
    if face.beard in ("stubble", "full"):
        jaw = outline[outline[:, 1] > 0.22]
        jaw = jaw[np.argsort(-np.arctan2(jaw[:, 1] - 0.2, jaw[:, 0]))]  # from cheek to cheek, under the chin
        head.polygon(np.concatenate([jaw, bezier([tuple(jaw[-1]), (0, mouth - 0.45), tuple(jaw[0])], 10)]), colour)
    if face.beard == "goatee":
        head.ellipse((0, (mouth + 1) / 2 + 0.06), (0.2, 0.24), colour)
    if face.beard in ("goatee", "moustache"):
        head.line([(-face.mouth_width, mouth - 0.09), (0, mouth - 0.15), (face.mouth_width, mouth - 0.09)], 0.1, colour)


def _draw_nose(head: Canvas, face: Face, pose: Pose) -> None:
    x, y = _shift_feature(pose, 0.34)
    tip = 0.02 + face.nose_length + y
    bridge_x, bridge_y = _shift_feature(pose, 0.22)
    side = 1 if pose.yaw >= 0 else -1
    shadow = shade(face.skin, -0.25)
    head.line([(bridge_x + side * 0.05, bridge_y - 0.1), (x + side * face.nose_width, tip)], 0.035, shadow)
    head.ellipse((x, tip), (face.nose_width * 1.15, 0.075), shade(face.skin, -0.1))
    for nostril in (-1, 1):
        head.ellipse((x + nostril * face.nose_width * 0.6, tip + 0.035), (0.035, 0.025), shade(face.skin, -0.55))


def _lips(face: Face, pose: Pose, expression: Expression, mouth: MouthShape) -> tuple[np.ndarray, ...]:
    """Four lines from corner to corner: top of the upper lip, its lower edge, top of the lower lip, its lower edge."""
    x, y = _shift_feature(pose, 0.26)
    opening, spread = float(np.clip(mouth.opening, 0, 1.2)), float(mouth.width)
    half = face.mouth_width * (1 + (0.28 if spread > 0 else 0.42) * spread - 0.1 * opening + 0.12 * expression.smile)
    fullness = face.lip_weight * (1 - 0.25 * max(spread, 0) + 0.45 * max(-spread, 0))
    if opening < 0.1:
        fullness *= 0.7 + 3 * opening  # pressed together
    gap = 0.42 * opening * _LIP_ARCH
    along = x + half * _LIP_STEPS
    line = y + face.mouth_height + 0.05 - 0.07 * expression.smile * _LIP_STEPS**2
    upper_edge, lower_edge = line - 0.25 * gap, line + 0.75 * gap
    upper = upper_edge - fullness * _CUPIDS_BOW * _LIP_ARCH
    lower = lower_edge + 1.3 * fullness * _LIP_ARCH
    return tuple(np.stack([along, edge], axis=1) for edge in (upper, upper_edge, lower_edge, lower))


def _draw_mouth(head: Canvas, face: Face, pose: Pose, expression: Expression, mouth: MouthShape) -> None:
    upper, upper_edge, lower_edge, lower = _lips(face, pose, expression, mouth)
    head.polygon(np.concatenate([upper, upper_edge[::-1]]), face.lips)
    head.polygon(np.concatenate([lower_edge, lower[::-1]]), shade(face.lips, 0.08))
    gap = lower_edge - upper_edge
    if mouth.opening < 0.04:
        head.line(upper_edge, 0.025, shade(face.lips, -0.5))
        return
    head.polygon(np.concatenate([upper_edge, lower_edge[::-1]]), (58, 20, 24))
    if mouth.tongue > 0.15:
        reach = lower_edge - gap * (0.25 + 0.35 * float(mouth.tongue))
        head.polygon(np.concatenate([reach[3:-3], lower_edge[-4:2:-1]]), (196, 96, 100))
    if mouth.teeth > 0.1:
        # Teeth belong to the upper jaw: they end on one level, however far the lower lip drops.
        level = upper_edge[:, 1].min() + 0.09 * float(mouth.teeth)
        ends = np.clip(level, upper_edge[:, 1], upper_edge[:, 1] + 0.9 * gap[:, 1])
        teeth = np.stack([upper_edge[:, 0], ends], axis=1)
        head.polygon(np.concatenate([upper_edge[1:-1], teeth[-2:0:-1]]), (238, 234, 222))


def _draw_eyes(head: Canvas, face: Face, pose: Pose, expression: Expression) -> None:
    x, y = _shift_feature(pose, 0.24)
    y -= 0.13
    size = face.eye_size
    openness = 1 - expression.lids
    arch = np.sqrt(np.maximum(1 - _LIP_STEPS[::2] ** 2, 0))
    for side in (-1, 1):
        eye_x = x + side * face.eye_distance
        brow = y - 0.24 - 0.08 * expression.brows
        tilt = side * face.brow_tilt
        head.line(
            [(eye_x - 0.16, brow + tilt + 0.03), (eye_x, brow - 0.02), (eye_x + 0.16, brow - tilt + 0.03)],
            face.brow_weight,
            shade(face.hair, -0.1),
        )
        along = eye_x + size * 1.25 * _LIP_STEPS[::2]
        top = np.stack([along, y - 0.75 * size * openness * arch], axis=1)
        bottom = np.stack([along, y + 0.6 * size * arch * max(openness, 0.15)], axis=1)
        if openness > 0.25:
            head.polygon(np.concatenate([top, bottom[::-1]]), (244, 243, 240))
            centre = (eye_x + 0.4 * size * expression.gaze_x, y + 0.15 * size * expression.gaze_y)
            tall = min(1.0, openness)
            head.ellipse(centre, (0.58 * size, 0.58 * size * tall), face.iris)
            head.ellipse(centre, (0.3 * size, 0.3 * size * tall), (14, 12, 14))
            head.line(top, 0.03, shade(face.skin, -0.6))
        else:
            head.line(bottom, 0.035, shade(face.skin, -0.5))


def _draw_glasses(head: Canvas, face: Face, pose: Pose) -> None:
    if face.glasses is None:
        return
    x, y = _shift_feature(pose, 0.3)
    y -= 0.1
    half = face.eye_distance * 0.72
    for side in (-1, 1):
        centre = x + side * face.eye_distance
        if face.glasses == "round":
            head.arc((centre, y), (half, 0.21), 0, 360, 0.04, face.glasses_colour)
        else:
            corners = [(-half, -0.17), (half, -0.17), (half, 0.17), (-half, 0.17), (-half, -0.17)]
            head.line([(centre + dx, y + dy) for dx, dy in corners], 0.045, face.glasses_colour)
        head.line([(centre + side * half, y - 0.05), (side * face.width * 0.97, -0.1)], 0.035, face.glasses_colour)
    head.line([(x - 0.28 * face.eye_distance, y), (x + 0.28 * face.eye_distance, y)], 0.04, face.glasses_colour)
