"""Who is speaking while it is said: any blocks give what each window gives as a clip of its own."""

import itertools

import numpy as np
import pytest
import torch

from avzoo import (
    ActiveSpeakerProcessor,
    LoCoNetConfig,
    LoCoNetForActiveSpeakerDetection,
    TalkNetConfig,
    TalkNetForActiveSpeakerDetection,
)
from avzoo.pipelines.active_speaker_detection.streaming import StreamingActiveSpeaker, average_scores

FRAMES, PER_FRAME = 45, 640
SIZES = {
    "embedding_size": 8,
    "trunk_channels": (4, 4, 6, 8),
    "num_temporal_layers": 1,
    "num_attention_heads": 2,
    "frame_size": 32,
}
TIMES = {"window": 0.8, "hop": 0.4, "lookahead": 0.12}  # 20, 10 and 3 frames
# Frames in which each face is there; the second one leaves and comes back.
THERE = {1: [(0, 45)], 2: [(4, 18), (30, 45)]}


def network(host: str):
    torch.manual_seed(0)
    if host == "loconet":
        config = LoCoNetConfig(
            **SIZES, num_context_layers=1, num_speakers=2, audio_channels=(4, 4, 6, 8), num_mel_bins=16
        )
        processor = ActiveSpeakerProcessor(frame_size=32, num_bins=16, num_speakers=2)
        return LoCoNetForActiveSpeakerDetection(config).eval(), processor
    config = TalkNetConfig(**SIZES, audio_channels=(8, 8, 8, 8), audio_depths=(1, 1, 1, 1))
    return TalkNetForActiveSpeakerDetection(config).eval(), ActiveSpeakerProcessor(
        "mfcc", score="logit", frame_size=32, num_speakers=1
    )


def recording() -> tuple[dict[int, np.ndarray], np.ndarray]:
    random = np.random.default_rng(0)
    faces = {name: random.integers(1, 256, (FRAMES, 32, 32), dtype=np.uint8) for name in THERE}
    for name, spans in THERE.items():
        for frame in range(FRAMES):
            if not any(first <= frame < stop for first, stop in spans):
                faces[name][frame] = 0
    return faces, (0.1 * random.standard_normal(FRAMES * PER_FRAME)).astype(np.float32)


def streamed(stream: StreamingActiveSpeaker, block: int) -> tuple[dict[int, np.ndarray], list[int]]:
    """Scores (frames,) of each face, NaN where it has none; and for each frame when the last of its scores came."""
    faces, sound = recording()
    scores = {name: np.full(FRAMES, np.nan) for name in faces}
    told = [0] * FRAMES
    cuts = sorted(
        {*range(0, FRAMES, block), FRAMES, *(edge for spans in THERE.values() for span in spans for edge in span)}
    )
    for first, stop in itertools.pairwise(cuts):
        there = {name: pixels[first:stop] for name, pixels in faces.items() if pixels[first].any()}
        answers = stream.add(there, sound[first * PER_FRAME : stop * PER_FRAME])
        for track_id, start, values in answers:
            assert np.isnan(scores[track_id][start : start + len(values)]).all()  # nothing is told twice
            scores[track_id][start : start + len(values)] = values
            for frame in range(start, start + len(values)):
                told[frame] = stop
    for track_id, start, values in stream.finish():
        scores[track_id][start : start + len(values)] = values
        for frame in range(start, start + len(values)):
            told[frame] = FRAMES
    return scores, told


@torch.no_grad()
def clip_by_clip(model, processor) -> dict[int, np.ndarray]:
    """What each window says as a clip of its own, of the frames that are told by it."""
    faces, sound = recording()
    scores = {name: np.full(FRAMES, np.nan) for name in faces}
    for clip_stop, begin, end in ((10, 0, 7), (20, 7, 17), (30, 17, 27), (40, 27, 37), (45, 37, 45)):
        clip_start = max(0, clip_stop - 20)
        for name, spans in THERE.items():
            for span in spans:
                first, last = max(clip_start, span[0]), min(clip_stop, span[1])
                other = faces[3 - name][first:last]
                if max(first, begin) >= min(last, end):
                    continue
                middle = other[(last - first) // 2].any()
                clip = [faces[name][first:last], other if middle else faces[name][first:last]]
                pixels = torch.from_numpy(np.stack(clip[: processor.num_speakers]))[None]
                rows = processor.audio_rows(torch.from_numpy(sound[first * PER_FRAME : last * PER_FRAME]), last - first)
                logits = model(pixels, rows[None]).logits[:, 0]
                wanted = slice(max(first, begin), min(last, end))
                values = average_scores(logits, processor.score)
                scores[name][wanted] = values[wanted.start - first : wanted.stop - first]
    return scores


@pytest.mark.parametrize("host", ["loconet", "talknet"])
@pytest.mark.parametrize("block", [1, 7, 45])
def test_a_stream_is_scored_as_its_windows(host, block):
    model, processor = network(host)
    expected = clip_by_clip(model, processor)
    scores, _ = streamed(StreamingActiveSpeaker(model, processor, **TIMES), block)
    for name, values in expected.items():
        np.testing.assert_array_equal(np.isnan(values), ~recording()[0][name].any((1, 2)))
        np.testing.assert_allclose(scores[name], values, rtol=1e-4, atol=1e-5)


def test_scores_come_within_the_latency():
    stream = StreamingActiveSpeaker(*network("talknet"), **TIMES)
    assert stream.latency == 0.52
    _, told = streamed(stream, 1)
    assert max(when - frame for frame, when in enumerate(told)) == 13  # frames of 0.04 s


def test_only_a_window_is_held_and_a_frame_is_looked_at_once(monkeypatch):
    model, processor = network("talknet")
    stream, looked = StreamingActiveSpeaker(model, processor, **TIMES), []
    trunk = model.visual.run_trunk
    monkeypatch.setattr(model.visual, "run_trunk", lambda x: looked.append(x.shape[0] * x.shape[2]) or trunk(x))
    pixels = np.ones((5, 32, 32), np.uint8)
    for _ in range(40):
        stream.add({1: pixels}, np.zeros(5 * PER_FRAME, np.float32))
        assert sum(len(piece) for face in stream.scene.faces for piece in face.pixels.pieces) <= 25
        assert len(stream._sound) <= 25 * PER_FRAME
    assert sum(looked) <= 200 + 4 * 20  # and the ends of each window again
    stream.add({}, np.zeros(40 * PER_FRAME, np.float32))
    assert not stream.scene.faces


def test_what_does_not_fit_is_named():
    model, processor = network("talknet")
    for options, message in (
        ({"hop": 0.0}, r"`hop` must be at least 0.04 seconds, got 0.0"),
        ({"lookahead": -1.0}, r"`lookahead` must be at least 0 seconds"),
        ({"window": 0.5}, r"`window` \(0.5\) must hold `hop` \(0.4\) and `lookahead` \(0.2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            StreamingActiveSpeaker(model, processor, **options)
    stream = StreamingActiveSpeaker(model, processor)
    with pytest.raises(ValueError, match=r"`audio` must be \(samples,\), 640 for each frame, got \(641,\)"):
        stream.add({}, np.zeros(641))
    with pytest.raises(ValueError, match=r"`faces\[3\]` must be \(1, 32, 32\) uint8, .*got \(2, 32, 32\) torch.uint8"):
        stream.add({3: np.zeros((2, 32, 32), np.uint8)}, np.zeros(640))
    assert stream.add({}, np.zeros(0)) == stream.finish() == []
