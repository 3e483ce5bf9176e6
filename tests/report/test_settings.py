import dataclasses

import pytest

from lit_knn.report.settings import database_sizes, differing, settings, surroundings
from tests.report.conftest import make_record


def record(config):
    return dataclasses.replace(make_record(taps=(), deltas=(0.0,)), config=config)


def parts(*names, steps=10):
    return {
        "model": {"attacks": [{"class_path": f"lit_knn.attacks.{n}", "init_args": {"steps": steps}} for n in names]}
    }


def test_leaves_have_dotted_keys_and_what_decides_no_number_is_left_out():
    config = {
        "seed_everything": 3,
        "trainer": {"run": "a", "devices": 2, "precision": None},
        "model": {"topk": [1, 5], "cache": {"path": "c"}, **parts("PGD")["model"]},
        "data": {"num_workers": 4, "batch_size": 8, "num_queries": 9, "shuffle": True},
    }
    assert settings(record(config)) == {
        "seed_everything": 3,
        "trainer.precision": "",
        "model.topk": "[1, 5]",
        "model.attacks": "PGD",
        "model.attacks.0.class_path": "PGD",
        "model.attacks.0.init_args.steps": 10,
        "data.num_queries": 9,
        "data.shuffle": "true",
    }


@pytest.mark.parametrize("path", ["PGD", "lit_knn.attacks.pgd.PGD", "lit_knn.elsewhere.PGD"])
def test_where_a_class_of_this_package_lies_is_no_difference(path):
    moved = record({"model": {"attacks": [{"class_path": path, "init_args": {"steps": 10}}]}})
    assert differing([record(parts("PGD")), moved]) == [{}, {}]
    mine = record({"model": {"attacks": [{"class_path": "mine.PGD", "init_args": {"steps": 10}}]}})
    assert differing([mine, moved])[0] == {"model.attacks.0.class_path": "mine.PGD"}


def test_only_what_differs():
    configs = [{"model": {"database": {"rows": rows, "path": "x"}}, "seed_everything": 0} for rows in (10, None, 0.5)]
    assert differing([record(config) for config in configs]) == [{"model.database.rows": r} for r in (10, "", 0.5)]
    assert differing([record({})]) == [{}]
    assert differing([record({"seed_everything": 1}), record({})]) == [{"seed_everything": 1}, {"seed_everything": ""}]


def test_other_parts_are_named_and_the_same_parts_compared():
    other = differing([record(parts("PGD")), record(parts("PGD", "FGSM", steps=3))])
    assert other == [{"model.attacks": "PGD"}, {"model.attacks": "PGD, FGSM"}]
    same = differing([record(parts("PGD")), record(parts("PGD", steps=3))])
    assert same == [{"model.attacks.0.init_args.steps": 10}, {"model.attacks.0.init_args.steps": 3}]


def test_parts_are_told_apart_and_named_once_each():
    def attack(*objectives, **settings):
        inner = None
        for name in reversed(objectives):
            inner = {"class_path": name, "init_args": {"objective": inner, "draws": 3}}
        return {"class_path": "PGD", "init_args": {"objective": inner, "name": "", **settings}}

    attacks = [attack(), attack("SoftKNN"), attack("EOT", "DLR"), attack(steps=3), attack("DLR", name="mine"), "FMN"]
    made = settings(record({"model": {"attacks": attacks}}))
    assert made["model.attacks"] == "PGD ×2, PGD(SoftKNN), PGD(EOT(DLR)), mine, FMN"


def test_a_threat_is_spelled_the_same_with_settings_and_without():
    white = {"class_path": "lit_knn.threat_models.WhiteBox", "init_args": {"rows": 5, "name": "white_box"}}
    for threats in (
        [{"class_path": "lit_knn.threat_models.GrayBox"}, white],
        [{"class_path": "GrayBox"}, {"class_path": "WhiteBox"}],
    ):
        assert settings(record({"model": {"threats": threats}}))["model.threats"] == "gray_box, white_box"


def test_a_part_goes_by_its_name_or_its_layer():
    taps = {"model": {"taps": [{"layer": "a.add", "name": ""}, {"layer": "b.add", "name": "late"}, {}, 3]}}
    assert settings(record(taps))["model.taps"] == "a.add, late, ?, 3"


def test_a_class_with_a_layer_goes_by_its_class():
    part = {"class_path": "lit_knn.defenses.neighbors.ra_cnn.RACNN", "init_args": {"tap": "late", "layer": "layer3"}}
    assert settings(record({"model": {"defenses": [part]}}))["model.defenses"] == "RACNN"


@pytest.mark.parametrize("sizes", [(), (1000,), (10, 100, 1000)])
def test_rows_that_were_searched(sizes):
    assert database_sizes(make_record(deltas=(0.0,), sizes=sizes)) == list(sizes)


def test_whole_numbers_are_written_as_such_however_they_were_read():
    rows = settings(record({"model": {"database": {"rows": 500.0}, "deltas": 0.5}}))
    assert str(rows["model.database.rows"]) == "500"
    assert rows["model.deltas"] == 0.5


def test_surroundings_are_devices_versions_and_hashes():
    config = {"trainer": {"devices": 2, "accelerator": "gpu", "max_epochs": 3}, "data": {"batch_size": 50}}
    parts = {"classifier": "a-0123", "attack PGD": {"steps": 3}}
    made = dataclasses.replace(make_record(deltas=(0.0,), sizes=(10, 20)), config=config, fingerprints=parts, git="ab")
    assert surroundings(made) == {
        "trainer.accelerator": "gpu",
        "trainer.devices": 2,
        "trainer.num_nodes": "",
        "data.batch_size": 50,
        "git": "ab",
        "database rows searched": "10, 20",
        "fingerprints.classifier": "a-0123",
        "versions.torch": "2.14",
    }
    assert differing([made, dataclasses.replace(made, git="cd")], surroundings) == [{"git": "ab"}, {"git": "cd"}]
