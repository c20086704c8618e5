"""Random numbers of training data, as Python numbers from one generator."""

import torch


def draw_whole_number(end: int, generator: torch.Generator) -> int:
    """Draw a whole number from [0, end), each equally likely."""
    return int(torch.randint(end, (), generator=generator))


def draw_uniform(low: float, high: float, generator: torch.Generator) -> float:
    """Draw a number from [low, high), uniformly."""
    return low + (high - low) * float(torch.rand((), dtype=torch.float64, generator=generator))


__all__ = ["draw_uniform", "draw_whole_number"]
