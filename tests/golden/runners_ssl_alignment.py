"""How the golden cases of cross-modal alignment are computed with this package: one function per kind."""

from collections.abc import Iterator

from golden_case import Expected, GoldenCase
from localization_outputs import localization_outputs


def run_metrics(case: GoldenCase, folder) -> Iterator[Expected]:
    yield localization_outputs(case)


RUNNERS = {"metrics": run_metrics}
