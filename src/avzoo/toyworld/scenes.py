"""Pictures of one to four things, and the sound that one of them makes: for sound source localisation.

    clip = scene(7)
    clip["image"], clip["audio"]                 # uint8 (224, 224, 3), float32 (48000,)
    clip["objects"][clip["sounding_index"]]      # {"category": "dog", "box": [...], ...}
    clip["masks"][clip["sounding_index"]]        # bool (224, 224), where that thing is seen

Sixteen categories (`drawing/objects.py`), each with a family of sounds (`sound/object_sounds.py`). No two things in a
picture are of one category, so the sound always tells which one is meant. Some clips are heard from a thing outside the
picture, in some there is nothing but noise. Where a thing lies, how large it is (its area is drawn before its category
is looked at), which one sounds, light, level and length say nothing about each other.

    pairs = Scenes(1000, category="dog")                  # other dogs and other barks: positives, hard negatives
    questions = Scenes(200, num_objects=2, every_sound=True)   # one picture, the sound of each thing in it
    easy = Scenes(1000, categories=["bird", "car", "frog"], num_objects=1, area=(0.1, 0.18))   # few, large things
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from avzoo.checks import check_number
from avzoo.files import write_atomically
from avzoo.video.drawing import track_colour, write_picture

from .drawing.backgrounds import textured_background
from .drawing.canvas import Canvas, camera_noise, expose, illumination, random_colour, visible_masks
from .drawing.objects import OBJECTS
from .drawing.parts import DARK, Paint
from .sound import synthesis as syn
from .sound.object_sounds import OBJECT_SOUNDS
from .worlds import World, check_seed

SCENE_CATEGORIES: tuple[str, ...] = tuple(OBJECTS)

_SAMPLING_RATE = 16000
_MAX_OBJECTS = 4
_LEAST_VISIBLE = 0.5  # share of a thing's area that things before it must leave


def scene(
    seed: int,
    *,
    size: int = 224,
    seconds: float = 3.0,
    num_objects: int | None = None,
    num_sounding: int = 1,
    off_screen_chance: float = 0.1,
    silent_chance: float = 0.1,
    category: str | None = None,
    categories: Sequence[str] | None = None,
    area: tuple[float, float] | None = None,
    every_sound: bool = False,
) -> dict[str, Any]:
    """One picture with its sound and its truth. The same arguments give the same bytes.

    Args:
        size: height and width of the picture in pixels, 48 or more.
        seconds: length of the sound, 0.1 or more.
        num_objects: things in the picture, 1 to 4. None: drawn, at least `num_sounding`.
        num_sounding: how many of them are heard together, where any is.
        off_screen_chance: share of clips whose sound comes from a thing that isn't in the picture.
        silent_chance: share of clips in which nothing sounds; there is noise of the usual levels.
        category: what sounds (the first, where several do). None: drawn.
        categories: what there is, in any order; one more than things in the picture, for sounds from outside. None: all
            of `SCENE_CATEGORIES`.
        area: (smallest, largest) share of the picture that a thing covers before others hide parts of it, drawn
            log-uniformly; from 0.01 to 0.5. Things that are too long for the picture or would hide half of another are
            drawn smaller. None: the more things, the smaller; about 0.05 to 0.25 for one, 0.02 to 0.1 for four.
        every_sound: also give the sound of each thing alone, in `sounds`.

    Returns:
        dict of
        - `image`, uint8 (size, size, 3), and `audio`, float32 (samples,), at `sampling_rate` 16000 Hz;
        - `masks`, bool (objects, size, size): where each thing is seen, from the back to the front;
        - `objects`, in the same order: `category`, `label` (its index in `SCENE_CATEGORIES`), `box` (x1, y1, x2, y2) in
          pixels of what is seen, `visible_fraction` (0.5 to 1), `sounding`;
        - `source`: "visible", "off_screen" or "silent"; `heard`: categories in the sound; `sounding`: indices of
          the things that are both seen and heard; `sounding_index`: the one, None where there is none or several;
        - with `every_sound`, `sounds`, float32 (objects, samples).

    Raises:
        ValueError: an argument out of range. TypeError: `categories` is one text, or `area` isn't two numbers.
    """
    check_seed(seed)
    _check(size, seconds, num_objects, num_sounding, off_screen_chance, silent_chance)
    known = _check_categories(categories, category, _MAX_OBJECTS if num_objects is None else num_objects)
    area = None if area is None else _check_area(area)
    # Picture, light, sound and the sounds of `every_sound` do not shift each other's random numbers.
    layout, light, sound, *others = np.random.default_rng(int(seed)).spawn(3 + _MAX_OBJECTS)

    # 1. What there is
    count = int(layout.integers(max(num_sounding, 1), _MAX_OBJECTS + 1)) if num_objects is None else num_objects
    source = "visible"
    chance = layout.random()
    if chance < off_screen_chance:
        source = "off_screen"
    elif chance < off_screen_chance + silent_chance:
        source = "silent"
    order = [str(name) for name in layout.permutation(known)]
    if category is not None:
        order.remove(category)
        order.insert(0, category)
    seen = order[:count] if source == "visible" else order[1 : count + 1]
    heard = {"visible": order[:num_sounding], "off_screen": order[:1], "silent": []}[source]
    seen = [str(name) for name in layout.permutation(seen)]

    # 2. The picture
    image, masks, fractions = _draw(seen, layout, light, size, area)

    # 3. The sound
    num_samples = round(seconds * _SAMPLING_RATE)
    audio = _record(heard, sound, num_samples)
    objects = [
        {
            "category": name,
            "label": SCENE_CATEGORIES.index(name),
            "box": _bounding_box(mask),
            "visible_fraction": float(fraction),
            "sounding": name in heard,
        }
        for name, mask, fraction in zip(seen, masks, fractions, strict=True)
    ]
    sounding = [index for index, thing in enumerate(objects) if thing["sounding"]]
    clip = {
        "image": image,
        "masks": masks,
        "audio": audio,
        "sampling_rate": _SAMPLING_RATE,
        "objects": objects,
        "source": source,
        "heard": heard,
        "sounding": sounding,
        "sounding_index": sounding[0] if len(sounding) == 1 else None,
        "seed": int(seed),
    }
    if every_sound:
        clip["sounds"] = np.stack(
            [_record([name], generator, num_samples) for name, generator in zip(seen, others, strict=False)]
        )
    return clip


def _check(size, seconds, num_objects, num_sounding, off_screen_chance, silent_chance) -> None:
    if size < 48:
        raise ValueError(f"`size` must be 48 or more, got {size}.")
    if not 0.1 <= seconds < 3600:
        raise ValueError(f"`seconds` must be from 0.1 to 3600, got {seconds}.")
    if num_objects is not None and not 1 <= num_objects <= _MAX_OBJECTS:
        raise ValueError(f"`num_objects` must be from 1 to {_MAX_OBJECTS}, or None; got {num_objects}.")
    most = _MAX_OBJECTS if num_objects is None else num_objects
    if not 1 <= num_sounding <= most:
        raise ValueError(f"`num_sounding` must be from 1 to the number of objects ({most}), got {num_sounding}.")
    if not (off_screen_chance >= 0 and silent_chance >= 0 and off_screen_chance + silent_chance <= 1):
        raise ValueError(
            "`off_screen_chance` and `silent_chance` must be 0 or more and together 1 or less, "
            f"got {off_screen_chance} and {silent_chance}."
        )


def _check_categories(categories: Sequence[str] | None, category: str | None, most: int) -> tuple[str, ...]:
    """The categories to draw from, in the order of `SCENE_CATEGORIES`: the clip doesn't depend on the order given."""
    known = SCENE_CATEGORIES
    if categories is not None:
        if isinstance(categories, str):
            raise TypeError(f"`categories` must be a list of names, got the text {categories!r}.")
        for name in categories:
            if name not in SCENE_CATEGORIES:
                raise ValueError(f"`categories` must be of {', '.join(SCENE_CATEGORIES)}; got {name!r}.")
        known = tuple(name for name in SCENE_CATEGORIES if name in categories)
        if len(known) != len(categories):
            raise ValueError(f"`categories` must differ from each other, got {', '.join(categories)}.")
        if len(known) <= most:
            raise ValueError(
                f"`categories` must be {most + 1} or more, one more than there may be things in a picture; "
                f"got {len(known)}. Set a smaller `num_objects`, or add categories."
            )
    if category is not None and category not in known:
        raise ValueError(f"`category` must be one of {', '.join(known)}; got {category!r}.")
    return known


def _check_area(area: Sequence[float]) -> tuple[float, float]:
    if isinstance(area, str) or not isinstance(area, Sequence) or len(area) != 2:
        raise TypeError(f"`area` must be two shares of the picture, (smallest, largest), got {area!r}.")
    smallest, largest = area
    for share in area:
        check_number("area", share, at_least=0.01, at_most=0.5, unit="of the picture")
    if smallest > largest:
        raise ValueError(f"`area` must be (smallest, largest), got {area!r}.")
    return smallest, largest


# ------------------------------------------------------------------------------------------------ picture


def _draw(
    names: list[str],
    layout: syn.Generator,
    light: syn.Generator,
    size: int,
    area: tuple[float, float] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(picture, masks, visible fractions) of these things, the first furthest away."""
    ground = Canvas(size, size, textured_background(light, size, size))
    # Sides of squares of the same area:
    if area is None:
        largest = {1: 0.5, 2: 0.42, 3: 0.36, 4: 0.32}[len(names)] * size  # several things have less room each
        smallest = 0.45 * largest
    else:
        smallest, largest = (np.sqrt(share) * size for share in area)
    sides = [syn.log_uniform(layout, smallest, largest) for _ in names]
    things = [_SceneObject(name, layout) for name in names]
    while True:
        canvas, traces = ground.copy(), []
        for thing, side in zip(things, sides, strict=True):
            traces.append(canvas.with_trace())
            thing.paint(traces[-1], side, layout)
        masks, fractions = visible_masks(traces)
        if fractions.min() >= _LEAST_VISIBLE:
            break
        sides = [0.97 * side for side in sides]  # so that there is an end to it

    picture = expose(canvas.array(), illumination(light, size, size))
    blur = light.uniform(0, 0.004) * size
    picture = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(blur)))
    return camera_noise(picture[None], light, light.uniform(0, 6))[0], masks, fractions


class _SceneObject:
    """One look of a category, to be put anywhere."""

    def __init__(self, name: str, generator: syn.Generator) -> None:
        self._paint: Paint = OBJECTS[name](generator)
        self._angle = float(generator.normal(0, 7))
        self._mirror = bool(generator.random() < 0.5)
        self._contour = None
        if generator.random() < 0.5:
            contour = DARK if generator.random() < 0.5 else random_colour(generator, (0.1, 0.8), (0.1, 1.0))
            self._contour = (contour, float(generator.uniform(0.02, 0.045)))
        # Drawn once on a small sheet, from -1.5 to 1.5: how large is it in its own units?
        sheet = Canvas(72, 72).with_trace()
        self._draw(sheet, (36, 36), 24)
        mask = visible_masks([sheet])[0][0]
        x1, y1, x2, y2 = _bounding_box(mask)
        self._reach = ((x1 - 36) / 24, (y1 - 36) / 24, (x2 - 36) / 24, (y2 - 36) / 24)
        self._side = np.sqrt(mask.sum()) / 24

    def _draw(self, canvas: Canvas, centre: tuple[float, float], scale: float) -> None:
        view = canvas.at(centre, scale, self._angle, self._mirror)
        self._paint(view if self._contour is None else view.with_outline(*self._contour))

    def paint(self, canvas: Canvas, side: float, generator: syn.Generator) -> None:
        """Somewhere within the picture, with the area of a square of `side` pixels (less, where that is too long)."""
        x1, y1, x2, y2 = self._reach
        scale = min(side / self._side, 0.96 * canvas.width / max(x2 - x1, y2 - y1))
        centre = (
            generator.uniform(-x1 * scale, canvas.width - x2 * scale),
            generator.uniform(-y1 * scale, canvas.height - y2 * scale),
        )
        self._draw(canvas, centre, scale)


def _bounding_box(mask: np.ndarray) -> list[float]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


# -------------------------------------------------------------------------------------------------- sound


def _record(names: list[str], generator: syn.Generator, num_samples: int) -> np.ndarray:
    """What a microphone in some room takes of these things: float32 (num_samples,)."""
    rate = _SAMPLING_RATE
    track = np.zeros(num_samples)
    for name in names:
        skipped = int(generator.integers(0, rate))  # it went on before
        wave = OBJECT_SOUNDS[name](generator, num_samples + skipped, rate)[skipped:]
        level = syn.decibels_to_gain(generator.uniform(-4, 4))
        track += level * wave / max(syn.root_mean_square(wave), 1e-9)
    if generator.random() < 0.6:
        room = syn.room_response(generator, rate, syn.log_uniform(generator, 0.08, 1.2), generator.uniform(0, 1))
        track = syn.convolve(track, room)[:num_samples]
    noise = syn.coloured_noise(generator, num_samples, rate, generator.uniform(-7, 0))
    snr_db = generator.uniform(5, 35)
    track = track / max(syn.root_mean_square(track), 1e-9) + noise * syn.decibels_to_gain(-snr_db)
    track = syn.shape_spectrum(track, rate, syn.random_equaliser(generator, 2.5, 1))
    # Levelled by neither peak nor power, but by what lies between: both then tell little about what is heard.
    loudness = np.sqrt(np.abs(track).max() * syn.root_mean_square(track))
    track = track * syn.decibels_to_gain(generator.uniform(-42, -14)) / loudness
    return np.clip(track, -1, 1).astype(np.float32)


# ---------------------------------------------------------------------------------------------- data sets


class Scenes(World):
    """Data set of [`scene`] clips.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        settings: keyword arguments of [`scene`].
    """

    name = "scenes"
    version = 1
    make = staticmethod(scene)

    def write(self, clip: dict[str, Any], folder: str | os.PathLike) -> list[Path]:
        """Write the picture, its masks, the sound and the labels: `<id>.png`, `.mask.png`, `.wav`, `.json`.

        A pixel of the mask picture holds the number of the thing seen there, from 1 on in the order of `objects`, 0
        for the background; viewers show each in a colour.
        """
        picture = write_picture(Path(folder, f"{clip['id']}.png"), clip["image"])
        owners = np.zeros(clip["image"].shape[:2], np.uint8)
        palette = [0, 0, 0]
        for number, mask in enumerate(clip["masks"], 1):
            owners[mask] = number
            palette += track_colour(number)
        image = Image.fromarray(owners, mode="P")
        image.putpalette(palette)
        masks = Path(folder, f"{clip['id']}.mask.png")
        with write_atomically(masks) as unfinished:
            image.save(unfinished)
        return [picture, masks, *super().write(clip, folder)]
