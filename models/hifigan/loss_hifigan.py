"""What generator and discriminators of HiFi-GAN are trained with (arXiv 2010.05646, section 2.4)."""

from collections.abc import Sequence

import torch

FEATURE_WEIGHT, MEL_WEIGHT = 2.0, 45.0  # beside the adversarial loss


def discrimination_loss(real: Sequence[torch.Tensor], made: Sequence[torch.Tensor]) -> torch.Tensor:
    """sum over discriminators of mean((D(x) - 1)^2) + mean(D(G(s))^2), equation 1: 0 where all are told apart.

    Args:
        real, made: the verdict of each on recordings, and on made sound, of any shape.
    """
    return sum((ours - 1).square().mean() + theirs.square().mean() for ours, theirs in zip(real, made, strict=True))


def adversarial_loss(made: Sequence[torch.Tensor]) -> torch.Tensor:
    """sum over discriminators of mean((D(G(s)) - 1)^2), equation 2: 0 where all take made sound for recordings."""
    return sum((verdict - 1).square().mean() for verdict in made)


def feature_matching_loss(
    real: Sequence[Sequence[torch.Tensor]], made: Sequence[Sequence[torch.Tensor]]
) -> torch.Tensor:
    """sum over discriminators and their layers of the mean absolute difference of feature maps, equation 4.

    Args:
        real, made: feature maps of recordings, which get no gradient, and of what is made in their place.
    """
    return sum(
        (ours.detach() - theirs).abs().mean()
        for of_real, of_made in zip(real, made, strict=True)
        for ours, theirs in zip(of_real, of_made, strict=True)
    )


__all__ = ["FEATURE_WEIGHT", "MEL_WEIGHT", "adversarial_loss", "discrimination_loss", "feature_matching_loss"]
