"""Key rules of TalkNet's layers for videos of a face, which several authors' files hold under the same names."""

import torch

from avzoo.conversion.keymap import Rule, ignore, rename

_NORMS = {"bn1a": "norm1", "outbna": "norm2", "bn1b": "norm3", "outbnb": "norm4"}
_CONVOLUTIONS = {"conv1a": "conv1", "conv2a": "conv2", "conv1b": "conv3", "conv2b": "conv4"}
_TEMPORAL = {"1": "norm", "2": "depthwise_conv", "3": "activation", "5": "pointwise_conv"}


def face_trunk_rules(source: str = "", target: str = "") -> tuple[Rule, ...]:
    """The first convolution and the residual stages, under prefixes that end in a dot."""
    return (
        rename(f"{source}frontend3D.0.{{leaf}}", f"{target}stem_conv.{{leaf}}"),
        rename(f"{source}frontend3D.1.{{leaf}}", f"{target}stem_norm.{{leaf}}"),
        ignore(
            f"{source}resnet.layer1.downsample.weight",
            why="made for every stage; this one keeps its size and never calls it",
        ),
        *(
            rename(f"{source}resnet.layer{stage + 1}.{theirs}.{{leaf}}", f"{target}stages.{stage}.{ours}.{{leaf}}")
            for stage in range(4)
            for theirs, ours in {**_CONVOLUTIONS, **_NORMS, "downsample": "shortcut"}.items()
        ),
    )


def face_temporal_rules(source: str = "", target: str = "") -> tuple[Rule, ...]:
    """The residual convolutions over time."""
    layer = f"{target}temporal_layers.{{n}}"
    return (
        *(
            rename(f"{source}visualTCN.net.{{n}}.net.{theirs}.{{leaf}}", f"{layer}.{ours}.{{leaf}}")
            for theirs, ours in _TEMPORAL.items()
        ),
        rename(f"{source}visualTCN.net.{{n}}.net.4.gamma", f"{layer}.clip_norm.weight", torch.flatten),
        rename(f"{source}visualTCN.net.{{n}}.net.4.beta", f"{layer}.clip_norm.bias", torch.flatten),
    )
