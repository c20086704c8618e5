"""The training of LTBS: its stages on small targets, resumed, on two processes, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForAudioXVector

from avzoo import (
    LTBSConfig,
    LTBSForLipToSpeech,
    LTBSProcessor,
    SpeakerEncoderConfig,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
)
from avzoo.audio import read_audio, write_wav
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.ltbs.target_files import save_clip
from avzoo.training.reports import read_metrics

SCRIPT = "train_ltbs.py"
PROCESSOR = {"crop_size": 32, "mouth_size": 36, "num_mel_bins": 8, "num_units": 5, "energy_mean": 1.0}
NETWORK = {
    "trunk_channels": [4, 4, 6, 8],
    "encoder_layers": 1,
    "decoder_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "conv_kernel_size": 3,
    "unit_layers": 1,
    "prosody_layers": 1,
    "predictor_hidden": 6,
    "variance_embed_dim": 4,
    "speaker_embed_dim": 4,
    "postnet_hidden": 6,
    "postnet_steps": 2,
    "postnet_layers": 2,
    "postnet_dropout": 0.0,
}
SPEAKERS = {"anna": 4, "ben": 4}  # clips


def write_targets(folder: Path, speakers: dict[str, int] = SPEAKERS) -> Path:
    """Targets of drawn clips of 6 to 9 frames, as the extraction leaves them."""
    processor, entries = LTBSProcessor(**PROCESSOR), []
    processor.save_pretrained(folder)
    for speaker, count in speakers.items():
        for number in range(count):
            name = f"{speaker}/{number}-0.safetensors"
            (folder / speaker).mkdir(exist_ok=True)
            frames = 6 + number % 4
            save_clip(folder / name, *draw_clip(frames, seed=1000 * len(entries)))
            entry = {"id": f"{speaker}/{number}", "speaker": speaker, "audio": f"{speaker}/{number}.wav"}
            entries.append(entry | {"file": name, "start_frame": 0, "frames": frames})
    (folder / "targets.json").write_text(json.dumps(entries))
    return folder


def draw_clip(frames: int, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """Mouths, what is measured, and units."""
    draw = torch.Generator().manual_seed(seed)
    mouths = torch.randint(256, (frames, 36, 36), generator=draw, dtype=torch.uint8)
    pitch = 100 + 50 * torch.rand(frames, generator=draw)
    measured = {"mel": torch.randn(4 * frames, 8, generator=draw) - 5, "pitch": pitch}
    measured["energy"] = torch.randn(frames, generator=draw)
    return mouths, measured, torch.randint(5, (frames,), generator=draw)


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Path:
    return write_targets(tmp_path_factory.mktemp("targets"))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.json"
    path.write_text(json.dumps(NETWORK))
    return path


@pytest.fixture(scope="module")
def acoustic(tmp_path_factory) -> Path:
    """Folder of a network with a table of both speakers, whose flow is new."""
    folder = tmp_path_factory.mktemp("acoustic")
    torch.manual_seed(0)
    sizes = {"num_mel_bins": 8, "num_units": 5, "num_speakers": 2}
    LTBSForLipToSpeech(LTBSConfig(**NETWORK, **sizes)).save_pretrained(folder)
    LTBSProcessor(**PROCESSOR).save_pretrained(folder)
    (folder / "speakers.json").write_text('["anna", "ben"]')
    return folder


def options(targets: Path, output: Path, *further: object, stage: str = "acoustic") -> list[object]:
    places = ["--stage", stage, "--targets", targets, "--output_dir", output, "--val_share", 0.25]
    return [*places, "--batch_size", 3, "--num_epochs", 1, *further]


def refuse(run_main, *given: object) -> str:
    """The line in which the script refuses its options."""
    status, _, stderr = run_main(SCRIPT, *given)
    assert status == 1, stderr
    return stderr.splitlines()[-1].removeprefix(f"{SCRIPT}: ")


def list_changes(before: Path, after: Path) -> set[str]:
    """Which parts of a network have other weights."""
    first, second = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}


def test_the_acoustic_stage_trains_a_new_network_with_a_table_of_the_speakers(targets, config, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path / "out", "--config", config))
    assert status == 0, stderr
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert (model.config.num_speakers, model.config.num_units, model.config.num_mel_bins) == (2, 5, 8)
    assert json.loads((tmp_path / "out" / "speakers.json").read_text()) == ["anna", "ben"]
    assert LTBSProcessor.from_pretrained(tmp_path / "out").energy_mean == 1.0
    row = read_metrics(tmp_path / "out")[-1]
    assert row["mel L1"] > 0
    assert "NLL" not in row  # of a flow that is not trained yet


def test_the_postnet_stage_trains_the_flow_alone(targets, acoustic, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path, "--model", acoustic, stage="postnet"))
    assert status == 0, stderr
    assert list_changes(acoustic, tmp_path) == {"postnet"}
    model = AutoModel.from_pretrained(tmp_path)
    assert all(step.norm.is_initialized for step in model.postnet.steps)
    assert {"NLL", "refined mel L1"} <= read_metrics(tmp_path)[-1].keys()


def test_the_joint_stage_trains_all(targets, acoustic, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path, "--model", acoustic, stage="joint"))
    assert status == 0, stderr
    assert list_changes(acoustic, tmp_path) == {"ltbs", "postnet"}
    assert {"mel", "units", "pitch", "energy", "postnet", "loss"} <= read_metrics(tmp_path)[-2].keys()


def test_a_flow_that_has_been_trained_keeps_its_norms(targets, acoustic, run_main, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    assert run_main(SCRIPT, *options(targets, first, "--model", acoustic, stage="postnet"))[0] == 0
    given = options(targets, again, "--model", first, "--learning_rate", 0, stage="postnet")
    assert run_main(SCRIPT, *given)[0] == 0
    assert list_changes(first, again) == set()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["acoustic", "postnet", "joint"])
def test_a_killed_run_resumes_to_the_same_files(stage, targets, acoustic, check_resumed_run):
    given = options(targets, Path("overridden"), "--model", acoustic, "--num_epochs", 3, stage=stage)
    folder = check_resumed_run(SCRIPT, *given)  # of two steps an epoch
    assert [row["step"] for row in read_metrics(folder) if row["split"] == "evaluation"] == [2, 4, 6]


@pytest.mark.slow
def test_two_processes_train_the_flow_as_one_does(targets, acoustic, run_script, tmp_path):
    """Clips of one length and no dropout: the gradient is that of one process, if the first norms are."""
    shared = options(targets, Path("overridden"), "--model", acoustic, "--no-augment", stage="postnet")
    shared += ["--max_frames", 6, "--val_share", 0.01, "--drop_last", "--learning_rate", 0.01, "--warmup_steps", 0]
    run_script(SCRIPT, *shared, "--batch_size", 2, "--output_dir", tmp_path / "two", ranks="forked")
    run_script(SCRIPT, *shared, "--batch_size", 4, "--output_dir", tmp_path / "one")
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert list_changes(acoustic, tmp_path / "two") == {"postnet"}
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["acoustic", "joint"])
def test_two_processes_train(stage, targets, acoustic, run_script, tmp_path):
    run_script(SCRIPT, *options(targets, tmp_path, "--model", acoustic, stage=stage), ranks="forked")
    assert "ltbs" in list_changes(acoustic, tmp_path)


def test_the_flow_is_computed_in_float32_under_mixed_precision(targets, acoustic, run_main, monkeypatch, tmp_path):
    from avzoo.models.ltbs.flow_post_net import WaveNet

    types, forward = set(), WaveNet.forward

    def note(self, hidden_states, mask, condition):
        result = forward(self, hidden_states, mask, condition)
        types.update((hidden_states.dtype, condition.dtype, result.dtype))
        return result

    monkeypatch.setattr(WaveNet, "forward", note)
    given = ["--model", acoustic, "--mixed_precision", "bf16"]
    for stage in ("postnet", "joint"):
        status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path / stage, *given, stage=stage))
        assert status == 0, stderr
    assert types == {torch.float32}


def test_predictions_are_used_from_the_stated_share_of_the_steps_on(targets, acoustic, run_main, monkeypatch, tmp_path):
    from avzoo.models.ltbs.training_ltbs import AcousticTraining

    given, forward = [], AcousticTraining.forward

    def note(self, batch, num_given=None):
        given.append((len(batch["mel_labels"]), num_given))
        return forward(self, batch, num_given)

    monkeypatch.setattr(AcousticTraining, "forward", note)
    scheduled = ["--model", acoustic, "--num_epochs", 3, "--batch_size", 2, "--predictions_from", 0.5]
    assert run_main(SCRIPT, *options(targets, tmp_path, *scheduled))[0] == 0
    assert given == [(2, 2)] * 5 + [(2, 1)] * 4


def test_the_validation_numbers_are_means_over_all_frames(targets, acoustic, run_main, tmp_path):
    """Recomputed clip by clip, without padding; a clip of the run is padded to the longest of its batch."""
    output = tmp_path / "out"
    given = options(targets, output, "--model", acoustic, "--val_share", 0.5, stage="postnet")
    assert run_main(SCRIPT, *given)[0] == 0
    row = read_metrics(output)[-1]
    model, processor = AutoModel.from_pretrained(output), LTBSProcessor.from_pretrained(output)
    from avzoo.models.ltbs.training_clips import hold_out, read_target_list

    _, held_out = hold_out(read_target_list(targets), 0.5)
    sums, counts = np.zeros(4), np.zeros(2)
    for place, clip in enumerate(held_out):
        stored = load_file(clip["path"])
        pixels = torch.from_numpy(processor.cut_middle(stored["mouths"].numpy()))[None]
        speaker = torch.tensor([["anna", "ben"].index(clip["speaker"])])
        with torch.no_grad():
            acoustic_output = model.ltbs(pixels, speaker_ids=speaker, return_dict=True)
            noise = torch.randn(stored["mel"].shape, generator=torch.Generator().manual_seed(place))
            refined = model.refine(acoustic_output, noise[None], 0.667)[0]
            mask, condition = model.describe_frames(acoustic_output)
            latent, stretch = model.postnet(stored["mel"].T[None], mask, condition)
            distance = (latent - acoustic_output.mel_coarse.mT).square().sum() / 2
        values = stored["mel"].numel()
        nats = float(distance - stretch.sum()) + values * np.log(2 * np.pi) / 2
        coarse = acoustic_output.mel_coarse[0]
        sums += [float((mel - stored["mel"]).abs().sum()) for mel in (coarse, refined)] + [
            nats,
            float((acoustic_output.unit_logits[0].argmax(-1) == stored["units"]).sum()),
        ]
        counts += [values, len(stored["units"])]
    expected = [*sums[:3] / counts[0], sums[3] / counts[1]]
    reported = [row[name] for name in ("mel L1", "refined mel L1", "NLL", "unit accuracy")]
    assert reported == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------------------------------------------------------------------ speakers


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "aggregation_size": 12, "squeeze_size": 4, "attention_size": 4, "embedding_size": 6}
    SpeakerEncoderForXVector(SpeakerEncoderConfig(num_mel_bins=16, **sizes)).save_pretrained(folder)
    SpeakerFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """The recordings of the targets: noise, and one of them silent."""
    root = tmp_path_factory.mktemp("recordings")
    generator = np.random.default_rng(0)
    for speaker, count in SPEAKERS.items():
        (root / speaker).mkdir()
        for number in range(count):
            level = 0.0 if (speaker, number) == ("ben", 3) else 0.1
            write_wav(
                root / speaker / f"{number}.wav", generator.normal(0, 0.1, 9600).astype(np.float32) * level, 16000
            )
    return root


def test_voices_are_embedded_and_their_encoder_is_saved(
    targets, config, encoder, recordings, run_main, caplog, tmp_path
):
    voices = ["--config", config, "--speaker_encoder", encoder, "--data_dir", recordings]
    status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path / "out", *voices))
    assert status == 0, stderr
    assert "1 of the 8 recordings have no voice, the first: " in caplog.text
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert (model.config.speaker_conditioning, model.config.speaker_encoder_dim) == ("embedding", 6)
    assert 0 < float(model.ltbs.mean_speaker.norm()) <= 1
    saved, start = (
        AutoModelForAudioXVector.from_pretrained(place) for place in (tmp_path / "out" / "speaker_encoder", encoder)
    )
    assert all(torch.equal(saved.state_dict()[name], value) for name, value in start.state_dict().items())
    # The next stage takes the encoder from the model's folder.
    postnet = ["--model", tmp_path / "out", "--data_dir", recordings]
    status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path / "next", *postnet, stage="postnet"))
    assert status == 0, stderr
    assert (tmp_path / "next" / "speaker_encoder" / "model.safetensors").is_file()


def test_an_encoder_of_another_width_is_refused(targets, config, encoder, recordings, run_main, tmp_path):
    torch.manual_seed(0)
    sizes = {"num_mel_bins": 8, "num_units": 5, "speaker_conditioning": "embedding", "speaker_encoder_dim": 7}
    LTBSForLipToSpeech(LTBSConfig(**NETWORK, **sizes)).save_pretrained(tmp_path / "start")
    LTBSProcessor(**PROCESSOR).save_pretrained(tmp_path / "start")
    given = ["--model", tmp_path / "start", "--data_dir", recordings]
    line = refuse(run_main, *options(targets, tmp_path / "out", *given, "--speaker_encoder", encoder))
    assert line == f"`speaker_encoder` ({encoder}) gives embeddings of 6 numbers, the network takes 7."
    line = refuse(run_main, *options(targets, tmp_path / "out", *given))
    assert line.startswith(f"`speaker_encoder` is needed: `model` ({tmp_path / 'start'}) is given embeddings of 7 ")


def test_recordings_that_are_not_there_are_counted(targets, config, encoder, run_main, tmp_path):
    voices = ["--config", config, "--speaker_encoder", encoder, "--data_dir", tmp_path]
    line = refuse(run_main, *options(targets, tmp_path / "out", *voices))
    assert line.startswith(f"8 of the 8 recordings to embed are missing, the first is {tmp_path}/anna/0.wav; ")
    line = refuse(run_main, *options(targets, tmp_path / "out", *voices[:-2]))
    assert line.startswith("`data_dir` is needed with a speaker encoder")


def test_speakers_that_the_table_does_not_know_are_named(acoustic, run_main, tmp_path):
    other = write_targets(tmp_path / "targets", {"anna": 3, "carl": 2})
    line = refuse(run_main, *options(other, tmp_path / "out", "--model", acoustic))
    assert line.startswith("1 speakers of the clips are none that the network has learned, such as carl; it knows anna")


def test_a_speaker_held_out_of_a_new_table_is_named(targets, config, run_main, tmp_path):
    line = refuse(run_main, *options(targets, tmp_path / "out", "--config", config, "--val_speakers", "ben"))
    assert line.startswith("1 speakers of the clips are none that the network has learned, such as ben; ")
    line = refuse(run_main, *options(targets, tmp_path / "out", "--config", config, "--val_speakers", "carl"))
    assert line == "`val_speakers` carl have no clip; there are anna, ben."


def test_a_table_without_names_needs_them(targets, acoustic, run_main, tmp_path):
    folder = Path(shutil.copytree(acoustic, tmp_path / "start"))
    (folder / "speakers.json").unlink()
    line = refuse(run_main, *options(targets, tmp_path / "out", "--model", folder))
    assert line.startswith(f"`model` ({folder}) has a table of 2 speakers and no speakers.json that names them; ")
    names = tmp_path / "names.json"
    names.write_text('["ben"]')
    line = refuse(run_main, *options(targets, tmp_path / "out", "--model", folder, "--speakers_file", names))
    assert line == f"`{names}` must be a list of 2 different names, got ['ben']."
    names.write_text('["ben", "anna"]')
    given = ["--model", folder, "--speakers_file", names]
    assert run_main(SCRIPT, *options(targets, tmp_path / "out", *given))[0] == 0
    assert json.loads((tmp_path / "out" / "speakers.json").read_text()) == ["ben", "anna"]


# ------------------------------------------------------------------------------------------------------------ bad data


@pytest.fixture
def spoiled(targets, tmp_path) -> Path:
    """A copy of the targets to spoil."""
    return Path(shutil.copytree(targets, tmp_path / "spoiled"))


def change(path: Path, **values: torch.Tensor) -> None:
    save_file(load_file(path) | values, path)


def test_missing_targets_are_counted(spoiled, acoustic, run_main, tmp_path):
    (spoiled / "anna" / "1-0.safetensors").unlink()
    line = refuse(run_main, *options(spoiled, tmp_path / "out", "--model", acoustic))
    first = spoiled / "anna" / "1-0.safetensors"
    list_path = spoiled / "targets.json"
    assert line == (f"1 of the 8 clips named by {list_path} are missing, the first is {first}; extract them again.")
    list_path.unlink()
    line = refuse(run_main, *options(spoiled, tmp_path / "out", "--model", acoustic))
    assert line == f"`{spoiled}` holds no targets.json; examples/extract_ltbs_targets.py writes it."


def test_targets_without_units_are_counted(spoiled, acoustic, run_main, tmp_path):
    path = spoiled / "ben" / "0-0.safetensors"
    tensors = load_file(path)
    del tensors["units"]
    save_file(tensors, path)
    line = refuse(run_main, *options(spoiled, tmp_path / "out", "--model", acoustic))
    assert line.startswith(f"1 of the 8 clips of {spoiled} have no units of speech, the first is {path}; ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[{", "JSONDecodeError: "),
        ('[{"id": "a"}]', "KeyError: 'speaker'"),
        ('[{"id": "a", "speaker": "b", "file": "../x", "frames": 3}]', "ValueError: '../x' leads out of the folder"),
        ('[{"id": "a", "speaker": "b", "file": "x", "frames": 0}]', "ValueError: `frames` must be "),
    ],
)
def test_a_list_that_is_none_is_refused(content, reason, spoiled, acoustic, run_main, tmp_path):
    (spoiled / "targets.json").write_text(content)
    line = refuse(run_main, *options(spoiled, tmp_path / "out", "--model", acoustic))
    assert line.startswith(f"`{spoiled / 'targets.json'}` is no list of clips ({reason}")


def test_a_network_of_another_width_is_refused(targets, run_main, tmp_path):
    torch.manual_seed(0)
    sizes = {"num_mel_bins": 12, "num_units": 5, "num_speakers": 2}
    LTBSForLipToSpeech(LTBSConfig(**NETWORK, **sizes)).save_pretrained(tmp_path / "start")
    LTBSProcessor(**PROCESSOR | {"num_mel_bins": 12}).save_pretrained(tmp_path / "start")
    line = refuse(run_main, *options(targets, tmp_path / "out", "--model", tmp_path / "start"))
    assert line.startswith("processor and network do not belong together (num_mel_bins: 8, 12; ")


def test_targets_of_other_settings_than_the_network_are_refused(targets, acoustic, run_main, tmp_path):
    folder = Path(shutil.copytree(acoustic, tmp_path / "start"))
    LTBSProcessor(**PROCESSOR | {"energy_mean": 2.0}).save_pretrained(folder)
    line = refuse(run_main, *options(targets, tmp_path / "out", "--model", folder))
    assert line.startswith(f"`{folder}` and `{targets}` have different processors: `energy_mean` is 2.0 and 1.0. ")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mel": torch.full((24, 8), torch.nan)}, "its `mel` has values that are NaN or infinite"),
        ({"pitch": torch.full((6,), torch.nan)}, "its `pitch` has values that are NaN or infinite"),
        ({"mel": torch.zeros(24, 9)}, "its `mel` is (24, 9), 6 frames have (24, 8); "),
        ({"units": torch.full((6,), 5, dtype=torch.int32)}, "must be from 0 to 4"),
        ({"units": torch.zeros(5, dtype=torch.int32)}, "5 units for 6 frames"),
    ],
)
def test_a_clip_that_cannot_be_trained_on_is_named(changed, message, spoiled, acoustic, run_main, tmp_path):
    for path in (spoiled / "anna" / "0-0.safetensors", spoiled / "ben" / "0-0.safetensors"):  # one trains at least
        change(path, **changed)
    line = refuse(run_main, *options(spoiled, tmp_path / "out", "--model", acoustic))
    assert message in line
    assert f"{spoiled}" in line


def test_clips_without_voiced_frames_are_trained_on(spoiled, acoustic, run_main, tmp_path):
    for path in spoiled.rglob("*.safetensors"):
        tensors = load_file(path)
        save_file(tensors | {"pitch": torch.zeros_like(tensors["pitch"])}, path)
    status, _, stderr = run_main(SCRIPT, *options(spoiled, tmp_path / "out", "--model", acoustic))
    assert status == 0, stderr
    assert np.isfinite(read_metrics(tmp_path / "out")[-1]["pitch L1"])


def test_a_changed_option_is_refused_when_a_run_resumes(targets, acoustic, run_main, tmp_path):
    given = options(targets, tmp_path, "--model", acoustic, "--num_epochs", 2, "--checkpoint_every_steps", 2)
    assert run_main(SCRIPT, *given)[0] == 0
    line = refuse(run_main, *given, "--predicted_share", 0.25)
    assert line.startswith("`predicted_share`: checkpoint-000004 was written with 0.5, this run has 0.25; ")


def test_the_toy_is_what_the_option_runs(run_main, monkeypatch, tmp_path):
    from toy import ltbs

    seen = []
    monkeypatch.setattr(ltbs, "show_claim", lambda options: seen.append((options.toy_seeds, options.output_dir)))
    status, _, stderr = run_main(SCRIPT, "--toy", "--toy_seeds", 3, "--output_dir", tmp_path)
    assert status == 0, stderr
    assert seen == [([3], str(tmp_path))]


def test_what_is_missing_is_told(targets, run_main, tmp_path):
    for given, message in (
        ([], "--targets must be given, or --toy"),
        (["--targets", targets, "--stage", "postnet"], "--stage postnet needs --model"),
        (["--targets", targets, "--speakers", "embedding"], "--speaker_encoder and --speakers embedding belong"),
        (["--targets", targets, "--model", "x", "--speakers", "none"], "are for a new network; --model has its own"),
    ):
        status, _, stderr = run_main(SCRIPT, *given, "--output_dir", tmp_path)
        assert (status, message in stderr) == (2, True), stderr


def test_a_misspelt_field_of_a_config_is_refused(targets, run_main, tmp_path):
    (tmp_path / "config.json").write_text('{"hiden_size": 8}')
    line = refuse(run_main, *options(targets, tmp_path / "out", "--config", tmp_path / "config.json"))
    assert line == f"`config` ({tmp_path / 'config.json'}): LTBSConfig has no field 'hiden_size'."


# ------------------------------------------------------------------------------------------------------- what is heard


def test_the_sound_of_some_clips_is_left(targets, acoustic, run_main, tmp_path):
    mel = LTBSProcessor(**PROCESSOR).mel_settings
    GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(mel)).save_pretrained(tmp_path / "vocoder")
    heard = ["--model", acoustic, "--vocoder", tmp_path / "vocoder", "--num_samples", 1]
    status, _, stderr = run_main(SCRIPT, *options(targets, tmp_path / "out", *heard, stage="postnet"))
    assert status == 0, stderr
    files = sorted(path.name for path in (tmp_path / "out" / "samples").iterdir())
    assert [name.rsplit("-", 1)[1] for name in files] == ["made.wav", "true.wav"]
    samples = [read_audio(tmp_path / "out" / "samples" / name, 16000)[0] for name in files]
    assert len(samples[0]) == len(samples[1]) >= 6 * 640


def test_a_vocoder_of_another_rate_is_refused(targets, acoustic, run_main, tmp_path):
    mel = LTBSProcessor(**PROCESSOR, high_frequency=7000.0).mel_settings
    GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(mel)).save_pretrained(tmp_path / "vocoder")
    given = ["--model", acoustic, "--vocoder", tmp_path / "vocoder"]
    line = refuse(run_main, *options(targets, tmp_path / "out", *given))
    assert "was trained on other spectrograms than the model makes (high_frequency: 7000.0, 7500.0; " in line
