import pytest
import torch

from avzoo.data.draws import draw_uniform, draw_whole_number


def generator():
    return torch.Generator().manual_seed(0)


def test_whole_numbers_reach_every_value_below_the_end():
    source = generator()
    assert {draw_whole_number(3, source) for _ in range(100)} == {0, 1, 2}


def test_uniform_numbers_spread_over_the_whole_range():
    source = generator()
    drawn = [draw_uniform(-2.0, 6.0, source) for _ in range(2000)]
    assert -2.0 <= min(drawn) < -1.9
    assert 5.9 < max(drawn) < 6.0
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    "draw", [lambda source: draw_whole_number(1000, source), lambda source: draw_uniform(0, 1, source)]
)
def test_one_generator_draws_one_sequence(draw):
    first, second = generator(), generator()
    assert [draw(first) for _ in range(5)] == [draw(second) for _ in range(5)]
