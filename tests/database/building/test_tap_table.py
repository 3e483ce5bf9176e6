import pytest

from lit_knn.backbones import Classifier
from lit_knn.database.building.tap_table import READ, print_taps
from tests.conftest import run


def test_layers_are_printed_with_shape_and_pooled_length(data, capsys):
    print_taps(Classifier(network="tests.backbones.own_networks.Small"), data)
    lines = capsys.readouterr().out.splitlines()
    assert READ in " ".join(" ".join(lines).split())
    assert lines[0].split() == ["Small:", "7", "layers", "for", "images", "of", "8×8", "pixels,", "traced"]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert ["conv", "4 × 6 × 6", "4", "traced"] in rows
    assert ["fc", "10", "10", "traced"] in rows


@pytest.mark.parametrize("queries", [130, 1])
def test_the_command_needs_no_database_and_writes_nothing(config, tmp_path, capsys, queries):
    del config["data"]["database"], config["model"]["database"]
    config["data"]["num_queries"] = queries
    config["model"]["defenses"] = ["NoDefense"]
    config["model"]["classifier"]["network"] = "tests.backbones.own_networks.ValueFlow"
    run("taps", config)
    out = capsys.readouterr().out
    assert "ValueFlow: 3 layers" in out
    assert "hooked at its modules and not in its graph: it cannot be traced" in out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["given.yaml"]
