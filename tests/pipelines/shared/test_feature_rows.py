"""Rows of features, whatever a model packs them in."""

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from avzoo.pipelines.shared.feature_rows import join_rows, take_rows


def make_features(count: int) -> BaseModelOutputWithPooling:
    """Numbers of rows in a tensor of two axes, in one of a single axis, and in a tuple; attentions are None."""
    rows = torch.arange(count)
    return BaseModelOutputWithPooling(rows[:, None].repeat(1, 3), rows, hidden_states=(rows, 10 * rows))


def test_rows_are_taken_of_every_tensor():
    for rows in (slice(1, 3), [1, 2]):
        taken = take_rows(make_features(4), rows)
        assert type(taken) is BaseModelOutputWithPooling
        assert taken.last_hidden_state[:, 0].tolist() == taken.pooler_output.tolist() == [1, 2]
        assert [part.tolist() for part in taken.hidden_states] == [[1, 2], [10, 20]]
        assert taken.attentions is None


def test_rows_that_were_taken_apart_are_joined():
    features = make_features(3)
    joined = join_rows([take_rows(features, [row]) for row in range(3)])
    assert type(joined) is BaseModelOutputWithPooling
    torch.testing.assert_close(dict(joined), dict(features), rtol=0, atol=0)


def test_a_single_part_is_itself():
    features = make_features(2)
    assert join_rows([features]) is features
