"""The protocol on small clips, by a small network with random weights."""

import json

import numpy as np
import pytest
import torch
from sign_clips import GLOSSES, save_sign_model, write_own_clips

from avzoo import SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.data.own_signs import read_sign_table
from avzoo.metrics.sign_glosses import word_error_rate
from avzoo.pipelines.sign_language_recognition.evaluation import (
    compute_logits,
    evaluate_signs,
    recognize_signs,
    score_answers,
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return read_sign_table(write_own_clips(tmp_path_factory.mktemp("clips")) / "glosses.csv")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A network that tells clips apart, and its processor."""
    folder = save_sign_model(tmp_path_factory.mktemp("model"), GLOSSES)
    model = SlowFastSignForCTC.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("expansion.norm.weight", "gate")):  # 0 in a new network
                weight.fill_(1.0)
        model.classifier.weight.normal_(generator=generator)
    return model, SlowFastSignProcessor.from_pretrained(folder)


def words(answers, head="sequence"):
    return {name: [gloss["label"] for gloss in glosses] for name, glosses in answers[head].items()}


def test_rates_are_those_of_the_metric(parts, rows):
    report = evaluate_signs(*parts, rows)
    references = {row["id"]: row["glosses"] for row in rows}
    for head in ("sequence", "conv"):
        assert report.rates[head].value == word_error_rate(references, words(report.answers, head)).value
        unit_costs = word_error_rate(references, words(report.answers, head), costs=(1, 1, 1))
        assert report.unit_cost_percent[head] == unit_costs.value


def test_each_clip_gets_what_the_model_gives_it_alone(parts, rows):
    model, processor = parts
    row = rows[0]
    with torch.no_grad():
        output = model(**processor(row["path"]))
    best = processor.decode(output.logits[0])[0]
    answers = recognize_signs(model, processor, rows)
    assert words(answers)[row["id"]] == [processor.name_gloss(number) for number in best.ids]


def test_the_size_of_a_batch_changes_no_answer(parts, rows):
    one, three = (recognize_signs(*parts, rows, batch_size=size, num_beams=2) for size in (1, 3))
    assert words(one) == words(three)
    assert words(one, "conv") == words(three, "conv")


def make_clips(processor, *counts):
    generator = np.random.default_rng(0)
    size = processor.crop_size
    return [generator.integers(0, 256, (count, size, size, 3), np.uint8) for count in counts]


@torch.no_grad()
def test_official_padding_changes_the_shorter_clip_of_a_batch(parts, rows):
    model, processor = parts
    short, long = make_clips(processor, 14, 33)
    alone = compute_logits(model, processor, [short])[0][1]
    together = compute_logits(model, processor, [short, long])[0][1]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    model.config.isolate_clips = False
    try:
        official = compute_logits(model, processor, [short, long])[0][1]
    finally:
        model.config.isolate_clips = True
    assert (official - alone).abs().max() > 1e-3


def test_official_padding_is_of_two_clips_and_undone_afterwards(parts, rows):
    model, processor = parts
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, _, inputs: seen.append((len(inputs["pixel_values"]), module.config.isolate_clips)),
        with_kwargs=True,
    )
    report = evaluate_signs(model, processor, rows, official_padding=True)
    hook.remove()
    assert seen == [(2, False)] * 3
    assert report.options["official_padding"] is True
    assert model.config.isolate_clips is True
    with pytest.raises(ValueError, match="`batch_size` must be 2 with `official_padding`, got 3"):
        evaluate_signs(model, processor, rows, official_padding=True, batch_size=3)


@torch.no_grad()
def test_a_long_clip_goes_through_the_network_in_parts(parts):
    model, processor = parts
    clips = make_clips(processor, 200, 20)
    whole = compute_logits(model, processor, clips)
    seen = []
    hook = model.slowfast.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    cut = compute_logits(model, processor, clips, max_frames=120)
    hook.remove()
    assert len(seen) > 2
    assert max(seen) <= 120
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


def test_glosses_have_times_within_their_clip(parts, rows):
    model, processor = parts
    answers = recognize_signs(model, processor, rows[:1])
    glosses = answers["sequence"][rows[0]["id"]]
    assert glosses
    assert all(0 <= gloss["start"] < gloss["end"] <= 14 / 25 and 0 <= gloss["score"] <= 1 for gloss in glosses)


def test_a_report_is_kept_whole(parts, rows, tmp_path):
    report = evaluate_signs(*parts, rows, num_beams=1)
    names = [path.name for path in report.save(tmp_path / "report")]
    assert names == ["report.json", "references.stm", "hypotheses.ctm", "hypotheses_conv.ctm"]
    saved = json.loads((tmp_path / "report" / "report.json").read_text())
    assert saved["rates"]["sequence"]["wer"] == report.rates["sequence"].value
    assert [clip["id"] for clip in saved["clips"]] == [row["id"] for row in rows]
    assert sum(clip["conv"]["errors"] for clip in saved["clips"]) == report.rates["conv"].totals["errors"]


def make_answer(*labels):
    return [{"label": label, "start": 0.0, "end": 0.1, "score": 1.0} for label in labels]


def test_answers_are_cleaned_on_request():
    rows = [{"id": "a", "glosses": ["REGEN"], "signer": "x", "text": "REGEN"}]
    answers = {head: {"a": make_answer("loc-REGEN")} for head in ("sequence", "conv")}
    assert score_answers(rows, answers).rates["sequence"].value == 100
    assert score_answers(rows, answers, "phoenix").rates["sequence"].value == 0


def test_unit_costs_are_counted_beside_those_of_the_protocol():
    row = {"id": "a", "glosses": ["SCHNEE", "SONNE", "SCHNEE", "WIND", "WOLKE", "REGEN"], "signer": "x", "text": ""}
    answer = {"a": make_answer("SCHNEE", "WOLKE", "REGEN", "SONNE", "REGEN", "SCHNEE")}
    report = score_answers([row], {"sequence": answer, "conv": answer})
    assert report.rates["sequence"].totals["errors"] == 6
    assert report.unit_cost_percent["sequence"] == pytest.approx(100 * 5 / 6)


def test_a_report_is_a_table():
    rows = [{"id": "a", "glosses": ["REGEN", "NORD"], "signer": "x", "text": "REGEN NORD"}]
    answers = {"sequence": {"a": make_answer("REGEN")}, "conv": {"a": make_answer("REGEN", "NORD", "WIND")}}
    lines = score_answers(rows, answers, options={"num_beams": 10}).describe().splitlines()
    assert lines[0] == "1 clips, 2 glosses"
    assert lines[1] == "num_beams: 10"
    assert lines[3].split() == ["sequence", "50.00", "0", "1", "0", "50.00"]
    assert lines[4].split() == ["conv", "50.00", "0", "0", "1", "50.00"]


def test_no_rows_and_ids_that_come_twice_are_refused(parts, rows):
    with pytest.raises(ValueError, match="`rows` is empty; there is nothing to evaluate"):
        evaluate_signs(*parts, [])
    with pytest.raises(ValueError, match="`rows` hold 'clip0' twice; ids tell clips apart"):
        evaluate_signs(*parts, [rows[0], rows[0]])


@pytest.mark.parametrize("was_training", [True, False])
def test_a_model_in_training_goes_on_with_it(parts, rows, was_training):
    model, processor = parts
    try:
        recognize_signs(model.train(was_training), processor, rows[:1], num_beams=1)
        assert model.training is was_training
    finally:
        model.eval()
