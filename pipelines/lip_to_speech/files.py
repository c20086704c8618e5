"""Speech of faces as files: the video with its new sound, or the sound alone."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.audio import write_wav
from avzoo.video.reading import VideoReader
from avzoo.video.rendering import render_video

VIDEOS, SOUNDS = (".mp4", ".m4v", ".mov"), (".wav",)


def mix_voices(records: Sequence[Mapping[str, Any]], num_samples: int | None = None) -> tuple[np.ndarray, int]:
    """The sound of a video: every voice from its own time on, silence where nobody is seen.

    Args:
        records: of the pipeline.
        num_samples: length of the sound. None: up to the end of the last voice.

    Returns:
        (samples,) float32, scaled down as a whole if it would exceed [-1, 1]; and its rate, Hz.

    Raises:
        ValueError: no records, or a voice that goes on after `num_samples`.
    """
    if not records:
        raise ValueError("`records` is empty: nobody speaks.")
    rate = records[0]["sampling_rate"]
    starts = [round(record["start"] * rate) for record in records]
    end = max(start + len(record["audio"]) for start, record in zip(starts, records, strict=True))
    num_samples = end if num_samples is None else num_samples
    if end > num_samples:
        raise ValueError(f"`records` speak until sample {end}, the sound has `num_samples` {num_samples}.")
    sound = np.zeros(num_samples, np.float32)
    for start, record in zip(starts, records, strict=True):
        sound[start : start + len(record["audio"])] += record["audio"]
    return sound / max(1.0, float(np.abs(sound).max())), rate


def check_output(path: str | os.PathLike, video: Any) -> None:
    """Refuse an output that can't be written, before anything is computed.

    Args:
        path: of the file to write.
        video: that is read.

    Raises:
        ValueError: another ending, or the video itself. OSError: a folder, or the folder of `path` is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in (*VIDEOS, *SOUNDS):
        raise ValueError(f"`output` must end in {', '.join((*VIDEOS, *SOUNDS))}, got {os.fspath(path)!r}.")
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"`output` (`{path}`) cannot be written: it is a folder, or its parent folder does not exist.")
    if isinstance(video, str | os.PathLike) and path.exists() and os.path.exists(video) and path.samefile(video):
        raise ValueError(f"`output` ({path}) is the video to read; name another file.")


def write_speech(
    video: Any,
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    *,
    num_samples: int | None = None,
    progress: bool = False,
) -> Path:
    """Write what the faces of a video say: the video with this sound and no other, or the sound alone.

    The video keeps its rate and size, is encoded again, and is read block by block. A sound alone begins where the
    video's file does, which may be before its first picture. Files are written atomically.

    Args:
        video: that `records` belong to; a path, the bytes of a file, or an [`avzoo.video.Video`].
        records: of the pipeline.
        path: ending in .mp4, .m4v, .mov or .wav; not the path of `video`.
        num_samples: length of the sound, see [`mix_voices`].
        progress: a bar on stderr.

    Raises:
        ValueError, OSError: as [`check_output`], [`mix_voices`] and reading.
    """
    check_output(path, video)
    sound, rate = mix_voices(records, num_samples)
    reader = VideoReader(video)
    if Path(path).suffix.lower() in SOUNDS:
        before = np.zeros(round(reader.info.origin * rate), np.float32)
        write_wav(path, np.concatenate([before, sound]), rate)
        return Path(path)
    own = {"fps": reader.fps, "audio": sound, "sampling_rate": rate, "progress": progress}
    return render_video(reader, path, lambda frame, index: frame, **own)


__all__ = ["check_output", "mix_voices", "write_speech"]
