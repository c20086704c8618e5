"""VocaLiST and its student as networks: sizes, positions, the mask, dropout, what goes in and what is refused."""

import math

import pytest
import torch
from contract.tiny import TINY, tiny_model
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from avzoo import (
    MTDVocaLiSTConfig,
    MTDVocaLiSTForSequenceClassification,
    VocaLiSTConfig,
    VocaLiSTForSequenceClassification,
    VocaLiSTModel,
    zoo,
)
from avzoo.models.mtdvocalist import teacher_trace
from avzoo.models.mtdvocalist.cross_modal import VocaLiSTEmbeddings, look_ahead_mask
from avzoo.models.mtdvocalist.modeling_vocalist import synchronization_loss

ROW = zoo.find_row("mtdvocalist")
WITHOUT_DROPOUT = {"embedding_dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}


def student(**overrides) -> MTDVocaLiSTForSequenceClassification:
    return tiny_model(ROW, **overrides)


def teacher() -> VocaLiSTForSequenceClassification:
    """Twice as wide as the student."""
    return tiny_model(ROW, VocaLiSTForSequenceClassification, hidden_size=16, conv_channels=(4, 6, 16))


def windows(frames: int = 5, columns: int = 16, batch: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": 255 * torch.rand(batch, frames, 3, 8, 16, generator=generator),
        "input_features": 8 * torch.rand(batch, 1, 8, columns, generator=generator) - 4,
    }


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_class", "config_class", "parameters"),
    [
        (VocaLiSTForSequenceClassification, VocaLiSTConfig, 80_106_561),
        (MTDVocaLiSTForSequenceClassification, MTDVocaLiSTConfig, 13_280_961),
    ],
)
def test_the_defaults_have_the_parameters_of_the_released_networks(model_class, config_class, parameters):
    with torch.device("meta"):
        model = model_class(config_class())
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(("frames", "columns"), [(5, 16), (10, 32), (25, 80), (1, 3)])
def test_a_frame_has_three_and_a_fifth_mel_columns(frames, columns):
    assert VocaLiSTConfig(context_frames=frames).context_columns == columns


@torch.no_grad()
@pytest.mark.parametrize(("frames", "columns"), [(1, 1), (1, 9), (4, 1), (7, 5), (25, 80)])
def test_windows_of_any_length_run(frames, columns):
    outputs = student().vocalist(**windows(frames, columns), output_trace=True)
    assert outputs.visual_features.shape == outputs.va_hidden_states.shape == (2, frames, 8)
    assert outputs.audio_features.shape == outputs.av_hidden_states.shape == (2, columns, 8)
    assert outputs.last_hidden_state.shape == (2, columns, 8)
    assert outputs.pooler_output.shape == (2, 8)
    assert outputs.pooler_output.isfinite().all()
    shapes = {"fusion": (columns, frames), "av": (columns, frames), "va": (frames, columns)}
    for encoder, (queries, keys) in shapes.items():
        assert outputs.attention_scores[encoder].shape == (2, 2, 2, queries, keys)  # layers, batch, heads
        assert outputs.attention_values[encoder].shape == (2, 2, 2, keys, 4)


# --- positions --------------------------------------------------------------------------------------------------------


def positions_by_hand(tokens: int, width: int) -> torch.Tensor:
    rows = []
    for place in range(1, tokens + 1):
        frequencies = [10000 ** (-k / (width // 2 - 1)) for k in range(width // 2)]
        rows.append([math.sin(place * f) for f in frequencies] + [math.cos(place * f) for f in frequencies])
    return torch.tensor(rows)


def features_with_two_zeros() -> torch.Tensor:
    """Nothing in channel 0 of two tokens, and nothing in any other channel of a third."""
    features = torch.rand(2, 4, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    features[0, 1, 0] = features[1, 0, 0] = 0
    features[0, 3, 1:] = 0
    return features


def test_a_token_whose_first_channel_is_zero_has_no_position_and_the_others_keep_theirs():
    features = features_with_two_zeros()
    expected = math.sqrt(8) * features + positions_by_hand(4, 8)
    expected[0, 1], expected[1, 0] = math.sqrt(8) * features[0, 1], math.sqrt(8) * features[1, 0]
    torch.testing.assert_close(VocaLiSTEmbeddings(student().config)(features), expected)


def test_every_token_has_a_position_if_the_quirk_is_off():
    features = features_with_two_zeros()
    embeddings = VocaLiSTEmbeddings(student(skip_position_at_zero=False).config)
    torch.testing.assert_close(embeddings(features), math.sqrt(8) * features + positions_by_hand(4, 8))


def test_the_smallest_value_above_zero_has_a_position():
    features = torch.zeros(1, 2, 8)
    features[0, 0, 0] = 1e-45  # the least float32
    embedded = VocaLiSTEmbeddings(student().config)(features)
    torch.testing.assert_close(embedded[0, 0], positions_by_hand(1, 8)[0])
    assert not embedded[0, 1].any()


def test_an_odd_width_leaves_the_last_channel_without_a_position():
    config = student(hidden_size=9, num_attention_heads=3, conv_channels=(4, 6, 9)).config
    embedded = VocaLiSTEmbeddings(config)(torch.ones(1, 3, 9)) - 3.0
    torch.testing.assert_close(embedded[0, :, :8], positions_by_hand(3, 8))
    torch.testing.assert_close(embedded[0, :, 8], torch.zeros(3))


# --- the mask ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queries", "keys"), [(5, 16), (16, 5), (9, 12), (12, 9), (7, 7), (1, 1), (1, 4), (2, 5), (4, 3)]
)
def test_a_query_sees_keys_up_to_its_own_place_plus_the_difference_of_the_lengths(queries, keys):
    mask = look_ahead_mask(queries, keys, torch.zeros(1))
    mask = torch.zeros(1, 1, queries, keys) if mask is None else mask
    assert mask.shape == (1, 1, queries, keys)
    for i in range(queries):
        for j in range(keys):
            assert mask[0, 0, i, j] == (-math.inf if j >= i + 1 + abs(queries - keys) else 0.0)


@torch.no_grad()
def test_the_first_frame_hears_only_the_first_twelve_columns():
    network, inputs = student().vocalist, windows()
    visual = network.embed_video(inputs["pixel_values"])
    audio = network.embed_audio(inputs["input_features"])
    before = network.compare(visual, audio).va_hidden_states
    audio[:, 12:] = torch.rand(2, 4, 8, generator=torch.Generator().manual_seed(1))
    after = network.compare(visual, audio).va_hidden_states
    assert torch.equal(after[:, 0], before[:, 0])
    assert (after[:, 1:] != before[:, 1:]).any(-1).all()


@torch.no_grad()
def test_returned_scores_are_masked():
    outputs = student().vocalist(**windows(), output_trace=True)
    hidden = look_ahead_mask(5, 16, torch.zeros(1))[0, 0] == -math.inf
    assert hidden.sum() == 4 + 3 + 2 + 1
    assert torch.equal(outputs.attention_scores["va"] == -math.inf, hidden.expand(2, 2, 2, 5, 16))
    assert outputs.attention_scores["av"].isfinite().all()
    assert outputs.attention_scores["fusion"].isfinite().all()


# --- the whole --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_output_trace_does_not_change_the_logits():
    model, inputs = student(), windows()
    traced = model(**inputs, output_trace=True)
    torch.testing.assert_close(traced.logits, model(**inputs).logits, rtol=1e-5, atol=1e-6)
    assert model(**inputs).attention_scores is None


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_tokens_are_pooled_over_time(pooling):
    network = student(pooling=pooling).vocalist
    outputs = network(**windows())
    tokens = outputs.last_hidden_state
    pooled = tokens.max(dim=1).values if pooling == "max" else tokens.sum(dim=1) / 16
    expected = torch.tanh(pooled @ network.pooler.weight.T + network.pooler.bias)
    torch.testing.assert_close(outputs.pooler_output, expected)


def test_gradients_reach_the_pixels():
    """And say how the logits change with them: a small step along the gradient raises the sum by its length."""
    model, inputs = student().double(), {name: value.double() for name, value in windows().items()}
    pixels = inputs["pixel_values"].requires_grad_()
    total = model(**inputs).logits.sum()
    total.backward()
    assert pixels.grad.isfinite().all()
    length = pixels.grad.norm()
    assert length > 0
    with torch.no_grad():
        inputs["pixel_values"] = pixels + 1e-4 * pixels.grad / length
        assert (model(**inputs).logits.sum() - total).item() == pytest.approx(1e-4 * length.item(), rel=1e-2)


@torch.no_grad()
def test_uint8_pixels_give_the_logits_of_float_pixels():
    model, inputs = student(), windows()
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.uint8)
    expected = model(inputs["pixel_values"].float(), inputs["input_features"]).logits
    assert torch.equal(model(**inputs).logits, expected)


@torch.no_grad()
def test_the_order_of_the_frames_counts():
    model, inputs = student(), windows()
    turned = {**inputs, "pixel_values": inputs["pixel_values"].flip(1)}
    assert (model(**turned).logits - model(**inputs).logits).abs().min() > 1e-3


PAIRS = torch.tensor([[0, 2], [1, 0], [0, 0], [1, 1]])


def unequal_numbers() -> dict[str, torch.Tensor]:
    """Two windows of video, three of sound."""
    return {
        "pixel_values": windows()["pixel_values"],
        "input_features": windows(batch=3, seed=1)["input_features"],
    }


@torch.no_grad()
def test_pairs_say_which_windows_are_compared():
    model, inputs = student(), unequal_numbers()
    logits = model(**inputs, pairs=PAIRS).logits
    video, audio = PAIRS.T
    one_by_one = model(inputs["pixel_values"][video], inputs["input_features"][audio]).logits
    assert one_by_one.shape == (4, 1)
    torch.testing.assert_close(logits, one_by_one, rtol=1e-5, atol=1e-6)


def test_a_teacher_hears_of_the_same_pairs():
    inputs, labels = unequal_numbers(), torch.tensor([0, 0, 1, 1])
    trace = teacher_trace(teacher(), **inputs, pairs=PAIRS)
    assert trace.scores["va"].shape == (2, 4, 2, 5, 16)
    outputs = student()(**inputs, pairs=PAIRS, labels=labels, teacher=trace)
    torch.testing.assert_close(outputs.classification_loss, synchronization_loss(outputs.logits, labels))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (None, r"must have the same number of windows, got 2 and 3\. Otherwise pass `pairs`"),
        (PAIRS[0], r"`pairs` must be \(pairs, 2\) integer indices of windows, got \(2,\) torch\.int64"),
        (PAIRS.T, r"`pairs` must be \(pairs, 2\) .* got \(2, 4\)"),
        (PAIRS.float(), r"`pairs` must be \(pairs, 2\) .* got \(4, 2\) torch\.float32"),
    ],
)
def test_invalid_pairs_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        student()(**unequal_numbers(), pairs=pairs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pixel_values": torch.zeros(2, 3, 5, 8, 16)}, r"`pixel_values` must be \(batch, frames, 3, 8, 16\).*\(2, 3,"),
        ({"pixel_values": torch.zeros(2, 15, 8, 16)}, r"`pixel_values` must be .* got \(2, 15, 8, 16\)"),
        ({"pixel_values": torch.zeros(2, 0, 3, 8, 16)}, r"`pixel_values` must be .* got \(2, 0, 3, 8, 16\)"),
        ({"pixel_values": torch.zeros(2, 5, 3, 16, 16)}, r"`pixel_values` must be .*processor makes them from a face"),
        ({"input_features": torch.zeros(2, 8, 16)}, r"`input_features` must be \(batch, 1, 8, columns\).*\(2, 8, 16\)"),
        ({"input_features": torch.zeros(2, 1, 16, 8)}, r"`input_features` must be .*processor makes them from sound"),
        ({"input_features": torch.zeros(2, 1, 8, 0)}, r"`input_features` must be .* got \(2, 1, 8, 0\)"),
        ({"input_features": torch.zeros(3, 1, 8, 16)}, r"must have the same number of windows, got 2 and 3"),
    ],
)  # fmt: skip
def test_windows_of_a_wrong_shape_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        student()(**{**windows(), **wrong})


# --- training ---------------------------------------------------------------------------------------------------------


def entering_the_first_layer(training: bool) -> list[torch.Tensor]:
    """Queries, keys and values of the "av" encoder, all with positions, so that only dropping makes zeros."""
    model, seen = student(embedding_dropout=0.5, skip_position_at_zero=False).train(training), []
    layer = model.vocalist.av_encoder.layers[0]
    hook = layer.register_forward_pre_hook(lambda module, arguments: seen.extend(arguments[:3]))
    model(**windows())
    hook.remove()
    return seen


@torch.no_grad()
def test_queries_keys_and_values_are_dropped_independently_in_training():
    queries, keys, values = entering_the_first_layer(training=True)
    for tokens in (queries, keys, values):
        assert 0.3 < (tokens != 0).float().mean() < 0.7
    assert 0.3 < ((keys != 0) == (values != 0)).float().mean() < 0.7
    both = (keys != 0) & (values != 0)
    assert torch.equal(keys[both], values[both])


@torch.no_grad()
def test_keys_and_values_are_the_same_and_nothing_is_dropped_in_evaluation():
    queries, keys, values = entering_the_first_layer(training=False)
    assert keys is values
    assert queries.all()
    assert keys.all()


@torch.no_grad()
@pytest.mark.parametrize("name", list(WITHOUT_DROPOUT))
def test_each_kind_of_dropout_acts_in_training_only(name):
    model, inputs = student(**{**WITHOUT_DROPOUT, name: 0.5}), windows()
    assert torch.equal(model(**inputs).logits, model(**inputs).logits)
    model.train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            norm.eval()  # it changes with every batch, and is not what is meant
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)


@torch.no_grad()
def test_batch_norms_take_the_statistics_of_the_batch_in_training():
    model, inputs = student(**WITHOUT_DROPOUT), windows()
    before = model(**inputs).logits
    assert not torch.equal(model.train()(**inputs).logits, before)
    assert not torch.equal(model.eval()(**inputs).logits, before)  # the running statistics have moved


def test_the_loss_is_the_mean_cross_entropy_by_hand():
    logits = torch.tensor([[0.0], [2.0], [-1.0]])
    by_hand = (math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 3
    assert synchronization_loss(logits, torch.tensor([0, 1, 1])).item() == pytest.approx(by_hand)


@torch.no_grad()
def test_labels_may_be_a_column():
    model, inputs = student(), windows()
    row, column = torch.tensor([1, 0]), torch.tensor([[1.0], [0.0]])
    assert torch.equal(model(**inputs, labels=row).loss, model(**inputs, labels=column).loss)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (2, 2), ()])
def test_labels_of_a_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"`labels` must be \(2,\), one per window, got"):
        student()(**windows(), labels=torch.zeros(shape))


@pytest.mark.parametrize("taught", [False, True])
def test_labels_out_of_range_are_named(taught):
    traces = {"teacher": teacher_trace(teacher(), **windows())} if taught else {}
    for value in (3, -100):
        with pytest.raises(ValueError, match=rf"`labels` must be in \[0, 1\], got {value}"):
            student()(**windows(), labels=torch.tensor([1, value]), **traces)


def test_labels_of_any_type_count_alike():
    model, inputs = student(), windows()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        model(**inputs).logits, torch.tensor([[1.0], [0.0]])
    )
    for dtype in (torch.bool, torch.long, torch.float64):
        torch.testing.assert_close(model(**inputs, labels=torch.tensor([1, 0], dtype=dtype)).loss, expected)


# --- a teacher --------------------------------------------------------------------------------------------------------


def test_a_teacher_adds_its_part_to_the_loss():
    model, inputs, labels = student(), windows(), torch.tensor([1, 0])
    outputs = model(**inputs, labels=labels, teacher=teacher_trace(teacher(), **inputs))
    torch.testing.assert_close(outputs.classification_loss, model(**inputs, labels=labels).loss)
    # All weights are 1: ln 2 for each of the 1 + 3 encoders * 2 layers, and half of every part.
    expected = 7 * math.log(2) + (outputs.classification_loss + outputs.distillation_loss).item() / 2
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-5)
    assert outputs.distillation_loss > 0
    outputs.loss.backward()
    assert model.mtd_loss.weights.grad.all()
    assert model.vocalist.visual_encoder.blocks[0].convolution.weight.grad.any()


def test_the_trace_is_handed_out_beside_a_teacher_only_if_asked_for():
    model, inputs, trace = student(), windows(), teacher_trace(teacher(), **windows())
    labels = torch.tensor([1, 0])
    assert model(**inputs, labels=labels, teacher=trace).attention_scores is None
    assert model(**inputs, labels=labels, teacher=trace, output_trace=True).attention_values is not None


def test_beside_a_teacher_the_loss_comes_first_and_no_trace_is_kept():
    model, inputs, trace = student(), windows(), teacher_trace(teacher(), **windows())
    output = model(**inputs, labels=torch.ones(len(inputs["pixel_values"])), teacher=trace)
    assert list(output) == ["loss", "logits", "classification_loss", "distillation_loss", "pooler_output"]


def test_what_a_teacher_says_has_no_gradient():
    trace = teacher_trace(teacher(), **windows())
    tensors = [*trace.scores.values(), *trace.relations.values(), trace.logits]
    assert len(tensors) == 7
    assert not any(tensor.requires_grad for tensor in tensors)


def test_a_teacher_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"`teacher` is in training mode.*call teacher\.eval\(\)"):
        teacher_trace(teacher().train(), **windows())


@pytest.mark.parametrize(
    ("overrides", "labels"),
    [({}, None), ({"distillation": None}, torch.tensor([1, 0])), ({"distillation": None}, None)],
)
def test_a_teacher_needs_labels_and_a_student_made_for_it(overrides, labels):
    inputs = windows()
    with pytest.raises(ValueError, match=r"`teacher` needs `labels` and a model whose `config\.distillation` is set"):
        student(**overrides)(**inputs, labels=labels, teacher=teacher_trace(teacher(), **inputs))


def test_distillation_changes_no_initial_weight():
    """So that a student taught and one left alone start from the same network."""
    taught, alone = student().state_dict(), student(distillation=None).state_dict()
    assert taught.keys() - alone.keys() == {"mtd_loss.weights"}
    for name, value in alone.items():
        assert torch.equal(taught[name], value), name


# --- folders ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("model_class", [MTDVocaLiSTForSequenceClassification, VocaLiSTForSequenceClassification])
def test_the_bare_network_loads_from_the_folder_of_either_head(model_class, tmp_path):
    model = tiny_model(ROW, model_class)
    model.save_pretrained(tmp_path)
    network, report = VocaLiSTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert {key.split(".")[0] for key in report["unexpected_keys"]} <= {"classifier", "mtd_loss"}
    expected = model.vocalist(**windows())
    assert torch.equal(network(**windows()).pooler_output, expected.pooler_output)


@torch.no_grad()
def test_a_taught_student_loads_without_its_loss(tmp_path):
    model = student()
    model.save_pretrained(tmp_path)
    plain = MTDVocaLiSTForSequenceClassification.from_pretrained(tmp_path, distillation=None)
    assert plain.mtd_loss is None
    assert torch.equal(plain(**windows()).logits, model(**windows()).logits)


# --- configs ----------------------------------------------------------------------------------------------------------

TINY_FIELDS = TINY["MTDVocaLiSTForSequenceClassification"].config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 9}, r"`hidden_size` \(9\) must be a multiple of `num_attention_heads` \(2\)"),
        ({"hidden_size": 2, "conv_channels": (2,)}, r"`hidden_size` must be at least 4, got 2"),
        ({"num_attention_heads": 0}, r"`num_attention_heads` must be at least 1, got 0"),
        ({"context_frames": 0}, r"`context_frames` must be at least 1, got 0"),
        ({"layer_norm_eps": 0.0}, r"`layer_norm_eps` must be above 0, got 0\.0"),
        ({"num_labels": 2}, r"`num_labels` must be 1, the logit of being in sync; got 2"),
        ({"conv_channels": (4, 6)}, r"`conv_channels` \(4, 6\) must be .* the last is `hidden_size` \(8\)"),
        ({"conv_channels": ()}, r"`conv_channels` \(\) must be widths"),
        ({"conv_channels": (0, 6, 8)}, r"`conv_channels` \(0, 6, 8\) must be widths"),
        ({"conv_channels": (4, 5, 6, 8)}, r"`visual_stages` has 3 stages for 4 `conv_channels`; it needs one for each"),
        ({"image_size": [8, 16, 3]}, r"image_size.* expected a tuple of length 2, got 3"),
        ({"image_size": (9, 16)}, r"`image_size` rows \(9\) must become 1 through `visual_stages`, it becomes 2"),
        ({"image_size": (8, 32)}, r"`image_size` columns \(32\) must become 1 through `visual_stages`, it becomes 2"),
        ({"image_size": (8, 0)}, r"`image_size` columns \(0\) must become 1 through `visual_stages`, it becomes 0"),
        ({"num_mel_bins": 16}, r"`num_mel_bins` \(16\) must become 1 through `audio_stages`, it becomes 4"),
        ({"audio_stages": ((3, 3, 1, 1), (3, 1, 0), (1,) * 4)}, r"`audio_stages\[1\]` must be 4 numbers, got"),
        ({"visual_stages": ((4, 2, 4, 2, 1),) * 3}, r"`visual_stages\[0\]` \(4, 2, 4, 2, 1\) must have an odd kernel"),
        ({"visual_stages": ((5, 2, 0, 2, 1),) * 3}, r"`visual_stages\[0\]` .* must have .*strides of at least 1"),
        ({"visual_stages": ((5, 2, 4, 2, -1),) * 3}, r"`visual_stages\[0\]` .* padding and depth of at least 0"),
        ({"embedding_dropout": 1.0}, r"`embedding_dropout` must be at least 0 and below 1, got 1\.0"),
        ({"hidden_dropout": -0.1}, r"`hidden_dropout` must be at least 0 and below 1, got -0\.1"),
        ({"pooling": "median"}, r"pooling"),
    ],
)  # fmt: skip
def test_an_invalid_config_is_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        MTDVocaLiSTConfig(**{**TINY_FIELDS, **fields})


def test_stages_come_back_from_json_as_they_were(tmp_path):
    config = MTDVocaLiSTConfig(**{**TINY_FIELDS, "distillation": {"layers": {"va": [1]}}})
    config.save_pretrained(tmp_path)
    loaded = MTDVocaLiSTConfig.from_pretrained(tmp_path)
    assert loaded.visual_stages == ((5, 2, 4, 2, 1), (3, 2, 2, 1, 0), (3, 2, 2, 1, 0))
    assert loaded.distillation == {"layers": {"va": [1]}}
    assert loaded.id2label == {0: "in_sync"}


def test_stages_beyond_the_widths_have_the_last_width():
    config = VocaLiSTConfig()
    assert [config.stage_channels(stage) for stage in range(8)] == [32, 64, 128, 256, 512, 512, 512, 512]
