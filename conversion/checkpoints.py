"""Read the authors' checkpoint files without executing code in them."""

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from avzoo.conversion.array_pickles import read_array_pickle
from avzoo.conversion.file_inspection import RefusedFileError, inspect_file
from avzoo.files import check_readable

CheckpointSource = str | Path | Mapping[str, Any]

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_POINTER = b"version https://git-lfs.github.com/spec/"  # how Git LFS begins the file it leaves
_LARGEST_JSON = 1 << 24  # bytes; parsed, JSON takes some ten times as much


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint and its origin.

    Args:
        content: of the file, usually {key: tensor}.
        name: for messages.
        file: name of the file; None for a mapping in memory.
        sha256: digest of the file; None for a mapping in memory.
        sidecar: content of the JSON files beside the weights, by file name.
    """

    content: Mapping[str, Any]
    name: str
    file: str | None = None
    sha256: str | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the content as {key: tensor}, without the prefix `module.` that parallel training adds to every key.

        Raises:
            ValueError: the content is empty, or a value is not a tensor.
        """
        others = [key for key, value in self.content.items() if not isinstance(value, torch.Tensor)]
        unnamed = [key for key in self.content if not isinstance(key, str)]
        if others or unnamed or not self.content:
            what = f"`{others[0]}` holds a {type(self.content[others[0]]).__name__}" if others else "it is empty"
            what = f"its key {unnamed[0]!r} is no name" if unnamed else what
            raise ValueError(
                f"{self.name}: expected a flat dictionary of tensors, but {what}. "
                "Pass the dictionary of weights itself, or the file of this method."
            )
        if all(key.startswith("module.") for key in self.content):
            return {key.removeprefix("module."): tensor for key, tensor in self.content.items()}
        return dict(self.content)


def read_checkpoint(
    source: CheckpointSource, unpickle_stubs: Sequence[str] = (), settings_files: Sequence[str] = ()
) -> Checkpoint:
    """Read a mapping, a file (.safetensors, or written by torch.save) or a folder in the Hub's layout.

    Args:
        unpickle_stubs: classes and functions, "module.Name", that the authors' file may refer to beside its weights. A
            class that does nothing replaces each; the module is not imported.
        settings_files: names of JSON files that authors put beside theirs, read where they are there. A folder's
            `*config.json` are always read.

    Raises:
        FileNotFoundError: the path does not exist, or the folder holds no weights.
        OSError: the file is truncated or cannot be read.
        ValueError: the file is not a checkpoint, or unpickling it would run arbitrary code.
    """
    if isinstance(source, Mapping):
        return Checkpoint(source, name="checkpoint")
    path = Path(source)
    check_readable(path, "checkpoint")
    if path.is_dir():
        return _read_folder(path)
    content = _read_file(path, unpickle_stubs)
    sidecar = {name: read_json(path.with_name(name)) for name in settings_files if path.with_name(name).is_file()}
    return Checkpoint(content, f"checkpoint `{path.name}`", path.name, compute_sha256([path]), sidecar)


def _read_folder(folder: Path) -> Checkpoint:
    files = [folder / name for name in _FOLDER_FILES if (folder / name).is_file()][:1]
    for index in (folder / name for name in _INDEX_FILES if (folder / name).is_file()):
        if not files:
            weight_map = read_json(index).get("weight_map")
            if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
                raise ValueError(f"`{index}` has no `weight_map` from tensors to files.")
            shards = sorted(set(weight_map.values()))
            # A shard is a file name in the index's folder; a path could lead out of it.
            bad = [shard for shard in shards if Path(shard).name != shard or shard in ("", "..")]
            if bad:
                raise ValueError(f"`{index}` points outside its folder: {bad[0]!r}.")
            files = [folder / shard for shard in shards]
    if not files:
        raise FileNotFoundError(
            f"folder `{folder}` holds no weights; looked for {', '.join(_FOLDER_FILES + _INDEX_FILES)}."
        )
    sidecars = [path for path in sorted(folder.glob("*config.json")) if path.is_file()]
    for file in (*files, *sidecars):
        refuse_outside(file, folder)
    sidecar = {path.name: read_json(path) for path in sidecars}
    content: dict[str, Any] = {}
    for file in files:
        shard = _read_file(file)
        twice = next((key for key in shard if key in content), None)
        if twice is not None:
            raise ValueError(f"checkpoint folder `{folder}`: `{twice}` is in several shards, `{file.name}` among them.")
        content.update(shard)
    return Checkpoint(content, f"checkpoint folder `{folder.name}`", folder.name, compute_sha256(files), sidecar)


def refuse_outside(file: Path, folder: Path) -> None:
    """Raise a ValueError for a link out of the folder."""
    root = folder.resolve()
    # A cache of the Hub links from `snapshots` to its own `blobs`.
    if root.parent.name == "snapshots" and (root.parents[1] / "blobs").is_dir():
        root = root.parents[1]
    if not file.resolve().is_relative_to(root):
        raise ValueError(f"`{file}` is a link out of its folder, to `{file.resolve()}`; put the file itself there.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        ValueError: it is no JSON object, holds a number that is not finite, is nested too deeply or has over 16 MB.
    """
    size = path.stat().st_size
    if size > _LARGEST_JSON:
        raise ValueError(f"`{path}` has {size} bytes of JSON, expected at most {_LARGEST_JSON}.")

    def refuse(constant: str) -> None:
        raise ValueError(f"it holds {constant}, which is no number")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except RecursionError as error:
        raise ValueError(f"`{path}` is not valid JSON: it is nested too deeply.") from error
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise ValueError(f"`{path}` is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"`{path}` holds a JSON {type(content).__name__}, expected an object.")
    return content


def refuse_pointer(path: Path) -> None:
    """Raise an OSError if a file is what `git clone` leaves of a large one where Git LFS is not installed."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise OSError(
                f"`{path}` is a pointer of Git LFS and holds no weights: run `git lfs pull` in its repository, or "
                "download the file itself."
            )


def _read_file(path: Path, unpickle_stubs: Sequence[str] = ()) -> Mapping[str, Any]:
    refuse_pointer(path)
    if path.suffix == ".pkl" and not _is_of_torch(path):
        content = read_array_pickle(path)
        if not isinstance(content, Mapping):
            raise ValueError(f"checkpoint `{path.name}` holds a {type(content).__name__}, not a dictionary.")
        return content
    if path.suffix != ".safetensors":
        _inspect_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([(_make_stub(name), name) for name in unpickle_stubs]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        if _looks_like_pickle(path):
            raise ValueError(
                f"checkpoint `{path.name}` needs arbitrary Python objects to be unpickled, which could run code; it is "
                "not opened. If you trust it, load it in a separate process and save its tensors as .safetensors. "
                f"({str(error).splitlines()[0]})"
            ) from error
        raise ValueError(f"`{path}` is not a checkpoint that torch.save or safetensors wrote.") from error
    except Exception as error:  # a damaged pickle raises anything: KeyError, IndexError, UnicodeDecodeError, ...
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"checkpoint `{path.name}` holds a {type(content).__name__}, not a dictionary of tensors.")
    _refuse_meta_tensors(content, path)
    return content


def _is_of_torch(path: Path) -> bool:
    """Whether a file is an archive, as torch.save writes."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _make_stub(name: str) -> type:
    """A class that takes any arguments and any state, and keeps none."""
    ignore_all = {"__init__": lambda *arguments: None, "__setstate__": lambda *arguments: None}
    return type(name, (), ignore_all)


def _inspect_file(path: Path) -> None:
    """[`inspect_file`], telling a damaged file from one that is none of torch's."""
    try:
        inspect_file(path)
    except (FileNotFoundError, RefusedFileError):
        raise
    except Exception as error:
        if _looks_like_pickle(path):
            raise _damaged(path, error) from error
        raise ValueError(f"`{path}` is not a checkpoint that torch.save or safetensors wrote.") from error


def _damaged(path: Path, error: Exception) -> OSError:
    reason = (str(error).splitlines() or ["the file ends early"])[0]
    return OSError(f"checkpoint `{path}` cannot be read, it is cut short or damaged: {reason}")


def _refuse_meta_tensors(content: Mapping[str, Any], path: Path) -> None:
    """Refuse tensors that have a shape and no values, in nested dictionaries and lists, too."""
    waiting: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, torch.Tensor) and value.is_meta:
            raise ValueError(f"checkpoint `{path.name}`: `{name}` is a meta tensor, which has a shape and no values.")
        if isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [(f"{name}.{key}" if name else str(key), item) for key, item in items]


def _looks_like_pickle(path: Path) -> bool:
    """Whether a file starts like a zip archive or a pickle of protocol 2 or later."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def compute_sha256(files: list[Path]) -> str:
    """SHA-256 digest of the concatenated files, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()
