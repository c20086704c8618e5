"""Files of BEATs, small, with the keys of the released ones."""

from typing import Any

import torch

LAYERS, WIDTH, EMBEDDING, HEADS, INTERMEDIATE, BUCKETS = 12, 8, 6, 2, 12, 8
CFG = {
    "input_patch_size": 16,
    "embed_dim": EMBEDDING,
    "conv_bias": False,
    "encoder_layers": LAYERS,
    "encoder_embed_dim": WIDTH,
    "encoder_ffn_embed_dim": INTERMEDIATE,
    "encoder_attention_heads": HEADS,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.05,
    "conv_pos": 4,
    "conv_pos_groups": 2,
    "num_buckets": BUCKETS,
    "max_distance": 20,
    "gru_rel_pos": True,
    "finetuned_model": True,
    "predictor_dropout": 0.0,
    "predictor_class": 5,
}


def list_shapes(layers: int = LAYERS, width: int = WIDTH, classes: int | None = 5) -> dict[str, tuple[int, ...]]:
    shapes = {
        "post_extract_proj.weight": (width, EMBEDDING),
        "post_extract_proj.bias": (width,),
        "patch_embedding.weight": (EMBEDDING, 1, 16, 16),
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, 4),
        "encoder.pos_conv.0.weight_v": (width, width // 2, 4),
        "encoder.layer_norm.weight": (width,),
        "encoder.layer_norm.bias": (width,),
        "layer_norm.weight": (EMBEDDING,),
        "layer_norm.bias": (EMBEDDING,),
    }
    for number in range(layers):
        layer, linear = f"encoder.layers.{number}", {}
        linear |= {f"self_attn.{name}": (width, width) for name in ("k_proj", "v_proj", "q_proj", "out_proj")}
        linear |= {"self_attn.grep_linear": (8, width // HEADS)}
        linear |= {"fc1": (INTERMEDIATE, width), "fc2": (width, INTERMEDIATE)}
        linear |= {"self_attn_layer_norm": (width,), "final_layer_norm": (width,)}
        for name, shape in linear.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        shapes[f"{layer}.self_attn.grep_a"] = (1, HEADS, 1, 1)
        shapes[f"{layer}.self_attn.relative_attention_bias.weight"] = (BUCKETS, HEADS)
    if classes is not None:
        shapes |= {"predictor.weight": (classes, width), "predictor.bias": (classes,)}
    return shapes


def draw_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    # Norms about 1, or nothing of the input would reach the end.
    return {key: value + ("norm" in key and key.endswith("weight")) for key, value in tensors.items()}


def small_weights(seed: int = 0, **sizes: Any) -> dict[str, torch.Tensor]:
    """The tensors; the bias tables of all layers are equal."""
    tensors = draw_tensors(list_shapes(**sizes), seed)
    tables = [key for key in tensors if key.endswith("relative_attention_bias.weight")]
    return tensors | {key: tensors[tables[0]].clone() for key in tables}


def small_file(labels: dict[int, str] | None = None, **sizes: Any) -> dict[str, Any]:
    """A file as released: settings, tensors and, where fine-tuned, the names of classes."""
    file = {"cfg": dict(CFG), "model": small_weights(**sizes)}
    return file if labels is None else {**file, "label_dict": labels}
