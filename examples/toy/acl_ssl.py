"""The claim of ACL-SSL on drawn scenes; `train_acl_ssl.py --toy` runs it.

A network that paints what a text names can be steered by sounds, learnt from pictures with their sounds, without labels
or texts. Scenes show two of eight kinds of things, one of which is heard.

1. A small CLIPSeg, which stands in for the released one, learns to paint what "a photo of a bird" names, and to know
   things by their looks: whole pictures of one thing, pictures behind a mask, and dense features in a mask. In a last
   round its vectors of pictures come near the texts of what is seen; without that the losses of step 3 say little
   (whether right texts score lower there than shuffled ones is printed). And a text that names nothing in the picture,
   a kind that is elsewhere or a random word, as the word of an untrained sound is, leaves it undecided: a flat map.
   With an empty map step 3 would find no gradient, and a map of all things is half right before training.
2. A small BEATs, which stands in for the released one, learns which kind of thing is heard.
3. ACL: both are frozen. What is trained is the embedder of sounds and the two numbers of the mask, by the three losses
   of the method, batches of 8, and Adam with weight decay 1e-4, whose rate falls from 2e-3 along a cosine. The share of
   a picture that a sounding thing is expected to cover is set to that of the scenes, .12; the released recipe has .4.

Labels and masks are seen in steps 1 and 2 alone, where the released encoders have seen theirs. As there is one released
CLIPSeg and one BEATs, all seeds of step 3 share the stand-ins; first weights, batches, crops and masks are their own.
Scored are the heatmaps of other scenes, asked with the sound of each of their two things, by the IoU with the mask of
the thing that is heard; and, as a control, with the mask of the other thing: a map that follows the picture alone would
score the same there. The threshold of a map is .5, or the one with the best mean IoU on scenes for validation.

The stand-ins are small and know eight kinds of drawn things: this shows the mechanism, not the paper's numbers.
"""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from toy.acl_ssl_parts import (
    NUM_SCENES,
    Clips,
    StandIn,
    encode_texts,
    fit_stand_in,
    list_renderings,
    make_model,
    make_processor,
    normalize,
    read_scenes,
    render,
)
from toy.runs import note, open_output, run_jobs, save_card, save_in_half
from toy.ssl_alignment import SIZE, compare_confidences, describe, fit_threshold
from transformers.utils import logging

from avzoo import ACLForSoundLocalization, ACLProcessor
from avzoo.models.acl_ssl.training_acl_ssl import ACLTraining, draw_crop
from avzoo.training import TrainingArguments, TrainingCallback, TrainingState, train

STEPS, BATCH_SIZE, RATE = 400, 8, 2e-3
SHOWN_STEPS = (100, 200, 300)  # at which the maps are scored on the way
THRESHOLDS = np.arange(1, 100) / 100
AFTER, BEFORE, TEXT = "after ACL training", "before ACL training", "text of the right kind"


@dataclass(frozen=True)
class Job:
    """ACL training of one seed, into a folder."""

    seed: int
    scenes: Path
    stand_ins: Path
    output: Path


@dataclass(frozen=True)
class Maps:
    """Mean IoU of heatmaps with the thing that is heard, and with the other one; parts from 0 to 1.

    Args:
        threshold: fitted on scenes for validation.
        best, best_wrong: at `threshold`.
        half, half_wrong: at .5.
        found: part of the maps whose IoU at `threshold` is .5 or more.
    """

    threshold: float
    best: float
    best_wrong: float
    half: float
    half_wrong: float
    found: float


@dataclass
class Result:
    """What a seed gave.

    Args:
        maps: of texts, and of sounds before training, after some steps, and at the end.
        text_losses: (right texts, shuffled texts) of the losses "image" and "feature", before training.
        off_screen_auc, noise_auc: of the confidence, things seen against things unseen, and against noise.
        threshold, accuracy: of the confidence, fitted on validation scenes; balanced accuracy on the test scenes.
        seconds: of one core, in training.
    """

    maps: dict[str, Maps] = field(default_factory=dict)
    text_losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    off_screen_auc: float = np.nan
    noise_auc: float = np.nan
    threshold: float = np.nan
    accuracy: float = np.nan
    seconds: float = np.nan


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the network of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        scenes, stand_ins = scratch / "scenes", scratch / "stand-ins"
        scenes.mkdir()
        for _ in run_jobs(render, list_renderings(scenes)):
            pass
        note("scenes drawn", begin)
        parts = [StandIn(name, scenes, stand_ins / name) for name in ("grounder", "audio_encoder")]
        for part, said in run_jobs(fit_stand_in, parts):
            note(f"{part.name}: {said}", begin)
        jobs = [Job(seed, scenes, stand_ins, scratch / f"seed-{seed}") for seed in options.toy_seeds]
        results = []
        for job, result in run_jobs(run, jobs):
            note(f"seed {job.seed}: mean IoU {result.maps[AFTER].best:.3f} after {STEPS} steps", begin)
            results.append(result)
        save_shipped(output, jobs[0].output, results)
    print(table(results))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


# ---------------------------------------------------------------------------------------------------------------- ACL


class Pairs(torch.utils.data.Dataset):
    """Scenes of two things with the sound of one of them, cut and mirrored as the method does; no label, no mask."""

    def __init__(self, clips: Clips, processor: ACLProcessor):
        self.pictures, self.sounds, self.processor = clips["pictures"], clips["sounds"][:, 0], processor

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pixels = draw_crop(self.pictures[index].numpy(), SIZE)
        return {"pixel_values": self.processor.normalize_pixels(pixels), "input_features": self.sounds[index].float()}


class ScoreOnTheWay(TrainingCallback):
    """Scores the maps after some steps."""

    def __init__(self, score: Callable[[], Maps], steps: Sequence[int]):
        self.score, self.steps, self.found, self.seconds = score, steps, {}, 0.0

    def on_step_end(self, model: nn.Module, state: TrainingState) -> None:
        if state.step in self.steps:
            begin = time.process_time()
            model.eval()
            self.found[f"after {state.step} steps"] = self.score()
            model.train()
            self.seconds += time.process_time() - begin


def run(job: Job) -> Result:
    """Train ACL and test it, in a worker process."""
    logging.disable_progress_bar()
    torch.manual_seed(job.seed)
    processor, result = make_processor(), Result()
    clips = read_scenes(job.scenes, "acl", "validation", "test", "validation noise", "test noise")
    model = make_model(processor)
    for name in ("grounder", "audio_encoder"):
        weights = load_file(job.stand_ins / name / "model.safetensors")
        getattr(model, name).load_state_dict(weights)
    model.eval()
    result.text_losses = compare_texts(model, processor, clips["acl"], job.seed)
    result.maps[TEXT] = score_texts(model, processor, clips)

    def score() -> Maps:
        return score_sounds(model, processor, clips)

    result.maps[BEFORE] = score()
    on_the_way = ScoreOnTheWay(score, [step for step in SHOWN_STEPS if step < STEPS])
    arguments = TrainingArguments(
        output_dir=str(job.output),
        max_steps=STEPS,
        batch_size=BATCH_SIZE,
        drop_last=True,
        optimizer="adam",
        learning_rate=RATE,
        schedule="cosine",
        weight_decay=1e-4,
        max_gradient_norm=None,
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )
    begin = time.process_time()
    train(
        ACLTraining(model),
        Pairs(clips["acl"], processor),
        arguments,
        compute_loss=lambda network, batch, _: network(**batch),
        processor=processor,
        callbacks=[on_the_way],
    )
    result.seconds = time.process_time() - begin - on_the_way.seconds
    model.eval()
    result.maps |= on_the_way.found
    result.maps[AFTER] = score()
    judge_confidences(model, processor, clips, result)
    model.config.confidence_threshold = result.threshold
    save_in_half(model, job.output)
    return result


# ------------------------------------------------------------------------------------------------------------ scoring


@torch.no_grad()
def compare_texts(
    model: ACLForSoundLocalization, processor: ACLProcessor, clips: Clips, seed: int
) -> dict[str, tuple[float, float]]:
    """Losses of ACL, (right texts, shuffled texts): where they are alike, training can't find the right ones."""
    vectors, generator = encode_texts(model, processor), torch.Generator().manual_seed(seed)
    losses: dict[str, list[list[float]]] = {"image": [[], []], "feature": [[], []]}
    for start in range(0, min(len(clips["labels"]), 160) // BATCH_SIZE * BATCH_SIZE, BATCH_SIZE):
        rows = torch.arange(start, start + BATCH_SIZE)
        pixels = normalize(processor, clips["pictures"][rows])
        right = vectors[clips["labels"][rows, clips["sounding"][rows]]]
        image = model.get_image_features(pixels)
        for place, embeds in enumerate((right, right[torch.randperm(BATCH_SIZE, generator=generator)])):
            logits = model.compute_logits(image, embeds)
            features, _ = model.pool_features(image, logits)
            terms = model.compute_loss(pixels, logits, features, embeds, generator)
            for name, values in losses.items():
                values[place].append(float(getattr(terms, name)))
    return {name: (float(np.mean(right)), float(np.mean(other))) for name, (right, other) in losses.items()}


@torch.no_grad()
def compute_heatmaps(
    model: ACLForSoundLocalization,
    processor: ACLProcessor,
    clips: Clips,
    embed: Callable[[slice], torch.Tensor],
    shifted: bool = True,
) -> np.ndarray:
    """(clips, things, SIZE, SIZE) in [0, 1].

    Args:
        embed: rows of `clips` -> vectors of each thing, (clips, things, projection_dim).
        shifted: by the trained numbers of the mask, as heatmaps of sounds are. False: CLIPSeg's own probability.
    """
    heatmaps = []
    for start in range(0, len(clips["labels"]), 25):
        rows = slice(start, start + 25)
        image = model.get_image_features(normalize(processor, clips["pictures"][rows]))
        vectors = embed(rows)
        logits = torch.cat(
            [model.compute_logits(image, vectors[:, thing], paired=True) for thing in range(vectors.shape[1])], dim=1
        )
        heatmaps.append(model.make_heatmap(logits) if shifted else logits.sigmoid())
    return torch.cat(heatmaps).numpy()


def score_texts(model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips]) -> Maps:
    with torch.no_grad():
        vectors = encode_texts(model, processor)

    def compute(part: Clips) -> np.ndarray:
        return compute_heatmaps(model, processor, part, lambda rows: vectors[part["labels"][rows]], shifted=False)

    return score_maps(compute, clips)


def score_sounds(model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips]) -> Maps:
    def compute(part: Clips) -> np.ndarray:
        return compute_heatmaps(model, processor, part, lambda rows: embed_sounds(model, part["sounds"][rows]))

    return score_maps(compute, clips)


@torch.no_grad()
def embed_sounds(model: ACLForSoundLocalization, sounds: torch.Tensor) -> torch.Tensor:
    """(clips, sounds, frames, 128) to (clips, sounds, projection_dim)."""
    vectors = model.get_audio_features(sounds.flatten(0, 1).float()).last_hidden_state
    return vectors.unflatten(0, sounds.shape[:2])


def score_maps(compute: Callable[[Clips], np.ndarray], clips: dict[str, Clips]) -> Maps:
    """Scores of the test scenes, at .5 and at the threshold that is best on the validation scenes."""
    validation, test = clips["validation"], clips["test"]
    own, _ = compare_masks(compute(validation), validation["masks"].numpy())
    place, half = int(own.mean(0).argmax()), int(np.abs(THRESHOLDS - 0.5).argmin())
    own, other = compare_masks(compute(test), test["masks"].numpy())
    return Maps(
        threshold=float(THRESHOLDS[place]),
        best=float(own[:, place].mean()),
        best_wrong=float(other[:, place].mean()),
        half=float(own[:, half].mean()),
        half_wrong=float(other[:, half].mean()),
        found=float((own[:, place] >= 0.5).mean()),
    )


def compare_masks(heatmaps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each map with the mask of its own thing, and with that of the other: (maps, thresholds) each.

    Args:
        heatmaps, masks: (scenes, 2, rows, columns).
    """
    own, other = [], []
    for maps, truths in zip(heatmaps, masks, strict=True):
        for thing in (0, 1):
            found = count_reaching(maps[thing])
            for truth, ious in ((truths[thing], own), (truths[1 - thing], other)):
                shared = count_reaching(maps[thing][truth])
                ious.append(shared / np.maximum(truth.sum() + found - shared, 1))
    return np.array(own), np.array(other)


def count_reaching(values: np.ndarray) -> np.ndarray:
    """How many of some values reach each of THRESHOLDS."""
    return values.size - np.searchsorted(np.sort(values, axis=None), THRESHOLDS.astype(values.dtype))


@torch.no_grad()
def judge_confidences(
    model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips], result: Result
) -> None:
    """Fit the threshold of the confidence on validation scenes, and measure it on test scenes."""
    seen, off_screen, noise = collect_confidences(model, processor, clips, "validation")
    result.threshold = fit_threshold(seen, off_screen, noise)
    seen, off_screen, noise = collect_confidences(model, processor, clips, "test")
    unseen = np.concatenate([off_screen, noise])
    result.off_screen_auc = compare_confidences(seen, off_screen)
    result.noise_auc = compare_confidences(seen, noise)
    result.accuracy = float(((seen >= result.threshold).mean() + (unseen < result.threshold).mean()) / 2)


def collect_confidences(
    model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips], split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences of sounds of what is seen, of what isn't seen (sounds of other scenes), and of noise."""
    part, noise = clips[split], clips[f"{split} noise"]
    sounds, labels = part["sounds"].flatten(0, 1), part["labels"].flatten()
    seen, off_screen = [], []
    for scene in range(len(part["labels"])):
        image = model.get_image_features(normalize(processor, part["pictures"][scene : scene + 1]))
        others = [row for row in range(len(labels)) if labels[row] not in part["labels"][scene]]
        rows = [2 * scene, 2 * scene + 1, others[(7 * scene) % len(others)]]  # any one of the others
        audio = model.get_audio_features(sounds[rows].float())
        confidences = model.compute_confidence(image, audio)[0].tolist()
        seen += confidences[:2]
        off_screen.append(confidences[2])
    silent = []
    for scene in range(len(noise["labels"])):
        image = model.get_image_features(normalize(processor, noise["pictures"][scene : scene + 1]))
        silent.append(
            float(model.compute_confidence(image, model.get_audio_features(noise["sounds"][scene].float()))[0, 0])
        )
    return np.array(seen), np.array(off_screen), np.array(silent)


# ------------------------------------------------------------------------------------------------------------ results


def table(results: Sequence[Result]) -> str:
    """The claim, row by row, every seed beside its mean."""
    lines = ["drawn scenes of two things, each asked with both sounds; mean IoU from 0 to 1, mean: seed by seed"]
    heads = ("threshold from validation", "the other thing's mask", "threshold .5", "the other thing's mask")
    lines.append(f"{'maps':<24}" + "".join(f"{head:<28}" for head in heads))
    for name in results[0].maps:
        rows = [result.maps[name] for result in results]
        values = ([getattr(row, part) for row in rows] for part in ("best", "best_wrong", "half", "half_wrong"))
        lines.append(f"{name:<24}" + "".join(f"{describe(part):<28}" for part in values))
    lines.append("")
    for name in ("image", "feature"):
        right, other = (describe([result.text_losses[name][place] for result in results]) for place in (0, 1))
        lines.append(f"loss {name!r} of right texts {right}, of shuffled texts {other}")
    lines.append(
        f"confidence, AUC: seen against off screen {describe([part.off_screen_auc for part in results])}, "
        f"against noise {describe([part.noise_auc for part in results])}"
    )
    lines.append(f"core seconds of ACL training {describe([part.seconds for part in results])}")
    return "\n".join([*lines, "", *judge(results)])


def judge(results: Sequence[Result]) -> list[str]:
    """What the claim says, and whether it holds in every seed."""
    before, after, text = ([result.maps[name].best for result in results] for name in (BEFORE, AFTER, TEXT))
    wrong = [result.maps[AFTER].best_wrong for result in results]
    gains = [new / old for new, old in zip(after, before, strict=True)]
    shares = [sound / bound for sound, bound in zip(after, text, strict=True)]
    return [
        f"{say(min(gains) >= 2)}: mean IoU after / before is {describe(gains)}, at least 2 in each seed",
        f"{say(min(shares) >= 0.7)}: share of the texts' mean IoU is {describe(shares)}, at least .7 in each seed",
        f"{say(max(wrong) < 0.15)}: IoU with the other thing is {describe(wrong)}, below .15 in each seed",
    ]


def say(holds: bool) -> str:
    return "holds" if holds else "missed"


def save_shipped(output: Path, trained: Path, results: Sequence[Result]) -> None:
    """Model, processor, tokenizer and card of the first seed, as one folder for `from_pretrained`."""
    for path in trained.iterdir():
        if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja") and path.name not in OF_TRAINING:
            shutil.copyfile(path, output / path.name)
    first = results[0]
    after = first.maps[AFTER]
    measured = {
        f"mean IoU of heatmaps with what is heard, {NUM_SCENES['test']} synthetic scenes of two things, asked with "
        f"both sounds; threshold {after.threshold:.2f}, fitted on other scenes": f"{after.best:.3f}",
        "the same at threshold .5": f"{after.half:.3f}",
        "mean IoU with the other thing, at either threshold": f"{after.best_wrong:.3f}, {after.half_wrong:.3f}",
        "AUC of the confidence, things seen against things unseen, against noise": (
            f"{first.off_screen_auc:.3f}, {first.noise_auc:.3f}"
        ),
        "balanced accuracy of the decision at `confidence_threshold`, fitted on other scenes": f"{first.accuracy:.3f}",
    }
    for name in results[0].maps:
        values = describe([result.maps[name].best for result in results])
        measured[f"mean IoU, mean and seed by seed, {name}"] = values
    save_card("acl_ssl", output, measured)


OF_TRAINING = ("training_arguments.json", "metrics.jsonl", "finished.json")
