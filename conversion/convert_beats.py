"""Conversion of BEATs checkpoints: {'cfg': settings, 'model': tensors}, pre-trained or fine-tuned on AudioSet.

Facts: microsoft/unilm (`beats/BEATs.py`, `beats/backbone.py`).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from avzoo.conversion.checkpoints import Checkpoint, read_json
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.files import check_readable
from avzoo.models.beats import BEATsConfig, BEATsForAudioClassification, BEATsModel
from avzoo.models.flexiast.labels import read_label_table
from avzoo.models.layers.without_memory import build_without_memory

ENTRIES_READ = ("model", "cfg", "label_dict")

# The file's settings -> ours. Those that are not here concern training, or shapes tell them.
_SETTINGS = {
    "encoder_attention_heads": "num_attention_heads",
    "conv_pos_groups": "conv_pos_groups",
    "max_distance": "max_distance",
    "deep_norm": "deep_norm",
    "layer_norm_first": "layer_norm_first",
    "activation_fn": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation_dropout": "activation_dropout",
    "predictor_dropout": "classifier_dropout",
    "encoder_layerdrop": "layerdrop",
}
_BIAS_TABLE = "encoder.layers.{n}.self_attn.relative_attention_bias.weight"


def beats_rules(source: str = "", target: str = "") -> tuple[Rule, ...]:
    """Rules of the encoder, under prefixes that end in a dot or are empty."""
    layer, ours = f"{source}encoder.layers.{{n}}", f"{target}layers.{{n}}"
    convolution = f"{source}encoder.pos_conv.0"
    projections = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "out_proj": "o_proj"}
    return (
        rename(f"{source}patch_embedding.{{leaf}}", f"{target}embeddings.patch_embedding.{{leaf}}"),
        rename(f"{source}layer_norm.{{leaf}}", f"{target}embeddings.layernorm.{{leaf}}"),
        rename(f"{source}post_extract_proj.{{leaf}}", f"{target}embeddings.projection.{{leaf}}"),
        rename(f"{convolution}.weight_g", f"{target}positional_convolution.weight_length"),
        rename(f"{convolution}.weight_v", f"{target}positional_convolution.weight_direction"),
        rename(f"{convolution}.bias", f"{target}positional_convolution.bias"),
        rename(f"{source}encoder.layer_norm.{{leaf}}", f"{target}layernorm.{{leaf}}"),
        rename(
            f"{source}encoder.layers.0.self_attn.relative_attention_bias.weight",
            f"{target}relative_positions.embedding.weight",
        ),
        ignore(f"{source}{_BIAS_TABLE}", why="one table for all layers, stored with each; they are equal"),
        rename(f"{layer}.self_attn.grep_a", f"{ours}.attention.gate_scale"),
        rename(f"{layer}.self_attn.grep_linear.{{leaf}}", f"{ours}.attention.gate.{{leaf}}"),
        *(
            rename(f"{layer}.self_attn.{name}.{{leaf}}", f"{ours}.attention.{our_name}.{{leaf}}")
            for name, our_name in projections.items()
        ),
        rename(f"{layer}.self_attn_layer_norm.{{leaf}}", f"{ours}.attention_norm.{{leaf}}"),
        rename(f"{layer}.final_layer_norm.{{leaf}}", f"{ours}.feed_forward_norm.{{leaf}}"),
        rename(f"{layer}.fc1.{{leaf}}", f"{ours}.fc1.{{leaf}}"),
        rename(f"{layer}.fc2.{{leaf}}", f"{ours}.fc2.{{leaf}}"),
    )


CLASSIFIER_KEYMAP = KeyMap(rename("predictor.{leaf}", "classifier.{leaf}"), *beats_rules(target="beats."))
ENCODER_KEYMAP = KeyMap(
    *beats_rules(),
    ignore("mask_emb", why="stands for hidden patches in pre-training"),
    ignore("predictor.*", why="class head, which the encoder alone has not"),
)


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[BEATsModel | BEATsForAudioClassification, str, dict[str, Any]]:
    """Convert a checkpoint; returns the model, its variant, and the arguments of its processor.

    A file with a class head gives a classifier. Its labels are what `config` gives as `id2label`, else those of the
    file's own `label_dict`, else numbers: BEATs' classes are not in AudioSet's order. Identifiers of AudioSet's classes
    ("/m/09x0r") become their names.

    Args:
        variant: "finetuned" or "pretrained".
        config: override config values that can't be inferred from tensor shapes or from the file's settings. `id2label`
            can also be a list of names, or the path of a file: one name a line, or {index: name} in JSON.
    """
    checkpoint, settings = unwrap(checkpoint)
    state_dict = checkpoint.state_dict()
    refuse_different_tables(state_dict, checkpoint.name)
    fields = read_fields(state_dict, settings, checkpoint.name) | dict(config or {})
    has_head = "predictor.weight" in state_dict
    if variant is not None and (variant == "finetuned") != has_head:
        raise ValueError(
            f"{checkpoint.name} has {'a' if has_head else 'no'} class head (`predictor.weight`), so it is not "
            f"{variant!r}."
        )
    variant = "finetuned" if has_head else "pretrained"
    if has_head:
        fields.setdefault("problem_type", "multi_label_classification")
        fields |= read_labels(fields, settings.get("label_dict"), len(state_dict["predictor.weight"]), checkpoint.name)
    elif fields.keys() & {"id2label", "label2id", "num_labels"}:
        raise ValueError(f"{checkpoint.name} has no class head (`predictor.weight`), so it takes no labels.")
    with build_without_memory(len(state_dict), checkpoint.name):  # no weight is drawn at random first
        model = (BEATsForAudioClassification if has_head else BEATsModel)(make_config(fields, config, checkpoint.name))
    model = load_weights(model, CLASSIFIER_KEYMAP if has_head else ENCODER_KEYMAP, state_dict, checkpoint.name)
    model.conversion_notes = note_assumptions(settings, checkpoint.name)
    return model, variant, {}


def make_config(fields: Mapping[str, Any], overrides: Mapping[str, Any] | None, name: str) -> BEATsConfig:
    """The config of a file, which is blamed for what no BEATs has unless the caller overrides something.

    Raises:
        ValueError: the file's settings or shapes fit no BEATs. StrictDataclassError: the same, with `overrides`.
    """
    try:
        return BEATsConfig(**fields)
    except StrictDataclassError as error:
        if overrides:
            raise
        raise ValueError(
            f"{name}: its settings (`cfg`) fit no BEATs; --config gives others. {' '.join(str(error).split())}"
        ) from error


def note_assumptions(settings: Mapping[str, Any], name: str) -> list[str]:
    """What a conversion says where the file doesn't tell its settings."""
    if settings.keys() & _SETTINGS.keys():
        return []
    note = (
        f"{name} has no settings (`cfg`), so the released files' are assumed: deep norm, norms behind the sums, "
        "a largest distance of 800; --config tells others"
    )
    return [note]


def unwrap(checkpoint: Checkpoint) -> tuple[Checkpoint, Mapping[str, Any]]:
    """The checkpoint of the tensors alone, and the file's settings; empty where it has none."""
    content = checkpoint.content
    if not isinstance(content.get("model"), Mapping):
        return checkpoint, {}
    settings = content.get("cfg")
    settings = dict(settings) if isinstance(settings, Mapping) else {}
    labels = content.get("label_dict")
    return replace(checkpoint, content=content["model"]), {**settings, "label_dict": labels}


def refuse_different_tables(state_dict: Mapping[str, torch.Tensor], name: str) -> None:
    """Raise a ValueError unless the bias tables of all layers are one."""
    ending = ".self_attn.relative_attention_bias.weight"
    tables = {key: value for key, value in state_dict.items() if key.endswith(ending)}
    first = next(iter(tables.values()), None)
    for key, table in tables.items():
        if table.shape != first.shape or not torch.equal(table, first):
            raise ValueError(
                f"{name}: `{key}` differs from the table of the first layer; BEATs has one for all layers. The file is "
                "damaged, or of another network."
            )


def read_fields(state_dict: Mapping[str, torch.Tensor], settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Config fields by the shapes of the tensors, and by the file's own settings.

    Raises:
        ValueError: a tensor is missing that tells a size, or has another number of dimensions.
    """

    def shape(key: str, dimensions: int) -> torch.Size:
        if key not in state_dict:
            raise ValueError(f"{name} lacks `{key}`: it is no BEATs checkpoint, or cut short.")
        if state_dict[key].ndim != dimensions or not state_dict[key].numel():
            raise ValueError(
                f"{name}: `{key}` must have {dimensions} dimensions, none of them 0, got "
                f"{tuple(state_dict[key].shape)}. It is no BEATs checkpoint, or damaged."
            )
        return state_dict[key].shape

    embedding_size, _, patch_size, _ = shape("patch_embedding.weight", 4)
    layers = [re.match(r"encoder\.layers\.(\d+)\.", key) for key in state_dict]
    table, kernel = shape(_BIAS_TABLE.format(n=0), 2), shape("encoder.pos_conv.0.weight_v", 3)
    intermediate_size, hidden_size = shape("encoder.layers.0.fc1.weight", 2)
    fields: dict[str, Any] = {
        "patch_size": patch_size,
        "embedding_size": embedding_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": len({layer[1] for layer in layers if layer}),
        "intermediate_size": intermediate_size,
        "conv_bias": "patch_embedding.bias" in state_dict,
        "conv_pos_kernel_size": kernel[-1],
        "conv_pos_groups": kernel[0] // kernel[1],
        "num_buckets": table[0],
        "num_attention_heads": table[1],
        "gated_position_bias": "encoder.layers.0.self_attn.grep_a" in state_dict,
    }
    for theirs, ours in _SETTINGS.items():
        if settings.get(theirs) is not None:
            fields[ours] = settings[theirs]
    return fields


def read_labels(fields: Mapping[str, Any], of_file: Any, outputs: int, name: str) -> dict[str, Any]:
    """Config fields that name the outputs: of the caller, else of the file, else their number.

    Raises:
        ValueError: there are not as many labels as outputs, or two outputs have one label. What reading a file raises.
    """
    if "label2id" in fields and "id2label" not in fields:
        return {}  # the config makes one of the other
    labels, origin = fields.get("id2label"), "`id2label`"
    if isinstance(labels, str | os.PathLike):
        origin = f"`{labels}`"
        labels = read_label_file(Path(labels))
    elif labels is None and isinstance(of_file, Mapping | list | tuple):
        labels, origin = of_file, f"`label_dict` of {name}"
    if labels is None:
        return {"num_labels": fields.get("num_labels", outputs)}
    if not isinstance(labels, Mapping):
        labels = dict(enumerate(labels))
    labels = {str(index): str(label) for index, label in labels.items()}
    if labels.keys() != {str(index) for index in range(outputs)}:
        raise ValueError(
            f"{origin} has {len(labels)} labels, but must name the outputs 0 to {outputs - 1} of {name}. Give "
            "others as `id2label`, on the command line by --config id2label=FILE."
        )
    names = {identifier: label for identifier, label in read_label_table("audioset")}
    if all(label in names for label in labels.values()):
        labels = {index: names[label] for index, label in labels.items()}
    twice = sorted(label for label in set(labels.values()) if list(labels.values()).count(label) > 1)
    if twice:
        raise ValueError(f"{origin} gives the label {twice[0]!r} to several outputs; each needs its own.")
    return {"id2label": {index: labels[str(index)] for index in range(outputs)}}


def read_label_file(path: Path) -> Mapping[str, Any] | Sequence[str]:
    """Labels of a text file, one a line, or of a JSON file, {index: label}.

    Raises:
        ValueError: neither of them. OSError: it can't be read.
    """
    check_readable(path, "id2label")
    if path.suffix == ".json":
        return read_json(path)
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}` is no text in UTF-8, one label a line: {error}.") from error
