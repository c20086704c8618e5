"""Model cards: the Hub accepts their front matter; they say what the zoo's rows and the records of weights say."""

import dataclasses
import re

import pytest
from huggingface_hub import ModelCard

from avzoo import model_cards, zoo
from avzoo.model_cards import check_tags, load_hub_tags, render_card

# What a converter or a training script records; the variant is filled in.
CONVERTED = {"file": "weights.pth", "sha256": "0f" * 32, "avzoo_version": "0.1.0", "processor": {}}
VARIANTS = [(row, variant.name) for row in zoo.ROWS for variant in row.variants]
WEIGHTS = [(row, None) for row in zoo.ROWS] + VARIANTS + [(row, "toy") for row in zoo.METHODS]


def card_for(row, variant):
    return render_card(row.name, source=variant and {**CONVERTED, "method": row.name, "variant": variant})


@pytest.fixture(scope="module")
def cards():
    """(name to show, row, variant, card) of all weights."""
    return [(f"{row.name}-{variant}", row, variant, card_for(row, variant)) for row, variant in WEIGHTS]


def test_the_front_matter_is_of_the_hubs_lists(cards):
    tags, wrong = load_hub_tags(), []
    for name, row, _, card in cards:
        data = ModelCard(str(card)).data  # parsed anew from the text
        right = {
            "pipeline_tag": data.pipeline_tag in tags["pipeline_tags"],
            "license": data.license in tags["licenses"],
            "library_name": data.library_name == "avzoo",
            "tags": {row.task, f"arxiv:{row.paper}"} <= set(data.tags),
        }
        wrong += [(name, field) for field in right if not right[field]]
    assert not wrong


def test_nothing_of_the_template_is_left(cards):
    leftover = re.compile(r"{[{%#]|[}%#]}|None|Undefined|\n\n\n| \n")
    found = [(name, leftover.findall(str(card).split("```bibtex")[0])) for name, _, _, card in cards]
    assert [(name, left) for name, left in found if left] == []
    assert [name for name, _, _, card in cards if not str(card).endswith("```")] == []


def test_limits_come_before_numbers(cards):
    places = [(name, card.text.find("## Limits"), card.text.find("## Numbers")) for name, _, _, card in cards]
    assert [place for place in places if not -1 < place[1] < place[2]] == []


def test_converted_weights_name_their_file_and_licence(cards):
    wrong = []
    for name, row, variant, card in cards:
        if (row, variant) not in VARIANTS:
            continue
        released = row.find_variant(variant)
        license = row.licenses["weights"].identifier if released.checkpoint else "unknown"
        right = {
            "file": "`weights.pth`" in card.text,
            "sha256": "0f" * 32 in card.text,
            "licence in the text": f"| licence of the weights | {card.data.license}" in card.text,
            "licence": card.data.license == license,
            "datasets": card.data.datasets == ([released.training_data] if released.checkpoint else None),
        }
        wrong += [(name, field) for field in right if not right[field]]
    assert not wrong


def test_toy_weights_are_called_synthetic_in_the_first_paragraph():
    source = {"variant": "toy", "command": "python train.py --seed 1", "results": {"accuracy at patch 16": 0.5}}
    wrong = []
    for row in zoo.METHODS:
        card = render_card(row.name, source=source)
        right = {
            "first paragraph": card.text.split("\n\n")[1].lower().startswith("**trained on synthetic data**"),
            "datasets": card.data.datasets is None,
            "license": card.data.license == "apache-2.0",
            "command": "python train.py --seed 1" in card.text,
            "results": "| accuracy at patch 16 | 0.5 |" in card.text,
        }
        wrong += [(row.name, field) for field in right if not right[field]]
    assert not wrong


def test_flexiasts_numbers_come_with_their_source():
    text = card_for(zoo.find_row("flexiast"), None).text
    assert "from the authors' repository result file" in " ".join(text.split())
    assert "| 16 | 513 | 48.4 | .5353 | .5069 |" in text
    assert ".5353" not in card_for(zoo.find_row("flexiast"), "toy").text  # those are not the toy's


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipeline_tag": "audio-tagging"}, r"flexiast: `pipeline_tag` 'audio-tagging' is not one the Hub lists"),
        (
            {"licenses": {"weights": zoo.License("bsd")}},
            r"flexiast: licence 'bsd' of its weights is not one",
        ),
    ],
)
def test_a_tag_the_hub_does_not_list_is_refused(change, message, monkeypatch):
    wrong = dataclasses.replace(zoo.find_row("flexiast"), **change)
    with pytest.raises(ValueError, match=message):
        check_tags(wrong)
    monkeypatch.setattr(model_cards.zoo, "ROWS", (wrong,))
    with pytest.raises(ValueError, match=message):
        render_card("flexiast")


def test_a_card_of_no_method_is_refused():
    with pytest.raises(ValueError, match=r"no method is called 'flexist'; there are: flexiast"):
        render_card("flexist")


def test_the_lists_say_when_they_were_written_down():
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", load_hub_tags()["as_of"])
