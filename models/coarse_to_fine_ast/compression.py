"""Compress spectrograms in time by a factor, and compute the compressed lengths.

There are three methods. None changes the mel bins:

- "frame_shift": features are computed every 10 ms * factor. With a whole factor these are exactly every factor-th
  frame of the 10 ms features, because each frame covers its own 25 ms only. Sound between the windows is lost.
- "pooling": maximum or mean of each `factor` consecutive frames; a remainder is dropped.
- "patchify": the features are unchanged, the patches become `factor` times as long.

Sources: the summary of arXiv 2401.08415 for the three, `dataloader.py` of JiuFengSC/ElasticAST@da75493 (the same
authors) for frame shift, max pooling and lengths. Mean pooling is not in their code.
"""

from typing import Literal, get_args

import torch

from avzoo.checks import check_choice, check_number

TemporalCompression = Literal["frame_shift", "pooling", "patchify"]
Pooling = Literal["max", "mean"]

FRAME_SHIFT_MS = 10  # of the full resolution


def parse_factor(
    temporal_compression: str, factor: float, patch_frames: int | None = None, pooling: str = "max"
) -> int | float:
    """Check a compression factor and return it as an int if it is whole, else as a float.

    Args:
        patch_frames: length of the patch at full resolution; times `factor` it must be whole for "patchify". None: not
            checked.

    Raises:
        TypeError: `factor` is no number.
        ValueError: the method is unknown, or cannot compress by `factor`.
    """
    check_choice("temporal_compression", temporal_compression, get_args(TemporalCompression))
    check_choice("pooling", pooling, get_args(Pooling))
    check_number("compression_factor", factor, at_least=1)
    unit, per_factor, what = {
        "frame_shift": ("ms", FRAME_SHIFT_MS, "the step between frames"),
        "pooling": ("frames", 1, "the group that is pooled"),
        "patchify": ("frames", patch_frames, "the patch"),
    }[temporal_compression]
    if per_factor is not None and not _is_whole(per_factor * factor):
        raise ValueError(
            f"`compression_factor` {factor} is impossible with `temporal_compression` {temporal_compression!r}: {what} "
            f"would be {per_factor * factor:g} {unit} long, and must be a whole number of them."
        )
    return round(factor) if _is_whole(factor) else float(factor)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-9 * value  # 7 * (29 / 7) is not quite 29


def compress_length(max_length: int, temporal_compression: str, factor: float, multiple: int = 16) -> int:
    """Compute the frames of an input in a phase: `max_length` / factor, rounded down to a multiple of `multiple`.

    At full resolution, and for "patchify", this is `max_length`.

    Raises:
        ValueError: less than one patch is left.
    """
    is_unchanged = temporal_compression == "patchify" or factor == 1
    frames = max_length if is_unchanged else int(max_length / factor) // multiple * multiple
    patch = round(multiple * factor) if temporal_compression == "patchify" else multiple
    if frames < patch:
        left = max_length if is_unchanged else int(max_length / factor)
        raise ValueError(
            f"`compression_factor` {factor} leaves {left} of `max_length` {max_length} frames, less than one patch of "
            f"{patch}. Use a smaller factor, or longer inputs."
        )
    return frames


def compress_frames(
    log_mel: torch.Tensor, temporal_compression: TemporalCompression, factor: float, pooling: Pooling = "max"
) -> torch.Tensor:
    """Compress full-resolution features (..., frames, num_mel_bins) to the resolution of a phase.

    The features must be unpadded and may be normalised: normalising commutes with maximum and mean. For "patchify" they
    are returned unchanged.

    Raises:
        ValueError: the factor is not whole (the waveform is needed then), or no frame is left.
    """
    if temporal_compression == "patchify" or factor == 1:
        return log_mel
    if not float(factor).is_integer():
        raise ValueError(
            f"`compression_factor` {factor}: features can be compressed by whole factors only. For others compute "
            "them from the waveform with the feature extractor."
        )
    factor = int(factor)
    if temporal_compression == "frame_shift":
        return log_mel[..., ::factor, :]
    groups = log_mel.shape[-2] // factor
    if not groups:
        raise ValueError(f"`compression_factor` {factor} pools more than the {log_mel.shape[-2]} frames of the input.")
    grouped = log_mel[..., : groups * factor, :].unflatten(-2, (groups, factor))
    return grouped.amax(-2) if pooling == "max" else grouped.mean(-2)


def compress_num_frames(num_frames: torch.Tensor, temporal_compression: str, factor: int) -> torch.Tensor:
    """Compute how many frames [`compress_frames`] leaves of clips of `num_frames` (batch,) frames."""
    if temporal_compression == "patchify" or factor == 1:
        return num_frames
    return num_frames // factor if temporal_compression == "pooling" else (num_frames + factor - 1) // factor
