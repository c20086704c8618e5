"""Tiny models and datasets for the tests here, and runs that need a process of their own.

python launch_script.py kills OUT                  killed at every dangerous moment, then resumed
accelerate launch ... launch_script.py ranks OUT   what the ranks draw, and the weights they end with
python launch_script.py phases OUT                 a run in phases, on two ranks
"""

import json
import os
import random
import shutil
import socket
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from avzoo import Phase, PhaseSchedule, train_in_phases
from avzoo.training import TrainingArguments, TrainingCallback, train


class TinyConfig(PreTrainedConfig):
    model_type = "tiny-training-test"

    dropout: float = 0.0
    with_statistics: bool = False


class TinyModel(PreTrainedModel):
    """Two layers that learn `target = sum(inputs)`."""

    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.hidden = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8) if config.with_statistics else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(8, 1)
        self.post_init()

    def forward(self, inputs, target=None):
        outputs = self.out(self.dropout(torch.tanh(self.norm(self.hidden(inputs))))).squeeze(-1)
        return ModelOutput(loss=None if target is None else nn.functional.mse_loss(outputs, target), outputs=outputs)


class Points(Dataset):
    """Fixed points; with `noise`, each read adds some from every global generator, as random crops would."""

    def __init__(self, length=24, noise=0.0):
        self.inputs = torch.randn(length, 4, generator=torch.Generator().manual_seed(0))
        self.noise = noise

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        noise = self.noise * (random.random() + float(np.random.rand()) + torch.rand(4))
        return {"inputs": self.inputs[index] + noise, "target": self.inputs[index].sum()}


class PointStream(IterableDataset):
    def __init__(self, length=24, noise=0.0):
        self.points = Points(length, noise)

    def __iter__(self):
        yield from (self.points[index] for index in range(len(self.points)))


class Clips(Dataset):
    """Full-resolution spectrograms of noise, in three classes, for a `coarse_model`."""

    def __init__(self, length=10):
        self.values = torch.randn(length, 48, 16, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return {"input_values": self.values[index], "labels": index % 3}


def coarse_model(**config):
    from avzoo import CoarseToFineASTConfig, CoarseToFineASTForAudioClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    shapes = {"num_mel_bins": 16, "patch_size": 4, "max_length": 48, "num_labels": 3, "initializer_range": 0.3}
    return CoarseToFineASTForAudioClassification(CoarseToFineASTConfig(**(sizes | shapes | config)))


def full_resolution_loss(model, batch, step=None):
    return model(**batch, full_resolution=True).loss


def phases(*factors, **options):
    """A schedule of phases of these factors, each an epoch long unless the options say else."""
    length = {} if "num_steps" in options else {"num_epochs": 1}
    plan = [Phase(compression_factor=factor, **(length | options)) for factor in factors]
    return PhaseSchedule(plan, final_factor=factors[-1])


def tiny_model(**config):
    torch.manual_seed(0)
    return TinyModel(TinyConfig(**config))


def arguments(output_dir, **changes):
    usual = {"output_dir": str(output_dir), "learning_rate": 1e-2, "cpu": True, "gradient_accumulation_steps": 1}
    return TrainingArguments(**(usual | changes))


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# Everything that a checkpoint could forget: dropout, running statistics, EMA, noise, a schedule, a best model.
HARD_ARGUMENTS = {
    "num_epochs": 2,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "schedule": "cosine",
    "warmup_steps": 2,
    "ema_decay": 0.9,
    "checkpoint_every_steps": 2,
    "evaluate_every_epochs": 1,
    "metric_for_best_model": "error",
    "greater_is_better": False,
    "log_every_steps": 3,
}


def noisy_batch(batch, step):
    device = step.rank_generator.device
    noise = torch.randn(batch["inputs"].shape, generator=step.rank_generator, device=device)
    return batch | {"inputs": batch["inputs"] + 0.1 * noise}


def scaled_loss(model, batch, step):
    loss = model(**batch).loss
    return {"loss": loss * (1 + torch.rand((), generator=step.generator)), "plain": loss.detach()}


def error(model, accelerator):
    points = Points()
    return {"error": float((model(points.inputs).outputs - points.inputs.sum(-1)).abs().mean())}


def hard_run(output_dir, *, stream=False, length=18, callbacks=(), **changes):
    dataset = (PointStream if stream else Points)(length, noise=0.1)  # 18: the last batch and group are short
    changes = HARD_ARGUMENTS | ({"max_steps": 6} if stream else {}) | changes
    return train(
        tiny_model(dropout=0.2, with_statistics=True),
        dataset,
        arguments(output_dir, **changes),
        compute_loss=scaled_loss,
        batch_transform=noisy_batch,
        evaluate=error,
        callbacks=callbacks,
    )


class KilledAt:
    """Counts the moments when files change and steps end; at number `moment` the process is gone, mid-write."""

    def __init__(self, moment=None):
        self.count, self.moment = 0, moment

    def passes(self, function, half_done=None):
        def wrapped(*args, **kwargs):
            self.count += 1
            if self.count == self.moment:
                if half_done is not None:
                    half_done(*args)
                os._exit(9)  # as SIGKILL: no handler, no flush, no cleaning up
            return function(*args, **kwargs)

        return wrapped

    def install(self):
        from avzoo.training import checkpoints, ema

        def half_a_file(_, path, *rest):
            Path(path).write_bytes(b"\x10\x00\x00")

        def half_a_folder(path, *rest, **options):
            if files := sorted(Path(path).rglob("*.safetensors")):
                files[0].unlink()

        checkpoints.save_file = self.passes(checkpoints.save_file, half_a_file)
        checkpoints.save_model = self.passes(checkpoints.save_model, half_a_file)
        shutil.rmtree = self.passes(shutil.rmtree, half_a_folder)
        os.replace = self.passes(os.replace)
        update = ema.ExponentialMovingAverage.update
        ema.ExponentialMovingAverage.update = self.passes(update)  # in the middle of a step


def start_child(function):
    """Fork, so that a run of its own doesn't cost a new import of torch; gives the process id."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as failure:
            traceback.print_exception(failure)
            os._exit(1)
        os._exit(0)
    return child


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_a_child(function):
    return exit_code(start_child(function))


def kills(out):
    def whole(moments):
        counter = KilledAt()
        counter.install()
        hard_run(out / "whole")
        moments.write_text(str(counter.count))

    def killed(folder, moment):
        KilledAt(moment).install()
        hard_run(folder)

    codes = {"whole": in_a_child(lambda: whole(out / "moments.txt"))}
    for moment in range(1, int((out / "moments.txt").read_text()) + 1):
        folder = out / f"killed-{moment:03d}"
        first = in_a_child(lambda folder=folder, moment=moment: killed(folder, moment))
        second = in_a_child(lambda folder=folder: hard_run(folder))
        codes[folder.name] = [first, second]
    (out / "codes.json").write_text(json.dumps(codes))


class Interrupt(TrainingCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, model, state):
        if state.step == self.step:
            raise KeyboardInterrupt


def on_two_ranks(function, **environment):
    """What torchrun does: one process per rank, told by its environment. It imports torch three times, this once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    shared |= environment

    def run(rank):
        environment = shared | {"RANK": rank, "LOCAL_RANK": rank}
        os.environ.update({name: str(value) for name, value in environment.items()})
        function(rank)

    children = [start_child(lambda rank=rank: run(rank)) for rank in (0, 1)]
    sys.exit(max(exit_code(child) for child in children))


def ranks(out):
    # What a launcher may export; the argument that is given counts, and the gradient is divided by it once.
    on_two_ranks(lambda rank: rank_runs(out, rank), ACCELERATE_GRADIENT_ACCUMULATION_STEPS=7)


def phases_on_ranks(out):
    on_two_ranks(lambda rank: rank_phases(out, rank))


def rank_phases(out, rank):
    args = arguments(out / "trained", batch_size=2)
    result = train_in_phases(
        coarse_model(hidden_dropout_prob=0.1), Clips(), args, phases(4, 2, 1), compute_loss=full_resolution_loss
    )
    torch.save(weights(result.model), out / f"phases-{rank}.pt")
    (out / f"flops-{rank}.json").write_text(json.dumps([phase.flops for phase in result.phases]))


def rank_runs(out, rank):
    draws = []

    def drawing_loss(model, batch, step):
        shared = torch.rand((), generator=step.generator)
        own = torch.rand((), generator=step.rank_generator)
        draws.append([shared.item(), own.item(), torch.rand(()).item()])
        return {"loss": model(**batch).loss * (0.5 + shared), "rank": torch.tensor(float(rank))}

    def save(name, model):
        torch.save(weights(model), out / f"{name}-{rank}.pt")

    plain = {"batch_size": 2, "gradient_accumulation_steps": 3, "num_epochs": 2}
    result = train(tiny_model(), Points(22), arguments(out / "plain", **plain), compute_loss=drawing_loss)
    save("plain", result.model)
    (out / f"draws-{rank}.json").write_text(json.dumps(draws))
    save("stream", train(tiny_model(), PointStream(22), arguments(out / "stream", **plain, max_steps=4)).model)
    save("whole", hard_run(out / "whole", length=22).model)
    try:
        hard_run(out / "resumed", length=22, callbacks=[Interrupt(3)])
    except KeyboardInterrupt:
        save("resumed", hard_run(out / "resumed", length=22).model)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a thread pool doesn't survive a fork
    {"kills": kills, "ranks": ranks, "phases": phases_on_ranks}[sys.argv[1]](Path(sys.argv[2]))
