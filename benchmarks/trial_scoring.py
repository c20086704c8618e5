"""Time the scoring of a trial list from stored embeddings: batched products against the trainer's loop over trials.

    python benchmarks/trial_scoring.py [--trials 37720] [--rounds 3]

The loop follows voxceleb_trainer without its copies to a GPU: per trial, two look-ups, two normalisations, one `cdist`
of 10 x 10 crops and one mean. Sizes are those of VoxCeleb1-O. Scores are compared first.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from avzoo.metrics import score_trials

RECORDINGS, CROPS, SIZE = 4708, 10, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=37720)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(RECORDINGS, 1, SIZE, generator=generator)
    embeddings = embeddings + 0.5 * torch.randn(RECORDINGS, CROPS, SIZE, generator=generator)
    pairs = np.random.default_rng(0).integers(0, RECORDINGS, (options.trials, 2))

    difference = np.abs(score_in_a_loop(embeddings, pairs) - score_trials(embeddings, pairs)).max()
    assert difference <= 1e-6, difference
    itself = score_trials(embeddings[:, :1].expand(-1, CROPS, -1), [[0, 0]])[0]
    assert itself == 0, itself
    times: dict[str, list[float]] = {"loop": [], "products": []}
    for _ in range(options.rounds):
        for name, score in (("loop", score_in_a_loop), ("products", score_trials)):
            start = time.perf_counter()
            score(embeddings, pairs)
            times[name].append(time.perf_counter() - start)
    ratios = [slow / fast for slow, fast in zip(times["loop"], times["products"], strict=True)]
    print("| what | ratio | per round | loop | products | shapes | threads |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| crops-distance, trial by trial / in batched products | {statistics.median(ratios):.1f}x "
        f"| {' '.join(f'{ratio:.1f}' for ratio in ratios)} | {min(times['loop']):.1f} s "
        f"| {min(times['products']):.1f} s | {options.trials} trials of {CROPS} x {CROPS} crops of {SIZE} "
        f"| {torch.get_num_threads()} |"
    )
    print(f"\nlargest difference of scores {difference:.1e}")


def score_in_a_loop(embeddings: torch.Tensor, pairs: np.ndarray) -> np.ndarray:
    """Minus the mean distance of all pairs of crops, trial by trial."""
    of_recording = dict(enumerate(embeddings))
    scores = []
    for first, second in pairs.tolist():
        crops = [torch.nn.functional.normalize(of_recording[name], p=2, dim=1) for name in (first, second)]
        scores.append(-np.mean(torch.cdist(*crops).numpy()))
    return np.array(scores)


if __name__ == "__main__":
    main()
