"""Conversion of `sfd_face.pth` to [`S3FDForFaceDetection`].

The file is a flat dictionary: the layers of a VGG by their index in a list that includes ReLUs and poolings, the layers
after it, and the heads of six levels. Facts: TaoRuijie/TalkNet-ASD@6d68214, model/faceDetector/s3fd/nets.py;
other repositories share the file.
"""

from collections.abc import Mapping
from typing import Any

import torch

from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, load_weights, rename
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.s3fd import S3FDConfig, S3FDForFaceDetection

# Index in the authors' list of each convolution of each stage.
_VGG_INDICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))

S3FD_KEYMAP = KeyMap(
    *(
        rename(f"vgg.{index}.{{leaf}}", f"stages.{stage}.convolutions.{number}.{{leaf}}")
        for stage, indices in enumerate(_VGG_INDICES)
        for number, index in enumerate(indices)
    ),
    rename("vgg.31.{leaf}", "conv_fc6.{leaf}"),
    rename("vgg.33.{leaf}", "conv_fc7.{leaf}"),
    rename("L2Norm3_3.weight", "norms.0.weight"),
    rename("L2Norm4_3.weight", "norms.1.weight"),
    rename("L2Norm5_3.weight", "norms.2.weight"),
    rename("extras.{n}.{leaf}", "extras.{n}.{leaf}"),
    rename("loc.{n}.{leaf}", "box_heads.{n}.{leaf}"),
    rename("conf.{n}.{leaf}", "score_heads.{n}.{leaf}"),
)


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[S3FDForFaceDetection, str, dict[str, Any]]:
    """Convert a checkpoint; returns the model, its variant, and no processor arguments.

    Args:
        variant: "sfd_face", the only one.
        config: override fields of [`S3FDConfig`] inferred from the checkpoint.
    """
    state_dict = checkpoint.state_dict()
    fields = _fields_from_shapes(state_dict, checkpoint.name) | dict(config or {})
    with build_without_memory(len(state_dict), checkpoint.name):  # no weight is drawn at random first
        model = S3FDForFaceDetection(S3FDConfig(**fields))
    return load_weights(model, S3FD_KEYMAP, state_dict, checkpoint.name), variant or "sfd_face", {}


def _fields_from_shapes(state_dict: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    widths = {}
    for key in (
        *(f"vgg.{indices[0]}.weight" for indices in _VGG_INDICES),
        "vgg.31.weight",
        *(f"extras.{number}.weight" for number in range(4)),
        "conf.0.weight",
    ):
        if key not in state_dict or state_dict[key].ndim != 4:
            found = f"has the shape {tuple(state_dict[key].shape)} there" if key in state_dict else "lacks it"
            raise ValueError(f"{name} is no S3FD checkpoint: `{key}` must be the weight of a convolution, it {found}.")
        widths[key] = len(state_dict[key])
    numbers = list(widths.values())
    return {
        "stage_channels": numbers[:5],
        "fc_channels": numbers[5],
        "extra_channels": numbers[6:10],
        "num_background_maps": numbers[10] - 1,
    }
