"""The extraction of LTBS's targets: mouths and targets of each clip, resumed, one set of settings in a folder."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel

from avzoo.models.ltbs import LTBSProcessor
from avzoo.models.ltbs.speech_units import align_units, find_units, load_centres, save_centres
from avzoo.models.ltbs.target_files import load_clip
from avzoo.toyworld.talkers import Talkers
from avzoo.video import VideoReader, write_video

SCRIPT = "extract_ltbs_targets.py"


@pytest.fixture(scope="module")
def speakers(tmp_path_factory) -> Path:
    """Two drawn people who talk, a second each."""
    root = tmp_path_factory.mktemp("speakers")
    talkers = Talkers(2, split="targets", seconds=1.0)
    for index, name in enumerate(("anna", "ben")):
        (root / name).mkdir()
        talkers.write(talkers[index], root)[0].rename(root / name / "clip.mp4")
    return root


@pytest.fixture(scope="module")
def hubert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hubert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    HubertModel(HubertConfig(do_stable_layer_norm=True, feat_extract_norm="layer", **sizes)).save_pretrained(folder)
    return folder


def extraction(speakers: Path, output: Path, *further: object) -> list[object]:
    return ["--dataset", "folder", "--data_dir", speakers, "--output_dir", output, *further]


@pytest.fixture
def extracted(speakers, hubert, run_main, tmp_path) -> Path:
    output = tmp_path / "train"
    units = ["--hubert", hubert, "--layer", 2, "--centres", output.parent / "centres.safetensors", "--num_units", 8]
    status, stdout, stderr = run_main(SCRIPT, *extraction(speakers, output, *units))
    assert status == 0, stderr
    assert "targets.json: 2 clips, 0.0 minutes" in stdout
    return output


def read_list(folder: Path) -> list[dict]:
    return json.loads((folder / "targets.json").read_text())


def test_clips_are_those_of_the_processor(extracted, speakers):
    processor = LTBSProcessor.from_pretrained(extracted)
    for entry in read_list(extracted):
        clip = load_clip(extracted / entry["file"], processor)
        frames = entry["frames"]
        assert (clip["mouths"].shape, clip["mouths"].dtype) == ((frames, 96, 96), torch.uint8)
        video = speakers / f"{entry['id']}.mp4"
        sound = VideoReader(video).soundtrack(16000)[0]
        expected = processor.prepare_targets(processor.prepare_sound(sound, num_frames=frames), frames)
        for name, value in expected.items():
            torch.testing.assert_close(clip[name], value)


def test_units_are_the_nearest_centres_that_k_means_found(extracted, speakers, hubert):
    processor = LTBSProcessor.from_pretrained(extracted)
    centres = load_centres(extracted.parent / "centres.safetensors")
    assert (centres.shape, processor.num_units) == ((8, 16), 8)
    model = HubertModel.from_pretrained(hubert).eval()
    entry = read_list(extracted)[0]
    sound = VideoReader(speakers / f"{entry['id']}.mp4").soundtrack(16000)[0][: entry["frames"] * 640]
    normalized = torch.nn.functional.layer_norm(torch.from_numpy(sound), sound.shape)
    with torch.no_grad():
        features = model(normalized[None], output_hidden_states=True).hidden_states[2][0]
    units = align_units(find_units(features, centres), entry["frames"])
    assert torch.equal(load_clip(extracted / entry["file"], processor)["unit_labels"], units)
    assert len(units.unique()) > 1


def test_energy_is_normalised_over_the_set(extracted):
    processor = LTBSProcessor.from_pretrained(extracted)
    energy = torch.cat(
        [load_clip(extracted / entry["file"], processor)["energy_labels"] for entry in read_list(extracted)]
    )
    assert (float(energy.mean()), float(energy.std(correction=0))) == pytest.approx((0, 1), abs=1e-4)


def test_a_run_goes_on_where_it_stopped(speakers, run_main, tmp_path):
    output = tmp_path / "targets"
    assert run_main(SCRIPT, *extraction(speakers, output))[0] == 0
    first, second = (output / entry["file"] for entry in read_list(output))
    kept, written = first.stat().st_mtime_ns, second.read_bytes()
    (output / "ben" / "clip.json").unlink()  # as if it had been killed before
    second.unlink()
    (output / "targets.json").unlink()
    assert run_main(SCRIPT, *extraction(speakers, output))[0] == 0
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == written
    assert len(read_list(output)) == 2


def test_other_settings_need_another_folder(extracted, speakers, run_main):
    status, _, stderr = run_main(SCRIPT, *extraction(speakers, extracted, "--mel_type", "centered"))
    assert status != 0
    assert "was written with `num_units` 8, this run has 200" in stderr or "`mel_type` 'hifigan'" in stderr


def test_another_set_takes_the_energy_of_the_training_set(extracted, speakers, run_main, tmp_path):
    output = tmp_path / "test"
    status, _, stderr = run_main(SCRIPT, *extraction(speakers, output, "--processor", extracted))
    assert status == 0, stderr
    same = [LTBSProcessor.from_pretrained(folder) for folder in (extracted, output)]
    assert (same[0].energy_mean, same[0].energy_std) == (same[1].energy_mean, same[1].energy_std)


def test_long_clips_are_cut(speakers, run_main, tmp_path):
    output = tmp_path / "targets"
    assert run_main(SCRIPT, *extraction(speakers, output, "--max_seconds", 0.6))[0] == 0
    entries = [entry for entry in read_list(output) if entry["id"] == "anna/clip"]
    assert len(entries) == 2
    assert [entry["frames"] for entry in entries] in ([13, 12], [12, 12], [12, 11])
    assert {entry["speaker"] for entry in entries} == {"anna"}


def test_ready_mouths_are_taken_as_they_are(speakers, run_main, tmp_path):
    shades = {"anna": 40, "ben": 200}
    for name, shade in shades.items():
        (tmp_path / "mouths" / name).mkdir(parents=True)
        write_video(tmp_path / "mouths" / name / "clip.mp4", np.full((20, 96, 96, 3), shade, np.uint8), 25)
    given = extraction(speakers, tmp_path / "targets", "--mouths", tmp_path / "mouths", "--max_seconds", 0.5)
    status, _, stderr = run_main(SCRIPT, *given)
    assert status == 0, stderr
    processor, entries = LTBSProcessor.from_pretrained(tmp_path / "targets"), read_list(tmp_path / "targets")
    assert [(entry["id"], entry["start_frame"], entry["frames"]) for entry in entries] == [
        (f"{name}/clip", start, 10) for name in shades for start in (0, 10)
    ]
    for entry in entries:
        clip = load_clip(tmp_path / "targets" / entry["file"], processor)
        assert float(clip["mouths"].float().mean()) == pytest.approx(shades[entry["speaker"]], abs=3)
        sound = VideoReader(speakers / f"{entry['id']}.mp4").soundtrack(16000)[0]
        part = processor.prepare_sound(sound, start_frame=entry["start_frame"], num_frames=10)
        torch.testing.assert_close(clip["mel_labels"], processor.prepare_targets(part, 10)["mel_labels"])
    (tmp_path / "mouths" / "ben" / "clip.mp4").unlink()
    (tmp_path / "targets" / "ben" / "clip.json").unlink()
    status, _, stderr = run_main(SCRIPT, *given)
    assert status != 0
    assert "mouths/ben/clip.mp4" in stderr


def test_clips_of_a_table_keep_their_split_and_name_their_recording(speakers, run_main, tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text("path,speaker,split\nben/clip.mp4,b,val\nanna/clip.mp4,a,train\n")
    given = ["--dataset", "csv", "--data_dir", speakers, "--list", table, "--output_dir", tmp_path / "targets"]
    status, _, stderr = run_main(SCRIPT, *given)
    assert status == 0, stderr
    kept = [[entry[name] for name in ("speaker", "split", "audio")] for entry in read_list(tmp_path / "targets")]
    assert kept == [["b", "validation", "ben/clip.mp4"], ["a", "train", "anna/clip.mp4"]]
    assert all(entry["is_video"] and entry["start_frame"] >= 0 for entry in read_list(tmp_path / "targets"))
    status, _, stderr = run_main(SCRIPT, *given[:4], *given[6:])
    assert status != 0
    assert "--dataset csv needs --list, such as clips.csv" in stderr


def test_clips_without_a_face_are_counted_and_damaged_ones_refused(speakers, run_main, tmp_path):
    root, output = tmp_path / "speakers", tmp_path / "targets"
    (root / "carl").mkdir(parents=True)
    (root / "anna").mkdir()
    (root / "anna" / "clip.mp4").write_bytes((speakers / "anna" / "clip.mp4").read_bytes())
    noise = np.random.default_rng(0).integers(0, 60, (25, 64, 64, 3), dtype=np.uint8)
    write_video(root / "carl" / "nobody.mp4", noise, 25, audio=np.zeros(16000, np.float32), sampling_rate=16000)
    drawn = ["--detector", "drawn"]
    status, stdout, stderr = run_main(SCRIPT, *extraction(root, output, *drawn))
    assert status == 0, stderr
    assert "1 clips" in stdout
    assert "1 of 2 are left out, the first is carl/nobody: no face" in stderr
    (root / "carl" / "broken.mp4").write_bytes(b"no video")
    status, _, stderr = run_main(SCRIPT, *extraction(root, output, *drawn))
    assert status != 0
    assert "carl/broken" in stderr
    status, _, stderr = run_main(SCRIPT, *extraction(root, output, *drawn, "--skip_damaged"))
    assert status == 0
    assert "2 of 3 are left out" in stderr


def test_a_file_that_is_no_clip_is_refused(extracted, tmp_path):
    processor = LTBSProcessor.from_pretrained(extracted)
    with pytest.raises(ValueError, match=r"lacks energy, mel, mouths, pitch; it is no clip of LTBS"):
        load_clip(extracted.parent / "centres.safetensors", processor)
    entry = read_list(extracted)[0]
    with pytest.raises(ValueError, match="it was written with other settings"):
        load_clip(extracted / entry["file"], LTBSProcessor(num_mel_bins=40))
    with pytest.raises(ValueError, match=r"units of .* must be from 0 to 1"):
        load_clip(extracted / entry["file"], LTBSProcessor(num_units=2))


def test_a_hubert_without_its_weights_is_refused(speakers, hubert, run_main, tmp_path):
    model = HubertModel.from_pretrained(hubert)
    weights = {name: value for name, value in model.state_dict().items() if "layers.1.attention" not in name}
    model.save_pretrained(tmp_path / "half", state_dict=weights)
    options = ["--hubert", tmp_path / "half", "--layer", 2, "--centres", tmp_path / "centres.safetensors"]
    status, _, stderr = run_main(SCRIPT, *extraction(speakers, tmp_path / "targets", *options))
    assert status != 0
    assert "lacks 8 weights, the first is encoder.layers.1.attention" in stderr


def test_centres_of_another_network_are_refused(extracted, speakers, hubert, run_main, tmp_path):
    save_centres(tmp_path / "other.safetensors", torch.randn(8, 12))
    options = ["--hubert", hubert, "--layer", 2, "--centres", tmp_path / "other.safetensors"]
    status, _, stderr = run_main(SCRIPT, *extraction(speakers, tmp_path / "targets", *options))
    assert status != 0
    assert "have 12 numbers each" in stderr
    save_centres(tmp_path / "fewer.safetensors", torch.randn(5, 16))
    options[-1] = tmp_path / "fewer.safetensors"
    output = extraction(speakers, tmp_path / "targets", "--processor", extracted, *options)
    status, _, stderr = run_main(SCRIPT, *output)
    assert status != 0
    assert "are 5, the processor has 8 units" in stderr


def test_centres_are_found_without_the_clips_that_are_damaged(speakers, hubert, run_main, tmp_path):
    root = tmp_path / "speakers"
    shutil.copytree(speakers, root)
    write_video(root / "ben" / "mute.mp4", np.zeros((25, 64, 64, 3), np.uint8), 25)
    units = ["--hubert", hubert, "--layer", 2, "--centres", tmp_path / "centres.safetensors", "--num_units", 8]
    given = extraction(root, tmp_path / "targets", *units, "--detector", "drawn")
    status, _, stderr = run_main(SCRIPT, *given)
    assert status != 0
    assert "ben/mute` (mute.mp4) has no audio stream" in stderr
    status, _, stderr = run_main(SCRIPT, *given, "--skip_damaged")
    assert status == 0, stderr
    assert len(read_list(tmp_path / "targets")) == 2


def test_a_full_disk_is_no_damaged_clip(speakers, run_main, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("avzoo.models.ltbs.target_files.save_file", fail)
    output = tmp_path / "targets"
    status, _, stderr = run_main(SCRIPT, *extraction(speakers, output, "--cropped", "--skip_damaged"))
    assert status != 0
    assert "No space left on device" in stderr
    assert not (output / "anna" / "clip.json").exists()


def test_a_clip_that_is_called_as_a_file_of_the_folder_is_refused(speakers, run_main, tmp_path):
    shutil.copy(speakers / "anna" / "clip.mp4", tmp_path / "settings.mp4")
    (tmp_path / "clips.csv").write_text("path,speaker\nsettings.mp4,anna\n")
    given = ["--dataset", "csv", "--data_dir", tmp_path, "--list", tmp_path / "clips.csv"]
    status, _, stderr = run_main(SCRIPT, *given, "--output_dir", tmp_path / "targets")
    assert status != 0
    assert "a clip is called settings, as a file of `output_dir` is; rename it" in stderr
