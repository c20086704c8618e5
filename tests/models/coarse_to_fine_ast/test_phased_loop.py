"""The loop in phases: what each phase is given and leaves, and interrupted runs end with the bits of whole ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file
from training.launch_script import Clips, arguments, coarse_model, full_resolution_loss, phases, weights
from transformers import AutoModelForAudioClassification

from avzoo import (
    CoarseToFineASTFeatureExtractor,
    CoarseToFineASTForAudioClassification,
    Phase,
    PhaseSchedule,
    train_in_phases,
)
from avzoo.training.reports import read_metrics

SCRIPT = Path(__file__).parents[2] / "training" / "launch_script.py"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
PLAN = phases(4, 2, 1, schedule="one_cycle")  # 10 clips in batches of 4: 3 steps an epoch


pytestmark = pytest.mark.usefixtures("fresh_accelerate_state")


@torch.no_grad()
def sharpness(model, accelerator=None):
    """A number of the model at its phase, and the phase."""
    logits = model(Clips().values, full_resolution=True).logits
    return {"sharpness": float(logits.softmax(-1).amax()), "frames": model.config.num_frames}


def processor():
    return CoarseToFineASTFeatureExtractor(max_length=48, num_mel_bins=16, frame_multiple=4)


def run(output_dir, schedule=PLAN, loss=full_resolution_loss, evaluate=sharpness, processor=None, **options):
    changes = {"batch_size": 4, "progress_bar": False, "ema_decay": 0.9, "checkpoint_every_steps": 2} | options
    transform, others = changes.pop("batch_transform", None), changes.pop("options", None)
    return train_in_phases(
        coarse_model(hidden_dropout_prob=0.1),
        Clips(),
        arguments(output_dir, **changes),
        schedule,
        compute_loss=loss,
        batch_transform=transform,
        evaluate=evaluate,
        processor=processor,
        options=others,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted, its folder, and the phase of its processor at every batch."""
    out, tool, frames = tmp_path_factory.mktemp("phases") / "whole", processor(), []

    def loss(model, batch, step):
        frames.append((model.config.num_frames, tool.num_frames))
        return full_resolution_loss(model, batch)

    return SimpleNamespace(out=out, result=run(out, loss=loss, processor=tool), frames=frames)


def assert_same_bits(result, whole):
    torch.testing.assert_close(weights(result.model), weights(whole.result.model), rtol=0, atol=0)


# What each phase is given and leaves


def test_model_and_processor_are_in_the_phase(whole):
    assert whole.frames == [(12, 12)] * 3 + [(24, 24)] * 3 + [(48, 48)] * 3
    assert [phase.steps for phase in whole.result.phases] == [3, 3, 3]
    assert not whole.result.model.training


@pytest.mark.parametrize(("number", "frames"), [(1, 12), (2, 24), (3, 48)])
def test_the_folder_of_a_phase_is_a_model_of_its_resolution(whole, number, frames):
    model = CoarseToFineASTForAudioClassification.from_pretrained(whole.out / f"phase-{number}")
    extractor = CoarseToFineASTFeatureExtractor.from_pretrained(whole.out / f"phase-{number}")
    assert (model.config.num_frames, extractor.num_frames) == (frames, frames)
    assert model(torch.zeros(1, frames, 16)).logits.isfinite().all()
    assert sharpness(model) == whole.result.phases[number - 1].metrics


def test_the_final_folder_is_the_trained_model(whole):
    loaded = AutoModelForAudioClassification.from_pretrained(whole.out)
    assert type(loaded) is CoarseToFineASTForAudioClassification
    assert loaded.config.compression_factor == 1
    torch.testing.assert_close(weights(loaded), weights(whole.result.model), rtol=0, atol=0)
    names = {path.name for path in whole.out.iterdir() if path.is_file()}
    assert names == {
        "config.json", "model.safetensors", "preprocessor_config.json", "phases.json", "metrics.jsonl",
        "training_arguments.json",
    }  # fmt: skip


def test_the_metrics_of_the_run_are_those_of_its_phases(whole):
    rows = read_metrics(whole.out)
    evaluations = [(row["phase"], row["step"], row["frames"]) for row in rows if row["split"] == "evaluation"]
    assert evaluations == [(1, 3, 12), (2, 3, 24), (3, 3, 48)]


def test_an_option_that_changed_after_a_finished_phase_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole.out, tmp_path / "again")
    with pytest.raises(ValueError, match=r"`mixup`: phase-1 was written with None, this run has 0.5"):
        run(folder, options={"mixup": 0.5})


def test_metrics_are_those_of_the_phases_resolution(whole):
    phases = whole.result.phases
    assert [phase.metrics["frames"] for phase in phases] == [12, 24, 48]
    assert whole.result.metrics == phases[-1].metrics
    assert [[evaluation["step"] for evaluation in phase.evaluations] for phase in phases] == [[3]] * 3


def test_flops_and_seconds_are_those_of_the_phases_together(whole):
    result = whole.result
    coarse, middle, fine = (phase.flops / phase.steps for phase in result.phases)
    assert 0 < coarse < middle < fine
    assert coarse.is_integer()
    assert result.flops == 3 * (coarse + middle + fine)
    assert result.seconds == sum(phase.seconds for phase in result.phases) > 0


def test_a_phase_may_have_its_own_batches_and_rate(tmp_path):
    seen = []

    def loss(model, batch, step):
        seen.append((model.config.compression_factor, len(batch["labels"]), step.total_steps))
        return full_resolution_loss(model, batch)

    plan = [
        Phase(compression_factor=4, num_epochs=1, batch_size=8),
        Phase(compression_factor=2, num_steps=1, batch_size=2),
        Phase(compression_factor=1, num_epochs=0.5, learning_rate=1e-9),
    ]
    result = run(tmp_path, PhaseSchedule(plan), loss, ema_decay=None)
    assert seen == [(4, 8, 2), (4, 2, 2), (2, 2, 1), (1, 4, 2), (1, 4, 2)]
    before = CoarseToFineASTForAudioClassification.from_pretrained(tmp_path / "phase-2")
    before.set_phase(1)
    torch.testing.assert_close(weights(result.model), weights(before), rtol=0, atol=1e-7)


def test_phases_of_one_resolution_read_the_data_in_different_orders(tmp_path):
    labels = []

    def loss(model, batch, step):
        labels.append(batch["labels"].tolist())
        return full_resolution_loss(model, batch)

    run(tmp_path, phases(1, 1), loss, evaluate=None)
    assert labels[:3] != labels[3:]


def test_the_batch_transform_is_told_the_phase(tmp_path):
    seen = []

    def transform(batch, step, phase):
        seen.append((phase.max_masked_frames, step.step))
        return batch

    run(tmp_path, phases(4, 1, num_steps=2), evaluate=None, batch_transform=transform)
    assert seen == [(48, 0), (48, 1), (192, 0), (192, 1)]


# Resuming


class Interrupted(Exception):
    pass


def failing_at(frames, step):
    """A loss that fails at one step of one phase."""

    def loss(model, batch, info):
        if (model.config.num_frames, info.step) == (frames, step):
            raise Interrupted
        return full_resolution_loss(model, batch)

    return loss


@pytest.mark.parametrize(("frames", "step"), [(12, 2), (24, 0), (48, 2)], ids=["first", "between", "last"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, whole, frames, step):
    with pytest.raises(Interrupted):
        run(tmp_path, loss=failing_at(frames, step), processor=processor())
    tool = processor()
    resumed = run(tmp_path, processor=tool)
    assert_same_bits(resumed, whole)
    assert [phase.evaluations for phase in resumed.phases] == [phase.evaluations for phase in whole.result.phases]
    assert tool.num_frames == 48


def test_a_run_interrupted_at_the_end_of_a_phase_ends_with_the_same_bits(tmp_path, whole):
    def evaluate(model, accelerator):
        if model.config.num_frames == 24:
            raise Interrupted
        return sharpness(model)

    with pytest.raises(Interrupted):
        run(tmp_path, evaluate=evaluate)
    assert not (tmp_path / "phase-2" / "finished.json").exists()
    assert_same_bits(run(tmp_path), whole)


def test_a_resumed_run_counts_what_the_whole_one_does(tmp_path, whole):
    with pytest.raises(Interrupted):
        run(tmp_path, loss=failing_at(24, 2), checkpoint_every_steps=1)  # what is left is a short batch of two clips
    assert [phase.flops for phase in run(tmp_path).phases] == [phase.flops for phase in whole.result.phases]


def test_a_finished_run_is_not_trained_again(whole):
    again = run(whole.out, loss=failing_at(12, 0), processor=processor())
    assert_same_bits(again, whole)
    assert again.phases == whole.result.phases


def patient():
    plan = [Phase(compression_factor=factor, num_epochs=9, patience=1) for factor in (4, 1)]
    return PhaseSchedule(plan, metric="score")


def scores_of(calls):
    """Evaluations that gain until the second of a phase; `calls` holds one entry for each."""

    def evaluate(model, accelerator):
        calls.append(model.config.num_frames)
        return {"score": min(2, calls.count(model.config.num_frames))}

    return evaluate


def test_phases_that_gain_nothing_end_early(tmp_path):
    options = {"evaluate_every_epochs": 1, "checkpoint_every_steps": None}
    result = run(tmp_path, patient(), evaluate=scores_of([]), **options)
    assert [phase.steps for phase in result.phases] == [9, 9]  # the second epoch is the best, one more without gain


def test_a_resumed_phase_remembers_the_evaluations_before(tmp_path):
    calls, options = [], {"evaluate_every_epochs": 1, "checkpoint_every_steps": 1}
    with pytest.raises(Interrupted):
        run(tmp_path, patient(), failing_at(12, 7), scores_of(calls), **options)  # in the third epoch
    result = run(tmp_path, patient(), evaluate=scores_of(calls), **options)
    assert [phase.steps for phase in result.phases] == [9, 9]
    assert calls == [12] * 3 + [48] * 3


# What it refuses


def test_another_schedule_in_the_same_folder_is_refused(whole):
    with pytest.raises(ValueError, match=r"`num_epochs` of phase 1: the run in .* was begun with 1, .* has 2"):
        run(whole.out, phases(4, 2, 1, schedule="one_cycle", num_epochs=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 5}, r"`max_steps` \(5\): the schedule sets the length of the phases"),
        ({"schedule": patient(), "evaluate": None}, "`evaluate` is needed: a phase has `patience` for 'score'"),
        ({"schedule": phases(24, 1)}, "phase 1 does not suit the model"),
        (
            {"schedule": patient(), "evaluate_every_steps": 1},
            r"`metric` \('score'\) is not among the results of `evaluate`: \['frames', 'sharpness'\]",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)


def test_patience_without_evaluations_in_between_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`evaluate_every_"):
        run(tmp_path, patient(), failing_at(12, 0), scores_of([]))


def test_starting_anew_among_phases_is_refused(whole):
    with pytest.raises(ValueError, match="`resume`"):
        run(whole.out, resume="never")


# Around it


def test_phases_are_not_uploaded(tmp_path, monkeypatch):
    calls = []

    class Hub:
        def create_repo(self, repo_id, **options):
            return SimpleNamespace(repo_id=f"someone/{repo_id}")

        def upload_folder(self, **options):
            calls.append(options)

    monkeypatch.setattr("avzoo.training.checkpoints.HfApi", Hub)
    run(tmp_path / "coarse-to-fine", phases(4, 1, num_steps=1), push_to_hub=True)
    (call,) = calls
    assert call["repo_id"] == "someone/coarse-to-fine"
    files = [str(path.relative_to(call["folder_path"])) for path in call["folder_path"].rglob("*") if path.is_file()]
    assert "phase-1/model.safetensors" in files
    uploaded = sorted(filter_repo_objects(files, ignore_patterns=call["ignore_patterns"]))
    assert uploaded == ["config.json", "metrics.jsonl", "model.safetensors", "training_arguments.json"]


@pytest.mark.slow
def test_two_ranks_end_with_the_same_weights(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "phases", tmp_path], env=ENVIRONMENT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"phases-{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(load_file(tmp_path / "trained" / "model.safetensors"), first, rtol=0, atol=0)
    assert json.loads((tmp_path / "flops-0.json").read_text()) == json.loads((tmp_path / "flops-1.json").read_text())
