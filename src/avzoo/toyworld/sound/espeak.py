"""Speech by espeak-ng, with phoneme timings, through the wheel `espeakng-loader` (`pip install espeakng-loader`).

espeak-ng is GPL-3.0: nothing of it is part of avzoo, the library is loaded at run time if the user installed it.

The library keeps its state (flutter, noise, filter memories) in static variables which outlive
`espeak_Terminate`, so the same call gives other samples the second time. Every utterance here therefore gets a
freshly loaded copy that is unloaded afterwards: the samples depend on the arguments alone, in whichever thread
or process. Loading costs 3 ms. This holds as long as nothing else in the process keeps the same library file open.
"""

import _ctypes
import ctypes
import itertools
import os
import re
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_CHARS_UTF8 = 1
_EVENT_END_OF_LIST, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4

# Listed by espeak-ng 1.52, but the wheel lacks their dictionaries and they say nothing.
_MUTE_LANGUAGES = ("fo", "kaa", "xex")

_file_of_language: dict[str, str] = {}

# One utterance at a time: two threads that load the library share its static variables.
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a fork waits for the utterance to end, so that no child inherits half of one
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class PhonemeEvent(NamedTuple):
    """One phoneme of an utterance. `ipa` is empty for a pause; stress marks stay in it (`"ˈæ"`)."""

    ipa: str
    start_seconds: float
    duration_seconds: float


class WordEvent(NamedTuple):
    """One word of an utterance, as it is written in the text (punctuation included)."""

    text: str
    start_seconds: float
    duration_seconds: float


class Voice(NamedTuple):
    """One voice of the installed espeak-ng. Pass `language` as `voice` to [`speak`]."""

    language: str
    name: str


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class _VoiceRecord(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),  # one byte of priority, then the language code
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _paths() -> tuple[str, str]:
    """(library file, data folder) of the installed wheel."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ImportError(
            "Synthetic speech needs espeak-ng, which is not installed. Get it with `pip install espeakng-loader` "
            "(espeak-ng is GPL-3.0 software)."
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def is_available() -> bool:
    """Whether the optional speech synthesiser is installed."""
    try:
        _paths()
    except ImportError:
        return False
    return True


class _FreshLibrary:
    """Context: espeak-ng in the state it has in a new process. Hold `_lock` around it."""

    def __enter__(self) -> ctypes.CDLL:
        library_path, data_path = _paths()
        library = self._library = ctypes.CDLL(library_path)
        library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        library.espeak_ListVoices.argtypes = [ctypes.c_void_p]
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceRecord))
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        self.sampling_rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data_path), options)
        if self.sampling_rate <= 0:
            self._unload()
            raise RuntimeError(f"espeak-ng could not start with its data folder {Path(data_path).name!r}.")
        library.sampling_rate = self.sampling_rate
        library.espeak_ng_SetRandSeed(1)  # starting up seeds it with the time of day
        ctypes.CDLL(None).srand(1)  # a few variants ("Reed") draw from the C library, whose state outlives any copy
        return library

    def __exit__(self, *exception) -> None:
        self._library.espeak_Terminate()
        self._unload()

    def _unload(self) -> None:
        unload = _ctypes.FreeLibrary if sys.platform == "win32" else _ctypes.dlclose
        unload(self._library._handle)


def list_voices() -> list[Voice]:
    """The languages the installed espeak-ng speaks, sorted by code.

    Returns:
        One [`Voice`] per language and dialect, such as `Voice("en-us", "English (America)")`.
    """
    with _lock, _FreshLibrary() as library:
        return sorted(voice for voice, _ in _voice_records(library))


def _voice_records(library: ctypes.CDLL) -> list[tuple[Voice, str]]:
    """(voice, its data file) pairs."""
    voices = []
    for record in library.espeak_ListVoices(None):
        if not record:  # the list ends with a null pointer
            break
        identifier = record.contents.identifier.decode("utf-8", "replace")
        language = record.contents.languages[1:].decode("ascii", "replace")
        if not identifier.startswith("mb/") and language not in _MUTE_LANGUAGES:  # mb: MBROLA, not in the wheel
            voices.append((Voice(language, record.contents.name.decode("utf-8", "replace").strip()), identifier))
    return voices


def list_variants() -> list[str]:
    """The speaker variants (`"f3"`, `"klatt2"`, `"Andy"`, ...) that any voice can take, sorted."""
    return sorted(os.listdir(Path(_paths()[1], "voices", "!v")))


def speak(
    text: str,
    voice: str = "en-us",
    variant: str | None = None,
    rate_wpm: int = 170,
    pitch: int = 50,
    pitch_range: int = 50,
) -> tuple[np.ndarray, int]:
    """Text to speech. The same arguments give the same samples, in any thread or process.

    Args:
        text: what to say, in the language of `voice`.
        voice: language code, see [`list_voices`].
        variant: speaker, see [`list_variants`]. None: the plain voice.
        rate_wpm: speed in words per minute, 80 to 450.
        pitch: 0 (low) to 99 (high); 50 is the voice's own pitch.
        pitch_range: 0 (monotone) to 99 (lively).

    Returns:
        (samples, sampling rate in Hz): float32 (num_samples,) in [-1, 1], with the synthesiser's own pauses.

    Raises:
        ImportError: espeak-ng is not installed.
        ValueError: an unknown voice or variant, a number out of range, or an empty text.
    """
    samples, sampling_rate, _ = speak_with_phonemes(text, voice, variant, rate_wpm, pitch, pitch_range)
    return samples, sampling_rate


def speak_with_phonemes(
    text: str,
    voice: str = "en-us",
    variant: str | None = None,
    rate_wpm: int = 170,
    pitch: int = 50,
    pitch_range: int = 50,
) -> tuple[np.ndarray, int, list[PhonemeEvent]]:
    """As [`speak`], with what is said when.

    Returns:
        (samples, sampling rate, events): from the first phoneme to the end of the audio the events follow each
        other without gaps; a pause is an event with empty `ipa`.
    """
    samples, sampling_rate, phonemes, _ = _synthesise(text, voice, variant, rate_wpm, pitch, pitch_range)
    return samples, sampling_rate, phonemes


def speak_with_words(
    text: str,
    voice: str = "en-us",
    variant: str | None = None,
    rate_wpm: int = 170,
    pitch: int = 50,
    pitch_range: int = 50,
) -> tuple[np.ndarray, int, list[PhonemeEvent], list[WordEvent]]:
    """As [`speak_with_phonemes`], with the words too, each spoken on its own.

    espeak-ng reads some pairs as one word ("of the", "out of"), without saying where the second begins. No-break
    spaces between words prevent that, so the samples may differ a little from those of [`speak`].

    Returns:
        (samples, sampling rate, phonemes, words): one word per piece of `text` between blanks, in order, from its first
        phoneme to the end of its last. Pieces that say nothing (a dash) are left out.
    """
    apart = _keep_words_apart(text)
    samples, sampling_rate, phonemes, starts = _synthesise(apart, voice, variant, rate_wpm, pitch, pitch_range)
    return samples, sampling_rate, phonemes, _words(apart, starts, phonemes, sampling_rate)


def _synthesise(
    text: str, voice: str, variant: str | None, rate_wpm: int, pitch: int, pitch_range: int
) -> tuple[np.ndarray, int, list[PhonemeEvent], list[tuple[int, int]]]:
    """(samples, sampling rate, phonemes, (position in the text, first sample) of every word it announces)."""
    _check_range("rate_wpm", rate_wpm, 80, 450)
    _check_range("pitch", pitch, 0, 99)
    _check_range("pitch_range", pitch_range, 0, 99)
    if not text.strip() or "\0" in text:
        raise ValueError(f"`text` must hold words and no NUL character, got {text!r}.")

    chunks: list[np.ndarray] = []
    phoneme_starts: list[tuple[str, int]] = []
    word_starts: list[tuple[int, int]] = []

    def receive(samples, num_samples, events):
        position = 0
        while events[position].type != _EVENT_END_OF_LIST:
            event = events[position]
            if event.type == _EVENT_PHONEME:
                # The field is 8 bytes wide and may cut a character in two.
                phoneme_starts.append((event.id.string.decode("utf-8", "ignore"), event.sample))
            elif event.type == _EVENT_WORD:
                word_starts.append((event.text_position - 1, event.sample))  # counted in characters, from 1
            position += 1
        if samples and num_samples > 0:
            chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())  # espeak-ng reuses the buffer
        return 0

    callback = _SynthCallback(receive)  # a name of its own: ctypes does not keep it alive
    with _lock, _FreshLibrary() as library:
        _set_voice(library, voice, variant)
        library.espeak_SetParameter(_PARAMETER_RATE, int(rate_wpm), 0)
        library.espeak_SetParameter(_PARAMETER_PITCH, int(pitch), 0)
        library.espeak_SetParameter(_PARAMETER_RANGE, int(pitch_range), 0)
        library.espeak_SetSynthCallback(callback)
        encoded = text.encode("utf-8")
        status = library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        sampling_rate = library.sampling_rate
    if status != 0:
        raise RuntimeError(f"espeak-ng failed on `text` {text!r} with status {status}.")
    samples = np.concatenate(chunks).astype(np.float32) / 32768 if chunks else np.zeros(0, np.float32)
    return samples, sampling_rate, _phonemes(phoneme_starts, len(samples), sampling_rate), word_starts


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, got {value}.")


def _set_voice(library: ctypes.CDLL, voice: str, variant: str | None) -> None:
    # espeak-ng ignores a variant it does not know and answers "no error".
    if variant is not None and variant not in list_variants():
        raise ValueError(f"`variant` {variant!r} is not one of espeak-ng's; `list_variants()` names them.")
    suffix = "" if variant is None else f"+{variant}"

    def select_voice(name: str) -> bool:
        return library.espeak_SetVoiceByName((name + suffix).encode("utf-8")) == 0

    if voice and voice not in _MUTE_LANGUAGES:
        if select_voice(voice):
            return
        # A few codes ("fr-fr", "en-gb") are listed but not found by name; the name of the voice's file is.
        if not _file_of_language:  # asked for once: the list takes as long as two seconds of speech
            for listed, file in _voice_records(library):
                _file_of_language.setdefault(listed.language, file.rsplit("/", 1)[-1])
        if voice in _file_of_language and select_voice(_file_of_language[voice]):
            return
    raise ValueError(f"`voice` {voice!r} is not one of espeak-ng's; `list_voices()` names them.")


def _phonemes(starts: list[tuple[str, int]], num_samples: int, sampling_rate: int) -> list[PhonemeEvent]:
    """(ipa, first sample) pairs to events; a phoneme lasts until the next one starts."""
    ends = [sample for _, sample in starts[1:]] + [num_samples]
    return [
        PhonemeEvent(ipa, start / sampling_rate, (end - start) / sampling_rate)
        for (ipa, start), end in zip(starts, ends, strict=True)
        if end > start
    ]


def _keep_words_apart(text: str) -> str:
    """`text` with no-break spaces, save after punctuation, where espeak-ng needs a blank to see it."""
    pieces = text.split()
    return "".join(piece + ("\u00a0" if piece[-1].isalnum() else " ") for piece in pieces).rstrip()


def _words(
    text: str, starts: list[tuple[int, int]], phonemes: list[PhonemeEvent], sampling_rate: int
) -> list[WordEvent]:
    """What lies between the blanks of `text`, with the phonemes that follow its event (a number has several)."""
    pieces = list(re.finditer(r"\S+", text))
    first_samples: dict[int, int] = {}  # by piece
    index = 0
    for position, sample in starts:
        while index + 1 < len(pieces) and pieces[index + 1].start() <= position:
            index += 1
        first_samples.setdefault(index, sample)
    words = []
    bounds = [sample / sampling_rate for sample in first_samples.values()] + [float("inf")]
    for index, (start, stop) in zip(first_samples, itertools.pairwise(bounds), strict=True):
        spoken = [event for event in phonemes if event.ipa and start <= event.start_seconds < stop]
        if spoken:
            end = spoken[-1].start_seconds + spoken[-1].duration_seconds
            words.append(WordEvent(pieces[index].group(), spoken[0].start_seconds, end - spoken[0].start_seconds))
    return words
