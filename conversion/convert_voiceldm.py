"""Conversion of the authors' VoiceLDM checkpoints to [`VoiceLDMPipeline`].

A checkpoint is a flat dictionary of 936 tensors: `unet.*` are those of diffusers' UNet2DConditionModel under their own
names, `durator.*` and `text_encoder.*` are the content encoder. Checkpoints of the authors' training script have the
same keys. The VAE, the vocoder, CLAP, the tokenizers and the scheduler are not in it: they come from the repositories
that the authors load them from, or from local folders. Facts: glory20h/VoiceLDM@16ebc7a (voiceldm/modules.py,
pipeline.py).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import (
    AutoTokenizer,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextModelWithProjection,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5Tokenizer,
)

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.voiceldm import VoiceLDMContentEncoder, VoiceLDMContentEncoderConfig
from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

# Component of the pipeline -> its class, and the repository that it comes from.
_PARTS = {
    "scheduler": (DDIMScheduler, "audioldm"),
    "vae": (AutoencoderKL, "audioldm"),
    "vocoder": (SpeechT5HifiGan, "audioldm"),
    "description_encoder": (ClapTextModelWithProjection, "clap"),
    "description_tokenizer": (AutoTokenizer, "clap"),
    "audio_encoder": (ClapAudioModelWithProjection, "clap"),
    "feature_extractor": (ClapFeatureExtractor, "clap"),
    "content_tokenizer": (SpeechT5Tokenizer, "speecht5"),
}


def _upsampler_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    source, target = f"durator.learnable_upsampler.{theirs}", "upsampler"
    mlp = source.replace("conv", "swish")
    return (
        rename(f"{source}.conv_layer.0.{{leaf}}", f"{target}.{ours}_features.convolution.{{leaf}}"),
        rename(f"{source}.conv_layer.1.{{leaf}}", f"{target}.{ours}_features.batch_norm.{{leaf}}"),
        rename(f"{source}.layer_norm.{{leaf}}", f"{target}.{ours}_features.norm.{{leaf}}"),
        # One layer there; its inputs are the time since the start, the time until the end, and the features.
        rename(
            f"{mlp}.layer.0.weight",
            [f"{target}.{ours}_mlp.fc1_{part}.weight" for part in ("start", "end", "features")],
            lambda weight: (weight[:, :1], weight[:, 1:2], weight[:, 2:]),
        ),
        rename(f"{mlp}.layer.0.bias", f"{target}.{ours}_mlp.fc1_features.bias"),
        *(rename(f"{mlp}.layer.{2 * n}.{{leaf}}", f"{target}.{ours}_mlp.fc{n + 1}.{{leaf}}") for n in (1, 2)),
    )


def stack_maps(weight: torch.Tensor) -> torch.Tensor:
    """Reshape (out, maps * in) to (maps * out, in): the authors project after the weighted sum, this package before."""
    return weight.unflatten(1, (-1, len(weight))).transpose(0, 1).flatten(0, 1)


_ENCODER = "text_encoder.encoder.wrapped_encoder"

CONTENT_KEYMAP = KeyMap(
    rename("text_encoder.encoder.prenet.embed_tokens.weight", "text_encoder.embed_tokens.weight"),
    rename("text_encoder.encoder.prenet.encode_positions.alpha", "text_encoder.position_scale"),
    ignore("text_encoder.encoder.prenet.encode_positions.pe", why="a table of sines, computed here"),
    rename(f"{_ENCODER}.layer_norm.{{leaf}}", "text_encoder.norm.{leaf}"),
    rename(f"{_ENCODER}.embed_positions.pe_k.weight", "text_encoder.distances.weight"),
    rename(f"{_ENCODER}.layers.{{n}}.attention.out_proj.{{leaf}}", "text_encoder.layers.{n}.attention.o_proj.{leaf}"),
    rename(f"{_ENCODER}.layers.{{n}}.attention.{{part}}.{{leaf}}", "text_encoder.layers.{n}.attention.{part}.{leaf}"),
    rename(f"{_ENCODER}.layers.{{n}}.layer_norm.{{leaf}}", "text_encoder.layers.{n}.attention_norm.{leaf}"),
    rename(f"{_ENCODER}.layers.{{n}}.feed_forward.intermediate_dense.{{leaf}}", "text_encoder.layers.{n}.fc1.{leaf}"),
    rename(f"{_ENCODER}.layers.{{n}}.feed_forward.output_dense.{{leaf}}", "text_encoder.layers.{n}.fc2.{leaf}"),
    rename(f"{_ENCODER}.layers.{{n}}.final_layer_norm.{{leaf}}", "text_encoder.layers.{n}.feed_forward_norm.{leaf}"),
    rename("durator.dp.conv_{n}.{leaf}", "duration_predictor.conv{n}.{leaf}"),
    rename("durator.dp.norm_{n}.gamma", "duration_predictor.norm{n}.weight"),
    rename("durator.dp.norm_{n}.beta", "duration_predictor.norm{n}.bias"),
    # A convolution with a kernel of 1 is a linear layer.
    rename("durator.dp.proj.weight", "duration_predictor.projection.weight", lambda kernel: kernel[..., 0]),
    rename("durator.dp.proj.bias", "duration_predictor.projection.bias"),
    *_upsampler_rules("conv_w", "map"),
    *_upsampler_rules("conv_c", "context"),
    rename("durator.learnable_upsampler.linear_w.weight", "upsampler.token_projection.weight", stack_maps),
    rename("durator.learnable_upsampler.linear_w.bias", "upsampler.token_bias"),
    rename("durator.learnable_upsampler.linear_einsum.{leaf}", "upsampler.context_projection.{leaf}"),
    rename("durator.learnable_upsampler.layer_norm.{leaf}", "upsampler.norm.{leaf}"),
    rename("durator.learnable_upsampler.proj_o.{leaf}", "upsampler.output_projection.{leaf}"),
)
# Keys have not changed since diffusers 0.19, which the authors use.
UNET_KEYMAP = KeyMap(rename("unet.{key*}", "{key}"))


def convert(
    checkpoint: Checkpoint,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> tuple[VoiceLDMPipeline, str, dict[str, Any]]:
    """Convert a checkpoint; return the pipeline, its variant, and the sources of its other components.

    Args:
        variant: a name among the row's variants in the zoo. None: inferred from the network's widths.
        config: override fields of the content encoder's config that are read off the checkpoint.
        parts: sources of the components that the checkpoint doesn't hold: name -> folder or Hub id, the component
            itself, or None to omit it. Names are the pipeline's own, or "audioldm" (scheduler, VAE and vocoder),
            "clap" and "speecht5" for all components of that repository. Default: the authors' sources.

    Raises:
        ValueError: another variant than `variant`, an unknown part, or a scheduler of None.
        OSError: a component can't be loaded.
    """
    sources = _resolve_sources(parts or {})
    unet = convert_unet(checkpoint)
    variant = _find_variant(tuple(unet.config.block_out_channels), variant, checkpoint.name)
    content_encoder = convert_content_encoder(checkpoint, config)
    # Loaded last, because they may be downloads.
    loaded = {name: load_part(name, source) for name, source in sources.items()}
    if loaded["scheduler"] is None:
        raise ValueError("part `scheduler` can't be omitted; pass a folder or a scheduler of diffusers.")
    pipe = VoiceLDMPipeline(unet=unet, content_encoder=content_encoder, **loaded)
    return pipe.use_preset("fast"), variant, {name: _name_source(source) for name, source in sources.items()}


def new_pipeline(variant: str = "m", parts: Mapping[str, Any] | None = None) -> VoiceLDMPipeline:
    """Build a pipeline for training: a denoiser with random weights, and a content encoder initialized from SpeechT5.

    The null text is "", by which training replaces dropped texts; the released weights are sampled with "_" instead.

    Args:
        variant: "s" or "m".
        parts: see [`convert`]; all but the vocoder are needed.

    Raises:
        ValueError: a part that is omitted.
    """
    sources = _resolve_sources(parts or {})
    for name, source in sources.items():
        if source is None and name != "vocoder":
            raise ValueError(f"part `{name}` can't be omitted from a pipeline for training.")
    loaded = {name: load_part(name, source) for name, source in sources.items()}
    encoder = SpeechT5ForTextToSpeech.from_pretrained(_find_repository((parts or {}).get("speecht5", "speecht5")))
    tensors = {f"text_encoder.encoder.{key}": value for key, value in encoder.speecht5.encoder.state_dict().items()}
    fields = _read_text_encoder_fields(tensors, "SpeechT5")
    content_encoder = VoiceLDMContentEncoder(VoiceLDMContentEncoderConfig(**fields))
    shapes = {k: v.shape for k, v in content_encoder.state_dict().items() if k.startswith("text_encoder.")}
    content_encoder.load_state_dict(CONTENT_KEYMAP.apply(tensors, shapes, "SpeechT5"), strict=False)
    embedding = loaded["description_encoder"].config.projection_dim
    unet = UNet2DConditionModel(
        **_unet_arguments(
            zoo.find_row("voiceldm").find_variant(variant).config["block_out_channels"],
            attends=(False, True, True, True),
            layers_per_block=2,
            in_channels=loaded["vae"].config.latent_channels,
            cross_attention_dim=fields["hidden_size"],
            embedding_size=embedding,
        )
    )
    networks = {"unet": unet.eval(), "content_encoder": content_encoder.eval()}
    return VoiceLDMPipeline(**networks, null_content="", **loaded).use_preset("fast")


def convert_unet(checkpoint: Checkpoint) -> UNet2DConditionModel:
    """Convert the denoiser alone, in evaluation mode; its sizes are read off the shapes."""
    tensors = {key: tensor for key, tensor in checkpoint.state_dict().items() if key.startswith("unet.")}
    config = _read_unet_config(tensors, checkpoint.name)
    with build_without_memory(len(tensors), checkpoint.name):  # no random initialization
        unet = UNet2DConditionModel(**config)
    return load_weights(unet, UNET_KEYMAP, tensors, checkpoint.name)


def convert_content_encoder(checkpoint: Checkpoint, config: Mapping[str, Any] | None = None) -> VoiceLDMContentEncoder:
    """Convert the content encoder alone, in evaluation mode. `config` overrides fields that are read off the shapes."""
    tensors = {key: tensor for key, tensor in checkpoint.state_dict().items() if not key.startswith("unet.")}
    fields = _read_content_fields(tensors, checkpoint.name) | dict(config or {})
    with build_without_memory(len(tensors), checkpoint.name):
        encoder = VoiceLDMContentEncoder(VoiceLDMContentEncoderConfig(**fields))
    load_weights(encoder, CONTENT_KEYMAP, tensors, checkpoint.name)
    encoder.text_encoder.make_positions()  # no checkpoint holds them
    return encoder


def _find_variant(widths: tuple[int, ...], variant: str | None, name: str) -> str:
    known_variants = {
        tuple(known.config["block_out_channels"]): known.name for known in zoo.find_row("voiceldm").variants
    }
    found = known_variants.get(widths)
    if variant is None:
        return found or "own"
    if found != variant:
        released = f"those of {found!r}" if found else "those of no released variant"
        raise ValueError(
            f"{name} is not of `variant` {variant!r}: its denoiser has the widths {widths}, {released}. Leave the "
            "variant out to infer it from the file."
        )
    return variant


def _find_shape(tensors: Mapping[str, torch.Tensor], key: str, axes: int, name: str) -> torch.Size:
    if key not in tensors or tensors[key].ndim != axes:
        found = f"has the shape {tuple(tensors[key].shape)} there" if key in tensors else "lacks it"
        raise ValueError(f"{name} is no VoiceLDM checkpoint: `{key}` must be a weight of {axes} axes, it {found}.")
    return tensors[key].shape


def _read_unet_config(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """Arguments of diffusers' UNet, read off the shapes."""
    stages = sorted({int(found[1]) for key in tensors if (found := re.match(r"unet\.down_blocks\.(\d+)\.", key))})
    widths = tuple(_find_shape(tensors, f"unet.down_blocks.{n}.resnets.0.conv2.weight", 4, name)[0] for n in stages)
    if not widths:
        raise ValueError(f"{name} is no VoiceLDM checkpoint: it has no `unet.down_blocks`.")
    attends = [any(key.startswith(f"unet.down_blocks.{n}.attentions.") for key in tensors) for n in stages]
    resnets = {key.split(".")[4] for key in tensors if key.startswith("unet.down_blocks.0.resnets.")}
    context = _find_shape(tensors, "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 2, name)[1]
    return _unet_arguments(
        widths,
        attends=attends,
        layers_per_block=len(resnets),
        in_channels=_find_shape(tensors, "unet.conv_in.weight", 4, name)[1],
        cross_attention_dim=context,
        embedding_size=_find_shape(tensors, "unet.class_embedding.weight", 2, name)[1],
    )


def _unet_arguments(
    widths: Sequence[int],
    *,
    attends: Sequence[bool],
    layers_per_block: int,
    in_channels: int,
    cross_attention_dim: int,
    embedding_size: int,
) -> dict[str, Any]:
    """Arguments of the authors' network for diffusers; its default gives every attention eight heads."""
    return {
        "sample_size": 128,
        "in_channels": in_channels,
        "out_channels": in_channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        "up_block_types": tuple("CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)),
        "block_out_channels": tuple(widths),
        "layers_per_block": layers_per_block,
        "cross_attention_dim": cross_attention_dim,
        "class_embed_type": "simple_projection",
        "projection_class_embeddings_input_dim": embedding_size,
        "class_embeddings_concat": True,
    }


def _read_text_encoder_fields(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    vocabulary, width = _find_shape(tensors, "text_encoder.encoder.prenet.embed_tokens.weight", 2, name)
    distances, head_size = _find_shape(tensors, f"{_ENCODER}.embed_positions.pe_k.weight", 2, name)
    inner = _find_shape(tensors, f"{_ENCODER}.layers.0.feed_forward.intermediate_dense.weight", 2, name)[0]
    layers = {key.split(".")[4] for key in tensors if key.startswith(f"{_ENCODER}.layers.")}
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // head_size,
        "intermediate_size": inner,
        "max_relative_position": distances // 2,
    }


def _read_content_fields(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    features, _, kernel = _find_shape(tensors, "durator.learnable_upsampler.conv_w.conv_layer.0.weight", 3, name)
    return _read_text_encoder_fields(tensors, name) | {
        "kernel_size": kernel,
        "upsampler_feature_size": features,
        "upsampler_num_maps": _find_shape(tensors, "durator.learnable_upsampler.swish_w.layer.4.weight", 2, name)[0],
        "upsampler_num_contexts": _find_shape(tensors, "durator.learnable_upsampler.swish_c.layer.4.weight", 2, name)[
            0
        ],
    }


def _resolve_sources(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the source of each component: the one given for it or for its repository, or the authors'."""
    known = sorted({*_PARTS, *(group for _, group in _PARTS.values())})
    unknown = [name for name in parts if name not in known]
    if unknown:
        raise ValueError(f"no part is called {unknown[0]!r}; there are: {', '.join(known)}.")
    return {name: parts.get(name, parts.get(group, group)) for name, (_, group) in _PARTS.items()}


def load_part(name: str, source: Any) -> Any:
    """Load one component: from its own folder, from a folder of several components, or from the Hub.

    Raises:
        OSError: the source can't be loaded. ValueError: it lacks weights of the component.
    """
    part_class, group = _PARTS[name]
    if not isinstance(source, str | Path):
        return source
    source = _find_repository(source)
    subfolder = {"subfolder": name} if group == "audioldm" else {}
    if Path(source).is_dir() and not (Path(source) / name).is_dir():
        subfolder = {}
    elif Path(source).is_dir():
        subfolder = {"subfolder": name}  # a folder like one that `avzoo convert` wrote
    way_out = f"Pass a local folder with --part {name}=FOLDER, or omit it with --part {name}=none."
    is_network = issubclass(part_class, torch.nn.Module)
    try:
        part = part_class.from_pretrained(source, **subfolder, **({"output_loading_info": True} if is_network else {}))
    except Exception as error:  # each library has its own errors, also for a missing network
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(f"part `{name}` could not be loaded from `{source}` ({reason}). {way_out}") from error
    if not is_network:
        return part
    network, report = part
    missing = sorted(report["missing_keys"])  # further weights are usual: CLAP's two towers are in one file
    if missing:
        raise ValueError(
            f"part `{name}` from `{source}` lacks {len(missing)} of its weights (`{missing[0]}`, ...): the weights are "
            f"another model's. {way_out}"
        )
    return network.eval()


def _name_source(source: Any) -> str | None:
    if source is None:
        return None
    if not isinstance(source, str | Path):
        return "memory"
    return _find_repository(source) if str(source) in zoo.find_row("voiceldm").parts else Path(source).name


def _find_repository(source: str | Path) -> str:
    """Return the Hub repository of a part's name; any other source unchanged."""
    published = zoo.find_row("voiceldm").parts.get(str(source))
    return str(source) if published is None else published.repository
