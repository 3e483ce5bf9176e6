"""Sealed as a whole, or not at all; the rest of it goes through the command line in `test_own_resources`."""

from dataclasses import replace

import pytest

from lit_knn.database.resource import Resource, resource_findings
from lit_knn.errors import UserError


class Text(Resource):
    name = "text"

    def __init__(self, text, fails=False):
        self.text, self.fails = text, fails

    def settings(self):
        return len(self.text)

    def write(self, folder, classifier, gallery):
        (folder / "deep").mkdir()
        (folder / "deep" / "text").write_text(self.text)
        if self.fails:
            raise RuntimeError

    def read(self, folder):
        self.found = (folder / "deep" / "text").read_text()


def test_it_gives_back_what_was_written_and_tells_its_content(tmp_path, gallery):
    one, two, place = Text("abc"), Text("xyz"), tmp_path / "resources" / "text"
    assert not one.is_sealed(place)
    assert one.fault(place, gallery) == f"resource text in {place} is missing"
    assert one.identity() == two.identity()
    for resource in (one, two):
        resource.build(place, None, gallery)
        assert resource.is_sealed(place)
        assert resource.fault(place, gallery) == ""
        resource.open(place, gallery)
        assert resource.found == resource.text
    assert one.identity() != two.identity()
    assert [path.name for path in place.parent.iterdir()] == ["text"]


def test_what_fails_leaves_what_there_was(tmp_path, gallery):
    place = tmp_path / "resources" / "text"
    Text("abc").build(place, None, gallery)
    with pytest.raises(RuntimeError):
        Text("xyz", fails=True).build(place, None, gallery)
    resource = Text("   ")
    resource.open(place, gallery)
    assert resource.found == "abc"
    assert [path.name for path in place.parent.iterdir()] == ["text"]


def test_another_database_makes_another_one(tmp_path, gallery):
    place = tmp_path / "resources" / "text"
    resource = Text("abc")
    resource.build(place, None, gallery.view(0, 100))
    assert resource.is_sealed(place)
    assert " is of another origin: rows" in resource.fault(place, gallery)
    with pytest.raises(
        UserError, match=r"resource text in .* is of another origin: rows.*index` again, which replaces it, or"
    ):
        resource.open(place, gallery)


@pytest.mark.parametrize(("taps", "same"), [(None, False), ([], True), (["early"], True), (["late"], False)])
def test_an_index_counts_where_it_is_searched(taps, same, tmp_path, gallery):
    resource = Text("abc")
    resource.taps = taps
    resource.build(tmp_path / "text", None, gallery)
    without = replace(gallery, indexes={tap: one for tap, one in gallery.indexes.items() if tap != "late"})
    assert (resource.fault(tmp_path / "text", without) == "") is same


@pytest.mark.parametrize("change", ["changed", "gone", "new"])
def test_every_change_is_found(change, tmp_path, gallery):
    place = tmp_path / "resources" / "text"
    resource = Text("abc")
    resource.build(place, None, gallery)
    assert list(resource_findings(place.parent)) == []
    if change == "gone":
        (place / "deep" / "text").unlink()
    else:
        (place / "deep" / ("more" if change == "new" else "text")).write_text("abd")
    name = "deep/more" if change == "new" else "deep/text"
    with pytest.raises(UserError, match=rf"is damaged \({name} has changed\)"):
        resource.open(place, gallery)
    (sentence,) = resource_findings(place.parent)
    assert f"resource text in {place} is damaged ({name} changed)" in sentence
