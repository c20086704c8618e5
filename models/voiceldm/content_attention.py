"""Cross-attention to content of different lengths in one batch, without the cost of its padding.

In the authors' code the denoiser attends to the padding of the shorter text, without a mask, and the released weights
expect it. All frames of the padding are the same vector, and n equal keys have the weight of one key whose logit is
raised by ln n. So one padded frame is kept, with that bias; the rest is masked, and a batch equals its items.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention


def fold_padding(frame_lengths: torch.Tensor, padded_lengths: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Compute the bias of attention logits with which one padded frame stands for all.

    Args:
        frame_lengths: (batch,), frames of each text without padding.
        padded_lengths: (batch,), frames of each text with the padding that the released weights expect.
        num_frames: frames in the batch: at least `frame_lengths`, and one more where a text has padding.

    Returns:
        (batch, num_frames), float32: 0 for a text's frames, ln of the padding's size for the frame after them, -inf
        beyond.
    """
    positions = torch.arange(num_frames, device=frame_lengths.device)
    padding = (padded_lengths - frame_lengths).clamp(min=0)[:, None].float()
    lengths = frame_lengths[:, None]
    bias = torch.where(positions == lengths, padding.log(), -torch.inf)  # ln 0: no padding, no key
    return torch.where(positions < lengths, 0.0, bias)


class ContentAttentionProcessor:
    """An attention of diffusers, whichever it is, with a bias for each content frame; pass it to the UNet as
    `cross_attention_kwargs={"content_bias": bias}`, (batch, frames).

    UNet2DConditionModel's own `encoder_attention_mask` is no substitute: it keeps only three digits of ln n.

    Args:
        inner: the processor that computes.
    """

    def __init__(self, inner: Callable[..., torch.Tensor]):
        self.inner = inner

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        content_bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if encoder_hidden_states is not None and content_bias is not None:
            attention_mask = content_bias[:, None].to(hidden_states.dtype)
        options = {} if temb is None else {"temb": temb}  # which not every processor takes
        return self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, **options)


@contextmanager
def attend_with_bias(unet: UNet2DConditionModel) -> Iterator[None]:
    """Within the context, every attention of `unet` takes `content_bias`; after it, its processors are as before.

    Each processor goes on computing, be it sliced or another that was set. Results without a bias don't change.
    """
    before = dict(unet.attn_processors)
    unet.set_attn_processor({name: ContentAttentionProcessor(inner) for name, inner in before.items()})
    try:
        yield
    finally:
        unet.set_attn_processor(before)  # which empties the dictionary


__all__ = ["ContentAttentionProcessor", "attend_with_bias", "fold_padding"]
