"""Clips of AVA-ActiveSpeaker as a training set of LoCoNet or TalkNet, augmented as their authors do.

Source: kaistmm/TalkNCE@8666642, dataLoader_multiperson.py. Unlike there, sound is mixed at the SNR that is drawn
(theirs is computed from 16-bit squares that overflow), and every draw follows the seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from avzoo.audio.mixing import mix_at_snr
from avzoo.data.ava_active_speaker import ava_videos, read_ava_clip
from avzoo.video import resize_as_opencv

Row = Mapping[str, Any]


class ActiveSpeakerClips(Dataset):
    """One clip per track: {"pixel_values", "input_features", "labels", "face_mask"}, see the models' forward.

    Args:
        rows: tracks, as `avzoo.data.ava_active_speaker.ava_tracks` yields them.
        processor: of the network; tells features, size and number of faces.
        max_frames: longer tracks are cut at their end; LoCoNet's authors train on 200. None: whole tracks.
        augment: draw a flip, a crop or a rotation for each face, and another clip's sound beside half of them. From
            torch's global generator, which the training loop seeds for every sample.
        min_overlap: part of the clip that a face must be there for to be context; 0 for evaluation, as the authors do.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        processor: Any,
        max_frames: int | None = 200,
        augment: bool = True,
        min_overlap: float = 0.5,
    ):
        self.rows, self.processor, self.augment = list(rows), processor, augment
        self.videos = ava_videos(self.rows)
        self.max_frames, self.min_overlap = max_frames, min_overlap

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.rows[index]
        frames = len(row["timestamps"]) if self.max_frames is None else min(self.max_frames, len(row["timestamps"]))
        clip = self._read(row, frames)
        faces, audio = clip["faces"], clip["audio"]
        audio = audio[: round(frames * 16000 / clip["fps"])]
        if self.augment:
            augmented: dict[str, np.ndarray] = {}  # a face that is there twice looks the same twice
            for place, name in enumerate(clip["entity_ids"]):
                augmented.setdefault(name, augment_faces(faces[place]))
            faces = np.stack([augmented[name] for name in clip["entity_ids"]])
            audio = self._add_other_sound(audio)
        return {
            "pixel_values": torch.from_numpy(faces),
            "input_features": self.processor.audio_rows(torch.from_numpy(audio), frames, clip["fps"]),
            "labels": torch.from_numpy(clip["labels"]),
            "face_mask": torch.from_numpy(clip["masks"]),
        }

    def _read(self, row: Row, frames: int) -> dict[str, Any]:
        return read_ava_clip(
            self.videos[row["video_id"]],
            row["entity_id"],
            num_frames=frames,
            num_speakers=self.processor.num_speakers,
            min_overlap=self.min_overlap,
            size=self.processor.frame_size,
        )

    def _add_other_sound(self, audio: np.ndarray) -> np.ndarray:
        """In half of the cases with another track's sound, at -5 to 5 dB."""
        if torch.rand(()) < 0.5:
            return audio
        other = self.rows[int(torch.randint(len(self.rows), ()))]
        noise = read_ava_clip(self.videos[other["video_id"]], other["entity_id"], num_frames=1, num_speakers=1)["audio"]
        noise = np.resize(noise, len(audio))  # as often as needed
        snr_db = float(torch.rand(()) * 10 - 5)
        if not audio.any() or not noise.any():
            return audio
        return mix_at_snr(audio, noise, snr_db)[0]


def augment_faces(faces: np.ndarray) -> np.ndarray:
    """Draw one of four for all frames of a face, (frames, size, size) uint8: as it is, mirrored, enlarged or rotated.

    A square of 0.7 to 1 of the side is cut out and enlarged; rotations are by up to 15 degrees.
    """
    kind = int(torch.randint(4, ()))
    size = faces.shape[1]
    if kind == 1:
        return np.ascontiguousarray(faces[:, :, ::-1])
    if kind == 2:
        side = max(1, int(size * (0.7 + 0.3 * float(torch.rand(())))))
        top, left = (int(torch.randint(size - side + 1, ())) for _ in range(2))
        cut = np.ascontiguousarray(faces[:, top : top + side, left : left + side])
        return resize_as_opencv(cut[..., None], size, size)[..., 0]
    if kind == 3:
        return rotate_faces(faces, float(torch.rand(()) * 30 - 15))
    return faces


def rotate_faces(faces: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate (frames, size, size) uint8 around their centre, bilinear, 0 from outside."""
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    grid = torch.nn.functional.affine_grid(
        torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]), [1, 1, *faces.shape[1:]], align_corners=False
    )
    pictures = torch.from_numpy(np.ascontiguousarray(faces)).float()[None]
    rotated = torch.nn.functional.grid_sample(pictures, grid, align_corners=False)[0]
    return rotated.round().clamp(0, 255).to(torch.uint8).numpy()


def collate_clips(clips: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Clips of several lengths as one batch, padded at the end, with an `attention_mask` if any is."""
    longest = max(clip["labels"].shape[1] for clip in clips)

    def pad(values: torch.Tensor, dim: int, length: int) -> torch.Tensor:
        shape = list(values.shape)
        shape[dim] = length - shape[dim]
        return torch.cat([values, values.new_zeros(shape)], dim=dim)

    batch = {
        "pixel_values": torch.stack([pad(clip["pixel_values"], 1, longest) for clip in clips]),
        "input_features": torch.stack([pad(clip["input_features"], 0, 4 * longest) for clip in clips]),
        "labels": torch.stack([pad(clip["labels"], 1, longest) for clip in clips]),
        "face_mask": torch.stack([pad(clip["face_mask"], 1, longest) for clip in clips]),
    }
    lengths = torch.tensor([clip["labels"].shape[1] for clip in clips])
    if int(lengths.min()) < longest:
        batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
    return batch
