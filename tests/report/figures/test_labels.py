from matplotlib.figure import Figure

from lit_knn.report.figures.labels import OUT, End, label_ends

STYLE = {"color": "#0072B2", "marker": "s"}


def labeled(*ends):
    axes = Figure().subplots()
    axes.set_ylim(0, 1)
    label_ends(axes, [End(name, x, y, STYLE) for name, x, y in ends])
    return axes


def test_each_name_stands_beside_its_end_with_its_marker_and_something_leads_there():
    axes = labeled(("$a_b$", 0.2, 0.5), ("c", 0.3, 0.9))
    names = [text for text in axes.texts if text.get_text()]
    leads = [text for text in axes.texts if not text.get_text()]
    assert [name.get_text() for name in names] == ["$a_b$", "c"]
    assert [name.get_position()[1] for name in names] == [0.5, 0.9]
    assert all(name.get_position()[0] > OUT > 1 and not name.get_parse_math() for name in names)
    assert [lead.xy for lead in leads] == [(0.2, 0.5), (0.3, 0.9)]
    assert [(line.get_marker(), line.get_color()) for line in axes.lines] == [("s", "#0072B2")] * 2


def test_many_names_at_one_place_do_not_lie_over_each_other_or_outside():
    axes = labeled(*((f"line {n}", 1, 0.0) for n in range(30)))
    heights = [text.get_position()[1] for text in axes.texts if text.get_text()]
    assert len({round(height, 6) for height in heights}) == 30
    assert (min(heights), max(heights)) == (0, 1)


def test_nothing_leads_to_the_name_of_a_line_of_another_panel():
    axes = labeled(("a", None, 0.5))
    assert [text.get_text() for text in axes.texts] == ["a"]
