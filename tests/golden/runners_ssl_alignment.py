"""How the golden cases of cross-modal alignment are computed with this package: one function per kind."""

from collections.abc import Iterator

import torch
from golden_case import Expected, GoldenCase
from localization_outputs import localization_outputs

from avzoo.conversion import convert_checkpoint
from avzoo.conversion.convert_ssl_alignment import ALIGNMENT_KEYMAP, OBJECTNESS_KEYMAP
from avzoo.models.ssl_alignment import (
    AlignmentView,
    SSLAlignmentConfig,
    SSLAlignmentForSoundLocalization,
    SSLAlignmentProcessor,
    alignment_loss,
)
from avzoo.models.ssl_alignment.loss_ssl_alignment import (
    average_map,
    compare_all,
    lvs_logits,
    soft_threshold,
)
from avzoo.models.ssl_alignment.training_ssl_alignment import AlignmentTraining

Outputs = dict[str, torch.Tensor]

# Fields of the config that shapes do not tell, by the name of the authors' argument.
UNTOLD = {
    "epsilon": "mask_threshold",
    "epsilon2": "negative_threshold",
    "mask_tau": "mask_temperature",
    "temperature": "temperature",
}
VIEWS = ("org", "aug", "sim")


def read_fields(case: GoldenCase) -> dict[str, float | tuple[int, ...]]:
    fields: dict = {ours: case.config[theirs] for theirs, ours in UNTOLD.items() if theirs in case.config}
    if "last_stage_stride" in case.config:
        strides = (1, 2, 2, case.config["last_stage_stride"])
        fields |= {"image_strides": strides, "audio_strides": strides}
    return fields


def convert_model(case: GoldenCase, folder) -> Iterator[SSLAlignmentForSoundLocalization]:
    """The case's network as converted, then as saved and loaded."""
    content = {"epoch": 1, "model_state_dict": case.checkpoint()}
    model = convert_checkpoint("ssl_alignment", content, config=read_fields(case))
    yield model
    model.save_pretrained(folder)
    yield SSLAlignmentForSoundLocalization.from_pretrained(folder)


@torch.no_grad()
def run_model(case: GoldenCase, folder) -> Iterator[Outputs]:
    pixels, sounds = case.inputs["pixel_values"].float(), case.inputs["spectrogram"].float()
    for model in convert_model(case, folder):
        config = model.config
        output = model(pixels, sounds, return_all_pairs=True)
        own = output.similarity_map[:, None]
        thresholds = {
            "mask_threshold": config.mask_threshold,
            "negative_threshold": config.negative_threshold,
            "mask_temperature": config.mask_temperature,
        }
        results = {
            "heatmap": own,
            "loc_logits": output.localization_logits,
            "pos_mask": soft_threshold(own, config.mask_threshold, config.mask_temperature),
            "neg_mask": 1 - soft_threshold(own, config.negative_threshold, config.mask_temperature),
            "max_sim": output.all_pairs_map.amax((2, 3)),
            "image_map": output.image_map,
            "audio_embeds": output.audio_vector,
            "image_proj_embeds": output.image_embeds,
            "audio_proj_embeds": output.audio_embeds,
            "align_logits": output.alignment_logits,
            "lvs_logits": lvs_logits(output.all_pairs_map, temperature=config.temperature, **thresholds),
        }
        if "image_map" in case.outputs:  # a case may hold every n-th channel
            step = output.image_map.shape[1] // case.outputs["image_map"].shape[1]
            results["image_map"] = output.image_map[:, ::step]
        yield {name: results[name] for name in case.outputs}


def run_loss(case: GoldenCase, folder) -> Iterator[Outputs]:
    inputs, config = case.inputs, case.config
    views = [
        AlignmentView(*(inputs[f"{kind}_{view}"] for kind in ("image_map", "audio", "image_proj", "audio_proj")))
        for view in VIEWS
    ]
    org, aug, sim = views
    settings = {
        "temperature": config["temperature"],
        "mask_threshold": config["epsilon"],
        "mask_temperature": config["mask_tau"],
    }
    intra_modal = [(0, 2), (0, 1)]
    whole = alignment_loss(views, **settings)
    with_intra = alignment_loss(views, intra_modal=intra_modal, **settings)
    paper = alignment_loss(views, **{**settings, "mask_threshold": None})
    pairs = [(image, sound) for image in views for sound in views]
    localization = [
        average_map(compare_all(image.image_map, sound.audio_vector), config["epsilon"], config["mask_tau"])
        for image, sound in pairs
    ]
    within = [
        embeds(views[first]) @ embeds(views[second]).T
        for first, second in intra_modal
        for embeds in (lambda view: view.image_embeds, lambda view: view.audio_embeds)
    ]
    results = {
        "loc_logits": torch.stack(localization) / config["temperature"],
        "align_logits": torch.stack([image.image_embeds @ sound.audio_embeds.T for image, sound in pairs])
        / config["temperature"],
        "intra_logits": torch.stack(within) / config["temperature"],
        "loc_terms": whole.localization,
        "align_terms": whole.alignment,
        "intra_terms": with_intra.intra_modal,
        "total": whole.loss,
        "total_no_projection": alignment_loss(views, use_alignment=False, **settings).loss,
        "total_single_pair": alignment_loss([org], **settings).loss,
        "total_no_similar": alignment_loss([org, aug], **settings).loss,
        "total_no_augmented": alignment_loss([org, sim], **settings).loss,
        "total_with_both_intra": with_intra.loss,
        "paper_loc_terms": paper.localization,
        "paper_total": paper.loss,
    }
    yield {name: results[name] for name in case.outputs}


def run_train_step(case: GoldenCase, folder) -> Iterator[Outputs]:
    """One backward pass of the nine pairs, each view by itself through the networks."""
    for model in list(convert_model(case, folder)):  # saved before it is trained
        network = AlignmentTraining(model).train()
        views = []
        for view in VIEWS:
            pixels, sounds = case.inputs[f"pixel_values_{view}"], case.inputs[f"spectrogram_{view}"]
            views.append(network.encode(pixels.float(), sounds.float()))
        terms = network.compare(views)
        terms.loss.backward()
        state, parameters = model.state_dict(), dict(model.named_parameters())
        results = {"total": terms.loss, "terms": torch.cat([terms.localization, terms.alignment])}
        for name in case.outputs:
            kind, _, key = name.partition(".")
            if kind in ("grad", "after"):
                ours = find_target(key)
                results[name] = parameters[ours].grad if kind == "grad" else state[ours]
        yield {name: results[name].detach() for name in case.outputs}


def find_target(key: str) -> str:
    """The name of an authors' tensor in our model."""
    rule = ALIGNMENT_KEYMAP.find_rule(key)
    return rule.targets[0].format(**rule.match(key))


@torch.no_grad()
def run_objectness(case: GoldenCase, folder) -> Iterator[Outputs]:
    fields = {name: tuple(case.config[name]) for name in ("hidden_sizes", "depths")}
    strides = (1, 2, 2, case.config["last_stage_stride"])
    model = SSLAlignmentForSoundLocalization(
        SSLAlignmentConfig(use_objectness=True, objectness_strides=strides, **fields)
    )
    trunk = {f"objectness_trunk.{name}": value for name, value in model.objectness_trunk.state_dict().items()}
    weights = OBJECTNESS_KEYMAP.apply(case.checkpoint(), {name: value.shape for name, value in trunk.items()})
    model.load_state_dict(weights, strict=False)
    model.eval().save_pretrained(folder)
    for network in (model, SSLAlignmentForSoundLocalization.from_pretrained(folder)):
        yield {"objectness": network.get_objectness(case.inputs["pixel_values"].float())[:, None]}


def run_preprocess(case: GoldenCase, folder) -> Iterator[Outputs]:
    config = case.config
    processor = SSLAlignmentProcessor(
        image_size=config["image_size"],
        image_mean=config["mean"],
        image_std=config["std_rgb"],
        sampling_rate=config["sample_rate"],
        fft_size=config["nperseg"],
        hop_size=config["nperseg"] - config["noverlap"],
        log_floor=config["log_floor"],
        log_std=config["std"],
    )
    processor.save_pretrained(folder)
    resizes = {"": "bicubic", "_antialias": "bicubic_antialias", "_pil_crop": "pil_short_side"}
    for current in (processor, SSLAlignmentProcessor.from_pretrained(folder)):
        computed = {}
        for clip in {name.split(".")[0] for name in case.inputs}:
            waveform = case.inputs[f"{clip}.waveform"].numpy().T / 32768
            features = current(audio=waveform, sampling_rate=config["sample_rate"]).input_features[0]
            computed[f"{clip}.spectrogram"] = features
            computed[f"{clip}.spectrogram_every4"] = features[..., ::4]
            for ending, current.image_resize in resizes.items():
                pixels = current(images=case.inputs[f"{clip}.image"].numpy()).pixel_values[0]
                name = f"{clip}.pixel_values{ending}"
                computed[name], computed[f"{name}_every4"] = pixels, pixels[:, ::4, ::4]
                numbers = (pixels.mean(), pixels.std(unbiased=False), pixels.min(), pixels.max())
                computed[f"statistics.{name} mean/std/min/max"] = [round(float(number), 5) for number in numbers]
        yield {name: computed[name] for name in case.outputs}


def run_metrics(case: GoldenCase, folder) -> Iterator[Expected]:
    yield localization_outputs(case)


RUNNERS = {
    "model": run_model,
    "loss": run_loss,
    "train_step": run_train_step,
    "objectness": run_objectness,
    "preprocess": run_preprocess,
    "metrics": run_metrics,
}
