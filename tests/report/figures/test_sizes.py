import dataclasses
from pathlib import Path

from PIL import Image

from lit_knn.report.figures.sizes import size_figure, size_points
from lit_knn.report.results.runs import Run
from tests.report.conftest import make_record

CASES = [("gray_box", "PGD"), ("gray_box", "APGD"), ("white_box layer1", "PGD-FS"), ("all", "worst case")]


def run(rows, seed=0, urls="all", fingerprints=None, path="x", shift=0.0):
    record = make_record(CASES, taps=("layer1",), sizes=rows if isinstance(rows, tuple) else (rows or 50_000,))
    results = [row | {"accuracy": row["accuracy"] - shift} for row in record.results]
    config = {
        "seed_everything": seed,
        "model": {"database": {"rows": rows, "path": path}},
        "data": {"database": {"init_args": {"urls": urls}}},
    }
    changed = {"config": config, "results": results, "fingerprints": fingerprints or record.fingerprints}
    return Run(f"{rows}-{seed}-{urls}", Path(), dataclasses.replace(record, **changed))


def test_a_point_for_each_attacker_delta_and_size_of_the_headline_variant():
    points = size_points([run(100), run(None)])
    assert {(p.line, p.series) for p in points} == {("kNN layer1", "")}
    assert {p.panel for p in points} == {"gray box", "white box", "worst case"}
    assert {p.x for p in points} == {100, 50_000}
    assert {p.size for p in points} == {("relative_l2", delta) for delta in (0.0, 0.02, 0.06)}
    assert len(points) == len(set(points)) == 3 * 2 * 3
    wanted = {"defense": "kNN", "k": 50, "weighting": "CBW-D", "combination": "soft", "delta": 0.06, "topk": 1}
    (row,) = (r for r in run(100).record.results if r["attack"] == "APGD" and wanted.items() <= r.items())
    (point,) = (p for p in points if (p.panel, p.size, p.x) == ("gray box", ("relative_l2", 0.06), 100))
    assert (point.accuracy, point.low, point.high) == (row["accuracy"], row["low"], row["high"])


def test_sizes_of_one_sweep_are_those_of_several_runs():
    sweep = run((100, 200, 300)).record.results
    for point in size_points([run((100, 200, 300)), run(50)]):
        if point.x > 50:
            same = {"rows": point.x, "delta": point.size[1], "k": 50, "weighting": "CBW-D", "combination": "soft"}
            found = [r["accuracy"] for r in sweep if same.items() <= r.items() and r["topk"] == 1]
            assert point.accuracy in found
    assert {point.x for point in size_points([run((100, 200, 300))])} == {100, 200, 300}


def test_no_figure_without_two_sizes():
    assert size_points([run(100), run(100, seed=1)]) == []
    without = run(100)
    without = without._replace(record=make_record(taps=()))
    assert size_points([run(100), without]) == []


def test_only_runs_of_one_classifier_and_its_queries_are_compared():
    assert size_points([run(100, fingerprints={"classifier": "a"}), run(200, fingerprints={"classifier": "b"})]) == []
    runs = [run(rows, fingerprints={"classifier": name}) for name in "ab" for rows in (100, 200)]
    assert {point.series for point in size_points([*runs, run(300)])} == {"a", "b"}


def test_series_are_what_differs_besides_size_and_seed():
    points = size_points(
        [run(rows, seed, urls) for rows in (100, 200) for seed in (0, 1) for urls in ("all", "targeted")]
    )
    assert {point.series for point in points} == {"urls all", "urls targeted"}


def test_sizes_that_have_a_database_of_their_own_are_one_line():
    assert {p.series for p in size_points([run(n, urls=f"part-{n}", path=f"db-{n}") for n in (100, 200)])} == {""}


def test_runs_of_one_size_with_other_settings_are_left_out_where_others_have_several():
    points = size_points([run(100), run(200), run(300, urls="other")])
    assert {(p.series, p.x) for p in points} == {("urls all", 100), ("urls all", 200)}


def test_series_whose_settings_are_long_are_told_apart_by_their_runs():
    """Cut settings would be the same, and so their points those of one line."""
    long = "x" * 60
    points = size_points([run((100, 200), urls=f"{long}{name}") for name in "ab"])
    assert {point.series for point in points} == {f"(100, 200)-0-{long}{name}" for name in "ab"}


def test_draws_every_accuracy_and_the_same_bytes_twice(tmp_path):
    urls = ("all", "$targeted_$")
    points = size_points([run(rows, seed, url) for rows in (100, 1000) for seed in (0, 1) for url in urls])
    others = [points[0]._replace(accuracy=0.01), *points[1:]]
    for name, drawn in (("a.png", points), ("b.png", points), ("c.png", others)):
        size_figure(drawn, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes() != (tmp_path / "c.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 600
        assert image.convert("L").getextrema()[0] < 100


def test_sizes_in_other_norms_are_other_lines(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("lit_knn.report.figures.sweep.save_figure", lambda figure, *_, **__: drawn.append(figure))
    records = [
        make_record(CASES, taps=("layer1",), sizes=(100, 200), norm=norm, deltas=(0.0, 8 / 255))
        for norm in ("linf", "l2")
    ]
    runs = [Run(record.norm, Path(), dataclasses.replace(record, config={})) for record in records]
    size_figure(size_points(runs), tmp_path / "sizes.png")
    labels = {text.get_text() for text in drawn[0].axes[-1].texts} - {""}
    assert labels == {"L2 = 0", "L2 = 0.0313725", "L∞ = 0", "L∞ = 8/255"}
