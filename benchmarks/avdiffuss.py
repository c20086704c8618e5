"""AVDiffuSS: one evaluation of the released size, a whole separation, and the memory of long recordings.

    python benchmarks/avdiffuss.py [--rounds 3] [--only evaluation|separation|memory] [--threads 1]

Evaluation: the score network with random weights, 2.04 s (256 x 256), against the same network with the authors' way of
resampling where their compiled extension is not used: zeros put in, a border, and a convolution of single-channel
pictures with the whole kernel; alternating, outputs compared.

Separation: 30 times with corrector. The same steps with the face encoded anew for each evaluation, as the authors do,
against the pipeline, which encodes it once; counted in calls, and timed on a small network.

Memory: what tensors need at once, counted by torch's profiler, of 10 s in windows against one window of 2.04 s.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import conv2d, pad
from torch.profiler import ProfilerActivity, profile

import avzoo.models.avdiffuss.modeling_avdiffuss as modeling
from avzoo import (
    AVDiffuSSModel,
    AVDiffuSSPipeline,
    AVDiffuSSProcessor,
    AVDiffuSSVisualEncoder,
    AVDiffuSSVisualEncoderConfig,
    OUVEScheduler,
)

KERNEL = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["evaluation", "separation", "memory"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only in (None, "evaluation"):
        time_evaluations(options.rounds)
    if options.only in (None, "separation"):
        time_separations(options.rounds)
    if options.only in (None, "memory"):
        measure_memory()


# -------------------------------------------------------------------------------------------------- evaluation


def slow_upsample(images: torch.Tensor) -> torch.Tensor:
    """Zeros between pixels, two rows and columns before and one after, the kernel over each channel as a picture."""
    batch, channels, rows, columns = images.shape
    spread = images.reshape(-1, rows, 1, columns, 1)
    spread = pad(spread, (0, 1, 0, 0, 0, 1)).reshape(-1, 1, 2 * rows, 2 * columns)
    result = conv2d(pad(spread, (2, 1, 2, 1)), 4 * KERNEL[None, None])
    return result.reshape(batch, channels, 2 * rows, 2 * columns)


def slow_downsample(images: torch.Tensor) -> torch.Tensor:
    """A border of one, the kernel over each channel as a picture, and every second row and column of that."""
    batch, channels, rows, columns = images.shape
    result = conv2d(pad(images.reshape(-1, 1, rows, columns), (1, 1, 1, 1)), KERNEL[None, None])
    return result[..., ::2, ::2].reshape(batch, channels, rows // 2, columns // 2)


def with_slow_resampling(model: AVDiffuSSModel) -> AVDiffuSSModel:
    """The same weights, resampled the slow way, at every place where the network does it."""
    slow = AVDiffuSSModel.from_config(model.config).eval()
    slow.load_state_dict(model.state_dict())
    ways = {modeling.fir_upsample: slow_upsample, modeling.fir_downsample: slow_downsample}
    for module in slow.modules():
        if isinstance(module, modeling.AVDiffuSSResidualBlock):
            module.resample = ways.get(module.resample)
    return slow


@torch.no_grad()
def time_evaluations(rounds: int) -> None:
    torch.manual_seed(0)
    ours = AVDiffuSSModel(num_spectrograms=2, time_conditioned=True).eval()
    for parameter in ours.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))  # branches begin at nearly nothing
    theirs = with_slow_resampling(ours)
    state, time_now, seen = torch.randn(1, 2, 256, 256, dtype=torch.complex64), 0.5, torch.randn(1, 51, 64)

    def evaluate() -> torch.Tensor:
        return ours(state, time_now, seen).sample

    def evaluate_slowly() -> torch.Tensor:
        fast = modeling.fir_upsample, modeling.fir_downsample
        modeling.fir_upsample, modeling.fir_downsample = slow_upsample, slow_downsample  # of the pyramids
        try:
            return theirs(state, time_now, seen).sample
        finally:
            modeling.fir_upsample, modeling.fir_downsample = fast

    ours_out, slow_out = evaluate(), evaluate_slowly()
    print(f"evaluation: outputs differ by {relative(ours_out, slow_out):.1e}")
    times = alternating(rounds, evaluate, evaluate_slowly)
    report("one score evaluation, 2.04 s, released size", "slow resampling", times)


# -------------------------------------------------------------------------------------------------- separation


def small_pipeline() -> AVDiffuSSPipeline:
    torch.manual_seed(0)
    sizes = {"base_channels": 32, "cross_attention_dim": 64}
    config = AVDiffuSSVisualEncoderConfig()
    pipe = AVDiffuSSPipeline(
        denoiser=AVDiffuSSModel(**sizes).eval(),
        denoiser_visual_encoder=AVDiffuSSVisualEncoder(config).eval(),
        score_model=AVDiffuSSModel(num_spectrograms=2, time_conditioned=True, **sizes).eval(),
        score_visual_encoder=AVDiffuSSVisualEncoder(config).eval(),
        scheduler=OUVEScheduler(),
        processor=AVDiffuSSProcessor(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def time_separations(rounds: int) -> None:
    pipe = small_pipeline()
    mixture, face = torch.randn(32640), torch.randint(0, 256, (51, 112, 112), dtype=torch.uint8)
    options = {"num_inference_steps": 5, "corrector": "ald"}
    calls = {"seen": 0, "scored": 0}
    pipe.score_visual_encoder.register_forward_pre_hook(lambda *_: calls.update(seen=calls["seen"] + 1))
    pipe.score_model.register_forward_pre_hook(lambda *_: calls.update(scored=calls["scored"] + 1))
    encode = pipe.score_visual_encoder.forward

    def separate() -> None:
        pipe(mixture, face, generator=torch.Generator().manual_seed(0), **options)

    def separate_looking_each_time() -> None:
        hook = pipe.score_model.register_forward_pre_hook(lambda *_: encode(face[None]) and None)
        separate()
        hook.remove()

    separate()
    print(f"separation: {calls['scored']} evaluations, the face encoded {calls['seen']} time(s) for them")
    report("5 steps with corrector, 32 channels wide", "encoding the face each time",
           alternating(rounds, separate, separate_looking_each_time))  # fmt: skip


# ------------------------------------------------------------------------------------------------------ memory


def measure_memory() -> None:
    pipe = small_pipeline()
    options = {"num_inference_steps": 1, "corrector": "none"}
    sizes = {}
    for seconds in (2.04, 10.0):
        mixture = torch.randn(int(16000 * seconds))
        face = torch.randint(0, 256, (round(25 * seconds), 112, 112), dtype=torch.uint8)
        for name, window in {"windows": None, "whole": float("inf")}.items():
            sizes[seconds, name] = largest_sum(
                lambda m=mixture, f=face, w=window: pipe(m, f, window_length_in_s=w, **options)
            )
    for name in ("windows", "whole"):
        ratio = sizes[10.0, name] / sizes[2.04, name]
        print(f"memory, 10 s / 2.04 s, {name}: {ratio:.2f} ({sizes[10.0, name] / 1e6:.0f} MB)")


def largest_sum(call: Callable[[], object]) -> int:
    """The most bytes that torch held at a time, beside those from before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))


# ----------------------------------------------------------------------------------------------------- helpers


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected))


def alternating(rounds: int, *calls: Callable[[], object]) -> list[list[float]]:
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, measured in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            measured.append(time.perf_counter() - begin)
    return times


def report(what: str, against: str, times: list[list[float]]) -> None:
    ours, theirs = times
    ratios = [slow / fast for fast, slow in zip(ours, theirs, strict=True)]
    listed = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{what}: {statistics.median(ours):.2f} s; {against}: {statistics.median(theirs):.2f} s; ratio {listed}")


if __name__ == "__main__":
    main()
