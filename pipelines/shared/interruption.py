"""What a callback reads and sets while a diffusion pipeline walks."""


class InterruptionMixin:
    """Diffusers' names for the state of a call. A pipeline begins each walk with `_begin_walk`."""

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

    def _begin_walk(self) -> None:
        """Forget an earlier interruption, and count the timesteps that the scheduler was set to."""
        self._interrupt, self._num_timesteps = False, len(self.scheduler.timesteps)
