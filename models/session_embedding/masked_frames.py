"""Frames behind the end of a clip in a padded batch: kept at zero, left out of means, mirrored where the clip ends.

Tensors are (batch, channels, frames) or (batch, channels, bands, frames); a mask is (batch, frames), True for a frame
of the clip, or None if no clip is padded.
"""

import torch


def make_mask(lengths: torch.Tensor | None, size: int) -> torch.Tensor | None:
    """The mask of clips of so many frames in tensors of `size` frames."""
    return None if lengths is None else torch.arange(size, device=lengths.device) < lengths[:, None]


def zero_padding(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Set what is behind the end of each clip to zero, which is what a convolution alone would see there."""
    return hidden_states if mask is None else hidden_states * _spread(mask, hidden_states)


def average_frames(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean over the frames of each clip, and over the bands if there are any: (batch, channels, 1[, 1])."""
    axes = tuple(range(2, hidden_states.ndim))
    if mask is None:
        return hidden_states.mean(axes, keepdim=True)
    counts = mask.sum(1).reshape(-1, *[1] * (hidden_states.ndim - 1)) * hidden_states[0, 0, ..., :1].numel()
    return zero_padding(hidden_states, mask).sum(axes, keepdim=True) / counts


def compute_statistics(
    hidden_states: torch.Tensor, mask: torch.Tensor | None, *, unbiased: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance over the frames of each clip of (batch, channels, frames), both (batch, channels, 1)."""
    mean = average_frames(hidden_states, mask)
    squares = zero_padding((hidden_states - mean).square(), mask).sum(-1, keepdim=True)
    count = hidden_states.shape[-1] if mask is None else mask.sum(1)[:, None, None]
    return mean, squares / (count - 1 if unbiased else count)


def reflect_frames(hidden_states: torch.Tensor, amount: int, mask: torch.Tensor | None) -> torch.Tensor:
    """(batch, channels, frames + 2 * amount): each clip mirrored at its first and at its own last frame."""
    if amount == 0 or mask is None:
        return torch.nn.functional.pad(hidden_states, (amount, amount), mode="reflect") if amount else hidden_states
    position = torch.arange(-amount, hidden_states.shape[-1] + amount, device=mask.device).abs()
    last = mask.sum(1, keepdim=True) - 1
    position = torch.where(position > last, 2 * last - position, position).clamp(min=0)  # behind both: anything
    return hidden_states.gather(-1, position[:, None].expand(-1, hidden_states.shape[1], -1))


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or in float64 if it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _spread(mask: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    """The mask in the form and type of what it multiplies."""
    return mask.reshape(mask.shape[0], *[1] * (hidden_states.ndim - 2), -1).to(hidden_states.dtype)


__all__ = ["average_frames", "compute_statistics", "make_mask", "reflect_frames", "widen", "zero_padding"]
