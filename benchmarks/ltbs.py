"""LTBS on a CPU against the plain form, HiFi-GAN of two sizes, vocoding in chunks, and memory of long videos.

    python benchmarks/ltbs.py [--rounds 7] [--seconds 3] [--only speed|chunks|memory]

The plain form is written as the public implementation computes: norms of batches apart and channels first, attention
written out, weight norms anew in every call, a projection of the condition for each step of the flow, and matrices
inverted in every call. The weights are the same, the released sizes, and outputs are compared before anything is timed.
Process time, one thread; both forms alternate.
"""

import argparse
import contextlib
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import nn
from torch.nn import functional
from transformers import SpeechT5HifiGan

from avzoo import LTBSConfig, LTBSForLipToSpeech
from avzoo.audio import MelSettings
from avzoo.models.layers import linear_maps, normed_convolution
from avzoo.models.layers.vocoding import make_hifigan_config, vocode
from avzoo.models.ltbs import flow_post_net, visual_front_end

FRAMES_PER_SECOND = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of the video (%(default)s)")
    parser.add_argument("--only", choices=["speed", "chunks", "memory"])
    parser.add_argument("--peak_of", type=float, help=argparse.SUPPRESS)  # a process of its own, for `memory`
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak_of is not None:
        speak_long_video(options.peak_of)
        return
    with torch.no_grad():
        if options.only in (None, "speed"):
            compare_speed(options.seconds, options.rounds)
        if options.only in (None, "chunks"):
            compare_chunks()
    if options.only in (None, "memory"):
        measure_memory()


# ---------------------------------------------------------------------------------------------------------- networks


def make_model() -> LTBSForLipToSpeech:
    """Released size, with norms, matrices and couplings as of a trained network."""
    torch.manual_seed(0)
    model = LTBSForLipToSpeech(LTBSConfig()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, flow_post_net.ActNorm):
            nn.init.uniform_(module.log_scale, -0.1, 0.1)
            nn.init.uniform_(module.bias, -0.1, 0.1)
        if isinstance(module, flow_post_net.Coupling):
            nn.init.normal_(module.end.weight, std=0.02)
    return model


def make_vocoder(size: str) -> SpeechT5HifiGan:
    torch.manual_seed(0)
    vocoder = SpeechT5HifiGan(make_hifigan_config(MelSettings(), size)).eval()
    for module in vocoder.modules():  # without it the untrained sound is a few millionths
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
            module.weight.mul_(0.7)
    return vocoder


def make_pixels(seconds: float) -> torch.Tensor:
    frames = round(seconds * FRAMES_PER_SECOND)
    return torch.randint(256, (1, frames, 88, 88), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------------------- speed


def compare_speed(seconds: float, rounds: int) -> None:
    model, pixels = make_model(), make_pixels(seconds)
    vocoders = {size: make_vocoder(size) for size in ("v1", "v2")}
    speaker_ids = torch.zeros(1, dtype=torch.long)
    noise = torch.randn(1, 4 * pixels.shape[1], 80)

    def coarse() -> torch.Tensor:
        return model.ltbs(pixels, speaker_ids=speaker_ids, return_dict=True).mel_coarse

    acoustic = model.ltbs(pixels, speaker_ids=speaker_ids, return_dict=True)

    def refine() -> torch.Tensor:
        return model.refine(acoustic, noise, 0.667)

    def spectrogram() -> torch.Tensor:
        return model(pixels, speaker_ids=speaker_ids, noise=noise, noise_scale=0.667, return_dict=True).mel

    def speak(size: str) -> torch.Tensor:
        return vocode(vocoders[size], spectrogram())

    print(f"{seconds:g} s of video, 1 thread, process time, {rounds} rounds")
    print("| what | plain / ours, median | per round | ours, s | largest difference |")
    print("|---|---|---|---|---|")
    compare("lips to the coarse spectrogram", coarse, rounds)
    compare("the flow, from latent to spectrogram", refine, rounds)
    compare("lips to the refined spectrogram", spectrogram, rounds)
    mel = spectrogram()
    compare("HiFi-GAN V1", lambda: vocode(vocoders["v1"], mel), rounds)
    compare("lips to sound with HiFi-GAN V1", lambda: speak("v1"), rounds)
    compare("lips to sound with HiFi-GAN V2", lambda: speak("v2"), rounds)
    pairs = [(measure(lambda: vocode(vocoders["v1"], mel)), measure(lambda: vocode(vocoders["v2"], mel)))] * 1
    pairs += [
        (measure(lambda: vocode(vocoders["v1"], mel)), measure(lambda: vocode(vocoders["v2"], mel)))
        for _ in range(rounds)
    ]
    print_row("HiFi-GAN V1 / V2, both ours", pairs[1:], math.nan)
    pairs = [(measure(lambda: speak("v1")), measure(lambda: speak("v2"))) for _ in range(rounds)]
    print_row("the whole with V1 / with V2, both ours", pairs, math.nan)
    print()


def compare(name: str, call: Callable[[], torch.Tensor], rounds: int) -> None:
    with in_plain_form():
        plain = call()
    difference = float((call() - plain).abs().max() / plain.abs().max().clamp(min=1))
    assert difference < 1e-4, (name, difference)
    pairs = []
    for _ in range(rounds):
        with in_plain_form():
            before = measure(call)
        pairs.append((before, measure(call)))
    print_row(name, pairs, difference)


def print_row(name: str, pairs: list[tuple[float, float]], difference: float) -> None:
    ratios = [before / after for before, after in pairs]
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    seconds = statistics.median(after for _, after in pairs)
    compared = "" if math.isnan(difference) else f"{difference:.0e}"
    print(f"| {name} | {statistics.median(ratios):.2f} | {each} | {seconds:.2f} | {compared} |", flush=True)


def measure(call: Callable[[], torch.Tensor]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


@contextlib.contextmanager
def in_plain_form() -> Iterator[None]:
    """Inside, networks compute as the public implementation does; see the top of this file."""

    def never(*_) -> bool:
        return False

    replaced = [
        (normed_convolution, "can_fold", never),
        (visual_front_end, "can_fold", never),
        (linear_maps, "is_worthwhile", never),
        (flow_post_net.FlowPostNet, "transform", invert_flow),
        (LTBSConfig, "_attn_implementation", "eager"),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def invert_flow(
    flow: flow_post_net.FlowPostNet,
    latent: torch.Tensor,
    mask: torch.Tensor,
    condition: torch.Tensor,
    inverse: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents to spectrograms, step by step."""
    assert inverse
    size = flow.squeeze_size
    places = mask[:, :, size - 1 :: size]
    x, condition = (flow.squeeze(part) * places for part in (latent, condition))
    determinant = torch.zeros(len(x))
    projection = flow.condition_projection
    widths = len(projection.direction) // len(flow.steps)
    for index in reversed(range(len(flow.steps))):
        step, own = flow.steps[index], slice(index * widths, (index + 1) * widths)
        weight = normalize_weight(projection.direction[own], projection.length[own])
        conditions = functional.conv1d(condition, weight, projection.bias[own])
        wavenet = flow.wavenets[index // flow.steps_per_wavenet]
        kept, changed = x.chunk(2, dim=1)
        hidden_states = look(wavenet, convolve(step.coupling.start, kept) * places, places, conditions)
        shift, log_scale = step.coupling.end(hidden_states).chunk(2, dim=1)
        x = torch.cat([kept, (changed - shift) * torch.exp(-log_scale) * places], dim=1)
        determinant = determinant - (log_scale * places).sum((1, 2))
        x, lost = unmix(step.mixing, x, places)
        determinant = determinant - lost
        x = (x - step.norm.bias) * torch.exp(-step.norm.log_scale) * places
        determinant = determinant - step.norm.log_scale.sum() * places.sum((1, 2))
    return flow.unsqueeze(x, places, latent.shape[2]), determinant[:, None]


def look(wavenet: nn.Module, hidden_states: torch.Tensor, mask: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
    """The WaveNet of one step."""
    total, size = torch.zeros_like(hidden_states), wavenet.size
    for index, (gate, output) in enumerate(zip(wavenet.gates, wavenet.outputs, strict=True)):
        opened = convolve(gate, hidden_states) + conditions[:, index * 2 * size : (index + 1) * 2 * size]
        passed = convolve(output, torch.tanh(opened[:, :size]) * torch.sigmoid(opened[:, size:]))
        if index == len(wavenet.gates) - 1:
            return (total + passed) * mask
        hidden_states = (hidden_states + passed[:, :size]) * mask
        total = total + passed[:, size:]
    raise AssertionError


def unmix(mixing: nn.Module, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    clips, channels, frames = x.shape
    size = mixing.group_size
    x = x.view(clips, 2, channels // size, size // 2, frames).permute(0, 1, 3, 2, 4)
    x = x.reshape(clips, size, channels // size, frames)
    x = functional.conv2d(x, torch.inverse(mixing.weight)[..., None, None])
    x = x.view(clips, 2, size // 2, channels // size, frames).permute(0, 1, 3, 2, 4)
    stretch = torch.linalg.slogdet(mixing.weight).logabsdet * (channels / size) * mask.sum((1, 2))
    return x.reshape(clips, channels, frames) * mask, stretch


def convolve(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    weight = normalize_weight(layer.direction, layer.length)
    padding = layer.dilation * (weight.shape[2] - 1) // 2
    return functional.conv1d(x, weight, layer.bias, padding=padding, dilation=layer.dilation)


def normalize_weight(direction: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    return torch._weight_norm(direction, length, 0)  # torch's own, as `nn.utils.weight_norm` computes it


# ------------------------------------------------------------------------------------------------- chunks and memory


def compare_chunks() -> None:
    """Whole and in chunks of the default length, 20 s."""
    mel = torch.randn(1, 2000, 80, generator=torch.Generator().manual_seed(0)).mul(2).sub(5)
    print("| HiFi-GAN V1, 20 s | largest difference | most that tensors take, MB |")
    print("|---|---|---|")
    vocoder = make_vocoder("v1")
    whole, most = peak_of(lambda: vocoder(mel))
    print(f"| whole | | {most / 1e6:.0f} |")
    for length in (1024, 256):
        chunked, most = peak_of(lambda length=length: vocode(vocoder, mel, length))
        difference = float((chunked - whole).abs().max())
        assert difference < 1e-5, difference
        print(f"| chunks of {length} frames | {difference:.0e} | {most / 1e6:.0f} |")
    print()


def peak_of(compute: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """What is computed, and the most bytes that torch held for it at a time."""
    import itertools

    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        answer = compute()
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return answer, max(held)


def measure_memory() -> None:
    print("| seconds of video, mouths to sound with HiFi-GAN V1, in windows | peak memory of the process, MB |")
    print("|---|---|")
    for seconds in (3, 60):
        command = [sys.executable, __file__, "--peak_of", str(seconds)]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        print(f"| {seconds} | {peak} |", flush=True)


@torch.no_grad()
def speak_long_video(seconds: float) -> None:
    model, vocoder, pixels = make_model(), make_vocoder("v1"), make_pixels(seconds)
    speaker_ids = torch.zeros(1, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    model.generate(pixels, generator=generator, speaker_ids=speaker_ids, vocoder=lambda mel: vocode(vocoder, mel))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()
