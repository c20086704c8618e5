"""Declarative key maps: rules that turn the tensors of an authors' checkpoint into those of our model.

A `KeyMap` is a table to read beside the authors' file. In a pattern, `{name}` stands for one part of a key
between dots and is carried over to the target, `{name*}` for any rest, dots included; `*` stands for any rest and is
not carried over.

    KEYMAP = KeyMap(
        rename("v.norm.{leaf}", "model.layernorm.{leaf}"),
        rename("v.blocks.{n}.attn.qkv.weight", [f"model.layers.{{n}}.{part}.weight" for part in "qkv"], split_rows(3)),
        ignore("v.head.*", why="ImageNet head; the authors' `forward` never reaches it"),
    )

Every key of the source must match a rule, and every tensor of the target must be filled with a tensor of its shape.
Otherwise nothing is converted, and the error lists the keys and tensors left over.
"""

import contextlib
import contextvars
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Model = TypeVar("Model", bound=torch.nn.Module)
_FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_COUNTERS = "num_batches_tracked"  # of batch norms, the only whole numbers among weights
TensorOperation = Callable[[torch.Tensor], torch.Tensor | Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Rule:
    """Move keys that match `pattern` to `targets` through `operation`; without targets, ignore them (`why`: reason)."""

    pattern: str
    targets: tuple[str, ...] = ()
    operation: TensorOperation | None = None
    why: str = ""

    def match(self, key: str) -> dict[str, str] | None:
        """Values of the pattern's placeholders in `key`, or None if the key does not match."""
        found = _compile_pattern(self.pattern).fullmatch(key)
        return None if found is None else found.groupdict()


@dataclass
class Taken:
    """Which tensors of a checkpoint were taken: how many, and those left out under the reason why."""

    num_used: int = 0
    ignored: dict[str, list[str]] = field(default_factory=dict)


_taken: contextvars.ContextVar[Taken | None] = contextvars.ContextVar("taken", default=None)


@contextlib.contextmanager
def count_taken() -> Iterator[Taken]:
    """Context manager that counts what [`load_weights`] takes in it, of one network or of several."""
    taken = Taken()
    token = _taken.set(taken)
    try:
        yield taken
    finally:
        _taken.reset(token)


def rename(source: str, target: str | Sequence[str], operation: TensorOperation | None = None) -> Rule:
    """Rule that moves a tensor to another name, through `operation` if given.

    With several targets, the operation must return as many tensors.
    """
    return Rule(source, (target,) if isinstance(target, str) else tuple(target), operation)


def ignore(source: str, why: str) -> Rule:
    """Rule that leaves a tensor out; `why` tells the reader of the table the reason."""
    return Rule(source, why=why)


def split_rows(count: int) -> TensorOperation:
    """Operation that splits a tensor of stacked projections into `count` equal parts along dimension 0."""
    return lambda tensor: tensor.chunk(count, dim=0)


class KeyMap:
    """Ordered table of rules; the first rule that matches a key applies."""

    def __init__(self, *rules: Rule):
        self.rules = rules
        self._found: dict[str, Rule | None] = {}

    def find_rule(self, key: str) -> Rule | None:
        """The first rule that matches `key`."""
        if key not in self._found:
            self._found[key] = next((rule for rule in self.rules if rule.match(key) is not None), None)
        return self._found[key]

    def apply(
        self,
        source: Mapping[str, torch.Tensor],
        target_shapes: Mapping[str, Sequence[int]],
        name: str = "checkpoint",
    ) -> dict[str, torch.Tensor]:
        """Convert a state dict; weights become float32, counters of batch norms int64.

        Args:
            source: tensors under the authors' keys.
            target_shapes: shape of every tensor of the target.
            name: of the source, for error messages.

        Returns:
            The target's state dict.

        Raises:
            ValueError: keys without a rule, targets left empty or filled twice, wrong shapes, or tensors that are no
                weights (sparse, quantized, complex, of whole numbers, with values that are not finite, larger than
                what is stored of them). The message counts them and names the first three. Ignored tensors may be
                anything.
        """
        filled: dict[str, torch.Tensor] = {}
        origins: dict[str, str] = {}
        unknown: list[str] = []
        unusable: list[str] = []
        twice: list[str] = []
        used: list[torch.Tensor] = []
        only_shapes = all(tensor.is_meta for tensor in source.values())  # by which a whole network can be compared
        for key, tensor in source.items():
            rule = self.find_rule(key)
            if rule is None:
                unknown.append(key)
                continue
            if not rule.targets:
                continue
            flaw = _find_flaw(key, tensor, only_shapes)
            if flaw is not None:
                unusable.append(f"{key}: {flaw}")
                continue
            used.append(tensor)
            try:
                results = _apply_rule(rule, key, tensor, rule.match(key) or {})
            except (RuntimeError, IndexError) as error:  # an operation of torch, for another number of axes
                reason = str(error).splitlines()[0]
                unusable.append(f"{key}: its shape {tuple(tensor.shape)} is that of no such weight, {reason}")
                continue
            twice += [f"{target} from {key}" for target in results if target in filled]
            filled.update(results)
            origins.update(dict.fromkeys(results, key))
        problems = [
            _describe("key", unknown, "has no rule", "have no rule"),
            _describe("tensor", unusable, "can't be used", "can't be used"),
            _describe("tensor", twice, "is filled twice", "are filled twice"),
            _describe(
                "tensor",
                [key for key in target_shapes if key not in filled] if not unusable else [],
                "stays empty",
                "stay empty",
            ),
            _describe(
                "tensor",
                [key for key in filled if key not in target_shapes],
                "is not in the model",
                "are not in the model",
            ),
            _describe(
                "shape",
                [
                    f"{key}: {tuple(tensor.shape)}, the model has {tuple(target_shapes[key])}"
                    for key, tensor in filled.items()
                    if key in target_shapes and tuple(tensor.shape) != tuple(target_shapes[key])
                ],
                "differs",
                "differ",
            ),
        ]
        if any(problems):
            raise ValueError(f"{name} does not fit: {'; '.join(filter(None, problems))}.")
        _refuse_repeated_storages(used, name)
        converted = {
            key: _make_count(filled[key]) if _is_count(origins[key]) else filled[key].float() for key in target_shapes
        }
        if not only_shapes:
            _refuse_non_finite(converted, origins, name)
        return converted


def load_weights(
    model: Model,
    keymap: KeyMap,
    tensors: Mapping[str, torch.Tensor],
    name: str,
    known: Mapping[str, torch.Tensor] | None = None,
) -> Model:
    """Convert `tensors` with `keymap` and load them into `model`; returns it in evaluation mode.

    Args:
        model: made on the meta device. Buffers that no checkpoint holds must have been computed already.
        tensors: the authors' state dict.
        name: of the checkpoint, for error messages.
        known: tensors of `model` that every checkpoint implies and none holds.

    Raises:
        ValueError: as [`KeyMap.apply`].
    """
    known = known or {}
    # Batch norms count training batches. Files that other tools rewrote lack these counters, and nothing reads them.
    norms = {key.rpartition(".")[0] for key in tensors if key.endswith(".running_var")}
    counters = {f"{norm}.{_COUNTERS}": torch.zeros((), dtype=torch.long) for norm in norms}
    shapes = {key: value.shape for key, value in model.state_dict().items() if key not in known}
    weights = keymap.apply(counters | dict(tensors), shapes, name)
    count_tensors(keymap, tensors)
    owned = {key: value.clone(memory_format=torch.contiguous_format) for key, value in weights.items()}
    model.load_state_dict(owned | dict(known), assign=True)
    return model.eval()


def count_tensors(keymap: KeyMap, tensors: Mapping[str, torch.Tensor]) -> None:
    """Tell [`count_taken`] which tensors a table takes, and which it leaves out."""
    taken = _taken.get()
    if taken is None:
        return
    for key in tensors:
        rule = keymap.find_rule(key)
        if rule is not None and rule.targets:
            taken.num_used += 1
        elif rule is not None:
            taken.ignored.setdefault(rule.why, []).append(key)


def _find_flaw(key: str, tensor: torch.Tensor, only_shapes: bool) -> str | None:
    """Why a tensor is no weight, told without reading or copying its values; None: it may be one."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return f"it is a {type(tensor).__name__}"
    if tensor.is_nested or tensor.layout != torch.strided:
        return f"it is {'nested' if tensor.is_nested else 'sparse'}"
    if tensor.is_quantized:
        return f"it is quantized ({_name_dtype(tensor)})"
    if tensor.is_complex():
        return f"it is complex ({_name_dtype(tensor)})"
    if not only_shapes and tensor.is_meta:
        return "it is a meta tensor, which has a shape and no values"
    if tensor.dtype not in _FLOATING and not (_is_count(key) and tensor.dtype in _WHOLE):
        return f"it has values of {_name_dtype(tensor)}, expected floating point of 16, 32 or 64 bits"
    claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > held:
        return f"its shape {tuple(tensor.shape)} takes {claimed} bytes, {held} are stored"
    return None


def _is_count(key: str) -> bool:
    return key.rpartition(".")[2] == _COUNTERS


def _make_count(tensor: torch.Tensor) -> torch.Tensor:
    """Whole number; tools that halve a whole file make some infinite, and nothing reads them."""
    return torch.nan_to_num(tensor).long() if tensor.is_floating_point() else tensor.long()


def _name_dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _refuse_repeated_storages(tensors: Sequence[torch.Tensor], name: str) -> None:
    """Refuse many tensors over the same few bytes: each would become a tensor of its own."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    held = sum(storages.values())
    if claimed > 4 * held:  # tied weights are stored once, and two or three times in a model
        raise ValueError(f"{name}: its tensors take {claimed} bytes, {held} are stored: they repeat the same values.")


def _refuse_non_finite(converted: Mapping[str, torch.Tensor], origins: Mapping[str, str], name: str) -> None:
    flaws = []
    for target, tensor in converted.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int(tensor.isfinite().logical_not().sum())
            flaws.append(f"{origins[target]}: {count} of {tensor.numel()}")
    if flaws:
        listed = _describe("tensor", flaws, "has NaN or infinite values", "have NaN or infinite values")
        raise ValueError(f"{name} is damaged: {listed}.")


@functools.cache
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    def translate(part: str) -> str:
        if part == "*":
            return ".*"
        if not part.startswith("{"):
            return re.escape(part)
        return f"(?P<{part[1:-2]}>.+)" if part.endswith("*}") else f"(?P<{part[1:-1]}>[^.]+)"

    return re.compile("".join(map(translate, re.split(r"(\{\w+\*?\}|\*)", pattern))))


def _apply_rule(rule: Rule, key: str, tensor: torch.Tensor, parts: dict[str, str]) -> dict[str, torch.Tensor]:
    targets = [target.format(**parts) for target in rule.targets]
    if not targets:
        return {}
    result = tensor if rule.operation is None else rule.operation(tensor)
    results = [result] if isinstance(result, torch.Tensor) else list(result)
    if len(results) != len(targets):
        raise ValueError(f"rule for `{key}` made {len(results)} tensors for {len(targets)} targets.")
    return dict(zip(targets, results, strict=True))


def _describe(noun: str, items: list[str], singular: str, plural: str) -> str:
    if not items:
        return ""
    shown = ", ".join(f"`{_shorten(item)}`" for item in items[:3]) + (", ..." if len(items) > 3 else "")
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'} {singular if len(items) == 1 else plural} ({shown})"


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."
