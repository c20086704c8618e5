"""What the contract suite needs to know about a network beside its row in the zoo."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Tiny:
    """A small random network of one class, and inputs for it.

    Args:
        config: config fields that make it small. Every feature that adds parameters should be on.
        inputs: lengths of the items of a batch -> the arguments of forward, padded and masked. The longest length
            decides on the length of the tensors.
        single: the same arguments and an index -> that item alone, unpadded.
        labels: number of items -> what forward takes as `labels`, or what `loss` compares its answer with.
        bad_values: config field -> a value that cannot work.
        frozen: patterns of parameters that get no gradient on purpose.
        output: what is compared of forward's answer.
        loss: answer of forward and labels -> loss, for networks that have none of their own.
        without: what the network does not have -> the reason. A test holds each against the network.
            "attention": no layer of it goes through transformers' attention functions.
            "compilation": it cannot become one graph.
            "linear": no linear layer, so nothing for LoRA to adapt.
            "loss": forward takes no labels.
            "outputs": it answers with one tensor.
            "padding": its inputs are of one length, and forward takes no mask.
            "training": no parameter of it is to be trained.
        folds_norms: on a CPU, batch norms in evaluation become part of the convolutions before them, where the weights
            are in memory. Results without that differ by rounding.
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
    without: Mapping[str, str] = field(default_factory=dict)
    folds_norms: bool = False

    def losses(self, model: torch.nn.Module, inputs: Mapping[str, Any], labels: Any) -> torch.Tensor:
        """The training loss of a batch."""
        if self.loss is None:
            return model(**inputs, labels=labels).loss
        return self.loss(model(**inputs), labels)


def distance_to_drawn(name: str, num_labels: int = 3) -> Callable[[Any, Any], torch.Tensor]:
    """A loss for a network without one: as if its output `name` were to be one of a few drawn vectors."""

    def compute_loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
        values = output[name]
        drawn = torch.rand(num_labels, values.shape[-1], generator=torch.Generator().manual_seed(0))
        wanted = drawn[labels].reshape(len(labels), *[1] * (values.ndim - 2), -1)
        return (values - wanted).square().mean()

    return compute_loss


@torch.no_grad()
def fill_weights(model: torch.nn.Module) -> None:
    """Maps that keep the variance, and scales and biases that differ a little from what they begin with."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))
