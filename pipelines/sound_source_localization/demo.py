"""One picture of two things, asked with the sound and the name of each: the heat follows the sound, or the word."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.pipelines.sound_source_localization.drawing import draw_answer, draw_answers, write_heat_video
from avzoo.toyworld.scenes import scene
from avzoo.video import contact_sheet, draw_label, write_picture

NUM_PICTURES = 4
METHODS = {"ssl_alignment": "SSL alignment", "acl_ssl": "ACL-SSL"}
COLUMNS = ("the scene", "SSL alignment with both sounds", "ACL-SSL with both sounds", "ACL-SSL with both words")
PROMPT = "a photo of {}"  # that ACL-SSL's toy checkpoint was trained with
# Scenes as the toy checkpoints were trained on.
SETTINGS: dict[str, Any] = {
    "size": 128,
    "categories": ("bird", "car", "cat", "clock", "frog", "guitar", "rain_cloud", "siren"),
    "area": (0.10, 0.18),
    "off_screen_chance": 0.0,
    "silent_chance": 0.0,
}


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Draw where the toy checkpoints hear things, and where the one that reads paints what a text names.

    Args:
        files: a picture with one or more sounds, or videos, of which SSL alignment's checkpoint is asked. None: drawn
            scenes of two things, as the toy checkpoints know them; they know no others.
        output: folder for what is written.
        seed: of the scenes. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures; of videos, nothing.
    """
    if files:
        return show_files(load_model("ssl_alignment"), files, output)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}; pictures of two things, each asked with the sound of both")
    models = {title: load_model(method) for method, title in METHODS.items()}
    scenes = [scene(seed + number, num_objects=2, every_sound=True, **SETTINGS) for number in range(NUM_PICTURES)]
    rows = [[draw_label(clip["image"], " and ".join(name_things(clip)), (3, 2))] for clip in scenes]
    for title, locate in models.items():
        print(f"  {title}")
        right = [
            locate_things(locate, clip, list(clip["sounds"]), row, "audio")
            for clip, row in zip(scenes, rows, strict=True)
        ]
        print(f"  {sum(right)} of {2 * NUM_PICTURES} peaks lie on the thing that is heard")
        if hasattr(locate.model, "get_text_features"):
            print(f"  {title}, asked with words")
            right = [
                locate_things(locate, clip, [PROMPT.format(name) for name in name_things(clip)], row, "text")
                for clip, row in zip(scenes, rows, strict=True)
            ]
            print(f"  {sum(right)} of {2 * NUM_PICTURES} peaks lie on the thing that is named")
    sheet = contact_sheet([shown for row in rows for shown in row], len(rows[0]))
    picture = write_picture(output / "sound_source_localization.png", sheet)
    print(f"  picture: {picture}; from left to right: {', '.join(COLUMNS)}")
    return [picture]


def load_model(method: str) -> Any:
    """The pipeline of a method's toy checkpoint."""
    return pipeline("sound-source-localization", model=avzoo.toy_checkpoint(method), device="cpu")


def name_things(clip: Mapping[str, Any]) -> list[str]:
    """What the two things of a scene are called."""
    return [thing["category"].replace("_", " ") for thing in clip["objects"]]


def locate_things(locate: Any, clip: Mapping[str, Any], queries: list[Any], row: list[np.ndarray], kind: str) -> int:
    """Ask for both things of a scene and draw the answers behind the others of its row.

    Args:
        queries: their sounds, or texts. kind: "audio" or "text".

    Returns:
        How many peaks lie on the thing that was asked for.
    """
    right = 0
    answers = locate({"image": clip["image"], kind: queries})
    for answer, name, mask in zip(answers, name_things(clip), clip["masks"], strict=True):
        is_right = answer["peak"] is not None and bool(mask[answer["peak"][1], answer["peak"][0]])
        right += is_right
        row.append(draw_answer(clip["image"], answer, f"{name}{' (word)' if kind == 'text' else ''}"))
        print(f"    {name}: confidence {answer['confidence']:.2f}, the peak lies {'on' if is_right else 'beside'} it")
    return right


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
