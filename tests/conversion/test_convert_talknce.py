"""The authors' LoCoNet, TalkNCE and TalkNet files, at any size: every weight in its place, junk, what is refused."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avzoo import LoCoNetConfig, LoCoNetForActiveSpeakerDetection, TalkNetConfig, TalkNetForActiveSpeakerDetection
from avzoo.conversion import convert_checkpoint

CASES = Path(__file__).parents[1] / "golden/cases/talknce"
LOCONET, TALKNET = "loconet_full_s3", "talknet_full_b1"
BOTH = pytest.mark.parametrize("case", [LOCONET, TALKNET])
PREFIX = "model.module."
UNUSED = "model.visualFrontend.resnet.layer1.downsample.weight"
SMALLER = 8  # every width is divided by this


def released(case: str) -> list[tuple[str, list[int], str]]:
    return json.loads((CASES / case / "keys.json").read_text())


def small_file(case: str, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """The released file's keys, each width divided by 8; kernels, and what squeezes channels, keep their size."""
    return {**_small_file(case), **changes}


@functools.cache
def _small_file(case: str) -> dict[str, torch.Tensor]:
    generator, weights = torch.Generator().manual_seed(0), {}
    for key, shape, kind in released(case):
        squeezed = {"se.fc.0.weight": 0, "se.fc.0.bias": 0, "se.fc.2.weight": 1}.get(key[key.find("se.fc") :])
        sizes = [
            size // SMALLER if size >= 13 and place != squeezed else size  # the last size of a kernel is 7 at most
            for place, size in enumerate(shape)
        ]
        if kind == "int64":
            weights[key] = torch.tensor(5)
        elif key.endswith("running_var"):
            weights[key] = torch.rand(sizes, generator=generator) + 0.5
        else:
            weights[key] = 0.3 * torch.randn(sizes, generator=generator)
    return weights


def convert(case: str, checkpoint, **options):
    """Of a TalkNet one has to say which one it is."""
    return convert_checkpoint("talknce", checkpoint, variant=None if "loconet" in case else "talknet", **options)


@functools.cache
def small(case: str):
    """The small file, converted once; to be looked at only."""
    return convert(case, small_file(case))


@functools.cache
def expected_logits(case: str) -> torch.Tensor:
    return logits_of(small(case))


def same_weights(model, case: str) -> bool:
    first, second = model.state_dict(), small(case).state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def logits_of(model) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    speakers = getattr(model.config, "num_speakers", 2)
    pixels = torch.randint(256, (1, speakers, 5, 112, 112), dtype=torch.uint8, generator=draw)
    return model(pixels, torch.randn(1, 20, model.num_bins, generator=draw)).logits


# --- every weight in its place ----------------------------------------------------------------------------------------


@BOTH
def test_every_number_of_the_file_is_in_the_model_once(case):
    weights = small_file(case)
    model = small(case)
    theirs = torch.cat(
        [value.flatten() for key, value in weights.items() if key != UNUSED and value.is_floating_point()]
    )
    ours = torch.cat([value.flatten() for value in model.state_dict().values() if value.is_floating_point()])
    assert torch.equal(theirs.sort().values, ours.sort().values)
    assert not model.training
    assert logits_of(model).isfinite().all()


@pytest.mark.parametrize(
    ("case", "model_class", "config_class", "keys", "unused", "parameters"),
    [
        (LOCONET, LoCoNetForActiveSpeakerDetection, LoCoNetConfig, 272, 0, 34_332_875),
        (TALKNET, TalkNetForActiveSpeakerDetection, TalkNetConfig, 487, 1, 15_744_481 - 4096),
    ],
)
def test_the_released_sizes_are_the_defaults(case, model_class, config_class, keys, unused, parameters):
    """The attention's stacked rows, a weight and a bias, are three tensors each here."""
    with torch.device("meta"):
        model = model_class(config_class())
    assert sum(value.numel() for value in model.parameters()) == parameters
    layers = sum(name.endswith("q_proj.weight") for name in model.state_dict())
    counters = sum(name.endswith("num_batches_tracked") for name in model.state_dict())
    theirs = [key for key, _, _ in released(case)]
    assert len(theirs) == keys
    absent = counters - sum(key.endswith("num_batches_tracked") for key in theirs)
    assert len(model.state_dict()) == keys - unused + 4 * layers + absent


def test_sizes_of_a_loconet_are_told_by_its_shapes():
    config = small(LOCONET).config
    assert config.model_type == "loconet"
    assert (config.embedding_size, config.feed_forward_ratio, config.num_temporal_layers) == (16, 4, 5)
    assert config.trunk_channels == config.audio_channels == (8, 16, 32, 64)
    assert (config.num_speakers, config.num_context_layers, config.context_kernel_size) == (3, 3, 7)
    assert (config.cross_attention_query, config.join_tracks, config.talknce_weight) == ("other", True, 0.3)
    config = convert_checkpoint("talknce", small_file("loconet_l1_s2")).config
    assert (config.num_speakers, config.num_context_layers) == (2, 1)


def test_sizes_of_a_talknet_are_told_by_its_shapes():
    config = small(TALKNET).config
    assert config.model_type == "talknet"
    assert (config.embedding_size, config.feed_forward_ratio, config.num_temporal_layers) == (16, 4, 5)
    assert (config.trunk_channels, config.audio_channels) == ((8, 16, 32, 64), (2, 4, 8, 16))
    assert (config.audio_depths, config.squeeze_ratio) == ((3, 4, 6, 3), 1)
    assert (config.join_tracks, config.talknce_weight) == (False, 0.0)


@BOTH
def test_each_tensor_is_told_to_be_used_or_ignored(case):
    source = small(case).config.avzoo_source
    ignored = [key for keys in source["tensors_ignored"].values() for key in keys]
    assert ignored == ([UNUSED] if case == TALKNET else [])
    assert source["tensors_used"] == len(small_file(case)) - len(ignored)


def test_where_some_weights_of_a_loconet_go():
    weights = {key.removeprefix(PREFIX): value for key, value in small_file(LOCONET).items()}
    model = small(LOCONET)
    stacked = weights["model.crossA2V.self_attn.in_proj_weight"]
    assert torch.equal(model.cross_audio.attention.q_proj.weight, stacked[:16])
    assert torch.equal(model.cross_audio.attention.v_proj.weight, stacked[32:])
    assert torch.equal(model.cross_visual.norm1.bias, weights["model.crossV2A.norm1.bias"])
    assert torch.equal(model.time_layers[1].linear1.bias, weights["model.convAV.3.linear1.bias"])
    assert torch.equal(model.speaker_layers[2].conv.weight, weights["model.convAV.4.conv2d.weight"])
    assert torch.equal(
        model.speaker_layers[0].linear2.weight, weights["model.convAV.0.conv2d_1x1_2.weight"][:, :, 0, 0]
    )
    assert torch.equal(model.audio.convs[4].weight, weights["model.audioEncoder.features.11.weight"])
    for theirs, ours in (("lossAV", "classifier"), ("lossA", "audio_classifier"), ("lossV", "visual_classifier")):
        assert torch.equal(getattr(model, ours).weight, weights[f"{theirs}.FC.weight"])


def test_a_talknet_hears_along_the_other_side():
    """The authors' pictures of the sound stand, coefficients by rows; ours lie."""
    weights = small_file(TALKNET)
    model = small(TALKNET)
    assert torch.equal(model.audio.stem_conv.weight, weights["model.audioEncoder.conv1.weight"].transpose(2, 3))
    theirs = weights["model.audioEncoder.layer3.2.conv2.weight"]
    assert torch.equal(model.audio.stages[2][2].conv2.weight, theirs.transpose(2, 3))


# --- prefixes and junk ------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("prefix", ["", "module.", "model.module.", "model."])
def test_prefixes_of_a_wrapper_do_not_matter(case, prefix):
    plain = {key.removeprefix(PREFIX): value for key, value in small_file(case).items()}
    assert same_weights(convert(case, {prefix + key: value for key, value in plain.items()}), case)


@BOTH
def test_counters_may_be_missing(case):
    weights = small_file(case)
    without = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(without) < len(weights)
    model = convert(case, without)
    torch.testing.assert_close(logits_of(model), expected_logits(case), rtol=0, atol=0)


def test_the_shortcut_that_talknet_never_calls_may_be_missing():
    without = {key: value for key, value in small_file(TALKNET).items() if key != UNUSED}
    assert same_weights(convert(TALKNET, without), TALKNET)


# --- variants, settings, files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "variant", "expected"),
    [
        (LOCONET, None, {"audio_features": "log_mel", "crop": "tight", "score": "probability", "num_speakers": 3}),
        (TALKNET, "talknet", {"audio_features": "mfcc", "crop": "lower_face", "score": "logit", "num_speakers": 1}),
        (TALKNET, "talknet_ava", {"audio_features": "mfcc", "crop": "tight", "score": "logit", "num_speakers": 1}),
    ],
)
def test_a_variant_says_what_its_processor_does(case, variant, expected):
    source = convert_checkpoint("talknce", small_file(case), variant=variant).config.avzoo_source
    assert source["variant"] == (variant or case.partition("_")[0])
    assert {name: source["processor"][name] for name in expected} == expected


def test_a_processor_takes_as_many_faces_as_the_network():
    """Also of a file that was trained with another number than the released one."""
    source = convert_checkpoint("talknce", small_file("loconet_l1_s2")).config.avzoo_source
    assert source["processor"]["num_speakers"] == 2


@pytest.mark.parametrize(("case", "variant"), [(LOCONET, "talknet"), (LOCONET, "talknet_ava"), (TALKNET, "loconet")])
def test_a_variant_of_the_other_network_is_refused(case, variant):
    kind = case.partition("_")[0]
    with pytest.raises(ValueError, match=f"checkpoint holds a {kind}, which variant='{variant}' is not for"):
        convert_checkpoint("talknce", small_file(case), variant=variant)


@pytest.mark.parametrize(
    ("file", "variant", "crop"),
    [
        ("pretrain_AVA.model", "talknet_ava", "tight"),
        ("pretrain_TalkSet.model", "talknet", "lower_face"),
        ("pretrain_AVA.MODEL", "talknet_ava", "tight"),
    ],
)
def test_a_released_talknet_is_told_by_its_name(file, variant, crop, tmp_path, monkeypatch):
    torch.save(small_file(TALKNET), tmp_path / file)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / file, file):
        source = convert_checkpoint("talknce", path).config.avzoo_source
        assert (source["variant"], source["variant_told"]) == (variant, "by its file name")
        assert source["processor"]["crop"] == crop


@pytest.mark.parametrize("file", ["renamed.model", "pretrain_AVA.model.bak", "talknce_ava_pretrained.model", None])
def test_a_talknet_of_another_name_is_asked_for(file, tmp_path):
    checkpoint = small_file(TALKNET)
    if file is not None:
        torch.save(checkpoint, tmp_path / file)
        checkpoint = tmp_path / file
    with pytest.raises(ValueError, match=r"any of 2 variants.*--variant NAME.*: talknet \(.*; talknet_ava \(") as told:
        convert_checkpoint("talknce", checkpoint)
    assert "loconet" not in str(told.value)
    source = convert_checkpoint("talknce", checkpoint, variant="talknet_ava").config.avzoo_source
    assert (source["variant"], source["variant_told"]) == ("talknet_ava", "as asked")


def test_a_loconet_is_told_by_its_shapes_whatever_its_name(tmp_path):
    torch.save(small_file(LOCONET), tmp_path / "pretrain_AVA.model")
    source = convert_checkpoint("talknce", tmp_path / "pretrain_AVA.model").config.avzoo_source
    assert (source["variant"], source["variant_told"]) == ("loconet", "by its shapes")


@BOTH
def test_settings_win_that_shapes_do_not_tell(case):
    fields = {"cross_attention_query": "own", "num_attention_heads": 4, "join_tracks": False}
    weights = small_file(case)
    model = convert(case, weights, config=fields)
    assert {name: getattr(model.config, name) for name in fields} == fields
    assert (logits_of(model) - expected_logits(case)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("case", "config"), [(LOCONET, {"num_mel_bins": 32}), (TALKNET, {"num_cepstral_coefficients": 20})]
)
def test_the_height_of_the_sound_may_be_told(case, config):
    """Nothing in the shapes tells it; the processor follows."""
    model = convert(case, small_file(case), config=config)
    assert model.num_bins == next(iter(config.values()))
    assert logits_of(model).isfinite().all()
    assert model.config.avzoo_source["processor"]["num_bins"] == model.num_bins


@pytest.mark.parametrize(
    ("case", "field", "message"),
    [
        (
            LOCONET,
            "cross_attention_qery",
            "`config` has no field 'cross_attention_qery'; TalkNCE has: .*cross_attention_query",
        ),
        (TALKNET, "num_speakers", "`config` has 'num_speakers', which a talknet has no use for"),
        (LOCONET, "audio_depths", "`config` has 'audio_depths', which a loconet has no use for"),
    ],
)
def test_an_unknown_setting_is_named(case, field, message):
    with pytest.raises(ValueError, match=message):
        convert(case, small_file(case), config={field: 2})


@BOTH
@pytest.mark.parametrize("ending", ["model", "safetensors"])
def test_files_are_read_and_remembered(case, ending, tmp_path):
    path, weights = tmp_path / f"checkpoint.{ending}", small_file(case)
    torch.save(weights, path) if ending == "model" else save_file(weights, path)
    model = convert(case, path)
    source = model.config.avzoo_source
    assert (source["method"], source["file"]) == ("talknce", path.name)
    assert same_weights(model, case)


@BOTH
def test_what_is_saved_loads_completely_and_computes_the_same(case, tmp_path):
    model = small(case)
    model.save_pretrained(tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert same_weights(loaded, case)
    torch.testing.assert_close(logits_of(loaded), expected_logits(case), rtol=1e-5, atol=1e-6)  # memory lies otherwise


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "pretrain_AVA.model"
    torch.save(small_file(TALKNET), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OSError, match=r"pretrain_AVA\.model"):
        convert_checkpoint("talknce", path)


MISSING = {
    LOCONET: (
        "lossAV.FC.weight",
        "lossA.FC.bias",
        "model.convAV.0.conv2d.weight",
        "model.convAV.2.ln.weight",
        "model.convAV.5.norm2.weight",
        "model.crossA2V.linear1.weight",
        "model.visualConv1D.net.3.weight",
        "model.visualTCN.net.2.net.4.gamma",
        "model.visualFrontend.resnet.layer2.conv1a.weight",
        "model.audioEncoder.features.0.weight",
        "model.audioEncoder.deconv.bias",
    ),
    TALKNET: (
        "lossAV.FC.weight",
        "model.selfAV.linear2.bias",
        "model.visualFrontend.frontend3D.0.weight",
        "model.audioEncoder.layer1.0.se.fc.0.weight",
        "model.audioEncoder.layer2.0.conv2.weight",
        "model.audioEncoder.layer4.1.bn1.bias",
    ),
}


@pytest.mark.parametrize(("case", "key"), [(case, key) for case, keys in MISSING.items() for key in keys])
def test_a_missing_key_is_no_riddle(case, key):
    """A message, and never a bare key."""
    weights = small_file(case)
    del weights[PREFIX * (case == LOCONET) + key]
    with pytest.raises(ValueError, match=r"stays? empty \(`|lacks `|has no `lossAV"):
        convert(case, weights)


def test_a_key_beside_the_wrapper_is_named():
    with pytest.raises(ValueError, match=r"`optimizer\.step` does not begin with `model\.module\.` as the others do"):
        convert_checkpoint("talknce", small_file(LOCONET, **{"optimizer.step": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("case", "key"), [(LOCONET, f"{PREFIX}model.convAV.0.extra"), (TALKNET, "model.audioEncoder.fc.weight")]
)
def test_a_key_too_many_is_named(case, key):
    with pytest.raises(ValueError, match=rf"1 key has no rule \(`{key.removeprefix(PREFIX)}`\)"):
        convert(case, small_file(case, **{key: torch.zeros(3)}))


def test_another_network_is_refused():
    with pytest.raises(ValueError, match=r"is no LoCoNet, TalkNCE or TalkNet checkpoint.* begin with `conv1\.weight`"):
        convert_checkpoint("talknce", {"conv1.weight": torch.zeros(3)})
