"""From a face and its sound to windows: whose pixels, which columns, and what people have."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from contract.tiny import tiny_model
from PIL import Image
from transformers import AutoProcessor
from video.clips import chirp, noise, numbers

import avzoo
from avzoo import MTDVocaLiSTConfig, VocaLiSTConfig, VocaLiSTProcessor, zoo
from avzoo.audio import wav2lip_log_mel, write_wav
from avzoo.video import MouthHalf, Track, Video, write_video

RATE = 16000
TEACHER = {"channel_order": "bgr", "rescale_factor": 1 / 255, "resize": "opencv"}


@pytest.fixture
def processor() -> VocaLiSTProcessor:
    """The student's, for faces of 16 x 16."""
    return VocaLiSTProcessor(face_size=16)


def pictures(count: int = 10, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def sound(frames: float = 10) -> np.ndarray:
    return chirp(RATE, frames / 25)


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_student_and_teacher_see_one_picture_in_different_numbers():
    face = np.full((30, 30, 3), (10, 20, 30), dtype=np.uint8)
    student, teacher = (
        VocaLiSTProcessor(**settings)([face] * 5, sound(5), RATE).pixel_values for settings in ({}, TEACHER)
    )
    assert student.shape == teacher.shape == (1, 5, 3, 48, 96)
    assert (student.dtype, teacher.dtype) == (torch.uint8, torch.float32)
    assert [student[:, :, channel].unique().tolist() for channel in range(3)] == [[10], [20], [30]]
    expected = [pytest.approx([value / 255]) for value in (30, 20, 10)]
    assert [teacher[:, :, channel].unique().tolist() for channel in range(3)] == expected


def test_the_mouth_is_the_lower_half_of_the_face(processor):
    faces = pictures(5, 16, 16)  # of the right size already
    pixels = processor(faces, sound(5), RATE).pixel_values
    np.testing.assert_array_equal(pixels[0], faces[:, 8:].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("resize", ["torch", "torch-antialias", "opencv"])
def test_faces_are_resized_as_the_weights_expect(resize):
    faces = pictures(5, 40, 50)
    pixels = VocaLiSTProcessor(face_size=16, resize=resize)(faces, sound(5), RATE).pixel_values
    expected = np.stack([MouthHalf(16, resize).cut_face(face) for face in faces]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels[0], expected)


@pytest.mark.parametrize("settings", [{}, TEACHER])
def test_normalize_agrees_with_what_a_call_makes(settings):
    faces, processor = pictures(5, 16, 16), VocaLiSTProcessor(**{**settings, "face_size": 16})
    made = processor(faces, sound(5), RATE).pixel_values[0]
    images = torch.from_numpy(faces[:, 8:]).permute(0, 3, 1, 2)
    torch.testing.assert_close(processor.normalize(images.float()), made.float())


def test_gradients_flow_back_through_normalize():
    images = torch.tensor([[[[0.0]], [[128.0]], [[255.0]]]], requires_grad=True)
    normalized = VocaLiSTProcessor(**TEACHER).normalize(images)
    torch.testing.assert_close(normalized.flatten(), torch.tensor([1.0, 128 / 255, 0.0]))
    (normalized.flatten() * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    torch.testing.assert_close(images.grad.flatten(), torch.tensor([100.0, 10.0, 1.0]) / 255)


def test_normalize_refuses_images_that_are_scaled_already(processor):
    with pytest.raises(ValueError, match=r"`images` .* from 0\.25 to 1 .* expects 0\.\.255 .*\. Multiply by 255 first"):
        processor.normalize(torch.tensor([0.25, 0.5, 1.0]).reshape(1, 3, 1, 1))
    with pytest.raises(ValueError, match=r"from -1 to 0 and seem to be scaled already"):
        processor.normalize(torch.tensor([-1.0, -0.5, 0.0]).reshape(1, 3, 1, 1))


def test_a_black_image_is_no_scaled_one(processor):
    assert not processor.normalize(torch.zeros(1, 3, 2, 2)).any()


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_window_begins_with_every_frame_and_columns_floor_of_three_point_two_frames(processor):
    columns = torch.arange(100.0).expand(1, 80, 100)
    windows = processor.audio_windows(columns, 12)
    assert windows.shape == (12, 1, 80, 16)
    assert windows[:, 0, 0, 0].tolist() == [0, 3, 6, 9, 12, 16, 19, 22, 25, 28, 32, 35]
    assert windows[5, 0, 79].tolist() == list(range(16, 32))
    later = processor.audio_windows(columns, 3, first_frame=9)
    assert torch.equal(later, windows[9:])


def test_columns_stay_with_their_frames_in_long_clips(processor):
    """Where 3.2 times the frame is a whole number, a rounded product could fall short of it."""
    columns = torch.arange(3.2 * 20010).expand(1, 1, -1)
    starts = processor.audio_windows(columns, 20000)[:, 0, 0, 0]
    assert starts.tolist() == [math.floor(Fraction(16, 5) * frame) for frame in range(20000)]


def test_the_pictures_of_window_i_begin_with_frame_i(processor):
    faces = noise(12, 16, 16)
    windows = processor(faces, sound(12), RATE).pixel_values
    assert windows.shape == (8, 5, 3, 8, 16)
    for index, window in enumerate(windows):
        assert numbers(window.permute(0, 2, 3, 1).numpy()) == list(range(index, index + 5))


def test_a_click_lies_in_the_windows_of_its_frame(processor):
    samples = np.zeros(640 * 12, np.float32)
    samples[640 * 6 + 320] = 1  # in the middle of frame 6: sample 4160, nearest to column 21 at sample 4200
    features = processor(pictures(12), samples, RATE).input_features
    loudest = features.mean(dim=2)[:, 0].argmax(dim=1)
    # Frames 2 to 6 begin with columns 6, 9, 12, 16, 19.
    assert loudest[2:7].tolist() == [15, 12, 9, 5, 2]


def test_features_are_cut_out_of_the_whole_clip(processor):
    samples = sound(12)
    features = processor(pictures(12), samples, RATE).input_features
    whole = wav2lip_log_mel(torch.from_numpy(samples)).mT
    assert whole.shape == (80, 39)
    for index, start in enumerate([0, 3, 6, 9, 12, 16, 19, 22]):
        torch.testing.assert_close(features[index, 0], whole[:, start : start + 16])


def test_a_window_by_itself_is_mirrored_at_its_ends(processor):
    samples = torch.from_numpy(sound(12))[640 * 3 : 640 * 8]
    alone = processor.window_mel(samples)
    assert alone.shape == (1, 80, 16)
    torch.testing.assert_close(alone[0], wav2lip_log_mel(samples)[:16].mT)
    in_clip = processor(pictures(12), sound(12), RATE).input_features[3]
    assert not torch.allclose(alone[..., 0], in_clip[..., 0], atol=0.1)


def test_windows_of_sound_by_themselves_come_in_batches(processor):
    samples = torch.randn(3, 3200, generator=torch.Generator().manual_seed(0)) / 10
    batch = processor.window_mel(samples)
    assert batch.shape == (3, 1, 80, 16)
    torch.testing.assert_close(batch[2], processor.window_mel(samples[2]))


@pytest.mark.parametrize("settings", [{}, TEACHER])
def test_neighbouring_windows_share_their_memory(settings):
    windows = VocaLiSTProcessor(**{**settings, "face_size": 16})(pictures(12), sound(12), RATE).pixel_values
    assert windows[1, 0].data_ptr() == windows[0, 1].data_ptr()
    assert windows.untyped_storage().nbytes() == 12 * 3 * 8 * 16 * windows.element_size()


def test_longer_windows_take_more_columns():
    processor = VocaLiSTProcessor(face_size=16, context_frames=25)
    inputs = processor(pictures(30), sound(30), RATE)
    assert inputs.pixel_values.shape == (6, 25, 3, 8, 16)
    assert inputs.input_features.shape == (6, 1, 80, 80)


def test_silence_is_minus_four(processor):
    features = processor(pictures(), np.zeros(6400, np.float32), RATE).input_features
    assert features.unique().tolist() == [-4.0]


@torch.no_grad()
def test_what_comes_out_is_what_the_model_takes():
    processor = VocaLiSTProcessor(face_size=16, num_mel_bins=8)
    inputs = processor(pictures(), sound(), RATE)
    assert tiny_model(zoo.find_row("mtdvocalist"))(**inputs).logits.shape == (6, 1)


def test_arrays_are_made_on_request(processor):
    tensors, arrays = processor(pictures(), sound(), RATE), processor(pictures(), sound(), RATE, return_tensors="np")
    assert arrays.keys() == tensors.keys() == {"pixel_values", "input_features"}
    for name, array in arrays.items():
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, tensors[name])


# --- what people have -------------------------------------------------------------------------------------------------

FORMS = {
    "array": lambda faces, path: faces,
    "tensor": lambda faces, path: torch.from_numpy(faces),
    "channels first": lambda faces, path: faces.transpose(0, 3, 1, 2),
    "list": lambda faces, path: list(faces),
    "tuple of tensors": lambda faces, path: tuple(torch.from_numpy(faces)),
    "images": lambda faces, path: [Image.fromarray(face) for face in faces],
    "Video": lambda faces, path: Video(faces, 25.0),
    "path": lambda faces, path: path,
    "bytes": lambda faces, path: path.read_bytes(),
    "row": lambda faces, path: {"path": str(path), "bytes": None},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Ten pictures and their sound in a file that keeps every value."""
    path = tmp_path_factory.mktemp("clip") / "face.mp4"
    write_video(path, pictures(), 25, audio=sound(), sampling_rate=RATE, lossless=True)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_video_may_come_in_many_forms(processor, clip, form):
    expected = processor(pictures(), sound(), RATE)
    made = processor(FORMS[form](pictures(), clip), sound(), RATE)
    assert torch.equal(made.pixel_values, expected.pixel_values)
    assert torch.equal(made.input_features, expected.input_features)


@pytest.mark.parametrize("form", ["path", "bytes", "row"])
def test_a_video_brings_its_own_sound(processor, clip, form):
    made = processor(FORMS[form](None, clip))
    torch.testing.assert_close(
        made.input_features, processor(pictures(), sound(), RATE).input_features, rtol=0, atol=0.02
    )  # 24 bits; the quietest bins lie below their step


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_a_video_in_memory_brings_its_own_sound(processor, rate):
    made = processor(Video(pictures(), 25.0, chirp(rate, 10 / 25), rate))
    expected = processor(pictures(), chirp(rate, 10 / 25), rate)
    torch.testing.assert_close(made.input_features, expected.input_features, rtol=1e-4, atol=1e-4)


def test_faces_may_have_any_sizes(processor):
    faces = [pictures(1, height, width)[0] for height, width in ((20, 24), (9, 31), (40, 40), (16, 16), (25, 12))]
    made = processor(faces, sound(5), RATE).pixel_values[0]
    for face, pixels in zip(faces, made, strict=True):
        assert torch.equal(pixels, processor([face] * 5, sound(5), RATE).pixel_values[0, 0])


def moving_track(first: int, stop: int) -> Track:
    places = np.arange(first, stop)[:, None]
    return Track(0, np.arange(first, stop), np.array([2.0, 3.0, 12.9, 17.9]) + places / 2)


def test_a_track_says_where_the_face_is_and_when(processor):
    frames, samples, track = pictures(12, 30, 30), sound(12), moving_track(3, 11)
    made = processor(frames, samples, RATE, track=track)
    faces = []
    for frame, box in zip(frames[3:11], track.boxes.astype(int), strict=True):
        left, top, right, bottom = box
        faces.append(frame[top:bottom, left:right])
    whole = processor(frames, samples, RATE).input_features
    assert len(made.pixel_values) == 4
    assert torch.equal(made.pixel_values, processor(faces, sound(8), RATE).pixel_values)
    assert torch.equal(made.input_features, whole[3:7])


def test_a_track_ends_where_the_sound_does(processor):
    made = processor(pictures(12), sound(9.5), RATE, track=moving_track(2, 12))
    assert len(made.pixel_values) == len(made.input_features) == 3  # frames 2 to 8


@pytest.mark.parametrize(("frames", "sound_frames", "windows"), [(12, 8.9, 4), (8, 12, 4), (5, 5, 1)])
def test_the_shorter_of_both_streams_decides(processor, frames, sound_frames, windows):
    made = processor(pictures(frames), sound(sound_frames), RATE)
    assert len(made.pixel_values) == len(made.input_features) == windows
    # What is cut leaves no trace in what stays.
    common = windows + 4
    exact = processor(pictures(frames)[:common], sound(sound_frames)[: 640 * common], RATE)
    assert torch.equal(made.input_features, exact.input_features)


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(60)], ids=float)
def test_other_frame_rates_become_25(processor, tmp_path, fps):
    """Frame i shows the last picture whose time, in frames of 25 per second and rounded, is i or less."""
    count = round(fps)
    levels = noise(50, 16, 16)[np.arange(count) % 50]
    path = tmp_path / "face.mp4"
    write_video(path, levels, fps, audio=sound(25), sampling_rate=RATE, lossless=True)
    windows = processor(path).pixel_values
    assert len(windows) == 21
    shown = numbers(windows[:, 0].permute(0, 2, 3, 1).numpy())
    expected = [max(k for k in range(count) if math.floor(k * 25 / fps + Fraction(1, 2)) <= i) for i in range(21)]
    assert shown == [k % 50 for k in expected]


def test_frames_in_memory_may_have_another_rate(processor):
    faces = noise(20, 16, 16)
    windows = processor(faces, sound(10), RATE, source_fps=50).pixel_values
    assert numbers(windows[:, 0].permute(0, 2, 3, 1).numpy()) == [0, 2, 4, 6, 8, 10][: len(windows)]
    assert torch.equal(processor(list(faces), sound(10), RATE, source_fps=50).pixel_values, windows)


def low_tone(rate: int) -> np.ndarray:
    """Half a second below 3 kHz, which every rate here holds."""
    time = np.arange(rate // 2) / rate
    return (0.4 * np.sin(2 * np.pi * 2000 * time * (0.5 + time))).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 48000])
@pytest.mark.parametrize("form", ["samples", "two channels", "row", "file"])
def test_sound_of_other_rates_is_resampled(processor, tmp_path, rate, form):
    expected = processor(pictures(12), low_tone(RATE), RATE).input_features
    mono = low_tone(rate)
    stereo = np.stack([1.5 * mono, 0.5 * mono])  # their mean counts
    if form == "file":
        write_wav(tmp_path / "sound.wav", stereo, rate)
    audio, sampling_rate = {
        "samples": (torch.from_numpy(mono), rate),
        "two channels": (stereo, rate),
        "row": ({"array": mono, "sampling_rate": rate}, None),
        "file": (tmp_path / "sound.wav", None),
    }[form]
    made = processor(pictures(12), audio, sampling_rate).input_features
    assert made.shape == expected.shape
    loud = expected > expected.max() - 2  # in quiet bins the resamplers' own noise is louder than the sound
    torch.testing.assert_close(made[loud], expected[loud], rtol=0, atol=0.03)


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config_class", [VocaLiSTConfig, MTDVocaLiSTConfig])
def test_a_saved_processor_comes_back_through_the_auto_class(config_class, tmp_path):
    settings = {**TEACHER, "face_size": 24, "context_frames": 25, "num_mel_bins": 40}
    config_class().save_pretrained(tmp_path)
    VocaLiSTProcessor(**settings).save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is avzoo.VocaLiSTProcessor
    assert {name: getattr(loaded, name) for name in settings} == settings
    assert AutoProcessor.from_pretrained(tmp_path, channel_order="rgb").channel_order == "rgb"


def test_a_loaded_processor_makes_the_same_numbers(tmp_path):
    processor = VocaLiSTProcessor(**{**TEACHER, "face_size": 16})
    processor.save_pretrained(tmp_path)
    made, expected = (
        each(pictures(), sound(), RATE) for each in (VocaLiSTProcessor.from_pretrained(tmp_path), processor)
    )
    assert torch.equal(made.pixel_values, expected.pixel_values)
    assert torch.equal(made.input_features, expected.input_features)


# --- wrong input ------------------------------------------------------------------------------------------------------

TOO_SHORT = r"have {} frames in common, at 25 frames and 16000 samples per second; one window needs 5\."


@pytest.mark.parametrize(
    ("video", "arguments", "message"),
    [
        (pictures(4), {}, TOO_SHORT.format(4)),
        (pictures(), {"audio": sound()[: 640 * 5 - 1]}, TOO_SHORT.format(4)),
        (pictures(), {"audio": sound()[:600]}, TOO_SHORT.format(0)),
        (pictures(), {"track": moving_track(4, 8)}, TOO_SHORT.format(4)),
        (pictures(), {"track": moving_track(4, 10), "audio": sound()[: 640 * 3]}, TOO_SHORT.format(0)),
        (pictures(), {"track": moving_track(4, 11)}, r"`frames` end before track 0.*6 of its 7 frames \(4 to 10\)"),
        ([], {}, TOO_SHORT.format(0)),
        (pictures(), {"audio": None}, r"`video` has no sound; pass it as `audio`"),
        (Video(pictures(), 25.0), {"audio": None}, r"`video` has no sound; pass it as `audio`"),
        (pictures(), {"sampling_rate": None}, r"`audio` is samples in memory.*pass it as `sampling_rate`, in Hz"),
        (pictures() / 255, {}, r"`video` must be uint8 pictures, RGB of 0\.\.255, got float64; .*multiply them by 255"),
        (torch.rand(10, 3, 20, 20), {}, r"`video` must be uint8 .*got float32; values of at most 1 seem to be scaled"),
        (pictures().astype(np.float32), {}, r"`video` must be uint8 pictures, RGB of 0\.\.255, got float32\."),
        (pictures().astype(np.int64), {}, r"`video` must be uint8 pictures, RGB of 0\.\.255, got int64"),
        ([*pictures(6), np.zeros((20, 24, 3))], {}, r"`video\[6\]` must be uint8 .*got float64; .*multiply"),
        ([face[..., 0] for face in pictures()], {}, r"`video\[0\]` must be \(height, width, 3\) .* got \(20, 24\)"),
        ([np.zeros((9, 9, 4), np.uint8)] * 9, {}, r"`video\[0\]` must be \(height, width, 3\) .* got \(9, 9, 4\)"),
        ([face[None] for face in pictures()], {}, r"`video\[0\]` must be \(height, width, 3\) .* got \(1, 20, 24, 3\)"),
        ([face[:, :0] for face in pictures()], {}, r"`video\[0\]` must be \(height, width, 3\) .* got \(20, 0, 3\)"),
        (pictures(0), {}, r"`video` must be \(height, width, 3\) pictures of a face, got \(0, 20, 24, 3\)"),
        (pictures(), {"return_tensors": "tf"}, r"`return_tensors` must be one of pt, np, got 'tf'"),
        (pictures(), {"audio": np.full(6400, np.nan)}, r"`audio`.*NaN or infinite"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(processor, video, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(video, **{"audio": sound(), "sampling_rate": RATE, **arguments})


def test_a_file_without_sound_is_told(processor, tmp_path):
    write_video(tmp_path / "silent.mp4", pictures(), 25)
    with pytest.raises(ValueError, match="`video` has no sound; pass it as `audio`"):
        processor(tmp_path / "silent.mp4")


def test_a_misspelt_argument_is_refused(processor):
    with pytest.raises(TypeError, match="tracks"):
        processor(pictures(), sound(), RATE, tracks=moving_track(2, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channel_order": "grb"}, r"`channel_order` must be one of rgb, bgr, got 'grb'"),
        ({"resize": "pil"}, r"`resize` must be \"torch\", \"torch-antialias\" or \"opencv\", got 'pil'"),
        ({"rescale_factor": 0}, r"`rescale_factor` must be above 0, got 0"),
        ({"face_size": 0}, r"`face_size` must be at least 2, got 0"),
        ({"face_size": 95}, r"`face_size` must be even, .* got 95"),
        ({"num_mel_bins": -1}, r"`num_mel_bins` must be at least 1, got -1"),
    ],
)
def test_an_invalid_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        VocaLiSTProcessor(**settings)


def test_a_fractional_window_length_is_refused():
    with pytest.raises(TypeError, match=r"`context_frames` must be a whole number, got 2.5"):
        VocaLiSTProcessor(context_frames=2.5)
