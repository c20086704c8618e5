"""AVDiffuSS's pipeline, tiny and complete: batches, noise, levels, steps, media, folders."""

import copy
import io
import json
import math
import types

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_separation import (
    BINS,
    COLUMNS,
    EXACT,
    NEAR,
    NEARLY,
    PER_FRAME,
    SIDE,
    WINDOW,
    assembled,
    differ,
    face,
    seeded,
    separated,
    sound,
    watched,
)

from avzoo import AVDiffuSSModel, AVDiffuSSPipeline
from avzoo.audio import write_wav
from avzoo.models.avdiffuss.windows import NoiseField
from avzoo.pipelines.audio_visual_separation.pipeline import PRESETS
from avzoo.video import write_video

# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"sampler": "heun"}, {"denoiser_only": True}, {"corrector": "ald", "num_inference_steps": 1}]
)
def test_a_batch_of_several_lengths_is_its_items(pipe, options):
    lengths = (WINDOW, 700, 1500, WINDOW)
    sounds = [sound(length, seed) for seed, length in enumerate(lengths)]
    faces = [face(-(-length // PER_FRAME), seed) for seed, length in enumerate(lengths)]
    faces[3] = face(3, seed=3)  # as long a sound as the first, but another number of pictures
    together = separated(pipe, sounds, faces, generator=[seeded(i) for i in range(4)], batch_size=3, **options)
    for index in range(4):
        alone = separated(pipe, sounds[index], faces[index], generator=seeded(index), batch_size=1, **options)
        assert together[index].shape == (lengths[index],)
        torch.testing.assert_close(together[index], alone, **NEAR)
    assert differ(together[0], together[3])


def test_one_mixture_goes_with_every_face(pipe):
    faces = [face(seed=seed) for seed in range(2)]
    together = separated(pipe, sound(), faces, generator=[seeded(i) for i in range(2)])
    for index in range(2):
        alone = separated(pipe, sound(), faces[index], generator=seeded(index))
        torch.testing.assert_close(together[index], alone, **NEAR)
    same_noise = separated(pipe, sound(), faces, generator=[seeded(0) for _ in range(2)])
    assert differ(same_noise[0], same_noise[1])  # told apart by their faces


def test_one_face_goes_with_every_mixture(pipe):
    sounds = [sound(seed=seed) for seed in range(2)]
    together = separated(pipe, sounds, face(), generator=[seeded(i) for i in range(2)])
    for index in range(2):
        torch.testing.assert_close(together[index], separated(pipe, sounds[index], generator=seeded(index)), **NEAR)


def test_one_open_video_goes_with_every_mixture(pipe, tmp_path):
    write_video(tmp_path / "face.mp4", np.repeat(face()[..., None], 3, -1), 25)
    sounds = [sound(seed=1), sound(seed=2)]
    expected = separated(pipe, sounds, str(tmp_path / "face.mp4"))
    with (tmp_path / "face.mp4").open("rb") as file:
        voices = separated(pipe, sounds, file)
    assert torch.equal(torch.stack(voices), torch.stack(expected))


def test_the_two_networks_look_through_their_own_eyes_once(pipe):
    """At the 6 windows in batches of 4 and 2."""
    seen = {}

    def call():
        seen["score"] = watched(pipe.score_visual_encoder, lambda: separated(pipe, sound(7 * PER_FRAME), batch_size=4))

    seen["denoiser"] = watched(pipe.denoiser_visual_encoder, call)
    assert {name: [len(faces) for (faces,) in calls] for name, calls in seen.items()} == {
        "score": [4, 2],
        "denoiser": [4, 2],
    }


def test_without_eyes_of_its_own_the_second_network_sees_what_the_first_does(parts):
    shared = separated(assembled(parts, score_visual_encoder=None))
    twice = assembled(parts, score_visual_encoder=parts["denoiser_visual_encoder"])
    assert torch.equal(shared, separated(twice))
    assert differ(shared, separated(assembled(parts)))


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
        ({"num_inference_steps": 2, "corrector": "ald", "corrector_steps": 2}, 7),
        ({"num_inference_steps": 3, "corrector": "none"}, 4),
        ({"num_inference_steps": 2, "sampler": "heun"}, 1),
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
        ValueError, match=r"`noise\[0\]` must be complex \(\[1,\] 64, 24 or more\) for item 0, got \(2, 64, 24\)"
    ):
        separated(pipe, noise=noise)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((BINS, COLUMNS - 1), torch.complex64),
        ((BINS, COLUMNS), torch.float32),
        ((COLUMNS,), torch.complex64),
        ((BINS - 1, COLUMNS), torch.complex64),
        ((1, COLUMNS), torch.complex64),  # it would be spread over all bins in silence
    ],
)
def test_noise_that_does_not_fit_is_named(pipe, shape, dtype):
    noise = [torch.zeros(shape, dtype=dtype)] * 5
    with pytest.raises(ValueError, match=r"`noise\[0\]` must be complex \(\[1,\] 64, 24 or more\) for item 0, got"):
        separated(pipe, noise=noise)


def test_a_list_of_generators_has_one_for_each_item(pipe):
    with pytest.raises(ValueError, match=r"`generator` is a list of 2, expected one for each of 3 items"):
        separated(pipe, sound(), [face()] * 3, generator=[seeded(0), seeded(1)])


# --- levels -----------------------------------------------------------------------------------------------------------


def test_a_louder_mixture_gives_a_louder_voice(pipe):
    voice = separated(pipe)
    for gain in (1e-4, 0.5, 7.0):
        torch.testing.assert_close(separated(pipe, gain * sound()) / gain, voice, **NEAR)


@pytest.mark.parametrize("options", [{}, {"denoiser_only": True}, {"sampler": "heun"}])
def test_silence_has_no_voice_in_it(pipe, options):
    calls = []
    voices = watched(pipe.denoiser, lambda: calls.append(separated(pipe, np.zeros(1500, np.float32), **options)))
    assert voices == []
    assert calls[0].shape == (1500,)
    assert not calls[0].any()


def test_a_silent_window_of_a_long_recording_is_silent_and_disturbs_no_other(pipe):
    audio = sound(5 * WINDOW)
    audio[WINDOW : 3 * WINDOW] = 0
    voice = separated(pipe, audio, window_overlap=0.0)
    assert voice.isfinite().all()
    assert not voice[WINDOW : 3 * WINDOW].any()
    assert voice[3 * WINDOW :].std() > 0.01
    assert voice[:WINDOW].std() > 0.01


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted_only(parts, monkeypatch):
    """A score of zeros: where only the number of evaluations matters."""

    def forward(sample, *given):
        return types.SimpleNamespace(sample=torch.zeros_like(sample[:, :1]))

    monkeypatch.setattr(parts["score_model"], "forward", forward)


@pytest.mark.usefixtures("counted_only")
def test_the_score_is_asked_for_so_often(pipe):
    expected = [
        ({"num_inference_steps": 3, "corrector": "none"}, 3),
        ({"num_inference_steps": 3, "corrector": "ald"}, 6),
        ({"num_inference_steps": 3, "corrector": "ald", "corrector_steps": 3}, 12),
        ({"num_inference_steps": 3, "corrector": "ald", "sampler": "heun"}, 5),
        ({"num_inference_steps": 1, "sampler": "heun"}, 1),
        ({"denoiser_only": True}, 0),
    ]
    found = []
    for options, _ in expected:
        scores = []

        def call(options=options, scores=scores):
            scores.extend(watched(pipe.score_model, lambda: separated(pipe, sound(500), **options)))

        denoised = len(watched(pipe.denoiser, call))
        found.append((options, len(scores), denoised))
    assert found == [(options, evaluations, 1) for options, evaluations in expected]


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


@pytest.mark.usefixtures("counted_only")
def test_the_number_of_steps_that_is_not_named_is_the_presets(parts, pipe):
    def evaluations(pipe, **options):
        options = {"num_inference_steps": None, "corrector": None, **options}
        return len(watched(pipe.score_model, lambda: separated(pipe, sound(500), **options)))

    assert PRESETS["fast"] == {"num_inference_steps": 20, "corrector": "none", "corrector_steps": 1, "snr": 0.5}
    assert evaluations(assembled(parts, preset="fast")) == 20
    assert evaluations(pipe, corrector_steps=2, num_inference_steps=2) == 6


def test_settings_that_are_not_named_are_the_presets(parts, pipe):
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

    options = {"batch_size": 2, "num_inference_steps": 3, "callback_on_step_end": note}
    separated(pipe, sound(2 * WINDOW), **options)  # 3 windows
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
    audio = sound(5 * PER_FRAME)  # 4 windows
    separated(pipe, audio, batch_size=2)
    separated(pipe, audio, batch_size=2, sampler="heun")
    separated(pipe, audio, batch_size=3, denoiser_only=True)
    assert [(bar.n, bar.total) for bar in bars] == [(4, 4), (4, 4), (2, 2)]


# --- media ------------------------------------------------------------------------------------------------------------


def test_files_of_any_rate_are_brought_to_what_the_networks_know(pipe, tmp_path):
    """Two channels at 8 kHz, and 30 frames a second."""
    channels = np.stack([sound(1600, 1), sound(1600, 2)])
    write_wav(tmp_path / "mixture.wav", channels, 8000)
    write_video(tmp_path / "face.mp4", np.repeat(face(6)[..., None], 3, -1), 30)
    options = {"denoiser_only": True, "window_length_in_s": math.inf}
    calls = watched(
        pipe.denoiser_visual_encoder,
        lambda: separated(pipe, tmp_path / "mixture.wav", tmp_path / "face.mp4", **options),
    )
    assert [tuple(seen.shape) for (seen,) in calls] == [(1, 5, SIDE, SIDE)]
    from_files = pipe(tmp_path / "mixture.wav", face(), generator=seeded(0), denoiser_only=True)
    from_memory = pipe(channels, face(), sampling_rate=8000, generator=seeded(0), denoiser_only=True)
    assert from_files.audios[0].shape == (3200,)
    np.testing.assert_array_equal(from_files.audios[0], from_memory.audios[0])
    mean = pipe(channels.mean(0), face(), sampling_rate=8000, generator=seeded(0), denoiser_only=True)
    np.testing.assert_allclose(mean.audios[0], from_memory.audios[0], rtol=1e-3, atol=1e-4)


def test_frames_of_another_rate_are_told_so(pipe):
    calls = watched(
        pipe.denoiser_visual_encoder, lambda: separated(pipe, video=face(4), source_fps=50, denoiser_only=True)
    )
    assert [tuple(seen.shape) for (seen,) in calls] == [(1, 2, SIDE, SIDE)]


@pytest.mark.parametrize(("frames", "what"), [(14, "is left out"), (2, "its last picture is held")])
def test_a_video_of_another_length_is_cut_or_held_and_told(pipe, tmp_path, caplog, frames, what):
    write_video(tmp_path / "face.mp4", np.repeat(face(frames)[..., None], 3, -1), 25)
    audio, options = sound(8 * PER_FRAME), {"window_length_in_s": math.inf, "denoiser_only": True}
    with caplog_of(caplog):
        calls = watched(pipe.denoiser_visual_encoder, lambda: separated(pipe, audio, tmp_path / "face.mp4", **options))
    assert [seen.shape[1] for (seen,) in calls] == [8]
    assert what in caplog.text
    if frames == 2:
        assert torch.equal(calls[0][0][0, 1:], calls[0][0][0, 1:2].expand(7, -1, -1))


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
    levels = assembled({**parts, **blind}).face_dependence(sound(), face(), face(seed=1), num_inference_steps=1)
    assert levels == {"blank": -math.inf, "swapped": -math.inf}


def test_face_dependence_looks_at_what_the_call_looks_at(pipe, tmp_path):
    """The video goes on after the sound."""
    write_video(tmp_path / "face.mp4", np.repeat(face(10)[..., None], 3, -1), 25)
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
    options = {"num_inference_steps": 1, "corrector": "none", "output_type": "pt"}
    for sampler in ("predictor-corrector", "heun"):
        found, exact = (one(sound(), face(), generator=seeded(0), sampler=sampler, **options) for one in (half, pipe))
        for name in ("audios", "initial_estimates"):
            voice, expected = found[name][0], exact[name][0]
            assert voice.dtype == torch.float32
            assert voice.isfinite().all()
            # 8 bits through a dozen layers and a power of two
            assert torch.linalg.vector_norm(voice - expected) < 0.15 * torch.linalg.vector_norm(expected), (
                sampler,
                name,
            )


# --- folders ----------------------------------------------------------------------------------------------------------


def assert_same_weights(one: AVDiffuSSPipeline, other: AVDiffuSSPipeline) -> None:
    for name in ("denoiser", "denoiser_visual_encoder", "score_model", "score_visual_encoder"):
        first, second = (getattr(pipe, name) for pipe in (one, other))
        if first is not None:
            torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), **EXACT)


def test_a_saved_pipeline_holds_the_same_weights_and_computes_the_same(parts, tmp_path):
    """In another process, too: tests/conversion/test_loading_elsewhere.py."""
    pipe = assembled(parts, preset="fast", window_length_in_s=0.08)
    pipe.save_pretrained(tmp_path)
    expected = separated(pipe, sound(1500))
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is AVDiffuSSPipeline
    assert_same_weights(loaded, pipe)
    torch.testing.assert_close(separated(loaded, sound(1500)), expected, **NEARLY)


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
