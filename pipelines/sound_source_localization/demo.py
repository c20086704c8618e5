"""One picture of two things, asked with the sound of each: the heat follows the sound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.pipelines.sound_source_localization.drawing import draw_answer, draw_answers, write_heat_video
from avzoo.toyworld.scenes import scene
from avzoo.video import contact_sheet, draw_label, write_picture

NUM_PICTURES = 4
# Scenes as the toy checkpoint was trained on.
SETTINGS: dict[str, Any] = {
    "size": 128,
    "categories": ("bird", "car", "cat", "clock", "frog", "guitar", "rain_cloud", "siren"),
    "area": (0.10, 0.18),
    "off_screen_chance": 0.0,
    "silent_chance": 0.0,
}


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Draw where the toy checkpoint hears things.

    Args:
        files: a picture with one or more sounds, or videos. None: drawn scenes of two things, as the toy checkpoint
            knows them; it knows no others.
        output: folder for what is written.
        seed: of the scenes. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures; of videos, nothing.
    """
    locate = pipeline("sound-source-localization", model=avzoo.toy_checkpoint("ssl_alignment"), device="cpu")
    if files:
        return show_files(locate, files, output)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}; pictures of two things, each asked with the sound of both")
    shown, right = [], 0
    for number in range(NUM_PICTURES):
        clip = scene(seed + number, num_objects=2, every_sound=True, **SETTINGS)
        answers = locate({"image": clip["image"], "audio": list(clip["sounds"])})
        names = [thing["category"] for thing in clip["objects"]]
        shown.append(draw_label(clip["image"], " and ".join(names), (3, 2)))
        for answer, name, mask in zip(answers, names, clip["masks"], strict=True):
            is_right = answer["peak"] is not None and bool(mask[answer["peak"][1], answer["peak"][0]])
            right += is_right
            shown.append(draw_answer(clip["image"], answer, name))
            print(f"  {name}: confidence {answer['confidence']:.2f}, the peak lies {'on' if is_right else 'beside'} it")
    print(f"  {right} of {2 * NUM_PICTURES} peaks lie on the thing that is heard")
    picture = write_picture(output / "sound_source_localization.png", contact_sheet(shown, 3))
    print(f"  picture: {picture}")
    return [picture]


def show_files(locate: Any, files: Sequence[Path], output: Path) -> list[Path]:
    """Answers for a picture with sounds, or for videos."""
    from avzoo.pipelines.audio_image_retrieval.pipeline import guess_kind
    from avzoo.video import read_picture

    if guess_kind(files[0]) == "image":
        if len(files) < 2:
            raise ValueError("`files` must be a picture and one or more sounds, or videos.")
        answers = locate({"image": str(files[0]), "audio": [str(path) for path in files[1:]]}, return_boxes=True)
        for path, answer in zip(files[1:], answers, strict=True):
            print(f"  {path.name}: {answer['meaning']}; peak {answer['peak']}")
        drawn = draw_answers(read_picture(files[0]), answers, [path.stem for path in files[1:]])
        return [write_picture(output / f"{files[0].stem}.heat.png", drawn)]
    for path in files:
        print(f"  video: {write_heat_video(path, locate.stream(str(path)), output / f'{path.stem}.heat.mp4')}")
    return []
