"""What the phases of coarse-to-fine training cost: features, and training steps of the full-size network.

    python benchmarks/coarse_to_fine_ast.py --rounds 5 --threads 1

Features of a phase are made from the waveform, at the phase's resolution, and of kept features of full resolution;
both are compared before anything is timed. Steps are forward and backward of an AST-Base with random weights, in every
phase, beside their FLOPs as torch counts them. Rounds are interleaved.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from avzoo import CoarseToFineASTConfig, CoarseToFineASTFeatureExtractor, CoarseToFineASTForAudioClassification
from avzoo.training.flops import flop_counter

PHASES = (("frame_shift", 1), ("frame_shift", 2), ("frame_shift", 4), ("pooling", 4), ("patchify", 4))
RATE = 16000

Contenders = dict[str, Callable[[], object]]


def timed(contenders: Contenders, rounds: int) -> dict[str, float]:
    """Median seconds; one run of each goes first, uncounted, and every other round goes backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in list(contenders.items())[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def features(rounds: int, num_clips: int = 16) -> None:
    """Milliseconds per clip of 10 s."""
    waveforms = [0.1 * torch.randn(10 * RATE, generator=torch.Generator().manual_seed(n)) for n in range(num_clips)]
    full = CoarseToFineASTFeatureExtractor()
    kept = full.log_mel(waveforms)
    contenders: Contenders = {"full resolution": lambda: full.log_mel(waveforms)}
    for method in ("frame_shift", "pooling"):
        extractor = CoarseToFineASTFeatureExtractor(temporal_compression=method, compression_factor=4)
        made = extractor(waveforms, RATE, return_tensors="pt").input_values
        cut = torch.stack([extractor.compress(clip) for clip in kept])
        if not torch.equal(made, cut):
            raise SystemExit(f"{method}: features of kept ones differ by {(made - cut).abs().max():.1e}.")
        contenders[f"{method} by 4, from the waveform"] = lambda e=extractor: e.log_mel(waveforms)
        contenders[f"{method} by 4, of kept features"] = lambda e=extractor: [e.compress(clip) for clip in kept]
    medians = timed(contenders, rounds)
    print("\n| features | ms per clip of 10 s | part of full resolution |\n|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {1000 * seconds / num_clips:.2f} | {seconds / medians['full resolution']:.3f} |")


def training_steps(rounds: int, layers: int) -> None:
    """One clip, forward and backward, in every phase."""
    contenders, flops = {}, {}
    for method, factor in PHASES:
        torch.manual_seed(0)
        model = CoarseToFineASTForAudioClassification(CoarseToFineASTConfig(num_hidden_layers=layers, num_labels=527))
        model.set_phase(factor, method)
        inputs = torch.randn(1, model.config.num_frames, 128)
        labels = torch.zeros(1, dtype=torch.long)

        def step(model=model, inputs=inputs, labels=labels):
            model(inputs, labels=labels).loss.backward()
            model.zero_grad()

        name = f"{method} {factor}"
        with flop_counter() as counter:
            step()
        flops[name], contenders[name] = counter.get_total_flops(), step
    medians = timed(contenders, rounds)
    first = next(iter(medians))
    print(f"\n| step of one clip, {layers} layers | GFLOPs | part | seconds | part |\n|---|---|---|---|---|")
    for name, seconds in medians.items():
        print(
            f"| {name} | {flops[name] / 1e9:.0f} | {flops[name] / flops[first]:.3f} | {seconds:.2f} "
            f"| {seconds / medians[first]:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=12, help="of the network whose steps are timed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads")
    features(options.rounds)
    training_steps(options.rounds, options.layers)


if __name__ == "__main__":
    main()
