import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD, Attack
from lit_knn.errors import UserError
from lit_knn.notebook.arguments import several, shown, whole

ATTACK = PGD(steps=1)


@pytest.mark.parametrize("given", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_whole_numbers_of_any_library(given):
    number = whole(given, "seed", 0, 5)
    assert type(number) is int
    assert number == 3


@pytest.mark.parametrize(
    "given",
    [True, np.True_, torch.tensor(True), 2.5, 3.0, np.float32(3), "3", None, [3], np.array([3]), 6, -1, int, object()],
)
def test_what_is_no_whole_number_in_range(given):
    with pytest.raises(UserError, match=r"^seed is .+: whole numbers from 0 to 5 are accepted$"):
        whole(given, "seed", 0, 5)


@pytest.mark.parametrize(
    "given",
    [0.5, [0.5], (0.5,), np.array([0.5]), np.float32(0.5), torch.tensor([0.5]), torch.tensor(0.5), {0.5}, iter([0.5])],
)
def test_one_number_or_a_row_of_them(given):
    numbers = several(given, "deltas", (int, float), "numbers")
    assert numbers == [0.5]
    assert type(numbers[0]) is float


def test_one_part_or_a_row_of_them():
    assert several(ATTACK, "attacks", (Attack,), "") == several((ATTACK,), "attacks", (Attack,), "") == [ATTACK]
    assert several("layer1", "tap", (str,), "") == several(np.array(["layer1"]), "tap", (str,), "") == ["layer1"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (PGD, "attacks is the class PGD: objects"),
        ([ATTACK, PGD], "attacks has the class PGD: objects"),
        ("PGD", "attacks is 'PGD': objects"),
        ({"PGD": ATTACK}, "attacks is {'PGD': "),
        (None, "attacks is None: objects"),
        ([None], "attacks has None: objects"),
        ([[ATTACK]], r"attacks has \[<"),
        ([], "attacks is empty: objects, at least one"),
    ],
)
def test_what_is_no_such_part(given, said):
    with pytest.raises(UserError, match=said):
        several(given, "attacks", (Attack,), "objects")


def test_true_is_no_number():
    with pytest.raises(UserError, match="deltas has True"):
        several([0.5, True], "deltas", (int, float), "numbers")


def test_messages_are_one_short_line():
    for given in (torch.rand(50, 50), "x" * 1000, list(range(1000)), torch.nn.Linear(3, 3), object()):
        assert len(shown(given)) <= 80
        assert "\n" not in shown(given)
