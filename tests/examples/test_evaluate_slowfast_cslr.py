"""Small clips of every layout, by a small network with random weights."""

import json

import pytest
from sign_clips import GLOSSES, SENTENCES, WRITERS, save_sign_model

from avzoo import SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.data.phoenix14 import phoenix14
from avzoo.pipelines.sign_language_recognition.evaluation import evaluate_signs

SCRIPT = "evaluate_slowfast_cslr.py"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_sign_model(tmp_path_factory.mktemp("model"), GLOSSES)


def evaluation(model_folder, dataset, root, *options):
    return ["--model", model_folder, "--dataset", dataset, "--data_dir", root, "--device", "cpu", *options]


def test_the_report_is_that_of_the_protocol(run_main, model_folder, tmp_path):
    root = WRITERS["phoenix14"](tmp_path / "data")
    status, out, err = run_main(SCRIPT, *evaluation(model_folder, "phoenix14", root))
    assert status == 0, err
    model = SlowFastSignForCTC.from_pretrained(model_folder)
    processor = SlowFastSignProcessor.from_pretrained(model_folder)
    report = evaluate_signs(model, processor, phoenix14(root, "test"), clean_up="phoenix")
    assert out.strip() == report.describe()
    assert "2 clips, 4 glosses" in out


@pytest.mark.parametrize("dataset", ["phoenix14t", "csl_daily", "folder"])
def test_each_layout_is_evaluated(dataset, run_main, model_folder, tmp_path):
    root = WRITERS[dataset](tmp_path / "data")
    status, out, err = run_main(SCRIPT, *evaluation(model_folder, dataset, root, "--split", "dev", "--num_beams", 1))
    assert status == 0, err
    assert f"clean_up: {'None' if dataset == 'folder' else 'phoenix'}" in out


def test_hypotheses_are_kept_as_sclite_reads_them(run_main, model_folder, tmp_path):
    root = WRITERS["phoenix14"](tmp_path / "data")
    options = evaluation(model_folder, "phoenix14", root, "--official_padding", "--output_dir", tmp_path / "out")
    status, out, err = run_main(SCRIPT, *options)
    assert status == 0, err
    folder = tmp_path / "out"
    assert (folder / "references.stm").read_text() == "".join(
        f"03March_test-{number} 1 Signer0{number} 0.0 1.79769e+308 {SENTENCES[number]}\n" for number in range(2)
    )
    report = json.loads((folder / "report.json").read_text())
    assert report["options"]["official_padding"] is True
    first = report["clips"][0]["sequence"]["glosses"]
    lines = (folder / "hypotheses.ctm").read_text().splitlines()
    mine = [line.split() for line in lines if line.startswith("03March_test-0 ")]
    assert [words[4] for words in mine] == [gloss["label"] for gloss in first]
    assert (folder / "hypotheses_conv.ctm").is_file()
    assert f"wrote {folder / 'report.json'}" in out


def test_a_model_without_vocabulary_is_refused(run_main, tmp_path):
    model = save_sign_model(tmp_path / "model")
    root = WRITERS["phoenix14"](tmp_path / "data")
    status, _, err = run_main(SCRIPT, *evaluation(model, "phoenix14", root))
    assert status == 1
    assert "has no vocabulary: it would answer numbers" in err


def test_a_split_without_clips_is_refused(run_main, model_folder, tmp_path):
    root = WRITERS["folder"](tmp_path / "data")
    status, _, err = run_main(SCRIPT, *evaluation(model_folder, "folder", root))
    assert status == 1
    assert "`split` 'test': the table has no clip of it" in err


def test_references_that_the_model_cannot_spell_are_counted(run_main, tmp_path):
    model = save_sign_model(tmp_path / "model", ["KLAR", "MORGEN", "REGEN"])
    root = WRITERS["folder"](tmp_path / "data")
    status, _, err = run_main(SCRIPT, *evaluation(model, "folder", root, "--split", "dev"))
    assert status == 0
    assert "2 of the 3 glosses of the references are not in the model's vocabulary, the first is 'NACHT'" in err
