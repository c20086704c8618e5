"""What is saved and uploaded loads by its name: into an empty cache, and from the cache when the Hub is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from contract.diffusion import PIPELINES
from contract.tiny import TINY, tiny_model
from contract.trainer_gradients import collate, split_items
from diffusers import DiffusionPipeline
from look_alike import TOKEN, Repository

import avzoo
from avzoo import zoo
from avzoo.audio import write_wav
from avzoo.cli import main
from avzoo.toyworld.talkers import Talkers
from avzoo.video import write_video

NAMED = [
    (row, auto_class, name) for row in zoo.ROWS for auto_class, names in row.auto_classes.items() for name in names
]
PIPELINE_ROWS = [row for row in zoo.ROWS if row.diffusion_pipeline is not None]
# What `avzoo run` does with the toy checkpoint of each task; a method without is held against this by a test.
COMMANDS = {
    "flexiast": ("audio-classification", "{recording}"),
    "coarse_to_fine_ast": ("audio-classification", "{recording}"),
    "mtdvocalist": ("audio-visual-synchronization", "{video}", "--max-shift", "2"),
    "voiceldm": (
        *("text-to-audio", "--description", "a hall", "--content", "hello", "-o", "{output}.wav"),
        *("--steps", "1", "--seconds", "0.64", "--seed", "0"),
    ),
    "avdiffuss": ("audio-visual-separation", "{video}", "-o", "{output}", "--denoiser-only"),
    "talknce": ("active-speaker-detection", "{video}"),
    "session_embedding": ("speaker-verification", "{recording}", "{recording}"),
    "ssl_alignment": ("sound-source-localization", "{video}", "--fps", "2"),
    "acl_ssl": ("sound-source-localization", "{video}", "--fps", "2"),
    "slowfast_cslr": ("sign-language-recognition", "{video}"),
    "ltbs": ("lip-to-speech", "{video}", "--face-video"),
}
TOKENIZER_FILES = {"merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"}
EXACT = {"rtol": 0, "atol": 0}


def make_processor(row: zoo.Row):
    if row.name == "ltbs":  # whose pipeline refuses a network of other sizes
        tiny = TINY[row.model_class].config
        return row.load(row.processor_class)(**{name: tiny[name] for name in ("num_mel_bins", "num_units")})
    sizes = TINY["FlexiASTForAudioClassification"].config if row.processor_class.endswith("FeatureExtractor") else {}
    return row.load(row.processor_class)(**({"num_mel_bins": sizes["num_mel_bins"], "max_length": 48} if sizes else {}))


def assert_same_weights(loaded: torch.nn.Module, saved: torch.nn.Module) -> None:
    torch.testing.assert_close(dict(loaded.state_dict()), dict(saved.state_dict()), **EXACT)


def load_auto_class(auto_class: str, name: str, model: torch.nn.Module) -> None:
    """Load by name with the Auto class, and with the class itself; both are the model."""
    for finder in (getattr(transformers, auto_class), type(model)):
        loaded, info = finder.from_pretrained(name, output_loading_info=True)
        assert type(loaded) is type(model)
        assert not any(info.values()), info
        assert_same_weights(loaded, model)
    assert type(transformers.AutoConfig.from_pretrained(name)) is type(model.config)


def load_processor(row: zoo.Row, name: str) -> None:
    loader = transformers.AutoProcessor
    if row.processor_class.endswith("FeatureExtractor"):
        loader = transformers.AutoFeatureExtractor
    assert type(loader.from_pretrained(name)) is row.load(row.processor_class)


def load_diffusion_pipeline(name: str, pipe: DiffusionPipeline) -> None:
    """Load by name with diffusers' own class and with the pipeline's; both have all components, with their weights."""
    for finder in (DiffusionPipeline, type(pipe)):
        loaded = finder.from_pretrained(name)
        assert type(loaded) is type(pipe)
        for component, saved in pipe.components.items():
            assert type(getattr(loaded, component)) is type(saved), component
            if isinstance(saved, torch.nn.Module):
                assert_same_weights(getattr(loaded, component), saved)


def leave_the_hub(hub, go_offline) -> None:
    """From now on a request fails, whoever makes it; the cache stays."""
    hub.requests.clear()
    go_offline()


def test_an_uploaded_tagger_and_an_uploaded_pipeline_load_by_name(hub, ask, go_offline):
    ask(hub)
    row, model = zoo.find_row("flexiast"), tiny_model(zoo.find_row("flexiast"))
    model.push_to_hub("you/tagger")
    make_processor(row).push_to_hub("you/tagger")
    pipe = PIPELINES["AVDiffuSSPipeline"].assemble()
    pipe.push_to_hub("you/separation")
    ask(hub)
    load_auto_class("AutoModelForAudioClassification", "you/tagger", model)
    assert type(transformers.pipeline(row.task, "you/tagger")) is avzoo.AudioClassificationPipeline
    load_diffusion_pipeline("you/separation", pipe)
    leave_the_hub(hub, go_offline)
    load_auto_class("AutoModelForAudioClassification", "you/tagger", model)
    load_diffusion_pipeline("you/separation", pipe)
    assert hub.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["push_to_hub", "avzoo push"])
@pytest.mark.parametrize(
    ("row", "auto_class", "name"), NAMED, ids=[f"{row.name}-{auto_class}-{name}" for row, auto_class, name in NAMED]
)
def test_every_model_loads_by_name_through_its_auto_class(
    hub, ask, go_offline, tmp_path, row, auto_class, name, way, capsys
):
    ask(hub)
    model = tiny_model(row, row.load(name))
    parts = [model, make_processor(row)] if row.processor_class else [model]
    for part in parts:
        part.push_to_hub("you/model") if way == "push_to_hub" else part.save_pretrained(tmp_path / "saved")
    if way == "avzoo push":
        assert main(["push", str(tmp_path / "saved"), "you/model"]) == 0
        assert capsys.readouterr().out.startswith(f"{hub.url}/you/model/commit/")
    task = next((task for task in row.tasks if task.pipeline is not None), None)
    ask(hub)
    for _ in ("from the Hub", "from the cache"):
        load_auto_class(auto_class, "you/model", model)
        if row.processor_class:
            load_processor(row, "you/model")
        if task is not None and name == row.model_class:
            assert type(transformers.pipeline(task.name, "you/model")) is row.load(task.pipeline)
        if name == "S3FDForFaceDetection":
            assert_same_weights(avzoo.S3FDDetector.from_pretrained("you/model").model, model)
        leave_the_hub(hub, go_offline)
    assert hub.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained", "avzoo push"])
@pytest.mark.parametrize("row", PIPELINE_ROWS, ids=lambda row: row.name)
def test_every_diffusers_pipeline_loads_by_name(hub, ask, go_offline, tmp_path, row, way):
    ask(hub)
    pipe = PIPELINES[row.diffusion_pipeline].assemble()
    if way == "push_to_hub":
        pipe.push_to_hub("you/pipeline")
    elif way == "save_pretrained":
        pipe.save_pretrained(str(tmp_path / "saved"), push_to_hub=True, repo_id="you/pipeline")
    else:
        pipe.save_pretrained(tmp_path / "saved")
        assert main(["push", str(tmp_path / "saved"), "you/pipeline"]) == 0
    ask(hub)
    for _ in ("from the Hub", "from the cache"):
        load_diffusion_pipeline("you/pipeline", pipe)
        for component, part in pipe.components.items():  # one network of it, alone
            if type(part).__name__ in row.public_names and isinstance(part, transformers.PreTrainedModel):
                alone = type(part).from_pretrained("you/pipeline", subfolder=component)
                assert_same_weights(alone, part)
        leave_the_hub(hub, go_offline)
    assert hub.requests == []


def test_every_method_has_a_command_here():
    assert set(COMMANDS) == {row.name for row in zoo.METHODS}


@pytest.mark.slow
@pytest.mark.parametrize("row", zoo.METHODS, ids=lambda row: row.name)
def test_the_command_line_runs_an_uploaded_checkpoint_by_name(hub, ask, go_offline, tmp_path, row, capfd):
    """Of the Hub, then of the cache: offline, and with a Hub that is not there."""
    ask(hub)
    assert main(["push", avzoo.toy_checkpoint(row.name), f"you/{row.name}"]) == 0
    places = {"recording": tmp_path / "tone.wav"}
    write_wav(places["recording"], np.sin(np.arange(16000) / 7).astype(np.float32), 16000)
    if any("{video}" in word for word in COMMANDS[row.name]):
        talkers = Talkers(1, split="hub", seconds=1.0, size=[120, 214], situation="conversation")
        places["video"] = talkers.write(talkers[0], tmp_path)[0]
    ask(hub)
    capfd.readouterr()
    answers = []
    for number in range(3):
        words = [word.format(**places, output=tmp_path / f"output{number}") for word in COMMANDS[row.name]]
        status = main(["run", *words, "--model", f"you/{row.name}", "--device", "cpu"])
        answer = capfd.readouterr()
        assert status == 0, answer.err
        answers.append(answer.out.replace(f"output{number}", "output"))
        if number == 0:
            leave_the_hub(hub, go_offline)
    assert hub.requests == []
    assert answers[0]
    assert len(set(answers)) == 1
    files = [sorted(path.name for path in Path(tmp_path / f"output{number}").glob("*")) for number in range(2)]
    assert files[0] == files[1]


@pytest.mark.slow
def test_the_command_line_follows_faces_with_an_uploaded_detector(hub, ask, go_offline, tmp_path, capfd):
    ask(hub)
    tiny_model(zoo.find_row("s3fd")).push_to_hub("you/s3fd")
    write_video(tmp_path / "noise.mp4", np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8), 25)
    ask(hub)
    capfd.readouterr()
    for _ in ("from the Hub", "from the cache"):
        words = [str(tmp_path / "noise.mp4"), "--detector", "s3fd", "--detector-model", "you/s3fd"]
        assert main(["tracks", *words]) == 0
        assert json.loads(capfd.readouterr().out)["num_frames"] == 3
        leave_the_hub(hub, go_offline)
    assert hub.requests == []


@pytest.mark.slow
def test_a_shell_that_never_saw_the_model_runs_it_by_name(hub, tmp_path):
    """Nothing is set but what users set, so the libraries are imported as they are."""
    files = Path(avzoo.toy_checkpoint("voiceldm"))
    hub.repositories["you/voiceldm"] = Repository()
    hub.repositories["you/voiceldm"].commit(
        {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    )
    words = [word.format(output=tmp_path / "speech") for word in COMMANDS["voiceldm"]]
    command = [Path(sys.executable).with_name("avzoo"), "run", *words, "--model", "you/voiceldm", "--device", "cpu"]
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    for offline in ("0", "1"):
        hub.requests.clear()
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**environment, "HF_HUB_OFFLINE": offline}
        )
        assert (result.returncode, result.stdout) == (0, f"{tmp_path / 'speech.wav'}\n"), result.stderr
        assert result.stderr == "seed 0\n"
        assert bool(hub.requests) == (offline == "0")


@pytest.mark.slow
@pytest.mark.parametrize("method", [row.name for row in zoo.METHODS if row.tasks[0].pipeline is not None])
def test_an_uploaded_task_pipeline_loads_by_name(hub, ask, go_offline, method):
    """The model and what it reads media with; nothing else, but for a speaker encoder of the same three files."""
    ask(hub)
    pipe = transformers.pipeline(model=avzoo.toy_checkpoint(method))
    pipe.push_to_hub(f"you/{method}")
    files = {name for name in hub.repositories[f"you/{method}"].files("main") if not name.startswith(".")}
    assert {"config.json", "model.safetensors"} < files
    assert len(files - {"README.md"} - TOKENIZER_FILES) == (6 if method == "ltbs" else 3)
    ask(hub)
    for _ in ("from the Hub", "from the cache"):
        loaded = transformers.pipeline(model=f"you/{method}")
        assert type(loaded) is type(pipe)
        assert_same_weights(loaded.model, pipe.model)
        for part in ("feature_extractor", "processor"):
            assert type(getattr(loaded, part)) is type(getattr(pipe, part))
        leave_the_hub(hub, go_offline)
    assert hub.requests == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "auto_class", "name"),
    [pytest.param(*named, id="-".join(named[1:])) for named in NAMED if "loss" not in TINY[named[2]].without],
)
def test_what_transformers_trainer_uploads_loads_by_name(hub, ask, tmp_path, row, auto_class, name):
    ask(hub)
    model = tiny_model(row, row.load(name))
    processor = make_processor(row) if row.processor_class else None
    # Trainer asks the tokenizer of a processor, and fails where there is none; feature extractors it takes.
    is_taken = processor is not None and not isinstance(processor, transformers.ProcessorMixin)
    arguments = transformers.TrainingArguments(
        tmp_path / "run",
        max_steps=1,
        per_device_train_batch_size=4,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        push_to_hub=True,
        hub_model_id="you/trained",
        hub_token=TOKEN,
    )
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=split_items(TINY[name]),
        data_collator=collate,
        processing_class=processor if is_taken else None,
    )
    trainer.train()
    trainer.push_to_hub()
    ask(hub)
    load_auto_class(auto_class, "you/trained", model)
    if is_taken:
        load_processor(row, "you/trained")
