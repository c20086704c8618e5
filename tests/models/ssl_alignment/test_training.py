"""Training of cross-modal alignment: what a sample holds, which terms a network is trained by, how it is measured."""

import copy
import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import write_wav
from avzoo.data.image_sound_clips import read_clip_picture
from avzoo.models.ssl_alignment.loss_ssl_alignment import AlignmentView, alignment_loss, make_view
from avzoo.models.ssl_alignment.neighbours import NeighbourLists, SimilarClips
from avzoo.models.ssl_alignment.training_ssl_alignment import (
    AlignmentClips,
    AlignmentTraining,
    CentreClips,
    evaluate_alignment,
    make_views,
    read_clip_sound,
)
from avzoo.video import write_video

SMALL = {"hidden_sizes": (4, 4, 6, 8), "depths": (1, 1, 1, 1), "projection_dim": 5}


@pytest.fixture(scope="module")
def processor() -> SSLAlignmentProcessor:
    return SSLAlignmentProcessor(image_size=32, clip_seconds=0.2, base_seconds=0.5, spectrogram_size=(32, 16))


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict[str, str]]:
    """Six clips: a grey level and a pitch of its own for each."""
    root, time = tmp_path_factory.mktemp("clips"), np.arange(8000) / 16000
    for number in range(6):
        Image.new("RGB", (48, 40), (40 * number,) * 3).save(root / f"{number}.png")
        tone = 0.3 * np.sin(2 * np.pi * (500 + 900 * number) * time)
        write_wav(root / f"{number}.wav", tone.astype(np.float32), 16000)
    return [
        {"id": str(number), "image": str(root / f"{number}.png"), "audio": str(root / f"{number}.wav")}
        for number in range(6)
    ]


@pytest.fixture
def model() -> SSLAlignmentForSoundLocalization:
    torch.manual_seed(0)
    return SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**SMALL))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"pixel_values": torch.randn(4, 3, 3, 32, 32), "input_features": torch.randn(4, 3, 1, 32, 16)}


def similar_clips() -> SimilarClips:
    """The picture of the next clip, the sound of the one after it."""
    numbers = np.arange(6)[:, None]
    lists = NeighbourLists([str(number) for number in range(6)], (numbers + 1) % 6, (numbers + 2) % 6)
    return SimilarClips(lists, lists.ids)


# -------------------------------------------------------------------------------------------------------------- samples


def loudest_bin(features: torch.Tensor) -> int:
    return int(features[0].mean(-1).argmax())


def test_a_sample_has_the_original_the_augmented_and_the_similar_view(rows, processor):
    clips = AlignmentClips(rows, processor, similar=similar_clips(), jitter="none")
    torch.manual_seed(0)
    sample = clips[2]
    assert sample["pixel_values"].shape == (3, 3, 32, 32)
    assert sample["input_features"].shape == (3, 1, 32, 16)
    levels = sample["pixel_values"] * torch.tensor(processor.image_std)[:, None, None]
    levels = 255 * (levels + torch.tensor(processor.image_mean)[:, None, None])
    assert round(float(levels[0].median())) == 80  # clip 2
    assert round(float(levels[2].median())) == 120  # the picture of clip 3
    pure = CentreClips(rows, processor)
    bins = [loudest_bin(pure[number]["input_features"]) for number in range(6)]
    assert [loudest_bin(view) for view in sample["input_features"]] == [bins[2], bins[2], bins[4]]


@pytest.mark.parametrize(("augmented", "similar", "views"), [(False, False, 1), (True, False, 2), (False, True, 2)])
def test_views_can_be_left_out(augmented, similar, views, rows, processor):
    clips = AlignmentClips(rows, processor, augmented=augmented, similar=similar_clips() if similar else None)
    assert {name: len(values) for name, values in clips[0].items()} == {"pixel_values": views, "input_features": views}


def test_a_sample_follows_torchs_generator(rows, processor):
    clips = AlignmentClips(rows, processor, similar=similar_clips())
    samples = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        samples.append(clips[1]["pixel_values"])
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_clips_for_evaluation_are_what_the_processor_makes(rows, processor):
    sample = CentreClips(rows, processor)[3]
    expected = processor(images=rows[3]["image"], audio=rows[3]["audio"])
    assert torch.equal(sample["pixel_values"], expected.pixel_values[0])
    assert torch.equal(sample["input_features"], expected.input_features[0])


def test_a_recording_without_a_length_of_its_own_is_cut_around_its_middle(tmp_path):
    free = SSLAlignmentProcessor(clip_seconds=0.5, base_seconds=None)
    assert make_views(free).clip_samples == 160_000
    ramp = np.linspace(-1, 1, 16001).astype(np.float32)
    write_wav(tmp_path / "ramp.wav", ramp, 16000)
    sound = read_clip_sound({"id": "x", "audio": str(tmp_path / "ramp.wav")}, free, 4000)
    assert np.allclose(sound, ramp[6000:10000])


def test_of_a_video_the_middle_frame_and_the_sound_around_it_are_taken(tmp_path):
    """Sixteen frames of one level, then one white, then sixteen; sound that is loud for the middle 0.2 s."""
    frames = np.full((33, 32, 32, 3), 60, np.uint8)
    frames[16] = 250
    sound = np.random.default_rng(0).uniform(-1, 1, 33 * 640).astype(np.float32)
    sound[: len(sound) // 2 - 1600] *= 0.01
    sound[len(sound) // 2 + 1600 :] *= 0.01
    write_video(tmp_path / "clip.mp4", frames, 25, audio=sound, sampling_rate=16000, lossless=True)
    row = {"id": "clip", "video": str(tmp_path / "clip.mp4")}
    assert read_clip_picture(row).mean() > 200
    processor = SSLAlignmentProcessor(clip_seconds=0.2, base_seconds=0.5)
    window = read_clip_sound(row, processor, 8000)
    assert len(window) == 8000
    loud = np.flatnonzero(np.abs(window) > 0.25)
    assert abs(loud.mean() - 4000) < 400  # a codec's delay at most
    assert len(read_clip_sound(row, processor, 64_000)) == 64_000  # repeated


# -------------------------------------------------------------------------------------------------------------- network


def test_the_loss_is_that_of_three_separate_passes(model, batch):
    other = copy.deepcopy(model).train()
    loss = AlignmentTraining(model).train()(**batch)
    views = [
        make_view(other(pixels, sounds))
        for pixels, sounds in zip(batch["pixel_values"].unbind(1), batch["input_features"].unbind(1), strict=True)
    ]
    terms = alignment_loss(views)
    assert torch.equal(loss["loss"], terms.loss)
    assert torch.equal(loss["localization"], terms.localization.mean())
    assert torch.equal(loss["alignment"], terms.alignment.mean())
    assert "intra_modal" not in loss


def test_running_statistics_move_once_a_view(model, batch):
    network = AlignmentTraining(model).train()
    network(**batch)
    norm = model.alignment.image_trunk.stem.norm
    assert int(norm.num_batches_tracked) == 3
    means = [
        model.alignment.image_trunk.stem.convolution(view).mean((0, 2, 3)) for view in batch["pixel_values"].unbind(1)
    ]
    expected = 0.1 * (0.81 * means[0] + 0.9 * means[1] + means[2])  # from 0, three steps of a tenth
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-6)


def test_terms_can_be_chosen(model, batch):
    network = AlignmentTraining(model).train()
    whole = network(**batch)
    expected = {"localization": 9 * whole["localization"], "alignment": 9 * whole["alignment"]}
    for name, total in expected.items():
        chosen = AlignmentTraining(
            copy.deepcopy(model), use_localization=name == "localization", use_alignment=name == "alignment"
        ).train()
        losses = chosen(**batch)
        torch.testing.assert_close(losses["loss"], total)
        assert set(losses) == {"loss", name}


def test_every_trained_parameter_gets_a_gradient_whatever_the_terms(batch):
    for settings in ({}, {"use_alignment": False}, {"use_localization": False}, {"intra_modal": [(0, 1)]}):
        for fields in (
            {},
            {"localization_projection": "dual"},
            {"projection_dim": None, "localization_projection": "single"},
        ):
            config = SSLAlignmentConfig(**SMALL | fields)
            if config.projection_dim is None and settings:
                continue
            network = AlignmentTraining(SSLAlignmentForSoundLocalization(config), **settings).train()
            network(**batch)["loss"].backward()
            lacking = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
            assert lacking == [], (settings, fields)


def test_the_intra_modal_terms_are_added(model, batch):
    plain = AlignmentTraining(copy.deepcopy(model)).train()(**batch)
    added = AlignmentTraining(model, intra_modal=[(0, 1), (0, 2)]).train()(**batch)
    torch.testing.assert_close(added["loss"], plain["loss"] + 4 * added["intra_modal"])


def test_the_config_decides_between_mask_and_plain_mean(model, batch):
    masked = AlignmentTraining(copy.deepcopy(model)).train()(**batch)
    model.config.soft_mask = False
    plain = AlignmentTraining(model).train()(**batch)
    assert not torch.isclose(masked["localization"], plain["localization"])
    assert torch.equal(masked["alignment"], plain["alignment"])


def test_chance_is_the_logarithm_of_the_batch(model):
    """Equal pictures can't be told apart, equal sounds neither."""
    same = {"pixel_values": torch.ones(4, 1, 3, 32, 32), "input_features": torch.ones(4, 1, 1, 32, 16)}
    losses = AlignmentTraining(model).train()(**same)
    assert losses["loss"].item() == pytest.approx(2 * math.log(4), abs=1e-4)


@pytest.mark.slow
def test_twenty_steps_teach_which_tone_belongs_to_which_colour(tmp_path):
    """Squares of four colours on noise, each colour with a tone; the position and the level say nothing."""
    colours, classes = ((230, 30, 30), (30, 230, 30), (30, 30, 230), (230, 230, 30)), np.arange(64) % 4
    random, time, rows = np.random.default_rng(0), np.arange(4000) / 16000, []
    for number, kind in enumerate(classes):
        pixels = random.integers(90, 160, (48, 48, 3), np.uint8)
        top, left = random.integers(4, 26, 2)
        pixels[top : top + 18, left : left + 18] = colours[kind]
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        tone = random.uniform(0.1, 0.3) * np.sin(2 * np.pi * 500 * 1.7**kind * time) + 0.02 * random.normal(size=4000)
        write_wav(tmp_path / f"{number}.wav", tone.astype(np.float32), 16000)
        place = {kind: str(tmp_path / f"{number}.{ending}") for kind, ending in (("image", "png"), ("audio", "wav"))}
        rows.append({"id": str(number), **place})
    same = np.stack([np.flatnonzero((classes == kind) & (np.arange(64) < 48)) for kind in range(4)])[classes]
    similar = SimilarClips(NeighbourLists([row["id"] for row in rows], same, same), [row["id"] for row in rows[:48]])
    processor = SSLAlignmentProcessor(image_size=40, clip_seconds=0.1, base_seconds=0.25, spectrogram_size=(64, 8))
    clips = AlignmentClips(rows[:48], processor, similar=similar, jitter="symmetric")
    torch.manual_seed(0)
    sizes = {"hidden_sizes": (16, 24, 32), "depths": (1, 1, 1), "projection_dim": 32, "objectness_strides": (1, 1, 1)}
    strides = {"image_strides": (1, 2, 1), "audio_strides": (1, 2, 1)}
    network = AlignmentTraining(SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**sizes, **strides))).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(clips, batch_size=12, shuffle=True)
    for _ in range(5):
        for batch in loader:
            optimizer.zero_grad()
            network(**batch)["loss"].backward()
            optimizer.step()
    network.eval()
    held_out = [CentreClips(rows, processor)[number] for number in range(48, 64)]
    inputs = {name: torch.stack([sample[name] for sample in held_out]) for name in held_out[0]}
    with torch.no_grad():
        output = network.model(**inputs)
    nearest = (output.image_embeds @ output.audio_embeds.T).argmax(1).numpy()
    assert (classes[48:][nearest] == classes[48:]).mean() > 0.9  # chance is a quarter


def test_saved_is_the_network_alone(model, tmp_path):
    AlignmentTraining(model).save_pretrained(tmp_path)
    _, report = SSLAlignmentForSoundLocalization.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        ({}, {"use_localization": False, "use_alignment": False}, "are both False: no term is left"),
        ({"projection_dim": None}, {"intra_modal": [(0, 1)]}, "the network has no projections"),
        ({"projection_dim": None}, {"use_localization": False}, "the network has no projections"),
        ({}, {"chunk_size": 0}, "`chunk_size` must be at least 1, got 0"),
    ],
)
def test_impossible_terms_are_refused(fields, settings, message):
    model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**SMALL | fields))
    with pytest.raises(ValueError, match=message):
        AlignmentTraining(model, **settings)


def draw_view(seed: int) -> AlignmentView:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 8, 3, 3), (4, 8), (4, 5), (4, 5))
    features = (torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1) for shape in shapes)
    return AlignmentView(*(part.requires_grad_() for part in features))


def list_features(view: AlignmentView) -> list[torch.Tensor]:
    return [view.image_map, view.audio_vector, view.image_embeds, view.audio_embeds]


def compare_on_a_rank(rank: int, network: AlignmentTraining, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    views = [
        AlignmentView(
            *(part.detach()[2 * rank : 2 * rank + 2].requires_grad_() for part in list_features(draw_view(seed)))
        )
        for seed in range(3)
    ]
    loss = network.compare(views).loss
    loss.backward()
    gradients = [part.grad / 2 for view in views for part in list_features(view)]  # the mean over processes
    torch.save([loss.detach(), gradients], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_gathered_views_train_as_one_process_with_the_whole_batch(model, tmp_path):
    network = AlignmentTraining(model, gather=True).train()
    views = [draw_view(seed) for seed in range(3)]
    loss = network.compare(views).loss
    loss.backward()
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=compare_on_a_rank, args=(rank, network, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    losses, gradients = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True)
    torch.testing.assert_close(list(losses), [loss.detach()] * 2)
    expected = [part.grad for view in views for part in list_features(view)]
    torch.testing.assert_close([torch.cat(parts) for parts in zip(*gradients, strict=True)], expected)


def test_similarities_stay_exact_in_mixed_precision(model):
    network, views = AlignmentTraining(model).train(), [draw_view(seed) for seed in range(2)]
    exact = network.compare(views).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.compare(views).loss, exact)


@pytest.mark.parametrize("chunk_size", [1, 3, 4])
def test_maps_in_chunks_give_the_same_loss_and_gradients(chunk_size, model):
    results = []
    for settings in ({}, {"chunk_size": chunk_size}):
        views = [draw_view(seed) for seed in range(2)]
        loss = AlignmentTraining(model, **settings).train().compare(views).loss
        loss.backward()
        results.append([loss.detach(), *(part.grad for view in views for part in list_features(view))])
    torch.testing.assert_close(results[1], results[0])


# ----------------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def test_held_out_clips_are_measured_in_use(model, rows, processor):
    network, clips = AlignmentTraining(model).eval(), CentreClips(rows, processor)
    before = copy.deepcopy(model.state_dict())
    metrics = evaluate_alignment(network, clips, 4, "cpu")
    inputs = processor(images=[row["image"] for row in rows], audio=[row["audio"] for row in rows])
    output = model(**inputs)
    similarities = output.image_embeds @ output.audio_embeds.T  # pictures with sounds
    for name, nearest in (("image to sound", similarities.argmax(1)), ("sound to image", similarities.argmax(0))):
        assert metrics[f"R@1 {name}"] == pytest.approx(100 * (nearest == torch.arange(6)).double().mean().item())
    first = model(inputs.pixel_values[:4], inputs.input_features[:4], return_loss=True).loss
    assert metrics["loss"] == pytest.approx(float(first), rel=1e-5)  # the last two clips are no batch of four
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
