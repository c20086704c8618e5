"""Model cards: the Hub accepts their front matter, and what they tell the reader to run, runs."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from contract.tiny import TINY, tiny_model
from huggingface_hub import ModelCard

import avzoo
from avzoo import model_cards, zoo
from avzoo.audio import write_wav
from avzoo.model_cards import check_tags, load_hub_tags, render_card
from avzoo.toyworld.talkers import Talkers
from avzoo.video import write_video

# What a converter or a training script records; the variant is filled in.
CONVERTED = {"file": "weights.pth", "sha256": "0f" * 32, "avzoo_version": "0.1.0", "processor": {}}
VARIANTS = [(row, variant.name) for row in zoo.ROWS for variant in row.variants]
WEIGHTS = [(row, None) for row in zoo.ROWS] + VARIANTS + [(row, "toy") for row in zoo.METHODS]


def card_for(row, variant, **options):
    return render_card(row.name, source=variant and {**CONVERTED, "method": row.name, "variant": variant}, **options)


@pytest.fixture(params=WEIGHTS, ids=lambda weights: f"{weights[0].name}-{weights[1]}")
def weights(request):
    return request.param


def test_the_front_matter_is_of_the_hubs_lists(weights):
    row, _ = weights
    data = ModelCard(str(card_for(*weights))).data  # parsed anew from the text
    assert data.pipeline_tag in load_hub_tags()["pipeline_tags"]
    assert data.license in load_hub_tags()["licenses"]
    assert data.library_name == "avzoo"
    assert {row.task, f"arxiv:{row.paper}"} <= set(data.tags)


def test_nothing_of_the_template_is_left(weights):
    text = str(card_for(*weights))
    assert not re.search(r"{[{%#]|[}%#]}|None|Undefined|\n\n\n| \n", text.split("```bibtex")[0]), text
    assert text.endswith("```")


def test_what_flexiasts_card_says_to_run_runs_offline(tmp_path, monkeypatch, capsys):
    row = zoo.find_row("flexiast")
    tiny_model(row).save_pretrained(tmp_path / "model")
    extractor = row.load(row.processor_class)(num_mel_bins=TINY[row.model_class].config["num_mel_bins"], max_length=48)
    extractor.save_pretrained(tmp_path / "model")
    write_wav(tmp_path / "recording.wav", np.sin(np.arange(16000) / 7).astype(np.float32), 16000)
    monkeypatch.chdir(tmp_path)
    # The text names sizes of the released networks, which are too large for the tiny one.
    blocks = re.findall(r"```python\n(.*?)```", str(card_for(row, None, model_folder="model")), re.DOTALL)
    assert len(blocks) == 2
    assert len(list(filter(str.strip, blocks[0].splitlines()))) == 3
    namespace = {}
    for block in blocks:
        exec(block.replace("patch_size=32", "patch_size=8").replace("(16, 48)", "(4, 12)"), namespace)
    assert capsys.readouterr().out.count("'score'") >= 3


def test_what_coarse_to_fine_asts_card_says_to_run_runs_offline(tmp_path, monkeypatch, capsys):
    row, config = zoo.find_row("coarse_to_fine_ast"), TINY["CoarseToFineASTForAudioClassification"].config
    tiny_model(row, compression_factor=1).save_pretrained(tmp_path / "model")
    sizes = {"num_mel_bins": config["num_mel_bins"], "max_length": 48, "frame_multiple": 4}
    row.load(row.processor_class)(**sizes).save_pretrained(tmp_path / "model")
    write_wav(tmp_path / "recording.wav", np.sin(np.arange(16000) / 7).astype(np.float32), 16000)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", str(card_for(row, None, model_folder="model")), re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == [3, 15]
    namespace = {"dataset": range(2), "collate": lambda samples: collated(samples, namespace["extractor"])}
    for block in blocks:
        exec(block.replace("batch_size=12", "batch_size=2, cpu=True, progress_bar=False"), namespace)
    assert "'score'" in capsys.readouterr().out
    seen = namespace["trained"].config.compression_factor
    assert seen == 1
    assert avzoo.FlexiASTForAudioClassification.from_pretrained("ast").config.position_grid == (4, 12)


def collated(samples, extractor):
    noise = np.random.default_rng(0).normal(0, 0.1, (len(samples), 8000)).astype(np.float32)
    features = extractor(noise, sampling_rate=16000, return_tensors="pt")
    return {"input_values": features.input_values, "labels": torch.tensor(samples)}


def test_what_mtdvocalists_card_says_to_run_runs_offline(tmp_path, monkeypatch, capsys):
    row, config = zoo.find_row("mtdvocalist"), TINY["MTDVocaLiSTForSequenceClassification"].config
    tiny_model(row).save_pretrained(tmp_path / "model")
    sizes = {"face_size": config["image_size"][1], "num_mel_bins": config["num_mel_bins"]}
    row.load(row.processor_class)(**sizes).save_pretrained(tmp_path / "model")
    talkers = Talkers(1, split="cards", seconds=1.0)
    talkers.write(talkers[0], tmp_path)[0].rename(
        tmp_path / "clip.mp4"
    )  # its faces are drawn, so no detector is fetched
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", str(card_for(row, None, model_folder="model")), re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == [3, 3]
    namespace = {}
    for block in blocks:
        exec(block, namespace)
    printed = capsys.readouterr().out
    assert "'offset_frames'" in printed
    assert "the sound" in printed.splitlines()[-1]


def test_what_voiceldms_card_says_to_run_runs_offline(tmp_path, monkeypatch):
    (tmp_path / "model").symlink_to(avzoo.toy_checkpoint("voiceldm"))
    monkeypatch.chdir(tmp_path)
    card = str(card_for(zoo.find_row("voiceldm"), None, model_folder="model"))
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == [3, 9]
    namespace = {}
    for block in blocks:
        exec(block, namespace)
    assert namespace["audio"].shape == (20000,)
    assert namespace["batch"].shape == (4, 20000)


def test_what_avdiffusss_card_says_to_run_runs_offline(tmp_path, monkeypatch):
    (tmp_path / "model").symlink_to(avzoo.toy_checkpoint("avdiffuss"))
    for name, situation in (("interview", "mixture"), ("face", "single")):
        talkers = Talkers(1, split="cards", seconds=1.0, situation=situation, identities=[0, 4])
        talkers.write(talkers[0], tmp_path)[0].rename(tmp_path / f"{name}.mp4")
    write_wav(tmp_path / "mixture.wav", np.sin(np.arange(16000) / 7).astype(np.float32), 16000)
    monkeypatch.chdir(tmp_path)
    card = str(card_for(zoo.find_row("avdiffuss"), None, model_folder="model"))
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == [3, 2]
    namespace = {}
    for block in blocks:
        exec(block, namespace)
    assert namespace["voice"].shape == (8000,)
    assert [len(voice.track) for voice in namespace["voices"]] == [25, 25]


def test_what_talknces_card_says_to_run_runs_offline(tmp_path, monkeypatch, capsys):
    row, config = zoo.find_row("talknce"), TINY["LoCoNetForActiveSpeakerDetection"].config
    tiny_model(row).save_pretrained(tmp_path / "model")
    sizes = {"num_bins": config["num_mel_bins"]} | {name: config[name] for name in ("frame_size", "num_speakers")}
    row.load(row.processor_class)(**sizes).save_pretrained(tmp_path / "model")
    talkers = Talkers(1, split="cards", seconds=1.0, situation="mixture")
    talkers.write(talkers[0], tmp_path)[0].rename(tmp_path / "meeting.mp4")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", str(card_for(row, None, model_folder="model")), re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == [3, 5]
    namespace = {}
    for block in blocks:
        exec(block, namespace)
    printed = capsys.readouterr().out
    assert printed.count("'track_id'") == 2
    assert "tensor(" in printed.splitlines()[-1]


def test_what_s3fds_card_says_to_run_runs_offline(tmp_path, monkeypatch, capsys):
    row = zoo.find_row("s3fd")
    tiny_model(row).save_pretrained(tmp_path / "model")
    noise = np.random.default_rng(0).integers(0, 256, (12, 120, 160, 3), dtype=np.uint8)
    write_video(tmp_path / "clip.mp4", noise, 25)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", str(card_for(row, None, model_folder="model")), re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == [3, 5]
    namespace = {}
    for block in blocks:
        exec(block, namespace)
    assert "'num_frames': 12" in capsys.readouterr().out


@pytest.mark.parametrize(("row", "variant"), VARIANTS, ids=lambda value: getattr(value, "name", value))
def test_converted_weights_name_their_file_and_licence(row, variant):
    card = card_for(row, variant)
    assert "`weights.pth`" in card.text
    assert "0f" * 32 in card.text
    assert f"| licence of the weights | {card.data.license}" in card.text
    released = row.find_variant(variant)
    assert card.data.license == (row.licenses["weights"].identifier if released.checkpoint else "unknown")
    assert card.data.datasets == ([released.training_data] if released.checkpoint else None)


@pytest.mark.parametrize("row", zoo.METHODS, ids=lambda row: row.name)
def test_toy_weights_are_called_synthetic_in_the_first_paragraph(row):
    source = {"variant": "toy", "command": "python train.py --seed 1", "results": {"accuracy at patch 16": 0.5}}
    card = render_card(row.name, source=source)
    assert card.text.split("\n\n")[1].lower().startswith("**trained on synthetic data**")
    assert card.data.datasets is None
    assert card.data.license == "apache-2.0"
    assert "python train.py --seed 1" in card.text
    assert "| accuracy at patch 16 | 0.5 |" in card.text


def test_limits_come_before_numbers(weights):
    text = str(card_for(*weights))
    assert -1 < text.index("## Limits") < text.index("## Numbers")


def test_flexiasts_numbers_come_with_their_source():
    text = card_for(zoo.find_row("flexiast"), None).text
    assert "from the authors' repository result file" in " ".join(text.split())
    assert "| 16 | 513 | 48.4 | .5353 | .5069 |" in text
    assert ".5353" not in card_for(zoo.find_row("flexiast"), "toy").text  # those are not the toy's


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipeline_tag": "audio-tagging"}, r"flexiast: `pipeline_tag` 'audio-tagging' is not one the Hub lists"),
        (
            {"licenses": {"weights": zoo.License("bsd")}},
            r"flexiast: licence 'bsd' of its weights is not one",
        ),
    ],
)
def test_a_tag_the_hub_does_not_list_is_refused(change, message, monkeypatch):
    wrong = dataclasses.replace(zoo.find_row("flexiast"), **change)
    with pytest.raises(ValueError, match=message):
        check_tags(wrong)
    monkeypatch.setattr(model_cards.zoo, "ROWS", (wrong,))
    with pytest.raises(ValueError, match=message):
        render_card("flexiast")


def test_a_card_of_no_method_is_refused():
    with pytest.raises(ValueError, match=r"no method is called 'flexist'; there are: flexiast"):
        render_card("flexist")


def test_the_lists_say_when_they_were_written_down():
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", load_hub_tags()["as_of"])
