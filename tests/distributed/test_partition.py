import pytest

from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError


@pytest.mark.parametrize("size", [0, 1, 5, 16, 17, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_all_parts_in_order_are_the_whole(size, count):
    parts = [Partition(number, count).of(range(size)) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(isinstance(part, range) for part in parts)  # of a billion items nothing is copied


def test_it_reads_what_it_prints(monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert Partition.parse("3/16") == Partition(3, 16)
    assert str(Partition(3, 16)) == "3/16"
    assert Partition.parse("") == Partition(1, 1) == Partition()
    assert Partition().is_whole
    assert not Partition(1, 2).is_whole


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "-1/4", "1/4/2", "a/b", "1 / 4", "1.0/4", " ", "٣/٤"])
def test_nonsense_is_one_sentence(text):
    with pytest.raises(UserError, match="1/"):
        Partition.parse(text)


def array(task, first, last, step, count):
    names = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        (array(0, 0, 15, 1, 16), Partition(1, 16)),
        (array(15, 0, 15, 1, 16), Partition(16, 16)),
        (array(1, 1, 8, 1, 8), Partition(1, 8)),  # an array may start anywhere
        (array(30, 10, 50, 20, 3), Partition(2, 3)),  # --array=10-50:20
        (array(7, 7, 7, 1, 1), Partition(1, 1)),  # one task again, by hand: it does all that is missing
    ],
)
def test_a_slurm_array_gives_each_task_its_part(monkeypatch, variables, part):
    assert Partition.from_environment(variables) == part
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Partition.parse("") == part
    assert Partition.parse("2/5") == Partition(2, 5)  # what is said outright wins


def test_an_array_with_gaps_is_refused():
    """--array=1,2,7: nobody could tell which parts there are."""
    for task in (1, 2, 7):
        with pytest.raises(UserError, match="has gaps"):
            Partition.from_environment(array(task, 1, 7, 1, 3))


def test_an_array_of_which_only_a_part_is_known():
    with pytest.raises(UserError, match="SLURM_ARRAY_TASK_MIN is not set"):
        Partition.from_environment({"SLURM_ARRAY_TASK_ID": "3"})
