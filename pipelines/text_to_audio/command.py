"""`avzoo run text-to-audio`."""

import argparse
import sys
from pathlib import Path

from avzoo.checks import check_whole_number
from avzoo.pipelines.shared.commands import TaskCommand, add_model_options, check_writable, load_diffusion_pipeline


def _add_speech_options(parser: argparse.ArgumentParser) -> None:
    scene = parser.add_mutually_exclusive_group(required=True)
    scene.add_argument("--description", help='voice and surroundings, such as "She is talking in a park."')
    scene.add_argument(
        "--audio-prompt",
        type=Path,
        metavar="FILE",
        help="recording in place of a description",
    )
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--content", help='spoken text; "_" for sound effects without speech')
    words.add_argument("--content-file", type=Path, metavar="TXT", help="text file of any length, read in segments")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="WAV", help="WAV file to write")
    parser.add_argument("--spectrogram", type=Path, metavar="PNG", help="also draw waveform and spectrogram")
    parser.add_argument("--seconds", type=float, help="length (default: the preset's)")
    parser.add_argument("--preset", help="fast (default) or reference, the authors' sampler")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the preset's)")
    parser.add_argument("--desc-scale", type=float, help="guidance scale of the description (default: the preset's)")
    parser.add_argument("--cont-scale", type=float, help="guidance scale of the content (default: the preset's)")
    parser.add_argument("--number", type=int, default=1, help="number of waveforms (default: 1)")
    parser.add_argument("--seed", type=int, help="random seed (default: a new one, printed)")
    add_model_options(parser)
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="data type of the weights (default: bfloat16 on cuda, else float32)",
    )


def _speak(options: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from avzoo.audio import write_wav
    from avzoo.pipelines.text_to_audio.drawing import plot_spectrogram

    for path in (options.output, options.spectrogram):
        if path is not None:
            check_writable(path)
    if options.output.suffix.lower() != ".wav":
        raise ValueError(f"--output must end in .wav, got {options.output.name!r}.")
    check_whole_number("--number", options.number, at_least=1)
    if options.content_file is not None and (options.number > 1 or options.seconds is not None):
        raise ValueError("--content-file sets number and length of the segments; omit --number and --seconds.")
    text = options.content if options.content_file is None else options.content_file.read_text(encoding="utf-8")
    if options.audio_prompt is not None and not options.audio_prompt.is_file():
        raise FileNotFoundError(f"`{options.audio_prompt}` does not exist.")
    pipe = load_diffusion_pipeline("voiceldm", options)
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


COMMAND = TaskCommand(
    help="Speech in a scene: a description and a text in, a WAV file out.",
    add_options=_add_speech_options,
    run=_speak,
)
