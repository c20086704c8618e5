"""HiFi-GAN's losses, against numbers done by hand."""

import torch

from avzoo.models.hifigan import adversarial_loss, discrimination_loss, feature_matching_loss


def test_discriminators_are_to_give_1_for_recordings_and_0_for_made_sound():
    real = [torch.tensor([1.0, 0.5]), torch.tensor([[1.0]])]
    made = [torch.tensor([0.0, 2.0]), torch.tensor([[-1.0]])]
    # (0 + .25) / 2 + (0 + 4) / 2, and 0 + 1
    assert float(discrimination_loss(real, made)) == 0.125 + 2.0 + 1.0
    assert float(discrimination_loss([torch.ones(3)], [torch.zeros(3)])) == 0.0


def test_the_generator_is_to_be_taken_for_a_recording():
    assert float(adversarial_loss([torch.tensor([1.0, 3.0]), torch.tensor([0.0])])) == 2.0 + 1.0


def test_features_are_compared_layer_by_layer():
    real = [[torch.tensor([1.0, 2.0]), torch.tensor([5.0])], [torch.tensor([0.0])]]
    made = [[torch.tensor([2.0, 2.0]), torch.tensor([3.0])], [torch.tensor([-1.0])]]
    assert float(feature_matching_loss(real, made)) == 0.5 + 2.0 + 1.0


def test_features_of_recordings_get_no_gradient():
    real, made = (torch.ones(2, requires_grad=True) for _ in range(2))
    feature_matching_loss([[real * 3]], [[made]]).backward()
    assert real.grad is None
    assert made.grad.tolist() == [-0.5, -0.5]
