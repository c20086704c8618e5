"""Weights of an ImageNet ResNet-18, in torchvision's or in transformers' names, for a trunk of pictures."""

from avzoo.conversion.checkpoints import CheckpointSource, read_checkpoint
from avzoo.conversion.convert_ssl_alignment import trunk_rules
from avzoo.conversion.downloads import download_weights, is_hub_name
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.hub.errors import explain_hub_errors
from avzoo.models.ssl_alignment.residual_trunk import ResidualTrunk

_CLASSES = "the classes of ImageNet; training begins from what stands before them"
TORCHVISION_KEYMAP = KeyMap(*trunk_rules("", ""), ignore("fc.*", why=_CLASSES))


def _transformers_rules(prefix: str) -> list[Rule]:
    stem, layer = f"{prefix}embedder.embedder", f"{prefix}encoder.stages.{{s}}.layers.{{n}}"
    parts = {stem: "stem", f"{layer}.shortcut": "stages.{s}.{n}.shortcut"}
    parts |= {f"{layer}.layer.{index}": f"stages.{{s}}.{{n}}.conv{index + 1}" for index in (0, 1)}
    rules = []
    for theirs, ours in parts.items():
        rules.append(rename(f"{theirs}.convolution.weight", f"{ours}.convolution.weight"))
        rules.append(rename(f"{theirs}.normalization.{{leaf}}", f"{ours}.norm.{{leaf}}"))
    return rules


TRANSFORMERS_KEYMAP = KeyMap(
    *_transformers_rules("resnet."), *_transformers_rules(""), ignore("classifier.*", why=_CLASSES)
)


def load_resnet18(trunk: ResidualTrunk, source: CheckpointSource) -> None:
    """Load an ImageNet ResNet-18 into a trunk, whose strides may be others.

    Args:
        trunk: of the same widths and depths, changed in place.
        source: a file of torchvision's or timm's weights, or a folder or Hub id of either or of transformers' ResNet.

    Raises:
        ValueError: tensors are missing, left over or of another shape; the message names them. ResNet-50 is one such.
        OSError: the file is missing or damaged, or the Hub can't be reached.
    """
    if is_hub_name(source):
        with explain_hub_errors(source):
            source = download_weights(str(source))
    checkpoint = read_checkpoint(source)
    tensors = checkpoint.state_dict()
    is_transformers = any(key.removeprefix("resnet.").startswith("embedder.") for key in tensors)
    load_weights(trunk, TRANSFORMERS_KEYMAP if is_transformers else TORCHVISION_KEYMAP, tensors, checkpoint.name)


__all__ = ["TORCHVISION_KEYMAP", "TRANSFORMERS_KEYMAP", "load_resnet18"]
