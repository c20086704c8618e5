"""`avzoo run audio-visual-synchronization`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_cropped_face_options,
    check_face_options,
    check_writable,
    choose_faces,
)


def _add_synchronization_options(parser: argparse.ArgumentParser) -> None:
    add_cropped_face_options(parser)
    parser.add_argument("--max-shift", type=int, default=15, help="largest offset, in frames of 40 ms (default: 15)")
    parser.add_argument("--stride", type=int, default=1, help="compare every n-th window only, which is n times faster")
    parser.add_argument("--fix", action="store_true", help="write the video with repaired sound to --output")
    parser.add_argument("--render", type=Path, metavar="PNG", help="plot scores over offsets, and offsets over time")


def _synchronization_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "faces": choose_faces(options),
        "detector_model": options.detector_model,
        "max_faces": options.max_faces,
        "max_shift": options.max_shift,
        "stride": options.stride,
        "progress": sys.stderr.isatty(),
    }


def _check_synchronization(options: argparse.Namespace) -> None:
    from avzoo.video.shifting import check_suffix

    check_face_options(options)
    if options.fix:
        if options.output is None:
            raise ValueError("--fix needs --output, the video to write.")
        check_suffix(options.output)  # before anything is computed
    if options.render is not None:
        check_writable(options.render)


def _finish_synchronization(options: argparse.Namespace, answer: list[dict[str, Any]]) -> None:
    from avzoo.pipelines.audio_visual_synchronization.drawing import plot_offsets
    from avzoo.pipelines.audio_visual_synchronization.records import select_most_confident
    from avzoo.video import shift_sound

    if not answer:
        print(f"no face was found in {options.file.name}.", file=sys.stderr)
    if options.render is not None and any(record["curve"] for record in answer):
        print(plot_offsets(answer, options.render), file=sys.stderr)
    if options.fix:
        most_confident = select_most_confident(answer)
        if most_confident is None:
            reasons = [f"face {record['track_id']}: {record['meaning']}" for record in answer] or ["no face was found"]
            raise ValueError(
                f"{options.file.name} was not repaired: no face has one reliable offset ({'; '.join(reasons)})."
            )
        print(f"face {most_confident['track_id']}: {most_confident['meaning']}", file=sys.stderr)
        print(shift_sound(options.file, options.output, most_confident["offset_seconds"]), file=sys.stderr)


COMMAND = TaskCommand(
    help="Offset between the sound and the lips of each face of a video.",
    score="logit",
    add_options=_add_synchronization_options,
    parameters=_synchronization_parameters,
    check=_check_synchronization,
    records_path=lambda options: None if options.fix else options.output,
    finish=_finish_synchronization,
)
