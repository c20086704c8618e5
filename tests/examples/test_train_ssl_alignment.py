"""The training of cross-modal alignment and the mining of its neighbours, on small files of every layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from localization_sets import write_set
from PIL import Image
from transformers import AutoModel

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import write_wav
from avzoo.models.ssl_alignment.neighbours import NeighbourLists, save_neighbours, write_released_neighbours
from avzoo.pipelines.sound_source_localization.evaluation import evaluate_localization
from avzoo.pipelines.sound_source_localization.test_sets import read_test_set
from avzoo.training.reports import read_metrics
from avzoo.video import write_video

SCRIPT = "train_ssl_alignment.py"
FAST = ["--batch_size", 3, "--val_share", 0.25, "--learning_rate", 0.01, "--no_progress_bar"]
NUMBER = 10


@pytest.fixture(scope="module")
def vggsound(tmp_path_factory) -> Path:
    """Ten clips in the authors' layout, of half a second; clip names are counted in another order than the list's."""
    root, generator = tmp_path_factory.mktemp("vggsound"), np.random.default_rng(0)
    (root / "audio").mkdir()
    names = [f"video{number}_{1000 * number}_{1000 * number + 10000}" for number in range(NUMBER)]
    for name in names:
        (root / "frames" / name).mkdir(parents=True)
        pixels = generator.integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(root / "frames" / name / "image_050.jpg")
        write_wav(root / "audio" / f"{name}.wav", generator.normal(0, 0.1, 8000).astype(np.float32), 16000)
    (root / "train.txt").write_text("\n".join(names) + "\n")
    numbers = (np.arange(NUMBER)[:, None] + np.arange(1, NUMBER)) % NUMBER
    lists = NeighbourLists(names[::-1], numbers, numbers)
    save_neighbours(lists, root / "neighbours.safetensors")
    write_released_neighbours(lists, root / "image.json", root / "audio.json")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Folder of a small network with random weights, and its processor."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = SSLAlignmentConfig(hidden_sizes=(4, 4, 6, 8), depths=(1, 1, 1, 1), projection_dim=5)
    SSLAlignmentForSoundLocalization(config).save_pretrained(folder)
    sizes = {"image_size": 32, "clip_seconds": 0.2, "base_seconds": 0.5, "spectrogram_size": (32, 16)}
    SSLAlignmentProcessor(**sizes).save_pretrained(folder)
    return folder


def training(root: Path, model: Path, output: Path, *neighbours: str) -> list[object]:
    places = ["--dataset", "vggsound", "--data_dir", root, "--list", root / "train.txt", "--model", model]
    lists = [root / name for name in neighbours or ("neighbours.safetensors",)]
    return [*places, "--neighbours", *lists, "--output_dir", output, *FAST]


def changed(before: Path, after: Path) -> set[str]:
    """The parameters of two folders that differ."""
    old, new = (AutoModel.from_pretrained(folder).named_parameters() for folder in (before, after))
    old = dict(old)
    return {name for name, tensor in new if not torch.equal(old[name], tensor)}


def test_a_network_is_trained_on_nine_pairs(vggsound, model, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), "--num_epochs", 1)
    assert status == 0, stderr
    everything = {name for name, _ in AutoModel.from_pretrained(model).named_parameters()}
    assert changed(model, tmp_path) == everything
    assert SSLAlignmentProcessor.from_pretrained(tmp_path).image_size == 32
    (evaluation,) = [row for row in read_metrics(tmp_path) if row["split"] == "evaluation"]
    assert evaluation["step"] == 3  # eight clips in batches of three: the last, smaller batch is kept
    assert {"loss", "R@1 image to sound", "R@1 sound to image"} <= evaluation.keys()
    card = (tmp_path / "README.md").read_text()
    assert "`vggsound`: 8 clips for training, 2 held out for evaluation, views original, augmented, similar" in card


def test_the_authors_lists_train_the_same_network(vggsound, model, run_main, tmp_path):
    for name, lists in (("ours", ()), ("theirs", ("image.json", "audio.json"))):
        options = [*training(vggsound, model, tmp_path / name, *lists), "--max_steps", 1]
        status, _, stderr = run_main(SCRIPT, *options)
        assert status == 0, stderr
    assert changed(tmp_path / "ours", tmp_path / "theirs") == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "untouched"),
    [
        (["--no_augmented", "--intra_modal", "similar"], set()),
        (["--terms", "localization", "--plain_mean"], {"image_projection", "audio_projection"}),
        (["--terms", "alignment", "--jitter", "symmetric", "--turn_whole"], set()),
    ],
)
def test_parts_of_the_recipe_can_be_left_out(options, untouched, vggsound, model, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), *options, "--max_steps", 1)
    assert status == 0, stderr
    everything = {name for name, _ in AutoModel.from_pretrained(model).named_parameters()}
    left = {name.split(".")[1] for name in everything - changed(model, tmp_path)}
    assert left == untouched
    assert AutoModel.from_pretrained(tmp_path).config.soft_mask is ("--plain_mean" not in options)


def test_batches_of_one_clip_are_refused(vggsound, model, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *training(vggsound, model, tmp_path), "--batch_size", 1)
    assert status != 0
    assert "--batch_size must be 2 or more: a clip is told from the others of its batch" in stderr


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(vggsound, model, check_resumed_run):
    options = training(vggsound, model, Path("overridden"))
    folder = check_resumed_run(SCRIPT, *options, "--max_steps", 4, "--log_every_steps", 1)
    assert [row["step"] for row in read_metrics(folder) if row["split"] == "train"] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--terms", "alignment"], "`terms`: checkpoint-000002 was written with 'both', this run has 'alignment'; "),
        (["--jitter", "none"], "`jitter`: checkpoint-000002 was written with 'released', this run has 'none'; "),
        (["--val_share", 0.5], "`val_share`: checkpoint-000002 was written with 0.25, this run has 0.5; "),
    ],
)
def test_a_changed_option_is_refused_when_a_run_resumes(
    changed, message, vggsound, model, kill_main, run_main, tmp_path
):
    options = [*training(vggsound, model, tmp_path), "--max_steps", 3, "--checkpoint_every_steps", 2]
    kill_main(2, SCRIPT, *options)
    status, _, stderr = run_main(SCRIPT, *options, *changed)
    assert status == 1
    assert stderr.splitlines()[-1].startswith(f"{SCRIPT}: {message}")


@pytest.mark.slow
def test_other_neighbours_are_refused_when_a_run_resumes(vggsound, model, kill_main, run_main, tmp_path):
    names = (vggsound / "train.txt").read_text().split()
    numbers = (np.arange(NUMBER)[:, None] + np.arange(2, NUMBER)) % NUMBER
    save_neighbours(NeighbourLists(names, numbers, numbers), tmp_path / "other.safetensors")
    options = [*training(vggsound, model, tmp_path / "run"), "--max_steps", 3, "--checkpoint_every_steps", 2]
    kill_main(2, SCRIPT, *options)
    status, _, stderr = run_main(SCRIPT, *options, "--neighbours", tmp_path / "other.safetensors")
    assert status == 1
    assert "`neighbour lists`: checkpoint-000002 was written with '10 clips, 9 and 9 neighbours" in stderr


def test_a_test_set_is_reported_beside_the_held_out_part(vggsound, model, run_main, tmp_path):
    root = write_set(tmp_path / "is3", "is3")
    options = [*training(vggsound, model, tmp_path / "out"), "--eval_dataset", "is3", "--eval_root", root]
    status, _, stderr = run_main(SCRIPT, *options, "--max_steps", 1)
    assert status == 0, stderr
    (evaluation,) = [row for row in read_metrics(tmp_path / "out") if row["split"] == "evaluation"]
    network = AutoModel.from_pretrained(tmp_path / "out")
    processor = SSLAlignmentProcessor.from_pretrained(tmp_path / "out")
    report = evaluate_localization(network, processor, read_test_set("is3", root), "is3")
    for name, value in report.scores["model"].items():
        assert evaluation[f"is3 {name}"] == pytest.approx(100 * value)


@pytest.mark.slow
@pytest.mark.parametrize("gather", [[], ["--gather"]])
def test_two_processes_train_together(gather, vggsound, model, run_script, tmp_path):
    options = [*training(vggsound, model, tmp_path), *gather, "--max_steps", 2]
    run_script(SCRIPT, *options, ranks="forked")
    assert len(changed(model, tmp_path)) > 20


@pytest.mark.slow
def test_own_videos_are_trained_on(model, run_main, caplog, tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "videos").mkdir()
    for number in range(6):
        frames = generator.integers(0, 256, (10, 32, 32, 3), np.uint8)
        sound = generator.normal(0, 0.1, 6400).astype(np.float32)
        write_video(tmp_path / "videos" / f"{number}.mp4", frames, 25, audio=sound, sampling_rate=16000)
    (tmp_path / "videos" / "6.mp4").write_bytes(b"no video")
    options = ["--dataset", "folder", "--data_dir", tmp_path / "videos", "--model", model, "--no_similar"]
    options += ["--output_dir", tmp_path / "out", *FAST, "--max_steps", 1, "--skip_damaged"]
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    assert "1 of the 7 clips can't be read and left out" in caplog.text
    assert "views original, augmented" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_missing_is_told(vggsound, model, run_main, tmp_path):
    data = ["--dataset", "vggsound", "--data_dir", vggsound]
    listed = [*data, "--list", vggsound / "train.txt"]
    for options, status, message in (
        (listed, 2, "give either --neighbours, which examples/mine_neighbours.py finds, or --no_similar"),
        ([*listed, "--neighbours", "a", "b", "c"], 2, "--neighbours takes one file of ours, or the authors' two"),
        ([*listed, "--no_similar", "--intra_modal", "similar"], 2, "needs the view that --no_similar leaves out"),
        ([*listed, "--no_similar", "--model", model, "--level", 0.1], 2, "--level is for a new model"),
        ([*listed, "--no_similar", "--eval_dataset", "is3"], 2, "--eval_dataset and --eval_root belong together"),
        ([*data, "--no_similar"], 1, "`list` must be given with --dataset vggsound"),
        ([*listed, "--neighbours", "nowhere"], 1, "`neighbours` (nowhere) is no file"),
        ([*listed, "--no_similar", "--val_share", 0.9], 1, "`val_share` (0.9) leaves 1 of 10 clips to train on"),
    ):
        found, _, stderr = run_main(SCRIPT, *options, "--output_dir", tmp_path / "out")
        assert (found, message in stderr) == (status, True), stderr


def test_a_clip_without_neighbours_is_named(vggsound, model, run_main, tmp_path):
    lists = NeighbourLists(["video0_0_10000", "other"], np.array([[1], [0]]), np.array([[1], [0]]))
    save_neighbours(lists, tmp_path / "few.safetensors")
    options = [*training(vggsound, model, tmp_path / "out"), "--neighbours", tmp_path / "few.safetensors"]
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 1
    assert "`neighbours` has no list for" in stderr


@pytest.mark.slow
def test_a_new_network_begins_with_imagenet_weights(vggsound, small_encoders, run_main, tmp_path):
    """Of the released size: the rate is 0, so the weights are still those of the ResNet."""
    options = ["--dataset", "vggsound", "--data_dir", vggsound, "--list", vggsound / "train.txt", "--no_similar"]
    options += ["--no_augmented", "--image_weights", small_encoders / "resnet18", "--max_steps", 1, "--level", 0.1]
    options += ["--output_dir", tmp_path / "out", "--batch_size", 2, "--learning_rate", 0, "--val_share", 0.2]
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 0, stderr
    trained = AutoModel.from_pretrained(tmp_path / "out")
    convolution = trained.alignment.image_trunk.stages[3][0].shortcut.convolution
    expected = (
        AutoModel.from_pretrained(small_encoders / "resnet18").encoder.stages[3].layers[0].shortcut.convolution.weight
    )
    assert torch.equal(convolution.weight, expected)
    assert SSLAlignmentProcessor.from_pretrained(tmp_path / "out").level == 0.1
