"""The command line: avzoo list | info | card | convert | run | calibrate | tracks | toyworld | demo | push.

What a command needs is imported when it runs, so that `avzoo --help` and `avzoo list` answer at once.
"""

import argparse
import ast
import dataclasses
import itertools
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avzoo import zoo
from avzoo.files import check_readable, fill_folder, write_folder_atomically
from avzoo.pipelines.shared.commands import (
    add_common_options,
    add_face_options,
    add_reading_options,
    check_face_options,
    check_writable,
    choose_detector,
    read_as_told,
    run_task,
    show_warnings,
    silence_hub,
    silence_transformers,
)
from avzoo.pipelines.shared.demos import list_demos, run_demos
from avzoo.pipelines.sound_source_localization.command import calibrate_confidence
from avzoo.pipelines.speaker_verification.command import add_list_options, calibrate_verification


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 1 with the reason on stderr."""
    options = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # warnings are for developers; `python -W default -m avzoo.cli` shows them
                warnings.simplefilter("ignore")
            options.command(options)
    except Exception as error:
        if not is_expected(error):
            raise
        line = " ".join(str(error).split())  # a damaged file may bring its names into it, of any length and kind
        line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
        print("avzoo:", line if len(line) <= 4000 else f"{line[:4000]} ...", file=sys.stderr)
        return 1
    return 0


def is_expected(error: Exception) -> bool:
    """Whether the error explains invalid input; any other error is a bug and keeps its traceback."""
    if isinstance(error, ValueError | TypeError | OSError | ImportError):
        return True
    from huggingface_hub.errors import StrictDataclassError  # what config classes raise; no ValueError

    return isinstance(error, StrictDataclassError)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="avzoo", description="A model zoo for speech and audio-visual methods.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=run)
        return sub

    listing = command("list", list_methods, "List the methods: task, paper, summary.")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.add_argument(
        "--commercial-ok", action="store_true", help="only methods whose code, weights and data allow it"
    )

    info = command("info", show_method, "Show one method: paper, source, licences, released checkpoints.")
    info.add_argument("method")
    info.add_argument("--json", action="store_true", help="print JSON")

    card = command("card", print_card, "Print a method's model card.")
    card.add_argument("method")

    convert = command(
        "convert", convert_file, "Convert the authors' checkpoint to a folder that from_pretrained loads."
    )
    convert.add_argument("method")
    convert.add_argument("checkpoint", nargs="?", help="file or folder; optional if every component is given by --part")
    convert.add_argument("output", help="folder to create")
    convert.add_argument(
        "--variant", help="which released checkpoint it is (default: told by its shapes or its file name)"
    )
    convert.add_argument(
        "--config",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override config values that can't be inferred from tensor shapes",
    )
    convert.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="path of a component (repeatable); NAME=none omits it",
    )

    run = commands.add_parser(
        "run", help="Run a task's pipeline on a file.", description="Run a task's pipeline on a file."
    )
    tasks = run.add_subparsers(required=True, metavar="task", dest="task")
    for name, task in zoo.list_tasks().items():
        task_command = task.load_command()
        sub = tasks.add_parser(name, help=task_command.help, description=task_command.help)
        sub.set_defaults(command=read_as_told(task_command.run or run_task))
        if task_command.run is None:
            add_common_options(sub)
        task_command.add_options(sub)
        add_reading_options(sub)

    calibration = command("calibrate", calibrate_folder, "Fit a model's threshold on data like yours.")
    calibration.add_argument("folder", type=Path, help="of the model; its config.json is changed")
    calibration.add_argument(
        "--trials", type=Path, metavar="LIST", help="speaker verification: development list, with labels"
    )
    calibration.add_argument(
        "--pairs",
        type=Path,
        metavar="CSV",
        help="sound source localization: table of pictures with their sounds, columns image, audio and perhaps label",
    )
    calibration.add_argument(
        "--target-far",
        default="eer",
        metavar="SHARE",
        help="share of false accepts at the threshold, such as 0.01; eer: equal error rates (default); cost: smallest "
        "detection cost with 1 %% of the trials targets",
    )
    calibration.add_argument(
        "--compensation",
        choices=("linear", "q_stack", "none"),
        help="of the speaker by the session similarity (default: linear; none for a model without session part)",
    )
    calibration.add_argument("--seed", type=int, default=0, help="of the noise that sounds are held against; default 0")
    calibration.add_argument("--device", help="cpu, cuda, mps, ... (default: GPU if available, else CPU)")
    add_list_options(calibration)

    tracks = command("tracks", read_as_told(find_tracks), "Find and follow the faces of a video.")
    tracks.add_argument("file", type=Path)
    tracks.add_argument("-o", "--output", type=Path, help="JSON file to write (default: print to stdout)")
    tracks.add_argument("--render", type=Path, metavar="MP4", help="also write the video with its face tracks drawn in")
    add_face_options(tracks)
    tracks.add_argument("--fps", type=float, default=25.0, help="frame rate of the tracks; default 25")
    tracks.add_argument("--every", type=int, default=1, help="detect faces in every n-th frame only")
    add_reading_options(tracks)

    toyworld = command("toyworld", write_toyworld, "Write synthetic media with their labels.")
    toyworld.add_argument("world", choices=toyworld_names())
    toyworld.add_argument("--n", type=int, default=4, help="number of clips; default 4")
    toyworld.add_argument("--out", type=Path, required=True, help="output folder; created if missing")
    toyworld.add_argument("--seed", type=int, default=0)
    toyworld.add_argument("--split", default="train", help="name of a split; different splits share no clip")
    toyworld.add_argument("--workers", type=int, default=1, help="number of processes")
    toyworld.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the world, for example seconds=4"
    )

    demo = command("demo", run_demo, "Run the toy checkpoints on small inputs and draw pictures.")
    demo.add_argument("task", nargs="?", choices=list_demos(), help="default: every task")
    demo.add_argument(
        "files", nargs="*", type=Path, help="recordings or videos (default: synthetic or installed examples)"
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="output folder")
    demo.add_argument("--seed", type=int, help="random seed (default: a new one each time)")

    push = command("push", push_folder, "Upload a converted folder to the Hub.")
    push.add_argument("folder", type=Path)
    push.add_argument("repository", help="owner/name; without an owner, your own")
    push.add_argument("--private", action="store_true", help="of a repository that is made")
    push.add_argument(
        "--with-code",
        action="store_true",
        help="upload the code, too: it loads with trust_remote_code=True where avzoo is not installed",
    )
    return parser


def list_methods(options: argparse.Namespace) -> None:
    rows = [row for row in zoo.METHODS if row.commercial_use or not options.commercial_ok]
    if options.json:
        print(json.dumps([describe(row) for row in rows], indent=2))
        return
    for row in rows:
        print(f"{row.name:<20} {row.task:<28} arXiv {row.paper}  {row.summary}")


def show_method(options: argparse.Namespace) -> None:
    row = zoo.find_row(options.method)
    if options.json:
        print(json.dumps(describe(row), indent=2))
        return
    print(f"{row.title}: {row.summary}")
    print(f"  paper       {row.paper_title}, https://arxiv.org/abs/{row.paper}")
    print(f"  source      {row.repository}")
    tasks = [task.name for task in row.tasks]
    print(f"  {'task' if len(tasks) == 1 else 'tasks':<11} {', '.join(tasks)}")
    stock = [f"{module}.{name}" for module, names in row.stock_classes.items() for name in names]
    print(f"  classes     {', '.join([*row.public_names, *stock])}")
    for thing, terms in row.licenses.items():
        print(f"  {thing + ' licence':<11} {terms.identifier}; {terms.note}")
    if row.parts:
        print("  parts, given by --part NAME=PATH")
        width = max(map(len, row.parts))
        for name, part in row.parts.items():
            print(f"    {name:<{width}} {part.holds} ({part.repository}, {part.license.identifier})")
    print("  variants")
    width = max((len(variant.name) for variant in row.variants), default=0)
    for variant in row.variants:
        file = f" File: {variant.checkpoint}" if variant.checkpoint else ""
        print(f"    {variant.name:<{width}} {variant.summary}{file}")
    print("  weights: get a file of its authors (or train one), turn it into a folder by")
    print(f"    avzoo convert {row.name} FILE FOLDER")
    print("  and give the folder, or the name of one on the Hub, as --model.")


def describe(row: zoo.Row) -> dict[str, Any]:
    tasks = [task.name for task in row.tasks]
    return dataclasses.asdict(row) | {"task": row.task, "tasks": tasks, "commercial_use": row.commercial_use}


def print_card(options: argparse.Namespace) -> None:
    from avzoo.model_cards import render_card

    print(render_card(options.method))


def convert_file(options: argparse.Namespace) -> None:
    row = zoo.find_row(options.method)
    if options.variant is not None:
        row.find_variant(options.variant)
    config = {name: parse_literal(value) for name, value in map(split_pair, options.config)}
    parts = {name: None if value == "none" else value for name, value in map(split_pair, options.part)}
    if parts.keys() - {"checkpoint"} and not row.parts:
        raise ValueError(f"{row.name} is one file: it has no part {next(iter(parts.keys() - {'checkpoint'}))!r}.")
    if options.checkpoint is not None and parts:
        parts["checkpoint"] = options.checkpoint
    if options.checkpoint is None and not parts:
        raise ValueError("give a checkpoint, or its components by --part NAME=PATH.")
    checkpoint = parts.get("checkpoint", options.checkpoint)
    if checkpoint is not None:
        check_readable(checkpoint, "checkpoint")

    with write_folder_atomically(options.output) as unfinished:  # refused now rather than after minutes
        from avzoo.conversion import convert_checkpoint, describe_conversion, write_converted  # seconds, with torch

        silence_transformers()
        with show_warnings():
            model = convert_checkpoint(
                options.method, parts or options.checkpoint, variant=options.variant, config=config
            )
        write_converted(model, unfinished, Path(options.output))
    print(describe_conversion(model), file=sys.stderr)
    print(Path(options.output))


def calibrate_folder(options: argparse.Namespace) -> None:
    if (options.trials is None) == (options.pairs is None):
        raise ValueError("give one of --trials (speaker verification) and --pairs (sound source localization).")
    if options.pairs is not None:
        for name, value in (("--wav-scp", options.wav_scp), ("--embeddings", options.embeddings)):
            if value is not None:
                raise ValueError(f"{name} belongs to --trials.")
        if options.compensation is not None or options.target_far != "eer":
            raise ValueError("--compensation and --target-far belong to --trials.")
    config = options.folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"`{config}` does not exist; name the folder of a model.")
    check_writable(config)
    options.model, options.revision = str(options.folder), None
    (calibrate_verification if options.pairs is None else calibrate_confidence)(options)


def find_tracks(options: argparse.Namespace) -> None:
    from avzoo.pipelines.shared.face_detectors import faces_from
    from avzoo.video import VideoWriter, find_face_tracks, probe_video, render_face_tracks, save_tracks

    if options.output is not None:
        check_writable(options.output)
    if options.render is not None:
        check_writable(options.render)
        VideoWriter(options.render, options.fps)  # raises for a path it can't write, before anything is computed
    check_face_options(options)
    info = probe_video(options.file)
    silence_hub()
    if options.detector == "s3fd":
        silence_transformers()
    faces = faces_from(choose_detector(options), options.detector_model, info.metadata)
    tracks = find_face_tracks(
        options.file,
        faces,
        fps=options.fps,
        every=options.every,
        max_faces=options.max_faces,
        progress=sys.stderr.isatty(),
    )
    if not tracks.tracks:
        print(f"no face was found in the {tracks.num_frames} frames of {options.file.name}.", file=sys.stderr)
    if options.output is None:
        print(json.dumps(tracks.to_dict()))
    else:
        print(save_tracks(options.output, tracks), file=sys.stderr)
    if options.render is not None:
        print(render_face_tracks(options.file, tracks, options.render, progress=sys.stderr.isatty()), file=sys.stderr)


def toyworld_names() -> tuple[str, ...]:
    from avzoo.toyworld import WORLDS

    return WORLDS


def write_toyworld(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from avzoo.toyworld import world

    settings = {name: parse_literal(value) for name, value in map(split_pair, options.set)}
    clips = world(options.world)(options.n, options.seed, split=options.split, **settings)
    rendered = clips.iterate(options.workers, clips_at_once=1)
    first = next(rendered, None)  # the folder is made only once a clip exists
    if first is None:
        return
    with fill_folder(options.out):
        bar = {"total": options.n, "unit": "clip", "disable": not sys.stderr.isatty()}
        for clip in tqdm(itertools.chain([first], rendered), **bar):
            for path in clips.write(clip, options.out):
                print(path)


def run_demo(options: argparse.Namespace) -> None:
    run_demos(options.task, options.files, options.output, options.seed)


def push_folder(options: argparse.Namespace) -> None:
    from avzoo.hub.upload import push_folder

    silence_hub()
    if options.with_code:
        silence_transformers()
    print(push_folder(options.folder, options.repository, private=options.private, with_code=options.with_code))


def split_pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ValueError(f"expected KEY=VALUE, got {text!r}.")
    return name, value


def parse_literal(text: str) -> Any:
    """Parse a Python literal (number, tuple, None, true or false); return any other text as it is."""
    try:
        return ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    sys.exit(main())
