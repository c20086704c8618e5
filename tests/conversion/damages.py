"""Seeded damages of checkpoint files and saved folders, as disks, downloads, tools and attackers make them."""

import contextlib
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hostile_files import Calls, rewrite_zip
from safetensors.torch import load_file, save_file

CANARY = "this_code_ran"
Tensors = dict[str, Any]


class RunsCode:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, (CANARY,)


# --- tensors: (draws, tensors) -> tensors -----------------------------------------------------------------------------


def pick(draws: random.Random, tensors: Tensors) -> str:
    return draws.choice(list(tensors))


def drop_tensors(draws: random.Random, tensors: Tensors) -> Tensors:
    for _ in range(draws.choice([1, 1, 5, len(tensors) // 2])):
        del tensors[pick(draws, tensors)]
    return tensors


def rename_a_tensor(draws: random.Random, tensors: Tensors) -> Tensors:
    key = pick(draws, tensors)
    names = [
        key + "x",
        key[:-1],
        key.replace(".", "_"),
        "module." + key,
        key.upper(),
        "",
        "..",
        "a" * 100_000,
        "\x1b[2J",
    ]
    tensors[draws.choice(names)] = tensors.pop(key)
    return tensors


def repeat_a_tensor(draws: random.Random, tensors: Tensors) -> Tensors:
    key = pick(draws, tensors)
    parts = key.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    if numbers:
        parts[draws.choice(numbers)] = draws.choice(["0", "1", "7", "99999", "-1", "1e9", "\u0663"])
    return tensors | {".".join(parts) if numbers else f"{key}.copy": tensors[key]}


def swap_two_tensors(draws: random.Random, tensors: Tensors) -> Tensors:
    first, second = pick(draws, tensors), pick(draws, tensors)
    return tensors | {first: tensors[second], second: tensors[first]}


SHAPERS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda tensor: tensor.flatten(),
    lambda tensor: tensor.mT.contiguous() if tensor.ndim > 1 else tensor[:0],
    lambda tensor: tensor[None],
    lambda tensor: tensor[..., None],
    lambda tensor: tensor[:1] if tensor.ndim else tensor.reshape(1),
    lambda tensor: tensor[:0] if tensor.ndim else tensor.reshape(1, 1),
    lambda tensor: tensor.flatten()[0] if tensor.numel() else tensor,
    lambda tensor: torch.cat([tensor, tensor]) if tensor.ndim else tensor,
    lambda tensor: tensor.new_zeros(0),
]


def reshape_a_tensor(draws: random.Random, tensors: Tensors) -> Tensors:
    for _ in range(draws.choice([1, 1, 3])):
        key = pick(draws, tensors)
        tensors[key] = draws.choice(SHAPERS)(tensors[key])
    return tensors


def retype_a_tensor(draws: random.Random, tensors: Tensors) -> Tensors:
    key = pick(draws, tensors)
    types = [torch.int64, torch.int8, torch.bool, torch.float16, torch.bfloat16, torch.float64, torch.complex64]
    types += [torch.uint8, torch.float8_e5m2]
    return tensors | {key: tensors[key].to(draws.choice(types))}


def retype_all_tensors(draws: random.Random, tensors: Tensors) -> Tensors:
    dtype = draws.choice([torch.float16, torch.bfloat16, torch.float64, torch.int32])
    return {key: tensor.to(dtype) for key, tensor in tensors.items()}


def spoil_a_value(draws: random.Random, tensors: Tensors) -> Tensors:
    key = pick(draws, tensors)
    spoiled = tensors[key].double()
    if spoiled.numel():
        spoiled.view(-1)[draws.randrange(spoiled.numel())] = draws.choice([float("nan"), float("inf"), 1e300])
    return tensors | {key: spoiled.to(draws.choice([torch.float32, torch.float64]))}


def claim_huge_sizes(draws: random.Random, tensors: Tensors) -> Tensors:
    key = pick(draws, tensors)
    sizes = [draws.choice([10**4, 10**6, 2**31]) for _ in range(max(tensors[key].ndim, 1))]
    with contextlib.suppress(RuntimeError):  # beyond 64 bits
        tensors[key] = torch.zeros(1).expand(sizes)
    return tensors


def hold_another_kind(draws: random.Random, tensors: Tensors) -> Tensors:
    """What torch.save writes and safetensors can't."""
    key = pick(draws, tensors)
    dense = tensors[key].float()
    kinds: list[Callable[[], Any]] = [
        lambda: dense.to_sparse(),
        lambda: torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8),
        lambda: dense.to("meta"),
        lambda: torch.nn.Parameter(dense),
        lambda: 3,
        lambda: None,
        lambda: "weights",
        lambda: {"nested": dense},
        lambda: [dense],
        lambda: RunsCode(),
        lambda: Calls(bytearray, 10**11),
        lambda: torch.nn.Linear(1, 1),
    ]
    return tensors | {key: draws.choice(kinds)()}


def wrap(draws: random.Random, tensors: Tensors) -> Any:
    others: list[Any] = [
        {"state_dict": tensors, "epoch": 3},
        {"state_dict": [1]},
        {"state_dict": {}},
        {"model": tensors},
        [tensors],
        tensors | {3: torch.zeros(1)},
        {},
        {
            "state_dict": tensors,
            "ema": {"shadow_params": list(tensors.values())[:3]},
            "hyper_parameters": {"theta": "x"},
        },
        {"state_dict": tensors, "ema": 7, "hyper_parameters": [1]},
        {"state_dict": tensors, "ema": {"shadow_params": 7}},
    ]
    return draws.choice(others)


SAFE_TENSOR_DAMAGES = [
    drop_tensors,
    rename_a_tensor,
    repeat_a_tensor,
    swap_two_tensors,
    reshape_a_tensor,
    retype_a_tensor,
    retype_all_tensors,
    spoil_a_value,
]
TENSOR_DAMAGES = [*SAFE_TENSOR_DAMAGES, claim_huge_sizes, hold_another_kind, wrap]


# --- files: (draws, path) ---------------------------------------------------------------------------------------------


def flip_bytes(draws: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    end = draws.choice([16, 400, 4000, len(content)])
    for _ in range(draws.choice([1, 1, 3, 20])):
        content[draws.randrange(min(end, len(content)))] = draws.randrange(256)
    path.write_bytes(content)


def cut_off(draws: random.Random, path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, draws.choice([0, 1, 8, draws.randrange(size), size - 1, size - draws.randrange(1, 100)]))


def blank_a_block(draws: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    begin = draws.randrange(len(content))
    block = content[begin : begin + draws.choice([8, 512, 4096])]
    content[begin : begin + len(block)] = bytes(len(block))
    path.write_bytes(content)


def move_bytes(draws: random.Random, path: Path) -> None:
    content = path.read_bytes()
    place = draws.randrange(len(content))
    added = draws.choice([b"\r", b"\n", draws.randbytes(5), content[:100], b"<html>"])
    path.write_bytes(content[:place] + added + content[place + draws.choice([0, 1, 7]) :])


def tamper_with_members(draws: random.Random, path: Path) -> None:
    """Change the members of a zip archive, with checksums that are right."""
    if not zipfile.is_zipfile(path):
        return flip_bytes(draws, path)
    names = zipfile.ZipFile(path).namelist()
    chosen, other = draws.choice(names), draws.choice(names)
    pickled = next(name for name in names if name.endswith("data.pkl"))
    stored = zipfile.ZipFile(path).read(other)

    def flip(name: str, content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(draws.choice([1, 2, 5]) if name == pickled else 0):
            changed[draws.randrange(len(changed))] = draws.randrange(256)
        return bytes(changed)

    changes: list[Callable[[str, bytes], bytes | None]] = [
        flip,
        flip,
        flip,
        lambda name, content: None if name == chosen else content,
        lambda name, content: stored if name == chosen else content,
        lambda name, content: content[: len(content) // 2] if name == chosen else content,
        lambda name, content: pickle.dumps(RunsCode(), 2) if name == pickled else content,
        lambda name, content: content[:-1] + pickle.dumps(RunsCode(), 2)[2:] if name == pickled else content,
    ]
    return rewrite_zip(path, draws.choice(changes), draws.choice([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED]))


FILE_DAMAGES = [flip_bytes, flip_bytes, cut_off, blank_a_block, move_bytes, tamper_with_members]


def damage_file(draws: random.Random, tensors: Tensors, path: Path) -> None:
    """Write `tensors` to `path`, the values, the file or both damaged. Its suffix tells how."""
    is_safe = path.suffix == ".safetensors"
    content: Any = dict(tensors)
    of_values = draws.random() < 0.6
    if of_values:
        content = draws.choice(SAFE_TENSOR_DAMAGES if is_safe else TENSOR_DAMAGES)(draws, content)
    if is_safe:
        save_file({key: value.contiguous().clone() for key, value in content.items()}, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=draws.random() < 0.7)
    if not of_values or draws.random() < 0.1:
        draws.choice(FILE_DAMAGES)(draws, path)


# --- JSON and folders: (draws, folder) --------------------------------------------------------------------------------

VALUES: list[Any] = [
    None,
    -1,
    0,
    1,
    3,
    10**9,
    10**12,
    10**30,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    True,
    "",
    "x",
]
VALUES += ["64", [], [1, 2], [[[]]], {}, {"a": 1}, ["os", "system"], ["avzoo", "zoo"], "../..", "/etc", "x" * 10_000]


def tamper_with_json(draws: random.Random, folder: Path) -> None:
    path = draws.choice(sorted(path for path in folder.rglob("*.json") if path.is_file()))
    content = json.loads(path.read_text())
    place, name = content, None
    while isinstance(place, dict | list) and place:
        parent, name = place, draws.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        place = place[name]
        if draws.random() < 0.7:
            break
    if name is None:
        return
    deed = draws.random()
    if deed < 0.75:
        parent[name] = draws.choice(VALUES)
    elif deed < 0.9:
        del parent[name]
    else:
        content[
            draws.choice(["dtype", "torch_dtype", "quantization_config", "auto_map", "architectures", "id2label"])
        ] = draws.choice(VALUES)
    path.write_text(json.dumps(content))


def tamper_with_text(draws: random.Random, folder: Path) -> None:
    path = draws.choice(sorted(path for path in folder.rglob("*.json") if path.is_file()))
    draws.choice(
        [
            lambda: flip_bytes(draws, path),
            lambda: cut_off(draws, path),
            lambda: path.write_text("[" * 100_000),
            lambda: path.write_text('{"a":' * 100_000),
            lambda: path.write_text(draws.choice(["", "null", "[]", "{}", "3", '"x"', "\ufeff{}"])),
            lambda: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
        ]
    )()


def damage_weights(draws: random.Random, folder: Path) -> None:
    path = draws.choice(sorted(folder.rglob("*.safetensors")))
    if draws.random() < 0.5:
        tensors = draws.choice(SAFE_TENSOR_DAMAGES)(draws, load_file(path))
        save_file({key: value.contiguous().clone() for key, value in tensors.items()}, path)
    else:
        draws.choice(FILE_DAMAGES[:-1])(draws, path)


def misplace_a_file(draws: random.Random, folder: Path) -> None:
    path = draws.choice(sorted(path for path in folder.rglob("*") if path.name != "README.md"))
    outside = folder.parent / "outside"
    deeds: list[Callable[[], Any]] = [lambda: shutil.rmtree(path) if path.is_dir() else path.unlink()]
    deeds += [lambda: path.rename(outside) and path.symlink_to(outside)]
    deeds += [lambda: path.rename(path.with_name("moved"))]
    if path.is_file():
        deeds += [lambda: path.unlink() or path.mkdir(), lambda: path.unlink() or path.symlink_to(path.name)]
    draws.choice(deeds)()


def split_into_shards(draws: random.Random, folder: Path) -> None:
    """Weights by an index that is wrong."""
    path = draws.choice(sorted(folder.rglob("*.safetensors")))
    tensors = load_file(path)
    path.unlink()
    names = [f"{path.stem}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weight_map = {key: names[number % 2] for number, key in enumerate(tensors)}
    for name in names:
        save_file({key: value for key, value in tensors.items() if weight_map[key] == name}, path.with_name(name))
    key = pick(draws, weight_map)
    elsewhere = ["../config.json", "/etc/passwd", "missing.safetensors", "", None, 3, [], names[0]]
    index: Any = draws.choice(
        [
            {"weight_map": weight_map},
            {"weight_map": weight_map | {key: draws.choice(elsewhere)}},
            {"weight_map": {name: file for name, file in weight_map.items() if file == names[0]}},
            {"weight_map": list(weight_map)},
            {},
            [],
        ]
    )
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))


FOLDER_DAMAGES = [tamper_with_json] * 3 + [damage_weights] * 3 + [tamper_with_text, misplace_a_file, split_into_shards]
