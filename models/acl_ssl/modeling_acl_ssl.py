"""ACL-SSL: a sound becomes a word of CLIP's text encoder, and CLIPSeg paints where that word is (arXiv 2311.04066).

BEATs hears, CLIPSeg sees; both are frozen. Trained are the embedder between them and two numbers of the mask. Source of
the facts: swimmiing/ACL-SSL@57f4a6c (`modules/models.py`, `modules/AudioToken/embedder.py`,
`modules/CLIPSeg/clipseg_for_audio.py`, `modules/mask_utils.py`).
"""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPSegForImageSegmentation, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from avzoo.files import write_atomically
from avzoo.models.beats import BEATsModel
from avzoo.models.layers.outputs import with_output_options

from .configuration_acl_ssl import ACLConfig, check_prompt
from .frozen_parts import LOOKUPS, PART_CLASSES, collect_weights, describe_parts
from .loss_acl_ssl import acl_loss, sample_mask, weight_features

_PAIRS_AT_ONCE = 64  # pairs of picture and sound in one pass of the decoder, in evaluation


@dataclass
class ACLOutput(ModelOutput):
    """Where the sound of each pair is.

    Args:
        loss: the sum of the three losses, where it was asked for.
        similarity_map: (batch, height, width), in [0, 1]; (images, sounds, height, width) where their numbers differ.
        audio_embeds: (sounds, projection_dim), in CLIP's space, not of unit length.
        confidence: cosine of a pair's masked region and its sound, (batch,) or (images, sounds).
        logits: as `similarity_map`, before the sigmoid and its shift.
        image_embeds: (images, projection_dim), CLIP's, not of unit length.
        audio_token: (sounds, text width), the word that a sound becomes.
    """

    loss: torch.FloatTensor | None = None
    similarity_map: torch.FloatTensor | None = None
    audio_embeds: torch.FloatTensor | None = None
    confidence: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    audio_token: torch.FloatTensor | None = None


class ACLAudioEmbedder(nn.Module):
    """Tokens of a sound to one token of a text: an attentive mean whose weights have two sources.

    One is a network on each token, the other a token's mean cosine to all tokens. That mean is a product with the mean
    of the normalised tokens, so no (tokens, tokens) matrix is made.
    """

    def __init__(self, input_size: int, output_size: int, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(input_size, input_size)
        self.fc2 = nn.Linear(input_size, output_size)
        self.unary_embed = nn.Linear(output_size, output_size)
        self.unary_reduce = nn.Linear(output_size, 1)
        self.pair_query = nn.Linear(output_size, output_size)
        self.pair_key = nn.Linear(output_size, output_size)
        self.combine = nn.Linear(2, 1, bias=False)  # the unary potential, the one of pairs
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(sounds, tokens, input_size) to (sounds, output_size); `mask` (sounds, tokens): True where a token counts."""
        tokens = self.fc2(nn.functional.gelu(self.fc1(features)))
        unary = self.unary_reduce(self.dropout(self.unary_embed(tokens).relu()))  # (sounds, tokens, 1)
        query = nn.functional.normalize(self.pair_query(tokens), dim=-1)
        key = nn.functional.normalize(self.pair_key(tokens), dim=-1)
        if mask is None:
            key = key.mean(1)
        else:
            counts = mask[..., None].to(key.dtype)
            key = (key * counts).sum(1) / counts.sum(1)
        pairs = query @ key[..., None]  # (sounds, tokens, 1)
        scores = self.combine(torch.cat([unary, pairs], dim=-1))
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], float("-inf"))
        return (scores.softmax(dim=1) * tokens).sum(1)


class ACLForSoundLocalization(PreTrainedModel):
    """Pictures and sounds to heatmaps; a text can stand in place of a sound.

    In training mode the frozen networks stay in evaluation mode, and their weights take no gradient.
    """

    config_class = ACLConfig
    base_model_prefix = "acl"
    main_input_name = "pixel_values"
    input_modalities = ("image", "audio", "text")
    has_absolute_maps = True  # values of a map mean the same in every picture
    supports_gradient_checkpointing = True
    _no_split_modules = ["BEATsLayer", "CLIPSegEncoderLayer", "CLIPSegVisionEmbeddings", "CLIPSegDecoderLayer"]
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: ACLConfig):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config)
        self.audio_encoder = BEATsModel(config.audio_config)
        size = len(config.audio_layers) * config.audio_config.hidden_size
        text_size = config.grounder_config.text_config.hidden_size
        self.audio_embedder = ACLAudioEmbedder(size, text_size, config.embedder_dropout)
        self.grounder = CLIPSegForImageSegmentation(config.grounder_config)
        self.mask_scale = nn.Parameter(torch.tensor(float(config.mask_init_scale)))
        self.mask_shift = nn.Parameter(torch.tensor(float(config.mask_init_shift)))
        self.freeze()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ACLForSoundLocalization):
            init.constant_(module.mask_scale, float(self.config.mask_init_scale))
            init.constant_(module.mask_shift, float(self.config.mask_init_shift))

    def freeze(self) -> None:
        """Let the weights of BEATs and CLIPSeg take no gradient."""
        self.audio_encoder.requires_grad_(False)
        self.grounder.requires_grad_(False)

    def reset_trained(self) -> None:
        """Draw the trained weights anew, from torch's global generator; the frozen networks stay as they are."""
        config = self.config
        for layer in self.audio_embedder.children():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.constant_(self.mask_scale, float(config.mask_init_scale))
        nn.init.constant_(self.mask_shift, float(config.mask_init_shift))

    def save_trained(
        self,
        folder: str | os.PathLike,
        *,
        parts: Mapping[str, str],
        revisions: Mapping[str, str] | None = None,
    ) -> None:
        """Save the config and the trained weights alone (29 MB at the released size), and name the frozen networks.

        `from_pretrained(folder)` loads these from where they are named, and refuses other weights there. Save the
        processor into the same folder; pipelines need it.

        Args:
            parts: where each is: {"audio_encoder": folder or Hub name of a BEATs, "grounder": of a CLIPSeg}. A path
                that isn't absolute starts at `folder`, where there is one.
            revisions: of those on the Hub.

        Raises:
            ValueError: a part is unknown or missing.
        """
        config = copy.deepcopy(self.config)
        config.frozen_parts = describe_parts(self, parts, dict(revisions or {}))
        config.architectures = [type(self).__name__]
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items() if not _is_frozen(name)}
        with write_atomically(folder / "model.safetensors") as unfinished:
            save_file(weights, unfinished, metadata={"format": "pt"})
        config.save_pretrained(folder)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """transformers' own; the folder holds all weights."""
        parts, self.config.frozen_parts = self.config.frozen_parts, None
        try:
            super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            self.config.frozen_parts = parts

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: Any, **kwargs: Any) -> Any:
        """transformers' own, also for a folder of [`save_trained`], whose frozen networks are loaded from where its
        config names them.

        Raises:
            OSError, ValueError: such a network can't be had, or is another.
        """
        arguments = cls._add_frozen_parts(pretrained_model_name_or_path, kwargs)
        loaded = super().from_pretrained(arguments.pop("name"), *args, **arguments)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze()  # transformers puts new parameters in their place
        return loaded

    @classmethod
    def _add_frozen_parts(cls, name: str | os.PathLike | None, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments of transformers' `from_pretrained`, with all weights where the folder holds the trained ones."""
        if name is None or arguments.get("state_dict") is not None:
            return {**arguments, "name": name}
        lookups = {key: arguments[key] for key in LOOKUPS if key in arguments}
        config, others = arguments.get("config"), {key: value for key, value in arguments.items() if key != "config"}
        if not isinstance(config, PreTrainedConfig):  # of code from the Hub, a class that is another ACLConfig
            config, others = cls.config_class.from_pretrained(
                name if config is None else config, return_unused_kwargs=True, **others
            )
        if config.frozen_parts is None:
            return {**lookups, **others, "name": name, "config": config}
        with torch.device("meta"):
            expected = {key: tensor.shape for key, tensor in cls(copy.deepcopy(config)).state_dict().items()}
        weights = collect_weights(name, config, expected, lookups)
        others = {key: value for key, value in others.items() if key not in LOOKUPS}
        return {**others, "name": None, "config": config, "state_dict": weights}

    def train(self, mode: bool = True) -> "ACLForSoundLocalization":
        super().train(mode)
        self.audio_encoder.eval()
        self.grounder.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The first trained layer."""
        return self.audio_embedder.fc1

    @with_output_options
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_loss: bool = False,
        generator: torch.Generator | None = None,
    ) -> ACLOutput:
        """Where in each picture its sound is.

        As many sounds as pictures are pairs; one picture is asked with every sound, one sound in every picture; other
        numbers give every picture with every sound.

        Args:
            pixel_values: (images, 3, height, width) of [`ACLProcessor`], multiples of the patch size.
            input_features: (sounds, frames, num_mel_bins).
            attention_mask: (sounds, frames), 1 = frame, 0 = padding behind the end. None: every frame counts, silence
                included, which the released weights expect.
            return_loss: also give the loss of the batch: picture i and sound i match, all others don't.
            generator: draws the masks of the loss; on a CPU, or on the device of the weights.

        Raises:
            ValueError: a shape does not fit, or a loss is asked for where the numbers differ.
        """
        count = pixel_values.shape[0], input_features.shape[0]
        if return_loss and count[0] != count[1]:
            raise ValueError(f"`return_loss` needs as many sounds as pictures, got {count[0]} and {count[1]}.")
        image = self.get_image_features(pixel_values)
        audio = self.get_audio_features(input_features, attention_mask)
        embeds = audio.last_hidden_state
        is_paired = count[0] == count[1] and not return_loss
        logits = self.compute_logits(image, embeds, paired=is_paired)
        features, _ = self.pool_features(image, logits)
        loss = None
        if return_loss:
            loss = self.compute_loss(pixel_values, logits, features, embeds, generator).loss
            logits, features = pick_pairs(logits), pick_pairs(features)
        if count[0] == count[1]:
            if is_paired:
                logits, features = logits[:, 0], features[:, 0]
            confidence = nn.functional.cosine_similarity(features, embeds.float(), dim=-1)
        else:
            confidence = nn.functional.cosine_similarity(features, embeds[None].float(), dim=-1)
            if 1 in count:
                logits, confidence = logits.flatten(0, 1), confidence.flatten()
        return ACLOutput(
            loss=loss,
            similarity_map=self.make_heatmap(logits),
            audio_embeds=embeds,
            confidence=confidence,
            logits=logits,
            image_embeds=image.hidden_states[-1],
            audio_token=audio.hidden_states[0],
        )

    # --- the two sides, each encoded once -------------------------------------------------------------------------

    def get_audio_features(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_ids: Sequence[int] | None = None,
        prompt_position: int | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode sounds, each once for any number of pictures.

        Args:
            input_features: (sounds, frames, num_mel_bins).
            attention_mask: (sounds, frames), 1 = frame, 0 = padding behind the end, which then counts nowhere. None:
                every frame counts.
            prompt_ids, prompt_position: of another prompt, see [`ACLProcessor.encode_prompt`]. None: the config's.

        Returns:
            `last_hidden_state` (sounds, projection_dim), what the grounder is conditioned on; `pooler_output`, the same
            of unit length, for retrieval; `hidden_states`, the audio token (sounds, text width).
        """
        hidden_states = self.audio_encoder(input_features, attention_mask, output_hidden_states=True).hidden_states
        features = torch.cat([hidden_states[layer] for layer in self.config.audio_layers], dim=-1)
        token_mask = self.audio_encoder.make_token_mask(attention_mask, features.shape[1])
        token = self.audio_embedder(features, token_mask)
        embeds = self.embed_token(token, prompt_ids, prompt_position)
        return BaseModelOutputWithPooling(
            last_hidden_state=embeds, pooler_output=nn.functional.normalize(embeds, dim=-1), hidden_states=(token,)
        )

    def get_audio_embeds(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Vectors of sounds in CLIP's space for search, (sounds, projection_dim), of unit length."""
        return self.get_audio_features(input_features, attention_mask).pooler_output

    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> BaseModelOutputWithPooling:
        """Encode texts, which can stand in place of sounds; the result is that of [`get_audio_features`].

        Args:
            input_ids: (texts, tokens), padded behind their end token.
            attention_mask: (texts, tokens), 1 = token, 0 = padding.

        Raises:
            ValueError: a text is longer than CLIP reads.
        """
        most = self.config.grounder_config.text_config.max_position_embeddings
        if input_ids.shape[1] > most:
            raise ValueError(
                f"`input_ids` has {input_ids.shape[1]} tokens, start and end included; CLIP reads at most {most}. Use "
                "fewer words."
            )
        length = input_ids.shape[1] if attention_mask is None else attention_mask.sum(1)
        text = self.grounder.clip.text_model
        hidden_states = self.run_text(text.embeddings(input_ids=input_ids))  # padding behind the end is not seen
        last = torch.full_like(input_ids[:, 0], input_ids.shape[1] - 1) if attention_mask is None else length - 1
        pooled = hidden_states[torch.arange(input_ids.shape[0], device=input_ids.device), last]
        embeds = self.grounder.clip.text_projection(pooled)
        return BaseModelOutputWithPooling(
            last_hidden_state=embeds, pooler_output=nn.functional.normalize(embeds, dim=-1), hidden_states=None
        )

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode pictures, each once for any number of sounds.

        Args:
            pixel_values: (images, 3, height, width), multiples of the patch size.

        Returns:
            `pooler_output` (images, projection_dim), CLIP's embedding of unit length, for retrieval;
            `last_hidden_state` (images, projection_dim, rows, columns), dense features; `hidden_states`, the
            activations that the decoder sees, each (images, 1 + rows * columns, width), and the embedding before its
            normalisation.
        """
        patch = self.config.patch_size
        is_whole = pixel_values.ndim == 4 and not pixel_values.shape[2] % patch and not pixel_values.shape[3] % patch
        if not is_whole or pixel_values.shape[1] != 3 or not pixel_values.numel():
            raise ValueError(
                f"`pixel_values` must be (images, 3, height, width), multiples of {patch}, one picture or more, got "
                f"{tuple(pixel_values.shape)}."
            )
        grid = pixel_values.shape[2] // patch, pixel_values.shape[3] // patch
        vision = self.grounder.clip.vision_model
        *hidden_states, last = self.run_vision(pixel_values)
        embeds = self.grounder.clip.visual_projection(vision.post_layernorm(last[:, 0]))
        activations = tuple([*hidden_states, last][layer + 1] for layer in self.grounder.extract_layers)
        return BaseModelOutputWithPooling(
            last_hidden_state=self.compute_dense_features(hidden_states[-1], grid),
            pooler_output=nn.functional.normalize(embeds, dim=-1),
            hidden_states=(*activations, embeds),
        )

    def run_vision(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """What enters each layer of CLIP's picture encoder and leaves the last, (images, 1 + patches, width)."""
        vision = self.grounder.clip.vision_model
        hidden_states = vision.pre_layrnorm(vision.embeddings(pixel_values, interpolate_pos_encoding=True))
        collected = [hidden_states]
        for layer in vision.encoder.layers:
            collected.append(layer(collected[-1], attention_mask=None))
        return collected

    def compute_dense_features(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """CLIP's embedding of every patch, (images, projection_dim, *grid): each sees itself alone at last."""
        clip = self.grounder.clip
        order = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        others = order[:, None] != order
        mask = torch.zeros_like(others, dtype=hidden_states.dtype)
        mask = mask.masked_fill(others, torch.finfo(hidden_states.dtype).min)[None, None]
        hidden_states = clip.vision_model.encoder.layers[-1](hidden_states, attention_mask=mask)
        dense = clip.visual_projection(clip.vision_model.post_layernorm(hidden_states))[:, 1:]
        return dense.mT.unflatten(-1, grid)

    def embed_token(
        self, token: torch.Tensor, prompt_ids: Sequence[int] | None = None, prompt_position: int | None = None
    ) -> torch.Tensor:
        """Put audio tokens (sounds, text width) into the prompt and encode it: (sounds, projection_dim)."""
        ids = self.config.prompt_ids if prompt_ids is None else prompt_ids
        position = self.config.prompt_position if prompt_position is None else prompt_position
        if prompt_ids is not None or prompt_position is not None:
            check_prompt(ids, position, self.config.grounder_config.text_config)
        embeddings = self.grounder.clip.text_model.embeddings
        words = embeddings.token_embedding(torch.tensor(ids, device=token.device)).expand(token.shape[0], -1, -1)
        sequence = torch.cat([words[:, :position], token[:, None].to(words.dtype), words[:, position:]], dim=1)
        hidden_states = self.run_text(embeddings(inputs_embeds=sequence))
        return self.grounder.clip.text_projection(hidden_states[:, -1])  # at the end token

    def run_text(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """CLIP's text encoder on embedded tokens: each sees those before it."""
        tokens = hidden_states.shape[1]
        lowest = torch.finfo(hidden_states.dtype).min
        mask = torch.full((tokens, tokens), lowest, dtype=hidden_states.dtype, device=hidden_states.device).triu(1)
        text = self.grounder.clip.text_model
        encoded = text.encoder(inputs_embeds=hidden_states, attention_mask=mask[None, None])
        return text.final_layer_norm(encoded.last_hidden_state)

    # --- pairs ------------------------------------------------------------------------------------------------------

    def compute_similarity_maps(
        self,
        image_features: BaseModelOutputWithPooling,
        audio_features: BaseModelOutputWithPooling,
        size: tuple[int, int] | None = None,
    ) -> torch.Tensor:
        """Heatmaps of every picture with every sound or text, (images, sounds, height, width), in [0, 1].

        Args:
            size: height and width, see [`make_heatmap`]. None: those of the pictures.
        """
        return self.make_heatmap(self.compute_logits(image_features, audio_features.last_hidden_state), size)

    def compute_confidence(
        self, image_features: BaseModelOutputWithPooling, audio_features: BaseModelOutputWithPooling
    ) -> torch.Tensor:
        """Cosine of each picture's features in the region of each sound with that sound, (images, sounds)."""
        embeds = audio_features.last_hidden_state
        features, _ = self.pool_features(image_features, self.compute_logits(image_features, embeds))
        return nn.functional.cosine_similarity(features, embeds[None].float(), dim=-1)

    def compute_logits(
        self, image_features: BaseModelOutputWithPooling, embeds: torch.Tensor, paired: bool = False
    ) -> torch.Tensor:
        """Mask logits of every picture with every vector, (images, sounds, height, width).

        Args:
            embeds: (sounds, projection_dim).
            paired: only those of picture i with vector i, (images, 1, height, width).
        """
        *activations, _ = image_features.hidden_states
        grid = tuple(image_features.last_hidden_state.shape[-2:])
        images, sounds = activations[0].shape[0], 1 if paired else embeds.shape[0]
        image = torch.arange(images, device=embeds.device)
        sound = image if paired else torch.arange(sounds, device=embeds.device).repeat(images)
        image = image if paired else image.repeat_interleave(sounds)
        if self.training or torch.compiler.is_compiling():
            chunks = [(image, sound)]
        else:
            chunks = list(zip(image.split(_PAIRS_AT_ONCE), sound.split(_PAIRS_AT_ONCE), strict=True))
        logits = [
            self.decode([activation[first] for activation in activations], embeds[second], grid)
            for first, second in chunks
        ]
        joined = logits[0] if len(logits) == 1 else torch.cat(logits)
        return joined.unflatten(0, (-1, sounds))

    def decode(self, activations: Sequence[torch.Tensor], embeds: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """CLIPSeg's decoder on pairs, for pictures of any shape: (pairs, height, width).

        transformers' own takes the root of the number of patches for both sides.
        """
        decoder, hidden_states = self.grounder.decoder, None
        layers = zip(reversed(activations), decoder.layers, decoder.reduces, strict=True)
        for index, (activation, layer, reduce) in enumerate(layers):
            reduced = reduce(activation)
            hidden_states = reduced if hidden_states is None else reduced + hidden_states
            if index == decoder.conditional_layer:
                scale, shift = decoder.film_mul(embeds), decoder.film_add(embeds)
                hidden_states = scale[:, None] * hidden_states + shift[:, None]
            hidden_states = layer(hidden_states, attention_mask=None)
        cells = hidden_states[:, 1:].mT.unflatten(-1, grid)  # without the class token
        return decoder.transposed_convolution(cells).squeeze(1)

    def make_heatmap(self, logits: torch.Tensor, size: tuple[int, int] | None = None) -> torch.Tensor:
        """Logits (..., height, width) to [0, 1]; `size` resizes them first, bicubically, as every evaluation does.

        The two trained numbers enter as shift / scale, not as in training: the released thresholds depend on it.
        """
        values = logits.float()
        if size is not None:
            flat = values.reshape(-1, 1, *values.shape[-2:])
            flat = nn.functional.interpolate(flat, size, mode="bicubic", align_corners=False)
            values = flat.reshape(*logits.shape[:-2], *size)
        return torch.sigmoid(values + self.mask_shift.float() / self.mask_scale.float()).to(logits.dtype)

    def pool_features(
        self, image_features: BaseModelOutputWithPooling, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[`weight_features`] with the config's settings: (images, sounds, projection_dim), and the masks."""
        return weight_features(
            image_features.last_hidden_state,
            logits,
            self.config.feature_mask_threshold,
            self.config.feature_mask_temperature,
        )

    # --- training ---------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        pixel_values: torch.Tensor,
        logits: torch.Tensor,
        features: torch.Tensor,
        audio_embeds: torch.Tensor,
        generator: torch.Generator | None = None,
        uniform: tuple[torch.Tensor, torch.Tensor] | None = None,
    ):
        """The three losses of a batch, from the logits of all its pairs; see [`acl_loss`].

        Args:
            logits: (batch, batch, height, width).
            features: (batch, batch, projection_dim), of [`pool_features`].
            generator: draws `uniform`.
            uniform: draws from (0, 1) of the masks of all pairs, (batch, batch, height, width), and of the masks of the
                pictures themselves, (batch, 1, height, width).
        """
        if uniform is None:
            uniform = draw_uniform(logits, generator), draw_uniform(pick_pairs(logits)[:, None], generator)
        scaled = self.mask_scale * logits + self.mask_shift
        pair_masks = sample_mask(scaled, uniform[0])
        image_masks = sample_mask(pick_pairs(scaled)[:, None], uniform[1])
        masked = self.embed_images(pixel_values * image_masks)
        return acl_loss(
            masked,
            features,
            audio_embeds,
            pair_masks,
            scale=self.config.contrast_scale,
            positive_area=self.config.positive_area,
            negative_area=self.config.negative_area,
        )

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """CLIP's embedding of pictures, (images, projection_dim); gradients reach the pictures."""
        clip = self.grounder.clip
        return clip.visual_projection(clip.vision_model.post_layernorm(self.run_vision(pixel_values)[-1][:, 0]))


def _is_frozen(name: str) -> bool:
    return name.split(".")[0] in PART_CLASSES


def pick_pairs(values: torch.Tensor) -> torch.Tensor:
    """Those of picture i with sound i: (batch, batch, ...) to (batch, ...)."""
    return values.diagonal(dim1=0, dim2=1).movedim(-1, 0)


def draw_uniform(like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Draws from (0, 1) of one shape; both ends are left out."""
    device = like.device if generator is None else generator.device
    draws = torch.rand(like.shape, generator=generator, device=device).to(like.device)
    return draws.clamp(1e-6, 1 - 1e-6)


__all__ = ["ACLForSoundLocalization", "ACLOutput"]
