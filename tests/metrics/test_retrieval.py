import numpy as np
import pytest

from avzoo.metrics.retrieval import class_recall


def recall_slowly(queries, gallery, labels, rank):
    hits = 0
    for query, label in zip(queries, labels, strict=True):
        similarity = gallery @ query
        best = sorted(range(len(gallery)), key=lambda index: -similarity[index])[:rank]
        hits += any(labels[index] == label for index in best)
    return hits / len(queries)


@pytest.mark.parametrize("count", [5, 40, 300])
def test_recall_is_that_of_sorting_the_gallery(count):
    random = np.random.default_rng(count)
    queries, gallery = random.integers(-2, 3, (2, count, 4)).astype(float)  # with ties
    labels = random.integers(0, 8, count)
    expected = [recall_slowly(queries, gallery, labels, rank) for rank in (1, 3, 10)]
    np.testing.assert_allclose(class_recall(queries, gallery, labels, (1, 3, 10)), expected, rtol=1e-12)


def test_another_pair_of_the_class_is_a_hit():
    assert class_recall(np.eye(2), np.eye(2)[::-1], ["dog", "dog"], [1]).tolist() == [1.0]
    assert class_recall(np.eye(2), np.eye(2)[::-1], ["dog", "cat"], [1, 2]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("queries", "labels", "message"),
    [
        (np.zeros((0, 2)), [], "of one shape and not empty"),
        (np.zeros((2, 2)), [1], r"and `labels` \(samples,\), got"),
        (np.full((2, 2), np.nan), [1, 2], "`queries` holds values that are NaN or infinite"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(queries, labels, message):
    with pytest.raises(ValueError, match=message):
        class_recall(queries, np.zeros_like(queries) if len(queries) else queries, labels)


def test_a_rank_of_0_is_refused():
    with pytest.raises(ValueError, match="`ranks` must be at least 1, got 0"):
        class_recall(np.eye(2), np.eye(2), [0, 1], [0])
