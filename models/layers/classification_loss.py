"""The losses of classifiers, chosen by a config's problem type as in transformers' AST."""

import torch
from torch import nn

from avzoo.checks import check_choice
from avzoo.models.layers.labels import PROBLEM_TYPES, can_read_values, check_unit_labels, check_whole_labels


def infer_problem_type(logits: torch.Tensor, labels: torch.Tensor) -> str:
    """Return the problem type that labels suggest for logits (batch, num_labels), as transformers' AST does.

    One output: "regression". One value per class: "multi_label_classification". Else "single_label_classification".
    """
    if logits.shape[-1] == 1:
        return "regression"
    return "multi_label_classification" if labels.ndim == 2 else "single_label_classification"


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None = None) -> torch.Tensor:
    """Mean loss of logits (batch, num_labels); lower is better. The losses are those of transformers' AST.

    - "regression": squared error over batch and outputs. Labels (batch, num_labels), for one output also (batch,).
    - "multi_label_classification": binary cross-entropy over batch and classes (paper's setting for AudioSet and
      VGGSound). Labels (batch, num_labels) in [0, 1].
    - "single_label_classification": cross-entropy over the batch. Labels (batch,), class indices; -100 does not count.
      Where one value per class is given, (batch, num_labels), the class of the highest counts, as the authors train
      VoxCeleb on mixtures.
    - None: [`infer_problem_type`] chooses.

    Values are checked on a CPU only, as a GPU would have to synchronise.

    Raises:
        TypeError: class indices that are floating point.
        ValueError: another problem type or shape, an index or a value out of range, several highest values, or one
            class for cross-entropy, which would be 0 for every label.
    """
    problem_type = infer_problem_type(logits, labels) if problem_type is None else problem_type
    check_choice("problem_type", problem_type, PROBLEM_TYPES[1:])
    batch, num_classes = logits.shape
    labels = labels.to(logits.device)
    shapes = [(batch, num_classes)]
    if problem_type == "single_label_classification" or (problem_type == "regression" and num_classes == 1):
        shapes.insert(0, (batch,))
    if tuple(labels.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"`labels` must be {expected} for problem_type={problem_type!r}, got {tuple(labels.shape)}.")
    if problem_type == "regression":
        return nn.functional.mse_loss(logits, labels.reshape(logits.shape).to(logits.dtype))
    if problem_type == "multi_label_classification":
        check_unit_labels(labels)
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    if num_classes == 1:
        raise ValueError(
            "`problem_type` 'single_label_classification' needs at least 2 classes; this head has 1. Set it to "
            "'regression' or 'multi_label_classification'."
        )
    if labels.ndim == 2:
        labels = find_highest(labels)
    check_whole_labels(labels, num_classes)
    return nn.functional.cross_entropy(logits, labels.long())


def find_highest(labels: torch.Tensor) -> torch.Tensor:
    """Index of the highest of (batch, num_labels) values, (batch,).

    Raises:
        ValueError: the highest value of an item is that of several classes; told on a CPU only.
    """
    labels = labels.float()
    if can_read_values(labels):
        tied = (labels == labels.amax(dim=-1, keepdim=True)).sum(dim=-1) > 1
        if tied.any():
            raise ValueError(
                f"`labels` name several classes alike for item {int(tied.nonzero()[0])}, but `problem_type` is "
                "'single_label_classification'. Set `config.problem_type` to 'multi_label_classification' for several "
                "classes at once."
            )
    return labels.argmax(dim=-1)


__all__ = ["classification_loss", "infer_problem_type"]
