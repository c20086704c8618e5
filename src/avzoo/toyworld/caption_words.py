"""Captions of clips from their labels: sounds, levels, voices and their order in English.

Every statement of a caption follows from the labels; a caption may leave out how somebody speaks.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sound import noises
from .sound import synthesis as syn
from .sound.music import music
from .sound.object_sounds import OBJECT_SOUNDS
from .sound.voices import VOICES


@dataclass(frozen=True)
class DescribedSound:
    """A sound with its words: "a bell" + "rings", "a bell" + "ringing"."""

    generator: Callable[[syn.Generator, int, int], np.ndarray]
    noun: str
    verb: str
    participle: str
    goes_on: bool  # usually through the whole clip


def _make_bell(kind: str) -> Callable[[syn.Generator, int, int], np.ndarray]:
    return functools.partial(noises.bell, kind=kind)


def _make_clicks(kind: str) -> Callable[[syn.Generator, int, int], np.ndarray]:
    return functools.partial(noises.clicks, kind=kind)


DESCRIBED_SOUNDS = {
    "alarm_bell": DescribedSound(_make_bell("ringer"), "an alarm bell", "rings", "ringing", False),
    "applause": DescribedSound(_make_clicks("claps"), "someone", "claps", "clapping", False),
    "bird": DescribedSound(noises.bird, "birdsong", "sounds", "sounding", True),
    "cat": DescribedSound(OBJECT_SOUNDS["cat"], "a cat", "meows", "meowing", False),
    "church_bell": DescribedSound(_make_bell("church"), "a church bell", "tolls", "tolling", False),
    "clock": DescribedSound(_make_clicks("clock"), "a clock", "ticks", "ticking", True),
    "dog": DescribedSound(OBJECT_SOUNDS["dog"], "a dog", "barks", "barking", False),
    "drum": DescribedSound(OBJECT_SOUNDS["drum"], "a drum", "beats", "beating", False),
    "engine": DescribedSound(noises.engine, "an engine", "runs", "running", True),
    "fan": DescribedSound(functools.partial(noises.hum, kind="fan"), "a fan", "hums", "humming", True),
    "frog": DescribedSound(OBJECT_SOUNDS["frog"], "a frog", "croaks", "croaking", False),
    "guitar": DescribedSound(OBJECT_SOUNDS["guitar"], "a guitar", "plays", "playing", True),
    "hand_bell": DescribedSound(_make_bell("hand"), "a hand bell", "rings", "ringing", False),
    "keyboard": DescribedSound(_make_clicks("keyboard"), "a keyboard", "clatters", "clattering", True),
    "knocking": DescribedSound(_make_clicks("knock"), "someone", "knocks", "knocking", False),
    "music": DescribedSound(music, "music", "plays", "playing", True),
    "piano": DescribedSound(OBJECT_SOUNDS["piano"], "a piano", "plays", "playing", True),
    "rain": DescribedSound(functools.partial(noises.rain_noise, kind="rain"), "rain", "falls", "falling", True),
    "siren": DescribedSound(noises.siren, "a siren", "wails", "wailing", False),
    "steam_engine": DescribedSound(OBJECT_SOUNDS["train"], "a steam engine", "puffs", "puffing", False),
    "telephone": DescribedSound(OBJECT_SOUNDS["telephone"], "a telephone", "rings", "ringing", False),
    "wind": DescribedSound(functools.partial(noises.rain_noise, kind="wind"), "wind", "blows", "blowing", True),
}

_LEVEL_WORDS = {"distant": ("in the distance", "far away", "faintly"), "normal": ("",), "loud": ("loudly",)}

PACES_WPM = {"slow": (100.0, 120.0), "normal": (150.0, 185.0), "fast": (225.0, 260.0)}
_PACE_WORDS = {"slow": ("slowly", "at a slow pace"), "normal": ("",), "fast": ("quickly", "fast")}
_ACCENT_WORDS = {"en-us": "with an American accent", "en-gb": "with a British accent"}
_DEEP_HZ = {"man": 95.0, "woman": 180.0, "child": 0.0}  # below: a deep voice
_HIGH_HZ = {"man": 138.0, "woman": 230.0, "child": 330.0}  # above: a high voice
ENGLISH_SPEAKERS = tuple(index for index, voice in enumerate(VOICES) if voice.language in _ACCENT_WORDS)


def describe_voice(speaker: int, pace: str) -> dict[str, Any]:
    """Return the labels of a voice: speaker, person, accent, pace and pitch."""
    voice = VOICES[speaker]
    pitch = "deep" if voice.pitch_hz < _DEEP_HZ[voice.person] else "normal"
    return {
        "speaker": speaker,
        "person": voice.person,
        "accent": voice.language,
        "pace": pace,
        "pitch": "high" if voice.pitch_hz > _HIGH_HZ[voice.person] else pitch,
    }


def write_caption(
    generator: syn.Generator,
    voice: dict[str, Any] | None,
    words: list[dict[str, Any]],
    events: list[dict[str, Any]],
    place: str,
) -> str:
    """Write one sentence about the labels, in one of several forms. `place`: "hall", "room" or "quiet room"."""
    clauses = {event["sound"]: describe_sound(generator, event) for event in events}

    def join_clauses(chosen: list[dict[str, Any]], form: int = 0) -> str:
        return _join_phrases([clauses[event["sound"]][form] for event in chosen])

    if voice is None:
        text = _describe_in_order(generator, events, clauses)
    else:
        said, saying = describe_speech(generator, voice)
        begin, end = words[0]["start"], words[-1]["end"]
        during = [event for event in events if event["onset"] < end and event["offset"] > begin]
        # "Then" is used only for a sound that begins after everything else has ended.
        earliest = min([begin, *(event["onset"] for event in during)])
        latest = max([end, *(event["offset"] for event in during)])
        before = [event for event in events if event["offset"] <= earliest]
        after = [event for event in events if event["onset"] >= latest]
        apart = [event for event in events if event not in during + before + after]
        text = said
        if during:
            text = (
                f"{said} while {join_clauses(during)}",
                f"{join_clauses(during)} while {said}",
                f"{said}, with {join_clauses(during, 1)}",
                f"{join_clauses(during, 1)} as {said}",
                f"{saying} and {join_clauses(during, 1)}",
            )[generator.integers(5)]
        elif place == "quiet room":
            text += str(generator.choice(["", " in a quiet room", " and nothing else is heard"]))
        if apart:
            text = f"{text}, and at another time {join_clauses(apart)}"
        if before:
            text = f"{join_clauses(before)}, then {text}"
        if after:
            text = f"{text}, then {join_clauses(after)}"
    if place == "hall":
        text = str(generator.choice(["in a large hall, ", "in a hall that echoes, ", "with a long echo, "])) + text
    return text[0].upper() + text[1:]


def describe_sound(generator: syn.Generator, event: dict[str, Any]) -> tuple[str, str]:
    """Return a finite and a participle clause: ("rain falls loudly", "rain falling loudly")."""
    sound = DESCRIBED_SOUNDS[event["sound"]]
    level = str(generator.choice(_LEVEL_WORDS[event["level"]]))
    return f"{sound.noun} {sound.verb} {level}".rstrip(), f"{sound.noun} {sound.participle} {level}".rstrip()


def describe_speech(generator: syn.Generator, voice: dict[str, Any]) -> tuple[str, str]:
    """("a man is speaking slowly in a deep voice", "a man speaking slowly in a deep voice")."""
    manner = [str(generator.choice(_PACE_WORDS[voice["pace"]]))]
    if voice["pitch"] != "normal":
        manner.append(f"in a {voice['pitch']} voice")
    if generator.random() < 0.4:
        manner.append(_ACCENT_WORDS[voice["accent"]])
    manner = " ".join(part for part in manner if part)
    finite, participle = (("speaks", "speaking"), ("is speaking", "speaking"), ("talks", "talking"))[
        generator.integers(3)
    ]
    return f"a {voice['person']} {finite} {manner}".rstrip(), f"a {voice['person']} {participle} {manner}".rstrip()


def _describe_in_order(
    generator: syn.Generator, events: list[dict[str, Any]], clauses: dict[str, tuple[str, str]]
) -> str:
    """Describe sounds in the order of their onsets."""
    if len(events) == 1:
        finite, participle = clauses[events[0]["sound"]]
        return (finite, participle, f"the sound of {participle}")[generator.integers(3)]
    text, silent_from = "", 0.0
    for position, event in enumerate(events):
        finite = clauses[event["sound"]][0]
        if position == 0:
            text = finite
        elif event["onset"] >= silent_from:
            text += f", then {finite}"
        else:
            text += f" {'while' if position == 1 else 'and'} {finite}"
        silent_from = max(silent_from, event["offset"])
    return text


def _join_phrases(phrases: list[str]) -> str:
    """Join phrases as in "a, b and c"."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)
