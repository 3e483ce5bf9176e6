from lit_knn.doctor.study import Step
from lit_knn.doctor.study_table import study_table


def test_what_is_known_is_summed_and_shared_by_the_tasks_of_an_array():
    steps = [
        Step("extract", 72_000, 1, 0.1, 3_000_000, shared=True),
        Step("index", 72_000, None, 0.0, 2_000_000),
        Step("test a", 100, 250, 3.6, 1_000, most=True),
    ]
    assert [line.split() for line in study_table(steps, tasks=4)] == [
        ["images", "passes", "of", "each", "time", "of", "one", "process", "bytes", "written"],
        ["extract", "72,000", "1", "2.0", "h,", "30", "min", "in", "each", "of", "4", "3", "MB"],
        ["index", "72,000", "2", "MB"],
        ["test", "a", "100", "250", "at", "most", "6", "min", "1", "kB"],
        ["in", "all", "2.1", "h", "5", "MB"],
    ]


def test_what_is_not_known_of_all_is_told_of_each_or_not_at_all():
    steps = [
        Step("extract", None, 1, 0.125, 2_500),
        Step("test a", None, 40, None, None),
        Step("test b", 1_000, 40, 0.36, 1_500_000),
    ]
    lines = [line.split() for line in study_table(steps, tasks=4)][1:]
    assert lines == [
        ["extract", "?", "1", "0.12", "s", "an", "image", "2.5", "kB", "an", "image"],
        ["test", "a", "?", "40", "?", "?"],
        ["test", "b", "1,000", "40", "6", "min", "1.5", "MB"],
        ["in", "all", "more", "than", "6", "min", "more", "than", "1.5", "MB"],
    ]


def test_columns_are_below_each_other():
    lines = list(study_table([Step("a", 1, 1, 1.0, 1), Step("a longer name", 10_000, 100, 1.0, 10**9)]))
    assert len({len(line) for line in lines}) == 1
