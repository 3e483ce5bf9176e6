import pytest

from lit_knn.doctor.telling import failure, tell
from lit_knn.errors import UserError
from lit_knn.report.results import Finding

WARNED = [Finding("a", "pass", "is there"), Finding("b", "warn", "is not there yet")]


def test_a_failure_alone_ends_the_process_with_1(capsys):
    """The title is broken where the sentences are short."""
    tell(WARNED)
    tell([])
    shown = " ".join(capsys.readouterr().out.split())
    assert shown == "What is there, and what it will take ✓ a is there ! b is not there yet"
    with pytest.raises(SystemExit) as stopped:
        tell([*WARNED, Finding("c", "fail", "is damaged")])
    assert stopped.value.code == 1
    assert "is damaged" in capsys.readouterr().out


def test_an_error_does_not_say_once_more_what_is_checked():
    assert failure("network", UserError("network a: it is cut")) == Finding("network", "fail", "a: it is cut")
    assert failure("store", UserError("shard 3 of store a is cut")).sentence == "shard 3 of store a is cut"
