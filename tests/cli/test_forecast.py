import io
import shlex

import pytest
import yaml

from lit_knn.cli.main import main
from tests.conftest import restored


@pytest.fixture
def tell(monkeypatch, capsys, tmp_path, config):
    """Give lines to the command, and return the cells of the table that it prints by their first, and what follows."""
    monkeypatch.setattr("lit_knn.doctor.rates.SECONDS", 0.01)
    path = tmp_path / "base.yaml"

    def call(*lines, options=()):
        config["data"]["num_queries"] = 20
        path.write_text(yaml.safe_dump(config))
        text = "\n".join(line.replace("BASE", f"--config {shlex.quote(str(path))}") for line in lines)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with restored():
            main(["forecast", *options])
        said = capsys.readouterr().out.splitlines()
        end = next(number for number, line in enumerate(said) if line.startswith("in all"))
        return {line.split("  ")[0]: line.split()[len(line.split("  ")[0].split()) :] for line in said}, said[end + 1 :]

    return call


def test_each_step_is_told_and_what_tests_share_is_done_once(tell, tmp_path):
    cache = f"--model.cache.path {tmp_path / 'cache'}"
    table, untold = tell(
        "lit-knn fit BASE",
        "lit-knn extract BASE",
        "lit-knn index BASE --stage add",
        "",
        "lit-knn index BASE --stage merge",
        f"lit-knn test BASE {cache} --trainer.run a",
        f"lit-knn test BASE {cache} --trainer.run b --model.deltas=[0.1,0.2]",
        f"lit-knn test BASE {cache} --trainer.run c",
        "lit-knn report runs  # of all",
        options=["--tasks", "3"],
    )
    assert untold == []
    assert {name: cells[:2] for name, cells in table.items() if name.startswith(("fit", "extract", "test"))} == {
        "fit": ["1,297", "1"],
        "extract": ["1,297", "1"],
        "test a": ["20", "11"],  # 3 answers, and 2 steps there and back at 2 sizes
        "test b": ["20", "5"],  # at another size
        "test c": ["20", "0"],
    }
    assert table["fit"][-6:-2] == ["in", "each", "of", "3"]
    assert table["index add"] == []
    assert table["index merge"] == ["1,297", "270", "kB"]
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_told_is_said_and_the_rest_is_counted(tell, config, tmp_path):
    config["data"]["queries"] = {"class_path": "ImageFolder", "init_args": {"root": str(tmp_path / "none")}}
    config["data"]["preprocessing"] = {"crop": 8}
    table, untold = tell("lit-knn test BASE", "lit-knn test BASE --model.attacks=[FSGM]")
    assert table["test 1"][:2] == ["20", "11"]
    assert table["test 1"][-1] in ("kB", "MB")
    assert table["test"] == ["?", "?", "?"]
    assert [line.partition(": ")[0] for line in untold] == ["what is missing cannot be told"] * 2
    assert f"{tmp_path / 'none'} is not a folder" in untold[0]
    assert "no class 'FSGM'" in untold[1]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "standard input has no command"),
        (["lit-knn doctor --config a.yaml"], "lit-knn doctor --config a.yaml is no command with a forecast"),
        (["echo lit-knn"], "echo lit-knn is no command with a forecast"),
    ],
)
def test_what_is_no_command_is_one_sentence(tell, capsys, lines, sentence):
    with pytest.raises(SystemExit) as stop:
        tell(*lines)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"lit-knn: {sentence}")
