"""Time the training of a session network from stored embeddings, and what RawNet3's filters are of a pass.

    python benchmarks/session_embedding.py [--steps 1000] [--rounds 5]

Ten thousand embeddings of 192 numbers, as of 500 speakers with eight sessions each; a step takes 64 speakers. RawNet3
has its full size and hears 3 s.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector
from avzoo.models.session_embedding.training_session_embedding import fit_session_head

EMBEDDINGS, SIZE, SPEAKERS, SESSIONS = 10_000, 192, 500, 8
RAWNET3 = {
    "architecture": "rawnet3",
    "dialect": "voxceleb_trainer",
    "aggregation_size": 1536,
    "embedding_size": 256,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| what | seconds | shapes | threads |")
    print("|---|---|---|---|")
    seconds, first, last = time_head(options.steps)
    print(
        f"| `fit_session_head`, {options.steps} steps | {seconds:.1f} | {EMBEDDINGS} embeddings of {SIZE} "
        f"| {torch.get_num_threads()} |"
    )
    print(f"\nloss of the first step {first:.2f}, of the last {last:.2f}\n")
    time_filters(options.rounds)


def time_head(num_steps: int) -> tuple[float, float, float]:
    """Seconds, first and last loss."""
    generator = np.random.default_rng(0)
    speakers, sessions = generator.integers(SPEAKERS, size=EMBEDDINGS), generator.integers(SESSIONS, size=EMBEDDINGS)
    who = generator.normal(size=(SPEAKERS, SIZE))
    where = generator.normal(size=(SPEAKERS * SESSIONS, SIZE))
    embeddings = who[speakers] + 0.6 * where[speakers * SESSIONS + sessions]
    embeddings = embeddings + 0.3 * generator.normal(size=(EMBEDDINGS, SIZE))
    fit_session_head(embeddings, sessions, speakers, num_steps=5)
    start = time.perf_counter()
    losses = fit_session_head(embeddings, sessions, speakers, num_steps=num_steps).losses
    return time.perf_counter() - start, losses[0], losses[-1]


@torch.no_grad()
def time_filters(rounds: int) -> None:
    """A pass, which computes its filters in float64, against the filters alone."""
    torch.manual_seed(0)
    encoder = SpeakerEncoderForXVector(SpeakerEncoderConfig(**RAWNET3)).eval()
    waveform = torch.randn(1, 48_000) * 0.1
    encoder(waveform)
    passes, alone = [], []
    for _ in range(rounds):
        for compute, times in ((lambda: encoder(waveform), passes), (encoder.trunk.stem.compute_filters, alone)):
            start = time.perf_counter()
            compute()
            times.append(time.perf_counter() - start)
    ratios = [whole / part for whole, part in zip(passes, alone, strict=True)]
    print("| RawNet3, 3 s | ratio | per round | pass | filters | threads |")
    print("|---|---|---|---|---|---|")
    print(
        f"| pass / its filters | {statistics.median(ratios):.0f} | {' '.join(f'{ratio:.0f}' for ratio in ratios)} "
        f"| {min(passes) * 1000:.0f} ms | {min(alone) * 1000:.2f} ms | {torch.get_num_threads()} |"
    )


if __name__ == "__main__":
    main()
