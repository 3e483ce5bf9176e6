"""What the numbers of a run say, in sentences that a reader could check against its table."""

from __future__ import annotations

from lit_knn.report.headline import headline
from lit_knn.report.record import Record


def summary(record: Record) -> str:
    """Return one sentence per threat and attack, and what the run did not try.

    The Δ spoken of is the smallest at which the undefended classifier has lost at least half of its clean accuracy, or
    else the largest.
    """
    found = headline(record.results)
    sentences = []
    for title, lines in found.panels:
        undefended = next((line for line in lines if line.label == "none"), lines[0])
        clean = undefended.rows[0]["accuracy"]
        broken = [row["delta"] for row in undefended.rows if row["accuracy"] <= clean / 2]
        delta = broken[0] if broken else undefended.rows[-1]["delta"]
        at = {line.label: row["accuracy"] for line in lines for row in line.rows if row["delta"] == delta}
        kept = ", ".join(f"{label} {accuracy:.2f}" for label, accuracy in at.items())
        sentences.append(f"{title}: at Δ = {delta:g} the accuracy is {kept} ({clean:.2f} clean, undefended).")
    adaptive = {row["threat"] for row in record.results} - {"gray_box", "black_box"}
    if not adaptive and any(row["tap"] for row in record.results):
        sentences.append(
            "These attackers do not know the defense. An attack on the neighbours themselves can do more: read the "
            "numbers as upper bounds of its robustness."
        )
    return "\n".join(sentences)
