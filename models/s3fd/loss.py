"""The loss that S3FD is trained with (arXiv 1708.05237, section 3)."""

from collections.abc import Sequence

import torch
from torch import nn

MATCHED, NEARLY_MATCHED = 0.35, 0.1  # intersection over union of a face and a prior
NEGATIVES_PER_POSITIVE = 3
CLASSIFICATION_WEIGHT = 4.0


def face_detection_loss(
    logits: torch.Tensor,
    offsets: torch.Tensor,
    priors: torch.Tensor,
    labels: Sequence[torch.Tensor],
    variances: Sequence[float],
) -> torch.Tensor:
    """4 * cross-entropy over matched and the hardest unmatched priors + smooth L1 of the matched ones' boxes.

    Each part is a mean over its priors of the whole batch; lower is better. Three unmatched priors count for each
    matched one (at least three), those that look most like a face.

    Args:
        logits: (batch, priors, 2), background and face.
        offsets: (batch, priors, 4), regressed boxes.
        priors: (priors, 4), centre and sides, relative.
        labels: boxes of each picture's faces, (faces, 4) x1, y1, x2, y2 relative, x1 < x2 and y1 < y2.
        variances: units of centre and size in `offsets`.

    Raises:
        ValueError: another number of pictures, or labels that are no boxes.
    """
    if len(labels) != len(logits):
        raise ValueError(f"`labels` must have one tensor of boxes per picture ({len(logits)}), got {len(labels)}.")
    class_losses, box_losses = [], []
    for of_logits, of_offsets, boxes in zip(logits.float(), offsets.float(), labels, strict=True):
        boxes = boxes.to(priors)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError(f"`labels` must be (faces, 4) boxes x1 < x2, y1 < y2 each, got {boxes}.")
        face_of_prior = match_priors(boxes, priors)
        positive = face_of_prior >= 0
        surprise = -of_logits.log_softmax(dim=-1)  # (priors, 2): cross-entropy if it is background, if it is a face
        as_background = surprise[:, 0].masked_fill(positive, -1.0)  # no surprise is below 0
        count = min(NEGATIVES_PER_POSITIVE * max(int(positive.sum()), 1), int((~positive).sum()))
        class_losses += [surprise[positive, 1], as_background.topk(count).values]
        targets = encode_boxes(boxes[face_of_prior[positive]], priors[positive], variances)
        box_losses.append(nn.functional.smooth_l1_loss(of_offsets[positive], targets, reduction="none").sum(dim=-1))
    boxes_part = torch.cat(box_losses)
    return CLASSIFICATION_WEIGHT * torch.cat(class_losses).mean() + boxes_part.sum() / max(len(boxes_part), 1)


def match_priors(boxes: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Which face each prior stands for, or -1: (priors,).

    First a prior takes the face it overlaps most, by at least 0.35, and every face its best prior. Then faces with
    fewer priors than the average ("scale compensation") get their best ones above 0.1, up to that average.
    """
    face_of_prior = torch.full((len(priors),), -1, dtype=torch.long, device=priors.device)
    if not len(boxes):
        return face_of_prior
    corners = torch.cat([priors[:, :2] - priors[:, 2:] / 2, priors[:, :2] + priors[:, 2:] / 2], dim=1)
    overlap = intersection_over_union(boxes, corners)
    best, face = overlap.max(dim=0)
    face_of_prior = torch.where(best >= MATCHED, face, face_of_prior)
    face_of_prior[overlap.argmax(dim=1)] = torch.arange(len(boxes), device=priors.device)
    average = int((face_of_prior >= 0).sum()) // len(boxes)
    for index in range(len(boxes)):
        missing = average - int((face_of_prior == index).sum())
        if missing > 0:
            free = overlap[index].masked_fill(face_of_prior >= 0, -1.0)
            values, places = free.topk(min(missing, len(priors)))
            face_of_prior[places[values > NEARLY_MATCHED]] = index
    return face_of_prior


def intersection_over_union(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(n, 4) and (m, 4) boxes with corners to (n, m)."""
    sides = torch.minimum(boxes[:, None, 2:], others[:, 2:]) - torch.maximum(boxes[:, None, :2], others[:, :2])
    common = sides.clamp(min=0).prod(dim=-1)
    areas, other_areas = ((corners[:, 2:] - corners[:, :2]).prod(dim=-1) for corners in (boxes, others))
    return common / (areas[:, None] + other_areas - common)


def encode_boxes(boxes: torch.Tensor, priors: torch.Tensor, variances: Sequence[float]) -> torch.Tensor:
    """The offsets that decode to `boxes`, (n, 4) each."""
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - priors[:, :2]) / (variances[0] * priors[:, 2:])
    sides = torch.log((boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:]) / variances[1]
    return torch.cat([centres, sides], dim=1)
