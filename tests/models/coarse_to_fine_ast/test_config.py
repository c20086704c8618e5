"""Lengths, frames and config fields of every phase, by hand."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from avzoo import CoarseToFineASTConfig
from avzoo.models.coarse_to_fine_ast.compression import (
    compress_frames,
    compress_length,
    compress_num_frames,
    parse_factor,
)

PHASES = [("pooling", 1), ("pooling", 3), ("frame_shift", 2), ("patchify", 2), ("patchify", 1.5)]
PHASE_FIELDS = ("temporal_compression", "compression_factor", "patch_size", "stride", "position_grid", "num_frames")


def phase_of(config: CoarseToFineASTConfig) -> tuple:
    return tuple(getattr(config, name) for name in PHASE_FIELDS)


# --- lengths and frames, by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "factor", "frames"),
    [
        ("pooling", 1, 1024),
        ("frame_shift", 1.5, 672),  # 682.67
        ("pooling", 2, 512),
        ("pooling", 3, 336),  # 341.33
        ("frame_shift", 4, 256),
        ("pooling", 64, 16),
        ("patchify", 4, 1024),
    ],
)
def test_a_length_is_divided_and_cut_to_whole_patches(method, factor, frames):
    assert compress_length(1024, method, factor) == frames


def test_a_length_is_a_multiple_of_the_patch_that_is_named():
    assert compress_length(100, "pooling", 3, multiple=10) == 30


def test_a_length_of_no_patch_is_told():
    with pytest.raises(ValueError, match=r"`compression_factor` 65 leaves 15 of `max_length` 1024.*one patch of 16"):
        compress_length(1024, "pooling", 65)


CLIP = torch.tensor([[1.0, -5.0], [4.0, -2.0], [2.0, -9.0], [0.0, -1.0], [7.0, -7.0]])  # 5 frames, 2 mel bins


@pytest.mark.parametrize(
    ("method", "pooling", "factor", "expected"),
    [
        ("pooling", "max", 2, [[4, -2], [2, -1]]),
        ("pooling", "mean", 2, [[2.5, -3.5], [1, -5]]),
        ("pooling", "max", 5, [[7, -1]]),
        ("pooling", "max", 1, CLIP.tolist()),
        ("frame_shift", "max", 2, [[1, -5], [2, -9], [7, -7]]),
        ("frame_shift", "max", 3.0, [[1, -5], [0, -1]]),
        ("frame_shift", "max", 9, [[1, -5]]),
        ("patchify", "max", 1.5, CLIP.tolist()),
    ],
)
def test_frames_are_pooled_or_skipped(method, pooling, factor, expected):
    assert compress_frames(CLIP, method, factor, pooling).tolist() == expected
    assert compress_frames(CLIP[None], method, factor, pooling).tolist() == [expected]


@pytest.mark.parametrize(
    ("method", "factor", "expected"),
    [("pooling", 4, [0, 0, 1, 1, 2]), ("frame_shift", 4, [0, 1, 1, 2, 2]), ("patchify", 4, [0, 3, 4, 5, 8])],
)
def test_counted_frames_are_those_that_are_left(method, factor, expected):
    counts = torch.tensor([0, 3, 4, 5, 8])
    assert compress_num_frames(counts, method, factor).tolist() == expected
    for frames, left in zip(counts[2:].tolist(), expected[2:], strict=True):
        assert len(compress_frames(torch.zeros(frames, 1), method, factor)) == left


def test_features_cannot_be_compressed_by_half_frames():
    with pytest.raises(ValueError, match=r"`compression_factor` 1\.5: features.*whole factors only.*waveform"):
        compress_frames(CLIP, "frame_shift", 1.5)


def test_more_frames_than_there_are_cannot_be_pooled():
    with pytest.raises(ValueError, match=r"`compression_factor` 6 pools more than the 5 frames"):
        compress_frames(CLIP, "pooling", 6)


@pytest.mark.parametrize(
    ("method", "factor", "error", "message"),
    [
        ("frame_shift", 1.25, ValueError, r"`compression_factor` 1\.25.*'frame_shift'.*12\.5 ms"),
        ("pooling", 1.5, ValueError, r"`compression_factor` 1\.5.*'pooling'.*1\.5 frames"),
        ("patchify", 1.1, ValueError, r"`compression_factor` 1\.1.*'patchify'.*17\.6 frames"),
        ("pooling", 0, ValueError, "must be at least 1, got 0"),
        ("pooling", 0.5, ValueError, "must be at least 1, got 0.5"),
        ("pooling", -2, ValueError, "must be at least 1, got -2"),
        ("pooling", float("nan"), ValueError, "must be at least 1, got nan"),
        ("pooling", float("inf"), ValueError, "must be at least 1, got inf"),
        ("pooling", True, TypeError, "must be a number, got True"),
        ("pooling", "2", TypeError, "must be a number, got '2'"),
        ("pooling", None, TypeError, "must be a number, got None"),
        ("stretch", 2, ValueError, "must be one of frame_shift, pooling, patchify, got 'stretch'"),
    ],
)
def test_a_compression_that_cannot_be_is_named(method, factor, error, message):
    with pytest.raises(error, match=message):
        parse_factor(method, factor, 16)


@pytest.mark.parametrize(
    ("method", "factor"),
    [("frame_shift", 1.5), ("frame_shift", 1.1), ("pooling", 3.0), ("patchify", 1.5), ("patchify", 1.0625)],
)
def test_a_compression_that_can_be_passes(method, factor):
    assert parse_factor(method, factor, 16) == factor


# --- config -----------------------------------------------------------------------------------------------------------


def test_the_defaults_are_an_ast_at_full_resolution():
    config = CoarseToFineASTConfig()
    assert phase_of(config) == ("pooling", 1, (16, 16), None, (8, 64), 1024)


@pytest.mark.parametrize(
    ("fields", "grid"),
    [
        ({"compression_factor": 3}, (8, 21)),
        ({"compression_factor": 3, "stride": 10}, (12, 33)),
        ({"stride": 10}, (12, 101)),
        ({"max_length": 500}, (8, 31)),
        ({"temporal_compression": "frame_shift", "compression_factor": 1.5}, (8, 42)),
        ({"temporal_compression": "patchify", "compression_factor": 1.5, "patch_size": (16, 24)}, (8, 42)),
        ({"temporal_compression": "patchify", "compression_factor": 2, "patch_size": [16, 32]}, (8, 32)),
    ],
)
def test_the_grid_is_what_the_other_fields_make(fields, grid):
    assert CoarseToFineASTConfig(**fields).position_grid == grid


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((2,), ("pooling", 2, (16, 16), (10, 10), (12, 50), 512)),
        ((3, "frame_shift"), ("frame_shift", 3, (16, 16), (10, 10), (12, 33), 336)),
        ((1.5, "frame_shift"), ("frame_shift", 1.5, (16, 16), (10, 10), (12, 66), 672)),
        ((2, "patchify"), ("patchify", 2, (16, 32), (10, 20), (12, 50), 1024)),
        ((1.5, "patchify"), ("patchify", 1.5, (16, 24), (10, 15), (12, 67), 1024)),
        ((64,), ("pooling", 64, (16, 16), (10, 10), (12, 1), 16)),
    ],
)
def test_a_phase_of_an_overlapping_ast_has_its_own_fields_and_leads_back(arguments, expected):
    fine = CoarseToFineASTConfig(stride=10)
    coarse = fine.at_phase(*arguments)
    assert phase_of(coarse) == expected
    coarse.validate()
    assert (coarse.fine_patch_size, coarse.fine_stride) == ((16, 16), (10, 10))
    assert phase_of(coarse.at_phase(1, "pooling")) == phase_of(fine)
    assert fine == CoarseToFineASTConfig(stride=10)  # `at_phase` made a copy


@pytest.mark.parametrize("stride", [None, 1, 5, 7, 10, 15])
def test_every_length_of_a_patch_leads_back_to_the_fine_one(stride):
    fine = CoarseToFineASTConfig(stride=stride)
    for frames in range(17, 64):
        coarse = fine.at_phase(frames / 16, "patchify")
        coarse.validate()
        assert coarse.patch_size == (16, frames)
        assert phase_of(coarse.at_phase(1, "pooling")) == phase_of(fine)


def test_one_coarse_phase_leads_to_another():
    config = CoarseToFineASTConfig(stride=10)
    walked = config.at_phase(4, "patchify").at_phase(2, "pooling", "mean").at_phase(2, "patchify")
    assert phase_of(walked) == phase_of(config.at_phase(2, "patchify"))
    assert walked.pooling == "mean"


@pytest.mark.parametrize("stride", [None, 10])
@pytest.mark.parametrize(("method", "factor"), PHASES)
def test_a_config_goes_through_json_in_every_phase(method, factor, stride, tmp_path):
    fine = CoarseToFineASTConfig(num_mel_bins=64, max_length=96, stride=stride)
    config = fine.at_phase(factor, method, "mean")
    config.save_pretrained(tmp_path)
    for loaded in (CoarseToFineASTConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is CoarseToFineASTConfig
        assert phase_of(loaded) == phase_of(config)
        assert (loaded.pooling, loaded.max_length) == ("mean", 96)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temporal_compression": "frame_shift", "compression_factor": 1.25}, r"`compression_factor` 1\.25.*12\.5 ms"),
        ({"compression_factor": 1.5}, r"`compression_factor` 1\.5.*'pooling'"),
        ({"compression_factor": 0}, "`compression_factor` must be at least 1, got 0"),
        ({"compression_factor": float("nan")}, "`compression_factor` must be at least 1, got nan"),
        ({"compression_factor": True}, "'compression_factor'.*got bool"),
        ({"compression_factor": "2"}, "'compression_factor'.*got str"),
        ({"compression_factor": 65}, r"leaves 15 of `max_length` 1024 frames, less than one patch of 16"),
        ({"temporal_compression": "stretch"}, "'temporal_compression' expected one of.*got stretch"),
        ({"pooling": "median"}, "'pooling' expected one of.*got median"),
        ({"position_grid": (8, 32)}, r"`position_grid` \(8, 32\) is not the \(8, 64\) that `max_length` 1024 makes"),
        ({"position_grid": (8, 64), "compression_factor": 2}, r"is not the \(8, 32\).*at `compression_factor` 2"),
        ({"position_grid": "8x64"}, "'position_grid'"),
        ({"max_length": 0}, "`max_length`.*0"),
        ({"max_length": 15}, "`max_length`"),
        ({"max_length": "1024"}, "'max_length' expected int"),
        ({"patch_size": 0}, "`patch_size` must be at least 1"),
        ({"patch_size": (16, 0)}, "`patch_size` must be at least 1"),
        ({"patch_size": 256}, r"`patch_size` \(256, 256\) is taller"),
        ({"stride": 0}, "`stride` must be at least 1"),
        (
            {"temporal_compression": "patchify", "compression_factor": 1.5},
            r"`patch_size` \(16, 16\) is no patch that is 1\.5 times as long",
        ),
    ],
    ids=lambda value: ", ".join(f"{name}={field}" for name, field in value.items()) if isinstance(value, dict) else "",
)
def test_a_phase_that_cannot_be_is_named(fields, message):
    with pytest.raises((StrictDataclassError, ValueError), match=f"(?s){message}"):
        CoarseToFineASTConfig(**fields)
