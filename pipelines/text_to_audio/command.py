"""`avzoo run text-to-audio`."""

import argparse
import sys
from pathlib import Path

from avzoo.pipelines.shared.commands import TaskCommand, check_writable, load_diffusion_pipeline


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
    from avzoo.pipelines.text_to_audio.drawing import plot_spectrogram

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
