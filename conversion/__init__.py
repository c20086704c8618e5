"""Conversion of the authors' checkpoints to models that `from_pretrained` loads.

[`convert_checkpoint`] makes the model, [`save_converted`] writes the folder. `convert_<method>.py` describes the files
of one method; `keymap.py` is the mechanism they share.
"""

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from avzoo import zoo
from avzoo.conversion import variants
from avzoo.conversion.checkpoints import Checkpoint, CheckpointSource, read_checkpoint
from avzoo.conversion.keymap import count_taken
from avzoo.files import check_readable, write_folder_atomically


def convert_checkpoint(
    method: str,
    checkpoint: CheckpointSource,
    *,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """Convert a released checkpoint to a model in evaluation mode and float32.

    Args:
        method: name of a method, as `avzoo list` shows it.
        checkpoint: a path (.pth .pt .ckpt .bin .safetensors, or a folder) or a mapping {key: tensor} exactly as the
            file holds it. Methods of several parts take {part: path or object}, with the authors' file itself under
            "checkpoint"; the method's row in the zoo lists the parts, and None omits one.
        variant: name of the released checkpoint; None: inferred from keys and shapes, and from the name of the
            released file where these are the same for several.
        config: override config values that can't be inferred from tensor shapes (heads, strides, epsilons).

    Returns:
        A `PreTrainedModel`, or the pipeline of a diffusers method. `config.avzoo_source` records its origin:
        file and sha256, variant and how it was told, tensors used, and those ignored under the reason why.

    Raises:
        ValueError: unknown method, variant or config field; keys that do not match, listed; a file that would run code;
            several variants that fit, listed.
        OSError: a file that is missing, truncated or damaged.
    """
    row = zoo.find_row(method)
    if variant is not None:
        row.find_variant(variant)
    main, parts = _split_parts(row, checkpoint)
    if not isinstance(main, Mapping):
        check_readable(main, "checkpoint")  # before anything is imported, which takes seconds
    converter = importlib.import_module(f"avzoo.conversion.convert_{row.name}")
    _check_fields(row, converter, config or {})
    source = read_checkpoint(
        main, getattr(converter, "UNPICKLE_STUBS", ()), settings_files=getattr(converter, "SETTINGS_FILES", ())
    )
    record = {
        "method": row.name,
        "file": source.file,
        "sha256": source.sha256,
        "avzoo_version": importlib.import_module("avzoo").__version__,
    }
    told = variants.AS_ASKED if variant is not None else variants.BY_SHAPES
    if variant is None and hasattr(converter, "fitting_variants"):
        with _explain_bad_shapes(source, row):
            variant, told = variants.choose_variant(row, converter.fitting_variants(source), source)
    record["variant_told"] = told
    with count_taken() as taken:
        # What is made of parts takes them and tells their origins; a model tells the arguments of its processor.
        further = (parts,) if row.diffusion_pipeline or row.parts else ()
        with _explain_bad_shapes(source, row):
            model, variant, told_by_it = converter.convert(source, variant, config, *further)
    record |= {"variant": variant, "tensors_used": taken.num_used, "tensors_ignored": taken.ignored}
    if notes := getattr(model, "conversion_notes", ()):  # what a converter had to assume, or could not have
        record["notes"] = list(notes)
    record["entries_ignored"] = _list_unread_entries(source.content, getattr(converter, "ENTRIES_READ", ()))
    if row.diffusion_pipeline:
        model.register_to_config(avzoo_source={**record, "parts": told_by_it})
    else:
        model.config.avzoo_source = {**record, **(told_by_it if row.parts else {"processor": told_by_it})}
    return model


@contextlib.contextmanager
def _explain_bad_shapes(source: Checkpoint, row: zoo.Row) -> Iterator[None]:
    """Sizes are read off shapes; of shapes that no network has, arithmetic and indexing fail in ways of their own."""
    try:
        yield
    except StrictDataclassError as error:  # of a config; no ValueError
        if not source.sidecar:
            raise  # the caller's own value
        raise ValueError(f"{source.name}: {' '.join(str(error).split())}") from error
    except (ArithmeticError, LookupError, RuntimeError, AttributeError, TypeError) as error:
        if isinstance(error, TypeError) and "`" in str(error):  # it names an argument
            raise
        raise ValueError(
            f"{source.name} has the keys or shapes of no network of {row.title}: it is damaged, or the checkpoint of "
            f"another method ({type(error).__name__}: {' '.join(str(error).split())[:300]})."
        ) from error


def describe_conversion(model: Any) -> str:
    """A few lines on a converted model: its variant and how it was told, the tensors used and ignored, what had to be
    assumed, the digest.
    """
    source = _find_source(model)
    told = source["variant_told"]
    lines = [
        f"{source['method']}, variant {source['variant']}, {told if told == variants.AS_ASKED else f'told {told}'}",
        f"{source['tensors_used']} tensors used, {sum(map(len, source['tensors_ignored'].values()))} ignored",
    ]
    for why, keys in source["tensors_ignored"].items():
        shown = ", ".join(keys[:2]) + (f", ... ({len(keys)})" if len(keys) > 2 else "")
        lines.append(f"  ignored {shown}: {why}")
    lines += [f"note: {note}" for note in source.get("notes", ())]
    if source["entries_ignored"]:
        lines.append(f"  not read, beside the weights: {', '.join(source['entries_ignored'])}")
    for name, origin in source.get("parts", {}).items():
        if isinstance(origin, Mapping):
            lines.append(f"part {name}: {origin['file'] or 'tensors in memory'}, sha256 {origin['sha256']}")
    if source["sha256"] is not None:
        lines.append(f"sha256 {source['sha256']} of {source['file']}")
    return "\n".join(lines)


def save_converted(model: Any, folder: str | os.PathLike) -> Path:
    """Write a converted model, its processor and its card to a folder for `from_pretrained`.

    The folder is written atomically: after an error there is none, and what a killed process left is swept.

    Raises:
        ValueError: the model does not come from [`convert_checkpoint`].
        FileExistsError: `folder` exists and is not empty.
        BlockingIOError: another process is writing `folder`.
        OSError: `folder` cannot be written.
    """
    _find_source(model)
    with write_folder_atomically(folder) as unfinished:
        write_converted(model, unfinished, Path(folder))
    return Path(folder)


def write_converted(model: Any, folder: Path, place: Path) -> None:
    """Write a converted model, its processor and its card into a folder that exists.

    Args:
        place: where the folder will lie, which the card's examples load.

    Raises:
        ValueError: the model does not come from [`convert_checkpoint`].
    """
    from avzoo.model_cards import render_card

    source = _find_source(model)
    row = zoo.find_row(source["method"])
    model.save_pretrained(folder)
    if row.processor_class and not row.diffusion_pipeline:  # a pipeline saves its own
        # What is no JSON, such as a tokenizer, the converter leaves at the model.
        further = getattr(model, "processor_arguments", {})
        row.load(row.processor_class)(**source["processor"], **further).save_pretrained(folder)
    # An absolute path would tell readers of the card about this machine.
    shown = f"./{place.name}" if place.is_absolute() else f"./{place.as_posix()}"
    render_card(row.name, source=source, model_folder=shown).save(folder / "README.md")


def _list_unread_entries(content: Mapping[str, Any], read: Sequence[str]) -> list[str]:
    """What a file {"state_dict": weights, ...} of a training run holds beside its weights."""
    if not any(isinstance(content.get(name), Mapping) for name in ("state_dict", *read)):
        return []
    return sorted(str(name) for name in content if name not in ("state_dict", *read))


def _find_source(model: Any) -> Mapping[str, Any]:
    source = model.config.get("avzoo_source") if isinstance(model.config, Mapping) else None
    source = source or getattr(model.config, "avzoo_source", None)
    if source is None:
        raise ValueError("`model` has no record of its source; it must come from `convert_checkpoint`.")
    return source


def _split_parts(row: zoo.Row, checkpoint: CheckpointSource) -> tuple[CheckpointSource, Mapping[str, Any]]:
    """The authors' checkpoint, and the other parts by name."""
    if isinstance(checkpoint, Mapping) and checkpoint and checkpoint.keys() <= row.parts.keys():
        raise ValueError(
            f"only parts of {row.name} are given ({', '.join(checkpoint)}); give the checkpoint, too, in Python as "
            '"checkpoint".'
        )
    if not isinstance(checkpoint, Mapping) or not row.parts or "checkpoint" not in checkpoint:
        return checkpoint, {}
    parts = {name: source for name, source in checkpoint.items() if name != "checkpoint"}
    return checkpoint["checkpoint"], parts


def _check_fields(row: zoo.Row, converter: ModuleType, config: Mapping[str, Any]) -> None:
    """Refuse unknown fields: a config class keeps a misspelt one silently."""
    owner, known = row.title, set(getattr(converter, "CONFIG_FIELDS", ()))  # of several configs
    if not known:
        owner, known = row.config_class, {field.name for field in dataclasses.fields(row.load(row.config_class))}
        known |= {"num_labels"}  # a property of every transformers config
    unknown = sorted(config.keys() - known)
    if unknown:
        raise ValueError(f"`config` has no field {unknown[0]!r}; {owner} has: {', '.join(sorted(known))}.")


__all__ = ["convert_checkpoint", "describe_conversion", "save_converted", "write_converted"]
