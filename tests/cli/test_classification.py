"""`avzoo run audio-classification`: records on stdout or in a file, reasons on stderr."""

import csv
import json

import numpy as np
import pytest
from refusals import refused

from avzoo.audio import write_wav

SECONDS = 1.25


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "two tones.wav"
    time = np.arange(round(SECONDS * 16000)) / 16000
    write_wav(path, (np.sin(time * 2000) * time / SECONDS).astype(np.float32), 16000)
    return path


@pytest.fixture
def tag(avzoo_command, model_folder, recording):
    return lambda *options: avzoo_command("run", "audio-classification", recording, "--model", model_folder, *options)


def test_run_prints_json_and_nothing_else(tag, model_folder):
    status, out, _ = tag()
    assert status == 0
    answer = json.loads(out)
    header = {key: value for key, value in answer.items() if key != "records"}
    assert header.pop("device")
    assert header == {
        "schema_version": 1,
        "task": "audio-classification",
        "model": str(model_folder),
        "source": "two tones.wav",
        "score": "probability",
        "dtype": "float32",
        "origin": 0.0,
    }
    spans = [(record["start"], record["end"]) for record in answer["records"]]
    assert spans == sorted(spans)
    assert spans[0][0] == 0
    assert spans[-1][1] == SECONDS
    assert len(spans) > 2
    assert all(0 <= record["score"] <= 1 for record in answer["records"])


def test_run_pooled_is_one_span_over_the_whole_recording(tag):
    records = json.loads(tag("--pooled", "--top-k", "2")[1])["records"]
    assert [(record["start"], record["end"]) for record in records] == [(0, SECONDS)] * 2
    assert records[0]["score"] >= records[1]["score"]
    assert len({record["label"] for record in records}) == 2


def test_the_patch_size_reaches_the_model(tag):
    base, small, flat = (
        json.loads(tag("--pooled", *option)[1])["records"][0]["score"]
        for option in ([], ["--patch-size", "8"], ["--patch-size", "4", "8"])
    )
    assert len({base, small, flat}) == 3


@pytest.mark.parametrize("ending", ["json", "csv", "rttm", "srt", "vtt"])
def test_run_writes_the_format_of_the_ending(tag, tmp_path, ending):
    output = tmp_path / f"out.{ending}"
    status, out, err = tag("-o", output)
    assert (status, out) == (0, "")
    assert str(output) in err
    text = output.read_text(encoding="utf-8")
    if ending == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert float(rows[-1]["end"]) == SECONDS
    else:
        assert text.startswith(
            {"json": "{", "rttm": "SPEAKER two_tones 1 0.000", "srt": "1\n", "vtt": "WEBVTT"}[ending]
        )


def test_the_format_can_be_named(tag):
    assert tag("--format", "csv")[1].splitlines()[0] == "start,end,score,label"


def test_bad_requests_to_run_say_why(avzoo_command, tag, model_folder, recording, tmp_path):
    refused(tag("--format", "xml"), "--format must be one of", "'xml'")
    refused(tag("-o", tmp_path / "out.txt"), "--format must be one of", "'txt'")
    refused(tag("-o", tmp_path / "nowhere" / "out.json"), "nowhere")
    refused(tag("-o", tmp_path, "--format", "json"), str(tmp_path))
    refused(tag("--device", "abacus"), "--device abacus cannot be used")
    refused(tag("--batch-size", "0"), "--batch-size must be at least 1, got 0")
    refused(tag("--top-k", "0"), "`top_k` must be at least 1")
    refused(tag("--patch-size", "99"), "`patch_size`", "99")
    refused(tag("--patch-size", "1", "2", "3"), "`patch_size`")
    task = ("run", "audio-classification")
    refused(avzoo_command(*task, tmp_path / "no.wav", "--model", model_folder), "no.wav` does not exist")
    refused(avzoo_command(*task, recording, "--model", tmp_path / "no_model"), "no_model")
    recording.write_bytes(b"not a sound")
    refused(tag(), "no audio or video file")
    recording.write_bytes(b"")
    refused(tag(), "is empty")
