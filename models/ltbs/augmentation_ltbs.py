"""Mouths as they vary in training: shifted, mirrored, interrupted, partly hidden.

As choijeongsoo/lip2speech-unit@0c96388 and YangKangJNU/LTBS@6c977e1 mean it; the latter's code hides everything right
of and below a corner instead of a rectangle. What is hidden gets the mean grey, which the network sees as 0.
"""

import math

import torch

from avzoo.checks import check_number, check_whole_number


def augment_mouths(
    mouths: torch.Tensor,
    generator: torch.Generator,
    *,
    crop_size: int = 88,
    flip_probability: float = 0.5,
    most_masked: int = 10,
    frame_rate: int = 25,
    erase_probability: float = 0.5,
    grey: int = 107,
) -> torch.Tensor:
    """One clip, changed at random: the same cut, mirroring and rectangle in all of its frames.

    In each second a span of frames is hidden, from 0 to `most_masked` long, and in some clips a rectangle of 2 to 33 %
    of the area, 0.3 to 3.3 times as high as wide.

    Args:
        mouths: (frames, rows, columns) uint8, of [`LTBSProcessor.read_mouths`].
        generator: of all draws.
        crop_size: side of the cut.
        most_masked: frames; 0 hides none.
        grey: level of what is hidden: the network's `pixel_mean` times 255.

    Returns:
        (frames, crop_size, crop_size) uint8; `mouths` is not changed.

    Raises:
        TypeError: not uint8. ValueError: another shape, pictures smaller than the cut, a probability beyond [0, 1].
    """
    if not isinstance(mouths, torch.Tensor) or mouths.dtype != torch.uint8:
        got = mouths.dtype if isinstance(mouths, torch.Tensor) else type(mouths).__name__
        raise TypeError(f"`mouths` must be a uint8 tensor, got {got}.")
    if mouths.ndim != 3 or min(mouths.shape[1:]) < crop_size or not len(mouths):
        raise ValueError(f"`mouths` must be (frames, {crop_size} or more, as many), got {tuple(mouths.shape)}.")
    for name, value in {"flip_probability": flip_probability, "erase_probability": erase_probability}.items():
        check_number(name, value, at_least=0, at_most=1)
    check_whole_number("most_masked", most_masked, at_least=0)
    top, left = (_draw_below(side - crop_size + 1, generator) for side in mouths.shape[1:])
    clip = mouths[:, top : top + crop_size, left : left + crop_size].clone()
    if _draw_share(generator) < flip_probability:
        clip = clip.flip(-1)
    for _ in range(-(-len(clip) // frame_rate)):
        length = min(_draw_below(most_masked + 1, generator), len(clip))
        start = _draw_below(len(clip) - length + 1, generator)
        clip[start : start + length] = grey
    if _draw_share(generator) < erase_probability:
        first_row, first_column, rows, columns = draw_rectangle(crop_size, generator)
        clip[:, first_row : first_row + rows, first_column : first_column + columns] = grey
    return clip


def draw_rectangle(size: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a rectangle in a square: 2 to 33 % of its area, 0.3 to 3.3 times as high as wide.

    Shapes that don't fit are drawn again.
    """
    low, high = math.log(0.3), math.log(3.3)
    while True:
        area = size * size * (0.02 + (0.33 - 0.02) * _draw_share(generator))
        ratio = math.exp(low + (high - low) * _draw_share(generator))
        rows, columns = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if rows <= size and columns <= size:
            return _draw_below(size - rows + 1, generator), _draw_below(size - columns + 1, generator), rows, columns


def _draw_share(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _draw_below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


__all__ = ["augment_mouths", "draw_rectangle"]
