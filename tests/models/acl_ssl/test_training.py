"""Training of ACL-SSL: what a sample holds, what is trained and kept, how it is measured."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_model, save_model
from small_acl import small_config

from avzoo import ACLForSoundLocalization, ACLProcessor
from avzoo.audio import write_wav
from avzoo.models.acl_ssl import training_acl_ssl
from avzoo.models.acl_ssl.training_acl_ssl import (
    ACLClips,
    ACLTraining,
    compute_terms,
    draw_crop,
    evaluate_acl,
    read_clip_features,
)
from avzoo.video import write_video

TRAINED = {"model.mask_scale", "model.mask_shift"}
TRAINED |= {f"model.audio_embedder.{layer}.{part}" for layer in ("fc1", "fc2") for part in ("weight", "bias")}
TRAINED |= {
    f"model.audio_embedder.{layer}.{part}"
    for layer in ("unary_embed", "unary_reduce", "pair_query", "pair_key")
    for part in ("weight", "bias")
}
TRAINED |= {"model.audio_embedder.combine.weight"}


@pytest.fixture(scope="module")
def processor() -> ACLProcessor:
    return ACLProcessor(image_size=32, clip_seconds=0.5)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict[str, str]]:
    """Five clips: a grey level and a pitch of its own for each."""
    root, time = tmp_path_factory.mktemp("clips"), np.arange(16000) / 16000
    for number in range(5):
        Image.new("RGB", (48, 40), (50 * number,) * 3).save(root / f"{number}.png")
        tone = 0.3 * np.sin(2 * np.pi * (500 + 900 * number) * time)
        write_wav(root / f"{number}.wav", tone.astype(np.float32), 16000)
    return [
        {"id": str(number), "image": str(root / f"{number}.png"), "audio": str(root / f"{number}.wav")}
        for number in range(5)
    ]


@pytest.fixture
def model() -> ACLForSoundLocalization:
    torch.manual_seed(0)
    return ACLForSoundLocalization(small_config())


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"pixel_values": torch.randn(4, 3, 32, 32), "input_features": torch.randn(4, 32, 128)}


# -------------------------------------------------------------------------------------------------------------- samples


def test_a_crop_is_a_part_of_a_square_a_tenth_larger_and_mirrored_in_half_of_the_cases():
    ramp = np.broadcast_to(np.arange(44, dtype=np.uint8)[None, :, None], (44, 44, 3))  # 44 = int(1.1 x 40): no resizing
    torch.manual_seed(0)
    crops = [(255 * draw_crop(ramp, 40)).round() for _ in range(100)]
    assert all(crop.shape == (3, 40, 40) for crop in crops)
    mirrored = [bool(crop[0, 0, 0] > crop[0, 0, 1]) for crop in crops]
    assert 30 < sum(mirrored) < 70
    firsts = {int(crop[0, 0, -1 if turned else 0]) for crop, turned in zip(crops, mirrored, strict=True)}
    assert firsts == {0, 1, 2, 3, 4}


def test_a_picture_is_enlarged_by_pillows_bicubic_filter():
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    large = np.array(Image.fromarray(picture).resize((11, 11), Image.Resampling.BICUBIC))  # int(1.1 x 10)
    parts = [large[top : top + 10, left : left + 10] for top in range(2) for left in range(2)]
    torch.manual_seed(0)
    crop = (255 * draw_crop(picture, 10)).round().permute(1, 2, 0).numpy()
    assert any(np.array_equal(crop, part) or np.array_equal(crop, part[:, ::-1]) for part in parts)


def test_a_crop_moves_down_as_far_as_to_the_side():
    ramp = np.broadcast_to(np.arange(44, dtype=np.uint8)[:, None, None], (44, 44, 3))
    torch.manual_seed(0)
    assert {int((255 * draw_crop(ramp, 40))[0, 0, 0].round()) for _ in range(100)} == {0, 1, 2, 3, 4}


def test_the_sound_of_a_sample_is_the_beginning_of_its_recording(rows, processor):
    sample = ACLClips(rows, processor)[2]
    assert sample["pixel_values"].shape == (3, 32, 32)
    expected = processor(audio=rows[2]["audio"]).input_features[0]
    torch.testing.assert_close(sample["input_features"], expected, rtol=0, atol=0)


def test_a_sample_for_evaluation_is_the_whole_picture(rows, processor):
    sample = ACLClips(rows, processor, augment=False)[3]
    expected = processor(images=rows[3]["image"]).pixel_values[0]
    torch.testing.assert_close(sample["pixel_values"], expected, rtol=0, atol=0)


def test_a_videos_sound_beyond_the_largest_sample_is_clipped(processor, monkeypatch):
    sound = 3 * np.random.default_rng(0).standard_normal(processor.clip_samples).astype(np.float32)
    monkeypatch.setattr(training_acl_ssl, "read_middle_sound", lambda *_: sound)
    features = read_clip_features({"id": "clip", "video": "clip.mp4"}, processor)
    expected = processor(audio=np.clip(sound, -1, 1), sampling_rate=16000).input_features[0]
    assert torch.equal(features, expected)


def test_of_a_video_the_sound_around_its_middle_is_heard(processor, tmp_path):
    frames = np.zeros((50, 32, 32, 3), np.uint8)  # two seconds: silence, but for the middle half
    sound = np.zeros(32000, np.float32)
    sound[12000:20000] = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)
    write_video(tmp_path / "clip.mp4", frames, 25, audio=sound, sampling_rate=16000)
    features = read_clip_features({"id": "clip", "video": str(tmp_path / "clip.mp4")}, processor)
    assert features.shape == (48, 128)
    loudest = features.amax(1)
    assert loudest[5:-5].min() > loudest.max() - 1  # the tone everywhere


# --------------------------------------------------------------------------------------------------------------- losses


def test_the_loss_is_the_sum_of_its_terms(model, batch):
    losses = ACLTraining(model)(**batch)
    total = losses["image"] + losses["feature"] + losses["area"]
    torch.testing.assert_close(losses["loss"].detach(), total)
    assert losses["loss"].requires_grad


def test_the_loss_is_that_of_the_model(model, batch):
    model.eval()
    first = compute_terms(model, **batch, generator=torch.Generator().manual_seed(3)).loss
    second = model(**batch, return_loss=True, generator=torch.Generator().manual_seed(3)).loss
    torch.testing.assert_close(first, second)


def test_features_that_are_known_are_not_computed_again(model, batch, monkeypatch):
    model.eval()
    encoded = model.get_image_features(batch["pixel_values"]), model.get_audio_features(batch["input_features"])
    expected = compute_terms(model, **batch, generator=torch.Generator().manual_seed(3)).loss
    monkeypatch.setattr(model, "get_audio_features", None)
    found = compute_terms(model, **batch, generator=torch.Generator().manual_seed(3), encoded=encoded).loss
    torch.testing.assert_close(found, expected)


def test_similarities_are_compared_in_float32_under_autocast(model, batch):
    """A scale of 14 makes bfloat16's steps of a cosine, 0.004, steps of 0.06 of a logit."""
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        terms = compute_terms(model, **batch, generator=torch.Generator().manual_seed(3))
    assert {terms.image.dtype, terms.feature.dtype} == {torch.float32}
    assert not torch.equal(terms.image.bfloat16().float(), terms.image)  # it was never rounded to bfloat16


# --------------------------------------------------------------------------------------------------------- what is kept


def test_the_embedder_and_the_two_numbers_of_the_mask_are_trained(model, batch):
    network = ACLTraining(model.train())
    network(**batch)["loss"].backward()
    assert {name for name, weight in network.named_parameters() if weight.grad is not None} == TRAINED


def test_a_checkpoint_holds_what_is_trained_and_no_more(model):
    assert set(ACLTraining(model).state_dict()) == TRAINED


def test_a_checkpoint_is_loaded_into_a_network_with_the_same_frozen_parts(model, tmp_path):
    network = ACLTraining(model)
    save_model(network, tmp_path / "model.safetensors")
    expected = {name: weight.clone() for name, weight in model.named_parameters()}
    model.reset_trained()
    model.mask_scale.data.zero_()
    load_model(network, tmp_path / "model.safetensors")
    for name, weight in model.named_parameters():
        assert torch.equal(weight, expected[name]), name


def test_a_checkpoint_that_lacks_a_trained_weight_is_refused(model):
    network = ACLTraining(model)
    state = network.state_dict()
    del state["model.mask_scale"]
    with pytest.raises(RuntimeError, match=r"missing: .*mask_scale"):
        network.load_state_dict(state)


def test_what_is_saved_is_the_whole_network(model, tmp_path):
    ACLTraining(model).save_pretrained(tmp_path)
    loaded, report = ACLForSoundLocalization.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for name, weight in loaded.named_parameters():
        assert torch.equal(weight, model.get_parameter(name)), name


def test_trained_weights_are_drawn_anew_and_frozen_ones_are_not(model):
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    model.mask_scale.data.fill_(3)
    model.reset_trained()
    assert float(model.mask_scale.detach()) == 10.0
    assert not torch.equal(model.audio_embedder.fc1.weight, before["audio_embedder.fc1.weight"])
    frozen = [name for name in before if name.startswith(("audio_encoder.", "grounder."))]
    assert all(torch.equal(model.get_parameter(name), before[name]) for name in frozen)


# ----------------------------------------------------------------------------------------------------------- evaluation


def test_evaluation_draws_the_same_masks_each_time(model, rows, processor):
    network, clips = ACLTraining(model).eval(), ACLClips(rows, processor, augment=False)
    assert evaluate_acl(network, clips, 2, "cpu") == evaluate_acl(network, clips, 2, "cpu")


def test_a_last_smaller_batch_has_no_part_in_the_loss(model, rows, processor):
    network = ACLTraining(model).eval()
    four = evaluate_acl(network, ACLClips(rows[:4], processor, augment=False), 4, "cpu")
    five = evaluate_acl(network, ACLClips(rows, processor, augment=False), 4, "cpu")
    assert five["loss"] == pytest.approx(four["loss"], rel=1e-6)


def test_retrieval_of_clips_that_are_alike_finds_the_first_of_them(model, rows, processor):
    scores = evaluate_acl(ACLTraining(model).eval(), ACLClips([rows[1]] * 4, processor, augment=False), 4, "cpu")
    assert scores["R@1 sound to image"] == pytest.approx(25)
    assert scores["image"] == pytest.approx(math.log(4), abs=0.2)  # but for the drawn masks, all pairs are alike
