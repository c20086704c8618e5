"""`avzoo run sign-language-recognition` and its demo: glosses in files, with a tiny model of random weights."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused

import avzoo
from avzoo.video import read_video, write_picture, write_video

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines" / "sign_language_recognition"))
from colour_reader import make_noise, make_processor, make_random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "signs"
    make_random_model().save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def clip(tmp_path) -> Path:
    """A second and a half with a tone."""
    tone = np.sin(np.arange(24000) / 7).astype(np.float32)
    write_video(tmp_path / "clip.mp4", make_noise(38), 25, audio=tone, sampling_rate=16000)
    return tmp_path / "clip.mp4"


@pytest.fixture
def recognize(avzoo_command, folder):
    """Glosses of the tiny model."""
    return lambda *options: avzoo_command(
        "run", "sign-language-recognition", *options, "--model", folder, "--device", "cpu"
    )


def test_json_has_the_sentence_its_glosses_and_the_next_best(recognize, clip):
    status, out, _ = recognize(clip, "--n-best", "2")
    answer = json.loads(out)
    assert status == 0
    assert (answer["task"], answer["source"], answer["score"]) == (
        "sign-language-recognition",
        "clip.mp4",
        "probability",
    )
    assert answer["text"] == " ".join(gloss["label"] for gloss in answer["records"])
    assert set(answer["text"].split()) <= {"RED", "GREEN", "BLUE"}
    assert len(answer["n_best"]) == 2
    assert answer["n_best"][0]["score"] == answer["log_probability"] < 0


def test_subtitles_tables_and_pages_of_the_web_have_the_same_glosses(recognize, clip, tmp_path):
    expected = json.loads(recognize(clip)[1])["text"].split()
    for suffix in ("csv", "srt", "vtt"):
        assert recognize(clip, "-o", tmp_path / f"out.{suffix}")[0] == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == expected
    assert (tmp_path / "out.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:0")
    assert [line for line in (tmp_path / "out.vtt").read_text().splitlines() if line.isalpha()][1:] == expected


def test_the_video_is_written_with_its_glosses_and_its_sound(recognize, clip, tmp_path):
    assert recognize(clip, "-o", tmp_path / "out.mp4")[0] == 0
    video = read_video(tmp_path / "out.mp4")
    # Eight times as large, so that the letters can be read.
    assert video.frames.shape[0] == 38
    assert video.frames.shape[1] > 256
    assert video.frames.shape[2] == 256
    assert video.audio is not None
    strip = video.frames[:, 260:].astype(int)
    assert strip.max() > 200  # letters
    assert abs(strip[-1] - strip[0]).max() > 100


def test_a_folder_of_frames_is_read_and_drawn(recognize, tmp_path):
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(make_noise(12)):
        write_picture(tmp_path / "frames" / f"{index}.png", frame)
    status, out, _ = recognize(tmp_path / "frames", "-o", tmp_path / "out.mp4", "--source-fps", "12.5")
    assert status == 0
    assert json.loads(out)["records"][-1]["end"] <= 24 / 25
    assert read_video(tmp_path / "out.mp4").fps == 12.5


def test_a_conversion_without_a_vocabulary_says_so(avzoo_command, tmp_path):
    sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))
    from test_convert_slowfast_cslr import small_file

    torch.save(small_file(), tmp_path / "best.pt")
    status, _, err = avzoo_command("convert", "slowfast_cslr", tmp_path / "best.pt", tmp_path / "out")
    assert status == 0
    assert "without the part `labels` (the authors' gloss_dict.npy" in err


def test_bad_requests_say_why_and_write_nothing(recognize, clip, tmp_path):
    refused(recognize(tmp_path / "no.mp4"), "file", "no.mp4", "does not exist")
    refused(recognize(clip, "-o", tmp_path / "out.txt"), "--output must end in one of .json, .csv, .srt, .vtt, .mp4")
    refused(recognize(clip, "--format", "rttm"), "--format must be one of json, csv, srt, vtt, got 'rttm'")
    refused(recognize(clip, "-o", clip), "is one of the files to read")
    refused(recognize(clip, "-o", tmp_path / "nowhere" / "out.srt"), "nowhere", "cannot be written")
    refused(recognize(clip, "--n-best", "11"), "`n_best` (11) must be at most `num_beams` (10)")
    refused(recognize(clip, "--max-frames", "8"), "`max_frames` must be at least 44, got 8")
    refused(recognize(clip, "--language-model", tmp_path / "no.arpa"), "no.arpa", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(recognize(tmp_path / "empty"), "empty", "holds no frames")
    assert not list(tmp_path.glob("out.*"))


def test_a_video_without_a_gloss_says_so(recognize, clip, monkeypatch):
    nothing = {"text": "", "glosses": [], "score": -0.1}
    monkeypatch.setattr(
        avzoo.SignLanguageRecognitionPipeline, "__call__", lambda *_, **__: nothing | {"n_best": [nothing]}
    )
    expected = (0, "start,end,label,score\n", "no gloss was found in clip.mp4.\n")
    assert recognize(clip, "--format", "csv") == expected


@pytest.fixture
def sign_checkpoint(tmp_path, monkeypatch) -> Path:
    """A tiny model of toyworld's glosses in place of the toy checkpoint."""
    make_random_model().save_pretrained(tmp_path / "toy")
    make_processor(glosses=["RAIN", "CAR", "EAT"]).save_pretrained(tmp_path / "toy")
    monkeypatch.setattr(avzoo, "toy_checkpoint", {"slowfast_cslr": str(tmp_path / "toy")}.get)
    return tmp_path / "toy"


def test_the_demo_reads_a_drawn_person_and_writes_subtitles(avzoo_command, sign_checkpoint, tmp_path):
    status, out, _ = avzoo_command("demo", "sign-language-recognition", "-o", tmp_path / "out", "--seed", "3")
    assert status == 0
    assert "signed: " in out
    assert "read: " in out
    assert read_video(tmp_path / "out" / "signing.subtitled.mp4").fps == 25
    assert (tmp_path / "out" / "signing.subtitled.png").is_file()


def test_the_demo_reads_own_videos(avzoo_command, sign_checkpoint, clip, tmp_path):
    assert avzoo_command("demo", "sign-language-recognition", clip, "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "clip.subtitled.mp4").is_file()
