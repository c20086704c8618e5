"""The libraries look at a Hub of this process's own, with an empty cache."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # look_alike.py lies beside this file
from look_alike import TOKEN, LookAlike


@pytest.fixture
def hub():
    """An empty Hub."""
    with LookAlike() as hub:
        yield hub


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """`ask(hub)` has the libraries ask that Hub, from now on with an empty cache; `token=None` is a stranger.

    They read the environment when they are imported, so what they read is set here.
    """
    import huggingface_hub.hf_api
    import transformers.utils.hub
    from huggingface_hub import constants

    number = iter(range(1000))

    def ask(hub: LookAlike, *, token: str | None = TOKEN, clean: bool = True) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None, raising=False)  # made once, with its address
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN", raising=False)
        if clean:
            monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / f"cache{next(number)}"))

    return ask


@pytest.fixture
def go_offline(monkeypatch):
    """`go_offline()` is HF_HUB_OFFLINE=1, from now on."""

    def go() -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    return go
