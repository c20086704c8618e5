"""The training example on lists of recordings, with cached latents, in two processes, and with --toy."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import avzoo
from avzoo.audio import write_wav
from avzoo.training import TrainingArguments
from avzoo.training.reports import read_metrics

SCRIPT = "train_voiceldm.py"


@pytest.fixture(scope="module")
def lists(tmp_path_factory) -> Path:
    """Four recordings of CommonVoice and a noise, in the authors' lists."""
    root, random = tmp_path_factory.mktemp("lists"), np.random.default_rng(0)
    for folder, count in (("voices", 4), ("noises", 1)):
        (root / folder).mkdir()
        for index in range(count):
            sound = 0.1 * random.standard_normal(8000 + 1000 * index)
            write_wav(root / folder / f"{index}.wav", sound.astype(np.float32), 16000)
    rows = {
        "speech.csv": [["file_path", "text", "data"], *([f"{i}.wav", f"Word {i}, and more.", "cv"] for i in range(4))],
        "noise.csv": [["file_path", "data"], ["0.wav", "demand"]],
    }
    for name, table in rows.items():
        with (root / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    return root


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
    options = ["--ema_decay", 0.5, "--snr_gamma", 5, "--mixed_precision", "bf16", "--max_steps", 1]
    status, _, stderr = run_main(SCRIPT, *training(lists, tmp_path / "out"), *options)
    assert status == 0, stderr
    before, after = weights(avzoo.toy_checkpoint("voiceldm")), weights(tmp_path / "out")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"unet", "content_encoder"}
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    audio = pipe("Rain falls.", "stop", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).audios
    assert audio.shape[1] == 20000
    assert np.isfinite(audio).all()


def test_cached_values_are_not_computed_again(lists, run_main, tmp_path):
    values, options = tmp_path / "cache" / "values.f16", ["--cache", tmp_path / "cache"]
    for name, steps in (("out", 2), ("again", 1)):
        status, _, stderr = run_main(SCRIPT, *training(lists, tmp_path / name), *options, "--max_steps", steps)
        assert status == 0, stderr
        assert np.memmap(tmp_path / "cache" / "filled.u8", np.bool_).all()
        if name == "out":  # other values: they stay
            assert any(values.read_bytes())
            values.write_bytes(bytes(values.stat().st_size))
    assert not any(values.read_bytes())


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(lists, check_resumed_run):
    options = training(lists, Path("overridden"))
    folder = check_resumed_run(SCRIPT, *options, "--max_steps", 4, "--log_every_steps", 1)
    assert [row["step"] for row in read_metrics(folder)] == [1, 2, 3, 4]
    assert "4 recordings of speech with transcripts, 1 of noise." in (folder / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--snr_gamma", 5], "`snr_gamma`: checkpoint-000001 was written with None, this run has 5.0; "),
        (["--noise_probability", 1], "`noise_probability`: checkpoint-000001 was written with 0.5, this run has 1.0; "),
    ],
)
def test_a_changed_option_is_refused_when_a_run_resumes(changed, message, lists, kill_main, run_main, tmp_path):
    options = [*training(lists, tmp_path), "--checkpoint_every_steps", 1]
    kill_main(1, SCRIPT, *options)
    status, _, stderr = run_main(SCRIPT, *options, *changed)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{SCRIPT}: {message}")


@pytest.mark.slow
def test_a_validation_loss_is_of_the_same_noise_in_every_run(lists, run_main, tmp_path):
    found = []
    for name in ("one", "other"):
        options = [*training(lists, tmp_path / name), "--val_speech", lists / "speech.csv"]
        status, _, stderr = run_main(SCRIPT, *options, "--evaluate_every_steps", 1)
        assert status == 0, stderr
        found.append([row for row in read_metrics(tmp_path / name) if row["split"] == "evaluation"])
    assert found[0] == found[1]
    assert [row["step"] for row in found[0]] == [1, 2]
    assert (
        f"| loss, after 2 steps, 1 epochs | {found[0][1]['loss']:.4g} |" in (tmp_path / "one" / "README.md").read_text()
    )


@pytest.mark.slow
def test_a_cache_of_another_seed_is_refused(lists, run_main, tmp_path):
    for seed, status in ((1, 0), (2, 1)):
        options = ["--cache", tmp_path / "cache", "--seed", seed]
        assert (found := run_main(SCRIPT, *training(lists, tmp_path / str(seed)), *options))[0] == status, found
    assert "was written with `seed` 1, this run has 2; choose another folder." in found[2]


@pytest.mark.slow
def test_a_damaged_recording_may_be_skipped(lists, run_main, caplog, tmp_path):
    root = shutil.copytree(lists, tmp_path / "lists")
    cut = root / "voices" / "2.wav"
    cut.write_bytes(cut.read_bytes()[:5000])
    status, _, stderr = run_main(SCRIPT, *training(root, tmp_path / "out"), "--skip_damaged", "--max_steps", 1)
    assert status == 0, stderr
    assert f"1 of the 4 recordings can't be read and left out, the first is `{cut}`" in caplog.text


def test_missing_recordings_and_lists_are_told(lists, run_main, tmp_path):
    root = shutil.copytree(lists, tmp_path / "lists")
    (root / "voices" / "2.wav").unlink()
    status, _, stderr = run_main(SCRIPT, *training(root, tmp_path / "out"))
    assert status == 1
    assert stderr.splitlines()[-1].startswith(
        f"{SCRIPT}: 1 of the 4 recordings named by {root / 'speech.csv'} are missing"
    )
    assert stderr.splitlines()[-1].endswith("Pass --skip_missing to read the others.")
    (root / "speech.csv").unlink()
    status, _, stderr = run_main(SCRIPT, *training(root, tmp_path / "out"))
    assert (status, str(root / "speech.csv") in stderr.splitlines()[-1]) == (1, True)


@pytest.mark.slow
def test_two_processes_share_the_cache(lists, run_main, run_script, tmp_path):
    options = ["--cache", tmp_path / "cache"]
    run_script(SCRIPT, *training(lists, tmp_path / "out"), *options, ranks="forked")
    assert np.memmap(tmp_path / "cache" / "filled.u8", np.bool_).all()
    kept = (tmp_path / "cache" / "values.f16").read_bytes()
    status, _, stderr = run_main(SCRIPT, *training(lists, tmp_path / "again"), *options)
    assert status == 0, stderr
    assert (tmp_path / "cache" / "values.f16").read_bytes() == kept  # cached values are not computed again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speech", "a.csv"], "--data_dir are required without --toy"),
        (["--speech", "a.csv", "--data_dir", "one", "two"], "--data_dir takes one folder, or pairs NAME=PLACE"),
        (["--speech", "a.csv", "--data_dir", "one", "--model", "x", "--size", "s"], "--size and --part are for a new"),
        (["--speech", "a.csv", "--data_dir", "one", "--part", "vae"], "--part takes pairs NAME=PLACE, got ['vae']"),
    ],
)
def test_incomplete_options_are_refused(run_main, options, message):
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 2
    assert message in stderr


@pytest.mark.slow
def test_the_toy_prints_its_grid_and_saves_a_pipeline(run_toy, monkeypatch, tmp_path):
    def few_clips(**settings: Any) -> TrainingArguments:
        return TrainingArguments(**{**settings, "batch_size": 4})

    for module in ("toy.voiceldm", "toy.voiceldm_parts"):
        monkeypatch.setattr(f"{module}.TrainingArguments", few_clips)
    small = "--toy_clips 16 --toy_test_clips 16 --toy_part_steps 1 --toy_steps 1 --toy_samples 2 --toy_sampling_steps 1"
    folder = tmp_path / "toy"
    printed = run_toy(SCRIPT, folder, small)
    assert re.search(r"^dual +6 +0 ", printed, re.MULTILINE), printed
    assert re.search(r"^single +3 ", printed, re.MULTILINE)
    assert {"README.md", "grid.png", "model_index.json"} <= {path.name for path in folder.iterdir()}
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("Rain falls while a man speaks.", "seven", num_inference_steps=2).audios.shape == (1, 20000)
