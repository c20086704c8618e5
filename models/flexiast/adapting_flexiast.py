"""Methods that make another model of a FlexiAST: another patch size, other classes, transformers' AST.

Each leaves its model as it is. The network itself is in `modeling_flexiast.py`.
"""

import copy
from collections.abc import Sequence

import torch

from .configuration_flexiast import FlexiASTConfig
from .patch_geometry import PatchGeometry, PatchSize
from .resizing import resize_patch_kernel

# Config fields that mean the same in transformers' ASTConfig.
SHARED_WITH_TRANSFORMERS_AST = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "qkv_bias",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
    "num_mel_bins",
    "id2label",
    "label2id",
    "problem_type",
)


class PatchAdaptationMixin:
    """Copies of a FlexiAST, with or without head, whose stored patch kernel and position grid have other sizes."""

    def fold(self, patch_size: PatchSize = None, num_frames: int | None = None) -> "PatchAdaptationMixin":
        """A copy with kernel and positions resized once and for all: nothing is resized in its forward.

        Args:
            patch_size: the size that becomes the base size of the copy.
            num_frames: length the copy's position grid is made for. None: the length this model's base grid covers.
                The copy still takes other lengths, by resampling its own grid.

        Returns:
            A model of the same class in the same mode, ready to save or to export.
        """
        config = copy.deepcopy(self.config)
        geometry = PatchGeometry.of(config, patch_size)
        if num_frames is None:
            num_frames = PatchGeometry.of(config).num_frames(config.position_grid[1])
        config.position_grid = geometry.grid(config.num_mel_bins, num_frames)
        config.patch_size = geometry.size
        config.stride = None if config.stride is None else geometry.stride
        return self.rebase(config)

    def rebase(self, config: FlexiASTConfig) -> "PatchAdaptationMixin":
        """A copy under a config with another `patch_size`, `position_grid` or `stride`: kernel and positions resized.

        Returns:
            A model of the same class in the same mode, which owns its weights.
        """
        config.validate()
        embeddings = getattr(self, self.base_model_prefix, self).embeddings
        resized = {
            "patch_embeddings.weight": resize_patch_kernel(
                embeddings.patch_embeddings.weight, config.patch_size, config.resize_method
            ),
            "position_embeddings": embeddings.resize_positions(config.position_grid),
        }
        state_dict = self.state_dict()
        prefix = "" if embeddings is getattr(self, "embeddings", None) else f"{self.base_model_prefix}."
        state_dict.update({f"{prefix}embeddings.{name}": value.detach() for name, value in resized.items()})
        with torch.device("meta"):
            model = type(self)(config)
        model.load_state_dict({name: value.clone() for name, value in state_dict.items()}, assign=True)
        return model.train(self.training)


class ClassifierAdaptationMixin:
    """Copies of a FlexiAST classifier for other classes and for transformers."""

    def adapt_to_labels(self, names: Sequence[str]) -> "ClassifierAdaptationMixin":
        """This model for the task of telling `names` apart: itself if that is its own, else one with a new head.

        The new one is of the same class, takes the backbone's weights over, and draws its head from torch's global
        generator.
        """
        if sorted(self.config.id2label.values()) == sorted(names):
            return self
        config = copy.deepcopy(self.config)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}
        model = type(self)(config)
        model.flexiast.load_state_dict(self.flexiast.state_dict())
        return model.train(self.training)

    def to_transformers_ast(self, patch_size: int | None = None, num_frames: int | None = None):
        """This model at one patch size as a transformers `ASTForAudioClassification`, for tools that know only that.

        transformers' AST has two prefix tokens, square patches and one epsilon in every norm, so only models with two
        prefix tokens can go, and logits differ by the classifier's epsilon (below 1e-5).

        Args:
            patch_size: side of the square patch. None: the base size.
            num_frames: the one input length the result will take. None: what the base grid covers.

        Raises:
            ValueError: one prefix token, or a patch that is not square.
        """
        from transformers import ASTConfig, ASTForAudioClassification

        config, size = self.config, PatchGeometry.of(self.config, patch_size).size
        if config.num_prefix_tokens != 2:
            raise ValueError(
                "`to_transformers_ast` needs a model with `num_prefix_tokens=2`, this one has 1: transformers' AST "
                "always has a distillation token. Use `fold` and this class instead."
            )
        if size[0] != size[1]:
            raise ValueError(f"`patch_size` must be square for transformers' AST, got {size}.")
        folded = self.fold(patch_size, num_frames)
        geometry = PatchGeometry.of(folded.config)
        ast_config = ASTConfig(
            **{name: getattr(config, name) for name in SHARED_WITH_TRANSFORMERS_AST},
            patch_size=size[0],
            frequency_stride=geometry.stride[0],
            time_stride=geometry.stride[1],
            max_length=geometry.num_frames(folded.config.position_grid[1]),
        )
        model = ASTForAudioClassification(ast_config)
        renamed = {
            name.replace("flexiast.", "audio_spectrogram_transformer.", 1).replace(
                "patch_embeddings.", "patch_embeddings.projection."
            ): value
            for name, value in folded.state_dict().items()
        }
        model.load_state_dict(renamed)
        return model.to(self.dtype).train(self.training)
