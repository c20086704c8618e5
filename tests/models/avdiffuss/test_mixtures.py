import shutil

import numpy as np
import pytest
import soundfile
import torch

from avzoo.audio import mix_at_equal_level, read_audio, write_wav
from avzoo.data.voxceleb2 import voxceleb2
from avzoo.models.avdiffuss import mixtures_avdiffuss
from avzoo.models.avdiffuss.mixtures_avdiffuss import AVDiffuSSMixtures
from avzoo.video import read_video, write_video

RATE = 16000
FACE = 16  # pixels; sizes don't matter here
NAMES = ["id00012/21Uxsk56VDQ/00002", "id00012/21Uxsk56VDQ/00010", "id00017/-5_bHyvUGCs/00001"]
SECONDS = 4


def write_face(path, num_frames, audio=None):
    """Frame i is of the grey 4 + 2 i: with 100 of them, up to 202."""
    frames = np.zeros((num_frames, FACE, FACE, 3), np.uint8)
    frames += (4 + 2 * np.arange(num_frames, dtype=np.uint8))[:, None, None, None]
    write_video(path, frames, 25, lossless=True, audio=audio, sampling_rate=None if audio is None else RATE)
    return str(path)


def frame_numbers(item):
    video = item["video"].numpy().astype(int)
    assert np.ptp(video, axis=(1, 2)).max() == 0
    return (video[:, 0, 0] - 4) / 2


def voice(num_samples, seed, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def talker(folder, speaker, samples, num_frames=None, name="1"):
    """A row, with as many frames as the sound lasts unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{speaker}-{name}"
    write_wav(f"{stem}.wav", samples, RATE)
    video = write_face(f"{stem}.mp4", len(samples) // 640 if num_frames is None else num_frames)
    return {"id": f"{speaker}/v/{name}", "speaker": speaker, "audio": f"{stem}.wav", "video": video}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("talkers")


@pytest.fixture(scope="module")
def rows(folder):
    return [talker(folder, speaker, voice(SECONDS * RATE, seed)) for seed, speaker in enumerate("abc")]


@pytest.fixture(scope="module")
def noise(folder):
    path = folder / "noise.wav"
    write_wav(path, voice(5 * RATE, seed=9, level=0.02), RATE)
    return [str(path)]


def mixtures(rows, interferers=None, **options):
    return AVDiffuSSMixtures(rows, interferers, **{"seed": 0, "face_size": FACE, **options})


def sounds(item):
    """Target and rest, float64."""
    target, mixture = (item[key].numpy().astype(np.float64) for key in ("target", "mixture"))
    return target, mixture - target


def found_at(stretch, samples):
    """Where the stretch is from, of samples at any level; and the correlation there."""
    samples, stretch = samples.astype(np.float64), stretch[:100]
    sums = np.cumsum(np.concatenate([[0], samples**2]))
    energies = np.maximum(sums[len(stretch) :] - sums[: -len(stretch)], 0)
    similarity = np.correlate(samples, stretch, "valid") / np.sqrt(energies * (stretch @ stretch) + 1e-12)
    return int(similarity.argmax()), float(similarity.max())


def is_of(stretch, row):
    return found_at(stretch, read_audio(row["audio"])[0])[1] > 1 - 1e-4


def test_an_item_has_the_authors_sizes_unless_told_otherwise(rows):
    item = AVDiffuSSMixtures(rows)[0]
    assert {key: (tuple(value.shape), value.dtype) for key, value in item.items()} == {
        "target": ((32640,), torch.float32),
        "mixture": ((32640,), torch.float32),
        "video": ((51, 112, 112), torch.uint8),
    }


def test_there_is_an_item_for_each_target(rows):
    dataset = mixtures(rows)
    assert len(dataset) == 3
    assert [is_of(sounds(item)[0], row) for item, row in zip(dataset, rows, strict=True)] == [True] * 3


def test_length_and_size_can_be_chosen(rows):
    item = mixtures(rows, seconds=0.48, face_size=20)[0]
    assert (item["target"].shape, item["video"].shape) == ((7680,), (12, 20, 20))


def test_voices_are_mixed_at_equal_level(rows):
    for item in mixtures(rows * 4):
        target, rest = sounds(item)
        assert rest.std() == pytest.approx(target.std(), rel=1e-5)


def test_a_mixture_is_what_mixing_the_two_stretches_gives(rows):
    item = mixtures(rows)[1]
    target, rest = sounds(item)
    others = [row for row in rows if is_of(rest, row)]
    stretches = []
    for stretch, row in ((target, rows[1]), (rest, others[0])):
        samples, _ = read_audio(row["audio"])
        start, _ = found_at(stretch, samples)
        stretches.append(samples[start : start + 32640])
    peak = max(np.abs(signal).max() for signal in (target, rest, item["mixture"].numpy()))
    mixture, parts = mix_at_equal_level(stretches, peak)
    np.testing.assert_allclose(item["mixture"].numpy(), mixture, atol=1e-6)
    np.testing.assert_allclose(item["target"].numpy(), parts[0], atol=1e-6)


def test_an_offset_is_kept_as_the_authors_do(folder):
    row = talker(folder, "offset", voice(RATE * 2, seed=5) + 0.3)
    target, _ = sounds(mixtures([row, talker(folder, "other", voice(RATE * 2, seed=6))])[0])
    assert target.mean() / target.std() == pytest.approx(3, rel=0.05)


@pytest.mark.slow
def test_the_largest_magnitude_is_drawn_as_the_authors_do(rows):
    """Of N(0.9, 0.5), 54 % lie outside and are drawn evenly: of all, 0.54 x 0.29 + 0.10 are below 0.5."""
    dataset = mixtures(rows * 60, seconds=0.04, face_size=1)
    peaks = []
    for item in dataset:
        target, rest = sounds(item)
        peaks.append(max(np.abs(signal).max() for signal in (target, rest, target + rest)))
    assert 0.3 - 1e-6 < min(peaks) < 0.34
    assert 0.95 < max(peaks) < 0.99 + 1e-6
    assert np.mean(np.array(peaks) < 0.5) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("snr", [-6.0, 0.0, 12.0])
def test_a_ratio_is_of_the_energies_in_the_mixture(rows, noise, snr):
    for kind in ("speech", "noise", "speech and noise"):
        options = {} if kind == "speech" else {"noise": noise}
        for item in mixtures(rows, kind=kind, snr_range=(snr, snr), **options):
            target, rest = sounds(item)
            assert 10 * np.log10(np.sum(target**2) / np.sum(rest**2)) == pytest.approx(snr, abs=1e-3)
            assert max(np.abs(signal).max() for signal in (target, rest, target + rest)) < 0.99 + 1e-6


@pytest.mark.slow
def test_ratios_are_spread_over_the_range(rows):
    ratios = []
    for item in mixtures(rows * 20, seconds=0.2, snr_range=(-6.0, 12.0)):
        target, rest = sounds(item)
        ratios.append(10 * np.log10(np.sum(target**2) / np.sum(rest**2)))
    assert -6.001 < min(ratios) < -4
    assert 10 < max(ratios) < 12.001


def test_noise_can_take_the_place_of_the_other_voice(rows, noise):
    target, rest = sounds(mixtures(rows, kind="noise", noise=noise)[0])
    assert found_at(rest, read_audio(noise[0])[0])[1] > 1 - 1e-4
    assert rest.std() == pytest.approx(target.std(), rel=1e-5)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_noise_can_be_added_to_the_other_voice_by_its_weight(rows, noise, weight):
    target, rest = sounds(mixtures(rows, kind="speech and noise", noise=noise[0], noise_weight=weight)[0])
    voice_and_noise = []
    for path in [row["audio"] for row in rows[1:]] + noise:
        samples = read_audio(path)[0].astype(np.float64)
        spectra = np.fft.rfft(samples) * np.fft.rfft(rest, len(samples)).conj()
        products = np.fft.irfft(spectra)[: len(samples) - len(rest) + 1]  # with the stretch from each sample on
        voice_and_noise.append(products.max() / samples.std() / target.std() / len(rest))
    assert max(voice_and_noise[:2]) == pytest.approx(1, abs=0.05)
    assert voice_and_noise[2] == pytest.approx(weight, abs=0.05)
    assert rest.std() / target.std() == pytest.approx(np.hypot(1, weight), rel=0.03)


# Sound and picture.


def test_sound_and_frames_begin_together(rows):
    starts = set()
    for index, item in enumerate(mixtures(rows * 6)):
        start, similarity = found_at(sounds(item)[0], read_audio(rows[index % 3]["audio"])[0])
        assert similarity > 1 - 1e-4
        assert start % 640 == 0
        np.testing.assert_array_equal(frame_numbers(item), start // 640 + np.arange(51))
        starts.add(start)
    assert len(starts) > 10


def test_every_start_is_drawn_the_last_one_too(folder):
    row = talker(folder, "brief", voice(10 * 640 + 320, seed=8))
    items = mixtures([row] * 60, [talker(folder, "else", voice(RATE, seed=7))], seconds=0.32)
    assert {frame_numbers(item)[0] for item in items} == {0, 1, 2}


def test_the_authors_frames_begin_at_the_whole_second_before(rows):
    starts = []
    for index, item in enumerate(mixtures(rows * 6, aligned=False)):
        start, _ = found_at(sounds(item)[0], read_audio(rows[index % 3]["audio"])[0])
        np.testing.assert_array_equal(frame_numbers(item), start // RATE * 25 + np.arange(51))
        starts.append(start)
    assert {start // RATE for start in starts} == {0, 1}
    assert any(start % 640 for start in starts)


def test_sound_in_the_video_is_taken_on_the_clock_of_its_frames(folder, rows):
    samples = voice(SECONDS * RATE, seed=11)
    path = write_face(folder / "inside.mp4", SECONDS * 25, audio=samples)
    for item in mixtures([{"id": "inside/1", "speaker": "inside", "audio": path, "video": path}] * 5, rows):
        start, similarity = found_at(sounds(item)[0], samples)
        assert similarity > 1 - 1e-3
        np.testing.assert_array_equal(frame_numbers(item), start // 640 + np.arange(51))


@pytest.mark.parametrize(("rate", "suffix"), [(44100, "wav"), (8000, "flac"), (16000, "ogg"), (22050, "mp3")])
def test_sound_of_any_kind_is_aligned(folder, rows, rate, suffix):
    time = np.arange(SECONDS * rate) / rate
    sweep = 0.3 * np.sin(2 * np.pi * (200 * time + 150 * time**2)).astype(np.float32)
    path = folder / f"sweep.{suffix}"
    soundfile.write(path, sweep, rate)
    whole, _ = read_audio(path, RATE)
    row = {"audio": str(path), "video": rows[0]["video"], "speaker": "sweep"}
    for item in mixtures([row] * 4, rows):
        target, _ = sounds(item)
        start = int(frame_numbers(item)[0]) * 640
        expected = whole[start : start + 32640].astype(np.float64)
        assert target @ expected / np.linalg.norm(target) / np.linalg.norm(expected) > 1 - 1e-6


def test_a_video_of_another_rate_is_brought_to_25_frames(folder, rows):
    frames = np.zeros((120, FACE, FACE, 3), np.uint8) + np.arange(120, dtype=np.uint8)[:, None, None, None]
    write_video(folder / "30fps.mp4", frames, 30, lossless=True)
    expected = read_video(folder / "30fps.mp4", 25).frames[:, 0, 0, 0]
    item = mixtures([{**rows[0], "video": str(folder / "30fps.mp4")}], rows[1:])[0]
    start, _ = found_at(sounds(item)[0], read_audio(rows[0]["audio"])[0])
    np.testing.assert_array_equal(item["video"][:, 0, 0], expected[start // 640 : start // 640 + 51])


def test_only_the_stretch_is_read(folder, rows, monkeypatch):
    samples = voice(60 * RATE, seed=12)
    row = talker(folder, "long", samples, num_frames=100)
    lengths = []

    def read(source, *arguments, **options):
        lengths.append(np.shape(source))
        return read_audio(source, *arguments, **options)

    monkeypatch.setattr(mixtures_avdiffuss, "read_audio", read)
    mixtures(rows, [row])[0]
    assert all(0 < length <= 6 * RATE for (length,) in lengths)  # () would be the file itself


# Clips that are too short, silent, damaged or missing.


def test_a_short_clip_is_repeated_from_its_beginning(folder, rows):
    samples = voice(40 * 640, seed=13)
    item = mixtures([talker(folder, "short", samples)], rows)[0]
    np.testing.assert_array_equal(frame_numbers(item), np.arange(51) % 40)
    target, _ = sounds(item)
    np.testing.assert_array_equal(target[: 11 * 640], target[40 * 640 :])
    assert is_of(target, {"audio": str(folder / "short-1.wav")})


@pytest.mark.parametrize(("num_samples", "num_frames"), [(40 * 640 + 600, 45), (45 * 640, 40), (60 * 640, 40)])
def test_sound_and_frames_of_a_short_clip_are_repeated_together(folder, rows, num_samples, num_frames):
    row = talker(folder, "uneven", voice(num_samples, seed=14), num_frames)
    for item in mixtures([row], rows, seed=num_samples):
        first = int(frame_numbers(item)[0])
        count = min(num_samples // 640, num_frames) - first
        np.testing.assert_array_equal(frame_numbers(item), first + np.arange(51) % count)
        target, _ = sounds(item)
        np.testing.assert_array_equal(target, target[np.arange(32640) % (count * 640)])


def test_the_authors_repeat_sound_and_frames_each_by_itself(folder, rows):
    row = talker(folder, "uneven", voice(40 * 640 + 600, seed=14), 45)
    item = mixtures([row], rows, aligned=False)[0]
    np.testing.assert_array_equal(frame_numbers(item), np.arange(51) % 45)
    target, _ = sounds(item)
    np.testing.assert_array_equal(target, target[np.arange(32640) % (40 * 640 + 600)])


@pytest.mark.parametrize(("num_samples", "num_frames"), [(19199, 40), (40000, 29)])
def test_less_than_1_2_seconds_are_left_out(folder, rows, num_samples, num_frames):
    row = talker(folder, "tiny", voice(num_samples, seed=15), num_frames)
    target, _ = sounds(mixtures([row, rows[0]], rows[1:])[0])
    assert is_of(target, rows[0])


def test_1_2_seconds_are_enough(folder, rows):
    row = talker(folder, "enough", voice(19200, seed=16), 30)
    target, _ = sounds(mixtures([row, rows[0]], rows[1:])[0])
    assert is_of(target, row)


def test_a_clip_of_less_than_1_2_seconds_needs_no_more_than_its_length(folder, rows):
    row = talker(folder, "tiny", voice(10 * 640, seed=17))
    assert is_of(sounds(mixtures([row], rows, seconds=0.4)[0])[0], row)
    with pytest.raises(ValueError, match=r"0\.400 s of sound are too short, 0\.44 s are needed"):
        mixtures([row], rows, seconds=0.44)[0]


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_a_silent_stretch_is_left_out(folder, rows, level):
    row = talker(folder, "silent", np.full(SECONDS * RATE, level, np.float32))
    dataset = mixtures([row, rows[0]], [row, *rows[1:]])
    for index in (0, 1):
        target, rest = sounds(dataset[index])
        assert is_of(target, rows[0])
        assert is_of(rest, rows[1]) or is_of(rest, rows[2])


def test_the_stretches_of_noise_are_as_long_and_as_loud(folder, rows, noise):
    for name, samples in (("quiet", np.zeros(5 * RATE, np.float32)), ("blip", voice(1000, seed=18))):
        write_wav(folder / f"{name}.wav", samples, RATE)
    paths = [folder / "quiet.wav", folder / "blip.wav", *noise]
    for item in mixtures(rows * 2, kind="noise", noise=paths):
        assert found_at(sounds(item)[1], read_audio(noise[0])[0])[1] > 1 - 1e-4


def test_a_damaged_file_is_left_out(folder, rows):
    (folder / "damaged.mp4").write_bytes(b"no video")
    (folder / "damaged.wav").write_bytes(b"no sound")
    for damage in ({"video": str(folder / "damaged.mp4")}, {"audio": str(folder / "damaged.wav")}):
        target, _ = sounds(mixtures([{**rows[1], **damage}, rows[0]], rows[2:])[0])
        assert is_of(target, rows[0])


def test_sound_that_is_cut_short_is_left_out(folder, rows):
    soundfile.write(folder / "whole.flac", voice(SECONDS * RATE, seed=20), RATE)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    row = {**rows[1], "audio": str(folder / "cut.flac")}
    assert is_of(sounds(mixtures([row, rows[0]], rows[2:])[0])[0], rows[0])
    with pytest.raises(ValueError, match=r"cut\.flac (is damaged|ends after \d+ of the 64000 samples)"):
        mixtures([row], rows[2:])[0]


@pytest.mark.parametrize("part", ["audio", "video"])
def test_a_missing_file_is_an_error(rows, part):
    with pytest.raises(FileNotFoundError, match=r"gone"):
        mixtures([{**rows[0], part: "gone"}, rows[1]], rows[2:])[0]


def test_missing_noise_is_an_error(rows):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        mixtures(rows, kind="noise", noise=["gone.wav"])[0]


def test_rows_that_are_all_unusable_are_told_with_the_reason(folder, rows, monkeypatch):
    short = talker(folder, "tiny", voice(9600, seed=19))
    with pytest.raises(ValueError, match=r"100 rows one after.* the last, tiny/v/1: 0\.600 s of sound .* 1\.2 s are"):
        mixtures([short] * 3, rows)[0]
    monkeypatch.setattr(mixtures_avdiffuss, "_MAX_UNUSABLE_ROWS", 3)
    with pytest.raises(ValueError, match=r"3 rows one after.* the last, tiny/v/1: 0\.600 s of sound are too short"):
        mixtures(rows, [short])[0]
    silent = talker(folder, "silent", np.zeros(SECONDS * RATE, np.float32))
    with pytest.raises(ValueError, match=r"the last, silent/v/1: the stretch of sound is silent\.$"):
        mixtures([silent], rows)[0]
    (folder / "damaged.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"the last, a/v/1: .*damaged\.mp4.*[^.]\.$"):
        mixtures([{**rows[0], "video": str(folder / "damaged.mp4")}], rows)[0]
    write_wav(folder / "hush.wav", np.zeros(SECONDS * RATE, np.float32), RATE)
    with pytest.raises(ValueError, match=r"the last, .*hush\.wav: the stretch of sound is silent"):
        mixtures(rows, kind="noise", noise=[folder / "hush.wav"])[0]


# Who interferes.


@pytest.fixture(scope="module")
def crowd(folder):
    """Three files of speaker a among others."""
    people = [("a", 0), ("b", 0), ("a", 1), ("c", 0), ("a", 2)]
    return [talker(folder, f"{who}", voice(RATE, 20 + i), name=f"crowd{name}") for i, (who, name) in enumerate(people)]


def interferers_of(dataset, rows):
    found = []
    for item in dataset:
        _, rest = sounds(item)
        found.append(next(index for index, row in enumerate(rows) if is_of(rest, row)))
    return found


def test_others_than_the_target_interfere_each_as_often(crowd):
    found = interferers_of(mixtures([crowd[0]] * 24, crowd, seconds=0.2), crowd)
    assert set(found) == {1, 3}
    assert 5 < found.count(1) < 19


def test_the_same_speaker_interferes_where_that_is_allowed_but_not_the_same_file(crowd):
    dataset = mixtures([crowd[0]] * 24, crowd, seconds=0.2, avoid_same_speaker=False)
    assert set(interferers_of(dataset, crowd)) == {1, 2, 3, 4}


def test_without_speakers_only_the_same_file_is_avoided(crowd):
    nameless = [{"audio": row["audio"], "video": row["video"]} for row in crowd]
    assert set(interferers_of(mixtures([nameless[0]] * 24, nameless, seconds=0.2), crowd)) == {1, 2, 3, 4}


def test_a_replaced_target_has_interferers_of_its_own(folder, rows):
    """The first row is unusable; the one in its place must not be mixed with itself."""
    unusable = talker(folder, "mute", np.zeros(SECONDS * RATE, np.float32))
    for seed in range(4):
        target, rest = sounds(mixtures([unusable, rows[0]], rows[:2], seed=seed)[0])
        assert is_of(target, rows[0])
        assert is_of(rest, rows[1])


@pytest.mark.parametrize("avoid", [True, False])
def test_a_voice_without_others_is_refused(rows, avoid):
    with pytest.raises(ValueError, match=r"`interferer_rows` has no voice to mix with a/v/1 but its own"):
        mixtures(rows, rows[:1], avoid_same_speaker=avoid)


def test_the_way_out_of_one_speaker_is_named(crowd):
    one_speaker = [crowd[0], crowd[2]]
    with pytest.raises(ValueError, match=r"`target_rows` has no voice .* Pass avoid_same_speaker=False"):
        mixtures(one_speaker)
    mixtures(one_speaker, seconds=0.2, avoid_same_speaker=False)[0]


# Randomness.


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def test_with_a_seed_an_item_is_the_same_whenever_it_is_read(rows, noise):
    options = {"kind": "speech and noise", "noise": noise, "snr_range": (-6.0, 12.0)}
    once, again = mixtures(rows, **options), mixtures(rows, **options)
    torch.manual_seed(1)
    forwards = [once[index] for index in range(3)]
    torch.manual_seed(2)
    backwards = [again[index] for index in (-1, -2, -3)]
    assert all(map(same, forwards, backwards[::-1]))


def test_with_a_seed_nothing_is_drawn_from_the_global_generator(rows):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    mixtures(rows)[0]
    assert torch.equal(torch.rand(3), expected)


def test_items_and_seeds_differ(rows):
    drawn = [mixtures([rows[0]] * 2, rows, seed=seed)[index]["mixture"] for seed in (0, 1) for index in (0, 1)]
    assert len({mixture.numpy().tobytes() for mixture in drawn}) == 4


def test_without_a_seed_the_global_generator_decides(rows):
    dataset = mixtures(rows, seed=None)
    torch.manual_seed(1)
    first, second = dataset[0], dataset[0]
    torch.manual_seed(1)
    assert same(dataset[0], first)
    assert not same(first, second)


def test_items_end_with_the_rows(rows):
    with pytest.raises(IndexError):
        mixtures(rows)[3]


# Arguments.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "SS"}, r"`kind` must be one of speech, noise, speech and noise, got 'SS'"),
        ({"kind": "noise"}, r"`noise` is needed for the kind 'noise'"),
        ({"kind": "speech and noise", "noise": []}, r"`noise` is needed for the kind 'speech and noise'"),
        ({"noise": ["a.wav"]}, r"`noise` is not used by the kind 'speech'; did you mean 'speech and noise'"),
        ({"seconds": 2.05}, r"`seconds` must be a whole number of frames of 0\.04 s, at least one, got 2\.05"),
        ({"seconds": 0}, r"`seconds` must be a whole number of frames"),
        ({"seconds": float("nan")}, r"`seconds` must be a whole number of frames"),
        ({"noise_weight": 0}, r"`noise_weight` must be above 0, got 0"),
        ({"snr_range": (12, -6)}, r"`snr_range` must be two finite numbers, the lower first, got \(12, -6\)"),
        ({"snr_range": (0, float("inf"))}, r"`snr_range` must be two finite numbers"),
        ({"face_size": 0}, r"`face_size` must be at least 1 pixel, got 0"),
    ],
)
def test_arguments_out_of_range_are_named(rows, options, message):
    with pytest.raises(ValueError, match=message):
        mixtures(rows, **options)


def test_interferers_that_would_not_be_heard_are_refused(rows, noise):
    with pytest.raises(ValueError, match=r"`interferer_rows` is not used by the kind 'noise'"):
        mixtures(rows, rows, kind="noise", noise=noise)


def test_no_rows_are_refused(rows):
    with pytest.raises(ValueError, match="`target_rows` is empty"):
        mixtures([])
    with pytest.raises(ValueError, match="`interferer_rows` has no voice"):
        mixtures(rows, [])


def test_rows_of_a_folder_make_items(tmp_path, rows):
    for row, name in zip(rows, NAMES, strict=True):
        for kind, key in (("wav", "audio"), ("mp4", "video")):
            path = tmp_path / "dev" / kind / f"{name}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(row[key], path)
    dataset = mixtures(voxceleb2(tmp_path))
    assert [is_of(sounds(item)[0], row) for item, row in zip(dataset, rows, strict=True)] == [True] * 3
