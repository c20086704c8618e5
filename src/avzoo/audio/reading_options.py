"""How files are read where nobody says otherwise: which of several tracks, from
when to when, and what becomes of damaged parts.

with read_with(audio_track="fra", strict=True):
    speakers = pipeline("active-speaker-detection", model=model)("film.mkv")
"""

import contextlib
import contextvars
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import av

from avzoo.checks import check_number, check_whole_number


@dataclasses.dataclass(frozen=True)
class ReadingOptions:
    """What [`read_with`] sets.

    Args:
        audio_track: of several sound tracks the one of this number, from 1 on, or language ("eng"). None: the one that
            the file marks as its default, else the first that can be decoded.
        video_track: of several video tracks the one of this number, from 1 on. None: the one that the file marks as its
            default, else the first; never a still where another one moves.
        strict: damaged packets and pictures, and a length that the file announces and does not have, are errors. Else
            they are left out and told in a warning.
        start, end: seconds; what is before and after is as if it was not in the file. A video's clock then begins at
            `start`, which its `origin` tells.
        only: path of the one file that all this is for, but `strict`, which is for all. None: it is for all.

    Raises:
        TypeError: values of another type. ValueError: a number below 1, a time below 0, an end before the start.
    """

    audio_track: int | str | None = None
    video_track: int | None = None
    strict: bool = False
    start: float = 0.0
    end: float | None = None
    only: str | os.PathLike | None = None

    def __post_init__(self):
        if self.audio_track is not None and not isinstance(self.audio_track, str):
            check_whole_number("audio_track", self.audio_track, at_least=1)
        if self.video_track is not None:
            check_whole_number("video_track", self.video_track, at_least=1)
        check_number("start", self.start, at_least=0)
        if self.end is not None:
            check_number("end", self.end, above=self.start)


_EVERYDAY = ReadingOptions()
_CURRENT = contextvars.ContextVar("reading options", default=_EVERYDAY)


def current_options(opened: Any) -> ReadingOptions:
    """What a file, a path or a file object, is read with now, see [`ReadingOptions`]."""
    options = _CURRENT.get()
    if options.only is None:
        return options
    is_meant = isinstance(opened, str) and os.path.abspath(opened) == os.path.abspath(os.fsdecode(options.only))
    return options if is_meant else ReadingOptions(strict=options.strict)


@contextlib.contextmanager
def read_with(**changes: Any) -> Iterator[None]:
    """Files that are opened inside are read with other [`ReadingOptions`]; those that are not named stay."""
    token = _CURRENT.set(dataclasses.replace(_CURRENT.get(), **changes))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def select_sound(streams: Sequence[av.AudioStream], track: int | str | None, label: str) -> av.AudioStream | None:
    """The sound track that is asked for; None if there is none that can be decoded.

    Raises:
        ValueError: there is no such track, or no decoder for it.
    """
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if track is None:
        default = av.stream.Disposition.default
        return next((stream for stream in decodable if stream.disposition & default), next(iter(decodable), None))
    if isinstance(track, int):
        found = streams[track - 1] if track <= len(streams) else None
    else:
        found = next((stream for stream in streams if (stream.language or "").lower() == track.lower()), None)
    if found is None or found.codec_context is None:
        raise ValueError(f"{label} has no sound track {track!r} that can be decoded; it has {describe_sound(streams)}.")
    return found


def describe_sound(streams: Sequence[av.AudioStream]) -> str:
    """For messages: "1 (eng, aac, default), 2 (fra, ac3)"."""
    told = []
    for number, stream in enumerate(streams, start=1):
        codec = "no decoder" if stream.codec_context is None else stream.codec_context.name
        traits = [trait for trait in (stream.language, codec) if trait and trait != "und"]
        traits += ["default"] * bool(stream.disposition & av.stream.Disposition.default)
        told.append(f"{number} ({', '.join(traits)})")
    return ", ".join(told) or "none"


__all__ = ["ReadingOptions", "current_options", "describe_sound", "read_with", "select_sound"]
