"""Ninety-six people to speak: who they are, and what they say when.

    voice = VOICES[3]
    utterance = say(sentence(np.random.default_rng(0), voice.language), voice)
    utterance.words                  # [{"word": "The", "start": 0.0, "end": 0.11}, ...]

A person is one of espeak-ng's speaker variants with a pitch, a liveliness and a pace of its own, and with a vocal tract
that is longer or shorter: the synthesiser is asked to speak slower and lower, and what it says is played faster.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import synthesis as syn
from .espeak import speak_with_words
from .sentences import sentence

__all__ = ["VOICES", "Utterance", "Voice", "say", "sentence"]

# Median pitch in Hz at espeak-ng's setting 50, measured (a sentence of voiced sounds, auto-correlation).
_MEN = {
    "m1": 90, "m2": 98, "m3": 100, "m4": 89, "m6": 97, "m7": 101, "m8": 82, "Alex": 103, "Andy": 93, "Gene": 92,
    "Gene2": 112, "Denis": 95, "Marco": 127, "Mario": 101, "Nguyen": 142, "Reed": 111, "Storm": 80, "antonio": 106,
    "boris": 98, "david": 72, "ed": 120, "gustave": 101, "ian": 79, "iven": 96, "john": 98, "kaukovalta": 96,
    "klatt": 98, "klatt3": 98, "klatt6": 98, "marcelo": 91, "max": 98, "pablo": 107, "quincy": 82, "rob": 98,
    "sandro": 95, "victor": 92,
}  # fmt: skip
_WOMEN = {
    "f1": 174, "f2": 187, "f3": 200, "f4": 174, "f5": 199, "Alicia": 240, "Andrea": 237, "Annie": 223, "anika": 259,
    "aunty": 176, "belinda": 223, "linda": 224, "shelby": 167, "steph": 181,
}  # fmt: skip
_PITCH_STEPS_PER_OCTAVE = 62  # of espeak-ng's setting, measured between 30 and 90

_LANGUAGES = (
    "en-us", "de", "en-gb", "fr-fr", "en-us", "es", "it", "en-us", "pt-br", "nl", "en-gb", "pl", "en-us", "sv", "tr",
    "ru",
)  # fmt: skip
_LOUDNESS = 0.1  # root mean square of every utterance


@dataclass(frozen=True)
class Voice:
    """One person.

    Args:
        name: unique among `VOICES`.
        language: espeak-ng's code of what they speak.
        person: what a listener takes them for.
        variant: the espeak-ng speaker they are made from.
        pitch_hz: median pitch, about: what is said moves it by up to a fifth.
        pitch_range: 0 (monotone) to 99 (lively).
        rate_wpm: words per minute, as heard.
        formant_scale: 1.2 = a vocal tract shorter by a sixth, all resonances 20 % higher.
    """

    name: str
    language: str
    person: Literal["woman", "man", "child"]
    variant: str
    pitch_hz: float
    pitch_range: int = 50
    rate_wpm: float = 170.0
    formant_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.variant not in _WOMEN | _MEN:
            raise ValueError(f"`variant` must be one of {', '.join(_WOMEN | _MEN)}; got {self.variant!r}.")


@dataclass(frozen=True)
class Utterance:
    """Speech with its truth. Times are seconds from the first sample.

    Args:
        text: what is said.
        audio: float64 (num_samples,), root mean square 0.1, no silence at either end; single peaks may exceed 1.
        sampling_rate: in Hz.
        words: dicts of `word` (without punctuation), `start`, `end`, in order.
        phonemes: dicts of `ipa` (stress marks included; empty for a pause), `start`, `end`, one after the other. p, t
            and k start with their burst: the 40 ms of closure before it end the phoneme before.
    """

    text: str
    audio: np.ndarray
    sampling_rate: int
    words: list[dict[str, str | float]]
    phonemes: list[dict[str, str | float]]

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.sampling_rate


def say(text: str, voice: Voice, sampling_rate: int = 16000) -> Utterance:
    """`text`, spoken by `voice`. The same arguments give the same samples.

    Raises:
        ImportError: espeak-ng is not installed (`pip install espeakng-loader`).
        ValueError: a text without a word in it, or a language espeak-ng does not speak.
    """
    scale = voice.formant_scale
    own_pitch_hz = (_WOMEN | _MEN)[voice.variant]
    pitch = 50 + _PITCH_STEPS_PER_OCTAVE * np.log2(voice.pitch_hz / scale / own_pitch_hz)
    samples, rate, phonemes, words = speak_with_words(
        text,
        voice.language,
        voice.variant,
        rate_wpm=int(np.clip(round(voice.rate_wpm / scale), 80, 450)),
        pitch=int(np.clip(round(pitch), 0, 99)),
        pitch_range=voice.pitch_range,
    )
    loud = np.flatnonzero(np.abs(samples) > 0.003 * np.max(np.abs(samples), initial=1e-9))
    if not words or len(loud) == 0:
        raise ValueError(f"`text` must hold words that {voice.language!r} can speak, got {text!r}.")
    first, stop = int(loud[0]), int(loud[-1]) + 1
    audio = syn.resample(samples[first:stop].astype(np.float64), rate * scale, sampling_rate)
    audio *= _LOUDNESS / syn.root_mean_square(audio)

    def scale_times(start_seconds: float, duration_seconds: float) -> dict[str, float]:
        start, end = ((time - first / rate) / scale for time in (start_seconds, start_seconds + duration_seconds))
        last = len(audio) / sampling_rate
        return {"start": round(min(max(start, 0.0), last), 4), "end": round(min(max(end, 0.0), last), 4)}

    timed_words = [{"word": _strip_punctuation(word.text), **scale_times(*word[1:])} for word in words]
    timed_phonemes = [{"ipa": phoneme.ipa.rstrip("-"), **scale_times(*phoneme[1:])} for phoneme in phonemes]
    return Utterance(
        text, audio, sampling_rate, timed_words, [event for event in timed_phonemes if event["end"] > event["start"]]
    )


def _strip_punctuation(word: str) -> str:
    """The word from its first letter or digit to its last."""
    kept = [index for index, character in enumerate(word) if character.isalnum()]
    return word[kept[0] : kept[-1] + 1] if kept else word


def _make_voices() -> tuple[Voice, ...]:
    """Thirty-six women, thirty-six men, twenty-four children; every beginning of the list is as mixed as the whole."""
    variants = {"woman": list(_WOMEN), "man": list(_MEN), "child": list(_WOMEN)}
    pitches_hz = {"woman": (165, 250), "man": (82, 150), "child": (260, 350)}
    sizes = {"woman": (0.94, 1.12), "man": (0.9, 1.12), "child": (1.2, 1.38)}
    voices, taken = [], {"woman": 0, "man": 0, "child": 0}
    for index in range(96):
        person = ("woman", "man", "child", "man", "woman", "man", "child", "woman")[index % 8]
        # Shifted after each round, or each language would have one kind of people.
        language = _LANGUAGES[(index + 3 * (index // 16)) % 16]
        # Multiples of irrational numbers, less their whole parts, cover an interval evenly, however many there are.
        pitch, size, pace, liveliness = (index + 1) * np.array([0.8567, 0.7339, 0.6287, 0.5386]) % 1
        lowest, highest = pitches_hz[person]
        smallest, largest = sizes[person]
        voices.append(
            Voice(
                name=f"{language}-{person}-{sum(v.language == language and v.person == person for v in voices) + 1}",
                language=language,
                person=person,
                variant=variants[person][taken[person] % len(variants[person])],
                pitch_hz=round(float(lowest * (highest / lowest) ** pitch), 1),
                pitch_range=int(20 + 60 * liveliness),
                rate_wpm=round(float(130 + 85 * pace), 1),
                formant_scale=round(float(smallest * (largest / smallest) ** size), 3),
            )
        )
        taken[person] += 1
    return tuple(voices)


VOICES: tuple[Voice, ...] = _make_voices()
