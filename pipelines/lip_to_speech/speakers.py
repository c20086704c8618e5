"""Whose voice a face gets: what is given as `speaker` to what the network takes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
import torch

from avzoo.audio import read_audio
from avzoo.checks import check_whole_number
from avzoo.models.ltbs import LTBSForLipToSpeech
from avzoo.pipelines.shared.face_videos import name_file
from avzoo.pipelines.shared.recordings import read_once, wrap_recording
from avzoo.pipelines.speaker_verification.enrolment import RecordingEmbedding
from avzoo.pipelines.speaker_verification.pipeline import SpeakerVerificationPipeline
from avzoo.video import Track

MIN_SECONDS = 0.5  # of a speaker sample
SILENCE = 1e-4  # peak below which nobody is heard, -80 dB of full scale
_ROW_KEYS = ("array", "bytes", "path", "raw")  # of a recording that is a row of a data set
MEAN_VOICE = "the mean voice of the training"


@dataclass(frozen=True)
class Voice:
    """A voice.

    Args:
        name: in words.
        inputs: of the network's `generate`, of one clip.
    """

    name: str
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)


class VoiceReader:
    """Reads speakers for one network.

    Args:
        model: the network.
        encoder: of recordings; None: they are refused.
    """

    def __init__(self, model: LTBSForLipToSpeech, encoder: SpeakerVerificationPipeline | None):
        self.model, self.encoder, self.config = model, encoder, model.config

    def read(self, speaker: Any, sampling_rate: int | None = None) -> Voice | list[Voice] | dict[int, Voice]:
        """One voice for all faces; or those of a list in the order of faces, or of a mapping by their numbers.

        Args:
            speaker: see [`avzoo.pipelines.lip_to_speech.pipeline.LipToSpeechPipeline`].
            sampling_rate: of bare samples, Hz. None: the encoder's.

        Raises:
            TypeError, ValueError: what can't be a voice of this network; and what reading a recording raises.
        """
        if isinstance(speaker, Mapping) and not any(key in speaker for key in _ROW_KEYS):
            if not speaker:
                raise ValueError("`speaker` names no face.")
            for face in speaker:
                check_whole_number("speaker", face, at_least=0, unit="(the number of a face)")
            return {int(face): self._read_one(one, sampling_rate, f"speaker[{face}]") for face, one in speaker.items()}
        if isinstance(speaker, list | tuple) and not (speaker and isinstance(speaker[0], float)):
            if not speaker:
                raise ValueError("`speaker` is empty; name a speaker for each face.")
            return [self._read_one(one, sampling_rate, f"speaker[{place}]") for place, one in enumerate(speaker)]
        return self._read_one(speaker, sampling_rate, "speaker")

    def _read_one(self, speaker: Any, sampling_rate: int | None, name: str) -> Voice:
        if speaker is None:
            return self._choose_voice(name)
        if self.config.speaker_conditioning == "none":
            raise ValueError(f"`{name}`: this network has one voice and knows no speakers; leave it out.")
        if isinstance(speaker, Integral) and not isinstance(speaker, bool):
            return self._take_row(int(speaker), name)
        if isinstance(speaker, RecordingEmbedding):
            return self._take_embedding(speaker.speaker.mean(0), name)
        if isinstance(speaker, np.ndarray | torch.Tensor | list | tuple):
            values = np.asarray(speaker.numpy(force=True) if isinstance(speaker, torch.Tensor) else speaker)
            if values.size == self.config.given_speaker_dim and values.shape[-1] == values.size:
                return self._take_embedding(values.reshape(-1), name)
            self._check_samples(values, sampling_rate, name)
            speaker = values
        return self._encode(speaker, sampling_rate, name)

    def _choose_voice(self, name: str) -> Voice:
        """What is taken where nobody is named."""
        config = self.config
        if config.speaker_conditioning == "none":
            return Voice("the network's own")
        if config.speaker_conditioning == "table":
            if config.num_speakers == 1:
                return self._take_row(0, name)
            raise ValueError(
                f"`{name}` is missing: this network speaks with {config.num_speakers} voices; give the row of one, 0 "
                f"to {config.num_speakers - 1}, or an embedding of {config.given_speaker_dim} values."
            )
        mean = self.model.ltbs.mean_speaker
        if not mean.any():
            raise ValueError(
                f"`{name}` is missing, and this network keeps no mean voice of its training. Give a recording of a "
                f"voice, at least {MIN_SECONDS:g} s, or an embedding of {config.given_speaker_dim} values."
            )
        return Voice(MEAN_VOICE, {"speaker_embeddings": mean[None].clone()})

    def _take_row(self, row: int, name: str) -> Voice:
        config = self.config
        if config.speaker_conditioning != "table":
            raise ValueError(
                f"`{name}` is row {row}, and this network has no table of speakers; give a recording or an embedding."
            )
        check_whole_number(name, row, at_least=0, at_most=config.num_speakers - 1)
        return Voice(f"row {row}", {"speaker_ids": torch.tensor([row])})

    def _take_embedding(self, values: np.ndarray, name: str, words: str = "an embedding") -> Voice:
        if values.dtype.kind not in "fiu":
            raise TypeError(f"`{name}` must be an embedding of numbers, got {values.dtype}.")
        if not np.isfinite(values).all() or not values.any():
            wrong = "is 0 throughout" if np.isfinite(values).all() else "has values that are NaN or infinite"
            raise ValueError(f"`{name}`: the embedding {wrong}.")
        return Voice(words, {"speaker_embeddings": torch.tensor(values, dtype=torch.float32)[None]})

    def _check_samples(self, values: np.ndarray, sampling_rate: int | None, name: str) -> None:
        """Tell an embedding of another width from a recording."""
        rate = sampling_rate or (16000 if self.encoder is None else self.encoder.rate)
        if values.shape[-1:] < (round(MIN_SECONDS * rate),):
            raise ValueError(
                f"`{name}` is of shape {values.shape}: neither an embedding of this network, which has "
                f"{self.config.given_speaker_dim} values, nor samples of at least {MIN_SECONDS:g} s, "
                f"{round(MIN_SECONDS * rate)} at {rate} Hz."
            )

    def _encode(self, recording: Any, sampling_rate: int | None, name: str) -> Voice:
        if self.config.speaker_conditioning == "table":
            raise ValueError(
                f"`{name}` is a recording, and this network knows voices of a table only; give the row of one, 0 to "
                f"{self.config.num_speakers - 1}."
            )
        if self.encoder is None:
            raise ValueError(
                f"`{name}` is a recording, and nothing here can tell its voice: pass `speaker_encoder`, a model for "
                f"x-vectors of {self.config.given_speaker_dim} values that the network learned with, or an embedding."
            )
        source = wrap_recording(read_once(recording), sampling_rate or self.encoder.rate)
        samples, rate = read_audio(source, self.encoder.rate, channels=self.encoder.channels, name=name)
        label = f"`{name}`{name_file(recording)}"
        if len(samples) < MIN_SECONDS * rate:
            raise ValueError(f"{label} is too short: {len(samples) / rate:.3f} s, a voice needs {MIN_SECONDS:g} s.")
        if np.abs(samples).max() < SILENCE:
            raise ValueError(f"{label} is silent: nobody is heard whose voice could be taken.")
        found = next(self.encoder.embed([{"array": samples, "sampling_rate": rate}], names=[name])).speaker.mean(0)
        if len(found) != self.config.given_speaker_dim:
            raise ValueError(
                f"`speaker_encoder` makes embeddings of {len(found)} values, this network takes "
                f"{self.config.given_speaker_dim}; pass the encoder that it was trained with."
            )
        file = os.path.basename(recording) if isinstance(recording, str | os.PathLike) else "a recording"
        return self._take_embedding(found, name, file)


def assign_voices(voices: Voice | list[Voice] | dict[int, Voice], tracks: Sequence[Track]) -> list[Voice]:
    """The voice of each track.

    Raises:
        ValueError: there are more or fewer voices than faces, or a mapping leaves out a face or names another.
    """
    faces = [track.track_id for track in tracks]
    if isinstance(voices, Voice):
        return [voices] * len(faces)
    if isinstance(voices, dict):
        if set(voices) != set(faces):
            raise ValueError(f"`speaker` is of the faces {sorted(voices)}, those that were found are {sorted(faces)}.")
        return [voices[face] for face in faces]
    if len(voices) != len(faces):
        raise ValueError(
            f"`speaker` lists {len(voices)} voices, and the faces that were found are {faces}. Give one voice for "
            "each, one alone for all, or choose faces by `max_faces` or `faces`."
        )
    return voices


__all__ = ["MEAN_VOICE", "MIN_SECONDS", "Voice", "VoiceReader", "assign_voices"]
