"""Shift the sound of a video, estimate the offset, repair the video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.pipelines.audio_visual_synchronization.drawing import plot_offsets
from avzoo.pipelines.audio_visual_synchronization.records import select_most_confident
from avzoo.toyworld.talkers import FRAME_RATE, Talkers
from avzoo.video import shift_sound


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Shift each video's sound, estimate the offset, repair the video, and plot the scores over offsets.

    Args:
        files: videos in sync. None: a synthetic talker; the toy checkpoint was trained on no others.
        output: folder for the videos and the plots.
        seed: of the clip and the offset. None: random, and printed.

    Returns:
        Paths of the plots.
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    generator = np.random.default_rng(seed)
    print(f"seed {seed}")
    sync = pipeline("audio-visual-synchronization", model=avzoo.toy_checkpoint("mtdvocalist"), device="cpu")
    plots = []
    for path in files or write_talker(output, seed):
        offset = int(generator.integers(1, 13)) * int(generator.choice([-1, 1]))
        shifted, repaired = output / f"{path.stem}.shifted.mp4", output / f"{path.stem}.repaired.mp4"
        shift_sound(path, shifted, -offset / FRAME_RATE)
        print(f"{path.name}: sound shifted {abs(offset)} frames {'early' if offset > 0 else 'late'}: {shifted}")
        records = sync(str(shifted))
        best = select_most_confident(records)
        if best is None:
            print("  found: no reliable offset")
            continue
        print(f"  found: {best['meaning']} (confidence {best['confidence']:.2f})")
        shift_sound(shifted, repaired, best["offset_seconds"])
        again = select_most_confident(sync(str(repaired)))
        print(f"  repaired, {again['meaning'] if again else 'no reliable offset'}: {repaired}")
        plots.append(plot_offsets(records, output / f"{path.stem}.offsets.png"))
        print(f"  plot: {plots[-1]}")
    return plots


def write_talker(output: Path, seed: int) -> list[Path]:
    """Write a video of a synthetic talker, in sync; returns its path in a list."""
    talkers = Talkers(1, seed, split="lips", seconds=4.0, size=[180, 240], mouthing=0.0)
    return talkers.write(talkers[0], output)[:1]
