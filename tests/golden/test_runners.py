"""The golden comparison sees what is wrong: what a runner computes meets no expectation but the case's own."""

from dataclasses import replace

from golden_comparison import compare, takes_any_keys, unnoticed


def test_every_output_counts(computed):
    case, forms = computed()
    passed_over = []
    for outputs in forms:
        passed_over += unnoticed(case, outputs)
        more = case.outputs | {"unheard_of_99": next(iter(case.outputs.values()))}
        if "unheard_of_99" not in compare(replace(case, outputs=more), outputs):
            passed_over.append("an output that nothing computes")
    if "keys" in case.outputs and takes_any_keys(case):
        passed_over.append("a key by another name")
    assert not passed_over
