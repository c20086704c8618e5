"""Texts that are to be spoken: numbers as words, long ones as segments, and the segments' sound joined again."""

import re
from collections.abc import Sequence

import torch

_NUMBER = re.compile(r"(?<![\w.])(?P<sign>[-−])?(?P<currency>[$€£])?(?P<number>\d{1,3}(?:,\d{3})+|\d+)(?P<rest>\.\d+)?"
                     r"(?P<ordinal>st|nd|rd|th)?(?P<percent>\s?%)?(?![\w])")  # fmt: skip
_CURRENCIES = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny")}
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+|\n\s*\n")
_CLAUSE_END = re.compile(r"(?<=[,;:–—])\s+")


def spell_out_numbers(text: str) -> str:
    """Write numbers as English words: counts, decimals, ordinals, percentages, amounts of money.

    "$5.20 for 3 on May 2nd" becomes "five dollars and twenty cents for three on May second".
    """
    if not any(character.isdigit() for character in text):
        return text
    import inflect

    words = inflect.engine()

    def spelled(found: re.Match) -> str:
        sign = "minus " if found["sign"] else ""
        whole, rest = found["number"].replace(",", ""), found["rest"] or ""
        if found["ordinal"] and not rest:
            return sign + words.ordinal(words.number_to_words(whole, comma=""))
        if found["currency"]:
            unit, part = _CURRENCIES[found["currency"]]
            said = f"{words.number_to_words(whole, comma='')} {words.plural(unit, int(whole))}"
            if len(rest) == 3 and int(rest[1:]):
                said += f" and {words.number_to_words(int(rest[1:]))} {words.plural(part, int(rest[1:]))}"
                rest = ""
            return sign + said + ("" if len(rest) in (0, 3) else f" {words.number_to_words('0' + rest)}")
        said = words.number_to_words(whole + rest, comma="")
        return sign + said + (" percent" if found["percent"] else "")

    return _NUMBER.sub(spelled, text)


def split_text(text: str, max_characters: int) -> list[str]:
    """Cut a text into segments of at most `max_characters`, in order, nothing lost but white space.

    Sentences stay whole and are joined up to the limit; a longer one is cut at commas and the like, then at spaces, and
    a word longer than all of it anywhere.

    Raises:
        ValueError: a text without a character to say, or a limit below 1.
    """
    if max_characters < 1:
        raise ValueError(f"`max_characters` must be at least 1, got {max_characters}.")
    parts = [part for part in (" ".join(part.split()) for part in _SENTENCE_END.split(text)) if part]
    if not parts:
        raise ValueError("`text` holds nothing to say.")
    for pattern in (_CLAUSE_END, re.compile(r"\s+")):
        parts = [
            shorter
            for part in parts
            for shorter in ([part] if len(part) <= max_characters else _gathered(pattern.split(part), max_characters))
        ]
    return _gathered(
        [part[start : start + max_characters] for part in parts for start in range(0, len(part), max_characters)],
        max_characters,
    )


def _gathered(parts: Sequence[str], max_characters: int) -> list[str]:
    """Neighbours joined by a space as long as they fit."""
    segments: list[str] = []
    for part in filter(None, parts):
        if segments and len(segments[-1]) + 1 + len(part) <= max_characters:
            segments[-1] += f" {part}"
        else:
            segments.append(part)
    return segments


def join_segments(waveforms: Sequence[torch.Tensor], overlap: int) -> torch.Tensor:
    """Segments (samples,) one after the other, each cross-faded with the next over `overlap` samples.

    The fades' gain makes up for how alike the two ends are, so that neither equal nor unrelated noises get louder or
    softer where they meet.

    Raises:
        ValueError: a segment shorter than its two overlaps.
    """
    shortest = min(map(len, waveforms))
    if shortest < 2 * overlap:
        raise ValueError(f"`overlap` ({overlap} samples) must be at most half of the shortest segment ({shortest}).")
    joined = waveforms[0]
    ramp = (torch.arange(overlap) + 0.5) / max(overlap, 1)
    for waveform in waveforms[1:]:
        ending, beginning = joined[len(joined) - overlap :], waveform[:overlap]
        power = torch.linalg.vector_norm(ending) * torch.linalg.vector_norm(beginning)
        likeness = (ending @ beginning / power).clamp(0, 1) if power > 0 else torch.tensor(1.0)
        gain = (ramp**2 + (1 - ramp) ** 2 + 2 * likeness * ramp * (1 - ramp)).rsqrt()
        faded = gain * ((1 - ramp) * ending + ramp * beginning)
        joined = torch.cat([joined[: len(joined) - overlap], faded, waveform[overlap:]])
    return joined


__all__ = ["join_segments", "spell_out_numbers", "split_text"]
