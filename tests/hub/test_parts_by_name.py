"""Parts of a conversion are downloaded by their name on the Hub."""

import sys
from pathlib import Path

import pytest
import torch
from clip_tokenizer import DOG, END, START, A
from look_alike import Repository

from avzoo import ACLForSoundLocalization, ACLProcessor
from avzoo.cli import main

sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))
import small_acl_ssl
import small_beats


@pytest.fixture
def convert(tmp_path, capsys):
    """`convert(name)` converts ACL-SSL with CLIPSeg of that name: (status, folder, what is told)."""
    torch.save(small_acl_ssl.trained(), tmp_path / "Param_best.pth")
    torch.save(small_beats.small_file(), tmp_path / "BEATs.pt")

    def run(name: str) -> tuple[int, Path, str]:
        command = ["convert", "acl_ssl", str(tmp_path / "Param_best.pth"), str(tmp_path / "out")]
        parts = ["--part", f"beats={tmp_path / 'BEATs.pt'}", "--part", f"clipseg={name}"]
        status = main([*command, *parts, "--config", "prompt_ids=(54, 26, 55)", "prompt_position=2"])
        return status, tmp_path / "out", capsys.readouterr().err

    return run


def upload(hub, folder: Path, name: str) -> None:
    hub.repositories[name] = Repository()
    hub.repositories[name].commit({path.name: path.read_bytes() for path in folder.iterdir()})


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_clipseg_comes_with_its_tokenizer(hub, ask, tmp_path, convert, weights):
    folder = small_acl_ssl.write_clipseg(tmp_path / "clipseg")
    if weights == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        torch.save(small_acl_ssl.clipseg(), folder / weights)
    (folder / "sample.png").write_bytes(b"not asked for")
    upload(hub, folder, "CIDAS/clipseg")
    ask(hub)
    status, out, told = convert("CIDAS/clipseg")
    assert status == 0, told
    assert "part clipseg: " in told
    assert not any("sample.png" in request for request in hub.requests)
    model = ACLForSoundLocalization.from_pretrained(out)
    assert torch.equal(model.grounder.decoder.film_mul.weight, small_acl_ssl.clipseg()["decoder.film_mul.weight"])
    assert ACLProcessor.from_pretrained(out)(text="a dog").input_ids.tolist() == [[START, A, DOG, END]]


def test_clipseg_comes_from_the_cache_when_the_hub_is_gone(hub, ask, go_offline, tmp_path, convert):
    upload(hub, small_acl_ssl.write_clipseg(tmp_path / "clipseg"), "CIDAS/clipseg")
    ask(hub)
    status, out, _ = convert("CIDAS/clipseg")
    assert status == 0
    out.rename(tmp_path / "first")
    hub.requests.clear()
    go_offline()
    status, _, told = convert("CIDAS/clipseg")
    assert status == 0, told
    assert hub.requests == []


def test_a_name_that_the_hub_does_not_have_is_refused_in_one_line(hub, ask, convert):
    ask(hub)
    status, out, told = convert("CIDAS/nothing")
    assert status == 1
    assert "`CIDAS/nothing` is no folder here, and the Hub shows no such repository" in told
    assert not out.exists()


def test_a_repository_without_weights_is_refused(hub, ask, convert):
    hub.repositories["CIDAS/empty"] = Repository()
    hub.repositories["CIDAS/empty"].commit({"config.json": b"{}"})
    ask(hub)
    status, _, told = convert("CIDAS/empty")
    assert status == 1
    assert "`CIDAS/empty` on the Hub has no weights" in told
