"""Pictures of things are found by what they sound like, and sounds by pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.pipelines.sound_source_localization.demo import SETTINGS
from avzoo.toyworld.scenes import scene
from avzoo.video import contact_sheet, draw_label, write_picture
from avzoo.video.drawing import BACKGROUND

NUM_ITEMS, NUM_QUERIES, NUM_ANSWERS = 40, 5, 4


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Search drawn pictures by synthetic sounds, and the other way round.

    Args:
        files: pictures and sounds; each is searched for among those of the other kind. None: drawn scenes of one thing,
            as the toy checkpoint knows them; it knows no others.
        output: folder for the picture.
        seed: of the scenes. None: drawn afresh, and printed.

    Returns:
        Path of the picture; nothing for files.

    Raises:
        ValueError: files of one kind only.
    """
    find = pipeline("audio-image-retrieval", model=avzoo.toy_checkpoint("ssl_alignment"), device="cpu")
    if files:
        return search_files(find, files)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}; {NUM_ITEMS} pictures of one thing are searched by {NUM_QUERIES} sounds of others of its kind")
    clips = {f"{number}": scene(seed + number, num_objects=1, **SETTINGS) for number in range(NUM_ITEMS + NUM_QUERIES)}
    kinds = {name: clip["objects"][0]["category"] for name, clip in clips.items()}
    queries = list(clips)[NUM_ITEMS:]
    pictures = {name: clip["image"] for name, clip in clips.items() if name not in queries}
    find.index(pictures, {name: clips[name]["audio"] for name in pictures})
    shown = []
    for name in queries:
        answers = find(audio=clips[name]["audio"], top_k=NUM_ANSWERS)
        found = [kinds[answer["name"]] for answer in answers]
        print(f"  the sound of a {kinds[name]} finds: {', '.join(found)}")
        shown.append(draw_label(np.full_like(clips[name]["image"], BACKGROUND), f"{kinds[name]}, heard", (4, 50)))
        for answer, kind in zip(answers, found, strict=True):
            shown.append(draw_label(pictures[answer["name"]], f"{kind} {answer['score']:.2f}", (3, 2)))
    for way, wanted in (("a sound", "audio"), ("a picture", "image")):
        media = [clips[name][wanted] for name in queries]
        best = [answers[0]["name"] for answers in find(**{wanted: media}, top_k=1)]
        right = sum(kinds[name] == kinds[query] for name, query in zip(best, queries, strict=True))
        print(f"  by {way}: the best answer is of the same kind for {right} of {len(queries)}")
    picture = write_picture(output / "audio_image_retrieval.png", contact_sheet(shown, 1 + NUM_ANSWERS))
    print(f"  picture: {picture}")
    return [picture]


def search_files(find, files: Sequence[Path]) -> list[Path]:
    """Print what of the other kind each file finds among the others."""
    from avzoo.pipelines.audio_image_retrieval.pipeline import guess_kind

    kinds = {str(path): guess_kind(path) for path in files}
    images, sounds = ([path for path, kind in kinds.items() if kind == wanted] for wanted in ("image", "audio"))
    if not images or not sounds:
        raise ValueError("`files` must be pictures and sounds, at least one of each.")
    find.index(images, sounds)
    for path, kind in kinds.items():
        print(f"  {path}:")
        for answer in find(**{kind: path}):
            print(f"    {answer['score']:.3f} {answer['name']}")
    return []
