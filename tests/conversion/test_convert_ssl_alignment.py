"""Checkpoints of cross-modal alignment, LVS, EZ-VSL, FNAC and SLAVC: every weight in its place, and what is refused."""

import functools
import json
import re
import warnings
from pathlib import Path

import pytest
import small_ssl_alignment as small
import torch
from safetensors.torch import save_file

from avzoo import SSLAlignmentForSoundLocalization, SSLAlignmentProcessor, zoo
from avzoo.cli import main
from avzoo.conversion import convert_checkpoint, describe_conversion, save_converted

CASES = Path(__file__).parents[1] / "golden/cases"
ROW = zoo.find_row("ssl_alignment")
EVERY = pytest.mark.parametrize("name", list(small.SMALL))
# Shapes do not tell EZ-VSL from FNAC, and nothing is warned of where LVS is asked for.
ASKED = {"ezvsl": "ezvsl", "fnac": "fnac"}


def convert(name: str, checkpoint=None, **options) -> SSLAlignmentForSoundLocalization:
    options = {"variant": ASKED.get(name), **options}
    return convert_checkpoint("ssl_alignment", small.small_file(name) if checkpoint is None else checkpoint, **options)


@functools.cache
def convert_small(name: str) -> SSLAlignmentForSoundLocalization:
    """Converted once; to be looked at only."""
    return convert(name)


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@functools.cache
def draw_inputs(rows: int = 96, columns: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(rows)
    return torch.randn(2, 3, rows, columns, generator=draw), torch.randn(2, 1, 65, 80, generator=draw)


# --- every weight in its place ----------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("size", [(96, 64), (50, 75)])
@torch.no_grad()
def test_a_map_is_that_of_the_plainly_written_network(name, size):
    pixels, sounds = draw_inputs(*size)
    computed = convert_small(name)(pixels, sounds).similarity_map.double()
    expected = small.localize(name, small.small_file(name), pixels, sounds)
    torch.testing.assert_close(computed, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1e-3  # not a map that any network would give


@torch.no_grad()
def test_stems_that_a_trunk_does_not_use_are_not_used():
    """Both trunks hold both stems; those that nothing reads get other values, and nothing changes."""
    file = small.small_file("alignment")
    for key in ("imgnet.conv1_a.weight", "audnet.conv1.weight", "imgnet.conv1_flow.weight", "audnet.fc.weight"):
        file[key] = file[key] * 5 + 1
    model = convert("alignment", file)
    assert same_weights(model, convert_small("alignment"))
    assert torch.equal(model.alignment.image_trunk.stem.convolution.weight, file["imgnet.conv1.weight"])
    assert torch.equal(model.alignment.audio_trunk.stem.convolution.weight, file["audnet.conv1_a.weight"])


@torch.no_grad()
def test_stems_of_one_shape_that_are_exchanged_change_the_map():
    """The sounds' stem of the picture's trunk has the right shape for the sounds' trunk: only values tell."""
    file = small.small_file("alignment")
    file["imgnet.conv1_a.weight"], file["audnet.conv1_a.weight"] = (
        file["audnet.conv1_a.weight"],
        file["imgnet.conv1_a.weight"],
    )
    pixels, sounds = draw_inputs()
    computed = convert("alignment", file)(pixels, sounds).similarity_map.double()
    torch.testing.assert_close(computed, small.localize("alignment", file, pixels, sounds), rtol=1e-5, atol=1e-5)
    before = convert_small("alignment")(pixels, sounds).similarity_map.double()
    assert (computed - before).abs().max() > 1e-3


@torch.no_grad()
def test_projections_for_retrieval_are_in_their_places():
    file, (pixels, sounds) = small.small_file("alignment"), draw_inputs()
    output = convert_small("alignment")(pixels, sounds)
    image = small.run_trunk(file, "imgnet.", pixels, 1).amax((2, 3))
    audio = small.run_trunk(file, "audnet.", sounds, 1, "conv1_a").amax((2, 3))
    for name, vectors, embeds in (("img", image, output.image_embeds), ("aud", audio, output.audio_embeds)):
        projected = vectors @ file[f"{name}_proj.weight"].double().T + file[f"{name}_proj.bias"].double()
        expected = torch.nn.functional.normalize(projected, dim=-1)
        torch.testing.assert_close(embeds.double(), expected, rtol=1e-5, atol=1e-5)


def read_golden(case: str) -> dict[str, tuple[int, ...]]:
    entries = json.loads((CASES / "ssl_alignment" / case / "keys.json").read_text())
    return {key: tuple(shape) for key, shape, _ in entries}


def test_small_files_are_built_as_the_released_ones():
    assert small.alignment() == read_golden("full")
    heads = {"fc.weight", "fc.bias"}
    stock = {key: shape for key, shape in small.resnet18(classes=1000).items() if key not in heads}
    assert stock == {key: shape for key, shape in read_golden("objectness").items() if key not in heads}


@pytest.mark.parametrize(
    ("shapes", "variant", "keys", "used", "parameters"),
    [
        (small.alignment(), "alignment", 261, 244, 22_872_064),
        (small.lvs(), "lvs", 248, 240, 22_872_064 - 2 * 262_656),
        (small.single(), "ezvsl", 244, 244, 22_872_064),
        (small.dual(), "slavc", 496, 248, 22_872_064 + 2 * 262_656),
    ],
)
def test_the_released_sizes_convert(shapes, variant, keys, used, parameters):
    assert len(shapes) == keys
    tensors = {
        key: torch.zeros((), dtype=torch.long) if not shape else torch.zeros(shape) for key, shape in shapes.items()
    }
    model = convert_checkpoint("ssl_alignment", tensors, variant=variant)
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert model.config.avzoo_source["tensors_used"] == used
    assert not model.training


@EVERY
def test_ignored_tensors_are_told_with_a_reason(name):
    source = convert_small(name).config.avzoo_source
    ignored = {key for keys in source["tensors_ignored"].values() for key in keys}
    junk = re.compile(r"momentum_|vision_fc1|conv3|norm3|\w+net\.(fc|conv1_flow)\.|imgnet\.conv1_a|audnet\.conv1\.")
    expected = {key for key in small.SMALL[name] if junk.match(key)}
    if name not in ("alignment", "lvs"):
        expected.discard("audnet.conv1.weight")
    assert ignored == expected
    assert all(len(why) > 15 for why in source["tensors_ignored"])


# --- containers and prefixes ------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("container", [None, "model_state_dict", "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_containers_and_prefixes_do_not_matter(name, container, prefix):
    weights = {prefix + key: value for key, value in small.small_file(name).items()}
    file = weights if container is None else {container: weights, "epoch": 7, "optimizer": {"state": {}}}
    model = convert(name, file)
    assert same_weights(model, convert_small(name))
    assert model.config.avzoo_source["entries_ignored"] == ([] if container is None else ["epoch", "optimizer"])


@EVERY
def test_counters_of_batches_may_be_missing(name):
    """Files of old versions of torch, and what other tools rewrote, lack them; nothing reads them."""
    bare = [
        {key: value for key, value in file.items() if "num_batches" not in key}
        for file in (small.small_file(name), small.small_objectness())
    ]
    model = convert(name, {"checkpoint": bare[0], "objectness": bare[1]})
    pixels, sounds = draw_inputs()
    assert torch.equal(model(pixels, sounds).similarity_map, convert_small(name)(pixels, sounds).similarity_map)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_in_half_precision_becomes_float32(dtype):
    file = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in small.small_file("lvs").items()
    }
    model = convert("lvs", file)
    assert model.dtype == torch.float32
    assert torch.equal(model.alignment.image_trunk.stem.convolution.weight, file["imgnet.conv1.weight"].float())


@EVERY
def test_what_is_saved_loads_completely_and_computes_the_same(name, tmp_path):
    save_converted(convert(name), tmp_path / "model")
    loaded, report = SSLAlignmentForSoundLocalization.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report.values()), report
    assert same_weights(loaded, convert_small(name))
    processor = SSLAlignmentProcessor.from_pretrained(tmp_path / "model")
    assert (processor.hop_size, processor.base_seconds) == (
        (159, 10.0) if name in ("alignment", "lvs") else (238, None)
    )


@pytest.mark.slow
def test_a_file_of_released_size_with_its_optimizer_converts(tmp_path):
    """As the authors' training writes it: 98 MB of weights, and two moments of each."""
    weights = {key: small.draw(key, shape) for key, shape in small.alignment().items()}
    trained = [value for key, value in weights.items() if value.is_floating_point() and "running" not in key]
    state = {
        index: {"step": torch.tensor(9.0), "exp_avg": torch.zeros_like(value), "exp_avg_sq": torch.zeros_like(value)}
        for index, value in enumerate(trained)
    }
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-4, "params": list(state)}]
    content = {
        "epoch": 80,
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": state, "param_groups": groups},
    }
    torch.save(content, tmp_path / "ours_sup.pth.tar")
    model = convert_checkpoint("ssl_alignment", tmp_path / "ours_sup.pth.tar")
    assert model.config.avzoo_source["entries_ignored"] == ["epoch", "optimizer_state_dict"]
    weight = model.alignment.image_trunk.stages[3][1].conv2.convolution.weight
    assert torch.equal(weight, weights["imgnet.layer4.1.conv2.weight"])


# --- variants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variant"), [("alignment", "alignment"), ("lvs", "lvs"), ("slavc", "slavc")])
def test_the_kind_is_told_by_the_keys(name, variant):
    source = convert_small(name).config.avzoo_source
    assert (source["variant"], source["variant_told"]) == (variant, "by its shapes")


def test_ez_vsl_and_fnac_have_to_be_named():
    with pytest.raises(
        ValueError, match=r"can be any of 2 variants of ssl_alignment: .* --variant NAME.*ezvsl: .*fnac: "
    ):
        convert_checkpoint("ssl_alignment", small.small_file("ezvsl"))


def test_a_message_about_variants_has_no_file_that_is_none():
    with pytest.raises(ValueError, match="can be any of 2 variants") as caught:
        convert_checkpoint("ssl_alignment", small.small_file("ezvsl"))
    assert "None" not in str(caught.value)


@pytest.mark.parametrize("variant", ["vggsound_sup", "flickr_sup_previs", "alignment"])
def test_any_variant_of_the_six_files_can_be_named(variant):
    model = convert("alignment", variant=variant)
    assert model.config.avzoo_source["variant"] == variant
    assert same_weights(model, convert_small("alignment"))


@pytest.mark.parametrize(
    ("name", "variant"),
    [("alignment", "lvs"), ("alignment", "ezvsl"), ("ezvsl", "slavc"), ("slavc", "vggsound_sup"), ("lvs", "fnac")],
)
def test_a_variant_of_other_projections_is_refused(name, variant):
    with pytest.raises(ValueError, match=f"checkpoint has .*, which variant='{variant}' is not for; it can be "):
        convert(name, variant=variant)


def test_missing_projections_are_told_where_a_released_file_is_asked_for():
    with pytest.warns(UserWarning, match=r"checkpoint has no projections \(`img_proj`, `aud_proj`\): retrieval"):
        model = convert("lvs", variant="vggsound_sup")
    assert model.config.projection_dim is None


def test_missing_projections_are_in_order_for_lvs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert convert("lvs").config.avzoo_source["variant"] == "lvs"
        convert("lvs", variant="lvs")


def test_settings_that_shapes_do_not_tell_win():
    model = convert("alignment", config={"image_strides": (1, 2, 1, 1), "temperature": 0.1})
    pixels, sounds = draw_inputs(64, 64)
    assert model(pixels, sounds).similarity_map.shape == (2, 8, 8)
    assert model.config.temperature == 0.1


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"`config` has no field 'mask_treshold'; .*mask_threshold"):
        convert("alignment", config={"mask_treshold": 0.5})


# --- objectness -------------------------------------------------------------------------------------------------------


@EVERY
@torch.no_grad()
def test_the_objectness_part_computes_the_mean_over_channels_of_its_file(name):
    model = convert(name, {"checkpoint": small.small_file(name), "objectness": small.small_objectness()})
    pixels, sounds = draw_inputs(96, 64)
    expected = small.run_trunk(small.small_objectness(), "", pixels, 2).mean(1)
    torch.testing.assert_close(model.get_objectness(pixels).double(), expected, rtol=1e-5, atol=1e-5)
    without = convert_small(name)(pixels, sounds).similarity_map
    assert torch.equal(model(pixels, sounds).similarity_map, without)
    assert not any(weight.requires_grad for weight in model.objectness_trunk.parameters())


@pytest.mark.parametrize("container", ["state_dict", "model"])
def test_the_objectness_file_may_be_wrapped(container):
    wrapped = {container: {f"module.{key}": value for key, value in small.small_objectness().items()}}
    plain = convert("lvs", {"checkpoint": small.small_file("lvs"), "objectness": small.small_objectness()})
    assert same_weights(convert("lvs", {"checkpoint": small.small_file("lvs"), "objectness": wrapped}), plain)


def test_no_objectness_is_no_part():
    model = convert("alignment", {"checkpoint": small.small_file("alignment"), "objectness": None})
    assert not model.config.use_objectness
    assert model.config.avzoo_source["parts"] == {}


def test_another_part_is_refused_by_name():
    with pytest.raises(ValueError, match="ssl_alignment has no part 'saliency'; it has: objectness"):
        convert("alignment", {"checkpoint": small.small_file("alignment"), "saliency": small.small_objectness()})


def test_a_larger_resnet_is_no_objectness_part(tmp_path):
    wrong = small.small_objectness() | {"layer1.0.conv3.weight": torch.zeros(24, 6, 1, 1)}
    save_file(wrong, tmp_path / "resnet50.safetensors")
    with pytest.raises(
        ValueError, match=r"objectness part, checkpoint `resnet50\.safetensors`.*layer1\.0\.conv3\.weight"
    ):
        convert("lvs", {"checkpoint": small.small_file("lvs"), "objectness": tmp_path / "resnet50.safetensors"})


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": small.small_file("alignment"), "epoch": 3}, "ours_sup_previs.pth.tar")
    torch.save({"model": small.small_file("ezvsl")}, "best.pth")
    save_file(small.small_objectness(), "resnet18.safetensors")
    return tmp_path


def test_the_command_line_converts_a_file(files, capsys):
    assert main(["convert", "ssl_alignment", "ours_sup_previs.pth.tar", "model"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "model\n"
    assert "ssl_alignment, variant alignment, told by its shapes\n244 tensors used, 17 ignored" in printed.err
    assert "not read, beside the weights: epoch" in printed.err
    loaded = SSLAlignmentForSoundLocalization.from_pretrained("model")
    assert same_weights(loaded, convert_small("alignment"))
    card = (files / "model/README.md").read_text()
    assert "`ours_sup_previs.pth.tar`" in card


def test_the_command_line_takes_the_objectness_part(files, capsys):
    command = [
        "convert",
        "ssl_alignment",
        "ours_sup_previs.pth.tar",
        "model",
        "--part",
        "objectness=resnet18.safetensors",
    ]
    assert main([*command, "--variant", "flickr_sup_previs"]) == 0
    told = capsys.readouterr().err
    assert "part objectness: resnet18.safetensors, sha256 " in told
    loaded, report = SSLAlignmentForSoundLocalization.from_pretrained("model", output_loading_info=True)
    assert not any(report.values()), report
    pixels, _ = draw_inputs()
    expected = small.run_trunk(small.small_objectness(), "", pixels, 2).mean(1)
    torch.testing.assert_close(loaded.get_objectness(pixels).double(), expected, rtol=1e-5, atol=1e-5)
    assert "`resnet18.safetensors`" in (files / "model/README.md").read_text()


def test_the_command_line_leaves_a_part_out(files, capsys):
    command = ["convert", "ssl_alignment", "ours_sup_previs.pth.tar", "model", "--part", "objectness=none"]
    assert main(command) == 0
    assert "part" not in capsys.readouterr().err
    assert not SSLAlignmentForSoundLocalization.from_pretrained("model").config.use_objectness


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["best.pth", "model"], "best.pth` can be any of 2 variants of ssl_alignment"),
        (["best.pth", "model", "--variant", "slavc"], "which variant='slavc' is not for; it can be ezvsl, fnac"),
        (["best.pth", "model", "--variant", "ez"], "no variant of ssl_alignment is called 'ez'"),
        (["ours_sup_previs.pth.tar", "model", "--part", "saliency=x"], "ssl_alignment has no part 'saliency'"),
        (["ours_sup_previs.pth.tar", "model", "--part", "objectness=missing.pth"], "missing.pth"),
        (
            ["ours_sup_previs.pth.tar", "model", "--part", "objectness=best.pth"],
            "objectness part, checkpoint `best.pth`",
        ),
        (["model", "--part", "objectness=resnet18.safetensors"], "give the checkpoint, too"),
        (["resnet18.safetensors", "model"], "is none of cross-modal alignment, LVS, EZ-VSL, FNAC or SLAVC"),
    ],
)
def test_the_command_line_names_what_is_wrong(files, capsys, options, message):
    assert main(["convert", "ssl_alignment", *options]) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert message in error
    assert not (files / "model").exists()


def test_info_names_files_and_parts(capsys):
    assert main(["info", "ssl_alignment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for variant in ROW.variants:
        (line,) = [line for line in lines if line.startswith(f"    {variant.name} ")]
        assert line.index(variant.summary) == 4 + max(len(known.name) for known in ROW.variants) + 1  # a column
        assert variant.checkpoint is None or line.endswith(f"File: {variant.checkpoint}")
    (part,) = [line for line in lines if line.startswith("    objectness ")]
    assert "an ImageNet ResNet-18 under torchvision's names" in part
    assert "timm/resnet18.tv_in1k" in part
    assert any(
        line.split(maxsplit=1) == ["tasks", "sound-source-localization, audio-image-retrieval"] for line in lines
    )


# --- what is refused --------------------------------------------------------------------------------------------------


def list_other_methods() -> list:
    found = {}
    for path in sorted(CASES.glob("*/*/keys.json")):
        method, case = path.parts[-3:-1]
        if method != "ssl_alignment" and json.loads(path.read_text()):
            found.setdefault(method, []).append(case)
    return [(method, case) for method, cases in found.items() for case in cases]


@pytest.mark.parametrize(("method", "case"), list_other_methods())
def test_a_checkpoint_of_another_method_is_refused_in_one_line(method, case):
    entries = json.loads((CASES / method / case / "keys.json").read_text())
    tensors = {key: torch.empty(()) for key, *_ in entries}
    with pytest.raises(ValueError, match=r"none of cross-modal alignment, .* neither `img_proj\.weight`") as caught:
        convert_checkpoint("ssl_alignment", tensors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("alignment", "imgnet.conv1.weight"),
        ("alignment", "audnet.conv1_a.weight"),
        ("alignment", "imgnet.layer1.0.conv1.weight"),
        ("alignment", "imgnet.layer3.0.downsample.0.weight"),
        ("alignment", "audnet.layer4.1.bn2.running_mean"),
        ("alignment", "img_proj.bias"),
        ("alignment", "aud_proj.weight"),
        ("lvs", "audnet.layer2.0.conv1.weight"),
        ("lvs", "audnet.conv1_a.weight"),
        ("ezvsl", "audnet.conv1.weight"),
        ("slavc", "aud_proj2.weight"),
        ("slavc", "img_proj2.bias"),
        ("slavc", "img_proj1.weight"),
    ],
)
def test_a_missing_key_is_named(name, key):
    weights = small.small_file(name)
    del weights[key]
    with pytest.raises(ValueError, match=r"stays? empty \(`|lacks `|has neither .*`" + re.escape(key)):
        convert(name, weights)


def test_a_key_too_many_is_named():
    with pytest.raises(ValueError, match=r"1 key has no rule \(`extra\.weight`\)"):
        convert("alignment", small.small_file("alignment") | {"extra.weight": torch.zeros(3)})


def test_a_trunk_of_deeper_stages_converts_and_one_with_bottlenecks_is_refused():
    file = small.small_file("lvs")
    deeper = {key.replace("layer1.1", "layer1.2"): value for key, value in file.items() if "layer1.1" in key}
    assert convert("lvs", file | deeper).config.depths == (3, 2, 2, 2)
    with pytest.raises(ValueError, match=r"has no rule \(`imgnet\.layer1\.0\.conv3\.weight`\)"):
        convert("lvs", file | {"imgnet.layer1.0.conv3.weight": torch.zeros(6, 6, 1, 1)})


def test_a_container_without_weights_is_refused():
    with pytest.raises(ValueError, match="`name` holds a str"):
        convert_checkpoint("ssl_alignment", {"model": {"name": "lvs"}})


def test_the_model_names_its_file_and_its_ignored_tensors():
    told = describe_conversion(convert_small("slavc"))
    assert told.startswith("ssl_alignment, variant slavc, told by its shapes\n248 tensors used, 248 ignored")
    assert "momentum_imgnet.conv1.weight" in told
