"""What a command answers that cannot do what it was asked for."""


def refused(answer: tuple[int, str, str], *reasons: str) -> None:
    """Assert that a command failed with one line on stderr that gives the reasons, and nothing on stdout."""
    status, out, err = answer
    assert (status, out) == (1, "")
    assert err.startswith("avzoo: ")
    assert err.count("\n") == 1, err
    for reason in reasons:
        assert reason in err
