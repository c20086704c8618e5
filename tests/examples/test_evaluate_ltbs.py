"""The evaluation of LTBS: videos of drawn people, folders of sounds of any system, and what is refused."""

import csv
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from contract.tiny.ltbs import FOR_SPEECH
from transformers import HubertConfig, HubertModel

from avzoo import LTBSConfig, LTBSForLipToSpeech, LTBSProcessor
from avzoo.audio import read_audio, write_wav
from avzoo.models.ltbs.speech_units import save_centres
from avzoo.toyworld.talkers import Talkers

SCRIPT = "evaluate_ltbs.py"


@pytest.fixture(scope="module")
def speakers(tmp_path_factory) -> Path:
    """A drawn person who talks, twice."""
    root = tmp_path_factory.mktemp("speakers")
    talkers = Talkers(2, split="evaluation", seconds=1.0)
    (root / "anna").mkdir()
    for index in range(2):
        talkers.write(talkers[index], root)[0].rename(root / "anna" / f"{index}.mp4")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    LTBSForLipToSpeech(LTBSConfig(**{**FOR_SPEECH.config, "speaker_conditioning": "none"})).save_pretrained(folder)
    LTBSProcessor(crop_size=24, mouth_size=28, num_mel_bins=8, num_units=5).save_pretrained(folder)
    return folder


@pytest.fixture
def recognizer(monkeypatch) -> list[str]:
    """Recognisers of any name hear "one"; the names that were loaded."""
    loaded, load = [], transformers.pipeline

    def pipeline(task, *arguments, model, **options):
        if task != "automatic-speech-recognition":
            return load(task, *arguments, model=model, **options)
        loaded.append(model)
        return lambda sound: {"text": " One."}

    # With the first use of `pipeline` the package takes another object for itself.
    monkeypatch.setattr(sys.modules["transformers"], "pipeline", pipeline)
    return loaded


@pytest.fixture
def sounds(tmp_path) -> Path:
    """Two real sounds, and what a system made of one word each."""
    for folder, seeds in (("real", (0, 1)), ("made", (0, 2))):
        (tmp_path / folder).mkdir()
        for name, seed in zip("ab", seeds, strict=True):
            noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 16000).astype(np.float32)
            write_wav(tmp_path / folder / f"{name}.wav", noise, 16000)
    (tmp_path / "texts.csv").write_text("id,text\na,one\nb,two\n")
    return tmp_path


def find_row(table: str, label: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"{label}  ")]
    return line.removeprefix(label).split()


def test_videos_are_spoken_and_compared(speakers, model, run_main, tmp_path):
    further = [
        "--save_sounds",
        tmp_path / "sounds",
        "--output",
        tmp_path / "report.json",
        "--clips",
        tmp_path / "c.csv",
    ]
    options = ["--model", model, "--dataset", "folder", "--data_dir", speakers, "--max_lag", 0]
    status, stdout, stderr = run_main(SCRIPT, *options, *further)
    assert status == 0, stderr
    assert "2 clips" in stdout
    assert "vocoder: Griffin-Lim" in stdout
    made, vocoded = map(float, find_row(stdout, "ESTOI"))
    assert vocoded > made + 0.2  # eight bins are few, and yet
    assert len(find_row(stdout, "log-mel, refined, L1")) == 1
    assert json.loads((tmp_path / "report.json").read_text())["options"]["voice"] == "mean"
    with open(tmp_path / "c.csv", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["anna/0", "anna/0", "anna/1", "anna/1"]
    made = read_audio(tmp_path / "sounds" / "made" / "anna" / "0.wav")[0]
    assert made.shape == read_audio(tmp_path / "sounds" / "real" / "anna" / "0.wav")[0].shape == (16000,)


def test_sounds_that_were_kept_score_the_same_again(speakers, model, run_main, tmp_path):
    kept = ["--save_sounds", tmp_path]
    options = ["--model", model, "--dataset", "folder", "--data_dir", speakers, "--max_lag", 0]
    first = run_main(SCRIPT, *options, *kept, "--limit", 1)[1]
    folders = [part for name in ("made", "vocoded", "real") for part in (f"--{name}", tmp_path / name)]
    second = run_main(SCRIPT, *folders, "--max_lag", 0)[1]
    for label in ("STOI", "ESTOI", "energy, mean abs. error", "log-mel of the sound, L1"):
        assert find_row(first, label) == find_row(second, label)


def test_units_are_compared_with_huberts(speakers, model, run_main, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    config = HubertConfig(do_stable_layer_norm=True, feat_extract_norm="layer", **sizes)
    HubertModel(config).save_pretrained(tmp_path / "hubert")
    save_centres(tmp_path / "centres.safetensors", torch.randn(5, 16))
    options = ["--model", model, "--dataset", "folder", "--data_dir", speakers, "--max_lag", 0, "--limit", 1]
    units = ["--hubert", tmp_path / "hubert", "--layer", 2, "--centres", tmp_path / "centres.safetensors"]
    status, stdout, stderr = run_main(SCRIPT, *options, *units)
    assert status == 0, stderr
    (share,) = find_row(stdout, "units that are right, %")
    assert 0 <= float(share) <= 100


def test_a_table_of_speakers_gives_everyone_his_own_voice(speakers, run_main, tmp_path):
    torch.manual_seed(0)
    fields = {**FOR_SPEECH.config, "speaker_conditioning": "table", "num_speakers": 2}
    LTBSForLipToSpeech(LTBSConfig(**fields)).save_pretrained(tmp_path)
    LTBSProcessor(crop_size=24, mouth_size=28, num_mel_bins=8, num_units=5).save_pretrained(tmp_path)
    options = ["--model", tmp_path, "--dataset", "folder", "--data_dir", speakers, "--max_lag", 0, "--limit", 1]
    (tmp_path / "speakers.json").write_text('["ben", "anna"]')
    status, stdout, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    assert "voice: table" in stdout
    status, _, stderr = run_main(SCRIPT, *options, "--voice", "other")
    assert status == 1
    assert "has a table of speakers; leave --voice out" in stderr
    (tmp_path / "speakers.json").write_text('["ben", "clara"]')
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 1
    assert "anna/0: speaker 'anna' is not in the network's table: ben, clara" in stderr


def test_a_table_of_a_network_without_one_is_refused(speakers, model, run_main):
    options = ["--model", model, "--dataset", "folder", "--data_dir", speakers]
    status, _, stderr = run_main(SCRIPT, *options, "--voice", "table")
    assert status == 1
    assert "has no table of speakers" in stderr


def test_any_systems_sounds_are_compared_by_a_named_recogniser(sounds, recognizer, run_main):
    folders = ["--made", sounds / "made", "--real", sounds / "real", "--texts", sounds / "texts.csv"]
    status, stdout, stderr = run_main(SCRIPT, *folders, "--asr", "some/recogniser", "--max_lag", 0)
    assert status == 0, stderr
    assert recognizer == ["some/recogniser"]
    assert "recognizer: some/recogniser" in stdout
    assert find_row(stdout, "WER, %") == ["50.00", "50.00"]  # made, real
    assert find_row(stdout, "ESTOI") == [find_row(stdout, "ESTOI")[0]]


def test_a_recogniser_without_texts_is_refused(sounds, recognizer, run_main):
    folders = ["--made", sounds / "made", "--real", sounds / "real"]
    status, _, stderr = run_main(SCRIPT, *folders, "--asr", "some/recogniser")
    assert status == 1
    assert "`clips` have no text" in stderr


def test_a_missing_sound_is_one_line(sounds, run_main):
    (sounds / "made" / "b.wav").unlink()
    status, stdout, stderr = run_main(SCRIPT, "--made", sounds / "made", "--real", sounds / "real")
    assert (status, stdout) == (1, "")
    assert re.fullmatch(r".*made` lacks 1 of the 2 sounds that its counterpart has: b\.\n", stderr)


def test_a_report_in_a_missing_folder_is_refused_before_anything_is_read(sounds, run_main):
    folders = ["--made", sounds / "nowhere", "--real", sounds / "real"]
    status, _, stderr = run_main(SCRIPT, *folders, "--output", sounds / "reports" / "report.json")
    assert status == 1
    assert re.search("--output .* there is no folder", stderr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--made", "a"], "give --model, --dataset and --data_dir, or --made and --real"),
        (
            ["--made", "a", "--real", "b", "--model", "c"],
            "give --model, --dataset and --data_dir, or --made and --real",
        ),
        (["--model", "a", "--dataset", "grid"], "give --model, --dataset and --data_dir, or --made and --real"),
        (["--made", "a", "--real", "b", "--hubert", "c"], "--hubert and --centres belong together"),
        (["--made", "a", "--real", "b", "--limit", "0"], "--limit must be at least 1"),
        (["--made", "a", "--real", "b", "--voice", "nobody"], "--voice must be own, other, mean, table or a recording"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(run_main, options, message):
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 2
    assert message in stderr


def test_a_report_in_place_of_a_device_is_refused_before_anything_is_read(sounds, run_main, tmp_path):
    os.mkfifo(tmp_path / "report.json")
    folders = ["--made", sounds / "nowhere", "--real", sounds / "real"]
    status, _, stderr = run_main(SCRIPT, *folders, "--output", tmp_path / "report.json")
    assert status == 1
    assert "report.json` is a pipe or a device" in stderr


def test_rows_of_a_network_without_a_table_are_refused(model, speakers, run_main):
    status, _, stderr = run_main(
        SCRIPT, "--model", model, "--dataset", "folder", "--data_dir", speakers, "--voice", "table"
    )
    assert status == 1
    assert re.search(r"--voice table: `model` \(.*\) has no table of speakers", stderr)
