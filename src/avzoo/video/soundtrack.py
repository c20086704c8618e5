"""The soundtrack of a video, aligned to the video's clock."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np

from avzoo.audio.chunks import CHUNK_SIZE, Chunks, merge_chunks, mix_channels, mix_loudspeakers, resample_chunks
from avzoo.audio.media_files import decode_frames

# Time stamps rounded to milliseconds, as mkv and flv have them, are no gaps; a lost AAC frame (21 ms) is one.
_JITTER = Fraction(15, 1000)
_RUN_UP = Fraction(1, 2)  # seconds decoded before a start in the middle: codecs and filters need what came before


def read_soundtrack(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    label: str,
    *,
    origin: Fraction,
    sampling_rate: int | None,
    start: Fraction,
    end: Fraction | None,
    packets: Iterable[av.Packet] | None = None,
    joins: Sequence[Fraction] = (),
    on_damage: Callable[[Fraction, str], None] | None = None,
) -> tuple[np.ndarray, int]:
    """Read a sound track from `start` to `end` on the video clock, mono.

    Args:
        container: an open file.
        stream: its sound track to read.
        label: what messages call the file.
        origin: the time stamp, seconds, of the first video frame.
        sampling_rate: wanted rate, Hz. None keeps the track's.
        start, end: seconds; None: to the track's end. Sample j of the result is the sound at start + j / rate, and
            zero where the track has none.
        packets: of the container from its beginning, with the stamps that count. None: as the container has them.
        joins: stamps where another part of a joined file begins; the sound of the one before ends there.
        on_damage: see [`decode_frames`]; what is left out is zero.

    Returns:
        Samples, float32, (round(end * rate) - round(start * rate),); and their rate, Hz.

    Raises:
        ValueError: the track has NaN or infinite samples; without `on_damage` it is damaged or cut short.
    """
    source_rate = stream.rate
    rate = sampling_rate or source_rate
    # A resampler that starts where both rates have a sample, and early enough, gives what one from 0 would.
    step = Fraction(1, math.gcd(source_rate, rate))
    begin = max(Fraction(0), (start - _RUN_UP) // step * step)
    if stream.time_base * source_rate > 1 or packets is not None:
        begin = Fraction(0)  # stamps in milliseconds place no sample exactly: all positions are counted from the first
    if begin:
        seek_to = max(Fraction(0), origin + begin - _RUN_UP)
        try:
            container.seek(int(seek_to / stream.time_base), stream=stream, backward=True)
        except av.error.FFmpegError:
            begin = Fraction(0)
    options = {"whole": not begin, "late_start": bool(begin), "packets": packets, "on_damage": on_damage}
    frames = decode_frames(container, stream, label, **options)
    stop = None if end is None else end + _RUN_UP
    chunks = mix_channels(merge_chunks(_fill_gaps(frames, origin, begin, stop, joins)), "mono", label)
    parts, early = [np.zeros(0, np.float32)], sample_index(start, rate) - sample_index(begin, rate)
    for _, chunk in resample_chunks(chunks, rate):
        parts.append(chunk[0, early:])
        early -= min(early, chunk.shape[1])
    samples = np.concatenate(parts)
    bad = samples.size - np.count_nonzero(np.isfinite(samples))
    if bad:
        raise ValueError(f"{label}: {bad} samples of its sound are NaN or infinite; repair or drop it.")
    return align_to_clock(samples, rate, start, end)


def align_to_clock(samples: np.ndarray, rate: int, start: Fraction, end: Fraction | None) -> tuple[np.ndarray, int]:
    """Cut or zero-pad samples that begin at `start` so that they end at `end` exactly."""
    if end is None:
        return np.ascontiguousarray(samples), rate
    covered = np.zeros(sample_index(end, rate) - sample_index(start, rate), np.float32)
    samples = samples[: len(covered)]
    covered[: len(samples)] = samples
    return covered, rate


def sample_index(seconds: Fraction, rate: int) -> int:
    """The index of the sample at a time, halves rounded up."""
    return math.floor(seconds * rate + Fraction(1, 2))


def _fill_gaps(
    frames: Iterator[av.AudioFrame],
    origin: Fraction,
    begin: Fraction,
    stop: Fraction | None,
    joins: Sequence[Fraction] = (),
) -> Chunks:
    """Consecutive samples from `begin` on: gaps are filled with zeros, overlapping and earlier samples are dropped."""
    now, placed = begin, False  # where the next sample belongs
    for frame in frames:
        rate, samples = frame.sample_rate, mix_loudspeakers(frame)
        time = now if frame.pts is None else frame.pts * frame.time_base - origin
        late = time - now
        if placed and abs(late) <= _JITTER:
            late = Fraction(0)
        shift = sample_index(late, rate) if late >= 0 else -sample_index(-late, rate)
        if -shift >= samples.shape[1]:
            continue
        placed = True
        join = next(
            (join - origin for join in joins if now < join - origin < now + Fraction(len(samples[0]), rate)), None
        )
        if join is not None and not late:  # the encoder's filling, or sound that lasts longer than the pictures
            samples = samples[:, : sample_index(join - now, rate)]
        for gap in range(0, shift, CHUNK_SIZE):
            if stop is not None and now + Fraction(gap, rate) >= stop:
                return
            yield rate, np.zeros((len(samples), min(CHUNK_SIZE, shift - gap)), np.float32)
        samples = samples[:, max(0, -shift) :]
        yield rate, samples
        now += Fraction(max(shift, 0) + samples.shape[1], rate)
        if stop is not None and now >= stop:
            return
