"""Class names and problem types of a config, and checks of labels before a loss takes them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from avzoo.checks import check_choice

PROBLEM_TYPES = (None, "regression", "single_label_classification", "multi_label_classification")
IGNORED = -100  # class index of an item that does not count, as in transformers and torch


class LabelNamesMixin:
    """A config whose `id2label` and `label2id` agree, whichever of the two is given.

    Overrides given to `from_pretrained` must not move a name to another index: the head's row of that name would stay
    where it is. A name in place of another is a new name of the same row.
    """

    problem_types: ClassVar[tuple[str | None, ...]] = (None,)

    def __post_init__(self, **kwargs):
        if self.id2label is not None or self.label2id is not None:
            self.id2label, self.label2id = pair_label_names(self.id2label, self.label2id)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        given = {name: kwargs.pop(name, None) for name in ("id2label", "label2id")}
        if any(names is not None for names in given.values()):
            pair = dict(zip(given, pair_label_names(**given), strict=True))
            count = kwargs.get("num_labels")
            if count not in (None, len(pair["id2label"])):
                raise ValueError(f"`num_labels` is {count}, but `id2label` names {len(pair['id2label'])} classes.")
            stored = {name: config_dict.get(name) for name in given}
            if any(names is not None for names in stored.values()):
                check_no_name_moves(pair_label_names(**stored)[0], pair["id2label"])
            config_dict = {name: value for name, value in config_dict.items() if name != "num_labels"} | pair
        return super().from_dict(config_dict, **kwargs)

    def validate_label_names(self):
        pair_label_names(self.id2label, self.label2id)

    def validate_problem_type(self):
        check_choice("problem_type", self.problem_type, self.problem_types)


def pair_label_names(
    id2label: Mapping[int | str, str] | None, label2id: Mapping[str, int | str] | None
) -> tuple[dict[int, str], dict[str, int]]:
    """Return `id2label` in the order of the outputs, and `label2id`, from either or both; JSON's keys are strings.

    Raises:
        ValueError: the outputs are not numbered from 0 on, or the two disagree.
    """
    if id2label is None:
        id2label = {index: name for name, index in label2id.items()}
    names = {int(index): name for index, name in sorted(id2label.items(), key=lambda item: int(item[0]))}
    if list(names) != list(range(len(names))):
        raise ValueError(f"`id2label` must name the outputs 0 to {len(names) - 1}, got the keys {list(names)}.")
    if label2id is None:
        return names, {name: index for index, name in names.items()}
    indices = {name: int(index) for name, index in label2id.items()}
    if indices.keys() != set(names.values()) or any(names.get(index) != name for name, index in indices.items()):
        wrong = sorted(set(indices.items()) ^ {(name, index) for index, name in names.items()}, key=str)[0][0]
        raise ValueError(
            f"`label2id` and `id2label` must be each other's inverse, but disagree about {wrong!r}. Pass one of them, "
            "or both for the same classes."
        )
    return names, indices


def check_no_name_moves(stored: Mapping[int, str], names: Mapping[int, str]) -> None:
    """Raise a ValueError if as many classes are named anew, and one of the stored names has another index."""
    if len(stored) != len(names):
        return  # the head has another size, which is an error or told as a new head by transformers
    indices = {name: index for index, name in stored.items()}
    for index, name in names.items():
        if indices.get(name, index) != index:
            raise ValueError(
                f"`id2label` gives {name!r} the index {index}, but the stored head has it at {indices[name]}. Load the "
                "model with its own names; `adapt_to_labels(names)` of a classifier then moves its rows."
            )


def check_whole_labels(labels: torch.Tensor, num_classes: int, name: str = "labels") -> None:
    """Raise unless these are class indices, whole numbers in [0, num_classes) or -100 for what does not count.

    `name` is the argument, for messages.

    Raises:
        TypeError: floating point.
        ValueError: an index out of range; told on a CPU only, as a GPU would have to synchronise.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"`{name}` must be whole numbers, the indices of {num_classes} classes, got {labels.dtype}. Convert them "
            f"with `{name}.long()` if they are."
        )
    if can_read_values(labels):
        wrong = labels[(labels != IGNORED) & ((labels < 0) | (labels >= num_classes))]
        if len(wrong):
            raise ValueError(
                f"`{name}` must be class indices in [0, {num_classes}), or {IGNORED}, got {int(wrong[0])}."
            )


def check_unit_labels(labels: torch.Tensor) -> None:
    """Raise a ValueError unless these are in [0, 1]; told on a CPU only, as a GPU would have to synchronise."""
    if can_read_values(labels) and labels.dtype != torch.bool:
        wrong = labels[~((labels >= 0) & (labels <= 1))]
        if len(wrong):
            raise ValueError(f"`labels` must be in [0, 1], got {wrong[0].item():g}.")


def can_read_values(labels: torch.Tensor) -> bool:
    """Whether values may be looked at: on a CPU, outside of graphs that are being compiled or exported."""
    return labels.device.type == "cpu" and not torch.compiler.is_compiling()
