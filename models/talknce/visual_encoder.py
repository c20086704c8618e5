"""What a face does, one embedding per frame: the visual encoder that LoCoNet took over from TalkNet.

Nearly all of its cost is in what looks at each frame by itself ([`compute_frame_features`], 1.0 GFLOP per frame at full
size), and there a frame depends on the two frames before and after it alone. So these features can be kept, cut and put
together anew; only the two frames on each side of a cut have to be computed again ([`compute_inner_features`]).

Shapes: tracks, frames (25 per second), rows and columns of grey pictures, channels.
"""

import torch
from torch import nn

from avzoo.models.layers.talking_face import FaceTemporalLayer, FaceTrunkMixin

from .configuration_talknce import ActiveSpeakerConfig

REACH = 2  # frames before and after a frame that its features depend on


class FaceEmbeddings(FaceTrunkMixin, nn.Module):
    """Pixels to a vector per frame and back to the width of an embedding."""

    def __init__(self, config: ActiveSpeakerConfig):
        super().__init__()
        self.config = config
        widths, eps = config.trunk_channels, config.batch_norm_eps
        self.add_trunk(widths, eps)
        self.temporal_layers = nn.ModuleList(FaceTemporalLayer(widths[-1]) for _ in range(config.num_temporal_layers))
        middle = 2 * config.embedding_size
        self.projection_conv = nn.Conv1d(widths[-1], middle, 5, padding=2)
        self.projection_norm = nn.BatchNorm1d(middle)
        self.projection = nn.Conv1d(middle, config.embedding_size, 1)

    def forward(self, pixel_values: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings of tracks that belong to clips.

        Args:
            pixel_values: (clips, tracks, frames, rows, columns), grey levels of 0..255.
            lengths: (clips,), frames before padding. None: no clip is padded.

        Returns:
            (clips, tracks, frames, embedding_size); what padding gets has no meaning.
        """
        if self.config.join_tracks and pixel_values.shape[1] > 1:
            features = self.compute_joined_features(pixel_values, lengths)
        else:
            features = self.compute_frame_features(
                pixel_values.flatten(0, 1), repeat_lengths(lengths, pixel_values.shape[1])
            )
            features = features.unflatten(0, pixel_values.shape[:2])
        return self.embed_features(features, lengths)

    def normalize(self, pixel_values: torch.Tensor) -> torch.Tensor:
        values = (pixel_values.float() / 255 - self.config.pixel_mean) / self.config.pixel_std
        return values.to(self.stem_conv.weight.dtype)

    def compute_frame_features(self, pixel_values: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(tracks, frames, rows, columns) to (tracks, frames, channels): each track by itself, 0 beyond its ends."""
        values = self.normalize(pixel_values)
        if lengths is not None:
            values = values * frame_mask(lengths, values.shape[1])[..., None, None].to(values.dtype)
        return self.run_trunk(self.run_stem(values))

    def compute_joined_features(self, pixel_values: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """The same for clips whose tracks are laid end to end: (clips, tracks, frames, ...) in, (..., channels) out."""
        tracks, frames = pixel_values.shape[1:3]
        values = self.normalize(pixel_values).flatten(1, 2)  # (clips, tracks * frames, rows, columns)
        if lengths is None:
            return self.run_trunk(self.run_stem(values)).unflatten(1, (tracks, frames))
        # A padded clip is packed first: its tracks follow each other without the padding between.
        indices = compute_packing_indices(lengths, tracks, frames)  # (clips, tracks * frames)
        values = torch.gather(values, 1, indices[..., None, None].expand_as(values))
        values = values * frame_mask(lengths * tracks, tracks * frames)[..., None, None].to(values.dtype)
        packed = self.run_trunk(self.run_stem(values))
        features = torch.zeros_like(packed).scatter(1, indices[..., None].expand_as(packed), packed)
        return features.unflatten(1, (tracks, frames))

    def compute_inner_features(self, values: torch.Tensor) -> torch.Tensor:
        """Features of the frames that have two neighbours on both sides.

        Args:
            values: (runs, frames, rows, columns) of `normalize`; 0 stands for what lies beyond an end.

        Returns:
            (runs, frames - 4, channels).
        """
        return self.run_trunk(self.run_stem(values, padded=False))

    def embed_features(self, features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(clips, tracks, frames, channels), features of whole tracks, to embeddings of the same shape."""
        clips, tracks, frames = features.shape[:3]
        hidden_states = features.flatten(0, 1).mT  # (clips * tracks, channels, frames)
        if lengths is None:
            mask = features.new_ones(clips * tracks, 1, frames, dtype=torch.float32)
        else:
            mask = frame_mask(repeat_lengths(lengths, tracks), frames)[:, None].float()
        for layer in self.temporal_layers:
            hidden_states = layer(hidden_states, mask)
        hidden_states = self.projection_conv(hidden_states * mask.to(hidden_states.dtype))
        hidden_states = self.projection(self.projection_norm(hidden_states).relu())
        return hidden_states.mT.unflatten(0, (clips, tracks))


def frame_mask(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """(clips, frames), True for the first `lengths` of each clip."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def repeat_lengths(lengths: torch.Tensor | None, tracks: int) -> torch.Tensor | None:
    """Repeat the lengths of clips for each of their tracks."""
    return None if lengths is None else lengths.repeat_interleave(tracks)


def compute_packing_indices(lengths: torch.Tensor, tracks: int, frames: int) -> torch.Tensor:
    """Compute where each frame of the packed clips lies in the padded ones, (clips, tracks * frames).

    All frames that count come first, in order, then all padding: a permutation, so that it can be turned back.
    """
    packed = torch.arange(tracks * frames, device=lengths.device)
    kept = lengths[:, None].clamp(min=1)  # frames of a track, and those of its padding
    spare = (frames - kept).clamp(min=1)
    beyond = packed - tracks * kept  # place among the padding
    inside = packed // kept * frames + packed % kept
    outside = beyond // spare * frames + kept + beyond % spare
    return torch.where(beyond < 0, inside, outside)
