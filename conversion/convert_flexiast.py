"""Convert FlexiAST, original AST and transformers' AST checkpoints to [`FlexiASTForAudioClassification`].

The three layouts hold the same network under different names; files of JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8 also
hold unused weights. Values that can't be inferred from shapes default to those of the published files: 64 channels per
head, 128 mel bins.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, ignore, load_weights, rename, split_rows
from avzoo.models.flexiast import FlexiASTConfig, FlexiASTForAudioClassification
from avzoo.models.flexiast.configuration_flexiast import as_pair
from avzoo.models.flexiast.labels import label_names
from avzoo.models.flexiast.patch_geometry import PatchGeometry
from avzoo.models.layers.without_memory import build_without_memory

_TIMM_BLOCKS = (  # the ViT of timm, which both authors' repositories build on
    rename("v.cls_token", "flexiast.embeddings.cls_token"),
    rename("v.dist_token", "flexiast.embeddings.distillation_token"),
    rename("v.blocks.{n}.norm1.{leaf}", "flexiast.layers.{n}.layernorm_before.{leaf}"),
    rename(
        "v.blocks.{n}.attn.qkv.{leaf}",
        [f"flexiast.layers.{{n}}.attention.{part}_proj.{{leaf}}" for part in "qkv"],
        split_rows(3),  # rows: all of q, then k, then v
    ),
    rename("v.blocks.{n}.attn.proj.{leaf}", "flexiast.layers.{n}.attention.o_proj.{leaf}"),
    rename("v.blocks.{n}.norm2.{leaf}", "flexiast.layers.{n}.layernorm_after.{leaf}"),
    rename("v.blocks.{n}.mlp.{part}.{leaf}", "flexiast.layers.{n}.mlp.{part}.{leaf}"),
    rename("v.norm.{leaf}", "flexiast.layernorm.{leaf}"),
    rename("mlp_head.0.{leaf}", "classifier.layernorm.{leaf}"),
    rename("mlp_head.1.{leaf}", "classifier.dense.{leaf}"),
    ignore("v.head.*", why="ImageNet head of the backbone; `forward` never reaches it"),
    ignore("v.head_dist.*", why="ImageNet head of the distillation token; `forward` never reaches it"),
)

FLEXIAST_KEYMAP = KeyMap(
    rename("patch_embed.proj.{leaf}", "flexiast.embeddings.patch_embeddings.{leaf}"),
    rename("pos_embed.pos_embed", "flexiast.embeddings.position_embeddings"),
    # These files hold a second kernel and a second grid, sometimes of the same shape.
    ignore("v.patch_embed.proj.*", why="kernel of the AST it was initialised from; its evaluation skips it"),
    ignore("v.pos_embed", why="position grid of the AST it was initialised from; its evaluation skips it"),
    *_TIMM_BLOCKS,
)

AST_KEYMAP = KeyMap(
    rename("v.patch_embed.proj.{leaf}", "flexiast.embeddings.patch_embeddings.{leaf}"),
    rename("v.pos_embed", "flexiast.embeddings.position_embeddings"),
    *_TIMM_BLOCKS,
)

_HUB = "audio_spectrogram_transformer."
TRANSFORMERS_KEYMAP = KeyMap(  # the names its checkpoints have on the Hub
    rename(_HUB + "embeddings.patch_embeddings.projection.{leaf}", "flexiast.embeddings.patch_embeddings.{leaf}"),
    rename(_HUB + "embeddings.{name}", "flexiast.embeddings.{name}"),
    *(
        rename(_HUB + f"encoder.layer.{{n}}.{theirs}.{{leaf}}", f"flexiast.layers.{{n}}.{ours}.{{leaf}}")
        for theirs, ours in {
            "attention.attention.query": "attention.q_proj",
            "attention.attention.key": "attention.k_proj",
            "attention.attention.value": "attention.v_proj",
            "attention.output.dense": "attention.o_proj",
            "layernorm_before": "layernorm_before",
            "layernorm_after": "layernorm_after",
            "intermediate.dense": "mlp.fc1",
            "output.dense": "mlp.fc2",
        }.items()
    ),
    rename(_HUB + "layernorm.{leaf}", "flexiast.layernorm.{leaf}"),
    rename("classifier.{part}.{leaf}", "classifier.{part}.{leaf}"),
)

_TRANSFORMERS_FIELDS = (  # fields of ASTConfig that mean the same here
    "num_attention_heads",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
    "num_mel_bins",
    "qkv_bias",
    "problem_type",
)

_PLAIN_AST = ("ast", "flexify")  # variants that start from an AST which is not flexible yet
RELEASED_BY_NUM_LABELS = {527: "audioset", 309: "vggsound", 1251: "voxceleb"}
RELEASED_FRAMES = 1024


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[FlexiASTForAudioClassification, str, dict[str, Any]]:
    """Return the model, its variant, and the arguments of its feature extractor.

    Args:
        variant: a released checkpoint ("audioset", "vggsound", "voxceleb"), "ast" (any AST as it is) or "flexify" (any
            AST made flexible). None: inferred from the keys and the number of classes; an AST stays as it is.
        config: fields of [`FlexiASTConfig`] that override values read from the checkpoint. For "flexify",
            `patch_size` and `position_grid` name the new base.
    """
    state_dict, overrides = checkpoint.state_dict(), dict(config or {})
    keymap, names = _find_layout(state_dict, checkpoint.name)
    released = RELEASED_BY_NUM_LABELS.get(len(_get_tensor(state_dict, names["classifier"], 2, checkpoint.name)))
    variant = _find_variant(variant, keymap is FLEXIAST_KEYMAP, released, checkpoint.name)
    new_base = {}
    if variant == "flexify":
        new_base = {name: overrides.pop(name) for name in ("patch_size", "position_grid") if name in overrides}

    # 1. Values from shapes, the folder's JSON files and the published constants; later ones override.
    fields = _read_shapes(state_dict, names, checkpoint.name) | _read_config(checkpoint.sidecar)
    processor = _read_processor(checkpoint.sidecar)
    known = variant if variant in RELEASED_BY_NUM_LABELS.values() else released
    if known and "id2label" not in fields:
        row = zoo.find_row("flexiast").find_variant(known)
        fields |= row.config
        mel_bins = overrides.get("num_mel_bins", fields["num_mel_bins"])
        fields["patch_sizes"] = [size for size in row.config["patch_sizes"] if _mel_side(size) <= mel_bins] or None
        if known == released:  # else it is fine-tuned on other classes
            fields |= _label_fields(label_names(row.labels))
        processor = processor or dict(row.processor)
    if "num_labels" in overrides:
        fields = {name: value for name, value in fields.items() if name not in ("id2label", "label2id")}
    fields |= overrides
    fields["patch_size"] = as_pair(fields["patch_size"])
    # 2. Values inferred from the number of stored positions.
    if keymap is not FLEXIAST_KEYMAP and "stride" not in fields:
        fields["stride"] = _infer_stride(fields, names, state_dict, checkpoint.name)
    if "position_grid" not in fields:
        fields["position_grid"] = _infer_grid(fields, len(state_dict[names["positions"]][0]), checkpoint.name)
    # 3. The weights.
    model = _build_model(FlexiASTConfig(**fields), keymap, state_dict, checkpoint.name)
    frames = _count_covered_frames(model.config)
    if variant == "flexify":
        model = flexify(model, **new_base)
    # The last frames of 1024 are no whole patch for most sizes and strides; features are still made 1024 long.
    rest = RELEASED_FRAMES - frames
    processor.setdefault("max_length", RELEASED_FRAMES if 0 <= rest < max(16, model.config.patch_size[1]) else frames)
    processor.setdefault("num_mel_bins", model.config.num_mel_bins)
    return model, variant, processor


def _find_variant(variant: str | None, is_flexiast: bool, released: str | None, name: str) -> str:
    """Return the requested variant or infer it; raise if the file does not match."""
    if variant is None:
        return (released or "flexiast") if is_flexiast else "ast"
    if is_flexiast == (variant in _PLAIN_AST):
        kind = "FlexiAST" if is_flexiast else "plain AST"
        raise ValueError(f"{name} is a {kind} checkpoint, which variant={variant!r} is not for.")
    if is_flexiast and released and variant != released:
        raise ValueError(f"{name} has the classes of variant={released!r}, not of {variant!r}.")
    return variant


def _label_fields(names: list[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def flexify(
    model: FlexiASTForAudioClassification,
    patch_size: int | tuple[int, int] = 16,
    position_grid: tuple[int, int] | None = None,
) -> FlexiASTForAudioClassification:
    """Turn an AST into the starting point of a FlexiAST: no overlap, another base patch and grid, the rest unchanged.

    The kernel is PI-resized if the base differs; the position grid is resampled, never cut (`load_from_ast_pretrain`,
    JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8). It then runs at every patch size, but is accurate only near its own:
    only training with random sizes makes it flexible.

    Args:
        position_grid: (rows, columns) of the new base grid. None: the grid that covers the length the AST was made for.
    """
    config = copy.deepcopy(model.config)
    config.patch_size, config.stride = patch_size, None
    config.validate()
    if position_grid is None:
        rows = config.num_mel_bins // config.patch_size[0]
        position_grid = rows, math.ceil(_count_covered_frames(model.config) / config.patch_size[1])
    config.position_grid = position_grid
    return model.rebase(config)


def _find_layout(state_dict: Mapping[str, torch.Tensor], name: str) -> tuple[KeyMap, dict[str, str]]:
    """Return the key map of a checkpoint, and the keys from which its sizes are read."""
    timm = {
        "cls": "v.cls_token",
        "distillation": "v.dist_token",
        "intermediate": "v.blocks.0.mlp.fc1.weight",
        "layer": "v.blocks.",
        "classifier": "mlp_head.1.weight",
    }
    if "pos_embed.pos_embed" in state_dict:
        return FLEXIAST_KEYMAP, timm | {"kernel": "patch_embed.proj.weight", "positions": "pos_embed.pos_embed"}
    if "v.pos_embed" in state_dict:
        return AST_KEYMAP, timm | {"kernel": "v.patch_embed.proj.weight", "positions": "v.pos_embed"}
    if _HUB + "embeddings.position_embeddings" in state_dict:
        return TRANSFORMERS_KEYMAP, {
            "cls": _HUB + "embeddings.cls_token",
            "distillation": _HUB + "embeddings.distillation_token",
            "intermediate": _HUB + "encoder.layer.0.intermediate.dense.weight",
            "layer": _HUB + "encoder.layer.",
            "classifier": "classifier.dense.weight",
            "kernel": _HUB + "embeddings.patch_embeddings.projection.weight",
            "positions": _HUB + "embeddings.position_embeddings",
        }
    first = ", ".join(f"`{key}`" for key in list(state_dict)[:3])
    raise ValueError(
        f"{name} is no FlexiAST or AST checkpoint: it has none of `pos_embed.pos_embed`, `v.pos_embed`, "
        f"`{_HUB}embeddings.position_embeddings`. Its keys begin with {first}."
    )


def _get_tensor(state_dict: Mapping[str, torch.Tensor], key: str, ndim: int, name: str) -> torch.Tensor:
    if key not in state_dict:
        raise ValueError(f"{name} lacks `{key}`: it is incomplete, or the checkpoint of another method.")
    if state_dict[key].ndim != ndim:
        raise ValueError(f"{name}: `{key}` must have {ndim} dimensions, got {tuple(state_dict[key].shape)}.")
    return state_dict[key]


def _read_shapes(state_dict: Mapping[str, torch.Tensor], names: dict[str, str], name: str) -> dict[str, Any]:
    _get_tensor(state_dict, names["positions"], 3, name)
    hidden_size = _get_tensor(state_dict, names["cls"], 3, name).shape[-1]
    layers = {key[len(names["layer"]) :].split(".")[0] for key in state_dict if key.startswith(names["layer"])}
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, hidden_size // 64),
        "intermediate_size": len(_get_tensor(state_dict, names["intermediate"], 2, name)),
        "patch_size": tuple(_get_tensor(state_dict, names["kernel"], 4, name).shape[-2:]),
        "num_prefix_tokens": 2 if names["distillation"] in state_dict else 1,
        "num_mel_bins": 128,
        "num_labels": len(state_dict[names["classifier"]]),
        # transformers writes the epsilon into the config, and this is the default there
        **({"layer_norm_eps": 1e-12, "classifier_layer_norm_eps": 1e-12} if names["cls"].startswith(_HUB) else {}),
    }


def _read_config(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Read config fields from the config.json of a transformers AST folder."""
    theirs = sidecar.get("config.json", {})
    fields = {name: theirs[name] for name in _TRANSFORMERS_FIELDS if name in theirs}
    if "layer_norm_eps" in fields:
        fields["classifier_layer_norm_eps"] = fields["layer_norm_eps"]
    if "frequency_stride" in theirs and "time_stride" in theirs:
        fields["stride"] = (theirs["frequency_stride"], theirs["time_stride"])
    if "id2label" in theirs:
        fields |= _label_fields([theirs["id2label"][index] for index in sorted(theirs["id2label"], key=int)])
    return fields


def _read_processor(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    theirs = sidecar.get("preprocessor_config.json", {})
    names = ("sampling_rate", "num_mel_bins", "max_length", "mean", "std", "do_normalize")
    return {name: theirs[name] for name in names if name in theirs}


def _infer_stride(
    fields: dict[str, Any], names: dict[str, str], state_dict: Mapping[str, torch.Tensor], name: str
) -> tuple[int, int] | None:
    """Infer the square stride whose number of grid rows divides the number of positions.

    Among several, the one for the published 1024 frames wins, else the one with least overlap. This is right for every
    published AST; pass `stride` for others. Patches that are not square have no overlap, if that fits.
    """
    num_positions = state_dict[names["positions"]].shape[1] - fields["num_prefix_tokens"]
    mel_side, time_side = fields["patch_size"]
    if mel_side != time_side and num_positions % max(1, fields["num_mel_bins"] // mel_side) == 0:
        return None
    candidates = []
    for stride in range(min(mel_side, time_side), 0, -1):
        rows = (fields["num_mel_bins"] - mel_side) // stride + 1
        columns, rest = divmod(num_positions, rows)
        if rest == 0 and columns:
            candidates.append((columns != (RELEASED_FRAMES - time_side) // stride + 1, -stride, stride))
    if not candidates:
        raise ValueError(
            f"{name}: no stride fits {num_positions} positions over {fields['num_mel_bins']} mel bins with patch "
            f"{fields['patch_size']}. Pass config={{'stride': ..., 'num_mel_bins': ...}}."
        )
    stride = min(candidates)[-1]
    return None if (stride, stride) == fields["patch_size"] else (stride, stride)


def _infer_grid(fields: dict[str, Any], num_rows: int, name: str) -> tuple[int, int]:
    """Infer the grid of the stored positions: as many rows as patches fit on the mel bins."""
    num_positions = num_rows - fields["num_prefix_tokens"]
    mel_side = _mel_side(fields["patch_size"])
    stride = mel_side if fields.get("stride") is None else _mel_side(fields["stride"])
    rows = (fields["num_mel_bins"] - mel_side) // stride + 1
    columns, rest = divmod(num_positions, max(rows, 1))
    if rest or rows < 1 or not columns:
        raise ValueError(
            f"{name}: {num_positions} positions are no grid of {rows} rows, as patch {fields['patch_size']} makes of "
            f"{fields['num_mel_bins']} mel bins. Pass config={{'position_grid': (rows, columns)}}."
        )
    return rows, columns


def _mel_side(size: int | tuple[int, int]) -> int:
    """Return the mel side of a size."""
    return size if isinstance(size, int) else size[0]


def _count_covered_frames(config: FlexiASTConfig) -> int:
    """Count the frames that the base grid covers."""
    return PatchGeometry.of(config).num_frames(config.position_grid[1])


def _build_model(
    config: FlexiASTConfig, keymap: KeyMap, state_dict: Mapping[str, torch.Tensor], name: str
) -> FlexiASTForAudioClassification:
    with build_without_memory(len(state_dict), name):  # no weight is drawn at random first
        model = FlexiASTForAudioClassification(config)
    return load_weights(model, keymap, state_dict, name)
