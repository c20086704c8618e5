"""The common part of `avzoo run TASK ...`; each task's folder adds its own options and files in `command.py`.

Most commands take a file and give records. What a command needs is imported when it runs, so that `avzoo --help`
answers at once.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avzoo.files import refuse_devices


@dataclass(frozen=True)
class TaskCommand:
    """A task's part of `avzoo run`.

    Args:
        help: one line.
        score: meaning of the records' score, see [`avzoo.records.Records`]. Empty: the processor's `score`.
        add_options: adds the task's own options to its parser.
        parameters: options -> keyword arguments of the pipeline's call.
        check: raises if options contradict each other, before anything is loaded.
        records_path: options -> path of the records; None: stdout.
        write: writes the records to that path in a format. Default: [`write_records`].
        finish: writes everything else that is made of the answer.
        run: the whole command, for a task that doesn't map one file to records. `add_options` then adds every option,
            and the other fields are unused.
    """

    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    score: str = ""
    parameters: Callable[[argparse.Namespace], Mapping[str, Any]] = lambda options: {}
    check: Callable[[argparse.Namespace], None] = lambda options: None
    records_path: Callable[[argparse.Namespace], Path | None] = lambda options: options.output
    write: Callable[[argparse.Namespace, Any, str, Path | None], None] = lambda *answer: write_records(*answer)
    finish: Callable[[argparse.Namespace, list], None] = lambda options, answer: None
    run: Callable[[argparse.Namespace], None] | None = None


def add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "-o", "--output", type=Path, help="file to write; its suffix gives the format (default: print to stdout)"
    )
    parser.add_argument("--format", help="json, csv, rttm, srt or vtt (default: json)")
    add_model_options(parser)
    parser.add_argument("--batch-size", type=int, default=8)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options every task has: which model, on which device."""
    parser.add_argument("--model", help="folder or Hub id (default: the toy checkpoint in this package)")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub (default: main)")
    parser.add_argument("--device", help="cpu, cuda, mps, ... (default: GPU if available, else CPU)")


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that reads sound or pictures: which track, which part, what of damage."""
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--audio-track",
        metavar="N",
        help="which of several sound tracks: its number from 1 on, or language such as eng",
    )
    reading.add_argument("--video-track", type=int, metavar="N", help="which of several video tracks, from 1 on")
    reading.add_argument("--start", type=float, default=0.0, metavar="S", help="read from this second on")
    reading.add_argument("--end", type=float, metavar="S", help="read up to this second")
    reading.add_argument("--strict", action="store_true", help="refuse files that are damaged or cut short")


def read_as_told(run: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """The command with the options of [`add_reading_options`] in force; what the package warns of goes to stderr."""

    def run_reading(options: argparse.Namespace) -> None:
        from avzoo.audio.reading_options import read_with

        track = options.audio_track
        track = int(track) if track is not None and track.isdecimal() else track
        of_file = {"audio_track": track, "video_track": options.video_track, "start": options.start, "end": options.end}
        # A command may read other files, too, such as a sample of a voice.
        with show_warnings(), read_with(**of_file, only=getattr(options, "file", None), strict=options.strict):
            run(options)

    return run_reading


def find_origin(path: Path) -> float:
    """Seconds from the beginning of a file, as players count, to its first picture; 0 for what is no video."""
    from avzoo.video import probe_video

    try:
        return probe_video(path).origin
    except (ValueError, OSError):
        return 0.0


def add_face_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that analyses faces: where they come from, and how many."""
    from avzoo.pipelines.shared.face_detectors import DETECTORS

    faces = parser.add_mutually_exclusive_group()
    faces.add_argument(
        "--boxes",
        type=Path,
        help="known face boxes, .csv (frame,x1,y1,x2,y2; frames count from 0 at 25 per second, pixels are the video's) "
        "or .json of `avzoo tracks`, which tells its own rate and size",
    )
    faces.add_argument(
        "--detector",
        choices=DETECTORS,
        help="yunet: OpenCV's detector, extra `faces`; s3fd: a converted checkpoint; drawn: faces drawn by toyworld "
        "(default: drawn for toyworld videos, else yunet)",
    )
    parser.add_argument(
        "--detector-model", type=Path, help="path of YuNet's ONNX file, or folder or Hub id of a converted S3FD"
    )
    parser.add_argument("--max-faces", type=int, help="keep only this many face tracks, the largest and longest")
    parser.add_argument(
        "--max-side", type=int, help="yunet: frames are made smaller until no side is longer; default 960 pixels"
    )
    parser.add_argument("--min-score", type=float, help="yunet: mean score that a face track needs; default 0.8")


def add_cropped_face_options(parser: argparse.ArgumentParser) -> None:
    """Add [`add_face_options`], and the option for a video that shows one face only."""
    add_face_options(parser)
    parser.add_argument(
        "--face-video", action="store_true", help="the video is already cropped to one face; skip detection"
    )


def choose_faces(options: argparse.Namespace) -> Any:
    """The argument `faces` of a pipeline, from the options of [`add_cropped_face_options`]."""
    return "frame" if options.face_video else choose_detector(options)


def choose_detector(options: argparse.Namespace) -> Any:
    """The same, from the options of [`add_face_options`] alone."""
    wanted = {"max_side": options.max_side, "min_track_score": options.min_score}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not wanted:
        return options.boxes or options.detector
    if options.boxes is not None or options.detector not in (None, "yunet"):
        raise ValueError("--max-side and --min-score are for the detector yunet.")
    from avzoo.video import YuNetDetector

    return YuNetDetector(options.detector_model, **wanted)


def check_face_options(options: argparse.Namespace) -> None:
    """Raise a ValueError or an OSError if the chosen detector has no model, before anything is computed."""
    if options.detector == "s3fd" and options.detector_model is None:
        raise ValueError("--detector s3fd needs --detector-model, a folder that `avzoo convert s3fd` wrote.")
    if options.detector == "s3fd" and options.detector_model.is_dir():
        from avzoo.pipelines.shared.saved_folders import check_detector_folder

        check_detector_folder(options.detector_model)


def run_task(options: argparse.Namespace) -> None:
    """Run a task's pipeline on one file and write its records."""
    from avzoo import zoo
    from avzoo.records import FORMATS, Records

    command = zoo.list_tasks()[options.task].load_command()
    path = command.records_path(options)
    format = options.format or (path.suffix.lower().removeprefix(".") if path else "json")
    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {format!r}.")
    if not options.file.is_file():
        raise FileNotFoundError(f"`{options.file}` does not exist.")
    if options.output is not None:
        check_writable(options.output)
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    command.check(options)
    pipe, model = load_chosen_pipeline(options.task, options)
    with note_warnings() as notes:
        answer = pipe(str(options.file), batch_size=options.batch_size, **command.parameters(options))
    records = Records(
        task=options.task,
        model=model,
        source=options.file.name,
        score=command.score or pipe.processor.score,
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        records=answer,
        origin=find_origin(options.file),
        notes=notes,
    )
    command.write(options, records, format, path)
    command.finish(options, answer)


def load_chosen_pipeline(task: str, options: argparse.Namespace, **parts: Any) -> tuple[Any, str]:
    """Load a task's transformers pipeline as the options `model`, `revision` and `device` say: (pipeline, its name).

    Args:
        parts: further arguments of the pipeline.
    """
    import avzoo
    from avzoo import zoo
    from avzoo.pipelines.shared.saved_folders import load_task_pipeline

    check_device(options.device)
    check_revision(options)
    method = zoo.find_default_method(task).name
    model = options.model or avzoo.toy_checkpoint(method)
    silence_transformers()
    silence_hub()
    pipe = load_task_pipeline(task, model, options.device, options.revision, **parts)
    return pipe, name_toy(method) if options.model is None else model


def name_toy(method: str) -> str:
    """What a method's toy checkpoint is called in answers; it is said once on stderr what it is for."""
    print(
        f"no --model is given: this is the toy checkpoint of {method}, trained on synthetic media to try things out; "
        f"on real recordings its answers mean nothing. `avzoo info {method}` tells where weights come from.",
        file=sys.stderr,
    )
    return f"toy:{method}"


def write_records(options: argparse.Namespace, records: Any, format: str, path: Path | None) -> None:
    """Write [`Records`] to a file and print its path to stderr; without a path, print the records to stdout."""
    if path is None:
        print(records.export(format), end="")
    else:
        print(records.save(path, format), file=sys.stderr)


def load_diffusion_pipeline(method: str, options: argparse.Namespace) -> Any:
    """Load a method's diffusers pipeline as the options `model`, `device`, `dtype` and `preset` say."""
    import torch

    from avzoo import toy_checkpoint, zoo
    from avzoo.pipelines.shared.saved_folders import load_checked_pipeline

    check_device(options.device)
    check_revision(options)
    device = options.device or choose_device()
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.startswith("cuda") else "float32"))
    silence_transformers()
    silence_diffusers()
    silence_hub()
    row = zoo.find_row(method)
    pipeline_class = row.load(row.diffusion_pipeline)
    model = options.model or toy_checkpoint(method)
    if options.model is None:
        name_toy(method)
    pipe = load_checked_pipeline(pipeline_class, model, options.revision, torch_dtype=dtype).to(device)
    return pipe if options.preset is None else pipe.use_preset(options.preset)


def check_revision(options: argparse.Namespace) -> None:
    """Raise a ValueError if a revision is given for what is no repository on the Hub."""
    if options.revision is not None and (options.model is None or Path(options.model).exists()):
        place = (
            "the toy checkpoint is no repository" if options.model is None else f"`{options.model}` is a folder here"
        )
        raise ValueError(f"--revision {options.revision} needs --model, the name of a repository on the Hub; {place}.")


def check_writable(path: Path) -> None:
    """Raise an OSError if no file can be written to `path`, before anything is computed."""
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"`{path}` cannot be written: it is a folder, or its parent folder does not exist.")
    refuse_devices(path)


def refuse_inputs_as_output(output: Path, inputs: Iterable[Path]) -> None:
    """Raise a ValueError if writing to `output` would replace one of the files that are read."""
    if output.exists() and any(output.samefile(path) for path in inputs):
        raise ValueError(f"--output ({output}) is one of the files to read; name another one.")


@contextmanager
def show_warnings() -> Iterator[None]:
    """Print the package's own warnings inside to stderr at the end, each once; `avzoo` keeps others to itself."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            own = [warning for warning in caught if warning.category is UserWarning and is_own(warning.filename)]
            for message in dict.fromkeys(str(warning.message) for warning in own):
                print(message, file=sys.stderr)


@contextmanager
def note_warnings() -> Iterator[list[str]]:
    """A list that holds, afterwards, what the package warned of inside, each once; the warnings go on as they were."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for warning in caught:
        if warning.category is UserWarning and is_own(warning.filename) and str(warning.message) not in notes:
            notes.append(str(warning.message))
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def is_own(file: str) -> bool:
    """Whether a line of code is this package's, and not a library's."""
    parts = Path(file).parts
    return "avzoo" in parts or not {"site-packages", "dist-packages"}.intersection(parts)


def silence_transformers() -> None:
    """Keep transformers' log lines and progress bars off stderr, where users look for the command's own messages."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def silence_diffusers() -> None:
    """Keep diffusers' log lines and progress bars off stderr."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def silence_hub() -> None:
    """Keep huggingface_hub from logging each retry when the Hub can't be reached."""
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


def choose_device() -> str:
    """The accelerator if there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(name: str | None) -> None:
    """Raise a ValueError if torch has no such device."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from error
