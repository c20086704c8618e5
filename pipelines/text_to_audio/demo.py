"""Demo of text to audio: words spoken in several scenes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import avzoo
from avzoo.audio import write_wav
from avzoo.pipelines.text_to_audio.drawing import plot_spectrogram

# The toy checkpoint can say eight words in eight scenes.
PROMPTS = (
    ("Rain falls while a man speaks.", "seven"),
    ("A church bell tolls while a woman is talking.", "banana"),
)


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Speak words in scenes; write a WAV file and a picture of its spectrogram for each.

    Args:
        files: audio prompts in place of descriptions.
        output: folder of the written files.
        seed: seed of the initial noise. None: a new one, printed.

    Returns:
        Paths of the pictures.
    """
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}")
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(avzoo.toy_checkpoint("voiceldm"))
    pipe.set_progress_bar_config(disable=True)
    scenes = [{"audio_prompt": file} for file in files] or [{"description": prompt} for prompt, _ in PROMPTS]
    pictures = []
    for number, scene in enumerate(scenes):
        word = PROMPTS[number % len(PROMPTS)][1]
        audio = pipe(content=word, generator=torch.Generator().manual_seed(seed + number), **scene).audios[0]
        name = f"{word}-{number + 1}"
        write_wav(output / f"{name}.wav", audio, pipe.sampling_rate)
        described = scene.get("description") or scene["audio_prompt"].name
        print(f"{described!r}, saying {word!r}: {output / f'{name}.wav'}")
        pictures.append(plot_spectrogram(audio, pipe.sampling_rate, output / f"{name}.png", f"{described} / {word}"))
        print(f"  picture: {pictures[-1]}")
    return pictures
