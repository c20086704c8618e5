"""What can go wrong between a name and the Hub, each in one line that says the way out."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def explain_hub_errors(name: str | os.PathLike) -> Iterator[None]:
    """Inside, whatever the Hub is the reason for is an OSError that names the repository and the way out.

    The libraries raise a dozen classes, some of them of whichever HTTP client they use, and often after other errors.

    Args:
        name: repository, owner/name. Errors about a folder that exists stay as they are.
    """
    try:
        yield
    except Exception as error:
        reason = None if Path(name).is_dir() else _find_reason(os.fspath(name), error)
        if reason is None:
            raise
        raise OSError(reason) from error


def _find_reason(name: str, error: Exception) -> str | None:
    """The line, or None if the Hub is not the reason."""
    from huggingface_hub import constants, errors

    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    chain = _list_chain(error)

    def find(*classes: type) -> BaseException | None:
        return next((cause for cause in chain if isinstance(cause, classes)), None)

    if find(errors.GatedRepoError):
        return f"`{name}` is a gated repository: ask for access at {constants.ENDPOINT}/{name}, then {log_in}."
    if find(errors.RepositoryNotFoundError):
        return (
            f"`{name}` is no folder here, and the Hub shows no such repository: check the name; if it is private, "
            f"{log_in}."
        )
    if find(errors.OfflineModeIsEnabled):
        return (
            f"`{name}` is no folder here and not in the cache, and HF_HUB_OFFLINE forbids asking the Hub: unset it, or "
            "give a folder."
        )
    refused = find(errors.HfHubHTTPError)
    status = getattr(getattr(refused, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the Hub refuses access to `{name}` ({status}): {log_in}, with a token that may do this."
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"`{name}` lacks a file that is needed: {' '.join(str(error).split())}"
    if isinstance(error, errors.HFValidationError) or find(errors.HFValidationError):
        return f"`{name}` is neither a folder that exists nor a name on the Hub, which has the form owner/name."
    unreachable = status is not None and status >= 500
    if unreachable or find(errors.LocalEntryNotFoundError) or any(map(_is_of_transport, chain)):
        return (
            f"the Hub at {constants.ENDPOINT} cannot be reached for `{name}`"
            + (f" (it answers {status})" if unreachable else "")
            + ": check the connection and try again later, or give a folder."
        )
    return None


def _list_chain(error: BaseException) -> list[BaseException]:
    """An error and all that it was raised from, or after."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and cause not in chain:
            chain.append(cause)
            waiting += [cause.__cause__, cause.__context__]
    return chain


def _is_of_transport(error: BaseException) -> bool:
    """Whether it is of a connection: the HTTP client, which changed from one version of the libraries to the next."""
    return any(
        kind.__name__ in ("TransportError", "ConnectionError") and kind.__module__.split(".")[0] in _CLIENTS
        for kind in type(error).__mro__
    )


_CLIENTS = ("httpx", "httpx2", "requests")

__all__ = ["explain_hub_errors"]
