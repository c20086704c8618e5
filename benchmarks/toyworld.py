"""How fast the toy worlds are made: seconds of media per second of one core.

    python benchmarks/toyworld.py --rounds 5

Each world renders clips of its default kind (talkers at 112 x 112) with one thread; a row is the median over rounds of
seconds rendered per second of processor time, and the slowest and fastest round. The last rows say where the time of
talkers goes.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from avzoo.toyworld import world
from avzoo.toyworld.sound.voices import VOICES, say, sentence
from avzoo.toyworld.talkers import talker_clip
from avzoo.video.drawn_faces import DrawnFaceDetector

WORLDS = {
    "talkers, one face at 112 x 112": ("talkers", {"seconds": 2.0}),
    "talkers, three faces at 180 x 320": (
        "talkers",
        {"seconds": 2.0, "situation": "conversation", "num_faces": 3, "size": [180, 320]},
    ),
    "spoken_words": ("spoken_words", {}),
    "sessions": ("sessions", {}),
    "scenes at 224 x 224": ("scenes", {}),
    "signs": ("signs", {}),
    "rapid_signs": ("rapid_signs", {}),
    "captions": ("captions", {}),
    "sound_events": ("sound_events", {}),
}


def media_seconds(clip: dict) -> float:
    return len(clip["audio"]) / clip["sampling_rate"] if "audio" in clip else len(clip["frames"]) / clip["fps"]


def rendering(name: str, settings: dict, seed: int) -> float:
    """Seconds of media rendered."""
    return sum(media_seconds(clip) for clip in world(name)(4, seed, **settings))


def speaking(seed: int) -> float:
    generator = np.random.default_rng(seed)
    voices = [VOICES[index] for index in generator.integers(len(VOICES), size=4)]
    return sum(say(sentence(generator, voice.language), voice).seconds for voice in voices)


def detecting(seed: int, detector: DrawnFaceDetector) -> float:
    clip = talker_clip(seed, seconds=1.0, situation="silent", mouthing=0.0)
    start = time.process_time()
    detector(clip["frames"])
    return 1.0 / (time.process_time() - start)


def measure(work: Callable[[int], float], rounds: int) -> list[float]:
    """Seconds of media per second of processor time, one number per round."""
    work(0)  # the first call imports and fills tables
    rates = []
    for seed in range(1, rounds + 1):
        start = time.process_time()
        seconds = work(seed)
        rates.append(seconds / (time.process_time() - start))
    return rates


def row(what: str, rates: list[float]) -> None:
    print(f"| {what} | {statistics.median(rates):.1f} | {min(rates):.1f} to {max(rates):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| what | times real time, one core | slowest and fastest round |\n|---|---|---|")
    for what, (name, settings) in WORLDS.items():
        row(what, measure(lambda seed, name=name, settings=settings: rendering(name, settings, seed), rounds))
    row("speech alone", measure(speaking, rounds))
    detector = DrawnFaceDetector()
    detecting(0, detector)
    row("finding drawn faces at 112 x 112", [detecting(seed, detector) for seed in range(1, rounds + 1)])


if __name__ == "__main__":
    main()
