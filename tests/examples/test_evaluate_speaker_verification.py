"""VoxCeleb1's lists on a small encoder, with the numbers that the command line has."""

import numpy as np
import pytest
import torch

from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector, SpeakerFeatureExtractor
from avzoo.audio import write_wav
from avzoo.cli import main

SCRIPT = "evaluate_speaker_verification.py"


@pytest.fixture
def setting(tmp_path):
    """An encoder, six recordings, and two lists of them."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "aggregation_size": 12, "squeeze_size": 4, "attention_size": 4, "embedding_size": 6}
    SpeakerEncoderForXVector(SpeakerEncoderConfig(num_mel_bins=16, **sizes)).save_pretrained(tmp_path / "encoder")
    SpeakerFeatureExtractor().save_pretrained(tmp_path / "encoder")
    (tmp_path / "wav").mkdir()
    for index in range(6):
        samples = np.random.default_rng(index).normal(0, 0.1, 8000).astype(np.float32)
        write_wav(tmp_path / "wav" / f"{index}.wav", samples, 16000)
    (tmp_path / "o.txt").write_text("1 0.wav 1.wav\n0 0.wav 2.wav\n1 2.wav 3.wav\n0 1.wav 4.wav\n")
    (tmp_path / "e.txt").write_text("1 4.wav 5.wav\n0 0.wav 5.wav\n")
    (tmp_path / "cohort.txt").write_text("2.wav\n3.wav\n4.wav\n")
    return tmp_path


def test_lists_get_the_numbers_of_the_command_line(run_main, setting, capsys):
    shared = ["--model", setting / "encoder", "--data_dir", setting / "wav", "--device", "cpu"]
    lists = ["--lists", setting / "o.txt", setting / "e.txt"]
    for protocol in ("full", "crops-distance"):
        status, out, err = run_main(SCRIPT, *shared, *lists, "--protocol", protocol)
        assert status == 0, err
        assert "o.txt: 4 trials, 5 recordings" in out
        assert "e.txt: 2 trials, 3 recordings" in out
        capsys.readouterr()
        words = ["run", "speaker-verification", "--trials", setting / "o.txt", "--root", setting / "wav"]
        words += ["--model", setting / "encoder", "--protocol", protocol, "--device", "cpu", "-o", setting / "o.csv"]
        assert main([str(word) for word in words]) == 0
        report = capsys.readouterr().out
        assert report.strip() in out
        (setting / "o.csv").unlink()


def test_a_cohort_normalises_the_scores_of_whole_recordings(run_main, setting):
    shared = ["--model", setting / "encoder", "--data_dir", setting / "wav", "--lists", setting / "o.txt"]
    shared += ["--cohort", setting / "cohort.txt", "--device", "cpu"]
    status, out, err = run_main(SCRIPT, *shared)
    assert status == 0, err
    assert "AS-norm with the 3 most similar of a cohort of 3" in out
    status, _, err = run_main(SCRIPT, *shared, "--protocol", "crops-cosine")
    assert (status, err.strip().splitlines()[-1]) == (
        1,
        f"{SCRIPT}: --cohort needs --protocol full, got crops-cosine.",
    )


def test_a_missing_recording_is_told_before_any_is_read(run_main, setting):
    (setting / "wav" / "4.wav").unlink()
    words = ["--model", setting / "encoder", "--data_dir", setting / "wav", "--lists", setting / "o.txt"]
    status, _, err = run_main(SCRIPT, *words, "--device", "cpu")
    assert status == 1
    assert "4.wav" in err
