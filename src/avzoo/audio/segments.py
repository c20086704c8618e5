"""Segments of a recording, without decoding the rest of the file where the format allows."""

import os

import numpy as np
import soundfile

from avzoo.audio.reading import read_audio

_SEEKABLE = ("WAV", "WAVEX", "RF64", "FLAC")  # libsndfile knows their length, and lands on the very sample


def read_rate_and_length(path: str | os.PathLike) -> tuple[int, int] | None:
    """Read rate in Hz and samples per channel from the header; None where a format doesn't state them reliably."""
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, TypeError):  # TypeError: the name ends in .raw, which soundfile won't probe
        return None
    return (info.samplerate, info.frames) if info.format in _SEEKABLE and info.frames else None


def read_segment(path: str | os.PathLike, start: int, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Read one segment; equals `read_audio(path, sampling_rate)[0][start : start + num_samples]`.

    Args:
        path: a file for which [`read_rate_and_length`] is not None.
        start, num_samples: at `sampling_rate`; fewer samples are returned where the recording ends earlier.

    Raises:
        ValueError: a damaged file, or one that ends before the length it announces; and what `read_audio` raises.
    """
    source_rate, length = read_rate_and_length(path)
    # Whole seconds lie on a sample at either rate, so the segment equals that of resampling the whole file. One more on
    # either side keeps the resampling filter from seeing the cut.
    first_second = max(0, start // sampling_rate - 1)
    last_second = -(-(start + num_samples) // sampling_rate) + 1
    first, last = first_second * source_rate, min(last_second * source_rate, length)
    try:
        with soundfile.SoundFile(path) as sound:
            sound.seek(first)
            samples = sound.read(last - first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path} is damaged ({error}).") from error
    if len(samples) < last - first:
        raise ValueError(f"{path} ends after {first + len(samples)} of the {length} samples that it announces.")
    samples, _ = read_audio(samples.mean(axis=1), sampling_rate, source_rate=source_rate, name=os.fspath(path))
    start_here = start - first_second * sampling_rate
    return samples[start_here : start_here + num_samples]


__all__ = ["read_rate_and_length", "read_segment"]
