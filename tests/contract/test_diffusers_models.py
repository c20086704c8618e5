"""What every diffusers network of the zoo keeps, in each way it is used in."""

import copy
import functools
import json
import logging
import pickle

import pytest
import torch
from contract.diffusion import NETWORKS, TinyNetwork, find_public_classes
from diffusers import ModelMixin
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_processor import Attention
from diffusers.training_utils import EMAModel
from peft import LoraConfig, get_peft_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

EXACT = {"rtol": 0, "atol": 0}
FLOAT_NOISE = {"rtol": 1e-4, "atol": 1e-5}  # sums in another order, through two dozen layers

CASES = [(name, configuration) for name, tiny in NETWORKS.items() for configuration in tiny.configurations]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}: {case[1]}")
def case(request) -> tuple[TinyNetwork, str]:
    name, configuration = request.param
    return NETWORKS[name], configuration


@pytest.fixture
def tiny(case) -> TinyNetwork:
    return case[0]


@pytest.fixture
def model(case) -> ModelMixin:
    return case[0].make(case[1])


@pytest.fixture
def inputs(tiny, model) -> dict:
    return tiny.inputs(model.config, tiny.lengths)


@torch.no_grad()
def answer_of(model, inputs) -> torch.Tensor:
    return model(**inputs, return_dict=False)[0]


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Of the whole, in parts of what is expected."""
    return float(torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected))


def gradients(model, tiny, inputs) -> dict[str, torch.Tensor | None]:
    model.train().zero_grad()
    tiny.loss(model(**inputs).sample).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def linear_layers(model) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]


def test_every_network_has_an_entry():
    found = find_public_classes(ModelMixin)
    assert {name: tiny.model_class for name, tiny in NETWORKS.items()} == found, "see tests/contract/diffusion.py"


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"variant": "fp16", "max_shard_size": "60KB"}], ids=["whole", "variant-shards"]
)
def test_a_saved_network_has_the_same_weights_and_computes_the_same(model, inputs, tmp_path, options):
    model.save_pretrained(tmp_path, **options)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == bool(options)
    variant = options.get("variant")
    loaded, report = type(model).from_pretrained(tmp_path, variant=variant, output_loading_info=True)
    assert not any(report.values()), report
    assert not loaded.training
    assert settings_of(loaded) == settings_of(model)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), **EXACT)
    torch.testing.assert_close(answer_of(loaded, inputs), answer_of(model, inputs), **FLOAT_NOISE)


def settings_of(model) -> dict:
    """Its config as JSON has it, without what diffusers notes of the config's origin."""
    return {name: value for name, value in json.loads(model.to_json_string()).items() if name[0] != "_"}


def test_a_config_survives_json_and_makes_the_same_network(model, tmp_path):
    model.save_config(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == type(model).__name__
    for config in (model.config, type(model).load_config(tmp_path)):
        again = type(model).from_config(config)
        assert settings_of(again) == settings_of(model)
        shapes = {name: tensor.shape for name, tensor in again.state_dict().items()}
        assert shapes == {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_impossible_config_value_is_named(name, tmp_path):
    tiny = NETWORKS[name]
    model = tiny.make(next(iter(tiny.configurations)))
    model.save_pretrained(tmp_path)
    settings = settings_of(model)
    assert {*tiny.bad_values, *tiny.any_value} == set(settings)
    for field, value in tiny.bad_values.items():
        with pytest.raises(ValueError, match=field):
            type(model)(**{**tiny.config, field: value})
        with pytest.raises(ValueError, match=field):
            type(model).from_config({**settings, field: value})
        with pytest.raises(ValueError, match=field):
            type(model).from_pretrained(tmp_path, **{field: value})


def test_weights_left_on_disk_compute_the_same(model, inputs, tmp_path):
    model.save_pretrained(tmp_path / "model", max_shard_size="60KB")
    placed = type(model).from_pretrained(
        tmp_path / "model",
        device_map="auto",
        max_memory={"cpu": model.get_memory_footprint() // 2},
        offload_folder=tmp_path / "offload",
    )
    assert set(placed.hf_device_map.values()) == {"cpu", "disk"}
    torch.testing.assert_close(answer_of(placed, inputs), answer_of(model, inputs), **FLOAT_NOISE)


# --- calls ------------------------------------------------------------------------------------------------------------


def test_an_unknown_keyword_is_a_type_error(model, inputs):
    with pytest.raises(TypeError, match="audios"):
        model(**inputs, audios=None)


def test_a_tuple_holds_the_same(model, inputs):
    named, bare = model(**inputs), model(**inputs, return_dict=False)
    assert type(bare) is tuple
    assert len(bare) == len(named.to_tuple())
    for one, other in zip(named.to_tuple(), bare, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_a_batch_equals_its_items_and_padding_changes_nothing(model, tiny):
    for lengths in ([tiny.lengths[0]] * 3, tiny.lengths):
        inputs = tiny.inputs(model.config, lengths)
        together = answer_of(model, inputs)
        for index, length in enumerate(lengths):
            alone = answer_of(model, tiny.alone(inputs, index, length))
            torch.testing.assert_close(together[index : index + 1], alone, **FLOAT_NOISE)


def test_evaluation_draws_no_random_numbers(model, inputs):
    state = torch.get_rng_state()
    first = answer_of(model, inputs)
    torch.testing.assert_close(torch.get_rng_state(), state, **EXACT)
    torch.testing.assert_close(answer_of(model, inputs), first, **EXACT)


def test_a_copy_and_a_pickle_compute_the_same(model, inputs):
    expected = answer_of(model, inputs)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(answer_of(again, inputs), expected, **FLOAT_NOISE)


def test_nothing_prints_or_warns(model, tiny, inputs, tmp_path, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path)
        answer_of(loaded, inputs)
        gradients(loaded, tiny, inputs)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# --- precision and memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_and_near(model, inputs, dtype, tmp_path):
    exact = answer_of(model, inputs)
    model.save_pretrained(tmp_path)
    for half in (model.to(dtype), type(model).from_pretrained(tmp_path, torch_dtype=dtype)):
        assert half.dtype == dtype
        answer = answer_of(half, inputs)
        assert answer.isfinite().all()
        assert 0 < distance(answer, exact) < 0.05
    kept = {name.split(".")[0] for name, tensor in half.state_dict().items() if tensor.dtype == torch.float32}
    assert kept == set(half._keep_in_fp32_modules) & {name for name, _ in half.named_children()}


@pytest.mark.parametrize("compute_dtype", [torch.float32, torch.bfloat16])
def test_weights_stored_in_eight_bits_compute_nearly_the_same(model, inputs, compute_dtype):
    exact = answer_of(model, inputs)
    model.to(compute_dtype)
    size = model.get_memory_footprint()
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=compute_dtype)
    assert model.get_memory_footprint() < 0.75 * size
    answer = answer_of(model, inputs)
    assert answer.isfinite().all()
    assert 0 < distance(answer, exact) < 0.3  # 4 bits through two dozen layers


@pytest.mark.parametrize("options", [{"offload_type": "leaf_level"}, {"offload_type": "block_level"}], ids=str)
def test_weights_moved_in_groups_compute_the_same(model, inputs, options):
    expected = answer_of(model, inputs)
    model.enable_group_offload(torch.device("cpu"), num_blocks_per_group=1, **options)
    torch.testing.assert_close(answer_of(model, inputs), expected, **FLOAT_NOISE)


# --- attention --------------------------------------------------------------------------------------------------------


class CountedFunctions(TorchFunctionMode):
    """How often the functions of torch are called, by name."""

    def __init__(self):
        super().__init__()
        self.calls: dict[str, int] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        self.calls[name] = self.calls.get(name, 0) + 1
        return function(*args, **(kwargs or {}))


def test_there_is_nothing_to_swap_or_slice_in_attention(tiny, model, inputs):
    """The reason in `no_attention_processors`: attention is torch's fused function alone."""
    assert tiny.no_attention_processors
    assert not any(isinstance(module, Attention | AttentionModuleMixin) for module in model.modules())
    promised = {"attn_processors", "set_attn_processor", "set_attention_slice", "fuse_qkv_projections"}
    assert not any(hasattr(module, name) for module in model.modules() for name in promised)
    attentions = sum(hasattr(module, "to_q") for module in model.modules())
    with CountedFunctions() as counted:
        expected = answer_of(model, inputs)
    assert counted.calls["scaled_dot_product_attention"] == attentions > 0
    assert not {"softmax", "bmm", "baddbmm"} & set(counted.calls)
    with sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(answer_of(model, inputs), expected, **FLOAT_NOISE)


# --- training ---------------------------------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient(model, tiny, inputs):
    without = [
        name for name, gradient in gradients(model, tiny, inputs).items() if gradient is None or not gradient.any()
    ]
    assert without == []


@pytest.mark.parametrize("use_reentrant", [None, False, True])
def test_gradient_checkpointing_gives_the_same_gradients(case, model, tiny, inputs, use_reentrant):
    expected = gradients(tiny.make(case[1]), tiny, inputs)
    function = functools.partial(checkpoint, use_reentrant=use_reentrant)
    model.enable_gradient_checkpointing(None if use_reentrant is None else function)
    assert model.is_gradient_checkpointing
    same = {"rtol": 1e-4, "atol": 1e-4} if use_reentrant else EXACT  # adds up what comes from two ways in another order
    torch.testing.assert_close(gradients(model, tiny, inputs), expected, **same)
    model.disable_gradient_checkpointing()
    assert not model.is_gradient_checkpointing


def test_training_on_a_batch_lowers_its_loss(model, tiny, inputs):
    model.train()
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(10):
        loss = tiny.loss(model(**inputs).sample)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(torch.isfinite, torch.tensor(losses)))
    assert losses[-1] < 0.8 * losses[0]


def test_averaged_weights_are_saved_and_loaded(model, tiny, inputs, tmp_path):
    average = EMAModel(model.parameters(), decay=0.5, model_cls=type(model), model_config=model.config)
    before, at_first = copy.deepcopy(model.state_dict()), answer_of(model, inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    average.step(model.parameters())
    average.save_pretrained(tmp_path)
    loaded = EMAModel.from_pretrained(tmp_path, type(model))
    assert (loaded.decay, loaded.optimization_step) == (0.5, 1)
    torch.testing.assert_close(loaded.shadow_params, average.shadow_params, **EXACT)
    loaded.store(model.parameters())
    loaded.copy_to(model.parameters())
    weights = torch.nn.utils.parameters_to_vector(model.parameters())
    start = torch.cat([before[name].flatten() for name, _ in model.named_parameters()])
    assert 0 < (weights - start).abs().max() <= 0.11 * start.abs().max()
    loaded.restore(model.parameters())
    assert distance(answer_of(model, inputs), at_first) > 0
    averaged = type(model).from_pretrained(tmp_path)  # the folder is one of the network, too
    torch.testing.assert_close([*averaged.parameters()], average.shadow_params, check_stride=False, **EXACT)


def train_one_step(model, tiny, inputs) -> set[str]:
    """Names of the parameters that one step of training has changed."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    tiny.loss(model(**inputs).sample).backward()
    optimizer.step()
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


def make_lora(model) -> LoraConfig:
    """On all linear layers; both of its maps count from the first step on."""
    return LoraConfig(r=2, lora_alpha=4, target_modules=linear_layers(model), init_lora_weights=False)


def test_an_adapter_is_trained_saved_loaded_and_merged(case, model, tiny, inputs, tmp_path):
    """With diffusers' own methods."""
    base = answer_of(model, inputs)
    torch.manual_seed(1)
    model.add_adapter(make_lora(model))
    changed = train_one_step(model, tiny, inputs)
    assert changed
    assert all("lora_" in name for name in changed)
    expected = answer_of(model, inputs)
    assert distance(expected, base) > 1e-3
    with pytest.raises(ValueError, match=r"holds adapters.*save_lora_adapter.*fuse_lora"):
        model.save_pretrained(tmp_path)  # diffusers' own writes what no network can load
    model.save_lora_adapter(tmp_path)
    again = tiny.make(case[1])
    again.load_lora_adapter(tmp_path, prefix=None, use_safetensors=True)
    torch.testing.assert_close(answer_of(again, inputs), expected, **FLOAT_NOISE)
    again.disable_lora()
    torch.testing.assert_close(answer_of(again, inputs), base, **FLOAT_NOISE)
    again.enable_lora()
    again.fuse_lora()
    assert distance(answer_of(again, inputs), expected) < 1e-4
    again.unload_lora()
    again.save_pretrained(tmp_path / "fused")
    assert distance(answer_of(type(again).from_pretrained(tmp_path / "fused"), inputs), expected) < 1e-4
    model.unload_lora()
    assert distance(answer_of(model, inputs), expected) > 1e-3
    torch.testing.assert_close(answer_of(model, inputs), base, **FLOAT_NOISE)


def test_an_adapter_of_peft_is_trained_saved_loaded_and_merged(case, model, tiny, inputs, tmp_path):
    torch.manual_seed(1)
    adapted = get_peft_model(model, make_lora(model))
    assert len([name for name, _ in adapted.named_parameters() if "lora_A" in name]) == len(
        linear_layers(tiny.make(case[1]))
    )
    assert all("lora_" in name for name in train_one_step(adapted, tiny, inputs))
    expected = answer_of(adapted, inputs)
    adapted.save_pretrained(tmp_path)
    loaded = type(adapted).from_pretrained(tiny.make(case[1]), tmp_path)
    torch.testing.assert_close(answer_of(loaded, inputs), expected, **FLOAT_NOISE)
    merged = adapted.merge_and_unload()
    assert type(merged) is tiny.model_class
    assert distance(answer_of(merged, inputs), expected) < 1e-4


# --- graphs, once for each class --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_compiles_to_one_graph_with_a_mask(name):
    tiny = NETWORKS[name]
    model = tiny.make(next(iter(tiny.configurations)))
    inputs = tiny.inputs(model.config, tiny.lengths)
    compiled = torch.compile(model, fullgraph=True, backend="eager")  # what comes after the graph is not ours to test
    torch.testing.assert_close(answer_of(compiled, inputs), answer_of(model, inputs), **FLOAT_NOISE)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_one_exported_program_takes_other_batches_and_lengths(name):
    tiny = NETWORKS[name]
    model = tiny.make(next(iter(tiny.configurations)))
    inputs = tiny.inputs(model.config, tiny.lengths[:2])
    program = torch.export.export(
        model, args=(), kwargs=inputs, dynamic_shapes={key: dict(tiny.dynamic[key]) for key in inputs}
    )
    run = program.module()
    for lengths, frames in (((3,), 8), ((7, 2, 1), 12), ((1, 1), 4)):
        other = tiny.inputs(model.config, lengths, frames)
        torch.testing.assert_close(run(**other).sample.detach(), answer_of(model, other), **FLOAT_NOISE)
