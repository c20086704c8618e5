"""The optimizers that [`TrainingArguments`] names."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .arguments import TrainingArguments


def make_optimizer(model: nn.Module, arguments: TrainingArguments) -> torch.optim.Optimizer:
    """The optimizer for the trainable parameters of `model`.

    Raises:
        ValueError: nothing is trainable, or this torch has no Muon.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("`model` has no trainable parameter.")
    settings = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay}
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    if arguments.optimizer != "muon":
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[arguments.optimizer]
        return kind(parameters, betas=betas, **settings)
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"`optimizer` 'muon' needs torch 2.9 or later, this is {torch.__version__}.")
    # Muon is for the matrices between hidden states; embeddings, heads, convolutions and vectors are Adam's.
    hidden = {
        id(layer.weight)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad and "layers." in name
    }
    return CombinedOptimizer(
        # Updates as large as AdamW's, so that one learning rate serves both.
        torch.optim.Muon([p for p in parameters if id(p) in hidden], adjust_lr_fn="match_rms_adamw", **settings),
        torch.optim.AdamW([p for p in parameters if id(p) not in hidden], betas=betas, **settings),
    )


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with parameters of its own, as one: one state, one list of groups, one step."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self.optimizers = optimizers
        self.num_groups = [len(optimizer.param_groups) for optimizer in optimizers]
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = iter(self.param_groups)
        for optimizer, count in zip(self.optimizers, self.num_groups, strict=True):
            # Handed over anew each time: loading a state replaces both objects.
            optimizer.param_groups = [next(groups) for _ in range(count)]
            optimizer.state = self.state
            optimizer.step()
        return loss
