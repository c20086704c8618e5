"""Atomic writing of files and folders, with the modes that the umask gives."""

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.part(\..*)?")  # names that `write_atomically` gives


@contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[Path]:
    """Context manager that yields a temporary path and renames it to `path` at the end, unless an error is raised.

        with write_atomically("labels.json") as unfinished:
            unfinished.write_text(text)

    Raises:
        OSError: the folder is missing or can't be written, or `path` is a folder, a pipe or a device.
    """
    path = Path(path)
    refuse_devices(path)  # the rename would put a file in its place
    # In the same folder, since a rename is atomic only within one file system. The suffix stays, for
    # writers that choose their format by it.
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        with explain_write_errors(path):
            yield unfinished
            give_umask_modes(unfinished)
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def refuse_devices(path: str | os.PathLike) -> None:
    """Refuse to write to what is neither a file nor a folder, such as /dev/null: a file would take its place.

    Raises:
        OSError: it is a pipe or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"`{path}` is a pipe or a device, in whose place no file is put; name a file.")


@contextmanager
def fill_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Context manager that makes a folder, if it is missing, and holds it: no other process fills it meanwhile.

    Files are written into it with [`write_atomically`]. What a killed process left of them is deleted first.

    Raises:
        BlockingIOError: another process, or another thread, is filling `folder`.
        OSError: `folder` can't be made.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with _lock(target / ".avzoo-lock", folder):
        for path in target.iterdir():
            if _UNFINISHED.fullmatch(path.name) and not path.is_dir():
                path.unlink()
        yield target


@contextmanager
def write_folder_atomically(folder: str | os.PathLike) -> Iterator[Path]:
    """Context manager that yields a temporary folder and renames it to `folder` at the end, unless an error is raised.

    The temporary folder lies beside `folder`. What a killed process left there is deleted first.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
        BlockingIOError: another process, or another thread, is writing `folder`.
        OSError: `folder` can't be written.
    """
    target = Path(folder).resolve()
    _refuse_filled(target, folder)
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.avzoo-unfinished")
    try:
        with _lock(target.with_name(f".{target.name}.avzoo-lock"), folder):
            _refuse_filled(target, folder)  # the process that held the lock may have written it
            if unfinished.exists():
                shutil.rmtree(unfinished)
            unfinished.mkdir()
            try:
                with explain_write_errors(folder):
                    yield unfinished
                    give_umask_modes(unfinished)
                    os.replace(unfinished, target)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
    except BaseException:
        for parent in missing:  # the innermost first
            with suppress(OSError):
                parent.rmdir()
        raise


@contextmanager
def explain_write_errors(path: str | os.PathLike) -> Iterator[None]:
    """Inside, a full disk is an OSError that names `path`: writing raises one that names no file, or none at all."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in _FULL:
            # safetensors' and soundfile's errors are no OSErrors, and hold the number in their text.
            found = None if isinstance(error, OSError) else re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else None
        if number not in _FULL:
            raise
        raise OSError(number, f"`{path}` cannot be written: {os.strerror(number)}") from error


def _refuse_filled(target: Path, folder: str | os.PathLike) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"`{folder}` exists and is not an empty folder; name another.")


@contextmanager
def _lock(path: Path, folder: str | os.PathLike) -> Iterator[None]:
    """Hold a file that no two processes hold at once. A process that is killed holds nothing, so its file may stay."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise BlockingIOError(
                f"another process is writing `{folder}`; wait until it has ended, or name another folder."
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            is_there = os.path.samestat(os.fstat(file), os.stat(path))
        except FileNotFoundError:
            is_there = False
        if is_there:
            break
        os.close(file)  # whoever held it deleted it in between
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held
        os.close(file)


def give_umask_modes(path: str | os.PathLike) -> None:
    """Give a file, or a folder with all in it, the modes that it would have had from `open` and `mkdir`.

    safetensors and `tempfile` make files that only their owner may read.
    """
    path, mask = Path(path), read_umask()
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        if place.is_symlink():  # what it points to is not ours
            continue
        if place.is_dir():
            place.chmod(0o777 & ~mask | place.stat().st_mode & stat.S_ISGID)  # an inherited group stays
        else:
            place.chmod(0o666 & ~mask)


def read_umask() -> int:
    """The umask of this process."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):  # not Linux; other threads that make a file in between make it without a mask
        mask = os.umask(0)
        os.umask(mask)
        return mask


def check_readable(path: str | os.PathLike, what: str) -> None:
    """Check that a file or a folder can be read; `what` it is begins the message.

    Raises:
        FileNotFoundError: it does not exist. PermissionError: it can't be read. OSError: it is a pipe or a device.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{what} `{path}` does not exist.")
    if not path.is_file() and not path.is_dir():
        raise OSError(f"{what} `{path}` is neither a file nor a folder.")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise PermissionError(f"{what} `{path}` can't be read: permission denied.")
