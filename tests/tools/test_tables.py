"""The tables of the READMEs are those of the records: as the tool makes them, and as these few lines read them."""

import csv
import importlib
import itertools
import json
import re
import shutil
from pathlib import Path

import pytest

from lit_knn.report.results import Record

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "tools" / "records"
MEASURED = (RECORDS / "README.md").read_text()


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("tables")


def cells(text, begins):
    """Return the first table of a text whose head begins so, cell by cell."""
    lines = itertools.takewhile(lambda line: line.startswith("|"), text[text.index(f"| {begins} |") :].splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_every_marked_table_is_what_the_tool_makes(tables, capsys):
    marked = {path for path in ROOT.rglob("README.md") if "<!-- table: " in path.read_text()}
    assert {ROOT / name for name in tables.FILES} >= {path for path in marked if ".venv" not in str(path)}
    tables.main(["--check"])
    assert not capsys.readouterr().err


def test_another_number_in_a_file_is_named_and_mended(tables, tmp_path, monkeypatch, capsys):
    for name in tables.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    page = tmp_path / "tools" / "records" / "README.md"
    page.write_text(MEASURED.replace(".465", ".565"))
    with pytest.raises(SystemExit) as stopped:
        tables.main(["--check"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("tools/records/README.md has tables that are not")
    tables.main([])
    assert page.read_text() == MEASURED


@pytest.mark.parametrize(
    ("record", "sentence", "line", "value"),
    [
        ("bench_sharded", "four processes took {:.2f} times the CPU time of one", "4 processes / one, CPU", "ratio"),
        ("bench_sharded", "the others ended {:.0f} seconds later", "one of four is lost", "measured"),
        ("bench_scale", "a task held {:.2f} times its part of an `IVF4096,SQ8`", "add, memory", "ratio"),
        ("bench_scale_bits", "and {:.2f} times that of a `BIVF4096`", "add, memory", "ratio"),
        ("bench_scale", "merging held {:.2f}", "merge, memory", "ratio"),
        ("bench_scale", "in the mapped files {:.3f} of the whole", "search, memory", "ratio"),
        ("bench_milvus", "half of them took {:.2f} times as long as all", "Milvus, half of the rows / all", "ratio"),
        ("bench_milvus", "a tenth {:.2f} times", "Milvus, a tenth of the rows / all", "ratio"),
        (
            "bench_milvus",
            "{:.1f} times as long as FAISS does in this process with two",
            "Milvus IVF /",
            "ratio",
        ),
        ("bench_milvus", "and {:.2f} times as long as with one", "the same / FAISS IVF on one", "ratio"),
        ("bench_milvus", "Rows were added at {:.2f} of FAISS's rate", "rows added to Milvus", "ratio"),
    ],
)
def test_numbers_in_sentences_on_databases_are_those_of_the_benchmarks(record, sentence, line, value):
    text = " ".join((ROOT / "lit_knn" / "database" / "README.md").read_text().split())
    results = json.loads((RECORDS / f"{record}.json").read_text())["results"]
    (found,) = (result for result in results if result["name"].startswith(line))
    assert re.sub(r"\b0\.", ".", sentence.format(found[value])) in text


@pytest.mark.parametrize(("record", "delta"), [("digits-adaptive", "0.1"), ("cifar10-adaptive", "0.02")])
def test_the_table_of_all_attacks_is_that_of_its_record(record, delta):
    """Columns are K = 50, CBW-D, soft; a white box is that of the column's tap."""
    with (RECORDS / record / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["topk"] == "1" and row["combination"] in ("", "soft")]
    found = {
        (row["threat"], row["attack"], row["delta"], row["tap"]): f"{float(row['accuracy']):.3f}".lstrip("0")
        for row in rows
        if (row["k"], row["weighting"]) in (("", ""), ("50", "CBW-D"))
    }
    head, *lines = cells(MEASURED[MEASURED.index(f"<!-- table: all-attacks {record} ") :], "attack")
    taps = [name.removeprefix("kNN ").removeprefix("no defense") for name in head[1:]]
    names = {"gray": "gray_box", "black": "black_box", "all": "all"}
    clean = dict(found)
    for name, *values in lines:
        threat, _, attack = name.partition(": ")
        for tap, cell in zip(taps, values, strict=True):
            if threat == "clean":
                assert cell == clean["gray_box", "PGD", "0.0", tap]
            else:
                key = (names.get(threat, f"white_box {tap}"), attack, delta, tap)
                assert cell == found.pop(key, ""), (name, tap)
    left = {key for key in found if key[2] == delta}
    assert not {key for key in left if key[0] in names.values() or (key[3] and key[0] == f"white_box {key[3]}")}


def test_the_headline_is_part_of_the_tables_of_all_attacks():
    _, *lines = cells((ROOT / "README.md").read_text(), "")
    assert len(lines) == 8
    for name, *values in lines:
        record, _, column = name.partition(": ")
        mark = f"<!-- table: all-attacks {'cifar10' if 'CIFAR' in record else 'digits'}-adaptive "
        head, *table = cells(MEASURED[MEASURED.index(mark) :], "attack")
        of = {line[0]: line[head.index(column)] for line in table}
        assert values == [of["clean"], of["gray: PGD"], of["white: PGD-FS"], of["all: worst case"]]


def test_the_cifar10_sizes_are_those_of_the_record():
    record = Record.load(RECORDS / "cifar10" / "record.json")
    best = {"k": 50, "weighting": "CBW-D", "combination": "soft", "topk": 1, "threat": "gray_box"}
    head, *lines = cells(MEASURED, "rows of the database")
    assert len(lines) == 9
    for name, *values in lines:
        tap, _, rest = name.removeprefix("kNN ").partition(", ")
        delta = 0.0 if rest == "clean" else float(rest.rpartition(" ")[2])
        for size, cell in zip(head[1:], values, strict=True):
            key = {**best, "tap": tap, "delta": delta, "rows": int(size.replace(",", ""))}
            (row,) = (row for row in record.results if key.items() <= row.items())
            assert cell == f"{row['accuracy']:.3f}".lstrip("0"), (name, size)


def test_the_cifar10_record_is_of_the_configuration():
    record = Record.load(RECORDS / "cifar10" / "record.json")
    text = (ROOT / "configs" / "cifar10.yaml").read_text()
    deltas = json.loads(re.search(r"deltas: (\[.*\])", text)[1])
    assert [delta for delta in record.config["model"]["deltas"] if delta] == deltas


def test_the_benchmark_table_is_that_of_the_records():
    _, *lines = cells((ROOT / "tools" / "README.md").read_text(), "command")
    assert len(lines) > 25
    for command, name, ratio, target, _ in lines:
        (script,) = re.findall(r"python tools/(bench_\w+)\.py", command)
        records = [json.loads(path.read_text()) for path in RECORDS.glob(f"{script}*.json")]
        found = [result for record in records for result in record["results"] if result["name"] == name]
        held = {(f"{one['ratio']:.2f}", one["target"], one["met"] is False) for one in found}  # of each record
        assert (ratio.partition(" ")[0], target.partition(",")[0], "missed" in target) in held
        assert sum(line[1] == name for line in lines) in (1, len(found))
    shown = {name for _, name, *_ in lines}
    for path in set(RECORDS.glob("bench_*.json")) - {RECORDS / "bench_index_codes.json"}:
        held = {result["name"] for result in json.loads(path.read_text())["results"] if result["target"]}
        assert held <= shown, path


def test_the_table_of_rivals_is_that_of_its_records(tables):
    """Each cell is looked up in the records by hand: what defenses draw counts by the mean, costs go by the defense."""
    record = json.loads((RECORDS / "cifar10-table2" / "record.json").read_text())
    with (RECORDS / "cifar10-table2" / "adaptive" / "results.csv").open() as file:
        aware = list(csv.DictReader(file))
    head, _, *lines = tables.rivals("cifar10-table2", "cifar10-table2/adaptive", "0.02").split("\n\n")[0].splitlines()
    assert head == "| defense | clean | gray box | black box | worst case | cost, × none |"
    cells = {line.split(" | ")[0].removeprefix("| "): line.removesuffix(" |").split(" | ")[1:] for line in lines}

    def one(rows, **key):
        (found,) = [row for row in rows if str(row["topk"]) == "1" and all(str(row[k]) == v for k, v in key.items())]
        return f"{float(found['accuracy']):.3f}".lstrip("0")

    own = record["results"]
    for name, key in (
        ("TV minimization", {"defense": "TV minimization"}),
        ("kNN layer2.8.add CBW-D", {"defense": "kNN", "tap": "layer2.8.add", "weighting": "CBW-D"}),
    ):
        drawn = {"protocol": "mean"} if name.startswith("TV") else {}
        assert cells[name][:4] == [
            one(own, **key, threat="gray_box", delta="0.0"),
            one(own, **key, threat="gray_box", delta="0.02"),
            one(own, **key, threat="black_box", delta="0.02"),
            one(aware, **key, **drawn, threat="all", delta="0.02"),
        ]
    none, crops = (next(c for c in record["costs"] if c["defense"] == name) for name in ("none", "crop ensemble"))
    assert cells["crop ensemble"][4] == f"{crops['seconds'] / none['seconds']:.1f}"
    assert all(cell for line in cells.values() for cell in line)
