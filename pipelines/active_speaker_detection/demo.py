"""Two people talk in turn; each face is told when it is the one that is heard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.metrics import ava_average_precision
from avzoo.pipelines.active_speaker_detection.drawing import plot_scores, write_scored_video
from avzoo.toyworld.talkers import Talkers

UNKNOWN_PEOPLE = [72, 96]  # whom the toy checkpoint has never seen


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Score the faces of videos: a video with the scores drawn in, and a picture of them over time.

    Args:
        files: videos of people. None: drawn people who talk in turn, as the toy checkpoint knows them; it knows no
            others.
        output: folder for what is written.
        seed: of the clip. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures.
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}")
    pipe = pipeline("active-speaker-detection", model=avzoo.toy_checkpoint("talknce"), device="cpu")
    pictures = []
    for path in files:
        pictures += shown(pipe, path, output)
    if not files:
        talkers = Talkers(
            1, seed, split="speakers", situation="conversation", num_faces=2, seconds=6.0, size=[180, 320],
            mouthing=0.8, identities=UNKNOWN_PEOPLE,
        )  # fmt: skip
        clip = talkers[0]
        pictures += shown(pipe, talkers.write(clip, output)[0], output, clip)
    return pictures


def shown(pipe: Any, path: Path, output: Path, clip: Mapping[str, Any] | None = None) -> list[Path]:
    """Score one video, print what was found, and draw it; `clip` knows the truth."""
    records = pipe(str(path))
    if not records:
        print(f"{path.name}: no face was found")
        return []
    for record in records:
        times = ", ".join(f"{part['start']:.2f} to {part['end']:.2f} s" for part in record["segments"])
        print(f"  face {record['track_id']}: {record['label']} {times}".rstrip())
    truth = None if clip is None else [truth_of(record, clip) for record in records]
    if truth is not None and np.concatenate(truth).any():
        labels, scores = np.concatenate(truth), np.concatenate([record["scores"] for record in records])
        print(
            f"  average precision of frames: {ava_average_precision(scores, labels.astype(int)):.1f} %, "
            f"chance is {100 * labels.mean():.1f}"
        )
    video = write_scored_video(path, records, output / f"{path.stem}.scored.mp4")
    threshold = 0.5 if pipe.processor.score == "probability" else 0.0
    picture = plot_scores(records, output / f"{path.stem}.scores.png", threshold=threshold, truth=truth)
    print(f"  video: {video}")
    print(f"  picture: {picture}")
    return [picture]


def truth_of(record: Mapping[str, Any], clip: Mapping[str, Any]) -> np.ndarray:
    """(frames,) bool: whether the drawn person that lies under the boxes of a record speaks."""
    frames = round(record["start"] * clip["fps"]) + np.arange(len(record["scores"]))
    apart = np.abs(clip["boxes"][:, frames] - np.array(record["boxes"])).mean((1, 2))
    return clip["speaking"][int(apart.argmin()), frames]
