"""`avzoo run audio-image-retrieval`."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avzoo.files import check_readable
from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_model_options,
    check_writable,
    load_chosen_pipeline,
    show_warnings,
    write_records,
)

if TYPE_CHECKING:
    from avzoo.pipelines.audio_image_retrieval.pipeline import AudioImageRetrievalPipeline

TASK = "audio-image-retrieval"
SOUND_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"),
    *(".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".ts"),  # the sound of a video
)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help="a sound to find pictures by, or the other way round")
    parser.add_argument("--index", type=Path, required=True, metavar="DIR", help="folder that keeps the index")
    parser.add_argument(
        "--add",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="first add pictures and sounds: files, or folders with all in them; what is there is not computed again",
    )
    parser.add_argument("--replace", action="store_true", help="with --add: compute again what is there by name")
    parser.add_argument("--prune", action="store_true", help="first take out of the index what is no file any more")
    parser.add_argument("--skip-broken", action="store_true", help="leave out what can't be read (default: stop)")
    parser.add_argument("--top-k", type=int, default=5, help="number of answers; default 5")
    parser.add_argument(
        "--among", choices=("image", "audio"), help="what to search (default: pictures by a sound, sounds by a picture)"
    )
    parser.add_argument("-o", "--output", type=Path, help=".json or .csv to write (default: print JSON to stdout)")
    parser.add_argument("--format", help="json or csv (default: the suffix of --output, else json)")
    add_model_options(parser)
    parser.add_argument("--batch-size", type=int, default=8)


def _retrieve(options: argparse.Namespace) -> None:
    format = options.format or (options.output.suffix.lower().removeprefix(".") if options.output else "json")
    if format not in ("json", "csv"):
        raise ValueError(f"--format must be one of json, csv, got {format!r}.")
    if options.file is None and not options.add and not options.prune:
        raise ValueError("give a sound or a picture to search by, or --add to fill the index, or both.")
    if options.replace and not options.add:
        raise ValueError("--replace is for what --add names.")
    if options.file is None and options.output is not None:
        raise ValueError("--output holds the answers to a query; name a sound or a picture to search by.")
    if options.file is not None:
        check_readable(options.file, "file")
        if options.file.is_dir():
            raise IsADirectoryError(f"`{options.file}` is a folder; add it to the index by --add.")
    if options.output is not None:
        check_writable(options.output)
    for name, value in (("--batch-size", options.batch_size), ("--top-k", options.top_k)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if (options.prune or not options.add) and not (options.index / "index.json").is_file():
        raise FileNotFoundError(f"`{options.index}` holds no index.json; fill it by --add PATH.")
    images, sounds = find_media(options.add)
    pipe, model = load_chosen_pipeline(TASK, options)
    if options.prune:
        _prune_index(options, pipe)
    if options.add:
        _fill_index(options, pipe, images, sounds)
    elif not options.prune:
        pipe.load(options.index)
    if options.file is not None:
        _search(options, pipe, model, format)


def _prune_index(options: argparse.Namespace, pipe: "AudioImageRetrievalPipeline") -> None:
    pipe.load(options.index)
    names = [name for kind in ("image", "audio") for name in pipe.stored.names(kind)]
    gone = [name for name in names if not Path(name).is_file()]
    if names and len(gone) == len(names):
        raise ValueError(
            f"none of the {len(names)} files in the index `{options.index}` is there, the first is {names[0]!r}; "
            "--prune would empty it. Paths start from the folder in which it was filled."
        )
    if gone:
        pipe.remove(gone, folder=options.index)
    print(f"{options.index}: {len(gone)} of {len(names)} taken out, as they are no files any more", file=sys.stderr)


def _fill_index(
    options: argparse.Namespace, pipe: "AudioImageRetrievalPipeline", images: list[str], sounds: list[str]
) -> None:
    with show_warnings():
        added = pipe.index(
            images,
            sounds,
            folder=options.index,
            replace=options.replace,
            skip_broken=options.skip_broken,
            batch_size=options.batch_size,
            progress=sys.stderr.isatty(),
        )
    counts = [len(pipe.stored.names(kind)) for kind in ("image", "audio")]
    print(f"{options.index}: {counts[0]} pictures and {counts[1]} sounds, {added} of them new", file=sys.stderr)


def _search(options: argparse.Namespace, pipe: "AudioImageRetrievalPipeline", model: str, format: str) -> None:
    from avzoo.records import Records

    query = str(options.file)
    with show_warnings():
        answer = pipe(query, top_k=options.top_k, among=options.among)
    records: list[dict[str, Any]] = [
        {"first": query, "second": found["name"], "label": found["kind"], "score": found["score"], "rank": rank}
        for rank, found in enumerate(answer, 1)
    ]
    dtype = str(pipe.dtype).removeprefix("torch.")
    made = Records(TASK, model, options.file.name, "cosine", str(pipe.device), dtype, records)
    write_records(options, made, format, options.output)


def find_media(paths: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Pictures and sounds of files, and of folders and those below them, sorted; hidden ones are passed over.

    Raises:
        OSError: a path is missing. ValueError: a folder that holds neither.
    """
    from avzoo.pipelines.audio_image_retrieval.pipeline import PICTURE_SUFFIXES, guess_kind

    images, sounds = [], []
    for path in paths:
        check_readable(path, "path")
        if not path.is_dir():
            (images if guess_kind(path) == "image" else sounds).append(str(path))
            continue
        before = len(images) + len(sounds)
        for inner in sorted(path.rglob("*")):
            if any(part.startswith(".") for part in inner.relative_to(path).parts) or not inner.is_file():
                continue
            if inner.suffix.lower() in PICTURE_SUFFIXES:
                images.append(str(inner))
            elif inner.suffix.lower() in SOUND_SUFFIXES:
                sounds.append(str(inner))
        if len(images) + len(sounds) == before:
            raise ValueError(f"`{path}` holds no picture and no sound of a known type.")
    return images, sounds


COMMAND = TaskCommand(
    help="Pictures that fit a sound, or sounds that fit a picture, out of an index.",
    add_options=_add_options,
    run=_retrieve,
)
