"""Two runs into one folder, full disks: told at once, and nothing that was saved is lost."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training.launch_script import Interrupt, hard_run

from avzoo.training import checkpoints

HOLDS = """
import sys
from pathlib import Path
from avzoo.training.checkpoints import hold_output_dir
with hold_output_dir(Path(sys.argv[1])):
    print("training", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("ending", ["ends", "is killed"])
def test_of_two_runs_into_one_folder_the_second_is_told(tmp_path, ending):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "training\n"
        with pytest.raises(BlockingIOError, match=rf"^another run trains into `output_dir` \({tmp_path}\); wait until"):
            hard_run(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".training-lock"]
        if ending == "is killed":
            first.kill()
        first.communicate("\n")
    hard_run(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_what_no_training_wrote_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=rf"`output_dir` \({tmp_path}\) holds a {name} that no training wrote"):
        hard_run(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_is_no_output_dir(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match=rf"`output_dir` \({tmp_path}/out\) is a file; name a folder"):
        hard_run(tmp_path / "out")


def test_a_run_that_fails_lets_go_of_its_folder(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="`metric_for_best_model`"):
            hard_run(tmp_path, metric_for_best_model="none", checkpoint_every_steps=100, evaluate_every_steps=1)
        assert not list(tmp_path.glob(".*"))


def save(folder: Path, step: int, size: int = 10) -> None:
    torch.manual_seed(step)
    model = torch.nn.Linear(size, size)
    arguments = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=1.0), "ema": None}
    state = {"training": {}, "steers": {}, "scaler": None}
    checkpoints.save_checkpoint(folder, step, **arguments, state=state, keep=2)


def test_a_checkpoint_on_a_full_disk_leaves_the_earlier_ones(full_disk, tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    with pytest.raises(
        OSError, match=r"checkpoint-000003` could not be saved \(.*File too large.*\); what was saved before"
    ):
        save(tmp_path, 3, size=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000001", "checkpoint-000002"]
    assert checkpoints.read_state(checkpoints.find_checkpoints(tmp_path)[-1])["optimizer_scalars"] == {}


@pytest.mark.parametrize("save", [checkpoints.save_best, checkpoints.save_trained])
def test_a_trained_model_on_a_full_disk_leaves_the_earlier_one(full_disk, tmp_path, save):
    save(tmp_path, torch.nn.Linear(10, 10))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match=r"` could not be saved \(.*File too large"):
        save(tmp_path, torch.nn.Linear(100, 100))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("share", [0, 0.5, None])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(tmp_path, file, share):
    with pytest.raises(KeyboardInterrupt):
        hard_run(tmp_path, callbacks=[Interrupt(5)], checkpoint_every_steps=2)
    newest = checkpoints.find_checkpoints(tmp_path)[-1]
    damaged = newest / file
    if share is None:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[: int(share * damaged.stat().st_size)])
    with pytest.raises(ValueError, match=rf"^`resume`: {newest} is "):
        hard_run(tmp_path, checkpoint_every_steps=2)
    shutil.rmtree(newest)
    assert hard_run(tmp_path, checkpoint_every_steps=2).steps == 6
