"""A video as frames that are looked at, each with the window of sound around it, in bounded memory."""

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from avzoo.pipelines.shared.image_sound import SHORTEST_SECONDS
from avzoo.video.reading import VideoReader
from avzoo.video.sound_chunks import SoundChunks
from avzoo.video.soundtrack import sample_index

_BLOCK_BYTES = 64_000_000  # of frames that are decoded at once
_CHUNK_SECONDS = 60


class FrameWithSound(NamedTuple):
    """A frame, and where its sound begins.

    Args:
        index: of the frame, at the video's own rate.
        picture: what `prepare` made of it.
        first_sample: of the window; frames with equal ones share it.
    """

    index: int
    picture: Any
    first_sample: int


class WindowedVideo:
    """Every k-th frame of a video, and the sound around each.

    Frames are counted at the video's own rate (the average of a variable one); frame i is shown from i / fps on. The
    window of a frame has the time of the frame in its middle. Windows that would begin before the video or end after
    its last frame are moved to lie within; in a video shorter than a window the sound is repeated from its beginning,
    or zeros follow.
    Where the sound track ends before the picture, zeros follow; what is heard after the last frame is left out. The
    sound is the mean of its channels.

    Args:
        reader: of a video with sound.
        frames_per_second: that are looked at; every k-th frame is, k the nearest whole number.
        sampling_rate: Hz. window: samples.
        repeat: what is shorter than a window is repeated; False: zeros follow.

    Attributes:
        step: k.
        num_frames: of the video; None until its end is reached.
    """

    def __init__(
        self, reader: VideoReader, frames_per_second: float, sampling_rate: int, window: int, repeat: bool = True
    ):
        self.reader, self.rate, self.window, self.repeat = reader, sampling_rate, window, repeat
        self.step = max(1, math.floor(reader.fps / Fraction(frames_per_second) + Fraction(1, 2)))
        self.num_frames: int | None = None
        self._sound = SoundChunks(reader, sampling_rate, fps=1)
        self._sound.chunk_frames = _CHUNK_SECONDS

    def iterate(self, prepare: Any) -> Iterator[FrameWithSound]:
        """The frames that are looked at, in order, as soon as their windows are known.

        Args:
            prepare: makes of a frame (height, width, 3) uint8 what is kept of it until then.

        Raises:
            ValueError: a video shorter than 0.1 s; what reading raises.
        """
        info = self.reader.info
        block_frames = max(1, min(32, _BLOCK_BYTES // (info.height * info.width * 3)))
        waiting: deque[tuple[int, Any]] = deque()
        position = 0
        for block in self.reader.frames(block_frames=block_frames):
            for place in range(-position % self.step, len(block), self.step):
                waiting.append((position + place, prepare(block[place])))
            position += len(block)
            known = self._sample(position)
            while waiting and max(self._centre(waiting[0][0]), 0) + self.window <= known:
                index, picture = waiting.popleft()
                yield FrameWithSound(index, picture, max(self._centre(index), 0))
        self.num_frames = position
        if position / self.reader.fps < SHORTEST_SECONDS:
            raise ValueError(
                f"`video` is too short: {float(position / self.reader.fps):.3f} s, at least {SHORTEST_SECONDS} s of "
                'sound are needed. For a picture and a sound pass {"image": ..., "audio": ...}.'
            )
        latest = max(0, self._sample(position) - self.window)
        for index, picture in waiting:
            yield FrameWithSound(index, picture, min(max(self._centre(index), 0), latest))

    def read_window(self, first_sample: int) -> np.ndarray:
        """(window,) float32 of sound."""
        stop = first_sample + self.window
        if self.num_frames is not None:
            stop = min(stop, self._sample(self.num_frames))
        first_second = first_sample // self.rate
        samples = self._sound.between(first_second, -(-stop // self.rate))
        samples = samples[first_sample - first_second * self.rate : stop - first_second * self.rate]
        if self.repeat:
            return np.resize(samples, self.window)
        return np.pad(samples, (0, self.window - len(samples)))

    def find_seconds(self, index: int) -> float:
        """When a frame begins; of the one behind the last, when the video ends."""
        return float(index / self.reader.fps)

    def _sample(self, index: int) -> int:
        return sample_index(index / self.reader.fps, self.rate)

    def _centre(self, index: int) -> int:
        """First sample of the window around a frame, if nothing stood in its way."""
        return self._sample(index) - self.window // 2


__all__ = ["FrameWithSound", "WindowedVideo"]
