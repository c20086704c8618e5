"""Recall of retrieval between two kinds of embeddings, such as pictures and sounds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from avzoo.checks import check_whole_number

_QUERIES_AT_ONCE = 256


def class_recall(
    queries: ArrayLike, gallery: ArrayLike, labels: ArrayLike, ranks: Sequence[int] = (1, 5, 10)
) -> np.ndarray:
    """Part of the queries that find their class among the best `ranks` of the gallery, (ranks,), in [0, 1].

    Similarity is the dot product. Row i of both is a pair and of class `labels[i]`; a query's own pair counts too. Of
    equal similarities the first in the gallery comes first. A rank beyond the gallery is its size.

    Args:
        queries, gallery: (samples, size).
        labels: (samples,).

    Raises:
        TypeError, ValueError: unequal shapes, no samples, NaN, or a rank below 1.

    Source: kaistmm/ssl_kccv@7e178e6 (`Alignment/train.py`).
    """
    queries, gallery = (np.asarray(values, dtype=np.float64) for values in (queries, gallery))
    labels = np.asarray(labels)
    if queries.ndim != 2 or queries.shape != gallery.shape or not queries.size or labels.shape != queries.shape[:1]:
        raise ValueError(
            "`queries` and `gallery` must be (samples, size), of one shape and not empty, and `labels` (samples,), "
            f"got {queries.shape}, {gallery.shape} and {labels.shape}."
        )
    for name, values in (("queries", queries), ("gallery", gallery)):
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` holds values that are NaN or infinite.")
    for rank in ranks:
        check_whole_number("ranks", rank, at_least=1)
    before = np.empty(len(queries), dtype=np.int64)  # how many come before the first of the query's class
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        rows = slice(start, start + _QUERIES_AT_ONCE)
        similarity = queries[rows] @ gallery.T
        fitting = np.where(labels[rows, None] == labels, similarity, -np.inf)
        first = fitting.argmax(axis=1)
        best = fitting.max(axis=1)[:, None]
        earlier = np.arange(len(gallery)) < first[:, None]
        before[rows] = ((similarity > best) | ((similarity == best) & earlier)).sum(axis=1)
    return np.array([(before < rank).mean() for rank in ranks])
