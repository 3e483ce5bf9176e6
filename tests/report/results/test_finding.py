from lit_knn.report.results import Finding


def test_a_finding_is_told_by_what_was_seen():
    assert Finding("order", "pass", "all is well") == ("order", "pass", "all is well")
    assert Finding("order", "pass", "all is well") != Finding("order", "warn", "all is well")
