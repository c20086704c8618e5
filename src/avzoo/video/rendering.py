"""A video drawn upon, frame by frame, with its own sound or another, in bounded memory."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avzoo.video.reading import VideoReader
from avzoo.video.sound_chunks import SoundChunks
from avzoo.video.writing import VideoWriter


def render_video(
    reader: VideoReader,
    path: str | os.PathLike,
    draw: Callable[[np.ndarray, int], np.ndarray],
    *,
    fps: float,
    num_frames: int | None = None,
    audio: np.ndarray | None = None,
    sampling_rate: int | None = None,
    progress: bool = False,
    desc: str = "video",
) -> Path:
    """Write a video whose frames are drawn upon.

    Args:
        reader: of the video.
        path: of the mp4 to write; written atomically.
        draw: makes the frame to write, (rows, columns, 3) uint8 of one size, of a frame of the video and its number.
        fps: frames per second.
        num_frames: of the video at that rate, if known.
        audio: (samples,), the sound to write. None: the video's own, if it has any, read chunk by chunk.
        sampling_rate: of `audio`, Hz.
        progress: show a bar on stderr, called `desc`.

    Raises:
        ValueError: `audio` without its rate. What reading and [`avzoo.video.VideoWriter`] raise.
    """
    if (audio is None) != (sampling_rate is None):
        raise ValueError("`audio` and `sampling_rate` (Hz) belong together; pass both, or neither.")
    sound = None
    if audio is None and reader.info.sampling_rate is not None:
        sampling_rate = reader.info.sampling_rate
        sound = SoundChunks(reader, sampling_rate, fps, keep=1)
        num_frames = reader.count_frames(fps) if num_frames is None else num_frames  # the sound ends with the last
    with (
        VideoWriter(path, fps, sampling_rate) as writer,
        tqdm(total=num_frames, unit="frame", desc=desc, disable=not progress) as bar,
    ):
        if audio is not None:
            writer.write_audio(audio)
        index = 0
        for block in reader.frames(fps):
            for frame in block:
                writer.write(draw(frame, index))
                if sound is not None and index % sound.chunk_frames == 0:
                    writer.write_audio(sound.between(index, min(index + sound.chunk_frames, num_frames)))
                index += 1
            bar.update(len(block))
    return Path(path)
