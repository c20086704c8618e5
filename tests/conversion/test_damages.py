"""Damaged checkpoints and folders of every method: an answer, or one line that names the file or the key.

No memory is spent on what they state, nothing is written outside the output folder, and no code of theirs runs.
"""

import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_acl_ssl
import small_avdiffuss
import small_beats
import small_flexiast
import small_ltbs
import small_mtdvocalist
import small_ssl_alignment
import small_voiceldm
import test_convert_hifigan
import test_convert_s3fd
import test_convert_slowfast_cslr
import test_convert_talknce
import torch
from contract.diffusion import PIPELINES
from contract.tiny import TINY, tiny_model
from damages import CANARY, FOLDER_DAMAGES, damage_file

import avzoo
from avzoo import zoo
from avzoo.cli import is_expected
from avzoo.conversion import convert_checkpoint, save_converted
from avzoo.conversion.checkpoints import read_checkpoint
from avzoo.pipelines.shared.face_detectors import faces_from
from avzoo.pipelines.shared.saved_folders import check_detector_folder, load_checked_pipeline, load_task_pipeline

pytestmark = pytest.mark.filterwarnings("ignore")  # what torch and zipfile say of files they then refuse

NUM_IN_SHORT, NUM_IN_ALL = 4, 1500

# What is damaged: how many shares of all cases, the tensors, and what a file of them is converted by.
CHECKPOINTS: dict[str, tuple[int, Callable[[], dict], Callable[[Any], Any]]] = {
    "flexiast": (16, small_flexiast.flexiast_file, lambda path: convert_checkpoint("flexiast", path)),
    "ast": (10, small_flexiast.ast_file, lambda path: convert_checkpoint("coarse_to_fine_ast", path)),
    "mtdvocalist": (8, small_mtdvocalist.small_file, lambda path: convert_checkpoint("mtdvocalist", path)),
    "loconet": (
        6,
        lambda: test_convert_talknce.small_file(test_convert_talknce.LOCONET),
        lambda path: convert_checkpoint("talknce", path),
    ),
    "talknet": (
        6,
        lambda: test_convert_talknce.small_file(test_convert_talknce.TALKNET),
        lambda path: convert_checkpoint("talknce", path, variant="talknet"),
    ),
    "alignment": (
        6,
        lambda: small_ssl_alignment.small_file("alignment"),
        lambda path: convert_checkpoint("ssl_alignment", path),
    ),
    "slavc": (
        5,
        lambda: small_ssl_alignment.small_file("slavc"),
        lambda path: convert_checkpoint("ssl_alignment", path),
    ),
    "slowfast_cslr": (
        5,
        test_convert_slowfast_cslr.small_file,
        lambda path: convert_checkpoint("slowfast_cslr", path),
    ),
    "beats": (6, small_beats.small_weights, lambda path: convert_checkpoint("beats", path)),
    "acl_ssl's beats": (5, small_beats.small_weights, lambda path: small_acl_ssl.convert(beats=path)),
    "acl_ssl's clipseg": (5, small_acl_ssl.clipseg, lambda path: small_acl_ssl.convert(grounder=path)),
    "s3fd": (10, test_convert_s3fd.small_file, lambda path: convert_checkpoint("s3fd", path)),
    "hifigan": (
        5,
        lambda: test_convert_hifigan.small_file()["generator"],
        lambda path: convert_checkpoint("hifigan", path),
    ),
    "ltbs": (6, small_ltbs.small_file, lambda path: convert_checkpoint("ltbs", path)),
    "avdiffuss": (4, small_avdiffuss.small_weights, lambda path: convert_checkpoint("avdiffuss", path)),
    "voiceldm": (1, small_voiceldm.small_file, small_voiceldm.convert),
}
FOLDERS = {
    "flexiast": 10,
    "ssl_alignment": 5,
    "beats": 5,
    "acl_ssl": 5,
    "mtdvocalist": 5,
    "slowfast_cslr": 5,
    "ltbs": 5,
    "talknce": 5,
    "s3fd": 5,
    "transformers": 8,
    "avdiffuss": 3,
    "voiceldm": 1,
}
_SHARES = sum(share for share, *_ in CHECKPOINTS.values()) + sum(FOLDERS.values())


def count_cases(share: int) -> int:
    return -(-NUM_IN_ALL * share // _SHARES)


def list_cases(shares: dict[str, int]) -> list:
    """Each kind in short and, slow, in full: a case is a seed."""
    cases = []
    for kind, share in shares.items():
        short = NUM_IN_SHORT if share > 4 else 0  # the larger ones take seconds to write
        if short:
            cases.append(pytest.param(kind, range(short), id=kind))
        cases.append(pytest.param(kind, range(short, count_cases(share)), id=f"{kind} all", marks=pytest.mark.slow))
    return cases


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, where code of a checkpoint would leave its canary."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def check_answer(answer: Callable[[], Any], names: list[str], case: str) -> None:
    """An answer whose weights are finite, or a refusal that names a file or a key."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, networks = None, []
    try:
        networks = answer()
    except Exception as error:
        outcome = error
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400_000, f"{case}: {grown} kB"
    if outcome is not None:
        assert is_expected(outcome), f"{case}: {type(outcome).__name__}: {outcome}"
        assert "`" in str(outcome) or any(name in str(outcome) for name in names), f"{case}: {outcome}"
    for network in networks:
        for name, tensor in network.state_dict().items():
            assert not tensor.is_meta, f"{case}: {name}"
            assert not tensor.is_floating_point() or tensor.isfinite().all(), f"{case}: {name}"


def list_networks(model: Any) -> list[torch.nn.Module]:
    if isinstance(model, torch.nn.Module):
        return [model]
    return [part for part in model.components.values() if isinstance(part, torch.nn.Module)]


@pytest.mark.parametrize(("kind", "seeds"), list_cases({kind: share for kind, (share, *_) in CHECKPOINTS.items()}))
def test_a_damaged_checkpoint_is_converted_or_refused(place, kind, seeds):
    _, make_tensors, convert = CHECKPOINTS[kind]
    tensors = make_tensors()
    convert(tensors)  # what is imported for the first time takes memory, too
    for seed in seeds:
        draws = random.Random(f"{kind} {seed}")
        path = place / f"released{draws.choice(['.pth', '.pth', '.safetensors'])}"
        damage_file(draws, tensors, path)

        def answer(path=path, seed=seed) -> list[torch.nn.Module]:
            model = convert(path)
            if seed % 4 == 0:
                save_converted(model, place / "converted")
            return list_networks(model)

        check_answer(answer, [path.name], f"{kind} {seed}")
        left = {found.name for found in place.iterdir()} - {path.name, "converted"}
        assert not left, f"{kind} {seed}: {left}"
        shutil.rmtree(place / "converted", ignore_errors=True)
        path.unlink()


# --- saved folders ----------------------------------------------------------------------------------------------------


def save_tiny(name: str, folder: Path) -> None:
    row = zoo.find_row(name)
    tiny_model(row).save_pretrained(folder)
    if row.processor_class:
        settings = {}
        if name == "flexiast":
            settings = {"num_mel_bins": TINY[row.model_class].config["num_mel_bins"], "max_length": 48}
        if name == "ltbs":
            settings = {key: TINY[row.model_class].config[key] for key in ("num_mel_bins", "num_units")}
        row.load(row.processor_class)(**settings).save_pretrained(folder)


def save_folder(kind: str, folder: Path) -> None:
    if kind == "transformers":
        small_flexiast.transformers_ast().save_pretrained(folder)
    elif kind == "voiceldm":
        shutil.copytree(avzoo.toy_checkpoint(kind), folder)
    elif kind == "avdiffuss":
        PIPELINES["AVDiffuSSPipeline"].assemble().save_pretrained(folder)
    else:
        save_tiny(kind, folder)


def load_folder(kind: str, folder: Path) -> list[torch.nn.Module]:
    row = None if kind == "transformers" else zoo.find_row(kind)
    if row is None:
        return [convert_checkpoint("flexiast", folder)]
    if kind == "s3fd":
        check_detector_folder(folder)
        return [faces_from("s3fd", folder, {}).model]
    if row.diffusion_pipeline:
        return list_networks(load_checked_pipeline(row.load(row.diffusion_pipeline), folder))
    pipe = load_task_pipeline(row.task, folder)
    if kind == "flexiast":
        pipe(np.zeros(16000, np.float32))
    return [pipe.model]


@pytest.mark.parametrize(("kind", "seeds"), list_cases(FOLDERS))
def test_a_damaged_folder_is_loaded_or_refused(place, tmp_path, kind, seeds):
    whole = tmp_path / "whole"
    save_folder(kind, whole)
    load_folder(kind, whole)
    for seed in seeds:
        draws = random.Random(f"folder {kind} {seed}")
        folder = place / "folder"
        shutil.copytree(whole, folder)
        draws.choice(FOLDER_DAMAGES)(draws, folder)
        before = sorted(place.rglob("*"))
        check_answer(lambda folder=folder: load_folder(kind, folder), ["folder"], f"folder {kind} {seed}")
        assert sorted(place.rglob("*")) == before, f"folder {kind} {seed}"
        assert not Path(CANARY).exists()
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def test_there_are_1500_damages():
    shares = [share for share, *_ in CHECKPOINTS.values()] + list(FOLDERS.values())
    assert sum(map(count_cases, shares)) >= 1500


def test_whole_files_are_no_damages(place):
    for kind, (_, make_tensors, _) in CHECKPOINTS.items():
        if kind != "voiceldm":
            torch.save(make_tensors(), place / f"{kind}.pth")
            assert len(read_checkpoint(place / f"{kind}.pth").state_dict()) == len(make_tensors())
