from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avzoo.audio import write_wav
from avzoo.metrics import frame_distance
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.ltbs import LTBSProcessor
from avzoo.pipelines.lip_to_speech.evaluated_clips import (
    read_sound_folders,
    read_test_rows,
    read_texts,
    speak_clips,
)

RATE, FRAMES = 16000, 20


def write_sounds(folder, *names, suffix=".wav", rate=RATE):
    for index, name in enumerate(names):
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).uniform(-0.5, 0.5, rate).astype(np.float32)
        write_wav(path, noise, rate)
    return folder


# Folders of sound.


def test_sounds_are_paired_by_their_path_without_suffix(tmp_path):
    made = write_sounds(tmp_path / "made", "s1/b", "s1/a", rate=8000)
    real = write_sounds(tmp_path / "real", "s1/a", "s1/b")
    pairs = read_sound_folders({"ours": made}, real, {"s1/a": "one", "s2/z": "two"})
    assert [(pair.id, pair.text) for pair in pairs] == [("s1/a", "one"), ("s1/b", None)]
    clip = pairs[0].read()
    assert (len(clip.real), len(clip.made["ours"]), clip.text) == (RATE, RATE, "one")  # brought to one rate


def test_recordings_without_a_made_sound_are_named(tmp_path):
    made, real = write_sounds(tmp_path / "made", "a"), write_sounds(tmp_path / "real", "a", "b", "c", "d", "e")
    with pytest.raises(FileNotFoundError, match=r"made` lacks 4 of the 5 sounds .*: b, c, d, \.\.\.\."):
        read_sound_folders({"made": made}, real)


def test_made_sounds_without_a_recording_are_named(tmp_path):
    made, real = write_sounds(tmp_path / "made", "a", "b"), write_sounds(tmp_path / "real", "a")
    with pytest.raises(FileNotFoundError, match=r"real` lacks 1 of the 2 sounds .*: b\."):
        read_sound_folders({"made": made}, real)


def test_two_files_of_one_clip_are_refused(tmp_path):
    made = write_sounds(tmp_path / "made", "a")
    write_sounds(made, "a", suffix=".flac")
    with pytest.raises(ValueError, match="would be one clip, 'a'"):
        read_sound_folders({"made": made}, made)


def test_a_folder_without_sounds_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`made` .* holds no sound"):
        read_sound_folders({"made": tmp_path}, tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`made` .* is no folder"):
        read_sound_folders({"made": tmp_path / "nowhere"}, tmp_path)


def test_texts_of_other_clips_are_refused(tmp_path):
    folder = write_sounds(tmp_path / "made", "a")
    with pytest.raises(ValueError, match="the first text is of 'clip_a', the first sound is 'a'"):
        read_sound_folders({"made": folder}, folder, {"clip_a": "one"})


def test_an_empty_file_is_named(tmp_path):
    made, real = write_sounds(tmp_path / "made", "a"), write_sounds(tmp_path / "real", "a")
    write_wav(made / "a.wav", np.zeros(0, np.float32), RATE)
    (pair,) = read_sound_folders({"made": made}, real)
    with pytest.raises(ValueError, match=r"`made` \(.*a\.wav\) holds no samples"):
        pair.read()


# Texts and lists.


def test_texts_are_read_by_id_or_path(tmp_path):
    table = tmp_path / "texts.csv"
    table.write_text('id,text\ns1/a,"one, two"\ns1.b,three\n')
    assert read_texts(table) == {"s1/a": "one, two", "s1.b": "three"}
    table.write_text("Path,speaker,Text\ns1/a.mp4,anna,one\n")
    assert read_texts(table) == {"s1/a": "one"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,text\na,one\n", "line 1: expected a header with id"),
        ("id,text\na\n", "line 2: expected 2 fields, got 1"),
        ("id,text\na,one\na,two\n", "line 3: 'a' comes twice"),
        ("id,text\n,one\n", "line 2: `id` is empty"),
        ("id,text\n", "holds a header and no text"),
    ],
)
def test_a_broken_table_of_texts_is_refused(tmp_path, content, message):
    table = tmp_path / "texts.csv"
    table.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_texts(table)


def test_the_texts_of_lrs3_lie_beside_the_videos(tmp_path):
    (tmp_path / "test" / "v").mkdir(parents=True)
    for name in ("00001", "00002"):
        (tmp_path / "test" / "v" / f"{name}.mp4").touch()
    (tmp_path / "test" / "v" / "00001.txt").write_text("Text:  IT'S THAT SIMPLE\nConf:  5\n\nWORD START END\n")
    rows = read_test_rows("lrs3", tmp_path, split="test")
    assert [row.get("text") for row in rows] == ["IT'S THAT SIMPLE", None]


def test_the_texts_of_grid_are_its_names(tmp_path):
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "bbaf2n.mpg").touch()
    assert [row["text"] for row in read_test_rows("grid", tmp_path)] == ["bin blue at f two now"]


def test_lrs2_needs_a_list(tmp_path):
    with pytest.raises(ValueError, match="`dataset` lrs2 needs `list_path`"):
        read_test_rows("lrs2", tmp_path)


def test_folders_of_cut_faces_are_refused(tmp_path):
    (tmp_path / "v" / "1").mkdir(parents=True)
    (tmp_path / "v" / "1" / "0.jpg").touch()
    (tmp_path / "v" / "1" / "audio.wav").touch()
    (tmp_path / "test.txt").write_text("v/1\n")
    with pytest.raises(ValueError, match="is a folder of faces"):
        read_test_rows("lrs2", tmp_path, list_path=tmp_path / "test.txt")


# Videos.


class Speaker:
    """Stands for the pipeline: keeps what it is called with, and says noise from the third frame on."""

    def __init__(self):
        self.processor, self.device, self.calls = LTBSProcessor(num_units=5), torch.device("cpu"), []
        self.vocoder = GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(self.processor.mel_settings))

    def __call__(self, video, *, speaker, generator, max_faces, **options):
        noise = torch.randn(FRAMES * 640, generator=generator).mul(0.1).numpy()
        self.calls.append(SimpleNamespace(video=video, speaker=speaker, options=options, noise=noise))
        mel = np.zeros((FRAMES * 4, 80), np.float32)
        units = np.arange(FRAMES) % 5
        return [{"start": 2 / 25, "audio": noise, "units": units, "mel": mel, "mel_coarse": mel - 1}]


@pytest.fixture
def rows(tmp_path):
    names = ("anna/1", "anna/2", "ben/1")
    write_sounds(tmp_path, *names)
    return [
        {"id": name, "speaker": name[:-2], "video": f"{name}.mp4", "audio": str(tmp_path / f"{name}.wav")}
        for name in names
    ]


def test_a_clip_holds_what_was_made_and_the_real_sound_of_the_same_frames(rows):
    pipe = Speaker()
    rows[0]["text"] = "one"
    clip = next(speak_clips(pipe, rows[:1]))
    expected = pipe.processor.prepare_sound(rows[0]["audio"], start_frame=2, num_frames=FRAMES).numpy()
    assert (clip.id, clip.text, list(clip.made)) == ("anna/1", "one", ["made", "vocoded"])
    assert np.array_equal(clip.real, expected)
    assert np.array_equal(clip.made["made"], pipe.calls[0].noise)
    assert pipe.calls[0].speaker is None


def test_the_real_sound_is_filled_with_silence_where_it_ends_before_the_face(rows, tmp_path):
    write_wav(tmp_path / "anna/1.wav", np.full(8000, 0.5, np.float32), RATE)
    clip = next(speak_clips(Speaker(), rows[:1]))
    assert len(clip.real) == FRAMES * 640
    assert clip.real[8000 - 1280 - 1] > 0.8
    assert not clip.real[8000 - 1280 :].any()


def test_the_vocoded_sound_is_made_of_the_real_spectrogram(rows):
    pipe = Speaker()
    clip = next(speak_clips(pipe, rows[:1]))
    settings = pipe.processor.mel_settings
    real, vocoded = (settings.compute(torch.from_numpy(sound)) for sound in (clip.real, clip.made["vocoded"]))
    assert len(clip.made["vocoded"]) == FRAMES * 640
    assert frame_distance(vocoded[5:-5], real[5:-5]) < 0.5  # an independent noise is 0.9 away


def test_spectrograms_are_compared_with_the_real_one(rows):
    clip = next(speak_clips(Speaker(), rows[:1]))
    mel = Speaker().processor.measure_targets(torch.from_numpy(clip.real), FRAMES)["mel"].numpy()
    assert clip.measures["made"]["mel_l1_refined"] == pytest.approx(np.abs(mel).mean(), rel=1e-5)
    assert clip.measures["made"]["mel_l1_coarse"] == pytest.approx(np.abs(mel + 1).mean(), rel=1e-5)


def test_units_are_compared_where_they_can_be_told(rows):
    told = np.where(np.arange(FRAMES) < 10, np.arange(FRAMES) % 5, 0)
    clip = next(speak_clips(Speaker(), rows[:1], units=lambda sound, frames: told))
    assert clip.measures["made"]["unit_accuracy"] == 60.0  # the ten, and two of the others
    clip = next(speak_clips(Speaker(), rows[:1], units=lambda sound, frames: np.full(frames, -100)))
    assert clip.measures["made"]["unit_accuracy"] is None


def test_noise_depends_on_seed_and_id_alone(rows):
    def draw(*chosen, seed=0):
        pipe = Speaker()
        list(speak_clips(pipe, chosen, seed=seed))
        return [call.noise for call in pipe.calls]

    first, second, _ = draw(*rows)
    assert np.array_equal(draw(rows[1])[0], second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(draw(rows[0], seed=1)[0], first)


def test_a_voice_of_ones_own_is_taken_from_the_clip_itself(rows):
    pipe = Speaker()
    list(speak_clips(pipe, rows, voice="own"))
    for call, row in zip(pipe.calls, rows, strict=True):
        assert np.array_equal(call.speaker["array"], pipe.processor.prepare_sound(row["audio"]).numpy())
        assert call.speaker["sampling_rate"] == RATE


def test_another_voice_is_taken_from_the_next_clip_of_the_speaker(rows):
    pipe = Speaker()
    list(speak_clips(pipe, rows[:2], voice="other"))
    for call, row in zip(pipe.calls, (rows[1], rows[0]), strict=True):
        assert np.array_equal(call.speaker["array"], pipe.processor.prepare_sound(row["audio"]).numpy())


def test_a_speaker_without_another_clip_is_named(rows):
    with pytest.raises(ValueError, match="ben/1: speaker 'ben' has no other clip in the list"):
        list(speak_clips(Speaker(), rows, voice="other"))


def test_a_table_gives_the_row_of_the_speaker(rows):
    pipe = Speaker()
    list(speak_clips(pipe, rows, voice="table", table=["ben", "anna"]))
    assert [call.speaker for call in pipe.calls] == [1, 1, 0]


def test_a_speaker_who_is_not_in_the_table_is_named(rows):
    with pytest.raises(ValueError, match="ben/1: speaker 'ben' is not in the network's table: anna"):
        list(speak_clips(Speaker(), rows, voice="table", table=["anna"]))


def test_a_table_without_names_is_refused(rows):
    with pytest.raises(ValueError, match='`voice` "table" needs `table`'):
        next(speak_clips(Speaker(), rows, voice="table"))


def test_one_recording_may_be_the_voice_of_all(rows):
    pipe = Speaker()
    list(speak_clips(pipe, rows, voice="voice.wav", noise_scale=0.5))
    assert [call.speaker for call in pipe.calls] == ["voice.wav"] * 3
    assert pipe.calls[0].options == {"noise_scale": 0.5}


def test_sounds_can_be_kept(rows):
    kept = {}
    clips = list(speak_clips(Speaker(), rows, keep=kept.__setitem__))
    assert list(kept.values()) == clips
    assert list(kept) == ["anna/1", "anna/2", "ben/1"]


def test_a_missing_recording_is_an_oserror_with_the_clips_id(rows):
    rows[0]["audio"] = "nowhere.wav"
    with pytest.raises(OSError, match=r"anna/1: .*nowhere\.wav"):
        next(speak_clips(Speaker(), rows))
