"""Learning-rate schedules: pure functions from the optimizer step to a multiplier of the peak rate.

Step `s` is the number of optimizer steps already taken, so the first step is taken at the rate of `s = 0`. Being
functions of the step alone, they have no state to save and no per-process step count to get wrong.
"""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def warmup(step: int, warmup_steps: int) -> float:
    """1/n, 2/n, ... 1 over n = `warmup_steps`, then 1: the first step already learns, the n-th at the full rate."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def _decay_progress(step: int, total_steps: int, start: float) -> float:
    """0 up to `start`, 1 from `total_steps` on."""
    return min(1.0, max(0.0, (step - start) / max(1e-9, total_steps - start)))


def linear(step: int, total_steps: int, warmup_steps: int = 0) -> float:
    """Warm-up, then a straight line that would reach 0 at `total_steps`."""
    return warmup(step, warmup_steps) * (1.0 - _decay_progress(step, total_steps, warmup_steps))


def cosine(step: int, total_steps: int, warmup_steps: int = 0) -> float:
    """Warm-up, then half a cosine that would reach 0 at `total_steps`."""
    progress = _decay_progress(step, total_steps, warmup_steps)
    return warmup(step, warmup_steps) * 0.5 * (1.0 + math.cos(math.pi * progress))


def one_cycle(
    step: int, total_steps: int, warmup_steps: int = 0, start_divisor: float = 25.0, end_divisor: float = 1e4
) -> float:
    """Half a cosine up from 1/`start_divisor` to 1, half a cosine down to 1/(`start_divisor` * `end_divisor`).

    The peak is at `warmup_steps`; 0 puts it where `torch.optim.lr_scheduler.OneCycleLR` does, at 30 % of the steps.
    """
    first, last = 1.0 / start_divisor, 1.0 / (start_divisor * end_divisor)
    peak = warmup_steps or 0.3 * total_steps - 1.0
    if step < peak:
        return first + (1.0 - first) * 0.5 * (1.0 - math.cos(math.pi * step / peak))
    progress = _decay_progress(step, total_steps - 1, peak)
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * progress))


def step_decay(
    step: int, steps_per_epoch: int, milestones: Sequence[float], factor: float = 0.5, warmup_steps: int = 0
) -> float:
    """Warm-up, the full rate until the first milestone, times `factor` from each milestone on.

    Milestones count whole epochs done: 10 means that the eleventh epoch is the first at the lower rate.
    """
    passed = sum(step >= round(milestone * steps_per_epoch) for milestone in milestones)
    return warmup(step, warmup_steps) * factor**passed


def exponential(step: int, steps_per_epoch: int, factor: float, warmup_steps: int = 0) -> float:
    """Warm-up, times `factor` after each whole epoch."""
    return warmup(step, warmup_steps) * factor ** (step // steps_per_epoch)


def make_schedule(
    name: str,
    *,
    total_steps: int,
    steps_per_epoch: int | None = None,
    warmup_steps: int = 0,
    milestones: Sequence[float] = (),
    factor: float = 0.5,
) -> Schedule:
    """The schedule called `name` as a function of the step alone.

    Raises:
        ValueError: an unknown name; "step" or "exponential" without `steps_per_epoch`.
    """
    if name == "constant":
        return lambda step: warmup(step, warmup_steps)
    if name == "linear":
        return lambda step: linear(step, total_steps, warmup_steps)
    if name == "cosine":
        return lambda step: cosine(step, total_steps, warmup_steps)
    if name == "one_cycle":
        return lambda step: one_cycle(step, total_steps, warmup_steps)
    if name in ("step", "exponential") and steps_per_epoch is None:
        raise ValueError(f'`schedule`="{name}" counts in epochs; a dataset without a length has none of known size.')
    if name == "exponential":
        return lambda step: exponential(step, steps_per_epoch, factor, warmup_steps)
    if name == "step":
        return lambda step: step_decay(step, steps_per_epoch, milestones, factor, warmup_steps)
    raise ValueError(f"`schedule` must be constant, linear, cosine, one_cycle, step or exponential, got {name!r}.")
