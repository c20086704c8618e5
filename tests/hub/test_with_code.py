"""`avzoo push --with-code`: it runs where avzoo is not installed; where it is, its own classes are used."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from contract.diffusion import PIPELINES
from contract.tiny import TINY, tiny_model
from diffusers import DiffusionPipeline
from look_alike import Repository
from test_by_name import NAMED, PIPELINE_ROWS, make_processor

import avzoo
from avzoo import zoo
from avzoo.audio import write_wav
from avzoo.cli import main
from avzoo.toyworld.talkers import Talkers
from avzoo.video import write_picture

sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))
from small_flexiast import flexiast_file

SCRIPT = Path(__file__).with_name("without_avzoo.py")
SCENE = {"description": "Rain falls while a man speaks.", "content": "seven", "num_inference_steps": 2}


@pytest.fixture
def recordings(tmp_path):
    """A tone, another that rises, a picture, and a second of a video of two who talk."""
    write_wav(tmp_path / "tone.wav", np.sin(np.arange(16000) / 7).astype(np.float32), 16000)
    write_wav(tmp_path / "chirp.wav", np.sin((np.arange(16000) / 200) ** 2).astype(np.float32), 16000)
    talkers = Talkers(1, split="code", seconds=1.0, situation="mixture", identities=[0, 4])
    video = talkers.write(talkers[0], tmp_path)[0]
    write_picture(tmp_path / "picture.png", np.arange(4800, dtype=np.uint16).reshape(40, 40, 3).astype(np.uint8))
    files = {"tone": "tone.wav", "chirp": "chirp.wav", "picture": "picture.png"}
    return {name: str(tmp_path / file) for name, file in files.items()} | {"video": str(video)}


@pytest.fixture
def run_without_avzoo(hub, tmp_path):
    """`run_without_avzoo(jobs)` are the answers of [`without_avzoo`]; the cache is empty at the first call."""

    def run(jobs: list[dict], offline: str = "0") -> list[dict]:
        torch.save(jobs, tmp_path / "jobs.pt")
        home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": offline}
        environment = {**os.environ, "HF_ENDPOINT": hub.url, **home}
        command = [sys.executable, SCRIPT, tmp_path / "jobs.pt", tmp_path / "answers.pt"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert "Expected types" not in result.stderr  # what diffusers says of a component of another class
        return torch.load(tmp_path / "answers.pt", weights_only=False)

    return run


def assert_equal_answers(answer, expected) -> None:
    """The same numbers to the accuracy of float32, in the same structure."""
    if isinstance(expected, dict):
        assert answer.keys() == expected.keys()
        for name in expected:
            assert_equal_answers(answer[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert len(answer) == len(expected)
        for one, wanted in zip(answer, expected, strict=True):
            assert_equal_answers(one, wanted)
    elif isinstance(expected, torch.Tensor | np.ndarray):
        torch.testing.assert_close(answer, expected)
    elif isinstance(expected, float):
        assert answer == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert answer == expected


def push(folder: Path | str, name: str) -> None:
    assert main(["push", str(folder), name, "--with-code"]) == 0


@pytest.mark.slow
def test_every_model_runs_by_name_where_avzoo_is_not_installed(hub, ask, tmp_path, run_without_avzoo):
    ask(hub)
    jobs, answers = [], []
    for number, (row, auto_class, name) in enumerate(NAMED):
        model, entry = tiny_model(row, row.load(name)), TINY[name]
        model.save_pretrained(tmp_path / str(number))
        if row.processor_class:
            make_processor(row).save_pretrained(tmp_path / str(number))
        push(tmp_path / str(number), f"you/model{number}")
        inputs = entry.inputs(entry.lengths)
        jobs.append({"name": f"you/model{number}", "by": auto_class, "arguments": inputs})
        with torch.no_grad():
            answer = model(**inputs)
        answers.append(answer if torch.is_tensor(answer) else dict(answer))
    check_answers(jobs, run_without_avzoo(jobs), answers)


@pytest.mark.slow
def test_every_pipeline_runs_by_name_where_avzoo_is_not_installed(hub, ask, tmp_path, recordings, run_without_avzoo):
    """Of the toy checkpoints, on the same files with the same answers as where it is installed."""
    ask(hub)
    calls = {
        "audio-classification": {"inputs": recordings["tone"]},
        "audio-visual-synchronization": {"video": recordings["video"], "faces": "frame", "max_shift": 3},
        "active-speaker-detection": {"video": recordings["video"], "faces": "frame"},
        "text-to-audio": SCENE,
        "speaker-verification": {"first": recordings["tone"], "second": recordings["chirp"]},
        "sound-source-localization": {"inputs": {"image": recordings["picture"], "audio": recordings["tone"]}},
        "sign-language-recognition": {"videos": recordings["video"], "n_best": 2},
        "lip-to-speech": {
            "video": recordings["video"],
            "speaker": recordings["tone"],
            "faces": "frame",
            "noise_scale": 0,
        },
        "audio-visual-separation": {
            "audio": recordings["tone"],
            "video": recordings["video"],
            "num_inference_steps": 2,
        },
    }
    jobs, answers = [], []
    for row in zoo.METHODS:
        folder, name = avzoo.toy_checkpoint(row.name), f"you/{row.name}"
        push(folder, name)
        arguments = calls[row.task]
        if row.diffusion_pipeline is None:
            answers.append(transformers.pipeline(row.task, folder)(**arguments))
        else:
            pipe = DiffusionPipeline.from_pretrained(folder)
            pipe.set_progress_bar_config(disable=True)
            answers.append(torch.as_tensor(pipe(**arguments, generator=torch.Generator().manual_seed(0)).audios[0]))
        loader = "pipeline" if row.diffusion_pipeline is None else "DiffusionPipeline"
        # Of several tasks transformers asks which one is meant.
        task = row.task if len(row.tasks) > 1 else None
        jobs.append({"name": name, "by": loader, "task": task, "arguments": arguments})
    check_answers(jobs, run_without_avzoo(jobs), answers)
    hub.answer_all_with = 503
    again = [job for job in jobs if job["by"] == "pipeline"]  # diffusers asks for the commit of code, offline or not
    for job in jobs:  # what is downloaded as a folder runs, too
        copy = tmp_path / "copies" / job["name"]
        for path, content in hub.repositories[job["name"]].files("main").items():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_bytes(content)
        again.append({**job, "name": str(copy)})
    expected = [answers[[job["name"] for job in jobs].index("/".join(Path(job["name"]).parts[-2:]))] for job in again]
    check_answers(again, run_without_avzoo(again, offline="1"), expected)


def check_answers(jobs: list[dict], found: list[dict], expected: list) -> None:
    for job, answer, wanted in zip(jobs, found, expected, strict=True):
        assert "error" not in answer, f"{job['name']}: {answer['error']}"
        assert answer["module"].startswith(("transformers_modules.", "diffusers_modules.local."))
        assert_equal_answers(answer["answer"], wanted)


def test_where_avzoo_is_installed_its_own_classes_are_used(hub, ask, tmp_path):
    """Without a question, without trust_remote_code, and without keeping what the repository says of code."""
    ask(hub)
    for method in ("flexiast", "talknce"):
        row, name = zoo.find_row(method), f"you/{method}"
        push(avzoo.toy_checkpoint(method), name)
        ask(hub)
        run = transformers.pipeline(model=name)  # no task is given
        assert type(run) is row.load(row.tasks[0].pipeline)
        assert type(run.model) is row.load(row.model_class)
        assert type(run.feature_extractor or run.processor) is row.load(row.processor_class)
        assert type(transformers.pipeline(row.task, name)) is type(run)
        run.save_pretrained(tmp_path / method)
        saved = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / method).glob("*.json")}
        assert len(saved) == 2
        assert not any("auto_map" in text or "custom_pipelines" in text for text in saved.values())
        assert not list((tmp_path / method).glob("*.py"))
        assert type(transformers.pipeline(model=str(tmp_path / method))) is type(run)


@pytest.mark.parametrize("row", PIPELINE_ROWS, ids=lambda row: row.name)
def test_where_avzoo_is_installed_its_own_diffusion_pipelines_are_used(hub, ask, tmp_path, row):
    ask(hub)
    pipe = PIPELINES[row.diffusion_pipeline].assemble()
    pipe.save_pretrained(tmp_path / "saved")
    push(tmp_path / "saved", "you/pipeline")
    ask(hub)
    for finder in (DiffusionPipeline, type(pipe)):
        loaded = finder.from_pretrained("you/pipeline")
        assert type(loaded) is type(pipe)
        assert {name: type(part) for name, part in loaded.components.items()} == {
            name: type(part) for name, part in pipe.components.items()
        }
    loaded.save_pretrained(tmp_path / "again")
    index, again = (
        json.loads((tmp_path / folder / "model_index.json").read_text(encoding="utf-8"))
        for folder in ("saved", "again")
    )
    again.pop("_name_or_path")
    assert again == index


def test_without_the_option_nothing_speaks_of_code(hub, ask):
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint("flexiast"), "you/tagger"]) == 0
    files = hub.repositories["you/tagger"].files("main")
    assert {name for name in files if not name.startswith(".")} == {
        *("README.md", "config.json", "model.safetensors", "preprocessor_config.json")
    }
    assert not any(b"auto_map" in content or b"custom_pipelines" in content for content in files.values())


def test_a_pushed_folder_stays_as_it_was(hub, ask, tmp_path):
    ask(hub)
    avzoo.FlexiASTForAudioClassification.from_pretrained(avzoo.toy_checkpoint("flexiast")).save_pretrained(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    push(tmp_path, "you/tagger")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert "modeling_flexiast.py" in hub.repositories["you/tagger"].files("main")


@pytest.mark.parametrize("method", ["flexiast", "avdiffuss"])
def test_a_folder_that_came_with_code_is_pushed_again_with_code(hub, ask, tmp_path, method):
    ask(hub)
    push(avzoo.toy_checkpoint(method), "first")
    files = hub.repositories["you/first"].files("main")
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    push(tmp_path, "second")
    again = hub.repositories["you/second"].files("main")
    assert {name for name in again if name != "README.md" and again[name] != files[name]} == set()
    card = again["README.md"].decode()
    assert card.count("## Without avzoo") == 1
    assert '"you/second", trust_remote_code=True)' in card


def test_a_damaged_config_is_refused_by_name(hub, ask, tmp_path, capfd):
    ask(hub)
    (tmp_path / "config.json").write_text('{"model_type": ', encoding="utf-8")
    assert main(["push", str(tmp_path), "you/model", "--with-code"]) == 1
    assert "`config.json` is not valid JSON" in capfd.readouterr().err
    assert hub.repositories == {}


@pytest.mark.parametrize("file", ["config.json", "model_index.json"])
def test_code_of_a_model_outside_the_zoo_is_refused_before_the_hub_is_asked(hub, ask, tmp_path, capfd, file):
    ask(hub)
    (tmp_path / file).write_text('{"model_type": "bert", "_class_name": "AudioLDMPipeline"}', encoding="utf-8")
    assert main(["push", str(tmp_path), "you/model", "--with-code"]) == 1
    assert re.search(r"names? .*'AudioLDMPipeline'|model_type 'bert'", capfd.readouterr().err)
    assert (hub.repositories, hub.requests) == ({}, [])


def run_first_example(card: str) -> dict:
    """The names that the first example of a card defines."""
    namespace = {}
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], namespace)
    return namespace


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[] if row.name == "flexiast" else pytest.mark.slow) for row in zoo.METHODS],
    ids=lambda row: row.name,
)
def test_the_first_example_of_a_pushed_card_names_the_repository_and_runs(
    hub, ask, recordings, monkeypatch, tmp_path, row
):
    ask(hub)
    push(avzoo.toy_checkpoint(row.name), row.name)
    name, card = f"you/{row.name}", hub.repositories[f"you/{row.name}"].files("main")["README.md"].decode()
    assert f"./{row.name}" not in card
    assert "pip install avzoo" not in card
    assert "pip install ." in card
    library = "transformers" if row.diffusion_pipeline is None else "diffusers"
    assert f"library_name: {library}" in card
    assert f'"{name}", trust_remote_code=True)' in card
    monkeypatch.chdir(tmp_path)
    for file in ("recording.wav", "mixture.wav", "enrolment.wav", "test.wav", "siren.wav", "voice.wav"):
        (tmp_path / file).symlink_to(recordings["tone"])
    for file in ("clip.mp4", "meeting.mp4", "face.mp4", "interview.mp4", "street.mp4", "weather.mp4", "silent.mp4"):
        (tmp_path / file).symlink_to(recordings["video"])
    for file in ("street.jpg", "room.jpg"):
        (tmp_path / file).symlink_to(recordings["picture"])
    ask(hub)
    run_first_example(card)


def test_the_first_example_of_a_converted_folders_card_runs_here_and_once_pushed(
    hub, ask, recordings, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    torch.save(flexiast_file(), "small.pth")
    (tmp_path / "recording.wav").symlink_to(recordings["tone"])
    assert main(["convert", "flexiast", "small.pth", "out/flexi", "--config", "num_attention_heads=2"]) == 0
    card = Path("out/flexi/README.md").read_text(encoding="utf-8")
    assert 'model="./out/flexi"' in card
    run_first_example(card)
    ask(hub)
    assert main(["push", "out/flexi", "tagger"]) == 0
    pushed = hub.repositories["you/tagger"].files("main")["README.md"].decode()
    assert "out/flexi" not in pushed
    run_first_example(pushed)
    assert capfd.readouterr().out.count("[{'score'") == 2


def test_what_a_card_says_of_other_repositories_stays(hub, ask, tmp_path):
    """Only a path is replaced, wherever it is named; a name on the Hub is somebody's own choice."""
    ask(hub)
    avzoo.FlexiASTForAudioClassification.from_pretrained(avzoo.toy_checkpoint("flexiast")).save_pretrained(tmp_path)
    card = (
        'model = load(model="./out/mine")\nother = Model.from_pretrained("them/base")\n`./out/mine` and ./out/mine-2\n'
    )
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert main(["push", str(tmp_path), "you/tagger"]) == 0
    pushed = hub.repositories["you/tagger"].files("main")["README.md"].decode()
    assert pushed == card.replace('"./out/mine"', '"you/tagger"').replace("`./out/mine`", "`you/tagger`")


def test_a_name_alone_finds_the_task_of_a_model_in_the_cache_and_of_a_folder(hub, ask, go_offline):
    ask(hub)
    folder = avzoo.toy_checkpoint("mtdvocalist")
    assert main(["push", folder, "you/sync"]) == 0
    ask(hub)
    for place in ("you/sync", folder):
        assert type(transformers.pipeline(model=place)) is avzoo.AudioVisualSynchronizationPipeline
    go_offline()
    assert type(transformers.pipeline(model="you/sync")) is avzoo.AudioVisualSynchronizationPipeline


def test_the_task_of_other_models_is_asked_of_the_hub_as_before(hub, ask):
    config = transformers.ASTConfig(num_hidden_layers=1).to_json_string()
    hub.repositories["them/ast"] = Repository()
    hub.repositories["them/ast"].commit({"config.json": config.encode()})
    ask(hub)
    with pytest.raises(RuntimeError, match="pipeline_tag"):
        transformers.pipeline(model="them/ast")
