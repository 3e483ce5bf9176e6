import pytest
from torch import nn

from lit_knn.errors import UserError
from lit_knn.threat_models import BlackBox, Threat


def test_a_threat_must_say_what_is_attacked():
    with pytest.raises(TypeError, match="abstract"):
        Threat(name="none")


@pytest.mark.parametrize("name", ["all", "worst case"])
def test_no_threat_is_called_what_all_together_are(name):
    with pytest.raises(UserError, match=f"name: {name}; all and worst case are what results call all threats"):
        BlackBox(surrogates=[nn.Identity()], name=name)


def test_yaml_reaches_threats_by_short_class_names():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--threats", type=list[Threat])
    written = [
        {"class_path": "GrayBox"},
        {"class_path": "BlackBox", "init_args": {"surrogates": [{"network": "torchvision/resnet18"}]}},
        {"class_path": "WhiteBox", "init_args": {"rows": 7, "defense": {"class_path": "NoDefense"}}},
    ]
    gray, black, white = parser.parse_object({"threats": written}).threats
    assert gray.class_path == "lit_knn.threat_models.GrayBox"
    assert black.init_args.name == "black_box"
    assert black.init_args.surrogates[0].network == "torchvision/resnet18"
    assert white.init_args.rows == 7
    assert white.init_args.defense.class_path == "lit_knn.defenses.NoDefense"
