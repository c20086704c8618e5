"""Which saved folders are taken for a class, and which lack weights."""

import pytest
import torch
from transformers import AutoModel, AutoModelForAudioClassification

from avzoo import BEATsConfig, BEATsForAudioClassification, BEATsModel
from avzoo.pipelines.shared.saved_folders import check_weights, load_checked_model

SMALL = {"embedding_size": 4, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 4, "conv_pos_kernel_size": 2, "conv_pos_groups": 2, "num_labels": 3}


def save(model_class, folder) -> torch.nn.Module:
    torch.manual_seed(0)
    model = model_class(BEATsConfig(**SMALL))
    model.save_pretrained(folder)
    return model


def test_a_network_loads_from_the_folder_of_one_with_a_head(tmp_path):
    model = save(BEATsForAudioClassification, tmp_path)
    loaded = load_checked_model(AutoModel, tmp_path)
    assert type(loaded) is BEATsModel
    assert torch.equal(loaded.layers[0].fc1.weight, model.beats.layers[0].fc1.weight)


def test_of_a_network_without_its_head_the_head_alone_is_missing(tmp_path):
    save(BEATsModel, tmp_path)
    with pytest.raises(ValueError, match=r"lacks 2 of the 32 tensors of BEATsForAudioClassification \(`classifier\."):
        load_checked_model(AutoModelForAudioClassification, tmp_path)


def test_a_value_that_is_not_finite_is_found_under_the_name_of_the_folder(tmp_path):
    model = save(BEATsForAudioClassification, tmp_path)
    with torch.no_grad():
        model.beats.layers[0].fc1.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is damaged: `beats\.layers\.0\.fc1\.weight` has 1 values"):
        check_weights(BEATsModel, tmp_path)
