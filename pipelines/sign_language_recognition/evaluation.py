"""Evaluation on PHOENIX14, PHOENIX14-T, CSL-Daily or your own clips, by the protocol of the published numbers.

    rows = phoenix14("phoenix-2014-multisigner", "test")
    report = evaluate_signs(model, processor, rows, clean_up="phoenix")
    print(report.describe())

The protocol is that of [`avzoo.metrics.sign_glosses`], which names two faults of the authors' scripts that are not
repeated. Either head is read by a prefix beam search of width 10: "sequence" is the answer, "conv" that of the temporal
convolutions before the LSTM, which the authors print as auxiliary.

A clip's answer does not depend on the others of its batch. The authors' does: clips are read two at a time, in the
order of the list, and what lies behind the end of the shorter one is repeated frames or zeros, by the length of the
longer. `official_padding` does the same; published numbers are made so.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.checks import check_whole_number
from avzoo.data.lists import PathLike
from avzoo.data.sign_sentences import format_ctm, format_stm
from avzoo.files import write_atomically
from avzoo.metrics.sign_glosses import CleanUp, WordErrorRate, word_error_rate
from avzoo.pipelines.sign_language_recognition.answers import describe_hypothesis
from avzoo.pipelines.sign_language_recognition.features import MAX_FRAMES, compute_steps, recognize_steps

HEADS = ("sequence", "conv")
OFFICIAL_BATCH = 2  # clips

Row = Mapping[str, Any]
# {head: {id: glosses}}, each gloss {"label", "start", "end" (seconds), "score"}.
Answers = dict[str, dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True)
class SignReport:
    """What an evaluation found.

    Args:
        rates: of each of `HEADS`.
        unit_cost_percent: of each, the rate by unit costs, which other libraries compute.
        answers: of each, {id: glosses} as they were recognised, before the clean-up.
        rows: the clips.
        options: how it was made: clean_up, num_beams, official_padding.
    """

    rates: dict[str, WordErrorRate]
    unit_cost_percent: dict[str, float]
    answers: Answers
    rows: Sequence[Row]
    options: dict[str, Any]

    def describe(self) -> str:
        """The report as a table, to print."""
        lines = [f"{len(self.rows)} clips, {self.rates[HEADS[0]].totals['reference_words']} glosses"]
        lines += [f"{name}: {value}" for name, value in self.options.items()]
        columns = ("WER %", "substitutions", "deletions", "insertions", "unit-cost WER %")
        lines.append(f"{'head':<12}{''.join(f'{name:>17}' for name in columns)}")
        for head, rate in self.rates.items():
            counts = [str(rate.totals[name]) for name in columns[1:4]]
            values = [f"{rate.value:.2f}", *counts, f"{self.unit_cost_percent[head]:.2f}"]
            lines.append(f"{head:<12}{''.join(f'{value:>17}' for value in values)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        clips = []
        for index, row in enumerate(self.rows):
            clip = {"id": row["id"], "reference": list(row["glosses"])}
            for head, rate in self.rates.items():
                alignment = rate.alignments[index]
                clip[head] = {
                    "glosses": self.answers[head].get(row["id"], []),
                    "errors": alignment.errors,
                    "alignment": [list(alignment.reference), list(alignment.hypothesis)],
                }
            clips.append(clip)
        rates = {
            head: {"wer": rate.value, **rate.totals, "unit_cost_wer": self.unit_cost_percent[head]}
            for head, rate in self.rates.items()
        }
        return {"options": self.options, "rates": rates, "clips": clips}

    def save(self, folder: PathLike) -> list[Path]:
        """Write report.json, references.stm, and hypotheses.ctm and hypotheses_conv.ctm, as sclite reads them.

        Each file is written atomically; the folder is made if it is missing.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "report.json": json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n",
            "references.stm": format_stm(self.rows),
            "hypotheses.ctm": format_ctm(self.answers["sequence"]),
            "hypotheses_conv.ctm": format_ctm(self.answers["conv"]),
        }
        for name, text in texts.items():
            with write_atomically(folder / name) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
        return [folder / name for name in texts]


def evaluate_signs(
    model: Any,
    processor: Any,
    rows: Sequence[Row],
    *,
    clean_up: CleanUp | None = None,
    num_beams: int = 10,
    batch_size: int = 1,
    official_padding: bool = False,
    num_workers: int = 0,
    progress: bool = False,
) -> SignReport:
    """Recognise clips and score them.

    Args:
        model: [`SlowFastSignForCTC`], on the device that it is to run on. processor: that belongs to it.
        rows: see [`avzoo.data.sign_sentences`].
        clean_up: "phoenix" for the published numbers of all three data sets, see [`word_error_rate`].
        num_beams: of the search; 1: greedily.
        batch_size: clips at a time, which changes no answer.
        official_padding: batches of two clips that see each other's padding, as the authors' code has them; needs
            `batch_size` 1 (not asked for) or 2.
        num_workers: processes that read clips.
        progress: show a bar.

    Raises:
        TypeError, ValueError: an option out of its range, no rows, an id that appears twice; a damaged clip.
        OSError: a clip is missing.
    """
    if not rows:
        raise ValueError("`rows` is empty; there is nothing to evaluate.")
    if official_padding and batch_size not in (1, OFFICIAL_BATCH):
        raise ValueError(f"`batch_size` must be {OFFICIAL_BATCH} with `official_padding`, got {batch_size}.")
    names = [row["id"] for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ValueError(f"`rows` hold {twice!r} twice; ids tell clips apart.")
    with keep_padding(model) if official_padding else contextlib.nullcontext():
        answers = recognize_signs(
            model,
            processor,
            rows,
            num_beams=num_beams,
            batch_size=OFFICIAL_BATCH if official_padding else batch_size,
            num_workers=num_workers,
            progress=progress,
        )
    options = {"clean_up": clean_up, "num_beams": num_beams, "official_padding": official_padding}
    return score_answers(rows, answers, clean_up, options)


def score_answers(
    rows: Sequence[Row], answers: Answers, clean_up: CleanUp | None = None, options: Mapping[str, Any] | None = None
) -> SignReport:
    """The report of answers that [`recognize_signs`] gave.

    Raises:
        ValueError: what [`word_error_rate`] raises.
    """
    references = {row["id"]: list(row["glosses"]) for row in rows}
    rates, unit_costs = {}, {}
    for head, sentences in answers.items():
        words = {name: [gloss["label"] for gloss in glosses] for name, glosses in sentences.items()}
        rates[head] = word_error_rate(references, words, clean_up)
        unit_costs[head] = word_error_rate(references, words, clean_up, costs=(1, 1, 1)).value
    return SignReport(rates, unit_costs, answers, list(rows), dict(options or {}))


@torch.inference_mode()
def recognize_signs(
    model: Any,
    processor: Any,
    rows: Sequence[Row],
    *,
    num_beams: int = 10,
    batch_size: int = 1,
    num_workers: int = 0,
    progress: bool = False,
) -> Answers:
    """The glosses of each clip, read off either head; arguments and errors as of [`evaluate_signs`].

    Returns:
        {head: {id: glosses}}; times of a gloss are seconds from the clip's beginning.
    """
    check_whole_number("batch_size", batch_size, at_least=1)
    check_whole_number("num_beams", num_beams, at_least=1)
    answers: Answers = {head: {} for head in HEADS}
    was_training = model.training
    model.eval()
    loader = torch.utils.data.DataLoader(
        _Clips(rows, processor), batch_size=batch_size, num_workers=num_workers, collate_fn=list
    )
    try:
        with tqdm(total=len(rows), desc="clips", disable=not progress) as bar:
            for batch in loader:
                logits = compute_logits(model, processor, [frames for _, frames in batch])
                for (name, frames), rows_of_heads in zip(batch, logits, strict=True):
                    for head, rows_of_head in zip(HEADS, rows_of_heads, strict=True):
                        best = processor.decode(rows_of_head, num_beams=num_beams)[0]
                        answers[head][name] = describe_hypothesis(best, processor, len(frames))["glosses"]
                bar.update(len(batch))
    finally:
        model.train(was_training)
    return answers


def compute_logits(
    model: Any, processor: Any, clips: Sequence[np.ndarray], max_frames: int = MAX_FRAMES
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits of each clip behind the LSTM and before it, (steps, vocab_size) float32 each, on the CPU.

    Args:
        clips: frames as the processor's `read_frames` gives them.
        max_frames: that go through the network at once. Where a clip has more, each goes through it alone and in
            parts, which changes nothing, unless clips are to see each other's padding.
    """
    if model.config.isolate_clips and max(map(len, clips)) + 2 * processor.edge_frames > max_frames:
        return [recognize_steps(model, compute_steps(model, processor, iter([clip]), max_frames)[0]) for clip in clips]
    inputs = processor.pad(clips)
    output = model(**{name: tensor.to(model.device) for name, tensor in inputs.items()})
    return [
        tuple(values[index, : int(count)].float().cpu() for values in (output.logits, output.conv_logits))
        for index, count in enumerate(output.lengths)
    ]


@contextlib.contextmanager
def keep_padding(model: Any) -> Iterator[None]:
    """Inside, clips of a batch see the repeated frames behind their end, as in the authors' code."""
    isolates = model.config.isolate_clips
    model.config.isolate_clips = False
    try:
        yield
    finally:
        model.config.isolate_clips = isolates


class _Clips(torch.utils.data.Dataset):
    """(id, frames) of each clip, as the network sees it but for the padding."""

    def __init__(self, rows: Sequence[Row], processor: Any):
        self.rows, self.processor = rows, processor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[str, np.ndarray]:
        row = self.rows[index]
        return row["id"], self.processor.read_frames(row["path"], name=os.fspath(row["path"]))


__all__ = [
    "HEADS",
    "SignReport",
    "compute_logits",
    "evaluate_signs",
    "keep_padding",
    "recognize_signs",
    "score_answers",
]
