"""`--model` and the like of the training examples take a name on the Hub, as their --help says."""

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from contract.diffusion import PIPELINES
from contract.tiny import tiny_model
from safetensors.torch import load
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

import avzoo
from avzoo import ActiveSpeakerProcessor, FlexiASTForAudioClassification, LTBSProcessor, VocaLiSTProcessor, zoo
from avzoo.cli import main
from avzoo.conversion.any_ast import load_any_ast
from avzoo.hub.upload import push_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["rain", "dog", "bell"]


def load_example(method, *arguments, **options):
    """What the example's `load` makes of the options and further arguments."""
    spec = importlib.util.spec_from_file_location(f"example_{method}", EXAMPLES / f"train_{method}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(argparse.Namespace(**options), *arguments)


@pytest.fixture
def ast():
    """transformers' AST with random weights, for 64 frames."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    return ASTForAudioClassification(
        ASTConfig(**sizes, **labels, patch_size=16, frequency_stride=10, time_stride=10, max_length=64)
    ).eval()


def push_ast(ast, name="you/ast"):
    ast.push_to_hub(name)
    ASTFeatureExtractor(max_length=64, mean=-4.5, std=4.0).push_to_hub(name)


def assert_is_ast(loaded, ast):
    model, extractor = loaded
    assert isinstance(model, FlexiASTForAudioClassification)
    assert list(model.config.id2label.values()) == NAMES
    assert (extractor.max_length, extractor.mean, extractor.std) == (64, -4.5, 4.0)
    values = torch.randn(2, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(values).logits, ast(values).logits, rtol=0, atol=1e-4)


def test_a_transformers_ast_loads_by_name_and_then_without_the_hub(hub, ask, go_offline, ast):
    ask(hub)
    push_ast(ast)
    ask(hub)
    assert_is_ast(load_any_ast("you/ast"), ast)
    go_offline()
    assert_is_ast(load_any_ast("you/ast"), ast)


def test_old_weights_of_a_transformers_ast_load_by_name(hub, ask, ast, tmp_path):
    ask(hub)
    push_ast(ast)
    (repository,) = hub.repositories.values()
    weights = load(repository.files("main")["model.safetensors"])
    torch.save(weights, tmp_path / "pytorch_model.bin")
    repository.commit({"model.safetensors": None, "pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes()})
    ask(hub)
    assert_is_ast(load_any_ast("you/ast"), ast)


@pytest.mark.parametrize("method", ["flexiast", "coarse_to_fine_ast"])
def test_the_tagging_examples_begin_from_an_ast_on_the_hub(hub, ask, ast, method):
    ask(hub)
    push_ast(ast)
    options = {"model": "you/ast", "multi_label": False, "max_length": 64, "patch_sizes": [8, 16]}
    options |= {"temporal_compression": "pooling", "pooling": "max"}
    model, extractor = load_example(method, NAMES, **options)
    assert list(model.config.id2label.values()) == NAMES
    assert (extractor.mean, extractor.std) == (-4.5, 4.0)
    before = ast.classifier.dense.weight
    torch.testing.assert_close(model.classifier.dense.weight, before, rtol=0, atol=0)


def test_a_model_of_another_type_is_refused(hub, ask):
    ask(hub)
    tiny_model(zoo.find_row("talknce")).push_to_hub("you/loconet")
    with pytest.raises(ValueError, match=r"`model` \(you/loconet\) is a .*; an AST, FlexiAST or coarse-to-fine AST"):
        load_any_ast("you/loconet")


def test_a_repository_without_weights_is_told(hub, ask, ast):
    ask(hub)
    push_ast(ast)
    (repository,) = hub.repositories.values()
    repository.commit({"model.safetensors": None})
    ask(hub)
    with pytest.raises(OSError, match=r"`you/ast` on the Hub has no weights: neither \*\.safetensors nor \*\.bin"):
        load_any_ast("you/ast")


def test_a_name_that_is_neither_a_folder_nor_on_the_hub_is_told(hub, ask):
    ask(hub)
    with pytest.raises(OSError, match="`you/nothing` is no folder here, and the Hub shows no such repository"):
        load_any_ast("you/nothing")


def test_a_push_of_a_trained_folder_leaves_its_checkpoints_here(hub, ask, tmp_path):
    ask(hub)
    tiny_model(zoo.find_row("flexiast")).save_pretrained(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()} | {"README.md", "metrics.jsonl", "vocoder/config.json"}
    for name in (
        "README.md",
        "metrics.jsonl",
        "checkpoint-000100/state.json",
        "best/config.json",
        "logs/events",
        "discriminators/model.safetensors",
        "vocoder/discriminators/model.safetensors",
        "vocoder/checkpoint-000100/state.json",
        "vocoder/config.json",
        ".training-lock",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert main(["push", str(tmp_path), "you/tagger"]) == 0
    (repository,) = hub.repositories.values()
    assert set(repository.files("main")) - {".gitattributes"} == kept


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "`config.json` is not valid JSON: "),
        ("config.json", b"[1]", "`config.json` holds a JSON list, expected an object"),
        ("README.md", b"\xff", "README.md` is no UTF-8 text"),
        ("\udcff.txt", b"", r"holds a file whose name is no UTF-8 text, b'\\xff\.txt'; rename"),
    ],
)
def test_what_the_hub_could_not_read_is_named_before_it_is_asked(hub, ask, tmp_path, name, content, message):
    ask(hub)
    folder = Path(shutil.copytree(avzoo.toy_checkpoint("flexiast"), tmp_path / "tagger"))
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        push_folder(folder, "you/tagger")
    assert not hub.requests


def test_a_checkpoint_file_that_is_not_there_is_told_as_a_file():
    with pytest.raises(FileNotFoundError, match=r"`/nowhere/ast\.pth` does not exist"):
        load_any_ast("/nowhere/ast.pth")


def test_ltbs_and_the_names_of_its_speakers_load_by_name(hub, ask, tmp_path):
    ask(hub)
    processor = LTBSProcessor(num_mel_bins=8, num_units=5)
    tiny_model(zoo.find_row("ltbs")).push_to_hub("you/ltbs")
    processor.push_to_hub("you/ltbs")
    (repository,) = hub.repositories.values()
    repository.commit({"speakers.json": b'["anna", "ben", "carl"]'})
    ask(hub)
    options = {"model": "you/ltbs", "speakers_file": None, "targets": [tmp_path]}
    model, speakers = load_example("ltbs", [], processor, **options)
    assert (type(model).__name__, speakers.names) == ("LTBSForLipToSpeech", ["anna", "ben", "carl"])
    repository.commit({"speakers.json": None})
    ask(hub)
    with pytest.raises(ValueError, match=r"`model` \(you/ltbs\) has a table of 3 speakers and no speakers.json"):
        load_example("ltbs", [], processor, **options)


@pytest.mark.slow
def test_the_other_examples_go_on_with_a_model_on_the_hub(hub, ask, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    ask(hub)
    for method, processor in (("talknce", ActiveSpeakerProcessor()), ("mtdvocalist", VocaLiSTProcessor())):
        tiny_model(zoo.find_row(method)).push_to_hub(f"you/{method}")
        processor.push_to_hub(f"you/{method}")
    for method, name in (("avdiffuss", "AVDiffuSSPipeline"), ("voiceldm", "VoiceLDMPipeline")):
        PIPELINES[name].assemble().push_to_hub(f"you/{method}")
    ask(hub)
    loss = {"talknce_weight": 0.5, "nce_frames": "all"}
    model, _ = load_example("talknce", model="you/talknce", host="loconet", **loss)
    assert (model.config.talknce_weight, model.config.nce_frames) == (0.5, "all")
    options = {"network": "student", "teacher": None, "seed": 0, "distill": "attention"}
    model, processor = load_example("mtdvocalist", model="you/mtdvocalist", **options)
    assert isinstance(processor, VocaLiSTProcessor)
    for method in ("avdiffuss", "voiceldm"):
        pipe = load_example(method, model=f"you/{method}")
        assert type(pipe).__name__ == zoo.find_row(method).diffusion_pipeline.rsplit(".")[-1]
