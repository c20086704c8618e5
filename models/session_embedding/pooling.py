"""From the frames of a clip to one vector: statistics over time, weighted by attention or not.

The encoders that people hold agree on the idea and on no detail; [`POOLING`] is the table of the details.
"""

from dataclasses import dataclass

import torch
from torch import nn

from .masked_frames import compute_statistics


@dataclass(frozen=True)
class StatisticsDialect:
    """How one code base computes attentive statistics.

    Args:
        activations: between the two convolutions that score the frames.
        context_unbiased: of the variance that is part of the context.
        context_floor, context_ceiling: what that variance is clamped to; `context_offset` is added to it instead.
        first: the first half of the result, "mean" or "root_mean_square".
        deviations: the variance is the mean of squared deviations; else mean of squares minus squared mean.
        floor, ceiling: what the variance, and a mean of squares, are clamped to.
    """

    activations: tuple[str, ...] = ("relu", "norm")
    context_unbiased: bool = True
    context_floor: float = 0.0
    context_ceiling: float | None = None
    context_offset: float = 0.0
    first: str = "mean"
    deviations: bool = False
    floor: float = 1e-4
    ceiling: float | None = None


POOLING = {
    "speechbrain": StatisticsDialect(
        ("relu", "norm", "tanh"), context_unbiased=False, context_floor=1e-12, deviations=True, floor=1e-12
    ),
    "wespeaker": StatisticsDialect(("tanh",), context_offset=1e-7, floor=1e-7),
    "disentangler": StatisticsDialect(context_floor=1e-4, first="root_mean_square"),
    "rawnet3": StatisticsDialect(context_floor=1e-4, context_ceiling=1e4, ceiling=1e4),
    "resnetse34v2": StatisticsDialect(floor=1e-5),
}


class AttentiveStatisticsPooling(nn.Module):
    """(batch, channels, frames) to (batch, 2 * channels), or to (batch, channels) without a variance.

    Args:
        attention_size: width between the two convolutions that score the frames.
        per_channel: every channel has weights of its own; else all share one.
        with_context: mean and deviation of the clip stand beside each frame when it is scored.
        with_variance: the second half of the result.
    """

    def __init__(
        self,
        channels: int,
        attention_size: int,
        dialect: StatisticsDialect,
        *,
        per_channel: bool = True,
        with_context: bool = True,
        with_variance: bool = True,
    ):
        super().__init__()
        self.dialect, self.with_context, self.with_variance = dialect, with_context, with_variance
        self.score_conv1 = nn.Conv1d((3 if with_context else 1) * channels, attention_size, 1)
        self.score_norm = nn.BatchNorm1d(attention_size) if "norm" in dialect.activations else None
        self.score_conv2 = nn.Conv1d(attention_size, channels if per_channel else 1, 1)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        dialect = self.dialect
        scores = self.score_conv1(self._add_context(hidden_states, mask) if self.with_context else hidden_states)
        for name in dialect.activations:
            scores = self.score_norm(scores) if name == "norm" else getattr(torch, name)(scores)
        scores = self.score_conv2(scores)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        mean = (weights * hidden_states).sum(-1)
        if not self.with_variance:
            return mean
        mean_square = (weights * hidden_states.square()).sum(-1)
        if dialect.deviations:
            variance = (weights * (hidden_states - mean[..., None]).square()).sum(-1)
        else:
            variance = mean_square - mean.square()
        first = mean if dialect.first == "mean" else mean_square.clamp(dialect.floor, dialect.ceiling).sqrt()
        return torch.cat([first, variance.clamp(dialect.floor, dialect.ceiling).sqrt()], dim=1)

    def _add_context(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(batch, 3 * channels, frames)."""
        dialect = self.dialect
        mean, variance = compute_statistics(hidden_states, mask, unbiased=dialect.context_unbiased)
        deviation = (variance + dialect.context_offset).clamp(dialect.context_floor, dialect.context_ceiling).sqrt()
        return torch.cat([hidden_states, mean.expand_as(hidden_states), deviation.expand_as(hidden_states)], dim=1)


class SelfAttentivePooling(nn.Module):
    """(batch, channels, frames) to (batch, channels): frames weighted by how a learned vector answers to them.

    Args:
        with_deviation: the weighted standard deviation follows the mean, (batch, 2 * channels).
    """

    def __init__(self, channels: int, *, with_deviation: bool = False):
        super().__init__()
        self.with_deviation = with_deviation
        self.projection = nn.Linear(channels, channels)
        self.attention = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        frames = hidden_states.mT  # (batch, frames, channels)
        scores = torch.tanh(self.projection(frames)) @ self.attention
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(1)
        mean = (frames * weights).sum(1)
        if not self.with_deviation:
            return mean
        variance = (frames.square() * weights).sum(1) - mean.square()
        return torch.cat([mean, variance.clamp_min(1e-5).sqrt()], dim=1)


class StatisticsPooling(nn.Module):
    """(batch, channels, frames) to (batch, 2 * channels): mean, and root of the unbiased variance plus 1e-7."""

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mean, variance = compute_statistics(hidden_states, mask, unbiased=True)
        return torch.cat([mean, (variance + 1e-7).sqrt()], dim=1)[..., 0]


__all__ = ["POOLING", "AttentiveStatisticsPooling", "SelfAttentivePooling", "StatisticsPooling"]
