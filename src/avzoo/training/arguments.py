"""What steers a training run, in Python and on the command line."""

import argparse
import dataclasses
import math
import os
import types
import typing
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import parse_flag_from_env


def _argument(default: Any, help: str, *, at_least=None, more_than=None, below=None, same_on_resume: bool = True):
    """A field with its help text, its range, and whether a resumed run must keep its value."""
    metadata = {
        "help": help,
        "at_least": at_least,
        "more_than": more_than,
        "below": below,
        "same_on_resume": same_on_resume,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass
class TrainingArguments:
    """Arguments of [`train`]; each is a field here and a flag on the command line, its meaning is in its `help`.

    Raises:
        ValueError: a value is of the wrong type or out of its range; the message names the field.
    """

    output_dir: str = dataclasses.field(
        metadata={"help": "folder for checkpoints and the trained model", "same_on_resume": False}
    )

    # How long, how much at a time
    num_epochs: float = _argument(1, "passes over the dataset; a fraction is allowed", more_than=0)
    max_steps: int | None = _argument(None, "optimizer steps in all; overrides num_epochs", at_least=1)
    batch_size: int = _argument(8, "samples per process and forward pass", at_least=1)
    gradient_accumulation_steps: int | None = _argument(
        None, "forward passes per optimizer step; none: as accelerate was launched, else 1", at_least=1
    )

    # Optimizer
    optimizer: Literal["adamw", "adam", "muon"] = _argument(
        "adamw", "adam adds weight_decay to the gradient, adamw doesn't; muon: for layers' matrices, adamw for the rest"
    )
    learning_rate: float = _argument(1e-4, "peak learning rate", at_least=0)
    adam_beta1: float = _argument(0.9, "decay of the gradient's mean", at_least=0, below=1)
    adam_beta2: float = _argument(0.999, "decay of the squared gradient's mean", at_least=0, below=1)
    weight_decay: float = _argument(0.0, "weight decay, of every trainable parameter", at_least=0)
    max_gradient_norm: float | None = _argument(1.0, "clip the gradient to this norm; none: don't", more_than=0)

    # Learning-rate schedule
    schedule: Literal["constant", "linear", "cosine", "one_cycle", "step", "exponential"] = _argument(
        "constant", "how the learning rate moves; linear, cosine and one_cycle end near 0 at the last step"
    )
    warmup_steps: int = _argument(0, "optimizer steps of linear warm-up (one_cycle: until its peak)", at_least=0)
    schedule_milestones: tuple[float, ...] = _argument((), "schedule step: epochs before the rate drops", more_than=0)
    schedule_factor: float = _argument(
        0.5, "schedule step: what a milestone multiplies the rate by; exponential: what an epoch does", more_than=0
    )

    # Numerics
    mixed_precision: Literal["no", "fp16", "bf16"] | None = _argument(
        None, "autocast the model's forward pass (default: as accelerate was launched, else no)"
    )
    gradient_checkpointing: bool = _argument(False, "recompute activations to save memory", same_on_resume=False)
    ema_decay: float | None = _argument(
        None, "keep a moving average of the weights; it is what gets evaluated and saved", more_than=0, below=1
    )
    find_unused_parameters: bool = _argument(
        False, "several processes: let a step leave parameters without gradient", same_on_resume=False
    )
    seed: int = _argument(0, "seed of order, dropout and augmentation", at_least=0)
    cpu: bool = _argument(False, "stay on the CPU, as `accelerate launch --cpu` does too", same_on_resume=False)

    # Data
    shuffle: bool = _argument(True, "new order every epoch (a stream shuffles itself)")
    drop_last: bool = _argument(False, "leave out the last, smaller batch of an epoch")
    num_workers: int = _argument(0, "processes that load data, per training process", at_least=0, same_on_resume=False)

    # Evaluation and checkpoints
    evaluate_every_epochs: int | None = _argument(None, "also evaluate then", at_least=1, same_on_resume=False)
    evaluate_every_steps: int | None = _argument(None, "also evaluate then", at_least=1, same_on_resume=False)
    metric_for_best_model: str | None = _argument(None, "keep the best model by this metric in output_dir/best")
    greater_is_better: bool = _argument(True, "direction of metric_for_best_model")
    checkpoint_every_steps: int | None = _argument(
        None, "write a checkpoint to resume from; none: never", at_least=1, same_on_resume=False
    )
    keep_checkpoints: int = _argument(2, "delete older ones", at_least=1, same_on_resume=False)
    resume: str = _argument(
        "auto", "auto: newest checkpoint of output_dir, if any; never; or a folder", same_on_resume=False
    )

    # Reports
    progress_bar: bool = _argument(True, "show a bar on stderr", same_on_resume=False)
    print_metrics: bool = _argument(True, "print each evaluation on stderr, and what is resumed", same_on_resume=False)
    log_every_steps: int = _argument(10, "steps per logged mean", at_least=1, same_on_resume=False)
    report_to: tuple[str, ...] = _argument((), "trackers of accelerate (tensorboard, wandb, ...)", same_on_resume=False)
    push_to_hub: bool = _argument(False, "upload the trained model", same_on_resume=False)
    hub_model_id: str | None = _argument(None, "repository; none: the name of output_dir", same_on_resume=False)
    hub_private: bool = _argument(False, "make a new repository private", same_on_resume=False)

    def __post_init__(self):
        if isinstance(self.report_to, str):
            self.report_to = () if self.report_to in ("", "none") else (self.report_to,)
        self.report_to, self.schedule_milestones = tuple(self.report_to), tuple(self.schedule_milestones)
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if not self.output_dir:
            raise ValueError("`output_dir` is empty; name a folder.")
        if (self.schedule == "step") != bool(self.schedule_milestones):
            raise ValueError(
                f"`schedule_milestones` ({self.schedule_milestones}) and `schedule` ({self.schedule!r}): "
                'milestones are what schedule="step" needs, and no other schedule reads.'
            )

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser, **defaults: Any) -> argparse.ArgumentParser:
        """Add one flag per field. `defaults` replace those of this class, for an example that knows its paper's."""
        unknown = set(defaults) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"`defaults`: {sorted(unknown)} are no training arguments.")
        group = parser.add_argument_group("training")
        for field in dataclasses.fields(cls):
            default = defaults.get(field.name, field.default)
            if field.name == "schedule_milestones":
                default = _DefaultMilestones(default)
            flag, options = f"--{field.name}", {"default": default, "help": field.metadata["help"]}
            kind, optional, many = _unwrap_type(field)
            if kind is bool:
                group.add_argument(flag, action="store_true", **options)
                group.add_argument(f"--no_{field.name}", dest=field.name, action="store_false", help=argparse.SUPPRESS)
                continue
            options["help"] += "" if default in (None, (), dataclasses.MISSING) else " (%(default)s)"
            if default is dataclasses.MISSING:
                del options["default"]
                options["required"] = True
            if typing.get_origin(kind) is Literal:
                options["choices"] = typing.get_args(kind)
            else:
                options["type"] = _make_optional_converter(kind) if optional else kind
                options["metavar"] = kind.__name__.upper()
            group.add_argument(flag, nargs="*" if many else None, **options)
        return parser

    @classmethod
    def from_namespace(cls, namespace: argparse.Namespace) -> "TrainingArguments":
        """Pick the training arguments out of what the parser read; others are left alone.

        Milestones that are a script's default go with its default schedule: another one that is asked for drops them.
        """
        values = {field.name: getattr(namespace, field.name) for field in dataclasses.fields(cls)}
        if values["schedule"] != "step" and isinstance(values["schedule_milestones"], _DefaultMilestones):
            values["schedule_milestones"] = ()
        return cls(**values)

    @classmethod
    def list_other_options(cls, namespace: argparse.Namespace) -> dict[str, Any]:
        """What the parser read beside the training arguments, for `options` of [`train`]; `toy...` is left out."""
        own = {field.name for field in dataclasses.fields(cls)}
        others = {name: value for name, value in vars(namespace).items() if name not in own and name[:3] != "toy"}
        return {name: _make_plain(value) for name, value in others.items()}

    @classmethod
    def list_fixed_names(cls) -> list[str]:
        """The arguments that a resumed run must keep."""
        return [field.name for field in dataclasses.fields(cls) if field.metadata["same_on_resume"]]

    def fill_from_launcher(self) -> "TrainingArguments":
        """A copy in which what was left open is what `accelerate launch` or the environment says.

        Raises:
            ValueError: they say something that this loop doesn't do; the message names the variable.
        """
        chosen = {"cpu": self.cpu or parse_flag_from_env("ACCELERATE_USE_CPU")}
        for name, usual in (("mixed_precision", "no"), ("gradient_accumulation_steps", 1)):
            variable = f"ACCELERATE_{name.upper()}"
            if getattr(self, name) is not None:
                continue
            text = os.environ.get(variable, usual)
            try:
                chosen[name] = type(usual)(text)
                dataclasses.replace(self, **chosen)
            except ValueError as error:
                raise ValueError(f"{variable}={text}, from the launcher or the environment: {error}") from error
        return dataclasses.replace(self, **chosen)


class _DefaultMilestones(tuple):
    """Milestones that nobody asked for."""


def _make_plain(value: Any) -> Any:
    """A path as text, also inside lists and dicts; all else as it is."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_make_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _make_plain(item) for name, item in value.items()}
    return value


def _unwrap_type(field: dataclasses.Field) -> tuple[Any, bool, bool]:
    """`float | None` -> (float, True, False); `tuple[str, ...]` -> (str, False, True)."""
    kind, optional = field.type, False
    if typing.get_origin(kind) in (types.UnionType, typing.Union):  # of a Literal it is the latter
        kind, optional = typing.get_args(kind)[0], True
    many = typing.get_origin(kind) is tuple
    return (typing.get_args(kind)[0] if many else kind), optional, many


def _make_optional_converter(kind: type):
    def convert(text: str):
        return None if text.lower() == "none" else kind(text)

    convert.__name__ = kind.__name__  # argparse names it when the text doesn't convert
    return convert


def _check(field: dataclasses.Field, value: Any) -> None:
    kind, optional, many = _unwrap_type(field)
    if value is None and optional:
        return
    for item in value if many else [value]:
        if typing.get_origin(kind) is Literal:
            if item not in typing.get_args(kind):
                raise ValueError(f"`{field.name}` must be one of {', '.join(typing.get_args(kind))}, got {item!r}.")
            continue
        accepted = (int, float) if kind is float else kind
        # bool is an int to Python; a batch size of True is a mistake all the same
        if not isinstance(item, accepted) or (isinstance(item, bool) and kind is not bool):
            raise ValueError(f"`{field.name}` must be {kind.__name__}{' or None' * optional}, got {item!r}.")
        limits = field.metadata
        if kind is float and not math.isfinite(item):
            raise ValueError(f"`{field.name}` must be finite, got {item}.")
        if limits.get("at_least") is not None and item < limits["at_least"]:
            raise ValueError(f"`{field.name}` must be at least {limits['at_least']}, got {item}.")
        if limits.get("more_than") is not None and item <= limits["more_than"]:
            raise ValueError(f"`{field.name}` must be more than {limits['more_than']}, got {item}.")
        if limits.get("below") is not None and item >= limits["below"]:
            raise ValueError(f"`{field.name}` must be below {limits['below']}, got {item}.")
