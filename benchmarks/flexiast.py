"""FlexiAST beside what it replaces: inference, the patch-size dial, loading, and memory on long recordings.

    python benchmarks/flexiast.py --rounds 5 --threads 1

Networks are of the released size, with random weights. Within a table all contenders share weights and input, their
outputs are compared before anything is timed, and rounds are interleaved, so that a busy machine slows everyone alike.
`--quick` leaves out the smallest patches and shortens the network of the memory table.
"""

import argparse
import copy
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch
import transformers
from torch import nn
from transformers import ASTConfig, ASTForAudioClassification

from avzoo import FlexiASTConfig, FlexiASTFeatureExtractor, FlexiASTForAudioClassification
from avzoo.conversion import convert_checkpoint, save_converted
from avzoo.models.flexiast.modeling_flexiast import FlexiASTPatchEmbeddings
from avzoo.models.flexiast.patch_geometry import PatchGeometry

FRAMES, MEL_BINS = 1024, 128
SIZES = (8, 10, 12, 16, 20, 24, 30, 32, 40, 48)
QUICK_SIZES = SIZES[3:]

Contenders = dict[str, Callable[[], object]]


def timed(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Seconds of every run; one run of each goes first, uncounted. Every other round goes backwards: what ran just
    before leaves its traces in caches and memory."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in list(contenders.items())[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def print_comparison(seconds: dict[str, list[float]], shapes: str, difference: str) -> None:
    """Rows of one comparison; the first contender is ours, ratios say how many times longer the others take."""
    ours = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"| {name} | {median / ours:.2f} | {median:.3f} | {min(values):.3f} to {max(values):.3f} | {shapes} "
            f"| {torch.get_num_threads()} | {difference} |"
        )


def require_same(name: str, ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> str:
    """Largest difference of the logits over their largest value; ends the benchmark when it is no rounding."""
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    if difference > tolerance:
        raise SystemExit(f"{name}: the contenders don't compute the same thing, logits differ by {difference:.1e}.")
    return f"{difference:.0e}"


def randomised(model: nn.Module) -> nn.Module:
    """Weights that make every layer count; a fresh network's are small, and its positions zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.05 if parameter.ndim > 1 else 0.02
            parameter.normal_(std=scale, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    return model.eval()


def spectrograms(batch: int) -> torch.Tensor:
    return 0.5 * torch.randn(batch, FRAMES, MEL_BINS, generator=torch.Generator().manual_seed(1))


# --- what it is compared with -----------------------------------------------------------------------------------------


def resize_densely(kernel: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The kernel resize as the authors define it, with one (new area, old area) matrix (see `resizing.py`)."""
    old = kernel.shape[-2:]
    impulses = torch.eye(old[0] * old[1]).view(-1, 1, *old)
    matrix = nn.functional.interpolate(impulses, size, mode="bilinear").flatten(1)  # (old area, new area)
    inverse = torch.linalg.pinv(matrix, rtol=1e-15)  # (new area, old area)
    return (kernel.flatten(1) @ inverse.T).view(*kernel.shape[:2], *size)


class DensePatchEmbeddings(FlexiASTPatchEmbeddings):
    """Builds the dense matrix anew in every forward, as the authors' code does."""

    def forward(self, input_values: torch.Tensor, geometry: PatchGeometry) -> torch.Tensor:
        kernel = resize_densely(self.weight, geometry.size)
        image = input_values.transpose(1, 2).unsqueeze(1)
        return nn.functional.conv2d(image, kernel, self.bias, stride=geometry.stride).flatten(2).transpose(1, 2)


def with_dense_resize(model: FlexiASTForAudioClassification) -> FlexiASTForAudioClassification:
    reference = copy.deepcopy(model)
    embeddings = DensePatchEmbeddings(model.config)
    embeddings.load_state_dict(model.flexiast.embeddings.patch_embeddings.state_dict())
    reference.flexiast.embeddings.patch_embeddings = embeddings
    return reference.eval()


# --- tables -----------------------------------------------------------------------------------------------------------


def original_ast(folder: Path, rounds: int, batches: tuple[int, ...]) -> None:
    """Inference at stride 10, and loading, of one AST: in transformers and converted."""
    print("\n## An original AST (stride 10) as it is: times of transformers over ours\n")
    print("| what | ratio | median s | spread s | shapes | threads | difference of logits |")
    print("|---|---|---|---|---|---|---|")
    theirs = randomised(ASTForAudioClassification(ASTConfig(num_labels=527, max_length=FRAMES)))
    theirs.set_attn_implementation("sdpa")
    theirs.save_pretrained(folder / "theirs")
    ours = convert_checkpoint("flexiast", folder / "theirs")
    save_converted(ours, folder / "ours")
    for batch in batches:
        x = spectrograms(batch)
        difference = require_same("AST", ours(x).logits, theirs(x).logits, tolerance=1e-4)
        seconds = timed(
            {
                "avzoo, forward": lambda x=x: ours(x),
                "transformers ASTForAudioClassification (sdpa), forward": lambda x=x: theirs(x),
            },
            rounds,
        )
        print_comparison(seconds, f"({batch}, {FRAMES}, {MEL_BINS}), {ours.num_tokens(FRAMES)} tokens", difference)

    loaded = {
        "avzoo, from_pretrained": lambda: FlexiASTForAudioClassification.from_pretrained(folder / "ours"),
        "transformers, from_pretrained": lambda: ASTForAudioClassification.from_pretrained(folder / "theirs"),
    }
    x = spectrograms(1)
    difference = require_same("Loaded", *(load().eval()(x).logits for load in loaded.values()), tolerance=1e-4)
    parameters = sum(parameter.numel() for parameter in ours.parameters())
    print_comparison(timed(loaded, rounds), f"{parameters / 1e6:.1f} M parameters, float32", difference)


def resize_in_every_forward(model: FlexiASTForAudioClassification, rounds: int) -> None:
    print("\n## Another patch size: times of a dense resize in every forward over ours\n")
    print("| what | ratio | median s | spread s | shapes | threads | difference of logits |")
    print("|---|---|---|---|---|---|---|")
    dense, x = with_dense_resize(model), spectrograms(1)
    for size in (48, 32, 24):
        difference = require_same("Resize", model(x, size).logits, dense(x, size).logits, tolerance=1e-4)
        folded = model.fold(size)
        seconds = timed(
            {
                f"avzoo, patch {size}": lambda size=size: model(x, size),
                f"dense resize in every forward, patch {size}": lambda size=size: dense(x, size),
                f"avzoo, folded to patch {size}": lambda folded=folded: folded(x),
            },
            rounds,
        )
        print_comparison(seconds, f"(1, {FRAMES}, {MEL_BINS}), {model.num_tokens(FRAMES, size)} tokens", difference)


def dial(model: FlexiASTForAudioClassification, rounds: int, sizes: tuple[int, ...]) -> None:
    print("\n## The dial: one clip of 10.24 s at every patch size\n")
    print("| patch | tokens | GMAC | median s | spread s | times patch 16's | threads |")
    print("|---|---|---|---|---|---|---|")
    x = spectrograms(1)
    seconds = timed({str(size): (lambda size=size: model(x, size)) for size in sizes}, rounds)
    base = statistics.median(seconds["16"])
    for size in sizes:
        values = seconds[str(size)]
        median = statistics.median(values)
        print(
            f"| {size} | {model.num_tokens(FRAMES, size)} | {model.multiply_accumulates(FRAMES, size) / 1e9:.1f} "
            f"| {median:.3f} | {min(values):.3f} to {max(values):.3f} | {median / base:.2f} "
            f"| {torch.get_num_threads()} |"
        )


TAG = """
import resource, sys, time, torch, transformers
import avzoo
folder, recording, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
tagger = transformers.pipeline("audio-classification", model=folder, batch_size=4, patch_size=48)
start = time.perf_counter()
tagger(recording)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
print(peak, time.perf_counter() - start)
"""


def memory(model: FlexiASTForAudioClassification, folder: Path) -> None:
    print("\n## Long recordings: a process that tags one at patch 48, windows of 10.26 s every 5.13 s\n")
    print("| recording | peak memory MiB | seconds of tagging | layers | threads |")
    print("|---|---|---|---|---|")
    model.save_pretrained(folder / "tagger")
    FlexiASTFeatureExtractor().save_pretrained(folder / "tagger")
    minute = 0.1 * torch.randn(60 * 16000, generator=torch.Generator().manual_seed(2)).numpy()
    for minutes in (1, 10):
        recording = folder / f"{minutes}.wav"
        with soundfile.SoundFile(recording, "w", 16000, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        threads = torch.get_num_threads()
        command = [sys.executable, "-c", TAG, folder / "tagger", recording, str(threads)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        peak, seconds = map(float, answer.stdout.split())
        print(f"| {minutes} min | {peak:.0f} | {seconds:.1f} | {model.config.num_hidden_layers} | {threads} |")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs that count; one more of each goes before them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(
        f"CPU, float32, {arguments.threads} threads of {os.cpu_count()} cores, load {load} before the start, "
        f"{arguments.rounds} rounds. torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        original_ast(Path(folder), arguments.rounds, (1,) if arguments.quick else (1, 4))
        model = randomised(FlexiASTForAudioClassification(FlexiASTConfig(num_labels=309)))
        resize_in_every_forward(model, arguments.rounds)
        dial(model, arguments.rounds, QUICK_SIZES if arguments.quick else SIZES)
        if arguments.quick:
            model = randomised(FlexiASTForAudioClassification(FlexiASTConfig(num_labels=309, num_hidden_layers=1)))
        memory(model, Path(folder))


if __name__ == "__main__":
    main()
