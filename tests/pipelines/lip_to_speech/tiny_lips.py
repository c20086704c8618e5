"""A tiny random LTBS, and videos whose faces are said to be anywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from contract.tiny.ltbs import FOR_SPEECH
from transformers import SpeechT5HifiGan

from avzoo import LTBSConfig, LTBSForLipToSpeech, LTBSProcessor
from avzoo.audio import MelSettings
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.layers.vocoding import make_hifigan_config
from avzoo.video import FaceTracks, Track, Video

NUM_MEL_BINS, NUM_UNITS = 8, 5
HEIGHT, WIDTH = 60, 80


def make_processor(**fields: Any) -> LTBSProcessor:
    sizes = {"crop_size": 24, "mouth_size": 28, "num_mel_bins": NUM_MEL_BINS, "num_units": NUM_UNITS}
    return LTBSProcessor(**{**sizes, **fields})


def write_model(folder: Path, **fields: Any) -> Path:
    """A network that knows no speakers, unless `fields` of its config say so."""
    torch.manual_seed(0)
    model = LTBSForLipToSpeech(LTBSConfig(**{**FOR_SPEECH.config, "speaker_conditioning": "none", **fields}))
    for parameter in model.postnet.parameters():  # a new flow changes nothing
        torch.nn.init.normal_(parameter, std=0.1) if not parameter.any() else None
    model.save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return transformers.pipeline("lip-to-speech", model=str(folder), device="cpu", **options)


def make_video(num_frames: int = 40, fps: float = 25) -> Video:
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Video(frames, fps)


def make_tracks(*spans: tuple[int, int], num_frames: int = 40) -> FaceTracks:
    """A face for each (first frame, frame after the last), all at one place."""
    box = np.array([10.0, 5.0, 50.0, 55.0])
    tracks = [
        Track(number, np.arange(first, stop), np.tile(box, (stop - first, 1)))
        for number, (first, stop) in enumerate(spans)
    ]
    return FaceTracks(tracks, 25.0, WIDTH, HEIGHT, num_frames)


def make_hifigan(mel: MelSettings, seed: int = 0) -> SpeechT5HifiGan:
    """A small vocoder; its own first weights would be all but silent."""
    torch.manual_seed(seed)
    config = make_hifigan_config(mel, "v2")
    config.upsample_initial_channel = 16
    vocoder = SpeechT5HifiGan(config).eval()
    for parameter in vocoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return vocoder


class Constant(GriffinLimVocoder):
    """Says 0.5 throughout, a few samples more than it should, or fewer."""

    def __init__(self, extra: int = 0):
        super().__init__(GriffinLimVocoderConfig.from_mel_settings(make_processor().mel_settings))
        self.extra = extra

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        return torch.full((len(spectrogram), spectrogram.shape[1] * 160 + self.extra), 0.5)
