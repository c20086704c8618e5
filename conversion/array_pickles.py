"""Pickles of NumPy arrays that are no file of torch's, such as Caffe2's weights, read without running code.

Nothing of a pickle is called. An array is made here from the bytes, the shape and the type that the pickle states, so
it is never larger than the file.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

_RECONSTRUCT = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
_SCALAR = {f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")}
_ENCODE = "_codecs.encode"
_KINDS = "fiub"  # numbers of NumPy's types that are read


class _Type:
    """A type of NumPy's as a pickle states it: its name, then the order of its bytes."""

    def __init__(self, name: Any = "", *flags: Any):
        self.name = name.decode("ascii") if isinstance(name, bytes) else str(name)
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        self.order = order.decode("ascii") if isinstance(order, bytes) else str(order)

    def read(self) -> np.dtype:
        dtype = np.dtype(self.name)
        if dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"it holds an array of {dtype}, not of numbers")
        return dtype if self.order == "|" else dtype.newbyteorder(self.order)


class _Array:
    """An array as a pickle states it."""

    def __init__(self, *arguments: Any):
        self.value: torch.Tensor | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = _make_tensor(content, dtype, shape, "F" if is_fortran else "C")


def _make_tensor(content: bytes | str, dtype: _Type, shape: tuple[int, ...], order: str = "C") -> torch.Tensor:
    """A tensor with memory of its own."""
    kind = dtype.read()
    values = np.frombuffer(_as_bytes(content), kind).reshape(shape, order=order)
    return torch.from_numpy(values.astype(kind.newbyteorder("="), order="C"))


def _make_scalar(dtype: _Type, content: bytes | str) -> torch.Tensor:
    return _make_tensor(content, dtype, ())


def _as_bytes(content: bytes | str) -> bytes:
    return content.encode("latin1") if isinstance(content, str) else bytes(content)  # a string of Python 2


def _encode(content: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it encodes a string as {encoding!r}")
    return content.encode("latin1")


class _ArrayUnpickler(pickle._Unpickler):  # the one in C takes memory for every number of its memo that a file states
    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name in _RECONSTRUCT:
            return _Array
        if full_name in _FROM_BUFFER:
            return _make_tensor
        if full_name in _SCALAR:
            return _make_scalar
        if full_name == "numpy.dtype":
            return _Type
        if full_name == "numpy.ndarray":
            return None  # only named, as the first argument of its reconstruction
        if full_name == _ENCODE:
            return _encode
        raise pickle.UnpicklingError(f"it refers to {full_name}, which could run code")

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it refers to things outside the file")


def read_array_pickle(path: Path) -> Any:
    """The dictionaries, lists, names and numbers of a pickle, arrays as tensors.

    Raises:
        ValueError: it holds something else, which could run code; nothing was run.
        OSError: the file is cut short or damaged.
    """
    try:
        with path.open("rb") as file:
            return _unwrap(_ArrayUnpickler(file, encoding="latin1").load())
    except pickle.UnpicklingError as error:
        raise ValueError(f"`{path}` is no pickle of plain arrays: {error}; it is not opened.") from error
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle raises anything
        reason = (str(error).splitlines() or ["the file ends early"])[0]
        raise OSError(f"`{path}` cannot be read, it is cut short or damaged: {reason}") from error


def _unwrap(content: Any) -> Any:
    if isinstance(content, _Array):
        return content.value
    if isinstance(content, dict):
        return {key: _unwrap(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(map(_unwrap, content))
    return content


__all__ = ["read_array_pickle"]
