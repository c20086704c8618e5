"""HiFi-GAN (arXiv 2010.05646): what its training needs beside the generator, which is transformers' SpeechT5HifiGan."""

from .discriminators import Discriminators, PeriodDiscriminator, ScaleDiscriminator
from .loss_hifigan import adversarial_loss, discrimination_loss, feature_matching_loss

__all__ = [
    "Discriminators",
    "PeriodDiscriminator",
    "ScaleDiscriminator",
    "adversarial_loss",
    "discrimination_loss",
    "feature_matching_loss",
]
