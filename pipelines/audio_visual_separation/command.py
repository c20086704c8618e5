"""`avzoo run audio-visual-separation`."""

import argparse
import sys
from pathlib import Path

from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_cropped_face_options,
    add_model_options,
    check_face_options,
    check_writable,
    choose_faces,
    find_origin,
    load_diffusion_pipeline,
)


def _add_separation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a video of several speakers")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="output folder, one WAV and one video per face",
    )
    add_cropped_face_options(parser)
    parser.add_argument("--preset", help="reference (default) or fast; reference takes three times as long")
    parser.add_argument("--steps", type=int, help="default: as in the preset")
    parser.add_argument("--denoiser-only", action="store_true", help="skip the diffusion: much faster, less natural")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise; default 0")
    parser.add_argument("--batch-size", type=int, default=2, help="number of 2 s windows per batch; default 2")
    add_model_options(parser)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: bfloat16 on cuda")


def _separate(options: argparse.Namespace) -> None:
    from avzoo.pipelines.audio_visual_separation.faces import separate_faces, write_voices
    from avzoo.records import Records

    if not options.file.is_file():
        raise FileNotFoundError(f"`{options.file}` does not exist.")
    if options.output.exists() and not options.output.is_dir():
        raise OSError(f"`{options.output}` is no folder.")
    check_writable(options.output / "voices.json" if options.output.is_dir() else options.output)
    check_face_options(options)
    pipe = load_diffusion_pipeline("avdiffuss", options)
    progress = sys.stderr.isatty()
    pipe.set_progress_bar_config(disable=not progress, file=sys.stderr, leave=False)
    voices, _ = separate_faces(
        pipe,
        options.file,
        faces=choose_faces(options),
        detector_model=options.detector_model,
        max_faces=options.max_faces,
        seed=options.seed,
        progress=progress,
        batch_size=options.batch_size,
        denoiser_only=options.denoiser_only,
        num_inference_steps=options.steps,
    )
    if not voices:
        print(f"no face was found in {options.file.name}.", file=sys.stderr)
    options.output.mkdir(exist_ok=True)
    records = Records(
        task=options.task,
        model=options.model or "toy:avdiffuss",
        source=options.file.name,
        score="decibel",
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        origin=find_origin(options.file),
        records=write_voices(voices, options.file, options.output, progress=progress),
    )
    for record in records.records:
        print(options.output / record["audio"])
        print(options.output / record["video"])
    print(records.save(options.output / "voices.json", "json"), file=sys.stderr)


COMMAND = TaskCommand(
    help="For each face of a video, its voice alone: a WAV file, and the video with no other voice.",
    add_options=_add_separation_options,
    run=_separate,
)
