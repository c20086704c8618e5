"""What the Hub can't or won't give is one line: the repository's name, and the way out."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from look_alike import LookAlike, Repository

import avzoo
from avzoo.audio import write_wav
from avzoo.cli import main
from avzoo.hub.errors import explain_hub_errors
from avzoo.training.checkpoints import create_repository, upload_trained
from avzoo.video import write_video

NAME = "you/model"
LOG_IN = "hf auth login"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """A request that fails is tried again at once, where the client would wait for most of a minute."""
    import huggingface_hub.utils._http

    clock = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr(huggingface_hub.utils._http, "time", clock)


@pytest.fixture
def commands(tmp_path) -> dict[str, list[str]]:
    """Those that are given a name, by what they do with it."""
    write_wav(tmp_path / "tone.wav", np.zeros(16000, np.float32), 16000)
    write_video(tmp_path / "grey.mp4", np.full((5, 64, 64, 3), 90, np.uint8), 25)
    return {
        "a task's pipeline": ["run", "audio-classification", str(tmp_path / "tone.wav"), "--model", NAME],
        "a diffusers pipeline": [
            *("run", "text-to-audio", "--description", "a hall", "--content", "hello", "--model", NAME),
            *("-o", str(tmp_path / "speech.wav")),
        ],
        "a detector": ["tracks", str(tmp_path / "grey.mp4"), "--detector", "s3fd", "--detector-model", NAME],
        "an upload": ["push", avzoo.toy_checkpoint("flexiast"), NAME],
    }


def make_nothing(hub: LookAlike) -> None:
    pass


def make_private(hub: LookAlike) -> None:
    hub.repositories[NAME] = Repository(private=True)
    hub.repositories[NAME].commit({"config.json": b"{}", "model_index.json": b"{}"})


def make_out_of_order(hub: LookAlike) -> None:
    hub.answer_all_with = 503


def of_each(commands: list[str], *parts: str) -> dict[str, list[str]]:
    return {command: list(parts) for command in commands}


READING = ["a task's pipeline", "a diffusers pipeline", "a detector"]
NOT_SHOWN = [f"`{NAME}`", "shows no such repository", LOG_IN]
SITUATIONS: dict[str, tuple[Callable[[LookAlike], None], dict, dict[str, list[str]]]] = {
    # what the Hub is like, how it is asked, command -> parts of the line
    "missing": (make_nothing, {"token": None}, of_each(READING, *NOT_SHOWN)),
    "missing, and you are known": (make_nothing, {}, of_each(READING, *NOT_SHOWN)),
    "private": (make_private, {"token": None}, of_each(READING, *NOT_SHOWN)),
    "who may not write": (
        make_nothing,
        {"token": None},
        {"an upload": [f"refuses access to `{NAME}` (401)", LOG_IN]},
    ),
    "out of order": (
        make_out_of_order,
        {},
        of_each([*READING, "an upload"], f"cannot be reached for `{NAME}`", "it answers 503", "try again"),
    ),
    "not there": (
        make_nothing,
        {"url": "http://127.0.0.1:9"},
        of_each([*READING, "an upload"], f"http://127.0.0.1:9 cannot be reached for `{NAME}`"),
    ),
    "offline": (
        make_nothing,
        {"offline": True},
        of_each([*READING, "an upload"], f"`{NAME}`", "HF_HUB_OFFLINE", "unset it"),
    ),
}


@pytest.mark.parametrize(
    ("situation", "command"),
    [
        pytest.param(situation, command, marks=[] if command == "a task's pipeline" else pytest.mark.slow)
        for situation, (_, _, lines) in SITUATIONS.items()
        for command in lines
    ],
)
def test_a_command_says_so_in_one_line(hub, ask, go_offline, commands, capfd, situation, command):
    make, way, lines = SITUATIONS[situation]
    make(hub)
    ask(SimpleNamespace(url=way.get("url", hub.url)), token=way.get("token", "hf_owner"))
    if way.get("offline"):
        go_offline()
    capfd.readouterr()
    status = main(commands[command])
    answer = capfd.readouterr()
    assert (status, answer.out) == (1, "")
    assert answer.err.startswith("avzoo: ")
    assert answer.err.count("\n") == 1, answer.err
    for part in lines[command]:
        assert part in answer.err
    assert ("folder" in answer.err) == (command != "an upload")


def test_what_is_private_is_the_owners(hub, ask):
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint("flexiast"), NAME, "--private"]) == 0
    assert hub.repositories[NAME].private
    ask(hub)
    assert type(avzoo.FlexiASTModel.from_pretrained(NAME)) is avzoo.FlexiASTModel
    ask(hub, token=None)
    with pytest.raises(OSError, match=NAME):
        avzoo.FlexiASTModel.from_pretrained(NAME)


def test_a_name_without_an_owner_is_pushed_to_your_own(hub, ask):
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint("flexiast"), "tagger"]) == 0
    assert set(hub.repositories) == {"you/tagger"}
    assert "config.json" in hub.repositories["you/tagger"].files("main")


def test_somebody_elses_repository_is_not_pushed_to(hub, ask, capfd):
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint("flexiast"), "them/tagger"]) == 1
    assert "refuses access to `them/tagger` (403)" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["no such folder", "./no/such/folder", "/no/such/folder"])
@pytest.mark.parametrize("command", READING)
def test_a_folder_that_is_not_there_is_no_name(hub, ask, commands, capfd, command, name):
    ask(hub)
    capfd.readouterr()
    assert main([name if word == NAME else word for word in commands[command]]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert f"`{name.removeprefix('./') if command == 'a detector' else name}`" in line
    assert "neither a folder that exists nor a name on the Hub" in line


@pytest.mark.parametrize("command", READING)
def test_a_repository_without_a_model_is_named(hub, ask, commands, capfd, command):
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit({"README.md": b"soon"})
    ask(hub)
    capfd.readouterr()
    assert main(commands[command]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert NAME in line


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["out of order", "not there"])
@pytest.mark.parametrize(
    ("method", "command"), [("flexiast", "a task's pipeline"), ("voiceldm", "a diffusers pipeline")]
)
def test_what_is_in_the_cache_runs_without_the_hub(hub, ask, commands, capfd, method, command, gone):
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint(method), NAME]) == 0
    words = [*commands[command], *(["--steps", "1", "--seconds", "0.64"] if method == "voiceldm" else [])]
    assert main(words) == 0
    if gone == "out of order":
        hub.answer_all_with = 503
    else:
        ask(SimpleNamespace(url="http://127.0.0.1:9"), clean=False)
    capfd.readouterr()
    assert main(words) == 0, capfd.readouterr().err


def test_another_models_repository_is_no_detector(hub, ask, commands, capfd):
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint("flexiast"), NAME]) == 0
    capfd.readouterr()
    assert main(commands["a detector"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert f"`{NAME}` holds no S3FD" in line


def test_a_training_names_the_repository_it_cannot_upload_to(hub, ask, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    ask(hub)
    assert create_repository("trained", private=True) == "you/trained"
    upload_trained("you/trained", tmp_path)
    assert hub.repositories["you/trained"].files("main")["config.json"] == b"{}"
    with pytest.raises(OSError, match=r"the Hub gives no repository `them/trained` .*403.* leave out push_to_hub"):
        create_repository("them/trained", private=False)
    ask(SimpleNamespace(url="http://127.0.0.1:9"))
    with pytest.raises(OSError, match=r"the Hub gives no repository `trained` .*hf auth login"):
        create_repository("trained", private=False)
    with pytest.raises(OSError, match=rf"is in `{tmp_path}`, but could not be uploaded to `you/trained`"):
        upload_trained("you/trained", tmp_path)


def test_errors_that_are_not_the_hubs_stay(tmp_path):
    with pytest.raises(ZeroDivisionError), explain_hub_errors("you/model"):
        1 / 0  # noqa: B018
    with pytest.raises(ConnectionError, match="as it was"), explain_hub_errors(tmp_path):
        raise ConnectionError("as it was")


def test_a_gated_repository_is_asked_for(hub, ask):
    from huggingface_hub import hf_hub_download

    hub.repositories[NAME] = Repository(gated=True)
    hub.repositories[NAME].commit({"config.json": b"{}"})
    ask(hub)
    with pytest.raises(OSError, match=rf"`{NAME}` is a gated .* ask for access at {hub.url}/{NAME}"):  # noqa: SIM117
        with explain_hub_errors(NAME):
            hf_hub_download(NAME, "config.json")


def test_a_revision_is_a_state_of_the_repository(hub, ask, commands, capfd):
    """Of the first commit there is a model; of the last there is none."""
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint("flexiast"), NAME]) == 0
    first = hub.repositories[NAME].resolve("main")
    hub.repositories[NAME].commit({name: None for name in ("config.json", "model.safetensors")})
    for method, command in (("flexiast", "a task's pipeline"), ("voiceldm", "a diffusers pipeline")):
        ask(hub)
        capfd.readouterr()
        status = main([*commands[command], "--revision", first])
        assert status == (0 if method == "flexiast" else 1)
        assert main(commands[command]) == 1
        assert main([*commands[command], "--revision", "v9"]) == 1
        line = capfd.readouterr().err.splitlines()[-1]
        assert f"`{NAME}` has no revision `v9`" in line


@pytest.mark.parametrize(
    ("model", "place"), [([], "the toy checkpoint is no repository"), (["--model", "."], "`.` is a")]
)
def test_a_revision_of_a_folder_is_refused(commands, capfd, model, place):
    words = commands["a task's pipeline"]
    assert main([*words[: words.index("--model")], *model, "--revision", "v1"]) == 1
    assert place in capfd.readouterr().err
