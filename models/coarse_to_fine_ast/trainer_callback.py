"""Training in phases inside transformers' `Trainer`."""

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as TrainerArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .phases import PhaseRun, PhaseSchedule


class PhaseCallback(TrainerCallback):
    """Move the model of a `Trainer` through the phases of a schedule.

        Trainer(model, args, train_dataset=features, data_collator=collate, callbacks=[PhaseCallback(schedule)]).train()

    where the collator returns features of full resolution and `"full_resolution": True`, so that the model compresses
    them for the phase; evaluation then runs at the phase's resolution, too. The callback sets the learning
    rate, in place of the Trainer's scheduler, and ends the training after the last phase. A phase changes when its last
    step has been evaluated and saved, just before the next one.

    To resume, give the Trainer the model that `from_pretrained(checkpoint)` loads, which is in its phase. The state
    of the schedule is in the log history that the Trainer saves with every checkpoint.

    Args:
        schedule: phases must not set `batch_size`; a Trainer has one for all.

    Raises:
        ValueError: when training begins, if the model can't be in a phase; if the phases are longer than the Trainer
            trains; if the checkpoint has another schedule; with several processes or GPUs, whose wrapped models can't
            change their shapes; with `load_best_model_at_end`, whose model may be in another phase.
    """

    def __init__(self, schedule: PhaseSchedule):
        for number, phase in enumerate(schedule.phases, start=1):
            if phase.batch_size is not None:
                raise ValueError(
                    f"`batch_size` of phase {number}: a Trainer has one for all phases. Omit it, or use "
                    "train_in_phases."
                )
        self.schedule = schedule
        self.run: PhaseRun | None = None
        self.note: dict[str, Any] = {}  # entry in the log history
        self.step_is_done = False  # but not counted yet
        self.metrics: dict[str, float] | None = None  # of the evaluation after it

    def on_train_begin(
        self,
        args: TrainerArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model,
        optimizer,
        lr_scheduler,
        train_dataloader,
        **kwargs,
    ) -> None:
        _check_trainer(args, self.schedule)
        notes = [entry for entry in state.log_history if "phases" in entry]
        if state.global_step and not notes:
            raise ValueError("the checkpoint that is resumed was written without a PhaseCallback.")
        self.note = notes[-1] if state.global_step else {"step": 0}
        self.run = run = PhaseRun(
            self.schedule,
            model,
            optimizer,
            math.ceil(len(train_dataloader) / args.gradient_accumulation_steps),
            state=self.note.get("phases"),
        )
        self.step_is_done, self.metrics = bool(state.global_step), self.note.get("metrics")
        if self.step_is_done and run.ends_with_next_step(self.metrics):
            raise ValueError(f"the schedule is over at step {state.global_step}: there is nothing left to train.")
        last_step = run.steps - run.phase_steps + sum(run.lengths[run.index :])
        if last_step > state.max_steps:
            raise ValueError(
                f"the schedule lasts until step {last_step}, and the Trainer stops after {state.max_steps}. Raise "
                "`num_train_epochs` or `max_steps`; the callback ends the training itself."
            )
        if not state.global_step:
            state.log_history.append(self.note)
        self._publish_rates(lr_scheduler)

    def on_step_begin(
        self, args: TrainerArguments, state: TrainerState, control: TrainerControl, *, lr_scheduler, **kwargs
    ) -> None:
        if self.step_is_done:
            self.run.step(self.metrics)
        self.step_is_done, self.metrics = False, None
        self._publish_rates(lr_scheduler)

    def on_step_end(
        self, args: TrainerArguments, state: TrainerState, control: TrainerControl, **kwargs
    ) -> TrainerControl:
        self.step_is_done = True
        return self._look_ahead(args, state, control)

    def on_evaluate(
        self, args: TrainerArguments, state: TrainerState, control: TrainerControl, *, metrics, **kwargs
    ) -> TrainerControl:
        if not self.step_is_done:  # evaluated before or outside of training
            return control
        self.metrics = metrics | {name.removeprefix("eval_"): value for name, value in metrics.items()}
        return self._look_ahead(args, state, control)

    def on_train_end(self, args: TrainerArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.step_is_done = False

    def _look_ahead(self, args: TrainerArguments, state: TrainerState, control: TrainerControl) -> TrainerControl:
        """Record the state for a checkpoint, and end the training if this was the last step."""
        self.note |= {"step": state.global_step, "phases": self.run.state_dict(), "metrics": self.metrics}
        if self.run.ends_with_next_step(self.metrics):
            control.should_training_stop = True
            control.should_save = control.should_save or args.save_strategy == SaveStrategy.STEPS
        return control

    def _publish_rates(self, lr_scheduler) -> None:
        """Copy the rates to the Trainer's scheduler, from which it logs them."""
        lr_scheduler._last_lr = [group["lr"] for group in self.run.optimizer.param_groups]


def _check_trainer(args: TrainerArguments, schedule: PhaseSchedule) -> None:
    if args.world_size > 1 or args.n_gpu > 1:
        raise ValueError(
            "PhaseCallback works in one process on one device: a model that is wrapped for several can't change its "
            "shapes. Use train_in_phases."
        )
    if args.load_best_model_at_end:
        raise ValueError(
            "`load_best_model_at_end` would load the weights of another phase into the shapes of the last. Leave it "
            "off, and load the best checkpoint with from_pretrained."
        )
    if args.eval_strategy == IntervalStrategy.NO and any(phase.patience for phase in schedule.phases):
        raise ValueError('`eval_strategy` is needed: a phase has `patience`. Set it to "steps" or "epoch".')


__all__ = ["PhaseCallback"]
