"""Training clips of AVDiffuSS: faces that talk, in mixtures of two voices, or of a voice and noise.

    rows = voxceleb2("voxceleb2", "dev")
    AVDiffuSSMixtures(rows)[0]      # {"target": (32640,), "mixture": (32640,) at 16 000 Hz, "video": (51, 112, 112)}

Source: kaistmm/AVDiffuSS@86d8203 (`sgmse/data_module_vi.py`).
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch

from avzoo.audio.mixing import mix_at_equal_level, mix_at_snr
from avzoo.audio.reading import read_audio
from avzoo.audio.segments import read_rate_and_length, read_segment
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.data.draws import draw_uniform, draw_whole_number
from avzoo.data.lists import PathLike
from avzoo.rates import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, SAMPLING_RATE
from avzoo.video.crops import grey_face
from avzoo.video.reading import VideoReader

_MIN_FRAMES = 30  # 1.2 s: less than this isn't repeated to fill a clip, but left out
_MAX_UNUSABLE_ROWS = 100  # in succession


class AVDiffuSSMixtures(torch.utils.data.Dataset):
    """Voices to be separated, each with its face: what AVDiffuSS was trained on.

    Item i is a random stretch of utterance i, in a mixture with a stretch of another one, drawn anew. Each sound is
    divided by its standard deviation, its mean being kept; so they are added, at equal level or at a ratio from
    `snr_range`. Then one gain for all makes u the largest magnitude in target, rest and mixture: u is drawn from
    N(0.9, 0.5), and where that is outside of [0.3, 0.99], from U(0.3, 0.99).

    What is shorter than a clip is repeated from its beginning. Another row is drawn for one that is unusable: shorter
    than 1.2 s, silent in the stretch, or damaged. A file that is missing is an error.

    Kinds, as the authors call them, and the rest of their mixtures:

    | kind | rest |
    |---|---|
    | "speech" (SS) | a voice |
    | "noise" (SE) | a stretch of `noise` |
    | "speech and noise" (SES) | a voice, and `noise_weight` times a stretch of `noise` |

    Here other than in the authors' code: each epoch has every utterance once (theirs draws a video, then one of its
    utterances); interferers change from epoch to epoch; with an SNR, the target is the voice as the mixture holds it,
    so that mixture - target = rest (theirs keeps its level from before the mixing); "speech and noise" works without.

    Args:
        target_rows: {"audio", "video", "speaker", "id"}, see [`avzoo.data.voxceleb2`]; without a "speaker" every row is
            another speaker's.
        interferer_rows: whose voices are mixed in, with "audio" and, to be told apart, "speaker". None: the same.
        seconds: length of a clip, a whole number of frames of 0.04 s.
        noise: path(s) of recordings.
        kind: what is mixed.
        noise_weight: of noise beside a voice.
        snr_range: lowest and highest ratio of target to rest, dB; the authors' is (-6.0, 12.0). The energy is kept:
            a * target + b * rest with a^2 + b^2 = 1. None: equal levels.
        aligned: sound and frames begin together, on a frame, and are repeated together. False as the authors: sound
            begins anywhere, frames at the last whole second before, so that they lag by up to 1 s.
        face_size: side of the pictures, pixels.
        seed: makes item i the same whenever it is read; it then depends on the seed, i, and the rows. None: drawn anew
            each time from torch's global generator, which the training loop seeds.
        avoid_same_speaker: mix voices of different speakers. False as the authors: only of different files.

    Raises:
        ValueError: no rows, no one to interfere, an argument out of its range or without use for the kind.
        On reading an item: FileNotFoundError, or ValueError after 100 unusable rows, with what is wrong with the last.
    """

    def __init__(
        self,
        target_rows: Sequence[Mapping[str, str]],
        interferer_rows: Sequence[Mapping[str, str]] | None = None,
        *,
        seconds: float = 2.04,
        noise: PathLike | Sequence[PathLike] | None = None,
        kind: Literal["speech", "noise", "speech and noise"] = "speech",
        noise_weight: float = 0.5,
        snr_range: tuple[float, float] | None = None,
        aligned: bool = True,
        face_size: int = 112,
        seed: int | None = None,
        avoid_same_speaker: bool = True,
    ):
        check_choice("kind", kind, ("speech", "noise", "speech and noise"))
        if not len(target_rows):
            raise ValueError("`target_rows` is empty: no utterance of the dataset was found.")
        noise = [noise] if isinstance(noise, str | os.PathLike) else noise
        with_voice, with_noise = kind != "noise", kind != "speech"
        if with_noise and (noise is None or not len(noise)):
            raise ValueError(f"`noise` is needed for the kind {kind!r}: paths of at least one recording.")
        if not with_noise and noise is not None:
            raise ValueError(f"`noise` is not used by the kind {kind!r}; did you mean 'speech and noise'?")
        if not with_voice and interferer_rows is not None:
            raise ValueError(f"`interferer_rows` is not used by the kind {kind!r}; did you mean 'speech and noise'?")
        num_frames = round(seconds * FRAMES_PER_SECOND) if math.isfinite(seconds) else 0
        if num_frames < 1 or not math.isclose(seconds * FRAMES_PER_SECOND, num_frames):
            raise ValueError(f"`seconds` must be a whole number of frames of 0.04 s, at least one, got {seconds}.")
        check_number("noise_weight", noise_weight, above=0)
        if snr_range is not None:
            lowest, highest = snr_range
            if not -math.inf < lowest <= highest < math.inf:
                raise ValueError(f"`snr_range` must be two finite numbers, the lower first, got ({lowest}, {highest}).")
        check_whole_number("face_size", face_size, at_least=1, unit="pixel")
        self.target_rows, self.noise, self.kind, self.noise_weight = target_rows, noise, kind, noise_weight
        self.num_frames, self.num_samples = num_frames, num_frames * SAMPLES_PER_FRAME
        self.snr_range, self.aligned, self.face_size, self.seed = snr_range, aligned, face_size, seed
        self.avoid_same_speaker = avoid_same_speaker
        self.interferers = None
        if with_voice:
            rows = target_rows if interferer_rows is None else interferer_rows
            self.interferers = _OtherVoices(rows, self._identify_voice)
            lonely = next((row for row in target_rows if not self.interferers.count(self._identify_voice(row))), None)
            if lonely is not None:
                given = "target_rows" if interferer_rows is None else "interferer_rows"
                advice = " Pass avoid_same_speaker=False to mix files of one speaker." if avoid_same_speaker else ""
                raise ValueError(f"`{given}` has no voice to mix with {_describe(lonely)} but its own.{advice}")

    def __len__(self) -> int:
        return len(self.target_rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.target_rows[index]
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed * len(self) + index % len(self)
        generator = torch.Generator().manual_seed(seed)

        def another_target() -> Mapping[str, str]:
            return self.target_rows[draw_whole_number(len(self), generator)]

        row, (target, frames) = _read_first_usable(
            row, another_target, lambda row: self._read_talking_face(row, generator)
        )
        rest = []
        if self.interferers is not None:
            voice = self._identify_voice(row)
            rest.append(self._read_sound(lambda: self.interferers.draw(voice, generator), generator))
        if self.noise is not None:
            rest.append(
                self._read_sound(
                    lambda: {"audio": self.noise[draw_whole_number(len(self.noise), generator)]}, generator
                )
            )
        target, mixture = self._mix(target, rest, generator)
        return {
            "target": torch.from_numpy(target),
            "mixture": torch.from_numpy(mixture),
            "video": torch.from_numpy(frames),
        }

    def _identify_voice(self, row: Mapping[str, str]) -> str:
        """What no two voices of a mixture share."""
        speaker = row.get("speaker") if self.avoid_same_speaker else None
        return speaker or os.fspath(row["audio"])

    def _read_talking_face(self, row: Mapping[str, str], generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples (num_samples,) and frames (num_frames, face_size, face_size)."""
        samples, start = _read_random_segment(
            row, self.num_samples, SAMPLES_PER_FRAME if self.aligned else 1, generator
        )
        self._check_length(len(samples) / SAMPLES_PER_FRAME, "sound")
        first = start // SAMPLES_PER_FRAME if self.aligned else start // SAMPLING_RATE * FRAMES_PER_SECOND
        frames = self._read_frames(row, first)
        self._check_length(len(frames), "video")
        if self.aligned:
            count = min(len(frames), len(samples) // SAMPLES_PER_FRAME)
            frames, samples = frames[:count], samples[: count * SAMPLES_PER_FRAME]
        return self._fill_clip(samples), _repeat(frames, self.num_frames)

    def _read_sound(self, draw: Callable[[], Mapping[str, Any]], generator: torch.Generator) -> np.ndarray:
        def read_samples(row: Mapping[str, Any]) -> np.ndarray:
            samples, _ = _read_random_segment(row, self.num_samples, 1, generator)
            self._check_length(len(samples) / SAMPLES_PER_FRAME, "sound")
            return self._fill_clip(samples)

        return _read_first_usable(draw(), draw, read_samples)[1]

    def _read_frames(self, row: Mapping[str, str], first: int) -> np.ndarray:
        """Those from number `first` on that are there, (up to num_frames, face_size, face_size) uint8."""
        start, end = (Fraction(frame, FRAMES_PER_SECOND) for frame in (first, first + self.num_frames))
        blocks = VideoReader(row["video"], strict=True).frames(FRAMES_PER_SECOND, start=start, end=end)
        return np.concatenate([grey_face(block, self.face_size) for block in blocks])

    def _check_length(self, frames: float, what: str) -> None:
        needed = min(_MIN_FRAMES, self.num_frames)
        if frames < needed:
            seconds, least = frames / FRAMES_PER_SECOND, needed / FRAMES_PER_SECOND
            raise ValueError(f"{seconds:.3f} s of {what} are too short, {least:g} s are needed")

    def _fill_clip(self, samples: np.ndarray) -> np.ndarray:
        if samples.min() == samples.max():
            raise ValueError("the stretch of sound is silent")
        return _repeat(samples, self.num_samples)

    def _mix(
        self, target: np.ndarray, rest: list[np.ndarray], generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        peak = draw_peak(generator)
        _, parts = mix_at_equal_level([target, *rest], peak)
        target, *others = parts.astype(np.float64)
        rest = others[0]
        if self.kind == "speech and noise":
            rest = rest + self.noise_weight * others[1]
        if self.snr_range is not None:
            _, (target, rest) = mix_at_snr(target, rest, draw_uniform(*self.snr_range, generator))
        mixture = target + rest
        gain = peak / max(np.abs(part).max() for part in (target, rest, mixture))
        return (gain * target).astype(np.float32), (gain * mixture).astype(np.float32)


def draw_peak(generator: torch.Generator) -> float:
    """The authors' largest magnitude of a mixture: N(0.9, 0.5); where that is outside of [0.3, 0.99], U(0.3, 0.99)."""
    peak = 0.9 + 0.5 * float(torch.randn((), dtype=torch.float64, generator=generator))
    return peak if 0.3 <= peak <= 0.99 else draw_uniform(0.3, 0.99, generator)


class _OtherVoices:
    """Rows of any voice but one, each as likely as the next, however many that one has."""

    def __init__(self, rows: Sequence[Mapping[str, str]], voice_of: Callable[[Mapping[str, str]], str]):
        self.rows = rows
        voices = [voice_of(row) for row in rows]
        order = sorted(range(len(rows)), key=voices.__getitem__)
        self.order = np.array(order)  # so that the rows of a voice lie side by side
        self.spans: dict[str, tuple[int, int]] = {}  # first and number of them
        for place, index in enumerate(order):
            first, number = self.spans.get(voices[index], (place, 0))
            self.spans[voices[index]] = (first, number + 1)

    def count(self, voice: str) -> int:
        return len(self.rows) - self.spans.get(voice, (0, 0))[1]

    def draw(self, voice: str, generator: torch.Generator) -> Mapping[str, str]:
        first, number = self.spans.get(voice, (0, 0))
        place = draw_whole_number(self.count(voice), generator)
        return self.rows[self.order[place if place < first else place + number]]


def _read_first_usable(row: Mapping[str, Any], draw: Callable, read: Callable) -> tuple[Mapping[str, Any], Any]:
    """The row, or the first one drawn in its place, that can be read; and what was read."""
    for _ in range(_MAX_UNUSABLE_ROWS):
        try:
            return row, read(row)
        except ValueError as error:
            problem, unusable = error, row
        row = draw()
    reason = str(problem).rstrip(".")
    raise ValueError(
        f"{_MAX_UNUSABLE_ROWS} rows one after the other are unusable; the last, {_describe(unusable)}: {reason}."
    ) from problem


def _repeat(segment: np.ndarray, length: int) -> np.ndarray:
    return segment[np.arange(length) % len(segment)]


def _describe(row: Mapping[str, Any]) -> str:
    return str(row.get("id") or row["audio"])


def _read_random_segment(
    row: Mapping[str, Any], num_samples: int, step: int, generator: torch.Generator
) -> tuple[np.ndarray, int]:
    """A random stretch of a row's sound, all of it if that is shorter; and its first sample, a multiple of `step`."""

    def random_start(length: int) -> int:
        return step * draw_whole_number(max(0, length - num_samples) // step + 1, generator)

    path, rate = row["audio"], SAMPLING_RATE
    found = read_rate_and_length(path)
    if found is None:
        of_video = path == row.get("video")  # then the sound is on the clock of the frames
        samples, _ = VideoReader(path, strict=True).soundtrack(rate) if of_video else read_audio(path, rate)
        start = random_start(len(samples))
        return samples[start : start + num_samples], start
    source_rate, length = found
    start = random_start(length * rate // source_rate)
    return read_segment(path, start, num_samples, rate), start


__all__ = ["SAMPLING_RATE", "AVDiffuSSMixtures", "draw_peak"]
