"""Checks of arguments at the public door: one form of message for numbers, ranges and choices.

    check_whole_number("stride", stride, at_least=1)                 # `stride` must be at least 1, got 0.
    check_number("snr", snr, above=0, below=1, unit="seconds")       # `snr` must be above 0 and below 1 seconds, got 1.
    check_choice("resize", resize, ("stretch", "crop"))              # `resize` must be one of stretch, crop, got 'fit'.

A value is a Python or numpy scalar, never a tensor: to read one from a GPU would wait for all work queued there.
"""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> None:
    """Raise unless `value` is a finite number within the bounds.

    Raises:
        TypeError: not a number; True and False count as none.
        ValueError: NaN, infinite or out of bounds; the message names the argument, its bounds and the value.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    within = (
        math.isfinite(value)
        and (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not within:
        bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
        wanted = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None) or "finite"
        raise ValueError(f"`{name}` must be {wanted}{unit and ' ' + unit}, got {value}.")


def check_whole_number(
    name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None, unit: str = ""
) -> None:
    """Raise unless `value` is a whole number within the bounds.

    Raises:
        TypeError: not a whole number; True, False and 2.0 count as none.
        ValueError: out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
    check_number(name, value, at_least=at_least, at_most=at_most, unit=unit)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise a ValueError that lists the choices unless `value` is one of them."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, choices))}, got {value!r}.")


def check_fields(config: Any, names: Iterable[str], **bounds: float) -> None:
    """[`check_number`] for several attributes of a config."""
    for name in names:
        check_number(name, getattr(config, name), **bounds)
