"""Results of active speaker detection as files: predictions in AVA-ActiveSpeaker's format."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.data.ava_active_speaker import write_ava_predictions
from avzoo.pipelines.active_speaker_detection.segments import frame_numbers, require_scores
from avzoo.rates import FRAMES_PER_SECOND


def write_ava_csv(
    path: str | os.PathLike,
    records: Sequence[Mapping[str, Any]],
    *,
    width: int,
    height: int,
    video_id: str,
    origin: float = 0.0,
) -> Path:
    """Every frame's score as predictions in AVA-ActiveSpeaker's format; written atomically.

    Args:
        records: of the pipeline, with scores.
        width, height: of the video, pixels: boxes are written in parts of them.
        video_id: first column; entities are called `<video_id>:<track_id>`.
        origin: seconds from the file's beginning, where other programs start to count, to the first picture.

    Raises:
        ValueError: no records, or records without scores.
        OSError: the folder is missing or can't be written.
    """
    require_scores(records)
    size = np.array([width, height, width, height], dtype=np.float64)
    rows = (
        {
            "entity_id": f"{video_id}:{record['track_id']}",
            "video_id": video_id,
            "timestamps": np.round(origin + frame_numbers(record) / FRAMES_PER_SECOND, 2),
            "boxes": np.array(record["boxes"]) / size,
        }
        for record in records
    )
    write_ava_predictions(path, zip(rows, (record["scores"] for record in records), strict=True))
    return Path(path)
