"""Files that state far more than they hold, each a few kilobytes; what they are refused for stands beside them."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HUGE = 10**11


class Calls:
    """Unpickled, it is what a function returns."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class ToLong:
    """Spread over a hundred thousand million places, then copied to another kind of number."""

    def __reduce__(self):
        spread = torch.zeros(1).expand(HUGE)
        return torch._utils._rebuild_device_tensor_from_cpu_tensor, (spread, torch.int64, "cpu", False)


def rewrite_zip(path: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED):
    """Write a file of torch.save anew, each member through `change`; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def save_a_call_of_bytearray(path: Path, as_zip: bool = True) -> None:
    torch.save({"weight": torch.zeros(2), "notes": Calls(bytearray, HUGE)}, path, _use_new_zipfile_serialization=as_zip)


def save_a_legacy_call_of_bytearray(path: Path) -> None:
    save_a_call_of_bytearray(path, as_zip=False)


def write_a_bare_call_of_bytearray(path: Path) -> None:
    path.write_bytes(pickle.dumps({"notes": Calls(bytearray, HUGE)}, protocol=2))


def save_a_copy_of_a_spread_tensor(path: Path) -> None:
    torch.save({"weight": ToLong()}, path)


def compress(path: Path) -> None:
    torch.save({"weight": torch.zeros(10_000_000)}, path)
    rewrite_zip(path, lambda name, content: content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000


def repeat_a_member(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"another")


def state_huge_storages(path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, path)
    count = b"M" + struct.pack("<H", 1000)
    assert zipfile.ZipFile(path).read(f"{path.stem}/data.pkl").count(count) == 2  # of the storage, of the shape
    rewrite_zip(path, lambda name, content: content.replace(count, b"J" + struct.pack("<i", 2**31 - 1)))


def state_huge_legacy_storages(path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes().replace(b"M" + struct.pack("<H", 1000), b"J" + struct.pack("<i", 2**31 - 1))
    path.write_bytes(content)


def state_a_huge_memo(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)
    rewrite_zip(
        path,
        lambda name, content: (
            content[:-1] + b"r" + struct.pack("<I", 2**32 - 1) + b"." if name.endswith("data.pkl") else content
        ),
    )


# What is written, and what the message says of it.
HOSTILE_FILES: dict[Callable[[Path], None], str] = {
    save_a_call_of_bytearray: "calls .*bytearray when it is unpickled",
    save_a_legacy_call_of_bytearray: "calls .*bytearray when it is unpickled",
    write_a_bare_call_of_bytearray: "calls .*bytearray when it is unpickled",
    save_a_copy_of_a_spread_tensor: "calls .*_rebuild_device_tensor_from_cpu_tensor when",
    compress: "is compressed, .* bytes become 40000000",
    repeat_a_member: "several members of one name",
    state_huge_storages: "its storage '0' states 8589934588 bytes, 4000 are stored",
    state_huge_legacy_storages: "its tensors state 8589934588 bytes",
}


def write_safetensors(path: Path, header: dict[str, Any] | bytes, content: bytes = b"", length: int | None = None):
    """A file with any header, and any length of it."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    buffer = io.BytesIO()
    buffer.write(struct.pack("<Q", len(encoded) if length is None else length))
    buffer.write(encoded + content)
    path.write_bytes(buffer.getvalue())


def tensor_entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# Header, content, stated length of the header.
HOSTILE_SAFETENSORS: dict[str, tuple[dict[str, Any] | bytes, bytes, int | None]] = {
    "a header longer than the file": ({"a": tensor_entry([1], 0, 4)}, b"\0" * 4, 10**15),
    "a header of 2**63 bytes": (b"{}", b"", 2**63),
    "a huge shape": ({"a": tensor_entry([10**6, 10**6], 0, 4)}, b"\0" * 4, None),
    "a shape that overflows": ({"a": tensor_entry([2**62, 4], 0, 0)}, b"", None),
    "huge offsets": ({"a": tensor_entry([10**12], 0, 4 * 10**12)}, b"\0" * 4, None),
    "offsets that overlap": (
        {"a": tensor_entry([100], 0, 400), "b": tensor_entry([100], 0, 400)},
        b"\0" * 400,
        None,
    ),
    "offsets from the end": ({"a": tensor_entry([1], 8, 4)}, b"\0" * 8, None),
    "a negative shape": ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4, None),
    "an unknown type": ({"a": tensor_entry([1], 0, 4, dtype="F7")}, b"\0" * 4, None),
    "JSON nested deeply": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"", None),
    "no JSON": (b"weights", b"", None),
    "a list": (b"[]", b"", None),
}
