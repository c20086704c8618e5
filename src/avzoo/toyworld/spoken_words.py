"""One word, said by one drawn person, in one second: what lip reading can and can't tell.

    clip = spoken_word_clip(16, word="bat")
    clip["frames"], clip["audio"]           # uint8 (25, 112, 112, 3), float32 (16000,)
    clip["word"], clip["lip_class"]         # "bat", "bat/mat"

Twelve words, among them two pairs that look the same: "bat" and "mat", "fan" and "van". So there are ten classes of lip
movements. People are those of the talkers, with English voices; a person is a voice with a face, and there are many
faces for each voice. A voice speaks faster or slower from clip to clip. The sound is clean: every utterance has the
same level, white noise is 50 dB below, and there is no room. In the talkers' own recordings level, room and noise vary,
and lips tell nothing of these.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from avzoo.checks import check_choice, check_whole_number

from .caption_words import ENGLISH_SPEAKERS
from .drawing.visemes import viseme_per_frame
from .scene_words import WORDS as DISTINCT_WORDS
from .sound import synthesis as syn
from .sound.conversations import SAMPLING_RATE, Turn, find_speaking_frames, identity_voice, label_speech
from .sound.voices import VOICES, say
from .talkers import (
    FRAME_RATE,
    SAMPLES_PER_FRAME,
    Talkers,
    animate_mouth,
    check_size,
    find_mouth_segments,
    render_frames,
)
from .worlds import check_seed

HOMOPHENES: tuple[tuple[str, str], ...] = (("bat", "mat"), ("fan", "van"))
WORDS: tuple[str, ...] = (*DISTINCT_WORDS, *(word for pair in HOMOPHENES for word in pair))
LIP_CLASS_OF: dict[str, str] = {word: word for word in DISTINCT_WORDS} | {
    word: "/".join(pair) for pair in HOMOPHENES for word in pair
}
LIP_CLASSES: tuple[str, ...] = tuple(dict.fromkeys(LIP_CLASS_OF.values()))

_NUM_FRAMES = FRAME_RATE  # one second, in which every word of every voice fits
_PACES = (0.95, 1.25)  # times the voice's own
_SNR_DB = 50.0


def english_identities(faces: Sequence[int] = (0, 1, 2, 3), voices: Sequence[int] = ENGLISH_SPEAKERS) -> list[int]:
    """Numbers of the people with these English voices, each with these faces.

    Args:
        faces: numbers from 0 on; face k of a voice is another than face k of the next.
        voices: of [`ENGLISH_SPEAKERS`].
    """
    return [voice + face * len(VOICES) for face in faces for voice in voices]


def spoken_word_clip(
    seed: int,
    *,
    word: str | None = None,
    size: int | Sequence[int] = 112,
    identities: Sequence[int] | None = None,
) -> dict[str, Any]:
    """One clip with its truth. The same arguments give the same bytes.

    Args:
        seed: any integer from 0 on.
        word: one of `WORDS`. None: drawn.
        size: of the frames in pixels, [height, width], or the side of a square.
        identities: numbers of the people of whom one is drawn, each with an English voice, see [`english_identities`].
            None: four faces of every English voice.

    Returns:
        dict of `word`, `lip_class` (one of `LIP_CLASSES`), `identity`, and what
        [`avzoo.toyworld.talkers.talker_clip`] returns of one face: `frames` uint8 (25, height, width, 3), `audio`
        float32 (16000,), `boxes`, `mouth_boxes`, `visemes`, `faces` with the times of phonemes, and so on.

    Raises:
        ImportError: espeak-ng is not installed (`pip install espeakng-loader`).
        ValueError: an argument out of range, or a person whose voice is not English.
    """
    generator = np.random.default_rng(check_seed(seed))
    height, width = check_size(size)
    drawn_word = str(generator.choice(WORDS))
    if word is None:
        word = drawn_word
    check_choice("word", word, WORDS)
    person = _draw_person(generator, identities)

    # 1. The sound
    voice = identity_voice(person)
    pace = float(generator.uniform(*_PACES))
    utterance = say(word, replace(voice, rate_wpm=pace * voice.rate_wpm), SAMPLING_RATE)
    spare = _NUM_FRAMES * SAMPLES_PER_FRAME - len(utterance.audio)
    first = int(generator.integers(spare + 1))
    speech = np.zeros(_NUM_FRAMES * SAMPLES_PER_FRAME)
    syn.add_at(speech, utterance.audio, first)
    noise = generator.standard_normal(len(speech))
    noise *= syn.decibels_to_gain(-_SNR_DB) * syn.root_mean_square(utterance.audio)
    audio = np.clip(speech + noise, -1, 1).astype(np.float32)

    # 2. The picture
    turns = [Turn(first / SAMPLING_RATE, utterance)]
    times = (np.arange(_NUM_FRAMES) + 0.5) / FRAME_RATE
    mouth = animate_mouth(generator, turns, times)
    frames, boxes, mouth_boxes = render_frames(generator, [person], [mouth], _NUM_FRAMES, height, width)
    return {
        "frames": frames,
        "audio": audio,
        "fps": float(FRAME_RATE),
        "sampling_rate": SAMPLING_RATE,
        "voices": np.clip(speech, -1, 1).astype(np.float32)[None],
        "boxes": boxes,
        "mouth_boxes": mouth_boxes,
        "speaking": find_speaking_frames(turns, times)[None],
        "visemes": viseme_per_frame(find_mouth_segments(turns), times)[None],
        "mouth_opening": mouth.opening[None].astype(np.float32),
        "word": word,
        "lip_class": LIP_CLASS_OF[word],
        "identity": person,
        "seed": int(seed),
        "faces": [{**label_speech(person, turns, _NUM_FRAMES / FRAME_RATE), "mouthing": False}],
    }


def _draw_person(generator: syn.Generator, identities: Sequence[int] | None) -> int:
    people = english_identities() if identities is None else list(identities)
    if not people:
        raise ValueError("`identities` must hold at least one person, got none.")
    for person in people:
        check_whole_number("identities", person, at_least=0)
        if person % len(VOICES) not in ENGLISH_SPEAKERS:
            raise ValueError(
                f"`identities` must be people with English voices, got {person}, whose voice is "
                f"{identity_voice(person).name}; `english_identities()` lists some."
            )
    return int(people[generator.integers(len(people))])


class SpokenWords(Talkers):
    """Data set of [`spoken_word_clip`]s. Every run of twelve clips holds each word once.

    Args:
        num_clips, seed, split, cache_dir: see [`avzoo.toyworld.worlds.World`].
        settings: keyword arguments of [`spoken_word_clip`]; with `word`, every clip has that one.
    """

    name = "spoken_words"
    version = 1
    make = staticmethod(spoken_word_clip)

    def label(self, index: int) -> str:
        """The word of clip `index`, without rendering it."""
        return self.settings.get("word") or WORDS[self.draw_balanced(index, len(WORDS))]

    def render(self, index: int) -> dict[str, Any]:
        return spoken_word_clip(self.derive_seed(index), **{**self.settings, "word": self.label(index)})
