"""VoiceLDM: a guided step against the bare network, the content encoder's memory, and samplers of few steps.

    python benchmarks/voiceldm.py [--rounds 5] [--only step|memory|samplers]

Step: size S with random weights, 10 s, dual guidance (four rows), 150 content frames; the pipeline's step with
scheduler and guidance against `unet(...)` alone on four rows of 150 frames, alternating.

Memory: four texts of 1000 tokens, against transformers' SpeechT5 encoder and an upsampler that lays out ten numbers for
each pair of frame and token, as the authors' does; same weights, outputs compared.

Samplers: latents of the toy checkpoint from one noise, against 1000 steps of DDIM.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import SpeechT5Config
from transformers.models.speecht5.modeling_speecht5 import SpeechT5EncoderWithTextPrenet

import avzoo
from avzoo.models.voiceldm import VoiceLDMContentEncoder, VoiceLDMContentEncoderConfig

TOKENS, ROWS = 1000, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["step", "memory", "samplers"])
    options = parser.parse_args()
    if options.only in (None, "step"):
        time_steps(options.rounds)
    if options.only in (None, "memory"):
        measure_memory()
    if options.only in (None, "samplers"):
        compare_samplers()


# ---------------------------------------------------------------------------------------------------- step


@torch.no_grad()
def time_steps(rounds: int) -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=128,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
        up_block_types=(*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
        block_out_channels=(128, 256, 384, 640),
        cross_attention_dim=768,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=512,
        class_embeddings_concat=True,
    ).eval()
    bare = UNet2DConditionModel.from_config(unet.config).eval()
    bare.load_state_dict(unet.state_dict())
    encoder = VoiceLDMContentEncoder(VoiceLDMContentEncoderConfig(num_hidden_layers=1)).eval()
    pipe = avzoo.VoiceLDMPipeline(unet=unet, content_encoder=encoder, scheduler=released_scheduler())
    pipe.set_progress_bar_config(disable=True)
    content, described = torch.randn(2, 150, 768), torch.randn(2, 512)
    bias = torch.full((150,), -torch.inf)
    bias[:3], bias[3] = 0.0, 4.99  # three frames of null content, and 147 of padding in one
    latents = torch.randn(1, 8, 256, 16)
    marks: list[float] = []
    conditions = {
        "description_embeds": described[:1],
        "negative_description_embeds": described[1:],
        "content_embeds": content[:1],
        "content_bias": torch.zeros(1, 150),
        "negative_content_embeds": content[1:],
        "negative_content_bias": bias[None],
    }

    def step() -> float:
        marks.clear()
        pipe(
            **conditions,
            latents=latents,
            audio_length_in_s=10.0,
            num_inference_steps=2,
            desc_guidance_scale=7.0,
            cont_guidance_scale=7.0,
            output_type="latent",
            callback_on_step_end=lambda *_: marks.append(time.perf_counter()),
        )
        return marks[1] - marks[0]  # a whole step: network, guidance, scheduler

    rows = content[[0, 1, 0, 1]], described[[0, 0, 1, 1]]

    def network() -> float:
        start = time.perf_counter()
        bare(latents.repeat(4, 1, 1, 1), 500, rows[0], class_labels=rows[1])
        return time.perf_counter() - start

    step(), network()
    times = [(step(), network()) for _ in range(rounds)]
    ratios = [ours / theirs for ours, theirs in times]
    print("| what | ratio, median | per round | step | network | threads |")
    print("|---|---|---|---|---|---|")
    print(
        f"| a dual-guided step / the bare network on its four rows | {statistics.median(ratios):.3f} "
        f"| {' '.join(f'{ratio:.3f}' for ratio in ratios)} | {min(t[0] for t in times):.2f} s "
        f"| {min(t[1] for t in times):.2f} s | {torch.get_num_threads()} |\n"
    )


def released_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


# -------------------------------------------------------------------------------------------------- memory


@torch.no_grad()
def measure_memory() -> None:
    torch.manual_seed(0)
    config = VoiceLDMContentEncoderConfig()
    encoder = VoiceLDMContentEncoder(config).eval()
    input_ids = torch.randint(4, config.vocab_size, (ROWS, TOKENS))
    mask, text_encoder = torch.ones_like(input_ids), speecht5_of(encoder)

    def theirs() -> torch.Tensor:
        hidden = text_encoder(input_ids, mask).last_hidden_state
        return laid_out(encoder.upsampler, hidden, encoder.duration_predictor(hidden, mask), config.max_frames)

    (our_frames, ours), (their_frames, official) = peak_of(lambda: encoder(input_ids).frames), peak_of(theirs)
    difference = torch.linalg.vector_norm(our_frames - their_frames) / torch.linalg.vector_norm(their_frames)
    assert difference < 1e-5, difference
    print("| what | most that tensors take beside the weights, MB | share |")
    print("|---|---|---|")
    print(f"| {ROWS} x {TOKENS} tokens to 1000 frames, laid out as by the authors | {official / 1e6:.0f} | 1 |")
    print(f"| the same here | {ours / 1e6:.0f} | {ours / official:.2f} |\n")


def peak_of(compute: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """What is computed, and the most bytes that torch held for it at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        answer = compute()
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return answer, max(held)


def speecht5_of(encoder: VoiceLDMContentEncoder) -> nn.Module:
    """transformers' encoder with the weights of ours, which it takes over."""
    config = SpeechT5Config(max_text_positions=1000, encoder_layerdrop=0.0)
    with torch.device("meta"):
        theirs = SpeechT5EncoderWithTextPrenet(config)
    table = SpeechT5EncoderWithTextPrenet(SpeechT5Config(encoder_layers=0, max_text_positions=1000)).prenet
    ours, own = encoder.text_encoder, {}
    own["prenet.embed_tokens.weight"] = ours.embed_tokens.weight
    own["prenet.encode_positions.alpha"] = ours.position_scale
    own["wrapped_encoder.embed_positions.pe_k.weight"] = ours.distances.weight
    names = {
        "attention_norm": "layer_norm",
        "feed_forward_norm": "final_layer_norm",
        "fc1": "feed_forward.intermediate_dense",
    }
    names |= {"fc2": "feed_forward.output_dense", "attention.o_proj": "attention.out_proj"}
    for name, value in ours.layers.state_dict().items():
        number, module, leaf = name.split(".", 1)[0], name.split(".", 1)[1].rpartition(".")[0], name.rpartition(".")[2]
        own[f"wrapped_encoder.layers.{number}.{names.get(module, module)}.{leaf}"] = value
    own["wrapped_encoder.layer_norm.weight"], own["wrapped_encoder.layer_norm.bias"] = ours.norm.weight, ours.norm.bias
    theirs.load_state_dict(own, strict=False, assign=True)
    theirs.prenet.encode_positions.pe = table.encode_positions.pe
    return theirs.eval()


def laid_out(upsampler: nn.Module, hidden: torch.Tensor, durations: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The upsampler's formula with all ten inputs of each pair of frame and token side by side."""
    ends = durations.cumsum(1)
    times = torch.arange(1, num_frames + 1)
    since, until = times[:, None] - (ends - durations)[:, None], ends[:, None] - times[:, None]

    def pairs(features: nn.Module, mlp: nn.Module) -> torch.Tensor:
        tokens = features(hidden)[:, None].expand(-1, num_frames, -1, -1)
        inputs = torch.cat([since[..., None], until[..., None], tokens], dim=-1)
        weight = torch.cat([mlp.fc1_start.weight, mlp.fc1_end.weight, mlp.fc1_features.weight], dim=1)
        first = nn.functional.silu(nn.functional.linear(inputs, weight, mlp.fc1_features.bias))
        return mlp.fc3(nn.functional.silu(mlp.fc2(first)))

    weights = pairs(upsampler.map_features, upsampler.map_mlp).softmax(dim=2).permute(0, 3, 1, 2)
    contexts = pairs(upsampler.context_features, upsampler.context_mlp)
    width = hidden.shape[-1]
    by_map = upsampler.token_projection.weight.unflatten(0, (-1, width)).transpose(0, 1).flatten(1)
    gathered = torch.einsum("bqtk,bkh->bqth", weights, hidden).permute(0, 2, 1, 3).flatten(2)
    others = torch.einsum("bqtk,btkp->bqtp", weights, contexts).permute(0, 2, 1, 3).flatten(2)
    mixed = gathered @ by_map.T + upsampler.token_bias + upsampler.context_projection(others)
    return upsampler.output_projection(upsampler.norm(mixed))


# ------------------------------------------------------------------------------------------------ samplers


@torch.no_grad()
def compare_samplers() -> None:
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(avzoo.toy_checkpoint("voiceldm"))
    pipe.set_progress_bar_config(disable=True)
    pipe.use_preset("reference")
    scenes = ["Rain falls while a man speaks.", "A siren wails while a woman is talking."] * 4

    def latents(steps: int) -> torch.Tensor:
        noise = [torch.Generator().manual_seed(seed) for seed in range(len(scenes))]
        return pipe(scenes, "seven", num_inference_steps=steps, generator=noise, output_type="latent").audios

    exact = latents(1000)
    print("| sampler | steps | mean distance to 1000 steps of DDIM, relative |")
    print("|---|---|---|")
    for preset, counts in (("reference", (20, 50, 100)), ("fast", (10, 15, 20))):
        pipe.use_preset(preset)
        for steps in counts:
            distance = (latents(steps) - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
            print(f"| {type(pipe.scheduler).__name__} ({preset}) | {steps} | {distance.mean():.3f} |")


if __name__ == "__main__":
    main()
