"""A moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class ExponentialMovingAverage:
    """`average <- d * average + (1 - d) * weights` after every optimizer step; buffers are copied, not averaged.

    Every parameter is followed, frozen ones too: a frozen one costs memory but may be thawed later. Averages of
    half-precision weights are kept in float32, where a decay of 0.9999 still moves them.

    Args:
        model: the bare model, already on its device (not the wrapper that accelerate puts around it).
        decay: d, in (0, 1).
        warmup: start with `d = min(decay, (1 + n) / (10 + n))`, n updates done, so that a short run
            isn't dominated by its random start.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool = True):
        if not 0 < decay < 1:
            raise ValueError(f"`decay` must be between 0 and 1, got {decay}.")
        self.model, self.decay, self.warmup = model, decay, warmup
        self.num_updates = 0
        self.averages = {name: _average_copy(parameter) for name, parameter in model.named_parameters()}
        self.buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.warmup else self.decay
        for name, parameter in self.model.named_parameters():
            average = self.averages[name]
            average.lerp_(parameter.detach().to(average.dtype), 1 - decay)
        for name, buffer in self.model.named_buffers():
            self.buffers[name].copy_(buffer)
        self.num_updates += 1

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Overwrite the model's weights and buffers with the average."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(self.averages[name])
        for name, buffer in self.model.named_buffers():
            buffer.copy_(self.buffers[name])

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Inside, the model holds the average; after, its own weights again, to the bit."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        kept = [tensor.detach().clone() for tensor in tensors]
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, original in zip(tensors, kept, strict=True):
                    tensor.copy_(original)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Flat and of tensors only, so that safetensors can hold it."""
        state = {f"averages.{name}": average for name, average in self.averages.items()}
        state |= {f"buffers.{name}": buffer for name, buffer in self.buffers.items()}
        return {**state, "num_updates": torch.tensor(self.num_updates)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict()`.

        Raises:
            ValueError: the names differ from this model's.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(f"`state`: {sorted(state.keys() ^ own.keys())[:5]} are in one of state and model only.")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.num_updates = int(state["num_updates"])


def _average_copy(parameter: nn.Parameter) -> torch.Tensor:
    return parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
