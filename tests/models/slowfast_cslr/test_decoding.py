"""Beam search, greedy decoding and times of glosses, against paths that are counted out and numbers done by hand."""

import itertools
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avzoo.models.slowfast_cslr import decoding_slowfast_cslr
from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import (
    GlossLanguageModel,
    GlossSpan,
    align_labels,
    decode_glosses,
    decode_greedily,
    load_kenlm,
    locate_glosses,
    merge_adjacent,
    search_beams,
)


def logits_of(*rows: list[float]) -> np.ndarray:
    """Of probabilities."""
    return np.log(np.array(rows))


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label)


def sum_over_paths(logits: np.ndarray) -> dict[tuple[int, ...], float]:
    """{labels: probability} of all paths there are."""
    probabilities = torch.from_numpy(logits).softmax(1).tolist()
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        product = math.prod(row[label] for row, label in zip(probabilities, path, strict=True))
        sums[collapse(path)] = sums.get(collapse(path), 0) + product
    return sums


@pytest.fixture
def benchmark(monkeypatch):
    """The module of the plain search."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    yield pytest.importorskip("slowfast_cslr_decoding")
    sys.modules.pop("slowfast_cslr_decoding")


def test_a_wide_search_gives_the_sums_over_all_paths():
    logits = np.random.default_rng(0).standard_normal((5, 3))
    expected = sum_over_paths(logits)
    beams = search_beams(logits, num_beams=100)
    assert {beam.ids: pytest.approx(math.exp(beam.score)) for beam in beams} == expected
    assert sum(expected.values()) == pytest.approx(1)


def test_beams_are_those_of_a_plain_search_in_300_random_cases(benchmark):
    assert benchmark.compare_cases(300) <= 1e-9


def test_sums_of_paths_beat_the_most_probable_path():
    # b b is the most probable path, .36; but a may come early, late or twice: .24 + .24 + .16
    logits = logits_of([0.6, 0.4], [0.6, 0.4])
    assert search_beams(logits)[0].ids == (1,)
    assert math.exp(search_beams(logits)[0].score) == pytest.approx(0.64)
    assert decode_greedily(logits).ids == ()


def test_only_the_most_probable_classes_count_and_the_blank_is_one_of_them():
    logits = logits_of([0.2, 0.5, 0.3], [0.2, 0.3, 0.5])
    assert {beam.ids for beam in search_beams(logits, top_classes=2)} == {(1, 2), (1,), (2,), (2, 1)}
    assert math.exp(search_beams(logits, top_classes=1)[0].score) == pytest.approx(0.25)


def test_equally_probable_classes_count_by_their_numbers():
    beams = search_beams(np.zeros((1, 5)), top_classes=3)
    assert [beam.ids for beam in beams] == [(), (1,), (2,)]


def test_of_equally_probable_beams_the_lower_last_label_goes_first():
    beams = search_beams(logits_of([0.1, 0.3, 0.3, 0.3]), num_beams=2)
    assert [beam.ids for beam in beams] == [(1,), (2,)]


def test_a_label_repeats_only_over_a_blank():
    logits = logits_of([0.05, 0.95], [0.9, 0.1], [0.05, 0.95])
    assert search_beams(logits)[0].ids == (1, 1)
    assert merge_adjacent(search_beams(logits)[0]).ids == (1,)
    assert decode_glosses(logits)[0].ids == (1,)
    assert decode_glosses(logits, merge=False)[0].ids == (1, 1)


def test_answers_that_merging_makes_equal_are_given_once():
    logits = logits_of([0.05, 0.95], [0.9, 0.1], [0.05, 0.95])
    answers = decode_glosses(logits, n_best=3)
    assert [answer.ids for answer in answers] == [(1,), ()]
    assert answers[0].score == search_beams(logits)[0].score


def test_steps_are_those_of_the_highest_probability():
    logits = logits_of([0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7])
    assert search_beams(logits)[0][:2] == ((1, 2), (1, 2))
    assert decode_greedily(logits)[:2] == ((1, 2), (1, 2))


def test_blanks_alone_are_an_empty_answer():
    logits = logits_of(*[[0.98, 0.01, 0.01]] * 4)
    answer = decode_glosses(logits)[0]
    assert (answer.ids, answer.spans) == ((), ())
    assert math.exp(answer.score) == pytest.approx(0.98**4)


@pytest.mark.parametrize("num_beams", [1, 10])
def test_no_step_is_an_empty_answer(num_beams):
    assert decode_glosses(np.zeros((0, 4)), num_beams=num_beams) == [((), (), 0.0)]


@pytest.mark.parametrize("num_beams", [1, 10])
def test_one_step_gives_its_most_probable_class(num_beams):
    answer = decode_glosses(logits_of([0.2, 0.1, 0.7]), num_beams=num_beams)[0]
    assert answer.ids == (2,)
    assert answer.spans == (GlossSpan(0, 0, pytest.approx(0.7)),)
    assert math.exp(answer.score) == pytest.approx(0.7)


def test_a_long_search_is_that_of_its_short_form(benchmark):
    # Beams are held by what can still change; 200 steps let go of most labels.
    logits = benchmark.make_logits(np.random.default_rng(2), 200, 12)
    expected = benchmark.search_plainly(logits)
    beams = search_beams(logits)
    assert [beam.ids for beam in beams] == [ids for ids, _ in expected]
    assert all(len(beam.steps) == len(beam.ids) > 60 for beam in beams)


@pytest.mark.parametrize("settled_labels", [1, 5])
def test_labels_that_are_let_go_of_keep_their_steps(benchmark, monkeypatch, settled_labels):
    generator = np.random.default_rng(3)
    cases = [benchmark.make_logits(generator, 60, 5) for _ in range(20)]
    expected = []
    for limit, results in ((1000, expected), (settled_labels, found := [])):
        monkeypatch.setattr(decoding_slowfast_cslr, "_SETTLED_LABELS", limit)
        results += [search_beams(logits) for logits in cases]
    assert found == expected


def test_a_tensor_gives_the_beams_of_an_array():
    logits = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    assert search_beams(torch.from_numpy(logits)) == search_beams(logits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("decode", [search_beams, decode_greedily, decode_glosses])
def test_logits_that_are_not_finite_are_refused(decode, value):
    logits = np.zeros((3, 4))
    logits[2, 1] = value
    with pytest.raises(ValueError, match=r"`logits` must be finite, got NaN or infinite values at step 2"):
        decode(logits)


def test_logits_of_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"`logits` must be \(steps, classes\), got \(2, 3, 4\)"):
        search_beams(np.zeros((2, 3, 4)))


def test_a_blank_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="`blank` must be at least 0 and at most 3, got 4"):
        search_beams(np.zeros((2, 4)), blank=4)


def test_more_answers_than_beams_are_refused():
    with pytest.raises(ValueError, match=r"`n_best` \(11\) must be at most `num_beams` \(10\)"):
        decode_glosses(np.zeros((2, 4)), n_best=11)


# Times.


def test_spans_are_the_steps_of_the_most_probable_path():
    logits = logits_of([0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.1, 0.3, 0.6])
    assert align_labels(logits, [1, 2]) == (GlossSpan(1, 2, pytest.approx(0.8)), GlossSpan(4, 4, pytest.approx(0.6)))


def test_equal_labels_are_aligned_with_a_blank_between_them():
    logits = logits_of([0.1, 0.9], [0.4, 0.6], [0.1, 0.9])
    assert [span[:2] for span in align_labels(logits, [1, 1])] == [(0, 0), (2, 2)]


def test_the_best_of_all_alignments_is_found():
    logits = np.random.default_rng(3).standard_normal((7, 4))
    log_probabilities = torch.from_numpy(logits).log_softmax(1).numpy()
    paths = [path for path in itertools.product(range(4), repeat=7) if collapse(path) == (2, 1, 3)]
    best = max(paths, key=lambda path: sum(log_probabilities[range(7), path]))
    expected = [(best.index(label), 6 - best[::-1].index(label)) for label in (2, 1, 3)]
    assert [span[:2] for span in align_labels(logits, [2, 1, 3])] == expected


def test_more_labels_than_steps_are_refused():
    with pytest.raises(ValueError, match="`ids` needs at least 3 steps, a blank between equal labels included; got 2"):
        align_labels(np.zeros((2, 3)), [1, 1])


def test_the_blank_is_no_label():
    with pytest.raises(ValueError, match=r"`ids` must be classes of 3 and not the blank \(0\), got \[0\]"):
        align_labels(np.zeros((2, 3)), [0])


def test_a_gloss_lasts_as_long_as_the_frames_that_its_steps_see():
    # Steps 5 and 6 see the frames 14 to 33; 25 frames are a second.
    assert locate_glosses([GlossSpan(5, 6, 1.0)], num_frames=100) == [(14 / 25, 34 / 25)]


def test_neighbours_are_cut_half_way():
    # Centres of steps 5 and 7 lie at 22 and 30 frames.
    times = locate_glosses([GlossSpan(4, 5, 1.0), GlossSpan(7, 7, 1.0)], num_frames=100)
    assert times == [(10 / 25, 26 / 25), (26 / 25, 38 / 25)]


def test_glosses_lie_within_the_video():
    assert locate_glosses([GlossSpan(0, 0, 1.0)], num_frames=5) == [(0, 0.2)]
    assert locate_glosses([GlossSpan(0, 0, 1.0)], num_frames=1, frame_rate=10) == [(0, 0.1)]


@pytest.mark.parametrize("num_frames", range(1, 14))
def test_no_gloss_of_a_full_video_is_empty(num_frames):
    spans = [GlossSpan(step, step, 1.0) for step in range(-(-num_frames // 4))]
    assert all(start < end for start, end in locate_glosses(spans, num_frames))


# Language models.

GLOSSES = ["<blank>", "HEUTE", "REGEN", "SONNE"]


def test_a_language_model_decides_between_glosses_that_look_alike():
    logits = logits_of([0.01, 0.97, 0.01, 0.01], [0.02, 0.02, 0.49, 0.47])
    asked = set()

    def score_gloss(previous, gloss):
        asked.add((previous, gloss))
        return math.log(0.9 if (previous, gloss) == (("HEUTE",), "SONNE") else 0.05)

    assert decode_glosses(logits)[0].ids == (1, 2)
    answer = decode_glosses(logits, language_model=GlossLanguageModel(score_gloss, GLOSSES, weight=1.0))[0]
    assert answer.ids == (1, 3)
    assert (("HEUTE",), "REGEN") in asked


def test_a_beam_is_scored_by_the_sum_of_both_models():
    logits = logits_of([0.1, 0.6, 0.2, 0.1])
    model = GlossLanguageModel(lambda previous, gloss: -2.0, GLOSSES, weight=0.5, insertion_bonus=0.25)
    scores = {beam.ids: beam.score for beam in search_beams(logits, language_model=model)}
    assert scores[()] == pytest.approx(math.log(0.1))
    assert scores[(1,)] == pytest.approx(math.log(0.6) - 0.75)


def test_each_gloss_of_a_sentence_has_its_share_of_the_language_model():
    logits = logits_of([0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1])
    model = GlossLanguageModel(lambda previous, gloss: -0.1 * (1 + len(previous)), ["", "A", "B"], weight=1.0)
    expected = {beam.ids: beam.score for beam in search_beams(logits, num_beams=100)}
    for beam in search_beams(logits, num_beams=100, language_model=model):
        assert beam.score == pytest.approx(expected[beam.ids] - 0.1 * sum(range(1, len(beam.ids) + 1)))


def test_an_impossible_gloss_has_a_finite_score():
    for weight, expected in ((0.0, 0.0), (0.5, -5000.0)):
        assert GlossLanguageModel(lambda previous, gloss: -math.inf, GLOSSES, weight=weight)([], 1) == expected


def test_a_language_model_of_weight_0_changes_nothing():
    logits = np.random.default_rng(0).standard_normal((8, 4))
    model = GlossLanguageModel(lambda previous, gloss: -5.0, GLOSSES, weight=0.0)
    assert search_beams(logits, language_model=model) == search_beams(logits)


def test_an_insertion_bonus_makes_answers_longer():
    logits = logits_of([0.6, 0.4, 1e-9, 1e-9])
    model = GlossLanguageModel(lambda previous, gloss: 0.0, GLOSSES, insertion_bonus=1.0)
    assert (search_beams(logits)[0].ids, search_beams(logits, language_model=model)[0].ids) == ((), (1,))


def test_a_language_model_of_another_vocabulary_is_refused():
    model = GlossLanguageModel(lambda previous, gloss: 0.0, GLOSSES)
    with pytest.raises(ValueError, match="`language_model` names 4 classes, the logits have 5"):
        search_beams(np.zeros((2, 5)), language_model=model)


def test_greedy_decoding_refuses_a_language_model():
    model = GlossLanguageModel(lambda previous, gloss: 0.0, GLOSSES)
    with pytest.raises(ValueError, match="`language_model` needs a beam search"):
        decode_glosses(np.zeros((2, 4)), num_beams=1, language_model=model)


@pytest.mark.parametrize("score", [math.nan, 0.5])
def test_a_score_that_is_no_log_probability_is_refused(score):
    model = GlossLanguageModel(lambda previous, gloss: score, GLOSSES)
    with pytest.raises(ValueError, match=r"must give a natural log probability, at most 0, got .* of 'HEUTE'"):
        search_beams(np.zeros((2, 4)), language_model=model)


def test_a_missing_kenlm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ImportError, match=r"pip install 'avzoo\[lm\]'"):
        load_kenlm("glosses.arpa")


class BigramFile:
    """KenLM's interface, of a file that knows a few pairs of words; a state is the word before."""

    order = 2
    PAIRS = {("<s>", "HEUTE"): -0.5, ("HEUTE", "REGEN"): -1.0, (None, "HEUTE"): -3.0}

    def __init__(self, path, config):
        assert (path, config.show_progress) == ("glosses.arpa", False)

    def BeginSentenceWrite(self, state):
        state.word = "<s>"

    def NullContextWrite(self, state):
        state.word = None

    def BaseScore(self, state, word, next_state):
        next_state.word = word
        return self.PAIRS.get((state.word, word), -4.0)


def test_a_kenlm_file_scores_glosses_after_the_beginning_of_the_sentence_and_after_others(monkeypatch):
    kenlm = SimpleNamespace(Model=BigramFile, State=SimpleNamespace, Config=SimpleNamespace)
    kenlm.ARPALoadComplain = SimpleNamespace(NONE=0)
    monkeypatch.setitem(sys.modules, "kenlm", kenlm)
    score_gloss = load_kenlm("glosses.arpa")
    assert score_gloss((), "HEUTE") == pytest.approx(-0.5 * math.log(10))
    assert score_gloss(("SONNE", "HEUTE"), "REGEN") == pytest.approx(-1.0 * math.log(10))
    assert score_gloss(("HEUTE",), "SONNE") == pytest.approx(-4.0 * math.log(10))
