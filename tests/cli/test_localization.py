"""`avzoo run sound-source-localization`, `avzoo run audio-image-retrieval` and `avzoo calibrate --pairs`."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from refusals import refused

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import read_audio, write_wav
from avzoo.pipelines.sound_source_localization.calibration import fit_threshold, measure_confidences, read_pairs
from avzoo.video import probe_video, read_picture, write_picture, write_video


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Two pictures, two noises, digital silence, and a video of two seconds."""
    folder, draw = tmp_path_factory.mktemp("media"), np.random.default_rng(0)
    for name, height in (("room.png", 60), ("street.jpg", 90)):
        write_picture(folder / name, draw.integers(0, 256, (height, 80, 3), dtype=np.uint8))
    for name in ("piano.wav", "dog.wav"):
        write_wav(folder / name, (0.1 * draw.standard_normal(32000)).astype(np.float32), 16000)
    write_wav(folder / "silence.wav", np.zeros(32000, np.float32), 16000)
    frames = draw.integers(0, 256, (20, 64, 80, 3), dtype=np.uint8)
    sound = (0.1 * draw.standard_normal(32000)).astype(np.float32)
    write_video(folder / "clip.mp4", frames, 10, audio=sound, sampling_rate=16000)
    return folder


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    """A tiny random model; to be looked at only."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    sizes = {"hidden_sizes": (4, 6, 8, 12), "depths": (1, 1, 1, 1), "projection_dim": 10}
    SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**sizes)).save_pretrained(folder)
    SSLAlignmentProcessor().save_pretrained(folder)
    return folder


@pytest.fixture
def locate(avzoo_command, tiny_folder):
    words = ("run", "sound-source-localization", "--model", tiny_folder, "--device", "cpu")
    return lambda *options: avzoo_command(*words, *options)


@pytest.fixture
def retrieve(avzoo_command, tiny_folder, tmp_path):
    words = ("run", "audio-image-retrieval", "--model", tiny_folder, "--device", "cpu", "--index", tmp_path / "index")
    return lambda *options: avzoo_command(*words, *options)


@pytest.fixture(scope="module")
def pipe(tiny_folder):
    return transformers.pipeline("sound-source-localization", model=str(tiny_folder), device="cpu")


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# avzoo run sound-source-localization


def test_a_video_gives_a_record_for_each_frame_that_is_looked_at(locate, media, tiny_folder, pipe):
    status, out, err = locate(media / "clip.mp4", "--fps", "5", "--smoothing", "1")
    assert status == 0
    assert err == "note: no decision, as the model has no confidence_threshold (`avzoo calibrate` sets it)\n"
    answer = json.loads(out)
    records = answer.pop("records")
    assert answer == {
        "schema_version": 1,
        "task": "sound-source-localization",
        "model": str(tiny_folder),
        "source": "clip.mp4",
        "score": "cosine",
        "device": "cpu",
        "dtype": "float32",
        "origin": 0.0,
    }
    expected = pipe(str(media / "clip.mp4"), frames_per_second=5, smoothing=1)
    assert records == json.loads(json.dumps(expected))
    assert len(records) == 10


def test_a_picture_is_asked_with_several_sounds(locate, media, pipe):
    status, out, _ = locate("--image", media / "room.png", "--audio", media / "piano.wav", media / "silence.wav")
    assert status == 0
    first, second = json.loads(out)["records"]
    answer = pipe({"image": str(media / "room.png"), "audio": str(media / "piano.wav")}, return_boxes=True)
    assert (first["audio"], first["start"], first["end"]) == ("piano.wav", 0, 2)
    assert first["score"] == pytest.approx(answer["confidence"])
    assert first["boxes"] == [list(box) for box in answer["boxes"]]
    assert (second["label"], second["sounds"], second["box"]) == ("silent", False, None)


def test_a_threshold_decides(locate, media):
    command = ("--image", media / "room.png", "--audio", media / "piano.wav")
    for threshold, label in (("-1", "sounding"), ("2", "not sounding")):
        status, out, err = locate(*command, "--threshold", threshold)
        assert (status, err) == (0, "")
        (record,) = json.loads(out)["records"]
        assert (record["label"], record["threshold"]) == (label, float(threshold))


def test_a_table_has_columns_for_coordinates(locate, media, tmp_path):
    assert locate(media / "clip.mp4", "-o", tmp_path / "records.csv")[:2] == (0, "")
    rows = read_csv((tmp_path / "records.csv").read_text())
    assert list(rows[0]) == ["start", "end", "label", "score", "sounds", "x1", "y1", "x2", "y2", "peak_x", "peak_y"]
    assert int(rows[0]["x1"]) < int(rows[0]["x2"]) <= 80


def test_maps_are_in_the_records_if_they_are_asked_for(locate, media):
    _, out, _ = locate(media / "clip.mp4", "--maps", "--fps", "1")
    assert np.shape(json.loads(out)["records"][0]["similarity"]) == (14, 14)


def test_the_heat_is_drawn_over_a_video(locate, media, tmp_path):
    status, out, err = locate(media / "clip.mp4", "-o", tmp_path / "heat.mp4")
    assert status == 0
    assert json.loads(out)["records"]
    assert err.startswith(f"{tmp_path / 'heat.mp4'}\n")
    info = probe_video(tmp_path / "heat.mp4")
    assert (info.height, info.width, info.duration, info.sampling_rate) == (64, 80, 2.0, 16000)


def test_the_heat_is_drawn_over_a_picture(locate, media, tmp_path):
    sounds = (media / "piano.wav", media / "dog.wav")
    for number in (1, 2):
        path = tmp_path / f"{number}.png"
        assert locate("--image", media / "room.png", "--audio", *sounds[:number], "-o", path)[0] == 0
        assert read_picture(path).shape == ((60, 80, 3) if number == 1 else (68, 172, 3))


def test_an_input_is_not_overwritten(locate, media, tmp_path):
    picture = tmp_path / "mine.png"
    shutil.copy(media / "room.png", picture)
    answer = locate("--image", picture, "--audio", media / "piano.wav", "-o", picture)
    refused(answer, "mine.png) is one of the files to read; name another one")
    assert picture.read_bytes() == (media / "room.png").read_bytes()


def test_warnings_of_what_was_read_are_shown(locate, media, tmp_path):
    noise = read_audio(media / "dog.wav")[0]
    write_wav(tmp_path / "right.wav", np.stack([np.zeros_like(noise), noise]), 16000)
    frames = [Image.fromarray(read_picture(media / name)).resize((60, 60)) for name in ("room.png", "street.jpg")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    _, _, err = locate("--image", tmp_path / "two.gif", "--audio", tmp_path / "right.wav")
    assert "`image` (two.gif) holds 2 pictures; the first is taken" in err
    assert "`audio`: the first of its 2 channels is silent there, and it alone is heard" in err


def test_subtitles_say_when_it_sounds(locate, media):
    _, out, _ = locate(media / "clip.mp4", "--format", "srt", "--fps", "1", "--threshold", "-1")
    assert out == "1\n00:00:00,000 --> 00:00:01,000\nsounding\n\n2\n00:00:01,000 --> 00:00:02,000\nsounding\n"


def test_what_cannot_be_located_is_refused_before_a_model_is_loaded(locate, media, tmp_path, monkeypatch):
    monkeypatch.setattr("avzoo.pipelines.shared.saved_folders.load_task_pipeline", None)
    clip, room, piano = media / "clip.mp4", media / "room.png", media / "piano.wav"
    refused(locate(), "give a video, or --image with --audio, and not both")
    refused(locate(clip, "--image", room, "--audio", piano), "and not both")
    refused(locate("--image", room), "--image and --audio belong together")
    refused(locate(clip, "-o", tmp_path / "x.png"), "--output of a video may end in .mp4, .m4v, .mov, got .png")
    refused(locate("--image", room, "--audio", piano, "-o", tmp_path / "x.mp4"), "--output of a picture may end in")
    refused(locate("--image", room, "--audio", piano, "--format", "srt"), "--format must be one of json, csv")
    refused(locate(clip, "--format", "xml"), "--format must be one of json, csv, rttm, srt, vtt, got 'xml'")
    refused(locate(tmp_path / "none.mp4"), "none.mp4` does not exist")
    refused(locate(tmp_path), "is a folder; name a file")
    refused(locate(clip, "-o", tmp_path / "no" / "x.json"), "cannot be written")
    refused(locate(clip, "--batch-size", "0"), "--batch-size must be at least 1, got 0")
    refused(locate(clip, "--fps", "0"), "`frames_per_second` must be above 0")
    refused(locate(clip, "--smoothing", "2"), "`smoothing` must be an odd number of frames, got 2")
    refused(locate(clip, "--area", "0"), "`area` must be above 0 and at most 1")


def test_media_that_cannot_be_read_are_refused_in_one_line(locate, media, tmp_path):
    clip, room, piano = media / "clip.mp4", media / "room.png", media / "piano.wav"
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:-20000])
    (tmp_path / "broken.jpg").write_bytes((media / "street.jpg").read_bytes()[:700])
    refused(locate(tmp_path / "cut.mp4", "--strict"), "cut.mp4")
    refused(locate(piano), "`video` (piano.wav) has no video stream")
    refused(locate(room), "`video` (room.png) has no sound track")
    refused(locate("--image", tmp_path / "broken.jpg", "--audio", piano), "`image` (broken.jpg) is damaged")
    refused(locate("--image", room, "--audio", room), "`audio` (room.png) has no audio stream")
    refused(locate(clip, "--objectness"), "`objectness` needs a model with an objectness network")


@pytest.mark.parametrize("kind", ["grey", "16 bits", "transparent", "one pixel", "palette", "turned"])
def test_pictures_of_every_kind_are_located_in(locate, media, tmp_path, kind):
    pixels = read_picture(media / "room.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    picture = {
        "grey": lambda: Image.fromarray(pixels[..., 0]),
        "16 bits": lambda: Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        "transparent": lambda: Image.fromarray(pixels).convert("RGBA"),
        "one pixel": lambda: Image.fromarray(pixels[:1, :1]),
        "palette": lambda: Image.fromarray(pixels).convert("P"),
        "turned": lambda: Image.fromarray(pixels),
    }[kind]()
    picture.save(tmp_path / "picture.png", exif=exif if kind == "turned" else Image.Exif())
    status, out, _ = locate("--image", tmp_path / "picture.png", "--audio", media / "dog.wav", "--format", "csv")
    assert status == 0
    (row,) = read_csv(out)
    height, width = (80, 60) if kind == "turned" else (60, 80)
    if kind == "one pixel":  # nothing stands out
        assert row["x1"] == ""
    else:
        assert 0 <= int(row["x1"]) < int(row["x2"]) <= width
        assert 0 <= int(row["y1"]) < int(row["y2"]) <= height


# avzoo run audio-image-retrieval


def test_an_index_is_filled_and_searched(retrieve, media, tmp_path):
    status, out, err = retrieve("--add", media)
    assert (status, out) == (1, "")  # a recording of digital silence can't be found by anything
    assert "silence.wav`: the 3 s that the model hears are digital silence" in err
    status, out, err = retrieve("--add", media, "--skip-broken")
    assert (status, out) == (0, "")
    assert "left out: " in err
    assert err.endswith("index: 2 pictures and 3 sounds, 0 of them new\n")
    status, out, err = retrieve(media / "dog.wav", "--top-k", "1")
    assert (status, err) == (0, "")
    (record,) = json.loads(out)["records"]
    assert record["first"] == str(media / "dog.wav")
    assert record["second"] in {str(media / name) for name in ("room.png", "street.jpg")}
    assert (record["label"], record["rank"]) == ("image", 1)
    assert -1 <= record["score"] <= 1


def test_files_that_are_gone_or_changed_leave_the_index_or_are_computed_again(retrieve, media, tmp_path):
    for name in ("room.png", "street.jpg", "piano.wav"):
        shutil.copy(media / name, tmp_path / name)
    assert retrieve("--add", *(tmp_path / name for name in ("room.png", "street.jpg", "piano.wav")))[0] == 0
    (tmp_path / "street.jpg").unlink()
    shutil.copy(media / "street.jpg", tmp_path / "room.png")  # another picture under the same name
    status, out, err = retrieve(
        "--prune", "--add", tmp_path / "room.png", "--replace", media / "street.jpg", "--among", "image"
    )
    assert status == 0
    assert "1 of 3 taken out, as they are no files any more" in err
    assert [record["second"] for record in json.loads(out)["records"]] == [str(tmp_path / "room.png")]
    assert json.loads(out)["records"][0]["score"] == pytest.approx(1, abs=1e-5)


def test_an_index_whose_files_are_all_elsewhere_is_not_emptied(retrieve, media, tmp_path):
    shutil.copy(media / "room.png", tmp_path / "room.png")
    assert retrieve("--add", tmp_path / "room.png")[0] == 0
    (tmp_path / "room.png").unlink()
    refused(retrieve("--prune"), "none of the 1 files in the index", "--prune would empty it")


def test_a_suffix_in_capitals_is_a_format(retrieve, media, tmp_path):
    assert retrieve(media / "piano.wav", "--add", media / "room.png", "-o", tmp_path / "A.CSV")[0] == 0
    assert (tmp_path / "A.CSV").read_text().startswith("first,second,label,score,rank\n")


def test_a_picture_finds_itself_among_pictures(retrieve, media, tmp_path):
    assert retrieve(media / "room.png", "--add", media / "room.png", media / "street.jpg", "--among", "image")[0] == 0
    status, _, _ = retrieve(media / "room.png", "--among", "image", "-o", tmp_path / "found.csv")
    assert status == 0
    first, second = read_csv((tmp_path / "found.csv").read_text())
    assert first["second"] == str(media / "room.png")
    assert float(first["score"]) == pytest.approx(1)
    assert float(second["score"]) < float(first["score"])


def test_what_cannot_be_retrieved_is_refused(retrieve, media, tmp_path, avzoo_command):
    dog = media / "dog.wav"
    refused(retrieve(), "give a sound or a picture to search by, or --add")
    refused(retrieve(dog), "holds no index.json; fill it by --add PATH")
    refused(retrieve("--add", media, "-o", tmp_path / "x.json"), "--output holds the answers to a query")
    refused(retrieve(dog, "--format", "srt"), "--format must be one of json, csv, got 'srt'")
    refused(retrieve(dog, "--top-k", "0"), "--top-k must be at least 1, got 0")
    refused(retrieve(media, "--add", media), "is a folder; add it to the index by --add")
    refused(retrieve(tmp_path / "none.wav"), "none.wav` does not exist")
    (tmp_path / "empty").mkdir()
    refused(retrieve("--add", tmp_path / "empty"), "holds no picture and no sound of a known type")
    refused(retrieve("--add", tmp_path / "none"), "does not exist")
    assert retrieve("--add", media / "room.png")[0] == 0
    refused(retrieve(media / "room.png"), "no sounds are indexed, so none can be found")


def test_an_index_of_another_model_is_refused(retrieve, media, tmp_path, avzoo_command):
    assert retrieve("--add", media / "room.png")[0] == 0
    torch.manual_seed(1)
    SSLAlignmentForSoundLocalization(
        SSLAlignmentConfig(hidden_sizes=(4, 6, 8, 12), depths=(1, 1, 1, 1), projection_dim=10)
    ).save_pretrained(tmp_path / "other")
    SSLAlignmentProcessor().save_pretrained(tmp_path / "other")
    command = ("run", "audio-image-retrieval", media / "dog.wav", "--model", tmp_path / "other", "--device", "cpu")
    refused(avzoo_command(*command, "--index", tmp_path / "index"), "holds an index of another model")


# avzoo calibrate --pairs


@pytest.fixture
def pairs(media, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("image,audio\nroom.png,piano.wav\nstreet.jpg,dog.wav\n")
    return path


def test_calibrating_writes_the_threshold_into_the_config(
    avzoo_command, tiny_folder, media, pairs, tmp_path, pipe, locate
):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    before = json.loads((folder / "config.json").read_text())
    status, out, err = avzoo_command("calibrate", folder, "--pairs", pairs, "--root", media, "--device", "cpu")
    assert (status, err) == (0, f"{folder / 'config.json'}\n")
    report = fit_threshold(measure_confidences(pipe, read_pairs(pairs, media)))
    assert out == f"{report}\n"
    after = json.loads((folder / "config.json").read_text())
    assert after.pop("confidence_threshold") == report.threshold
    assert after.pop("calibration")["pairs"] == 2
    before.pop("confidence_threshold")
    assert after == before
    _, out, err = avzoo_command(
        "run", "sound-source-localization", media / "clip.mp4", "--model", folder, "--device", "cpu"
    )
    assert err == ""
    assert {record["sounds"] for record in json.loads(out)["records"]} <= {True, False}


def test_calibrating_without_pairs_or_with_options_of_trials_is_refused(avzoo_command, tiny_folder, pairs, tmp_path):
    calibrate = ("calibrate", tiny_folder)
    refused(avzoo_command(*calibrate), "give one of --trials (speaker verification) and --pairs")
    refused(avzoo_command(*calibrate, "--pairs", pairs, "--trials", pairs), "give one of --trials")
    refused(avzoo_command(*calibrate, "--pairs", pairs, "--target-far", "0.1"), "belong to --trials")
    refused(avzoo_command(*calibrate, "--pairs", pairs, "--embeddings", "x.npz"), "--embeddings belongs to --trials")
    refused(avzoo_command(*calibrate, "--pairs", pairs), "pairs.csv, line 2: `", "room.png` does not exist")
    refused(avzoo_command("calibrate", tmp_path, "--pairs", pairs), "config.json` does not exist; name the folder")
