"""How the golden cases of ACL-SSL are computed with this package: one function per kind."""

from collections.abc import Iterator

import numpy as np
import torch
from acl_evaluation_outputs import run_evaluation
from golden_case import GoldenCase

from avzoo.conversion import convert_checkpoint
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.convert_acl_ssl import read_clipseg_fields
from avzoo.metrics import draw_truth, to_pixel_boxes
from avzoo.models.acl_ssl import ACLConfig, ACLForSoundLocalization, ACLProcessor
from avzoo.models.acl_ssl.loss_acl_ssl import measure_areas, sample_mask
from avzoo.models.acl_ssl.modeling_acl_ssl import ACLAudioEmbedder, pick_pairs
from avzoo.models.beats import BEATsFeatureExtractor, BEATsForAudioClassification
from avzoo.models.beats.modeling_beats import spread_positions

Outputs = dict[str, torch.Tensor]

BOXES_A = [[0.1, 0.2, 0.5, 0.9], [0.4, 0.1, 1.2, 0.6]]  # of the case's first picture, which only its text states
TRUTH_SIZE = 224


def convert_model(case: GoldenCase, folder) -> Iterator[ACLForSoundLocalization]:
    """The case's three files as converted to one model, then as saved and loaded."""
    config = case.config
    prompt, masker = config.get("prompt", {}), config.get("masker_f", {})
    fields = {"grounder_config": config["clipseg"]}
    if prompt:
        fields["prompt_position"] = prompt["position"]
    if masker:
        fields |= {"feature_mask_threshold": masker["thr"], "feature_mask_temperature": masker["tau"]}
    model = convert_checkpoint(
        "acl_ssl",
        {
            "checkpoint": {
                "audio_proj": strip(case, "audio_proj."),
                "masker_i": strip(case, "masker_i."),
            },
            "beats": {"cfg": config["beats"], "model": strip(case, "audio_backbone.")},
            "clipseg": strip(case, "av_grounder."),
        },
        config=fields,
    )
    yield model
    model.save_pretrained(folder)
    yield ACLForSoundLocalization.from_pretrained(folder)


def strip(case: GoldenCase, prefix: str) -> dict[str, torch.Tensor]:
    """One file of the case, under its own keys."""
    return {key.removeprefix(prefix): value for key, value in case.checkpoint(prefix).items()}


def make_grounder(case: GoldenCase, folder) -> Iterator[ACLForSoundLocalization]:
    """A model with the case's CLIPSeg and mask; its audio side is random, and the case asks nothing of it."""
    weights = strip(case, "av_grounder.")
    read = read_clipseg_fields(Checkpoint(weights, "checkpoint"), weights)
    fields = {name: value for name, value in case.config.items() if name in ("beta", "p_thr", "n_thr", "masker_f")}
    names = {"beta": "contrast_scale", "p_thr": "positive_area", "n_thr": "negative_area"}
    settings = {names[name]: fields[name] for name in names if name in fields}
    if "masker_f" in fields:
        settings["feature_mask_threshold"] = fields["masker_f"]["thr"]
        settings["feature_mask_temperature"] = fields["masker_f"]["tau"]
    beats = {"hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 32}
    model = ACLForSoundLocalization(
        ACLConfig(audio_config=beats, grounder_config={**read, **case.config["clipseg"]}, **settings)
    ).eval()
    weights = {name: value for name, value in weights.items() if not name.endswith("position_ids")}
    model.grounder.load_state_dict(weights)
    masks = strip(case, "masker_i.")
    if masks:
        model.load_state_dict({"mask_scale": masks["w"], "mask_shift": masks["b"]}, strict=False)
    yield model
    model.save_pretrained(folder)
    yield ACLForSoundLocalization.from_pretrained(folder)


@torch.no_grad()
def run_model(case: GoldenCase, folder) -> Iterator[Outputs]:
    processor, size = ACLProcessor(), (case.config["resolution"],) * 2
    if "waveform" in case.inputs:
        waveforms, pixels = case.inputs["waveform"], case.inputs["pixel_values"]
    else:
        waveforms = case.inputs["waveform_i16"] / 32768
        pixels = processor.normalize_pixels(case.inputs["image_u8"].permute(0, 3, 1, 2) / 255)
    for model in convert_model(case, folder):
        features = processor.compute_features(waveforms)
        hidden_states = model.audio_encoder(features, output_hidden_states=True).hidden_states
        image, audio = model.get_image_features(pixels), model.get_audio_features(features)
        output = model(pixels, features)
        pairs = model.compute_logits(image, audio.last_hidden_state)
        results = {
            "fbank": features,
            "audio_last_hidden": hidden_states[-1],
            "audio_features": torch.cat([hidden_states[layer] for layer in model.config.audio_layers], dim=-1),
            "audio_token": output.audio_token,
            "audio_embeds": output.audio_embeds,
            "logits": output.logits[:, None],
            "logits_all_pairs": pairs,
            "logits_first_image_all_audios": model(pixels[:1], features).logits[:, None],
            "logits_all_images_first_audio": model(pixels, features[:1]).logits[:, None],
            "heatmap": model.make_heatmap(output.logits, size)[:, None],
            "heatmap_native": output.similarity_map[:, None],
            "pixel_features": image.last_hidden_state,
            "image_embeds": output.image_embeds,
            "masked_features": model.pool_features(image, pairs)[0],
            "confidence": output.confidence,
        }
        results["fbank_sub"] = features[:, ::25, ::4]
        results["audio_features_sub"] = results["audio_features"][:, ::31, ::16]
        results["logits_sub"] = results["logits"][..., ::8, ::8]
        results["heatmap_sub"] = results["heatmap"][..., ::8, ::8]
        results["pixel_features_sub"] = image.last_hidden_state[:, ::16]
        yield {name: results[name] for name in case.outputs}


@torch.no_grad()
def run_audio(case: GoldenCase, folder) -> Iterator[Outputs]:
    """BEATs and the embedder alone, without and with the authors' rules for padding."""
    waveforms, padding = case.inputs["waveform"], case.inputs["padding_mask"]
    weights, sizes = strip(case, "audio_proj."), case.config["audio_proj"]
    embedder = ACLAudioEmbedder(sizes["input_size"], sizes["output_size"], 0.5).eval()
    names = {
        "fga.un_models.0.embed": "unary_embed",
        "fga.un_models.0.feature_reduce": "unary_reduce",
        "fga.pp_models.0.embed_X": "pair_query",
        "fga.pp_models.0.embed_Y": "pair_key",
        "fga.reduce_potentials.0": "combine",
    }
    renamed = {}
    for key, value in weights.items():
        layer, _, leaf = key.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{leaf}"] = value.squeeze(-1) if value.ndim == 3 else value
    embedder.load_state_dict(renamed)
    content = {"cfg": case.config["beats"], "model": strip(case, "audio_backbone.")}
    model = convert_checkpoint("beats", content, config={"token_mask": "official"})
    model.save_pretrained(folder)
    extractor = BEATsFeatureExtractor(mask="official")
    lengths = (1 - padding.long()).sum(1)
    layers = (4, 8, 12)
    for current in (model, BEATsForAudioClassification.from_pretrained(folder)):
        beats = current.beats
        features = extractor.compute_features(waveforms)
        mask = extractor.make_mask(lengths, waveforms.shape[1])
        plain = beats(features, output_hidden_states=True)
        masked = beats(features, mask, output_hidden_states=True)
        joined = torch.cat([plain.hidden_states[layer] for layer in layers], dim=-1)
        tokens = case.outputs["position_bias"].shape[-1] if "position_bias" in case.outputs else 24
        biases = spread_positions(beats.relative_positions(tokens, features.device), tokens, 0, tokens)
        results = {
            "fbank": features,
            "patch_tokens": beats.embeddings.embed_patches(features),
            "position_bias": biases,
            **{f"layer_{layer}": plain.hidden_states[layer] for layer in layers},
            "last_hidden": plain.last_hidden_state,
            "audio_token": embedder(joined),
            "masked_last_hidden": masked.last_hidden_state,
            "masked_features": torch.cat([masked.hidden_states[layer] for layer in layers], dim=-1),
            "token_padding_mask": ~beats.make_token_mask(mask, plain.last_hidden_state.shape[1]),
            "class_probabilities": current(features).logits.sigmoid(),
        }
        if "token_padding_mask" in case.outputs:
            results["token_padding_mask"] = results["token_padding_mask"].to(case.outputs["token_padding_mask"].dtype)
        yield {name: results[name] for name in case.outputs}


@torch.no_grad()
def run_prompt(case: GoldenCase, folder) -> Iterator[Outputs]:
    tokens, texts = case.inputs["audio_token"], case.inputs["text_ids"].long()
    end = max(case.config["prompts"]["bare"]["ids"]) if "bare" in case.config["prompts"] else 49407
    lengths = (texts == end).int().argmax(1) + 1
    mask = (torch.arange(texts.shape[1]) < lengths[:, None]).long()
    for model in make_grounder(case, folder):
        results = {
            f"embeds_{name}": model.embed_token(tokens, prompt["ids"], prompt["position"])
            for name, prompt in case.config["prompts"].items()
        }
        text = model.get_text_features(texts, mask)
        image = model.get_image_features(case.inputs["pixel_values"])
        embeds = text.last_hidden_state
        results["text_embeds"] = embeds
        results["text_logits"] = model.compute_logits(image, embeds[: len(image.pooler_output)], paired=True)[:, 0]
        yield {name: results[name] for name in case.outputs}


def run_grounding_loss(case: GoldenCase, folder) -> Iterator[Outputs]:
    pixels = case.inputs["pixel_values"]
    uniform = case.inputs["uniform_pairs"], case.inputs["uniform_positive"]
    for model in make_grounder(case, folder):
        embeds = case.inputs["audio_embeds"].clone().requires_grad_()
        image = model.get_image_features(pixels)
        logits = model.compute_logits(image, embeds)
        features, feature_masks = model.pool_features(image, logits)
        scaled = model.mask_scale * logits + model.mask_shift
        pair_masks = sample_mask(scaled, uniform[0])
        image_masks = sample_mask(pick_pairs(scaled)[:, None], uniform[1])
        terms = model.compute_loss(pixels, logits, features, embeds, uniform=uniform)
        terms.loss.backward()
        positive, negative = measure_areas(pair_masks)
        results = {
            "mask_logits": logits,
            "pair_masks": pair_masks,
            "positive_mask": image_masks,
            "feature_mask": feature_masks,
            "v_f": features,
            "v_i": model.embed_images(pixels * image_masks),
            "p_area": positive,
            "n_area": negative,
            "loss_acl_i": terms.image,
            "loss_acl_f": terms.feature,
            "loss_area_reg": terms.area,
            "loss": terms.loss,
            "grad_audio_embeds": embeds.grad,
            "grad_w": model.mask_scale.grad,
            "grad_b": model.mask_shift.grad,
        }
        yield {name: results[name].detach() for name in case.outputs}


def run_preprocess(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, stride = case.config, case.config["audio_stride"]
    processor = ACLProcessor(image_size=config["input_resolution"], clip_seconds=config["seconds"])
    processor.save_pretrained(folder)
    for current in (processor, ACLProcessor.from_pretrained(folder)):
        results = {}
        for name in case.outputs:
            if name.endswith("_audio_strided"):
                clip = case.inputs[name.replace("_audio_strided", "_wav_i16")].numpy() / 32768
                results[name] = torch.from_numpy(current.prepare_audio(clip, config["sampling_rate"])[::stride].copy())
            elif name.startswith("pixel_values_"):
                picture = case.inputs[f"image_{name.removeprefix('pixel_values_')}_u8"].numpy()
                results[name] = current.prepare_image(picture)
            elif name == "gt_area_a":
                boxes = to_pixel_boxes(np.array(BOXES_A), "vggss", TRUTH_SIZE)
                results[name] = torch.tensor(float(draw_truth([boxes], TRUTH_SIZE).sum()))
        yield results


RUNNERS = {
    "evaluation": run_evaluation,
    "model": run_model,
    "audio": run_audio,
    "prompt": run_prompt,
    "grounding_loss": run_grounding_loss,
    "preprocess": run_preprocess,
}
