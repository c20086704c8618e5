"""A training step of ACL-SSL does what the authors' order does, with fewer operations."""

import importlib
from pathlib import Path

import pytest
import torch


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    return importlib.import_module("acl_ssl")


def test_loss_and_gradients_are_those_of_the_authors_order(benchmark):
    loss, gradient = benchmark.compare_orders()
    assert loss < 1e-4
    assert gradient < 1e-4


def test_a_step_needs_a_third_of_the_operations_forward_and_two_fifths_in_all(benchmark):
    forward, whole = benchmark.count_step(benchmark.compute_loss)
    official_forward, official_whole = benchmark.count_step(benchmark.compute_official_loss)
    assert official_forward >= 3 * forward
    assert official_whole >= 2.5 * whole


def test_a_step_encodes_every_picture_twice_and_the_authors_order_ten_times(benchmark):
    passes = {}
    for compute in (benchmark.compute_loss, benchmark.compute_official_loss):
        with torch.device("meta"):
            config = benchmark.ACLConfig(**benchmark.SMALL)
            model = benchmark.ACLForSoundLocalization(config)
            inputs = benchmark.make_inputs(8, 64, 48)
        seen = []
        model.grounder.clip.vision_model.pre_layrnorm.register_forward_hook(
            lambda module, arguments, output, seen=seen: seen.append(len(output))
        )
        compute(model, *inputs)
        passes[compute.__name__] = seen
    assert passes == {"compute_loss": [8] * 2, "compute_official_loss": [8] * 10}
