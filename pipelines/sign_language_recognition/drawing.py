"""Videos of signing with their glosses below the picture."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avzoo.video.drawing import BACKGROUND, CURSOR, stack
from avzoo.video.frame_folders import FrameFolder
from avzoo.video.reading import VideoReader
from avzoo.video.rendering import render_video

NOW, BEFORE = (255, 255, 255), (140, 140, 150)
BAR = (86, 180, 233)
_LEAST_SIDE = 240  # pixels; smaller videos are enlarged by a whole number, or nobody could read the letters


def open_signing(video: Any, source_fps: float | None = None) -> VideoReader:
    """A reader of a video or of a folder of frames, which has `source_fps` (None: 25)."""
    if isinstance(video, str | os.PathLike) and os.path.isdir(video):
        video = FrameFolder(video)
    return VideoReader(video, source_fps=source_fps or 25)


def write_subtitled_video(
    video: Any,
    glosses: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    *,
    source_fps: float | None = None,
    progress: bool = False,
) -> Path:
    """Write the video with a strip below it: the gloss that is signed, those before it, and where each lies in time.

    The video is read block by block and keeps its rate and sound. Letters that Pillow's font lacks, such as Chinese
    ones, are drawn as boxes; write an .srt for them.

    Args:
        video: that `glosses` belong to.
        glosses: of the pipeline's answer.
        path: of the mp4 to write; written atomically.
        source_fps: of a folder of frames and of frames in memory. None: 25.

    Raises:
        What reading and [`avzoo.video.VideoWriter`] raise.
    """
    reader = open_signing(video, source_fps)
    num_frames = reader.count_frames()
    factor = -(-_LEAST_SIDE // min(reader.info.height, reader.info.width))
    caption = _Caption(glosses, reader.info.width * factor, num_frames / float(reader.fps))
    fps = float(reader.fps)

    def draw(frame: np.ndarray, index: int) -> np.ndarray:
        return stack([frame.repeat(factor, axis=0).repeat(factor, axis=1), caption.draw((index + 0.5) / fps)])

    return render_video(reader, path, draw, fps=reader.fps, num_frames=num_frames, progress=progress)


class _Caption:
    """The strip below the frames."""

    def __init__(self, glosses: Sequence[Mapping[str, Any]], width: int, duration: float):
        self.glosses, self.width, self.duration = list(glosses), width, max(duration, 1e-3)
        self.letters = max(12, width // 24)
        self.height = 2 * self.letters + 8
        self.font = ImageFont.load_default(self.letters)
        bar = Image.new("RGB", (width, 6), BACKGROUND)
        draw = ImageDraw.Draw(bar)
        for gloss in self.glosses:
            first, last = (round(gloss[edge] / self.duration * (width - 1)) for edge in ("start", "end"))
            draw.rectangle([first, 1, max(first, last - 3), 4], fill=BAR)
        self.bar = np.asarray(bar)
        self._drawn: tuple[tuple[int, bool], np.ndarray] | None = None

    def draw(self, seconds: float) -> np.ndarray:
        """(rows, width, 3) at a time: words that began, the last one bright while it lasts."""
        count = sum(gloss["start"] <= seconds for gloss in self.glosses)
        lasts = count > 0 and seconds < self.glosses[count - 1]["end"]
        if self._drawn is None or self._drawn[0] != (count, lasts):
            self._drawn = (count, lasts), self._write(count, lasts)
        bar = self.bar.copy()
        bar[:, min(self.width - 1, round(seconds / self.duration * (self.width - 1)))] = CURSOR
        return stack([self._drawn[1], bar])

    def _write(self, count: int, lasts: bool) -> np.ndarray:
        image = Image.new("RGB", (self.width, self.height), BACKGROUND)
        draw, right = ImageDraw.Draw(image), self.width - self.letters
        words = [gloss["label"] for gloss in self.glosses[:count]]
        total = draw.textlength(" ".join(words), font=self.font)
        x = min(self.letters, right - total)  # the end is what has to be seen
        for place, word in enumerate(words):
            colour = NOW if lasts and place == count - 1 else BEFORE
            draw.text((x, self.letters // 2), word, fill=colour, font=self.font)
            x += draw.textlength(f"{word} ", font=self.font)
        return np.asarray(image)


__all__ = ["open_signing", "write_subtitled_video"]
