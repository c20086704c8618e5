"""How the golden cases of FlexiAST are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import torch
from golden_case import GoldenCase

from avzoo import FlexiASTFeatureExtractor, FlexiASTForAudioClassification
from avzoo.conversion import convert_checkpoint
from avzoo.metrics import accuracy, average_precision, d_prime, roc_auc
from avzoo.models.flexiast.augmentation import mix_waveforms
from avzoo.models.flexiast.resizing import (
    cut_or_stretch_position_embeddings,
    resize_patch_kernel,
    resize_position_embeddings,
)

Outputs = dict[str, torch.Tensor]


def pair(text: str) -> tuple[int, int]:
    """ "24" or "16x40" to (mel bins, frames)."""
    sides = [int(side) for side in text.split("x")]
    return (sides[0], sides[-1])


def reloaded(model: FlexiASTForAudioClassification, folder) -> FlexiASTForAudioClassification:
    model.save_pretrained(folder)
    return FlexiASTForAudioClassification.from_pretrained(folder)


def both(model, folder) -> Iterator[FlexiASTForAudioClassification]:
    """The model as converted, and once more after it was saved and loaded."""
    yield model
    yield reloaded(model, folder)


@torch.no_grad()
def outputs_of(model: FlexiASTForAudioClassification, case: GoldenCase, names, input_values) -> Outputs:
    """Outputs whose names end in a patch size, one forward per size."""
    results = {}
    for name in names:
        what, _, size = name.rpartition("_")
        outputs = model(input_values, pair(size), output_hidden_states=True)
        results[name] = {
            "logits": outputs.logits,
            "embeddings": outputs.hidden_states[0],
            "pooled": pooled(model, outputs),
        }[what.removeprefix("flexi_")]
    return results


def pooled(model, outputs) -> torch.Tensor:
    normed = model.flexiast.layernorm(outputs.hidden_states[-1])
    return normed[:, : model.config.num_prefix_tokens].mean(dim=1)


def run_model(case: GoldenCase, folder) -> Iterator[Outputs]:
    sizes = case.config
    resize = "bilinear" if sizes.get("resize", "PI").startswith("bilinear") else "pi"
    config = {
        "num_attention_heads": sizes["num_heads"],
        "num_mel_bins": sizes["input_size"][0],
        "position_grid": sizes["orig_posemb_size"],
        "resize_method": resize,
    }
    model = convert_checkpoint("flexiast", case.checkpoint(), config=config)
    assert model.config.patch_size == tuple(sizes["orig_patch_size"])
    for form in both(model, folder):
        yield outputs_of(form, case, case.outputs, case.inputs["x"])


def run_ast(case: GoldenCase, folder) -> Iterator[Outputs]:
    sizes = case.config
    config = {
        "num_attention_heads": sizes["num_heads"],
        "num_mel_bins": sizes["input_fdim"],
        "stride": (sizes["fstride"], sizes["tstride"]),
    }
    model = convert_checkpoint("flexiast", case.checkpoint(), config=config)
    assert model.config.position_grid == tuple(sizes["grid"])
    for form in both(model, folder):
        with torch.no_grad():
            outputs = form(case.inputs["x"], output_hidden_states=True)
            yield (
                {
                    "logits": outputs.logits,
                    "embeddings": outputs.hidden_states[0],
                    "pooled": pooled(form, outputs),
                }
                if "embeddings" in case.outputs
                else {"logits": outputs.logits}
            )


def run_init_from_ast(case: GoldenCase, folder) -> Iterator[Outputs]:
    teacher, student = case.config["teacher"], case.config["student"]
    config = {
        "num_attention_heads": case.config["num_heads"],
        "num_mel_bins": student["input_size"][0],
        "stride": teacher["stride"],
        "patch_size": student["patch_size"],
        "position_grid": student["position_grid"],
        "resize_method": {"PI": "pi"}.get(student["resize"], "bilinear"),
    }
    model = convert_checkpoint("flexiast", case.checkpoint(), variant="flexify", config=config)
    for form in both(model, folder):
        embeddings = form.flexiast.embeddings
        logits = [name for name in case.outputs if name.startswith("logits_")]
        yield {
            "patch_kernel": embeddings.patch_embeddings.weight,
            "patch_bias": embeddings.patch_embeddings.bias,
            "pos_embed": embeddings.position_embeddings,
            **outputs_of(form, case, logits, case.inputs["x"]),
        }


def run_hf_ast(case: GoldenCase, folder) -> Iterator[Outputs]:
    theirs, flexi = case.config["transformers_config"], case.config["flexiast"]
    config = {
        "num_attention_heads": theirs["num_attention_heads"],
        "num_mel_bins": theirs["num_mel_bins"],
        "stride": (theirs["frequency_stride"], theirs["time_stride"]),
        "layer_norm_eps": theirs["layer_norm_eps"],
        "classifier_layer_norm_eps": theirs["layer_norm_eps"],
    }
    official = {"layer_norm_eps": 1e-6, "classifier_layer_norm_eps": 1e-5}
    base = {"patch_size": flexi["orig_patch_size"], "position_grid": flexi["position_grid"]}
    weights = case.checkpoint()
    models = [
        convert_checkpoint("flexiast", weights, config=config),
        convert_checkpoint("flexiast", weights, config=config | official),
        convert_checkpoint("flexiast", weights, variant="flexify", config=config | official | base),
    ]
    flexi_names = [name for name in case.outputs if name.startswith("flexi_logits_")]
    for forms in (models, [reloaded(model, folder / str(index)) for index, model in enumerate(models)]):
        with torch.no_grad():
            yield {
                "logits_transformers": forms[0](case.inputs["x"]).logits,
                "logits_official": forms[1](case.inputs["x"]).logits,
                **outputs_of(forms[2], case, flexi_names, case.inputs["x_flexi"]),
            }


def run_train_step(case: GoldenCase, folder) -> Iterator[Outputs]:
    sizes = case.config
    config = {
        "num_attention_heads": sizes["num_heads"],
        "num_mel_bins": sizes["input_size"][0],
        "hidden_dropout_prob": sizes.get("dropout", 0),
    }
    results = {}
    for kind, labels, problem in (
        ("bce", "labels_multi", "multi_label_classification"),
        ("ce", "labels_single", "single_label_classification"),
    ):
        model = convert_checkpoint("flexiast", case.checkpoint(), config=config | {"problem_type": problem}).train()
        size = pair(sizes["patch_size_of_the_step"])
        loss = model(case.inputs["x"], size, labels=case.inputs[labels]).loss
        loss.backward()
        embeddings = model.flexiast.embeddings
        results[f"loss_{kind}"] = loss.reshape(1)
        results[f"grad_{kind}_patch_kernel"] = embeddings.patch_embeddings.weight.grad
        results[f"grad_{kind}_pos_embed"] = embeddings.position_embeddings.grad
        results[f"grad_{kind}_head_weight"] = model.classifier.dense.weight.grad
    yield results


def run_pi_resize(case: GoldenCase, folder) -> Iterator[Outputs]:
    results = {}
    for name in case.outputs:
        method, *options, source, _, target = name.split("_")
        arguments = {}
        if options and options != ["stable"]:  # e.g. bicubic, noaa; "stable" is what ours always is
            arguments = {"interpolation": options[0], "antialias": options[1] == "aa"}
        results[name] = resize_patch_kernel(case.inputs[f"kernel_{source}"], pair(target), method, **arguments)
    yield results


def run_pos_embed(case: GoldenCase, folder) -> Iterator[Outputs]:
    results = {}
    for name in case.outputs:
        _, prefix, *options, _, target = name.split("_")
        arguments = {"interpolation": options[0], "antialias": options[1] == "aa"} if options else {}
        results[name] = resize_position_embeddings(
            case.inputs[f"pos_{prefix}"],
            tuple(case.config["grid"]),
            pair(target),
            int(prefix.removeprefix("prefix")),
            **arguments,
        )
    yield results


def strided_grid(name: str, patch_size: int = 16) -> tuple[int, int]:
    """Grid that "..._f10_t10_128x1024" stands for: stride along mel, stride along time, mel bins x frames."""
    *_, along_mel, along_time, size = name.split("_")
    mel_bins, frames = pair(size)
    return (mel_bins - patch_size) // int(along_mel[1:]) + 1, (frames - patch_size) // int(along_time[1:]) + 1


def run_ast_position_from_audioset(case: GoldenCase, folder) -> Iterator[Outputs]:
    grid = tuple(case.config["grid"])
    yield {
        name: cut_or_stretch_position_embeddings(case.inputs["pos"], grid, strided_grid(name), num_prefix_tokens=2)
        for name in case.outputs
    }


def run_ast_position_from_imagenet(case: GoldenCase, folder) -> Iterator[Outputs]:
    results = {"kernel": case.inputs["rgb_kernel"].sum(dim=1, keepdim=True)}
    for name in case.outputs:
        if name != "kernel":
            positions = case.inputs["_".join(name.split("_")[:2])]
            side = int((positions.shape[1] - 2) ** 0.5)
            results[name] = cut_or_stretch_position_embeddings(positions, (side, side), strided_grid(name), 2)
    yield results


def run_fbank(case: GoldenCase, folder) -> Iterator[Outputs]:
    results = {}
    for name in case.outputs:
        what = "mixup" if name.startswith("mixup_") else "log_mel" if name.startswith("log_mel_") else "features"
        clip = name if what == "mixup" else name.removeprefix(f"{what}_")
        waveform = mixed_waveform(case, name) if what == "mixup" else case.inputs[f"wave_{clip}"]
        settings = case.config[clip]
        extractor = FlexiASTFeatureExtractor(
            max_length=settings["target_length"],
            mean=settings.get("mean", 0.0),
            std=settings.get("std", 1.0),
            do_normalize=what == "features",
        )
        row = {"array": waveform.numpy(), "sampling_rate": 16000}
        results[name] = extractor(row, return_tensors="pt").input_values[0]
    yield results


def mixed_waveform(case: GoldenCase, name: str) -> torch.Tensor:
    """ "mixup_<first>_<second>" of two input waveforms, whose names may hold underscores themselves."""
    words = name.split("_")[1:]
    pairs = [("_".join(words[:cut]), "_".join(words[cut:])) for cut in range(1, len(words))]
    first, second = next(both for both in pairs if all(f"wave_{clip}" in case.inputs for clip in both))
    return mix_waveforms(case.inputs[f"wave_{first}"], case.inputs[f"wave_{second}"], case.config[name]["lam"])


def run_metrics(case: GoldenCase, folder) -> Iterator[Outputs]:
    scores, targets = case.inputs["predictions"].numpy(), case.inputs["targets"].numpy()
    precision, auc = average_precision(scores, targets), roc_auc(scores, targets)
    results = {
        "average_precision": precision,
        "auc": auc,
        "mAP": [precision.mean()],
        "mAUC": [auc.mean()],
        "d_prime": [d_prime(auc.mean())],
        "accuracy": [accuracy(scores, targets)],
    }
    yield {name: torch.as_tensor(value, dtype=torch.float64) for name, value in results.items()}


RUNNERS = {
    "model": run_model,
    "ast": run_ast,
    "init_from_ast": run_init_from_ast,
    "init_from_overlapped_ast": run_init_from_ast,
    "hf_ast": run_hf_ast,
    "train_step": run_train_step,
    "pi_resize": run_pi_resize,
    "pos_embed": run_pos_embed,
    "ast_position_from_audioset": run_ast_position_from_audioset,
    "ast_position_from_imagenet": run_ast_position_from_imagenet,
    "fbank": run_fbank,
    "metrics": run_metrics,
}
