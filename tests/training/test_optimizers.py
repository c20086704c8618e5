"""Optimizers by name, and two of them acting as one."""

import pytest
import torch
from torch import nn

from avzoo.training import TrainingArguments
from avzoo.training.optimizers import CombinedOptimizer, make_optimizer


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).tanh()
        return self.head(x)


def arguments(**changes) -> TrainingArguments:
    return TrainingArguments(output_dir="unused", learning_rate=0.01, **changes)


def take_steps(model, optimizer, count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(8, 4, generator=generator)).square().sum().backward()
        optimizer.step()


def test_names_choose_the_class():
    assert type(make_optimizer(Tiny(), arguments(optimizer="adamw"))) is torch.optim.AdamW
    assert type(make_optimizer(Tiny(), arguments(optimizer="adam"))) is torch.optim.Adam


def test_muon_takes_the_matrices_of_layers_and_adamw_the_rest():
    model = Tiny()
    muon, adamw = make_optimizer(model, arguments(optimizer="muon")).optimizers
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(layer.weight) for layer in model.layers]
    assert len(adamw.param_groups[0]["params"]) == 4


def test_the_combined_optimizer_equals_its_two_optimizers():
    apart, together = Tiny(), Tiny()
    first = torch.optim.SGD([layer.weight for layer in apart.layers], lr=0.1, momentum=0.9)
    second = torch.optim.AdamW(apart.head.parameters(), lr=0.01)
    take_steps(apart, Pair(first, second), 5)
    both = CombinedOptimizer(
        torch.optim.SGD([layer.weight for layer in together.layers], lr=0.1, momentum=0.9),
        torch.optim.AdamW(together.head.parameters(), lr=0.01),
    )
    take_steps(together, both, 5)
    for expected, actual in zip(apart.parameters(), together.parameters(), strict=True):
        assert torch.equal(actual, expected)


class Pair:
    def __init__(self, *optimizers):
        self.optimizers = optimizers

    def zero_grad(self):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()


def test_a_loaded_state_continues_the_run():
    straight = Tiny()
    take_steps(straight, make_optimizer(straight, arguments(optimizer="muon")), 3)

    first = Tiny()
    optimizer = make_optimizer(first, arguments(optimizer="muon"))
    generator = torch.Generator().manual_seed(1)
    for step in range(3):
        if step == 2:
            second = Tiny()
            second.load_state_dict(first.state_dict())
            state, first = optimizer.state_dict(), second
            optimizer = make_optimizer(first, arguments(optimizer="muon"))
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        first(torch.randn(8, 4, generator=generator)).square().sum().backward()
        optimizer.step()
    for expected, actual in zip(straight.parameters(), first.parameters(), strict=True):
        assert torch.equal(actual, expected)


def test_the_rate_of_the_group_is_the_rate_of_the_step():
    model = Tiny()
    optimizer = make_optimizer(model, arguments(optimizer="muon"))
    before = [parameter.clone() for parameter in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    take_steps(model, optimizer, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_frozen_model_is_refused():
    model = Tiny().requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        make_optimizer(model, arguments())
