"""Floating-point operations of training, counted rather than estimated."""

from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from .state import TrainingCallback, TrainingState


def _fused_forward(query, key, value, *args, out_val=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def _fused_backward(grad_out, query, key, value, *args, out_val=None, **kwargs) -> int:
    return sdpa_backward_flop_count(grad_out, query, key, value)


# torch's counter knows the fused attention of GPUs, and not the CPU's, which does the same work.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_backward,
}


def flop_counter() -> FlopCounterMode:
    """torch's counter of matrix products, convolutions and attention (2 per multiply-add), on every device."""
    return FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)


class FlopCount(TrainingCallback):
    """Counts the first optimizer step of a run, forward and backward, on one process; every full step costs the same.

    Args:
        file: keeps the count, for a run that is resumed in an epoch's last step, which may be smaller.
    """

    def __init__(self, file: Path):
        self.file = file
        self._counter: FlopCounterMode | None = None

    @property
    def per_step(self) -> int:
        """Operations of a step; 0 before one was counted."""
        return int(self.file.read_text(encoding="utf-8")) if self.file.exists() else 0

    def on_epoch_begin(self, model: nn.Module, state: TrainingState) -> None:
        if state.step == 0 and self._counter is None:
            self._counter = flop_counter()
            self._counter.__enter__()

    def on_step_end(self, model: nn.Module, state: TrainingState) -> None:
        if self._counter is not None:
            count = self._counter.get_total_flops()
            self.close()
            if PartialState().is_main_process:
                self.file.write_text(str(count), encoding="utf-8")

    def close(self) -> None:
        """Stop counting; for a run that ends before its first step."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None
