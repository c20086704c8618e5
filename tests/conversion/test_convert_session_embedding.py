"""Speaker encoders that people hold, at any size: every weight in its place, containers, junk, what is refused."""

import functools
import json
from pathlib import Path

import pytest
import reference_session_embedding as reference
import small_session_embedding as small
import torch
from transformers import AutoModelForAudioXVector

from avzoo import SpeakerEncoderForXVector, zoo
from avzoo.cli import main
from avzoo.conversion import convert_checkpoint, describe_conversion, save_converted

CASES = Path(__file__).parents[1] / "golden/cases/session_embedding"
EVERY = pytest.mark.parametrize("name", list(small.SMALL))
# One of each kind.
KINDS = pytest.mark.parametrize(
    "name", list({kind: name for name, (kind, _, _) in reversed(small.SMALL.items())}.values())
)


def convert(name: str, checkpoint=None, **options) -> SpeakerEncoderForXVector:
    options = {"config": small.SMALL[name][2], **options}
    return convert_checkpoint(
        "session_embedding", small.small_file(name) if checkpoint is None else checkpoint, **options
    )


@functools.cache
def convert_small(name: str) -> SpeakerEncoderForXVector:
    """Converted once; to be looked at only."""
    return convert(name)


def same_weights(first: SpeakerEncoderForXVector, second: SpeakerEncoderForXVector) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@functools.cache
def recording(samples: int = 9000) -> torch.Tensor:
    draw = torch.Generator().manual_seed(samples)
    return 0.1 * torch.randn(samples, generator=draw) * torch.linspace(0.05, 1, samples)


# --- every weight in its place ----------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("samples", [1680, 9000, 16161])
@torch.no_grad()
def test_an_encoder_is_the_plainly_written_one(name, samples):
    """In float32, against float64; RawNet3's logarithm of small magnitudes amplifies the rounding."""
    kind, _, settings = small.SMALL[name]
    model = convert(name)
    settings = {**settings, "num_mel_bins": model.config.num_mel_bins, "environment": model.config.environment_size}
    output = model(recording(samples)[None])
    embedding, environment = reference.embed(kind, small.small_file(name), recording(samples), settings)
    tolerance = 1e-3 if kind == "rawnet3" else 2e-5
    assert (output.embeddings[0] - embedding).norm() < tolerance * embedding.norm()
    if environment is None:
        assert output.environment_codes is None
    else:
        assert (output.environment_codes[0] - environment).norm() < tolerance * environment.norm()


FULL = {
    "ecapa_speechbrain_full": (small.ecapa_speechbrain(), 20_767_552),
    "wespeaker_ecapa": (small.wespeaker_ecapa(), None),
    "wespeaker_resnet34_full": (small.wespeaker_resnet34(), 6_634_336),
    "resnetse34l_full": (small.resnetse34l(), 1_437_078),
    "resnetse34v2_full": (small.resnetse34v2(), 8_028_492),
    "rawnet3_full": (small.rawnet3(), 16_280_322),
    # 14,061,952 without the last layer and its norm: 512 x 3072 + 512, and 2 x 3072.
    "ecapa_disentangler_full": (small.ecapa_disentangler(), 14_061_952 + 512 * 3073 + 2 * 3072),
}


@pytest.mark.parametrize("case", list(FULL))
def test_small_files_are_built_as_the_released_ones(case):
    """At the released sizes the keys and shapes are those of the released file, but for the training's own."""
    shapes = FULL[case][0]
    released = {key: tuple(shape) for key, shape, _ in json.loads((CASES / case / "keys.json").read_text())}

    def inference_only(entries):
        training = ("__L__", "__DE__.decoder", "__E_", "projection")
        return {
            key: shape
            for key, shape in entries.items()
            if not key.startswith(training) and not key.endswith("num_batches_tracked")
        }

    assert inference_only(shapes) == inference_only(released)


@pytest.mark.parametrize("case", [case for case, (_, count) in FULL.items() if count])
def test_the_released_sizes_have_the_known_number_of_parameters(case):
    tensors = {key: torch.zeros(shape) for key, shape in FULL[case][0].items()}
    model = convert_checkpoint("session_embedding", tensors)
    ours = sum(weight.numel() for weight in model.parameters())
    # The sheet counts what the authors' module holds: RawNet3's two norms that nothing applies are not here.
    unused = 2 * 256 + 2 * 256 if case == "rawnet3_full" else 0
    assert ours + unused == FULL[case][1]


@EVERY
def test_every_number_of_the_file_is_in_the_model_once(name):
    file = small.small_file(name)
    ignored = {key for keys in convert_small(name).config.avzoo_source["tensors_ignored"].values() for key in keys}
    kept = [value for key, value in file.items() if key.removeprefix("__S__.") not in ignored]
    theirs = torch.cat([value.flatten() for value in kept if value.is_floating_point()])
    ours = torch.cat(
        [value.flatten() for value in convert_small(name).state_dict().values() if value.is_floating_point()]
    )
    assert torch.equal(theirs.sort().values, ours.sort().values)
    assert not convert_small(name).training


@EVERY
def test_ignored_tensors_are_told_with_a_reason(name):
    source = convert_small(name).config.avzoo_source
    file = {key.removeprefix("__S__.") for key in small.small_file(name)}
    starts = (
        "__L__",
        "__DE__.decoder",
        "__E_",
        "torchfb",
        "torchmfcc",
        "preprocess.0",
        "bn1" if "rawnet" in name else "?",
        "bn6",
    )
    fixed = {key for key in file if key.startswith(starts) or key.endswith(("window_", "filterbank.n_"))}
    ignored = {key for keys in source["tensors_ignored"].values() for key in keys}
    assert ignored == fixed
    assert all(len(why) > 15 for why in source["tensors_ignored"])
    assert source["tensors_used"] == len(file) - len(fixed)


# --- containers and prefixes ------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("container", ["model", "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_containers_and_prefixes_do_not_matter(name, container, prefix):
    weights = {prefix + key: value for key, value in small.small_file(name).items()}
    file = {container: weights, "epoch": 7, "optimizer_state_dict": {"state": {}}}
    model = convert(name, file)
    assert same_weights(model, convert_small(name))
    assert model.config.avzoo_source["entries_ignored"] == ["epoch", "optimizer_state_dict"]
    assert "not read, beside the weights: epoch, optimizer_state_dict" in describe_conversion(model)


@KINDS
def test_encoder_keys_may_come_without_the_trainers_prefix(name):
    weights = {key.removeprefix("__S__."): value for key, value in small.small_file(name).items()}
    assert same_weights(convert(name, {"model": weights}), convert_small(name))


@KINDS
def test_counters_may_be_missing(name):
    without = {key: value for key, value in small.small_file(name).items() if "num_batches" not in key}
    model = convert(name, without)
    assert torch.equal(model(recording()[None]).embeddings, convert_small(name)(recording()[None]).embeddings)


@KINDS
def test_what_is_saved_loads_completely_and_computes_the_same(name, tmp_path):
    save_converted(convert(name), tmp_path / "encoder")
    loaded, report = SpeakerEncoderForXVector.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert not any(report.values()), report
    assert same_weights(loaded, convert_small(name))
    assert (tmp_path / "encoder/README.md").is_file()
    assert (tmp_path / "encoder/preprocessor_config.json").is_file()


# --- variants and settings --------------------------------------------------------------------------------------------


@EVERY
def test_the_kind_is_told_by_the_keys(name):
    source = convert_small(name).config.avzoo_source
    assert (source["variant"], source["variant_told"]) == (small.SMALL[name][0], "by its shapes")


@KINDS
def test_another_variant_is_refused(name):
    kind = small.SMALL[name][0]
    other = "rawnet3" if kind != "rawnet3" else "resnetse34l"
    with pytest.raises(ValueError, match=f"checkpoint holds a {kind}, which variant='{other}' is not for"):
        convert(name, variant=other)


def test_settings_that_shapes_do_not_tell_win():
    model = convert("rawnet3", config={"sinc_stride": 20})
    assert model.config.sinc_stride == 20
    assert (
        model(recording()[None]).embeddings - convert_small("rawnet3")(recording()[None]).embeddings
    ).abs().max() > 1e-3


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"`config` has no field 'sinc_strid'; Session embeddings has: .*sinc_stride"):
        convert("rawnet3", config={"sinc_strid": 20})


# --- what is refused --------------------------------------------------------------------------------------------------

MISSING = {
    "ecapa_speechbrain": (
        "fc.conv.weight",
        "blocks.2.tdnn1.conv.conv.bias",
        "blocks.0.conv.conv.weight",
        "mfa.conv.conv.weight",
    ),
    "wespeaker_ecapa": (
        "linear.weight",
        "conv.weight",
        "layer3.se_res2block.1.bns.4.running_mean",
        "layer2.se_res2block.3.linear1.weight",
    ),
    "wespeaker_resnet34": ("layer4.0.conv1.weight", "layer2.1.conv2.weight", "seg_1.bias"),
    "resnetse34l": ("__S__.fc.weight", "__S__.attention", "__S__.layer3.4.se.fc.2.bias"),
    "resnetse34v2": ("__S__.fc.weight", "__S__.attention.3.bias", "__S__.conv1.bias"),
    "resnetse34v2 with codes": ("__S__.layer1.0.conv1.weight", "__DE__.encoder.0.weight", "__DE__.encoder.1.bias"),
    "rawnet3": ("__S__.fc6.weight", "__S__.layer4.weight", "__S__.layer2.afms.alpha", "__S__.preprocess.1.bias"),
    "ecapa_disentangler": (
        "__S__.layer4.weight",
        "__S__.layer1.se.se.3.bias",
        "__DE__.encoder.1.bias",
        "__S__.layer2.convs.0.weight",
    ),
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in MISSING.items() for key in keys])
def test_a_missing_key_is_named(name, key):
    """A message, and never a bare key."""
    weights = small.small_file(name)
    del weights[key]
    with pytest.raises(ValueError, match=r"stays? empty \(`|lacks `"):
        convert(name, weights)


@KINDS
def test_a_key_too_many_is_named(name):
    with pytest.raises(ValueError, match=r"1 key has no rule \(`extra\.weight`\)"):
        convert(name, small.small_file(name) | {"extra.weight": torch.zeros(3)})


def test_another_network_is_refused():
    with pytest.raises(
        ValueError, match=r"is no speaker encoder that avzoo knows .*Its keys begin with `conv1\.weight`"
    ):
        convert_checkpoint("session_embedding", {"conv1.weight": torch.zeros(3)})


def test_a_container_without_weights_is_refused():
    with pytest.raises(ValueError, match="holds a str"):
        convert_checkpoint("session_embedding", {"model": {"name": "rawnet3"}})


def test_an_encoder_of_the_trainer_without_a_last_layer_is_refused():
    """A file of the disentangler whose codes were cut off is no ResNetSE34V2."""
    weights = {key: value for key, value in small.small_file("resnetse34v2 with codes").items() if "__DE__" not in key}
    with pytest.raises(ValueError, match=r"lacks `fc\.weight`"):
        convert_checkpoint("session_embedding", weights)


# --- the command line -------------------------------------------------------------------------------------------------


@KINDS
def test_the_command_line_converts_a_file(name, tmp_path, capsys):
    kind, _, settings = small.SMALL[name]
    file = tmp_path / zoo.find_row("session_embedding").find_variant(kind).checkpoint
    torch.save({"model": small.small_file(name)}, file)
    options = [part for field, value in settings.items() for part in ("--config", f"{field}={value}")]
    assert main(["convert", "session_embedding", str(file), str(tmp_path / "encoder"), *options]) == 0
    assert f"session_embedding, variant {kind}, told by its shapes" in capsys.readouterr().err
    loaded = AutoModelForAudioXVector.from_pretrained(tmp_path / "encoder")
    assert isinstance(loaded, SpeakerEncoderForXVector)
    assert same_weights(loaded, convert_small(name))
    card = (tmp_path / "encoder/README.md").read_text()
    assert f"`{file.name}`" in card
    assert "This folder is an encoder alone" in card


def test_info_names_every_released_file(capsys):
    assert main(["info", "session_embedding"]) == 0
    printed = capsys.readouterr().out
    for variant in zoo.find_row("session_embedding").variants:
        assert f"{variant.name} " in printed
        assert f"File: {variant.checkpoint}" in printed
    assert {kind for kind, _, _ in small.SMALL.values()} == {
        variant.name for variant in zoo.find_row("session_embedding").variants if variant.name != "toy"
    }


def test_the_command_line_names_what_is_wrong(tmp_path, capsys):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    assert main(["convert", "session_embedding", str(tmp_path / "other.pt"), str(tmp_path / "encoder")]) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "is no speaker encoder that avzoo knows" in error
    assert not (tmp_path / "encoder").exists()
