"""`sfd_face.pth` becomes our S3FD, whatever its widths, and what is no such file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import avzoo
from avzoo import S3FDConfig, S3FDDetector, S3FDForFaceDetection
from avzoo.conversion import convert_checkpoint, save_converted

KEYS = Path(__file__).parents[1] / "golden/cases/talknce/s3fd_raw/keys.json"


def small_file(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """The released file's keys with each width divided by 32."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape, _ in json.loads(KEYS.read_text()):
        sizes = [size if size in (1, 2, 3, 4) else size // 32 for size in shape]
        weights[key] = torch.randn(sizes, generator=generator) * 0.3
    return weights | changes


def test_widths_are_read_off_the_file():
    config = convert_checkpoint("s3fd", small_file()).config
    assert config.stage_channels == (2, 4, 8, 16, 16)
    assert (config.fc_channels, config.extra_channels, config.num_background_maps) == (32, (8, 16, 4, 8), 3)


def test_the_released_widths_are_the_defaults():
    shapes = {key: torch.empty(shape, device="meta") for key, shape, _ in json.loads(KEYS.read_text())}
    with torch.device("meta"):
        model = S3FDForFaceDetection(S3FDConfig())
    assert sum(value.numel() for value in shapes.values()) == sum(value.numel() for value in model.parameters())


def test_every_weight_finds_its_place():
    """Each tensor of the file is in the model exactly once, told by its values."""
    weights = small_file()
    model = convert_checkpoint("s3fd", weights)
    converted = {tuple(value.flatten().tolist()) for value in model.state_dict().values()}
    assert converted == {tuple(value.flatten().tolist()) for value in weights.values()}
    assert torch.equal(model.stages[2].convolutions[2].weight, weights["vgg.14.weight"])
    assert torch.equal(model.conv_fc7.bias, weights["vgg.33.bias"])
    assert torch.equal(model.norms[1].weight, weights["L2Norm4_3.weight"])


def test_the_folder_loads_and_says_where_it_came_from(tmp_path):
    path = tmp_path / "sfd_face.pth"
    torch.save(small_file(), path)
    model = convert_checkpoint("s3fd", path)
    folder = save_converted(model, tmp_path / "s3fd")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded, report = S3FDForFaceDetection.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert (loaded.config.avzoo_source["method"], loaded.config.avzoo_source["variant"]) == ("s3fd", "sfd_face")
    assert "`sfd_face.pth`" in (folder / "README.md").read_text()
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    expected = S3FDDetector(model, scale=1, confidence=0.5)(frames)
    for found, other in zip(
        expected, S3FDDetector.from_pretrained(folder, scale=1, confidence=0.5)(frames), strict=True
    ):
        np.testing.assert_allclose(found.boxes, other.boxes, rtol=1e-5)


def test_the_command_line_converts_it(tmp_path, capsys):
    from avzoo.cli import main

    torch.save(small_file(), tmp_path / "sfd_face.pth")
    main(["convert", "s3fd", str(tmp_path / "sfd_face.pth"), str(tmp_path / "out")])
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert isinstance(avzoo.S3FDForFaceDetection.from_pretrained(tmp_path / "out"), S3FDForFaceDetection)


def without(key):
    return {name: value for name, value in small_file().items() if name != key}


REFUSED = {
    "another network": (
        lambda: {"conv1.weight": torch.zeros(3)},
        r"is no S3FD checkpoint: `vgg\.0\.weight` must be the weight of a convolution, it lacks it",
    ),
    "a plain VGG": (
        lambda: small_file(**{"vgg.0.weight": torch.zeros(3)}),
        r"`vgg\.0\.weight` must be the weight of a convolution, it has the shape \(3,\) there",
    ),
    "a bias missing": (lambda: without("loc.3.bias"), r"1 tensor stays empty \(`box_heads\.3\.bias`\)"),
    "a layer too many": (
        lambda: small_file(**{"vgg.35.weight": torch.zeros(3)}),
        r"1 key has no rule \(`vgg\.35\.weight`\)",
    ),
    "heads of another count": (
        lambda: small_file(**{"conf.2.weight": torch.zeros(4, 16, 3, 3)}),
        r"1 shape differs \(`score_heads\.2\.weight",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name):
    weights, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("s3fd", weights())


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="no variant of s3fd is called 'wider'; there are: sfd_face"):
        convert_checkpoint("s3fd", small_file(), variant="wider")
