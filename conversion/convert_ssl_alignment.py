"""Conversion of cross-modal alignment checkpoints, and of LVS, EZ-VSL, FNAC and SLAVC, which have the same trunks.

Which of them a file is, its projections tell: linear maps beside the trunks (alignment, 261 keys), none (LVS, 248
keys), convolutions of 1 x 1 (EZ-VSL, FNAC) or two of them (SLAVC). Facts: kaistmm/ssl_kccv@7e178e6
(`Alignment/model.py`), kaistmm/SSLalignment@e7ae3c5 (`model_lvs.py`), stoneMo/EZ-VSL@95ff5bf, stoneMo/SLAVC@05b429c,
OpenNLPLab/FNAC_AVL@0a0ca78 (`model.py`, `test.py`).
"""

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint, CheckpointSource, read_checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.ssl_alignment import SSLAlignmentConfig, SSLAlignmentForSoundLocalization

ENTRIES_READ = ("model_state_dict", "model", "state_dict")  # where the authors' files hold their weights

_PROJECTIONS = {
    "alignment": "linear projections (`img_proj`, `aud_proj`)",
    "lvs": "no projections",
    "single": "convolutions of 1 x 1 as projections (`img_proj`)",
    "dual": "two projections a side (`img_proj1`, `img_proj2`)",
}
_STOCK_STRIDES = (1, 2, 2, 2)  # ResNet-18 as it is; LVS and alignment keep the third stage's cells


def trunk_rules(source: str, target: str, stem: str = "conv1") -> tuple[Rule, ...]:
    """Rules of a residual trunk in torchvision's names; both prefixes end in a dot or are empty."""
    rules = [
        rename(f"{source}{stem}.weight", f"{target}stem.convolution.weight"),
        rename(f"{source}bn1.{{leaf}}", f"{target}stem.norm.{{leaf}}"),
    ]
    for stage in range(1, 5):
        block, ours = f"{source}layer{stage}.{{n}}", f"{target}stages.{stage - 1}.{{n}}"
        for index in (1, 2):
            rules.append(rename(f"{block}.conv{index}.weight", f"{ours}.conv{index}.convolution.weight"))
            rules.append(rename(f"{block}.bn{index}.{{leaf}}", f"{ours}.conv{index}.norm.{{leaf}}"))
        rules.append(rename(f"{block}.downsample.0.weight", f"{ours}.shortcut.convolution.weight"))
        rules.append(rename(f"{block}.downsample.1.{{leaf}}", f"{ours}.shortcut.norm.{{leaf}}"))
    return tuple(rules)


# One class made both trunks. It has a stem for pictures, one for sounds and one for flow, and uses one of them.
_WRONG_STEM = "a stem that this trunk does not use; it has the shape of the other's"
ALIGNMENT_KEYMAP = KeyMap(
    *trunk_rules("imgnet.", "alignment.image_trunk.", stem="conv1"),
    *trunk_rules("audnet.", "alignment.audio_trunk.", stem="conv1_a"),
    rename("img_proj.{leaf}", "alignment.image_projection.{leaf}"),
    rename("aud_proj.{leaf}", "alignment.audio_projection.{leaf}"),
    ignore("imgnet.conv1_a.weight", why=_WRONG_STEM),
    ignore("audnet.conv1.weight", why=_WRONG_STEM),
    ignore("{trunk}.conv1_flow.weight", why="a stem for optical flow, which nothing calls"),
    ignore("{trunk}.fc.*", why="class head of the trunk; the authors' `forward` never reaches it"),
    ignore("vision_fc1.*", why="made in the constructor, never called"),
    ignore("conv3.*", why="called, and its result thrown away"),
    ignore("norm3.*", why="called, and its result thrown away"),
)

_PROJECTED_TRUNKS = (
    *trunk_rules("imgnet.", "alignment.image_trunk."),
    *trunk_rules("audnet.", "alignment.audio_trunk."),
    ignore("{trunk}.fc.*", why="class head of the trunk; the authors put nothing in its place"),
)
SINGLE_KEYMAP = KeyMap(
    *_PROJECTED_TRUNKS,
    rename("img_proj.{leaf}", "alignment.image_localization.0.{leaf}"),
    rename("aud_proj.{leaf}", "alignment.audio_localization.0.{leaf}"),
)
DUAL_KEYMAP = KeyMap(
    *_PROJECTED_TRUNKS,
    *(
        rename(f"{theirs}_proj{index + 1}.{{leaf}}", f"alignment.{ours}_localization.{index}.{{leaf}}")
        for theirs, ours in (("img", "image"), ("aud", "audio"))
        for index in range(2)
    ),
    ignore("momentum_*", why="slow copy of the network, the target of its training"),
)
OBJECTNESS_KEYMAP = KeyMap(
    *trunk_rules("", "objectness_trunk."),
    ignore("fc.*", why="the 1000 classes of ImageNet; the map is made of what stands before them"),
)


def convert(
    checkpoint: Checkpoint,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
    parts: Mapping[str, CheckpointSource | None] | None = None,
) -> tuple[SSLAlignmentForSoundLocalization, str, dict[str, Any]]:
    """Convert a checkpoint; returns the model, its variant, and `processor`, the arguments of its processor.

    Args:
        variant: name of one of the row's variants in the zoo.
        config: override config values; strides can't be inferred from tensor shapes, the family tells them.
        parts: "objectness", the weights of an ImageNet ResNet-18 under torchvision's names.
    """
    state_dict = _unwrap(checkpoint).state_dict()
    family = find_family(state_dict, checkpoint.name)
    if variant is None:
        variant = fitting_variants(checkpoint)[0]
    known = zoo.find_row("ssl_alignment").find_variant(variant)
    fitting = list_variants(family)
    if variant not in fitting and not (family == "lvs" and variant in list_variants("alignment")):
        raise ValueError(
            f"{checkpoint.name} has {_PROJECTIONS[family]}, which variant={variant!r} is not for; it can be "
            f"{', '.join(fitting)}."
        )
    if family == "lvs" and variant != "lvs":
        warnings.warn(
            f"{checkpoint.name} has no projections (`img_proj`, `aud_proj`): retrieval will compare the features that "
            "the similarity map is made of.",
            stacklevel=2,
        )
    fields = _infer_fields(state_dict, family, checkpoint.name)
    unknown = sorted(set(parts or {}) - {"objectness"})
    if unknown:
        raise ValueError(f"ssl_alignment has no part {unknown[0]!r}; it has: objectness.")
    objectness = None if (parts or {}).get("objectness") is None else read_checkpoint(parts["objectness"])
    fields["use_objectness"] = objectness is not None
    fields |= dict(config or {})
    with build_without_memory(len(state_dict), checkpoint.name):  # no weight is drawn at random first
        model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**fields))
    keymap = {"single": SINGLE_KEYMAP, "dual": DUAL_KEYMAP}.get(family, ALIGNMENT_KEYMAP)
    origins: dict[str, Any] = {}
    if objectness is not None:
        keymap, state_dict = _add_objectness(keymap, state_dict, objectness, model)
        origins["objectness"] = {"file": objectness.file, "sha256": objectness.sha256}
    model = load_weights(model, keymap, state_dict, checkpoint.name)
    if model.objectness_trunk is not None:
        model.objectness_trunk.requires_grad_(False)
    return model, variant, {"processor": dict(known.processor), "parts": origins}


def fitting_variants(checkpoint: Checkpoint) -> list[str]:
    """The variants whose projections these are; the six alignment files differ in weights alone."""
    family = find_family(_unwrap(checkpoint).state_dict(), checkpoint.name)
    return ["alignment"] if family == "alignment" else list_variants(family)


def list_variants(family: str) -> list[str]:
    """The variants that have the projections of a family."""
    others = {"lvs": ["lvs"], "single": ["ezvsl", "fnac"], "dual": ["slavc"]}
    if family in others:
        return others[family]
    names = [variant.name for variant in zoo.find_row("ssl_alignment").variants]
    return [name for name in names if name not in itertools.chain(*others.values())]


def find_family(state_dict: Mapping[str, torch.Tensor], name: str) -> str:
    """ "alignment", "lvs", "single" (EZ-VSL, FNAC) or "dual" (SLAVC), by the projections.

    Raises:
        ValueError: the tensors are those of no such network.
    """
    if "img_proj1.weight" in state_dict:
        return "dual"
    if "img_proj.weight" in state_dict:
        return "single" if state_dict["img_proj.weight"].ndim == 4 else "alignment"
    if "audnet.conv1_a.weight" in state_dict:
        return "lvs"
    raise ValueError(
        f"{name} is none of cross-modal alignment, LVS, EZ-VSL, FNAC or SLAVC: it has neither `img_proj.weight`, "
        "`img_proj1.weight` nor `audnet.conv1_a.weight`."
    )


def _infer_fields(state_dict: Mapping[str, torch.Tensor], family: str, name: str) -> dict[str, Any]:
    sizes, depths = [], []
    for stage in range(1, 5):
        prefix = f"imgnet.layer{stage}."
        blocks = {int(key.removeprefix(prefix).split(".")[0]) for key in state_dict if key.startswith(prefix)}
        if f"{prefix}0.conv1.weight" not in state_dict:
            raise ValueError(f"{name} lacks `{prefix}0.conv1.weight`: it is cut short, or of another method.")
        sizes.append(state_dict[f"{prefix}0.conv1.weight"].shape[0])
        depths.append(max(blocks) + 1)
    fields: dict[str, Any] = {"hidden_sizes": tuple(sizes), "depths": tuple(depths), "projection_dim": None}
    if family == "alignment":
        fields["projection_dim"] = state_dict["img_proj.weight"].shape[0]
    elif family in ("single", "dual"):
        key = "img_proj.weight" if family == "single" else "img_proj1.weight"
        fields |= {
            "localization_projection": family,
            "localization_dim": state_dict[key].shape[0],
            "image_strides": _STOCK_STRIDES,
            "audio_strides": _STOCK_STRIDES,
        }
    return fields


def _add_objectness(
    keymap: KeyMap,
    state_dict: Mapping[str, torch.Tensor],
    objectness: Checkpoint,
    model: SSLAlignmentForSoundLocalization,
) -> tuple[KeyMap, dict[str, torch.Tensor]]:
    """The table and the tensors of both files together; what is wrong with the second is told under its name."""
    tensors = _unwrap(objectness).state_dict()
    target = {key: value.shape for key, value in model.state_dict().items() if key.startswith("objectness_trunk.")}
    counters = {key.replace("running_var", "num_batches_tracked") for key in tensors if key.endswith("running_var")}
    tensors = dict.fromkeys(counters, torch.zeros((), dtype=torch.long)) | tensors
    OBJECTNESS_KEYMAP.apply(tensors, target, f"objectness part, {objectness.name},")
    prefix = "objectness."
    rules = [replace(rule, pattern=prefix + rule.pattern) for rule in OBJECTNESS_KEYMAP.rules]
    return KeyMap(*rules, *keymap.rules), {**state_dict, **{prefix + key: value for key, value in tensors.items()}}


def _unwrap(checkpoint: Checkpoint) -> Checkpoint:
    for entry in ENTRIES_READ:
        if isinstance(checkpoint.content.get(entry), Mapping):
            return replace(checkpoint, content=checkpoint.content[entry])
    return checkpoint
