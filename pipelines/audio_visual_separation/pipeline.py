"""AVDiffuSS as a diffusers pipeline: a mixture of voices and a face in, the voice of that face out.

Paper: "Seeing Through the Conversation: Audio-Visual Speech Separation based on Diffusion Model" (arXiv 2310.19581).
What the released weights expect was read in kaistmm/AVDiffuSS@86d8203 (sgmse/model.py, sgmse/sampling, test_whole.py).
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from transformers.utils import logging

from avzoo.audio import normalize_peak
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.avdiffuss import AVDiffuSSProcessor, AVDiffuSSVisualEncoder
from avzoo.models.avdiffuss.modeling_avdiffuss import CONDITIONS, AVDiffuSSModel, score_input
from avzoo.models.avdiffuss.scheduling_ouve import OUVEScheduler
from avzoo.models.avdiffuss.windows import CrossFade, NoiseField, Windows
from avzoo.pipelines.shared.adapters import AdapterMixin
from avzoo.pipelines.shared.interruption import InterruptionMixin

logger = logging.get_logger(__name__)

SAMPLERS = ("predictor-corrector", "heun")
CORRECTORS = ("ald", "none")
PRESETS: dict[str, dict[str, Any]] = {
    # What the authors test with: 60 evaluations of the score.
    "reference": {"num_inference_steps": 30, "corrector": "ald", "corrector_steps": 1, "snr": 0.5},
    # What the authors of StoRM recommend where time matters: 20 evaluations.
    "fast": {"num_inference_steps": 20, "corrector": "none", "corrector_steps": 1, "snr": 0.5},
}


@dataclass
class AVDiffuSSPipelineOutput(BaseOutput):
    """Separated voices.

    Args:
        audios: for each mixture and face, the voice, (samples,) float32 at the pipeline's `sampling_rate`.
        initial_estimates: the same before the diffusion, as the denoiser alone hears it.
    """

    audios: list[Any]
    initial_estimates: list[Any]


@dataclass(frozen=True)
class Recording:
    """One mixture and one face, ready for the networks."""

    waveform: torch.Tensor  # (samples,)
    pixel_values: torch.Tensor  # (frames, rows, columns)
    noise: Callable[[int, int, int], torch.Tensor]  # (draw, first column, columns) -> (bins, columns)


@dataclass(frozen=True)
class WindowSegment:
    """What of a recording is computed at once."""

    recording: int
    start: int  # first sample
    waveform: torch.Tensor
    frames: torch.Tensor  # numbers of its pictures


class AVDiffuSSPipeline(AdapterMixin, InterruptionMixin, DiffusionPipeline):
    """Separates the voice of one face from a recording of several speakers.

        pipe = AVDiffuSSPipeline.from_pretrained("avdiffuss").to("cuda")
        voice = pipe("mixture.wav", "face.mp4").audios[0]  # at pipe.sampling_rate

    A first network estimates the voice from mixture and face; a second walks from this estimate and noise to a
    spectrogram that sounds more natural, looking at the face again. Files of many faces: see
    [`avzoo.pipelines.audio_visual_separation.faces.separate_faces`].

    Args:
        denoiser, denoiser_visual_encoder: the first network, and what it sees of the face.
        score_model: the second; without it there is only the first estimate.
        score_visual_encoder: None: the second network sees what the first one sees.
        scheduler: the diffusion.
        processor: media to arrays, and spectrograms.
        condition: what the second network is given beside the state: the estimate ("post_denoiser"), the mixture
            ("noisy"), or both.
        window_length_in_s: longer recordings are cut into windows of this length; what the weights were trained on.
        presets: name -> settings for calls that name none, the reference's where it names none; see [`use_preset`].
        preset: the one in use.
        avzoo_source: where converted weights came from.

    The last five settings are no components: `AVDiffuSSPipeline.from_pipe(pipe)` takes them into another pipeline,
    `AVDiffuSSPipeline(**pipe.components)` has the defaults.

    Raises:
        ValueError: an unknown condition or preset, or a network of another kind.
    """

    model_cpu_offload_seq = "denoiser_visual_encoder->denoiser->score_visual_encoder->score_model"
    _optional_components = ["score_model", "score_visual_encoder"]
    _callback_tensor_inputs = ["sample", "mean", "initial_estimate", "mixture"]
    _lora_loadable_modules = ["denoiser", "score_model"]

    def __init__(
        self,
        denoiser: AVDiffuSSModel,
        denoiser_visual_encoder: AVDiffuSSVisualEncoder,
        scheduler: OUVEScheduler,
        processor: AVDiffuSSProcessor,
        score_model: AVDiffuSSModel | None = None,
        score_visual_encoder: AVDiffuSSVisualEncoder | None = None,
        condition: str = "post_denoiser",
        window_length_in_s: float = 2.04,
        presets: dict | None = None,
        preset: str = "reference",
        avzoo_source: dict | None = None,
    ):
        super().__init__()
        check_choice("condition", condition, CONDITIONS)
        _check_network(denoiser, "denoiser", 1, time_conditioned=False)
        if score_model is not None:
            _check_network(score_model, "score_model", 3 if condition == "both" else 2, time_conditioned=True)
        self.register_modules(
            denoiser=denoiser,
            denoiser_visual_encoder=denoiser_visual_encoder,
            scheduler=scheduler,
            processor=processor,
            score_model=score_model,
            score_visual_encoder=score_visual_encoder,
        )
        self.register_to_config(
            condition=condition,
            window_length_in_s=window_length_in_s,
            presets=copy.deepcopy(presets or PRESETS),
            avzoo_source=avzoo_source,
        )
        self.use_preset(preset)

    # ------------------------------------------------------------------------------------------------ settings

    @property
    def sampling_rate(self) -> int:
        """Of the audio that comes out, in Hz."""
        return self.processor.sampling_rate

    def use_preset(self, name: str) -> "AVDiffuSSPipeline":
        """Take a preset's steps and corrector for calls that name none; saved with the pipeline. Returns it.

        Raises:
            ValueError: no preset of that name.
        """
        check_choice("preset", name, self.config.presets)
        self.register_to_config(preset=name)
        return self

    # ------------------------------------------------------------------------------------------------ the call

    @torch.no_grad()
    def __call__(
        self,
        audio: Any,
        video: Any,
        *,
        sampling_rate: int | None = None,
        source_fps: float | None = None,
        num_inference_steps: int | None = None,
        corrector: str | None = None,
        corrector_steps: int | None = None,
        snr: float | None = None,
        sampler: str = "predictor-corrector",
        denoiser_only: bool = False,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        noise: Sequence[torch.Tensor] | None = None,
        window_length_in_s: float | None = None,
        window_overlap: float = 0.5,
        batch_size: int = 2,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, torch.Tensor, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("sample",),
    ) -> AVDiffuSSPipelineOutput | tuple[list, list]:
        """
        Args:
            audio: a mixture, or a list of them: whatever [`AVDiffuSSProcessor.audio`] takes. Samples of one mixture are
                an array or a tensor.
            video: the face of whoever is to be heard, or a list of them: whatever [`AVDiffuSSProcessor.video`] takes;
                frames of one face are an array or a tensor. One mixture and several faces, or the reverse, are
                combined. A video of another length than its mixture is cut, or its last frame held, and told; grey
                frames of the networks' own size are taken as they are.
            sampling_rate: of bare samples, Hz. None: the pipeline's own.
            source_fps: of frames in memory. None: 25.
            num_inference_steps: times at which the state is moved. None, here and below: the preset's.
            corrector: "ald" (annealed Langevin) or "none". corrector_steps: its steps at each time. snr: their length.
            sampler: "predictor-corrector", or "heun": the flow without noise, two evaluations a step, no corrector.
            denoiser_only: leave out the diffusion: `audios` are the first estimates.
            generator: one for all, or one for each item. Noise is drawn on the CPU: one seed, one result.
            noise: all draws, each ([batch,] bins, frames) complex of variance 1, in this order: the start; for each
                time those of the corrector, and that of the predictor.
            window_length_in_s: longer recordings are cut into windows. None: the pipeline's; math.inf: never.
            window_overlap: which part of a window lies in the next.
            batch_size: windows computed at once; bounds the memory.
            output_type: "np" or "pt".
            callback_on_step_end: called with (pipeline, step, time, tensors) after each step of each batch of windows.
                A "sample" that it gives back is gone on with; a "mean" of the last step is the result. It may set
                `pipe.interrupt` to stop there: voices are then as far as they have come, and the first estimate in
                windows that the diffusion hasn't reached.
            callback_on_step_end_tensor_inputs: of "sample" and "mean" (state and state without the step's noise; the
                same with "heun"), "initial_estimate", "mixture"; each (windows, 1, bins, frames) complex.

        Raises:
            TypeError, ValueError: what can't work, before anything is computed.
        """
        # 1. Settings
        settings = self._resolve_settings(num_inference_steps, corrector, corrector_steps, snr)
        self._check_inputs(settings, sampler, batch_size, window_overlap, output_type)
        callback_inputs = self._name_callback_tensors(callback_on_step_end, callback_on_step_end_tensor_inputs)
        denoiser_only = denoiser_only or self.score_model is None
        window_length_in_s = self.config.window_length_in_s if window_length_in_s is None else window_length_in_s
        if not window_length_in_s > 0:
            raise ValueError(f"`window_length_in_s` must be above 0, got {window_length_in_s}.")

        # 2. Media
        recordings = self._load_recordings(audio, video, sampling_rate, source_fps, generator, noise)

        # 3. Windows
        windows = [self._make_windows(len(one.waveform), window_length_in_s, window_overlap) for one in recordings]
        if noise is not None and not denoiser_only:
            self._check_noise(noise, settings, sampler, windows)
        segments = [
            segment for index in range(len(recordings)) for segment in self._cut_windows(index, recordings, windows)
        ]
        voices, estimates = ([CrossFade(one) for one in windows] for _ in range(2))
        audible = []
        for segment in segments:
            if segment.waveform.any():
                audible.append(segment)
                continue
            for results in (voices, estimates):  # silence holds no voice, and has no peak to normalize
                results[segment.recording].add(segment.start, segment.waveform)

        # 4. Each batch of windows through both networks
        batches = list(self._make_batches(audible, recordings, batch_size))
        self.scheduler.set_timesteps(settings["num_inference_steps"], device=self._execution_device)
        self._begin_walk()
        with self.progress_bar(total=len(batches) * (1 if denoiser_only else len(self.scheduler.timesteps))) as bar:
            for batch in batches:
                waveforms, peaks = zip(*(normalize_peak(segment.waveform) for segment in batch), strict=True)
                spectrograms = [self.processor.spectrogram(one.to(self._execution_device)) for one in waveforms]
                mixture = torch.stack(spectrograms)[:, None]
                pictures = [recordings[segment.recording].pixel_values[segment.frames] for segment in batch]
                faces = torch.stack(pictures).to(self._execution_device)
                estimate = self.denoiser(mixture, None, self._encode_faces(self.denoiser_visual_encoder, faces)).sample
                voice = estimate
                if not denoiser_only and not self.interrupt:
                    draw = self._draw_noise(batch, recordings, estimate)
                    options = (callback_on_step_end, callback_inputs, bar)
                    score = self._make_score(mixture, estimate, faces)
                    if sampler == "heun":
                        voice = self._follow_probability_flow(score, mixture, estimate, draw, *options)
                    else:
                        voice = self._reverse_diffusion(score, mixture, estimate, draw, settings, *options)
                elif denoiser_only:
                    bar.update()
                for results, spectrograms in ((voices, voice), (estimates, estimate)):
                    for segment, spectrogram, peak in zip(batch, spectrograms[:, 0], peaks, strict=True):
                        samples = self.processor.inverse_spectrogram(spectrogram, len(segment.waveform)).cpu()
                        results[segment.recording].add(segment.start, samples * peak)
        self.maybe_free_model_hooks()

        # 5. Whole recordings again
        outputs = tuple([one.result() for one in results] for results in (voices, estimates))
        if output_type == "np":
            outputs = tuple([samples.numpy() for samples in results] for results in outputs)
        if not return_dict:
            return outputs
        return AVDiffuSSPipelineOutput(audios=outputs[0], initial_estimates=outputs[1])

    def face_dependence(
        self, audio: Any, video: Any, other_video: Any = None, *, seed: int = 0, **options: Any
    ) -> dict[str, float]:
        """Measure how much the voice depends on the face: level of the change with another face, in dB of the voice.

        0 dB: the change is as loud as the voice; -30 dB: hardly any change, the networks ignore the face.

        Args:
            audio, video: one mixture and one face.
            other_video: of somebody else, such as the second speaker.
            options: of the call.

        Returns:
            "blank": with a grey picture for a face; "swapped": with `other_video`, where it is given.
        """
        rates = options.get("sampling_rate"), options.get("source_fps")
        face = self._load_recordings(audio, video, *rates, None, None)[0].pixel_values
        blank = torch.full_like(face, round(255 * self.denoiser_visual_encoder.config.pixel_mean))
        others = {"blank": blank} | ({} if other_video is None else {"swapped": other_video})
        results = {}
        voice = self(audio, video, generator=torch.Generator().manual_seed(seed), **options).audios[0]
        for name, other in others.items():
            settings = {**options, "source_fps": None} if name == "blank" else options
            changed = self(audio, other, generator=torch.Generator().manual_seed(seed), **settings).audios[0]
            energies = (float(np.sum(np.square(values, dtype=np.float64))) for values in (changed - voice, voice))
            difference, level = energies
            results[name] = 10 * math.log10(difference / level) if difference and level else -math.inf
        return results

    # ------------------------------------------------------------------------------------------------ sampling

    def _reverse_diffusion(
        self, score, mixture, estimate, draw, settings, callback, callback_names, bar
    ) -> torch.Tensor:
        """Corrector, then predictor, at each time; the result is the last state without its noise."""
        scheduler, mean = self.scheduler, None
        sample = scheduler.init_sample(estimate, next(draw))
        corrections = settings["corrector_steps"] if settings["corrector"] == "ald" else 0
        for index, time in enumerate(scheduler.timesteps):
            for _ in range(corrections):
                sample, _ = scheduler.step_correct(
                    score(sample, time), time, sample, settings["snr"], noise=next(draw), return_dict=False
                )
            sample, mean = scheduler.step(
                score(sample, time), time, sample, estimate, noise=next(draw), return_dict=False
            )
            tensors = {"sample": sample, "mean": mean, "initial_estimate": estimate, "mixture": mixture}
            tensors |= self._call_back(callback, callback_names, index, time, tensors)
            sample, mean = tensors["sample"], tensors["mean"]
            bar.update()
            if self.interrupt:
                break
        return mean

    def _follow_probability_flow(self, score, mixture, estimate, draw, callback, callback_names, bar) -> torch.Tensor:
        """The flow without noise by Heun's method, down to the last time, and from there what is to be expected."""
        scheduler = self.scheduler
        sample = scheduler.init_sample(estimate, next(draw))
        times = scheduler.timesteps
        for index, time in enumerate(times):
            score_here = score(sample, time)
            if index == len(times) - 1:
                sample = scheduler.remove_noise(score_here, time, sample, estimate)
            else:
                later = times[index + 1]
                flow = scheduler.flow(score_here, time, sample, estimate)
                reached = sample + (later - time) * flow
                flow_there = scheduler.flow(score(reached, later), later, reached, estimate)
                sample = sample + (later - time) * (flow + flow_there) / 2
            tensors = {"sample": sample, "mean": sample, "initial_estimate": estimate, "mixture": mixture}
            changed = self._call_back(callback, callback_names, index, time, tensors)
            sample = changed.get("sample", changed.get("mean", sample))
            bar.update()
            if self.interrupt:
                break
        return sample

    def _make_score(self, mixture: torch.Tensor, estimate: torch.Tensor, faces: torch.Tensor) -> Callable:
        """(sample, time) -> score. The faces are encoded once for all times."""
        encoder = self.score_visual_encoder or self.denoiser_visual_encoder
        face_embeddings = self._encode_faces(encoder, faces)

        def score(sample: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            return self.score_model(
                score_input(self.config.condition, sample, mixture, estimate), time, face_embeddings
            ).sample

        return score

    def _encode_faces(self, encoder: AVDiffuSSVisualEncoder, faces: torch.Tensor) -> torch.Tensor:
        return encoder(faces, return_dict=True).last_hidden_state

    def _call_back(self, callback, names, index: int, time: torch.Tensor, tensors: dict) -> Mapping:
        if callback is None:
            return {}
        return callback(self, index, time, {name: tensors[name] for name in names}) or {}

    def _draw_noise(
        self, batch: Sequence[WindowSegment], recordings: Sequence[Recording], like: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """The noise of each draw for the windows of a batch, (windows, 1, bins, frames)."""
        draw = 0
        while True:
            parts = [
                recordings[segment.recording].noise(draw, segment.start // self.processor.hop_length, like.shape[-1])
                for segment in batch
            ]
            yield torch.stack(parts)[:, None].to(like.device)
            draw += 1

    # ------------------------------------------------------------------------------------------------ media

    def _load_recordings(self, audio, video, sampling_rate, source_fps, generator, noise) -> list[Recording]:
        audios = list(audio) if isinstance(audio, list | tuple) else [audio]
        videos = list(video) if isinstance(video, list | tuple) else [video]
        count = max(len(audios), len(videos))
        if not audios or not videos or any(len(inputs) not in (1, count) for inputs in (audios, videos)):
            raise ValueError(
                f"`audio` and `video` must be lists of one length, or one of them a single item; got {len(audios)} and "
                f"{len(videos)}."
            )
        waveforms = [self.processor.audio(one, sampling_rate) for one in audios]
        waveforms = waveforms * (count if len(audios) == 1 else 1)
        faces = [self._load_face(one, source_fps) for one in videos] * (count if len(videos) == 1 else 1)
        faces = [
            face if self._is_prepared(video, source_fps) else self.processor.align_to_audio(face, len(waveform))
            for video, face, waveform in zip(videos * (count // len(videos)), faces, waveforms, strict=True)
        ]
        fields = self._make_noise_fields(count, generator, noise)
        return [Recording(*parts) for parts in zip(waveforms, faces, fields, strict=True)]

    def _is_prepared(self, video: Any, source_fps: float | None) -> bool:
        """Whether these are grey pictures that the networks take as they are."""
        if not isinstance(video, np.ndarray | torch.Tensor) or video.ndim != 3 or source_fps is not None:
            return False
        side = -(-self.processor.frame_size // 32)
        is_bytes = video.dtype in (np.uint8, torch.uint8)
        return is_bytes and len(video) > 0 and all(-(-size // 32) == side for size in video.shape[1:])

    def _load_face(self, video: Any, source_fps: float | None) -> torch.Tensor:
        if self._is_prepared(video, source_fps):
            return torch.as_tensor(video)
        return self.processor.video(video, source_fps=source_fps)

    def _make_noise_fields(
        self,
        count: int,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        noise: Sequence[torch.Tensor] | None,
    ) -> list[Callable]:
        if noise is not None:
            return [_slice_given_noise(noise, index) for index in range(count)]
        generators = list(generator) if isinstance(generator, list | tuple) else [generator] * count
        if len(generators) != count:
            raise ValueError(f"`generator` is a list of {len(generators)}, expected one for each of {count} items.")
        bins = self.processor.n_fft // 2 + 1
        fields = []
        for one in generators:
            device = "cpu" if one is None else one.device
            seed = int(torch.randint(2**62, (), generator=one, device=device))
            fields.append(NoiseField(seed, bins).columns)
        return fields

    def _make_windows(self, num_samples: int, seconds: float, overlap: float) -> Windows:
        processor = self.processor
        # Where a column of the spectrogram and a frame of the video begin together.
        unit = math.lcm(processor.hop_length, processor.samples_per_frame)
        length = num_samples if math.isinf(seconds) else max(int(seconds * processor.sampling_rate), 2 * unit)
        return Windows.with_overlap(num_samples, min(length, num_samples), overlap, unit)

    def _cut_windows(
        self, index: int, recordings: Sequence[Recording], windows: Sequence[Windows]
    ) -> Iterator[WindowSegment]:
        """The windows of one recording."""
        recording, starts = recordings[index], windows[index].starts
        for start in starts:
            waveform = recording.waveform[start : start + windows[index].length]
            frames = torch.arange(len(recording.pixel_values))
            if len(starts) > 1:
                per_frame = self.processor.samples_per_frame
                first, count = start // per_frame, -(-len(waveform) // per_frame)
                frames = torch.arange(first, first + count).clamp(max=len(frames) - 1)  # the last frame is held
            yield WindowSegment(index, start, waveform, frames)

    def _make_batches(
        self, segments: Sequence[WindowSegment], recordings: Sequence[Recording], batch_size: int
    ) -> Iterator[list[WindowSegment]]:
        """Windows of equal sizes together, so that a batch computes what its items do alone."""
        alike: dict[tuple[int, ...], list[WindowSegment]] = defaultdict(list)
        for segment in segments:
            sides = recordings[segment.recording].pixel_values.shape[1:]
            alike[(self._count_padded_frames(len(segment.waveform)), len(segment.frames), *sides)].append(segment)
        for group in alike.values():
            for first in range(0, len(group), batch_size):
                yield group[first : first + batch_size]

    # ------------------------------------------------------------------------------------------------ checks

    def _resolve_settings(self, num_inference_steps, corrector, corrector_steps, snr) -> dict[str, Any]:
        given = {
            "num_inference_steps": num_inference_steps,
            "corrector": corrector,
            "corrector_steps": corrector_steps,
            "snr": snr,
        }
        preset = self.config.presets[self.config.preset]
        return {**PRESETS["reference"], **preset, **{name: value for name, value in given.items() if value is not None}}

    def _check_noise(self, noise, settings, sampler: str, windows: Sequence[Windows]) -> None:
        """Raise a ValueError unless given noise is enough for all draws of all recordings."""
        processor = self.processor
        corrections = settings["corrector_steps"] if settings["corrector"] == "ald" else 0
        steps = settings["num_inference_steps"]
        draws = 1 if sampler == "heun" else 1 + steps * (corrections + 1)
        if len(noise) < draws:
            raise ValueError(f"`noise` holds {len(noise)} draws; these steps need {draws}.")
        bins = processor.n_fft // 2 + 1
        for index, one in enumerate(windows):
            last = one.starts[-1]
            frames = last // processor.hop_length + self._count_padded_frames(one.num_samples - last)
            for draw, field in enumerate(noise[:draws]):
                batched = field.ndim == 3
                if (
                    not field.is_complex()
                    or field.ndim not in (2, 3)
                    or (batched and len(field) != len(windows))
                    or field.shape[-2] != bins
                    or field.shape[-1] < frames
                ):
                    raise ValueError(
                        f"`noise[{draw}]` must be complex ([{len(windows)},] {bins}, {frames} or more) for item "
                        f"{index}, got {tuple(field.shape)} {field.dtype}."
                    )

    def _count_padded_frames(self, num_samples: int) -> int:
        """Frames of the spectrogram of so many samples."""
        frames, multiple = 1 + num_samples // self.processor.hop_length, self.processor.frame_multiple
        return -(-frames // multiple) * multiple

    def _check_inputs(self, settings, sampler, batch_size, window_overlap, output_type) -> None:
        check_choice("corrector", settings["corrector"], CORRECTORS)
        check_choice("sampler", sampler, SAMPLERS)
        counts = {
            "num_inference_steps": settings["num_inference_steps"],
            "corrector_steps": settings["corrector_steps"],
            "batch_size": batch_size,
        }
        for name, value in counts.items():
            check_whole_number(name, value, at_least=1)
        check_number("snr", settings["snr"], above=0)
        check_number("window_overlap", window_overlap, at_least=0, below=1)
        if output_type not in ("np", "pt"):
            raise ValueError(f'`output_type` must be "np" or "pt", got {output_type!r}.')


def _slice_given_noise(noise: Sequence[torch.Tensor], index: int) -> Callable[[int, int, int], torch.Tensor]:
    def columns(draw: int, first: int, number: int) -> torch.Tensor:
        field = noise[draw]
        return (field[index] if field.ndim == 3 else field)[:, first : first + number]

    return columns


def _check_network(network: AVDiffuSSModel, name: str, num_spectrograms: int, time_conditioned: bool) -> None:
    config = network.config
    if (config.num_spectrograms, config.time_conditioned) != (num_spectrograms, time_conditioned):
        raise ValueError(
            f"`{name}` must be a network of num_spectrograms={num_spectrograms}, time_conditioned={time_conditioned}; "
            f"got {config.num_spectrograms}, {config.time_conditioned}."
        )


__all__ = ["PRESETS", "AVDiffuSSPipeline", "AVDiffuSSPipelineOutput"]
