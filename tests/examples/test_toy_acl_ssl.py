"""The scores, views and stand-ins of ACL-SSL's toy claim, by hand, and all of it at a small size."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("toy.acl_ssl")


@pytest.fixture
def parts(toy):
    return importlib.import_module("toy.acl_ssl_parts")


@pytest.fixture
def processor(parts):
    return parts.make_processor()


HALVES = np.stack([np.tile([True, True, False, False], (4, 1)), np.tile([False, False, True, True], (4, 1))])


def test_a_map_is_compared_with_its_own_mask_and_with_the_other(toy):
    own_half = np.where(HALVES, 0.8, 0.2).astype(np.float32)  # (2, 4, 4): each map marks its own half
    own, other = toy.compare_masks(own_half[None], HALVES[None])
    assert own.shape == other.shape == (2, 99)
    middle = 49  # .5
    assert own[:, middle].tolist() == [1, 1]
    assert other[:, middle].tolist() == [0, 0]
    assert own[:, 0].tolist() == [0.5, 0.5]  # everything reaches .01
    assert own[:, 98].tolist() == [0, 0]  # nothing reaches .99


def test_a_value_reaches_its_own_threshold(toy):
    counts = toy.count_reaching(np.array([0.25, 0.5, 0.75], np.float32))
    assert [counts[place] for place in (23, 24, 25, 49, 50, 74, 75)] == [3, 3, 2, 2, 1, 1, 0]


def test_the_threshold_is_fitted_on_other_scenes_than_those_that_are_scored(toy):
    maps = {"validation": np.where(HALVES, 0.3, 0.1)[None], "test": np.where(HALVES, 0.6, 0.35)[None]}
    clips = {name: {"masks": torch.from_numpy(HALVES[None]), "name": name} for name in maps}
    scores = toy.score_maps(lambda part: maps[part["name"]].astype(np.float32), clips)
    assert scores.threshold == pytest.approx(0.11)  # the first that only the halves reach
    assert (scores.best, scores.best_wrong) == (0.5, 0.5)  # which in the test everything reaches
    assert (scores.half, scores.half_wrong, scores.found) == (1, 0, 1)


def test_a_text_is_the_words_of_its_kind_between_start_and_end(parts, processor):
    assert processor.encode_prompt(parts.PROMPT)[1] == 4
    encoded = processor(text=["a photo of rain cloud", "A photo of zebra"])
    words = processor.tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist())
    assert words == ["<start>", "a", "photo", "of", "rain", "cloud", "<end>"]
    assert processor.tokenizer.convert_ids_to_tokens(encoded["input_ids"][1].tolist())[4] == "<unknown>"
    assert encoded["attention_mask"].tolist() == [[1] * 7, [1] * 6 + [0]]


def test_the_tokenizer_is_saved_with_the_processor(toy, processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded(text="a photo of cat")["input_ids"].tolist() == processor(text="a photo of cat")["input_ids"].tolist()


def test_windows_lie_around_the_thing_and_within_the_picture(parts):
    torch.manual_seed(0)
    masks = torch.zeros(3, 128, 128)
    masks[0, :16, :16], masks[1, 60:68, 60:68], masks[2, 112:, 40:56] = 1, 1, 1
    places = parts.draw_windows(masks.repeat(20, 1, 1)).view(20, 3, -1)
    rows, columns = places // parts.GRID, places % parts.GRID
    assert places.shape[-1] == parts.WINDOW**2
    assert rows[:, 0].min() == 0  # pushed back into the picture
    assert rows[:, 0].max() == parts.WINDOW - 1
    first, last = rows[:, 1].amin(1), rows[:, 1].amax(1)
    assert (first <= 7).all()
    assert (last >= 8).all()
    assert columns[:, 2].max() < parts.GRID
    assert rows[:, 2].max() == parts.GRID - 1


def test_a_window_sees_what_the_whole_picture_has_there(parts, processor):
    """With all patches in the window the encoder gives what it gives of the picture."""
    torch.manual_seed(0)
    model = parts.make_model(processor).eval()
    pixels = torch.randn(2, 3, 128, 128)
    everything = torch.arange(parts.GRID**2).expand(2, -1)
    for window, whole in zip(parts.run_windows(model, pixels, everything), model.run_vision(pixels), strict=True):
        torch.testing.assert_close(window, whole)


def test_blocks_beside_a_thing_leave_most_of_it(parts):
    torch.manual_seed(0)
    masks = torch.zeros(40, 128, 128)
    masks[:, 40:80, 40:80] = 1
    covers = parts.draw_blocks(masks)
    assert set(covers.unique().tolist()) == {0.0, 1.0}
    assert covers[:, 40:80, 40:80].mean((1, 2)).min() > 0.75
    areas = covers.mean((1, 2))
    assert areas.min() < 0.1 < 0.2 < areas.max()


def test_a_cover_shows_more_of_the_first_thing_than_of_the_other(parts):
    torch.manual_seed(0)
    masks = torch.zeros(200, 2, 128, 128)
    masks[:, 0, 40:80, 40:80], masks[:, 1, 90:120, 90:120] = 1, 1
    covers = parts.draw_cover(masks)
    assert covers.shape == (200, 1, 128, 128)
    assert set(covers.unique().tolist()) == {0.0, 1.0}
    first, other = covers[:, 0, 40:80, 40:80].mean((1, 2)), covers[:, 0, 90:120, 90:120].mean((1, 2))
    assert first.min() > 0.25
    assert (first > other).float().mean() > 0.8
    areas = covers.mean((1, 2, 3))
    assert areas.min() < 0.1 < 0.4 < areas.max()  # from part of a thing to much of the picture


def test_a_patch_without_things_is_spread_over_all_kinds(parts):
    cells = torch.tensor([[[1.0, 0.0], [0.25, 0.5], [0.0, 0.0]]])  # a picture, three patches, two things
    shares = parts.spread(cells, torch.tensor([[2, 5]]))
    around = 0.25 / 8
    assert shares[0, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    expected = [around, around, 0.25 + around, around, around, 0.5 + around, around, around]
    assert shares[0, 1].tolist() == pytest.approx(expected)
    assert shares[0, 2].tolist() == pytest.approx([1 / 8] * 8)


def test_a_vector_of_a_picture_is_to_be_near_the_texts_of_what_it_shows(parts):
    kinds, shares = torch.eye(3), torch.tensor([[0.5, 0.5, 0.0]])
    beside = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, -1.0]])
    near, far = (float(parts.name_shares(embeds, kinds, shares)) for embeds in beside)
    between = [parts.SCALE / 2**0.5] * 2 + [0.0]
    entropy = torch.tensor(between).logsumexp(0) - between[0]
    assert near == pytest.approx(float(entropy))  # at no distance: cross entropy alone
    cosine = (2 / 3) ** 0.5
    third = [parts.SCALE / 3**0.5] * 2 + [-parts.SCALE / 3**0.5]
    entropy = torch.tensor(third).logsumexp(0) - third[0]
    assert far == pytest.approx(float(entropy) + parts.ALIGNMENT * (1 - cosine))


def test_patches_are_embedded_as_the_network_does_it(parts, processor):
    torch.manual_seed(0)
    model = parts.make_model(processor).eval()
    entering = model.run_vision(torch.randn(2, 3, 128, 128))[-2]
    expected = model.compute_dense_features(entering, (parts.GRID, parts.GRID)).flatten(2).mT
    torch.testing.assert_close(parts.embed_patches(model, entering), expected)


def test_texts_of_kinds_and_of_other_words_are_told_apart(parts, processor):
    torch.manual_seed(0)
    model = parts.make_model(processor).eval()
    model.grounder.requires_grad_(True)
    parts.fit_texts(model, processor)
    with torch.no_grad():
        kinds = torch.nn.functional.normalize(parts.encode_texts(model, processor), dim=-1)
        others = torch.nn.functional.normalize(parts.draw_words(model, 100), dim=-1)
    assert (kinds @ kinds.T - torch.eye(8)).abs().max() < 0.1
    assert (others @ kinds.T).max(1).values.mean() < 0.1
    trained = [name for name, weight in model.grounder.named_parameters() if weight.requires_grad]
    assert trained
    assert not [name for name in trained if "text_" in name]


def test_patch_filters_are_low_frequencies_of_grey_and_of_two_colours(parts):
    filters = parts.make_patch_filters(64)
    assert filters.shape == (64, 3, parts.PATCH, parts.PATCH)
    grey = (filters == filters[:, :1]).all(1).flatten(1).all(1)
    assert int(grey.sum()) == 32
    products = filters.flatten(1) @ filters.flatten(1).T
    assert (products - torch.diag(products.diagonal())).abs().max() < 1e-3  # none says what another says


def test_the_claim_is_judged_in_every_seed(toy):
    def result(before: float, after: float, wrong: float):
        maps = {toy.BEFORE: before, toy.AFTER: after, toy.TEXT: 0.5}
        return toy.Result({name: toy.Maps(0.5, value, wrong, value, wrong, value) for name, value in maps.items()})

    good, bad = result(0.1, 0.4, 0.1), result(0.2, 0.3, 0.2)
    assert [line.split(":")[0] for line in toy.judge([good, good])] == ["holds"] * 3
    assert [line.split(":")[0] for line in toy.judge([good, bad])] == ["missed"] * 3


@pytest.mark.slow
def test_the_toy_prints_its_table_and_saves_a_model(run_toy, toy, parts, monkeypatch, tmp_path):
    sizes = {"pairs": 24, "singles": 16, "acl": 16, "validation": 6, "test": 6}
    steps = {"WINDOW_STEPS": 2, "PAINT_STEPS": (2, 2), "TEXT_STEPS": 2, "LAST_STEPS": (2, 2), "AUDIO_STEPS": 2}
    for name, value in {"NUM_SCENES": sizes, **steps}.items():
        monkeypatch.setattr(parts, name, value)
    for name, value in {"NUM_SCENES": sizes, "STEPS": 2, "SHOWN_STEPS": (1,)}.items():
        monkeypatch.setattr(toy, name, value)
    printed = run_toy("train_acl_ssl.py", tmp_path, "--toy_seeds 0 1")
    for name in (toy.TEXT, toy.BEFORE, "after 1 steps", toy.AFTER):
        assert sum(line.startswith(name + " ") for line in printed.splitlines()) == 1
    assert printed.count("in each seed") == 3
    model, processor = AutoModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert -1 < model.config.confidence_threshold < 1
    inputs = processor(
        images=np.zeros((90, 60, 3), np.uint8),
        audio=np.ones(9000, np.float32),
        sampling_rate=16000,
        text="a photo of cat",
    )
    assert model(inputs.pixel_values, inputs.input_features).similarity_map.shape == (1, 128, 128)
    assert model.get_text_features(inputs.input_ids).pooler_output.shape == (1, 64)
