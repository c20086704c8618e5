"""A file as the public implementation of LTBS writes it, at small sizes: its names, the shapes of a small network."""

import json
import re
from pathlib import Path

import torch

from avzoo.conversion.convert_ltbs import make_keymap
from avzoo.models.ltbs import LTBSConfig, LTBSForLipToSpeech

KEYS = Path(__file__).parents[1] / "golden/cases/ltbs/tiny/keys.json"
SIZES = {  # layers as the case has them
    "trunk_channels": (4, 4, 6, 8),
    "encoder_layers": 2,
    "decoder_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "conv_kernel_size": 3,
    "num_units": 5,
    "predictor_hidden": 6,
    "variance_embed_dim": 4,
    "num_mel_bins": 8,
    "num_speakers": 3,
    "speaker_embed_dim": 4,
    "postnet_hidden": 6,
    "postnet_steps": 3,
}


def small_model() -> LTBSForLipToSpeech:
    torch.manual_seed(0)
    return LTBSForLipToSpeech(LTBSConfig(**SIZES))


def small_file() -> dict[str, torch.Tensor]:
    """{their name: tensor} of [`small_model`]."""
    model = small_model()
    weights, keymap = model.state_dict(), make_keymap(model.config)
    conditions = {"weight_v": "direction", "weight_g": "length", "bias": "bias"}
    tensors = {}
    for key, shape, _ in json.loads(KEYS.read_text()):
        found = re.fullmatch(r"post_net\.flows\.(\d+)\.(?:wn\.)?cond_layer\.(\w+)", key)
        if found:
            joined = weights[f"postnet.condition_projection.{conditions[found[2]]}"]
            tensors[key] = joined.chunk(model.config.postnet_steps)[int(found[1]) // 3].clone()
            continue
        rule = keymap.find_rule(key)
        if rule.targets:
            target = rule.targets[0].format(**rule.match(key))
            tensors[key] = weights[target].reshape([1] * (len(shape) - weights[target].ndim) + [*weights[target].shape])
            tensors[key] = tensors[key].clone()
        else:
            tensors[key] = torch.zeros(shape, dtype=torch.int64)
    return tensors
