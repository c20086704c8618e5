"""Time offset scores of a clip: each window encoded once, against each pair anew as the authors do.

    python benchmarks/offset_scores.py [--seconds 3] [--teacher] [--memory 60]

The naive form follows the authors on the same model: for each window, 31 copies of its frames and 31 windows of sound
pass through the whole network. Outputs are compared, too. `--memory` prints the peak memory of a process that scores a
clip of so many seconds.
"""

import argparse
import resource
import statistics
import sys
import time

import numpy as np
import torch

from avzoo import (
    MTDVocaLiSTConfig,
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTConfig,
    VocaLiSTForSequenceClassification,
    VocaLiSTProcessor,
)
from avzoo.metrics.synchronization import clip_offset, estimate_offsets

MAX_SHIFT = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--teacher", action="store_true", help="time the teacher instead of the student")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory", type=float, help="only print the peak memory of scoring a clip of so many seconds")
    options = parser.parse_args()
    model = make_network(options.teacher)
    if options.memory:
        video, audio = make_clip(options.memory)
        start = time.perf_counter()
        model.score_offsets(video, audio)
        elapsed, peak = time.perf_counter() - start, peak_bytes() / 1e6
        print(f"{options.memory:g} s of video scored in {elapsed:.0f} s; peak memory of the process {peak:.0f} MB")
        return

    video, audio = make_clip(options.seconds)
    naive_times, shared_times = [], []
    for _ in range(options.rounds):
        start = time.perf_counter()
        naive = score_every_pair(model, video, audio)
        naive_times.append(time.perf_counter() - start)
        start = time.perf_counter()
        shared = model.score_offsets(video, audio)
        shared_times.append(time.perf_counter() - start)
        possible = shared.isfinite()
        # The naive form also computes pairs that do not exist, which are -inf here.
        difference = float((shared - naive)[possible].abs().max())
        naive = naive.masked_fill(~possible, -torch.inf)
        assert (estimate_offsets(shared) == estimate_offsets(naive)).all()
        assert clip_offset(shared).offset_frames == clip_offset(naive).offset_frames
        assert difference <= 1e-5, difference
    ratios = [slow / fast for slow, fast in zip(naive_times, shared_times, strict=True)]
    print("| what | ratio | per round | naive | shared | shapes | threads |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {'VocaLiST' if options.teacher else 'MTDVocaLiST'}, every pair anew / encoders shared "
        f"| {statistics.median(ratios):.1f}x | {' '.join(f'{ratio:.1f}' for ratio in ratios)} "
        f"| {min(naive_times):.1f} s | {min(shared_times):.1f} s "
        f"| {len(video)} windows x {2 * MAX_SHIFT + 1} | {torch.get_num_threads()} |"
    )
    print(f"\nlargest difference of scores {difference:.1e}, offsets identical")


def make_network(teacher: bool):
    """The released architecture with random weights."""
    torch.manual_seed(0)
    if teacher:
        return VocaLiSTForSequenceClassification(VocaLiSTConfig()).eval()
    return MTDVocaLiSTForSequenceClassification(MTDVocaLiSTConfig()).eval()


def make_clip(seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Random windows of faces and sound."""
    generator = np.random.default_rng(0)
    frames = round(seconds * 25)
    faces = generator.integers(0, 256, (frames, 96, 96, 3), dtype=np.uint8)
    sound = 0.1 * generator.standard_normal(frames * 640)
    inputs = VocaLiSTProcessor()(faces, sound, sampling_rate=16000)
    return inputs.pixel_values, inputs.input_features


@torch.no_grad()
def score_every_pair(model, video: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """(windows, 31), row by row: the same frames 31 times, missing audio windows as zeros."""
    beyond = audio.new_zeros(MAX_SHIFT, *audio.shape[1:])
    padded = torch.cat([beyond, audio, beyond])
    rows = []
    for index in range(len(video)):
        sound = padded[index : index + 2 * MAX_SHIFT + 1]
        rows.append(model(video[index : index + 1].expand(len(sound), *video.shape[1:]), sound).logits[:, 0])
    return torch.stack(rows)


def peak_bytes() -> int:
    """Peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
