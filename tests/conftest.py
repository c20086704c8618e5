"""What every test stands on: no network, the folder of golden cases, and a disk that is full on request."""

import gc
import resource
import signal
import socket
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--golden",
        type=Path,
        default=Path(__file__).parent / "golden" / "cases",
        help="folder of golden cases, DIR/<method>/<case>/case.json",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What tests import is no garbage; to look through it again and again would take longer than many tests do."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Connections leave this process only to itself, so a test that needs the Hub fails here as it would offline."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests must not open connections, but one to {address} was asked for")
        return connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    patch.setenv("HF_HUB_OFFLINE", "1")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def run_forked():
    """`run_forked({name: steps})` runs programs that need a fresh Python process each."""
    from forked import Forked

    run = Forked()
    yield run
    run.stop()


@pytest.fixture
def fresh_accelerate_state():
    """accelerate remembers the precision of the process's first run."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def full_disk():
    """Files can't grow beyond 4 kB, which programs see as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
