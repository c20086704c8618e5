"""CoarseToFineASTFeatureExtractor: FlexiAST's features at the resolution of a phase, from recordings or kept ones."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from avzoo import CoarseToFineASTFeatureExtractor, FlexiASTFeatureExtractor
from avzoo.audio import kaldi_fbank

RATE = 16000
WHOLE = [
    ("frame_shift", "max", 2),
    ("frame_shift", "max", 3),
    ("pooling", "max", 2),
    ("pooling", "max", 4),
    ("pooling", "mean", 3),
    ("patchify", "max", 2),
    ("patchify", "max", 1.5),
]


def sound(samples: int, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """(samples,) float32 in [-1, 1]: a gliding tone over noise."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    tone = 0.4 * np.sin(2 * np.pi * (300 + 200 * seed) * time * (1 + time / 4))
    return (tone + 0.05 * random.standard_normal(samples)).astype(np.float32)


def extractor_of(
    method: str = "pooling", factor: float = 1, pooling: str = "max", **settings
) -> CoarseToFineASTFeatureExtractor:
    phase = {"temporal_compression": method, "compression_factor": factor, "pooling": pooling}
    return CoarseToFineASTFeatureExtractor(**{"max_length": 128, **phase, **settings})


def features(audio, extractor, rate: int = RATE, **options) -> torch.Tensor:
    return extractor(audio, rate, return_tensors="pt", **options)["input_values"]


def full_log_mel(clip: np.ndarray, **options) -> torch.Tensor:
    return kaldi_fbank(torch.from_numpy(clip), **options)


# --- resolution -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["frame_shift", "pooling", "patchify"])
@pytest.mark.parametrize("samples", [400, 16000, 200000])
def test_at_full_resolution_features_are_those_of_flexiast(method, samples):
    expected = features(sound(samples), FlexiASTFeatureExtractor())
    assert torch.equal(features(sound(samples), extractor_of(method, max_length=1024)), expected)


@pytest.mark.parametrize("max_length", [100, 1000])
def test_at_full_resolution_an_input_of_any_length_is_flexiasts(max_length):
    """The grid of an overlapping AST may need the frames after the last whole patch."""
    expected = features(sound(8000), FlexiASTFeatureExtractor(max_length=max_length))
    ours = features(sound(8000), extractor_of(max_length=max_length))
    assert ours.shape == expected.shape
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_a_longer_frame_shift_takes_every_nth_frame_bit_for_bit(factor):
    (coarse,) = extractor_of("frame_shift", factor).log_mel([torch.from_numpy(sound(40000))])
    assert torch.equal(coarse, full_log_mel(sound(40000))[::factor])


def test_a_frame_shift_of_15_ms_meets_the_10_ms_frames_every_30_ms():
    (coarse,) = extractor_of("frame_shift", 1.5).log_mel([torch.from_numpy(sound(40000))])
    assert len(coarse) == 1 + (40000 - 400) // 240
    assert torch.equal(coarse[::2], full_log_mel(sound(40000))[::3])


def test_pooled_frames_are_maxima_or_means_and_the_remainder_is_dropped():
    log_mel = full_log_mel(sound(8000))  # 48 frames; by 5: 9 groups and 3 frames
    groups = log_mel[:45].view(9, 5, 128)
    for pooling, expected in (("max", groups.max(1).values), ("mean", groups.mean(1))):
        (pooled,) = extractor_of("pooling", 5, pooling).log_mel([torch.from_numpy(sound(8000))])
        assert torch.equal(pooled, expected)


@pytest.mark.parametrize(("method", "pooling", "factor"), WHOLE)
@pytest.mark.parametrize("samples", [3000, 40000])
def test_kept_features_become_what_the_recording_becomes(method, pooling, factor, samples):
    extractor = extractor_of(method, factor, pooling)
    made = extractor.compress(full_log_mel(sound(samples)))
    assert torch.equal(made, features(sound(samples), extractor)[0])


@pytest.mark.parametrize("rate", [8000, 44100])
def test_kept_features_at_another_rate_become_what_the_recording_becomes(rate):
    extractor = extractor_of("frame_shift", 2, sampling_rate=rate)
    clip = sound(rate, rate=rate)
    (full,) = extractor_of("frame_shift", 1, sampling_rate=rate).log_mel([torch.from_numpy(clip)])
    assert torch.equal(extractor.compress(full), features(clip, extractor, rate)[0])


def test_a_rate_at_which_frames_are_no_multiple_apart_needs_the_waveform():
    """At 22050 Hz 10 ms are 220.5 samples, cut to 220; 20 ms are 441."""
    with pytest.raises(ValueError, match=r"windows are 25 ms long, 441 samples apart. Compute it from the waveform"):
        extractor_of("frame_shift", 2, sampling_rate=22050).compress(torch.zeros(98, 128))


def test_kept_features_may_be_a_batch():
    log_mel, extractor = full_log_mel(sound(16000)), extractor_of("pooling", 2)
    assert torch.equal(extractor.compress(log_mel.expand(3, -1, -1)), extractor.compress(log_mel).expand(3, -1, -1))


def test_kept_features_may_be_numpys():
    log_mel, extractor = full_log_mel(sound(16000)), extractor_of("pooling", 2)
    np.testing.assert_array_equal(extractor.compress(log_mel.numpy()), extractor.compress(log_mel))


def test_padding_comes_after_pooling_and_before_normalising():
    extractor = extractor_of("pooling", 5, mean=-3.0, std=2.0)
    made = features(sound(8000), extractor)[0]
    pooled = full_log_mel(sound(8000))[:45].view(9, 5, 128).amax(1)
    assert made.shape == (16, 128)
    assert torch.equal(made[:9], (pooled + 3) / 4)
    assert torch.equal(made[9:], torch.full((7, 128), 0.75))


def test_a_mask_counts_the_frames_of_the_phase():
    extractor = extractor_of("pooling", 2)
    clips = [sound(16000), sound(8000)]  # 98 and 48 frames
    batch = extractor(clips, RATE, padding="longest", return_attention_mask=True, return_tensors="pt")
    assert batch["input_values"].shape == (2, 49, 128)
    assert batch["attention_mask"].sum(1).tolist() == [49, 24]


@pytest.mark.parametrize("method", ["frame_shift", "pooling"])
def test_gradients_flow_to_a_waveform_tensor(method):
    clip = torch.from_numpy(sound(4000)).requires_grad_()
    features(clip, extractor_of(method, 2)).square().sum().backward()
    assert clip.grad.isfinite().all()
    assert clip.grad.any()


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "frames"), [(1, 1024), (1.5, 672), (2, 512), (3, 336), (4, 256)])
def test_an_input_has_whole_patches(factor, frames):
    extractor = extractor_of("frame_shift", factor, max_length=1024)
    assert extractor.num_frames == frames == 1024 // factor // 16 * 16
    assert features(sound(8000), extractor).shape == (1, frames, 128)


def test_frame_multiple_is_the_length_of_the_patch():
    assert extractor_of("pooling", 3, max_length=100, frame_multiple=10).num_frames == 30


def test_longer_patches_leave_the_input_as_it_is():
    assert extractor_of("patchify", 4, max_length=1024).num_frames == 1024


@pytest.mark.parametrize("scale_window", [False, True])
@pytest.mark.parametrize(
    ("method", "factor"), [("frame_shift", 1.5), ("frame_shift", 4), ("pooling", 3), ("patchify", 2), ("pooling", 1)]
)
def test_max_samples_fill_an_input_and_one_less_does_not(method, factor, scale_window):
    extractor = extractor_of(method, factor, scale_window=scale_window)
    for missing in (0, 1):
        clip = sound(extractor.max_samples - missing)
        made = features(clip, extractor, padding="longest", max_length=9999)
        assert made.shape[1] == extractor.num_frames - missing


@pytest.mark.parametrize(
    ("method", "factor", "scale_window", "shortest"),
    [
        ("frame_shift", 4, False, 400),
        ("frame_shift", 4, True, 1600),
        ("pooling", 4, False, 880),
        ("pooling", 4, True, 880),
        ("patchify", 4, False, 400),
    ],
)
def test_the_shortest_recording_makes_one_frame(method, factor, scale_window, shortest):
    extractor = extractor_of(method, factor, scale_window=scale_window)
    assert extractor.window_length == shortest
    assert features(sound(shortest), extractor, padding="longest").shape[1] == 1
    with pytest.raises(ValueError, match=rf"`audio\[0\]` is too short: {shortest - 1} samples.* needs {shortest}"):
        features(sound(shortest - 1), extractor)


# --- windows that grow ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "window_ms", "hop_ms"), [(2, 50, 20), (1.5, 37, 15)])
def test_a_scaled_window_is_cut_to_whole_milliseconds(factor, window_ms, hop_ms):
    extractor = extractor_of("frame_shift", factor, scale_window=True)
    (made,) = extractor.log_mel([torch.from_numpy(sound(8000))])
    assert torch.equal(made, full_log_mel(sound(8000), frame_length_ms=window_ms, frame_shift_ms=hop_ms))


@pytest.mark.parametrize("method", ["pooling", "patchify"])
def test_a_scaled_window_is_for_frame_shift_only(method):
    scaled, plain = (extractor_of(method, 2, scale_window=scale) for scale in (True, False))
    assert torch.equal(features(sound(8000), scaled), features(sound(8000), plain))


# --- statistics -------------------------------------------------------------------------------------------------------


def test_statistics_of_a_phase_are_used_in_that_phase_only():
    extractor = extractor_of("pooling", 2, do_normalize=True, phase_statistics={"max pooling 2": (1.0, 0.5)})
    one = torch.full((1, 1), 3.0)
    assert extractor.normalize(one).item() == 2.0
    extractor.set_phase(1)
    assert extractor.normalize(one).item() == pytest.approx((3 + 5.0767093) / (2 * 4.4533687))
    extractor.set_phase(2.0)
    assert extractor.normalize(one).item() == 2.0


def test_statistics_of_maxima_are_not_used_for_another_method():
    """What a maximum by 4 raises, a frame shift by 4 leaves where it was."""
    extractor = extractor_of("pooling", 4)
    extractor.measure_statistics([sound(16000)], RATE)
    extractor.set_phase(4, "frame_shift")
    assert extractor.normalize(torch.zeros(())).item() == pytest.approx(5.0767093 / (2 * 4.4533687))


def test_statistics_are_not_used_where_nothing_is_normalised():
    extractor = extractor_of("pooling", 2, do_normalize=False, phase_statistics={"max pooling 2": (1.0, 0.5)})
    assert extractor.normalize(torch.tensor(3.0)).item() == 3.0


@pytest.mark.parametrize(("method", "factor"), [("pooling", 4), ("frame_shift", 2), ("pooling", 1)])
def test_measured_statistics_are_numpys(method, factor):
    extractor = extractor_of(method, factor)
    clips = [sound(samples, seed) for seed, samples in enumerate((16000, 5000, 60000))]
    frames = [extractor.log_mel([torch.from_numpy(clip)])[0][: extractor.num_frames] for clip in clips]
    assert len(frames[2]) == extractor.num_frames  # what is cut off does not count
    values = np.concatenate([clip.numpy() for clip in frames]).astype(np.float64)
    measured = extractor.measure_statistics(iter(clips), RATE)
    assert measured == pytest.approx((values.mean(), values.std()), rel=1e-6)
    scaled = torch.cat([extractor.normalize(clip) for clip in frames])
    assert scaled.mean().item() == pytest.approx(0, abs=1e-5)
    assert scaled.std().item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("recordings", "rate", "message"),
    [
        ([], RATE, "`recordings` is empty"),
        ([np.zeros(8000, dtype=np.float32)], RATE, "`recordings` have constant log-mel energies"),
        ([sound(8000), sound(300)], RATE, r"`recordings\[1\]` is too short: 300 samples"),
        ([sound(8000)], None, r"`recordings\[0\]` is bare samples"),
    ],
)
def test_recordings_that_cannot_be_measured_are_told_and_change_nothing(recordings, rate, message):
    extractor = extractor_of("pooling", 2, phase_statistics={"max pooling 2": (1.0, 0.5)})
    with pytest.raises(ValueError, match=message):
        extractor.measure_statistics(recordings, rate)
    assert extractor.normalize(torch.tensor(3.0)).item() == 2.0


# --- save and load ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "factor"), [("pooling", 4), ("frame_shift", 1.5), ("patchify", 1.5)])
def test_a_saved_extractor_comes_back_in_its_phase(method, factor, tmp_path):
    settings = {"scale_window": method == "frame_shift", "frame_multiple": 8, "num_mel_bins": 64, "mean": -3.25}
    extractor = extractor_of(method, factor, "mean", **settings)
    extractor.measure_statistics([sound(8000)], RATE)
    extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is CoarseToFineASTFeatureExtractor
    assert loaded.to_dict() == extractor.to_dict()
    assert torch.equal(features(sound(8000), loaded), features(sound(8000), extractor))
    loaded.set_phase(1)
    extractor.set_phase(1)
    assert torch.equal(features(sound(8000), loaded), features(sound(8000), extractor))


def test_a_phase_may_be_chosen_on_loading(tmp_path):
    extractor_of().save_pretrained(tmp_path)
    assert CoarseToFineASTFeatureExtractor.from_pretrained(tmp_path, compression_factor=2).num_frames == 64


# --- wrong input ------------------------------------------------------------------------------------------------------

REFUSED_PHASES = [
    ((1.5,), ValueError, r"`compression_factor` 1\.5.*'pooling'"),
    ((1.25, "frame_shift"), ValueError, r"`compression_factor` 1\.25.*12\.5 ms"),
    ((9,), ValueError, "`compression_factor` 9 leaves 14 of `max_length` 128 frames"),
    ((9, "patchify"), ValueError, "patch"),  # 144 frames long, as the model says too
    ((0,), ValueError, "`compression_factor` must be at least 1, got 0"),
    (("2",), TypeError, "`compression_factor` must be a number, got '2'"),
    ((None,), TypeError, "`compression_factor` must be a number, got None"),
    ((2, "stretch"), ValueError, "`temporal_compression` must be one of.*got 'stretch'"),
    ((2, None, "median"), ValueError, "`pooling` must be one of max, mean, got 'median'"),
]


@pytest.mark.parametrize(("phase", "error", "message"), REFUSED_PHASES, ids=str)
def test_a_refused_phase_changes_nothing(phase, error, message):
    extractor = extractor_of("pooling", 2, "mean")
    before = extractor.to_dict()
    with pytest.raises(error, match=message):
        extractor.set_phase(*phase)
    assert extractor.to_dict() == before


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"pooling": "median"}, ValueError, "`pooling` must be one of max, mean, got 'median'"),
        ({"temporal_compression": "stretch"}, ValueError, "`temporal_compression` must be one of.*got 'stretch'"),
        ({"temporal_compression": None}, ValueError, "`temporal_compression` must be one of.*got None"),
        ({"compression_factor": 1.5}, ValueError, r"`compression_factor` 1\.5.*'pooling'"),
        ({"compression_factor": 70}, ValueError, "leaves 14 of `max_length` 1024 frames, less than one patch of 16"),
        ({"max_length": 10}, ValueError, "`max_length` 10 frames, less than one patch of 16"),
        ({"max_length": 0}, ValueError, "`max_length` must be at least 1 and at most 1000000, got 0"),
        ({"frame_multiple": 0}, ValueError, "`frame_multiple` must be at least 1, got 0"),
        ({"std": 0}, ValueError, "`std` must be above 0, got 0"),
        ({"frame_multiple": 1.5}, TypeError, r"`frame_multiple` must be a whole number, got 1\.5"),
        (
            {"phase_statistics": {"patchify 4": (0, 0)}},
            ValueError,
            r"`phase_statistics\['patchify 4'\]\[1\]` must be above 0, got 0",
        ),
        (
            {"phase_statistics": {"patchify 4": (0, -1)}},
            ValueError,
            r"`phase_statistics\['patchify 4'\]\[1\]` must be above 0, got -1",
        ),
        (
            {"phase_statistics": {"patchify 4": [1]}},
            ValueError,
            r"`phase_statistics\['patchify 4'\]` must be \(mean, std\), got \[1\]",
        ),
        (
            {"phase_statistics": {"patchify 4": (0, float("nan"))}},
            ValueError,
            r"`phase_statistics\['patchify 4'\]\[1\]` must be above 0, got nan",
        ),
        (
            {"phase_statistics": {"patchify 4": (float("nan"), 1)}},
            ValueError,
            r"`phase_statistics\['patchify 4'\]\[0\]` must be finite, got nan",
        ),
        (
            {"phase_statistics": {"patchify 4": 3.0}},
            ValueError,
            r"`phase_statistics\['patchify 4'\]` must be \(mean, std\), got 3\.0",
        ),
        (
            {"phase_statistics": {"four": (0, 1)}},
            ValueError,
            "`phase_statistics` has the key 'four', .* such as 'max pooling 4'",
        ),
    ],
    ids=str,
)
def test_a_bad_setting_is_named(settings, error, message):
    with pytest.raises(error, match=message):
        CoarseToFineASTFeatureExtractor(**settings)


@pytest.mark.parametrize(
    ("extractor", "frames", "message"),
    [
        (
            extractor_of("frame_shift", 2, scale_window=True),
            98,
            "phase 'frame_shift 2' cannot be computed.*: its windows are 50 ms.* from the waveform",
        ),
        (extractor_of("frame_shift", 1.5), 98, r"`compression_factor` 1\.5.*whole factors only.*from the waveform"),
        (extractor_of("pooling", 4), 3, "`compression_factor` 4 pools more than the 3 frames"),
    ],
)
def test_kept_features_that_do_not_suffice_are_told(extractor, frames, message):
    with pytest.raises(ValueError, match=message):
        extractor.compress(torch.zeros(frames, 128))


@pytest.mark.parametrize("padding", ["longest", "max_length"])
@pytest.mark.parametrize(("method", "pooling", "factor"), WHOLE)
def test_padding_single_features_gives_the_features_of_the_batch(method, pooling, factor, padding):
    extractor = extractor_of(method, factor, pooling)
    extractor.phase_statistics = {extractor.phase_name: (-3.0, 2.0)}
    clips = [sound(samples) for samples in (4000, 7000, 9000)]
    rows = [{"input_values": features(clip, extractor, padding="longest")[0]} for clip in clips]
    padded = extractor.pad(rows, padding=padding, max_length=extractor.num_frames)["input_values"]
    torch.testing.assert_close(padded, features(clips, extractor, padding=padding), rtol=0, atol=0)
    assert (padded[0, -1] == 0.75).all()
