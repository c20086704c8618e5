"""Pipelines of diffusers saved at half the size, as the small checkpoints that ship are."""

import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from .checkpoints import give_usual_modes


def save_in_half(pipe: Any, folder: str | os.PathLike) -> None:
    """Save a pipeline in float16; loaded, its networks are float32 again.

    The networks are rounded in place. No trace is left in the files of the folder that the pipeline was loaded from.
    """
    networks = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    for network in networks.values():
        network.half()
    pipe.save_pretrained(folder)
    for network in networks.values():
        network.float()
    folder = Path(folder)
    for name in networks:
        give_usual_modes(folder / name)
    for path in [folder / "model_index.json", *(folder / name / "config.json" for name in networks)]:
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)
        if "dtype" in settings:  # what transformers loads it as
            settings["dtype"] = "float32"
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


__all__ = ["save_in_half"]
