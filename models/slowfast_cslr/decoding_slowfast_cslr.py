"""Glosses from the logits of a CTC head: prefix beam search, greedy decoding, and when each gloss is signed.

The search follows that of the authors (kaistmm/SlowFastSign@37d1b6c, utils/decode.py, which calls
parlance/ctcdecode@c90ad94): per step only the most probable classes count, the blank among them only if it is one of
them; a label sequence has the sum of the probabilities of all its paths. Each step is a few NumPy calls over all beams
and classes.

Step k of the logits sees the frames 4k - 6 to 4k + 9 of a video that is padded as the processor does.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from avzoo.checks import check_number, check_whole_number

_SETTLED_LABELS = 32  # that are let go of together
_BLOCK_STEPS = 256  # of long recordings, in float64 at once
_SMALLEST = float(np.finfo(np.float32).tiny)  # added to each probability before its logarithm


class Beam(NamedTuple):
    """A label sequence.

    Args:
        ids: classes, never the blank.
        steps: at which each label had its highest probability, of the steps at which it could follow its predecessors.
        score: natural logarithm of its probability; of a search with a language model, with that model's share.
    """

    ids: tuple[int, ...]
    steps: tuple[int, ...]
    score: float


class GlossSpan(NamedTuple):
    """Where a label lies on the most probable path of its sequence.

    Args:
        first_step, last_step: the steps that it takes, both included.
        score: its largest probability in them, in [0, 1].
    """

    first_step: int
    last_step: int
    score: float


class Hypothesis(NamedTuple):
    """An answer: glosses, where they lie, and the natural logarithm of their probability."""

    ids: tuple[int, ...]
    spans: tuple[GlossSpan, ...]
    score: float


class GlossLanguageModel:
    """A language model's share in the search.

    A beam that grows by a gloss gains `weight * score_gloss(previous, gloss) + insertion_bonus`.

    Args:
        score_gloss: (previous glosses from the beginning of the sentence, gloss) -> natural log probability. It has to
            give the same answer whenever it is asked the same.
        glosses: the name of each class, by its number; that of the blank is not used.
        weight: 0 leaves the language model out.
        insertion_bonus: for each gloss; above 0, answers get longer.

    Raises:
        TypeError, ValueError: a weight below 0, a number that is none or not finite, an empty list of glosses.
    """

    def __init__(
        self,
        score_gloss: Callable[[tuple[str, ...], str], float],
        glosses: Sequence[str],
        weight: float = 0.5,
        insertion_bonus: float = 0.0,
    ):
        if not callable(score_gloss):
            raise TypeError(f"`score_gloss` must be a function of previous glosses and a gloss, got {score_gloss!r}.")
        check_number("weight", weight, at_least=0)
        check_number("insertion_bonus", insertion_bonus)
        if not len(glosses):
            raise ValueError("`glosses` must name the classes, got none.")
        self.score_gloss, self.glosses = score_gloss, tuple(glosses)
        self.weight, self.insertion_bonus = weight, insertion_bonus

    def __call__(self, previous: Sequence[int], label: int) -> float:
        """What a sequence of classes gains by one more."""
        names = tuple(self.glosses[index] for index in previous)
        score = float(self.score_gloss(names, self.glosses[label]))
        if not score <= 0:  # also NaN
            raise ValueError(
                f"`score_gloss` must give a natural log probability, at most 0, got {score} of {self.glosses[label]!r} "
                f"after {names!r}."
            )
        return self.weight * max(score, -1e4) + self.insertion_bonus  # an impossible gloss stays comparable


def load_kenlm(path: str) -> Callable[[tuple[str, ...], str], float]:
    """`score_gloss` for [`GlossLanguageModel`] from a KenLM file (.arpa or binary), whose words are glosses.

    Raises:
        ImportError: the extra `lm` is not installed. OSError: no such file, or none that KenLM reads.
    """
    try:
        import kenlm
    except ImportError as error:
        raise ImportError("a KenLM file is read with kenlm: pip install 'avzoo[lm]'.") from error
    config = kenlm.Config()
    config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE  # both write to stderr
    model = kenlm.Model(str(path), config)

    @lru_cache(maxsize=100_000)
    def find_state(glosses: tuple[str, ...], is_beginning: bool) -> Any:
        state = kenlm.State()
        (model.BeginSentenceWrite if is_beginning else model.NullContextWrite)(state)
        for gloss in glosses:
            earlier, state = state, kenlm.State()
            model.BaseScore(earlier, gloss, state)
        return state

    def score_gloss(previous: tuple[str, ...], gloss: str) -> float:
        is_beginning = len(previous) < model.order - 1  # else the last glosses are all that the model looks at
        context = previous if is_beginning else previous[len(previous) - model.order + 1 :]
        return model.BaseScore(find_state(context, is_beginning), gloss, kenlm.State()) * math.log(10)

    return score_gloss


def decode_glosses(
    logits: Any,
    *,
    num_beams: int = 10,
    n_best: int = 1,
    top_classes: int = 40,
    blank: int = 0,
    merge: bool = True,
    language_model: GlossLanguageModel | None = None,
) -> list[Hypothesis]:
    """The `n_best` most probable gloss sequences, best first.

    Args:
        logits: (steps, classes), before the softmax, array or tensor.
        num_beams: sequences that are kept at each step; 1: greedy decoding, which follows the most probable path.
        n_best: at most `num_beams`. There are fewer answers if beams are equal once they are merged.
        top_classes: most probable classes that count at each step.
        blank: class of no gloss.
        merge: make one of adjacent equal glosses, as the authors do with the best beam.
        language_model: see [`GlossLanguageModel`].

    Raises:
        TypeError, ValueError: logits of another shape, NaN or infinite; a number out of range; a language model that
            does not name each class, or with greedy decoding.
    """
    check_whole_number("num_beams", num_beams, at_least=1)
    check_whole_number("n_best", n_best, at_least=1)
    if n_best > num_beams:
        raise ValueError(f"`n_best` ({n_best}) must be at most `num_beams` ({num_beams}).")
    values = _check_logits(logits, blank)
    if num_beams == 1:
        if language_model is not None:
            raise ValueError("`language_model` needs a beam search: pass `num_beams` above 1.")
        beams = [decode_greedily(values, blank=blank)]
    else:
        options = {"top_classes": top_classes, "blank": blank, "language_model": language_model}
        beams = search_beams(values, num_beams=num_beams, **options)
    answers: dict[tuple[int, ...], Hypothesis] = {}
    for beam in beams:
        ids = merge_adjacent(beam).ids if merge else beam.ids
        if ids not in answers and len(answers) < n_best:
            answers[ids] = Hypothesis(ids, align_labels(values, ids, blank=blank), beam.score)
    return list(answers.values())


def search_beams(
    logits: Any,
    *,
    num_beams: int = 10,
    top_classes: int = 40,
    blank: int = 0,
    language_model: GlossLanguageModel | None = None,
) -> list[Beam]:
    """Prefix beam search: the label sequences with the largest sums over all their paths, best first.

    Of equally probable sequences the one whose last label has the lower number goes first. Adjacent equal labels stay
    two, if a blank lay between them.

    Args:
        logits: (steps, classes), before the softmax, array or tensor. No step: one empty beam.
        num_beams: sequences that are kept at each step. The answer has fewer where fewer are possible.
        top_classes: most probable classes that count at each step, the blank like any other; of equally probable ones
            those with lower numbers.
        blank: class of no gloss.
        language_model: see [`GlossLanguageModel`].

    Raises:
        TypeError, ValueError: as [`decode_glosses`].
    """
    check_whole_number("num_beams", num_beams, at_least=1)
    check_whole_number("top_classes", top_classes, at_least=1)
    values = _check_logits(logits, blank)
    if language_model is not None and len(language_model.glosses) != values.shape[1]:
        raise ValueError(
            f"`language_model` names {len(language_model.glosses)} classes, the logits have {values.shape[1]}."
        )
    search = _Search(len(values), num_beams, blank, language_model)
    for start in range(0, len(values), _BLOCK_STEPS):
        block = _log_probabilities(values[start : start + _BLOCK_STEPS])
        for row, classes in _prune(block, top_classes):
            search.advance(row, classes)
    return search.beams()


class _Search:
    """The beams after some steps, best first, and the tree of label sequences whose leaves they are.

    A node is a label after its predecessors. It knows its highest probability so far, of the steps at which the node
    before it was a beam, as long as a beam passes through it; then it is forgotten.
    """

    def __init__(self, num_steps: int, num_beams: int, blank: int, language_model: GlossLanguageModel | None):
        self.num_beams, self.blank, self.language_model = num_beams, blank, language_model
        size = num_steps * num_beams + 2  # the root, a new node per beam and step, and one that is never a beam
        self.label = np.full(size, blank)
        self.parent = np.full(size, size - 1)
        self.peak, self.peak_step = np.full(size, -np.inf), np.zeros(size, int)
        self.is_beam = np.zeros(size, bool)
        self.num_nodes = 1
        self.children: dict[tuple[int, int], int] = {}
        self.gains: dict[tuple[int, int], float] = {}  # by the language model
        self.step = 0
        # Of each beam: its node, length, and log probabilities of the paths that end in a blank or in its last label.
        self.nodes, self.lengths = np.zeros(1, int), np.zeros(1, int)
        self.log_blank, self.log_label = np.zeros(1), np.full(1, -np.inf)
        self.gain = np.zeros(1)
        # The nodes of each beam from the length of the shortest on: only there can probabilities still change.
        self.offset, self.paths = 0, np.zeros((1, 8), int)

    def advance(self, row: np.ndarray, classes: np.ndarray) -> None:
        """One step.

        Args:
            row: (classes,) log probabilities, -inf for classes that don't count. classes: those that do, ascending.
        """
        nodes, last = self.nodes, self.label[self.nodes]
        totals = np.logaddexp(self.log_blank, self.log_label)
        self._raise_peaks(row)
        log_blank = row[self.blank] + totals
        log_label = row[last] + self.log_label  # a beam's last label goes on
        # (beams, classes): a beam grows by a label; by its last label again only from a blank.
        grown = np.where(last[:, None] == classes, self.log_blank[:, None], totals[:, None]) + row[classes]
        grown[:, classes == self.blank] = -np.inf
        # Where a beam grows to what is a beam already, their probabilities are added.
        longer, shorter = np.nonzero(self.parent[nodes][:, None] == nodes)
        for beam, source in zip(longer.tolist(), shorter.tolist(), strict=True):
            if row[last[beam]] > -np.inf:
                column = np.searchsorted(classes, last[beam])
                log_label[beam] = np.logaddexp(log_label[beam], grown[source, column])
                grown[source, column] = -np.inf

        ranks = np.logaddexp(log_blank, log_label) + self.gain
        gains = self._gains(classes, grown)
        ranks = np.concatenate([ranks, (grown + gains + self.gain[:, None]).ravel()])
        labels = np.concatenate([last, np.broadcast_to(classes, grown.shape).ravel()])
        chosen = _choose_best(ranks, labels, self.num_beams)

        count, width = len(nodes), len(classes)
        stays = chosen < count
        sources = np.where(stays, chosen, (chosen - count) // width)
        new_labels, is_new = labels[chosen], ~stays
        paths, lengths = self.paths[sources], self.lengths[sources]
        new_nodes = nodes[sources]
        for place in np.flatnonzero(is_new).tolist():
            column = lengths[place] - self.offset
            new_nodes[place] = self._grow(int(nodes[sources[place]]), int(new_labels[place]), column, row)
            paths[place, column] = new_nodes[place]
        self.log_blank = np.where(stays, log_blank[sources], -np.inf)
        self.log_label = np.where(stays, log_label[sources], 0.0)
        self.gain = self.gain[sources]
        if is_new.any():
            places = (sources[is_new], (chosen[is_new] - count) % width)
            self.log_label[is_new] = grown[places]
            self.gain[is_new] += gains if isinstance(gains, float) else gains[places]
        self.is_beam[nodes] = False
        self.is_beam[new_nodes] = True
        self.nodes, self.lengths, self.paths = new_nodes, lengths + is_new, paths
        self.step += 1
        self._make_room()

    def beams(self) -> list[Beam]:
        """The beams, best first."""
        scores = np.logaddexp(self.log_blank, self.log_label) + self.gain
        results = []
        for node, score in zip(self.nodes.tolist(), scores.tolist(), strict=True):
            path = self._trace(node)
            results.append(Beam(tuple(self.label[path].tolist()), tuple(self.peak_step[path].tolist()), score))
        return results

    def _raise_peaks(self, row: np.ndarray) -> None:
        """Note the probabilities of nodes that follow a beam, where they are higher than before."""
        width = int(self.lengths.max()) - self.offset
        nodes = self.paths[:, :width].ravel()
        values = row[self.label[nodes]]
        higher = self.is_beam[self.parent[nodes]] & (values > self.peak[nodes])
        self.peak[nodes[higher]] = values[higher]
        self.peak_step[nodes[higher]] = self.step

    def _grow(self, parent: int, label: int, column: int, row: np.ndarray) -> int:
        """The node of `label` after `parent`; one that a longer beam passes through is there already."""
        node = self.children.get((parent, label))
        if node is not None and (self.paths[:, column] == node).any():
            return node
        node = self.num_nodes
        self.num_nodes += 1
        self.label[node], self.parent[node] = label, parent
        self.peak[node], self.peak_step[node] = row[label], self.step
        self.children[parent, label] = node
        return node

    def _gains(self, classes: np.ndarray, grown: np.ndarray) -> np.ndarray | float:
        """(beams, classes): what the language model adds."""
        if self.language_model is None:
            return 0.0
        gains = np.zeros_like(grown)
        for beam, node in enumerate(self.nodes.tolist()):
            previous = None
            for column in np.flatnonzero(grown[beam] > -np.inf).tolist():
                key = (node, int(classes[column]))
                if key not in self.gains:
                    previous = self.label[self._trace(node)].tolist() if previous is None else previous
                    self.gains[key] = self.language_model(previous, key[1])
                gains[beam, column] = self.gains[key]
        return gains

    def _trace(self, node: int) -> list[int]:
        """The nodes from the root, which is left out, to this one."""
        path = []
        while node:
            path.append(node)
            node = int(self.parent[node])
        return path[::-1]

    def _make_room(self) -> None:
        """Let go of what can't change any more, and widen what is kept."""
        shortest, longest = int(self.lengths.min()), int(self.lengths.max())
        if shortest - self.offset >= _SETTLED_LABELS:
            self.paths = self.paths[:, shortest - self.offset :].copy()
            self.offset = shortest
        if longest - self.offset >= self.paths.shape[1]:
            self.paths = np.pad(self.paths, ((0, 0), (0, max(64, self.paths.shape[1]))))


def decode_greedily(logits: Any, *, blank: int = 0) -> Beam:
    """The labels of the most probable path: repeats merged, then blanks left out; its score is that of the path.

    Args:
        logits: (steps, classes), before the softmax, array or tensor.

    Raises:
        TypeError, ValueError: as [`decode_glosses`].
    """
    values = _check_logits(logits, blank)
    if not len(values):
        return Beam((), (), 0.0)
    best = values.argmax(1)
    highest = _choose_columns(values, best[:, None])[:, 0]
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    stops = np.append(starts[1:], len(best))
    runs = [(start, stop) for start, stop in zip(starts, stops, strict=True) if best[start] != blank]
    steps = tuple(int(start + highest[start:stop].argmax()) for start, stop in runs)
    return Beam(tuple(best[[start for start, _ in runs]].tolist()), steps, float(highest.sum()))


def merge_adjacent(beam: Beam) -> Beam:
    """Make one label of adjacent equal ones, the first; the authors do so with the best beam."""
    kept = [place for place in range(len(beam.ids)) if place == 0 or beam.ids[place] != beam.ids[place - 1]]
    return Beam(tuple(beam.ids[place] for place in kept), tuple(beam.steps[place] for place in kept), beam.score)


def align_labels(logits: Any, ids: Sequence[int], *, blank: int = 0) -> tuple[GlossSpan, ...]:
    """The steps of each label on the most probable of all paths of a label sequence (Viterbi).

    Args:
        logits: (steps, classes), before the softmax, array or tensor.
        ids: labels, none of them the blank.

    Raises:
        TypeError, ValueError: as [`decode_glosses`]; labels that are no classes, or more than the steps have room for.
    """
    values = _check_logits(logits, blank)
    ids = np.asarray(ids, dtype=int).reshape(-1)
    if len(ids) and (ids.min() < 0 or ids.max() >= values.shape[1] or (ids == blank).any()):
        raise ValueError(f"`ids` must be classes of {values.shape[1]} and not the blank ({blank}), got {ids.tolist()}.")
    needed = len(ids) + int((np.diff(ids) == 0).sum())
    if needed > len(values):
        raise ValueError(
            f"`ids` needs at least {needed} steps, a blank between equal labels included; got {len(values)}."
        )
    if not len(ids):
        return ()
    classes, columns = np.unique(np.append(blank, ids), return_inverse=True)
    log_probabilities = _choose_columns(values, np.broadcast_to(classes, (len(values), len(classes))))
    blank, ids = int(columns[0]), columns[1:]
    states = np.full(2 * len(ids) + 1, blank)
    states[1::2] = ids
    may_skip = np.zeros(len(states), bool)  # the blank before it
    may_skip[3::2] = np.diff(ids) != 0
    back = np.zeros((len(values), len(states)), np.int8)
    best = np.full(len(states), -np.inf)
    best[:2] = log_probabilities[0, states[:2]]
    moves = np.full((3, len(states)), -np.inf)
    for step in range(1, len(values)):
        moves[0] = best
        moves[1, 1:] = best[:-1]
        moves[2, 2:] = np.where(may_skip[2:], best[:-2], -np.inf)
        back[step] = moves.argmax(0)
        best = moves.max(0) + log_probabilities[step, states]
    state = len(states) - 1 if best[-1] > best[-2] else len(states) - 2
    path = np.empty(len(values), int)
    for step in range(len(values) - 1, -1, -1):
        path[step] = state
        state -= int(back[step, state])
    spans = []
    for place, label in enumerate(ids.tolist()):
        first, stop = np.searchsorted(path, [2 * place + 1, 2 * place + 2]).tolist()
        spans.append(GlossSpan(first, stop - 1, float(np.exp(log_probabilities[first:stop, label].max()))))
    return tuple(spans)


def locate_glosses(
    spans: Sequence[GlossSpan],
    num_frames: int,
    frame_rate: float = 25.0,
    *,
    step_frames: int = 4,
    edge_frames: int = 6,
) -> list[tuple[float, float]]:
    """(start, end) in seconds of each gloss: the frames its steps see, up to half way to its neighbours.

        steps               b  b  A  A  b  b  b  B  b         b: blank
        seen by A                 [--------------]
        seen by B                          [-----------]      they overlap: cut between the last A and the first B

    A step sees 16 frames around its centre, 4k + 1.5, in which a sign can lie anywhere; so times of a gloss are its
    surroundings, not its first and last movement.

    Args:
        spans: of [`align_labels`], in order.
        num_frames: of the video, without padding; no gloss ends later.
        frame_rate: frames per second.
        step_frames: from one step to the next.
        edge_frames: that a step sees before and behind its own.
    """
    check_whole_number("num_frames", num_frames, at_least=0)
    check_number("frame_rate", frame_rate, above=0)
    times = []
    for place, span in enumerate(spans):
        start = max(0.0, step_frames * span.first_step - edge_frames)
        end = min(float(num_frames), step_frames * (span.last_step + 1) + edge_frames)
        if place:
            start = max(start, step_frames * _half_way(spans[place - 1], span))
        if place + 1 < len(spans):
            end = min(end, step_frames * _half_way(span, spans[place + 1]))
        times.append((min(start, end) / frame_rate, end / frame_rate))
    return times


def _half_way(earlier: GlossSpan, later: GlossSpan) -> float:
    """In steps from the beginning of the video to between two glosses; a step's centre lies half a step into it."""
    return (earlier.last_step + later.first_step + 1) / 2


def _check_logits(logits: Any, blank: int) -> np.ndarray:
    """(steps, classes) as an array.

    Raises:
        TypeError, ValueError: see [`decode_glosses`].
    """
    if isinstance(logits, torch.Tensor):
        logits = logits.detach().cpu()
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    values = np.asarray(logits)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"`logits` must be (steps, classes), got {values.shape}.")
    if values.dtype.kind not in "fiu":
        raise TypeError(f"`logits` must be numbers, got {values.dtype}.")
    check_whole_number("blank", blank, at_least=0, at_most=values.shape[1] - 1)
    if not np.isfinite(values).all():
        step = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise ValueError(f"`logits` must be finite, got NaN or infinite values at step {step}.")
    return values


def _log_probabilities(values: np.ndarray) -> np.ndarray:
    """log(softmax + the smallest normal float32) of (steps, classes), in float64."""
    values = values.astype(np.float64)
    exponentials = np.exp(values - values.max(1, keepdims=True))
    return np.log(exponentials / exponentials.sum(1, keepdims=True) + _SMALLEST)


def _choose_columns(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Log probabilities of some columns (steps, n) of each row, block by block."""
    chosen = np.empty(columns.shape)
    for start in range(0, len(values), _BLOCK_STEPS):
        block = slice(start, start + _BLOCK_STEPS)
        chosen[block] = np.take_along_axis(_log_probabilities(values[block]), columns[block], axis=1)
    return chosen


def _prune(values: np.ndarray, top_classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each step its log probabilities, -inf but for the most probable classes, and those classes, ascending."""
    num_classes = values.shape[1]
    count = min(top_classes, num_classes)
    lowest = np.partition(values, num_classes - count, axis=1)[:, num_classes - count]
    kept = values >= lowest[:, None]
    for step in np.flatnonzero(kept.sum(1) > count).tolist():  # ties: lower numbers first
        surplus = np.flatnonzero(values[step] == lowest[step])
        kept[step, surplus[len(surplus) - (int(kept[step].sum()) - count) :]] = False
    pruned = np.where(kept, values, -np.inf)
    classes = np.nonzero(kept)[1].reshape(len(values), count)
    return list(zip(pruned, classes, strict=True))


def _choose_best(ranks: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest ranks that are possible, in order; of equal ones the lower label goes first."""
    places = np.flatnonzero(ranks > -np.inf)
    if len(places) > count:
        values = ranks[places]
        places = places[values >= np.partition(values, len(values) - count)[len(values) - count]]
    return places[np.lexsort((labels[places], -ranks[places]))[:count]]


__all__ = [
    "Beam",
    "GlossLanguageModel",
    "GlossSpan",
    "Hypothesis",
    "align_labels",
    "decode_glosses",
    "decode_greedily",
    "load_kenlm",
    "locate_glosses",
    "merge_adjacent",
    "search_beams",
]
