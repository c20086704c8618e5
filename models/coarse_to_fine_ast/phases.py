"""Training in phases, from coarse inputs to fine ones: the schedule, and a class that follows it in any loop.

For models with `set_phase(compression_factor, temporal_compression, pooling)`, such as
`CoarseToFineASTForAudioClassification`. Three ways to follow a schedule:

- [`train_in_phases`], the package's own loop, one run per phase;
- [`PhaseCallback`], in transformers' `Trainer`;
- [`PhaseRun`], in any loop:

      run = PhaseRun(schedule, model, optimizer, steps_per_epoch=len(loader))
      while not run.finished:
          for batch in loader:
              model(**batch, full_resolution=True).loss.backward()
              optimizer.step()
              optimizer.zero_grad()
              run.step()  # run.step(metrics) after an evaluation
              if run.finished:
                  break

Source: abstract and summaries of arXiv 2401.08415: phases from low to high resolution, one
compression method per run, optimizer state and learning rate are reset in each phase.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from avzoo.checks import check_number, check_whole_number
from avzoo.training import make_schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """Compression, length and optimisation of one phase.

    Args:
        compression_factor: how many times shorter inputs are than at full resolution; at least 1.
        temporal_compression, pooling: see the model's config. None: unchanged.
        num_epochs, num_steps: length; give one of the two. With `patience`, the maximum.
        patience: end the phase after this many evaluations in a row without gain.
        learning_rate: peak learning rate. None: the run's, or the optimizer's own.
        schedule, warmup_steps, schedule_milestones, schedule_factor: as in [`TrainingArguments`], over this phase
            alone.
        batch_size: None: the run's. Short inputs need less memory, so more of them fit.
        max_masked_frames, max_masked_mel_bins: SpecAugment's maximum widths. None: 192 / compression_factor frames,
            rounded down, which is the same time in every phase (JiuFengSC/ElasticAST@da75493).

    Raises:
        TypeError, ValueError: a value of a wrong type or out of range; the message names it.
    """

    compression_factor: float
    num_epochs: float | None = None
    num_steps: int | None = None
    temporal_compression: Literal["frame_shift", "pooling", "patchify"] | None = None
    pooling: Literal["max", "mean"] | None = None
    patience: int | None = None
    learning_rate: float | None = None
    schedule: Literal["constant", "linear", "cosine", "one_cycle", "step"] = "constant"
    warmup_steps: int = 0
    schedule_milestones: tuple[float, ...] = ()
    schedule_factor: float = 0.5
    batch_size: int | None = None
    max_masked_frames: int | None = None
    max_masked_mel_bins: int = 48

    def __post_init__(self):
        if (self.num_epochs is None) == (self.num_steps is None):
            raise ValueError(
                f"a phase needs one length, `num_epochs` or `num_steps`; got {self.num_epochs} and {self.num_steps}."
            )
        check_number("compression_factor", self.compression_factor, at_least=1)
        for name in ("num_steps", "patience", "batch_size"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name), at_least=1)
        for name in ("warmup_steps", "max_masked_frames", "max_masked_mel_bins"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name), at_least=0)
        for name in ("num_epochs", "learning_rate", "schedule_factor"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), above=0)
        object.__setattr__(self, "schedule_milestones", tuple(self.schedule_milestones))
        if (self.schedule == "step") != bool(self.schedule_milestones):
            raise ValueError(
                f"`schedule_milestones` {self.schedule_milestones} of a phase with `schedule` {self.schedule!r}: "
                '"step" needs milestones, other schedules take none.'
            )
        if self.max_masked_frames is None:
            object.__setattr__(self, "max_masked_frames", int(192 / self.compression_factor))
        make_schedule(self.schedule, total_steps=1, steps_per_epoch=1)  # refuses an unknown name

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `set_phase` of model and processor."""
        return {
            "compression_factor": self.compression_factor,
            "temporal_compression": self.temporal_compression,
            "pooling": self.pooling,
        }

    def total_steps(self, steps_per_epoch: int | None) -> int:
        """Optimizer steps of the phase.

        Raises:
            ValueError: the phase is counted in epochs and `steps_per_epoch` is None.
        """
        if self.num_steps is not None:
            return self.num_steps
        if steps_per_epoch is None:
            raise ValueError("`steps_per_epoch` is needed: a phase lasts `num_epochs`. Pass it, or use `num_steps`.")
        return max(1, math.ceil(self.num_epochs * steps_per_epoch))

    def has_stalled(self, scores: Sequence[float], greater_is_better: bool = True, min_gain: float = 0.0) -> bool:
        """Whether the last `patience` of the phase's scores brought no gain over the best before them."""
        if self.patience is None:
            return False
        best, since = -math.inf, 0
        for score in scores:
            score = score if greater_is_better else -score
            best, since = (score, 0) if score > best + min_gain else (best, since + 1)
        return since >= self.patience


@dataclasses.dataclass(frozen=True)
class PhaseSchedule:
    """Ordered phases, each finer than the one before.

    Args:
        phases: at least one.
        metric: name of the evaluated metric, for phases with `patience`.
        greater_is_better: direction of `metric`.
        min_gain: smallest increase of `metric` that counts as a gain.
        final_factor: compression of the last phase, at which the model will be used.
        allow_coarsening: allow a phase coarser than the one before, which loses detail.

    Raises:
        ValueError: the phases don't fit together; the message says which.
    """

    phases: tuple[Phase, ...]
    metric: str | None = None
    greater_is_better: bool = True
    min_gain: float = 0.0
    final_factor: float = 1
    allow_coarsening: bool = False

    def __post_init__(self):
        object.__setattr__(self, "phases", tuple(self.phases))
        if not self.phases:
            raise ValueError("`phases` is empty; pass at least one.")
        check_number("min_gain", self.min_gain, at_least=0)
        factors = [phase.compression_factor for phase in self.phases]
        for number, (coarse, fine) in enumerate(itertools.pairwise(factors), start=2):
            if fine > coarse and not self.allow_coarsening:
                raise ValueError(
                    f"`phases`: number {number} is coarser (factor {fine}) than the one before it (factor {coarse}), "
                    "which loses learned detail. Pass allow_coarsening=True if you mean it."
                )
        if factors[-1] != self.final_factor:
            raise ValueError(
                f"`phases`: the last has `compression_factor` {factors[-1]}, but `final_factor` is "
                f"{self.final_factor}. End with a phase of that factor."
            )
        if self.metric is None and any(phase.patience is not None for phase in self.phases):
            raise ValueError("`metric` is needed: a phase has `patience`.")

    def describe(self) -> dict[str, Any]:
        """Return the schedule as JSON-compatible values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def check_model(self, model: nn.Module) -> None:
        """Raise a ValueError if the model can't be in one of the phases."""
        if not hasattr(model, "set_phase"):
            raise ValueError(
                f"`model`: a {type(model).__name__} has no phases. Convert it to a "
                "CoarseToFineASTForAudioClassification with from_flexiast or convert_checkpoint."
            )
        for number, phase in enumerate(self.phases, start=1):
            try:
                model.config.at_phase(**phase.settings)
            except ValueError as error:
                raise ValueError(f"phase {number} does not suit the model: {error}") from error

    def check_same(self, saved: Mapping[str, Any], where: str) -> None:
        """Raise a ValueError naming the difference if a run was begun with another schedule."""
        current = self.describe()
        for name in current:
            if name != "phases" and saved.get(name) != current[name]:
                raise ValueError(_describe_difference(f"`{name}`", saved.get(name), current[name], where))
        before, now = saved["phases"], current["phases"]
        if len(before) != len(now):
            raise ValueError(_describe_difference("the number of `phases`", len(before), len(now), where))
        for number, (theirs, ours) in enumerate(zip(before, now, strict=True), start=1):
            for name, value in ours.items():
                if theirs.get(name) != value:
                    raise ValueError(
                        _describe_difference(f"`{name}` of phase {number}", theirs.get(name), value, where)
                    )

    def full_epochs(self, model: nn.Module, steps_per_epoch: int | None = None) -> float:
        """Maximum cost of the schedule in epochs at full resolution, by the multiply-accumulates of the layers.

        Args:
            steps_per_epoch: required if a phase is counted in steps.

        Raises:
            ValueError: `steps_per_epoch` is missing, or the model can't be in one of the phases.
        """
        self.check_model(model)
        if steps_per_epoch is None and any(phase.num_steps for phase in self.phases):
            raise ValueError("`steps_per_epoch` is needed: a phase lasts `num_steps`.")
        epochs = [phase.num_epochs or phase.num_steps / steps_per_epoch for phase in self.phases]
        return sum(
            count * model.relative_cost(**phase.settings) for count, phase in zip(epochs, self.phases, strict=True)
        )


def _describe_difference(name: str, before: Any, now: Any, where: str) -> str:
    return (
        f"{name}: {where} was begun with {before!r}, this schedule has {now!r}; a run can only be "
        "resumed with its own schedule. Set it back, or start a new run elsewhere."
    )


class PhaseRun:
    """Follow a schedule in a training loop: set the learning rate, change phases, reset the optimizer.

    Call [`step`] after each optimizer step and `zero_grad`. The loop itself must apply the
    `batch_size` of `run.phase`.

    Args:
        model: set to the first phase here.
        optimizer: over the model's parameters, which stay the same objects. Its learning rates are the peaks, unless
            the phase has its own; the rates of several groups keep their ratio. Use no other scheduler.
        steps_per_epoch: optimizer steps of an epoch; required if a phase is counted in epochs.
        processor: a feature extractor whose phase is changed with the model's.
        state: output of [`state_dict`], to resume. The model must be the one saved at the same step.

    Raises:
        ValueError: the model can't be in one of the phases; the optimizer holds other parameters; `state` has
            another schedule, another epoch length, or another phase than the model.
    """

    def __init__(
        self,
        schedule: PhaseSchedule,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int | None = None,
        *,
        processor: Any = None,
        state: Mapping[str, Any] | None = None,
    ):
        schedule.check_model(model)
        learned = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        if not learned <= set(model.parameters()):
            raise ValueError("`optimizer` holds parameters that `model` doesn't.")
        self.schedule, self.model, self.optimizer, self.processor = schedule, model, optimizer, processor
        self.steps_per_epoch = steps_per_epoch
        self.lengths = [phase.total_steps(steps_per_epoch) for phase in schedule.phases]
        self.description = schedule.describe()
        # The key torch's schedulers use: a scheduler made earlier has already lowered `lr`.
        self.peaks = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        if not self.peaks[0] > 0 and any(phase.learning_rate for phase in schedule.phases):
            raise ValueError(
                f"`learning_rate` of a phase cannot scale the optimizer's, which is {self.peaks[0]}; give the "
                "optimizer a rate above 0."
            )
        self.index = self.steps = self.phase_steps = 0
        self.scores: list[float] = []
        if state is None:
            model.set_phase(**self.phase.settings)
            self._begin_phase()
        else:
            self._resume(state)

    @property
    def finished(self) -> bool:
        return self.index == len(self.schedule.phases)

    @property
    def phase(self) -> Phase:
        """The phase of the next step; the last phase when finished."""
        return self.schedule.phases[min(self.index, len(self.schedule.phases) - 1)]

    def step(self, metrics: Mapping[str, float] | None = None) -> bool:
        """Count one optimizer step and return whether the phase changed.

        Args:
            metrics: result of an evaluation after the step, at the resolution of the phase; for phases with `patience`.

        Raises:
            ValueError: the schedule is over, a gradient is left at the change, or the metric is not among `metrics`.
                The run is then unchanged.
        """
        if self.finished:
            raise ValueError(f"the schedule is over after {self.steps} steps; end the loop when `finished` is True.")
        scores = self._add_score(metrics)
        changes = self._ends_after_step(scores)
        if changes and self.index + 1 < len(self.schedule.phases):
            self.model.set_phase(**self.schedule.phases[self.index + 1].settings)  # refuses while a gradient is left
        self.steps += 1
        if changes:
            self.index, self.phase_steps, self.scores = self.index + 1, 0, []
            if not self.finished:
                self._begin_phase()
        else:
            self.phase_steps, self.scores = self.phase_steps + 1, scores
            self._set_rates()
        return changes

    def ends_with_next_step(self, metrics: Mapping[str, float] | None = None) -> bool:
        """Return whether the next call of `step(metrics)` ends the schedule."""
        is_last = self.index + 1 == len(self.schedule.phases)
        return is_last and self._ends_after_step(self._add_score(metrics))

    def state_dict(self) -> dict[str, Any]:
        """State of the run as JSON-compatible values; save it with the weights and the optimizer's state."""
        return {
            "phase": self.index,
            "phase_steps": self.phase_steps,
            "steps": self.steps,
            "scores": list(self.scores),
            "peaks": list(self.peaks),
            "lengths": list(self.lengths),
            "schedule": self.description,
        }

    def _add_score(self, metrics: Mapping[str, float] | None) -> list[float]:
        """Return the phase's scores with the new one."""
        if metrics is None or self.phase.patience is None:
            return self.scores
        name = self.schedule.metric
        if name not in metrics:
            raise ValueError(f"`metric` ({name!r}) is not among the evaluated metrics: {sorted(metrics)}.")
        return [*self.scores, float(metrics[name])]

    def _ends_after_step(self, scores: Sequence[float]) -> bool:
        """Return whether the phase ends after one more step, given its scores."""
        schedule = self.schedule
        stalled = self.phase.has_stalled(scores, schedule.greater_is_better, schedule.min_gain)
        return stalled or self.phase_steps + 1 >= self.lengths[self.index]

    def _begin_phase(self) -> None:
        """Set processor and optimizer to the phase; the model is in it already."""
        if self.processor is not None:
            self.processor.set_phase(**self.phase.settings)
        self.optimizer.state.clear()
        self._set_rates()

    def _resume(self, state: Mapping[str, Any]) -> None:
        self.schedule.check_same(state["schedule"], "the run of `state`")
        if state["lengths"] != self.lengths:
            raise ValueError(
                _describe_difference(
                    "steps of the phases, by `steps_per_epoch`", state["lengths"], self.lengths, "`state`"
                )
            )
        self.index, self.steps, self.peaks = state["phase"], state["steps"], list(state["peaks"])
        self.phase_steps, self.scores = state["phase_steps"], list(state["scores"])
        config = self.model.config
        expected = config.at_phase(**self.phase.settings)
        for name in self.phase.settings:
            saved, current = getattr(expected, name), getattr(config, name)
            if saved != current and (name != "pooling" or config.temporal_compression == "pooling"):
                raise ValueError(
                    f"`state` is of a phase with `{name}` {saved!r}, `model` is in one with {current!r}. Load the "
                    "model that was saved with it by from_pretrained, which restores its phase."
                )
        if self.processor is not None:
            self.processor.set_phase(**self.phase.settings)
        self._set_rates()

    def _set_rates(self) -> None:
        if self.finished:
            return
        phase = self.phase
        rate = make_schedule(
            phase.schedule,
            total_steps=self.lengths[self.index],
            steps_per_epoch=self.steps_per_epoch,
            warmup_steps=phase.warmup_steps,
            milestones=phase.schedule_milestones,
            factor=phase.schedule_factor,
        )(self.phase_steps)
        if phase.learning_rate is not None:
            rate *= phase.learning_rate / self.peaks[0]
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
