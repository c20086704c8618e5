"""Waveforms from what people have (files of any codec, bytes, arrays, `datasets` rows), and back to a WAV file.

Samples are float32, full scale is [-1, 1] (lossy codecs overshoot a little), time is the last axis. One chain serves
[`read_audio`] and [`iter_audio`]: chunks are decoded, checked, mixed, resampled, so both give the same samples and
the same errors. libsndfile reads wav, flac, ogg and mp3; FFmpeg, through PyAV, everything else and what libsndfile
refuses. Samples are consecutive: gaps and a late start in a container's time stamps are not filled with silence.
Encoder delay is removed where the file states it (mp4, webm, ogg, mp3 with a LAME tag), not where it can't be known
(bare aac, ts, avi: about 25 ms); up to one codec frame of padding can remain at the end of AAC.
"""

import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import soundfile

from avzoo.audio.chunks import (
    CHUNK_SIZE,
    Chunks,
    frame_to_array,
    merge_chunks,
    mix_channels,
    mix_loudspeakers,
    resample_chunks,
)
from avzoo.audio.media_files import damage_error, decode_frames, describe_streams, locate, open_container
from avzoo.audio.reading_options import current_options, select_sound
from avzoo.audio.resampling import check_rate
from avzoo.files import write_atomically

_UNKNOWN_SIZE = 0x7FFFF000  # from here up, a WAV header's data size means "was written to a pipe"


def read_audio(
    source: Any,
    sampling_rate: int | None = None,
    *,
    source_rate: int | None = None,
    channels: Literal["mono", "mean", "first", "all"] = "mono",
    name: str = "audio",
) -> tuple[np.ndarray, int]:
    """The whole recording, at the rate you want.

    Args:
        source: one of
            - a path (`str` or `os.PathLike`) of any audio file, or of a video with a sound track (of several tracks the
              one that [`ReadingOptions`] tells);
            - the `bytes` of such a file, or a binary file object, read from where it stands and left open;
            - an array, tensor or list of floats in [-1, 1], (samples,) or (channels, samples), with `source_rate`;
            - a row of `datasets`: a decoder with `get_all_samples()`, {"path", "bytes"}, {"array", "sampling_rate"},
              or {"raw", "sampling_rate"} as transformers' pipelines write it.
        sampling_rate: wanted rate, Hz. None keeps the source's.
        source_rate: rate of an array, Hz. Files carry their own and ignore it.
        channels: "mono", one channel as a player mixes it: the mean of left and right, of 5.1 and the like the centre
            most, of a pair that would cancel to silence one; the plain "mean" of all; the "first"; or "all" of them.
        name: what error messages call the source.

    Returns:
        The samples, float32, (samples,), or (channels, samples) for "all"; always a fresh array. And their rate, Hz.

    Raises:
        OSError: the file isn't there or can't be opened (`FileNotFoundError`, `IsADirectoryError`, ...).
        TypeError: the source is none of the above, or holds integers (scale PCM to [-1, 1] first), complex numbers,
            booleans or strings.
        ValueError: not audio, no sound track, no samples, broken midway or cut short (where the file announces its
            length: wav, flac, mp4, most mp3), NaN or infinite samples, an array without its rate.
    """
    chunks = _prepare_chunks(source, sampling_rate, source_rate, channels, name)
    rate, parts = 0, []
    for rate, samples in chunks:  # noqa: B007 - the last rate is every chunk's rate
        parts.append(samples)
    samples = np.concatenate(parts, axis=1)
    return samples if channels == "all" else samples[0], rate


def iter_audio(
    source: Any,
    sampling_rate: int | None = None,
    *,
    source_rate: int | None = None,
    block_seconds: float = 30.0,
    channels: Literal["mono", "mean", "first", "all"] = "mono",
    name: str = "audio",
) -> Iterator[np.ndarray]:
    """The same samples as [`read_audio`], block by block, in memory bounded by the block.

    Args:
        source, sampling_rate, source_rate, channels, name: as for [`read_audio`].
        block_seconds: length of every block but the last, which may be shorter.

    Yields:
        float32, (samples,), or (channels, samples) for "all".

    Raises:
        What [`read_audio`] raises: for arguments and missing files at the call, for what is wrong further inside a
        file when the blocks reach it, NaN and infinite samples after the last sound block.
    """
    if not (math.isfinite(block_seconds) and block_seconds > 0):
        raise ValueError(f"`block_seconds` must be a positive number of seconds, got {block_seconds!r}.")
    chunks = _prepare_chunks(source, sampling_rate, source_rate, channels, name)
    blocks = _split_into_blocks(chunks, block_seconds)
    return blocks if channels == "all" else (block[0] for block in blocks)


def write_wav(
    path: str | os.PathLike,
    samples: np.ndarray,
    sampling_rate: int,
    *,
    encoding: Literal["float32", "pcm16"] = "float32",
) -> None:
    """Write a WAV file in one step: the file is either there and whole, or as it was before.

    Args:
        path: where to; an existing file is replaced.
        samples: (samples,) or (channels, samples), floating point, full scale [-1, 1]. "pcm16" clips beyond.
        sampling_rate: Hz.
        encoding: "float32" keeps every value, "pcm16" is half the size and plays everywhere.

    Raises:
        TypeError: `samples` is not floating point.
        ValueError: `samples` has another shape or is NaN or infinite somewhere; an unknown `encoding`.
        OSError: the folder is missing or can't be written.
    """
    subtypes = {"float32": "FLOAT", "pcm16": "PCM_16"}
    if encoding not in subtypes:
        raise ValueError(f"`encoding` must be float32 or pcm16, got {encoding!r}.")
    rate = check_rate(sampling_rate, "sampling_rate")
    samples = _as_channels(samples, "`samples`").astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise ValueError(f"`samples`: {_count_non_finite(samples)} NaN or infinite; a WAV file of them plays as noise.")
    written = io.BytesIO()  # soundfile answers a full disk with an AssertionError, a missing folder with its own errors
    soundfile.write(written, samples.T, rate, format="WAV", subtype=subtypes[encoding])
    with write_atomically(path) as unfinished:
        unfinished.write_bytes(written.getbuffer())


# The chain: decode -> check -> mix -> resample.


def _prepare_chunks(
    source: Any, sampling_rate: int | None, source_rate: int | None, channels: str, name: str
) -> Chunks:
    """Chunks of a source, checked, mixed and resampled. Arguments are checked and files opened at the call."""
    if sampling_rate is not None:
        sampling_rate = check_rate(sampling_rate, "sampling_rate")
    if source_rate is not None:
        source_rate = check_rate(source_rate, "source_rate")
    if channels not in ("mono", "mean", "first", "all"):
        raise ValueError(f'`channels` must be "mono", "mean", "first" or "all", got {channels!r}.')
    label, chunks = _decode(source, source_rate, f"`{name}`", channels == "mono")
    return _check_not_empty(
        resample_chunks(mix_channels(_check_finite(chunks, label), channels, label), sampling_rate), label
    )


def _check_finite(chunks: Chunks, label: str) -> Chunks:
    """Refuse a recording without samples, or with NaN or infinite ones (counted to its end, for the message)."""
    position, bad, first = 0, 0, ""
    for rate, samples in chunks:
        finite = np.isfinite(samples)
        if not finite.all():
            if not bad:
                at = position + int(np.argmin(finite.all(axis=0)))
                first = f"sample {at} ({at / rate:.3f} s)"
            bad += int(finite.size - np.count_nonzero(finite))
        position += samples.shape[1]
        if not bad and samples.shape[1]:
            yield rate, samples
    if bad:
        raise ValueError(f"{label}: {bad} samples are NaN or infinite, the first at {first}; repair or drop it.")
    if not position:
        raise ValueError(f"{label} holds no samples: 0 seconds of audio.")


def _check_not_empty(chunks: Chunks, label: str) -> Chunks:
    made = 0
    for rate, samples in chunks:
        made += samples.shape[1]
        yield rate, samples
    if not made:
        raise ValueError(f"{label} is too short: at {rate} Hz not one sample is left.")


def _split_into_blocks(chunks: Chunks, seconds: float) -> Iterator[np.ndarray]:
    """Blocks of exactly `seconds`; the last one may be shorter."""
    waiting, count = [], 0
    for rate, samples in chunks:
        size = max(1, round(seconds * rate))
        while samples.shape[1]:
            taken, samples = samples[:, : size - count], samples[:, size - count :]
            waiting.append(taken)
            count += taken.shape[1]
            if count == size:
                yield np.concatenate(waiting, axis=1)
                waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)


# Sources -> (label for messages, chunks).


def _decode(source: Any, source_rate: int | None, label: str, mixes: bool) -> tuple[str, Chunks]:
    """`mixes`: channels for loudspeakers become one."""
    if isinstance(source, Mapping):
        return _decode_row(source, source_rate, label, mixes)
    located = locate(source, label)
    if located is not None:
        label, opened = located
        options, chunks = current_options(opened), _decode_file(opened, label, mixes)
        if options.start or options.end is not None:
            chunks = _cut(chunks, options.start, options.end)
        return label, chunks
    if hasattr(source, "get_all_samples"):  # torchcodec's AudioDecoder
        decoded = source.get_all_samples()
        return label, _slice_array(_as_channels(decoded.data, label), check_rate(decoded.sample_rate, "sample_rate"))
    samples = _as_channels(source, label)
    if source_rate is None:
        raise ValueError(
            f"{label} is an array, which doesn't tell its sampling rate; pass it as `source_rate` (Hz), to a processor "
            "as `sampling_rate`."
        )
    return label, _slice_array(samples, source_rate)


def _decode_row(row: Mapping, source_rate: int | None, label: str, mixes: bool) -> tuple[str, Chunks]:
    """Decode a dict as `datasets` and transformers' pipelines write it."""
    path = row.get("path")
    array = row.get("array") if row.get("array") is not None else row.get("raw")
    if array is not None:
        stated = row.get("sampling_rate")
        if stated is not None:
            stated = check_rate(stated, "sampling_rate")
            if source_rate not in (None, stated):
                raise ValueError(f"{label} says {stated} Hz, `source_rate` says {source_rate} Hz; pass only one.")
            source_rate = stated
        return _decode(array, source_rate, f"{label} ({os.path.basename(path)})" if path else label, mixes)
    if row.get("bytes") is not None:
        return _decode(row["bytes"], source_rate, f"{label} ({os.path.basename(path)})" if path else label, mixes)
    if path is not None:
        return _decode(path, source_rate, label, mixes)
    raise ValueError(
        f'{label} is a dict with the keys {sorted(map(str, row))}; expected "array" or "raw" with "sampling_rate", '
        'or "bytes" or "path".'
    )


def _as_channels(source: Any, label: str) -> np.ndarray:
    """Convert to (channels, samples) of a floating-point numpy type, without a copy where possible."""
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a torch tensor, told without importing torch
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()  # numpy has no bfloat16
    elif not isinstance(source, np.ndarray | list | tuple):
        raise TypeError(
            f"{label} must be a path, the bytes of a file, a binary file object, an array, a tensor, a list of floats "
            f"or a row of `datasets`, got {type(source).__name__}."
        )
    try:
        samples = np.asarray(source)
    except ValueError as error:
        raise ValueError(f"{label} is a list whose parts differ in length; expected (channels, samples).") from error
    if np.issubdtype(samples.dtype, np.integer):
        raise TypeError(
            f"{label} holds integers ({samples.dtype}); scale PCM to floats in [-1, 1] first, for 16 bits "
            "`samples.astype('float32') / 32768`."
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(f"{label} must hold real floating-point samples, got {samples.dtype}.")
    if samples.ndim not in (1, 2):
        raise ValueError(f"{label} must be (samples,) or (channels, samples), got {samples.shape}.")
    if samples.ndim == 2 and samples.shape[0] > samples.shape[1] > 0:
        raise ValueError(
            f"{label} of shape {samples.shape} would be {samples.shape[0]} channels of {samples.shape[1]} samples; "
            "expected (channels, samples), so pass its transpose."
        )
    return np.atleast_2d(samples)


def _slice_array(samples: np.ndarray, rate: int) -> Chunks:
    for start in range(0, samples.shape[1], CHUNK_SIZE):
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused as such
            yield rate, samples[:, start : start + CHUNK_SIZE].astype(np.float32)


def _cut(chunks: Chunks, start: float, end: float | None) -> Chunks:
    """The samples from one time to another."""
    seconds = 0.0
    for rate, samples in chunks:
        length = samples.shape[1]
        first = min(max(0, round((start - seconds) * rate)), length)
        stop = length if end is None else min(max(0, round((end - seconds) * rate)), length)
        if stop > first:
            yield rate, samples[:, first:stop]
        seconds += length / rate
        if end is not None and seconds >= end:
            return


# Encoded files.


class _SequentialSoundFile(soundfile.SoundFile):
    """A sound file that never seeks. soundfile seeks after each read, which makes MP3 lose its decoder's state:
    every chunk but the first would begin with a glitch."""

    def seekable(self) -> bool:
        return False


def _decode_file(opened: str | io.IOBase, label: str, mixes: bool) -> Chunks:
    try:
        sound = _SequentialSoundFile(opened)
    except (soundfile.SoundFileError, TypeError):  # TypeError: the name ends in .raw, which soundfile won't probe
        sound = None
    if sound is None or (mixes and sound.channels > 2 and sound.format == "FLAC"):  # FFmpeg knows where channels belong
        if sound is not None:
            sound.close()
        if not isinstance(opened, str):
            opened.seek(0)
        yield from _decode_with_ffmpeg(opened, label, mixes)
        return
    with sound:
        yield from _decode_with_libsndfile(sound, opened, label)


def _decode_with_libsndfile(sound: soundfile.SoundFile, opened: str | io.IOBase, label: str) -> Chunks:
    rate, done = sound.samplerate, 0
    while True:
        try:
            samples = sound.read(CHUNK_SIZE, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise damage_error(label, done / rate, str(error)) from error
        if not len(samples):
            break
        done += len(samples)
        yield rate, samples.T
    # libsndfile shortens a WAV's length to what is there, but keeps a note of it.
    note = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    short = note and int(note[2]) < int(note[1]) < _UNKNOWN_SIZE
    if short or (done < sound.frames and (sound.format != "MP3" or _has_mp3_length(opened))):
        raise damage_error(label, done / rate, "the header announces more")


def _has_mp3_length(opened: str | io.IOBase) -> bool:
    """Whether an MP3 states its length; without this tag the length is estimated from the bit rate, often far off."""
    if isinstance(opened, str):
        with open(opened, "rb") as file:
            head = file.read(1 << 16)
    else:
        opened.seek(0)
        head = opened.read(1 << 16)
    return b"Xing" in head or b"Info" in head


def _decode_with_ffmpeg(opened: str | io.IOBase, label: str, mixes: bool) -> Chunks:
    to_array = mix_loudspeakers if mixes else frame_to_array
    with open_container(opened, label) as container:
        if not container.streams.audio:
            raise ValueError(f"{label} has no audio stream (streams: {describe_streams(container)}).")
        stream = select_sound(container.streams.audio, current_options(opened).audio_track, label)
        if stream is None:
            stream = container.streams.audio[0]  # the error says that there is no decoder
        frames = decode_frames(container, stream, label)
        yield from merge_chunks((frame.sample_rate, to_array(frame)) for frame in frames)


def _count_non_finite(samples: np.ndarray) -> int:
    return int(samples.size - np.count_nonzero(np.isfinite(samples)))
