"""The training of a vocoder: on recordings, on spectrograms of LTBS, resumed, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SpeechT5HifiGan

from avzoo import (
    LTBSConfig,
    LTBSForLipToSpeech,
    LTBSProcessor,
    SpeakerEncoderConfig,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
)
from avzoo.audio import MelSettings, write_wav
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.layers.vocoding import load_vocoder, make_hifigan_config
from avzoo.models.ltbs.target_files import save_clip
from avzoo.training.reports import read_metrics

SCRIPT = "train_hifigan.py"
PROCESSOR = {"crop_size": 32, "mouth_size": 36, "num_mel_bins": 12, "num_units": 5, "energy_mean": 1.0}
MEL = LTBSProcessor(**PROCESSOR).mel_settings
SMALL = ["--segment_frames", 10, "--discriminator_divisor", 64, "--batch_size", 2, "--val_share", 0.25]
SMALL += ["--evaluate_every_steps", "none"]


def make_sweep(seconds: float, lowest: float = 200.0) -> np.ndarray:
    time = np.arange(round(seconds * 16000)) / 16000
    return (0.5 * np.sin(2 * np.pi * (lowest * time + 400 * time**2))).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Four sweeps of 0.64 s, in two folders."""
    root = tmp_path_factory.mktemp("recordings")
    for index, name in enumerate(("anna/0", "anna/1", "ben/0", "ben/1")):
        (root / name).parent.mkdir(exist_ok=True)
        write_wav(root / f"{name}.wav", make_sweep(0.64, 200 + 50 * index), 16000)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Folder of a vocoder with few channels and random weights."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    config = make_hifigan_config(MEL, "v2")
    config.upsample_initial_channel, config.initializer_range = 16, 0.1
    SpeechT5HifiGan(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Path:
    """Targets of the recordings: 16 frames each."""
    folder, entries = tmp_path_factory.mktemp("targets"), []
    LTBSProcessor(**PROCESSOR).save_pretrained(folder)
    for index, name in enumerate(("anna/0", "anna/1", "ben/0", "ben/1")):
        draw = torch.Generator().manual_seed(index)
        mouths = torch.randint(256, (16, 36, 36), generator=draw, dtype=torch.uint8)
        measured = {"mel": torch.randn(64, 12, generator=draw), "pitch": torch.full((16,), 100.0)}
        measured["energy"] = torch.randn(16, generator=draw)
        (folder / name).parent.mkdir(exist_ok=True)
        save_clip(folder / f"{name}-0.safetensors", mouths, measured, torch.randint(5, (16,), generator=draw))
        entry = {"id": name, "speaker": name.split("/")[0], "audio": f"{name}.wav", "is_video": False}
        entries.append(entry | {"file": f"{name}-0.safetensors", "start_frame": 0, "frames": 16})
    (folder / "targets.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="module")
def ltbs(tmp_path_factory) -> Path:
    """Folder of a small LTBS with a flow that counts as trained."""
    folder = tmp_path_factory.mktemp("ltbs")
    torch.manual_seed(0)
    sizes = {"trunk_channels": [4, 4, 6, 8], "encoder_layers": 1, "decoder_layers": 1, "hidden_size": 8}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 12, "conv_kernel_size": 3, "unit_layers": 1}
    sizes |= {"prosody_layers": 1, "predictor_hidden": 6, "variance_embed_dim": 4, "speaker_embed_dim": 4}
    sizes |= {"postnet_hidden": 6, "postnet_steps": 2, "postnet_layers": 2}
    model = LTBSForLipToSpeech(LTBSConfig(**sizes, num_mel_bins=12, num_units=5, num_speakers=2))
    for step in model.postnet.steps:
        step.norm.is_initialized.fill_(True)
    model.save_pretrained(folder)
    LTBSProcessor(**PROCESSOR).save_pretrained(folder)
    (folder / "speakers.json").write_text('["anna", "ben"]')
    return folder


def options(recordings: Path, output: Path, *further: object) -> list[object]:
    return ["--data_dir", recordings, "--output_dir", output, *SMALL, *further]


def refuse(run_main, *given: object) -> str:
    """The line in which the script refuses its options."""
    status, _, stderr = run_main(SCRIPT, *given)
    assert status == 1, stderr
    return stderr.splitlines()[-1].removeprefix(f"{SCRIPT}: ")


def test_a_few_steps_bring_a_sweep_nearer(recordings, start, run_main, caplog, tmp_path):
    given = ["--model", start, "--max_steps", 16, "--learning_rate", 0.003, "--evaluate_every_steps", 1]
    status, _, stderr = run_main(SCRIPT, *options(recordings, tmp_path, *given))
    assert status == 0, stderr
    assert f"`model` ({start}) has no discriminators beside it" in caplog.text
    distances = [row["mel L1"] for row in read_metrics(tmp_path) if row["split"] == "evaluation"]
    assert distances[-1] < 0.7 * distances[0]
    trained = load_vocoder(tmp_path, MEL)
    assert not any("parametrizations" in name for name in trained.state_dict())
    assert (tmp_path / "discriminators" / "model.safetensors").is_file()


def test_a_new_vocoder_is_for_the_spectrograms_of_ltbs(recordings, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *options(recordings, tmp_path, "--size", "v2", "--max_steps", 1))
    assert status == 0, stderr
    vocoder = load_vocoder(tmp_path, MelSettings())
    assert (vocoder.config.upsample_initial_channel, vocoder.config.upsample_rates) == (128, [5, 4, 4, 2])


def test_one_of_a_processor_is_for_its_spectrograms(recordings, ltbs, run_main, tmp_path):
    given = ["--size", "v2", "--processor", ltbs, "--max_steps", 1]
    status, _, stderr = run_main(SCRIPT, *options(recordings, tmp_path, *given))
    assert status == 0, stderr
    assert load_vocoder(tmp_path, MEL).config.model_in_dim == 12


def test_it_goes_on_with_the_discriminators_it_has_left(recordings, start, run_main, caplog, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_main(SCRIPT, *options(recordings, first, "--model", start, "--max_steps", 2))[0] == 0
    caplog.clear()
    given = ["--model", first, "--max_steps", 1, "--learning_rate", 0, "--weight_decay", 0]
    assert run_main(SCRIPT, *options(recordings, second, *given))[0] == 0
    assert "no discriminators" not in caplog.text
    before, after = (load_file(folder / "discriminators" / "model.safetensors") for folder in (first, second))
    learned = [name for name in before if not name.endswith(("._u", "._v"))]  # of spectral norms, which iterate
    assert all(torch.equal(before[name], after[name]) for name in learned)
    vocoders = [load_vocoder(folder)(torch.ones(1, 9, 12)) for folder in (first, second)]
    torch.testing.assert_close(*vocoders, rtol=0, atol=1e-6)


def test_it_is_tuned_on_what_ltbs_makes_of_true_units(recordings, targets, ltbs, start, run_main, tmp_path):
    mels = tmp_path / "mels"
    made = ["--model", start, "--ltbs", ltbs, "--targets", targets, "--mels", mels, "--max_steps", 2]
    status, _, stderr = run_main(SCRIPT, *options(recordings, tmp_path / "out", *made))
    assert status == 0, stderr
    model, processor = LTBSForLipToSpeech.from_pretrained(ltbs).eval(), LTBSProcessor.from_pretrained(ltbs)
    stored = load_file(targets / "ben" / "0-0.safetensors")  # the third clip
    pixels = torch.from_numpy(processor.cut_middle(stored["mouths"].numpy()))[None]
    told = {"units": stored["units"][None].long(), "energy": stored["energy"][None] - 1, "pitch": torch.zeros(1, 16)}
    noise = torch.randn(1, 64, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        acoustic = model.ltbs(pixels, speaker_ids=torch.tensor([1]), **told, return_dict=True)
        expected = model.refine(acoustic, noise, 0.667)[0]
    torch.testing.assert_close(load_file(mels / "ben" / "0-0.safetensors")["mel"], expected, rtol=0, atol=1e-5)
    # Made once, and of this network alone.
    written = (mels / "anna" / "0-0.safetensors").stat().st_mtime_ns
    assert run_main(SCRIPT, *options(recordings, tmp_path / "again", *made))[0] == 0
    assert (mels / "anna" / "0-0.safetensors").stat().st_mtime_ns == written
    line = refuse(run_main, *options(recordings, tmp_path / "other", *made, "--noise_scale", 0.5))
    assert line.startswith(f"`mels` ({mels}) holds spectrograms of {{'ltbs': '{ltbs}', 'noise_scale': 0.667}}, not of ")


def test_a_network_that_is_given_voices_gets_them(recordings, targets, ltbs, start, run_main, caplog, tmp_path):
    encoder = {"hidden_size": 8, "aggregation_size": 12, "squeeze_size": 4, "attention_size": 4, "embedding_size": 6}
    torch.manual_seed(0)
    config = LTBSConfig.from_pretrained(ltbs, speaker_conditioning="embedding", speaker_encoder_dim=6)
    LTBSForLipToSpeech(config).save_pretrained(tmp_path / "ltbs")
    made = ["--model", start, "--ltbs", tmp_path / "ltbs", "--targets", targets, "--mels", tmp_path / "mels"]
    line = refuse(run_main, *options(recordings, tmp_path / "out", *made, "--max_steps", 1))
    assert line.startswith(f"`speaker_encoder` is needed: `ltbs` ({tmp_path / 'ltbs'}) is given embeddings")
    inside = tmp_path / "ltbs" / "speaker_encoder"
    SpeakerEncoderForXVector(SpeakerEncoderConfig(num_mel_bins=16, **encoder)).save_pretrained(inside)
    SpeakerFeatureExtractor().save_pretrained(inside)
    status, _, stderr = run_main(SCRIPT, *options(recordings, tmp_path / "out", *made, "--max_steps", 1))
    assert status == 0, stderr
    assert "has a flow that was never trained; its coarse spectrograms are taken" in caplog.text
    assert load_file(tmp_path / "mels" / "ben" / "1-0.safetensors")["mel"].shape == (64, 12)


def test_spectrograms_are_found_by_the_names_of_recordings(recordings, start, run_main, tmp_path):
    mels = tmp_path / "mels"
    for path in sorted(recordings.rglob("*.wav"))[:-1]:
        target = mels / path.relative_to(recordings).with_suffix(".safetensors")
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file({"mel": torch.zeros(64, 12)}, target)
    given = options(recordings, tmp_path / "out", "--model", start, "--mels", mels, "--max_steps", 1)
    line = refuse(run_main, *given)
    assert line.startswith("1 of the 4 recordings have no spectrogram, the first that is missing is ")
    assert "ben/1.safetensors; " in line
    save_file({"mel": torch.zeros(64, 12)}, mels / "ben" / "1.safetensors")
    status, _, stderr = run_main(SCRIPT, *given)
    assert status == 0, stderr


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(recordings, start, check_resumed_run):
    given = options(recordings, Path("overridden"), "--model", start, "--max_steps", 5, "--evaluate_every_steps", 1)
    folder = check_resumed_run(SCRIPT, *given)
    assert len([row for row in read_metrics(folder) if row["split"] == "evaluation"]) == 5


@pytest.mark.slow
def test_two_processes_train(recordings, start, run_script, tmp_path):
    run_script(
        SCRIPT, *options(recordings, tmp_path, "--model", start, "--batch_size", 1), "--num_epochs", 1, ranks="forked"
    )
    load_vocoder(tmp_path, MEL)


def test_a_folder_without_recordings_is_refused(start, run_main, tmp_path):
    line = refuse(run_main, *options(tmp_path, tmp_path / "out", "--model", start))
    assert line.startswith(f"`data_dir` ({tmp_path}) holds no recording; known are .wav")


def test_a_vocoder_that_cannot_be_trained_is_refused(recordings, run_main, tmp_path):
    GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(MEL)).save_pretrained(tmp_path / "start")
    line = refuse(run_main, *options(recordings, tmp_path / "out", "--model", tmp_path / "start"))
    assert line == f"`model` ({tmp_path / 'start'}) is a GriffinLimVocoder, which can't be trained."


def test_a_vocoder_of_other_spectrograms_than_the_targets_is_refused(recordings, targets, run_main, tmp_path):
    torch.manual_seed(0)
    config = make_hifigan_config(MelSettings(num_mel_bins=12, high_frequency=7000.0), "v2")
    SpeechT5HifiGan(config).save_pretrained(tmp_path / "start")
    given = options(recordings, tmp_path / "out", "--model", tmp_path / "start", "--targets", targets)
    assert "(high_frequency: 7000.0, 7500.0; the vocoder's first)" in refuse(run_main, *given)


def test_options_that_contradict_each_other_are_refused(recordings, run_main, tmp_path):
    for given, message in (
        (["--ltbs", "x"], "--ltbs needs --targets, of which it makes spectrograms, and --mels"),
        (["--model", "x", "--size", "v2"], "--size is of a new vocoder; --model has its own"),
        (["--targets", "x", "--processor", "y"], "--processor: the targets have one"),
    ):
        status, _, stderr = run_main(SCRIPT, *options(recordings, tmp_path, *given))
        assert (status, message in stderr) == (2, True), stderr


def test_an_empty_recording_is_named(recordings, start, run_main, caplog, tmp_path):
    root = tmp_path / "recordings"
    root.mkdir()
    for index in range(3):
        write_wav(root / f"{index}.wav", make_sweep(0.3), 16000)
    (root / "empty.wav").touch()
    given = ["--model", start, "--max_steps", 1, "--batch_size", 1]
    assert "1 of the 4 files are empty" in refuse(run_main, *options(root, tmp_path / "out", *given))
    assert run_main(SCRIPT, *options(root, tmp_path / "out", *given, "--skip_damaged"))[0] == 0
    assert "1 of the 4 recordings can't be read and left out" in caplog.text
