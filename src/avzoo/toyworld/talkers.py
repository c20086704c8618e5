"""Drawn people who speak: faces, voices, and the truth about both.

    clip = talker_clip(7, situation="conversation", num_faces=2, size=[180, 320])
    clip["frames"], clip["audio"]          # uint8 (50, 180, 320, 3) at 25 fps, float32 (32000,) at 16 kHz
    clip["boxes"], clip["speaking"]        # (2, 50, 4) pixels, (2, 50) bool

Speech is espeak-ng's (extra `toy`). A voice says sentences; its phonemes move the drawn lips through visemes that blend
into each other (`drawing/visemes.py`), louder speech opens them wider, and the sum of the voices, in a room and through
a microphone, is the sound. Heads move, eyes blink; who is silent smiles, or moves lips for something that is not heard.
Size, place, light, level and length are drawn alike whoever speaks.

| situation | who is heard |
| --- | --- |
| single | the one face, with pauses |
| conversation | people in turn, at times two at once or none; often one of them is off screen |
| mixture | two faces, at once and equally loud |
| off_screen | somebody who is not seen |
| silent | nobody |

Time 0 is the first frame; frame i shows the mouth as it is between i / 25 and (i + 1) / 25 s.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.video import resize_as_opencv, write_video
from avzoo.video.crops import cut_window
from avzoo.video.drawn_faces import TOYWORLD_COMMENT

from .drawing.backgrounds import textured_background
from .drawing.canvas import Canvas, Generator, camera_noise, expose, illumination
from .drawing.faces import Expression, Face, Pose, draw_face, face_box, mouth_box, random_face
from .drawing.visemes import VISEME_NAMES, MouthShape, mouth_curve, viseme_per_frame, viseme_segments
from .sound import synthesis as syn
from .sound.conversations import (
    SAMPLING_RATE,
    Turn,
    conversation,
    find_speaking_frames,
    identity_voice,
    label_speech,
    monologue,
    record,
)
from .worlds import World, check_seed, write_labels

FRAME_RATE = 25
SITUATIONS = ("single", "conversation", "mixture", "off_screen", "silent")

SAMPLES_PER_FRAME = SAMPLING_RATE // FRAME_RATE
_LEAD_SECONDS = 0.6  # the room still holds what was said before the clip begins
_FACES = {"single": (1, 1), "conversation": (2, 3), "mixture": (2, 2), "off_screen": (1, 2), "silent": (1, 2)}


def identity_face(identity: int) -> Face:
    """What the person with this number looks like."""
    beard_likely = 0.4 if identity_voice(identity).person == "man" else 0.0
    return random_face(np.random.default_rng([0xFACE, identity]), beard_likely)


def talker_clip(
    seed: int,
    *,
    seconds: float = 2.0,
    size: int | Sequence[int] = 112,
    situation: str | Sequence[str] = "single",
    num_faces: int | None = None,
    offset_frames: int | Sequence[int] = 0,
    mouthing: float = 0.3,
    identities: Sequence[int] = (0, 96),
) -> dict[str, Any]:
    """One clip with its truth. The same arguments give the same bytes.

    Args:
        seed: any integer from 0 on.
        seconds: length, cut to whole frames; at least one frame.
        size: of the frames in pixels, [height, width], or the side of a square.
        situation: one of `SITUATIONS`, or several of which one is drawn.
        num_faces: faces in the frame, from 1 on ("mixture": from 2 on). None: what the situation asks for.
        offset_frames: how many frames the sound comes early (negative: late); [low, high] draws a whole number.
            To put it right, delay the sound by offset / 25 s.
        mouthing: probability that a face that is never heard moves its lips as if it spoke.
        identities: [first, stop) of the people who may appear; leave some out for testing on strangers. Beyond 96 there
            are more faces, with the voices of the first.

    Returns:
        dict of
        `frames` uint8 (T, height, width, 3), `audio` float32 (640 T,) in [-1, 1], `fps`, `sampling_rate`;
        `voices` float32 (faces, 640 T): what of `audio` each face contributes, room included;
        `boxes` float32 (faces, T, 4): x1, y1, x2, y2 in pixels, forehead to chin; `mouth_boxes`, the lips, likewise;
        `speaking` bool (faces, T); `visemes` uint8 (faces, T), indices into `VISEME_NAMES`; `mouth_opening` float32
        (faces, T), 0 closed to about 1;
        `situation`, `offset_frames`, `snr_db`, `seed`;
        `faces`: for each {identity, voice, language, mouthing, words, phonemes}: words [{word, start, end}] and
        phonemes [{ipa, start, end}] that overlap the clip, in seconds of the picture (the sound is `offset_frames`
        earlier);
        `off_screen`: the same without `mouthing` of the person who is not seen, or None.

    Raises:
        ImportError: espeak-ng is not installed (`pip install espeakng-loader`).
        ValueError: an argument out of range.
    """
    generator = np.random.default_rng(check_seed(seed))
    height, width = check_size(size)
    num_frames = _count_frames(seconds)
    situation = _draw_situation(situation, generator)
    offset = _draw_offset(offset_frames, generator)
    if not 0 <= mouthing <= 1:
        raise ValueError(f"`mouthing` must be in [0, 1], got {mouthing}.")
    seen, unseen = _choose_people(generator, situation, num_faces, identities)
    everybody = [*seen, *unseen]

    # 1. Who says what, and when
    times = (np.arange(num_frames) + 0.5) / FRAME_RATE
    begin = min(0, offset / FRAME_RATE) - _LEAD_SECONDS
    end = (num_frames + max(0, offset)) / FRAME_RATE
    said = conversation(generator, situation, everybody, begin, end)
    mouthed = [
        monologue(generator, person, begin, end, "single") if not turns and generator.random() < mouthing else []
        for person, turns in zip(seen, said, strict=False)
    ]

    # 2. The sound
    span = (begin, offset / FRAME_RATE, num_frames * SAMPLES_PER_FRAME)
    audio, voices, snr_db = record(generator, situation, said, span)

    # 3. The picture
    lips_follow = [turns or instead for turns, instead in zip(said, mouthed, strict=False)]
    mouths = [animate_mouth(generator, turns, times) for turns in lips_follow]
    frames, boxes, mouth_boxes = render_frames(generator, seen, mouths, num_frames, height, width)

    # 4. The truth about both
    labels = [
        label_speech(person, turns, num_frames / FRAME_RATE) for person, turns in zip(everybody, said, strict=True)
    ]
    return {
        "frames": frames,
        "audio": audio,
        "fps": float(FRAME_RATE),
        "sampling_rate": SAMPLING_RATE,
        "voices": voices[: len(seen)],
        "boxes": boxes,
        "mouth_boxes": mouth_boxes,
        "speaking": np.stack([find_speaking_frames(turns, times) for turns in said[: len(seen)]]),
        "visemes": np.stack([viseme_per_frame(find_mouth_segments(turns), times) for turns in lips_follow]),
        "mouth_opening": np.stack([mouth.opening for mouth in mouths]).astype(np.float32),
        "situation": situation,
        "offset_frames": offset,
        "snr_db": snr_db,
        "seed": int(seed),
        "faces": [{**label, "mouthing": bool(turns)} for label, turns in zip(labels, mouthed, strict=False)],
        "off_screen": labels[-1] if unseen else None,
    }


def lip_crops(clip: dict[str, Any], face: int = 0, size: int = 96) -> np.ndarray:
    """The mouth of one face through a clip, in a square of steady size as wide as its cheeks are apart.

    Returns:
        uint8 (T, size, size, 3); what lies outside of the frame is black.
    """
    boxes, faces = clip["mouth_boxes"][face], clip["boxes"][face]
    half = max(float(np.median(faces[:, 2] - faces[:, 0])) * 0.36, 1.0)
    crops = np.empty((len(boxes), size, size, 3), np.uint8)
    for index, (frame, box) in enumerate(zip(clip["frames"], boxes, strict=True)):
        height, width = frame.shape[:2]
        x = float(np.clip((box[0] + box[2]) / 2, 0, width))
        y = float(np.clip((box[1] + box[3]) / 2, 0, height))
        square = cut_window(frame, (round(y - half), round(y + half)), (round(x - half), round(x + half)))
        crops[index] = resize_as_opencv(square, size, size)
    return crops


class Talkers(World):
    """Data set of [`talker_clip`]; see there for its settings and [`World`] for the rest."""

    name = "talkers"
    version = 1
    make = staticmethod(talker_clip)

    def write(self, clip: dict[str, Any], folder: str | os.PathLike) -> list[Path]:
        """Write `<id>.mp4` with picture and sound, and all labels as `<id>.json`."""
        path = Path(folder, f"{clip['id']}.mp4")
        write_video(
            path,
            clip["frames"],
            clip["fps"],
            audio=clip["audio"],
            sampling_rate=clip["sampling_rate"],
            metadata={"comment": f"{TOYWORLD_COMMENT} {self.name}"},
        )
        labels = {name: value for name, value in clip.items() if name not in ("frames", "audio", "voices")}
        for name in ("boxes", "mouth_boxes", "mouth_opening"):
            labels[name] = np.round(labels[name].astype(float), 2).tolist()
        labels["speaking"] = labels["speaking"].tolist()
        labels["visemes"] = [[VISEME_NAMES[index] for index in row] for row in labels["visemes"].tolist()]
        return [path, write_labels(labels, folder)]


# ----------------------------------------------------------------------------------------- arguments, cast


def check_size(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if not (16 <= height <= 4096 and 16 <= width <= 4096):
        raise ValueError(f"`size` must be [height, width], each from 16 to 4096 pixels, got {size}.")
    return int(height), int(width)


def _count_frames(seconds: float) -> int:
    if not 1 / FRAME_RATE <= seconds <= 3600:
        raise ValueError(f"`seconds` must be from {1 / FRAME_RATE} (one frame) to 3600, got {seconds}.")
    return int(seconds * FRAME_RATE + 1e-6)


def _draw_situation(situation: str | Sequence[str], generator: Generator) -> str:
    choices = [situation] if isinstance(situation, str) else list(situation)
    unknown = [name for name in choices if name not in SITUATIONS]
    if unknown or not choices:
        raise ValueError(f"`situation` must be one or several of {', '.join(SITUATIONS)}; got {situation!r}.")
    return choices[generator.integers(len(choices))]


def _draw_offset(offset_frames: int | Sequence[int], generator: Generator) -> int:
    low, high = (offset_frames, offset_frames) if isinstance(offset_frames, int) else offset_frames
    if low > high:
        raise ValueError(f"`offset_frames` must be a whole number, or [low, high], got {offset_frames}.")
    return int(generator.integers(low, high + 1))


def _choose_people(
    generator: Generator, situation: str, num_faces: int | None, identities: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Different people: those whose faces are seen, and who is off screen, if anybody."""
    least, most = _FACES[situation]
    if num_faces is None:
        num_faces = int(generator.integers(least, most + 1))
    elif num_faces < (2 if situation == "mixture" else 1):
        raise ValueError(f"`num_faces` must be at least {2 if situation == 'mixture' else 1}, got {num_faces}.")
    first, stop = identities
    if not 0 <= first < stop or stop - first <= num_faces:
        raise ValueError(f"`identities` [{first}, {stop}) must hold more people than the {num_faces} faces of a clip.")
    *seen, other = (first + generator.choice(stop - first, num_faces + 1, replace=False)).tolist()
    joins = num_faces == 1 or generator.random() < 0.5
    return seen, [other] if situation == "off_screen" or (situation == "conversation" and joins) else []


# ------------------------------------------------------------------------------------------------- picture


def find_mouth_segments(turns: list[Turn]) -> list[tuple[int, float, float]]:
    return [segment for turn in turns for segment in viseme_segments(turn.shift_events(turn.utterance.phonemes))]


def animate_mouth(generator: Generator, turns: list[Turn], times: np.ndarray) -> MouthShape:
    """What the lips do in each frame: visemes, wider where it is louder, and never quite at rest."""
    shape = mouth_curve(find_mouth_segments(turns), times)
    loudness = np.zeros(len(times))
    for turn in turns:
        samples = np.abs(turn.utterance.audio)
        sums = np.concatenate([[0], np.cumsum(samples)])
        around = (times[:, None] - turn.start + (-0.04, 0.04)) * SAMPLING_RATE  # 80 ms
        edges = np.clip(np.round(around), 0, len(samples)).astype(int)
        loudness = np.maximum(loudness, (sums[edges[:, 1]] - sums[edges[:, 0]]) / (0.08 * SAMPLING_RATE))
    loudest = np.percentile(loudness[loudness > 0], 90) if np.any(loudness > 0) else 1.0
    effort = 0.45 + 0.55 * np.minimum(loudness / loudest, 1.2)
    resting = np.maximum(0.02 * syn.slow_curve(generator, len(times), FRAME_RATE, 0.5), 0)
    own = generator.uniform(0.8, 1.1)  # some people hardly open their mouth
    return shape._replace(opening=np.clip(own * shape.opening * effort + resting, 0, 1.1))


def render_frames(
    generator: Generator, people: list[int], mouths: list[MouthShape], num_frames: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(frames, face boxes, mouth boxes)."""
    background = Canvas(height, width, textured_background(generator, height, width))
    faces = [identity_face(person) for person in people]
    poses = [
        _sample_poses(generator, place, num_frames) for place in _place_faces(generator, len(people), height, width)
    ]
    expressions = [_sample_expressions(generator, num_frames) for _ in people]
    nearest_last = sorted(range(len(people)), key=lambda index: poses[index][0].scale)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    boxes = np.empty((len(people), num_frames, 4), np.float32)
    mouth_boxes = np.empty_like(boxes)
    for time in range(num_frames):
        canvas = background.copy()
        for index in nearest_last:
            mouth = MouthShape(*(float(curve[time]) for curve in mouths[index]))
            face, pose, expression = faces[index], poses[index][time], expressions[index][time]
            draw_face(canvas, face, pose, expression, mouth)
            boxes[index, time] = face_box(face, pose, mouth.opening)
            mouth_boxes[index, time] = mouth_box(face, pose, expression, mouth)
        frames[time] = canvas.array()
    frames = expose(frames, illumination(generator, height, width))
    return camera_noise(frames, generator, generator.uniform(0.5, 5.0)), boxes, mouth_boxes


def _place_faces(generator: Generator, num_faces: int, height: int, width: int) -> list[tuple[float, float, float]]:
    """(x, y, half a head) of each face, in pixels, side by side in an order that tells nothing."""
    slot = width / num_faces
    largest = min(0.42 * height, 0.5 * slot)
    places = []
    for index in generator.permutation(num_faces).tolist():
        scale = largest * generator.uniform(0.66, 1.0)
        x = (index + 0.5) * slot + generator.uniform(-0.5, 0.5) * max(slot - 2 * scale, 0)
        y = height / 2 + generator.uniform(-0.35, 0.35) * max(height - 2.2 * scale, 0)
        places.append((x, y, scale))
    return places


def _sample_poses(generator: Generator, place: tuple[float, float, float], num_frames: int) -> list[Pose]:
    x, y, scale = place
    calm = generator.uniform(0.3, 1.0)

    def drift(amount: float, rate_hz: float) -> np.ndarray:
        return calm * amount * syn.slow_curve(generator, num_frames, FRAME_RATE, rate_hz)

    curves = (
        x + scale * drift(0.06, 0.4),
        y + scale * (drift(0.04, 0.4) + drift(0.012, 1.5)),
        scale * (1 + drift(0.025, 0.3)),
        generator.normal(0, 3) + drift(4.0, 0.5),
        np.clip(generator.normal(0, 0.3) + drift(0.35, 0.4), -1, 1),
        np.clip(generator.normal(0, 0.2) + drift(0.3, 0.6), -1, 1),
    )
    return [Pose(*values) for values in np.stack(curves, axis=1).tolist()]


def _sample_expressions(generator: Generator, num_frames: int) -> list[Expression]:
    lids = np.zeros(num_frames)
    time = generator.exponential(2.8)
    while time < num_frames / FRAME_RATE + 0.2:
        distance = np.abs(np.arange(num_frames) / FRAME_RATE - time)
        lids = np.maximum(lids, np.clip(1.5 - distance / 0.08, 0, 1))  # 0.16 s from open to open
        time += 0.3 + generator.exponential(2.8)
    curves = (
        lids,
        np.clip(0.5 * np.round(syn.slow_curve(generator, num_frames, FRAME_RATE, 0.8) * 2) / 2, -1, 1),  # eyes jump
        np.clip(0.3 * syn.slow_curve(generator, num_frames, FRAME_RATE, 0.5), -1, 1),
        np.clip(0.4 * syn.slow_curve(generator, num_frames, FRAME_RATE, 0.6), -0.5, 1),
        np.clip(generator.uniform(-0.3, 0.6) + 0.3 * syn.slow_curve(generator, num_frames, FRAME_RATE, 0.3), -1, 1),
    )
    return [Expression(*values) for values in np.stack(curves, axis=1).tolist()]
