"""Compute the golden cases of VoiceLDM with this package: one function per kind, {output name: tensor}."""

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from golden_case import GoldenCase
from transformers import (
    BatchEncoding,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from avzoo.audio import write_wav
from avzoo.conversion import convert_checkpoint
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.conversion.convert_voiceldm import CONTENT_KEYMAP, convert_content_encoder, convert_unet
from avzoo.models.voiceldm import VoiceLDMContentEncoder
from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram
from avzoo.models.voiceldm.training_voiceldm import VoiceLDMDenoiser, denoising_loss
from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

Outputs = dict[str, torch.Tensor]


class StoredIds:
    """A tokenizer of the texts that a case stores; it pads like the real one."""

    def __init__(self, pad: int, **texts: torch.Tensor):
        self.pad = pad
        self.texts = {name: ids.flatten().tolist() for name, ids in texts.items()}

    def __call__(self, texts: list[str], padding: bool = False, **options) -> BatchEncoding:
        ids = [self.texts[text] for text in texts]
        if not padding:
            return BatchEncoding({"input_ids": ids})
        longest = max(map(len, ids))
        return BatchEncoding(
            {
                "input_ids": torch.tensor([row + [self.pad] * (longest - len(row)) for row in ids]),
                "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
            }
        )


def checkpoint_of(case: GoldenCase) -> Checkpoint:
    """The released checkpoint alone, without the tensors of the other repositories."""
    others = ("vae.", "vocoder.", "clap_model.")
    return Checkpoint({k: v for k, v in case.checkpoint().items() if not k.startswith(others)}, "checkpoint")


def part_of(case: GoldenCase, prefix: str, network: torch.nn.Module) -> torch.nn.Module:
    """`network` with the weights that a case stores under `prefix`."""
    stored = {key.removeprefix(prefix): value for key, value in case.checkpoint(prefix).items()}
    # Tables that old versions stored and newer ones compute.
    missing, unexpected = network.load_state_dict(stored, strict=False)
    assert not missing, missing
    assert not [key for key in unexpected if "position_ids" not in key and "relative_position_index" not in key]
    return network.eval()


def vae_of(case: GoldenCase) -> AutoencoderKL:
    return part_of(case, "vae.", AutoencoderKL(**case.config["vae"]))


def vocoder_of(case: GoldenCase) -> SpeechT5HifiGan:
    return part_of(case, "vocoder.", SpeechT5HifiGan(SpeechT5HifiGanConfig(**case.config["vocoder"])))


def clap_folder(case: GoldenCase, folder: Path) -> Path:
    """Save CLAP as in its own repository: one model of two towers."""
    part_of(case, "clap_model.", ClapModel(ClapConfig(**case.config["clap"]))).save_pretrained(folder / "clap")
    ClapFeatureExtractor(**case.config["clap_feature_extractor"]).save_pretrained(folder / "clap")
    return folder / "clap"


@torch.no_grad()
def run_content_encoder(case: GoldenCase, folder) -> Iterator[Outputs]:
    durator = case.config["durator"]
    encoder = convert_content_encoder(
        checkpoint_of(case),
        {"max_text_positions": case.config["max_text_positions"], "max_frames": durator["max_seq_len"]},
    )
    encoder.save_pretrained(folder)
    for model in (encoder, VoiceLDMContentEncoder.from_pretrained(folder)):
        output = model(case.inputs["input_ids"], case.inputs["attention_mask"])
        yield {
            "text_embed": output.text_hidden_states,
            "duration": output.durations,
            "frames": output.frames,
            "frame_pad_mask": padded_frames(output),
            "frame_lengths": output.frame_lengths,
        }


def padded_frames(output) -> torch.Tensor:
    return torch.arange(output.frames.shape[1]) >= output.frame_lengths[:, None]


@torch.no_grad()
def run_unet(case: GoldenCase, folder) -> Iterator[Outputs]:
    unet = convert_unet(checkpoint_of(case))
    unet.save_pretrained(folder)
    for model in (unet, type(unet).from_pretrained(folder)):
        results = {}
        for name in case.outputs:
            values = {
                part: case.inputs[name.replace("noise_pred", part)]
                for part in ("sample", "timestep", "content", "cond")
            }
            results[name] = model(
                values["sample"], values["timestep"], values["content"], class_labels=values["cond"]
            ).sample
        yield results


@torch.no_grad()
def run_released(case: GoldenCase, folder) -> Iterator[Outputs]:
    pipe = convert_checkpoint(
        "voiceldm",
        {
            "checkpoint": dict(checkpoint_of(case).content),
            "audioldm": None,
            "clap": None,
            "speecht5": None,
            "scheduler": DDIMScheduler(),
        },
    )
    pipe.save_pretrained(folder)
    for loaded in (pipe, VoiceLDMPipeline.from_pretrained(folder)):
        output = loaded.content_encoder(case.inputs["input_ids"], case.inputs["attention_mask"])
        noise = loaded.unet(
            case.inputs["sample"], case.inputs["timestep"], output.frames[:1], class_labels=case.inputs["cond"]
        ).sample
        yield {
            "duration": output.durations,
            "frames": output.frames[:, ::4, ::8],
            "frame_lengths": output.frame_lengths,
            "noise_pred": noise,
        }


@torch.no_grad()
def run_clap_conditioning(case: GoldenCase, folder) -> Iterator[Outputs]:
    clap = clap_folder(case, folder)
    pipe = conditioning_pipeline(clap)
    rate = case.config["clap_feature_extractor"]["sampling_rate"]
    ids, mask = case.inputs["desc_ids"], case.inputs["desc_mask"]
    texts = {str(row): ids[row][mask[row].bool()] for row in range(len(ids))}
    pipe.description_tokenizer = StoredIds(1, **texts)
    heard: list[torch.Tensor] = []
    pipe.audio_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: heard.append(kwargs["input_features"]), with_kwargs=True
    )
    results = {"c_desc_text": pipe.encode_description(list(texts))}
    for name, waveform in case.inputs.items():
        if name.endswith("_wave"):
            prompt = name.removesuffix("_wave")
            write_wav(folder / f"{prompt}.wav", waveform, rate)
            results[f"{prompt}_c_desc"] = pipe.encode_audio_prompt(folder / f"{prompt}.wav")
            results[f"{prompt}_features"] = heard[-1]
    yield {name: results[name] for name in case.outputs}


def conditioning_pipeline(clap: Path) -> VoiceLDMPipeline:
    """A pipeline for encoding descriptions only."""
    from contract.tiny.voiceldm import tiny_pipeline_parts

    parts = tiny_pipeline_parts()
    loaded = {"description_encoder": clap, "audio_encoder": clap, "feature_extractor": clap}
    from avzoo.conversion.convert_voiceldm import load_part

    return VoiceLDMPipeline(**parts | {name: load_part(name, str(source)) for name, source in loaded.items()})


@torch.no_grad()
def run_mel_vae_vocoder(case: GoldenCase, folder) -> Iterator[Outputs]:
    settings = case.config["stft"]
    assert settings | {"n_mels": 64} == {
        "filter_length": 1024,
        "hop_length": 160,
        "win_length": 1024,
        "n_mels": 64,
        "sampling_rate": 16000,
        "fmin": 0,
        "fmax": 8000,
    }  # fixed in log_mel_spectrogram
    vae, vocoder = vae_of(case), vocoder_of(case)
    vae.save_pretrained(folder / "vae")
    vocoder.save_pretrained(folder / "vocoder")
    fbank = log_mel_spectrogram(case.inputs["wave"], case.config["target_length"], settings["n_mels"])
    networks = [
        (vae, vocoder),
        (AutoencoderKL.from_pretrained(folder / "vae"), SpeechT5HifiGan.from_pretrained(folder / "vocoder")),
    ]
    for vae, vocoder in networks:
        pipe = decoding_pipeline(vae, vocoder)
        posterior = vae.encode(fbank[None, None]).latent_dist
        latents = (posterior.mean + posterior.std * case.inputs["noise"]) * vae.config.scaling_factor
        spectrogram = pipe.decode_latents(latents)
        yield {
            "fbank": fbank,
            "latent_mean": posterior.mean,
            "latent_logvar": posterior.logvar,
            "latents": latents,
            "decoded_mel": spectrogram,
            "waveform": pipe.vocode(spectrogram),
        }


def decoding_pipeline(vae: AutoencoderKL, vocoder: SpeechT5HifiGan) -> VoiceLDMPipeline:
    from contract.tiny.voiceldm import tiny_pipeline_parts

    return VoiceLDMPipeline(**tiny_pipeline_parts() | {"vae": vae, "vocoder": vocoder})


@torch.no_grad()
def run_generate(case: GoldenCase, folder) -> Iterator[Outputs]:
    settings = {k: v for k, v in case.config["scheduler"].items() if k != "_class_name"}
    pipe = convert_checkpoint(
        "voiceldm",
        {
            "checkpoint": dict(checkpoint_of(case).content),
            "vae": vae_of(case),
            "vocoder": vocoder_of(case),
            "clap": clap_folder(case, folder),
            "description_tokenizer": None,
            "content_tokenizer": None,
            "scheduler": DDIMScheduler(**settings),
        },
    )
    pipe.save_pretrained(folder / "pipe")
    for loaded in (pipe, VoiceLDMPipeline.from_pretrained(folder / "pipe")):
        loaded.use_preset("reference").set_progress_bar_config(disable=True)
        results = {}
        for prefix, run in case.config["runs"].items():
            results |= {f"{prefix}{name}": value for name, value in one_call(case, loaded, prefix, run, folder).items()}
        yield {name: results[name] for name in case.outputs}


def one_call(case: GoldenCase, pipe: VoiceLDMPipeline, prefix: str, run: dict, folder) -> Outputs:
    """All outputs and intermediate values of one call that a case may store."""

    def stored(name: str) -> torch.Tensor | None:
        return case.inputs.get(f"{prefix}{name}", case.inputs.get(name))

    ids = {"content": stored("cont_ids"), "_": torch.tensor(run["null_content_ids"])}
    pipe.content_tokenizer = StoredIds(1, **ids)
    null = torch.tensor(run["null_description_ids"])
    pipe.description_tokenizer = StoredIds(
        1, **{"": null} | ({} if stored("desc_ids") is None else {"description": stored("desc_ids")})
    )
    prompt = {"description": "description"}
    if run.get("audio_prompt"):
        wave = next(v for k, v in case.inputs.items() if k.startswith(prefix) and "wave" in k)
        write_wav(folder / "prompt.wav", wave, pipe.feature_extractor.sampling_rate)
        prompt = {"audio_prompt": folder / "prompt.wav"}
    scales = {name: run.get(name) for name in ("desc_guidance_scale", "cont_guidance_scale", "guidance_scale")}
    if not any(value is not None for value in scales.values()):
        scales = {"desc_guidance_scale": 0.0, "cont_guidance_scale": 0.0}
    computed: list[torch.Tensor] = []
    hook = pipe.unet.register_forward_hook(lambda module, args, output: computed.append(output[0]))
    step, guided, latents = pipe.scheduler.step, [], []

    def record(noise, *args, **kwargs):
        guided.append(noise)
        return step(noise, *args, **kwargs)

    pipe.scheduler.step = record
    audio = pipe(
        content="content",
        audio_length_in_s=run["audio_length_in_s"],
        num_inference_steps=run["num_inference_steps"],
        eta=run.get("eta", 0.0),
        latents=stored("noise"),
        output_type="pt",
        spell_out=False,
        callback_on_step_end=lambda pipe, index, timestep, tensors: latents.append(tensors["latents"]),
        **prompt,
        **scales,
    ).audios
    hook.remove()
    pipe.scheduler.step = step
    dual, single = (
        scales.get("guidance_scale") is None and any(scales.values()),
        scales.get("guidance_scale") is not None,
    )
    rows = [0, 1, 0, 1] if dual else [0, 1] if single else [0]
    texts = pipe.content_tokenizer(["content", "_"][: 1 + (dual or single)], padding=True)
    encoded = pipe.content_encoder(texts.input_ids, texts.attention_mask)
    described = (
        pipe.encode_audio_prompt(prompt["audio_prompt"])
        if "audio_prompt" in prompt
        else pipe.encode_description("description")
    )
    descriptions = torch.cat([described, pipe.encode_description("")])
    spectrogram = pipe.decode_latents(latents[-1])
    return {
        "c_desc": descriptions[[0, 0, 1, 1] if dual else rows],
        "c_cont": encoded.frames[rows],
        "cont_pad_mask": padded_frames(encoded)[rows],
        "timesteps": pipe.scheduler.timesteps,
        "unet_first": computed[0],
        "noise_pred": torch.stack(guided),
        "latents": torch.stack(latents),
        "mel": spectrogram,
        "waveform": pipe.vocode(spectrogram),
        "audio": audio,
    }


def run_train_step(case: GoldenCase, folder) -> Iterator[Outputs]:
    checkpoint = checkpoint_of(case)
    settings = {k: v for k, v in case.config["scheduler"].items() if k != "_class_name"}
    scheduler = DDIMScheduler(**settings)
    inputs = case.inputs
    described = torch.where(inputs["drop_description"][:, None], inputs["uncond_embed"], inputs["cond"])
    noisy = scheduler.add_noise(inputs["latents"], inputs["noise"], inputs["timesteps"])
    results = {"noisy_latents": noisy}
    for prefix in ("", "bn_"):
        model = VoiceLDMDenoiser(convert_unet(checkpoint), convert_content_encoder(checkpoint)).eval()
        upsampler = model.content_encoder.upsampler
        norms = {"conv_w": upsampler.map_features.batch_norm, "conv_c": upsampler.context_features.batch_norm}
        for norm in norms.values():
            norm.train(prefix == "bn_")
        predicted = model(noisy, inputs["timesteps"], described, inputs["input_ids"], inputs["attention_mask"])
        loss = denoising_loss(predicted, inputs["latents"], inputs["noise"], inputs["timesteps"], scheduler)
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients.values()]))
        results |= {f"{prefix}noise_pred": predicted, f"{prefix}loss": loss[None], f"{prefix}grad_norm": norm[None]}
        if prefix == "":
            for name, expected in case.outputs.items():
                if name.startswith("grad."):
                    results[name] = official_gradient(name.removeprefix("grad."), gradients).reshape(expected.shape)
        else:
            for theirs, batch_norm in norms.items():
                for statistic in ("running_mean", "running_var"):
                    results[f"bn_{theirs}.{statistic}"] = getattr(batch_norm, statistic)
    yield {name: value.detach() for name, value in results.items()}


def official_gradient(key: str, gradients: Outputs) -> torch.Tensor:
    """The gradient of the authors' parameter `key`."""
    if key.startswith("unet."):
        return gradients[key]
    rule, parts = next((rule, parts) for rule in CONTENT_KEYMAP.rules if (parts := rule.match(key)) is not None)
    ours = [gradients["content_encoder." + target.format(**parts)] for target in rule.targets]
    if key.endswith("linear_w.weight"):  # (maps * out, in) here, (out, maps * in) there
        return ours[0].unflatten(0, (-1, ours[0].shape[1])).transpose(0, 1).flatten(1)
    return torch.cat(ours, dim=1) if len(ours) > 1 else ours[0]


RUNNERS = {
    "content_encoder": run_content_encoder,
    "unet": run_unet,
    "released": run_released,
    "clap_conditioning": run_clap_conditioning,
    "mel_vae_vocoder": run_mel_vae_vocoder,
    "generate": run_generate,
    "train_step": run_train_step,
}
