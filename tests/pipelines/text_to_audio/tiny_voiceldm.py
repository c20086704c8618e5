"""A tiny, complete VoiceLDM for tests: networks, tokenizers, prompts, recordings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from contract.voiceldm_parts import tiny_vocoder_config
from transformers import BatchEncoding, SpeechT5HifiGan

from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

DESCRIBED, NOT_DESCRIBED, SPOKEN, NOT_SPOKEN = True, False, True, False
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
PROMPTS = ["a hall", "in a park, with birds", "", "rain"]
TEXTS = ["hello", "how are you today?", "a", "_"]


class Characters:
    """A tokenizer of single characters, each of which has a number, that ends and pads texts as the real ones do."""

    def __init__(self, vocab_size: int):
        self.letters = vocab_size - 4

    def __call__(self, texts, padding=False, truncation=False, max_length=None, return_tensors=None) -> BatchEncoding:
        ids = [[4 + ord(character) % self.letters for character in text] for text in texts]
        ids = [[*row[: max_length - 1 if truncation else None], 2] for row in ids]
        if not padding:
            return BatchEncoding({"input_ids": ids})
        longest = max(map(len, ids))
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
        padded = [row + [1] * (longest - len(row)) for row in ids]
        return BatchEncoding({"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)})


def tiny_vocoder() -> SpeechT5HifiGan:
    """Its own draws would be inaudible."""
    vocoder = SpeechT5HifiGan(tiny_vocoder_config()).eval()
    with torch.no_grad():
        for weight in vocoder.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    return vocoder


def assembled(parts: dict[str, Any], **changes: Any) -> VoiceLDMPipeline:
    pipe = VoiceLDMPipeline(**{**parts, **changes})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spoken(pipe: VoiceLDMPipeline, description: Any = "a hall", content: Any = "hello", **options: Any) -> torch.Tensor:
    """A short result as a tensor."""
    defaults = {"audio_length_in_s": 0.64, "num_inference_steps": 2, "output_type": "pt", "generator": seeded(0)}
    return pipe(description, content, **{**defaults, **options}).audios


def watched_unet(pipe: VoiceLDMPipeline, call: Callable[[], Any]) -> list[dict[str, Any]]:
    """Arguments of every call of the denoiser."""
    seen: list[dict[str, Any]] = []

    def note(module, args, kwargs):
        seen.append({"sample": args[0], "timestep": args[1], **kwargs})

    hook = pipe.unet.register_forward_pre_hook(note, with_kwargs=True)
    try:
        call()
    finally:
        hook.remove()
    return seen


def noise_of(seconds: float, rate: int = 8000, channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((channels, int(seconds * rate))).astype(np.float32) * 0.1
    return noise[0] if channels == 1 else noise


def row_of(samples: np.ndarray, rate: int = 8000) -> dict[str, Any]:
    return {"array": samples, "sampling_rate": rate}
