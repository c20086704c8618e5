"""Models to start from that are damaged: a line that names them, where libraries train on random weights."""

import argparse
import runpy
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import avzoo

EXAMPLES = Path(__file__).parents[2] / "examples"
# script -> (file of weights in the method's toy checkpoint, options)
STARTS = {
    "train_talknce.py": ("model.safetensors", {"host": None, "talknce_weight": 0.3, "nce_frames": "speaking"}),
    "train_mtdvocalist.py": ("model.safetensors", {"network": "student", "teacher": None, "distill": None, "seed": 0}),
    "train_avdiffuss.py": ("score_model/diffusion_pytorch_model.safetensors", {}),
    "train_voiceldm.py": ("unet/diffusion_pytorch_model.safetensors", {}),
}


def drop_a_tensor(path: Path) -> str:
    """Delete the first weight of a file; its name."""
    tensors = load_file(path)
    name = min(tensors)
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    return name


def test_a_tagger_that_lacks_a_weight_is_no_start(esc50, small_ast, run_main, tmp_path):
    folder = Path(shutil.copytree(small_ast, tmp_path / "start"))
    name = drop_a_tensor(folder / "model.safetensors")
    options = ["--dataset", "esc50", "--data_dir", esc50, "--model", folder, "--output_dir", tmp_path / "out"]
    status, _, stderr = run_main("train_flexiast.py", *options)
    assert status == 1
    assert f"train_flexiast.py: `{folder}` lacks 1 of the " in stderr
    assert f"(`{name}`): they would be random" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "script",
    ["train_talknce.py", "train_mtdvocalist.py"]
    + [pytest.param(f"train_{name}.py", marks=pytest.mark.slow) for name in ("avdiffuss", "voiceldm")],
)
def test_a_start_that_lacks_a_weight_is_refused(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    method = script.removeprefix("train_").removesuffix(".py")
    folder = Path(shutil.copytree(avzoo.toy_checkpoint(method), tmp_path / "start"))
    weights, options = STARTS[script]
    load = runpy.run_path(str(EXAMPLES / script))["load"]
    drop_a_tensor(folder / weights)
    with pytest.raises(ValueError, match=rf"`{folder}\S* lacks 1 of the \d+ tensors of .* they would be random"):
        load(argparse.Namespace(model=str(folder), **options))
