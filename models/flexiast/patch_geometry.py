"""Size, stride and grid of patches on a spectrogram, and random patch sizes for training."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from avzoo.checks import check_number

from .configuration_flexiast import FlexiASTConfig
from .resizing import Grid

PatchSize = int | Sequence[int] | None


@dataclass(frozen=True)
class PatchGeometry:
    """Layout of patches of one size on a spectrogram: `size` and `stride` in (mel bins, frames)."""

    size: Grid
    stride: Grid

    @classmethod
    def of(cls, config: FlexiASTConfig, patch_size: PatchSize = None) -> "PatchGeometry":
        """Geometry of `patch_size` (None: the base size) under the configured overlap.

        Raises:
            TypeError: `patch_size` is not one or two whole numbers.
            ValueError: a side is below 1, or taller than the spectrogram.
        """
        size = config.patch_size if patch_size is None else parse_patch_size(patch_size)
        if size[0] > config.num_mel_bins:
            raise ValueError(
                f"`patch_size` {size} is taller than the spectrogram: it has {config.num_mel_bins} mel bins. "
                "Pass at most that, (mel bins, frames)."
            )
        if config.stride is None:
            return cls(size, size)
        scaled = (max(1, round(config.stride[side] * size[side] / config.patch_size[side])) for side in (0, 1))
        return cls(size, tuple(scaled))

    def grid(self, num_mel_bins: int, num_frames: int) -> Grid:
        """(rows, columns) of whole patches; mel bins and frames beyond the last whole patch are dropped.

        Raises:
            ValueError: the patch is longer than the input.
        """
        self._check_length(num_frames)
        return tuple(
            (length - size) // stride + 1
            for length, size, stride in zip((num_mel_bins, num_frames), self.size, self.stride, strict=True)
        )

    def count_columns(self, num_frames: torch.Tensor) -> torch.Tensor:
        """Count the columns of whole patches, (batch,), of clips of `num_frames` (batch,) frames.

        Raises:
            ValueError: the patch is longer than a clip. Numbers on a GPU, or in a graph that is being compiled or
                exported, are not checked; a clip that is too short counts as one patch there.
        """
        if num_frames.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_length(num_frames.min())
        return (num_frames - self.size[1]).clamp(min=0) // self.stride[1] + 1

    def num_frames(self, columns: int) -> int:
        """Number of frames that `columns` patches cover."""
        return self.size[1] + (columns - 1) * self.stride[1]

    def _check_length(self, num_frames: int | torch.Tensor) -> None:
        if self.size[1] > num_frames:
            raise ValueError(
                f"`patch_size` {self.size} is longer than the input: it has {num_frames} frames. "
                "Pass a smaller patch, or pad the input to at least one patch."
            )


def parse_patch_size(patch_size: int | Sequence[int]) -> Grid:
    """Parse one number (a square) or two as (mel bins, frames)."""
    pair = (patch_size, patch_size) if not isinstance(patch_size, Sequence) else tuple(patch_size)
    try:
        pair = tuple(operator.index(side) for side in pair)
    except TypeError:
        pair = ()
    if len(pair) != 2:
        raise TypeError(
            f"`patch_size` must be a whole number or a pair (mel bins, frames) of them, got {patch_size!r}."
        )
    check_number("patch_size", min(pair), at_least=1)
    return pair


def draw_patch_size(config: FlexiASTConfig, generator: torch.Generator) -> Grid:
    """Draw one of `config.patch_sizes` uniformly.

    Processes whose generators have the same seed and made the same number of draws get the same size.
    """
    if not config.patch_sizes:
        raise ValueError(
            "`generator` requests a random patch size, but `config.patch_sizes` is not set. Set the sizes to draw "
            "from, or omit `generator`."
        )
    index = torch.randint(len(config.patch_sizes), (), generator=generator, device=generator.device)
    return config.patch_sizes[int(index)]
