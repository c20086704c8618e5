"""Demo of FlexiAST: labels, cost and accuracy at several patch sizes."""

import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

import avzoo
from avzoo.audio import read_audio
from avzoo.files import write_atomically

PATCH_SIZES = (8, 16, 32, 48)
NUM_TEST_CLIPS = 120


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Tag recordings at several patch sizes, print a table for each and draw accuracy against time.

    Args:
        files: recordings to tag. None: speech and music shipped with gradio.
        output: folder for the picture.
        seed: unused; the demo has no randomness.

    Returns:
        Path of the picture.

    Raises:
        ImportError: no files were given and gradio is not installed; the extra `demo` installs it.
    """
    recordings = list(files) or find_recordings()
    folder = avzoo.toy_checkpoint("flexiast")
    tagger = pipeline("audio-classification", model=folder, device="cpu")
    model, extractor = tagger.model, tagger.feature_extractor

    for recording in recordings:
        samples, rate = read_audio(recording, extractor.sampling_rate)
        seconds = len(samples) / rate
        print(f"\n{recording.name} ({seconds:.1f} s)")
        print("  patch  tokens   GMAC  seconds  labels")
        for size in PATCH_SIZES:
            start = time.perf_counter()
            answer = tagger({"array": samples, "sampling_rate": rate}, patch_size=size, top_k=3, batch_size=16)
            elapsed = time.perf_counter() - start
            labels = ", ".join(f"{entry['label']} {entry['score']:.2f}" for entry in answer)
            print(
                f"  {size:5d}  {model.num_tokens(extractor.max_length, size):6d}"
                f"  {model.multiply_accumulates(extractor.max_length, size) / 1e9:5.3f}  {elapsed:7.3f}  {labels}"
            )

    curve = measure_patch_sizes(model, extractor)
    picture = output / "flexiast.png"
    draw(recordings[0], extractor, curve, picture)
    print(f"\ntokens and GMAC are of one window of {extractor.max_samples / extractor.sampling_rate:.2f} s")
    print(f"picture: {picture}")
    return [picture]


def find_recordings() -> list[Path]:
    """Find recordings of speech and music among gradio's media files."""
    spec = find_spec("gradio")
    if spec is None:
        raise ImportError(
            "`files` is empty and gradio, whose media files are the default, is not installed: "
            "pip install gradio, or pass a file."
        )
    folder = Path(spec.origin).parent / "media_assets" / "audio"
    names = ("cate_blanch.mp3", "heath_ledger.mp3", "cantina.wav", "sax.wav")
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"this version of gradio has none of {', '.join(names)}; pass a file.")
    return found


@torch.inference_mode()
def measure_patch_sizes(
    model: AutoModelForAudioClassification, extractor: AutoFeatureExtractor
) -> dict[int, tuple[float, float]]:
    """Measure {patch size: (accuracy, seconds per clip)} on synthetic clips not used in training."""
    from avzoo.toyworld.sound_events import render_sound_events

    seconds = extractor.max_samples / extractor.sampling_rate
    clips, labels = render_sound_events(NUM_TEST_CLIPS, seed=99, seconds=seconds, split="demo")
    features = extractor(list(clips), sampling_rate=16000, return_tensors="pt").input_values
    curve = {}
    for size in sorted({*PATCH_SIZES, 12, 24, 40}):
        model(features[:2], size)  # warm-up: resize matrices are cached per size
        start = time.perf_counter()
        predicted = model(features, size, return_dict=True).logits.argmax(-1)
        elapsed = time.perf_counter() - start
        curve[size] = (float(np.mean(predicted.numpy() == labels)), elapsed / len(clips))
    return curve


def draw(recording: Path, extractor, curve: dict[int, tuple[float, float]], picture: Path) -> None:
    """Draw the spectrogram under each patch grid, and accuracy against latency."""
    from matplotlib import pyplot as plt

    features = extractor(recording, padding="longest").input_values[0]
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    grids = [*axes[0], axes[1, 0]]
    for axis, size in zip(grids, PATCH_SIZES, strict=True):
        rows, columns = features.shape[1] // size, features.shape[0] // size
        axis.imshow(features.T, origin="lower", aspect="auto", cmap="magma")
        axis.hlines(np.arange(rows + 1) * size - 0.5, -0.5, columns * size - 0.5, colors="white", linewidth=0.5)
        axis.vlines(np.arange(columns + 1) * size - 0.5, -0.5, rows * size - 0.5, colors="white", linewidth=0.5)
        axis.set(title=f"patch {size}: {rows} x {columns} patches", xlabel="frame (10 ms)", ylabel="mel bin")
    tradeoff = axes[1, 1]
    milliseconds = [1000 * seconds for _, seconds in curve.values()]
    tradeoff.plot(milliseconds, [accuracy for accuracy, _ in curve.values()], "o-")
    for x, (size, (accuracy, _)) in zip(milliseconds, curve.items(), strict=True):
        tradeoff.annotate(str(size), (x, accuracy), textcoords="offset points", xytext=(4, -12))
    tradeoff.set(
        title=f"accuracy on {NUM_TEST_CLIPS} synthetic clips", xlabel="ms per clip", ylabel="accuracy", ylim=(0, 1.02)
    )
    tradeoff.set_xscale("log")
    tradeoff.grid(alpha=0.3)
    axes[1, 2].axis("off")
    axes[1, 2].text(
        0.0,
        0.95,
        f"{recording.name}\nfirst {len(features) / 100:.2f} s\n\nOne set of weights; the number beside\na point is the "
        "patch size it runs at.\nWhite lines: the patch of each token.",
        va="top",
    )
    with write_atomically(picture) as unfinished:
        figure.savefig(unfinished, dpi=110)
    plt.close(figure)
