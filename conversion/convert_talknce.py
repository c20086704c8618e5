"""The authors' LoCoNet, TalkNCE and TalkNet files to our active speaker detectors.

A file is the flat state dict of a training wrapper: the detector under `model.`, the heads beside it under `lossAV.`,
`lossA.` and `lossV.`; LoCoNet's, TalkNCE's among them, all under `model.module.` once more. Facts:
kaistmm/TalkNCE@8666642 (loconet.py, model/loconet_encoder.py), TaoRuijie/TalkNet-ASD@6d68214 (talkNet.py,
model/talkNetModel.py).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, load_weights, rename, split_rows
from avzoo.conversion.talking_face import face_temporal_rules, face_trunk_rules
from avzoo.conversion.variants import choose_variant
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.talknce import (
    LoCoNetConfig,
    LoCoNetForActiveSpeakerDetection,
    TalkNetConfig,
    TalkNetForActiveSpeakerDetection,
)

CONFIG_FIELDS = tuple(field.name for config in (LoCoNetConfig, TalkNetConfig) for field in dataclasses.fields(config))
_HEADS = {"lossAV": "classifier", "lossA": "audio_classifier", "lossV": "visual_classifier"}


def _attention(theirs: str, ours: str) -> tuple[Rule, ...]:
    rows = [f"{ours}.attention.{part}_proj" for part in "qkv"]  # stacked: q, then k, then v
    return (
        rename(f"{theirs}.self_attn.in_proj_weight", [f"{row}.weight" for row in rows], split_rows(3)),
        rename(f"{theirs}.self_attn.in_proj_bias", [f"{row}.bias" for row in rows], split_rows(3)),
        rename(f"{theirs}.self_attn.out_proj.{{leaf}}", f"{ours}.attention.o_proj.{{leaf}}"),
        *(rename(f"{theirs}.{part}.{{leaf}}", f"{ours}.{part}.{{leaf}}") for part in ("linear1", "linear2")),
        *(rename(f"{theirs}.{part}.{{leaf}}", f"{ours}.{part}.{{leaf}}") for part in ("norm1", "norm2")),
    )


_SHARED = (
    *face_trunk_rules("model.visualFrontend.", "visual."),
    *face_temporal_rules("model.", "visual."),
    rename("model.visualConv1D.net.0.{leaf}", "visual.projection_conv.{leaf}"),
    rename("model.visualConv1D.net.1.{leaf}", "visual.projection_norm.{leaf}"),
    rename("model.visualConv1D.net.3.{leaf}", "visual.projection.{leaf}"),
    *_attention("model.crossA2V", "cross_audio"),
    *_attention("model.crossV2A", "cross_visual"),
    *(rename(f"{theirs}.FC.{{leaf}}", f"{ours}.{{leaf}}") for theirs, ours in _HEADS.items()),
)


def _one_by_one(kernel: torch.Tensor) -> torch.Tensor:
    """A convolution of one place is a linear layer."""
    return kernel[:, :, 0, 0]


def _time_first(kernel: torch.Tensor) -> torch.Tensor:
    """(out, in, bins, rows) to (out, in, rows, bins): their MFCC stand on their side."""
    return kernel.mT


def loconet_keymap(num_context_layers: int) -> KeyMap:
    """Rules for a file with so many pairs of context layers, which alternate under one number."""
    context: list[Rule] = []
    for layer in range(num_context_layers):
        theirs, ours = f"model.convAV.{2 * layer}", f"speaker_layers.{layer}"
        context += [
            rename(f"{theirs}.conv2d.{{leaf}}", f"{ours}.conv.{{leaf}}"),
            rename(f"{theirs}.ln.{{leaf}}", f"{ours}.norm.{{leaf}}"),
            rename(f"{theirs}.conv2d_1x1.weight", f"{ours}.linear1.weight", _one_by_one),
            rename(f"{theirs}.conv2d_1x1.bias", f"{ours}.linear1.bias"),
            rename(f"{theirs}.conv2d_1x1_2.weight", f"{ours}.linear2.weight", _one_by_one),
            rename(f"{theirs}.conv2d_1x1_2.bias", f"{ours}.linear2.bias"),
            *_attention(f"model.convAV.{2 * layer + 1}", f"time_layers.{layer}"),
        ]
    return KeyMap(
        *_SHARED,
        *(
            rename(f"model.audioEncoder.features.{theirs}.{{leaf}}", f"audio.convs.{ours}.{{leaf}}")
            for ours, theirs in enumerate((0, 3, 6, 8, 11, 13))
        ),
        rename("model.audioEncoder.deconv.{leaf}", "audio.upsampling.{leaf}"),
        rename("model.audioEncoder.conv1.{leaf}", "audio.fusion.{leaf}"),
        rename("model.audioEncoder.conv2.{leaf}", "audio.projection.{leaf}"),
        *context,
    )


def talknet_keymap() -> KeyMap:
    audio: list[Rule] = []
    for stage in range(4):
        theirs, ours = f"model.audioEncoder.layer{stage + 1}.{{n}}", f"audio.stages.{stage}.{{n}}"
        audio += [
            *(rename(f"{theirs}.conv{i}.weight", f"{ours}.conv{i}.weight", _time_first) for i in (1, 2)),
            *(rename(f"{theirs}.bn{i}.{{leaf}}", f"{ours}.norm{i}.{{leaf}}") for i in (1, 2)),
            rename(f"{theirs}.se.fc.0.{{leaf}}", f"{ours}.squeeze_excitation.squeeze.{{leaf}}"),
            rename(f"{theirs}.se.fc.2.{{leaf}}", f"{ours}.squeeze_excitation.excite.{{leaf}}"),
            rename(f"{theirs}.downsample.0.weight", f"{ours}.shortcut_conv.weight"),
            rename(f"{theirs}.downsample.1.{{leaf}}", f"{ours}.shortcut_norm.{{leaf}}"),
        ]
    return KeyMap(
        *_SHARED,
        rename("model.audioEncoder.conv1.weight", "audio.stem_conv.weight", _time_first),
        rename("model.audioEncoder.bn1.{leaf}", "audio.stem_norm.{leaf}"),
        *audio,
        *_attention("model.selfAV", "time_layer"),
    )


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[LoCoNetForActiveSpeakerDetection | TalkNetForActiveSpeakerDetection, str, dict[str, Any]]:
    """The model, the variant it is, and the arguments of its processor.

    Args:
        variant: which released file; None: told by the keys, and of a TalkNet by the file's name.
        config: fields that win over what shapes tell. They do not tell heads, who asks in the cross attention, and
            the height of the sound's features.
    """
    tensors = _without_prefix(checkpoint.state_dict(), checkpoint.name)
    kind = _kind(tensors)
    row = zoo.find_row("talknce")
    variant = variant or choose_variant(row, fitting_variants(checkpoint), checkpoint)[0]
    if not variant.startswith(kind):
        raise ValueError(f"{checkpoint.name} holds a {kind}, which variant={variant!r} is not for.")
    stated = row.find_variant(variant)
    overrides = {**stated.config, **(config or {})}
    fields = _sizes(tensors, checkpoint.name)
    if kind == "loconet":
        fields |= _loconet_sizes(tensors, checkpoint.name)
        keymap, model_class = loconet_keymap(fields["num_context_layers"]), LoCoNetForActiveSpeakerDetection
    else:
        fields |= _talknet_sizes(tensors, checkpoint.name)
        keymap, model_class = talknet_keymap(), TalkNetForActiveSpeakerDetection
    known = {name: value for name, value in overrides.items() if name in model_class.config_class().to_dict()}
    if len(known) < len(overrides):
        unknown = sorted(overrides.keys() - known.keys())[0]
        raise ValueError(f"`config` has {unknown!r}, which a {kind} has no use for.")
    with build_without_memory(len(tensors), checkpoint.name):  # no weight is drawn at random first
        model = model_class(model_class.config_class(**fields | known))
    processor = {**stated.processor, "num_bins": model.num_bins, "frame_size": model.config.frame_size}
    if kind == "loconet":
        processor["num_speakers"] = model.config.num_speakers
    return load_weights(model, keymap, tensors, checkpoint.name), variant, processor


def fitting_variants(checkpoint: Checkpoint) -> list[str]:
    """Both TalkNets have the same keys and shapes, and expect other cuts of a face."""
    kind = _kind(_without_prefix(checkpoint.state_dict(), checkpoint.name))
    return [variant.name for variant in zoo.find_row("talknce").variants if variant.name.startswith(kind)]


def _kind(tensors: Mapping[str, torch.Tensor]) -> str:
    return "loconet" if any(key.startswith("model.convAV.") for key in tensors) else "talknet"


def _without_prefix(state_dict: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Keys as TalkNet has them, `model.` and `lossAV.` side by side."""
    head = next((key for key in state_dict if key.endswith("lossAV.FC.weight")), None)
    if head is None:
        first = ", ".join(f"`{key}`" for key in list(state_dict)[:3])
        raise ValueError(
            f"{name} is no LoCoNet, TalkNCE or TalkNet checkpoint: it has no `lossAV.FC.weight`. Its keys begin with "
            f"{first}."
        )
    prefix = head.removesuffix("lossAV.FC.weight")
    strays = [key for key in state_dict if not key.startswith(prefix)]
    if strays:
        raise ValueError(f"{name}: `{strays[0]}` does not begin with `{prefix}` as the others do.")
    return {key.removeprefix(prefix): value for key, value in state_dict.items()}


def _sizes(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """What both have."""
    stages = [f"model.visualFrontend.resnet.layer{stage}.conv1a.weight" for stage in (1, 2, 3, 4)]
    _check_keys(tensors, [*stages, "model.visualConv1D.net.3.weight", "model.crossA2V.linear1.weight"], name)
    embedding_size = len(tensors["model.visualConv1D.net.3.weight"])
    return {
        "embedding_size": embedding_size,
        "trunk_channels": tuple(len(tensors[key]) for key in stages),
        "num_temporal_layers": _count(tensors, "model.visualTCN.net."),
        "feed_forward_ratio": len(tensors["model.crossA2V.linear1.weight"]) // embedding_size,
    }


def _loconet_sizes(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    convs = [f"model.audioEncoder.features.{n}.weight" for n in (0, 3, 6, 11)]
    _check_keys(tensors, ["model.convAV.0.conv2d.weight", *convs], name)
    kernel = tensors["model.convAV.0.conv2d.weight"].shape
    return {
        "num_speakers": kernel[2],
        "context_kernel_size": kernel[3],
        "num_context_layers": (_count(tensors, "model.convAV.") + 1) // 2,
        "audio_channels": tuple(len(tensors[key]) for key in convs),
    }


def _talknet_sizes(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    stages = [f"model.audioEncoder.layer{stage}." for stage in (1, 2, 3, 4)]
    convs, squeeze = [f"{stage}0.conv2.weight" for stage in stages], f"{stages[0]}0.se.fc.0.weight"
    _check_keys(tensors, [*convs, squeeze], name)
    widths = tuple(len(tensors[key]) for key in convs)
    return {
        "audio_channels": widths,
        "audio_depths": tuple(_count(tensors, stage) for stage in stages),
        "squeeze_ratio": widths[0] // len(tensors[squeeze]),
    }


def _check_keys(tensors: Mapping[str, torch.Tensor], keys: Sequence[str], name: str) -> None:
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise ValueError(f"{name} lacks `{missing[0]}`: it is cut short, or the checkpoint of another method.")


def _count(tensors: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many numbers stand behind a prefix."""
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})
