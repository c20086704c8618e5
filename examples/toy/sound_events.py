"""Synthetic sound events as a small task for ASTs; what the `--toy` runs of FlexiAST and coarse-to-fine AST share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from avzoo import FlexiASTFeatureExtractor
from avzoo.toyworld.sound_events import SOUND_EVENT_CLASSES, render_sound_events

NUM_FRAMES = 128
LABELS = {
    "id2label": dict(enumerate(SOUND_EVENT_CLASSES)),
    "label2id": {name: index for index, name in enumerate(SOUND_EVENT_CLASSES)},
    "problem_type": "single_label_classification",
}


def prepare_data(folder: Path, num_clips: int, num_test_clips: int) -> tuple[Path, FlexiASTFeatureExtractor]:
    """Normalised features of the training and test clips in one file, and the extractor that makes them."""
    extractor = FlexiASTFeatureExtractor(max_length=NUM_FRAMES, mean=0.0, std=0.5, channels="mean")
    seconds = extractor.max_samples / extractor.sampling_rate
    tensors = {}
    for split, count in (("train", num_clips), ("test", num_test_clips)):
        audio, labels = render_sound_events(count, seed=0, seconds=seconds, split=split)
        parts = [extractor(part, sampling_rate=16000, return_tensors="pt").input_values for part in batches(audio, 64)]
        tensors[split] = (torch.cat(parts), torch.from_numpy(labels))
    log_mel = tensors["train"][0]
    extractor.mean, extractor.std = round(float(log_mel.mean()), 4), round(float(log_mel.std()), 4)
    tensors = {split: (extractor.normalize(features), labels) for split, (features, labels) in tensors.items()}
    torch.save(tensors, folder / "features.pt")
    return folder / "features.pt", extractor


def network_sizes(hidden_size: int, num_hidden_layers: int) -> dict[str, Any]:
    """Config fields of a small AST that learns in few epochs."""
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": hidden_size // 32,
        "intermediate_size": 4 * hidden_size,
        "initializer_range": 0.2,  # 0.02 is for wide networks; this narrow one learns from it in far fewer steps
    }


def make_positions_stand_out(model: torch.nn.Module) -> None:
    """In so few epochs positions are used only if they stand out from the first step on."""
    torch.nn.init.normal_(model.flexiast.embeddings.position_embeddings)


def augment(features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another level, and another onset: the clip is turned around in time."""
    gain = (torch.rand(len(features), 1, 1, generator=generator) - 0.5) * 0.6
    shifts = torch.randint(features.shape[1], (len(features),), generator=generator)
    frames = (torch.arange(features.shape[1]) - shifts[:, None]) % features.shape[1]
    return torch.gather(features, 1, frames.unsqueeze(-1).expand_as(features)) + gain


def batches(values, size: int) -> Iterator:
    return (values[start : start + size] for start in range(0, len(values), size))
