"""Folders that hold the trained weights of ACL-SSL alone, and name the frozen networks that belong to them."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPSegForImageSegmentation, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from avzoo.hub.errors import explain_hub_errors
from avzoo.models.beats import BEATsModel

PART_CLASSES = {"audio_encoder": BEATsModel, "grounder": CLIPSegForImageSegmentation}
# Arguments of `from_pretrained` that say where a folder or a name on the Hub is looked up.
LOOKUPS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
WEIGHTS_FILE = "model.safetensors"
_VALUES = 64  # of each tensor that a digest looks at
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16)}


def describe_parts(model: nn.Module, names: Mapping[str, str], revisions: Mapping[str, str]) -> dict[str, Any]:
    """The entry of a config: {part: {"name", "revision", "dtype", "digest"}}.

    The digest is of the weights as the model holds them, in `dtype`; where they are named they may be more precise.

    Raises:
        ValueError: a part is unknown or missing.
    """
    for argument, given in (("parts", names), ("revisions", revisions)):
        unknown = sorted(given.keys() - PART_CLASSES.keys())
        if unknown:
            raise ValueError(f"`{argument}` has {unknown[0]!r}; the frozen parts are {', '.join(PART_CLASSES)}.")
    missing = [part for part in PART_CLASSES if not names.get(part)]
    if missing:
        raise ValueError(
            f"`parts` lacks {missing[0]!r}: the folder or Hub name that this frozen network is loaded from."
        )
    return {
        part: {
            "name": os.fspath(names[part]),
            "revision": revisions.get(part),
            "dtype": str(getattr(model, part).dtype).removeprefix("torch."),
            "digest": digest_weights(getattr(model, part).state_dict()),
        }
        for part in PART_CLASSES
    }


def digest_weights(weights: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> str:
    """A short text that other weights would hardly have: of names, shapes and some values of each tensor in `dtype`."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().flatten()
        values = values[:: max(1, len(values) // _VALUES)].to(dtype).float().cpu()
        digest.update(f"{name} {tuple(weights[name].shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def collect_weights(
    folder: str | os.PathLike, config: PreTrainedConfig, expected: Mapping[str, torch.Size], lookups: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """All weights of a model: the trained ones of `folder`, the others of what its config names.

    Args:
        folder: or a name on the Hub.
        expected: {tensor: shape} of the whole model.
        lookups: where on the Hub `folder` is looked up, as for `from_pretrained`.

    Raises:
        OSError: a file or a part can't be had. ValueError: a part is named wrongly, or is of another kind or other
            weights; a tensor is missing or of another shape.
    """
    parts = check_parts(config.frozen_parts, folder)
    with explain_hub_errors(folder, revision=lookups.get("revision")):
        path = cached_file(folder, WEIGHTS_FILE, **lookups)
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise OSError(f"`{path}` cannot be read, it is cut short or damaged: {error}") from error
    for part, place in parts.items():
        loaded = load_part(part, place, folder)
        weights |= {f"{part}.{name}": tensor for name, tensor in loaded.state_dict().items()}
    for name, shape in expected.items():
        if name not in weights:
            raise ValueError(f"`{folder}` lacks `{name}`, a trained weight: it would be random.")
        if weights[name].shape != shape:
            raise ValueError(
                f"`{folder}`: `{name}` has the shape {tuple(weights[name].shape)} among the weights, {tuple(shape)} by "
                "its config.json."
            )
    return weights


def check_parts(parts: Any, folder: str | os.PathLike) -> dict[str, Mapping[str, Any]]:
    """`frozen_parts` of a config.

    Raises:
        ValueError: it isn't {"audio_encoder": {"name": text, ...}, "grounder": ...}.
    """
    is_right = isinstance(parts, Mapping) and parts.keys() == PART_CLASSES.keys()
    if not is_right or not all(
        isinstance(place, Mapping) and isinstance(place.get("name"), str) for place in parts.values()
    ):
        raise ValueError(
            f"`{folder}`: `frozen_parts` of its config.json must name {' and '.join(PART_CLASSES)}, each as "
            f'{{"name": folder or Hub name, "revision": null}}; got {str(parts)[:200]}.'
        )
    return dict(parts)


def load_part(part: str, place: Mapping[str, Any], folder: str | os.PathLike) -> PreTrainedModel:
    """A frozen network from where the config says; a path that isn't absolute starts at the model's folder, if it is
    there.

    Raises:
        OSError: it can't be had. ValueError: it is incomplete, or of other weights than those of the training.
    """
    name, revision = place["name"], place.get("revision")
    beside = os.path.join(folder, name)
    source = beside if os.path.isdir(beside) else name
    try:
        with explain_hub_errors(source, revision=revision):
            loaded, report = PART_CLASSES[part].from_pretrained(source, revision=revision, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise OSError(
            f"`{folder}` holds trained weights alone, and its `{part}`, `{name}`, cannot be loaded: {error}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"`{name}`, the `{part}` of `{folder}`, lacks {len(missing)} tensors, such as `{missing[0]}`.")
    digest, dtype = place.get("digest"), _DTYPES.get(str(place.get("dtype")), torch.float32)
    if digest is not None and digest_weights(loaded.state_dict(), dtype) != digest:
        raise ValueError(
            f"`{name}`, the `{part}` of `{folder}`, has other weights than those that the model was trained with."
        )
    return loaded


__all__ = ["LOOKUPS", "PART_CLASSES", "collect_weights", "describe_parts"]
