"""What training SlowFastSign takes: clips with their labels, checked before, and a network with their vocabulary.

    model, processor, notice = adapt_vocabulary(model, processor, glosses)
    rows = refuse_short_clips(rows, processor)
    clips = SignClips(rows, processor)
    train(model, clips, arguments, data_collator=SignCollator(processor), compute_loss=compute_sign_loss)

Source: kaistmm/SlowFastSign@37d1b6c23a7aa4df63d27d7111391a43e7810d55 (`dataset/dataloader_video.py`, `main.py`).
"""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from avzoo.data.lists import report_left_out
from avzoo.video import VideoReader, read_picture
from avzoo.video.frame_folders import find_missing_numbers, list_frames

from .augmentation_slowfast_cslr import draw_clip_changes
from .loss_slowfast_cslr import IGNORED, count_least_steps
from .modeling_slowfast_cslr import SlowFastSignForCTC
from .processing_slowfast_cslr import SlowFastSignProcessor

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
_SHOWN = 5  # clips that a message names


class SignClips(torch.utils.data.Dataset):
    """Clips with their labels. A sample is `frames` (frames, crop_size, crop_size, 3) uint8 and `labels` (glosses,).

    Draws come from torch's global generator, which the training loop seeds for each sample. Of a folder of frames only
    those that are drawn are read.

    Args:
        rows: {"id", "path", "glosses"}, see [`avzoo.data.sign_sentences`].
        processor: with the vocabulary.
        augment: draw length, cut and mirroring anew each time; else each clip is as in evaluation.
        unknown: what to do with a gloss that the vocabulary lacks, "error" or "drop".
        strength: of temporal rescaling, see [`rescale_length`].
        mirror_share: of the clips that are mirrored.

    Raises:
        ValueError: an unknown gloss, or a clip that has none left; with its id.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        processor: SlowFastSignProcessor,
        *,
        augment: bool = True,
        unknown: Literal["error", "drop"] = "error",
        strength: float = 0.2,
        mirror_share: float = 0.5,
    ):
        self.rows, self.processor, self.augment = list(rows), processor, augment
        self.labels = [encode_row(row, processor, unknown) for row in self.rows]
        self.strength, self.mirror_share = strength, mirror_share
        self.square = copy.copy(processor)  # frames before the last cut, which is drawn
        self.square.crop_size = processor.resize_size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        path, labels = self.rows[index]["path"], torch.tensor(self.labels[index])
        if not self.augment:
            frames = self.processor.read_frames(path, name=os.fspath(path))
            return {"frames": torch.from_numpy(np.ascontiguousarray(frames)), "labels": labels}
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        size = self.square.resize_size
        options = {
            "crop_size": self.processor.crop_size,
            "strength": self.strength,
            "mirror_share": self.mirror_share,
            "at_least": self.processor.step_frames * count_needed_steps(self.labels[index]),
        }
        if os.path.isdir(path):
            paths = list_frames(path)
            changes = draw_clip_changes(len(paths), size, size, generator, **options)
            chosen, places = changes.frames.unique(return_inverse=True)
            read = (read_picture(paths[number], name=os.fspath(paths[number]))[None] for number in chosen.tolist())
            clip = np.concatenate([self.square.prepare_frames(frame) for frame in read])[places.numpy()]
        else:
            clip = self.square.read_frames(path, name=os.fspath(path))
            changes = draw_clip_changes(len(clip), size, size, generator, **options)
            clip = clip[changes.frames.numpy()]
        return {"frames": torch.from_numpy(changes.cut(clip)), "labels": labels}


class SignCollator:
    """Samples of [`SignClips`] to `pixel_values`, `attention_mask` (where lengths differ) and `labels`, -100 behind.

    A batch is padded as in use: copies of each clip's first and last frame, up to the longest.

    Args:
        processor: which pads.
    """

    def __init__(self, processor: SlowFastSignProcessor):
        self.processor = processor

    def __call__(self, samples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = self.processor.pad([sample["frames"].numpy() for sample in samples])
        labels = [sample["labels"] for sample in samples]
        batch["labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        return batch


def compute_sign_loss(model: torch.nn.Module, batch: Mapping[str, torch.Tensor], step: Any = None) -> dict:
    """The loss of a batch and its terms, for [`avzoo.training.train`]."""
    output = model(**batch)
    return {"loss": output.loss, **output.losses}


def encode_row(row: Row, processor: SlowFastSignProcessor, unknown: Literal["error", "drop"] = "error") -> list[int]:
    """The numbers of a clip's glosses.

    Raises:
        ValueError: an unknown gloss, or none is left; with the clip's id.
    """
    labels = processor.encode_glosses(row["glosses"], unknown=unknown, name=f"glosses of clip {row['id']}")
    if not labels:
        raise ValueError(f"`glosses of clip {row['id']}` are all unknown to the vocabulary; leave the clip out.")
    return labels


def count_needed_steps(labels: Sequence[int]) -> int:
    """The fewest steps of the answer that can spell some labels: one each, and a blank between equal neighbours."""
    return int(count_least_steps(torch.tensor([list(labels)])))


def count_clip_frames(path: str | os.PathLike, frame_rate: float) -> int:
    """Frames of a folder, or of a video at a rate, which is decoded for that.

    Raises:
        OSError, ValueError: it is missing or damaged.
    """
    if os.path.isdir(path):
        return len(list_frames(path))
    return VideoReader(path, name=os.fspath(path), strict=True).count_frames(frame_rate)


@dataclass(frozen=True)
class ShortClip:
    """A clip that can't be trained on: it has fewer steps than its glosses need, so that no path spells them.

    Args:
        name: its id.
        num_frames, num_steps: of the clip, and of the answer to it.
        num_glosses, num_needed: glosses, and the steps that spelling them takes.
    """

    name: str
    num_frames: int
    num_steps: int
    num_glosses: int
    num_needed: int

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.num_frames} frames give {self.num_steps} steps, its {self.num_glosses} glosses need "
            f"{self.num_needed})"
        )


def check_frames(row: Row, processor: SlowFastSignProcessor) -> None:
    """Decode a clip as training does; for [`keep_readable`].

    Raises:
        OSError, ValueError: it is missing or damaged.
    """
    for _ in processor.iter_frames(row["path"], name=os.fspath(row["path"])):
        pass


def report_gaps(rows: Sequence[Row]) -> None:
    """Log how many clips lack frames, by the numbers of those that they have; they are used as they are."""

    def find_gaps(row: Row) -> list[int]:
        return find_missing_numbers(list_frames(row["path"])) if os.path.isdir(row["path"]) else []

    with ThreadPoolExecutor() as pool:
        gaps = list(pool.map(find_gaps, rows))
    lacking = [(row["id"], numbers) for row, numbers in zip(rows, gaps, strict=True) if numbers]
    if lacking:
        name, numbers = lacking[0]
        logger.warning(
            f"{len(lacking)} of the {len(rows)} clips lack frames between their first and last, by their numbers; the "
            f"first is {name} ({len(numbers)} missing, from number {numbers[0]} on)."
        )


def find_short_clips(
    rows: Sequence[Row], processor: SlowFastSignProcessor, unknown: Literal["error", "drop"] = "error"
) -> list[ShortClip]:
    """The clips whose CTC loss would be infinite. Frames of folders are listed; videos are decoded, to count theirs.

    Raises:
        OSError, ValueError: a clip is missing or damaged, or has an unknown gloss.
    """
    labels = [encode_row(row, processor, unknown) for row in rows]
    with ThreadPoolExecutor() as pool:
        counts = list(pool.map(lambda row: count_clip_frames(row["path"], processor.frame_rate), rows))
    short = []
    for row, numbers, num_frames in zip(rows, labels, counts, strict=True):
        num_steps, needed = processor.count_steps(num_frames), count_needed_steps(numbers)
        if num_steps < needed:
            short.append(ShortClip(row["id"], num_frames, num_steps, len(numbers), needed))
    return short


def refuse_short_clips(
    rows: Sequence[Row],
    processor: SlowFastSignProcessor,
    *,
    skip_short: bool = False,
    unknown: Literal["error", "drop"] = "error",
) -> list[Row]:
    """The rows, if each clip is long enough for its glosses; see [`find_short_clips`].

    Args:
        skip_short: leave out clips that are not, and log how many, instead of refusing.

    Raises:
        ValueError: clips are too short: how many, and the first with their numbers.
    """
    short = find_short_clips(rows, processor, unknown)
    if short and not skip_short:
        shown = ", ".join(map(str, short[:_SHOWN])) + (", ..." if len(short) > _SHOWN else "")
        raise ValueError(
            f"{len(short)} of the {len(rows)} clips are too short to be trained on by CTC: {shown}. Correct their "
            "glosses. Pass skip_short=True to leave them out."
        )
    if short:
        complaint = "clips are too short for their glosses"
        report_left_out(len(short), len(rows), complaint, short[0])
    if len(short) == len(rows):
        raise ValueError(f"none of the {len(rows)} clips is long enough for its glosses.")
    names = {clip.name for clip in short}
    return [row for row in rows if row["id"] not in names]


def adapt_vocabulary(
    model: SlowFastSignForCTC,
    processor: SlowFastSignProcessor,
    glosses: Sequence[str],
    **framing: Any,
) -> tuple[SlowFastSignForCTC, SlowFastSignProcessor, str | None]:
    """A network and a processor for other glosses, and what changed in a sentence; None if nothing did.

    The classifiers are new, from torch's global generator; glosses that the network knew by name, and the blank, keep
    their weights. All other weights are kept.

    Args:
        glosses: the vocabulary; the first gets number 1.
        framing: further arguments of the processor that change, such as `top_rows`.
    """
    glosses, known = list(glosses), list(processor.glosses or [])
    settings = {name: getattr(processor, name) for name in _PROCESSOR_SETTINGS} | framing
    processor = type(processor)(glosses=glosses, **settings)
    if glosses == known and model.config.vocab_size == processor.num_classes:
        return model, processor, None
    weights = model.state_dict()
    config = type(model.config).from_dict({**model.config.to_dict(), "vocab_size": processor.num_classes})
    adapted = type(model)(config).to(model.device, model.dtype)
    fresh = adapted.state_dict()
    numbers = {gloss: number for number, gloss in enumerate(known, start=1)}
    kept = [(number, numbers[gloss]) for number, gloss in enumerate(glosses, start=1) if gloss in numbers]
    kept += [(0, 0)] if known else []
    for name, value in fresh.items():
        if not name.endswith("classifier.weight"):
            value.copy_(weights[name])
        elif kept:  # (hidden_size, classes)
            ours, theirs = map(list, zip(*kept, strict=True))
            value[:, ours] = weights[name][:, theirs]
    num_kept = len(kept) - bool(known)
    notice = (
        f"The classifier is replaced: {model.config.vocab_size} classes before, {config.vocab_size} now; {num_kept} of "
        f"{len(glosses)} glosses keep their weights, {len(glosses) - num_kept} are new, {len(known) - num_kept} go."
    )
    return adapted.train(model.training), processor, notice


def set_auxiliary_branches(model: SlowFastSignForCTC, wanted: bool) -> tuple[SlowFastSignForCTC, str | None]:
    """The network with the auxiliary heads of training, or without, and what changed in a sentence; None if nothing.

    New heads are drawn from torch's global generator.
    """
    if model.config.auxiliary_branches == wanted:
        return model, None
    if not wanted:
        return model.without_auxiliary(), "The auxiliary heads are left out: the pathways have no losses of their own."
    config = type(model.config).from_dict({**model.config.to_dict(), "auxiliary_branches": True})
    extended = type(model)(config).to(model.device, model.dtype)
    extended.load_state_dict(model.state_dict(), strict=False)
    return extended.train(model.training), "The model was saved for inference; its auxiliary heads are new."


_PROCESSOR_SETTINGS = (
    "resize_size",
    "crop_size",
    "aspect_ratio",
    "top_rows",
    "frame_rate",
    "edge_frames",
    "step_frames",
    "alpha",
)


__all__ = [
    "ShortClip",
    "SignClips",
    "SignCollator",
    "adapt_vocabulary",
    "check_frames",
    "compute_sign_loss",
    "count_clip_frames",
    "count_needed_steps",
    "encode_row",
    "find_short_clips",
    "refuse_short_clips",
    "report_gaps",
    "set_auxiliary_branches",
]
