"""Phases inside transformers' `Trainer`: when they change, at which rates, and where a checkpoint goes on."""

import gc
from types import SimpleNamespace

import pytest
import torch
from training.launch_script import Clips, coarse_model, phases, weights
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from avzoo import CoarseToFineASTForAudioClassification, Phase, PhaseSchedule
from avzoo.models.coarse_to_fine_ast.trainer_callback import PhaseCallback
from avzoo.training import make_schedule

PLAN = phases(4, 2, 1, schedule="cosine", warmup_steps=1)  # 10 clips in batches of 4: 3 steps an epoch


@pytest.fixture(scope="module", autouse=True)
def _less_garbage():
    """A Trainer collects garbage when it starts; looking through all that is imported would take most of the time."""
    gc.collect()
    gc.freeze()


def collate(clips):
    return torch.utils.data.default_collate(clips) | {"full_resolution": True}


class Watch(TrainerCallback):
    """At every step, the frames of an input; and an interruption, if there is to be one."""

    def __init__(self, stop_at=None):
        self.frames, self.stop_at = [], stop_at

    def on_step_begin(self, args, state, control, model, **kwargs):
        if state.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.frames.append(model.config.num_frames)


def trainer(folder, callbacks, model=None, metrics=None, **options):
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "remove_unused_columns": False}
    sizes = {"use_cpu": True, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "num_train_epochs": 9}
    set_seed(0)
    return Trainer(
        model or coarse_model(hidden_dropout_prob=0.1),
        TrainingArguments(str(folder), **(quiet | sizes | options)),
        train_dataset=Clips(),
        eval_dataset=Clips(4),
        data_collator=collate,
        compute_metrics=metrics,
        callbacks=callbacks,
    )


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted: its weights, the frames of its inputs, and a checkpoint of every step."""
    folder, watch = tmp_path_factory.mktemp("whole"), Watch()
    run = trainer(folder, [PhaseCallback(PLAN), watch], save_strategy="steps", save_steps=1)
    run.train()
    return SimpleNamespace(folder=folder, weights=weights(run.model), frames=watch.frames, run=run)


def test_phases_change_after_their_last_step_and_training_ends_with_them(whole):
    assert whole.frames == [12] * 3 + [24] * 3 + [48] * 3
    assert whole.run.state.global_step == 9  # of the 27 that `num_train_epochs` would be


@pytest.mark.parametrize("warmup_steps", [0, 5])
def test_the_logged_rates_are_those_of_the_phases_whatever_the_trainers_own(tmp_path, warmup_steps):
    run = trainer(tmp_path, [PhaseCallback(PLAN)], logging_steps=1, warmup_steps=warmup_steps)
    run.train()
    cosine = make_schedule("cosine", total_steps=3, warmup_steps=1)
    assert logged(run, "learning_rate") == pytest.approx([1e-2 * cosine(step) for step in range(3)] * 3)


def test_accumulated_batches_are_one_step(tmp_path):
    watch = Watch()
    trainer(tmp_path, [PhaseCallback(PLAN), watch], gradient_accumulation_steps=2).train()
    assert watch.frames == [12] * 2 + [24] * 2 + [48] * 2


def interrupted(folder, step, schedule=PLAN, **options):
    """A run that ends before one of its steps; gives the checkpoint that was written after the step before."""
    with pytest.raises(KeyboardInterrupt):
        trainer(folder, [PhaseCallback(schedule), Watch(step)], save_strategy="steps", save_steps=1, **options).train()
    return folder / f"checkpoint-{step}"


def load(checkpoint):
    return CoarseToFineASTForAudioClassification.from_pretrained(checkpoint)


@pytest.mark.parametrize("step", [2, 3, 7], ids=["middle", "change", "last_phase"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, whole, step):
    checkpoint = interrupted(tmp_path, step) if step == 2 else whole.folder / f"checkpoint-{step}"
    run = trainer(tmp_path, [PhaseCallback(PLAN)], load(checkpoint))
    run.train(resume_from_checkpoint=str(checkpoint))
    assert run.state.global_step == 9
    torch.testing.assert_close(weights(run.model), whole.weights, rtol=0, atol=0)


def test_resuming_a_finished_run_takes_no_step(whole):
    model = load(whole.folder / "checkpoint-9")
    before = weights(model)
    with pytest.raises(ValueError, match="the schedule is over"):
        trainer(whole.folder, [PhaseCallback(PLAN)], model).train(resume_from_checkpoint=True)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)


# The end of a phase by what is evaluated

PATIENT = PhaseSchedule([Phase(compression_factor=f, num_epochs=4, patience=1) for f in (4, 1)], metric="score")


def falling(scores):
    return lambda prediction: {"score": next(scores)}


def test_a_phase_that_gains_nothing_ends_early(tmp_path):
    watch, scores = Watch(), iter([0.1, 0.2, 0.2, 0.5, 0.4])
    run = trainer(tmp_path, [PhaseCallback(PATIENT), watch], metrics=falling(scores), eval_strategy="epoch")
    run.train()
    assert watch.frames == [12] * 9 + [48] * 6
    assert logged(run, "eval_score") == [0.1, 0.2, 0.2, 0.5, 0.4]


def test_a_resumed_run_remembers_the_scores_of_its_phase(tmp_path):
    options = {"eval_strategy": "epoch"}
    checkpoint = interrupted(tmp_path, 4, PATIENT, metrics=falling(iter([0.5])), **options)
    watch, scores = Watch(), iter([0.4, 0.5, 0.4])
    run = trainer(tmp_path, [PhaseCallback(PATIENT), watch], load(checkpoint), falling(scores), **options)
    run.train(resume_from_checkpoint=str(checkpoint))
    assert watch.frames == [12] * 2 + [48] * 6


def test_evaluating_alone_works_before_and_after_training(tmp_path):
    run = trainer(tmp_path, [PhaseCallback(phases(4, 1))])
    assert run.evaluate()["eval_loss"] > 0
    run.train()
    assert run.evaluate()["eval_loss"] > 0


def test_evaluating_after_an_interruption_does_not_move_the_phase(tmp_path):
    scores = falling(iter([0.5, 0.5, 0.5]))
    run = trainer(tmp_path, [PhaseCallback(PATIENT), Watch(2)], metrics=scores, eval_strategy="epoch")
    with pytest.raises(KeyboardInterrupt):
        run.train()
    for _ in range(3):
        run.evaluate()
    assert run.model.config.compression_factor == 4


# What it refuses


def test_resuming_with_another_schedule_is_refused(tmp_path, whole):
    checkpoint = whole.folder / "checkpoint-2"
    run = trainer(tmp_path, [PhaseCallback(phases(4, 2, 1))], load(checkpoint))
    with pytest.raises(ValueError, match=r"`schedule` of phase 1: .* was begun with 'cosine', .* has 'constant'"):
        run.train(resume_from_checkpoint=str(checkpoint))


def test_resuming_with_the_model_of_another_phase_is_refused(tmp_path, whole):
    checkpoint = whole.folder / "checkpoint-3"
    run = trainer(tmp_path, [PhaseCallback(PLAN)])
    with pytest.raises((ValueError, RuntimeError), match=r"compression_factor|size mismatch"):  # torch's is the first
        run.train(resume_from_checkpoint=str(checkpoint))


def test_a_checkpoint_without_phases_is_refused(tmp_path):
    trainer(tmp_path, [], max_steps=1, save_strategy="steps", save_steps=1).train()
    with pytest.raises(ValueError, match="the checkpoint that is resumed was written without a PhaseCallback"):
        trainer(tmp_path, [PhaseCallback(PLAN)]).train(resume_from_checkpoint=True)


def test_a_trainer_that_would_stop_too_early_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lasts until step 9, .* stops after 6\. Raise `num_train_epochs`"):
        trainer(tmp_path, [PhaseCallback(PLAN)], num_train_epochs=2).train()


def test_the_best_model_at_the_end_is_refused(tmp_path):
    options = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    with pytest.raises(ValueError, match="`load_best_model_at_end` would load the weights of another phase"):
        trainer(tmp_path, [PhaseCallback(PLAN)], **options).train()


def test_patience_without_evaluations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`eval_strategy` is needed: a phase has `patience`"):
        trainer(tmp_path, [PhaseCallback(PATIENT)]).train()


def test_a_phase_with_batches_of_its_own_is_refused():
    with pytest.raises(ValueError, match="`batch_size` of phase 1: a Trainer has one for all phases"):
        PhaseCallback(phases(4, 1, batch_size=8))
