"""FlexiASTFeatureExtractor: the released preprocessing, from anything that is a recording."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTFeatureExtractor, AutoFeatureExtractor

import avzoo
from avzoo import FlexiASTConfig, FlexiASTFeatureExtractor, FlexiASTForAudioClassification, zoo
from avzoo.audio import kaldi_fbank, resample

RATE = 16000


def sound(samples: int, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """(samples,) float32 in [-1, 1]: a gliding tone over noise."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    tone = 0.4 * np.sin(2 * np.pi * (300 + 200 * seed) * time * (1 + time / 4))
    return (tone + 0.05 * random.standard_normal(samples)).astype(np.float32)


def features(audio, rate=RATE, extractor=None, **options) -> np.ndarray:
    return (extractor or FlexiASTFeatureExtractor())(audio, rate, **options)["input_values"]


# --- the released preprocessing ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # the third, in every AST
@pytest.mark.parametrize("samples", [400, 8000, 163600, 163840, 200000])
@pytest.mark.parametrize("variant", ["audioset", "vggsound", "voxceleb"])
def test_features_are_those_of_transformers_extractor(samples, variant):
    """The same recipe in another implementation; without torchaudio it is NumPy code."""
    constants = zoo.find_row("flexiast").find_variant(variant).processor
    clip = sound(samples)
    ours = FlexiASTFeatureExtractor(**constants)(clip, RATE)["input_values"]
    theirs = ASTFeatureExtractor(**constants)(clip, sampling_rate=RATE, return_tensors="np")["input_values"]
    assert ours.shape == theirs.shape == (1, 1024, 128)
    assert ours.dtype == np.float32
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_the_defaults_are_the_vggsound_constants():
    extractor = FlexiASTFeatureExtractor()
    constants = zoo.find_row("flexiast").find_variant("vggsound").processor
    assert {"mean": extractor.mean, "std": extractor.std} == constants
    assert (extractor.max_length, extractor.num_mel_bins, extractor.sampling_rate) == (1024, 128, RATE)


def test_features_are_log_mel_energies_over_two_standard_deviations():
    extractor = FlexiASTFeatureExtractor(mean=-3.0, std=2.0)
    log_mel = kaldi_fbank(torch.from_numpy(sound(8000))).numpy()  # (48, 128)
    np.testing.assert_array_equal(features(sound(8000), extractor=extractor)[0, :48], (log_mel + 3) / 4)
    plain = FlexiASTFeatureExtractor(do_normalize=False)
    np.testing.assert_array_equal(features(sound(8000), extractor=plain)[0, :48], log_mel)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_tensors", ["pt", "np", None])
@pytest.mark.parametrize("padding", ["longest", "max_length"])
@pytest.mark.parametrize("settings", [{}, {"do_normalize": False}], ids=str)
def test_padding_single_features_gives_the_features_of_the_batch(settings, padding, return_tensors, masked):
    extractor = FlexiASTFeatureExtractor(max_length=64, return_attention_mask=masked, **settings)
    clips = [sound(samples) for samples in (4000, 7000, 16000)]
    batch = extractor(clips, RATE, padding=padding, return_tensors=return_tensors)
    singles = [extractor(clip, RATE, padding="longest", return_tensors=return_tensors) for clip in clips]
    rows = [{name: values[0] for name, values in single.items()} for single in singles]
    for features_of_rows in (rows, {name: [row[name] for row in rows] for name in batch}):
        options = {"padding": padding, "return_tensors": return_tensors}
        padded = extractor.pad(features_of_rows, max_length=extractor.num_frames, **options)
        assert padded.keys() == batch.keys()
        assert all(type(padded[name]) is type(batch[name]) for name in batch)
        for name in batch:
            np.testing.assert_array_equal(padded[name], batch[name])
    assert batch["input_values"].shape[1] == 64


def test_padding_can_cut_and_end_at_a_multiple():
    extractor = FlexiASTFeatureExtractor(max_length=64)
    rows = {"input_values": [features(sound(samples), padding="longest")[0] for samples in (4000, 16000)]}
    cut = extractor.pad(rows, padding="max_length", max_length=64, truncation=True)["input_values"]
    np.testing.assert_array_equal(cut, features([sound(4000), sound(16000)], extractor=extractor))
    longer = extractor.pad(rows, pad_to_multiple_of=16)["input_values"]
    assert longer.shape == (2, 112, 128)
    np.testing.assert_array_equal(longer, features([sound(4000), sound(16000)], max_length=112))


def test_the_value_of_padding_follows_from_the_statistics(tmp_path):
    extractor = FlexiASTFeatureExtractor(mean=-3.0, std=2.0)
    assert extractor.padding_value == 0.75
    extractor.mean = -4.0
    assert extractor.padding_value == 1.0
    extractor.save_pretrained(tmp_path)
    assert AutoFeatureExtractor.from_pretrained(tmp_path).padding_value == 1.0
    assert FlexiASTFeatureExtractor(padding_value=0.0).padding_value == FlexiASTFeatureExtractor().padding_value
    for change in (lambda: FlexiASTFeatureExtractor(padding_value=0.5), lambda: setattr(extractor, "padding_value", 0)):
        with pytest.raises(ValueError, match="`padding_value` follows from `mean` and `std`"):
            change()


def test_an_unknown_keyword_is_an_error():
    with pytest.raises(TypeError, match="return_attention_masks"):
        FlexiASTFeatureExtractor()(sound(4000), RATE, return_attention_masks=True)


@pytest.mark.parametrize(("variant", "value"), [("audioset", 0.4670), ("vggsound", 0.5700), ("voxceleb", 0.4477)])
def test_padding_is_a_log_mel_of_zero_which_is_not_silence(variant, value):
    extractor = FlexiASTFeatureExtractor(**zoo.find_row("flexiast").find_variant(variant).processor)
    padded = features(sound(8000), extractor=extractor)[0]
    np.testing.assert_allclose(padded[48:], -extractor.mean / (2 * extractor.std), rtol=1e-6)
    assert padded[-1, -1] == pytest.approx(value, abs=1e-4)
    silence = features(np.zeros(8000, dtype=np.float32), extractor=extractor)[0, :48]
    assert silence.max() < padded[-1, -1] - 1


def test_a_long_recording_is_cut_at_its_end():
    long = features(sound(200000))
    np.testing.assert_array_equal(features(sound(200000)[:170000]), long)
    np.testing.assert_allclose(features(sound(200000), max_length=100), long[:, :100], atol=1e-6)


@pytest.mark.parametrize(("max_length", "max_samples"), [(1, 400), (2, 560), (48, 7920), (512, 82160), (1024, 164080)])
def test_max_samples_fill_max_length_frames_and_no_more(max_length, max_samples):
    extractor = FlexiASTFeatureExtractor(max_length=max_length)
    assert (extractor.hop_length, extractor.window_length, extractor.max_samples) == (160, 400, max_samples)
    for samples, frames in ((max_samples, max_length), (max_samples + 159, max_length), (max_samples - 1, None)):
        if samples >= 400:
            made = features(sound(samples), extractor=extractor, padding="longest", max_length=9999).shape[1]
            assert made == (max_length - 1 if frames is None else frames)


@pytest.mark.parametrize(("sampling_rate", "hop", "window"), [(8000, 80, 200), (16000, 160, 400), (32000, 320, 800)])
def test_another_model_rate_keeps_100_frames_per_second(sampling_rate, hop, window):
    extractor = FlexiASTFeatureExtractor(sampling_rate=sampling_rate, num_mel_bins=64)
    assert (extractor.hop_length, extractor.window_length) == (hop, window)
    clip = sound(sampling_rate, rate=sampling_rate)
    assert features(clip, sampling_rate, extractor, padding="longest").shape == (1, 98, 64)


# --- batches ----------------------------------------------------------------------------------------------------------

LENGTHS = (16000, 400, 7999, 24000, 559)


def test_a_batch_is_its_items_one_by_one():
    clips = [sound(samples, seed) for seed, samples in enumerate(LENGTHS)]
    together = features(clips)
    assert together.shape == (5, 1024, 128)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_allclose(row, features(clip)[0], atol=1e-5)


def test_the_longest_recording_sets_the_frames_and_a_mask_tells_the_rest():
    clips = [sound(samples, seed) for seed, samples in enumerate(LENGTHS)]
    extractor = FlexiASTFeatureExtractor()
    batch = extractor(clips, RATE, padding="longest", return_attention_mask=True, return_tensors="pt")
    frames = [1 + (samples - 400) // 160 for samples in LENGTHS]
    assert batch["input_values"].shape == (5, max(frames), 128)
    assert batch["attention_mask"].sum(dim=1).tolist() == frames
    for row, mask, count in zip(batch["input_values"], batch["attention_mask"], frames, strict=True):
        assert mask.tolist() == [1] * count + [0] * (max(frames) - count)
        assert (row[count:] == extractor.normalize(torch.zeros(()))).all()
    same = extractor(clips, RATE, padding=True, truncation=True, return_attention_mask=True, return_tensors="pt")
    torch.testing.assert_close(dict(same), dict(batch), rtol=0, atol=0)
    limited = extractor(clips, RATE, padding="longest", max_length=60, return_attention_mask=True)
    assert limited["input_values"].shape == (5, 60, 128)
    assert limited["attention_mask"].sum(axis=1).tolist() == [min(count, 60) for count in frames]


@torch.no_grad()
def test_the_model_gives_a_masked_batch_what_it_gives_each_alone():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    model = FlexiASTForAudioClassification(FlexiASTConfig(**sizes, initializer_range=0.3, num_labels=4)).eval()
    extractor = FlexiASTFeatureExtractor()
    clips = [sound(samples, seed) for seed, samples in enumerate((16000, 3200, 9000))]
    batch = extractor(clips, RATE, padding="longest", return_attention_mask=True, return_tensors="pt")
    for patch_size in (8, 16, (16, 12)):
        together = model(**batch, patch_size=patch_size).logits
        for logits, clip in zip(together, clips, strict=True):
            alone = extractor(clip, RATE, padding="longest", return_tensors="pt")
            torch.testing.assert_close(logits, model(**alone, patch_size=patch_size).logits[0], rtol=1e-4, atol=1e-5)


def test_no_mask_is_made_unless_asked_for():
    assert set(FlexiASTFeatureExtractor()(sound(8000), RATE)) == {"input_values"}
    always = FlexiASTFeatureExtractor(return_attention_mask=True)
    assert set(always(sound(8000), RATE)) == {"input_values", "attention_mask"}
    assert set(always(sound(8000), RATE, return_attention_mask=False)) == {"input_values"}


# --- what a recording may be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda clip: clip.astype(np.float64),
        lambda clip: clip.tolist(),
        torch.from_numpy,
        lambda clip: torch.from_numpy(clip).double(),
        lambda clip: [clip],
        lambda clip: (torch.from_numpy(clip),),
        lambda clip: clip[None],
        lambda clip: torch.from_numpy(clip)[None],
        lambda clip: {"array": clip, "sampling_rate": RATE},
        lambda clip: {"array": np.stack([clip, -clip]), "sampling_rate": RATE},
    ],
    ids=[
        "float64",
        "list",
        "tensor",
        "double tensor",
        "list of one",
        "tuple",
        "2-D",
        "2-D tensor",
        "row",
        "two channels",
    ],
)
def test_forms_of_the_same_samples_have_the_same_features(form):
    clip = sound(8000)
    np.testing.assert_array_equal(features(form(clip)), features(clip))


def test_files_bytes_and_rows_know_their_rate(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, sound(8000), RATE, subtype="FLOAT")
    expected = features(sound(8000))
    for source in (path, str(path), path.read_bytes(), {"path": str(path)}, {"bytes": path.read_bytes()}):
        np.testing.assert_array_equal(features(source, None), expected)
    row = {"array": sound(8000), "sampling_rate": RATE}
    np.testing.assert_array_equal(features([path, row], None), np.concatenate([expected, expected]))


def test_a_two_dimensional_array_is_a_batch():
    batch = np.stack([sound(8000, 0), sound(8000, 1)])
    np.testing.assert_array_equal(features(batch), features(list(batch)))


def test_the_first_channel_counts_or_the_mean(tmp_path):
    left, right = sound(8000, 0), sound(8000, 1)
    row = {"array": np.stack([left, right]), "sampling_rate": RATE}
    np.testing.assert_array_equal(features(row), features(left))
    mean = FlexiASTFeatureExtractor(channels="mean")
    np.testing.assert_allclose(features(row, extractor=mean), features((left + right) / 2), atol=1e-5)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, row["array"].T, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(features(path), features(left))


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_of_eight_channels_works(tmp_path, ending):
    channels = (np.stack([sound(8000, seed) for seed in range(8)]) * 32768).round().clip(-32768, 32767) / 32768
    path = tmp_path / f"eight.{ending}"
    soundfile.write(path, channels.T, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(features(path), features(channels[0].astype(np.float32)))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 192000])
def test_other_rates_are_resampled(tmp_path, rate):
    """Half a second whose content lies below 3 kHz, so that every rate holds all of it."""
    time = np.arange(rate // 2) / rate
    clip = (0.4 * np.sin(2 * np.pi * 2000 * time * (0.5 + time))).astype(np.float32)
    made = features(clip, rate, padding="longest")
    assert made.shape == (1, 48, 128)
    np.testing.assert_allclose(made, features(resample(clip, rate, RATE), padding="longest"), atol=1e-3)
    path = tmp_path / "sound.wav"
    soundfile.write(path, clip, rate, subtype="FLOAT")
    np.testing.assert_array_equal(features(path, padding="longest"), made)
    time = np.arange(RATE // 2) / RATE
    at_models_rate = (0.4 * np.sin(2 * np.pi * 2000 * time * (0.5 + time))).astype(np.float32)
    expected = features(at_models_rate, padding="longest")
    loud = expected > expected.max() - 1  # in the quiet bins the resamplers' own noise is louder than the sound
    np.testing.assert_allclose(made[loud], expected[loud], atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_flow_to_a_waveform_tensor(dtype):
    clips = [torch.from_numpy(sound(samples)).to(dtype).requires_grad_() for samples in (8000, 1000)]
    made = FlexiASTFeatureExtractor(max_length=40)(clips, RATE, return_tensors="pt")["input_values"]
    assert made.dtype == torch.float32
    made.square().sum().backward()
    used = 400 + 39 * 160
    assert clips[0].grad[:used].abs().min() > 0
    assert not clips[0].grad[used:].any()  # samples of frames that were cut
    assert clips[1].grad.isfinite().all()
    step = 1e-3 * clips[0].grad / clips[0].grad.norm()
    moved = FlexiASTFeatureExtractor(max_length=40)([clips[0] + step], RATE, return_tensors="pt")["input_values"]
    rise = moved.square().sum() - made[0].square().sum()
    assert rise.item() == pytest.approx((step * clips[0].grad).sum().item(), rel=0.1)


def test_the_input_is_not_modified():
    clip = sound(8000)
    tensor = torch.from_numpy(clip.copy())
    features(clip), features(tensor)
    np.testing.assert_array_equal(clip, sound(8000))
    np.testing.assert_array_equal(tensor.numpy(), sound(8000))


@pytest.mark.parametrize(("return_tensors", "kind"), [(None, np.ndarray), ("np", np.ndarray), ("pt", torch.Tensor)])
def test_the_kind_of_tensor_is_chosen(return_tensors, kind):
    batch = FlexiASTFeatureExtractor()(sound(8000), RATE, return_attention_mask=True, return_tensors=return_tensors)
    assert {type(value) for value in batch.values()} == {kind}


# --- save and load ----------------------------------------------------------------------------------------------------


def test_a_saved_extractor_comes_back_through_the_auto_class(tmp_path):
    settings = {
        "sampling_rate": 8000,
        "num_mel_bins": 40,
        "max_length": 77,
        "mean": -3.25,
        "std": 2.125,
        "do_normalize": False,
        "channels": "mean",
        "return_attention_mask": True,
    }
    extractor = FlexiASTFeatureExtractor(**settings)
    extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is avzoo.FlexiASTFeatureExtractor
    assert {name: getattr(loaded, name) for name in settings} == settings
    assert loaded.to_dict() == extractor.to_dict()
    for made, expected in zip(loaded(sound(4000), 8000).values(), extractor(sound(4000), 8000).values(), strict=True):
        np.testing.assert_array_equal(made, expected)
    assert AutoFeatureExtractor.from_pretrained(tmp_path, max_length=5).max_length == 5


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "rate", "error", "message"),
    [
        (sound(8000), None, ValueError, r"`audio\[0\]` is bare samples.*pass `sampling_rate`"),
        (torch.from_numpy(sound(8000)), None, ValueError, r"`audio\[0\]` is bare samples"),
        ({"array": sound(8000)}, None, ValueError, r"`audio\[0\]`.*doesn't tell its sampling rate"),
        ({"array": sound(8000), "sampling_rate": 8000}, RATE, ValueError, r"`audio\[0\]` says 8000 Hz.*16000 Hz"),
        (sound(8000), 0, ValueError, "must be a positive number of Hz, got 0"),
        (sound(8000), "16k", TypeError, "must be a whole number of Hz, got '16k'"),
        ([], RATE, ValueError, "`audio` is an empty list"),
        (np.zeros((0, 8000), dtype=np.float32), RATE, ValueError, r"`audio` must be.*got shape \(0, 8000\)"),
        (sound(0), RATE, ValueError, r"`audio\[0\]` holds no samples"),
        (torch.zeros(0), RATE, ValueError, r"`audio\[0\]` holds no samples"),
        ([sound(8000), sound(0)], RATE, ValueError, r"`audio\[1\]` holds no samples"),
        (sound(1), RATE, ValueError, r"`audio\[0\]` is too short: 1 samples at 16000 Hz, one frame needs 400"),
        (sound(399), RATE, ValueError, r"`audio\[0\]` is too short: 399 samples"),
        ([sound(8000), torch.zeros(399)], RATE, ValueError, r"`audio\[1\]` is too short: 399 samples"),
        (sound(1190), 48000, ValueError, r"`audio\[0\]` is too short: 397 samples at 16000 Hz"),
        ([sound(8000), sound(8000) * np.nan], RATE, ValueError, r"`audio\[1\]`.*8000 samples are NaN or infinite"),
        (np.append(sound(8000), np.inf), RATE, ValueError, r"`audio\[0\]`.*1 samples are NaN or infinite.*8000"),
        (torch.full((8000,), float("nan")), RATE, ValueError, r"`audio\[0\]` holds NaN or infinite"),
        (np.full(8000, 1e300), RATE, ValueError, "NaN or infinite"),
        (np.ones(8000, dtype=np.int16), RATE, TypeError, r"`audio\[0\]` holds integers \(int16\)"),
        (torch.ones(8000, dtype=torch.int16), RATE, TypeError, r"`audio\[0\]` holds torch.int16"),
        ([1, 2, 3], RATE, TypeError, r"`audio\[0\]` holds integers"),
        (np.ones(8000, dtype=bool), RATE, TypeError, "real floating-point samples, got bool"),
        (np.ones(8000, dtype=complex), RATE, TypeError, "real floating-point samples, got complex128"),
        (np.zeros((1, 2, 8000), dtype=np.float32), RATE, ValueError, r"`audio` must be.*got shape \(1, 2, 8000\)"),
        (torch.zeros(1, 2, 8000), RATE, ValueError, r"`audio` must be.*got shape \(1, 2, 8000\)"),
        (np.zeros((), dtype=np.float32), RATE, ValueError, r"`audio` must be.*got shape \(\)"),
        (None, RATE, TypeError, r"`audio\[0\]` must be.*got NoneType"),
        (b"", None, ValueError, r"`audio\[0\]` is empty: 0 bytes"),
        (b"not a sound", None, ValueError, r"`audio\[0\]` is no audio or video file"),
        ("missing.wav", None, FileNotFoundError, "missing.wav"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_bad_recording_is_named(audio, rate, error, message):
    with pytest.raises(error, match=message):
        FlexiASTFeatureExtractor()(audio, rate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "shortest"}, "`padding` must be one of max_length, longest, True, got 'shortest'"),
        ({"padding": False}, "`padding` must be"),
        ({"return_tensors": "tf"}, "`return_tensors` must be one of pt, np, None, got 'tf'"),
        ({"truncation": False}, "`truncation` must be one of True, got False"),
        ({"max_length": 0}, "`max_length` must be at least 1 and at most 1000000, got 0"),
        ({"max_length": -5}, "`max_length` must be at least 1 and at most 1000000, got -5"),
    ],
)
def test_a_bad_option_of_a_call_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        FlexiASTFeatureExtractor()(sound(8000), RATE, **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": 0}, "`std` must be above 0, got 0"),
        ({"std": -1.5}, "`std` must be above 0, got -1.5"),
        ({"max_length": 0}, "`max_length` must be at least 1 and at most 1000000, got 0"),
        ({"num_mel_bins": 0}, "`num_mel_bins` must be at least 1 and at most 4096, got 0"),
        ({"sampling_rate": 0}, "`sampling_rate` must be at least 1 Hz, got 0"),
        ({"channels": "left"}, "`channels` must be one of first, mean, got 'left'"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FlexiASTFeatureExtractor(**settings)
