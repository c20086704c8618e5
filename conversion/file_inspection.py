"""What a file of torch.save would make of the memory, read off it before torch loads it.

`torch.load(weights_only=True)` runs no code of a file, yet it believes the sizes that a file states: it unpacks
compressed members, reads as many bytes of a tensor as the pickle says, and calls functions that fill memory. It also
skips the checksums. [`inspect_file`] reads the pickles with classes that do nothing, and compares.
"""

import io
import mmap
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # how files of torch < 1.6 begin
# What torch unpickles, no file of weights needs, and makes much of little.
_SPENDERS = {
    "builtins.bytearray",
    "__builtin__.bytearray",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_nested_tensor",
}
# Makes bytes of a string, as of the few that a generator's state has; of one long string, it could be called for ever.
_ENCODE, _MOST_ENCODED = "_codecs.encode", 8

_ITEM_SIZES = {
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}


class RefusedFileError(ValueError):
    """A file that would take more memory than it has bytes."""


def inspect_file(path: Path) -> None:
    """Refuse a file of torch.save that is damaged, or that states more than it holds.

    Raises:
        RefusedFileError: compressed or repeated members, storages larger than what is stored, or a function that
            fills memory; the message names it.
        Exception: of many classes, if the file is damaged or something else.
    """
    if path.stat().st_size == 0:
        return  # torch tells
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"PK\x03\x04":  # what torch looks at, too
            _inspect_archive(path)
        else:
            _inspect_legacy(content, path)


def _inspect_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise RefusedFileError(f"checkpoint `{path.name}` holds several members of one name.")
        compressed = [member for member in members.values() if member.compress_type != zipfile.ZIP_STORED]
        compressed += [member for member in members.values() if member.file_size != member.compress_size]
        if compressed:
            largest = max(compressed, key=lambda member: member.file_size)
            raise RefusedFileError(
                f"checkpoint `{path.name}`: its member `{largest.filename}` is compressed, {largest.compress_size} "
                f"bytes become {largest.file_size}; torch.save compresses nothing. If you trust it, load it and save "
                "its tensors again."
            )
        total, size = sum(member.file_size for member in members.values()), path.stat().st_size
        if total > size:
            raise RefusedFileError(f"checkpoint `{path.name}`: its members state {total} bytes, the file has {size}.")
        for member in members.values():
            if member.CRC == 0:
                member.CRC = None  # torch.save can be told to leave checksums out
            _read_through(archive, member)
        for name in members:
            if name == "data.pkl" or name.endswith("/data.pkl"):
                inspector = _Inspector(io.BytesIO(archive.read(name)), path)
                inspector.load()
                stored = {other: member.file_size for other, member in members.items()}
                inspector.compare({key: stored.get(f"{name[:-4]}/{key}") for key in inspector.storages})


def _read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as file:
        while file.read(_BLOCK):
            pass


def _inspect_legacy(content: mmap.mmap, path: Path) -> None:
    """Several pickles (a magic number, a version, facts on the machine, the object, keys), then the storages."""
    if _Inspector(content, path).load() != _LEGACY_MAGIC:
        return  # a pickle alone: torch refuses it
    for _ in range(2):
        _Inspector(content, path).load()
    inspector = _Inspector(content, path)
    inspector.load()
    rest = len(content) - content.tell()
    total = sum(inspector.storages.values())
    if total > rest:
        raise OSError(f"its tensors state {total} bytes, {rest} are there")


class _Inert(dict):
    """Stands for whatever a pickle makes, calls or fills, and does nothing."""

    name = ""

    def __new__(cls, *arguments: Any, **options: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)

    def __call__(self, *arguments: Any) -> "_Inert":
        return self

    def append(self, item: Any) -> None:
        pass

    add = extend = update = append


class _Inspector(pickle._Unpickler):  # the one in C takes memory for every number of its memo that a file states
    """Lists the storages that a pickle states, {key: bytes}, without making anything."""

    dispatch = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.PERSID[0])  # torch knows neither
    }

    def __init__(self, file: Any, path: Path):
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self.path, self.storages, self.num_encoded = path, {}, 0

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name in _SPENDERS:
            self._refuse(full_name)
        if full_name == _ENCODE:
            return type("_Inert", (_Inert,), {"name": name, "__new__": self._count_encoded})
        return type("_Inert", (_Inert,), {"name": name})

    def _count_encoded(self, made: type, *arguments: Any) -> _Inert:
        self.num_encoded += 1
        if self.num_encoded > _MOST_ENCODED:
            self._refuse(_ENCODE)
        return _Inert()

    def _refuse(self, function: str) -> None:
        raise RefusedFileError(
            f"checkpoint `{self.path.name}` calls {function} when it is unpickled, which can fill the memory and "
            "which no weights need; it is not opened. If you trust it, save its tensors as .safetensors."
        )

    def persistent_load(self, identifier: Any) -> Any:
        _, storage_type, key, _, count, *_ = identifier
        size = _ITEM_SIZES.get(storage_type.name, 1)  # torch refuses a type that is none of its own
        if not isinstance(count, int) or count < 0:
            raise RefusedFileError(f"checkpoint `{self.path.name}`: its storage {key!r} states {count!r} values.")
        self.storages[key] = max(count * size, self.storages.get(key, 0))
        return _Inert()

    def compare(self, stored: Mapping[str, int | None]) -> None:
        """Refuse storages that state more bytes than are stored."""
        for key, size in self.storages.items():
            if stored[key] is None or size > stored[key]:
                raise RefusedFileError(
                    f"checkpoint `{self.path.name}`: its storage {key!r} states {size} bytes, {stored[key] or 0} are "
                    "stored."
                )


__all__ = ["RefusedFileError", "inspect_file"]
