"""`avzoo run sound-source-localization`, and its part of `avzoo calibrate`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avzoo.files import check_readable
from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_model_options,
    check_writable,
    load_chosen_pipeline,
    refuse_inputs_as_output,
    show_warnings,
    write_records,
)

if TYPE_CHECKING:
    from avzoo.pipelines.sound_source_localization.pipeline import SoundSourceLocalizationPipeline

TASK = "sound-source-localization"
VIDEOS, PICTURES = (".mp4", ".m4v", ".mov"), (".png", ".jpg", ".jpeg", ".webp")
_FORMATS_OF_VIDEOS, _FORMATS_OF_PICTURES = ("json", "csv", "rttm", "srt", "vtt"), ("json", "csv")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help="a video with its sound")
    parser.add_argument("--image", type=Path, help="a picture, in place of a video")
    parser.add_argument("--audio", type=Path, nargs="+", metavar="FILE", help="one or more sounds for --image")
    parser.add_argument(
        "--text", nargs="+", metavar="TEXT", help='or texts, such as "a dog barking", for models that read them'
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help=".json or .csv, of a video also .rttm, .srt, .vtt; or the heat drawn over it: .mp4 of a video, .png, "
        ".jpg or .webp of a picture (default: print JSON to stdout)",
    )
    parser.add_argument("--format", help="of the records (default: the suffix of --output, else json)")
    parser.add_argument("--fps", type=float, default=4.0, help="frames per second of a video to look at; default 4")
    parser.add_argument("--smoothing", type=int, default=3, help="number of them to average, odd; default 3")
    parser.add_argument(
        "--threshold", type=float, help="confidence from which it is in the picture (default: the model's)"
    )
    parser.add_argument(
        "--mask-threshold", type=float, default=0.5, help="heat from which a pixel is in a box; default 0.5"
    )
    parser.add_argument("--area", type=float, help="share of the picture that is marked instead, its hottest pixels")
    parser.add_argument("--objectness", action="store_true", help="mix in where things are, if the model has it")
    parser.add_argument("--maps", action="store_true", help="records have the raw similarity map, too (json)")
    add_model_options(parser)
    parser.add_argument("--batch-size", type=int, default=8)


def _locate(options: argparse.Namespace) -> None:
    from avzoo.pipelines.sound_source_localization.pipeline import check_parameters

    is_video = _choose_kind(options)
    format, draws = _choose_format(options, is_video)
    inputs = [options.file] if is_video else [options.image, *(options.audio or ())]
    for path in inputs:
        check_readable(path, "file")
        if path.is_dir():
            raise IsADirectoryError(f"`{path}` is a folder; name a file.")
    if options.output is not None:
        check_writable(options.output)
        refuse_inputs_as_output(options.output, inputs)
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    parameters = {
        "threshold": options.threshold,
        "mask_threshold": options.mask_threshold,
        "area": options.area,
        "objectness": options.objectness,
    }
    of_videos = {
        "frames_per_second": options.fps,
        "smoothing": options.smoothing,
        "return_maps": options.maps,
        "render": options.output if is_video and draws else None,
        "progress": sys.stderr.isatty(),
    }
    check_parameters(parameters | of_videos)
    pipe, model = load_chosen_pipeline(TASK, options)
    with show_warnings():
        if is_video:
            records = pipe(str(options.file), batch_size=options.batch_size, **parameters, **of_videos)
        else:
            records = _locate_in_picture(options, pipe, parameters, draws)
    _write(options, pipe, model, records, format, None if draws else options.output)
    if draws:
        print(options.output, file=sys.stderr)
    if pipe.find_threshold(options.threshold) is None:
        from avzoo.pipelines.sound_source_localization.decisions import NO_THRESHOLD

        print(f"note: {NO_THRESHOLD}", file=sys.stderr)


def _choose_kind(options: argparse.Namespace) -> bool:
    """Whether a video is asked for; a ValueError if the options contradict each other."""
    if options.audio is not None and options.text is not None:
        raise ValueError("give --audio or --text, not both.")
    if (options.image is None) != (options.audio is None and options.text is None):
        raise ValueError("--image and --audio belong together.")
    if (options.file is None) == (options.image is None):
        raise ValueError("give a video, or --image with --audio, and not both.")
    return options.file is not None


def _choose_format(options: argparse.Namespace, is_video: bool) -> tuple[str, bool]:
    """Format of the records, and whether the output is a picture or a video."""
    suffix = "" if options.output is None else options.output.suffix.lower()
    draws = suffix in VIDEOS + PICTURES
    if draws and (suffix in VIDEOS) != is_video:
        expected = ", ".join(VIDEOS if is_video else PICTURES)
        raise ValueError(f"--output of a {'video' if is_video else 'picture'} may end in {expected}, got {suffix}.")
    format = options.format or (suffix.removeprefix(".") if suffix and not draws else "json")
    formats = _FORMATS_OF_VIDEOS if is_video else _FORMATS_OF_PICTURES
    if format not in formats:
        raise ValueError(f"--format must be one of {', '.join(formats)}, got {format!r}.")
    return format, draws


def _locate_in_picture(
    options: argparse.Namespace, pipe: "SoundSourceLocalizationPipeline", parameters: dict[str, Any], draws: bool
) -> list[dict[str, Any]]:
    """Records of a picture with each sound; drawn, too, if that is asked for."""
    if options.audio is None:
        kind, queries, names = "text", options.text, options.text
    else:
        kind, queries, names = "audio", list(map(str, options.audio)), [path.name for path in options.audio]
    inputs = {"image": str(options.image), kind: queries}
    answers = pipe(inputs, batch_size=options.batch_size, return_boxes=True, **parameters)
    if draws:
        from avzoo.pipelines.sound_source_localization.drawing import draw_answers
        from avzoo.video import read_picture, write_picture

        titles = [Path(name).stem if kind == "audio" else name for name in names] if len(answers) > 1 else [""]
        write_picture(options.output, draw_answers(read_picture(options.image), answers, titles))
    return [
        {
            "start": 0.0,
            "end": answer["seconds"] or 0.0,  # a text has no length
            "label": answer["label"],
            "score": answer["confidence"],
            "sounds": answer["sounds"],
            "box": answer["box"],
            "peak": answer["peak"],
            "boxes": answer["boxes"],
            kind: name,
            "threshold": answer["threshold"],
            "meaning": answer["meaning"],
            **({"similarity": answer["similarity"]} if options.maps else {}),
        }
        for answer, name in zip(answers, names, strict=True)
    ]


def _write(
    options: argparse.Namespace,
    pipe: "SoundSourceLocalizationPipeline",
    model: str,
    records: list[dict[str, Any]],
    format: str,
    path: Path | None,
) -> None:
    from avzoo.records import Records

    make_plain = {"csv": make_row}.get(format, make_serializable)
    made = Records(
        task=TASK,
        model=model,
        source=(options.file or options.image).name,
        score=getattr(pipe.processor, "score", "cosine"),
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        records=[make_plain(record) for record in records],
    )
    write_records(options, made, format, path)


def make_serializable(record: dict[str, Any]) -> dict[str, Any]:
    """A record for JSON: maps become nested lists."""
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in record.items()}


def make_row(record: dict[str, Any]) -> dict[str, Any]:
    """A record for a table: the coordinates of box and peak have columns of their own; maps and other boxes are out."""
    box, peak = record["box"] or (None,) * 4, record["peak"] or (None, None)
    left_out = ("box", "boxes", "peak", "similarity", "objectness", "middle_only", "absolute")
    return {
        **{name: value for name, value in record.items() if name not in left_out},
        **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
        **dict(zip(("peak_x", "peak_y"), peak, strict=True)),
    }


def calibrate_confidence(options: argparse.Namespace) -> None:
    """`avzoo calibrate --pairs`: fit the threshold, and write it into the config of `options.folder`."""
    from avzoo.pipelines.shared.config_fields import write_fields
    from avzoo.pipelines.sound_source_localization.calibration import fit_threshold, measure_confidences, read_pairs

    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    pairs = read_pairs(options.pairs, options.root)
    pipe, _ = load_chosen_pipeline(TASK, options)
    with show_warnings():
        confidences = measure_confidences(
            pipe, pairs, seed=options.seed, batch_size=options.batch_size, progress=sys.stderr.isatty()
        )
    report = fit_threshold(confidences, pipe.find_threshold())
    path = write_fields(options.folder, report.fields)
    print(report)
    print(path, file=sys.stderr)


COMMAND = TaskCommand(
    help="Where in a video, or in a picture, what is heard is, and whether it is there at all.",
    add_options=_add_options,
    run=_locate,
)
