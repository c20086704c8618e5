"""Active speaker detection: each face frame encoded once and reused, against encoding it again for every use.

    python benchmarks/talknce.py --seconds 60 --threads 1

Networks are of the released size, with random weights. TalkNet: six window lengths over one track, by `SceneScorer`, by
six passes, and one pass for scale. LoCoNet: three faces that are each other's context, by `SceneScorer` and with all
three encoded for each. Scores are compared before the times are printed; `--rounds` repeats, alternating.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from avzoo import (
    LoCoNetConfig,
    LoCoNetForActiveSpeakerDetection,
    TalkNetConfig,
    TalkNetForActiveSpeakerDetection,
)
from avzoo.models.talknce.scenes import DURATIONS, FaceTrack, SceneScorer
from avzoo.rates import FRAMES_PER_SECOND


def face(seconds: float, bins: int, seed: int) -> FaceTrack:
    generator = torch.Generator().manual_seed(seed)
    frames = round(seconds * FRAMES_PER_SECOND)
    pixels = torch.randint(256, (frames, 112, 112), dtype=torch.uint8, generator=generator)
    return FaceTrack(0, pixels, torch.randn(4 * frames, bins, generator=generator))


def windows(frames: int, duration: float) -> list[tuple[int, int]]:
    length = round(duration * FRAMES_PER_SECOND)
    return [(start, min(start + length, frames)) for start in range(0, frames, length)]


@torch.no_grad()
def one_by_one(model, tracks: list[FaceTrack], target: int, duration: float) -> torch.Tensor:
    """Every window through the whole network, faces and all."""
    order = [target, *(index for index in range(len(tracks)) if index != target)]
    rows = []
    for start, stop in windows(len(tracks[target].pixel_values), duration):
        pixels = torch.stack([tracks[index].pixel_values[start:stop] for index in order])
        features = tracks[target].input_features[4 * start : 4 * stop]
        rows.append(model(pixels[None], features[None]).logits[0, 0, :, 1])
    return torch.cat(rows)


def report(title: str, contenders: dict[str, Callable[[], torch.Tensor | None]], rounds: int, base: str) -> None:
    """A table of median seconds; contenders that return scores must agree."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    scores: dict[str, torch.Tensor | None] = {}
    for turn in range(rounds):
        for name, run in list(contenders.items())[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            scores[name] = run()
            seconds[name].append(time.perf_counter() - start)
    one, other = (values for values in scores.values() if values is not None)
    difference = float((one - other).abs().max())
    if difference > 1e-4:
        raise SystemExit(f"{title}: scores differ by {difference:.1e}.")
    print(f"\n{title}; largest difference of scores {difference:.0e}\n\n| how | seconds | ratio |\n|---|---|---|")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name in contenders:
        print(f"| {name} | {medians[name]:.1f} | {medians[name] / medians[base]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    torch.manual_seed(0)
    talknet = TalkNetForActiveSpeakerDetection(TalkNetConfig()).eval()
    track = face(options.seconds, 13, 0)

    def one_pass() -> None:
        one_by_one(talknet, [track], 0, 6)

    contenders = {
        "one pass, windows of 6 s": one_pass,
        "six window lengths, features kept": lambda: SceneScorer(talknet, [track]).scores(0),
        "six window lengths, six passes": lambda: torch.stack([one_by_one(talknet, [track], 0, d) for d in DURATIONS]),
    }
    report(f"TalkNet, {options.seconds:g} s", contenders, options.rounds, "one pass, windows of 6 s")

    loconet = LoCoNetForActiveSpeakerDetection(LoCoNetConfig()).eval()
    tracks = [face(options.seconds, 64, seed) for seed in range(3)]

    def encoded_once() -> torch.Tensor:
        scorer = SceneScorer(loconet, tracks)
        return torch.stack([scorer.scores(target, (6,))[0] for target in range(3)])

    contenders = {
        "each track encoded once": encoded_once,
        "all tracks encoded for each": lambda: torch.stack([one_by_one(loconet, tracks, i, 6) for i in range(3)]),
    }
    report(f"LoCoNet, 3 faces, {options.seconds:g} s", contenders, options.rounds, "each track encoded once")


if __name__ == "__main__":
    main()
