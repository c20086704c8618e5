"""A word loses its sound, and the lips give it another one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

import avzoo
from avzoo.audio import write_wav
from avzoo.pipelines.lip_to_speech.drawing import render_spectrograms
from avzoo.toyworld.caption_words import ENGLISH_SPEAKERS
from avzoo.toyworld.spoken_words import SpokenWords, english_identities
from avzoo.video import write_video
from avzoo.video.drawn_faces import TOYWORLD_COMMENT

STRANGERS = english_identities(range(8, 12), ENGLISH_SPEAKERS[1::3])  # voices and faces of no clip of its training


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Give silent videos a voice: the video with its new sound, and a picture of the spectrograms.

    Args:
        files: videos of people. None: a drawn person who says one word, as the toy checkpoint knows them; it knows no
            others.
        output: folder for what is written.
        seed: of the clip and the noise. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures.
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}")
    speak = pipeline("lip-to-speech", model=avzoo.toy_checkpoint("ltbs"), device="cpu")
    if files:
        return [speak_and_draw(speak, path, output, seed) for path in files]
    person = STRANGERS[np.random.default_rng(seed).integers(len(STRANGERS))]
    said, *others = SpokenWords(4, seed, split="demo", identities=[person])  # four words of one voice
    sample = np.concatenate([clip["audio"] for clip in others])
    word = said["word"]
    silent, real, voice = output / f"{word}.silent.mp4", output / f"{word}.real.wav", output / "voice.wav"
    write_video(silent, said["frames"], said["fps"], metadata={"comment": f"{TOYWORLD_COMMENT} spoken_words"})
    write_wav(voice, sample, said["sampling_rate"])
    write_wav(real, said["audio"], said["sampling_rate"])
    print(f"  the word is {word!r} ({real}); the lips alone allow {said['lip_class']}: {silent}")
    print(f"  the voice is taken from {', '.join(repr(clip['word']) for clip in others)}: {voice}")
    return [speak_and_draw(speak, silent, output, seed, speaker=voice, real=said["audio"])]


def speak_and_draw(
    speak: Any, path: Path, output: Path, seed: int, *, speaker: Path | None = None, real: np.ndarray | None = None
) -> Path:
    """Give one video a voice, print what was told from its lips, and draw the spectrograms below the `real` one."""
    spoken = output / f"{path.stem.removesuffix('.silent')}.spoken.mp4"
    generator = torch.Generator().manual_seed(seed)
    records = speak(str(path), speaker=speaker, generator=generator, output=spoken)
    mel = None
    if real is not None and len(records) == 1:
        mel = speak.processor.mel_settings.compute(speak.processor.prepare_sound(real)).numpy()
    picture = render_spectrograms(records, spoken.with_suffix(".png"), real=mel)
    for record in records:
        times = f"{record['start']:.2f} to {record['end']:.2f} s"
        print(f"  face {record['track_id']}: {times}, voice: {record['speaker']}, vocoder: {record['vocoder']}")
    print(f"  video: {spoken}")
    print(f"  picture: {picture}")
    return picture


__all__ = ["demo"]
