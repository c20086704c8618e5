"""How the golden cases of MTDVocaLiST are computed with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator

import torch
from golden_case import GoldenCase
from golden_comparison import difference_after
from synchronization_outputs import possible_scores_only, synchronization_outputs

from avzoo import VocaLiSTProcessor
from avzoo.audio import wav2lip_log_mel
from avzoo.audio.mel_banks import slaney_bank
from avzoo.conversion import convert_checkpoint
from avzoo.models.mtdvocalist import CrossModalTrace, MTDLoss
from avzoo.models.mtdvocalist.loss_mtd import ENCODERS, logit_divergence, value_relations
from avzoo.video import MouthHalf

Outputs = dict[str, torch.Tensor]

FRAMES_PER_SECOND = 25


def run_mel(case: GoldenCase, folder) -> Iterator[Outputs]:
    settings = case.config
    rate, hop = settings["sampling_rate"], settings["hop_length"]
    # What the function has no argument for.
    fixed = {"center": True, "pad_mode": "reflect", "power": 1, "mel_scale": "slaney", "mel_norm": "slaney"}
    assert {name: settings[name] for name in fixed} == fixed
    bank = (settings["num_mel_bins"], settings["n_fft"], rate, settings["fmin"], settings["fmax"])

    def log_mel(waveforms: torch.Tensor) -> torch.Tensor:
        features = wav2lip_log_mel(
            waveforms,
            sampling_rate=rate,
            num_mel_bins=settings["num_mel_bins"],
            fft_size=settings["n_fft"],
            window_size=settings["win_length"],
            hop_size=hop,
            low_frequency=settings["fmin"],
            high_frequency=settings["fmax"],
            preemphasis=settings["preemphasis"] or 0.0,
            magnitude_floor=settings["min_level"],
            reference_db=settings["ref_level_db"],
            range_db=settings["top_db"],
            limit=settings["max_abs_value"],
        )
        return features.mT

    results = {"filterbank": torch.from_numpy(slaney_bank(*bank)).mT}
    for name, waveform in case.inputs.items():
        if name.startswith("wave."):
            results[f"mel.{name.removeprefix('wave.')}"] = log_mel(waveform)
    columns = case.outputs["train_chunks"].shape[-1]
    starts = case.inputs["chunk_start_frames"] * rate // FRAMES_PER_SECOND
    chunks = torch.stack([case.inputs["wave.0"][start : start + columns * hop] for start in starts.tolist()])
    results["train_chunks"] = log_mel(chunks)[:, None, :, :columns]
    yield results


def run_mouth(case: GoldenCase, folder) -> Iterator[Outputs]:
    height, width = case.config["image_size"]
    assert height == width
    conventions = {
        "student": MouthHalf(size=height),
        "student_antialias": MouthHalf(size=height, resize="torch-antialias"),
        "teacher": MouthHalf(size=height, resize="opencv"),
    }
    results = {}
    for name in case.outputs:
        family, _, index = name.rpartition(".")
        mouth = torch.from_numpy(conventions[family].cut_face(case.inputs[f"face.{index}"].numpy()).copy())
        pixels = mouth.permute(2, 0, 1).float()
        results[name] = pixels.flip(0) / 255 if family == "teacher" else pixels
    yield results


@torch.no_grad()
def run_model(case: GoldenCase, folder) -> Iterator[Outputs]:
    converted = convert(case)
    converted.save_pretrained(folder)
    for model in (converted, type(converted).from_pretrained(folder)):
        results = {}
        for prefix in sorted({name.removesuffix("frames") for name in case.inputs if name.endswith("frames")}):
            # Frames are stored in the colour order of the weights; their range stands in the description only.
            scale = 1 / 255 if "1/255" in case.description["inputs"]["frames"] else 1.0
            pixel_values = case.inputs[f"{prefix}frames"].float() * scale
            results |= {
                f"{prefix}{name}": value
                for name, value in model_outputs(model, pixel_values, case.inputs[f"{prefix}mel"]).items()
            }
        yield {name: results[name] for name in case.outputs}  # a case keeps only some layers of what there is


def convert(case: GoldenCase):
    """The case's checkpoint as its container holds it; shapes do not tell the number of heads."""
    content = case.checkpoint()
    # The teachers differ in pixels only, which a case holds as the network gets them.
    variant = "teacher" if content["av_transformer.layers.0.fc1.weight"].shape[1] == 512 else None
    for entry in reversed(case.description["container"]["path"]):
        content = {entry: content}
    config = {"num_attention_heads": case.config["num_heads"]}
    return convert_checkpoint("mtdvocalist", content, variant=variant, config=config)


def model_outputs(model, pixel_values: torch.Tensor, input_features: torch.Tensor) -> Outputs:
    """Everything that a case may name, time first where the authors have it first."""
    outputs = model.vocalist(pixel_values, input_features, output_trace=True)
    results = {
        "logits": model(pixel_values, input_features).logits[:, 0],
        "visual": outputs.visual_features.transpose(1, 2),
        "audio": outputs.audio_features.transpose(1, 2),
        "av": outputs.av_hidden_states.transpose(0, 1),
        "va": outputs.va_hidden_states.transpose(0, 1),
        "fusion": outputs.last_hidden_state.transpose(0, 1),
        "pooled": outputs.pooler_output,
    }
    for encoder in ENCODERS:
        scores = outputs.attention_scores[encoder].flatten(1, 2)  # (layers, batch * heads, queries, keys)
        relations = value_relations(outputs.attention_values[encoder]).flatten(1, 2)
        for layer in range(len(scores)):
            results[f"attn.{encoder}.{layer}"] = scores[layer].softmax(-1)
            results[f"value_relation.{encoder}.{layer}"] = relations[layer].softmax(-1)
            if encoder == "va":
                results[f"va_logits_clamped.{layer}"] = scores[layer].clamp_min(1e-5)
    return results


def run_mtd_loss(case: GoldenCase, folder) -> Iterator[Outputs]:
    inputs = {name: value.clone().requires_grad_(name.startswith("student")) for name, value in case.inputs.items()}
    scores, relations = (
        {side: {encoder: make(inputs, side, encoder) for encoder in ENCODERS} for side in ("student", "teacher")}
        for make in (
            lambda tensors, side, encoder: tensors[f"{side}.{encoder}.scores"],
            lambda tensors, side, encoder: value_relations(tensors[f"{side}.{encoder}.value"]),
        )
    )
    traces = [CrossModalTrace(scores[side], relations[side]) for side in ("student", "teacher")]
    num_layers, logits, labels = case.config["num_layers"], inputs["student_logit"], inputs["label"]

    def losses(weights: str | None = None, **options):
        loss = MTDLoss(num_layers, **{"temperature": case.config["temperature"], **options})
        if weights is not None:
            loss.weights.data.copy_(inputs[weights])
        return loss, loss(logits, labels, *traces)

    released, parts = losses("weights_shared")
    prefix = "released.grad."
    wanted = {name: inputs[f"student.{name.removeprefix(prefix)}"] for name in case.outputs if name.startswith(prefix)}
    gradients = torch.autograd.grad(parts.loss, [released.weights, logits, *wanted.values()], retain_graph=True)
    selected = case.config["selected"]
    assert selected["numbering"] == "from 1"
    layers = {encoder: [selected[encoder] - 1] for encoder in ENCODERS}
    separate, softmax, no_weights = {"separate_values": True}, {"weighting": "softmax"}, {"weighting": "none"}
    _, of_selected = losses(**no_weights, layers=layers, temperature=selected["temperature"])
    results = {
        "bce": parts.classification_loss,
        "terms": parts.terms / case.config["temperature"] ** 2,
        "released.total": parts.loss,
        "released.total_at_init": losses()[1].loss,
        "released.reported_kd": parts.loss - released.weights[0] * parts.classification_loss,
        "released.grad_weights": gradients[0],
        "released.grad_logit_score": gradients[1],
        **dict(zip(wanted, gradients[2:], strict=True)),
        "split_weights.total": losses("weights_split", **separate)[1].loss,
        "softmax_split_weights.total": losses("weights_split", **softmax, **separate)[1].loss,
        "softmax_weights.total": losses("weights_shared", **softmax)[1].loss,
        "uniform_all_layers": losses(**no_weights)[1].distillation_loss,
        "selected_layers": of_selected.distillation_loss,
        "logit_kd": logit_divergence(logits, inputs["teacher_logit"], 5.0),
    }
    yield {name: value.detach() for name, value in results.items()}


def run_offsets(case: GoldenCase, folder) -> Iterator[Outputs]:
    settings = case.config
    assert settings["mel_context"] == settings["video_context"] * 16 // 5
    families = {("RGB", "0..255"): {}, ("BGR", "0..1"): {"rescale_factor": 1 / 255, "resize": "opencv"}}
    processor = VocaLiSTProcessor(
        settings["colour"].lower(),
        **families[settings["colour"], settings["value_range"]],
        context_frames=settings["video_context"],
    )
    converted = convert(case)
    converted.save_pretrained(folder)
    num_clips = sum(name.startswith("faces.") for name in case.inputs)
    for model in (converted, type(converted).from_pretrained(folder)):
        clip_scores = []
        for clip in range(num_clips):
            sound = case.inputs[f"wave.{clip}"].numpy()
            windows = processor(case.inputs[f"faces.{clip}"].numpy(), sound, settings["sampling_rate"])
            # The official evaluation leaves out the last window.
            video_windows, audio_windows = windows.pixel_values[:-1], windows.input_features[:-1]
            clip_scores.append(
                model.score_offsets(video_windows, audio_windows, settings["max_shift"], protocol="official")
            )
        yield synchronization_outputs(case, clip_scores)


RUNNERS = {
    "mel": run_mel,
    "mouth": run_mouth,
    "model": run_model,
    "mtd_loss": run_mtd_loss,
    "offsets": run_offsets,
}

RULES = {"offsets": {"*": difference_after(possible_scores_only)}}
