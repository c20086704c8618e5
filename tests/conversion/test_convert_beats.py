"""BEATs' files: settings, sizes, labels, the one table of twelve, and what is refused."""

import json
from pathlib import Path

import pytest
import small_beats as small
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from avzoo import BEATsConfig, BEATsForAudioClassification, BEATsModel
from avzoo.cli import main
from avzoo.conversion import convert_checkpoint, describe_conversion, save_converted
from avzoo.models.flexiast.labels import read_label_table

KEYS = Path(__file__).parents[1] / "golden/cases/acl_ssl/full/keys.json"
LABELS = {0: "rain", 1: "dog", 2: "siren", 3: "bell", 4: "speech"}


def convert(file=None, **options):
    return convert_checkpoint("beats", small.small_file() if file is None else file, **options)


def same_weights(first, second) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- sizes and settings -----------------------------------------------------------------------------------------------


def test_small_files_are_built_as_the_released_one():
    prefix = "audio_backbone."
    released = {
        key.removeprefix(prefix): tuple(shape)
        for key, shape, _ in json.loads(KEYS.read_text())
        if key.startswith(prefix)
    }
    ours = small.list_shapes(classes=527)
    assert ours.keys() | {"predictor.weight", "predictor.bias"} == released.keys() | {
        "predictor.weight",
        "predictor.bias",
    }
    assert all(len(ours[key]) == len(shape) for key, shape in released.items())


def test_every_weight_finds_its_place():
    """Each tensor of the file is in the model exactly once, told by its values."""
    file = small.small_file()
    model = convert(file)
    converted = sorted(tuple(value.flatten().tolist()) for value in model.state_dict().values())
    expected = {tuple(value.flatten().tolist()) for value in file["model"].values()}  # the twelve tables are one
    assert converted == sorted(expected)
    weights = file["model"]
    assert torch.equal(
        model.beats.layers[3].attention.o_proj.weight, weights["encoder.layers.3.self_attn.out_proj.weight"]
    )
    assert torch.equal(model.beats.layers[5].attention_norm.bias, weights["encoder.layers.5.self_attn_layer_norm.bias"])
    assert torch.equal(model.beats.embeddings.layernorm.weight, weights["layer_norm.weight"])
    assert torch.equal(model.beats.layernorm.weight, weights["encoder.layer_norm.weight"])


def test_sizes_come_from_shapes_and_settings_from_the_file():
    file = small.small_file()
    file["cfg"] |= {"deep_norm": False, "layer_norm_first": True, "max_distance": 33, "encoder_layerdrop": 0.1}
    config = convert(file).config
    sizes = (config.hidden_size, config.embedding_size, config.num_hidden_layers, config.num_attention_heads)
    assert sizes == (8, 6, 12, 2)
    assert (config.intermediate_size, config.num_buckets, config.conv_pos_kernel_size) == (12, 8, 4)
    assert (config.deep_norm, config.layer_norm_first, config.max_distance, config.layerdrop) == (False, True, 33, 0.1)
    assert config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("wrap", [lambda weights: {"model": weights}, lambda weights: weights])
def test_without_settings_those_of_the_released_file_are_taken(wrap):
    config = convert(wrap(small.small_weights())).config
    defaults = BEATsConfig()
    assert (config.hidden_size, config.num_attention_heads) == (8, 2)
    for name in ("deep_norm", "layer_norm_first", "max_distance", "layerdrop", "hidden_act"):
        assert getattr(config, name) == getattr(defaults, name)


@pytest.mark.parametrize(
    ("theirs", "value", "ours"),
    [
        ("activation_fn", "relu", "hidden_act"),
        ("dropout", 0.1, "hidden_dropout_prob"),
        ("attention_dropout", 0.1, "attention_probs_dropout_prob"),
        ("activation_dropout", 0.1, "activation_dropout"),
        ("predictor_dropout", 0.1, "classifier_dropout"),
        ("encoder_layerdrop", 0.1, "layerdrop"),
        ("max_distance", 30, "max_distance"),
        ("deep_norm", False, "deep_norm"),
        ("layer_norm_first", True, "layer_norm_first"),
    ],
)
def test_each_setting_of_the_file_is_taken(theirs, value, ours):
    file = small.small_file()
    file["cfg"][theirs] = value
    assert getattr(convert(file).config, ours) == value


@pytest.mark.parametrize(("theirs", "value"), [("activation_fn", "glu"), ("deep_norm", "yes"), ("conv_pos_groups", 3)])
def test_settings_that_no_beats_has_are_blamed_on_the_file(theirs, value):
    file = small.small_file()
    file["cfg"][theirs] = value
    with pytest.raises(ValueError, match=r"checkpoint: its settings \(`cfg`\) fit no BEATs; --config gives others"):
        convert(file)


def test_the_caller_repairs_a_setting_of_the_file():
    file = small.small_file()
    file["cfg"]["activation_fn"] = "glu"
    assert convert(file, config={"hidden_act": "gelu"}).config.hidden_act == "gelu"


def test_tables_that_differ_in_one_bit_are_refused():
    file = small.small_file()
    table = file["model"]["encoder.layers.7.self_attn.relative_attention_bias.weight"]
    table[0, 0] = torch.nextafter(table[0, 0], torch.tensor(torch.inf))
    with pytest.raises(ValueError, match="differs from the table of the first layer"):
        convert(file)


def test_a_bias_of_patches_is_taken():
    file = small.small_file()
    file["model"]["patch_embedding.bias"] = torch.arange(float(small.EMBEDDING))
    model = convert(file)
    assert torch.equal(model.beats.embeddings.patch_embedding.bias, torch.arange(float(small.EMBEDDING)))


def test_a_file_without_gates_gives_a_network_without():
    file = small.small_file()
    file["model"] = {key: value for key, value in file["model"].items() if ".grep_" not in key}
    model = convert(file)
    assert not model.config.gated_position_bias
    assert model.beats.layers[0].attention.gate is None


def test_a_file_of_another_size_converts():
    sizes = {"layers": 3, "width": 16}
    file = {"model": small.small_weights(**sizes, classes=7)}
    model = convert(file)
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.config.num_labels) == (3, 16, 7)
    assert torch.isfinite(model(torch.zeros(1, 32, 128)).logits).all()


def test_the_caller_overrides_settings():
    assert convert(config={"max_distance": 50, "token_mask": "official"}).config.max_distance == 50


def test_the_conversion_tells_what_it_read():
    file = small.small_file(LABELS)
    file["epoch"] = 3
    text = describe_conversion(convert(file))
    assert "beats, variant finetuned" in text
    assert "one table for all layers, stored with each; they are equal" in text
    assert "not read, beside the weights: epoch" in text


@pytest.mark.parametrize("wrap", [True, False])
def test_a_file_without_settings_says_what_was_assumed(wrap):
    weights = small.small_weights()
    text = describe_conversion(convert({"model": weights} if wrap else weights))
    assert "note: checkpoint has no settings (`cfg`), so the released files' are assumed: deep norm" in text


def test_a_file_with_settings_assumes_nothing():
    assert "note:" not in describe_conversion(convert())


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [int, str])
def test_labels_of_the_file_are_read(key):
    config = convert(small.small_file({key(index): label for index, label in LABELS.items()})).config
    assert config.id2label == LABELS


def test_a_list_of_labels_in_the_file_is_read():
    assert convert(small.small_file(list(LABELS.values()))).config.id2label == LABELS


def test_identifiers_of_audioset_become_names():
    table = read_label_table("audioset")[::-1][:5]  # in the file's order, which is not AudioSet's
    config = convert(small.small_file({index: identifier for index, (identifier, _) in enumerate(table)})).config
    assert list(config.id2label.values()) == [name for _, name in table]


def test_without_labels_outputs_have_numbers():
    assert convert().config.id2label == {index: f"LABEL_{index}" for index in range(5)}


@pytest.mark.parametrize("labels", [LABELS, list(LABELS.values())])
def test_labels_of_the_caller_come_first(labels):
    file = small.small_file(dict.fromkeys(range(5), "wrong"))
    assert convert(file, config={"id2label": labels}).config.id2label == LABELS


@pytest.mark.parametrize(
    ("name", "text"), [("names.txt", "\n".join(LABELS.values()) + "\n"), ("names.json", json.dumps(LABELS))]
)
def test_labels_come_from_a_file(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert convert(config={"id2label": tmp_path / name}).config.id2label == LABELS


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["rain", "dog"], "`id2label` has 2 labels, but must name the outputs 0 to 4 of checkpoint"),
        ({1: "a", 2: "b", 3: "c", 4: "d", 5: "e"}, "must name the outputs 0 to 4"),
        (["rain", "dog", "bell", "dog", "siren"], "`id2label` gives the label 'dog' to several outputs"),
        ("nowhere.txt", "id2label `nowhere.txt` does not exist"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises((ValueError, OSError), match=message):
        convert(config={"id2label": labels})


def test_a_label_dictionary_of_another_head_is_refused():
    message = r"`label_dict` of checkpoint has 2 labels, .* 0 to 4 .* others as `id2label`, .* --config id2label=FILE"
    with pytest.raises(ValueError, match=message):
        convert(small.small_file({0: "a", 1: "b"}))


def test_a_label_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"`.*names.txt` is no text in UTF-8, one label a line"):
        convert(config={"id2label": tmp_path / "names.txt"})


def test_an_encoder_takes_no_labels():
    with pytest.raises(ValueError, match=r"has no class head .* so it takes no labels"):
        convert({"model": small.small_weights(classes=None)}, config={"id2label": ["a"]})


# --- without a head ---------------------------------------------------------------------------------------------------


def test_a_pretrained_file_becomes_an_encoder():
    file = {"model": small.small_weights(classes=None) | {"mask_emb": torch.zeros(8)}}
    model = convert(file)
    assert isinstance(model, BEATsModel)
    assert model.config.avzoo_source["variant"] == "pretrained"
    assert "mask_emb" in next(iter(v for k, v in model.config.avzoo_source["tensors_ignored"].items() if "hidden" in k))


@pytest.mark.parametrize(("classes", "variant"), [(5, "pretrained"), (None, "finetuned")])
def test_a_variant_that_the_head_contradicts_is_refused(classes, variant):
    with pytest.raises(ValueError, match=rf"has (a|no) class head .* so it is not '{variant}'"):
        convert({"model": small.small_weights(classes=classes)}, variant=variant)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_tables_that_differ_are_refused():
    file = small.small_file()
    key = "encoder.layers.7.self_attn.relative_attention_bias.weight"
    file["model"][key] = file["model"][key] + 1
    with pytest.raises(ValueError, match=f"checkpoint: `{key}` differs from the table of the first layer"):
        convert(file)


@pytest.mark.parametrize("key", ["patch_embedding.weight", "encoder.pos_conv.0.weight_v"])
def test_a_file_that_tells_no_size_is_refused(key):
    file = small.small_file()
    del file["model"][key]
    with pytest.raises(ValueError, match=f"lacks `{key}`: it is no BEATs checkpoint, or cut short"):
        convert(file)


def test_a_missing_weight_is_named():
    file = small.small_file()
    del file["model"]["encoder.layers.4.fc2.bias"]
    with pytest.raises(ValueError, match=r"encoder\.layers\.4\.fc2\.bias|layers\.4\.fc2\.bias"):
        convert(file)


def test_a_checkpoint_of_another_method_is_refused():
    with pytest.raises(ValueError, match=r"lacks `patch_embedding.weight`: it is no BEATs checkpoint, or cut short"):
        convert({"v.cls_token": torch.zeros(1, 1, 8), "mlp_head.1.weight": torch.zeros(5, 8)})


# --- saved and on the command line ------------------------------------------------------------------------------------


def test_the_folder_loads_through_the_auto_classes(tmp_path):
    model = convert(small.small_file(LABELS))
    folder = save_converted(model, tmp_path / "beats")
    loaded, report = AutoModelForAudioClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert type(loaded) is BEATsForAudioClassification
    assert same_weights(loaded, model)
    assert loaded.config.id2label == LABELS
    encoder = AutoModel.from_pretrained(folder)
    assert type(encoder) is BEATsModel
    assert same_weights(encoder, model.beats)
    assert AutoFeatureExtractor.from_pretrained(folder).max_length == 998


def test_the_command_converts_with_a_file_of_labels(tmp_path, capsys, monkeypatch):
    torch.save(small.small_file(), tmp_path / "beats.pt")
    (tmp_path / "names.txt").write_text("\n".join(LABELS.values()))
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "beats", "beats.pt", "out", "--config", "id2label=names.txt"]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"]["2"] == "siren"
    assert "beats, variant finetuned" in capsys.readouterr().err


def test_files_that_hold_settings_beside_the_weights_are_read_without_running_code(tmp_path):
    torch.save(small.small_file(LABELS), tmp_path / "beats.pt")
    assert convert(tmp_path / "beats.pt").config.id2label == LABELS
