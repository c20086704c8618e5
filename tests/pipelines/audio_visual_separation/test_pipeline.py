"""AVDiffuSS's pipeline, tiny and complete: batches, noise, windows, samplers, levels, folders, wrong inputs."""

import copy
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract.tiny.avdiffuss import tiny_separation_parts
from diffusers import DiffusionPipeline

from avzoo import AVDiffuSSModel, AVDiffuSSPipeline
from avzoo.audio import write_wav
from avzoo.models.avdiffuss.windows import CrossFade, NoiseField, Windows
from avzoo.pipelines.audio_visual_separation.pipeline import PRESETS
from avzoo.video import write_video

RATE, PER_FRAME, SIDE, BINS, HOP = 16000, 640, 32, 64, 64
# Sums in another order, and a few steps of a network that amplifies what they differ by.
NEAR = {"rtol": 1e-3, "atol": 1e-4}
EXACT = {"rtol": 0, "atol": 0}
WINDOW, COLUMNS = 5 * PER_FRAME, 56  # of the pipeline below


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return tiny_separation_parts()


@pytest.fixture
def pipe(parts) -> AVDiffuSSPipeline:
    return assembled(parts)


def assembled(parts: dict[str, Any], **changes: Any) -> AVDiffuSSPipeline:
    pipe = AVDiffuSSPipeline(**{**parts, "window_length_in_s": WINDOW / RATE, **changes})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sound(samples: int = WINDOW, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def face(frames: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(100 + seed).integers(0, 256, (frames, SIDE, SIDE), dtype=np.uint8)


def separated(pipe: AVDiffuSSPipeline, audio: Any = None, video: Any = None, **options: Any) -> Any:
    """One voice as a tensor, or the voices of a list."""
    audio = sound() if audio is None else audio
    video = face(-(-len(audio) // PER_FRAME)) if video is None else video
    defaults = {"num_inference_steps": 2, "corrector": "none", "generator": seeded(0), "output_type": "pt"}
    voices = pipe(audio, video, **{**defaults, **options}).audios
    return voices if isinstance(audio, list) or isinstance(video, list) else voices[0]


def watched(module: torch.nn.Module, call: Callable[[], Any]) -> list[tuple[torch.Tensor, ...]]:
    """Arguments of every call of a network."""
    seen: list[tuple[torch.Tensor, ...]] = []
    hook = module.register_forward_pre_hook(lambda module, args: seen.append(args))
    try:
        call()
    finally:
        hook.remove()
    return seen


def differ(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool(torch.linalg.vector_norm(first - second) > 0.01 * torch.linalg.vector_norm(second))


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"sampler": "heun"}, {"denoiser_only": True}, {"corrector": "ald"}])
def test_a_batch_of_several_lengths_is_its_items(pipe, options):
    lengths = (WINDOW, 1500, 7000, WINDOW)
    sounds = [sound(length, seed) for seed, length in enumerate(lengths)]
    faces = [face(-(-length // PER_FRAME), seed) for seed, length in enumerate(lengths)]
    faces[3] = face(6, seed=3)  # as long a sound as the first, but another number of pictures
    together = separated(pipe, sounds, faces, generator=[seeded(i) for i in range(4)], batch_size=3, **options)
    for index in range(4):
        alone = separated(pipe, sounds[index], faces[index], generator=seeded(index), batch_size=1, **options)
        assert together[index].shape == (lengths[index],)
        torch.testing.assert_close(together[index], alone, **NEAR)
    assert differ(together[0], together[3])


def test_one_mixture_goes_with_every_face(pipe):
    faces = [face(seed=seed) for seed in range(3)]
    together = separated(pipe, sound(), faces, generator=[seeded(i) for i in range(3)])
    for index in range(3):
        alone = separated(pipe, sound(), faces[index], generator=seeded(index))
        torch.testing.assert_close(together[index], alone, **NEAR)
    same_noise = separated(pipe, sound(), faces, generator=[seeded(0) for _ in range(3)])
    assert differ(same_noise[0], same_noise[1])  # told apart by their faces


def test_one_face_goes_with_every_mixture(pipe):
    sounds = [sound(seed=seed) for seed in range(3)]
    together = separated(pipe, sounds, face(), generator=[seeded(i) for i in range(3)])
    for index in range(3):
        torch.testing.assert_close(together[index], separated(pipe, sounds[index], generator=seeded(index)), **NEAR)


def test_one_open_video_goes_with_every_mixture(pipe, tmp_path):
    write_video(tmp_path / "face.mp4", np.repeat(face(5)[..., None], 3, -1), 25)
    sounds = [sound(seed=1), sound(seed=2)]
    expected = separated(pipe, sounds, str(tmp_path / "face.mp4"))
    with (tmp_path / "face.mp4").open("rb") as file:
        voices = separated(pipe, sounds, file)
    assert torch.equal(torch.stack(voices), torch.stack(expected))


def test_the_two_networks_look_through_their_own_eyes_once(pipe):
    calls = {}
    for name in ("denoiser_visual_encoder", "score_visual_encoder"):
        # 6 windows in batches of 4 and 2
        calls[name] = watched(getattr(pipe, name), lambda: separated(pipe, sound(WINDOW + 5 * 1280), batch_size=4))
    for seen in calls.values():
        assert [len(faces) for (faces,) in seen] == [4, 2]


def test_without_eyes_of_its_own_the_second_network_sees_what_the_first_does(parts):
    shared = assembled(parts, score_visual_encoder=None)
    twice = assembled(parts, score_visual_encoder=parts["denoiser_visual_encoder"])
    assert torch.equal(separated(shared), separated(twice))
    assert differ(separated(shared), separated(assembled(parts)))


# --- noise ------------------------------------------------------------------------------------------------------------


def test_a_seed_decides(pipe):
    first = separated(pipe, generator=seeded(0))
    assert torch.equal(first, separated(pipe, generator=seeded(0)))
    assert differ(first, separated(pipe, generator=seeded(1)))
    assert differ(first, separated(pipe, generator=None))


def test_all_noise_comes_from_the_generator(pipe):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    separated(pipe, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)


def test_one_generator_gives_every_item_noise_of_its_own(pipe):
    first, second = separated(pipe, [sound(), sound()], face(), generator=seeded(0))
    assert differ(first, second)


@pytest.mark.parametrize(
    ("options", "draws"),
    [
        ({"num_inference_steps": 3, "corrector": "ald", "corrector_steps": 2}, 10),
        ({"num_inference_steps": 3, "corrector": "none"}, 4),
        ({"num_inference_steps": 3, "sampler": "heun"}, 1),
    ],
)
def test_noise_that_is_passed_is_used_in_the_order_of_drawing(pipe, options, draws):
    field = NoiseField(int(torch.randint(2**62, (), generator=seeded(0))), BINS)
    noise = [field.columns(draw, 0, COLUMNS) for draw in range(draws)]
    expected = separated(pipe, **options)
    assert torch.equal(separated(pipe, noise=noise, generator=None, **options), expected)
    if draws > 1:
        assert differ(separated(pipe, noise=[*noise[1:], noise[0]], **options), expected)
    with pytest.raises(ValueError, match=rf"`noise` holds {draws - 1} draws; these steps need {draws}"):
        separated(pipe, noise=noise[:-1], **options)


def test_noise_of_a_batch_is_given_item_by_item(pipe):
    noise = [torch.randn(2, BINS, COLUMNS, dtype=torch.complex64, generator=seeded(draw)) for draw in range(5)]
    together = separated(pipe, [sound(), sound()], face(), noise=noise)
    for index in range(2):
        alone = separated(pipe, noise=[draw[index] for draw in noise])
        torch.testing.assert_close(together[index], alone, **NEAR)
    with pytest.raises(
        ValueError, match=r"`noise\[0\]` must be complex \(\[1,\] 64, 56 or more\) for item 0, got \(2, 64, 56\)"
    ):
        separated(pipe, noise=noise)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((BINS, COLUMNS - 1), torch.complex64), ((BINS, COLUMNS), torch.float32), ((COLUMNS,), torch.complex64)],
)
def test_noise_that_does_not_fit_is_named(pipe, shape, dtype):
    noise = [torch.zeros(shape, dtype=dtype)] * 5
    with pytest.raises(ValueError, match=r"`noise\[0\]` must be complex \(\[1,\] 64, 56 or more\) for item 0, got"):
        separated(pipe, noise=noise)


@pytest.mark.parametrize("bins", [1, BINS - 1])
def test_noise_of_another_number_of_bins_is_named(pipe, bins):
    """A single one would be spread over all bins in silence."""
    with pytest.raises(ValueError, match=r"`noise\[0\]` must be complex"):
        separated(pipe, noise=[torch.zeros(bins, COLUMNS, dtype=torch.complex64)] * 5)


def test_a_list_of_generators_has_one_for_each_item(pipe):
    with pytest.raises(ValueError, match=r"`generator` is a list of 2, expected one for each of 3 items"):
        separated(pipe, sound(), [face()] * 3, generator=[seeded(0), seeded(1)])


# --- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1e-4, 0.5, 7.0])
def test_a_louder_mixture_gives_a_louder_voice(pipe, gain):
    torch.testing.assert_close(separated(pipe, gain * sound()) / gain, separated(pipe), **NEAR)


@pytest.mark.parametrize("options", [{}, {"denoiser_only": True}, {"sampler": "heun"}])
def test_silence_has_no_voice_in_it(pipe, options):
    calls = []
    voices = watched(pipe.denoiser, lambda: calls.append(separated(pipe, np.zeros(7000, np.float32), **options)))
    assert voices == []
    assert calls[0].shape == (7000,)
    assert not calls[0].any()


def test_a_silent_window_of_a_long_recording_is_silent_and_disturbs_no_other(pipe):
    audio = sound(5 * WINDOW)
    audio[WINDOW : 3 * WINDOW] = 0
    voice = separated(pipe, audio, window_overlap=0.0)
    assert voice.isfinite().all()
    assert not voice[WINDOW : 3 * WINDOW].any()
    assert voice[3 * WINDOW :].std() > 0.01
    assert voice[:WINDOW].std() > 0.01


# --- windows ----------------------------------------------------------------------------------------------------------


def test_one_window_is_the_whole(pipe):
    assert torch.equal(separated(pipe), separated(pipe, window_length_in_s=math.inf))
    assert torch.equal(separated(pipe), separated(pipe, window_length_in_s=10.0))
    longer = sound(2 * WINDOW)
    assert differ(separated(pipe, longer), separated(pipe, longer, window_length_in_s=math.inf))


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
def test_the_batch_size_changes_nothing(pipe, overlap):
    audio = sound(7000)
    expected = separated(pipe, audio, batch_size=1, window_overlap=overlap)
    assert expected.shape == (7000,)
    for batch_size in (2, 100):
        voice = separated(pipe, audio, batch_size=batch_size, window_overlap=overlap)
        torch.testing.assert_close(voice, expected, **NEAR)


def test_no_more_windows_are_computed_at_once_than_asked_for(pipe):
    """Whatever the length: memory is bounded."""
    sizes = []

    def count(pipe, step, time, tensors):
        sizes.append(tuple(tensors["sample"].shape))

    separated(
        pipe, sound(10 * WINDOW), batch_size=3, num_inference_steps=1, corrector="none", callback_on_step_end=count
    )
    assert set(sizes[:-1]) == {(3, 1, BINS, COLUMNS)}
    assert sizes[-1][0] <= 3
    assert sum(size[0] for size in sizes) == 1 + -(-9 * WINDOW // 1280)


def test_each_window_sees_the_frames_that_belong_to_it(pipe):
    pictures = face(15)
    audio = sound(15 * PER_FRAME)
    calls = watched(pipe.denoiser_visual_encoder, lambda: separated(pipe, audio, pictures, batch_size=1))
    starts = [int((pictures == seen[0, 0].numpy()).all((1, 2)).argmax()) for (seen,) in calls]
    assert starts == [0, 2, 4, 6, 8, 10]
    for (seen,), start in zip(calls, starts, strict=True):
        np.testing.assert_array_equal(seen[0].numpy(), pictures[start : start + 5])


def test_where_the_video_ends_early_windows_see_its_last_frame(pipe):
    pictures = face(7)
    calls = watched(
        pipe.denoiser_visual_encoder, lambda: separated(pipe, sound(15 * PER_FRAME), pictures, batch_size=1)
    )
    np.testing.assert_array_equal(calls[2][0][0].numpy(), pictures[[4, 5, 6, 6, 6]])
    np.testing.assert_array_equal(calls[5][0][0].numpy(), pictures[[6] * 5])


def test_overlapping_windows_get_the_same_noise_where_they_overlap(pipe):
    pipe.scheduler = copy.deepcopy(pipe.scheduler)
    drawn = []
    init_sample = pipe.scheduler.init_sample
    pipe.scheduler.init_sample = lambda mean, noise: drawn.append(noise) or init_sample(mean, noise)
    separated(pipe, sound(9 * PER_FRAME), batch_size=1)
    first, second, third = drawn
    columns = 1280 // HOP  # from one window to the next
    assert first.abs().min() > 0
    assert torch.equal(first[..., columns:], second[..., :-columns])
    assert torch.equal(second[..., columns:], third[..., :-columns])
    assert not torch.equal(first[..., :-columns], second[..., :-columns])


@pytest.mark.parametrize(
    ("num_samples", "overlap", "starts"),
    [
        (3200, 0.5, [0]),
        (10, 0.5, [0]),
        (3201, 0.5, [0, 640]),
        (3840, 0.5, [0, 640]),
        (4481, 0.5, [0, 1280, 1920]),
        (9600, 0.0, [0, 3200, 6400]),
        (9601, 0.0, [0, 3200, 6400, 7040]),
        (5000, 0.99, [0, 640, 1280, 1920]),
    ],
)
def test_windows_lie_where_columns_and_frames_begin_together(num_samples, overlap, starts):
    windows = Windows.with_overlap(num_samples, 3200, overlap, 640)
    assert windows.starts == starts
    covered = np.zeros(num_samples, bool)
    for start in windows.starts:
        covered[start : start + 3200] = True
    assert covered.all()


@pytest.mark.parametrize("num_samples", [10, 3200, 3201, 4481, 9000, 12345])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.8])
def test_windows_that_agree_are_joined_without_a_trace(num_samples, overlap):
    windows = Windows.with_overlap(num_samples, 3200, overlap, 640)
    whole, fade = torch.randn(num_samples, generator=seeded(0)), CrossFade(windows)
    for start in reversed(windows.starts):
        fade.add(start, whole[start : start + 3200])
    torch.testing.assert_close(fade.result(), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_samples", [3201, 4481, 9000, 12345])
@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.8])
def test_windows_that_do_not_agree_are_joined_without_a_jump(num_samples, overlap):
    """One window of ones among zeros: its part rises and falls by little steps."""
    windows = Windows.with_overlap(num_samples, 3200, overlap, 640)
    for chosen in windows.starts:
        fade = CrossFade(windows)
        for start in windows.starts:
            length = min(3200, num_samples - start)
            fade.add(start, torch.full((length,), float(start == chosen)))
        part = fade.result()
        assert part.diff().abs().max() < 0.01
        assert 0 <= part.min() <= part.max() <= 1 + 1e-6
        assert part.max() > 0.3


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "evaluations"),
    [
        ({"num_inference_steps": 4, "corrector": "none"}, 4),
        ({"num_inference_steps": 4, "corrector": "ald"}, 8),
        ({"num_inference_steps": 4, "corrector": "ald", "corrector_steps": 3}, 16),
        ({"num_inference_steps": 4, "corrector": "ald", "sampler": "heun"}, 7),
        ({"num_inference_steps": 1, "sampler": "heun"}, 1),
        ({"denoiser_only": True}, 0),
    ],
)
def test_the_score_is_asked_for_so_often(pipe, options, evaluations):
    assert len(watched(pipe.score_model, lambda: separated(pipe, **options))) == evaluations
    assert len(watched(pipe.denoiser, lambda: separated(pipe, **options))) == 1


@pytest.mark.parametrize(("condition", "beside"), [("post_denoiser", "e"), ("noisy", "m"), ("both", "me")])
def test_the_score_network_is_given_the_state_and_what_belongs_beside_it(parts, condition, beside):
    if condition == "both":
        torch.manual_seed(3)
        config = {**parts["score_model"].config, "num_spectrograms": 3}
        parts = {**parts, "score_model": AVDiffuSSModel.from_config(config).eval()}
    pipe, kept = assembled(parts, condition=condition), []
    names = ("initial_estimate", "mixture")
    options = {"callback_on_step_end": lambda pipe, step, time, tensors: kept.append(tensors)}
    options["callback_on_step_end_tensor_inputs"] = names
    calls = watched(pipe.score_model, lambda: separated(pipe, **options))
    expected = {"e": kept[0]["initial_estimate"], "m": kept[0]["mixture"]}
    assert torch.equal(calls[0][0][:, 1:], torch.cat([expected[letter] for letter in beside], dim=1))
    assert not torch.equal(calls[0][0][:, :1], calls[1][0][:, :1])


def test_the_first_estimate_is_all_there_is_without_a_score_network(parts, pipe):
    bare = assembled(parts, score_model=None, score_visual_encoder=None)
    expected = pipe(sound(), face(), num_inference_steps=1, generator=seeded(0))
    for output in (bare(sound(), face()), pipe(sound(), face(), denoiser_only=True)):
        np.testing.assert_array_equal(output.audios[0], expected.initial_estimates[0])
        np.testing.assert_array_equal(output.initial_estimates[0], expected.initial_estimates[0])
    assert not np.allclose(expected.audios[0], expected.initial_estimates[0])


def test_settings_that_are_not_named_are_the_presets(parts, pipe):
    def evaluations(pipe, **options):
        options = {"num_inference_steps": None, "corrector": None, **options}
        return [call[1] for call in watched(pipe.score_model, lambda: separated(pipe, **options))]

    assert PRESETS["fast"] == {"num_inference_steps": 20, "corrector": "none", "corrector_steps": 1, "snr": 0.5}
    assert len(evaluations(assembled(parts, preset="fast"))) == 20
    assert len(evaluations(pipe, corrector_steps=2, num_inference_steps=2)) == 6
    own = {"short": {"num_inference_steps": 2, "corrector": "ald", "corrector_steps": 1, "snr": 0.2}}
    voice = separated(assembled(parts, presets=own, preset="short"), num_inference_steps=None, corrector=None)
    assert torch.equal(voice, separated(pipe, corrector="ald", snr=0.2))
    assert differ(voice, separated(pipe, corrector="ald"))


def test_presets_need_not_name_every_setting(parts, pipe):
    short = assembled(parts, presets={"short": {"num_inference_steps": 2}}, preset="short")
    voice = separated(short, num_inference_steps=None, corrector=None)
    assert torch.equal(voice, separated(pipe, corrector="ald"))


def test_a_callback_sees_every_step_of_every_batch(pipe):
    seen = []

    def note(given, step, time, tensors):
        seen.append((given is pipe, step, round(float(time), 3), tuple(tensors)))

    separated(pipe, sound(2 * WINDOW), batch_size=2, num_inference_steps=3, callback_on_step_end=note)
    assert seen == [(True, step, time, ("sample",)) for step, time in enumerate((1.0, 0.515, 0.03))] * 2


@pytest.mark.parametrize("sampler", ["predictor-corrector", "heun"])
def test_a_callback_can_replace_the_state(pipe, sampler):
    states = []

    def replace(pipe, step, time, tensors):
        states.append(tensors["sample"])
        return {"sample": torch.zeros_like(tensors["sample"])} if step == 0 else None

    options = {"sampler": sampler, "corrector": "ald", "callback_on_step_end": replace}
    calls = watched(pipe.score_model, lambda: separated(pipe, **options))
    assert states[0].any()
    assert not calls[2][0][:, 0].any()  # after the two evaluations of the first time


@pytest.mark.parametrize("sampler", ["predictor-corrector", "heun"])
def test_windows_that_an_interrupted_walk_has_not_reached_hold_the_first_estimate(pipe, sampler):
    def stop(pipe, step, time, tensors):
        pipe.interrupt = True

    options = {"sampler": sampler, "callback_on_step_end": stop, "batch_size": 1, "window_overlap": 0.0}
    calls, results = [], []
    hook = pipe.score_model.register_forward_pre_hook(lambda module, args: calls.append(1))
    try:
        results.append(
            pipe(sound(2 * WINDOW), face(10), generator=seeded(0), output_type="pt", corrector="none", **options)
        )
    finally:
        hook.remove()
    assert len(calls) == (1 if sampler == "predictor-corrector" else 2)  # of Heun's step
    (voice,), (estimate,) = results[0].audios, results[0].initial_estimates
    torch.testing.assert_close(voice[WINDOW:], estimate[WINDOW:], **EXACT)
    assert differ(voice[:WINDOW], estimate[:WINDOW])


@pytest.mark.parametrize("sampler", ["predictor-corrector", "heun"])
def test_what_a_callback_puts_in_the_place_of_the_last_mean_is_the_result(pipe, sampler):
    name = "mean" if sampler == "predictor-corrector" else "sample"
    options = {"callback_on_step_end_tensor_inputs": [name], "sampler": sampler}
    options["callback_on_step_end"] = lambda pipe, step, time, tensors: {name: torch.zeros_like(tensors[name])}
    assert not separated(pipe, **options).any()


def test_the_bar_counts_every_step(pipe, monkeypatch):
    bars = []
    progress_bar = pipe.progress_bar
    monkeypatch.setattr(pipe, "progress_bar", lambda **options: bars.append(progress_bar(**options)) or bars[-1])
    monkeypatch.setattr(pipe, "_progress_bar_config", {"file": io.StringIO()})
    separated(pipe, sound(2 * WINDOW), batch_size=2, num_inference_steps=3)  # 4 windows
    separated(pipe, sound(2 * WINDOW), batch_size=2, num_inference_steps=3, sampler="heun")
    separated(pipe, sound(2 * WINDOW), batch_size=3, denoiser_only=True)
    assert [(bar.n, bar.total) for bar in bars] == [(6, 6), (6, 6), (2, 2)]


# --- media ------------------------------------------------------------------------------------------------------------


def test_files_of_any_rate_are_brought_to_what_the_networks_know(pipe, tmp_path):
    """Two channels at 8 kHz, and 30 frames a second."""
    channels = np.stack([sound(1600, 1), sound(1600, 2)])
    write_wav(tmp_path / "mixture.wav", channels, 8000)
    write_video(tmp_path / "face.mp4", np.repeat(face(6)[..., None], 3, -1), 30)
    calls = watched(
        pipe.denoiser_visual_encoder, lambda: separated(pipe, tmp_path / "mixture.wav", tmp_path / "face.mp4")
    )
    assert [tuple(seen.shape) for (seen,) in calls] == [(1, 5, SIDE, SIDE)]
    from_files = pipe(tmp_path / "mixture.wav", face(), generator=seeded(0), num_inference_steps=2)
    from_memory = pipe(channels, face(), sampling_rate=8000, generator=seeded(0), num_inference_steps=2)
    assert from_files.audios[0].shape == (3200,)
    np.testing.assert_array_equal(from_files.audios[0], from_memory.audios[0])
    mean = pipe(channels.mean(0), face(), sampling_rate=8000, generator=seeded(0), num_inference_steps=2)
    np.testing.assert_allclose(mean.audios[0], from_memory.audios[0], rtol=1e-3, atol=1e-4)


def test_frames_of_another_rate_are_told_so(pipe):
    calls = watched(pipe.denoiser_visual_encoder, lambda: separated(pipe, video=face(10), source_fps=50))
    assert [tuple(seen.shape) for (seen,) in calls] == [(1, 5, SIDE, SIDE)]


@pytest.mark.parametrize(("frames", "what"), [(15, "is left out"), (2, "its last picture is held")])
def test_a_video_of_another_length_is_cut_or_held_and_told(pipe, tmp_path, caplog, frames, what):
    write_video(tmp_path / "face.mp4", np.repeat(face(frames)[..., None], 3, -1), 25)
    audio = sound(9 * PER_FRAME)
    with caplog_of(caplog):
        calls = watched(
            pipe.denoiser_visual_encoder,
            lambda: separated(pipe, audio, tmp_path / "face.mp4", window_length_in_s=math.inf),
        )
    assert [seen.shape[1] for (seen,) in calls] == [9]
    assert what in caplog.text
    if frames == 2:
        assert torch.equal(calls[0][0][0, 1:], calls[0][0][0, 1:2].expand(8, -1, -1))


class caplog_of:
    """transformers' own logger does not pass on what it is told."""

    def __init__(self, caplog):
        import logging

        self.handler, self.logger = caplog.handler, logging.getLogger("avzoo.models.avdiffuss.processing_avdiffuss")

    def __enter__(self):
        self.logger.addHandler(self.handler)

    def __exit__(self, *error):
        self.logger.removeHandler(self.handler)


def test_results_come_as_asked_for(pipe):
    options = {"num_inference_steps": 1, "corrector": "none"}
    output = pipe(sound(), face(), generator=seeded(0), **options)
    assert isinstance(output.audios[0], np.ndarray)
    assert output.audios[0].dtype == np.float32
    audios, estimates = pipe(sound(), face(), generator=seeded(0), return_dict=False, **options)
    np.testing.assert_array_equal(audios[0], output.audios[0])
    np.testing.assert_array_equal(estimates[0], output.initial_estimates[0])
    assert torch.equal(torch.from_numpy(audios[0]), separated(pipe, num_inference_steps=1))


# --- how much the face matters ----------------------------------------------------------------------------------------


def test_face_dependence_is_measured_against_blank_and_other_faces(pipe):
    options = {"num_inference_steps": 1, "corrector": "none"}
    levels = pipe.face_dependence(sound(), face(), face(seed=1), **options)
    assert levels.keys() == {"blank", "swapped"}
    voices = [separated(pipe, video=face(seed=seed), **options) for seed in (0, 1)]
    expected = 10 * math.log10((voices[1] - voices[0]).square().sum() / voices[0].square().sum())
    assert levels["swapped"] == pytest.approx(expected, abs=1e-3)
    assert -60 < levels["blank"] < 20
    assert pipe.face_dependence(sound(), face(), **options) == {"blank": levels["blank"]}


def test_networks_that_ignore_the_face_do_not_depend_on_it(parts):
    blind = {name: copy.deepcopy(parts[name]) for name in ("denoiser", "score_model")}
    for network in blind.values():
        for name, parameter in network.named_parameters():
            if ".output_projection." in name:
                torch.nn.init.zeros_(parameter)
    levels = assembled({**parts, **blind}).face_dependence(sound(), face(), face(seed=1), num_inference_steps=2)
    assert levels == {"blank": -math.inf, "swapped": -math.inf}


def test_face_dependence_looks_at_what_the_call_looks_at(pipe, tmp_path):
    """The video goes on after the sound."""
    write_video(tmp_path / "face.mp4", np.repeat(face(25)[..., None], 3, -1), 25)
    options = {"denoiser_only": True}
    (expected,) = watched(pipe.denoiser_visual_encoder, lambda: pipe(sound(), str(tmp_path / "face.mp4"), **options))
    seen = watched(
        pipe.denoiser_visual_encoder, lambda: pipe.face_dependence(sound(), str(tmp_path / "face.mp4"), **options)
    )
    assert [faces.shape for (faces,) in seen] == [expected[0].shape] * 2


# --- precision --------------------------------------------------------------------------------------------------------


def test_half_precision_stays_finite_and_near(parts, pipe):
    half = assembled({**parts, **{name: copy.deepcopy(part) for name, part in parts.items() if "e" in name}})
    half.to(torch.bfloat16)
    assert half.denoiser.dtype == half.score_visual_encoder.dtype == torch.bfloat16
    for options in ({"denoiser_only": True}, {"num_inference_steps": 2}, {"num_inference_steps": 2, "sampler": "heun"}):
        voice, exact = separated(half, **options), separated(pipe, **options)
        assert voice.dtype == torch.float32
        assert voice.isfinite().all()
        # 8 bits through a dozen layers and a power of two
        assert torch.linalg.vector_norm(voice - exact) < 0.15 * torch.linalg.vector_norm(exact)


# --- folders ----------------------------------------------------------------------------------------------------------

# Loaded weights lie elsewhere in memory; at an address that is no multiple of 64 bytes, CPUs may sum in another order.
NEARLY = {"rtol": 1e-4, "atol": 1e-4}


def assert_same_weights(one: AVDiffuSSPipeline, other: AVDiffuSSPipeline) -> None:
    for name in ("denoiser", "denoiser_visual_encoder", "score_model", "score_visual_encoder"):
        first, second = (getattr(pipe, name) for pipe in (one, other))
        if first is not None:
            torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), **EXACT)


def test_a_saved_pipeline_holds_the_same_weights_and_computes_the_same(parts, tmp_path):
    """In another process, too: tests/conversion/test_loading_elsewhere.py."""
    pipe = assembled(parts, preset="fast", window_length_in_s=0.3)
    pipe.save_pretrained(tmp_path)
    expected = separated(pipe, sound(7000))
    for pipeline_class in (AVDiffuSSPipeline, DiffusionPipeline):
        loaded = pipeline_class.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        assert type(loaded) is AVDiffuSSPipeline
        assert_same_weights(loaded, pipe)
        torch.testing.assert_close(separated(loaded, sound(7000)), expected, **NEARLY)


def test_settings_travel_with_the_weights(parts, tmp_path):
    own = {"mine": {"num_inference_steps": 7, "corrector": "none", "corrector_steps": 1, "snr": 0.3}}
    processor = copy.deepcopy(parts["processor"])
    processor.spec_factor = 0.15
    scheduler = type(parts["scheduler"])(theta=2.0, min_timestep=0.05)
    settings = {"presets": own, "preset": "mine", "condition": "noisy", "window_length_in_s": 1.5}
    pipe = assembled({**parts, "processor": processor, "scheduler": scheduler}, **settings)
    pipe.save_pretrained(tmp_path)
    loaded = AVDiffuSSPipeline.from_pretrained(tmp_path)
    for name in ("presets", "preset", "condition", "window_length_in_s"):
        assert loaded.config[name] == pipe.config[name]
    assert (loaded.processor.spec_factor, loaded.processor.n_fft, loaded.processor.frame_multiple) == (0.15, 126, 8)
    assert (loaded.scheduler.config.theta, loaded.scheduler.config.min_timestep) == (2.0, 0.05)
    assert loaded.use_preset("mine") is loaded


def test_a_change_of_preset_is_saved(pipe, tmp_path):
    pipe.use_preset("fast").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["preset"] == "fast"
    assert AVDiffuSSPipeline.from_pretrained(tmp_path).config.preset == "fast"
    with pytest.raises(ValueError, match=r"`preset` must be one of reference, fast, got 'quick'"):
        pipe.use_preset("quick")


@pytest.mark.parametrize("missing", [("score_model", "score_visual_encoder"), ("score_visual_encoder",)])
def test_parts_that_were_left_out_stay_out(parts, tmp_path, missing):
    pipe = assembled(parts, **dict.fromkeys(missing))
    pipe.save_pretrained(tmp_path)
    assert not any((tmp_path / name).exists() for name in missing)
    loaded = AVDiffuSSPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert all(getattr(loaded, name) is None for name in missing)
    assert_same_weights(loaded, pipe)
    torch.testing.assert_close(separated(loaded), separated(pipe), **NEARLY)


def test_the_defaults_are_the_authors(parts):
    pipe = AVDiffuSSPipeline(**parts)
    assert (pipe.config.condition, pipe.config.window_length_in_s, pipe.config.preset) == (
        "post_denoiser",
        2.04,
        "reference",
    )
    assert pipe.sampling_rate == 16000
    assert PRESETS["reference"] == {"num_inference_steps": 30, "corrector": "ald", "corrector_steps": 1, "snr": 0.5}


# --- what cannot work -------------------------------------------------------------------------------------------------

NAN = sound()
NAN[100] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": NAN}, r"`audio`.*(NaN|finite)"),
        ({"audio": sound(63)}, r"`audio` has 63 samples at 16000 Hz; at least 64 are needed"),
        ({"audio": sound(0), "video": face()}, r"`audio`"),
        ({"video": face(0)}, r"`video` holds no picture, its shape is \(0, 32, 32\); at least one is needed"),
        ({"video": []}, r"`audio` and `video` must be lists of one length.*got 1 and 0"),
        ({"audio": [sound()] * 2, "video": [face()] * 3}, r"`audio` and `video` must be lists.*got 2 and 3"),
        ({"corrector": "langevin"}, r"`corrector` must be one of ald, none, got 'langevin'"),
        ({"sampler": "ode"}, r"`sampler` must be one of predictor-corrector, heun, got 'ode'"),
        ({"output_type": "pil"}, r'`output_type` must be "np" or "pt", got \'pil\''),
        ({"batch_size": 0}, r"`batch_size` must be at least 1, got 0"),
        ({"num_inference_steps": 0}, r"`num_inference_steps` must be at least 1, got 0"),
        ({"corrector_steps": 0}, r"`corrector_steps` must be at least 1, got 0"),
        ({"snr": 0.0}, r"`snr` must be above 0, got 0.0"),
        ({"snr": math.nan}, r"`snr` must be above 0, got nan"),
        ({"window_overlap": 1}, r"`window_overlap` must be at least 0 and below 1, got 1"),
        ({"window_overlap": -0.1}, r"`window_overlap` must be at least 0 and below 1, got -0.1"),
        ({"window_length_in_s": 0}, r"`window_length_in_s` must be above 0, got 0"),
        (
            {"callback_on_step_end_tensor_inputs": ["latents"]},
            r"_tensor_inputs` may name .*'sample'.*got \['latents'\]",
        ),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_computed(pipe, changes, message):
    def call():
        with pytest.raises(ValueError, match=message):
            separated(pipe, **{"audio": sound(), "video": face(), **changes})

    assert watched(pipe.denoiser, call) == []


def test_a_fractional_number_of_steps_is_refused_before_anything_is_computed(pipe):
    def call():
        with pytest.raises(TypeError, match=r"`num_inference_steps` must be a whole number, got 2\.5"):
            separated(pipe, audio=sound(), video=face(), num_inference_steps=2.5)

    assert watched(pipe.denoiser, call) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": "clean"}, r"`condition` must be one of post_denoiser, noisy, both, got 'clean'"),
        ({"preset": "slow"}, r"`preset` must be one of reference, fast, got 'slow'"),
        ({"condition": "both"}, r"`score_model` must be a network of num_spectrograms=3, .* got 2, True"),
    ],
)
def test_an_unknown_condition_preset_or_network_is_refused(parts, changes, message):
    with pytest.raises(ValueError, match=message):
        assembled(parts, **changes)


def test_networks_in_each_others_place_are_refused(parts):
    score, denoiser = parts["score_model"], parts["denoiser"]
    with pytest.raises(ValueError, match=r"`score_model` must be a network of num_spectrograms=2, .* got 1, False"):
        assembled(parts, score_model=denoiser)
    with pytest.raises(ValueError, match=r"`denoiser` must be a network of num_spectrograms=1, .* got 2, True"):
        assembled(parts, denoiser=score)


def test_noise_is_checked_before_anything_is_computed(pipe):
    def call():
        with pytest.raises(ValueError, match="`noise` holds 1 draws"):
            separated(pipe, noise=[torch.zeros(BINS, COLUMNS, dtype=torch.complex64)])

    assert watched(pipe.denoiser, call) == []


def test_pictures_that_are_not_of_bytes_are_refused_whatever_their_size(pipe):
    """Those between 0 and 1 would look black."""
    for side in (SIDE, 48):
        with pytest.raises(ValueError, match=r"`video` must be uint8 pictures of 0..255, got float32"):
            separated(pipe, video=np.zeros((5, side, side), np.float32))


def test_the_path_of_a_missing_file_is_named(pipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        pipe(sound(), Path(tmp_path / "missing.mp4"))
