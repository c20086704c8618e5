import re
from types import SimpleNamespace

import numpy as np
import pytest

from avzoo.checks import check_choice, check_fields, check_number, check_whole_number


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"at_least": 1}, "`size` must be at least 1, got 0."),
        (0.0, {"above": 0}, "`size` must be above 0, got 0.0."),
        (1, {"above": 0, "below": 1, "unit": "seconds"}, "`size` must be above 0 and below 1 seconds, got 1."),
        (3, {"at_least": 1, "at_most": 2}, "`size` must be at least 1 and at most 2, got 3."),
        (float("nan"), {"above": 0}, "`size` must be above 0, got nan."),
        (float("inf"), {}, "`size` must be finite, got inf."),
    ],
)
def test_a_number_out_of_bounds_is_refused(value, bounds, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_number("size", value, **bounds)


@pytest.mark.parametrize("value", [True, "1", None, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=re.escape(f"`size` must be a number, got {value!r}.")):
        check_number("size", value)


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match=re.escape(f"`size` must be a whole number, got {value!r}.")):
        check_whole_number("size", value, at_least=1)


def test_numbers_within_their_bounds_pass():
    for value in (1, 1.5, np.float32(1.5), np.int64(1)):
        check_number("size", value, at_least=1, above=0, at_most=1.5, below=2)
    check_whole_number("size", np.int64(3), at_least=3, at_most=3)


def test_an_unknown_choice_is_refused_with_the_known_ones():
    check_choice("resize", "crop", ("stretch", "crop"))
    with pytest.raises(ValueError, match=r"^`resize` must be one of stretch, crop, got 'fit'\.$"):
        check_choice("resize", "fit", ("stretch", "crop"))


def test_the_field_out_of_bounds_is_named():
    config = SimpleNamespace(hidden_size=4, num_heads=0)
    check_fields(config, ["hidden_size"], at_least=1)
    with pytest.raises(ValueError, match=r"^`num_heads` must be at least 1, got 0\.$"):
        check_fields(config, ["hidden_size", "num_heads"], at_least=1)
