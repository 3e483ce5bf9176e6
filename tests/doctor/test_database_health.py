import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import contents
from tests.doctor.conftest import store


def test_a_built_database_is_whole_and_nothing_is_written(copied, ask):
    folder = store(copied).parent
    before = contents(folder)
    code, said = ask(copied)
    assert code == 0
    assert "✓ projections 2 of 2, of this configuration" in said
    assert "✓ store 1,297 rows in 4 sealed shards, of this configuration" in said
    assert f"✓ index early Faiss, {folder / 'index' / 'early'}" in said
    assert "0 s for 0 images to come" in said
    assert contents(folder) == before
    assert not Path(copied["trainer"]["default_root_dir"], "run-001").exists()


def test_a_database_that_nobody_has_begun(copied, ask):
    copied["model"]["database"]["path"] += "-new"
    code, said = ask(copied)
    assert code == 0  # nothing fails: it is only to be built
    assert "! projections no projection of early, late in" in said
    assert "yet: `lit-knn extract` adds what is missing" in said
    assert "for 1,297 images to come" in said
    assert not store(copied).parent.exists()


def remove_projection(folder):
    (folder / "projection" / "early.h5").unlink()


def cut_projection(folder):
    (folder / "projection" / "early.h5").write_bytes(b"cut")


@pytest.mark.parametrize(
    ("lose", "check"),
    [
        (remove_projection, "projections"),
        (cut_projection, "projections"),
        (lambda folder: (folder / "store" / "manifest.json").unlink(), "store"),
        (lambda folder: shutil.rmtree(folder / "index" / "late"), "index late"),
    ],
)
def test_what_a_test_makes_by_itself_is_nothing_to_mind(copied, ask, lose, check):
    lose(store(copied).parent)
    for build_missing, mark, command in ((False, "!", "extract|index"), (True, "✓", "test")):
        copied["model"]["database"]["build_missing"] = build_missing
        code, said = ask(copied)
        assert code == 0
        assert re.search(rf"{mark} {check} [^✓✗!]*: `lit-knn ({command})` adds what is missing", said)


def test_a_store_that_is_half_built(copied, ask):
    for name in ("manifest.json", "shard-000001.h5", "shard-000003.h5"):
        (store(copied) / name).unlink()
    code, said = ask(copied)
    assert code == 0
    assert "! store 2 of 4 shards are sealed in" in said
    assert "about 648 images are missing: `lit-knn extract` adds" in said
    assert "for 648 images to come" in said
    assert "index early" not in said  # of what store nobody knows


def test_a_store_that_is_not_listed(copied, ask):
    (store(copied) / "manifest.json").unlink()
    code, said = ask(copied)
    assert code == 0
    assert "and not listed yet: `lit-knn extract` adds" in said


def test_an_index_that_is_missing_and_one_that_is_cut(copied, ask):
    index = store(copied).parent / "index"
    for path in (index / "early").iterdir():
        path.unlink()
    (cut,) = (index / "late").glob("merged-*.faiss")
    cut.write_bytes(cut.read_bytes()[:100])
    code, said = ask(copied)
    assert code == 1
    assert "! index early Faiss is not in" in said
    assert "yet: `lit-knn index` adds what is missing" in said
    assert "✗ index late " in said
    assert "has 100 of" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model.classifier.mean=[0.4, 0.4, 0.4]"], "is of another origin: classifier is"),
        (["--model.database.softmax=packed"], "which model.database.softmax: packed does not"),
        (["--model.database.index.init_args.factory=IVF4,Flat"], "is of another origin: settings.factory is"),
    ],
)
def test_what_is_of_something_else_will_fail(copied, ask, options, sentence):
    code, said = ask(copied, *options)
    assert code == 1
    assert "✗" in said
    assert sentence in said


def test_a_defense_that_retrieves_from_nothing(copied, ask):
    del copied["model"]["database"]
    code, said = ask(copied)
    assert code == 1
    assert "a defense retrieves, and there is no model.database" in said
