"""Saved folders that are cut off, spoiled or of another config: one line that names what does not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.diffusion import PIPELINES
from contract.tiny import tiny_model
from refusals import refused
from safetensors.torch import load_file, save_file

import avzoo
from avzoo import zoo
from avzoo.audio import write_wav
from avzoo.pipelines.shared.saved_folders import load_checked_pipeline
from avzoo.video import write_video

KERNEL = "flexiast.embeddings.patch_embeddings.weight"


@pytest.fixture
def folder(model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "spoiled"))


@pytest.fixture
def sound(tmp_path) -> Path:
    write_wav(tmp_path / "tone.wav", np.zeros(16000, np.float32), 16000)
    return tmp_path / "tone.wav"


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors") | changes
    save_file({key: value for key, value in tensors.items() if value is not None}, folder / "model.safetensors")


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def rename_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.sense.bias"] = tensors.pop("classifier.dense.bias")
    save_file(tensors, folder / "model.safetensors")


def spoil_a_value(folder: Path) -> None:
    kernel = load_file(folder / "model.safetensors")[KERNEL]
    kernel[0, 0, 0, 0] = float("nan")
    change_weights(folder, **{KERNEL: kernel})


def make_whole_numbers(folder: Path) -> None:
    change_weights(folder, **{KERNEL: load_file(folder / "model.safetensors")[KERNEL].long()})


DAMAGES = {
    "weights cut off": (
        lambda folder: cut(folder / "model.safetensors"),
        "model.safetensors` cannot be read, it is cut",
    ),
    "weights empty": (
        lambda folder: cut(folder / "model.safetensors", 0),
        "model.safetensors` cannot be read, it is cut",
    ),
    "weights of text": (
        lambda folder: (folder / "model.safetensors").write_text("<html>quota exceeded</html>"),
        "model.safetensors` cannot be read, it is cut",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "holds no weights, such as model.safetensors",
    ),
    "a tensor missing": (
        lambda folder: change_weights(folder, **{KERNEL: None}),
        f"lacks 1 of the 43 tensors of FlexiASTForAudioClassification (`{KERNEL}`): they would be random",
    ),
    "a tensor renamed": (rename_a_tensor, "lacks 1 of the 43 tensors", "`classifier.dense.bias`"),
    "a value of NaN": (spoil_a_value, f"`{KERNEL}` has 1 values that are NaN or infinite"),
    "whole numbers": (make_whole_numbers, f"`{KERNEL}` has values of torch.int64, expected torch.float32"),
    "another width": (
        lambda folder: change_json(folder / "config.json", intermediate_size=48),
        "its weights don't fit its config.json: `flexiast.layers.0.mlp.fc1.weight` has the shape ",
        " among the weights, (48, ",
    ),
    "a thousand million layers": (
        lambda folder: change_json(folder / "config.json", num_hidden_layers=10**9),
        "holds 43 tensors, the network of its config more than 272 parameters",
    ),
    "a width of 10**12": (
        lambda folder: change_json(folder / "config.json", intermediate_size=10**12),
        "its weights don't fit its config.json: ",
        " among the weights, (1000000000000, ",
    ),
    "a negative width": (lambda folder: change_json(folder / "config.json", hidden_size=-64), "hidden_size", "-64"),
    "a width of text": (lambda folder: change_json(folder / "config.json", hidden_size="64"), "hidden_size"),
    "an epsilon of NaN": (
        lambda folder: change_json(folder / "config.json", layer_norm_eps=float("nan")),
        "config.json` is not valid JSON: it holds NaN",
    ),
    "a pointer of Git LFS": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid ..."),
        "model.safetensors` is a pointer of Git LFS and holds no weights: run `git lfs pull`",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "a config cut off": (lambda folder: cut(folder / "config.json"), "config.json` is not valid JSON"),
    "a config of a list": (lambda folder: (folder / "config.json").write_text("[1]"), "holds a JSON list"),
    "a config of another model": (lambda folder: change_json(folder / "config.json", model_type="none"), "none"),
    "a config nested deeply": (
        lambda folder: (folder / "config.json").write_text('{"a":' * 100_000),
        "config.json` is not valid JSON: it is nested too deeply",
    ),
    "no feature extractor": (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
    "a feature extractor cut off": (
        lambda folder: cut(folder / "preprocessor_config.json"),
        "preprocessor_config.json`",
    ),
    "mel bins of text": (
        lambda folder: change_json(folder / "preprocessor_config.json", num_mel_bins="many"),
        "`num_mel_bins` must be a whole number",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_named_in_one_line(avzoo_command, folder, sound, damage):
    spoil, *reasons = DAMAGES[damage]
    spoil(folder)
    refused(avzoo_command("run", "audio-classification", sound, "--model", folder), str(folder), *reasons)


def test_the_folder_itself_runs(avzoo_command, folder, sound):
    assert avzoo_command("run", "audio-classification", sound, "--model", folder)[0] == 0


# --- components of diffusers pipelines --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved_pipeline(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines") / "whole"
    PIPELINES["AVDiffuSSPipeline"].assemble().save_pretrained(folder)
    return folder


@pytest.fixture
def pipeline_folder(saved_pipeline, tmp_path) -> Path:
    return Path(shutil.copytree(saved_pipeline, tmp_path / "spoiled"))


def state(folder: Path, name: str, entry: list | None) -> None:
    change_json(folder / "model_index.json", **{name: entry})


def drop_a_tensor(folder: Path, file: str) -> None:
    tensors = load_file(folder / file)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, folder / file)


NETWORK = "score_model/diffusion_pytorch_model.safetensors"
PIPELINE_DAMAGES = {
    "a network cut off": (lambda folder: cut(folder / NETWORK), f"{NETWORK}` cannot be read, it is cut short"),
    "a tensor missing": (
        lambda folder: drop_a_tensor(folder, NETWORK),
        r"score_model` lacks 1 of the \d+ tensors of AVDiff",
    ),
    "a tensor of an encoder missing": (
        lambda folder: drop_a_tensor(folder, "denoiser_visual_encoder/model.safetensors"),
        r"denoiser_visual_encoder` lacks 1 of the \d+ tensors of AVDiffuSSVisualEncoder",
    ),
    "another width": (
        lambda folder: change_json(folder / "score_model/config.json", num_spectrograms=3),
        r"score_model`: its weights don't fit its config\.json: `.*` has the shape \(.*\) among the weights, \(",
    ),
    "a component missing": (
        lambda folder: shutil.rmtree(folder / "denoiser"),
        "lacks the folder of its component `denoiser`",
    ),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "holds no model_index.json"),
    "an index cut off": (lambda folder: cut(folder / "model_index.json"), "model_index.json` is not valid JSON"),
    "another pipeline": (
        lambda folder: change_json(folder / "model_index.json", _class_name="VoiceLDMPipeline"),
        "is of a 'VoiceLDMPipeline', expected 'AVDiffuSSPipeline'",
    ),
    "a function of the system": (
        lambda folder: state(folder, "denoiser", ["os", "system"]),
        r"the component `denoiser` is stated to be \['os', 'system'\], which is no class of avzoo, diffusers, transf",
    ),
    "a module of the current folder": (
        lambda folder: state(folder, "denoiser", ["evil", "Network"]),
        r"`denoiser` is stated to be \['evil', 'Network'\]",
    ),
    "no class": (
        lambda folder: state(folder, "denoiser", ["diffusers", "utils"]),
        r"`denoiser` is stated to be \['diffusers', 'utils'\]",
    ),
    "a component outside": (
        lambda folder: state(folder, "../whole", ["avzoo", "AVDiffuSSModel"]),
        r"names '../whole', which is no component of AVDiffuSSPipeline",
    ),
}


@pytest.mark.parametrize("damage", PIPELINE_DAMAGES)
def test_a_damaged_pipeline_names_its_component(pipeline_folder, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("evil.py").write_text("open('this_code_ran', 'w')")
    spoil, reason = PIPELINE_DAMAGES[damage]
    spoil(pipeline_folder)
    with pytest.raises((ValueError, OSError), match=reason) as caught:
        load_checked_pipeline(avzoo.AVDiffuSSPipeline, pipeline_folder)
    assert str(pipeline_folder) in str(caught.value)
    assert not Path("this_code_ran").exists()


def test_a_link_to_a_component_outside_is_refused(pipeline_folder, saved_pipeline):
    shutil.rmtree(pipeline_folder / "denoiser")
    (pipeline_folder / "denoiser").symlink_to(saved_pipeline / "denoiser")
    with pytest.raises(ValueError, match="denoiser` is a link out of its folder"):
        load_checked_pipeline(avzoo.AVDiffuSSPipeline, pipeline_folder)


def test_a_whole_pipeline_is_loaded(pipeline_folder):
    assert type(load_checked_pipeline(avzoo.AVDiffuSSPipeline, pipeline_folder)) is avzoo.AVDiffuSSPipeline


def test_a_pipeline_that_names_code_beside_its_weights_is_loaded_with_the_installed_classes(pipeline_folder):
    index = json.loads((pipeline_folder / "model_index.json").read_text())
    own = {name: entry for name, entry in index.items() if isinstance(entry, list) and entry[0] == "avzoo"}
    components = {name: ["code", class_name] for name, (_, class_name) in own.items()}
    change_json(pipeline_folder / "model_index.json", _class_name=["code", "AVDiffuSSPipeline"], **components)
    assert type(load_checked_pipeline(avzoo.AVDiffuSSPipeline, pipeline_folder)) is avzoo.AVDiffuSSPipeline


def test_a_command_names_the_damaged_component(avzoo_command, pipeline_folder, tmp_path):
    write_video(tmp_path / "grey.mp4", np.full((5, 64, 64, 3), 90, np.uint8), 25)
    cut(pipeline_folder / NETWORK)
    answer = avzoo_command(
        "run", "audio-visual-separation", tmp_path / "grey.mp4", "-o", tmp_path / "out", "--model", pipeline_folder
    )
    refused(answer, f"{pipeline_folder / NETWORK}` cannot be read, it is cut short or damaged")
    assert not (tmp_path / "out").exists()


def test_a_damaged_detector_is_named(avzoo_command, tmp_path):
    write_video(tmp_path / "grey.mp4", np.full((2, 320, 320, 3), 90, np.uint8), 25)
    folder = tmp_path / "s3fd"
    tiny_model(zoo.find_row("s3fd")).save_pretrained(folder)
    command = ["tracks", tmp_path / "grey.mp4", "--detector", "s3fd", "--detector-model", folder]
    assert avzoo_command(*command)[0] == 0
    cut(folder / "model.safetensors")
    refused(avzoo_command(*command), f"{folder}/model.safetensors` cannot be read, it is cut short or damaged")
