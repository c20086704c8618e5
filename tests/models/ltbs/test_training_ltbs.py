"""LTBS's stages of training, and what is measured in validation."""

import pytest
import torch
from contract.tiny import tiny_model

from avzoo import zoo
from avzoo.models.ltbs.training_ltbs import (
    AcousticTraining,
    JointTraining,
    PostNetTraining,
    Total,
    average,
    draw_noise,
    initialize_flow,
    measure_batch,
)


@pytest.fixture
def model():
    """Three speakers, five units, eight bins."""
    return tiny_model(zoo.find_row("ltbs"))


def make_batch(lengths=(6, 4), seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    clips, longest = len(lengths), max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    batch = {
        "pixel_values": torch.randint(256, (clips, longest, 32, 32), generator=draw, dtype=torch.uint8),
        "speaker_ids": torch.arange(clips) % 3,
        "unit_labels": torch.randint(5, (clips, longest), generator=draw).masked_fill(~mask, -100),
        "pitch_labels": torch.randn(clips, longest, generator=draw) * mask,
        "energy_labels": torch.randn(clips, longest, generator=draw) * mask,
        "mel_labels": torch.randn(clips, 4 * longest, 8, generator=draw) - 5,
    }
    return batch if len(set(lengths)) == 1 else batch | {"attention_mask": mask.long()}


def has_gradient(module: torch.nn.Module) -> bool:
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in module.parameters())


def test_each_stage_trains_its_part(model):
    for stage, trained in (
        (AcousticTraining, (True, False)),
        (PostNetTraining, (False, True)),
        (JointTraining, (True, True)),
    ):
        network = stage(model).train()
        initialize_flow(model, make_batch())
        loss = network(make_batch())
        (loss["loss"] if isinstance(loss, dict) else loss).backward()
        assert (has_gradient(model.ltbs), has_gradient(model.postnet)) == trained, stage
        assert tuple(next(part.parameters()).requires_grad for part in (model.ltbs, model.postnet)) == trained
        network.zero_grad()


def test_the_acoustic_part_is_frozen_in_evaluation_mode(model):
    network = PostNetTraining(model).train()
    assert model.postnet.training
    assert not any(module.training for module in model.ltbs.modules())
    before = {name: value.clone() for name, value in model.ltbs.state_dict().items()}
    network(make_batch()).backward()
    assert all(torch.equal(value, before[name]) for name, value in model.ltbs.state_dict().items())


def test_the_loss_of_both_at_once_is_the_networks_own(model):
    batch = make_batch()
    network = JointTraining(model).eval()
    with torch.no_grad():
        losses, expected = network(batch), model(**batch)
    torch.testing.assert_close(losses["loss"], expected.loss)
    for name, loss in expected.losses.items():
        torch.testing.assert_close(losses[name], loss)


def test_the_condition_may_be_of_true_units(model):
    batch = make_batch()
    with torch.no_grad():
        predicted, given = (PostNetTraining(model, given).eval()(batch) for given in (False, True))
        expected = model(**batch).losses["postnet"]
    torch.testing.assert_close(given, expected)
    assert not torch.equal(predicted, given)


def test_clips_beyond_the_given_ones_are_made_of_predictions(model):
    network, batch = AcousticTraining(model).eval(), make_batch((5, 5))
    with torch.no_grad():
        losses = network(batch, 1)
        first, second = ({name: values[place : place + 1] for name, values in batch.items()} for place in (0, 1))
        expected = (network(first, 1)["mel"] + network(second, 0)["mel"]) / 2
    torch.testing.assert_close(losses["mel"], expected)
    assert not torch.equal(network(second, 0)["mel"], network(second, 1)["mel"])


def test_a_new_flow_is_normed_by_the_batch_and_nothing_else_changes(model):
    model.train()
    batch, before = make_batch(), {name: value.clone() for name, value in model.state_dict().items()}
    initialize_flow(model, batch)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        f"postnet.steps.{step}.norm.{leaf}" for step in (0, 1) for leaf in ("is_initialized", "log_scale", "bias")
    }
    assert all(module.training for module in model.modules())
    once = {name: value.clone() for name, value in model.state_dict().items()}
    initialize_flow(model, make_batch(seed=1))
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())


def test_what_is_measured_adds_up_over_batches(model):
    """Of two clips at once, one of them padded, and of each alone."""
    model.eval()
    batch = make_batch((6, 4))
    noise = draw_noise(batch["mel_labels"], [3, 7], seed=1)
    together = average([measure_batch(model, batch, noise)])
    alone = []
    for place, length in enumerate((6, 4)):
        clip = {
            name: values[place : place + 1, : length * (4 if "mel" in name else 1)]
            for name, values in batch.items()
            if values.ndim > 1
        }
        clip["speaker_ids"] = batch["speaker_ids"][place : place + 1]
        alone.append(measure_batch(model, clip, noise[place : place + 1, : 4 * length]))
    assert average(alone) == pytest.approx(together, abs=1e-5)
    assert together.keys() == {
        "mel L1", "mel L1 given", "unit accuracy", "pitch L1", "energy L1", "refined mel L1", "NLL"
    }  # fmt: skip


def test_a_mean_of_nothing_is_no_number():
    means = average([{"a": Total(3.0, 2), "b": Total(0.0, 0)}, {"a": Total(1.0, 2), "b": Total(0.0, 0)}])
    assert means["a"] == 1.0
    assert means["b"] != means["b"]


def test_noise_of_a_clip_does_not_depend_on_its_batch():
    mel = torch.zeros(2, 8, 3)
    both, one = draw_noise(mel, [4, 9], seed=0), draw_noise(mel[:1], [9], seed=0)
    assert torch.equal(both[1:], one)
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(draw_noise(mel[:1], [9], seed=1), one)
