"""The language of the signs world: 45 glosses of no real sign language, and the order in which they may follow.

A gloss is hands, a place on or before the body, a movement and a hand shape. Many differ in one of these only: GO and
COME run along one path in opposite directions, KNOW and FATHER differ in the hand's shape, NOW and TODAY in the
movement, RAIN and WIND in the direction of a flutter too fast for every fourth frame.

Places are in units of the signer's body: the origin lies between the shoulders, x towards the dominant side, y down,
z towards the viewer; a head is 1.1 high, shoulders lie at x = 0.9.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# A pose of one hand: place of the wrist (3), direction of the fingers in degrees, shape (7).
POSE_SIZE = 11
_WRIST_TO_MIDDLE = 0.32

# Extension of thumb, index, middle, ring and little finger (0 folded, 1 straight), their spread, their bend.
HAND_SHAPES: dict[str, tuple[float, ...]] = {
    "fist": (0, 0, 0, 0, 0, 0, 0),
    "flat": (0.4, 1, 1, 1, 1, 0, 0),
    "spread": (1, 1, 1, 1, 1, 1.3, 0),
    "point": (0, 1, 0, 0, 0, 0, 0),
    "vee": (0, 1, 1, 0, 0, 1.5, 0),
    "claw": (1, 0.9, 0.9, 0.9, 0.9, 1.2, 1),
    "thumb": (1.3, 0, 0, 0, 0, 0.5, 0),
    "horns": (1.2, 0, 0, 0, 1.1, 1, 0),
    "three": (1, 1, 1, 0, 0, 1.3, 0),
}

# Where the middle of the hand is.
PLACES: dict[str, tuple[float, float, float]] = {
    "forehead": (0.25, -1.0, 0.5),
    "eye": (0.42, -0.78, 0.5),
    "cheek": (0.5, -0.55, 0.45),
    "chin": (0.1, -0.25, 0.55),
    "chest": (0.1, 0.5, 0.45),
    "neutral": (0.55, 0.75, 0.85),
    "high": (1.1, -0.75, 0.5),
    "low": (0.7, 1.35, 0.6),
}

# Degrees from the x axis (away from the body's middle) towards the y axis (down).
POINTING: dict[str, float] = {"up": -90, "in": -165, "out": -20, "slant": -125}


def ease(phase: np.ndarray) -> np.ndarray:
    """From 0 to 1 as hands move, with the least jerk: at rest at both ends."""
    phase = np.clip(phase, 0, 1)
    return phase**3 * (10 - 15 * phase + 6 * phase**2)


def _line(x: float, y: float, z: float) -> Callable:
    return lambda phase, flutter: (ease(phase)[:, None] - 0.5) * np.array([x, y, z])


def _arc(direction: int) -> Callable:
    def path(phase: np.ndarray, flutter: float) -> np.ndarray:
        angle = np.pi * (ease(phase) if direction > 0 else 1 - ease(phase))
        return np.stack([-0.38 * np.cos(angle), 0.2 - 0.42 * np.sin(angle), 0.2 * np.sin(angle)], axis=1)

    return path


def _circle(direction: int) -> Callable:
    def path(phase: np.ndarray, flutter: float) -> np.ndarray:
        angle = 4 * np.pi * direction * phase
        return 0.25 * np.stack([np.sin(angle), -np.cos(angle), 0 * angle], axis=1)

    return path


def _zigzag(phase: np.ndarray, flutter: float) -> np.ndarray:
    teeth = np.abs((3 * phase) % 1 - 0.5) * 4 - 1
    return np.stack([0.8 * (0.5 - phase), 0.2 * teeth, 0 * phase], axis=1)


def _tap(phase: np.ndarray, flutter: float) -> np.ndarray:
    """Twice to the place and back."""
    away = np.cos(2 * np.pi * phase) ** 2
    return away[:, None] * np.array([0.14, 0.3, 0.15])


def _flutter(x: float, y: float) -> Callable:
    return lambda phase, flutter: np.sin(2 * np.pi * flutter * phase)[:, None] * np.array([x, y, 0.0])


def _still(phase: np.ndarray, flutter: float) -> np.ndarray:
    return np.zeros((len(phase), 3))


# Way of the hand about its place: (phases in [0, 1], cycles of a flutter) -> (phases, 3).
MOVEMENTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "up": _line(0.0, -0.75, 0.0),
    "down": _line(0.0, 0.75, 0.0),
    "out": _line(0.45, 0.35, 0.5),
    "back": _line(-0.45, -0.35, -0.5),
    "apart": _line(0.65, 0.0, 0.0),
    "together": _line(-0.65, 0.0, 0.0),
    "arc": _arc(1),
    "arc_back": _arc(-1),
    "circle": _circle(1),
    "circle_back": _circle(-1),
    "zigzag": _zigzag,
    "tap": _tap,
    "shake_sideways": _flutter(0.16, 0.0),
    "shake_upright": _flutter(0.0, 0.16),
    "twist": _still,
    "wiggle": _still,
    "change": _still,
}

Hands = Literal["one", "mirror", "turns", "base"]
Role = Literal["time", "person", "negation", "verb", "quality", "thing", "question"]


@dataclass(frozen=True)
class Gloss:
    """One sign.

    Attributes:
        hands: one; both as mirror images; both in turns, half a cycle apart; one above the other, which is still.
        place, movement, shape, pointing: names in `PLACES`, `MOVEMENTS`, `HAND_SHAPES`, `POINTING`.
        last_shape: what the shape becomes on the way.
    """

    name: str
    role: Role
    hands: Hands
    place: str
    movement: str
    shape: str
    pointing: str = "up"
    last_shape: str | None = None


VOCABULARY: tuple[Gloss, ...] = (
    Gloss("NOW", "time", "mirror", "neutral", "down", "flat", "slant"),
    Gloss("TODAY", "time", "mirror", "neutral", "tap", "flat", "slant"),
    Gloss("TOMORROW", "time", "one", "cheek", "arc", "thumb"),
    Gloss("YESTERDAY", "time", "one", "cheek", "arc_back", "thumb"),
    Gloss("MORNING", "time", "one", "chest", "up", "flat", "in"),
    Gloss("NIGHT", "time", "one", "chest", "down", "flat", "in"),
    Gloss("I", "person", "one", "chest", "tap", "point", "in"),
    Gloss("YOU", "person", "one", "neutral", "out", "point", "out"),
    Gloss("WE", "person", "one", "chest", "circle", "point", "in"),
    Gloss("MOTHER", "person", "one", "chin", "tap", "spread"),
    Gloss("FATHER", "person", "one", "forehead", "tap", "spread"),
    Gloss("FRIEND", "person", "mirror", "neutral", "together", "horns", "slant"),
    Gloss("CHILD", "person", "one", "low", "tap", "flat", "out"),
    Gloss("NOT", "negation", "one", "high", "shake_sideways", "point"),
    Gloss("GO", "verb", "one", "neutral", "arc", "point", "out"),
    Gloss("COME", "verb", "one", "neutral", "arc_back", "point", "out"),
    Gloss("EAT", "verb", "one", "chin", "tap", "claw", "slant"),
    Gloss("DRINK", "verb", "one", "chin", "up", "claw", "slant"),
    Gloss("SEE", "verb", "one", "eye", "out", "vee"),
    Gloss("GIVE", "verb", "mirror", "neutral", "out", "flat", "out"),
    Gloss("TAKE", "verb", "mirror", "neutral", "back", "flat", "out", "fist"),
    Gloss("WORK", "verb", "base", "neutral", "tap", "fist", "in"),
    Gloss("LEARN", "verb", "one", "forehead", "change", "spread", "up", "fist"),
    Gloss("KNOW", "verb", "one", "forehead", "tap", "flat"),
    Gloss("WANT", "verb", "mirror", "neutral", "back", "claw", "up"),
    Gloss("HELP", "verb", "base", "neutral", "up", "thumb"),
    Gloss("BIG", "quality", "mirror", "neutral", "apart", "claw"),
    Gloss("SMALL", "quality", "mirror", "neutral", "together", "claw"),
    Gloss("GOOD", "quality", "one", "chin", "out", "flat"),
    Gloss("BAD", "quality", "one", "chin", "down", "flat"),
    Gloss("MANY", "quality", "mirror", "neutral", "wiggle", "spread"),
    Gloss("HOUSE", "thing", "mirror", "neutral", "apart", "flat", "slant"),
    Gloss("BOOK", "thing", "mirror", "neutral", "twist", "flat"),
    Gloss("WATER", "thing", "one", "chin", "shake_sideways", "three"),
    Gloss("BREAD", "thing", "base", "neutral", "zigzag", "flat", "in"),
    Gloss("RAIN", "thing", "mirror", "high", "shake_upright", "spread"),
    Gloss("WIND", "thing", "mirror", "high", "shake_sideways", "spread"),
    Gloss("SNOW", "thing", "mirror", "high", "wiggle", "spread"),
    Gloss("SUN", "thing", "one", "high", "change", "fist", "up", "spread"),
    Gloss("DOG", "thing", "one", "low", "shake_upright", "vee", "out"),
    Gloss("CAR", "thing", "turns", "neutral", "circle", "fist", "slant"),
    Gloss("TRAIN", "thing", "turns", "neutral", "circle_back", "vee", "slant"),
    Gloss("TREE", "thing", "one", "high", "twist", "spread"),
    Gloss("WHAT", "question", "mirror", "neutral", "shake_sideways", "spread", "out"),
    Gloss("WHERE", "question", "one", "neutral", "twist", "point"),
)
GLOSSES: tuple[str, ...] = tuple(gloss.name for gloss in VOCABULARY)


def stroke(gloss: Gloss, phases: np.ndarray, flutter: float, amplitude: float = 1.0) -> np.ndarray:
    """Poses of the dominant and of the other hand while the gloss is signed.

    Args:
        phases: (frames,), 0 where the stroke begins, 1 where it ends.
        flutter: cycles of a shake or of wiggling fingers within the stroke.
        amplitude: size of the movement.

    Returns:
        (frames, 2, `POSE_SIZE`); the other hand's poses are NaN where it takes no part.
    """
    poses = np.full((len(phases), 2, POSE_SIZE), np.nan)
    poses[:, 0] = _one_hand(gloss, phases, flutter, amplitude)
    if gloss.hands in ("mirror", "turns"):
        poses[:, 0, 0] = np.maximum(poses[:, 0, 0], 0.16)  # hands meet, they don't cross
        shift = 0.25 if gloss.hands == "turns" else 0.0  # half of one of the two rounds
        poses[:, 1] = mirror_pose(_one_hand(gloss, phases + shift, flutter, amplitude))
        poses[:, 1, 0] = np.minimum(poses[:, 1, 0], -0.16)
    elif gloss.hands == "base":
        x, y, z = PLACES[gloss.place]
        # Below the other hand, pointing inwards: its wrist is on its own side.
        wrist = np.array([-x, y + 0.45, z]) * (-1, 1, 1) - _WRIST_TO_MIDDLE * _point_at("in")
        poses[:, 1] = mirror_pose(np.array([*wrist, POINTING["in"], *HAND_SHAPES["flat"]]))
    return poses


def mirror_pose(pose: np.ndarray) -> np.ndarray:
    """The same pose (..., `POSE_SIZE`) of the other hand."""
    pose = pose.copy()
    pose[..., 0] = -pose[..., 0]
    pose[..., 3] = 180 - pose[..., 3]
    return pose


def _one_hand(gloss: Gloss, phases: np.ndarray, flutter: float, amplitude: float) -> np.ndarray:
    poses = np.empty((len(phases), POSE_SIZE))
    poses[:, :3] = PLACES[gloss.place] + amplitude * MOVEMENTS[gloss.movement](phases, flutter)
    poses[:, :3] -= _WRIST_TO_MIDDLE * _point_at(gloss.pointing)
    poses[:, 3] = POINTING[gloss.pointing]
    if gloss.movement == "twist":
        poses[:, 3] += 40 * amplitude * np.sin(4 * np.pi * phases)
    first, last = HAND_SHAPES[gloss.shape], HAND_SHAPES[gloss.last_shape or gloss.shape]
    share = ease((phases - 0.2) / 0.6)[:, None]
    poses[:, 4:] = (1 - share) * np.array(first, float) + share * np.array(last, float)
    if gloss.movement == "wiggle":
        for finger in range(1, 5):
            poses[:, 4 + finger] *= 0.7 + 0.3 * np.sin(2 * np.pi * (flutter * phases + finger / 4))
    return poses


def _point_at(pointing: str) -> np.ndarray:
    angle = np.radians(POINTING[pointing])
    return np.array([np.cos(angle), np.sin(angle), 0.0])


# ------------------------------------------------------------------------------------------------ sentences


def _select_glosses(role: Role) -> list[str]:
    return [gloss.name for gloss in VOCABULARY if gloss.role == role]


# Places of a clause, and how often each is filled.
_CLAUSE: tuple[tuple[Role, float], ...] = (
    ("time", 0.35),
    ("person", 0.6),
    ("quality", 0.35),
    ("thing", 0.7),
    ("negation", 0.2),
    ("verb", 0.75),
)


def sentence(generator: np.random.Generator, num_glosses: int) -> list[str]:
    """A sequence of `num_glosses` glosses by the grammar: clauses of time, person, quality, thing, NOT and verb.

    Each place of a clause may stay empty; a question word may end the sentence. No gloss follows itself.
    """
    glosses: list[str] = []
    question = generator.random() < 0.2
    skipped = int(generator.integers(4))  # short sentences would all begin with a time otherwise
    while len(glosses) < skipped + num_glosses - question:
        for role, chance in _CLAUSE:
            if generator.random() < chance:
                name = str(generator.choice(_select_glosses(role)))
                if glosses[-1:] != [name]:
                    glosses.append(name)
    glosses = glosses[skipped : skipped + num_glosses - question]
    return glosses + ([str(generator.choice(_select_glosses("question")))] if question else [])


def free_sequence(generator: np.random.Generator, vocabulary: Sequence[str], num_glosses: int) -> list[str]:
    """`num_glosses` glosses of `vocabulary` in any order, all equally likely; none follows itself."""
    glosses: list[str] = []
    for _ in range(num_glosses):
        glosses.append(str(generator.choice([name for name in vocabulary if glosses[-1:] != [name]])))
    return glosses
