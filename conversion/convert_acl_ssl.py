"""Conversion of ACL-SSL: the trained weights, and the two frozen networks they stand between.

The authors' file is {'audio_proj': tensors, 'masker_i': tensors}, 29 MB; BEATs and CLIPSeg are files of others. Facts:
swimmiing/ACL-SSL@57f4a6c (`modules/models.py`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPSegConfig, CLIPTokenizer, PreTrainedTokenizerBase

from avzoo import zoo
from avzoo.conversion.checkpoints import Checkpoint, CheckpointSource, read_checkpoint
from avzoo.conversion.convert_beats import (
    beats_rules,
    make_config,
    note_assumptions,
    read_fields,
    refuse_different_tables,
    unwrap,
)
from avzoo.conversion.downloads import download_weights, is_hub_name
from avzoo.conversion.keymap import KeyMap, ignore, load_weights, rename
from avzoo.hub.errors import explain_hub_errors
from avzoo.models.acl_ssl import ACLConfig, ACLForSoundLocalization
from avzoo.models.layers.without_memory import build_without_memory
from avzoo.pipelines.shared.saved_folders import explain_damage

ENTRIES_READ = ("audio_proj", "masker_i")


def drop_taps(weight: torch.Tensor) -> torch.Tensor:
    """A convolution over tokens with one tap, (out, in, 1), as a linear map."""
    return weight.squeeze(-1)


def _one_tap(source: str, target: str):
    return (rename(f"{source}.weight", f"{target}.weight", drop_taps), rename(f"{source}.bias", f"{target}.bias"))


ACL_KEYMAP = KeyMap(
    rename("audio_proj.fc1.{leaf}", "audio_embedder.fc1.{leaf}"),
    rename("audio_proj.fc2.{leaf}", "audio_embedder.fc2.{leaf}"),
    *_one_tap("audio_proj.fga.un_models.0.embed", "audio_embedder.unary_embed"),
    *_one_tap("audio_proj.fga.un_models.0.feature_reduce", "audio_embedder.unary_reduce"),
    *_one_tap("audio_proj.fga.pp_models.0.embed_X", "audio_embedder.pair_query"),
    *_one_tap("audio_proj.fga.pp_models.0.embed_Y", "audio_embedder.pair_key"),
    rename("audio_proj.fga.reduce_potentials.0.weight", "audio_embedder.combine.weight", drop_taps),
    rename("masker_i.w", "mask_scale"),
    rename("masker_i.b", "mask_shift"),
    *beats_rules("beats.", "audio_encoder."),
    ignore("beats.predictor.*", why="BEATs' classes, which nothing here asks for"),
    ignore("beats.mask_emb", why="stands for hidden patches in BEATs' pre-training"),
    ignore("clipseg.{name*}.position_ids", why="0, 1, 2, ...; made anew"),
    rename("clipseg.{name*}", "grounder.{name}"),
)


def convert(
    checkpoint: Checkpoint,
    variant: str | None = None,
    config: Mapping[str, Any] | None = None,
    parts: Mapping[str, CheckpointSource | None] | None = None,
) -> tuple[ACLForSoundLocalization, str, dict[str, Any]]:
    """Convert the three files; returns the model, its variant, and `processor` with `parts`, their origins.

    Args:
        variant: "vit16", the only one.
        config: override config values that can't be inferred from tensor shapes; those of BEATs and CLIPSeg under
            `audio_config` and `grounder_config`.
        parts: "beats", a file {'cfg', 'model'}; "clipseg", a file, a folder, or a name on the Hub. A folder tells its
            config and has the tokenizer.
    """
    parts, overrides = dict(parts or {}), dict(config or {})
    unknown = sorted(parts.keys() - {"beats", "clipseg"})
    if unknown:
        raise ValueError(f"acl_ssl has no part {unknown[0]!r}; it has: beats, clipseg.")
    missing = [name for name in ("beats", "clipseg") if parts.get(name) is None]
    if missing:
        repository = zoo.find_row("acl_ssl").parts[missing[0]].repository
        raise ValueError(
            f"acl_ssl needs the part {missing[0]!r}, a frozen network that {checkpoint.name} does not hold: pass "
            f"--part {missing[0]}=PATH, of {repository}."
        )
    beats, settings = unwrap(read_part("beats", parts["beats"]))
    parts["clipseg"] = find_clipseg(parts["clipseg"])
    clipseg = read_part("clipseg", parts["clipseg"])
    beats_tensors, clipseg_tensors = beats.state_dict(), clipseg.state_dict()
    refuse_different_tables(beats_tensors, beats.name)
    trained = flatten_entries(checkpoint)
    if trained.get("masker_i.w") is not None and not trained["masker_i.w"].any():
        raise ValueError(f"{checkpoint.name}: `masker_i.w` is 0, by which masks are divided: the file is damaged.")
    audio_overrides = dict(overrides.pop("audio_config", {}))
    audio = read_fields(beats_tensors, settings, beats.name) | audio_overrides
    grounder = read_clipseg_fields(clipseg, clipseg_tensors) | dict(overrides.pop("grounder_config", {}))
    fields = {
        "audio_config": make_config(audio, audio_overrides, beats.name),
        "grounder_config": CLIPSegConfig(**grounder),
        **overrides,
    }
    check_widths(trained, fields, checkpoint.name, beats.name, clipseg.name)
    tensors = {
        **trained,
        **{f"beats.{key}": value for key, value in beats_tensors.items()},
        **{f"clipseg.{key}": value for key, value in clipseg_tensors.items()},
    }
    with build_without_memory(len(tensors), checkpoint.name):  # no weight is drawn at random first
        model = ACLForSoundLocalization(ACLConfig(**fields))
    make_positions(model)
    model = load_weights(model, ACL_KEYMAP, tensors, f"{checkpoint.name} with {beats.name} and {clipseg.name}")
    model.freeze()
    origins = {
        "beats": {"file": beats.file, "sha256": beats.sha256},
        "clipseg": {"file": clipseg.file, "sha256": clipseg.sha256},
    }
    tokenizer = load_tokenizer(parts["clipseg"])
    model.processor_arguments = {"tokenizer": tokenizer}  # no JSON; the folder gets its files
    model.conversion_notes = note_assumptions(settings, beats.name)
    if tokenizer is None:
        model.conversion_notes.append(
            f"{clipseg.name} has no tokenizer, so no text can stand in place of a sound; --part clipseg=FOLDER of one "
            "that has vocab.json and merges.txt, or tokenizer.json, brings it"
        )
    return model, variant or "vit16", {"processor": {}, "parts": origins}


def read_part(part: str, source: CheckpointSource) -> Checkpoint:
    """A part's checkpoint, which messages call a part."""
    checkpoint = read_checkpoint(source)
    return replace(checkpoint, name=f"part {part} ({checkpoint.name})")


def flatten_entries(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The authors' two dictionaries as one, with their names before the keys.

    Raises:
        ValueError: one of them is missing.
    """
    for entry in ENTRIES_READ:
        if not isinstance(checkpoint.content.get(entry), Mapping):
            raise ValueError(
                f"{checkpoint.name} lacks the dictionary {entry!r}: it is none of ACL-SSL's {{'audio_proj', "
                "'masker_i'}."
            )
    tensors = {}
    for entry in ENTRIES_READ:
        state_dict = replace(checkpoint, content=checkpoint.content[entry]).state_dict()
        tensors |= {f"{entry}.{key}": value for key, value in state_dict.items()}
    return tensors


def find_clipseg(source: CheckpointSource) -> CheckpointSource:
    """A mapping, a file or a folder as it is; of a name on the Hub the folder, once downloaded.

    Raises:
        OSError: there is no such path, and no such name.
    """
    if is_hub_name(source):
        with explain_hub_errors(source):
            return download_weights(str(source), ["merges.txt"])
    return source


def load_tokenizer(source: CheckpointSource) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a CLIPSeg folder, or beside a file; None where there is none."""
    if isinstance(source, Mapping):
        return None
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return None
    with explain_damage(folder):
        return CLIPTokenizer.from_pretrained(folder)


def read_clipseg_fields(clipseg: Checkpoint, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Fields of CLIPSeg's config: of the folder's own, else by the shapes, with heads of 64 channels as CLIP has."""
    if "config.json" in clipseg.sidecar:
        names = CLIPSegConfig().to_dict().keys() - {"model_type", "architectures", "transformers_version", "dtype"}
        return {name: value for name, value in clipseg.sidecar["config.json"].items() if name in names}

    def shape(key: str, dimensions: int = 2) -> torch.Size:
        if key not in tensors:
            raise ValueError(f"{clipseg.name} lacks `{key}`: it is no CLIPSeg checkpoint, or cut short.")
        if tensors[key].ndim != dimensions or not tensors[key].numel():
            raise ValueError(
                f"{clipseg.name}: `{key}` must have {dimensions} dimensions, none of them 0, got "
                f"{tuple(tensors[key].shape)}. It is no CLIPSeg checkpoint, or damaged."
            )
        return tensors[key].shape

    def read_encoder(prefix: str) -> dict[str, Any]:
        intermediate_size, hidden_size = shape(f"{prefix}.encoder.layers.0.mlp.fc1.weight")
        layers = {key.split(".")[4] for key in tensors if key.startswith(f"{prefix}.encoder.layers.")}
        return {
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(1, hidden_size // 64),
        }

    vocab_size, _ = shape("clip.text_model.embeddings.token_embedding.weight")
    positions, _ = shape("clip.text_model.embeddings.position_embedding.weight")
    patch_size = shape("clip.vision_model.embeddings.patch_embedding.weight", 4)[-1]
    cells = shape("clip.vision_model.embeddings.position_embedding.weight")[0] - 1
    reduce_dim, projection_dim = shape("decoder.film_mul.weight")
    is_complex = "decoder.transposed_convolution.0.weight" in tensors
    return {
        "text_config": {
            **read_encoder("clip.text_model"),
            "vocab_size": vocab_size,
            "max_position_embeddings": positions,
        },
        "vision_config": {
            **read_encoder("clip.vision_model"),
            "patch_size": patch_size,
            "image_size": round(cells**0.5) * patch_size,
        },
        "projection_dim": projection_dim,
        "reduce_dim": reduce_dim,
        "decoder_intermediate_size": shape("decoder.layers.0.mlp.fc1.weight")[0],
        "use_complex_transposed_convolution": is_complex,
    }


def check_widths(trained: Mapping[str, torch.Tensor], fields: Mapping[str, Any], *names: str) -> None:
    """Raise a ValueError unless the embedder's two ends are as wide as BEATs' layers and CLIPSeg's words."""
    checkpoint, beats, clipseg = names
    for key in ("audio_proj.fc1.weight", "audio_proj.fc2.weight"):
        if key not in trained:
            raise ValueError(f"{checkpoint} lacks `{key}`: it is cut short, or of another method.")
        if trained[key].ndim != 2:
            raise ValueError(f"{checkpoint}: `{key}` must have 2 dimensions, got {tuple(trained[key].shape)}.")
    layers = fields.get("audio_layers", ACLConfig.audio_layers)
    heard, expected = trained["audio_proj.fc1.weight"].shape[-1], len(layers) * fields["audio_config"].hidden_size
    if heard != expected:
        raise ValueError(
            f"{checkpoint} was trained on audio features of {heard} channels, but {beats} gives {expected} "
            f"({len(layers)} layers of {fields['audio_config'].hidden_size}): it is another BEATs."
        )
    word, expected = trained["audio_proj.fc2.weight"].shape[0], fields["grounder_config"].text_config.hidden_size
    if word != expected:
        raise ValueError(
            f"{checkpoint} makes words of {word} channels, but those of {clipseg} have {expected}: it is another "
            "CLIPSeg."
        )


def make_positions(model: ACLForSoundLocalization) -> None:
    """Compute the position ids, which no file holds, of a model on the meta device."""
    for module in model.modules():
        if isinstance(getattr(module, "position_ids", None), torch.Tensor):
            count = module.position_ids.shape[-1]
            module.register_buffer("position_ids", torch.arange(count).expand((1, -1)), persistent=False)
