"""What encoding once saves, in operations of the released network."""

import pytest
import torch
from localization_sets import write_set

from avzoo.models.ssl_alignment import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.pipelines.sound_source_localization.costs import LocalizationCosts, count_localization_costs
from avzoo.pipelines.sound_source_localization.evaluation import evaluate_localization
from avzoo.pipelines.sound_source_localization.test_sets import read_test_set
from avzoo.training.flops import flop_counter

IS3_PICTURES, IS3_PAIRS = 3240, 6480


def count(**fields) -> LocalizationCosts:
    model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**fields))
    return count_localization_costs(model, SSLAlignmentProcessor())


@pytest.fixture(scope="module")
def released() -> LocalizationCosts:
    return count(use_objectness=True)


def test_the_counts_are_those_of_the_released_networks_convolutions(released):
    # Multiply-adds of the method's sheet: 3.05, 4.82 and 1.81 G; a map is 196 cells of 512 channels.
    assert released.image / 2e9 == pytest.approx(3.05, abs=0.005)
    assert released.sound / 2e9 == pytest.approx(4.82, abs=0.005)
    assert released.objectness / 2e9 == pytest.approx(1.81, abs=0.005)
    assert released.pair == 2 * 196 * 512


def test_is3_costs_at_least_a_quarter_less_than_encoding_each_pair_anew(released):
    once = released.encode_once(IS3_PICTURES, IS3_PAIRS, IS3_PAIRS)
    assert released.encode_pairs(IS3_PAIRS) / once >= 1.3


def test_a_new_sound_on_an_encoded_picture_costs_at_most_half_a_pair(released):
    assert released.new_sound <= 0.5 * released.new_pair


def test_a_pair_of_encoded_files_costs_under_a_hundredth(released):
    assert released.pair < 0.01 * released.new_pair


def test_an_evaluation_costs_what_encoding_once_costs(tmp_path):
    fields = {"hidden_sizes": (4, 6, 8, 12), "depths": (1, 1, 1, 1), "projection_dim": 10, "use_objectness": True}
    torch.manual_seed(0)
    model, processor = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**fields)), SSLAlignmentProcessor()
    samples = list(read_test_set("is3", write_set(tmp_path, "is3")))
    with flop_counter() as counter:
        evaluate_localization(model, processor, samples, "is3")
    costs = count_localization_costs(model, processor)
    assert counter.get_total_flops() == costs.encode_once(pictures=3, sounds=6, pairs=6)


def test_a_model_without_objectness_has_no_cost_of_it():
    costs = count(hidden_sizes=(4, 6, 8, 12), depths=(1, 1, 1, 1))
    assert costs.objectness == 0
    assert costs.new_pair == costs.image + costs.sound + costs.pair


def test_a_negative_number_of_pairs_is_refused(released):
    with pytest.raises(ValueError, match="`pairs` must be at least 0, got -1"):
        released.encode_pairs(-1)
