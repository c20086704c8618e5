"""Adapt a FlexiAST to another patch size, to other classes, or to transformers' AST.

The methods return a new model and never change their own. The network is in `modeling_flexiast.py`.
"""

import copy
from collections.abc import Sequence

import torch

from .configuration_flexiast import FlexiASTConfig
from .patch_geometry import PatchGeometry, PatchSize
from .resizing import resize_patch_kernel

# Config fields with the same meaning in transformers' ASTConfig.
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
        """Copy the model with kernel and positions resized for one patch size, so that its forward resizes nothing.

        Args:
            patch_size: base size of the copy.
            num_frames: input length that the copy's position grid is resized for. None: the length this model's base
                grid covers. Other lengths still work; the copy then resizes its grid in each forward.

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
        """Copy the model, with kernel and positions resized to another `patch_size`, `position_grid` or `stride`.

        Returns:
            A model of the same class in the same mode; it shares no weight with this one.
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
        """Return a model for the classes `names`: this one if they are its own, else a copy with a new head.

        The copy has the same class and backbone weights. Its head is initialised from torch's global generator.
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
        """Export the model at one patch size as a transformers `ASTForAudioClassification`.

        transformers' AST has two prefix tokens, square patches and one epsilon in every norm. Only models with two
        prefix tokens can be exported, and logits differ slightly (below 1e-5) because of the classifier's epsilon.

        Args:
            patch_size: side of the square patch. None: the base size.
            num_frames: the only input length that the exported model accepts. None: the length the base grid covers.

        Raises:
            ValueError: the model has one prefix token, or the patch is not square.
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
