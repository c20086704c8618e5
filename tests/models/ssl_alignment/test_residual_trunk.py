"""The residual trunk: its folded form computes what convolutions and norms do, whatever happens to the weights."""

import copy
import io
import pickle

import peft
import pytest
import torch
from torch import nn

from avzoo.models.ssl_alignment.residual_trunk import ResidualTrunk, TrunkConvolution

WIDTHS, DEPTHS, STRIDES = (6, 8, 10, 12), (2, 1, 2, 1), (1, 2, 2, 1)


def make_trunk(seed: int = 0, channels: int = 3) -> ResidualTrunk:
    """A trunk in evaluation, with drawn weights and statistics of its norms."""
    draw = torch.Generator().manual_seed(seed)
    trunk = ResidualTrunk(channels, WIDTHS, DEPTHS, STRIDES).eval()
    for name, value in trunk.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=draw)
        elif value.ndim == 1:
            value.normal_(0.5, 0.3, generator=draw)
        elif value.ndim == 4:
            value.normal_(0, value[0].numel() ** -0.5, generator=draw)
    return trunk


def draw_inputs(rows: int = 50, columns: int = 70, channels: int = 3, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, rows, columns, generator=torch.Generator().manual_seed(rows))


def compute_plainly(trunk: ResidualTrunk, inputs: torch.Tensor) -> torch.Tensor:
    """The same in float64 from the weights alone: convolution, norm, ReLU, residual."""
    weights = {name: value.detach().double() for name, value in trunk.state_dict().items()}

    def convolve(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight = weights[f"{name}.convolution.weight"]
        x = nn.functional.conv2d(x, weight, None, stride, padding=weight.shape[-1] // 2)
        mean, variance, scale, shift = (
            weights[f"{name}.norm.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = nn.functional.max_pool2d(convolve("stem", inputs.double(), 2).relu(), 3, 2, 1)
    for stage, (depth, first_stride) in enumerate(zip(DEPTHS, STRIDES, strict=True)):
        for block in range(depth):
            name, stride = f"stages.{stage}.{block}", first_stride if block == 0 else 1
            residual = convolve(f"{name}.shortcut", x, stride) if f"{name}.shortcut.norm.bias" in weights else x
            x = (convolve(f"{name}.conv2", convolve(f"{name}.conv1", x, stride).relu()) + residual).relu()
    return x


def check_equal(trunk: ResidualTrunk, tolerance: float = 1e-5, **sizes: int) -> None:
    """The trunk in evaluation without gradients, folded on a CPU, against the plain one."""
    inputs = draw_inputs(**sizes)
    with torch.no_grad():
        computed = trunk(inputs.to(trunk.stem.norm.weight.dtype)).double()
    expected = compute_plainly(trunk, inputs)
    assert (computed - expected).norm() < tolerance * expected.norm()


@pytest.fixture
def trunk() -> ResidualTrunk:
    """A trunk that has folded its weights once."""
    trunk = make_trunk()
    check_equal(trunk)
    return trunk


def is_folded(trunk: ResidualTrunk) -> bool:
    return trunk.stem._folded is not None


@pytest.mark.parametrize(
    "sizes", [{}, {"rows": 33, "columns": 31}, {"rows": 1, "columns": 200}, {"batch": 1}, {"rows": 224, "columns": 224}]
)
def test_the_folded_trunk_computes_what_the_plain_one_does(sizes):
    trunk = make_trunk()
    check_equal(trunk, **sizes)
    assert is_folded(trunk)


def test_folded_and_plain_agree_with_one_channel():
    trunk = make_trunk(channels=1)
    check_equal(trunk, channels=1)


def test_with_gradients_nothing_is_folded_and_the_numbers_are_the_same():
    trunk, inputs = make_trunk(), draw_inputs()
    computed = trunk(inputs)
    assert not is_folded(trunk)
    assert computed.requires_grad
    expected = compute_plainly(trunk, inputs)
    assert (computed.double() - expected).norm() < 1e-5 * expected.norm()


def test_in_training_norms_use_the_batch(trunk):
    trunk.train()
    with torch.no_grad():
        first, second = trunk(draw_inputs()), trunk(5 * draw_inputs())
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)
    assert not is_folded(trunk)


def test_statistics_that_training_moved_are_used_afterwards(trunk):
    trunk.train()
    with torch.no_grad():
        trunk(3 + 2 * draw_inputs())
    check_equal(trunk.eval())


def test_statistics_of_one_norm_left_in_training_move_and_the_others_are_folded(trunk):
    trunk.stem.norm.train()
    with torch.no_grad():
        before = trunk.stem.norm.running_mean.clone()
        trunk(draw_inputs())
    assert not torch.equal(trunk.stem.norm.running_mean, before)
    check_equal(trunk.eval())


def test_weights_that_are_loaded_are_used(trunk):
    trunk.load_state_dict(make_trunk(1).state_dict())
    check_equal(trunk)


def test_weights_that_are_assigned_are_used(trunk):
    trunk.load_state_dict(make_trunk(1).state_dict(), assign=True)
    check_equal(trunk)


@torch.no_grad()
def multiply_in_place(trunk: ResidualTrunk) -> None:
    trunk.stages[0][0].conv1.convolution.weight.mul_(1.5)


@torch.no_grad()
def shift_a_mean(trunk: ResidualTrunk) -> None:
    trunk.stem.norm.running_mean.add_(0.5)


def step_an_optimizer(trunk: ResidualTrunk) -> None:
    trunk(draw_inputs()).square().mean().backward()
    torch.optim.Adam(trunk.parameters(), lr=0.1).step()


def replace_a_parameter(trunk: ResidualTrunk) -> None:
    trunk.stem.convolution.weight = nn.Parameter(trunk.stem.convolution.weight.detach() * 2)


def change_the_data(trunk: ResidualTrunk) -> None:
    trunk.stem.convolution.weight.data.mul_(1.5)  # as averages of weights often do


def change_one_norm_by_its_data(trunk: ResidualTrunk) -> None:
    trunk.stages[1][0].conv2.norm.running_var.data.mul_(3)


def exchange_two_rows(trunk: ResidualTrunk) -> None:
    weight = trunk.stages[0][0].conv1.convolution.weight.data
    weight.copy_(weight.flip(2))  # no sum of it changes


def change_through_numpy(trunk: ResidualTrunk) -> None:
    trunk.stem.convolution.weight.detach().numpy()[...] *= 1.5


@pytest.mark.parametrize(
    "change",
    [
        multiply_in_place,
        shift_a_mean,
        step_an_optimizer,
        replace_a_parameter,
        change_the_data,
        change_one_norm_by_its_data,
        exchange_two_rows,
        change_through_numpy,
    ],
)
def test_a_weight_that_is_changed_is_used(trunk, change):
    change(trunk)
    check_equal(trunk)


def test_weights_that_take_the_place_of_freed_ones_are_used(trunk):
    """A new tensor often gets the address of one that was just freed, and counts its changes from 0 like that one."""
    for seed in range(1, 9):
        trunk.stem.convolution.weight = None
        weight = torch.randn(WIDTHS[0], 3, 7, 7, generator=torch.Generator().manual_seed(seed)) / 12
        trunk.stem.convolution.weight = nn.Parameter(weight)
        del weight
        check_equal(trunk)


def test_weights_that_are_given_for_one_call_are_used(trunk):
    """As ensembles do, in a loop: the memory of each set is that of the last."""
    for seed in range(1, 9):
        other = make_trunk(seed)
        with torch.no_grad():
            computed = torch.func.functional_call(trunk, dict(other.state_dict()), draw_inputs())
        expected = compute_plainly(other, draw_inputs())
        assert (computed.double() - expected).norm() < 1e-5 * expected.norm()
        del other


def test_an_ensemble_runs_at_once():
    trunks = [make_trunk(seed) for seed in range(3)]
    (parameters, buffers), inputs = torch.func.stack_module_state(trunks), draw_inputs()

    def run(parameters, buffers):
        return torch.func.functional_call(trunks[0], (parameters, buffers), inputs)

    with torch.no_grad():
        together = torch.func.vmap(run)(parameters, buffers)
        for computed, trunk in zip(together, trunks, strict=True):
            torch.testing.assert_close(computed, trunk(inputs), rtol=1e-5, atol=1e-5)


def test_a_hook_on_a_convolution_or_a_norm_is_called(trunk):
    """As tools that draw what a layer sees do."""
    seen = []
    for module in (trunk.stages[1][0].conv1.convolution, trunk.stages[2][0].conv1.norm):
        module.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    check_equal(trunk)
    assert seen == [8, 10]


def test_adapters_on_convolutions_are_heard(trunk):
    adapted = peft.get_peft_model(trunk, peft.LoraConfig(target_modules=["convolution"], r=2, init_lora_weights=False))
    with_gradients = adapted(draw_inputs()).detach()
    with torch.no_grad():
        torch.testing.assert_close(adapted(draw_inputs()), with_gradients, rtol=1e-5, atol=1e-5)
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(draw_inputs()), with_gradients, rtol=1e-4, atol=1e-4)
    assert is_folded(merged)


def test_a_weight_that_is_computed_is_computed(trunk):
    class Doubled(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    original = trunk.stem.convolution.weight.detach().clone()
    nn.utils.parametrize.register_parametrization(trunk.stem.convolution, "weight", Doubled())
    with torch.no_grad():
        computed = trunk(draw_inputs())
    plain = make_trunk()
    plain.stem.convolution.weight = nn.Parameter(2 * original)
    expected = compute_plainly(plain, draw_inputs())
    assert (computed.double() - expected).norm() < 1e-5 * expected.norm()


def test_a_copy_is_a_trunk_of_its_own(trunk):
    copied = copy.deepcopy(trunk)
    check_equal(copied)
    multiply_in_place(copied)
    check_equal(copied)
    check_equal(trunk)


def test_a_pickle_is_a_trunk_of_its_own_without_folded_weights(trunk):
    content = pickle.dumps(trunk)
    loaded = pickle.loads(content)
    assert len(content) == len(pickle.dumps(make_trunk()))
    check_equal(loaded)
    multiply_in_place(loaded)
    check_equal(loaded)


def test_torch_saves_and_loads_it_whole(trunk):
    file = io.BytesIO()
    torch.save(trunk, file)
    file.seek(0)
    check_equal(torch.load(file, weights_only=False))  # our own, of a moment ago


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)])
def test_another_dtype_is_folded_anew(trunk, dtype, bound):
    check_equal(trunk.to(dtype), bound)


def test_weights_rounded_on_the_way_are_the_rounded_ones(trunk):
    check_equal(trunk.bfloat16().float())


def test_folding_in_float16_keeps_small_variances():
    """Folded in float64: a variance of 1e-7 is 0 in float16 only once it is stored so."""
    layer = TrunkConvolution(2, 3, 3).eval()
    layer.norm.running_var.fill_(1e-6)
    inputs = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = layer(inputs).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(inputs), expected, rtol=1e-5, atol=1e-4)


def test_under_inference_mode_it_computes_the_same(trunk):
    with torch.inference_mode():
        computed = trunk(draw_inputs())
    expected = compute_plainly(trunk, draw_inputs())
    assert (computed.double() - expected).norm() < 1e-5 * expected.norm()
    check_equal(trunk)


def test_a_trunk_made_under_inference_mode_follows_its_weights():
    with torch.inference_mode():
        trunk = make_trunk()
        check_equal(trunk)
        multiply_in_place(trunk)
        check_equal(trunk)


def test_it_can_be_trained_after_it_was_folded(trunk):
    trunk.train()
    trunk(draw_inputs()).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trunk.parameters())


def test_the_first_stage_may_be_smaller_or_larger_than_the_stem_and_every_stage_has_its_stride():
    trunk = ResidualTrunk(1, (4, 6), (1, 3), (2, 3)).eval()
    with torch.no_grad():
        assert trunk(torch.zeros(1, 1, 48, 96)).shape == (1, 6, 2, 4)  # 48 / (4 * 2 * 3), 96 / (4 * 2 * 3)


def test_nothing_is_below_0(trunk):
    with torch.no_grad():
        assert trunk(draw_inputs()).min() == 0
