"""The card of a model that somebody trained: every method's, with what was measured and nothing of a conversion."""

import sys

import pytest

from avzoo import zoo
from avzoo.model_cards.trained import list_results, write_trained_card
from avzoo.training import TrainingResult

BEST = {"accuracy": 0.75, "loss": 0.5}
RESULT = TrainingResult(None, 200, 2.5, 60.0, [(100, 0.9), (200, 0.4)], {"accuracy": 0.5, "loss": 0.6}, BEST, [])


@pytest.mark.parametrize("row", zoo.METHODS, ids=lambda row: row.name)
def test_a_trained_models_card_has_its_numbers_data_and_command(row, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/train_it.py", "--data_dir", "my data", "--output_dir", "out"])
    write_trained_card(
        list_results(RESULT), method=row.name, output_dir=tmp_path, data="40 clips of mine", started_from="you/model"
    )
    card = (tmp_path / "README.md").read_text()
    right = {
        "number": "| accuracy, after 200 steps, 2.5 epochs | 0.5 |" in card,
        "best": "| accuracy, of `best/` | 0.75 |" in card,
        "loss": "| loss in training, after 200 steps, 2.5 epochs | 0.4 |" in card,
        "command": "`train_it.py --data_dir 'my data' --output_dir out`, beginning from `you/model`." in card,
        "data": "## Training data\n\n40 clips of mine." in card,
        "license": "license: unknown" in card,
        "no conversion": "Converted by avzoo" not in card and "sha256" not in card,
        "no toy": "synthetic data**" not in card,
        "folder": str(tmp_path) in card,
    }
    assert [name for name, holds in right.items() if not holds] == []


def test_without_an_evaluation_the_loss_is_what_was_measured():
    result = TrainingResult(None, 3, 1.0, 1.0, [(3, 0.25)], {}, {}, [])
    assert list_results(result) == {"loss in training, after 3 steps, 1 epochs": "0.25"}


@pytest.mark.parametrize(("repository", "named"), [(None, '"./out"'), ("you/tagger", '"you/tagger"')])
def test_the_examples_load_the_folder_or_the_repository(repository, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    write_trained_card({}, method="flexiast", output_dir="out", data="clips", repository=repository)
    assert f"model={named}" in (tmp_path / "out" / "README.md").read_text()
