"""What SlowFastSign is trained with: CTC before and behind the LSTM, and the distance between the two answers.

Visual enhancement and alignment (VAC, arXiv 2104.02330) as kaistmm/SlowFastSign@37d1b6c has them
(`slr_network_multi.py`, `modules/criterions.py`).
"""

import torch
from torch import nn

BLANK = 0
IGNORED = -100  # behind the end of a sentence


def ctc_loss(logits: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log likelihood of each sentence, (clips,); not divided by its length.

    Infinite where a clip has fewer steps than its sentence has glosses and repeats; see
    [`count_least_steps`].

    Args:
        logits: (clips, steps, vocab_size).
        lengths: (clips,), steps of each clip.
        labels: (clips, glosses), -100 behind the end.
    """
    return nn.functional.ctc_loss(
        widen(logits).log_softmax(-1).transpose(0, 1),
        labels.clamp(min=0),
        lengths,
        (labels != IGNORED).sum(1),
        blank=BLANK,
        reduction="none",
    )


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, row_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's glosses from the teacher's, the blank left out; a scalar.

    Args:
        student, teacher: logits (clips, steps, vocab_size); the teacher gets no gradient.
        temperature: which both are divided by; the divergence is multiplied by its square.
        row_mask: (clips, steps), the steps whose mean this is; None: all.
    """
    glosses = slice(BLANK + 1, None)
    log_student = (widen(student)[..., glosses] / temperature).log_softmax(-1)
    log_teacher = (widen(teacher.detach())[..., glosses] / temperature).log_softmax(-1)
    rows = (log_teacher.exp() * (log_teacher - log_student)).sum(-1)
    if row_mask is None:
        return rows.mean() * temperature**2
    return (rows * row_mask).sum() / row_mask.sum() * temperature**2


def widen(logits: torch.Tensor) -> torch.Tensor:
    """Half precision as float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def count_least_steps(labels: torch.Tensor) -> torch.Tensor:
    """The fewest steps that can spell each sentence, (clips,): a blank has to part equal neighbours.

    Args:
        labels: (clips, glosses), -100 behind the end.
    """
    glosses = labels != IGNORED
    return glosses.sum(1) + ((labels[:, 1:] == labels[:, :-1]) & glosses[:, 1:]).sum(1)


__all__ = ["count_least_steps", "ctc_loss", "distillation_loss"]
