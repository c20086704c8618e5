import numpy as np
import pytest

from avzoo.metrics import align_glosses, clean_glosses, word_error_rate


@pytest.mark.parametrize(
    ("gloss", "cleaned"),
    [
        ("loc-REGEN", "REGEN"),
        ("poss-lh-MEIN", "MEIN"),
        ("REGENloc-", "REGEN"),  # a mark is deleted wherever it stands
        ("S0NNE", "SONNE"),
        ("HABEN2", "HABEN"),
        ("ZEIGEN", "ZEIGEN-BILDSCHIRM"),
        ("ANZEIGEN", "ANZEIGEN-BILDSCHIRM"),
        ("ZEIGEN2", "ZEIGEN2"),
        ("loc-ZEIGEN", "ZEIGEN-BILDSCHIRM"),  # the prefixes go first
        ("ZEIGEN-PLUSPLUS", "ZEIGEN"),  # repetitions go last
        ("NORDRAUM", "NORD"),
        ("NORDRAUM-RAUM", "NORD-RAUM"),
        ("TRAUM", "TRAUM"),  # one capital before RAUM is not enough
        ("WIND-PLUSPLUS", "WIND"),
        ("__ON__", "__ON__"),
        ("IX", "IX"),
        ("S+H", "S+H"),
    ],
)
def test_a_gloss_is_cleaned_by_the_table(gloss, cleaned):
    assert clean_glosses([gloss]) == [cleaned]


def test_glosses_that_are_marks_alone_vanish():
    assert clean_glosses("__EMOTION__ HEUTE __EPENTHESIS__ cl- __PU__ __LEFTHAND__") == ["HEUTE"]


def test_a_clip_of_which_nothing_is_left_is_empty():
    assert clean_glosses(["__EMOTION__"]) == clean_glosses([]) == ["[EMPTY]"]


def test_words_without_a_partner_stand_beside_stars():
    alignment = align_glosses("A BB C", "A C DDD")
    assert alignment.reference == ("A", "BB", "C", "***")
    assert alignment.hypothesis == ("A", "**", "C", "DDD")
    assert (alignment.substitutions, alignment.deletions, alignment.insertions) == (0, 1, 1)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        # A substitution and a deletion cost 7, two deletions and an insertion 9.
        ("A B", "C", (1, 1, 0)),
        # Costs equal at 12 by three substitutions, or by two deletions and two insertions around a match.
        ("SCHNEE WOLKE REGEN", "WIND SONNE SCHNEE", (3, 0, 0)),
        # With B matched, one insertion and two deletions cost 9; two substitutions and a deletion cost 11.
        ("B C D", "A B", (0, 2, 1)),
    ],
)
def test_an_alignment_is_that_of_least_cost_and_of_equal_ones_substitutions_come_first(reference, hypothesis, counts):
    alignment = align_glosses(reference, hypothesis)
    assert (alignment.substitutions, alignment.deletions, alignment.insertions) == counts


def test_one_side_may_be_empty():
    assert align_glosses([], ["A"]).insertions == 1
    assert align_glosses(["A", "B"], []).deletions == 2


def test_unit_costs_give_the_edit_distance():
    # The case of the published protocol in which its costs give one error more: 6 instead of 5.
    reference, hypothesis = "SCHNEE SONNE SCHNEE WIND WOLKE REGEN", "SCHNEE WOLKE REGEN SONNE REGEN SCHNEE"
    assert align_glosses(reference, hypothesis).errors == 6
    assert align_glosses(reference, hypothesis, costs=(1, 1, 1)).errors == 5


def test_the_rate_is_percent_of_all_reference_words():
    result = word_error_rate({"a": "A B C", "b": "D"}, {"b": "E", "a": "A B C"})
    assert result.value == float(result) == 25.0
    assert np.array_equal(result.counts, [[3, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    assert result.totals == {"reference_words": 4, "errors": 1, "substitutions": 1, "deletions": 0, "insertions": 0}


def test_neighbours_are_merged_in_the_hypothesis_alone():
    assert word_error_rate(["A B"], ["A A B B B"]).value == 0
    assert word_error_rate(["A A B"], ["A A B"]).value == pytest.approx(100 / 3)


def test_glosses_are_merged_after_they_are_cleaned():
    assert word_error_rate(["REGEN"], [["REGEN", "loc-REGEN"]], "phoenix").value == 0


def test_without_clean_up_glosses_are_compared_as_they_are():
    assert word_error_rate(["loc-REGEN"], ["REGEN"]).value == 100
    assert word_error_rate(["loc-REGEN"], ["loc-REGEN"]).value == 0


def test_a_missing_hypothesis_counts_as_one_empty_word():
    (alignment,) = word_error_rate({"a": "A BB"}, {}).alignments
    assert (alignment.reference, alignment.hypothesis) == (("A", "BB"), ("*", "[EMPTY]"))
    assert alignment.errors == 2


def test_reference_words_with_a_star_are_no_part_of_the_sum_but_their_errors_are():
    result = word_error_rate(["A B*"], ["A C"])
    assert result.counts.tolist() == [[1, 1, 1, 0, 0]]
    assert result.value == 100


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a": ""}, {"a": "A"}, r"`references\['a'\]` holds no gloss; leave the clip out"),
        ({"a": "A"}, {"b": "A"}, "`hypotheses` hold 1 clips without a reference, the first is 'b'"),
        (["A", "B"], ["A"], "`references` are 2 sentences, `hypotheses` 1"),
        ([], [], "`references` hold no sentence"),
        (["*"], ["A"], r"hold only words with a \*"),
        (["A"], [["A B"]], r"`hypotheses\[0\]` holds the gloss 'A B', which has a blank inside"),
    ],
)
def test_sentences_that_have_no_rate_are_refused(references, hypotheses, message):
    with pytest.raises(ValueError, match=message):
        word_error_rate(references, hypotheses)


def test_a_clean_up_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="`clean_up` must be one of phoenix, None, got 'german'"):
        word_error_rate(["A"], ["A"], "german")


def test_lists_and_tables_of_sentences_are_not_mixed():
    with pytest.raises(TypeError, match="must both be sentences by clip, or both lists"):
        word_error_rate({"a": "A"}, ["A"])
    with pytest.raises(TypeError, match="`references` must be sentences by clip or a list of them, got str"):
        word_error_rate("A B", "A B")


def test_glosses_that_are_no_text_are_refused():
    with pytest.raises(TypeError, match=r"`hypotheses\[0\]` must be a list of glosses or a text, got \[3\]"):
        word_error_rate(["A"], [[3]])
