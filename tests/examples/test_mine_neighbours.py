"""The mining of neighbours: with the encoders people have, resumed, and in both forms of files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ASTFeatureExtractor,
    ASTModel,
    AutoImageProcessor,
    CLIPModel,
)

from avzoo import SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import read_audio, write_wav
from avzoo.models.ssl_alignment.neighbours import read_neighbours

SCRIPT = "mine_neighbours.py"
NUMBER = 7


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Seven clips of noise by a table."""
    root, generator = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    lines = ["image,audio,id"]
    for number in range(NUMBER):
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(root / f"{number}.png")
        write_wav(root / f"{number}.wav", generator.normal(0, 0.05 + 0.05 * number, 8000).astype(np.float32), 16000)
        lines.append(f"{number}.png,{number}.wav,clip{number}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def encoders(small_encoders) -> Path:
    return small_encoders


def mining(clips: Path, encoders: Path, image: str, audio: str, output: Path) -> list[object]:
    data = ["--dataset", "csv", "--list", clips / "clips.csv", "--output", output, "--batch_size", 3]
    return [*data, "--image_model", encoders / image, "--audio_model", encoders / audio]


def sort_by_cosine(features: torch.Tensor) -> list[list[int]]:
    vectors = torch.nn.functional.normalize(features.double(), dim=1).half().double()  # as they are kept
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    order = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).argsort(dim=1, descending=True)
    return order[:, :-1].tolist()


@torch.no_grad()
def test_neighbours_are_those_of_the_encoders_features(clips, encoders, run_main, tmp_path):
    output, released = tmp_path / "lists.safetensors", [tmp_path / "image.json", tmp_path / "audio.json"]
    options = mining(clips, encoders, "clip", "ast", output)
    status, stdout, stderr = run_main(SCRIPT, *options, "--k", NUMBER - 1, "--released_output", *released)
    assert status == 0, stderr
    assert "6 neighbours of 7 clips" in stdout
    lists = read_neighbours(output)
    assert lists.ids == tuple(f"clip{number}" for number in range(NUMBER))
    pictures = [Image.open(clips / f"{number}.png") for number in range(NUMBER)]
    inputs = AutoImageProcessor.from_pretrained(encoders / "clip")(images=pictures, return_tensors="pt")
    features = CLIPModel.from_pretrained(encoders / "clip").get_image_features(**inputs).pooler_output
    assert lists.image[:].tolist() == sort_by_cosine(features)
    sounds = [np.tile(read_audio(clips / f"{number}.wav")[0], 20) for number in range(NUMBER)]  # ten seconds
    inputs = ASTFeatureExtractor.from_pretrained(encoders / "ast")(sounds, sampling_rate=16000, return_tensors="pt")
    features = ASTModel.from_pretrained(encoders / "ast").eval()(**inputs).pooler_output
    assert lists.audio[:].tolist() == sort_by_cosine(features)
    theirs = [json.loads(path.read_text())[0] for path in released]
    assert [content["clip3.npy"] for content in theirs] == [lists.image[3].tolist(), lists.audio[3].tolist()]


@torch.no_grad()
def test_a_trained_model_mines_again(clips, encoders, run_main, tmp_path):
    output = tmp_path / "lists.safetensors"
    status, _, stderr = run_main(SCRIPT, *mining(clips, encoders, "alignment", "alignment", output))
    assert status == 0, stderr
    assert "7 clips have 6 neighbours each, fewer than the 1000 asked for" in stderr
    lists = read_neighbours(output)
    model = SSLAlignmentForSoundLocalization.from_pretrained(encoders / "alignment").eval()
    processor = SSLAlignmentProcessor.from_pretrained(encoders / "alignment")
    places = [[clips / f"{number}.{kind}" for number in range(NUMBER)] for kind in ("png", "wav")]
    inputs = processor(images=places[0], audio=places[1])
    image, audio = model.get_image_features(inputs.pixel_values), model.get_audio_features(inputs.input_features)
    assert lists.image[:].tolist() == sort_by_cosine(image.pooler_output)
    assert lists.audio[:].tolist() == sort_by_cosine(audio.pooler_output)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_networks_without_a_projection_are_encoders(name, clips, encoders, run_main, tmp_path):
    """A classifier's ViT lacks the pooling layer of the bare model: the mean is taken, the same in every run."""
    found = []
    for run in ("one", "other"):
        options = mining(clips, encoders, name, "ast", tmp_path / f"{run}.safetensors")
        status, _, stderr = run_main(SCRIPT, *options, "--k", 3)
        assert status == 0, stderr
        found.append(read_neighbours(tmp_path / f"{run}.safetensors").image[:].tolist())
    assert found[0] == found[1]


def test_features_of_a_model_that_was_trained_further_are_not_taken(clips, encoders, run_main, tmp_path):
    shutil.copytree(encoders / "alignment", tmp_path / "alignment")
    options = mining(clips, tmp_path, "alignment", "alignment", tmp_path / "lists.safetensors")
    assert run_main(SCRIPT, *options)[0] == 0
    model = SSLAlignmentForSoundLocalization.from_pretrained(tmp_path / "alignment")
    torch.nn.init.normal_(model.alignment.image_projection.weight)
    model.save_pretrained(tmp_path / "alignment")
    status, _, stderr = run_main(SCRIPT, *options)
    assert status == 1
    assert "was written with `files`" in stderr
    assert stderr.endswith("choose another folder.\n")


def test_features_that_are_there_are_not_computed_again(clips, encoders, run_main, monkeypatch, tmp_path):
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips" / "4.png").write_bytes(b"no picture")
    options = mining(tmp_path / "clips", encoders, "resnet", "ast", tmp_path / "lists.safetensors")
    status, _, stderr = run_main(SCRIPT, *options, "--k", 2)
    assert status == 1
    assert "4.png" in stderr
    shutil.copy(clips / "4.png", tmp_path / "clips")
    (tmp_path / "clips" / "0.png").write_bytes(b"read already")
    status, _, stderr = run_main(SCRIPT, *options, "--k", 2)
    assert status == 0, stderr
    status, _, stderr = run_main(
        SCRIPT, *mining(clips, encoders, "resnet", "ast", tmp_path / "whole.safetensors"), "--k", 2
    )
    assert status == 0, stderr
    resumed, whole = (read_neighbours(tmp_path / name) for name in ("lists.safetensors", "whole.safetensors"))
    assert resumed.image[:].tolist() == whole.image[:].tolist()


def test_features_of_another_encoder_are_refused(clips, encoders, run_main, tmp_path):
    for name, expected in (("resnet", 0), ("clip", 1)):
        status, _, stderr = run_main(SCRIPT, *mining(clips, encoders, name, "ast", tmp_path / "lists.safetensors"))
        assert status == expected
    assert "was written with `model`" in stderr


@pytest.mark.parametrize(
    ("image", "audio", "message"),
    [
        ("ast", "ast", "`image_model` ({encoders}/ast) has no processor of its own for image"),
        ("clip", "resnet", "`audio_model` ({encoders}/resnet)"),
        ("nowhere", "ast", "nowhere"),
    ],
)
def test_encoders_of_the_other_kind_are_refused(image, audio, message, clips, encoders, run_main, tmp_path):
    status, _, stderr = run_main(SCRIPT, *mining(clips, encoders, image, audio, tmp_path / "lists.safetensors"))
    assert status == 1
    assert message.format(encoders=encoders) in stderr.splitlines()[-1]
