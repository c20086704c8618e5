"""What the contract suite of the diffusers kind needs to know: networks and pipelines, tiny, beside their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.export import Dim
from transformers import ClapAudioModelWithProjection, ClapTextModelWithProjection, PreTrainedTokenizerFast

from avzoo import AVDiffuSSModel, AVDiffuSSPipeline, OUVEScheduler, VoiceLDMPipeline, zoo
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

from .tiny.avdiffuss import NETWORK_SIZES, tiny_separation_parts
from .tiny.entry import fill_weights
from .tiny.voiceldm import tiny_pipeline_parts
from .voiceldm_parts import tiny_clap_configs, tiny_clap_features, tiny_vae


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
        config=NETWORK_SIZES,
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


# --- pipelines --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyPipeline:
    """A small random diffusers pipeline and arguments for it.

    Args:
        components: makes them, all of them, from one seed.
        settings: what the pipeline is told beside its components, each another than the default.
        defaulted: arguments that the settings decide about where a call leaves them out.
        items: arguments of a call for three items, each a list of three; the items are as unlike as they may be.
        options: arguments that are the same for all items: a short walk.
        state: the tensor of a callback that the walk moves.
        num_outputs: argument that asks for several results of each item; or, in words, why there is none.
        noise: argument that takes the first noise, and what makes it for so many items.
        output_types: `output_type` -> class of an item's result.
        result_axes: axes of an item's result by `output_type`, where it isn't one.
        without: names of components that are left out together -> arguments with which a call still works.
        half_distance: how far half precision may lie from the whole, in parts of it.
        no_attention_slicing: why slicing of attention changes nothing; "" where it does.
    """

    pipeline_class: type[DiffusionPipeline]
    components: Callable[[], dict[str, Any]]
    settings: Mapping[str, Any]
    defaulted: Sequence[str]
    items: Mapping[str, Sequence[Any]]
    options: Mapping[str, Any]
    state: str
    num_outputs: str
    noise: Callable[[int], dict[str, Any]]
    output_types: Mapping[str, type]
    without: Mapping[tuple[str, ...], Mapping[str, Any]]
    half_distance: float
    result_axes: Mapping[str, int]
    no_attention_slicing: str = ""

    def assemble(self, **changes: Any) -> DiffusionPipeline:
        pipe = self.pipeline_class(**{**self.components(), **changes})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def item(self, index: int) -> dict[str, Any]:
        """Arguments of a call for one item."""
        return {name: values[index] for name, values in self.items.items()}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Characters, ended and padded as the real tokenizers do."""
    letters = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ,.?_"]
    tokenizer = Tokenizer(models.WordLevel({letter: index for index, letter in enumerate(letters)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def make_voiceldm_components() -> dict[str, Any]:
    required = tiny_pipeline_parts()
    row = zoo.find_row("voiceldm")
    config = {**required["content_encoder"].config.to_dict(), "vocab_size": 64}
    torch.manual_seed(1)
    description, sound = tiny_clap_configs(projection_dim=12)
    return {
        **required,
        "content_encoder": row.load(row.model_class)(row.load(row.config_class)(**config)).eval(),
        "vae": tiny_vae(),
        "vocoder": GriffinLimVocoder(GriffinLimVocoderConfig(num_iterations=2)).eval(),
        "description_encoder": ClapTextModelWithProjection(description).eval(),
        "description_tokenizer": make_tokenizer(),
        "content_tokenizer": make_tokenizer(),
        "audio_encoder": ClapAudioModelWithProjection(sound).eval(),
        "feature_extractor": tiny_clap_features(),
    }


def make_sounds_and_faces(lengths: Sequence[int]) -> dict[str, list[np.ndarray]]:
    """Mixtures of so many samples, and the faces beside them."""
    random = np.random.default_rng(0)
    return {
        "audio": [(0.1 * random.standard_normal(length)).astype(np.float32) for length in lengths],
        "video": [random.integers(0, 256, (-(-length // 640), 32, 32), dtype=np.uint8) for length in lengths],
    }


def make_complex_noise(count: int) -> dict[str, Any]:
    """All draws of two steps, for windows of 32 columns."""
    generator = torch.Generator().manual_seed(5)
    return {"noise": [torch.randn(count, 64, 32, dtype=torch.complex64, generator=generator) for _ in range(3)]}


SHORT = {"num_inference_steps": 2, "corrector": "none", "corrector_steps": 1, "snr": 0.3}

PIPELINES = {
    "AVDiffuSSPipeline": TinyPipeline(
        pipeline_class=AVDiffuSSPipeline,
        components=tiny_separation_parts,
        settings={
            "condition": "noisy",
            "window_length_in_s": 0.08,
            "presets": {"first": SHORT, "second": {**SHORT, "num_inference_steps": 3}},
            "preset": "second",
        },
        defaulted=("num_inference_steps", "corrector"),
        items=make_sounds_and_faces([1920, 1000, 1920]),
        options={"num_inference_steps": 2, "corrector": "none"},
        state="sample",
        num_outputs="a mixture and a face have one voice; several draws of it are as many items",
        noise=make_complex_noise,
        output_types={"np": np.ndarray, "pt": torch.Tensor},
        result_axes={},
        without={("score_model", "score_visual_encoder"): {}, ("score_visual_encoder",): {}},
        half_distance=0.15,
        no_attention_slicing=NETWORKS["AVDiffuSSModel"].no_attention_processors,
    ),
    "VoiceLDMPipeline": TinyPipeline(
        pipeline_class=VoiceLDMPipeline,
        components=make_voiceldm_components,
        settings={
            "null_content": "hm",
            "presets": {
                "first": {"scheduler": "DDIMScheduler", "settings": {}, "num_inference_steps": 2},
                "second": {
                    "scheduler": "DDIMScheduler",
                    "settings": {},
                    "num_inference_steps": 2,
                    "audio_length_in_s": 0.64,
                },
            },
            "preset": "second",
        },
        defaulted=("num_inference_steps", "audio_length_in_s"),
        items={"description": ["a hall", "in a park, with birds", ""], "content": ["hello", "how are you today?", "_"]},
        options={"num_inference_steps": 2, "audio_length_in_s": 0.32},
        state="latents",
        num_outputs="num_waveforms_per_prompt",
        noise=lambda count: {"latents": torch.randn(count, 4, 8, 16, generator=torch.Generator().manual_seed(5))},
        output_types={"np": np.ndarray, "pt": torch.Tensor, "mel": torch.Tensor, "latent": torch.Tensor},
        result_axes={"mel": 3, "latent": 3},
        without={
            ("audio_encoder", "feature_extractor"): {},
            (
                "vae",
                "vocoder",
                "description_encoder",
                "description_tokenizer",
                "content_tokenizer",
                "audio_encoder",
                "feature_extractor",
            ): {
                "description": None,
                "content": None,
                "description_embeds": torch.ones(1, 12),
                "content_embeds": torch.ones(1, 5, 16),
                "guidance_scale": 1.0,
                "output_type": "latent",
            },
        },
        half_distance=0.3,
    ),
}


# --- schedulers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyScheduler:
    """A scheduler with other settings than the default, and what its `step` takes beside output, time and sample."""

    scheduler_class: type[SchedulerMixin]
    settings: Mapping[str, Any]
    beside: Mapping[str, Any]
    bad_values: Mapping[str, Any]


SCHEDULERS = {
    "OUVEScheduler": TinyScheduler(
        scheduler_class=OUVEScheduler,
        settings={"theta": 2.0, "sigma_min": 0.1, "sigma_max": 0.6, "min_timestep": 0.05},
        beside={"prior_mean": torch.linspace(-1, 1, 24).reshape(2, 1, 3, 4)},
        bad_values={"theta": 0.0, "sigma_min": 0.0, "sigma_max": 0.01, "min_timestep": 0.0},
    )
}
