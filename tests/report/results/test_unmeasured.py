from lit_knn.report.results.paper import beside
from lit_knn.report.results.published import Place, figures, lines
from lit_knn.report.results.unmeasured import unmeasured
from tests.report.results.test_paper import imagenet_run


def test_what_runs_have_measured_is_not_named():
    found = beside(imagenet_run("2"), 0.06)
    one, two, four, drawn = unmeasured([Place(table="2", row="IN-1.3M")], found)
    assert one == "Table 1: IG-50B-All, IG-1B-Targeted, IN-1.3M"
    assert two == (
        "Table 2: Crop ensemble, TV Minimization, Image quilting, IG-50B-All, IG-1B-Targeted, YFCC-100M"
    )  # and none that is quoted
    assert four.startswith("Table 4: ")
    assert drawn == "Figures: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"


def test_of_a_row_that_is_there_in_part_the_rest_is_named():
    found = [one for one in beside(imagenet_run("1"), 0.06) if one.setting != "black box"]
    assert unmeasured([], found)[0] == "Table 1: IG-50B-All, IG-1B-Targeted, IN-1.3M (black box)"


def test_figures_are_there_by_their_panels():
    places = [Place(figure="6", panel="a"), Place(figure="6", panel="c"), Place(figure="4"), Place(figure="2")]
    drawn = unmeasured(places, [])[-1]
    assert drawn == "Figures: 3, 5, 6 (b), 7, 8, 9, 10, 11, 12"


def test_nothing_is_left_of_all():
    found = [one for table in "124" for one in beside(imagenet_run(table), 0.06)]
    every = [
        found[0]._replace(line=line, setting=setting)
        for line in lines()
        if line.kind != "quoted"
        for setting in line.accuracies
    ]
    assert unmeasured([Place(figure=number) for number in figures()], every) == []
