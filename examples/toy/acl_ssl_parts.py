"""Scenes and stand-ins of the toy claim of ACL-SSL (`acl_ssl.py`): a small CLIPSeg and a small BEATs, trained here."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from toy.ssl_alignment import CATEGORIES, SIZE, make_world
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from avzoo import ACLConfig, ACLForSoundLocalization, ACLProcessor

# Scenes of the stand-ins ("pairs", "singles") and of ACL, by what they are for.
NUM_SCENES = {"pairs": 2400, "singles": 1600, "acl": 1200, "validation": 100, "test": 200}
NUM_NOISE = 50
SCENES_IN_A_FILE = 200
WINDOW_STEPS, TEXT_STEPS, AUDIO_STEPS = 1500, 300, 800
PAINT_STEPS, LAST_STEPS = (1200, 1200), (700, 300)  # of each round
WINDOW_BATCH, PAINT_BATCH, AUDIO_BATCH = 64, 8, 16
TEXT_RATE, WINDOW_RATE, PAINT_RATE, AUDIO_RATE = 2e-3, 2e-3, 1.5e-3, 4e-3
POSITIVE_AREA = 0.12
WORD_DEVIATION = 0.3  # texts differ in one word; at first their vectors are nearly one
UNDECIDED = 0.2  # what is painted everywhere for a word that names nothing in the picture
WORD_LENGTHS = (1.5, 9.0)  # of such words; those of kinds have about 2.4, sounds before training 5
LABEL_SMOOTHING = 0.05
SCALE = 1 / 0.07
ALIGNMENT = 4.0  # weight of the distance from texts beside cross entropy
PATCH, WINDOW = 8, 6  # pixels; patches
GRID = SIZE // PATCH
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
    """Step 1: kinds from windows around things, which is cheap; painting; and what to do with other words."""
    model.grounder.requires_grad_(True)
    begin_grounder(model, processor)
    said = learn_kinds(model, processor, clips)
    torch.manual_seed(len(PAINT_STEPS))
    return f"{said}, {learn_other_words(model, processor, clips)}"


def learn_kinds(model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips]) -> str:
    """Learn to know and paint kinds that a picture shows, together with their texts."""
    grounder = model.grounder
    said = []

    def look_at_windows() -> torch.Tensor:
        vectors = encode_texts(model, processor)
        pixels, masks, labels = draw_scenes(clips["pairs"], processor, WINDOW_BATCH // 2)
        rows, thing = torch.arange(len(labels)), torch.randint(2, (len(labels),))
        single_pixels, single_masks, single_labels = draw_scenes(clips["singles"], processor, WINDOW_BATCH // 2)
        own = torch.cat([masks[rows, thing], single_masks[:, 0]])
        truth = torch.cat([labels[rows, thing], single_labels[:, 0]])
        places = draw_windows(own)
        *_, entering, last = run_windows(model, torch.cat([pixels, single_pixels]), places)
        clip = grounder.clip
        looks = name(clip.visual_projection(clip.vision_model.post_layernorm(last[:, 0])), vectors, truth)
        dense = model.compute_dense_features(entering, (WINDOW, WINDOW)).flatten(2).mT  # (windows, places, size)
        inside = functional.avg_pool2d(own[:, None], PATCH).flatten(1).gather(1, places) > 0.4
        return looks + name(dense[inside], vectors, truth[:, None].expand_as(inside)[inside])

    said.append(f"loss in windows {fit(grounder.parameters(), look_at_windows, WINDOW_STEPS, WINDOW_RATE):.2f}")

    def paint() -> torch.Tensor:
        vectors = encode_texts(model, processor)
        pixels, masks, labels = draw_scenes(clips["pairs"], processor, PAINT_BATCH)
        single_pixels, _, single_labels = draw_scenes(clips["singles"], processor, PAINT_BATCH // 2)
        image = model.get_image_features(torch.cat([pixels, single_pixels]))
        pairs = type(image)(
            last_hidden_state=image.last_hidden_state[:PAINT_BATCH],
            hidden_states=tuple(states[:PAINT_BATCH] for states in image.hidden_states),
        )
        logits = torch.cat([model.compute_logits(pairs, vectors[labels[:, thing]], paired=True) for thing in (0, 1)], 1)
        targets = masks * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
        painted = functional.binary_cross_entropy_with_logits(logits, targets)
        rows, thing = torch.arange(PAINT_BATCH), torch.randint(2, (PAINT_BATCH,))
        behind = model.embed_images(pixels * draw_blocks(masks[rows, thing])[:, None])
        cells = functional.avg_pool2d(masks, PATCH)
        pooled = torch.einsum("nchw,nthw->ntc", pairs.last_hidden_state, cells).flatten(0, 1)
        looks = name(image.pooler_output[PAINT_BATCH:], vectors, single_labels[:, 0])
        looks = looks + name(behind, vectors, labels[rows, thing]) + name(pooled, vectors, labels.flatten())
        return 4 * painted + looks / 2

    for turn, steps in enumerate(PAINT_STEPS):  # the rate rises again: a round more can be added to a trained network
        if turn:
            torch.manual_seed(turn)
        said.append(f"loss on pictures {fit(grounder.parameters(), paint, steps, PAINT_RATE):.2f}")
    return ", ".join(said)


def learn_other_words(model: ACLForSoundLocalization, processor: ACLProcessor, clips: dict[str, Clips]) -> str:
    """Learn texts anew, at right angles, and to be undecided where a text names nothing that is seen."""
    grounder = model.grounder
    fit_texts(model, processor)
    with torch.no_grad():
        vectors = encode_texts(model, processor)

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
        looks = name_shares(project(model, states[-1][:, 0]), vectors, mixed.scatter(1, labels, 0.5))
        behind = model.embed_images(pixels * covers)
        looks = looks + name_shares(behind, vectors, mixed.scatter(1, labels, left / left.sum(1, keepdim=True)))
        dense, cells = embed_patches(model, states[-2]), functional.avg_pool2d(masks, PATCH).flatten(2).mT
        looks = looks + 2 * name_shares(dense.flatten(0, 1), vectors, spread(cells, labels).flatten(0, 1))
        pooled = torch.einsum("npc,npt->ntc", dense, cells)
        own = functional.one_hot(labels.flatten(), len(CATEGORIES)).float()
        looks = looks + name_shares(pooled.flatten(0, 1), vectors, own)
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
    said = []
    for turn, steps in enumerate(LAST_STEPS):
        if turn:
            torch.manual_seed(len(PAINT_STEPS) + turn)
        said.append(f"loss with other words {fit(weights, paint, steps, PAINT_RATE):.2f}")
    return ", ".join(said)


@torch.no_grad()
def begin_grounder(model: ACLForSoundLocalization, processor: ACLProcessor) -> None:
    """First weights with which so small a network learns in minutes."""
    grounder = model.grounder
    decoder, vision = grounder.decoder, grounder.clip.vision_model.embeddings
    for part in (decoder.film_mul, decoder.film_add, decoder.reduces, decoder.transposed_convolution):
        for layer in part.modules():  # transformers draws them with a deviation of 1
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    vision.position_embedding.weight[1:] = 0.7 * encode_places(vision.embed_dim)
    vision.patch_embedding.weight.copy_(make_patch_filters(vision.embed_dim))
    # Texts differ in one word; at first their vectors are nearly one.
    grounder.clip.text_model.embeddings.token_embedding.weight.normal_(0, WORD_DEVIATION)

    def separate() -> torch.Tensor:
        vectors = functional.normalize(encode_texts(model, processor), dim=-1)
        return (vectors @ vectors.T - torch.eye(len(vectors))).square().mean()

    with torch.enable_grad():
        text = [*grounder.clip.text_model.parameters(), grounder.clip.text_projection.weight]
        fit(text, separate, 150, 1e-3)


def fit_texts(model: ACLForSoundLocalization, processor: ACLProcessor) -> None:
    """Fit a new text encoder, and freeze it: vectors of kinds are at right angles, to each other and to other words."""
    clip, new = model.grounder.clip, make_model(processor).grounder.clip
    clip.text_model.load_state_dict(new.text_model.state_dict())
    clip.text_projection.load_state_dict(new.text_projection.state_dict())
    nn.init.normal_(clip.text_model.embeddings.token_embedding.weight, 0, WORD_DEVIATION)
    weights = [*clip.text_model.parameters(), clip.text_projection.weight]

    def separate() -> torch.Tensor:
        kinds = functional.normalize(encode_texts(model, processor), dim=-1)
        others = functional.normalize(draw_words(model, 4 * len(kinds)), dim=-1)
        return (kinds @ kinds.T - torch.eye(len(kinds))).square().mean() + (others @ kinds.T).square().mean()

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


def name_shares(embeds: torch.Tensor, vectors: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """How far vectors of pictures are from the texts of what they show, and how little from others.

    Cross entropy alone leaves most of a vector to what no text says, which sounds would then be fitted to.

    Args:
        embeds: (pictures, projection_dim).
        vectors: of the kinds, (kinds, projection_dim).
        shares: of the kinds in each picture, (pictures, kinds), of sum 1.
    """
    distances = 1 - functional.cosine_similarity(embeds, shares @ functional.normalize(vectors, dim=-1))
    return name(embeds, vectors, shares) + ALIGNMENT * distances.mean()


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


def draw_blocks(masks: torch.Tensor) -> torch.Tensor:
    """Masks (n, SIZE, SIZE) as rough as those of step 3: perhaps wider, with blocks too many, with pixels missing."""
    count, side = len(masks), 16
    wider = functional.max_pool2d(masks[:, None], 9, 1, 4)[:, 0]
    covers = torch.where(torch.rand(count, 1, 1) < 0.5, masks, wider)
    blocks = (torch.rand(count, SIZE // side, SIZE // side) < 0.25 * torch.rand(count, 1, 1)).float()
    covers = torch.maximum(covers, blocks.repeat_interleave(side, 1).repeat_interleave(side, 2))
    return covers * (torch.rand(count, SIZE, SIZE) > 0.2 * torch.rand(count, 1, 1)).float()


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
