"""Fit the confidence from which what is heard counts as being in the picture.

The confidence of pictures with their own sounds is held against that of the same pictures with three kinds of sounds
that are not in them: digital silence, white noise as loud as the own sound, and the sound of another pair ("off
screen"). These negatives are those of the third-party study arXiv 2410.01020. The threshold makes the balanced accuracy
largest: the mean of the share of own sounds that reach it and of the share of the others that don't, in which each kind
counts alike.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from avzoo.checks import check_whole_number
from avzoo.data.lists import check_relative_path, malformed, read_records
from avzoo.pipelines.shared.feature_rows import join_rows, take_rows
from avzoo.video.pictures import read_picture

if TYPE_CHECKING:
    from avzoo.pipelines.sound_source_localization.pipeline import SoundSourceLocalizationPipeline

NEGATIVES = ("silence", "noise", "off_screen")


class Confidences(NamedTuple):
    """Confidences of pictures with four kinds of sounds, (pairs,) each."""

    matching: np.ndarray
    silence: np.ndarray
    noise: np.ndarray
    off_screen: np.ndarray


class ThresholdReport(NamedTuple):
    """A threshold of the confidence, and what it does to the pairs it was fitted on.

    Args:
        threshold: confidences that reach it are of what is in the picture.
        balanced_accuracy: in [0, 1]; 0.5 is chance.
        accepted: kind of sound -> share of the pairs that reach the threshold.
        previous: the threshold before, if there was one. previous_balanced_accuracy: its.
        pairs: how many.
    """

    threshold: float
    balanced_accuracy: float
    accepted: dict[str, float]
    previous: float | None
    previous_balanced_accuracy: float | None
    pairs: int

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the model's config."""
        return {
            "confidence_threshold": self.threshold,
            "calibration": {
                "pairs": self.pairs,
                "balanced_accuracy": self.balanced_accuracy,
                "accepted": self.accepted,
            },
        }

    def __str__(self) -> str:
        before = "none" if self.previous is None else f"{self.previous:.4f}"
        accuracy = "" if self.previous is None else f", balanced accuracy {self.previous_balanced_accuracy:.3f}"
        lines = [
            f"{self.pairs} pairs, each picture with its own sound, silence, noise and the sound of another pair",
            f"threshold before: {before}{accuracy}",
            f"threshold now: {self.threshold:.4f}, balanced accuracy {self.balanced_accuracy:.3f}",
            *(f"  {kind.replace('_', ' ')}: {100 * share:.1f} % reach it" for kind, share in self.accepted.items()),
            "these are the pairs that the threshold was fitted on; report others",
        ]
        return "\n".join(lines)


def measure_confidences(
    pipe: "SoundSourceLocalizationPipeline",
    pairs: list[dict[str, Any]],
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Confidences:
    """Confidences of pictures with their own sounds and with sounds that are not in them.

    The off-screen sound of a pair is that of the pair half a list away, or of the next after it with another label.

    Args:
        pairs: {"image", "audio"} each, and a "label" (what sounds) in all of them or in none.
        seed: of the noise.

    Raises:
        ValueError: fewer than two pairs, labels that are all equal, an own sound in digital silence; what reading
            raises.
    """
    check_whole_number("seed", seed, at_least=0)
    batch_size, count = pipe.choose_batch_size(batch_size), len(pairs)
    others = find_other_pairs(pairs)
    clips = []
    for number, pair in enumerate(tqdm(pairs, unit="sound", disable=not progress)):
        clip = pipe.read_clip(pair["audio"], pair.get("sampling_rate"), f"pairs[{number}]: audio")
        if clip.is_silent:
            raise ValueError(f"`pairs[{number}]: audio` is digital silence; it can't be the sound of a picture.")
        clips.append(clip.samples)
    parts = [pipe.encode_clips(clips[start : start + batch_size]) for start in range(0, count, batch_size)]
    sounds = join_rows(parts)
    silence = pipe.encode_clips([np.zeros(pipe.clip_samples, np.float32)])
    scores = np.empty((4, count))
    for start in tqdm(range(0, count, batch_size), unit="batch", disable=not progress):
        numbers = range(start, min(start + batch_size, count))
        pictures = [read_picture(pairs[number]["image"], name=f"pairs[{number}]: image") for number in numbers]
        images = pipe.encode_images(pictures)
        noises = pipe.encode_clips([make_noise(clips[number], seed + number) for number in numbers])
        for place, number in enumerate(numbers):
            own, other = ((slice(row, row + 1)) for row in (number, others[number]))
            queries = [take_rows(sounds, own), silence, take_rows(noises, slice(place, place + 1))]
            _, confidences = pipe.compute_map(
                take_rows(images, slice(place, place + 1)), join_rows([*queries, take_rows(sounds, other)])
            )
            scores[:, number] = confidences
    return Confidences(*scores)


def fit_threshold(confidences: Confidences, previous: float | None = None) -> ThresholdReport:
    """The threshold with the largest balanced accuracy, in the middle between two confidences.

    Of several with the same accuracy, the one with the most room around it.

    Args:
        previous: the model's threshold so far, for the report.

    Raises:
        ValueError: all confidences are equal.
    """
    values = np.unique(np.concatenate(confidences))
    if len(values) < 2:
        raise ValueError("all confidences are equal; no threshold tells anything by them.")
    thresholds = (values[1:] + values[:-1]) / 2
    accuracies = np.array([balanced_accuracy(confidences, threshold) for threshold in thresholds])
    room = np.where(accuracies == accuracies.max(), np.diff(values), -1)
    best = float(thresholds[int(room.argmax())])
    return ThresholdReport(
        best,
        float(accuracies.max()),
        {kind: float((scores >= best).mean()) for kind, scores in confidences._asdict().items()},
        previous,
        None if previous is None else balanced_accuracy(confidences, previous),
        len(confidences.matching),
    )


def calibrate_threshold(
    pipe: "SoundSourceLocalizationPipeline", pairs: list[dict[str, Any]], **options: Any
) -> ThresholdReport:
    """Fit a threshold on pairs and set it in `pipe.model.config`; args and errors as [`measure_confidences`]."""
    report = fit_threshold(measure_confidences(pipe, pairs, **options), pipe.find_threshold())
    pipe.model.config.confidence_threshold = report.threshold
    return report


def balanced_accuracy(confidences: Confidences, threshold: float) -> float:
    """Mean of two shares: own sounds that reach the threshold, and others that don't, each kind counting alike."""
    rejected = [(getattr(confidences, kind) < threshold).mean() for kind in NEGATIVES]
    return float(((confidences.matching >= threshold).mean() + np.mean(rejected)) / 2)


def make_noise(clip: np.ndarray, seed: int) -> np.ndarray:
    """White noise as loud as a clip (by its root mean square), cut to [-1, 1]."""
    noise = np.random.default_rng(seed).standard_normal(len(clip))
    return np.clip(noise * np.sqrt(np.mean(np.square(clip, dtype=np.float64))), -1, 1).astype(np.float32)


def find_other_pairs(pairs: list[dict[str, Any]]) -> list[int]:
    """For each pair the number of the one whose sound is not in its picture.

    Raises:
        ValueError: see [`measure_confidences`].
    """
    count = len(pairs)
    if count < 2:
        raise ValueError(f"`pairs` must be two or more, got {count}: the sound of another pair is needed.")
    labels = [pair.get("label") for pair in pairs]
    if None in labels and any(label is not None for label in labels):
        raise ValueError(f"`pairs[{labels.index(None)}]` has no label, others have one.")
    if labels[0] is not None and len(set(labels)) < 2:
        raise ValueError(f"`pairs` all have the label {labels[0]!r}; two kinds of sounds are needed.")
    others = []
    for number, label in enumerate(labels):
        steps = (step for step in range(count // 2, count // 2 + count) if step % count)
        candidates = ((number + step) % count for step in steps)
        others.append(next(other for other in candidates if label is None or labels[other] != label))
    return others


def read_pairs(table: Path, root: Path | None = None) -> list[dict[str, str]]:
    """Pairs of a comma-separated table with a header: image, audio and perhaps label.

        image,audio,label
        street/1.jpg,street/1.wav,siren

    Args:
        root: folder that the paths start from and may not leave. None: the table's.

    Raises:
        ValueError: missing columns, a row of another length, a path that leaves `root`; with file and line.
        FileNotFoundError: a file is missing.
    """
    table = Path(table)
    root = table.parent if root is None else Path(root)
    records = read_records(table)
    line, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    if not {"image", "audio"} <= set(header) or len(set(header)) < len(header):
        raise malformed(table, line, f"expected a header with the columns image and audio, got {','.join(header)!r}")
    pairs = []
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        row = {name: field.strip() for name, field in zip(header, fields, strict=True)}
        pair = {}
        for kind in ("image", "audio"):
            check_relative_path(row[kind], table, line)
            pair[kind] = str(root / row[kind])
            if not Path(pair[kind]).is_file():
                raise FileNotFoundError(f"{table}, line {line}: `{pair[kind]}` does not exist.")
        if "label" in row:
            pair["label"] = row["label"]
        pairs.append(pair)
    return pairs


__all__ = [
    "Confidences",
    "ThresholdReport",
    "calibrate_threshold",
    "fit_threshold",
    "measure_confidences",
    "read_pairs",
]
