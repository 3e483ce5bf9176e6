import json

import pytest
import yaml

from lit_knn.cli.main import main
from lit_knn.engine.callbacks import (
    EvaluationChecks,
    NeighborPictures,
    PreemptionGuard,
    Progress,
    RunRecord,
    WandbResults,
)
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.checks import Check, Finding, MoreEffort
from lit_knn.report.results import Record
from tests.conftest import restored, run


class Look(Check):
    """Keeps the evidence."""

    name = "look"
    seen = None

    def __call__(self, evidence):
        type(self).seen = evidence
        return Finding(self.name, "warn", "Δ was looked at")


def test_checks_are_built_printed_and_written(built, capsys):
    """From a configuration, by their short names, each with settings of its own."""
    checks = [
        "ReachesZero",
        {"class_path": "MoreEffort", "init_args": {"factors": [2], "restarts": 2}},
        "BinarizationTest",
    ]
    built["trainer"]["callbacks"] = [{"class_path": "EvaluationChecks", "init_args": {"checks": checks, "images": 4}}]
    folder = run("test", built)
    found = json.loads((folder / "checks.json").read_text(encoding="utf-8"))
    assert [finding["check"] for finding in found] == [
        "accuracy reaches zero",
        "more effort does not help",
        "a planted row is found",
    ]
    assert found[0]["verdict"] in ("warn", "fail")  # at Δ = 0.1
    assert "with 2× steps" in found[1]["sentence"]
    assert found[2]["verdict"] == "skipped"
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.index("Top-1 accuracy") < printed.index("Is the evaluation honest?")
    assert not list(folder.glob(".*"))


def test_what_checks_see_is_what_the_run_found(built, data):
    built["trainer"]["callbacks"] = [
        {
            "class_path": "EvaluationChecks",
            "init_args": {"checks": [{"class_path": f"{__name__}.Look"}], "images": 7},
        }
    ]
    folder = run("test", built)
    evidence = Look.seen
    assert evidence.rows == Record.load(folder).results
    first = data.on_after_batch_transfer(data.first_queries())
    for seen, name in ((evidence.image, "image"), (evidence.label, "label"), (evidence.ids, "id")):
        assert seen.tolist() == first[name][:7].tolist()
    assert json.loads((folder / "checks.json").read_text(encoding="utf-8")) == [
        {"check": "look", "verdict": "warn", "sentence": "Δ was looked at"}
    ]


def test_the_overlay_adds_all_checks(built, tmp_path, capsys):
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(built))
    files = ["--config", str(tmp_path / "given.yaml"), "--config", "configs/attack/checks.yaml"]
    with restored(), pytest.raises(SystemExit) as printed:
        main(["test", *files, "--print_config"])
    assert printed.value.code == 0
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert [callback["class_path"] for callback in callbacks] == ["lit_knn.engine.callbacks.EvaluationChecks"]
    ours = {check for check in Check.__subclasses__() if check.__module__.startswith("lit_knn.")}
    assert {type(check) for check in EvaluationChecks().checks} == ours


def test_a_mistake_in_a_check_is_one_sentence(built, mistake):
    built["trainer"]["callbacks"] = [{"class_path": "EvaluationChecks", "init_args": {"checks": ["Planter"]}}]
    assert "there is no class 'Planter'; known are " in mistake("test", built)


def test_the_record_is_written_first_whatever_a_check_does(tmp_path):
    quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "default_root_dir": tmp_path}
    trainer = EvalTrainer(callbacks=[EvaluationChecks(), bar := Progress()], **quiet)
    kinds = [type(callback) for callback in trainer.callbacks]
    assert kinds[2:] == [Progress, RunRecord, NeighborPictures, EvaluationChecks, PreemptionGuard, WandbResults]
    assert trainer.callbacks[2] is bar


def test_only_the_first_process_checks(tmp_path):
    class Other:
        is_global_zero = False

    EvaluationChecks().on_test_end(Other(), None)  # looks at nothing else


def test_settings():
    with pytest.raises(UserError, match="images: 0"):
        EvaluationChecks(images=0)
    assert isinstance(EvaluationChecks(checks=[MoreEffort()]).checks[0], MoreEffort)
