"""Adapt a FlexiAST to another patch size, to other classes, or to transformers' AST.

The methods return a new model and never change their own. The network is in `modeling_flexiast.py`.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from .configuration_flexiast import FlexiASTConfig
from .patch_geometry import PatchGeometry, PatchSize
from .resizing import resize_patch_kernel

logger = logging.get_logger(__name__)

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

        Raises:
            ValueError: the model holds adapters.
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

        Raises:
            ValueError: a config that is impossible, or a model that holds adapters.
        """
        config.validate()
        refuse_adapters(self)
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
        return copy_model(self, type(self), config, state_dict)


class ClassifierAdaptationMixin:
    """Copies of a FlexiAST classifier for other classes and for transformers."""

    def adapt_to_labels(self, names: Sequence[str]) -> "ClassifierAdaptationMixin":
        """Return a model for the classes `names`, in this order: this one if they are its own, else a copy.

        The copy has the same class and weights. The head's row of a class that both have moves to its new place; rows
        of new classes are drawn from torch's global generator. One line of the log counts them.

        Raises:
            TypeError, ValueError: `names` is no list of different texts, or the model holds adapters.
        """
        check_class_names(names)
        indices = {name: index for index, name in self.config.id2label.items()}
        if [self.config.id2label[index] for index in range(self.config.num_labels)] == list(names):
            return self
        refuse_adapters(self)
        dense = self.classifier.dense
        head = nn.Linear(dense.in_features, len(names))
        self._init_weights(head)
        head.to(dense.weight)
        kept = [name for name in names if name in indices]
        with torch.no_grad():
            for name in kept:
                row, index = names.index(name), indices[name]
                head.weight[row], head.bias[row] = dense.weight[index], dense.bias[index]
        logger.warning(
            f"head adapted to {len(names)} classes: {len(kept)} kept, {len(names) - len(kept)} new (random weights), "
            f"{len(indices) - len(kept)} dropped."
        )
        config = copy.deepcopy(self.config)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}
        new_rows = {f"classifier.dense.{name}": value for name, value in head.state_dict().items()}
        return copy_model(self, type(self), config, self.state_dict() | new_rows)

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


def copy_model(
    model: PreTrainedModel, model_class: type, config: FlexiASTConfig, state_dict: Mapping[str, torch.Tensor]
) -> PreTrainedModel:
    """Build a `model_class` with copies of these weights, and with the mode and frozen parameters of `model`."""
    with torch.device("meta"):
        other = model_class(config)
    other.load_state_dict({name: value.detach().clone() for name, value in state_dict.items()}, assign=True)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for name, parameter in other.named_parameters():
        parameter.requires_grad_(name not in frozen)
    other.set_attn_implementation(model.config._attn_implementation)
    return other.train(model.training)


def refuse_adapters(model: PreTrainedModel) -> None:
    """Raise a ValueError if layers of the model are wrapped, as by adapters, which a copy of its weights would lose."""
    with torch.device("meta"):
        own = type(model)(model.config).state_dict().keys()
    foreign = [name for name in model.state_dict() if name not in own]
    if foreign:
        raise ValueError(
            f"the model's layers are wrapped, by adapters or otherwise (`{foreign[0]}`, ...), so its own weights alone "
            "cannot be copied. Call `merge_and_unload()` of the PeftModel first."
        )


def check_class_names(names: Sequence[str]) -> None:
    """Raise unless `names` is a list of different texts."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"`names` must be a list of class names, got {names!r}.")
    if not names:
        raise ValueError("`names` is empty; pass at least one class name.")
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise ValueError(f"`names` must be different, but {twice[0]!r} is there twice.")
