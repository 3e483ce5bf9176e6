from pathlib import Path

import numpy as np
import yaml

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import FeatureSpace
from lit_knn.backbones import Tap
from lit_knn.backbones.digits import digits_resnet
from lit_knn.defenses import KNN, BitDepth, NoDefense, TransformedClassifier
from lit_knn.notebook.choices import classifier_of
from lit_knn.notebook.settings import settings


class Mine:
    def __init__(self, network, paths, nothing=1):
        self.network, self.paths = network, paths


def test_parts_are_told_as_a_configuration_would():
    assert settings(NoDefense()) == {"class_path": "NoDefense"}
    told = settings([PGD(steps=3, objective=FeatureSpace(k=4)), TransformedClassifier(transformation=BitDepth(bits=2))])
    assert told[0]["init_args"]["steps"] == 3
    objective = {"reading": "grad_x", "k": 4, "exclude_self": True}
    assert told[0]["init_args"]["objective"] == {"class_path": "FeatureSpace", "init_args": objective}
    assert told[1]["init_args"]["transformation"]["init_args"]["bits"] == 2
    assert settings(Tap(layer="conv_2_3"))["layer"] == "layer1.2.add"
    assert settings(KNN(taps=["a"]))["init_args"]["weightings"][0] == {"class_path": "UW"}


def test_what_lies_in_memory_is_told_by_its_name_and_all_of_it_is_yaml():
    classifier = classifier_of(digits_resnet(), 0.5, 0.25)
    told = settings({"one": Mine(classifier, (Path("a/b"), None))})
    assert yaml.safe_load(yaml.safe_dump(told)) == told
    network = {"network": "DigitsResNet in memory", "mean": [0.5] * 3, "std": [0.25] * 3}
    expected = {"network": network, "paths": ["a/b", None]}
    assert told["one"] == {"class_path": "tests.notebook.test_settings.Mine", "init_args": expected}


def test_numbers_of_numpy_are_told_as_those_of_python():
    told = settings(
        {"deltas": list(np.linspace(0.02, 0.1, 2)), "knn": KNN(taps=["a"], k=[np.int64(5)]), "yes": np.True_}
    )
    assert yaml.safe_load(yaml.safe_dump(told)) == told
    assert (told["deltas"], told["knn"]["init_args"]["k"], told["yes"]) == ([0.02, 0.1], [5], True)
