"""Checkpoints of SlowFastSign, and of the video network that training starts from: weights, vocabularies, refusals."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avzoo import SlowFastSignForCTC, SlowFastSignProcessor, zoo
from avzoo.cli import main
from avzoo.conversion import convert_checkpoint, describe_conversion, save_converted
from avzoo.conversion.array_pickles import read_array_pickle
from avzoo.conversion.convert_slowfast_cslr import list_blobs

CASES = Path(__file__).parents[1] / "golden/cases/slowfast_cslr"
NUM_GLOSSES = 22  # of the small file
GLOSSES = [f"GLOSS{number:02d}" for number in range(NUM_GLOSSES)]

pytestmark = pytest.mark.filterwarnings("ignore:without the part `labels`")


def small_file(seed: int = 0) -> dict[str, torch.Tensor]:
    """A file of the released layout, with few and narrow blocks."""
    draw = torch.Generator().manual_seed(seed)
    file = {}
    for key, shape, dtype in json.loads((CASES / "tiny/keys.json").read_text()):
        if dtype == "int64":
            file[key] = torch.tensor(7)
        elif key.endswith("running_var"):
            file[key] = 0.5 + torch.rand(shape, generator=draw)
        else:
            file[key] = torch.randn(shape, generator=draw) * (0.1 if len(shape) == 1 else shape[0] ** -0.5)
    for number in range(3):
        file[f"conv1d.fc.{number}.weight"] = file[f"classifier.{number}.weight"]
    return file


def single_branch(file: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same as the authors' network without auxiliary branches names its weights."""
    kept = {}
    for key, value in file.items():
        if key.startswith("conv2d."):
            kept[key] = value
        for theirs, ours in (
            ("conv1d.main_temporal_conv.", "conv1d.temporal_conv."),
            ("temporal_model.0.rnn.", "temporal_model.rnn."),
            ("classifier.0.", "classifier."),
            ("conv1d.fc.0.", "conv1d.fc."),
        ):
            if key.startswith(theirs):
                kept[ours + key.removeprefix(theirs)] = value
    return kept


def convert(checkpoint: Any = None, **options: Any) -> SlowFastSignForCTC:
    return convert_checkpoint("slowfast_cslr", small_file() if checkpoint is None else checkpoint, **options)


@torch.no_grad()
def spell(model: SlowFastSignForCTC) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return model(torch.randint(256, (1, 24, 3, 32, 32), dtype=torch.uint8, generator=draw)).logits


def write_blobs(path: Path, **changes: Any) -> Path:
    """PySlowFast's file of a small network: what it has beside the weights, too."""
    draw = np.random.default_rng(0)
    width, blobs = {"": 8, "t_": 2}, {}

    def norm(name: str, size: int) -> None:
        blobs.update({f"{name}_{leaf}": draw.uniform(0.5, 1, size).astype("f4") for leaf in ("s", "b", "rm", "riv")})

    def layer(name: str, norm_name: str, *shape: int) -> None:
        blobs[f"{name}_w"] = draw.standard_normal(shape).astype("f4")
        norm(norm_name, shape[0])

    layer("conv1", "res_conv1_bn", 8, 3, 1, 7, 7)
    layer("t_conv1", "t_res_conv1_bn", 2, 3, 5, 7, 7)
    layer("t_pool1_subsample", "t_pool1_subsample_bn", 4, 2, 5, 1, 1)
    for stage in range(2, 6):
        for prefix in ("", "t_"):
            inner = width[prefix] << (stage - 2)
            before = width[prefix] if stage == 2 else 2 * inner
            before += 2 * (width["t_"] if stage == 2 else 4 * width["t_"] << (stage - 3)) if prefix == "" else 0
            frames = 3 if prefix == "t_" or stage > 3 else 1
            name = f"{prefix}res{stage}_0_branch"
            layer(f"{name}1", f"{name}1_bn", 4 * inner, before, 1, 1, 1)
            layer(f"{name}2a", f"{name}2a_bn", inner, before, frames, 1, 1)
            layer(f"{name}2b", f"{name}2b_bn", inner, inner, 1, 3, 3)
            layer(f"{name}2c", f"{name}2c_bn", 4 * inner, inner, 1, 1, 1)
        if stage < 5:
            name, fast = f"t_res{stage}_0_branch2c_bn_subsample", 4 * width["t_"] << (stage - 2)
            layer(name, f"{name}_bn", 2 * fast, fast, 5, 1, 1)
    blobs |= {"conv1_w_momentum": blobs["conv1_w"], "lr": np.float32(0.1), "pred_b": np.zeros(5, "f4")}
    content = {"blobs": {**blobs, **changes}, "cfg": "MODEL:\n  ARCH: slowfast\n"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


# --- the authors' files -----------------------------------------------------------------------------------------------


def test_the_conventions_of_the_file_do_not_matter():
    plain = small_file()
    nested = {"epoch": 3, "model_state_dict": plain}
    parallel = {key.replace("conv2d.", "conv2d.module.", 1): value for key, value in plain.items()}
    whole = {f"module.{key}": value for key, value in plain.items()}
    expected = spell(convert(plain))
    assert expected.abs().sum() > 0
    for file in (nested, parallel, whole):
        assert torch.equal(spell(convert(file)), expected)


def test_a_training_file_with_the_states_of_random_numbers_is_read(tmp_path):
    """As the authors save it; NumPy's state is what torch refuses to read."""
    states = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.RandomState(0).get_state(),
        "random": (3, (1, 2), None),
    }
    content = {"epoch": 1, "model_state_dict": small_file(), "optimizer_state_dict": {"state": {}}, "rng_state": states}
    torch.save(content, tmp_path / "dev.pt")
    model = convert(tmp_path / "dev.pt")
    assert torch.equal(spell(model), spell(convert()))
    assert "not read, beside the weights: epoch, optimizer_state_dict, rng_state" in describe_conversion(model)


def test_the_classifier_that_is_saved_twice_is_taken_from_its_own_name():
    file = small_file()
    file["conv1d.fc.0.weight"] = torch.full_like(file["conv1d.fc.0.weight"], 9)
    assert torch.equal(spell(convert(file)), spell(convert()))


def test_a_file_of_one_branch_answers_alike():
    model = convert(single_branch(small_file()))
    assert not model.config.auxiliary_branches
    assert torch.equal(spell(model), spell(convert()))


@torch.no_grad()
def test_branches_are_told_by_number_not_by_order():
    """Main, slow, fast: where files list fast, slow, main."""
    file = small_file()
    pixels = torch.randint(256, (1, 24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = convert(file)(pixels, output_auxiliary=True)
    file["classifier.1.weight"] = file["conv1d.fc.1.weight"] = file["classifier.1.weight"].flip(1)
    after = convert(file)(pixels, output_auxiliary=True)
    torch.testing.assert_close(after.slow_logits, before.slow_logits.flip(-1))
    assert torch.equal(after.fast_logits, before.fast_logits)
    assert torch.equal(after.logits, before.logits)


def test_other_fusions_are_told_by_their_weights():
    file = small_file()
    without_gates = {key: value for key, value in file.items() if not re.search(r"fuse\.weight_[sf]$", key)}
    with pytest.raises(ValueError, match="does not fit"):  # channels are put beside others there
        convert(without_gates)


@pytest.mark.parametrize(
    ("num_classes", "variant"), [(1296, "phoenix14"), (1116, "phoenix14t"), (2001, "csl_daily"), (23, "other")]
)
def test_the_number_of_classes_tells_the_data_set(num_classes, variant):
    file = small_file()
    for number in range(3):
        wide = torch.randn(48, num_classes, generator=torch.Generator().manual_seed(0))
        file[f"classifier.{number}.weight"] = file[f"conv1d.fc.{number}.weight"] = wide
    source = convert(file).config.avzoo_source
    assert source["variant"] == variant
    assert source["processor"].get("top_rows", 0) == (40 if variant == "csl_daily" else 0)


def test_a_file_for_inference_is_smaller_and_answers_alike(tmp_path):
    model = convert()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "small", for_inference=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "small")]
    assert sizes[1] < 0.9 * sizes[0]
    small, report = SlowFastSignForCTC.from_pretrained(tmp_path / "small", output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(spell(small), spell(model))
    assert model.slow_head is not None  # nothing was taken from the model itself


@pytest.mark.slow
def test_the_released_size_has_as_many_parameters_as_the_authors():
    keys = json.loads((CASES / "phoenix2014_full/keys.json").read_text())
    file = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in keys}
    model = convert(file)
    assert sum(weight.numel() for weight in model.parameters()) == 133_601_920
    assert sum(weight.numel() for weight in model.without_auxiliary().parameters()) == 83_454_592


# --- vocabularies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dictionary", "text"])
def test_a_vocabulary_goes_into_the_folder(kind, tmp_path):
    if kind == "text":
        labels = tmp_path / "glosses.txt"
        labels.write_text("\n".join(GLOSSES), encoding="utf-8")
    else:
        labels = tmp_path / "gloss_dict.npy"
        np.save(labels, {gloss: [number, 5] for number, gloss in enumerate(GLOSSES, start=1)})
    model = convert({"checkpoint": small_file(), "labels": labels})
    save_converted(model, tmp_path / "out")
    processor = SlowFastSignProcessor.from_pretrained(tmp_path / "out")
    assert processor.glosses == GLOSSES
    assert processor.encode_glosses("GLOSS00 GLOSS21") == [1, 22]
    assert "GLOSS00" not in (tmp_path / "out/config.json").read_text()
    assert f"part labels: {labels.name}, sha256 " in describe_conversion(model)


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    labels = tmp_path / "glosses.txt"
    labels.write_text("\n".join(GLOSSES[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"`labels` has 21 glosses; the checkpoint knows 22: they do not belong"):
        convert({"checkpoint": small_file(), "labels": labels})


class RunsCode:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_in_place_of_the_dictionary_runs_no_code(tmp_path):
    canary, labels = tmp_path / "this_code_ran", tmp_path / "gloss_dict.npy"
    np.save(labels, np.array(RunsCode(canary), dtype=object))
    with pytest.raises(ValueError, match="which could run code"):
        convert({"checkpoint": small_file(), "labels": labels})
    labels.write_bytes(pickle.dumps(RunsCode(canary)))
    with pytest.raises(ValueError, match=r"is a pickle; expected gloss_dict\.npy"):
        convert({"checkpoint": small_file(), "labels": labels})
    assert not canary.exists()


def test_without_a_vocabulary_glosses_are_numbers(tmp_path):
    with pytest.warns(UserWarning, match=r"without the part `labels`.*glosses will be numbers"):
        model = convert()
    save_converted(model, tmp_path / "out")
    assert SlowFastSignProcessor.from_pretrained(tmp_path / "out").spell([3, 1]) == "3 1"


def test_the_command_converts(tmp_path, capsys):
    torch.save({"model_state_dict": small_file()}, tmp_path / "dev.pt")
    (tmp_path / "glosses.txt").write_text("\n".join(GLOSSES), encoding="utf-8")
    command = ["convert", "slowfast_cslr", tmp_path / "dev.pt", tmp_path / "out", "--part"]
    assert main([*map(str, command), f"labels={tmp_path / 'glosses.txt'}"]) == 0
    assert SlowFastSignProcessor.from_pretrained(tmp_path / "out").num_classes == 23


# --- the video network ------------------------------------------------------------------------------------------------


def test_training_starts_from_the_video_networks_file(tmp_path):
    (tmp_path / "glosses.txt").write_text("\n".join(GLOSSES), encoding="utf-8")
    parts = {"checkpoint": write_blobs(tmp_path / "backbone.pkl"), "labels": tmp_path / "glosses.txt"}
    model = convert(parts)
    blobs = read_array_pickle(tmp_path / "backbone.pkl")["blobs"]
    pathways = model.slowfast.pathways
    assert (model.config.vocab_size, model.config.width, model.config.beta_inverse) == (23, 8, 4)
    assert torch.equal(pathways.slow_stem.projection.convolution.weight, blobs["conv1_w"][:, :, 0])
    first = pathways.stages[0].slow[0].reduction.convolution.weight[..., 0, 0]
    assert torch.equal(first, blobs["res2_0_branch2a_w"][:, :8, 0, 0, 0])
    scale = pathways.fusions[0].to_slow.norm.weight
    assert torch.equal(scale, blobs["t_pool1_subsample_bn_s"].repeat(2))
    assert not torch.any(pathways.fusions[0].slow_gate)
    assert torch.equal(spell(model), spell(convert(parts)))  # what is drawn has a seed
    told = describe_conversion(model)
    assert "variant backbone" in told
    assert "the optimizer's" in told


def test_what_the_video_networks_file_lacks_is_named(tmp_path):
    path = write_blobs(tmp_path / "backbone.pkl")
    content = pickle.loads(path.read_bytes())
    del content["blobs"]["res3_0_branch2b_w"]
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="lacks `res3_0_branch2b_w`"):
        convert(path)
    write_blobs(path, strange_w=np.zeros(3, "f4"))
    with pytest.raises(ValueError, match=r"has 1 blobs that SlowFast has not \(`strange_w`\)"):
        convert(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (RunsCode(Path("canary")), "refers to .*, which could run code"),
        (np.array([{}], dtype=object), "holds an array of object"),
        (np.zeros(3, "c8"), "holds an array of complex64"),
    ],
)
def test_a_pickle_that_holds_more_than_arrays_of_numbers_is_refused(value, message, tmp_path):
    path = write_blobs(tmp_path / "backbone.pkl", conv1_w=value)
    with pytest.raises(ValueError, match=message):
        convert(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_pickle_that_is_cut_short_is_told(share, tmp_path):
    path = write_blobs(tmp_path / "backbone.pkl")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(OSError, match="cut short or damaged"):
        convert(path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(protocol, tmp_path):
    value = {"a": np.arange(6, dtype=">f4").reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.float64(2.5)}
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    read = read_array_pickle(path)
    assert read["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(read["b"], torch.eye(3, dtype=torch.float64))
    assert read["c"] == 2.5


def test_blobs_are_listed_once():
    blobs = [blob for blob, *_ in list_blobs((3, 4, 23, 3))]
    assert len(blobs) == len(set(blobs)) == 1060


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: {"a": torch.zeros(1)}, r"is no SlowFastSign checkpoint: it has no `classifier\.0\.weight`"),
        (lambda file: file.pop("conv2d.s3.pathway0_res0.branch2.a.weight"), "lacks `conv2d.s3.pathway0_res0.branch2.a"),
        (lambda file: file.pop("temporal_model.2.rnn.bias_ih_l0"), "1 tensor stays empty"),
        (lambda file: file.update({"conv2d.s9.weight": torch.zeros(1)}), r"1 key has no rule \(`conv2d\.s9\.weight`\)"),
        (
            lambda file: file.update({"conv2d.module.s1_fuse.weight_s": torch.zeros(1)}),
            "holds `conv2d.s1_fuse.weight_s` twice",
        ),
    ],
)
def test_another_file_is_refused(change, message):
    file = small_file()
    changed = change(file)
    with pytest.raises(ValueError, match=message):
        convert(changed if isinstance(changed, dict) else file)


def test_the_row_and_the_released_classes_agree():
    for variant in zoo.find_row("slowfast_cslr").variants:
        if "vocab_size" in variant.config:
            assert variant.config["vocab_size"] in (1296, 1116, 2001)


@pytest.mark.parametrize("variant", ["phoenix14", "backbone"])
def test_a_variant_of_another_vocabulary_is_refused(variant):
    with pytest.raises(ValueError, match=rf"has 23 classes, which variant='{variant}' is not for; it can be other"):
        convert(variant=variant)


def test_a_video_network_is_no_sign_model(tmp_path):
    with pytest.raises(ValueError, match="is a video network, which variant='phoenix14' is not for; it can be"):
        convert(write_blobs(tmp_path / "slowfast.pkl"), variant="phoenix14")


def test_the_processor_pads_as_the_config_says():
    assert convert(config={"alpha": 8}).config.avzoo_source["processor"]["alpha"] == 8
