"""What a row of the zoo says about a method: plain data, without torch or transformers."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class License:
    """Terms of one thing. `identifier` is the Hub's (SPDX in lower case, "other", "unknown")."""

    identifier: str
    commercial_use: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Variant:
    """A released checkpoint, or a kind of file, that a method's converter understands.

    Args:
        checkpoint: file name of the authors' checkpoint, if one was released.
        config: config fields that can't be inferred from the checkpoint's tensor shapes.
        labels: name of its list of class names.
        processor: arguments of its processor.
        training_data: the dataset's name on the Hub, else the authors' name for it.
    """

    name: str
    summary: str
    checkpoint: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    labels: str | None = None
    processor: Mapping[str, Any] = field(default_factory=dict)
    training_data: str | None = None


@dataclass(frozen=True)
class Part:
    """Third-party component that a pipeline needs, or a model can have, besides the authors' checkpoint.

    Args:
        repository: on the Hub.
        holds: the networks and tokenizers taken from it.
        license: its terms.
    """

    repository: str
    holds: str
    license: License


@dataclass(frozen=True)
class Task:
    """A task that a method serves.

    Args:
        name: of the pipeline, and the word after `avzoo run`.
        pipeline: public name of the class that serves it in `transformers.pipeline`; None if a diffusers pipeline does.
        command: module under `avzoo` whose `COMMAND` is the task's part of `avzoo run`.
        demo: module under `avzoo` whose function `demo` shows the task.
    """

    name: str
    pipeline: str | None = None
    command: str | None = None
    demo: str | None = None

    def load_command(self) -> Any:
        """Import the task's [`avzoo.pipelines.shared.commands.TaskCommand`]."""
        return importlib.import_module(f"avzoo.{self.command}").COMMAND


@dataclass(frozen=True)
class Row:
    """One published method, or a network that methods need.

    Args:
        name: folder under `models/`, name of the card, and the word the command line takes.
        paper: arXiv number.
        repository: source of the facts about the released weights, owner/name@commit.
        tasks: what it is for; the first one is its main task.
        pipeline_tag: nearest tag on the Hub's list.
        exports: module under `avzoo` -> public names it holds; they are also reachable as `avzoo.<name>`.
        config_class, model_class, processor_class: names among `exports` or `stock_classes`; `model_class` does the
            main task. For a diffusers pipeline: the method's own network in that pipeline.
        auto_classes: transformers' Auto class -> names of the model classes it finds, one for each config class.
        diffusion_pipeline: name among `exports` of the diffusers pipeline that does the task.
        stock_classes: module of another library -> names of its classes that weights are converted to. They are no
            public names of this package, and that library finds them.
        pipeline_components: names among `exports` of the classes that a diffusers pipeline saves and loads.
        parts: third-party components, by name; what `avzoo convert --part NAME=PATH` takes.
        licenses: terms of "code", "weights" (everything in a converted folder) and "data" as the owners state them.
    """

    name: str
    title: str
    summary: str
    paper: str
    paper_title: str
    repository: str
    tasks: tuple[Task, ...]
    pipeline_tag: str
    tags: tuple[str, ...]
    exports: Mapping[str, tuple[str, ...]]
    config_class: str
    model_class: str
    processor_class: str | None
    auto_classes: Mapping[str, tuple[str, ...]]
    licenses: Mapping[str, License]
    diffusion_pipeline: str | None = None
    pipeline_components: tuple[str, ...] = ()
    stock_classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    metrics: tuple[str, ...] = ()

    def load(self, name: str) -> Any:
        """Import the class or function `name` of this row."""
        for module, names in self.exports.items():
            if name in names:
                return getattr(importlib.import_module(f"avzoo.{module}"), name)
        for module, names in self.stock_classes.items():
            if name in names:
                return getattr(importlib.import_module(module), name)
        raise AttributeError(f"{self.name} has no public name {name!r}; it has {', '.join(self.public_names)}.")

    @property
    def task(self) -> str:
        """Name of the main task."""
        return self.tasks[0].name

    @property
    def public_names(self) -> tuple[str, ...]:
        return tuple(name for names in self.exports.values() for name in names)

    @property
    def commercial_use(self) -> bool | None:
        """Whether code, weights and data all allow commercial use; None if an owner does not say."""
        answers = [terms.commercial_use for terms in self.licenses.values()]
        return False if False in answers else None if None in answers else True

    def find_variant(self, name: str) -> Variant:
        """The variant called `name`.

        Raises:
            ValueError: there is none; the message lists the known ones.
        """
        return find_by_name(self.variants, name, f"variant of {self.name}")


def find_by_name(entries: tuple, name: str, kind: str) -> Any:
    """The entry called `name`; a ValueError lists the known ones, which it calls `kind`."""
    for entry in entries:
        if entry.name == name:
            return entry
    raise ValueError(f"no {kind} is called {name!r}; there are: {', '.join(entry.name for entry in entries)}.")
