"""What is special to coarse-to-fine AST: phases, how weights go from one to the next, and the AST that comes out."""

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import ASTForAudioClassification, AutoFeatureExtractor, AutoModelForAudioClassification

from avzoo import (
    CoarseToFineASTConfig,
    CoarseToFineASTFeatureExtractor,
    CoarseToFineASTForAudioClassification,
    FlexiASTConfig,
    FlexiASTForAudioClassification,
)
from avzoo.models.flexiast.resizing import resize_patch_kernel

NETWORK = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "num_mel_bins": 64,
    "patch_size": 16,
    "num_labels": 5,
    "initializer_range": 0.2,
}
TINY = NETWORK | {"max_length": 96}  # a 4 x 6 grid
PHASES = [("pooling", 1), ("pooling", 3), ("frame_shift", 2), ("patchify", 2), ("patchify", 1.5)]
PHASE_FIELDS = ("temporal_compression", "compression_factor", "patch_size", "stride", "position_grid", "num_frames")


def tiny(**config) -> CoarseToFineASTForAudioClassification:
    torch.manual_seed(0)
    return CoarseToFineASTForAudioClassification(CoarseToFineASTConfig(**{**TINY, **config})).eval()


def tiny_flexiast(**config) -> FlexiASTForAudioClassification:
    torch.manual_seed(0)
    return FlexiASTForAudioClassification(FlexiASTConfig(**{**NETWORK, "position_grid": (4, 6), **config})).eval()


def in_phase(method: str, factor: float, **config) -> CoarseToFineASTForAudioClassification:
    model = tiny(**config)
    model.set_phase(factor, method)
    return model


def spectrogram(frames: int = 96) -> torch.Tensor:
    return torch.randn(2, frames, 64, generator=torch.Generator().manual_seed(1))


def phase_of(config: CoarseToFineASTConfig) -> tuple:
    return tuple(getattr(config, name) for name in PHASE_FIELDS)


def snapshot(model: nn.Module) -> tuple[dict, dict]:
    return {name: value.clone() for name, value in model.state_dict().items()}, model.config.to_dict()


def assert_unchanged(model: nn.Module, before: tuple[dict, dict]) -> None:
    weights, config = before
    assert model.config.to_dict() == config
    torch.testing.assert_close(dict(model.state_dict()), weights, rtol=0, atol=0)


def grid_of(positions: torch.Tensor, rows: int, columns: int, prefix: int = 1) -> torch.Tensor:
    """(1, hidden_size, rows, columns), as torch interpolates pictures."""
    return positions[:, prefix:].view(1, rows, columns, -1).permute(0, 3, 1, 2)


# --- from one phase to the next ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1.5,), ValueError, r"`compression_factor` 1\.5.*'pooling'"),
        ((2, "stretch"), ValueError, "`temporal_compression` must be one of.*'stretch'"),
        ((2, None, "median"), ValueError, "`?pooling.*median"),
        ((7,), ValueError, "`compression_factor` 7 leaves 13 of `max_length` 96"),
        ((7, "patchify"), ValueError, r"leaves 96 of `max_length` 96 frames, less than one patch of 112"),
        (("2",), TypeError, "`compression_factor` must be a number, got '2'"),
    ],
    ids=str,
)
def test_a_refused_phase_changes_nothing(arguments, error, message):
    model = in_phase("pooling", 2)
    before = snapshot(model)
    with pytest.raises(error, match=f"(?s){message}"):
        model.set_phase(*arguments)
    assert_unchanged(model, before)


@pytest.mark.parametrize("prefix_tokens", [1, 2])
def test_prefix_rows_stay_and_the_grid_is_stretched_with_half_pixel_centres(prefix_tokens):
    model = tiny(num_prefix_tokens=prefix_tokens, compression_factor=2)
    embeddings = model.flexiast.embeddings
    before = embeddings.position_embeddings.detach().clone()
    model.set_phase(1)
    assert torch.equal(embeddings.position_embeddings[:, :prefix_tokens], before[:, :prefix_tokens])
    expected = nn.functional.interpolate(
        grid_of(before, 4, 3, prefix_tokens), (4, 6), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(grid_of(embeddings.position_embeddings.detach(), 4, 6, prefix_tokens), expected)


def test_a_coarse_column_lies_over_the_fine_columns_it_stands_for():
    model = tiny(compression_factor=2)
    positions = model.flexiast.embeddings.position_embeddings
    with torch.no_grad():
        positions[0, 1:] = torch.tensor([0.5, 2.5, 4.5]).repeat(4)[:, None]  # centres, counted in fine columns
    model.set_phase(1)
    columns = positions[0, 1:, 0].view(4, 6)
    torch.testing.assert_close(columns.detach(), torch.tensor([[0.5, 1.0, 2.0, 3.0, 4.0, 4.5]]).expand(4, 6))


def test_a_grid_that_shrinks_is_averaged_and_not_cut():
    model = tiny()
    before = model.flexiast.embeddings.position_embeddings.detach().clone()
    model.set_phase(3)
    expected = nn.functional.interpolate(
        grid_of(before, 4, 6), (4, 2), mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(grid_of(model.flexiast.embeddings.position_embeddings.detach(), 4, 2), expected)


@pytest.mark.parametrize(("method", "factor"), PHASES)
def test_all_other_weights_are_left_alone(method, factor):
    model = tiny()
    resized = {"flexiast.embeddings.position_embeddings"}
    if method == "patchify":
        resized.add("flexiast.embeddings.patch_embeddings.weight")
    before = {name: (value, value.data_ptr(), value.detach().clone()) for name, value in model.named_parameters()}
    model.set_phase(factor, method)
    for name, value in model.named_parameters():
        same, address, values = before[name]
        assert value is same
        if name not in resized:
            assert value.data_ptr() == address
            assert torch.equal(value, values)


@pytest.mark.parametrize("resize_method", ["pi", "bilinear"])
def test_the_kernel_of_patchify_is_resized_as_the_config_says(resize_method):
    model = in_phase("patchify", 2, resize_method=resize_method)
    patches = model.flexiast.embeddings.patch_embeddings
    assert patches.kernel_size == tuple(patches.weight.shape[-2:]) == (16, 32)
    coarse = patches.weight.detach().clone()
    model.set_phase(1)
    assert patches.kernel_size == (16, 16)
    assert torch.equal(patches.weight, resize_patch_kernel(coarse, (16, 16), resize_method))


def test_pooling_after_patchify_has_the_fine_kernel_again():
    model = in_phase("patchify", 2)
    model.set_phase(2, "pooling")
    assert model.flexiast.embeddings.patch_embeddings.weight.shape[-2:] == (16, 16)
    assert model(spectrogram(48)).logits.isfinite().all()


def test_phase_by_phase_is_not_the_same_as_at_once():
    chained, direct = tiny(compression_factor=3), tiny(compression_factor=3)
    chained.set_phase(2)
    for model in (chained, direct):
        model.set_phase(1)
    ours, theirs = (model.flexiast.embeddings.position_embeddings for model in (chained, direct))
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() > 0.02 * theirs.norm()


def test_the_same_phase_again_changes_nothing():
    model = in_phase("patchify", 1.5)
    before = snapshot(model)
    model.set_phase(1.5)
    assert_unchanged(model, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_phase_keeps_the_precision(dtype):
    model = tiny(compression_factor=2).to(dtype)
    model.set_phase(1, "patchify")
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


@pytest.mark.parametrize(("method", "factor"), [("pooling", 3), ("patchify", 2)])
def test_gradients_flow_to_the_same_parameters_while_the_old_loss_is_held(method, factor):
    model, labels = in_phase(method, factor).train(), torch.tensor([0, 1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    old_loss = model(spectrogram(), labels=labels, full_resolution=True).loss
    old_loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    model.set_phase(1)
    held = optimizer.param_groups[0]["params"]
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), held, strict=True))
    loss = model(spectrogram(), labels=labels).loss
    loss.backward()
    assert all(parameter.grad.shape == parameter.shape and parameter.grad.any() for parameter in held)
    optimizer.step()
    with torch.no_grad():
        assert model(spectrogram(), labels=labels).loss < loss
    assert old_loss.isfinite()


def test_a_pending_gradient_is_told_and_nothing_changes():
    model = tiny(compression_factor=2)
    model(spectrogram(48), labels=torch.tensor([0, 1])).loss.backward()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"cannot change during a step: `flexiast\..*` holds a gradient.*zero_grad"):
        model.set_phase(1)
    assert_unchanged(model, before)
    assert model.flexiast.embeddings.position_embeddings.grad.shape == (1, 13, 24)


def test_frozen_parameters_stay_frozen():
    model = tiny(compression_factor=2)
    model.flexiast.requires_grad_(False)
    model.set_phase(1)
    assert not model.flexiast.embeddings.position_embeddings.requires_grad
    assert model.classifier.dense.weight.requires_grad


# --- full-resolution features -----------------------------------------------------------------------------------------


def by_hand(features: torch.Tensor, method: str, factor: int, pooling: str) -> torch.Tensor:
    if method == "patchify":
        return features
    groups = features[:, : features.shape[1] // factor * factor].unflatten(1, (-1, factor))
    if method == "frame_shift":
        return features[:, ::factor]
    return groups.max(2).values if pooling == "max" else groups.mean(2)


FULL_RESOLUTION = [
    ("frame_shift", 2, "max"),
    ("pooling", 2, "max"),
    ("pooling", 3, "mean"),
    ("patchify", 2, "max"),
    ("pooling", 1, "max"),
]


@torch.no_grad()
@pytest.mark.parametrize(("method", "factor", "pooling"), FULL_RESOLUTION)
def test_the_model_makes_full_resolution_features_short(method, factor, pooling):
    model = tiny()
    model.set_phase(factor, method, pooling)
    expected = model(by_hand(spectrogram(), method, factor, pooling)).logits
    assert torch.equal(model(spectrogram(), full_resolution=True).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("stride", [None, 10])
@pytest.mark.parametrize(("method", "factor", "pooling"), FULL_RESOLUTION)
def test_a_padded_full_resolution_batch_is_its_clips_alone(method, factor, pooling, stride):
    model, frames = tiny(max_length=192, stride=stride), (192, 101, 64)
    model.set_phase(factor, method, pooling)
    clips = torch.randn(3, 192, 64, generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(192) < torch.tensor(frames)[:, None]).long()
    together = model(clips, attention_mask=mask, full_resolution=True).logits
    for clip, count, logits in zip(clips, frames, together, strict=True):
        alone = model(by_hand(clip[None, :count], method, factor, pooling)).logits[0]
        torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)  # sums in another order


@torch.no_grad()
@pytest.mark.parametrize("stride", [None, 10])
def test_full_resolution_features_are_those_of_the_feature_extractor(stride):
    """128 frames by 3 are 42; the extractor makes 32, down to whole patches."""
    model = tiny(max_length=128, stride=stride, compression_factor=3)
    extractor = CoarseToFineASTFeatureExtractor(
        max_length=128, num_mel_bins=64, compression_factor=3, mean=0.0, std=0.5
    )
    clip = spectrogram(128)[0]
    expected = model(extractor.compress(clip)[None]).logits
    torch.testing.assert_close(model(clip[None], full_resolution=True).logits, expected)


def test_positional_labels_stay_where_flexiast_has_them():
    model = tiny()
    loss = model(spectrogram(), None, None, torch.tensor([0, 1])).loss
    assert loss.isfinite()


@pytest.mark.parametrize(
    ("phase", "frames", "message"),
    [
        ((1.5, "frame_shift"), 96, "whole factors only"),
        ((6, "pooling"), 5, "pools more than the 5 frames"),
        ((2, "pooling"), 30, "longer than the input: it has 15 frames"),
    ],
)
def test_full_resolution_features_that_cannot_be_made_short_are_told(phase, frames, message):
    model = tiny()
    model.set_phase(*phase)
    with pytest.raises(ValueError, match=message):
        model(spectrogram(frames), full_resolution=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_values": torch.zeros(96, 64)}, ValueError, r"`input_values` must be \(batch, frames, 64\)"),
        ({"input_values": torch.zeros(2, 96, 64).long()}, TypeError, "floating point"),
        ({"attention_mask": torch.ones(2, 48)}, ValueError, r"`attention_mask` must be.*\(2, 96\)"),
        ({"attention_mask": torch.tensor([[0] + [1] * 95] * 2)}, ValueError, "padding only at the end"),
    ],
)
def test_wrong_full_resolution_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        in_phase("pooling", 2)(**{"input_values": spectrogram(), "full_resolution": True, **arguments})


# --- save and load ----------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("stride", [None, 10])
@pytest.mark.parametrize(("method", "factor"), PHASES)
def test_a_saved_phase_comes_back_bit_for_bit(method, factor, stride, tmp_path):
    model = in_phase(method, factor, stride=stride)
    model.save_pretrained(tmp_path)
    loaded, report = CoarseToFineASTForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert phase_of(loaded.config) == phase_of(model.config)
    features = spectrogram(model.config.num_frames)
    assert torch.equal(loaded(features).logits, model(features).logits)
    loaded.set_phase(1)
    model.set_phase(1)
    assert torch.equal(loaded(spectrogram()).logits, model(spectrogram()).logits)


def test_a_phase_cannot_be_changed_on_loading(tmp_path):
    tiny().save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassError, match=r"(?s)`position_grid` \(4, 6\).*\(4, 3\).*`set_phase` of the model"):
        CoarseToFineASTForAudioClassification.from_pretrained(tmp_path, compression_factor=2)


# --- from an AST and to one -------------------------------------------------------------------------------------------


def assert_nothing_shared(ours: nn.Module, theirs: nn.Module) -> None:
    addresses = [{value.untyped_storage().data_ptr() for value in m.state_dict().values()} for m in (ours, theirs)]
    assert not addresses[0] & addresses[1]


@torch.no_grad()
@pytest.mark.parametrize("fields", [{}, {"stride": 10, "position_grid": (5, 9)}, {"num_prefix_tokens": 2}], ids=str)
def test_a_flexiast_becomes_the_start_with_the_same_logits(fields):
    theirs = tiny_flexiast(**fields, id2label={i: f"name {i}" for i in range(5)})
    ours = CoarseToFineASTForAudioClassification.from_flexiast(theirs)
    assert (ours.config.max_length, ours.config.compression_factor, ours.training) == (96, 1, False)
    assert ours.config.id2label[3] == "name 3"
    assert torch.equal(ours(spectrogram()).logits, theirs(spectrogram()).logits)
    assert_nothing_shared(ours, theirs)


@pytest.mark.parametrize("frames", [96, 100, 90, 120, 1000])
def test_an_overlapping_ast_of_any_length_can_be_the_start(frames):
    columns = (frames - 16) // 10 + 1
    with torch.device("meta"):
        theirs = tiny_flexiast(stride=10, position_grid=(5, columns))
        ours = CoarseToFineASTForAudioClassification.from_flexiast(theirs)
    assert ours.config.position_grid == (5, columns)


@pytest.mark.parametrize(
    ("fields", "phase", "max_length"),
    [
        ({}, {"compression_factor": 2}, 192),
        ({}, {"compression_factor": 2, "max_length": 200}, 200),
        ({}, {"compression_factor": 1.5, "temporal_compression": "frame_shift"}, 144),
        ({"stride": 10, "position_grid": (5, 9)}, {"compression_factor": 2}, 192),
        ({"patch_size": (16, 32), "position_grid": (4, 3)},
         {"compression_factor": 2, "temporal_compression": "patchify"}, 96),
    ],
    ids=str,
)  # fmt: skip
def test_an_ast_may_be_in_a_coarse_phase_already(fields, phase, max_length):
    ours = CoarseToFineASTForAudioClassification.from_flexiast(tiny_flexiast(**fields), **phase)
    assert ours.config.max_length == max_length
    ours.set_phase(1)
    assert ours(spectrogram(max_length)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"compression_factor": 2, "max_length": 96}, r"`position_grid` \(4, 6\) is not the \(4, 3\)"),
        ({"compression_factor": 1.5}, "`compression_factor` 1.5"),
        ({"compression_factor": None}, "`?compression_factor"),
        ({"temporal_compression": "stretch"}, "`temporal_compression` must be one of"),
        ({"compresion_factor": 2}, "compresion_factor"),
    ],
    ids=str,
)
def test_a_phase_that_an_ast_is_not_in_is_refused(phase, message):
    with pytest.raises((StrictDataclassError, ValueError, TypeError), match=f"(?s){message}"):
        CoarseToFineASTForAudioClassification.from_flexiast(tiny_flexiast(), **phase)


@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "factor", "fields"),
    [("pooling", 1, {}), ("frame_shift", 1, {"stride": 10}), ("patchify", 2, {}), ("patchify", 1.5, {"stride": 10})],
)
def test_what_comes_out_is_an_ordinary_ast(method, factor, fields):
    ours = in_phase(method, factor, **fields, id2label={i: f"name {i}" for i in range(5)})
    theirs = ours.to_flexiast()
    assert type(theirs) is FlexiASTForAudioClassification
    assert type(theirs.config) is FlexiASTConfig
    assert not set(theirs.config.to_dict()) & {"temporal_compression", "compression_factor", "max_length"}
    assert theirs.config.id2label[3] == "name 3"
    assert torch.equal(theirs(spectrogram()).logits, ours(spectrogram()).logits)
    assert_nothing_shared(ours, theirs)


@pytest.mark.parametrize("way_out", ["to_flexiast", "fold", "to_transformers_ast"])
@pytest.mark.parametrize("method", ["pooling", "frame_shift"])
def test_no_ast_comes_out_of_a_coarse_phase(method, way_out):
    model = in_phase(method, 2)
    with pytest.raises(ValueError, match=rf"phase of `compression_factor` 2 by {method}.*set_phase\(1\) first"):
        getattr(model, way_out)()


@torch.no_grad()
def test_flexiast_reads_the_folder_of_a_trained_model(tmp_path):
    model = in_phase("pooling", 2)
    model.set_phase(1)
    model.save_pretrained(tmp_path)
    loaded, report = FlexiASTForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert torch.equal(loaded(spectrogram()).logits, model(spectrogram()).logits)


@torch.no_grad()
@pytest.mark.parametrize("stride", [None, 10])
def test_transformers_ast_computes_the_same(stride):
    model = tiny(num_prefix_tokens=2, stride=stride)
    theirs = model.to_transformers_ast()
    assert isinstance(theirs, ASTForAudioClassification)
    frames = spectrogram()[:, : theirs.config.max_length]
    torch.testing.assert_close(theirs(frames).logits, model(frames).logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_adapters_move_to_another_phase_and_are_merged_for_a_copy():
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted, merged = (get_peft_model(in_phase("pooling", 2), lora).eval() for _ in range(2))
    merged.load_state_dict(adapted.state_dict())
    merged = merged.merge_and_unload()
    for model in (adapted, merged):
        model.set_phase(1)
    torch.testing.assert_close(adapted(spectrogram()).logits, merged(spectrogram()).logits, rtol=1e-4, atol=1e-5)
    for copy in (adapted.to_flexiast, adapted.fold, adapted.to_transformers_ast):
        with pytest.raises(ValueError, match="layers are wrapped, by adapters"):
            copy()
    ast = get_peft_model(tiny_flexiast(), lora).base_model.model
    with pytest.raises(ValueError, match="layers are wrapped, by adapters"):
        CoarseToFineASTForAudioClassification.from_flexiast(ast)
    torch.testing.assert_close(merged.fold(8)(spectrogram()).logits, merged(spectrogram(), 8).logits)


def test_a_head_adapted_in_a_phase_stays_in_it(caplog):
    model = in_phase("pooling", 2, id2label={i: f"name {i}" for i in range(5)})
    adapted = model.adapt_to_labels(["name 4", "name 1"])
    assert phase_of(adapted.config) == phase_of(model.config)
    assert "2 kept, 0 new (random weights), 3 dropped" in caplog.text
    features = spectrogram(48)
    torch.testing.assert_close(adapted(features).logits, model(features).logits[:, [4, 1]])


def test_a_folded_model_computes_the_same_and_has_no_phases():
    model = tiny()
    folded = model.fold(24)
    assert type(folded) is FlexiASTForAudioClassification
    assert torch.equal(folded(spectrogram()).logits, model(spectrogram(), 24).logits)


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stride", "costs"),
    [
        (None, {1: 1, 2: 0.476, 3: 0.307, 4: 0.233, 8: 0.116}),
        (10, {1: 1, 2: 0.444, 3: 0.282, 4: 0.210, 8: 0.098}),
    ],
)
def test_relative_costs_are_those_of_the_sheet(stride, costs):
    with torch.device("meta"):
        model = CoarseToFineASTForAudioClassification(
            CoarseToFineASTConfig(stride=stride, num_prefix_tokens=1 if stride is None else 2)
        )
    for factor, cost in costs.items():
        assert model.relative_cost(factor) == pytest.approx(cost, abs=6e-4)
        assert model.relative_cost(factor, "frame_shift") == model.relative_cost(factor)


@pytest.mark.parametrize(("method", "factor"), [*PHASES, ("patchify", 1.0625)])
def test_a_cost_does_not_depend_on_the_phase_the_model_is_in(method, factor):
    model = tiny(max_length=1024, stride=10)
    expected = [model.relative_cost(f, "patchify") for f in (1, 1.5, 2, 8)]
    model.set_phase(factor, method)
    assert [model.relative_cost(f, "patchify") for f in (1, 1.5, 2, 8)] == expected


def test_the_cost_of_a_phase_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`compression_factor` 7 leaves 13"):
        tiny().relative_cost(7)


# --- found by transformers --------------------------------------------------------------------------------------------


def write(folder, method: str, factor: float, pooling: str = "max") -> CoarseToFineASTForAudioClassification:
    """A model and its feature extractor in one phase; an input is 0.975 s."""
    model = tiny()
    model.set_phase(factor, method, pooling)
    model.save_pretrained(folder)
    CoarseToFineASTFeatureExtractor(
        max_length=96,
        num_mel_bins=64,
        temporal_compression=method,
        pooling=pooling,
        compression_factor=factor,
    ).save_pretrained(folder)
    return model


def test_the_auto_classes_find_model_and_extractor(tmp_path):
    write(tmp_path, "pooling", 2)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(model) is CoarseToFineASTForAudioClassification
    assert type(extractor) is CoarseToFineASTFeatureExtractor
    assert model.config.num_frames == extractor.num_frames == 48


@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "factor"), [("frame_shift", 1.5), ("frame_shift", 3), ("pooling", 2), ("patchify", 1.5)]
)
def test_the_pipeline_answers_in_a_coarse_phase_for_a_recording_longer_than_a_window(tmp_path, method, factor):
    model = write(tmp_path, method, factor)
    pipe = transformers.pipeline("audio-classification", model=str(tmp_path))
    recording = 0.1 * np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    windows = pipe(recording, overlap=0, top_k=None, return_windows=True)
    assert len(windows) == 3 * 5
    assert windows[-1]["end"] == 2.5
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    first = extractor(recording[: extractor.max_samples], 16000, return_tensors="pt")
    expected = model(**first).logits.softmax(-1)[0].sort(descending=True).values
    torch.testing.assert_close(torch.tensor([row["score"] for row in windows[:5]]), expected)
    assert len(pipe(recording, top_k=2)) == 2
