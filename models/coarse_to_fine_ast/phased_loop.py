"""The training loop, once per phase: each phase is a run of its own, with its own checkpoints and its own model."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import nn

from avzoo.training import StepInfo, TrainingArguments, TrainingCallback, TrainingState, checkpoints, train
from avzoo.training.data import derive_seed
from avzoo.training.flops import FlopCount

from .phases import Phase, PhaseSchedule


@dataclasses.dataclass
class PhaseResult:
    """What one phase gave.

    Args:
        steps, seconds: of training; evaluations count in the seconds.
        flops: of training, all processes together; counted for one step, times the steps.
        metrics: of the evaluation at its end.
        evaluations: all of them, each with its "step".
    """

    steps: int
    seconds: float
    flops: float
    metrics: dict[str, float]
    evaluations: list[dict[str, float]]


@dataclasses.dataclass
class PhasedResult:
    """What a run in phases gave: the trained model in eval mode, and each phase's result in order."""

    model: nn.Module
    phases: list[PhaseResult]

    @property
    def flops(self) -> float:
        return sum(phase.flops for phase in self.phases)

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def metrics(self) -> dict[str, float]:
        """Of the model as it came out."""
        return self.phases[-1].metrics


def train_in_phases(
    model: nn.Module,
    train_dataset: Any,
    arguments: TrainingArguments,
    schedule: PhaseSchedule,
    *,
    data_collator: Callable[[list], Any] | None = None,
    compute_loss: Callable[[nn.Module, Any, StepInfo], torch.Tensor | Mapping[str, torch.Tensor]] | None = None,
    batch_transform: Callable[[Any, StepInfo, Phase], Any] | None = None,
    evaluate: Callable[[nn.Module, Accelerator], Mapping[str, float]] | None = None,
    processor: Any = None,
) -> PhasedResult:
    """Train `model` phase by phase, save it in `arguments.output_dir`, and give it back.

    Every phase is a call of [`train`] in `output_dir/phase-<number>`: optimizer, learning rate and order of samples
    start anew, weights go on. The folder then holds the model of the phase, a working one for its resolution.
    Interrupted, the same call goes on: after the phases that are finished, from the newest checkpoint of the one that
    is not.

    Args:
        arguments: of every phase; length, learning rate and schedule, and batch size where it has its own, come from
            the phase instead.
        batch_transform: (batch, step, phase) -> batch.
        processor: its `set_phase` is called before each phase, and it is saved beside the models. A collator that uses
            it makes features of the phase's resolution.
        Others: see [`train`].

    Raises:
        ValueError: what [`train`] raises; the model can't be in one of the phases; `output_dir` holds a run of another
            schedule.
    """
    if arguments.max_steps is not None:
        raise ValueError(f"`max_steps` ({arguments.max_steps}): how long the phases are, their schedule says.")
    if arguments.resume != "auto":
        raise ValueError(
            f"`resume` ({arguments.resume!r}): phases go on by themselves; name an empty `output_dir` instead."
        )
    if any(phase.patience for phase in schedule.phases):
        if evaluate is None:
            raise ValueError(f"`evaluate` is needed: a phase has `patience` for {schedule.metric!r}.")
        if arguments.evaluate_every_epochs is None and arguments.evaluate_every_steps is None:
            raise ValueError("`evaluate_every_epochs` or `evaluate_every_steps` is needed: a phase has `patience`.")
    # All that can be refused is refused now, and not after the first phases.
    schedule.check_model(model)
    output_dir = Path(arguments.output_dir)
    folders = [output_dir / f"phase-{number}" for number in range(1, len(schedule.phases) + 1)]
    arguments_of = [
        _arguments_of(arguments, phase, index, folders[index]) for index, phase in enumerate(schedule.phases)
    ]
    if processor is not None:
        for phase in schedule.phases:
            processor.set_phase(**phase.settings)
    is_main = PartialState(cpu=arguments.cpu).is_main_process
    _keep_schedule(output_dir, schedule, is_main)
    repository = None
    if arguments.push_to_hub and is_main:
        repository = checkpoints.create_repository(
            arguments.hub_model_id or output_dir.resolve().name, arguments.hub_private
        )

    results = []
    for phase, folder, phase_arguments in zip(schedule.phases, folders, arguments_of, strict=True):
        for part in (model, processor):
            if part is not None:
                part.set_phase(**phase.settings)
        result = _finished(folder)
        if result is not None:
            model.load_state_dict(type(model).from_pretrained(folder).state_dict())
        else:
            transform = batch_transform and (lambda batch, step, phase=phase: batch_transform(batch, step, phase))
            result = _train_phase(
                model,
                train_dataset,
                phase_arguments,
                callbacks=[_Plateau(phase, schedule)] if phase.patience else [],
                data_collator=data_collator,
                compute_loss=compute_loss,
                batch_transform=transform,
                evaluate=evaluate,
                processor=processor,
            )
            if is_main:
                _write_json(folder / "finished.json", dataclasses.asdict(result))
        results.append(result)
        PartialState().wait_for_everyone()
    model.eval()
    if is_main:
        checkpoints.save_trained(output_dir, model, processor)
        if repository is not None:
            checkpoints.upload_trained(repository, output_dir)
    PartialState().wait_for_everyone()
    return PhasedResult(model, results)


def _train_phase(model: nn.Module, train_dataset: Any, arguments: TrainingArguments, callbacks, **parts) -> PhaseResult:
    counter = FlopCount(Path(arguments.output_dir) / "flops_per_step.txt")
    try:
        result = train(model, train_dataset, arguments, callbacks=[counter, *callbacks], **parts)
    finally:
        counter.close()
    PartialState().wait_for_everyone()
    flops = float(counter.per_step * result.steps * PartialState().num_processes)
    return PhaseResult(result.steps, result.seconds, flops, result.metrics, result.evaluations)


def _arguments_of(arguments: TrainingArguments, phase: Phase, index: int, folder: Path) -> TrainingArguments:
    """The run's arguments as they are in one phase."""
    return dataclasses.replace(
        arguments,
        output_dir=str(folder),
        num_epochs=phase.num_epochs or 1,
        max_steps=phase.num_steps,
        batch_size=phase.batch_size or arguments.batch_size,
        learning_rate=phase.learning_rate or arguments.learning_rate,
        schedule=phase.schedule,
        warmup_steps=phase.warmup_steps,
        schedule_milestones=phase.schedule_milestones,
        schedule_factor=phase.schedule_factor,
        seed=derive_seed("phase", arguments.seed, index) % 2**31,  # an order of samples of its own
        push_to_hub=False,
        resume="auto",
    )


class _Plateau(TrainingCallback):
    """Ends a phase that gains nothing any more; knows what it needs from the evaluations that checkpoints keep."""

    def __init__(self, phase: Phase, schedule: PhaseSchedule):
        self.phase, self.schedule = phase, schedule

    def on_evaluate(self, model: nn.Module, state: TrainingState, metrics: dict[str, float]) -> None:
        schedule = self.schedule
        if schedule.metric not in metrics:
            raise ValueError(f"`metric` ({schedule.metric!r}) is none of what `evaluate` gave: {sorted(metrics)}.")
        scores = [evaluation[schedule.metric] for evaluation in state.evaluations]
        if self.phase.has_stalled(scores, schedule.greater_is_better, schedule.min_gain):
            state.should_stop = True


def _keep_schedule(output_dir: Path, schedule: PhaseSchedule, is_main: bool) -> None:
    """Write the schedule down in a new folder; in an old one, refuse another."""
    file = output_dir / "phases.json"
    if file.exists():
        schedule.check_same(json.loads(file.read_text(encoding="utf-8")), f"the run in {output_dir}")
    PartialState().wait_for_everyone()
    if is_main and not file.exists():
        output_dir.mkdir(parents=True, exist_ok=True)
        _write_json(file, schedule.describe())
    PartialState().wait_for_everyone()


def _finished(folder: Path) -> PhaseResult | None:
    """Result of a phase that was trained to its end."""
    file = folder / "finished.json"
    return PhaseResult(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    os.replace(temporary, file)
