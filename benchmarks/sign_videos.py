"""Long videos of signing: peak memory of a process that reads one, and what the overlap of chunks costs.

    python benchmarks/sign_videos.py [--seconds 20] [--width 16] [--whole]

The network has the released depth and random weights; `--width 64` is the released one, which takes minutes for each
20 s. Frames are made one by one, so that the process holds no video. `--whole` reads the same frames at once, compares
logits, and prints the ratio of times. Run it once for each length: memory is that of the process at its peak.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import decode_glosses
from avzoo.pipelines.sign_language_recognition.features import MAX_FRAMES, compute_steps, recognize_steps

BLOCK = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--max-frames", type=int, default=MAX_FRAMES)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = SlowFastSignForCTC(SlowFastSignConfig(width=options.width, auxiliary_branches=False)).eval()
    processor, count = SlowFastSignProcessor(), round(25 * options.seconds)
    with torch.no_grad():
        before, start = peak_bytes(), time.perf_counter()
        steps, _ = compute_steps(model, processor, iter_blocks(count), options.max_frames)
        logits, _ = recognize_steps(model, steps)
        glosses = decode_glosses(logits)[0]
        elapsed = time.perf_counter() - start
        print(
            f"{options.seconds:g} s in chunks of {options.max_frames} frames: {elapsed:.1f} s, {len(glosses.ids)} "
            f"glosses; peak memory {peak_bytes() / 1e6:.0f} MB, {before / 1e6:.0f} MB before"
        )
        if options.whole:
            frames = np.concatenate(list(iter_blocks(count)))
            start = time.perf_counter()
            whole = model(**processor.pad([frames])).logits[0]
            ratio = elapsed / (time.perf_counter() - start)
            difference = float((whole - logits).abs().max())
            print(f"the whole at once: chunks take {ratio:.2f} times as long; peak memory {peak_bytes() / 1e6:.0f} MB")
            print(f"largest difference of logits {difference:.1e}")


def iter_blocks(count: int) -> Iterator[np.ndarray]:
    """Blocks of random frames, 224 x 224."""
    for start in range(0, count, BLOCK):
        generator = np.random.default_rng(start)
        small = generator.integers(0, 256, (min(BLOCK, count - start), 28, 28, 3), dtype=np.uint8)
        yield small.repeat(8, axis=1).repeat(8, axis=2)


def peak_bytes() -> int:
    """Peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
