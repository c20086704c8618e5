"""What every diffusers pipeline of the zoo keeps, and every scheduler of its own."""

import contextlib
import copy
import inspect
import io
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from contract.diffusion import PIPELINES, SCHEDULERS, TinyPipeline, find_public_classes
from diffusers import DiffusionPipeline, SchedulerMixin
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback, SDCFGCutoffCallback
from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor
from peft import LoraConfig, get_peft_model_state_dict

from avzoo import zoo

EXACT = {"rtol": 0, "atol": 0}
NEAR = {"rtol": 1e-3, "atol": 1e-4}  # sums in another order, and steps of a network that amplifies what they differ by


@pytest.fixture(scope="module", params=[row for row in zoo.ROWS if row.diffusion_pipeline], ids=lambda row: row.name)
def tiny(request) -> TinyPipeline:
    name = request.param.diffusion_pipeline
    if name not in PIPELINES:
        pytest.fail(f"{name} has no entry in tests/contract/diffusion.py; every diffusers pipeline needs one")
    return PIPELINES[name]


@pytest.fixture(scope="module")
def made(tiny) -> DiffusionPipeline:
    return tiny.assemble()


@pytest.fixture
def pipe(tiny, made) -> DiffusionPipeline:
    """With the networks of all the tests; they change none."""
    return quiet(tiny.pipeline_class(**made.components))


@pytest.fixture(scope="module")
def expected(tiny, made) -> list[torch.Tensor]:
    """The result of `call` with nothing else said."""
    return call(tiny, made)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def call(tiny: TinyPipeline, pipe: DiffusionPipeline, arguments: Mapping[str, Any] | None = None, **options: Any):
    """The results, item by item; by default of the first item."""
    arguments = tiny.item(0) if arguments is None else arguments
    defaults = {**tiny.options, "output_type": "pt", "generator": seeded(0)}
    return list(pipe(**{**arguments, **defaults, **options}).audios)


def networks_of(pipe: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    return {name: component for name, component in pipe.components.items() if isinstance(component, torch.nn.Module)}


def quiet(pipe: DiffusionPipeline) -> DiffusionPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(actual.float() - expected) / torch.linalg.vector_norm(expected))


def settings_of(pipe: DiffusionPipeline) -> dict[str, Any]:
    """What it is told beside its components, as JSON has it."""
    config = {name: value for name, value in pipe.config.items() if name[0] != "_" and name not in pipe.components}
    return json.loads(json.dumps(config))


# --- what it is made of -----------------------------------------------------------------------------------------------


def test_components_make_the_same_pipeline(tiny, made, expected):
    again = quiet(tiny.pipeline_class(**made.components))
    assert set(made.components) == set(tiny.components())
    torch.testing.assert_close(call(tiny, again), expected, **EXACT)


def test_settings_stay_in_a_pipeline_made_of_another(tiny, made):
    """They are no components: `from_pipe` takes them along, as diffusers' own pipelines have it."""
    told = tell(tiny, made)
    again = quiet(tiny.pipeline_class.from_pipe(told))
    assert settings_of(again) == settings_of(told)
    assert [name for name in tiny.settings if settings_of(told)[name] == settings_of(made)[name]] == []
    torch.testing.assert_close(call_by_settings(tiny, again), call_by_settings(tiny, told), **EXACT)


def tell(tiny: TinyPipeline, made: DiffusionPipeline) -> DiffusionPipeline:
    """A pipeline with settings of its own."""
    return quiet(tiny.pipeline_class(**made.components, **tiny.settings))


def call_by_settings(tiny: TinyPipeline, pipe: DiffusionPipeline) -> list[torch.Tensor]:
    """A call that leaves out what the settings decide about."""
    return call(tiny, pipe, **dict.fromkeys(tiny.defaulted))


def test_a_saved_pipeline_has_the_same_settings_and_weights_and_computes_the_same(tiny, made, tmp_path):
    told = tell(tiny, made)
    told.save_pretrained(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pickle", ".pkl")]
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert {name for name, value in index.items() if isinstance(value, list)} == set(told.components)
    expected = call_by_settings(tiny, told)
    for pipeline_class in (tiny.pipeline_class, DiffusionPipeline):
        loaded = quiet(pipeline_class.from_pretrained(tmp_path))
        assert type(loaded) is tiny.pipeline_class
        assert settings_of(loaded) == settings_of(told)
        for name, network in networks_of(loaded).items():
            written = getattr(told, name).state_dict()
            torch.testing.assert_close(dict(network.state_dict()), dict(written), **EXACT)
        torch.testing.assert_close(call_by_settings(tiny, loaded), expected, **NEAR)
    half = quiet(DiffusionPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16))
    assert {network.dtype for network in networks_of(half).values()} == {torch.bfloat16}
    assert call_by_settings(tiny, half)[0].isfinite().all()


def test_components_that_can_be_left_out_are_listed_and_stay_out(tiny, made, tmp_path):
    parameters = inspect.signature(tiny.pipeline_class.__init__).parameters
    optional = {name for name in made.components if parameters[name].default is None}
    assert set(tiny.pipeline_class._optional_components) == optional
    assert {name for names in tiny.without for name in names} == optional
    for number, (missing, arguments) in enumerate(tiny.without.items()):
        folder = tmp_path / str(number)
        less = quiet(tiny.pipeline_class(**{**made.components, **dict.fromkeys(missing)}))
        less.save_pretrained(folder)
        assert not any((folder / name).exists() for name in missing)
        loaded = quiet(tiny.pipeline_class.from_pretrained(folder))
        assert all(getattr(loaded, name) is None for name in missing)
        torch.testing.assert_close(call(tiny, loaded, **arguments), call(tiny, less, **arguments), **NEAR)


def test_offloading_knows_every_network_in_the_order_of_use(tiny, pipe):
    sequence = pipe.model_cpu_offload_seq.split("->")
    assert sorted(sequence) == sorted(networks_of(pipe))
    used: list[str] = []
    with contextlib.ExitStack() as stack:
        for name, network in networks_of(pipe).items():
            for inner in network.modules():  # of a VAE, the decoder alone is called
                hook = inner.register_forward_pre_hook(lambda module, args, name=name: used.append(name))
                stack.callback(hook.remove)
        call(tiny, pipe)
    order = list(dict.fromkeys(used))
    assert order == [name for name in sequence if name in order]
    assert len(order) >= 4


def test_every_network_moves_with_the_pipeline(tiny):
    pipe = tiny.assemble()
    for device in ("cpu", "meta"):
        pipe.to(device)
        assert pipe.device.type == device
        for name, network in networks_of(pipe).items():
            assert {tensor.device.type for tensor in network.parameters()} == {device}, name


def test_a_call_leaves_every_network_as_it_was(tiny, pipe):
    networks = networks_of(pipe)
    weights = {name: copy.deepcopy(dict(network.state_dict())) for name, network in networks.items()}
    processors = {name: dict(getattr(network, "attn_processors", {})) for name, network in networks.items()}
    settings = dict(pipe.scheduler.config)
    call(tiny, pipe)
    for name, network in networks.items():
        torch.testing.assert_close(dict(network.state_dict()), weights[name], **EXACT)
        assert dict(getattr(network, "attn_processors", {})) == processors[name]
        assert not network.training
    assert dict(pipe.scheduler.config) == settings


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_seed_decides(tiny, pipe, expected):
    state = torch.get_rng_state()
    torch.testing.assert_close(call(tiny, pipe), expected, **EXACT)
    torch.testing.assert_close(torch.get_rng_state(), state, **EXACT)
    assert distance(call(tiny, pipe, generator=seeded(1))[0], expected[0]) > 0.01


def test_a_batch_with_a_generator_for_each_item_is_its_items(tiny, pipe):
    together = call(tiny, pipe, tiny.items, generator=[seeded(index) for index in range(3)])
    for index, result in enumerate(together):
        alone = call(tiny, pipe, tiny.item(index), generator=seeded(index))
        torch.testing.assert_close([result], alone, **NEAR)
    with pytest.raises(ValueError, match=r"`generator` is a list of 2, expected one for each of 3"):
        call(tiny, pipe, tiny.items, generator=[seeded(0), seeded(1)])


def test_several_results_of_an_item_are_adjacent(tiny, pipe, expected):
    parameters = inspect.signature(tiny.pipeline_class.__call__).parameters
    if tiny.num_outputs not in parameters:  # the reason
        assert " " in tiny.num_outputs
        assert not [
            name for name in parameters if name.startswith("num_") and name.endswith(("_per_prompt", "_outputs"))
        ]
        repeated = {name: [value, value] for name, value in tiny.item(0).items()}
        first, second = call(tiny, pipe, repeated, generator=[seeded(0), seeded(1)])
        torch.testing.assert_close([first, second], expected + call(tiny, pipe, generator=seeded(1)), **NEAR)
        return
    two = {name: values[:2] for name, values in tiny.items.items()}
    four = call(tiny, pipe, two, **{tiny.num_outputs: 2}, generator=[seeded(index) for index in range(4)])
    for index, result in enumerate(four):
        torch.testing.assert_close([result], call(tiny, pipe, tiny.item(index // 2), generator=seeded(index)), **NEAR)


def test_noise_that_is_passed_is_begun_with(tiny, pipe, expected):
    (result,) = call(tiny, pipe, **tiny.noise(1))
    torch.testing.assert_close(call(tiny, pipe, **tiny.noise(1), generator=seeded(1)), [result], **EXACT)
    assert distance(result, expected[0]) > 0.01
    (name,) = tiny.noise(2)
    with pytest.raises(ValueError, match=name):
        call(tiny, pipe, **tiny.noise(2))


def test_a_tuple_holds_the_same(tiny, pipe, expected):
    arguments = {**tiny.item(0), **tiny.options, "output_type": "pt"}
    named, bare = pipe(**arguments, generator=seeded(0)), pipe(**arguments, generator=seeded(0), return_dict=False)
    assert type(bare) is tuple
    bare_lists, named_lists = ([list(values) for values in results] for results in (bare, named.to_tuple()))
    torch.testing.assert_close(bare_lists, named_lists, **EXACT)
    torch.testing.assert_close(bare_lists[0], expected, **EXACT)


def test_results_come_in_every_type(tiny, pipe, expected):
    for output_type, kind in tiny.output_types.items():
        (result,) = call(tiny, pipe, output_type=output_type)
        assert isinstance(result, kind), output_type
        assert result.ndim == tiny.result_axes.get(output_type, 1), output_type
        assert str(result.dtype).endswith("float32"), output_type
        assert np.isfinite(np.asarray(result)).all(), output_type
        assert not getattr(result, "requires_grad", False), output_type
        if output_type in ("np", "pt"):
            np.testing.assert_array_equal(result, expected[0], err_msg=output_type)
    with pytest.raises(ValueError, match="`output_type` must be"):
        call(tiny, pipe, output_type="pil")


def test_an_unknown_keyword_is_a_type_error(tiny, pipe):
    with pytest.raises(TypeError, match="guidance_rescale"):
        call(tiny, pipe, guidance_rescale=0.7)
    with pytest.raises(TypeError, match="safety_checker"):
        tiny.assemble(safety_checker=None)


# --- callbacks and progress -------------------------------------------------------------------------------------------


def test_a_callback_is_given_what_it_asks_for(tiny, pipe, expected):
    seen: list[tuple] = []

    def note(given, step, time, tensors):
        seen.append((given is pipe, step, float(time), tuple(tensors)))
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
        return tensors

    torch.testing.assert_close(call(tiny, pipe, callback_on_step_end=note), expected, **EXACT)
    assert pipe.num_timesteps == len(pipe.scheduler.timesteps) == 2
    times = [float(time) for time in pipe.scheduler.timesteps]
    assert seen == [(True, step, time, (tiny.state,)) for step, time in enumerate(times)]
    for names in ([], pipe._callback_tensor_inputs):
        seen.clear()
        options = {"callback_on_step_end": note, "callback_on_step_end_tensor_inputs": names}
        torch.testing.assert_close(call(tiny, pipe, **options), expected, **EXACT)
        assert [tuple(tensors) for *_, tensors in seen] == [tuple(names)] * 2
    with pytest.raises(ValueError, match=r"`callback_on_step_end_tensor_inputs`.*image_embeds"):
        call(tiny, pipe, callback_on_step_end_tensor_inputs=["image_embeds"])


class Doubling(PipelineCallback):
    """A callback of diffusers' kind: it names its tensors, and acts at one step."""

    def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
        (name,) = self.tensor_inputs
        if step_index == self.config.cutoff_step_index:
            callback_kwargs[name] = 2 * callback_kwargs[name]
        return callback_kwargs


def test_callback_objects_of_diffusers_name_their_tensors(tiny, pipe, expected):
    def double(given, step, time, tensors):
        return {tiny.state: 2 * tensors[tiny.state]} if step == 0 else {}

    wanted = call(tiny, pipe, callback_on_step_end=double)
    assert distance(wanted[0], expected[0]) > 0.01
    kind = type("Doubling", (Doubling,), {"tensor_inputs": [tiny.state]})
    callback = kind(cutoff_step_ratio=None, cutoff_step_index=0)
    for one in (callback, MultiPipelineCallbacks([callback])):
        options = {"callback_on_step_end": one, "callback_on_step_end_tensor_inputs": []}
        torch.testing.assert_close(call(tiny, pipe, **options), wanted, **EXACT)
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=0.5, cutoff_step_index=None)
    with pytest.raises(ValueError, match=r"`SDCFGCutoffCallback.tensor_inputs` must be one of .*got 'prompt_embeds'"):
        call(tiny, pipe, callback_on_step_end=cutoff)


@pytest.mark.parametrize("name", ["_interrupt", "interrupt"])
def test_a_callback_stops_the_walk(tiny, pipe, name):
    steps: list[int] = []

    def stop(given, step, time, tensors):
        steps.append(step)
        setattr(given, name, True)

    assert pipe.interrupt is False
    (stopped,) = call(tiny, pipe, callback_on_step_end=stop, num_inference_steps=4)
    assert steps == [0]
    assert pipe.interrupt is True
    (whole,) = call(tiny, pipe, num_inference_steps=4)
    assert pipe.interrupt is False  # the next call isn't stopped
    assert stopped.shape == whole.shape
    assert stopped.isfinite().all()
    assert distance(stopped, whole) > 0.01


def test_a_bar_is_shown_where_it_is_wanted(tiny, pipe, capfd):
    call(tiny, pipe)
    assert capfd.readouterr() == ("", "")
    shown = io.StringIO()
    pipe.set_progress_bar_config(disable=False, file=shown, desc="walking")
    call(tiny, pipe)
    assert "walking" in shown.getvalue()
    assert "2/2" in shown.getvalue()
    assert capfd.readouterr() == ("", "")


def test_nothing_prints_or_warns(tiny, made, tmp_path, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        made.save_pretrained(tmp_path)
        call(tiny, quiet(tiny.pipeline_class.from_pretrained(tmp_path)))
    assert capfd.readouterr().out == ""
    assert caplog.records == []


# --- precision and memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_and_near(tiny, expected, dtype):
    half = tiny.assemble()
    half.to(dtype)
    assert {network.dtype for network in networks_of(half).values()} == {dtype}
    (result,), (exact,) = call(tiny, half), expected
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert distance(result, exact) < tiny.half_distance


def test_networks_whose_layers_come_one_by_one_compute_the_same(tiny, expected):
    """What sequential offloading does, from this memory to itself."""
    pipe = tiny.assemble()
    for name, network in networks_of(pipe).items():
        cpu_offload(network, torch.device("cpu"), offload_buffers=True)
        assert any(tensor.is_meta for tensor in network.parameters()), name
    torch.testing.assert_close(call(tiny, pipe), expected, **NEAR)


def test_attention_is_sliced_where_it_can_be(tiny, expected):
    pipe = tiny.assemble()
    pipe.enable_attention_slicing(1)
    torch.testing.assert_close(call(tiny, pipe), expected, **NEAR)
    inner = [module for network in networks_of(pipe).values() for module in network.modules()]
    sliced = [module for module in inner if isinstance(getattr(module, "processor", None), SlicedAttnProcessor)]
    assert bool(sliced) != bool(tiny.no_attention_slicing)


def test_attention_may_be_computed_in_any_way(tiny, expected):
    """What computes attention is each user's choice, and stays it after a call."""
    pipe = tiny.assemble()
    networks = [network for network in networks_of(pipe).values() if hasattr(network, "set_attn_processor")]
    assert bool(networks) != bool(tiny.no_attention_slicing)
    ways = {
        "AttnProcessor": lambda network: network.set_default_attn_processor(),
        "AttnProcessor2_0": lambda network: network.set_attn_processor(AttnProcessor2_0()),
        "FusedAttnProcessor2_0": lambda network: network.fuse_qkv_projections(),
        "SlicedAttnProcessor": lambda network: network.set_attn_processor(SlicedAttnProcessor(1)),
    }
    for network in networks:
        for name, choose in ways.items():
            choose(network)
            torch.testing.assert_close(call(tiny, pipe), expected, **NEAR)
            chosen = {type(processor).__name__ for processor in network.attn_processors.values()}
            assert chosen == {name} or (name == "AttnProcessor" and chosen == {"AttnProcessor2_0"})
            if name.startswith("Fused"):
                network.unfuse_qkv_projections()


# --- adapters ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapted(tiny) -> DiffusionPipeline:
    """With an adapter of each network that can have one, after a step of training."""
    pipe = tiny.assemble()
    for number, name in enumerate(pipe._lora_loadable_modules):
        network = getattr(pipe, name)
        layers = [layer for layer, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
        torch.manual_seed(number)
        network.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=layers, init_lora_weights=False))
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        sum(parameter.square().sum() for parameter in trained).backward()
        torch.optim.SGD(trained, lr=0.01).step()
    return pipe


def layers_of(pipe: DiffusionPipeline, name: str) -> dict[str, Any]:
    network = getattr(pipe, name)
    return {
        f"{name}_lora_layers": get_peft_model_state_dict(network),
        f"{name}_lora_adapter_metadata": network.peft_config["default"].to_dict(),
    }


def test_adapters_are_saved_loaded_weighted_fused_and_unloaded(tiny, adapted, expected, tmp_path):
    wanted = call(tiny, adapted)
    names = adapted._lora_loadable_modules
    assert distance(wanted[0], expected[0]) > 0.01
    adapted.save_lora_weights(
        tmp_path, **{key: value for name in names for key, value in layers_of(adapted, name).items()}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_lora_weights.safetensors"]
    pipe = tiny.assemble()
    pipe.load_lora_weights(tmp_path)
    assert pipe.get_list_adapters() == {name: ["default_0"] for name in names}
    torch.testing.assert_close(call(tiny, pipe), wanted, **EXACT)
    pipe.disable_lora()
    torch.testing.assert_close(call(tiny, pipe), expected, **NEAR)
    pipe.enable_lora()
    pipe.load_lora_weights(tmp_path, adapter_name="second")
    pipe.set_adapters(["second"], [0.0])
    torch.testing.assert_close(call(tiny, pipe), expected, **NEAR)
    pipe.set_adapters(["default_0"])
    pipe.delete_adapters("second")
    pipe.fuse_lora(components=names)
    torch.testing.assert_close(call(tiny, pipe), wanted, **NEAR)
    pipe.unfuse_lora(components=names)
    pipe.unload_lora_weights()
    assert pipe.get_list_adapters() == {}
    torch.testing.assert_close(call(tiny, pipe), expected, **NEAR)


def test_adapters_of_one_network_leave_the_others_alone(tiny, adapted, expected, tmp_path):
    for name in adapted._lora_loadable_modules:
        adapted.save_lora_weights(tmp_path / name, **layers_of(adapted, name))
        pipe = tiny.assemble()
        pipe.load_lora_weights(str(tmp_path / name))
        assert pipe.get_list_adapters() == {name: ["default_0"]}
        assert distance(call(tiny, pipe)[0], expected[0]) > 0.001


def test_an_adapter_is_put_in_place_of_another(tiny, adapted, tmp_path):
    names, wanted = adapted._lora_loadable_modules, call(tiny, adapted)
    written = [{}, {}]
    for number, arguments in enumerate(written):
        for name in names:
            arguments |= copy.deepcopy(layers_of(adapted, name))
            if number:
                arguments[f"{name}_lora_layers"] = {
                    key: 0 * value for key, value in arguments[f"{name}_lora_layers"].items()
                }
        adapted.save_lora_weights(tmp_path / str(number), **arguments)
    pipe = tiny.assemble()
    pipe.load_lora_weights(tmp_path / "1", adapter_name="one", low_cpu_mem_usage=False)
    assert distance(call(tiny, pipe)[0], wanted[0]) > 0.01
    pipe.load_lora_weights(tmp_path / "0", adapter_name="one", hotswap=True)
    assert pipe.get_list_adapters() == {name: ["one"] for name in names}
    torch.testing.assert_close(call(tiny, pipe), wanted, **EXACT)
    with pytest.raises(ValueError, match="other"):
        pipe.load_lora_weights(tmp_path / "0", adapter_name="other", hotswap=True)


def test_a_pipeline_is_saved_with_its_adapters_fused(tiny, adapted, tmp_path):
    wanted, names = call(tiny, adapted), adapted._lora_loadable_modules
    with pytest.raises(ValueError, match=rf"`{names[0]}` holds adapters.*save_lora_weights.*fuse_lora"):
        adapted.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    adapted.fuse_lora(components=names)
    adapted.unload_lora_weights()
    adapted.save_pretrained(tmp_path)
    torch.testing.assert_close(call(tiny, quiet(tiny.pipeline_class.from_pretrained(tmp_path))), wanted, **NEAR)


def test_files_that_are_no_adapters_of_the_networks_are_told(tiny, adapted, tmp_path):
    name = adapted._lora_loadable_modules[0]
    network = getattr(adapted, name)
    network.save_lora_adapter(tmp_path)
    with pytest.raises(ValueError, match=rf"must name a network, {name} or .*load_lora_adapter\(folder"):
        tiny.assemble().load_lora_weights(tmp_path)
    again = tiny.assemble()
    getattr(again, name).load_lora_adapter(tmp_path, prefix=None, use_safetensors=True)  # the way out
    assert again.get_list_adapters() == {name: ["default_0"]}
    with pytest.raises(TypeError, match="unknown argument `text_encoder_lora_layers`"):
        adapted.save_lora_weights(tmp_path, text_encoder_lora_layers={"a": torch.zeros(1)})
    with pytest.raises(ValueError, match=f"pass at least one of `{name}_lora_layers`"):
        adapted.save_lora_weights(tmp_path)


# --- schedulers -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SCHEDULERS)
def walk(request):
    return SCHEDULERS[request.param]


def test_every_pipeline_and_scheduler_has_an_entry():
    assert {name: tiny.pipeline_class for name, tiny in PIPELINES.items()} == find_public_classes(DiffusionPipeline)
    assert {name: walk.scheduler_class for name, walk in SCHEDULERS.items()} == find_public_classes(SchedulerMixin)


def make_step(walk, scheduler, **options):
    sample = torch.linspace(-2, 2, 24).reshape(2, 1, 3, 4)
    scheduler.set_timesteps(5)
    return scheduler.step(0.1 * sample, scheduler.timesteps[1], sample, **walk.beside, **options)


def test_a_scheduler_is_saved_with_its_settings_and_steps_the_same(walk, tmp_path):
    scheduler = walk.scheduler_class(**walk.settings)
    scheduler.save_pretrained(tmp_path)
    for again in (
        walk.scheduler_class.from_pretrained(tmp_path),
        walk.scheduler_class.from_config(scheduler.config),
        copy.deepcopy(scheduler),
    ):
        assert {name: again.config[name] for name in walk.settings} == walk.settings
        again_step, step = (make_step(walk, one, generator=seeded(0)) for one in (again, scheduler))
        torch.testing.assert_close(again_step.to_tuple(), step.to_tuple(), **EXACT)
        torch.testing.assert_close(again.timesteps, scheduler.timesteps, **EXACT)


def test_a_scheduler_keeps_what_pipelines_ask_of_it(walk):
    scheduler = walk.scheduler_class(**walk.settings)
    sample = torch.linspace(-2, 2, 24).reshape(2, 1, 3, 4)
    before = sample.clone()
    assert isinstance(scheduler.order, int)
    assert scheduler.init_noise_sigma > 0
    assert scheduler.scale_model_input(sample, 0.5).shape == sample.shape
    scheduler.set_timesteps(5, device="cpu")
    assert (scheduler.num_inference_steps, len(scheduler.timesteps)) == (5, 5)
    assert (scheduler.timesteps.diff() < 0).all()
    named, bare = (
        make_step(walk, scheduler, generator=seeded(0)),
        make_step(walk, scheduler, generator=seeded(0), return_dict=False),
    )
    assert named.prev_sample is named[0]
    torch.testing.assert_close(bare, named.to_tuple(), **EXACT)
    torch.testing.assert_close(sample, before, **EXACT)
    assert not torch.equal(make_step(walk, scheduler, generator=seeded(1))[0], bare[0])


def test_what_a_scheduler_cannot_work_with_is_named(walk):
    parameters = set(inspect.signature(walk.scheduler_class.__init__).parameters) - {"self"}
    assert set(walk.settings) == set(walk.bad_values) == parameters
    for name, value in walk.bad_values.items():
        with pytest.raises(ValueError, match=name):
            walk.scheduler_class(**{name: value})
    with pytest.raises(TypeError, match="beta_start"):
        walk.scheduler_class(beta_start=0.1)
    scheduler = walk.scheduler_class()
    with pytest.raises(ValueError, match="set_timesteps"):
        scheduler.step(torch.zeros(2, 1, 3, 4), 0.5, torch.zeros(2, 1, 3, 4), **walk.beside)
    with pytest.raises(ValueError, match="num_inference_steps"):
        scheduler.set_timesteps(0)
