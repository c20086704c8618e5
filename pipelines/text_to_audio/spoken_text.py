"""Texts that are to be spoken: numbers as words, long ones as segments, and the segments' sound joined again."""

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import inflect

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−])?(?P<currency>[$€£])?(?=\.?\d)"
    r"(?P<whole>\d{1,3}(?:,\d{3})+|\d+)?(?P<rest>\.\d+)?"
    r"(?:(?P<ordinal>st|nd|rd|th)|(?P<percent>\s?%)|(?P<scale>\s(?:hundred|thousand|[mbtr]+illion))|(?P<unit>[a-zA-Z]+))?"
    r"(?!\w)"
)
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
}
_SPEAKABLE_DIGITS = 36  # longer numbers have no name; they are read digit by digit
_SENTENCE_END = re.compile(r"([.!?…][\"'”’)\]]*)\s+")
_CLAUSE_END = re.compile(r"(?<=[,;:–—])\s+")


def spell_out_numbers(text: str) -> str:
    """Write numbers as English words: counts, decimals, ordinals, decades, percentages, amounts, numbers with units.

    "$5.20 for 3km on May 2nd" becomes "five dollars and twenty cents for three km on May second". Digits within a word
    ("B2B") stay.
    """
    if not any(character.isdigit() for character in text):
        return text
    return _NUMBER.sub(_spelled, text)


@functools.cache
def _words() -> "inflect.engine":
    import inflect

    return inflect.engine()


def _spelled(found: re.Match) -> str:
    sign = "minus " if found["sign"] else ""
    whole, rest = (found["whole"] or "0").replace(",", ""), found["rest"] or ""
    if found["currency"]:
        return sign + _money(found["currency"], whole, rest, found["scale"] or "") + (found["unit"] or "")
    if found["unit"] == "s" and len(whole) == 4 and whole.endswith("0") and not rest:
        century, years = _counted(whole[:2]), _counted(whole[2:])
        return f"{century} {_words().plural(years if years != 'zero' else 'hundred')}"
    said = sign + _counted(whole + rest)
    if found["ordinal"]:
        return _words().ordinal(said) if not rest else f"{said} {found['ordinal']}"
    if found["percent"]:
        return f"{said} percent"
    return said + (found["scale"] or "") + (f" {found['unit']}" if found["unit"] else "")


def _money(currency: str, whole: str, rest: str, scale: str) -> str:
    one, many, one_part, many_parts = _CURRENCIES[currency]
    if scale or len(rest) not in (0, 3):
        return f"{_counted(whole + rest)}{scale} {many}"
    said, parts = f"{_counted(whole)} {one if int(whole) == 1 else many}", int(rest[1:] or 0)
    return said + (f" and {_counted(str(parts))} {one_part if parts == 1 else many_parts}" if parts else "")


def _counted(number: str) -> str:
    if len(number.partition(".")[0]) > _SPEAKABLE_DIGITS:
        return _words().number_to_words(number, group=1).replace(",", "")
    return _words().number_to_words(number, comma="")


def split_text(text: str, max_characters: int) -> list[str]:
    """Cut a text into segments of at most `max_characters`, in order, nothing lost but white space.

    Sentences stay whole and are joined up to the limit; a longer one is cut at commas and the like, then at spaces, and
    a word longer than all of it anywhere.

    Raises:
        ValueError: a text without a character to say, or a limit below 1.
    """
    if max_characters < 1:
        raise ValueError(f"`max_characters` must be at least 1, got {max_characters}.")
    paragraphs = re.split(r"\n\s*\n", _SENTENCE_END.sub(r"\1\n\n", text))
    parts = [part for part in (" ".join(paragraph.split()) for paragraph in paragraphs) if part]
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
    if len(waveforms) > 1 and shortest < 2 * overlap:
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
