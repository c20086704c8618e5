"""Discrete units of speech: the nearest of some centres to each frame of HuBERT's features.

LTBS takes those of HuBERT-large's 12th layer and 200 centres (arXiv 2308.15256; YangKangJNU/LTBS@6c977e1,
`src/prepare/`). HuBERT makes 50 frames per second, so every second unit belongs to a frame of the video.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import HubertModel

from avzoo.checks import check_whole_number
from avzoo.files import write_atomically

from .loss_ltbs import IGNORED

CENTRES = "centres"  # name of the tensor in a file of centres
HUBERT_RATE = 16000
_FRAMES_AT_ONCE = 4096  # bounds the table of distances


def find_units(features: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """The number of the centre nearest to each frame, by the squared distance; of equally near ones the first.

    Args:
        features: (frames, width), floating point.
        centres: (units, width).

    Returns:
        (frames,), int64, from 0.

    Raises:
        ValueError: shapes that don't fit each other, no centre, or features that aren't finite.
    """
    _check_features("features", features)
    _check_features("centres", centres)
    if features.shape[1] != centres.shape[1] or not len(centres):
        raise ValueError(
            f"`features` and `centres` must be (frames, width) and (units, width) of one width, got "
            f"{tuple(features.shape)} and {tuple(centres.shape)}: the centres are of another layer or network."
        )
    chosen = [_square_distances(chunk, centres).argmin(dim=1) for chunk in features.split(_FRAMES_AT_ONCE)]
    return torch.cat(chosen) if chosen else torch.zeros(0, dtype=torch.long)


def align_units(units: torch.Tensor, num_frames: int, stride: int = 2) -> torch.Tensor:
    """Every second unit from the first on, cut to a video's frames or filled with -100, which no loss counts.

    Args:
        units: (units,), whole numbers from 0.
        num_frames: of the video.
        stride: units per video frame: 2 for HuBERT's 50 per second and 25 frames per second.
    """
    check_whole_number("num_frames", num_frames, at_least=1)
    kept = units[::stride][:num_frames].long()
    return nn.functional.pad(kept, (0, num_frames - len(kept)), value=IGNORED)


def fit_centres(
    features: torch.Tensor,
    num_units: int = 200,
    *,
    generator: torch.Generator,
    num_starts: int = 5,
    num_iterations: int = 100,
) -> torch.Tensor:
    """Centres of features by k-means, the best of several starts of k-means++.

    All features are seen in each iteration: give a sample of them (the original takes random batches of 10,000).

    Args:
        features: (frames, width), more frames than units.
        generator: of the starts.
        num_iterations: at most so many; it ends where no frame changes its centre.

    Returns:
        (num_units, width), float32. Centres that lose all frames stay where they are.

    Raises:
        ValueError: fewer frames than units, features that aren't finite, a number below 1.
    """
    _check_features("features", features)
    numbers = {"num_units": num_units, "num_starts": num_starts, "num_iterations": num_iterations}
    for name, value in numbers.items():
        check_whole_number(name, value, at_least=1)
    if len(features) < num_units:
        raise ValueError(f"`features` are {len(features)} frames, {num_units} centres need at least as many.")
    features = features.float()
    best, best_distance = features[:num_units], float("inf")
    for _ in range(num_starts):
        centres = _spread_centres(features, num_units, generator)
        units = find_units(features, centres)
        for _ in range(num_iterations):
            sums = torch.zeros_like(centres).index_add_(0, units, features)
            counts = torch.bincount(units, minlength=num_units)[:, None]
            centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
            before, units = units, find_units(features, centres)
            if torch.equal(before, units):
                break
        distance = float((features - centres[units]).square().sum())
        if distance < best_distance:
            best, best_distance = centres, distance
    return best


def save_centres(path: str | os.PathLike, centres: torch.Tensor) -> None:
    """Write centres (units, width) as a safetensors file, atomically."""
    _check_features("centres", centres)
    with write_atomically(path) as unfinished:
        save_file({CENTRES: centres.float().contiguous()}, unfinished)


def load_centres(path: str | os.PathLike) -> torch.Tensor:
    """Read the centres that [`save_centres`] wrote.

    Raises:
        OSError: there is no such file. ValueError: it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is no file of centres.")
    if path.suffix in (".km", ".joblib", ".pkl", ".pickle", ".bin"):
        raise ValueError(
            f"`{path}`: a k-means saved by joblib or pickle can run code when it is read; save its `cluster_centers_` "
            "by `save_centres` where it was made."
        )
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"`{path}` is no safetensors file: {error}.") from error
    if tensors.keys() != {CENTRES}:
        raise ValueError(f"`{path}` must hold one tensor, `{CENTRES}`, got: {', '.join(sorted(tensors)) or 'none'}.")
    _check_features("centres", tensors[CENTRES])
    return tensors[CENTRES]


def cut_hubert(model: HubertModel, layer: int = 12) -> HubertModel:
    """A HuBERT whose `last_hidden_state` is the output of a layer, counted from 1; later layers are dropped.

    It is what the whole network gives as `hidden_states[layer]`, without the norm that stands behind the last layer of
    large ones, at half the cost. The network is changed.

    Raises:
        ValueError: there is no such layer.
    """
    check_whole_number("layer", layer, at_least=1, at_most=len(model.encoder.layers))
    model.encoder.layers = model.encoder.layers[:layer]
    if model.config.do_stable_layer_norm:
        model.encoder.layer_norm = nn.Identity()
    model.config.num_hidden_layers = layer
    return model.eval()


@torch.no_grad()
def extract_hubert_features(model: HubertModel, waveform: torch.Tensor) -> torch.Tensor:
    """Features of a recording by [`cut_hubert`]: (samples,) at 16 kHz to (frames, width), 50 frames per second.

    The samples are brought to mean 0 and variance 1 first, as HuBERT was trained. frames = 1 + (samples - 400) // 320.

    Raises:
        ValueError: another shape, or less than 400 samples.
    """
    if waveform.ndim != 1 or len(waveform) < 400:
        raise ValueError(f"`waveform` must be (samples,) with at least 400 at 16 kHz, got {tuple(waveform.shape)}.")
    normalized = nn.functional.layer_norm(waveform.float(), waveform.shape, eps=1e-5)
    parameter = next(model.parameters())
    output = model(normalized[None].to(parameter.device, parameter.dtype))
    return output.last_hidden_state[0].float().cpu()


def check_units(units: torch.Tensor, num_units: int, name: str = "units") -> None:
    """Refuse what are no numbers of units: from 0 to `num_units` - 1, or -100 where there is none.

    Raises:
        TypeError: no whole numbers. ValueError: another shape, or out of range.
    """
    if units.is_floating_point() or units.dtype == torch.bool:
        raise TypeError(f"`{name}` must be whole numbers, got {units.dtype}.")
    if units.ndim != 1:
        raise ValueError(f"`{name}` must be (frames,), got {tuple(units.shape)}.")
    units = units.long()  # torch compares no uint64
    bad = ((units < 0) & (units != IGNORED)) | (units >= num_units)
    if bool(bad.any()):
        place = int(bad.long().argmax())
        raise ValueError(
            f"`{name}` must be from 0 to {num_units - 1}, or {IGNORED} where there is none; frame {place} has "
            f"{int(units[place])}."
        )


def _spread_centres(features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """k-means++: each further centre is a frame drawn by its squared distance to those there are."""
    chosen = [int(torch.randint(len(features), (1,), generator=generator))]
    nearest = _square_distances(features, features[chosen])[:, 0]
    while len(chosen) < count:
        if float(nearest.sum()) > 0:
            chosen.append(int(torch.multinomial(_at_most(nearest), 1, generator=generator)))
        else:  # fewer different frames than centres
            chosen.append(int(torch.randint(len(features), (1,), generator=generator)))
        nearest = torch.minimum(nearest, _square_distances(features, features[chosen[-1:]])[:, 0])
    return features[chosen].clone()


def _at_most(weights: torch.Tensor, limit: int = 1 << 24) -> torch.Tensor:
    """Weights for `multinomial`, which takes no more categories than `limit`."""
    if len(weights) > limit:
        raise ValueError(f"`features` are {len(weights)} frames, at most {limit} are taken; give a sample of them.")
    return weights


def _square_distances(features: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """(frames, units), in float64: differences of large sums are small."""
    features, centres = features.double(), centres.double()
    squares = features.square().sum(1, keepdim=True) - 2 * features @ centres.mT + centres.square().sum(1)
    return squares.clamp(min=0)


def _check_features(name: str, features: torch.Tensor) -> None:
    if not isinstance(features, torch.Tensor) or not features.is_floating_point() or features.ndim != 2:
        got = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise ValueError(f"`{name}` must be a floating-point tensor of two axes, got {got}.")
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"`{name}` hold NaN or infinite values.")


def concatenate_features(parts: Iterable[torch.Tensor], most: int, generator: torch.Generator) -> torch.Tensor:
    """A random sample of at most `most` frames of all parts, for [`fit_centres`]."""
    together = torch.cat(list(parts))
    return together[torch.randperm(len(together), generator=generator)[:most].sort().values]


__all__ = [
    "align_units",
    "check_units",
    "concatenate_features",
    "cut_hubert",
    "extract_hubert_features",
    "find_units",
    "fit_centres",
    "load_centres",
    "save_centres",
]
