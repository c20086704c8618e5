"""What the loop tells others: where a batch is in the run, what was logged, what came out."""

import dataclasses

import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class StepInfo:
    """Where in the run a batch is, and the randomness that belongs to it.

    Args:
        step: optimizer steps done before this batch.
        micro_step: batches done before this one, on each process.
        epoch: passes over the data done before this one.
        total_steps: optimizer steps of the whole run.
        generator: on the CPU, the same on every process: for draws that all must agree on, such as a patch size.
        rank_generator: on the training device, different on every process: for noise and augmentation.
    """

    step: int
    micro_step: int
    epoch: int
    total_steps: int
    generator: torch.Generator
    rank_generator: torch.Generator


@dataclasses.dataclass
class TrainingState:
    """The place in a run and what it has logged: all of a checkpoint that isn't a tensor.

    Args:
        step, micro_step, epoch: as in [`StepInfo`], counted at the moment.
        batch: batches done in this epoch.
        seconds: training time, earlier parts of a resumed run included.
        sums: name -> (sum, count) of what was measured since the last log.
        train_loss: (step, mean loss since the previous entry).
        evaluations: {"step": ..., metric: ...}, one per evaluation.
        best: the best of them by `metric_for_best_model`.
        should_stop: a callback may set it; training then ends after the step, evaluated and saved as usual.
    """

    total_steps: int
    step: int = 0
    micro_step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    sums: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    train_loss: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    evaluations: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: dict[str, float] | None = None
    should_stop: bool = False


class TrainingCallback:
    """Hooks on every process; `model` is the bare model. A resumed run calls begin hooks again."""

    def on_train_begin(self, model: nn.Module, state: TrainingState) -> None: ...

    def on_epoch_begin(self, model: nn.Module, state: TrainingState) -> None: ...

    def on_step_end(self, model: nn.Module, state: TrainingState) -> None: ...

    def on_evaluate(self, model: nn.Module, state: TrainingState, metrics: dict[str, float]) -> None: ...

    def on_train_end(self, model: nn.Module, state: TrainingState) -> None: ...


@dataclasses.dataclass
class TrainingResult:
    """What a run gave.

    Args:
        model: the bare model in eval mode, holding the averaged weights if `ema_decay` is set.
        steps, epochs, seconds: how long it was; an epoch cut short counts as its fraction.
        train_loss: (step, mean loss since the previous entry).
        metrics: of the last evaluation; empty without `evaluate`.
        best_metrics: of the best by `metric_for_best_model`; of the last without it.
        evaluations: all of them, in order, each with its "step".
    """

    model: nn.Module
    steps: int
    epochs: float
    seconds: float
    train_loss: list[tuple[int, float]]
    metrics: dict[str, float]
    best_metrics: dict[str, float]
    evaluations: list[dict[str, float]]
