"""ACL-SSL beside plain formulas: pairs, pictures of any shape, the embedder, the prompt, costs, what is frozen."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from avzoo import ACLConfig, ACLForSoundLocalization
from avzoo.models.acl_ssl import modeling_acl_ssl
from avzoo.models.acl_ssl.modeling_acl_ssl import ACLAudioEmbedder

NETWORK = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {
    "audio_config": {
        "num_mel_bins": 16,
        "patch_size": 4,
        "embedding_size": 8,
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "conv_pos_kernel_size": 4,
        "conv_pos_groups": 2,
        "num_buckets": 8,
        "max_distance": 16,
        "initializer_range": 0.2,
    },
    "grounder_config": {
        "text_config": {**NETWORK, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 19},
        "vision_config": {**NETWORK, "image_size": 32, "patch_size": 16},
        "projection_dim": 10,
        "extract_layers": [0, 1],
        "reduce_dim": 8,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 12,
        "use_complex_transposed_convolution": True,
    },
    "audio_layers": (1, 3),
    "prompt_ids": (18, 3, 5, 19),
    "prompt_position": 3,
}


def make_model(**fields) -> ACLForSoundLocalization:
    """A small network in evaluation; CLIPSeg's weights, which begin near 0, are drawn large enough to matter."""
    torch.manual_seed(0)
    model = ACLForSoundLocalization(ACLConfig(**{**SMALL, **fields})).eval()
    with torch.no_grad():
        for seed, (name, weight) in enumerate(model.grounder.named_parameters()):
            draw = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
            weight.copy_(0.3 * draw + ("norm" in name and name.endswith("weight")))
    return model


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int = 2, rows: int = 32, columns: int = 48) -> torch.Tensor:
    return draw(count, 3, rows, columns, seed=1)


def sounds(count: int = 2, frames: int = 12) -> torch.Tensor:
    return draw(count, frames, 16, seed=2)


@contextlib.contextmanager
def count_passes(model: nn.Module) -> Iterator[Counter]:
    """How many pictures go through CLIP, sounds through BEATs, words through CLIP's text, pairs through the decoder."""
    seen: Counter = Counter()
    modules = {
        "pictures": model.grounder.clip.vision_model.encoder.layers[0],
        "sounds": model.audio_encoder.layers[0],
        "texts": model.grounder.clip.text_model.encoder.layers[0],
        "pairs": model.grounder.decoder.layers[0],
    }

    def count(name: str):
        return lambda _, arguments: seen.update({name: len(arguments[0])})

    handles = [module.register_forward_pre_hook(count(name)) for name, module in modules.items()]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.fixture(autouse=True)
def _without_gradients(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def assert_close(actual, expected, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_the_defaults_are_the_released_size():
    """248,338,903 weights, of which the embedder's and the mask's two numbers are trained."""
    with torch.device("meta"):
        model = ACLForSoundLocalization(ACLConfig())
    counts = Counter()
    for weight in model.parameters():
        counts[weight.requires_grad] += weight.numel()
    assert counts == {True: 7_279_365, False: 248_338_903 - 7_279_365}


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_equal_numbers_are_pairs():
    model = make_model()
    output = model(pictures(3), sounds(3))
    assert output.similarity_map.shape == (3, 32, 48)
    assert output.confidence.shape == (3,)
    for index in range(3):
        alone = model(pictures(3)[index : index + 1], sounds(3)[index : index + 1])
        assert_close(output.similarity_map[index], alone.similarity_map[0])
        assert_close(output.confidence[index], alone.confidence[0])
    assert not torch.allclose(output.logits[0], output.logits[1], atol=1e-2)


def test_embeddings_of_an_output_keep_their_length():
    model = make_model()
    output = model(pictures(2), sounds(2))
    image, audio = model.get_image_features(pictures(2)), model.get_audio_features(sounds(2))
    for embeds, features in ((output.image_embeds, image), (output.audio_embeds, audio)):
        assert_close(nn.functional.normalize(embeds, dim=-1), features.pooler_output)
        assert (embeds.norm(dim=-1) - 1).abs().min() > 0.01
    assert_close(output.audio_embeds, audio.last_hidden_state)


def test_one_picture_is_asked_with_every_sound():
    model = make_model()
    output = model(pictures(1), sounds(3))
    repeated = model(pictures(1).expand(3, -1, -1, -1), sounds(3))
    assert output.similarity_map.shape == (3, 32, 48)
    assert_close(output.similarity_map, repeated.similarity_map)
    assert_close(output.confidence, repeated.confidence)


def test_one_sound_is_asked_in_every_picture():
    model = make_model()
    output = model(pictures(3), sounds(1))
    repeated = model(pictures(3), sounds(1).expand(3, -1, -1))
    assert output.similarity_map.shape == (3, 32, 48)
    assert_close(output.similarity_map, repeated.similarity_map)
    assert_close(output.confidence, repeated.confidence)


def test_other_numbers_give_every_picture_with_every_sound():
    model = make_model()
    output = model(pictures(2), sounds(3))
    assert output.similarity_map.shape == (2, 3, 32, 48)
    assert output.confidence.shape == (2, 3)
    assert output.audio_embeds.shape == (3, 10)
    assert output.image_embeds.shape == (2, 10)
    for picture in range(2):
        for sound in range(3):
            alone = model(pictures(2)[picture : picture + 1], sounds(3)[sound : sound + 1])
            assert_close(output.similarity_map[picture, sound], alone.similarity_map[0])
            assert_close(output.confidence[picture, sound], alone.confidence[0])


def test_the_two_sides_apart_give_the_same_maps_and_confidence():
    model = make_model()
    image, audio = model.get_image_features(pictures(2)), model.get_audio_features(sounds(3))
    output = model(pictures(2), sounds(3))
    assert_close(model.compute_similarity_maps(image, audio), output.similarity_map)
    assert_close(model.compute_confidence(image, audio), output.confidence)


def test_pairs_in_parts_are_the_whole(monkeypatch):
    model = make_model()
    whole = model(pictures(2), sounds(3)).logits
    monkeypatch.setattr(modeling_acl_ssl, "_PAIRS_AT_ONCE", 4)
    assert_close(model(pictures(2), sounds(3)).logits, whole)


@pytest.mark.parametrize(("images", "audios"), [(3, 3), (1, 4), (4, 1), (2, 3)])
def test_pictures_and_sounds_are_encoded_once_and_pairs_decoded(images, audios):
    model = make_model()
    with count_passes(model) as seen:
        model(pictures(images), sounds(audios))
    pairs = images if images == audios else images * audios
    assert seen == {"pictures": images, "sounds": audios, "texts": audios, "pairs": pairs}


def test_a_confidence_costs_no_further_picture():
    """The authors' code encodes a picture four times for it."""
    model = make_model()
    with count_passes(model) as seen:
        image, audio = model.get_image_features(pictures(1)), model.get_audio_features(sounds(1))
        model.compute_similarity_maps(image, audio)
        model.compute_confidence(image, audio)
    assert (seen["pictures"], seen["sounds"]) == (1, 1)


def test_a_step_of_training_encodes_each_picture_twice():
    """Once as it is, for all pairs, and once behind the mask of its own sound."""
    model = make_model().train()
    with count_passes(model) as seen:
        model(pictures(3), sounds(3), return_loss=True, generator=torch.Generator().manual_seed(0))
    assert seen == {"pictures": 6, "sounds": 3, "texts": 3, "pairs": 9}


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (32, 80), (96, 16), (16, 16)])
def test_pictures_of_any_shape_have_maps_of_their_size(rows, columns):
    output = make_model()(pictures(1, rows, columns), sounds(1))
    assert output.similarity_map.shape == (1, rows, columns)
    assert torch.isfinite(output.similarity_map).all()


@pytest.mark.parametrize(
    "fields",
    [{}, {"conditional_layer": 1}, {"extract_layers": [1, 0]}, {"use_complex_transposed_convolution": False}],
    ids=str,
)
def test_square_pictures_give_what_transformers_clipseg_gives(fields):
    model = make_model(grounder_config={**SMALL["grounder_config"], **fields})
    embeds, square = draw(2, 10, seed=5), pictures(2, 48, 48)
    expected = model.grounder(pixel_values=square, conditional_embeddings=embeds).logits
    computed = model.compute_logits(model.get_image_features(square), embeds, paired=True)[:, 0]
    assert_close(computed, expected, 1e-4)
    assert expected.std() > 0.1


def test_a_wide_pictures_cells_keep_their_places():
    """Transposed rows and columns would move what is only in the upper right corner."""
    model, picture = make_model(), pictures(1, 32, 80)
    changed = picture.clone()
    changed[..., :16, 64:] += 3
    before, after = (model.get_image_features(each).last_hidden_state for each in (picture, changed))
    assert before.shape == (1, 10, 2, 5)
    difference = (after - before).abs().sum(1)[0]
    assert int(difference.argmax()) == 4  # row 0, column 4


@pytest.mark.parametrize("shape", [(1, 3, 32, 40), (1, 1, 32, 32), (3, 32, 32)])
def test_pictures_of_no_whole_patches_are_refused(shape):
    with pytest.raises(ValueError, match=r"`pixel_values` must be \(images, 3, height, width\), multiples of 16"):
        make_model()(torch.zeros(shape), sounds(1))


def test_dense_features_are_those_of_a_last_layer_without_attention():
    """Each patch's value, projected and added to it; then the feed-forward part, the norm and CLIP's projection."""
    model, clip = make_model(), make_model().grounder.clip
    *hidden_states, _ = model.run_vision(pictures(2))
    layer, hidden = clip.vision_model.encoder.layers[-1], hidden_states[-1]
    value = layer.self_attn.out_proj(layer.self_attn.v_proj(layer.layer_norm1(hidden))) + hidden
    value = value + layer.mlp(layer.layer_norm2(value))
    dense = clip.visual_projection(clip.vision_model.post_layernorm(value))[:, 1:]
    assert_close(model.get_image_features(pictures(2)).last_hidden_state.flatten(2).mT, dense, 1e-4)


def test_picture_embeddings_are_clips():
    model = make_model()
    square = pictures(2, 32, 32)
    expected = model.grounder.clip.get_image_features(square)
    expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
    image = model.get_image_features(square)
    assert_close(image.hidden_states[-1], expected, 1e-4)
    assert_close(image.pooler_output, nn.functional.normalize(expected, dim=-1), 1e-4)


# --- heatmaps ---------------------------------------------------------------------------------------------------------


def test_a_heatmap_is_the_sigmoid_of_logits_and_the_ratio_of_shift_and_scale():
    model = make_model()
    model.mask_scale.fill_(4.0)
    model.mask_shift.fill_(2.0)
    logits = torch.tensor([[-0.5, 0.0], [1.0, -2.5]])
    expected = [[0.5, 1 / (1 + math.exp(-0.5))], [1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(2.0))]]
    assert_close(model.make_heatmap(logits), torch.tensor(expected))


def test_new_masks_begin_at_ten_and_fourteen():
    model = make_model()
    assert (float(model.mask_scale), float(model.mask_shift)) == (10.0, 14.0)
    assert float(model.make_heatmap(torch.zeros(1, 1))) == pytest.approx(1 / (1 + math.exp(-1.4)))


def test_a_trained_scale_may_be_negative():
    model = make_model()
    model.mask_scale.fill_(-7.0)
    assert float(model.make_heatmap(torch.zeros(1, 1))) == pytest.approx(1 / (1 + math.exp(2)))  # 14 / -7


def test_logits_are_resized_not_heatmaps():
    model, logits = make_model(), 3 * draw(2, 16, 24, seed=6)
    resized = nn.functional.interpolate(logits[:, None], (8, 10), mode="bicubic", align_corners=False)[:, 0]
    assert_close(model.make_heatmap(logits, (8, 10)), torch.sigmoid(resized + 1.4))


# --- sounds and words -------------------------------------------------------------------------------------------------


def pool_with_a_matrix(embedder: ACLAudioEmbedder, features: torch.Tensor) -> torch.Tensor:
    """The authors' formula: the mean over the keys of a (tokens, tokens) matrix of cosines."""
    tokens = embedder.fc2(nn.functional.gelu(embedder.fc1(features)))
    unary = embedder.unary_reduce(embedder.unary_embed(tokens).relu())[..., 0]
    query = nn.functional.normalize(embedder.pair_query(tokens), dim=-1)
    key = nn.functional.normalize(embedder.pair_key(tokens), dim=-1)
    pairs = (query @ key.mT).mean(-1)
    weights = embedder.combine.weight[0, 0] * unary + embedder.combine.weight[0, 1] * pairs
    return (weights.softmax(-1)[..., None] * tokens).sum(1)


def make_embedder() -> ACLAudioEmbedder:
    torch.manual_seed(0)
    embedder = ACLAudioEmbedder(6, 5, 0.5).eval()
    embedder.combine.weight.copy_(torch.tensor([[3.0, -8.0]]))  # so that the weights are far from equal
    return embedder


def test_the_embedder_is_that_of_the_matrix_of_all_pairs_of_tokens():
    embedder, features = make_embedder(), 2 * draw(3, 9, 6, seed=7)
    assert_close(embedder(features), pool_with_a_matrix(embedder, features))
    assert not torch.allclose(embedder(features), embedder.fc2(nn.functional.gelu(embedder.fc1(features))).mean(1))


def test_tokens_behind_a_mask_count_nowhere():
    embedder, features = make_embedder(), 2 * draw(2, 9, 6, seed=7)
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    padded = features.masked_fill(~mask[..., None], 100.0)
    assert_close(embedder(padded, mask)[1], embedder(features[1:, :4])[0])


def test_the_embedder_hears_the_layers_that_the_config_names():
    model = make_model()
    states = model.audio_encoder(sounds(2), output_hidden_states=True).hidden_states
    expected = model.audio_embedder(torch.cat([states[1], states[3]], dim=-1))
    assert_close(model.get_audio_features(sounds(2)).hidden_states[0], expected)


def encode_words(model: ACLForSoundLocalization, words: torch.Tensor) -> torch.Tensor:
    """Embedded words through CLIP's text encoder by its own modules, one sequence at a time."""
    text = model.grounder.clip.text_model
    hidden = words + text.embeddings.position_embedding.weight[: words.shape[1]]
    mask = torch.full((words.shape[1],) * 2, float("-inf")).triu(1)[None, None]
    for layer in text.encoder.layers:
        hidden = layer(hidden, attention_mask=mask)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    return model.grounder.clip.text_projection(text.final_layer_norm(hidden)[:, -1])


@pytest.mark.parametrize(
    ("ids", "position"), [((18, 3, 5, 19), 3), ((18, 3, 5, 19), 1), ((18, 3, 5, 7, 19), 2), ((18, 19), 1)]
)
def test_a_sound_stands_at_its_position_between_the_words(ids, position):
    model, token = make_model(), draw(1, 12, seed=8)
    words = model.grounder.clip.text_model.embeddings.token_embedding(torch.tensor([ids]))
    sequence = torch.cat([words[:, :position], token[None], words[:, position:]], dim=1)
    assert_close(model.embed_token(token, ids, position), encode_words(model, sequence), 1e-4)


def test_words_see_only_those_before_them():
    model = make_model()
    hidden = draw(1, 5, 12, seed=9)
    changed = hidden.clone()
    changed[:, 3] += draw(12, seed=10)
    before, after = model.run_text(hidden), model.run_text(changed)
    assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().amax(-1).min() > 0.01


def test_a_word_in_the_place_of_the_sound_is_the_sound_of_that_word():
    """A token that is a word's own embedding gives what the sentence gives."""
    model = make_model()
    token = model.grounder.clip.text_model.embeddings.token_embedding.weight[7:8]
    sentence = model.get_text_features(torch.tensor([[18, 3, 5, 7, 19]]))
    assert_close(model.embed_token(token), sentence.last_hidden_state)


def test_texts_stand_in_place_of_sounds():
    model = make_model()
    image, text = (
        model.get_image_features(pictures(2)),
        model.get_text_features(torch.tensor([[18, 4, 19], [18, 6, 19]])),
    )
    assert model.compute_similarity_maps(image, text).shape == (2, 2, 32, 48)
    assert model.compute_confidence(image, text).shape == (2, 2)
    assert_close(text.pooler_output.norm(dim=-1), torch.ones(2))


def test_padded_texts_are_what_they_are_alone():
    model = make_model()
    ids, mask = torch.tensor([[18, 4, 6, 19], [18, 5, 19, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    together = model.get_text_features(ids, mask).last_hidden_state
    assert_close(together[1:], model.get_text_features(ids[1:, :3]).last_hidden_state)


@pytest.mark.parametrize("position", [0, 4])
def test_a_position_outside_of_the_prompt_is_refused(position):
    with pytest.raises(ValueError, match=f"`prompt_position` must be from 1 to 3, between .*; got {position}"):
        make_model().get_audio_features(sounds(1), prompt_ids=(18, 3, 5, 19), prompt_position=position)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((18, 20, 19), r"`prompt_ids` must be two or more token ids below 20, got \(18, 20, 19\)"),
        ((18, 3, 5, 6, 7, 8, 9, 19), "`prompt_ids` has 8 tokens; with the sound's at most 8 fit"),
    ],
)
def test_another_prompt_that_clip_cannot_read_is_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        make_model().embed_token(draw(1, 12), ids, 1)


def test_a_text_of_as_many_tokens_as_clip_reads_is_encoded():
    assert make_model().get_text_features(torch.full((1, 8), 3)).pooler_output.shape == (1, 10)


def test_a_text_longer_than_clip_reads_is_refused():
    message = "`input_ids` has 9 tokens, start and end included; CLIP reads at most 8. Use fewer words"
    with pytest.raises(ValueError, match=message):
        make_model().get_text_features(torch.full((1, 9), 3))


def test_no_picture_and_no_sound_are_refused():
    with pytest.raises(ValueError, match=r"`pixel_values` must be .* one picture or more, got \(0, 3, 32, 48\)"):
        make_model()(pictures(0), sounds(0))
    with pytest.raises(ValueError, match=r"`input_values` must be .*, got \(0, 12, 16\)\. .* of one clip or more"):
        make_model()(pictures(1), sounds(0))


def test_vectors_for_search_have_unit_length():
    model = make_model()
    embeds = model.get_audio_embeds(sounds(2))
    assert_close(embeds, nn.functional.normalize(model(pictures(2), sounds(2)).audio_embeds, dim=-1))


def test_a_padded_sound_gives_what_it_gives_alone():
    model = make_model()
    padded = torch.cat([sounds(2)[:, :8], torch.full((2, 4, 16), 7.0)], dim=1)
    mask = torch.tensor([[1] * 8 + [0] * 4] * 2)
    alone = model.get_audio_features(sounds(2)[:, :8]).last_hidden_state
    assert_close(model.get_audio_features(padded, mask).last_hidden_state, alone, 1e-4)


# --- training ---------------------------------------------------------------------------------------------------------


def test_frozen_networks_stay_in_evaluation_in_training():
    model = make_model(audio_config={**SMALL["audio_config"], "layerdrop": 0.9}).train()
    assert model.training
    assert model.audio_embedder.training
    frozen = [*model.audio_encoder.modules(), *model.grounder.modules()]
    assert not any(module.training for module in frozen)
    torch.manual_seed(0)
    first = model.audio_encoder(sounds(1)).last_hidden_state
    assert torch.equal(first, model.audio_encoder(sounds(1)).last_hidden_state)  # no layer is left out


def test_only_what_is_trained_takes_a_gradient():
    model = make_model().train()
    output = model(pictures(3), sounds(3), return_loss=True, generator=torch.Generator().manual_seed(0))
    output.loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert {name.split(".")[0] for name in trained} == {"audio_embedder", "mask_scale", "mask_shift"}
    assert float(model.mask_scale.grad) != 0
    assert float(model.mask_shift.grad) != 0
    assert model.audio_embedder.fc1.weight.grad.abs().sum() > 0


def test_a_loaded_model_is_frozen_and_a_gradient_reaches_the_embedder(tmp_path):
    make_model().save_pretrained(tmp_path)
    model = ACLForSoundLocalization.from_pretrained(tmp_path)
    names = {name.split(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert names == {"audio_embedder", "mask_scale", "mask_shift"}


def test_one_generator_gives_one_loss():
    model = make_model()
    losses = [
        float(model(pictures(3), sounds(3), return_loss=True, generator=torch.Generator().manual_seed(seed)).loss)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_masks_of_pictures_and_of_pairs_are_drawn_apart():
    model, batch = make_model(mask_init_scale=1, mask_init_shift=0), (pictures(3), sounds(3))
    image, audio = model.get_image_features(batch[0]), model.get_audio_features(batch[1]).last_hidden_state
    logits = model.compute_logits(image, audio)
    features, _ = model.pool_features(image, logits)

    def compute(pairs: int, own: int):
        shape = logits.shape
        uniform = tuple(
            torch.rand((shape[0], sounds, *shape[2:]), generator=torch.Generator().manual_seed(seed))
            for sounds, seed in ((3, pairs), (1, own))
        )
        return model.compute_loss(batch[0], logits, features, audio, uniform=uniform)

    first, other_pairs, other_own = compute(1, 2), compute(3, 2), compute(1, 3)
    assert (first.image == other_pairs.image, first.area == other_pairs.area) == (True, False)
    assert (first.image == other_own.image, first.area == other_own.area) == (False, True)


@pytest.mark.parametrize("draw_ends", [torch.zeros, torch.ones])
def test_a_loss_is_finite_at_both_ends_of_the_draws(draw_ends, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: draw_ends(shape))
    draws = modeling_acl_ssl.draw_uniform(torch.zeros(2, 3), None)
    assert torch.isfinite(torch.log(draws / (1 - draws))).all()


def test_new_layers_begin_within_xaviers_bound_and_without_bias():
    embedder = ACLForSoundLocalization(ACLConfig(**SMALL)).audio_embedder
    for layer in (embedder.fc1, embedder.fc2, embedder.unary_embed, embedder.pair_query, embedder.pair_key):
        bound = math.sqrt(6 / sum(layer.weight.shape))
        assert 0.5 * bound < float(layer.weight.abs().max()) <= bound
        assert not layer.bias.any()


def test_a_loss_changes_no_other_output():
    model = make_model()
    plain, with_loss = model(pictures(3), sounds(3)), model(pictures(3), sounds(3), return_loss=True)
    assert_close(with_loss.similarity_map, plain.similarity_map)
    assert_close(with_loss.confidence, plain.confidence)


def test_a_loss_of_unequal_numbers_is_refused():
    with pytest.raises(ValueError, match="`return_loss` needs as many sounds as pictures, got 2 and 3"):
        make_model()(pictures(2), sounds(3), return_loss=True)
