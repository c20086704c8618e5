"""Sound is moved against its picture by a number of frames that is found again, and put right."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.pipelines.audio_visual_synchronization.pipeline import most_confident, plot_offsets
from avzoo.toyworld.talkers import FRAME_RATE, Talkers
from avzoo.video import shift_sound


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Shift each video's sound, find by how much, repair the file, and draw the curve it was read off.

    Args:
        files: videos that are in time. None: drawn people who speak, as the toy checkpoint knows them; it knows no
            others.
        output: folder for the videos and the pictures.
        seed: of the clip and the offset. None: drawn afresh, and printed.

    Returns:
        Paths of the pictures.
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    generator = np.random.default_rng(seed)
    print(f"seed {seed}")
    sync = pipeline("audio-visual-synchronization", model=avzoo.toy_checkpoint("mtdvocalist"), device="cpu")
    pictures = []
    for path in files or drawn_talker(output, seed):
        offset = int(generator.integers(1, 13)) * int(generator.choice([-1, 1]))
        shifted, repaired = output / f"{path.stem}.shifted.mp4", output / f"{path.stem}.repaired.mp4"
        shift_sound(path, shifted, -offset / FRAME_RATE)
        print(f"{path.name}: its sound was made {abs(offset)} frames {'early' if offset > 0 else 'late'}: {shifted}")
        records = sync(str(shifted))
        surest = most_confident(records)
        if surest is None:
            print("  nobody in it tells by how much")
            continue
        print(f"  found: {surest['meaning']} (confidence {surest['confidence']:.2f})")
        shift_sound(shifted, repaired, surest["offset_seconds"])
        again = most_confident(sync(str(repaired)))
        print(f"  repaired, {again['meaning'] if again else 'and nobody tells any more'}: {repaired}")
        pictures.append(plot_offsets(records, output / f"{path.stem}.offsets.png"))
        print(f"  picture: {pictures[-1]}")
    return pictures


def drawn_talker(output: Path, seed: int) -> list[Path]:
    """A clip of somebody who speaks, in time."""
    talkers = Talkers(1, seed, split="lips", seconds=4.0, size=[180, 240], mouthing=0.0)
    return talkers.write(talkers[0], output)[:1]
