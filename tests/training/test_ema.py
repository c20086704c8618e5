import pytest
import torch
from torch import nn

from avzoo.training import ExponentialMovingAverage


def one_weight(value=0.0, dtype=torch.float32):
    model = nn.Module()
    model.weight = nn.Parameter(torch.tensor([value], dtype=dtype))
    model.register_buffer("count", torch.tensor(0))
    return model


def set_weight(model, value):
    with torch.no_grad():
        model.weight.fill_(value)


def test_the_average_moves_by_the_remaining_share():
    model = one_weight(0.0)
    ema = ExponentialMovingAverage(model, decay=0.75, warmup=False)
    averages = []
    for value in (4.0, 8.0):
        set_weight(model, value)
        ema.update()
        averages.append(ema.averages["weight"].item())
    assert averages == [1.0, 2.75]  # 0.75 * 0 + 0.25 * 4; 0.75 * 1 + 0.25 * 8


def test_warm_up_starts_with_a_short_memory():
    model = one_weight(0.0)
    ema = ExponentialMovingAverage(model, decay=0.99)
    set_weight(model, 10.0)
    ema.update()
    assert ema.averages["weight"].item() == pytest.approx(9.0)  # decay (1 + 0) / (10 + 0) = 0.1
    ema.update()
    assert ema.averages["weight"].item() == pytest.approx(10 - 2 / 11)  # then 2 / 11 of what is missing


def test_buffers_are_copied():
    model = one_weight()
    ema = ExponentialMovingAverage(model, decay=0.9)
    model.count += 3
    ema.update()
    model.count += 1
    with ema.swap():
        assert model.count == 3
    assert model.count == 4


def test_swap_lends_the_average_and_gives_the_weights_back_even_after_an_error():
    model = one_weight(0.1)
    ema = ExponentialMovingAverage(model, decay=0.5, warmup=False)
    set_weight(model, 0.3)
    own, lent = model.weight.detach().clone(), []

    def fail_inside():
        with ema.swap():
            lent.append(model.weight.item())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert lent == [pytest.approx(0.1)]
    assert torch.equal(model.weight, own)


def test_half_precision_weights_are_averaged_in_full():
    model = one_weight(1.0, torch.bfloat16)
    ema = ExponentialMovingAverage(model, decay=0.9999, warmup=False)
    set_weight(model, 2.0)
    for _ in range(10):
        ema.update()
    # In bfloat16 a step of 1e-4 from 1.0 would round back to 1.0.
    assert ema.averages["weight"].item() == pytest.approx(2 - 0.9999**10, abs=1e-6)


def test_a_restored_average_continues_as_if_nothing_happened():
    model = one_weight()
    first, second = (ExponentialMovingAverage(model, decay=0.99) for _ in range(2))
    set_weight(model, 1.0)
    first.update()
    second.load_state_dict(first.state_dict())
    set_weight(model, 5.0)
    first.update()
    second.update()
    assert torch.equal(first.averages["weight"], second.averages["weight"])
    assert second.num_updates == 2


def test_a_state_of_another_model_is_refused():
    ema = ExponentialMovingAverage(one_weight(), decay=0.9)
    with pytest.raises(ValueError, match=r"`state`: \['averages.bias'"):
        ema.load_state_dict(ExponentialMovingAverage(nn.Linear(1, 1), decay=0.9).state_dict())


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ValueError, match="`decay` must be between 0 and 1"):
        ExponentialMovingAverage(one_weight(), decay)
