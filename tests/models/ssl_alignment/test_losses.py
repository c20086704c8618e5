"""Losses of pictures and sounds that belong together: numbers by hand, plain formulas, small similarities."""

import math

import pytest
import torch

from avzoo.models.ssl_alignment import AlignmentView, alignment_loss
from avzoo.models.ssl_alignment.loss_ssl_alignment import (
    average_map,
    compare_all,
    contrast,
    lvs_logits,
    make_view,
    soft_threshold,
)


def draw_view(batch: int = 4, channels: int = 8, rows: int = 3, columns: int = 5, seed: int = 0) -> AlignmentView:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((batch, channels, rows, columns), (batch, channels), (batch, channels), (batch, channels))
    return AlignmentView(
        *(torch.nn.functional.normalize(torch.randn(shape, generator=draw).double(), dim=1) for shape in shapes)
    )


def average_plainly(maps: torch.Tensor, threshold: float = 0.65, temperature: float = 0.03) -> torch.Tensor:
    """The formula as it is written, in float64."""
    weights = 1 / (1 + torch.exp(-(maps.double() - threshold) / temperature))
    return (weights * maps.double()).sum((-2, -1)) / weights.sum((-2, -1))


# --- one similarity of a map ------------------------------------------------------------------------------------------


def test_the_weight_of_a_cell_is_a_sigmoid():
    weights = soft_threshold(torch.tensor([0.65, 0.68, 0.62, 1.0, -1.0]))
    expected = [0.5, 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1)), 1 / (1 + math.exp(-35 / 3)), 0]
    torch.testing.assert_close(weights, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_the_mean_of_a_map_by_hand():
    """Weights 1/2 at 0.65 and 1/(1+e) at 0.62: (0.5 * 0.65 + 0.268941 * 0.62) / 0.768941."""
    assert float(average_map(torch.tensor([[0.65, 0.62]]))) == pytest.approx(0.6395073, abs=1e-6)


def test_without_a_threshold_it_is_the_plain_mean():
    maps = torch.tensor([[[0.1, 0.2], [0.3, 0.8]]])
    torch.testing.assert_close(average_map(maps, threshold=None), torch.tensor([0.35]))


@pytest.mark.parametrize("centre", [-0.5, 0.0, 0.1, 0.3, 0.65, 0.9])
def test_the_mean_is_that_of_the_plain_formula(centre):
    maps = (centre + 0.1 * torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    torch.testing.assert_close(average_map(maps).double(), average_plainly(maps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("centre", [0.1, 0.65, 0.9])
def test_the_gradient_goes_through_the_weights(centre):
    maps = (centre + 0.1 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    ours, plain = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    average_map(ours).sum().backward()
    average_plainly(plain).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-4, atol=1e-5)


def test_far_below_the_threshold_it_is_nearly_the_maximum():
    """What was measured with the authors' code on a map from 0.02 to 0.32: 0.291, where the mean is 0.17."""
    maps = torch.linspace(0.02, 0.32, 196).reshape(1, 14, 14)
    assert float(average_map(maps)) == pytest.approx(0.291, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("similarity", [-1.0, 0.0, 0.05, 0.1])
def test_small_similarities_give_a_number_in_every_precision(dtype, similarity):
    """The formula as written divides two sums that are 0 in float16 where all similarities lie below 0.12."""
    maps = torch.full((2, 2, 14, 14), similarity, dtype=dtype, requires_grad=True)
    similarities = average_map(maps)
    contrast(similarities / 0.07).backward()
    assert similarities.dtype == torch.float32
    torch.testing.assert_close(similarities, torch.full((2, 2), similarity), rtol=0, atol=1e-3)
    assert maps.grad.isfinite().all()


def test_a_sharp_mask_far_above_all_similarities_gives_a_number():
    """All weights of the formula as written are 0 here, in float32, too."""
    maps = torch.tensor([[0.0, 0.1], [0.05, -0.2]], requires_grad=True)
    similarity = average_map(maps, temperature=0.005)
    similarity.backward()
    assert similarity.item() == pytest.approx(0.1, abs=1e-4)
    assert maps.grad.isfinite().all()


def test_pictures_are_rows_and_sounds_are_columns():
    image_map = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])[:, :, None, None]
    sounds = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = [[1, 0], [0, 1], [0.6, 0.8]]
    torch.testing.assert_close(compare_all(image_map, sounds)[..., 0, 0], torch.tensor(expected))


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_contrast_of_two_by_hand():
    """Rows (2, 0) and (1, 3): both -log(e^2 / (e^2 + 1)) = log(1 + e^-2)."""
    logits = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    assert float(contrast(logits)) == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


def test_each_picture_looks_for_its_sound_and_not_the_other_way_round():
    logits = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    assert float(contrast(logits)) == pytest.approx((math.log(1 + math.exp(-5)) + math.log(1 + math.exp(5))) / 2)
    assert float(contrast(logits.T)) == pytest.approx(math.log(2))


def test_where_nothing_is_learnt_the_18_terms_are_log_16_each():
    """All of a batch of 16 look alike: 18 * ln(16) = 49.9."""
    one = draw_view(batch=1)
    parts = (one.image_map, one.audio_vector, one.image_embeds, one.audio_embeds)
    alike = AlignmentView(*(part.expand(16, *part.shape[1:]) for part in parts))
    terms = alignment_loss([alike] * 3)
    assert float(terms.loss) == pytest.approx(18 * math.log(16), abs=1e-4)
    assert (len(terms.localization), len(terms.alignment), len(terms.intra_modal)) == (9, 9, 0)


def test_pairs_that_are_alone_alike_give_nearly_0():
    vectors = torch.eye(4)
    view = AlignmentView(vectors[:, :, None, None].expand(4, 4, 2, 2), vectors, vectors, vectors)
    assert float(alignment_loss([view]).loss) == pytest.approx(2 * math.log(1 + 3 * math.exp(-1 / 0.07)), abs=1e-6)


def test_the_sum_is_that_of_all_pairs_written_out():
    views = [draw_view(seed=seed) for seed in range(3)]
    terms = alignment_loss(views, temperature=0.1, mask_threshold=0.5, mask_temperature=0.05)
    localization, alignment = [], []
    for image in views:
        for sound in views:
            maps = torch.einsum("nchw,mc->nmhw", image.image_map, sound.audio_vector)
            similarities = average_plainly(maps, 0.5, 0.05) / 0.1
            localization.append(-(similarities.exp().diagonal() / similarities.exp().sum(1)).log().mean())
            projected = image.image_embeds @ sound.audio_embeds.T / 0.1
            alignment.append(-(projected.exp().diagonal() / projected.exp().sum(1)).log().mean())
    torch.testing.assert_close(terms.localization.double(), torch.stack(localization), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(terms.alignment.double(), torch.stack(alignment), rtol=1e-5, atol=1e-5)
    assert float(terms.loss) == pytest.approx(float(sum(localization) + sum(alignment)), rel=1e-5)


def test_pictures_vary_slowest():
    """Only the second view's pictures fit the sounds: terms 2 and 3 of 4 are the small ones."""
    good, bad = torch.eye(4), torch.eye(4).roll(1, 0)
    sounds = good
    views = [AlignmentView(pictures[:, :, None, None], sounds) for pictures in (bad, good)]
    terms = alignment_loss(views).localization
    assert [float(term) > 1 for term in terms] == [True, True, False, False]


def test_pictures_and_sounds_may_be_of_other_views():
    views = [draw_view(seed=seed) for seed in range(3)]
    assert len(alignment_loss(views[:1], views).localization) == 3


def test_projections_within_one_kind_are_compared_where_asked_for():
    views = [draw_view(seed=seed) for seed in range(3)]
    terms = alignment_loss(views, intra_modal=[(0, 2)])
    logits = views[0].image_embeds @ views[2].image_embeds.T / 0.07
    assert len(terms.intra_modal) == 2
    assert float(terms.intra_modal[0]) == pytest.approx(float(contrast(logits)), rel=1e-6)
    assert float(terms.loss) == pytest.approx(float(alignment_loss(views).loss + terms.intra_modal.sum()), rel=1e-6)


def test_terms_can_be_left_out():
    views = [draw_view()]
    whole = alignment_loss(views)
    maps, projections = alignment_loss(views, use_alignment=False), alignment_loss(views, use_localization=False)
    assert float(maps.loss + projections.loss) == pytest.approx(float(whole.loss), rel=1e-6)
    assert (len(maps.alignment), len(projections.localization)) == (0, 0)


def test_without_any_term_it_says_so():
    view = draw_view()
    bare = AlignmentView(view.image_map, view.audio_vector)
    with pytest.raises(ValueError, match="no term is left: the views have no projections, and `use_localization`"):
        alignment_loss([bare], use_localization=False)


def test_comparing_projections_that_are_not_there_is_refused():
    view = draw_view()
    bare = AlignmentView(view.image_map, view.audio_vector)
    with pytest.raises(ValueError, match="`intra_modal` compares projections, and the views have none"):
        alignment_loss([bare, bare], intra_modal=[(0, 1)])


def test_a_view_is_made_of_an_output():
    view = draw_view()
    outputs = {"image_map": view.image_map, "audio_vector": view.audio_vector, "loss": None}
    made = make_view(outputs)
    assert made.image_map is view.image_map
    assert made.image_embeds is None


# --- LVS --------------------------------------------------------------------------------------------------------------


def test_lvs_logits_are_the_formula_written_out():
    view = draw_view(batch=3, channels=4)
    maps = compare_all(view.image_map, view.audio_vector)
    logits = lvs_logits(maps).double()
    assert logits.shape == (3, 5)
    similarities = average_plainly(maps)
    for row in range(3):
        own = maps[row, row]
        background = 1 - 1 / (1 + torch.exp(-(own - 0.4) / 0.03))
        expected = [similarities[row, row]]
        expected += [similarities[row, column] * (-99 if column == row else 1) for column in range(3)]
        expected += [(background * own).sum() / background.sum()]
        torch.testing.assert_close(logits[row], torch.stack(expected) / 0.07, rtol=1e-5, atol=1e-4)


def test_lvs_logits_are_numbers_where_no_cell_is_background():
    assert lvs_logits(torch.ones(2, 2, 3, 3, dtype=torch.float16)).isfinite().all()
