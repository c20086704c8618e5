"""`avzoo run sign-language-recognition`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from avzoo.files import check_readable
from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_model_options,
    check_writable,
    find_origin,
    load_chosen_pipeline,
    note_warnings,
    refuse_inputs_as_output,
    show_warnings,
    write_records,
)

TASK = "sign-language-recognition"
VIDEOS, FORMATS = (".mp4", ".m4v", ".mov"), ("json", "csv", "srt", "vtt")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a video, or a folder of frames")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help=".srt or .vtt (subtitles), .csv, .json, or .mp4, the video with its glosses (default: print JSON)",
    )
    parser.add_argument("--format", help="of the glosses (default: the suffix of --output, else json)")
    parser.add_argument("--n-best", type=int, default=1, metavar="N", help="sentences in the JSON, best first")
    parser.add_argument("--num-beams", type=int, default=10, help="width of the search; 1: greedy; default 10")
    parser.add_argument("--language-model", type=Path, metavar="FILE", help="KenLM file of glosses (extra `lm`)")
    parser.add_argument("--lm-weight", type=float, default=0.5, help="of the language model; default 0.5")
    parser.add_argument("--insertion-bonus", type=float, default=0.0, help="for each gloss, beside it; default 0")
    parser.add_argument("--source-fps", type=float, help="frames per second of a folder of frames (default: 25)")
    parser.add_argument("--max-frames", type=int, help="that go through the network at once (default: 312)")
    add_model_options(parser)


def _recognize(options: argparse.Namespace) -> None:
    from avzoo.pipelines.sign_language_recognition.drawing import write_subtitled_video
    from avzoo.pipelines.sign_language_recognition.pipeline import check_parameters

    draws = options.output is not None and options.output.suffix.lower() in VIDEOS
    format = _choose_format(options, draws)
    check_readable(options.file, "file")
    if options.output is not None:
        check_writable(options.output)
        refuse_inputs_as_output(options.output, [options.file])
    parameters: dict[str, Any] = {
        "n_best": options.n_best,
        "num_beams": options.num_beams,
        "source_fps": options.source_fps,
        "lm_weight": options.lm_weight,
        "insertion_bonus": options.insertion_bonus,
    }
    if options.max_frames is not None:
        parameters["max_frames"] = options.max_frames
    check_parameters(parameters)
    if options.language_model is not None:
        from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import load_kenlm

        check_readable(options.language_model, "language_model")
        parameters["language_model"] = load_kenlm(str(options.language_model))
        check_parameters(parameters)
    pipe, model = load_chosen_pipeline(TASK, options)
    with show_warnings(), note_warnings() as notes:
        answer = pipe(str(options.file), **parameters)
    if not answer["glosses"]:
        print(f"no gloss was found in {options.file.name}.", file=sys.stderr)
    _write(options, pipe, model, answer, notes, format, None if draws else options.output)
    if draws:
        drawn = {"source_fps": options.source_fps, "progress": sys.stderr.isatty()}
        print(write_subtitled_video(options.file, answer["glosses"], options.output, **drawn), file=sys.stderr)


def _choose_format(options: argparse.Namespace, draws: bool) -> str:
    """Format of the glosses, checked before anything is loaded."""
    suffix = "" if options.output is None or draws else options.output.suffix.lower().removeprefix(".")
    format = options.format or suffix or "json"
    if format not in FORMATS:
        endings = ", ".join(f".{name}" for name in (*FORMATS, *(ending[1:] for ending in VIDEOS)))
        if options.format is None:
            raise ValueError(f"--output must end in one of {endings}, got {options.output}.")
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {options.format!r}.")
    return format


def _write(
    options: argparse.Namespace,
    pipe: Any,
    model: str,
    answer: dict[str, Any],
    notes: list[str],
    format: str,
    path: Path | None,
) -> None:
    from avzoo.records import Records

    records = Records(
        task=TASK,
        model=model,
        source=options.file.name,
        score="probability",
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        records=answer["glosses"],
        origin=find_origin(options.file),
        notes=notes,
        summary={"text": answer["text"], "log_probability": answer["score"], "n_best": answer["n_best"]},
    )
    write_records(options, records, format, path)


COMMAND = TaskCommand(
    help="The glosses of a video of signing, with their times.", add_options=_add_options, run=_recognize
)
