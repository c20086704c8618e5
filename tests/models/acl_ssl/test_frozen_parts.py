"""A folder of ACL-SSL that holds the trained weights alone, and names its frozen networks."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_acl import small_config
from transformers import AutoModel

from avzoo import ACLForSoundLocalization
from avzoo.pipelines.shared.saved_folders import load_checked_model


@pytest.fixture
def model() -> ACLForSoundLocalization:
    torch.manual_seed(0)
    return ACLForSoundLocalization(small_config(confidence_threshold=0.25)).eval()


@pytest.fixture
def folder(model, tmp_path) -> Path:
    """The trained weights in `trained`, the frozen networks in `beats` and `clipseg` beside it."""
    model.audio_encoder.save_pretrained(tmp_path / "beats")
    model.grounder.save_pretrained(tmp_path / "clipseg")
    parts = {"audio_encoder": str(tmp_path / "beats"), "grounder": str(tmp_path / "clipseg")}
    model.save_trained(tmp_path / "trained", parts=parts)
    return tmp_path / "trained"


def change_config(folder: Path, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config["frozen_parts"])
    (folder / "config.json").write_text(json.dumps(config))


def test_the_folder_holds_no_frozen_weight(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {name.split(".")[0] for name in names} == {"audio_embedder", "mask_scale", "mask_shift"}


@pytest.mark.parametrize("loader", [ACLForSoundLocalization, AutoModel])
def test_the_loaded_model_is_the_one_that_was_saved(loader, model, folder):
    loaded = loader.from_pretrained(folder)
    assert loaded.config.confidence_threshold == 0.25
    assert not loaded.training
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_the_frozen_networks_of_any_loaded_model_take_no_gradient(model, folder, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    for place in (folder, tmp_path / "whole"):
        loaded = ACLForSoundLocalization.from_pretrained(place)
        trained = {name.split(".")[0] for name, weight in loaded.named_parameters() if weight.requires_grad}
        assert trained == {"audio_embedder", "mask_scale", "mask_shift"}


def test_the_type_of_weights_can_be_chosen(folder):
    loaded = ACLForSoundLocalization.from_pretrained(folder, dtype=torch.bfloat16)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_trained_in_half_precision_belong_to_the_parts_in_single(folder, tmp_path, dtype):
    loaded = ACLForSoundLocalization.from_pretrained(folder, dtype=dtype)
    names = {part: place["name"] for part, place in loaded.config.frozen_parts.items()}
    parts = {part: str((folder / name).resolve()) for part, name in names.items()}
    loaded.save_trained(tmp_path / "half", parts=parts)
    again = ACLForSoundLocalization.from_pretrained(tmp_path / "half", dtype=dtype)
    weight = again.audio_encoder.layers[0].fc1.weight
    assert torch.equal(weight, loaded.audio_encoder.layers[0].fc1.weight)


def test_the_config_of_the_folder_names_the_class(folder):
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["ACLForSoundLocalization"]


def test_a_loaded_model_is_saved_whole(folder, tmp_path):
    loaded = ACLForSoundLocalization.from_pretrained(folder)
    loaded.save_pretrained(tmp_path / "whole")
    shutil.rmtree(tmp_path / "beats")
    whole, report = ACLForSoundLocalization.from_pretrained(tmp_path / "whole", output_loading_info=True)
    assert not any(report.values()), report
    assert whole.config.frozen_parts is None
    assert loaded.config.frozen_parts is not None


def test_parts_inside_the_folder_move_with_it(model, tmp_path):
    model.audio_encoder.save_pretrained(tmp_path / "one" / "beats")
    model.grounder.save_pretrained(tmp_path / "one" / "clipseg")
    model.save_trained(tmp_path / "one", parts={"audio_encoder": "beats", "grounder": "clipseg"})
    (tmp_path / "one").rename(tmp_path / "two")
    loaded = ACLForSoundLocalization.from_pretrained(tmp_path / "two")
    assert torch.equal(loaded.audio_encoder.layers[0].fc1.weight, model.audio_encoder.layers[0].fc1.weight)


def test_a_part_that_is_not_there_is_named(folder, tmp_path):
    shutil.rmtree(tmp_path / "clipseg")
    with pytest.raises(OSError, match=r"trained weights alone, and its `grounder`, `.*clipseg`, cannot be loaded: "):
        ACLForSoundLocalization.from_pretrained(folder)


def test_a_name_on_the_hub_is_looked_up_there(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    change_config(folder, lambda parts: parts["grounder"].update(name="nobody/clipseg", revision="abc"))
    with pytest.raises(OSError, match=r"its `grounder`, `nobody/clipseg`, cannot be loaded: "):
        ACLForSoundLocalization.from_pretrained(folder)


def test_a_part_is_asked_for_at_its_revision(folder, monkeypatch):
    asked = {}

    def load(name, revision=None, **_):
        asked[name] = revision
        raise OSError("not here")

    change_config(folder, lambda parts: parts["audio_encoder"].update(name="nobody/beats", revision="abc"))
    monkeypatch.setattr("avzoo.models.beats.BEATsModel.from_pretrained", load)
    with pytest.raises(OSError, match=r"its `audio_encoder`, `nobody/beats`, cannot be loaded: "):
        ACLForSoundLocalization.from_pretrained(folder)
    assert asked == {"nobody/beats": "abc"}


def test_other_weights_than_those_of_the_training_are_refused(model, folder, tmp_path):
    torch.manual_seed(1)
    other = ACLForSoundLocalization(small_config())
    other.audio_encoder.save_pretrained(tmp_path / "beats")
    with pytest.raises(ValueError, match=r"`.*beats`, the `audio_encoder` of .* has other weights than those"):
        ACLForSoundLocalization.from_pretrained(folder)


def test_a_missing_trained_weight_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["mask_shift"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks `mask_shift`, a trained weight: it would be random"):
        ACLForSoundLocalization.from_pretrained(folder)


def test_a_trained_weight_of_another_shape_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["audio_embedder.fc2.weight"] = torch.zeros(3, 16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"fc2.weight` has the shape \(3, 16\) among the weights, \(8, 16\) by"):
        ACLForSoundLocalization.from_pretrained(folder)


def test_a_part_that_lacks_weights_is_refused(folder, tmp_path):
    weights = load_file(tmp_path / "beats" / "model.safetensors")
    name = min(weights)
    del weights[name]
    save_file(weights, tmp_path / "beats" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"the `audio_encoder` of .*, lacks 1 tensors, such as `"):
        ACLForSoundLocalization.from_pretrained(folder)


def test_a_damaged_file_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(OSError, match=r"model.safetensors` cannot be read, it is cut short or damaged"):
        ACLForSoundLocalization.from_pretrained(folder)


@pytest.mark.parametrize(
    "parts", [{"grounder": {"name": "a/b"}}, {"grounder": {"name": 3}, "audio_encoder": {}}, "beats"]
)
def test_a_config_that_names_no_parts_is_refused(parts, folder):
    config = json.loads((folder / "config.json").read_text())
    config["frozen_parts"] = parts
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Exception, match="frozen_parts"):
        ACLForSoundLocalization.from_pretrained(folder)


@pytest.mark.parametrize(
    ("parts", "revisions", "message"),
    [
        ({"grounder": "a"}, {}, "`parts` lacks 'audio_encoder': the folder or Hub name"),
        ({"grounder": "a", "audio_encoder": "b", "clip": "c"}, {}, "`parts` has 'clip'; the frozen parts are"),
        ({"grounder": "a", "audio_encoder": "b"}, {"beats": "c"}, "`revisions` has 'beats'; the frozen parts are"),
    ],
)
def test_parts_that_are_not_all_named_are_refused(parts, revisions, message, model, tmp_path):
    with pytest.raises(ValueError, match=message):
        model.save_trained(tmp_path, parts=parts, revisions=revisions)


def test_the_check_of_saved_folders_knows_that_frozen_weights_are_elsewhere(model, folder):
    loaded = load_checked_model(AutoModel, folder)
    assert torch.equal(loaded.grounder.decoder.film_mul.weight, model.grounder.decoder.film_mul.weight)


def test_the_check_of_saved_folders_finds_a_missing_trained_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["mask_shift"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 of the 204 tensors of ACLForSoundLocalization \(`mask_shift`\)"):
        load_checked_model(AutoModel, folder)
