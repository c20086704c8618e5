"""Draws the pictures of these pages: `python docs/make_pictures.py`, from the top of the checkout."""

from pathlib import Path

import numpy as np

from avzoo.toyworld import world
from avzoo.toyworld.spoken_words import spoken_word_clip
from avzoo.toyworld.talkers import lip_crops
from avzoo.video import (
    contact_sheet,
    draw_boxes,
    draw_cursor,
    draw_label,
    score_colour,
    stack,
    timeline,
    track_colour,
    waveform_strip,
    write_picture,
)

PICTURES = Path(__file__).parent / "pictures"


def talkers() -> np.ndarray:
    """Three people, a row each: what a mouth does in half a second of speech."""
    rows = []
    for clip in world("talkers")(3, seed=1, seconds=2.0, situation="single"):
        speaking = np.flatnonzero(clip["speaking"][0])
        first = int(np.clip(speaking[0], 0, 37)) if len(speaking) else 0
        rows += list(clip["frames"][first : first + 12])
    return contact_sheet(rows, 12)


def conversation() -> np.ndarray:
    """Moments of a conversation, with who speaks when and the sound."""
    clip = world("talkers")(1, seed=12, seconds=4.0, situation="conversation", num_faces=3, size=[180, 320])[0]
    rows = [np.where(row, 1.0, -1.0) for row in clip["speaking"]]
    strips = [timeline(rows, 320, 8), waveform_strip(clip["audio"], 320, 36)]
    shown = []
    for index in np.linspace(0, len(clip["frames"]) - 1, 6).astype(int):
        colours = [score_colour(1.0 if speaks else -1.0) for speaks in clip["speaking"][:, index]]
        picture = draw_boxes(clip["frames"][index], clip["boxes"][:, index], colours=colours)
        position = index / (len(clip["frames"]) - 1)
        shown.append(stack([picture, *(draw_cursor(strip, position) for strip in strips)]))
    return contact_sheet(shown, 3)


def spoken_words() -> np.ndarray:
    """Two words that look the same and one that doesn't, said by one person, a row each."""
    rows = []
    for word in ("bat", "mat", "fan"):
        clip = spoken_word_clip(5, word=word, identities=[2])
        first = int(np.clip(np.flatnonzero(clip["speaking"][0])[0] - 1, 0, 13))
        crops = lip_crops(clip, 0, 96)[first : first + 12]
        rows += [draw_label(crops[0], word, (2, 2)), *crops[1:]]
    return contact_sheet(rows, 12)


def scenes() -> np.ndarray:
    """Things and what they are; the one that sounds in blue."""
    shown = []
    for clip in world("scenes")(18, seed=1):
        boxes = [item["box"] for item in clip["objects"]]
        colours = [score_colour(1.0) if item["sounding"] else (150, 150, 150) for item in clip["objects"]]
        picture = draw_boxes(
            clip["image"], boxes, colours=colours, labels=[item["category"] for item in clip["objects"]]
        )
        heard = "" if clip["source"] == "visible" else f"{clip['source']}: {', '.join(clip['heard'])}"
        shown.append(draw_label(picture, heard, (2, 206)) if heard else picture)
    return contact_sheet(shown, 6)


def signs() -> np.ndarray:
    """Three signers, a row each, every fifth frame; the gloss that is being signed."""
    shown = []
    for clip in world("signs")(3, seed=2):
        for index in list(range(0, len(clip["frames"]), 5))[:12]:
            signed = [
                name
                for name, (start, stop) in zip(clip["glosses"], clip["spans"], strict=True)
                if start <= index < stop
            ]
            gloss = signed[0] if signed else ""
            shown.append(
                draw_label(clip["frames"][index], gloss, (2, 2), track_colour(3)) if gloss else clip["frames"][index]
            )
    return contact_sheet(shown, 12)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for draw in (talkers, conversation, spoken_words, scenes, signs):
        print(write_picture(PICTURES / f"{draw.__name__}.jpg", draw()))
