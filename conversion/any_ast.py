"""Any AST as a FlexiAST to train on: of this package, of transformers, or of AST's authors."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from avzoo.hub.errors import explain_hub_errors
from avzoo.models.flexiast.feature_extraction_flexiast import FlexiASTFeatureExtractor
from avzoo.models.flexiast.modeling_flexiast import FlexiASTForAudioClassification
from avzoo.pipelines.shared.saved_folders import explain_damage, load_checked_model

from . import convert_checkpoint
from .downloads import download_weights

logger = logging.getLogger(__name__)

_FILE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
_OWN_TYPES = ("flexiast", "coarse_to_fine_ast")
_SETTINGS = ("sampling_rate", "num_mel_bins", "max_length", "mean", "std", "do_normalize", "channels")


def load_any_ast(
    source: str | os.PathLike, *, variant: str | None = None
) -> tuple[FlexiASTForAudioClassification, FlexiASTFeatureExtractor]:
    """Load an AST for classification, and its feature extractor.

    Args:
        source: folder or Hub id of a FlexiAST, a coarse-to-fine AST (at full resolution then) or transformers' AST; or
            a checkpoint file of AST's or FlexiAST's authors, or a folder of one.
        variant: what a checkpoint that isn't this package's is converted to; see [`convert_checkpoint`].

    Raises:
        ValueError: a model of another type; and what [`convert_checkpoint`] raises.
        OSError: there is no such folder, file or repository, its weights are missing or damaged, or the Hub can't be
            reached; with the way out.
    """
    path = Path(source)
    if path.is_file() or path.suffix in _FILE_SUFFIXES or (path.is_dir() and not (path / "config.json").is_file()):
        return _convert(path, variant)
    with explain_damage(source), explain_hub_errors(source):
        model_type = AutoConfig.from_pretrained(source).model_type
        if model_type in _OWN_TYPES:
            model = load_checked_model(AutoModelForAudioClassification, source)
            extractor = AutoFeatureExtractor.from_pretrained(source)
            if model_type == "coarse_to_fine_ast":
                model.set_phase(1)
                model = model.to_flexiast()
                settings = extractor.to_dict()
                extractor = FlexiASTFeatureExtractor(**{name: settings[name] for name in _SETTINGS})
            return model, extractor
        if model_type != "audio-spectrogram-transformer":
            raise ValueError(f"`model` ({source}) is a {model_type}; an AST, FlexiAST or coarse-to-fine AST is needed.")
        return _convert(path if path.is_dir() else download_weights(str(source)), variant)


def _convert(source: Path, variant: str | None) -> tuple[FlexiASTForAudioClassification, FlexiASTFeatureExtractor]:
    model = convert_checkpoint("flexiast", source, variant=variant)
    extractor = FlexiASTFeatureExtractor(**model.config.avzoo_source["processor"])
    del model.config.avzoo_source  # of the file; what is trained is another model
    return model, extractor


def adapt_head(model: FlexiASTForAudioClassification, names: Sequence[str]) -> FlexiASTForAudioClassification:
    """`model.adapt_to_labels(names)`, after a line on stderr that says which classes come and go."""
    known = list(model.config.id2label.values())
    new, dropped = [name for name in names if name not in known], [name for name in known if name not in names]
    if new or dropped:
        changes = [
            f"{len(part)} {word} ({_shorten(part)})" for word, part in (("new", new), ("dropped", dropped)) if part
        ]
        logger.warning(f"the head changes from {len(known)} classes to {len(names)}: {', '.join(changes)}.")
    return model.adapt_to_labels(names)


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


__all__ = ["adapt_head", "load_any_ast"]
