"""Prefix beam search of gloss logits: over all beams and classes of a step at once against one by one in plain Python.

    python benchmarks/slowfast_cslr_decoding.py [--steps 50] [--classes 1296] [--rounds 5] [--cases 300]

Both follow the same rules: width 10, the 40 most probable classes of each step, sums over paths. First the beams of
random cases are compared: labels exactly, scores to 1e-9.
"""

import argparse
import math
import statistics
import time

import numpy as np

from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import search_beams

NUM_BEAMS, TOP_CLASSES = 10, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--classes", type=int, default=1296)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=300)
    options = parser.parse_args()
    difference = compare_cases(options.cases)
    logits = make_logits(np.random.default_rng(0), options.steps, options.classes)
    times: dict[str, list[float]] = {"plain": [], "vectorised": []}
    search_beams(logits)  # warm
    for _ in range(options.rounds):
        for name, search in (("plain", search_plainly), ("vectorised", search_beams)):
            start = time.perf_counter()
            search(logits)
            times[name].append(time.perf_counter() - start)
    ratios = [slow / fast for slow, fast in zip(times["plain"], times["vectorised"], strict=True)]
    print("| what | ratio | per round | plain | vectorised | shapes | threads |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| prefix beam search, plain Python / vectorised | {statistics.median(ratios):.1f}x "
        f"| {' '.join(f'{ratio:.1f}' for ratio in ratios)} | {1e3 * min(times['plain']):.1f} ms "
        f"| {1e3 * min(times['vectorised']):.1f} ms | {options.steps} steps x {options.classes} classes | 1 |"
    )
    print(f"\nequal beams in {options.cases} random cases, largest difference of scores {difference:.1e}")


def make_logits(generator: np.random.Generator, steps: int, classes: int) -> np.ndarray:
    """(steps, classes) of one to three likely classes per step, often the blank, as a trained head gives them."""
    logits = generator.standard_normal((steps, classes))
    for step in range(steps):
        likely = generator.choice(classes, min(classes, int(generator.integers(1, 4))), replace=False)
        logits[step, likely] += generator.uniform(2, 8, len(likely))
        logits[step, 0] += generator.uniform(0, 8)
    return logits


def compare_cases(count: int) -> float:
    """Largest difference of scores in random cases of 1 to 40 steps and 2 to 80 classes; labels have to be equal."""
    generator, largest = np.random.default_rng(1), 0.0
    for _ in range(count):
        logits = make_logits(generator, int(generator.integers(1, 41)), int(generator.integers(2, 81)))
        plain, beams = search_plainly(logits), search_beams(logits)
        assert [ids for ids, _ in plain] == [beam.ids for beam in beams], "beams differ"
        largest = max(largest, *(abs(score - beam.score) for (_, score), beam in zip(plain, beams, strict=True)))
    assert largest <= 1e-9, largest
    return largest


def search_plainly(logits: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
    """[(labels, log probability), ...] of the beams, best first, in dictionaries of label sequences."""
    beams = {(): (0.0, -math.inf)}  # log probabilities of paths that end in a blank, and in the last label
    for row in logits:
        largest = row.max()
        exponentials = [math.exp(value - largest) for value in row.tolist()]
        total = sum(exponentials)
        classes = sorted(range(len(row)), key=lambda label: -exponentials[label])[:TOP_CLASSES]
        grown: dict[tuple[int, ...], tuple[float, float]] = {}
        for label in classes:
            value = math.log(exponentials[label] / total + 2**-126)
            for ids, (log_blank, log_label) in beams.items():
                both = add_logarithms(log_blank, log_label)
                if label == 0:
                    add_path(grown, ids, value + both, -math.inf)
                elif ids and label == ids[-1]:
                    add_path(grown, ids, -math.inf, value + log_label)
                    add_path(grown, (*ids, label), -math.inf, value + log_blank)
                else:
                    add_path(grown, (*ids, label), -math.inf, value + both)
        possible = ((ids, value) for ids, value in grown.items() if max(value) > -math.inf)
        ordered = sorted(possible, key=lambda item: (-add_logarithms(*item[1]), item[0][-1:]))
        beams = dict(ordered[:NUM_BEAMS])
    return [(ids, add_logarithms(*value)) for ids, value in beams.items()]


def add_path(beams: dict, ids: tuple[int, ...], log_blank: float, log_label: float) -> None:
    old_blank, old_label = beams.get(ids, (-math.inf, -math.inf))
    beams[ids] = add_logarithms(old_blank, log_blank), add_logarithms(old_label, log_label)


def add_logarithms(first: float, second: float) -> float:
    """log(exp(first) + exp(second))."""
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


if __name__ == "__main__":
    main()
