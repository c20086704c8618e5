"""Code of the package as files that need no avzoo: what is copied, under which names, and what can't be."""

import ast
import json

import pytest
from contract.tiny import tiny_config

import avzoo
from avzoo import zoo
from avzoo.hub import standalone
from avzoo.hub.standalone import find_definition, join_modules, read_modules, write_modules
from avzoo.hub.upload import add_code

MODELS = [row.load(name) for row in zoo.ROWS for names in row.auto_classes.values() for name in names]
PIPELINES = [row for row in zoo.ROWS if row.diffusion_pipeline is not None]


def list_imports_of_avzoo(text: str) -> list[str]:
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "avzoo" and not node.level)
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "avzoo" for alias in node.names))
    ]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`package(name=text, ...)` stands for the modules `avzoo.<name>`."""

    def make(**texts: str) -> None:
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(standalone, "_find_file", lambda module: tmp_path / f"{module.rpartition('.')[2]}.py")

    return make


@pytest.mark.parametrize("model_class", MODELS, ids=lambda model_class: model_class.__name__)
def test_a_models_code_imports_nothing_of_avzoo_and_all_that_it_refers_to_is_there(tmp_path, model_class):
    tiny_config(model_class).save_pretrained(tmp_path)
    add_code(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    tasks = config.get("custom_pipelines", {})
    for reference in (*config["auto_map"].values(), *(task["impl"] for task in tasks.values())):
        file, name = reference.split(".")
        defined = ast.parse((tmp_path / f"{file}.py").read_text(encoding="utf-8")).body
        assert any(isinstance(node, ast.ClassDef) and node.name == name for node in defined), reference
    files = list(tmp_path.glob("*.py"))
    assert len(files) > 3
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not list_imports_of_avzoo(text), path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert (tmp_path / f"{node.module}.py").is_file(), ast.unparse(node)


@pytest.mark.parametrize("row", PIPELINES, ids=lambda row: row.name)
def test_a_diffusion_pipelines_code_is_one_file_that_imports_nothing_of_avzoo(row):
    text = join_modules(row.load(row.diffusion_pipeline).__module__)
    assert not list_imports_of_avzoo(text)
    assert "import ." not in text
    assert "from ." not in text
    defined = {node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    assert {row.diffusion_pipeline, *row.pipeline_components} <= defined


def test_files_are_named_as_their_modules():
    names = {module.stem for module in read_modules(["avzoo.pipelines.audio_classification.pipeline"]).values()}
    assert {"audio_classification_pipeline", "audio_reading", "checks"} <= names
    assert {module.stem for module in read_modules(["avzoo.models.flexiast.modeling_flexiast"]).values()} == {
        *("adapting_flexiast", "checks", "configuration_flexiast", "layers_attention", "layers_classification_loss"),
        *("layers_labels", "layers_outputs", "layers_padding", "modeling_flexiast", "patch_geometry", "resizing"),
    }


def test_names_that_packages_pass_on_are_found_where_they_are_defined():
    assert find_definition("avzoo.audio", "read_audio") == "avzoo.audio.reading"
    assert find_definition("avzoo.audio", "vggish_log_mel") == "avzoo.audio.vggish"  # imported at its first use
    assert find_definition("avzoo.models.flexiast", "FlexiASTConfig") == "avzoo.models.flexiast.configuration_flexiast"
    assert find_definition("avzoo.checks", "check_number") == "avzoo.checks"
    with pytest.raises(ValueError, match=r"`avzoo\.audio` defines no name 'no_such_name'"):
        find_definition("avzoo.audio", "no_such_name")


def test_imports_are_rewritten_wherever_they_stand(tmp_path, package):
    package(
        one="from typing import TYPE_CHECKING\n\nfrom avzoo.two import (\n    double,\n    half as halve,\n)\n\n"
        "if TYPE_CHECKING:\n    from avzoo.three import Never\n\n\n"
        "def run(value):\n    from avzoo.two import triple\n\n    return triple(halve(double(value)))\n",
        two="def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n\n\n"
        "def triple(x):\n    return 3 * x\n",
    )
    copies = tmp_path / "copies"
    copies.mkdir()
    assert write_modules(["avzoo.one"], copies) == {"avzoo.one": "one", "avzoo.two": "two"}
    text = (copies / "one.py").read_text(encoding="utf-8")
    assert "from .two import double, half as halve\n" in text
    assert "    from .two import triple\n" in text
    assert "Never" not in text
    namespace = {}
    exec(join_modules("avzoo.one"), namespace)
    assert namespace["run"](5) == 15


def test_modules_are_joined_after_those_that_they_need(package):
    package(
        one="from avzoo.two import Base\n\n\nclass Child(Base):\n    pass\n",
        two='"""Doc."""\n\nfrom avzoo.three import WIDTH\n\n\nclass Base:\n    width = WIDTH\n\n\n__all__ = ["Base"]\n',
        three="WIDTH = 7\n",
    )
    assert list(read_modules(["avzoo.one"])) == ["avzoo.three", "avzoo.two", "avzoo.one"]
    namespace = {}
    exec(join_modules("avzoo.one"), namespace)
    assert namespace["Child"].width == 7
    assert "__all__" not in namespace


def test_one_name_with_two_meanings_is_refused(package):
    package(one="from avzoo.two import run\n\nWIDTH = 3\n", two="WIDTH = 7\n\n\ndef run():\n    return WIDTH\n")
    with pytest.raises(ValueError, match=r"`WIDTH` is one thing in `avzoo\.two` and another in `avzoo\.one`"):
        join_modules("avzoo.one")


def test_two_modules_of_one_file_name_are_refused(tmp_path, package):
    package(resizing="WIDTH = 7\n")
    with pytest.raises(ValueError, match=r"would both be resizing\.py"):
        write_modules(["avzoo.models.one.resizing", "avzoo.models.two.resizing"], tmp_path)


def test_an_import_of_a_module_is_refused(package):
    package(one="import avzoo.two\n", two="")
    with pytest.raises(ValueError, match=r"`avzoo\.one`, line 1, imports a module"):
        read_modules(["avzoo.one"])


def test_a_copy_says_what_it_is_of():
    text = join_modules("avzoo.models.avdiffuss.scheduling_ouve")
    assert text.startswith(f"# A copy of a part of avzoo {avzoo.__version__} (Apache-2.0)")
