"""Train in phases with the package's loop: one run per phase, with its own checkpoints and saved model."""

import dataclasses
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import nn

from avzoo.training import StepInfo, TrainingArguments, TrainingCallback, TrainingState, checkpoints, reports, train
from avzoo.training.data import derive_seed
from avzoo.training.flops import FlopCount

from .phases import Phase, PhaseSchedule


@dataclasses.dataclass
class PhaseResult:
    """Result of one phase.

    Args:
        steps, seconds: of training; the seconds include evaluations.
        flops: of training, over all processes; counted for one step, times the number of steps.
        metrics: of the evaluation at the end.
        evaluations: metrics of all evaluations, each with its "step".
    """

    steps: int
    seconds: float
    flops: float
    metrics: dict[str, float]
    evaluations: list[dict[str, float]]


@dataclasses.dataclass
class PhasedResult:
    """Result of a run in phases: the trained model in eval mode, and each phase's result in order."""

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
        """Metrics of the last phase."""
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
    options: Mapping[str, Any] | None = None,
    may_change: Collection[str] = (),
    write_card: Callable[[PhasedResult, str | None], None] | None = None,
) -> PhasedResult:
    """Train `model` phase by phase, save it in `arguments.output_dir` and return it.

    Every phase is a call of [`train`] in `output_dir/phase-<number>`: optimizer, learning rate and order of samples
    are reset, weights are kept. The folder then holds the model of the phase, usable at its resolution, and its
    metrics; `output_dir/metrics.jsonl` gets those of finished phases, each row with its "phase". After an interruption
    the same call resumes: it skips finished phases and continues from the newest checkpoint of the unfinished one.

    Args:
        arguments: used in every phase; length, learning rate, schedule and, if set, batch size come from the phase
            instead.
        batch_transform: (batch, step, phase) -> batch.
        processor: its `set_phase` is called before each phase, and it is saved beside the models. A collator that uses
            it computes features at the phase's resolution.
        Others: see [`train`].

    Raises:
        ValueError: what [`train`] raises; the model can't be in one of the phases; `output_dir` holds a run with
            another schedule.
    """
    if arguments.max_steps is not None:
        raise ValueError(
            f"`max_steps` ({arguments.max_steps}): the schedule sets the length of the phases. Leave it None."
        )
    if arguments.resume != "auto":
        raise ValueError(
            f"`resume` ({arguments.resume!r}): a run in phases resumes by itself. Leave it 'auto'; use an empty "
            "`output_dir` to start a new run."
        )
    arguments = arguments.fill_from_launcher()
    options = options or {}
    if any(phase.patience for phase in schedule.phases):
        if evaluate is None:
            raise ValueError(f"`evaluate` is needed: a phase has `patience` for {schedule.metric!r}.")
        if arguments.evaluate_every_epochs is None and arguments.evaluate_every_steps is None:
            raise ValueError("`evaluate_every_epochs` or `evaluate_every_steps` is needed: a phase has `patience`.")
    # Check everything now, not after the first phases.
    schedule.check_model(model)
    output_dir = Path(arguments.output_dir)
    folders = [output_dir / f"phase-{number}" for number in range(1, len(schedule.phases) + 1)]
    arguments_of = [
        _phase_arguments(arguments, phase, index, folders[index]) for index, phase in enumerate(schedule.phases)
    ]
    if processor is not None:
        for phase in schedule.phases:
            processor.set_phase(**phase.settings)
    is_main = PartialState(cpu=arguments.cpu).is_main_process
    _save_schedule(output_dir, schedule, is_main)
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
        result = _read_result(folder)
        if result is not None:
            _refuse_other_arguments(folder, phase_arguments, options, may_change)
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
                options=options,
                may_change=may_change,
            )
            if is_main:
                _write_json(folder / "finished.json", dataclasses.asdict(result))
        results.append(result)
        if is_main:
            _join_metrics(output_dir, folders)
        PartialState().wait_for_everyone()
    model.eval()
    result = PhasedResult(model, results)
    if is_main:
        reports.save_arguments(output_dir, dataclasses.asdict(arguments), options)
        checkpoints.save_trained(output_dir, model, processor)
        if write_card is not None:
            write_card(result, repository)
        if repository is not None:
            checkpoints.upload_trained(repository, output_dir)
    PartialState().wait_for_everyone()
    return result


def _train_phase(model: nn.Module, train_dataset: Any, arguments: TrainingArguments, callbacks, **parts) -> PhaseResult:
    counter = FlopCount(Path(arguments.output_dir) / "flops_per_step.txt")
    try:
        result = train(model, train_dataset, arguments, callbacks=[counter, *callbacks], **parts)
    finally:
        counter.close()
    PartialState().wait_for_everyone()
    flops = float(counter.per_step * result.steps * PartialState().num_processes)
    return PhaseResult(result.steps, result.seconds, flops, result.metrics, result.evaluations)


def _phase_arguments(arguments: TrainingArguments, phase: Phase, index: int, folder: Path) -> TrainingArguments:
    """Derive the arguments of one phase from the run's."""
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
        seed=derive_seed("phase", arguments.seed, index) % 2**31,  # each phase has its own order of samples
        push_to_hub=False,
        resume="auto",
    )


class _Plateau(TrainingCallback):
    """End a phase that no longer improves, judged by the evaluations that checkpoints store."""

    def __init__(self, phase: Phase, schedule: PhaseSchedule):
        self.phase, self.schedule = phase, schedule

    def on_evaluate(self, model: nn.Module, state: TrainingState, metrics: dict[str, float]) -> None:
        schedule = self.schedule
        if schedule.metric not in metrics:
            raise ValueError(
                f"`metric` ({schedule.metric!r}) is not among the results of `evaluate`: {sorted(metrics)}."
            )
        scores = [evaluation[schedule.metric] for evaluation in state.evaluations]
        if self.phase.has_stalled(scores, schedule.greater_is_better, schedule.min_gain):
            state.should_stop = True


def _save_schedule(output_dir: Path, schedule: PhaseSchedule, is_main: bool) -> None:
    """Save the schedule in a new folder; in an existing one, raise if it differs."""
    file = output_dir / "phases.json"
    if file.exists():
        schedule.check_same(json.loads(file.read_text(encoding="utf-8")), f"the run in {output_dir}")
    PartialState().wait_for_everyone()
    if is_main and not file.exists():
        checkpoints.refuse_other_content(output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        _write_json(file, schedule.describe())
    PartialState().wait_for_everyone()


def _refuse_other_arguments(
    folder: Path, arguments: TrainingArguments, options: Mapping[str, Any], may_change: Collection[str]
) -> None:
    """Raise a ValueError if a finished phase was trained with other arguments or options than now."""
    saved = reports.read_arguments(folder)
    checkpoints.refuse_a_changed_run(
        folder,
        *(
            {name: given["arguments"].get(name) for name in arguments.list_fixed_names()}
            | {name: value for name, value in given["options"].items() if name not in may_change}
            for given in (saved, {"arguments": dataclasses.asdict(arguments), "options": options})
        ),
    )


def _join_metrics(output_dir: Path, folders: list[Path]) -> None:
    """Write `metrics.jsonl` of the whole run: the rows of its phases, each with the phase's number."""
    lines = [
        json.dumps({"phase": number, **row}) + "\n"
        for number, folder in enumerate(folders, start=1)
        for row in reports.read_metrics(folder)
    ]
    reports.replace_text(output_dir / reports.METRICS_FILE, "".join(lines))


def _read_result(folder: Path) -> PhaseResult | None:
    """Read the result of a phase; None if it is not finished."""
    file = folder / "finished.json"
    return PhaseResult(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    os.replace(temporary, file)
