"""Conversion of the authors' VoiceLDM checkpoints: every weight, and the components from other sources."""

import dataclasses
import functools
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UniPCMultistepScheduler
from safetensors.torch import save_file
from small_voiceldm import (
    NO_PARTS,
    PARTS,
    SETTINGS,
    convert,
    keys_of,
    released,
    same_state,
    same_weights,
    small_file,
    without,
    write_sources,
)
from transformers import (
    ClapModel,
    SpeechT5Config,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5Tokenizer,
)

from avzoo import VoiceLDMContentEncoderConfig, zoo
from avzoo.conversion import convert_checkpoint, save_converted
from avzoo.conversion.checkpoints import read_checkpoint
from avzoo.conversion.convert_voiceldm import convert_content_encoder, load_part, new_pipeline


@pytest.fixture(scope="module")
def small():
    return convert(small_file())


def test_each_tensor_is_told_to_be_used_or_ignored(small):
    source = small.config["avzoo_source"]
    assert source["variant_told"] == "by its shapes"
    assert source["tensors_used"] + sum(map(len, source["tensors_ignored"].values())) == len(small_file())


@functools.cache
def full(case: str):
    """A file of full size without values, converted once."""
    return convert(released(case))


# --- which file it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "variant", "parameters"), [("full_s", "s", 280_484_048), ("full_m", "m", 508_002_384)]
)
def test_released_variants_are_inferred_from_their_widths(case, variant, parameters):
    assert len(keys_of(case)) == 936
    pipe = full(case)
    assert sum(p.numel() for part in (pipe.unet, pipe.content_encoder) for p in part.parameters()) == parameters
    source = pipe.config.avzoo_source
    assert (source["method"], source["variant"]) == ("voiceldm", variant)
    assert (
        tuple(pipe.unet.config.block_out_channels)
        == zoo.find_row("voiceldm").find_variant(variant).config["block_out_channels"]
    )
    assert not pipe.unet.training
    assert not pipe.content_encoder.training


def test_the_defaults_of_the_config_are_those_of_the_released_files():
    config, defaults = full("full_s").content_encoder.config, VoiceLDMContentEncoderConfig()
    for field in dataclasses.fields(VoiceLDMContentEncoderConfig):
        if field.name in VoiceLDMContentEncoderConfig.__annotations__:
            assert getattr(config, field.name) == getattr(defaults, field.name), field.name


def test_a_small_file_with_variant_m_is_refused():
    message = (
        r"checkpoint is not of `variant` 'm': its denoiser has the widths \(128, 256, 384, 640\), those of 's'\. "
        "Leave the variant out"
    )
    with pytest.raises(ValueError, match=message):
        convert(released("full_s"), variant="m")


def test_files_of_other_widths_have_the_variant_own(small):
    assert small.config.avzoo_source["variant"] == "own"
    with pytest.raises(ValueError, match=r"widths \(32, 64, 96, 160\), those of no released variant"):
        convert(small_file(), variant="s")


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"no variant of voiceldm is called 'l'; there are: m, s"):
        convert(small_file(), variant="l")


def test_sizes_are_inferred_from_tensor_shapes(small):
    unet, content = small.unet.config, small.content_encoder.config
    assert (unet.in_channels, unet.out_channels, unet.cross_attention_dim, unet.layers_per_block) == (8, 8, 32, 2)
    assert unet.projection_class_embeddings_input_dim == 48
    assert (content.vocab_size, content.hidden_size, content.num_hidden_layers) == (81, 32, 2)
    assert (content.num_attention_heads, content.intermediate_size, content.max_relative_position) == (4, 64, 6)
    assert (content.upsampler_feature_size, content.upsampler_num_maps, content.upsampler_num_contexts) == (8, 4, 2)


def test_config_overrides_and_a_misspelt_field_is_refused():
    content = convert(small_file(), config={"max_frames": 500}).content_encoder.config
    assert content.max_frames == 500
    with pytest.raises(ValueError, match=r"`config` has no field 'max_frame'; VoiceLDMContentEncoderConfig has: "):
        convert(small_file(), config={"max_frame": 500})


# --- every weight in its place ----------------------------------------------------------------------------------------


def test_every_weight_is_mapped_once(small):
    """Told by the sums of their magnitudes, which no rearrangement changes; the parts of a split one are added up."""
    theirs = sorted(
        value.abs().double().sum().item()
        for key, value in small_file().items()
        if value.is_floating_point() and not key.endswith("encode_positions.pe")
    )
    ours, split = [], {}
    for name, value in {**small.unet.state_dict(), **small.content_encoder.state_dict()}.items():
        if not value.is_floating_point() or name == "text_encoder.positions":
            continue
        size = value.abs().double().sum().item()
        if "_mlp.fc1_" in name and name.endswith("weight"):
            first = name.partition(".fc1_")[0]
            split[first] = split.get(first, 0.0) + size
        else:
            ours.append(size)
    assert len(split) == 2
    assert sorted([*ours, *split.values()]) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("durator.dp.conv_1.weight", "duration_predictor.conv1.weight"),
        ("durator.dp.norm_2.gamma", "duration_predictor.norm2.weight"),
        ("durator.dp.norm_2.beta", "duration_predictor.norm2.bias"),
        (
            "durator.learnable_upsampler.conv_w.conv_layer.1.running_mean",
            "upsampler.map_features.batch_norm.running_mean",
        ),
        ("durator.learnable_upsampler.conv_c.conv_layer.1.weight", "upsampler.context_features.batch_norm.weight"),
        ("durator.learnable_upsampler.conv_c.layer_norm.bias", "upsampler.context_features.norm.bias"),
        ("durator.learnable_upsampler.swish_w.layer.2.weight", "upsampler.map_mlp.fc2.weight"),
        ("durator.learnable_upsampler.swish_c.layer.4.bias", "upsampler.context_mlp.fc3.bias"),
        ("durator.learnable_upsampler.layer_norm.weight", "upsampler.norm.weight"),
        ("durator.learnable_upsampler.proj_o.weight", "upsampler.output_projection.weight"),
        ("text_encoder.encoder.prenet.encode_positions.alpha", "text_encoder.position_scale"),
        (
            "text_encoder.encoder.wrapped_encoder.layers.1.attention.out_proj.weight",
            "text_encoder.layers.1.attention.o_proj.weight",
        ),
        (
            "text_encoder.encoder.wrapped_encoder.layers.0.layer_norm.weight",
            "text_encoder.layers.0.attention_norm.weight",
        ),
        (
            "text_encoder.encoder.wrapped_encoder.layers.0.final_layer_norm.weight",
            "text_encoder.layers.0.feed_forward_norm.weight",
        ),
    ],
)
def test_tensors_of_one_shape_are_not_mixed_up(small, theirs, ours):
    expected = small_file()[theirs]
    assert torch.equal(
        small.content_encoder.state_dict()[ours], expected.reshape_as(small.content_encoder.state_dict()[ours])
    )


def test_the_denoiser_keeps_its_names(small):
    weights = small_file()
    assert all(torch.equal(value, weights[f"unet.{name}"]) for name, value in small.unet.state_dict().items())


def test_projecting_before_and_after_the_weighted_sum_agree(small):
    theirs = small_file()["durator.learnable_upsampler.linear_w.weight"]  # (width, maps * width), of what maps gather
    ours = small.content_encoder.upsampler.token_projection.weight  # (maps * width, width), of what they gather from
    gathered = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    before = torch.einsum("moi,mi->o", ours.unflatten(0, (4, 32)), gathered)
    torch.testing.assert_close(before, theirs @ gathered.flatten(), rtol=1e-5, atol=1e-5)


def content_encoder_of(weights: dict[str, torch.Tensor]):
    """Converted alone: the denoiser takes several times as long."""
    return convert_content_encoder(read_checkpoint(weights))


def test_positions_are_computed_not_copied(small):
    changed = {"text_encoder.encoder.prenet.encode_positions.pe": torch.full((1, 1000, 32), 9.0)}
    for weights in (small_file(**changed), without("encode_positions.pe")):
        assert same_state(content_encoder_of(weights), small.content_encoder)
    assert small.content_encoder.text_encoder.positions.abs().max() <= 1


# --- what files look like ---------------------------------------------------------------------------------------------


def test_a_file_converts(small, tmp_path):
    torch.save(small_file(), tmp_path / "file.ckpt")
    pipe = convert(tmp_path / "file.ckpt")
    assert same_weights(pipe, small)
    assert pipe.config.avzoo_source["file"] == "file.ckpt"


def test_the_prefix_of_parallel_training_is_taken_off(small):
    assert same_weights(convert({f"module.{key}": value for key, value in small_file().items()}), small)


def test_a_training_folder_converts(small, tmp_path):
    folder = tmp_path / "checkpoint-20000"
    folder.mkdir()
    save_file(small_file(), folder / "model.safetensors")
    pipe = convert(folder)
    assert same_weights(pipe, small)
    source = pipe.config.avzoo_source
    assert (source["file"], source["variant"]) == ("checkpoint-20000", "own")


def test_a_file_without_counters_of_batches_converts(small):
    assert any("num_batches_tracked" in key for key in small_file())
    encoder = content_encoder_of(without("num_batches_tracked"))
    assert same_state(encoder, small.content_encoder)
    assert encoder.upsampler.map_features.batch_norm.num_batches_tracked == 0


def test_half_precision_is_converted_to_float32():
    halves = {key: value.half() if value.is_floating_point() else value for key, value in small_file().items()}
    pipe = convert(halves)
    assert {p.dtype for part in (pipe.unet, pipe.content_encoder) for p in part.parameters()} == {torch.float32}


def test_the_pipeline_shares_no_memory_with_the_checkpoint(small):
    weights = {key: value.clone() for key, value in small_file().items()}
    pipe = convert(weights)
    for value in weights.values():
        value.zero_()
    assert same_weights(pipe, small)


REFUSED = {
    "another network": (
        lambda: {"conv1.weight": torch.zeros(3)},
        r"no VoiceLDM checkpoint: it has no `unet\.down_blocks`",
    ),
    "no content encoder": (
        lambda: without("text_encoder", "durator"),
        r"no VoiceLDM checkpoint: `durator\.\S+weight` must be a weight of 3 axes, it lacks it",
    ),
    "no condition": (
        lambda: without("class_embedding"),
        r"`unet\.class_embedding\.weight` must be a weight of 2 axes, it lacks it",
    ),
    "a flat convolution": (
        lambda: small_file(**{"unet.conv_in.weight": torch.zeros(32, 8)}),
        r"`unet\.conv_in\.weight` must be a weight of 4 axes, it has the shape \(32, 8\) there",
    ),
    "a bias of the denoiser missing": (
        lambda: without("unet.mid_block.resnets.0.conv1.bias"),
        r"1 tensor stays empty \(`mid_block\.resnets\.0\.conv1\.bias`\)",
    ),
    "a scale missing": (
        lambda: without("durator.dp.norm_1.gamma"),
        r"1 tensor stays empty \(`duration_predictor\.norm1\.weight`\)",
    ),
    "statistics missing": (
        lambda: without("conv_w.conv_layer.1.running_mean"),
        r"1 tensor stays empty \(`upsampler\.map_features\.batch_norm\.running_mean`\)",
    ),
    "three layers half missing": (
        lambda: without("wrapped_encoder.layers.1.attention"),
        r"8 tensors stay empty \(.*`, \.\.\.\)",
    ),
    "a key too many": (
        lambda: small_file(**{"vocoder.weight": torch.zeros(3)}),
        r"1 key has no rule \(`vocoder\.weight`\)",
    ),
    "a key of the denoiser too many": (
        lambda: small_file(**{"unet.extra.weight": torch.zeros(3)}),
        r"1 tensor is not in the model \(`extra\.weight`\)",
    ),
    "another width in one place": (
        lambda: small_file(**{"durator.dp.conv_1.weight": torch.zeros(32, 16, 3)}),
        r"1 shape differs \(`duration_predictor\.conv1\.weight: \(32, 16, 3\), the model has \(32, 32, 3\)`\)",
    ),
    "something that is no tensor": (lambda: {"epoch": 3}, r"`epoch` holds a int"),
    "nothing": (dict, "it is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tensors_that_do_not_fit_are_refused_by_name(name):
    weights, message = REFUSED[name]
    of_content_encoder = re.search("upsampler|duration_predictor|tensors stay empty", message)
    with pytest.raises(ValueError, match=message):
        content_encoder_of(weights()) if of_content_encoder else convert(weights())


# --- the other parts --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    return write_sources(tmp_path_factory.mktemp("sources"))


def test_folders_stand_in_for_the_repositories(sources):
    pipe = convert_checkpoint("voiceldm", {"checkpoint": small_file(), **{k: str(v) for k, v in sources.items()}})
    for name, part_class in PARTS.items():
        assert isinstance(getattr(pipe, name), part_class)
        assert not getattr(getattr(pipe, name), "training", False)
    clap = ClapModel.from_pretrained(sources["clap"]).state_dict()
    for part in (pipe.description_encoder, pipe.audio_encoder):
        assert all(torch.equal(value, clap[name]) for name, value in part.state_dict().items())
    assert type(pipe.scheduler) is UniPCMultistepScheduler
    assert (pipe.preset, pipe.scheduler.config.beta_end) == ("fast", 0.0195)
    assert pipe.config.avzoo_source["parts"]["vae"] == "audioldm"


def test_a_part_can_be_a_folder_or_an_object(sources):
    vocoder = SpeechT5HifiGan.from_pretrained(sources["audioldm"] / "vocoder")
    pipe = convert(small_file(), vae=str(sources["audioldm"] / "vae"), vocoder=vocoder, speecht5=sources["speecht5"])
    expected = AutoencoderKL.from_pretrained(sources["audioldm"] / "vae").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in pipe.vae.state_dict().items())
    assert pipe.vocoder is vocoder
    assert isinstance(pipe.content_tokenizer, SpeechT5Tokenizer)
    origins = pipe.config.avzoo_source["parts"]
    wanted = ("vae", "vocoder", "scheduler", "content_tokenizer", "audio_encoder")
    assert [origins[name] for name in wanted] == ["vae", "memory", "memory", "speecht5", None]


def test_a_source_of_one_component_overrides_its_repository(sources):
    pipe = convert(small_file(), clap=sources["clap"], audio_encoder=None, feature_extractor=None)
    assert pipe.description_encoder is not None
    assert pipe.audio_encoder is None
    assert pipe.feature_extractor is None


def test_none_omits_a_part(small):
    assert all(getattr(small, name) is None for name in PARTS)
    assert set(small.config.avzoo_source["parts"].values()) == {None, "memory"}


def test_a_scheduler_cannot_be_omitted():
    with pytest.raises(ValueError, match=r"part `scheduler` can't be omitted; pass a folder or a scheduler"):
        convert(small_file(), scheduler=None)
    with pytest.raises(ValueError, match=r"part `scheduler` can't be omitted"):
        convert_checkpoint("voiceldm", {"checkpoint": small_file(), **NO_PARTS})


def test_an_unknown_part_is_refused():
    with pytest.raises(
        ValueError, match=r"no part is called 'vea'; there are: audio_encoder, audioldm, clap, .*, vocoder"
    ):
        convert(small_file(), vea=None)


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for part in ("vae", "vocoder", "scheduler", "description_encoder", "content_tokenizer"):
        for folder in (tmp_path / "missing", tmp_path / "empty"):
            reason = rf"could not be loaded from `\S*{folder.name}` \(.*Pass a local folder with --part {part}=FOL"
            with pytest.raises(OSError, match=f"part `{part}` {reason}"):
                load_part(part, folder)
    with pytest.raises(OSError, match="part `vae` could not be loaded"):
        convert(small_file(), vae=tmp_path / "missing")


def test_a_failed_download_says_how_to_omit_the_part(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # otherwise it tries again and again
    with pytest.raises(
        OSError, match=r"part `vae` could not be loaded from `cvssp/audioldm-m-full` \(.*--part vae=none"
    ):
        load_part("vae", "audioldm")


@pytest.mark.parametrize(("part", "folder"), [("description_encoder", "audio"), ("audio_encoder", "text")])
def test_a_folder_without_the_weights_of_the_part_is_refused(sources, part, folder, tmp_path):
    """Otherwise they would be random, and only a line of a log would say so."""
    tower = load_part("audio_encoder" if folder == "audio" else "description_encoder", sources["clap"])
    tower.save_pretrained(tmp_path / folder)
    config = (sources["clap"] / "config.json").read_text()  # that of the whole
    (tmp_path / folder / "config.json").write_text(config)
    with pytest.raises(ValueError, match=rf"part `{part}` from `\S+` lacks \d+ of its weights .*another model's"):
        load_part(part, tmp_path / folder)


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_converted_folder_is_a_source_of_parts(sources, small, tmp_path):
    pipe = convert(small_file(), clap=sources["clap"], speecht5=sources["speecht5"])
    pipe.save_pretrained(tmp_path)
    names = ("description_encoder", "content_tokenizer", "scheduler")
    encoder, tokenizer, scheduler = (load_part(name, tmp_path) for name in names)
    assert same_state(encoder, pipe.description_encoder)
    assert tokenizer("the fox").input_ids == pipe.content_tokenizer("the fox").input_ids
    assert scheduler.config.beta_end == 0.0195


def test_a_folder_that_is_not_empty_is_not_overwritten(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is not an empty folder"):
        save_converted(small, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_command_line_omits_parts_by_name(tmp_path, capsys):
    from avzoo.cli import main

    torch.save(small_file(), tmp_path / "own.ckpt")
    DDIMScheduler(**SETTINGS).save_pretrained(tmp_path / "scheduler")
    parts = [*(f"{name}=none" for name in NO_PARTS), f"scheduler={tmp_path / 'scheduler'}"]
    options = [word for part in parts for word in ("--part", part)]
    main(["convert", "voiceldm", str(tmp_path / "own.ckpt"), str(tmp_path / "out"), *options])
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'out'}\n")
    assert (tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert not (tmp_path / "out" / "vae").exists()


# --- a pipeline to be trained -----------------------------------------------------------------------------------------


def test_a_new_pipeline_is_initialized_from_speecht5(sources, monkeypatch):
    config = SpeechT5Config(
        hidden_size=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        encoder_max_relative_position=5,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        speech_decoder_prenet_units=16,
        speech_decoder_postnet_units=16,
        speaker_embedding_dim=8,
        max_text_positions=60,
    )
    SpeechT5ForTextToSpeech(config).save_pretrained(sources["speecht5"])
    small = dataclasses.replace(
        zoo.find_row("voiceldm").find_variant("s"), config={"block_out_channels": (32, 32, 32, 64)}
    )
    monkeypatch.setattr(zoo.Row, "find_variant", lambda row, name: small)
    scheduler = DDIMScheduler(**SETTINGS)
    pipe = new_pipeline("s", {**{name: str(path) for name, path in sources.items()}, "scheduler": scheduler})
    theirs = SpeechT5ForTextToSpeech.from_pretrained(sources["speecht5"]).speecht5.encoder
    ids = torch.tensor([[4, 7, 9, 2]])
    ours = pipe.content_encoder.text_encoder(ids, torch.ones_like(ids))
    torch.testing.assert_close(ours, theirs.eval()(ids, torch.ones_like(ids)).last_hidden_state, rtol=1e-5, atol=1e-5)
    assert (pipe.config.null_content, pipe.preset, pipe.unet.training) == ("", "fast", False)
    assert pipe.unet.config.projection_class_embeddings_input_dim == 48
    with pytest.raises(ValueError, match=r"part `audio_encoder` can't be omitted from a pipeline for training"):
        new_pipeline("s", {**sources, "audio_encoder": None})
