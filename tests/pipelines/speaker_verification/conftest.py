"""Folders of tiny models, and recordings of noise that they tell apart."""

import sys
from pathlib import Path

import numpy as np
import pytest
import transformers

sys.path.insert(0, str(Path(__file__).parent))  # tiny_verification.py lies beside this file
from tiny_verification import LINEAR, write_encoder, write_session_model, write_wavlm

WRITERS = {
    "session": lambda folder: write_session_model(folder, compensation=LINEAR, threshold=0.4),
    "unfitted": write_session_model,
    "encoder": write_encoder,
    "wavlm": write_wavlm,
}


@pytest.fixture(scope="session")
def verification_folders(tmp_path_factory):
    """{kind: folder of a tiny model}; to be looked at only."""
    return {name: write(tmp_path_factory.mktemp("verification") / name) for name, write in WRITERS.items()}


@pytest.fixture
def load(verification_folders):
    """`load(kind)` is a new pipeline, which nobody is enrolled in."""
    return lambda kind="session": transformers.pipeline(
        "speaker-verification", model=str(verification_folders[kind]), device="cpu"
    )


@pytest.fixture(scope="session")
def noises():
    """Four recordings of coloured noise, 0.4 to 0.7 s at 16 kHz."""
    draw = np.random.default_rng(0)
    made = []
    for index in range(4):
        samples = draw.standard_normal(6400 + 1600 * index)
        samples = np.convolve(samples, draw.standard_normal(24), mode="same")
        made.append((0.2 * samples / np.abs(samples).max()).astype(np.float32))
    return made
