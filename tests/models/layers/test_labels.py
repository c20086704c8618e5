"""Class names of a config, and checks of labels."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from avzoo import FlexiASTConfig
from avzoo.models.layers.labels import check_unit_labels, check_whole_labels, pair_label_names

NAMES = {0: "dog", 1: "cat", 2: "rain"}
INDICES = {"dog": 0, "cat": 1, "rain": 2}


@pytest.mark.parametrize(
    ("id2label", "label2id"),
    [
        (NAMES, None),
        (None, INDICES),
        (NAMES, INDICES),
        ({"2": "rain", "0": "dog", "1": "cat"}, None),  # as JSON has them
        (None, {"rain": "2", "dog": "0", "cat": "1"}),  # as in transformers' guide to audio classification
    ],
)
def test_one_of_the_two_is_enough(id2label, label2id):
    assert pair_label_names(id2label, label2id) == (NAMES, INDICES)
    assert list(pair_label_names(id2label, label2id)[0]) == [0, 1, 2]


def test_names_that_disagree_are_told():
    with pytest.raises(ValueError, match=r"`label2id` and `id2label` must be each other's inverse.*'cat'"):
        pair_label_names(NAMES, {"cat": 0, "dog": 1, "rain": 2})
    with pytest.raises(ValueError, match=r"disagree about 'siren'"):
        pair_label_names(NAMES, INDICES | {"siren": 3})
    with pytest.raises(ValueError, match=r"`id2label` must name the outputs 0 to 1, got the keys \[0, 2\]"):
        pair_label_names({0: "dog", 2: "rain"}, None)


@pytest.fixture
def folder(tmp_path):
    FlexiASTConfig(id2label=NAMES).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("config_class", [FlexiASTConfig, AutoConfig])
def test_overrides_come_as_a_pair(folder, config_class):
    for override in (
        {"id2label": {"0": "dog", "1": "cat", "2": "snow"}},
        {"label2id": {"dog": 0, "cat": 1, "snow": 2}},
    ):
        config = config_class.from_pretrained(folder, **override)
        assert config.id2label == {0: "dog", 1: "cat", 2: "snow"}
        assert config.label2id == {"dog": 0, "cat": 1, "snow": 2}
    config = config_class.from_pretrained(folder, num_labels=2, id2label={0: "rain", 1: "dog"})  # another head
    assert (config.num_labels, config.id2label, config.label2id) == (2, {0: "rain", 1: "dog"}, {"rain": 0, "dog": 1})


def test_overrides_that_move_names_are_refused(folder):
    with pytest.raises(ValueError, match=r"`id2label` gives 'cat' the index 0, but the stored head has it at 1.*adapt"):
        FlexiASTConfig.from_pretrained(folder, id2label={0: "cat", 1: "dog", 2: "rain"})
    with pytest.raises(ValueError, match=r"`num_labels` is 4, but `id2label` names 3 classes"):
        FlexiASTConfig.from_pretrained(folder, id2label=NAMES, num_labels=4)


def test_a_folder_without_label2id_loads(folder):
    fields = json.loads((folder / "config.json").read_text())
    del fields["label2id"]
    (folder / "config.json").write_text(json.dumps(fields))
    assert FlexiASTConfig.from_pretrained(folder).label2id == INDICES


def test_half_of_an_assignment_is_told_when_it_is_used(tmp_path):
    config = FlexiASTConfig(id2label=NAMES)
    config.id2label = {0: "a", 1: "b", 2: "c"}
    with pytest.raises((StrictDataclassError, ValueError), match="each other's inverse"):
        config.save_pretrained(tmp_path)


def test_class_indices_are_whole_and_in_range():
    check_whole_labels(torch.tensor([0, 2, -100], dtype=torch.int32), num_classes=3)
    check_whole_labels(torch.tensor([True, False]), num_classes=2)
    with pytest.raises(TypeError, match=r"`labels` must be whole numbers.*got torch.float32"):
        check_whole_labels(torch.tensor([0.0, 1.7]), num_classes=3)
    for index in (3, -1):
        with pytest.raises(ValueError, match=rf"`labels` must be class indices in \[0, 3\), or -100, got {index}\."):
            check_whole_labels(torch.tensor([0, index]), num_classes=3)


def test_shares_are_between_0_and_1():
    check_unit_labels(torch.tensor([0.0, 0.5, 1.0]))
    check_unit_labels(torch.tensor([True, False]))
    for value in (1.5, -0.5, float("nan")):
        with pytest.raises(ValueError, match=rf"`labels` must be in \[0, 1\], got {value:g}\."):
            check_unit_labels(torch.tensor([0.0, value]))
