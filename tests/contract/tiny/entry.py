"""What the contract suite needs to know about a network beside its row in the zoo."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Tiny:
    """A small random network and inputs for it.

    Args:
        config: config fields that make it small. Every feature that adds parameters should be on.
        inputs: lengths of the items of a batch -> the arguments of forward, padded and masked.
        single: the same arguments and an index -> that item alone, unpadded.
        labels: number of items -> what forward takes as `labels`.
        bad_values: config field -> a value that cannot work.
        frozen: patterns of parameters that get no gradient on purpose.
        output: what forward's answer is called.
        loss: answer of forward and what it took as `labels` -> loss, for networks that have none of their own.
    """

    config: Mapping[str, Any]
    inputs: Callable[[Sequence[int]], dict[str, torch.Tensor]]
    single: Callable[[Sequence[int], int], dict[str, torch.Tensor]]
    labels: Callable[[int], Any]
    bad_values: Mapping[str, Any]
    lengths: Sequence[int] = (33, 20, 9)
    frozen: Sequence[str] = field(default_factory=tuple)
    output: str = "logits"
    loss: Callable[[Any, Any], torch.Tensor] | None = None

    def losses(self, model: torch.nn.Module, inputs: Mapping[str, Any], labels: Any) -> torch.Tensor:
        """The training loss of a batch."""
        if self.loss is None:
            return model(**inputs, labels=labels).loss
        return self.loss(model(**inputs), labels)


@torch.no_grad()
def fill_weights(model: torch.nn.Module) -> None:
    """Maps that keep the variance, and scales and biases that differ a little from what they begin with."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))
