"""Resize patch kernels and position grids, the central operation of FlexiAST.

Every resize here is separable: one small matrix acts on the mel side and one on the time side. The matrices depend on
two lengths only, so they are computed once in float64 by NumPy and cached; applying them is two matrix products, cheap
enough for every forward pass, differentiable, and the same on every device. NumPy computes them because `torch.export`
traces torch: a matrix made by `torch.nn.functional.interpolate` would be no constant there, and not cacheable. Lengths
that are only known while a graph runs, or differ from clip to clip, have [`resize_clip_positions`].

There are two rules. For the first, the authors' code (JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8, `resizing_helper.py`)
computes one dense pseudo-inverse of a (new area x old area) matrix in every forward pass. When one side grows while the
other shrinks, that matrix is rank deficient and its float32 pseudo-inverse amplifies rounding noise. The two small
matrices used here are well conditioned.

- kernels, "pi" (pseudo-inverse): with R the interpolation matrix of one side, the new kernel is
  pinv(R_f^T) W pinv(R_t^T)^T. When both sides grow, a patch and its enlargement then have the same product with
  their kernels.
- positions, and kernels "bilinear": the new values are R_f X R_t^T.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

Interpolation = Literal["bilinear", "bicubic"]
Grid = tuple[int, int]


def _evaluate_triangle(distance: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(distance), 0, None)


def _evaluate_cubic(distance: np.ndarray, sharpness: float) -> np.ndarray:
    """Keys' cubic convolution kernel; `sharpness` is its parameter a."""
    x = np.abs(distance)
    near = ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1
    far = ((sharpness * x - 5 * sharpness) * x + 8 * sharpness) * x - 4 * sharpness
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@lru_cache(maxsize=1024)
def interpolation_matrix(
    source: int, target: int, interpolation: Interpolation = "bilinear", antialias: bool = False
) -> np.ndarray:
    """Matrix (target, source), float64, that resamples a vector of `source` values to `target` values, as torch does.

    Half-pixel centres: output i reads around (i + 0.5) * source / target - 0.5. Without antialias the edge values are
    repeated outside; with antialias the kernel is widened when shrinking, cut at the edges and normalised.
    """
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    if antialias:
        distance = (np.arange(source) - centres[:, None]) / max(scale, 1.0)
        weights = (
            _evaluate_triangle(distance) if interpolation == "bilinear" else _evaluate_cubic(distance, sharpness=-0.5)
        )
        return weights / weights.sum(axis=1, keepdims=True)
    if interpolation == "bilinear":
        centres = np.clip(centres, 0, source - 1)
        return _evaluate_triangle(np.arange(source) - centres[:, None])
    matrix = np.zeros((target, source))
    rows = np.arange(target)
    first = np.floor(centres).astype(int)
    for offset in range(-1, 3):
        columns = np.clip(first + offset, 0, source - 1)
        np.add.at(matrix, (rows, columns), _evaluate_cubic(centres - (first + offset), sharpness=-0.75))
    return matrix


@lru_cache(maxsize=1024)
def pseudo_inverse_matrix(
    source: int, target: int, interpolation: Interpolation = "bilinear", antialias: bool = False
) -> np.ndarray:
    """Matrix (target, source): pseudo-inverse of the transposed interpolation matrix from source to target."""
    # Singular values of these matrices lie above 0.1 or are rounding noise; the cutoff keeps the two apart.
    return np.linalg.pinv(interpolation_matrix(source, target, interpolation, antialias).T, rcond=1e-10)


def _build_matrix(rule: str, source: int, target: int, interpolation: Interpolation, antialias: bool) -> torch.Tensor:
    """One resize matrix, (target, source) float32 on the CPU."""
    build = pseudo_inverse_matrix if rule == "pi" else interpolation_matrix
    return torch.tensor(build(source, target, interpolation, antialias), dtype=torch.float32, device="cpu")


# torch.compile cannot look inside NumPy code and a cache; as an operator of its own the matrix is one node.
_matrix_operator = torch.library.custom_op(
    "avzoo::resize_matrix",
    _build_matrix,
    mutates_args=(),
    schema="(str rule, SymInt source, SymInt target, str interpolation, bool antialias) -> Tensor",
)


@_matrix_operator.register_fake
def _(rule, source, target, interpolation, antialias):
    return torch.empty(target, source, dtype=torch.float32, device="cpu")


def _get_matrix(
    rule: str, source: int, target: int, interpolation: Interpolation, antialias: bool, device: torch.device
) -> torch.Tensor:
    """One resize matrix on `device`."""
    matrix = _matrix_operator if torch.compiler.is_dynamo_compiling() else _build_matrix
    return matrix(rule, source, target, interpolation, antialias).to(device)


def resize_patch_kernel(
    kernel: torch.Tensor,
    patch_size: Grid,
    method: Literal["pi", "bilinear"] = "pi",
    interpolation: Interpolation = "bilinear",
    antialias: bool | None = None,
) -> torch.Tensor:
    """Resize a patch kernel.

    Args:
        kernel: (out_channels, in_channels, mel bins, frames).
        patch_size: the new (mel bins, frames).
        method: "pi" or "bilinear", see the module's docstring.
        interpolation: kernel of the interpolation that is inverted ("pi") or applied ("bilinear").
        antialias: None: off for "pi", on for "bilinear", as the released weights expect.

    Returns:
        (out_channels, in_channels, *patch_size), in the kernel's dtype; the arithmetic is float32. The kernel itself
        when the size is the same.
    """
    mel_bins, frames = kernel.shape[-2:]
    if (mel_bins, frames) == tuple(patch_size):
        return kernel
    if antialias is None:
        antialias = method == "bilinear"
    along_mel = _get_matrix(method, mel_bins, patch_size[0], interpolation, antialias, kernel.device)
    along_time = _get_matrix(method, frames, patch_size[1], interpolation, antialias, kernel.device)
    return (along_mel @ kernel.float() @ along_time.T).to(kernel.dtype)


def resize_position_embeddings(
    position_embeddings: torch.Tensor,
    source_grid: Grid,
    target_grid: Grid,
    num_prefix_tokens: int,
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> torch.Tensor:
    """Resize position embeddings to another grid; prefix rows are unchanged.

    Args:
        position_embeddings: (1, num_prefix_tokens + rows * columns, hidden_size), frequency-major: all times of the
            lowest frequency row first.
        source_grid: current (rows, columns); rows along mel, columns along time.
        target_grid: new (rows, columns).

    Returns:
        (1, num_prefix_tokens + target rows * target columns, hidden_size); the tensor itself when the grid is the same.
    """
    if isinstance(target_grid[1], torch.SymInt) and (interpolation, antialias) == ("bilinear", True):
        # A graph for any number of columns.
        columns = torch.full((1,), target_grid[1], device=position_embeddings.device)
        return resize_clip_positions(position_embeddings, source_grid, target_grid, columns, num_prefix_tokens)
    if tuple(source_grid) == tuple(target_grid):
        return position_embeddings
    prefix, grid = split_position_embeddings(position_embeddings, source_grid, num_prefix_tokens)
    device = position_embeddings.device
    along_mel = _get_matrix("interpolate", source_grid[0], target_grid[0], interpolation, antialias, device)
    along_time = _get_matrix("interpolate", source_grid[1], target_grid[1], interpolation, antialias, device)
    grid = along_time @ grid.float()  # (rows, target columns, hidden_size)
    grid = along_mel @ grid.flatten(1)  # (target rows, target columns * hidden_size)
    grid = grid.view(1, -1, position_embeddings.shape[-1]).to(position_embeddings.dtype)
    return torch.cat([prefix, grid], dim=1)


def resize_clip_positions(
    position_embeddings: torch.Tensor,
    source_grid: Grid,
    target_grid: Grid,
    columns: torch.Tensor,
    num_prefix_tokens: int,
) -> torch.Tensor:
    """Resize position embeddings for clips of several lengths, as [`resize_position_embeddings`] does for each alone.

    Args:
        columns: (batch,), columns of each clip's grid.
        target_grid: rows of every clip's grid, and the columns of the result, at least the longest clip's.

    Returns:
        (batch, num_prefix_tokens + target rows * target columns, hidden_size); 0 behind a clip's own columns.
    """
    prefix, grid = split_position_embeddings(position_embeddings, source_grid, num_prefix_tokens)
    grid = grid.float()
    if source_grid[0] != target_grid[0]:
        along_mel = _get_matrix("interpolate", source_grid[0], target_grid[0], "bilinear", True, grid.device)
        grid = torch.tensordot(along_mel, grid, dims=1)  # (target rows, columns, hidden_size)
    along_time = interpolate_to_columns(source_grid[1], columns, target_grid[1])[:, None]
    grid = (along_time @ grid).flatten(1, 2).to(position_embeddings.dtype)  # (batch, rows * columns, hidden_size)
    return torch.cat([prefix.expand(grid.shape[0], -1, -1), grid], dim=1)


def interpolate_to_columns(source: int, columns: torch.Tensor, width: int) -> torch.Tensor:
    """Make each clip's bilinear antialiased matrix, (batch, width, source) float32: `source` to `columns` (batch,).

    The weights are those of [`interpolation_matrix`], as one fraction of whole numbers each: torch operations alone,
    exact on every device, for lengths that a graph knows only when it runs. Rows behind a clip's columns are 0.
    """
    outputs = torch.arange(width, device=columns.device)[:, None]
    inputs = torch.arange(source, device=columns.device)
    columns = columns[:, None, None]
    distance = ((2 * inputs + 1) * columns - (2 * outputs + 1) * source).abs().float()
    weights = (1 - distance / (2 * columns.clamp(min=source)).float()).clamp(min=0)
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return weights * (outputs < columns)


def cut_or_stretch_position_embeddings(
    position_embeddings: torch.Tensor, source_grid: Grid, target_grid: Grid, num_prefix_tokens: int
) -> torch.Tensor:
    """Adapt position embeddings to another grid as the original AST does.

    Along each side, time first: a grid that is long enough is cut from its middle, a shorter one is stretched
    (bilinear, no antialias). FlexiAST never cuts; use this to continue the original AST's fine-tuning recipe
    (YuanGongND/ast@31088be, `ast_models.py`). Shapes as in [`resize_position_embeddings`].
    """
    prefix, grid = split_position_embeddings(position_embeddings, source_grid, num_prefix_tokens)
    for dim in (1, 0):
        source, target = source_grid[dim], target_grid[dim]
        if target <= source:
            grid = grid.narrow(dim, source // 2 - target // 2, target)
        else:
            matrix = _get_matrix("interpolate", source, target, "bilinear", False, grid.device)
            grid = torch.tensordot(matrix, grid.float(), dims=([1], [dim])).movedim(0, dim).to(grid.dtype)
    return torch.cat([prefix, grid.flatten(0, 1).unsqueeze(0)], dim=1)


def split_position_embeddings(
    position_embeddings: torch.Tensor, grid: Grid, num_prefix_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, prefix, hidden_size) rows and the (rows, columns, hidden_size) grid of stored position embeddings.

    Raises:
        ValueError: the number of rows differs from prefix tokens plus grid cells.
    """
    expected = num_prefix_tokens + grid[0] * grid[1]
    if position_embeddings.shape[1] != expected:
        raise ValueError(
            f"`position_embeddings` has {position_embeddings.shape[1]} rows, but {num_prefix_tokens} prefix tokens and "
            f"a {grid[0]} x {grid[1]} grid need {expected}."
        )
    prefix, rest = position_embeddings.split([num_prefix_tokens, grid[0] * grid[1]], dim=1)
    return prefix, rest.view(grid[0], grid[1], position_embeddings.shape[-1])
