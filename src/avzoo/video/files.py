"""Video files, decoded by FFmpeg: pictures with their times, and the sound on the same clock."""

import contextlib
import io
import itertools
import math
import re
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from avzoo.audio.media_files import damage_error, decode_frames, describe_streams, open_container
from avzoo.audio.reading_options import current_options, describe_sound, select_sound
from avzoo.video.joins import FileClock, describe_joins, list_media, may_be_joined, read_clock
from avzoo.video.soundtrack import read_soundtrack
from avzoo.video.video import FASTEST, VideoInfo

_DEFAULT_RATE = Fraction(25)  # of streams that don't tell theirs, as in FFmpeg
_MOST_STRETCH = 10  # a sample aspect ratio beyond it is a damaged header
_STEPS_BACK = (0, 1, 10)  # seconds before the wanted time, tried in turn by a seek
_MOST_OFF = 0.1  # by which two statements of one rate may differ
_MOST_PACKETS = 2000  # looked at to tell which of several video streams moves
_MOST_TOLD = 3  # damaged places that a warning names


class FileSource:
    """A video file: one of its video streams and, where there is sound, one of its sound tracks.

    Every reading opens the file anew, so readings don't disturb each other.
    """

    def __init__(self, opened: str | io.IOBase, label: str):
        self.label = label
        self._opened = opened
        self._lock = threading.Lock()
        self.options = current_options(opened)
        self._silent_until = Fraction(0)  # seconds of silence read so far; below 0 once something was heard
        self._clock: FileClock | None = None
        with self.open() as container:
            self._index = self._choose_pictures(_list_pictures(container, label))
            stream = self.select_pictures(container)
            stream.thread_type = "SLICE"  # one frame is wanted: frame threads would decode several before they give it
            first = next(decode_frames(container, stream, label, late_start=True), None)
            if first is None:
                codec = stream.codec_context.name
                raise ValueError(f"{label} holds no frames: its video stream ({codec}) is empty or damaged throughout.")
            # AVI stores no time stamps, and FFmpeg's guess fails where the order of storing isn't that of showing.
            self._counted = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
            self.origin = self._read_time(first) or Fraction(0)
            self.orientation = _read_orientation(first)
            self.stored_size = (first.height, first.width)
            sound = select_sound(container.streams.audio, self.options.audio_track, label)
            self._sound_index = None if sound is None else sound.index
            self.fps = _nominal_rate(stream)
            if may_be_joined(container):
                self._clock = self._read_clock()
            if self._clock is not None:
                warnings.warn(describe_joins(label, self._clock.joins), stacklevel=2)
                rate = 1 / self._clock.interval if self._clock.interval else self.fps
                if abs(self.fps / rate - 1) > _MOST_OFF:  # what is stated is an average over the gaps
                    self.fps = rate.limit_denominator(1001)
            self.info = self._describe(container, first)

    def open(self) -> av.container.InputContainer:
        opened = self._opened
        return open_container(opened if isinstance(opened, str) else _SharedFile(opened, self._lock), self.label)

    def pictures(self, start: Fraction = Fraction(0)) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        """All pictures from the one shown at `start`, or from an earlier one."""
        # In a joined file stamps don't tell where to go.
        for back in _STEPS_BACK if start > 0 and self._clock is None else ():
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
        with self.open() as container, _DamageLog("sound", self) as log:
            if self._sound_index is None:
                kinds = describe_streams(container)
                raise ValueError(
                    f"{self.label} has no audio stream that can be decoded (streams: {kinds}); read only its frames."
                )
            stream = container.streams[self._sound_index]
            placed = {"origin": self.origin, "start": start, "end": end, "sampling_rate": sampling_rate}
            joins = () if self._clock is None else self._clock.starts
            placed |= {"packets": self._read_packets(container), "joins": joins, "on_damage": log.note}
            samples, rate = read_soundtrack(container, stream, self.label, **placed)
            if len(container.streams.audio) > 1:
                self._note_silence(samples, start, start + Fraction(len(samples), rate), container)
            return samples, rate

    def _decode(self, seek_to: Fraction | None) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        with self.open() as container, _DamageLog("picture", self) as log:
            stream = self.select_pictures(container)
            stream.thread_type = "AUTO"
            frame_duration = 1 / self.fps
            if seek_to is not None and not _seek(container, stream, self.origin + seek_to):
                return
            packets, stored = self._read_packets(container), deque()
            if self._counted:
                packets = _note_stamps(container.demux(stream) if packets is None else packets, stream, stored)
            options = {"whole": seek_to is None, "late_start": True, "packets": packets, "on_damage": log.note}
            frames = decode_frames(container, stream, self.label, **options)
            if seek_to is not None:  # pictures shown before the first whole one may be built on what was skipped
                frames = itertools.dropwhile(lambda frame: not frame.key_frame, frames)
            end, first_stored, size = Fraction(0), None, self.stored_size
            for frame in frames:
                if (frame.height, frame.width) != size:
                    size = (frame.height, frame.width)
                    self._tell_size(frame)
                time = self._read_time(frame)
                if time is None:
                    if seek_to is not None:
                        return  # only counting from the beginning tells where this is
                    time = end
                    if stored:  # pictures are shown as often as places are stored, though in another order
                        place = stored.popleft() * stream.time_base
                        first_stored = place if first_stored is None else first_stored
                        time = place - first_stored
                else:
                    time -= self.origin
                duration = (frame.duration or 0) * frame.time_base or frame_duration
                end = time + duration
                yield time, duration, frame
            if self._clock is None:
                self._check_length(container, stream, end, log.note)

    def _note_silence(
        self, samples: np.ndarray, start: Fraction, end: Fraction, container: av.container.InputContainer
    ) -> None:
        """Tell, when all of the sound track has been read and nothing was heard, that there are others."""
        if samples.any() or start > self._silent_until:
            self._silent_until = Fraction(-1)
        elif self._silent_until >= 0:
            self._silent_until = max(self._silent_until, end)
            if self._silent_until >= (self.info.duration or 0) - _MOST_OFF:
                warnings.warn(
                    f"{self.label}: its sound track {self.info.audio_track} is silent; there are "
                    f"{describe_sound(container.streams.audio)}. Choose another with `audio_track`.",
                    stacklevel=2,
                )

    def _tell_size(self, frame: av.VideoFrame) -> None:
        height, width = self.stored_size
        warnings.warn(
            f"{self.label}: its pictures are {width} x {height} pixels at first and {frame.width} x {frame.height} "
            "later; those of another shape get black bars.",
            stacklevel=2,
        )

    def _choose_pictures(self, streams: list[av.VideoStream]) -> int:
        """Index of the video stream to read: the one that was asked for; else that of a default flag, but no still."""
        number = self.options.video_track
        if number is not None:
            if number > len(streams):
                raise ValueError(f"`video_track` is {number}, but {self.label} has {len(streams)} video tracks.")
            return streams[number - 1].index
        if len(streams) == 1:
            return streams[0].index
        packets = dict.fromkeys((stream.index for stream in streams), 0)
        with self.open() as container, contextlib.suppress(av.error.FFmpegError):
            candidates = [container.streams[index] for index in packets]
            for packet in itertools.islice(container.demux(*candidates), _MOST_PACKETS):
                packets[packet.stream.index] += packet.size > 0
                if min(packets.values()) > 1:
                    break
        default = av.stream.Disposition.default
        moving = [stream for stream in streams if packets[stream.index] > 1] or streams
        return next((stream for stream in moving if stream.disposition & default), moving[0]).index

    @property
    def is_joined(self) -> bool:
        """Whether time stamps begin anew or jump, see [`avzoo.video.joins`]."""
        return self._clock is not None

    def select_pictures(self, container: av.container.InputContainer) -> av.VideoStream:
        """The video stream that is read, in an opened file."""
        return container.streams[self._index]

    def select_sound(self, container: av.container.InputContainer) -> av.AudioStream | None:
        """The sound track that is read."""
        return None if self._sound_index is None else container.streams[self._sound_index]

    def _read_clock(self) -> FileClock | None:
        with self.open() as container:
            pictures, sound = self.select_pictures(container), self.select_sound(container)
            return read_clock(container, pictures, sound, self.origin, self.label)

    def _read_packets(self, container: av.container.InputContainer) -> Iterator[av.Packet] | None:
        """The packets of a joined file, from its beginning, on one clock; None where they are on one as they are."""
        if self._clock is None:
            return None
        return self._clock.shift_packets(container.demux(*list_media(container)))

    def _read_time(self, frame: av.VideoFrame) -> Fraction | None:
        if self._counted:
            return None
        stamp = frame.pts if frame.pts is not None else frame.dts
        return None if stamp is None else stamp * frame.time_base

    def _check_length(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        end: Fraction,
        on_damage: Callable[[Fraction, str], None] | None,
    ) -> None:
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
            reason = f"the header announces {float(announced):.2f} s"
            if on_damage is None:
                raise damage_error(self.label, float(end), reason)
            on_damage(end + self.origin, reason)

    def _describe(self, container: av.container.InputContainer, first: av.VideoFrame) -> VideoInfo:
        stream, sound = self.select_pictures(container), self.select_sound(container)
        height, width = first.height, first.width
        aspect = stream.sample_aspect_ratio or 1
        if 1 / _MOST_STRETCH < aspect < _MOST_STRETCH:
            width = max(1, round(width * aspect))
        if self.orientation.turns % 2:
            height, width = width, height
        duration, joins = None, ()
        if self._clock is not None:
            duration, joins = float(self._clock.end), self._clock.joins
        elif stream.duration:
            duration = float(stream.duration * stream.time_base)
        elif container.duration:
            duration = container.duration / av.time_base
        begin = Fraction(container.start_time or 0, av.time_base)
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
            joins=joins,
            origin=max(0.0, float(self.origin - begin)),
            video_track=1 + [track.index for track in _list_pictures(container, self.label)].index(stream.index),
            audio_track=None if sound is None else 1 + list(container.streams.audio).index(sound),
            audio_tracks=len(container.streams.audio),
        )


def _list_pictures(container: av.container.InputContainer, label: str) -> list[av.VideoStream]:
    """The video streams that are more than a cover picture and can be decoded.

    Raises:
        ValueError: there is none.
    """
    videos = container.streams.video
    real = [stream for stream in videos if not stream.disposition & av.stream.Disposition.attached_pic]
    decodable = [stream for stream in real if stream.codec_context is not None]
    if decodable:
        return decodable
    if real:
        raise ValueError(f"{label}: FFmpeg has no decoder for its video; convert it to mp4 first.")
    if videos:
        raise ValueError(f"{label} has no video stream, only a cover picture (streams: audio).")
    raise ValueError(f"{label} has no video stream (streams: {describe_streams(container)}).")


def _note_stamps(packets: Iterator[av.Packet], stream: av.VideoStream, stored: deque[int]) -> Iterator[av.Packet]:
    """The same packets; their places in the file's order are added to `stored`."""
    for packet in packets:
        if packet.stream.index == stream.index and packet.size and packet.dts is not None:
            stored.append(packet.dts)
        yield packet


class _DamageLog:
    """Where a reading found damage, told in one warning at its end; `note` is None where damage is an error."""

    def __init__(self, what: str, source: FileSource):
        self._what, self._source = what, source
        self._found: list[tuple[Fraction, str]] = []
        self.note = None if source.options.strict else self._add

    def __enter__(self) -> "_DamageLog":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._found:
            told = [f"{max(float(time), 0):.2f} s ({reason})" for time, reason in self._found[:_MOST_TOLD]]
            more = f" and {len(self._found) - _MOST_TOLD} more" if len(self._found) > _MOST_TOLD else ""
            warnings.warn(
                f"{self._source.label}: {self._what} is damaged or missing at {', '.join(told)}{more}; it is left out, "
                "the rest is read.",
                stacklevel=2,
            )

    def _add(self, stamp: Fraction, reason: str) -> None:
        self._found.append((stamp - self._source.origin, reason))


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
    if average and guessed and abs(guessed / average - 1) > _MOST_OFF:
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
