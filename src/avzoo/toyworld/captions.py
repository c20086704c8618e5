"""Speech in surroundings, with two texts: a caption of the scene, and a transcript of the speech.

    clip = caption_clip(16)
    clip["caption"]       # "A woman is speaking slowly while rain falls and a bell rings in the distance"
    clip["transcript"]    # "The old captain repairs the bridge."

English only. A clip holds speech, sounds or both. Every statement of the caption follows from the mixture: the speaker
from the voice's settings, "in the distance" and "loudly" from levels, "while" and "then" from times, a hall from its
echo. The caption names every sound; it may omit how somebody speaks.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from avzoo.checks import check_choice, check_number

from .caption_words import (
    DESCRIBED_SOUNDS,
    ENGLISH_SPEAKERS,
    PACES_WPM,
    DescribedSound,
    describe_voice,
    write_caption,
)
from .sound import synthesis as syn
from .sound.voices import VOICES, Utterance, Voice, say, sentence
from .worlds import World, check_seed

_RATE = 16000
KINDS = ("speech and sounds", "speech", "sounds")
SOUNDS: tuple[str, ...] = tuple(DESCRIBED_SOUNDS)

# In dB against the speech, or without speech against the first sound.
_LEVELS_DB = {"distant": (-19.0, -14.0), "normal": (-9.0, -4.0), "loud": (1.0, 5.0)}


_HALL_SECONDS = (1.0, 1.5)
_ROOM_SECONDS = (0.1, 0.35)


def caption_clip(
    seed: int, *, kind: str | None = None, seconds: float = 5.0, sampling_rate: int = 16000
) -> dict[str, Any]:
    """Make one clip with its two texts. The same arguments give the same samples and words.

    Args:
        seed: any integer from 0 on.
        kind: one of `KINDS`. None: drawn, half of the clips hold both.
        seconds: length, 2 to 60.
        sampling_rate: in Hz, 8000 or more; clips are made at 16 kHz, so nothing is above 8 kHz.

    Returns:
        dict of `audio` (float32 (num_samples,), within [-1, 1]), `sampling_rate`, `kind`, `caption`, `transcript` (None
        without speech), `words` (dicts of `word`, `start`, `end` in seconds), `voice` (None, or a dict of `speaker`, an
        index into `VOICES`, `person`, `accent`, `pace`, `pitch`), `events` (dicts of `sound`, `onset`, `offset` in
        seconds, `level` and `level_db` against the speech or the first sound), `reverberation_seconds`, `place`
        ("hall", "room", or "quiet room": nothing but speech, 35 dB above the noise) and `snr_db` (speech to all the
        rest; None without speech).

    Raises:
        ImportError: the clip holds speech and espeak-ng is not installed (`pip install espeakng-loader`).
        TypeError, ValueError: an argument of a wrong type or out of range.
    """
    check_seed(seed)
    if kind is not None:
        check_choice("kind", kind, KINDS)
    check_number("seconds", seconds, at_least=2, at_most=60)
    check_number("sampling_rate", sampling_rate, at_least=8000, unit="Hz")
    generator = np.random.default_rng(int(seed))
    drawn = str(generator.choice(KINDS, p=[0.5, 0.25, 0.25]))
    kind = drawn if kind is None else kind
    num_samples = round(seconds * _RATE)

    # 1. Speech and sounds
    voice, transcript, words = None, None, []
    speech = np.zeros(num_samples)
    if "speech" in kind:
        voice, utterance, start = _render_speech(generator, seconds)
        transcript = utterance.text
        syn.add_at(speech, utterance.audio / syn.root_mean_square(utterance.audio), round(start * _RATE))
        words = [
            {"word": word["word"], "start": round(word["start"] + start, 4), "end": round(word["end"] + start, 4)}
            for word in utterance.words
        ]
    spoken = (round(words[0]["start"] * _RATE), round(words[-1]["end"] * _RATE)) if words else (0, 0)
    tracks, events = _render_sounds(generator, kind, num_samples, spoken)

    # 2. The place: one room for all sources
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
        "caption": write_caption(generator, voice, words, events, place),
        "transcript": transcript,
        "words": words,
        "voice": voice,
        "events": events,
        "reverberation_seconds": reverberation_seconds,
        "place": place,
        "snr_db": snr_db,
    }


def _render_speech(generator: syn.Generator, seconds: float) -> tuple[dict[str, Any], Utterance, float]:
    """Return labels of a voice, its utterance and the start in seconds; the whole utterance lies in the clip."""
    speaker = int(generator.choice(ENGLISH_SPEAKERS))
    pace = str(generator.choice(list(PACES_WPM)))
    voice: Voice = replace(VOICES[speaker], rate_wpm=float(generator.uniform(*PACES_WPM[pace])))
    num_words = max(int(voice.rate_wpm / 60 * seconds * generator.uniform(0.4, 0.9)), 1)
    utterance = say(sentence(generator, voice.language, num_words), voice, _RATE)
    while utterance.seconds > seconds - 0.2 and num_words > 1:  # long words
        num_words = max(int(num_words * 0.8), 1)
        utterance = say(sentence(generator, voice.language, num_words), voice, _RATE)
    return describe_voice(speaker, pace), utterance, float(generator.uniform(0, seconds - utterance.seconds))


def _render_sounds(
    generator: syn.Generator, kind: str, num_samples: int, spoken: tuple[int, int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the sum of the sounds and their labels in order of onset. Speech, or else the first sound, has level 1.

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
        # A distant sound is inaudible beside a loud one.
        levels = [other for other in levels if {level, other} != {"distant", "loud"}]
        sound, first, stop = _place_sound(generator, DESCRIBED_SOUNDS[name], num_samples, window)
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


def _place_sound(
    generator: syn.Generator, sound: DescribedSound, num_samples: int, window: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """Place a sound in the window of a silent track.

    Returns:
        The track (num_samples,), the first audible sample, and the sample after the last audible one.
    """
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


# ---------------------------------------------------------------------------------------------- data set


class Captions(World):
    """Data set of [`caption_clip`]s.

    Every run of four clips holds two with speech and sounds, one with speech alone and one with sounds alone, in
    random order.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        settings: keyword arguments of [`caption_clip`]; with `kind`, every clip is of that kind.
    """

    name = "captions"
    version = 1
    make = staticmethod(caption_clip)

    def label(self, index: int) -> str:
        """Return the kind of clip `index`, one of `KINDS`, without rendering it."""
        kinds = ("speech and sounds", "speech and sounds", "speech", "sounds")
        return self.settings.get("kind") or kinds[self.draw_balanced(index, len(kinds))]

    def render(self, index: int) -> dict[str, Any]:
        return caption_clip(self.derive_seed(index), **{**self.settings, "kind": self.label(index)})
