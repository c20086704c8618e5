import math

import pytest
import torch

from avzoo.training import make_schedule


def values(name, steps, **options):
    schedule = make_schedule(name, **options)
    return [schedule(step) for step in steps]


def test_constant_warms_up_in_equal_parts_and_stays():
    assert values("constant", range(6), total_steps=6, warmup_steps=4) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_linear_falls_from_the_end_of_the_warm_up_towards_zero():
    expected = [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0]  # steps 2..6: 1, 3/4, 2/4, 1/4, 0
    assert values("linear", range(8), total_steps=6, warmup_steps=2) == pytest.approx(expected)


def test_cosine_is_at_half_its_height_halfway():
    expected = [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    assert values("cosine", range(5), total_steps=4) == pytest.approx(expected)


def test_step_keeps_the_full_rate_until_a_milestone_and_halves_at_each():
    options = {"total_steps": 12, "steps_per_epoch": 3, "milestones": (2, 3)}
    expected = [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]  # epochs 1 and 2, epoch 3, epoch 4
    assert values("step", range(12), **options) == expected
    assert values("step", [5, 6], **options, factor=0.1) == [1, pytest.approx(0.1)]


def test_step_multiplies_warm_up_and_decay():
    options = {"total_steps": 4, "steps_per_epoch": 1, "milestones": (2,), "warmup_steps": 4}
    assert values("step", range(4), **options) == [0.25, 0.5, 0.375, 0.5]


def test_exponential_falls_after_each_epoch():
    options = {"total_steps": 6, "steps_per_epoch": 2, "factor": 0.5}
    assert values("exponential", range(6), **options) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert values("exponential", range(4), **options, warmup_steps=4) == [0.25, 0.5, 0.375, 0.5]


def test_one_cycle_is_torchs():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=20)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 20:
            reference.step()
    assert values("one_cycle", range(20), total_steps=20) == pytest.approx(expected)


def test_one_cycle_peaks_where_the_warm_up_ends():
    rates = values("one_cycle", range(11), total_steps=11, warmup_steps=4)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[2] == pytest.approx((1 + 1 / 25) / 2)
    assert rates[4] == 1
    assert rates[10] == pytest.approx(1 / 250_000)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "one_cycle"])
@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_short_runs_have_finite_rates(name, total_steps):
    for warmup_steps in (0, 1, 5):
        rates = values(name, range(total_steps + 1), total_steps=total_steps, warmup_steps=warmup_steps)
        assert all(0 <= rate <= 1 for rate in rates)


@pytest.mark.parametrize("name", ["step", "exponential"])
def test_what_falls_by_epochs_needs_to_know_them(name):
    with pytest.raises(ValueError, match=rf"`schedule`=\"{name}\" counts in epochs"):
        make_schedule(name, total_steps=10, milestones=(1,))


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"`schedule` must be .* got 'sawtooth'"):
        make_schedule("sawtooth", total_steps=10)
