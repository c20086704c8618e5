"""Face tracks of a video, and videos that show tracks."""

import os
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from avzoo.video.detection import Detections, FaceDetector, detect_faces
from avzoo.video.drawing import draw_boxes, draw_cursor, stack, timeline, track_colour, waveform_strip
from avzoo.video.reading import VideoReader
from avzoo.video.rendering import render_video
from avzoo.video.shots import detect_shots
from avzoo.video.track_files import FaceTracks, GivenBoxes
from avzoo.video.tracking import track_faces

_BLOCK_FRAMES = 32
_MIN_DETECTIONS, _MAX_GAP = 10, 10  # of the tracker, when every frame is looked at


def find_face_tracks(
    source: Any,
    faces: FaceDetector | GivenBoxes,
    *,
    fps: float = 25.0,
    every: int = 1,
    max_faces: int | None = None,
    progress: bool = False,
    source_fps: float | None = None,
    name: str = "video",
) -> FaceTracks:
    """Find and track every face of a video within each shot, in one pass and bounded memory.

    Args:
        source: what [`avzoo.video.read_video`] takes.
        faces: a detector, or the boxes you have; boxes that carry track numbers are tracks as they stand.
        fps: rate at which the video is looked at; the frames of given boxes count at it, unless they tell another.
        every: detect in each n-th frame only. The tracker bridges the gaps, and asks for as many fewer detections.
        max_faces: keep so many tracks, those with the largest faces for the longest time.
        progress: show a bar on stderr.
        source_fps: rate of frames given in memory. name: what error messages call the source.

    Returns:
        The tracks; none if nobody was found.

    Raises:
        What `read_video` raises; ValueError: given boxes beyond the video, an `every` or `max_faces` below 1.
    """
    if every < 1:
        raise ValueError(f"`every` must be at least 1, got {every}.")
    reader = VideoReader(source, source_fps=source_fps, name=name)
    # Blocks of whole strides, so that each block can be looked at by itself.
    blocks = reader.frames(fps, block_frames=every * -(-_BLOCK_FRAMES // every))
    found: list[Detections] = []
    num_frames, (height, width) = 0, (0, 0)

    def watch_blocks() -> Iterator[np.ndarray]:
        nonlocal num_frames, height, width
        expected = None if reader.info.duration is None else round(reader.info.duration * fps)
        with tqdm(total=expected, unit="frame", desc="faces", disable=not progress) as bar:
            for block in blocks:
                if not isinstance(faces, GivenBoxes):
                    found.extend(detect_faces(block, faces, every=every))
                num_frames, (height, width) = num_frames + len(block), block.shape[1:3]
                bar.update(len(block))
                yield block

    if isinstance(faces, GivenBoxes) and faces.track_ids is not None:
        shots = None  # who is who is known, whatever was cut; the frames are only counted
        deque(watch_blocks(), maxlen=0)
    else:
        shots = detect_shots(watch_blocks())
    options = {
        "min_detections": _MIN_DETECTIONS // every,
        "max_gap": max(_MAX_GAP, 2 * every),
        "max_faces": max_faces,
    }
    if isinstance(faces, GivenBoxes):
        tracks = faces.convert(float(fps), width, height, num_frames).tracks(num_frames, shots, **options)
    else:
        needed = getattr(faces, "min_track_score", None)
        tracks = track_faces(found, shots, min_score=needed, **options)
        boxes = sum(map(len, found))
        if boxes and not tracks:
            warnings.warn(
                f"`{name}`: faces were seen {boxes} times in {num_frames} frames, but none for long enough: a track "
                f"needs more than {options['min_detections']} frames that were looked at, or half of a shorter shot"
                f"{'' if needed is None else f', and a mean score of at least {needed:g}'}.",
                stacklevel=2,
            )
    label = os.path.basename(source) if isinstance(source, str | os.PathLike) else ""
    return FaceTracks(tracks, fps=float(fps), width=width, height=height, num_frames=num_frames, source=label)


def render_face_tracks(
    source: Any,
    tracks: FaceTracks,
    path: str | os.PathLike,
    *,
    progress: bool = False,
    source_fps: float | None = None,
) -> Path:
    """Write the video with a box around each face, and below it when each track is there and the sound.

    Args:
        source, source_fps: the video that `tracks` belongs to.
        path: of the mp4 to write; written atomically.

    Raises:
        What `read_video` and `VideoWriter` raise; ValueError: the video's frames have another size than the tracks'.
    """
    reader = VideoReader(source, source_fps=source_fps)
    if (reader.info.height, reader.info.width) != (tracks.height, tracks.width):
        raise ValueError(
            f"`tracks` are of a video of {tracks.width} x {tracks.height} pixels, this one has "
            f"{reader.info.width} x {reader.info.height}."
        )
    sound, rate = (None, None) if reader.info.sampling_rate is None else reader.soundtrack(16000)
    present = []
    for track in tracks.tracks:
        present.append(np.full(tracks.num_frames, np.nan))
        present[-1][track.frames] = 1.0
    strips = [timeline(present, tracks.width, max(4, tracks.height // 60))] if present else []
    if sound is not None:
        strips.append(waveform_strip(sound, tracks.width, max(16, tracks.height // 8)))

    def draw(frame: np.ndarray, index: int) -> np.ndarray:
        there = [track for track in tracks.tracks if track.start_frame <= index < track.stop_frame]
        picture = draw_boxes(
            frame,
            [track.boxes[index - track.start_frame] for track in there],
            colours=[track_colour(track.track_id) for track in there],
            labels=[_label(track.track_id, track.scores[index - track.start_frame]) for track in there],
        )
        position = index / max(tracks.num_frames - 1, 1)
        return stack([picture, *(draw_cursor(strip, position) for strip in strips)])

    return render_video(
        reader,
        path,
        draw,
        fps=tracks.fps,
        num_frames=tracks.num_frames,
        audio=sound,
        sampling_rate=rate,
        progress=progress,
    )


def _label(track_id: int, score: float) -> str:
    return f"{track_id}" if np.isnan(score) else f"{track_id}  {score:.2f}"
