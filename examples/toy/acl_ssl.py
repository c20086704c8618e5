"""The claim of ACL-SSL on drawn scenes; `train_acl_ssl.py --toy` runs it.

A network that paints what a text names can be steered by sounds, learnt from pictures with their sounds, without labels
or texts. Scenes show two of eight kinds of things, one of which is heard. For each seed:

1. A small CLIPSeg, which stands in for the released one, learns to paint what "a photo of a bird" names, and to know
   things by their looks: whole pictures of one thing, pictures behind a mask, and dense features in a mask. Without the
   last two the losses of step 3 say nothing: a test before it shows that the right texts score lower there than others.
2. A small BEATs, which stands in for the released one, learns which kind of thing is heard.
3. ACL: both are frozen. What is trained is the embedder of sounds and the two numbers of the mask, by the three losses
   of the method, batches of 8, Adam 1e-3 and weight decay 1e-4. The share of a picture that a sounding thing is
   expected to cover is set to that of the scenes, .12; the released recipe has .4.

Labels and masks are seen in steps 1 and 2 alone, where the released encoders have seen theirs. Scored are the heatmaps
of other scenes, asked with the sound of each of their two things, by the IoU with the mask of the thing that is heard;
and, as a control, with the mask of the other thing: a map that follows the picture alone would score the same there.
The threshold of a map is .5, or the one with the best mean IoU on scenes for validation.

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
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import nn
from torch.nn import functional
from toy.runs import note, open_output, run_jobs, save_card, save_in_half
from toy.ssl_alignment import CATEGORIES, SIZE, compare_confidences, describe, fit_threshold, make_world
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from avzoo import ACLConfig, ACLForSoundLocalization, ACLProcessor
from avzoo.models.acl_ssl.training_acl_ssl import ACLTraining, draw_crop
from avzoo.toyworld.scenes import Scenes
from avzoo.training import TrainingArguments, TrainingCallback, TrainingState, train

NUM_PAIRS, NUM_SINGLES, NUM_TEST, NUM_NOISE = 1600, 1000, 200, 50
GROUNDER_STEPS, AUDIO_STEPS, STEPS = 1500, 600, 600
GROUNDER_BATCH, AUDIO_BATCH, BATCH_SIZE = 16, 16, 8
GROUNDER_RATE, AUDIO_RATE, RATE = 1e-3, 4e-3, 1e-3
POSITIVE_AREA = 0.12
SHOWN_STEPS = (100, 200, 400)  # at which the maps are scored on the way
LABEL_SMOOTHING = 0.05
PATCH = 16
SCALE = 1 / 0.07
THRESHOLDS = np.arange(0.01, 1.0, 0.01)
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
PROMPT = "a photo of {}"
GROUNDER = {
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "vision_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": PATCH,
    },
    "projection_dim": 64,
    "extract_layers": [1, 2, 3],
    "reduce_dim": 32,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 64,
    "use_complex_transposed_convolution": True,
}
AUDIO_ENCODER = {
    "embedding_size": 48,
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_pos_kernel_size": 16,
    "conv_pos_groups": 4,
    "num_buckets": 32,
    "max_distance": 64,
    "layerdrop": 0.0,
}
AUDIO_LAYERS = (1, 2, 4)
# The log-mel energies of these scenes: they are quiet.
FRONT_END = {"image_size": SIZE, "clip_seconds": 3.0, "feature_mean": 12.36, "feature_std": 4.95}

Clips = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Job:
    """A seed, and where its network is saved."""

    seed: int
    output: Path
    sizes: dict[str, int]


@dataclass(frozen=True)
class Maps:
    """Mean IoU of heatmaps with the thing that is heard, and with the other one; parts from 0 to 1.

    Args:
        best, best_wrong: at `threshold`, which was fitted on scenes for validation.
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
        maps: of "text", and of sounds "before training", after some steps, and "after N steps".
        text_losses: (right texts, shuffled texts) of the losses "image" and "feature".
        audio_accuracy: of the audio encoder's own classifier on test sounds.
        off_screen_auc, noise_auc: of the confidence, things seen against things unseen, and against noise.
        threshold, accuracy: of the confidence, fitted on validation scenes; balanced accuracy on the test scenes.
        seconds: of one core, by step of the recipe.
    """

    maps: dict[str, Maps] = field(default_factory=dict)
    text_losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    audio_accuracy: float = np.nan
    off_screen_auc: float = np.nan
    noise_auc: float = np.nan
    threshold: float = np.nan
    accuracy: float = np.nan
    seconds: dict[str, float] = field(default_factory=dict)


def show_claim(options: argparse.Namespace) -> None:
    """Train, test and print; save the network of the first seed in `options.output_dir`."""
    begin = time.perf_counter()
    sizes = {"pairs": NUM_PAIRS, "singles": NUM_SINGLES, "validation": NUM_TEST // 2, "test": NUM_TEST}
    with open_output(options.output_dir) as (output, scratch):
        jobs = [Job(seed, scratch / f"seed-{seed}", sizes) for seed in options.toy_seeds]
        results = []
        for job, result in run_jobs(run, jobs):
            note(f"seed {job.seed}: mean IoU {result.maps[AFTER].best:.3f} after {STEPS} steps", begin)
            results.append(result)
        save_shipped(output, jobs[0].output, results)
    print(table(results))
    print(f"\n{time.perf_counter() - begin:.0f} s in all; model saved in {output}")


AFTER = "after ACL training"
BEFORE = "before ACL training"
TEXT = "text of the right class"


# -------------------------------------------------------------------------------------------------------------- clips


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words of the prompts; any other is <unknown>."""
    words = [word for text in (PROMPT.replace("{}", "an"), *map(spell, CATEGORIES)) for word in text.split()]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys((*SPECIAL, *words)))}
    pad, start, end, unknown = SPECIAL
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(word, vocabulary[word]) for word in (start, end)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=start,
        eos_token=end,
        unk_token=unknown,
        model_max_length=GROUNDER["text_config"]["max_position_embeddings"],
    )


def spell(category: str) -> str:
    return category.replace("_", " ")


def make_processor() -> ACLProcessor:
    return ACLProcessor(**FRONT_END, tokenizer=make_tokenizer())


def make_model(processor: ACLProcessor) -> ACLForSoundLocalization:
    """A network with random weights; nothing of it is frozen yet."""
    prompt_ids, position = processor.encode_prompt(PROMPT)
    grounder = {**GROUNDER, "text_config": {**GROUNDER["text_config"], "vocab_size": len(processor.tokenizer)}}
    config = ACLConfig(
        audio_config=AUDIO_ENCODER,
        grounder_config=grounder,
        audio_layers=AUDIO_LAYERS,
        prompt_ids=prompt_ids,
        prompt_position=position,
        positive_area=POSITIVE_AREA,
    )
    model = ACLForSoundLocalization(config)
    decoder = model.grounder.decoder
    for part in (decoder.film_mul, decoder.film_add, decoder.reduces, decoder.transposed_convolution):
        for layer in part.modules():  # transformers draws them for fine-tuning, with a deviation of 1
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return model


def render(seed: int, sizes: dict[str, int], processor: ACLProcessor) -> dict[str, Clips]:
    """The clips of a seed; no part shares a scene with another."""
    worlds = {
        "pairs": make_world(sizes["pairs"], seed, "acl-train"),
        "singles": make_world(sizes["singles"], seed, "acl-train-single", num_objects=1),
    }
    for split in ("validation", "test"):
        worlds[split] = make_world(sizes[split], seed, f"acl-{split}", every_sound=True)
        worlds[f"{split} noise"] = make_world(
            min(NUM_NOISE, sizes[split]), seed, f"acl-{split}-noise", silent_chance=1.0
        )
    return {name: prepare(world, processor) for name, world in worlds.items()}


def prepare(world: Scenes, processor: ACLProcessor) -> Clips:
    """Clips of a world as tensors.

    Returns:
        pictures (clips, SIZE, SIZE, 3) uint8; masks (clips, things, SIZE, SIZE) bool; labels (clips, things); sounding
        (clips,), the thing that is heard, -1 for none; sounds (clips, sounds, frames, 128) float16, of the clip, or
        with `every_sound` of each thing.
    """
    parts: dict[str, list] = {name: [] for name in ("pictures", "masks", "labels", "sounding", "sounds")}
    for clip in world:  # seeds already share the cores
        audio = clip["sounds"] if "sounds" in clip else clip["audio"][None]
        parts["pictures"].append(torch.from_numpy(clip["image"]))
        parts["masks"].append(torch.from_numpy(clip["masks"]))
        parts["labels"].append(torch.tensor([CATEGORIES.index(thing["category"]) for thing in clip["objects"]]))
        parts["sounding"].append(torch.tensor(-1 if clip["sounding_index"] is None else clip["sounding_index"]))
        parts["sounds"].append(processor.compute_features(torch.from_numpy(audio)).half())
    return {name: torch.stack(values) for name, values in parts.items()}


def normalize(processor: ACLProcessor, pictures: torch.Tensor) -> torch.Tensor:
    """(clips, SIZE, SIZE, 3) uint8 to what the network sees."""
    return processor.normalize_pixels(pictures.permute(0, 3, 1, 2) / 255)


# ---------------------------------------------------------------------------------------------------------- stand-ins


def encode_texts(model: ACLForSoundLocalization, processor: ACLProcessor, template: str = PROMPT) -> torch.Tensor:
    """CLIP vectors of the eight kinds, (8, projection_dim)."""
    texts = processor(text=[template.format(spell(category)) for category in CATEGORIES])
    return model.get_text_features(**texts).last_hidden_state


def fit_grounder(model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips]) -> None:
    """Step 1: paint what a text names, and know things by their looks."""
    model.grounder.requires_grad_(True)

    def compute_loss(*_: object) -> torch.Tensor:
        count = GROUNDER_BATCH
        pixels, masks, labels = draw_scenes(clips["pairs"], processor, count)
        single_pixels, _, single_labels = draw_scenes(clips["singles"], processor, count)
        vectors = encode_texts(model, processor)
        image = model.get_image_features(torch.cat([pixels, single_pixels]))
        pairs = type(image)(
            last_hidden_state=image.last_hidden_state[:count],
            hidden_states=tuple(states[:count] for states in image.hidden_states),
        )
        logits = torch.cat([model.compute_logits(pairs, vectors[labels[:, thing]], paired=True) for thing in (0, 1)], 1)
        targets = masks * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
        paint = functional.binary_cross_entropy_with_logits(logits, targets)

        def name(embeds: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            cosines = functional.normalize(embeds, dim=-1) @ functional.normalize(vectors, dim=-1).T
            return functional.cross_entropy(SCALE * cosines, truth)

        rows, thing = torch.arange(count), torch.randint(2, (count,))
        behind = model.embed_images(pixels * draw_cover(masks[rows, thing])[:, None])
        cells = functional.interpolate(masks, image.last_hidden_state.shape[-2:], mode="area")
        pooled = torch.einsum("nchw,nthw->ntc", pairs.last_hidden_state, cells).flatten(0, 1)
        looks = name(image.pooler_output[count:], single_labels[:, 0])
        looks = looks + name(behind, labels[rows, thing]) + name(pooled, labels.flatten())
        return 4 * paint + looks / 2

    fit(model.grounder.parameters(), compute_loss, GROUNDER_STEPS, GROUNDER_RATE)
    model.freeze()


def fit(parameters, compute_loss: Callable[[], torch.Tensor], steps: int, rate: float) -> None:
    """AdamW, the rate rises for a tenth of the steps and falls along a cosine."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        compute_loss().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


def draw_scenes(clips: Clips, processor: ACLProcessor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some scenes, each mirrored or not and moved a little: pixels, masks (scenes, things, SIZE, SIZE), labels."""
    rows = torch.randint(len(clips["labels"]), (count,))
    pixels, masks = normalize(processor, clips["pictures"][rows]), clips["masks"][rows].float()
    joined, farthest = torch.cat([pixels, masks], dim=1), SIZE // 20
    moved = []
    for scene in joined:
        scene = scene.flip(-1) if torch.rand(()) < 0.5 else scene
        down, right = torch.randint(2 * farthest + 1, (2,)).tolist()
        padded = functional.pad(scene[None], (farthest,) * 4, mode="replicate")[0]
        moved.append(padded[:, down : down + SIZE, right : right + SIZE])
    joined = torch.stack(moved)
    return joined[:, :3], joined[:, 3:], clips["labels"][rows]


def draw_cover(masks: torch.Tensor) -> torch.Tensor:
    """Masks (n, SIZE, SIZE) as rough as those of step 3: perhaps wider, with blocks too many, with pixels missing."""
    count, side = len(masks), 16
    wider = functional.max_pool2d(masks[:, None], 9, 1, 4)[:, 0]
    covers = torch.where(torch.rand(count, 1, 1) < 0.5, masks, wider)
    blocks = (torch.rand(count, SIZE // side, SIZE // side) < 0.25 * torch.rand(count, 1, 1)).float()
    covers = torch.maximum(covers, blocks.repeat_interleave(side, 1).repeat_interleave(side, 2))
    return covers * (torch.rand(count, SIZE, SIZE) > 0.2 * torch.rand(count, 1, 1)).float()


def fit_audio_encoder(model: ACLForSoundLocalization, clips: dict[str, Clips]) -> float:
    """Step 2: know kinds by their sounds. Returns the accuracy of the classifier, which is not kept, on test sounds."""
    encoder = model.audio_encoder
    encoder.requires_grad_(True)
    classifier = nn.Linear(encoder.config.hidden_size, len(CATEGORIES))
    sounds = torch.cat([clips[name]["sounds"][:, 0] for name in ("pairs", "singles")])
    labels = torch.cat(
        [clips[name]["labels"].gather(1, clips[name]["sounding"][:, None])[:, 0] for name in ("pairs", "singles")]
    )

    def classify(features: torch.Tensor) -> torch.Tensor:
        return classifier(encoder(features.float()).last_hidden_state.mean(1))

    def compute_loss() -> torch.Tensor:
        rows = torch.randint(len(labels), (AUDIO_BATCH,))
        return functional.cross_entropy(classify(sounds[rows]), labels[rows])

    fit([*encoder.parameters(), *classifier.parameters()], compute_loss, AUDIO_STEPS, AUDIO_RATE)
    model.freeze()
    with torch.no_grad():
        found = torch.cat([classify(part).argmax(1) for part in clips["test"]["sounds"].flatten(0, 1).split(50)])
    return float((found == clips["test"]["labels"].flatten()).float().mean())


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
        self.score, self.steps, self.found = score, steps, {}

    def on_step_end(self, model: nn.Module, state: TrainingState) -> None:
        if state.step in self.steps:
            model.eval()
            self.found[f"after {state.step} steps"] = self.score()
            model.train()


def run(job: Job) -> Result:
    """Render, fit the stand-ins, train and test, in a worker process."""
    logging.disable_progress_bar()
    torch.manual_seed(job.seed)
    processor, result = make_processor(), Result()
    with Clock(result, "scenes"):
        clips = render(job.seed, job.sizes, processor)
    model = make_model(processor)
    with Clock(result, "CLIPSeg"):
        fit_grounder(model, processor, clips)
    with Clock(result, "BEATs"):
        result.audio_accuracy = fit_audio_encoder(model, clips)
    model.eval()
    result.text_losses = compare_texts(model, processor, clips["pairs"], job.seed)
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
        weight_decay=1e-4,
        max_gradient_norm=None,
        seed=job.seed,
        cpu=True,
        progress_bar=False,  # several at once would overwrite each other
    )
    with Clock(result, "ACL"):
        train(
            ACLTraining(model),
            Pairs(clips["pairs"], processor),
            arguments,
            compute_loss=lambda network, batch, _: network(**batch),
            processor=processor,
            callbacks=[on_the_way],
        )
    model.eval()
    result.maps |= on_the_way.found
    result.maps[AFTER] = score()
    judge_confidences(model, processor, clips, result)
    model.config.confidence_threshold = result.threshold
    save_in_half(model, job.output)
    return result


class Clock:
    """Context manager that adds the seconds of this process's cores to a result."""

    def __init__(self, result: Result, name: str):
        self.result, self.name = result, name

    def __enter__(self) -> None:
        self.begin = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.result.seconds[self.name] = time.process_time() - self.begin


# ------------------------------------------------------------------------------------------------------------ scoring


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
            found = maps[thing][None] >= THRESHOLDS[:, None, None] - 1e-9
            for truth, ious in ((truths[thing], own), (truths[1 - thing], other)):
                ious.append((found & truth).sum((1, 2)) / np.maximum((found | truth).sum((1, 2)), 1))
    return np.array(own), np.array(other)


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
    lines.append(f"accuracy of the audio encoder's classifier {describe([part.audio_accuracy for part in results])}")
    lines.append(
        f"confidence, AUC: seen against off screen {describe([part.off_screen_auc for part in results])}, "
        f"against noise {describe([part.noise_auc for part in results])}"
    )
    seconds = {name: np.mean([result.seconds[name] for result in results]) for name in results[0].seconds}
    lines.append("core seconds of a seed: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()))
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
        f"mean IoU of heatmaps with what is heard, {NUM_TEST} synthetic scenes of two things, each asked with both "
        f"sounds; threshold {after.threshold:.2f}, fitted on other scenes": f"{after.best:.3f}",
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
