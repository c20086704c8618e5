"""What processors return."""

import numpy as np
import pytest
import torch

from avzoo import ActiveSpeakerProcessor, AVDiffuSSProcessor, VocaLiSTProcessor

FRAMES = 10
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, FRAMES * 640).astype(np.float32)
GREY = np.random.default_rng(0).integers(0, 255, (FRAMES, 112, 112), dtype=np.uint8)
COLOURED = list(np.random.default_rng(0).integers(0, 255, (FRAMES, 96, 96, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("processor", "video"),
    [(ActiveSpeakerProcessor(), GREY), (AVDiffuSSProcessor(), GREY), (VocaLiSTProcessor(), COLOURED)],
    ids=lambda value: type(value).__name__ if hasattr(value, "save_pretrained") else "",
)
def test_the_kind_of_tensor_is_chosen_and_the_names_are_told(processor, video):
    batch = processor(video, SOUND, 16000)
    assert set(processor.model_input_names) == batch.keys()
    for choice, kind in ((None, torch.Tensor), ("pt", torch.Tensor), ("np", np.ndarray)):
        chosen = processor(video, SOUND, 16000, return_tensors=choice)
        assert chosen.keys() == batch.keys()
        for name, values in chosen.items():
            assert isinstance(values, kind), (choice, name)
            assert torch.equal(torch.as_tensor(values), batch[name]), (choice, name)
    with pytest.raises(ValueError, match=r"`return_tensors` must be one of pt, np, got 'tf'"):
        processor(video, SOUND, 16000, return_tensors="tf")
