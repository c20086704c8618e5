"""Streams of decoded sound: chunks of a few thousand samples, each with its sampling rate."""

from collections.abc import Iterator

import av
import numpy as np
import soxr

from avzoo.audio.resampling import QUALITY

CHUNK_SIZE = 1 << 14  # samples per channel in a chunk; at most this much is lost where a decoder fails
_FULL_SCALE = {"i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}

Chunks = Iterator[tuple[int, np.ndarray]]  # (sampling rate in Hz, (channels, samples) float32)


def mix_channels(chunks: Chunks, channels: str, label: str) -> Chunks:
    """Take the "mean" of all channels, the "first", or "all"; with "all" their number must not change."""
    count = None
    for rate, samples in chunks:
        if channels == "mean":
            samples = sum(samples[1:], start=samples[0])[None] / np.float32(len(samples))  # faster than `mean(axis=0)`
        elif channels == "first":
            samples = samples[:1]
        elif count not in (None, len(samples)):
            raise ValueError(
                f'{label} changes from {count} to {len(samples)} channels midway, which channels="all" cannot hold; '
                'read it with channels="mean" or "first".'
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
