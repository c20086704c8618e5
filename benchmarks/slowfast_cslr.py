"""SlowFastSign on a CPU: norms folded and two-dimensional convolutions with channels last, against the plain form.

The plain form is the released one: convolutions in three dimensions, norms apart, channels first. Released size, one
thread, process time; both forms alternate, and their features are compared first. Then both forms stage by stage.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import nn

from avzoo import SlowFastSignConfig, SlowFastSignForCTC
from avzoo.models.layers import normed_convolution
from avzoo.models.slowfast_cslr import pathways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=44, help="of the clip, with its padding")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = make_model()
    pixels = torch.randint(256, (1, options.frames, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        compare("features of frames", lambda: model.get_frame_features(pixels), options.rounds)
        features = model.get_frame_features(pixels)
        compare("temporal head", lambda: model.recognize_features(features).logits, options.rounds)
        compare("whole", lambda: model(pixels).logits, options.rounds)
        compare_stages(model, pixels, options.rounds)


def make_model() -> SlowFastSignForCTC:
    """Released size, with norms and gates as of a trained network."""
    model = SlowFastSignForCTC(SlowFastSignConfig(auxiliary_branches=False)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.1, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, pathways.Fusion):
            nn.init.constant_(module.slow_gate, 0.1)
            nn.init.constant_(module.fast_gate, 0.1)
    return model


def compare(name: str, call: Callable[[], torch.Tensor], rounds: int) -> None:
    with in_plain_form():
        plain = call()
    difference = (call() - plain).norm() / plain.norm()
    assert difference < 1e-5, difference
    ratios, seconds = [], []
    for _ in range(rounds):
        with in_plain_form():
            before = measure(call)
        seconds.append(measure(call))
        ratios.append(before / seconds[-1])
    print(f"{name}: plain / ours {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), ", end="")
    print(f"ours {statistics.median(seconds):.2f} s, relative difference {difference:.1e}")


def compare_stages(model: SlowFastSignForCTC, pixels: torch.Tensor, rounds: int) -> None:
    """Each part on its own input, in both forms."""
    network, calls = model.slowfast.pathways, []

    def keep(name: str) -> Callable:
        def hook(module: nn.Module, arguments: tuple) -> None:
            held = tuple(part.clone() if isinstance(part, torch.Tensor) else part for part in arguments)
            calls.append((name, module, held))

        return hook

    parts = {"slow stem": network.slow_stem, "fast stem": network.fast_stem}
    for index, (fusion, stage) in enumerate(zip(network.fusions, network.stages, strict=True), start=1):
        parts |= {f"fusion {index}": fusion}
        parts |= {f"stage {index}, slow": stage.slow[-1], f"stage {index}, fast": stage.fast[-1]}
    handles = [part.register_forward_pre_hook(keep(name)) for name, part in parts.items()]
    model.get_frame_features(pixels)
    for handle in handles:
        handle.remove()
    for name, part, arguments in calls:

        def run(part: nn.Module = part, arguments: tuple = arguments) -> torch.Tensor:
            answer = part(*arguments)
            return answer if isinstance(answer, torch.Tensor) else answer[0]

        with in_plain_form():
            plain = tuple(  # as the plain form has its maps in memory
                part.transpose(1, 2).contiguous().transpose(1, 2) if isinstance(part, torch.Tensor) else part
                for part in arguments
            )
            before = min(measure(lambda run=run, plain=plain: run(arguments=plain)) for _ in range(rounds))
        after = min(measure(run) for _ in range(rounds))
        print(f"  {name}: plain {before * 1000:.0f} ms, ours {after * 1000:.0f} ms, {before / after:.2f}")


def measure(call: Callable[[], torch.Tensor]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


@contextlib.contextmanager
def in_plain_form() -> Iterator[None]:
    """Three dimensions, norms apart from their convolutions, and channels first."""

    def convolve_frames(layer: pathways.FrameConvolution, hidden_states: torch.Tensor) -> torch.Tensor:
        convolution = layer.convolution
        return convolve(
            layer, hidden_states, convolution.weight[:, :, None], (1, *convolution.stride), (0, *convolution.padding)
        )

    def convolve_time(
        layer: pathways.TimeConvolution, hidden_states: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        convolution = layer.convolution
        return convolve(
            layer, hidden_states, convolution.weight[..., None], (*convolution.stride, 1), (*convolution.padding, 0)
        )

    def convolve(layer, hidden_states, weight, stride, padding) -> torch.Tensor:
        norm = layer.norm
        made = nn.functional.conv3d(hidden_states.transpose(1, 2), weight, None, stride, padding)
        statistics_of_norm = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return nn.functional.batch_norm(made, *statistics_of_norm).transpose(1, 2)

    def pool(hidden_states: torch.Tensor) -> torch.Tensor:
        made = nn.functional.relu_(hidden_states).transpose(1, 2)
        return nn.functional.max_pool3d(made, (1, 3, 3), (1, 2, 2), (0, 1, 1)).transpose(1, 2)

    with contextlib.ExitStack() as stack:
        replaced = [
            (pathways.FrameConvolution, "forward", convolve_frames),
            (pathways.TimeConvolution, "forward", convolve_time),
            (pathways, "pool_stem", pool),
            (normed_convolution, "can_fold", lambda layer, hidden_states: False),
        ]
        for owner, name, value in replaced:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


if __name__ == "__main__":
    main()
