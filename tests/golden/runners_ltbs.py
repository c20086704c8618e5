"""How the golden cases of LTBS are computed with this package: one function per kind."""

from collections.abc import Iterator
from pathlib import Path

import torch
from golden_case import Expected, GoldenCase
from ltbs_targets import TARGET_RULES, TARGET_RUNNERS

from avzoo.conversion import convert_checkpoint
from avzoo.conversion.convert_ltbs import flow_rules, join_conditions, predictor_rules
from avzoo.conversion.keymap import KeyMap, rename
from avzoo.models.ltbs import FlowPostNet, LTBSForLipToSpeech, QuantizedVarianceAdaptor
from avzoo.models.ltbs.flow_post_net import ActNorm
from avzoo.models.ltbs.loss_ltbs import flow_loss

# The network.


def convert_model(case: GoldenCase, folder: Path, **fields) -> Iterator[LTBSForLipToSpeech]:
    """The case's network as converted, then as saved and loaded."""
    postnet = case.config["post_net"]
    fields |= {
        "postnet_dilation_rate": postnet["dilation_rate"],
        "postnet_sigmoid_scale": postnet["sigmoid_scale"],
        "mean_over_padding": True,
    }
    content = {"model_state_dict": case.checkpoint(), "optimizer_state_dict": {}, "step": 1}
    model = convert_checkpoint("ltbs", content, config=fields)
    yield model
    model.save_pretrained(folder)
    yield LTBSForLipToSpeech.from_pretrained(folder)


def read_inputs(case: GoldenCase) -> dict[str, torch.Tensor]:
    video = case.inputs["video"]
    return {
        "pixel_values": video,
        "attention_mask": torch.arange(video.shape[1]) < case.inputs["lengths"][:, None],
        "speaker_ids": case.inputs["speaker_ids"],
    }


def keep_asked(case: GoldenCase, results: Expected) -> Expected:
    """What the case holds: not all hold every output."""
    return {name: value for name, value in results.items() if name in case.outputs}


@torch.no_grad()
def run_model(case: GoldenCase, folder: Path, mask_convolutions: bool = False) -> Iterator[Expected]:
    call = case.description.get("call", {})
    options = {"noise_scale": call.get("noise_scale", 1.0)}
    options |= {"pitch_control": call.get("p_control", 1.0), "energy_control": call.get("e_control", 1.0)}
    if "noise" in case.inputs:
        options["noise"] = case.inputs["noise"].mT
    for model in convert_model(case, folder, mask_convolutions=mask_convolutions):
        output = model(**read_inputs(case), **options)
        units = torch.where(output.units < 0, 0, output.units + 1)  # theirs begin at 1
        results = {name: output[name] for name in ("unit_logits", "pitch", "energy", "mel_coarse")}
        results |= {"units": units, "mel": output.mel.mT}
        results["parameters"] = sum(weight.numel() for weight in model.parameters())
        if "encoder" in case.outputs:
            results["encoder"] = model.ltbs(**read_inputs(case)).hidden_states
        yield keep_asked(case, results)


def run_clips_alone(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    yield from run_model(case, folder, mask_convolutions=True)


@torch.no_grad()
def run_losses(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    units = case.inputs["units"]
    targets = {
        "unit_labels": torch.where(units > 0, units - 1, -100),
        "pitch_labels": case.inputs["pitch"],
        "energy_labels": case.inputs["energy"],
        "mel_labels": case.inputs["mel"].mT,
    }
    for model in convert_model(case, folder, mask_convolutions=False):
        output = model(**read_inputs(case), **targets)
        losses = {f"loss_{name}": value for name, value in output.losses.items()}
        losses["loss_post"] = losses.pop("loss_postnet")
        losses["loss_variance"] = sum(losses[f"loss_{name}"] for name in ("units", "pitch", "energy"))
        results = {"total": output.loss, "z": output.latent.mT, "logdet": output.log_determinant}
        yield keep_asked(case, {**losses, **results, "mel_coarse": output.mel_coarse})


# The flow.


def make_flow(case: GoldenCase) -> FlowPostNet:
    """From either of the two projects' arguments."""
    config = case.config
    if "model" in config:
        own, bins = config["model"]["postnet"], config["preprocess"]["preprocessing"]["mel"]["n_mel_channels"]
        size = config["model"]["transformer"]["encoder_hidden"]
        names = ("wn_hidden", "wn_kernel_size", "flow_step", "wn_layer")
        shared = own["shared_group"]
    else:
        own, bins, size, shared = config, config["in_channels"], config["gin_channels"], 1
        names = ("hidden_channels", "kernel_size", "n_blocks", "n_layers")
    options = dict(zip(("hidden_size", "kernel_size", "num_steps", "num_layers"), (own[n] for n in names), strict=True))
    options |= {"group_size": own["n_split"], "squeeze": own["n_sqz"], "sigmoid_scale": own["sigmoid_scale"]}
    flow = FlowPostNet(bins, size, dilation_rate=own.get("dilation_rate", 1), steps_per_wavenet=shared, **options)
    rules = KeyMap(*flow_rules("", "", options["num_steps"], shared))
    state = flow.state_dict()
    shapes = {name: value.shape for name, value in state.items() if not name.endswith("is_initialized")}
    flow.load_state_dict(rules.apply(join_conditions(case.checkpoint()), shapes), strict=False)
    return flow.eval()


@torch.no_grad()
def run_postnet(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    flow = make_flow(case)
    mask, condition = (case.inputs[name] for name in ("mask", "condition"))
    latent, log_determinant = flow(case.inputs["mel"], mask, condition)
    results = {"z": latent, "logdet": log_determinant}
    if "latent" in case.inputs:
        results["mel_from_latent"] = flow.invert(case.inputs["latent"], mask, condition)
    yield keep_asked(case, results)


def run_jacobian(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """In float64; the whole Jacobian by automatic differentiation."""
    flow = make_flow(case).double()
    mel, mask, condition = (case.inputs[name] for name in ("mel", "mask", "condition"))
    with torch.no_grad():
        latent, parts = flow.transform(mel, mask, condition)
        assert (flow.invert(latent, mask, condition) - mel * flow_mask(flow, mask)).abs().max() < 1e-12
    determinants, first = [], None
    for clip in range(len(mel)):
        one = slice(clip, clip + 1)
        jacobian = torch.autograd.functional.jacobian(
            lambda value, one=one: flow(value, mask[one], condition[one])[0], mel[one]
        )
        size = mel[0].numel()
        jacobian = jacobian.reshape(size, size)
        first = jacobian if first is None else first
        valid = flow_mask(flow, mask)[clip].expand(mel.shape[1], -1).flatten().bool()
        determinants.append(torch.linalg.slogdet(jacobian[valid][:, valid]).logabsdet)
    nll = flow_loss(latent, parts.sum(1), 0.25 * mel * mask, mask)
    results = {"z": latent, "parts": parts, "logdet": parts.sum(1), "slogdet": torch.stack(determinants)}
    yield keep_asked(case, {**results, "jacobian_0": first, "nll": nll[None]})


def flow_mask(flow: FlowPostNet, mask: torch.Tensor) -> torch.Tensor:
    """Frames whose position is whole."""
    size = flow.squeeze_size
    whole = mask[:, :, size - 1 :: size].repeat_interleave(size, dim=2)
    return torch.nn.functional.pad(whole, (0, mask.shape[2] - whole.shape[2]))


@torch.no_grad()
def run_actnorm_init(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    """In float64, as the case: whether a constant row has no variance at all is a matter of rounding."""
    norm = ActNorm(case.config["channels"]).double()
    z, log_determinant = norm(case.inputs["x"].double(), case.inputs["mask"].double())
    results = {"bias": norm.bias, "logs": norm.log_scale, "z": z, "logdet": log_determinant}
    yield keep_asked(case, {name: value.float() for name, value in results.items()})


@torch.no_grad()
def run_variance_quantised(case: GoldenCase, folder: Path) -> Iterator[Expected]:
    config = case.config
    adaptor = QuantizedVarianceAdaptor(config["hidden"], config["filter_size"], config["n_bins"]).eval()
    parts = ("duration_predictor", "pitch_predictor", "energy_predictor")
    rules = [rule for part in parts for rule in predictor_rules(part, part, 2)]
    rules += [rename(f"{part}_{kind}", f"{part}_{kind}") for part in ("pitch", "energy") for kind in ("bins",)]
    rules += [rename(f"{part}_embedding.weight", f"{part}_embedding.weight") for part in ("pitch", "energy")]
    shapes = {name: value.shape for name, value in adaptor.state_dict().items()}
    adaptor.load_state_dict(KeyMap(*rules).apply(case.checkpoint(), shapes))
    inputs = (case.inputs["x"], ~case.inputs["mask"], case.inputs["durations"])
    factors = {"pitch_control": config["p_control"], "energy_control": config["e_control"]}
    output = adaptor(*inputs, **factors)
    theirs = adaptor(*inputs, **factors | {"energy_control": config["p_control"]})
    results = {
        "log_duration": output.log_duration,
        "expanded": output.expanded,
        "pitch": output.pitch,
        "energy": output.energy,
        "output": output.hidden_states,
        "output_forward": theirs.hidden_states,
        "mel_lengths": output.lengths,
    }
    yield keep_asked(case, results)


RUNNERS = {
    "model": run_model,
    "clips_alone": run_clips_alone,
    "losses": run_losses,
    "postnet": run_postnet,
    "postnet_jacobian": run_jacobian,
    "actnorm_init": run_actnorm_init,
    "variance_quantised": run_variance_quantised,
    **TARGET_RUNNERS,
}
RULES = TARGET_RULES
