"""Training data of SlowFastSign, and networks for other vocabularies."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sign_clips import GLOSSES, save_sign_model, write_frames, write_own_clips

from avzoo import SlowFastSignForCTC, SlowFastSignProcessor
from avzoo.data.own_signs import read_sign_table
from avzoo.models.slowfast_cslr.training_slowfast_cslr import (
    SignClips,
    SignCollator,
    adapt_vocabulary,
    compute_sign_loss,
    count_needed_steps,
    find_short_clips,
    refuse_short_clips,
    report_gaps,
    set_auxiliary_branches,
)
from avzoo.video import VideoReader


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return read_sign_table(write_own_clips(tmp_path_factory.mktemp("clips")) / "glosses.csv")


@pytest.fixture(scope="module")
def processor():
    return SlowFastSignProcessor(GLOSSES, resize_size=40, crop_size=32)


@pytest.fixture
def model(tmp_path) -> SlowFastSignForCTC:
    return SlowFastSignForCTC.from_pretrained(save_sign_model(tmp_path / "model", GLOSSES))


def read_sample(clips, index, seed=0):
    torch.manual_seed(seed)
    return clips[index]


def test_a_sample_has_a_cut_of_each_frame_and_the_numbers_of_its_glosses(rows, processor):
    sample = read_sample(SignClips(rows, processor), 0)
    assert sample["frames"].dtype == torch.uint8
    assert sample["frames"].shape == (32, 32, 32, 3)  # 14 frames, rescaled to 32 at least
    assert sample["labels"].tolist() == [2, 4]  # MORGEN REGEN


@pytest.mark.parametrize("index", [0, 1], ids=["frames", "video file"])
def test_a_seed_decides_on_the_sample(index, rows, processor):
    clips = SignClips(rows, processor)
    first, again, other = (read_sample(clips, index, seed)["frames"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("index", [0, 1], ids=["frames", "video file"])
def test_without_augmentation_a_clip_is_as_in_evaluation(index, rows, processor):
    frames = SignClips(rows, processor, augment=False)[index]["frames"].numpy()
    assert np.array_equal(frames, processor.read_frames(rows[index]["path"]))


def test_a_cut_frame_is_part_of_the_resized_one(tmp_path, processor):
    write_frames(tmp_path / "clip", 8, seed=0)
    rows = [{"id": "a", "path": str(tmp_path / "clip"), "glosses": ["KLAR"]}]
    clips = SignClips(rows, processor, strength=0, mirror_share=0)
    sample = read_sample(clips, 0)["frames"].numpy()
    whole = clips.square.read_frames(tmp_path / "clip")
    places = [
        (top, left)
        for top in range(9)
        for left in range(9)
        if np.array_equal(whole[:, top : top + 32, left : left + 32], sample)
    ]
    assert len(places) == 1


def test_clips_are_rescaled_to_the_frames_that_their_glosses_need(tmp_path, processor):
    write_frames(tmp_path / "clip", 48, seed=0)
    rows = [{"id": "a", "path": str(tmp_path / "clip"), "glosses": ["KLAR", "REGEN"] * 6}]  # 12 steps of 12
    lengths = {len(read_sample(SignClips(rows, processor), 0, seed)["frames"]) for seed in range(12)}
    assert min(lengths) == 48
    assert len(lengths) > 1


def test_a_batch_is_padded_as_in_use(rows, processor):
    clips = SignClips(rows, processor, augment=False)
    samples = [clips[0], clips[3]]
    batch = SignCollator(processor)(samples)
    expected = processor([row["path"] for row in (rows[0], rows[3])], text=["MORGEN REGEN", "MORGEN KLAR REGEN"])
    assert batch.keys() == dict(expected).keys()
    for name, values in batch.items():
        assert torch.equal(values, expected[name]), name


def test_a_loss_comes_with_its_terms(model, rows, processor):
    clips = SignClips(rows, processor, augment=False)
    losses = compute_sign_loss(model.train(), SignCollator(processor)([clips[0], clips[1]]))
    weights = {"": 1.0, "slow_": 0.25, "fast_": 0.25}
    total = sum(
        weight * (losses[f"{name}sequence"] + losses[f"{name}conv"] + 25 * losses[f"{name}distillation"])
        for name, weight in weights.items()
    )
    torch.testing.assert_close(losses["loss"], total)


def test_an_unknown_gloss_is_named_with_its_clip(rows):
    processor = SlowFastSignProcessor(["KLAR", "MORGEN", "NACHT"], resize_size=40, crop_size=32)
    with pytest.raises(ValueError, match=r"`glosses of clip clip0` hold 'REGEN', which the vocabulary of 3 glosses"):
        SignClips(rows, processor)
    with pytest.raises(ValueError, match="`glosses of clip clip2` are all unknown to the vocabulary"):
        SignClips(rows, processor, unknown="drop")  # REGEN alone
    assert SignClips(rows[:2], processor, unknown="drop").labels == [[2], [3, 1]]


def test_equal_neighbours_need_a_step_between_them():
    assert count_needed_steps([1, 2, 3]) == 3
    assert count_needed_steps([1, 1, 2, 2, 2, 1]) == 9


def test_short_clips_are_found_with_their_numbers(tmp_path, processor):
    for name, count in (("short", 48), ("long", 49)):
        write_frames(tmp_path / name, count, seed=0)
    glosses = ["KLAR", "KLAR", "REGEN"] * 3 + ["NACHT"]  # 10 glosses, 3 repeats
    rows = [{"id": name, "path": str(tmp_path / name), "glosses": glosses} for name in ("short", "long")]
    (clip,) = find_short_clips(rows, processor)
    assert str(clip) == "short (48 frames give 12 steps, its 10 glosses need 13)"
    assert refuse_short_clips(rows, processor, skip_short=True) == rows[1:]
    with pytest.raises(ValueError, match=r"1 of the 2 clips are too short .*: short \(48 frames give 12 steps"):
        refuse_short_clips(rows, processor)
    with pytest.raises(ValueError, match="none of the 1 clips is long enough for its glosses"):
        refuse_short_clips(rows[:1], processor, skip_short=True)


def test_missing_frames_are_counted(tmp_path, caplog):
    rows = []
    for name in ("whole", "broken"):
        write_frames(tmp_path / name, 10, seed=0)
        rows.append({"id": name, "path": str(tmp_path / name), "glosses": ["KLAR"]})
    report_gaps(rows)
    assert caplog.text == ""
    for number in (4, 5):
        (tmp_path / "broken" / f"images{number:04d}.png").unlink()
    report_gaps(rows)
    assert "1 of the 2 clips lack frames between their first and last" in caplog.text
    assert "the first is broken (2 missing, from number 4 on)" in caplog.text


def test_frames_of_a_video_are_counted_at_the_processors_rate(rows, processor):
    path = Path(rows[1]["path"])
    assert path.suffix == ".mp4"
    slower = SlowFastSignProcessor(GLOSSES, resize_size=40, crop_size=32, frame_rate=5)
    counted = VideoReader(path).count_frames(5)  # 15 frames at 25 per second
    assert counted == 3
    row = {"id": "a", "path": str(path), "glosses": ["KLAR", "REGEN"]}
    (clip,) = find_short_clips([row], slower)
    assert (clip.num_frames, clip.num_steps, clip.num_needed) == (3, 1, 2)
    assert find_short_clips([row], processor) == []


def test_another_vocabulary_keeps_the_weights_of_known_glosses(model, processor):
    adapted, other, notice = adapt_vocabulary(model, processor, ["WOLKE", "REGEN"], top_rows=3)
    assert notice == (
        "The classifier is replaced: 5 classes before, 3 now; 1 of 2 glosses keep their weights, 1 are new, 3 go."
    )
    assert (other.glosses, other.top_rows, other.resize_size) == (["WOLKE", "REGEN"], 3, 40)
    before, after = model.state_dict(), adapted.state_dict()
    for name, value in after.items():
        if name.endswith("classifier.weight"):
            assert torch.equal(value[:, [0, 2]], before[name][:, [0, 4]]), name
        else:
            assert torch.equal(value, before[name]), name
    assert adapted.config.vocab_size == 3


def test_the_same_vocabulary_keeps_the_network(model, processor):
    adapted, other, notice = adapt_vocabulary(model, processor, GLOSSES)
    assert adapted is model
    assert notice is None
    assert other.glosses == GLOSSES


def test_auxiliary_heads_come_and_go(model):
    without, notice = set_auxiliary_branches(model, False)
    assert without.slow_head is None
    assert "auxiliary heads are left out" in notice
    again, notice = set_auxiliary_branches(without, True)
    assert notice == "The model was saved for inference; its auxiliary heads are new."
    for name, value in again.state_dict().items():
        if not name.startswith(("slow_", "fast_")):
            assert torch.equal(value, model.state_dict()[name]), name
    assert set_auxiliary_branches(again, True) == (again, None)
