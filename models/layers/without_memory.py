"""Networks without weights, to compare shapes before memory is spent."""

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook


@contextlib.contextmanager
def build_without_memory(num_stored: int, name: str) -> Iterator[None]:
    """Context manager in which networks are made on the meta device, none of them far larger than what is stored.

    A config with a thousand million layers would take all memory without a single weight.

    Args:
        num_stored: tensors that there are for the network.
        name: of what stores them, for the message.

    Raises:
        ValueError: inside, the network has more than four times as many parameters.
    """
    thread, limit, count = threading.get_ident(), 4 * num_stored + 100, 0

    def refuse_too_many(module: torch.nn.Module, parameter_name: str, parameter: torch.nn.Parameter | None) -> None:
        nonlocal count
        if threading.get_ident() != thread:
            return
        count += 1
        if count > limit:
            raise ValueError(
                f"{name} holds {num_stored} tensors, the network of its config more than {limit} parameters: they do "
                "not belong together."
            )

    hook = register_module_parameter_registration_hook(refuse_too_many)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


__all__ = ["build_without_memory"]
