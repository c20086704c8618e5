"""Clips of a drawn person who signs a sentence: for continuous sign language recognition.

    clip = sign_sentence(5)
    clip["frames"]                    # uint8 (frames, 112, 112, 3), 25 per second
    clip["glosses"], clip["spans"]    # ["MOTHER", "BREAD", "GIVE"], [[11, 22], [30, 43], [49, 60]]

45 glosses (`drawing/sign_glosses.py`) follow each other by a small grammar; hands travel from the end of
one to the start of the next, so the way in and out of a gloss depends on its neighbours. Signers
(`drawing/signers.py`) differ in looks, tempo, size of movement, handedness and where their hands rest; clothes,
background, light and camera are drawn anew for every clip. Every gloss has its length from the same distribution, so
the number of frames tells how many glosses there are, but not which; with `num_frames` it does not tell that either.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.video import write_video

from .drawing.backgrounds import textured_background
from .drawing.canvas import Canvas, Generator, camera_noise, expose, illumination
from .drawing.sign_glosses import GLOSSES, VOCABULARY, ease, free_sequence, sentence, stroke
from .drawing.signers import Signer, draw_clothes, draw_signer, signer
from .worlds import World, check_seed

FPS = 25
NUM_SIGNERS = 12

_BY_NAME = {gloss.name: gloss for gloss in VOCABULARY}
_LEAST_FRAMES = 10  # per gloss and way to it; quicker signing can't be seen


def sign_sentence(
    seed: int,
    *,
    size: int = 112,
    num_glosses: int | None = None,
    num_frames: int | None = None,
    vocabulary: Sequence[str] | None = None,
    glosses: Sequence[str] | None = None,
    signers: Sequence[int] | None = None,
) -> dict[str, Any]:
    """One signed sentence with its truth. The same arguments give the same bytes.

    Args:
        size: height and width of a frame in pixels, 48 or more.
        num_glosses: length of the sentence. None: 1 to 8, drawn.
        num_frames: length of the clip. None: what the sentence takes, about 17 frames per gloss and one to two
            seconds of rest. Given: the person rests for as long as is left, or signs faster.
        vocabulary: use these glosses only, in any order. None: all, by the grammar.
        glosses: sign exactly this. None: drawn.
        signers: numbers of the people to choose from. None: 0 to 11. Any number from 0 on is a person.

    Returns:
        dict of
        - `frames`, uint8 (frames, size, size, 3); `fps`, 25;
        - `glosses`, names in order; `labels`, their indices in `GLOSSES`; `spans`, [first frame, frame after
          the last] of each without the way to it;
        - `hands`, float32 (frames, 2, 2): (x, y) in pixels of the wrists, dominant hand first;
        - `signer`, its number; `left_handed`; `seed`.

    Raises:
        ValueError: an argument out of range; `num_frames` too few for the glosses.
    """
    check_seed(seed)
    generator = np.random.default_rng(int(seed))
    names = _choose_glosses(generator, num_glosses, num_frames, vocabulary, glosses)
    pool = list(range(NUM_SIGNERS)) if signers is None else [int(number) for number in signers]
    if not pool or min(pool) < 0:
        raise ValueError(f"`signers` must be numbers from 0 on, at least one; got {pool}.")
    if size < 48:
        raise ValueError(f"`size` must be 48 or more, got {size}.")
    identity = pool[generator.integers(len(pool))]
    person = signer(identity)
    motion, look = generator.spawn(2)
    poses, spans = signing_motion(names, person, motion, num_frames)
    frames, hands = _render_frames(poses, person, look, size)
    return {
        "frames": frames,
        "fps": FPS,
        "glosses": names,
        "labels": [GLOSSES.index(name) for name in names],
        "spans": spans,
        "hands": hands,
        "signer": identity,
        "left_handed": person.left_handed,
        "seed": int(seed),
    }


def _choose_glosses(generator, num_glosses, num_frames, vocabulary, glosses) -> list[str]:
    for argument, names in (("vocabulary", vocabulary), ("glosses", glosses)):
        unknown = [name for name in names or () if name not in _BY_NAME]
        if unknown or (names is not None and not len(names)):
            raise ValueError(f"`{argument}` must be one or more of {', '.join(GLOSSES)}; got {list(names)}.")
    if num_frames is not None and num_frames < 1:
        raise ValueError(f"`num_frames` must be 1 or more, got {num_frames}.")
    if num_glosses is not None and num_glosses < 1:
        raise ValueError(f"`num_glosses` must be 1 or more, got {num_glosses}.")
    most = 8 if num_frames is None else min(max(num_frames // 18, 1), 8)
    drawn = int(generator.integers(1, most + 1))
    count = len(glosses) if glosses is not None else num_glosses or drawn
    if num_frames is not None and num_frames < _LEAST_FRAMES * count:
        raise ValueError(
            f"`num_frames` ({num_frames}) is too few for {count} glosses; "
            f"they take at least {_LEAST_FRAMES * count} frames."
        )
    if glosses is not None:
        return [str(name) for name in glosses]
    if vocabulary is not None:
        if len(set(vocabulary)) == 1 and count > 1:
            raise ValueError(
                f"`vocabulary` {list(vocabulary)} has one gloss, which can't follow itself; name another, "
                f"or ask for `num_glosses=1`."
            )
        return free_sequence(generator, list(vocabulary), count)
    return sentence(generator, count)


# ------------------------------------------------------------------------------------------------- motion


def signing_motion(
    names: Sequence[str], person: Signer, generator: Generator, num_frames: int | None = None
) -> tuple[np.ndarray, list[list[int]]]:
    """How a person signs these glosses, one after the other.

    Returns:
        (poses of both hands, (frames, 2, `POSE_SIZE` of `sign_glosses.py`); first frame and frame after the last of
        each gloss).
    """
    # 1. How many frames everything takes: from one distribution, whatever is signed.
    count = len(names)
    # One row per gloss: way to it, stroke, hold; the last row is the way home.
    lengths = generator.uniform((4, 8, 0), (8, 14, 4), (count + 1, 3)) / person.tempo
    lengths[-1, 1:] = 0
    rests = generator.uniform(4, 22, 2)
    if num_frames is not None:
        lengths *= min(1.0, (num_frames - 2) / lengths.sum())
        rests = (num_frames - lengths.sum()) * np.array([share := generator.beta(1.5, 1.5), 1 - share])
    lengths = np.array([rests[0], *lengths.ravel(), rests[1]])
    edges = np.rint(np.append(0, np.cumsum(lengths))).astype(int)
    frames = np.diff(edges).tolist()

    # 2. Rest, way, stroke, hold, way, stroke, hold, ..., way, rest
    last = person.rest
    pieces = [_hold_pose(last, frames[0])]
    for index, name in enumerate(names):
        way, busy, hold = frames[1 + 3 * index : 4 + 3 * index]
        poses = _nearest_turn(last, _perform_stroke(name, busy, last, person, generator))
        pieces += [_move_between(last, poses[0], way, person, generator), poses, _hold_pose(poses[-1], hold)]
        last = poses[-1]
    rest = _nearest_turn(last, person.rest[None])[0]
    pieces += [_move_between(last, rest, frames[3 * count + 1], person, generator), _hold_pose(rest, frames[-1])]
    poses = np.concatenate(pieces)

    # 3. Hands are never quite still.
    points = generator.normal(0, 0.025, (len(poses) // 5 + 2, 6))
    when = np.arange(len(poses)) / 5
    tremble = np.stack([np.interp(when, np.arange(len(points)), curve) for curve in points.T], axis=1)
    poses[:, :, :3] += tremble.reshape(-1, 2, 3)
    spans = [[int(edges[2 + 3 * index]), int(edges[3 + 3 * index])] for index in range(count)]
    return poses, spans


def _perform_stroke(name: str, frames: int, last: np.ndarray, person: Signer, generator: Generator) -> np.ndarray:
    """Poses of one stroke, where and as this person signs today: (frames, 2, POSE_SIZE)."""
    gloss = _BY_NAME[name]
    # A hand flutters at a speed of its own, in Hz, however long the stroke.
    flutter = generator.uniform(5.6, 6.6) * frames / FPS * (0.5 if gloss.movement == "wiggle" else 1.0)
    amplitude = person.amplitude * generator.uniform(0.85, 1.15)
    poses = stroke(gloss, (np.arange(frames) + 0.5) / frames, flutter, amplitude)
    poses[:, :, :3] += generator.normal(0, 0.04, (2, 3)) + person.shift * np.array([[1, 1, 1], [-1, 1, 1]])
    poses[:, :, 3] += generator.normal(0, 6, 2)
    share = generator.choice([0.3, 1.0])
    if gloss.hands == "one":  # the other hand goes home, or part of the way
        poses[:, 1] = last[1] + share * (person.rest[1] - last[1])
    return poses


def _hold_pose(pose: np.ndarray, frames: int) -> np.ndarray:
    return np.repeat(pose[None], frames, axis=0)


def _move_between(start: np.ndarray, stop: np.ndarray, frames: int, person: Signer, generator: Generator) -> np.ndarray:
    """The way between two poses, neither included: a slight bow towards the viewer and to a side."""
    phase = np.arange(1, frames + 1) / (frames + 1)
    poses = start + ease(phase)[:, None, None] * (stop - start)
    bow = np.array([generator.normal(0, person.bend), generator.normal(0, person.bend), 2 * person.bend])
    distance = np.linalg.norm(stop[:, :3] - start[:, :3], axis=1)
    poses[:, :, :3] += np.sin(np.pi * phase)[:, None, None] * bow * np.minimum(distance, 1.0)[:, None]
    return poses


def _nearest_turn(last: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """`poses` with whole turns added to their angles, so that the hands turn the short way from `last`."""
    turns = np.rint((last[:, 3] - poses[0, :, 3]) / 360)
    poses = poses.copy()
    poses[:, :, 3] += 360 * turns
    return poses


# -------------------------------------------------------------------------------------------------- frames


def _render_frames(poses: np.ndarray, person: Signer, generator: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(frames, wrists in pixels): what a camera sees of the movement."""
    ground = Canvas(size, size, textured_background(generator, size, size))
    gain = illumination(generator, size, size)
    clothes = draw_clothes(generator)
    unit = size / 3.9 * generator.uniform(0.92, 1.06)
    origin = (size * generator.uniform(0.46, 0.54), size * generator.uniform(0.42, 0.47))
    # The head and the trunk sway a little, at the pace of breath.
    pace, start = generator.uniform(0.15, 0.5, 2), generator.uniform(0, 2 * np.pi, 2)
    time = np.arange(len(poses)) / FPS
    sway = generator.uniform(0.5, 3.5) * np.sin(2 * np.pi * pace[0] * time + start[0])
    drift = generator.uniform(0, 0.03) * np.sin(2 * np.pi * pace[1] * time + start[1])
    blinks = np.convolve(generator.random(len(poses)) < 0.3 / FPS, np.ones(4), mode="full")[: len(poses)] > 0

    frames = np.empty((len(poses), size, size, 3), np.uint8)
    hands = np.empty((len(poses), 2, 2), np.float32)
    for index, pose in enumerate(poses):
        canvas = ground.copy()
        # Somebody's right hand is on the left of a picture of them.
        place = (origin[0] + drift[index] * unit, origin[1])
        body = canvas.at(place, unit, mirror=not person.left_handed)
        wrists = draw_signer(body, person, clothes, pose, float(sway[index]), bool(blinks[index]))
        hands[index] = body.place(wrists)
        frames[index] = canvas.array()
    return camera_noise(expose(frames, gain), generator, generator.uniform(0, 5)), hands


# ---------------------------------------------------------------------------------------------- data sets


class SignVideos(World):
    """A world of signing, whose clips are silent videos: dicts with `frames` and `fps`."""

    def write(self, clip: dict[str, Any], folder: str | os.PathLike) -> list[Path]:
        """Write the clip as `<id>.mp4` and its labels as `<id>.json`."""
        path = Path(folder, f"{clip['id']}.mp4")
        write_video(path, clip["frames"], clip["fps"])
        return [path, *super().write(clip, folder)]


class Signs(SignVideos):
    """Data set of [`sign_sentence`] clips.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        settings: keyword arguments of [`sign_sentence`].
    """

    name = "signs"
    version = 1
    make = staticmethod(sign_sentence)
