"""The command line as a user meets it; sentences are those of a real run, each through `main`."""

import subprocess
import sys

import pytest
import yaml

from lit_knn.cli.command_line import COMMANDS
from lit_knn.cli.main import main

QUICKSTART = ["--config", "configs/quickstart.yaml"]
THERE = {"class_path": "KNN", "init_args": {"taps": ["layer9"]}}


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lit-knn"])  # pytest's own would be taken for a second command line


def complaint(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main([*args])
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lit-knn: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("overlay", "sentence"),
    [
        ({"model": {"attackz": 3}}, "model.attacks"),
        ({"model": {"attacks": ["PDG"]}}, "no class 'PDG'; known are "),
        ({"model": {"attacks": [{"class_path": "PGD", "init_args": {"stepz": 3}}]}}, "near it are step, steps"),
        ({"model": {"threats": ["BrownBox"]}}, "known are BlackBox, GrayBox, WhiteBox"),
        (
            {"model": {"database": {"path": "x", "taps": [{"layer": "layer9"}]}}},
            "wants neighbors at 'early', but the database has no such tap; it has layer9",
        ),
        (
            {"model": {"database": {"path": "x", "taps": [{"layer": "layer9"}]}, "defenses": [THERE]}},
            "no layer 'layer9'; near it are layer",
        ),
        (
            {"model": {"database": {"path": "x", "taps": [{"layer": "layer1.0.add"}], "rows": 1.5}}},
            "rows is 1.5; whole",
        ),
        ({"model": {"database": {"path": "x", "taps": [{"layer": "layer1.0.add", "pool": 0}]}}}, "has pool 0; whole"),
        (
            {"model": {"defenses": [{"class_path": "KNN", "init_args": {"taps": ["late"], "k": [0]}}]}},
            "neighbors from 1",
        ),
        ({"model": {"classifier": {"weights": "none.pth"}}}, "weights none.pth do not exist"),
        ({"model": {"classifier": {"network": "torchvision/resnet51"}}}, "resnet50"),
        ({"model": {"deltas": [2.0]}}, r"deltas of (0, 1]"),
        ({"model": {"deltas": "many"}}, "model.deltas"),
        ({"data": {"num_queries": "abc"}}, "data.num_queries is abc; accepted are int, null"),
        ({"data": {"batch_size": "abc"}}, "data.batch_size is abc; a value of type int is accepted"),
        ({"data": {"queries": "Digitz"}}, "no class 'Digitz'; known are Arrays, CIFAR10, "),
        ({"data": {"queries": {"class_path": "ImageFolder", "init_args": {"root": "/none"}}}}, "/none"),
        ({"trainer": {"inference_mode": True}}, "no key"),
        ({"trainer": {"accelerator": "cuda:x"}}, "PyTorch Lightning refuses the trainer: "),
        ({"trainer": {"devices": 0}}, "PyTorch Lightning refuses the trainer: "),
        ({"trainer": {"strategy": "dpp"}}, "invalid strategy name"),
        ({"trainer": {"profiler": "x"}}, "profiler"),
        ({"trainer": {"limit_test_batches": -1}}, "limit_test_batches"),
        ({"trainer": {"run": "a/b"}}, "the name of one folder"),
        ({"data": {"batch_size": None}}, "data.batch_size is null; int is accepted"),
        ({"model": {"attacks": [{"class_path": "PGD", "init_args": {"steps": None}}]}}, "steps is null"),
        ({"model": {"database": {"taps": [{"layer": "layer3", "dimension": None}]}}}, "taps.dimension is null; int"),
        ({"model": {"database": {"taps": [{"layer": "layer3", "bits": None}]}}}, "taps.bits is null; bool"),
        ({"model": {"attacks": "PGD"}}, "model.attacks is PGD; a list is accepted, such as [PGD]"),
        ({"model": None}, "the configuration lacks model."),
        ({"paper": {"table": "3", "row": "x"}}, "paper.table is '3'; accepted are 1, 2, 4"),
        ({"paper": {"figure": 13}}, "paper.figure is '13'; accepted are 2, 3, 4"),
        ({"paper": {"table": "2", "row": "ALP"}}, "paper.row is ALP, which the paper quotes from elsewhere"),
        ({"paper": "Table 2"}, "paper is Table 2; accepted are dict"),
        ({"seed_everything": True}, "from 0 to 4294967295"),
        ({"seed_everything": -1}, "from 0 to 4294967295"),
        ({"seed_everything": 2**32}, "from 0 to 4294967295"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_and_exit_code_2(tmp_path, capsys, overlay, sentence):
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    root = f"--trainer.default_root_dir={tmp_path}"
    database = [] if "database" in (overlay.get("model") or {}) else [f"--model.database.path={tmp_path}/database"]
    assert sentence in complaint(
        capsys, "test", *QUICKSTART, "--config", str(tmp_path / "overlay.yaml"), root, *database
    )


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["test", *QUICKSTART, "--data.batchsize=3"], "near it are data.batch_size"),
        (["test", "--config", "nope.yaml"], "nope.yaml"),
        (["tset"], "'doctor', 'taps', 'fit', 'extract', 'index', 'test', 'verify'"),
        (["test"], "the configuration lacks model.classifier.network"),
    ],
)
def test_a_mistake_on_the_command_line(capsys, args, sentence):
    assert sentence in complaint(capsys, *args)


def test_a_variable_of_the_environment_sets_a_key(monkeypatch, capsys):
    monkeypatch.setenv("LIT_KNN_TEST__DATA__NUM_WORKERS", "abc")
    assert "data.num_workers is abc" in complaint(capsys, "test", *QUICKSTART)


def test_a_variable_that_sets_nothing(monkeypatch, capsys):
    monkeypatch.setenv("LIT_KNN_TEST__DATA__NUM_WORKER", "1")
    assert "near it are LIT_KNN_TEST__DATA__NUM_WORKERS" in complaint(capsys, "test", *QUICKSTART)


def test_a_key_twice_in_one_file(tmp_path, capsys):
    path = tmp_path / "twice.yaml"
    path.write_text("data: {batch_size: 5}\nmodel: {topk: [1]}\ndata: {batch_size: 7}\n")
    assert f"{path} has the key data twice, in line 1 and in line 3" in complaint(capsys, "test", "--config", str(path))


def test_a_part_of_an_index_is_for_one_stage(tmp_path, capsys):
    options = [f"--trainer.default_root_dir={tmp_path}", f"--model.database.path={tmp_path}/database"]
    assert "only `index --stage add` takes" in complaint(capsys, "index", *QUICKSTART, *options, "--part=1/2")


def test_ctrl_c_before_anything_has_begun(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("lit_knn.cli.command_line.run", interrupt)
    for rank, said in (("0", "lit-knn: interrupted; the same command starts again\n"), ("1", "")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit) as stopped:
            main(["test"])
        assert stopped.value.code == 130
        assert capsys.readouterr().err == said


def printed(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main([*args, "--print_config"])
    assert stopped.value.code in (0, None)
    return yaml.safe_load(capsys.readouterr().out)


def test_one_file_serves_every_command_and_the_printed_one_reads_back(tmp_path, capsys):
    *inherited, config = [printed(capsys, command, *QUICKSTART) for command in COMMANDS if command != "test"] + [
        printed(capsys, "test", *QUICKSTART)
    ]
    assert len(inherited) == 6
    for other in inherited:
        for name in ("part", "stage"):  # a share of the job is no part of its description
            other.pop(name, None)
        assert other == config
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(config))
    for command in ("test", "extract"):
        again = printed(capsys, command, "--config", str(tmp_path / "again.yaml"))
        assert {key: value for key, value in again.items() if key != "part"} == config


@pytest.mark.parametrize("command", ["fit", "extract", "verify"])
def test_a_part_is_an_option(tmp_path, capsys, command):
    assert printed(capsys, command, *QUICKSTART, "--part=3/16")["part"] == "3/16"
    options = [f"--trainer.default_root_dir={tmp_path}", f"--model.database.path={tmp_path}/database"]
    assert "1/4 to 4/4" in complaint(capsys, command, *QUICKSTART, *options, "--part=5/4")


def test_overlays(tmp_path, capsys):
    (tmp_path / "over.yaml").write_text("data: {batch_size: 7}\nmodel: {attacks+: [FGSM]}\n")
    config = printed(capsys, "test", *QUICKSTART, "--config", str(tmp_path / "over.yaml"), "--model.topk=[1]")
    assert config["data"]["batch_size"] == 7
    assert [attack["class_path"].rpartition(".")[2] for attack in config["model"]["attacks"]] == ["PGD", "FGSM"]
    assert config["model"]["topk"] == [1]


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_help_and_version_import_nothing_heavy(flag):
    script = f"import sys; from lit_knn.cli.main import main; main([{flag!r}]); assert 'torch' not in sys.modules"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "lit" in answer.stdout


def test_the_package_is_light_until_something_of_it_is_asked_for():
    script = "import sys, lit_knn; assert 'torch' not in sys.modules; assert callable(lit_knn.evaluate)"
    subprocess.run([sys.executable, "-c", script + "; assert 'torch' in sys.modules"], check=True)


def test_a_doctor_without_configuration_looks_at_the_machine(capsys):
    main(["doctor"])
    shown = capsys.readouterr().out
    for check in ("installed", "GPUs", "FAISS", "threads"):
        assert check in shown
    assert "network" not in shown
