"""The training example on lists of recordings, with cached latents, in two processes, and with --toy."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import avzoo
from avzoo.audio import write_wav

SCRIPT = Path(__file__).parents[2] / "examples" / "train_voiceldm.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
LAUNCH_TWO = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 --mixed_precision no"
LAUNCH_TWO = [*LAUNCH_TWO.split(), "--dynamo_backend", "no", "--num_machines", "1"]


@pytest.fixture
def lists(tmp_path) -> Path:
    """Four recordings of CommonVoice and a noise, in the authors' lists."""
    random = np.random.default_rng(0)
    for folder, count in (("voices", 4), ("noises", 1)):
        (tmp_path / folder).mkdir()
        for index in range(count):
            sound = 0.1 * random.standard_normal(8000 + 1000 * index)
            write_wav(tmp_path / folder / f"{index}.wav", sound.astype(np.float32), 16000)
    rows = {
        "speech.csv": [["file_path", "text", "data"], *([f"{i}.wav", f"Word {i}, and more.", "cv"] for i in range(4))],
        "noise.csv": [["file_path", "data"], ["0.wav", "demand"]],
    }
    for name, table in rows.items():
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    return tmp_path


def run(*options: object, launch: list[str] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, *launch, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280)


def training(lists: Path, output: Path) -> list[object]:
    folders = ["--data_dir", f"cv={lists / 'voices'}", f"demand={lists / 'noises'}"]
    tables = ["--speech", lists / "speech.csv", "--noise", lists / "noise.csv"]
    steps = ["--max_steps", 2, "--batch_size", 2, "--learning_rate", 0.01, "--no_progress_bar"]
    return ["--model", avzoo.toy_checkpoint("voiceldm"), *folders, *tables, "--output_dir", output, *steps]


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(folder)
    return {
        name: part for name in ("unet", "content_encoder", "vae") for name, part in named(getattr(pipe, name), name)
    }


def named(network: torch.nn.Module, prefix: str) -> list[tuple[str, torch.Tensor]]:
    return [(f"{prefix}.{name}", value) for name, value in network.state_dict().items()]


def test_denoiser_and_content_encoder_are_trained_and_the_rest_is_frozen(lists, run_main, tmp_path):
    options = ["--ema_decay", 0.5, "--snr_gamma", 5, "--mixed_precision", "bf16"]
    status, _, stderr = run_main(SCRIPT.name, *training(lists, tmp_path / "out"), *options)
    assert status == 0, stderr
    before, after = weights(avzoo.toy_checkpoint("voiceldm")), weights(tmp_path / "out")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"unet", "content_encoder"}
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    audio = pipe("Rain falls.", "stop", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).audios
    assert audio.shape[1] == 20000
    assert np.isfinite(audio).all()


def test_two_processes_share_the_cache(lists, run_main, tmp_path):
    options = ["--cache", tmp_path / "cache", "--cpu"]  # without --cpu, each process would train alone
    result = run(*training(lists, tmp_path / "out"), *options, launch=LAUNCH_TWO)
    assert result.returncode == 0, result.stderr[-3000:]
    assert np.memmap(tmp_path / "cache" / "filled.u8", np.bool_).all()
    kept = (tmp_path / "cache" / "values.f16").read_bytes()
    status, _, stderr = run_main(SCRIPT.name, *training(lists, tmp_path / "again"), *options)
    assert status == 0, stderr
    assert (tmp_path / "cache" / "values.f16").read_bytes() == kept  # cached values are not computed again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speech", "a.csv"], "--data_dir are required without --toy"),
        (["--speech", "a.csv", "--data_dir", "one", "two"], "--data_dir takes one folder, or pairs NAME=PLACE"),
        (["--speech", "a.csv", "--data_dir", "one", "--part", "vae"], "--part takes pairs NAME=PLACE, got ['vae']"),
    ],
)
def test_incomplete_options_are_refused(run_main, options, message):
    status, _, stderr = run_main(SCRIPT.name, *options)
    assert status == 2
    assert message in stderr


@pytest.mark.timeout(280)
def test_the_toy_prints_its_grid_and_saves_a_pipeline(tmp_path):
    small = "--toy_clips 64 --toy_test_clips 16 --toy_part_steps 2 --toy_steps 2 --toy_samples 8 --toy_sampling_steps 2"
    result = run("--toy", *small.split(), "--output_dir", tmp_path / "toy")
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r"^dual +6 +0 ", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^single +3 ", result.stdout, re.MULTILINE)
    folder = tmp_path / "toy"
    assert {"README.md", "grid.png", "model_index.json"} <= {path.name for path in folder.iterdir()}
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert "synthetic data" in (folder / "README.md").read_text()
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("Rain falls while a man speaks.", "seven", num_inference_steps=2).audios.shape == (1, 20000)
