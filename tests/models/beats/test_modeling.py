"""BEATs beside plain formulas: positions, gates, padding, long sounds, half precision."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from avzoo import BEATsConfig, BEATsForAudioClassification, BEATsModel
from avzoo.models.beats import modeling_beats
from avzoo.models.beats.modeling_beats import (
    BEATsAttention,
    BEATsPositionalConvolution,
    BEATsRelativePositions,
    spread_positions,
)

SMALL = {
    "num_mel_bins": 16,
    "patch_size": 4,
    "embedding_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "conv_pos_kernel_size": 4,
    "conv_pos_groups": 2,
    "num_buckets": 8,
    "max_distance": 16,
    "initializer_range": 0.2,
}
MINUTE = 5998  # frames of 60 s
RELEASED_TOKENS = 8 * (MINUTE // 16)


def make_model(model_class=BEATsModel, **fields):
    torch.manual_seed(0)
    return model_class(BEATsConfig(**{**SMALL, **fields})).eval()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _without_gradients(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def test_the_defaults_are_the_released_size():
    with torch.device("meta"):
        model = BEATsForAudioClassification(BEATsConfig(num_labels=527))
    assert sum(weight.numel() for weight in model.beats.parameters()) == 90_311_792
    assert sum(weight.numel() for weight in model.classifier.parameters()) == 405_263


# --- positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "bucket"),
    [
        (0, 0),
        (-1, 1),
        (-79, 79),
        (-80, 80),  # the first of those that distances share: 80 + 80 * log10(80 / 80)
        (-252, 119),  # 80 + 80 * log10(3.15) = 119.86
        (-253, 120),  # 80 + 80 * log10(3.1625) = 120.003
        (-800, 159),
        (-5000, 159),
        (1, 161),  # keys behind the query have the upper half
        (79, 239),
        (80, 240),
        (252, 279),
        (5000, 319),
    ],
)
def test_far_distances_share_buckets_by_their_logarithm(distance, bucket):
    positions = BEATsRelativePositions(BEATsConfig(num_attention_heads=12))
    assert int(positions.find_buckets(torch.tensor([distance]))) == bucket


def test_biases_are_in_order_of_the_key_from_before_to_behind_the_query():
    positions = BEATsRelativePositions(BEATsConfig(**SMALL))
    positions.embedding.weight.copy_(torch.arange(8.0)[:, None].expand(8, 2))  # the number of its bucket
    assert positions(3, torch.device("cpu"))[0].tolist() == [2, 1, 0, 5, 6]


def test_positions_are_spread_over_queries_and_keys():
    """Entry (query, key) is the bias of the distance key - query; each span of queries gets its own rows."""
    tokens = 5
    distances = torch.arange(1 - tokens, tokens)[None]  # a head whose bias is the distance itself
    expected = torch.tensor([[key - query for key in range(tokens)] for query in range(tokens)])
    assert torch.equal(spread_positions(distances, tokens, 0, tokens)[0], expected)
    assert torch.equal(spread_positions(distances, tokens, 1, 3)[0], expected[1:3])


def test_the_positional_convolution_is_torchs_with_weights_of_one_length_per_tap():
    module = BEATsPositionalConvolution(BEATsConfig(**SMALL))
    with torch.no_grad():
        for seed, weight in enumerate(module.parameters()):
            weight.copy_(draw(*weight.shape, seed=seed))
    reference = nn.Conv1d(16, 16, 4, padding=2, groups=2)
    reference = nn.utils.parametrizations.weight_norm(reference, dim=2)
    reference.parametrizations.weight.original0.data = module.weight_length.data
    reference.parametrizations.weight.original1.data = module.weight_direction.data
    reference.bias.data = module.bias.data
    tokens = draw(2, 7, 16, seed=9)
    expected = nn.functional.gelu(reference(tokens.mT)[..., :7]).mT
    torch.testing.assert_close(module(tokens), expected, rtol=1e-5, atol=1e-5)


# --- attention --------------------------------------------------------------------------------------------------------


def make_attention() -> BEATsAttention:
    attention = make_model().layers[0].attention
    with torch.no_grad():
        for seed, weight in enumerate(attention.parameters()):
            weight.copy_(0.5 * draw(*weight.shape, seed=seed))
    return attention


def test_gates_are_those_of_a_plain_loop():
    attention, query = make_attention(), draw(1, 2, 3, 8, seed=20)
    gates = attention.compute_gates(query)
    assert gates.shape == (1, 2, 3, 1)
    for head in range(2):
        for place in range(3):
            values = (attention.gate.weight @ query[0, head, place] + attention.gate.bias).tolist()
            first, second = (1 / (1 + math.exp(-sum(four))) for four in (values[:4], values[4:]))
            expected = first * (second * float(attention.gate_scale[0, head, 0, 0]) - 1) + 2
            assert float(gates[0, head, place, 0]) == pytest.approx(expected, rel=1e-5)


def test_attention_is_a_softmax_of_products_and_gated_positions():
    attention, tokens, positions = make_attention(), draw(1, 4, 16, seed=21), draw(2, 7, seed=22)
    mixed, _ = attention(tokens, positions, None, False)
    heads = []
    for head in range(2):
        rows = slice(8 * head, 8 * head + 8)
        query, key, value = (
            tokens[0] @ projection.weight[rows].T + projection.bias[rows]
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        gates = attention.compute_gates(query[None, None].expand(1, 2, 4, 8))[0, head]
        bias = torch.tensor([[float(positions[head, k - q + 3]) for k in range(4)] for q in range(4)])
        heads.append((query @ key.T / math.sqrt(8) + gates * bias).softmax(-1) @ value)
    expected = torch.cat(heads, dim=-1) @ attention.o_proj.weight.T + attention.o_proj.bias
    torch.testing.assert_close(mixed[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_in_parts_is_the_whole(implementation, monkeypatch):
    model = make_model()
    model.set_attn_implementation(implementation)
    mask = torch.tensor([[1] * 40, [1] * 21 + [0] * 19])
    whole = model(draw(2, 40, 16), mask).last_hidden_state
    monkeypatch.setattr(modeling_beats, "_SCORES_AT_ONCE", 2 * 2 * 40 * 7)  # 7 of 40 queries at once
    assert model.layers[0].attention.split_queries(2, 40)[-1] == (35, 40)
    torch.testing.assert_close(model(draw(2, 40, 16), mask).last_hidden_state, whole, rtol=1e-5, atol=1e-5)


def test_weights_of_attention_in_parts_are_the_whole(monkeypatch):
    model = make_model()
    model.set_attn_implementation("eager")
    whole = model(draw(1, 40, 16), output_attentions=True).attentions
    monkeypatch.setattr(modeling_beats, "_SCORES_AT_ONCE", 2 * 40 * 7)
    parts = model(draw(1, 40, 16), output_attentions=True).attentions
    assert whole[0].shape == (1, 2, 40, 40)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_attention_weights_need_the_eager_implementation():
    with pytest.raises(ValueError, match="`output_attentions` needs the eager attention, not 'sdpa'"):
        make_model()(draw(1, 8, 16), output_attentions=True)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_residuals_are_scaled_by_the_depth():
    assert make_model().layers[0].residual_scale == pytest.approx(4**0.25)
    assert make_model(deep_norm=False).layers[0].residual_scale == 1
    twelve = {"num_hidden_layers": 12}
    assert make_model(**twelve).layers[0].residual_scale == pytest.approx(2.2134, abs=1e-4)


def test_norms_behind_the_sums_leave_tokens_of_length_one():
    """A new norm scales nothing: the last tokens have the deviation 1."""
    tokens = make_model()(draw(1, 12, 16)).last_hidden_state
    torch.testing.assert_close(tokens.std(-1, unbiased=False), torch.ones(1, 12), rtol=1e-3, atol=0)


def test_norms_before_the_parts_have_one_more_at_the_end():
    model = make_model(layer_norm_first=True, deep_norm=False)
    output = model(draw(1, 12, 16), output_hidden_states=True)
    expected = model.layernorm(output.hidden_states[-1])
    torch.testing.assert_close(output.last_hidden_state, expected, rtol=0, atol=0)
    assert output.hidden_states[-1].std(-1).sub(1).abs().max() > 0.05


def test_layers_are_left_out_in_training_alone():
    model = make_model(layerdrop=0.999)
    inputs = draw(1, 12, 16)
    complete = model(inputs, output_hidden_states=True)
    assert not torch.equal(complete.last_hidden_state, complete.hidden_states[0])
    torch.manual_seed(0)
    dropped = model.train()(inputs, output_hidden_states=True)
    assert len(dropped.hidden_states) == 3
    assert torch.equal(dropped.last_hidden_state, dropped.hidden_states[0])


@pytest.mark.parametrize(
    "field", ["hidden_dropout_prob", "attention_probs_dropout_prob", "activation_dropout", "classifier_dropout"]
)
def test_each_dropout_changes_training_and_nothing_else(field):
    model, inputs = make_model(BEATsForAudioClassification, layerdrop=0, **{field: 0.5}), draw(1, 12, 16)
    plain = make_model(BEATsForAudioClassification, layerdrop=0)(inputs).logits
    assert torch.equal(model(inputs).logits, plain)
    assert not torch.allclose(model.train()(inputs).logits, plain, atol=1e-4)


def test_embedded_patches_drop_out():
    embeddings = make_model(hidden_dropout_prob=0.5).train().embeddings
    assert 0.2 < float((embeddings(draw(1, 12, 16)) == 0).float().mean()) < 0.8


def test_gradients_reach_the_patches_through_the_positional_convolution():
    """The authors' code adds in place there, and its backward fails."""
    model = make_model()
    model(draw(1, 12, 16)).last_hidden_state.square().mean().backward()
    assert model.embeddings.patch_embedding.weight.grad.abs().sum() > 0
    assert model.positional_convolution.weight_length.grad.abs().sum() > 0


# --- padding ----------------------------------------------------------------------------------------------------------


def list_valid(model, lengths: list[int], frames: int) -> list[int]:
    """Numbers of tokens that count."""
    mask = (torch.arange(frames) < torch.tensor(lengths)[:, None]).long()
    tokens = frames // 4 * 4
    return model.make_token_mask(mask, tokens).sum(1).tolist()


def test_tokens_of_patches_without_padding_count():
    """4 patches of 4 bins each stand over 4 frames: of 7 frames one patch is whole, of 8 two."""
    assert list_valid(make_model(), [4, 7, 8, 12], frames=12) == [4, 4, 8, 12]


def test_the_official_rule_counts_tokens_by_shares_of_the_clip():
    """12 frames and 12 tokens: each frame decides on one token, whatever its patch holds."""
    model = make_model(token_mask="official")
    assert list_valid(model, [4, 7, 8, 12], frames=12) == [4, 7, 8, 12]
    # 15 frames and 12 tokens: a frame decides on a token, the last three decide nothing.
    assert list_valid(model, [4, 7, 12, 15], frames=15) == [4, 7, 12, 12]
    # 44 frames of 4 bins, 11 tokens: four frames decide on a token, and one frame is enough to make it count.
    low = make_model(token_mask="official", num_mel_bins=4)
    mask = (torch.arange(44) < torch.tensor([[4], [5], [9]])).long()
    assert low.make_token_mask(mask, 11).sum(1).tolist() == [1, 2, 3]


@pytest.mark.parametrize("length", [4, 5, 7, 8, 11, 13])
def test_a_padded_clip_gives_what_it_gives_alone(length):
    model = make_model(BEATsForAudioClassification, num_labels=3)
    clip = draw(1, length, 16, seed=length)
    padded = torch.cat([torch.cat([clip, torch.full((1, 14 - length, 16), 7.0)], dim=1), draw(1, 14, 16)])
    mask = torch.tensor([[1] * length + [0] * (14 - length), [1] * 14])
    torch.testing.assert_close(model(padded, mask).logits[0], model(clip).logits[0], rtol=1e-5, atol=1e-5)


def test_logits_are_the_mean_over_tokens():
    model = make_model(BEATsForAudioClassification, num_labels=3)
    tokens = model.beats(draw(2, 12, 16)).last_hidden_state
    torch.testing.assert_close(model(draw(2, 12, 16)).logits, model.classifier(tokens.mean(1)), rtol=1e-5, atol=1e-5)


def test_the_problem_type_of_the_config_chooses_the_loss():
    model, labels = make_model(BEATsForAudioClassification, num_labels=3), torch.eye(3)[:2]
    outputs = {}
    for problem_type in ("multi_label_classification", "single_label_classification"):
        model.config.problem_type = problem_type
        outputs[problem_type] = model(draw(2, 12, 16), labels=labels)
        assert model.config.problem_type == problem_type
    logits = outputs["multi_label_classification"].logits
    expected = nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(outputs["multi_label_classification"].loss, expected)
    expected = nn.functional.cross_entropy(logits, labels.argmax(1))
    torch.testing.assert_close(outputs["single_label_classification"].loss, expected)


def test_the_rest_of_frames_behind_the_last_patch_is_not_seen():
    model, inputs = make_model(), draw(1, 15, 16)
    torch.testing.assert_close(model(inputs).last_hidden_state, model(inputs[:, :12]).last_hidden_state, rtol=0, atol=0)


def test_tokens_are_in_order_of_time_then_of_frequency():
    model = make_model()
    patches = model.embeddings.embed_patches(draw(1, 8, 16))
    second, third = draw(1, 8, 16)[:, 4:, 8:12], 4 + 2  # time 1, band 2 of 4
    kernel = model.embeddings.patch_embedding.weight[:, 0]
    expected = model.embeddings.layernorm((kernel * second).sum((1, 2)))
    torch.testing.assert_close(patches[0, third], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", [None, torch.tensor([[1, 1, 1, 0]])])
def test_a_clip_shorter_than_a_patch_is_refused(mask):
    clip = draw(1, 3 if mask is None else 4, 16)
    with pytest.raises(ValueError, match=r"`input_values` has a clip of 3 frames, a patch has 4: .* is too short"):
        make_model()(clip, mask)


def test_features_of_another_height_are_refused():
    with pytest.raises(ValueError, match=r"`input_values` must be \(batch, frames, 16\) features, got \(1, 8, 17\)"):
        make_model()(draw(1, 8, 17))


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"`attention_mask` must be \(batch, frames\) = \(1, 8\), got \(1, 9\)"):
        make_model()(draw(1, 8, 16), torch.ones(1, 9))


# --- long sounds ------------------------------------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        for tensor in made:
            if isinstance(tensor, torch.Tensor):  # a view holds no more than its storage
                held = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.elements = max(self.elements, min(tensor.numel(), held))
        return result


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_minute_of_sound_makes_no_matrix_of_all_pairs_of_tokens(implementation):
    """Of the released size, without values. All pairs of 2992 tokens in 12 heads would be 107 million numbers."""
    with torch.device("meta"):
        model = BEATsModel(BEATsConfig()).eval()
        model.set_attn_implementation(implementation)
        with LargestTensor() as largest:
            tokens = model(torch.zeros(1, MINUTE, 128)).last_hidden_state
    assert tokens.shape == (1, RELEASED_TOKENS, 768)
    assert largest.elements <= 1 << 24  # 64 MB of float32


def test_a_batch_of_long_sounds_is_split_further():
    attention = make_model(num_attention_heads=2).layers[0].attention
    for batch in (1, 8):
        spans = attention.split_queries(batch, RELEASED_TOKENS)
        assert all((end - start) * RELEASED_TOKENS * batch * 2 <= 1 << 24 for start, end in spans)
        assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
        assert (spans[0][0], spans[-1][1]) == (0, RELEASED_TOKENS)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_minute_in_half_precision_is_finite(dtype, implementation):
    """With products of queries and keys beyond 65504, the largest number of float16; once scaled, they fit."""
    model = make_model(hidden_size=32, num_hidden_layers=2, conv_pos_kernel_size=16, num_mel_bins=64, patch_size=16)
    for layer in model.layers:
        layer.attention.q_proj.weight *= 70
        layer.attention.k_proj.weight *= 70
    sound = 3 * draw(1, MINUTE, 64)
    tokens, attention = model(sound[:, :160], output_hidden_states=True).hidden_states[0][0], model.layers[0].attention
    assert 65504 < (attention.q_proj(tokens) @ attention.k_proj(tokens).T).abs().max() < 2 * 65504
    model.set_attn_implementation(implementation)
    tokens = model.to(dtype)(sound.to(dtype)).last_hidden_state
    assert tokens.dtype == dtype
    assert torch.isfinite(tokens).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_half_precision_is_near_single_on_a_padded_batch(dtype, tolerance):
    model = make_model(BEATsForAudioClassification, num_labels=3)
    mask = torch.tensor([[1] * 40, [1] * 21 + [0] * 19])
    expected = model(draw(2, 40, 16), mask).logits
    logits = model.to(dtype)(draw(2, 40, 16).to(dtype), mask).logits
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=tolerance)
