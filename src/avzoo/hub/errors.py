"""What can go wrong between a name and the Hub, each in one line that says the way out."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def explain_hub_errors(
    name: str | os.PathLike, *, revision: str | None = None, uploading: bool = False
) -> Iterator[None]:
    """Inside, whatever the Hub is the reason for is an OSError that names the repository and the way out.

    The libraries raise a dozen classes, some of them of whichever HTTP client they use, and often after other errors.

    Args:
        name: repository, owner/name; or a folder, about which errors stay as they are.
        revision: of the repository.
        uploading: to the repository, rather than loading from it or from a folder.
    """
    try:
        yield
    except Exception as error:
        reason = (
            None if Path(name).exists() and not uploading else _find_reason(os.fspath(name), error, revision, uploading)
        )
        if reason is None:
            raise
        raise OSError(reason) from error


def _find_reason(name: str, error: Exception, revision: str | None, uploading: bool) -> str | None:
    """The line, or None if the Hub is not the reason."""
    from huggingface_hub import constants, errors

    chain = _list_chain(error)

    def find(*classes: type) -> BaseException | None:
        return next((cause for cause in chain if isinstance(cause, classes)), None)

    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    absent = "" if uploading else " is no folder here, and"
    instead = "" if uploading else ", or give a folder"
    status = getattr(getattr(find(errors.HfHubHTTPError), "response", None), "status_code", None)
    is_broken = status is not None and status >= 500
    is_missing = find(errors.LocalEntryNotFoundError) is not None
    if isinstance(error, ValueError | OSError) and not _is_repository_name(name):
        either = "" if uploading else "neither a folder that exists nor "
        return f"`{name}` is {either or 'not '}a name on the Hub, which has the form owner/name."
    if find(errors.GatedRepoError):
        return f"`{name}` is a gated repository: ask for access at {constants.ENDPOINT}/{name}, then {log_in}."
    if status in (401, 403) and not isinstance(find(errors.HfHubHTTPError), errors.RepositoryNotFoundError):
        return f"the Hub refuses access to `{name}` ({status}): {log_in}, with a token that may do this."
    if find(errors.RepositoryNotFoundError):
        return f"`{name}`{absent} the Hub shows no such repository: check the name; if it is private, {log_in}."
    if find(errors.RevisionNotFoundError):
        return f"`{name}` has no revision `{revision or 'main'}` on the Hub: give a branch, a tag or a commit of it."
    if find(errors.OfflineModeIsEnabled) or (is_missing and constants.HF_HUB_OFFLINE):
        absent = "" if uploading else " is no folder here and not in the cache, and"
        return f"`{name}`{absent or ':'} HF_HUB_OFFLINE forbids asking the Hub: unset it{instead}."
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"`{name}` on the Hub lacks a file that is needed: {' '.join(str(error).split())}"
    if is_broken or is_missing or any(map(_is_of_transport, chain)):
        answer = f" (it answers {status})" if is_broken else ""
        return (
            f"the Hub at {constants.ENDPOINT} cannot be reached for `{name}`{answer}: check the connection and try "
            f"again later{instead}."
        )
    return None


def _is_repository_name(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


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
