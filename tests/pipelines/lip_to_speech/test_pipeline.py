"""`transformers.pipeline("lip-to-speech")`: speech at the times of faces, its noise, what is given for it, errors."""

import warnings

import numpy as np
import pytest
import torch
import transformers
from contract.tiny import tiny_model
from tiny_lips import (
    NUM_MEL_BINS,
    NUM_UNITS,
    Constant,
    load,
    make_hifigan,
    make_processor,
    make_tracks,
    make_video,
    write_model,
)
from transformers import SpeechT5HifiGan

import avzoo
from avzoo import LipToSpeechPipeline, zoo
from avzoo.audio import MelSettings, read_audio
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.video import GivenBoxes, Video, VideoReader, read_video, write_video

EXACT = {"rtol": 0, "atol": 0}
ONE = {"faces": make_tracks((10, 30))}
TWO = {"faces": make_tracks((0, 20), (5, 25))}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_hifigan(mel: MelSettings | None = None) -> SpeechT5HifiGan:
    return make_hifigan(make_processor().mel_settings if mel is None else mel)


# ---------------------------------------------------------------------------------------------------------------- times


def test_a_face_has_640_samples_four_mel_frames_and_one_unit_for_each_frame(speak):
    face, *others = speak(make_video(), **ONE)
    assert others == []
    assert (face["track_id"], face["start"], face["end"]) == (0, 0.4, 1.2)  # frames 10 to 29 at 25 per second
    assert face["audio"].shape == (20 * 640,)
    assert face["audio"].dtype == np.float32
    assert face["sampling_rate"] == 16000
    assert face["mel"].shape == face["mel_coarse"].shape == (80, NUM_MEL_BINS)
    assert face["units"].shape == face["pitch"].shape == face["energy"].shape == (20,)
    assert face["boxes"] == [[10.0, 5.0, 50.0, 55.0]] * 20
    assert 1 / NUM_UNITS <= face["score"] <= 1  # the most probable unit of five


def test_the_sound_of_a_video_begins_with_the_sample_of_the_faces_first_frame(folder, tmp_path):
    load(folder, vocoder=Constant())(make_video(), output=tmp_path / "spoken.wav", **ONE)
    sound, rate = read_audio(tmp_path / "spoken.wav")
    expected = np.zeros(40 * 640, np.float32)
    expected[10 * 640 : 30 * 640] = 0.5
    np.testing.assert_array_equal(sound, expected)
    assert rate == 16000


@pytest.mark.parametrize(("extra", "last"), [(7, 0.5), (-7, 0.0)])
def test_a_vocoder_that_makes_more_or_fewer_samples_does_not_move_the_next_frame(folder, extra, last):
    audio = load(folder, vocoder=Constant(extra))(make_video(), **ONE)[0]["audio"]
    assert len(audio) == 20 * 640
    assert audio[-1] == last
    assert audio[-8] == 0.5


@pytest.mark.parametrize("fps", [60, 30000 / 1001, 12.5])
def test_any_rate_is_brought_to_25_frames_per_second(speak, fps):
    face = speak(make_video(round(2 * fps), fps), faces="frame")[0]
    assert face["audio"].shape == (2 * 16000,)


def test_frames_of_a_variable_rate_are_spoken_at_their_own_times(speak, tmp_path):
    """A still of half a second, then a frame each 40 ms; the same as those frames at a constant rate."""
    import av

    frames = make_video(12).frames
    path = tmp_path / "variable.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = 0 if number == 0 else 12 + number  # of 25 per second: the first lasts 13
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    shown = read_video(path, 25).frames
    assert len(shown) == 24
    found, expected = (speak(video, faces="frame", noise_scale=0)[0] for video in (path, Video(shown, 25)))
    np.testing.assert_array_equal(found["mel"], expected["mel"])
    assert found["audio"].shape == (24 * 640,)


def test_a_single_frame_speaks_for_640_samples(speak):
    assert speak(make_video(1), faces="frame")[0]["audio"].shape == (640,)


def test_a_face_is_followed_through_a_gap_of_its_boxes(speak):
    frames = np.array([*range(5), *range(9, 15)])
    boxes = np.tile([10.0, 5.0, 50.0, 55.0], (len(frames), 1))
    (face,) = speak(make_video(), faces=GivenBoxes(frames, boxes, track_ids=np.full(len(frames), 3)))
    assert (face["track_id"], face["start"], face["end"]) == (3, 0.0, 0.6)


def test_a_long_video_is_spoken_in_windows(speak, monkeypatch):
    lengths, forward = [], speak.model.forward

    def watch(pixel_values, *args, **kwargs):
        lengths.append(pixel_values.shape[1])
        return forward(pixel_values, *args, **kwargs)

    monkeypatch.setattr(speak.model, "forward", watch)
    face = speak(make_video(600), faces="frame")[0]
    assert max(lengths) == 250
    assert face["mel"].shape == (2400, NUM_MEL_BINS)


def test_a_network_of_one_clip_sees_what_a_track_cuts(speak, monkeypatch):
    seen = []
    generate = speak.model.generate
    monkeypatch.setattr(
        speak.model, "generate", lambda pixels, **given: seen.append(pixels) or generate(pixels, **given)
    )
    video = make_video()
    speak(video, **ONE)
    assert torch.equal(seen[0], speak.processor(video, tracks=ONE["faces"].tracks[0]).pixel_values)


def test_the_whole_frame_is_seen_as_the_processor_cuts_it(speak, monkeypatch):
    seen = []
    generate = speak.model.generate
    monkeypatch.setattr(
        speak.model, "generate", lambda pixels, **given: seen.append(pixels) or generate(pixels, **given)
    )
    video = make_video(6)
    speak(video, faces="frame")
    assert torch.equal(seen[0], speak.processor(video).pixel_values)


def test_a_list_of_videos_gives_a_list_for_each(speak):
    answers = speak([make_video(3), make_video(5)], faces="frame")
    assert [[len(face["audio"]) for face in faces] for faces in answers] == [[3 * 640], [5 * 640]]


# ---------------------------------------------------------------------------------------------------------------- noise


def test_one_seed_is_one_voice_and_another_is_another(speak):
    first, again, other = (speak(make_video(), generator=seeded(seed), **ONE)[0]["audio"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_faces_draw_their_noise_one_after_the_other(speak):
    generator = seeded()
    draws = [torch.randn(1, 80, NUM_MEL_BINS, generator=generator) for _ in range(2)]
    faces = speak(make_video(), generator=seeded(), **TWO)
    for face, span, noise in zip(faces, [(0, 20), (5, 25)], draws, strict=True):
        alone = speak(make_video(), faces=make_tracks(span), noise=noise)[0]
        np.testing.assert_array_equal(face["mel"], alone["mel"])


def test_without_noise_nothing_is_drawn_and_every_answer_is_the_same(speak):
    generator = seeded()
    first, again = (speak(make_video(), noise_scale=0, generator=generator, **ONE)[0]["audio"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(generator.get_state(), seeded().get_state())


# -------------------------------------------------------------------------------------------------------------- editing


def test_controls_are_factors_on_pitch_and_energy(speak):
    plain = speak(make_video(), noise_scale=0, **ONE)[0]
    changed = speak(make_video(), noise_scale=0, pitch_control=2, energy_control=-0.5, **ONE)[0]
    np.testing.assert_allclose(changed["pitch"], 2 * plain["pitch"], rtol=1e-6)
    np.testing.assert_allclose(changed["energy"], -0.5 * plain["energy"], rtol=1e-6)
    assert not np.allclose(changed["mel"], plain["mel"])


def test_what_was_told_gives_the_same_speech_when_it_is_given_back(speak):
    face = speak(make_video(), noise_scale=0, pitch_control=2, **ONE)[0]
    given = {name: face[name] for name in ("units", "pitch", "energy")}
    again = speak(make_video(), noise_scale=0, **given, **ONE)[0]
    for name in ("audio", "mel", "units", "pitch", "energy"):
        np.testing.assert_array_equal(again[name], face[name])


def test_given_units_are_spoken_and_scored(speak):
    plain = speak(make_video(), **ONE)[0]
    others = (plain["units"] + 1) % NUM_UNITS
    face = speak(make_video(), units=others.tolist(), **ONE)[0]
    np.testing.assert_array_equal(face["units"], others)
    assert face["score"] < plain["score"]  # none is the most probable


# ----------------------------------------------------------------------------------------------------------- bad input


def make_zeros_but_one(length: int, value: float) -> np.ndarray:
    values = np.zeros(length, np.float32)
    values[3] = value
    return values


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"faces": make_tracks()}, ValueError, r"no face was found in its 40 frames.*faces=\"frame\""),
        ({**TWO, "units": np.zeros(20, int)}, ValueError, r"`units` is of one face, and 2 were found.*max_faces=1"),
        ({**ONE, "units": np.full(20, 5)}, ValueError, r"`units` must be from 0 to 4, .* frame 0 has 5"),
        (
            {**ONE, "units": np.zeros(19, int)},
            ValueError,
            r"`units` must be \(20,\) for the 20 frames of face 0, got \(19,\)",
        ),
        ({**ONE, "units": np.zeros(20)}, TypeError, r"`units` must be whole numbers, got torch.float64"),
        ({**ONE, "pitch": make_zeros_but_one(20, np.nan)}, ValueError, r"`pitch` has values that are NaN or infinite"),
        (
            {**ONE, "energy": make_zeros_but_one(20, np.inf)},
            ValueError,
            r"`energy` has values that are NaN or infinite",
        ),
        ({**ONE, "pitch": np.zeros(20, int)}, ValueError, r"`pitch` has values of torch.int64; expected .* floating"),
        ({**ONE, "noise": torch.zeros(20, 8)}, ValueError, r"`noise` must be \(80, 8\) .* got \(20, 8\)"),
        ({**ONE, "noise_scale": -0.1}, ValueError, r"`noise_scale` must be at least 0, got -0.1"),
        ({**ONE, "noise_scale": float("nan")}, ValueError, r"`noise_scale`.*nan"),
        ({**ONE, "pitch_control": "high"}, TypeError, r"`pitch_control` must be a number"),
        ({**ONE, "generator": 3}, TypeError, r"`generator` must be a torch.Generator, got int"),
        ({**ONE, "max_faces": 0}, ValueError, r"`max_faces` must be at least 1, got 0"),
        ({**ONE, "volume": 3}, TypeError, r"lip-to-speech has no parameter 'volume'"),
        ({**ONE, "speaker": 0}, ValueError, r"`speaker`: this network has one voice and knows no speakers"),
        ({**ONE, "output": "spoken.avi"}, ValueError, r"`output` must end in .mp4, .m4v, .mov, .wav, got 'spoken.avi'"),
        ({**ONE, "output": "nowhere/spoken.mp4"}, OSError, r"`output` \(`nowhere/spoken.mp4`\) cannot be written"),
        ({"faces": make_tracks((30, 45), num_frames=45)}, ValueError, r"reach to frame 44, but the video has 40"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_an_impossible_call_is_refused(speak, parameters, error, message):
    with pytest.raises(error, match=message):
        speak(make_video(), **parameters)


def test_the_video_that_is_read_is_no_output(speak, tmp_path):
    path = tmp_path / "silent.mp4"
    write_video(path, make_video(5).frames, 25)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"`output` .* is the video to read; name another file"):
        speak(str(path), faces="frame", output=path)
    assert path.read_bytes() == before


def test_several_videos_have_no_common_output(speak, tmp_path):
    with pytest.raises(ValueError, match="`output` is one file, and `video` a list"):
        speak([make_video(2)], faces="frame", output=tmp_path / "spoken.mp4")


@pytest.mark.parametrize("value", ["ab", [None, 1.0], [[0.0], [1.0, 2.0]]])
def test_pitch_that_is_no_array_of_numbers_is_refused_by_name(speak, value):
    with pytest.raises(TypeError, match=r"`pitch` must be an array of numbers, \(2,\)"):
        speak(make_video(2), faces="frame", pitch=value)


def test_units_of_any_whole_numbers_are_taken(speak):
    (face,) = speak(make_video(2), faces="frame", units=np.array([1, 2], np.uint64))
    assert face["units"].tolist() == [1, 2]


def test_speech_that_is_not_finite_is_refused(speak):
    with torch.no_grad():
        speak.model.ltbs.mel_projection.bias[2] = float("nan")
    with pytest.raises(ValueError, match=r"`model`: its speech is NaN or infinite; its weights are torch\.float32"):
        speak(make_video(), **ONE)


# ------------------------------------------------------------------------------------------------------- what is told


def test_sound_is_not_listened_to_and_that_is_said_once(speak):
    silent = make_video(5)
    loud = Video(silent.frames, 25, np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32), 16000)
    with pytest.warns(UserWarning, match="The video has sound, which is not listened to"):
        first = speak(loud, faces="frame", noise_scale=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = speak(silent, faces="frame", noise_scale=0), speak(loud, faces="frame", noise_scale=0)
    for faces in again:
        np.testing.assert_array_equal(faces[0]["audio"], first[0]["audio"])


def test_a_stand_in_for_the_vocoder_is_said_once_and_in_each_record(speak):
    with pytest.warns(UserWarning, match="The vocoder is Griffin-Lim, a stand-in"):
        face = speak(make_video(3), faces="frame")[0]
    assert face["vocoder"] == "Griffin-Lim, a stand-in"
    assert face["speaker"] == "the network's own"


# --------------------------------------------------------------------------------------------------------------- parts


def test_the_vocoder_beside_the_model_is_taken_and_saved_with_it(folder, tmp_path):
    vocoder = tiny_hifigan()
    load(folder, vocoder=vocoder).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("config.json", "model.safetensors", "processor_config.json", "vocoder")
    }
    speak = load(tmp_path)
    torch.testing.assert_close(dict(speak.vocoder.state_dict()), dict(vocoder.state_dict()), **EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        face = speak(make_video(), noise_scale=0, **ONE)[0]
    assert face["vocoder"] == "HiFi-GAN"
    with torch.no_grad():
        expected = vocoder(torch.from_numpy(face["mel"])[None])[0, : 20 * 640]
    assert expected.std() > 1e-3
    np.testing.assert_allclose(face["audio"][: len(expected)], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_griffin_lim_is_not_saved(speak, tmp_path):
    speak.save_pretrained(tmp_path)
    assert not (tmp_path / "vocoder").exists()


def test_a_vocoder_comes_as_a_folder_too(folder, tmp_path):
    tiny_hifigan().save_pretrained(tmp_path)
    assert load(folder, vocoder=tmp_path).vocoder_name == "HiFi-GAN"


def test_a_vocoder_of_other_spectrograms_is_refused(folder, tmp_path):
    other = make_processor(high_frequency=8000.0).mel_settings
    tiny_hifigan(other).save_pretrained(tmp_path / "folder")
    inside = write_model(tmp_path / "model")
    tiny_hifigan(other).save_pretrained(inside / "vocoder")
    griffin_lim = GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(other))
    for vocoder, model in (
        (tiny_hifigan(other), folder),
        (tmp_path / "folder", folder),
        (griffin_lim, folder),
        (None, inside),
    ):
        with pytest.raises(ValueError, match=r"was trained on other spectrograms .*8000"):
            load(model, vocoder=vocoder)
    with pytest.raises(
        ValueError, match=rf"^`vocoder` was trained on other spectrograms than the model `{folder}` makes"
    ):
        load(folder, vocoder=tiny_hifigan(other))


@pytest.mark.parametrize("vocoder", [lambda mel: mel, torch.nn.Identity(), 3])
def test_what_is_no_vocoder_is_refused(folder, vocoder):
    with pytest.raises(TypeError, match="`vocoder` must be a folder, a name on the Hub, a SpeechT5HifiGan or"):
        load(folder, vocoder=vocoder)


def test_a_processor_of_another_network_is_refused(folder):
    model = avzoo.LTBSForLipToSpeech.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"do not belong together \(num_units: 7, 5; the processor's first\)"):
        transformers.pipeline("lip-to-speech", model=model, processor=make_processor(num_units=7), device="cpu")


def test_a_network_that_makes_no_speech_is_refused():
    talknce = tiny_model(zoo.find_row("talknce"))
    with pytest.raises(ValueError, match="`model` must be a LTBSForLipToSpeech, got LoCoNetForActiveSpeakerDetection"):
        LipToSpeechPipeline(model=talknce, processor=make_processor(), device="cpu")


# --------------------------------------------------------------------------------------------------------------- video


def test_a_written_video_keeps_its_pictures_and_rate_and_speaks_in_time(folder, tmp_path):
    source = tmp_path / "silent.mp4"
    smooth = np.broadcast_to(np.linspace(0, 255, 48, dtype=np.uint8)[:, None, None], (60, 48, 64, 3))
    write_video(source, smooth, 30)
    path = tmp_path / "spoken.mp4"
    load(folder, vocoder=Constant())(source, faces=make_tracks((10, 30), num_frames=50), output=path)
    reader = VideoReader(path)
    assert float(reader.fps) == 30
    frames = reader.read()
    assert len(frames) == 60
    assert np.abs(frames.astype(int) - smooth).mean() < 3  # encoded again
    sound, _ = reader.soundtrack(16000)
    loud = np.flatnonzero(sound > 0.25)
    assert abs(loud[0] - 10 * 640) < 200  # AAC rounds corners
    assert abs(loud[-1] - 30 * 640) < 200
