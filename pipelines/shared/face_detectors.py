"""Which faces a task pipeline looks at: a detector by name, boxes that are known, or the one that suits the video."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avzoo.video import FaceDetector, FaceTracks, GivenBoxes, VideoReader

DETECTORS = ("drawn", "yunet", "s3fd")
WHOLE_FRAME = "frame"  # value of `faces` for videos that are already cropped to one face


def faces_from(faces: Any, model: str | os.PathLike | None, metadata: Mapping[str, str]) -> "FaceDetector | GivenBoxes":
    """What [`avzoo.video.find_face_tracks`] takes as `faces`.

    Args:
        faces: None: drawn faces for videos of toyworld, which say so in their comment, else YuNet; "drawn", "yunet" or
            "s3fd"; a path of boxes (.json, .csv); [`FaceTracks`]; or a detector or boxes, which stay as they are.
        model: YuNet's ONNX file, or the folder of a converted S3FD.
        metadata: tags of the video.

    Raises:
        ValueError: an unknown name, or "s3fd" without `model`. What reading boxes or loading a detector raises.
    """
    from avzoo.video import FaceTracks, GivenBoxes, YuNetDetector  # late: the command line asks only for the names

    if faces is None:
        from avzoo.video.drawn_faces import TOYWORLD_COMMENT

        faces = "drawn" if metadata.get("comment", "").startswith(TOYWORLD_COMMENT) else "yunet"
    if isinstance(faces, FaceTracks):
        return GivenBoxes.from_tracks(faces)
    if faces == "drawn":
        from avzoo.video.drawn_faces import DrawnFaceDetector

        return DrawnFaceDetector()
    if faces == "s3fd":
        from avzoo.models.s3fd import S3FDDetector

        if model is None:
            raise ValueError("the detector s3fd needs a model, a folder that `avzoo convert s3fd` wrote.")
        return S3FDDetector.from_pretrained(model)
    if faces == "yunet":
        return YuNetDetector(model)
    if isinstance(faces, str) and Path(faces).suffix.lower() not in (".csv", ".json"):
        raise ValueError(
            f"`faces` must be one of {', '.join(DETECTORS)}, a path of boxes (.csv, .json), boxes, tracks or a "
            f"detector; got {faces!r}."
        )
    return GivenBoxes.read(faces) if isinstance(faces, str | os.PathLike) else faces


def whole_frame_track(reader: "VideoReader", frames_per_second: int) -> "FaceTracks":
    """One track, whose box is the frame, from the first to the last."""
    import numpy as np

    from avzoo.video import FaceTracks, Track

    height, width = reader.info.height, reader.info.width
    count = reader.count_frames(frames_per_second)
    track = Track(0, np.arange(count), np.tile(np.array([0.0, 0.0, width, height]), (count, 1)))
    return FaceTracks([track], fps=float(frames_per_second), width=width, height=height, num_frames=count)


__all__ = ["DETECTORS", "WHOLE_FRAME", "faces_from", "whole_frame_track"]
