import io

import pytest
from rich.console import Console

from lit_knn.evaluation.checks import Finding
from lit_knn.report.findings import findings_table

FINDINGS = [
    Finding("zero", "pass", "it is"),
    Finding("order", "warn", "half of it [sic]"),
    Finding("effort", "fail", "a sentence that is so long that it has to go on in the line below, and then in another"),
    Finding("noise", "skipped", "add RandomNoise"),
]


def printed(findings, width=60):
    console = Console(file=io.StringIO(), width=width)
    console.print(findings_table(findings))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 200])
def test_each_finding_has_its_mark_its_name_and_its_whole_sentence(width):
    _, *lines = printed(FINDINGS, width)
    assert [line.split()[:2] for line in lines if not line.startswith("  ")] == [
        ["✓", "zero"],
        ["!", "order"],
        ["✗", "effort"],
        ["–", "noise"],
    ]
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    assert all(finding.sentence in words for finding in FINDINGS)


def test_the_list_says_what_it_is():
    assert printed(FINDINGS)[0].startswith("Is the evaluation honest?")
    titled = io.StringIO()
    Console(file=titled).print(findings_table(FINDINGS, "Another list"))
    assert titled.getvalue().startswith("Another list")
