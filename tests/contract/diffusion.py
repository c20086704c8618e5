"""What the contract suite of the diffusers kind needs to know: networks and pipelines, tiny, beside their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ModelMixin
from torch.export import Dim

from avzoo import AVDiffuSSModel, zoo

from .tiny.entry import fill_weights


def find_public_classes(base: type) -> dict[str, type]:
    """Subclasses of `base` among the public names of every row and what their pipelines are made of, by name."""
    found = {}
    for row in zoo.ROWS:
        for name in (*row.public_names, *row.pipeline_components):
            value = row.load(name)
            if isinstance(value, type) and issubclass(value, base):
                found[name] = value
    return found


# --- networks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyNetwork:
    """A small random diffusers network and inputs for it.

    Args:
        config: fields that make it small.
        configurations: name -> changes of those fields, one for each way the network is used in. The first has every
            feature: it is the one that is compiled and exported.
        inputs: config, lengths of what is padded (an item each), frames -> the arguments of forward.
        alone: those arguments, index, length -> that item by itself, unpadded.
        dynamic: which axes of the arguments an exported program leaves open.
        loss: answer of forward -> loss of training.
        bad_values: field -> a value that cannot work; for every field but those of `any_value`.
        no_attention_processors: why there is nothing to swap or slice in its attention.
    """

    model_class: type[ModelMixin]
    config: Mapping[str, Any]
    configurations: Mapping[str, Mapping[str, Any]]
    inputs: Callable[..., dict[str, Any]]
    alone: Callable[[dict[str, Any], int, int], dict[str, Any]]
    dynamic: Mapping[str, Mapping[int, Any]]
    loss: Callable[[torch.Tensor], torch.Tensor]
    bad_values: Mapping[str, Any]
    any_value: Sequence[str]
    no_attention_processors: str
    lengths: Sequence[int] = (5, 3, 1)

    def make(self, configuration: str, **changes: Any) -> ModelMixin:
        """The network of a configuration in evaluation mode, weights drawn from one seed; all of them count."""
        torch.manual_seed(0)
        model = self.model_class(**{**self.config, **self.configurations[configuration], **changes}).eval()
        fill_weights(model)
        return model


def make_spectrogram_inputs(config: Mapping[str, Any], lengths: Sequence[int], frames: int = 8) -> dict[str, Any]:
    """Spectrograms, and what is seen of so many visual frames each; behind the end of the shorter ones is noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(lengths), config["num_spectrograms"], 8, frames)
    inputs = {"sample": torch.randn(shape, dtype=torch.complex64, generator=generator)}
    if config["time_conditioned"]:
        inputs["timestep"] = torch.linspace(0.03, 1.0, len(lengths))
    if any(config["cross_attention_sizes"]):
        longest, size = max(lengths), config["cross_attention_dim"]
        inputs["encoder_hidden_states"] = torch.randn(len(lengths), longest, size, generator=generator)
        inputs["encoder_attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return inputs


def take_spectrogram_input(inputs: dict[str, Any], index: int, length: int) -> dict[str, Any]:
    alone = {name: value[index : index + 1] for name, value in inputs.items() if name != "encoder_attention_mask"}
    if "encoder_hidden_states" in alone:
        alone["encoder_hidden_states"] = alone["encoder_hidden_states"][:, :length]
    return alone


def compute_spectrogram_loss(sample: torch.Tensor) -> torch.Tensor:
    """As if every bin were to be 1 + i."""
    return (sample - (1 + 1j)).abs().square().mean()


BATCH, VISUAL_FRAMES = Dim("batch"), Dim("visual_frames")
SCORE = {"num_spectrograms": 2, "time_conditioned": True}

NETWORKS = {
    "AVDiffuSSModel": TinyNetwork(
        model_class=AVDiffuSSModel,
        config={
            "base_channels": 8,
            "channel_multipliers": (1, 4),
            "cross_attention_sizes": (0, 16),
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "cross_attention_dim": 8,
        },
        configurations={
            "score of a state, with a face": SCORE,
            "estimate of the voice, with a face": {},
            "score without a face, as SGMSE+": {**SCORE, "cross_attention_sizes": ()},
        },
        inputs=make_spectrogram_inputs,
        alone=take_spectrogram_input,
        dynamic={
            "sample": {0: BATCH, 3: 2 * Dim("half_of_the_frames")},  # one step down halves them
            "timestep": {0: BATCH},
            "encoder_hidden_states": {0: BATCH, 1: VISUAL_FRAMES},
            "encoder_attention_mask": {0: BATCH, 1: VISUAL_FRAMES},
        },
        loss=compute_spectrogram_loss,
        bad_values={
            "num_spectrograms": 0,
            "base_channels": 6,
            "channel_multipliers": (),
            "layers_per_block": 0,
            "cross_attention_sizes": (0, 16, 16),
            "num_attention_heads": 0,
            "attention_head_dim": 0,
            "num_fusion_layers": 0,
            "cross_attention_dim": 0,
            "fourier_scale": 0.0,
            "dropout": 1.5,
        },
        any_value=("time_conditioned",),
        no_attention_processors=(
            "all of its attention is torch's fused function, which never holds the matrix that slicing would cut up, "
            "and whose kernels are chosen by torch.nn.attention.sdpa_kernel"
        ),
    ),
}
