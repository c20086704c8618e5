"""A video in memory (frames at a constant rate with their sound), and the properties of one before reading it."""

import math
import numbers
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from avzoo.video.joins import Join

FASTEST = 1000  # frames per second; high-speed cameras' files end there


@dataclass(eq=False)
class Video:
    """Frames and their sound, on one clock.

    Args:
        frames: (frames, height, width, 3), uint8 RGB; frame i is shown from i / fps.
        fps: frames per second.
        audio: (samples,), float32, mono; sample j belongs to j / sampling_rate. None without a sound track.
        sampling_rate: of `audio`, Hz; None without a sound track.
    """

    frames: np.ndarray
    fps: float
    audio: np.ndarray | None = None
    sampling_rate: int | None = None

    @property
    def duration(self) -> float:
        """Seconds of its frames."""
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video.

    Args:
        height, width: pixels of a frame as it is shown: upright, and its pixels square.
        fps: frames per second; for a variable rate, the average.
        duration: seconds from the first frame to the end of the last, as the file states it; None if it doesn't.
        codec, pixel_format: FFmpeg's names, "h264" and "yuv420p"; "array" and "rgb24" for frames in memory.
        rotation: degrees that the stored picture is turned clockwise to be shown: 0, 90, 180 or 270. Done already in
            the frames that you read.
        sampling_rate: Hz of the sound track; None without one.
        channels: of the sound track; 0 without one.
        metadata: the file's tags, such as "title" and "comment".
        origin: seconds from the file's own beginning, where players start to count, to its first picture, where this
            package does; above 0 where sound begins first.
        video_track, audio_track: numbers of the tracks that are read, from 1 on; no `audio_track` without sound.
        audio_tracks: how many sound tracks there are.
        joins: where time stamps begin anew or jump, see [`avzoo.video.joins`]; there the clock goes on without a gap.
    """

    height: int
    width: int
    fps: float
    duration: float | None
    codec: str
    pixel_format: str
    rotation: int = 0
    sampling_rate: int | None = None
    channels: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    origin: float = 0.0
    video_track: int = 1
    audio_track: int | None = None
    audio_tracks: int = 0
    joins: tuple[Join, ...] = ()


def check_fps(value: object, argument: str) -> Fraction:
    """`value` as frames per second: 29.97 stays 29.97, 30000 / 1001 becomes the exact fraction.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive, not finite, or above 1000.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{argument}` must be a number of frames per second, got {value!r}.")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"`{argument}` must be a positive number of frames per second, got {value!r}.")
    fps = Fraction(value).limit_denominator(1_001_000)  # FFmpeg's bound for rates given as decimals
    if not 0 < fps <= FASTEST:
        raise ValueError(f"`{argument}` must be at most {FASTEST} frames per second, got {value!r}.")
    return fps
