import pytest
import torch
import yaml
from jsonargparse import Namespace

from lit_knn.cli.unrun import unload, unrun
from lit_knn.errors import UserError
from tests.conftest import SURROGATE, restored


@pytest.fixture
def build(config, tmp_path):
    def build(**data):
        config["data"] |= data
        (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
        with restored():
            return unrun(["test", "--config", str(tmp_path / "given.yaml")])

    return build


def test_weights_need_not_be_there_and_nothing_runs(config, build, tmp_path):
    config["model"]["classifier"] = {"network": "torchvision/resnet18", "arguments": {"weights": "IMAGENET1K_V1"}}
    box = {"class_path": "BlackBox", "init_args": {"surrogates": [SURROGATE | {"weights": "none.pth"}]}}
    config["model"]["threats"] = ["GrayBox", box]
    config["model"]["database"]["taps"] = [{"layer": "layer1", "name": "early"}, {"layer": "layer2", "name": "late"}]
    found = build()
    assert [found.model.classifier.name, found.model.threats[1].surrogate.name] == ["resnet18", "digits_surrogate"]
    assert found.model.classifier(torch.rand(2, 3, 32, 32)).shape == (2, 1000)
    assert not list(tmp_path.glob("runs*"))


def test_queries_are_told_by_all_that_says_which_they_are(build):
    first = build().queries
    assert build(num_workers=0).queries == first
    assert len({first, build(num_queries=7).queries, build(batch_size=9).queries, build(query_seed=3).queries}) == 4


def test_networks_are_found_wherever_they_are():
    network = {"network": "a.b:c", "arguments": None, "weights": "w.pth", "weights_key": None, "name": ""}
    config = Namespace(some=[{"deep": Namespace(**network)}], other=dict(network))
    unload(config)
    for found in (vars(config.some[0]["deep"]), config.other):
        assert found["arguments"] == {"network": "a.b:c", "arguments": {}, "weights": "['w.pth', None]"}
        assert (found["weights"], found["name"]) == (None, "c")


def test_what_the_command_line_refuses_is_refused(build, config):
    config["model"]["attacks"] = ["PDG"]
    with pytest.raises(UserError, match="no class 'PDG'"):
        build()
