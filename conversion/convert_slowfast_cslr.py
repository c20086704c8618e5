"""Conversion of SlowFastSign's checkpoints, and of the video network that its training starts from.

Facts: kaistmm/SlowFastSign@37d1b6c (`slr_network_multi.py`, `slr_network.py`, `slowfast_modules/checkpoint.py`). The
authors number the branches main, slow, fast, and name them fast, slow, main where they make them.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint, CheckpointSource, compute_sha256
from avzoo.conversion.keymap import KeyMap, Rule, count_tensors, ignore, load_weights, rename
from avzoo.data.gloss_vocabulary import identify_vocabulary, read_glosses
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.slowfast_cslr import SlowFastSignConfig, SlowFastSignForCTC

ENTRIES_READ = ("model_state_dict", "blobs")
# The state of NumPy's random numbers, as the file holds it beside the weights; its bytes are left alone.
UNPICKLE_STUBS = (
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    "numpy.ndarray",
    "numpy.dtype",
)
_BRANCHES = (("head", "main"), ("slow_head", "slow"), ("fast_head", "fast"))  # in the order of their numbers
_CLASSIFIERS = ("classifier.0.weight", "classifier.weight")
_NUM_STAGES = 4
_FIRST_CHANNELS, _REPEAT, _OTHER_CHANNELS = "first channels", "repeat", "other channels"


def _drop_height(kernel: torch.Tensor) -> torch.Tensor:
    """(out, in, frames, 1, 1) to (out, in, frames, 1): places lie side by side here."""
    return kernel.squeeze(-1)


def _drop_time(kernel: torch.Tensor) -> torch.Tensor:
    """(out, in, 1, rows, columns) to (out, in, rows, columns): frames lie in the batch here."""
    return kernel.squeeze(2)


def _norm(theirs: str, ours: str) -> Rule:
    return rename(f"{theirs}.{{leaf}}", f"{ours}.norm.{{leaf}}")


def pathway_rules() -> list[Rule]:
    """Rules of `conv2d`, the two pathways."""
    target = "slowfast.pathways"
    rules = [
        rename("conv2d.s1.pathway0_stem.conv.weight", f"{target}.slow_stem.projection.convolution.weight", _drop_time),
        rename("conv2d.s1.pathway1_stem.conv.weight", f"{target}.fast_stem.projection.convolution.weight"),
        _norm("conv2d.s1.pathway0_stem.bn", f"{target}.slow_stem.projection"),
        _norm("conv2d.s1.pathway1_stem.bn", f"{target}.fast_stem.projection"),
    ]
    for index in range(_NUM_STAGES):
        theirs, ours = f"conv2d.s{index + 1}_fuse", f"{target}.fusions.{index}"
        rules += [
            rename(f"{theirs}.weight_s", f"{ours}.slow_gate"),
            rename(f"{theirs}.weight_f", f"{ours}.fast_gate"),
            rename(f"{theirs}.conv_f2s.weight", f"{ours}.to_slow.convolution.weight", _drop_height),
            _norm(f"{theirs}.bn", f"{ours}.to_slow"),
            rename(f"{theirs}.conv_s2f.weight", f"{ours}.to_fast.convolution.weight", _drop_time),
            _norm(f"{theirs}.bn2", f"{ours}.to_fast"),
        ]
        for number, pathway in enumerate(("slow", "fast")):
            theirs, ours = f"conv2d.s{index + 2}.pathway{number}_res{{n}}", f"{target}.stages.{index}.{pathway}.{{n}}"
            parts = {"branch1": "shortcut", "branch2.b": "spatial", "branch2.c": "expansion"}
            for part, name in parts.items():
                rules.append(rename(f"{theirs}.{part}.weight", f"{ours}.{name}.convolution.weight", _drop_time))
                rules.append(_norm(f"{theirs}.{part}_bn", f"{ours}.{name}"))
            rules.append(rename(f"{theirs}.branch2.a.weight", f"{ours}.reduction.convolution.weight", _drop_height))
            rules.append(_norm(f"{theirs}.branch2.a_bn", f"{ours}.reduction"))
    return rules


def make_keymap(config: SlowFastSignConfig, has_branches: bool = True) -> KeyMap:
    """Rules for a file of three branches, or of one, whose names have no numbers."""
    rules = pathway_rules()
    for number, (target, branch) in enumerate(_BRANCHES[: 3 if has_branches else 1]):
        convolutions = f"conv1d.{branch}_temporal_conv" if has_branches else "conv1d.temporal_conv"
        lstm = f"temporal_model.{number}.rnn" if has_branches else "temporal_model.rnn"
        place = 0
        for index, (kind, _) in enumerate(config.parse_temporal_layers()):
            if kind == "K":  # a convolution, its norm and a ReLU
                rules.append(
                    rename(f"{convolutions}.{place}.{{leaf}}", f"{target}.layers.{index}.convolution.{{leaf}}")
                )
                rules.append(_norm(f"{convolutions}.{place + 1}", f"{target}.layers.{index}"))
            place += 3 if kind == "K" else 1
        for layer in range(config.num_lstm_layers):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                theirs, ours = f"{lstm}.{part}_l{layer}", f"{target}.lstm.{{}}_layers.{layer}.{part}_l0"
                rules.append(rename(theirs, ours.format("forward")))
                rules.append(rename(f"{theirs}_reverse", ours.format("backward")))
        classifier = f"classifier.{number}" if has_branches else "classifier"
        rules.append(rename(f"{classifier}.weight", f"{target.replace('head', 'classifier')}.weight"))
    rules.append(ignore("conv1d.fc.*", why="the classifier under a second name; the authors load `classifier` over it"))
    return KeyMap(*rules)


def convert(
    checkpoint: Checkpoint,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
    parts: Mapping[str, CheckpointSource | None] | None = None,
) -> tuple[SlowFastSignForCTC, str, dict[str, Any]]:
    """Convert a checkpoint; returns the model, its variant, and `processor`, the arguments of its processor.

    Args:
        variant: name of one of the row's variants in the zoo.
        config: override config values; `alpha` and what the maxima of the temporal convolutions take can't be told
            from shapes.
        parts: "labels", the glosses of the vocabulary: the authors' `gloss_dict.npy`, or a text file of one per line.
    """
    is_backbone = isinstance(checkpoint.content.get("blobs"), Mapping)
    fitting = fitting_variants(checkpoint)
    variant = fitting[0] if variant is None else variant
    # "other" may have as many classes as a released file.
    if variant not in (*fitting, *([] if is_backbone else ["other"])):
        what = "is a video network" if is_backbone else f"has {count_classes(unwrap(checkpoint))} classes"
        raise ValueError(
            f"{checkpoint.name} {what}, which variant={variant!r} is not for; it can be {', '.join(fitting)}."
        )
    if is_backbone:
        return convert_backbone(checkpoint, config or {}, parts)
    state_dict = unwrap(checkpoint)
    fields = infer_fields(state_dict, checkpoint.name) | dict(config or {})
    has_branches = any(key.startswith("temporal_model.0.") for key in state_dict)
    with build_without_memory(len(state_dict), checkpoint.name):  # no weight is drawn at random first
        model = SlowFastSignForCTC(SlowFastSignConfig(**fields))
    keymap = make_keymap(model.config, has_branches)
    told = take_labels(model, variant, parts)
    return load_weights(model, keymap, state_dict, checkpoint.name), variant, told


def fitting_variants(checkpoint: Checkpoint) -> list[str]:
    """The variant whose number of classes this is; the three files are alike in all else."""
    if isinstance(checkpoint.content.get("blobs"), Mapping):
        return ["backbone"]
    state_dict = unwrap(checkpoint)
    if not any(key in state_dict for key in _CLASSIFIERS):
        first = ", ".join(f"`{key}`" for key in list(state_dict)[:3])
        raise ValueError(
            f"{checkpoint.name} is no SlowFastSign checkpoint: it has no `classifier.0.weight`. Its keys begin with "
            f"{first}."
        )
    num_classes = count_classes(state_dict)
    variants = zoo.find_row("slowfast_cslr").variants
    return [variant.name for variant in variants if variant.config.get("vocab_size") == num_classes] or ["other"]


def count_classes(state_dict: Mapping[str, torch.Tensor]) -> int:
    """Glosses and the blank."""
    return next(state_dict[key].shape[-1] for key in _CLASSIFIERS if key in state_dict)


def unwrap(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights of a file, under names without the `.module` of parallel training, which may stand anywhere."""
    content = checkpoint.content.get("model_state_dict")
    if isinstance(content, Mapping):
        checkpoint = replace(checkpoint, content=content)
    plain: dict[str, torch.Tensor] = {}
    for key, value in checkpoint.state_dict().items():
        name = key.replace(".module", "")
        if name in plain:
            raise ValueError(f"{checkpoint.name} holds `{name}` twice, once as `{key}`.")
        plain[name] = value
    return plain


def infer_fields(state_dict: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """What shapes tell of a config."""

    def shape(key: str) -> torch.Size:
        if key not in state_dict:
            raise ValueError(f"{name} lacks `{key}`: it is cut short, or of another method.")
        return state_dict[key].shape

    def is_temporal(stage: int, pathway: int, block: int) -> bool:
        return shape(f"conv2d.s{stage + 2}.pathway{pathway}_res{block}.branch2.a.weight")[2] > 1

    width = shape("conv2d.s1.pathway0_stem.conv.weight")[0]
    depths, temporal_blocks, kernels = [], [], ([], [])
    for stage in range(_NUM_STAGES):
        pattern = re.compile(rf"conv2d\.s{stage + 2}\.pathway0_res(\d+)\.")
        depths.append(1 + max((int(found[1]) for key in state_dict if (found := pattern.match(key))), default=-1))
        for pathway in (0, 1):
            kernels[pathway].append(shape(f"conv2d.s{stage + 2}.pathway{pathway}_res0.branch2.a.weight")[2])
        temporal_blocks.append(
            sum(any(is_temporal(stage, pathway, block) for pathway in (0, 1)) for block in range(depths[-1]))
        )
    has_branches = any(key.startswith("temporal_model.0.") for key in state_dict)
    lstm = "temporal_model.0.rnn" if has_branches else "temporal_model.rnn"
    convolutions = "conv1d.main_temporal_conv" if has_branches else "conv1d.temporal_conv"
    hidden_size, vocab_size = shape("classifier.0.weight" if has_branches else "classifier.weight")
    fields = {
        "depths": tuple(depths),
        "temporal_blocks": tuple(temporal_blocks),
        "slow_kernels": tuple(kernels[0]),
        "fast_kernels": tuple(kernels[1]),
        "width": width,
        "beta_inverse": width // shape("conv2d.s1.pathway1_stem.conv.weight")[0],
        "hidden_size": hidden_size,
        "vocab_size": vocab_size,
        "num_lstm_layers": sum(f"{lstm}.weight_ih_l{layer}" in state_dict for layer in range(100)),
        "auxiliary_branches": has_branches,
        "temporal_layers": infer_temporal_layers(state_dict, convolutions),
        **infer_fusion(state_dict, shape),
    }
    return fields


def infer_temporal_layers(state_dict: Mapping[str, torch.Tensor], prefix: str) -> tuple[str, ...]:
    """The temporal convolutions, which stand at some places of a sequence. What has no weights is taken for maxima of
    two frames, and one is taken to follow the last."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.weight")
    shapes = {int(found[1]): state_dict[key].shape for key in state_dict if (found := pattern.fullmatch(key))}
    layers: list[str] = []
    place = 0
    for index in sorted(index for index, shape in shapes.items() if len(shape) == 3):
        layers += ["P2"] * (index - place) + [f"K{shapes[index][2]}"]
        place = index + 3  # its norm and a ReLU
    return (*layers, "P2")


def infer_fusion(state_dict: Mapping[str, torch.Tensor], shape: Any) -> dict[str, Any]:
    sent, received, kernel, *_ = shape("conv2d.s1_fuse.conv_f2s.weight")
    fields: dict[str, Any] = {"fusion_kernel": kernel}
    if "conv2d.s1_fuse.weight_s" in state_dict:
        return {**fields, "fusion": "bidirectional_add"}
    fields["fusion_channel_ratio"] = sent // received
    sends_back = "conv2d.s1_fuse.conv_s2f.weight" in state_dict
    return {**fields, "fusion": "bidirectional_cat" if sends_back else "fast_to_slow"}


# ----------------------------------------------------------------------------------------- the video network's file


def convert_backbone(
    checkpoint: Checkpoint, config: Mapping[str, Any], parts: Mapping[str, CheckpointSource | None] | None
) -> tuple[SlowFastSignForCTC, str, dict[str, Any]]:
    """SlowFast, pretrained on videos of actions, as the start of training: what the file lacks is drawn with seed 0."""
    blobs = replace(checkpoint, content=checkpoint.content["blobs"]).state_dict()
    sizes = infer_backbone(blobs, checkpoint.name)
    if (parts or {}).get("labels") is not None:
        sizes["vocab_size"] = len(read_glosses(parts["labels"])) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SlowFastSignForCTC(SlowFastSignConfig(**sizes | dict(config)))
    told = take_labels(model, "backbone", parts)
    drawn = model.state_dict()
    taken, rules = {}, [ignore(pattern, _JUNK[pattern]) for pattern in _JUNK]
    keymap = KeyMap(*pathway_rules())
    for blob, key, fate in list_blobs(model.config.depths):
        if fate == _OTHER_CHANNELS:
            rules.append(ignore(blob, "the fast pathway sends another number of channels to the slow one here"))
            continue
        rule = keymap.find_rule(key)
        target = rule.targets[0].format(**rule.match(key))
        if blob not in blobs:
            raise ValueError(f"{checkpoint.name} lacks `{blob}`: it is cut short, or no SlowFast of this depth.")
        taken[key] = fit_blob(blobs[blob], drawn.pop(target).shape, fate)
        rules.append(rename(blob, target))
    everything = taken | {f"drawn.{name}": value for name, value in drawn.items()}
    keymap = KeyMap(*pathway_rules(), rename("drawn.{rest*}", "{rest}"))
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    blob_map = KeyMap(*rules)
    strange = [blob for blob in blobs if blob_map.find_rule(blob) is None]
    if strange:
        raise ValueError(f"{checkpoint.name} has {len(strange)} blobs that SlowFast has not (`{strange[0]}`).")
    model.load_state_dict(keymap.apply(everything, shapes, checkpoint.name))
    count_tensors(blob_map, blobs)
    return model.eval(), "backbone", told


_JUNK = {
    "*_momentum": "the optimizer's",
    "lr": "the optimizer's",
    "model_iter": "the optimizer's",
    "pred_*": "the classes of actions",
    "nonlocal_conv4*": "layers that this network does not have",
}


def infer_backbone(blobs: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """What shapes tell of a config."""
    missing = next((blob for blob in ("conv1_w", "t_conv1_w", "t_pool1_subsample_w") if blob not in blobs), None)
    if missing is not None:
        raise ValueError(f"{name} lacks `{missing}`: it is no SlowFast of PySlowFast's.")
    depths, temporal_blocks, kernels = [], [], ([], [])
    for stage in range(2, 2 + _NUM_STAGES):
        depths.append(sum(f"res{stage}_{block}_branch2a_w" in blobs for block in range(1000)))
        looks = [
            [blobs[f"{prefix}res{stage}_{block}_branch2a_w"].shape[2] for block in range(depths[-1])]
            for prefix in ("", "t_")
        ]
        temporal_blocks.append(sum(max(pair) > 1 for pair in zip(*looks, strict=True)))
        for pathway in (0, 1):
            kernels[pathway].append(looks[pathway][0])
    width = blobs["conv1_w"].shape[0]
    return {
        "depths": tuple(depths),
        "temporal_blocks": tuple(temporal_blocks),
        "slow_kernels": tuple(kernels[0]),
        "fast_kernels": tuple(kernels[1]),
        "width": width,
        "beta_inverse": width // blobs["t_conv1_w"].shape[0],
        "fusion_kernel": blobs["t_pool1_subsample_w"].shape[2],
    }


def fit_blob(blob: torch.Tensor, shape: torch.Size, fate: str) -> torch.Tensor:
    """A blob as the sign model takes it, whose tensor has this shape."""
    if fate == _FIRST_CHANNELS:
        return blob[:, : shape[1]]
    if fate == _REPEAT and blob.numel() and shape[0] % blob.numel() == 0:
        return blob.repeat(shape[0] // blob.numel())
    return blob


def list_blobs(depths: Sequence[int]) -> list[tuple[str, str, str]]:
    """What PySlowFast's file holds: [(blob, key of the sign model, what becomes of it)].

    "copy", or why not: the slow pathway there also reads what the fast one puts beside its channels, which here is
    added; what is sent has another number of channels.
    """
    norm = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
    rows: list[tuple[str, str, str]] = []

    def add_layer(blob: str, blob_norm: str, key: str, key_norm: str, fate: str = "copy", norm_fate: str = "copy"):
        rows.append((f"{blob}_w", f"{key}.weight", fate))
        rows.extend((f"{blob_norm}_{short}", f"{key_norm}.{leaf}", norm_fate) for short, leaf in norm.items())

    def add_fusion(blob: str, stage: int) -> None:
        key = f"conv2d.s{stage}_fuse"
        add_layer(blob, f"{blob}_bn", f"{key}.conv_f2s", f"{key}.bn", _OTHER_CHANNELS, _REPEAT)

    for number, prefix in enumerate(("", "t_")):
        stem = f"conv2d.s1.pathway{number}_stem"
        add_layer(f"{prefix}conv1", f"{prefix}res_conv1_bn", f"{stem}.conv", f"{stem}.bn")
    add_fusion("t_pool1_subsample", 1)
    for stage, depth in enumerate(depths, start=2):
        for number, prefix in enumerate(("", "t_")):
            for block in range(depth):
                blob = f"{prefix}res{stage}_{block}_branch"
                key = f"conv2d.s{stage}.pathway{number}_res{block}.branch"
                reads_both = _FIRST_CHANNELS if block == 0 and number == 0 else "copy"
                if block == 0:
                    add_layer(f"{blob}1", f"{blob}1_bn", f"{key}1", f"{key}1_bn", reads_both)
                for part in "abc":
                    fate = reads_both if part == "a" else "copy"
                    add_layer(f"{blob}2{part}", f"{blob}2{part}_bn", f"{key}2.{part}", f"{key}2.{part}_bn", fate)
        if stage < _NUM_STAGES + 1:
            add_fusion(f"t_res{stage}_{depth - 1}_branch2c_bn_subsample", stage)
    return rows


def take_labels(
    model: SlowFastSignForCTC, variant: str, parts: Mapping[str, CheckpointSource | None] | None
) -> dict[str, Any]:
    """Give a model what its processor is made with; returns this without the glosses, and the origin of these.

    Raises:
        ValueError: a part of another name; a vocabulary of another size than the classifier's.
    """
    unknown = sorted(set(parts or {}) - {"labels"})
    if unknown:
        raise ValueError(f"slowfast_cslr has no part {unknown[0]!r}; it has: labels.")
    config, arguments = model.config, dict(zoo.find_row("slowfast_cslr").find_variant(variant).processor)
    arguments |= {"edge_frames": config.edge_frames, "step_frames": config.step_frames, "alpha": config.alpha}
    source = (parts or {}).get("labels")
    if source is None:
        warnings.warn(
            "without the part `labels` (the authors' gloss_dict.npy, or a text file of one gloss per line) glosses "
            "will be numbers: a checkpoint does not hold its vocabulary.",
            stacklevel=3,
        )
        return {"processor": arguments, "parts": {}}
    glosses = read_glosses(source)
    if len(glosses) + 1 != config.vocab_size:
        data_set = identify_vocabulary(glosses)
        whose = f", those of {data_set}" if data_set else ""
        raise ValueError(
            f"the part `labels` has {len(glosses)} glosses{whose}; the checkpoint knows {config.vocab_size - 1}: they "
            "do not belong together."
        )
    model.processor_arguments = {"glosses": glosses}  # which the config need not repeat
    return {
        "processor": arguments,
        "parts": {"labels": {"file": Path(source).name, "sha256": compute_sha256([Path(source)])}},
    }
