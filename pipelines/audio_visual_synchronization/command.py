"""`avzoo run audio-visual-synchronization`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from avzoo.pipelines.shared.commands import TaskCommand, add_face_options, check_face_options, check_writable


def _add_synchronization_options(parser: argparse.ArgumentParser) -> None:
    add_face_options(parser)
    parser.add_argument("--face-video", action="store_true", help="the frame shows one face box and nothing else")
    parser.add_argument("--max-shift", type=int, default=15, help="frames of 40 ms to both sides; default 15")
    parser.add_argument("--stride", type=int, default=1, help="compare every n-th window only, n times faster")
    parser.add_argument("--fix", action="store_true", help="write the video with its sound put in time to --output")
    parser.add_argument("--render", type=Path, metavar="PNG", help="also draw the curve, and confidence over time")


def _synchronization_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "faces": "frame" if options.face_video else options.boxes or options.detector,
        "detector_model": options.detector_model,
        "max_faces": options.max_faces,
        "max_shift": options.max_shift,
        "stride": options.stride,
        "progress": sys.stderr.isatty(),
    }


def _check_synchronization(options: argparse.Namespace) -> None:
    from avzoo.video.shifting import checked_ending

    check_face_options(options)
    if options.fix:
        if options.output is None:
            raise ValueError("--fix needs --output, the video to write.")
        checked_ending(options.output)  # says now what it would say after everything was computed
    if options.render is not None:
        check_writable(options.render)


def _finish_synchronization(options: argparse.Namespace, answer: list[dict[str, Any]]) -> None:
    from avzoo.pipelines.audio_visual_synchronization.pipeline import most_confident, plot_offsets
    from avzoo.video import shift_sound

    if not answer:
        print(f"no face was found in {options.file.name}.", file=sys.stderr)
    if options.render is not None and any(record["curve"] for record in answer):
        print(plot_offsets(answer, options.render), file=sys.stderr)
    if options.fix:
        surest = most_confident(answer)
        if surest is None:
            raise ValueError(f"{options.file.name} was not repaired: no face tells by how much its sound is off.")
        print(f"face {surest['track_id']}: {surest['meaning']}", file=sys.stderr)
        print(shift_sound(options.file, options.output, surest["offset_seconds"]), file=sys.stderr)


COMMAND = TaskCommand(
    help="For each face of a video, by how much its sound is early or late.",
    score="logit",
    add_options=_add_synchronization_options,
    parameters=_synchronization_parameters,
    check=_check_synchronization,
    records_path=lambda options: None if options.fix else options.output,
    finish=_finish_synchronization,
)
