import argparse
import math
from itertools import chain
from types import SimpleNamespace

import datasets
import pytest
import torch
from torch import nn
from torch.utils.data import WeightedRandomSampler
from training.launch_script import Points, PointStream, TinyModel, arguments, error, tiny_model, weights

from avzoo.training import TrainingArguments, TrainingCallback, train

pytestmark = pytest.mark.usefixtures("fresh_accelerate_state")


def loss_of(model):
    points = Points()
    return model(points.inputs, points.inputs.sum(-1)).loss.item()


def recorded_batches(dataset, args, **options):
    """The first input of every sample, batch by batch, as the loop read them."""
    seen = []

    def loss(model, batch, step):
        seen.append(batch["inputs"][:, 0].tolist())
        return model(**batch).loss

    train(tiny_model(), dataset, args, compute_loss=loss, **options)
    return seen


# What training does


def test_the_loss_falls_and_the_result_reports_it(tmp_path):
    model = tiny_model()
    before = loss_of(model)
    result = train(model, Points(), arguments(tmp_path, num_epochs=20, log_every_steps=30))
    assert result.model is model
    assert not model.training
    assert loss_of(model) < before / 4
    assert (result.steps, result.epochs) == (60, 20)
    assert [step for step, _ in result.train_loss] == [30, 60]
    assert result.train_loss[1][1] < result.train_loss[0][1]
    assert result.seconds > 0
    assert result.metrics == {}


def test_the_saved_folder_is_the_model(tmp_path):
    processor = SimpleNamespace(save_pretrained=lambda folder: (folder / "processor.json").write_text("{}"))
    result = train(tiny_model(), Points(), arguments(tmp_path), processor=processor)
    loaded = TinyModel.from_pretrained(tmp_path)
    torch.testing.assert_close(weights(loaded), weights(result.model), rtol=0, atol=0)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "model.safetensors", "processor.json", "metrics.jsonl", "training_arguments.json",
    }  # fmt: skip


def test_a_plain_module_is_trained_and_saved_too(tmp_path):
    def loss(model, batch, step):
        return (model(batch["inputs"]).squeeze(-1) - batch["target"]).square().mean()

    train(nn.Linear(4, 1), Points(), arguments(tmp_path), compute_loss=loss)
    assert (tmp_path / "model.safetensors").exists()


def test_one_seed_gives_one_set_of_bits_and_another_another(tmp_path):
    runs = [
        weights(train(tiny_model(dropout=0.5), Points(noise=1.0), arguments(tmp_path / str(i), seed=seed)).model)
        for i, seed in enumerate([3, 3, 4])
    ]
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=0)
    assert not torch.equal(runs[0]["out.weight"], runs[2]["out.weight"])


def test_two_batches_of_four_are_one_of_eight(tmp_path):
    large = train(tiny_model(), Points(), arguments(tmp_path / "8", batch_size=8))
    small = train(tiny_model(), Points(), arguments(tmp_path / "4", batch_size=4, gradient_accumulation_steps=2))
    torch.testing.assert_close(weights(small.model), weights(large.model), rtol=0, atol=1e-6)


def test_a_short_last_group_is_averaged_over_what_it_has(tmp_path):
    # 20 points in 5 batches of 4, accumulated by 3: one group of 12 points and one of 8.
    gradients = []

    class Record(torch.optim.SGD):
        def step(self, closure=None):
            gradients.append(self.param_groups[0]["params"][0].grad.clone())

    model = nn.Linear(4, 1, bias=False)
    nn.init.ones_(model.weight)
    args = {"batch_size": 4, "gradient_accumulation_steps": 3, "shuffle": False, "max_gradient_norm": None}
    train(
        model,
        Points(20),
        arguments(tmp_path, **args),
        compute_loss=lambda model, batch, step: model(batch["inputs"]).square().mean(),
        optimizer=Record(model.parameters(), lr=0.0),
    )
    inputs = Points(20).inputs
    expected = [2 * (part.sum(-1, keepdim=True) * part).mean(0, keepdim=True) for part in (inputs[:12], inputs[12:])]
    torch.testing.assert_close(gradients, expected)


def test_the_gradient_is_clipped(tmp_path):
    model = nn.Linear(4, 1, bias=False)
    before = model.weight.detach().clone()
    train(
        model,
        Points(8),
        arguments(tmp_path, max_gradient_norm=0.5),
        compute_loss=lambda model, batch, step: 1e6 * model(batch["inputs"]).square().mean(),
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
    )
    assert torch.linalg.norm(model.weight - before).item() == pytest.approx(0.5, rel=1e-4)


def test_the_rate_follows_the_schedule_for_every_group(tmp_path):
    model, rates = tiny_model(), []
    groups = [{"params": model.hidden.parameters(), "lr": 0.1}, {"params": model.out.parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups)

    class Watch(TrainingCallback):
        def on_step_end(self, model, state):
            rates.append([group["lr"] for group in optimizer.param_groups])

    args = arguments(tmp_path, num_epochs=2, schedule="step", schedule_milestones=[1], batch_size=12)
    train(model, Points(), args, optimizer=optimizer, callbacks=[Watch()])
    assert rates == [[0.1, 0.2], [0.1, 0.2], [0.05, 0.1], [0.05, 0.1]]


def test_with_ema_the_average_is_evaluated_saved_and_returned(tmp_path):
    raw, seen = {}, {}

    class Keep(TrainingCallback):
        def on_step_end(self, model, state):
            raw.update(weights(model))

    def evaluate(model, accelerator):
        seen.update(weights(model))
        assert not model.training
        assert not torch.is_grad_enabled()
        return {}

    result = train(tiny_model(), Points(), arguments(tmp_path, ema_decay=0.9), evaluate=evaluate, callbacks=[Keep()])
    torch.testing.assert_close(weights(result.model), seen, rtol=0, atol=0)
    torch.testing.assert_close(weights(TinyModel.from_pretrained(tmp_path)), seen, rtol=0, atol=0)
    assert not torch.equal(raw["out.weight"], seen["out.weight"])


def test_evaluation_comes_on_schedule_and_once_at_the_end(tmp_path):
    args = arguments(tmp_path, num_epochs=3, evaluate_every_steps=2, evaluate_every_epochs=1)  # 3 steps per epoch
    result = train(tiny_model(), Points(), args, evaluate=error)
    assert [evaluation["step"] for evaluation in result.evaluations] == [2, 3, 4, 6, 8, 9]
    assert result.metrics["error"] == result.evaluations[-1]["error"]


def test_the_best_model_is_kept_beside_the_last(tmp_path):
    scores, at = iter([0.2, 0.9, float("nan"), 0.5]), []

    def evaluate(model, accelerator):
        at.append(weights(model))
        return {"score": next(scores)}

    args = arguments(tmp_path, num_epochs=4, evaluate_every_epochs=1, metric_for_best_model="score")
    result = train(tiny_model(), Points(), args, evaluate=evaluate)
    assert (result.best_metrics, result.metrics) == ({"score": 0.9}, {"score": 0.5})
    torch.testing.assert_close(weights(TinyModel.from_pretrained(tmp_path / "best")), at[1], rtol=0, atol=0)


def test_modules_keep_their_mode_through_an_evaluation(tmp_path):
    modes = []

    class FreezeStatistics(TrainingCallback):
        def on_train_begin(self, model, state):
            model.norm.eval()

        def on_step_end(self, model, state):
            modes.append((model.training, model.norm.training))

    args = arguments(tmp_path, evaluate_every_steps=1)
    train(tiny_model(with_statistics=True), Points(), args, evaluate=error, callbacks=[FreezeStatistics()])
    assert modes == [(True, False)] * 3


def test_a_callback_may_end_the_run(tmp_path):
    class Stop(TrainingCallback):
        def on_step_end(self, model, state):
            state.should_stop = state.step == 2

    result = train(tiny_model(), Points(), arguments(tmp_path, num_epochs=5), evaluate=error, callbacks=[Stop()])
    assert (result.steps, len(result.evaluations)) == (2, 1)


def test_the_batch_transform_sees_the_device_generator(tmp_path):
    def transform(batch, step):
        assert step.rank_generator.device.type == "cpu"
        return batch | {"inputs": torch.zeros_like(batch["inputs"])}

    assert recorded_batches(Points(4), arguments(tmp_path), batch_transform=transform) == [[0.0] * 4]


def test_step_info_counts_steps_batches_and_epochs(tmp_path):
    seen = []

    def loss(model, batch, step):
        seen.append((step.step, step.micro_step, step.epoch, step.total_steps))
        return model(**batch).loss

    args = arguments(tmp_path, num_epochs=2, batch_size=8, gradient_accumulation_steps=2)
    train(tiny_model(), Points(), args, compute_loss=loss)
    assert seen == [(0, 0, 0, 4), (0, 1, 0, 4), (1, 2, 0, 4), (2, 3, 1, 4), (2, 4, 1, 4), (3, 5, 1, 4)]


def test_bfloat16_trains_and_leaves_a_plain_model(tmp_path):
    model, dtypes = tiny_model(), set()
    model.hidden.register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    train(model, Points(), arguments(tmp_path, mixed_precision="bf16"))
    assert dtypes == {torch.bfloat16}
    assert model(Points().inputs).outputs.dtype == torch.float32
    assert model.forward.__func__ is TinyModel.forward


@pytest.mark.parametrize("name", ["gradient_checkpointing_enable", "enable_gradient_checkpointing"])
def test_gradient_checkpointing_is_asked_for_in_either_librarys_words(tmp_path, name):
    model, calls = nn.Linear(4, 1), []
    setattr(model, name, lambda: calls.append(name))
    train(
        model,
        Points(),
        arguments(tmp_path, gradient_checkpointing=True),
        compute_loss=lambda model, batch, step: model(batch["inputs"]).square().mean(),
    )
    assert calls == [name]


# What it reads


def test_every_epoch_has_all_points_in_a_new_order(tmp_path):
    batches = recorded_batches(Points(10), arguments(tmp_path, num_epochs=2, batch_size=4))
    first, second = [*chain(*batches[:3])], [*chain(*batches[3:])]
    everything = Points(10).inputs[:, 0].tolist()
    assert sorted(first) == sorted(second) == sorted(everything)
    assert first != second
    assert [len(batch) for batch in batches[:3]] == [4, 4, 2]


def test_drop_last_leaves_the_short_batch_out(tmp_path):
    batches = recorded_batches(Points(10), arguments(tmp_path, batch_size=4, drop_last=True, shuffle=False))
    assert batches == [Points(10).inputs[:4, 0].tolist(), Points(10).inputs[4:8, 0].tolist()]


def test_a_sampler_chooses_the_points_and_is_seeded(tmp_path):
    sampler = WeightedRandomSampler([0.0, 1.0, 1.0, 0.0], num_samples=6)
    allowed = set(Points(4).inputs[1:3, 0].tolist())
    runs = [recorded_batches(Points(4), arguments(tmp_path / str(i), num_epochs=2), sampler=sampler) for i in range(2)]
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    assert set(chain(*runs[0])) == allowed


def test_a_stream_is_read_again_until_the_steps_are_done(tmp_path):
    batches = recorded_batches(PointStream(6), arguments(tmp_path, max_steps=3, batch_size=4))
    assert batches[0] == batches[2] == Points(6).inputs[:4, 0].tolist()
    assert batches[1] == Points(6).inputs[4:, 0].tolist()


def test_a_stream_of_datasets_is_reshuffled_every_epoch(tmp_path):
    def rows():
        for index in range(8):
            yield {"inputs": [float(index)] * 4, "target": float(index)}

    stream = datasets.IterableDataset.from_generator(rows).shuffle(seed=0, buffer_size=8)
    first, second = recorded_batches(stream, arguments(tmp_path, max_steps=2), data_collator=collate_rows)
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second


def collate_rows(rows):
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


def test_a_table_of_datasets_is_read_by_index(tmp_path):
    table = datasets.Dataset.from_list([{"inputs": [float(i)] * 4, "target": float(i)} for i in range(8)])
    (batch,) = recorded_batches(table, arguments(tmp_path), data_collator=collate_rows)
    assert sorted(batch) == list(range(8))


# What it refuses


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused_with_its_step(tmp_path, value):
    def loss(model, batch, step):
        return model(**batch).loss * (value if step.step == 2 else 1.0)

    with pytest.raises(FloatingPointError, match=rf"loss is {value} at step 2 \(epoch 0"):
        train(tiny_model(), Points(), arguments(tmp_path), compute_loss=loss)


def test_a_gradient_that_is_not_finite_is_never_applied(tmp_path):
    model = tiny_model()
    before = weights(model)

    def loss(model, batch, step):
        return model(**batch).loss + (model.out.bias * 0).sum().sqrt()  # value 0, slope infinite times 0

    with pytest.raises(FloatingPointError, match="gradient_norm is nan at step 0"):
        train(model, Points(), arguments(tmp_path), compute_loss=loss)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"batch_size": 2.5}, "`batch_size` must be int, got 2.5"),
        ({"batch_size": True}, "`batch_size` must be int, got True"),
        ({"num_epochs": 0}, "`num_epochs` must be more than 0, got 0"),
        ({"num_epochs": math.inf}, "`num_epochs` must be finite"),
        ({"max_steps": 0}, "`max_steps` must be at least 1"),
        ({"gradient_accumulation_steps": 0}, "`gradient_accumulation_steps` must be at least 1"),
        ({"learning_rate": -1.0}, "`learning_rate` must be at least 0"),
        ({"learning_rate": "fast"}, "`learning_rate` must be float, got 'fast'"),
        ({"adam_beta2": 1.0}, "`adam_beta2` must be below 1"),
        ({"max_gradient_norm": 0.0}, "`max_gradient_norm` must be more than 0"),
        ({"optimizer": "sgd"}, "`optimizer` must be one of adamw, adam, muon, got 'sgd'"),
        ({"schedule": "sawtooth"}, "`schedule` must be one of constant, .* got 'sawtooth'"),
        ({"schedule": "step"}, "`schedule_milestones`"),
        ({"schedule_milestones": [1]}, "`schedule_milestones`"),
        ({"mixed_precision": "fp8"}, "`mixed_precision` must be one of no, fp16, bf16"),
        ({"ema_decay": 1.0}, "`ema_decay` must be below 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"num_workers": -1}, "`num_workers` must be at least 0"),
        ({"keep_checkpoints": 0}, "`keep_checkpoints` must be at least 1"),
        ({"checkpoint_every_steps": 0}, "`checkpoint_every_steps` must be at least 1"),
        ({"output_dir": ""}, "`output_dir` is empty"),
        ({"output_dir": None}, "`output_dir` must be str, got None"),
    ],
)
def test_a_bad_argument_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingArguments(**({"output_dir": "out"} | changes))


@pytest.mark.parametrize(
    ("dataset", "changes", "message"),
    [
        (Points(0), {}, "`train_dataset` is empty"),
        (PointStream(0), {"max_steps": 1}, "`train_dataset` gave no batch in a whole epoch"),
        (PointStream(), {}, "`max_steps` is needed"),
        (PointStream(), {"max_steps": 1, "schedule": "step", "schedule_milestones": [1]}, "counts in epochs"),
        (Points(5), {"drop_last": True}, "`drop_last`: 5 samples don't fill one batch of 8"),
        (Points(), {"mixed_precision": "fp16"}, '`mixed_precision`="fp16" needs a GPU'),
        (Points(), {"evaluate_every_epochs": 1}, "`evaluate_every_epochs` is set, but there is no `evaluate`"),
        (Points(), {"metric_for_best_model": "f1"}, "`metric_for_best_model` is set, but there is no `evaluate`"),
        (Points(), {"gradient_checkpointing": True}, "TinyModel does not support|`gradient_checkpointing`"),
    ],
)
def test_bad_data_or_arguments_are_refused(tmp_path, dataset, changes, message):
    with pytest.raises(ValueError, match=message):
        train(tiny_model(), dataset, arguments(tmp_path, **changes))


def test_an_unknown_best_metric_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`metric_for_best_model` \('f1'\) is none of .*\['error'\]"):
        train(tiny_model(), Points(), arguments(tmp_path, metric_for_best_model="f1"), evaluate=error)


def test_a_loss_of_many_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`compute_loss` must give a scalar tensor"):
        train(tiny_model(), Points(), arguments(tmp_path), compute_loss=lambda model, batch, step: batch["target"])


def test_an_optimizer_of_other_parameters_is_refused(tmp_path):
    other = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="`optimizer` holds parameters that `model` doesn't"):
        train(tiny_model(), Points(), arguments(tmp_path), optimizer=other)


def test_an_output_folder_that_cannot_be_made_fails_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    calls = []
    with pytest.raises(OSError, match="file"):
        train(
            tiny_model(),
            Points(),
            arguments(tmp_path / "file" / "out"),
            compute_loss=lambda model, batch, step: calls.append(step),
        )
    assert not calls


# Around it


def test_the_command_line_has_every_argument():
    parser = TrainingArguments.add_to(argparse.ArgumentParser(), learning_rate=5e-5, drop_last=True)
    line = "--output_dir out --max_gradient_norm none --schedule step --schedule_milestones 2 3.5 --no_shuffle"
    line += " --no_drop_last --push_to_hub --report_to tensorboard wandb --num_epochs 0.5 --seed 7"
    parsed = TrainingArguments.from_namespace(parser.parse_args(line.split()))
    assert parsed == TrainingArguments(
        output_dir="out",
        learning_rate=5e-5,
        max_gradient_norm=None,
        schedule="step",
        schedule_milestones=(2.0, 3.5),
        shuffle=False,
        push_to_hub=True,
        report_to=("tensorboard", "wandb"),
        num_epochs=0.5,
        seed=7,
    )
    assert "passes over the dataset" in parser.format_help()


@pytest.mark.parametrize(
    ("line", "milestones"),
    [("", (2.0, 3.0)), ("--schedule cosine", ()), ("--schedule step --schedule_milestones 4", (4.0,))],
)
def test_another_schedule_than_the_scripts_drops_its_milestones(line, milestones):
    defaults = {"output_dir": "out", "schedule": "step", "schedule_milestones": (2.0, 3.0)}
    parser = TrainingArguments.add_to(argparse.ArgumentParser(), **defaults)
    assert TrainingArguments.from_namespace(parser.parse_args(line.split())).schedule_milestones == milestones


def test_milestones_that_were_asked_for_are_refused_with_another_schedule():
    parser = TrainingArguments.add_to(argparse.ArgumentParser(), output_dir="out")
    with pytest.raises(ValueError, match="`schedule_milestones`"):
        TrainingArguments.from_namespace(parser.parse_args(["--schedule", "cosine", "--schedule_milestones", "4"]))


def test_the_command_line_asks_for_the_output_folder(capsys):
    with pytest.raises(SystemExit):
        TrainingArguments.add_to(argparse.ArgumentParser()).parse_args([])
    assert "--output_dir" in capsys.readouterr().err


def test_a_default_of_an_unknown_argument_is_refused():
    with pytest.raises(ValueError, match=r"\['lr'\] are no training arguments"):
        TrainingArguments.add_to(argparse.ArgumentParser(), lr=0.1)


def test_nothing_is_printed_but_a_bar_on_stderr(tmp_path, capfd):
    train(tiny_model(), Points(), arguments(tmp_path))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "training: 100%" in captured.err
    assert "Writing" not in captured.err


def test_trackers_are_given_losses_rates_and_metrics(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr("accelerate.Accelerator.log", lambda self, values, step: logged.append((step, values)))
    train(tiny_model(), Points(), arguments(tmp_path, log_every_steps=2), evaluate=error)
    assert [step for step, _ in logged] == [2, 3, 3]
    assert logged[0][1].keys() == {"train/loss", "train/gradient_norm", "train/learning_rate", "train/epoch"}
    assert logged[0][1]["train/learning_rate"] == 1e-2
    assert logged[2][1].keys() == {"evaluation/error"}


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the Hub; holds the calls."""
    calls = []

    class Hub:
        def create_repo(self, repo_id, **options):
            calls.append(("create_repo", repo_id, options))
            return SimpleNamespace(repo_id=f"someone/{repo_id}")

        def upload_folder(self, **options):
            calls.append(("upload_folder", options))

    monkeypatch.setattr("avzoo.training.checkpoints.HfApi", Hub)
    return calls


def test_a_tracker_that_is_not_installed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.accelerator.filter_trackers", lambda *_: [])
    with pytest.raises(ValueError, match="`report_to`: tensorboard is not installed"):
        train(tiny_model(), Points(), arguments(tmp_path, report_to="tensorboard"))


def test_pushing_makes_the_repository_first_and_uploads_the_model_last(tmp_path, hub):
    calls_while_training = []
    train(
        tiny_model(),
        Points(),
        arguments(tmp_path, push_to_hub=True, hub_model_id="tiny", hub_private=True, checkpoint_every_steps=1),
        compute_loss=lambda model, batch, step: calls_while_training.append(len(hub)) or model(**batch).loss,
    )
    assert hub[0] == ("create_repo", "tiny", {"private": True, "exist_ok": True})
    assert set(calls_while_training) == {1}
    name, options = hub[1]
    assert (name, options["repo_id"], options["folder_path"]) == ("upload_folder", "someone/tiny", tmp_path)


def test_the_card_is_written_before_the_upload_and_told_its_repository(tmp_path, hub):
    cards = []

    def write_card(result, repository):
        cards.append((result.steps, repository, [call[0] for call in hub]))

    args = arguments(tmp_path, push_to_hub=True, hub_model_id="tiny", max_steps=2)
    train(tiny_model(), Points(), args, write_card=write_card)
    assert cards == [(2, "someone/tiny", ["create_repo"])]


def test_checkpoints_are_not_uploaded(tmp_path, hub):
    from huggingface_hub.utils import filter_repo_objects

    args = arguments(tmp_path, push_to_hub=True, checkpoint_every_steps=1, metric_for_best_model="error")
    train(tiny_model(), Points(), args, evaluate=error)
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    uploaded = filter_repo_objects(files, ignore_patterns=hub[1][1]["ignore_patterns"])
    assert sorted(uploaded) == ["config.json", "metrics.jsonl", "model.safetensors", "training_arguments.json"]
