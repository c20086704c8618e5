"""What lip to speech needs beside its model: a vocoder, and an encoder of speaker samples.

Each is given as an argument, or lies in a subfolder of the model's folder or repository, `vocoder` or
`speaker_encoder`, of which the same revision is taken.
"""

import os
from typing import Any

from torch import nn
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from avzoo.audio import MelSettings
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.layers.vocoding import check_vocoder, load_vocoder
from avzoo.models.session_embedding import (
    SessionEmbeddingForXVector,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
)
from avzoo.pipelines.speaker_verification.pipeline import SpeakerVerificationPipeline

VOCODER, SPEAKER_ENCODER = "vocoder", "speaker_encoder"
_OWN_ENCODERS = {cls.config_class.model_type: cls for cls in (SessionEmbeddingForXVector, SpeakerEncoderForXVector)}


def find_part(model: PreTrainedModel, name: str) -> dict[str, Any] | None:
    """Find a part that was saved or uploaded with a model.

    Returns:
        {"source", "subfolder", "revision"}, what `from_pretrained` takes; None where there is no such part, or the
        model came from no folder.
    """
    source, revision = model.config._name_or_path, getattr(model, "loaded_revision", None)
    if not source:
        return None
    quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(source, "config.json", subfolder=name, revision=revision, **quietly)
    return None if found is None else {"source": source, "subfolder": name, "revision": revision}


def choose_vocoder(vocoder: Any, model: PreTrainedModel, mel: MelSettings) -> PreTrainedModel:
    """The vocoder that is given, or that lies with the model; else Griffin and Lim's algorithm, which needs no weights.

    Args:
        vocoder: a folder, a name on the Hub, a `SpeechT5HifiGan`, a `GriffinLimVocoder`, or None.
        mel: of the model's spectrograms.

    Raises:
        TypeError: `vocoder` is none of these.
        ValueError: it takes other spectrograms than the model makes. What loading raises.
    """
    if isinstance(vocoder, str | os.PathLike):
        return load_vocoder(os.fspath(vocoder), mel)
    if vocoder is not None:
        if not isinstance(vocoder, nn.Module) or not hasattr(vocoder, "config"):
            raise TypeError(
                "`vocoder` must be a folder, a name on the Hub, a SpeechT5HifiGan or a GriffinLimVocoder, got "
                f"{type(vocoder).__name__}."
            )
        # The model is named, or its folder would be reported as damaged.
        check_vocoder(vocoder.config, mel, model_name=model.config._name_or_path or None)
        return vocoder.eval()
    place = find_part(model, VOCODER)
    if place is not None:
        return load_vocoder(place.pop("source"), mel, **place)
    return GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(mel)).eval()


def choose_speaker_encoder(encoder: Any, model: PreTrainedModel, device: Any) -> SpeakerVerificationPipeline | None:
    """The speaker encoder that is given, or that lies with the model; None where there is none.

    Args:
        encoder: a folder, a name on the Hub, a model for x-vectors of avzoo or transformers, a
            [`SpeakerVerificationPipeline`], or None.
        device: where it computes.

    Raises:
        TypeError: `encoder` is none of these. ValueError: no model for x-vectors, weights are missing, or a model in
            memory without a feature extractor. What loading raises.
    """
    if isinstance(encoder, str | os.PathLike):
        return load_speaker_encoder(os.fspath(encoder), device)
    if encoder is None:
        place = find_part(model, SPEAKER_ENCODER)
        return None if place is None else load_speaker_encoder(place.pop("source"), device, **place)
    if isinstance(encoder, SpeakerVerificationPipeline):
        return encoder
    if not isinstance(encoder, PreTrainedModel):
        raise TypeError(
            "`speaker_encoder` must be a folder, a name on the Hub, a model for x-vectors or a "
            f"SpeakerVerificationPipeline, got {type(encoder).__name__}."
        )
    if encoder.config.model_type in _OWN_ENCODERS:
        extractor = SpeakerFeatureExtractor()
    elif encoder.config._name_or_path:
        extractor = AutoFeatureExtractor.from_pretrained(encoder.config._name_or_path)
    else:
        raise ValueError(
            f"`speaker_encoder`: this {type(encoder).__name__} has no feature extractor. Pass its folder, or "
            "SpeakerVerificationPipeline(model=..., feature_extractor=...)."
        )
    return SpeakerVerificationPipeline(model=encoder.eval(), feature_extractor=extractor, device=device)


def load_speaker_encoder(source: str, device: Any, **place: Any) -> SpeakerVerificationPipeline:
    """Load a model for x-vectors, of avzoo or of transformers, with its feature extractor.

    Args:
        source: a folder or a name on the Hub.
        device: where it computes.
        place: `subfolder` and `revision` of `from_pretrained`.

    Raises:
        ValueError: no model for x-vectors, or weights are missing. OSError: no config.json. What loading raises.
    """
    config, _ = PreTrainedConfig.get_config_dict(source, **place)
    label = os.path.join(source, place["subfolder"]) if place else source
    if not config:
        raise OSError(f"`speaker_encoder`: `{label}` has no config.json; expected the folder of a model for x-vectors.")
    kind, names = config.get("model_type"), config.get("architectures") or ["network of an unknown class"]
    if kind not in _OWN_ENCODERS and not any(name.endswith("ForXVector") for name in names):
        raise ValueError(
            f"`speaker_encoder`: `{label}` holds a {names[0]}, expected a model for x-vectors, such as "
            f"{', '.join(cls.__name__ for cls in _OWN_ENCODERS.values())} or WavLMForXVector."
        )
    # By their classes, because where avzoo is not installed Auto classes don't know them.
    model_class = _OWN_ENCODERS.get(kind, AutoModelForAudioXVector)
    extractor_class = SpeakerFeatureExtractor if kind in _OWN_ENCODERS else AutoFeatureExtractor
    model, report = model_class.from_pretrained(source, **place, output_loading_info=True)
    if report["missing_keys"]:
        first = sorted(report["missing_keys"])[0]
        raise ValueError(f"`{label}` lacks {len(report['missing_keys'])} weights of its model, the first is {first}.")
    extractor = extractor_class.from_pretrained(source, **place)
    return SpeakerVerificationPipeline(model=model.eval(), feature_extractor=extractor, device=device)


__all__ = [
    "SPEAKER_ENCODER",
    "VOCODER",
    "choose_speaker_encoder",
    "choose_vocoder",
    "find_part",
    "load_speaker_encoder",
]
