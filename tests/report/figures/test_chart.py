import itertools
import re
from xml.etree import ElementTree

import pytest

from lit_knn.report.figures.chart import HEIGHT, LEFT, TOP, WIDTH, accuracy_chart, line_styles
from lit_knn.report.headline import headline
from tests.report.conftest import make_record

SVG = "{http://www.w3.org/2000/svg}"


def drawn(record, tmp_path):
    return ElementTree.parse(accuracy_chart(record, tmp_path / "chart.svg")).getroot()


def test_each_accuracy_is_where_the_axes_say(tmp_path):
    record = make_record(cases=[("gray_box", "PGD")], taps=("layer1",))
    found = {(float(dot.get("cx")), float(dot.get("cy"))) for dot in drawn(record, tmp_path).iter(f"{SVG}circle")}
    expected = {
        (round(LEFT + WIDTH * row["delta"] / 0.06, 1), round(TOP + HEIGHT * (1 - row["accuracy"]), 1))
        for row in headline(record.results).rows
    }
    assert found == expected


@pytest.mark.parametrize("panels", [1, 5])
def test_nothing_lies_outside_and_all_is_labeled(panels, tmp_path):
    nasty = '<b> & "attack"'
    record = make_record(cases=[("gray_box", f"{nasty} {n}") for n in range(panels)])
    root = drawn(record, tmp_path)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if "attack" in text] == [f"gray box, {nasty} {n}" for n in range(panels)]
    assert {"none", "kNN layer1", "kNN layer2"} < set(texts)
    for path in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"[-\d.]+", path.get("d"))]
        assert all(0 <= x <= float(root.get("width")) for x in numbers[::2])
        assert all(0 <= y <= float(root.get("height")) for y in numbers[1::2])


def test_a_record_of_clean_images_only(tmp_path):
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0,))
    assert len(list(drawn(record, tmp_path).iter(f"{SVG}circle"))) == 3


def test_every_line_can_be_told_apart():
    labels = ["none", *(f"kNN layer{n}" for n in range(20))]
    assert len(set(line_styles(labels))) == len(labels)
    assert line_styles(["kNN a", "none"])[1] == line_styles(labels)[0]


def test_sizes_in_the_units_of_others(tmp_path):
    record = make_record(norm="linf", deltas=(0.0, 4 / 255, 8 / 255))
    texts = [part.text for part in ElementTree.parse(accuracy_chart(record, tmp_path / "a.svg")).iter(f"{SVG}text")]
    assert texts.count("8/255") == texts.count("L∞ = ‖x*−x‖∞") == 2  # of two panels


def test_each_name_is_at_a_height_of_its_own_in_the_order_of_the_ends(tmp_path):
    record = make_record(cases=[("gray_box", "PGD")], taps=tuple(f"layer{n}" for n in range(9)))
    root = drawn(record, tmp_path)
    last = {line.label: line.rows[-1]["accuracy"] for line in headline(record.results).panels[0].lines}
    heights = {text.text: float(text.get("y")) for text in root.iter(f"{SVG}text") if text.text in last}
    assert set(heights) == set(last)
    assert sorted(heights, key=heights.__getitem__) == sorted(last, key=last.__getitem__, reverse=True)
    ordered = sorted(heights.values())
    assert all(above + 16 <= below + 1e-6 for above, below in itertools.pairwise(ordered))
