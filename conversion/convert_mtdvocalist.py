"""Conversion of VocaLiST and MTDVocaLiST checkpoints.

Files are {"state_dict": tensors, ...}; entries beside the weights (optimizer, counters) are not read. Teacher and
student have the same 377 keys and differ in width. Facts: vskadandale/vocalist@c265b59 (models/model.py),
xjchenGit/MTDVocaLiST@5795416 (models/student_thin_200_all.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename, split_rows
from avzoo.conversion.variants import choose_variant, is_released_file
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.mtdvocalist import (
    MTDVocaLiSTConfig,
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTConfig,
    VocaLiSTForSequenceClassification,
)

_STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def move_time_first(kernel: torch.Tensor) -> torch.Tensor:
    """(out, in, rows, columns, time) to (out, in, time, rows, columns), our order."""
    return kernel.permute(0, 1, 4, 2, 3)


def _encoder(theirs: str, ours: str) -> tuple[Rule, ...]:
    rows = [f"vocalist.{ours}.layers.{{n}}.attention.{part}_proj" for part in "qkv"]  # stacked: q, then k, then v
    layer, target = f"{theirs}.layers.{{n}}", f"vocalist.{ours}.layers.{{n}}"
    return (
        ignore(f"{theirs}.version", why="fairseq's version of its file format"),
        ignore(f"{theirs}.embed_positions._float_tensor", why="never initialised, may be NaN; it only holds a dtype"),
        rename(f"{layer}.self_attn.in_proj_weight", [f"{row}.weight" for row in rows], split_rows(3)),
        rename(f"{layer}.self_attn.in_proj_bias", [f"{row}.bias" for row in rows], split_rows(3)),
        rename(f"{layer}.self_attn.out_proj.{{leaf}}", f"{target}.attention.o_proj.{{leaf}}"),
        rename(f"{layer}.layer_norms.0.{{leaf}}", f"{target}.attention_norm.{{leaf}}"),
        rename(f"{layer}.layer_norms.1.{{leaf}}", f"{target}.feed_forward_norm.{{leaf}}"),
        rename(f"{layer}.fc1.{{leaf}}", f"{target}.fc1.{{leaf}}"),
        rename(f"{layer}.fc2.{{leaf}}", f"{target}.fc2.{{leaf}}"),
        rename(f"{theirs}.layer_norm.{{leaf}}", f"vocalist.{ours}.norm.{{leaf}}"),
    )


def _blocks(theirs: str, ours: str) -> tuple[Rule, ...]:
    block, target = f"{theirs}.{{n}}.conv_block", f"vocalist.{ours}.blocks.{{n}}"
    return (
        rename(f"{block}.0.weight", f"{target}.convolution.weight"),
        rename(f"{block}.0.bias", f"{target}.convolution.bias"),
        *(rename(f"{block}.1.{leaf}", f"{target}.norm.{leaf}") for leaf in _STATISTICS),
    )


_VISUAL, *_VISUAL_REST = _blocks("vid_prenet", "visual_encoder")

VOCALIST_KEYMAP = KeyMap(
    replace(_VISUAL, operation=move_time_first),
    *_VISUAL_REST,
    *_blocks("aud_prenet", "audio_encoder"),
    *_encoder("av_transformer", "av_encoder"),
    *_encoder("va_transformer", "va_encoder"),
    *_encoder("mem_transformer", "fusion_encoder"),
    rename("fc.{leaf}", "vocalist.pooler.{leaf}"),
    rename("classifier.{leaf}", "classifier.{leaf}"),
)


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[VocaLiSTForSequenceClassification, str, dict[str, Any]]:
    """Convert a checkpoint; returns the model, its variant, and the arguments of its processor.

    The teachers have the same shapes and expect different pixels, and no file records which. Without `variant`, a width
    of 512 is the teacher that the file's name tells; one of the student's, or of no released network, is a student.

    Args:
        variant: name of one of the row's variants in the zoo.
        config: override config values that can't be inferred from tensor shapes; the number of heads is 8 by default.
    """
    checkpoint = _unwrapped(checkpoint)
    state_dict = checkpoint.state_dict()
    fields = _fields_from_shapes(state_dict, checkpoint.name)
    row = zoo.find_row("mtdvocalist")
    if variant is None:
        variant, _ = choose_variant(row, fitting_variants(checkpoint), checkpoint)
    known = row.find_variant(variant)
    config_class, model_class = (
        (MTDVocaLiSTConfig, MTDVocaLiSTForSequenceClassification)
        if variant == "student"
        else (VocaLiSTConfig, VocaLiSTForSequenceClassification)
    )
    fields |= dict(known.config) | dict(config or {})
    with build_without_memory(len(state_dict), checkpoint.name):  # no weight is drawn at random first
        model = model_class(config_class(**fields))
    return load_weights(model, VOCALIST_KEYMAP, state_dict, checkpoint.name), variant, dict(known.processor)


def fitting_variants(checkpoint: Checkpoint) -> list[str]:
    """All teachers have the same keys and shapes."""
    hidden_size = _fields_from_shapes(_unwrapped(checkpoint).state_dict(), checkpoint.name)["hidden_size"]
    row = zoo.find_row("mtdvocalist")
    if hidden_size == VocaLiSTConfig().hidden_size:
        return [variant.name for variant in row.variants if variant.name != "student"]
    is_own = hidden_size != MTDVocaLiSTConfig().hidden_size  # no released network is as wide
    if is_own and any(is_released_file(variant, checkpoint.file) for variant in row.variants):
        return [variant.name for variant in row.variants]
    return ["student"]


def _unwrapped(checkpoint: Checkpoint) -> Checkpoint:
    if isinstance(checkpoint.content.get("state_dict"), Mapping):
        return replace(checkpoint, content=checkpoint.content["state_dict"])
    return checkpoint


def _fields_from_shapes(state_dict: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    # The first convolution of each stage of the released networks.
    places = [f"vid_prenet.{place}.conv_block.0.weight" for place in (0, 1, 4, 8, 11)]
    wanted = {**dict.fromkeys(places, 5), "av_transformer.layers.0.fc1.weight": 2}
    for key, axes in wanted.items():
        if key not in state_dict or state_dict[key].ndim != axes:
            found = f"has the shape {tuple(state_dict[key].shape)} there" if key in state_dict else "lacks it"
            raise ValueError(f"{name} is no VocaLiST checkpoint: `{key}` must be a weight of {axes} axes, it {found}.")
    feed_forward, hidden_size = state_dict["av_transformer.layers.0.fc1.weight"].shape
    layers = {key.split(".")[2] for key in state_dict if key.startswith("av_transformer.layers.")}
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": len(layers),
        "ffn_ratio": feed_forward // hidden_size,
        "conv_channels": [len(state_dict[key]) for key in places],
    }
