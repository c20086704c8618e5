"""Losses that train a speaker encoder: margins over classes, prototypes over a batch, and the disentangler's two.

Classification losses take embeddings (rows, embedding_size) with labels (rows,); prototype losses take
(speakers, utterances, embedding_size), one speaker per row of the batch. Embeddings need not be of length 1. Lower is
better everywhere.

Sources: clovaai/voxceleb_trainer@f51bab8 (`loss/`), kaistmm/voxceleb-disentangler@2707e14 (`loss/MAPC.py`,
`models/ENV_Discriminator.py`), speechbrain/speechbrain@9c826ef (`nnet/losses.py`).
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from avzoo.checks import check_number, check_whole_number

MIN_SCALE = 1e-6


class SpeakerLossOutput(NamedTuple):
    """Scalar loss to minimise, and the share of rows, in per cent, whose own class has the largest logit."""

    loss: torch.Tensor
    accuracy: torch.Tensor


class AAMSoftmaxLoss(nn.Module):
    """Additive angular margin: cross entropy of scale * cos(angle + margin) for the own class, scale * cos for others.

    The angle is that of an embedding and a class's weight. Where angle + margin exceeds pi, the logit goes on as
    cos - margin * sin(pi - margin); with `easy_margin`, classes beyond a right angle get no margin instead. Cosines are
    clamped to +-(1 - 1e-7) as speechbrain does; the trainer doesn't, and its gradient is NaN at 1.

    Args:
        margin: radians. scale: of the logits. The trainer's command line has 0.1 and 30, speechbrain 0.2 and 30.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        margin: float = 0.2,
        scale: float = 30.0,
        easy_margin: bool = False,
    ):
        super().__init__()
        check_number("margin", margin, at_least=0, below=math.pi)
        check_number("scale", scale, above=0)
        self.weight = make_class_weight(embedding_size, num_classes)
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> SpeakerLossOutput:
        check_rows(embeddings, labels, self.weight)
        cosine = compare_precisely(embeddings, self.weight).clamp(-1 + 1e-7, 1 - 1e-7)  # (rows, num_classes)
        sine = (1 - cosine**2).sqrt()
        shifted = cosine * math.cos(self.margin) - sine * math.sin(self.margin)  # cos(angle + margin)
        if self.easy_margin:
            shifted = torch.where(cosine > 0, shifted, cosine)
        else:
            beyond = cosine - self.margin * math.sin(math.pi - self.margin)
            shifted = torch.where(cosine > math.cos(math.pi - self.margin), shifted, beyond)
        own = nn.functional.one_hot(labels, len(self.weight)).bool()
        return classify(self.scale * torch.where(own, shifted, cosine), labels)


class AMSoftmaxLoss(nn.Module):
    """Additive margin: cross entropy of scale * (cos - margin) for the own class, scale * cos for others.

    Args:
        margin, scale: as for [`AAMSoftmaxLoss`]; the margin is subtracted from the cosine.
    """

    def __init__(self, embedding_size: int, num_classes: int, margin: float = 0.2, scale: float = 30.0):
        super().__init__()
        check_number("margin", margin, at_least=0)
        check_number("scale", scale, above=0)
        self.weight = make_class_weight(embedding_size, num_classes)
        self.margin, self.scale = margin, scale

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> SpeakerLossOutput:
        check_rows(embeddings, labels, self.weight)
        own = nn.functional.one_hot(labels, len(self.weight))
        return classify(self.scale * (compare_precisely(embeddings, self.weight) - self.margin * own), labels)


class ScaledCosine(nn.Module):
    """weight * cosine + bias, both learned; the weight stays at least 1e-6, so that more similar never means less.

    The official code computes such a clamp and drops the result: its weight can turn negative. At weights above 1e-6
    both give the same.
    """

    def __init__(self, weight: float = 10.0, bias: float = -5.0):
        super().__init__()
        check_number("weight", weight, above=0)
        check_number("bias", bias)
        self.weight = nn.Parameter(torch.tensor(float(weight)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, cosine: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():  # in place: a clamp within the graph would have no gradient to come back by
            self.weight.clamp_(min=MIN_SCALE)
        return self.weight * cosine + self.bias


class AngularPrototypicalLoss(nn.Module):
    """Cross entropy over the batch's speakers: utterance 0 against the mean of each speaker's other utterances.

    Args:
        weight, bias: where the learned scale and shift of the cosines begin.
    """

    def __init__(self, weight: float = 10.0, bias: float = -5.0):
        super().__init__()
        self.scaled_cosine = ScaledCosine(weight, bias)

    def forward(self, embeddings: torch.Tensor) -> SpeakerLossOutput:
        check_batch(embeddings)
        embeddings = upcast(embeddings)
        cosine = compare_precisely(embeddings[:, 0], embeddings[:, 1:].mean(1))  # (speakers, speakers)
        return classify(self.scaled_cosine(cosine), torch.arange(len(cosine), device=cosine.device))


class GE2ELoss(nn.Module):
    """Generalised end-to-end loss: every utterance against the mean of every speaker, its own mean without itself.

    Cosines below 1e-6 count as 1e-6, so strangers at more than a right angle have no gradient.

    Args:
        weight, bias: where the learned scale and shift of the cosines begin.
    """

    def __init__(self, weight: float = 10.0, bias: float = -5.0):
        super().__init__()
        self.scaled_cosine = ScaledCosine(weight, bias)

    def forward(self, embeddings: torch.Tensor) -> SpeakerLossOutput:
        check_batch(embeddings)
        embeddings = upcast(embeddings)
        speakers, utterances, _ = embeddings.shape
        total = embeddings.sum(1, keepdim=True)
        cosine = compare_precisely(embeddings, total[:, 0])  # (speakers, utterances, speakers)
        without_itself = nn.functional.cosine_similarity(embeddings, total - embeddings, dim=-1)
        own = torch.eye(speakers, dtype=torch.bool, device=embeddings.device)[:, None]
        cosine = torch.where(own, without_itself[..., None], cosine).clamp(min=1e-6)
        labels = torch.arange(speakers, device=embeddings.device).repeat_interleave(utterances)
        return classify(self.scaled_cosine(cosine).flatten(0, 1), labels)


class PrototypicalLoss(nn.Module):
    """Cross entropy of minus the squared distances of utterance 0 to the mean of each speaker's other utterances."""

    def forward(self, embeddings: torch.Tensor) -> SpeakerLossOutput:
        check_batch(embeddings)
        embeddings = upcast(embeddings)
        prototypes = embeddings[:, 1:].mean(1)
        distances = nn.functional.pairwise_distance(embeddings[:, None, 0], prototypes)  # (speakers, speakers)
        return classify(-(distances**2), torch.arange(len(distances), device=distances.device))


class SoftmaxPrototypicalLoss(nn.Module):
    """Sum of a softmax over all training speakers and of [`AngularPrototypicalLoss`]; two utterances per speaker.

    The accuracy is the softmax's.
    """

    def __init__(self, embedding_size: int, num_classes: int, weight: float = 10.0, bias: float = -5.0):
        super().__init__()
        check_whole_number("embedding_size", embedding_size, at_least=1)
        check_whole_number("num_classes", num_classes, at_least=2)
        self.classifier = nn.Linear(embedding_size, num_classes)
        self.prototypes = AngularPrototypicalLoss(weight, bias)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> SpeakerLossOutput:
        """`labels` is (speakers,), the class of each row."""
        check_batch(embeddings)
        if embeddings.shape[1] != 2:
            raise ValueError(f"`embeddings` must have 2 utterances per speaker, got {embeddings.shape[1]}.")
        rows, labels = embeddings.flatten(0, 1), labels.repeat_interleave(2)
        check_rows(rows, labels, self.classifier.weight)
        softmax = classify(self.classifier(rows), labels)
        return SpeakerLossOutput(softmax.loss + self.prototypes(embeddings).loss, softmax.accuracy)


class EnvironmentTripletLoss(nn.Module):
    """mean relu(d(0, 1)^2 - d(0, 2)^2 + margin) on a small network's view of three utterances' environment codes.

    Utterances 0 and 1 share a recording, 2 is from another. Distances are between outputs of length 1 of
    BN, ELU, Linear, BN, ELU, Linear.
    """

    def __init__(self, code_size: int, hidden_size: int, margin: float = 0.3):
        super().__init__()
        check_number("margin", margin, at_least=0)
        self.margin = margin
        self.discriminator = nn.Sequential(
            nn.BatchNorm1d(code_size),
            nn.ELU(),
            nn.Linear(code_size, hidden_size),
            nn.BatchNorm1d(hidden_size),
            nn.ELU(),
            nn.Linear(hidden_size, hidden_size),
        )

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Scalar loss of (speakers, 3, code_size)."""
        if codes.ndim != 3 or codes.shape[1] != 3:
            raise ValueError(f"`codes` must be (speakers, 3, code_size), got {tuple(codes.shape)}.")
        seen = nn.functional.normalize(self.discriminator(codes.flatten(0, 1)), dim=-1).unflatten(0, (-1, 3))
        anchor, positive, negative = seen.unbind(1)
        near, far = (nn.functional.pairwise_distance(anchor, other) for other in (positive, negative))
        return (near**2 - far**2 + self.margin).relu().mean()


def mean_absolute_correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean over rows of |Pearson correlation| of two codes, (rows, size) each: 0 if they share nothing, at most 1.

    A constant code has no correlation; it counts as 0.
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"`first` and `second` must both be (rows, size), got {tuple(first.shape)} and {tuple(second.shape)}."
        )
    first, second = (code - code.mean(1, keepdim=True) for code in (first, second))
    return nn.functional.cosine_similarity(first, second, dim=1).abs().mean()


def compare_all(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines of (..., size) with each row of (rows, size): (..., rows)."""
    return nn.functional.normalize(first, dim=-1) @ nn.functional.normalize(second, dim=-1).mT


def compare_precisely(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """[`compare_all`] in float32 or wider, under autocast too: half precision is too coarse for margins and scales."""
    with torch.autocast(first.device.type, enabled=False):
        return compare_all(upcast(first), upcast(second))


def upcast(values: torch.Tensor) -> torch.Tensor:
    """`values` in float32, or in float64 if they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def classify(logits: torch.Tensor, labels: torch.Tensor) -> SpeakerLossOutput:
    """Cross entropy and accuracy of (rows, classes)."""
    loss = nn.functional.cross_entropy(logits, labels)
    return SpeakerLossOutput(loss, 100 * (logits.detach().argmax(1) == labels).float().mean())


def make_class_weight(embedding_size: int, num_classes: int) -> nn.Parameter:
    check_whole_number("embedding_size", embedding_size, at_least=1)
    check_whole_number("num_classes", num_classes, at_least=2)
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(num_classes, embedding_size)))


def check_rows(embeddings: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> None:
    if embeddings.ndim != 2 or embeddings.shape[1] != weight.shape[1] or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"`embeddings` must be (rows, {weight.shape[1]}) and `labels` (rows,), got {tuple(embeddings.shape)} and "
            f"{tuple(labels.shape)}."
        )


def check_batch(embeddings: torch.Tensor) -> None:
    if embeddings.ndim != 3 or embeddings.shape[1] < 2:
        raise ValueError(
            "`embeddings` must be (speakers, utterances, size) with at least 2 utterances, got "
            f"{tuple(embeddings.shape)}."
        )


__all__ = [
    "AAMSoftmaxLoss",
    "AMSoftmaxLoss",
    "AngularPrototypicalLoss",
    "EnvironmentTripletLoss",
    "GE2ELoss",
    "PrototypicalLoss",
    "SoftmaxPrototypicalLoss",
    "SpeakerLossOutput",
    "mean_absolute_correlation",
]
