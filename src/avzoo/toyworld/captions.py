"""Speech in surroundings, with two texts: what the scene is like, and what is said.

    clip = caption_clip(16)
    clip["caption"]       # "A woman is speaking slowly while rain falls and a bell rings in the distance"
    clip["transcript"]    # "The old captain repairs the bridge."

English only. A clip holds speech, sounds or both. Whatever the caption says follows from what was mixed: who speaks and
how from the voice's settings, "in the distance" and "loudly" from levels, "while" and "then" from times, a hall from
its echo. What it names is there; of how people speak it may leave things out.

[`scene_word_clip`] is the same in small: one of eight words in one of eight scenes, in little more than a second.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .sound import noises
from .sound import synthesis as syn
from .sound.music import music
from .sound.object_sounds import OBJECT_SOUNDS
from .sound.voices import VOICES, Utterance, Voice, say, sentence
from .worlds import World, check_seed

_RATE = 16000
KINDS = ("speech and sounds", "speech", "sounds")


@dataclass(frozen=True)
class _Sound:
    """A sound and how to speak of it: "a bell" + "rings", "a bell" + "ringing"."""

    generator: Callable[[syn.Generator, int, int], np.ndarray]
    noun: str
    verb: str
    participle: str
    goes_on: bool  # through the whole clip, mostly


def _bell(kind: str) -> Callable[[syn.Generator, int, int], np.ndarray]:
    return functools.partial(noises.bell, kind=kind)


def _clicks(kind: str) -> Callable[[syn.Generator, int, int], np.ndarray]:
    return functools.partial(noises.clicks, kind=kind)


_SOUNDS = {
    "alarm_bell": _Sound(_bell("ringer"), "an alarm bell", "rings", "ringing", False),
    "applause": _Sound(_clicks("claps"), "someone", "claps", "clapping", False),
    "bird": _Sound(noises.bird, "birdsong", "sounds", "sounding", True),
    "cat": _Sound(OBJECT_SOUNDS["cat"], "a cat", "meows", "meowing", False),
    "church_bell": _Sound(_bell("church"), "a church bell", "tolls", "tolling", False),
    "clock": _Sound(_clicks("clock"), "a clock", "ticks", "ticking", True),
    "dog": _Sound(OBJECT_SOUNDS["dog"], "a dog", "barks", "barking", False),
    "drum": _Sound(OBJECT_SOUNDS["drum"], "a drum", "beats", "beating", False),
    "engine": _Sound(noises.engine, "an engine", "runs", "running", True),
    "fan": _Sound(functools.partial(noises.hum, kind="fan"), "a fan", "hums", "humming", True),
    "frog": _Sound(OBJECT_SOUNDS["frog"], "a frog", "croaks", "croaking", False),
    "guitar": _Sound(OBJECT_SOUNDS["guitar"], "a guitar", "plays", "playing", True),
    "hand_bell": _Sound(_bell("hand"), "a hand bell", "rings", "ringing", False),
    "keyboard": _Sound(_clicks("keyboard"), "a keyboard", "clatters", "clattering", True),
    "knocking": _Sound(_clicks("knock"), "someone", "knocks", "knocking", False),
    "music": _Sound(music, "music", "plays", "playing", True),
    "piano": _Sound(OBJECT_SOUNDS["piano"], "a piano", "plays", "playing", True),
    "rain": _Sound(functools.partial(noises.rain_noise, kind="rain"), "rain", "falls", "falling", True),
    "siren": _Sound(noises.siren, "a siren", "wails", "wailing", False),
    "steam_engine": _Sound(OBJECT_SOUNDS["train"], "a steam engine", "puffs", "puffing", False),
    "telephone": _Sound(OBJECT_SOUNDS["telephone"], "a telephone", "rings", "ringing", False),
    "wind": _Sound(functools.partial(noises.rain_noise, kind="wind"), "wind", "blows", "blowing", True),
}
SOUNDS: tuple[str, ...] = tuple(_SOUNDS)

# In dB against the speech, or without speech against the first sound.
_LEVELS_DB = {"distant": (-19.0, -14.0), "normal": (-9.0, -4.0), "loud": (1.0, 5.0)}
_LEVEL_WORDS = {"distant": ("in the distance", "far away", "faintly"), "normal": ("",), "loud": ("loudly",)}

_PACES_WPM = {"slow": (100.0, 120.0), "normal": (150.0, 185.0), "fast": (225.0, 260.0)}
_PACE_WORDS = {"slow": ("slowly", "at a slow pace"), "normal": ("",), "fast": ("quickly", "fast")}
_ACCENT_WORDS = {"en-us": "with an American accent", "en-gb": "with a British accent"}
_DEEP_HZ = {"man": 95.0, "woman": 180.0, "child": 0.0}  # below: a deep voice
_HIGH_HZ = {"man": 138.0, "woman": 230.0, "child": 330.0}  # above: a high voice
# Of `scene_word_clip`. No two words share their stressed vowel, no two scenes their spectrum and rhythm.
WORDS: tuple[str, ...] = ("banana", "down", "eight", "go", "seven", "stop", "three", "two")
SCENES: tuple[str, ...] = ("quiet", "bird", "church_bell", "engine", "keyboard", "music", "rain", "siren")
_SCENE_FLOOR_DB = (-50.0, -40.0)  # of the recorder, against the speech
_QUIET_WORDS = ("in a quiet room", "in silence", "and nothing else is heard")

_HALL_SECONDS = (1.0, 1.5)
_ROOM_SECONDS = (0.1, 0.35)


def caption_clip(
    seed: int, *, kind: str | None = None, seconds: float = 5.0, sampling_rate: int = 16000
) -> dict[str, Any]:
    """One clip with its two texts. The same arguments give the same samples and words.

    Args:
        seed: any integer from 0 on.
        kind: one of `KINDS`. None: drawn, half of the clips hold both.
        seconds: length, 2 to 60.
        sampling_rate: in Hz, 8000 or more; clips are made at 16 kHz, so above 8 kHz there is nothing.

    Returns:
        dict of `audio` (float32 (num_samples,), within [-1, 1]), `sampling_rate`, `kind`, `caption`, `transcript` (None
        without speech), `words` (dicts of `word`, `start`, `end` in seconds), `voice` (None, or a dict of `speaker`, an
        index into `VOICES`, `person`, `accent`, `pace`, `pitch`), `events` (dicts of `sound`, `onset`, `offset` in
        seconds, `level` and `level_db` against the speech or the first sound), `reverberation_seconds`, `place`
        ("hall", "room", or "quiet room": nothing but speech, 35 dB above the noise) and `snr_db` (speech to all the
        rest; None without speech).

    Raises:
        ImportError: the clip holds speech and espeak-ng is not installed (`pip install avzoo[toy]`).
        ValueError: an argument out of range.
    """
    check_seed(seed)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(map(repr, KINDS))}; got {kind!r}.")
    if not 2 <= seconds <= 60:
        raise ValueError(f"`seconds` must be from 2 to 60, got {seconds}.")
    if sampling_rate < 8000:
        raise ValueError(f"`sampling_rate` must be 8000 Hz or more, got {sampling_rate}.")
    generator = np.random.default_rng(int(seed))
    drawn = str(generator.choice(KINDS, p=[0.5, 0.25, 0.25]))
    kind = drawn if kind is None else kind
    num_samples = round(seconds * _RATE)

    # 1. What sounds, and when
    voice, transcript, words = None, None, []
    speech = np.zeros(num_samples)
    if "speech" in kind:
        voice, utterance, start = _speaker(generator, seconds)
        transcript = utterance.text
        syn.add_at(speech, utterance.audio / syn.root_mean_square(utterance.audio), round(start * _RATE))
        words = [
            {"word": word["word"], "start": round(word["start"] + start, 4), "end": round(word["end"] + start, 4)}
            for word in utterance.words
        ]
    spoken = (round(words[0]["start"] * _RATE), round(words[-1]["end"] * _RATE)) if words else (0, 0)
    tracks, events = _surroundings(generator, kind, num_samples, spoken)

    # 2. The place: one room for all of it
    hall = bool(generator.random() < 0.2)
    reverberation_seconds = round(syn.log_uniform(generator, *(_HALL_SECONDS if hall else _ROOM_SECONDS)), 3)
    room = syn.room_response(generator, _RATE, reverberation_seconds, generator.uniform(0.2, 0.8))
    echo_db = generator.uniform(-4, 0) if hall else generator.uniform(-20, -10)
    room[1:] *= syn.decibels_to_gain(echo_db) / max(np.sqrt(np.sum(room[1:] ** 2)), 1e-9)
    speech, rest = (syn.convolve(track, room)[:num_samples] for track in (speech, tracks))

    # 3. The recording
    rest = rest + generator.standard_normal(num_samples) * syn.decibels_to_gain(generator.uniform(-45, -22))
    snr_db = None
    if voice is not None:
        snr_db = round(float(20 * np.log10(syn.root_mean_square(speech) / syn.root_mean_square(rest))), 2)
    place = "hall" if hall else "quiet room" if not events and snr_db > 35 else "room"
    colour, low_cut_hz = syn.random_equaliser(generator, 2.0, 1), syn.log_uniform(generator, 40, 150)
    track = syn.shape_spectrum(speech + rest, _RATE, lambda f: colour(f) * syn.high_pass_gain(f, low_cut_hz, 2))
    drive = generator.uniform(0.1, 4)
    track = np.tanh(drive * track / np.max(np.abs(track))) / np.tanh(drive)
    track = track * syn.decibels_to_gain(generator.uniform(-20, -1))
    audio = syn.fit_length(syn.resample(track, _RATE, sampling_rate), round(seconds * sampling_rate))
    return {
        "audio": np.clip(audio, -1, 1).astype(np.float32),
        "sampling_rate": int(sampling_rate),
        "kind": kind,
        "caption": _caption(generator, voice, words, events, place),
        "transcript": transcript,
        "words": words,
        "voice": voice,
        "events": events,
        "reverberation_seconds": reverberation_seconds,
        "place": place,
        "snr_db": snr_db,
    }


_ENGLISH = tuple(index for index, voice in enumerate(VOICES) if voice.language in _ACCENT_WORDS)


def _speaker(generator: syn.Generator, seconds: float) -> tuple[dict[str, Any], Utterance, float]:
    """(labels of the voice, what it says, from when on): the utterance lies in the clip as a whole."""
    speaker = int(generator.choice(_ENGLISH))
    pace = str(generator.choice(list(_PACES_WPM)))
    voice: Voice = replace(VOICES[speaker], rate_wpm=float(generator.uniform(*_PACES_WPM[pace])))
    num_words = max(int(voice.rate_wpm / 60 * seconds * generator.uniform(0.4, 0.9)), 1)
    utterance = say(sentence(generator, voice.language, num_words), voice, _RATE)
    while utterance.seconds > seconds - 0.2 and num_words > 1:  # long words
        num_words = max(int(num_words * 0.8), 1)
        utterance = say(sentence(generator, voice.language, num_words), voice, _RATE)
    return _voice_labels(speaker, pace), utterance, float(generator.uniform(0, seconds - utterance.seconds))


def _voice_labels(speaker: int, pace: str) -> dict[str, Any]:
    voice = VOICES[speaker]
    pitch = "deep" if voice.pitch_hz < _DEEP_HZ[voice.person] else "normal"
    return {
        "speaker": speaker,
        "person": voice.person,
        "accent": voice.language,
        "pace": pace,
        "pitch": "high" if voice.pitch_hz > _HIGH_HZ[voice.person] else pitch,
    }


def _surroundings(
    generator: syn.Generator, kind: str, num_samples: int, spoken: tuple[int, int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """(sum of the sounds, their labels in order of onset). Speech, or without it the first sound, has level 1.

    Args:
        spoken: first sample of the speech and the sample after its last.
    """
    total, events = np.zeros(num_samples), []
    count = int({"speech": 0, "sounds": generator.integers(1, 4), "speech and sounds": generator.integers(1, 3)}[kind])
    windows = [(0, num_samples)] * count
    if generator.random() < 0.35:  # one after the other
        if kind == "sounds":
            windows = list(itertools.pairwise(num_samples * part // count for part in range(count + 1)))
        elif count:
            quiet = max((0, spoken[0]), (spoken[1], num_samples), key=lambda window: window[1] - window[0])
            windows[0] = quiet if quiet[1] - quiet[0] > 0.8 * _RATE else windows[0]
    levels = ["distant", "normal", "loud"] if kind == "speech and sounds" else ["distant", "normal"]
    for name, window in zip(generator.choice(SOUNDS, count, replace=False), windows, strict=True):
        if kind == "sounds" and not events:
            level, level_db = "normal", 0.0
        else:
            level = str(generator.choice(levels))
            level_db = float(generator.uniform(*_LEVELS_DB[level]))
        # Nobody hears far sounds beside loud ones.
        levels = [other for other in levels if {level, other} != {"distant", "loud"}]
        sound, first, stop = _place(generator, _SOUNDS[name], num_samples, window)
        if level == "distant":  # air swallows the treble
            sound = syn.shape_spectrum(sound, _RATE, lambda f: syn.low_pass_gain(f, 3000, 1))
        audible = sound[first:stop]
        total += sound * syn.decibels_to_gain(level_db) / syn.root_mean_square(audible)
        events.append(
            {
                "sound": str(name),
                "onset": round(first / _RATE, 4),
                "offset": round(stop / _RATE, 4),
                "level": level,
                "level_db": round(level_db, 2),
            }
        )
    return total, sorted(events, key=lambda event: event["onset"])


def _place(
    generator: syn.Generator, sound: _Sound, num_samples: int, window: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """(the sound, somewhere in the window of a silent track, its first audible sample, the sample after its last)."""
    start, stop = window
    if generator.random() > (0.8 if sound.goes_on else 0.2):
        duration = int((stop - start) * generator.uniform(0.5, 0.8))
        start = int(generator.integers(start, stop - duration + 1))
        stop = start + duration
    track = np.zeros(num_samples)
    while not track.any():  # an animal may pause for as long as that
        part = syn.fit_length(sound.generator(generator, stop - start, _RATE), stop - start)
        syn.add_at(track, syn.fade_edges(part, _RATE, syn.log_uniform(generator, 0.01, 0.1)), start)
    audible = np.flatnonzero(np.abs(track) > 0.03 * np.max(np.abs(track)))
    return track, int(audible[0]), int(audible[-1]) + 1


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
    """Somebody says one word in a scene that lasts from the first sample to the last.

    Args:
        seed: any integer from 0 on.
        word: one of `WORDS`. None: drawn.
        scene: one of `SCENES`. None: drawn.
        seconds: length, 1.25 to 10; the word lies anywhere in it, as a whole.
        sampling_rate: in Hz, 8000 or more; see [`caption_clip`].
        num_speakers: how many different people there are. None: every English voice.
        snr_db: least and largest ratio of the word to the scene, each where it sounds.
        centred: from 0 (the word lies anywhere) to 1 (always in the middle).

    Returns:
        dict of `audio` (float32 (num_samples,), within [-1, 1]), `sampling_rate`, `caption` (which names the scene and
        who speaks, not the word), `transcript` (the word), `word`, `scene`, `words` and `voice` as in [`caption_clip`],
        and `snr_db`: the word to the scene, each where it sounds (None in the quiet).

    Raises:
        ImportError: espeak-ng is not installed (`pip install avzoo[toy]`).
        ValueError: an argument out of range.
    """
    check_seed(seed)
    for name, value, known in (("word", word, WORDS), ("scene", scene, SCENES)):
        if value is not None and value not in known:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}; got {value!r}.")
    if not 1.25 <= seconds <= 10:
        raise ValueError(f"`seconds` must be from 1.25 to 10, got {seconds}.")
    if sampling_rate < 8000:
        raise ValueError(f"`sampling_rate` must be 8000 Hz or more, got {sampling_rate}.")
    if num_speakers is not None and not 1 <= num_speakers <= len(_ENGLISH):
        raise ValueError(f"`num_speakers` must be from 1 to {len(_ENGLISH)}, got {num_speakers}.")
    if len(snr_db) != 2 or not -20 <= snr_db[0] <= snr_db[1] <= 40:
        raise ValueError(f"`snr_db` must be two numbers from -20 to 40, the lower first, got {snr_db!r}.")
    if not 0 <= centred <= 1:
        raise ValueError(f"`centred` must be from 0 to 1, got {centred}.")
    generator = np.random.default_rng(int(seed))
    drawn_word, drawn_scene = str(generator.choice(WORDS)), str(generator.choice(SCENES))
    word, scene = word or drawn_word, scene or drawn_scene
    num_samples = round(seconds * _RATE)

    # 1. Who speaks, and when
    speaker = int(generator.choice(_spread(_ENGLISH, num_speakers)))
    voice = _voice_labels(speaker, "normal")
    rate_wpm = float(generator.uniform(*_PACES_WPM["normal"]))
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
        sound = np.zeros(num_samples)
        while not sound.any():  # a tune may begin with a rest
            sound = syn.fit_length(_SOUNDS[scene].generator(generator, num_samples, _RATE), num_samples)
        audible = np.flatnonzero(np.abs(sound) > 0.03 * np.max(np.abs(sound)))
        level = syn.root_mean_square(sound[audible[0] : audible[-1] + 1])
        track += syn.fade_edges(sound, _RATE, 0.005) * syn.decibels_to_gain(-drawn_snr_db) / level

    # 3. The recording
    floor = syn.decibels_to_gain(generator.uniform(*_SCENE_FLOOR_DB))
    track += floor * generator.standard_normal(num_samples)
    track *= syn.decibels_to_gain(generator.uniform(-9, -1)) / np.max(np.abs(track))
    audio = syn.fit_length(syn.resample(track, _RATE, sampling_rate), round(seconds * sampling_rate))
    start = round(first / _RATE, 4)
    return {
        "audio": np.clip(audio, -1, 1).astype(np.float32),
        "sampling_rate": int(sampling_rate),
        "caption": _scene_caption(generator, voice, scene),
        "transcript": word,
        "word": word,
        "scene": scene,
        "words": [{"word": word, "start": start, "end": round(start + utterance.seconds, 4)}],
        "voice": voice,
        "snr_db": drawn_snr_db,
    }


def _spread(items: Sequence[int], count: int | None) -> Sequence[int]:
    """`count` of them, evenly apart; all if None."""
    return items if count is None else [items[index * len(items) // count] for index in range(count)]


# ----------------------------------------------------------------------------------------------- caption


def _scene_caption(generator: syn.Generator, voice: dict[str, Any], scene: str) -> str:
    """ "Rain falls while a man speaks in a deep voice"."""
    said, saying = _speech_clauses(generator, voice)
    if scene == "quiet":
        text = f"{said} {generator.choice(_QUIET_WORDS)}"
    else:
        finite, participle = _clauses(generator, {"sound": scene, "level": "normal"})
        text = (
            f"{said} while {finite}",
            f"{finite} while {said}",
            f"{said}, with {participle}",
            f"{participle} as {said}",
            f"{saying} and {participle}",
        )[generator.integers(5)]
    return text[0].upper() + text[1:]


def _caption(
    generator: syn.Generator,
    voice: dict[str, Any] | None,
    words: list[dict[str, Any]],
    events: list[dict[str, Any]],
    place: str,
) -> str:
    """One sentence that is true of the labels, in one of several forms. `place`: "hall", "room" or "quiet room"."""
    clauses = {event["sound"]: _clauses(generator, event) for event in events}

    def together(chosen: list[dict[str, Any]], form: int = 0) -> str:
        return _listed([clauses[event["sound"]][form] for event in chosen])

    if voice is None:
        text = _in_turn(generator, events, clauses)
    else:
        said, saying = _speech_clauses(generator, voice)
        begin, end = words[0]["start"], words[-1]["end"]
        during = [event for event in events if event["onset"] < end and event["offset"] > begin]
        # "Then" is said only of what begins after all the rest has ended.
        earliest = min([begin, *(event["onset"] for event in during)])
        latest = max([end, *(event["offset"] for event in during)])
        before = [event for event in events if event["offset"] <= earliest]
        after = [event for event in events if event["onset"] >= latest]
        apart = [event for event in events if event not in during + before + after]
        text = said
        if during:
            text = (
                f"{said} while {together(during)}",
                f"{together(during)} while {said}",
                f"{said}, with {together(during, 1)}",
                f"{together(during, 1)} as {said}",
                f"{saying} and {together(during, 1)}",
            )[generator.integers(5)]
        elif place == "quiet room":
            text += str(generator.choice(["", " in a quiet room", " and nothing else is heard"]))
        if apart:
            text = f"{text}, and at another time {together(apart)}"
        if before:
            text = f"{together(before)}, then {text}"
        if after:
            text = f"{text}, then {together(after)}"
    if place == "hall":
        text = str(generator.choice(["in a large hall, ", "in a hall that echoes, ", "with a long echo, "])) + text
    return text[0].upper() + text[1:]


def _clauses(generator: syn.Generator, event: dict[str, Any]) -> tuple[str, str]:
    """("rain falls loudly", "rain falling loudly")."""
    sound = _SOUNDS[event["sound"]]
    level = str(generator.choice(_LEVEL_WORDS[event["level"]]))
    return f"{sound.noun} {sound.verb} {level}".rstrip(), f"{sound.noun} {sound.participle} {level}".rstrip()


def _speech_clauses(generator: syn.Generator, voice: dict[str, Any]) -> tuple[str, str]:
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


def _in_turn(generator: syn.Generator, events: list[dict[str, Any]], clauses: dict[str, tuple[str, str]]) -> str:
    """Sounds in the order in which they begin."""
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


def _listed(phrases: list[str]) -> str:
    """ "a, b and c" """
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


# ---------------------------------------------------------------------------------------------- data set


class Captions(World):
    """Data set of [`caption_clip`]s.

    Every run of four clips holds two with speech and sounds, one with speech alone and one with sounds alone, in an
    order of its own.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        settings: keyword arguments of [`caption_clip`]; with `kind`, every clip is of that kind.
    """

    name = "captions"
    version = 1
    make = staticmethod(caption_clip)

    def label(self, index: int) -> str:
        """Which of `KINDS` clip `index` is, without rendering it."""
        kinds = ("speech and sounds", "speech and sounds", "speech", "sounds")
        return self.settings.get("kind") or kinds[self.balanced(index, len(kinds))]

    def render(self, index: int) -> dict[str, Any]:
        return caption_clip(self.seed_of(index), **{**self.settings, "kind": self.label(index)})


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
        """(word, scene) of clip `index`, without rendering it."""
        word, scene = divmod(self.balanced(index, len(WORDS) * len(SCENES)), len(SCENES))
        return self.settings.get("word") or WORDS[word], self.settings.get("scene") or SCENES[scene]

    def render(self, index: int) -> dict[str, Any]:
        word, scene = self.label(index)
        return scene_word_clip(self.seed_of(index), **{**self.settings, "word": word, "scene": scene})
