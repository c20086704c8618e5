"""Counted operations against sums done by hand; nothing goes on counting."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from training.launch_script import Clips, Points, arguments, coarse_model, phases, tiny_model

from avzoo import train_in_phases
from avzoo.training import TrainingState, train
from avzoo.training.flops import FlopCount, flop_counter


def counted(function):
    with flop_counter() as counter:
        function()
    return counter.get_total_flops()


def is_counting():
    return torch.utils._python_dispatch._get_current_dispatch_mode() is not None


def test_a_linear_layer_costs_two_per_multiply_add():
    linear, inputs = nn.Linear(4, 8), torch.ones(3, 4, requires_grad=True)
    assert counted(lambda: linear(inputs)) == 2 * 3 * 4 * 8
    assert counted(lambda: linear(inputs).sum().backward()) == 3 * (2 * 3 * 4 * 8)  # for inputs and weights, too


def attention_inputs():
    torch.manual_seed(0)
    return [torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3)]


def test_fused_attention_costs_its_matrix_products():
    query, key, value = attention_inputs()
    fused = counted(lambda: scaled_dot_product_attention(query, key, value))
    eager = counted(lambda: (query @ key.transpose(-1, -2)).softmax(-1) @ value)
    assert fused == eager == 2 * (2 * 2 * 3 * 5 * 5 * 4)


def test_fused_attention_costs_two_and_a_half_times_as_much_backward():
    query, key, value = attention_inputs()
    forward = counted(lambda: scaled_dot_product_attention(query, key, value))
    both = counted(lambda: scaled_dot_product_attention(query, key, value).sum().backward())
    assert both == 3.5 * forward  # it computes the scores again


def test_the_model_costs_the_same_with_fused_attention():
    def cost(implementation):
        model = coarse_model().requires_grad_(False)
        model.set_attn_implementation(implementation)
        return counted(lambda: model(Clips(2).values))

    assert cost("sdpa") == cost("eager") > 0


def test_one_step_of_a_run_is_counted(tmp_path):
    count, steps = FlopCount(tmp_path / "count.txt"), []

    def loss(model, batch, step):
        steps.append(is_counting())
        return model(**batch).loss

    train(tiny_model(), Points(24), arguments(tmp_path, num_epochs=2), compute_loss=loss, callbacks=[count])
    # 8 points through 4 x 8 and 8 x 1; backward again for the weights, and between the layers.
    assert count.per_step == 2 * 8 * (2 * 32 + 3 * 8)
    assert steps == [True] + [False] * 5


def test_a_step_of_several_batches_is_counted_whole(tmp_path):
    count = FlopCount(tmp_path / "count.txt")
    train(tiny_model(), Points(24), arguments(tmp_path, gradient_accumulation_steps=3), callbacks=[count])
    assert count.per_step == 3 * 2 * 8 * (2 * 32 + 3 * 8)


def test_closing_stops_the_count_and_may_be_repeated(tmp_path):
    count = FlopCount(tmp_path / "count.txt")
    count.on_epoch_begin(None, TrainingState(total_steps=1))
    assert is_counting()
    count.close()
    count.close()
    assert not is_counting()
    assert count.per_step == 0


def test_a_run_that_fails_leaves_nothing_counting(tmp_path):
    def loss(model, batch, step):
        model(**batch, full_resolution=True).loss.backward()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        train_in_phases(coarse_model(), Clips(), arguments(tmp_path), phases(4, 1), compute_loss=loss)
    assert not is_counting()
    linear = nn.Linear(4, 8)
    assert counted(lambda: linear(torch.ones(3, 4))) == 2 * 3 * 4 * 8
