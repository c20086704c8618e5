"""The package as it is installed: complete, importable from anywhere, and with its floors in order."""

import ast
import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import avzoo

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "avzoo": "src/avzoo",
    "avzoo.models": "models",
    "avzoo.pipelines": "pipelines",
    "avzoo.conversion": "conversion",
    "avzoo.model_cards": "model_cards",
}
MODULES = [
    "avzoo.models.flexiast",
    "avzoo.pipelines.audio_classification.pipeline",
    "avzoo.conversion",
    "avzoo.model_cards",
]


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def packages() -> dict[str, Path]:
    """Every package of the tree: {dotted name: folder}."""
    found = {}
    for name, folder in FOLDERS.items():
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT / folder).parts
            found[".".join((name, *parts))] = init.parent
    return found


def modules() -> dict[str, Path]:
    """Every module of the tree: {dotted name: file}."""
    return {
        name if file.stem == "__init__" else f"{name}.{file.stem}": file
        for name, folder in packages().items()
        for file in sorted(folder.glob("*.py"))
    }


def test_setup_cfg_names_every_package(setup_cfg):
    assert setup_cfg["options"]["packages"].split() == sorted(packages())


def test_one_version_everywhere(setup_cfg):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert setup_cfg["metadata"]["version"] == avzoo.__version__ == citation["version"]
    assert f"## {avzoo.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_pinned_version_is_one_that_setup_cfg_allows(setup_cfg):
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [setup_cfg["options"]["install_requires"], *setup_cfg["options.extras_require"].values()]
    allowed = {}
    for line in "\n".join(lines).split("\n"):
        if line and not line.startswith("avzoo["):
            requirement = Requirement(line)
            allowed[canonicalize_name(requirement.name)] = requirement.specifier
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            (version,) = pin.specifier
            assert version.version in allowed[canonicalize_name(pin.name)], line


# The wheel.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built offline from a copy: a build in the tree leaves folders there and takes in those of the last."""
    copy, output = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = f"import setuptools.build_meta; setuptools.build_meta.build_wheel({str(output)!r})"
    result = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = output.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_module_and_data_file(unpacked):
    expected = set()
    for name, folder in packages().items():
        for pattern in ("*.py", "*.json", "*.md", "*.safetensors"):
            expected |= {Path(*name.split("."), file.name) for file in folder.glob(pattern)}
    toys = ROOT / "src" / "avzoo" / "zoo" / "toy_checkpoints"
    expected |= {Path("avzoo", "zoo", file.relative_to(toys.parent)) for file in toys.rglob("*") if file.is_file()}
    missing = sorted(str(path) for path in expected if not (unpacked / path).is_file())
    assert not missing, missing
    known = {"avzoo/model_cards/flexiast.md", "avzoo/model_cards/hub_tags.json", "avzoo/models/flexiast/labels.json"}
    known.add("avzoo/video/drawn_faces.safetensors")
    assert known <= {path.as_posix() for path in expected}


def test_the_wheel_holds_nothing_else(unpacked):
    assert {path.name for path in unpacked.iterdir()} == {"avzoo", f"avzoo-{avzoo.__version__}.dist-info"}


def test_the_wheel_brings_the_command_and_the_license(unpacked):
    metadata = unpacked / f"avzoo-{avzoo.__version__}.dist-info"
    assert "avzoo = avzoo.cli:main" in (metadata / "entry_points.txt").read_text(encoding="utf-8")
    assert (metadata / "licenses" / "LICENSE").is_file()


IMPORT_ALL = f"""
import importlib
files = [importlib.import_module(name).__file__ for name in {MODULES}]
from avzoo.model_cards import render_card
from avzoo.models.flexiast.labels import label_names
assert len(label_names("vggsound")) == 309
assert "FlexiAST" in render_card("flexiast").text
"""
# What an editable install adds to `sys.meta_path` finds the checkout's modules, those missing from the wheel too.
WITHOUT_THE_EDITABLE_INSTALL = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
sys.path[:] = [path for path in sys.path if "__editable__" not in path]
"""


def test_the_wheel_and_the_editable_install_import_from_any_folder(unpacked, tmp_path, run_forked):
    programs = {}
    for install, place, find in (
        ("the wheel", unpacked, f"{WITHOUT_THE_EDITABLE_INSTALL}sys.path.insert(1, {str(unpacked)!r})"),
        ("the editable install", ROOT, ""),
    ):
        check = f"assert all(file.startswith({f'{place}{os.sep}'!r}) for file in files), files"
        for folder in (ROOT, tmp_path):
            steps = ["import os, transformers.pipelines", find, f"os.chdir({str(folder)!r})", IMPORT_ALL, check]
            programs[f"{install} from {folder}"] = steps
    run_forked(programs)


# The floors. A module may import from its own floor and from those below; `zoo` is data at the very bottom.

FLOORS = [
    {"zoo", "records", "files", "hub", "processes", "feature_cache", "checks", "rates"},
    {"audio", "video", "metrics"},
    {"data", "training", "toyworld"},
    {"models"},
    {"pipelines", "conversion", "model_cards"},
    {"cli", ""},  # "" is avzoo/__init__.py; with them the commands and demos that lie with their task
]
FACE_OF_A_TASK = {"command", "commands", "demo", "demos"}
MAY_BUILD_ON = {"acl_ssl": {"beats"}, "coarse_to_fine_ast": {"flexiast"}}


def floor_of(module: str) -> int:
    part, *inner = module.removeprefix("avzoo").removeprefix(".").split(".")
    if part == "pipelines" and inner and inner[-1] in FACE_OF_A_TASK:
        return len(FLOORS) - 1
    found = [index for index, names in enumerate(FLOORS) if part in names]
    assert found, f"{module} is on no floor of {__file__}"
    return found[0]


def method_of(module: str) -> str | None:
    """The folder under `models` a module lies in."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["models"] and len(parts) > 2 else None


def imports(module: str, file: Path, known: set[str]) -> Iterator[tuple[int, str]]:
    """(line, module of avzoo) for every import statement, those inside functions too."""
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            whole = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in whole]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "avzoo":
                yield node.lineno, name


def all_imports(tree: dict[str, Path]) -> list[tuple[str, int, str]]:
    """(module, line, module it imports) of a whole tree."""
    known = set(tree)
    return [(module, line, name) for module, file in tree.items() for line, name in imports(module, file, known)]


@pytest.fixture(scope="module")
def own_imports() -> list[tuple[str, int, str]]:
    return all_imports(modules())


def upward_imports(found: list[tuple[str, int, str]]) -> list[str]:
    problems = []
    for module, line, name in found:
        where = f"{module} line {line} imports {name}"
        if floor_of(name) > floor_of(module):
            problems.append(f"{where}, from a higher floor")
        own, other = method_of(module), method_of(name)
        if own and other and other not in {own, "layers", *MAY_BUILD_ON.get(own, ())}:
            problems.append(f"{where}, another method's")
    return problems


def test_no_import_goes_up_a_floor(own_imports):
    assert upward_imports(own_imports) == []


def test_training_imports_no_other_package_of_avzoo(own_imports):
    inner = [(module, name) for module, _, name in own_imports if module.startswith("avzoo.training")]
    assert inner
    assert [pair for pair in inner if not pair[1].startswith("avzoo.training")] == []


def test_only_demos_and_the_command_line_import_toyworld(own_imports):
    importers = {
        module
        for module, _, name in own_imports
        if name.startswith("avzoo.toyworld") and not module.startswith("avzoo.toyworld")
    }
    assert importers
    assert {module for module in importers if module.split(".")[-1] not in {"demo", "cli"}} == set()


def test_an_import_that_goes_up_would_be_seen(tmp_path):
    files = {
        "avzoo.audio": "import numpy\nfrom avzoo import models\n",
        "avzoo.models": "",
        "avzoo.models.one": "from ..two import Thing\n",
        "avzoo.models.two": "def later():\n    from avzoo.conversion.keymap import KeyMap\n",
        "avzoo.models.coarse_to_fine_ast": "from avzoo.models.one import Thing\nfrom avzoo.audio import read_audio\n",
        "avzoo.zoo": "import avzoo.records\nimport avzoo.audio\n",
    }
    tree = {}
    for name, text in files.items():
        tree[name] = tmp_path / name / "__init__.py"
        tree[name].parent.mkdir()
        tree[name].write_text(text)
    assert upward_imports(all_imports(tree)) == [
        "avzoo.audio line 2 imports avzoo.models, from a higher floor",
        "avzoo.models.one line 1 imports avzoo.models.two, another method's",
        "avzoo.models.two line 2 imports avzoo.conversion.keymap, from a higher floor",
        "avzoo.models.coarse_to_fine_ast line 1 imports avzoo.models.one, another method's",
        "avzoo.zoo line 2 imports avzoo.audio, from a higher floor",
    ]


def test_readme_lists_the_methods_of_the_zoo():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip(" `") for line in readme.splitlines() if line.startswith("| `")]
    assert rows == [row.name for row in avzoo.zoo.METHODS]
    for row in avzoo.zoo.METHODS:
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{row.name}`")]
        main_class = row.diffusion_pipeline or row.model_class
        for expected in (row.title, row.task, main_class, f"https://arxiv.org/abs/{row.paper}"):
            assert expected in line
