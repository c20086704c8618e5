"""Class names of the released checkpoints, in the order of their outputs.

`labels.json` holds [identifier, name] rows: AudioSet's 527 classes in the order of its official class list (as used by
YuanGongND/ast@31088be) and VGGSound's 309 in the order of JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8, which is not
alphabetical. The order of VoxCeleb1's 1251 speakers was never published.
"""

import json
from importlib import resources


def label_names(name: str) -> list[str]:
    """Names of the outputs of a released checkpoint: "audioset", "vggsound" or "voxceleb" (speaker_0000 ...)."""
    if name == "voxceleb":
        return [f"speaker_{index:04d}" for index in range(1251)]
    return [display_name for _, display_name in read_label_table(name)]


def read_label_table(name: str) -> list[tuple[str, str]]:
    """(identifier, name) of each class of "audioset" or "vggsound", such as ("/m/09x0r", "Speech")."""
    table = json.loads(resources.files(__package__).joinpath("labels.json").read_text(encoding="utf-8"))
    if name not in table:
        raise ValueError(f"`name` {name!r} has no label list; choose audioset, vggsound or voxceleb.")
    return [(identifier, display_name) for identifier, display_name in table[name]]
