"""The claim of ACL-SSL on drawn scenes; `train_acl_ssl.py --toy` runs it.

A network that paints what a text names can be steered by sounds, learnt from pictures with their sounds, without labels
or texts. Scenes show two of eight kinds of things, one of which is heard.

1. A small CLIPSeg, which stands in for the released one, learns to paint what "a photo of a bird" names, and to know
   things by their looks: whole pictures of one thing, pictures behind a mask, and dense features in a mask. Without the
   last two the losses of step 3 say nothing; whether right texts score lower there than shuffled ones is printed.
2. A small BEATs, which stands in for the released one, learns which kind of thing is heard.
3. ACL: both are frozen. What is trained is the embedder of sounds and the two numbers of the mask, by the three losses
   of the method, batches of 8, Adam 1e-3 and weight decay 1e-4. The share of a picture that a sounding thing is
   expected to cover is set to that of the scenes, .12; the released recipe has .4.

Labels and masks are seen in steps 1 and 2 alone, where the released encoders have seen theirs. As there is one released
CLIPSeg and one BEATs, all seeds of step 3 share the stand-ins; first weights, batches, crops and masks are their own.
Scored are the heatmaps of other scenes, asked with the sound of each of their two things, by the IoU with the mask of
the thing that is heard; and, as a control, with the mask of the other thing: a map that follows the picture alone would
score the same there. The threshold of a map is .5, or the one with the best mean IoU on scenes for validation.

The stand-ins are small and know eight kinds of drawn things: this shows the mechanism, not the paper's numbers.
"""

import argparse
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
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
from avzoo.training import TrainingArguments, TrainingCallback, TrainingState, train

# Scenes of the stand-ins ("pairs", "singles") and of ACL, by what they are for.
NUM_SCENES = {"pairs": 2400, "singles": 1600, "acl": 1200, "validation": 100, "test": 200}
NUM_NOISE = 50
SCENES_IN_A_FILE = 200
TEXT_STEPS, WINDOW_STEPS, PAINT_STEPS, AUDIO_STEPS, STEPS = 300, 2400, 1200, 800, 400
WINDOW_BATCH, PAINT_BATCH, AUDIO_BATCH, BATCH_SIZE = 32, 8, 16, 8
TEXT_RATE, WINDOW_RATE, PAINT_RATE, AUDIO_RATE, RATE = 2e-3, 2e-3, 1.5e-3, 4e-3, 1e-3
SHOWN_STEPS = (100, 200, 300)  # at which the maps are scored on the way
POSITIVE_AREA = 0.12
UNDECIDED = 0.2  # what is painted everywhere for a word that names nothing in the picture
NEAR = 3.0  # how far from a kind's word others mean it
WORD_LENGTHS = (1.5, 9.0)  # of such words; those of kinds have about 2.4, sounds before training 5
LABEL_SMOOTHING = 0.05
SCALE = 1 / 0.07
PATCH, WINDOW = 8, 6  # pixels; patches
GRID = SIZE // PATCH
THRESHOLDS = np.arange(1, 100) / 100
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
    "extract_layers": [1, 3],
    "reduce_dim": 32,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
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
# Mean and deviation of the log-mel energies of these scenes, which are quiet.
FRONT_END = {"image_size": SIZE, "clip_seconds": 3.0, "feature_mean": 12.36, "feature_std": 4.95}
AFTER, BEFORE, TEXT = "after ACL training", "before ACL training", "text of the right kind"

Clips = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rendering:
    """Scenes to draw: those from `first` to `last` of a split, into a file."""

    split: str
    first: int
    last: int
    path: Path


@dataclass(frozen=True)
class StandIn:
    """A frozen network to train, into a folder.

    Args:
        name: of the model's attribute, "grounder" or "audio_encoder".
        scenes: folder of the drawn scenes.
    """

    name: str
    scenes: Path
    output: Path


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
    """A network with random weights."""
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
    return ACLForSoundLocalization(config)


def list_renderings(folder: Path) -> list[Rendering]:
    """All scenes, in files that processes can share."""
    sizes = NUM_SCENES | {f"{split} noise": min(NUM_NOISE, NUM_SCENES[split]) for split in ("validation", "test")}
    return [
        Rendering(split, first, min(first + SCENES_IN_A_FILE, size), folder / f"{split}-{first:06d}.pt")
        for split, size in sizes.items()
        for first in range(0, size, SCENES_IN_A_FILE)
    ]


def render(job: Rendering) -> None:
    """Draw some scenes, in a worker process."""
    settings = {
        "singles": {"num_objects": 1},
        "validation": {"every_sound": True},
        "test": {"every_sound": True},
        "validation noise": {"silent_chance": 1.0},
        "test noise": {"silent_chance": 1.0},
    }
    world, processor = make_world(job.last, 0, f"acl-{job.split}", **settings.get(job.split, {})), make_processor()
    torch.save(prepare([world[index] for index in range(job.first, job.last)], processor), job.path)


def read_scenes(folder: Path, *splits: str) -> dict[str, Clips]:
    """Scenes of each split, as [`prepare`] gives them."""
    read = {}
    for split in splits:
        parts = [torch.load(path, weights_only=True) for path in sorted(folder.glob(f"{split}-[0-9]*.pt"))]
        read[split] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return read


def prepare(scenes: Sequence[dict], processor: ACLProcessor) -> Clips:
    """Scenes as tensors.

    Returns:
        pictures (scenes, SIZE, SIZE, 3) uint8; masks (scenes, things, SIZE, SIZE) bool; labels (scenes, things);
        sounding (scenes,), the thing that is heard, -1 for none; sounds (scenes, sounds, frames, 128) float16, of the
        scene, or with `every_sound` of each thing.
    """
    parts: dict[str, list] = {name: [] for name in ("pictures", "masks", "labels", "sounding", "sounds")}
    for clip in scenes:
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


def fit_stand_in(job: StandIn) -> str:
    """Train a frozen network and save it, in a worker process. Returns how it went."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    processor = make_processor()
    model, begin = make_model(processor), time.process_time()
    if job.name == "grounder":
        said = fit_grounder(model, processor, read_scenes(job.scenes, "pairs", "singles"))
    else:
        said = fit_audio_encoder(model, read_scenes(job.scenes, "pairs", "singles", "test"))
    getattr(model, job.name).save_pretrained(job.output)
    return f"{said}; {time.process_time() - begin:.0f} s of one core"


def fit_grounder(model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips]) -> str:
    """Step 1. First kinds are learnt from windows around things, which is cheap, then all of the task on pictures."""
    grounder = model.grounder.requires_grad_(True)
    begin_grounder(model)
    fit_texts(model, processor)
    with torch.no_grad():
        vectors = encode_texts(model, processor)

    def look_at_windows() -> torch.Tensor:
        drawn = [draw_scenes(clips[split], processor, WINDOW_BATCH // 2) for split in ("pairs", "singles")]
        rows = torch.arange(WINDOW_BATCH // 2)
        things = [torch.randint(labels.shape[1], (WINDOW_BATCH // 2,)) for _, _, labels in drawn]
        pixels = torch.cat([part for part, _, _ in drawn])
        own = torch.cat([masks[rows, thing] for (_, masks, _), thing in zip(drawn, things, strict=True)])
        truth = torch.cat([labels[rows, thing] for (_, _, labels), thing in zip(drawn, things, strict=True)])
        places = draw_windows(own)
        *_, entering, last = run_windows(model, pixels, places)
        inside = functional.avg_pool2d(own[:, None], PATCH).flatten(1).gather(1, places)
        shares = spread(inside[..., None], truth[:, None])
        looks = name(project(model, last[:, 0]), vectors, truth)
        return looks + 2 * name(embed_patches(model, entering).flatten(0, 1), vectors, shares.flatten(0, 1))

    def paint() -> torch.Tensor:
        pixels, masks, labels = draw_scenes(clips["pairs"], processor, PAINT_BATCH)
        rows, first = torch.arange(PAINT_BATCH)[:, None], torch.randint(2, (PAINT_BATCH,))
        order = torch.stack([first, 1 - first], dim=1)
        masks, labels = masks[rows, order], labels[rows, order]
        states = model.run_vision(pixels)
        painted = paint_conditions([states[layer + 1] for layer in grounder.extract_layers], masks, labels)
        covers = draw_cover(masks)
        left = (covers * masks).sum((-2, -1)) ** 1.5
        mixed = torch.zeros(PAINT_BATCH, len(CATEGORIES))
        looks = name(project(model, states[-1][:, 0]), vectors, mixed.scatter(1, labels, 0.5))
        behind = model.embed_images(pixels * covers)
        looks = looks + name(behind, vectors, mixed.scatter(1, labels, left / left.sum(1, keepdim=True)))
        dense, cells = embed_patches(model, states[-2]), functional.avg_pool2d(masks, PATCH).flatten(2).mT
        looks = looks + 2 * name(dense.flatten(0, 1), vectors, spread(cells, labels).flatten(0, 1))
        pooled = torch.einsum("npc,npt->ntc", dense, cells)
        looks = looks + name(pooled.flatten(0, 1), vectors, labels.flatten())
        return 4 * painted + looks / 2

    def paint_conditions(activations: list[torch.Tensor], masks: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Both things; and, which leaves the network undecided, one that isn't in the picture, and a random word."""
        absent = torch.multinomial(1 - functional.one_hot(labels, len(CATEGORIES)).sum(1).float(), 1)
        words = [vectors[torch.cat([labels, absent], dim=1)], draw_words(model, len(labels))[:, None]]
        conditions = torch.cat(words, dim=1)
        logits = model.decode(
            [states.repeat_interleave(conditions.shape[1], 0) for states in activations],
            conditions.flatten(0, 1),
            (GRID, GRID),
        ).unflatten(0, conditions.shape[:2])
        targets = masks * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
        targets = torch.cat([targets, torch.full_like(masks, UNDECIDED)], dim=1)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((0, 2, 3))
        return (losses * torch.tensor([0.5, 0.5, 0.25, 0.25])).sum()

    weights = [weight for weight in grounder.parameters() if weight.requires_grad]
    seen = fit(weights, look_at_windows, WINDOW_STEPS, WINDOW_RATE)
    done = fit(weights, paint, PAINT_STEPS, PAINT_RATE)
    return f"loss in windows {seen:.2f}, on pictures {done:.2f}"


@torch.no_grad()
def begin_grounder(model: ACLForSoundLocalization) -> None:
    """First weights with which so small a network learns in minutes."""
    grounder = model.grounder
    decoder, vision = grounder.decoder, grounder.clip.vision_model.embeddings
    for part in (decoder.film_mul, decoder.film_add, decoder.reduces, decoder.transposed_convolution):
        for layer in part.modules():  # transformers draws them with a deviation of 1
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    vision.position_embedding.weight[1:] = 0.7 * encode_places(vision.embed_dim)
    vision.patch_embedding.weight.copy_(make_patch_filters(vision.embed_dim))
    grounder.clip.text_model.embeddings.token_embedding.weight.normal_(0, 0.3)


def fit_texts(model: ACLForSoundLocalization, processor: ACLProcessor) -> None:
    """Fit the text encoder, and freeze it.

    Vectors of kinds are at right angles, to each other and to those of random words. Words near one of a kind's mean
    that kind, so that a sound has a way to go to it.
    """
    clip = model.grounder.clip
    weights = [*clip.text_model.parameters(), clip.text_projection.weight]
    last = processor(text=[spell(category).split()[-1] for category in CATEGORIES])["input_ids"][:, 1]

    def separate() -> torch.Tensor:
        kinds = functional.normalize(encode_texts(model, processor), dim=-1)
        noise = functional.normalize(torch.randn(len(last), GROUNDER["text_config"]["hidden_size"]), dim=-1)
        near = clip.text_model.embeddings.token_embedding(last).detach() + NEAR * torch.rand(len(last), 1) * noise
        near = functional.normalize(model.embed_token(near), dim=-1)
        others = functional.normalize(draw_words(model, 4 * len(kinds)), dim=-1)
        own = torch.eye(len(kinds))
        products = (kinds @ kinds.T - own, near @ kinds.T - own, others @ kinds.T)
        return sum(part.square().mean() for part in products)

    fit(weights, separate, TEXT_STEPS, TEXT_RATE)
    for weight in weights:
        weight.requires_grad_(False)


def draw_words(model: ACLForSoundLocalization, count: int) -> torch.Tensor:
    """Vectors of "a photo of" and a random word, as the word of an untrained sound is: (count, projection_dim)."""
    words = functional.normalize(torch.randn(count, GROUNDER["text_config"]["hidden_size"]), dim=-1)
    shortest, longest = (math.log(length) for length in WORD_LENGTHS)
    return model.embed_token(words * torch.exp(shortest + (longest - shortest) * torch.rand(count, 1)))


def name(embeds: torch.Tensor, vectors: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the cosines of pictures and texts; the truth is indices of kinds, or shares of them."""
    cosines = functional.normalize(embeds, dim=-1) @ functional.normalize(vectors, dim=-1).T
    return functional.cross_entropy(SCALE * cosines, truth)


def spread(cells: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Shares of kinds in each patch; what is covered by no thing is spread over all kinds.

    Args:
        cells: share of each patch that things cover, (pictures, patches, things).
        labels: (pictures, things).

    Returns:
        (pictures, patches, kinds), of sum 1.
    """
    bare = 1 - cells.sum(-1, keepdim=True).clamp(max=1)
    shares = bare.expand(-1, -1, len(CATEGORIES)) / len(CATEGORIES)
    shares = shares.scatter_add(2, labels[:, None].expand_as(cells), cells)
    return shares / shares.sum(-1, keepdim=True)


def project(model: ACLForSoundLocalization, states: torch.Tensor) -> torch.Tensor:
    """States that leave the picture encoder, in CLIP's space."""
    clip = model.grounder.clip
    return clip.visual_projection(clip.vision_model.post_layernorm(states))


def embed_patches(model: ACLForSoundLocalization, entering: torch.Tensor) -> torch.Tensor:
    """Dense features, of what enters the last layer: (pictures, patches, projection_dim).

    As `compute_dense_features` has them, without attention that sees one place alone.
    """
    layer = model.grounder.clip.vision_model.encoder.layers[-1]
    states = entering + layer.self_attn.out_proj(layer.self_attn.v_proj(layer.layer_norm1(entering)))
    return project(model, states + layer.mlp(layer.layer_norm2(states)))[:, 1:]


def encode_places(width: int) -> torch.Tensor:
    """Sines and cosines of rows and columns, (GRID * GRID, width)."""
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    rates = 100 ** -(torch.arange(width // 4) / (width // 4))
    angles = [place.flatten()[:, None] * rates for place in (rows, columns)]
    return torch.cat([turn(angle) for angle in angles for turn in (torch.sin, torch.cos)], dim=1)


def make_patch_filters(width: int) -> torch.Tensor:
    """Cosines of low frequencies, half of them of grey, a quarter of each of two differences of colours.

    The higher a frequency, the less of it there is in a picture, and the stronger its filter.

    Returns:
        (width, 3, PATCH, PATCH).
    """
    places = (torch.arange(PATCH) + 0.5) * math.pi / PATCH
    waves = functional.normalize(torch.cos(places * torch.arange(PATCH)[:, None]), dim=1)
    order = sorted((row**2 + column**2, row, column) for row in range(PATCH) for column in range(PATCH))
    grey, red_blue, green = (0.577, 0.577, 0.577), (0.707, 0.0, -0.707), (0.408, -0.816, 0.408)
    filters = [
        0.15 * (1 + squared) ** 0.35 * torch.tensor(colour)[:, None, None] * torch.outer(waves[row], waves[column])
        for colour, count in ((grey, width // 2), (red_blue, width // 4), (green, width // 4))
        for squared, row, column in order[:count]
    ]
    return torch.stack(filters)


def draw_windows(masks: torch.Tensor) -> torch.Tensor:
    """Indices of WINDOW x WINDOW patches around what masks (n, SIZE, SIZE) show, a little beside it: (n, patches)."""
    cells = functional.avg_pool2d(masks[:, None], PATCH)[:, 0]
    total, steps = cells.sum((1, 2)).clamp(min=1e-6), torch.arange(GRID)
    centre = torch.stack([(cells.sum(2) * steps).sum(1), (cells.sum(1) * steps).sum(1)], dim=1) / total[:, None]
    corner = centre - (WINDOW - 1) / 2 + 1.6 * torch.rand(len(masks), 2) - 0.8
    corner = corner.round().long().clamp(0, GRID - WINDOW)
    inner = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
    return ((corner[:, None] + inner) * torch.tensor([GRID, 1])).sum(-1)


def run_windows(model: ACLForSoundLocalization, pixels: torch.Tensor, places: torch.Tensor) -> list[torch.Tensor]:
    """What enters each layer of the picture encoder and leaves the last, of the class token and some patches alone."""
    vision = model.grounder.clip.vision_model
    tokens = vision.embeddings(pixels)
    kept = tokens[:, 1:].gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))
    states = [vision.pre_layrnorm(torch.cat([tokens[:, :1], kept], dim=1))]
    for layer in vision.encoder.layers:
        states.append(layer(states[-1], attention_mask=None))
    return states


def fit(parameters, compute_loss: Callable[[], torch.Tensor], steps: int, rate: float) -> float:
    """AdamW, the rate rises for a tenth of the steps and falls along a cosine. Returns the loss of the last tenth."""
    parameters, losses = list(parameters), []
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = compute_loss()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-(len(losses) // 10 + 1) :]))


def draw_scenes(clips: Clips, processor: ACLProcessor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some scenes, each mirrored or not, all moved a little: pixels, masks (scenes, things, SIZE, SIZE), labels."""
    rows = torch.randint(len(clips["labels"]), (count,))
    pixels, masks = normalize(processor, clips["pictures"][rows]), clips["masks"][rows].float()
    joined, farthest = torch.cat([pixels, masks], dim=1), SIZE // 20
    joined = torch.where(torch.rand(count, 1, 1, 1) < 0.5, joined.flip(-1), joined)
    down, right = torch.randint(2 * farthest + 1, (2,)).tolist()
    joined = functional.pad(joined, (farthest,) * 4, mode="replicate")[..., down : down + SIZE, right : right + SIZE]
    return joined[:, :3], joined[:, 3:], clips["labels"][rows]


def draw_cover(masks: torch.Tensor) -> torch.Tensor:
    """Masks as rough as those of step 3, mostly of the first of two things: pixels are kept by chances.

    These are one for the first thing, which may be taken wider, one for the other, and one for the rest, perhaps with
    blocks too many.

    Args:
        masks: (pictures, 2, SIZE, SIZE).

    Returns:
        (pictures, 1, SIZE, SIZE), 0 and 1.
    """
    count, side = len(masks), 16

    def draw() -> torch.Tensor:
        return torch.rand(count, 1, 1, 1)

    thing, other = masks[:, :1], masks[:, 1:]
    rest = 0.7 * draw() * (draw() < 0.6)
    keep = 0.3 + 0.7 * draw()
    keep_other = torch.where(draw() < 0.5, rest, keep * draw())
    wider = functional.max_pool2d(thing, 9, 1, 4)
    thing = torch.where(draw() < 0.5, thing, wider)
    blocks = (torch.rand(count, 1, SIZE // side, SIZE // side) < 0.25 * draw()).float()
    blocks = blocks.repeat_interleave(side, 2).repeat_interleave(side, 3) * (draw() < 0.5)
    chances = torch.maximum(rest, keep * blocks)
    chances = torch.where(other > 0, keep_other, chances)
    chances = torch.where(thing > 0, keep, chances)
    return (torch.rand_like(chances) < chances).float()


def fit_audio_encoder(model: ACLForSoundLocalization, clips: dict[str, Clips]) -> str:
    """Step 2: know kinds by their sounds, with a classifier that is not kept."""
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
    with torch.no_grad():
        found = torch.cat([classify(part).argmax(1) for part in clips["test"]["sounds"].flatten(0, 1).split(50)])
    return f"accuracy on test sounds {float((found == clips['test']['labels'].flatten()).float().mean()):.3f}"


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
