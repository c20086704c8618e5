"""The losses of ACL-SSL and both maskers, by numbers worked out by hand."""

import math

import pytest
import torch

from avzoo.models.acl_ssl import acl_loss
from avzoo.models.acl_ssl.loss_acl_ssl import contrast_both_ways, measure_areas, sample_mask, weight_features


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


# --- masks of pictures ------------------------------------------------------------------------------------------------


def test_a_drawn_mask_is_one_where_the_logit_and_the_noise_are_above_zero():
    """The noise of 0.5 is 0, that of 0.9 is log 9 = 2.197, that of 0.1 its opposite."""
    logits = torch.tensor([0.1, -0.1, -2.0, -2.3, 2.0, 2.3])
    uniform = torch.tensor([0.5, 0.5, 0.9, 0.9, 0.1, 0.1])
    assert sample_mask(logits, uniform).tolist() == [1, 0, 1, 0, 0, 1]


def test_the_gradient_of_a_drawn_mask_is_that_of_the_probability():
    logits = torch.tensor([0.0, 1.0], requires_grad=True)
    uniform = torch.tensor([0.5, 0.9])
    sample_mask(logits, uniform).sum().backward()
    expected = [sigmoid(z) * (1 - sigmoid(z)) for z in (0.0, 1.0 + math.log(9))]
    assert logits.grad.tolist() == pytest.approx(expected, rel=1e-5)


# --- masks of features ------------------------------------------------------------------------------------------------


def test_features_are_weighted_by_the_map_brought_to_zero_and_one():
    """A map of -1, 0, 0.5 and 1 becomes 0, 0.5, 0.75 and 1; the mask is the sigmoid of (that - 0.5) / 0.25."""
    logits = torch.tensor([[[[-1.0, 0.0], [0.5, 1.0]]]])
    dense = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    features, masks = weight_features(dense, logits, threshold=0.5, temperature=0.25)
    mask = [sigmoid(-2), 0.5, sigmoid(1), sigmoid(2)]
    assert masks.flatten().tolist() == pytest.approx(mask, abs=1e-5)
    total = sum(mask)
    expected = [(mask[0] + 2 * mask[1] + 3 * mask[2] + 4 * mask[3]) / total, mask[1] / total]
    assert features.shape == (1, 1, 2)
    assert features.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_a_cell_takes_the_first_pixel_of_its_own():
    """As the authors' resize to the nearest does: of 4 pixels a row, those at 0 and 2."""
    logits = torch.arange(16.0).reshape(1, 1, 4, 4)
    _, masks = weight_features(torch.ones(1, 1, 2, 2), logits, temperature=1.0)
    expected = [sigmoid(value / 15 - 0.5) for value in (0, 2, 8, 10)]
    assert masks.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_sums_are_divided_by_the_masks_of_the_whole_batch():
    logits = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]], [[[0.0, 1.0]], [[0.0, 1.0]]]])  # 2 pictures, 2 sounds
    dense = torch.ones(2, 1, 1, 2)
    features, masks = weight_features(dense, logits, temperature=0.25)
    # Every mask is sigmoid(-2) + sigmoid(2) = 1, four of them 4.
    assert features.flatten().tolist() == pytest.approx([0.25] * 4, abs=1e-5)
    assert masks.shape == (2, 2, 1, 2)


def test_a_flat_map_weights_every_cell_alike():
    """It becomes .5 everywhere, and the mask the sigmoid of 0; beside 300 an addition of 1e-7 is lost."""
    dense = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    features, masks = weight_features(dense, torch.full((1, 1, 2, 2), 300.0))
    assert masks.flatten().tolist() == pytest.approx([0.5] * 4, abs=1e-5)
    assert float(features) == pytest.approx(3.0, rel=1e-5)


# --- the terms --------------------------------------------------------------------------------------------------------


def test_contrast_is_the_mean_of_both_directions():
    """Rows: log(1 + e^(0 - 2)) and log(1 + e^(1 - 3)); columns: log(1 + e^(1 - 2)) and log(1 + e^(0 - 3))."""
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    loss = contrast_both_ways(torch.tensor([[2.0, 0.0], [1.0, 3.0]]))
    assert float(loss) == pytest.approx((rows + columns) / 2)


def make_masks(areas: list[list[float]]) -> torch.Tensor:
    """Masks of 10 pixels with these shares of ones."""
    return torch.tensor([[[[1.0] * round(10 * area) + [0.0] * round(10 - 10 * area)] for area in row] for row in areas])


def test_areas_of_wrong_pairs_are_summed_over_all_pairs():
    """Right pairs .4 and .2: mean .3. Wrong ones .5 and .1: their sum over 4 is .15, not their mean .3."""
    positive, negative = measure_areas(make_masks([[0.4, 0.5], [0.1, 0.2]]))
    assert float(positive) == pytest.approx(0.3)
    assert float(negative) == pytest.approx(0.15)


SOUNDS = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # of any length; cosines count
UNIFORM_MASKS = make_masks([[0.4, 0.0], [0.0, 0.4]])


def test_the_picture_term_compares_each_picture_with_every_sound():
    """Pictures at 0 and 60 degrees: cosines 1, 0 and .5, .866."""
    images = torch.tensor([[3.0, 0.0], [1.0, 3**0.5]])
    terms = acl_loss(images, torch.ones(2, 2, 2), SOUNDS, UNIFORM_MASKS, scale=2.0)
    first, second = 3**0.5 / 2, 0.5
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2 * (second - first)))) / 2
    columns = (math.log(1 + math.exp(2 * (second - 1))) + math.log(1 + math.exp(-2 * first))) / 2
    assert float(terms.image) == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_the_feature_term_compares_a_picture_behind_any_mask_with_its_own_sound():
    """Entry (i, j) is the cosine of features (i, j) and sound i: here 1, .6 in the first row, 0, .8 in the second."""
    features = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.8]]])
    terms = acl_loss(torch.ones(2, 2), features, SOUNDS, UNIFORM_MASKS, scale=5.0)
    rows = (math.log(1 + math.exp(5 * (0.6 - 1))) + math.log(1 + math.exp(5 * (0 - 0.8)))) / 2
    columns = (math.log(1 + math.exp(5 * (0 - 1))) + math.log(1 + math.exp(5 * (0.6 - 0.8)))) / 2
    assert float(terms.feature) == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_the_area_term_is_the_distance_to_both_sizes():
    masks = make_masks([[0.4, 0.5], [0.1, 0.2]])  # .3 of right pairs, .15 of wrong ones
    terms = acl_loss(torch.ones(2, 2), torch.ones(2, 2, 2), SOUNDS, masks)
    assert float(terms.area) == pytest.approx(0.1 + 0.15)
    other = acl_loss(torch.ones(2, 2), torch.ones(2, 2, 2), SOUNDS, masks, positive_area=0.1, negative_area=0.05)
    assert float(other.area) == pytest.approx(0.2 + 0.1)


def test_the_loss_is_the_sum_of_its_terms():
    images, features = torch.tensor([[1.0, 0.2], [0.3, 1.0]]), torch.rand(2, 2, 2, generator=torch.manual_seed(0))
    terms = acl_loss(images, features, SOUNDS, make_masks([[0.4, 0.5], [0.1, 0.2]]))
    assert float(terms.loss) == pytest.approx(float(terms.image + terms.feature + terms.area))
    assert min(float(terms.image), float(terms.feature), float(terms.area)) > 0


def test_autocast_rounds_no_similarity():
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((3, 8), (3, 3, 8), (3, 8))]
    masks = torch.ones(3, 3, 2, 2)
    expected = acl_loss(*draws, masks)
    with torch.autocast("cpu", torch.bfloat16):
        terms = acl_loss(*draws, masks)
    assert torch.equal(terms.image, expected.image)
    assert torch.equal(terms.feature, expected.feature)


def test_autocast_rounds_no_weighted_feature():
    dense, logits = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    expected, _ = weight_features(dense, logits)
    with torch.autocast("cpu", torch.bfloat16):
        features, _ = weight_features(dense, logits)
    assert torch.equal(features, expected)
