"""Where a video was cut: the rule of PySceneDetect's content detector, computed here.

Facts: Breakthrough/PySceneDetect@131c5f6 (detectors/content_detector.py, detector.py, scene_manager.py) and the older
releases that the published preparation scripts used.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from avzoo.video.detection import check_frames
from avzoo.video.resizing import resize_as_opencv, to_hsv

_WIDTH = 256  # pixels; wider frames are scaled down, which also calms noise and grain


def detect_shots(
    blocks: Iterable[np.ndarray], *, threshold: float = 27.0, min_frames: int = 15
) -> list[tuple[int, int]]:
    """Detect the shots of a video.

    A cut is a frame that differs from the one before by at least `threshold`: the mean of the absolute differences in
    hue, saturation and value (0..179, 0..255, 0..255), over all pixels. Slow fades and dissolves stay below it
    and are not cut. A flash can be taken for a cut, as any sudden change.

    Args:
        blocks: (frames, height, width, 3) uint8 RGB each, as `avzoo.video.iter_video` yields them; one array of all
            frames is a block, too.
        threshold: mean difference of a cut. Lower finds more.
        min_frames: a change within so many frames after the last cut (or the beginning) is no cut.

    Returns:
        (first, stop) frames of each shot, in order and without gaps: the next begins where one stops. Empty for a video
        without frames.

    Raises:
        TypeError: a block that is not uint8.
        ValueError: a block of another shape or size than those before; `min_frames` below 1.
    """
    if min_frames < 1:
        raise ValueError(f"`min_frames` must be at least 1, got {min_frames}.")
    begin, count, shots = 0, 0, []
    for difference in frame_differences(blocks):
        if difference >= threshold and count - begin >= min_frames:
            shots.append((begin, count))
            begin = count
        count += 1
    return [*shots, (begin, count)] if count else []


def frame_differences(blocks: Iterable[np.ndarray]) -> Iterator[float]:
    """How much each frame differs from the one before, 0 to 230; 0 for the first. Arguments and errors as above."""
    last: np.ndarray | None = None
    size = None
    for block in [blocks] if isinstance(blocks, np.ndarray) else blocks:
        for frame in check_frames(block):
            if size not in (None, frame.shape):
                raise ValueError(
                    f"`blocks` change size from {size[1]} x {size[0]} to {frame.shape[1]} x {frame.shape[0]}."
                )
            size = frame.shape
            hsv = to_hsv(_shrink(frame)).astype(np.int16)
            yield 0.0 if last is None else float(np.abs(hsv - last).mean())
            last = hsv


def _shrink(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if width <= _WIDTH:
        return frame
    return resize_as_opencv(frame, max(1, round(height * _WIDTH / width)), _WIDTH)


__all__ = ["detect_shots"]
