"""`avzoo run lip-to-speech`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avzoo.checks import check_whole_number
from avzoo.files import check_readable
from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_cropped_face_options,
    add_model_options,
    check_device,
    check_face_options,
    check_writable,
    choose_faces,
    load_chosen_pipeline,
    refuse_inputs_as_output,
    show_warnings,
    silence_hub,
    silence_transformers,
    write_records,
)

TASK = "lip-to-speech"
MEDIA, PICTURES = (".mp4", ".m4v", ".mov", ".wav"), (".png", ".jpg", ".jpeg")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a video of one or more faces; its sound is ignored")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help=".mp4, .m4v or .mov: the video with its new sound; .wav: the sound alone; .json: times, units, pitch and "
        "energy of each face (default: print JSON)",
    )
    parser.add_argument(
        "--render", type=Path, metavar="PNG", help="draw each face's spectrograms, coarse and as refined by the flow"
    )
    parser.add_argument(
        "--speaker",
        action="append",
        metavar="VOICE",
        help="recording of the voice, at least 0.5 s, or for a model with a table of speakers a row number (0: the "
        "first name in its speakers.json); once for all faces, or once for each (default: the mean voice of the "
        "training, if the model keeps it)",
    )
    parser.add_argument(
        "--vocoder",
        help="folder or Hub id of a HiFi-GAN for the model's spectrograms (default: vocoder/ of the model, else "
        "Griffin-Lim)",
    )
    parser.add_argument(
        "--speaker-encoder",
        help="folder or Hub id of the network that embeds voices (default: speaker_encoder/ of the model)",
    )
    parser.add_argument(
        "--noise-scale",
        type=float,
        default=0.667,
        help="of the flow; 0: smooth, and the same every time; default 0.667",
    )
    parser.add_argument(
        "--pitch-control",
        type=float,
        default=1.0,
        help="factor on the predicted pitch, which is normalised: 0 is monotonous; default 1",
    )
    parser.add_argument(
        "--energy-control",
        type=float,
        default=1.0,
        help="factor on the predicted energy, which is normalised; default 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise; default 0")
    add_cropped_face_options(parser)
    parser.add_argument("--every", type=int, default=1, help="detect faces in every n-th frame only")
    add_model_options(parser)


def _speak(options: argparse.Namespace) -> None:
    import torch

    from avzoo.pipelines.lip_to_speech.pipeline import check_parameters

    writes_media = options.output is not None and options.output.suffix.lower() in MEDIA
    _check_files(options, writes_media)
    check_face_options(options)
    parameters: dict[str, Any] = {
        "faces": choose_faces(options),
        "detector_model": options.detector_model,
        "max_faces": options.max_faces,
        "every": options.every,
        "noise_scale": options.noise_scale,
        "pitch_control": options.pitch_control,
        "energy_control": options.energy_control,
        "progress": sys.stderr.isatty(),
    }
    check_parameters(parameters)
    check_whole_number("--seed", options.seed, at_least=0, at_most=2**63 - 1)
    speaker = _read_speakers(options.speaker)
    pipe, model = load_chosen_pipeline(TASK, options, **_load_parts(options))
    with show_warnings():
        answer = pipe(
            str(options.file),
            speaker=speaker,
            generator=torch.Generator().manual_seed(options.seed),
            output=options.output if writes_media else None,
            **parameters,
        )
    if not writes_media:
        _write_records(options, pipe, model, answer)
    if options.render is not None:
        from avzoo.pipelines.lip_to_speech.drawing import render_spectrograms

        print(render_spectrograms(answer, options.render), file=sys.stderr)
    print(describe(answer, options.output), file=sys.stdout if writes_media else sys.stderr)


def _check_files(options: argparse.Namespace, writes_media: bool) -> None:
    """Raise if a file can't be read or written, before anything is loaded."""
    check_readable(options.file, "file")
    recordings = [Path(voice) for voice in options.speaker or () if not voice.isdigit() or Path(voice).exists()]
    for recording in recordings:
        if not recording.exists():
            raise FileNotFoundError(
                f"--speaker `{recording}` does not exist; give a recording, or a row number of a model with a table (0 "
                "is the first name in its speakers.json)."
            )
        check_readable(recording, "--speaker")
    if options.output is not None and not writes_media and options.output.suffix.lower() != ".json":
        raise ValueError(f"--output must end in {', '.join((*MEDIA, '.json'))}, got {options.output}.")
    if options.render is not None and options.render.suffix.lower() not in PICTURES:
        raise ValueError(f"--render must end in {', '.join(PICTURES)}, got {options.render}.")
    for path in (options.output, options.render):
        if path is not None:
            check_writable(path)
            refuse_inputs_as_output(path, [options.file, *recordings])


def _load_parts(options: argparse.Namespace) -> dict[str, Any]:
    """The vocoder and the speaker encoder that the options name; errors are about these, and not about the model."""
    from avzoo.hub.errors import explain_hub_errors
    from avzoo.models.layers.vocoding import load_vocoder
    from avzoo.pipelines.lip_to_speech.parts import load_speaker_encoder
    from avzoo.pipelines.shared.saved_folders import explain_damage

    check_device(options.device)
    silence_transformers()
    silence_hub()
    loaders = {
        "vocoder": load_vocoder,
        "speaker_encoder": lambda source: load_speaker_encoder(source, options.device),
    }
    parts = {}
    for name, load in loaders.items():
        source = getattr(options, name)
        if source is not None:
            with explain_damage(source), explain_hub_errors(source):
                parts[name] = load(source)
    return parts


def _read_speakers(names: Sequence[str] | None) -> Any:
    """The argument `speaker` of the pipeline: paths, and numbers where no file has that name."""
    if names is None:
        return None
    speakers = [int(name) if name.isdigit() and not Path(name).exists() else name for name in names]
    return speakers[0] if len(speakers) == 1 else speakers


def _write_records(options: argparse.Namespace, pipe: Any, model: str, answer: Sequence[Mapping[str, Any]]) -> None:
    """Everything but sound and spectrograms, as JSON."""
    from avzoo.records import Records

    left_out = ("audio", "mel", "mel_coarse")
    lines = [
        {
            name: value.tolist() if hasattr(value, "tolist") else value
            for name, value in record.items()
            if name not in left_out
        }
        for record in answer
    ]
    records = Records(
        task=TASK,
        model=model,
        source=options.file.name,
        score="probability",
        device=str(pipe.device),
        dtype=str(pipe.dtype).removeprefix("torch."),
        records=lines,
    )
    write_records(options, records, "json", options.output)


def describe(answer: Sequence[Mapping[str, Any]], output: Path | None) -> str:
    """A line that says who speaks, how long, in which voice, by which vocoder, and where it is written."""
    seconds = sum(record["end"] - record["start"] for record in answer)
    voices = ", ".join(dict.fromkeys(record["speaker"] for record in answer))
    faces = "1 face speaks" if len(answer) == 1 else f"{len(answer)} faces speak"
    where = "" if output is None else f"{output}: "
    return f"{where}{faces} {seconds:.2f} s; voice: {voices}; vocoder: {answer[0]['vocoder']}"


COMMAND = TaskCommand(
    help="Speech for the faces of a silent video, by their lips.", add_options=_add_options, run=_speak
)
