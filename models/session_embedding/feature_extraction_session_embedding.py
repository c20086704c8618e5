"""Recordings to waveforms for a speaker encoder; the encoder makes its own features of them."""

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from avzoo.checks import check_choice, check_number
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import read_recordings

Audio = str | os.PathLike | bytes | np.ndarray | torch.Tensor | list[float] | dict[str, Any]
SAMPLING_RATE = 16000


class SpeakerFeatureExtractor(SequenceFeatureExtractor):
    """Recordings to `input_values` (batch, samples), 16 kHz, one channel, in [-1, 1], zeros behind shorter ones.

    Args:
        channels: how several channels become one: their "mean" or the "first".
        min_seconds: shorter recordings are refused; no encoder takes less than 0.1 s, and one needs 0.105 s.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        channels: Literal["mean", "first"] = "mean",
        min_seconds: float = 0.105,
        feature_size: int = 1,
        sampling_rate: int = SAMPLING_RATE,
        padding_value: float = 0.0,
        **kwargs,
    ):
        check_choice("channels", channels, ("mean", "first"))
        check_number("min_seconds", min_seconds, at_least=0.1, unit="seconds")
        if sampling_rate != SAMPLING_RATE:
            raise ValueError(
                f"`sampling_rate` must be {SAMPLING_RATE}, which every encoder hears; got {sampling_rate}."
            )
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.channels, self.min_seconds = channels, min_seconds

    def __call__(
        self,
        audio: Audio | Sequence[Audio],
        sampling_rate: int | None = None,
        *,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Waveforms of one recording or of several.

        Args:
            audio: a recording or a list of them. A recording is a path, the bytes of a file, samples in [-1, 1] as a
                floating-point array, tensor or list, or a row of `datasets`. A two-dimensional array is a batch of
                one-channel recordings.
            sampling_rate: rate in Hz of recordings given as bare samples; others are resampled. Files and rows state
                theirs.
            return_tensors: "pt" (None: the same) or "np".

        Returns:
            `input_values` (batch, samples of the longest) float32, and, if lengths differ, `attention_mask`.

        Raises:
            ValueError: bare samples without a rate, a recording shorter than `min_seconds`, NaN or infinite samples.
            What reading a file raises.
        """
        waveforms = read_recordings(
            audio,
            self.sampling_rate,
            source_rate=sampling_rate,
            channels=self.channels,
            shortest=math.ceil(self.min_seconds * self.sampling_rate),
            need=f"at least {self.min_seconds:g} s are needed",
        )
        inputs = {"input_values": torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)}
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        if int(lengths.min()) < int(lengths.max()):
            inputs["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        return make_batch(inputs, return_tensors)


__all__ = ["SpeakerFeatureExtractor"]
