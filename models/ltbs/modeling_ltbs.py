"""Lips to speech: what is seen gives units, pitch and energy, these a coarse spectrogram, and a flow the fine one.

"Let There Be Sound" (arXiv 2308.15256). No code and no weights of its authors are public. The structure is the paper's;
sizes and details are those of the one public implementation, YangKangJNU/LTBS@6c977e1, whose faults are not kept.

Shapes: clips; frames of the video, 25 per second; mel frames, four for each; rows (mel bins).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.compiler import is_exporting
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from avzoo.checks import check_number, check_whole_number
from avzoo.models.layers.labels import can_read_values, check_whole_labels
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames
from avzoo.models.layers.vocoding import vocode

from .configuration_ltbs import LTBSConfig
from .conformer import Conformer, RelativeAttention
from .flow_post_net import ActNorm, ChannelMixing, Coupling, FlowPostNet, WeightNormedConvolution
from .loss_ltbs import LTBSTargets, acoustic_losses, flow_loss
from .variance import VariancePredictor
from .visual_front_end import VisualFrontEnd
from .windows_ltbs import join_windows, lay_windows


@dataclass
class LTBSOutput(ModelOutput):
    """A coarse spectrogram and what it was made of.

    Args:
        mel_coarse: (clips, mel frames, rows), natural logarithm; 0 behind a clip's end.
        unit_logits: (clips, frames, num_units), 0 behind a clip's end.
        pitch, energy: (clips, frames), as predicted; 0 behind a clip's end.
        units: (clips, frames), the units that were embedded, -100 behind a clip's end.
        hidden_states: (clips, frames, hidden_size), of the encoder.
        condition: (clips, mel frames, hidden_size), what the mel decoder and the flow read.
        mask: (clips, frames), True where there is a frame.
    """

    mel_coarse: torch.FloatTensor | None = None
    unit_logits: torch.FloatTensor | None = None
    pitch: torch.FloatTensor | None = None
    energy: torch.FloatTensor | None = None
    units: torch.LongTensor | None = None
    hidden_states: torch.FloatTensor | None = None
    condition: torch.FloatTensor | None = None
    mask: torch.BoolTensor | None = None


@dataclass
class LipToSpeechOutput(ModelOutput):
    """A spectrogram.

    Args:
        loss: of the batch, where there are targets.
        mel: (clips, mel frames, rows), natural logarithm, as refined; None beside losses, where nothing is sampled.
        mel_coarse, unit_logits, pitch, energy, units: see [`LTBSOutput`].
        latent: (clips, mel frames, rows), of the target; log_determinant: (clips,).
        losses: {term: tensor}, unweighted: mel, units, pitch, energy, postnet.
    """

    loss: torch.FloatTensor | None = None
    mel: torch.FloatTensor | None = None
    mel_coarse: torch.FloatTensor | None = None
    unit_logits: torch.FloatTensor | None = None
    pitch: torch.FloatTensor | None = None
    energy: torch.FloatTensor | None = None
    units: torch.LongTensor | None = None
    latent: torch.FloatTensor | None = None
    log_determinant: torch.FloatTensor | None = None
    losses: dict[str, torch.FloatTensor] | None = None


class SpeakerFusion(nn.Module):
    """A speaker's vector beside each frame, and a projection of both; without speakers the projection alone."""

    def __init__(self, config: LTBSConfig, in_channels: int):
        super().__init__()
        self.speaks = config.speaker_conditioning != "none"
        width = config.speaker_embed_dim if self.speaks else 0
        self.projection = nn.Linear(in_channels + width, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, speaker: torch.Tensor | None) -> torch.Tensor:
        if self.speaks:
            beside = speaker[:, None].expand(-1, hidden_states.shape[1], -1)
            hidden_states = torch.cat([hidden_states, beside], dim=-1)
        return self.projection(hidden_states)


class LTBSPreTrainedModel(PreTrainedModel):
    config_class = LTBSConfig
    base_model_prefix = "ltbs"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["MouthBlock", "ConformerLayer", "FlowStep"]

    def __init__(self, config: LTBSConfig, *args, **kwargs):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """torch's own draws; a flow begins as a linear map: couplings change nothing, and rows are turned."""
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if not isinstance(module, nn.LayerNorm):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, RelativeAttention):
            init.xavier_uniform_(module.content_bias)
            init.xavier_uniform_(module.position_bias)
        elif isinstance(module, WeightNormedConvolution):
            init.kaiming_uniform_(module.direction, a=5**0.5)
            init.copy_(module.length, module.direction.norm(dim=(1, 2), keepdim=True))
            init.zeros_(module.bias)
        elif isinstance(module, ActNorm):
            init.zeros_(module.log_scale)
            init.zeros_(module.bias)
            init.zeros_(module.is_initialized)
        elif isinstance(module, ChannelMixing):
            weight = torch.linalg.qr(torch.randn(module.group_size, module.group_size))[0]
            weight[0] *= torch.linalg.det(weight).sign()
            init.copy_(module.weight, weight)
        elif isinstance(module, LTBSModel) and module.config.speaker_conditioning == "embedding":
            init.zeros_(module.mean_speaker)
        elif isinstance(module, Coupling):  # comes after its parts
            init.zeros_(module.end.weight)
            init.zeros_(module.end.bias)


class LTBSModel(LTBSPreTrainedModel):
    """A video of lips to a coarse spectrogram, in which every possibility is averaged."""

    def __init__(self, config: LTBSConfig):
        super().__init__(config)
        size, width = config.hidden_size, config.variance_embed_dim
        self.front_end = VisualFrontEnd(config)
        self.speaker_embedding = self.speaker_projection = None
        if config.speaker_conditioning == "table":
            self.speaker_embedding = nn.Embedding(config.num_speakers, config.speaker_embed_dim)
        elif config.speaker_conditioning == "embedding":
            self.register_buffer("mean_speaker", torch.zeros(config.given_speaker_dim))
            if config.speaker_encoder_dim is not None:
                self.speaker_projection = nn.Linear(config.speaker_encoder_dim, config.speaker_embed_dim)
        self.encoder_fusion = SpeakerFusion(config, config.trunk_channels[-1])
        self.encoder = Conformer(config, config.encoder_layers)

        def predictor(num_layers: int, out_channels: int) -> VariancePredictor:
            sizes = (config.predictor_hidden, config.predictor_kernel, num_layers, out_channels)
            return VariancePredictor(size, *sizes, config.predictor_dropout)

        self.unit_predictor = predictor(config.unit_layers, config.num_units)
        self.pitch_predictor, self.energy_predictor = (predictor(config.prosody_layers, 1) for _ in range(2))
        self.unit_embedding = nn.Embedding(config.num_units + 1, width)  # the first is of no frame
        self.pitch_embedding, self.energy_embedding = (nn.Conv1d(1, width, 3, padding=1) for _ in range(2))
        self.fusion = nn.Linear(size + 3 * width, size)
        self.decoder_fusion = SpeakerFusion(config, size)
        self.decoder = Conformer(config, config.decoder_layers)
        self.mel_projection = nn.Linear(size, config.num_mel_bins)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.front_end.stem.convolution

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        speaker_ids: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        units: torch.Tensor | None = None,
        pitch: torch.Tensor | None = None,
        energy: torch.Tensor | None = None,
        pitch_control: float = 1.0,
        energy_control: float = 1.0,
    ) -> LTBSOutput:
        """Make a coarse spectrogram.

        Args:
            pixel_values: (clips, frames, rows, columns) or (clips, 1, frames, rows, columns), grey: whole numbers from
                0 to 255 (uint8), or floating point as normalised.
            attention_mask: (clips, frames), 1 = frame, 0 = behind the end of a clip. None: every frame counts.
            speaker_ids: (clips,), rows of the table.
            speaker_embeddings: (clips, speaker_embed_dim), in place of them, or where there is no table; of width
                `speaker_encoder_dim` where the config has one. None where there is no table: `mean_speaker`, the mean
                of those in training.
            units: (clips, frames), to embed in place of those predicted; -100 where there is none.
            pitch, energy: (clips, frames), in place of those predicted.
            pitch_control, energy_control: factors on those predicted.

        Raises:
            TypeError: `units` or `speaker_ids` are floating point.
            ValueError: a shape does not fit, a unit or a speaker does not exist, or speakers are told otherwise than
                the network takes them.
        """
        config = self.config
        pixels, mask = self._prepare(pixel_values, attention_mask)
        if units is not None:
            check_whole_labels(units, config.num_units, "units")
        speaker = self._find_speaker(pixels, speaker_ids, speaker_embeddings)
        seen = self.front_end(pixels)
        hidden_states = self.encoder(self.encoder_fusion(seen, speaker), mask)
        masked = config.mask_convolutions
        unit_logits = self.unit_predictor(hidden_states, mask, masked)
        predicted = [
            predictor(hidden_states, mask, masked)[..., 0]
            for predictor in (self.pitch_predictor, self.energy_predictor)
        ]
        units = unit_logits.argmax(-1) if units is None else units
        if mask is not None:
            units = units.masked_fill(~mask, -100)
        pitch = predicted[0] * pitch_control if pitch is None else pitch
        energy = predicted[1] * energy_control if energy is None else energy
        embedded = self._embed_variance(hidden_states, units, pitch, energy, mask)
        condition = self.fusion(embedded).repeat_interleave(config.upsample_factor, dim=1)
        mel_mask = None if mask is None else mask.repeat_interleave(config.upsample_factor, dim=1)
        decoded = self.decoder(self.decoder_fusion(condition, speaker), mel_mask)
        mel_coarse = self.mel_projection(decoded)
        if mel_mask is not None:
            mel_coarse = mel_coarse * mel_mask[..., None]
        return LTBSOutput(mel_coarse, unit_logits, *predicted, units, hidden_states, condition, mask)

    def _embed_variance(
        self,
        hidden_states: torch.Tensor,
        units: torch.Tensor,
        pitch: torch.Tensor,
        energy: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Encoder, unit, pitch and energy side by side."""
        parts = [hidden_states, self.unit_embedding(units.clamp(min=-1) + 1)]
        for value, embedding in ((pitch, self.pitch_embedding), (energy, self.energy_embedding)):
            value = value.to(hidden_states.dtype)
            parts.append(embedding((value if mask is None else value * mask)[:, None]).mT)
        return torch.cat(parts, dim=-1)

    def _prepare(
        self, pixel_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Normalised frames, 0 behind the end of a clip, and the mask; None where nothing is padded."""
        config = self.config
        pixel_values = take_pictures(pixel_values)
        shape = tuple(pixel_values.shape[:2])
        if attention_mask is not None and attention_mask.shape != shape:
            raise ValueError(f"`attention_mask` must be {shape}, got {tuple(attention_mask.shape)}.")
        dtype = self.get_input_embeddings().weight.dtype
        if not pixel_values.is_floating_point():
            pixel_values = (pixel_values.to(torch.float32) / 255 - config.pixel_mean) / config.pixel_std
        pixel_values = pixel_values.to(dtype)
        if attention_mask is None:
            return pixel_values, None
        count_frames(attention_mask)  # refuses masks with holes
        mask = attention_mask.bool()
        return pixel_values * mask[:, :, None, None], mask

    def _find_speaker(
        self, pixels: torch.Tensor, speaker_ids: torch.Tensor | None, speaker_embeddings: torch.Tensor | None
    ) -> torch.Tensor | None:
        """(clips, speaker_embed_dim) of unit length; None for networks that know no speakers."""
        config = self.config
        if config.speaker_conditioning == "none":
            if speaker_ids is not None or speaker_embeddings is not None:
                raise ValueError("`speaker_ids` and `speaker_embeddings`: this network knows no speakers.")
            return None
        if speaker_ids is not None and speaker_embeddings is not None:
            raise ValueError("Give one of `speaker_ids` and `speaker_embeddings`, not both.")
        clips = pixels.shape[0]
        if speaker_ids is not None:
            if self.speaker_embedding is None:
                raise ValueError("`speaker_ids`: this network has no table of speakers; give `speaker_embeddings`.")
            if speaker_ids.shape != (clips,):
                raise ValueError(f"`speaker_ids` must be ({clips},), got {tuple(speaker_ids.shape)}.")
            check_speaker_rows(speaker_ids, config.num_speakers)
            speaker_embeddings = self.speaker_embedding(speaker_ids)
        elif speaker_embeddings is None:
            speaker_embeddings = self._take_mean_speaker().expand(clips, -1)
        elif speaker_embeddings.shape != (clips, config.given_speaker_dim):
            raise ValueError(
                f"`speaker_embeddings` must be {(clips, config.given_speaker_dim)}, got "
                f"{tuple(speaker_embeddings.shape)}."
            )
        speaker_embeddings = speaker_embeddings.to(pixels.dtype)
        if self.speaker_projection is not None:
            speaker_embeddings = self.speaker_projection(nn.functional.normalize(speaker_embeddings, dim=-1))
        return nn.functional.normalize(speaker_embeddings, dim=-1)

    def _take_mean_speaker(self) -> torch.Tensor:
        if self.speaker_embedding is not None:
            raise ValueError("Give `speaker_ids`, rows of this network's table, or `speaker_embeddings`.")
        if not is_exporting() and not self.mean_speaker.any():
            raise ValueError("Give `speaker_embeddings`: this network keeps no mean speaker of its training.")
        return self.mean_speaker


class LTBSForLipToSpeech(LTBSPreTrainedModel):
    """A video of lips to a spectrogram with the detail of one possibility, and by a vocoder to sound."""

    loaded_revision: str | None = None  # of its repository; vocoder and speaker encoder are taken from the same

    @classmethod
    def from_pretrained(cls, *args: Any, revision: str = "main", **kwargs: Any) -> Any:
        """Load it as transformers does, and remember the revision, which no config keeps."""
        loaded = super().from_pretrained(*args, revision=revision, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.loaded_revision = revision
        return loaded

    def __init__(self, config: LTBSConfig):
        super().__init__(config)
        self.ltbs = LTBSModel(config)
        self.postnet = FlowPostNet(
            config.num_mel_bins,
            config.hidden_size + config.num_mel_bins,
            hidden_size=config.postnet_hidden,
            kernel_size=config.postnet_kernel,
            dilation_rate=config.postnet_dilation_rate,
            num_steps=config.postnet_steps,
            num_layers=config.postnet_layers,
            dropout=config.postnet_dropout,
            group_size=config.postnet_group,
            squeeze=config.postnet_squeeze,
            sigmoid_scale=config.postnet_sigmoid_scale,
            steps_per_wavenet=config.postnet_share_group,
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.ltbs.get_input_embeddings()

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        speaker_ids: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        unit_labels: torch.Tensor | None = None,
        pitch_labels: torch.Tensor | None = None,
        energy_labels: torch.Tensor | None = None,
        mel_labels: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        noise_scale: float = 0.0,
        pitch_control: float = 1.0,
        energy_control: float = 1.0,
    ) -> LipToSpeechOutput:
        """Make spectrograms; with all four targets, the losses instead.

        Args:
            pixel_values, attention_mask, speaker_ids, speaker_embeddings: see [`LTBSModel.forward`].
            unit_labels: (clips, frames), units from 0 on, -100 behind a clip's end.
            pitch_labels, energy_labels: (clips, frames). These three, where they are given, are embedded in place of
                what is predicted, with `mel_labels` and without.
            mel_labels: (clips, mel frames, rows), the natural logarithm of the mel spectrogram.
            noise: (clips, mel frames, rows), a standard normal draw. None: zeros.
            noise_scale: times the noise.
            pitch_control, energy_control: factors on what is predicted.

        Raises:
            TypeError: `unit_labels` are floating point.
            ValueError: targets are missing beside `mel_labels`, a shape does not fit, a unit does not exist.
        """
        self._check_targets(pixel_values, unit_labels, pitch_labels, energy_labels, mel_labels)
        for name, value in {"pitch_labels": pitch_labels, "energy_labels": energy_labels}.items():
            if value is not None and can_read_values(value):
                check_finite(name, value)
        acoustic = self.ltbs(
            pixel_values,
            attention_mask,
            speaker_ids,
            speaker_embeddings,
            units=unit_labels,
            pitch=pitch_labels,
            energy=energy_labels,
            pitch_control=pitch_control,
            energy_control=energy_control,
            return_dict=True,
        )
        told = {name: acoustic[name] for name in ("mel_coarse", "unit_logits", "pitch", "energy", "units")}
        if mel_labels is None:
            return LipToSpeechOutput(mel=self.refine(acoustic, noise, noise_scale), **told)
        targets = LTBSTargets(unit_labels, pitch_labels, energy_labels, mel_labels)
        losses = acoustic_losses(acoustic, targets, self.config)
        latent, log_determinant = self.postnet(mel_labels.mT, *self.describe_frames(acoustic))
        losses["postnet"] = flow_loss(latent, log_determinant, self.place_prior(acoustic), self._mel_mask(acoustic))
        loss = losses["mel"] + self.config.postnet_loss_weight * losses["postnet"]
        loss = loss + self.config.variance_loss_weight * (losses["units"] + losses["pitch"] + losses["energy"])
        flow = {"latent": latent.mT, "log_determinant": log_determinant}
        return LipToSpeechOutput(loss=loss, **told, **flow, losses=losses)

    def refine(self, acoustic: LTBSOutput, noise: torch.Tensor | None = None, noise_scale: float = 0.0) -> torch.Tensor:
        """The spectrogram of a latent: noise around the coarse one (or around 0). (clips, mel frames, rows)."""
        mask, condition = self.describe_frames(acoustic)
        latent = self.place_prior(acoustic)
        if noise is not None:
            if noise.shape != acoustic.mel_coarse.shape:
                raise ValueError(
                    f"`noise` must be {tuple(acoustic.mel_coarse.shape)}, as the spectrogram, got {tuple(noise.shape)}."
                )
            latent = latent + noise_scale * noise.to(latent).mT
        return self.postnet.invert(latent * mask, mask, condition).mT

    @torch.no_grad()
    def generate(
        self,
        pixel_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
        noise_scale: float = 0.667,
        vocoder: Callable[[torch.Tensor], torch.Tensor] | None = None,
        units: torch.Tensor | None = None,
        pitch: torch.Tensor | None = None,
        energy: torch.Tensor | None = None,
        window_frames: int | None = 250,
        overlap_frames: int = 25,
        **options: torch.Tensor | float,
    ) -> LipToSpeechOutput | tuple[torch.Tensor, torch.Tensor]:
        """Sample a spectrogram, and its sound where there is a vocoder.

        Args:
            generator: of the noise, where `noise` is not given. None: torch's own.
            noise, noise_scale: see `forward`; 0 gives the same every time.
            vocoder: (clips, mel frames, rows) to (clips, samples). None: the spectrogram is returned.
            units, pitch, energy: (clips, frames), in place of what is predicted.
            window_frames: longer clips are made in windows of so many frames, so that memory does not grow with the
                square of their length. None: as a whole.
            overlap_frames: that windows share, in which one fades into the next. They share the noise, too.
            options: speakers and controls, see `forward`.

        Returns:
            [`LipToSpeechOutput`], or waveforms (clips, samples), 0 behind a clip's end, and the samples of each,
            (clips,).

        Raises:
            TypeError, ValueError: what `forward` raises; a factor, noise, pitch, energy or embedding that is NaN;
                windows that are not longer than what they share; a vocoder that gives something else.
        """
        config = self.config
        check_number("noise_scale", noise_scale, at_least=0)
        if window_frames is not None:
            check_whole_number("window_frames", window_frames, at_least=1)
        pixel_values = take_pictures(pixel_values)  # before noise is drawn for it
        clips, frames = pixel_values.shape[:2]
        if noise is None and noise_scale:
            shape = (clips, frames * config.upsample_factor, config.num_mel_bins)
            device = pixel_values.device if generator is None else generator.device
            noise = torch.randn(shape, generator=generator, device=device).to(pixel_values.device)
        self._check_targets(pixel_values, units, pitch, energy, None)
        given = {"noise": noise, "pitch": pitch, "energy": energy, "speaker_embeddings": None}
        for name, value in (given | {name: options[name] for name in given.keys() & options.keys()}).items():
            if value is not None:
                check_finite(name, value)
        for name in ("pitch_control", "energy_control"):
            if not math.isfinite(options.get(name, 1.0)):
                raise ValueError(f"`{name}` must be finite, got {float(options[name])}.")
        inputs = {"pixel_values": pixel_values, "attention_mask": attention_mask, "noise": noise}
        inputs |= {"unit_labels": units, "pitch_labels": pitch, "energy_labels": energy, "noise_scale": noise_scale}
        inputs |= options
        if window_frames is None or frames <= window_frames:
            output = self(**inputs, return_dict=True)
        else:
            if not 0 <= overlap_frames < window_frames:
                raise ValueError(
                    f"`overlap_frames` must be from 0 to less than `window_frames` ({window_frames}), got "
                    f"{overlap_frames}."
                )
            output = self._make_in_windows(inputs, window_frames, overlap_frames)
        if vocoder is None:
            return output
        lengths = torch.full((clips,), frames, device=pixel_values.device)
        if attention_mask is not None:
            lengths = count_frames(attention_mask)
        return self._sound(output.mel, lengths, vocoder), lengths * config.samples_per_frame

    def _make_in_windows(self, inputs: dict[str, Any], window: int, overlap: int) -> LipToSpeechOutput:
        """`forward` without targets, clip by clip and window by window."""
        factor, frames = self.config.upsample_factor, inputs["pixel_values"].shape[1]
        mask = inputs.pop("attention_mask")
        lengths = [frames] * len(inputs["pixel_values"]) if mask is None else count_frames(mask).tolist()
        rates = {name: 1 for name in ("pixel_values", "unit_labels", "pitch_labels", "energy_labels")}
        rates |= {"noise": factor, "mel": factor, "mel_coarse": factor}
        rows: dict[str, list[torch.Tensor]] = {}
        for clip, length in enumerate(lengths):
            own = {
                name: value[clip : clip + 1] if isinstance(value, torch.Tensor) and value.ndim else value
                for name, value in inputs.items()
            }
            starts, pieces = lay_windows(length, window, overlap), []
            for start in starts:
                stop = min(start + window, length)
                piece = {
                    name: value[:, start * rates[name] : stop * rates[name]]
                    if name in rates and value is not None
                    else value
                    for name, value in own.items()
                }
                pieces.append(self(**piece, return_dict=True))
            for name in ("mel", "mel_coarse", "unit_logits", "pitch", "energy"):
                rate = rates.get(name, 1)
                made = [piece[name] for piece in pieces]
                rows.setdefault(name, []).append(
                    join_windows(made, [start * rate for start in starts], overlap * rate)[0]
                )
            given = own["unit_labels"]
            units = rows["unit_logits"][-1].argmax(-1) if given is None else given[0, :length]
            rows.setdefault("units", []).append(units)
        behind = {"units": -100}
        return LipToSpeechOutput(
            **{
                name: fill_clips(values, frames * rates.get(name, 1), behind.get(name, 0))
                for name, values in rows.items()
            }
        )

    def _sound(
        self, mel: torch.Tensor, lengths: torch.Tensor, vocoder: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Waveforms (clips, samples). A shorter clip is sounded alone: the zeros behind its end would be loud noise."""
        config, frames = self.config, mel.shape[1] // self.config.upsample_factor
        convert = partial(vocode, vocoder) if isinstance(vocoder, PreTrainedModel) else vocoder

        def speak(spectrograms: torch.Tensor, length: int) -> torch.Tensor:
            waveforms = convert(spectrograms)
            if waveforms.ndim != 2 or len(waveforms) != len(spectrograms):
                raise ValueError(
                    f"`vocoder` must make (clips, samples) of {tuple(spectrograms.shape)}, got "
                    f"{tuple(waveforms.shape)}."
                )
            return waveforms[:, : length * config.samples_per_frame]

        if bool((lengths == frames).all()):
            waveforms = list(speak(mel, frames))
        else:
            rows = zip(mel, lengths.tolist(), strict=True)
            waveforms = [speak(row[None, : length * config.upsample_factor], length)[0] for row, length in rows]
        return fill_clips(waveforms, frames * config.samples_per_frame)  # a vocoder may make a few fewer

    def describe_frames(self, acoustic: LTBSOutput) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask (clips, 1, mel frames) and condition (clips, hidden_size + rows, mel frames) of the flow."""
        return self._mel_mask(acoustic), torch.cat([acoustic.condition, acoustic.mel_coarse], dim=-1).mT

    def _mel_mask(self, acoustic: LTBSOutput) -> torch.Tensor:
        mel = acoustic.mel_coarse
        if acoustic.mask is None:
            return mel.new_ones(mel.shape[0], 1, mel.shape[1])
        return acoustic.mask.repeat_interleave(self.config.upsample_factor, dim=1)[:, None].to(mel.dtype)

    def place_prior(self, acoustic: LTBSOutput) -> torch.Tensor:
        """Mean of the latents, (clips, rows, mel frames)."""
        mel = acoustic.mel_coarse.mT
        return mel if self.config.postnet_prior == "coarse" else torch.zeros_like(mel)

    def _check_targets(self, pixel_values, unit_labels, pitch_labels, energy_labels, mel_labels) -> None:
        config = self.config
        if pixel_values.ndim < 4:
            return  # the network refuses it
        clips, frames = pixel_values.shape[0], pixel_values.shape[-3]
        given = {"unit_labels": unit_labels, "pitch_labels": pitch_labels, "energy_labels": energy_labels}
        for name, value in given.items():
            if value is None and mel_labels is not None:
                raise ValueError(f"`mel_labels` need `{name}`, too: the losses are of all four.")
            if value is not None and value.shape != (clips, frames):
                raise ValueError(f"`{name}` must be {(clips, frames)}, got {tuple(value.shape)}.")
        if unit_labels is not None:
            check_whole_labels(unit_labels, config.num_units, "unit_labels")
        shape = (clips, frames * config.upsample_factor, config.num_mel_bins)
        if mel_labels is not None and mel_labels.shape != shape:
            raise ValueError(
                f"`mel_labels` must be {shape}, {config.upsample_factor} mel frames for each frame, got "
                f"{tuple(mel_labels.shape)}."
            )


def take_pictures(pixel_values: torch.Tensor) -> torch.Tensor:
    """(clips, frames, rows, columns), also of pictures with an axis of one colour; a ValueError for other shapes."""
    if pixel_values.ndim == 5 and pixel_values.shape[1] == 1:
        pixel_values = pixel_values[:, 0]
    if pixel_values.ndim != 4 or 0 in pixel_values.shape:
        raise ValueError(f"`pixel_values` must be (clips, frames, rows, columns), got {tuple(pixel_values.shape)}.")
    return pixel_values


def check_finite(name: str, values: torch.Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise ValueError(f"`{name}` has values that are NaN or infinite.")


def check_speaker_rows(speaker_ids: torch.Tensor, num_speakers: int) -> None:
    """Refuse what are no rows of a table; values are read on a CPU only, as a GPU would have to synchronise."""
    if speaker_ids.is_floating_point() or speaker_ids.dtype == torch.bool:
        raise TypeError(f"`speaker_ids` must be whole numbers, rows of the table, got {speaker_ids.dtype}.")
    if can_read_values(speaker_ids):
        wrong = speaker_ids[(speaker_ids < 0) | (speaker_ids >= num_speakers)]
        if len(wrong):
            raise ValueError(f"`speaker_ids` must be from 0 to {num_speakers - 1}, got {int(wrong[0])}.")


def fill_clips(clips: list[torch.Tensor], length: int, value: float = 0) -> torch.Tensor:
    """Clips (places, ...) as rows of one tensor (clips, length, ...), `value` behind their ends."""
    filled = clips[0].new_full((len(clips), length, *clips[0].shape[1:]), value)
    for row, clip in zip(filled, clips, strict=True):
        row[: clip.shape[0]] = clip
    return filled


__all__ = ["LTBSForLipToSpeech", "LTBSModel", "LTBSOutput", "LipToSpeechOutput"]
