"""An ImageNet ResNet-18 becomes the trunk of pictures, whichever library's names its weights have."""

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from avzoo.conversion.resnet18 import load_resnet18
from avzoo.models.ssl_alignment.residual_trunk import ResidualTrunk

SIZES, STRIDES = (8, 8, 12, 16), (1, 2, 2, 2)
SETTINGS = {"embedding_size": 8, "hidden_sizes": list(SIZES), "num_labels": 3}


@pytest.fixture
def classifier() -> ResNetForImageClassification:
    torch.manual_seed(0)
    config = ResNetConfig(depths=[1, 2, 1, 1], layer_type="basic", **SETTINGS)
    model = ResNetForImageClassification(config)
    for _ in range(2):  # running statistics of their own
        model(torch.randn(4, 3, 48, 48) + 1)
    return model.eval()


def new_trunk() -> ResidualTrunk:
    return ResidualTrunk(3, SIZES, (1, 2, 1, 1), STRIDES)


def name_as_torchvision(model: ResNetForImageClassification) -> dict[str, torch.Tensor]:
    renamed = {}
    for key, tensor in model.state_dict().items():
        key = key.removeprefix("resnet.").replace("embedder.embedder.convolution", "conv1")
        key = key.replace("embedder.embedder.normalization", "bn1").replace("classifier.1", "fc")
        if key.startswith("encoder."):
            stage, block, rest = (key.split(".")[place] for place in (2, 4, 5))
            leaf = key.rpartition(".")[2]
            is_norm = "normalization" in key
            if rest == "shortcut":
                part = f"downsample.{int(is_norm)}"
            else:
                part = ("bn" if is_norm else "conv") + str(int(key.split(".")[6]) + 1)
            key = f"layer{int(stage) + 1}.{block}.{part}.{leaf}"
        renamed[key] = tensor
    return renamed


@torch.no_grad()
def test_the_trunk_computes_what_transformers_resnet_does(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    trunk, pixels = new_trunk(), torch.randn(2, 3, 64, 48)
    load_resnet18(trunk, tmp_path)
    expected = classifier.resnet(pixels).last_hidden_state
    torch.testing.assert_close(trunk.eval()(pixels), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_torchvisions_names_give_the_same_weights(classifier, tmp_path):
    torch.save(name_as_torchvision(classifier), tmp_path / "resnet18.pth")
    trunk, other = new_trunk(), new_trunk()
    load_resnet18(trunk, tmp_path / "resnet18.pth")
    load_resnet18(other, classifier.resnet.state_dict())  # without its head
    state = other.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trunk.state_dict().items())


def test_other_networks_are_refused_by_their_tensors():
    bottlenecks = ResNetForImageClassification(ResNetConfig(depths=[1, 2, 1, 1], **SETTINGS))
    with pytest.raises(ValueError, match=r"30 keys have no rule \(`resnet\.encoder\.stages\..*\.layer\.2\."):
        load_resnet18(new_trunk(), bottlenecks.state_dict())


def test_a_missing_tensor_is_named(classifier):
    tensors = name_as_torchvision(classifier)
    del tensors["layer3.0.conv2.weight"]
    with pytest.raises(ValueError, match=r"1 tensor stays empty \(`stages\.2\.0\.conv2\.convolution\.weight`\)"):
        load_resnet18(new_trunk(), tensors)


def test_a_name_on_the_hub_is_downloaded(classifier, monkeypatch, tmp_path):
    classifier.save_pretrained(tmp_path)
    monkeypatch.setattr("avzoo.conversion.downloads.snapshot_download", lambda name, **_: {"a/resnet": tmp_path}[name])
    trunk = new_trunk()
    load_resnet18(trunk, "a/resnet")
    assert torch.equal(trunk.stem.convolution.weight, classifier.resnet.embedder.embedder.convolution.weight)
    with pytest.raises(FileNotFoundError, match=r"weights/resnet18\.pth"):
        load_resnet18(trunk, "weights/resnet18.pth")
