"""Each sentence is the answer to what jsonargparse itself says of a configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import pytest
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from lit_knn.cli.config_errors import explain


class Objective:
    def __init__(self, *, weight: float = 1) -> None: ...


class Margin(Objective): ...


class Attack(ABC):
    @abstractmethod
    def run(self) -> None: ...


class PGD(Attack):
    def __init__(
        self, *, steps: int = 1, step: Literal["sign", "l2"] = "sign", objective: Objective | None = None
    ) -> None: ...

    def run(self) -> None: ...


class Noise(Attack):
    def __init__(self) -> None: ...

    def run(self) -> None: ...


class Sized(Attack):
    def __init__(self, *, side: int) -> None: ...

    def run(self) -> None: ...


class Model:
    def __init__(
        self,
        *,
        attacks: list[Attack],
        deltas: list[float],
        objective: Objective | Literal["none"] | None = None,
        rows: int | list[float | None] | None = None,
        objectives: list[Objective] | Objective | None = None,
        either: Model | Objective | None = None,
    ) -> None: ...


CONTRACTS = {"attacks": Attack, "objective": Objective}


def told(*args: str) -> str:
    command, parser = ArgumentParser(exit_on_error=False), ArgumentParser(exit_on_error=False)
    command.add_argument("--config", action="config")
    command.add_class_arguments(Model, "model", sub_configs=True)
    parser.add_subcommands().add_subcommand("test", command)
    with pytest.raises(ArgumentError) as refused:
        parser.parse_args(["test", *args])
    keys = {action.dest for action in command._actions}
    sentence = explain(str(refused.value), keys, CONTRACTS)
    assert "\n" not in sentence
    return sentence


def pgd(**options: object) -> list[object]:
    return ["Noise", {"class_path": "PGD", "init_args": options}]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"attackz": 3}, "there is no key 'model.attackz'; near it are model.attacks"),
        (
            {"attacks": ["PDG"]},
            "model.attacks: there is no class 'PDG'; known are Noise, PGD, Sized, and any other by its",
        ),
        (
            {"attacks": ["here/mine.py:PGD"]},
            "by their import path: write mine.PGD, and PYTHONPATH=here before the command",
        ),
        ({"attacks": pgd(objective="Nope")}, "model.attacks.objective: there is no class 'Nope'; known are Margin,"),
        ({"objective": "Nope"}, "model.objective: there is no class 'Nope'; known are Margin, and any other by"),
        (
            {"attacks": ["Attack"]},
            "model.attacks: Attack is what others derive from; known are Noise, PGD, Sized, and any other",
        ),
        (
            {"attacks": ["no_file.PGD"]},
            "'no_file.PGD' cannot be imported: No module named 'no_file'; where its file lies here, write PYTHONPATH=",
        ),
        (
            {"objective": {"class_path": "math.Margin"}},
            "model.objective: 'math.Margin' cannot be imported: module 'math' has no attribute 'Margin'",
        ),
        ({"attacks": pgd(stepz=3)}, "model.attacks: PGD has no option 'stepz'; near it are step, steps"),
        ({"attacks": pgd(x=3)}, "model.attacks: PGD has no option 'x'; it takes steps, step, objective"),
        ({"attacks": [{"class_path": "Noise", "init_args": {"x": 3}}]}, "Noise has no option 'x'; it takes none"),
        (
            {"objective": {"class_path": "Margin", "init_args": {"wait": 3}}},
            "Margin has no option 'wait'; near it are w",
        ),
        ({"attacks": "PGD"}, "model.attacks is PGD; a list is accepted, such as [PGD]"),
        ({"objective": ["Margin"]}, "model.objective is ['Margin']; a single Objective is accepted, not a list"),
        ({"objectives": [3]}, "model.objectives is [3]; accepted are "),
        ({"attacks": pgd(steps="x")}, "model.attacks.steps is x; a value of type int is accepted"),
        ({"attacks": pgd(step="l3")}, "model.attacks.step is l3; accepted are 'sign', 'l2'"),
        ({"deltas": [0.1, "x"]}, "model.deltas is x; a value of type float is accepted"),
        ({"rows": "x"}, "model.rows is x; accepted are "),
        ({"rows": [0.1, "x"]}, "model.rows is [0.1, 'x']; accepted are "),
        (
            {"attacks": [{"class_path": f"{__name__}.Sized"}]},
            "model.attacks: Sized lacks a value: write {class_path: Sized, init_args: {side: …}}",
        ),
        ({"rows": "int"}, "model.rows is int; accepted are "),
        ({"rows": "x\ny"}, "model.rows is x y; accepted are "),
        ({"objective": 3}, "model.objective is 3; accepted are "),
    ],
)
def test_what_is_wrong_where_and_what_is_accepted(tmp_path, model, sentence):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"model": {"attacks": ["PGD"], "deltas": [0.1], **model}}))
    assert sentence in told("--config", str(path))


def test_a_module_that_one_of_the_users_own_lacks_is_not_said_to_lie_here(tmp_path, monkeypatch):
    (tmp_path / "needy_attack.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    sentence = told("--model.attacks+", "needy_attack.PGD", "--model.deltas", "[0.1]")
    assert sentence == "model.attacks: 'needy_attack.PGD' cannot be imported: No module named 'no_such_package'"


@pytest.mark.parametrize("kind", ["int", "list[float | null]", "null"])
def test_types_are_named_as_yaml_does(kind):
    """In whichever order: it is that of the annotation from some version on."""
    assert kind in told("--model.rows=x").partition("; accepted are ")[2].split(", ")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--model.deltaz=[1]"], "there is no key 'model.deltaz'; near it are model.deltas"),
        (["--zzz=3"], "there is no key 'zzz'; `--print_config` shows all keys"),
        (["--model.deltas=[0.1]"], "the configuration lacks model.attacks: give a file with --config"),
    ],
)
def test_keys_of_the_command_line(args, sentence):
    assert told(*args).startswith(sentence)


def test_a_key_outside_of_any_group(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("modle: 3\n")
    assert told("--config", str(path)).startswith("there is no key 'modle'; near it are model")


def test_anything_else_is_told_whole(tmp_path):
    path = tmp_path / "c.yaml"
    model = {"attacks": ["PGD"], "deltas": [0.1], "either": {"wait": 3, "row": 3}}
    path.write_text(yaml.safe_dump({"model": model}))
    sentence = told("--config", str(path))
    parts = ['Parser key "model.', "Model':", "Objective':", "Option 'row' is", "Given value: {"]
    assert all(part in sentence for part in parts)


def test_a_file_that_is_not_there():
    assert told("--config", "none.yaml").startswith('Parser key "config": ')


def test_a_complaint_without_words_is_a_sentence():
    assert explain("", [], {}) == "jsonargparse refuses the configuration and does not say why"
