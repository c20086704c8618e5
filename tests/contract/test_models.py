"""What every transformers model of the zoo keeps, whatever its method: run on a tiny random network of each class."""

import copy
import inspect
import json
import pickle

import pytest
import torch
from contract.tiny import tiny_config, tiny_model
from huggingface_hub.errors import StrictDataclassError
from torch.utils._pytree import tree_map
from transformers.modeling_outputs import BaseModelOutputWithPooling

FLOAT_NOISE = {"rtol": 1e-5, "atol": 1e-6}  # different summation order of the same sums
EXACT = {"rtol": 0, "atol": 0}


@torch.no_grad()
def answer_of(tiny, model, inputs):
    return pick_answer(tiny, model(**inputs))


def pick_answer(tiny, output):
    return output if isinstance(output, torch.Tensor) else output[tiny.output]


def batch_of_equals(tiny):
    """Two items of one length, so that nothing is padded."""
    return tiny.inputs([tiny.lengths[0]] * 2)


def first_items(inputs, count):
    """The first items of a padded batch, with their mask and padding."""
    return {name: value[:count] if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}


# --- saving and loading ---------------------------------------------------------------------------------------------


def test_a_saved_model_computes_the_same_bits(model, tiny, tmp_path):
    model.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report  # a missing key would only be logged, and its weights random
    inputs = tiny.inputs(tiny.lengths)
    torch.testing.assert_close(answer_of(tiny, loaded, inputs), answer_of(tiny, model, inputs), **EXACT)


def test_buffers_survive_loading_through_the_meta_device(model, tiny, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, low_cpu_mem_usage=True)
    for (name, expected), (other, actual) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert name == other
        torch.testing.assert_close(actual, expected, **EXACT)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    inputs = batch_of_equals(tiny)
    torch.testing.assert_close(answer_of(tiny, loaded, inputs), answer_of(tiny, model, inputs), **EXACT)


def test_a_copy_and_a_pickled_model_compute_the_same_bits(model, tiny):
    inputs = batch_of_equals(tiny)
    expected = answer_of(tiny, model, inputs)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is type(model)
        torch.testing.assert_close(answer_of(tiny, other, inputs), expected, **EXACT)
        with torch.no_grad():
            next(other.parameters()).add_(1.0)
    torch.testing.assert_close(answer_of(tiny, model, inputs), expected, **EXACT)  # nothing is shared


def noise_of(tiny):
    """Folded norms round otherwise in each of many layers."""
    return {"rtol": 1e-4, "atol": 1e-5} if tiny.folds_norms else FLOAT_NOISE


@pytest.mark.needs("training", "offload")  # one number, which is never trained, cannot be in two places
def test_weights_left_on_disk_compute_the_same(model, tiny, tmp_path):
    inputs = tiny.inputs(tiny.lengths)
    model.save_pretrained(tmp_path / "model", max_shard_size="4KB")
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    placed = type(model).from_pretrained(
        tmp_path / "model", device_map="auto", max_memory={"cpu": size // 2}, offload_folder=tmp_path / "offload"
    )
    assert "disk" in placed.hf_device_map.values(), placed.hf_device_map
    bound = noise_of(tiny) if tiny.folds_norms else EXACT
    torch.testing.assert_close(answer_of(tiny, placed, inputs), answer_of(tiny, model, inputs), **bound)


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


def test_a_config_survives_json(model, tmp_path):
    config = model.config
    config.save_pretrained(tmp_path)
    loaded = type(config).from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert json.loads(loaded.to_json_string(use_diff=False)) == json.loads(config.to_json_string(use_diff=False))


def test_an_impossible_config_value_is_named(model, tiny, tmp_path):
    model.save_pretrained(tmp_path)
    assert tiny.bad_values
    for name, value in tiny.bad_values.items():
        with pytest.raises((StrictDataclassError, ValueError), match=name):
            tiny_config(type(model), **{name: value})
        with pytest.raises((StrictDataclassError, ValueError), match=name):
            type(model).from_pretrained(tmp_path, **{name: value})


# --- what forward computes ------------------------------------------------------------------------------------------


def test_a_batch_equals_its_items(model, tiny):
    lengths = [tiny.lengths[0]] * 3
    batched = answer_of(tiny, model, tiny.inputs(lengths))
    for index in range(3):
        alone = answer_of(tiny, model, tiny.single(lengths, index))
        torch.testing.assert_close(batched[index : index + 1], alone, **FLOAT_NOISE)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_changes_nothing(model, tiny, attention):
    if "attention" not in tiny.without:
        model.set_attn_implementation(attention)
    batched = answer_of(tiny, model, tiny.inputs(tiny.lengths))
    for index in range(len(tiny.lengths)):
        alone = answer_of(tiny, model, tiny.single(tiny.lengths, index))
        unpadded = batched[index : index + 1][tuple(slice(size) for size in alone.shape)]  # outputs may be padded, too
        torch.testing.assert_close(unpadded, alone, **FLOAT_NOISE)


@pytest.mark.needs("attention")
def test_eager_and_fused_attention_agree(model, tiny):
    inputs = tiny.inputs(tiny.lengths)
    fused = answer_of(tiny, model, inputs)
    model.set_attn_implementation("eager")
    assert torch.linalg.vector_norm(answer_of(tiny, model, inputs) - fused) <= 1e-5 * torch.linalg.vector_norm(fused)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_and_near(model, tiny, dtype):
    inputs = tiny.inputs(tiny.lengths)
    exact = answer_of(tiny, model, inputs)
    half = answer_of(tiny, model.to(dtype), inputs)
    assert half.dtype == dtype
    assert half.isfinite().all()
    assert torch.linalg.vector_norm(half.float() - exact) < 0.1 * torch.linalg.vector_norm(exact)


def test_one_seed_gives_one_model(row, model_class, model):
    again = tiny_model(row, model_class)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, **EXACT), model.state_dict(), again.state_dict())


def test_evaluation_draws_no_random_numbers(model, tiny):
    inputs = tiny.inputs(tiny.lengths)
    state = torch.get_rng_state()
    first = answer_of(tiny, model, inputs)
    torch.testing.assert_close(torch.get_rng_state(), state, **EXACT)
    torch.testing.assert_close(answer_of(tiny, model, inputs), first, **EXACT)


def test_nothing_prints(model, tiny, tmp_path, capfd):
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    answer_of(tiny, loaded, tiny.inputs(tiny.lengths))
    if "training" not in tiny.without:
        gradients(loaded, tiny)
    assert capfd.readouterr().out == ""


# --- what forward takes ---------------------------------------------------------------------------------------------


@pytest.mark.needs("outputs")
@torch.no_grad()
def test_a_tuple_is_the_output_without_what_is_none(model, tiny):
    inputs = batch_of_equals(tiny)
    output = model(**inputs)
    expected = [value for value in output.values() if value is not None]
    model.config.return_dict = False
    by_config = model(**inputs)
    for tuple_output in (model(**inputs, return_dict=False), by_config):
        assert type(tuple_output) is tuple
        tree_map(lambda a, b: torch.testing.assert_close(a, b, **EXACT), list(tuple_output), expected)
    assert type(model(**inputs, return_dict=True)) is type(output)


@pytest.mark.needs("loss")
@torch.no_grad()
def test_the_loss_comes_first(model, tiny):
    inputs, labels = tiny.inputs(tiny.lengths), tiny.labels(len(tiny.lengths))
    output = model(**inputs, labels=labels)
    assert next(iter(output)) == "loss"
    torch.testing.assert_close(model(**inputs, labels=labels, return_dict=False)[0], output.loss, **EXACT)


@pytest.mark.needs("loss")
@torch.no_grad()
def test_an_evaluation_of_the_trainer_gathers_little(model, tiny):
    output = model(**tiny.inputs(tiny.lengths), labels=tiny.labels(len(tiny.lengths)))
    gathered = set(output) - {"loss", *getattr(model.config, "keys_to_ignore_at_inference", ())}
    assert "logits" in gathered
    assert gathered <= {"logits", "boxes"}


@pytest.mark.needs("loss")
@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification", "binary"])
def test_a_problem_type_decides_on_the_loss_or_is_refused(model, tiny, problem_type, tmp_path):
    allowed = type(model.config).problem_types
    if problem_type not in allowed:
        model.save_pretrained(tmp_path)
        with pytest.raises((StrictDataclassError, ValueError), match=r"`problem_type` must be one of None"):
            tiny_config(type(model), problem_type=problem_type)
        with pytest.raises((StrictDataclassError, ValueError), match=r"`problem_type` must be one of None"):
            type(model).from_pretrained(tmp_path, problem_type=problem_type)
        return
    inputs = tiny.inputs(tiny.lengths)
    labels = torch.rand(len(tiny.lengths), model.config.num_labels, generator=torch.Generator().manual_seed(0))
    model.config.problem_type = problem_type
    output = model(**inputs, labels=labels)
    losses = {
        "regression": torch.nn.functional.mse_loss,
        "multi_label_classification": torch.nn.functional.binary_cross_entropy_with_logits,
    }
    torch.testing.assert_close(output.loss, losses[problem_type](output.logits, labels), **EXACT)


@pytest.mark.needs("loss")
def test_class_names_agree_whichever_of_the_two_is_given(model, tiny, tmp_path):
    names = [f"class {index}" for index in range(model.config.num_labels)]
    id2label, label2id = dict(enumerate(names)), {name: index for index, name in enumerate(names)}
    for given in ({"id2label": id2label}, {"label2id": label2id}, {"id2label": id2label, "label2id": label2id}):
        config = tiny_config(type(model), **given)
        assert (config.id2label, config.label2id) == (id2label, label2id)
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path, **given)
        assert (loaded.config.id2label, loaded.config.label2id) == (id2label, label2id)
    loaded.save_pretrained(tmp_path)
    if len(names) > 1:
        other = dict(enumerate(reversed(names)))
        with pytest.raises((StrictDataclassError, ValueError), match="each other's inverse"):
            tiny_config(type(model), id2label=other, label2id=label2id)
        with pytest.raises(ValueError, match="`id2label` gives 'class"):
            type(model).from_pretrained(tmp_path, id2label=other)
    assert type(model).from_pretrained(tmp_path).config.label2id == label2id


@pytest.mark.needs("outputs")
@pytest.mark.parametrize("name", ["output_hidden_states", "output_attentions"])
@torch.no_grad()
def test_an_output_that_the_config_asks_for_is_there_or_refused(model, tiny, name):
    inputs = batch_of_equals(tiny)
    model.set_attn_implementation("eager")  # the one that has weights
    setattr(model.config, name, True)
    field = name.removeprefix("output_")
    if name in inspect.signature(model.forward).parameters:
        assert len(model(**inputs)[field]) >= model.config.num_hidden_layers
        assert model(**inputs, **{name: False}).get(field) is None
        setattr(model.config, name, False)
        assert model(**inputs).get(field) is None
        assert len(model(**inputs, **{name: True})[field]) >= model.config.num_hidden_layers
    else:
        with pytest.raises(ValueError, match=f"`config.{name}` is True, but {type(model).__name__}"):
            model(**inputs)
        setattr(model.config, name, False)
        with pytest.raises(TypeError, match=name):
            model(**inputs, **{name: True})


def test_an_unknown_keyword_is_an_error(model, tiny):
    inputs = batch_of_equals(tiny)
    for name in ("patchsize", "attention_masks", "num_items_in_batch", *(f"{name}s" for name in inputs)):
        with pytest.raises(TypeError, match=name):
            model(**inputs, **{name: 8})


def test_a_method_with_a_name_of_transformers_returns_what_it_returns_there(model):
    """`get_image_features` and the like return a `BaseModelOutputWithPooling`."""
    for kind in ("text", "image", "video", "audio"):
        method = getattr(model, f"get_{kind}_features", None)
        assert method is None or inspect.signature(method).return_annotation is BaseModelOutputWithPooling


def test_what_a_network_is_without_is_not_there(model, tiny):
    """The reasons in the tiny entry hold, so that no test is left out without one."""
    parameters = inspect.signature(model.forward).parameters
    linear = any(isinstance(module, torch.nn.Linear) for module in model.modules())
    masked = {"attention_mask", "padded_lengths"} & parameters.keys()
    attends = any("ALL_ATTENTION_FUNCTIONS" in type(module).forward.__code__.co_names for module in model.modules())
    answer = model(**batch_of_equals(tiny))
    found = {
        "attention": attends,
        "linear": linear,
        "loss": "labels" in parameters,
        "outputs": not isinstance(answer, torch.Tensor),
        "padding": bool(masked),
        "training": any(parameter.requires_grad for parameter in model.parameters()),
    }
    assert {name for name, present in found.items() if not present} == tiny.without.keys() & found.keys()
    assert tiny.without.keys() <= found.keys() | {"compilation", "offload"}
    assert all(tiny.without.values())
    assert ("labels" in parameters) == (tiny.loss is None and "training" not in tiny.without)


def replicate(model):
    """A copy as DataParallel makes them: its weights are attributes, and it has no parameters."""
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            replica._modules[name] = child if child is None else replicas[child]
        for name, parameter in module._parameters.items():
            replica._parameters.pop(name, None)
            setattr(replica, name, parameter if parameter is None else parameter.detach())
    return replicas[model]


def test_a_replica_of_data_parallel_computes_the_same(model, tiny):
    inputs = tiny.inputs(tiny.lengths)
    # Some processors sum a product with a detached weight in another order.
    torch.testing.assert_close(answer_of(tiny, replicate(model), inputs), answer_of(tiny, model, inputs), **FLOAT_NOISE)


# --- training -------------------------------------------------------------------------------------------------------


def gradients(model, tiny):
    inputs = tiny.inputs(tiny.lengths)
    model.train().zero_grad()
    torch.manual_seed(0)  # of dropout
    tiny.losses(model, inputs, tiny.labels(len(tiny.lengths))).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.needs("training")
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(row, model, tiny, use_reentrant):
    plain = gradients(tiny_model(row, type(model)), tiny)
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    checkpointed = gradients(model, tiny)
    for name, gradient in plain.items():
        if gradient is None:
            assert checkpointed[name] is None, name
            continue
        # Reentrant checkpoints add a parameter's gradients in another order.
        bound = 1e-7 + 1e-5 * torch.linalg.vector_norm(gradient) if use_reentrant else 0
        assert checkpointed[name] is not None, name
        assert torch.linalg.vector_norm(checkpointed[name] - gradient) <= bound, name


@pytest.mark.needs("training")
def test_every_parameter_gets_a_gradient(model, tiny):
    for name, gradient in gradients(model, tiny).items():
        frozen = any(pattern in name for pattern in tiny.frozen)
        assert frozen == (gradient is None or not gradient.any()), name


@pytest.mark.needs("training")
def test_training_on_a_batch_lowers_its_loss(model, tiny):
    model, inputs = model.train(), tiny.inputs(tiny.lengths)
    labels = tiny.labels(len(tiny.lengths))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = tiny.losses(model, inputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(torch.isfinite, torch.tensor(losses)))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.needs("linear")
def test_low_rank_adapters_train_save_load_and_merge(row, model_class, model, tiny, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    inputs, labels = tiny.inputs(tiny.lengths), tiny.labels(len(tiny.lengths))
    before = answer_of(tiny, model, inputs)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the first step moves the half that begins at zero, the second one both
        optimizer.zero_grad()
        tiny.losses(adapted.eval(), inputs, labels).backward()
        optimizer.step()
    trained = answer_of(tiny, adapted, inputs)
    assert not torch.allclose(trained, before, **FLOAT_NOISE)
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_model(row, model_class), tmp_path).eval()
    torch.testing.assert_close(answer_of(tiny, loaded, inputs), trained, **FLOAT_NOISE)  # as a replica's
    merged = loaded.merge_and_unload()
    assert type(merged) is model_class
    torch.testing.assert_close(answer_of(tiny, merged, inputs), trained, rtol=1e-4, atol=1e-5)


@pytest.mark.needs("loss")
def test_a_head_is_trained_beside_low_rank_adapters(row, model_class, model, tiny, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    heads = find_heads(model)
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    layer = next(name for name in reversed(layers) if not name.startswith(tuple(heads)))
    inputs, labels = tiny.inputs(tiny.lengths), tiny.labels(len(tiny.lengths))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=[layer], modules_to_save=heads)).eval()
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        tiny.losses(adapted, inputs, labels).backward()
        optimizer.step()
    trained = answer_of(tiny, adapted, inputs)
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(tiny_model(row, model_class), tmp_path / "adapter").eval()
    torch.testing.assert_close(answer_of(tiny, loaded, inputs), trained, **EXACT)
    merged = loaded.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    whole, report = model_class.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values()), report
    torch.testing.assert_close(answer_of(tiny, whole, inputs), trained, rtol=1e-4, atol=1e-5)
    changed = {name for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in before if name.startswith(f"{layer}.weight")} <= changed
    assert all(any(name.startswith(head) for name in changed) for head in heads)
    assert all(name.startswith((layer, *heads)) for name in changed)


def find_heads(model):
    """Names of the modules that answer, those of a list one by one."""
    heads = []
    for name, module in model.named_children():
        if "classifier" in name or "heads" in name:
            several = isinstance(module, torch.nn.ModuleList)
            heads += [f"{name}.{index}" for index in range(len(module))] if several else [name]
    assert heads
    return heads


@pytest.mark.needs("linear")
def test_low_rank_adapters_get_gradients_through_reentrant_checkpoints(row, model_class, model, tiny):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    inputs, labels = tiny.inputs(tiny.lengths), tiny.labels(len(tiny.lengths))
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    tiny.losses(adapted.train(), inputs, labels).backward()
    without = [name for name, value in adapted.named_parameters() if value.requires_grad and value.grad is None]
    assert not without


# --- compilers and exporters ----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh_compiler():
    """Dynamo counts the graphs of one line of code over all classes."""
    yield
    torch._dynamo.reset()


@pytest.fixture
def shallow(row, model_class, tiny):
    """The class with one layer of a kind: tracing more of the same would prove nothing else."""
    one = {name: 1 for name in ("num_hidden_layers", "num_temporal_layers") if name in tiny.config}
    return tiny_model(row, model_class, **one)


@pytest.mark.needs("compilation")
def test_compiles_to_one_graph(shallow, tiny):
    inputs = tiny.inputs(tiny.lengths)  # with padding
    compiled = torch.compile(shallow, fullgraph=True, backend="eager")  # what comes after the graph is not ours to test
    torch.testing.assert_close(answer_of(tiny, compiled, inputs), answer_of(tiny, shallow, inputs), **noise_of(tiny))


def inputs_to_export(tiny):
    """A padded batch of 2; others of 1 and 3, and two of other lengths; and which axes differ between them."""
    padded, *longer = (tiny.inputs([length + more for length in tiny.lengths]) for more in (0, 3, 8))
    inputs = first_items(padded, 2)
    others = [first_items(padded, 1), padded, *(first_items(batch, 2) for batch in longer)]
    dynamic = {}
    for name, value in inputs.items():
        dynamic[name] = None
        if isinstance(value, torch.Tensor):
            differ = [axis for axis in range(value.ndim) if len({x[name].shape[axis] for x in [inputs, *others]}) > 1]
            dynamic[name] = dict.fromkeys(differ, torch.export.Dim.AUTO)
    return inputs, others, dynamic


@pytest.mark.slow
@pytest.mark.needs("compilation")
def test_one_exported_program_answers_any_batch_and_length(shallow, tiny):
    inputs, others, dynamic = inputs_to_export(tiny)
    program = torch.export.export(shallow, args=(), kwargs=inputs, dynamic_shapes=dynamic).module()
    for other in others:
        torch.testing.assert_close(
            pick_answer(tiny, program(**other)), answer_of(tiny, shallow, other), **noise_of(tiny)
        )


@pytest.mark.slow
@pytest.mark.needs("compilation")
def test_transformers_own_exporter_answers_any_batch_and_length(shallow, tiny):
    exporters = pytest.importorskip("transformers.exporters", reason="this transformers has no exporters")
    inputs, others, dynamic = inputs_to_export(tiny)
    config = exporters.DynamoConfig(dynamic=True, dynamic_shapes=dynamic)
    exported = exporters.DynamoExporter().export(shallow, copy.deepcopy(inputs), config=config)
    run = exported.module() if hasattr(exported, "module") else exported  # older versions return torch's own program
    for other in others:
        torch.testing.assert_close(pick_answer(tiny, run(**other)), answer_of(tiny, shallow, other), **noise_of(tiny))


@pytest.mark.slow
@pytest.mark.needs("compilation")
def test_an_onnx_graph_computes_the_same(shallow, tiny):
    exporters = pytest.importorskip("transformers.exporters", reason="this transformers has no exporters")
    inputs, others, dynamic = inputs_to_export(tiny)
    config = exporters.OnnxConfig(dynamic=True, dynamic_shapes=dynamic)
    exported = exporters.OnnxExporter().export(shallow, copy.deepcopy(inputs), config=config)
    for other in others:
        answer, expected = pick_answer(tiny, exported(**other)), answer_of(tiny, shallow, other)
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_the_suite_cannot_reach_the_network():
    import socket

    with pytest.raises(OSError, match="must not open connections"), socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))  # an address reserved for documentation
