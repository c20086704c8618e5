"""Checkpoints that are either complete or not there, and the folder of the trained model.

A checkpoint is a folder of safetensors and JSON, no pickle. It is written under a temporary name and renamed, which
file systems do at once: whatever kills the process, a folder called `checkpoint-000123` is whole.

    model.safetensors       weights and persistent buffers
    optimizer.safetensors   "<index of parameter>.<name>" -> tensor
    ema.safetensors         with `ema_decay` only
    state.json              place in the run, logs, loss scale, and what a resumed run must agree on
"""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn
from transformers.utils import logging

try:
    import fcntl
except ImportError:
    fcntl = None

from .ema import ExponentialMovingAverage
from .reports import ARGUMENTS_FILE

_LOCK = ".training-lock"
_COMPLETE = re.compile(r"checkpoint-(\d+)")
_TEMPORARY = ".tmp"
_OF_TRAINING = (ARGUMENTS_FILE, "phases.json")
_REPLACED = ("config.json", "model_index.json", "model.safetensors", "README.md")
_LEFTOVER = re.compile(r"(checkpoint-\d+|best|model)(\.old)?\.tmp")


def find_checkpoints(output_dir: Path) -> list[Path]:
    """The complete checkpoints, oldest first."""
    found = [(match, path) for path in output_dir.glob("checkpoint-*") if (match := _COMPLETE.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]


def refuse_other_content(output_dir: Path) -> None:
    """Raise a ValueError if `output_dir` is a file, or holds a model or card that no training wrote."""
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"`output_dir` ({output_dir}) is a file; name a folder.")
    if any((output_dir / name).exists() for name in _OF_TRAINING) or find_checkpoints(output_dir):
        return
    for name in _REPLACED:
        if (output_dir / name).exists():
            raise ValueError(
                f"`output_dir` ({output_dir}) holds a {name} that no training wrote and that this one would replace; "
                "choose another folder."
            )


@contextlib.contextmanager
def hold_output_dir(output_dir: Path) -> Iterator[None]:
    """Context manager that holds `output_dir` for one run. A process that is killed holds nothing.

    Raises:
        BlockingIOError: another process trains into it.
    """
    if fcntl is None:  # Windows has no such locks
        yield
        return
    path, file = output_dir / _LOCK, None
    while file is None:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Of this process alone: workers that read data would hold another kind of lock for longer than it lives.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(file)
            raise BlockingIOError(
                f"another run trains into `output_dir` ({output_dir}); wait until it has ended, or choose another."
            ) from None
        except OSError:  # a file system without locks
            pass
        if not path.exists() or not os.path.samestat(os.fstat(file), os.stat(path)):
            os.close(file)  # whoever held it deleted it in between
            file = None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held
        os.close(file)


def remove_leftovers(output_dir: Path) -> None:
    """Delete what a killed process left half-written or half-deleted."""
    replaced = output_dir / f"best.old{_TEMPORARY}"
    if replaced.exists() and not (output_dir / "best").exists():
        os.replace(replaced, output_dir / "best")  # killed between taking the old one away and putting the new one
    for path in output_dir.glob(f"*{_TEMPORARY}"):
        if _LEFTOVER.fullmatch(path.name):
            shutil.rmtree(path)


def save_checkpoint(
    output_dir: Path,
    step: int,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: ExponentialMovingAverage | None,
    state: dict[str, Any],
    keep: int,
) -> None:
    """Write `checkpoint-<step>`, then delete all but the newest `keep`."""
    folder = output_dir / f"checkpoint-{step:06d}"
    with _make_temporary_folder(folder) as temporary:
        save_model(model, str(temporary / "model.safetensors"))
        tensors, scalars = _flatten_optimizer(optimizer)
        save_file(tensors, temporary / "optimizer.safetensors")
        if ema is not None:
            save_file(_make_contiguous(ema.state_dict()), temporary / "ema.safetensors")
        (temporary / "state.json").write_text(json.dumps({**state, "optimizer_scalars": scalars}))
        give_usual_modes(temporary)
        _replace_folder(temporary, folder)
    remove_oldest(output_dir, keep)


def remove_oldest(output_dir: Path, keep: int) -> None:
    """Delete all checkpoints but the newest `keep`."""
    for old in find_checkpoints(output_dir)[:-keep]:
        shutil.rmtree(_move_aside(old))


def read_state(folder: Path) -> dict[str, Any]:
    """`state.json` of a checkpoint.

    Raises:
        ValueError: `folder` isn't a checkpoint.
    """
    try:
        state = json.loads((folder / "state.json").read_text())
        missing = {"training", "steers", "scaler", "optimizer_scalars"} - set(state)
        if missing:
            raise ValueError(f"state.json lacks {sorted(missing)[0]!r}")
        return state
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"`resume`: {folder} is no complete checkpoint ({error}).") from error


def load_checkpoint(
    folder: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, ema: ExponentialMovingAverage | None
) -> None:
    """Put the tensors of a checkpoint into model, optimizer and average.

    Raises:
        ValueError: a file is missing, damaged, or of another model.
    """
    try:
        device = next(model.parameters()).device
        load_model(model, folder / "model.safetensors", device=str(device))
        moments: dict[int, dict[str, Any]] = {
            int(index): dict(values) for index, values in read_state(folder)["optimizer_scalars"].items()
        }
        for key, tensor in load_file(folder / "optimizer.safetensors").items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = tensor
        # The groups (rates, betas) are this run's: they were compared with the checkpoint's before.
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        if ema is not None:
            ema.load_state_dict(load_file(folder / "ema.safetensors"))
    except (SafetensorError, OSError, RuntimeError, LookupError, ValueError) as error:
        raise ValueError(
            f"`resume`: {folder} is damaged, or of another model ({_in_one_line(error)[:500]}); delete it to go on "
            "from the checkpoint before it."
        ) from error


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Its class and settings, as JSON can hold them."""
    groups = [
        {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
        | {"parameters": len(group["params"])}
        for group in optimizer.state_dict()["param_groups"]
    ]
    return {"class": type(optimizer).__name__, "groups": json.loads(json.dumps(groups, default=str))}


def refuse_a_changed_run(folder: Path, saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Compare what steers a run with what the checkpoint's run was steered by.

    Raises:
        ValueError: they differ; the message names the field and both values.
    """
    current = json.loads(json.dumps(current, default=str))
    for name in (*current, *(name for name in saved if name not in current)):
        if name.startswith("model.config.") and not (name in saved and name in current):
            continue  # a field that only one version of a library writes
        if saved.get(name) != current.get(name):
            before, now = describe_difference(saved.get(name), current.get(name))
            raise ValueError(
                f"`{name}`: {folder.name} was written with {before}, this run has {now}; resumed, it would be neither "
                "of the two runs. Set it back, or start anew in another `output_dir`."
            )


def describe_difference(before: Any, now: Any, longest: int = 160) -> tuple[str, str]:
    """Both values as text; of long lists and dicts the entries in which they differ."""
    texts = repr(before), repr(now)
    if max(map(len, texts)) <= longest:
        return texts
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        before, now = ({name: values[name] for name in names if name in values} for values in (before, now))
    elif isinstance(before, list) and isinstance(now, list):
        sizes, only = (
            (len(before), len(now)),
            ([x for x in before if x not in now], [x for x in now if x not in before]),
        )
        texts = [f"{size} items, among them {_shorten(items)}" for size, items in zip(sizes, only, strict=True)]
        return tuple(texts) if any(only) else (f"one order of {sizes[0]} items", "another order of the same")
    return _shorten(before), _shorten(now)


def _shorten(value: Any, longest: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]} ..."


def save_trained(folder: Path, model: nn.Module, processor: Any = None) -> None:
    """Save model and processor so that `from_pretrained(folder)` loads them; each file is replaced at once.

    Other files of the folder stay. A model without `save_pretrained` is saved as a bare `model.safetensors`.
    """
    with _make_temporary_folder(folder / "model") as temporary:
        with _hide_progress_bars():
            for part in (model, processor):
                if hasattr(part, "save_pretrained"):
                    part.save_pretrained(temporary)
        if not hasattr(model, "save_pretrained"):
            save_model(model, str(temporary / "model.safetensors"))
        give_usual_modes(temporary)
        for path in sorted(temporary.rglob("*")):
            target = folder / path.relative_to(temporary)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                os.replace(path, target)


def save_best(output_dir: Path, model: nn.Module, processor: Any = None) -> None:
    """Replace `best/` by this model."""
    with _make_temporary_folder(output_dir / "best") as temporary:
        save_trained(temporary, model, processor)
        _replace_folder(temporary, output_dir / "best")


def create_repository(model_id: str, private: bool) -> str:
    """Make sure that the Hub repository exists and may be written to; gives its full name.

    Raises:
        OSError: it doesn't, or the Hub cannot be reached.
    """
    try:
        return HfApi().create_repo(model_id, private=private, exist_ok=True).repo_id
    except Exception as error:  # of the HTTP client that huggingface_hub happens to use, among others
        raise OSError(
            f"the Hub gives no repository `{model_id}` to upload to ({_in_one_line(error)}): log in with `hf auth "
            "login`, or leave out push_to_hub."
        ) from error


def upload_trained(repository: str, folder: Path) -> None:
    """Upload the trained model, without checkpoints, phases, logs and `best/`.

    Raises:
        OSError: the Hub does not take it; the message says where it is.
    """
    try:
        HfApi().upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Upload the trained model",
            ignore_patterns=[
                "checkpoint-*/**",
                "phase-*/**",
                "phases.json",
                "best/**",
                "logs/**",
                f"*{_TEMPORARY}/**",
                _LOCK,
            ],
        )
    except Exception as error:
        raise OSError(
            f"the trained model is in `{folder}`, but could not be uploaded to `{repository}` "
            f"({_in_one_line(error)}): upload it when the Hub can be reached."
        ) from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def give_usual_modes(folder: Path) -> None:
    """Give the files of a folder the mode that `open` gives: safetensors makes files that only their owner may read."""
    example = folder / f"mode{_TEMPORARY}"
    example.touch()
    mode = stat.S_IMODE(example.stat().st_mode)
    example.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


@contextlib.contextmanager
def _hide_progress_bars() -> Iterator[None]:
    """transformers draws a progress bar for every file, across that of the training."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _make_temporary_folder(folder: Path) -> Iterator[Path]:
    """Context manager that yields a folder to write and rename; what is left of it at the end is deleted.

    Raises:
        OSError: it can't be written; the message names `folder`.
    """
    temporary = folder.with_name(folder.name + _TEMPORARY)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except (OSError, SafetensorError) as error:  # of a full disk; neither names the folder
        if str(folder) in str(error):
            raise
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number is not None else _in_one_line(error)
        raise OSError(
            number, f"`{folder}` could not be saved ({reason}); what was saved before is still there."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(temporary: Path, folder: Path) -> None:
    old = _move_aside(folder)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def _move_aside(folder: Path) -> Path:
    """Rename, to delete next: killed in between, it leaves nothing that looks complete."""
    old = folder.with_name(f"{folder.name}.old{_TEMPORARY}")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    return old


def _make_contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    tensors, scalars = {}, {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            elif value is None or isinstance(value, (bool, int, float, str)):
                scalars.setdefault(str(index), {})[name] = value
            else:
                raise TypeError(f"`optimizer`: {type(optimizer).__name__} keeps a {type(value).__name__} as {name!r}.")
    return _make_contiguous(tensors), scalars
