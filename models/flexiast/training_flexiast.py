"""Training set of labelled recordings with waveform mixup, and its collate function."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from avzoo.audio import read_audio
from avzoo.checks import check_number
from avzoo.models.flexiast.augmentation import mix_waveforms


class TaggedClips(torch.utils.data.Dataset):
    """Clips as {"waveform", "parts": [(labels, proportion), ...]}.

    Args:
        clips: rows with "path" and "labels", as [`avzoo.data.audio_tagging.read_tagging_data`] gives them.
        extractor: the feature extractor that [`collate_clips`] uses; defines rate, channels and length.
        mixup: probability that a clip is mixed with another, with a proportion from Beta(10, 10), as the authors of
            FlexiAST do on AudioSet. Drawn from torch's global generator, which the training loop seeds for each
            sample.
    """

    def __init__(self, clips: list[dict[str, Any]], extractor: Any, mixup: float = 0.0):
        check_number("mixup", mixup, at_least=0, at_most=1)
        self.clips, self.extractor, self.mixup = clips, extractor, mixup

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index]
        own = self._waveform(clip)
        if torch.rand(()) >= self.mixup:
            return {"waveform": own, "parts": [(clip["labels"], 1.0)]}
        other = self.clips[int(torch.randint(len(self.clips), ()))]
        proportion = float(torch.distributions.Beta(10.0, 10.0).sample())
        mixed = mix_waveforms(torch.from_numpy(own), torch.from_numpy(self._waveform(other)), proportion)
        return {"waveform": mixed.numpy(), "parts": [(clip["labels"], proportion), (other["labels"], 1 - proportion)]}

    def _waveform(self, clip: dict[str, Any]) -> np.ndarray:
        rate, channels = self.extractor.sampling_rate, self.extractor.channels
        samples, _ = read_audio(clip["path"], rate, channels=channels, name=clip["path"])
        if len(samples) < self.extractor.window_length:
            raise ValueError(
                f"`{clip['path']}` is too short: {len(samples)} samples at {rate} Hz, one frame needs "
                f"{self.extractor.window_length}. Delete it, or pass --skip_damaged."
            )
        return samples[: self.extractor.max_samples]


def collate_clips(clips: list[dict[str, Any]], extractor: Any, label2id: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Collate samples of [`TaggedClips`] to `input_values` and `labels` (batch, num_labels) in [0, 1]."""
    labels = torch.zeros(len(clips), len(label2id))
    for row, clip in zip(labels, clips, strict=True):
        for names, proportion in clip["parts"]:
            for name in names:
                row[label2id[name]] += proportion
    waveforms = [clip["waveform"] for clip in clips]
    features = extractor(waveforms, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return {"input_values": features.input_values, "labels": labels.clamp_(max=1)}
