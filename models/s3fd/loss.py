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

    Each part is a mean over its priors of the whole batch; lower is better. For each matched prior (at least one per
    image) the three unmatched priors with the highest loss are used.

    Args:
        logits: (batch, priors, 2), background and face.
        offsets: (batch, priors, 4), regressed boxes.
        priors: (priors, 4), centre and sides, relative.
        labels: boxes of the faces of each image, (faces, 4) x1, y1, x2, y2 relative, x1 < x2 and y1 < y2; their values
            are checked on a CPU only, as a GPU would have to synchronise.
        variances: units of centre and size in `offsets`.

    Raises:
        ValueError: another number of images, or labels that are not boxes.
    """
    if len(labels) != len(logits):
        raise ValueError(f"`labels` must have one tensor of boxes per image ({len(logits)}), got {len(labels)}.")
    class_losses, box_losses = [], []
    for of_logits, of_offsets, boxes in zip(logits.float(), offsets.float(), labels, strict=True):
        check_boxes(boxes)
        boxes = boxes.to(priors)
        face_of_prior = match_priors(boxes, priors)
        positive = face_of_prior >= 0
        cross_entropy = -of_logits.log_softmax(dim=-1)  # (priors, 2): for the labels background and face
        negative_losses = cross_entropy[:, 0].masked_fill(positive, -1.0)  # below every cross-entropy
        count = min(NEGATIVES_PER_POSITIVE * max(int(positive.sum()), 1), int((~positive).sum()))
        class_losses += [cross_entropy[positive, 1], negative_losses.topk(count).values]
        targets = encode_boxes(boxes[face_of_prior[positive]], priors[positive], variances)
        box_losses.append(nn.functional.smooth_l1_loss(of_offsets[positive], targets, reduction="none").sum(dim=-1))
    box_losses = torch.cat(box_losses)
    return CLASSIFICATION_WEIGHT * torch.cat(class_losses).mean() + box_losses.sum() / max(len(box_losses), 1)


def check_boxes(boxes: torch.Tensor) -> None:
    """Raise a ValueError unless these are (faces, 4) boxes; values are compared on a CPU only."""
    is_valid = boxes.ndim == 2 and boxes.shape[1] == 4
    if is_valid and boxes.device.type == "cpu":
        is_valid = not (boxes[:, 2:] <= boxes[:, :2]).any()
    if not is_valid:
        raise ValueError(f"`labels` must be (faces, 4) boxes x1 < x2, y1 < y2 each, got {boxes}.")


def match_priors(boxes: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Match priors to faces: index of the face of each prior, or -1, (priors,).

    First each prior is matched to the face it overlaps most, if by at least 0.35, and each face to its best prior. Then
    faces with fewer priors than the average get their best ones above 0.1, up to that average ("scale compensation").
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
    """IoU of boxes (n, 4) and (m, 4), given by corners: (n, m)."""
    sides = torch.minimum(boxes[:, None, 2:], others[:, 2:]) - torch.maximum(boxes[:, None, :2], others[:, :2])
    common = sides.clamp(min=0).prod(dim=-1)
    areas, other_areas = ((corners[:, 2:] - corners[:, :2]).prod(dim=-1) for corners in (boxes, others))
    return common / (areas[:, None] + other_areas - common)


def encode_boxes(boxes: torch.Tensor, priors: torch.Tensor, variances: Sequence[float]) -> torch.Tensor:
    """Encode boxes (n, 4) as offsets (n, 4) from priors; the inverse of `decode_boxes`."""
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - priors[:, :2]) / (variances[0] * priors[:, 2:])
    sides = torch.log((boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:]) / variances[1]
    return torch.cat([centres, sides], dim=1)
