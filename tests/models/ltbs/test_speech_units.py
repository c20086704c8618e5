"""Units of speech: the nearest centre, two for each video frame, from centres that k-means finds."""

import pickle

import pytest
import torch
from transformers import HubertConfig, HubertModel

from avzoo.models.ltbs.speech_units import (
    align_units,
    check_units,
    cut_hubert,
    extract_hubert_features,
    find_units,
    fit_centres,
    load_centres,
    save_centres,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_nearest_centre_is_chosen_and_of_two_the_first():
    centres = torch.tensor([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]])
    features = torch.tensor([[0.9, 0.0], [1.0, 0.0], [1.1, 0.0], [5.0, 9.0]])
    assert find_units(features, centres).tolist() == [0, 0, 1, 2]


def test_features_far_from_the_origin_keep_their_nearest_centre():
    """Float32 can't hold the differences of their squares."""
    offset = 1e4
    features = offset + torch.tensor([[0.0], [1.0]])
    assert find_units(features, features.flip(0)).tolist() == [1, 0]


def test_centres_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"of one width, got \(5, 3\) and \(2, 4\): .* another layer"):
        find_units(torch.zeros(5, 3), torch.zeros(2, 4))


def test_every_second_unit_is_kept_and_the_end_filled():
    units = torch.arange(10, 17)
    assert align_units(units, 3).tolist() == [10, 12, 14]
    assert align_units(units, 6).tolist() == [10, 12, 14, 16, -100, -100]
    assert align_units(torch.arange(149), 75).tolist() == list(range(0, 149, 2))  # a clip of 3 s


def test_k_means_finds_groups_that_are_far_apart():
    places = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = (places[:, None] + 0.1 * torch.randn(3, 50, 2, generator=seeded())).flatten(0, 1)
    centres = fit_centres(features, 3, generator=seeded(1))
    order = (places[:, None] - centres).norm(dim=-1).argmin(1)
    expected = features.view(3, 50, 2).mean(1)
    torch.testing.assert_close(centres[order], expected)


def test_k_means_repeats_with_its_seed():
    features = torch.randn(100, 4, generator=seeded())
    first, second = (fit_centres(features, 8, generator=seeded(3)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_k_means_of_frames_that_are_all_alike_is_finite():
    centres = fit_centres(torch.ones(10, 2), 3, generator=seeded())
    assert torch.equal(centres, torch.ones(3, 2))


def test_too_few_frames_for_k_means_are_refused():
    with pytest.raises(ValueError, match="`features` are 5 frames, 8 centres need at least as many"):
        fit_centres(torch.randn(5, 2), 8, generator=seeded())


def test_centres_survive_their_file(tmp_path):
    centres = torch.randn(4, 3)
    save_centres(tmp_path / "centres.safetensors", centres)
    torch.testing.assert_close(load_centres(tmp_path / "centres.safetensors"), centres, rtol=0, atol=0)


def test_files_that_hold_no_centres_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no file of centres"):
        load_centres(tmp_path / "none.safetensors")
    (tmp_path / "km.bin").write_bytes(pickle.dumps(print))
    with pytest.raises(ValueError, match=r"can run code when it is read; save its `cluster_centers_`"):
        load_centres(tmp_path / "km.bin")
    (tmp_path / "km.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_centres(tmp_path / "km.safetensors")


@pytest.mark.parametrize("stable", [True, False], ids=["large", "base"])
@torch.no_grad()
def test_a_cut_hubert_gives_the_hidden_states_of_the_whole(stable):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = HubertModel(HubertConfig(do_stable_layer_norm=stable, feat_extract_norm="layer", **sizes)).eval()
    sound = torch.randn(16000)
    normalized = (sound - sound.mean()) / (sound.var(correction=0) + 1e-5).sqrt()
    expected = model(normalized[None], output_hidden_states=True).hidden_states[2][0]
    features = extract_hubert_features(cut_hubert(model, 2), sound)
    assert features.shape == (49, 16)
    torch.testing.assert_close(features, expected)
    with pytest.raises(ValueError, match="`layer` must be at least 1 and at most 2, got 3"):
        cut_hubert(model, 3)


def test_a_sound_too_short_for_hubert_is_refused():
    with pytest.raises(ValueError, match=r"at least 400 at 16 kHz, got \(399,\)"):
        extract_hubert_features(None, torch.zeros(399))


@pytest.mark.parametrize(
    ("units", "error", "message"),
    [
        (torch.tensor([0, 7]), ValueError, r"`units` must be from 0 to 6, or -100 .*; frame 1 has 7"),
        (torch.tensor([-1]), ValueError, "frame 0 has -1"),
        (torch.tensor([1.0]), TypeError, "`units` must be whole numbers, got torch.float32"),
        (torch.zeros(2, 2, dtype=torch.long), ValueError, r"`units` must be \(frames,\), got \(2, 2\)"),
    ],
)
def test_units_that_do_not_exist_are_refused(units, error, message):
    check_units(torch.tensor([0, 6, -100]), 7)
    with pytest.raises(error, match=message):
        check_units(units, 7)
