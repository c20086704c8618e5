"""Speaker encoders that people hold, as files, to [`SpeakerEncoderForXVector`].

Files of clovaai/voxceleb_trainer@f51bab8 (RawNet3 and two residual networks; encoder under `__S__.`), of
kaistmm/voxceleb-disentangler@2707e14 (its last layer under `__DE__.encoder.`), Jungjee/RawNet@ac87f9f ({"model": ...},
no prefix), speechbrain/spkrec-ecapa-voxceleb (`embedding_model.ckpt`) and wenet-e2e/wespeaker@dfa7419 (`avg_model.pt`).
Which of them a file is, follows from its keys; its sizes follow from its shapes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.models.session_embedding import SpeakerEncoderConfig, SpeakerEncoderForXVector

_CONTAINERS = ("model", "model_state_dict", "state_dict")  # newer files hold the weights under one of these
ENTRIES_READ = _CONTAINERS
CONFIG_FIELDS = tuple(field.name for field in dataclasses.fields(SpeakerEncoderConfig))  # it makes encoders


class Tensors(dict[str, torch.Tensor]):
    """Tensors of a file; one that is missing is named, and so is the file."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], name: str):
        super().__init__(tensors)
        self.name = name

    def __missing__(self, key: str) -> torch.Tensor:
        raise ValueError(f"{self.name} lacks `{key}`: it is cut short, or the checkpoint of another method.")


def _flatten(tensor: torch.Tensor) -> torch.Tensor:
    """A convolution of one frame is a linear layer."""
    return tensor[..., 0]


def _unit(theirs: str, ours: str, conv: str = "conv", norm: str = "bn") -> tuple[Rule, ...]:
    return (
        rename(f"{theirs}{conv}.{{leaf}}", f"{ours}.conv.{{leaf}}"),
        rename(f"{theirs}{norm}.{{leaf}}", f"{ours}.norm.{{leaf}}"),
    )


def _linear(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A pointwise convolution of theirs, a linear layer of ours."""
    return (rename(f"{theirs}.weight", f"{ours}.weight", _flatten), rename(f"{theirs}.bias", f"{ours}.bias"))


def _clova_attention() -> tuple[Rule, ...]:
    return (
        rename("attention.0.{leaf}", "pooling.score_conv1.{leaf}"),
        rename("attention.2.{leaf}", "pooling.score_norm.{leaf}"),
        rename("attention.3.{leaf}", "pooling.score_conv2.{leaf}"),
    )


_TRAINING_ONLY = (
    ignore("__L__.*", why="the loss of the training"),
    ignore("__DE__.decoder.*", why="the decoder of the disentangler's training"),
    ignore("__E_E__.*", why="a discriminator of the disentangler's training"),
    ignore("__E_S__.*", why="a discriminator of the disentangler's training"),
)
_FIXED = (
    ignore("torchfb.*", why="a fixed table of the log-mel"),
    ignore("torchmfcc.*", why="a fixed table of the log-mel"),
    ignore("preprocess.0.flipped_filter", why="the fixed filter of the pre-emphasis"),
    ignore("conv1.filterbank.window_", why="a fixed table of the filters"),
    ignore("conv1.filterbank.n_", why="a fixed table of the filters"),
)

ECAPA_SPEECHBRAIN = KeyMap(
    *_unit("blocks.0.", "trunk.stem", "conv.conv", "norm.norm"),
    *(
        rule
        for block in (1, 2, 3)
        for rule in (
            *_unit(f"blocks.{block}.tdnn1.", f"trunk.blocks.{block - 1}.unit1", "conv.conv", "norm.norm"),
            *_unit(
                f"blocks.{block}.res2net_block.blocks.{{n}}.",
                f"trunk.blocks.{block - 1}.res2net.units.{{n}}",
                "conv.conv",
                "norm.norm",
            ),
            *_unit(f"blocks.{block}.tdnn2.", f"trunk.blocks.{block - 1}.unit2", "conv.conv", "norm.norm"),
            *_linear(f"blocks.{block}.se_block.conv1.conv", f"trunk.blocks.{block - 1}.squeeze_excitation.squeeze"),
            *_linear(f"blocks.{block}.se_block.conv2.conv", f"trunk.blocks.{block - 1}.squeeze_excitation.excite"),
        )
    ),
    rename("mfa.conv.conv.{leaf}", "trunk.aggregation_conv.{leaf}"),
    rename("mfa.norm.norm.{leaf}", "trunk.aggregation_norm.{leaf}"),
    rename("asp.tdnn.conv.conv.{leaf}", "pooling.score_conv1.{leaf}"),
    rename("asp.tdnn.norm.norm.{leaf}", "pooling.score_norm.{leaf}"),
    rename("asp.conv.conv.{leaf}", "pooling.score_conv2.{leaf}"),
    rename("asp_bn.norm.{leaf}", "pooled_norm.{leaf}"),
    *_linear("fc.conv", "embedding"),
)

ECAPA_WESPEAKER = KeyMap(
    *_unit("layer1.", "trunk.stem"),
    *(
        rule
        for block in (2, 3, 4)
        for rule in (
            *_unit(f"layer{block}.se_res2block.0.", f"trunk.blocks.{block - 2}.unit1"),
            *_unit(
                f"layer{block}.se_res2block.1.", f"trunk.blocks.{block - 2}.res2net.units.{{n}}", "convs.{n}", "bns.{n}"
            ),
            *_unit(f"layer{block}.se_res2block.2.", f"trunk.blocks.{block - 2}.unit2"),
            rename(
                f"layer{block}.se_res2block.3.linear1.{{leaf}}",
                f"trunk.blocks.{block - 2}.squeeze_excitation.squeeze.{{leaf}}",
            ),
            rename(
                f"layer{block}.se_res2block.3.linear2.{{leaf}}",
                f"trunk.blocks.{block - 2}.squeeze_excitation.excite.{{leaf}}",
            ),
        )
    ),
    rename("conv.{leaf}", "trunk.aggregation_conv.{leaf}"),
    rename("pool.linear1.{leaf}", "pooling.score_conv1.{leaf}"),
    rename("pool.linear2.{leaf}", "pooling.score_conv2.{leaf}"),
    rename("bn.{leaf}", "pooled_norm.{leaf}"),
    rename("linear.{leaf}", "embedding.{leaf}"),
    ignore("projection.*", why="the classes of the training"),
)

RESNET_WESPEAKER = KeyMap(
    rename("conv1.weight", "trunk.stem.weight"),
    rename("bn1.{leaf}", "trunk.stem_norm.{leaf}"),
    *(
        rule
        for stage in (1, 2, 3, 4)
        for rule in (
            *(
                rename(f"layer{stage}.{{n}}.conv{i}.weight", f"trunk.stages.{stage - 1}.{{n}}.conv{i}.weight")
                for i in (1, 2)
            ),
            *(
                rename(f"layer{stage}.{{n}}.bn{i}.{{leaf}}", f"trunk.stages.{stage - 1}.{{n}}.norm{i}.{{leaf}}")
                for i in (1, 2)
            ),
            rename(f"layer{stage}.{{n}}.shortcut.0.weight", f"trunk.stages.{stage - 1}.{{n}}.shortcut_conv.weight"),
            rename(f"layer{stage}.{{n}}.shortcut.1.{{leaf}}", f"trunk.stages.{stage - 1}.{{n}}.shortcut_norm.{{leaf}}"),
        )
    ),
    rename("seg_1.{leaf}", "embedding.{leaf}"),
    ignore("projection.*", why="the classes of the training"),
)

_SE_RESNET = (
    rename("conv1.{leaf}", "trunk.stem.{leaf}"),
    rename("bn1.{leaf}", "trunk.stem_norm.{leaf}"),
    *(
        rule
        for stage in (1, 2, 3, 4)
        for theirs, ours in [(f"layer{stage}.{{n}}", f"trunk.stages.{stage - 1}.{{n}}")]
        for rule in (
            *(rename(f"{theirs}.conv{i}.weight", f"{ours}.conv{i}.weight") for i in (1, 2)),
            *(rename(f"{theirs}.bn{i}.{{leaf}}", f"{ours}.norm{i}.{{leaf}}") for i in (1, 2)),
            rename(f"{theirs}.se.fc.0.{{leaf}}", f"{ours}.squeeze_excitation.squeeze.{{leaf}}"),
            rename(f"{theirs}.se.fc.2.{{leaf}}", f"{ours}.squeeze_excitation.excite.{{leaf}}"),
            rename(f"{theirs}.downsample.0.weight", f"{ours}.shortcut_conv.weight"),
            rename(f"{theirs}.downsample.1.{{leaf}}", f"{ours}.shortcut_norm.{{leaf}}"),
        )
    ),
)

RESNETSE34L = KeyMap(
    rename("attention", "pooling.attention"),
    *_SE_RESNET,
    rename("sap_linear.{leaf}", "pooling.projection.{leaf}"),
    rename("fc.{leaf}", "embedding.{leaf}"),
    *_FIXED,
    *_TRAINING_ONLY,
)

RESNETSE34V2 = KeyMap(
    *_SE_RESNET, *_clova_attention(), rename("fc.{leaf}", "embedding.{leaf}"), *_FIXED, *_TRAINING_ONLY
)


def _clova_blocks(count: int) -> tuple[Rule, ...]:
    """The Res2Net blocks that RawNet3 and the disentangler's ECAPA-TDNN have in common."""
    return tuple(
        rule
        for block in range(count)
        for theirs, ours in [(f"layer{block + 1}", f"trunk.blocks.{block}")]
        for rule in (
            *_unit(f"{theirs}.", f"{ours}.unit1", "conv1", "bn1"),
            *_unit(f"{theirs}.", f"{ours}.res2net.units.{{n}}", "convs.{n}", "bns.{n}"),
            *_unit(f"{theirs}.", f"{ours}.unit2", "conv3", "bn3"),
        )
    )


RAWNET3 = KeyMap(
    rename("preprocess.1.weight", "trunk.waveform_scale"),
    rename("preprocess.1.bias", "trunk.waveform_shift"),
    rename("conv1.filterbank.low_hz_", "trunk.stem.low_hz"),
    rename("conv1.filterbank.band_hz_", "trunk.stem.band_hz"),
    *_clova_blocks(3),
    *(
        rule
        for block in range(3)
        for rule in (
            rename(f"layer{block + 1}.afms.alpha", f"trunk.blocks.{block}.shift"),
            rename(f"layer{block + 1}.afms.fc.{{leaf}}", f"trunk.blocks.{block}.scale.{{leaf}}"),
            rename(f"layer{block + 1}.residual.0.weight", f"trunk.blocks.{block}.shortcut.weight"),
        )
    ),
    rename("layer4.{leaf}", "trunk.aggregation_conv.{leaf}"),
    *_clova_attention(),
    rename("bn5.{leaf}", "pooled_norm.{leaf}"),
    rename("fc6.{leaf}", "embedding.{leaf}"),
    ignore("bn1.*", why="a norm that the authors' `forward` never applies"),
    ignore("bn6.*", why="a norm that the authors' `forward` applies only with `out_bn`, which is off"),
    *_FIXED,
    *_TRAINING_ONLY,
)

ECAPA_DISENTANGLER = KeyMap(
    *_unit("", "trunk.stem", "conv1", "bn1"),
    *_clova_blocks(3),
    *(
        rule
        for block in range(3)
        for theirs, ours in [(f"layer{block + 1}.se.se", f"trunk.blocks.{block}.squeeze_excitation")]
        for rule in (
            *_linear(f"{theirs}.1", f"{ours}.squeeze"),
            rename(f"{theirs}.3.{{leaf}}", f"{ours}.norm.{{leaf}}"),
            *_linear(f"{theirs}.4", f"{ours}.excite"),
        )
    ),
    rename("layer4.{leaf}", "trunk.aggregation_conv.{leaf}"),
    *_clova_attention(),
    *_FIXED,
    *_TRAINING_ONLY,
)


def _disentangled(keymap: KeyMap, embedding_size: int) -> KeyMap:
    """The rules of an encoder whose last layer is the disentangler's: speaker code, then environment code."""

    def split(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rows[:embedding_size], rows[embedding_size:]

    return KeyMap(
        rename("__DE__.encoder.0.{leaf}", "pooled_norm.{leaf}"),
        rename("__DE__.encoder.1.{leaf}", ["embedding.{leaf}", "environment.{leaf}"], split),
        *keymap.rules,
    )


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[SpeakerEncoderForXVector, str, dict[str, Any]]:
    """The encoder, the variant it is, and the arguments of its feature extractor.

    Args:
        variant: which kind of file; None: told by the keys.
        config: fields that win over what shapes tell. They don't tell `use_log`, strides and kernel sizes, and of
            ResNetSE34L, whose fixed tables are missing, not `num_mel_bins`.
    """
    tensors = read_tensors(checkpoint)
    (kind,) = fitting_variants(checkpoint)
    if variant is not None and variant != kind:
        raise ValueError(f"{checkpoint.name} holds a {kind}, which variant={variant!r} is not for.")
    keymap, fields = _MAKERS[kind](tensors)
    with torch.device("meta"):  # no weight is drawn at random first
        model = SpeakerEncoderForXVector(SpeakerEncoderConfig(**{**fields, **(config or {})}))
    return load_weights(model, keymap, tensors, checkpoint.name), kind, {}


def read_tensors(checkpoint: Checkpoint) -> Tensors:
    """The tensors of a file, out of its container, without the prefixes `module.` and `__S__.`."""
    content = checkpoint.content
    inner = next((content[name] for name in _CONTAINERS if isinstance(content.get(name), Mapping)), content)
    state_dict = Checkpoint(inner, checkpoint.name).state_dict()
    return Tensors({key.removeprefix("__S__."): tensor for key, tensor in state_dict.items()}, checkpoint.name)


def fitting_variants(checkpoint: Checkpoint) -> list[str]:
    """The one kind of file that the keys are of.

    Raises:
        ValueError: they are of none.
    """
    tensors = read_tensors(checkpoint)
    is_disentangled = "__DE__.encoder.1.weight" in tensors
    marks = {
        "ecapa_speechbrain": "asp.tdnn.conv.conv.weight" in tensors,
        "wespeaker_ecapa": "pool.linear1.weight" in tensors and "layer1.conv.weight" in tensors,
        "wespeaker_resnet34": "seg_1.weight" in tensors and "layer1.0.conv1.weight" in tensors,
        "rawnet3": "conv1.filterbank.low_hz_" in tensors,
        "resnetse34l": "sap_linear.weight" in tensors,
        "ecapa_disentangler": "layer1.se.se.1.weight" in tensors and is_disentangled,
        "resnetse34v2_disentangler": "layer1.0.se.fc.0.weight" in tensors and is_disentangled,
        "resnetse34v2": "layer1.0.se.fc.0.weight" in tensors and "attention.0.weight" in tensors,
    }
    for kind, fits in marks.items():
        if fits:
            return [kind]
    first = ", ".join(f"`{key}`" for key in list(tensors)[:3])
    raise ValueError(
        f"{checkpoint.name} is no speaker encoder that avzoo knows ({', '.join(marks)}). Its keys begin with {first}."
    )


def _stages(tensors: Tensors) -> dict[str, Any]:
    return {
        "stage_channels": tuple(len(tensors[f"layer{stage}.0.conv1.weight"]) for stage in (1, 2, 3, 4)),
        "stage_depths": tuple(
            len({key.split(".")[1] for key in tensors if key.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)
        ),
    }


def _count_mel_bins(tensors: Tensors, otherwise: int) -> int:
    """From the fixed table of the log-mel, which official files hold."""
    bank = next((tensor for key, tensor in tensors.items() if key.endswith("mel_scale.fb")), None)
    return otherwise if bank is None else bank.shape[1]


def _ecapa_fields(
    stem: torch.Tensor, units: list[torch.Tensor], squeeze: torch.Tensor, attention: torch.Tensor, aggregation_size: int
) -> dict[str, Any]:
    """Sizes of an ECAPA-TDNN, from kernels: the first layer, one part of each block, a squeeze, the attention."""
    return {
        "architecture": "ecapa_tdnn",
        "num_mel_bins": stem.shape[1],
        "hidden_size": stem.shape[0],
        "kernel_sizes": (stem.shape[2], *(unit.shape[2] for unit in units)),
        "res2net_scale": stem.shape[0] // units[0].shape[0],
        "aggregation_size": aggregation_size,
        "squeeze_size": len(squeeze),
        "attention_size": len(attention),
        "use_global_context": attention.shape[1] == 3 * aggregation_size,
    }


def _make_ecapa_speechbrain(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    fields = _ecapa_fields(
        tensors["blocks.0.conv.conv.weight"],
        [tensors[f"blocks.{block}.res2net_block.blocks.0.conv.conv.weight"] for block in (1, 2, 3)],
        tensors["blocks.1.se_block.conv1.conv.weight"],
        tensors["asp.tdnn.conv.conv.weight"],
        len(tensors["mfa.conv.conv.weight"]),
    )
    embedding_size = len(tensors["fc.conv.weight"])
    return ECAPA_SPEECHBRAIN, {**fields, "dialect": "speechbrain", "embedding_size": embedding_size}


def _make_wespeaker_ecapa(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    fields = _ecapa_fields(
        tensors["layer1.conv.weight"],
        [tensors[f"layer{block}.se_res2block.1.convs.0.weight"] for block in (2, 3, 4)],
        tensors["layer2.se_res2block.3.linear1.weight"],
        tensors["pool.linear1.weight"],
        len(tensors["conv.weight"]),
    )
    return ECAPA_WESPEAKER, {**fields, "dialect": "wespeaker", "embedding_size": len(tensors["linear.weight"])}


def _make_wespeaker_resnet34(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    stages, embedding = _stages(tensors), tensors["seg_1.weight"]
    bands = embedding.shape[1] // (2 * stages["stage_channels"][-1])
    return RESNET_WESPEAKER, {
        **stages,
        "architecture": "resnet34",
        "dialect": "wespeaker",
        "num_mel_bins": 8 * bands,
        "pooling": "statistics",
        "embedding_size": len(embedding),
    }


def _make_resnetse34l(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    with_deviation = tensors["fc.weight"].shape[1] == 2 * len(tensors["sap_linear.weight"])
    return RESNETSE34L, {
        **_stages(tensors),
        "architecture": "resnetse34l",
        "dialect": "voxceleb_trainer",
        "num_mel_bins": _count_mel_bins(tensors, otherwise=40),
        "pooling": "attentive_statistics" if with_deviation else "self_attention",
        "embedding_size": len(tensors["fc.weight"]),
    }


def _resnetse34v2_fields(tensors: Tensors, pooled_size: int) -> dict[str, Any]:
    stages, attention = _stages(tensors), tensors["attention.0.weight"]
    return {
        **stages,
        "architecture": "resnetse34v2",
        "num_mel_bins": _count_mel_bins(tensors, otherwise=8 * attention.shape[1] // stages["stage_channels"][-1]),
        "pooling": "attentive_statistics" if pooled_size == 2 * attention.shape[1] else "self_attention",
        "attention_size": len(attention),
    }


def _make_resnetse34v2(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    embedding_size, pooled_size = tensors["fc.weight"].shape
    fields = _resnetse34v2_fields(tensors, pooled_size)
    return RESNETSE34V2, {**fields, "dialect": "voxceleb_trainer", "embedding_size": embedding_size}


def _code_sizes(tensors: Tensors) -> dict[str, int]:
    """Widths of the two codes. The decoder's input is both; the classes of the loss see the speaker's alone."""
    both = len(tensors["__DE__.encoder.1.weight"])
    classes = tensors.get("__L__.softmax.fc.weight")
    speaker = both // 2 if classes is None else classes.shape[1]
    return {"embedding_size": speaker, "environment_size": both - speaker}


def _make_resnetse34v2_disentangler(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    sizes = _code_sizes(tensors)
    fields = _resnetse34v2_fields(tensors, tensors["__DE__.encoder.1.weight"].shape[1])
    keymap = _disentangled(RESNETSE34V2, sizes["embedding_size"])
    return keymap, {**fields, **sizes, "dialect": "disentangler"}


def _make_ecapa_disentangler(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    fields = _ecapa_fields(
        tensors["conv1.weight"],
        [tensors[f"layer{block}.convs.0.weight"] for block in (1, 2, 3)],
        tensors["layer1.se.se.1.weight"],
        tensors["attention.0.weight"],
        len(tensors["layer4.weight"]),
    )
    sizes = _code_sizes(tensors)
    return _disentangled(ECAPA_DISENTANGLER, sizes["embedding_size"]), {
        **fields,
        **sizes,
        "dialect": "disentangler",
        "attention_per_channel": len(tensors["attention.3.weight"]) > 1,
    }


def _make_rawnet3(tensors: Tensors) -> tuple[KeyMap, dict[str, Any]]:
    attention, aggregation_size = tensors["attention.0.weight"], len(tensors["layer4.weight"])
    window = tensors.get("conv1.filterbank.window_")
    hidden_size = len(tensors["layer1.conv1.weight"])
    return RAWNET3, {
        "architecture": "rawnet3",
        "dialect": "voxceleb_trainer",
        "hidden_size": hidden_size,
        "aggregation_size": aggregation_size,
        "res2net_scale": hidden_size // len(tensors["layer1.convs.0.weight"]),
        "num_sinc_filters": 2 * len(tensors["conv1.filterbank.low_hz_"]),
        **({} if window is None else {"sinc_kernel_size": 2 * len(window) + 1}),
        "attention_size": len(attention),
        "attention_per_channel": len(tensors["attention.3.weight"]) > 1,
        "use_global_context": attention.shape[1] == 3 * aggregation_size,
        "embedding_size": len(tensors["fc6.weight"]),
    }


_MAKERS = {
    "ecapa_speechbrain": _make_ecapa_speechbrain,
    "wespeaker_ecapa": _make_wespeaker_ecapa,
    "wespeaker_resnet34": _make_wespeaker_resnet34,
    "rawnet3": _make_rawnet3,
    "resnetse34l": _make_resnetse34l,
    "resnetse34v2": _make_resnetse34v2,
    "resnetse34v2_disentangler": _make_resnetse34v2_disentangler,
    "ecapa_disentangler": _make_ecapa_disentangler,
}
