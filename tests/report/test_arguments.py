import pytest

from lit_knn.errors import UserError
from lit_knn.report.arguments import Arguments


def test_a_mistake_is_a_sentence_that_names_the_command():
    parser = Arguments("compare", "Two runs.")
    parser.add_argument("--most", type=int)
    sentence = "compare: argument --most: invalid int value: 'x'; see lit-knn compare --help"
    with pytest.raises(UserError, match=f"^{sentence}$"):
        parser.parse_args(["--most", "x"])
    with pytest.raises(UserError, match="unrecognized arguments: --mos 3"):
        parser.parse_args(["--mos", "3"])
