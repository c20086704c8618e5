"""Uploads of folders, with cards that name the repository, and with code for programs without avzoo."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avzoo import zoo
from avzoo.hub.errors import explain_hub_errors
from avzoo.hub.standalone import join_modules, write_modules

MODEL_FILE, PIPELINE_FILE, CARD_FILE = "config.json", "model_index.json", "README.md"
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
OF_TRAINING = re.compile(r"checkpoint-\d+|phase-\d+|phases\.json|best|logs|discriminators|\.training-lock|.*\.tmp")
COMPONENT_CODE = '''"""{name}. Its code is in {pipeline}.py, which diffusers imports before it asks for a component."""

import importlib

{name} = importlib.import_module(".{pipeline}", __package__).{name}
'''


def push_folder(folder: str | os.PathLike, repository: str, *, private: bool = False, with_code: bool = False) -> str:
    """Upload a folder that `from_pretrained` loads, in one commit.

    Nothing in the folder changes. In what is uploaded, the card's examples name the repository.

    Args:
        repository: owner/name; without an owner, the user's own. It is made if there is none.
        private: of a repository that is made.
        with_code: upload the code of the model, its processor and its task's pipeline, too, so that programs without
            avzoo can load it with `trust_remote_code=True`. Programs with avzoo use their own.

    Returns:
        Address of the commit.

    Raises:
        FileNotFoundError: the folder holds no model. ValueError: a name, the card or a config of the folder can't be
            read; or, with code, the model is none of the zoo.
        OSError: what the Hub refuses, in one line.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    if not any((folder / name).is_file() for name in (MODEL_FILE, PIPELINE_FILE)):
        raise FileNotFoundError(f"`{folder}` holds no {MODEL_FILE} or {PIPELINE_FILE}; convert or train a model first.")
    api = HfApi()
    check_texts(folder)
    with copy_by_links(folder) as copy:
        if with_code:
            add_code(copy)
        with explain_hub_errors(repository, uploading=True):
            # With the owner's name, where only the repository's was given.
            repository = api.create_repo(repository, private=private, exist_ok=True).repo_id
            name_repository(copy, repository, with_code)
            return str(api.upload_folder(repo_id=repository, folder_path=copy))


def check_texts(folder: Path) -> None:
    """Raise a ValueError that names what the Hub could not read: names of files, the card, the config."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"`{folder}` holds a file whose name is no UTF-8 text, {os.fsencode(name)!r}; rename or move it."
            ) from error
    for name in (MODEL_FILE, PIPELINE_FILE):
        if (folder / name).is_file():
            _read_json(folder / name)
    try:
        if (folder / CARD_FILE).is_file():
            (folder / CARD_FILE).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{folder / CARD_FILE}` is no UTF-8 text ({error.reason}); save it as such.") from error


@contextmanager
def copy_by_links(folder: Path) -> Iterator[Path]:
    """A temporary folder with links to the files of `folder`, and real copies of those that an upload may change.

    What a training leaves beside its model, or beside a part of it, is not in it: checkpoints, phases, the best model,
    logs, discriminators.
    """
    changed = (MODEL_FILE, PIPELINE_FILE, CARD_FILE, *PROCESSOR_FILES)
    with tempfile.TemporaryDirectory() as copy:
        for path in sorted(folder.rglob("*")):
            if any(map(OF_TRAINING.fullmatch, path.relative_to(folder).parts)):
                continue
            target = Path(copy, path.relative_to(folder))
            if path.is_dir():
                target.mkdir()
            elif path.parent == folder and path.name in changed:
                shutil.copyfile(path, target)
            else:
                target.symlink_to(path.resolve())
        yield Path(copy)


def name_repository(folder: Path, repository: str, with_code: bool) -> None:
    """Have the examples of a folder's card load `repository`, and say how to load it where avzoo is not installed."""
    path = folder / CARD_FILE
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    example = re.search(r"""(?:model=|from_pretrained\()["'](\.{0,2}/[^"']*)["']""", text)  # a path, not a name
    if example is not None:
        whole = rf"(?<![\w./-]){re.escape(example[1])}(?![\w/-]|\.\w)"
        text = re.sub(whole, lambda _: repository, text)
    if with_code:
        text = _say_how_to_load_code(text, folder, repository)
    path.write_text(text, encoding="utf-8")


def _say_how_to_load_code(text: str, folder: Path, repository: str) -> str:
    """A card with a section before its second heading, and with the library that loads the repository by its code."""
    library, name, call = _find_loader(folder, repository)
    section = (
        "## Without avzoo\n\n"
        "The code lies beside the weights. Where avzoo is not installed, this runs it; read it first:\n\n"
        f"```python\nfrom {library} import {name}\n\n{call}\n```\n\n"
    )
    text = re.sub(r"^## Without avzoo\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)  # of an earlier push
    text = re.sub(r"^library_name: avzoo$", f"library_name: {library}", text, count=1, flags=re.MULTILINE)
    heading = re.search(r"^## ", text, flags=re.MULTILINE)
    place = heading.start() if heading else len(text)
    return text[:place] + section + text[place:]


def _find_loader(folder: Path, repository: str) -> tuple[str, str, str]:
    """Library, name and call that load a repository by its code."""
    arguments = f'"{repository}", trust_remote_code=True'
    if (folder / PIPELINE_FILE).is_file():
        return "diffusers", "DiffusionPipeline", f"pipe = DiffusionPipeline.from_pretrained({arguments})"
    config = _read_json(folder / MODEL_FILE)
    for task in config.get("custom_pipelines", {}):
        return "transformers", "pipeline", f'run = pipeline("{task}", {arguments})'
    name = next(name for name in config["auto_map"] if name.startswith("AutoModel"))
    return "transformers", name, f"model = {name}.from_pretrained({arguments})"


def add_code(folder: Path) -> None:
    """Write the code of what a folder holds beside its weights, and say so in its JSON files.

    Raises:
        ValueError: what the folder holds is none of the zoo.
    """
    if (folder / PIPELINE_FILE).is_file():
        _add_pipeline_code(folder)
    else:
        _add_model_code(folder)


def _add_model_code(folder: Path) -> None:
    """As transformers finds it: modules of one folder, which `auto_map` and `custom_pipelines` name."""
    from transformers.pipelines import PIPELINE_REGISTRY

    config = _read_json(folder / MODEL_FILE)
    row, models = _find_models(config.get("model_type"))
    classes = {"AutoConfig": next(iter(models.values())).config_class, **models}
    if row.processor_class:
        kind = "AutoFeatureExtractor" if row.processor_class.endswith("FeatureExtractor") else "AutoProcessor"
        classes[kind] = row.load(row.processor_class)
    pipelines = {task.name: row.load(task.pipeline) for task in row.tasks if task.pipeline is not None}
    stems = write_modules({cls.__module__ for cls in (*classes.values(), *pipelines.values())}, folder)

    def refer(cls: type) -> str:
        return f"{stems[cls.__module__]}.{cls.__name__}"

    config["auto_map"] = {kind: refer(cls) for kind, cls in classes.items()}
    if pipelines:
        config["custom_pipelines"] = {
            task: {
                "impl": refer(cls),
                "pt": [auto_class.__name__ for auto_class in PIPELINE_REGISTRY.supported_tasks[task]["pt"]],
            }
            for task, cls in pipelines.items()
        }
    _write_json(folder / MODEL_FILE, config)
    for path in (folder / name for name in PROCESSOR_FILES):
        if path.is_file() and row.processor_class:
            _write_json(path, _read_json(path) | {"auto_map": {kind: config["auto_map"][kind]}})


def _add_pipeline_code(folder: Path) -> None:
    """As diffusers finds it: one file for the pipeline, and one in the folder of each component of the zoo.

    diffusers imports the pipeline's file first, and downloads no other file for a component than its own.
    """
    index = _read_json(folder / PIPELINE_FILE)
    name = index.get("_class_name")
    name = name[-1] if isinstance(name, list) else name  # a list where it came with code
    row = next((row for row in zoo.ROWS if row.diffusion_pipeline == name), None)
    if row is None:
        raise ValueError(f"`{PIPELINE_FILE}` names the pipeline {name!r}, which avzoo has no code of.")
    pipeline = f"pipeline_{row.name}"
    (folder / f"{pipeline}.py").write_text(join_modules(row.load(name).__module__), encoding="utf-8")
    index["_class_name"] = [pipeline, name]
    for component, origin in index.items():
        if isinstance(origin, list) and origin and origin[-1] in row.pipeline_components:
            stem = row.load(origin[1]).__module__.rpartition(".")[2]
            text = COMPONENT_CODE.format(name=origin[1], pipeline=pipeline)
            (folder / component / f"{stem}.py").write_text(text, encoding="utf-8")
            index[component] = [stem, origin[1]]
    _write_json(folder / PIPELINE_FILE, index)


def _find_models(model_type: str | None) -> tuple[zoo.Row, dict[str, type]]:
    """The row of a saved model, and the model classes of its config by their Auto class."""
    for row in zoo.ROWS:
        models = {
            auto_class: row.load(name)
            for auto_class, names in row.auto_classes.items()
            for name in names
            if row.load(name).config_class.model_type == model_type
        }
        if models:
            return row, models
    raise ValueError(f"`{MODEL_FILE}` says model_type {model_type!r}, which avzoo has no code of.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError, too
        raise ValueError(f"`{path.name}` is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"`{path.name}` holds a JSON {type(content).__name__}, expected an object.")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


__all__ = ["add_code", "push_folder"]
