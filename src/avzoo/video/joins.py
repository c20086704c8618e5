"""Where a file's time stamps begin anew or jump, and one clock for all of it.

Recordings that were joined byte by byte begin anew in the middle; broadcasts wrap their clock after 26.5 hours, and a
camera that is set while it records jumps. FFmpeg's program takes such stamps on from where the last ones ended, and so
does this: each part begins when the pictures of the one before end.

Stamps that go back begin a part. So do those that jump forward by more than [`MOST_GAP`] while no stream of the file
has anything to show or to say in between; a shorter gap is one, and is filled.
"""

import contextlib
import itertools
import math
import statistics
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

MOST_GAP = 60  # seconds without picture and sound that are believed
# Seconds by which stamps may go back: in the order of decoding they should not, in that of showing they do.
_MOST_BACK = {"decoding": 0.1, "showing": 1.0}
_MOST_TOLD = 3  # places that a message names
_INDEXED = {"mp4", "matroska", "avi"}  # formats whose files hold an index; of others FFmpeg makes one as it reads
_JOINABLE = {"matroska", "flv"}  # formats of which FFmpeg does not read all that is joined
_MOST_UNREAD = 4096  # bytes that an index behind the packets may have
_COVERED = 0.8  # of a file's bytes: an index that reaches so far is of the whole file


@dataclass(frozen=True)
class Join:
    """A place where a file's time stamps begin anew or jump.

    Args:
        time: seconds on the video's clock, which goes on there.
        jump: seconds by which the stamps jump; below 0 where they go back.
    """

    time: float
    jump: float


class PartFinder:
    """Tells of each packet, in the file's order, to which part of the file it belongs."""

    def __init__(self):
        self._parts: dict[int, int] = {}  # stream -> part
        self._last: dict[int, dict[str, float]] = {}  # stream -> its latest stamp of each kind, seconds
        self._ends: dict[int, float] = {}  # part -> the latest end of any stream in it

    def find(self, packet: av.Packet) -> int:
        """The part's number, from 0 on; a packet without a stamp belongs to its stream's part."""
        index = packet.stream.index
        part = self._parts.get(index, 0)
        stamps = {"decoding": packet.dts, "showing": packet.pts}
        tick = float(packet.time_base)  # a stamp's last digits decide nothing here
        times = {kind: stamp * tick for kind, stamp in stamps.items() if stamp is not None}
        if not times:
            return part
        time, last = next(iter(times.values())), self._last.setdefault(index, {})
        begins = any(kind in last and time < last[kind] - _MOST_BACK[kind] for kind, time in times.items())
        if begins or time > self._ends.get(part, time) + MOST_GAP:
            newest = max(self._parts.values(), default=0)
            part = newest if part < newest else newest + 1  # a stream that is behind the others catches up with them
            last.clear()
        self._parts[index] = part
        last.update(times)
        duration = (packet.duration or 0) * tick
        end = time + (duration if duration <= MOST_GAP else 0.0)
        self._ends[part] = max(end, self._ends.get(part, end))
        return part


@dataclass(frozen=True)
class FileClock:
    """One clock for a file of several parts.

    Args:
        shifts: seconds that are added to the stamps of each part.
        starts: the stamp, with its shift, where each part but the first begins.
        joins: the same for users, on the video's clock.
        end: of the pictures, seconds on the video's clock.
        interval: seconds from one picture to the next.
    """

    shifts: tuple[Fraction, ...]
    starts: tuple[Fraction, ...]
    joins: tuple[Join, ...]
    end: Fraction
    interval: Fraction

    def shift_packets(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The packets of all streams that were looked at, from the file's beginning, with stamps of one clock."""
        finder = PartFinder()
        for packet in packets:
            shift = self.shifts[min(finder.find(packet), len(self.shifts) - 1)]
            if shift:
                steps = math.floor(shift / packet.time_base + Fraction(1, 2))
                if packet.pts is not None:
                    packet.pts += steps
                if packet.dts is not None:
                    packet.dts += steps
            yield packet


def read_clock(
    container: av.container.InputContainer,
    pictures: av.VideoStream,
    sound: av.AudioStream | None,
    origin: Fraction,
    label: str,
) -> FileClock | None:
    """Read the stamps of a whole file without decoding anything. None where they go on as they should.

    Args:
        container: just opened.
        origin: the stamp of the first picture, seconds.
        label: what messages call the file; a warning tells where FFmpeg does not read it to its end.
    """
    finder = PartFinder()
    stamps: dict[tuple[int, int], list[int]] = {}  # (part, stream) -> stamps of showing
    reached = 0
    streams, every = [stream for stream in (pictures, sound) if stream is not None], list_media(container)
    with contextlib.suppress(av.error.FFmpegError):  # what is damaged is told when it is decoded
        for packet in container.demux(*every):
            part, stamp = finder.find(packet), packet.dts if packet.pts is None else packet.pts
            reached = max(reached, (packet.pos or 0) + packet.size)
            if stamp is not None:
                stamps.setdefault((part, packet.stream.index), []).append(stamp)
    unread = container.size - reached
    holds_more = any(stream.type == "attachment" for stream in container.streams)  # fonts may lie behind the packets
    may_hold_more = not holds_more and _JOINABLE.intersection(container.format.name.split(","))
    if may_hold_more and unread > max(_MOST_UNREAD, 0.2 * container.size):
        warnings.warn(
            f"{label}: FFmpeg reads nothing of its last {unread} bytes ({unread / container.size:.0%}), as where "
            "recordings are joined byte by byte; convert them one by one and join them then.",
            stacklevel=2,
        )
    count = 1 + max((part for part, _ in stamps), default=0)
    if count == 1:
        return None
    steps = [
        after - before
        for (_, index), own in stamps.items()
        if index == pictures.index
        for before, after in itertools.pairwise(sorted(own))
    ]
    interval = statistics.median_low(steps) * pictures.time_base if steps else Fraction(1, 25)
    shifts, starts, joins, end = [], [], [], None
    for part in range(count):
        lead = next((stream for stream in streams if (part, stream.index) in stamps), None)
        shift = shifts[-1] if shifts else Fraction(0)
        if lead is not None:
            own = stamps[part, lead.index]
            first, last = min(own) * lead.time_base, max(own) * lead.time_base
            if end is not None:
                jump, shift = first + shift - end, end - first
                starts.append(end)
                joins.append(Join(float(end - origin), float(jump)))
            end = max(last + interval + shift, end or origin)
        shifts.append(shift)
    return FileClock(tuple(shifts), tuple(starts), tuple(joins), (end or origin) - origin, interval)


def describe_joins(label: str, joins: tuple[Join, ...]) -> str:
    """One sentence about them."""
    places = [f"{join.time:.2f} s (by {join.jump:+.2f} s)" for join in joins[:_MOST_TOLD]]
    more = f" and {len(joins) - _MOST_TOLD} more" if len(joins) > _MOST_TOLD else ""
    return (
        f"{label}: its time stamps jump at {', '.join(places)}{more}, as where recordings are joined; the parts are "
        "taken one after another."
    )


def may_be_joined(container: av.container.InputContainer) -> bool:
    """Whether a file's stamps must be read to know them; an index that covers the whole file tells without."""
    covered = False
    if not _INDEXED.intersection(container.format.name.split(",")):
        return True
    begins, ends = [], []
    for stream in list_media(container):
        entries = stream.index_entries
        if not len(entries):
            continue
        stamps = [entry.timestamp for entry in entries]  # whole numbers: a film has half a million
        most_steps = math.floor(MOST_GAP / stream.time_base)
        if any(after - before > most_steps for before, after in itertools.pairwise(stamps)):
            return True
        begins.append(stamps[0] * stream.time_base)
        ends.append(stamps[-1] * stream.time_base)
        covered = covered or entries[-1].pos > _COVERED * container.size
    return not covered or max(begins) > min(ends) + MOST_GAP


def list_media(container: av.container.InputContainer) -> list[av.stream.Stream]:
    """The streams that show or say something, also those that are not read: what plays on is no gap."""
    media = (*container.streams.video, *container.streams.audio)
    return [stream for stream in media if not stream.disposition & av.stream.Disposition.attached_pic]


__all__ = ["MOST_GAP", "FileClock", "Join", "describe_joins", "list_media", "may_be_joined", "read_clock"]
