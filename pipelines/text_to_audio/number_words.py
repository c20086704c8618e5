"""Numbers of a text as English words; VoiceLDM's tokenizer has no digits."""

import functools
import re
from typing import TYPE_CHECKING

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
_MAX_NAMED_DIGITS = 36  # longer numbers have no name; they are read digit by digit


def spell_out_numbers(text: str) -> str:
    """Write numbers as English words: counts, decimals, ordinals, decades, percentages, amounts, numbers with units.

    "$5.20 for 3km on May 2nd" becomes "five dollars and twenty cents for three km on May second". Digits within a word
    ("B2B") stay.
    """
    if not any(character.isdigit() for character in text):
        return text
    return _NUMBER.sub(_spell_match, text)


@functools.cache
def _load_inflect() -> "inflect.engine":
    import inflect

    return inflect.engine()


def _spell_match(found: re.Match) -> str:
    sign = "minus " if found["sign"] else ""
    whole, rest = (found["whole"] or "0").replace(",", ""), found["rest"] or ""
    if found["currency"]:
        return sign + _spell_amount(found["currency"], whole, rest, found["scale"] or "") + (found["unit"] or "")
    if found["unit"] == "s" and len(whole) == 4 and whole.endswith("0") and not rest:
        century, years = _spell_number(whole[:2]), _spell_number(whole[2:])
        return f"{century} {_load_inflect().plural(years if years != 'zero' else 'hundred')}"
    said = sign + _spell_number(whole + rest)
    if found["ordinal"]:
        return _load_inflect().ordinal(said) if not rest else f"{said} {found['ordinal']}"
    if found["percent"]:
        return f"{said} percent"
    return said + (found["scale"] or "") + (f" {found['unit']}" if found["unit"] else "")


def _spell_amount(currency: str, whole: str, rest: str, scale: str) -> str:
    one, many, one_part, many_parts = _CURRENCIES[currency]
    if scale or len(rest) not in (0, 3):
        return f"{_spell_number(whole + rest)}{scale} {many}"
    said, parts = f"{_spell_number(whole)} {one if int(whole) == 1 else many}", int(rest[1:] or 0)
    return said + (f" and {_spell_number(str(parts))} {one_part if parts == 1 else many_parts}" if parts else "")


def _spell_number(number: str) -> str:
    if len(number.partition(".")[0]) > _MAX_NAMED_DIGITS:
        return _load_inflect().number_to_words(number, group=1).replace(",", "")
    return _load_inflect().number_to_words(number, comma="")


__all__ = ["spell_out_numbers"]
