"""Speaker verification: two recordings, one person? And who of the enrolled people speaks, when?"""

import hashlib
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModelForAudioXVector
from transformers.pipelines.base import Pipeline

from avzoo.audio import iter_audio, read_audio
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.metrics.trial_scoring import PROTOCOLS, cut_crops, score_trials
from avzoo.models.session_embedding.configuration_session_embedding import SpeakerEncoderConfig
from avzoo.pipelines.shared.recordings import cut_windows, wrap_recording
from avzoo.pipelines.speaker_verification.decisions import DecisionRule
from avzoo.pipelines.speaker_verification.enrolment import Enrolments, RecordingEmbedding

# Longest recordings that are embedded as a whole. No utterance of VoxCeleb is longer than the first; models of
# transformers need memory for every pair of frames.
MAX_SECONDS, MAX_SECONDS_OF_TRANSFORMERS = 150.0, 30.0
UNKNOWN = "unknown"
_PAIRS_AT_ONCE = 64  # of a stream


class SpeakerVerificationPipeline(Pipeline):
    """`transformers.pipeline("speaker-verification")`: does one person speak in both recordings?

        verify = pipeline("speaker-verification", model=folder)
        verify("a.wav", "b.wav")["meaning"]
        verify.enroll({"anna": ["a1.wav", "a2.wav"], "ben": "b.wav"})
        for part in verify.identify("meeting.wav"):
            print(part["start"], part["end"], part["label"])

    The model is a `SessionEmbeddingForXVector`, a `SpeakerEncoderForXVector`, or one for x-vectors of transformers
    (WavLM, wav2vec2, ...) with its own feature extractor. Without a session part the session similarity is None, and
    the score is the speaker similarity.

    A recording is a path or URL, the bytes of a file, samples at `sampling_rate`, a row {"array", "sampling_rate"}, or
    an embedding that `embed` returned; any container, rate and channel count. Recordings longer than `max_seconds` are
    read in blocks and embedded window by window, so memory does not grow with their length; their embedding is the mean
    of the windows' embeddings, each of length 1.

    Parameters, at construction or at each call:
        threshold: score from which it is one speaker. None: the model's; if it has none, nothing is decided.
        max_seconds: a recording up to this length is embedded as a whole. None: 150, of transformers' models 30.
        sampling_rate: in Hz, of bare samples. None: the model's rate.
        batch_size: recordings, or windows, per forward pass.

    Returns, for two recordings, a dict:
        speaker_similarity, session_similarity: cosines.
        score: the first corrected by the second, as the model's compensation has it.
        same_speaker: whether the score reaches the threshold; None without a threshold.
        threshold: the one that decided.
        meaning: all this in words; also what the model lacks, of which a warning tells once.

    Raises:
        ValueError: a recording that is shorter than the model needs, digital silence, or has NaN samples; what reading
            it raises.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    @classmethod
    def register(cls, registry) -> None:
        """Serve this task in `registry`, a transformers `PipelineRegistry`."""
        # Not by register_pipeline: what it enters saves its module beside the weights, as if it was installed nowhere.
        task = {"impl": cls, "pt": (AutoModelForAudioXVector,), "type": "audio"}
        registry.supported_tasks.setdefault("speaker-verification", task)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.feature_extractor is None or self.model.main_input_name != "input_values":
            raise ValueError(
                f"`model`: a {type(self.model).__name__} with "
                f"{'no' if self.feature_extractor is None else 'another'} feature extractor; expected a model of "
                "`input_values` (waveforms), with its preprocessor_config.json."
            )
        self.enrolled = Enrolments()
        self._told: set[str] = set()

    def __call__(self, first: Any, second: Any = None, batch_size: int | None = None, **parameters: Any) -> Any:
        """Compare two recordings, or many pairs.

        Args:
            first, second: a recording each; or lists of as many. Without `second`, `first` is a pair {"first",
                "second"}, or pairs of that form or (first, second): a list gives a list; a dataset or another stream
                gives an iterator.
            parameters: see the class. A recording in several pairs of a list is embedded once.
        """
        settings = self._settle(parameters) | {"batch_size": self._batch_size if batch_size is None else batch_size}
        if isinstance(second, list | tuple) and isinstance(first, list | tuple):
            if len(first) != len(second):
                raise ValueError(f"`first` and `second` must be as many, got {len(first)} and {len(second)}.")
            return self._compare_pairs(list(zip(first, second, strict=True)), **settings)
        if second is not None:
            return self._compare_pairs([(first, second)], **settings)[0]
        if isinstance(first, Mapping):
            return self._compare_pairs([_take_pair(first)], **settings)[0]
        if isinstance(first, list | tuple):
            return self._compare_pairs([_take_pair(pair) for pair in first], **settings)
        if isinstance(first, str | bytes | os.PathLike | np.ndarray | torch.Tensor) or not _is_stream(first):
            raise TypeError(f"`second` is missing: `first` is one recording ({type(first).__name__}), and no pairs.")
        return self._stream_pairs(first, settings)

    def enroll(
        self, people: Mapping[str, Any], replace: bool = False, batch_size: int | None = None, **parameters: Any
    ) -> None:
        """Remember the voices of people; `enrolled.names` lists them.

        Args:
            people: {name: a recording or a list of recordings}.
            replace: forget the earlier recordings of a name that is enrolled.
            parameters: see the class.

        Raises:
            ValueError: nobody, a name without recordings, or one that is enrolled and `replace` is false; what a
                recording raises. Then nobody is enrolled.
        """
        settings = self._settle(parameters)
        if not isinstance(people, Mapping):
            raise TypeError(f"`people` must be {{name: recordings}}, got {type(people).__name__}.")
        if not people:
            raise ValueError("`people` names nobody.")
        found = {}
        for name, recordings in people.items():
            if not isinstance(name, str) or name in ("", UNKNOWN):
                raise ValueError(f"`people`: a name must be text other than {UNKNOWN!r}, got {name!r}.")
            if name in self.enrolled.names and not replace:
                raise ValueError(
                    f"`people`: {name!r} is enrolled already; pass replace=True to forget the earlier one."
                )
            recordings = list(recordings) if isinstance(recordings, list | tuple) else [recordings]
            if not recordings or isinstance(recordings[0], float | int):
                raise ValueError(f"`people`: {name!r} needs a recording or a list of them; wrap samples in an array.")
            found[name] = recordings
        everything = [recording for recordings in found.values() for recording in recordings]
        names = [
            f"{name}[{index}]" if len(recordings) > 1 else name
            for name, recordings in found.items()
            for index in range(len(recordings))
        ]
        settings.pop("threshold", None)
        embeddings = iter(self._embed_unknown(everything, names, batch_size=batch_size, **settings))
        for name, recordings in found.items():
            self.enrolled.add(name, list(itertools.islice(embeddings, len(recordings))))

    def identify(
        self,
        recording: Any,
        window: float = 3.0,
        hop: float = 1.5,
        batch_size: int | None = None,
        **parameters: Any,
    ) -> list[dict[str, Any]]:
        """Who of the enrolled people speaks in each window of a recording.

        Args:
            recording: of any length; a recording shorter than a window is one window.
            window, hop: length and distance of windows, seconds; the last window ends with the recording.
            parameters: see the class.

        Returns:
            A record per window: `start`, `end` (seconds); `label`, the name, or "unknown" if the score stays below the
            threshold; `best`, whose score is highest; `score`, `speaker_similarity` and `session_similarity` to that
            person. Windows of digital silence are left out.

        Raises:
            ValueError: nobody is enrolled; `window` is shorter than the model needs; and as the class.
        """
        if not len(self.enrolled):
            raise ValueError("nobody is enrolled; call `enroll({name: recordings})` first.")
        settings = self._settle(parameters)
        rule, rate = self.find_rule(settings.get("threshold")), self.rate
        check_number("window", window, at_least=self.shortest_seconds, at_most=self.max_seconds, unit="seconds")
        check_number("hop", hop, above=0, at_most=window, unit="seconds")
        self._warn(rule)
        source = wrap_recording(recording, settings.get("sampling_rate") or rate)
        spoken = (
            ((start, start + len(samples)), samples)
            for start, samples, _ in self._cut(source, round(window * rate), round(hop * rate), "recording")
            if np.ptp(samples) > 0
        )
        records = []
        for (start, end), speaker, session in self._embed_windows(spoken, batch_size or self._batch_size or 8):
            session = None if session is None else session[None]
            comparison = self.enrolled.compare(speaker[None], session, rule)
            best = int(np.argmax(comparison.score[:, 0]))
            score = float(comparison.score[best, 0])
            similarity = comparison.session_similarity
            records.append(
                {
                    "start": start / rate,
                    "end": end / rate,
                    "label": UNKNOWN if rule.decide(score) is False else self.enrolled.names[best],
                    "best": self.enrolled.names[best],
                    "score": score,
                    "speaker_similarity": float(comparison.speaker_similarity[best, 0]),
                    "session_similarity": None if similarity is None else float(similarity[best, 0]),
                }
            )
        return records

    def embed(
        self,
        recordings: Iterable[Any],
        protocol: Literal["full", "crops-cosine", "crops-distance"] = "full",
        batch_size: int | None = None,
        names: Sequence[str] | None = None,
        max_seconds: float | None = None,
        sampling_rate: int | None = None,
    ) -> Iterator[RecordingEmbedding]:
        """Embeddings of recordings one after another, in their order, as they are computed.

        Args:
            protocol: "full", or the ten crops of trainers on VoxCeleb, see [`avzoo.metrics.trial_scoring`].
            names: what errors call the recordings.
            max_seconds, sampling_rate: see the class.
        """
        check_choice("protocol", protocol, PROTOCOLS)
        max_seconds = self.max_seconds if max_seconds is None else max_seconds
        facts: list[tuple[float, str]] = []  # of the recordings that were read

        def cut_all() -> Iterator[tuple[int, np.ndarray]]:
            for index, recording in enumerate(recordings):
                name = names[index] if names else f"recordings[{index}]"
                source = wrap_recording(recording, sampling_rate or self.rate)
                digest, length, low, high = hashlib.sha256(), 0, np.inf, -np.inf
                windows = self._cut_whole(source, max_seconds, name) if protocol == "full" else ()
                if protocol != "full":
                    samples, _ = read_audio(source, self.rate, channels=self.channels, name=name)
                    self._check_length(len(samples), source, name)
                    digest, length, low, high = hashlib.sha256(samples), len(samples), samples.min(), samples.max()
                    windows = ((0, crop) for crop in cut_crops(samples))
                for start, window in windows:
                    if protocol == "full":
                        digest.update(window[length - start :])  # what the window before did not have
                        length = start + len(window)
                        low, high = min(low, window.min()), max(high, window.max())
                    yield index, window
                if low == high:
                    raise ValueError(f"{_label(source, name)} is silent: all its samples are equal; nobody is heard.")
                facts.append((length / self.rate, digest.hexdigest()))

        embedded = self._embed_windows(cut_all(), batch_size or self._batch_size or 8)
        for index, rows in itertools.groupby(embedded, key=lambda row: row[0]):
            _, speaker, session = zip(*rows, strict=True)
            speaker, session = np.stack(speaker), None if session[0] is None else np.stack(session)
            if protocol == "full":
                speaker, session = _average(speaker), None if session is None else _average(session)
            yield RecordingEmbedding(speaker, session, *facts[index])

    def find_rule(self, threshold: float | None = None) -> DecisionRule:
        """How the model decides; `threshold` stands for its own if given."""
        return DecisionRule.from_config(self.model.config, threshold)

    @property
    def rate(self) -> int:
        """Sampling rate of the model, Hz."""
        return self.feature_extractor.sampling_rate

    @property
    def channels(self) -> str:
        """How several channels become one."""
        return getattr(self.feature_extractor, "channels", "mean")  # transformers' own extractors take one channel

    @property
    def encoder_config(self) -> Any:
        """Config of the network that makes speaker embeddings."""
        return getattr(self.model.config, "encoder_config", self.model.config)

    @property
    def shortest_seconds(self) -> float:
        """Length that a recording needs."""
        config = self.encoder_config
        if isinstance(config, SpeakerEncoderConfig):
            shortest = config.shortest_samples / self.rate
        else:  # two frames behind the last layer, of which the standard deviation is taken
            frames = 2
            for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True):
                frames += dilation * (kernel - 1)
            for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
                frames = (frames - 1) * stride + kernel
            shortest = frames / self.rate
        return max(shortest, getattr(self.feature_extractor, "min_seconds", 0.0))

    @property
    def max_seconds(self) -> float:
        """Length up to which a recording is embedded as a whole, unless a call says otherwise."""
        is_ours = isinstance(self.encoder_config, SpeakerEncoderConfig)
        return MAX_SECONDS if is_ours else MAX_SECONDS_OF_TRANSFORMERS

    @property
    def can_pad(self) -> bool:
        """Whether a recording in a padded batch gives what it gives alone; else batches are of one length."""
        return isinstance(self.encoder_config, SpeakerEncoderConfig) and self.encoder_config.mask_padding

    # The steps of a transformers pipeline, of a batch of windows.

    def _sanitize_parameters(self, **parameters) -> tuple[dict, dict, dict]:
        unknown = parameters.keys() - {"threshold", "max_seconds", "sampling_rate"}
        if unknown:
            raise TypeError(f"speaker-verification has no parameter {sorted(unknown)[0]!r}.")
        if parameters.get("threshold") is not None:
            check_number("threshold", parameters["threshold"])
        if parameters.get("max_seconds") is not None:
            check_number("max_seconds", parameters["max_seconds"], at_least=1, unit="seconds")
        if parameters.get("sampling_rate") is not None:
            check_whole_number("sampling_rate", parameters["sampling_rate"], at_least=1, unit="Hz")
        return {}, {}, parameters

    def preprocess(self, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
        inputs = self.feature_extractor(waveforms, sampling_rate=self.rate, return_tensors="pt")
        if not isinstance(self.encoder_config, SpeakerEncoderConfig):  # ours take samples in float32
            inputs["input_values"] = inputs["input_values"].to(self.model.dtype)
        return dict(inputs)

    def _forward(self, model_inputs: dict[str, torch.Tensor]) -> Any:
        return self.model(**model_inputs, return_dict=True)

    def postprocess(self, model_outputs: Any) -> tuple[np.ndarray, np.ndarray | None]:
        speaker, session = model_outputs["embeddings"], model_outputs.get("session_embeddings")
        return speaker.float().numpy(), None if session is None else session.float().numpy()

    # What is below serves the public methods.

    def _settle(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._postprocess_params, **self._sanitize_parameters(**parameters)[2]}

    def _warn(self, rule: DecisionRule) -> None:
        for note in rule.notes:
            if note not in self._told:
                self._told.add(note)
                warnings.warn(f"{note[0].upper()}{note[1:]}.", stacklevel=3)

    def _cut_whole(self, source: Any, max_seconds: float, name: str) -> Iterator[tuple[int, np.ndarray]]:
        window = round(max_seconds * self.rate)
        return ((start, samples) for start, samples, _ in self._cut(source, window, window, name))

    def _cut(self, source: Any, window: int, hop: int, name: str) -> Iterator[tuple[int, np.ndarray, bool]]:
        """As [`cut_windows`]; a ValueError if the recording is too short."""
        blocks = iter_audio(source, self.rate, channels=self.channels, name=name)
        for start, samples, is_last in cut_windows(blocks, window, hop):
            self._check_length(len(samples), source, name)
            yield start, samples, is_last

    def _check_length(self, num_samples: int, source: Any, name: str) -> None:
        if num_samples < self.shortest_seconds * self.rate:
            raise ValueError(
                f"{_label(source, name)} is too short: {num_samples / self.rate:.3f} s, the model needs "
                f"{self.shortest_seconds:g} s."
            )

    def _embed_windows(
        self, windows: Iterable[tuple[Any, np.ndarray]], batch_size: int
    ) -> Iterator[tuple[Any, np.ndarray, np.ndarray | None]]:
        """(key, speaker embedding, session embedding) of each (key, samples), in batches.

        A batch of several, with its padding, holds no more samples than `max_seconds` of this model.
        """
        check_whole_number("batch_size", batch_size, at_least=1)
        batch: list[tuple[Any, np.ndarray]] = []
        for key, samples in windows:
            longest = max((len(samples), *(len(waiting) for _, waiting in batch)))
            is_full = len(batch) == batch_size or longest * (len(batch) + 1) > self.max_seconds * self.rate
            if batch and (is_full or not (self.can_pad or len(samples) == len(batch[0][1]))):
                yield from self._embed_batch(batch)
                batch = []
            batch.append((key, samples))
        if batch:
            yield from self._embed_batch(batch)

    def _embed_batch(self, batch: list[tuple[Any, np.ndarray]]) -> Iterator[tuple[Any, np.ndarray, np.ndarray | None]]:
        keys, waveforms = zip(*batch, strict=True)
        speaker, session = self.postprocess(self.forward(self.preprocess(list(waveforms))))
        return zip(keys, speaker, [None] * len(keys) if session is None else session, strict=True)

    def _embed_unknown(self, recordings: list[Any], names: list[str], **settings: Any) -> list[RecordingEmbedding]:
        """The embeddings of recordings, some of which may be embeddings already."""
        fresh = [row for row, recording in enumerate(recordings) if not isinstance(recording, RecordingEmbedding)]
        made = self.embed([recordings[row] for row in fresh], names=[names[row] for row in fresh], **settings)
        made = dict(zip(fresh, made, strict=True))
        return [made.get(row, recording) for row, recording in enumerate(recordings)]

    def _stream_pairs(self, pairs: Iterable[Any], settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pairs = map(_take_pair, pairs)
        while some := list(itertools.islice(pairs, _PAIRS_AT_ONCE)):
            yield from self._compare_pairs(some, **settings)

    def _compare_pairs(
        self, pairs: list[tuple[Any, Any]], batch_size: int | None, threshold: float | None = None, **settings: Any
    ) -> list[dict[str, Any]]:
        if not pairs:
            raise ValueError("`first` holds no pairs.")
        rule = self.find_rule(threshold)
        self._warn(rule)
        rows: dict[Any, int] = {}  # a path, or a thing in memory -> its row
        recordings, names = [], []
        indices = np.empty((len(pairs), 2), dtype=np.int64)
        for index, pair in enumerate(pairs):
            for side, recording in enumerate(pair):
                key = os.fspath(recording) if isinstance(recording, str | os.PathLike) else id(recording)
                if key not in rows:
                    rows[key] = len(rows)
                    name = ("first", "second")[side]
                    recordings.append(recording)
                    names.append(name if len(pairs) == 1 else f"{name}[{index}]")
                indices[index, side] = rows[key]
        table = self._embed_unknown(recordings, names, batch_size=batch_size, **settings)
        speaker = score_trials(np.stack([row.speaker for row in table]), indices, "full")
        session = [None] * len(pairs)
        if table[0].session is not None:
            session = score_trials(np.stack([row.session for row in table]), indices, "full").tolist()
        return [
            rule.answer(s, q, table[first].sha256 == table[second].sha256)
            for s, q, (first, second) in zip(speaker.tolist(), session, indices, strict=True)
        ]


def _take_pair(pair: Any) -> tuple[Any, Any]:
    """(first, second) of a mapping, or of a sequence of two."""
    if isinstance(pair, Mapping) and {"first", "second"} <= pair.keys():
        return pair["first"], pair["second"]
    if not isinstance(pair, list | tuple) or len(pair) != 2 or isinstance(pair[0], float | int):
        raise TypeError(
            "`first` without `second` must be pairs, (first, second) or {'first', 'second'}; got one of "
            f"{type(pair).__name__}."
        )
    return pair[0], pair[1]


def _is_stream(pairs: Any) -> bool:
    return hasattr(pairs, "__iter__") or hasattr(pairs, "__getitem__")


def _average(rows: np.ndarray) -> np.ndarray:
    """The mean of rows, each of length 1, as one row; a single row as it is."""
    return rows if len(rows) == 1 else (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(0, keepdims=True)


def _label(source: Any, name: str) -> str:
    return f"`{name}` ({os.path.basename(source)})" if isinstance(source, str | os.PathLike) else f"`{name}`"


__all__ = ["MAX_SECONDS", "UNKNOWN", "SpeakerVerificationPipeline"]
