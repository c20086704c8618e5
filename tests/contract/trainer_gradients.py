"""The gradient of one step of transformers' Trainer on eight items, for each way of getting through them.

torchrun --nproc_per_node 2 trainer_gradients.py OUT     what two processes compute that take four items each
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Trainer, TrainerCallback, TrainingArguments

NUM_ITEMS = 8


def split_items(tiny):
    """Eight items of one length, each with its label."""
    inputs, labels = tiny.inputs([tiny.lengths[0]] * NUM_ITEMS), tiny.labels(NUM_ITEMS)
    return [
        {name: value[index] for name, value in inputs.items()} | {"labels": labels[index]} for index in range(NUM_ITEMS)
    ]


def collate(items):
    batch = {name: [item[name] for item in items] for name in items[0]}
    if batch["labels"][0].ndim and batch["labels"][0].is_floating_point():  # boxes: as many as each picture has
        labels = batch.pop("labels")
        return {name: torch.stack(values) for name, values in batch.items()} | {"labels": labels}
    return {name: torch.stack(values) for name, values in batch.items()}


class Watch(TrainerCallback):
    """Keeps the gradient that the optimizer is about to use."""

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.gradients = {
            name.removeprefix("module."): parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }


def compute_gradients(model, tiny, folder, batch_size, accumulation_steps=1):
    """The gradient of one step, by parameter.

    The model stays in evaluation mode: dropout and the norms of batches would make the ways differ on purpose.
    """
    model.train = lambda mode=True: model
    watch = Watch()
    arguments = TrainingArguments(
        str(folder),
        use_cpu=True,
        max_steps=1,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation_steps,
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        remove_unused_columns=False,
    )
    Trainer(model, arguments, train_dataset=split_items(tiny), data_collator=collate, callbacks=[watch]).train()
    return watch.gradients


def main(folder):
    from contract.conftest import find_networks
    from contract.tiny import TINY, tiny_model

    for row, model_class in find_networks():
        tiny = TINY[model_class.__name__]
        if "loss" not in tiny.without:
            gradients = compute_gradients(tiny_model(row, model_class), tiny, folder / "trainer", NUM_ITEMS // 2)
            save_file(gradients, folder / f"{model_class.__name__}-{torch.distributed.get_rank()}.safetensors")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(Path(sys.argv[1]))
