from lit_knn.cli.class_names import derived, foreign_names, with_kinds


def test_classes_of_this_package_lose_their_modules_and_nothing_else_changes():
    config = {
        "attacks": [{"class_path": "lit_knn.attacks.pgd.PGD", "init_args": {"objective": {"class_path": "PGD"}}}],
        "index": {"class_path": "mine.Scan", "init_args": {"index": {"class_path": "lit_knn.database.Scan"}}},
        "network": "lit_knn.backbones.digits.digits_resnet",
        "rows": [1, None, 0.5],
        "callbacks": None,
    }
    found = with_kinds(config, {"Scan"})
    assert found["attacks"][0] == {"class_path": "PGD", "init_args": {"objective": {"class_path": "PGD"}}}
    assert {name: found[name] for name in ("index", "network", "rows", "callbacks")} == {
        name: config[name] for name in ("index", "network", "rows", "callbacks")
    }
    assert with_kinds(found, {"Scan"}) == found


def test_a_name_that_a_class_of_ones_own_has_as_well_is_ambiguous():
    class Contract:
        pass

    path = "lit_knn.attacks.pgd.PGD"
    ours = type("PGD", (Contract,), {"__module__": "lit_knn.attacks.pgd"})
    assert foreign_names([Contract]) == set()
    assert with_kinds({"class_path": path}, foreign_names([Contract])) == {"class_path": "PGD"}
    own = type("PGD", (ours,), {"__module__": "mine"})
    assert list(derived(Contract)) == [ours, own]
    assert with_kinds({"class_path": path}, foreign_names([Contract])) == {"class_path": path}
