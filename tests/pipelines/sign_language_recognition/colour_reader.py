"""A network that reads colours (red, green and blue frames are glosses, dark ones are none), and a random one."""

import numpy as np
import torch
from torch import nn

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor

GLOSSES = ["RED", "GREEN", "BLUE"]
COLOURS = {"RED": (255, 0, 0), "GREEN": (0, 255, 0), "BLUE": (0, 0, 255), "": (0, 0, 0)}
SIZES = {"width": 4, "beta_inverse": 2, "hidden_size": 8, "vocab_size": 4, "auxiliary_branches": False}
SMALL = {"depths": (1, 1, 2, 1), "temporal_blocks": (1, 1, 1, 1), **SIZES}


class ColourHead(nn.Module):
    """A step has the colours of its own four frames, the blank is between dark and bright."""

    def convolve(self, features: torch.Tensor) -> torch.Tensor:
        windows = features.unfold(1, 16, 4)[..., 6:10].mean(-1)
        return torch.cat([torch.full_like(windows[..., :1], 0.5), windows[..., :3]], dim=-1)

    def lstm(self, hidden_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return hidden_states

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden_states = self.convolve(features)
        return hidden_states, hidden_states


class Scale(nn.Module):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return 12 * hidden_states


class ColourReader(SlowFastSignForCTC):
    """Features of a frame are its mean colour."""

    def __init__(self, config: SlowFastSignConfig):
        super().__init__(config)
        self.head, self.classifier = ColourHead(), Scale()
        self.seen: list[int] = []  # frames of each call

    def get_frame_features(
        self, pixel_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        self.seen.append(pixel_values.shape[1])
        colours = pixel_values.float().mean((3, 4)) / 255
        missing = self.config.slow_size + self.config.fast_size - 3
        return nn.functional.pad(colours, (0, missing))


def make_processor(**options) -> SlowFastSignProcessor:
    return SlowFastSignProcessor(**{"glosses": GLOSSES, "resize_size": 32, "crop_size": 32, **options})


def make_reader() -> ColourReader:
    return ColourReader(SlowFastSignConfig(**{**SMALL, "hidden_size": 4})).eval()


@torch.no_grad()
def make_random_model(**sizes) -> SlowFastSignForCTC:
    """In which all that fuses the pathways and all that looks along time matters."""
    torch.manual_seed(0)
    model = SlowFastSignForCTC(SlowFastSignConfig(**{**SMALL, **sizes})).eval()
    for name, value in model.named_parameters():
        if "gate" in name:
            value.fill_(0.7)
        elif "expansion.norm.weight" in name:
            value.fill_(0.5)
        elif "classifier" in name or "lstm" in name:
            value.mul_(3)
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
    return model


@torch.no_grad()
def make_positive_model(**sizes) -> SlowFastSignForCTC:
    """No value of bright frames is cut off anywhere, so whatever a feature can depend on changes it."""
    model = make_random_model(**sizes)
    for value in model.slowfast.parameters():
        value.abs_()
    for name, value in model.slowfast.named_buffers():
        if name.endswith("running_mean"):
            value.zero_()
    return model


def make_frames(*parts: tuple[str, int], size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """(frames, rows, columns, 3) uint8: so many frames of each colour, one after the other."""
    frames = [np.full((count, *size, 3), COLOURS[name], np.uint8) for name, count in parts]
    return np.concatenate(frames)


def make_noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
