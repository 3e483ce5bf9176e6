import importlib
import inspect
import pkgutil
from collections import Counter

import pytest
from torch import nn

import lit_knn
from lit_knn.cli.class_names import derived
from lit_knn.cli.command_line import CONTRACTS
from lit_knn.storage.kinds import is_ours, kind, named_kind


@pytest.fixture(scope="module")
def nameable():
    """All classes of this package that YAML can name, in whatever module."""
    for module in pkgutil.walk_packages(lit_knn.__path__, "lit_knn."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted({part for contract in CONTRACTS.values() for part in derived(contract) if is_ours(part)}, key=kind)


def test_no_two_classes_that_yaml_can_name_or_networks_are_made_of_are_of_one_kind(nameable):
    modules = {part for part in derived(nn.Module) if is_ours(part)}
    assert len(nameable) > 40
    assert len(modules) > 5
    assert [name for name, count in Counter(map(kind, {*nameable, *modules})).items() if count > 1] == []


def test_a_kind_is_the_name_that_yaml_takes(nameable):
    """And so what is read back by its kind is the class that was written."""
    for part in nameable:
        assert kind(part) == part.__name__
        if not inspect.isabstract(part):
            room = importlib.import_module(part.__module__.rpartition(".")[0])
            while not hasattr(room, part.__name__):
                room = importlib.import_module(room.__name__.rpartition(".")[0])
            assert room is not lit_knn, f"{part} is imported where its contract is"


def test_a_kind_of_others_is_all_of_its_path():
    own = type("PGD", (), {"__module__": "mine.attacks"})
    assert (kind(own), is_ours(own)) == ("mine.attacks.PGD", False)
    assert named_kind("lit_knn_more.PGD") == "lit_knn_more.PGD"
    assert named_kind("") == ""
