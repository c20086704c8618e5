"""The command line: answers on stdout, reasons on stderr, nothing half-written."""

import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.tiny import TINY, tiny_model
from safetensors.torch import save_file

import avzoo
from avzoo import zoo
from avzoo.audio import read_audio, write_wav
from avzoo.cli import main, parse_literal
from avzoo.video import read_video, write_video

SECONDS = 1.25
NEEDS_NO_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@pytest.fixture
def avzoo_command(capfd):
    """Run one command: (exit status, stdout, stderr), as the shell would see them."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


def refused(answer: tuple[int, str, str], *reasons: str) -> None:
    """Assert that a command failed with one line on stderr that gives the reasons, and nothing on stdout."""
    status, out, err = answer
    assert (status, out) == (1, "")
    assert err.startswith("avzoo: ")
    assert err.count("\n") == 1, err
    for reason in reasons:
        assert reason in err


# list, info, card


def test_list_has_a_line_for_every_method(avzoo_command):
    status, out, err = avzoo_command("list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [row.name for row in zoo.METHODS]
    for line, row in zip(out.splitlines(), zoo.METHODS, strict=True):
        assert row.task in line
        assert row.paper in line


def test_list_as_json(avzoo_command):
    rows = json.loads(avzoo_command("list", "--json")[1])
    assert [row["name"] for row in rows] == [row.name for row in zoo.METHODS]
    assert rows[0]["licenses"]["weights"]["identifier"] == zoo.METHODS[0].licenses["weights"].identifier


def test_list_of_what_may_be_used_commercially(avzoo_command):
    rows = json.loads(avzoo_command("list", "--json", "--commercial-ok")[1])
    assert [row["name"] for row in rows] == [row.name for row in zoo.METHODS if row.commercial_use]
    assert "flexiast" not in [row["name"] for row in rows]  # nobody can say it of its training data


def test_info_says_what_the_row_says(avzoo_command):
    _, out, _ = avzoo_command("info", "flexiast")
    row = zoo.find_row("flexiast")
    for expected in (
        row.title,
        row.paper,
        row.repository,
        *row.public_names,
        *(v.checkpoint or "" for v in row.variants),
    ):
        assert expected in out


def test_info_as_json(avzoo_command):
    described = json.loads(avzoo_command("info", "flexiast", "--json")[1])
    assert described["task"] == "audio-classification"
    assert described["commercial_use"] is None


def test_card_prints_the_card(avzoo_command):
    status, out, _ = avzoo_command("card", "flexiast")
    assert status == 0
    assert out.startswith("---\n")
    assert "# FlexiAST" in out


@pytest.mark.parametrize("command", ["info", "card"])
def test_an_unknown_method_is_named(avzoo_command, command):
    refused(avzoo_command(command, "flexist"), "no method is called 'flexist'", "flexiast")


def test_help_and_mistakes_are_argparses(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "convert" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["tag"])


def test_the_command_is_installed():
    """What it says of a file, torch's warnings included: tests/conversion/test_loading_elsewhere.py."""
    command = [Path(sys.executable).with_name("avzoo"), "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (result.stdout.splitlines()[0].split()[0], result.stderr) == (zoo.METHODS[0].name, "")


# convert


def ast_tensors(distilled: bool = True, width: int = 64, mlp: int = 96, classes: int = 5) -> dict[str, torch.Tensor]:
    """An original AST file at a small size: one block, patch 16, stride 16, 8 x 4 positions."""
    shapes = {
        "v.cls_token": (1, 1, width),
        "v.pos_embed": (1, 1 + distilled + 8 * 4, width),
        "v.patch_embed.proj.weight": (width, 1, 16, 16),
        "v.patch_embed.proj.bias": (width,),
        "v.blocks.0.norm1.weight": (width,),
        "v.blocks.0.norm1.bias": (width,),
        "v.blocks.0.attn.qkv.weight": (3 * width, width),
        "v.blocks.0.attn.qkv.bias": (3 * width,),
        "v.blocks.0.attn.proj.weight": (width, width),
        "v.blocks.0.attn.proj.bias": (width,),
        "v.blocks.0.norm2.weight": (width,),
        "v.blocks.0.norm2.bias": (width,),
        "v.blocks.0.mlp.fc1.weight": (mlp, width),
        "v.blocks.0.mlp.fc1.bias": (mlp,),
        "v.blocks.0.mlp.fc2.weight": (width, mlp),
        "v.blocks.0.mlp.fc2.bias": (width,),
        "v.norm.weight": (width,),
        "v.norm.bias": (width,),
        "mlp_head.0.weight": (width,),
        "mlp_head.0.bias": (width,),
        "mlp_head.1.weight": (classes, width),
        "mlp_head.1.bias": (classes,),
    }
    if distilled:
        shapes["v.dist_token"] = (1, 1, width)
    generator = torch.Generator().manual_seed(0)
    return {f"module.{key}": torch.randn(shape, generator=generator) * 0.1 for key, shape in shapes.items()}


def flexiast_tensors() -> dict[str, torch.Tensor]:
    """A FlexiAST file at the same size, leftovers of its AST included."""
    tensors = ast_tensors(distilled=False)
    kernel, positions = tensors["module.v.patch_embed.proj.weight"], tensors["module.v.pos_embed"]
    return tensors | {
        "module.patch_embed.proj.weight": kernel + 1,
        "module.patch_embed.proj.bias": tensors["module.v.patch_embed.proj.bias"],
        "module.pos_embed.pos_embed": positions + 1,
        "module.v.head.weight": torch.zeros(10, 64),
    }


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "files" / "small.pth"
    path.parent.mkdir()
    torch.save(ast_tensors(), path)
    return path


@pytest.fixture
def output(tmp_path):
    """Where to convert to; the folder it is in is empty before."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    yield folder / "converted"
    leftovers = [path.name for path in folder.iterdir() if path.name != "converted"]
    assert not leftovers, leftovers


def test_a_converted_ast_loads_with_transformers(avzoo_command, checkpoint, output):
    import hashlib

    from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

    status, out, _ = avzoo_command("convert", "flexiast", checkpoint, output)
    assert (status, out) == (0, f"{output}\n")
    model = AutoModelForAudioClassification.from_pretrained(output)
    assert isinstance(AutoModel.from_pretrained(output), avzoo.FlexiASTModel)
    assert isinstance(AutoFeatureExtractor.from_pretrained(output), avzoo.FlexiASTFeatureExtractor)
    torch.testing.assert_close(model.classifier.dense.weight, ast_tensors()["module.mlp_head.1.weight"])
    source = model.config.avzoo_source
    assert source["file"] == "small.pth"
    assert source["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (source["method"], source["variant"], source["avzoo_version"]) == ("flexiast", "ast", avzoo.__version__)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert source["sha256"] in card
    assert "`small.pth`" in card


def test_a_flexiast_file_keeps_its_own_kernel(avzoo_command, checkpoint, output):
    torch.save(flexiast_tensors(), checkpoint)
    assert avzoo_command("convert", "flexiast", checkpoint, output)[0] == 0
    model = avzoo.FlexiASTForAudioClassification.from_pretrained(output)
    kernel = model.flexiast.embeddings.patch_embeddings.weight
    torch.testing.assert_close(kernel, flexiast_tensors()["module.patch_embed.proj.weight"])


def test_config_fields_and_variant_are_taken(avzoo_command, checkpoint, output):
    settings = [
        "--variant",
        "flexify",
        "--config",
        "num_attention_heads=4",
        "layer_norm_eps=1e-12",
        "patch_size=(8,16)",
    ]
    assert avzoo_command("convert", "flexiast", checkpoint, output, *settings)[0] == 0
    config = avzoo.FlexiASTConfig.from_pretrained(output)
    assert config.num_attention_heads == 4
    assert config.layer_norm_eps == 1e-12
    assert config.patch_size == (8, 16)
    assert config.avzoo_source["variant"] == "flexify"


def test_safetensors_and_an_empty_folder_are_fine(avzoo_command, tmp_path, output):
    save_file(ast_tensors(), tmp_path / "small.safetensors")
    output.mkdir()
    assert avzoo_command("convert", "flexiast", tmp_path / "small.safetensors", output)[0] == 0
    assert {path.name for path in output.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("this_code_ran",)


def spoil_nothing(path):
    pass


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def write_code(path):
    path.write_bytes(pickle.dumps({"module.v.cls_token": RunsCode()}))


def save_code(path):
    torch.save({"module.v.cls_token": RunsCode()}, path)


def write_text(path):
    path.write_text("<html>quota exceeded</html>")


def save_a_list(path):
    torch.save([torch.zeros(3)], path)


def save_another_method(path):
    torch.save({"encoder.weight": torch.zeros(3)}, path)


def save_one_key_more(path):
    torch.save({**ast_tensors(), "module.lipsync.fc.bias": torch.zeros(3)}, path)


def save_one_key_less(path):
    torch.save({key: value for key, value in ast_tensors().items() if "fc2.bias" not in key}, path)


def wrap(path):
    torch.save({"epoch": 3, "model": ast_tensors()}, path)


BAD_CHECKPOINTS = [
    (Path.unlink, [], "`{path}` does not exist"),
    (truncate, [], "`{path}` cannot be read, it is cut short or damaged"),
    (empty, [], "`{path}`"),
    (write_text, [], "`{path}`"),
    (write_code, [], "could run code"),
    (save_code, [], "could run code"),
    (save_a_list, [], "holds a list, not a dictionary of tensors"),
    (wrap, [], "`epoch` holds a int"),
    (save_another_method, [], "is no FlexiAST or AST checkpoint", "`encoder.weight`"),
    (save_one_key_more, [], "1 key has no rule (`lipsync.fc.bias`)"),
    (save_one_key_less, [], "1 tensor stays empty (`flexiast.layers.0.mlp.fc2.bias`)"),
    (spoil_nothing, ["--variant", "audiosett"], "no variant of flexiast is called 'audiosett'", "vggsound"),
    (spoil_nothing, ["--variant", "vggsound"], "is a plain AST checkpoint", "'vggsound'"),
    (spoil_nothing, ["--config", "num_heads=4"], "`config` has no field 'num_heads'", "num_attention_heads"),
    (spoil_nothing, ["--config", "num_attention_heads=7"], "`hidden_size` (64)", "`num_attention_heads` (7)"),
    (spoil_nothing, ["--config", "num_attention_heads=many"], "num_attention_heads", "many"),
    (spoil_nothing, ["--config", "num_attention_heads"], "expected KEY=VALUE, got 'num_attention_heads'"),
]


@pytest.mark.parametrize(
    ("spoil", "options", "reasons"),
    [(spoil, options, reasons) for spoil, options, *reasons in BAD_CHECKPOINTS],
    ids=lambda value: getattr(value, "__name__", None) or (value[-1] if value else "plain"),
)
def test_a_bad_conversion_says_why_and_writes_nothing(
    avzoo_command, checkpoint, output, spoil, options, reasons, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    spoil(checkpoint)
    answer = avzoo_command("convert", "flexiast", checkpoint, output, *options)
    refused(answer, *(reason.format(path=checkpoint) for reason in reasons))
    assert not output.exists()
    assert not Path("this_code_ran").exists()


def test_an_unknown_method_converts_nothing(avzoo_command, checkpoint, output):
    refused(avzoo_command("convert", "flexist", checkpoint, output), "no method is called 'flexist'")
    assert not output.exists()


def test_a_folder_with_something_in_it_is_left_alone(avzoo_command, checkpoint, output):
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    refused(avzoo_command("convert", "flexiast", checkpoint, output), f"`{output}` exists and is not an empty folder")
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]


def test_an_output_inside_a_file_is_refused(avzoo_command, checkpoint):
    refused(avzoo_command("convert", "flexiast", checkpoint, checkpoint / "converted"), str(checkpoint))


@NEEDS_NO_ROOT
def test_an_output_that_cannot_be_written_is_refused(avzoo_command, checkpoint, output):
    output.parent.chmod(0o500)
    try:
        refused(avzoo_command("convert", "flexiast", checkpoint, output), str(output.parent))
    finally:
        output.parent.chmod(0o700)


def test_a_conversion_that_breaks_off_leaves_nothing(avzoo_command, checkpoint, output, monkeypatch):
    def break_off(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(avzoo.FlexiASTFeatureExtractor, "save_pretrained", break_off)
    refused(avzoo_command("convert", "flexiast", checkpoint, output), "No space left on device")
    assert not output.exists()


# run


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    row = zoo.find_row("flexiast")
    tiny_model(row).save_pretrained(folder)
    row.load(row.processor_class)(
        num_mel_bins=TINY["FlexiASTForAudioClassification"].config["num_mel_bins"], max_length=48
    ).save_pretrained(folder)
    return folder


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


# run audio-visual-synchronization


@pytest.fixture
def sync_folder(tmp_path):
    row = zoo.find_row("mtdvocalist")
    folder = tmp_path / "sync"
    tiny_model(row, distillation=None).save_pretrained(folder)
    config = TINY["MTDVocaLiSTForSequenceClassification"].config
    row.load(row.processor_class)(
        face_size=config["image_size"][1], num_mel_bins=config["num_mel_bins"]
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def face_video(tmp_path):
    path, random = tmp_path / "face.mp4", np.random.default_rng(0)
    sound = 0.1 * random.standard_normal(30 * 640).astype(np.float32)
    frames = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    write_video(path, frames, 25, audio=sound, sampling_rate=16000)
    return path


@pytest.fixture
def synchronize(avzoo_command, sync_folder, face_video):
    task = ("run", "audio-visual-synchronization", face_video, "--model", sync_folder)
    return lambda *options: avzoo_command(*task, *options)


def test_synchronization_prints_a_record_for_each_face(synchronize):
    status, out, _ = synchronize("--face-video", "--max-shift", "4", "--stride", "2")
    assert status == 0
    answer = json.loads(out)
    assert (answer["task"], answer["score"]) == ("audio-visual-synchronization", "logit")
    (record,) = answer["records"]
    assert sorted(map(int, record["curve"])) == list(range(-4, 5))
    assert len(record["windows"]) == 13


def test_synchronization_as_a_table_leaves_out_what_is_no_single_value(synchronize, tmp_path):
    assert synchronize("--face-video", "-o", tmp_path / "out.csv")[0] == 0
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert {"track_id", "start", "end", "label", "offset_frames", "in_sync", "meaning"} <= row.keys()
    assert not {"curve", "windows"} & row.keys()


def test_what_is_out_of_time_is_repaired_and_drawn(synchronize, face_video, tmp_path):
    fixed, curve = tmp_path / "fixed.mp4", tmp_path / "curve.png"
    status, out, err = synchronize("--face-video", "-o", fixed, "--fix", "--render", curve)
    assert status == 0, err
    (record,) = json.loads(out)["records"]  # the file goes to --output, the records to stdout
    assert record["meaning"] in err
    before, after = (read_video(path, sampling_rate=16000) for path in (face_video, fixed))
    assert np.array_equal(before.frames, after.frames)
    shift = round(record["offset_seconds"] * 16000)
    moved = np.roll(before.audio, shift)[max(0, shift) : len(before.audio) + min(0, shift)]
    there = after.audio[max(0, shift) : len(before.audio) + min(0, shift)]
    inside = slice(2000, -2000)  # codecs fade in where a cut begins
    np.testing.assert_allclose(there[inside], moved[inside], atol=0.01)
    assert curve.read_bytes().startswith(b"\x89PNG")


def test_boxes_say_who_to_look_at(synchronize, tmp_path):
    boxes = tmp_path / "boxes.csv"
    rows = [f"{frame},0,0,32,32,5" for frame in range(4, 24)]
    boxes.write_text("\n".join(["frame,x1,y1,x2,y2,track_id", *rows]) + "\n")
    (record,) = json.loads(synchronize("--boxes", boxes)[1])["records"]
    assert (record["track_id"], record["start"], record["end"]) == (5, 0.16, 0.96)


def test_bad_requests_to_synchronization_say_why(synchronize, face_video, tmp_path):
    refused(synchronize("--face-video", "--fix"), "--fix needs --output")
    refused(synchronize("--face-video", "--fix", "-o", tmp_path / "fixed.avi"), "must end in .mp4", "fixed.avi")
    refused(synchronize("--face-video", "--render", tmp_path / "nowhere" / "curve.png"), "nowhere")
    refused(synchronize("--face-video", "--max-shift", "0"), "`max_shift` must be at least 1, got 0")
    refused(synchronize("--detector", "s3fd"), "--detector s3fd needs --detector-model")
    write_video(face_video, np.zeros((20, 32, 32, 3), np.uint8), 25)
    refused(synchronize("--face-video"), "face.mp4", "has no sound")


def test_nobody_to_look_at_is_said_and_nothing_repaired(synchronize, tmp_path):
    boxes, fixed = tmp_path / "boxes.csv", tmp_path / "fixed.mp4"
    boxes.write_text("frame,x1,y1,x2,y2\n")
    status, out, err = synchronize("--boxes", boxes)
    assert (status, json.loads(out)["records"]) == (0, [])
    assert "no face was found in face.mp4" in err
    status, _, err = synchronize("--boxes", boxes, "-o", fixed, "--fix")
    assert (status, fixed.exists()) == (1, False)
    assert "face.mp4 was not repaired" in err


def test_a_task_takes_its_own_options_only(synchronize, capfd):
    with pytest.raises(SystemExit):
        synchronize("--patch-size", "8")
    assert "unrecognized arguments: --patch-size" in capfd.readouterr().err


# run active-speaker-detection


@pytest.fixture
def speaker_folder(tmp_path):
    row = zoo.find_row("talknce")
    folder = tmp_path / "speakers"
    tiny_model(row).save_pretrained(folder)
    config = TINY["LoCoNetForActiveSpeakerDetection"].config
    processor = row.load(row.processor_class)(
        frame_size=config["frame_size"], num_bins=config["num_mel_bins"], num_speakers=config["num_speakers"]
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def speakers(avzoo_command, speaker_folder, face_video):
    task = ("run", "active-speaker-detection", face_video, "--model", speaker_folder)
    return lambda *options: avzoo_command(*task, *options)


def test_speakers_are_printed_with_the_score_of_every_frame(speakers):
    status, out, _ = speakers("--face-video", "--durations", "0.4", "0.8")
    assert status == 0
    answer = json.loads(out)
    assert (answer["task"], answer["score"]) == ("active-speaker-detection", "probability")
    (record,) = answer["records"]
    assert (record["start"], record["end"], len(record["scores"])) == (0.0, 1.2, 30)
    assert np.shape(record["boxes"]) == (30, 4)


def test_speakers_are_drawn_and_written_as_tables(speakers, tmp_path):
    video, table, segments = tmp_path / "scored.mp4", tmp_path / "scores.csv", tmp_path / "scores.rttm"
    status, out, err = speakers("--face-video", "-o", video, "--threshold", "0")
    assert (status, err.split()[-1]) == (0, str(video)), err
    (record,) = json.loads(out)["records"]  # the video goes to --output, the records to stdout
    assert read_video(video, sampling_rate=16000).frames.shape == (30, 36, 32, 3)
    for path in (table, segments):
        status, out, err = speakers("--face-video", "-o", path, "--threshold", "0")
        assert (status, out, err.split()[-1]) == (0, "", str(path)), err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["score"]) for row in rows] == pytest.approx(record["scores"])
    assert (rows[2]["frame_timestamp"], rows[2]["entity_id"], rows[2]["entity_box_x2"]) == ("0.08", "face:0", "1.0")
    assert segments.read_text().startswith("SPEAKER face 1 0.000 1.200 <NA> <NA> 0 ")


def test_bad_requests_for_speakers_say_why_and_write_nothing(speakers, face_video, tmp_path):
    there = sorted(tmp_path.iterdir())
    refused(speakers("--face-video", "--format", "csv"), "--format csv needs --output")
    refused(speakers("--face-video", "--smoothing", "4"), "`smoothing` must be an odd number of frames, got 4")
    refused(speakers("--face-video", "-o", tmp_path / "scored.avi"), "--format must be one of", "avi")
    refused(speakers("--face-video", "-o", tmp_path / "nowhere" / "scored.mp4"), "nowhere")
    refused(speakers("--detector", "s3fd"), "--detector s3fd needs --detector-model")
    boxes = face_video.with_suffix(".csv")
    boxes.write_text("frame,x1,y1,x2,y2\n")
    status, out, err = speakers("--boxes", boxes)
    assert (status, json.loads(out)["records"]) == (0, [])
    assert "no face was found in face.mp4" in err
    status, out, err = speakers("--boxes", boxes, "-o", tmp_path / "scores.csv")
    assert (status, out) == (1, "")
    assert "no face was found in face.mp4, so there is nothing to write" in err
    boxes.unlink()
    assert sorted(tmp_path.iterdir()) == there
    write_video(face_video, np.zeros((20, 32, 32, 3), np.uint8), 25)
    refused(speakers("--face-video"), "face.mp4", "has no sound track")


# push


def test_push_uploads_the_folder(avzoo_command, model_folder, monkeypatch):
    import huggingface_hub

    calls = []

    class FakeApi:
        def create_repo(self, repo_id, **options):
            calls.append(("create", repo_id, options))

        def upload_folder(self, **options):
            calls.append(("upload", options))
            return "the address of the commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    status, out, _ = avzoo_command("push", model_folder, "someone/flexiast", "--private")
    assert (status, out) == (0, "the address of the commit\n")
    assert calls == [
        ("create", "someone/flexiast", {"private": True, "exist_ok": True}),
        ("upload", {"repo_id": "someone/flexiast", "folder_path": model_folder}),
    ]


def test_push_refuses_a_folder_without_a_model(avzoo_command, tmp_path):
    refused(avzoo_command("push", tmp_path, "someone/flexiast"), "holds no config.json")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1e-12", 1e-12),
        ("(8,16)", (8, 16)),
        ("[[16,8]]", [[16, 8]]),
        ("true", True),
        ("null", None),
        ("pi", "pi"),
        ("multi_label_classification", "multi_label_classification"),
    ],
)
def test_values_on_the_command_line(text, value):
    assert parse_literal(text) == value


# toyworld, tracks


@pytest.fixture(scope="module")
def talking(tmp_path_factory) -> Path:
    """Two clips of talkers with their labels, written by the command itself."""
    folder = tmp_path_factory.mktemp("talkers") / "made" / "here"
    settings = ("seconds=1.0", "size=[120,200]", "num_faces=2", "situation=conversation")
    assert main(["toyworld", "talkers", "--n", "2", "--out", str(folder), "--seed", "4", "--set", *settings]) == 0
    return folder


def test_toyworld_writes_videos_and_labels(talking):
    assert sorted(path.name for path in talking.iterdir()) == [
        f"talkers-train-000000{index}.{ending}" for index in range(2) for ending in ("json", "mp4")
    ]
    labels = json.loads((talking / "talkers-train-0000000.json").read_text(encoding="utf-8"))
    assert len(labels["faces"]) == 2
    assert np.shape(labels["speaking"]) == (2, 25)


def test_toyworld_names_what_it_wrote_and_writes_the_same_again(talking, avzoo_command, tmp_path):
    settings = ("seconds=1.0", "size=[120,200]", "num_faces=2", "situation=conversation")
    status, out, _ = avzoo_command(
        "toyworld", "talkers", "--n", 2, "--out", tmp_path, "--seed", 4, "--workers", 2, "--set", *settings
    )
    assert status == 0
    assert [Path(line).name for line in out.splitlines()] == [
        path.name for path in sorted(talking.iterdir(), key=lambda path: (path.stem, path.suffix != ".mp4"))
    ]
    for path in talking.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_toyworld_refuses_settings_that_do_not_exist(avzoo_command, tmp_path):
    refused(
        avzoo_command("toyworld", "talkers", "--out", tmp_path / "new", "--set", "colour=red"),
        "the world 'talkers' has no setting 'colour'; it has: seconds, size",
    )
    assert not (tmp_path / "new").exists()
    refused(avzoo_command("toyworld", "talkers", "--out", tmp_path, "--n", -1), "`num_clips` must be 0 or more, got -1")
    refused(avzoo_command("toyworld", "talkers", "--out", tmp_path / "new", "--set", "size=2"), "`size` must be")
    assert not (tmp_path / "new").exists()


def test_tracks_finds_the_faces_of_a_talkers_clip_and_draws_them(talking, avzoo_command, tmp_path):
    video, output, render = talking / "talkers-train-0000000.mp4", tmp_path / "tracks.json", tmp_path / "out.mp4"
    status, out, err = avzoo_command("tracks", video, "-o", output, "--render", render)
    assert (status, out) == (0, "")
    assert err.split() == [str(output), str(render)]
    answer = json.loads(output.read_text(encoding="utf-8"))
    assert answer["source"] == "talkers-train-0000000.mp4"
    assert len(answer["tracks"]) == 2
    truth = json.loads((talking / "talkers-train-0000000.json").read_text(encoding="utf-8"))["boxes"]
    for track in answer["tracks"]:
        centre = np.mean(track["boxes"][0][0::2])
        assert min(abs(centre - np.mean(boxes[0][0::2])) for boxes in truth) < 8
    assert render.stat().st_size > 10_000


def test_tracks_takes_boxes_and_answers_on_stdout(talking, avzoo_command, tmp_path):
    table = tmp_path / "boxes.csv"
    rows = [f"{frame},10,10,60,70,3" for frame in range(5, 20)]
    table.write_text("\n".join(["frame,x1,y1,x2,y2,track_id", *rows]))
    status, out, err = avzoo_command("tracks", talking / "talkers-train-0000001.mp4", "--boxes", table)
    assert (status, err) == (0, "")
    (track,) = json.loads(out)["tracks"]
    assert (track["track_id"], track["start_frame"], len(track["boxes"])) == (3, 5, 15)


def test_tracks_says_when_nobody_is_there(avzoo_command, tmp_path):
    from avzoo.video import write_video

    video = tmp_path / "wall.mp4"
    write_video(video, np.full((15, 64, 64, 3), 90, np.uint8), 25)
    status, out, err = avzoo_command("tracks", video, "--detector", "drawn")
    assert status == 0
    assert json.loads(out)["tracks"] == []
    assert "no face was found in the 15 frames of wall.mp4" in err


def test_tracks_names_what_is_wrong(talking, avzoo_command, tmp_path):
    video = talking / "talkers-train-0000000.mp4"
    refused(avzoo_command("tracks", tmp_path / "none.mp4"), "none.mp4")
    refused(avzoo_command("tracks", video, "-o", tmp_path / "no" / "tracks.json"), "cannot be written")
    refused(avzoo_command("tracks", video, "--render", tmp_path / "out.avi", "--boxes", "none.csv"), "must end in .mp4")
    refused(avzoo_command("tracks", video, "--detector", "s3fd"), "--detector s3fd needs --detector-model")
    refused(avzoo_command("tracks", video, "--boxes", tmp_path / "boxes.txt"), "boxes are read from .json or .csv")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    refused(avzoo_command("tracks", text), "text.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_tracks_of_a_real_video_need_a_detector_that_is_there(avzoo_command, tmp_path, monkeypatch):
    from avzoo.video import write_video

    video = tmp_path / "real.mp4"
    write_video(video, np.zeros((3, 16, 16, 3), np.uint8), 25)
    refused(avzoo_command("tracks", video, "--detector-model", tmp_path / "yunet.onnx"), "yunet.onnx is no file")
    monkeypatch.setitem(sys.modules, "cv2", None)
    refused(avzoo_command("tracks", video), "pip install 'avzoo[faces]'")


# run text-to-audio


@pytest.fixture
def speak(avzoo_command):
    """The toy checkpoint says a word; two steps are enough to be heard by a test."""
    return lambda *options: avzoo_command("run", "text-to-audio", "--steps", "2", "--device", "cpu", *options)


SAID = ("--description", "Rain falls while a man speaks.", "--content", "seven")


def test_speech_is_written_and_drawn_and_one_seed_gives_one_sound(speak, tmp_path):
    first, picture = tmp_path / "first.wav", tmp_path / "first.png"
    status, out, err = speak(*SAID, "--seed", "3", "-o", first, "--spectrogram", picture)
    assert (status, out) == (0, f"{first}\n")
    assert err.startswith("seed 3\n")
    samples, rate = read_audio(first)
    assert (len(samples), rate) == (20000, 16000)
    assert abs(samples).max() == pytest.approx(1, abs=1e-4)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for seed, same in (("3", True), ("4", False)):
        assert speak(*SAID, "--seed", seed, "-o", tmp_path / "second.wav")[0] == 0
        assert (np.array_equal(read_audio(tmp_path / "second.wav")[0], samples)) == same


def test_several_waveforms_get_numbers_and_lengths_are_kept(speak, tmp_path):
    options = ("--number", "2", "--seconds", "0.9", "--preset", "reference", "--desc-scale", "0", "--cont-scale", "0")
    status, out, _ = speak(*SAID, *options, "-o", tmp_path / "out.wav")
    files = [tmp_path / "out-1.wav", tmp_path / "out-2.wav"]
    assert (status, out.splitlines()) == (0, list(map(str, files)))
    first, second = (read_audio(file)[0] for file in files)
    assert len(first) == len(second) == 14400
    assert not np.array_equal(first, second)


def test_a_recording_takes_the_descriptions_place(speak, tmp_path):
    write_wav(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 44100).astype(np.float32), 44100)
    prompt = ("--audio-prompt", tmp_path / "noise.wav", "--content", "stop")
    assert speak(*prompt, "-o", tmp_path / "out.wav")[0] == 0


def test_bad_requests_for_speech_say_why_and_write_nothing(speak, tmp_path, capfd):
    out = ("-o", tmp_path / "out.wav")
    refused(speak(*SAID, "-o", tmp_path / "out.mp3"), "--output must end in .wav", "out.mp3")
    refused(speak(*SAID, "-o", tmp_path / "nowhere" / "out.wav"), "nowhere")
    refused(speak(*SAID, *out, "--number", "0"), "`--number` must be at least 1, got 0")
    refused(speak(*SAID, *out, "--device", "abacus"), "--device abacus cannot be used")
    refused(speak("--audio-prompt", tmp_path / "no.wav", "--content", "go", *out), "no.wav", "does not exist")
    refused(speak("--description", "rain", "--content-file", tmp_path / "no.txt", *out), "no.txt")
    (tmp_path / "text.txt").write_text("seven", encoding="utf-8")
    reading = ("--description", "rain", "--content-file", tmp_path / "text.txt")
    refused(speak(*reading, *out, "--seconds", "3"), "--content-file sets number and length of the segments")
    for options, reason in (
        (("--preset", "slow"), "must be one of fast, reference"),
        (("--seconds", "-1"), "`audio_length_in_s` must be above 0, got -1.0"),
        (("--desc-scale", "-2"), "`desc_guidance_scale` must be at least 0, got -2.0"),
    ):
        status, printed, err = speak(*SAID, *out, *options)
        assert (status, printed) == (1, "")
        assert reason in err
    with pytest.raises(SystemExit):
        speak("--description", "rain", *out)
    assert "one of the arguments --content --content-file is required" in capfd.readouterr().err
    assert not list(tmp_path.glob("*.wav"))


def test_the_demo_speaks_in_scenes(avzoo_command, tmp_path):
    status, out, _ = avzoo_command("demo", "text-to-audio", "-o", tmp_path / "demo", "--seed", "1")
    assert status == 0
    files = sorted(path.suffix for path in (tmp_path / "demo").iterdir())
    assert files == [".png", ".png", ".wav", ".wav"]
    assert "saying 'seven'" in out
