"""`avzoo run active-speaker-detection`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_cropped_face_options,
    check_face_options,
    choose_faces,
    write_records,
)


def _add_speaker_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(batch_size=64)  # frames of faces
    add_cropped_face_options(parser)
    parser.add_argument("--every", type=int, default=1, help="detect faces in every n-th frame only")
    parser.add_argument(
        "--durations",
        type=float,
        nargs="+",
        metavar="S",
        help="window lengths to average, seconds (default: those of the weights)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="minimum score that counts as speaking (default: 0.5 for probabilities, 0 for logits)",
    )
    parser.add_argument("--smoothing", type=int, default=5, help="number of frames to average, odd; default 5")
    parser.add_argument("--min-segment", type=float, default=0.0, metavar="S", help="omit shorter segments")
    parser.add_argument("--max-gap", type=float, default=0.2, metavar="S", help="bridge shorter pauses; default 0.2")
    parser.epilog = (
        "--output may also be an .mp4, the video with each face's score drawn in. A .csv has AVA-ActiveSpeaker's "
        "format, every frame of every face; .rttm, .srt and .vtt hold the segments; .json everything."
    )


def _speaker_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "faces": choose_faces(options),
        "progress": sys.stderr.isatty(),
        **{
            name: getattr(options, name)
            for name in (
                "detector_model",
                "max_faces",
                "every",
                "durations",
                "threshold",
                "smoothing",
                "min_segment",
                "max_gap",
            )
        },
    }


def _draws_speakers(options: argparse.Namespace) -> bool:
    return options.output is not None and options.output.suffix.lower() in (".mp4", ".m4v", ".mov")


def _check_speakers(options: argparse.Namespace) -> None:
    from avzoo.pipelines.active_speaker_detection.pipeline import check_parameters

    check_face_options(options)
    check_parameters(_speaker_parameters(options))
    if options.format == "csv" and (options.output is None or _draws_speakers(options)):
        raise ValueError("--format csv needs --output, the file to write.")


def _write_speakers(options: argparse.Namespace, records: Any, format: str, path: Path | None) -> None:
    from dataclasses import replace

    from avzoo.pipelines.active_speaker_detection.files import write_ava_csv
    from avzoo.pipelines.active_speaker_detection.segments import segment_records
    from avzoo.video import probe_video

    if format in ("rttm", "srt", "vtt"):
        records = replace(records, records=segment_records(records.records))
    if format != "csv":
        write_records(options, records, format, path)
    elif not records.records:
        raise ValueError(f"no face was found in {options.file.name}, so there is nothing to write to {path}.")
    else:
        info = probe_video(options.file)
        place = {"width": info.width, "height": info.height, "origin": info.origin}
        print(write_ava_csv(path, records.records, **place, video_id=options.file.stem), file=sys.stderr)


def _finish_speakers(options: argparse.Namespace, answer: list[dict[str, Any]]) -> None:
    from avzoo.pipelines.active_speaker_detection.drawing import write_scored_video

    if not answer:
        print(f"no face was found in {options.file.name}.", file=sys.stderr)
    if _draws_speakers(options):
        print(write_scored_video(options.file, answer, options.output, progress=sys.stderr.isatty()), file=sys.stderr)


COMMAND = TaskCommand(
    help="For each face of a video, when it is the one that is heard.",
    add_options=_add_speaker_options,
    parameters=_speaker_parameters,
    check=_check_speakers,
    records_path=lambda options: None if _draws_speakers(options) else options.output,
    write=_write_speakers,
    finish=_finish_speakers,
)
