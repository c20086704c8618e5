"""The authors' AVDiffuSS files become a pipeline: every weight in its place, averages, settings, what is refused."""

import functools
import json
import math
import re
import sys
import types
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save_file
from small_avdiffuss import (
    CASES,
    NETWORKS,
    SETTINGS,
    averages_of,
    container,
    convert,
    filled,
    official_shapes,
    small_weights,
    without,
)

from avzoo.conversion import convert_checkpoint
from avzoo.conversion.checkpoints import read_checkpoint
from avzoo.conversion.convert_avdiffuss import (
    UNPICKLE_STUBS,
    averaged_weights,
    hyper_parameters,
    module_names,
)


@functools.cache
def plain():
    """The flat file, converted once; to be looked at only."""
    return convert(small_weights())


@functools.cache
def averaged():
    """The file of Lightning's layout, the same way."""
    return convert(container())


def same_weights(pipe, other) -> bool:
    return all(
        torch.equal(value, getattr(other, name).state_dict()[key])
        for name in NETWORKS
        for key, value in getattr(pipe, name).state_dict().items()
    )


def test_each_tensor_is_told_to_be_used_or_ignored():
    source = averaged().config["avzoo_source"]
    assert source["variant_told"] == "by its shapes"
    assert source["tensors_used"] + sum(map(len, source["tensors_ignored"].values())) == len(small_weights())
    assert not {"ema", "hyper_parameters"} & set(source["entries_ignored"])
    assert any("the denoiser knows no times" in why for why in source["tensors_ignored"])


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["backbone_tiny", "full"])
def test_the_generator_of_files_agrees_with_the_authors(case):
    """So that what it makes of other sizes is what they would have made, too."""
    listed = {key: shape for key, shape, _ in json.loads((CASES / case / "keys.json").read_text())}
    sizes = {"base": 32, "multipliers": (1, 2, 2), "sizes": (0, 32, 16), "context": 16, "eyes": 5}
    if case == "full":
        sizes = {
            "base": 128,
            "multipliers": (1, 2, 2, 2),
            "sizes": (0, 128, 64, 32),
            "inner": 64,
            "context": 64,
            "eyes": 5,
        }
    assert official_shapes(**sizes) == listed


def test_every_weight_of_the_released_file_has_a_place():
    """Without values: those are a quarter of a gigabyte."""
    listed = json.loads((CASES / "full/keys.json").read_text())
    file = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in listed}
    assert len(file) == 1176
    pipe = convert_checkpoint("avdiffuss", file)
    counts = {name: sum(p.numel() for p in getattr(pipe, name).parameters()) for name in NETWORKS}
    assert counts["denoiser_visual_encoder"] == counts["score_visual_encoder"] == 1580037 - 4096
    assert counts["denoiser"] == 29893523 - 1580037 - 2363904 - 128
    assert counts["score_model"] == 30307487 - 1580037 - 128  # its frequencies are no parameter here
    fields = dict(pipe.score_model.config)
    expected = {
        "num_spectrograms": 2,
        "time_conditioned": True,
        "base_channels": 128,
        "channel_multipliers": (1, 2, 2, 2),
        "layers_per_block": 1,
        "cross_attention_sizes": (0, 128, 64, 32),
        "num_attention_heads": 4,
        "attention_head_dim": 16,
        "num_fusion_layers": 1,
        "cross_attention_dim": 64,
    }
    assert {name: fields[name] for name in expected} == expected
    assert (pipe.denoiser.config.num_spectrograms, pipe.denoiser.config.time_conditioned) == (1, False)
    assert (pipe.config.condition, pipe.config.avzoo_source["variant"]) == ("post_denoiser", "released")
    assert pipe.denoiser_visual_encoder.config.num_temporal_layers == 5


OTHER_SIZES = {
    "three levels": (
        {"multipliers": (1, 4, 8), "sizes": (0, 16, 24)},
        {"channel_multipliers": (1, 4, 8), "cross_attention_sizes": (0, 16, 24)},
    ),
    "no face at the last level": (
        {"multipliers": (1, 4, 8), "sizes": (0, 16, 0), "layers": 3},
        {"cross_attention_sizes": (0, 16, 0), "layers_per_block": 3},
    ),
    "a face at every level": (
        {"base": 32, "multipliers": (1, 2), "sizes": (8, 16)},
        {"base_channels": 32, "cross_attention_sizes": (8, 16)},
    ),
    "two blocks a level and two layers of fusion": (
        {"layers": 2, "depth": 2},
        {"layers_per_block": 2, "num_fusion_layers": 2},
    ),
    "four heads, another width of what is seen, three spectrograms": (
        {"inner": 64, "context": 16, "score_channels": 6},
        {"num_attention_heads": 4, "attention_head_dim": 16, "cross_attention_dim": 16, "num_spectrograms": 3},
    ),
}


@pytest.mark.parametrize("name", OTHER_SIZES)
def test_sizes_are_read_off_the_shapes(name):
    sizes, expected = OTHER_SIZES[name]
    pipe = convert(filled(official_shapes(**sizes)), n_fft=126, hop_length=64, frame_multiple=8)
    for field, value in expected.items():
        stored = pipe.score_model.config[field]
        assert (tuple(stored) if isinstance(stored, list) else stored) == value
    assert pipe.denoiser.config.num_spectrograms == 1
    assert pipe.config.condition == ("both" if "score_channels" in sizes else "post_denoiser")
    noise = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    voice = pipe(noise, torch.zeros(3, 112, 112, dtype=torch.uint8), denoiser_only=True).audios[0]
    assert math.isfinite(float(voice.sum()))


def test_the_number_of_temporal_layers_is_read_off():
    pipe = convert(filled(official_shapes(eyes=3)))
    assert pipe.score_visual_encoder.config.num_temporal_layers == 3
    assert pipe.score_visual_encoder.config.hidden_size == 8


@pytest.mark.parametrize(("inner", "heads", "size"), [(16, 1, 16), (64, 2, 32), (24, 3, 8)])
def test_heads_are_what_shapes_do_not_tell(inner, heads, size):
    pipe = convert(filled(official_shapes(inner=inner)), num_attention_heads=heads)
    for network in (pipe.denoiser, pipe.score_model):
        assert (network.config.num_attention_heads, network.config.attention_head_dim) == (heads, size)


@pytest.mark.parametrize("heads", [0, 3, 2.0])
def test_heads_that_do_not_fit_are_named(heads):
    with pytest.raises(ValueError, match=rf"`num_attention_heads` must divide 16, the width of all heads, got {heads}"):
        convert(small_weights(), num_attention_heads=heads)


def test_numbers_of_modules_are_told_from_the_order_of_their_kinds():
    score = {key.removeprefix("score_net."): value for key, value in small_weights().items() if "score_net." in key}
    names = module_names(score)
    assert list(names) == list(range(len(names)))
    expected = {
        0: "time_embedding",
        3: "input_projection",
        4: "down_blocks.0.resnets.0",
        5: "down_blocks.0.downsampler",
        6: "down_blocks.0.pyramid_projection",
        7: "down_blocks.1.resnets.0",
        8: "down_blocks.1.fusions.0",
        9: "mid_block.resnet1",
        12: "up_blocks.0.resnets.0",
        14: "up_blocks.0.fusion",
        17: "up_blocks.0.upsampler",
        21: "up_blocks.1.pyramid_projection",
    }
    assert {number: names[number] for number in expected} == expected


# --- values -----------------------------------------------------------------------------------------------------------


def test_the_two_networks_and_their_eyes_are_not_mixed_up():
    pipe, file = plain(), small_weights()
    stem = "visual_encoder.frontend3D.0.weight"
    assert torch.equal(pipe.denoiser_visual_encoder.stem_conv.weight, file[f"denoiser_net.{stem}"])
    assert torch.equal(pipe.score_visual_encoder.stem_conv.weight, file[f"score_net.{stem}"])
    assert torch.equal(pipe.denoiser.final_projection.weight, file["denoiser_net.output_layer.weight"])
    # The authors' network tells the negative of the score.
    assert torch.equal(pipe.score_model.final_projection.weight, -file["score_net.output_layer.weight"])
    assert torch.equal(pipe.score_model.final_projection.bias, -file["score_net.output_layer.bias"])
    assert torch.equal(pipe.score_model.time_embedding.frequencies, file["score_net.all_modules.0.W"])


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("all_modules.10.NIN_0.W", "mid_block.attention.to_q"),
        ("all_modules.10.NIN_1.W", "mid_block.attention.to_k"),
        ("all_modules.10.NIN_2.W", "mid_block.attention.to_v"),
        ("all_modules.10.NIN_3.W", "mid_block.attention.to_out"),
    ],
)
def test_matrices_that_stand_behind_their_input_are_turned(key, target):
    pipe, file = plain(), small_weights()
    assert torch.equal(pipe.score_model.get_parameter(f"{target}.weight"), file[f"score_net.{key}"].T)


def test_converted_networks_are_ready_for_use():
    pipe = plain()
    for name in NETWORKS:
        network = getattr(pipe, name)
        assert not network.training
        assert not any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_weights_of_half_precision_become_single():
    halves = {key: value.half() if value.is_floating_point() else value for key, value in small_weights().items()}
    pipe = convert(halves)
    assert all(tensor.dtype == torch.float32 for name in NETWORKS for tensor in getattr(pipe, name).parameters())


def test_a_converted_pipeline_keeps_no_memory_of_its_file():
    file = {key: value.clone() for key, value in small_weights().items()}
    pipe = convert(file)
    expected = pipe.denoiser.input_projection.weight.clone()
    file["denoiser_net.all_modules.1.weight"].zero_()
    assert torch.equal(pipe.denoiser.input_projection.weight, expected)


def test_the_prefix_of_parallel_training_is_taken_off_and_counters_of_batches_may_be_missing():
    prefixed = {f"module.{key}": value for key, value in without("num_batches_tracked").items()}
    assert same_weights(convert(prefixed), plain())


# --- averages ---------------------------------------------------------------------------------------------------------


def same_tensors(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return weights.keys() == expected.keys() and all(
        torch.equal(value, expected[key]) for key, value in weights.items()
    )


def test_averages_take_the_place_of_parameters_and_of_nothing_else():
    """torch_ema 0.3 averages all parameters, 0.2 those that are learned."""
    for left_out, count in (("\0", 0), ("all_modules.0.W", 2)):
        assert sum(key.endswith(left_out) for key in small_weights()) == count
        averages = averages_of(small_weights(), left_out)
        weights = averaged_weights(read_checkpoint(container(list(averages.values()))))
        assert same_tensors(weights, {key: averages.get(key, value) for key, value in small_weights().items()})
    everything = {**small_weights(), **averages_of(small_weights())}
    assert same_weights(averaged(), convert(everything))


def test_the_released_file_has_1038_or_1036_averages():
    listed = json.loads((CASES / "full/keys.json").read_text())
    raw = {key: torch.empty(shape, device="meta") for key, shape, _ in listed}
    order = json.loads((CASES / "full/ema_order.json").read_text())
    order = [row if isinstance(row, str) else row[0] for row in order]
    assert len(order) == 1038
    for names in (order, [name for name in order if not name.endswith("all_modules.0.W")]):
        averages = [torch.empty(raw[name].shape, device="meta") for name in names]
        weights = averaged_weights(read_checkpoint({"state_dict": raw, "ema": {"shadow_params": averages}}))
        assert all(weights[name] is average for name, average in zip(names, averages, strict=True))
    assert len(averages) == 1036


def test_weights_kept_aside_during_validation_are_not_used():
    file = container()
    file["ema"]["collected_params"] = [torch.full_like(value, math.nan) for value in file["ema"]["shadow_params"]]
    assert same_tensors(averaged_weights(read_checkpoint(file)), averaged_weights(read_checkpoint(container())))


def test_without_averages_weights_are_taken_as_they_are():
    for ema in (None, {}, {"shadow_params": None}):
        weights = averaged_weights(read_checkpoint({**container(), "ema": ema}))
        assert same_tensors(weights, small_weights()), ema
    assert same_weights(convert({**container(), "ema": None}), plain())


def test_averages_of_another_number_are_refused():
    averages = list(averages_of(small_weights()).values())
    count = len(averages)
    with pytest.raises(
        ValueError,
        match=rf"`ema.shadow_params` has {count - 1} tensors, the parameters are {count} \(or {count - 2} without",
    ):
        convert(container(averages[1:]))


def test_averages_of_other_shapes_are_refused():
    averages = list(averages_of(small_weights()).values())
    averages[2], averages[3] = averages[3], averages[2]
    with pytest.raises(
        ValueError, match=r"does not fit: the average of `denoiser_net\.all_modules\.0\.W` has the shape"
    ):
        convert(container(averages))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_of_the_file_are_the_pipelines():
    hyper = {"spec_factor": 0.15, "spec_abs_exponent": 0.6, "n_fft": 126, "hop_length": 32, "window": "sqrthann"}
    hyper |= {"t_eps": 0.02, "theta": 2, "condition": "noisy", "sigma_min": 0.1, "sigma_max": 0.7}
    pipe = convert(container(**hyper))
    processor, scheduler = pipe.processor, pipe.scheduler.config
    for name in ("spec_factor", "spec_abs_exponent", "n_fft", "hop_length", "window"):
        assert getattr(processor, name) == hyper[name]
    assert (scheduler.theta, scheduler.min_timestep, scheduler.sigma_min, scheduler.sigma_max) == (2, 0.02, 0.1, 0.7)
    assert pipe.config.condition == "noisy"


def test_settings_that_are_named_win_over_the_files():
    pipe = convert(container(spec_factor=0.15, t_eps=0.02), spec_factor=0.4, min_timestep=0.05, frame_multiple=8)
    assert (pipe.processor.spec_factor, pipe.processor.frame_multiple) == (0.4, 8)
    assert pipe.scheduler.config.min_timestep == 0.05


def test_without_settings_they_are_those_of_the_released_file():
    pipe = plain()
    assert (pipe.processor.spec_factor, pipe.processor.spec_abs_exponent, pipe.processor.n_fft) == (0.33, 0.5, 510)
    assert dict(hyper_parameters(read_checkpoint(small_weights()))) == {}
    assert (pipe.scheduler.config.theta, pipe.scheduler.config.min_timestep) == (1.5, 0.03)


def test_settings_of_other_kinds_are_left_alone():
    stored = hyper_parameters(read_checkpoint({"hyper_parameters": {"theta": None, "window": object, "lr": 1.0}}))
    assert stored == {}


def test_a_misspelt_setting_is_named():
    with pytest.raises(ValueError, match=r"`config` has no field 'spec_faktor'; AVDiffuSS has: .*spec_factor"):
        convert(small_weights(), spec_faktor=0.3)


def test_an_unknown_condition_of_a_file_is_named():
    with pytest.raises(ValueError, match=r"`condition` must be one of post_denoiser, noisy, both, got 'clean'"):
        convert(container(condition="clean"))


# --- files ------------------------------------------------------------------------------------------------------------


def class_of(module: str, name: str, monkeypatch) -> type:
    """A class of a module that is there only until the test ends."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    made = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


def test_a_file_that_names_the_authors_class_is_read_without_it(tmp_path, monkeypatch):
    with monkeypatch.context() as only_here:
        reference = class_of("sgmse.data_module_vi", "SpecsDataModule", only_here)
        torch.save(container(spec_factor=0.15, data_module_cls=reference), tmp_path / "own.ckpt")
    assert not any(name.startswith("sgmse") for name in sys.modules)
    pipe = convert(tmp_path / "own.ckpt")
    assert same_weights(pipe, averaged())
    assert pipe.processor.spec_factor == 0.15
    assert not any(name.startswith("sgmse") for name in sys.modules)
    assert UNPICKLE_STUBS == ("sgmse.data_module_vi.SpecsDataModule",)
    with pytest.raises(ValueError, match="it is not opened"):
        read_checkpoint(tmp_path / "own.ckpt")  # as another method's


@pytest.mark.parametrize(
    ("module", "name"),
    [("sgmse.data_module_vi", "Specs"), ("sgmse.model", "SpecsDataModule"), ("elsewhere", "SpecsDataModule")],
)
def test_a_file_that_names_any_other_class_is_not_opened(tmp_path, monkeypatch, module, name):
    with monkeypatch.context() as only_here:
        torch.save(container(data_module_cls=class_of(module, name, only_here)), tmp_path / "own.ckpt")
    with pytest.raises(ValueError, match=r"checkpoint `own\.ckpt` needs arbitrary Python objects.*it is not opened"):
        convert(tmp_path / "own.ckpt")


def test_a_flat_file_of_safetensors_is_read_too(tmp_path):
    save_file(small_weights(), tmp_path / "own.safetensors")
    assert same_weights(convert(tmp_path / "own.safetensors"), plain())


def truncated(last: int) -> dict[str, torch.Tensor]:
    """The denoiser without the modules after `last`."""
    pattern = re.compile(r"denoiser_net\.all_modules\.(\d+)\.")
    return {
        key: value
        for key, value in small_weights().items()
        if (found := pattern.match(key)) is None or int(found[1]) <= last
    }


REFUSED: dict[str, tuple[Callable[[], dict], str]] = {
    "another method": (
        lambda: {"unet.conv.weight": torch.zeros(3)},
        r"no AVDiffuSS checkpoint: `unet\.conv\.weight` belongs to no network",
    ),
    "no denoiser": (lambda: without("denoiser_net."), r"no AVDiffuSS checkpoint: it has no `denoiser_net\.\*`"),
    "no score network": (lambda: without("score_net."), r"no AVDiffuSS checkpoint: it has no `score_net\.\*`"),
    "no eyes": (lambda: without("visual_encoder"), r"no AVDiffuSS checkpoint: it has no `denoiser_net\.visual_encoder"),
    "no first layer of the eyes": (
        lambda: without("score_net.visual_encoder.frontend3D.0.weight"),
        r"it has no `score_net\.visual_encoder\.frontend3D\.0\.weight`",
    ),
    "no fusion": (
        lambda: filled(official_shapes(sizes=(0, 0))),
        r"no AVDiffuSS checkpoint: no level of its networks looks at a face",
    ),
    "a module missing": (
        lambda: without("score_net.all_modules.6."),
        r"no AVDiffuSS checkpoint: where a network should have .* it has `all_modules\.\d+`",
    ),
    "a module too many": (
        lambda: small_weights(**{"score_net.all_modules.99.weight": torch.zeros(3)}),
        r"where a network should have its end \(end\), it has `all_modules\.99` \(norm\)",
    ),
    "cut after the first modules": (
        lambda: truncated(3),
        r"no AVDiffuSS checkpoint: where a network should have .* it has the end",
    ),
    "cut before the attention": (
        lambda: truncated(7),
        r"no AVDiffuSS checkpoint: where a network should have .* it has the end",
    ),
    "cut on the way up": (
        lambda: truncated(11),
        r"no AVDiffuSS checkpoint: where a network should have .* it has the end",
    ),
    "a bias missing": (
        lambda: without("score_net.all_modules.4.Conv_1.bias"),
        r"1 tensor stays empty \(`down_blocks\.0\.resnets\.0\.conv2\.bias`\)",
    ),
    "statistics missing": (
        lambda: without("score_net.visual_encoder.frontend3D.1.running_mean"),
        r"1 tensor stays empty \(`stem_norm\.running_mean`\)",
    ),
    "no output": (lambda: without("denoiser_net.output_layer"), r"2 tensors stay empty \(`final_projection\.weight`, "),
    "a key too many": (
        lambda: small_weights(**{"score_net.extra.weight": torch.zeros(3)}),
        r"1 key has no rule \(`extra\.weight`\)",
    ),
    "a key outside of both": (
        lambda: small_weights(**{"vocoder.weight": torch.zeros(3)}),
        r"`vocoder\.weight`",
    ),
    "another width in one place": (
        lambda: small_weights(**{"score_net.all_modules.4.Conv_1.weight": torch.zeros(8, 9, 3, 3)}),
        r"1 shape differs \(`down_blocks\.0\.resnets\.0\.conv2\.weight: \(8, 9, 3, 3\), the model has \(8, 8, 3, 3\)`",
    ),
    "something that is no tensor": (lambda: {"epoch": 3}, r"`epoch` holds a int"),
    "a file of settings alone": (lambda: {"state_dict": {}, "hyper_parameters": SETTINGS}, "it is empty"),
    "nothing": (dict, "it is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name):
    weights, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        convert(weights())


@pytest.mark.parametrize("case", ["voiceldm/generate_dual", "flexiast/full_voxceleb"])
def test_files_of_other_methods_are_refused(case):
    listed = json.loads((CASES.parent / case / "keys.json").read_text())
    file = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in listed}
    with pytest.raises(ValueError, match="no AVDiffuSS checkpoint"):
        convert(file)


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_command_line_converts_a_file(tmp_path, capsys):
    from avzoo.cli import main

    torch.save(container(spec_factor=0.15), tmp_path / "own.ckpt")
    main(["convert", "avdiffuss", str(tmp_path / "own.ckpt"), str(tmp_path / "out")])
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'out'}\n")
    for name in NETWORKS:
        assert list((tmp_path / "out" / name).glob("*.safetensors"))
    assert json.loads((tmp_path / "out/processor/processor_config.json").read_text())["spec_factor"] == 0.15
