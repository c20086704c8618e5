"""Video files, decoded by FFmpeg: pictures with their times, and the sound on the same clock."""

import io
import itertools
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from avzoo.audio.media_files import damage_error, decode_frames, describe_streams, open_container
from avzoo.video.soundtrack import read_soundtrack
from avzoo.video.video import FASTEST, VideoInfo

_DEFAULT_RATE = Fraction(25)  # of streams that don't tell theirs, as in FFmpeg
_MOST_STRETCH = 10  # a sample aspect ratio beyond it is a damaged header
_STEPS_BACK = (0, 1, 10)  # seconds before the wanted time, tried in turn by a seek


class FileSource:
    """A video file: its first video stream that is more than a cover picture, and its first sound track.

    Every reading opens the file anew, so readings don't disturb each other.
    """

    def __init__(self, opened: str | io.IOBase, label: str):
        self.label = label
        self._opened = opened
        self._lock = threading.Lock()
        with self.open() as container:
            stream = self._select_stream(container)
            stream.thread_type = "SLICE"  # one frame is wanted: frame threads would decode several before they give it
            first = next(decode_frames(container, stream, label, late_start=True), None)
            if first is None:
                codec = stream.codec_context.name
                raise ValueError(f"{label} holds no frames: its video stream ({codec}) is empty or damaged throughout.")
            self.fps = _nominal_rate(stream)
            # AVI stores no time stamps, and FFmpeg's guess fails where the order of storing isn't that of showing.
            self._counted = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
            self.origin = self._read_time(first) or Fraction(0)
            self.orientation = _read_orientation(first)
            self.info = self._describe(container, stream, first)

    def open(self) -> av.container.InputContainer:
        opened = self._opened
        return open_container(opened if isinstance(opened, str) else _SharedFile(opened, self._lock), self.label)

    def pictures(self, start: Fraction = Fraction(0)) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        """All pictures from the one shown at `start`, or from an earlier one."""
        for back in _STEPS_BACK if start > 0 else ():
            pictures = self._decode(max(start - back, Fraction(0)))
            first = next(pictures, None)
            if first is not None and first[0] <= start:
                yield first
                yield from pictures
                return
            pictures.close()
        yield from self._decode(None)

    def soundtrack(self, sampling_rate: int | None, start: Fraction, end: Fraction | None) -> tuple[np.ndarray, int]:
        """Sound from `start` to `end` (None: of the track); see `read_soundtrack`."""
        with self.open() as container:
            if self.info.sampling_rate is None:
                kinds = describe_streams(container)
                raise ValueError(
                    f"{self.label} has no audio stream that can be decoded (streams: {kinds}); read only its frames."
                )
            return read_soundtrack(container, self.label, self.origin, sampling_rate, start, end)

    def _decode(self, seek_to: Fraction | None) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        with self.open() as container:
            stream = self._select_stream(container)
            stream.thread_type = "AUTO"
            frame_duration = 1 / self.fps
            if seek_to is not None and not _seek(container, stream, self.origin + seek_to):
                return
            frames = decode_frames(container, stream, self.label, whole=seek_to is None, late_start=True)
            if seek_to is not None:  # pictures shown before the first whole one may be built on what was skipped
                frames = itertools.dropwhile(lambda frame: not frame.key_frame, frames)
            end = Fraction(0)
            for frame in frames:
                time = self._read_time(frame)
                if time is None:
                    if seek_to is not None:
                        return  # only counting from the beginning tells where this is
                    time = end
                else:
                    time -= self.origin
                duration = (frame.duration or 0) * frame.time_base or frame_duration
                end = time + duration
                yield time, duration, frame
            self._check_length(container, stream, end)

    def _select_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        videos = container.streams.video
        for stream in videos:
            if not stream.disposition & av.stream.Disposition.attached_pic:
                if stream.codec_context is None:
                    raise ValueError(f"{self.label}: FFmpeg has no decoder for its video; convert it to mp4 first.")
                return stream
        if videos:
            raise ValueError(f"{self.label} has no video stream, only a cover picture (streams: audio).")
        raise ValueError(f"{self.label} has no video stream (streams: {describe_streams(container)}).")

    def _read_time(self, frame: av.VideoFrame) -> Fraction | None:
        if self._counted:
            return None
        stamp = frame.pts if frame.pts is not None else frame.dts
        return None if stamp is None else stamp * frame.time_base

    def _check_length(self, container: av.container.InputContainer, stream: av.VideoStream, end: Fraction) -> None:
        """Where no list of packets tells that some are missing, the length may: in AVI and Matroska it is stated."""
        announced = None
        if container.format.name == "avi" and stream.duration:
            announced = stream.duration * stream.time_base
        elif "matroska" in container.format.name:
            announced = _clock_time(stream.metadata.get("DURATION", ""))
            if announced is None and len(container.streams) == 1 and container.duration:
                announced = Fraction(container.duration, av.time_base)
        # Programs differ by a frame or two in what they count, and in whether a late start is part of it.
        if announced is not None and end + max(self.origin, 0) < announced - max(Fraction(1, 4), 2 / self.fps):
            raise damage_error(self.label, float(end), f"the header announces {float(announced):.2f} s")

    def _describe(self, container, stream: av.VideoStream, first: av.VideoFrame) -> VideoInfo:
        height, width = first.height, first.width
        aspect = stream.sample_aspect_ratio or 1
        if 1 / _MOST_STRETCH < aspect < _MOST_STRETCH:
            width = max(1, round(width * aspect))
        if self.orientation.turns % 2:
            height, width = width, height
        duration = None
        if stream.duration:
            duration = float(stream.duration * stream.time_base)
        elif container.duration:
            duration = container.duration / av.time_base
        sound = next((stream for stream in container.streams.audio[:1] if stream.codec_context is not None), None)
        return VideoInfo(
            height=height,
            width=width,
            fps=float(self.fps),
            duration=duration,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            rotation=self.orientation.turns * 90,
            sampling_rate=sound.rate or None if sound is not None else None,
            channels=sound.channels if sound is not None else 0,
            metadata=dict(container.metadata),
        )


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes an upright one: mirrored left to right first, then turned clockwise."""

    mirrored: bool = False
    turns: int = 0  # quarters

    def upright(self, picture: np.ndarray) -> np.ndarray:
        if self.mirrored:
            picture = picture[:, ::-1]
        return np.rot90(picture, -self.turns) if self.turns else picture


def _read_orientation(frame: av.VideoFrame) -> Orientation:
    """Orientation by the display matrix: a stored point (x, y) maps to a x + c y, b x + d y (libavutil/display.h)."""
    try:
        everything = list(frame.side_data)
    except ValueError:  # PyAV (18.1) shows none where one is of a kind it doesn't know, such as a photo's EXIF
        return Orientation(turns=round(-frame.rotation / 90) % 4)
    for data in everything:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(float)
            mirrored = a * d - b * c < 0
            if mirrored:
                a, b = -a, -b
            return Orientation(mirrored, round(math.degrees(math.atan2(b, a)) / 90) % 4)
    return Orientation()


def _clock_time(text: str) -> Fraction | None:
    """Seconds of "00:01:02.500000000", as Matroska files have it in a tag per stream."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    return Fraction(match[3]) + 60 * int(match[2]) + 3600 * int(match[1]) if match else None


def _nominal_rate(stream: av.VideoStream) -> Fraction:
    """The rate of a constant stream, the average of a variable one (whose nominal rate is the clock of its stamps)."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and abs(guessed / average - 1) > 0.1:
        guessed = average
    rate = guessed or average or _DEFAULT_RATE
    return rate if rate <= FASTEST else _DEFAULT_RATE


def _seek(container: av.container.InputContainer, stream: av.VideoStream, time: Fraction) -> bool:
    try:
        container.seek(int(time / stream.time_base), stream=stream, backward=True)
    except av.error.FFmpegError:
        return False
    return True


class _SharedFile(io.RawIOBase):
    """A file object shared by several decoders, each with its own position; the file's own position is restored."""

    def __init__(self, file: io.IOBase, lock: threading.Lock):
        self._file, self._lock, self._position = file, lock, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._lock:
            if whence == io.SEEK_CUR:
                offset += self._position
            self._position = self._file.seek(offset, io.SEEK_END if whence == io.SEEK_END else io.SEEK_SET)
            self._file.seek(0)
        return self._position

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            self._file.seek(self._position)
            content = self._file.read(size)
            self._position += len(content)
            self._file.seek(0)
        return content
