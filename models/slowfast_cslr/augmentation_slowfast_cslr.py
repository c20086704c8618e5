"""Augmentation of a clip of signing for training: another length, another cut, mirrored.

    draw = draw_clip_changes(num_frames=142, height=256, width=256, generator=generator)
    clip = draw.apply(frames)                                       # (144, 224, 224, 3), say

Source: kaistmm/SlowFastSign@37d1b6c23a7aa4df63d27d7111391a43e7810d55 (`dataset/dataloader_video.py`).
"""

from dataclasses import dataclass

import numpy as np
import torch

from avzoo.checks import check_number, check_whole_number
from avzoo.data.draws import draw_uniform, draw_whole_number

SHORTEST, LONGEST = 32, 230  # frames after rescaling, before they are rounded up to a multiple of 4
ALPHA = 4  # frames of the fast pathway for one of the slow


def rescale_length(num_frames: int, draw: float, *, strength: float = 0.2, at_least: int = 1) -> int:
    """Frames of a clip after temporal rescaling, a multiple of 4.

    n = int(num_frames * (1 - strength + 2 * strength * draw)), at least 32, at most 230, rounded up to a multiple of 4.

    Args:
        num_frames: of the clip.
        draw: uniform in [0, 1).
        strength: a clip becomes shorter or longer by this share at most.
        at_least: frames that the clip needs for its labels, which may exceed 230.

    Raises:
        TypeError, ValueError: an argument out of its range.
    """
    check_whole_number("num_frames", num_frames, at_least=1)
    check_number("draw", draw, at_least=0, below=1)
    check_number("strength", strength, at_least=0, below=1)
    low, high = 1.0 - strength, 1.0 + strength  # in this form the product rounds as the authors' does
    length = int(num_frames * (low + (high - low) * draw))
    length = max(min(max(length, SHORTEST), LONGEST), at_least)
    return -(-length // ALPHA) * ALPHA


def draw_frames(num_frames: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Draw `length` of a clip's frames, in order: each once at most if there are enough, else with repetition.

    Returns:
        (length,) int64, rising.
    """
    if length <= num_frames:
        chosen = torch.randperm(num_frames, generator=generator)[:length]
    else:
        chosen = torch.randint(num_frames, (length,), generator=generator)
    return chosen.sort().values


@dataclass(frozen=True)
class ClipChanges:
    """What is done to every frame of a clip alike.

    Args:
        frames: (length,) numbers of the frames to take, in order.
        top, left, height, width: of the cut, pixels.
        mirror: swap left and right.
    """

    frames: torch.Tensor
    top: int
    left: int
    height: int
    width: int
    mirror: bool

    def apply(self, clip: np.ndarray) -> np.ndarray:
        """(frames, rows, columns, 3) to (length, height, width, 3) of the same type."""
        return self.cut(clip[self.frames.numpy()])

    def cut(self, clip: np.ndarray) -> np.ndarray:
        """Cut and mirror frames, without choosing among them."""
        cut = clip[:, self.top : self.top + self.height, self.left : self.left + self.width]
        return np.ascontiguousarray(cut[:, :, ::-1] if self.mirror else cut)


def draw_clip_changes(
    num_frames: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    crop_size: int = 224,
    strength: float = 0.2,
    mirror_share: float = 0.5,
    at_least: int = 1,
) -> ClipChanges:
    """Draw the changes of one clip: its frames, a random cut of `crop_size` pixels, and whether it is mirrored.

    A side that is shorter than the cut is kept whole, as in evaluation; the authors pad it with black.

    Args:
        num_frames, height, width: of the clip.
        generator: on the CPU.
        crop_size: pixels.
        strength: of temporal rescaling, see [`rescale_length`]; 0 keeps all frames as they are.
        mirror_share: of the clips that are mirrored.
        at_least: frames that the clip needs for its labels.

    Raises:
        TypeError, ValueError: an argument out of its range.
    """
    check_number("mirror_share", mirror_share, at_least=0, at_most=1)
    check_whole_number("crop_size", crop_size, at_least=1)
    frames = torch.arange(num_frames)
    if strength:
        draw = draw_uniform(0.0, 1.0, generator)
        length = rescale_length(num_frames, draw, strength=strength, at_least=at_least)
        frames = draw_frames(num_frames, length, generator)
    rows, columns = min(crop_size, height), min(crop_size, width)
    top = draw_whole_number(height - rows + 1, generator)
    left = draw_whole_number(width - columns + 1, generator)
    mirror = draw_uniform(0.0, 1.0, generator) < mirror_share
    return ClipChanges(frames, top, left, rows, columns, mirror)


__all__ = [
    "ALPHA",
    "ClipChanges",
    "draw_clip_changes",
    "draw_frames",
    "rescale_length",
]
