"""Lip to speech: a silent video in; for each face, speech that fits its lips, at the very time of the video.

Method: "Let There Be Sound" (arXiv 2308.15256), see [`avzoo.models.ltbs`].
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from avzoo.checks import check_number, check_whole_number
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder
from avzoo.models.layers.vocoding import vocode
from avzoo.models.ltbs import LTBSConfig
from avzoo.models.ltbs.speech_units import check_units
from avzoo.pipelines.lip_to_speech.files import check_output, write_speech
from avzoo.pipelines.lip_to_speech.parts import (
    SPEAKER_ENCODER,
    VOCODER,
    choose_speaker_encoder,
    choose_vocoder,
)
from avzoo.pipelines.lip_to_speech.speakers import MEAN_VOICE, Voice, VoiceReader, assign_voices
from avzoo.pipelines.shared.face_videos import FaceVideoPipeline, find_video_faces, name_file
from avzoo.pipelines.shared.recordings import read_once
from avzoo.video import FaceTracks, VideoReader, crop_tracks

STAND_IN = "Griffin-Lim, a stand-in"
_OF_ONE_FACE = ("units", "pitch", "energy", "noise")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter out of range."""
    for name in ("max_faces", "every", "sampling_rate"):
        if parameters.get(name) is not None:
            check_whole_number(name, parameters[name], at_least=1)
    for name in ("pitch_control", "energy_control"):
        if name in parameters:
            check_number(name, parameters[name])
    if "noise_scale" in parameters:
        check_number("noise_scale", parameters["noise_scale"], at_least=0)
    generator = parameters.get("generator")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"`generator` must be a torch.Generator, got {type(generator).__name__}.")


class LipToSpeechPipeline(FaceVideoPipeline):
    """`transformers.pipeline("lip-to-speech")`: speech that fits the lips of each face of a video, in a given voice.

        speak = pipeline("lip-to-speech", model=folder)
        for face in speak("silent.mp4", speaker="voice.wav", generator=torch.Generator().manual_seed(0)):
            print(face["track_id"], face["start"], face["audio"].shape)
        speak("silent.mp4", speaker="voice.wav", output="spoken.mp4")

    Faces are found first; what the detector misses doesn't speak. From each face's mouth the network predicts units,
    pitch and energy, and from these a spectrogram; a vocoder makes sound of it, exactly as long as the face is seen.
    Sound that a video has is ignored, which a warning tells once. A face that is lost for longer than the tracker
    bridges (10 frames) comes back as another face.

    Takes a path, the bytes of a file, an `avzoo.video.Video`, a row of `datasets`, or a list of these; frames in memory
    need their rate, so wrap them in a `Video`. Any frame rate is brought to 25 per second by its time stamps. The video
    is read twice, block by block; what is kept of it are small grey pictures of mouths.

    At construction only:
        vocoder: a folder, a name on the Hub, a `SpeechT5HifiGan` or a `GriffinLimVocoder`, of the model's mel settings.
            None: the folder `vocoder` beside the model; where there is none, Griffin and Lim's algorithm stands in, and
            a warning tells so once.
        speaker_encoder: a folder, a name on the Hub, a model for x-vectors, or a `SpeakerVerificationPipeline`. None:
            the folder `speaker_encoder` beside the model, if there is one.

    Parameters, at construction or at each call:
        speaker: the voice. A recording of at least 0.5 s (a path, the bytes of a file, samples, a row {"array",
            "sampling_rate"}), which the speaker encoder turns into an embedding; an embedding, (values,); a row number
            of a network with a table; or for several faces a list in their order, or a mapping {track_id: speaker}.
            None: the mean voice of the training, if the network keeps it, which a warning tells once.
        sampling_rate: in Hz, of bare samples in `speaker`. None: the speaker encoder's.
        generator: of the noise; faces draw from it one after the other. None: torch's own.
        noise_scale: 0.667 by default; 0 gives the same every time.
        pitch_control, energy_control: factors on the predicted pitch and energy, which are normalised: 0 is monotonous.
        units, pitch, energy: (frames,) each, in place of what is predicted, of a video with one face.
        noise: (mel frames, bins), in place of the draw, of a video with one face.
        faces: who to look at: None (toyworld's drawn faces in its videos, YuNet elsewhere), "yunet", "s3fd", "drawn",
            "frame" (the video is already cropped to one face), a path of boxes (.csv, .json), `FaceTracks`, or a
            detector.
        detector_model: YuNet's ONNX file or the folder of a converted S3FD.
        max_faces: keep only as many tracks, the largest and longest.
        every: look for faces in every n-th frame only; boxes between are interpolated.
        output: write the video with the voices of all faces for its sound (.mp4, .m4v, .mov), or these alone (.wav);
            see [`avzoo.pipelines.lip_to_speech.files.write_speech`].
        progress: bars on stderr.

    Returns, per video, a list of one dict per face track:
        track_id, start, end: seconds. label: "speech".
        score: mean probability that the network gives the units it speaks; not calibrated.
        audio: (samples,) float32, from `start` to `end`, 640 for each frame at 16 kHz. sampling_rate: Hz.
        units: (frames,) int64, 25 per second from `start` on. pitch, energy: (frames,) float32, as spoken.
        mel, mel_coarse: (mel frames, bins) float32, natural logarithm, with and without the flow's detail.
        boxes: (frames, 4), x1, y1, x2, y2 in pixels.
        speaker, vocoder: which were taken, in words.

    Raises:
        ValueError: no face, a speaker sample that is too short or silent, a vocoder or encoder that doesn't fit; and
            what reading and detection raise.
    """

    task_name = "lip-to-speech"
    steps = (
        (
            *("speaker", "sampling_rate", "faces", "detector_model", "max_faces", "every", "output", "progress"),
            *_OF_ONE_FACE,
        ),
        ("generator", "noise_scale", "pitch_control", "energy_control", "progress"),
        ("output", "progress"),
    )
    check_parameters = staticmethod(check_parameters)

    def __init__(self, *args: Any, vocoder: Any = None, speaker_encoder: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        config = self.model.config
        # By its type and what it can do: code beside weights is imported more than once, as several classes.
        if config.model_type != LTBSConfig.model_type or not hasattr(self.model, "place_prior"):
            raise ValueError(f"`model` must be a LTBSForLipToSpeech, got {type(self.model).__name__}.")
        self.processor.check_model(config)
        mel = self.processor.mel_settings
        self.vocoder = choose_vocoder(vocoder, self.model, mel).to(self.device)
        self.speaker_encoder = choose_speaker_encoder(speaker_encoder, self.model, self.device)
        self._told: set[str] = set()

    def __call__(self, video: Any, batch_size: int | None = None, **parameters: Any) -> list:
        """The speech of one video, or of each of a list of them; see the class for parameters.

        Args:
            batch_size: has no effect; faces are spoken one after the other, because noise is drawn in their order.
        """
        if isinstance(video, list | tuple) and parameters.get("output") is not None:
            raise ValueError("`output` is one file, and `video` a list; call the pipeline for each video.")
        return super().__call__(video, **parameters)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save model and processor, and the vocoder and the speaker encoder in subfolders; Griffin-Lim needs none."""
        if not isinstance(self.vocoder, GriffinLimVocoder):
            self.vocoder.save_pretrained(Path(save_directory, VOCODER))
        if self.speaker_encoder is not None:
            self.speaker_encoder.save_pretrained(Path(save_directory, SPEAKER_ENCODER))
        super().save_pretrained(save_directory, **kwargs)

    @property
    def vocoder_name(self) -> str:
        """The vocoder in words."""
        return STAND_IN if isinstance(self.vocoder, GriffinLimVocoder) else "HiFi-GAN"

    # ----------------------------------------------------------------------------------------------------- the steps

    def preprocess(
        self,
        video: Any,
        speaker: Any = None,
        sampling_rate: int | None = None,
        faces: Any = None,
        detector_model: str | os.PathLike | None = None,
        max_faces: int | None = None,
        every: int = 1,
        output: str | os.PathLike | None = None,
        progress: bool = False,
        **of_one_face: Any,
    ) -> dict[str, Any]:
        # 1. Check inputs, before the video is read
        if output is not None:
            check_output(output, video)
        video = read_once(video)
        reader, fps = VideoReader(video), self.processor.frame_rate
        voices = VoiceReader(self.model, self.speaker_encoder).read(speaker, sampling_rate)
        self._tell_once(reader, voices)

        # 2. Find faces
        options = {"max_faces": max_faces, "every": every, "progress": progress}
        tracks = find_video_faces(video, reader, faces, detector_model, fps, **options)
        if not tracks.tracks:
            raise ValueError(
                f"`video`{name_file(video)}: no face was found in its {tracks.num_frames} frames; one must be seen in "
                'more than 10. If it is cropped to one face, pass faces="frame" (--face-video); if faces are small or '
                "turned away, pass boxes or another detector."
            )
        voices = assign_voices(voices, tracks.tracks)
        given = self._check_given(of_one_face, tracks)

        # 3. Cut mouths
        mouths = crop_tracks(reader.frames(fps), tracks.tracks, self.processor.convention)
        return {"video": video, "tracks": tracks, "voices": voices, "mouths": mouths, "given": given}

    def _forward(
        self,
        model_inputs: dict[str, Any],
        generator: torch.Generator | None = None,
        noise_scale: float = 0.667,
        pitch_control: float = 1.0,
        energy_control: float = 1.0,
        progress: bool = False,
    ) -> dict[str, Any]:
        controls = {"pitch": pitch_control, "energy": energy_control}
        given, speech = model_inputs["given"], []
        spoken = list(zip(model_inputs["mouths"], model_inputs["voices"], strict=True))
        for mouths, voice in tqdm(spoken, unit="face", desc="voices", disable=not progress):
            pixels = torch.from_numpy(self.processor.cut_middle(mouths).copy())[None].to(self.device)
            made = self.model.generate(
                pixels,
                generator=generator,
                noise_scale=noise_scale,
                **given,
                **{name: value.to(self.device) for name, value in voice.inputs.items()},
                **{f"{name}_control": control for name, control in controls.items()},
            )
            waveform = vocode(self.vocoder, made.mel.float().to(self.vocoder.dtype))[0].float()
            if not (made.mel.isfinite().all() and waveform.isfinite().all()):
                advice = "try float32" if self.dtype != torch.float32 else "noise or given values may be too large"
                raise ValueError(f"`model`: its speech is NaN or infinite; its weights are {self.dtype}, {advice}.")
            as_spoken = {name: given.get(name, made[name] * control)[0] for name, control in controls.items()}
            probabilities = made.unit_logits[0].float().softmax(-1)
            score = probabilities.gather(1, made.units[0][:, None].clamp(min=0)).mean()
            mels = {"mel": made.mel[0], "mel_coarse": made.mel_coarse[0]}
            speech.append({"audio": waveform, "units": made.units[0], "score": score, **as_spoken, **mels})
        return {"video": model_inputs["video"], "tracks": model_inputs["tracks"], "speech": speech} | {
            "speakers": [voice.name for voice in model_inputs["voices"]]
        }

    def postprocess(
        self, model_outputs: dict[str, Any], output: str | os.PathLike | None = None, progress: bool = False
    ) -> list[dict[str, Any]]:
        tracks, processor, records = model_outputs["tracks"], self.processor, []
        per_frame = processor.samples_per_frame
        for track, made, speaker in zip(tracks.tracks, model_outputs["speech"], model_outputs["speakers"], strict=True):
            audio = np.zeros(len(track) * per_frame, np.float32)
            samples = made["audio"].numpy()[: len(audio)]
            audio[: len(samples)] = samples  # a vocoder may make a few more or fewer
            records.append(
                {
                    "track_id": track.track_id,
                    "start": track.start_frame / processor.frame_rate,
                    "end": track.stop_frame / processor.frame_rate,
                    "label": "speech",
                    "score": float(made["score"]),
                    "audio": audio,
                    "sampling_rate": processor.sampling_rate,
                    "units": made["units"].numpy(),
                    **{name: made[name].float().numpy() for name in ("pitch", "energy", "mel", "mel_coarse")},
                    "boxes": track.boxes.tolist(),
                    "speaker": speaker,
                    "vocoder": self.vocoder_name,
                }
            )
        if output is not None:
            length = tracks.num_frames * per_frame
            write_speech(model_outputs["video"], records, output, num_samples=length, progress=progress)
        return records

    # ---------------------------------------------------------------------------------------------------- what it needs

    def _check_given(self, of_one_face: Mapping[str, Any], tracks: FaceTracks) -> dict[str, torch.Tensor]:
        """What stands for predictions and noise, as tensors of one clip.

        Raises:
            TypeError, ValueError: several faces, another shape, units that don't exist, NaN.
        """
        config, given = self.model.config, {}
        for name, value in of_one_face.items():
            if value is None:
                continue
            if len(tracks.tracks) > 1:
                raise ValueError(
                    f"`{name}` is of one face, and {len(tracks.tracks)} were found; choose one by `max_faces=1` or "
                    "`faces`."
                )
            track = tracks.tracks[0]
            shape: Sequence[int] = (len(track),)
            if name == "noise":
                shape = (len(track) * config.upsample_factor, config.num_mel_bins)
            try:
                value = torch.as_tensor(np.asarray(value) if isinstance(value, list | tuple) else value)
            except (TypeError, ValueError) as error:
                raise TypeError(f"`{name}` must be an array of numbers, {tuple(shape)}; {error}") from error
            if tuple(value.shape) not in (tuple(shape), (1, *shape)):
                raise ValueError(
                    f"`{name}` must be {tuple(shape)} for the {len(track)} frames of face {track.track_id}, got "
                    f"{tuple(value.shape)}."
                )
            value = value.reshape(1, *shape)
            if name == "units":
                check_units(value[0], config.num_units, name)
                value = value.long()
            elif not value.is_floating_point() or not value.isfinite().all():
                wrong = "values that are NaN or infinite" if value.is_floating_point() else f"values of {value.dtype}"
                raise ValueError(f"`{name}` has {wrong}; expected finite numbers in floating point.")
            given[name] = value.to(self.device) if name == "units" else value.to(self.device, torch.float32)
        return given

    def _tell_once(self, reader: VideoReader, voices: Voice | list[Voice] | dict[int, Voice]) -> None:
        """Warn, once each, of what a user may not expect."""
        listed = [voices] if isinstance(voices, Voice) else voices.values() if isinstance(voices, dict) else voices
        notes = {
            "The video has sound, which is not listened to: speech is made of the lips alone.": (
                reader.info.sampling_rate is not None
            ),
            f"No speaker was given: {MEAN_VOICE} is taken.": any(voice.name == MEAN_VOICE for voice in listed),
            f"The vocoder is {STAND_IN}: it needs no weights and sounds metallic. Pass `vocoder` for a trained one.": (
                isinstance(self.vocoder, GriffinLimVocoder)
            ),
        }
        for note, applies in notes.items():
            if applies and note not in self._told:
                self._told.add(note)
                warnings.warn(note, stacklevel=2)


__all__ = ["LipToSpeechPipeline"]
