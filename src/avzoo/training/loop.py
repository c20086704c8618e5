"""The training loop. It knows batches, losses and steps, and no method."""

import contextlib
import dataclasses
import itertools
import logging
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    broadcast,
    broadcast_object_list,
    send_to_device,
)
from torch import nn
from tqdm import tqdm

from . import checkpoints
from .arguments import TrainingArguments
from .data import TrainingData, derive_seed, seed_generators
from .ema import ExponentialMovingAverage
from .optimizers import make_optimizer
from .reports import MetricsFile, print_evaluation, print_resumption, save_arguments
from .schedules import make_schedule
from .state import StepInfo, TrainingCallback, TrainingResult, TrainingState

logger = logging.getLogger(__name__)


def train(
    model: nn.Module,
    train_dataset: Any,
    arguments: TrainingArguments,
    *,
    data_collator: Callable[[list], Any] | None = None,
    compute_loss: Callable[[nn.Module, Any, StepInfo], torch.Tensor | Mapping[str, torch.Tensor]] | None = None,
    batch_transform: Callable[[Any, StepInfo], Any] | None = None,
    evaluate: Callable[[nn.Module, Accelerator], Mapping[str, float]] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    callbacks: Sequence[TrainingCallback] = (),
    sampler: Iterable[int] | None = None,
    processor: Any = None,
    options: Mapping[str, Any] | None = None,
    may_change: Collection[str] = (),
    write_card: Callable[[TrainingResult, str | None], None] | None = None,
) -> TrainingResult:
    """Train `model`, save it in `arguments.output_dir`, and give it back.

    Run by `python`, it uses one device; by `accelerate launch`, one per process, with the model replicated. What the
    arguments leave open is as the launcher says. Each evaluation is printed on stderr; `metrics.jsonl` holds all that
    was logged, `training_arguments.json` how the run was called.

    Args:
        model: changed in place.
        train_dataset: with length and indices, or a stream (torch's or datasets' `IterableDataset`), which needs
            `max_steps` unless it has a length. How it is read: [`TrainingData`].
        data_collator: samples -> batch; None: torch's default.
        compute_loss: (model, batch, step) -> loss, or a mapping with "loss" and more scalars to log. Call `model`
            itself, and nothing inside it: it may be wrapped. The loss is averaged over the batches of an optimizer
            step and over processes. None: `model(**batch).loss`.
        batch_transform: (batch, step) -> batch, on the training device: augmentation.
        evaluate: (bare model, accelerator) -> metrics, in eval mode and without gradients, on every process (the
            main one's numbers count; gather inside, if the work is shared). Called when the arguments say, and at
            the end.
        optimizer: instead of the arguments'. Each group's own rate is its peak; the schedule multiplies it.
        callbacks: see [`TrainingCallback`].
        sampler: indices of an epoch, e.g. weighted; instead of `shuffle`.
        processor: saved beside the model.
        options: what else steers the run, such as those of a script and the classes; JSON can hold them. They are
            saved beside the arguments, and a resumed run must have the same.
        may_change: names of `options` that a resumed run may change.
        write_card: called with the result and the repository that it is uploaded to (None: none), on the main process
            before the upload, to add a model card to `output_dir`.

    Raises:
        ValueError: arguments, data or checkpoint don't fit, or `output_dir` holds what no training wrote; the message
            names the argument.
        OSError: `output_dir` can't be written, or another run trains into it; raised before any training.
        FloatingPointError: a loss or gradient isn't finite; the message names the step.
    """
    with contextlib.ExitStack() as held:
        return _Run(
            model,
            train_dataset,
            arguments,
            data_collator,
            compute_loss or _compute_model_loss,
            batch_transform,
            evaluate,
            optimizer,
            callbacks,
            sampler,
            processor,
            options or {},
            may_change,
            write_card,
            held,
        ).train()


def _compute_model_loss(model: nn.Module, batch: Mapping[str, Any], step: StepInfo) -> torch.Tensor:
    return model(**batch).loss


@dataclasses.dataclass(eq=False)
class _Run:
    """One call of [`train`]: the constructor refuses what can't work, `train` is the order of events."""

    model: nn.Module
    train_dataset: Any
    arguments: TrainingArguments
    data_collator: Callable | None
    compute_loss: Callable
    batch_transform: Callable | None
    evaluate: Callable | None
    optimizer: torch.optim.Optimizer | None
    callbacks: Sequence[TrainingCallback]
    sampler: Iterable[int] | None
    processor: Any
    options: Mapping[str, Any]
    may_change: Collection[str]
    write_card: Callable[[TrainingResult, str | None], None] | None
    held: contextlib.ExitStack  # what is held until the end of the run

    def __post_init__(self):
        self.arguments = arguments = self.arguments.fill_from_launcher()
        _check_evaluation(arguments, self.evaluate)
        self.output_dir = Path(arguments.output_dir)
        self.accelerator = _make_accelerator(arguments)
        if self.accelerator.is_main_process:
            checkpoints.refuse_other_content(self.output_dir)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.output_dir).close()  # OSError now rather than after hours
            self.held.enter_context(checkpoints.hold_output_dir(self.output_dir))
            checkpoints.remove_leftovers(self.output_dir)
        self.accelerator.wait_for_everyone()

        self.data = TrainingData(
            self.train_dataset,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            shuffle=arguments.shuffle,
            drop_last=arguments.drop_last,
            num_workers=arguments.num_workers,
            data_collator=self.data_collator,
            sampler=self.sampler,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        batches = self.data.num_batches
        self.steps_per_epoch = None if batches is None else math.ceil(batches / arguments.gradient_accumulation_steps)
        self.state = TrainingState(total_steps=_count_total_steps(arguments, self.steps_per_epoch))
        self.schedule = make_schedule(
            arguments.schedule,
            total_steps=self.state.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            warmup_steps=arguments.warmup_steps,
            milestones=arguments.schedule_milestones,
            factor=arguments.schedule_factor,
        )

        if arguments.warmup_steps >= self.state.total_steps and self.accelerator.is_main_process:
            logger.warning(
                f"`warmup_steps` ({arguments.warmup_steps}) is not less than the run's {self.state.total_steps} steps: "
                "the learning rate never reaches its peak."
            )
        model_config = _describe_config(self.model)
        if arguments.gradient_checkpointing:
            _enable_gradient_checkpointing(self.model)
        self.optimizer = self.optimizer or make_optimizer(self.model, arguments)
        self.learned = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if not set(self.learned) <= set(self.model.parameters()):
            raise ValueError("`optimizer` holds parameters that `model` doesn't; they would not be saved.")
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.steers = self._describe_run(model_config)
        # Only these two are prepared: accelerate's wrapped schedulers step once per process, and its
        # wrapped loaders have an order of their own.
        self.prepared_model, self.prepared_optimizer = self.accelerator.prepare(self.model, self.optimizer)
        self.ema = ExponentialMovingAverage(self.model, arguments.ema_decay) if arguments.ema_decay else None
        self._resume()
        if self.accelerator.is_main_process:
            save_arguments(self.output_dir, dataclasses.asdict(arguments), self.options)
            self.metrics_file = MetricsFile(
                self.output_dir,
                known={("train", step) for step, _ in self.state.train_loss}
                | {("evaluation", evaluation["step"]) for evaluation in self.state.evaluations},
            )
        self.repository = None
        if arguments.push_to_hub and self.accelerator.is_main_process:  # a missing permission shows now, not at the end
            model_id = arguments.hub_model_id or self.output_dir.resolve().name
            self.repository = checkpoints.create_repository(model_id, arguments.hub_private)

    def train(self) -> TrainingResult:
        arguments, state = self.arguments, self.state
        self.accelerator.init_trackers("avzoo", config=_flatten_config(dataclasses.asdict(arguments)))
        started = time.monotonic() - state.seconds
        self.model.train()
        self._call("on_train_begin")
        bar = {"desc": "training", "total": state.total_steps, "initial": state.step}
        bar["disable"] = not (self.arguments.progress_bar and self.accelerator.is_main_process)
        with tqdm(**bar) as self.progress:
            while not self._is_finished():
                self._call("on_epoch_begin")
                for group in _group_batches(self._iter_batches(), arguments.gradient_accumulation_steps):
                    self._optimizer_step(group)
                    state.seconds = time.monotonic() - started
                    self._call("on_step_end")
                    if _is_due(state.step, arguments.log_every_steps):
                        self._log_training()
                    if _is_due(state.step, arguments.evaluate_every_steps):
                        self._evaluate()
                    if _is_due(state.step, arguments.checkpoint_every_steps):
                        self._save_checkpoint()
                    if self._is_finished():
                        break
                else:
                    self._end_epoch()
        self._log_training()
        if self.evaluate is not None and not self._is_evaluated():
            self._evaluate()
        state.seconds = time.monotonic() - started
        return self._finish()

    def _is_finished(self) -> bool:
        return self.state.step >= self.state.total_steps or self.state.should_stop

    def _iter_batches(self) -> Iterator[Any]:
        return self.data.epoch(self.state.epoch, first_batch=self.state.batch)

    def _optimizer_step(self, batches: list) -> None:
        """Mean gradient over `batches` and processes, clipped, applied; nothing is applied if it isn't finite."""
        state, arguments, accelerator = self.state, self.arguments, self.accelerator
        rate = self.schedule(state.step)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * rate
        totals: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=accelerator.device))
        for number, batch in enumerate(batches, start=1):
            # Gradients are exchanged once per step, in the last backward pass.
            last = number == len(batches)
            with contextlib.nullcontext() if last else accelerator.no_sync(self.prepared_model):
                for name, value in self._compute_losses(batch).items():
                    if name == "loss":
                        accelerator.backward(value / len(batches))
                    totals[name] += value.detach().float() / len(batches)
            state.micro_step += 1
            state.batch += 1
        names = sorted(totals)  # the same order on every process
        means = accelerator.reduce(torch.stack([totals[name] for name in names]), reduction="mean")
        norm = accelerator.clip_grad_norm_(self.learned, arguments.max_gradient_norm or math.inf)
        means = dict(zip(names, means.tolist(), strict=True)) | {"gradient_norm": float(norm)}
        self._refuse_non_finite(means)
        self.prepared_optimizer.step()
        self.prepared_optimizer.zero_grad()
        if self.ema is not None and not self.prepared_optimizer.step_was_skipped:
            self.ema.update()
        state.step += 1
        for name, value in means.items():
            total, count = state.sums.get(name, (0.0, 0))
            state.sums[name] = (total + value, count + 1)
        self.progress.update()
        self.progress.set_postfix(loss=f"{means['loss']:.4g}", refresh=False)

    def _compute_losses(self, batch: Any) -> dict[str, torch.Tensor]:
        """Run augmentation, model and loss, with randomness that is a function of the place in the run."""
        state, place = self.state, (self.arguments.seed, self.state.micro_step)
        rank, device = self.accelerator.process_index, self.accelerator.device
        seed_generators(derive_seed("step", *place, rank))
        if device.type != "cpu":
            torch.manual_seed(derive_seed("step", *place, rank))  # every device; slow where there is none
        step = StepInfo(
            step=state.step,
            micro_step=state.micro_step,
            epoch=state.epoch,
            total_steps=state.total_steps,
            generator=torch.Generator().manual_seed(derive_seed("shared draw", *place)),
            rank_generator=torch.Generator(device).manual_seed(derive_seed("rank draw", *place, rank)),
        )
        batch = send_to_device(batch, device, non_blocking=True)
        if self.batch_transform is not None:
            batch = self.batch_transform(batch, step)
        losses = self.compute_loss(self.prepared_model, batch, step)
        losses = dict(losses) if isinstance(losses, Mapping) else {"loss": losses}
        if not isinstance(losses.get("loss"), torch.Tensor) or losses["loss"].ndim != 0:
            raise ValueError('`compute_loss` must give a scalar tensor, or a mapping that has one under "loss".')
        return {name: torch.as_tensor(value, device=device) for name, value in losses.items()}

    def _refuse_non_finite(self, means: dict[str, float]) -> None:
        # With fp16 a gradient may overflow: the scaler then skips the step and lowers its scale.
        watched = ("loss",) if self.accelerator.scaler is not None else ("loss", "gradient_norm")
        for name in watched:
            if not math.isfinite(means[name]):
                raise FloatingPointError(
                    f"{name} is {means[name]} at step {self.state.step} (epoch {self.state.epoch}, "
                    f"batch {self.state.batch}); the step was not applied."
                )

    def _end_epoch(self) -> None:
        state, every = self.state, self.arguments.evaluate_every_epochs
        if state.batch == 0:
            raise ValueError("`train_dataset` gave no batch in a whole epoch: it is empty, or smaller than a batch.")
        state.epoch, state.batch = state.epoch + 1, 0
        if _is_due(state.epoch, every) and not self._is_evaluated():
            self._evaluate()

    def _log_training(self) -> None:
        state = self.state
        if not state.sums:
            return
        means = {name: total / count for name, (total, count) in state.sums.items()}
        state.sums = {}
        state.train_loss.append((state.step, means["loss"]))
        rate = self.optimizer.param_groups[0]["lr"]
        extra = {"learning_rate": rate, "epoch": self._count_epochs()}
        self.accelerator.log({f"train/{name}": value for name, value in (means | extra).items()}, step=state.step)
        if self.accelerator.is_main_process:
            values = means | {"learning_rate": rate}
            self.metrics_file.add(state.step, self._count_epochs(), "train", values)

    def _is_evaluated(self) -> bool:
        return bool(self.state.evaluations) and self.state.evaluations[-1]["step"] == self.state.step

    @torch.no_grad()
    def _evaluate(self) -> None:
        state = self.state
        with self._use_averaged_weights():
            metrics = {name: float(value) for name, value in self.evaluate(self.model, self.accelerator).items()}
            metrics = broadcast_object_list([metrics])[0]
            state.evaluations.append({"step": state.step, **metrics})
            is_best = self._is_best(metrics)
            if is_best:
                state.best = state.evaluations[-1]
                if self.accelerator.is_main_process:
                    checkpoints.save_best(self.output_dir, self.model, self.processor)
        self.accelerator.log({f"evaluation/{name}": value for name, value in metrics.items()}, step=state.step)
        if self.accelerator.is_main_process:
            self.metrics_file.add(state.step, self._count_epochs(), "evaluation", metrics)
            if self.arguments.print_metrics:
                print_evaluation(state.step, self._count_epochs(), metrics, is_best)
        self._call("on_evaluate", metrics)

    @contextlib.contextmanager
    def _use_averaged_weights(self) -> Iterator[None]:
        """The model in eval mode, with averaged weights if there are any; after, every module as it was."""
        modes = [(module, module.training) for module in self.model.modules()]
        with self.ema.swap() if self.ema is not None else contextlib.nullcontext():
            # Running statistics differ between processes until the next forward pass sends the main one's.
            broadcast(list(self.model.buffers()))
            self.model.eval()
            yield
        for module, mode in modes:
            module.training = mode

    def _is_best(self, metrics: dict[str, float]) -> bool:
        name = self.arguments.metric_for_best_model
        if name is None:
            return False
        if name not in metrics:
            raise ValueError(f"`metric_for_best_model` ({name!r}) is none of what `evaluate` gave: {sorted(metrics)}.")
        if math.isnan(metrics[name]):
            return False
        if self.state.best is None:
            return True
        gain = metrics[name] - self.state.best[name]
        return gain > 0 if self.arguments.greater_is_better else gain < 0

    def _describe_run(self, model_config: dict[str, Any]) -> dict[str, Any]:
        """What must be the same for a resumed run to be the run that was interrupted."""
        steers = {"schedule": self.arguments.schedule}  # first: it decides whether the length is compared
        steers |= {name: getattr(self.arguments, name) for name in self.arguments.list_fixed_names()}
        if self.arguments.schedule in (
            "constant",
            "step",
            "exponential",
        ):  # no rate depends on where the end is: it may be moved
            steers = {name: value for name, value in steers.items() if name not in ("num_epochs", "max_steps")}
        if self.data.is_stream:  # the workers' number decides the order of a stream
            steers["num_workers"] = self.arguments.num_workers
        # Before the length, which tells less of what is different.
        steers |= {name: value for name, value in self.options.items() if name not in self.may_change}
        steers["train_dataset"] = self.data.num_samples
        steers["num_processes"] = self.accelerator.num_processes
        steers["optimizer settings"] = checkpoints.describe_optimizer(self.optimizer)
        return steers | model_config

    def _save_checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "training": dataclasses.asdict(self.state),
                "steers": self.steers,
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            checkpoints.save_checkpoint(
                self.output_dir,
                self.state.step,
                model=self.model,
                optimizer=self.optimizer,
                ema=self.ema,
                state=state,
                keep=self.arguments.keep_checkpoints,
            )
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        arguments, found = self.arguments, checkpoints.find_checkpoints(self.output_dir)
        if arguments.resume == "never":
            if found:
                raise ValueError(
                    f'`resume`="never", but `output_dir` ({self.output_dir}) holds {found[-1].name} of an earlier run. '
                    "Delete its checkpoints, or choose another folder."
                )
            return
        if arguments.resume != "auto":
            found = [Path(arguments.resume)]
        if not found:
            return
        saved = checkpoints.read_state(found[-1])
        checkpoints.refuse_a_changed_run(found[-1], saved["steers"], self.steers)
        checkpoints.load_checkpoint(found[-1], model=self.model, optimizer=self.optimizer, ema=self.ema)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            checkpoints.remove_oldest(self.output_dir, arguments.keep_checkpoints)
        if self.accelerator.scaler is not None and saved["scaler"]:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.state = TrainingState(**(saved["training"] | {"total_steps": self.state.total_steps}))
        self.state.train_loss = [(step, loss) for step, loss in self.state.train_loss]
        if self.accelerator.is_main_process and arguments.print_metrics:
            print_resumption(found[-1], self.state.step, self.state.total_steps)

    def _finish(self) -> TrainingResult:
        state, accelerator = self.state, self.accelerator
        if self.ema is not None:
            self.ema.copy_to_model()
        broadcast(list(self.model.buffers()))
        # Takes the autocast wrapper off `forward` again, too, and what the launcher's compiler put around the model.
        model = accelerator.unwrap_model(self.prepared_model, keep_fp32_wrapper=False, keep_torch_compile=False).eval()
        last = state.evaluations[-1] if state.evaluations else {}
        best = state.best or last
        result = TrainingResult(
            model=model,
            steps=state.step,
            epochs=self._count_epochs(),
            seconds=state.seconds,
            train_loss=state.train_loss,
            metrics={name: value for name, value in last.items() if name != "step"},
            best_metrics={name: value for name, value in best.items() if name != "step"},
            evaluations=state.evaluations,
        )
        if accelerator.is_main_process:
            checkpoints.save_trained(self.output_dir, model, self.processor)
            if self.write_card is not None:
                self.write_card(result, self.repository)
            if self.repository is not None:
                checkpoints.upload_trained(self.repository, self.output_dir)
        self._call("on_train_end")
        for tracker in accelerator.trackers:  # not end_training: it would end the caller's process group as well
            tracker.finish()
        accelerator.wait_for_everyone()
        return result

    def _count_epochs(self) -> float:
        return self.state.epoch + (self.state.batch / self.data.num_batches if self.data.num_batches else 0.0)

    def _call(self, event: str, *extra: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.model, self.state, *extra)


def _check_evaluation(arguments: TrainingArguments, evaluate: Callable | None) -> None:
    if evaluate is None:
        for name in ("evaluate_every_epochs", "evaluate_every_steps", "metric_for_best_model"):
            if getattr(arguments, name) is not None:
                raise ValueError(f"`{name}` is set, but there is no `evaluate` function to call.")


def _make_accelerator(arguments: TrainingArguments) -> Accelerator:
    device = PartialState(cpu=arguments.cpu).device
    if arguments.mixed_precision == "fp16" and device.type == "cpu":
        raise ValueError('`mixed_precision`="fp16" needs a GPU; on the CPU use "bf16" or "no".')
    accelerator = Accelerator(
        cpu=arguments.cpu,
        mixed_precision=arguments.mixed_precision,
        log_with=list(arguments.report_to) or None,
        project_dir=Path(arguments.output_dir) / "logs",
        # The loop accumulates by itself, also over a short last group; without this, a value from the launcher's
        # configuration would divide the loss a second time.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=arguments.find_unused_parameters)],
    )
    # accelerate leaves a tracker that isn't installed out, without a word.
    missing = set(arguments.report_to) - {str(tracker) for tracker in accelerator.log_with} - {"all"}
    if missing:
        raise ValueError(f"`report_to`: {', '.join(sorted(missing))} is not installed; install it, or leave it out.")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > accelerator.num_processes:  # each would train alone, in the same folder
        raise ValueError(
            f"`cpu`: {launched} processes were launched, but they are not one run without a GPU for each; pass --cpu "
            "to train on the CPU, or launch one process."
        )
    sharded = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM, DistributedType.XLA)
    if accelerator.distributed_type in sharded:
        raise ValueError(f"launched with {accelerator.distributed_type.value}; this loop replicates the model (DDP).")
    return accelerator


def _describe_config(model: nn.Module) -> dict[str, Any]:
    """What the config of a transformers model says of the network; not where it came from."""
    if not hasattr(getattr(model, "config", None), "to_dict"):
        return {}
    origin = ("_name_or_path", "architectures", "avzoo_source", "dtype", "transformers_version")
    fields = {name: value for name, value in model.config.to_dict().items() if name not in origin}
    if fields.get("problem_type") is None:  # the first labels will choose it
        fields.pop("problem_type", None)
    return {f"model.config.{name}": value for name, value in fields.items()}


def _enable_gradient_checkpointing(model: nn.Module) -> None:
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable", "enable_gradient_checkpointing")
    for name in names:  # transformers now, transformers before, diffusers
        if hasattr(model, name):
            getattr(model, name)()
            return
    raise ValueError(f"`gradient_checkpointing`: {type(model).__name__} doesn't offer it.")


def _count_total_steps(arguments: TrainingArguments, steps_per_epoch: int | None) -> int:
    if arguments.max_steps is not None:
        return arguments.max_steps
    if steps_per_epoch is None:
        raise ValueError("`max_steps` is needed: `train_dataset` is a stream of unknown length.")
    return max(1, math.ceil(arguments.num_epochs * steps_per_epoch))


def _group_batches(batches: Iterator[Any], size: int) -> Iterator[list]:
    """Lists of `size` batches; the last of an epoch may be shorter."""
    while group := list(itertools.islice(batches, size)):
        yield group


def _is_due(count: int, every: int | None) -> bool:
    return every is not None and count % every == 0


def _flatten_config(config: dict[str, Any]) -> dict[str, Any]:
    """Trackers take plain values only."""
    return {name: value if isinstance(value, (int, float, str, bool)) else str(value) for name, value in config.items()}
