"""Conversion of checkpoints that the public implementation of LTBS writes; its authors released none.

Facts: YangKangJNU/LTBS@6c977e1 (`src/`), keonlee9420/PortaSpeech@51bd827 for WaveNets that steps of the flow share.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.keymap import KeyMap, Rule, ignore, load_weights, rename
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.models.ltbs import LTBSConfig, LTBSForLipToSpeech

ENTRIES_READ = ("model_state_dict",)
_WEIGHT_NORM = {"weight_v": "direction", "weight_g": "length", "bias": "bias"}  # theirs, ours
_CONFORMER = {
    "self_attn.linear_q": "attention.q_proj",
    "self_attn.linear_k": "attention.k_proj",
    "self_attn.linear_v": "attention.v_proj",
    "self_attn.linear_out": "attention.o_proj",
    "self_attn.linear_pos": "attention.position_proj",
    "feed_forward.w_1": "feed_forward.linear1",
    "feed_forward.w_2": "feed_forward.linear2",
    "feed_forward_macaron.w_1": "first_feed_forward.linear1",
    "feed_forward_macaron.w_2": "first_feed_forward.linear2",
    "conv_module.pointwise_cov1": "convolution.pointwise_conv1",
    "conv_module.pointwise_cov2": "convolution.pointwise_conv2",
    "conv_module.depthwise_conv": "convolution.depthwise_conv.convolution",
    "conv_module.norm": "convolution.depthwise_conv.norm",
    "norm_ff_macaron": "first_feed_forward_norm",
    "norm_mha": "attention_norm",
    "norm_conv": "convolution_norm",
    "norm_ff": "feed_forward_norm",
    "norm_final": "final_norm",
    "concat_linear": "concat_proj",
}


def conformer_rules(source: str, target: str) -> list[Rule]:
    """Rules of a stack of conformer layers; neither prefix ends in a dot."""
    rules = [
        rename(f"{source}.{{n}}.{theirs}.{{leaf}}", f"{target}.{{n}}.{ours}.{{leaf}}")
        for theirs, ours in _CONFORMER.items()
    ]
    for theirs, ours in (("pos_bias_u", "content_bias"), ("pos_bias_v", "position_bias")):
        rules.append(rename(f"{source}.{{n}}.self_attn.{theirs}", f"{target}.{{n}}.attention.{ours}"))
    return rules


def predictor_rules(source: str, target: str, num_layers: int) -> list[Rule]:
    """Rules of a variance predictor, whose layers they count from 1; neither prefix ends in a dot."""
    rules = [rename(f"{source}.linear_layer.{{leaf}}", f"{target}.projection.{{leaf}}")]
    for index in range(num_layers):
        theirs = f"{source}.conv_layer"
        rules.append(rename(f"{theirs}.conv1d_{index + 1}.conv.{{leaf}}", f"{target}.convolutions.{index}.{{leaf}}"))
        rules.append(rename(f"{theirs}.layer_norm_{index + 1}.{{leaf}}", f"{target}.norms.{index}.{{leaf}}"))
    return rules


def flow_rules(source: str, target: str, num_steps: int, steps_per_wavenet: int = 1) -> list[Rule]:
    """Rules of a flow; prefixes end in a dot or are empty. What projects the conditions is joined before."""
    rules = [rename(f"{source}condition.{{leaf}}", f"{target}condition_projection.{{leaf}}")]
    for step in range(num_steps):
        theirs, ours = f"{source}flows.{3 * step}", f"{target}steps.{step}"
        rules += [
            rename(f"{theirs}.logs", f"{ours}.norm.log_scale"),
            rename(f"{theirs}.bias", f"{ours}.norm.bias"),
            rename(f"{source}flows.{3 * step + 1}.weight", f"{ours}.mixing.weight"),
            rename(f"{source}flows.{3 * step + 2}.end.{{leaf}}", f"{ours}.coupling.end.{{leaf}}"),
        ]
        theirs = f"{source}flows.{3 * step + 2}"
        wavenet = f"{target}wavenets.{step // steps_per_wavenet}"
        for leaf, own in _WEIGHT_NORM.items():
            rules.append(rename(f"{theirs}.start.{leaf}", f"{ours}.coupling.start.{own}"))
            if step % steps_per_wavenet == 0:
                rules.append(rename(f"{theirs}.wn.in_layers.{{n}}.{leaf}", f"{wavenet}.gates.{{n}}.{own}"))
                rules.append(rename(f"{theirs}.wn.res_skip_layers.{{n}}.{leaf}", f"{wavenet}.outputs.{{n}}.{own}"))
        if step % steps_per_wavenet:
            rules.append(ignore(f"{theirs}.wn.*", why="a WaveNet that several steps share, under another name"))
    return rules


def join_conditions(tensors: Mapping[str, torch.Tensor], source: str = "") -> dict[str, torch.Tensor]:
    """The projections of the condition of all steps as one, and everything else as it is.

    They lie beside the WaveNet where it is shared, else in it.
    """
    pattern = re.compile(re.escape(source) + r"flows\.(\d+)\.(?:wn\.)?cond_layer\.(\w+)")
    joined: dict[str, dict[int, torch.Tensor]] = {}
    rest = {}
    for key, value in tensors.items():
        found = pattern.fullmatch(key)
        if found is None:
            rest[key] = value
        else:
            joined.setdefault(found[2], {})[int(found[1])] = value
    for leaf, by_step in joined.items():
        if leaf in _WEIGHT_NORM:
            rest[f"{source}condition.{_WEIGHT_NORM[leaf]}"] = torch.cat([by_step[step] for step in sorted(by_step)])
    return rest


def make_keymap(config: LTBSConfig) -> KeyMap:
    front, ours = "video_encoder.resnet", "ltbs.front_end"
    rules = [
        rename(f"{front}.frontend3D.0.weight", f"{ours}.stem.convolution.weight"),
        rename(f"{front}.frontend3D.1.{{leaf}}", f"{ours}.stem.norm.{{leaf}}"),
    ]
    for stage in range(4):
        for block in range(2):
            theirs, mine = f"{front}.trunk.layer{stage + 1}.{block}", f"{ours}.blocks.{2 * stage + block}"
            for index in (1, 2):
                rules.append(rename(f"{theirs}.conv{index}.weight", f"{mine}.conv{index}.convolution.weight"))
                rules.append(rename(f"{theirs}.bn{index}.{{leaf}}", f"{mine}.conv{index}.norm.{{leaf}}"))
            rules.append(rename(f"{theirs}.downsample.0.weight", f"{mine}.shortcut.convolution.weight"))
            rules.append(rename(f"{theirs}.downsample.1.{{leaf}}", f"{mine}.shortcut.norm.{{leaf}}"))
    rules += [
        rename("video_encoder.spk_embedding.weight", "ltbs.speaker_embedding.weight"),
        rename("video_encoder.fusion.{leaf}", "ltbs.encoder_fusion.projection.{leaf}"),
        rename("video_encoder.embed.0.{leaf}", "ltbs.encoder.embedding.{leaf}"),
        *conformer_rules("video_encoder.encoder", "ltbs.encoder.layers"),
        *predictor_rules("linguistic_predictor", "ltbs.unit_predictor", config.unit_layers),
        *predictor_rules("pitch_predictor", "ltbs.pitch_predictor", config.prosody_layers),
        *predictor_rules("energy_predictor", "ltbs.energy_predictor", config.prosody_layers),
        rename("linguistic_embedding.weight", "ltbs.unit_embedding.weight"),
        rename("{name}_embedding.{leaf}", "ltbs.{name}_embedding.{leaf}"),
        rename("fusion.{leaf}", "ltbs.fusion.{leaf}"),
        rename("mel_decoder.fusion.{leaf}", "ltbs.decoder_fusion.projection.{leaf}"),
        rename("mel_decoder.embed.0.{leaf}", "ltbs.decoder.embedding.{leaf}"),
        *conformer_rules("mel_decoder.decoder", "ltbs.decoder.layers"),
        rename("mel_decoder.proj_mel.{leaf}", "ltbs.mel_projection.{leaf}"),
        *flow_rules("post_net.", "postnet.", config.postnet_steps, config.postnet_share_group),
    ]
    return KeyMap(*rules)


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[LTBSForLipToSpeech, str, dict[str, Any]]:
    """Convert a checkpoint; returns the model, its variant, and the arguments of its processor.

    Args:
        config: override config values; `postnet_dilation_rate` and `postnet_sigmoid_scale` can't be told from shapes.
    """
    content = checkpoint.content.get("model_state_dict")
    state_dict = (replace(checkpoint, content=content) if isinstance(content, Mapping) else checkpoint).state_dict()
    fields = infer_fields(state_dict, checkpoint.name) | dict(config or {})
    with build_without_memory(len(state_dict), checkpoint.name):  # no weight is drawn at random first
        model = LTBSForLipToSpeech(LTBSConfig(**fields))
    check_shared_wavenets(state_dict, "post_net.", model.config.postnet_share_group, checkpoint.name)
    tensors = join_conditions(state_dict, "post_net.")
    # A checkpoint was trained, so its norms of rows are set from data; their file does not say so.
    flags = {name: torch.tensor(True) for name in model.state_dict() if name.endswith(".is_initialized")}
    model = load_weights(model, make_keymap(model.config), tensors, checkpoint.name, known=flags)
    # As its trainer prepares sounds.
    processor = {"mel_type": "centered", "energy_type": "log_mel"}
    processor |= {name: getattr(model.config, name) for name in ("num_units", "num_mel_bins")}
    return model, variant or "reimplementation", processor


def check_shared_wavenets(tensors: Mapping[str, torch.Tensor], source: str, steps_per_wavenet: int, name: str) -> None:
    """Refuse WaveNets that differ where steps of the flow share one: all but the first would be lost.

    Raises:
        ValueError: they differ; which.
    """
    pattern = re.compile(re.escape(source) + r"flows\.(\d+)\.wn\.((?!cond_layer\.).+)")
    for key, value in tensors.items():
        found = pattern.fullmatch(key)
        if found is None:
            continue
        step = int(found[1]) // 3
        first = tensors.get(f"{source}flows.{3 * (step - step % steps_per_wavenet) + 2}.wn.{found[2]}")
        if first is not None and not torch.equal(first, value):
            raise ValueError(
                f"{name}: `postnet_share_group` is {steps_per_wavenet}, but `{key}` differs from the WaveNet of the "
                "first step of its group; they are not shared."
            )


def infer_fields(state_dict: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """What shapes tell of a config."""

    def shape(key: str, num_axes: int) -> torch.Size:
        if key not in state_dict:
            raise ValueError(f"{name} lacks `{key}`: it is cut short, or of another method.")
        found = state_dict[key].shape
        if len(found) != num_axes or 0 in found:
            raise ValueError(
                f"{name}: `{key}` has the shape {tuple(found)}, expected {num_axes} axes, none of length 0."
            )
        return found

    def count(pattern: str) -> int:
        return len({found[1] for key in state_dict if (found := re.match(pattern, key))})

    num_heads, head_size = shape("video_encoder.encoder.0.self_attn.pos_bias_u", 2)
    flow = "post_net.flows.2"
    hidden = shape(f"{flow}.start.weight_v", 3)[0]
    rows, bins = shape("post_net.flows.0.logs", 3)[1], shape("mel_decoder.proj_mel.weight", 2)[0]
    num_speakers, speaker_dim = shape("video_encoder.spk_embedding.weight", 2)
    return {
        "trunk_channels": tuple(
            shape(f"video_encoder.resnet.trunk.layer{n}.0.conv1.weight", 4)[0] for n in range(1, 5)
        ),
        "encoder_layers": count(r"video_encoder\.encoder\.(\d+)\."),
        "decoder_layers": count(r"mel_decoder\.decoder\.(\d+)\."),
        "hidden_size": num_heads * head_size,
        "num_attention_heads": num_heads,
        "intermediate_size": shape("video_encoder.encoder.0.feed_forward.w_1.weight", 2)[0],
        "conv_kernel_size": shape("video_encoder.encoder.0.conv_module.depthwise_conv.weight", 3)[2],
        "concat_after": "video_encoder.encoder.0.concat_linear.weight" in state_dict,
        "num_units": shape("linguistic_predictor.linear_layer.weight", 2)[0],
        "unit_layers": count(r"linguistic_predictor\.conv_layer\.conv1d_(\d+)\."),
        "prosody_layers": count(r"pitch_predictor\.conv_layer\.conv1d_(\d+)\."),
        "predictor_hidden": shape("linguistic_predictor.linear_layer.weight", 2)[1],
        "predictor_kernel": shape("linguistic_predictor.conv_layer.conv1d_1.conv.weight", 3)[2],
        "variance_embed_dim": shape("linguistic_embedding.weight", 2)[1],
        "num_mel_bins": bins,
        "num_speakers": num_speakers,
        "speaker_embed_dim": speaker_dim,
        "postnet_hidden": hidden,
        "postnet_kernel": shape(f"{flow}.wn.in_layers.0.weight_v", 3)[2],
        "postnet_steps": count(r"post_net\.flows\.(\d+)\.start\."),
        "postnet_layers": count(r"post_net\.flows\.2\.wn\.in_layers\.(\d+)\."),
        "postnet_group": shape("post_net.flows.1.weight", 2)[0],
        "postnet_squeeze": rows // bins,
    }
