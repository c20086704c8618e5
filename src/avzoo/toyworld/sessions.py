"""The same voices in many recording sessions: who speaks, and in which room, through what, in what noise.

    clips = Sessions(2000, num_speakers=40, num_sessions=12, seconds=3.0)
    clips[17]["speaker"], clips[17]["session"]           # 31, 4
    test = Sessions(800, split="test", num_speakers=24, first_speaker=40, num_sessions=8, first_session=12)
    test.trials(1000)                                    # same and other speakers, within and across sessions

A session is one room, one place in it, one noise, one microphone and one codec, fixed for all that is recorded in it.
Its number stands for it everywhere. All speakers visit all sessions, so neither tells about the other. A session
colours every clip alike: two people in one session sound more alike than they are, one person in two sessions less.

Splits share no clip but may share speakers and sessions; to hold some out, give splits other ranges of them.
"""

import functools
import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avzoo.files import write_atomically

from .sound import noises
from .sound import synthesis as syn
from .sound.music import music
from .sound.voices import VOICES, Utterance, Voice, say, sentence
from .worlds import World, check_seed

_RATE = 16000
_LOOP_SECONDS = 10.0  # of noise per session; a clip hears it from anywhere on
_STREAM = 0x5E55  # sessions are drawn apart from everything else that counts from 0


def _babble(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Four people who talk at once."""
    voices = [VOICES[index] for index in generator.choice(len(VOICES), 4, replace=False)]
    return sum(_speak_for(generator, voice, num_samples / sampling_rate).audio[:num_samples] for voice in voices)


def _air(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """The steady rush of ventilation and amplifiers."""
    noise = syn.coloured_noise(generator, num_samples, sampling_rate, generator.uniform(-8, 1))
    return syn.shape_spectrum(noise, sampling_rate, syn.random_equaliser(generator, 4.0, 1))


SESSION_NOISES = {
    "air": _air,
    "babble": _babble,
    "engine": noises.engine,
    "fan": functools.partial(noises.hum, kind="fan"),
    "keyboard": functools.partial(noises.clicks, kind="keyboard"),
    "mains": functools.partial(noises.hum, kind="mains"),
    "music": music,
    "rain": functools.partial(noises.rain_noise, kind="rain"),
}
CODECS = ("none", "telephone", "mu_law", "weak_bands_dropped")


@dataclass(frozen=True)
class RecordingSession:
    """What all clips of a session share.

    Args:
        number: its name.
        reverberation_seconds: time in which the room's echo falls by 60 dB.
        noise: one of `SESSION_NOISES`.
        snr_db: speech to noise, about; a clip is up to 3 dB better or worse.
        low_cut_hz, high_cut_hz: what the microphone lets through.
        overdrive: how far the amplifier bends the loudest samples at the least, 0 to 3.
        codec: one of `CODECS`; telephone is 8 kHz, 300 to 3400 Hz, mu-law.
    """

    number: int
    reverberation_seconds: float
    noise: str
    snr_db: float
    low_cut_hz: float
    high_cut_hz: float
    overdrive: float
    codec: str


class _Equipment(NamedTuple):
    """What of a session takes long to make."""

    room: np.ndarray
    noise: np.ndarray
    colour: Any  # frequencies in Hz to amplitude factors


def recording_session(number: int) -> RecordingSession:
    """The session with this number, 0 or more. There is no last one.

    Raises:
        ValueError: a negative number.
    """
    if number < 0:
        raise ValueError(f"`number` of a session must be 0 or more, got {number}.")
    generator = np.random.default_rng([_STREAM, number])
    # Each noise once in eight sessions, each codec once in four: few sessions are as varied as many.
    noise, codec = (
        names[np.random.default_rng([_STREAM, number // len(names), 2]).permutation(len(names))[number % len(names)]]
        for names in (tuple(SESSION_NOISES), CODECS)
    )
    return RecordingSession(
        number=int(number),
        reverberation_seconds=round(syn.log_uniform(generator, 0.08, 1.2), 3),
        noise=noise,
        snr_db=round(float(generator.uniform(6, 30)), 2),
        low_cut_hz=round(syn.log_uniform(generator, 30, 300), 1),
        high_cut_hz=round(float(generator.choice([8000, generator.uniform(3500, 8000)])), 1),
        overdrive=round(float(max(generator.uniform(-2, 3), 0)), 2),
        codec=codec,
    )


@functools.lru_cache(maxsize=64)  # 1.4 MB each
def _draw_equipment(number: int) -> _Equipment:
    session, generator = recording_session(number), np.random.default_rng([_STREAM, number, 1])
    room = syn.room_response(generator, _RATE, session.reverberation_seconds, generator.uniform(0, 1))
    colour = syn.random_equaliser(generator, generator.uniform(1, 5), 1)
    noise = SESSION_NOISES[session.noise](generator, round(_LOOP_SECONDS * _RATE), _RATE)
    return _Equipment(room, noise / max(syn.root_mean_square(noise), 1e-9), colour)


def session_clip(
    seed: int,
    *,
    speaker: int | None = None,
    session: int | None = None,
    num_speakers: int = 40,
    num_sessions: int = 12,
    first_speaker: int = 0,
    first_session: int = 0,
    seconds: float = 3.0,
    sampling_rate: int = 16000,
) -> dict[str, Any]:
    """A piece of somebody's talk, recorded in a session. The same arguments give the same samples.

    Args:
        seed: any integer from 0 on.
        speaker: an index into `VOICES`. None: one of the `num_speakers` from `first_speaker` on.
        session: a number for [`recording_session`]. None: one of the `num_sessions` from `first_session` on.
        seconds: length, 0.5 to 60.
        sampling_rate: in Hz, 8000 or more; clips are made at 16 kHz, so above 8 kHz there is nothing.

    Returns:
        dict of `audio` (float32 (num_samples,), within [-1, 1]), `sampling_rate`, `speaker`, `speaker_name`, `person`
        ("woman", "man", "child"), `language`, `session`, `snr_db` (speech, with its echo, to noise), `text` (the words
        of which at least half is heard) and `words` (dicts of `word`, `start`, `end` in seconds).

    Raises:
        ImportError: espeak-ng is not installed (`pip install espeakng-loader`).
        ValueError: an argument out of range.
    """
    check_seed(seed)
    _check_ranges(num_speakers, num_sessions, first_speaker, first_session)
    if not 0.5 <= seconds <= 60:
        raise ValueError(f"`seconds` must be from 0.5 to 60, got {seconds}.")
    if sampling_rate < 8000:
        raise ValueError(f"`sampling_rate` must be 8000 Hz or more, got {sampling_rate}.")
    if speaker is not None and not 0 <= speaker < len(VOICES):
        raise ValueError(f"`speaker` must be from 0 to {len(VOICES) - 1}, got {speaker}.")
    generator = np.random.default_rng(int(seed))
    drawn = int(generator.integers(num_speakers)), int(generator.integers(num_sessions))
    speaker = first_speaker + drawn[0] if speaker is None else int(speaker)
    session = first_session + drawn[1] if session is None else int(session)

    voice = VOICES[speaker]
    talk = _speak_for(generator, _vary_voice(generator, voice), seconds + 0.1)
    start = generator.uniform(0, talk.seconds - seconds)
    words = _find_words(talk, start, seconds)
    track, snr_db = _mix(generator, talk.audio, round(start * _RATE), round(seconds * _RATE), session)
    audio = _transmit(generator, track, session)
    audio = syn.fit_length(syn.resample(audio, _RATE, sampling_rate), round(seconds * sampling_rate))
    return {
        "audio": np.clip(audio, -1, 1).astype(np.float32),
        "sampling_rate": int(sampling_rate),
        "speaker": speaker,
        "speaker_name": voice.name,
        "person": voice.person,
        "language": voice.language,
        "session": session,
        "snr_db": snr_db,
        "text": " ".join(word["word"] for word in words),
        "words": words,
    }


def _check_ranges(num_speakers: int, num_sessions: int, first_speaker: int, first_session: int) -> None:
    if num_speakers < 1 or first_speaker < 0 or first_speaker + num_speakers > len(VOICES):
        raise ValueError(
            f"`num_speakers` ({num_speakers}) from `first_speaker` ({first_speaker}) on must be 1 or more of the "
            f"{len(VOICES)} voices, 0 to {len(VOICES) - 1}."
        )
    if num_sessions < 1 or first_session < 0:
        raise ValueError(
            f"`num_sessions` must be 1 or more and `first_session` 0 or more, got {num_sessions} and {first_session}."
        )


def _vary_voice(generator: syn.Generator, voice: Voice) -> Voice:
    """Nobody speaks twice alike: a little higher, faster or livelier."""
    return replace(
        voice,
        pitch_hz=voice.pitch_hz * 2 ** generator.normal(0, 0.08),
        pitch_range=int(np.clip(voice.pitch_range + generator.normal(0, 8), 0, 99)),
        rate_wpm=voice.rate_wpm * 2 ** generator.normal(0, 0.1),
        formant_scale=voice.formant_scale * 2 ** generator.normal(0, 0.015),
    )


def _speak_for(generator: syn.Generator, voice: Voice, seconds: float) -> Utterance:
    """At least so much speech, as one utterance."""
    parts, words, phonemes, texts, length = [], [], [], [], 0
    while length < seconds * _RATE:
        missing = seconds - length / _RATE
        text = sentence(generator, voice.language, int(missing * voice.rate_wpm / 60 * 1.2) + 3)
        part = say(text, voice, _RATE)
        if parts:
            parts.append(np.zeros(round(generator.uniform(0.1, 0.4) * _RATE)))
            length += len(parts[-1])
        for events, found in ((words, part.words), (phonemes, part.phonemes)):
            shift = length / _RATE
            events += [{**event, "start": event["start"] + shift, "end": event["end"] + shift} for event in found]
        texts.append(text)
        parts.append(part.audio)
        length += len(part.audio)
    return Utterance(" ".join(texts), np.concatenate(parts), _RATE, words, phonemes)


def _find_words(talk: Utterance, start: float, seconds: float) -> list[dict[str, str | float]]:
    """The words of which at least half lies in the window, with times from its beginning on."""
    heard = []
    for word in talk.words:
        first, last = max(word["start"] - start, 0.0), min(word["end"] - start, seconds)
        if last - first >= (word["end"] - word["start"]) / 2:
            heard.append({"word": word["word"], "start": round(first, 4), "end": round(last, 4)})
    return heard


def _mix(
    generator: syn.Generator, talk: np.ndarray, first: int, num_samples: int, number: int
) -> tuple[np.ndarray, float]:
    """(samples `first` to `first + num_samples` of the talk in the session's room and noise, speech to noise in dB)."""
    session, equipment = recording_session(number), _draw_equipment(number)
    early = max(first - len(equipment.room), 0)  # the room still holds what was said before
    speech = syn.convolve(talk[early : first + num_samples], equipment.room)[first - early :][:num_samples]
    speech = speech / max(syn.root_mean_square(speech), 1e-9)
    noise = np.take(equipment.noise, np.arange(num_samples) + generator.integers(len(equipment.noise)), mode="wrap")
    noise = noise / max(syn.root_mean_square(noise), 1e-9)
    # Under it all the hiss of the amplifier, so that the noise has no holes.
    noise = noise + generator.standard_normal(num_samples) * syn.decibels_to_gain(-15)
    snr_db = round(session.snr_db + float(np.clip(generator.normal(0, 1.5), -3, 3)), 2)
    return speech + noise * syn.decibels_to_gain(-snr_db) / syn.root_mean_square(noise), snr_db


def _transmit(generator: syn.Generator, track: np.ndarray, number: int) -> np.ndarray:
    """What the session's microphone, amplifier and codec make of the sound."""
    session, colour = recording_session(number), _draw_equipment(number).colour
    # 1. Microphone; nobody turns the head twice alike
    tilt = generator.normal(0, 0.15)

    def response(frequencies: np.ndarray) -> np.ndarray:
        passed = colour(frequencies) * (np.maximum(frequencies, 100) / 1000) ** tilt
        passed = passed * syn.high_pass_gain(frequencies, session.low_cut_hz, 2)
        return passed * syn.low_pass_gain(frequencies, session.high_cut_hz, 8) if session.high_cut_hz < 8000 else passed

    track = syn.shape_spectrum(track, _RATE, response)
    # 2. Overdrive; nobody is twice as near
    drive = session.overdrive + generator.uniform(0.1, 2.5)
    track = np.tanh(drive * track / max(np.max(np.abs(track)), 1e-9)) / np.tanh(drive)
    # 3. Level and codec
    track = track * syn.decibels_to_gain(generator.uniform(-20, -1))
    if session.codec == "telephone":
        narrow = syn.resample(track, _RATE, 8000)
        narrow = syn.shape_spectrum(
            narrow, 8000, lambda f: syn.high_pass_gain(f, 300, 4) * syn.low_pass_gain(f, 3400, 12)
        )
        return syn.fit_length(syn.resample(syn.mu_law(narrow), 8000, _RATE), len(track))
    if session.codec == "mu_law":
        return syn.mu_law(track)
    return syn.drop_weak_bands(track, 35.0) if session.codec == "weak_bands_dropped" else track


# ---------------------------------------------------------------------------------------------- data set


class Trial(NamedTuple):
    """One comparison of a speaker verification list; clips by their `id`."""

    same_speaker: int  # 1 or 0, the label of VoxCeleb lists
    first: str
    second: str
    same_session: int


class Sessions(World):
    """Data set of [`session_clip`]s: every speaker in every session.

    Each run of `num_speakers * num_sessions` clips holds every pair once, in an order of its own. With twice as many
    clips, every speaker has two utterances in each session.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        num_speakers, first_speaker: which of `VOICES`; speakers of the training set and others, for held-out speakers.
        num_sessions, first_session: which sessions; they are the same ones whatever the seed and the split.
        seconds, sampling_rate: of each clip, see [`session_clip`].
    """

    name = "sessions"
    version = 1
    make = staticmethod(session_clip)

    def __init__(
        self,
        num_clips: int,
        seed: int = 0,
        *,
        num_speakers: int = 40,
        num_sessions: int = 12,
        first_speaker: int = 0,
        first_session: int = 0,
        seconds: float = 3.0,
        sampling_rate: int = 16000,
        split: str = "train",
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        _check_ranges(num_speakers, num_sessions, first_speaker, first_session)
        super().__init__(
            num_clips,
            seed,
            split=split,
            cache_dir=cache_dir,
            num_speakers=num_speakers,
            num_sessions=num_sessions,
            first_speaker=first_speaker,
            first_session=first_session,
            seconds=seconds,
            sampling_rate=sampling_rate,
        )

    def label(self, index: int) -> tuple[int, int]:
        """(speaker, session) of clip `index`, without rendering it."""
        num_speakers, num_sessions = self.settings["num_speakers"], self.settings["num_sessions"]
        speaker, session = divmod(self.draw_balanced(index, num_speakers * num_sessions), num_sessions)
        return self.settings["first_speaker"] + speaker, self.settings["first_session"] + session

    def render(self, index: int) -> dict[str, Any]:
        speaker, session = self.label(index)
        return session_clip(self.derive_seed(index), speaker=speaker, session=session, **self.settings)

    def trials(self, num_trials: int, seed: int = 0) -> list[Trial]:
        """A verification list: a quarter each of same and other speakers within and across sessions, shuffled.

        Targets across sessions with non-targets within one make the hard list, the other two quarters the easy one.
        No clip meets itself, no pair occurs twice, in either order.

        Args:
            num_trials: a multiple of 4.
            seed: of the choice; the clips have their own.

        Raises:
            ValueError: not a multiple of 4, or more than the clips have pairs for.
        """
        if num_trials < 4 or num_trials % 4:
            raise ValueError(f"`num_trials` must be a positive multiple of 4, got {num_trials}.")
        generator = np.random.default_rng(check_seed(seed))
        labels = np.array([self.label(index) for index in range(self.num_clips)], np.int64).reshape(-1, 2)
        trials = []
        for same in itertools.product((1, 0), (1, 0)):
            pairs = _draw_pairs(generator, labels, np.array(same, bool), num_trials // 4)
            for pair in generator.permuted(pairs, axis=1):
                first, second = (self.clip_id(index) for index in pair)
                trials.append(Trial(same[0], first, second, same[1]))
        return [trials[index] for index in generator.permutation(num_trials)]


def _draw_pairs(generator: syn.Generator, labels: np.ndarray, same: np.ndarray, count: int) -> np.ndarray:
    """`count` different pairs of clips, each as likely as any other: (count, 2), the earlier clip first.

    Args:
        labels: (clips, 2), speaker and session.
        same: (2,) bool, whether the two clips of a pair share the speaker, and the session.
    """

    def find_partners(clip: int) -> np.ndarray:
        return np.flatnonzero(((labels[clip + 1 :] == labels[clip]) == same).all(axis=1)) + clip + 1

    # Pairs are numbered in order and their numbers drawn: a list of all pairs would be large.
    ends = np.cumsum([len(find_partners(clip)) for clip in range(len(labels))])
    available = int(ends[-1]) if len(ends) else 0
    if count > available:
        raise ValueError(
            f"`num_trials` asks for {count} pairs with {'one speaker' if same[0] else 'two speakers'} in "
            f"{'one session' if same[1] else 'two sessions'}, but {len(labels)} clips have {available}. Take fewer "
            "trials or more clips."
        )
    numbers = generator.choice(available, count, replace=False)
    firsts = np.searchsorted(ends, numbers, side="right")
    return np.array(
        [(one, find_partners(one)[number - ends[one]]) for one, number in zip(firsts, numbers, strict=True)]
    )


def write_trials(trials: list[Trial], path: str | os.PathLike) -> None:
    """Write a list as VoxCeleb's are: `1 test-0000004.wav test-0000013.wav` per line, 1 = same speaker."""
    with write_atomically(Path(path)) as unfinished:
        lines = [f"{trial.same_speaker} {trial.first}.wav {trial.second}.wav\n" for trial in trials]
        unfinished.write_text("".join(lines), "utf-8")
