"""The authors' checkpoints to models that `from_pretrained` loads.

[`convert_checkpoint`] makes the model, [`save_converted`] writes the folder. What the files of one method look like is
in `convert_<method>.py`; the mechanism they share is `keymap.py`.
"""

import dataclasses
import importlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from avzoo import zoo
from avzoo.conversion.checkpoints import CheckpointSource, read_checkpoint


def convert_checkpoint(
    method: str,
    checkpoint: CheckpointSource,
    *,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """The model that a released checkpoint holds, in evaluation mode and float32.

    Args:
        method: a method of the zoo, `avzoo list` names them.
        checkpoint: a path (.pth .pt .ckpt .bin .safetensors, or a folder) or a mapping {key: tensor} exactly as the
            file holds it. Methods of several parts take {part: path or object}, the authors' file itself under
            "checkpoint"; which parts there are is in the row of the zoo, and None leaves one out.
        variant: which released checkpoint it is; None: told from its keys and shapes.
        config: config fields that shapes cannot tell (heads, strides, epsilons). They win over what is read off.

    Returns:
        A `PreTrainedModel`, or the pipeline of a diffusers method. `config.avzoo_source` records where it came from.

    Raises:
        ValueError: unknown method, variant or config field; keys that do not fit, listed; a file that would run code.
        OSError: a file that is missing, cut short or damaged.
    """
    row = zoo.find_row(method)
    if variant is not None:
        row.find_variant(variant)
    converter = importlib.import_module(f"avzoo.conversion.convert_{row.name}")
    _check_fields(row, converter, config or {})
    main, parts = _main_and_parts(row, checkpoint)
    source = read_checkpoint(main, inert_references=getattr(converter, "INERT_REFERENCES", ()))
    record = {
        "method": row.name,
        "file": source.file,
        "sha256": source.sha256,
        "avzoo_version": importlib.import_module("avzoo").__version__,
    }
    if row.diffusion_pipeline:
        pipe, variant, origins = converter.convert(source, variant, config, parts)
        pipe.register_to_config(avzoo_source={**record, "variant": variant, "parts": origins})
        return pipe
    model, variant, processor = converter.convert(source, variant, config)
    model.config.avzoo_source = {**record, "variant": variant, "processor": processor}
    return model


def save_converted(model: Any, folder: str | os.PathLike) -> Path:
    """Write a converted model, its processor and its card as a folder for `from_pretrained`; all of it or nothing.

    Raises:
        ValueError: the model does not come from [`convert_checkpoint`].
        FileExistsError: `folder` exists and is not empty.
        OSError: `folder` cannot be written.
    """
    from avzoo.model_cards import render_card

    source = model.config.get("avzoo_source") if isinstance(model.config, Mapping) else None
    source = source or getattr(model.config, "avzoo_source", None)
    if source is None:
        raise ValueError("`model` has no record of its source; it must come from `convert_checkpoint`.")
    row = zoo.find_row(source["method"])
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"`{folder}` exists and is not an empty folder; name another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and moved in one step: an interruption leaves no folder that looks finished.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.save_pretrained(unfinished)
        if row.processor_class and not row.diffusion_pipeline:  # a pipeline saves its own
            row.load(row.processor_class)(**source["processor"]).save_pretrained(unfinished)
        render_card(row.name, source=source).save(unfinished / "README.md")
        unfinished.chmod(0o777 & ~_umask())
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _main_and_parts(row: zoo.Row, checkpoint: CheckpointSource) -> tuple[CheckpointSource, Mapping[str, Any]]:
    """The authors' file, and the parts named beside it."""
    if not isinstance(checkpoint, Mapping) or not row.parts or "checkpoint" not in checkpoint:
        return checkpoint, {}
    parts = {name: source for name, source in checkpoint.items() if name != "checkpoint"}
    return checkpoint["checkpoint"], parts


def _check_fields(row: zoo.Row, converter: ModuleType, config: Mapping[str, Any]) -> None:
    """A misspelt field would be kept in silence by the config class, so it is refused here."""
    owner, known = row.title, set(getattr(converter, "CONFIG_FIELDS", ()))  # settings that lie in several places
    if not known:
        owner, known = row.config_class, {field.name for field in dataclasses.fields(row.load(row.config_class))}
        known |= {"num_labels"}  # a property of every transformers config
    unknown = sorted(config.keys() - known)
    if unknown:
        raise ValueError(f"`config` has no field {unknown[0]!r}; {owner} has: {', '.join(sorted(known))}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


__all__ = ["convert_checkpoint", "save_converted"]
