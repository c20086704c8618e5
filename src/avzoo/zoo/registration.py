"""Registration of the zoo with transformers' Auto classes and task pipelines, and with diffusers.

Importing transformers takes seconds, and a program that only lists the zoo or parses its arguments should not wait for
it. So this module imports neither transformers nor diffusers. It watches for the import of the modules that hold their
registries, and enters the rows of the zoo once no module of transformers, diffusers or this package is still being
imported: our classes can't be created before. If a registry is imported already, the rows are entered at once.
"""

import importlib.abc
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from avzoo import zoo


def register_everywhere() -> None:
    """Enter every row of the zoo, now or as soon as the registries of transformers and diffusers are imported."""
    sys.meta_path.insert(0, _ImportWatcher(("transformers", "diffusers", "avzoo"), _register_with_imported))
    _register_with_imported()


def _load_models(row: zoo.Row) -> dict[str, list[type]]:
    """Auto class -> the model classes it finds."""
    return {auto_class: [row.load(name) for name in names] for auto_class, names in row.auto_classes.items()}


def _list_config_classes(row: zoo.Row) -> list[type]:
    return list(
        dict.fromkeys(model_class.config_class for models in _load_models(row).values() for model_class in models)
    )


class _CodeInRepository:
    """A field that names code beside the weights. An installed class is that code, so it neither keeps nor saves it.

    Otherwise transformers would run the repository's pipeline class, or demand `trust_remote_code=True`.
    """

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        raise AttributeError("the class is installed; no code beside the weights is used.")

    def __set__(self, owner: Any, value: Any) -> None:
        pass


def _register_configs(module: ModuleType, row: zoo.Row) -> None:
    for config_class in _list_config_classes(row):
        module.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        config_class.auto_map = config_class.custom_pipelines = _CodeInRepository()


def _register_processor(module: ModuleType, row: zoo.Row, auto_class: str, kind: str) -> None:
    if row.processor_class and row.processor_class.endswith(kind):
        processor_class = row.load(row.processor_class)
        processor_class.auto_map = _CodeInRepository()
        for config_class in _list_config_classes(row):
            getattr(module, auto_class).register(config_class, processor_class, exist_ok=True)


def _register_models(module: ModuleType, row: zoo.Row) -> None:
    for auto_class, model_classes in _load_models(row).items():
        for model_class in model_classes:
            getattr(module, auto_class).register(model_class.config_class, model_class, exist_ok=True)


def _register_task_pipelines(module: ModuleType, row: zoo.Row) -> None:
    tasks = [task for task in row.tasks if task.pipeline is not None]
    for task in tasks:
        row.load(task.pipeline).register(module.PIPELINE_REGISTRY)
    if not isinstance(module.get_task, _TaskFinder):
        module.get_task = _TaskFinder(module.get_task)
    module.get_task.tasks |= {
        config_class.model_type: task.name for task in tasks[:1] for config_class in _list_config_classes(row)
    }


class _TaskFinder:
    """The function by which `pipeline(model=name)` finds the task.

    transformers' own asks the Hub, and answers for its own models only.

    Args:
        find_stock_task: transformers' own.
    """

    def __init__(self, find_stock_task: Callable[..., str]):
        self.find_stock_task = find_stock_task
        self.tasks: dict[str, str] = {}  # model type -> task

    def __call__(self, model: str, token: str | None = None, **kwargs: Any) -> str:
        from transformers import PreTrainedConfig

        config, _ = PreTrainedConfig.get_config_dict(model, token=token)  # as it is; a config class may be code to run
        return self.tasks.get(config.get("model_type")) or self.find_stock_task(model, token, **kwargs)


def _register_diffusion_pipeline(module: ModuleType, row: zoo.Row) -> None:
    """Enter a diffusers pipeline and its components where diffusers looks for them.

    It finds pipelines among its own attributes only, and components in the libraries of its own lists only. A component
    of such a library is saved by its public name, one of any other library by its module, which could then never move.
    """
    if row.diffusion_pipeline is None:
        return
    setattr(sys.modules["diffusers"], row.diffusion_pipeline, row.load(row.diffusion_pipeline))
    loading = sys.modules["diffusers.pipelines.pipeline_loading_utils"]
    components = {name: ["save_pretrained", "from_pretrained"] for name in row.pipeline_components}
    loading.LOADABLE_CLASSES.setdefault("avzoo", {}).update(components)
    loading.ALL_IMPORTABLE_CLASSES.update(components)
    _use_installed_classes(module.DiffusionPipeline, row)


def _use_installed_classes(base: type, row: zoo.Row) -> None:
    """Read a `model_index.json` that names code beside the weights as if it named the installed classes."""
    read_stock = base._dict_from_json_file

    def read(cls: type, path: Any) -> dict[str, Any]:
        index = read_stock(path)
        name = index.get("_class_name") if isinstance(index, dict) else None
        if isinstance(name, list) and name[-1:] == [row.diffusion_pipeline]:
            index["_class_name"] = row.diffusion_pipeline
            for component, origin in index.items():
                if isinstance(origin, list) and origin and origin[-1] in row.pipeline_components:
                    index[component] = ["avzoo", origin[-1]]
        return index

    base._dict_from_json_file = classmethod(read)


_REGISTER: dict[str, Callable[[ModuleType, zoo.Row], None]] = {
    "transformers.models.auto.configuration_auto": _register_configs,
    "transformers.models.auto.feature_extraction_auto": partial(
        _register_processor, auto_class="AutoFeatureExtractor", kind="FeatureExtractor"
    ),
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.processing_auto": partial(
        _register_processor, auto_class="AutoProcessor", kind="Processor"
    ),
    "transformers.pipelines": _register_task_pipelines,
    "diffusers.pipelines.pipeline_utils": _register_diffusion_pipeline,
}
_done: set[str] = set()


def _register_with_imported() -> None:
    """Enter every row in the registries that have been imported since the last call."""
    for name, register in _REGISTER.items():
        if name in sys.modules and name not in _done:
            _done.add(name)  # first, because loading our classes may import another registry
            for row in zoo.ROWS:
                register(sys.modules[name], row)


class _ImportWatcher(importlib.abc.MetaPathFinder):
    """Calls `callback` after each outermost import of a module of `packages`."""

    def __init__(self, packages: tuple[str, ...], callback: Callable[[], None]):
        self.packages, self.callback, self.depth = packages, callback, 0

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in self.packages:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                # A loader belongs to one module, so its method can be replaced without touching any other import.
                spec.loader.exec_module = self.watch(spec.loader.exec_module)
                return spec
        return None

    def watch(self, exec_module: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def execute(module: ModuleType) -> None:
            self.depth += 1
            try:
                exec_module(module)
            finally:
                self.depth -= 1
            if self.depth == 0:
                self.callback()

        return execute
