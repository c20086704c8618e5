"""A drawn person signs a sentence; the video gets it as subtitles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.pipelines.sign_language_recognition.drawing import open_signing, write_subtitled_video
from avzoo.toyworld.signs import GLOSSES, sign_sentence
from avzoo.video import contact_sheet, write_picture, write_video

NUM_GLOSSES = 5
NUM_PICTURES = 6


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Read the glosses of videos: a video with subtitles, and a picture of some of its frames.

    Args:
        files: videos of signing. None: a drawn person, who signs glosses of the toy checkpoint; it knows no others.
        output: folder for what is written.
        seed: of the sentence. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures.
    """
    read_signs = pipeline("sign-language-recognition", model=avzoo.toy_checkpoint("slowfast_cslr"), device="cpu")
    if files:
        return [show(read_signs, path, output) for path in files]
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}")
    known = [gloss for gloss in read_signs.processor.glosses if gloss in GLOSSES]
    clip = sign_sentence(seed, vocabulary=known, num_glosses=NUM_GLOSSES)
    video = output / "signing.mp4"
    write_video(video, clip["frames"], clip["fps"])
    print(f"  signed: {' '.join(clip['glosses'])}")
    return [show(read_signs, video, output)]


def show(read_signs: Any, path: Path, output: Path) -> Path:
    """Read one video, print its glosses, and draw them; the path of the picture."""
    answer = read_signs(str(path), n_best=3)
    print(f"  read:   {answer['text'] or '(no gloss)'}")
    for other in answer["n_best"][1:]:
        print(
            f"    or:   {other['text'] or '(no gloss)'}, {np.exp(other['score'] - answer['score']):.2g} times as likely"
        )
    for gloss in answer["glosses"]:
        print(f"    {gloss['label']}: {gloss['start']:.2f} to {gloss['end']:.2f} s, {gloss['score']:.2f}")
    video = write_subtitled_video(path, answer["glosses"], output / f"{path.stem}.subtitled.mp4")
    frames = open_signing(video)
    seconds = np.linspace(0, frames.info.duration, NUM_PICTURES + 2)[1:-1]
    sheet = contact_sheet([frames.frame_at(float(time)) for time in seconds], NUM_PICTURES // 2)
    picture = write_picture(output / f"{path.stem}.subtitled.png", sheet)
    print(f"  video: {video}")
    print(f"  picture: {picture}")
    return picture
