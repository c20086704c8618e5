"""The authors' AVDiffuSS files to [`AVDiffuSSPipeline`].

A file is what Lightning saved: `state_dict` (1176 tensors, `denoiser_net.*` and `score_net.*`, each with a visual
encoder of its own), `ema`, whose `shadow_params` are a list in the order of the parameters, and `hyper_parameters`. The
averaged weights are what the authors test with; statistics of batch norms are not averaged. A flat dictionary of the
tensors is taken, too, as it is. Facts: kaistmm/AVDiffuSS@86d8203 (sgmse/model.py, sgmse/backbones), torch_ema 0.2
and 0.3.

The networks are lists of numbered modules there. Which number is which is read off the order of the modules' kinds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.conversion.talking_face import face_temporal_rules, face_trunk_rules
from avzoo.models.avdiffuss import AVDiffuSSProcessor, AVDiffuSSVisualEncoder, AVDiffuSSVisualEncoderConfig
from avzoo.models.avdiffuss.modeling_avdiffuss import AVDiffuSSModel
from avzoo.models.avdiffuss.scheduling_ouve import OUVEScheduler
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.pipelines.audio_visual_separation.pipeline import AVDiffuSSPipeline

# The file names a class of the authors' code among its settings. It is not needed, and not imported.
UNPICKLE_STUBS = ("sgmse.data_module_vi.SpecsDataModule",)

ENTRIES_READ = ("ema", "hyper_parameters")  # beside the weights

_SPECTROGRAM_FIELDS = ("n_fft", "hop_length", "window", "spec_abs_exponent", "spec_factor", "frame_multiple")
_SCHEDULER_FIELDS = ("theta", "sigma_min", "sigma_max", "min_timestep")
CONFIG_FIELDS = ("num_attention_heads", "condition", *_SPECTROGRAM_FIELDS, *_SCHEDULER_FIELDS)

VISUAL_KEYMAP = KeyMap(
    *face_trunk_rules(),
    *face_temporal_rules(),
    rename("visualConv1D.net.0.{leaf}", "output_conv.{leaf}"),
    rename("visualConv1D.net.1.{leaf}", "output_norm.{leaf}"),
)


def network_keymap(tensors: Mapping[str, torch.Tensor], modules: Mapping[int, str]) -> KeyMap:
    """The rules for one network of the file, whose tensors these are, without its prefix; see [`module_names`]."""
    is_score = any(target == "time_embedding.linear1" for target in modules.values())
    rules = [rule for number, target in modules.items() for rule in _RULES[_kind(tensors, number)](number, target)]
    if not is_score:
        number = next(number for number in modules if _kind(tensors, number) == "frequencies")
        unused = "made for both networks; the denoiser knows no times"
        rules = [ignore(f"all_modules.{number}.W", unused), ignore("all_modules.*.Dense_0.*", unused), *rules]
    # The authors' network tells the negative of the score; ours tells the score.
    sign = torch.neg if is_score else None
    return KeyMap(*rules, rename("output_layer.{leaf}", "final_projection.{leaf}", sign))


def module_names(tensors: Mapping[str, torch.Tensor], name: str = "checkpoint") -> dict[int, str]:
    """{number of a module of theirs: what it is called here}, from the order of kinds that NCSN++ is built in.

    Raises:
        ValueError: another order.
    """
    numbers = sorted({int(match[1]) for key in tensors if (match := re.match(r"all_modules\.(\d+)\.", key))})
    kinds = [_kind(tensors, number) for number in numbers] + ["end"] * 2
    names: list[str] = []

    def take(kind: str, target: str) -> bool:
        if kinds[len(names)] != kind:
            return False
        names.append(target)
        return True

    def need(kind: str, target: str) -> None:
        if not take(kind, target):
            place = "the end" if len(names) >= len(numbers) else f"`all_modules.{numbers[len(names)]}`"
            raise ValueError(
                f"{name} is no AVDiffuSS checkpoint: where a network should have {target or 'its end'} ({kind}), it "
                f"has {place} ({kinds[len(names)]}); a module before it may be missing."
            )

    need("frequencies", "time_embedding")
    if take("linear", "time_embedding.linear1"):
        need("linear", "time_embedding.linear2")
    need("convolution", "input_projection")
    level = block = 0
    while kinds[len(names) + 1] != "attention":  # each level's residual blocks, the last one being the way down
        if kinds[len(names) + 1] == "projection":
            need("residual", f"down_blocks.{level}.downsampler")
            need("projection", f"down_blocks.{level}.pyramid_projection")
            level, block = level + 1, 0
        else:
            need("residual", f"down_blocks.{level}.resnets.{block}")
            take("fusion", f"down_blocks.{level}.fusions.{block}")
            block += 1
    need("residual", "mid_block.resnet1")
    need("attention", "mid_block.attention")
    need("residual", "mid_block.resnet2")
    for place in range(level + 1):
        block = 0
        while kinds[len(names)] == "residual":
            need("residual", f"up_blocks.{place}.resnets.{block}")
            block += 1
        take("fusion", f"up_blocks.{place}.fusion")
        need("norm", f"up_blocks.{place}.pyramid_norm")
        need("convolution", f"up_blocks.{place}.pyramid_projection")
        if place < level:
            need("residual", f"up_blocks.{place}.upsampler")
    need("end", "")
    return dict(zip(numbers, names, strict=False))


def convert(
    checkpoint: Checkpoint,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> tuple[AVDiffuSSPipeline, str, dict[str, Any]]:
    """The pipeline, the variant it is, and nothing, as it has no parts from elsewhere.

    Args:
        variant: there is one, "released".
        config: what the file does not tell: fields of `CONFIG_FIELDS`. They win over the file's own settings.
    """
    tensors, settings = averaged_weights(checkpoint), hyper_parameters(checkpoint) | dict(config or {})
    others = [key for key in tensors if not key.startswith(("denoiser_net.", "score_net."))]
    if others:
        raise ValueError(f"{checkpoint.name} is no AVDiffuSS checkpoint: `{others[0]}` belongs to no network of it.")
    networks = {
        "denoiser": network_of(tensors, "denoiser_net.", settings, checkpoint.name),
        "score_model": network_of(tensors, "score_net.", settings, checkpoint.name),
        "denoiser_visual_encoder": visual_encoder_of(tensors, "denoiser_net.visual_encoder.", checkpoint.name),
        "score_visual_encoder": visual_encoder_of(tensors, "score_net.visual_encoder.", checkpoint.name),
    }

    def chosen(names: Sequence[str]) -> dict[str, Any]:
        return {name: settings[name] for name in names if name in settings}

    condition = settings.get("condition")
    if condition is None:
        condition = "both" if networks["score_model"].config.num_spectrograms == 3 else "post_denoiser"
    pipe = AVDiffuSSPipeline(
        **networks,
        scheduler=OUVEScheduler(**chosen(_SCHEDULER_FIELDS)),
        processor=AVDiffuSSProcessor(**chosen(_SPECTROGRAM_FIELDS)),
        condition=condition,
    )
    return pipe, variant or "released", {}


def averaged_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """{key: tensor}: averages for parameters where the file has them, statistics as they are.

    Raises:
        ValueError: no weights, or a list of averages of another length or other shapes.
    """
    content = checkpoint.content
    if "state_dict" not in content:
        return checkpoint.state_dict()
    if not isinstance(content["state_dict"], Mapping):
        kind = type(content["state_dict"]).__name__
        raise ValueError(f"{checkpoint.name}: `state_dict` must be a dictionary of tensors, got a {kind}.")
    raw = Checkpoint(content["state_dict"], checkpoint.name).state_dict()
    averages = (content.get("ema") or {}).get("shadow_params")
    if averages is None:
        return raw
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    names = [key for key in raw if not key.endswith(statistics)]
    learned = [key for key in names if not key.endswith("all_modules.0.W")]
    # torch_ema 0.2 leaves out what has no gradient, 0.3 does not.
    fitting = next((keys for keys in (names, learned) if len(keys) == len(averages)), None)
    if fitting is None:
        raise ValueError(
            f"{checkpoint.name}: `ema.shadow_params` has {len(averages)} tensors, the parameters are {len(names)} "
            f"(or {len(learned)} without those that are not learned); which is which can't be told."
        )
    for key, average in zip(fitting, averages, strict=True):
        shape = tuple(average.shape) if isinstance(average, torch.Tensor) else f"no shape, {type(average).__name__}"
        if shape != tuple(raw[key].shape):
            raise ValueError(
                f"{checkpoint.name}: `ema.shadow_params` does not fit: the average of `{key}` has the shape {shape}, "
                f"the parameter {tuple(raw[key].shape)}."
            )
    return raw | dict(zip(fitting, averages, strict=True))


def hyper_parameters(checkpoint: Checkpoint) -> dict[str, Any]:
    """Those of the file's settings that matter, under our names."""
    stored = checkpoint.content.get("hyper_parameters") or {}
    ours_of = {**{name: name for name in CONFIG_FIELDS}, "t_eps": "min_timestep"}
    known = {theirs: ours for theirs, ours in ours_of.items() if isinstance(stored.get(theirs), int | float | str)}
    return {ours: stored[theirs] for theirs, ours in known.items()}


def network_of(
    tensors: Mapping[str, torch.Tensor], prefix: str, settings: Mapping[str, Any], name: str
) -> AVDiffuSSModel:
    """One spectrogram network, in evaluation mode; its sizes are read off the shapes."""
    own = _under(tensors, prefix, name, without="visual_encoder.")
    modules = module_names(own, name)
    arguments = _sizes(own, modules, name)
    if "num_attention_heads" in settings:
        heads = settings["num_attention_heads"]
        inner = arguments["num_attention_heads"] * arguments["attention_head_dim"]
        if not isinstance(heads, int) or heads < 1 or inner % heads:
            raise ValueError(f"`num_attention_heads` must divide {inner}, the width of all heads, got {heads!r}.")
        arguments |= {"num_attention_heads": heads, "attention_head_dim": inner // heads}
    with build_without_memory(len(own), name):  # no weight is drawn at random first
        network = AVDiffuSSModel(**arguments)
    return load_weights(network, network_keymap(own, modules), own, name)


def visual_encoder_of(tensors: Mapping[str, torch.Tensor], prefix: str, name: str) -> AVDiffuSSVisualEncoder:
    """One visual encoder, in evaluation mode."""
    own = _under(tensors, prefix, name)
    if "frontend3D.0.weight" not in own:
        raise ValueError(f"{name} is no AVDiffuSS checkpoint: it has no `{prefix}frontend3D.0.weight`.")
    layers = {key.split(".")[2] for key in own if key.startswith("visualTCN.net.")}
    config = AVDiffuSSVisualEncoderConfig(
        hidden_size=len(own["frontend3D.0.weight"]), num_temporal_layers=max(len(layers), 1)
    )
    with build_without_memory(len(own), name):
        encoder = AVDiffuSSVisualEncoder(config)
    return load_weights(encoder, VISUAL_KEYMAP, own, name)


# ------------------------------------------------------------------------------------------------ rules by kind


def _kind(tensors: Mapping[str, torch.Tensor], number: int) -> str:
    def has(leaf: str) -> bool:
        return f"all_modules.{number}.{leaf}" in tensors

    if has("W"):
        return "frequencies"
    if has("proj1.weight"):
        return "fusion"
    if has("NIN_0.W"):
        return "attention"
    if has("Conv_0.weight"):
        return "residual" if has("GroupNorm_0.weight") else "projection"
    weight = tensors.get(f"all_modules.{number}.weight")
    return "unknown" if weight is None else {1: "norm", 2: "linear", 4: "convolution"}.get(weight.ndim, "unknown")


def _residual(number: int, target: str) -> Sequence[Rule]:
    names = {
        "GroupNorm_0": "norm1",
        "Conv_0": "conv1",
        "Dense_0": "time_projection",
        "GroupNorm_1": "norm2",
        "Conv_1": "conv2",
        "Conv_2": "shortcut",
    }
    return [rename(f"all_modules.{number}.{a}.{{leaf}}", f"{target}.{b}.{{leaf}}") for a, b in names.items()]


def _attention(number: int, target: str) -> Sequence[Rule]:
    source = f"all_modules.{number}"
    rules = [rename(f"{source}.GroupNorm_0.{{leaf}}", f"{target}.norm.{{leaf}}")]
    for index, ours in enumerate(("to_q", "to_k", "to_v", "to_out")):
        # Stored (in, out), as it stands behind its input there.
        rules += [
            rename(f"{source}.NIN_{index}.W", f"{target}.{ours}.weight", lambda weight: weight.T),
            rename(f"{source}.NIN_{index}.b", f"{target}.{ours}.bias"),
        ]
    return rules


def _fusion(number: int, target: str) -> Sequence[Rule]:
    source, block = f"all_modules.{number}", f"all_modules.{number}.transformer_blocks.{{n}}"
    layer = f"{target}.layers.{{n}}"
    rules = [
        rename(f"{source}.norm.{{leaf}}", f"{target}.norm.{{leaf}}"),
        rename(f"{source}.proj1.{{leaf}}", f"{target}.input_projection.{{leaf}}"),
        rename(f"{source}.proj2.{{leaf}}", f"{target}.output_projection.{{leaf}}"),
        rename(f"{block}.ff.net.0.proj.{{leaf}}", f"{layer}.linear1.{{leaf}}"),
        rename(f"{block}.ff.net.2.{{leaf}}", f"{layer}.linear2.{{leaf}}"),
        *(rename(f"{block}.norm{n}.{{leaf}}", f"{layer}.norm{n}.{{leaf}}") for n in (1, 2, 3)),
    ]
    for theirs, ours in {"attn1": "self_attention", "attn2": "cross_attention"}.items():
        rules += [
            rename(f"{block}.{theirs}.to_out.0.{{leaf}}", f"{layer}.{ours}.to_out.{{leaf}}"),
            rename(f"{block}.{theirs}.{{part}}.weight", f"{layer}.{ours}.{{part}}.weight"),
        ]
    return rules


_RULES: dict[str, Callable[[int, str], Sequence[Rule]]] = {
    "frequencies": lambda number, target: [rename(f"all_modules.{number}.W", f"{target}.frequencies")],
    "projection": lambda number, target: [rename(f"all_modules.{number}.Conv_0.{{leaf}}", f"{target}.{{leaf}}")],
    **dict.fromkeys(
        ("linear", "convolution", "norm"),
        lambda number, target: [rename(f"all_modules.{number}.{{leaf}}", f"{target}.{{leaf}}")],
    ),
    "residual": _residual,
    "attention": _attention,
    "fusion": _fusion,
}


# ------------------------------------------------------------------------------------------------ sizes, weights


def _sizes(tensors: Mapping[str, torch.Tensor], modules: Mapping[int, str], name: str) -> dict[str, Any]:
    """Arguments of the network."""
    number_of = {target: number for number, target in modules.items()}

    def shape(target: str, leaf: str) -> torch.Size:
        return tensors[f"all_modules.{number_of[target]}.{leaf}"].shape

    levels = 1 + max(int(target.split(".")[1]) for target in number_of if target.startswith("down_blocks."))
    base, channels = shape("input_projection", "weight")[:2]
    widths = [shape(f"down_blocks.{level}.resnets.0", "Conv_0.weight")[0] for level in range(levels)]
    arguments = {
        "num_spectrograms": channels // 2,
        "time_conditioned": "time_embedding.linear1" in number_of,
        "base_channels": base,
        "channel_multipliers": tuple(width // base for width in widths),
        "layers_per_block": sum(target.startswith("down_blocks.0.resnets.") for target in number_of),
    }
    sizes = [0] * levels
    for level in range(levels):
        if f"down_blocks.{level}.fusions.0" in number_of:
            sizes[level] = shape(f"down_blocks.{level}.fusions.0", "proj1.weight")[0]
    if not any(sizes):
        raise ValueError(f"{name} is no AVDiffuSS checkpoint: no level of its networks looks at a face.")
    fusion = next(f"down_blocks.{level}.fusions.0" for level in range(levels) if sizes[level])
    prefix = f"all_modules.{number_of[fusion]}.transformer_blocks."
    inner, context = shape(fusion, "transformer_blocks.0.attn2.to_k.weight")
    return arguments | {
        "cross_attention_sizes": tuple(sizes),
        # Of 16 as released; shapes tell only the product.
        "num_attention_heads": inner // 16 if inner % 16 == 0 else 1,
        "attention_head_dim": 16 if inner % 16 == 0 else inner,
        "num_fusion_layers": len({key.removeprefix(prefix).split(".")[0] for key in tensors if key.startswith(prefix)}),
        "cross_attention_dim": context,
    }


def _under(tensors: Mapping[str, torch.Tensor], prefix: str, name: str, without: str = "\0") -> dict[str, torch.Tensor]:
    own = {
        key.removeprefix(prefix): value
        for key, value in tensors.items()
        if key.startswith(prefix) and not key.startswith(prefix + without)
    }
    if not own:
        raise ValueError(f"{name} is no AVDiffuSS checkpoint: it has no `{prefix}*`.")
    return own


__all__ = [
    "CONFIG_FIELDS",
    "UNPICKLE_STUBS",
    "averaged_weights",
    "convert",
    "hyper_parameters",
    "module_names",
    "network_keymap",
    "network_of",
    "visual_encoder_of",
]
