"""A video's sound in chunks, so that memory does not grow with its length."""

from fractions import Fraction

import numpy as np

from avzoo.video.reading import VideoReader
from avzoo.video.soundtrack import sample_index
from avzoo.video.video import check_fps


class SoundChunks:
    """The sound of a video by frame numbers, for access in about the order of time: the last few chunks are kept.

    Args:
        reader: of a video with sound.
        sampling_rate: Hz.
        fps: rate at which frames are counted.
        keep: how many chunks stay in memory.
    """

    chunk_frames = 1500  # a minute at 25 frames per second

    def __init__(self, reader: VideoReader, sampling_rate: int, fps: float, keep: int = 3):
        self.reader, self.sampling_rate, self.fps, self.keep = reader, sampling_rate, check_fps(fps, "fps"), keep
        self.chunks: dict[int, np.ndarray] = {}

    def between(self, first_frame: int, stop_frame: int) -> np.ndarray:
        """Return the sound from one frame to before another, (samples,); zeros where the track has ended."""
        first_chunk = first_frame // self.chunk_frames
        numbers = range(first_chunk, (stop_frame - 1) // self.chunk_frames + 1)
        samples = np.concatenate([self.chunk(number) for number in numbers])
        origin = self._sample(first_chunk * self.chunk_frames)
        return samples[self._sample(first_frame) - origin : self._sample(stop_frame) - origin]

    def chunk(self, number: int) -> np.ndarray:
        """Read a chunk, or take it from those that are kept."""
        if number not in self.chunks:
            start, end = (Fraction(n * self.chunk_frames) / self.fps for n in (number, number + 1))
            self.chunks[number], _ = self.reader.soundtrack(self.sampling_rate, start=start, end=end)
            for old in sorted(self.chunks)[: -self.keep]:
                if old != number:
                    del self.chunks[old]
        return self.chunks[number]

    def _sample(self, frame: int) -> int:
        return sample_index(Fraction(frame) / self.fps, self.sampling_rate)
