"""Every contract test runs once per row of the zoo, or once per network class of its rows.

`@pytest.mark.needs("attention")` leaves out the classes whose tiny entry says that they are without it, and why.
"""

import inspect

import pytest
from contract.tiny import TINY, tiny_model
from transformers import PreTrainedModel

from avzoo import zoo


def find_networks() -> list[tuple[zoo.Row, type]]:
    """The transformers models among the public names, each with its row."""
    public = [(row, row.load(name)) for row in zoo.ROWS for name in row.public_names]
    return [(row, entry) for row, entry in public if inspect.isclass(entry) and issubclass(entry, PreTrainedModel)]


def pytest_generate_tests(metafunc):
    if "model_class" in metafunc.fixturenames:
        needs = {name for marker in metafunc.definition.iter_markers("needs") for name in marker.args}
        networks = [
            (row, model_class)
            for row, model_class in find_networks()
            if model_class.__name__ not in TINY or not needs & TINY[model_class.__name__].without.keys()
        ]
        metafunc.parametrize(
            ("row", "model_class"), networks, ids=[f"{row.name}-{name.__name__}" for row, name in networks]
        )
    elif "row" in metafunc.fixturenames:
        # Of rows whose weights become another library's classes nothing is registered: that library finds them.
        rows = [row for row in zoo.ROWS if not row.stock_classes]
        metafunc.parametrize("row", rows, ids=lambda row: row.name)


@pytest.fixture
def tiny(model_class):
    if model_class.__name__ not in TINY:
        pytest.fail(f"{model_class.__name__} has no entry in tests/contract/tiny/; every network needs one")
    return TINY[model_class.__name__]


@pytest.fixture
def model(row, model_class, tiny):
    """The class at tiny size, weights drawn from one seed, in evaluation mode."""
    return tiny_model(row, model_class)
