"""ACL-SSL's three files become one folder; missing, wrong and mismatched ones are refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_acl_ssl as small
import small_beats
import torch
from clip_tokenizer import DOG, END, START, A
from PIL import Image
from transformers import AutoModel, AutoProcessor

from avzoo import ACLForSoundLocalization, ACLProcessor
from avzoo.cli import main
from avzoo.conversion import convert_acl_ssl, convert_checkpoint, describe_conversion, save_converted
from avzoo.conversion.checkpoints import Checkpoint

CASES = Path(__file__).parents[1] / "golden/cases/acl_ssl"


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write_files(folder: Path, **clipseg) -> dict[str, str]:
    """The three files on disk: "checkpoint", "beats", "clipseg"."""
    torch.save(small.trained(), folder / "Param_best.pth")
    torch.save(small_beats.small_file(), folder / "BEATs.pt")
    small.write_clipseg(folder / "clipseg", **clipseg)
    names = {"checkpoint": "Param_best.pth", "beats": "BEATs.pt", "clipseg": "clipseg"}
    return {name: str(folder / file) for name, file in names.items()}


def same_weights(first, second) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_small_files_have_the_keys_of_the_released_ones():
    released = {key for key, *_ in json.loads((CASES / "full/keys.json").read_text())}
    parts = {"audio_proj": small.trained()["audio_proj"], "masker_i": small.trained()["masker_i"]}
    for part, tensors in parts.items():
        assert {f"{part}.{key}" for key in tensors} == {key for key in released if key.startswith(f"{part}.")}
    fewer_layers = {f"av_grounder.{key}" for key in small.clipseg()}
    assert fewer_layers <= released


def test_every_trained_weight_finds_its_place():
    file, model = small.trained(), small.convert()
    embedder, weights = model.audio_embedder, file["audio_proj"]
    places = {
        "fc1": embedder.fc1,
        "fc2": embedder.fc2,
        "fga.un_models.0.embed": embedder.unary_embed,
        "fga.un_models.0.feature_reduce": embedder.unary_reduce,
        "fga.pp_models.0.embed_X": embedder.pair_query,
        "fga.pp_models.0.embed_Y": embedder.pair_key,
    }
    for name, layer in places.items():
        assert torch.equal(layer.weight, weights[f"{name}.weight"].reshape(layer.weight.shape)), name
        assert torch.equal(layer.bias, weights[f"{name}.bias"]), name
    assert torch.equal(embedder.combine.weight, weights["fga.reduce_potentials.0.weight"][..., 0])
    assert (model.mask_scale.item(), model.mask_shift.item()) == (9.5, 13.0)


def test_frozen_weights_are_those_of_the_parts():
    model, beats, clipseg = small.convert(), small_beats.small_file(), small.clipseg()
    expected = convert_checkpoint("beats", {**beats, "model": small_beats.small_weights()}).beats
    assert same_weights(model.audio_encoder, expected)
    grounder = model.grounder.state_dict()
    assert all(torch.equal(grounder[key], value) for key, value in clipseg.items() if key in grounder)
    assert {key for key in clipseg if key not in grounder} <= {key for key in clipseg if key.endswith("position_ids")}


def test_only_the_trained_weights_take_a_gradient():
    names = {name.split(".")[0] for name, weight in small.convert().named_parameters() if weight.requires_grad}
    assert names == {"audio_embedder", "mask_scale", "mask_shift"}


@torch.no_grad()
def test_a_converted_model_hears_and_sees():
    output = small.convert()(draw(2, 3, 32, 48), draw(2, 32, 128))
    assert output.similarity_map.shape == (2, 32, 48)
    assert torch.isfinite(output.similarity_map).all()


@torch.no_grad()
def test_positions_that_no_file_holds_are_counted():
    clip = small.convert().grounder.clip
    text, vision = clip.text_model.embeddings.position_ids, clip.vision_model.embeddings.position_ids
    assert (text.tolist(), vision.tolist()) == ([list(range(16))], [list(range(5))])


def test_beats_as_an_encoder_without_a_head_serves_as_well():
    headless = {"cfg": small_beats.CFG, "model": small_beats.small_weights(classes=None)}
    assert small.convert(beats=headless).audio_encoder.config.hidden_size == small_beats.WIDTH


# --- CLIPSeg as a folder, a file, a name ------------------------------------------------------------------------------


def test_the_caller_overrides_settings_of_beats():
    model = small.convert(config={**small.SHAPES_ONLY, "audio_config": {"token_mask": "official"}})
    assert model.config.audio_config.token_mask == "official"


def test_a_folder_tells_its_own_settings(tmp_path):
    folder = small.write_clipseg(tmp_path / "clipseg")
    model = small.convert(grounder=folder, config=small.CONFIG)
    config = model.config.grounder_config
    assert tuple(config.extract_layers) == (0, 1)
    assert config.vision_config.num_attention_heads == 1
    assert model.config.avzoo_source["parts"]["clipseg"]["file"] == "clipseg"


def test_without_a_config_a_head_has_64_channels_as_clips():
    wide = {**small.CLIPSEG["vision_config"], "hidden_size": 192}
    tensors = small.clipseg(vision_config=wide, text_config={**small.CLIPSEG["text_config"], "hidden_size": 128})
    fields = convert_acl_ssl.read_clipseg_fields(Checkpoint(tensors, name="checkpoint"), tensors)
    assert fields["text_config"]["num_attention_heads"] == 2
    assert fields["vision_config"]["num_attention_heads"] == 3


def test_a_file_in_place_of_the_folder_has_no_tokenizer(tmp_path):
    torch.save(small.clipseg(), tmp_path / "clipseg.bin")
    model = small.convert(grounder=tmp_path / "clipseg.bin")
    save_converted(model, tmp_path / "out")
    assert ACLProcessor.from_pretrained(tmp_path / "out").tokenizer is None


def test_a_file_of_weights_beside_a_tokenizer_takes_it(tmp_path):
    folder = small.write_clipseg(tmp_path / "clipseg")
    model = small.convert(grounder=folder / "model.safetensors")
    assert model.processor_arguments["tokenizer"]("a dog").input_ids == [START, A, DOG, END]


def test_a_folder_of_another_width_is_refused(tmp_path):
    text = {**small.CLIPSEG["text_config"], "hidden_size": 16}
    folder = small.write_clipseg(tmp_path / "other", text_config=text)
    message = r"makes words of 8 channels, but those of part clipseg .*`other`\) have 16: it is another CLIPSeg"
    with pytest.raises(ValueError, match=message):
        small.convert(grounder=folder, config=small.CONFIG)


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = small.write_clipseg(tmp_path / "clipseg")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        small.convert(grounder=folder, config=small.CONFIG)


def test_a_folder_of_another_network_is_refused(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    torch.save({"classifier.weight": torch.zeros(2, 2)}, folder / "pytorch_model.bin")
    message = r"part clipseg .*`other`\) lacks `clip\.text_model\..*`: it is no CLIPSeg checkpoint"
    with pytest.raises(ValueError, match=message):
        small.convert(grounder=folder)


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*does not exist"):
        small.convert(grounder=str(tmp_path / "nowhere"))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["beats", "clipseg"])
def test_a_missing_part_is_asked_for_with_its_source(part):
    files = {"checkpoint": small.trained(), "beats": small_beats.small_file(), "clipseg": small.clipseg()}
    for without in ({**files, part: None}, {name: file for name, file in files.items() if name != part}):
        source = {"beats": "microsoft/unilm", "clipseg": "CIDAS/clipseg-rd64-refined"}[part]
        message = rf"acl_ssl needs the part '{part}'.* pass --part {part}=PATH, of {source}"
        with pytest.raises(ValueError, match=message):
            convert_checkpoint("acl_ssl", without, config=small.SHAPES_ONLY)


def test_the_authors_file_alone_is_told_what_it_needs():
    message = "acl_ssl needs the part 'beats', a frozen network that checkpoint does not hold"
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("acl_ssl", small.trained())


def test_an_unknown_part_is_refused():
    files = {"checkpoint": small.trained(), "clip": small.clipseg()}
    with pytest.raises(ValueError, match="acl_ssl has no part 'clip'; it has: beats, clipseg"):
        convert_checkpoint("acl_ssl", files)


@pytest.mark.parametrize("entry", ["audio_proj", "masker_i"])
def test_a_checkpoint_without_one_of_its_dictionaries_is_refused(entry):
    file = small.trained()
    del file[entry]
    with pytest.raises(ValueError, match=f"checkpoint lacks the dictionary '{entry}': it is none of ACL-SSL's"):
        small.convert(checkpoint=file)


def test_a_checkpoint_of_another_method_is_refused():
    with pytest.raises(ValueError, match="lacks the dictionary 'audio_proj': it is none of ACL-SSL's"):
        small.convert(checkpoint={"imgnet.conv1.weight": torch.zeros(2, 3, 7, 7)})


def test_another_beats_is_refused():
    other = {"model": small_beats.small_weights(width=16)}
    with pytest.raises(ValueError, match=r"trained on audio features of 24 channels, but .* gives 48 .*another BEATs"):
        small.convert(beats=other)


def test_a_beats_with_too_few_layers_is_refused():
    with pytest.raises(Exception, match="`audio_layers` must be numbers from 1 to 3"):
        small.convert(beats={"model": small_beats.small_weights(layers=3)})


def test_a_beats_whose_tables_differ_is_refused():
    beats = small_beats.small_file()
    beats["model"]["encoder.layers.2.self_attn.relative_attention_bias.weight"] += 1
    with pytest.raises(ValueError, match=r"`encoder\.layers\.2\..*` differs from the table of the first layer"):
        small.convert(beats=beats)


def test_files_that_change_places_are_refused_by_the_name_of_their_part(tmp_path):
    files = write_files(tmp_path)
    with pytest.raises(ValueError, match=r"part beats \(checkpoint `Param_best.pth`\): expected a flat dictionary"):
        convert_checkpoint("acl_ssl", {**files, "checkpoint": files["beats"], "beats": files["checkpoint"]})
    with pytest.raises(ValueError, match=r"part clipseg \(checkpoint `BEATs.pt`\): expected a flat dictionary"):
        convert_checkpoint("acl_ssl", {**files, "clipseg": files["beats"]})


def test_a_mask_scale_of_zero_is_refused():
    checkpoint = small.trained()
    checkpoint["masker_i"]["w"] = torch.tensor(0.0)
    with pytest.raises(ValueError, match=r"`masker_i\.w` is 0, by which masks are divided: the file is damaged"):
        small.convert(checkpoint=checkpoint)


def test_a_missing_trained_weight_is_named():
    file = small.trained()
    del file["audio_proj"]["fga.pp_models.0.embed_Y.bias"]
    with pytest.raises(ValueError, match=r"pair_key\.bias|embed_Y\.bias"):
        small.convert(checkpoint=file)


def test_weights_left_over_are_named():
    file = small.trained()
    file["audio_proj"]["fc3.weight"] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"audio_proj\.fc3\.weight"):
        small.convert(checkpoint=file)


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_conversion_tells_its_three_files(tmp_path):
    files = write_files(tmp_path)
    text = describe_conversion(convert_checkpoint("acl_ssl", files, config=small.CONFIG))
    for file in ("Param_best.pth", "part beats: BEATs.pt, sha256", "part clipseg: clipseg, sha256"):
        assert file in text
    assert "acl_ssl, variant vit16" in text


def test_the_conversion_says_that_texts_can_not_work_without_a_tokenizer(tmp_path):
    folder = small.write_clipseg(tmp_path / "clipseg", tokenizer=False)
    text = describe_conversion(small.convert(grounder=folder, config=small.CONFIG))
    assert "note: part clipseg (checkpoint folder `clipseg`) has no tokenizer, so no text can stand in place" in text


def test_the_card_says_that_texts_can_not_work(tmp_path):
    folder = small.write_clipseg(tmp_path / "clipseg", tokenizer=False)
    save_converted(small.convert(grounder=folder, config=small.CONFIG), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Note: part clipseg (checkpoint folder `clipseg`) has no tokenizer" in card
    assert "\n\nConverted by avzoo" in card


def test_a_conversion_with_everything_has_no_note(tmp_path):
    files = write_files(tmp_path)
    assert "note:" not in describe_conversion(convert_checkpoint("acl_ssl", files, config=small.CONFIG))


def test_the_conversion_says_what_was_assumed_of_beats():
    text = describe_conversion(small.convert(beats=small_beats.small_weights()))
    assert "note: part beats (checkpoint) has no settings (`cfg`)" in text


@torch.no_grad()
def test_the_command_writes_a_folder_that_loads(tmp_path, capsys):
    files = write_files(tmp_path)
    out = tmp_path / "out"
    parts = [f"--part={name}={files[name]}" for name in ("beats", "clipseg")]
    config = ["--config", "prompt_ids=(54, 26, 55)", "prompt_position=2"]
    assert main(["convert", "acl_ssl", files["checkpoint"], str(out), *parts, *config]) == 0, capsys.readouterr().err
    model, report = ACLForSoundLocalization.from_pretrained(out, output_loading_info=True)
    assert not any(report.values()), report
    assert type(AutoModel.from_pretrained(out)) is ACLForSoundLocalization
    assert isinstance(AutoProcessor.from_pretrained(out), ACLProcessor)
    memory = convert_checkpoint("acl_ssl", files, config=small.CONFIG)
    assert same_weights(model, memory)
    card = (out / "README.md").read_text()
    assert "`BEATs.pt`" in card
    assert "`Param_best.pth`" in card


def test_the_command_without_parts_says_what_to_pass(tmp_path, capsys):
    files = write_files(tmp_path)
    assert main(["convert", "acl_ssl", files["checkpoint"], str(tmp_path / "out")]) == 1
    assert "--part beats=PATH, of microsoft/unilm" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


ELSEWHERE = """
import sys
import torch
from transformers import AutoModel, AutoProcessor
import avzoo

model, processor = AutoModel.from_pretrained(sys.argv[1]), AutoProcessor.from_pretrained(sys.argv[1])
inputs = processor(images=sys.argv[2], text=["a dog"])
ids, position = processor.encode_prompt("a dog {}")
with torch.no_grad():
    text = model.get_text_features(inputs.input_ids, inputs.attention_mask)
    maps = model.compute_similarity_maps(model.get_image_features(inputs.pixel_values), text)
print(inputs.input_ids.tolist(), ids, position, tuple(maps.shape), f"{float(maps.mean()):.6f}")
"""


@pytest.mark.slow
@torch.no_grad()
def test_texts_work_in_another_process(tmp_path):
    """The converted folder carries CLIPSeg's tokenizer."""
    files = write_files(tmp_path)
    model = convert_checkpoint("acl_ssl", files, config=small.CONFIG)
    folder = save_converted(model, tmp_path / "out")
    Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(40, 40, 3).astype(np.uint8)).save(tmp_path / "a.png")
    command = [sys.executable, "-c", ELSEWHERE, str(folder), str(tmp_path / "a.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    processor = ACLProcessor.from_pretrained(folder)
    inputs = processor(images=tmp_path / "a.png", text="a dog")
    maps = model.compute_similarity_maps(
        model.get_image_features(inputs.pixel_values), model.get_text_features(inputs.input_ids)
    )
    expected = (
        f"[[{START}, {A}, {DOG}, {END}]] [{START}, {A}, {DOG}, {END}] 3 (1, 1, 352, 352) {float(maps.mean()):.6f}"
    )
    assert result.stdout.strip() == expected
