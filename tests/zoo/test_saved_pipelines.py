"""What diffusers writes about our components: public names of `avzoo`, never a module, so that modules can move."""

import json
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

import avzoo
from avzoo import zoo

DIFFUSION_ROWS = [row for row in zoo.METHODS if row.diffusion_pipeline is not None]


@pytest.fixture(params=DIFFUSION_ROWS, ids=lambda row: row.name)
def row(request) -> zoo.Row:
    return request.param


def read_components(folder: str | Path) -> dict[str, list[str]]:
    """Component -> [library, class] of a saved pipeline."""
    index = json.loads(Path(folder, "model_index.json").read_text())
    return {name: value for name, value in index.items() if isinstance(value, list) and value[0] is not None}


def test_a_shipped_pipeline_names_no_module(row):
    components = read_components(avzoo.toy_checkpoint(row.name))
    assert {library for library, _ in components.values()} <= {"avzoo", "diffusers", "transformers"}
    ours = {name for library, name in components.values() if library == "avzoo"}
    assert ours
    assert ours <= set(row.pipeline_components)


def test_a_saved_pipeline_names_no_module_and_loads_again(row, tmp_path):
    folder = avzoo.toy_checkpoint(row.name)
    DiffusionPipeline.from_pretrained(folder).save_pretrained(tmp_path)
    assert read_components(tmp_path) == read_components(folder)
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(loaded).__name__ == row.diffusion_pipeline
    for name, (library, class_name) in read_components(tmp_path).items():
        if library == "avzoo":
            assert type(getattr(loaded, name)) is getattr(avzoo, class_name)


def test_a_folder_that_names_modules_still_loads(row, tmp_path):
    folder = Path(avzoo.toy_checkpoint(row.name))
    for entry in folder.iterdir():
        if entry.name != "model_index.json":
            (tmp_path / entry.name).symlink_to(entry)
    index = json.loads((folder / "model_index.json").read_text())
    for name, (library, class_name) in read_components(folder).items():
        if library == "avzoo":
            index[name] = [getattr(avzoo, class_name).__module__, class_name]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert type(DiffusionPipeline.from_pretrained(tmp_path)).__name__ == row.diffusion_pipeline


def test_every_component_class_is_public(row):
    assert set(row.pipeline_components) <= set(avzoo.__all__)
