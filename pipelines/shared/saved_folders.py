"""Loading of saved folders that refuses what the libraries let pass, or answer with a page of text.

transformers and diffusers only log that weights are missing, and draw them at random. Here a folder is compared with
its config first: names and shapes are read off the headers of its files, the network is built without memory.
"""

import contextlib
import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from avzoo import zoo
from avzoo.conversion.checkpoints import read_checkpoint, read_json, refuse_outside, refuse_pointer
from avzoo.hub.errors import explain_hub_errors
from avzoo.models.layers.without_memory import build_without_memory

_LIBRARIES = ("avzoo", "diffusers", "transformers")
_MOST_FROZEN = 1000  # tensors of a frozen network that a folder names
_STEMS = ("model", "pytorch_model", "diffusion_pytorch_model")


def load_task_pipeline(
    task: str, model: str | os.PathLike, device: Any = None, revision: str | None = None, **options: Any
) -> Any:
    """`transformers.pipeline(task, model)` of a folder whose weights are all there, finite, and of the config's shapes.

    Args:
        model: folder or Hub id.
        revision: of a repository on the Hub.
        options: of the pipeline.

    Raises:
        OSError, ValueError: it can't be loaded; the message names the folder, and the first tensor that does not fit.
    """
    import transformers

    with explain_damage(model), explain_hub_errors(model, revision=revision):
        if Path(model).is_dir():
            _check_task_model(task, Path(model))
        pipe = transformers.pipeline(task, model=os.fspath(model), revision=revision, device=device, **options)
        if not Path(model).is_dir():  # in the cache now
            config = transformers.utils.cached_file(os.fspath(model), "config.json", revision=revision)
            _check_task_model(task, Path(config).parent)
    return pipe


def load_checked_model(auto_class: type, model: str | os.PathLike, **options: Any) -> Any:
    """A model of the zoo, from a folder whose weights are checked as in [`load_task_pipeline`].

    Args:
        auto_class: of transformers, such as `AutoModel`.
        model: folder or Hub id.
        options: of `from_pretrained`.

    Raises:
        OSError, ValueError: as [`load_task_pipeline`].
    """
    import transformers

    with explain_damage(model), explain_hub_errors(model):
        if Path(model).is_dir():
            _check_auto_model(auto_class, Path(model))
        loaded = auto_class.from_pretrained(model, **options)
        if not Path(model).is_dir():  # in the cache now
            _check_auto_model(auto_class, Path(transformers.utils.cached_file(os.fspath(model), "config.json")).parent)
    return loaded


def load_checked_pipeline(
    pipeline_class: type, model: str | os.PathLike, revision: str | None = None, **options: Any
) -> Any:
    """A diffusers pipeline of a folder whose components are all there, and their weights as in [`load_task_pipeline`].

    Args:
        model: folder or Hub id.
        revision: of a repository on the Hub.
        options: of `from_pretrained`.

    Raises:
        OSError, ValueError: it can't be loaded, or names classes that are no components.
    """
    with explain_damage(model), explain_hub_errors(model, revision=revision):
        is_here = Path(model).is_dir()
        folder = model if is_here else pipeline_class.download(os.fspath(model), revision=revision)
        check_pipeline_folder(pipeline_class, Path(folder))
        return pipeline_class.from_pretrained(model, revision=revision, **options)


def check_detector_folder(folder: Path) -> None:
    """Check the weights of a converted S3FD.

    Raises:
        OSError, ValueError: as [`load_task_pipeline`].
    """
    from avzoo.models.s3fd import S3FDConfig, S3FDForFaceDetection

    with explain_damage(folder):
        model_type = _read_config(folder).get("model_type")
        if model_type != S3FDConfig.model_type:
            raise ValueError(f"`{folder}` holds no S3FD: its config.json is of a {str(model_type)[:100]!r}.")
        check_weights(S3FDForFaceDetection, folder)


def check_pipeline_folder(pipeline_class: type, folder: Path) -> None:
    """Check `model_index.json` and the weights of every component.

    Raises:
        OSError, ValueError: a file is missing or damaged, a component is of no class of a known library, lies outside
            of the folder, or lacks weights.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(f"`{folder}` holds no model_index.json.")
    read_json(index)
    stated = pipeline_class._dict_from_json_file(index)  # code beside the weights counts as the installed classes
    if stated.get("_class_name") != pipeline_class.__name__:
        raise ValueError(
            f"`{index}` is of a {str(stated.get('_class_name'))[:100]!r}, expected {pipeline_class.__name__!r}."
        )
    names = {name for name in inspect.signature(pipeline_class.__init__).parameters if name != "self"}
    for name, entry in stated.items():
        if isinstance(entry, list) and len(entry) == 2 and entry != [None, None]:
            if name not in names:
                raise ValueError(f"`{index}` names {name[:100]!r}, which is no component of {pipeline_class.__name__}.")
            component_class = _find_component_class(name, entry, index)
            refuse_outside(folder / name, folder)
            if not (folder / name).is_dir():
                raise FileNotFoundError(f"`{folder}` lacks the folder of its component `{name}`.")
            for path in (folder / name).glob("*config.json"):
                read_json(path)
            if issubclass(component_class, torch.nn.Module):
                # Those of other libraries may be saved under other names than they have in memory.
                check_weights(component_class, folder / name, may_be_renamed=entry[0] == "transformers")


def _find_component_class(name: str, entry: list[Any], index: Path) -> type:
    """The class of an entry [library, class], without importing any other library."""
    library, class_name = entry
    found = None
    if library in _LIBRARIES and isinstance(class_name, str) and not class_name.startswith("_"):
        with contextlib.suppress(ValueError, AttributeError):
            found = getattr(__import__(library), class_name, None)
    if not isinstance(found, type) or not hasattr(found, "from_pretrained"):
        raise ValueError(
            f"`{index}`: the component `{name}` is stated to be {str(entry)[:100]}, which is no class of "
            f"{', '.join(_LIBRARIES)} that can be loaded."
        )
    return found


def _check_task_model(task: str, folder: Path) -> None:
    """Check the weights of a method's folder; any other model is transformers' own business."""
    model_type = _read_config(folder).get("model_type")
    for path in folder.glob("*config.json"):
        read_json(path)
    for row in zoo.ROWS:
        if task in [own.name for own in row.tasks]:
            *_, names = row.auto_classes.values()  # the base comes first
            for model_class in map(row.load, names):
                if model_class.config_class.model_type == model_type:
                    check_weights(model_class, folder)


def _check_auto_model(auto_class: type, folder: Path) -> None:
    """Check the weights of what `auto_class` loads; a class that is none of the zoo is transformers' own business."""
    model_type = _read_config(folder).get("model_type")
    for row in zoo.ROWS:
        for model_class in map(row.load, row.auto_classes.get(auto_class.__name__, ())):
            if model_class.config_class.model_type == model_type:
                check_weights(model_class, folder)


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"`{folder}` holds no config.json; is it a folder that `avzoo convert` wrote?")
    return read_json(folder / "config.json")


def check_weights(model_class: type, folder: Path, *, may_be_renamed: bool = False) -> None:
    """Compare the weights of a folder with its config, without memory for them.

    Args:
        model_class: of transformers or diffusers.
        may_be_renamed: names may differ from those in memory; only tensors whose name is known are compared.

    Raises:
        OSError: weights are missing or damaged. ValueError: names, shapes or values that no loaded model should have.
    """
    files = _list_weight_files(folder)
    found = {key: shape for path in files for key, shape in _read_shapes(path).items()}
    elsewhere = _list_frozen_parts(folder)
    with build_without_memory(len(found) + _MOST_FROZEN * len(elsewhere), f"`{folder}`"):
        if hasattr(model_class, "from_config"):  # of diffusers
            model = model_class.from_config(model_class.load_config(folder))
        else:
            model = model_class(model_class.config_class.from_pretrained(folder))
    expected = model.state_dict()
    prefix = f"{getattr(model_class, 'base_model_prefix', '')}."  # which a head has before its network's names

    def find_name(key: str) -> str:
        """What a tensor is called in the model: a network loads from a folder of it with a head, and the reverse."""
        return next((name for name in (key, prefix + key, key.removeprefix(prefix)) if name in expected), key)

    shapes = {find_name(key): shape for key, shape in found.items()}
    for key, tensor in expected.items():
        if key in shapes and tuple(tensor.shape) != shapes[key]:
            raise ValueError(
                f"`{folder}`: its weights don't fit its config.json: `{key}` has the shape {shapes[key]} among the "
                f"weights, {tuple(tensor.shape)} by the config."
            )
    missing = [key for key in expected if key not in shapes and not key.startswith(elsewhere)]
    if missing and not may_be_renamed:
        raise ValueError(
            f"`{folder}` lacks {len(missing)} of the {len(expected)} tensors of {model_class.__name__} "
            f"(`{missing[0]}`{', ...' if len(missing) > 1 else ''}): they would be random. Convert it again."
        )
    for path in files:
        for key, tensor in _iter_tensors(path):
            if find_name(key) in expected:
                _check_values(path, key, tensor, expected[find_name(key)])


def _list_frozen_parts(folder: Path) -> tuple[str, ...]:
    """Beginnings of the names of weights that a config says are kept elsewhere; they are checked as they are loaded."""
    path = folder / "config.json"
    parts = read_json(path).get("frozen_parts") if path.is_file() else None
    return tuple(f"{part}." for part in parts) if isinstance(parts, Mapping) else ()


def _check_values(path: Path, key: str, tensor: torch.Tensor, expected: torch.Tensor) -> None:
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ValueError(f"`{path}`: `{key}` has values of {tensor.dtype}, expected {expected.dtype}.")
    if not tensor.is_floating_point():
        return
    tensor = tensor.float() if tensor.dtype == torch.float64 else tensor  # as it will be loaded
    if not tensor.isfinite().all():
        count = int(tensor.isfinite().logical_not().sum())
        raise ValueError(f"`{path}` is damaged: `{key}` has {count} values that are NaN or infinite.")


def _list_weight_files(folder: Path) -> list[Path]:
    for stem in _STEMS:
        for ending in ("safetensors", "bin"):
            if (folder / f"{stem}.{ending}").is_file():
                return [folder / f"{stem}.{ending}"]
            index = folder / f"{stem}.{ending}.index.json"
            if index.is_file():
                return _list_shards(index)
    raise FileNotFoundError(f"`{folder}` holds no weights, such as model.safetensors.")


def _list_shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, Mapping) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"`{index}` has no `weight_map` from tensors to files.")
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise FileNotFoundError(f"`{index}` names {name[:100]!r}, which is no file in its folder.")
    return [index.parent / name for name in names]


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if path.suffix != ".safetensors":
        return {key: tuple(tensor.shape) for key, tensor in read_checkpoint(path).state_dict().items()}
    with _open(path) as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def _iter_tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix != ".safetensors":
        yield from read_checkpoint(path).state_dict().items()
        return
    with _open(path) as file:
        for key in file.keys():  # noqa: SIM118
            yield key, file.get_tensor(key)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    refuse_pointer(path)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise OSError(f"`{path}` cannot be read, it is cut short or damaged: {error}") from error


@contextlib.contextmanager
def explain_damage(name: str | os.PathLike) -> Iterator[None]:
    """Inside, whatever a library raises for a damaged folder names it, in one line, as an OSError or a ValueError."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # a dozen classes: SafetensorError, RuntimeError, KeyError, StrictDataclassError, ...
        if isinstance(error, ValueError | OSError) and os.fspath(name) in str(error):
            raise
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        kind = ValueError if isinstance(error, ValueError | TypeError) else OSError
        raise kind(f"`{os.fspath(name)}` cannot be loaded: {reason}") from error


__all__ = [
    "check_detector_folder",
    "check_pipeline_folder",
    "check_weights",
    "explain_damage",
    "load_checked_model",
    "load_checked_pipeline",
    "load_task_pipeline",
]
