"""HiFi-GAN's training: segments of recordings with their spectrograms, and generator and discriminators as one network.

Facts: arXiv 2010.05646, jik876/hifi-gan@4769534 (`train.py`, `meldataset.py`).
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_model
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio import MelSettings
from avzoo.checks import check_whole_number
from avzoo.data.draws import draw_whole_number
from avzoo.models.layers.vocoding import read_mel_settings

from .discriminators import Discriminators
from .loss_hifigan import (
    FEATURE_WEIGHT,
    MEL_WEIGHT,
    adversarial_loss,
    discrimination_loss,
    feature_matching_loss,
)

SEGMENT_FRAMES = 51  # 8160 samples at 160 a frame, where the authors have 8192 at 256
DISCRIMINATORS = "discriminators"  # folder beside the generator

Row = Mapping[str, Any]


class VocoderTraining(nn.Module):
    """A generator and its discriminators with the losses of both, for one optimizer.

    One step of AdamW over both is a step of the authors' two optimizers, which have the same settings: the loss of one
    network gives the other no gradient. Both steps are taken from the same weights, where the authors' generator meets
    discriminators that are a step ahead.

    Args:
        generator: gets weight norms here. Saved is a copy in which they are folded, and the discriminators beside it.
        discriminators: None: the published ones, with new weights.
    """

    def __init__(self, generator: SpeechT5HifiGan, discriminators: Discriminators | None = None):
        super().__init__()
        self.mel = read_mel_settings(generator.config)
        # The authors measure the loss up to half the sampling rate, whatever the generator is given.
        self.loss_mel = dataclasses.replace(self.mel, high_frequency=self.mel.sampling_rate / 2)
        self.generator = generator
        generator.apply_weight_norm()
        self.discriminators = Discriminators() if discriminators is None else discriminators

    @property
    def config(self) -> SpeechT5HifiGanConfig:
        """The generator's."""
        return self.generator.config

    def forward(self, mel: torch.Tensor, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses of a batch.

        Args:
            mel: (clips, frames, bins).
            waveform: (clips, samples), the recordings of these frames.

        Returns:
            "loss", the sum of "discriminator", "adversarial", 2 times "features" and 45 times "mel".
        """
        made = self.generator(mel)[:, : waveform.shape[1]]
        real_maps = self.discriminators(waveform)
        fooled_maps = self.discriminators(made.detach())
        with no_gradient_for(self.discriminators):
            made_maps = self.discriminators(made)
        losses = {
            "discriminator": discrimination_loss(*([maps[-1] for maps in part] for part in (real_maps, fooled_maps))),
            "adversarial": adversarial_loss([maps[-1] for maps in made_maps]),
            "features": feature_matching_loss(real_maps, made_maps),
            "mel": self.measure_mel_distance(made, waveform),
        }
        loss = losses["discriminator"] + losses["adversarial"]
        return losses | {"loss": loss + FEATURE_WEIGHT * losses["features"] + MEL_WEIGHT * losses["mel"]}

    def measure_mel_distance(self, made: torch.Tensor, waveform: torch.Tensor) -> torch.Tensor:
        """Mean absolute difference of the log-mel spectrograms of (clips, samples), in nats; in float32."""
        with torch.autocast(made.device.type, enabled=False):
            made_mel, mel = (self.loss_mel.compute(samples.float()) for samples in (made, waveform))
            return (made_mel - mel).abs().mean()

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Save the generator without weight norms, and the discriminators in a folder beside it."""
        fold_generator(self.generator).save_pretrained(folder)
        place = Path(folder) / DISCRIMINATORS
        place.mkdir(exist_ok=True)
        save_model(self.discriminators, str(place / "model.safetensors"))


@contextmanager
def no_gradient_for(module: nn.Module) -> Iterator[None]:
    """Inside, gradients go through a module and leave none in it."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@torch.no_grad()
def fold_generator(generator: SpeechT5HifiGan) -> SpeechT5HifiGan:
    """A copy without weight norms, in evaluation mode."""
    plain = SpeechT5HifiGan(generator.config)
    plain.load_state_dict({name: attrgetter(name)(generator).detach().cpu() for name in plain.state_dict()})
    return plain.eval()


def load_discriminators(folder: str | os.PathLike, discriminators: Discriminators) -> bool:
    """Take the weights that were saved beside a generator; whether there are any.

    Raises:
        ValueError: they are damaged, or of other sizes.
    """
    path = Path(folder) / DISCRIMINATORS / "model.safetensors"
    if not path.is_file():
        return False
    try:
        load_model(discriminators, path)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"`{path}` holds no discriminators of these sizes: {reason}") from error
    return True


class VocoderSegments(torch.utils.data.Dataset):
    """Segments of recordings with their spectrograms, cut at random by torch's global generator.

    Samples are `mel` (segment_frames, bins) and `waveform` (segment_frames * hop,). The spectrogram is that of the
    whole recording, cut, as a vocoder meets it in use; not that of the segment, whose ends would be reflected.

    Args:
        rows: with "name", and perhaps "mel", a file of [`read_mel`] to learn from instead.
        read: row -> waveform (samples,) at the rate of `mel`, of the loudness it is to have.
        mel: settings of the spectrograms.
        segment_frames: of a sample; shorter recordings are filled with silence.

    Raises:
        ValueError: segments are too short for a spectrogram.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        read: Callable[[Row], torch.Tensor],
        mel: MelSettings,
        segment_frames: int = SEGMENT_FRAMES,
    ):
        check_whole_number("segment_frames", segment_frames, at_least=1)
        if segment_frames * mel.hop_size <= mel.fft_size // 2:
            least = mel.fft_size // 2 // mel.hop_size + 1
            raise ValueError(f"`segment_frames` must be at least {least}, got {segment_frames}.")
        self.rows, self.read, self.mel, self.segment_frames = rows, read, mel, segment_frames

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row, mel, count = self.rows[index], self.mel, self.segment_frames
        waveform = self.read(row)
        given = read_mel(row["mel"], mel.num_mel_bins) if "mel" in row else None
        frames = len(waveform) // mel.hop_size if given is None else min(len(given), len(waveform) // mel.hop_size)
        start = draw_whole_number(max(0, frames - count) + 1, torch.default_generator)
        waveform = fill_with_silence(waveform, max(frames, count) * mel.hop_size)
        if given is None:
            part = cut_spectrogram(waveform, mel, start, count)
        else:
            part = given[start : start + count]
            silence = part.new_full((count - len(part), mel.num_mel_bins), mel.log_floor).log()
            part = torch.cat([part, silence])
        return {"mel": part, "waveform": waveform[start * mel.hop_size : (start + count) * mel.hop_size].clone()}


def cut_spectrogram(waveform: torch.Tensor, mel: MelSettings, start: int, count: int) -> torch.Tensor:
    """`count` frames of the spectrogram of (samples,) from frame `start` on, computed from no more than they need."""
    margin = -(-mel.fft_size // (2 * mel.hop_size)) + 1  # frames, as far as a window reaches
    first = max(0, start - margin)
    chunk = waveform[first * mel.hop_size : (start + count + margin) * mel.hop_size]
    return mel.compute(chunk)[start - first : start - first + count]


def fill_with_silence(waveform: torch.Tensor, num_samples: int) -> torch.Tensor:
    """(samples,) as they are, or with zeros behind them."""
    return nn.functional.pad(waveform, (0, max(0, num_samples - len(waveform))))


def read_mel(path: str | os.PathLike, num_mel_bins: int) -> torch.Tensor:
    """The spectrogram of a safetensors file, its tensor `mel` of (frames, num_mel_bins).

    Raises:
        OSError: there is no such file. ValueError: it holds none, one of another shape, or values that aren't finite.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"`{path}` is no file.")
    try:
        mel = load_file(path).get("mel")
    except SafetensorError as error:
        raise ValueError(f"`{path}` is no safetensors file: {error}.") from error
    if mel is None or mel.ndim != 2 or mel.shape[1] != num_mel_bins or not len(mel):
        got = "none" if mel is None else tuple(mel.shape)
        raise ValueError(f"`{path}` must hold `mel` of (frames, {num_mel_bins}), got {got}.")
    if not bool(mel.isfinite().all()):
        raise ValueError(f"`{path}`: its `mel` has values that are NaN or infinite.")
    return mel.float()


@torch.no_grad()
def measure_vocoder(
    network: VocoderTraining, rows: Sequence[Row], read: Callable[[Row], torch.Tensor], most_frames: int = 1000
) -> tuple[float, int]:
    """Sum over recordings of the distance of log-mel spectrograms of made and real sound, and how many they are.

    Args:
        most_frames: of each recording, from its beginning on.
    """
    total, mel, device = 0.0, network.mel, network.generator.conv_pre.weight.device
    for row in rows:
        given = read_mel(row["mel"], mel.num_mel_bins)[:most_frames] if "mel" in row else None
        waveform = fill_with_silence(read(row), mel.fft_size)
        frames = min(most_frames, len(waveform) // mel.hop_size)
        waveform = waveform[: frames * mel.hop_size].to(device)
        spectrogram = mel.compute(waveform)[:frames] if given is None else given.to(device)
        made = network.generator(spectrogram[None])
        length = min(made.shape[1], len(waveform))
        total += float(network.measure_mel_distance(made[:, :length], waveform[None, :length]))
    return total, len(rows)


__all__ = [
    "VocoderSegments",
    "VocoderTraining",
    "cut_spectrogram",
    "fold_generator",
    "load_discriminators",
    "measure_vocoder",
    "read_mel",
]
