import pytest

from lit_knn.errors import UserError, WriteError, counted, one_sentence


@pytest.mark.parametrize("kind", [UserError, WriteError])
def test_what_a_user_can_mend_is_one_line_and_code_2(kind, capsys):
    with pytest.raises(SystemExit) as stop, one_sentence("lit-knn"):
        raise kind("this is\n  wrong")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "lit-knn: this is wrong\n"


def test_one_is_not_several():
    found = [counted(number, "query is", "queries are") for number in (0, 1, 1000)]
    assert found == ["0 queries are", "1 query is", "1,000 queries are"]


def test_a_bug_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError), one_sentence("lit-knn"):
        raise ZeroDivisionError
    with one_sentence("lit-knn"):
        pass
    assert capsys.readouterr().err == ""
