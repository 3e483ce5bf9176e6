"""What a comparison says in sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence

from lit_knn.errors import counted
from lit_knn.report.comparison.differences import LEVEL, Comparison, Difference
from lit_knn.report.comparison.matching import absent
from lit_knn.report.rendering.document import Block, Heading, Paragraph, Table
from lit_knn.report.results.budgets import size_text
from lit_knn.report.results.case import WORST_CASE
from lit_knn.report.results.runs import Run
from lit_knn.report.results.variant import Variant
from lit_knn.report.settings import LONGEST
from lit_knn.report.table import cut, short, signed

NAMED = 6  # things of one kind that only one of the runs has
BEYOND = "✱"
TESTS = {
    "McNemar": "McNemar's exact test of the images that only one of the runs has right",
    "paired t": "Student's paired test where several evaluations of an image are averaged",
    "two proportions": "a score test of two proportions",
}


def document(a: Run, b: Run, found: Comparison, most: int) -> list[Block]:
    """Return the document.

    Args:
        a: One run.
        b: The other one.
        found: What they differ in.
        most: How many of the largest differences are listed.
    """
    return [
        Heading("A and B", 1),
        Paragraph(f"A is {a.folder}, B is {b.folder}. {_summary(found)}"),
        *(Paragraph(sentence, warning=True) for sentence in cautions(a, b, found)),
        *_differences(found.differences, most),
        *(Paragraph(sentence) for sentence in only_in_one(found)),
        _settings(found),
    ]


def cautions(a: Run, b: Run, found: Comparison) -> list[str]:
    """Return what to know before the differences are believed, in sentences."""
    sentences = []
    if a.folder.resolve() == b.folder.resolve():
        sentences.append("A and B are the same run.")
    if found.unpaired:
        sentences.append(
            f"Not compared image by image: {found.unpaired}. So each p is that of two samples of images, which tells "
            "less where they are the same."
        )
    elif found.images < (most := max(row["n"] for run in (a, b) for row in run.record.results)):
        sentences.append(
            f"Accuracies are those of the {counted(found.images, 'image', 'images')} that both runs have, of up to "
            f"{most:,}."
        )
    both = found.matched.both
    cases = [run.record.fingerprints.get("cases") for run in (a, b)]
    if cases[0] != cases[1] and any(key.case == WORST_CASE for key in both):
        sentences.append("The worst case is that of each run's own attacks, which are not the same.")
    times = dict.fromkeys((row_a["evaluations"] or 1, row_b["evaluations"] or 1) for row_a, row_b in both.values())
    if unequal := [f"{one} in A and {other} in B" for one, other in times if one != other]:
        sentences.append(f"Means are of different numbers of evaluations: {', '.join(unequal)}.")
    return sentences


def only_in_one(found: Comparison) -> list[str]:
    """Return what one run has that the other lacks, in sentences."""
    sentences = []
    both, only_a, only_b = found.matched
    for name, own, others in (("A", only_a, only_b), ("B", only_b, only_a)):
        if own:
            kinds = absent(own, [*both, *others])
            parts = [_listed(texts) for texts in kinds.values()] or ["other combinations"]
            sentences.append(f"Only in {name} are {counted(len(own), 'result', 'results')}: {'; '.join(parts)}.")
    return sentences


def _summary(found: Comparison) -> str:
    differences = found.differences
    if not differences:
        return "They have no result in common."
    beyond = sum(difference.beyond for difference in differences)
    equal = sum(difference.size == 0 for difference in differences)
    how = f", of the same {counted(found.images, 'image', 'images')}" if found.images else ""
    return (
        f"They have {counted(len(differences), 'result', 'results')} in common{how}: "
        f"{counted(beyond, 'differs', 'differ')} beyond sampling error, {counted(equal, 'is', 'are')} equal."
    )


def _differences(differences: Sequence[Difference], most: int) -> list[Block]:
    shown = [difference for difference in differences if difference.size][:most]
    if not shown:
        return []
    words = [difference.key.line.words() for difference in differences]
    common = {name: {line[name] for line in words if name in line} for name in Variant._fields[2:]}
    shared = {name: text for name, texts in common.items() if len(texts) == 1 for text in texts}
    rows = [
        [
            f"{BEYOND} " * one.beyond + (one.key.case.title if one.key.delta else "clean"),
            " ".join(text for name, text in one.key.line.words().items() if name not in shared),
            *(size_text(one.key.norm, one.key.delta), str(one.key.topk)),
            *(short(one.share_a), short(one.share_b), signed(one.size)),
            *(f"{signed(one.low)} to {signed(one.high)}", _probability(one.adjusted)),
        ]
        for one in shown
    ]
    head = ["attack", "defense", "size", "top", "A", "B", "B − A", "95 % interval", "p"]
    if all(one.key.topk == 1 for one in shown):  # which goes without saying
        place = head.index("top")
        head, rows = [*head[:place], *head[place + 1 :]], [[*row[:place], *row[place + 1 :]] for row in rows]
    tests = [TESTS[name] for name in dict.fromkeys(difference.test for difference in differences)]
    sentences = [
        f"{BEYOND}: beyond sampling error, so that other images would show it, too.",
        f"p: after Holm's correction for all {len(differences):,} results, below {LEVEL:g} for {BEYOND}; by",
        f"{', or '.join(tests)}.",
        "Intervals are of each result alone.",
        *([f"All retrieval: {', '.join(shared.values())}."] if shared else []),
        *([f"{len(differences) - len(shown):,} more are in --format csv."] if len(shown) < len(differences) else []),
    ]
    return [Table(head, rows, 2, " ".join(sentences))]


def _settings(found: Comparison) -> Block:
    if not found.settings:
        return Paragraph("No setting, version or device differs.")
    rows = [[key, *(cut(str(value), LONGEST) or "–" for value in pair)] for key, pair in found.settings.items()]
    return Table(["setting", "A", "B"], rows, 3, "Settings, and what else decides a number, where they differ.")


def _probability(p: float) -> str:
    return "< .001" if p < 0.001 else short(p)


def _listed(texts: Sequence[str]) -> str:
    more = [f"{len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return ", ".join([*texts[:NAMED], *more])
