"""A tiny, complete AVDiffuSS for tests: the pipeline, sounds, faces, and what its networks are given."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from avzoo import AVDiffuSSPipeline

RATE, PER_FRAME, SIDE, BINS, HOP = 16000, 640, 32, 64, 64
# Sums in another order, and a few steps of a network that amplifies what they differ by.
NEAR = {"rtol": 1e-3, "atol": 1e-4}
EXACT = {"rtol": 0, "atol": 0}
# Loaded weights lie elsewhere in memory; at an address that is no multiple of 64 bytes, CPUs may sum in another order.
NEARLY = {"rtol": 1e-4, "atol": 1e-4}
WINDOW, COLUMNS = 2 * PER_FRAME, 24  # of the pipeline below


def assembled(parts: dict[str, Any], **changes: Any) -> AVDiffuSSPipeline:
    pipe = AVDiffuSSPipeline(**{**parts, "window_length_in_s": WINDOW / RATE, **changes})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sound(samples: int = WINDOW, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def face(frames: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(100 + seed).integers(0, 256, (frames, SIDE, SIDE), dtype=np.uint8)


def separated(pipe: AVDiffuSSPipeline, audio: Any = None, video: Any = None, **options: Any) -> Any:
    """One voice as a tensor, or the voices of a list."""
    audio = sound() if audio is None else audio
    video = face(-(-len(audio) // PER_FRAME)) if video is None else video
    defaults = {"num_inference_steps": 2, "corrector": "none", "generator": seeded(0), "output_type": "pt"}
    voices = pipe(audio, video, **{**defaults, **options}).audios
    return voices if isinstance(audio, list) or isinstance(video, list) else voices[0]


def watched(module: torch.nn.Module, call: Callable[[], Any]) -> list[tuple[torch.Tensor, ...]]:
    """Arguments of every call of a network."""
    seen: list[tuple[torch.Tensor, ...]] = []
    hook = module.register_forward_pre_hook(lambda module, args: seen.append(args))
    try:
        call()
    finally:
        hook.remove()
    return seen


def differ(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool(torch.linalg.vector_norm(first - second) > 0.01 * torch.linalg.vector_norm(second))
