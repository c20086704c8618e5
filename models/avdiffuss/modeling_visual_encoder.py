"""AVDiffuSS's visual encoder: what a face does, one vector for each frame.

Paper: "Seeing Through the Conversation: Audio-Visual Speech Separation based on Diffusion Model" (arXiv 2310.19581,
ICASSP 2024). Facts about the released weights come from kaistmm/AVDiffuSS@86d8203 (sgmse/backbones/ncsnpp.py,
visualFrontend), which takes the layers from TalkNet (arXiv 2107.06592) and makes them narrower.

A convolution over space and time, a residual trunk on each frame, then convolutions over time. Each clip is encoded by
itself. (The authors' code joins the clips of a batch to one long one, so that each sees the ends of its neighbours.)

Shapes: batch = clips; frames, 25 per second.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.talking_face import FaceTemporalLayer, FaceTrunkMixin, init_as_torch

from .configuration_avdiffuss import AVDiffuSSVisualEncoderConfig


@dataclass
class AVDiffuSSVisualEncoderOutput(ModelOutput):
    """Faces as vectors.

    Args:
        last_hidden_state: (batch, frames, hidden_size), 0 or more. What padding gets has no meaning.
    """

    last_hidden_state: torch.FloatTensor | None = None


class AVDiffuSSPreTrainedModel(PreTrainedModel):
    config_class = AVDiffuSSVisualEncoderConfig
    base_model_prefix = "visual_encoder"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # there is no attention in it that an implementation could change
    _no_split_modules = ["FaceResidualStage", "FaceTemporalLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        init_as_torch(module)


class AVDiffuSSVisualEncoder(FaceTrunkMixin, AVDiffuSSPreTrainedModel):
    """Grey pictures of a face to one vector per frame.

        encoder = AVDiffuSSVisualEncoder.from_pretrained(folder, subfolder="denoiser_visual_encoder")
        features = encoder(processor.video("face.mp4")[None]).last_hidden_state  # (1, frames, 64)

    The clip as a whole is normed between layers, so a frame's vector depends on the clip's length; the released weights
    know clips of 2.04 s.
    """

    def __init__(self, config: AVDiffuSSVisualEncoderConfig):
        super().__init__(config)
        config.validate()  # assignments after construction are not checked
        width = config.hidden_size
        self.add_trunk((width, width, 2 * width, 2 * width), config.batch_norm_eps)
        self.temporal_layers = nn.ModuleList(FaceTemporalLayer(2 * width) for _ in range(config.num_temporal_layers))
        self.output_conv = nn.Conv1d(2 * width, width, 5, padding=2)
        self.output_norm = nn.BatchNorm1d(width)
        self.post_init()

    @with_output_options
    def forward(
        self, pixel_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> AVDiffuSSVisualEncoderOutput:
        """
        Args:
            pixel_values: (batch, frames, rows, columns), grey levels of 0..255, uint8 or floating point.
            attention_mask: (batch, frames), 1 = frame, 0 = padding at the end. None: every frame counts.

        Raises:
            ValueError: another shape, no frame, or pictures that the trunk does not bring to its last size.
        """
        side = -(-self.config.frame_size // 32)
        sides = [-(-size // 32) for size in pixel_values.shape[-2:]]
        if pixel_values.ndim != 4 or 0 in pixel_values.shape or sides != [side, side]:
            size = self.config.frame_size
            raise ValueError(
                f"`pixel_values` must be (batch, frames, {size}, {size}) with at least one frame ({32 * side - 31} to "
                f"{32 * side} pixels work too), got {tuple(pixel_values.shape)}."
            )
        batch, frames = pixel_values.shape[:2]
        if attention_mask is not None and attention_mask.shape != (batch, frames):
            raise ValueError(f"`attention_mask` must be ({batch}, {frames}), got {tuple(attention_mask.shape)}.")
        if attention_mask is None:
            attention_mask = pixel_values.new_ones(batch, frames, dtype=torch.float32)
        mask = attention_mask[:, None].float()  # (batch, 1, frames)

        values = (pixel_values.float() / 255 - self.config.pixel_mean) / self.config.pixel_std
        values = values * mask[:, 0, :, None, None]  # as beyond the ends of the clip
        hidden_states = self.run_trunk(
            self.run_stem(values.to(self.stem_conv.weight.dtype))
        ).mT  # (batch, 2 * width, frames)
        for layer in self.temporal_layers:
            hidden_states = layer(hidden_states, mask)
        hidden_states = self.output_conv(hidden_states * mask.to(hidden_states.dtype))
        return AVDiffuSSVisualEncoderOutput(last_hidden_state=self.output_norm(hidden_states).relu().mT)


__all__ = ["AVDiffuSSPreTrainedModel", "AVDiffuSSVisualEncoder", "AVDiffuSSVisualEncoderOutput"]
