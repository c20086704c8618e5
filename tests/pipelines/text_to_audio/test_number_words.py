"""Numbers of a text as English words."""

import pytest

from avzoo.pipelines.text_to_audio.number_words import spell_out_numbers


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
