"""Clips that LTBS is trained on, as `examples/extract_ltbs_targets.py` leaves them in a folder.

    targets/targets.json            [{"id": "s1/bbaf2n", "speaker": "s1", "audio": "s1/bbaf2n.mpg", "is_video": true,
                                      "file": "s1/bbaf2n-0.safetensors", "start_frame": 0, "frames": 75}, ...]
    targets/s1/bbaf2n-0.safetensors

A row is one of its entries, with the `path` of its file, and as `name` that file's without suffix, which is unique.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from avzoo.checks import check_number, check_whole_number
from avzoo.data.draws import draw_whole_number

from .augmentation_ltbs import augment_mouths
from .loss_ltbs import IGNORED
from .processing_ltbs import LTBSProcessor
from .target_files import load_clip, read_clip_file

LIST = "targets.json"

Row = Mapping[str, Any]
# (number of a row, generator of draws or None) to what a sample tells of the speaker.
SpeakerInputs = Callable[[int, torch.Generator | None], dict[str, torch.Tensor]]


def read_target_list(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The clips of a folder of targets, in the order of its list.

    Raises:
        FileNotFoundError: there is no list, or files that it names are missing: how many, and the first.
        ValueError: the list is no list of clips, is empty, or names files outside of the folder; a file lacks units.
    """
    folder = Path(folder)
    table = folder / LIST
    if not table.is_file():
        raise FileNotFoundError(f"`{folder}` holds no {LIST}; examples/extract_ltbs_targets.py writes it.")
    try:
        entries = json.loads(table.read_text(encoding="utf-8"))
        rows = [_read_entry(entry, folder) for entry in entries]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"`{table}` is no list of clips ({type(error).__name__}: {error}).") from error
    if not rows:
        raise ValueError(f"`{table}` names no clip.")
    missing = [row["path"] for row in rows if not row["path"].is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(rows)} clips named by {table} are missing, the first is {missing[0]}; extract "
            "them again."
        )
    without = [row["path"] for row in rows if not _has_units(row["path"])]
    if without:
        raise ValueError(
            f"{len(without)} of the {len(rows)} clips of {folder} have no units of speech, the first is {without[0]}; "
            "extract them with --hubert and --centres."
        )
    return rows


def _read_entry(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    row = {name: entry[name] for name in ("id", "speaker", "file", "frames")}
    for name in ("id", "speaker", "file"):
        if not isinstance(row[name], str):
            raise TypeError(f"`{name}` must be text, got {row[name]!r}")
    check_whole_number("frames", row["frames"], at_least=1)
    name = os.path.normpath(row.pop("file"))
    if os.path.isabs(name) or name.split(os.sep)[0] == "..":
        raise ValueError(f"{name!r} leads out of the folder")
    row |= {"path": folder / name, "name": os.path.splitext(name)[0], "start_frame": int(entry.get("start_frame", 0))}
    row["is_video"] = bool(entry.get("is_video", False))
    return row | {name: str(entry[name]) for name in ("audio", "split") if name in entry}


def _has_units(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return "units" in file.keys()  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"`{path}` is no safetensors file: {error}.") from error


def hold_out(
    rows: Sequence[Row], share: float = 0.05, speakers: Sequence[str] | None = None
) -> tuple[list[Row], list[Row]]:
    """Divide rows into those for training and those for validation, in their order.

    Args:
        rows: divided by their "split", if they have it: validation, else test.
        share: without splits, of the clips; by a digest of their "id", so that the same ones are held out in every run,
            and parts of one clip stay together.
        speakers: hold all of these out instead.

    Raises:
        ValueError: `share` is not between 0 and 1, unknown speakers, or either part is empty.
    """
    check_number("val_share", share, above=0, below=1)
    if speakers is not None:
        unknown = sorted(set(speakers) - {row["speaker"] for row in rows})
        if unknown:
            known = ", ".join(sorted({row["speaker"] for row in rows})[:20])
            raise ValueError(f"`val_speakers` {', '.join(unknown)} have no clip; there are {known}.")
        parts = [[row for row in rows if (row["speaker"] in speakers) == held] for held in (False, True)]
    elif any("split" in row for row in rows):
        held_out = "validation" if any(row.get("split") == "validation" for row in rows) else "test"
        parts = [[row for row in rows if row.get("split", "train") == split] for split in ("train", held_out)]
    else:
        names = sorted({row["id"] for row in rows}, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen = set(names[: max(1, round(share * len(names)))])
        parts = [[row for row in rows if (row["id"] in chosen) == held] for held in (False, True)]
    for part, purpose in zip(parts, ("training", "validation"), strict=True):
        if not part:
            raise ValueError(f"none of the {len(rows)} clips is for {purpose}.")
    return parts[0], parts[1]


def measure_mean_spectrogram(rows: Sequence[Row], most_clips: int = 200) -> torch.Tensor:
    """Mean of the spectrograms of some clips, evenly chosen: (rows of a spectrogram,)."""
    total, count = 0, 0
    for row in rows[:: max(1, len(rows) // most_clips)]:
        mel = read_clip_file(row["path"])["mel"].double()
        total, count = total + mel.sum(0), count + len(mel)
    return (total / count).float()


class LTBSClips(torch.utils.data.Dataset):
    """Clips with what the network is trained on; mouths are uint8, cut and changed at random or cut from the middle.

    Draws come from torch's global generator, which the training loop seeds for each sample.

    Args:
        rows: of [`read_target_list`].
        processor: of the folder they lie in.
        speakers: a [`SpeakerTable`] or [`SpeakerVectors`] of these rows. None: the network knows no speakers.
        augment: change mouths at random; see [`augment_mouths`]. False: nothing at all is drawn.
        max_frames: of longer clips a part of so many frames is taken, at random. None: whole clips.
        grey: level of what is hidden.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        processor: LTBSProcessor,
        speakers: SpeakerInputs | None = None,
        *,
        augment: bool = True,
        max_frames: int | None = None,
        grey: int = 107,
    ):
        if max_frames is not None:
            check_whole_number("max_frames", max_frames, at_least=1)
        self.rows, self.processor, self.speakers = rows, processor, speakers
        self.augment, self.max_frames, self.grey = augment, max_frames, grey

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ()))) if self.augment else None
        path, processor = self.rows[index]["path"], self.processor
        clip = load_clip(path, processor)
        if "unit_labels" not in clip:
            raise ValueError(f"`{path}` has no units of speech; extract it with --hubert and --centres.")
        frames = len(clip["mouths"])
        if self.max_frames is not None and frames > self.max_frames:
            start = 0 if generator is None else draw_whole_number(frames - self.max_frames + 1, generator)
            clip = cut_clip(clip, start, self.max_frames)
        mouths = clip.pop("mouths")
        if generator is None:
            mouths = torch.from_numpy(processor.cut_middle(mouths.numpy()))
        else:
            settings = {"crop_size": processor.crop_size, "frame_rate": processor.frame_rate, "grey": self.grey}
            mouths = augment_mouths(mouths, generator, **settings)
        told = {} if self.speakers is None else self.speakers(index, generator)
        return {"mouths": mouths, **clip, **told}


def cut_clip(clip: Mapping[str, torch.Tensor], start: int, count: int) -> dict[str, torch.Tensor]:
    """`count` frames of a clip from frame `start` on; spectrograms have several for each."""
    frames = len(clip["mouths"])
    factors = {name: len(values) // frames for name, values in clip.items()}
    return {
        name: values[start * factors[name] : (start + count) * factors[name]].contiguous()
        for name, values in clip.items()
    }


class ClipCollator:
    """Samples of [`LTBSClips`] to a batch by the processor's names."""

    def __init__(self, processor: LTBSProcessor):
        self.processor = processor

    def __call__(self, samples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = self.processor.pad([sample["mouths"].numpy() for sample in samples])
        names = ("mel_labels", "pitch_labels", "energy_labels")
        batch |= self.processor.pad_targets([{name: sample[name] for name in names} for sample in samples])
        units = [sample["unit_labels"] for sample in samples]
        batch["unit_labels"] = nn.utils.rnn.pad_sequence(units, batch_first=True, padding_value=IGNORED)
        for name in ("speaker_ids", "speaker_embeddings"):
            if name in samples[0]:
                batch[name] = torch.stack([sample[name] for sample in samples])
        return batch


# ------------------------------------------------------------------------------------------------------------ speakers


class SpeakerTable:
    """`speaker_ids` of samples: the place of a row's speaker among some names.

    Raises:
        ValueError: speakers that are none of the names; how many, and some of both.
    """

    def __init__(self, rows: Sequence[Row], names: Sequence[str]):
        places = {name: place for place, name in enumerate(names)}
        unknown = sorted({row["speaker"] for row in rows} - places.keys())
        if unknown:
            raise ValueError(
                f"{len(unknown)} speakers of the clips are none that the network has learned, such as "
                f"{', '.join(unknown[:5])}; it knows {', '.join(names[:20])}. A network that takes embeddings of "
                "voices can do with any speaker."
            )
        self.places = [places[row["speaker"]] for row in rows]

    def __call__(self, index: int, generator: torch.Generator | None) -> dict[str, torch.Tensor]:
        return {"speaker_ids": torch.tensor(self.places[index])}


class SpeakerVectors:
    """`speaker_embeddings` of samples: of another clip of the speaker, where there is one.

    A clip's own would tell the network more than it gets in use: what was said, and in which room.

    Args:
        rows: with "id" and "speaker".
        vectors: {id: (size,)}, of some recordings of every speaker.

    Raises:
        ValueError: speakers without any vector: how many, and the first.
    """

    def __init__(self, rows: Sequence[Row], vectors: Mapping[str, torch.Tensor]):
        self.rows, self.vectors = rows, vectors
        self.recordings: dict[str, list[str]] = {}
        for row in rows:
            own = self.recordings.setdefault(row["speaker"], [])
            if row["id"] in vectors and row["id"] not in own:
                own.append(row["id"])
        without = [speaker for speaker, own in self.recordings.items() if not own]
        if without:
            raise ValueError(
                f"{len(without)} of the {len(self.recordings)} speakers have no recording whose voice can be embedded, "
                f"the first is {without[0]}."
            )

    @property
    def mean(self) -> torch.Tensor:
        """(size,), the mean over speakers, each of them the mean of vectors of length 1."""
        normed = {name: nn.functional.normalize(vector, dim=0) for name, vector in self.vectors.items()}
        each = [torch.stack([normed[name] for name in own]).mean(0) for own in self.recordings.values()]
        return torch.stack(each).mean(0)

    def __call__(self, index: int, generator: torch.Generator | None) -> dict[str, torch.Tensor]:
        row = self.rows[index]
        own = self.recordings[row["speaker"]]
        others = [name for name in own if name != row["id"]] or own
        if generator is not None:
            return {"speaker_embeddings": self.vectors[others[draw_whole_number(len(others), generator)]]}
        place = own.index(row["id"]) if row["id"] in own else 0  # the next one after it
        return {"speaker_embeddings": self.vectors[others[place % len(others)]]}


def choose_recordings(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many recordings of each speaker, chosen by a digest of their "id"; one row each, in their order."""
    first = {row["id"]: row for row in reversed(rows)}
    speakers: dict[str, list[str]] = {}
    for name, row in first.items():
        speakers.setdefault(row["speaker"], []).append(name)
    chosen: set[str] = set()
    for names in speakers.values():
        chosen.update(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:most])
    return [row for name, row in reversed(first.items()) if name in chosen]


def count_minutes(rows: Sequence[Row], frame_rate: int) -> float:
    """Length of some clips, minutes."""
    return math.fsum(row["frames"] for row in rows) / frame_rate / 60


__all__ = [
    "ClipCollator",
    "LTBSClips",
    "SpeakerTable",
    "SpeakerVectors",
    "choose_recordings",
    "count_minutes",
    "cut_clip",
    "hold_out",
    "measure_mean_spectrogram",
    "read_target_list",
]
