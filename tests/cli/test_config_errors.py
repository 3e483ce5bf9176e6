from abc import ABC, abstractmethod

import pytest

from lit_knn.cli.config_errors import explain

KEYS = {"model.attacks", "model.deltas", "data.batch_size", "trainer.devices"}


class Attack(ABC):
    @abstractmethod
    def run(self): ...


class PGD(Attack):
    def __init__(self, *, steps: int = 1):
        self.steps = steps

    def run(self): ...


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("unrecognized arguments: --model.attackz=3", "there is no key 'model.attackz'; near it are model.attacks"),
        ("Subcommand 'test' does not accept option 'data.batchsize'", "there is no key 'data.batchsize'"),
        (
            (
                'Parser key "model.attacks":\n  - Expected a path but PDG either not accessible or invalid\n'
                "  - Expected a <class 'list'>. Got value: PDG"
            ),
            "model.attacks: there is no class 'PDG'; known are PGD, and any other by its import path",
        ),
        (
            (
                'Parser key "model.attacks":\n  Does not validate against any of the Union subtypes\n  Subtypes: [a, b]\n'
                "  Errors:\n    - Expected a dot import path string: PDG\n    - Expected a <class 'NoneType'>\n"
                "  Given value type: <class 'list'>\n  Given value: ['PDG']"
            ),
            "model.attacks: there is no class 'PDG'; known are PGD",
        ),
        (
            "Parser key \"model.attacks\":\n  Option 'step' is not accepted",
            "model.attacks: there is no option 'step'; near it are steps",
        ),
        (
            "Parser key \"model.attacks\":\n  Option 'steps' is not accepted",
            "model.attacks: there is no option 'steps' of the class that is named, but of PGD",
        ),
        (
            "Parser key \"model.attacks\": Parser key \"step\": Expected a typing.Literal['sign', 'l2']. Got value: l3",
            "model.attacks.step is l3; accepted are 'sign', 'l2'",
        ),
        (
            "Parser key \"data.batch_size\": Expected a <class 'int'>. Got value: abc",
            "data.batch_size is abc; a value of type int is accepted",
        ),
        (
            (
                'Parser key "model.database":\n  Does not validate against any of the Union subtypes\n'
                "  Subtypes: [<class 'Database'>, <class 'NoneType'>]\n  Errors:\n"
                "    - Problem with given class_path 'Database':\n        Parser key \"rows\":\n"
                "          Does not validate against any of the Union subtypes\n"
                "          Subtypes: [<class 'float'>, list[float | None], <class 'NoneType'>]\n          Errors:\n"
                "            - Expected a <class 'float'>\n            - Does not validate against any of the Union subtypes\n"
                "              Subtypes: [<class 'float'>, <class 'NoneType'>]\n              Errors:\n"
                "                - Expected a <class 'float'>\n              Given value: x\n"
                "          Given value type: <class 'list'>\n          Given value: [0.1, 'x']\n"
                "  Given value: NestedArg(key='rows', val=[0.1, 'x'])"
            ),
            "model.database.rows is [0.1, 'x']; accepted are float, list[float | null], null",
        ),
        (
            (
                "Parser key \"data.queries\":\n  Problem with given class_path 'lit_knn.data.ImageFolder':\n"
                '    Parser key "classes":\n      Does not validate against any of the Union subtypes\n'
                "      Subtypes: [<class 'str'>, list[str | int], dict[str, int], <class 'NoneType'>]\n      Errors:\n"
                "        - Expected a <class 'str'>\n        - Expected a <class 'int'>. Got value: x\n"
                "      Given value type: <class 'dict'>\n      Given value: {'a': 'x'}"
            ),
            "data.queries.classes is {'a': 'x'}; accepted are str, list[str | int], dict[str, int], null",
        ),
        (
            "the following arguments are required: test.model.attacks, test.data.queries",
            "the configuration lacks model.attacks, data.queries: give a file with --config",
        ),
        (
            (
                'Parser key "model.attacks":\n  - Expected a path but PGD either not accessible or invalid\n'
                "  - Expected a <class 'list'>. Got value: PGD"
            ),
            "model.attacks is PGD; a list is accepted, such as [PGD]",
        ),
        (
            "Parser key \"data.queries\":\n  Not a valid subclass of ImageSource. Got value: ['Digits']\n  Subclass types",
            "data.queries is ['Digits']; a single ImageSource is accepted, not a list",
        ),
        (
            (
                'Parser key "model.database":\n  Does not validate against any of the Union subtypes\n'
                "  Subtypes: [<class 'lit_knn.database.database.Database'>, <class 'NoneType'>]\n  Errors:\n"
                "    - Problem with given class_path 'lit_knn.database.Database':\n"
                "        the following arguments are required: taps\n    - Expected a <class 'NoneType'>\n"
                "  Given value type: <class 'jsonargparse._namespace.Namespace'>\n  Given value: Namespace(path='x')"
            ),
            "the configuration lacks model.database.taps: give a file",
        ),
        ('Parser key "config": File does not exist: x.yaml', "config: File does not exist: x.yaml"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_what_is_known(message, sentence):
    told = explain(message, KEYS, {"attacks": Attack})
    assert told.startswith(sentence)
    assert "\n" not in told
