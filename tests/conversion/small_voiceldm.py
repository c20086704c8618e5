"""Files of the authors' VoiceLDM layout, small, and folders of the parts that come from elsewhere."""

import functools
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from contract.voiceldm_parts import tiny_clap_configs, tiny_clap_features, tiny_vae, tiny_vocoder_config
from diffusers import AutoencoderKL, DDIMScheduler
from golden.golden_case import drawn
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5Tokenizer,
)

from avzoo.conversion import convert_checkpoint

CASES = Path(__file__).parents[1] / "golden/cases/voiceldm"
NO_PARTS = {"audioldm": None, "clap": None, "speecht5": None}
SETTINGS = {
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def keys_of(case: str) -> list[tuple[str, list[int], str]]:
    """Of the released file alone, without the parts from elsewhere that whole-call cases list too."""
    listed = json.loads((CASES / case / "keys.json").read_text())
    return [row for row in listed if row[0].startswith(("unet.", "durator.", "text_encoder."))]


@functools.cache
def _small_file() -> dict[str, torch.Tensor]:
    return {key: drawn(key, shape, dtype, 0, 1.0) for key, shape, dtype in keys_of("generate_dual")}


def small_file(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """A file of the released layout, narrow: 32 to 160 wide, two layers of text."""
    return {**_small_file(), **changes}


def without(*parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in small_file().items() if not any(part in key for part in parts)}


def released(case: str) -> dict[str, torch.Tensor]:
    """A file of full size, without values."""
    return {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in keys_of(case)}


def convert(checkpoint: Any, variant: str | None = None, config: dict | None = None, **parts: Any):
    """Without any of the parts from elsewhere that are not named."""
    sources = {"checkpoint": checkpoint, "scheduler": DDIMScheduler(**SETTINGS), **NO_PARTS, **parts}
    return convert_checkpoint("voiceldm", sources, variant=variant, config=config)


def same_weights(pipe, other) -> bool:
    return all(same_state(getattr(pipe, name), getattr(other, name)) for name in ("unet", "content_encoder"))


def same_state(network: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = network.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


PARTS = {
    "vae": AutoencoderKL,
    "vocoder": SpeechT5HifiGan,
    "description_encoder": object,
    "description_tokenizer": object,
    "audio_encoder": object,
    "feature_extractor": ClapFeatureExtractor,
    "content_tokenizer": SpeechT5Tokenizer,
}


def write_sources(root: Path) -> dict[str, Path]:
    """Folders laid out as the three repositories are, tiny: a pipeline's, CLAP's, SpeechT5's."""
    torch.manual_seed(0)
    DDIMScheduler(**SETTINGS).save_pretrained(root / "audioldm" / "scheduler")
    tiny_vae(latent_channels=8, sample_size=32).save_pretrained(root / "audioldm" / "vae")
    SpeechT5HifiGan(tiny_vocoder_config(initializer_range=0.2)).save_pretrained(root / "audioldm" / "vocoder")
    text, sound = tiny_clap_configs(projection_dim=48)
    ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=sound.to_dict(), projection_dim=48)).save_pretrained(
        root / "clap"
    )
    tiny_clap_features().save_pretrained(root / "clap")
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
    RobertaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]).save_pretrained(root / "clap")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"]),
        model_prefix=str(root / "characters"),
        model_type="char",
        vocab_size=50,
        hard_vocab_limit=False,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    SpeechT5Tokenizer(str(root / "characters.model")).save_pretrained(root / "speecht5")
    return {name: root / name for name in ("audioldm", "clap", "speecht5")}
