"""A training step of ACL-SSL: every picture encoded twice, against the order of the authors' code.

Theirs sends the batch of pictures through CLIPSeg once for every sound, once more for dense features, and once behind
its masks: `batch + 2` passes of the picture encoder. Here one pass serves all pairs and the dense features, and the
second sees the masked pictures. Counted are the matrix products and convolutions of the released size, without
computing them; loss and gradients of both orders are compared on a small network first.

Source of the order: swimmiing/ACL-SSL@57f4a6c (`Train_ACL.py`, `modules/models.py`).
"""

import torch
from torch import nn
from transformers import CLIPSegForImageSegmentation

from avzoo import ACLConfig, ACLForSoundLocalization
from avzoo.models.acl_ssl.loss_acl_ssl import acl_loss, sample_mask, weight_features
from avzoo.training.flops import flop_counter

BATCH_SIZE = 8
SMALL = {
    "audio_config": {
        "embedding_size": 12,
        "hidden_size": 16,
        "num_hidden_layers": 12,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_pos_kernel_size": 8,
        "conv_pos_groups": 2,
        "num_buckets": 16,
        "max_distance": 20,
    },
    "grounder_config": {
        "text_config": {
            "vocab_size": 20,
            "hidden_size": 12,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 10,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        },
        "projection_dim": 14,
        "extract_layers": [1, 2, 3],
        "reduce_dim": 8,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
        "use_complex_transposed_convolution": True,
    },
    "prompt_ids": [1, 5, 6, 7, 2],
    "prompt_position": 4,
}


def main() -> None:
    torch.set_num_threads(1)
    loss, gradient = compare_orders()
    print(f"small network: losses differ by {loss:.1e}, gradients by {gradient:.1e} of the largest")
    theirs, ours = count_step(compute_official_loss), count_step(compute_loss)
    print(f"\nreleased size, batches of {BATCH_SIZE}, TFLOP of a step")
    print("| what | the authors' order | here | ratio |")
    print("|---|---|---|---|")
    for name, official, own in zip(("forward", "forward and backward"), theirs, ours, strict=True):
        print(f"| {name} | {official / 1e12:.2f} | {own / 1e12:.2f} | {official / own:.2f} |")


# ----------------------------------------------------------------------------------------------------------- the orders


def compute_loss(
    model: ACLForSoundLocalization,
    pixel_values: torch.Tensor,
    input_features: torch.Tensor,
    uniform: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """The loss as the model computes it; `uniform` as in `compute_loss` of the model."""
    image, audio = model.get_image_features(pixel_values), model.get_audio_features(input_features)
    logits = model.compute_logits(image, audio.last_hidden_state)
    features, _ = model.pool_features(image, logits)
    return model.compute_loss(pixel_values, logits, features, audio.last_hidden_state, uniform=uniform).loss


def compute_official_loss(
    model: ACLForSoundLocalization,
    pixel_values: torch.Tensor,
    input_features: torch.Tensor,
    uniform: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """The same in the authors' order, with the same draws."""
    clip, config = model.grounder.clip, model.config
    audio = model.get_audio_features(input_features).last_hidden_state
    # 1. Every sound with all pictures, each time from the pixels on
    columns = [run_clipseg(model.grounder, pixel_values, sound) for sound in audio]
    logits = torch.stack(columns, dim=1)  # (pictures, sounds, height, width)
    # 2. Dense features: the last layer without attention
    vision = clip.vision_model
    entering = vision(pixel_values, output_hidden_states=True).hidden_states[-2]
    dense = compute_value_path(vision, entering)
    dense = clip.visual_projection(vision.post_layernorm(dense))[:, 1:]
    side = int(dense.shape[1] ** 0.5)
    features, _ = weight_features(
        dense.mT.unflatten(-1, (side, side)), logits, config.feature_mask_threshold, config.feature_mask_temperature
    )
    # 3. Pictures behind the masks of their own sounds
    scaled = model.mask_scale * logits + model.mask_shift
    own = torch.stack([scaled[index, index] for index in range(len(audio))])[:, None]
    masked = clip.get_image_features(pixel_values * sample_mask(own, uniform[1])).pooler_output
    terms = acl_loss(
        masked,
        features,
        audio,
        sample_mask(scaled, uniform[0]),
        scale=config.contrast_scale,
        positive_area=config.positive_area,
        negative_area=config.negative_area,
    )
    return terms.loss


def run_clipseg(grounder: CLIPSegForImageSegmentation, pixel_values: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """transformers' own forward pass, every picture with one vector: (pictures, height, width)."""
    return grounder(
        pixel_values=pixel_values, conditional_embeddings=sound.expand(len(pixel_values), -1), return_dict=True
    ).logits


def compute_value_path(vision: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """The last layer in which every token sees itself alone."""
    layer = vision.encoder.layers[-1]
    attention = layer.self_attn
    hidden_states = hidden_states + attention.out_proj(attention.v_proj(layer.layer_norm1(hidden_states)))
    return hidden_states + layer.mlp(layer.layer_norm2(hidden_states))


# ------------------------------------------------------------------------------------------------------------ measuring


def compare_orders() -> tuple[float, float]:
    """Greatest differences of the losses, and of the gradients over the largest gradient, on a small network."""
    torch.manual_seed(0)
    model = ACLForSoundLocalization(ACLConfig(**SMALL)).eval()  # in training, dropout draws
    pixels, sounds, uniform = make_inputs(4, 64, 48)
    results = []
    for compute in (compute_loss, compute_official_loss):
        model.zero_grad()
        loss = compute(model, pixels, sounds, uniform)
        loss.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])
        results.append((loss.detach(), gradient))
    (loss, gradient), (official_loss, official_gradient) = results
    return (
        float((loss - official_loss).abs()),
        float((gradient - official_gradient).abs().max() / official_gradient.abs().max()),
    )


def count_step(compute, batch_size: int = BATCH_SIZE) -> tuple[int, int]:
    """Operations of a training step of the released size, (forward, forward and backward); nothing is computed."""
    with torch.device("meta"):
        model = ACLForSoundLocalization(ACLConfig(attn_implementation="eager")).train()
        inputs = make_inputs(batch_size, 352, 998)
        with flop_counter() as forward:
            loss = compute(model, *inputs)
        with flop_counter() as backward:
            loss.backward()
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


def make_inputs(
    batch_size: int, image_size: int, frames: int
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    pixels, sounds = torch.randn(batch_size, 3, image_size, image_size), torch.randn(batch_size, frames, 128)
    uniform = (
        torch.rand(batch_size, batch_size, image_size, image_size),
        torch.rand(batch_size, 1, image_size, image_size),
    )
    return pixels, sounds, tuple(draws.clamp(1e-6, 1 - 1e-6) for draws in uniform)


if __name__ == "__main__":
    main()
