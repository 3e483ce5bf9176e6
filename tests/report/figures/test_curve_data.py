import json

import pytest

from lit_knn.report.figures.curve_data import curve_data
from lit_knn.report.figures.curves import accuracy_figure
from lit_knn.report.results import UNDEFENDED
from tests.report.conftest import make_record


@pytest.mark.parametrize(("norm", "texts"), [("relative_l2", ["0", "0.02", "0.06"]), ("linf", ["0", "4/255", "8/255"])])
def test_it_is_what_the_figure_draws(norm, texts):
    """Line by line against what Matplotlib was given."""
    record = make_record(norm=norm, deltas=(0.0, 4 / 255, 8 / 255) if norm == "linf" else (0.0, 0.02, 0.06))
    data = json.loads(json.dumps(curve_data(record)))
    figure = accuracy_figure(record)
    assert [text for _, text in data["sizes"]] == texts
    titles = [axes.get_title() for axes in figure.axes]
    assert [panel["title"] for panel in data["panels"]] == titles == ["gray box, PGD", "black box, PGD"]
    for panel, axes in zip(data["panels"], figure.axes, strict=True):
        lines = [line for line in axes.lines if len(line.get_xdata()) > 1]  # and no marker beside a name
        for (line, rows), drawn in zip(panel["lines"], lines, strict=True):
            assert [data["sizes"][row[0]][0] for row in rows] == pytest.approx(list(drawn.get_xdata()))
            assert [row[1] / 10_000 for row in rows] == pytest.approx(list(drawn.get_ydata()), abs=5e-5)
            color, _ = data["styles"][line]
            assert color == (None if data["lines"][line] == UNDEFENDED else drawn.get_color())
            assert {row[4] for row in rows} == {1000}
            for row in rows:
                low, high = (value / 10_000 for value in row[2:4])
                match = [
                    one
                    for one in record.results
                    if abs(one["low"] - low) < 1e-4 and abs(one["high"] - high) < 1e-4 and one["topk"] == 1
                ]
                assert any(abs(one["accuracy"] - row[1] / 10_000) < 1e-4 for one in match)
