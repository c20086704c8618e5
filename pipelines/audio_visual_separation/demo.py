"""Two people talk at once; each face gets its voice back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import avzoo
from avzoo.audio import read_audio
from avzoo.metrics import si_sdr
from avzoo.pipelines.audio_visual_separation.faces import SeparatedVoice, separate_faces, write_voices
from avzoo.pipelines.text_to_audio.drawing import plot_spectrogram
from avzoo.toyworld.talkers import Talkers

KNOWN_PEOPLE = [0, 4]  # whom the toy checkpoint was trained on


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Separate the voices of videos: a WAV file, a video and a picture of the spectrogram for each face.

    Args:
        files: videos in which several people talk. None: drawn people, as the toy checkpoint knows them; it knows no
            others.
        output: folder for what is written.
        seed: of the clip and the noise. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures.
    """
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}")
    torch.manual_seed(seed)
    pipe = avzoo.AVDiffuSSPipeline.from_pretrained(avzoo.toy_checkpoint("avdiffuss"))
    pipe.set_progress_bar_config(disable=True)
    pictures = []
    for path in files:
        pictures += separate_and_draw(pipe, path, output / path.stem, seed)[1]
    if not files:
        talkers = Talkers(
            1, seed, split="demo", situation="mixture", seconds=4.0, size=[180, 320], identities=KNOWN_PEOPLE
        )
        clip = talkers[0]
        path = talkers.write(clip, output)[0]
        voices, pictures = separate_and_draw(pipe, path, output / "separated", seed)
        print_scores(clip, voices)
    return pictures


def separate_and_draw(
    pipe: avzoo.AVDiffuSSPipeline, path: Path, folder: Path, seed: int
) -> tuple[list[SeparatedVoice], list[Path]]:
    """The voices of one video, and the pictures of their spectrograms."""
    folder.mkdir(parents=True, exist_ok=True)
    voices, _ = separate_faces(pipe, path, seed=seed)
    mixture, rate = read_audio(path, pipe.sampling_rate)
    pictures = [plot_spectrogram(mixture, rate, folder / "mixture.png", f"{path.name}: all that is heard")]
    for voice, record in zip(voices, write_voices(voices, path, folder), strict=True):
        print(f"face {record['track_id']}: {folder / record['audio']} and {folder / record['video']}")
        title = f"{path.name}: the voice of face {record['track_id']}"
        pictures.append(plot_spectrogram(voice.audio, rate, folder / f"face-{record['track_id']}.png", title))
    print(f"  pictures: {', '.join(str(picture) for picture in pictures)}")
    return voices, pictures


def print_scores(clip: dict, voices: Sequence[SeparatedVoice]) -> None:
    """How near each voice is to the one that went into the mixture."""
    for voice in voices:
        track = voice.track
        boxes = clip["boxes"][:, track.start_frame : track.stop_frame]
        face = int(np.abs(boxes - track.boxes[: boxes.shape[1]]).mean((1, 2)).argmin())
        truth, _ = read_audio(clip["voices"][face], voice.sampling_rate, source_rate=clip["sampling_rate"])
        span = slice(0, min(len(truth), len(voice.audio)))
        before, after = (float(si_sdr(sound[span], truth[span])) for sound in (voice.mixture, voice.audio))
        print(f"  face {track.track_id}: SI-SDR {after:.1f} dB, in the mixture {before:.1f} dB")


__all__ = ["demo"]
