"""The rows, sentences and scores of SlowFastSign's toy claim, by hand, and all of it at a small size."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCTC, AutoProcessor

from avzoo import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.toyworld.rapid_signs import RAPID_GLOSSES, RapidSigns, rapid_sentence

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("toy.slowfast_cslr")


@pytest.fixture
def processor():
    return SlowFastSignProcessor(RAPID_GLOSSES, resize_size=20, crop_size=20)


@pytest.fixture
def network(toy):
    """With random weights, and gates that are open."""
    torch.manual_seed(0)
    network = SlowFastSignForCTC(SlowFastSignConfig(**toy.NETWORK, vocab_size=5)).eval()
    for fusion in network.slowfast.pathways.fusions:
        torch.nn.init.constant_(fusion.slow_gate, 0.5)
        torch.nn.init.constant_(fusion.fast_gate, 0.5)
    return network


def close_gates(network):
    """As they are in a new network."""
    for fusion in network.slowfast.pathways.fusions:
        torch.nn.init.zeros_(fusion.slow_gate)
        torch.nn.init.zeros_(fusion.fast_gate)


@torch.inference_mode()
def spell(network, pixel_values):
    return network(pixel_values).logits


def test_sentences_get_longer_and_each_is_seen_once(toy):
    clips = toy.Curriculum(
        lambda num_clips, num_glosses: RapidSigns(num_clips, split=f"{num_glosses}", num_glosses=num_glosses),
        200,
        (0.3, 0.5),
        seed=1,
    )
    counts = [len(clips[index]["glosses"]) for index in range(len(clips))]
    assert set(counts[:60]) == {1}
    assert set(counts[60:100]) == {1, 2}
    assert set(counts[100:]) == {1, 2, 3}
    assert len({clips[index]["seed"] for index in range(len(clips))}) == len(clips) == 200


def test_the_slow_pathway_alone_sees_every_fourth_frame(toy, network, processor):
    pixel_values = processor(videos=rapid_sentence(0, num_glosses=2)["frames"]).pixel_values
    changed = pixel_values.clone()
    changed[:, torch.arange(changed.shape[1]) % 4 != 0] = 0
    assert not torch.allclose(spell(network, pixel_values), spell(network, changed), atol=1e-4)
    close_gates(network)
    toy.restrict(network, "slow only")
    torch.testing.assert_close(spell(network, pixel_values), spell(network, changed), rtol=0, atol=0)
    assert network(pixel_values).frame_features[..., network.config.slow_size :].abs().max() == 0


def test_the_fast_pathway_alone_hears_nothing_of_the_slow_one(toy, network, processor):
    pixel_values = processor(videos=rapid_sentence(0, num_glosses=2)["frames"]).pixel_values
    close_gates(network)
    toy.restrict(network, "fast only")
    before = spell(network, pixel_values)
    for block in (network.slowfast.pathways.slow_stem, *(stage.slow for stage in network.slowfast.pathways.stages)):
        for weight in block.parameters():
            torch.nn.init.normal_(weight)
    torch.testing.assert_close(spell(network, pixel_values), before, rtol=0, atol=0)
    assert before.abs().max() > 0


@pytest.mark.parametrize("pathways", ["slow only", "fast only"])
def test_gates_of_one_pathway_are_not_trained(toy, network, pathways):
    toy.restrict(network, pathways)
    frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
    assert len(frozen) == 8
    assert all("gate" in name for name in frozen)


def test_both_pathways_are_left_as_they_are(toy, network):
    toy.restrict(network, "both pathways")
    assert all(value.requires_grad for value in network.parameters())
    assert not network.slowfast.pathways._forward_hooks


def test_the_answer_does_not_depend_on_auxiliary_heads(toy, network, processor):
    inputs = processor(videos=rapid_sentence(0)["frames"])
    lean = network.without_auxiliary()
    used = sum(value.numel() for value in lean.parameters())
    assert toy.count_used(network, inputs) == toy.count_used(lean, inputs) == used
    assert used < sum(value.numel() for value in network.parameters())


def test_a_network_is_scored_by_its_best_classes(toy, processor):
    class Reader:
        """Answers what the first pixel of each frame says."""

        def __call__(self, pixel_values, attention_mask=None):
            numbers = pixel_values[:, 6::4, 0, 0, 0].long()
            steps = torch.tensor([numbers.shape[1]] * len(numbers))
            return type("Output", (), {"logits": torch.nn.functional.one_hot(numbers, 5).float(), "lengths": steps})

    def clip(steps, glosses):
        frames = np.repeat(np.array(steps, np.uint8), 4)[:, None, None, None]
        return {"frames": np.broadcast_to(frames, (len(frames), 20, 20, 3)), "glosses": glosses}

    first, second, third, _ = RAPID_GLOSSES
    right, wrong = clip([1, 1, 0, 2], [first, second]), clip([3, 0, 0, 0], [second, third])
    assert toy.score(Reader(), processor, [right]) == 0
    assert toy.score(Reader(), processor, [right, wrong]) == 25  # one of four is missing


def test_the_claim_holds_or_is_missed_by_so_much(toy):
    def results(both, slow):
        return {
            "both pathways": [toy.Result(error, (0.0, 0.0), 1.0) for error in both],
            "slow only": [toy.Result(error, (0.0, 0.0), 1.0) for error in slow],
            "fast only": [toy.Result(0.0, (0.0, 0.0), 1.0)] * len(both),
        }

    first, second = toy.judge(results([0.0, 5.0], [20.0, 31.0]))
    assert first.startswith("holds: both pathways err in 5.0 % or less")
    assert second.startswith("holds: the slow one alone in 20.0 % or more")
    first, second = toy.judge(results([0.0, 6.5], [17.0, 31.0]))
    assert first.startswith("missed by 1.5")
    assert second.startswith("missed by 3.0")


@pytest.mark.slow
def test_the_toy_prints_its_tables_and_saves_a_model(run_toy, toy, monkeypatch, tmp_path):
    for name, value in {"STEPS": 4, "SHOWN_STEPS": (2,), "NUM_TEST_CLIPS": 3, "TIMED_ROUNDS": 1}.items():
        monkeypatch.setattr(toy, name, value)
    printed = run_toy("train_slowfast_cslr.py", tmp_path, "--toy_seeds 0 1")
    for name in (*toy.PATHWAYS, "with auxiliary heads", "without"):
        assert sum(line.startswith(name + " ") for line in printed.splitlines()) == 1
    assert printed.count("at most") == printed.count("at least") == 1
    model, processor = AutoModelForCTC.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert model.config.auxiliary_branches  # training may go on
    assert processor.glosses == list(RAPID_GLOSSES)
    assert model(**processor(videos=rapid_sentence(0)["frames"])).logits.shape[-1] == 5
