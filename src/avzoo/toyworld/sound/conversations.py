"""Who says what, when, and how it sounds together: the sound of the talkers, and its labels.

Times are seconds on the clip's clock; a person is an index into lists, or its number where a voice is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import synthesis as syn
from .voices import VOICES, Utterance, Voice, say, sentence

SAMPLING_RATE = 16000

_PAUSE_SECONDS = {"single": (0.15, 1.0), "conversation": (-0.3, 0.7), "mixture": (0.05, 0.3), "off_screen": (0.1, 0.8)}
_INTERRUPTION = 0.15  # probability that somebody does not wait for the end of a sentence
_SHORT_PAUSE_SECONDS = 0.25  # within this, a person between two phonemes is still speaking
_RINGING = 256  # samples that a filter without delay rings before and after


def identity_voice(identity: int) -> Voice:
    """What the person with this number sounds like; there are as many voices as `VOICES`, and any number of faces."""
    return VOICES[identity % len(VOICES)]


@dataclass(frozen=True)
class Turn:
    """One sentence of one person; times of its utterance count from `start`, seconds of the clip's clock."""

    start: float
    utterance: Utterance

    @property
    def end(self) -> float:
        return self.start + len(self.utterance.audio) / SAMPLING_RATE

    def shift_events(self, events: Sequence[dict]) -> list[dict]:
        return [{**event, "start": event["start"] + self.start, "end": event["end"] + self.start} for event in events]


def conversation(
    generator: syn.Generator, situation: str, people: list[int], begin: float, end: float
) -> list[list[Turn]]:
    """The turns of each person between `begin` and `end`; who is off screen comes last among the people."""
    turns: list[list[Turn]] = [[] for _ in people]
    if situation == "mixture":
        return [
            monologue(generator, person, begin, end, situation) if index < 2 else []
            for index, person in enumerate(people)
        ]
    if situation == "conversation":
        time, speaker = begin - generator.uniform(0, 2.0), -1
        while time < end:
            others = [index for index in range(len(people)) if index != speaker]
            speaker = others[generator.integers(len(others))]
            turn = _speak_turn(generator, people[speaker], time)
            if turn.end > begin:
                turns[speaker].append(turn)
            interrupted = generator.random() < _INTERRUPTION
            time = turn.end + generator.uniform(*((-1.2, -0.4) if interrupted else _PAUSE_SECONDS[situation]))
    elif situation != "silent":
        speaker = 0 if situation == "single" else len(people) - 1
        turns[speaker] = monologue(generator, people[speaker], begin, end, situation)
    return turns


def monologue(generator: syn.Generator, person: int, begin: float, end: float, situation: str) -> list[Turn]:
    """The turns of somebody who talks all the time, with the pauses of a situation."""
    turns, time = [], begin - generator.uniform(0, 2.0)
    while time < end:
        turn = _speak_turn(generator, person, time)
        if turn.end > begin:
            turns.append(turn)
        time = turn.end + generator.uniform(*_PAUSE_SECONDS[situation])
    return turns


def _speak_turn(generator: syn.Generator, person: int, time: float) -> Turn:
    voice = identity_voice(person)
    return Turn(time, say(sentence(generator, voice.language), voice, SAMPLING_RATE))


def label_speech(person: int, turns: list[Turn], end: float) -> dict[str, Any]:
    """Labels of what somebody says between 0 and `end`."""
    voice = identity_voice(person)

    def clip_events(events: list[dict]) -> list[dict]:
        return [
            {**event, "start": round(event["start"], 4), "end": round(event["end"], 4)}
            for event in events
            if event["end"] > 0 and event["start"] < end
        ]

    return {
        "identity": person,
        "voice": voice.name,
        "language": voice.language,
        "words": clip_events([word for turn in turns for word in turn.shift_events(turn.utterance.words)]),
        "phonemes": clip_events([phoneme for turn in turns for phoneme in turn.shift_events(turn.utterance.phonemes)]),
    }


def find_speaking_frames(turns: list[Turn], times: np.ndarray) -> np.ndarray:
    """(frames,) bool: within a phoneme, or in a pause too short to notice."""
    speaking = np.zeros(len(times), bool)
    for turn in turns:
        phonemes = turn.shift_events(turn.utterance.phonemes)
        for index, phoneme in enumerate(phonemes):
            pause = not phoneme["ipa"]
            edge = index in (0, len(phonemes) - 1)
            if not (pause and (edge or phoneme["end"] - phoneme["start"] > _SHORT_PAUSE_SECONDS)):
                speaking |= (times >= phoneme["start"]) & (times < phoneme["end"])
    return speaking


# --------------------------------------------------------------------------------------------------- sound


def record(
    generator: syn.Generator, situation: str, turns: list[list[Turn]], window: tuple[float, float, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """(audio, what each person contributes to it, ratio of speech to noise in dB).

    Args:
        window: where the tracks begin (seconds), where the recording begins (seconds), its samples.
    """
    begin, start, num_samples = window
    first = round((start - begin) * SAMPLING_RATE)
    response = syn.room_response(generator, SAMPLING_RATE, syn.log_uniform(generator, 0.05, 0.5), generator.uniform())
    response[1:] *= generator.uniform(0, 0.7)
    colour = syn.random_equaliser(generator, generator.uniform(0, 3), 1)
    response = syn.shape_spectrum(np.pad(response, _RINGING), SAMPLING_RATE, colour)
    loudness_db = generator.uniform(-4, 4, len(turns))
    voices = np.zeros((len(turns), num_samples))
    for index, said in enumerate(turns):
        if said:
            track = _voice_track(said, begin, first + num_samples)
            voice = syn.convolve(track, response)[_RINGING:][first : first + num_samples]
            level = syn.root_mean_square(voice) if situation == "mixture" else syn.root_mean_square(track[track != 0])
            gain_db = 0.0 if situation == "mixture" else float(loudness_db[index])
            voices[index] = voice * syn.decibels_to_gain(gain_db) / max(level, 1e-6)
    snr_db = float(generator.uniform(12, 45))
    noise = syn.coloured_noise(generator, num_samples, SAMPLING_RATE, generator.uniform(-7, 0))
    audio = voices.sum(axis=0) + noise * syn.decibels_to_gain(-snr_db)
    # The microphone's level is set for a voice at its usual loudness, whether or not anybody speaks.
    peak = max(float(np.abs(audio).max()), 4.0)
    gain = syn.decibels_to_gain(generator.uniform(-18, -1)) / peak
    return (audio * gain).astype(np.float32), (voices * gain).astype(np.float32), round(snr_db, 2)


def _voice_track(turns: list[Turn], begin: float, num_samples: int) -> np.ndarray:
    track = np.zeros(num_samples)
    for turn in turns:
        syn.add_at(track, turn.utterance.audio, round((turn.start - begin) * SAMPLING_RATE))
    return track
