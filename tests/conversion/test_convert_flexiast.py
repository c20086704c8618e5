"""From the files of three authors to one model: what is taken, what is left, and what is written."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from small_flexiast import INTERMEDIATE, LAYERS, RELEASED, WIDTH, ast_file, flexiast_file, spectrogram, transformers_ast
from transformers import ASTFeatureExtractor

import avzoo
import avzoo.model_cards
from avzoo import FlexiASTFeatureExtractor, FlexiASTForAudioClassification, zoo
from avzoo.conversion import convert_checkpoint, save_converted
from avzoo.models.flexiast.labels import label_names
from avzoo.models.flexiast.resizing import resize_patch_kernel, resize_position_embeddings

# --- FlexiAST files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leftover_patch", [8, 16])
@pytest.mark.parametrize("prefix_tokens", [1, 2])
@torch.no_grad()
def test_leftovers_never_reach_the_model(leftover_patch, prefix_tokens):
    """With base patch 16 the leftovers have the very shapes of what is needed."""
    source = flexiast_file(5, prefix_tokens, leftover_patch)
    model = convert_checkpoint("flexiast", source)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    embeddings = model.flexiast.embeddings
    assert torch.equal(embeddings.patch_embeddings.weight, source["module.patch_embed.proj.weight"])
    assert torch.equal(embeddings.position_embeddings, source["module.pos_embed.pos_embed"])
    for size in (16, 24, (16, 8)):
        assert model(spectrogram(), size).logits.isfinite().all()


@pytest.mark.parametrize("prefix_tokens", [1, 2])
def test_sizes_are_told_from_the_shapes(prefix_tokens):
    config = convert_checkpoint("flexiast", flexiast_file(7, prefix_tokens)).config
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (WIDTH, LAYERS, INTERMEDIATE)
    assert (config.num_prefix_tokens, config.num_labels) == (prefix_tokens, 7)
    assert (config.patch_size, config.position_grid, config.stride) == ((16, 16), (8, 64), None)
    assert (config.layer_norm_eps, config.classifier_layer_norm_eps) == (1e-6, 1e-5)


def test_every_needed_tensor_lands_in_its_place():
    source = {key.removeprefix("module."): tensor for key, tensor in flexiast_file(5, 2).items()}
    state = convert_checkpoint("flexiast", source).state_dict()
    for n in range(LAYERS):
        theirs, ours = f"v.blocks.{n}.", f"flexiast.layers.{n}."
        qkv = [source[theirs + "attn.qkv.weight"][WIDTH * i : WIDTH * (i + 1)] for i in range(3)]
        for part, rows in zip("qkv", qkv, strict=True):
            assert torch.equal(state[f"{ours}attention.{part}_proj.weight"], rows)
        for their_name, our_name in {
            "attn.proj.bias": "attention.o_proj.bias",
            "norm1.weight": "layernorm_before.weight",
            "norm2.weight": "layernorm_after.weight",
            "mlp.fc1.weight": "mlp.fc1.weight",
            "mlp.fc2.bias": "mlp.fc2.bias",
        }.items():
            assert torch.equal(state[ours + our_name], source[theirs + their_name])
    for their_name, our_name in {
        "v.cls_token": "flexiast.embeddings.cls_token",
        "v.dist_token": "flexiast.embeddings.distillation_token",
        "v.norm.weight": "flexiast.layernorm.weight",
        "mlp_head.0.weight": "classifier.layernorm.weight",
        "mlp_head.1.weight": "classifier.dense.weight",
    }.items():
        assert torch.equal(state[our_name], source[their_name])


@pytest.mark.parametrize("variant", RELEASED)
@pytest.mark.parametrize("named", [False, True])
def test_a_released_file_gets_its_labels_and_constants(variant, named):
    classes, prefix_tokens = RELEASED[variant]
    source = flexiast_file(classes, prefix_tokens)
    model = convert_checkpoint("flexiast", source, variant=variant if named else None)
    row = zoo.find_row("flexiast").find_variant(variant)
    assert model.config.problem_type == row.config["problem_type"]
    assert list(model.config.id2label.values()) == label_names(variant)
    assert len(model.config.label2id) == classes  # no two classes share a name
    assert model.config.label2id[model.config.id2label[classes - 1]] == classes - 1
    assert model.config.patch_sizes[-1] == ((16, 48) if variant == "voxceleb" else (48, 48))
    assert model.config.num_prefix_tokens == prefix_tokens
    recorded = model.config.avzoo_source
    assert recorded["variant"] == variant
    assert recorded["processor"] == {**row.processor, "max_length": 1024, "num_mel_bins": 128}


def test_a_file_with_other_classes_has_no_labels_of_the_released():
    model = convert_checkpoint("flexiast", flexiast_file(5))
    assert model.config.id2label == {i: f"LABEL_{i}" for i in range(5)}
    assert model.config.problem_type is None
    assert model.config.avzoo_source["variant"] == "flexiast"
    assert model.config.avzoo_source["processor"] == {"max_length": 1024, "num_mel_bins": 128}


def test_a_fine_tuned_form_of_a_released_file_keeps_its_constants_only():
    model = convert_checkpoint("flexiast", flexiast_file(5, 2), variant="audioset")
    row = zoo.find_row("flexiast").find_variant("audioset")
    assert (model.config.num_labels, model.config.id2label[0]) == (5, "LABEL_0")
    assert model.config.problem_type == row.config["problem_type"]
    assert row.processor.items() <= model.config.avzoo_source["processor"].items()


def test_config_fields_win_over_what_is_read_off():
    fields = {
        "num_attention_heads": 4,
        "layer_norm_eps": 1e-12,
        "resize_method": "bilinear",
        "problem_type": "single_label_classification",
        "patch_sizes": [8, 16],
        "num_labels": 309,
    }
    config = convert_checkpoint("flexiast", flexiast_file(309), config=fields).config
    assert config.num_attention_heads == 4
    assert config.layer_norm_eps == 1e-12
    assert config.resize_method == "bilinear"
    assert config.problem_type == "single_label_classification"
    assert config.patch_sizes == [(8, 8), (16, 16)]
    assert config.id2label[0] == "LABEL_0"  # whose classes are counted by hand has others than VGGSound's


def test_other_numbers_of_mel_bins_and_grids_are_taken():
    source = flexiast_file(5, grid=(4, 10))
    config = convert_checkpoint("flexiast", source, config={"num_mel_bins": 64}).config
    assert (config.num_mel_bins, config.position_grid) == (64, (4, 10))
    config = convert_checkpoint("flexiast", source, config={"num_mel_bins": 80, "position_grid": (5, 8)}).config
    assert config.position_grid == (5, 8)
    released = flexiast_file(309, grid=(2, 10))
    sizes = convert_checkpoint("flexiast", released, config={"num_mel_bins": 32}).config.patch_sizes
    assert sizes[-1] == (32, 32)  # the taller ones of the release cannot be


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_becomes_float32(dtype):
    source = {key: tensor.to(dtype) for key, tensor in flexiast_file(5).items()}
    model = convert_checkpoint("flexiast", source)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert model.config.dtype in (None, torch.float32)
    assert model(spectrogram()).logits.dtype == torch.float32


def test_the_model_is_in_evaluation_mode_and_trainable():
    model = convert_checkpoint("flexiast", flexiast_file(5))
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_source_is_not_modified_and_the_model_owns_its_memory():
    source = flexiast_file(5, 2)
    for variant, tensors in ((None, source), ("flexify", ast_file(5))):
        before = {key: tensor.clone() for key, tensor in tensors.items()}
        model = convert_checkpoint("flexiast", tensors, variant=variant)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(3)
        assert tensors.keys() == before.keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor.nan_to_num(), before[key].nan_to_num()), key


def test_no_two_parameters_share_memory():
    parameters = list(convert_checkpoint("flexiast", flexiast_file(5)).parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in parameters}) == len(parameters)


# --- AST files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "stride"), [((12, 101), (10, 10)), ((10, 85), (12, 12)), ((9, 73), (14, 14)), ((8, 64), None)]
)
@torch.no_grad()
def test_the_stride_of_every_published_grid_is_told(grid, stride):
    model = convert_checkpoint("flexiast", ast_file(grid=grid))
    assert (model.config.stride, model.config.position_grid) == (stride, grid)
    assert model.config.avzoo_source["variant"] == "ast"
    assert model.config.avzoo_source["processor"]["max_length"] == 1024
    tokens = model.flexiast(spectrogram()).last_hidden_state.shape[1]
    assert tokens == 2 + grid[0] * grid[1]  # so nothing is resized at the base size


@pytest.mark.parametrize(("frames", "columns"), [(512, 50), (128, 12), (100, 9)])
def test_shorter_asts_are_told_too(frames, columns):
    """ESC-50's and Speech Commands' lengths; the features are as long as the grid reaches."""
    model = convert_checkpoint("flexiast", ast_file(grid=(12, columns)), config={"stride": 10})
    assert (model.config.stride, model.config.position_grid) == ((10, 10), (12, columns))
    assert model.config.avzoo_source["processor"]["max_length"] == 16 + 10 * (columns - 1)
    assert 0 <= frames - model.config.avzoo_source["processor"]["max_length"] < 10


def test_an_ast_of_the_audioset_classes_gets_their_names():
    model = convert_checkpoint("flexiast", ast_file(527))
    assert model.config.id2label[0] == "Speech"
    assert model.config.problem_type == "multi_label_classification"
    processor = model.config.avzoo_source["processor"]
    assert (processor["mean"], processor["std"]) == (-4.2677393, 4.5689974)


@pytest.mark.parametrize(
    ("options", "patch_size", "grid"),
    [
        ({}, (16, 16), (8, 64)),
        ({"patch_size": 32}, (32, 32), (4, 32)),
        ({"patch_size": (8, 16)}, (8, 16), (16, 64)),
        ({"position_grid": (8, 32)}, (16, 16), (8, 32)),
        ({"patch_size": 8, "position_grid": (3, 5)}, (8, 8), (3, 5)),
    ],
)
@torch.no_grad()
def test_any_ast_is_made_flexible(options, patch_size, grid):
    source = {key.removeprefix("module."): tensor for key, tensor in ast_file().items()}
    model = convert_checkpoint("flexiast", source, variant="flexify", config=options)
    config = model.config
    assert (config.patch_size, config.position_grid, config.stride) == (patch_size, grid, None)
    assert config.avzoo_source["processor"]["max_length"] == 1024
    kernel, positions = source["v.patch_embed.proj.weight"], source["v.pos_embed"]
    embeddings = model.flexiast.embeddings
    assert torch.equal(embeddings.patch_embeddings.weight, resize_patch_kernel(kernel, patch_size))
    expected = resize_position_embeddings(positions, (12, 101), grid, num_prefix_tokens=2)
    assert torch.equal(embeddings.position_embeddings, expected)
    assert torch.equal(embeddings.distillation_token, source["v.dist_token"])
    assert torch.equal(model.classifier.dense.weight, source["mlp_head.1.weight"])
    for size in (8, 48):
        assert model(spectrogram(), size).logits.isfinite().all()


# --- transformers' AST ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_transformers_folder_is_taken_with_all_it_states(tmp_path):
    names = {0: "cat", 1: "dog", 2: "rain"}
    theirs = transformers_ast(
        id2label=names,
        label2id={name: index for index, name in names.items()},
        hidden_act="relu",
        layer_norm_eps=1e-3,
        qkv_bias=True,
        hidden_dropout_prob=0.25,
        attention_probs_dropout_prob=0.125,
        problem_type="multi_label_classification",
    )
    theirs.save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=64, max_length=120, mean=-3.5, std=2.25).save_pretrained(tmp_path)
    model = convert_checkpoint("flexiast", tmp_path)
    config = model.config
    assert (config.num_attention_heads, config.num_mel_bins, config.num_prefix_tokens) == (2, 64, 2)
    assert (config.patch_size, config.stride, config.position_grid) == ((16, 16), (10, 10), (5, 11))
    assert (config.hidden_act, config.problem_type) == ("relu", "multi_label_classification")
    assert (config.layer_norm_eps, config.classifier_layer_norm_eps) == (1e-3, 1e-3)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.25, 0.125)
    assert config.id2label == names
    assert config.avzoo_source["processor"] == {
        "sampling_rate": 16000,
        "num_mel_bins": 64,
        "max_length": 120,
        "mean": -3.5,
        "std": 2.25,
        "do_normalize": True,
    }
    x = spectrogram(120, 64)
    torch.testing.assert_close(model(x).logits, theirs(x).logits, rtol=1e-5, atol=1e-5)


def test_strides_that_differ_are_taken_from_the_config(tmp_path):
    transformers_ast(frequency_stride=8, time_stride=12).save_pretrained(tmp_path)
    config = convert_checkpoint("flexiast", tmp_path).config
    assert (config.stride, config.position_grid) == ((8, 12), (7, 9))


@pytest.mark.parametrize("stride", [10, 16])
@torch.no_grad()
def test_transformers_ast_to_ours_and_back_is_the_same_model(tmp_path, stride):
    theirs = transformers_ast(stride, max_length=128)
    theirs.save_pretrained(tmp_path)
    back = convert_checkpoint("flexiast", tmp_path).to_transformers_ast()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    x = spectrogram(128, 64)
    torch.testing.assert_close(back(x).logits, theirs(x).logits, rtol=0, atol=0)
    for name in ("layer_norm_eps", "frequency_stride", "time_stride", "num_mel_bins", "hidden_act", "id2label"):
        assert getattr(back.config, name) == getattr(theirs.config, name)


@torch.no_grad()
def test_ours_to_transformers_ast_and_back_is_the_same_model(tmp_path):
    model = convert_checkpoint("flexiast", flexiast_file(5, 2), config={"classifier_layer_norm_eps": 1e-6})
    model.to_transformers_ast().save_pretrained(tmp_path)
    back = convert_checkpoint("flexiast", tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    assert torch.equal(back(spectrogram()).logits, model(spectrogram()).logits)


def test_a_transformers_folder_is_made_flexible(tmp_path):
    transformers_ast().save_pretrained(tmp_path)
    model = convert_checkpoint("flexiast", tmp_path, variant="flexify")
    assert (model.config.stride, model.config.position_grid) == (None, (4, 8))  # 116 frames are covered
    assert model.config.avzoo_source["variant"] == "flexify"


@torch.no_grad()
def test_bare_transformers_weights_need_only_what_shapes_cannot_tell(tmp_path):
    theirs = transformers_ast()
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")  # names in a file differ from those in memory
    config = {"num_attention_heads": 2, "num_mel_bins": 64, "stride": 10}
    model = convert_checkpoint("flexiast", weights, config=config)
    assert (model.config.layer_norm_eps, model.config.num_prefix_tokens) == (1e-12, 2)
    x = spectrogram(120, 64)
    torch.testing.assert_close(model(x).logits, theirs(x).logits, rtol=1e-5, atol=1e-5)


# --- what does not fit ------------------------------------------------------------------------------------------------


def without(tensors: dict, part: str) -> dict:
    return {key: tensor for key, tensor in tensors.items() if part not in key}


REFUSED = {
    "unknown variant": (flexiast_file, {"variant": "audiosett"}, r"no variant of flexiast is called 'audiosett'"),
    "variant of other classes": (
        lambda: flexiast_file(527, 2),
        {"variant": "vggsound"},
        r"has the classes of variant='audioset', not of 'vggsound'",
    ),
    "flexible file as an AST": (flexiast_file, {"variant": "ast"}, r"is a FlexiAST checkpoint.*'ast' is not for"),
    "flexible file flexified": (
        flexiast_file,
        {"variant": "flexify"},
        r"is a FlexiAST checkpoint.*'flexify' is not",
    ),
    "AST as a flexible file": (ast_file, {"variant": "audioset"}, r"is a plain AST checkpoint.*'audioset' is not"),
    "misspelt field": (flexiast_file, {"config": {"num_heads": 1}}, r"`config` has no field 'num_heads'"),
    "another method": (
        lambda: {"encoder.weight": torch.zeros(2)},
        {},
        r"is no FlexiAST or AST checkpoint.*begin with `encoder\.weight`",
    ),
    "no file": (dict, {}, "it is empty"),
    "a wrapped file": (lambda: {"model": flexiast_file()}, {}, "`model` holds a dict"),
    "a layer missing": (
        lambda: without(flexiast_file(), "blocks.1.mlp.fc2"),
        {},
        r"2 tensors stay empty \(`flexiast\.layers\.1\.mlp\.fc2\.weight`, `flexiast\.layers\.1\.mlp\.fc2\.bias`\)",
    ),
    "the head missing": (lambda: without(flexiast_file(), "mlp_head"), {}, r"lacks `mlp_head\.1\.weight`"),
    "the kernel missing": (
        lambda: without(flexiast_file(), "module.patch_embed"),
        {},
        r"lacks `patch_embed\.proj\.weight`",
    ),
    "a key too many": (
        lambda: {**flexiast_file(), "module.lipsync.fc.bias": torch.zeros(3)},
        {},
        r"1 key has no rule \(`lipsync\.fc\.bias`\)",
    ),
    "a colour kernel": (
        lambda: {**flexiast_file(), "module.patch_embed.proj.weight": torch.zeros(WIDTH, 3, 16, 16)},
        {},
        r"1 shape differs \(`flexiast\.embeddings\.patch_embeddings\.weight: \(8, 3, 16, 16\), the model has \(8, 1,",
    ),
    "a token without dimensions": (
        lambda: {**flexiast_file(), "module.v.cls_token": torch.zeros(())},
        {},
        r"`v\.cls_token` must have 3 dimensions, got \(\)",
    ),
    "flat positions": (
        lambda: {**ast_file(), "module.v.pos_embed": torch.zeros(100)},
        {},
        r"`v\.pos_embed` must have 3 dimensions, got \(100,\)",
    ),
    "positions that are no grid": (
        lambda: {**flexiast_file(), "module.pos_embed.pos_embed": torch.zeros(1, 500, WIDTH)},
        {},
        r"499 positions are no grid of 8 rows.*config=\{'position_grid'",
    ),
    "patches taller than the mel bins": (flexiast_file, {"config": {"num_mel_bins": 8}}, "are no grid of 0 rows"),
    "too many labels": (flexiast_file, {"config": {"num_labels": 6}}, r"2 shapes differ \(`classifier\.dense\.weight"),
    "a mapping in place of a file name": (lambda: 3, {}, "int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name):
    source, options, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=message):
        convert_checkpoint("flexiast", source(), **options)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="no method is called 'flexist'; there are: flexiast"):
        convert_checkpoint("flexist", flexiast_file())


@pytest.mark.parametrize("config", [{"num_attention_heads": 3}, {"patch_sizes": [[200, 4]]}, {"hidden_act": 3}])
def test_an_impossible_config_value_is_named(config):
    with pytest.raises(StrictDataclassError, match=next(iter(config))):
        convert_checkpoint("flexiast", flexiast_file(), config=config)


@pytest.mark.parametrize("layout", ["zip", "safetensors"])
def test_a_file_cut_short_is_an_os_error(tmp_path, layout):
    path = tmp_path / ("released.safetensors" if layout == "safetensors" else "released.pth")
    save_file(flexiast_file(), path) if layout == "safetensors" else torch.save(flexiast_file(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(OSError, match=path.name):
        convert_checkpoint("flexiast", path)


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.fixture
def model() -> FlexiASTForAudioClassification:
    return convert_checkpoint("flexiast", flexiast_file(309))


def test_the_config_says_where_the_weights_came_from(tmp_path):
    path = tmp_path / "VGGSound_ViT224_Flexified.pth"
    torch.save(flexiast_file(309), path)
    folder = save_converted(convert_checkpoint("flexiast", path), tmp_path / "converted")
    source = json.loads((folder / "config.json").read_text())["avzoo_source"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert source == {
        "method": "flexiast",
        "variant": "vggsound",
        "variant_told": "by its shapes",
        "tensors_used": source["tensors_used"],
        "tensors_ignored": source["tensors_ignored"],
        "entries_ignored": [],
        "file": "VGGSound_ViT224_Flexified.pth",
        "sha256": digest,
        "avzoo_version": avzoo.__version__,
        "processor": {"mean": -5.0767093, "std": 4.4533687, "max_length": 1024, "num_mel_bins": 128},
    }
    assert str(tmp_path) not in (folder / "config.json").read_text()
    card = (folder / "README.md").read_text()
    assert "VGGSound_ViT224_Flexified.pth" in card
    assert digest in card


def test_weights_from_memory_have_no_file(model):
    source = model.config.avzoo_source
    assert (source["file"], source["sha256"], source["variant"]) == (None, None, "vggsound")


def test_the_record_survives_another_save(model, tmp_path):
    first, second = tmp_path / "first" / "model", tmp_path / "second" / "model"  # the card names the folder
    save_converted(model, first)
    loaded = FlexiASTForAudioClassification.from_pretrained(first)
    assert loaded.config.avzoo_source == model.config.avzoo_source
    save_converted(loaded, second)
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "README.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_parents_are_made_and_an_empty_folder_is_filled(model, tmp_path):
    assert (save_converted(model, str(tmp_path / "a" / "b")) / "config.json").exists()
    (tmp_path / "empty").mkdir()
    assert (save_converted(model, tmp_path / "empty") / "config.json").exists()


def test_a_folder_with_something_in_it_is_left_alone(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=rf"{tmp_path.name}` exists and is not an empty folder"):
        save_converted(model, tmp_path)
    with pytest.raises(FileExistsError, match=r"thesis\.txt` exists"):
        save_converted(model, tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def interrupt_weights(monkeypatch, error):
    save = FlexiASTForAudioClassification.save_pretrained

    def broken(self, folder, *arguments, **options):
        save(self, folder, *arguments, **options)
        raise error

    monkeypatch.setattr(FlexiASTForAudioClassification, "save_pretrained", broken)


def interrupt_processor(monkeypatch, error):
    def broken(self, folder, *arguments, **options):
        (Path(folder) / "preprocessor_config.json").write_text('{"mea')
        raise error

    monkeypatch.setattr(FlexiASTFeatureExtractor, "save_pretrained", broken)


def interrupt_card(monkeypatch, error):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr(avzoo.model_cards, "render_card", broken)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), SystemExit(1)])
@pytest.mark.parametrize("interrupt", [interrupt_weights, interrupt_processor, interrupt_card])
@pytest.mark.parametrize("existed", [False, True])
def test_an_interrupted_save_leaves_nothing(model, tmp_path, monkeypatch, interrupt, error, existed):
    folder = tmp_path / "converted"
    if existed:
        folder.mkdir()
    with monkeypatch.context() as patch:
        interrupt(patch, error)
        with pytest.raises(type(error)):
            save_converted(model, folder)
    assert list(tmp_path.iterdir()) == ([folder] if existed else [])
    assert not existed or not any(folder.iterdir())
    save_converted(model, folder)  # and nothing stands in the way of another attempt
    assert (folder / "README.md").exists()


def test_an_output_below_a_file_is_an_os_error(model, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OSError, match="file"):
        save_converted(model, tmp_path / "file" / "converted")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_parent_that_cannot_be_written_is_an_os_error(model, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match=tmp_path.name):
            save_converted(model, tmp_path / "converted")
    finally:
        tmp_path.chmod(0o700)


def test_a_model_from_elsewhere_is_refused(tmp_path):
    model = FlexiASTForAudioClassification(convert_checkpoint("flexiast", flexiast_file(5)).config)
    del model.config.avzoo_source
    with pytest.raises(ValueError, match="no record of its source; it must come from `convert_checkpoint`"):
        save_converted(model, tmp_path / "converted")
    assert not any(tmp_path.iterdir())
