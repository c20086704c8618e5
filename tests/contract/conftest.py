"""Every contract test runs once per row of the zoo."""

import pytest

from avzoo import zoo


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize("row", zoo.ROWS, ids=lambda row: row.name)


@pytest.fixture
def tiny(row):
    from contract.tiny import TINY

    if row.name not in TINY:
        pytest.fail(f"{row.name} has no entry in tests/contract/tiny/; every network needs one")
    return TINY[row.name]
