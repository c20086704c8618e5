"""The OUVE process: its law, the way back, and solvers against states that are known by hand."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from avzoo import OUVEScheduler

THETA, LEAST, MOST = 1.5, 0.05, 0.5


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "std", "diffusion"),
    [(1.0, 0.388983, 1.072983), (0.5, 0.121657, 0.339307), (0.03, 0.018830, 0.114972)],
)
def test_noise_is_that_of_the_authors(time, std, diffusion):
    scheduler = OUVEScheduler()
    assert float(scheduler.std(torch.tensor(time))) == pytest.approx(std, rel=1e-4)
    assert float(scheduler.diffusion(torch.tensor(time))) == pytest.approx(diffusion, rel=1e-5)
    assert scheduler.init_noise_sigma == pytest.approx(0.388983, rel=1e-5)


@pytest.mark.parametrize(("theta", "least", "most"), [(1.5, 0.05, 0.5), (0.5, 0.1, 0.3), (3.0, 0.01, 1.0)])
def test_the_noise_in_the_state_is_what_the_equation_adds_up_to(theta, least, most):
    """d var / dt = g^2 - 2 theta var, from 0, in small steps."""
    scheduler = OUVEScheduler(theta, least, most)
    steps, variance = 20000, 0.0
    middles = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    for change in (scheduler.diffusion(middles) ** 2).tolist():
        variance = (variance * (1 - theta / steps) + change / steps) / (1 + theta / steps)
    assert float(scheduler.std(torch.ones((), dtype=torch.float64))) ** 2 == pytest.approx(variance, rel=1e-4)


def test_the_mean_begins_at_the_voice_and_is_drawn_to_the_other_end():
    scheduler, (x, y) = OUVEScheduler(), torch.randn(2, 3, 4, generator=seeded(0)).unbind()
    torch.testing.assert_close(scheduler.mean(x, y, torch.zeros(3)), x)
    remains = math.exp(-THETA)
    torch.testing.assert_close(scheduler.mean(x, y, torch.ones(3)), remains * x + (1 - remains) * y)
    torch.testing.assert_close(scheduler.drift(x, y), THETA * (y - x))


def test_each_item_has_its_own_time():
    scheduler, times = OUVEScheduler(), torch.tensor([0.1, 0.9])
    x, y, z = torch.randn(3, 2, 1, 4, 5, dtype=torch.complex64, generator=seeded(0)).unbind()
    scheduler.set_timesteps(4)
    noisy = scheduler.add_noise(x, y, z, times)
    stepped = scheduler.step(x, times, y, z, noise=z)
    corrected = scheduler.step_correct(x, times, y, noise=z)
    flow, denoised = scheduler.flow(x, times, y, z), scheduler.remove_noise(x, times, y, z)
    for index, time in enumerate(times):
        one = slice(index, index + 1)
        torch.testing.assert_close(noisy[one], scheduler.add_noise(x[one], y[one], z[one], time))
        torch.testing.assert_close(
            stepped.prev_sample[one], scheduler.step(x[one], time, y[one], z[one], noise=z[one]).prev_sample
        )
        torch.testing.assert_close(
            corrected.prev_sample[one], scheduler.step_correct(x[one], time, y[one], noise=z[one]).prev_sample
        )
        torch.testing.assert_close(flow[one], scheduler.flow(x[one], float(time), y[one], z[one]))
        torch.testing.assert_close(denoised[one], scheduler.remove_noise(x[one], float(time), y[one], z[one]))


def test_a_noisy_state_has_the_mean_and_the_noise_of_its_time():
    scheduler, time = OUVEScheduler(), torch.full((20000,), 0.7)
    x, y = torch.full((20000,), 2.0), torch.full((20000,), -1.0)
    states = scheduler.add_noise(x, y, torch.randn(20000, generator=seeded(0)), time)
    std = float(scheduler.std(time[0]))
    assert float(states.mean()) == pytest.approx(2 * math.exp(-1.05) - (1 - math.exp(-1.05)), abs=4 * std / 141)
    assert float(states.std()) == pytest.approx(std, rel=0.02)


# --- the way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_times_go_from_one_to_the_least(steps):
    scheduler = OUVEScheduler(min_timestep=0.04)
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == scheduler.num_inference_steps == steps
    np.testing.assert_allclose(scheduler.timesteps, np.linspace(1, 0.04, steps), rtol=1e-6)


def test_a_step_by_hand():
    """Its length is 1 / N, whatever the times' distance."""
    scheduler, time = OUVEScheduler(), torch.tensor(0.5)
    scheduler.set_timesteps(20)
    x, y, score, noise = torch.tensor([[1.0], [0.2], [-3.0], [0.5]])
    output = scheduler.step(score, time, x, y, noise=noise)
    squared = 2 * math.log(10) * LEAST**2 * 10 / 20  # g(0.5)^2 / N; (sigma_max / sigma_min)^(2 * 0.5) = 10
    expected = 1.0 - THETA * (0.2 - 1.0) / 20 + squared * -3.0
    assert float(output.mean) == pytest.approx(expected, rel=1e-5)
    assert float(output.prev_sample) == pytest.approx(expected + math.sqrt(squared) * 0.5, rel=1e-5)


def test_a_correction_by_hand():
    scheduler, time = OUVEScheduler(), torch.tensor(0.5)
    x, score, noise = torch.tensor([[1.0], [-3.0], [0.5]])
    output = scheduler.step_correct(score, time, x, snr=0.4, noise=noise)
    length = 2 * (0.4 * 0.121657) ** 2
    assert float(output.mean) == pytest.approx(1 - 3 * length, rel=1e-5)
    assert float(output.prev_sample) == pytest.approx(1 - 3 * length + math.sqrt(2 * length) * 0.5, rel=1e-5)


def test_noise_comes_from_the_generator_where_none_is_given():
    scheduler, (x, y, score) = OUVEScheduler(), torch.randn(3, 1, 8, dtype=torch.complex64, generator=seeded(0))
    scheduler.set_timesteps(3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second, other = (scheduler.step(score, 0.5, x, y, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.prev_sample, second.prev_sample)
    assert not torch.equal(first.prev_sample, other.prev_sample)
    assert torch.equal(first.mean, other.mean)
    scheduler.step_correct(score, 0.5, x, generator=seeded(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_drawn_noise_has_a_variance_of_one():
    """Half of it in each part of a complex number."""
    scheduler, zeros = OUVEScheduler(), torch.zeros(20000, dtype=torch.complex64)
    scheduler.set_timesteps(1)
    noise = scheduler.step(zeros, 1.0, zeros, zeros, generator=seeded(0)).prev_sample / scheduler.diffusion(
        torch.ones(())
    )
    assert float(noise.real.var()) == pytest.approx(0.5, rel=0.05)
    assert float(noise.imag.var()) == pytest.approx(0.5, rel=0.05)


def test_a_tuple_holds_the_same():
    scheduler, (x, y, score, noise) = OUVEScheduler(), torch.randn(4, 6, generator=seeded(0))
    scheduler.set_timesteps(3)
    output = scheduler.step(score, 0.5, x, y, noise=noise)
    pair = scheduler.step(score, 0.5, x, y, noise=noise, return_dict=False)
    assert torch.equal(pair[0], output.prev_sample)
    assert torch.equal(pair[1], output.mean)


# --- a toy whose states are known -------------------------------------------------------------------------------------

VOICE, SPREAD, PRIOR = 1.3, 0.2, 0.4  # voices are normal around VOICE, and drawn to PRIOR


def variance_at(scheduler: OUVEScheduler, time: torch.Tensor) -> torch.Tensor:
    return SPREAD**2 * torch.exp(-2 * THETA * time) + scheduler.std(time) ** 2


def mean_at(scheduler: OUVEScheduler, time: torch.Tensor) -> torch.Tensor:
    return scheduler.mean(torch.tensor(VOICE), torch.tensor(PRIOR), time)


def score_of(scheduler: OUVEScheduler, sample: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    return (mean_at(scheduler, time) - sample) / variance_at(scheduler, time)


def heun(scheduler: OUVEScheduler, sample: torch.Tensor, steps: int) -> torch.Tensor:
    """Along the flow, from time 1 to the least."""
    prior, times = torch.tensor(PRIOR), torch.linspace(1, 0.03, steps + 1, dtype=torch.float64)

    def flow(sample, time):
        return scheduler.flow(score_of(scheduler, sample, time), time, sample, prior)

    for time, later in itertools.pairwise(times):
        slope = flow(sample, time)
        reached = sample + (later - time) * slope
        sample = sample + (later - time) * (slope + flow(reached, later)) / 2
    return sample


def test_the_flow_leads_where_it_must():
    """Of a normal state the flow keeps the place in units of the spread."""
    scheduler = OUVEScheduler()
    first, last = torch.tensor([1.0, 0.03], dtype=torch.float64)
    places = torch.tensor([-2.0, 0.0, 0.7, 3.0], dtype=torch.float64)
    start = mean_at(scheduler, first) + places * variance_at(scheduler, first).sqrt()
    expected = mean_at(scheduler, last) + places * variance_at(scheduler, last).sqrt()
    errors = [float((heun(scheduler, start, steps) - expected).abs().max()) for steps in (10, 20, 40, 80)]
    assert errors[-1] < 2e-3
    for coarse, fine in itertools.pairwise(errors):
        assert fine < coarse / 2.5  # of second order: a quarter, or nearly


def test_the_clean_sample_to_be_expected_is_the_normal_posterior():
    scheduler, time = OUVEScheduler(), torch.tensor(0.6)
    sample, prior = torch.tensor([0.1, 0.9, 2.0]), torch.tensor(PRIOR)
    remains, noise = math.exp(-THETA * 0.6), float(scheduler.std(time)) ** 2
    # Two pieces of knowledge about the voice, each weighted by its certainty.
    seen = (sample - (1 - remains) * PRIOR) / remains
    certainty = remains**2 / noise
    expected = (VOICE / SPREAD**2 + seen * certainty) / (1 / SPREAD**2 + certainty)
    score = score_of(scheduler, sample, time)
    torch.testing.assert_close(scheduler.remove_noise(score, time, sample, prior), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("corrections", [0, 1])
def test_the_walk_back_finds_the_voices(corrections):
    """Their mean and their spread, from noise around the prior, which is not far from where states are at time 1."""
    scheduler, generator, count = OUVEScheduler(), seeded(0), 20000
    scheduler.set_timesteps(200)
    start = mean_at(scheduler, torch.ones(())) - PRIOR  # the way back begins a little off; start it where states are
    prior = torch.full((count,), PRIOR)
    sample = scheduler.init_sample(prior, torch.randn(count, generator=generator)) + start
    for time in scheduler.timesteps:
        for _ in range(corrections):
            score = score_of(scheduler, sample, time)
            sample = scheduler.step_correct(score, time, sample, 0.3, generator=generator).prev_sample
        score = score_of(scheduler, sample, time)
        sample, mean = scheduler.step(score, time, sample, prior, generator=generator, return_dict=False)
    least = torch.tensor(0.03)
    assert float(mean.mean()) == pytest.approx(float(mean_at(scheduler, least)), abs=0.02)
    assert float(sample.std()) == pytest.approx(float(variance_at(scheduler, least).sqrt()), rel=0.08)


# --- folders and what cannot work -------------------------------------------------------------------------------------


def test_settings_are_saved(tmp_path):
    OUVEScheduler(theta=2.0, sigma_min=0.1, sigma_max=0.7, min_timestep=0.05).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert stored["_class_name"] == "OUVEScheduler"
    loaded = OUVEScheduler.from_pretrained(tmp_path)
    assert (loaded.config.theta, loaded.config.sigma_min, loaded.config.sigma_max) == (2.0, 0.1, 0.7)
    assert loaded.init_noise_sigma == OUVEScheduler(2.0, 0.1, 0.7).init_noise_sigma != OUVEScheduler().init_noise_sigma


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"theta": 0.0}, r"`theta` must be above 0, got 0.0"),
        ({"sigma_min": 0.0}, r"`sigma_min` \(0.0\) must be above 0 and below `sigma_max` \(0.5\)"),
        ({"sigma_min": 0.5}, r"`sigma_min` \(0.5\) must be above 0 and below `sigma_max` \(0.5\)"),
        ({"min_timestep": 0.0}, r"`min_timestep` must lie between 0 and 1, got 0.0"),
        ({"min_timestep": 1.0}, r"`min_timestep` must lie between 0 and 1, got 1.0"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        OUVEScheduler(**settings)


def test_steps_need_their_number():
    scheduler, x = OUVEScheduler(), torch.zeros(3)
    with pytest.raises(ValueError, match="call `set_timesteps` before `step`"):
        scheduler.step(x, 0.5, x, x)
    with pytest.raises(ValueError, match=r"`num_inference_steps` must be at least 1, got 0"):
        scheduler.set_timesteps(0)
