"""The checkpoints that ship: small, and the tagger right about real recordings it never saw."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForAudioXVector, AutoModelForCTC, AutoProcessor, pipeline

import avzoo
from avzoo import zoo
from avzoo.audio import mix_at_equal_level, read_audio, resample
from avzoo.metrics import ava_average_precision, equal_error_rate, si_sdr
from avzoo.metrics.sign_glosses import word_error_rate
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.toyworld.scenes import Scenes
from avzoo.toyworld.sessions import Sessions
from avzoo.toyworld.signs import Signs
from avzoo.toyworld.sound_events import render_sound_events
from avzoo.toyworld.talkers import Talkers

FOLDER = Path(avzoo.toy_checkpoint("flexiast"))


@pytest.fixture(scope="module")
def tagger():
    return pipeline("audio-classification", model=str(FOLDER), device="cpu")


def recording(name: str) -> str:
    return str(Path(find_spec("gradio").origin).parent / "media_assets" / "audio" / name)


def test_they_are_small():
    limits = {"flexiast": 2e6, "coarse_to_fine_ast": 1e6, "mtdvocalist": 3e6, "voiceldm": 12e6, "avdiffuss": 6e6}
    limits |= {"talknce": 2e6, "session_embedding": 2e6, "ssl_alignment": 2e6, "acl_ssl": 4e6, "slowfast_cslr": 2e6}
    limits |= {"ltbs": 4e6}
    assert set(limits) == {row.name for row in zoo.METHODS}
    for method, limit in limits.items():
        files = [path for path in Path(avzoo.toy_checkpoint(method)).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= limit, method
        assert {path.suffix for path in files} <= {".json", ".md", ".safetensors", ".model", ".txt"}, method


def test_real_recordings_are_speech_or_music_with_every_patch_size(tagger):
    expected = dict.fromkeys(["cate_blanch.mp3", "cate_blanch_2.mp3", "heath_ledger.mp3"], "speech")
    expected |= dict.fromkeys(["cantina.wav", "sax.wav"], "music")
    wrong = []
    for name, label in expected.items():
        audio, sampling_rate = read_audio(recording(name))
        for patch_size in (12, 16, 24):
            (heard,) = tagger({"raw": audio, "sampling_rate": sampling_rate}, patch_size=patch_size, top_k=1)
            wrong += [(name, patch_size, heard)] * (heard["label"] != label)
    assert not wrong


def test_it_knows_the_synthetic_classes(tagger):
    clips, labels = render_sound_events(40, seed=12, seconds=1.3, num_workers=1, split="test")
    names = tagger.model.config.id2label
    answers = tagger(list(clips), patch_size=16, top_k=1, batch_size=20)
    right = [answer[0]["label"] == names[int(label)] for answer, label in zip(answers, labels, strict=True)]
    assert sum(right) / len(right) > 0.7


@pytest.mark.slow
def test_what_it_says_sounds_like_the_scene_it_was_asked_for():
    pipe = avzoo.VoiceLDMPipeline.from_pretrained(avzoo.toy_checkpoint("voiceldm"))
    pipe.set_progress_bar_config(disable=True)
    for network in (pipe.unet, pipe.content_encoder, pipe.vae, pipe.description_encoder):  # stored in half precision
        assert network.dtype == torch.float32
    asked = ["Rain falls while a man speaks.", "A siren wails while a woman talks.", "A man speaks in silence."]
    noise = [torch.Generator().manual_seed(seed) for seed in range(4 * len(asked))]
    options = {"desc_guidance_scale": 4.0, "cont_guidance_scale": 1.0, "output_type": "pt"}
    options["num_inference_steps"] = 20
    audios = pipe([scene for scene in asked for _ in range(4)], "seven", generator=noise, **options).audios
    recordings = [{"array": audio.numpy(), "sampling_rate": pipe.sampling_rate} for audio in audios]
    heard, meant = pipe.encode_audio_prompt(recordings), pipe.encode_description(asked)
    nearest = torch.cdist(heard, meant).argmin(1)
    right = int(nearest.eq(torch.arange(len(asked)).repeat_interleave(4)).sum())
    assert right >= 9, nearest  # of 12; 4 by chance
    again = pipe(asked[:1], "seven", generator=torch.Generator().manual_seed(0), **options).audios
    torch.testing.assert_close(again, audios[:1], rtol=1e-3, atol=1e-3)


def test_a_method_without_one_is_told():
    with pytest.raises(ValueError, match="no method is called 'nothing'"):
        avzoo.toy_checkpoint("nothing")


@pytest.mark.parametrize("num_clips", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_a_face_gets_its_own_voice_out_of_two(num_clips):
    pipe = avzoo.AVDiffuSSPipeline.from_pretrained(avzoo.toy_checkpoint("avdiffuss"))
    pipe.set_progress_bar_config(disable=True)
    networks = (pipe.denoiser, pipe.score_model, pipe.denoiser_visual_encoder, pipe.score_visual_encoder)
    assert {network.dtype for network in networks} == {torch.float32}  # stored in half precision
    talkers = Talkers(
        num_clips, seed=5, split="checkpoint", situation="mixture", seconds=2.04, size=[96, 192], identities=[0, 4]
    )
    own, others = [], []
    for clip in talkers:
        sounds = [resample(voice, clip["sampling_rate"], pipe.sampling_rate) for voice in clip["voices"]]
        mixture, voices = mix_at_equal_level(sounds, 0.9)
        crop = pipe.processor.convention
        faces = [
            np.stack([crop.cut(*pair) for pair in zip(clip["frames"], crop.regions(boxes), strict=True)])
            for boxes in clip["boxes"]
        ]
        heard = pipe([mixture], faces, denoiser_only=True).audios
        for one, other in ((0, 1), (1, 0)):
            own.append(float(si_sdr(heard[one], voices[one])))
            others.append(float(si_sdr(heard[one], voices[other])))
    assert np.mean(own) > 3  # in the mixture it is 0
    assert np.mean(np.array(own) > np.array(others)) > 0.8


@pytest.mark.parametrize(
    ("num_clips", "seconds", "size"), [(1, 2.0, [120, 214]), pytest.param(3, 4.0, [180, 320], marks=pytest.mark.slow)]
)
def test_the_speaker_detector_finds_who_speaks_in_videos_of_strangers(tmp_path, num_clips, seconds, size):
    """The whole path, faces found by a detector; the three people and sentences are of no training."""
    detect = pipeline("active-speaker-detection", model=avzoo.toy_checkpoint("talknce"), device="cpu")
    settings = {"situation": "conversation", "mouthing": 0.8, "identities": [72, 96], "seconds": seconds, "size": size}
    talkers = Talkers(num_clips, split="whole path", **settings)
    scores, labels = [], []
    for clip in talkers.iterate():
        for face in detect(str(talkers.write(clip, tmp_path)[0]), faces="drawn"):
            frames = slice(round(face["start"] * 25), round(face["end"] * 25))
            centre = np.array(face["boxes"]).reshape(-1, 2, 2).mean((0, 1))
            distances = [np.abs(boxes[frames].reshape(-1, 2, 2).mean((0, 1)) - centre).sum() for boxes in clip["boxes"]]
            scores += face["scores"]
            labels += clip["speaking"][int(np.argmin(distances)), frames].astype(int).tolist()
    assert ava_average_precision(np.array(scores), np.array(labels)) > 85


@pytest.mark.slow
def test_the_session_network_helps_where_strangers_share_a_session():
    model = AutoModelForAudioXVector.from_pretrained(avzoo.toy_checkpoint("session_embedding"))
    assert model.dtype == torch.float32  # stored in half precision
    world = Sessions(
        240, 5, split="checkpoint", num_speakers=12, first_speaker=72, num_sessions=5, first_session=9500, seconds=1.0
    )
    clips = {clip["id"]: clip["audio"] for clip in world.iterate(num_workers=1)}
    trials = [trial for trial in world.trials(1200) if trial.same_speaker != trial.same_session]
    rows = {name: row for row, name in enumerate(clips)}
    with torch.no_grad():
        output = model(torch.from_numpy(np.stack(list(clips.values()))))
    scores = model.score_matrix(output, output)
    labels = [trial.same_speaker for trial in trials]
    before, after = (
        equal_error_rate([float(scores[kind][rows[trial.first], rows[trial.second]]) for trial in trials], labels)
        for kind in ("speaker_similarity", "score")
    )
    assert after < 0.9 * before < 0.9 * 45


@pytest.mark.slow
def test_clip_paints_what_is_heard_or_named_and_not_the_other_thing():
    folder = avzoo.toy_checkpoint("acl_ssl")
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}  # stored in half precision
    categories = ["bird", "car", "cat", "clock", "frog", "guitar", "rain_cloud", "siren"]
    settings = {"size": 128, "num_objects": 2, "categories": categories, "area": (0.10, 0.18)}
    world = Scenes(30, 5, split="checkpoint", off_screen_chance=0.0, silent_chance=0.0, every_sound=True, **settings)
    ious = {"sound": ([], []), "text": ([], [])}
    for clip in world.iterate(num_workers=1):
        texts = [f"a photo of {thing['category'].replace('_', ' ')}" for thing in clip["objects"]]
        inputs = processor(images=clip["image"], audio=list(clip["sounds"]), sampling_rate=16000, text=texts)
        with torch.no_grad():
            image = model.get_image_features(inputs.pixel_values)
            audio = model.get_audio_features(inputs.input_features)
            text = model.get_text_features(inputs.input_ids, inputs.attention_mask)
            for name, query in (("sound", audio), ("text", text)):
                found = model.compute_similarity_maps(image, query)[0].numpy() >= 0.5
                for thing in (0, 1):
                    for place, mask in enumerate((clip["masks"][thing], clip["masks"][1 - thing])):
                        ious[name][place].append((found[thing] & mask).sum() / (found[thing] | mask).sum())
    for own, other in ious.values():
        assert np.mean(own) > 0.38
        assert np.mean(own) - np.mean(other) > 0.2


@torch.inference_mode()
@pytest.mark.parametrize(
    ("num_clips", "num_beams"), [(4, 1), *(pytest.param(40, beams, marks=pytest.mark.slow) for beams in (1, 10))]
)
def test_a_drawn_person_is_read_in_videos_of_unseen_sentences(tmp_path, num_clips, num_beams):
    folder = avzoo.toy_checkpoint("slowfast_cslr")
    model, processor = AutoModelForCTC.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}  # stored in half precision
    world = Signs(num_clips, 5, split="checkpoint", vocabulary=processor.glosses)  # 1 to 8 glosses, in any order
    references, answers = [], []
    for clip in world.iterate(num_workers=1):
        output = model(**processor(videos=str(world.write(clip, tmp_path)[0])))
        references.append(clip["glosses"])
        answers.append(processor.spell(processor.decode(output.logits[0], num_beams=num_beams)[0].ids))
    assert word_error_rate(references, answers).value <= 15


@pytest.fixture
def spoken_clips(monkeypatch):
    """The clips of LTBS's toy claims, and their judge."""
    pytest.importorskip("espeakng_loader")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    return importlib.import_module("toy.spoken_clips")


@pytest.fixture(scope="module")
def lip_reader():
    model = avzoo.LTBSForLipToSpeech.from_pretrained(avzoo.toy_checkpoint("ltbs"))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}  # stored in half precision
    return model


def test_voices_of_the_lip_reader_are_those_of_the_speaker_verifier(lip_reader):
    own = avzoo.SpeakerEncoderForXVector.from_pretrained(f"{avzoo.toy_checkpoint('ltbs')}/speaker_encoder")
    verifier = AutoModelForAudioXVector.from_pretrained(avzoo.toy_checkpoint("session_embedding"))
    weights = verifier.encoder.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in own.state_dict().items())
    assert own.config.embedding_size == lip_reader.config.speaker_encoder_dim


@torch.inference_mode()
def test_the_spectrogram_of_a_strangers_lips_is_nearest_to_their_own_sound(lip_reader, spoken_clips):
    clips = spoken_clips.render_clips(5, {"train": 12, "strangers": 24}).splits["strangers"]
    made = lip_reader.generate(**spoken_clips.get_inputs(clips, slice(None)), noise_scale=0).mel_coarse
    distances = (made[:, None] - clips["mel"][None]).abs().mean((2, 3))
    assert (distances.argmin(1) == torch.arange(24)).float().mean() > 0.7  # 0.04 by chance


@pytest.mark.slow
def test_the_word_of_a_strangers_lips_is_heard(lip_reader, spoken_clips, tmp_path):
    """By a small network that was trained on the sound of other people; as made, and as sound."""
    data = spoken_clips.render_clips(5, {"train": 900, "strangers": 120})
    judge, clips = spoken_clips.train_judge(data, 0, tmp_path), data.splits["strangers"]
    assert spoken_clips.recognize(judge, data.normalize(clips["mel"]), clips["words"])[0] >= 0.85
    mel = data.make_processor().mel_settings
    vocoder = GriffinLimVocoder(GriffinLimVocoderConfig.from_mel_settings(mel)).eval()
    inputs = spoken_clips.get_inputs(clips, slice(None))
    with torch.inference_mode():
        made = lip_reader.generate(**inputs, generator=torch.Generator().manual_seed(0))
        for spectrograms in (made.mel_coarse, made.mel):
            heard = torch.stack([mel.compute(waveform) for waveform in vocoder(spectrograms)])[:, :100]
            for values in (spectrograms, heard):
                word, lip_class, _ = spoken_clips.recognize(judge, data.normalize(values), clips["words"])
                assert word >= 0.5
                assert lip_class >= 0.7
