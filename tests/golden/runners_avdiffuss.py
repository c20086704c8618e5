"""How the golden cases of AVDiffuSS are computed with this package: one function per kind, {output name: tensor}."""

import json
import math
from collections.abc import Iterator

import numpy as np
import torch
from golden_case import GoldenCase, drawn
from safetensors.torch import load_file

from avzoo.audio import (
    compressed_stft,
    inverse_compressed_stft,
    mix_at_equal_level,
    mix_at_snr,
    normalize_peak,
)
from avzoo.conversion import convert_checkpoint
from avzoo.conversion.convert_avdiffuss import (
    CONFIG_FIELDS,
    VISUAL_KEYMAP,
    module_names,
    network_keymap,
    visual_encoder_of,
)
from avzoo.metrics import si_sdr
from avzoo.models.avdiffuss import AVDiffuSSVisualEncoder
from avzoo.models.avdiffuss.fir_resampling import fir_downsample, fir_upsample
from avzoo.models.avdiffuss.scheduling_ouve import OUVEScheduler
from avzoo.models.avdiffuss.training_avdiffuss import AVDiffuSSTrainer, separation_losses
from avzoo.models.avdiffuss.windows import average_over_windows, protocol_starts
from avzoo.pipelines.audio_visual_separation.pipeline import AVDiffuSSPipeline
from avzoo.video.crops import grey_face

Outputs = dict[str, torch.Tensor]


def run_frontend(case: GoldenCase, folder) -> Iterator[Outputs]:
    config = case.config
    assert config["center"]
    sizes = {"fft_size": config["n_fft"], "hop_size": config["hop_length"], "window": config["window"]}
    compression = {"exponent": config["spec_abs_exponent"], "factor": config["spec_factor"]}
    waveform = case.inputs["waveform"]
    normalized, factor = normalize_peak(waveform)
    compressed = compressed_stft(normalized, frame_multiple=64, **sizes, **compression)

    def inverse(spectrogram: torch.Tensor) -> torch.Tensor:
        return factor * inverse_compressed_stft(spectrogram, waveform.shape[-1], **sizes, **compression)

    yield {
        "stft": compressed_stft(normalized, exponent=1, factor=1, **sizes),
        "compressed_padded": compressed,
        "roundtrip": inverse(compressed),
        "altered": inverse(compressed * (0.8 + 0.1j)),
    }


def run_protocol(case: GoldenCase, folder) -> Iterator[Outputs]:
    voices = [case.inputs[name].numpy() for name in ("voice1", "voice2")]
    shortest = min(len(voice) for voice in voices)
    mixture, targets = mix_at_equal_level(voices, case.config["scale"])
    snr_mix, _ = mix_at_snr(*(voice[:shortest] for voice in voices), case.config["snr_db"])
    estimate = case.inputs["estimate1"].numpy()
    results = {
        "target1": targets[0],
        "target2": targets[1],
        "mixture": mixture,
        "snr_mix": snr_mix,
        "si_sdr_estimate": si_sdr(estimate, targets[0])[None],
        "si_sdr_mixture": si_sdr(mixture, targets[0])[None],
        "video_gray112": grey_face(case.inputs["frame_bgr"].numpy(), 112, order="bgr"),
    }
    yield {name: torch.from_numpy(np.asarray(value)) for name, value in results.items()}


def run_fir(case: GoldenCase, folder) -> Iterator[Outputs]:
    assert case.config == {"fir_kernel": [1, 3, 3, 1], "factor": 2}
    yield {"up": fir_upsample(case.inputs["x"]), "down": fir_downsample(case.inputs["x"])}


def scheduler_of(config: dict) -> OUVEScheduler:
    return OUVEScheduler(config["theta"], config["sigma_min"], config["sigma_max"], config["t_eps"])


def run_sde(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, inputs = case.config, case.inputs
    scheduler_of(config).save_pretrained(folder)
    for scheduler in (scheduler_of(config), OUVEScheduler.from_pretrained(folder)):
        scheduler.set_timesteps(config["N"])
        x, y, t, score = (inputs[name] for name in ("x", "y", "t", "score"))
        predicted = scheduler.step(score, t, x, y, noise=inputs["noise0"])
        state = x
        for index in range(config["corrector_steps"]):
            corrected = scheduler.step_correct(score, t, state, config["snr"], noise=inputs[f"noise{index % 2}"])
            state = corrected.prev_sample
        yield {
            "mean": scheduler.mean(inputs["x0"], y, t),
            "std": scheduler.std(t),
            "drift": scheduler.drift(x, y),
            "diffusion": scheduler.diffusion(t),
            "prior": scheduler.init_sample(y, inputs["noise0"]),
            "predictor": predicted.prev_sample,
            "predictor_mean": predicted.mean,
            "corrector": corrected.prev_sample,
            "corrector_mean": corrected.mean,
            "timesteps": scheduler.timesteps,
        }


def run_sliding_window(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, mixture = case.config, case.inputs["mixture"].numpy()
    sizes = {"window": config["window_samples"], "hop": int(config["hop_seconds"] * config["sample_rate"])}

    def stand_in(first: float, last: float):
        gains = np.linspace(first, last, sizes["window"])
        return lambda samples, start: samples * gains + 0.2 * np.roll(samples, 5000)

    yield {
        "out1": torch.from_numpy(average_over_windows(stand_in(0.25, 1.25), mixture, **sizes)),
        "out2": torch.from_numpy(average_over_windows(stand_in(1.25, 0.25), mixture, **sizes)),
        "starts": torch.tensor(protocol_starts(len(mixture), **sizes)),
    }


@torch.no_grad()
def run_visual_encoder(case: GoldenCase, folder) -> Iterator[Outputs]:
    weights = case.checkpoint()
    prefix = next(iter(weights)).partition("visual_encoder.")[0] + "visual_encoder."
    encoder = visual_encoder_of(weights, prefix, "checkpoint")
    assert encoder.config.hidden_size == case.config["context_dim"]
    encoder.save_pretrained(folder)
    video = case.inputs["video"]
    for loaded in (encoder, AVDiffuSSVisualEncoder.from_pretrained(folder)):
        features = loaded(video if video.ndim == 4 else video[None]).last_hidden_state
        yield {"features": features if video.ndim == 4 else features[0]}


def pipeline_of(case: GoldenCase, checkpoint=None) -> AVDiffuSSPipeline:
    """The pipeline of a case; what shapes can't tell comes from its config, and files have their own settings."""
    config = case.config
    names = {"num_heads": "num_attention_heads", "t_eps": "min_timestep"}
    fields = {names.get(name, name): value for name, value in config.items()}
    fields = {name: value for name, value in fields.items() if name in CONFIG_FIELDS}
    pipe = convert_checkpoint("avdiffuss", checkpoint or case.checkpoint(), config=fields)
    if "nf" in config:
        sizes = pipe.denoiser.config
        assert sizes.base_channels == config["nf"]
        assert list(sizes.channel_multipliers) == config["ch_mult"]
        assert sizes.layers_per_block == config["num_res_blocks"]
    pipe.set_progress_bar_config(disable=True)
    return pipe


def with_loaded(pipe: AVDiffuSSPipeline, folder) -> Iterator[AVDiffuSSPipeline]:
    """The pipeline as converted, and saved and loaded."""
    yield pipe
    pipe.save_pretrained(folder)
    loaded = AVDiffuSSPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    yield loaded


@torch.no_grad()
def run_backbone(case: GoldenCase, folder) -> Iterator[Outputs]:
    x, t, video = (case.inputs[name] for name in ("x", "t", "video"))
    for pipe in with_loaded(pipeline_of(case), folder):
        seen = pipe.denoiser_visual_encoder(video).last_hidden_state
        seen_by_score = pipe.score_visual_encoder(video).last_hidden_state
        yield {
            "denoised": pipe.denoiser(x[:, 1:2], None, seen).sample,
            "score_net_out": -pipe.score_model(x, t, seen_by_score).sample,
            "visual_denoiser": seen,
        }


def run_pipeline(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, inputs = case.config, case.inputs
    corrections = config["corrector_steps"] if config["corrector"] != "none" else 0
    noise = [inputs["noise.prior"]]
    for step in range(config["N"]):
        noise += [inputs[f"noise.corrector.{step}.{index}"] for index in range(corrections)]
        noise.append(inputs[f"noise.predictor.{step}"])
    states: list[dict[str, torch.Tensor]] = []
    for pipe in with_loaded(pipeline_of(case), folder):
        states.clear()
        output = pipe(
            inputs["waveform"],
            inputs["video"],
            num_inference_steps=config["N"],
            corrector=config["corrector"] if corrections else "none",
            corrector_steps=max(corrections, 1),
            snr=config["snr"],
            noise=noise,
            window_length_in_s=math.inf,
            output_type="pt",
            callback_on_step_end=lambda pipe, step, time, tensors: states.append(tensors),
            callback_on_step_end_tensor_inputs=["sample", "mean", "initial_estimate", "mixture"],
        )
        results = {
            "mixture_spec": states[0]["mixture"],
            "initial_estimate": states[0]["initial_estimate"],
            "final_spec": states[-1]["mean"],
            **{f"x.{step}": state["sample"] for step, state in enumerate(states)},
            **{f"x_mean.{step}": state["mean"] for step, state in enumerate(states)},
        }
        every = 3 if config.get("released") else 1  # of released size they are stored thinned out
        results = {name: value[0, 0, ::every, ::every] for name, value in results.items()}
        results |= {"waveform": output.audios[0], "initial_waveform": output.initial_estimates[0]}
        yield {name: results[name] for name in case.outputs}


def run_ema(case: GoldenCase, folder) -> Iterator[Outputs]:
    raw, stored = case.checkpoint(), load_file(case.folder / "io.safetensors")
    seed, gain = case.description["seed_ema"], case.description.get("gain", 1.0)
    averages = []
    for row in json.loads((case.folder / "ema_order.json").read_text()):
        key = row if isinstance(row, str) else row[0]
        shape = list(raw[key].shape)
        averages.append(stored[f"buf.{key}"] if f"buf.{key}" in stored else drawn(key, shape, "float32", seed, gain))
    file = {"state_dict": raw, "ema": {"decay": 0.999, "num_updates": 1, "shadow_params": averages}}
    for pipe in with_loaded(pipeline_of(case, file), folder):
        voice = pipe(case.inputs["waveform"], case.inputs["video"], denoiser_only=True, output_type="pt").audios[0]
        yield {"denoised_waveform": voice}


def run_loss(case: GoldenCase, folder) -> Iterator[Outputs]:
    config, inputs, weights = case.config, case.inputs, case.checkpoint()
    pipe = pipeline_of(case, weights)
    model = AVDiffuSSTrainer(
        pipe.denoiser,
        pipe.denoiser_visual_encoder,
        pipe.scheduler,
        pipe.score_model,
        pipe.score_visual_encoder,
        pipe.config.condition,
    ).eval()
    step = model(*(inputs[name] for name in ("x", "y", "video", "t", "z")))
    weight = config["weighting_denoiser_to_score"]
    losses = separation_losses(step, inputs["x"], loss_type=config["loss_type"], denoiser_weight=weight)
    losses["loss"].backward()
    outputs = {name: losses[name].detach()[None] for name in ("loss", "loss_score", "loss_denoiser")}
    for name in case.outputs:
        if name.startswith("grad."):
            outputs[name] = official_gradient(name.removeprefix("grad."), weights, model)
    yield outputs


def official_gradient(key: str, weights: Outputs, model: AVDiffuSSTrainer) -> torch.Tensor:
    """The gradient of the parameter that the authors call `key`, turned as the authors store it."""
    network, _, rest = key.partition(".")
    ours = {"denoiser_net": "denoiser", "score_net": "score_model"}[network]
    if rest.startswith("visual_encoder."):
        ours = {"denoiser": "denoiser_visual_encoder", "score_model": "score_visual_encoder"}[ours]
        rest, keymap = rest.removeprefix("visual_encoder."), VISUAL_KEYMAP
    else:
        prefix = f"{network}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        keymap = network_keymap(own, module_names(own))
    rule, parts = next((rule, parts) for rule in keymap.rules if (parts := rule.match(rest)) is not None)
    gradient = getattr(model, ours).get_parameter(rule.targets[0].format(**parts)).grad
    if rule.operation is torch.flatten:
        return gradient[None, :, None]
    return gradient if rule.operation is None else rule.operation(gradient)  # a sign or a transposition undoes itself


RUNNERS = {
    "frontend": run_frontend,
    "protocol": run_protocol,
    "fir": run_fir,
    "sde": run_sde,
    "sliding_window": run_sliding_window,
    "visual_encoder": run_visual_encoder,
    "backbone": run_backbone,
    "pipeline": run_pipeline,
    "ema": run_ema,
    "loss": run_loss,
}
