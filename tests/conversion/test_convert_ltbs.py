"""Checkpoints of the public implementation of LTBS: sizes are told from shapes, and what does not fit is named."""

import pytest
import small_ltbs
import torch

from avzoo.conversion import convert_checkpoint


def test_a_network_of_other_widths_is_inferred():
    model = convert_checkpoint("ltbs", {"model_state_dict": small_ltbs.small_file()})
    config = model.config
    assert {name: getattr(config, name) for name in small_ltbs.SIZES} == small_ltbs.SIZES
    for name, weight in small_ltbs.small_model().state_dict().items():
        if not name.endswith("is_initialized"):
            assert torch.equal(model.state_dict()[name], weight), name
    assert all(step.norm.is_initialized for step in model.postnet.steps)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("mel_decoder.proj_mel.weight", r"`mel_decoder.proj_mel.weight` has the shape \(8,\), expected 2 axes"),
        (
            "video_encoder.spk_embedding.weight",
            r"`video_encoder.spk_embedding.weight` has the shape \(3,\), expected 2",
        ),
        ("post_net.flows.0.logs", r"`post_net.flows.0.logs` has the shape \(1,\), expected 3 axes"),
    ],
)
def test_a_weight_of_other_axes_is_named(key, message):
    tensors = small_ltbs.small_file()
    tensors[key] = tensors[key].flatten(1)[:, 0]
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("ltbs", tensors)


def test_one_layer_of_another_width_is_named():
    tensors = small_ltbs.small_file()
    tensors["fusion.weight"] = tensors["fusion.weight"][:, :-4]
    with pytest.raises(ValueError, match=r"1 shape differs \(`ltbs.fusion.weight: \(8, 16\), the model has \(8, 20\)"):
        convert_checkpoint("ltbs", tensors)


def test_a_file_that_is_cut_short_is_named():
    tensors = small_ltbs.small_file()
    del tensors["linguistic_embedding.weight"]
    with pytest.raises(ValueError, match=r"lacks `linguistic_embedding.weight`: it is cut short, or of another method"):
        convert_checkpoint("ltbs", tensors)


def test_wavenets_that_differ_are_not_taken_for_one_that_is_shared():
    tensors = small_ltbs.small_file()
    with pytest.raises(ValueError, match=r"`postnet_share_group` is 3, but `post_net\.flows\.5\.wn\..*` differs from"):
        convert_checkpoint("ltbs", tensors, config={"postnet_share_group": 3})
    for key in [key for key in tensors if ".flows.2.wn." in key and "cond_layer" not in key]:
        for step in (1, 2):
            tensors[key.replace("flows.2.", f"flows.{3 * step + 2}.")] = tensors[key].clone()
    assert len(convert_checkpoint("ltbs", tensors, config={"postnet_share_group": 3}).postnet.wavenets) == 1
