"""Any AST as the start, or as a phase, of training from coarse to fine."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
)

from avzoo import CoarseToFineASTFeatureExtractor, CoarseToFineASTForAudioClassification
from avzoo.conversion import convert_checkpoint, save_converted

WIDTH, INTERMEDIATE = 8, 12
FIFTEEN_MS = {"temporal_compression": "frame_shift", "compression_factor": 1.5}


def timm_file(kernel: str, positions: str, grid: tuple[int, int], patch: tuple[int, int], prefix_tokens: int) -> dict:
    """What a file of the authors holds, tiny; they differ in the names of patch kernel and positions."""
    shapes = {"v.cls_token": (1, 1, WIDTH), "mlp_head.1.weight": (5, WIDTH), "mlp_head.1.bias": (5,)}
    if prefix_tokens == 2:
        shapes["v.dist_token"] = (1, 1, WIDTH)
    shapes |= {f"{kernel}.weight": (WIDTH, 1, *patch), f"{kernel}.bias": (WIDTH,)}
    shapes[positions] = (1, prefix_tokens + grid[0] * grid[1], WIDTH)
    for n in range(2):
        for name, (rows, columns) in {
            "attn.qkv": (3 * WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "mlp.fc1": (INTERMEDIATE, WIDTH),
            "mlp.fc2": (WIDTH, INTERMEDIATE),
        }.items():
            shapes |= {f"v.blocks.{n}.{name}.weight": (rows, columns), f"v.blocks.{n}.{name}.bias": (rows,)}
        shapes |= {f"v.blocks.{n}.norm{i}.{leaf}": (WIDTH,) for i in (1, 2) for leaf in ("weight", "bias")}
    shapes |= {f"{norm}.{leaf}": (WIDTH,) for norm in ("v.norm", "mlp_head.0") for leaf in ("weight", "bias")}
    generator = torch.Generator().manual_seed(0)
    return {f"module.{key}": 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def ast_file(grid: tuple[int, int] = (12, 101), patch: tuple[int, int] = (16, 16)) -> dict:
    return timm_file("v.patch_embed.proj", "v.pos_embed", grid, patch, prefix_tokens=2)


def flexiast_file(grid: tuple[int, int] = (8, 64)) -> dict:
    return timm_file("patch_embed.proj", "pos_embed.pos_embed", grid, (16, 16), prefix_tokens=1)


def transformers_folder(folder, max_length: int = 128, stride: int = 10):
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        num_mel_bins=64,
        patch_size=16,
        num_labels=3,
        frequency_stride=stride,
        time_stride=stride,
        max_length=max_length,
        id2label={0: "dog", 1: "rain", 2: "siren"},
    )
    model = ASTForAudioClassification(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=64, max_length=max_length, mean=-3.5, std=2.5).save_pretrained(folder)
    return folder


def spectrogram(frames: int = 1024, mel_bins: int = 128) -> torch.Tensor:
    return torch.randn(1, frames, mel_bins, generator=torch.Generator().manual_seed(1))


def convert(source, **config) -> CoarseToFineASTForAudioClassification:
    return convert_checkpoint("coarse_to_fine_ast", source, config=config)


def processor_of(model: CoarseToFineASTForAudioClassification) -> dict:
    return model.config.avzoo_source["processor"]


# --- the start at full resolution -------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("source", "stride", "grid"),
    [
        (ast_file(), (10, 10), (12, 101)),
        (ast_file((8, 64)), None, (8, 64)),
        (flexiast_file(), None, (8, 64)),
    ],
    ids=["overlapping AST", "AST", "FlexiAST"],
)
def test_files_of_the_authors_have_the_logits_they_have_as_flexiast(source, stride, grid):
    model = convert(source)
    config = model.config
    assert type(model) is CoarseToFineASTForAudioClassification
    assert not model.training
    assert (config.stride, config.position_grid, config.compression_factor) == (stride, grid, 1)
    assert config.max_length == config.num_frames == processor_of(model)["max_length"] == 1024
    assert config.avzoo_source["method"] == "coarse_to_fine_ast"
    expected = convert_checkpoint("flexiast", source)(spectrogram()).logits
    assert torch.equal(model(spectrogram()).logits, expected)


@torch.no_grad()
def test_a_folder_of_transformers_has_the_logits_it_has_there(tmp_path):
    folder = transformers_folder(tmp_path)
    model = convert(folder)
    assert torch.equal(
        model(spectrogram(128, 64)).logits, convert_checkpoint("flexiast", folder)(spectrogram(128, 64)).logits
    )
    theirs = ASTForAudioClassification.from_pretrained(folder)
    torch.testing.assert_close(
        model(spectrogram(128, 64)).logits, theirs(spectrogram(128, 64)).logits, rtol=1e-4, atol=1e-5
    )


def test_a_folder_of_transformers_tells_labels_and_constants(tmp_path):
    model = convert(transformers_folder(tmp_path))
    assert model.config.id2label == {0: "dog", 1: "rain", 2: "siren"}
    assert (model.config.max_length, processor_of(model)["max_length"]) == (128, 128)
    assert (processor_of(model)["mean"], processor_of(model)["std"]) == (-3.5, 2.5)


@torch.no_grad()
@pytest.mark.parametrize("max_length", [120, 1000])
def test_an_overlapping_ast_of_any_length_is_taken(max_length, tmp_path):
    """Columns that reach beyond the last whole patch: 11 of 120 frames, where 112 have 10."""
    folder = transformers_folder(tmp_path, max_length)
    model, theirs = convert(folder), ASTForAudioClassification.from_pretrained(folder)
    x = spectrogram(max_length, 64)
    torch.testing.assert_close(model(x).logits, theirs(x).logits, rtol=1e-4, atol=1e-5)


def test_the_source_is_not_shared():
    source = ast_file((8, 64))
    model = convert(source)
    addresses = {tensor.untyped_storage().data_ptr() for tensor in source.values()}
    assert not addresses & {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}


# --- a phase ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"compression_factor": 2}, ("pooling", "max", 2, 2048)),
        ({"compression_factor": 2, "pooling": "mean"}, ("pooling", "mean", 2, 2048)),
        (FIFTEEN_MS, ("frame_shift", "max", 1.5, 1536)),
        ({"temporal_compression": "frame_shift"}, ("frame_shift", "max", 1, 1024)),
        ({"compression_factor": 2, "max_length": 2060}, ("pooling", "max", 2, 2060)),
    ],
    ids=str,
)
def test_the_config_says_which_phase_a_file_is_of(fields, expected):
    model = convert(ast_file((8, 64)), **fields)
    config, processor = model.config, processor_of(model)
    names = ("temporal_compression", "pooling", "compression_factor", "max_length")
    assert tuple(getattr(config, name) for name in names) == expected
    assert tuple(processor[name] for name in names) == expected
    assert (config.position_grid, processor["frame_multiple"]) == ((8, 64), 16)


@torch.no_grad()
@pytest.mark.parametrize(("frames", "columns", "factor"), [(32, 32, 2), (64, 16, 4), (24, 42, 1.5)])
def test_patches_longer_than_high_are_a_phase_of_patchify(frames, columns, factor):
    model = convert(ast_file((8, columns), (16, frames)))
    config = model.config
    assert (config.temporal_compression, config.compression_factor) == ("patchify", factor)
    assert (config.patch_size, config.fine_patch_size) == ((16, frames), (16, 16))
    assert processor_of(model)["frame_multiple"] == 16
    model.set_phase(1)
    assert config.patch_size == (16, 16)
    assert model(spectrogram()).logits.isfinite().all()


@pytest.mark.parametrize(("frames", "columns"), [(32, 32), (24, 42), (48, 21)])
def test_the_published_1024_frames_are_kept_where_they_are_no_whole_patches(frames, columns):
    """42 patches of 24 frames reach over 1008; FlexiAST's converter tells 1024 all the same."""
    model = convert(ast_file((8, columns), (16, frames)))
    assert model.config.max_length == processor_of(model)["max_length"] == 1024


def test_long_patches_may_be_of_another_phase_if_the_config_says_so():
    model = convert(ast_file((8, 32), (16, 32)), compression_factor=2)
    assert (model.config.temporal_compression, model.config.patch_size) == ("pooling", (16, 32))
    assert processor_of(model)["frame_multiple"] == 32


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 1}, r"`config` has no field 'num_heads'.*CoarseToFineASTConfig"),
        ({"compresion_factor": 2}, "`config` has no field 'compresion_factor'"),
        (
            {"compression_factor": 2, "max_length": 1024},
            r"`position_grid` \(8, 64\) is not the \(8, 32\) that `max_length` 1024 makes at `compression_factor` 2",
        ),
        ({"max_length": 1000}, r"`position_grid` \(8, 64\) is not the \(8, 62\) that `max_length` 1000"),
        ({"compression_factor": 1.5}, r"`compression_factor` 1\.5.*'pooling'"),
        ({"temporal_compression": "patchify", "compression_factor": 1.5}, r"`patch_size` \(16, 16\) is no patch"),
        ({"temporal_compression": "frame_shift", "compression_factor": 1.25}, r"1\.25.*12\.5 ms"),
        ({"temporal_compression": "stretch"}, "`temporal_compression` must be one of.*got 'stretch'"),
        ({"pooling": "median"}, "'pooling' expected one of.*got median"),
        ({"compression_factor": 0}, "`compression_factor` must be at least 1, got 0"),
        ({"compression_factor": None}, "compression_factor"),
        ({"max_length": "1024"}, "'max_length' expected int"),
        ({"position_grid": (8, 32)}, r"checkpoint does not fit.*position_embeddings"),
        ({"patch_size": 8}, "patch"),
    ],
    ids=str,
)
def test_a_field_that_does_not_fit_is_refused_by_name(fields, message):
    with pytest.raises((StrictDataclassError, ValueError, TypeError), match=f"(?s){message}"):
        convert(ast_file((8, 64)), **fields)


@pytest.mark.parametrize("variant", ["flexify", "audioset"])
def test_variants_of_flexiast_are_none_of_this_method(variant):
    with pytest.raises(ValueError, match=f"no variant of coarse_to_fine_ast is called '{variant}'"):
        convert_checkpoint("coarse_to_fine_ast", ast_file(), variant=variant)


def test_a_file_of_another_method_is_told():
    with pytest.raises(ValueError, match="is no FlexiAST or AST checkpoint"):
        convert({"encoder.weight": torch.zeros(2)})


# --- what is written --------------------------------------------------------------------------------------------------


def assert_one_phase(folder) -> tuple[CoarseToFineASTForAudioClassification, CoarseToFineASTFeatureExtractor]:
    """The model and the extractor of a folder, which must be of the same phase."""
    model = AutoModelForAudioClassification.from_pretrained(folder)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert type(model) is CoarseToFineASTForAudioClassification
    assert type(extractor) is CoarseToFineASTFeatureExtractor
    for name in ("temporal_compression", "pooling", "compression_factor", "max_length", "num_frames", "num_mel_bins"):
        assert getattr(model.config, name) == getattr(extractor, name), name
    return model, extractor


@torch.no_grad()
@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (ast_file(), {}),
        (ast_file((8, 16)), {"compression_factor": 4, "pooling": "mean"}),
        (flexiast_file((8, 42)), FIFTEEN_MS | {"max_length": 1024}),
        (ast_file((8, 42), (16, 24)), {}),
    ],
    ids=["fine", "pooling", "frame_shift", "patchify"],
)
def test_what_is_written_loads_with_model_and_extractor_in_one_phase(source, fields, tmp_path):
    model = convert(source, **fields)
    folder = save_converted(model, tmp_path / "converted")
    assert (folder / "README.md").exists()
    loaded, extractor = assert_one_phase(folder)
    noise = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
    features = extractor(noise, 16000, return_tensors="pt").input_values
    assert features.shape == (1, model.config.num_frames, 128)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(loaded(features).logits, model(features).logits)  # memory is aligned otherwise


def test_a_model_that_changed_its_phase_is_written_in_that_phase(tmp_path):
    model = convert(ast_file((8, 64)))
    model.set_phase(4, pooling="mean")
    assert_one_phase(save_converted(model, tmp_path / "converted"))


def test_a_start_from_a_converted_flexiast_has_no_record_of_another_model(tmp_path):
    model = CoarseToFineASTForAudioClassification.from_flexiast(convert_checkpoint("flexiast", ast_file((8, 64))))
    with pytest.raises(ValueError, match="`model` has no record of its source"):
        save_converted(model, tmp_path / "converted")
