"""Recordings to normalised log-mel spectrograms, as FlexiAST and other ASTs expect them."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import BatchFeature, SequenceFeatureExtractor

from avzoo.audio import kaldi_fbank, read_audio
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.processors import is_single_recording

Audio = str | os.PathLike | bytes | np.ndarray | torch.Tensor | list[float] | dict[str, Any]


class FlexiASTFeatureExtractor(SequenceFeatureExtractor):
    """Recordings to `input_values` (batch, frames, num_mel_bins), 100 frames per second.

    Per recording: one channel at 16 kHz in [-1, 1] -> Kaldi log-mel energies -> zeros appended, or the end cut, to
    `max_length` frames -> (x - mean) / (2 * std). The zeros are appended to the log-mel energies, so the padding is
    (0 - mean) / (2 * std), which is not silence. The released weights were trained this way.
    Source: `dataloader.py` of JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8. Defaults: the VGGSound checkpoint.

    Args:
        sampling_rate: rate in Hz at which features are computed; recordings at other rates are resampled.
        num_mel_bins: mel bands between 20 Hz and half the sampling rate.
        max_length: frames of an input; 1024 is 10.255 s.
        mean, std: statistics of the training set's log-mel energies, in natural-log units.
        do_normalize: subtract `mean` and divide by `2 * std`.
        channels: how several channels are reduced to one: "first" (the authors' choice) or "mean".
        return_attention_mask: mark padding frames with 0. The released weights were trained without a mask.
    """

    model_input_names = ["input_values"]

    def __init__(
        self,
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        max_length: int = 1024,
        mean: float = -5.0767093,
        std: float = 4.4533687,
        do_normalize: bool = True,
        channels: Literal["first", "mean"] = "first",
        return_attention_mask: bool = False,
        feature_size: int | None = None,
        **kwargs,
    ):
        check_whole_number("sampling_rate", sampling_rate, at_least=1, unit="Hz")
        check_whole_number("num_mel_bins", num_mel_bins, at_least=1, at_most=4096)  # a file may state any number
        check_whole_number("max_length", max_length, at_least=1, at_most=1_000_000)
        check_number("mean", mean)
        check_number("std", std, above=0)
        check_choice("channels", channels, ("first", "mean"))
        if kwargs.pop("padding_value", 0.0) != 0:  # folders of other extractors state 0
            raise ValueError(
                "`padding_value` follows from `mean` and `std`, the padding is 0 before normalising; omit it."
            )
        super().__init__(
            feature_size=feature_size or num_mel_bins,
            sampling_rate=sampling_rate,
            padding_value=None,
            **kwargs,
        )
        self.num_mel_bins = num_mel_bins
        self.max_length = max_length
        self.mean = mean
        self.std = std
        self.do_normalize = do_normalize
        self.channels = channels
        self.return_attention_mask = return_attention_mask

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next: 10 ms."""
        return self.sampling_rate // 100

    @property
    def window_length(self) -> int:
        """Samples in the window of one frame: 25 ms."""
        return self.sampling_rate // 40

    @property
    def num_frames(self) -> int:
        """Number of frames of an input."""
        return self.max_length

    @property
    def max_samples(self) -> int:
        """Number of samples of a full-length input."""
        return self.window_length + (self.num_frames - 1) * self.hop_length

    @property
    def statistics(self) -> tuple[float, float]:
        """Mean and standard deviation that `normalize` uses."""
        return self.mean, self.std

    @property
    def padding_value(self) -> float:
        """Value of frames that are padding: log-mel energies of 0, normalised. `pad` uses it as `__call__` does."""
        mean, std = self.statistics
        return (0 - mean) / (2 * std) if self.do_normalize else 0.0

    @padding_value.setter
    def padding_value(self, value: None) -> None:
        if value is not None:  # transformers' constructor sets None
            raise ValueError("`padding_value` follows from `mean` and `std`; set those.")

    def normalize(self, log_mel: torch.Tensor) -> torch.Tensor:
        """(log_mel - mean) / (2 * std): the standard deviation becomes 0.5, as in every AST."""
        mean, std = self.statistics
        return (log_mel - mean) / (2 * std) if self.do_normalize else log_mel

    def __call__(
        self,
        audio: Audio | Sequence[Audio],
        sampling_rate: int | None = None,
        *,
        padding: Literal["max_length", "longest", True] = "max_length",
        max_length: int | None = None,
        truncation: Literal[True] = True,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Features of one recording or of several, in one pass.

        Args:
            audio: a recording or a list of them. A recording is a path, the bytes of a file, samples in [-1, 1] as a
                floating-point array, tensor or list, or a row of `datasets`: {"array", "sampling_rate"},
                {"path", "bytes"}. A two-dimensional array is a batch of one-channel recordings. Bare tensors
                at the extractor's rate stay on their device and gradients flow through them; others are resampled
                on the CPU, without gradients.
            sampling_rate: rate in Hz of recordings given as bare samples. Files and rows state theirs.
            padding: "max_length": every input has `max_length` frames. "longest" or True: as many as the
                longest recording needs, at most `max_length`.
            max_length: number of frames, in place of the extractor's own.
            truncation: longer recordings are always cut.
            return_attention_mask: None: as the extractor is set.
            return_tensors: "pt" for torch's tensors; "np" or None for NumPy's arrays.

        Returns:
            `input_values` (batch, frames, num_mel_bins) float32, and `attention_mask` (batch, frames) if requested.

        Raises:
            ValueError: bare samples without a rate, a recording shorter than one window, NaN or infinite samples.
            TypeError: integer samples.
            OSError: a file that cannot be read.
        """
        check_choice("padding", padding, ("max_length", "longest", True))
        check_choice("truncation", truncation, (True,))
        check_choice("return_tensors", return_tensors, ("pt", "np", None))
        if max_length is not None:
            check_whole_number("max_length", max_length, at_least=1, at_most=1_000_000)
        waveforms = [
            self.load(recording, sampling_rate, name=f"audio[{index}]")
            for index, recording in enumerate(list_recordings(audio))
        ]
        log_mel = self.log_mel(waveforms)

        limit = self.num_frames if max_length is None else max_length
        lengths = [min(len(clip), limit) for clip in log_mel]
        frames = limit if padding == "max_length" else max(lengths)
        padded = [
            nn.functional.pad(clip[:length], (0, 0, 0, frames - length))
            for clip, length in zip(log_mel, lengths, strict=True)
        ]
        data = {"input_values": self.normalize(torch.stack(padded))}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            ends = torch.tensor(lengths, device=padded[0].device)
            data["attention_mask"] = (torch.arange(frames, device=ends.device) < ends[:, None]).long()
        if return_tensors != "pt":
            data = {name: value.detach().cpu().numpy() for name, value in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def log_mel(self, waveforms: list[torch.Tensor]) -> list[torch.Tensor]:
        """Log-mel energies of waveforms (samples,), each (frames, num_mel_bins), before padding and normalising."""
        return kaldi_fbank(waveforms, sampling_rate=self.sampling_rate, num_mel_bins=self.num_mel_bins)

    def load(self, recording: Audio, sampling_rate: int | None = None, name: str = "audio") -> torch.Tensor:
        """One recording as a float32 tensor (samples,), one channel at the extractor's rate, of one frame at least."""
        if sampling_rate is None and isinstance(recording, np.ndarray | torch.Tensor | list | tuple):
            raise ValueError(
                f"`{name}` is bare samples without a sampling rate; pass `sampling_rate`, in Hz. "
                "Files and rows state theirs."
            )
        if isinstance(recording, torch.Tensor) and recording.ndim == 1 and sampling_rate == self.sampling_rate:
            check_samples(recording, name)
            samples = recording.float()
        else:
            samples, _ = read_audio(
                recording, self.sampling_rate, source_rate=sampling_rate, channels=self.channels, name=name
            )
            samples = torch.from_numpy(samples)
        if len(samples) < self.window_length:
            raise ValueError(
                f"`{name}` is too short: {len(samples)} samples at {self.sampling_rate} Hz, one frame needs "
                f"{self.window_length}. Omit it, or pad it with zeros."
            )
        return samples


def check_samples(samples: torch.Tensor, name: str) -> None:
    """Raise unless a waveform tensor is floating point, not empty and finite."""
    if not samples.is_floating_point():
        raise TypeError(
            f"`{name}` holds {samples.dtype} samples; pass floating-point samples in [-1, 1], "
            "for 16-bit PCM samples / 32768."
        )
    if not samples.numel():
        raise ValueError(f"`{name}` holds no samples.")
    if not torch.isfinite(samples).all():
        raise ValueError(f"`{name}` holds NaN or infinite samples.")


def list_recordings(audio: Audio | Sequence[Audio]) -> list[Audio]:
    """Put one recording, a batch or a list of recordings into a list."""
    if isinstance(audio, np.ndarray | torch.Tensor):
        if audio.ndim == 2 and len(audio):
            return list(audio)
        if audio.ndim != 1:
            raise ValueError(
                f"`audio` must be (samples,) or a batch (batch, samples), got shape {tuple(audio.shape)}. "
                'For several channels pass a row {"array": (channels, samples), "sampling_rate": rate}.'
            )
        return [audio]
    if isinstance(audio, list | tuple):
        if not audio:
            raise ValueError("`audio` is an empty list; pass at least one recording.")
        return [audio] if is_single_recording(audio) else list(audio)
    return [audio]


__all__ = ["FlexiASTFeatureExtractor"]
