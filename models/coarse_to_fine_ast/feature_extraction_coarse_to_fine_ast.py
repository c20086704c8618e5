"""Recordings to log-mel spectrograms at the resolution of a training phase."""

import os
import re
from collections.abc import Iterable, Mapping

import torch

from avzoo.audio import kaldi_fbank
from avzoo.checks import check_number, check_whole_number
from avzoo.models.flexiast import FlexiASTFeatureExtractor
from avzoo.models.flexiast.feature_extraction_flexiast import Audio

from .compression import (
    FRAME_SHIFT_MS,
    Pooling,
    TemporalCompression,
    compress_frames,
    compress_length,
    parse_factor,
)


class CoarseToFineASTFeatureExtractor(FlexiASTFeatureExtractor):
    """Recordings to `input_values` (batch, frames of the phase, num_mel_bins), at 1 / factor of 100 frames per second.

    Per recording: one channel at 16 kHz -> Kaldi log-mel energies, every 10 ms * factor for "frame_shift" -> "pooling"
    -> zeros appended, or the end cut, to the phase's length -> (x - mean) / (2 * std). At factor 1, and for "patchify",
    it computes what [`FlexiASTFeatureExtractor`] does. Source: `dataloader.py` of JiuFengSC/ElasticAST@da75493.

    Args:
        max_length: frames of an input at full resolution; in a phase an input has `num_frames`.
        temporal_compression, pooling, compression_factor: see [`CoarseToFineASTConfig`]; `set_phase` changes them.
        frame_multiple: the number of frames of an input is a multiple of this, the length of a patch.
        scale_window: "frame_shift" only: windows are 25 ms * factor long, so that no sound is skipped. This changes the
            statistics.
        phase_statistics: {`phase_name`: (mean, std)} of phases with log-mel statistics of their own; max pooling raises
            the mean, for example. Other phases use `mean` and `std`, as the authors do. [`measure_statistics`] fills
            it.
    """

    def __init__(
        self,
        max_length: int = 1024,
        temporal_compression: TemporalCompression = "pooling",
        pooling: Pooling = "max",
        compression_factor: float = 1,
        frame_multiple: int = 16,
        scale_window: bool = False,
        phase_statistics: Mapping[str, tuple[float, float]] | None = None,
        **kwargs,
    ):
        super().__init__(max_length=max_length, **kwargs)
        check_whole_number("frame_multiple", frame_multiple, at_least=1)
        self.frame_multiple = frame_multiple
        self.scale_window = scale_window
        self.phase_statistics = {
            name: _parse_statistics(name, values) for name, values in (phase_statistics or {}).items()
        }
        self.temporal_compression, self.pooling = temporal_compression, pooling
        self.set_phase(compression_factor)

    def set_phase(
        self,
        compression_factor: float,
        temporal_compression: TemporalCompression | None = None,
        pooling: Pooling | None = None,
    ) -> None:
        """Switch to another phase; see the model's `set_phase`.

        Raises:
            ValueError: the method cannot compress by this factor, or leaves no patch. The phase is then unchanged.
        """
        method, pooling = temporal_compression or self.temporal_compression, pooling or self.pooling
        factor = parse_factor(method, compression_factor, self.frame_multiple, pooling)
        compress_length(self.max_length, method, factor, self.frame_multiple)
        self.temporal_compression, self.pooling, self.compression_factor = method, pooling, factor

    @property
    def phase_name(self) -> str:
        """ "frame_shift 4", "max pooling 4" or "patchify 4"."""
        method = f"{self.pooling} pooling" if self.temporal_compression == "pooling" else self.temporal_compression
        return f"{method} {self.compression_factor:g}"

    @property
    def num_frames(self) -> int:
        """Number of frames of an input in this phase."""
        return compress_length(self.max_length, self.temporal_compression, self.compression_factor, self.frame_multiple)

    @property
    def _shift_factor(self) -> float:
        return self.compression_factor if self.temporal_compression == "frame_shift" else 1

    @property
    def _frame_shift_ms(self) -> float:
        return FRAME_SHIFT_MS * self._shift_factor

    @property
    def _frame_length_ms(self) -> int:
        """Rounded down to whole milliseconds, as the authors do."""
        return int(25 * self._shift_factor) if self.scale_window else 25

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next, before pooling."""
        return int(self.sampling_rate * 0.001 * self._frame_shift_ms)

    @property
    def window_length(self) -> int:
        """Samples of the shortest accepted recording: one frame, or one pooled group of frames."""
        return self._frame_samples + (self._pool_size - 1) * self.hop_length

    @property
    def _frame_samples(self) -> int:
        return int(self.sampling_rate * 0.001 * self._frame_length_ms)

    @property
    def _pool_size(self) -> int:
        """Number of frames pooled to one."""
        return int(self.compression_factor) if self.temporal_compression == "pooling" else 1

    @property
    def max_samples(self) -> int:
        """Number of samples of a full-length input of this phase."""
        return self._frame_samples + (self.num_frames * self._pool_size - 1) * self.hop_length

    def log_mel(self, waveforms: list[torch.Tensor]) -> list[torch.Tensor]:
        """Log-mel energies at the phase's resolution, each (frames, num_mel_bins), before padding and normalising."""
        clips = kaldi_fbank(
            waveforms,
            sampling_rate=self.sampling_rate,
            num_mel_bins=self.num_mel_bins,
            frame_length_ms=self._frame_length_ms,
            frame_shift_ms=self._frame_shift_ms,
        )
        if self._pool_size == 1:
            return clips
        return [compress_frames(clip, "pooling", self._pool_size, self.pooling) for clip in clips]

    def compress(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Turn stored full-resolution features, (frames, num_mel_bins) before padding, into an input of the phase.

        Compresses, pads with zeros or cuts, then normalises. The result equals the extractor's output for the waveform
        bit for bit.

        Raises:
            ValueError: the phase needs the waveform: a factor that is not whole, `scale_window`, or a sampling rate
                at which 10 ms * factor is not `factor` times the samples of 10 ms.
        """
        fine_hop = int(self.sampling_rate * 0.001 * FRAME_SHIFT_MS)
        if self._frame_length_ms != 25 or self.hop_length != fine_hop * self._shift_factor:
            raise ValueError(
                f"phase {self.phase_name!r} cannot be computed from full-resolution features: its windows are "
                f"{self._frame_length_ms} ms long, {self.hop_length} samples apart. Compute it from the waveform."
            )
        log_mel = torch.as_tensor(log_mel)
        short = compress_frames(log_mel, self.temporal_compression, self.compression_factor, self.pooling)
        short = short[..., : self.num_frames, :]
        return self.normalize(torch.nn.functional.pad(short, (0, 0, 0, self.num_frames - short.shape[-2])))

    @property
    def statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the phase; `mean` and `std` unless `phase_statistics` has its own."""
        return self.phase_statistics.get(self.phase_name, (self.mean, self.std))

    def measure_statistics(self, recordings: Iterable[Audio], sampling_rate: int | None = None) -> tuple[float, float]:
        """Measure mean and standard deviation of the phase's log-mel energies; store them in `phase_statistics`.

        Args:
            recordings: list or generator of recordings, in any form that `__call__` accepts.

        Raises:
            TypeError: one recording in place of several.
            ValueError: no recording, or constant log-mel energies.
        """
        if isinstance(recordings, str | bytes | os.PathLike | Mapping):
            raise TypeError("`recordings` must be several recordings, got one; put it into a list.")
        count, total, squares = 0, 0.0, 0.0
        for index, recording in enumerate(recordings):
            (clip,) = self.log_mel([self.load(recording, sampling_rate, name=f"recordings[{index}]")])
            clip = clip[: self.num_frames].double()
            count += clip.numel()
            total += float(clip.sum())
            squares += float(clip.square().sum())
        if not count:
            raise ValueError("`recordings` is empty; pass at least one recording.")
        mean = total / count
        std = max(0.0, squares / count - mean**2) ** 0.5
        if std < 1e-6:
            raise ValueError(
                "`recordings` have constant log-mel energies (standard deviation 0); pass recordings with sound."
            )
        self.phase_statistics[self.phase_name] = (mean, std)
        return mean, std


def _parse_statistics(name: str, values: tuple[float, float]) -> tuple[float, float]:
    if not re.fullmatch(r"(frame_shift|max pooling|mean pooling|patchify) [\d.]+", str(name)):
        raise ValueError(
            f"`phase_statistics` has the key {name!r}, which is no phase; use a `phase_name` such as 'max pooling 4'."
        )
    try:
        mean, std = values
    except (TypeError, ValueError):
        raise ValueError(f"`phase_statistics[{name!r}]` must be (mean, std), got {values!r}.") from None
    check_number(f"phase_statistics[{name!r}][0]", mean)
    check_number(f"phase_statistics[{name!r}][1]", std, above=0)
    return float(mean), float(std)


__all__ = ["CoarseToFineASTFeatureExtractor"]
