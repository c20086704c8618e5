"""The clips that LTBS is trained on: who is held out, whose voice is given, what a sample is."""

import pytest
import torch

from avzoo.models.ltbs import LTBSProcessor
from avzoo.models.ltbs.target_files import save_clip
from avzoo.models.ltbs.training_clips import (
    ClipCollator,
    LTBSClips,
    SpeakerVectors,
    choose_recordings,
    hold_out,
    measure_mean_spectrogram,
)

PROCESSOR = {"crop_size": 32, "mouth_size": 36, "num_mel_bins": 8, "num_units": 50}


def make_rows(**counts: int) -> list[dict]:
    return [
        {"id": f"{speaker}/{number}", "name": f"{speaker}/{number}-0", "speaker": speaker, "frames": 9}
        for speaker, count in counts.items()
        for number in range(count)
    ]


def test_a_share_is_held_out_and_parts_of_a_clip_stay_together():
    rows = make_rows(anna=20, ben=20)
    parts = [row | {"name": f"{row['id']}-{start}"} for row in rows for start in (0, 250)]
    train, held_out = hold_out(parts, 0.25)
    assert len({row["id"] for row in held_out}) == 10
    assert not {row["id"] for row in train} & {row["id"] for row in held_out}
    assert len(train) + len(held_out) == 80
    more = hold_out(parts + make_rows(carl=1), 0.25)[1]
    assert {row["id"] for row in held_out} - {row["id"] for row in more} == set()


def test_splits_come_before_a_share():
    rows = [
        row | {"split": split} for row, split in zip(make_rows(anna=3), ("train", "test", "validation"), strict=True)
    ]
    train, held_out = hold_out(rows)
    assert ([row["id"] for row in train], [row["id"] for row in held_out]) == (["anna/0"], ["anna/2"])
    assert [row["id"] for row in hold_out(rows[:2])[1]] == ["anna/1"]
    with pytest.raises(ValueError, match="none of the 1 clips is for validation"):
        hold_out(rows[:1])


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="none of the 2 clips is for training"):
        hold_out(make_rows(anna=2), speakers=["anna"])


def test_a_clip_gets_the_voice_of_another_of_the_same_speaker():
    rows = make_rows(anna=4, ben=2, carl=1)
    vectors = {row["id"]: torch.tensor([float(index), 1.0]) for index, row in enumerate(rows)}
    speakers, generator = SpeakerVectors(rows, vectors), torch.Generator().manual_seed(0)
    drawn = {int(speakers(1, generator)["speaker_embeddings"][0]) for _ in range(50)}
    assert drawn == {0, 2, 3}
    assert int(speakers(4, generator)["speaker_embeddings"][0]) == 5
    assert int(speakers(6, generator)["speaker_embeddings"][0]) == 6  # there is no other
    # Without a draw it is the next one.
    assert [int(speakers(index, None)["speaker_embeddings"][0]) for index in range(7)] == [1, 2, 3, 0, 5, 4, 6]


def test_a_clip_whose_own_voice_is_not_embedded_gets_one_that_is():
    rows = make_rows(anna=3)
    speakers = SpeakerVectors(rows, {"anna/1": torch.tensor([1.0])})
    assert [float(speakers(index, None)["speaker_embeddings"]) for index in range(3)] == [1.0, 1.0, 1.0]


def test_the_mean_speaker_is_that_of_speakers_not_of_clips():
    rows = make_rows(anna=3, ben=1)
    vectors = {row["id"]: torch.tensor([2.0, 0.0]) for row in rows[:3]} | {"ben/0": torch.tensor([0.0, 5.0])}
    assert SpeakerVectors(rows, vectors).mean.tolist() == [0.5, 0.5]


def test_a_speaker_without_a_voice_is_named():
    with pytest.raises(ValueError, match=r"1 of the 2 speakers have no recording whose voice .* the first is ben"):
        SpeakerVectors(make_rows(anna=1, ben=1), {"anna/0": torch.ones(2)})


def test_some_recordings_of_each_speaker_are_chosen_once():
    rows = make_rows(anna=30, ben=2)
    chosen = choose_recordings(rows + rows, 5)
    assert [row["speaker"] for row in chosen] == ["anna"] * 5 + ["ben"] * 2
    assert chosen == choose_recordings(rows, 5)


@pytest.fixture
def clips(tmp_path) -> list[dict]:
    """Two clips of 12 and 7 frames, whose values tell their place."""
    rows = []
    for name, frames in (("a", 12), ("b", 7)):
        places = torch.arange(frames)
        mouths = (10 * places[:, None, None]).expand(frames, 36, 36).to(torch.uint8)
        mel = torch.arange(4.0 * frames)[:, None].expand(4 * frames, 8)
        measured = {"mel": mel, "pitch": torch.zeros(frames), "energy": places.float()}
        save_clip(tmp_path / f"{name}.safetensors", mouths, measured, places)
        rows.append({"id": name, "speaker": name, "path": tmp_path / f"{name}.safetensors"})
    return rows


def test_a_long_clip_is_cut_at_one_place_in_all_that_it_has(clips):
    dataset = LTBSClips(clips, LTBSProcessor(**PROCESSOR), max_frames=5)
    starts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        sample = dataset[0]
        start = int(sample["unit_labels"][0])
        assert sample["unit_labels"].tolist() == list(range(start, start + 5))
        assert sample["energy_labels"].tolist() == list(range(start, start + 5))
        assert sample["mel_labels"][:, 0].tolist() == list(range(4 * start, 4 * start + 20))
        seen = {int(value) for value in sample["mouths"].unique()} - {107}  # what is hidden is grey
        assert seen <= {10 * place for place in range(start, start + 5)}
        starts.add(start)
    assert len(starts) > 4


def test_without_augmentation_a_sample_is_the_middle(clips):
    sample = LTBSClips(clips, LTBSProcessor(**PROCESSOR), augment=False)[1]
    assert sample["mouths"].shape == (7, 32, 32)
    assert sample["mouths"][:, 0, 0].tolist() == [10 * place for place in range(7)]


def test_a_batch_is_padded_as_the_processor_does(clips):
    processor = LTBSProcessor(**PROCESSOR)
    dataset = LTBSClips(clips, processor, augment=False)
    batch = ClipCollator(processor)([dataset[0], dataset[1]])
    assert batch["pixel_values"].shape == (2, 12, 32, 32)
    assert batch["attention_mask"].sum(1).tolist() == [12, 7]
    assert batch["unit_labels"][1, 7:].tolist() == [-100] * 5
    torch.testing.assert_close(batch["mel_labels"][1, 28:], torch.full((20, 8), 1e-5).log())
    assert not batch["energy_labels"][1, 7:].any()


def test_the_mean_spectrogram_is_over_all_frames(clips):
    values = torch.cat([torch.arange(48.0), torch.arange(28.0)])
    torch.testing.assert_close(measure_mean_spectrogram(clips), values.mean().expand(8))
