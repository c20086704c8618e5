"""Recordings to the normalised log-mel spectrograms that BEATs sees."""

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from avzoo.audio import kaldi_fbank, kaldi_num_frames
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import read_recordings

Audio = str | os.PathLike | bytes | np.ndarray | torch.Tensor | list[float] | dict[str, Any]
SAMPLING_RATE = 16000


class BEATsFeatureExtractor(SequenceFeatureExtractor):
    """Recordings to `input_values` (batch, frames, 128), 100 frames per second, and the mask of what is no padding.

    Kaldi's log-mel energies of 16-bit samples (povey window, mean of each frame removed, no dither), less `mean`, over
    twice `std`: silence is -2.39. Source: microsoft/unilm, `beats/BEATs.py`.

    Args:
        num_mel_bins: bands between 20 Hz and 8 kHz.
        mean, std: of the training set's log-mel energies, in natural-log units.
        channels: how several channels become one: their "mean" or the "first".
        max_length: frames of an input that a task pipeline makes windows of; 998 are 10 s. Longer recordings are not
            cut here.
        min_frames: shorter recordings are refused; a patch has 16.
        mask: which frames of a shorter recording count. "frames": those without a padding sample; "official": the
            authors' rule, which cuts the samples by the number of frames, as if these did not overlap.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        num_mel_bins: int = 128,
        mean: float = 15.41663,
        std: float = 6.55582,
        channels: Literal["mean", "first"] = "mean",
        max_length: int = 998,
        min_frames: int = 16,
        mask: Literal["frames", "official"] = "frames",
        feature_size: int | None = None,
        sampling_rate: int = SAMPLING_RATE,
        padding_value: float = 0.0,
        **kwargs,
    ):
        check_whole_number("num_mel_bins", num_mel_bins, at_least=1, at_most=4096)
        check_number("mean", mean)
        check_number("std", std, above=0)
        check_choice("channels", channels, ("mean", "first"))
        check_choice("mask", mask, ("frames", "official"))
        check_whole_number("min_frames", min_frames, at_least=1)
        check_whole_number("max_length", max_length, at_least=min_frames, at_most=1_000_000)
        if sampling_rate != SAMPLING_RATE:
            raise ValueError(f"`sampling_rate` must be {SAMPLING_RATE}, which BEATs hears; got {sampling_rate}.")
        super().__init__(
            feature_size=feature_size or num_mel_bins,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            **kwargs,
        )
        self.num_mel_bins, self.mean, self.std = num_mel_bins, mean, std
        self.channels, self.mask = channels, mask
        self.max_length, self.min_frames = max_length, min_frames

    @property
    def window_length(self) -> int:
        """Samples of the shortest recording: `min_frames` windows of 25 ms, 10 ms apart."""
        return 400 + 160 * (self.min_frames - 1)

    @property
    def max_samples(self) -> int:
        """Samples of an input of `max_length` frames, up to where another frame would begin to fit."""
        return 400 + 160 * self.max_length - 80  # 160,000 samples for 998 frames

    def __call__(
        self,
        audio: Audio | Sequence[Audio],
        sampling_rate: int | None = None,
        *,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Features of one recording or of several; shorter ones are padded with digital silence.

        Args:
            audio: a recording or a list of them. A recording is a path, the bytes of a file, samples in [-1, 1] as a
                floating-point array, tensor or list, or a row of `datasets`. A two-dimensional array is a batch of
                one-channel recordings.
            sampling_rate: rate in Hz of recordings given as bare samples. Files and rows state theirs.
            return_attention_mask: None: only where lengths differ.
            return_tensors: "pt" (None: the same) or "np".

        Returns:
            `input_values` (batch, frames, num_mel_bins) float32, and `attention_mask` (batch, frames).

        Raises:
            ValueError: bare samples without a rate, a recording shorter than `min_frames`, NaN or infinite samples.
            What reading a file raises.
        """
        waveforms = read_recordings(
            audio,
            self.sampling_rate,
            source_rate=sampling_rate,
            channels=self.channels,
            shortest=self.window_length,
            need=f"{self.min_frames} frames need {self.window_length}. Omit it, or pad it with zeros",
        )
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        inputs = {"input_values": self.compute_features(torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True))}
        differ = int(lengths.min()) < int(lengths.max())
        if differ if return_attention_mask is None else return_attention_mask:
            inputs["attention_mask"] = self.make_mask(lengths, int(lengths.max()))
        return make_batch(inputs, return_tensors)

    def compute_features(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) in [-1, 1] to (batch, frames, num_mel_bins) float32."""
        log_mel = kaldi_fbank(waveforms * 32768, num_mel_bins=self.num_mel_bins, window="povey")
        return ((log_mel - self.mean) / (2 * self.std)).float()

    def make_mask(self, lengths: torch.Tensor, longest: int) -> torch.Tensor:
        """(batch, frames) of whole numbers: 1 = frame, 0 = padding, of clips of `lengths` samples."""
        frames = kaldi_num_frames(longest)
        if self.mask == "official":
            hop = longest // frames
            valid = torch.tensor([math.ceil(int(length) / hop) for length in lengths])
        else:
            valid = torch.tensor([kaldi_num_frames(int(length)) for length in lengths])
        return (torch.arange(frames) < valid[:, None]).long()


__all__ = ["BEATsFeatureExtractor"]
