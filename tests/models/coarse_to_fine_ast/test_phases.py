"""The plan of phases, by hand, and a loop of one's own that follows it."""

import copy
import json
import math

import pytest
import torch
from training.launch_script import Clips, coarse_model, full_resolution_loss, phases, weights

from avzoo import (
    CoarseToFineASTFeatureExtractor,
    FlexiASTConfig,
    FlexiASTForAudioClassification,
    Phase,
    PhaseRun,
    PhaseSchedule,
)
from avzoo.training import make_schedule
from avzoo.training.flops import flop_counter

NAN = math.nan


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), **({"lr": 0.1} | options))


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def learn(run, steps):
    """So many steps of a bare loop, whose batches depend on the step alone; True for each that changed the phase."""
    clips, changes = Clips(), []
    for _ in range(steps):
        batch = torch.utils.data.default_collate([clips[(2 * run.steps + number) % 10] for number in range(4)])
        full_resolution_loss(run.model, batch).backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
        changes.append(run.step())
    return changes


def rates(run, steps):
    """The rates of all groups at so many steps, without learning."""
    seen = []
    for _ in range(steps):
        seen += [group["lr"] for group in run.optimizer.param_groups]
        run.step()
    return seen


# One phase


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_epochs": None}, "needs one length, `num_epochs` or `num_steps`; got None and None"),
        ({"num_steps": 3}, "needs one length, `num_epochs` or `num_steps`; got 1 and 3"),
        ({"compression_factor": 0.5}, "`compression_factor` must be at least 1, got 0.5"),
        ({"compression_factor": NAN}, "`compression_factor` must be at least 1, got nan"),
        ({"num_epochs": 0}, "`num_epochs` must be above 0, got 0"),
        ({"num_epochs": math.inf}, "`num_epochs` must be above 0, got inf"),
        ({"num_epochs": None, "num_steps": 0}, "`num_steps` must be at least 1, got 0"),
        ({"patience": 0}, "`patience` must be at least 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0, got 0.0"),
        ({"learning_rate": NAN}, "`learning_rate` must be above 0, got nan"),
        ({"schedule_factor": -1.0}, "`schedule_factor` must be above 0, got -1.0"),
        ({"warmup_steps": -1}, "`warmup_steps` must be at least 0, got -1"),
        ({"max_masked_frames": -1}, "`max_masked_frames` must be at least 0, got -1"),
        ({"max_masked_mel_bins": -1}, "`max_masked_mel_bins` must be at least 0, got -1"),
        ({"schedule": "sawtooth"}, "`schedule` must be .* got 'sawtooth'"),
    ],
)
def test_a_bad_field_of_a_phase_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Phase(**({"compression_factor": 2, "num_epochs": 1} | fields))


@pytest.mark.parametrize("fields", [{"num_steps": "4"}, {"num_steps": 1.5}, {"batch_size": 2.5}])
def test_a_field_of_a_wrong_type_is_named(fields):
    length = {} if "num_steps" in fields else {"num_epochs": 1}
    (name,) = fields
    with pytest.raises(TypeError, match=f"`{name}`"):
        Phase(compression_factor=2, **length, **fields)


@pytest.mark.parametrize("fields", [{"schedule": "step"}, {"schedule_milestones": [1]}])
def test_milestones_and_the_step_schedule_need_each_other(fields):
    with pytest.raises(ValueError, match="`schedule_milestones`"):
        Phase(compression_factor=2, num_epochs=1, **fields)


def test_a_phase_lasts_its_steps_or_the_steps_of_its_epochs():
    assert Phase(compression_factor=2, num_steps=5).total_steps(None) == 5
    lengths = [Phase(compression_factor=2, num_epochs=epochs).total_steps(3) for epochs in (2, 1.5, 0.01)]
    assert lengths == [6, 5, 1]


def test_epochs_of_unknown_length_are_refused():
    with pytest.raises(ValueError, match="`steps_per_epoch` is needed: a phase lasts `num_epochs`"):
        Phase(compression_factor=2, num_epochs=1).total_steps(None)


def test_masks_are_as_long_in_time_in_every_phase():
    widths = [Phase(compression_factor=factor, num_epochs=1).max_masked_frames for factor in (1, 2, 2.5, 5)]
    assert widths == [192, 96, 76, 38]
    assert Phase(compression_factor=2, num_epochs=1, max_masked_frames=0).max_masked_frames == 0


@pytest.mark.parametrize(
    ("scores", "options", "stalled"),
    [
        ([], {}, False),
        ([0.5, 0.4], {}, False),  # one without gain; patience is 2
        ([0.5, 0.4, 0.5], {}, True),  # as good as before is no gain
        ([0.5, 0.4, 0.6], {}, False),
        ([0.5, 0.6, 0.55, 0.58], {}, True),
        ([0.5, 0.4, 0.3], {"greater_is_better": False}, False),
        ([0.3, 0.4, 0.5], {"greater_is_better": False}, True),
        ([0.50, 0.52, 0.54], {"min_gain": 0.05}, True),
        ([0.50, 0.52, 0.56], {"min_gain": 0.05}, False),  # small gains add up: the best is still 0.50
        ([0.50, 0.48, 0.44], {"min_gain": 0.05, "greater_is_better": False}, False),
        ([NAN, NAN], {}, True),
        ([NAN, NAN], {"greater_is_better": False}, True),
        ([0.5, NAN, NAN], {}, True),
        ([0.5, NAN, 0.6], {}, False),
        ([NAN, 0.5, 0.4], {}, False),  # the first number after it is a gain
    ],
)
def test_a_phase_has_stalled_when_the_last_scores_brought_no_gain(scores, options, stalled):
    assert Phase(compression_factor=2, num_epochs=9, patience=2).has_stalled(scores, **options) is stalled


def test_a_phase_without_patience_never_stalls():
    assert not Phase(compression_factor=2, num_epochs=9).has_stalled([0.5] * 99)


# Several phases


def test_a_coarser_phase_after_a_finer_one_needs_a_word():
    plan = [Phase(compression_factor=factor, num_epochs=1) for factor in (4, 2, 4, 1)]
    with pytest.raises(ValueError, match=r"number 3 is coarser \(factor 4\) .* \(factor 2\).*allow_coarsening=True"):
        PhaseSchedule(plan)
    assert PhaseSchedule(plan, allow_coarsening=True).phases == tuple(plan)


def test_the_last_phase_is_the_resolution_that_the_model_is_for():
    plan = [Phase(compression_factor=factor, num_epochs=1) for factor in (4, 2)]
    with pytest.raises(ValueError, match=r"the last has `compression_factor` 2, but `final_factor` is 1"):
        PhaseSchedule(plan)
    PhaseSchedule(plan, final_factor=2)


def test_no_phases_are_refused():
    with pytest.raises(ValueError, match="`phases` is empty"):
        PhaseSchedule([])


def test_patience_needs_a_metric():
    plan = [Phase(compression_factor=1, num_epochs=1, patience=1)]
    with pytest.raises(ValueError, match="`metric` is needed: a phase has `patience`"):
        PhaseSchedule(plan)
    PhaseSchedule(plan, metric="mAP")


def test_the_description_is_json_and_the_same_schedule():
    schedule = phases(4, 1, schedule="step", schedule_milestones=[0.5])
    description = json.loads(json.dumps(schedule.describe()))
    assert description == schedule.describe()
    assert description["phases"][0]["schedule_milestones"] == [0.5]
    schedule.check_same(description, "the old run")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (PhaseSchedule(phases(4, 1).phases, metric="f1"), "`metric`: the old run was begun with None, .* has 'f1'"),
        (PhaseSchedule(phases(4, 1).phases, min_gain=0.5), "`min_gain`: the old run was begun with 0.0, .* has 0.5"),
        (phases(2, 1), "`compression_factor` of phase 1: the old run was begun with 4, this schedule has 2"),
        (phases(4, 1, learning_rate=0.5), "`learning_rate` of phase 1: .* begun with None, this schedule has 0.5"),
        (phases(4, 2, 1), "the number of `phases`: the old run was begun with 2, this schedule has 3"),
        (phases(1), "the number of `phases`: the old run was begun with 2, this schedule has 1"),
    ],
)
def test_another_schedule_is_told_by_what_differs(other, message):
    with pytest.raises(ValueError, match=message):
        other.check_same(phases(4, 1).describe(), "the old run")


def test_a_model_without_phases_is_refused():
    config = FlexiASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, position_grid=(8, 3)
    )
    with pytest.raises(ValueError, match=r"`model`: a FlexiASTForAudioClassification has no phases.*from_flexiast"):
        phases(2, 1).check_model(FlexiASTForAudioClassification(config))


@pytest.mark.parametrize(
    ("factor", "why"),
    [(24, "leaves 2 of `max_length` 48 frames"), (2.5, "impossible with `temporal_compression` 'pooling'")],
)
def test_a_phase_that_the_model_cannot_be_in_is_named_at_once(factor, why):
    with pytest.raises(
        ValueError, match=f"phase 1 does not suit the model: `compression_factor` {factor} .*{why[:20]}"
    ):
        phases(factor, 1).check_model(coarse_model())


def test_full_epochs_by_hand():
    # Per layer and token: 16 * (4 * 16 + 2 * 24) for the matrices, 2 * tokens * 16 for attention. 4 rows of patches in
    # 12 columns at full resolution, in 3 at factor 4, and a class token.
    fine, coarse = (tokens * 16 * (4 * 16 + 2 * 24) + 2 * tokens**2 * 16 for tokens in (49, 13))
    plan = [Phase(compression_factor=4, num_epochs=3), Phase(compression_factor=1, num_steps=5)]
    assert PhaseSchedule(plan).full_epochs(coarse_model(), 10) == pytest.approx(3 * coarse / fine + 0.5)


def test_full_epochs_of_steps_need_the_length_of_an_epoch():
    with pytest.raises(ValueError, match="`steps_per_epoch`"):
        phases(1, num_steps=5).full_epochs(coarse_model())


def test_full_epochs_are_near_what_is_counted():
    def counted(factor):
        model = coarse_model()
        model.set_phase(factor)
        with flop_counter() as counter:
            model(Clips().values, full_resolution=True)
        return counter.get_total_flops()

    estimate = coarse_model().relative_cost(4)
    assert estimate == pytest.approx(counted(4) / counted(1), rel=0.03)  # patches and head are not among the layers


# A loop of one's own


def test_the_phase_changes_after_its_last_step():
    model = coarse_model()
    run = PhaseRun(phases(4, 2, 1), model, sgd(model), steps_per_epoch=2)
    seen = []
    while not run.finished:
        seen.append((run.index, model.config.compression_factor, model.config.num_frames, run.phase_steps))
        learn(run, 1)
    assert seen == [(0, 4, 12, 0), (0, 4, 12, 1), (1, 2, 24, 0), (1, 2, 24, 1), (2, 1, 48, 0), (2, 1, 48, 1)]
    assert run.steps == 6
    assert run.phase is run.schedule.phases[-1]


def test_a_step_tells_whether_it_changed_the_phase():
    model = coarse_model()
    run = PhaseRun(phases(4, 1, num_steps=2), model, sgd(model))
    assert learn(run, 4) == [False, True, False, True]
    assert run.finished


def test_a_step_after_the_end_is_refused():
    model = coarse_model()
    run = PhaseRun(phases(1, num_steps=1), model, sgd(model))
    learn(run, 1)
    with pytest.raises(ValueError, match="the schedule is over after 1 steps; end the loop when `finished` is True"):
        run.step()


@pytest.mark.parametrize("name", ["linear", "cosine", "one_cycle", "step"])
def test_the_learning_rate_starts_anew_in_every_phase(name):
    model = coarse_model()
    milestones = {"schedule_milestones": [1], "schedule_factor": 0.1} if name == "step" else {}
    plan = phases(4, 1, num_epochs=2, schedule=name, warmup_steps=1, **milestones)
    over_a_phase = make_schedule(
        name, total_steps=6, steps_per_epoch=3, warmup_steps=1, milestones=[1] if milestones else (), factor=0.1
    )
    expected = [0.1 * over_a_phase(step) for step in range(6)]
    assert rates(PhaseRun(plan, model, sgd(model), 3), 12) == pytest.approx(expected * 2)


def test_groups_keep_their_ratio_and_a_phase_may_have_its_own_peak():
    model = coarse_model()
    groups = [{"params": model.flexiast.parameters(), "lr": 0.1}, {"params": model.classifier.parameters(), "lr": 0.2}]
    plan = [
        Phase(compression_factor=4, num_steps=2, schedule="linear"),
        Phase(compression_factor=1, num_steps=2, schedule="linear", learning_rate=0.5),
    ]
    run = PhaseRun(PhaseSchedule(plan), model, torch.optim.SGD(groups))
    assert rates(run, 4) == pytest.approx([0.1, 0.2, 0.05, 0.1, 0.5, 1.0, 0.25, 0.5])


def test_a_peak_of_nothing_has_no_ratio_to_a_phases_own():
    model = coarse_model()
    with pytest.raises(ValueError, match="`learning_rate`"):
        PhaseRun(phases(1, learning_rate=0.5), model, sgd(model, lr=0.0), 1)


def test_the_optimizer_starts_anew_in_every_phase():
    model = coarse_model()
    run = PhaseRun(phases(4, 1, num_steps=2), model, adam(model))
    learn(run, 1)
    assert len(run.optimizer.state) == len(list(model.parameters()))
    learn(run, 1)
    assert not run.optimizer.state
    learn(run, 1)
    assert {int(state["step"]) for state in run.optimizer.state.values()} == {1}


def test_an_optimizer_learns_the_resized_parameters():
    model = coarse_model()
    run = PhaseRun(phases(4, 1, num_steps=1), model, adam(model))
    learn(run, 1)
    positions = model.flexiast.embeddings.position_embeddings
    before = positions.detach().clone()
    learn(run, 1)
    assert before.shape == (1, 49, 16)
    assert not torch.equal(positions, before)


def test_the_processor_changes_its_phase_along():
    model, processor = coarse_model(), CoarseToFineASTFeatureExtractor(max_length=48, frame_multiple=4)
    run = PhaseRun(phases(4, 2, 1, num_steps=1), model, sgd(model), processor=processor)
    frames = [processor.num_frames]
    while not run.finished:
        learn(run, 1)
        frames.append(processor.num_frames)
    assert frames == [12, 24, 48, 48]


def patient(*patiences, **options):
    plan = [Phase(compression_factor=4 - number, num_steps=9, patience=p) for number, p in enumerate(patiences)]
    return PhaseSchedule(plan, metric="f1", final_factor=5 - len(plan), **options)


def test_a_phase_that_gains_nothing_ends_before_its_time():
    model = coarse_model()
    run = PhaseRun(patient(2, 1), model, adam(model))
    learn(run, 1)
    told = [run.step({"f1": score}) for score in (0.5, 0.6, 0.6, 0.55)]
    assert told == [False, False, False, True]
    assert (run.index, run.phase_steps, run.scores, model.config.compression_factor) == (1, 0, [], 3)
    assert not run.optimizer.state
    assert [run.step({"f1": 0.1}), run.finished] == [False, False]  # scores of the phase before don't count
    assert [run.step({"f1": 0.1}), run.finished] == [True, True]


def test_a_falling_metric_gains_by_falling():
    model = coarse_model()
    run = PhaseRun(patient(1, greater_is_better=False), model, sgd(model))
    assert [run.step({"f1": score}) for score in (0.5, 0.4, 0.4)] == [False, False, True]


def test_an_evaluation_without_the_metric_is_refused_and_one_without_patience_ignored():
    model = coarse_model()
    run = PhaseRun(patient(1), model, sgd(model))
    with pytest.raises(ValueError, match=r"`metric` \('f1'\) is not among the evaluated metrics: \['loss', 'mAP'\]"):
        run.step({"mAP": 0.5, "loss": 1.0})
    assert PhaseRun(phases(1, num_steps=2), model, sgd(model)).step({}) is False


def test_a_gradient_at_the_change_is_refused_and_the_step_not_counted():
    model = coarse_model()
    optimizer = adam(model)
    run = PhaseRun(phases(4, 1, num_steps=2), model, optimizer)
    learn(run, 1)
    before = run.state_dict()
    full_resolution_loss(model, torch.utils.data.default_collate([Clips()[0]])).backward()
    optimizer.step()
    with pytest.raises(ValueError, match=r"the phase cannot change during a step: .*optimizer.zero_grad"):
        run.step()
    assert (run.state_dict(), model.config.compression_factor) == (before, 4)
    optimizer.zero_grad()
    assert run.step()
    assert (run.index, run.steps, run.phase_steps, model.config.compression_factor) == (1, 2, 0, 1)


# Resuming


def saved(run, folder):
    """What a loop keeps, as files would."""
    run.model.save_pretrained(folder)
    return copy.deepcopy(run.optimizer.state_dict()), json.loads(json.dumps(run.state_dict()))


def resumed(schedule, folder, kept, make_optimizer=adam):
    model = type(coarse_model()).from_pretrained(folder).train()
    optimizer = make_optimizer(model)
    optimizer.load_state_dict(kept[0])
    return PhaseRun(schedule, model, optimizer, steps_per_epoch=3, state=kept[1])


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    schedule, model = phases(4, 2, 1, schedule="cosine", learning_rate=0.02), coarse_model()
    run = PhaseRun(schedule, model, adam(model), steps_per_epoch=3)
    kept = {}
    for step in range(1, 10):
        learn(run, 1)
        if step in (2, 3, 4, 7):  # in the middle of a phase, at its change, after it, in the last phase
            kept[step] = saved(run, tmp_path / str(step))
    assert run.finished
    for step, state in kept.items():
        again = resumed(schedule, tmp_path / str(step), state)
        learn(again, 9 - step)
        assert again.finished
        message = f"resumed after step {step}, it ends with other weights"
        torch.testing.assert_close(weights(again.model), weights(model), rtol=0, atol=0, msg=message)


def test_a_resumed_run_knows_the_scores_of_its_phase(tmp_path):
    model = coarse_model()
    run = PhaseRun(patient(2, 2), model, adam(model))
    for score in (0.5, 0.4):
        run.step({"f1": score})
    again = resumed(patient(2, 2), tmp_path, saved(run, tmp_path))
    assert again.step({"f1": 0.4})
    assert again.model.config.compression_factor == 3


def test_a_finished_run_is_resumed_as_finished(tmp_path):
    model = coarse_model()
    run = PhaseRun(phases(4, 1), model, adam(model), 3)
    learn(run, 6)
    assert resumed(phases(4, 1), tmp_path, saved(run, tmp_path)).finished


def test_resuming_puts_the_processor_into_the_phase():
    model, processor = coarse_model(), CoarseToFineASTFeatureExtractor(max_length=48, frame_multiple=4)
    run = PhaseRun(phases(4, 2, 1), model, sgd(model), 1)
    learn(run, 1)
    PhaseRun(phases(4, 2, 1), model, sgd(model), 1, processor=processor, state=run.state_dict())
    assert processor.num_frames == 24


def test_resuming_with_another_schedule_is_refused():
    model = coarse_model()
    state = PhaseRun(phases(4, 1), model, sgd(model), 1).state_dict()
    with pytest.raises(ValueError, match=r"`num_epochs` of phase 1: the run of `state` was begun with 1, .* has 2"):
        PhaseRun(phases(4, 1, num_epochs=2), model, sgd(model), 1, state=state)


def test_resuming_a_model_of_another_phase_is_refused():
    model = coarse_model()
    run = PhaseRun(phases(4, 2, 1), model, sgd(model), 1)
    learn(run, 1)
    fresh = coarse_model()
    with pytest.raises(
        ValueError, match=r"of a phase with `compression_factor` 2, `model` is in one with 1.*saved with"
    ):
        PhaseRun(phases(4, 2, 1), fresh, sgd(fresh), 1, state=run.state_dict())


def test_resuming_a_model_of_another_way_of_compression_is_refused():
    schedule, model = phases(4, 1, temporal_compression="frame_shift"), coarse_model()
    state = PhaseRun(schedule, model, sgd(model), 1).state_dict()
    other = coarse_model()
    other.set_phase(4, "pooling")
    with pytest.raises(ValueError, match="`temporal_compression`"):
        PhaseRun(schedule, other, sgd(other), 1, state=state)


def test_resuming_with_epochs_of_another_length_is_refused():
    model = coarse_model()
    state = PhaseRun(phases(4, 1), model, sgd(model), 4).state_dict()
    with pytest.raises(ValueError, match="`steps_per_epoch`"):
        PhaseRun(phases(4, 1), model, sgd(model), 2, state=state)


def test_a_resumed_optimizer_keeps_its_peak(tmp_path):
    schedule, model = phases(4, 1, num_steps=4, schedule="linear"), coarse_model()
    run = PhaseRun(schedule, model, sgd(model))
    learn(run, 3)  # the rate is a quarter of the peak now
    again = resumed(schedule, tmp_path, saved(run, tmp_path), sgd)
    assert rates(again, 2) == pytest.approx([0.025, 0.1])


def test_a_second_run_on_one_optimizer_has_the_peaks_of_the_first():
    model = coarse_model()
    optimizer = sgd(model)
    learn(PhaseRun(phases(4, 1, num_steps=2, schedule="linear"), model, optimizer), 4)
    assert rates(PhaseRun(phases(2, 1, num_steps=1), model, optimizer), 2) == [0.1, 0.1]


def test_a_run_that_is_resumed_on_the_optimizer_it_had_goes_on():
    model = coarse_model()
    optimizer = sgd(model)
    schedule = phases(1, num_steps=4, schedule="linear")
    run = PhaseRun(schedule, model, optimizer)
    learn(run, 2)
    assert rates(PhaseRun(schedule, model, optimizer, state=run.state_dict()), 2) == pytest.approx([0.05, 0.025])
