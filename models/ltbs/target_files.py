"""A clip as LTBS is trained on it, in a safetensors file: mouths, spectrogram, pitch, energy and units.

Pitch and energy are as measured, and normalised when they are read: the corpus is known only when all is measured.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from avzoo.files import write_atomically

from .processing_ltbs import LTBSProcessor
from .speech_units import check_units

NAMES = {"mouths", "mel", "pitch", "energy"}


def save_clip(
    path: str | os.PathLike,
    mouths: torch.Tensor,
    measured: Mapping[str, torch.Tensor],
    units: torch.Tensor | None = None,
) -> None:
    """Write a clip, atomically.

    Args:
        mouths: (frames, rows, columns) uint8, of [`LTBSProcessor.read_mouths`].
        measured: of [`LTBSProcessor.measure_targets`].
        units: (frames,), -100 where there is none.
    """
    tensors = {"mouths": mouths, **measured} | ({} if units is None else {"units": units.to(torch.int32)})
    with write_atomically(path) as unfinished:
        save_file({name: value.contiguous() for name, value in tensors.items()}, unfinished)


def load_clip(path: str | os.PathLike, processor: LTBSProcessor) -> dict[str, torch.Tensor]:
    """Read a clip: `mouths`, `mel_labels`, `pitch_labels`, `energy_labels`, and `unit_labels` where there are units.

    Raises:
        OSError: there is no such file. ValueError: it holds something else, clips of other settings, or values that are
            NaN or infinite.
    """
    tensors = read_clip_file(path)
    frames, rows = len(tensors["mouths"]), (processor.upsample_factor, processor.num_mel_bins)
    wanted = {"mel": (frames * rows[0], rows[1]), "pitch": (frames,), "energy": (frames,)}
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"`{path}`: its `{name}` is {tuple(tensors[name].shape)}, {frames} frames have {shape}; it was written "
                "with other settings."
            )
        if not bool(tensors[name].isfinite().all()):
            raise ValueError(f"`{path}`: its `{name}` has values that are NaN or infinite; extract the clip again.")
    clip = {"mouths": tensors["mouths"], **processor.normalize_targets(tensors)}
    if "units" in tensors:
        check_units(tensors["units"], processor.num_units, f"units of {path}")
        if len(tensors["units"]) != frames:
            raise ValueError(f"`{path}`: {len(tensors['units'])} units for {frames} frames; extract the clip again.")
        clip["unit_labels"] = tensors["units"].long()
    return clip


def read_clip_file(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """The tensors of a clip as they are stored."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"`{path}` is no file.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"`{path}` is no safetensors file: {error}.") from error
    if not tensors.keys() >= NAMES:
        raise ValueError(f"`{path}` lacks {', '.join(sorted(NAMES - tensors.keys()))}; it is no clip of LTBS.")
    return tensors


__all__ = ["load_clip", "read_clip_file", "save_clip"]
