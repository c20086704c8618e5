"""Maps and vectors of the two trunks: shapes, numbers of passes, precision, the switches of the other methods."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentModel
from avzoo.models.ssl_alignment import AlignmentView, alignment_loss

SMALL = {"hidden_sizes": (6, 8, 10, 12), "depths": (1, 1, 1, 1), "projection_dim": 5}


def make_model(**fields) -> SSLAlignmentForSoundLocalization:
    """A small network in evaluation; norms have drawn statistics, so that none of them does nothing."""
    torch.manual_seed(0)
    model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**{**SMALL, **fields})).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int = 2, rows: int = 64, columns: int = 96) -> torch.Tensor:
    return draw(count, 3, rows, columns, seed=1)


def sounds(count: int = 2, bins: int = 65, frames: int = 80) -> torch.Tensor:
    return draw(count, 1, bins, frames, seed=2)


@contextlib.contextmanager
def count_passes(model: nn.Module) -> Iterator[Counter]:
    """How many pictures and sounds go through the trunks."""
    seen: Counter = Counter()
    trunks = {name: module for name, module in model.named_modules() if name.endswith("_trunk")}

    def count(name: str):
        return lambda _, inputs: seen.update({name.rpartition(".")[2]: len(inputs[0])})

    handles = [trunk.register_forward_pre_hook(count(name)) for name, trunk in trunks.items()]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.fixture(autouse=True)
def _without_gradients(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(224, 224), (64, 96), (100, 75), (448, 448), (17, 16), (1, 33)])
def test_a_map_has_a_cell_for_every_16_pixels_begun(rows, columns):
    output = make_model()(pictures(1, rows, columns), sounds(1))
    assert output.similarity_map.shape == (1, math.ceil(rows / 16), math.ceil(columns / 16))


def test_stock_strides_give_a_cell_for_every_32_pixels():
    strides = {"image_strides": (1, 2, 2, 2), "audio_strides": (1, 2, 2, 2)}
    assert make_model(**strides)(pictures(1, 224, 224), sounds(1)).similarity_map.shape == (1, 7, 7)


def test_the_released_size_has_the_maps_of_its_sheet():
    with torch.device("meta"):
        model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig()).eval()
        output = model(torch.zeros(2, 3, 224, 224), torch.zeros(2, 1, 257, 299))
        assert output.similarity_map.shape == (2, 14, 14)
        assert (output.image_map.shape, output.audio_vector.shape) == ((2, 512, 14, 14), (2, 512))
        assert (output.image_embeds.shape, output.localization_logits.shape) == ((2, 512), (2, 2))
        assert model.alignment.audio_trunk(torch.zeros(1, 1, 257, 299)).shape == (1, 512, 17, 19)


def test_the_map_is_the_cosine_of_trunk_features():
    model, pixels, features = make_model(), pictures(), sounds()
    output = model(pixels, features)
    image, audio = model.alignment.image_trunk(pixels), model.alignment.audio_trunk(features).amax((2, 3))
    cosines = nn.functional.cosine_similarity(image, audio[:, :, None, None].expand_as(image), dim=1)
    torch.testing.assert_close(output.similarity_map, cosines, rtol=1e-5, atol=1e-6)
    assert output.similarity_map.min() >= 0  # both sides end in a ReLU


def test_vectors_for_retrieval_are_projections_of_the_greatest_values_before_normalizing():
    model, pixels, features = make_model(), pictures(), sounds()
    output = model(pixels, features)
    net = model.alignment
    image = net.image_projection(net.image_trunk(pixels).flatten(2).max(-1).values)
    audio = net.audio_projection(net.audio_trunk(features).flatten(2).max(-1).values)
    torch.testing.assert_close(output.image_embeds, nn.functional.normalize(image, dim=-1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.audio_embeds, nn.functional.normalize(audio, dim=-1), rtol=1e-5, atol=1e-6)
    logits = output.image_embeds @ output.audio_embeds.T / 0.07
    torch.testing.assert_close(output.alignment_logits, logits, rtol=1e-5, atol=1e-5)


def test_what_looks_up_a_pixel_is_in_its_place():
    """Rows of the map are rows of the picture: a spot at the lower left moves the lower left cells most."""
    model = make_model(depths=(1, 1, 1, 1), image_strides=(1, 2, 2, 1))
    blank = torch.zeros(1, 3, 256, 256)
    spot = blank.clone()
    spot[..., 216:232, 24:40] = 3.0
    moved = (model.get_image_features(spot).last_hidden_state - model.get_image_features(blank).last_hidden_state).norm(
        dim=1
    )[0]
    row, column = divmod(int(moved.argmax()), moved.shape[1])
    assert row in (13, 14)
    assert column in (1, 2)


# --- passes -----------------------------------------------------------------------------------------------------------


def test_all_pairs_of_m_pictures_and_k_sounds_cost_m_and_k_passes():
    model = make_model(use_objectness=True)
    with count_passes(model) as passes:
        image, audio = model.get_image_features(pictures(3)), model.get_audio_features(sounds(4))
        maps = model.compute_similarity_maps(image, audio)
    assert maps.shape == (3, 4, 4, 6)
    assert passes == {"image_trunk": 3, "audio_trunk": 4}


def test_a_batch_with_all_its_pairs_and_its_loss_sees_each_picture_and_sound_once():
    model = make_model(use_objectness=True)
    with count_passes(model) as passes:
        model(pictures(3), sounds(3), return_loss=True, return_all_pairs=True)
    assert passes == {"image_trunk": 3, "audio_trunk": 3}


def test_one_side_alone_costs_one_pass():
    model = make_model()
    with count_passes(model) as passes:
        output = model.alignment(input_features=sounds(2))
    assert passes == {"audio_trunk": 2}
    assert (output.image_map, output.image_embeds) == (None, None)
    assert output.audio_vector.shape == (2, 12)


def test_maps_of_all_pairs_have_the_own_ones_on_the_diagonal():
    output = make_model()(pictures(3), sounds(3), return_all_pairs=True)
    for index in range(3):
        own = output.all_pairs_map[index, index]
        torch.testing.assert_close(own, output.similarity_map[index], rtol=1e-5, atol=1e-6)
    assert make_model()(pictures(), sounds()).all_pairs_map is None


def test_a_batch_gives_what_its_items_give():
    model = make_model()
    together = model(pictures(3), sounds(3))
    for index in range(3):
        alone = model(pictures(3)[index : index + 1], sounds(3)[index : index + 1])
        torch.testing.assert_close(together.similarity_map[index], alone.similarity_map[0], rtol=1e-5, atol=1e-6)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_one_view():
    model = make_model(temperature=0.2, mask_threshold=0.3, mask_temperature=0.05)
    output = model(pictures(), sounds(), return_loss=True)
    view = AlignmentView(output.image_map, output.audio_vector, output.image_embeds, output.audio_embeds)
    expected = alignment_loss([view], temperature=0.2, mask_threshold=0.3, mask_temperature=0.05)
    torch.testing.assert_close(output.loss, expected.loss)
    assert model(pictures(), sounds()).loss is None


def test_the_loss_without_a_soft_mask_is_the_papers():
    output = make_model(soft_mask=False)(pictures(), sounds(), return_loss=True, return_all_pairs=True)
    means = output.all_pairs_map.mean((2, 3)) / 0.07
    torch.testing.assert_close(output.localization_logits, means, rtol=1e-5, atol=1e-5)


def test_without_projections_the_loss_has_the_maps_alone():
    output = make_model(projection_dim=None)(pictures(), sounds(), return_loss=True)
    assert output.alignment_logits is None
    expected = alignment_loss([AlignmentView(output.image_map, output.audio_vector)])
    assert len(expected.alignment) == 0
    torch.testing.assert_close(output.loss, expected.loss)


def test_a_gradient_reaches_every_weight_but_those_of_objectness():
    model = make_model(use_objectness=True, localization_projection="dual", localization_dim=7).train()
    model(pictures(4), sounds(4), return_loss=True).loss.backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert without == {f"objectness_trunk.{name}" for name, _ in model.objectness_trunk.named_parameters()}


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same_map_and_a_loss(dtype):
    model = make_model(use_objectness=True)
    expected = model(pictures(), sounds()).similarity_map
    model = model.to(dtype)
    output = model(pictures(), sounds(), return_loss=True)  # float32 inputs are what the processor makes
    assert output.similarity_map.dtype == dtype
    torch.testing.assert_close(output.similarity_map.float(), expected, rtol=0, atol=0.03)
    assert output.loss.isfinite()
    assert output.loss.dtype == torch.float32
    assert model.get_objectness(pictures()).isfinite().all()


# --- the other methods' switches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 7])
def test_single_projections_stand_before_the_map(dim):
    model = make_model(localization_projection="single", localization_dim=dim)
    pixels, features = pictures(), sounds()
    output, net = model(pixels, features), model.alignment
    image = net.image_localization[0](net.image_trunk(pixels))
    audio = net.audio_localization[0](net.audio_trunk(features).amax((2, 3)))
    cosines = nn.functional.cosine_similarity(image, audio[:, :, None, None].expand_as(image), dim=1)
    assert image.shape[1] == (dim or 12)
    torch.testing.assert_close(output.similarity_map, cosines, rtol=1e-5, atol=1e-6)


def test_the_map_of_dual_projections_is_the_mean_of_two_cosines():
    model = make_model(localization_projection="dual", localization_dim=7)
    pixels, features = pictures(), sounds()
    output, net = model(pixels, features), model.alignment
    image, audio = net.image_trunk(pixels), net.audio_trunk(features).amax((2, 3))
    cosines = []
    for index in range(2):
        first, second = net.image_localization[index](image), net.audio_localization[index](audio)
        cosines.append(nn.functional.cosine_similarity(first, second[:, :, None, None].expand_as(first), dim=1))
    torch.testing.assert_close(output.similarity_map, sum(cosines) / 2, rtol=1e-5, atol=1e-6)
    norms = output.image_map.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_without_projections_retrieval_compares_the_features_of_the_map():
    output = make_model(projection_dim=None)(pictures(), sounds())
    torch.testing.assert_close(output.image_embeds, output.image_map.mean((2, 3)))
    assert torch.equal(output.audio_embeds, output.audio_vector)


# --- objectness -------------------------------------------------------------------------------------------------------


def test_objectness_is_the_mean_over_channels():
    model = make_model(use_objectness=True)
    objectness = model.get_objectness(pictures(2, 64, 96))
    assert objectness.shape == (2, 2, 3)  # a cell for every 32 pixels
    torch.testing.assert_close(objectness, model.objectness_trunk(pictures(2, 64, 96)).abs().mean(1))


def test_the_objectness_network_is_left_as_it_is_while_the_others_are_trained():
    model = make_model(use_objectness=True)
    before = model.get_objectness(pictures())
    model.train()
    torch.testing.assert_close(model.get_objectness(pictures()), before)
    assert model.alignment.image_trunk.training
    torch.testing.assert_close(model.eval().get_objectness(pictures()), before)


def test_without_such_a_network_it_says_how_to_get_one():
    with pytest.raises(ValueError, match=r"no objectness network .*--part objectness=FILE"):
        make_model().get_objectness(pictures())


# --- what is refused --------------------------------------------------------------------------------------------------


def test_batches_of_two_sizes_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"has 3 pictures and `input_features` 2 sounds.*For all pairs take"):
        make_model()(pictures(3), sounds(2))


def test_neither_side_is_refused():
    with pytest.raises(ValueError, match="`pixel_values` and `input_features` are both None"):
        SSLAlignmentModel(SSLAlignmentConfig(**SMALL))()


@pytest.mark.parametrize(
    ("shape", "got"),
    [((3, 64, 64), r"\(3, 64, 64\)"), ((1, 1, 64, 64), r"\(1, 1, 64, 64\)"), ((1, 3, 0, 64), "0, 64")],
)
def test_pictures_of_another_shape_are_refused(shape, got):
    with pytest.raises(ValueError, match=rf"`pixel_values` must be \(images, 3, rows, columns\), got .*{got}"):
        make_model().get_image_features(torch.zeros(shape))


def test_sounds_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`input_features` must be \(sounds, 1, bins, frames\), got \(2, 65, 80\)"):
        make_model().get_audio_features(torch.zeros(2, 65, 80))
