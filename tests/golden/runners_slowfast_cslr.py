"""How the golden cases of SlowFastSign are computed with this package: one function per kind."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from golden_case import Expected, GoldenCase, stored_keys
from golden_comparison import beyond

from avzoo.conversion import convert_checkpoint
from avzoo.conversion.convert_slowfast_cslr import list_blobs, make_keymap
from avzoo.data.csl_daily import csl_daily
from avzoo.data.gloss_vocabulary import assign_numbers, count_glosses, number_glosses
from avzoo.data.phoenix14 import phoenix14
from avzoo.data.phoenix14t import phoenix14t
from avzoo.data.sign_sentences import format_stm
from avzoo.metrics.sign_glosses import clean_glosses, word_error_rate
from avzoo.models.slowfast_cslr import SlowFastSignConfig, SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.models.slowfast_cslr.augmentation_slowfast_cslr import rescale_length
from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import decode_greedily, merge_adjacent, search_beams
from avzoo.models.slowfast_cslr.loss_slowfast_cslr import ctc_loss, distillation_loss
from avzoo.models.slowfast_cslr.processing_slowfast_cslr import find_crop

BRANCHES = {"main": "", "slow": "slow_", "fast": "fast_"}
BRANCHES_OF = ("Main", "Slow", "Fast")  # in the weights of losses
FUSIONS = {"FuseBiAdd": "bidirectional_add", "FuseBiAdd2": "bidirectional_mix", "FuseBiCat": "bidirectional_cat"}

# The authors' numbers of temporal convolutions.
CONV_TYPES = {
    0: ("K3",),
    1: ("K5", "P2"),
    2: ("K5", "P2", "K5", "P2"),
    3: ("K5", "K5", "P2"),
    4: ("K5", "K5"),
    5: ("K5", "P2", "K5"),
    6: ("P2", "K5", "K5"),
    7: ("P2", "K5", "P2", "K5"),
    8: ("P2", "P2", "K5", "K5"),
    9: ("K5", "K5", "P2"),
    10: ("K5", "K5"),
}

# The network.


def read_fields(case: GoldenCase) -> dict[str, object]:
    """What shapes do not tell. The window of the last average is the whole map, at any size."""
    config = case.config
    fields = {"alpha": config["alpha"]} if "alpha" in config else {}
    if "fusion" in config:
        fields["fusion"] = FUSIONS.get(config["fusion"], "fast_to_slow")
    if "conv_type" in config:
        fields["temporal_layers"] = CONV_TYPES[config["conv_type"]]
    return fields


def convert_model(case: GoldenCase, folder: Path, dtype: torch.dtype = torch.float32) -> Iterator[SlowFastSignForCTC]:
    """The case's network as converted, then as saved and loaded; clips see each other's padding, as the authors'."""
    content = {"epoch": 1, "model_state_dict": case.checkpoint()}
    model = convert_checkpoint("slowfast_cslr", content, config=read_fields(case) | {"isolate_clips": False})
    model.save_pretrained(folder)
    yield model.to(dtype)
    yield SlowFastSignForCTC.from_pretrained(folder).to(dtype)


def show_frames(case: GoldenCase) -> tuple[torch.Tensor, torch.Tensor]:
    """The case's padded frames, uint8 (clips, frames, 3, rows, columns), and the mask of their lengths."""
    frames, places = case.inputs["frames"], case.inputs["pad_index"].long()
    if "enlarge" in case.description["inputs"]["frames"]:  # stored small
        frames = frames.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return frames[places].permute(0, 1, 4, 2, 3), mask_lengths(case, places.shape[1])


def mask_lengths(case: GoldenCase, frames: int) -> torch.Tensor:
    return torch.arange(frames) < case.inputs["video_length"].round().long()[:, None]


def branch_logits(output) -> Expected:
    """Logits of every branch that was run, steps first."""
    return {
        f"{kind}_{branch}": output[f"{prefix}{name}"].transpose(0, 1)
        for branch, prefix in BRANCHES.items()
        for kind, name in (("sequence_logits", "logits"), ("conv_logits", "conv_logits"))
        if output[f"{prefix}{name}"] is not None
    }


def keep_asked(case: GoldenCase, results: Expected) -> Expected:
    """What the case holds: not all hold every output."""
    return {name: value for name, value in results.items() if name in case.outputs}


def spell(case: GoldenCase, output) -> Expected:
    """The numbers of the best sentences by either answer, -1 behind the end."""
    results: Expected = {"feat_len": output.lengths}
    for name, logits in (("recognized_ids", output.logits), ("conv_recognized_ids", output.conv_logits)):
        if name in case.outputs:
            stored = case.outputs[name]
            results[name] = torch.full(stored.shape, -1, dtype=stored.dtype)
            hypotheses = SlowFastSignProcessor().batch_decode(logits, output.lengths)
            for row, (best,) in zip(results[name], hypotheses, strict=True):
                row[: len(best.ids)] = torch.tensor(best.ids, dtype=stored.dtype)
    return results


@torch.no_grad()
def run_model(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    if "keys" in case.outputs:  # a list of keys: shapes tell whether they fit
        keys = stored_keys(case.folder)
        tensors = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in keys}
        convert_checkpoint("slowfast_cslr", tensors, config=read_fields(case))
        yield {"keys": {key: [list(value.shape), str(value.dtype)[6:]] for key, value in tensors.items()}}
        return
    pixels, mask = show_frames(case)
    for model in convert_model(case, folder):
        means: Expected = {}
        handles = watch_stages(model, means)
        output = model(pixels, mask, output_auxiliary=model.config.auxiliary_branches)
        for handle in handles:
            handle.remove()
        results = {**means, **branch_logits(output), "framewise": output.frame_features.transpose(1, 2)}
        yield keep_asked(case, results | spell(case, output))


def watch_stages(model: SlowFastSignForCTC, means: Expected) -> list:
    """Keep the means over places of what both pathways are after the stem, each fusion and the last stage."""

    def keep(name: str, value: torch.Tensor) -> None:
        means[f"pooled_{name}"] = value.mean((3, 4)).transpose(1, 2).clone()

    def keep_one(name: str):
        return lambda module, arguments, value: keep(name, value)

    def keep_both(name: str):
        def hook(module, arguments, values) -> None:
            for pathway, value in zip(("slow", "fast"), values, strict=True):
                keep(f"{name}_{pathway}", value)

        return hook

    pathways = model.slowfast.pathways
    stems = {"s1_slow": pathways.slow_stem, "s1_fast": pathways.fast_stem}
    pairs = {f"s{index}_fuse": fusion for index, fusion in enumerate(pathways.fusions, start=1)}
    pairs["s5"] = pathways.stages[-1]
    return [
        *(stem.register_forward_hook(keep_one(name)) for name, stem in stems.items()),
        *(part.register_forward_hook(keep_both(name)) for name, part in pairs.items()),
    ]


@torch.no_grad()
def run_head(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """The heads alone, behind pathways that would give so many channels and are not run."""
    config, features = case.config, case.inputs["framewise"].transpose(1, 2)
    fields = {
        "width": config["slow_channels"] // 32,
        "beta_inverse": config["slow_channels"] // config["fast_channels"],
        "depths": (1, 1, 1, 1),
        "hidden_size": config["hidden"],
        "vocab_size": config["num_classes"],
        "temporal_layers": CONV_TYPES[config.get("conv_type", 2)],
        "auxiliary_branches": any(key.startswith("temporal_model.0.") for key, *_ in stored_keys(case.folder)),
    }
    model = SlowFastSignForCTC(SlowFastSignConfig(**fields)).eval()
    shapes = {name: value.shape for name, value in model.state_dict().items() if not name.startswith("slowfast.")}
    keymap = make_keymap(model.config, has_branches=fields["auxiliary_branches"])
    model.load_state_dict(keymap.apply(case.checkpoint(), shapes), strict=False)
    model.save_pretrained(folder)
    for network in (model, SlowFastSignForCTC.from_pretrained(folder)):
        mask = mask_lengths(case, features.shape[1])
        inputs = {"frame_features": features, "attention_mask": mask}
        output = network(**inputs, output_auxiliary=network.config.auxiliary_branches)
        yield keep_asked(case, branch_logits(output) | spell(case, output))


def pad_labels(case: GoldenCase) -> torch.Tensor:
    parts = case.inputs["labels"].long().split(case.inputs["label_lengths"].tolist())
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-100)


def run_losses(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    weights, labels = case.config["weights"], pad_labels(case)
    lengths = case.inputs["feat_len"].round().long()
    results: Expected = {}
    logits: dict[str, torch.Tensor] = {}
    totals = {}
    for branch in BRANCHES:
        sequence, conv = (
            case.inputs[f"{kind}_logits_{branch}"].transpose(0, 1).clone().requires_grad_()
            for kind in ("sequence", "conv")
        )
        logits |= {f"sequence_logits_{branch}": sequence, f"conv_logits_{branch}": conv}
        terms = {
            f"ctc_sequence_{branch}": ctc_loss(sequence, lengths, labels),
            f"ctc_conv_{branch}": ctc_loss(conv, lengths, labels),
            f"distillation_{branch}": distillation_loss(conv, sequence, case.config["temperature"]),
        }
        pairs = zip(("SeqCTC", "ConvCTC", "Dist"), terms.values(), strict=True)
        totals[branch] = sum(weights[kind] * term.mean() for kind, term in pairs if kind in weights)
        results |= terms
    total = sum(
        share * totals[branch.lower()] for branch, share in {"Main": 1, **weights}.items() if branch in BRANCHES_OF
    )
    total.backward()
    results |= {"total": total, "total_without_pfe": totals["main"]}
    results |= {f"grad_{name.replace('_logits', '')}": value.grad.transpose(0, 1) for name, value in logits.items()}
    yield keep_asked(case, {name: value.detach() for name, value in results.items()})


def run_train_step(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """In float64, as the case; the weights of the losses are the config's."""
    pixels, mask = show_frames(case)
    pixels = (pixels.double() / 255 - 0.45) / 0.225
    weights = case.config["loss_weights"]
    for model in convert_model(case, folder, torch.float64):
        config = model.config
        config.sequence_loss_weight, config.conv_loss_weight = weights.get("SeqCTC", 0), weights.get("ConvCTC", 0)
        config.distillation_weight = weights.get("Dist", 0)
        config.slow_loss_weight, config.fast_loss_weight = weights.get("Slow", 0), weights.get("Fast", 0)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        output = model.train()(pixels, mask, labels=pad_labels(case))
        output.loss.backward()
        results = {"loss": output.loss.detach(), **branch_logits(output)}
        keymap, parameters = make_keymap(config), dict(model.named_parameters())
        for name, stored in case.outputs.items():
            kind, _, key = name.partition(".")
            if kind in ("grad", "after"):
                target = find_target(keymap, key)
                value = parameters[target].grad if kind == "grad" else model.get_buffer(target)
                results[name] = value.reshape(stored.shape)
        yield keep_asked(case, results)


def find_target(keymap, key: str) -> str:
    """The name here of a tensor of the authors'."""
    rule = keymap.find_rule(key)
    return rule.targets[0].format(**rule.match(key))


def run_pretrained(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """The case's blobs, drawn, in a pickle as Caffe2 writes it; told is what the converted network has of them."""
    draw = np.random.default_rng(case.description["seed"])
    blobs = {name: draw.standard_normal(shape).astype(np.float32) for name, shape, _ in stored_keys(case.folder)}
    junk = {"conv1_w_momentum": blobs["conv1_w"], "lr": np.zeros(1, np.float32), "pred_w": np.zeros((3, 4))}
    path = folder / "backbone.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs | junk}, protocol=2))
    config = {"alpha": case.config["alpha"], "vocab_size": 5, "auxiliary_branches": False}
    model = convert_checkpoint("slowfast_cslr", path, config=config)
    state, keymap = model.state_dict(), make_keymap(model.config)
    rows = [(blob, key) for blob, key, _ in list_blobs(model.config.depths)]
    mapping = [
        [blob, key, describe_fate(torch.from_numpy(blobs[blob]), state[find_target(keymap, key)])] for blob, key in rows
    ]
    theirs = {key for _, key in rows}
    new = ("weight_s", "weight_f", "conv_s2f.weight", *(f"bn2.{leaf}" for leaf in NORM_LEAVES))
    fusions = [f"conv2d.s{stage}_fuse.{leaf}" for stage in range(1, 5) for leaf in new]
    results = {
        "mapping": mapping,
        "not_in_pickle": [key for key in fusions if key not in theirs],
        "copied": torch.tensor(sum(fate == "copy" for *_, fate in mapping)),
    }
    yield keep_asked(case, results)


NORM_LEAVES = ("weight", "bias", "running_mean", "running_var")


def describe_fate(blob: torch.Tensor, value: torch.Tensor) -> str:
    """What became of a blob in a tensor of the network."""
    if blob.numel() == value.numel() and torch.equal(blob.flatten(), value.flatten()):
        return "copy"
    if blob.ndim == 1 and torch.equal(blob.repeat(len(value) // len(blob)), value):
        return f"repeat {len(value) // len(blob)} times"
    if blob.ndim == 5 and torch.equal(blob[:, : value.shape[1]].flatten(), value.flatten()):
        return f"keep the first {value.shape[1]} input channels"
    return "ignored (shape differs in the output channels)"


# Frames.


def run_preprocess(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    config, inputs = case.config, case.inputs
    german, chinese = (
        SlowFastSignProcessor(crop_size=256, resize_size=256, top_rows=rows).prepare_frames(inputs[name].numpy()[None])
        for name, rows in (("phoenix_frame", 0), ("csl_frame", 40))
    )
    both = np.concatenate([german, chinese])
    top, left, height, width = find_crop(*both.shape[1:3], config["input_size"])
    cut = torch.from_numpy(both[:, top : top + height, left : left + width]).permute(0, 3, 1, 2)
    lengths = inputs["clip_lengths"].tolist()
    order = sorted(range(len(lengths)), key=lambda clip: -lengths[clip])
    clips = [100 * (clip + 1) + np.arange(lengths[clip], dtype=np.float32)[:, None, None, None] for clip in order]
    padded = SlowFastSignProcessor(alpha=1, **find_edges(CONV_TYPES[config.get("conv_type", 2)])).pad(clips)
    mask = padded.get("attention_mask", torch.ones(padded["pixel_values"].shape[:2], dtype=torch.long))
    draws = zip(inputs["rescale_length"].tolist(), inputs["rescale_u"].tolist(), strict=True)
    results = {
        "phoenix_resized": torch.from_numpy(german[0].copy()),
        "csl_resized": torch.from_numpy(chinese[0].copy()),
        "pixel_values_sub": ((cut.float() / 255 - config["mean"]) / config["std"])[..., ::6, ::6],
        "padded": padded["pixel_values"].flatten(1),
        "padded_lengths": mask.sum(1),
        "order": torch.tensor(order),
        "rescale_new_length": torch.tensor([rescale_length(length, draw) for length, draw in draws]),
    }
    if "crop_table" in case.outputs:  # of what sizes, the table itself tells; see `compare_crops`
        results["crop_table"] = torch.zeros(case.outputs["crop_table"].shape, dtype=torch.long)
    yield keep_asked(case, results)


def find_edges(layers: tuple[str, ...]) -> dict[str, int]:
    """How the authors pad for some temporal layers; where convolutions differ in size they are too few."""
    edge, last, total = 0, 1, 1
    for kind, size in ((layer[0], int(layer[1:])) for layer in layers):
        if kind == "K":
            edge = edge * last + (size - 1) // 2
        else:
            last, total = size, total * size
    return {"edge_frames": edge, "step_frames": total}


def compare_crops(_, expected: torch.Tensor, tolerance: float) -> str:
    """A rule: each row tells a height, a width and a size, then the cut."""
    wrong = [row for row in expected.tolist() if min(row) < 0 or list(find_crop(*row[:3])) != row[3:]]
    return f"another cut: {wrong[0]}" if wrong else ""


# Decoding.


def run_decode(case: GoldenCase, folder) -> Iterator[Expected]:
    settings = case.config
    assert settings["cutoff_prob"] == 1.0  # which leaves nothing out
    options = {"num_beams": settings["beam_width"], "top_classes": settings["cutoff_top_n"], "blank": settings["blank"]}
    results = {name: torch.full(value.shape, -1, dtype=value.dtype) for name, value in case.outputs.items()}
    for row, length in enumerate(case.inputs["lengths"].tolist()):
        logits = case.inputs["logits"][:length, row]
        beams = search_beams(logits, **options)
        answers = {
            "beam_ids": merge_adjacent(beams[0]).ids,
            "greedy_ids": merge_adjacent(decode_greedily(logits, blank=settings["blank"])).ids,
        }
        for name, ids in answers.items():
            results[name][row, : len(ids)] = torch.tensor(ids)
        results["nbest_scores"][row] = torch.tensor([-beam.score for beam in beams])
        results["nbest_lengths"][row] = torch.tensor([len(beam.ids) for beam in beams])
        for place, beam in enumerate(beams):
            results["nbest_ids"][row, place, : len(beam.ids)] = torch.tensor(beam.ids)
            results["nbest_timesteps"][row, place, : len(beam.ids)] = torch.tensor(beam.steps)
    yield results


# Evaluation and data.


def run_word_error_rate(case: GoldenCase, folder) -> Iterator[Expected]:
    config, text = case.config, case.description["text"]
    references, hypotheses = dict(text["references"]), dict(text["hypotheses"])
    costs = tuple(config[f"cost_{step}"] for step in ("substitution", "deletion", "insertion"))
    result = word_error_rate(references, hypotheses, "phoenix", costs=costs)
    unit_costs = word_error_rate(references, hypotheses, "phoenix", costs=(1, 1, 1))
    yield {
        "counts": torch.from_numpy(result.counts),
        "wer": torch.tensor(result.value, dtype=torch.float64),
        "text.cleaned": {name: clean_glosses(hypotheses.get(name, [])) for name in references},
        "text.alignments": [[list(pair.reference), list(pair.hypothesis)] for pair in result.alignments],
        "text.unit_cost_errors": unit_costs.totals["errors"],
    }


def run_annotations(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """The lines of the case in files that the readers take, each clip with one frame, which they don't open."""
    text = case.description["text"]
    results = {}
    for name, (reader, table, suffix, prefix) in DATA_SETS.items():
        root, lines = folder / name, text[name]
        write_lines(root / table, [text["headers"][name], *lines])
        if name == "CSL-Daily":
            write_lines(root / "split_1.txt", ["name|split", *(f"{line.split('|')[1]}|dev" for line in lines)])
        for line in lines:
            fields = line.split("|")
            place = {"phoenix2014": fields[1].rpartition("/")[0], "CSL-Daily": fields[1]}.get(name, fields[0])
            write_lines(root / prefix / place / f"1{suffix}", [])
        rows = reader(root, "dev")
        numbers = assign_numbers(list(count_glosses(rows)))
        incomplete = {gloss: number for gloss, number in numbers.items() if number != 3}
        frames = (root / prefix).parent if prefix.endswith("dev") else root / prefix
        results[f"expected.{name}"] = {
            "samples": [
                {
                    "fileid": row["id"],
                    "folder": f"{Path(os.path.relpath(row['path'], frames)).as_posix()}/*{suffix}",
                    "signer": row["signer"],
                    "label": row["text"],
                }
                for row in rows
            ],
            "vocabulary": [[gloss, numbers[gloss], count] for gloss, count in count_glosses(rows).items()],
            "label_ids": [number_glosses(row["glosses"], numbers) for row in rows],
            "label_ids_without_number_3": [number_glosses(row["glosses"], incomplete, unknown="drop") for row in rows],
            "stm": format_stm(rows),
        }
    sizes = [len(results[f"expected.{name}"]["vocabulary"]) for name in DATA_SETS]
    yield {"vocabulary_sizes": torch.tensor(sizes), **results}


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# Reader, table, frames' type and folder of the clips, by the name of the case.
DATA_SETS = {
    "phoenix2014": (phoenix14, "annotations/manual/dev.corpus.csv", ".png", "features/fullFrame-256x256px/dev"),
    "phoenix2014-T": (
        phoenix14t,
        "annotations/manual/PHOENIX-2014-T.dev.corpus.csv",
        ".png",
        "features/fullFrame-256x256px/dev",
    ),
    "CSL-Daily": (csl_daily, "video_map.txt", ".jpg", "sentence/frames_256x256"),
}

RUNNERS = {
    "model": run_model,
    "head": run_head,
    "losses": run_losses,
    "train_step": run_train_step,
    "pretrained_pkl": run_pretrained,
    "preprocess": run_preprocess,
    "decode": run_decode,
    "annotations": run_annotations,
    "wer": run_word_error_rate,
}
RULES = {"preprocess": {"crop_table": compare_crops, "*_resized": beyond(1)}}
