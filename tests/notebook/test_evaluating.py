import copy
import os
import random
import re

import numpy as np
import pytest
import torch
from torch import nn

import lit_knn
from lit_knn.attacks import PGD
from lit_knn.backbones import Classifier, Tap
from lit_knn.backbones.digits import digits_resnet, digits_surrogate
from lit_knn.cli.main import main
from lit_knn.data import Digits, ImageData, tensors
from lit_knn.database import Database
from lit_knn.defenses import KNN, NoDefense
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.results import Record
from lit_knn.report.run_view import RunView
from tests.conftest import NETWORK, restored

HALF = {"mean": 0.5, "std": 0.5}


@pytest.fixture(scope="module")
def digits():
    images, labels = tensors(Digits(split="test"))
    return images[:60], labels[:60]


@pytest.fixture(scope="module")
def rows():
    return tensors(Digits(split="train"))


def evaluate(digits, rows, folder, **settings):
    given = {"deltas": [0.1], "database": rows, "folder": folder, **HALF, **settings}
    return lit_knn.evaluate(given.pop("network", None) or digits_resnet(), *digits, **given)


@pytest.fixture(scope="module")
def found(digits, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return evaluate(digits, rows, folder, surrogate=digits_surrogate(), seed=3)


def measured(rows):
    return [{name: row[name] for name in ("threat", "attack", "delta", "correct", "n", "delta_mean")} for row in rows]


def test_its_numbers_are_those_of_the_parts_put_together_by_hand(digits, rows, tmp_path):
    """The queries are the first of the same source, so that ids and with them all random numbers are the same."""
    tap, attack = Tap(layer="layer1.0.add", pool=2, name="early"), PGD(steps=3, random_start=True)
    mine = evaluate(digits, rows, tmp_path / "a", tap=tap, attacks=[attack], threats=["gray"], batch_size=30)
    evaluation = Evaluation(
        classifier=Classifier(**NETWORK),
        attacks=[attack],
        deltas=[0.1],
        defenses=[NoDefense(), KNN(taps=["early"], k=[50])],
        database=Database(path=tmp_path / "database", taps=[tap], build_missing=True),
    )
    data = ImageData(queries=Digits(split="test"), database=Digits(split="train"), batch_size=30)
    data.query_subset = list(range(60))
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    with restored():
        EvalTrainer(**options).test(evaluation, data)
    assert measured(mine.table) == measured(evaluation.results)


def test_everybody_attacks_and_the_folder_is_that_of_a_run(found):
    cases = dict.fromkeys((row["threat"], row["attack"]) for row in found.table)
    white = ("white_box layer2.1.add", "PGD-soft-kNN")
    assert list(cases) == [("gray_box", "PGD"), ("black_box", "PGD"), white, ("all", "worst case")]
    assert {row["k"] for row in found.table} == {"", 50}
    assert {row["delta"] for row in found.table} == {0.0, 0.1}
    names = {path.name for path in found.folder.iterdir()}
    assert names >= {"record.json", "results.csv", "config.yaml", "accuracy.png", "neighbors-layer2.1.add.png"}
    record = Record.load(found.folder)
    assert record.seed == record.config["seed_everything"] == 3
    assert record.config["model"]["classifier"] == {
        "network": "DigitsResNet in memory",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    assert record.warnings == []


def test_the_report_takes_its_folder(found, tmp_path, capsys):
    main(["report", str(found.folder), "--output", str(tmp_path)])
    assert (tmp_path / "report.html").exists()
    assert "white box layer2.1.add" in (tmp_path / "report.md").read_text()


def test_the_same_again_gives_the_same_and_goes_on_from_what_is_there(found, digits, rows):
    before = (found.folder / "results.csv").read_bytes()
    again = evaluate(digits, rows, found.folder, surrogate=digits_surrogate(), seed=3)
    assert (found.folder / "results.csv").read_bytes() == before
    assert list(again.table) == list(found.table)


@pytest.mark.parametrize("changed", [{"seed": 4}, {"tap": "layer1"}, {"deltas": [0.05]}, {"mean": 0.4}])
def test_a_folder_of_another_evaluation_is_refused(found, digits, rows, changed):
    with pytest.raises(UserError, match=r"another evaluation: .* (expected|more); give another folder, or none"):
        evaluate(digits, rows, found.folder, **{"surrogate": digits_surrogate(), "seed": 3, **changed})
    assert RunView(found.folder).record.seed == 3


def test_the_network_and_the_process_stay_as_they_were(digits, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")  # a notebook within a job
    monkeypatch.setenv("SLURM_JOB_NAME", "notebook")
    monkeypatch.setenv("PL_GLOBAL_SEED", "77")
    network = digits_resnet().train()
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    before, environment = copy.deepcopy(network.state_dict()), dict(os.environ)
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    evaluate(digits, None, tmp_path / "run", network=network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.fc.weight.grad.eq(1).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert dict(os.environ) == environment


def test_without_a_database_the_network_alone_answers(digits, tmp_path):
    found = evaluate(digits, None, tmp_path / "run", deltas=[0, 0.05])
    assert {row["defense"] for row in found.table} == {"none"}
    assert {row["threat"] for row in found.table} == {"gray_box"}


def test_few_rows_have_fewer_neighbors(digits, rows, tmp_path):
    found = evaluate(digits, tuple(part[:7] for part in rows), tmp_path / "run")
    assert {row["k"] for row in found.table} == {"", 7}


def test_numbers_do_not_depend_on_pixels_being_bytes_or_floats_of_any_layout(digits, tmp_path):
    image, label = digits
    floats = (image.float() / 255).permute(0, 2, 3, 1).numpy()
    pairs = [(image, label), (floats, label.numpy())]
    tables = [evaluate(pair, None, tmp_path / str(number)).table for number, pair in enumerate(pairs)]
    assert measured(tables[0]) == measured(tables[1])


def test_a_folder_is_the_next_one_of_runs(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "17")  # which names the run of a batch job
    folders = [evaluate(digits, None, None).folder for _ in range(2)]
    assert [str(folder) for folder in folders] == ["runs/run-001", "runs/run-002"]


class Odd(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer, self.scale = answer, nn.Parameter(torch.ones(1))

    def forward(self, image):
        return self.answer(image.flatten(1)[:, :10] * self.scale)


def test_one_of_what_may_be_several_and_numbers_of_other_libraries(digits, tmp_path):
    natural = {"attacks": PGD(steps=1), "threats": "gray", "defenses": NoDefense(), "deltas": 0.1, "seed": np.int64(3)}
    listed = {"attacks": [PGD(steps=1)], "threats": ["gray"], "defenses": [NoDefense()], "deltas": [0.1], "seed": 3}
    labels = digits[1].tolist()
    one = evaluate(
        (digits[0], labels), None, tmp_path / "a", **natural, batch_size=torch.tensor(30), mean=np.float32(0.5)
    )
    other = evaluate(digits, None, tmp_path / "b", **listed, batch_size=30)
    assert measured(one.table) == measured(other.table)
    assert one.record.config == other.record.config


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"network": Odd(lambda x: {"logits": x})}, "a dict with 'logits': .*`output` names the one"),
        ({"network": Odd(lambda x: x[:, 0])}, r"where logits, one float tensor \(60, C\) of at least two classes"),
        ({"network": digits_resnet}, "the network is <function .*: a torch.nn.Module is accepted"),
        ({"surrogate": digits_resnet}, "the surrogate is <function .*: a torch.nn.Module is accepted"),
        ({"deltas": [2.0]}, r"deltas has 2.0: sizes of \(0, 1\]"),
        ({"deltas": None}, "deltas is None: numbers, and text as 8/255"),
        ({"deltas": [0]}, "deltas is .*: at least one of"),
        ({"norm": "L2"}, "norm is 'L2': relative_l2, l2, linf are accepted"),
        ({"norm": ["l2"]}, "norm is "),
        ({"seed": -1}, "seed is -1: whole numbers"),
        ({"seed": True}, "seed is True: whole numbers"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5: whole numbers"),
        ({"attacks": [PGD]}, "attacks has the class PGD: Attack objects"),
        ({"attacks": []}, "attacks is empty"),
        ({"defenses": KNN}, "defenses is the class KNN: Defense objects"),
        ({"tap": 3}, "tap is 3: names of layers"),
        ({"tap": []}, "tap is empty"),
        ({"threats": 3}, "threats is 3: gray, black, white"),
        ({"threats": "grey"}, "threats has 'grey': gray, black, white"),
        ({"folder": 3}, "folder is 3: the path of a folder"),
        ({"folder": ""}, "folder is '': the path of a folder"),
        ({"threats": ["grey"]}, "threats has 'grey': gray, black, white"),
        ({"threats": ["black"]}, "give surrogate="),
        ({"threats": ["white"]}, "nothing to copy"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"device": "meta"}, "device is meta: cpu, cuda, mps are accepted"),
        ({"device": 0}, "device is 0: cpu, cuda, mps are accepted"),
        ({"mean": [], "std": 0.5}, "mean is empty: a number, or three"),
        ({"mean": "0.5", "std": 0.5}, "mean is '0.5': a number, or three"),
        ({"mean": True, "std": 0.5}, "mean is True: a number, or three"),
        ({"mean": 0.5, "std": None}, "both or none"),
        ({"mean": [0.5, 0.5], "std": 0.5}, "need three values each"),
        ({"database": torch.zeros(3, 3, 8, 8)}, "database is a Tensor: a pair"),
        ({"database": (torch.zeros(3, 3, 8, 8),)}, "database is a tuple, of 1 parts: a pair"),
        ({"output": 1.5}, "output is 1.5: a key, a position"),
        ({"output": "logits"}, "`output` is 'logits', but the network returns"),
    ],
)
def test_a_mistake_is_one_sentence(digits, tmp_path, changed, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate(digits, None, **{"folder": tmp_path / "run", **changed})


def test_a_layer_that_the_network_does_not_have_leaves_no_folder(digits, rows, tmp_path):
    with pytest.raises(UserError, match="the network has no layer 'layer7'; near it are layer"):
        evaluate(digits, rows, tmp_path / "run", tap="layer7")
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_the_network_does_not_have(digits, tmp_path):
    with pytest.raises(UserError, match="has label 10, but the network's classes are 0 to 9"):
        evaluate((digits[0], digits[1] + 1), None, tmp_path / "run")


def test_queries_of_the_database(digits, tmp_path):
    with pytest.raises(UserError, match="hold the same images"):
        evaluate(digits, digits, tmp_path / "run")


def test_a_network_that_says_nothing_of_its_images_is_a_warning(digits, tmp_path, caplog):
    found = evaluate(digits, None, tmp_path / "run", mean=None, std=None, surrogate=digits_resnet())
    assert re.match(r"network DigitsResNet is given pixels in \[0, 1\] as they are: ", found.record.warnings[0])
    assert re.match(r"surrogate DigitsResNet is given pixels in \[0, 1\] as they are: ", found.record.warnings[1])
    logged = [
        line.getMessage() for line in caplog.records if line.name.startswith("lit_knn") and line.levelname == "WARNING"
    ]
    assert sorted(logged) == sorted(found.record.warnings)  # a notebook shows each of them once
    assert "Warning: network DigitsResNet is given pixels" in repr(found)
