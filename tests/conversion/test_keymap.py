"""The table that carries an authors' checkpoint over: what its rules do, and what it says when they do not suffice."""

import pytest
import torch

from avzoo.conversion.keymap import KeyMap, ignore, rename, split_rows


def tensors(**shapes) -> dict[str, torch.Tensor]:
    """{key: tensor of that shape}, every value of every tensor different; `__` stands for a dot."""
    keys = [key.replace("__", ".") for key in shapes]
    return {
        key: torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape) + 1000 * index
        for index, (key, shape) in enumerate(zip(keys, shapes.values(), strict=True))
    }


def test_a_tensor_moves_to_its_new_name():
    source = tensors(norm__weight=(4,), norm__bias=(4,))
    table = KeyMap(rename("norm.weight", "layernorm.weight"), rename("norm.bias", "layernorm.bias"))
    converted = table.apply(source, {"layernorm.weight": (4,), "layernorm.bias": (4,)})
    assert list(converted) == ["layernorm.weight", "layernorm.bias"]
    assert torch.equal(converted["layernorm.bias"], source["norm.bias"])


def test_a_placeholder_stands_for_one_part_and_is_carried_over():
    source = tensors(v__blocks__0__fc1__weight=(2,), v__blocks__11__fc2__bias=(3,))
    table = KeyMap(rename("v.blocks.{n}.{part}.{leaf}", "layers.{n}.mlp.{part}.{leaf}"))
    converted = table.apply(source, {"layers.0.mlp.fc1.weight": (2,), "layers.11.mlp.fc2.bias": (3,)})
    assert torch.equal(converted["layers.11.mlp.fc2.bias"], source["v.blocks.11.fc2.bias"])


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("norm.{leaf}", "norm.weight", {"leaf": "weight"}),
        ("norm.{leaf}", "norm.0.weight", None),  # two parts
        ("norm.{leaf}", "norm.", None),  # none
        ("norm.{leaf}", "prenorm.weight", None),  # the whole key counts
        ("norm.weight", "norm.weight_g", None),
        ("norm.weight", "normXweight", None),  # a dot is a dot
        ("block{n}.w", "block12.w", {"n": "12"}),
        ("{a}.{b}", "x.y", {"a": "x", "b": "y"}),
        ("head.*", "head.weight", {}),
        ("head.*", "head.layers.0.weight", {}),  # any rest, dots included
        ("head.*", "head_dist.weight", None),
        ("*.num_batches_tracked", "a.b.num_batches_tracked", {}),
        ("a+b(c).[d]", "a+b(c).[d]", {}),  # signs mean themselves
    ],
)
def test_what_a_pattern_is_for(pattern, key, expected):
    assert ignore(pattern, why="a test").match(key) == expected


def test_an_operation_changes_the_tensor():
    source = tensors(scale=(1, 5, 1))
    converted = KeyMap(rename("scale", "scale", torch.squeeze)).apply(source, {"scale": (5,)})
    assert torch.equal(converted["scale"], source["scale"].view(5))


def test_stacked_projections_are_cut_by_rows_in_order():
    source = tensors(blocks__3__qkv__weight=(6, 4), blocks__3__qkv__bias=(6,))
    table = KeyMap(
        rename("blocks.{n}.qkv.{leaf}", [f"layers.{{n}}.{part}_proj.{{leaf}}" for part in "qkv"], split_rows(3))
    )
    shapes = {f"layers.3.{part}_proj.weight": (2, 4) for part in "qkv"}
    shapes |= {f"layers.3.{part}_proj.bias": (2,) for part in "qkv"}
    converted = table.apply(source, shapes)
    for index, part in enumerate("qkv"):
        rows = slice(2 * index, 2 * index + 2)
        assert torch.equal(converted[f"layers.3.{part}_proj.weight"], source["blocks.3.qkv.weight"][rows])
        assert torch.equal(converted[f"layers.3.{part}_proj.bias"], source["blocks.3.qkv.bias"][rows])


def test_what_is_ignored_goes_nowhere():
    source = tensors(v__head__weight=(2, 2), weight=(3,))
    source["v.head.weight"].fill_(float("nan"))
    table = KeyMap(ignore("v.head.*", why="never reached"), rename("weight", "weight"))
    assert list(table.apply(source, {"weight": (3,)})) == ["weight"]


def test_the_first_rule_that_matches_decides():
    source = tensors(v__pos_embed=(3,), v__norm=(3,))
    special, general = rename("v.pos_embed", "positions"), rename("v.{leaf}", "{leaf}")
    converted = KeyMap(special, general).apply(source, {"positions": (3,), "norm": (3,)})
    assert torch.equal(converted["positions"], source["v.pos_embed"])
    with pytest.raises(ValueError, match=r"1 tensor stays empty \(`positions`\).*not in the model \(`pos_embed`\)"):
        KeyMap(general, special).apply(source, {"positions": (3,), "norm": (3,)})


def test_the_result_has_the_order_of_the_model_and_nothing_more():
    source = tensors(a=(1,), b=(1,), c=(1,))
    table = KeyMap(rename("{key}", "{key}"))
    assert list(table.apply(source, {"c": (1,), "a": (1,), "b": (1,)})) == ["c", "a", "b"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_becomes_float32_and_counters_stay_whole_numbers(dtype):
    source = {"weight": torch.ones(2, dtype=dtype), "num_batches_tracked": torch.tensor([2**40])}
    converted = KeyMap(rename("{key}", "{key}")).apply(source, {"weight": (2,), "num_batches_tracked": (1,)})
    assert converted["weight"].dtype == torch.float32
    assert converted["num_batches_tracked"].tolist() == [2**40]


@pytest.mark.parametrize(("value", "count"), [(123.0, 123), (float("inf"), torch.iinfo(torch.int64).max)])
def test_a_counter_that_was_made_a_float_is_a_whole_number_again(value, count):
    source = {"num_batches_tracked": torch.tensor(value)}
    converted = KeyMap(rename("{key}", "{key}")).apply(source, {"num_batches_tracked": ()})["num_batches_tracked"]
    assert converted.dtype == torch.int64
    assert value == float("inf") or converted.item() == count


def test_an_operation_that_makes_another_number_of_tensors_is_told():
    table = KeyMap(rename("qkv", ["q", "k", "v"], split_rows(3)))
    with pytest.raises(ValueError, match=r"rule for `qkv` made 2 tensors for 3 targets"):
        table.apply(tensors(qkv=(4, 2)), {"q": (1, 2), "k": (1, 2), "v": (1, 2)})
    with pytest.raises(ValueError, match=r"rule for `a` made 1 tensors for 2 targets"):
        KeyMap(rename("a", ["b", "c"])).apply(tensors(a=(2,)), {"b": (2,), "c": (2,)})


IDENTITY = KeyMap(rename("known.{leaf}", "known.{leaf}"))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ({"known.a": 1, "lipsync.b": 1}, {"known.a": 1}, r"1 key has no rule (`lipsync.b`)"),
        (
            {"known.a": 1, **{f"x{i}": 1 for i in range(5)}},
            {"known.a": 1},
            r"5 keys have no rule (`x0`, `x1`, `x2`, ...)",
        ),
        ({"known.a": 1}, {"known.a": 1, "known.b": 1}, r"1 tensor stays empty (`known.b`)"),
        ({"known.a": 1}, {"b": 1, "c": 1, "known.a": 1}, r"2 tensors stay empty (`b`, `c`)"),
        ({"known.a": 1, "known.b": 1}, {"known.a": 1}, r"1 tensor is not in the model (`known.b`)"),
        ({"known.a": 2}, {"known.a": 3}, r"1 shape differs (`known.a: (2,), the model has (3,)`)"),
        (
            {"known.a": 2, "known.b": 2},
            {"known.a": 3, "known.b": 4},
            r"2 shapes differ (`known.a: (2,), the model has (3,)`, `known.b: (2,), the model has (4,)`)",
        ),
        ({}, {"known.a": 1}, r"1 tensor stays empty (`known.a`)"),
    ],
)
def test_what_does_not_fit_is_counted_and_named(source, target, message):
    source = {key: torch.zeros(size) for key, size in source.items()}
    target = {key: (size,) for key, size in target.items()}
    with pytest.raises(ValueError, match="checkpoint does not fit") as caught:
        IDENTITY.apply(source, target)
    assert str(caught.value) == f"checkpoint does not fit: {message}."


def test_all_that_does_not_fit_is_told_at_once():
    source = {"known.a": torch.zeros(2), "other": torch.zeros(1)}
    with pytest.raises(ValueError, match="does not fit") as caught:
        IDENTITY.apply(source, {"known.a": (3,), "known.b": (1,)}, "teacher.pth")
    message = str(caught.value)
    assert message.startswith("teacher.pth does not fit: 1 key has no rule (`other`); 1 tensor stays empty (`known.b`)")
    assert message.endswith("1 shape differs (`known.a: (2,), the model has (3,)`).")


def test_a_target_that_is_filled_twice_is_told():
    table = KeyMap(rename("a", "x"), rename("b", "x"))
    with pytest.raises(ValueError, match=r"1 tensor is filled twice \(`x from b`\)"):
        table.apply({"a": torch.zeros(2), "b": torch.zeros(2)}, {"x": (2,)})
