"""What is special to FlexiAST: the dial, its resizes, and the ways in and out of other AST forms."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import ASTConfig, ASTForAudioClassification

from avzoo import FlexiASTConfig, FlexiASTForAudioClassification, FlexiASTModel
from avzoo.conversion import convert_checkpoint
from avzoo.models.flexiast.augmentation import mask_spectrogram, mix_waveforms
from avzoo.models.flexiast.labels import label_names
from avzoo.models.flexiast.patch_geometry import draw_patch_size
from avzoo.models.flexiast.resizing import (
    cut_or_stretch_position_embeddings,
    interpolation_matrix,
    pseudo_inverse_matrix,
    resize_patch_kernel,
    resize_position_embeddings,
)
from avzoo.models.layers.classification_loss import classification_loss

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "num_mel_bins": 64,
    "patch_size": 16,
    "position_grid": (4, 6),
    "num_labels": 5,
    "initializer_range": 0.2,
}


def tiny(**config) -> FlexiASTForAudioClassification:
    torch.manual_seed(0)
    return FlexiASTForAudioClassification(FlexiASTConfig(**{**TINY, **config})).eval()


@pytest.fixture
def spectrogram() -> torch.Tensor:
    return torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(1))


# --- resizing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "mode", "antialias", "row", "expected"),
    [
        # Half-pixel centres: output i lies at (i + 0.5) * source / target - 0.5, and the edge values go on outside.
        (2, 4, "bilinear", False, 0, [1, 0]),
        (2, 4, "bilinear", False, 1, [0.75, 0.25]),
        (4, 2, "bilinear", False, 0, [0.5, 0.5, 0, 0]),
        # Antialias: a triangle two inputs wide around 0.5, cut at the edge, with the sum 1.
        (4, 2, "bilinear", True, 0, [3 / 7, 3 / 7, 1 / 7, 0]),
        # Keys' kernel with a = -0.75 at the distances 1.25, 0.25, 0.75 and 1.75.
        (4, 8, "bicubic", False, 3, [-0.10546875, 0.87890625, 0.26171875, -0.03515625]),
        (5, 5, "bicubic", True, 2, [0, 0, 1, 0, 0]),
    ],
)
def test_interpolation_weights(source, target, mode, antialias, row, expected):
    matrix = interpolation_matrix(source, target, mode, antialias)
    assert matrix.shape == (target, source)
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix[row], expected, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "antialias"), [("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True)]
)
@pytest.mark.parametrize(("source", "target"), [(16, 8), (16, 24), (8, 21), (64, 7), (5, 5), (1, 4), (4, 1)])
def test_interpolation_matrices_are_those_of_torch(source, target, mode, antialias):
    identity = torch.eye(source, dtype=torch.float64)[None, None]
    expected = nn.functional.interpolate(identity, (target, source), mode=mode, antialias=antialias)[0, 0]
    # Sides of equal length are left alone by torch and by us; only rows are resampled here.
    np.testing.assert_allclose(interpolation_matrix(source, target, mode, antialias), expected, atol=1e-12)


def test_a_grown_patch_keeps_its_product_with_the_grown_kernel():
    generator = torch.Generator().manual_seed(0)
    patch, kernel = torch.randn(1, 1, 16, 16, generator=generator), torch.randn(3, 1, 16, 16, generator=generator)
    grown = nn.functional.interpolate(patch, (24, 40), mode="bilinear")
    expected = (patch * kernel).sum((1, 2, 3))
    torch.testing.assert_close(
        (grown * resize_patch_kernel(kernel, (24, 40))).sum((1, 2, 3)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("size", [(32, 8), (10, 40), (48, 8), (8, 48)])
def test_one_side_may_grow_while_the_other_shrinks(size):
    """There the authors' dense float32 pseudo-inverse returns kernels a million times too large."""
    kernel = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    resized = resize_patch_kernel(kernel, size)
    assert resized.abs().max() < 10 * kernel.abs().max()
    dense = np.kron(interpolation_matrix(16, size[0]), interpolation_matrix(16, size[1]))
    expected = kernel.flatten(1).double().numpy() @ np.linalg.pinv(dense.T, rcond=1e-10).T
    np.testing.assert_allclose(resized.flatten(1).numpy(), expected, atol=1e-5)


def test_pseudo_inverse_undoes_its_interpolation():
    matrix, inverse = interpolation_matrix(16, 24), pseudo_inverse_matrix(16, 24)
    np.testing.assert_allclose(matrix.T @ inverse, np.eye(16), atol=1e-12)


def test_the_same_size_is_left_alone():
    kernel, positions = torch.randn(2, 1, 16, 16), torch.randn(1, 25, 4)
    assert resize_patch_kernel(kernel, (16, 16)) is kernel
    assert resize_position_embeddings(positions, (4, 6), (4, 6), 1) is positions


def test_a_position_grid_is_frequency_major():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    positions = torch.stack([rows, columns], dim=-1).view(1, 24, 2)
    resized = resize_position_embeddings(positions, (4, 6), (2, 3), 0).view(2, 3, 2)
    # Antialias cuts its kernel at the edges, so the outer values lie inside 0.5 and 2.5: (0.75 * 1 + 0.25 * 2) / 1.75.
    torch.testing.assert_close(resized[:, 1, 0], torch.tensor([0.714, 2.286]), atol=1e-3, rtol=0)
    torch.testing.assert_close(resized[0, :, 1], torch.tensor([0.714, 2.5, 4.286]), atol=1e-3, rtol=0)


def test_the_original_ast_cuts_the_middle_of_a_long_grid():
    positions = torch.arange(12.0).view(1, 12, 1)
    cut = cut_or_stretch_position_embeddings(positions, (2, 6), (2, 3), 0)
    assert cut.flatten().tolist() == [2, 3, 4, 8, 9, 10]


def test_positions_that_are_no_grid_are_told():
    with pytest.raises(ValueError, match=r"25 rows, but 2 prefix tokens and a 4 x 6 grid need 26"):
        resize_position_embeddings(torch.zeros(1, 25, 3), (4, 6), (2, 3), 2)


# --- the dial -------------------------------------------------------------------------------------------------------


def test_none_is_the_base_size(spectrogram):
    model = tiny()
    assert torch.equal(model(spectrogram).logits, model(spectrogram, 16).logits)
    assert torch.equal(model(spectrogram).logits, model(spectrogram, (16, 16)).logits)


@pytest.mark.parametrize(("size", "tokens"), [(8, 97), (16, 25), (24, 9), (48, 3), ((16, 8), 49), ((64, 96), 2)])
def test_token_counts(spectrogram, size, tokens):
    model = tiny()
    outputs = model.flexiast(spectrogram, size)
    assert outputs.last_hidden_state.shape == (2, tokens, 24)
    assert model.num_tokens(96, size) == tokens


def test_costs_of_the_released_network_are_those_of_the_sheet():
    with torch.device("meta"):
        model = FlexiASTModel(FlexiASTConfig())
    expected = {8: 251.4, 10: 131.7, 12: 85.6, 16: 48.4, 20: 27.8, 24: 18.7, 30: 12.0, 32: 11.3, 40: 6.6, 48: 3.7}
    for size, gmac in expected.items():
        assert model.multiply_accumulates(1024, size) / 1e9 == pytest.approx(gmac, abs=0.06)


def test_any_length_is_taken(spectrogram):
    model = tiny()
    for frames in (16, 17, 50, 96):
        assert model(spectrogram[:, :frames]).logits.isfinite().all()


def test_frames_after_the_last_whole_patch_do_not_count(spectrogram):
    model = tiny()
    assert torch.equal(model(spectrogram[:, :40], 24).logits, model(spectrogram[:, :24], 24).logits)


def test_overlap_keeps_its_proportion(spectrogram):
    model = tiny(stride=10, position_grid=(5, 9))
    assert model.num_tokens(96) == 1 + 5 * 9
    assert model.num_tokens(96, 32) == 1 + ((64 - 32) // 20 + 1) * ((96 - 32) // 20 + 1)


def test_random_sizes_are_drawn_only_in_training_and_only_from_a_generator(spectrogram):
    model = tiny(patch_sizes=[8, 24, [16, 32]])
    sizes = set()
    for seed in range(12):
        model.train()
        tokens = model.flexiast(spectrogram, generator=torch.Generator().manual_seed(seed)).last_hidden_state.shape[1]
        sizes.add(tokens)
        assert model.flexiast(spectrogram).last_hidden_state.shape[1] == 25
        model.eval()
        base = model.flexiast(spectrogram, generator=torch.Generator().manual_seed(seed))
        assert base.last_hidden_state.shape[1] == 25
    assert sizes == {97, 9, 13}


def test_one_generator_seed_gives_one_sequence_of_sizes():
    config = FlexiASTConfig(**TINY, patch_sizes=[8, 12, 16, 24])
    draws = [
        [draw_patch_size(config, g) for _ in range(20)] for g in (torch.Generator().manual_seed(3) for _ in range(2))
    ]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 4


# --- fold, export, transformers' AST ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 16, (16, 24), 48])
def test_a_folded_model_computes_the_same(spectrogram, size, tmp_path):
    model = tiny(num_prefix_tokens=2)
    folded = model.fold(size)
    assert torch.equal(folded(spectrogram).logits, model(spectrogram, size).logits)
    folded.save_pretrained(tmp_path)
    loaded = FlexiASTForAudioClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded(spectrogram).logits, model(spectrogram, size).logits)


def test_folding_leaves_the_model_alone(spectrogram):
    model = tiny()
    before = model(spectrogram).logits
    folded = model.fold(24)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert torch.equal(model(spectrogram).logits, before)
    assert model.config.patch_size == (16, 16)


def test_a_folded_model_exports_without_a_resize(spectrogram):
    program = torch.export.export(tiny().fold(24, num_frames=96), (spectrogram,), strict=True)
    assert "resize_matrix" not in str(program.graph)


def test_an_export_holds_the_resize_as_a_constant(spectrogram):
    interpolation_matrix.cache_clear()  # else a matrix of an earlier test would do
    pseudo_inverse_matrix.cache_clear()
    model = tiny()
    program = torch.export.export(model, (spectrogram,), {"patch_size": 24}, strict=False)
    assert not any(name in str(program.graph) for name in ("pinv", "upsample", "resize_matrix"))
    exported = program.module()(spectrogram, patch_size=24).logits
    torch.testing.assert_close(exported, model(spectrogram, patch_size=24).logits)


@pytest.mark.parametrize("size", [16, 24])
def test_transformers_ast_computes_the_same(spectrogram, size):
    model = tiny(num_prefix_tokens=2, id2label={i: f"name {i}" for i in range(5)})
    theirs = model.to_transformers_ast(size)
    assert isinstance(theirs, ASTForAudioClassification)
    assert theirs.config.id2label[3] == "name 3"
    torch.testing.assert_close(
        theirs(spectrogram[:, : theirs.config.max_length]).logits, model(spectrogram, size).logits, rtol=1e-4, atol=1e-5
    )


def test_transformers_ast_needs_two_prefix_tokens_and_a_square():
    with pytest.raises(ValueError, match="num_prefix_tokens=2"):
        tiny().to_transformers_ast()
    with pytest.raises(ValueError, match="must be square"):
        tiny(num_prefix_tokens=2).to_transformers_ast((16, 24))


def test_the_network_without_resizing_is_transformers_ast(tmp_path):
    """An independent implementation of the same network, weights copied name by name."""
    sizes = {name: TINY[name] for name in TINY if name not in ("patch_size", "position_grid")}
    theirs = ASTForAudioClassification(ASTConfig(**sizes, patch_size=16, max_length=96)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    theirs.save_pretrained(tmp_path)
    ours = convert_checkpoint("flexiast", tmp_path, config={"num_attention_heads": 3})
    spectrogram = torch.randn(2, 96, 64)
    torch.testing.assert_close(ours(spectrogram).logits, theirs(spectrogram).logits, rtol=1e-4, atol=1e-5)


# --- losses and augmentation ------------------------------------------------------------------------------------------


def test_losses_by_hand():
    logits = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    multi = classification_loss(logits, torch.tensor([[1.0, 0.0], [0.5, 0.5]]), "multi_label_classification")
    by_hand = (np.log(2) + np.log(1 + np.e**2) + 2 * (np.log(1 + np.e) - 0.5)) / 4
    assert multi.item() == pytest.approx(by_hand, abs=1e-6)
    single = classification_loss(logits, torch.tensor([1, 0]), "single_label_classification")
    assert single.item() == pytest.approx((np.log(1 + np.e**-2) + np.log(2)) / 2, abs=1e-6)
    one_hot = classification_loss(logits, torch.tensor([[0.3, 0.7], [1.0, 0.0]]), "single_label_classification")
    assert one_hot.item() == pytest.approx(single.item())
    squared = classification_loss(logits, torch.tensor([[1.0, 2.0], [1.0, 3.0]]), "regression")
    assert squared.item() == pytest.approx((1 + 0 + 0 + 4) / 4)


PROBLEMS = [
    # problem_type of the config, classes, labels, and the type that the labels choose
    ("regression", 1, torch.tensor([0.5, -2.0]), "regression"),
    (None, 1, torch.tensor([[0.5], [-2.0]]), "regression"),
    (None, 1, torch.tensor([3, 1]).float(), "regression"),
    ("regression", 3, torch.tensor([[0.5, -2.0, 7.0], [1.0, 2.0, 3.0]]), "regression"),
    ("single_label_classification", 3, torch.tensor([2, -100]), "single_label_classification"),
    (None, 3, torch.tensor([2, 0]), "single_label_classification"),
    ("multi_label_classification", 3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.25]]), "multi_label_classification"),
    (None, 3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), "multi_label_classification"),
]


@pytest.mark.parametrize(("problem_type", "num_labels", "labels", "chosen"), PROBLEMS)
def test_losses_and_gradients_are_those_of_transformers_ast(spectrogram, problem_type, num_labels, labels, chosen):
    same = {"num_prefix_tokens": 2, "layer_norm_eps": 1e-12, "classifier_layer_norm_eps": 1e-12}
    ours = tiny(**same, num_labels=num_labels, problem_type=problem_type)
    theirs = ours.to_transformers_ast()
    losses = [model(spectrogram, labels=labels).loss for model in (ours, theirs)]
    torch.testing.assert_close(*losses)
    assert ours.config.problem_type == theirs.config.problem_type == chosen
    for loss in losses:
        loss.backward()
    gradients = ours.classifier.dense.weight.grad, theirs.classifier.dense.weight.grad
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0.01


def test_several_labels_of_any_type_count_alike():
    logits, labels = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), [[1, 0, 1], [0, 1, 1]]
    expected = nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(labels).float())
    for dtype in (torch.bool, torch.long, torch.uint8, torch.float16, torch.float64):
        torch.testing.assert_close(classification_loss(logits, torch.tensor(labels, dtype=dtype)), expected)


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels", "error", "message"),
    [
        ("multi_label_classification", 3, [0, 1], ValueError, r"`labels` must be \(2, 3\) for .*got \(2,\)"),
        ("multi_label_classification", 2, [[0.0, 2.0], [0.0, 1.0]], ValueError, r"`labels` must be in \[0, 1\], got 2"),
        ("regression", 3, [3, 1], ValueError, r"`labels` must be \(2, 3\) for problem_type='regression'"),
        ("bogus", 3, [0, 1], ValueError, r"`problem_type` must be one of regression, .*got 'bogus'"),
        (None, 3, [0, 1, 2], ValueError, r"`labels` must be \(2,\) or \(2, 3\) .*got \(3,\)"),
        (None, 3, [0.0, 1.6], TypeError, r"`labels` must be whole numbers.*float32"),
        (None, 3, [0, 3], ValueError, r"`labels` must be class indices in \[0, 3\), or -100, got 3"),
        ("single_label_classification", 3, [[1, 0, 1], [0, 1, 0]], ValueError, r"several classes alike for item 0"),
        ("single_label_classification", 1, [0, 0], ValueError, r"needs at least 2 classes; this head has 1"),
    ],
)
def test_labels_that_do_not_fit_the_problem_are_told(problem_type, num_labels, labels, error, message):
    with pytest.raises(error, match=message):
        classification_loss(torch.zeros(2, num_labels), torch.tensor(labels), problem_type)


# --- other classes, and adapters --------------------------------------------------------------------------------------


def test_a_head_keeps_the_rows_of_the_classes_it_keeps(spectrogram, caplog):
    model = tiny(num_labels=3, id2label={0: "dog", 1: "cat", 2: "rain"}).half().train()
    model.flexiast.requires_grad_(False)
    with torch.no_grad():
        model.classifier.layernorm.weight.mul_(2)  # rows mean nothing without the norm before them
        model.classifier.dense.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    logits = model.float().eval()(spectrogram).logits
    model.half().train()
    adapted = model.adapt_to_labels(["siren", "rain", "dog"])
    assert caplog.messages == ["head adapted to 3 classes: 2 kept, 1 new (random weights), 1 dropped."]
    assert adapted.config.id2label == {0: "siren", 1: "rain", 2: "dog"}
    assert adapted.config.label2id == {"siren": 0, "rain": 1, "dog": 2}
    assert (adapted.dtype, adapted.training) == (torch.float16, True)
    frozen = {name.split(".")[0] for name, value in adapted.named_parameters() if not value.requires_grad}
    assert frozen == {"flexiast"}
    moved = adapted.float().eval()(spectrogram).logits
    torch.testing.assert_close(moved[:, 1:], logits[:, [2, 0]], rtol=1e-2, atol=1e-2)  # through float16
    torch.testing.assert_close(adapted.classifier.dense.weight[1:], model.classifier.dense.weight[[2, 0]].float())
    assert adapted.classifier.dense.bias[0] == 0
    assert model.config.id2label[0] == "dog"


def test_the_same_classes_in_another_order_move_every_row(spectrogram, caplog):
    model = tiny(num_labels=3, id2label={0: "dog", 1: "cat", 2: "rain"})
    assert model.adapt_to_labels(["dog", "cat", "rain"]) is model
    assert not caplog.messages
    adapted = model.adapt_to_labels(["rain", "dog", "cat"])
    assert "3 kept, 0 new" in caplog.messages[0]
    torch.testing.assert_close(adapted(spectrogram).logits, model(spectrogram).logits[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], ValueError, "`names` is empty"),
        ("dog", TypeError, "`names` must be a list of class names, got 'dog'"),
        ([1, 2], TypeError, "`names` must be a list of class names"),
        (["dog", "dog"], ValueError, "'dog' is there twice"),
    ],
)
def test_names_that_are_no_classes_are_told(names, error, message):
    with pytest.raises(error, match=message):
        tiny().adapt_to_labels(names)


def test_a_copy_of_a_model_with_adapters_is_refused_until_they_are_merged(spectrogram):
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, modules_to_save=["classifier"])
    adapted = get_peft_model(tiny(num_prefix_tokens=2), lora).eval()
    with_adapter = tiny(num_prefix_tokens=2)
    with_adapter.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    for model in (adapted, with_adapter):
        for copy in (
            lambda model=model: model.fold(24),
            lambda model=model: model.rebase(model.config),
            lambda model=model: model.adapt_to_labels(["a", "b"]),
            lambda model=model: model.to_transformers_ast(24),
        ):
            with pytest.raises(
                ValueError,
                match=r"layers are wrapped, by adapters or otherwise \(`flexiast.layers.0.attention.*merge_and_un",
            ):
                copy()
    expected = adapted(spectrogram, 24).logits
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged.fold(24)(spectrogram).logits, expected, rtol=1e-4, atol=1e-5)


def test_masks_are_bands_and_follow_the_generator():
    spectrogram = torch.ones(8, 100, 64)
    masked = mask_spectrogram(spectrogram, torch.Generator().manual_seed(0), max_mel_bins=20, max_frames=30, value=-1.0)
    assert torch.equal(masked, mask_spectrogram(spectrogram, torch.Generator().manual_seed(0), 20, 30, -1.0))
    for clip in masked == -1:
        frames, mel_bins = clip.all(dim=1).sum(), clip.all(dim=0).sum()
        assert frames <= 30
        assert mel_bins <= 20
        assert clip.sum() == frames * 64 + mel_bins * 100 - frames * mel_bins
    assert (masked == -1).any()


def test_masks_leave_most_of_a_short_spectrogram():
    clips = 500
    masked = mask_spectrogram(torch.ones(clips, 16, 128), torch.Generator().manual_seed(0), value=0.0)
    widths = (masked == 0).all(dim=2).sum(dim=1)
    assert widths.max() == 6  # 3/8 of 16 frames, rather than all


def test_a_shorter_second_waveform_is_padded_in_a_mix():
    mixed = mix_waveforms(torch.tensor([1.0, -1.0, 3.0, -3.0]), torch.tensor([2.0, -2.0]), 0.25)
    torch.testing.assert_close(mixed, torch.tensor([1.75, -1.75, 0.75, -0.75]))


def test_label_lists():
    assert (len(label_names("audioset")), label_names("audioset")[0]) == (527, "Speech")
    assert (len(label_names("vggsound")), label_names("vggsound")[0]) == (309, "waterfall burbling")
    assert label_names("voxceleb")[-1] == "speaker_1250"
    with pytest.raises(ValueError, match="`name` 'esc50' has no label list"):
        label_names("esc50")


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"patch_size": 0}, ValueError, r"`patch_size` must be at least 1, got 0"),
        ({"patch_size": -4}, ValueError, r"`patch_size` must be at least 1"),
        ({"patch_size": (16, 0)}, ValueError, r"`patch_size` must be at least 1"),
        ({"patch_size": 65}, ValueError, r"`patch_size` \(65, 65\) is taller.*64 mel bins"),
        ({"patch_size": (16, 97)}, ValueError, r"`patch_size` \(16, 97\) is longer than the input.*96 frames"),
        ({"patch_size": 1.5}, TypeError, r"`patch_size` must be a whole number or a pair"),
        ({"patch_size": "16"}, TypeError, r"`patch_size` must be a whole number or a pair"),
        ({"patch_size": (1, 2, 3)}, TypeError, r"`patch_size` must be a whole number or a pair"),
        ({"input_values": torch.zeros(2, 64, 96)}, ValueError, r"`input_values` must be \(batch, frames, 64\)"),
        ({"input_values": torch.zeros(96, 64)}, ValueError, r"`input_values` must be \(batch, frames, 64\)"),
        ({"input_values": torch.zeros(0, 96, 64)}, ValueError, r"`input_values` must be"),
        ({"input_values": torch.zeros(2, 96, 64, dtype=torch.long)}, TypeError, r"floating point, got torch.int64"),
        ({"attention_mask": torch.ones(2, 95)}, ValueError, r"`attention_mask` must be.*\(2, 96\)"),
        ({"attention_mask": torch.tensor([[0] + [1] * 95] * 2)}, ValueError, r"padding only at the end"),
        ({"attention_mask": torch.tensor([[1] * 96, [1] * 9 + [0] * 87])}, ValueError, r"input: it has 9"),
        ({"output_attentions": True}, ValueError, r"`output_attentions` needs the eager attention"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(spectrogram, arguments, error, message):
    with pytest.raises(error, match=message):
        tiny()(**{"input_values": spectrogram, **arguments})


def test_a_generator_without_sizes_is_told(spectrogram):
    with pytest.raises(ValueError, match=r"`config\.patch_sizes` is not set"):
        tiny().train()(spectrogram, generator=torch.Generator())


def test_attention_weights_come_from_the_eager_form(spectrogram):
    model = tiny()
    model.set_attn_implementation("eager")
    outputs = model(spectrogram, output_attentions=True, output_hidden_states=True)
    assert [tuple(attention.shape) for attention in outputs.attentions] == [(2, 3, 25, 25)] * 2
    torch.testing.assert_close(outputs.attentions[0].sum(-1), torch.ones(2, 3, 25))
    assert len(outputs.hidden_states) == 3
