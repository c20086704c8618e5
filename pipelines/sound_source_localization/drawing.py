"""Results of sound source localization as pictures: heat over the picture, and over each frame of a video."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.pipelines.sound_source_localization.decisions import NOT_DECIDED, NOT_SOUNDING, SILENT, SOUNDING
from avzoo.pipelines.sound_source_localization.maps import make_heatmap
from avzoo.video.drawing import HeatOverlay, contact_sheet, draw_boxes, draw_heatmap, draw_label
from avzoo.video.reading import VideoReader
from avzoo.video.rendering import render_video

BOX_COLOUR = (86, 180, 233)
_WORDS = {SOUNDING: "", NOT_DECIDED: "", NOT_SOUNDING: "not here: ", SILENT: "silence: "}


def draw_answer(picture: np.ndarray, answer: Mapping[str, Any], title: str = "") -> np.ndarray:
    """The heat of an answer over its picture, with its boxes and its confidence; no heat where nothing sounds.

    Args:
        picture: (height, width, 3) uint8, upright.
        answer: of the pipeline; boxes are drawn if it has them.
        title: written before the confidence.
    """
    drawn = picture if answer["sounds"] is False else draw_heatmap(picture, answer["heatmap"])
    return _finish(drawn, answer.get("boxes", ()), answer["label"], answer["confidence"], title)


def draw_answers(picture: np.ndarray, answers: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> np.ndarray:
    """[`draw_answer`] of one picture with several sounds, side by side, up to four in a row."""
    drawn = [draw_answer(picture, answer, title) for answer, title in zip(answers, titles, strict=True)]
    return drawn[0] if len(drawn) == 1 else contact_sheet(drawn, min(4, len(drawn)))


def write_heat_video(
    source: Any, records: Iterable[Mapping[str, Any]], path: str | os.PathLike, *, progress: bool = False
) -> Path:
    """Write a video with the heat of each record drawn over its frames; no heat where nothing sounds.

    Frames are read block by block, and records taken one by one as they are needed, so those of
    [`SoundSourceLocalizationPipeline.stream`] can be written while they are computed.

    Args:
        source: the video that `records` belong to, or a reader of it.
        records: in order of time, with `similarity`.
        path: of the mp4 to write; written atomically.

    Raises:
        ValueError: records without maps. What reading and [`avzoo.video.VideoWriter`] raise.
    """
    reader = source if isinstance(source, VideoReader) else VideoReader(source)
    waiting, fps = iter(records), float(reader.fps)
    current: Mapping[str, Any] | None = None
    overlay: HeatOverlay | None = None

    def draw(frame: np.ndarray, index: int) -> np.ndarray:
        nonlocal current, overlay
        if current is None or index / fps >= current["end"] - 0.25 / fps:  # times are floats of whole frames
            following = next(waiting, None)
            if following is not None:
                if "similarity" not in following:
                    raise ValueError("`records` have no maps; pass return_maps=True to the pipeline.")
                current = following
                overlay = None
                if current["sounds"] is not False:
                    similarity, size = np.asarray(current["similarity"]), frame.shape[:2]
                    kind = {name: current.get(name, False) for name in ("middle_only", "absolute")}
                    overlay = HeatOverlay(make_heatmap(similarity, *size, current.get("objectness"), **kind), *size)
        if current is None:
            return frame
        drawn = frame if overlay is None else overlay.draw(frame)
        boxes = current.get("boxes") or ([] if current["box"] is None else [current["box"]])
        return _finish(drawn, boxes, current["label"], current["score"], "")

    written = render_video(reader, path, draw, fps=reader.fps, progress=progress)
    for _ in waiting:  # what was not drawn is computed, too
        pass
    return written


def _finish(drawn: np.ndarray, boxes: Sequence[Any], label: str, confidence: float, title: str) -> np.ndarray:
    if len(boxes):
        inside = [(x1, y1, x2 - 1, y2 - 1) for x1, y1, x2, y2 in boxes]
        drawn = draw_boxes(drawn, inside, colours=[BOX_COLOUR] * len(inside))
    return draw_label(drawn, f"{title}  {_WORDS[label]}{confidence:.2f}".strip(), (3, 2))


__all__ = ["draw_answer", "draw_answers", "write_heat_video"]
