"""Numbers become words, texts become segments, and segments are joined without a click."""

import math

import pytest
import torch

from avzoo.pipelines.text_to_audio.spoken_text import join_segments, spell_out_numbers, split_text

# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("0", "zero"),
        ("7", "seven"),
        ("007", "seven"),
        ("12 dogs and 3 cats.", "twelve dogs and three cats."),
        ("1, 2, 3", "one, two, three"),
        ("(3)", "(three)"),
        ("1999", "one thousand nine hundred and ninety-nine"),
        ("1,234,567", "one million two hundred and thirty-four thousand five hundred and sixty-seven"),
        ("1000000", "one million"),
        ("3.5", "three point five"),
        ("0.05", "zero point zero five"),
        ("2.50", "two point five zero"),
        ("It has 3.", "It has three."),
        ("1st.", "first."),
        ("2nd", "second"),
        ("3rd", "third"),
        ("12th", "twelfth"),
        ("21st", "twenty-first"),
        ("100th", "one hundredth"),
        ("$5", "five dollars"),
        ("$1", "one dollar"),
        ("$5.20", "five dollars and twenty cents"),
        ("$5.00", "five dollars"),
        ("$1.01", "one dollar and one cent"),
        ("$1,234.56", "one thousand two hundred and thirty-four dollars and fifty-six cents"),
        ("£1", "one pound"),
        ("€20", "twenty euros"),
        ("50%", "fifty percent"),
        ("50 %", "fifty percent"),
        ("1.5%.", "one point five percent."),
        ("-4", "minus four"),
        ("−4", "minus four"),
        ("-$5", "minus five dollars"),
        ("5-6", "five-six"),
        ("A-4", "A-four"),
        ("$5.20 for 3 on May 2nd", "five dollars and twenty cents for three on May second"),
        ("٣", "three"),
    ],
)
def test_numbers_are_written_as_words(text, spelled):
    assert spell_out_numbers(text) == spelled


@pytest.mark.parametrize("text", ["", "_", "No number at all.", "one", "B2B", "v2.0", "MP3", "m²", "½"])
def test_what_is_no_number_stays(text):
    assert spell_out_numbers(text) == text


@pytest.mark.parametrize("number", [*range(130), 999, 1000, 1001, 65536, 10**9, 10**12 + 1])
def test_no_digit_is_left_of_a_whole_number(number):
    for text in (f"It is {number}.", f"{number:,}", f"-{number}", f"${number}", f"{number}%", f"{number}.25"):
        assert not any(character.isdigit() for character in spell_out_numbers(text))


@pytest.mark.parametrize("digits", [36, 37, 60])
def test_no_number_is_too_long_to_be_read(digits):
    """A card or an account has that many digits; it need not be read as one number, but it has to be read."""
    assert not any(character.isdigit() for character in spell_out_numbers("1" * digits))


@pytest.mark.parametrize(
    ("text", "spelled"),
    [("$1.5 million", "one point five million dollars"), ("$5 million", "five million dollars")],
)
def test_millions_of_dollars_are_not_a_dollar_and_a_bit(text, spelled):
    assert spell_out_numbers(text) == spelled


@pytest.mark.parametrize("text", [".5", "5km", "at 3pm", "in the 1990s"])
def test_common_ways_to_write_numbers_leave_no_digit(text):
    """The tokenizer knows none: what stays is not heard."""
    assert not any(character.isdigit() for character in spell_out_numbers(text))


def test_numbers_are_spelled_the_same_twice():
    once = spell_out_numbers("On May 2nd, 1,200 people paid $5.20, or 3.5%.")
    assert spell_out_numbers(once) == once


# --- segments ---------------------------------------------------------------------------------------------------------

STORY = (
    "It was a cold night; the wind howled, and nobody dared to leave the house. “Who is there?” she asked. Silence!\n\n"
    "Then, out of the dark, came a voice that she had not heard for years – or so it seemed… It said “Good evening.” "
    "And that was all."
)


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 17, 40, 75, 120, 1000])
def test_no_segment_is_longer_than_the_limit_and_nothing_is_lost_or_moved(limit):
    segments = split_text(STORY, limit)
    assert max(map(len, segments)) <= limit
    assert all(segment == segment.strip() != "" for segment in segments)
    assert "".join("".join(segments).split()) == "".join(STORY.split())


@pytest.mark.parametrize("limit", [9, 17, 40, 75, 120])
def test_words_stay_whole_where_they_fit(limit):
    assert " ".join(split_text(STORY, limit)).split() == STORY.split()


@pytest.mark.parametrize(
    ("text", "limit", "segments"),
    [
        ("One. Two. Three.", 9, ["One. Two.", "Three."]),
        ("One. Two. Three.", 100, ["One. Two. Three."]),
        ("One.   Two.\n\nThree", 5, ["One.", "Two.", "Three"]),
        ("Is it? It is! Well", 7, ["Is it?", "It is!", "Well"]),
        ("Hello, world. Yes", 8, ["Hello,", "world.", "Yes"]),
        ("first part, second part", 16, ["first part,", "second part"]),
        ("one two three four", 7, ["one two", "three", "four"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("a abcdefghij k", 4, ["a", "abcd", "efgh", "ij k"]),
        ("3.5 is more. Than 2.", 12, ["3.5 is more.", "Than 2."]),
        ("He said “Stop.” Then he left.", 18, ["He said “Stop.”", "Then he left."]),
        ('He said "Stop!" Then he left.', 18, ['He said "Stop!"', "Then he left."]),
        ("(It rains.) We stay.", 12, ["(It rains.)", "We stay."]),
    ],
)
def test_segments_by_hand(text, limit, segments):
    assert split_text(text, limit) == segments


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \t \n "])
def test_a_text_of_spaces_says_nothing(text):
    with pytest.raises(ValueError, match=r"`text` holds nothing to say"):
        split_text(text, 10)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_named(limit):
    with pytest.raises(ValueError, match=rf"`max_characters` must be at least 1, got {limit}"):
        split_text("Hello.", limit)


# --- joining ----------------------------------------------------------------------------------------------------------


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def second_differences(signal: torch.Tensor) -> torch.Tensor:
    return signal.diff(n=2).abs()


def test_segments_of_one_signal_are_that_signal_again():
    """Two ends that are alike get neither louder nor softer."""
    tone = torch.sin(2 * math.pi * 440 / 16000 * torch.arange(9000, dtype=torch.float64))
    pieces = [tone[:4000], tone[3000:7000], tone[6000:]]
    torch.testing.assert_close(join_segments(pieces, 1000), tone, rtol=1e-6, atol=1e-6)


def test_unrelated_noises_keep_their_level_where_they_meet():
    joined = join_segments([noise(60000, 1), noise(60000, 2)], 20000)
    assert len(joined) == 100000
    for part in joined.split(4000):
        assert part.std().item() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("signals", ["tones", "noises"])
def test_no_click_where_segments_meet(signals):
    if signals == "tones":
        time = torch.arange(8000, dtype=torch.float64) / 16000
        segments = [torch.sin(2 * math.pi * (300 * time + phase)) for phase in (0.0, 0.3, 0.5)]
    else:  # smooth ones
        window = torch.hann_window(33, periodic=False, dtype=torch.float64)[None, None]
        segments = [
            torch.nn.functional.conv1d(noise(8032, seed)[None, None], window / window.norm())[0, 0] for seed in range(3)
        ]
    jumps = second_differences(join_segments(segments, 2000))
    fades = torch.zeros(len(jumps), dtype=torch.bool)
    for start in (6000, 12000):
        fades[start - 4 : start + 2004] = True
    assert jumps[fades].max() <= 1.05 * jumps[~fades].max()
    cut = second_differences(torch.cat([segments[0][:-2000], segments[1]]))
    assert cut.max() > 1.5 * jumps.max()  # a plain cut clicks


def test_outside_the_fades_segments_are_as_they_were():
    first, second = noise(500, 1), noise(700, 2)
    joined = join_segments([first, second], 100)
    assert len(joined) == 500 + 700 - 100
    assert torch.equal(joined[:400], first[:400])
    assert torch.equal(joined[500:], second[100:])


def test_silences_join_to_silence_and_no_overlap_means_one_after_the_other():
    assert not join_segments([torch.zeros(50), torch.zeros(60)], 20).any()
    first, second = noise(50, 1), noise(60, 2)
    assert torch.equal(join_segments([first, second], 0), torch.cat([first, second]))


def test_opposite_ends_do_not_blow_up():
    tone = torch.sin(torch.arange(1000) * 0.1)
    joined = join_segments([tone, -tone[-200:].repeat(3)], 200)
    assert joined.abs().max() <= math.sqrt(2)


def test_a_single_segment_stays_as_it_is():
    segment = noise(50)
    assert torch.equal(join_segments([segment], 20), segment)
    assert torch.equal(join_segments([segment], 30), segment)  # nothing overlaps


def test_an_overlap_of_more_than_half_a_segment_is_named():
    with pytest.raises(
        ValueError, match=r"`overlap` \(30 samples\) must be at most half of the shortest segment \(50\)"
    ):
        join_segments([noise(80), noise(50)], 30)
