"""Streams of decoded sound: chunks of a few thousand samples, each with its sampling rate."""

from collections.abc import Iterator

import av
import numpy as np
import soxr

from avzoo.audio.resampling import QUALITY

CHUNK_SIZE = 1 << 14  # samples per channel in a chunk; at most this much is lost where a decoder fails
_SILENCED = 0.01  # of the power of two channels is left in their mean: one is the other turned over
# What each loudspeaker's channel adds to one channel, as ITU-R BS.775 has it for two, and both halved: a voice in the
# centre comes as loud as one that is mixed to the middle between left and right.
_HALF, _CENTRE, _AROUND = 0.5, 0.5**0.5, 0.5**1.5
_DOWNMIX = {"FL": _HALF, "FR": _HALF, "FC": _CENTRE, "LFE": 0.0, "BC": _HALF}
_DOWNMIX |= dict.fromkeys(("BL", "BR", "SL", "SR"), _AROUND)
_FULL_SCALE = {"i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}

Chunks = Iterator[tuple[int, np.ndarray]]  # (sampling rate in Hz, (channels, samples) float32)


def mix_channels(chunks: Chunks, channels: str, label: str) -> Chunks:
    """Make one channel ("mono"), take the "mean", the "first", or "all"; with "all" their number must not change.

    "mono" is the mean, too, but for two channels of which one is the other turned over, as a wrongly wired microphone
    gives: their mean would be silence, so the first is taken.
    """
    count, is_turned_over = None, False
    for rate, samples in chunks:
        if channels in ("mono", "mean"):
            mean = sum(samples[1:], start=samples[0])[None] / np.float32(len(samples))  # faster than `mean(axis=0)`
            if channels == "mono" and len(samples) == 2:
                left = np.square(samples).mean()
                if left > 0:
                    share = np.square(mean).mean() / left
                    is_turned_over = share < (_SILENCED if not is_turned_over else 10 * _SILENCED)
                mean = samples[:1] if is_turned_over else mean
            samples = mean
        elif channels == "first":
            samples = samples[:1]
        elif count not in (None, len(samples)):
            raise ValueError(
                f'{label} changes from {count} to {len(samples)} channels midway, which channels="all" cannot hold; '
                'read it with channels="mono" or "first".'
            )
        count = len(samples)
        yield rate, samples


def resample_chunks(chunks: Chunks, target: int | None) -> Chunks:
    """Resample to one rate, also where a stream changes its rate midway (broadcasts, chained files)."""
    current, stream, width = None, None, 0
    for rate, samples in chunks:
        target, width = target or rate, len(samples)
        if rate != current:
            if stream is not None:
                yield target, _resample_chunk(stream, np.zeros((width, 0), np.float32), last=True)
            stream = None if rate == target else soxr.ResampleStream(rate, target, width, "float32", QUALITY)
            current = rate
        if stream is not None:
            samples = _resample_chunk(stream, samples)
        yield target, samples
    if stream is not None:
        yield target, _resample_chunk(stream, np.zeros((width, 0), np.float32), last=True)


def _resample_chunk(stream: soxr.ResampleStream, samples: np.ndarray, last: bool = False) -> np.ndarray:
    columns = stream.resample_chunk(np.ascontiguousarray(samples.T), last=last)
    return columns.reshape(-1, len(samples)).T


def frame_to_array(frame: av.AudioFrame) -> np.ndarray:
    """Convert to (channels, samples) float32, every channel as stored: FFmpeg's own conversion might mix them."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= 8:
        # PyAV (18.1) reads past the end of eight or more separate planes and crashes: interleave them first.
        (frame,) = av.AudioResampler(format=frame.format.packed).resample(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    full_scale = _FULL_SCALE.get(samples.dtype.str[1:])
    return samples.astype(np.float32) if full_scale is None else samples.astype(np.float32) / np.float32(full_scale)


def mix_loudspeakers(frame: av.AudioFrame) -> np.ndarray:
    """As [`frame_to_array`], but channels for loudspeakers around a listener, such as 5.1, are mixed to one.

    Of one or two channels, and where the file doesn't say where they belong (microphones, say), all are kept.
    """
    samples = frame_to_array(frame)
    names = [channel.name for channel in frame.layout.channels]
    if len(samples) < 3 or len(names) != len(samples) or not _DOWNMIX.keys() >= set(names):
        return samples
    return np.array([_DOWNMIX[name] for name in names], np.float32)[None] @ samples


def merge_chunks(chunks: Chunks) -> Chunks:
    """Join a codec's small frames (20 ms) into chunks, so that the next steps run per second, not per frame."""
    waiting: list[np.ndarray] = []
    current, count = None, 0
    for rate, samples in chunks:
        if waiting and ((rate, len(samples)) != current or count >= CHUNK_SIZE):
            yield current[0], np.concatenate(waiting, axis=1)
            waiting, count = [], 0
        current = (rate, len(samples))
        waiting.append(samples)
        count += samples.shape[1]
    if waiting:
        yield current[0], np.concatenate(waiting, axis=1)
