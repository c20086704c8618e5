"""What every model of the zoo keeps, whatever its method: run on a tiny random network per row."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from contract.tiny import tiny_model
from huggingface_hub.errors import StrictDataclassError
from torch.utils._pytree import tree_map

FLOAT_NOISE = {"rtol": 1e-5, "atol": 1e-6}  # different summation order of the same sums
EXACT = {"rtol": 0, "atol": 0}


@torch.no_grad()
def answer_of(tiny, model, inputs):
    return model(**inputs)[tiny.output]


def batch_of_equals(tiny):
    """Two items of one length, so that nothing is padded."""
    return tiny.inputs([tiny.lengths[0]] * 2)


def test_a_saved_model_computes_the_same_bits(row, tiny, tmp_path):
    model = tiny_model(row)
    model.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report  # a missing key would only be logged, and its weights random
    inputs = tiny.inputs(tiny.lengths)
    torch.testing.assert_close(answer_of(tiny, loaded, inputs), answer_of(tiny, model, inputs), **EXACT)


def test_buffers_survive_loading_through_the_meta_device(row, tiny, tmp_path):
    model = tiny_model(row)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, low_cpu_mem_usage=True)
    for (name, expected), (other, actual) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert name == other
        torch.testing.assert_close(actual, expected, **EXACT)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    inputs = batch_of_equals(tiny)
    torch.testing.assert_close(answer_of(tiny, loaded, inputs), answer_of(tiny, model, inputs), **EXACT)


def test_auto_classes_find_every_class(row, tmp_path):
    import transformers

    import avzoo

    assert row.auto_classes
    for auto_class, names in row.auto_classes.items():
        for name in names:
            model_class = row.load(name)
            folder = tmp_path / name
            tiny_model(row, model_class).save_pretrained(folder)
            assert type(transformers.AutoConfig.from_pretrained(folder)) is model_class.config_class
            loaded = getattr(transformers, auto_class).from_pretrained(folder)
            assert type(loaded) is model_class is getattr(avzoo, name)


def test_an_auto_class_finds_a_model_for_every_config_class(row):
    config_classes = {row.load(name).config_class for names in row.auto_classes.values() for name in names}
    assert row.load(row.config_class) in config_classes
    for names in row.auto_classes.values():
        assert {row.load(name).config_class for name in names} == config_classes


def test_a_config_survives_json(row, tiny, tmp_path):
    config = tiny_model(row).config
    config.save_pretrained(tmp_path)
    loaded = type(config).from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert json.loads(loaded.to_json_string(use_diff=False)) == json.loads(config.to_json_string(use_diff=False))


def test_an_impossible_config_value_is_named(row, tiny, tmp_path):
    config_class, model_class = row.load(row.config_class), row.load(row.model_class)
    tiny_model(row).save_pretrained(tmp_path)
    assert tiny.bad_values
    for name, value in tiny.bad_values.items():
        with pytest.raises((StrictDataclassError, ValueError), match=name):
            config_class(**{**tiny.config, name: value})
        with pytest.raises((StrictDataclassError, ValueError), match=name):
            model_class.from_pretrained(tmp_path, **{name: value})


def test_a_batch_equals_its_items(row, tiny):
    model, lengths = tiny_model(row), [tiny.lengths[0]] * 3
    batched = answer_of(tiny, model, tiny.inputs(lengths))
    for index in range(3):
        torch.testing.assert_close(
            batched[index : index + 1], answer_of(tiny, model, tiny.single(lengths, index)), **FLOAT_NOISE
        )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_changes_nothing(row, tiny, attention):
    model = tiny_model(row)
    model.set_attn_implementation(attention)
    batched = answer_of(tiny, model, tiny.inputs(tiny.lengths))
    for index in range(len(tiny.lengths)):
        alone = answer_of(tiny, model, tiny.single(tiny.lengths, index))
        unpadded = batched[index : index + 1][tuple(slice(size) for size in alone.shape)]  # outputs may be padded, too
        torch.testing.assert_close(unpadded, alone, **FLOAT_NOISE)


def test_eager_and_fused_attention_agree(row, tiny):
    model, inputs = tiny_model(row), tiny.inputs(tiny.lengths)
    fused = answer_of(tiny, model, inputs)
    model.set_attn_implementation("eager")
    assert torch.linalg.vector_norm(answer_of(tiny, model, inputs) - fused) <= 1e-5 * torch.linalg.vector_norm(fused)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_and_near(row, tiny, dtype):
    model, inputs = tiny_model(row), tiny.inputs(tiny.lengths)
    exact = answer_of(tiny, model, inputs)
    half = answer_of(tiny, model.to(dtype), inputs)
    assert half.dtype == dtype
    assert half.isfinite().all()
    assert torch.linalg.vector_norm(half.float() - exact) < 0.1 * torch.linalg.vector_norm(exact)


def gradients(model, tiny):
    inputs = tiny.inputs(tiny.lengths)
    model.train().zero_grad()
    tiny.losses(model, inputs, tiny.labels(len(tiny.lengths))).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_gradient_checkpointing_gives_the_same_gradients(row, tiny):
    plain = gradients(tiny_model(row), tiny)
    model = tiny_model(row)
    model.gradient_checkpointing_enable()
    checkpointed = gradients(model, tiny)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=lambda text, name=name: f"{name}: {text}", **EXACT)


def test_every_parameter_gets_a_gradient(row, tiny):
    for name, gradient in gradients(tiny_model(row), tiny).items():
        frozen = any(pattern in name for pattern in tiny.frozen)
        assert frozen == (gradient is None or not gradient.any()), name


def test_training_on_a_batch_lowers_its_loss(row, tiny):
    model, inputs = tiny_model(row).train(), tiny.inputs(tiny.lengths)
    labels = tiny.labels(len(tiny.lengths))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = tiny.losses(model, inputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(torch.isfinite, torch.tensor(losses)))
    assert losses[-1] < 0.8 * losses[0]


def test_compiles_to_one_graph(row, tiny):
    model, inputs = tiny_model(row), batch_of_equals(tiny)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")  # generating code is not ours to test
    torch.testing.assert_close(answer_of(tiny, compiled, inputs), answer_of(tiny, model, inputs), **FLOAT_NOISE)


def test_exports(row, tiny):
    model, inputs = tiny_model(row), batch_of_equals(tiny)
    program = torch.export.export(model, args=(), kwargs=inputs)
    exported = program.module()(**inputs)[tiny.output]
    torch.testing.assert_close(exported, answer_of(tiny, model, inputs), **FLOAT_NOISE)


def test_transformers_own_exporter_gives_the_same_numbers(row, tiny):
    pytest.importorskip("transformers.exporters", reason="this transformers has no exporters")
    from transformers.exporters import DynamoConfig, DynamoExporter

    model, inputs = tiny_model(row), batch_of_equals(tiny)
    exported = DynamoExporter().export(model, copy.deepcopy(inputs), config=DynamoConfig())
    run = exported.module() if hasattr(exported, "module") else exported  # older versions return torch's own program
    torch.testing.assert_close(run(**inputs)[tiny.output], answer_of(tiny, model, inputs), **EXACT)


def test_weights_left_on_disk_compute_the_same(row, tiny, tmp_path):
    model, inputs = tiny_model(row), tiny.inputs(tiny.lengths)
    model.save_pretrained(tmp_path / "model", max_shard_size="4KB")
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    placed = type(model).from_pretrained(
        tmp_path / "model", device_map="auto", max_memory={"cpu": size // 2}, offload_folder=tmp_path / "offload"
    )
    assert "disk" in placed.hf_device_map.values(), placed.hf_device_map
    torch.testing.assert_close(answer_of(tiny, placed, inputs), answer_of(tiny, model, inputs), **EXACT)


def test_one_seed_gives_one_model(row):
    first, second = tiny_model(row), tiny_model(row)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, **EXACT), first.state_dict(), second.state_dict())


def test_evaluation_draws_no_random_numbers(row, tiny):
    model, inputs = tiny_model(row), tiny.inputs(tiny.lengths)
    state = torch.get_rng_state()
    first = answer_of(tiny, model, inputs)
    torch.testing.assert_close(torch.get_rng_state(), state, **EXACT)
    torch.testing.assert_close(answer_of(tiny, model, inputs), first, **EXACT)


def test_nothing_prints(row, tiny, tmp_path, capfd):
    model = tiny_model(row)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    answer_of(tiny, loaded, tiny.inputs(tiny.lengths))
    gradients(loaded, tiny)
    assert capfd.readouterr().out == ""


def test_the_suite_cannot_reach_the_network():
    import socket

    with pytest.raises(OSError, match="must not open connections"), socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))  # an address reserved for documentation


def test_the_row_alone_needs_no_torch(row):
    code = f"import sys; from avzoo import zoo; zoo.find_row({row.name!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
