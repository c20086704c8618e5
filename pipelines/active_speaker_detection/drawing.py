"""Results of active speaker detection as pictures: the video with scored boxes, and curves of the scores."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.files import write_atomically
from avzoo.pipelines.active_speaker_detection.segments import frame_numbers, require_scores
from avzoo.rates import FRAMES_PER_SECOND
from avzoo.video import VideoWriter, draw_boxes, draw_cursor, render_video, stack
from avzoo.video.drawing import BACKGROUND
from avzoo.video.reading import VideoReader

# A green and a red that are told apart by people who don't see other greens and reds as different.
SPEAKING_COLOUR, SILENT_COLOUR = (0, 158, 115), (213, 94, 0)


def write_scored_video(
    source: Any,
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    *,
    progress: bool = False,
) -> Path:
    """Write the video with a box around each face, green while it speaks and else red, and its score on top.

    Below the picture lies a line of time for each face, in the same colours; faces that are never there together share
    one. The video is read block by block.

    Args:
        source: the video that `records` belongs to.
        records: of the pipeline, with scores.
        path: of the mp4 to write, 25 frames per second; written atomically.

    Raises:
        ValueError: records without scores, or that reach beyond the video. What reading and
            [`avzoo.video.VideoWriter`] raise.
    """
    require_scores(records)
    reader = VideoReader(source)
    VideoWriter(path, FRAMES_PER_SECOND)  # refuses a wrong path before the video is read
    num_frames = reader.count_frames(FRAMES_PER_SECOND)
    strips = speaking_strips(records, num_frames, reader.info.width, max(4, reader.info.height // 60))
    by_start = sorted(records, key=lambda record: record["start"])
    there: list[Mapping[str, Any]] = []

    def draw(frame: np.ndarray, index: int) -> np.ndarray:
        nonlocal there
        while by_start and frame_numbers(by_start[0])[0] <= index:
            there.append(by_start.pop(0))
        there = [record for record in there if frame_numbers(record)[-1] >= index]
        picture = _draw_scores(frame, there, index)
        position = index / max(num_frames - 1, 1)
        return stack([picture, *(draw_cursor(strip, position) for strip in strips)])

    return render_video(reader, path, draw, fps=FRAMES_PER_SECOND, num_frames=num_frames, progress=progress)


def speaking_strips(
    records: Sequence[Mapping[str, Any]], num_frames: int, width: int, row_height: int
) -> list[np.ndarray]:
    """Lines of time, each (row_height, width, 3): green where a face speaks, red where it is there and does not."""
    rows: list[tuple[int, np.ndarray]] = []  # the frame after its last, and colours by frame
    for record in sorted(records, key=lambda record: (record["start"], record["track_id"])):
        frames = frame_numbers(record)
        if frames[-1] >= num_frames:
            raise ValueError(
                f"`records`: face {record['track_id']} is there until frame {frames[-1]}, the video has {num_frames} "
                "frames at 25 per second."
            )
        row = next((row for row, (stop, _) in enumerate(rows) if stop <= frames[0]), len(rows))
        colours = np.full((num_frames, 3), BACKGROUND, np.uint8) if row == len(rows) else rows[row][1]
        colours[frames] = np.where(np.array(record["speaking"])[:, None], SPEAKING_COLOUR, SILENT_COLOUR)
        rows[row : row + 1] = [(int(frames[-1]) + 1, colours)]
    shown = np.arange(width) * num_frames // width
    strips = []
    for _, colours in rows:
        strip = np.broadcast_to(colours[shown], (row_height, width, 3)).copy()
        strip[0] = BACKGROUND
        strips.append(strip)
    return strips


def plot_scores(
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    *,
    threshold: float | None = None,
    truth: Sequence[np.ndarray | None] | None = None,
) -> Path:
    """Draw each face's scores over time, and its segments below them.

    Args:
        records: of one video, with scores.
        path: of the picture, .png, .pdf or .svg; written atomically.
        threshold: drawn as a line.
        truth: for each record (frames,) bool, whether it does speak; drawn as a shade.

    Raises:
        ImportError: matplotlib is not there. ValueError: no records, or records without scores.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the picture is drawn with matplotlib: pip install matplotlib.") from error
    require_scores(records)
    if not records:
        raise ValueError("there is nothing to draw: no face was scored.")
    figure = Figure(figsize=(9, 1 + 1.8 * len(records)), layout="constrained")
    axes = figure.subplots(len(records), 1, squeeze=False, sharex=True)[:, 0]
    for number, (axis, record) in enumerate(zip(axes, records, strict=True)):
        times = frame_numbers(record) / FRAMES_PER_SECOND
        low, high = min(0.0, *record["scores"]), max(1.0, *record["scores"])
        if truth is not None and truth[number] is not None:
            axis.fill_between(times, low, high, where=truth[number], step="post", color="0.85", label="truth")
        axis.plot(times, record["scores"], color="C0", label="score")
        for segment in record["segments"]:
            axis.plot([segment["start"], segment["end"]], [low, low], color="C2", linewidth=5, solid_capstyle="butt")
        if threshold is not None:
            axis.axhline(threshold, color="0.4", linestyle=":")
        axis.set(ylabel=f"face {record['track_id']}")
        axis.grid(alpha=0.3)
    axes[0].legend(loc="upper right")
    axes[-1].set(xlabel="time (s); green: segments")
    with write_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    return Path(path)


def _draw_scores(frame: np.ndarray, records: Sequence[Mapping[str, Any]], index: int) -> np.ndarray:
    places = [index - round(record["start"] * FRAMES_PER_SECOND) for record in records]
    return draw_boxes(
        frame,
        [record["boxes"][place] for record, place in zip(records, places, strict=True)],
        colours=[
            SPEAKING_COLOUR if record["speaking"][place] else SILENT_COLOUR
            for record, place in zip(records, places, strict=True)
        ],
        labels=[
            f"{record['track_id']}  {record['scores'][place]:.2f}"
            for record, place in zip(records, places, strict=True)
        ],
    )
