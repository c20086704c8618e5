"""What AVDiffuSS was trained and tested on: faces that talk, in mixtures of two voices, or of a voice and noise.

    rows = voxceleb2("voxceleb2", "dev")
    AVDiffuSSMixtures(rows)[0]      # {"target": (32640,), "mixture": (32640,) at 16 000 Hz, "video": (51, 112, 112)}
    pairs = read_pairs("lrs3_test.pckl", "lrs3", "lrs3")      # the official test: two rows each

A row is one utterance: {"id": "speaker/video/utterance", "speaker", "audio": a path, "video": the path of an mp4 file}.
Each video shows one face, as VoxCeleb2 and LRS3 cut them; no face is looked for here.
Source: kaistmm/AVDiffuSS@86d8203 (`sgmse/data_module_vi.py`, `test.py`, `vox_test.pckl`, `lrs3_test.pckl`).
"""

import glob
import io
import math
import os
import pickle
import pickletools
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avzoo.audio.mixing import mix_at_equal_level, mix_at_snr
from avzoo.audio.reading import read_audio
from avzoo.audio.stretches import rate_and_length, read_stretch
from avzoo.data.lists import PathLike
from avzoo.video.crops import grey_face
from avzoo.video.reading import VideoReader

FRAMES_PER_SECOND = 25
SAMPLING_RATE = 16000
SAMPLES_PER_FRAME = SAMPLING_RATE // FRAMES_PER_SECOND

Row = dict[str, str]

_SHORTEST_FRAMES = 30  # 1.2 s: less than this isn't repeated to fill a clip, but left out
_ATTEMPTS = 100  # how many rows may be unusable one after the other

# Of letters, digits, _ and -, as YouTube has them: no such name leads out of its folder.
_VOXCELEB2_NAME = re.compile(r"([\w-]+/[\w-]+/[\w-]+)", re.ASCII)
_LRS3_NAME = re.compile(r"(?:/(?:.*/)?test/)?([\w-]+/[\w-]+)\.wav", re.ASCII)


# -------------------------------------------------------------------------------------------------- rows


def voxceleb2(root: PathLike, split: Literal["dev", "test"] = "dev", *, skip_missing: bool = False) -> list[Row]:
    """The utterances of VoxCeleb2, sorted by their id.

        voxceleb2/dev/aac/id00012/21Uxsk56VDQ/00001.m4a      (or wav/id00012/21Uxsk56VDQ/00001.wav)
        voxceleb2/dev/mp4/id00012/21Uxsk56VDQ/00001.mp4

    Where there is a folder `wav`, as the authors' code wants it, `aac` is not looked at. Videos that have no sound
    there are passed over.

    Args:
        root: folder of `dev` and `test`.
        split: which of the two.
        skip_missing: leave out utterances without a video instead of refusing.

    Raises:
        ValueError: another split.
        FileNotFoundError: a folder is missing or has no such files; videos are missing: how many, and the first.
    """
    _check_choice(split, ("dev", "test"), "split")
    sounds, suffix = _voxceleb2_sounds(root, split)
    names = _names_below(sounds, f"*/*/*{suffix}")
    with_video = _names_below(os.path.join(root, split, "mp4"), "*/*/*.mp4")
    return _with_video(_voxceleb2_rows(root, split, sorted(names)), with_video, skip_missing)


def lrs3(
    root: PathLike, split: Literal["pretrain", "trainval", "test"] = "test", *, skip_missing: bool = False
) -> list[Row]:
    """The utterances of LRS3, sorted by their id, "video/utterance".

        lrs3/test/0Fi83BHQsMA/00002.mp4      (and 00002.wav beside it, as the authors' code wants it)

    The sound is that of the `.wav` file where there is one, else the video's own. Nothing is known of speakers but the
    video they are in, which stands for them.

    Args:
        root: folder of `pretrain`, `trainval` and `test`.
        split: which of them.
        skip_missing: leave out `.wav` files without a video instead of refusing.

    Raises:
        ValueError: another split.
        FileNotFoundError: the folder is missing or has no videos; some are missing: how many, and the first.
    """
    _check_choice(split, ("pretrain", "trainval", "test"), "split")
    folder = os.path.join(root, split)
    with_video = _names_below(folder, "*/*.mp4")
    with_sound = {name.removesuffix(".wav") for name in glob.glob("*/*.wav", root_dir=folder)}
    return _with_video(_lrs3_rows(root, split, sorted(with_video | with_sound)), with_video, skip_missing)


def read_pairs(
    path: PathLike, root: PathLike, kind: Literal["voxceleb2", "lrs3"], *, skip_missing: bool = False
) -> list[tuple[Row, Row]]:
    """The official test pairs in their order: `vox_test.pckl` (9458) or `lrs3_test.pckl` (1321).

        [{"identifier1": "id06816/6pDTN5v_wfE/00013", "identifier2": "id04657/kWmtTr-pFR8/00317"}, ...]

    Each pair is separated twice, by one face and by the other. Some are of one and the same speaker (211 and 7).

    A pickle can make its reader run anything. Here it can't: lists, dicts and strings are all that gets through, and
    the names consist of letters, digits, `_` and `-`, so that none leads out of `root`. Those of LRS3 are absolute
    paths of the authors' disk; what stands before `test` is replaced by `root`.

    Args:
        path: the list.
        root: folder of `test`, as for [`voxceleb2`] and [`lrs3`].
        kind: which of the two the list is of.
        skip_missing: leave out pairs with a missing file instead of refusing.

    Raises:
        ValueError: another kind; the file is damaged, no pickle, or holds something else; a name is no
            speaker/video/utterance (VoxCeleb2) or video/utterance.wav (LRS3), with the number of its pair.
        FileNotFoundError: no such list, or no folder of sounds; files are missing: of how many pairs, and the first.
    """
    _check_choice(kind, ("voxceleb2", "lrs3"), "kind")
    pattern, expected, rows_of = {
        "voxceleb2": (_VOXCELEB2_NAME, "speaker/video/utterance", _voxceleb2_rows),
        "lrs3": (_LRS3_NAME, "video/utterance.wav, after nothing or /.../test/", _lrs3_rows),
    }[kind]
    names = []
    for number, pair in enumerate(_pairs_of_strings(path), 1):
        for text in pair:
            match = pattern.fullmatch(text)
            if match is None:
                raise ValueError(f"{path}, pair {number}: expected {expected}, got {text!r}.")
            names.append(match[1])
    rows = rows_of(root, "test", names)
    pairs, missing, first = [], 0, ""
    for number, pair in enumerate(zip(rows[::2], rows[1::2], strict=True), 1):
        gone = [row[key] for row in pair for key in ("audio", "video") if not os.path.isfile(row[key])]
        if not gone:
            pairs.append(pair)
        else:
            missing += 1
            first = first or f"{gone[0]} (pair {number})"
    if missing and not skip_missing:
        raise FileNotFoundError(
            f"{missing} of the {missing + len(pairs)} pairs of {path} lack files, the first is {first}. "
            "Pass skip_missing=True to read the others."
        )
    return pairs


class _WithoutCode(pickle.Unpickler):
    """Classes and functions are what a pickle runs things by."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, but a list of pairs holds no code")


def _pairs_of_strings(path: PathLike) -> list[list[str]]:
    stored = Path(path).read_bytes()
    try:
        # Registered classes and functions are remembered once they were looked up, past `find_class`.
        if any(operation.name.startswith("EXT") for operation, _, _ in pickletools.genops(stored)):
            raise pickle.UnpicklingError("it asks for registered code, but a list of pairs holds none")
        entries = _WithoutCode(io.BytesIO(stored)).load()
    except Exception as error:  # damaged pickles raise anything, from IndexError to MemoryError
        raise ValueError(f"{path} is damaged, or no pickled list of pairs: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected a list of pairs, at least one, got {reprlib.repr(entries)}.")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or [type(name) for name in entry.values()] != [str, str]:
            raise ValueError(f"{path}, pair {number}: expected a dict of two strings, got {reprlib.repr(entry)}.")
    return [list(entry.values()) for entry in entries]


def _names_below(folder: str, pattern: str) -> set[str]:
    """Where the files are, without the pattern's ending."""
    suffix = os.path.splitext(pattern)[1]
    names = {name.removesuffix(suffix) for name in glob.glob(pattern, root_dir=folder)}
    if not names:
        there = "" if os.path.isdir(folder) else ", and no such folder"
        raise FileNotFoundError(f"There is no {os.path.join(folder, pattern)}{there}; is `root` the dataset's folder?")
    return names


def _voxceleb2_sounds(root: PathLike, split: str) -> tuple[str, str]:
    """Folder and ending."""
    for folder, suffix in (("wav", ".wav"), ("aac", ".m4a")):
        path = os.path.join(root, split, folder)
        if os.path.isdir(path):
            return path, suffix
    raise FileNotFoundError(f"{os.path.join(root, split)} has neither of the folders `wav` and `aac`.")


def _voxceleb2_rows(root: PathLike, split: str, names: Iterable[str]) -> list[Row]:
    sounds, suffix = _voxceleb2_sounds(root, split)
    videos = os.path.join(root, split, "mp4")
    return [_row(name, os.path.join(sounds, name + suffix), os.path.join(videos, name + ".mp4")) for name in names]


def _lrs3_rows(root: PathLike, split: str, names: Iterable[str]) -> list[Row]:
    rows = []
    for name in names:
        stem = os.path.join(root, split, name)
        rows.append(_row(name, stem + (".wav" if os.path.isfile(stem + ".wav") else ".mp4"), stem + ".mp4"))
    return rows


def _row(name: str, audio: str, video: str) -> Row:
    return {"id": name, "speaker": name.split("/")[0], "audio": audio, "video": video}


def _with_video(rows: list[Row], with_video: set[str], skip_missing: bool) -> list[Row]:
    missing = [row for row in rows if row["id"] not in with_video]
    if missing and not skip_missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(rows)} utterances have sound but no video; for the first there should be "
            f"{missing[0]['video']}. Pass skip_missing=True to read the others."
        )
    return [row for row in rows if row["id"] in with_video]


# --------------------------------------------------------------------------------------------- mixtures


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
        target_rows: {"audio", "video", "speaker", "id"}, see [`voxceleb2`]; without a "speaker" nobody is the same.
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
        _check_choice(kind, ("speech", "noise", "speech and noise"), "kind")
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
        if not 0 < noise_weight < math.inf:
            raise ValueError(f"`noise_weight` must be positive and finite, got {noise_weight}.")
        if snr_range is not None:
            lowest, highest = snr_range
            if not -math.inf < lowest <= highest < math.inf:
                raise ValueError(f"`snr_range` must be two finite numbers, the lower first, got ({lowest}, {highest}).")
        if face_size < 1:
            raise ValueError(f"`face_size` must be at least 1 pixel, got {face_size}.")
        self.target_rows, self.noise, self.kind, self.noise_weight = target_rows, noise, kind, noise_weight
        self.num_frames, self.num_samples = num_frames, num_frames * SAMPLES_PER_FRAME
        self.snr_range, self.aligned, self.face_size, self.seed = snr_range, aligned, face_size, seed
        self.avoid_same_speaker = avoid_same_speaker
        self.interferers = None
        if with_voice:
            rows = target_rows if interferer_rows is None else interferer_rows
            self.interferers = _OthersOf(rows, self._voice_of)
            lonely = next((row for row in target_rows if not self.interferers.count(self._voice_of(row))), None)
            if lonely is not None:
                given = "target_rows" if interferer_rows is None else "interferer_rows"
                advice = " Pass avoid_same_speaker=False to mix files of one speaker." if avoid_same_speaker else ""
                raise ValueError(f"`{given}` has no voice to mix with {_name(lonely)} but its own.{advice}")

    def __len__(self) -> int:
        return len(self.target_rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.target_rows[index]
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed * len(self) + index % len(self)
        generator = torch.Generator().manual_seed(seed)

        def another_target() -> Mapping[str, str]:
            return self.target_rows[_whole(len(self), generator)]

        row, (target, frames) = _first_usable(row, another_target, lambda row: self._talking_face(row, generator))
        rest = []
        if self.interferers is not None:
            voice = self._voice_of(row)
            rest.append(self._sound(lambda: self.interferers.draw(voice, generator), generator))
        if self.noise is not None:
            rest.append(self._sound(lambda: {"audio": self.noise[_whole(len(self.noise), generator)]}, generator))
        target, mixture = self._mixed(target, rest, generator)
        return {
            "target": torch.from_numpy(target),
            "mixture": torch.from_numpy(mixture),
            "video": torch.from_numpy(frames),
        }

    def _voice_of(self, row: Mapping[str, str]) -> str:
        """What no two voices of a mixture share."""
        speaker = row.get("speaker") if self.avoid_same_speaker else None
        return speaker or os.fspath(row["audio"])

    def _talking_face(self, row: Mapping[str, str], generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples (num_samples,) and frames (num_frames, face_size, face_size)."""
        samples, start = _stretch(row, self.num_samples, SAMPLES_PER_FRAME if self.aligned else 1, generator)
        self._check_length(len(samples) / SAMPLES_PER_FRAME, "sound")
        first = start // SAMPLES_PER_FRAME if self.aligned else start // SAMPLING_RATE * FRAMES_PER_SECOND
        frames = self._frames(row, first)
        self._check_length(len(frames), "video")
        if self.aligned:
            count = min(len(frames), len(samples) // SAMPLES_PER_FRAME)
            frames, samples = frames[:count], samples[: count * SAMPLES_PER_FRAME]
        return self._audible(samples), _repeated(frames, self.num_frames)

    def _sound(self, draw: Callable[[], Mapping[str, Any]], generator: torch.Generator) -> np.ndarray:
        def samples_of(row: Mapping[str, Any]) -> np.ndarray:
            samples, _ = _stretch(row, self.num_samples, 1, generator)
            self._check_length(len(samples) / SAMPLES_PER_FRAME, "sound")
            return self._audible(samples)

        return _first_usable(draw(), draw, samples_of)[1]

    def _frames(self, row: Mapping[str, str], first: int) -> np.ndarray:
        """Those from number `first` on that are there, (up to num_frames, face_size, face_size) uint8."""
        start, end = (Fraction(frame, FRAMES_PER_SECOND) for frame in (first, first + self.num_frames))
        blocks = VideoReader(row["video"]).frames(FRAMES_PER_SECOND, start=start, end=end)
        return np.concatenate([grey_face(block, self.face_size) for block in blocks])

    def _check_length(self, frames: float, what: str) -> None:
        needed = min(_SHORTEST_FRAMES, self.num_frames)
        if frames < needed:
            seconds, least = frames / FRAMES_PER_SECOND, needed / FRAMES_PER_SECOND
            raise ValueError(f"{seconds:.3f} s of {what} are too short, {least:g} s are needed")

    def _audible(self, samples: np.ndarray) -> np.ndarray:
        if samples.min() == samples.max():
            raise ValueError("the stretch of sound is silent")
        return _repeated(samples, self.num_samples)

    def _mixed(
        self, target: np.ndarray, rest: list[np.ndarray], generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        peak = drawn_peak(generator)
        _, parts = mix_at_equal_level([target, *rest], peak)
        target, *others = parts.astype(np.float64)
        rest = others[0]
        if self.kind == "speech and noise":
            rest = rest + self.noise_weight * others[1]
        if self.snr_range is not None:
            _, (target, rest) = mix_at_snr(target, rest, _uniform(*self.snr_range, generator))
        mixture = target + rest
        gain = peak / max(np.abs(part).max() for part in (target, rest, mixture))
        return (gain * target).astype(np.float32), (gain * mixture).astype(np.float32)


def drawn_peak(generator: torch.Generator) -> float:
    """The authors' largest magnitude of a mixture: N(0.9, 0.5); where that is outside of [0.3, 0.99], U(0.3, 0.99)."""
    peak = 0.9 + 0.5 * float(torch.randn((), dtype=torch.float64, generator=generator))
    return peak if 0.3 <= peak <= 0.99 else _uniform(0.3, 0.99, generator)


class _OthersOf:
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
        place = _whole(self.count(voice), generator)
        return self.rows[self.order[place if place < first else place + number]]


def _first_usable(row: Mapping[str, Any], draw: Callable, read: Callable) -> tuple[Mapping[str, Any], Any]:
    """The row, or the first one drawn in its place, that can be read; and what was read."""
    for _ in range(_ATTEMPTS):
        try:
            return row, read(row)
        except ValueError as error:
            problem, unusable = error, row
        row = draw()
    reason = str(problem).rstrip(".")
    raise ValueError(
        f"{_ATTEMPTS} rows one after the other are unusable; the last, {_name(unusable)}: {reason}."
    ) from problem


def _repeated(stretch: np.ndarray, length: int) -> np.ndarray:
    return stretch[np.arange(length) % len(stretch)]


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("id") or row["audio"])


def _stretch(row: Mapping[str, Any], num_samples: int, step: int, generator: torch.Generator) -> tuple[np.ndarray, int]:
    """A random stretch of a row's sound, all of it if that is shorter; and its first sample, a multiple of `step`."""

    def random_start(length: int) -> int:
        return step * _whole(max(0, length - num_samples) // step + 1, generator)

    path, rate = row["audio"], SAMPLING_RATE
    found = rate_and_length(path)
    if found is None:
        of_video = path == row.get("video")  # then the sound is on the clock of the frames
        samples, _ = VideoReader(path).soundtrack(rate) if of_video else read_audio(path, rate)
        start = random_start(len(samples))
        return samples[start : start + num_samples], start
    source_rate, length = found
    start = random_start(length * rate // source_rate)
    return read_stretch(path, start, num_samples, rate), start


def _check_choice(value: str, choices: tuple[str, ...], argument: str) -> None:
    if value not in choices:
        raise ValueError(f"`{argument}` must be one of {', '.join(choices)}, got {value!r}.")


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), dtype=torch.float64, generator=generator))


def _whole(end: int, generator: torch.Generator) -> int:
    """A whole number from [0, end)."""
    return int(torch.randint(end, (), generator=generator))
