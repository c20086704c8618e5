"""The loss that copies a teacher's cross-modal attention into a thinner student.

Paper: "Multimodal Transformer Distillation for Audio-Visual Synchronization" (arXiv 2210.15563). Forms and constants:
xjchenGit/MTDVocaLiST@5795416, `distiller_zoo/`; the released student is of the kind that [`MTDLoss`] is by default.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

ENCODERS = ("fusion", "av", "va")  # in the order of the loss's weights
SCORE_FLOOR = 1e-5


class CrossModalTrace(NamedTuple):
    """What attention did in every layer of every encoder ("fusion", "av", "va") on some windows.

    Args:
        scores: (layers, batch, heads, queries, keys), scaled and masked with -inf, before the softmax.
        relations: (layers, batch, heads, keys, keys), V V^T / sqrt(head_dim), before the softmax. The width of a head
            is gone, so networks of different widths compare; their numbers of heads must agree.
        logits: (batch, 1), the network's judgement; only logit distillation reads it.
    """

    scores: Mapping[str, torch.Tensor]
    relations: Mapping[str, torch.Tensor]
    logits: torch.Tensor | None = None

    @classmethod
    def of(cls, outputs: Any) -> "CrossModalTrace":
        """The trace of a model's output that was computed with `output_trace=True`."""
        relations = {name: value_relations(values) for name, values in outputs.attention_values.items()}
        return cls(dict(outputs.attention_scores), relations, outputs.logits)

    def to(self, device: torch.device | str) -> "CrossModalTrace":
        """The same on another device."""
        scores, relations = (
            {name: part.to(device) for name, part in parts.items()} for parts in (self.scores, self.relations)
        )
        return CrossModalTrace(scores, relations, None if self.logits is None else self.logits.to(device))


class MTDLossOutput(NamedTuple):
    """The loss and its parts, which are not weighted.

    Args:
        loss: scalar; what is trained on.
        classification_loss: scalar; binary cross-entropy of the student.
        distillation_loss: scalar; sum of the terms that count.
        terms: (3, layers, 2): encoders "fusion", "av", "va"; mean divergences of scores and of value relations times
            temperature^2. None for logit distillation.
    """

    loss: torch.Tensor
    classification_loss: torch.Tensor
    distillation_loss: torch.Tensor
    terms: torch.Tensor | None


class MTDLoss(nn.Module):
    """BCE, plus KL(teacher || student) of attention scores and of value relations in every layer; lower is better.

    term = temperature^2 [mean KL(softmax(S_t / temperature) || softmax(S_s / temperature)) + the same of R], where the
    mean is over all elements of all windows, S are scores and R = V V^T / sqrt(head_dim). Released form ("uncertainty"
    weighting, one learned weight c for BCE and one for each of the 12 terms, all starting at 1):

        loss = sum over BCE and terms of: value / (2 c^2) + ln(1 + c^2)

    In "va" both sides' scores are first raised to at least 1e-5, as the authors do: this lets places that the mask
    hides take part, and stops the gradient of negative scores. Everything is computed with log-softmax, so a score far
    below its row's maximum stays finite, and in float32.

    Args:
        num_layers: of each encoder.
        target: "attention", or "logits": KL of the batch's logits, softmax over the BATCH (there is one logit per
            window), divided by the batch size, times temperature^2; a control that forgets the layers.
        temperature: what scores and relations, or logits (the authors' control: 5), are divided by.
        weighting: "uncertainty"; "softmax": sum of softmax(c) times each part; "none": BCE + distillation.
        separate_values: scores and value relations have weights of their own: BCE, all scores, all relations.
        layers: encoder -> layers that count, from 0; None: all. {"fusion": [2], "av": [3], "va": [0]} with temperature
            25 and weighting "none" is the paper's first version.
        raise_va_scores: the floor of 1e-5 above. False: hidden places are left out, of scores and of the mean.

    Raises:
        ValueError: an unknown option, no layer or one that does not exist, a temperature of 0 or less.
    """

    def __init__(
        self,
        num_layers: int = 4,
        *,
        target: Literal["attention", "logits"] = "attention",
        temperature: float = 1.0,
        weighting: Literal["uncertainty", "softmax", "none"] | None = None,
        separate_values: bool = False,
        layers: Mapping[str, Sequence[int]] | None = None,
        raise_va_scores: bool = True,
    ):
        super().__init__()
        weighting = weighting or ("uncertainty" if target == "attention" else "none")
        for name, value, allowed in (
            ("target", target, ("attention", "logits")),
            ("weighting", weighting, ("uncertainty", "softmax", "none")),
        ):
            if value not in allowed:
                raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {value!r}.")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, got {temperature!r}.")
        if target == "logits" and (weighting != "none" or separate_values or layers is not None):
            raise ValueError(
                '`target`="logits" has one term; `weighting`, `separate_values` and `layers` are for "attention".'
            )
        layers = {name: range(num_layers) for name in ENCODERS} if layers is None else layers
        for name, chosen in layers.items():
            if name not in ENCODERS or any(layer not in range(num_layers) for layer in chosen):
                raise ValueError(
                    f"`layers` maps {', '.join(ENCODERS)} to layers from 0 to {num_layers - 1}, got {name!r}: "
                    f"{list(chosen)}."
                )
        self.num_layers, self.target, self.temperature = num_layers, target, temperature
        self.weighting, self.separate_values, self.raise_va_scores = weighting, separate_values, raise_va_scores
        # (encoder, layer) of each term, in the order of the weights.
        self.places = [(number, layer) for number, name in enumerate(ENCODERS) for layer in layers.get(name, ())]
        if not self.places:
            raise ValueError("`layers` chooses no layer, so there is nothing to learn; name one, or pass None for all.")
        self.weights = None
        if weighting != "none":
            self.weights = nn.Parameter(torch.ones(1 + len(self.places) * (2 if separate_values else 1)))

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, student: CrossModalTrace, teacher: CrossModalTrace
    ) -> MTDLossOutput:
        """The loss of a batch.

        Args:
            logits: (batch, 1) or (batch,), the student's. labels: as many, 1 in sync, 0 not.
            student, teacher: what both networks' attention did; give the teacher's without gradient.

        Raises:
            ValueError: other encoders, layers, heads or lengths on the teacher's side.
        """
        logits = logits.float().reshape(-1)
        classification = nn.functional.binary_cross_entropy_with_logits(logits, labels.reshape(-1).to(logits.dtype))
        if self.target == "logits":
            if teacher.logits is None:
                raise ValueError('`teacher.logits` is None, and `target`="logits" compares nothing else.')
            distillation = logit_divergence(logits, teacher.logits.float().reshape(-1), self.temperature)
            return MTDLossOutput(classification + distillation, classification, distillation, None)
        terms = self.temperature**2 * self.divergences(student, teacher)  # (3, layers, 2)
        chosen = torch.stack([terms[place] for place in self.places])  # (places, 2)
        parts = [classification[None], *(chosen.unbind(-1) if self.separate_values else [chosen.sum(-1)])]
        return MTDLossOutput(self.weighted(torch.cat(parts)), classification, chosen.sum(), terms)

    def weighted(self, parts: torch.Tensor) -> torch.Tensor:
        """Classification and terms, (1 + terms,), to the loss."""
        if self.weighting == "none":
            return parts.sum()
        weights = self.weights.float()
        if self.weighting == "softmax":
            return (weights.softmax(0) * parts).sum()
        squares = weights.square()
        return (parts / (2 * squares) + torch.log1p(squares)).sum()

    def divergences(self, student: CrossModalTrace, teacher: CrossModalTrace) -> torch.Tensor:
        """(3, layers, 2): mean KL of scores and of relations, without the factor temperature^2; encoders that have no
        layer that counts are 0."""
        counting = {number for number, _ in self.places}
        rows = []
        for number, name in enumerate(ENCODERS):
            columns = []
            for kind in ("scores", "relations"):
                taught, learned = compared(name, kind, teacher, student)
                if number not in counting:
                    columns.append(learned.new_zeros(self.num_layers, dtype=torch.float32))
                    continue
                taught, learned = taught.float(), learned.float()
                if kind == "scores" and name == "va" and self.raise_va_scores:
                    taught, learned = taught.clamp_min(SCORE_FLOOR), learned.clamp_min(SCORE_FLOOR)
                columns.append(mean_divergence(taught / self.temperature, learned / self.temperature))
            rows.append(torch.stack(columns, dim=-1))
        return torch.stack(rows)


def value_relations(values: torch.Tensor) -> torch.Tensor:
    """(..., keys, head_dim) to (..., keys, keys): V V^T / sqrt(head_dim)."""
    return values @ values.mT / math.sqrt(values.shape[-1])


def mean_divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """KL(softmax(teacher) || softmax(student)) along the last axis, mean over all elements of a layer: (layers,).

    Elements, not rows: a KL divided by the number of keys as well. Places of -inf in `teacher` are hidden; they are
    neither summed nor counted.

    Args:
        teacher, student: (layers, ..., keys), before the softmax.
    """
    log_taught, log_learned = teacher.log_softmax(-1), student.log_softmax(-1)
    hidden = teacher == -math.inf
    elements = (log_taught.exp() * (log_taught - log_learned)).masked_fill(hidden, 0.0)
    return elements.flatten(1).sum(1) / (~hidden).flatten(1).sum(1)


def logit_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """temperature^2 / batch * KL(softmax(teacher / temperature) || softmax(student / temperature)), over the batch.

    The softmax runs over the windows of the batch, so only how they compare is copied, not the level.
    Source: `KD.py` of xjchenGit/MTDVocaLiST@5795416, temperature 5.

    Args:
        student, teacher: (batch,).
    """
    log_taught, log_learned = (teacher / temperature).log_softmax(0), (student / temperature).log_softmax(0)
    return temperature**2 / len(student) * (log_taught.exp() * (log_taught - log_learned)).sum()


def compared(
    name: str, kind: str, teacher: CrossModalTrace, student: CrossModalTrace
) -> tuple[torch.Tensor, torch.Tensor]:
    """The "scores" or "relations" of one encoder on both sides; raises unless both are there and have one shape."""
    for side, trace in (("teacher", teacher), ("student", student)):
        if name not in getattr(trace, kind):
            raise ValueError(f"`{side}` has no {kind} of {name!r}; a trace has them of {', '.join(ENCODERS)}.")
    taught, learned = getattr(teacher, kind)[name], getattr(student, kind)[name]
    if taught.shape != learned.shape:
        raise ValueError(
            f"`teacher` and `student` differ in {name!r}: {tuple(taught.shape)} and {tuple(learned.shape)}; they need "
            "the same numbers of layers and heads, and the same windows."
        )
    return taught, learned


__all__ = [
    "CrossModalTrace",
    "MTDLoss",
    "MTDLossOutput",
    "logit_divergence",
    "mean_divergence",
    "value_relations",
]
