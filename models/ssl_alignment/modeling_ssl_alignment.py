"""Two residual trunks that say where in a picture what is heard is, and which pictures and sounds belong together.

"Sound Source Localization is All about Cross-Modal Alignment" (arXiv 2309.10724). Source of the facts:
kaistmm/ssl_kccv@7e178e6 (`Alignment/model.py`); for the switches that make LVS, EZ-VSL, FNAC and SLAVC of the same
trunks, kaistmm/SSLalignment@e7ae3c5 (`model_lvs.py`), stoneMo/EZ-VSL@95ff5bf, OpenNLPLab/FNAC_AVL@0a0ca78 and
stoneMo/SLAVC@05b429c (`model.py` of each).
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from avzoo.models.layers.outputs import with_output_options

from .configuration_ssl_alignment import SSLAlignmentConfig
from .loss_ssl_alignment import AlignmentView, alignment_loss, average_map, compare_all
from .residual_trunk import ResidualTrunk


@dataclass
class SSLAlignmentOutput(ModelOutput):
    """Features of pictures and of sounds.

    Args:
        image_embeds, audio_embeds: (batch, projection_dim), unit length, for retrieval; see
            [`SSLAlignmentModel.get_image_features`] for networks without projections.
        image_map: (images, channels, rows, columns), unit length over channels.
        audio_vector: (sounds, channels), unit length.
    """

    image_embeds: torch.FloatTensor | None = None
    audio_embeds: torch.FloatTensor | None = None
    image_map: torch.FloatTensor | None = None
    audio_vector: torch.FloatTensor | None = None


@dataclass
class SoundLocalizationOutput(ModelOutput):
    """Where each picture's own sound is.

    Args:
        loss: of the batch, where it was asked for.
        similarity_map: (batch, rows, columns), cosine in [-1, 1]; of the released networks in [0, 1].
        image_embeds, audio_embeds: (batch, projection_dim), for retrieval.
        localization_logits: (batch, batch), pictures with sounds: the mean of each pair's map, over the temperature.
        alignment_logits: (batch, batch), the similarity of each pair's projections, over the temperature.
        image_map: (batch, channels, rows, columns), unit length over channels.
        audio_vector: (batch, channels), unit length.
        all_pairs_map: (batch, batch, rows, columns), where it was asked for.
    """

    loss: torch.FloatTensor | None = None
    similarity_map: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    audio_embeds: torch.FloatTensor | None = None
    localization_logits: torch.FloatTensor | None = None
    alignment_logits: torch.FloatTensor | None = None
    image_map: torch.FloatTensor | None = None
    audio_vector: torch.FloatTensor | None = None
    all_pairs_map: torch.FloatTensor | None = None


class SSLAlignmentPreTrainedModel(PreTrainedModel):
    """Base of both classes: config class and random weights."""

    config_class = SSLAlignmentConfig
    base_model_prefix = "alignment"
    main_input_name = "pixel_values"
    input_modalities = ("image", "audio")
    supports_gradient_checkpointing = True
    _no_split_modules = ["ResidualBlock"]

    def __init__(self, config: SSLAlignmentConfig, *args, **kwargs):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        """As the authors draw them: convolutions by their outputs, scales of norms near 1."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            init.normal_(module.weight, mean=1.0, std=0.02)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)


class SSLAlignmentModel(SSLAlignmentPreTrainedModel):
    """Pictures to maps and sounds to vectors that can be compared; neither side sees the other."""

    def __init__(self, config: SSLAlignmentConfig):
        super().__init__(config)
        size, widths, depths = config.hidden_sizes[-1], config.hidden_sizes, config.depths
        self.image_trunk = ResidualTrunk(3, widths, depths, config.image_strides)
        self.audio_trunk = ResidualTrunk(1, widths, depths, config.audio_strides)
        self.image_projection = self.audio_projection = None
        if config.projection_dim is not None:
            self.image_projection = nn.Linear(size, config.projection_dim)
            self.audio_projection = nn.Linear(size, config.projection_dim)
        # What stands before the similarity map: nothing, one map on each side, or two.
        count = {None: 0, "single": 1, "dual": 2}[config.localization_projection]
        dim = config.localization_dim or size
        self.image_localization = nn.ModuleList(nn.Conv2d(size, dim, 1) for _ in range(count))
        self.audio_localization = nn.ModuleList(nn.Linear(size, dim) for _ in range(count))
        self.post_init()

    @with_output_options
    def forward(
        self, pixel_values: torch.Tensor | None = None, input_features: torch.Tensor | None = None
    ) -> SSLAlignmentOutput:
        """Features of pictures, of sounds, or of both; their numbers may differ.

        Args:
            pixel_values: (images, 3, rows, columns), as [`SSLAlignmentProcessor`] makes them.
            input_features: (sounds, 1, bins, frames), its spectrograms. There is no mask: all of a batch have one
                length.

        Raises:
            ValueError: neither is given, or a shape is another.
        """
        if pixel_values is None and input_features is None:
            raise ValueError("`pixel_values` and `input_features` are both None; at least one is needed.")
        image = None if pixel_values is None else self.get_image_features(pixel_values)
        audio = None if input_features is None else self.get_audio_features(input_features)
        return SSLAlignmentOutput(
            image_embeds=None if image is None else image.pooler_output,
            audio_embeds=None if audio is None else audio.pooler_output,
            image_map=None if image is None else image.last_hidden_state,
            audio_vector=None if audio is None else audio.last_hidden_state,
        )

    def get_input_embeddings(self) -> nn.Module:
        """The first layer of the picture's trunk."""
        return self.image_trunk.stem.convolution

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode pictures, each once for any number of sounds.

        Args:
            pixel_values: (images, 3, rows, columns).

        Returns:
            `last_hidden_state` (images, channels, rows / 16, columns / 16), unit length over channels, for
            [`compute_similarity_maps`]; `pooler_output` (images, projection_dim), unit length, for retrieval. A network
            without projections gives the mean of its map there, which is shorter.
        """
        check_shape("pixel_values", pixel_values, 3, "(images, 3, rows, columns)")
        hidden_states = self.image_trunk(pixel_values)
        vectors = hidden_states.amax((2, 3))
        maps = [layer(hidden_states) for layer in self.image_localization] or [hidden_states]
        image_map = join_parts([nn.functional.normalize(part, dim=1) for part in maps])
        if self.image_projection is None:
            embeds = image_map.mean((2, 3))
        else:
            embeds = nn.functional.normalize(self.image_projection(vectors), dim=-1)
        return BaseModelOutputWithPooling(last_hidden_state=image_map, pooler_output=embeds)

    def get_audio_features(self, input_features: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode sounds, each once for any number of pictures.

        Args:
            input_features: (sounds, 1, bins, frames).

        Returns:
            `last_hidden_state` (sounds, channels), unit length, for [`compute_similarity_maps`]; `pooler_output`
            (sounds, projection_dim), unit length, for retrieval: the same vector in a network without projections.
        """
        check_shape("input_features", input_features, 1, "(sounds, 1, bins, frames)")
        hidden_states = self.audio_trunk(input_features).amax((2, 3))  # (sounds, channels)
        vectors = [layer(hidden_states) for layer in self.audio_localization] or [hidden_states]
        audio_vector = join_parts([nn.functional.normalize(part, dim=-1) for part in vectors])
        embeds = audio_vector
        if self.audio_projection is not None:
            embeds = nn.functional.normalize(self.audio_projection(hidden_states), dim=-1)
        return BaseModelOutputWithPooling(last_hidden_state=audio_vector, pooler_output=embeds)

    def compute_similarity_maps(
        self, image_features: BaseModelOutputWithPooling, audio_features: BaseModelOutputWithPooling
    ) -> torch.Tensor:
        """Similarity of every cell of every picture with every sound: (images, sounds, rows, columns), in [-1, 1]."""
        return compare_all(image_features.last_hidden_state, audio_features.last_hidden_state)


class SSLAlignmentForSoundLocalization(SSLAlignmentPreTrainedModel):
    """Pictures and their sounds to similarity maps; holds the network for pictures alone, where the config has it."""

    def __init__(self, config: SSLAlignmentConfig):
        super().__init__(config)
        self.alignment = SSLAlignmentModel(config)
        self.objectness_trunk = None
        if config.use_objectness:
            strides = config.objectness_strides
            self.objectness_trunk = ResidualTrunk(3, config.hidden_sizes, config.depths, strides)
            self.objectness_trunk.requires_grad_(False)  # trained on ImageNet, and left so
        self.post_init()

    def train(self, mode: bool = True) -> "SSLAlignmentForSoundLocalization":
        """As every module, but for the network for pictures alone, whose norms would follow the batches."""
        super().train(mode)
        if self.objectness_trunk is not None:
            self.objectness_trunk.eval()
        return self

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor,
        return_loss: bool = False,
        return_all_pairs: bool = False,
    ) -> SoundLocalizationOutput:
        """The similarity map of each picture with its own sound.

        M pictures with K sounds cost M + K passes: take [`get_image_features`], [`get_audio_features`] and
        [`compute_similarity_maps`].

        Args:
            pixel_values: (batch, 3, rows, columns).
            input_features: (batch, 1, bins, frames), the sound of each picture.
            return_loss: also give the loss of this one view: picture i and sound i match, all others don't. The
                released recipe compares three views; see [`alignment_loss`].
            return_all_pairs: also give the map of every picture with every sound.

        Raises:
            ValueError: the two batches differ in size.
        """
        if pixel_values.shape[0] != input_features.shape[0]:
            raise ValueError(
                f"`pixel_values` has {len(pixel_values)} pictures and `input_features` {len(input_features)} sounds; "
                "forward pairs them one by one. For all pairs take get_image_features, get_audio_features and "
                "compute_similarity_maps."
            )
        image, audio = self.get_image_features(pixel_values), self.get_audio_features(input_features)
        maps = self.compute_similarity_maps(image, audio)
        config, has_projections = self.config, self.config.projection_dim is not None
        threshold = config.mask_threshold if config.soft_mask else None
        alignment_logits = image.pooler_output @ audio.pooler_output.T / config.temperature if has_projections else None
        loss = None
        if return_loss:
            embeds = (image.pooler_output, audio.pooler_output) if has_projections else (None, None)
            view = AlignmentView(image.last_hidden_state, audio.last_hidden_state, *embeds)
            loss = alignment_loss(
                [view],
                temperature=config.temperature,
                mask_threshold=threshold,
                mask_temperature=config.mask_temperature,
            ).loss
        return SoundLocalizationOutput(
            loss=loss,
            similarity_map=torch.einsum("nchw,nc->nhw", image.last_hidden_state, audio.last_hidden_state),
            image_embeds=image.pooler_output,
            audio_embeds=audio.pooler_output,
            localization_logits=average_map(maps, threshold, config.mask_temperature) / config.temperature,
            alignment_logits=alignment_logits,
            image_map=image.last_hidden_state,
            audio_vector=audio.last_hidden_state,
            all_pairs_map=maps if return_all_pairs else None,
        )

    def get_input_embeddings(self) -> nn.Module:
        """The first layer of the picture's trunk."""
        return self.alignment.get_input_embeddings()

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """See [`SSLAlignmentModel.get_image_features`]."""
        return self.alignment.get_image_features(pixel_values)

    def get_audio_features(self, input_features: torch.Tensor) -> BaseModelOutputWithPooling:
        """See [`SSLAlignmentModel.get_audio_features`]."""
        return self.alignment.get_audio_features(input_features)

    def compute_similarity_maps(
        self, image_features: BaseModelOutputWithPooling, audio_features: BaseModelOutputWithPooling
    ) -> torch.Tensor:
        """See [`SSLAlignmentModel.compute_similarity_maps`]."""
        return self.alignment.compute_similarity_maps(image_features, audio_features)

    def get_objectness(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Where things are, whatever is heard: (images, rows, columns), 0 or more.

        The mean over channels of what the last stage of an ImageNet classifier answers ("OGL", from EZ-VSL); mixed with
        a similarity map by [`avzoo.metrics.mix_objectness`].

        Raises:
            ValueError: the model has no such network.
        """
        if self.objectness_trunk is None:
            raise ValueError(
                "the model has no objectness network (`config.use_objectness` is False); convert the checkpoint with "
                "--part objectness=FILE, the weights of an ImageNet ResNet-18."
            )
        check_shape("pixel_values", pixel_values, 3, "(images, 3, rows, columns)")
        return self.objectness_trunk(pixel_values).mean(1)


def join_parts(parts: list[torch.Tensor]) -> torch.Tensor:
    """Several unit vectors (over dimension 1) as one, whose product with another such is the mean of theirs."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1) * len(parts) ** -0.5


def check_shape(name: str, values: torch.Tensor, channels: int, expected: str) -> None:
    """Raise a ValueError unless `values` has four axes, the second of `channels`."""
    if values.ndim != 4 or values.shape[1] != channels or 0 in values.shape:
        raise ValueError(f"`{name}` must be {expected}, got {tuple(values.shape)}.")


__all__ = [
    "SSLAlignmentForSoundLocalization",
    "SSLAlignmentModel",
    "SSLAlignmentOutput",
    "SoundLocalizationOutput",
]
