"""Word error rate of recognised sign glosses, as the published protocol of PHOENIX14, PHOENIX14-T and CSL-Daily has it.

Conventions (SlowFastSign and the methods it is compared with): one sentence per clip; rates are percent of the
reference glosses of the whole set, lower is better. A sentence is a list of glosses or a text with blanks between them.
1. Hypotheses are cleaned by [`clean_glosses`] (`clean_up="phoenix"`); references are not.
2. A clip without a gloss has the single word [EMPTY], which costs as much as nothing would.
3. Adjacent equal glosses of a hypothesis are merged; those of a reference are not.
4. Both are aligned, by costs of 4 for a substitution and 3 for a deletion or an insertion, and errors are counted along
   the alignment. This is not the unit-cost distance of other libraries, which gives fewer errors in rare cases;
   `costs=(1, 1, 1)` gives that one.

Two faults of the authors' scripts are not repeated; published rates of their code contain them:
- The last clip of each CSL-Daily split is never loaded and counts as [EMPTY]: 7 errors more in dev (+0.09 points) and
  in test (+0.08 points).
- The last character of a reference file without a final newline is cut off, so that the last word of PHOENIX14 dev and
  test can't match (+0.018 and +0.015 points).

The clean-up looks at glosses alone. The authors' goes over whole lines of a CTM file, ids and all, which no id of the
three data sets notices.

Source: kaistmm/SlowFastSign@37d1b6c23a7aa4df63d27d7111391a43e7810d55 (`evaluation/slr_eval`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from avzoo.checks import check_choice, check_whole_number

Sentence = str | Sequence[str]
CleanUp = Literal["phoenix"]

EMPTY = "[EMPTY]"
PROTOCOL_COSTS = (4, 3, 3)
COUNTS = ("reference_words", "errors", "substitutions", "deletions", "insertions")  # columns of `WordErrorRate.counts`

# In this order. A rule of several words can't apply: every gloss has a line of its own in the authors' files.
_PHOENIX_RULES = [
    *((re.compile(prefix), "") for prefix in ("loc-", "cl-", "qu-", "poss-", "lh-")),
    (re.compile("S0NNE"), "SONNE"),
    (re.compile("HABEN2"), "HABEN"),
    *((re.compile(mark), "") for mark in ("__EMOTION__", "__PU__", "__LEFTHAND__")),
    (re.compile(r"ZEIGEN\Z"), "ZEIGEN-BILDSCHIRM"),
    (re.compile("([A-Z][A-Z])RAUM"), r"\1"),
    (re.compile("-PLUSPLUS"), ""),
]
_PHOENIX_DROPPED = ("__LEFTHAND__", "__EPENTHESIS__", "__EMOTION__")


@dataclass(frozen=True)
class GlossAlignment:
    """A reference and a hypothesis, word against word; where one has none, it has as many * as the other has letters.

    Args:
        reference, hypothesis: of equal length.
        reference_words: those that the rate is relative to: all but words that hold a *.
    """

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    reference_words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WordErrorRate:
    """Errors of a set of sentences.

    Args:
        value: percent of the reference words; above 100 where much is inserted.
        counts: (sentences, 5) of `COUNTS`, in the order of the references.
        alignments: of each sentence.
    """

    value: float
    counts: np.ndarray
    alignments: tuple[GlossAlignment, ...]

    @property
    def totals(self) -> dict[str, int]:
        """The sums of `counts`, by name."""
        return dict(zip(COUNTS, map(int, self.counts.sum(0)), strict=True))

    def __float__(self) -> float:
        return self.value


def clean_glosses(glosses: Sentence) -> list[str]:
    """Clean the recognised glosses of one clip by the table of the PHOENIX evaluation, before they are merged.

    Marks of space, hand and repetition are deleted, a few spellings are joined (`S0NNE` is SONNE, `ZEITRAUM` is ZEIT),
    and glosses that are marks alone vanish.

    Returns:
        What is left; [EMPTY] alone, if that is nothing.

    Raises:
        TypeError, ValueError: no list of glosses.
    """
    cleaned = []
    for gloss in _split(glosses, "glosses"):
        for pattern, replacement in _PHOENIX_RULES:
            gloss = pattern.sub(replacement, gloss)
        if gloss and not any(mark in gloss for mark in _PHOENIX_DROPPED):
            cleaned.append(gloss)
    return cleaned or [EMPTY]


def align_glosses(
    reference: Sentence, hypothesis: Sentence, *, costs: tuple[int, int, int] = PROTOCOL_COSTS
) -> GlossAlignment:
    """Align two sentences as they are, word against word, at the least cost.

    Of alignments of equal cost the first is taken that prefers, from the end on, a match, a substitution, a deletion,
    an insertion.

    Args:
        reference, hypothesis: either may be empty.
        costs: of a substitution, a deletion (a word of the reference alone) and an insertion.

    Raises:
        TypeError, ValueError: no lists of glosses, or a cost that is no whole number from 1 on.
    """
    reference, hypothesis = _split(reference, "reference"), _split(hypothesis, "hypothesis")
    for cost in costs:
        check_whole_number("costs", cost, at_least=1)
    substitution, deletion, insertion = costs
    # steps[i][j]: the last step of the best way to i words of the reference and j of the hypothesis.
    above = [insertion * column for column in range(len(hypothesis) + 1)]
    steps = [["I"] * (len(hypothesis) + 1)]
    for row, word in enumerate(reference, start=1):
        current, step = [deletion * row], ["D"]
        for column, other in enumerate(hypothesis, start=1):
            if word == other:
                current.append(above[column - 1])
                step.append("C")
                continue
            ways = (above[column - 1] + substitution, above[column] + deletion, current[-1] + insertion)
            best = min(ways)
            current.append(best)
            step.append("SDI"[ways.index(best)])
        above = current
        steps.append(step)
    pairs, count = [], dict.fromkeys("CSDI", 0)
    row, column = len(reference), len(hypothesis)
    while row or column:
        step = steps[row][column]
        row -= step != "I"
        column -= step != "D"
        word = "*" * len(hypothesis[column]) if step == "I" else reference[row]
        other = "*" * len(reference[row]) if step == "D" else hypothesis[column]
        pairs.append((word, other))
        count[step] += word != other  # a word of stars alone is no error where it is left out, either
    pairs.reverse()
    return GlossAlignment(
        reference=tuple(word for word, _ in pairs),
        hypothesis=tuple(other for _, other in pairs),
        reference_words=sum("*" not in word for word in reference),
        substitutions=count["S"],
        deletions=count["D"],
        insertions=count["I"],
    )


def word_error_rate(
    references: Mapping[str, Sentence] | Sequence[Sentence],
    hypotheses: Mapping[str, Sentence] | Sequence[Sentence],
    clean_up: CleanUp | None = None,
    *,
    costs: tuple[int, int, int] = PROTOCOL_COSTS,
) -> WordErrorRate:
    """Word error rate of a set of clips, percent, by the protocol of this module.

        word_error_rate({"clip1": "MORGEN REGEN"}, {"clip1": ["MORGEN", "loc-REGEN"]}, "phoenix").value     # 0.0

    Args:
        references: glosses by clip, or a list of sentences.
        hypotheses: likewise; of a list as many, by name some may be missing, which count as [EMPTY].
        clean_up: "phoenix" cleans hypotheses by [`clean_glosses`]; published rates of all three data sets are made so.
            None: glosses are compared as they are.
        costs: see [`align_glosses`]; (1, 1, 1) counts what other libraries count.

    Raises:
        TypeError, ValueError: no sentences, one kind of argument for the references and another for the hypotheses, an
            empty reference, a hypothesis of an unknown clip, or nothing that counts in all references.
    """
    check_choice("clean_up", clean_up, ("phoenix", None))
    names, pairs = _pair_sentences(references, hypotheses)
    alignments = []
    for name, (reference, hypothesis) in zip(names, pairs, strict=True):
        reference = _split(reference, f"references[{name!r}]")
        if not reference:
            raise ValueError(f"`references[{name!r}]` holds no gloss; leave the clip out.")
        hypothesis = _split(hypothesis, f"hypotheses[{name!r}]")
        hypothesis = clean_glosses(hypothesis) if clean_up else hypothesis or [EMPTY]
        merged = [gloss for gloss, _ in groupby(hypothesis)]
        alignments.append(align_glosses(reference, merged, costs=costs))
    counts = np.array([[getattr(alignment, name) for name in COUNTS] for alignment in alignments], dtype=np.int64)
    words, errors = counts[:, :2].sum(0)
    if not words:
        raise ValueError("`references` hold only words with a *, which don't count; there is nothing to compare with.")
    return WordErrorRate(100 * float(errors) / float(words), counts, tuple(alignments))


def _pair_sentences(references, hypotheses) -> tuple[list, list[tuple[Sentence, Sentence]]]:
    """Names (or places) of the sentences, and each with its hypothesis."""
    for name, sentences in (("references", references), ("hypotheses", hypotheses)):
        if isinstance(sentences, str) or not isinstance(sentences, Mapping | Sequence):
            raise TypeError(f"`{name}` must be sentences by clip or a list of them, got {type(sentences).__name__}.")
    if isinstance(references, Mapping) != isinstance(hypotheses, Mapping):
        raise TypeError("`references` and `hypotheses` must both be sentences by clip, or both lists.")
    if not references:
        raise ValueError("`references` hold no sentence.")
    if isinstance(references, Mapping):
        unknown = [name for name in hypotheses if name not in references]
        if unknown:
            raise ValueError(
                f"`hypotheses` hold {len(unknown)} clips without a reference, the first is {unknown[0]!r}; the first "
                f"reference is {next(iter(references))!r}."
            )
        return list(references), [(reference, hypotheses.get(name, [])) for name, reference in references.items()]
    if len(references) != len(hypotheses):
        raise ValueError(f"`references` are {len(references)} sentences, `hypotheses` {len(hypotheses)}.")
    return list(range(len(references))), list(zip(references, hypotheses, strict=True))


def _split(sentence: Sentence, name: str) -> list[str]:
    if isinstance(sentence, str):
        return sentence.split()
    if not isinstance(sentence, Sequence) or not all(isinstance(gloss, str) for gloss in sentence):
        raise TypeError(f"`{name}` must be a list of glosses or a text, got {sentence!r}.")
    broken = next((gloss for gloss in sentence if len(gloss.split()) > 1 or gloss != gloss.strip()), None)
    if broken is not None:
        raise ValueError(f"`{name}` holds the gloss {broken!r}, which has a blank inside; pass single glosses.")
    return [gloss for gloss in sentence if gloss]


__all__ = [
    "COUNTS",
    "EMPTY",
    "PROTOCOL_COSTS",
    "GlossAlignment",
    "WordErrorRate",
    "align_glosses",
    "clean_glosses",
    "word_error_rate",
]
