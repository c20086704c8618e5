"""Interrupted runs end with the bits of the uninterrupted ones; runs on two ranks agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training.launch_script import (
    Interrupt,
    Points,
    PointStream,
    arguments,
    hard_run,
    tiny_model,
    weights,
)

from avzoo.training import train
from avzoo.training.reports import read_metrics

SCRIPT = Path(__file__).with_name("launch_script.py")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def assert_equal_bits(actual, expected):
    assert actual.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(actual[name], expected[name])]
    assert not different


def interrupted(output_dir, step, **changes):
    with pytest.raises(KeyboardInterrupt):
        hard_run(output_dir, callbacks=[Interrupt(step)], **changes)


def checkpoint_names(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*"))


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("kills")
    subprocess.run([sys.executable, SCRIPT, "kills", out], check=True, env=ENVIRONMENT, capture_output=True)
    return out, json.loads((out / "codes.json").read_text())


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(killed_runs):
    out, codes = killed_runs
    assert codes.pop("whole") == 0
    assert len(codes) > 25  # steps, files half-written, renames, folders half-deleted
    for folder, exit_codes in codes.items():
        assert exit_codes == [9, 0], folder
        for file in ("model.safetensors", "best/model.safetensors"):
            assert_equal_bits(load_file(out / folder / file), load_file(out / "whole" / file))


@pytest.mark.slow
def test_a_run_killed_at_any_moment_has_the_same_logs_and_nothing_left_over(killed_runs):
    out, codes = killed_runs
    for folder in codes:
        state = json.loads((out / folder / "checkpoint-000006" / "state.json").read_text())
        whole = json.loads((out / "whole" / "checkpoint-000006" / "state.json").read_text())
        del state["training"]["seconds"], whole["training"]["seconds"]
        assert state == whole, folder
        assert read_metrics(out / folder) == read_metrics(out / "whole"), folder
        assert sorted(os.listdir(out / folder)) == sorted(os.listdir(out / "whole")), folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing interrupted, without workers: of the points, and of a stream."""
    out = tmp_path_factory.mktemp("whole")
    return {stream: (out / str(stream), hard_run(out / str(stream), stream=stream)) for stream in (False, True)}


@pytest.mark.parametrize(
    ("stream", "num_workers"),
    [(False, 0), (False, 2), (True, 0), (True, 1)],  # each worker would read the whole stream
    ids=["points", "points-workers", "stream", "stream-worker"],
)
def test_resuming_finds_the_exact_batch(tmp_path, whole, stream, num_workers):
    """With workers, too, the bits are those of the run without: random crops don't depend on who makes them."""
    changes, (_, expected) = {"stream": stream, "num_workers": num_workers}, whole[stream]
    interrupted(tmp_path, 5, **changes)
    resumed = hard_run(tmp_path, **changes)
    assert_equal_bits(weights(resumed.model), weights(expected.model))
    assert resumed.train_loss == expected.train_loss
    assert resumed.evaluations == expected.evaluations
    assert resumed.best_metrics == expected.best_metrics


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    hard_run(tmp_path, checkpoint_every_steps=1, keep_checkpoints=2)
    assert checkpoint_names(tmp_path) == ["checkpoint-000005", "checkpoint-000006"]


def test_a_named_checkpoint_can_be_resumed_in_another_folder(tmp_path, whole):
    folder, expected = whole[False]
    elsewhere = hard_run(tmp_path / "other", resume=str(folder / "checkpoint-000004"))
    assert_equal_bits(weights(elsewhere.model), weights(expected.model))


def test_a_half_written_checkpoint_is_cleaned_away_and_foreign_files_stay(tmp_path):
    (tmp_path / "checkpoint-000099.tmp").mkdir()
    (tmp_path / "checkpoint-000099.tmp" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("mine")
    (tmp_path / "best.old.tmp").mkdir()
    train(tiny_model(), Points(), arguments(tmp_path, max_steps=1))
    assert checkpoint_names(tmp_path) == []
    assert (tmp_path / "notes.tmp").exists()
    assert (tmp_path / "best").exists()  # a replacement that was cut short is undone


def test_a_finished_run_with_a_constant_rate_can_be_continued(tmp_path):
    options = {"batch_size": 4, "checkpoint_every_steps": 3}
    longer = train(tiny_model(), Points(), arguments(tmp_path / "longer", **options, max_steps=8))
    train(tiny_model(), Points(), arguments(tmp_path / "short", **options, max_steps=6))
    continued = train(tiny_model(), Points(), arguments(tmp_path / "short", **options, max_steps=8))
    assert_equal_bits(weights(continued.model), weights(longer.model))


CHANGED = {
    "batch_size": 6,
    "seed": 1,
    "schedule": "linear",
    "num_epochs": 3,
    "learning_rate": 0.5,
    "ema_decay": 0.5,
    "gradient_accumulation_steps": 1,
    "metric_for_best_model": "other",
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_argument_is_refused_by_name(whole, name):
    folder, _ = whole[False]
    with pytest.raises(ValueError, match=rf"`{name}`: checkpoint-000006 was written with .*, this run has "):
        hard_run(folder, **{name: CHANGED[name]})


def test_a_dataset_of_another_length_is_refused(tmp_path):
    options = {"max_steps": 2, "checkpoint_every_steps": 1}
    train(tiny_model(), Points(24), arguments(tmp_path, **options))
    with pytest.raises(ValueError, match="`train_dataset`: checkpoint-000002 was written with 24, this run has 25"):
        train(tiny_model(), Points(25), arguments(tmp_path, **options))


OPTIONS = {"mixup": 0.5, "labels": [f"class {number}" for number in range(50)], "data_dir": "here"}


@pytest.fixture(scope="module")
def with_options(tmp_path_factory):
    out = tmp_path_factory.mktemp("options")
    run = arguments(out, max_steps=2, checkpoint_every_steps=1)
    train(tiny_model(), Points(), run, options=OPTIONS, may_change=["data_dir"])
    return out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mixup": 0.0}, "`mixup`: checkpoint-000002 was written with 0.5, this run has 0.0"),
        ({"mixup": None}, "`mixup`: checkpoint-000002 was written with 0.5, this run has None"),
        ({"multi_label": True}, "`multi_label`: checkpoint-000002 was written with None, this run has True"),
        (
            {"labels": [*OPTIONS["labels"][:49], "dog"]},
            r"`labels`: .* 50 items, among them \['class 49'\], this run has 50 items, among them \['dog'\]",
        ),
        ({"labels": OPTIONS["labels"][::-1]}, "`labels`: .* one order of 50 items, this run has another order"),
    ],
)
def test_a_changed_option_is_refused_by_name_with_both_values(with_options, changed, message):
    options = {name: value for name, value in (OPTIONS | changed).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        train(tiny_model(), Points(), arguments(with_options, max_steps=2), options=options, may_change=["data_dir"])


def test_an_option_that_may_change_may_change(with_options, tmp_path):
    options, folder = OPTIONS | {"data_dir": "there"}, with_options / "checkpoint-000002"
    changed = arguments(tmp_path, max_steps=3, resume=str(folder))
    assert train(tiny_model(), Points(), changed, options=options, may_change=["data_dir"]).steps == 3


def test_another_config_of_the_model_is_refused(tmp_path):
    run = arguments(tmp_path, max_steps=1, checkpoint_every_steps=1)
    train(tiny_model(), Points(), run)
    with pytest.raises(ValueError, match=r"`model.config.dropout`: checkpoint-000001 was written with 0.0, .* 0.5;"):
        train(tiny_model(dropout=0.5), Points(), run)


def test_another_order_of_labels_is_refused(tmp_path):
    run = arguments(tmp_path, max_steps=1, checkpoint_every_steps=1)
    train(tiny_model(id2label={0: "dog", 1: "cat"}), Points(), run)
    with pytest.raises(ValueError, match=r"`model.config.id2label`: .* \{'0': 'dog'.* this run has \{'0': 'cat'"):
        train(tiny_model(id2label={0: "cat", 1: "dog"}), Points(), run)


def test_starting_anew_among_checkpoints_is_refused(tmp_path):
    train(tiny_model(), Points(), arguments(tmp_path, max_steps=1, checkpoint_every_steps=1))
    with pytest.raises(ValueError, match=r"`resume`=\"never\", but `output_dir` .* holds checkpoint-000001"):
        train(tiny_model(), Points(), arguments(tmp_path, resume="never"))


def test_resuming_from_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`resume`: .*nowhere is no complete checkpoint"):
        train(tiny_model(), Points(), arguments(tmp_path, resume=str(tmp_path / "nowhere")))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """One run of two processes; what each of them drew and ended with."""
    out = tmp_path_factory.mktemp("ranks")
    done = subprocess.run([sys.executable, SCRIPT, "ranks", out], env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr[-3000:], pytrace=False)
    return out


def rank_weights(out, name):
    return [torch.load(out / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_ranks_share_one_generator_and_differ_in_the_others(ranks):
    first, second = (json.loads((ranks / f"draws-{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == 12  # 22 points: 5 global batches of 4 and one of 2, twice
    for (shared, own, dropout), (other_shared, other_own, other_dropout) in zip(first, second, strict=True):
        assert shared == other_shared
        assert own != other_own
        assert dropout != other_dropout
    assert len({draw for draws in first for draw in draws}) == 36  # and no draw comes twice


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "stream", "whole", "resumed"])
def test_ranks_end_with_the_same_weights(ranks, name):
    assert_equal_bits(*rank_weights(ranks, name))


@pytest.mark.slow
def test_two_ranks_resume_to_the_same_bits(ranks):
    assert_equal_bits(rank_weights(ranks, "resumed")[0], rank_weights(ranks, "whole")[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "stream"])
def test_two_ranks_equal_one_process_with_twice_the_batch(ranks, tmp_path, name):
    def loss(model, batch, step):
        return model(**batch).loss * (0.5 + torch.rand((), generator=step.generator))

    options = {"batch_size": 4, "gradient_accumulation_steps": 3, "num_epochs": 2}
    if name == "plain":
        single = train(tiny_model(), Points(22), arguments(tmp_path, **options), compute_loss=loss)
    else:
        single = train(tiny_model(), PointStream(22), arguments(tmp_path, **options, max_steps=4))
    torch.testing.assert_close(rank_weights(ranks, name)[0], weights(single.model), rtol=0, atol=1e-5)
