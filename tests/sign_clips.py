"""Small sets of clips of signing, in the layouts that the examples read, and a network with random weights."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.video import write_video

GLOSSES = ["KLAR", "MORGEN", "NACHT", "REGEN"]
SENTENCES = ["MORGEN REGEN", "NACHT KLAR", "REGEN", "MORGEN KLAR REGEN", "NACHT NACHT", "KLAR"]


def write_frames(folder: Path, count: int, seed: int, size: tuple[int, int] = (40, 40), suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"images{number + 1:04d}{suffix}")


def write_own_clips(root: Path, *, split: bool = True) -> Path:
    """Six clips, every second one a video file, and their table."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["path,glosses,split" if split else "path,glosses"]
    for number, sentence in enumerate(SENTENCES):
        name, frames = f"clip{number}", 14 + number
        if number % 2:
            name += ".mp4"
            pixels = np.random.default_rng(number).integers(0, 256, (frames, 48, 40, 3), np.uint8)
            write_video(root / name, pixels, 25)
        else:
            write_frames(root / name, frames, number, (48, 40))
        part = ",dev" if number >= 4 else ",train"
        lines.append(f"{name},{sentence}{part if split else ''}")
    (root / "glosses.csv").write_text("\n".join(lines) + "\n")
    return root


def write_phoenix14(root: Path) -> Path:
    """Two clips of each split, in the owners' layout."""
    for split in ("train", "dev", "test"):
        rows = ["id|folder|signer|annotation"]
        for number, sentence in enumerate(SENTENCES[:2]):
            name = f"03March_{split}-{number}"
            write_frames(root / "features" / "fullFrame-256x256px" / split / name / "1", 13 + number, number)
            rows.append(f"{name}|{name}/1/*.png|Signer0{number}|{sentence}")
        table = root / "annotations" / "manual" / f"{split}.corpus.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(rows) + "\n")
    return root


def write_phoenix14t(root: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = ["name|video|start|end|speaker|orth|translation"]
        for number, sentence in enumerate(SENTENCES[:2]):
            name = f"05May_{split}-{number}"
            write_frames(root / "features" / "fullFrame-256x256px" / split / name, 13 + number, number)
            rows.append(f"{name}|{name}/1/*.png|-1|-1|Signer08|{sentence}|morgen regnet es")
        table = root / "annotations" / "manual" / f"PHOENIX-2014-T.{split}.corpus.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(rows) + "\n")
    return root


def write_csl_daily(root: Path) -> Path:
    rows, splits = ["index|name|length|gloss|char|word|postag"], ["name|split"]
    for number, split in enumerate(("train", "train", "dev", "test")):
        name = f"S00000{number}_P0000_T00"
        write_frames(root / "sentence" / "frames_256x256" / name, 13 + number, number, suffix=".jpg")
        rows.append(f"{number}|{name}|{13 + number}|{SENTENCES[number]}|x|x|x")
        splits.append(f"{name}|{split}")
    (root / "video_map.txt").write_text("\n".join(rows) + "\n")
    (root / "split_1.txt").write_text("\n".join(splits) + "\n")
    return root


WRITERS = {
    "phoenix14": write_phoenix14,
    "phoenix14t": write_phoenix14t,
    "csl_daily": write_csl_daily,
    "folder": write_own_clips,
}


def save_sign_model(folder: Path, glosses: list[str] | None = None, **fields: object) -> Path:
    """A network for frames of 32 pixels, cut from 40; without glosses, it has nine classes and no vocabulary."""
    torch.manual_seed(0)
    config = SlowFastSignConfig(
        depths=(1, 1, 1, 1),
        temporal_blocks=(1, 1, 1, 1),
        width=4,
        beta_inverse=2,
        hidden_size=8,
        vocab_size=9 if glosses is None else len(glosses) + 1,
        **fields,
    )
    SlowFastSignForCTC(config).save_pretrained(folder)
    SlowFastSignProcessor(glosses, resize_size=40, crop_size=32).save_pretrained(folder)
    return folder
