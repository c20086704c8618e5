"""Masks of clips that are padded at their end."""

import torch


def count_frames(attention_mask: torch.Tensor) -> torch.Tensor:
    """Count the frames of each clip, (batch,), in a (batch, frames) mask that has its padding at the end.

    Raises:
        ValueError: a 1 follows a 0, or a clip has no frame. A mask on a GPU is not checked, because reading it would
            wait for all work queued there; nor is one in a graph that is being compiled or exported.
    """
    mask = attention_mask.bool()
    if mask.device.type == "cpu" and not torch.compiler.is_compiling():
        if (mask[:, 1:] & ~mask[:, :-1]).any():
            raise ValueError("`attention_mask` must mark padding only at the end of a clip, but a 1 follows a 0.")
        if not mask[:, 0].all():
            raise ValueError("`attention_mask` has a clip with no frame; at least its first must be a 1.")
    return mask.sum(dim=1).clamp(min=1)  # where it is not checked, a clip without a frame must not divide by zero
