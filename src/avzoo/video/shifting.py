"""Shift the sound of a video in time without encoding anything again.

Packets of pictures and sound are copied as they are; only the time stamps of the sound change. In mp4, m4v and mov an
edit list then says where the sound begins, in mkv and webm the stamps alone do. A program that takes out the sound and
forgets when it begins misses a delay.

Where the sound lands, as `read_video` reads it: on the very sample in mp4, m4v and mov; within a millisecond in mkv and
webm, which count in milliseconds. (As sources they do so too, and flv: sound of theirs in packets of no fixed length,
such as PCM, lands within half a millisecond in an mp4.)

What would come before the first picture isn't heard. An edit list hides it. In mkv and webm whole packets are left out:
the file may begin with the rest of one, up to 64 ms before its first picture, and since the decoder misses what came
before, the first 0.05 s of AAC and Opus and the first 0.15 s of MP3 may be faint.

A variable frame rate that an mkv states is the average of the pictures in an mp4, which states none; their times stay.
"""

import heapq
import math
import numbers
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

from avzoo.audio.media_files import damage_error, locate
from avzoo.files import write_atomically
from avzoo.video.files import FileSource
from avzoo.video.reading import round_half_up

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_OLD_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")  # about the source's container
_STREAM_TAGS = ("language", "title", "handler_name")
_RUN_UP = Fraction(1, 5)  # seconds of sound before the first that is heard: MP3 can need as many, others less
_SLACK = Fraction(1, 4)  # seconds by which programs differ in the length that they announce


def shift_sound(source: str | os.PathLike, path: str | os.PathLike, seconds: float) -> Path:
    """Write a copy of a video in which the sound comes later, or earlier.

    Pictures keep their bits, and their times counted from the first one. All sound tracks move; subtitles stay with the
    pictures. Tags, chapters, orientation, covers and subtitles are kept where the new container has a place for them,
    other streams are not.

    Args:
        source: path of a video file with sound.
        path: where to, ending in .mp4, .m4v, .mov, .mkv or .webm; an existing file is replaced, even `source` itself.
            The file is written atomically.
        seconds: by how much later the sound comes; negative: earlier. Sound that is early by n frames wants n / fps.

    Returns:
        `path`.

    Raises:
        OSError: `source` isn't there; the folder of `path` is missing or can't be written.
        TypeError: `source` is no path, `seconds` no number.
        ValueError: `source` is no video, has no sound, or is damaged or cut short in a way that shows without decoding
            it; `path` has another ending, or its container can't hold the streams; `seconds` isn't finite, or leaves
            no sound beside the pictures.
    """
    # 1. Check inputs
    shift = _check_shift(seconds)
    ending = check_suffix(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"`path` ({os.fspath(path)}) is a folder; name a file in it.")
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"`source` must be the path of a video file, got {type(source).__name__}.")
    label, opened = locate(source, "`source`")
    video = FileSource(opened, label)
    if video.info.sampling_rate is None:
        raise ValueError(f"{label} has no sound to shift: no audio stream that can be decoded.")

    if video.is_joined:
        raise ValueError(
            f"{label}: its time stamps jump, as where recordings are joined, and a copy would keep that; encode it "
            "again, with `write_video`."
        )

    # 2. Look at every packet
    survey = _survey_packets(video)
    if survey.sound_end + shift <= 0 or survey.sound_start + shift >= survey.picture_end:
        raise ValueError(
            f"`seconds` ({float(shift):g}) leaves no sound beside the pictures: in {label} there is sound from "
            f"{float(survey.sound_start):.2f} to {float(survey.sound_end):.2f} s, and pictures until "
            f"{float(survey.picture_end):.2f} s."
        )
    if survey.hidden and _FORMATS[ending] in ("matroska", "webm"):
        raise ValueError(
            f"{label} hides {survey.hidden} pictures before its first by an edit list, and {ending} has none; let "
            "`path` end in .mp4 or .mov."
        )

    # 3. Copy what is shown
    with write_atomically(path) as unfinished:
        open(unfinished, "xb").close()  # says, as an OSError, when the folder is missing or can't be written
        try:
            _copy(video, survey, unfinished, ending, shift)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise _container_error(label, "streams", ending, error.strerror) from error
    return Path(path)


def check_suffix(path: str | os.PathLike) -> str:
    """Return the suffix of an output path in lower case; ValueError for an unsupported container."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in _FORMATS:
        raise ValueError(f"`path` must end in {', '.join(_FORMATS)}, got {os.fspath(path)!r}.")
    return ending


@dataclass
class _Survey:
    """Times and packets of the streams to copy, in seconds on the video clock.

    Args:
        sound_start, sound_end: of the sound track that is read.
        picture_end: end of the last picture.
        starts: {index of a stream: where it begins}.
        packets: {index of a stream: its packets up to the last that isn't hidden}. Those that an edit list hides at
            the end are not copied, or they would show.
        hidden: pictures hidden before the first, which the decoder needs.
    """

    sound_start: Fraction
    sound_end: Fraction
    picture_end: Fraction
    starts: dict[int, Fraction]
    packets: dict[int, int]
    hidden: int


def _check_shift(seconds: object) -> Fraction:
    if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real):
        raise TypeError(f"`seconds` must be a number of seconds, got {seconds!r}.")
    if not math.isfinite(seconds):
        raise ValueError(f"`seconds` must be a finite number of seconds, got {seconds!r}.")
    return Fraction(float(seconds))


def _survey_packets(video: FileSource) -> _Survey:
    """Survey the packets to copy.

    Raises:
        ValueError: packets are damaged or missing, or tell no time, or hidden ones lie among those shown.
    """
    counts, last_shown, starts, ends = Counter(), {}, {}, {}
    hidden, hidden_since = 0, set()
    with video.open() as container:
        main, sound = video.select_pictures(container), video.select_sound(container)
        if container.format.name == "avi" and main.codec_context.has_b_frames:
            raise ValueError(
                f"{video.label}: AVI keeps no times, and these pictures aren't stored in the order of showing; encode "
                "them again, with `write_video`."
            )
        announced = {stream.index: len(stream.index_entries) for stream in (main, sound)}  # mp4 lists all its packets
        for packet in container.demux():
            if not packet.size:
                continue
            stream, index = packet.stream, packet.stream.index
            counts[index] += 1
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None:
                if _is_needed(stream):
                    raise ValueError(
                        f"{video.label}: its {stream.type} has no time stamps; encode it again, with `write_video`."
                    )
                last_shown[index] = counts[index]
                continue
            begin = stamp * packet.time_base - video.origin
            if packet.is_corrupt and stream == main and begin > 0:
                raise damage_error(video.label, float(begin), "the next packet is damaged")
            if packet.is_discard:
                hidden += stream == main and begin < 0
                if index in starts and begin >= 0:
                    hidden_since.add(index)
                continue
            if index in hidden_since:
                raise ValueError(
                    f"{video.label}: an edit list hides {stream.type} between {stream.type} that is shown, and a copy "
                    "can't; encode it again, with `write_video`."
                )
            end = begin + (packet.duration or 0) * packet.time_base
            last_shown[index] = counts[index]
            starts.setdefault(index, begin)
            ends[index] = max(ends.get(index, end), end)
        if sound.index not in starts:
            raise ValueError(f"{video.label} has no sound to shift: its sound track is empty.")
        survey = _Survey(starts[sound.index], ends[sound.index], ends[main.index], starts, last_shown, hidden)
        for stream in (main, sound):
            there, expected = counts[stream.index], announced[stream.index]
            if there < expected:
                reason = f"{there} of {expected} packets of {stream.type} are there"
                raise damage_error(video.label, float(survey.picture_end), reason)
        length = Fraction(container.duration or 0, av.time_base)
        missing = length - max(ends.values()) - video.origin
        if "matroska" in container.format.name and missing > max(_SLACK, 2 / video.fps):
            raise damage_error(video.label, float(survey.picture_end), f"the header announces {float(length):.2f} s")
    return survey


class _Track:
    """Copies the packets of one stream to a stream of the new file.

    Args:
        source, target: the streams.
        delay: what is added to every time, seconds.
        count: packets to copy; the rest is hidden.
        begin: seconds, in the new file, from which on packets are wanted. None: all are.
        run_up: seconds before `begin` from which packets are kept for the decoder, at least one. None: none.
    """

    def __init__(
        self,
        source: av.stream.Stream,
        target: av.stream.Stream,
        delay: Fraction,
        count: int,
        begin: Fraction | None = None,
        run_up: Fraction | None = None,
    ):
        self._target, self._delay, self._left, self._begin, self._run_up = target, delay, count, begin, run_up
        self._tick, self._frame, self._counted = source.time_base, Fraction(0), False
        self._due, self._last = None, None  # where the next sound belongs, seconds; the last decoding time, ticks
        if source.type == "audio" and source.rate:
            self._tick = Fraction(1, source.rate)
            self._frame = source.codec_context.frame_size * self._tick
            # Stamps in milliseconds place no sample exactly: packets of known length are placed behind each other.
            known = self._frame or source.codec_context.name == "opus"
            self._counted = bool(known) and source.time_base > self._tick
        target.time_base = self._tick

    def retime(self, packet: av.Packet) -> bool:
        """Set the packet's stream and times in the new file; False if it is not copied."""
        old = packet.time_base
        decoded, duration = packet.dts * old, (packet.duration or 0) * old
        shown = decoded if packet.pts is None else packet.pts * old
        if self._counted:
            if self._due is not None and abs(shown - self._due) <= old:
                shown = decoded = self._due
            duration = self._frame or duration
            self._due = shown + duration
        self._left -= 1
        if self._left < 0:
            return False
        if self._begin is not None:
            run_up = 0 if self._run_up is None else max(self._run_up, duration)
            if shown + duration + self._delay + run_up <= self._begin:
                return False
        ticks = round_half_up((decoded + self._delay) / self._tick)
        packet.duration = round_half_up(duration / self._tick)
        if self._last is not None and 0 <= self._last - ticks <= packet.duration:
            ticks = self._last + 1  # recordings of broadcasts have such hiccups, and no muxer takes them
        packet.pts = max(ticks, round_half_up((shown + self._delay) / self._tick))
        packet.dts = self._last = ticks
        packet.time_base, packet.stream = self._tick, self._target
        return True


def _copy(video: FileSource, survey: _Survey, path: Path, ending: str, shift: Fraction) -> None:
    has_edit_list = _FORMATS[ending] in ("mp4", "mov")
    options = {"fflags": "+bitexact"}  # no versions, no dates
    if has_edit_list:
        # The list counts in the clock of the file, which ticks in milliseconds unless told otherwise.
        options |= {"movflags": "+faststart", "movie_timescale": str(video.info.sampling_rate)}
    with ExitStack() as opened:
        # Opened twice: sound and pictures that belong together now come from different places in the file.
        pictures, sound = opened.enter_context(video.open()), opened.enter_context(video.open())
        output = opened.enter_context(av.open(f"file:{path}", "w", format=_FORMATS[ending], options=options))
        output.metadata.update({tag: text for tag, text in pictures.metadata.items() if tag.lower() not in _OLD_TAGS})
        output.set_chapters([_shift_chapter(chapter, -video.origin) for chapter in pictures.chapters()])
        seen, heard = {}, {}
        for stream in pictures.streams:
            target = _add_stream(output, stream, ending, video)
            if target is None:
                continue
            count = survey.packets.get(stream.index, 0)
            if stream.type == "audio":
                delay = shift - video.origin + _run_up_rounding(pictures, stream) - _run_up_rounding(output, stream)
                heard_from, run_up = max(Fraction(0), survey.starts.get(stream.index, 0) + shift), Fraction(0)
                if not heard_from and has_edit_list:
                    run_up = _RUN_UP
                elif not heard_from and shift < 0:
                    run_up = None  # or the pictures would begin that much later
                heard[stream.index] = _Track(stream, target, delay, count, heard_from, run_up)
            else:
                seen[stream.index] = _Track(stream, target, -video.origin, count)
        packets = heapq.merge(_packets(pictures, seen), _packets(sound, heard), key=_read_decoding_time)
        for packet in packets:
            output.mux(packet)


def _add_stream(output: av.container.OutputContainer, source: av.stream.Stream, ending: str, video: FileSource):
    """Add a stream like `source` to the new file; None if it isn't copied."""
    needed = _is_needed(source)
    if not needed and source.type != "subtitle" and not (_is_cover(source) and _FORMATS[ending] in ("mp4", "mov")):
        return None
    try:
        target = output.add_stream_from_template(source, opaque=True)
    except ValueError as error:
        if not needed:
            return None
        codec = "of an unknown codec" if source.codec_context is None else source.codec_context.name
        raise _container_error(video.label, f"{source.type} ({codec})", ending) from error
    target.disposition = source.disposition
    target.metadata.update({tag: source.metadata[tag] for tag in _STREAM_TAGS if tag in source.metadata})
    if source.type == "audio" and source.channels <= 2 and source.layout.name.endswith(" channels"):
        target.codec_context.layout = ("mono", "stereo")[source.channels - 1]  # Matroska tells their number only
    if source.type == "video":
        target.codec_context.framerate = source.average_rate or video.fps
        if source.codec_context.codec_tag == "hvc1" and _FORMATS[ending] in ("mp4", "mov"):
            target.codec_context.codec_tag = "hvc1"  # Apple's players know HEVC by no other name
    return target


def _packets(container: av.container.InputContainer, tracks: dict[int, _Track]) -> Iterator[av.Packet]:
    """The packets of these tracks as they go into the new file, in the order of the old one."""
    undated = {index: [] for index in tracks}  # Matroska has no decoding times; FFmpeg finds them from the third on
    for packet in container.demux([container.streams[index] for index in tracks]):
        index = packet.stream.index
        if not packet.size:
            continue
        undated[index].append(packet)
        if _is_cover(packet.stream):
            packet.pts = packet.dts = 0
        if packet.dts is None:
            continue
        for back, earlier in enumerate(reversed(undated[index][:-1]), start=1):
            earlier.dts = packet.dts - back * (packet.duration or 1)
        ready, undated[index] = undated[index], []
        yield from filter(tracks[index].retime, ready)
    for index, packets in undated.items():  # a stream that ended before
        for back, packet in enumerate(reversed(packets)):
            packet.dts = min(packet.pts for packet in packets) - back * (packet.duration or 1)
        yield from filter(tracks[index].retime, packets)


def _read_decoding_time(packet: av.Packet) -> Fraction:
    return packet.dts * packet.time_base


def _run_up_rounding(container: av.container.Container, sound: av.AudioStream) -> Fraction:
    """Seconds by which Matroska's time stamps are early: FFmpeg rounds the encoder's run-up to milliseconds."""
    if container.format.name not in ("matroska", "webm", "matroska,webm") or not sound.rate:
        return Fraction(0)
    run_up = Fraction(sound.codec_context.delay, sound.rate)
    return Fraction(round_half_up(run_up * 1000), 1000) - run_up


def _shift_chapter(chapter: dict, delay: Fraction) -> dict:
    ticks = round_half_up(delay / chapter["time_base"])
    return chapter | {"start": max(0, chapter["start"] + ticks), "end": max(0, chapter["end"] + ticks)}


def _is_cover(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _is_needed(stream: av.stream.Stream) -> bool:
    return stream.type in ("audio", "video") and not _is_cover(stream)


def _container_error(label: str, what: str, ending: str, reason: str = "") -> ValueError:
    way_out = "encode it again, with `write_video`" if ending == ".mkv" else "let `path` end in .mkv"
    return ValueError(f"{label}: its {what} can't be stored in {ending}{reason and f' ({reason})'}; {way_out}.")
