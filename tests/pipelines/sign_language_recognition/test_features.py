"""Clips in chunks: features, steps and logits are those of the whole clip, and chunks are small."""

import numpy as np
import pytest
import torch
from colour_reader import SIZES, make_noise, make_positive_model, make_processor, make_random_model, make_reader

from avzoo import SlowFastSignConfig
from avzoo.pipelines.sign_language_recognition import features
from avzoo.pipelines.sign_language_recognition.features import (
    FeatureStream,
    StepStream,
    compute_steps,
    count_context_frames,
    recognize_steps,
)


@pytest.fixture(scope="module")
def model():
    return make_random_model().double()


def cut(frames: np.ndarray, size: int) -> list[np.ndarray]:
    return [frames[start : start + size] for start in range(0, len(frames), size)]


@torch.no_grad()
def run_stream(stream: FeatureStream, frames: np.ndarray, block: int) -> torch.Tensor:
    return torch.cat([*(stream.add(some) for some in cut(frames, block)), stream.finish()])


@torch.no_grad()
def run_whole(model, frames: np.ndarray):
    return model(**make_processor().pad([frames]))


def test_the_context_of_the_released_network_is_52_frames_before_and_47_behind():
    assert count_context_frames(SlowFastSignConfig()) == (52, 47)


@pytest.mark.parametrize("fusion", ["bidirectional_add", "bidirectional_cat", "fast_to_slow"])
def test_a_feature_depends_on_no_frame_beyond_its_context_and_on_the_farthest_in_it(fusion):
    model = make_positive_model(fusion=fusion).double()
    before, behind = count_context_frames(model.config)
    middle = -(-before // 4) * 4 + 4
    pixels = torch.rand(1, middle + 4 * (behind // 4) + 12, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    features = model.get_frame_features(pixels)[0]
    seen = []
    for place in range(middle, middle + 4):
        (gradient,) = torch.autograd.grad(features[place].sum(), pixels, retain_graph=True)
        seen += (gradient[0].abs().amax((1, 2, 3)).nonzero()[:, 0] - place).tolist()
    # The bound takes each way of a slow frame to a fast one to be as far as it can be.
    assert -before <= min(seen) <= 3 - before
    assert behind - 3 <= max(seen) <= behind


@pytest.mark.parametrize("options", [{}, {"max_frames": 60}, {"hop": 16}], ids=str)
@pytest.mark.parametrize("count", [1, 4, 5, 49, 110])
def test_features_of_chunks_are_those_of_the_whole_clip(model, count, options):
    frames = make_noise(count)
    expected = run_whole(model, frames).frame_features[0]
    for block in (7, 200):
        found = run_stream(FeatureStream(model, make_processor(), **options), frames, block)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shorter", [(9, 0), (0, 7)], ids=["before", "behind"])
def test_chunks_with_less_context_give_other_features(monkeypatch, shorter):
    model, frames = make_positive_model().double(), make_noise(130) // 2 + 128
    before, behind = count_context_frames(model.config)
    expected = run_whole(model, frames).frame_features[0]
    errors = []
    for context in ((before, behind), (before - shorter[0], behind - shorter[1])):
        monkeypatch.setattr(features, "count_context_frames", lambda config, context=context: context)
        found = run_stream(FeatureStream(model, make_processor(), max_frames=60), frames, 10)
        errors.append(float(((found - expected).abs() / expected).max()))
    assert errors[0] < 1e-12 < 1e-9 < errors[1]


def test_logits_of_chunks_are_those_of_the_whole_clip(model):
    frames = make_noise(130)
    expected = run_whole(model, frames)
    with torch.no_grad():
        steps, count = compute_steps(model, make_processor(), iter(cut(frames, 9)), max_frames=60)
        logits, conv_logits = recognize_steps(model, steps)
    assert (count, len(steps)) == (130, 33)
    torch.testing.assert_close(logits, expected.logits[0].float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(conv_logits, expected.conv_logits[0].float(), rtol=1e-6, atol=1e-6)


def test_no_chunk_has_more_frames_than_are_allowed():
    reader = make_reader()
    with torch.no_grad():
        compute_steps(reader, make_processor(), iter(cut(make_noise(500), 32)), max_frames=90)
    assert max(reader.seen) == 88
    assert all(seen % 4 == 0 for seen in reader.seen)


def test_a_clip_of_as_many_frames_as_are_allowed_is_looked_at_whole():
    reader = make_reader()
    with torch.no_grad():
        compute_steps(reader, make_processor(), iter(cut(make_noise(76), 32)), max_frames=88)
    assert reader.seen == [88]


def test_what_is_held_does_not_grow_with_the_clip():
    stream = FeatureStream(make_reader(), make_processor(), max_frames=88)
    with torch.no_grad():
        held = [stream.add(block) is not None and len(stream._held) for block in cut(make_noise(2000), 32)]
    assert max(held) <= 88


def test_other_temporal_layers_are_padded_and_stepped_by_their_own_lengths():
    model = make_random_model(temporal_layers=("K3", "P2", "K5")).double()
    processor = make_processor(edge_frames=model.config.edge_frames, step_frames=model.config.step_frames)
    frames = make_noise(101)
    with torch.no_grad():
        expected = model(**processor.pad([frames]))
        stream, steps = FeatureStream(model, processor, max_frames=60), StepStream(model)
        parts = [steps.add(stream.add(block)) for block in cut(frames, 11)]
        logits, _ = recognize_steps(model, torch.cat([*parts, steps.add(stream.finish())]))
    torch.testing.assert_close(logits, expected.logits[0].float(), rtol=1e-6, atol=1e-6)


def test_chunks_without_room_for_their_context_are_refused():
    config = SlowFastSignConfig(**SIZES)
    model = make_reader()
    model.config = config
    with pytest.raises(ValueError, match=r"`max_frames` must be at least 104, got 103: a chunk needs 52 .* and 48"):
        FeatureStream(model, make_processor(), max_frames=103)


def test_a_hop_that_parts_slow_frames_is_refused():
    with pytest.raises(ValueError, match="`hop` must be a multiple of 4 frames, got 6"):
        FeatureStream(make_reader(), make_processor(), hop=6)


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ValueError, match="`video` has no frames"):
        FeatureStream(make_reader(), make_processor()).finish()


@pytest.mark.parametrize(
    "sizes",
    [
        {"alpha": 8},
        {"alpha": 3},
        {"temporal_layers": ("K3",)},
        {"temporal_layers": ("K3", "P2", "K5")},
        {"temporal_layers": ("K4", "P2")},
        {"alpha": 8, "isolate_clips": False},
    ],
    ids=str,
)
def test_clips_that_end_within_a_slow_frame_are_the_same_whole_and_in_chunks(sizes):
    model = make_random_model(**sizes).double()
    config = model.config
    processor = make_processor(edge_frames=config.edge_frames, step_frames=config.step_frames, alpha=config.alpha)
    for count in (1, 3, 5, 90, 94):
        frames = make_noise(count)
        with torch.no_grad():
            expected = model(**processor.pad([frames]))
            for block in (200, 7):
                blocks = iter(cut(frames, block))
                logits, _ = recognize_steps(model, compute_steps(model, processor, blocks, max_frames=80)[0])
                assert len(logits) == expected.lengths[0] == processor.count_steps(count)
                whole = expected.logits[0, : len(logits)].float()
                torch.testing.assert_close(logits, whole, rtol=1e-6, atol=1e-6)
