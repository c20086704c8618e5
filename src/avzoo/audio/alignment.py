"""Feature rows in step with video frames: the way of TalkNet and LoCoNet, four rows per frame at any frame rate.

Not the features are stretched but the frames they are made of: window and hop are those of 25 fps times 25 / fps.
Hops are whole samples, so rows drift at rates that don't divide: 133 samples instead of 133.33 at 30 fps, 25 ms in ten
seconds. Video resampled to 25 fps has none of it.
"""

import math

import torch


def scale_frame_sizes(sampling_rate: int, fps: float) -> tuple[float, float]:
    """Window and hop, 25 ms and 10 ms at 25 fps, in samples; each feature rounds them in its own way.

    Raises:
        ValueError: `sampling_rate` or `fps` isn't positive and finite.
    """
    for name, value in (("sampling_rate", sampling_rate), ("fps", fps)):
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {value}.")
    return sampling_rate * (0.025 * 25.0 / fps), sampling_rate * (0.010 * 25.0 / fps)


def check_frame_sizes(window_size: int, hop_size: int, sampling_rate: int, fps: float) -> None:
    """Raise ValueError if the frame rate is so high that a window or hop has no whole sample."""
    if window_size < 2 or hop_size < 1:
        raise ValueError(
            f"`fps` ({fps}) leaves a window of {window_size} and a hop of {hop_size} samples at `sampling_rate` "
            f"{sampling_rate}; at least 2 and 1 are needed."
        )


def align_to_video(rows: torch.Tensor, num_frames: int, rows_per_frame: int = 4) -> torch.Tensor:
    """Exactly `rows_per_frame` rows for each video frame: frame t owns rows 4 t to 4 t + 3.

    Surplus rows are cut. Missing ones are taken from the START of the clip, again and again if need be: that is what
    the released models saw in training. At 25 fps and 640 samples per frame the last two rows of
    [`vggish_log_mel`] and the last one of [`speech_features_mfcc`] are such copies.
    Source: kaistmm/TalkNCE@8666642 (`torchvggish/vggish_input.py`), TaoRuijie/TalkNet-ASD@6d68214 (`dataLoader.py`).

    Args:
        rows: (..., rows, features), at least one row.
        num_frames: video frames of the clip.

    Returns:
        (..., rows_per_frame * num_frames, features).

    Raises:
        ValueError: no rows, or a count below 1.
    """
    if rows.ndim < 2 or rows.shape[-2] == 0:
        raise ValueError(f"`rows` must be (..., rows, features) with at least one row, got {tuple(rows.shape)}.")
    if num_frames < 1 or rows_per_frame < 1:
        raise ValueError(f"`num_frames` ({num_frames}) and `rows_per_frame` ({rows_per_frame}) must be at least 1.")
    wanted = torch.arange(num_frames * rows_per_frame, device=rows.device)
    return rows.index_select(-2, wanted % rows.shape[-2])
