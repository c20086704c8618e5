"""A small ACL-SSL network with random weights."""

from avzoo import ACLConfig

AUDIO = {
    "embedding_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "conv_pos_kernel_size": 4,
    "conv_pos_groups": 2,
    "num_buckets": 8,
    "max_distance": 20,
}
GROUNDER = {
    "text_config": {
        "vocab_size": 12,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
    },
    "vision_config": {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    },
    "projection_dim": 8,
    "extract_layers": [0, 1, 2],
    "reduce_dim": 4,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 8,
    "use_complex_transposed_convolution": True,
}


def small_config(**settings) -> ACLConfig:
    """Pictures of 32 pixels, a prompt of three tokens."""
    return ACLConfig(
        audio_config=dict(AUDIO),
        grounder_config=dict(GROUNDER),
        audio_layers=(1, 2),
        prompt_ids=[1, 3, 2],
        prompt_position=2,
        **settings,
    )
