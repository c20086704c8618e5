"""What every test stands on: no network, and the folder of golden cases."""

import gc
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


def pytest_collection_finish():
    """Training collects garbage when it starts and ends; looking through all that is imported would take longest."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture
def fresh_accelerate_state():
    """accelerate remembers the precision of the process's first run."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
