import json
import linecache
import sys
import threading
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import EOT, Margin
from lit_knn.errors import UserError
from lit_knn.storage.description import architecture, describe


def test_a_part_is_described_by_its_class_and_all_it_was_built_with():
    described = describe(PGD(steps=3, objective=Margin()))
    assert described["class"] == "PGD"
    assert described["steps"] == 3
    assert described["objective"] == {"class": "Margin"}
    assert json.dumps(described) == json.dumps(describe(PGD(steps=3, objective=Margin())))
    assert describe(PGD()) != describe(PGD(seed=1))


def test_numbers_that_json_does_not_have_are_text():
    described = describe([EOT(objective=Margin()), np.float32("nan"), -float("inf"), np.float64(0.5)])
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described[1:] == ["nan", "-inf", 0.5]
    assert described[0]["highest"] == "inf"


def test_a_class_of_this_package_keeps_its_description_where_it_moves(monkeypatch):
    attack, own = PGD(objective=Margin()), Own(0.5)
    before = describe([attack, own])
    assert before[1]["class"] == f"{__name__}.Own"
    monkeypatch.setattr(PGD, "__module__", "lit_knn.elsewhere")
    monkeypatch.setattr(Margin, "__module__", "lit_knn.attacks.margin")
    assert describe([attack, own]) == before
    monkeypatch.setattr(Own, "__module__", "mine")
    assert describe([attack, own]) != before


def test_lists_paths_and_what_is_computed():
    class Partition:
        def __init__(self):
            self.path, self.pairs = Path("a/b"), {"x": (1, None)}

        @cached_property
        def length(self):
            return len(self.pairs)

    part = Partition()
    before = describe(part)
    assert part.length == 1
    assert describe(part) == before
    assert {name: before[name] for name in ("path", "pairs")} == {"path": "a/b", "pairs": {"x": [1, None]}}


class Slotted:
    __slots__ = ("f",)

    def __init__(self, f):
        self.f = f


@dataclass(frozen=True)
class Frozen:
    f: object


class Hidden:
    def __init__(self, f):
        self._f = f


class HiddenModule(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.inner = torch.nn.Dropout(float(f))
        self.register_buffer("lost", torch.tensor(f), persistent=False)


class Derived(PGD):
    def __init__(self, f):
        super().__init__()
        self._f = f


class Own:
    """Says itself what it does."""

    def __init__(self, f):
        self.f, self.lock = f, threading.Lock()

    def identity(self):
        return str(self.f)


@pytest.mark.parametrize("kind", [Slotted, Frozen, Hidden, HiddenModule, Derived, Own, partial(partial, pow)])
def test_a_class_of_ones_own_is_told_by_its_settings_wherever_it_keeps_them(kind):
    assert describe(kind(0.5)) == describe(kind(0.5))
    assert describe(kind(0.5)) != describe(kind(0.25))
    json.dumps(describe(kind(0.5)))


def test_a_class_of_ones_own_that_was_rewritten_is_another():
    def written(factor, comment=""):
        source = f"class Partition:\n    def __call__(self, x):{comment}\n        return {factor} * x\n"
        module = ModuleType("mine")
        module.__file__ = "/nowhere/mine.py"
        linecache.cache[module.__file__] = (len(source), None, source.splitlines(keepends=True), module.__file__)
        sys.modules["mine"] = module
        try:
            exec(compile(source, module.__file__, "exec"), vars(module))  # noqa: S102
            return describe(module.Partition())
        finally:
            del sys.modules["mine"], linecache.cache[module.__file__]

    assert written(1) == written(1, comment="  # once")
    assert written(1) != written(2)
    assert "code" not in describe(PGD())  # a version stands for it


@pytest.mark.parametrize("part", [threading.Lock(), object(), lambda: 0])
def test_what_nothing_tells_apart_is_refused(part):
    with pytest.raises(UserError, match="cannot be told from another"):
        describe(Hidden([part]))


def test_what_holds_itself_is_refused():
    part = Hidden(None)
    part._f = part
    with pytest.raises(UserError, match="Hidden holds itself"):
        describe(part)


def test_arrays_and_networks_are_told_apart_by_their_values_and_functions_not_at_all():
    assert describe(torch.zeros(3)) != describe(torch.ones(3))
    assert describe(np.zeros(3)) != describe(np.zeros((3, 1)))
    assert describe(torch.zeros(3)) == describe(np.zeros(3, np.float32))
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert describe(first) != describe(second)
    second.load_state_dict(first.state_dict())
    assert describe(first) == describe(second)
    assert describe({"b", "a"}) == ["a", "b"]
    with pytest.raises(UserError, match="make it a class"):
        describe([lambda image: image])


def test_an_architecture_is_what_no_state_dict_holds():
    def network(**changes):
        made = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, **changes), torch.nn.ReLU())
        torch.nn.init.ones_(made[0].weight)
        return made

    assert architecture(network()) == architecture(network())
    assert architecture(network()) != architecture(network(stride=2))
    assert architecture(network()) != architecture(torch.nn.Sequential(network()[0], torch.nn.GELU()))
    scaled = network()
    scaled.scale = 0.5
    assert architecture(scaled) != architecture(network())
    used = network()
    used.last = used(torch.zeros(1, 3, 4, 4))  # what a forward pass leaves
    assert architecture(used) == architecture(network())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("hold", [lambda value: value, lambda value: [value, 1], lambda value: (2, value)])
def test_constants_that_are_no_buffers_are_part_of_an_architecture(hold):
    def network(value):
        made = torch.nn.Linear(3, 2)
        made.shift = hold(value)
        return architecture(made)

    for constant in (torch.tensor([0.1, 0.2]), np.array([0.1, 0.2]), torch.tensor([0.1, 0.2], dtype=torch.bfloat16)):
        assert network(constant * 1) == network(constant * 1)
        assert network(constant * 2) != network(constant * 1)
    quantized = [torch.quantize_per_tensor(torch.full((2,), value), 0.1, 0, torch.qint8) for value in (1.0, 2.0)]
    assert network(quantized[0]) != network(quantized[1])


def test_another_name_of_a_weight_is_none():
    """Weights are loaded later, and are in the state dict."""

    def network(value):
        made = torch.nn.Linear(3, 2)
        torch.nn.init.constant_(made.weight, value)
        made.rows, made.same = [made.weight.data[0], made.weight.detach()], made.bias
        return architecture(made)

    assert network(1.0) == network(2.0)
