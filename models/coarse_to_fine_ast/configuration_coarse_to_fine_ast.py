"""Configuration of an Audio Spectrogram Transformer that is trained from coarse to fine."""

import copy

from huggingface_hub.dataclasses import strict

from avzoo.checks import check_number
from avzoo.models.flexiast import FlexiASTConfig
from avzoo.models.flexiast.patch_geometry import PatchGeometry

from .compression import Pooling, TemporalCompression, compress_length, parse_factor


@strict
class CoarseToFineASTConfig(FlexiASTConfig):
    """Configuration of [`CoarseToFineASTForAudioClassification`]: an AST and its current training phase.

    Defaults: the ViT-B of the authors' AST at full resolution (arXiv 2401.08415; their code for this paper is not
    public, their other papers' is: JiuFengSC/ElasticAST@da75493). `patch_size`, `stride` and `position_grid` are those
    of the phase and of the stored weights; the model's `set_phase` changes them together. Other fields: see
    [`FlexiASTConfig`].

    Args:
        temporal_compression: how inputs are compressed in time: "frame_shift", "pooling" or "patchify".
        pooling: "max" or "mean" of consecutive frames.
        compression_factor: how many times shorter inputs are in this phase; 1 is full resolution, the end of training.
            Must be whole for "pooling"; `10 ms * factor` must be whole for "frame_shift", `patch frames * factor` for
            "patchify".
        max_length: frames of an input at full resolution, 100 per second.
        position_grid: (rows, columns) of the stored position grid. None: computed from the other fields.
    """

    model_type = "coarse_to_fine_ast"

    temporal_compression: TemporalCompression = "pooling"
    pooling: Pooling = "max"
    compression_factor: float | int = 1
    max_length: int = 1024
    position_grid: list[int] | tuple[int, int] | None = None

    def __post_init__(self, **kwargs):
        if self.position_grid is None and min(self.patch_size) > 0:  # else the checks report the patch
            self._check_patch()
            self.position_grid = self.phase_grid()
        super().__post_init__(**kwargs)

    @property
    def fine_patch_size(self) -> tuple[int, int]:
        """(mel bins, frames) of a patch at full resolution."""
        return self.patch_size[0], _divide_frames(self.patch_size[1], self._patch_factor)

    @property
    def fine_stride(self) -> tuple[int, int] | None:
        """(mel bins, frames) from patch to patch at full resolution; None: no overlap."""
        return None if self.stride is None else (self.stride[0], _divide_frames(self.stride[1], self._patch_factor))

    @property
    def num_frames(self) -> int:
        """Frames of an input in this phase."""
        return compress_length(
            self.max_length, self.temporal_compression, self.compression_factor, self.fine_patch_size[1]
        )

    @property
    def _patch_factor(self) -> float:
        """Ratio of the patch length to that at full resolution."""
        return self.compression_factor if self.temporal_compression == "patchify" else 1

    def phase_grid(self) -> tuple[int, int]:
        """(rows, columns) of patches in an input of this phase."""
        return PatchGeometry.of(self).grid(self.num_mel_bins, self.num_frames)

    def at_phase(
        self, compression_factor: float, temporal_compression: str | None = None, pooling: str | None = None
    ) -> "CoarseToFineASTConfig":
        """A copy of this config in another phase.

        Args:
            temporal_compression, pooling: None: unchanged.

        Raises:
            ValueError: the method cannot compress by this factor, or leaves no patch.
        """
        target, (mel_side, time_side), stride = copy.deepcopy(self), self.fine_patch_size, self.fine_stride
        method, pooling = temporal_compression or self.temporal_compression, pooling or self.pooling
        target.compression_factor = parse_factor(method, compression_factor, time_side, pooling)
        target.temporal_compression, target.pooling = method, pooling
        target.patch_size = (mel_side, round(time_side * target._patch_factor))
        target.stride = None if stride is None else (stride[0], max(1, round(stride[1] * target._patch_factor)))
        target.position_grid = target.phase_grid()
        return target

    def validate_phase(self):
        self.validate_pairs()
        check_number("max_length", self.max_length, at_least=1)
        self._check_patch()
        if self.position_grid != self.phase_grid():
            raise ValueError(
                f"`position_grid` {self.position_grid} is not the {self.phase_grid()} that `max_length` "
                f"{self.max_length} makes at `compression_factor` {self.compression_factor}. Omit it to have it "
                "computed; to change the phase of existing weights call `set_phase` of the model."
            )

    def _check_patch(self):
        """Raise unless the compression is possible and the patch has the length of the phase."""
        parse_factor(self.temporal_compression, self.compression_factor, pooling=self.pooling)
        if abs(self.fine_patch_size[1] * self._patch_factor - self.patch_size[1]) > 1e-6:
            raise ValueError(
                f"`patch_size` {self.patch_size} is no patch that is {self.compression_factor} times as long as one at "
                "full resolution (`compression_factor`)."
            )


def _divide_frames(frames: int, factor: float) -> int:
    return max(1, round(frames / factor))


__all__ = ["CoarseToFineASTConfig"]
