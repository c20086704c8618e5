"""Video in: frames at a constant rate and the sound that belongs to them, from whatever holds them.

The clock of a video starts at its first frame, in the order of showing, whatever its time stamps begin with. A frame is
shown until the next one. At the rate `fps`, frame i of the result shows the latest frame of the source whose time t has
round(t * fps) <= i, halves rounded up: sources of another rate, or of a variable one, have frames repeated or left
out by their time stamps. The number of frames is round(duration * fps), at least one. This is FFmpeg's filter `fps`
in its default setting (`round=near`), on time stamps that begin at 0.

Sound sample j belongs to the time j / sampling_rate: a track that begins late is preceded by zeros, one that begins
early is cut, gaps in its time stamps are zeros.

Frames are upright (the rotation and mirroring a file asks for are done) and have square pixels (a file that asks for
others gets its width stretched). Where the shape of the pictures changes midway, the later ones get black bars.
Interlaced pictures stay as they are, and so do the tones of HDR. What is damaged or missing is left out with a warning
where the decoder notices, or refused ([`avzoo.audio.ReadingOptions`]).
"""

import math
import numbers
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from fractions import Fraction
from typing import Any

import numpy as np

from avzoo.audio.reading_options import read_with
from avzoo.audio.resampling import check_rate
from avzoo.video.conversion import LONGEST_SIDE, RgbConverter
from avzoo.video.sources import open_source
from avzoo.video.video import Video, VideoInfo, check_fps


def probe_video(source: Any, *, source_fps: float | None = None, name: str = "video") -> VideoInfo:
    """Read size, rate, duration and codecs of a video; only its first frame is decoded.

    Args and errors as for [`read_video`].
    """
    return VideoReader(source, source_fps=source_fps, name=name).info


def read_video(
    source: Any,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
    sampling_rate: int | None = None,
    source_fps: float | None = None,
    name: str = "video",
) -> Video:
    """A video in memory: frames at a constant rate, and the sound that belongs to them.

    Args:
        source: one of
            - a path (`str` or `os.PathLike`) of a video file of any kind; a still picture is a video of one frame;
            - the `bytes` of such a file, or a binary file object, read from where it stands and left open;
            - uint8 frames with `source_fps`: an array or tensor, (frames, height, width, 3), (frames, 3, height,
              width) or (frames, height, width), or a list of such frames or PIL images of one size;
            - a row of `datasets`: {"path", "bytes"} or a decoder; or a [`Video`].
        fps: frames per second, a number or `Fraction`. None keeps the source's (of a variable rate, the average).
        size: (height, width) to scale to, the aspect ratio being yours to keep. None keeps the source's.
        start, end: seconds on the video clock, rounded to whole frames. An `end` after the last frame is the end.
        sampling_rate: of the sound, Hz. None keeps the track's. Without a sound track, `audio` is None.
        source_fps: rate of frames given in memory. Files carry their own and ignore it.
        name: what error messages call the source.

    Raises:
        OSError: the file isn't there or can't be opened (`FileNotFoundError`, `IsADirectoryError`, ...).
        MemoryError: the frames would need more than the machine has.
        TypeError: the source is none of the above, or not uint8; an argument is no number.
        ValueError: not a video, no video stream, no frames, damaged or cut short, frames without their rate; an
            argument out of its range, among them a `start` after the end.
    """
    reader = VideoReader(source, source_fps=source_fps, name=name)
    if sampling_rate is not None:
        sampling_rate = check_rate(sampling_rate, "sampling_rate")
    fps, first, _ = reader._frame_range(fps, start, end)
    frames = reader.read(fps, size, start=start, end=end)
    if reader.info.sampling_rate is None:
        return Video(frames, float(fps))
    # Sound begins with the first frame, not where that was asked for.
    audio, rate = reader.soundtrack(sampling_rate, start=first / fps, end=(first + len(frames)) / fps)
    return Video(frames, float(fps), audio, rate)


def iter_video(
    source: Any,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    *,
    block_frames: int = 32,
    start: float = 0.0,
    end: float | None = None,
    source_fps: float | None = None,
    name: str = "video",
) -> Iterator[np.ndarray]:
    """The same frames as [`read_video`], block by block, in memory bounded by the block.

    Args:
        block_frames: frames per block; the last block may hold fewer.
        The rest as for [`read_video`].

    Yields:
        (block_frames, height, width, 3), uint8 RGB; every block is the caller's own.

    Raises:
        What [`read_video`] raises: for arguments and missing files at the call, for what is wrong further inside a
        file when the blocks reach it.
    """
    reader = VideoReader(source, source_fps=source_fps, name=name)
    return reader.frames(fps, size, start=start, end=end, block_frames=block_frames)


class VideoReader:
    """Random access to a video: its frames and sound from any time on equal those of reading it from the beginning.

    A seek goes to the last picture before that time that is stored whole, and decodes from there. Every call opens the
    file anew and closes it, also when an iterator is left early; calls may overlap and come from several threads.

    Args:
        source, source_fps, name: as for [`read_video`].
        strict: a file that is damaged or cut short is an error, as for data that is to be trained on. None: as
            [`avzoo.audio.read_with`] says, else what is damaged is left out with a warning.

    Attributes:
        info: what the video says about itself, [`VideoInfo`].
        fps: its own rate, as a fraction.
    """

    def __init__(
        self, source: Any, *, source_fps: float | None = None, name: str = "video", strict: bool | None = None
    ):
        with nullcontext() if strict is None else read_with(strict=strict):
            self._source = open_source(source, source_fps, f"`{name}`")
        self.info: VideoInfo = self._source.info
        self.fps: Fraction = self._source.fps

    def frames(
        self,
        fps: float | None = None,
        size: tuple[int, int] | None = None,
        *,
        start: float = 0.0,
        end: float | None = None,
        block_frames: int = 32,
    ) -> Iterator[np.ndarray]:
        """Blocks of frames, as [`iter_video`] gives them."""
        if isinstance(block_frames, bool) or not isinstance(block_frames, numbers.Integral) or block_frames < 1:
            raise ValueError(f"`block_frames` must be a positive whole number, got {block_frames!r}.")
        span = self._frame_range(fps, start, end)
        return self._iter_blocks(span, self._check_size(size), int(block_frames))

    def read(
        self,
        fps: float | None = None,
        size: tuple[int, int] | None = None,
        *,
        start: float = 0.0,
        end: float | None = None,
    ) -> np.ndarray:
        """All frames at once, (frames, height, width, 3), as [`read_video`] gives them."""
        span, size = self._frame_range(fps, start, end), self._check_size(size)
        fps, first, stop = span
        if stop is None:
            expected = round((self.info.duration or 0) * fps) + 1 - first
        else:
            expected = stop - first
            if self.info.duration is not None:
                expected = min(expected, round(self.info.duration * fps) + 1 - first)
        frames = self._allocate_frames(max(expected, 1), size)
        count = 0
        convert = RgbConverter(*size, self._source.orientation, self._source.stored_size)
        for picture, times in self._select_pictures(*span):
            if count + times > len(frames):
                more = self._allocate_frames(max(count + times, 2 * len(frames)), size)
                more[:count] = frames[:count]
                frames = more
            convert(picture, frames[count])
            frames[count + 1 : count + times] = frames[count]
            count += times
        return frames[:count]

    def count_frames(self, fps: float | None = None) -> int:
        """Number of frames at a rate, by decoding all of them, scaled down to 8 x 8 pixels.

        Args and errors as for `frames`.
        """
        return sum(len(block) for block in self.frames(fps, size=(8, 8)))

    def frame_at(self, seconds: float, size: tuple[int, int] | None = None) -> np.ndarray:
        """The frame that is shown at a time: the latest that began by then.

        Args:
            seconds: on the video clock.
            size: (height, width) to scale to.

        Returns:
            (height, width, 3), uint8 RGB.

        Raises:
            ValueError: the time is negative or after the last frame's end.
        """
        seconds = _check_seconds(seconds, "seconds")
        size = self._check_size(size)
        shown, end = None, Fraction(0)
        with closing(self._source.pictures(seconds)) as pictures:
            for time, duration, picture in pictures:
                if time > seconds:
                    break
                shown, end = picture, time + duration
            else:
                if shown is None or seconds >= end:
                    raise ValueError(
                        f"`seconds` ({float(seconds):g}) is not before the end of {self._source.label}, "
                        f"{float(end):g} s."
                    )
        frame = np.empty((*size, 3), np.uint8)
        RgbConverter(*size, self._source.orientation, self._source.stored_size)(shown, frame)
        return frame

    def soundtrack(
        self, sampling_rate: int | None = None, *, start: float = 0.0, end: float | None = None
    ) -> tuple[np.ndarray, int]:
        """The sound, mono, on the video clock.

        Args:
            sampling_rate: wanted rate, Hz. None keeps the track's.
            start, end: seconds on the video clock. None: to the end of the track, which may be before or after the
                last frame's. With an `end`, what the track lacks up to it is zero.

        Returns:
            (samples,), float32: sample j belongs to start + j / rate. And the rate, Hz.

        Raises:
            ValueError: no sound track, or a damaged one.
        """
        if sampling_rate is not None:
            sampling_rate = check_rate(sampling_rate, "sampling_rate")
        start, end = _check_range(start, end)
        return self._source.soundtrack(sampling_rate, start, end)

    def _frame_range(self, fps: float | None, start: float, end: float | None) -> tuple[Fraction, int, int | None]:
        """The rate, the index of the first frame, and the one after the last."""
        fps = self.fps if fps is None else check_fps(fps, "fps")
        start, end = _check_range(start, end)
        first, stop = round_half_up(start * fps), None if end is None else round_half_up(end * fps)
        if stop == first:
            raise ValueError(
                f"`start` ({float(start):g}) and `end` ({float(end):g}) hold no frame at {float(fps):g} per second."
            )
        return fps, first, stop

    def _check_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is None:
            return self.info.height, self.info.width
        sides = tuple(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) else ()
        if len(sides) != 2 or not all(isinstance(side, numbers.Integral) and side is not True for side in sides):
            raise TypeError(f"`size` must be (height, width), two whole numbers of pixels, got {size!r}.")
        if not all(1 <= side <= LONGEST_SIDE for side in sides):
            raise ValueError(f"`size` must be (height, width), each from 1 to {LONGEST_SIDE} pixels, got {size!r}.")
        return int(sides[0]), int(sides[1])

    def _allocate_frames(self, count: int, size: tuple[int, int]) -> np.ndarray:
        """Allocate an array of frames; MemoryError if it exceeds the physical memory."""
        height, width = size
        needed, there = count * height * width * 3, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > there:
            raise MemoryError(
                f"{self._source.label}: {count} frames of {height}x{width} take {needed / 1e9:.1f} GB, this machine "
                f"has {there / 1e9:.1f} GB; pass a smaller `size`, an `end`, or take blocks from `iter_video`."
            )
        return np.empty((count, height, width, 3), np.uint8)

    def _iter_blocks(self, span: tuple, size: tuple[int, int], block_frames: int) -> Iterator[np.ndarray]:
        convert = RgbConverter(*size, self._source.orientation, self._source.stored_size)
        block, filled = None, 0
        for picture, times in self._select_pictures(*span):
            frame = None
            for _ in range(times):
                if block is None:
                    block, filled = np.empty((block_frames, *size, 3), np.uint8), 0
                if frame is None:
                    convert(picture, block[filled])
                else:
                    block[filled] = frame
                frame = block[filled]
                filled += 1
                if filled == block_frames:
                    frame = frame.copy()  # the block is the caller's from here on
                    yield block
                    block = None
        if block is not None:
            yield block[:filled]

    def _select_pictures(self, fps: Fraction, first: int, stop: int | None) -> Iterator[tuple[Any, int]]:
        """Pictures of the source that frames in [first, stop) show, each with the number of those frames."""
        shown, end, position = None, Fraction(0), first
        with closing(self._source.pictures(first / fps)) as pictures:
            for time, duration, picture in pictures:
                begins = round_half_up(time * fps)
                upto = begins if stop is None else min(begins, stop)
                if shown is not None and upto > position:
                    yield shown, upto - position
                    position = upto
                if stop is not None and begins >= stop:
                    return
                shown, end = picture, time + duration
        upto = round_half_up(end * fps)
        if shown is None:
            upto = position
        elif not position:  # a video shorter than half a frame still has one
            upto = max(upto, 1)
        if stop is not None:
            upto = min(upto, stop)
        if upto > position:
            yield shown, upto - position
        elif position == first:
            raise ValueError(
                f"`start` ({float(first / fps):g} s) is not before the end of {self._source.label}, {float(end):g} s."
            )


def round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _check_seconds(value: object, argument: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{argument}` must be a number of seconds, got {value!r}.")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"`{argument}` must be a number of seconds from the first frame on, got {value!r}.")
    return Fraction(value).limit_denominator(1_000_000_000)


def _check_range(start: object, end: object) -> tuple[Fraction, Fraction | None]:
    start = _check_seconds(start, "start")
    if end is None:
        return start, None
    end = _check_seconds(end, "end")
    if end <= start:
        raise ValueError(f"`end` ({float(end):g}) must come after `start` ({float(start):g}), both in seconds.")
    return start, end
