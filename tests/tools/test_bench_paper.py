import importlib
import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import restored

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("bench_paper")


@pytest.fixture
def study(built, tmp_path):
    """Two tests of one chain with the same attack, and one without a cache."""
    folder = tmp_path / "study"
    folder.mkdir()
    built["data"] |= {"num_queries": 40, "batch_size": 20}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(built))
    cache = {"cache": {"path": str(tmp_path / "not here")}}
    none = {"class_path": "NoDefense"}
    for name, model in {"a": cache, "b": cache | {"defenses": [none]}, "c": {"defenses": [none]}}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"model": model}))
    (folder / "chains.txt").write_text("database: ../base.yaml\nbase: ../base.yaml\na b\nc\n")
    return folder


@pytest.mark.slow
def test_tests_that_share_a_cache_attack_once(bench, study, tmp_path, capsys):
    record = tmp_path / "bench.json"
    with restored():
        bench.main([str(study), "--share", "0.5", "--output", str(record), "--folder", str(tmp_path)])
    first, second, apart, whole = json.loads(record.read_text())["results"]
    saved = 20 * (1 + 2 * (2 + 1))  # of each query clean, and at 2 sizes 2 steps and an answer
    assert first["measured"] == first["base"]
    assert second["base"] - second["measured"] == saved
    assert apart["measured"] == apart["base"] == second["base"]  # whose network does as much
    assert whole["measured"] == first["base"] + 2 * second["base"] - saved
    assert whole["target"] == "≤ 0.40"
    assert "all tests: shared cache / each its own" in capsys.readouterr().out
    assert not (tmp_path / "not here").exists()


@pytest.mark.parametrize(("share", "said"), [("0", "above 0 and up to 1"), ("2", "above 0 and up to 1")])
def test_a_share_is_one(bench, study, share, said):
    with pytest.raises(SystemExit, match=said):
        bench.main([str(study), "--share", share])


def test_a_share_of_nothing_is_refused(bench, study):
    base = study.parent / "base.yaml"
    config = yaml.safe_load(base.read_text())
    del config["data"]["num_queries"]
    base.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match=r"a\.yaml and those under it name no data\.num_queries"):
        bench.main([str(study)])
