"""Model cards: one template per method, front matter from its row in the zoo, rendered with huggingface_hub."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from avzoo import zoo

INSTALLATION = (
    "avzoo is installed from a checkout of its repository, by `pip install .` there; the package index has no package "
    "of\nthat name."
)


def render_card(method: str, *, source: Mapping[str, Any] | None = None, model_folder: str | None = None) -> ModelCard:
    """The card of a method, ready to save or to push.

    Args:
        method: a method of the zoo.
        source: the record that `convert_checkpoint` made of converted weights; adds their origin. A training script
            passes {"variant": "toy"} for weights trained on synthetic data, optionally with the "command" that makes
            them and measured "results" {quantity: value}; or {"variant": "trained"} for weights trained on a user's
            data, with "command", "data" (a sentence without its full stop), "results" and perhaps "started_from".
        model_folder: folder or repository that the card's snippet loads. None: `./<method>`.

    Raises:
        ValueError: no method of that name, or a tag that the Hub does not list.
    """
    row = zoo.find_row(method)
    check_tags(row)
    variant = next((v for v in row.variants if source and v.name == source.get("variant")), None)
    released = variant if variant and variant.checkpoint else None
    is_toy = bool(source) and source.get("variant") == "toy"
    is_trained = bool(source) and source.get("variant") == "trained"
    if is_toy:
        weights = zoo.License("apache-2.0", True, "trained by this package's own script on its own data")
    elif is_trained:
        weights = zoo.License("unknown", None, "what the training data and the model it began from allow")
    elif source and not released:  # the row's licence covers released checkpoints only
        weights = zoo.License("unknown", None, "those of the checkpoint that was converted; ask its owner")
    else:
        weights = row.licenses["weights"]
    data = ModelCardData(
        license=weights.identifier,
        library_name="avzoo",
        pipeline_tag=row.pipeline_tag,
        tags=[row.task, *row.tags, f"arxiv:{row.paper}"],
        datasets=[released.training_data] if released and released.training_data else None,
    )
    template = resources.files(__package__).joinpath(f"{row.name}.md").read_text(encoding="utf-8")
    return ModelCard.from_template(
        data,
        template_str="---\n{{ card_data }}\n---\n\n" + template,
        row=row,
        source=source,
        variant=variant,
        released=released,
        is_toy=is_toy,
        is_trained=is_trained,
        weights=weights,
        model_folder=model_folder or f"./{row.name}",
        installation=INSTALLATION,
    )


def load_hub_tags() -> dict[str, Any]:
    """Tags and licences that the Hub lists, with the date on which the list was made."""
    return json.loads(resources.files(__package__).joinpath("hub_tags.json").read_text(encoding="utf-8"))


def check_tags(row: zoo.Row) -> None:
    """Raise a ValueError if a row's front matter is not of the Hub's lists."""
    listed = load_hub_tags()
    if row.pipeline_tag not in listed["pipeline_tags"]:
        raise ValueError(f"{row.name}: `pipeline_tag` {row.pipeline_tag!r} is not one the Hub lists.")
    for thing, terms in row.licenses.items():
        if terms.identifier not in listed["licenses"]:
            raise ValueError(f"{row.name}: licence {terms.identifier!r} of its {thing} is not one the Hub lists.")


__all__ = ["check_tags", "load_hub_tags", "render_card"]
