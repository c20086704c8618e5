"""Video sources: files, decoders and frames in memory, each as pictures with times, and sound.

Every source has `label` (what messages call it), `info`, `fps`, `orientation`, `stored_size`, `pictures(start)`, an
iterator of (time, duration, picture) in seconds on the video clock, and `soundtrack(sampling_rate, start, end)`. A
picture is an `av.VideoFrame` or a (height, width, 3) array.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from avzoo.audio.media_files import locate
from avzoo.audio.resampling import check_rate, resample
from avzoo.video.files import FileSource
from avzoo.video.soundtrack import align_to_clock, sample_index
from avzoo.video.video import Video, VideoInfo, check_fps


class FrameSource:
    """Frames in memory at a constant rate, perhaps with sound."""

    orientation = stored_size = None

    def __init__(self, count: int, frame: Callable[[int], np.ndarray], fps: Fraction, label: str, sound=None):
        if not count:
            raise ValueError(f"{label} holds no frames.")
        self.label, self.fps = label, fps
        self._count, self._frame, self._sound = count, frame, sound
        height, width = frame(0).shape[:2]
        self.info = VideoInfo(
            height=height,
            width=width,
            fps=float(fps),
            duration=float(count / fps),
            codec="frames",
            pixel_format="rgb24",
            sampling_rate=None if sound is None else sound[1],
            channels=0 if sound is None else 1,
        )

    def pictures(self, start: Fraction = Fraction(0)) -> Iterator[tuple[Fraction, Fraction, np.ndarray]]:
        for index in range(min(int(start * self.fps), self._count - 1), self._count):
            yield index / self.fps, 1 / self.fps, self._frame(index)

    def soundtrack(self, sampling_rate: int | None, start: Fraction, end: Fraction | None) -> tuple[np.ndarray, int]:
        if self._sound is None:
            raise ValueError(f"{self.label} has no sound, only frames.")
        samples, source_rate = self._sound
        rate = sampling_rate or source_rate
        samples = resample(samples, source_rate, rate)
        return align_to_clock(samples[sample_index(start, rate) :], rate, start, end)


class DecoderSource(FrameSource):
    """torchcodec's `VideoDecoder`, whose frames bring their own times. It has no sound."""

    def __init__(self, decoder: Any, label: str):
        self._decoder = decoder
        fps = check_fps(decoder.metadata.average_fps, "average_fps")
        super().__init__(
            len(decoder), lambda index: _move_channels_last(_to_numpy(decoder.get_frame_at(index).data)), fps, label
        )

    def pictures(self, start: Fraction = Fraction(0)) -> Iterator[tuple[Fraction, Fraction, np.ndarray]]:
        origin = None
        for index in range(self._count):
            frame = self._decoder.get_frame_at(index)
            # Its times were exact before they became floats: 0.06 is 3 / 50, and half a frame at 25 per second.
            time = Fraction(float(frame.pts_seconds)).limit_denominator(1_000_000)
            origin = time if origin is None else origin
            duration = Fraction(float(frame.duration_seconds)).limit_denominator(1_000_000)
            yield time - origin, duration, _move_channels_last(_to_numpy(frame.data))


class CutSource:
    """A part of a file, as if the rest was not there."""

    def __init__(self, source: FileSource, start: Fraction, end: Fraction | None):
        self.label, self.fps = source.label, source.fps
        self.orientation, self.stored_size = source.orientation, source.stored_size
        self._source, self._start, self._end = source, start, end
        duration = source.info.duration
        if duration is not None:
            if start >= duration:
                raise ValueError(f"{self.label} ends at {duration:.2f} s, before `start` ({float(start):g} s).")
            duration = (duration if end is None else min(duration, float(end))) - float(start)
        until = math.inf if end is None else float(end)
        joins = [join for join in source.info.joins if float(start) < join.time < until]
        self.info = replace(
            source.info,
            duration=duration,
            origin=source.info.origin + float(start),
            joins=tuple(replace(join, time=join.time - float(start)) for join in joins),
        )

    def pictures(self, start: Fraction = Fraction(0)) -> Iterator[tuple[Fraction, Fraction, Any]]:
        shown = None  # the picture that is there when the part begins
        with closing(self._source.pictures(self._start + start)) as pictures:
            for time, duration, picture in pictures:
                if self._end is not None:
                    if time >= self._end:
                        break
                    duration = min(duration, self._end - time)
                time -= self._start
                if time <= 0:
                    shown = (Fraction(0), duration + time, picture)
                    continue
                if shown is not None:
                    yield shown
                    shown = None
                yield time, duration, picture
        if shown is not None and shown[1] > 0:
            yield shown

    def soundtrack(self, sampling_rate: int | None, start: Fraction, end: Fraction | None) -> tuple[np.ndarray, int]:
        stop = (
            self._end if end is None else self._start + end if self._end is None else min(self._start + end, self._end)
        )
        rate = sampling_rate or self.info.sampling_rate
        if rate is not None and stop is not None and self._start + start >= stop:  # behind the part
            return align_to_clock(np.zeros(0, np.float32), rate, start, end)
        samples, rate = self._source.soundtrack(sampling_rate, self._start + start, stop)
        return align_to_clock(samples, rate, start, end)


def cut_source(source: FileSource) -> FileSource | CutSource:
    """The part of a file that its options ask for."""
    options = source.options
    if not options.start and options.end is None:
        return source
    # 0.6 is meant as 3 / 5, where a frame begins, and not as the float below it.
    start, end = (
        None if time is None else Fraction(time).limit_denominator(1_000_000) for time in (options.start, options.end)
    )
    return CutSource(source, start, end)


Source = FileSource | CutSource | FrameSource


def open_source(source: Any, source_fps: float | None, label: str) -> Source:
    """Open a file, decoder, row or frames as a source; see `read_video` for the accepted types."""
    if isinstance(source, Mapping):
        return _open_row(source, source_fps, label)
    encoded = getattr(source, "_hf_encoded", None)  # `datasets` notes what its decoder was made from
    if isinstance(encoded, Mapping):
        return _open_row(encoded, source_fps, label)
    located = locate(source, label)
    if located is not None:
        label, opened = located
        return cut_source(FileSource(opened, label))
    if hasattr(source, "get_frame_at") and hasattr(source, "metadata"):
        return DecoderSource(source, label)
    sound = None
    if isinstance(source, Video):
        if source.audio is not None:
            sound = np.asarray(source.audio, np.float32), check_rate(source.sampling_rate, "sampling_rate")
        source, source_fps = source.frames, source.fps
    count, frame = make_frame_getter(source, label)
    if source_fps is None:
        raise ValueError(f"{label} holds frames, which don't tell their rate; pass it as `source_fps`.")
    return FrameSource(count, frame, check_fps(source_fps, "source_fps"), label, sound)


def make_frame_getter(source: Any, label: str) -> tuple[int, Callable[[int], np.ndarray]]:
    """The number of frames in an array, a tensor or a list, and a function from index to (height, width, 3) uint8.

    Raises:
        TypeError: it is none of them, or not uint8.
        ValueError: another shape, or pictures of several sizes.
    """
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return _make_list_getter(source, label)
    frames = _to_numpy(source)
    if not isinstance(frames, np.ndarray):
        raise TypeError(
            f"{label} must be a path, the bytes of a file, a binary file object, frames (an array, a tensor or a list "
            f"of pictures) or a row of `datasets`, got {type(source).__name__}."
        )
    _check_uint8(frames, label)
    if frames.ndim == 3 and frames.shape[-1] == 3:
        raise ValueError(
            f"{label} has the shape {frames.shape} of one picture in colour; a video of it is `frames[None]`."
        )
    if frames.ndim == 3:
        frames = np.broadcast_to(frames[..., None], (*frames.shape, 3))
    elif frames.ndim == 4 and frames.shape[-1] != 3 and frames.shape[1] == 3:
        frames = np.moveaxis(frames, 1, -1)
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape[1:]:
        raise ValueError(
            f"{label} must be (frames, height, width, 3), (frames, 3, height, width) or (frames, height, width), "
            f"got {frames.shape}."
        )
    return len(frames), frames.__getitem__


def _make_list_getter(pictures: Sequence, label: str) -> tuple[int, Callable[[int], np.ndarray]]:
    shape = None

    def frame(index: int) -> np.ndarray:
        nonlocal shape
        picture, at = pictures[index], f"{label}: picture {index}"
        picture = np.asarray(picture.convert("RGB")) if hasattr(picture, "convert") else _to_numpy(picture)
        if not isinstance(picture, np.ndarray):
            raise TypeError(f"{at} must be an array, a tensor or a PIL image, got {type(picture).__name__}.")
        _check_uint8(picture, at)
        picture = _move_channels_last(picture)
        if picture.ndim != 3 or picture.shape[-1] != 3 or not picture.size:
            raise ValueError(f"{at} must be (height, width, 3) or (height, width), got {picture.shape}.")
        shape = shape or picture.shape
        if picture.shape != shape:
            raise ValueError(f"{at} is {picture.shape[:2]}, the first {shape[:2]}; all must have one size.")
        return picture

    return len(pictures), frame


def _move_channels_last(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2:
        return np.broadcast_to(picture[..., None], (*picture.shape, 3))
    if picture.ndim == 3 and picture.shape[-1] != 3 and picture.shape[0] == 3:
        return np.moveaxis(picture, 0, -1)
    return picture


def _to_numpy(value: Any) -> Any:
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, told without importing torch
        return value.detach().cpu().numpy()
    return value


def _check_uint8(frames: np.ndarray, label: str) -> None:
    if frames.dtype != np.uint8:
        raise TypeError(
            f"{label} must be uint8 in [0, 255], got {frames.dtype}; scale floats in [0, 1] first: "
            "`(frames * 255).round().astype('uint8')`."
        )


def _open_row(row: Mapping, source_fps: float | None, label: str) -> Source:
    """Open a dict as `datasets` writes it."""
    path = row.get("path")
    if row.get("bytes") is not None:
        return open_source(row["bytes"], source_fps, f"{label} ({os.path.basename(path)})" if path else label)
    if path is not None:
        return open_source(path, source_fps, label)
    raise ValueError(f'{label} is a dict with the keys {sorted(map(str, row))}; expected "bytes" or "path".')
