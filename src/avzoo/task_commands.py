"""`avzoo run TASK ...`: what each task adds to the command, in options and in what it does with an answer.

Most take a file and give records. A new task adds one entry to `TASK_COMMANDS`. What a command needs is imported when
it runs.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TaskCommand:
    """One task on the command line.

    Args:
        help: one line.
        score: what the records' score means, see [`avzoo.records.Records`]. Empty: what the model's processor says.
        add_options: adds the task's own options to its parser.
        parameters: what the pipeline is called with, from the options.
        check: raises where options don't fit each other, before anything is loaded.
        records_path: where the records go, from the options; None: to stdout.
        write: writes the records there in a format, if not as [`write_records`] does.
        finish: what else is made of the answer.
        run: all of the command, where it is no file in and records out. Then `add_options` adds every option there is,
            and the other fields have no meaning.
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
    parser.add_argument("-o", "--output", type=Path, help="file to write; its ending is the format. Default: stdout")
    parser.add_argument("--format", help="json, csv, rttm, srt or vtt; default json")
    parser.add_argument("--model", help="folder or Hub id. Default: the toy checkpoint that ships")
    parser.add_argument("--device", help="cpu, cuda, mps, ... Default: what is there")
    parser.add_argument("--batch-size", type=int, default=8)


# ---------------------------------------------------------------------------------------- audio-classification


def _add_tagging_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patch-size", type=int, nargs="+", metavar="N", help="one number, or mel bins and frames")
    parser.add_argument("--top-k", type=int, default=1, help="labels per window")
    parser.add_argument("--pooled", action="store_true", help="one answer for the whole recording")


def _tagging_parameters(options: argparse.Namespace) -> dict[str, Any]:
    size = options.patch_size
    return {
        "patch_size": size[0] if size and len(size) == 1 else size,
        "top_k": options.top_k,
        "return_windows": not options.pooled,
        "return_times": True,
    }


# ---------------------------------------------------------------------------------- audio-visual-synchronization


def add_face_options(parser: argparse.ArgumentParser) -> None:
    """Who to look at, for every command that looks at faces."""
    from avzoo.pipelines.face_detectors import DETECTORS

    faces = parser.add_mutually_exclusive_group()
    faces.add_argument("--boxes", type=Path, help="boxes you have, .csv (frame,x1,y1,x2,y2) or .json")
    faces.add_argument(
        "--detector",
        choices=DETECTORS,
        help="drawn: faces of toyworld; yunet: OpenCV's, extra `faces`; s3fd: a converted checkpoint. "
        "Default: drawn for videos of toyworld, else yunet",
    )
    parser.add_argument("--detector-model", type=Path, help="YuNet's ONNX file, or the folder of a converted S3FD")
    parser.add_argument("--max-faces", type=int, help="keep the largest tracks only")


def check_face_options(options: argparse.Namespace) -> None:
    """Raise a ValueError for a detector without what it needs, before anything is computed."""
    if options.detector == "s3fd" and options.detector_model is None:
        raise ValueError("--detector s3fd needs --detector-model, a folder that `avzoo convert s3fd` wrote.")


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
    from avzoo.pipelines.audio_visual_synchronization import most_confident, plot_offsets
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


# ------------------------------------------------------------------------------------ active-speaker-detection


def _add_speaker_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(batch_size=64)  # frames of faces
    add_face_options(parser)
    parser.add_argument("--face-video", action="store_true", help="the frame shows one face box and nothing else")
    parser.add_argument("--every", type=int, default=1, help="look for faces in each n-th frame only")
    parser.add_argument(
        "--durations", type=float, nargs="+", metavar="S", help="windows to average, seconds; default: the weights'"
    )
    parser.add_argument("--threshold", type=float, help="score from which a face speaks; default: 0.5, of logits 0")
    parser.add_argument("--smoothing", type=int, default=5, help="frames that are averaged, odd; default 5")
    parser.add_argument("--min-segment", type=float, default=0.0, metavar="S", help="leave out shorter segments")
    parser.add_argument("--max-gap", type=float, default=0.2, metavar="S", help="bridge shorter pauses; default 0.2")
    parser.epilog = (
        "--output may also be an .mp4, the video with each face's score drawn in. A .csv has AVA-ActiveSpeaker's "
        "format, every frame of every face; .rttm, .srt and .vtt hold the segments; .json everything."
    )


def _speaker_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "faces": "frame" if options.face_video else options.boxes or options.detector,
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
    from avzoo.pipelines.active_speaker_detection import check_parameters

    check_face_options(options)
    check_parameters(_speaker_parameters(options))
    if options.format == "csv" and (options.output is None or _draws_speakers(options)):
        raise ValueError("--format csv needs --output, the file to write.")


def _write_speakers(options: argparse.Namespace, records: Any, format: str, path: Path | None) -> None:
    from dataclasses import replace

    from avzoo.pipelines.active_speaker_detection import segment_records, write_ava_csv
    from avzoo.video import probe_video

    if format in ("rttm", "srt", "vtt"):
        records = replace(records, records=segment_records(records.records))
    if format != "csv":
        write_records(options, records, format, path)
    elif not records.records:
        raise ValueError(f"no face was found in {options.file.name}, so there is nothing to write to {path}.")
    else:
        info = probe_video(options.file)
        size = {"width": info.width, "height": info.height}
        print(write_ava_csv(path, records.records, **size, video_id=options.file.stem), file=sys.stderr)


def _finish_speakers(options: argparse.Namespace, answer: list[dict[str, Any]]) -> None:
    from avzoo.pipelines.active_speaker_detection import write_scored_video

    if not answer:
        print(f"no face was found in {options.file.name}.", file=sys.stderr)
    if _draws_speakers(options):
        print(write_scored_video(options.file, answer, options.output, progress=sys.stderr.isatty()), file=sys.stderr)


# ----------------------------------------------------------------------------------------------- text-to-audio


def _add_speech_options(parser: argparse.ArgumentParser) -> None:
    scene = parser.add_mutually_exclusive_group(required=True)
    scene.add_argument("--description", help='voice and surroundings, such as "She is talking in a park."')
    scene.add_argument("--audio-prompt", type=Path, metavar="FILE", help="a recording that sounds as it should")
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--content", help='what is said; "_" for nothing, as for sound effects')
    words.add_argument("--content-file", type=Path, metavar="TXT", help="a text of any length, read in segments")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="WAV", help="file to write")
    parser.add_argument("--spectrogram", type=Path, metavar="PNG", help="also draw what is heard")
    parser.add_argument("--model", help="folder or Hub id. Default: the toy checkpoint that ships")
    parser.add_argument("--seconds", type=float, help="length. Default: what the weights were made for, 10")
    parser.add_argument("--preset", help="fast (default) or reference, the authors' sampler")
    parser.add_argument("--steps", type=int, help="default: what the preset says")
    parser.add_argument(
        "--desc-scale", type=float, help="how strongly the description is followed; default: the preset's"
    )
    parser.add_argument("--cont-scale", type=float, help="how strongly the content is followed; default: the preset's")
    parser.add_argument("--number", type=int, default=1, help="waveforms to make; default 1")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--device", help="cpu, cuda, mps, ... Default: what is there")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default: bfloat16 on cuda")


def _speak(options: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from avzoo.audio import write_wav
    from avzoo.pipelines.spectrogram_picture import plot_spectrogram

    for path in (options.output, options.spectrogram):
        if path is not None:
            check_writable(path)
    if options.output.suffix.lower() != ".wav":
        raise ValueError(f"--output must end in .wav, got {options.output.name!r}.")
    if options.number < 1:
        raise ValueError(f"--number must be at least 1, got {options.number}.")
    if options.content_file is not None and (options.number > 1 or options.seconds is not None):
        raise ValueError("--content-file is read once and for as long as it takes: leave out --number and --seconds.")
    text = options.content if options.content_file is None else options.content_file.read_text(encoding="utf-8")
    if options.audio_prompt is not None and not options.audio_prompt.is_file():
        raise FileNotFoundError(f"`{options.audio_prompt}` does not exist.")
    pipe = diffusion_pipeline("voiceldm", options)
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), file=sys.stderr)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr)
    settings = {
        "num_inference_steps": options.steps,
        "desc_guidance_scale": options.desc_scale,
        "cont_guidance_scale": options.cont_scale,
        "audio_prompt": options.audio_prompt,
        "generator": torch.Generator("cpu").manual_seed(seed),
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    if options.content_file is not None:
        audios = pipe.read_long_text(options.description, text, **settings).audios
    else:
        if options.seconds is not None:
            settings["audio_length_in_s"] = options.seconds
        audios = pipe(options.description, text, num_waveforms_per_prompt=options.number, **settings).audios
    for number, audio in enumerate(audios, start=1):
        mark = f"-{number}" if len(audios) > 1 else ""
        path = options.output.with_name(f"{options.output.stem}{mark}{options.output.suffix}")
        write_wav(path, audio, pipe.sampling_rate)
        print(path)
        if options.spectrogram is not None:
            picture = options.spectrogram.with_name(f"{options.spectrogram.stem}{mark}{options.spectrogram.suffix}")
            title = f"{options.description or options.audio_prompt.name} / {text[:60]}"
            print(plot_spectrogram(audio, pipe.sampling_rate, picture, title), file=sys.stderr)


# ------------------------------------------------------------------------------------ audio-visual-separation


def _add_separation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a video in which several people talk")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder of the voices")
    parser.add_argument("--model", help="folder or Hub id. Default: the toy checkpoint that ships")
    add_face_options(parser)
    parser.add_argument("--face-video", action="store_true", help="the frame shows one face and nothing else")
    parser.add_argument("--preset", help="reference (default) or fast; reference takes three times as long")
    parser.add_argument("--steps", type=int, help="default: what the preset says")
    parser.add_argument(
        "--denoiser-only", action="store_true", help="leave out the diffusion: far faster, less natural"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise; default 0")
    parser.add_argument("--batch-size", type=int, default=2, help="windows of 2 s at once; default 2")
    parser.add_argument("--device", help="cpu, cuda, mps, ... Default: what is there")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: bfloat16 on cuda")


def _separate(options: argparse.Namespace) -> None:
    from avzoo.pipelines.audio_visual_separation import separate_faces, write_voices
    from avzoo.records import Records

    if not options.file.is_file():
        raise FileNotFoundError(f"`{options.file}` does not exist.")
    if options.output.exists() and not options.output.is_dir():
        raise OSError(f"`{options.output}` is no folder.")
    check_writable(options.output / "voices.json" if options.output.is_dir() else options.output)
    check_face_options(options)
    pipe = diffusion_pipeline("avdiffuss", options)
    progress = sys.stderr.isatty()
    pipe.set_progress_bar_config(disable=not progress, file=sys.stderr, leave=False)
    voices, _ = separate_faces(
        pipe,
        options.file,
        faces="frame" if options.face_video else options.boxes or options.detector,
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
        model=options.model or "avdiffuss",
        source=options.file.name,
        score="decibel",
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        records=write_voices(voices, options.file, options.output, progress=progress),
    )
    for record in records.records:
        print(options.output / record["audio"])
        print(options.output / record["video"])
    print(records.save(options.output / "voices.json", "json"), file=sys.stderr)


TASK_COMMANDS: dict[str, TaskCommand] = {
    "audio-classification": TaskCommand(
        help="What is heard, window by window.",
        score="probability",
        add_options=_add_tagging_options,
        parameters=_tagging_parameters,
    ),
    "audio-visual-synchronization": TaskCommand(
        help="For each face of a video, by how much its sound is early or late.",
        score="logit",
        add_options=_add_synchronization_options,
        parameters=_synchronization_parameters,
        check=_check_synchronization,
        records_path=lambda options: None if options.fix else options.output,
        finish=_finish_synchronization,
    ),
    "active-speaker-detection": TaskCommand(
        help="For each face of a video, when it is the one that is heard.",
        add_options=_add_speaker_options,
        parameters=_speaker_parameters,
        check=_check_speakers,
        records_path=lambda options: None if _draws_speakers(options) else options.output,
        write=_write_speakers,
        finish=_finish_speakers,
    ),
    "audio-visual-separation": TaskCommand(
        help="For each face of a video, its voice alone: a WAV file, and the video with no other voice.",
        add_options=_add_separation_options,
        run=_separate,
    ),
    "text-to-audio": TaskCommand(
        help="Speech in a scene: a description and a text in, a WAV file out.",
        add_options=_add_speech_options,
        run=_speak,
    ),
}


def run_task(options: argparse.Namespace) -> None:
    """Run a task's pipeline on one file and write its records."""
    import transformers

    import avzoo
    from avzoo import zoo
    from avzoo.records import FORMATS, Records

    command = TASK_COMMANDS[options.task]
    path = command.records_path(options)
    format = options.format or (path.suffix.removeprefix(".") if path else "json")
    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {format!r}.")
    if not options.file.is_file():
        raise FileNotFoundError(f"`{options.file}` does not exist.")
    if options.output is not None:
        check_writable(options.output)
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    command.check(options)
    check_device(options.device)
    row = next(row for row in zoo.METHODS if row.task == options.task)
    model = options.model or avzoo.toy_checkpoint(row.name)
    quieten_transformers()
    quieten_hub()
    pipe = transformers.pipeline(options.task, model=model, device=options.device)
    answer = pipe(str(options.file), batch_size=options.batch_size, **command.parameters(options))
    records = Records(
        task=options.task,
        model=Path(model).name if options.model is None else model,
        source=options.file.name,
        score=command.score or pipe.processor.score,
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        records=answer,
    )
    command.write(options, records, format, path)
    command.finish(options, answer)


def write_records(options: argparse.Namespace, records: Any, format: str, path: Path | None) -> None:
    """Write [`Records`] to a file, and its name to stderr; or to stdout where there is no path."""
    if path is None:
        print(records.export(format), end="")
    else:
        print(records.save(path, format), file=sys.stderr)


def diffusion_pipeline(method: str, options: argparse.Namespace) -> Any:
    """The diffusers pipeline of a method, as the options say: model (the toy checkpoint), device, dtype and preset."""
    import torch

    from avzoo import toy_checkpoint, zoo

    check_device(options.device)
    device = options.device or default_device()
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.startswith("cuda") else "float32"))
    quieten_transformers()
    quieten_diffusers()
    quieten_hub()
    row = zoo.method(method)
    pipeline_class = row.load(row.diffusion_pipeline)
    pipe = pipeline_class.from_pretrained(options.model or toy_checkpoint(method), torch_dtype=dtype).to(device)
    return pipe if options.preset is None else pipe.use_preset(options.preset)


def check_writable(path: Path) -> None:
    """Raise an OSError where no file can be written, before anything is computed."""
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"`{path}` cannot be written: it is a folder, or the folder it is in does not exist.")


def quieten_transformers() -> None:
    """Keep its notes and its bars for loading and saving off stderr, where a command's own word is looked for."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def quieten_diffusers() -> None:
    """The same for diffusers."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def quieten_hub() -> None:
    """Keep each of its retries from being a line before ours, where it can't be reached."""
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


def default_device() -> str:
    """The accelerator that is there, else the CPU."""
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
