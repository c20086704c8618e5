"""Single words in scenes: one of eight words in one of eight scenes, in little more than a second.

clip = scene_word_clip(16)
clip["caption"]       # names the scene and the voice, not the word
clip["transcript"]    # one of `WORDS`
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from avzoo.checks import check_choice, check_number, check_whole_number

from .caption_words import (
    DESCRIBED_SOUNDS,
    ENGLISH_SPEAKERS,
    PACES_WPM,
    describe_sound,
    describe_speech,
    describe_voice,
)
from .sound import synthesis as syn
from .sound.voices import VOICES, say
from .worlds import World, check_seed

_RATE = 16000
# No two words share their stressed vowel, no two scenes their spectrum and rhythm.
WORDS: tuple[str, ...] = ("banana", "down", "eight", "go", "seven", "stop", "three", "two")
SCENES: tuple[str, ...] = ("quiet", "bird", "church_bell", "engine", "keyboard", "music", "rain", "siren")
_SCENE_FLOOR_DB = (-50.0, -40.0)  # of the recorder, against the speech
_QUIET_WORDS = ("in a quiet room", "in silence", "and nothing else is heard")


def scene_word_clip(
    seed: int,
    *,
    word: str | None = None,
    scene: str | None = None,
    seconds: float = 1.25,
    sampling_rate: int = 16000,
    num_speakers: int | None = None,
    snr_db: Sequence[float] = (-3.0, 9.0),
    centred: float = 0.0,
) -> dict[str, Any]:
    """Make a clip of one spoken word in a scene that lasts from the first sample to the last.

    Args:
        seed: any integer from 0 on.
        word: one of `WORDS`. None: drawn.
        scene: one of `SCENES`. None: drawn.
        seconds: length, 1.25 to 10; the whole word lies anywhere in it.
        sampling_rate: in Hz, 8000 or more; clips are made at 16 kHz, so nothing is above 8 kHz.
        num_speakers: number of different voices. None: every English voice.
        snr_db: lowest and highest ratio of word to scene, dB, each measured where it is audible.
        centred: from 0 (the word lies anywhere) to 1 (always in the middle).

    Returns:
        dict of `audio` (float32 (num_samples,), within [-1, 1]), `sampling_rate`, `caption` (which names the scene and
        the voice, not the word), `transcript` (the word), `word`, `scene`, `words` and `voice` as in
        [`avzoo.toyworld.captions.caption_clip`], and `snr_db`, word to scene (None for the scene "quiet").

    Raises:
        ImportError: espeak-ng is not installed (`pip install espeakng-loader`).
        TypeError, ValueError: an argument of a wrong type or out of range.
    """
    check_seed(seed)
    for name, value, choices in (("word", word, WORDS), ("scene", scene, SCENES)):
        if value is not None:
            check_choice(name, value, choices)
    check_number("seconds", seconds, at_least=1.25, at_most=10)
    check_number("sampling_rate", sampling_rate, at_least=8000, unit="Hz")
    if num_speakers is not None:
        check_whole_number("num_speakers", num_speakers, at_least=1, at_most=len(ENGLISH_SPEAKERS))
    if len(snr_db) != 2 or not -20 <= snr_db[0] <= snr_db[1] <= 40:
        raise ValueError(f"`snr_db` must be two numbers from -20 to 40, the lower first, got {snr_db!r}.")
    check_number("centred", centred, at_least=0, at_most=1)
    generator = np.random.default_rng(int(seed))
    drawn_word, drawn_scene = str(generator.choice(WORDS)), str(generator.choice(SCENES))
    word, scene = word or drawn_word, scene or drawn_scene
    num_samples = round(seconds * _RATE)

    # 1. The word
    speaker = int(generator.choice(_space_evenly(ENGLISH_SPEAKERS, num_speakers)))
    voice = describe_voice(speaker, "normal")
    rate_wpm = float(generator.uniform(*PACES_WPM["normal"]))
    utterance = say(word, replace(VOICES[speaker], rate_wpm=rate_wpm), _RATE)
    spare = num_samples - len(utterance.audio)
    least = int(centred * spare / 2)
    first = int(generator.integers(least, spare - least + 1))
    track = np.zeros(num_samples)
    syn.add_at(track, utterance.audio / syn.root_mean_square(utterance.audio), first)

    # 2. The scene
    drawn_snr_db = None
    if scene != "quiet":
        drawn_snr_db = round(float(generator.uniform(*snr_db)), 2)
        sound, level = _render_scene(generator, scene, num_samples)
        track += sound * syn.decibels_to_gain(-drawn_snr_db) / level

    # 3. The recording
    floor = syn.decibels_to_gain(generator.uniform(*_SCENE_FLOOR_DB))
    track += floor * generator.standard_normal(num_samples)
    track *= syn.decibels_to_gain(generator.uniform(-9, -1)) / np.max(np.abs(track))
    audio = syn.fit_length(syn.resample(track, _RATE, sampling_rate), round(seconds * sampling_rate))
    start = round(first / _RATE, 4)
    return {
        "audio": np.clip(audio, -1, 1).astype(np.float32),
        "sampling_rate": int(sampling_rate),
        "caption": _write_caption(generator, voice, scene),
        "transcript": word,
        "word": word,
        "scene": scene,
        "words": [{"word": word, "start": start, "end": round(start + utterance.seconds, 4)}],
        "voice": voice,
        "snr_db": drawn_snr_db,
    }


def _render_scene(generator: syn.Generator, scene: str, num_samples: int) -> tuple[np.ndarray, float]:
    """Return a scene's sound (num_samples,) and the root mean square of its audible part."""
    sound = np.zeros(num_samples)
    while not sound.any():  # a tune may begin with a rest
        sound = syn.fit_length(DESCRIBED_SOUNDS[scene].generator(generator, num_samples, _RATE), num_samples)
    audible = np.flatnonzero(np.abs(sound) > 0.03 * np.max(np.abs(sound)))
    level = syn.root_mean_square(sound[audible[0] : audible[-1] + 1])
    return syn.fade_edges(sound, _RATE, 0.005), level


def _space_evenly(items: Sequence[int], count: int | None) -> Sequence[int]:
    """Return `count` of the items, evenly spaced; all if None."""
    return items if count is None else [items[index * len(items) // count] for index in range(count)]


def _write_caption(generator: syn.Generator, voice: dict[str, Any], scene: str) -> str:
    """Write a caption such as "Rain falls while a man speaks in a deep voice"."""
    said, saying = describe_speech(generator, voice)
    if scene == "quiet":
        text = f"{said} {generator.choice(_QUIET_WORDS)}"
    else:
        finite, participle = describe_sound(generator, {"sound": scene, "level": "normal"})
        text = (
            f"{said} while {finite}",
            f"{finite} while {said}",
            f"{said}, with {participle}",
            f"{participle} as {said}",
            f"{saying} and {participle}",
        )[generator.integers(5)]
    return text[0].upper() + text[1:]


class SceneWords(World):
    """Data set of [`scene_word_clip`]s. Every run of 64 clips holds each word in each scene once.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        settings: keyword arguments of [`scene_word_clip`]; with `word` or `scene`, every clip has that one.
    """

    name = "scene_words"
    version = 1
    make = staticmethod(scene_word_clip)

    def label(self, index: int) -> tuple[str, str]:
        """Return word and scene of clip `index` without rendering it."""
        word, scene = divmod(self.draw_balanced(index, len(WORDS) * len(SCENES)), len(SCENES))
        return self.settings.get("word") or WORDS[word], self.settings.get("scene") or SCENES[scene]

    def render(self, index: int) -> dict[str, Any]:
        word, scene = self.label(index)
        return scene_word_clip(self.derive_seed(index), **{**self.settings, "word": word, "scene": scene})
