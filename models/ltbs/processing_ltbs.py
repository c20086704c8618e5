"""Videos of a mouth to what LTBS sees, and recordings to what it is trained on.

Facts: YangKangJNU/LTBS@6c977e1 (`src/dataset.py`, `src/stft.py`, `src/utils.py`), choijeongsoo/lip2speech-unit@0c96388.
Where the settings differ from theirs, the field says so.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import BatchFeature

from avzoo.audio import (
    MelSettings,
    decimate_pitch,
    estimate_pitch,
    normalize_peak,
    normalize_pitch,
    read_audio,
    stft_energy,
)
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import SavedProcessorMixin, is_single_recording, list_items, name_items
from avzoo.video import MouthSquare, Track, VideoReader, crop_track, resize_as_opencv

from .configuration_ltbs import LTBSConfig
from .loss_ltbs import IGNORED
from .speech_units import check_units

ENERGY_FLOOR = 0.01  # of FastSpeech 2's energy, before the logarithm; speech at peak 0.9 has 1 to 100


class LTBSProcessor(SavedProcessorMixin):
    """Videos to `pixel_values`, recordings to `mel_labels`, `pitch_labels` and `energy_labels`, units to `unit_labels`.

        inputs = processor("silent.mp4", tracks=track)  # of avzoo.video.find_face_tracks
        inputs.pixel_values  # (1, frames, 88, 88), uint8, 25 frames per second
        batch = processor(["a.mp4", "b.mp4"], audio=["a.wav", "b.wav"], units=[units_a, units_b], tracks=[...])

    Args:
        crop_size: side of what the network sees, pixels, cut from the middle of a mouth.
        mouth_size: side of a mouth as it is cut from frames, pixels; augmentation moves the cut within it.
        mouth_scale: side of the cut in units of the face, see [`avzoo.video.MouthSquare`].
        frame_rate: to which videos are brought.
        upsample_factor: frames of the spectrogram for one of the video.
        mel_type, sampling_rate, num_mel_bins, fft_size, window_size, hop_size, low_frequency, high_frequency: of the
            spectrogram, see [`avzoo.audio.MelSettings`]. "hifigan" gives exactly `upsample_factor` frames for each
            frame; the public implementation has "centered", a half frame earlier.
        energy_type: "linear", the logarithm of FastSpeech 2's norm, less `energy_mean`, over `energy_std`; or
            "log_mel", the norm of the log-mel, as in the public implementation, where its loss outweighs all others.
        energy_mean, energy_std: of the logarithm over a corpus, see [`fit_energy`].
        pitch_low, pitch_high, pitch_frame: of pYIN, Hz and samples. The public implementation looks from 55 Hz on in
            frames too short for it, at the wrong rate.
        peak: to which the loudest sample of a recording is scaled; silence stays silence.
        num_units: number of different units of speech.
    """

    model_input_names = ["pixel_values", "attention_mask"]

    def __init__(
        self,
        crop_size: int = 88,
        mouth_size: int = 96,
        mouth_scale: float = 1.4,
        frame_rate: int = 25,
        upsample_factor: int = 4,
        mel_type: Literal["hifigan", "centered"] = "hifigan",
        sampling_rate: int = 16000,
        num_mel_bins: int = 80,
        fft_size: int = 1024,
        window_size: int = 640,
        hop_size: int = 160,
        low_frequency: float = 55.0,
        high_frequency: float = 7500.0,
        energy_type: Literal["linear", "log_mel"] = "linear",
        energy_mean: float = 0.0,
        energy_std: float = 1.0,
        pitch_low: float = 65.0,
        pitch_high: float = 500.0,
        pitch_frame: int = 1024,
        peak: float = 1 / 1.1,
        num_units: int = 200,
    ):
        counts = {"crop_size": crop_size, "frame_rate": frame_rate, "upsample_factor": upsample_factor}
        for name, value in (counts | {"num_units": num_units, "pitch_frame": pitch_frame}).items():
            check_whole_number(name, value, at_least=1)
        check_whole_number("mouth_size", mouth_size, at_least=crop_size)
        for name, value in {"mouth_scale": mouth_scale, "energy_std": energy_std, "pitch_low": pitch_low}.items():
            check_number(name, value, above=0)
        check_number("pitch_high", pitch_high, above=pitch_low)
        check_number("energy_mean", energy_mean)
        if pitch_high > sampling_rate / 2 or pitch_frame <= sampling_rate / pitch_low + 1:
            raise ValueError(
                f"`pitch_high` ({pitch_high}) must be at most half of `sampling_rate` ({sampling_rate}), and "
                f"`pitch_frame` ({pitch_frame}) longer than a period of `pitch_low` ({pitch_low} Hz)."
            )
        check_number("peak", peak, above=0, at_most=1)
        check_choice("energy_type", energy_type, ("linear", "log_mel"))
        if hop_size * upsample_factor * frame_rate != sampling_rate:
            raise ValueError(
                f"`hop_size` ({hop_size}) times `upsample_factor` ({upsample_factor}) times `frame_rate` "
                f"({frame_rate}) must be `sampling_rate` ({sampling_rate})."
            )
        super().__init__()
        self.crop_size, self.mouth_size, self.mouth_scale = crop_size, mouth_size, mouth_scale
        self.frame_rate, self.upsample_factor = frame_rate, upsample_factor
        self.mel_type, self.sampling_rate, self.num_mel_bins = mel_type, sampling_rate, num_mel_bins
        self.fft_size, self.window_size, self.hop_size = fft_size, window_size, hop_size
        self.low_frequency, self.high_frequency = low_frequency, high_frequency
        self.energy_type, self.energy_mean, self.energy_std = energy_type, energy_mean, energy_std
        self.pitch_low, self.pitch_high, self.pitch_frame = pitch_low, pitch_high, pitch_frame
        self.peak, self.num_units = peak, num_units
        MelSettings.from_dict(self.mel_settings.to_dict())  # checked at the door

    @property
    def mel_settings(self) -> MelSettings:
        """Of the spectrogram; a vocoder must have the same."""
        return MelSettings(
            self.mel_type,
            self.sampling_rate,
            self.num_mel_bins,
            self.fft_size,
            self.window_size,
            self.hop_size,
            float(self.low_frequency),
            float(self.high_frequency),
        )

    @property
    def samples_per_frame(self) -> int:
        """Samples of the sound of a video frame."""
        return self.hop_size * self.upsample_factor

    @property
    def convention(self) -> MouthSquare:
        """How mouths are cut out of frames, for [`avzoo.video.crop_tracks`]."""
        return MouthSquare(self.mouth_size, self.mouth_scale)

    def check_model(self, config: LTBSConfig) -> None:
        """Refuse a network of other rates or sizes.

        Raises:
            ValueError: a setting differs; each is named with both values.
        """
        names = {"num_mel_bins": "num_mel_bins", "num_units": "num_units", "sampling_rate": "sampling_rate"}
        names |= {"hop_size": "hop_length", "upsample_factor": "upsample_factor", "frame_rate": "fps"}
        pairs = {own: (getattr(self, own), getattr(config, theirs)) for own, theirs in names.items()}
        differences = [f"{name}: {ours}, {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]
        if differences:
            raise ValueError(
                f"processor and network do not belong together ({'; '.join(differences)}; the processor's first)."
            )

    def __call__(
        self,
        videos: Any,
        audio: Any = None,
        sampling_rate: int | None = None,
        *,
        units: Any = None,
        tracks: Track | Sequence[Track] | None = None,
        source_fps: float | None = None,
        return_tensors: Literal["pt", "np"] | None = "pt",
    ) -> BatchFeature:
        """A batch of videos, with what they are trained on where sounds are given.

        Args:
            videos: a video or a list of them, each what [`read_mouths`] takes. Their own sound is not looked at.
            audio: the sound of each, what [`avzoo.audio.read_audio`] takes; its first sample belongs to the first frame
                of the video, also where a track begins later. The path of the video itself takes its own sound.
            sampling_rate: of bare samples, Hz.
            units: units of each, whole numbers at the video's rate; cut or filled to its frames.
            tracks: the face of each video, at 25 frames per second.
            source_fps: rate of frames in memory; None: `frame_rate`.
            return_tensors: "pt" for torch's tensors (None: the same), "np" for NumPy's arrays.

        Returns:
            pixel_values (clips, frames, crop_size, crop_size) uint8, which the network normalises itself;
            attention_mask (clips, frames), where lengths differ; of sounds `mel_labels` (clips, mel frames,
            num_mel_bins), `pitch_labels` and `energy_labels` (clips, frames); of units `unit_labels` (clips, frames).

        Raises:
            ValueError: an empty list, lists of unequal length, what [`read_mouths`] and [`prepare_sound`] raise.
        """
        listed = list_items("videos", videos, is_single_video)
        names = name_items("videos", listed)
        tracks = [None] * len(listed) if tracks is None else list_items("tracks", tracks, is_single_track)
        _check_count("tracks", tracks, len(listed))
        mouths = [
            self.read_mouths(video, track, source_fps, name=name)
            for video, track, name in zip(listed, tracks, names, strict=True)
        ]
        lengths = [len(mouth) for mouth in mouths]
        inputs = self.pad([self.cut_middle(mouth) for mouth in mouths])
        if audio is not None:
            sounds = list_items("audio", audio, is_single_recording)
            _check_count("audio", sounds, len(listed))
            targets = []
            for index, (sound, name) in enumerate(zip(sounds, name_items("audio", sounds), strict=True)):
                if is_same_file(sound, listed[index]):
                    sound = VideoReader(sound, name=name).soundtrack(self.sampling_rate)[0]  # on the video's clock
                start = 0 if tracks[index] is None else tracks[index].start_frame
                wanted = {"start_frame": start, "num_frames": lengths[index]}
                waveform = self.prepare_sound(sound, sampling_rate, **wanted, name=name)
                targets.append(self.prepare_targets(waveform, lengths[index]))
            inputs |= self.pad_targets(targets)
        if units is not None:
            given = list_items("units", units, is_single_unit_sequence)
            _check_count("units", given, len(listed))
            named = zip(given, lengths, name_items("units", given), strict=True)
            rows = [self.prepare_units(row, length, name=name) for row, length, name in named]
            inputs["unit_labels"] = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        return make_batch(inputs, return_tensors)

    # ---------------------------------------------------------------------------------------------------------- videos

    def read_mouths(
        self, video: Any, track: Track | None = None, source_fps: float | None = None, *, name: str = "video"
    ) -> np.ndarray:
        """The mouths of a video, not yet cut to `crop_size`: (frames, mouth_size, mouth_size) uint8.

        Args:
            video: what [`avzoo.video.read_video`] takes, of any rate; or grey pictures of a mouth, (frames, rows,
                columns) uint8, which are taken as they are, only brought to `mouth_size` unless they have `crop_size`.
            track: the face; None: the frames show one face and nothing else, whose lower half is taken.
            source_fps: rate of frames in memory; None: `frame_rate`.

        Raises:
            TypeError: a `track` that is none. ValueError: no frame, grey pictures that aren't uint8 or that come with a
                track, a track beyond the video; what [`avzoo.video.read_video`] raises.
        """
        if track is not None and not isinstance(track, Track):
            raise TypeError(f"`tracks` must hold a Track for each video, got {type(track).__name__}.")
        if isinstance(video, torch.Tensor):
            video = video.numpy(force=True)
        if isinstance(video, np.ndarray) and video.ndim == 3:
            return self._resize_mouths(video, track, source_fps, name)
        reader = VideoReader(video, source_fps=self.frame_rate if source_fps is None else source_fps, name=name)
        if track is None:
            height, width = reader.info.height, reader.info.width
            blocks = [self._cut_blocks(block, (width, height)) for block in reader.frames(self.frame_rate)]
            if not blocks:
                raise ValueError(f"`{name}` has no frame; at least one is needed.")
            return np.concatenate(blocks)
        times = {"start": track.start_frame / self.frame_rate, "end": track.stop_frame / self.frame_rate}
        blocks = reader.frames(self.frame_rate, **times)
        return crop_track(blocks, track, self.convention, first_frame=track.start_frame)

    def _cut_blocks(self, block: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The mouths of frames that are a face, of (width, height)."""
        boxes = np.array([[0.0, 0.0, *size]])
        region = self.convention.regions(boxes)[0]
        return np.stack([self.convention.cut(frame, region) for frame in block])

    def _resize_mouths(
        self, pictures: np.ndarray, track: Track | None, source_fps: float | None, name: str
    ) -> np.ndarray:
        if track is not None or source_fps not in (None, self.frame_rate):
            raise ValueError(
                f"`{name}` is grey pictures of a mouth at {self.frame_rate} frames per second: it needs no track, and "
                "has no other rate."
            )
        if pictures.dtype != np.uint8:
            raise ValueError(f"`{name}` must be uint8 pictures of 0..255, got {pictures.dtype}.")
        if 0 in pictures.shape:
            raise ValueError(f"`{name}` holds no picture, its shape is {pictures.shape}.")
        if pictures.shape[1:] in ((self.mouth_size,) * 2, (self.crop_size,) * 2):
            return pictures
        return resize_as_opencv(pictures[..., None], self.mouth_size, self.mouth_size)[..., 0]

    def cut_middle(self, mouths: np.ndarray) -> np.ndarray:
        """(frames, rows, columns) to (frames, crop_size, crop_size)."""
        top, left = (int(round(side - self.crop_size) / 2) for side in mouths.shape[1:])
        return mouths[:, top : top + self.crop_size, left : left + self.crop_size]

    def pad(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Clips (frames, rows, columns) of one size to `pixel_values`, and `attention_mask` where lengths differ."""
        longest = max(len(clip) for clip in clips)
        padded = np.zeros((len(clips), longest, *clips[0].shape[1:]), np.uint8)
        for row, clip in zip(padded, clips, strict=True):
            row[: len(clip)] = clip
        inputs = {"pixel_values": torch.from_numpy(padded)}
        lengths = torch.tensor([len(clip) for clip in clips])
        if bool((lengths < longest).any()):
            inputs["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return inputs

    # ---------------------------------------------------------------------------------------------------------- sounds

    def prepare_sound(
        self,
        audio: Any,
        sampling_rate: int | None = None,
        *,
        start_frame: int = 0,
        num_frames: int | None = None,
        name: str = "audio",
    ) -> torch.Tensor:
        """(samples,) float32, mono at `self.sampling_rate` and of peak `peak`.

        Args:
            audio: what [`avzoo.audio.read_audio`] takes, 16-bit samples, too.
            sampling_rate: of bare samples, Hz; None: the processor's.
            start_frame: the video frame from which on the sound is wanted.
            num_frames: number of video frames that are wanted. None: all that follow.

        Raises:
            ValueError: the sound ends before `start_frame`; what [`avzoo.audio.read_audio`] raises.
        """
        bare = isinstance(audio, np.ndarray | torch.Tensor | list | tuple)
        if isinstance(audio, np.ndarray | torch.Tensor) and str(audio.dtype) in ("int16", "torch.int16"):
            audio = np.asarray(audio, dtype=np.float32) / 32768
        rate = (self.sampling_rate if sampling_rate is None else sampling_rate) if bare else None
        samples, _ = read_audio(audio, self.sampling_rate, source_rate=rate, name=name)
        stop = None if num_frames is None else (start_frame + num_frames) * self.samples_per_frame
        wanted = samples[start_frame * self.samples_per_frame : stop]
        if not len(wanted):
            raise ValueError(
                f"`{name}` has {len(samples)} samples at {self.sampling_rate} Hz and ends before video frame "
                f"{start_frame}, where the track begins."
            )
        return normalize_peak(torch.from_numpy(wanted), self.peak)[0]

    def prepare_targets(self, waveform: torch.Tensor, num_frames: int) -> dict[str, torch.Tensor]:
        """What a clip of `num_frames` video frames is trained on.

        Args:
            waveform: (samples,), of [`prepare_sound`]; cut or filled with silence to the frames.

        Returns:
            mel_labels (upsample_factor * num_frames, num_mel_bins), natural logarithm; pitch_labels (num_frames,),
            normalised over the clip's voiced frames, 0 where nothing is voiced; energy_labels (num_frames,).
        """
        return self.normalize_targets(self.measure_targets(waveform, num_frames))

    def measure_targets(self, waveform: torch.Tensor, num_frames: int) -> dict[str, torch.Tensor]:
        """What [`prepare_targets`] gives, before normalisation: mel, pitch in Hz, energy; files of targets hold it."""
        check_whole_number("num_frames", num_frames, at_least=1)
        num_samples = num_frames * self.samples_per_frame
        waveform = nn.functional.pad(waveform[:num_samples], (0, max(0, num_samples - len(waveform))))
        mel = self.mel_settings.compute(waveform)[: num_frames * self.upsample_factor]
        pitch = estimate_pitch(
            waveform,
            sampling_rate=self.sampling_rate,
            low_frequency=self.pitch_low,
            high_frequency=self.pitch_high,
            frame_size=self.pitch_frame,
            hop_size=self.hop_size,
        )
        if self.energy_type == "log_mel":
            energy = torch.linalg.vector_norm(mel, dim=-1)[:: self.upsample_factor]
        else:
            energy = self.measure_energy(waveform)[:num_frames]
        return {"mel": mel, "pitch": decimate_pitch(pitch, num_frames, self.upsample_factor), "energy": energy}

    def normalize_targets(self, measured: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Normalise what [`measure_targets`] gives; see [`prepare_targets`]."""
        energy = measured["energy"]
        if self.energy_type == "linear":
            energy = (energy - self.energy_mean) / self.energy_std
        pitch = normalize_pitch(measured["pitch"])
        return {"mel_labels": measured["mel"], "pitch_labels": pitch, "energy_labels": energy}

    def measure_energy(self, waveform: torch.Tensor) -> torch.Tensor:
        """The logarithm of FastSpeech 2's energy at the video's rate: (samples,) to (frames,)."""
        sizes = {"fft_size": self.fft_size, "window_size": self.window_size, "hop_size": self.hop_size}
        return stft_energy(waveform, **sizes)[:: self.upsample_factor].clamp_min(ENERGY_FLOOR).log()

    def fit_energy(self, energies: Iterable[torch.Tensor]) -> None:
        """Set `energy_mean` and `energy_std` from the energy of a corpus, of [`measure_targets`], clip by clip.

        Raises:
            ValueError: no frame, or energy that is the same everywhere.
        """
        count, total, squares = 0, 0.0, 0.0
        for energy in energies:
            energy = energy.double()
            count, total = count + len(energy), total + float(energy.sum())
            squares += float(energy.square().sum())
        mean = total / count if count else 0.0
        variance = squares / count - mean**2 if count else 0.0
        if not variance > 1e-12:
            raise ValueError(f"`energies` hold {count} frames of energy that does not vary; nothing can be fitted.")
        self.energy_mean, self.energy_std = mean, math.sqrt(variance)

    def prepare_units(self, units: Any, num_frames: int, *, name: str = "units") -> torch.Tensor:
        """Units at the video's rate, cut or filled with -100 to its frames: (num_frames,), int64.

        Raises:
            TypeError: no whole numbers. ValueError: another shape, or a unit that does not exist.
        """
        units = torch.as_tensor(np.asarray(units) if isinstance(units, list | tuple) else units)
        check_units(units, self.num_units, name)
        units = units[:num_frames].long()
        return nn.functional.pad(units, (0, num_frames - len(units)), value=IGNORED)

    def pad_targets(self, targets: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """A batch of what [`prepare_targets`] makes; behind a clip's end is silence, and 0 of pitch and energy."""
        silence = {"mel_labels": math.log(self.mel_settings.log_floor)}
        return {
            name: nn.utils.rnn.pad_sequence(
                [clip[name] for clip in targets], batch_first=True, padding_value=silence.get(name, 0.0)
            )
            for name in targets[0]
        }


def is_single_video(videos: Any) -> bool:
    """Whether `videos` is one video; a list or an array of five axes is several."""
    return not isinstance(videos, list | tuple) and getattr(videos, "ndim", 4) != 5


def is_same_file(audio: Any, video: Any) -> bool:
    """Whether both are the path of one file."""
    paths = (str, os.PathLike)
    return isinstance(audio, paths) and isinstance(video, paths) and os.fspath(audio) == os.fspath(video)


def is_single_track(tracks: Any) -> bool:
    return isinstance(tracks, Track)


def is_single_unit_sequence(units: Any) -> bool:
    """Whether `units` are of one clip: an array of one axis, or a list of numbers."""
    if isinstance(units, list | tuple):
        return len(units) > 0 and np.ndim(units[0]) == 0
    return units.ndim == 1


def _check_count(name: str, items: Sequence[Any], count: int) -> None:
    if len(items) != count:
        raise ValueError(f"`{name}` has {len(items)} entries for {count} `videos`.")


__all__ = ["LTBSProcessor"]
