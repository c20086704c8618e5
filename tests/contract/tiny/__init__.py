"""Tiny forms of every network, one file per method or component, each with its entries `TINY` by class name."""

import dataclasses
import importlib
import pkgutil
from typing import Any

import torch

from avzoo import zoo

from .entry import Tiny

TINY: dict[str, Tiny] = {
    name: entry
    for module in pkgutil.iter_modules(__path__)
    if module.name != "entry"
    for name, entry in importlib.import_module(f"{__name__}.{module.name}").TINY.items()
}


def tiny_model(row: zoo.Row, model_class: type | None = None, **overrides: Any) -> Any:
    """The method's task model at tiny size, or `model_class`, weights drawn from one seed, in evaluation mode."""
    model_class = model_class or row.load(row.model_class)
    torch.manual_seed(0)
    config = tiny_config(model_class, **overrides)
    return model_class(config).eval()


def tiny_config(model_class: type, **overrides: Any) -> Any:
    """The config that makes `model_class` tiny, with other values for some fields."""
    fields = {**TINY[model_class.__name__].config, **overrides}
    # A config class keeps a field that it does not know in silence; `num_labels` is a property.
    known = {field.name for field in dataclasses.fields(model_class.config_class)} | {"num_labels"}
    return model_class.config_class(**{name: value for name, value in fields.items() if name in known})
