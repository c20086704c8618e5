"""Files of FlexiAST, AST and transformers' AST, small."""

import torch
from transformers import ASTConfig, ASTForAudioClassification

WIDTH, LAYERS, INTERMEDIATE = 8, 2, 12
RELEASED = {"audioset": (527, 2), "vggsound": (309, 1), "voxceleb": (1251, 1)}  # classes, prefix tokens
NAN = float("nan")


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def timm_shapes(classes: int, prefix_tokens: int, width: int = WIDTH) -> dict[str, tuple[int, ...]]:
    """What FlexiAST and AST files share."""
    shapes = {"v.cls_token": (1, 1, width)}
    if prefix_tokens == 2:
        shapes["v.dist_token"] = (1, 1, width)
    for n in range(LAYERS):
        for name, (rows, columns) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (INTERMEDIATE, width),
            "mlp.fc2": (width, INTERMEDIATE),
        }.items():
            shapes |= {f"v.blocks.{n}.{name}.weight": (rows, columns), f"v.blocks.{n}.{name}.bias": (rows,)}
        shapes |= {f"v.blocks.{n}.norm{i}.{leaf}": (width,) for i in (1, 2) for leaf in ("weight", "bias")}
    shapes |= {f"{norm}.{leaf}": (width,) for norm in ("v.norm", "mlp_head.0") for leaf in ("weight", "bias")}
    return shapes | {"mlp_head.1.weight": (classes, width), "mlp_head.1.bias": (classes,)}


def flexiast_file(classes: int = 5, prefix_tokens: int = 1, leftover_patch: int = 16, seed: int = 0, **sizes) -> dict:
    """A state dict laid out like the released ones, tiny; its leftovers are NaN, which would show anywhere."""
    grid = sizes.get("grid", (8, 64))
    needed = timm_shapes(classes, prefix_tokens) | {
        "patch_embed.proj.weight": (WIDTH, 1, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "pos_embed.pos_embed": (1, prefix_tokens + grid[0] * grid[1], WIDTH),
    }
    old_positions = prefix_tokens + (128 // leftover_patch) * (1024 // leftover_patch)
    leftovers = {
        "v.patch_embed.proj.weight": (WIDTH, 1, leftover_patch, leftover_patch),
        "v.patch_embed.proj.bias": (WIDTH,),
        "v.pos_embed": (1, old_positions, WIDTH),
        "v.head.weight": (1000, WIDTH),
        "v.head.bias": (1000,),
        "v.head_dist.weight": (1000, WIDTH),
        "v.head_dist.bias": (1000,),
    }
    tensors = random_tensors(needed, seed) | {key: torch.full(shape, NAN) for key, shape in leftovers.items()}
    return {f"module.{key}": tensor for key, tensor in tensors.items()}


def ast_file(classes: int = 5, grid: tuple[int, int] = (12, 101), patch: int = 16, width: int = WIDTH) -> dict:
    """A state dict laid out like those of YuanGongND/ast, tiny."""
    shapes = timm_shapes(classes, 2, width) | {
        "v.patch_embed.proj.weight": (width, 1, patch, patch),
        "v.patch_embed.proj.bias": (width,),
        "v.pos_embed": (1, 2 + grid[0] * grid[1], width),
        "v.head.weight": (1000, width),
        "v.head_dist.weight": (1000, width),
    }
    return {f"module.{key}": tensor for key, tensor in random_tensors(shapes).items()}


def transformers_ast(stride: int = 10, max_length: int = 120, **config) -> ASTForAudioClassification:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"num_mel_bins": 64, "patch_size": 16, "num_labels": 3}
    sizes |= {"frequency_stride": stride, "time_stride": stride, "max_length": max_length}
    model = ASTForAudioClassification(ASTConfig(**{**sizes, **config})).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return model


def spectrogram(frames: int = 1024, mel_bins: int = 128) -> torch.Tensor:
    return torch.randn(2, frames, mel_bins, generator=torch.Generator().manual_seed(1))
