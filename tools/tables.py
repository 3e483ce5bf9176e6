"""Write the tables of the READMEs from the records, so that no number in them is copied by hand.

    python tools/tables.py            # rewrites every marked table
    python tools/tables.py --check    # changes nothing; names the files whose tables are not those of the records

A table lies between ``<!-- table: NAME ARGUMENTS -->`` and ``<!-- end of table -->``; names are those of `TABLES`.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also where a test imports this file

import arithmetic as web_scale
from arithmetic import markdown
from rich.console import Console

from lit_knn.report.cost import cost_rows
from lit_knn.report.paper_layout import paper_tables
from lit_knn.report.rendering.markdown import markdown as rendered
from lit_knn.report.results import WORST_CASE, Record
from lit_knn.report.results.paper import beside
from lit_knn.report.summary import speaking_delta
from lit_knn.report.table import accuracy_table

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "tools" / "records"
FILES = ("README.md", "configs/README.md", "tools/README.md", "tools/records/README.md")
FILES += ("lit_knn/attacks/README.md", "lit_knn/database/README.md", "tools/records/study/README.md")
MARKED = re.compile(r"(<!-- table: ([\w-]+)((?: [^ >]+)*) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Rows = list[dict[str, str]]
SHOWN = {"k": "50", "weighting": "CBW-D", "combination": "soft"}  # the variant of a defense that tables show
STUDIES = {"cifar10": "CIFAR-10", "imagenette": "photographs", "imagenette_swapped": "photographs, swapped"}
LINE = ("defense", "tap", "k", "weighting", "combination", "rejected")  # what tells the lines of rivals apart
THREATS = {"gray_box": "gray", "black_box": "black", WORST_CASE.threat: WORST_CASE.threat}
BENCHMARKS = {  # record: command, how the names of its lines begin that the table shows
    "bench_attack": ("bench_attack.py --clock cpu", ""),
    "bench_attack_resnet56": ("bench_attack.py --clock cpu --size 32 --batch 64 …", "PGD"),
    "bench_defense": ("bench_defense.py --clock cpu", ""),
    "bench_hull": ("bench_hull.py --clock cpu", ""),
    "bench_second": ("bench_second.py --clock cpu", ""),
    "bench_quilting": ("bench_quilting.py --clock cpu --count 1000000 --batch 4 …", ""),
    "bench_tv": ("bench_tv.py --clock cpu", ""),
    "bench_extract": ("bench_extract.py --clock cpu --only rate", ""),
    "bench_extract_resnet56": ("bench_extract.py --clock cpu --only rate --size 32 …", "extraction"),
    "bench_extract_memory": ("bench_extract.py --only memory --counts 10000 1000000 --side 16", ""),
    "bench_store": ("bench_store.py", ""),
    "bench_packing": ("bench_packing.py …", "packed"),
    "bench_pca": ("bench_pca.py --clock cpu", ""),
    "bench_index": ("bench_index.py", ""),
    "bench_index_resident": ("bench_index.py --only resident", ""),
    "bench_scale": ("bench_scale.py", ""),
    "bench_scale_bits": ("bench_scale.py --bits --factory BIVF4096", "add, memory"),
    "bench_sharded": ("bench_sharded.py", ""),
    "bench_milvus": ("bench_milvus.py --uri …", ""),
    "bench_grow": ("bench_grow.py --clock cpu", ""),
    "bench_paper": ("bench_paper.py --share 0.125", "all"),
    "bench_cascade_cifar10": ("bench_cascade.py --config configs/cifar10.yaml --delta 0.02 --queries 100", ""),
    "bench_cascade": ("bench_cascade.py --queries 100", ""),
    "bench_autoattack": ("bench_autoattack.py --clock cpu --radius 0.1 …", ""),
    "bench_test": ("bench_test.py", ""),
    "bench_report": ("bench_report.py --clock cpu", ""),
}


def results(record: str) -> Rows:
    """Read the top-1 accuracies of a record, of each kNN those of K = 50, CBW-D and soft."""
    shown = (row for row in _rows(record) if row["topk"] == "1")
    return [row for row in shown if not row["tap"] or SHOWN.items() <= row.items()]


def accuracy(rows: Rows, /, **key: str) -> str:
    """Return the accuracy of the one row that has these values, as tables write it: .985; "" if there is none."""
    found = [row for row in rows if key.items() <= row.items()]
    if len(found) > 1:
        raise ValueError(f"{len(found)} rows have {key}")
    return _short(float(found[0]["accuracy"])) if found else ""


def _rows(record: str) -> Rows:
    """Read all accuracies of a record, of which only results.csv may have been kept."""
    if (RECORDS / record / "record.json").exists():
        return [{key: str(value) for key, value in row.items()} for row in _load(record).results]
    with (RECORDS / record / "results.csv").open() as file:
        return list(csv.DictReader(file))


def _leading(rows: Rows) -> Rows:
    """Return the top-1 rows; of several evaluations the mean, and of rejections those that count as wrong."""
    found = [row for row in rows if row["topk"] == "1"]
    return [row for row in found if row["protocol"] in ("", "mean") and row["rejected"] in ("", "wrong")]


def widest(rows: Rows) -> str:
    """Return how far an end of a 95 % interval lies from its accuracy at most, rounded up to hundredths."""
    away = max(max(float(r["high"]) - float(r["accuracy"]), float(r["accuracy"]) - float(r["low"])) for r in rows)
    return _short(-(-away * 100 // 1) / 100).rstrip("0")


def headline(*pairs: str) -> str:
    """Return what each attacker leaves; `pairs` are a record and its Δ in turn."""
    lines, notes = [], []
    for record, delta in zip(pairs[::2], pairs[1::2], strict=True):
        rows = results(record)
        notes.append(f"{rows[0]['n']} images, 95 % intervals within ±{widest(rows)}")
        for tap in dict.fromkeys(row["tap"] for row in rows):
            lines.append(
                [
                    f"{record.partition('-')[0].replace('cifar', 'CIFAR-')}, Δ = {delta}: {_column(tap)}",
                    accuracy(rows, threat="gray_box", attack="PGD", delta="0.0", tap=tap),
                    accuracy(rows, threat="gray_box", attack="PGD", delta=delta, tap=tap),
                    accuracy(rows, threat=f"white_box {tap}", attack="PGD-FS", delta=delta, tap=tap),
                    accuracy(rows, threat=WORST_CASE.threat, delta=delta, tap=tap),
                ]
            )
    head = ["", "clean", "gray box, PGD", "white box, the paper's PGD-FS", WORST_CASE.attack]
    notes.append(f"{WORST_CASE.attack}: of each image over all attacks")
    return f"{markdown(head, lines)}\n\nOf {'; '.join(dict.fromkeys(notes))}."


def all_attacks(record: str, delta: str) -> str:
    """Return the accuracy that each attack leaves at one Δ; a white box is that of the column's tap."""
    rows = results(record)
    taps = list(dict.fromkeys(row["tap"] for row in rows))
    lines = [["clean", *(accuracy(rows, threat="gray_box", attack="PGD", delta="0.0", tap=tap) for tap in taps)]]
    attacks = dict.fromkeys((row["threat"].partition(" ")[0], row["attack"]) for row in rows)
    for threat, attack in sorted(attacks, key=lambda pair: pair == WORST_CASE):
        threats = {tap: threat if threat in THREATS else f"{threat} {tap}" for tap in taps}
        cells = [accuracy(rows, threat=threats[tap], attack=attack, delta=delta, tap=tap) for tap in taps]
        lines.append([f"{THREATS.get(threat, 'white')}: {attack}", *cells])
    notes = f"\n\n{rows[0]['n']} images, Δ = {delta}, K = 50, CBW-D, soft; 95 % intervals within ±{widest(rows)}."
    return markdown(["attack", *map(_column, taps)], lines) + notes


def rivals(record: str, adaptive: str, delta: str) -> str:
    """Return what each defense leaves to attackers who do not know it and to those who do, and what an answer costs.

    Args:
        record: Of a run with a gray and a black box.
        adaptive: Of the worst case of a run with attackers who know each defense; "-" if there is none.
        delta: The size of the perturbation.
    """
    unaware = _leading(_rows(record))
    aware = _leading(_rows(adaptive)) if adaptive != "-" else []
    costs = {line[0]: line[-1] for line in cost_rows(_load(record))}
    lines = []
    for row in unaware:
        if (row["threat"], row["delta"]) == ("gray_box", "0.0"):
            key = {name: row[name] for name in LINE}
            name = " ".join(filter(None, (row["defense"], row["tap"], row["weighting"], row["rejected"])))
            left = [accuracy(unaware, **key, threat=threat, delta=delta) for threat in ("gray_box", "black_box")]
            worst = [accuracy(aware, **key, threat=WORST_CASE.threat, delta=delta)] if aware else []
            words = {*name.split(), f"K={row['k']}", row["combination"]}
            cost = next((cost for line, cost in costs.items() if words.issuperset(line.split())), "")
            lines.append([name, _short(float(row["accuracy"])), *left, *worst, cost])
    head = ["defense", "clean", "gray box", "black box", *([WORST_CASE.attack] if aware else []), "cost, × none"]
    notes = "; ".join(
        f"{who}: {rows[0]['n']} images, 95 % intervals within ±{widest(rows)}"
        for who, rows in (("boxes", unaware), (WORST_CASE.attack, aware))
        if rows
    )
    return f"{markdown(head, lines)}\n\nΔ = {delta}; {notes}."


def printed(record: str) -> str:
    """Return the table that `lit-knn test` printed."""
    console = Console(width=80)
    with console.capture() as found:
        console.print(accuracy_table(_load(record)))
    lines = (line.rstrip() for line in found.get().rstrip().splitlines())
    return "\n".join(["```text", *lines, "```"])


def sizes(record: str, *deltas: str) -> str:
    """Return the gray box's accuracy by the number of rows in the database."""
    rows = results(record)
    counts = sorted({int(row["rows"]) for row in rows if row["tap"]})
    lines = []
    for tap in dict.fromkeys(row["tap"] for row in rows if row["tap"]):
        for delta in ("0.0", *deltas):
            name = f"{_column(tap)}, {'clean' if delta == '0.0' else f'gray box, Δ = {delta}'}"
            key = {"threat": "gray_box", "delta": delta, "tap": tap}
            lines.append([name, *(accuracy(rows, **key, rows=str(count)) for count in counts)])
    return markdown(["rows of the database", *(f"{count:,}" for count in counts)], lines)


def paper(number: str, *records: str) -> str:
    """Return a table of the paper as it prints it, with what studies have measured below its rows.

    Args:
        number: Of the table.
        records: Of runs that name it, each in the folder of its study.
    """
    runs = {STUDIES[record.split("/")[-2]]: _load(record) for record in records}
    found = {name: beside(record, speaking_delta(record)) for name, record in runs.items()}
    (table,) = (table for table in paper_tables(found) if table.name.endswith(number))
    return rendered([table], ROOT).rstrip()


def sweep(record: str, column: str, threat: str, *deltas: str) -> str:
    """Return the accuracies of one threat, by what a study has varied, in its columns.

    Args:
        record: Of a run.
        column: What they are by: ``k``, ``rows`` or ``tap``.
        threat: Whose.
        deltas: Sizes of the perturbation.
    """
    rows = [row for row in _leading(_rows(record)) if (row["threat"], row["combination"]) == (threat, "soft")]
    rows = [row for row in rows if row["delta"] in ("0.0", *deltas)]
    others = [name for name in ("tap", "rows", "k", "delta") if name != column and len({r[name] for r in rows}) > 1]
    values = list(dict.fromkeys(row[column] for row in rows))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        name = tuple("clean" if (key, row[key]) == ("delta", "0.0") else row[key] for key in others)
        lines.setdefault(name, {})[row[column]] = _short(float(row["accuracy"]))
    head = [*("Δ" if name == "delta" else name for name in others), *(f"{column} {value}" for value in values)]
    return markdown(head, [[*name, *(cells.get(value, "") for value in values)] for name, cells in lines.items()])


def attackers(record: str) -> str:
    """Return what each attacker leaves of the one kNN of a run, by Δ."""
    rows = [row for row in _leading(_rows(record)) if row["combination"] == "soft"]
    deltas = list(dict.fromkeys(row["delta"] for row in rows))
    lines = {}
    for row in rows:
        name = f"{row['threat'].removesuffix(' ' + row['tap']).replace('_', ' ')}: {row['attack']}"
        lines.setdefault(name, []).append(_short(float(row["accuracy"])))
    head = [f"{STUDIES[record.split('/')[-2]]}, {rows[0]['n']} images", "clean", *(f"Δ = {d}" for d in deltas[1:])]
    return markdown(head, [[name, *cells] for name, cells in lines.items()])


def benchmarks() -> str:
    """Return the ratios of all benchmarks beside their targets."""
    lines = []
    for name, (command, begins) in BENCHMARKS.items():
        record = json.loads((RECORDS / f"{name}.json").read_text())
        for line in record["results"]:
            if line["name"].startswith(begins):
                ratio = f"{line['ratio']:.2f} ({line['low']:.2f} – {line['high']:.2f})"
                target = line["target"] + {False: ", missed"}.get(line["met"], "")
                lines.append([f"`python tools/{command}`", line["name"], ratio, target, record["date"][:10]])
    return markdown(["command", "measured / base", "ratio (min – max)", "target", "date"], lines)


def arithmetic() -> str:
    """Return the table of `tools/arithmetic.py`."""
    return web_scale.table(web_scale.IMAGES)


def sharded(images: str, *machines: str) -> str:
    """Return the table of `tools/arithmetic.py` of a `Sharded` index over so many machines."""
    return web_scale.sharded(int(images), map(int, machines))


def parts(contract: str) -> str:
    """Return what derives from a class and YAML may name: arguments with defaults, purpose and, where stated, cost."""
    module, _, name = contract.rpartition(".")
    lines = []
    for part in sorted(_derived(getattr(importlib.import_module(module), name)), key=lambda part: part.__name__):
        arguments = [
            given.name if given.default is given.empty else f"{given.name}={_yaml(given.default)}"
            for given in inspect.signature(part).parameters.values()
        ]
        documentation = inspect.getdoc(part) or ""
        cost = documentation.partition("\nCost:\n")[2].partition("\n\n")[0]
        texts = (re.sub(r":\w+:`[\w.]+\.(\w+)`", r"`\1`", text) for text in (documentation.partition("\n")[0], cost))
        cells = [" ".join(text.replace("``", "`").replace("|", "\\|").split()) for text in texts]
        lines.append([f"`{part.__name__}`", f"`{', '.join(arguments)}`" if arguments else "", *cells])
    used = 4 if any(line[3] for line in lines) else 3
    return markdown(["class", "arguments and their defaults", "what", "cost"][:used], [line[:used] for line in lines])


TABLES: dict[str, Callable[..., str]] = {
    "headline": headline,
    "all-attacks": all_attacks,
    "rivals": rivals,
    "printed": printed,
    "paper": paper,
    "sweep": sweep,
    "attackers": attackers,
    "sizes": sizes,
    "benchmarks": benchmarks,
    "arithmetic": arithmetic,
    "sharded": sharded,
    "parts": parts,
}


def filled(text: str) -> str:
    """Return a README with each marked table made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]](*found[3].split())}\n{found[4]}", text)


def main(args: list[str] | None = None) -> None:
    """Rewrite the tables, or exit with code 1 after naming the files where they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table differs")
    options = parser.parse_args(args)
    stale = [name for name in FILES if filled(text := (ROOT / name).read_text()) != text]
    for name in stale:
        if options.check:
            print(f"{name} has tables that are not those of the records: run python tools/tables.py", file=sys.stderr)
        else:
            (ROOT / name).write_text(filled((ROOT / name).read_text()))
            print(f"rewrote {name}")
    if options.check and stale:
        raise SystemExit(1)


def _load(record: str) -> Any:
    return Record.load(RECORDS / record / "record.json")


def _derived(contract: type) -> set[type]:
    """Return the classes of the package, abstract ones left out, that derive from one."""
    below = contract.__subclasses__()
    ours = {part for part in below if part.__module__.startswith("lit_knn.") and not inspect.isabstract(part)}
    return ours.union(*map(_derived, below))


def _yaml(value: object) -> str:
    return value or "''" if isinstance(value, str) else json.dumps(value, default=str)


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _column(tap: str) -> str:
    return f"kNN {tap}" if tap else "no defense"


if __name__ == "__main__":
    main()
