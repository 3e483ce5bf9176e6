"""What the numbers of a run say, in sentences that a reader could check against its table."""

from __future__ import annotations

import re

from lit_knn.report.attackers import knows_defense
from lit_knn.report.headline import Headline, Line, Panel, headline
from lit_knn.report.results.budgets import sized
from lit_knn.report.results.record import Record
from lit_knn.report.results.variant import UNDEFENDED
from lit_knn.report.table import short

SPELT_OUT = 4  # threats and attacks up to which each has a sentence of its own
NAMED = 6  # lines up to which a sentence has each of them


def summary(record: Record) -> str:
    """Return one sentence per threat and attack, or of many the strongest for each defense, and what was not tried.

    The Δ spoken of is the smallest at which the undefended classifier, or in a run without it the first defense, has
    lost at least half of its clean accuracy, or else the largest.
    """
    shown = headline(record.results)
    sentences = [_panel(panel) for panel in shown.panels] if len(shown.panels) <= SPELT_OUT else _strongest(shown)
    retrieves = any(row["tap"] for row in record.results)
    if retrieves and (network := re.match(r"(.+)-[0-9a-f]+(?: in [\w-]+)?$", str(record.database.get("network", "")))):
        sentences.append(
            f"Neighbors are found by the features of {network[1]}, not by the classifier's: a gray box attacks the "
            "classifier alone, a white box both networks."
        )
    if not knows_defense(record) and retrieves:
        sentences.append(
            "These attackers do not know the defense. An attack on the neighbors themselves can do more: read the "
            "numbers as upper bounds of its robustness, and see configs/attack/adaptive.yaml."
        )
    return "\n".join(sentences)


def speaking_delta(record: Record) -> float:
    """Return the Δ that tables of one column speak of, chosen under the worst case, or else the first attack."""
    return _spoken(headline(record.results).worst)


def _panel(panel: Panel) -> str:
    first = _first(panel)
    delta, whose = _spoken(panel), "undefended" if first.label == UNDEFENDED else first.label
    lines, rest = panel.lines, ""
    if len(lines) > NAMED:
        others = [line for line in lines if line is not first]
        best = max(others, key=lambda line: _at(line, delta))
        lines, rest = [first], f"; most of {len(others)} others keeps {best.label}, {short(_at(best, delta))}"
    kept = ", ".join(f"{line.label} {short(_at(line, delta))}" for line in lines) + rest
    clean = f"{short(first.rows[0]['accuracy'])} clean, {whose}"
    return f"{panel.title}: at {_sized(panel, delta)} the accuracy is {kept} ({clean})."


def _strongest(shown: Headline) -> list[str]:
    """Say for each defense what all attacks together leave, and which one alone does most."""
    worst = shown.worst
    attacks, delta = [panel for panel in shown.panels if panel is not worst], _spoken(worst)
    sentences = []
    for line in worst.lines:
        alone = {p.title: _at(other, delta) for p in attacks for other in p.lines if other.label == line.label}
        title = min(alone, key=alone.__getitem__)
        sentences.append(
            f"{line.label}: of {short(line.rows[0]['accuracy'])}, all attacks leave {short(_at(line, delta))} "
            f"at {_sized(worst, delta)}; the strongest alone is {title} ({short(alone[title])})."
        )
    return sentences


def _first(panel: Panel) -> Line:
    """Return the undefended classifier, or where the run does not ask it, the first defense."""
    return next((line for line in panel.lines if line.label == UNDEFENDED), panel.lines[0])


def _spoken(panel: Panel) -> float:
    """Return the Δ to speak of."""
    rows = _first(panel).rows
    broken = [row["delta"] for row in rows if row["accuracy"] <= rows[0]["accuracy"] / 2]
    return broken[0] if broken else rows[-1]["delta"]


def _at(line: Line, delta: float) -> float:
    return next(row["accuracy"] for row in line.rows if row["delta"] == delta)


def _sized(panel: Panel, delta: float) -> str:
    return sized(_first(panel).rows[0]["norm"], delta)
