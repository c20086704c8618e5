"""Golden cases of every form: met by the right outputs and by no others. The cases here are made up."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from golden_case import GoldenCase, drawn, is_full_size
from golden_comparison import beyond, compare, compute, difference_after, inequality, takes_any_keys, unnoticed
from safetensors.torch import save_file

GLOSSES = {
    "samples": [{"label": "MORGEN  REGEN"}],
    "ids": [[5, 1], []],
    "seconds": 0.25,
    "score": -1.0,
    "stm": "a 1 b\n",
    "dev": True,
}
KEYS = [["encoder.weight", [3, 2], "float32"], ["encoder.bias", [3], "float32"], ["encoder.steps", [], "int64"]]


@pytest.fixture
def make_case(tmp_path, monkeypatch):
    """A function that writes a case of the kind "novel" and gives its runners, one function, to the method "novel"."""

    def make(runner, description=(), tensors=(), keys=(), rules=(), name="tiny"):
        monkeypatch.setitem(
            sys.modules, "runners_novel", SimpleNamespace(RUNNERS={"novel": runner}, RULES={"novel": dict(rules)})
        )
        folder = tmp_path / "novel" / name
        folder.mkdir(parents=True, exist_ok=True)
        common = {"kind": "novel", "config": {}, "seed": 3, "tolerance": 1e-3}
        (folder / "case.json").write_text(json.dumps(common | dict(description)))
        (folder / "keys.json").write_text(json.dumps(list(keys)))
        if tensors:
            save_file(dict(tensors), folder / "io.safetensors")
        return GoldenCase.load(folder)

    return make


def outcome(case: GoldenCase) -> dict[str, str]:
    [outputs] = compute(case)
    wrong = compare(case, outputs)
    if not wrong:
        assert unnoticed(case, outputs) == []
    return wrong


def gives(**outputs):
    """A runner of these outputs."""

    def run(case, folder):
        yield outputs

    return run


def test_tables_have_to_be_as_case_json_has_them(make_case):
    description = {
        "inputs": {"text.references": "", "lines": ""},
        "text": {"references": ["A  B"], "cleaned": {"x": ["A", "B"]}},
        "expected": {"dev": GLOSSES},
        "mapping": [["conv1_w", "s1.weight", "copy"]],
        "parameters": 12,
    }

    def run(case, folder):
        yield {
            "expected.dev": GLOSSES | {"seconds": 0.25 * (1 + 1e-4), "ids": [(5, 1), []]},
            "mapping": [["conv1_w", "s1.weight", "copy"]],
            "parameters": 12,
            "text.cleaned": {"x": case.description["text"]["references"][0].split()},
        }

    case = make_case(run, description)
    assert set(case.outputs) == {"expected.dev", "mapping", "parameters", "text.cleaned"}
    assert outcome(case) == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"ids": [[5, 2], []]}, "['ids'][0][1] 2 where 1 is expected"),
        ({"ids": [[5, 1]]}, "['ids'] has 1 entries where 2 are expected"),
        ({"ids": [[5, True], []]}, "['ids'][0][1] True where 1 is expected"),
        (
            {"samples": [{"label": "MORGEN REGEN"}]},
            "['samples'][0]['label'] 'MORGEN REGEN' where 'MORGEN  REGEN' is expected",
        ),
        ({"samples": [{}]}, "['samples'][0] with or without 'label'"),
        ({"seconds": 0.251}, "['seconds'] 0.251 where 0.25 is expected"),
        ({"seconds": float("nan")}, "['seconds'] nan where 0.25 is expected"),
        ({"dev": 1}, "['dev'] 1 where True is expected"),
        ({"stm": None}, r"['stm'] None where 'a 1 b\n' is expected"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_the_place_where_a_table_differs_is_named(make_case, other, message):
    case = make_case(gives(**{"expected.dev": GLOSSES | other}), {"expected": {"dev": GLOSSES}})
    assert outcome(case) == {"expected.dev": message}


def layout(weights: dict[str, torch.Tensor]) -> dict:
    return {name: [list(value.shape), str(value.dtype).removeprefix("torch.")] for name, value in weights.items()}


def test_a_case_of_keys_alone_needs_no_tensors(make_case):
    rules = {"encoder.weight": 2, "encoder.bias": 1, "encoder.steps": 0}

    def convert(case, folder):
        weights = case.checkpoint()
        assert weights.keys() == rules.keys()
        yield {"keys": layout({name: weights[name] for name in rules})}

    case = make_case(convert, keys=KEYS)
    assert case.outputs["keys"]["encoder.weight"] == [[3, 2], "float32"]
    assert outcome(case) == {}
    assert not takes_any_keys(case)


def test_keys_that_a_runner_only_repeats_are_noticed(make_case):
    def repeat(case, folder):
        yield {"keys": layout(case.checkpoint())}

    assert takes_any_keys(make_case(repeat, keys=KEYS))


def test_a_placeholder_in_place_of_outputs_is_none(make_case):
    case = make_case(gives(), keys=KEYS, tensors={"in.unused": torch.zeros(1), "out.unused": torch.zeros(1)})
    assert set(case.outputs) == {"keys"}


@pytest.mark.parametrize("field", ["tolerance_by_output", "tolerance_per_output"])
def test_outputs_may_have_a_bound_of_their_own(make_case, field):
    ones = torch.ones(4)
    outputs = {"loose": 1.05 * ones, "strict": 1.0005 * ones, "numbered.0": 1.05 * ones, "other": 1.0005 * ones}
    outputs["lost"] = float("nan") * ones
    case = make_case(
        gives(**outputs),
        {field: {"loose": 0.1, "strict": 1e-4, "numbered": 0.1}},
        {f"out.{name}": ones.clone() for name in outputs},
    )
    assert outcome(case) == {
        "lost": "relative error nan above 0.001",
        "strict": "relative error 0.0005 above 0.0001",
    }


def test_whole_numbers_are_equal_or_wrong(make_case):
    many = torch.arange(2000)
    expected = {"out.ids": many, "out.mask": many > 3, "out.grey": torch.full((9,), 200, dtype=torch.uint8)}
    right = {"ids": many.int(), "mask": many > 3, "grey": torch.full((9,), 200, dtype=torch.uint8)}
    assert outcome(make_case(gives(**right), tensors=expected)) == {}
    wrong = {"ids": many.clone().index_fill_(0, torch.tensor([7]), 8), "mask": many > 4}
    assert outcome(make_case(gives(**right | wrong), tensors=expected)) == {
        "ids": "1 of 2000 entries differ",
        "mask": "1 of 2000 entries differ",
    }


def difference_where_both_are_voiced(actual, expected, tolerance):
    """A rule with a word on both sides: one pitch tracker may miss a few frames that the other has, and have others."""
    disagreeing = ((actual > 0) != (expected > 0)).double().mean().item()
    if disagreeing > 0.02:
        return f"{disagreeing:.0%} of the frames are voiced in one alone"
    both = (actual > 0) & (expected > 0)
    far = ((actual - expected).abs() > tolerance * torch.maximum(actual, expected))[both].sum()
    return f"{int(far)} frames differ" if far else ""


def test_a_kind_may_have_a_rule_of_its_own(make_case):
    pitch = torch.linspace(0, 200, 100)
    tensors = {"out.f0": pitch, "out.f0_normalised": pitch / 100}
    rules = {"f0": difference_where_both_are_voiced}

    def runs(f0):
        return outcome(make_case(gives(f0=f0, f0_normalised=pitch / 100), tensors=tensors, rules=rules))

    assert runs(pitch.index_fill(0, torch.tensor([40]), 0.0)) == {}
    assert runs(pitch.index_fill(0, torch.tensor([0]), 90.0)) == {}
    assert runs(pitch.index_fill(0, torch.arange(40, 43), 0.0)) == {"f0": "3% of the frames are voiced in one alone"}
    assert runs(pitch.index_fill(0, torch.tensor([40]), 90.0)) == {"f0": "1 frames differ"}


def test_rules_for_tables_decimals_and_one_level_of_grey(make_case):
    grey = torch.tensor([0, 100, 255], dtype=torch.uint8)
    tensors = {"out.grey": grey, "out.crops.0": grey.float(), "out.scores": torch.tensor([-1000.0, 2.0])}
    statistics = {"a mean/std": [0.07064, 1.11824]}
    rules = {
        "statistics.*": beyond(6e-6),
        "grey": beyond(1),
        "crops.*": inequality,
        "scores": difference_after(lambda scores: scores.clamp_min(-20)),
    }
    right = {
        "grey": torch.tensor([1, 99, 255], dtype=torch.uint8),
        "crops.0": grey.float(),
        "scores": torch.tensor([-999.0, 2.0]),
        "statistics.a mean/std": [0.070644, 1.118236],
    }

    def runs(**other):
        case = make_case(gives(**right | other), {"statistics": statistics}, tensors, rules=rules)
        return outcome(case)

    assert runs() == {}
    for name, (value, message) in {
        "grey": (grey + torch.tensor([2, 0, 0], dtype=torch.uint8), "1 of 3 entries are off by more than 1"),
        "crops.0": (grey + torch.tensor([1e-6, 0, 0]), "1 of 3 entries differ"),
        "scores": (torch.tensor([-1000.0, 2.1]), "relative error 0.00498 above 0.001"),
        "statistics.a mean/std": ([0.07065, 1.11824], "1 of 2 entries are off by more than 6e-06"),
    }.items():
        assert runs(**{name: value}) == {name: message}


def test_outputs_of_another_form_are_wrong(make_case):
    tensors = {"out.a": torch.ones(2), "out.b": torch.ones(2), "out.c": torch.ones(2)}
    case = make_case(gives(a=torch.ones(1, 2), b=[1.0, 1.0], d=torch.ones(2)), tensors=tensors)
    assert outcome(case) == {
        "a": "[1, 2] where [2] is expected",
        "b": "no tensor where [2] is expected",
        "c": "not computed",
        "d": "not expected",
    }


def test_a_rule_that_sees_nothing_is_found_out(make_case):
    tensors = {"out.a": torch.ones(2), "out.b": torch.ones(2)}
    rules = {"b": lambda actual, expected, tolerance: ""}
    case = make_case(gives(a=torch.ones(2), b=torch.ones(2)), tensors=tensors, rules=rules)
    [outputs] = compute(case)
    assert unnoticed(case, outputs) == ["b, spoiled in way 2"]  # way 1 is another shape


def test_a_runner_sees_no_expected_value(make_case):
    def repeat(case, folder):
        yield dict(case.outputs)

    def read_again(case, folder):
        again = GoldenCase.load(case.folder)
        yield again.outputs | {
            "inputs": list(again.inputs),
            "files": sorted(file.name for file in case.folder.iterdir()),
        }

    tensors = {"in.x": torch.ones(2), "out.a": torch.ones(2)}
    description = {"inputs": {"text.lines": ""}, "expected": {"dev": GLOSSES}, "text": {"lines": "A", "cleaned": "B"}}
    with pytest.raises(NotImplementedError, match="no data"):
        compute(make_case(repeat, tensors=tensors))
    files = ["case.json", "io.safetensors", "keys.json"]
    assert compute(make_case(read_again, description, tensors)) == [{"inputs": ["x"], "files": files}]
    tables = make_case(repeat, description, name="tables")
    assert compute(tables) == [{"expected.dev": None, "text.cleaned": None}]


def test_what_a_case_holds_is_known_or_refused(make_case):
    with pytest.raises(ValueError, match=r"fields that golden_case.py does not know: \['decoded'\]"):
        make_case(gives(), {"decoded": ["MORGEN"]})
    with pytest.raises(ValueError, match=r"bounds the error of outputs that it has not: \['logit'\]"):
        make_case(gives(), {"tolerance_by_output": {"logit": 1e-3}}, {"out.logits": torch.ones(1)})


def test_a_runner_that_computes_nothing_fails(make_case):
    with pytest.raises(AssertionError, match="computes nothing"):
        compute(make_case(lambda case, folder: iter(()), tensors={"out.a": torch.ones(2)}))


def test_a_kind_without_a_runner_fails(make_case):
    case = make_case(gives(), {"kind": "unheard_of"})
    with pytest.raises(pytest.fail.Exception, match="no runner for kind 'unheard_of'; there are: novel"):
        compute(case)


def test_weights_are_stored_shared_or_drawn(make_case):
    keys = [*KEYS, ["head.weight", [3, 2], "float32"]]
    aliases = {"container": {"aliases": {"head.weight": "encoder.weight"}}}
    case = make_case(gives(), aliases, {"buf.encoder.bias": torch.arange(3.0)}, keys)
    weights = case.checkpoint()
    assert list(weights) == [key for key, *_ in keys]
    assert weights["encoder.bias"].tolist() == [0, 1, 2]
    assert weights["head.weight"] is weights["encoder.weight"]
    assert torch.equal(weights["encoder.weight"], drawn("encoder.weight", [3, 2], "float32", 3, 1.0))
    assert torch.equal(case.checkpoint("head.")["head.weight"], weights["encoder.weight"])


def test_cases_of_full_size_are_told_by_name_and_by_weights(make_case):
    for name, rows, full in (
        ("full_voxceleb", 3, True),
        ("vocoder_full_lip16k", 3, True),
        ("fully_tiny", 3, False),
        ("pretrained", 40_000_000, True),
    ):
        case = make_case(gives(), keys=[["weight", [rows, 1], "float32"]], name=name)
        assert is_full_size(case.folder) == full, name
