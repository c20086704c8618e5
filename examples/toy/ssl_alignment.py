"""The claim of cross-modal alignment on drawn scenes; `train_ssl_alignment.py --toy` runs it.

A picture shows two of eight kinds of things, and one of them is heard. At which of them does a network point when it is
asked with the sound of each? That is what training on 9 pairs of views is to improve over training on single pairs. All
rows of a seed see the same clips and begin with the same weights:

| row | views | terms |
|---|---|---|
| s_L alone | original | on the maps |
| one pair | original | on the maps and on the projections |
| one pair, 3 x steps | original | both; about the compute of the 9 pairs |
| 4 pairs | original, augmented | both |
| 9 pairs | original, augmented, similar | both |

The original view is mirrored or not and moved a little; the augmented one is turned, darkened and recoloured, and hears
another excerpt; the similar one shows and sounds like other clips of the category, mostly. Labels stand in for the
pretrained encoders that find similar clips; nothing else sees them.

In a second setting ("mixed") a third of the clips show one thing alone, and training is longer. The network that learns
from them, on 9 pairs and with the first seed, is what is saved, with a threshold of its confidence that was fitted on
further clips.

Both sounds are right where the maximum of each map lies on what is seen of its own thing. Every seed has clips of its
own.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from toy.runs import note, open_output, run_jobs, save_card
from transformers.utils import logging

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.metrics import (
    area_thresholds,
    center_prior,
    class_recall,
    consensus_iou,
    group_minima,
    roc_auc,
    success_auc,
    truth_areas,
    upsample_maps,
)
from avzoo.models.ssl_alignment import AlignmentView
from avzoo.models.ssl_alignment.training_ssl_alignment import AlignmentTraining
from avzoo.toyworld.scenes import Scenes
from avzoo.training import TrainingArguments, train

CATEGORIES = ("bird", "car", "cat", "clock", "frog", "guitar", "rain_cloud", "siren")
AREA = (0.10, 0.18)  # of the picture, one thing
SIZE = 128  # pixels
SECONDS, WINDOW_SECONDS = 3.0, 1.5  # of a clip; of what the network hears
FIRST_SAMPLES = (12000, 0, 24000)  # of the windows of a training clip; the first is the middle
BATCH_SIZE = 16
LEARNING_RATE = 2e-3
RATE_DROP = (0.7, 0.2)  # after this part of the steps the learning rate is multiplied by that
NUM_CLIPS, NUM_SINGLE_CLIPS, NUM_TEST_CLIPS = 1600, 800, 200
SIMILAR_PICTURE, SIMILAR_SOUND = 0.85, 0.95  # how often a "similar" clip is of the same category; else it is any
SIZES = {
    "hidden_sizes": (16, 32, 48, 64),
    "depths": (1, 1, 1, 1),
    "image_strides": (1, 2, 1, 1),  # a map of 16 x 16
    "audio_strides": (1, 2, 2, 1),
    "projection_dim": 64,
}
# Most clips lie below the floor of the released front end, so each is brought to one level.
FRONT_END = {
    "image_size": SIZE,
    "clip_seconds": WINDOW_SECONDS,
    "base_seconds": None,
    "level": 0.1,
    "fft_size": 256,
    "hop_size": 250,
    "log_floor": 1e-9,
    "log_mean": -16.0,
    "log_std": 2.5,
}


@dataclass(frozen=True)
class Row:
    """A way of training.

    Args:
        name: in the tables.
        views: 1 original, 2 and augmented, 3 and similar.
        steps: of training.
        use_alignment: the terms on the projections.
        single_things: also learn from clips that show one thing alone.
    """

    name: str
    views: int
    steps: int
    use_alignment: bool = True
    single_things: bool = False


ROWS = (
    Row("s_L alone", 1, 800, use_alignment=False),
    Row("one pair", 1, 800),
    Row("one pair, 3 x steps", 1, 2400),
    Row("4 pairs", 2, 800),
    Row("9 pairs", 3, 800),
    Row("9 pairs, mixed", 3, 1500, single_things=True),
)
SHIPPED = "9 pairs, mixed"


@dataclass(frozen=True)
class Job:
    """One training run."""

    row: Row
    seed: int
    data: Path
    output: Path


@dataclass(frozen=True)
class Rendering:
    """The clips of one seed, to be rendered into a file."""

    seed: int
    path: Path


@dataclass(frozen=True)
class Result:
    """What a network can do; parts from 0 to 1.

    Args:
        both_right: scenes in which both sounds point at what is seen of their own thing.
        one_right: sounds that do.
        iauc: area under the part of scenes whose worse adaptive IoU reaches a demand.
        recall: R@1 of projections, (sound to picture, picture to sound).
        off_screen_auc, noise_auc: of the map's maximum, things seen against things unseen, and against noise.
        threshold, accuracy: of the map's maximum, fitted on further clips; balanced accuracy on the test clips.
        seconds: of one core, in training.
    """

    both_right: float
    one_right: float
    iauc: float
    recall: tuple[float, float] = (np.nan, np.nan)
    off_screen_auc: float = np.nan
    noise_auc: float = np.nan
    threshold: float = np.nan
    accuracy: float = np.nan
    seconds: float = 0.0


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the network of `SHIPPED` and the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    with open_output(options.output_dir) as (output, scratch):
        renderings = [Rendering(seed, scratch / f"clips-{seed}.pt") for seed in options.toy_seeds]
        priors = [prior for _, prior in run_jobs(render, renderings)]
        note(f"{NUM_CLIPS + NUM_SINGLE_CLIPS} training clips rendered for each seed", begin)
        jobs = [
            Job(row, part.seed, part.path, scratch / f"{row.name}-{part.seed}")
            for part in renderings
            for row in sorted(ROWS, key=lambda row: -row.views * row.steps)  # long ones first: cores idle less
        ]
        results: dict[str, list[Result]] = {row.name: [] for row in ROWS}
        for job, result in run_jobs(run, jobs):
            note(f"{job.row.name}, seed {job.seed}: both right in {result.both_right:.3f}", begin)
            results[job.row.name].append(result)
        save_shipped(output, scratch / f"{SHIPPED}-{options.toy_seeds[0]}", options, results)
    print(table(results, priors))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


# -------------------------------------------------------------------------------------------------------------- clips


def make_processor() -> SSLAlignmentProcessor:
    return SSLAlignmentProcessor(**FRONT_END)


def make_world(num_clips: int, seed: int, split: str, **settings) -> Scenes:
    """Scenes of two things, one of which is heard, unless `settings` say otherwise."""
    shared = {"size": SIZE, "seconds": SECONDS, "categories": CATEGORIES, "area": AREA, "num_objects": 2}
    return Scenes(
        num_clips, seed, split=split, **(shared | {"off_screen_chance": 0.0, "silent_chance": 0.0} | settings)
    )


def render(job: Rendering) -> Result:
    """Write the clips of a seed to a file, in a worker process; what the centre of the picture would score."""
    few = max(NUM_TEST_CLIPS // 2, 2)
    worlds = {
        "pairs": make_world(NUM_CLIPS, job.seed, "train"),
        "singles": make_world(NUM_SINGLE_CLIPS, job.seed, "train-single", num_objects=1),
    }
    for split in ("validation", "test"):
        worlds |= {
            split: make_world(NUM_TEST_CLIPS, job.seed, split, every_sound=True),
            f"{split} off screen": make_world(few, job.seed, f"{split}-off-screen", off_screen_chance=1.0),
            f"{split} noise": make_world(few, job.seed, f"{split}-noise", silent_chance=1.0),
        }
    worlds["test singles"] = make_world(NUM_TEST_CLIPS, job.seed, "test-single", num_objects=1)
    processor = make_processor()
    clips = {name: prepare(world, processor) for name, world in worlds.items()}
    torch.save(clips, job.path)
    return score_prior(clips["test"]["masks"].numpy())


def prepare(world: Scenes, processor: SSLAlignmentProcessor) -> dict[str, torch.Tensor]:
    """Clips of a world as tensors.

    Returns:
        pictures (clips, 3, SIZE, SIZE) uint8; sounds (clips, sounds, 1, bins, frames) float16, the windows of the sound
        or, with `every_sound`, the middle of each thing's; labels (clips,), the category heard, -1 for none; with
        `every_sound`, masks (clips, things, SIZE, SIZE) bool.
    """
    parts: dict[str, list] = {"pictures": [], "sounds": [], "labels": [], "masks": []}
    samples = processor.clip_samples
    for clip in world:  # seeds already share the cores
        if "sounds" in clip:
            middle = FIRST_SAMPLES[0]
            windows = clip["sounds"][:, middle : middle + samples]
            parts["masks"].append(clip["masks"])
        else:
            windows = np.stack([clip["audio"][first : first + samples] for first in FIRST_SAMPLES])
        parts["pictures"].append(clip["image"].transpose(2, 0, 1))
        parts["sounds"].append(processor.compute_features(torch.from_numpy(windows)).half())
        parts["labels"].append(CATEGORIES.index(clip["heard"][0]) if clip["heard"] else -1)
    return {
        "pictures": torch.from_numpy(np.stack(parts["pictures"])),
        "sounds": torch.stack(parts["sounds"]),
        "labels": torch.tensor(parts["labels"]),
    } | ({"masks": torch.from_numpy(np.stack(parts["masks"]))} if parts["masks"] else {})


class Views(torch.utils.data.Dataset):
    """Training clips as views; draws come from torch's global generator, which the training loop seeds.

    Args:
        clips: as [`prepare`] gives them.
        processor: of the network.
        num_views: 1 original, 2 and augmented, 3 and similar.
    """

    def __init__(self, clips: dict[str, torch.Tensor], processor: SSLAlignmentProcessor, num_views: int):
        self.clips, self.processor, self.num_views = clips, processor, num_views
        self.of_category = [(clips["labels"] == label).nonzero()[:, 0] for label in range(len(CATEGORIES))]

    def __len__(self) -> int:
        return len(self.clips["labels"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pictures, sounds = self.clips["pictures"], self.clips["sounds"]
        pixels, features = [draw_original(pictures[index])], [sounds[index, 0]]
        if self.num_views > 1:
            pixels.append(draw_augmented(pictures[index]))
            features.append(sounds[index, draw_below(sounds.shape[1])])
        if self.num_views > 2:
            pixels.append(draw_original(pictures[self._draw_similar(index, SIMILAR_PICTURE)]))
            features.append(sounds[self._draw_similar(index, SIMILAR_SOUND), 0])
        return {
            "pixel_values": self.processor.normalize_pixels(torch.stack(pixels)),
            "input_features": torch.stack(features).float(),
        }

    def _draw_similar(self, index: int, purity: float) -> int:
        if torch.rand(()) < purity:
            rows = self.of_category[self.clips["labels"][index]]
            return int(rows[draw_below(len(rows))])
        return draw_below(len(self))


def draw_below(count: int) -> int:
    return int(torch.randint(count, ()))


def draw_original(picture: torch.Tensor) -> torch.Tensor:
    """(3, SIZE, SIZE) uint8 to [0, 1]: mirrored or not, and moved by up to a twentieth."""
    return move(mirror(picture / 255), SIZE // 20)


def draw_augmented(picture: torch.Tensor) -> torch.Tensor:
    """(3, SIZE, SIZE) uint8 to [0, 1]: turned, mirrored, moved by up to a tenth, darker, and grey or recoloured."""
    pixels = move(mirror(torch.rot90(picture / 255, draw_below(4), (1, 2))), SIZE // 10)
    pixels = pixels * (0.5 + 0.5 * torch.rand(()))
    if torch.rand(()) < 0.2:
        return pixels.mean(0, keepdim=True).expand(3, -1, -1)
    return pixels[torch.randperm(3)] if torch.rand(()) < 0.5 else pixels


def mirror(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.flip(-1) if torch.rand(()) < 0.5 else pixels


def move(pixels: torch.Tensor, farthest: int) -> torch.Tensor:
    """Pixels (3, SIZE, SIZE) moved by up to `farthest` down or up, right or left; their edge is repeated."""
    down, right = torch.randint(2 * farthest + 1, (2,)).tolist()
    padded = torch.nn.functional.pad(pixels[None], (farthest,) * 4, mode="replicate")[0]
    return padded[:, down : down + SIZE, right : right + SIZE]


# ----------------------------------------------------------------------------------------------------------- training


class FastTraining(AlignmentTraining):
    """The same, a fifth faster on a CPU: channels of the pictures come last in memory."""

    def encode(self, pixel_values: torch.Tensor, input_features: torch.Tensor) -> AlignmentView:
        return super().encode(pixel_values.contiguous(memory_format=torch.channels_last), input_features)


def run(job: Job) -> Result:
    """Train one network and test it, in a worker process."""
    logging.disable_progress_bar()
    clips, processor = torch.load(job.data, weights_only=True), make_processor()
    training = clips["pairs"]
    if job.row.single_things:
        training = {name: torch.cat([training[name], clips["singles"][name]]) for name in training}
    torch.manual_seed(job.seed)  # all rows begin with the same weights
    model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**SIZES))
    network = FastTraining(model, use_alignment=job.row.use_alignment)
    arguments = TrainingArguments(
        output_dir=str(job.output),
        max_steps=job.row.steps,
        batch_size=BATCH_SIZE,
        drop_last=True,
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        weight_decay=1e-4,
        max_gradient_norm=None,
        schedule="step",
        schedule_milestones=(RATE_DROP[0] * job.row.steps / (len(training["labels"]) // BATCH_SIZE),),  # in epochs
        schedule_factor=RATE_DROP[1],
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )
    begin = time.process_time()
    train(
        network,
        Views(training, processor, job.row.views),
        arguments,
        compute_loss=lambda network, batch, _: network(**batch),
        processor=processor,
    )
    seconds = time.process_time() - begin
    model.eval()
    model.config.confidence_threshold = fit_threshold(*collect_confidences(model, clips, "validation"))
    model.save_pretrained(job.output)
    result = score(model, clips, seconds)
    return result if job.row.use_alignment else replace(result, recall=(np.nan, np.nan))  # projections are untrained


# ------------------------------------------------------------------------------------------------------------ scoring


@torch.no_grad()
def compute_maps(model: SSLAlignmentForSoundLocalization, clips: dict[str, torch.Tensor], sounds: int) -> np.ndarray:
    """(clips, sounds, rows, columns): each picture asked with the first `sounds` of its own sounds."""
    processor, maps = make_processor(), []
    for start in range(0, len(clips["labels"]), 50):
        rows = slice(start, start + 50)
        image = model.get_image_features(processor.normalize_pixels(clips["pictures"][rows] / 255))
        features = clips["sounds"][rows, :sounds].float()
        audio = model.get_audio_features(features.flatten(0, 1))
        all_maps = model.compute_similarity_maps(image, audio)
        own = torch.arange(len(all_maps))[:, None] * sounds + torch.arange(sounds)
        maps.append(all_maps[torch.arange(len(all_maps))[:, None], own])
    return torch.cat(maps).numpy()


def score(model: SSLAlignmentForSoundLocalization, clips: dict[str, dict], seconds: float) -> Result:
    """All that is reported of a network, on the test clips of its seed."""
    test, single = clips["test"], clips["test singles"]
    maps = compute_maps(model, test, sounds=2)
    seen, off_screen, noise = collect_confidences(model, clips, "test")
    threshold = model.config.confidence_threshold
    unseen = np.concatenate([off_screen, noise])
    return Result(
        *score_maps(maps, test["masks"].numpy()),
        recall=score_retrieval(model, single),
        off_screen_auc=compare_confidences(seen, off_screen),
        noise_auc=compare_confidences(seen, noise),
        threshold=threshold,
        accuracy=float(((seen >= threshold).mean() + (unseen < threshold).mean()) / 2),
        seconds=seconds,
    )


def score_maps(maps: np.ndarray, masks: np.ndarray) -> tuple[float, float, float]:
    """`both_right`, `one_right` and `iauc` of [`Result`]; maps (scenes, things, rows, columns), masks of any size."""
    scenes, things, size = masks.shape[:3]
    large = upsample_maps(maps.reshape(scenes * things, *maps.shape[2:]), size)
    truth = masks.reshape(scenes * things, size, size)
    places = large.reshape(len(large), -1).argmax(axis=1)
    right = truth.reshape(len(truth), -1)[np.arange(len(truth)), places].reshape(scenes, things)
    ious = consensus_iou(large, truth, area_thresholds(large, truth_areas(truth)))
    worst = group_minima(ious, [str(scene) for scene in range(scenes) for _ in range(things)])
    return float(right.all(axis=1).mean()), float(right.mean()), success_auc(worst)


def score_prior(masks: np.ndarray) -> Result:
    """The answer that knows neither picture nor sound: the centre."""
    maps = np.broadcast_to(center_prior(masks.shape[-1]), masks.shape)
    return Result(*score_maps(maps, masks))


@torch.no_grad()
def score_retrieval(model: SSLAlignmentForSoundLocalization, clips: dict[str, torch.Tensor]) -> tuple[float, float]:
    """R@1 of one-thing clips by category, (sound to picture, picture to sound)."""
    pixels = make_processor().normalize_pixels(clips["pictures"] / 255)
    image = model.get_image_features(pixels).pooler_output.numpy()
    audio = model.get_audio_features(clips["sounds"][:, 0].float()).pooler_output.numpy()
    labels = clips["labels"].numpy()
    return float(class_recall(audio, image, labels, [1])[0]), float(class_recall(image, audio, labels, [1])[0])


def collect_confidences(
    model: SSLAlignmentForSoundLocalization, clips: dict[str, dict], split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maxima of maps: of sounds of what is seen, of what isn't seen, and of noise."""
    seen = compute_maps(model, clips[split], sounds=2).max(axis=(2, 3)).ravel()
    unseen = (compute_maps(model, clips[f"{split} {kind}"], sounds=1).max(axis=(1, 2, 3)) for kind in UNSEEN)
    return seen, *unseen


UNSEEN = ("off screen", "noise")


def compare_confidences(seen: np.ndarray, unseen: np.ndarray) -> float:
    """Area under the ROC curve."""
    scores = np.concatenate([seen, unseen])[:, None]
    targets = np.concatenate([np.ones(len(seen)), np.zeros(len(unseen))])[:, None]
    return float(roc_auc(scores, targets)[0])


def fit_threshold(seen: np.ndarray, off_screen: np.ndarray, noise: np.ndarray) -> float:
    """The threshold with the best balanced accuracy: what is seen at or above it, the rest below."""
    unseen = np.sort(np.concatenate([off_screen, noise]))
    values = np.unique(np.concatenate([seen, unseen]))
    candidates = (values[1:] + values[:-1]) / 2
    kept = 1 - np.searchsorted(np.sort(seen), candidates) / len(seen)
    refused = np.searchsorted(unseen, candidates) / len(unseen)
    return round(float(candidates[np.argmax(kept + refused)]), 4)


# ------------------------------------------------------------------------------------------------------------ results


def table(results: dict[str, list[Result]], priors: Sequence[Result]) -> str:
    """The claim, row by row, every seed beside its mean."""
    lines = ["drawn scenes of two things, each asked with both sounds; parts from 0 to 1, mean: seed by seed"]
    lines.append(f"{'training':<22}{'both right':<28}{'adaptive IAUC':<28}{'core s':>7}")
    for name, rows in [("centre of the picture", list(priors)), *results.items()]:
        both, iauc = (describe([getattr(row, field) for row in rows]) for field in ("both_right", "iauc"))
        lines.append(f"{name:<22}{both:<28}{iauc:<28}{np.mean([row.seconds for row in rows]):7.0f}")
    lines += ["", "retrieval of scenes of one thing by projections, R@1, and confidence (maximum of the map), AUC"]
    lines.append(f"{'training':<22}" + "".join(f"{head:<28}" for head in DETAILS))
    for name, rows in results.items():
        lines.append(f"{name:<22}" + "".join(f"{describe([get(row) for row in rows]):<28}" for get in DETAILS.values()))
    return "\n".join([*lines, "", *judge(results)])


DETAILS = {
    "sound to picture": lambda row: row.recall[0],
    "picture to sound": lambda row: row.recall[1],
    "seen against off screen": lambda row: row.off_screen_auc,
    "seen against noise": lambda row: row.noise_auc,
}


def describe(values: Sequence[float]) -> str:
    """Mean, and seed by seed."""
    return "-" if np.isnan(values).any() else f"{np.mean(values):.3f}: " + " ".join(f"{value:.3f}" for value in values)


def judge(results: dict[str, list[Result]]) -> list[str]:
    """What the claim says, and whether it holds."""
    lines = []
    nine = np.array([row.both_right for row in results["9 pairs"]])
    for name in ("s_L alone", "one pair", "one pair, 3 x steps", "4 pairs"):
        gains = nine - np.array([row.both_right for row in results[name]])
        seeds = " ".join(f"{gain:+.3f}" for gain in gains)
        lines.append(f"both right, 9 pairs against {name}: {gains.mean():+.3f} ({seeds})")
    mixed = results[SHIPPED]
    lines += [
        compare("both right", [row.both_right for row in mixed], 0.5),
        compare("R@1, the worse direction", [min(row.recall) for row in mixed], 0.85),
        compare("AUC off screen", [row.off_screen_auc for row in mixed], 0.9),
        compare("AUC noise", [row.noise_auc for row in mixed], 0.75),
    ]
    return lines


def compare(what: str, values: Sequence[float], bound: float) -> str:
    missed = bound - min(values)
    verdict = "holds" if missed <= 0 else f"missed by {missed:.3f}"
    return f"{verdict}: {what} of {SHIPPED!r} is {describe(values)}, at least {bound} in each seed"


def save_shipped(output: Path, trained: Path, options: argparse.Namespace, results: dict[str, list[Result]]) -> None:
    """Model, processor and card of one run, as one folder for `from_pretrained`."""
    for file in ("config.json", "model.safetensors", "preprocessor_config.json", "processor_config.json"):
        if (trained / file).is_file():
            shutil.copyfile(trained / file, output / file)
    first = results[SHIPPED][0]
    measured = {
        f"both sounds point at their own thing, {NUM_TEST_CLIPS} synthetic scenes of two things": (
            f"{first.both_right:.3f}"
        ),
        "a sound points at its own thing": f"{first.one_right:.3f}",
        "R@1 of projections, sound to picture, picture to sound": ", ".join(f"{part:.3f}" for part in first.recall),
        "AUC of the map's maximum, things seen against things unseen, against noise": (
            f"{first.off_screen_auc:.3f}, {first.noise_auc:.3f}"
        ),
        "balanced accuracy of the decision at `confidence_threshold`, fitted on other scenes": f"{first.accuracy:.3f}",
    }
    for name, rows in results.items():
        measured[f"both right, mean and seed by seed, {name}"] = describe([row.both_right for row in rows])
    save_card("ssl_alignment", output, measured)
