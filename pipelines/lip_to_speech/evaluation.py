"""How made speech compares with the recording of what was really said: one table for any system.

    pairs = read_sound_folders({"made": "made_wavs"}, "real_wavs", texts)
    report = score_speech((pair.read() for pair in pairs), recognizer=load_recognizer("openai/whisper-small.en"))
    print(report.describe())

Protocol:
1. Sounds are mono at 16 kHz. Made and real sound are cut to the shorter of both; how much was cut is reported.
2. Words: a named recogniser writes down made and real sound, neither of them cut. Error rates are errors over words
   of the whole set, of texts normalised by [`avzoo.metrics.normalize_transcript`]. Rates of different recognisers can't
   be compared: the report holds the name, and the rate of the real recordings beside.
3. STOI, ESTOI, PESQ (wide band), and ESTOI at the best lag, for sets whose sound and video don't start together.
4. Pitch by [`avzoo.audio.estimate_pitch`]: moments of all voiced frames of the set, of made and real ones, and the
   distance of melodies clip by clip.
5. Energy (FastSpeech 2's, linear) and log-mel spectrograms are of sounds brought to one peak, 1 / 1.1,
   unless they are silent (below 1e-4); where the real sound is silent, both are undefined.

Means are over the clips whose score is defined: silence has no ESTOI, a whisper no pitch. The report counts the others.
"""

import csv
import importlib.util
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.audio import MelSettings, estimate_pitch, normalize_peak, stft_energy
from avzoo.checks import check_number
from avzoo.data.lists import PathLike
from avzoo.files import write_atomically
from avzoo.hub.errors import explain_hub_errors
from avzoo.metrics.intelligibility import estoi, pesq_wb, stoi
from avzoo.metrics.speech_reconstruction import (
    TEXT_NORMALIZATION,
    PitchMoments,
    TranscriptErrorRate,
    aligned_estoi,
    bin_detail_ratio,
    frame_distance,
    global_variance_ratio,
    normalize_transcript,
    pitch_dtw_distance,
    pitch_moments,
    transcript_error_rate,
)
from avzoo.pipelines.shared.saved_folders import explain_damage

RATE = 16000  # Hz
REAL = "real"  # the column of the recordings themselves
PEAK = 1 / 1.1
SILENCE = 1e-4  # peak of full scale below which a sound is silent: -80 dB

# Scores of a clip: what a reader sees of each, and how many digits.
SCORES = {
    "stoi": ("STOI", 3),
    "estoi": ("ESTOI", 3),
    "estoi_aligned": ("ESTOI, best lag", 3),
    "lag_seconds": ("that lag, s", 3),
    "pesq_wb": ("PESQ-wb", 2),
    "pitch_dtw_hz": ("pitch, DTW distance, Hz", 1),
    "energy_error": ("energy, mean abs. error", 2),
    "variance_ratio": ("variance over time, ratio", 2),
    "detail_ratio": ("detail between bins, ratio", 2),
    "mel_l1": ("log-mel of the sound, L1", 3),
    "mel_l1_coarse": ("log-mel, coarse, L1", 3),
    "mel_l1_refined": ("log-mel, refined, L1", 3),
    "unit_accuracy": ("units that are right, %", 1),
}
_MOMENTS = {"std": "pitch, deviation, Hz", "skewness": "pitch, skewness", "kurtosis": "pitch, excess kurtosis"}
_RATES = {"word": "WER, %", "character": "CER, %"}


@dataclass(frozen=True)
class SpeechClip:
    """What is compared.

    Args:
        id: of the clip.
        real: (samples,), the recording, 16 kHz.
        made: {system: (samples,)}, 16 kHz; the same systems in every clip.
        text: what is said. None: not known.
        measures: {system: {score: value}}, of `SCORES`, which sounds alone don't tell.
    """

    id: str
    real: np.ndarray
    made: Mapping[str, np.ndarray]
    text: str | None = None
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recognizer:
    """Sound to text, with the name that error rates are printed with.

    Args:
        name: of the model, as others can load it.
        transcribe: (samples,) float32 at 16 kHz to text.
    """

    name: str
    transcribe: Callable[[np.ndarray], str]


@dataclass(frozen=True)
class ClipScores:
    """Scores of one clip of one system; those that are undefined are None, and `undefined` says why."""

    id: str
    system: str
    seconds: float
    cut_seconds: float
    scores: dict[str, float | None]
    undefined: dict[str, str]
    text: str | None = None
    transcript: str | None = None


@dataclass(frozen=True)
class SpeechReport:
    """What an evaluation found.

    Args:
        systems: in the order of the columns.
        clips: each clip of each system.
        rates: {system: {"word", "character": rate}}, with `REAL`; empty without a recogniser.
        pitch: {system: moments of all voiced frames, or None}, with `REAL`.
        options: how it was made.
        notes: what a reader has to know, a sentence each.
    """

    systems: tuple[str, ...]
    clips: list[ClipScores]
    rates: dict[str, dict[str, TranscriptErrorRate]]
    pitch: dict[str, PitchMoments | None]
    options: dict[str, Any]
    notes: list[str]

    @property
    def means(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """{system: {score: {"mean": over the clips where it is defined, or None, "clips", "undefined": how many}}}."""
        means: dict[str, dict[str, dict[str, float | int | None]]] = {system: {} for system in self.systems}
        for system in self.systems:
            rows = [clip for clip in self.clips if clip.system == system]
            for score in SCORES:
                known = [clip.scores[score] for clip in rows if score in clip.scores]
                values = [value for value in known if value is not None]
                if known:
                    mean = math.fsum(values) / len(values) if values else None
                    means[system][score] = {"mean": mean, "clips": len(values), "undefined": len(known) - len(values)}
        return means

    def describe(self) -> str:
        """The report as a table, to print."""
        columns = (*self.systems, REAL)
        width = max(12, *(len(name) + 2 for name in columns))
        rows: list[tuple[str, dict[str, str]]] = []
        for unit, label in _RATES.items():
            if self.rates:
                rows.append((label, {name: f"{rates[unit].value:.2f}" for name, rates in self.rates.items()}))
        means = self.means
        for score, (label, digits) in SCORES.items():
            cells = {system: means[system][score] for system in self.systems if score in means[system]}
            if cells:
                texts = {
                    name: "-" if cell["mean"] is None else f"{cell['mean']:.{digits}f}" for name, cell in cells.items()
                }
                rows.append((label, texts))
        for moment, label in _MOMENTS.items():
            values = {name: None if found is None else getattr(found, moment) for name, found in self.pitch.items()}
            rows.append((label, {name: "-" if value is None else f"{value:.2f}" for name, value in values.items()}))
        count = len({clip.id for clip in self.clips})
        lines = [f"{count} clips", *(f"{name}: {value}" for name, value in self.options.items()), ""]

        def align(label: str, cells: Mapping[str, str]) -> str:
            return f"{label:<28}" + "".join(cells.get(name, "").rjust(width) for name in columns)

        lines.append(align("", {name: name for name in columns}))
        lines += [align(label, cells) for label, cells in rows]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it; undefined scores are null."""
        rates = {
            system: {
                unit: {"percent": rate.value, "errors": rate.errors, "total": rate.total, "clips": len(rate.clips)}
                for unit, rate in of_system.items()
            }
            for system, of_system in self.rates.items()
        }
        return {
            "options": self.options,
            "notes": self.notes,
            "error_rates": rates,
            "means": self.means,
            "pitch": {name: None if found is None else asdict(found) for name, found in self.pitch.items()},
            "clips": [asdict(clip) for clip in self.clips],
        }

    def save(self, path: PathLike) -> None:
        """Write the report as JSON, atomically."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        with write_atomically(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")

    def save_clips(self, path: PathLike) -> None:
        """Write a comma-separated table, atomically: a line for each clip of each system; undefined is empty."""
        scores = [name for name in SCORES if any(name in clip.scores for clip in self.clips)]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(
            ["id", "system", "seconds", "cut_seconds", *scores, "word_errors", "words", "text", "transcript"]
        )
        for clip in self.clips:
            rate = self.rates.get(clip.system, {}).get("word")
            errors = ("", "") if rate is None else rate.clips.get(clip.id, ("", ""))
            values = ["" if clip.scores.get(name) is None else f"{clip.scores[name]:.6g}" for name in scores]
            times = [f"{clip.seconds:.3f}", f"{clip.cut_seconds:.3f}"]
            writer.writerow([clip.id, clip.system, *times, *values, *errors, clip.text or "", clip.transcript or ""])
        with write_atomically(path) as unfinished:
            unfinished.write_text(table.getvalue(), encoding="utf-8")


def load_recognizer(name: str, *, language: str | None = None, device: Any = None) -> Recognizer:
    """A recogniser by its folder or Hub id, as transformers' `automatic-speech-recognition` loads it.

    Args:
        language: for those that know several (Whisper); part of the name, as is a repository's commit.

    Raises:
        OSError, ValueError: it can't be loaded.
    """
    import transformers

    with explain_damage(name), explain_hub_errors(name):
        pipe = transformers.pipeline("automatic-speech-recognition", model=name, device=device)
    commit = getattr(getattr(getattr(pipe, "model", None), "config", None), "_commit_hash", None)
    return wrap_recognizer(pipe, name if commit is None else f"{name}@{commit[:12]}", language=language)


def wrap_recognizer(pipe: Callable[..., Any], name: str, *, language: str | None = None) -> Recognizer:
    """A recogniser of a pipeline that is loaded: it takes {"raw", "sampling_rate"} and gives {"text"}."""
    if not name:
        raise ValueError("`name` is empty; error rates of recognisers without a name can't be compared.")
    options = {} if language is None else {"generate_kwargs": {"language": language, "task": "transcribe"}}

    def transcribe(samples: np.ndarray) -> str:
        return pipe({"raw": samples.copy(), "sampling_rate": RATE}, **options)["text"]

    return Recognizer(name if language is None else f"{name} ({language})", transcribe)


def score_speech(
    clips: Iterable[SpeechClip],
    *,
    recognizer: Recognizer | None = None,
    mel: MelSettings | None = None,
    max_lag_seconds: float = 0.2,
    options: Mapping[str, Any] | None = None,
    total: int | None = None,
    progress: bool = False,
) -> SpeechReport:
    """Score clips one after the other, as they come; see the top of this file for the protocol.

    Args:
        clips: e.g. of [`speak_clips`] or [`read_sound_folders`].
        recognizer: of words. None: there are no error rates.
        mel: of the spectrograms, at 16 kHz. None: LTBS's.
        max_lag_seconds: for ESTOI at the best lag. 0: it is left out.
        options: more lines for the report: model, data set, voice.
        total: clips, for the bar.
        progress: show a bar.

    Raises:
        TypeError, ValueError: no clips, an id that comes twice, an empty sound, other systems than those of the first
            clip, NaN, a recogniser and no text of any clip.
    """
    check_number("max_lag_seconds", max_lag_seconds, at_least=0, unit="s")
    mel = MelSettings() if mel is None else mel
    if mel.sampling_rate != RATE:
        raise ValueError(f"`mel` must be of {RATE} Hz, got {mel.sampling_rate} Hz.")
    scorer = _Scorer(recognizer, mel, max_lag_seconds)
    for clip in tqdm(clips, desc="clips", total=total, disable=not progress):
        scorer.add(clip)
    return scorer.finish(dict(options or {}))


class _Scorer:
    """Keeps of each clip what the report needs, no sound."""

    def __init__(self, recognizer: Recognizer | None, mel: MelSettings, max_lag_seconds: float):
        self.recognizer, self.mel, self.max_lag_seconds = recognizer, mel, max_lag_seconds
        self.systems: tuple[str, ...] = ()
        self.clips: list[ClipScores] = []
        self.texts: dict[str, str] = {}
        self.transcripts: dict[str, dict[str, str]] = {}
        self.pitch: dict[str, list[np.ndarray]] = {}
        self.ids: set[str] = set()
        missing = [name for name in ("pystoi", "pesq") if importlib.util.find_spec(name) is None]
        self.notes = [f"{name} is not installed; its scores are left out." for name in missing]
        self.has_stoi, self.has_pesq = "pystoi" not in missing, "pesq" not in missing

    def add(self, clip: SpeechClip) -> None:
        self._check(clip)
        real = np.asarray(clip.real, dtype=np.float32)
        real_pitch = self._find_pitch(real)
        self.pitch[REAL].append(real_pitch[real_pitch > 0])
        text = clip.text if clip.text is not None and normalize_transcript(clip.text) else None
        listens = self.recognizer is not None and text is not None
        if listens:
            self.texts[clip.id] = text
            self.transcripts[REAL][clip.id] = self.recognizer.transcribe(real)
        for system in self.systems:
            made = np.asarray(clip.made[system], dtype=np.float32)
            if listens:
                self.transcripts[system][clip.id] = self.recognizer.transcribe(made)
            shorter = min(len(made), len(real))
            cut = abs(len(made) - len(real)) / RATE
            scores, undefined = self._score(made[:shorter], real[:shorter], system, clip)
            heard = self.transcripts.get(system, {}).get(clip.id)
            self.clips.append(ClipScores(clip.id, system, shorter / RATE, cut, scores, undefined, clip.text, heard))

    def _check(self, clip: SpeechClip) -> None:
        if clip.id in self.ids:
            raise ValueError(f"`clips` hold {clip.id!r} twice; ids tell clips apart.")
        self.ids.add(clip.id)
        if not self.systems:
            if not clip.made or REAL in clip.made:
                raise ValueError(f"`clips`: {clip.id} must have made sounds by system, none called {REAL!r}.")
            self.systems = tuple(clip.made)
            self.transcripts = {name: {} for name in (*self.systems, REAL)}
            self.pitch = {name: [] for name in (*self.systems, REAL)}
        if set(clip.made) != set(self.systems):
            raise ValueError(
                f"`clips`: {clip.id} has the systems {', '.join(clip.made)}, the first clip {', '.join(self.systems)}."
            )
        for name, sound in {**clip.made, REAL: clip.real}.items():
            sound = np.asarray(sound)
            if sound.ndim != 1 or not np.issubdtype(sound.dtype, np.floating):
                raise TypeError(
                    f"`clips`: the sound {name!r} of {clip.id} must be (samples,) in floating point, got {sound.shape} "
                    f"of {sound.dtype}."
                )
            if not len(sound):
                raise ValueError(f"`clips`: the sound {name!r} of {clip.id} is empty.")
            if not np.isfinite(sound).all():
                raise ValueError(f"`clips`: the sound {name!r} of {clip.id} holds NaN or infinite samples.")

    def _find_pitch(self, sound: np.ndarray) -> np.ndarray:
        return estimate_pitch(torch.from_numpy(np.ascontiguousarray(_bring_to_peak(sound)))).numpy()

    def _score(
        self, made: np.ndarray, real: np.ndarray, system: str, clip: SpeechClip
    ) -> tuple[dict[str, float | None], dict[str, str]]:
        """Scores of two sounds of one length, and why some are None."""
        pitches = self._find_pitch(made), self._find_pitch(real)
        self.pitch[system].append(pitches[0][pitches[0] > 0])
        level_made, level_real = (torch.from_numpy(_bring_to_peak(sound)) for sound in (made, real))
        mels, energies = [], []
        too_short = None
        try:
            mels = [self.mel.compute(sound).numpy() for sound in (level_made, level_real)]
            energies = [stft_energy(sound).numpy() for sound in (level_made, level_real)]
        except ValueError as error:
            too_short = str(error)

        def compare(measure: Callable[..., float], parts: list[np.ndarray]) -> float:
            if too_short is not None:
                raise ValueError(too_short)
            return measure(*parts)

        calls: dict[str, Callable[[], float]] = {}
        if self.has_stoi:
            calls |= {"stoi": lambda: stoi(made, real, RATE), "estoi": lambda: estoi(made, real, RATE)}
        if self.has_pesq:
            calls["pesq_wb"] = lambda: pesq_wb(made, real, RATE)
        calls |= {
            "pitch_dtw_hz": lambda: pitch_dtw_distance(*pitches),
            "energy_error": lambda: compare(partial(_compare_levels, real), energies),
            "variance_ratio": lambda: compare(global_variance_ratio, mels),
            "detail_ratio": lambda: compare(bin_detail_ratio, mels),
            "mel_l1": lambda: compare(partial(_compare_levels, real), mels),
        }
        scores: dict[str, float | None] = {}
        undefined: dict[str, str] = {}
        for name, call in calls.items():
            try:
                scores[name] = float(call())
            except ValueError as error:
                scores[name], undefined[name] = None, str(error)
        if self.has_stoi and self.max_lag_seconds:
            names = ("estoi_aligned", "lag_seconds")
            try:
                found = aligned_estoi(made, real, RATE, max_lag_seconds=self.max_lag_seconds)
            except ValueError as error:
                found, undefined["estoi_aligned"] = (None, None), str(error)
            scores |= dict(zip(names, found, strict=True))
        for name, value in clip.measures.get(system, {}).items():
            if name not in SCORES:
                raise ValueError(f"`clips`: {clip.id} has the unknown measure {name!r}; known: {', '.join(SCORES)}.")
            if value is not None and not math.isfinite(value):
                raise ValueError(f"`clips`: the measure {name!r} of {clip.id} is {value}.")
            scores[name] = value
            if value is None:
                undefined[name] = "not known of this clip"
        return scores, undefined

    def finish(self, options: dict[str, Any]) -> SpeechReport:
        if not self.ids:
            raise ValueError("`clips` are none; there is nothing to evaluate.")
        rates: dict[str, dict[str, TranscriptErrorRate]] = {}
        if self.recognizer is not None:
            if not self.texts:
                raise ValueError(
                    "`clips` have no text, without which there are no error rates; leave out `recognizer`."
                )
            for system, heard in self.transcripts.items():
                rates[system] = {unit: transcript_error_rate(self.texts, heard, unit) for unit in _RATES}
            options |= {"recognizer": self.recognizer.name, "text normalization": TEXT_NORMALIZATION}
            if len(self.texts) < len(self.ids):
                self.notes.append(f"Error rates are of the {len(self.texts)} of {len(self.ids)} clips with a text.")
        if self.has_stoi and self.max_lag_seconds:
            options["best lag"] = f"of -{self.max_lag_seconds:g} to {self.max_lag_seconds:g} s in steps of 0.01 s"
        moments: dict[str, PitchMoments | None] = {}
        for system, parts in self.pitch.items():
            try:
                moments[system] = pitch_moments(np.concatenate(parts))
            except ValueError as error:
                moments[system] = None
                self.notes.append(f"Moments of the pitch of {system} are undefined: {error}")
        self._count_undefined()
        longest = max(self.clips, key=lambda clip: clip.cut_seconds)
        if longest.cut_seconds >= 0.1:
            self.notes.append(
                f"Made and real sound differ in length, by {longest.cut_seconds:.2f} s at most ({longest.id}, "
                f"{longest.system}); the longer is cut."
            )
        return SpeechReport(self.systems, self.clips, rates, moments, options, self.notes)

    def _count_undefined(self) -> None:
        for system in self.systems:
            for score, (label, _) in SCORES.items():
                bad = [clip for clip in self.clips if clip.system == system and score in clip.undefined]
                if bad:
                    self.notes.append(
                        f"{label} is undefined for {len(bad)} of {len(self.ids)} clips of {system}, the first is "
                        f"{bad[0].id}: {bad[0].undefined[score]}"
                    )


def _bring_to_peak(sound: np.ndarray) -> np.ndarray:
    if np.abs(sound).max() < SILENCE:
        return sound  # noise of the last bit would become loud
    return normalize_peak(torch.from_numpy(np.ascontiguousarray(sound)), PEAK)[0].numpy()


def _compare_levels(real: np.ndarray, made_frames: np.ndarray, real_frames: np.ndarray) -> float:
    if np.abs(real).max() < SILENCE:
        raise ValueError("the real sound is silent, and levels are relative to its peak.")
    return frame_distance(made_frames, real_frames)


__all__ = [
    "RATE",
    "REAL",
    "SCORES",
    "ClipScores",
    "Recognizer",
    "SpeechClip",
    "SpeechReport",
    "load_recognizer",
    "score_speech",
    "wrap_recognizer",
]
