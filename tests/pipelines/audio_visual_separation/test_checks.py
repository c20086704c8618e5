"""Arguments of a call that are refused, and parts that do not fit together."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_separation import (
    BINS,
    COLUMNS,
    SIDE,
    assembled,
    face,
    separated,
    sound,
    watched,
)

NAN = sound()
NAN[100] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": NAN}, r"`audio`.*(NaN|finite)"),
        ({"audio": sound(63)}, r"`audio` has 63 samples at 16000 Hz; at least 64 are needed"),
        ({"audio": sound(0), "video": face()}, r"`audio`"),
        ({"video": face(0)}, r"`video` holds no picture, its shape is \(0, 32, 32\); at least one is needed"),
        ({"video": []}, r"`audio` and `video` must be lists of one length.*got 1 and 0"),
        ({"audio": [sound()] * 2, "video": [face()] * 3}, r"`audio` and `video` must be lists.*got 2 and 3"),
        ({"corrector": "langevin"}, r"`corrector` must be one of ald, none, got 'langevin'"),
        ({"sampler": "ode"}, r"`sampler` must be one of predictor-corrector, heun, got 'ode'"),
        ({"output_type": "pil"}, r'`output_type` must be "np" or "pt", got \'pil\''),
        ({"batch_size": 0}, r"`batch_size` must be at least 1, got 0"),
        ({"num_inference_steps": 0}, r"`num_inference_steps` must be at least 1, got 0"),
        ({"corrector_steps": 0}, r"`corrector_steps` must be at least 1, got 0"),
        ({"snr": 0.0}, r"`snr` must be above 0, got 0.0"),
        ({"snr": math.nan}, r"`snr` must be above 0, got nan"),
        ({"window_overlap": 1}, r"`window_overlap` must be at least 0 and below 1, got 1"),
        ({"window_overlap": -0.1}, r"`window_overlap` must be at least 0 and below 1, got -0.1"),
        ({"window_length_in_s": 0}, r"`window_length_in_s` must be above 0, got 0"),
        (
            {"callback_on_step_end_tensor_inputs": ["latents"]},
            r"_tensor_inputs` must be one of sample, mean, .*, got 'latents'",
        ),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_computed(pipe, changes, message):
    def call():
        with pytest.raises(ValueError, match=message):
            separated(pipe, **{"audio": sound(), "video": face(), **changes})

    assert watched(pipe.denoiser, call) == []


def test_a_fractional_number_of_steps_is_refused_before_anything_is_computed(pipe):
    def call():
        with pytest.raises(TypeError, match=r"`num_inference_steps` must be a whole number, got 2\.5"):
            separated(pipe, audio=sound(), video=face(), num_inference_steps=2.5)

    assert watched(pipe.denoiser, call) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": "clean"}, r"`condition` must be one of post_denoiser, noisy, both, got 'clean'"),
        ({"preset": "slow"}, r"`preset` must be one of reference, fast, got 'slow'"),
        ({"condition": "both"}, r"`score_model` must be a network of num_spectrograms=3, .* got 2, True"),
    ],
)
def test_an_unknown_condition_preset_or_network_is_refused(parts, changes, message):
    with pytest.raises(ValueError, match=message):
        assembled(parts, **changes)


def test_networks_in_each_others_place_are_refused(parts):
    score, denoiser = parts["score_model"], parts["denoiser"]
    with pytest.raises(ValueError, match=r"`score_model` must be a network of num_spectrograms=2, .* got 1, False"):
        assembled(parts, score_model=denoiser)
    with pytest.raises(ValueError, match=r"`denoiser` must be a network of num_spectrograms=1, .* got 2, True"):
        assembled(parts, denoiser=score)


def test_noise_is_checked_before_anything_is_computed(pipe):
    def call():
        with pytest.raises(ValueError, match="`noise` holds 1 draws"):
            separated(pipe, noise=[torch.zeros(BINS, COLUMNS, dtype=torch.complex64)])

    assert watched(pipe.denoiser, call) == []


def test_pictures_that_are_not_of_bytes_are_refused_whatever_their_size(pipe):
    """Those between 0 and 1 would look black."""
    for side in (SIDE, 48):
        with pytest.raises(ValueError, match=r"`video` must be uint8 pictures of 0..255, got float32"):
            separated(pipe, video=np.zeros((2, side, side), np.float32))


def test_the_path_of_a_missing_file_is_named(pipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        pipe(sound(), Path(tmp_path / "missing.mp4"))
