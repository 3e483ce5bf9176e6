from lit_knn.report.results import WORST_CASE, Case
from tests.report.conftest import make_record


def test_rows_have_a_case_each():
    given = [("white_box layer1", "PGD-FS"), ("all", "worst case")]
    found = dict.fromkeys(map(Case.of, make_record(given).results))
    assert list(found) == [Case(*given[0]), WORST_CASE]
    assert [one.title for one in found] == ["white box layer1, PGD-FS", "all, worst case"]
