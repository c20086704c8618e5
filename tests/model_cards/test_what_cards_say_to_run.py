"""What model cards tell the reader to run, runs offline: with a tiny network, or the toy checkpoint in two steps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.tiny import TINY, tiny_model
from PIL import Image
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

import avzoo
from avzoo import zoo
from avzoo.audio import MelSettings, write_wav
from avzoo.model_cards import render_card
from avzoo.toyworld.talkers import Talkers
from avzoo.video import probe_video, write_video

# The processor of ACL-SSL has one kind of spectrogram.
HEARS_128_BANDS = {**TINY["ACLForSoundLocalization"].config["audio_config"], "num_mel_bins": 128, "patch_size": 16}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save_tiny_model(name: str, processor: dict | None = None, **overrides) -> None:
    """The tiny network under "model", with its processor where there is one."""
    row = zoo.find_row(name)
    tiny_model(row, **overrides).save_pretrained("model")
    if processor is not None:
        row.load(row.processor_class)(**processor).save_pretrained("model")


def link_toy_checkpoint(name: str) -> None:
    """The toy checkpoint under "model", its presets with two steps."""
    folder = Path("model")
    folder.mkdir()
    for entry in Path(avzoo.toy_checkpoint(name)).iterdir():
        (folder / entry.name).symlink_to(entry)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    for preset in index["presets"].values():
        preset["num_inference_steps"] = 2
    (folder / "model_index.json").unlink()
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def write_talkers(file: str, **settings) -> None:
    """A second of talking faces, which are drawn, so no detector is fetched."""
    talkers = Talkers(1, split="cards", seconds=1.0, **settings)
    talkers.write(talkers[0], Path.cwd())[0].rename(file)


def write_tone(file: str) -> None:
    write_wav(file, np.sin(np.arange(16000) / 7).astype(np.float32), 16000)


def run_card(
    name: str, num_lines: list[int], namespace: dict | None = None, *, source: dict | None = None, **replacements: str
) -> dict:
    """Run the blocks of a card, which have so many lines, and return the names they define.

    Args:
        namespace: names that the card expects.
        source: of the weights, see [`render_card`].
        replacements: {text of the card: what is run instead}.
    """
    blocks = re.findall(r"```python\n(.*?)```", str(render_card(name, source=source, model_folder="model")), re.DOTALL)
    assert [len(list(filter(str.strip, block.splitlines()))) for block in blocks] == num_lines
    namespace = {} if namespace is None else namespace
    for block in blocks:
        for text, replacement in replacements.items():
            block = block.replace(text, replacement)
        exec(block, namespace)
    return namespace


def test_flexiasts_card_runs(capsys):
    save_tiny_model(
        "flexiast", {"num_mel_bins": TINY["FlexiASTForAudioClassification"].config["num_mel_bins"], "max_length": 48}
    )
    write_tone("recording.wav")
    # The text names sizes of the released networks, which are too large for the tiny one.
    run_card("flexiast", [3, 3], **{"patch_size=32": "patch_size=8", "(16, 48)": "(4, 12)"})
    assert capsys.readouterr().out.count("'score'") >= 3


def test_coarse_to_fine_asts_card_runs(capsys):
    num_mel_bins = TINY["CoarseToFineASTForAudioClassification"].config["num_mel_bins"]
    processor = {"num_mel_bins": num_mel_bins, "max_length": 48, "frame_multiple": 4}
    save_tiny_model("coarse_to_fine_ast", processor, compression_factor=1)
    write_tone("recording.wav")

    def collate(samples):
        noise = np.random.default_rng(0).normal(0, 0.1, (len(samples), 8000)).astype(np.float32)
        features = namespace["extractor"](noise, sampling_rate=16000, return_tensors="pt")
        return {"input_values": features.input_values, "labels": torch.tensor(samples)}

    namespace = {"dataset": range(2), "collate": collate}
    smaller = {"batch_size=12": "batch_size=2, cpu=True, progress_bar=False"}
    run_card("coarse_to_fine_ast", [3, 15], namespace, **smaller)
    assert "'score'" in capsys.readouterr().out
    assert namespace["trained"].config.compression_factor == 1
    assert avzoo.FlexiASTForAudioClassification.from_pretrained("ast").config.position_grid == (4, 12)


def test_mtdvocalists_card_runs(capsys):
    config = TINY["MTDVocaLiSTForSequenceClassification"].config
    processor = {"face_size": config["image_size"][1], "num_mel_bins": config["num_mel_bins"]}
    save_tiny_model("mtdvocalist", processor)
    write_talkers("clip.mp4")
    run_card("mtdvocalist", [3, 3])
    printed = capsys.readouterr().out
    assert "'offset_frames'" in printed
    assert "the sound" in printed.splitlines()[-1]


def test_voiceldms_card_runs():
    link_toy_checkpoint("voiceldm")
    namespace = run_card("voiceldm", [3, 9])
    assert namespace["audio"].shape == (20000,)
    assert namespace["batch"].shape == (4, 20000)


def test_avdiffusss_card_runs():
    link_toy_checkpoint("avdiffuss")
    write_talkers("interview.mp4", situation="mixture", identities=[0, 4])
    write_talkers("face.mp4", situation="single", identities=[0, 4])
    write_tone("mixture.wav")
    namespace = run_card("avdiffuss", [3, 2])
    assert namespace["voice"].shape == (8000,)
    assert [len(voice.track) for voice in namespace["voices"]] == [25, 25]


def test_talknces_card_runs(capsys):
    config = TINY["LoCoNetForActiveSpeakerDetection"].config
    save_tiny_model(
        "talknce",
        {
            "num_bins": config["num_mel_bins"],
            "frame_size": config["frame_size"],
            "num_speakers": config["num_speakers"],
        },
    )
    write_talkers("meeting.mp4", situation="mixture")
    run_card("talknce", [3, 5])
    printed = capsys.readouterr().out
    assert printed.count("'track_id'") == 2
    assert "tensor(" in printed.splitlines()[-1]


def test_slowfast_cslrs_card_runs(capsys):
    glosses = [f"GLOSS{number}" for number in range(TINY["SlowFastSignForCTC"].config["vocab_size"] - 1)]
    save_tiny_model("slowfast_cslr", {"glosses": glosses, "resize_size": 40, "crop_size": 32})
    write_talkers("weather.mp4")
    run_card("slowfast_cslr", [3, 5])
    printed = capsys.readouterr().out
    assert "'glosses': [" in printed
    assert "torch.Size([1, 40, 192])" in printed


def test_session_embeddings_card_runs(capsys):
    save_tiny_model("session_embedding", {})
    tiny_model(zoo.find_row("session_embedding")).encoder.save_pretrained("encoder")
    write_tone("enrolment.wav")
    write_tone("test.wav")
    ids = {"speaker_ids": torch.zeros(4, dtype=torch.long), "session_ids": torch.tensor([0, 0, 1, 1])}
    drawn = torch.randn(4, 8000, generator=torch.Generator().manual_seed(0)) / 10
    namespace = run_card("session_embedding", [3, 6], {"waveforms": drawn, **ids})
    assert "'speaker_similarity': " in capsys.readouterr().out
    trained = {name for name, weight in namespace["model"].named_parameters() if weight.grad is not None}
    assert {name.partition(".")[0] for name in trained} == {"session_head"}


def test_beatss_card_runs(capsys):
    save_tiny_model("beats", {"num_mel_bins": TINY["BEATsForAudioClassification"].config["num_mel_bins"]})
    for file in ("recording.wav", "other.wav"):
        write_tone(file)
    assert run_card("beats", [3, 6])["tokens"].shape == (2, 96, 12)  # 98 frames: 24 times 4 patches
    assert capsys.readouterr().out.count("'score'") == 3


def test_ssl_alignments_card_runs(capsys):
    save_tiny_model("ssl_alignment", {"image_size": 64})
    draws = np.random.default_rng(0)
    for file in ("street.jpg", "yard.jpg"):
        Image.fromarray(draws.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file)
    for file in ("siren.wav", "dog.wav", "rain.wav"):
        write_tone(file)
    namespace = run_card("ssl_alignment", [5, 9])
    assert "(90, 120)" in capsys.readouterr().out
    assert namespace["answer"]["mask"].shape == (90, 120)
    assert namespace["maps"].shape == (2, 3, 4, 4)
    assert namespace["similarities"].shape == (2, 3)


def test_acl_ssls_card_runs(capsys):
    save_tiny_model("acl_ssl", {"image_size": 32}, audio_config=HEARS_128_BANDS)
    draws = np.random.default_rng(0)
    for file in ("street.jpg", "yard.jpg"):
        Image.fromarray(draws.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file)
    for file in ("siren.wav", "dog.wav", "rain.wav"):
        write_tone(file)
    whole = avzoo.ACLForSoundLocalization.from_pretrained("model")
    whole.audio_encoder.save_pretrained("beats")
    whole.grounder.save_pretrained("grounder")
    namespace = run_card("acl_ssl", [5, 10, 2], **{"CIDAS/clipseg-rd64-refined": "../grounder"})
    assert "(90, 120)" in capsys.readouterr().out
    assert namespace["answer"]["mask"].shape == (90, 120)
    assert namespace["maps"].shape == (2, 3, 32, 32)
    assert namespace["confidences"].shape == (2, 3)
    assert namespace["vectors"].shape == (3, 10)
    trained = avzoo.ACLForSoundLocalization.from_pretrained("trained")
    assert torch.equal(trained.audio_encoder.layers[0].fc1.weight, whole.audio_encoder.layers[0].fc1.weight)


def test_s3fds_card_runs(capsys):
    save_tiny_model("s3fd")
    noise = np.random.default_rng(0).integers(0, 256, (12, 120, 160, 3), dtype=np.uint8)
    write_video("clip.mp4", noise, 25)
    run_card("s3fd", [3, 5])
    assert "'num_frames': 12" in capsys.readouterr().out


def test_ltbss_card_runs(capsys):
    Path("model").symlink_to(avzoo.toy_checkpoint("ltbs"))  # it takes recordings of voices
    write_talkers("silent.mp4")
    write_tone("voice.wav")
    namespace = run_card("ltbs", [4, 5])
    assert "(16000,)" in capsys.readouterr().out
    assert probe_video("spoken.mp4").sampling_rate == 16000
    assert namespace["higher"].shape == (16000,)


@pytest.mark.parametrize(
    ("source", "speakers"),
    [
        ({"variant": "reimplementation"}, "table"),
        ({"variant": "trained", "speakers": "table"}, "table"),
        ({"variant": "trained", "speakers": "none"}, "none"),
    ],
    ids=["converted", "trained, table", "trained, none"],
)
def test_the_card_of_an_ltbs_gives_it_speakers_of_its_kind(source, speakers):
    config = TINY["LTBSForLipToSpeech"].config
    sizes = {name: config[name] for name in ("num_mel_bins", "num_units")}
    save_tiny_model("ltbs", {"crop_size": 32, "mouth_size": 36, **sizes}, speaker_conditioning=speakers)
    write_talkers("silent.mp4")
    assert run_card("ltbs", [4, 5], source=source)["higher"].shape == (16000,)


def test_hifigans_card_runs(capsys):
    config = SpeechT5HifiGanConfig(
        upsample_initial_channel=16,
        upsample_rates=[5, 4, 4, 2],
        upsample_kernel_sizes=[11, 8, 8, 4],
        normalize_before=False,
        mel_settings=MelSettings().to_dict(),
    )
    SpeechT5HifiGan(config).save_pretrained("model")
    write_tone("voice.wav")
    namespace = run_card("hifigan", [10, 1])
    assert "'hop_size': 160" in capsys.readouterr().out
    assert namespace["again"].shape == (1, len(namespace["samples"]) // 160 * 160)


def test_every_card_is_run_here():
    assert {f"test_{row.name}s_card_runs" for row in zoo.ROWS} <= globals().keys()
