"""Long clips in windows: where they lie, and how what was made of them is joined."""

import math
from collections.abc import Sequence

import torch


def lay_windows(num_frames: int, window: int, overlap: int) -> list[int]:
    """First frames of the fewest windows of one length that cover a clip and share `overlap` frames or a few more."""
    if num_frames <= window:
        return [0]
    count = math.ceil((num_frames - overlap) / (window - overlap))
    return [round(index * (num_frames - window) / (count - 1)) for index in range(count)]


def join_windows(pieces: Sequence[torch.Tensor], starts: Sequence[int], overlap: int) -> torch.Tensor:
    """Pieces (clips, frames, ...) of one length as one clip, faded into each other where they lie together.

    Args:
        starts: first frame of each piece, the first one's is 0.
        overlap: frames of a fade.
    """
    length = pieces[0].shape[1]
    places = torch.arange(1, length + 1, device=pieces[0].device)
    rise = (places / (overlap + 1)).clamp(max=1).to(pieces[0].dtype)
    shape = (pieces[0].shape[0], starts[-1] + length, *pieces[0].shape[2:])
    total, weights = pieces[0].new_zeros(shape), pieces[0].new_zeros(shape[1])
    for index, (piece, start) in enumerate(zip(pieces, starts, strict=True)):
        weight = torch.ones_like(rise)
        if index > 0:
            weight = weight * rise
        if index < len(pieces) - 1:
            weight = weight * rise.flip(0)
        here = slice(start, start + length)
        total[:, here] += piece * weight.view(-1, *[1] * (piece.ndim - 2))
        weights[here] += weight
    return total / weights.view(-1, *[1] * (total.ndim - 2))


__all__ = ["join_windows", "lay_windows"]
