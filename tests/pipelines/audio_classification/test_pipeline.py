"""`transformers.pipeline("audio-classification")` with a model of the zoo: whatever sound comes in, however long."""

import itertools
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
import transformers

from avzoo import (
    AudioClassificationPipeline,
    FlexiASTConfig,
    FlexiASTFeatureExtractor,
    FlexiASTForAudioClassification,
)
from avzoo.audio import read_audio, resample
from avzoo.pipelines.shared.recordings import cut_windows

RATE = 16000
WINDOW = 7920  # samples of 48 frames: 400 + 47 * 160
HOP = WINDOW // 2
NUM_LABELS = 5


def write_model(folder: Path, num_mel_bins: int = 32, max_length: int = 48, **config) -> Path:
    """A random network that hears differences, and its feature extractor."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_mel_bins": num_mel_bins,
        "patch_size": 8,
        "position_grid": (num_mel_bins // 8, max_length // 8),
        "initializer_range": 0.3,
        "num_labels": NUM_LABELS,
    }
    FlexiASTForAudioClassification(FlexiASTConfig(**{**sizes, **config})).save_pretrained(folder)
    FlexiASTFeatureExtractor(num_mel_bins=num_mel_bins, max_length=max_length).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def pipe(folder):
    return transformers.pipeline("audio-classification", model=str(folder))


def test_a_config_that_asks_for_tuples_changes_no_answer(folder, pipe):
    other = transformers.pipeline("audio-classification", model=str(folder))
    other.model.config.return_dict = False
    sound = {"raw": melody(1.0), "sampling_rate": RATE}
    assert other(dict(sound)) == pipe(dict(sound))


def melody(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """(samples,) float32, exact in 16 bits: tones below 3 kHz that change every tenth of a second, and white noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitches = random.uniform(200, 3000, size=int(seconds * 10) + 1)
    phase = np.cumsum(pitches[(time * 10).astype(int)]) / rate
    samples = 0.4 * np.sin(2 * np.pi * phase)
    samples += 0.05 * random.standard_normal(len(time))
    return (np.round(samples * 32767) / 32768).astype(np.float32)


def by_label(answer: list[dict]) -> np.ndarray:
    """Scores in the order of the labels."""
    return np.array([record["score"] for record in sorted(answer, key=lambda record: record["label"])])


def write_m4a(path: Path, samples: np.ndarray, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono", options={"b": "128k"})
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    if path.suffix == ".m4a":
        return write_m4a(path, samples, rate)
    best = {"compression_level": 0.0} if path.suffix in (".mp3", ".ogg") else {}
    soundfile.write(path, samples.T, rate, **best)
    return path


# --- what comes in ----------------------------------------------------------------------------------------------------


def test_transformers_finds_our_pipeline(pipe):
    assert type(pipe) is AudioClassificationPipeline
    assert type(pipe.model) is FlexiASTForAudioClassification
    assert type(pipe.feature_extractor) is FlexiASTFeatureExtractor


def test_other_models_keep_the_stock_pipeline(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.ASTForAudioClassification(
        transformers.ASTConfig(**sizes, num_mel_bins=16, max_length=32, patch_size=8)
    )
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=32)
    stock = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor)
    assert type(stock) is transformers.AudioClassificationPipeline


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_lossless_files_score_exactly_as_their_samples(pipe, tmp_path, ending):
    samples = melody(1.3)
    path = write(tmp_path / f"sound.{ending}", samples)
    assert pipe(str(path)) == pipe(path) == pipe(path.read_bytes()) == pipe(samples)


@pytest.mark.parametrize("ending", ["mp3", "ogg", "m4a"])
def test_lossy_files_score_as_their_samples_within_the_codecs_error(pipe, tmp_path, ending):
    samples = melody(1.3)
    path = write(tmp_path / f"sound.{ending}", samples)
    scores, expected, other = (by_label(pipe(source)) for source in (path, samples, melody(1.3, seed=1)))
    assert abs(scores - expected).max() < 0.05
    assert abs(other - expected).max() > 0.15  # scores do tell sounds apart
    decoded, rate = read_audio(path)
    assert pipe(path) == pipe({"array": decoded, "sampling_rate": rate})


@pytest.mark.parametrize(
    "form",
    [
        torch.from_numpy,
        lambda samples: samples.astype(np.float64),
        lambda samples: {"array": samples, "sampling_rate": RATE},
        lambda samples: {"raw": samples, "sampling_rate": RATE},
        lambda samples: {"array": torch.from_numpy(samples), "sampling_rate": RATE},
        lambda samples: {"array": samples.tolist(), "sampling_rate": RATE},
        lambda samples: {"array": np.stack([samples, 0 * samples]), "sampling_rate": RATE},  # first channel counts
    ],
    ids=["tensor", "float64", "row", "raw row", "row of a tensor", "row of a list", "row of two channels"],
)
def test_forms_of_the_same_samples_have_the_same_scores(pipe, form):
    samples = melody(1.3)
    assert pipe(form(samples)) == pipe(samples)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_score_as_the_models_own(pipe, tmp_path, rate):
    samples = melody(1.3, rate=rate)
    expected = by_label(pipe(resample(samples, rate, RATE)))
    for source in ({"array": samples, "sampling_rate": rate}, write(tmp_path / "sound.wav", samples, rate)):
        np.testing.assert_allclose(by_label(pipe(source)), expected, atol=1e-4)


def test_a_recording_of_any_rate_scores_alike(pipe):
    studio = melody(1.3, rate=48000)
    scores = [by_label(pipe({"array": resample(studio, 48000, r), "sampling_rate": r})) for r in (48000, 44100, 22050)]
    np.testing.assert_allclose(scores[1:], scores[:1] * 2, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_a_list_of_files_of_all_lengths_scores_as_each_alone(pipe, tmp_path, batch_size):
    lengths = [0.3, 1.3, 0.5, 2.0, 0.495]
    files = [str(write(tmp_path / f"{i}.wav", melody(seconds, seed=i))) for i, seconds in enumerate(lengths)]
    answers = pipe(files, batch_size=batch_size)
    assert len(answers) == len(files)
    for answer, file in zip(answers, files, strict=True):
        np.testing.assert_allclose(by_label(answer), by_label(pipe(file)), atol=1e-6)


def test_a_generator_is_answered_in_its_order(pipe):
    clips = [melody(seconds, seed=i) for i, seconds in enumerate([0.3, 1.3, 0.5])]
    answers = list(pipe((clip for clip in clips), batch_size=4))
    for answer, clip in zip(answers, clips, strict=True):
        np.testing.assert_allclose(by_label(answer), by_label(pipe(clip)), atol=1e-6)


def test_a_generator_is_read_as_it_is_asked(pipe):
    seen = []

    def endless():
        for index in range(1000):
            seen.append(index)
            yield melody(0.3, seed=index)

    next(iter(pipe(endless())))
    assert len(seen) < 5


def test_the_pipeline_computes_what_extractor_and_model_do(pipe):
    samples = melody(0.4)
    features = pipe.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = pipe.model(**features).logits[0]
    np.testing.assert_allclose(by_label(pipe(samples, function_to_apply="none")), expected.numpy(), atol=1e-6)


def test_a_mask_of_the_extractor_reaches_the_model(folder):
    extractor = FlexiASTFeatureExtractor.from_pretrained(folder, return_attention_mask=True)
    masked = transformers.pipeline("audio-classification", model=str(folder), feature_extractor=extractor)
    samples = melody(0.3)
    features = extractor(samples, sampling_rate=RATE, padding="longest", return_tensors="pt")
    with torch.no_grad():
        alone = masked.model(features["input_values"]).logits.softmax(-1)[0]
    for answer in masked([samples, melody(1.0), samples], batch_size=4)[::2]:
        np.testing.assert_allclose(by_label(answer), alone.numpy(), atol=1e-5)


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch_size", [4, 16, (16, 8), [8, 24]])
def test_the_patch_size_passes_through(folder, pipe, patch_size):
    samples = melody(0.45)
    features = pipe.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = pipe.model(**features, patch_size=patch_size).logits.softmax(-1)[0].numpy()
    np.testing.assert_allclose(by_label(pipe(samples, patch_size=patch_size)), expected, atol=1e-6)
    fixed = transformers.pipeline("audio-classification", model=str(folder), patch_size=patch_size)
    np.testing.assert_allclose(by_label(fixed(samples)), expected, atol=1e-6)
    assert abs(by_label(pipe(samples)) - expected).max() > 1e-4


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (NUM_LABELS, 5), (99, 5), (None, 5)])
def test_top_k_counts_the_labels_from_the_likeliest(pipe, top_k, count):
    every = pipe(melody(0.4), top_k=None)
    answer = pipe(melody(0.4), top_k=top_k)
    assert answer == every[:count]
    scores = [record["score"] for record in every]
    assert scores == sorted(scores, reverse=True)
    assert {record["label"] for record in every} == set(pipe.model.config.id2label.values())


def test_five_labels_are_the_default(tmp_path):
    many = transformers.pipeline("audio-classification", model=str(write_model(tmp_path, num_labels=9)))
    assert len(many(melody(0.4))) == 5
    assert len(many(melody(0.4), top_k=None)) == 9


@pytest.mark.parametrize(
    ("name", "function"),
    [("softmax", lambda x: x.softmax(-1)), ("sigmoid", torch.sigmoid), ("none", lambda x: x)],
)
def test_the_function_named_is_applied_to_the_logits(pipe, name, function):
    logits = torch.from_numpy(by_label(pipe(melody(0.4), function_to_apply="none")))
    np.testing.assert_allclose(by_label(pipe(melody(0.4), function_to_apply=name)), function(logits), atol=1e-6)


@pytest.mark.parametrize(
    ("problem_type", "default"),
    [
        (None, "softmax"),
        ("single_label_classification", "softmax"),
        ("multi_label_classification", "sigmoid"),
        ("regression", "none"),
    ],
)
def test_the_problem_type_says_how_logits_are_read(tmp_path, problem_type, default):
    tagger = transformers.pipeline("audio-classification", model=str(write_model(tmp_path, problem_type=problem_type)))
    assert tagger(melody(0.4)) == tagger(melody(0.4), function_to_apply=default)


# --- long recordings --------------------------------------------------------------------------------------------------


def windows_by_hand(samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """(first sample, end) of every window: at each multiple of the hop while it lies inside, and one at the end."""
    inside = [start for start in range(0, samples, hop) if start + window < samples]
    return [(start, start + window) for start in inside] + [(max(0, samples - window), samples)]


@pytest.mark.parametrize("block", [1, 3, 7, 8, 64, 1000])
@pytest.mark.parametrize(("window", "hop"), [(8, 8), (8, 5), (8, 4), (8, 1), (1, 1), (7, 6)])
def test_windows_do_not_depend_on_the_blocks_they_come_in(block, window, hop):
    for length in [1, 2, 7, 8, 9, 12, 13, 15, 16, 17, 24, 40, 41]:
        stream = np.arange(length, dtype=np.float32)
        blocks = (stream[start : start + block] for start in range(0, length, block))
        cut = list(cut_windows(blocks, window, hop))
        assert [(start, start + len(samples)) for start, samples, _ in cut] == windows_by_hand(length, window, hop)
        assert [is_last for *_, is_last in cut] == [False] * (len(cut) - 1) + [True]
        for start, samples, _ in cut:
            np.testing.assert_array_equal(samples, stream[start : start + len(samples)])


def test_blocks_may_be_of_any_sizes_and_empty():
    stream = np.arange(50, dtype=np.float32)
    blocks = np.split(stream, [0, 1, 1, 20, 21, 47])
    cut = [(start, start + len(samples)) for start, samples, _ in cut_windows(iter(blocks), 8, 3)]
    assert cut == windows_by_hand(50, 8, 3)


def test_windows_are_cut_before_the_stream_ends():
    def endless():
        while True:
            yield np.zeros(10, dtype=np.float32)

    windows = cut_windows(endless(), window=8, hop=4)
    assert [next(windows)[0] for _ in range(100)] == list(range(0, 400, 4))


@pytest.mark.parametrize("samples", [WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + HOP, WINDOW + HOP + 1, 40000])
@pytest.mark.parametrize("overlap", [0, 0.5, 0.9])
def test_windows_cover_the_whole_recording_and_end_with_it(pipe, samples, overlap):
    records = pipe(melody(3)[:samples], overlap=overlap, return_windows=True, top_k=1)
    spans = [(round(record["start"] * RATE), round(record["end"] * RATE)) for record in records]
    hop = round(WINDOW * (1 - overlap))
    assert spans == windows_by_hand(samples, WINDOW, hop)
    assert (spans[0][0], spans[-1][1]) == (0, samples)
    assert all(start % hop == 0 for start, _ in spans[:-1])
    assert all(later[0] <= earlier[1] for earlier, later in itertools.pairwise(spans))


def test_every_window_scores_as_its_samples_alone(pipe):
    samples = melody(2)
    records = pipe(samples, return_windows=True, top_k=None)
    for index in range(0, len(records), NUM_LABELS):
        answer = records[index : index + NUM_LABELS]
        (span,) = {(record["start"], record["end"]) for record in answer}
        alone = pipe(samples[round(span[0] * RATE) : round(span[1] * RATE)])
        np.testing.assert_allclose(by_label(answer), by_label(alone), atol=1e-6)
        assert [set(record) for record in answer] == [{"start", "end", "label", "score"}] * NUM_LABELS


@pytest.mark.parametrize(("pooling", "reduce"), [("mean", np.mean), ("max", np.max)])
@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_the_pooled_score_is_that_of_the_windows_scores(pipe, pooling, reduce, function):
    options = {"top_k": None, "function_to_apply": function}
    records = pipe(melody(2), return_windows=True, **options)
    windows = [by_label(records[i : i + NUM_LABELS]) for i in range(0, len(records), NUM_LABELS)]
    assert len(windows) == 8
    pooled = by_label(pipe(melody(2), pooling=pooling, **options))
    np.testing.assert_allclose(pooled, reduce(windows, axis=0), atol=1e-6)


@pytest.mark.parametrize("batch_size", [2, 3, 50])
def test_the_batch_size_does_not_change_scores(pipe, batch_size):
    options = {"return_windows": True, "top_k": None}
    one, several = (pipe(melody(2), batch_size=size, **options) for size in (1, batch_size))
    assert [record["start"] for record in one] == [record["start"] for record in several]
    for i in range(0, len(one), NUM_LABELS):
        np.testing.assert_allclose(by_label(one[i : i + NUM_LABELS]), by_label(several[i : i + NUM_LABELS]), atol=1e-6)


def test_shorter_windows_may_be_asked_for(pipe):
    records = pipe(melody(1), window_seconds=0.2, overlap=0.25, return_windows=True, top_k=1)
    assert [round(record["start"], 3) for record in records] == [0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.8]
    assert {round(record["end"] - record["start"], 3) for record in records} == {0.2}


def test_pooled_records_may_say_their_times(pipe):
    records = pipe(melody(1.25), return_times=True, top_k=2)
    assert [(record["start"], record["end"]) for record in records] == [(0, 1.25)] * 2
    assert [{name: record[name] for name in ("score", "label")} for record in records] == pipe(melody(1.25), top_k=2)


MEMORY = """
import resource, sys, torch, transformers
import avzoo
torch.set_num_threads(1)
folder, *recordings = sys.argv[1:]
tagger = transformers.pipeline("audio-classification", model=folder, batch_size=4, patch_size=32)
for recording in recordings:
    tagger(recording)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_minutes_take_no_more_memory_than_one(tmp_path):
    model = write_model(tmp_path / "model", num_mel_bins=128, max_length=1024, patch_size=16, position_grid=(8, 64))
    minute = melody(60)
    recordings = []
    for minutes in (1, 10):
        recordings.append(tmp_path / f"{minutes}.wav")
        with soundfile.SoundFile(recordings[-1], "w", RATE, 1) as file:
            for _ in range(minutes):
                file.write(minute)
    answer = subprocess.run(
        [sys.executable, "-c", MEMORY, model, *recordings], check=True, capture_output=True, text=True, timeout=280
    )
    one, ten = map(int, answer.stdout.split())
    # The nine minutes more are 33 MiB of samples and 52 MiB of features, were they kept.
    assert ten - one < 25, f"peak memory grew from {one} to {ten} MiB"


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"window_seconds": 0.024},
            ValueError,
            r"`window_seconds` must be at least 0\.025 and at most 0\.495.* seconds, got 0\.024",
        ),
        ({"window_seconds": 0.5}, ValueError, r"`window_seconds` must be at least.*got 0.5"),
        ({"window_seconds": 0}, ValueError, r"`window_seconds` must be at least.*got 0"),
        ({"window_seconds": -1}, ValueError, r"`window_seconds` must be at least.*got -1"),
        ({"window_seconds": float("nan")}, ValueError, "`window_seconds` must be finite, got nan"),
        ({"window_seconds": float("inf")}, ValueError, "`window_seconds` must be finite, got inf"),
        ({"window_seconds": "long"}, TypeError, r"`window_seconds` must be a number, got 'long'"),
        ({"overlap": 1}, ValueError, r"`overlap` must be at least 0 and below 1, got 1"),
        ({"overlap": -0.1}, ValueError, r"`overlap` must be at least 0 and below 1, got -0.1"),
        ({"overlap": float("nan")}, ValueError, r"`overlap` must be at least 0 and below 1, got nan"),
        ({"overlap": None}, TypeError, r"`overlap` must be a number, got None"),
        ({"overlap": "half"}, TypeError, r"`overlap` must be a number, got 'half'"),
        ({"pooling": "median"}, ValueError, r"`pooling` must be one of mean, max, got 'median'"),
        ({"pooling": None}, ValueError, r"`pooling` must be one of"),
        ({"function_to_apply": "relu"}, ValueError, r"`function_to_apply` must be one of.*got 'relu'"),
        ({"top_k": 0}, ValueError, r"`top_k` must be at least 1, got 0"),
        ({"top_k": -3}, ValueError, r"`top_k` must be at least 1"),
        ({"top_k": 1.5}, TypeError, r"`top_k` must be a whole number, got 1.5"),
        ({"top_k": "all"}, TypeError, r"`top_k` must be a whole number, got 'all'"),
        ({"patch_size": 0}, ValueError, r"`patch_size` must be at least 1"),
        ({"patch_size": 33}, ValueError, r"`patch_size` \(33, 33\) is taller than the spectrogram"),
        ({"patch_size": (8, 49)}, ValueError, r"`patch_size` \(8, 49\) is longer than the input"),
        ({"patchsize": 8}, TypeError, r"no parameter 'patchsize'"),
    ],
)
def test_a_parameter_that_cannot_work_is_named(folder, pipe, parameters, error, message):
    with pytest.raises(error, match=message):
        pipe(melody(0.4), **parameters)
    if not {"window_seconds", "patch_size"} & parameters.keys() or error is TypeError:  # those depend on the model
        with pytest.raises(error, match=message):
            transformers.pipeline("audio-classification", model=str(folder), **parameters)


@pytest.mark.parametrize(
    ("name", "content", "samples", "message"),
    [
        ("empty.wav", b"", None, r"empty\.wav.* is empty"),
        ("page.mp3", b"<html>quota exceeded</html>" * 40, None, r"page\.mp3.* is no audio or video file"),
        ("notes.txt", b"four score and seven years ago", None, r"notes\.txt.* is no audio or video file"),
        ("silent.wav", None, np.zeros(0), r"silent\.wav.* holds no samples"),
        ("click.wav", None, np.zeros(1), r"click\.wav.* is too short: 1 samples at 16000 Hz, the model needs 400"),
        ("blip.wav", None, np.zeros(399), r"blip\.wav.* is too short: 399 samples"),
        ("broken.wav", None, np.array([0.0, np.nan] * 300), r"broken\.wav.*300 samples are NaN or infinite"),
        ("loud.wav", None, np.array([0.0, np.inf] * 300), r"loud\.wav.*300 samples are NaN or infinite"),
    ],
)
def test_a_bad_file_is_named_also_inside_a_list(pipe, tmp_path, name, content, samples, message):
    path = tmp_path / name
    if content is None:
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        pipe(path)
    good = write(tmp_path / "good.wav", melody(0.4))
    with pytest.raises(ValueError, match=message):
        pipe([str(good), str(path)], batch_size=2)


def test_a_file_cut_short_is_refused_not_scored(pipe, tmp_path):
    path = write(tmp_path / "cut.flac", melody(1.3))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"cut\.flac.* breaks off"):
        pipe(path)


def test_a_missing_file_and_a_folder_are_named(pipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.wav"):
        pipe(str(tmp_path / "no.wav"))
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        pipe(str(tmp_path))


@pytest.mark.parametrize(
    ("recording", "error", "message"),
    [
        (np.ones(8000, dtype=np.int16), TypeError, r"holds integers \(int16\)"),
        (torch.ones(8000, dtype=torch.int32), TypeError, r"holds integers \(int32\)"),
        (np.zeros(0, dtype=np.float32), ValueError, "holds no samples"),
        (np.zeros(399, dtype=np.float32), ValueError, "`audio` is too short: 399 samples"),
        (np.zeros((2, 2, 9000), dtype=np.float32), ValueError, r"must be \(samples,\) or \(channels, samples\)"),
        (np.full(8000, np.nan, dtype=np.float32), ValueError, "8000 samples are NaN or infinite"),
        ({"array": np.zeros(8000, dtype=np.float32)}, ValueError, "doesn't tell its sampling rate"),
        ({"array": np.zeros(8000), "sampling_rate": 0}, ValueError, "`sampling_rate` must be a positive number"),
        ({"sampling_rate": RATE}, ValueError, r"dict with the keys \['sampling_rate'\]"),
        (b"", ValueError, "is empty: 0 bytes"),
        (b"not a sound", ValueError, "no audio or video file"),
        (None, TypeError, "got NoneType"),
        (7, TypeError, "got int"),
    ],
    ids=lambda value: None if isinstance(value, str | type) else type(value).__name__,
)
def test_samples_that_are_no_recording_are_refused(pipe, recording, error, message):
    with pytest.raises(error, match=message):
        pipe(recording)


def test_a_url_is_fetched(pipe, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "melody.wav", melody(0.4), RATE)
    opened = []

    def fetch(url):
        opened.append(url)
        return (tmp_path / "melody.wav").open("rb")

    monkeypatch.setattr("avzoo.pipelines.audio_classification.pipeline.urlopen", fetch)
    assert pipe("https://example.org/melody.wav") == pipe(str(tmp_path / "melody.wav"))
    assert opened == ["https://example.org/melody.wav"]
