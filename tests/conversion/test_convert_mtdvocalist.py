"""The authors' VocaLiST and MTDVocaLiST files become ours: every weight in its place, and the pixels they expect."""

import functools
import json

import pytest
import torch
from safetensors.torch import load_file
from small_mtdvocalist import JUNK, STUDENT, TEACHER, logits_of, released, small_file, without

from avzoo import MTDVocaLiSTForSequenceClassification, VocaLiSTForSequenceClassification, VocaLiSTProcessor, zoo
from avzoo.conversion import convert_checkpoint, convert_mtdvocalist, describe_conversion, save_converted
from avzoo.conversion.checkpoints import Checkpoint


def same_weights(model, other) -> bool:
    first, second = model.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@functools.cache
def small():
    """The small file, converted once; to be looked at only."""
    return convert_checkpoint("mtdvocalist", small_file())


# --- which file it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "asked", "model_class", "parameters", "variant", "processor"),
    [
        ("student_full", None, MTDVocaLiSTForSequenceClassification, 13_280_961, "student", STUDENT),
        ("teacher_full", "teacher", VocaLiSTForSequenceClassification, 80_106_561, "teacher", TEACHER),
    ],
)
def test_a_student_is_told_by_its_width(case, asked, model_class, parameters, variant, processor):
    model = convert_checkpoint("mtdvocalist", released(case), variant=asked)
    assert type(model) is model_class
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert not model.training
    source = model.config.avzoo_source
    assert (source["method"], source["variant"], source["processor"]) == ("mtdvocalist", variant, processor)


@pytest.mark.parametrize("known", zoo.find_row("mtdvocalist").variants, ids=lambda known: known.name)
def test_a_released_file_is_known_by_its_name(known, tmp_path):
    torch.save({"state_dict": small_file()}, tmp_path / known.checkpoint)
    model = convert_checkpoint("mtdvocalist", tmp_path / known.checkpoint)
    assert (model.config.avzoo_source["variant"], model.config.avzoo_source["processor"]) == (
        known.name,
        dict(known.processor),
    )


@pytest.mark.parametrize("file", [None, "Best.pth", "pure_MTDVocaLiST.pth"])
def test_a_teacher_of_another_name_is_asked_for(file):
    checkpoint = Checkpoint(released("teacher_full"), "checkpoint", file)
    with pytest.raises(ValueError, match=r"any of 4 variants of mtdvocalist.*--variant NAME") as told:
        convert_mtdvocalist.convert(checkpoint)
    listed = str(told.value).partition("in Python: ")[2]
    known = [variant.name for variant in zoo.find_row("mtdvocalist").variants if variant.name != "student"]
    assert [entry.split(" (")[0] for entry in listed.split("; ")] == known
    assert "student (" not in listed


@pytest.mark.parametrize("known", zoo.find_row("mtdvocalist").variants[1:], ids=lambda known: known.name)
@pytest.mark.parametrize("rename", [str, lambda name: name.replace(".pth", ".PTH")], ids=["as it is", "capitals"])
def test_a_wide_teacher_is_told_by_its_name(known, rename):
    checkpoint = Checkpoint(released("teacher_full"), "checkpoint", rename(known.checkpoint))
    _, variant, processor = convert_mtdvocalist.convert(checkpoint)
    assert (variant, processor) == (known.name, dict(known.processor))


@pytest.mark.parametrize(
    ("variant", "context_frames", "processor"),
    [
        ("teacher", 5, TEACHER),
        ("teacher-acappella", 5, TEACHER),
        ("teacher-acappella-25f", 25, {**TEACHER, "context_frames": 25}),
        ("distillation-teacher", 5, STUDENT),
    ],
)
def test_a_variant_says_what_no_file_does(variant, context_frames, processor):
    model = convert_checkpoint("mtdvocalist", released("teacher_full"), variant=variant)
    assert type(model) is VocaLiSTForSequenceClassification
    assert model.config.context_frames == context_frames
    assert model.config.avzoo_source["variant"] == variant
    assert model.config.avzoo_source["processor"] == processor


def test_these_are_all_the_variants():
    names = ["student", "teacher", "teacher-acappella", "teacher-acappella-25f", "distillation-teacher"]
    assert [variant.name for variant in zoo.find_row("mtdvocalist").variants] == names


def test_a_narrow_teacher_can_be_named():
    model = convert_checkpoint("mtdvocalist", small_file(), variant="teacher")
    assert type(model) is VocaLiSTForSequenceClassification
    assert model.config.hidden_size == 8


def test_sizes_are_read_off_the_file():
    config = small().config
    assert (config.hidden_size, config.num_hidden_layers, config.ffn_ratio) == (8, 1, 2)
    assert config.conv_channels == (2, 3, 4, 6, 8)
    assert config.distillation is None


def test_the_number_of_heads_has_to_be_told():
    eight = small()
    two = convert_checkpoint("mtdvocalist", small_file(), config={"num_attention_heads": 2})
    assert (eight.config.num_attention_heads, two.config.num_attention_heads) == (8, 2)
    assert same_weights(eight, two)
    assert not torch.equal(logits_of(eight), logits_of(two))


# --- every weight in its place ----------------------------------------------------------------------------------------


def test_every_weight_finds_one_place():
    """Told by the sums of their magnitudes, which no rearrangement changes; stacked projections are added up."""
    weights, model = small_file(), small()
    theirs = sorted(
        value.abs().double().sum().item()
        for key, value in weights.items()
        if value.is_floating_point() and key not in JUNK
    )
    ours, projections = [], {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        size = value.abs().double().sum().item()
        if any(f".{part}_proj." in name for part in "qkv"):
            stacked = name.replace("q_proj", "*").replace("k_proj", "*").replace("v_proj", "*")
            projections[stacked] = projections.get(stacked, 0.0) + size
        else:
            ours.append(size)
    assert sorted([*ours, *projections.values()]) == pytest.approx(theirs, rel=1e-9)


def test_stacked_projections_are_queries_then_keys_then_values():
    weights, network = small_file(), small().vocalist
    for theirs, ours in (("av", network.av_encoder), ("va", network.va_encoder), ("mem", network.fusion_encoder)):
        attention = ours.layers[0].attention
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        for leaf in ("weight", "bias"):
            stacked = weights[f"{theirs}_transformer.layers.0.self_attn.in_proj_{leaf}"]
            for place, projection in enumerate(projections):
                assert torch.equal(getattr(projection, leaf), stacked[8 * place : 8 * (place + 1)])


def test_time_comes_before_the_axes_of_the_picture():
    weights, network = small_file(), small().vocalist
    stem, ours = weights["vid_prenet.0.conv_block.0.weight"], network.visual_encoder.blocks[0].convolution.weight
    assert stem.shape == ours.shape == (2, 3, 7, 7, 7)
    for channel, colour, row, column, time in ((0, 0, 1, 2, 3), (1, 2, 6, 0, 5), (1, 1, 3, 4, 0)):
        assert ours[channel, colour, time, row, column] == stem[channel, colour, row, column, time]
    assert ours.is_contiguous()
    assert torch.equal(network.audio_encoder.blocks[3].convolution.weight, weights["aud_prenet.3.conv_block.0.weight"])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vid_prenet.16.conv_block.1.running_mean", "vocalist.visual_encoder.blocks.16.norm.running_mean"),
        ("aud_prenet.13.conv_block.1.num_batches_tracked", "vocalist.audio_encoder.blocks.13.norm.num_batches_tracked"),
        ("va_transformer.layers.0.self_attn.out_proj.bias", "vocalist.va_encoder.layers.0.attention.o_proj.bias"),
        ("va_transformer.layers.0.layer_norms.0.weight", "vocalist.va_encoder.layers.0.attention_norm.weight"),
        ("va_transformer.layers.0.layer_norms.1.weight", "vocalist.va_encoder.layers.0.feed_forward_norm.weight"),
        ("mem_transformer.layers.0.fc1.weight", "vocalist.fusion_encoder.layers.0.fc1.weight"),
        ("av_transformer.layers.0.fc2.weight", "vocalist.av_encoder.layers.0.fc2.weight"),
        ("mem_transformer.layer_norm.bias", "vocalist.fusion_encoder.norm.bias"),
        ("fc.weight", "vocalist.pooler.weight"),
        ("classifier.bias", "classifier.bias"),
    ],
)
def test_tensors_of_one_shape_are_not_mixed_up(theirs, ours):
    weights, model = small_file(), small()
    assert torch.equal(model.state_dict()[ours], weights[theirs])


def test_what_was_never_initialised_is_left_out():
    assert all(small_file()[key].isnan().all() for key in JUNK)
    model = small()
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert logits_of(model).isfinite().all()


# --- what files look like ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights},
        lambda weights: {"state_dict": weights, "optimizer": {"state": {}}, "global_step": 9, "global_epoch": 1},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {key: value for key, value in weights.items() if "embed_positions" not in key},
    ],
    ids=["released", "with an optimizer", "parallel", "parallel and wrapped", "without leftovers"],
)
def test_wrappings_do_not_matter(wrap, tmp_path):
    torch.save(wrap(small_file()), tmp_path / "file.pth")
    assert same_weights(convert_checkpoint("mtdvocalist", tmp_path / "file.pth"), small())


def test_what_lies_beside_the_weights_is_told_to_be_left():
    content = {"state_dict": small_file(), "optimizer": {"state": {}}, "global_step": 9}
    model = convert_checkpoint("mtdvocalist", content)
    assert model.config.avzoo_source["entries_ignored"] == ["global_step", "optimizer"]
    assert sum(map(len, model.config.avzoo_source["tensors_ignored"].values())) == len(JUNK)
    assert "not read, beside the weights: global_step, optimizer" in describe_conversion(model)


def test_a_file_without_counters_of_batches_converts():
    model = convert_checkpoint("mtdvocalist", without("num_batches_tracked"))
    assert torch.equal(logits_of(model), logits_of(small()))
    counters = [value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert [counter.item() for counter in counters] == [0] * 31


def test_half_precision_becomes_single():
    halves = {key: value.half() if value.is_floating_point() else value for key, value in small_file().items()}
    model = convert_checkpoint("mtdvocalist", halves)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert logits_of(model).isfinite().all()


def test_the_checkpoint_is_not_tied_to_the_model():
    weights = {key: value.clone() for key, value in small_file().items()}
    model = convert_checkpoint("mtdvocalist", weights)
    before = logits_of(model)
    for value in weights.values():
        value.zero_()
    assert torch.equal(logits_of(model), before)


def test_a_training_checkpoint_with_a_scheduler_is_not_opened(tmp_path):
    """The authors' trainer stores the scheduler as an object, which only running code can bring back."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=5e-5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.8)
    path = tmp_path / "Best.pth"
    torch.save({"state_dict": small_file(), "scheduler": scheduler, "lr": 5e-5}, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    message = (
        r"checkpoint `Best\.pth` needs arbitrary Python objects.*If you trust it, .*save its tensors as \.safetensors"
    )
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("mtdvocalist", path)


REFUSED = {
    "another network": (
        lambda: {"conv1.weight": torch.zeros(3)},
        r"is no VocaLiST checkpoint: `vid_prenet\.0\.conv_block\.0\.weight` must be a weight of 5 axes, it lacks it",
    ),
    "flat pictures": (
        lambda: small_file(**{"vid_prenet.0.conv_block.0.weight": torch.zeros(2, 3, 7, 7)}),
        r"`vid_prenet\.0\.conv_block\.0\.weight` must be a weight of 5 axes, it has the shape \(2, 3, 7, 7\) there",
    ),
    "no encoder": (
        lambda: without("av_transformer"),
        r"`av_transformer\.layers\.0\.fc1\.weight` must be a weight of 2 axes, it lacks it",
    ),
    "a bias missing": (
        lambda: without("va_transformer.layers.0.fc2.bias"),
        r"1 tensor stays empty \(`vocalist\.va_encoder\.layers\.0\.fc2\.bias`\)",
    ),
    "statistics missing": (
        lambda: without("aud_prenet.2.conv_block.1.running_mean"),
        r"1 tensor stays empty \(`vocalist\.audio_encoder\.blocks\.2\.norm\.running_mean`\)",
    ),
    "a key too many": (lambda: small_file(**{"fc2.weight": torch.zeros(3)}), r"1 key has no rule \(`fc2\.weight`\)"),
    "a layer too many": (
        lambda: small_file(**{"mem_transformer.layers.1.fc1.bias": torch.zeros(32)}),
        r"1 tensor is not in the model \(`vocalist\.fusion_encoder\.layers\.1\.fc1\.bias`\)",
    ),
    "a classifier of two": (
        lambda: small_file(**{"classifier.weight": torch.zeros(2, 8)}),
        r"1 shape differs \(`classifier\.weight: \(2, 8\), the model has \(1, 8\)`\)",
    ),
    "something that is no tensor": (lambda: {"state_dict": {"epoch": 3}}, r"`epoch` holds a int"),
    "nothing": (lambda: {"state_dict": {}}, "it is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name):
    weights, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("mtdvocalist", weights())


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match=r"no variant of mtdvocalist is called 'pupil'; there are: student, teacher,"):
        convert_checkpoint("mtdvocalist", small_file(), variant="pupil")


# --- what is written --------------------------------------------------------------------------------------------------


def test_nothing_of_the_junk_is_written(tmp_path):
    folder = save_converted(small(), tmp_path / "converted")
    written = load_file(folder / "model.safetensors")
    assert all(value.isfinite().all() for value in written.values())
    assert not any("version" in name or "_float_tensor" in name for name in written)


def test_the_record_names_the_file(tmp_path):
    path = tmp_path / "pure_MTDVocaLiST.pth"
    torch.save({"state_dict": small_file()}, path)
    folder = save_converted(convert_checkpoint("mtdvocalist", path), tmp_path / "converted")
    source = json.loads((folder / "config.json").read_text())["avzoo_source"]
    assert (source["file"], source["variant"], source["processor"]) == ("pure_MTDVocaLiST.pth", "student", STUDENT)
    assert "`pure_MTDVocaLiST.pth`" in (folder / "README.md").read_text()


def test_the_command_line_converts_it(tmp_path, capsys):
    from avzoo.cli import main

    torch.save({"state_dict": small_file()}, tmp_path / "vocalist_5f_acappella.pth")
    file, out = tmp_path / "vocalist_5f_acappella.pth", tmp_path / "out"
    main(["convert", "mtdvocalist", str(file), str(out), "--variant", "teacher-acappella"])
    assert capsys.readouterr().out == f"{out}\n"
    assert VocaLiSTProcessor.from_pretrained(out).channel_order == "bgr"
    assert VocaLiSTForSequenceClassification.from_pretrained(out).config.hidden_size == 8
