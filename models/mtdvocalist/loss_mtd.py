"""MTD loss: distillation of a teacher's cross-modal attention into a smaller student.

Paper: "Multimodal Transformer Distillation for Audio-Visual Synchronization" (arXiv 2210.15563). Forms and constants:
xjchenGit/MTDVocaLiST@5795416, `distiller_zoo/`. The defaults of [`MTDLoss`] are those of the released student.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from avzoo.checks import check_choice, check_number

ENCODERS = ("fusion", "av", "va")  # in the order of the loss's weights
SCORE_FLOOR = 1e-5


class CrossModalTrace(NamedTuple):
    """Attention scores and value relations of every layer of every encoder ("fusion", "av", "va") for a batch.

    Args:
        scores: (layers, batch, heads, queries, keys), scaled and masked with -inf, before the softmax.
        relations: (layers, batch, heads, keys, keys), V V^T / sqrt(head_dim), before the softmax. Their shape does not
            depend on head_dim, so networks of different widths compare; their numbers of heads must agree.
        logits: (batch, 1); only logit distillation reads them.
    """

    scores: Mapping[str, torch.Tensor]
    relations: Mapping[str, torch.Tensor]
    logits: torch.Tensor | None = None

    @classmethod
    def from_outputs(cls, outputs: Any) -> "CrossModalTrace":
        """Make the trace from a model's output computed with `output_trace=True`."""
        relations = {name: value_relations(values) for name, values in outputs.attention_values.items()}
        return cls(dict(outputs.attention_scores), relations, outputs.logits)

    def to(self, device: torch.device | str) -> "CrossModalTrace":
        """Move all tensors to `device`."""
        scores, relations = (
            {name: part.to(device) for name, part in parts.items()} for parts in (self.scores, self.relations)
        )
        return CrossModalTrace(scores, relations, None if self.logits is None else self.logits.to(device))


class MTDLossOutput(NamedTuple):
    """The loss, and its parts before weighting.

    Args:
        loss: scalar, to minimise.
        classification_loss: scalar; binary cross-entropy of the student.
        distillation_loss: scalar; sum of the terms of the selected layers.
        terms: (3, layers, 2): encoders "fusion", "av", "va"; mean divergences of scores and of value relations times
            temperature^2. None for logit distillation.
    """

    loss: torch.Tensor
    classification_loss: torch.Tensor
    distillation_loss: torch.Tensor
    terms: torch.Tensor | None


class MTDLoss(nn.Module):
    """BCE plus KL(teacher || student) of attention scores and value relations in every layer; lower is better.

    term = temperature^2 [mean KL(softmax(S_t / temperature) || softmax(S_s / temperature)) + the same of R], where the
    mean is over all elements of all windows, S are scores and R = V V^T / sqrt(head_dim). Released form ("uncertainty"
    weighting, one learned weight c for BCE and one for each of the 12 terms, all starting at 1):

        loss = sum over BCE and terms of: value / (2 c^2) + ln(1 + c^2)

    In "va", scores of both networks are first clamped to at least 1e-5, as the authors do: masked places then take
    part, and negative scores get no gradient. Everything is computed in float32 with log-softmax, so a score far below
    its row's maximum stays finite.

    Args:
        num_layers: of each encoder.
        target: "attention", or "logits": KL of the batch's logits, softmax over the BATCH (there is one logit per
            window), divided by the batch size, times temperature^2; a control without the layers.
        temperature: divisor of scores and relations, or of logits (the authors' control: 5).
        weighting: "uncertainty"; "softmax": sum of softmax(c) times each part; "none": BCE + distillation.
        separate_values: weigh scores and value relations separately; weights: BCE, all scores, all relations.
        layers: encoder -> layers to compare, from 0; None: all. {"fusion": [2], "av": [3], "va": [0]} with temperature
            25 and weighting "none" is the paper's first version.
        raise_va_scores: clamp scores in "va" as above. False: leave masked places out of the mean.

    Raises:
        ValueError: an unknown option, no layer or an unknown one, a temperature of 0 or less.
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
        check_choice("target", target, ("attention", "logits"))
        check_choice("weighting", weighting, ("uncertainty", "softmax", "none"))
        check_number("temperature", temperature, above=0)
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
            raise ValueError("`layers` chooses no layer, so nothing is distilled; name one, or pass None for all.")
        self.weights = None
        if weighting != "none":
            self.weights = nn.Parameter(torch.ones(1 + len(self.places) * (2 if separate_values else 1)))

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, student: CrossModalTrace, teacher: CrossModalTrace
    ) -> MTDLossOutput:
        """Compute the loss of a batch.

        Args:
            logits: (batch, 1) or (batch,), the student's.
            labels: same number; 1 in sync, 0 not.
            student: trace of the student.
            teacher: trace of the teacher, without gradient.

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
        terms = self.temperature**2 * self.compute_divergences(student, teacher)  # (3, layers, 2)
        chosen = torch.stack([terms[place] for place in self.places])  # (places, 2)
        parts = [classification[None], *(chosen.unbind(-1) if self.separate_values else [chosen.sum(-1)])]
        return MTDLossOutput(self.weigh(torch.cat(parts)), classification, chosen.sum(), terms)

    def weigh(self, parts: torch.Tensor) -> torch.Tensor:
        """Weigh and add classification and distillation terms, (1 + terms,), to a scalar."""
        if self.weighting == "none":
            return parts.sum()
        weights = self.weights.float()
        if self.weighting == "softmax":
            return (weights.softmax(0) * parts).sum()
        squares = weights.square()
        return (parts / (2 * squares) + torch.log1p(squares)).sum()

    def compute_divergences(self, student: CrossModalTrace, teacher: CrossModalTrace) -> torch.Tensor:
        """(3, layers, 2): mean KL of scores and of relations, without the factor temperature^2.

        Encoders without a selected layer are 0.
        """
        selected = {number for number, _ in self.places}
        rows = []
        for number, name in enumerate(ENCODERS):
            columns = []
            for kind in ("scores", "relations"):
                taught, learned = select_traces(name, kind, teacher, student)
                if number not in selected:
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

    The mean is over elements, not rows, so each KL is divided by the number of keys as well. Places where `teacher` is
    -inf are masked: neither summed nor counted.

    Args:
        teacher, student: (layers, ..., keys), before the softmax.
    """
    log_taught, log_learned = teacher.log_softmax(-1), student.log_softmax(-1)
    masked = teacher == -math.inf
    elements = (log_taught.exp() * (log_taught - log_learned)).masked_fill(masked, 0.0)
    return elements.flatten(1).sum(1) / (~masked).flatten(1).sum(1)


def logit_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """temperature^2 / batch * KL(softmax(teacher / temperature) || softmax(student / temperature)), over the batch.

    The softmax runs over the windows of the batch, so the student learns their differences, not their level.
    Source: `KD.py` of xjchenGit/MTDVocaLiST@5795416, temperature 5.

    Args:
        student, teacher: (batch,).
    """
    log_taught, log_learned = (teacher / temperature).log_softmax(0), (student / temperature).log_softmax(0)
    return temperature**2 / len(student) * (log_taught.exp() * (log_taught - log_learned)).sum()


def select_traces(
    name: str, kind: str, teacher: CrossModalTrace, student: CrossModalTrace
) -> tuple[torch.Tensor, torch.Tensor]:
    """The "scores" or "relations" of one encoder in both traces; a ValueError if one is missing or shapes differ."""
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
