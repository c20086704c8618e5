"""What a callback reads and sets while a diffusion pipeline walks."""

from collections.abc import Callable, Sequence
from typing import Any

from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback

from avzoo.checks import check_choice


class InterruptionMixin:
    """Diffusers' names for the state of a call. A pipeline begins each walk with `_begin_walk`."""

    _callback_tensor_inputs: Sequence[str] = ()
    _interrupt = False
    _num_timesteps = 0

    @property
    def num_timesteps(self) -> int:
        """Timesteps of the last call, or of the one in progress."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the call in progress stops after its step; a callback may set it."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = value

    def _name_callback_tensors(self, callback: Callable[..., Any] | None, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the tensors that a callback is given; diffusers' callback objects name their own.

        Raises:
            ValueError: a tensor that this pipeline does not have.
        """
        argument = "callback_on_step_end_tensor_inputs"
        if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
            argument, names = f"{type(callback).__name__}.tensor_inputs", callback.tensor_inputs
        for name in names:
            check_choice(argument, name, self._callback_tensor_inputs)
        return names

    def _begin_walk(self) -> None:
        """Forget an earlier interruption, and count the timesteps that the scheduler was set to."""
        self._interrupt, self._num_timesteps = False, len(self.scheduler.timesteps)
