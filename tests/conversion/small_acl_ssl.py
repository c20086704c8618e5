"""Files of ACL-SSL, small, and of the two networks it stands between."""

from pathlib import Path
from typing import Any

import small_beats
import torch
from clip_tokenizer import make_tokenizer
from safetensors.torch import save_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from avzoo.conversion import convert_checkpoint

WIDTH, VOCABULARY = 8, 56
_NETWORK = {"hidden_size": WIDTH, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 1}
CLIPSEG = {
    "text_config": {**_NETWORK, "vocab_size": VOCABULARY, "max_position_embeddings": 16, "eos_token_id": 55},
    "vision_config": {**_NETWORK, "image_size": 32, "patch_size": 16},
    "projection_dim": 6,
    "extract_layers": [0, 1],
    "reduce_dim": 8,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 12,
    "use_complex_transposed_convolution": True,
}
# What a small network needs beside the released ones' defaults, where no folder tells it.
CONFIG = {"prompt_ids": (54, 26, 55), "prompt_position": 2}
SHAPES_ONLY = {**CONFIG, "grounder_config": {"extract_layers": [0, 1]}}


def trained(width: int = WIDTH, features: int = 3 * small_beats.WIDTH) -> dict[str, dict[str, torch.Tensor]]:
    """The authors' file."""
    shapes = {
        "fc1.weight": (features, features),
        "fc1.bias": (features,),
        "fc2.weight": (width, features),
        "fc2.bias": (width,),
        "fga.un_models.0.embed.weight": (width, width, 1),
        "fga.un_models.0.embed.bias": (width,),
        "fga.un_models.0.feature_reduce.weight": (1, width, 1),
        "fga.un_models.0.feature_reduce.bias": (1,),
        "fga.pp_models.0.embed_X.weight": (width, width, 1),
        "fga.pp_models.0.embed_X.bias": (width,),
        "fga.pp_models.0.embed_Y.weight": (width, width, 1),
        "fga.pp_models.0.embed_Y.bias": (width,),
        "fga.reduce_potentials.0.weight": (1, 2, 1),
    }
    return {
        "audio_proj": small_beats.draw_tensors(shapes, seed=1),
        "masker_i": {"w": torch.tensor(9.5), "b": torch.tensor(13.0)},
    }


def clipseg(seed: int = 2, **changes: Any) -> dict[str, torch.Tensor]:
    """CLIPSeg's tensors, with the two buffers that files of old versions hold."""
    with torch.device("meta"):
        model = CLIPSegForImageSegmentation(CLIPSegConfig(**{**CLIPSEG, **changes}))
    tensors = small_beats.draw_tensors({name: tuple(value.shape) for name, value in model.state_dict().items()}, seed)
    positions = {"text_model": 16, "vision_model": 5}
    return tensors | {f"clip.{name}.embeddings.position_ids": torch.arange(n)[None] for name, n in positions.items()}


def write_clipseg(folder: Path, tokenizer: bool = True, **changes: Any) -> Path:
    """CLIPSeg as a folder of the Hub."""
    folder.mkdir(parents=True)
    CLIPSegConfig(**{**CLIPSEG, **changes}).save_pretrained(folder)
    save_file(clipseg(**changes), folder / "model.safetensors", metadata={"format": "pt"})
    if tokenizer:
        make_tokenizer(folder).save_pretrained(folder)
    return folder


def convert(checkpoint: Any = None, beats: Any = None, grounder: Any = None, config: Any = None) -> Any:
    """The model of three files, in memory unless they are given."""
    parts = {
        "checkpoint": trained() if checkpoint is None else checkpoint,
        "beats": small_beats.small_file() if beats is None else beats,
        "clipseg": clipseg() if grounder is None else grounder,
    }
    return convert_checkpoint("acl_ssl", parts, config=SHAPES_ONLY if config is None else config)
