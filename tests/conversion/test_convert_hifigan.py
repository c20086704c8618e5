"""HiFi-GAN's generators become transformers' SpeechT5HifiGan, and keep the spectrograms they were trained on."""

import json
from pathlib import Path

import pytest
import torch
from transformers import SpeechT5HifiGan

from avzoo import zoo
from avzoo.conversion import convert_checkpoint, save_converted
from avzoo.conversion.convert_hifigan import fold_weight_norm

CASES = Path(__file__).parents[1] / "golden/cases/ltbs"
CONFIG_V1 = {  # what the authors' config_v1.json says of it
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": 8000,
}


def small_file(case: str = "vocoder", width: int = 1) -> dict[str, dict[str, torch.Tensor]]:
    """The released file's keys, the full ones with each width divided by `width`."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape, _ in json.loads((CASES / case / "keys.json").read_text()):
        sizes = [size // width if size >= 16 and size != 80 and index < 2 else size for index, size in enumerate(shape)]
        weights[key] = torch.randn(sizes, generator=generator) * 0.1
        if key.endswith("weight_g"):
            weights[key] = weights[key].abs() + 0.5
    return {"generator": weights}


def save_file(folder: Path, config: dict | None = CONFIG_V1) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(small_file("vocoder_full_universal22k", 16), folder / "generator_v1")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "generator_v1"


def test_a_weight_is_its_direction_times_its_length():
    direction, length = torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[10.0]]])
    for names in (("weight_v", "weight_g"), [f"parametrizations.weight.original{index}" for index in (1, 0)]):
        folded = fold_weight_norm({f"ups.0.{names[1]}": length, f"ups.0.{names[0]}": direction, "ups.0.bias": length})
        assert folded.keys() == {"ups.0.weight", "ups.0.bias"}
        assert folded["ups.0.weight"].flatten().tolist() == [6, 8]


def test_a_file_whose_weight_norm_is_removed_converts_to_the_same():
    weights = small_file()["generator"]
    expected = convert_checkpoint("hifigan", {"generator": weights})
    folded = convert_checkpoint("hifigan", fold_weight_norm(weights))
    torch.testing.assert_close(folded.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_the_spectrogram_normaliser_of_transformers_is_switched_off():
    model = convert_checkpoint("hifigan", small_file())
    assert not model.config.normalize_before
    assert (model.mean.abs().max(), model.scale.min(), model.scale.max()) == (0, 1, 1)


def test_the_config_beside_the_file_tells_the_spectrogram(tmp_path):
    settings = CONFIG_V1 | {"sampling_rate": 24000, "fmax": 12000, "win_size": 800}
    model = convert_checkpoint("hifigan", save_file(tmp_path, settings))
    mel = model.config.mel_settings
    assert (mel["sampling_rate"], mel["high_frequency"], mel["window_size"]) == (24000, 12000, 800)
    assert (model.config.sampling_rate, model.config.avzoo_source["variant"]) == (24000, "other")


def test_without_a_config_the_rates_and_the_spectrogram_of_the_known_ones_are_taken(tmp_path):
    model = convert_checkpoint("hifigan", save_file(tmp_path, None))
    assert list(model.config.upsample_rates) == [8, 8, 2, 2]
    assert (model.config.sampling_rate, model.config.avzoo_source["variant"]) == (22050, "22khz")
    model = convert_checkpoint("hifigan", small_file())
    assert list(model.config.upsample_rates) == [5, 4, 4, 2]
    assert (model.config.sampling_rate, model.config.avzoo_source["variant"]) == (16000, "16khz")


def test_the_folder_is_transformers_own_and_says_where_it_came_from(tmp_path):
    model = convert_checkpoint("hifigan", save_file(tmp_path / "files"))
    folder = save_converted(model, tmp_path / "out")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded, report = SpeechT5HifiGan.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert loaded.config.mel_settings == model.config.mel_settings
    spectrogram = torch.randn(1, 7, 80)
    with torch.no_grad():
        torch.testing.assert_close(loaded(spectrogram), model(spectrogram), rtol=0, atol=0)
    assert "`generator_v1`" in (folder / "README.md").read_text()


def test_the_command_line_converts_it(tmp_path, capsys):
    from avzoo.cli import main

    main(["convert", "hifigan", str(save_file(tmp_path / "files")), str(tmp_path / "out")])
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert SpeechT5HifiGan.from_pretrained(tmp_path / "out").config.sampling_rate == 22050


def test_the_row_names_transformers_own_classes_and_no_public_name():
    row = zoo.find_row("hifigan")
    assert row.load(row.model_class) is SpeechT5HifiGan
    assert (row.public_names, row.auto_classes) == ((), {})
    with pytest.raises(AttributeError, match="hifigan has no public name 'HifiGan'"):
        row.load("HifiGan")


def test_residual_blocks_of_type_2_are_refused():
    weights = {key.replace("convs1", "convs"): value for key, value in small_file()["generator"].items()}
    with pytest.raises(ValueError, match=r"residual blocks of type 2 \(HiFi-GAN V3\)"):
        convert_checkpoint("hifigan", {"generator": weights})


def test_the_discriminators_of_a_training_are_refused():
    content = {"mpd": {}, "msd": {}, "optim_g": {}, "steps": 1}
    with pytest.raises(ValueError, match=r"discriminators of a training .* the generator is in the file g_"):
        convert_checkpoint("hifigan", content)


def test_the_weights_of_another_method_are_refused():
    with pytest.raises(ValueError, match=r"is no generator of HiFi-GAN: `conv_pre.weight` must be the weight"):
        convert_checkpoint("hifigan", {"linear.weight": torch.ones(3, 4)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_initial_channel": 512}, "`upsample_initial_channel` 32, the config.json beside them says 512"),
        ({"num_mels": 64}, "`num_mels` 80, the config.json beside them says 64"),
        ({"hop_size": 200}, "its network has `hop_size` 256, its `mel_settings` say 200"),
        ({"fmin": None}, "the keys or shapes of no network"),
        ({"fmax": 12000}, "`high_frequency` must be"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("hifigan", save_file(tmp_path, CONFIG_V1 | changes))


def test_a_config_that_lacks_a_setting_is_refused(tmp_path):
    settings = {name: value for name, value in CONFIG_V1.items() if name != "win_size"}
    with pytest.raises(ValueError, match=r"the config.json beside it lacks `win_size`"):
        convert_checkpoint("hifigan", save_file(tmp_path, settings))


def test_settings_that_are_not_known_have_to_be_given():
    rates = {"upsample_rates": [4, 4, 4, 2]}
    with pytest.raises(ValueError, match=r"its 128 samples a frame of 80 bands are none of the known.*`mel_settings`"):
        convert_checkpoint("hifigan", small_file(), config=rates)
    model = convert_checkpoint("hifigan", small_file(), config=rates | {"mel_settings": {"hop_size": 128}})
    assert model.config.mel_settings["hop_size"] == 128
