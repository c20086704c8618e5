import numpy as np
import pytest

from avzoo.toyworld.drawing.visemes import (
    VISEME_NAMES,
    VISEMES,
    mouth_curve,
    split_into_visemes,
    viseme_per_frame,
    viseme_segments,
)


@pytest.mark.parametrize(
    ("ipa", "names"),
    [
        ("p", ["lips_together"]),
        ("ˈæ", ["open"]),
        ("uː", ["round"]),
        ("aɪ", ["open", "spread"]),
        ("oʊ", ["half_round", "round"]),
        ("tʃ", ["lips_forward"]),
        ("ã", ["open"]),
        ("iː", ["spread"]),
        ("", ["silence"]),
        ("ˈ", ["silence"]),
        ("⊕", ["half_open"]),
    ],
)
def test_a_phoneme_looks_like_its_viseme(ipa, names):
    assert split_into_visemes(ipa) == names


def test_every_phoneme_belongs_to_one_viseme():
    letters = "".join(viseme.phonemes for viseme in VISEMES.values())
    assert len(letters) == len(set(letters))


def test_a_diphthong_is_halved():
    (first, second) = viseme_segments([{"ipa": "aʊ", "start": 1.0, "end": 1.2}])
    assert first == (VISEME_NAMES.index("open"), 1.0, pytest.approx(1.1))
    assert second == (VISEME_NAMES.index("round"), pytest.approx(1.1), 1.2)


def test_lips_close_before_a_p_is_heard_and_part_when_it_is():
    events = [("a", 0.0, 0.2), ("p", 0.2, 0.28), ("a", 0.28, 0.5)]
    segments = viseme_segments([{"ipa": ipa, "start": start, "end": end} for ipa, start, end in events])
    edges = [(round(start, 3), round(end, 3)) for _, start, end in segments]
    assert edges == [(0.0, 0.16), (0.16, 0.24), (0.24, 0.5)]
    with_b = viseme_segments([{"ipa": ipa.replace("p", "b"), "start": start, "end": end} for ipa, start, end in events])
    assert with_b[1][1:] == (0.2, 0.28)


def test_a_p_after_a_short_phoneme_leaves_some_of_it():
    segments = viseme_segments([{"ipa": "s", "start": 0.0, "end": 0.05}, {"ipa": "p", "start": 0.05, "end": 0.1}])
    assert segments[0][2] == pytest.approx(0.02)
    assert segments[1][1:] == (pytest.approx(0.02), pytest.approx(0.07))


def curve(*phonemes, times):
    events = [{"ipa": ipa, "start": start, "end": end} for ipa, start, end in phonemes]
    return mouth_curve(viseme_segments(events), np.asarray(times))


def test_lips_close_for_a_p_between_open_vowels():
    word = [("a", 0.0, 0.2), ("p", 0.2, 0.28), ("a", 0.28, 0.5)]
    opening = curve(*word, times=[0.08, 0.2, 0.4]).opening
    assert opening[1] < 0.1
    assert opening[0] > 0.7
    assert opening[2] > 0.7


def test_a_k_is_seen_less_than_its_neighbours():
    between_open = curve(("a", 0.0, 0.2), ("k", 0.2, 0.28), ("a", 0.28, 0.5), times=[0.24]).opening
    between_round = curve(("u", 0.0, 0.2), ("k", 0.2, 0.28), ("u", 0.28, 0.5), times=[0.24]).opening
    between_a_p = curve(("a", 0.0, 0.2), ("p", 0.2, 0.28), ("a", 0.28, 0.5), times=[0.2]).opening
    assert between_open > between_round + 0.1
    assert between_a_p < between_round


def test_an_s_is_rounded_before_u_and_spread_before_i():
    before_u = curve(("s", 0.0, 0.1), ("u", 0.1, 0.3), times=[0.08]).width
    before_i = curve(("s", 0.0, 0.1), ("i", 0.1, 0.3), times=[0.08]).width
    assert before_u < before_i - 0.3


def test_a_mouth_rests_where_nothing_is_said():
    shape = curve(("a", 1.0, 1.3), times=[0.0, 0.5, 1.15, 2.0, 9.0])
    rest = VISEMES["silence"].shape
    for target, values in zip(rest, shape, strict=True):
        np.testing.assert_allclose(values[[0, 1, 3, 4]], target, atol=1e-6)
    assert shape.opening[2] > 0.9


def test_lips_never_jump():
    opening = curve(("m", 0.0, 0.1), ("a", 0.1, 0.3), ("p", 0.3, 0.4), ("i", 0.4, 0.6), times=np.arange(0, 1, 0.005))
    assert np.abs(np.diff(opening.opening)).max() < 0.1


def test_no_phonemes_no_motion():
    np.testing.assert_allclose(mouth_curve([], np.arange(4) / 25).opening, VISEMES["silence"].shape.opening)


def test_frames_are_labelled_by_the_segment_they_lie_in():
    segments = viseme_segments([{"ipa": "m", "start": 0.1, "end": 0.2}, {"ipa": "a", "start": 0.2, "end": 0.3}])
    names = [VISEME_NAMES[index] for index in viseme_per_frame(segments, np.array([0.05, 0.1, 0.2, 0.29, 0.3]))]
    assert names == ["silence", "lips_together", "open", "open", "silence"]
