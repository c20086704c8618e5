"""`make method`: the stubs it writes are a network that the contract suite passes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = {"models", "pipelines", "conversion", "model_cards"}
SHARED_FILES = {"src/avzoo/zoo/rows/__init__.py", "setup.cfg", "README.md", "CHANGELOG.md"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout, without what the contract suite does not need."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in [*PARTS, "src", "docs", "tests/contract", "tests/model_cards"]:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "toy_checkpoints", "pictures")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("setup.cfg", "README.md", "CHANGELOG.md", "pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make_method(checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "docs/make_method.py", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def written(checkout) -> set[str]:
    result = make_method(checkout, "throw_away", "--class_name", "ThrowAway", "--paper", "2401.00001")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_at_most_four_shared_files_are_edited(written):
    assert {name for name in written if "throw_away" not in name} == SHARED_FILES


def test_the_stubs_are_clean(checkout, written):
    names = sorted(name for name in written if name.endswith(".py"))
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, *names]
        result = subprocess.run(ruff, cwd=checkout, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def path(checkout, written, tmp_path_factory) -> str:
    """A folder to import the checkout's avzoo from."""
    folder = tmp_path_factory.mktemp("path")
    package = folder / "avzoo"
    package.mkdir()
    for entry in (checkout / "src" / "avzoo").iterdir():
        (package / entry.name).symlink_to(entry)
    for name in PARTS:
        (package / name).symlink_to(checkout / name)
    return str(folder)


def test_the_row_alone_needs_no_torch(checkout, path):
    code = "import sys; from avzoo import zoo; zoo.find_row('throw_away'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, env={**os.environ, "PYTHONPATH": path}, check=True)


@pytest.mark.slow
def test_the_stubs_pass_the_contract_suite(checkout, path, run_forked):
    start = f"import os, sys, pytest; os.chdir({str(checkout)!r})"
    place = f"os.environ['PYTHONPATH'] = {path!r}; sys.path.insert(1, {path!r})"
    programs = {}
    for arguments in (
        ["tests/contract", "-k", "throw_away"],
        ["tests/model_cards/test_cards.py"],
    ):
        run = f"code = pytest.main(['-q', '-p', 'no:cacheprovider', *{arguments}])"
        programs[arguments[0]] = [start, place, run, "assert code == 0, code"]  # 5 where no test was chosen
    run_forked(programs)


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(checkout):
    before = (checkout / "setup.cfg").read_text()
    result = make_method(checkout, "flexiast")
    assert result.returncode == 1
    assert "flexiast.py exists; choose another NAME" in result.stderr
    assert (checkout / "setup.cfg").read_text() == before


@pytest.mark.parametrize("name", ["Mine", "my-method", "../mine"])
def test_a_name_that_is_no_module_name_is_refused(checkout, name):
    result = make_method(checkout, name)
    assert result.returncode == 1
    assert f"NAME must be a lower-case module name such as my_method, got '{name}'." in result.stderr
