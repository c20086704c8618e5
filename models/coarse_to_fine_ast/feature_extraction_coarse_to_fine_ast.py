"""Recordings to log-mel spectrograms at the resolution of a phase."""

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
    checked_factor,
    compress_frames,
    compressed_length,
)


class CoarseToFineASTFeatureExtractor(FlexiASTFeatureExtractor):
    """Recordings to `input_values` (batch, frames of the phase, num_mel_bins), at 1 / factor of 100 frames per second.

    Per recording: one channel at 16 kHz -> Kaldi log-mel energies, every 10 ms * factor for "frame_shift" -> "pooling"
    -> zeros appended, or the end cut, to the phase's length -> (x - mean) / (2 * std). At factor 1, and for "patchify",
    it computes what [`FlexiASTFeatureExtractor`] does. Source: `dataloader.py` of JiuFengSC/ElasticAST@da75493.

    Args:
        max_length: frames of an input at full resolution. In a phase an input has `num_frames`.
        temporal_compression, pooling, compression_factor: see [`CoarseToFineASTConfig`]; `set_phase` changes them.
        frame_multiple: an input has a multiple of this many frames: the length of a patch.
        scale_window: "frame_shift" only: frames look at 25 ms * factor, so that no sound is skipped. Statistics move.
        phase_statistics: {`phase_name`: (mean, std)} of phases whose log-mel energies have statistics of their own: a
            maximum is larger than what it is taken of. Phases that are not named use `mean` and `std`, as the authors
            do. [`measure_statistics`] finds them.
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
            name: _checked_statistics(name, values) for name, values in (phase_statistics or {}).items()
        }
        self.temporal_compression, self.pooling = temporal_compression, pooling
        self.set_phase(compression_factor)

    def set_phase(
        self,
        compression_factor: float,
        temporal_compression: TemporalCompression | None = None,
        pooling: Pooling | None = None,
    ) -> None:
        """Make features of another phase from now on; see the method of that name of the model.

        Raises:
            ValueError: the method cannot compress by this factor, or leaves no patch. Nothing has changed then.
        """
        method, pooling = temporal_compression or self.temporal_compression, pooling or self.pooling
        factor = checked_factor(method, compression_factor, self.frame_multiple, pooling)
        compressed_length(self.max_length, method, factor, self.frame_multiple)
        self.temporal_compression, self.pooling, self.compression_factor = method, pooling, factor

    @property
    def phase_name(self) -> str:
        """ "frame_shift 4", "max pooling 4" or "patchify 4"."""
        method = f"{self.pooling} pooling" if self.temporal_compression == "pooling" else self.temporal_compression
        return f"{method} {self.compression_factor:g}"

    @property
    def num_frames(self) -> int:
        """Frames of an input in this phase."""
        return compressed_length(
            self.max_length, self.temporal_compression, self.compression_factor, self.frame_multiple
        )

    @property
    def _shift_factor(self) -> float:
        return self.compression_factor if self.temporal_compression == "frame_shift" else 1

    @property
    def _frame_shift_ms(self) -> float:
        return FRAME_SHIFT_MS * self._shift_factor

    @property
    def _frame_length_ms(self) -> int:
        """Cut down to whole milliseconds, as the authors do."""
        return int(25 * self._shift_factor) if self.scale_window else 25

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next, before pooling."""
        return int(self.sampling_rate * 0.001 * self._frame_shift_ms)

    @property
    def window_length(self) -> int:
        """Samples that the shortest recording has: one frame, or the frames that are pooled to one."""
        return self._frame_samples + (self._pooled - 1) * self.hop_length

    @property
    def _frame_samples(self) -> int:
        return int(self.sampling_rate * 0.001 * self._frame_length_ms)

    @property
    def _pooled(self) -> int:
        """Frames that become one."""
        return int(self.compression_factor) if self.temporal_compression == "pooling" else 1

    @property
    def max_samples(self) -> int:
        """Samples that fill an input of this phase."""
        return self._frame_samples + (self.num_frames * self._pooled - 1) * self.hop_length

    def log_mel(self, waveforms: list[torch.Tensor]) -> list[torch.Tensor]:
        """Log-mel energies at the phase's resolution, each (frames, num_mel_bins), before padding and normalising."""
        clips = kaldi_fbank(
            waveforms,
            sampling_rate=self.sampling_rate,
            num_mel_bins=self.num_mel_bins,
            frame_length_ms=self._frame_length_ms,
            frame_shift_ms=self._frame_shift_ms,
        )
        if self._pooled == 1:
            return clips
        return [compress_frames(clip, "pooling", self._pooled, self.pooling) for clip in clips]

    def compress(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Features that were kept at full resolution, (frames, num_mel_bins) before padding, as an input of the phase.

        Bit for bit what the extractor makes of the recording, without its waveform: compressed, then padded with zeros
        or cut, then normalised.

        Raises:
            ValueError: a phase that needs the waveform: a factor that is not whole, `scale_window`, or a sampling rate
                at which 10 ms * factor is not `factor` times the samples of 10 ms.
        """
        fine_hop = int(self.sampling_rate * 0.001 * FRAME_SHIFT_MS)
        if self._frame_length_ms != 25 or self.hop_length != fine_hop * self._shift_factor:
            raise ValueError(
                f"features of full resolution do not hold those of {self.phase_name!r}: frames look at "
                f"{self._frame_length_ms} ms, {self.hop_length} samples apart. Make them from the waveform."
            )
        log_mel = torch.as_tensor(log_mel)
        short = compress_frames(log_mel, self.temporal_compression, self.compression_factor, self.pooling)
        short = short[..., : self.num_frames, :]
        return self.normalize(torch.nn.functional.pad(short, (0, 0, 0, self.num_frames - short.shape[-2])))

    @property
    def statistics(self) -> tuple[float, float]:
        """Those of the phase where it has its own."""
        return self.phase_statistics.get(self.phase_name, (self.mean, self.std))

    def measure_statistics(self, recordings: Iterable[Audio], sampling_rate: int | None = None) -> tuple[float, float]:
        """Mean and standard deviation of the log-mel energies in this phase, kept in `phase_statistics`.

        Args:
            recordings: several of them, a list or a generator; each as `__call__` takes it.

        Raises:
            ValueError: no recording, or all of them are one constant.
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
            raise ValueError("`recordings` holds none to measure.")
        mean = total / count
        std = max(0.0, squares / count - mean**2) ** 0.5
        if std < 1e-6:
            raise ValueError("`recordings` have log-mel energies that are all the same; there is nothing to scale.")
        self.phase_statistics[self.phase_name] = (mean, std)
        return mean, std


def _checked_statistics(name: str, values: tuple[float, float]) -> tuple[float, float]:
    if not re.fullmatch(r"(frame_shift|max pooling|mean pooling|patchify) [\d.]+", str(name)):
        raise ValueError(f"`phase_statistics` names {name!r}, no phase; a `phase_name` is such as 'max pooling 4'.")
    try:
        mean, std = values
    except (TypeError, ValueError):
        raise ValueError(f"`phase_statistics[{name!r}]` must be (mean, std), got {values!r}.") from None
    check_number(f"phase_statistics[{name!r}][0]", mean)
    check_number(f"phase_statistics[{name!r}][1]", std, above=0)
    return float(mean), float(std)


__all__ = ["CoarseToFineASTFeatureExtractor"]
