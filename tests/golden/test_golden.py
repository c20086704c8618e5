"""Every golden case: what the authors' code computes, computed here, within the case's tolerance."""

from golden_comparison import compare


def test_outputs_are_those_of_the_authors_code(computed):
    case, forms = computed()
    for attempt, outputs in enumerate(forms):
        form = "as converted" if attempt == 0 else "saved and loaded"
        wrong = compare(case, outputs)
        assert not wrong, f"not as the authors' code computes it ({form}): {wrong}"
